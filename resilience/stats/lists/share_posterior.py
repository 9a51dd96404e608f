r"""Lasting failing shares of schools from counts of several years, by a Laplace approximation.

Of n pupils of school s in procedure p and year t, f fail with probability :math:`\Phi(\eta_{spt})`,

.. math:: \eta_{spt} = \alpha_{pt} + u_s + c_{sp} + b_{st} + d_{spt}

with independent normal parts.  The posterior of the cells of a school is approximated at its mode
(RasmussenWilliams2006, algorithm 3.1); that of the lasting part :math:`u_s + c_{sp}` follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.lists.share_moments import FailureParts

__all__ = ["LastingShares", "YearDrift", "lasting_shares"]

Floats = NDArray[np.float64]

_MOST_STEPS = 50
_SMALLEST_STEP = 1e-8
_RATE_FLOOR = 5e-4
_LEAST_SCHOOL = 1e-3  # variance of schools that the moments may find to be 0


@dataclass(frozen=True, kw_only=True)
class YearDrift:
    """How the procedures of the whole region shift from year to year, latent units.

    Attributes
    ----------
    common, own : float
        Variances of the shift of all procedures together and of each by itself, those of next year
        against the mean of the years known.
    """

    common: float
    own: float


@dataclass(frozen=True, kw_only=True, eq=False)
class LastingShares:
    r"""Posterior of the lasting latent level of every school and procedure.

    Attributes
    ----------
    level : ndarray of shape (n_procedures,)
        Mean over years of :math:`\alpha_{pt}`, latent units of 1 within cells.
    mean : ndarray of shape (n_schools, n_procedures)
        Posterior mean of :math:`u_s + c_{sp}`.
    covariance : ndarray of shape (n_schools, n_procedures, n_procedures)
        Its posterior covariance.
    school_year, cell : float
        Variances of what passes: all procedures of a year, one cell.
    same_pupil : float
        Correlation of the latent results of one pupil in two procedures of a grade and year.
    drift : YearDrift
        Shifts of the region.
    """

    level: Floats
    mean: Floats
    covariance: Floats
    school_year: float
    cell: float
    same_pupil: float
    drift: YearDrift

    def draw(self, n_draws: int, rng: np.random.Generator) -> Floats:
        """Return latent levels, shape (n_draws, n_schools, n_procedures), without drift."""
        n, P = self.mean.shape
        # the smallest eigenvalue may be a rounding below 0
        root = np.linalg.cholesky(self.covariance + 1e-10 * np.eye(P))
        z = rng.normal(size=(n_draws, n, P))
        return np.asarray(self.level + self.mean + np.einsum("spq,dsq->dsp", root, z))

    def long_run(self, latent: Floats) -> Floats:
        r"""Return long-run failing shares, :math:`\Phi(k/\sqrt{1+\sigma_b^2+\sigma_d^2})`."""
        return np.asarray(special.ndtr(latent / np.sqrt(1.0 + self.school_year + self.cell)))


def lasting_shares(
    failing: ArrayLike, n: ArrayLike, parts: FailureParts, school_variance: float
) -> LastingShares:
    """Return the posterior of lasting levels.

    Parameters
    ----------
    failing, n : array_like of int, shape (n_schools, n_procedures, n_years)
        Counts; ``n = 0`` where a procedure was not sat.
    parts : FailureParts
        Variances within schools, as `share_moments.tetrachoric_parts` estimates them.  That of the
        pupil widens each result; that one pupil sits several procedures is not used.
    school_variance : float
        Variance of the schools' lasting level, same unit.

    Raises
    ------
    DataError
        If a count is impossible.

    References
    ----------
    RasmussenWilliams2006, algorithm 3.1 and equation 3.24.
    """
    f, m = np.asarray(failing, dtype=float), np.asarray(n, dtype=float)
    if f.shape != m.shape or f.ndim != 3 or (f < 0).any() or (f > m).any():
        raise DataError(text("simulator.cube"))
    S, P, T = f.shape
    unit = 1.0 + parts.pupil  # the pupil's own part counts as what is left of one result
    u2 = max(school_variance, _LEAST_SCHOOL) / unit
    b2, c2, d2 = (v / unit for v in (parts.school_year, parts.school_procedure, parts.cell))
    total = 1.0 + u2 + b2 + c2 + d2
    alpha = _levels(f, m) * np.sqrt(total)
    procedure, year = np.repeat(np.arange(P), T), np.tile(np.arange(T), P)
    same_p, same_t = procedure[:, None] == procedure, year[:, None] == year
    K = u2 + c2 * same_p + b2 * same_t + d2 * (same_p & same_t)
    across = u2 + c2 * (np.arange(P)[:, None] == procedure)
    slope, weight = _mode(f.reshape(S, -1), m.reshape(S, -1), alpha.ravel(), K)
    root = np.sqrt(weight)
    B = np.eye(P * T) + root[:, :, None] * K * root[:, None, :]
    # Kz − Kzx (K + W⁻¹)⁻¹ Kxz, in the form that allows weights of 0
    inner = np.linalg.solve(B, root[:, :, None] * across.T)
    lasting = u2 + c2 * np.eye(P)
    covariance = lasting - np.einsum("pc,sc,scq->spq", across, root, inner)
    level, drift = _drift(alpha, m)
    return LastingShares(
        level=level,
        mean=slope @ across.T,
        covariance=(covariance + covariance.transpose(0, 2, 1)) / 2.0,
        school_year=b2,
        cell=d2,
        same_pupil=parts.pupil / unit,
        drift=drift,
    )


def _levels(f: Floats, m: Floats) -> Floats:
    """Return the normal quantile of the region's rate by procedure and year; NaN if nobody sat."""
    fails, sat = f.sum(axis=0), m.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(sat > 0, fails / sat, np.nan)
    return np.asarray(special.ndtri(np.clip(rate, _RATE_FLOOR, 1.0 - _RATE_FLOOR)))


