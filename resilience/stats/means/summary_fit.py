r"""The fitted model of means: coefficients, effects of any target, their errors.

A target is a linear function of random effects, :math:`t_j = \sum_c w_c'b_{c,j}`.  With
:math:`q_j = \mathrm{Cov}(y_j, t_j)`, the posterior covariance :math:`S_m` of the outer effects and
:math:`h_j = U_j'V_j^{-1}q_j`

.. math::

   \hat t_j = q_j'V_j^{-1}(r_j - U_j\hat g_m), \qquad
   \mathrm{Var}(t_j \mid y, \beta) = w'Qw - q_j'V_j^{-1}q_j + h_j'S_mh_j,

two schools of one outer unit share :math:`h_j'S_mh_k`, and :math:`\hat t_j` moves with the
coefficients by :math:`-\ell_j'`, :math:`\ell_j = X_j'V_j^{-1}q_j - (\sum_k X_k'V_k^{-1}U_k)S_mh_j`.
Source: Henderson1975.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from resilience.results import Convergence
from resilience.stats.means.summary_blocks import (
    Batch,
    Method,
    State,
    covariance,
    evaluate,
    gradient,
    make_batches,
    semidefinite_root,
)
from resilience.stats.means.summary_data import Codes, Floats, SummaryData, Variances
from resilience.stats.means.summary_search import Layout, Search, layout_of

__all__ = [
    "CellMeans",
    "Predicted",
    "SummaryFit",
    "Target",
    "fit_summaries",
    "summary_criterion",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A linear function of the random effects of each school.

    Attributes
    ----------
    parts : tuple of (component, weights, unit)
        Number of the component, weights of its traits, and the unit meant (None: the school's).
    """

    parts: tuple[tuple[int, Floats, int | None], ...]

    def variance(self, variances: Variances) -> float:
        """Return the variance of the target before any data."""
        return float(sum(w @ variances.components[c] @ w for c, w, _ in self.parts))

    def covariance(self, data: SummaryData, rows: Codes, variances: Variances) -> Floats:
        """Return the covariance of the target with rows, of the shape of ``rows``."""
        found = np.zeros(rows.shape)
        for at, weights, unit in self.parts:
            component = data.components[at]
            pull = weights @ variances.components[at]
            part = pull[0] if component.traits is None else pull[component.traits[rows]]
            if unit is not None and component.units is not None:
                part = part * (component.units[rows] == unit)
            found = found + part
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """Predicted values of a target.

    Attributes
    ----------
    effect : ndarray of shape (n,)
        Best linear unbiased predictions.
    conditional : ndarray of shape (n,)
        Posterior variances with the coefficients known.
    leverage : ndarray of shape (n, p)
        Predictions move by minus this times the coefficients.
    coefficient_part : ndarray of shape (n, p)
        Leverage times a root of the coefficients' covariance, without cancellation.
    loadings : ndarray of shape (n, q)
        Conditional covariance of two schools of one outer unit: product of their loadings.
    """

    effect: Floats
    conditional: Floats
    leverage: Floats
    coefficient_part: Floats
    loadings: Floats

    @property
    def prediction(self) -> Floats:
        """Prediction-error variances, error of the coefficients included."""
        return np.asarray(self.conditional + (self.coefficient_part**2).sum(axis=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class CellMeans:
    """Each cell (a school's year) as one unshrunken measure of a target.

    Attributes
    ----------
    residual : ndarray of shape (n_cells,)
        Unbiased measure of the target from the rows of the cell alone.
    sampling_variance : ndarray of shape (n_cells,)
        Its error variance.
    design : ndarray of shape (n_cells, p)
        The residual moves by minus this times the coefficients.
    """

    residual: Floats
    sampling_variance: Floats
    design: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class SummaryFit:
    """A fitted model of means.

    The work is done on an orthonormal basis of the covariates and on residuals of least squares,
    so that covariates far from zero cost no digits; ``basis`` and ``base`` lead back.

    Attributes
    ----------
    data : SummaryData
        The means on the orthonormal basis.
    batches : tuple of Batch
        Schools by number of rows.
    basis : ndarray of shape (p, p)
        X = (columns worked on) · basis.
    base : ndarray of shape (p,)
        Coefficients of least squares.
    state : State
        The evaluation at the optimum.
    adjustment : float
        What the slopes between latent means add to the criterion.
    method : {"reml", "ml"}
        Criterion.
    layout : Layout
        How the free parameters map to variances.
    optimum : ndarray of shape (n_free,)
        The free parameters.
    parameter_covariance : ndarray of shape (n_free, n_free)
        Of the free parameters, from the observed information; zeros for those on their bound, NaN
        where the information is not positive definite.
    convergence : Convergence
        How the optimisation ended.
    """

    data: SummaryData
    batches: tuple[Batch, ...]
    basis: Floats
    base: Floats
    state: State
    adjustment: float
    method: Method
    layout: Layout
    optimum: Floats
    parameter_covariance: Floats
    convergence: Convergence

    @property
    def variances(self) -> Variances:
        """Variances at the optimum."""
        return self.state.variances

    @cached_property
    def criterion(self) -> float:
        """−2 log (restricted) likelihood with all constants, in the covariates as given."""
        own = self.state.criterion + self.adjustment
        return own + _basis_constant(self.basis, self.method)

    @cached_property
    def beta(self) -> Floats:
        """Coefficients."""
        return np.asarray(self.base + linalg.solve_triangular(self.basis, self.state.beta))

    @cached_property
    def beta_covariance(self) -> Floats:
        """Covariance of the coefficients."""
        half = linalg.solve_triangular(self.basis, semidefinite_root(self.state.covariance))
        return np.asarray(half @ half.T)

    @cached_property
    def residual(self) -> Floats:
        """Observed minus expected means, shape (n_rows,)."""
        return np.asarray(self.data.y - self.data.X @ self.state.beta)

    @property
    def sampling(self) -> Floats:
        """Sampling variances used, shape (n_rows,)."""
        return self.data.known + self.variances.sigma2 * self.data.inverse_n

    @property
    def sigma2_std_error(self) -> float:
        """Standard error of the pupil variance; NaN where it is not estimated or not inner."""
        if not self.layout.sigma2_scale or self.optimum[-1] <= self.layout.floors[-1] + 1e-6:
            return float("nan")
        return float(np.sqrt(self.parameter_covariance[-1, -1])) * self.layout.sigma2_scale

    def delta_covariance(self, function: Callable[[Variances], Floats]) -> Floats:
        """Return the covariance of a function of the variances, by the delta method."""
        rows = []
        for k in range(self.layout.n_free):
            step = np.zeros(self.layout.n_free)
            step[k] = 1e-5 * max(abs(self.optimum[k]), 1e-3)
            sides = [function(self.layout.variances(self.optimum + s * step)) for s in (1, -1)]
            rows.append((sides[0] - sides[1]) / (2 * step[k]))
        jacobian = np.array(rows)
        inner = np.diag(self.parameter_covariance) != 0
        return np.asarray(
            jacobian[inner].T @ self.parameter_covariance[np.ix_(inner, inner)] @ jacobian[inner]
        )

    def at(self, variances: Variances) -> SummaryFit:
        """Return the fit with other variances but the same coefficients."""
        state = evaluate(self.data, self.batches, variances, self.method)
        return replace(self, state=replace(state, beta=self.state.beta))

    def predict(self, target: Target) -> Predicted:
        """Predict a target for every school."""
        data, state = self.data, self.state
        n, p, q = data.n_schools, data.X.shape[1], len(self.variances.outer)
        effect, conditional = np.zeros(n), np.zeros(n)
        leverage, loadings = np.zeros((n, p)), np.zeros((n, q))
        prior = target.variance(self.variances)
        for batch, inverse in zip(self.batches, state.inverses, strict=True):
            pull = target.covariance(data, batch.rows, self.variances)
            w = np.einsum("jab,jb->ja", inverse, pull)
            at = batch.school
            effect[at] = (w * self.residual[batch.rows]).sum(axis=1)
            conditional[at] = prior - (w * pull).sum(axis=1)
            leverage[at] = np.einsum("ja,jap->jp", w, data.X[batch.rows])
            if data.outer is not None:
                unit = data.outer.of_school[at]
                h = np.einsum("ja,jaq->jq", w, batch.loads)
                away = np.einsum("jq,jqr->jr", h, state.outer_gain[unit])
                effect[at] -= (away * self._outer_pull[unit]).sum(axis=1)
                leverage[at] -= np.einsum("jr,jrp->jp", away, state.outer_cross[unit][..., :-1])
                conditional[at] += (away * h).sum(axis=1)
                loadings[at] = np.einsum("jq,jqr->jr", h, semidefinite_root(state.outer_gain)[unit])
        return self._predicted(effect, conditional, leverage, loadings)

    def predict_outer(self, weights: Floats) -> Predicted:
        """Predict a weighted sum of the traits of every outer unit."""
        gain = np.einsum("q,mqr->mr", weights, self.state.outer_gain)
        return self._predicted(
            (gain * self._outer_pull).sum(axis=1),
            gain @ weights,
            np.einsum("mr,mrp->mp", gain, self.state.outer_cross[..., :-1]),
            np.zeros((len(gain), 0)),
        )

    @cached_property
    def _outer_pull(self) -> Floats:
        cross = self.state.outer_cross
        return np.asarray(cross[..., -1] - cross[..., :-1] @ self.state.beta)

    def _predicted(
        self, effect: Floats, conditional: Floats, leverage: Floats, loadings: Floats
    ) -> Predicted:
        return Predicted(
            effect=effect,
            conditional=np.maximum(conditional, 0.0),
            leverage=leverage @ self.basis,
            coefficient_part=leverage @ semidefinite_root(self.state.covariance),
            loadings=loadings,
        )

    def cell_means(self, cells: Codes, target: Target, outer_weights: Floats) -> CellMeans:
        r"""Return each cell's own measure of what the target and its outer unit add to it.

        With :math:`V` the full covariance of the cell's rows, :math:`\varphi` the variance of the
        target (outer effect included) and :math:`c = q/\varphi` its pull on the rows,

        .. math::

           d = \frac{c'V^{-1}r}{c'V^{-1}c}, \qquad s^2 = \frac{1}{c'V^{-1}c} - \varphi,

        so that the target's posterior given the cell alone is that of one measure d with sampling
        variance s².  A cell of one row is its own residual and sampling variance.

        Parameters
        ----------
        cells : ndarray of shape (n_rows,), int
            Codes 0, 1, … of the cells, parts of schools.
        target : Target
            Components with unit None mean the cell's own unit.
        outer_weights : ndarray of shape (q,)
            Weights of the outer traits.
        """
        n, p = int(cells.max()) + 1, self.data.X.shape[1]
        residual, spread, design = np.zeros(n), np.zeros(n), np.zeros((n, p))
        G = self.variances.outer
        prior = target.variance(self.variances) + float(outer_weights @ G @ outer_weights)
        # without any variance the limit of equal small ones: only the direction of the pull counts
        unit = self.variances if prior > 0 else _ones(self.variances)
        size = prior or target.variance(unit) + float(outer_weights @ unit.outer @ outer_weights)
        for batch in make_batches(self.data, cells):
            V = covariance(batch, self.variances)
            V += batch.loads @ G @ np.swapaxes(batch.loads, 1, 2)
            c = target.covariance(self.data, batch.rows, unit)
            c = (c + batch.loads @ unit.outer @ outer_weights) / size
            w = np.linalg.solve(V, c[..., None])[..., 0]
            weight = (w * c).sum(axis=1)
            at = batch.school
            residual[at] = (w * self.residual[batch.rows]).sum(axis=1) / weight
            spread[at] = 1.0 / weight - prior
            design[at] = np.einsum("ja,jap->jp", w, self.data.X[batch.rows]) / weight[:, None]
        return CellMeans(residual=residual, sampling_variance=spread, design=design @ self.basis)


def _ones(variances: Variances) -> Variances:
    """Return unit covariances without correlation."""
    return Variances(
        components=tuple(np.eye(len(Q)) for Q in variances.components),
        outer=np.eye(len(variances.outer)),
    )


def _basis_constant(basis: Floats, method: Method) -> float:
    return 2.0 * float(np.log(np.abs(np.diag(basis))).sum()) if method == "reml" else 0.0


def _orthonormal(data: SummaryData) -> tuple[SummaryData, Floats, Floats]:
    """Return the data on an orthonormal basis, the basis and the coefficients taken out."""
    basis, triangle = np.linalg.qr(data.X)
    rotated = basis.T @ data.y
    base = linalg.solve_triangular(triangle, rotated)
    return replace(data, X=basis, y=data.y - basis @ rotated), triangle, base


def summary_criterion(
    data: SummaryData, variances: Variances, *, method: Method = "reml"
) -> tuple[float, Variances]:
    """Return −2 log (restricted) likelihood and its derivatives in the covariances.

    An entry off the diagonal counts once for each of its two places, as if they were free.
    """
    work, basis, _ = _orthonormal(data)
    batches = make_batches(work)
    state = evaluate(work, batches, variances, method)
    return (
        state.criterion + _basis_constant(basis, method),
        gradient(work, batches, state, method),
    )


def fit_summaries(
    data: SummaryData,
    *,
    estimate_sd: bool = False,
    slopes: bool = False,
    method: Method = "reml",
) -> SummaryFit:
    """Fit the model of means.

    Parameters
    ----------
    data : SummaryData
        Sorted by school.
    estimate_sd : bool
        Whether the pupil variance is estimated.
    slopes : bool
        Whether components of two traits are regressions of the second on the first, whose slopes
        cost degrees of freedom under REML; a slope on latent means whose variance is not above
        twice its standard error is left out.
    method : {"reml", "ml"}
        Criterion.
    """
    work, basis, base = _orthonormal(data)
    layout = layout_of(work, estimate_sd=estimate_sd)
    search = Search(data=work, layout=layout, method=method)
    optimum, hessian, convergence = search.run()
    found = _parameter_covariance(hessian, search.inner(optimum))
    if slopes and method == "reml":
        search.slopes = _clear_slopes(layout, optimum, found)
        if search.slopes:
            optimum, hessian, convergence = search.run(optimum)
            found = _parameter_covariance(hessian, search.inner(optimum))
    state = search.state(optimum)
    return SummaryFit(
        data=work,
        batches=search.batches,
        basis=basis,
        base=base,
        state=state,
        adjustment=search.adjustment(optimum, state).value if search.slopes else 0.0,
        method=method,
        layout=layout,
        optimum=optimum,
        parameter_covariance=found,
        convergence=convergence,
    )


def _clear_slopes(layout: Layout, optimum: Floats, covariance: Floats) -> tuple[int, ...]:
    """Return the components of two traits whose first latent mean clearly varies."""
    found = []
    for k, scale in enumerate(layout.scales[:-1]):
        at = layout.position(k)
        # the SD is searched: a variance of twice its standard error is an SD of four of its own
        if len(scale) == 2 and optimum[at] > 4.0 * np.sqrt(covariance[at, at]) > 0.0:
            found.append(k)
    return tuple(found)


def _parameter_covariance(hessian: Floats | None, inner: NDArray[np.bool_]) -> Floats:
    found = np.zeros((len(inner), len(inner)))
    if hessian is None:
        return found
    at = np.ix_(np.flatnonzero(inner), np.flatnonzero(inner))
    if len(hessian) != int(inner.sum()) or np.linalg.eigvalsh(hessian)[0] <= 0:
        found[at] = np.nan
        return found
    # the criterion is twice the negative log-likelihood
    found[at] = 2.0 * np.linalg.inv(hessian)
    return found
