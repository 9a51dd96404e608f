r"""Mixed model of published means with known or estimable sampling variance.

.. math::

   y_{jt} = x_{jt}'\beta + u_j + v_{jt} + e_{jt}, \qquad
   u_j \sim N(0, \tau^2),\; v_{jt} \sim N(0, \omega^2),\; e_{jt} \sim N(0, s_{jt}^2),

with :math:`s_{jt}^2` given, or :math:`\sigma^2/n_{jt}` with the pupil variance :math:`\sigma^2`
estimated (differences between years fall with :math:`1/n` only through it).  With
:math:`w = 1/(\omega^2 + s^2)` and :math:`A_j = \sum_t w_{jt}`

.. math::

   -2\ell = \sum_j \Big[ \sum_t \log(1/w_{jt}) + \log(1 + \tau^2 A_j) \Big] + r'V^{-1}r
   + [\log|X'V^{-1}X|] + m \log 2\pi,

:math:`m = n - p` and the bracket under REML.  Derivatives are exact:
:math:`\partial(-2\ell)/\partial\gamma_k = \mathrm{tr}(P K_k) - y'P K_k P y` with
:math:`K = 11', I, \mathrm{diag}(1/n)`.  Source: RaudenbushBryk1985; detection of schools uses the
same likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from resilience.results import Convergence

__all__ = ["SummaryData", "SummaryFit", "fit_summaries", "summary_criterion"]

Floats = NDArray[np.float64]
Method = Literal["reml", "ml"]

_ENTRY_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class SummaryData:
    """Means of schools (and years), sorted by school.

    Attributes
    ----------
    X : ndarray of shape (n_rows, p)
        Covariates, with the column of ones where there is one.
    y : ndarray of shape (n_rows,)
        Means.
    school : ndarray of shape (n_rows,), int
        Codes 0 … J − 1, ascending.
    known : ndarray of shape (n_rows,)
        Known sampling variances; zeros where the pupil variance is estimated.
    inverse_n : ndarray of shape (n_rows,)
        1/n where the pupil variance is estimated; zeros otherwise.
    """

    X: Floats
    y: Floats
    school: NDArray[np.int64]
    known: Floats
    inverse_n: Floats

    @property
    def n_schools(self) -> int:
        """Number of schools."""
        return int(self.school[-1]) + 1

    def by_school(self, values: Floats) -> Floats:
        """Sum rows of each school."""
        return np.asarray(np.add.reduceat(values, self._starts, axis=0))

    @property
    def _starts(self) -> NDArray[np.int64]:
        return np.searchsorted(self.school, np.arange(self.n_schools)).astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class SummaryFit:
    """A fitted model of means.

    Attributes
    ----------
    beta, beta_covariance : ndarray of shape (p,), (p, p)
        Fixed effects.
    tau2, omega2, sigma2 : float
        Persistent, transient and pupil variance (0 where not in the model).
    criterion : float
        −2 log (restricted) likelihood with all constants.
    effect, conditional, prediction : ndarray of shape (n_schools,)
        Persistent effects and their conditional and prediction-error variances.
    sigma2_std_error : float
        Standard error of ``sigma2`` from the observed information; NaN where it is not estimated
        or the information is not positive definite.
    sampling : ndarray of shape (n_rows,)
        Sampling variances used.
    residual : ndarray of shape (n_rows,)
        y − Xβ.
    convergence : Convergence
        How the optimisation ended.
    """

    beta: Floats
    beta_covariance: Floats
    tau2: float
    omega2: float
    sigma2: float
    sigma2_std_error: float
    criterion: float
    effect: Floats
    conditional: Floats
    prediction: Floats
    sampling: Floats
    residual: Floats
    convergence: Convergence

    def zero_variance(self, variance: float) -> bool:
        """Tell whether a variance component is zero up to the search's own accuracy."""
        return variance <= 1e-7 * float(np.var(self.residual))


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    criterion: float
    gradient: Floats
    beta: Floats
    inverse: Floats
    weights: Floats
    total_weight: Floats
    residual: Floats


def _state(data: SummaryData, gamma: Floats, method: Method) -> _State:
    tau2, omega2, sigma2 = gamma
    w = 1.0 / (omega2 + data.known + sigma2 * data.inverse_n)
    A = data.by_school(w)
    pull = (tau2 / (1.0 + tau2 * A))[data.school]

    def solve(M: Floats) -> Floats:
        """Return V⁻¹M for a matrix with the rows of the data."""
        weighted = w[:, None] * M
        return np.asarray(weighted - (w * pull)[:, None] * data.by_school(weighted)[data.school])

    VX = solve(data.X)
    inverse = linalg.inv(data.X.T @ VX)
    beta = inverse @ (VX.T @ data.y)
    r = data.y - data.X @ beta
    Pr = solve(r[:, None])[:, 0]
    n, p = data.X.shape
    m = n - p if method == "reml" else n
    value = -np.log(w).sum() + np.log1p(tau2 * A).sum() + r @ Pr + m * np.log(2 * np.pi)
    diagonal = w - w * w * pull
    # 1_j'V⁻¹1_j and, under REML, the downdate by the fixed effects
    block = A / (1.0 + tau2 * A)
    if method == "reml":
        value -= float(np.linalg.slogdet(inverse)[1])
        diagonal = diagonal - np.einsum("ia,ab,ib->i", VX, inverse, VX, optimize=True)
        sums = data.by_school(VX)
        block = block - np.einsum("ja,ab,jb->j", sums, inverse, sums, optimize=True)
    gradient = np.array(
        [
            block.sum() - (data.by_school(Pr) ** 2).sum(),
            diagonal.sum() - (Pr**2).sum(),
            (diagonal * data.inverse_n).sum() - (Pr**2 * data.inverse_n).sum(),
        ]
    )
    return _State(
        criterion=float(value),
        gradient=gradient,
        beta=beta,
        inverse=inverse,
        weights=w,
        total_weight=A,
        residual=r,
    )


