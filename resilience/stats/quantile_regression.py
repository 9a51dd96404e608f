r"""Quantile regression by the Frisch–Newton interior point, and by preprocessing for many rows.

The coefficients of the quantile :math:`\tau` minimise

.. math:: \sum_i w_i\rho_\tau(y_i - x_i'\beta), \qquad \rho_\tau(r) = r(\tau - 1[r < 0]) ,

a linear programme with bounded dual variables, one for each row:
:math:`\max\{y'a : X'a = (1-\tau)X'1,\; 0 \le a \le 1\}`.  An interior point with Mehrotra's
predictor and corrector needs some twenty steps, each of them a weighted least-squares problem of p
coefficients, where a general solver of linear programmes works through n rows.

With many rows most residuals have a sign that nobody doubts.  A sample of
:math:`((p+1)n)^{2/3}` rows gives a band around the plane; rows surely above and surely below are
added up to one row each, the rest is solved exactly, and every sign is checked afterwards: rows
that were taken wrongly go back into the problem until none is left.  The result is the exact
optimum all the same.

References
----------
PortnoyKoenker1997; Koenker2005, chapter 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["QuantileFit", "check_loss", "fit_quantiles", "frisch_newton"]

Floats = NDArray[np.float64]

_STEP = 0.99995  # share of the way to the nearest bound
_MOST_STEPS = 100
_GAP = 1e-10  # duality gap at the end, relative to the loss
_MANY_ROWS = 20_000  # below, one interior point is quicker than samples and bands
_BAND = 0.8  # rows kept around the plane, as a share of the sample's size


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantileFit:
    """Coefficients of several quantiles of one design.

    Attributes
    ----------
    taus : ndarray of shape (T,)
        Quantiles in (0, 1).
    coefficients : ndarray of shape (T, p)
        One row per quantile.
    loss : ndarray of shape (T,)
        Weighted check loss at the coefficients.
    gap : ndarray of shape (T,)
        What the loss may lie above its minimum, from the dual problem; of the rows in doubt where
        others were added up.
    steps : ndarray of shape (T,)
        Steps of the interior point.
    """

    taus: Floats
    coefficients: Floats
    loss: Floats
    gap: Floats
    steps: NDArray[np.int64]


def check_loss(residuals: Floats, tau: float, weights: Floats | None = None) -> float:
    r"""Return :math:`\sum_i w_i\rho_\tau(r_i)`."""
    loss = residuals * (tau - (residuals < 0.0))
    return float(loss.sum() if weights is None else loss @ weights)


def frisch_newton(x: Floats, y: Floats, tau: float) -> tuple[Floats, float, int]:
    """Return coefficients, duality gap and steps of one quantile by the interior point.

    Parameters
    ----------
    x : ndarray of shape (n, p)
        Design of full rank; rows may carry their weight.
    y : ndarray of shape (n,)
        Outcome, with the same weights.
    tau : float
        Quantile in (0, 1).
    """
    n = len(y)
    a = np.full(n, 1.0 - tau)
    s = 1.0 - a
    starts, *_ = np.linalg.lstsq(x, np.c_[y, np.ones(n)], rcond=None)
    # the plane of least squares, shifted to the quantile where the design holds a constant
    residual = y - x @ starts[:, 0]
    beta = starts[:, 0] + starts[:, 1] * np.quantile(residual, tau)
    r = -(y - x @ beta)
    spread = max(float(np.abs(r).mean()), 1e-300)
    r = np.where(np.abs(r) < 1e-6 * spread, 1e-6 * spread, r)
    z = np.where(r > 0, r, 0.0) + 1e-3 * spread
    w = z - r
    dual = -beta
    b = x.T @ a
    steps, gap = 0, float(a @ z + s @ w)
    target = _GAP * max(spread * n, 1e-300)
    while gap > target and steps < _MOST_STEPS:
        steps += 1
        q = 1.0 / (z / a + w / s)
        r = z - w
        xq = x * q[:, None]
        factor = cho_factor(x.T @ xq, check_finite=False)
        rhs = xq.T @ r + (b - x.T @ a)
        move = cho_solve(factor, rhs, check_finite=False)
        da = q * (x @ move - r)
        dz = -z * (1.0 + da / a)
        dw = -w * (1.0 - da / s)
        primal, dualstep = _lengths(a, s, da, z, w, dz, dw)
        if min(primal, dualstep) < 1.0:
            mu = a @ z + s @ w
            ahead = (a + primal * da) @ (z + dualstep * dz) + (s - primal * da) @ (
                w + dualstep * dw
            )
            mu = mu * (ahead / mu) ** 3 / (2.0 * n)
            lower, upper = da * dz, -da * dw
            bend = mu * (1.0 / s - 1.0 / a) + lower / a - upper / s
            move = cho_solve(factor, rhs + xq.T @ bend, check_finite=False)
            da = q * (x @ move - r - bend)
            dz = (mu - z * da - lower) / a - z
            dw = (mu + w * da - upper) / s - w
            primal, dualstep = _lengths(a, s, da, z, w, dz, dw)
        a = a + primal * da
        s = s - primal * da
        dual = dual + dualstep * move
        z, w = z + dualstep * dz, w + dualstep * dw
        gap = float(a @ z + s @ w)
    return _vertex(x, y, tau, -dual), gap, steps


def _vertex(x: Floats, y: Floats, tau: float, beta: Floats) -> Floats:
    """Return the vertex next to an interior solution: the plane through p of its nearest rows.

    An optimum of the linear programme always lies in such a vertex; the interior point stops a
    little beside it.  Where the vertex is no better (several optima), the solution stays.
    """
    residual = y - x @ beta
    distance, rest = np.abs(residual), x.copy()
    length = (x**2).sum(axis=1)
    chosen: list[int] = []
    for _ in range(x.shape[1]):
        # rows that the chosen ones do not determine: ties repeat rows without end
        free = (rest**2).sum(axis=1) > 1e-8 * length
        if not free.any():
            return beta
        row = int(np.argmin(np.where(free, distance, np.inf)))
        chosen.append(row)
        own = rest[row] / np.linalg.norm(rest[row])
        rest = rest - np.outer(rest @ own, own)
    found = np.linalg.lstsq(x[chosen], y[chosen], rcond=None)[0]
    better = check_loss(y - x @ found, tau) <= check_loss(residual, tau)
    return np.asarray(found if better else beta)


def _lengths(
    a: Floats, s: Floats, da: Floats, z: Floats, w: Floats, dz: Floats, dw: Floats
) -> tuple[float, float]:
    """Return how far the primal and the dual variables may go before one of them is zero."""
    with np.errstate(divide="ignore"):
        primal = min(_room(a, da), _room(s, -da))
        dual = min(_room(z, dz), _room(w, dw))
    return min(1.0, _STEP * primal), min(1.0, _STEP * dual)


def _room(value: Floats, change: Floats) -> float:
    falls = change < 0.0
    return float((-value[falls] / change[falls]).min()) if falls.any() else np.inf


def fit_quantiles(
    x: Floats,
    y: Floats,
    taus: ArrayLike,
    *,
    weights: Floats | None = None,
    random_state: int = 0,
) -> QuantileFit:
    """Fit several quantiles of one design.

    Parameters
    ----------
    x : ndarray of shape (n, p)
        Design, of full column rank.
    y : ndarray of shape (n,)
        Outcome.
    taus : array_like of shape (T,)
        Quantiles in (0, 1), in any order.
    weights : ndarray of shape (n,), optional
        Weights, above 0.
    random_state : int
        Seed of the sample that finds the rows in doubt; the optimum does not depend on it.

    Returns
    -------
    QuantileFit

    Raises
    ------
    DataError
        If columns of the design depend on each other, a weight is not above 0, or a quantile lies
        outside (0, 1).
    """
    wanted = np.asarray(taus, dtype=np.float64)
    if not ((wanted > 0.0) & (wanted < 1.0)).all():
        raise DataError(text("quantiles.taus", taus=str(wanted.tolist())))
    if weights is not None and not (np.isfinite(weights).all() and (weights > 0).all()):
        raise DataError(text("quantiles.weights", least=f"{np.min(weights):g}"))
    rows = x if weights is None else x * weights[:, None]
    outcome = y if weights is None else y * weights
    scale = np.sqrt((rows**2).mean(axis=0))
    gram = (rows / scale).T @ (rows / scale) / len(y)
    if not (scale > 0).all() or np.linalg.eigvalsh(gram)[0] < 1e-12:
        raise DataError(text("quantiles.rank", n=len(y), p=x.shape[1]))
    whitening = np.linalg.inv(np.linalg.cholesky(gram)).T / scale[:, None]
    turned = rows @ whitening  # columns of one scale without correlations: stable normal equations
    if len(y) > _MANY_ROWS:
        doubtful = _Doubtful(turned, outcome, random_state)
        found = [doubtful.solve(float(tau)) for tau in wanted]
    else:
        found = [frisch_newton(turned, outcome, float(tau)) for tau in wanted]
    beta = np.array([one[0] for one in found])
    residuals = (check_loss(outcome - turned @ b, t) for b, t in zip(beta, wanted, strict=True))
    return QuantileFit(
        taus=wanted,
        coefficients=beta @ whitening.T,
        loss=np.array(list(residuals)),
        gap=np.array([one[1] for one in found]),
        steps=np.array([one[2] for one in found], dtype=np.int64),
    )


class _Doubtful:
    """Solves quantiles of one design through the rows whose side of the plane is in doubt."""

    def __init__(self, x: Floats, y: Floats, random_state: int) -> None:
        self.x, self.y = x, y
        n, p = x.shape
        self.size = int(min(((p + 1) * n) ** (2.0 / 3.0), n / 2))
        drawn = np.random.default_rng(random_state).choice(n, size=self.size, replace=False)
        self.sample = x[drawn], y[drawn]
        # leverage: how far the plane through a sample may be off at a row
        self.spread = np.sqrt(np.maximum((x**2).sum(axis=1), 1e-300))

    def solve(self, tau: float) -> tuple[Floats, float, int]:
        """Return coefficients, gap and steps; every row's sign holds at the coefficients."""
        beta, _, steps = frisch_newton(*self.sample, tau)
        wanted = _BAND * self.size
        while wanted < len(self.y) / 2:
            low, high = self._sides(beta, tau, wanted)
            for _ in range(8):
                beta, gap, more = self._reduced(low, high, tau)
                steps += more
                residual = self.y - self.x @ beta
                wrong_low, wrong_high = low & (residual > 0), high & (residual < 0)
                n_wrong = int(wrong_low.sum() + wrong_high.sum())
                if n_wrong == 0:
                    return beta, gap, steps
                if n_wrong > 0.1 * wanted:
                    break  # the band was too narrow
                low, high = low & ~wrong_low, high & ~wrong_high
            wanted *= 2.0
        return frisch_newton(self.x, self.y, tau)

    def _sides(
        self, beta: Floats, tau: float, wanted: float
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which rows are surely below and surely above the plane."""
        n = len(self.y)
        distance = (self.y - self.x @ beta) / self.spread
        half = wanted / (2.0 * n)
        below = float((distance < 0).mean())
        shares = [max(below - half, 1.0 / n), min(below + half, 1.0 - 1.0 / n)]
        low, high = np.quantile(distance, shares, method="nearest")
        return distance < low, distance > high

    def _reduced(
        self, low: NDArray[np.bool_], high: NDArray[np.bool_], tau: float
    ) -> tuple[Floats, float, int]:
        """Solve the rows in doubt with one row each for those surely below and above."""
        kept = ~(low | high)
        rows, outcome = [self.x[kept]], [self.y[kept]]
        for side in (low, high):
            if side.any():
                rows.append(side.astype(np.float64)[None, :] @ self.x)
                outcome.append(np.array([float(self.y[side].sum())]))
        return frisch_newton(np.vstack(rows), np.concatenate(outcome), tau)