def _drift(alpha: Floats, m: Floats) -> tuple[Floats, YearDrift]:
    """Return mean levels, and how far next year's may lie from them."""
    known = m.sum(axis=0) > 0
    level = np.array(
        [row[k].mean() if k.any() else 0.0 for row, k in zip(alpha, known, strict=True)]
    )
    gap = np.where(known, alpha - level[:, None], np.nan)
    P, T = gap.shape
    if T < 2 or not known.any(axis=1).all():
        return level, YearDrift(common=0.0, own=0.0)
    years = np.nanmean(gap, axis=0)
    total = float(np.nansum(gap**2)) / max(int(known.sum()) - P, 1)
    common = float((years**2).sum()) / (T - 1)
    # the mean over procedures holds 1/P of what is each procedure's own
    own = max((total - common) * P / max(P - 1, 1), 0.0)
    widened = 1.0 + 1.0 / T
    return level, YearDrift(common=max(common - own / P, 0.0) * widened, own=own * widened)


def _mode(f: Floats, m: Floats, alpha: Floats, K: Floats) -> tuple[Floats, Floats]:
    """Return slope and curvature of the log-likelihood at each school's posterior mode."""
    alpha = np.where(np.isfinite(alpha), alpha, 0.0)
    eta = np.broadcast_to(alpha, f.shape).copy()
    slope, weight = _derivatives(f, m, eta)
    eye = np.eye(len(K))
    for _ in range(_MOST_STEPS):
        root = np.sqrt(weight)
        target = weight * (eta - alpha) + slope
        B = eye + root[:, :, None] * K * root[:, None, :]
        pulled = np.linalg.solve(B, (root * (target @ K))[:, :, None])[:, :, 0]
        new = alpha + (target - root * pulled) @ K
        step = np.clip(new - eta, -2.0, 2.0)
        eta = eta + step
        slope, weight = _derivatives(f, m, eta)
        if np.abs(step).max() < _SMALLEST_STEP:
            break
    return slope, weight


def _derivatives(f: Floats, m: Floats, eta: Floats) -> tuple[Floats, Floats]:
    """Return first and minus second derivative of the binomial log-likelihood, probit link."""
    log_density = -0.5 * eta**2 - 0.5 * np.log(2.0 * np.pi)
    up = np.exp(log_density - special.log_ndtr(eta))  # φ/Φ(η)
    down = np.exp(log_density - special.log_ndtr(-eta))
    passing = m - f
    slope = f * up - passing * down
    return slope, f * up * (eta + up) + passing * down * (down - eta)