def summary_criterion(
    data: SummaryData, tau2: float, omega2: float, sigma2: float, *, method: Method = "reml"
) -> tuple[float, Floats]:
    """Return −2 log (restricted) likelihood and its gradient in the three variances."""
    state = _state(data, np.array([tau2, omega2, sigma2]), method)
    return state.criterion, state.gradient


def fit_summaries(
    data: SummaryData, *, transient: bool, estimate_sd: bool, method: Method = "reml"
) -> SummaryFit:
    """Fit the model of means.

    Parameters
    ----------
    data : SummaryData
        Sorted by school.
    transient : bool
        Whether the model has a school-by-year part (needs schools with two years).
    estimate_sd : bool
        Whether the pupil variance is estimated.
    method : {"reml", "ml"}
        Criterion.
    """
    coefficients = np.linalg.lstsq(data.X, data.y, rcond=None)[0]
    unit2 = float(np.var(data.y - data.X @ coefficients)) or 1.0
    free = np.array([True, transient, estimate_sd])
    mean_inverse = float(data.inverse_n.mean()) or 1.0
    size = np.array([unit2, unit2, unit2 / mean_inverse])
    log: list[tuple[int, float]] = []

    def value(x: Floats) -> tuple[float, Floats]:
        gamma = np.zeros(3)
        gamma[free] = x * size[free]
        state = _state(data, gamma, method)
        log.append((len(log) + 1, state.criterion))
        return state.criterion, state.gradient[free] * size[free]

    starts = [np.array([0.5, 0.2, 0.3])[free], np.array([0.2, 0.5, 0.1])[free]]
    # a floor above zero where otherwise nothing would be left in a diagonal entry
    floor = np.array([0.0, 0.0 if (data.known > 0).all() or estimate_sd else 1e-8, 1e-8])[free]
    bounds = [(float(low), None) for low in floor]
    runs = [
        optimize.minimize(
            value,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500},
        )
        for start in starts
    ]
    best = min(runs, key=lambda run: float(run.fun))
    gamma = np.zeros(3)
    gamma[free] = best.x * size[free]
    state = _state(data, gamma, method)
    slope = state.gradient[free] * size[free]
    active = np.where(best.x <= floor + _ENTRY_TOLERANCE, np.minimum(slope, 0.0), slope)
    norm = float(np.abs(active).max())
    inner = best.x > floor + 1e-6
    hessian = _hessian(lambda x: value(x)[1], best.x, inner)
    positive = bool(np.linalg.eigvalsh(hessian)[0] > 0) if inner.any() else None
    record = Convergence(
        converged=bool(norm <= 1e-3 * max(1.0, len(data.y) / 1000)),
        n_evaluations=len(log),
        n_iterations=int(sum(run.nit for run in runs)),
        gradient_norm=norm,
        hessian_positive=positive,
        singular=bool((best.x[: int(free[:2].sum())] <= 1e-8).any()),
        log=tuple(log),
        message=str(best.message),
    )
    deviation = float("nan")
    if estimate_sd and positive and inner[-1]:
        # the criterion is twice the negative log-likelihood
        deviation = float(np.sqrt(2.0 * np.linalg.inv(hessian)[-1, -1])) * float(size[-1])
    return _effects(data, gamma, state, record, deviation)


def _hessian(gradient: Callable[[Floats], Floats], x: Floats, inner: NDArray[np.bool_]) -> Floats:
    """Return the Hessian in the inner entries by central differences of the exact gradient."""
    rows = []
    for k in np.flatnonzero(inner):
        step = np.zeros_like(x)
        step[k] = 1e-4 * x[k]
        rows.append((gradient(x + step) - gradient(x - step))[inner] / (2.0 * step[k]))
    H = np.array(rows)
    return np.asarray(0.5 * (H + H.T))


def _effects(
    data: SummaryData, gamma: Floats, state: _State, record: Convergence, deviation: float
) -> SummaryFit:
    tau2 = float(gamma[0])
    spread = tau2 / (1.0 + tau2 * state.total_weight)
    weighted = state.weights[:, None]
    effect = spread * data.by_school(state.weights * state.residual)
    leverage = spread[:, None] * data.by_school(weighted * data.X)
    extra = np.einsum("ja,ab,jb->j", leverage, state.inverse, leverage, optimize=True)
    return SummaryFit(
        beta=state.beta,
        beta_covariance=state.inverse,
        tau2=tau2,
        omega2=float(gamma[1]),
        sigma2=float(gamma[2]),
        sigma2_std_error=deviation,
        criterion=state.criterion,
        effect=effect,
        conditional=spread,
        prediction=spread + extra,
        sampling=data.known + gamma[2] * data.inverse_n,
        residual=state.residual,
        convergence=record,
    )
