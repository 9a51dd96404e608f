r"""Value added where only means of an earlier procedure of the same cohort exist.

The prior mean of a school and its outcome mean rest on the same pupils.  With latent school means
of the prior and the outcome, regressed on the same covariates,

.. math::

   \bar p_j = x_j'\alpha + a_j + \bar e^p_j, \quad \bar y_j = x_j'\beta^* + b_j + \bar e^y_j, \quad
   \begin{pmatrix} a_j \\ b_j \end{pmatrix} \sim N\Big(0,
   \begin{pmatrix} A & \gamma A \\ \gamma A & \gamma^2A + \tau^2 \end{pmatrix}\Big), \quad
   \mathrm{Cov}\begin{pmatrix} \bar e^p \\ \bar e^y \end{pmatrix} = \frac1n
   \begin{pmatrix} \sigma_p^2 & \rho\sigma_p\sigma_y \\ \cdot & \sigma_y^2 \end{pmatrix},

the value-added effect is :math:`u_j = b_j - \gamma a_j`, of variance :math:`\tau^2`: the residual
of the latent outcome mean on the latent prior mean.  With :math:`\beta = \beta^* - \gamma\alpha`
this is :math:`\bar y = x'\beta + \gamma\,(\text{latent prior mean}) + u + \bar e^y`.  Given the
observed prior mean, an outcome mean measures :math:`u_j` with the variance

.. math::

   s_j^2 = \gamma^2A + \frac{\sigma_y^2}{n}
     - \frac{(\gamma A + \rho\sigma_p\sigma_y/n)^2}{A + \sigma_p^2/n},

which is :math:`\sigma_y^2(1-\rho^2)/n` where the slope between schools is that within them,
:math:`\gamma = \rho\sigma_y/\sigma_p`.  Ignoring the shared pupils takes :math:`\sigma_y^2/n`
instead and ascribes to noise what is value added.

Several cohorts have such a pair of latent means per school and per school and year, a
municipality level one more; each level has its own slope.  Slopes are functions of variances;
their error enters the standard errors of effects like that of a coefficient (asymptotically it is
independent of the coefficients' own).  Source: RaudenbushBryk1985 for one mean; the pair is their
model with a vector outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import check_rows
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.means.summary_blocks import semidefinite_root
from resilience.stats.means.summary_data import (
    Component,
    Outer,
    SharedPupils,
    SummaryData,
    Variances,
)
from resilience.stats.means.summary_fit import CellMeans, Predicted, SummaryFit, Target
from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.validation import check_columns, check_not_empty, check_numeric
from resilience.value_added.definitions.question import Question
from resilience.value_added.means.means_estimates import (
    MeansEstimates,
    VarianceRow,
    no_procedures,
    shared_errors,
)
from resilience.value_added.means.means_reading import MeansTable

__all__ = [
    "CohortPrior",
    "WithinCorrelation",
    "cohort_estimates",
    "cohort_summary",
    "within_correlation",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CohortPrior:
    """Means of an earlier procedure that the same pupils sat.

    Attributes
    ----------
    mean : str
        Column of the prior means.
    n : str, optional
        Column of the numbers of pupils behind them; the model's own ``n`` by default.  Where the
        two differ, the smaller group is taken to be part of the larger.
    variance : str, optional
        Column of sampling variances; otherwise ``sd`` squared over ``n``.
    sd : float or str, optional
        SD of pupils within schools on the prior, or its column; the model's own ``sd`` by default.
    grade : int, optional
        Grade of the earlier procedure: names the question.
    """

    mean: str
    n: str | None = None
    variance: str | None = None
    sd: float | str | None = None
    grade: int | None = None

    def __post_init__(self) -> None:
        Question("since_grade", self.grade)  # refuses what is no grade
        if self.variance is not None and self.sd is not None:
            raise SpecificationError(text("value_added_means.prior_both"))

    @property
    def columns(self) -> list[str]:
        """Columns the prior needs."""
        own = self.sd if isinstance(self.sd, str) else None
        return [c for c in (self.mean, self.n, self.variance, own) if c is not None]


@dataclass(frozen=True, kw_only=True)
class WithinCorrelation:
    """Correlation of two results of one pupil within schools.

    Attributes
    ----------
    estimate, std_error : float
        Pooled correlation and its standard error.
    n_pupils, n_schools : int
        Pupils with both results, groups (schools, or schools in one year) with at least two.
    columns : tuple of str
        The two results.
    """

    estimate: float
    std_error: float
    n_pupils: int
    n_schools: int
    columns: tuple[str, str]


def within_correlation(
    pupils: pd.DataFrame,
    columns: tuple[str, str] = ("prior_score", "score"),
    *,
    group: str | Sequence[str] = "school_id",
) -> WithinCorrelation:
    r"""Estimate the within-school correlation of two results from linked pupils.

    .. math::

       r = \frac{\sum (x - \bar x_j)(y - \bar y_j)}
                {\sqrt{\sum (x - \bar x_j)^2 \sum (y - \bar y_j)^2}}, \qquad
       \mathrm{se} = \frac{1 - r^2}{\sqrt{\nu - 1}}, \quad \nu = n - J

    Parameters
    ----------
    pupils : DataFrame
        One row per pupil, of any part of the region that links its pupils.
    columns : tuple of str
        The earlier and the later result.
    group : str or sequence of str
        School column; several columns (school and year) for deviations within each combination.

    Returns
    -------
    WithinCorrelation

    Raises
    ------
    DataError
        For missing columns, gaps, results without spread, or too few pupils.
    """
    first, second = columns
    keys = [group] if isinstance(group, str) else list(group)
    check_not_empty(pupils, table="pupils")
    check_columns(pupils, [first, second, *keys], table="pupils")
    check_numeric(pupils, [first, second], table="pupils")
    check_rows(pupils, [first, second, *keys], table="pupils", unit=keys[0])
    grouped = pupils.groupby(keys, observed=True)
    x, y = (
        (pupils[c].astype(float) - grouped[c].transform("mean").astype(float)).to_numpy(dtype=float)
        for c in (first, second)
    )
    sizes = grouped.size()
    n_pupils, freedom = len(pupils), len(pupils) - len(sizes)
    if freedom < 3:
        raise DataError(
            text("value_added_means.few_linked", n=n_pupils, schools=len(sizes), freedom=freedom)
        )
    for name, deviation in ((first, x), (second, y)):
        if not (np.abs(deviation) > 1e-12 * np.abs(pupils[name]).max()).any():
            raise DataError(text("value_added_means.flat_within", column=repr(name)))
    r = float((x @ y) / np.sqrt((x @ x) * (y @ y)))
    return WithinCorrelation(
        estimate=r,
        std_error=float((1.0 - r * r) / np.sqrt(freedom - 1)),
        n_pupils=n_pupils,
        n_schools=int((sizes > 1).sum()),
        columns=(first, second),
    )


def cohort_summary(
    table: MeansTable,
    *,
    prior: Floats,
    known: tuple[Floats, Floats],
    sizes: tuple[Floats, Floats],
    correlation: float,
    yearly: bool,
) -> SummaryData:
    """Return the engine's data: the prior mean of each row, then its outcome mean.

    Parameters
    ----------
    table : MeansTable
        Outcome means.
    prior : ndarray of shape (n_rows,)
        Prior means.
    known, sizes : (prior, outcome), ndarrays of shape (n_rows,)
        Sampling variances and numbers of pupils.
    correlation : float
        Correlation of the two results within schools.
    yearly : bool
        Whether there is a pair of latent means per school and year.
    """
    n, p = table.X.shape
    X = np.zeros((2 * n, 2 * p))
    X[1::2, :p] = table.X
    X[0::2, p:] = table.X
    traits = np.tile(np.array([0, 1], dtype=np.int64), n)
    components = [Component(traits=traits, size=2)]
    if yearly:
        components.append(Component(units=np.repeat(table.year, 2), traits=traits, size=2))
    return SummaryData(
        X=X,
        y=np.column_stack([prior, table.y]).ravel(),
        school=np.repeat(table.school, 2),
        known=np.column_stack(known).ravel(),
        inverse_n=np.zeros(2 * n),
        components=tuple(components),
        outer=None if table.outer is None else Outer(of_school=table.outer, traits=traits, size=2),
        shared=SharedPupils(
            cohorts=np.repeat(np.arange(n, dtype=np.int64), 2),
            correlation=correlation,
            sizes=np.column_stack(sizes).ravel(),
        ),
    )


def _slope(Q: Floats) -> float:
    """Return the slope of the latent outcome mean on the latent prior mean."""
    return float(Q[1, 0] / Q[0, 0]) if Q[0, 0] > 0 else 0.0


def _levels(variances: Variances) -> list[Floats]:
    """Return the covariances of all levels: components, then the outer level."""
    return [*variances.components, *([variances.outer] if len(variances.outer) else [])]


def _sloped(fit: SummaryFit) -> tuple[int, ...]:
    """Return the levels whose latent prior means vary: the others have no slope."""
    return tuple(
        level
        for level, Q in enumerate(_levels(fit.variances))
        if Q[0, 0] > 1e-7 * fit.layout.scales[level][0] ** 2
    )


def _slopes(variances: Variances, levels: tuple[int, ...]) -> Floats:
    return np.array([_slope(_levels(variances)[level]) for level in levels])


def _residual_variance(Q: Floats) -> float:
    return max(0.0, float(Q[1, 1]) - _slope(Q) * float(Q[1, 0]))


def _with_slope(variances: Variances, level: int, slope: float) -> Variances:
    """Return the variances with another slope at one level, its two variances kept."""

    def changed(Q: Floats) -> Floats:
        A = Q[0, 0]
        return np.array([[A, slope * A], [slope * A, slope**2 * A + _residual_variance(Q)]])

    if level == len(variances.components):
        return replace(variances, outer=changed(variances.outer))
    parts = list(variances.components)
    parts[level] = changed(parts[level])
    return replace(variances, components=tuple(parts))


def _contrast(slope: float) -> Floats:
    return np.array([-slope, 1.0])


def _lasting(variances: Variances) -> Target:
    return Target(parts=((0, _contrast(_slope(variances.components[0])), None),))


def _cells(fit: SummaryFit, table: MeansTable) -> CellMeans:
    components, outer = fit.variances.components, fit.variances.outer
    parts = tuple((k, _contrast(_slope(Q)), None) for k, Q in enumerate(components))
    weights = _contrast(_slope(outer)) if len(outer) else np.zeros(0)
    return fit.cell_means(np.repeat(table.cells, 2), Target(parts=parts), weights)


def _moved_by_slopes(fit: SummaryFit, function: Callable[[SummaryFit], Floats]) -> Floats:
    """Return minus the derivatives of ``function`` in the slopes, shape (n, n_slopes)."""
    columns = []
    sloped = _sloped(fit)
    for level, slope in zip(sloped, _slopes(fit.variances, sloped), strict=True):
        scale = fit.layout.scales[level]
        step = 1e-4 * float(scale[1] / scale[0])
        sides = [
            function(fit.at(_with_slope(fit.variances, level, slope + sign * step)))
            for sign in (1.0, -1.0)
        ]
        columns.append((sides[1] - sides[0]) / (2.0 * step))
    return np.column_stack([np.zeros((len(function(fit)), 0)), *columns])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Coordinates:
    """From (β*, α) and slopes, of independent errors, to (β, slopes, α) as printed."""

    alpha: Floats
    slope: float  # of the school level
    first: bool  # whether it is the first of the slopes; otherwise the school level has none
    joint: Floats  # covariance of (β*, α, slopes)

    @property
    def forward(self) -> Floats:
        p, k = len(self.alpha), len(self.joint) - 2 * len(self.alpha)
        T = np.zeros((2 * p + k, 2 * p + k))
        T[:p, :p] = np.eye(p)
        T[:p, p : 2 * p] = -self.slope * np.eye(p)
        if self.first:
            T[:p, 2 * p] = -self.alpha
        T[p : p + k, 2 * p :] = np.eye(k)
        T[p + k :, p : 2 * p] = np.eye(p)
        return T

    @property
    def covariance(self) -> Floats:
        return np.asarray(self.forward @ self.joint @ self.forward.T)

    def leverage(self, reduced: Floats) -> Floats:
        """Return the leverages of the printed coefficients."""
        return np.asarray(np.linalg.solve(self.forward.T, reduced.T).T)


def cohort_estimates(
    table: MeansTable, fit: SummaryFit, *, prior: str, group: str, time: str | None, outer: str
) -> tuple[MeansEstimates, bool]:
    """Return effects and variances, and whether the slopes' errors are known.

    Parameters
    ----------
    table : MeansTable
        Outcome means.
    fit : SummaryFit
        The joint fit.
    prior, group, time, outer : str
        Names of the prior column, the school, year and outer column.
    """
    p = len(table.terms)
    sloped = _sloped(fit)
    slopes = _slopes(fit.variances, sloped)
    spread = fit.delta_covariance(lambda v: _slopes(v, sloped))
    determined = bool(np.isfinite(spread).all())
    if not determined:
        spread = np.zeros_like(spread)
    joint = np.zeros((2 * p + len(slopes), 2 * p + len(slopes)))
    joint[: 2 * p, : 2 * p] = fit.beta_covariance
    joint[2 * p :, 2 * p :] = spread
    alpha = fit.beta[p:]
    slope = _slope(fit.variances.components[0]) if 0 in sloped else 0.0
    coordinates = _Coordinates(alpha=alpha, slope=slope, first=0 in sloped, joint=joint)
    found = fit.predict(_lasting(fit.variances))
    cells = _cells(fit, table)
    root = semidefinite_root(spread)
    by_slopes = _moved_by_slopes(fit, lambda f: f.predict(_lasting(f.variances)).effect)
    design = np.hstack([cells.design, _moved_by_slopes(fit, lambda f: _cells(f, table).residual)])
    levels = [group, *([f"{group}:{time}"] if time else []), *([outer] if outer else [])]
    covariance = coordinates.covariance
    estimates = MeansEstimates(
        terms=(
            *table.terms,
            *(prior if k == 0 else f"{prior}|{levels[k]}" for k in sloped),
            *(f"{prior} ~ {term}" for term in table.terms),
        ),
        beta=np.concatenate([fit.beta[:p] - slope * alpha, slopes, alpha]),
        beta_covariance=covariance,
        effect=found.effect,
        errors=EffectErrors(
            conditional=found.conditional,
            leverage=coordinates.leverage(np.hstack([found.leverage, by_slopes])),
            beta_covariance=covariance,
            shared=shared_errors(table.outer, found.loadings),
            coefficient_part=np.hstack([found.coefficient_part, by_slopes @ root]),
        ),
        cells=replace(cells, design=coordinates.leverage(design)),
        expected=table.y - cells.residual,
        variance_rows=_variance_rows(fit, prior, levels, outer),
        persistent=_residual_variance(fit.variances.components[0]),
        transient=_residual_variance(fit.variances.components[1]) if time else 0.0,
        outer=_outer(fit, root) if outer else None,
        procedures=no_procedures(),
    )
    return estimates, determined


def _variance_rows(fit: SummaryFit, prior: str, levels: list[str], outer: str) -> list[VarianceRow]:
    """Return value added and latent prior means of each level, from outside to inside."""
    matrices = [*fit.variances.components, fit.variances.outer]
    # without an outer level the last covariance is empty, and the zip leaves it out
    found = list(zip(levels, matrices, fit.layout.scales, strict=False))
    rows = []
    for level, Q, scale in sorted(found, key=lambda part: part[0] != outer):
        rows.append(VarianceRow(level, "Intercept", _residual_variance(Q), float(scale[1])))
        rows.append(VarianceRow(level, prior, float(Q[0, 0]), float(scale[0])))
    return rows


def _outer(fit: SummaryFit, root: Floats) -> Predicted:
    """Return the outer effects, the errors of the slopes included."""

    def residual(fitted: SummaryFit) -> Predicted:
        return fitted.predict_outer(_contrast(_slope(fitted.variances.outer)))

    found = residual(fit)
    by_slopes = _moved_by_slopes(fit, lambda f: residual(f).effect)
    part = np.hstack([found.coefficient_part, by_slopes @ root])
    return replace(found, coefficient_part=part)
