"""What a school's data suffice for, and predictions of what lasts, of a year, of the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.stats.prediction_errors import coefficient_half
from resilience.stats.states import YearTarget, target_posteriors
from resilience.validation import check_fraction, check_positive, shorten

if TYPE_CHECKING:
    from resilience.value_added.results import EffectsResults

__all__ = [
    "Target",
    "predicted",
    "read_target",
    "sufficiency_table",
    "target_table",
    "year_numbers",
]

Floats = NDArray[np.float64]
Target = Literal["persistent", "last_year", "next_year"] | Mapping[int, float]

_TARGETS = ("persistent", "last_year", "next_year")


# -- sufficiency -------------------------------------------------------------------------------


def sufficiency_table(
    results: EffectsResults,
    *,
    reliability: float | None = None,
    std_error: float | None = None,
    half_width: float | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    r"""Return which schools have data enough for an asked precision, and what the others lack.

    The asked precision is turned into the reliability :math:`\lambda_c` at which it is met.  A
    reliability is that itself; an interval of half width h asks for the standard error h/z; a
    standard error s, error of the coefficients included, for the least solution of

    .. math:: \sigma_u^2(1-\lambda) + g_j\lambda^2 = s^2, \qquad
              g_j = \bar x_j'C\bar x_j = (\mathrm{std\_error}_j^2 -
              \mathrm{conditional\_sd}_j^2)/\lambda_j^2 ,

    since the school's leverage is :math:`\lambda_j\bar x_j`.  With the precision
    :math:`A_c = \lambda_c/(\sigma_u^2(1-\lambda_c))`, :math:`\sigma_v^2` the transient variance,
    :math:`\sigma_e^2` the pupil variance behind the school's means and n its mean yearly number of
    pupils

    .. math:: \mathrm{pupils} = \frac{\sigma_e^2}{1/A_c - \sigma_v^2} \text{ in one year}, \qquad
              \mathrm{years} = A_c(\sigma_v^2 + \sigma_e^2/n) ,

    both rounded up and total, not in addition to what there is.  Pupils are infinite where
    :math:`\sigma_v^2 \ge 1/A_c`: the part of one year that passes alone exceeds the asked
    precision, and only years help.  Both are infinite where the equation has no solution: the
    error of the coefficients alone exceeds it, and only more schools help.

    Parameters
    ----------
    results : EffectsResults
        Any results of school effects; pupils' data are not needed.
    reliability, std_error, half_width : float
        Exactly one of them: in (0, 1), or above 0 in outcome units.
    level : float
        Coverage of the interval of ``half_width``.

    Returns
    -------
    DataFrame
        ``school_id n_pupils n_years std_error reliability verdict pupils_needed years_needed
        reason``.

    Raises
    ------
    SpecificationError
        Unless exactly one precision is asked for, within its range.

    References
    ----------
    RaudenbushBryk2002, chapter 3.
    """
    asked = {"reliability": reliability, "std_error": std_error, "half_width": half_width}
    given = {name: value for name, value in asked.items() if value is not None}
    if len(given) != 1:
        raise SpecificationError(text("value_added.one_precision", given=", ".join(given) or "—"))
    check_fraction(level, argument="level", closed=False)
    table = results.school_effects
    persistent = results.variances["persistent"]
    error = table["std_error"].to_numpy(dtype=float)
    trust = table["reliability"].to_numpy(dtype=float)
    if reliability is not None:
        check_fraction(reliability, argument="reliability", closed=False)
        critical = np.full(len(table), reliability if persistent > 0 else np.nan)
        enough = trust >= reliability - 1e-12
    else:
        bound = _standard_error(std_error, half_width, level)
        enough = error <= bound * (1.0 + 1e-12)
        critical = _critical_reliability(results, bound)
    cohort, pupil_variance = _cohorts(results)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.maximum(critical, 0.0) / (persistent * (1.0 - critical))
        room = 1.0 / precision - results.variances["transient"]
        pupils = np.where(room > 0, pupil_variance / room, np.inf)
        years = precision * (results.variances["transient"] + pupil_variance / cohort)
    unsolved = np.isnan(critical)
    pupils, years = _consistent(
        table,
        np.where(unsolved, np.inf, _rounded_up(pupils)),
        np.where(unsolved, np.inf, _rounded_up(years)),
        enough,
    )
    reasons = [
        _reason(bool(e), bool(u), p, y, c, results)
        for e, u, p, y, c in zip(enough, unsolved, pupils, years, cohort, strict=True)
    ]
    return table[["school_id", "n_pupils", "n_years", "std_error", "reliability"]].assign(
        verdict=np.where(enough, "yes", "insufficient_data"),
        pupils_needed=pupils,
        years_needed=years,
        reason=pd.Series(reasons, index=table.index, dtype=object),
    )


def _standard_error(std_error: float | None, half_width: float | None, level: float) -> float:
    if std_error is not None:
        return check_positive(std_error, argument="std_error")
    assert half_width is not None
    check_positive(half_width, argument="half_width")
    return half_width / float(stats.norm.ppf(0.5 + level / 2.0))


def _critical_reliability(results: EffectsResults, bound: float) -> Floats:
    """Return the least reliability with the asked standard error; NaN where there is none."""
    persistent = results.variances["persistent"]
    trust = results.school_effects["reliability"].to_numpy(dtype=float)
    excess = results.errors.prediction - np.maximum(results.errors.conditional, 0.0)
    missing = persistent - bound**2
    if persistent <= 0:
        return np.full(len(trust), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        g = np.where(trust > 0, excess / trust**2, 0.0)
        discriminant = persistent**2 - 4.0 * g * missing
        root = 2.0 * missing / (persistent + np.sqrt(discriminant))
    return np.where((discriminant >= 0) & (root < 1.0), root, np.nan)


def _cohorts(results: EffectsResults) -> tuple[Floats, Floats]:
    """Return per school the mean yearly number of pupils and the pupil variance behind its means.

    The second is that of a school whose years all had the mean number of pupils and the mean
    precision; schools without a usable year take it from all schools.
    """
    cells = _cells(results)
    by_school = cells.groupby("school_id", sort=False)[["n_pupils", "precision"]].mean()
    ordered = by_school.reindex(results.school_effects["school_id"])
    cohort = ordered["n_pupils"].to_numpy(dtype=float)
    pooled = float(cells["n_pupils"].sum() / cells["precision"].sum()) if len(cells) else np.nan
    variance = cohort / ordered["precision"].to_numpy(dtype=float)
    return cohort, np.where(np.isfinite(variance), variance, pooled)


def _cells(results: EffectsResults) -> pd.DataFrame:
    """Return ``school_id [year] residual precision n_pupils``, one row per school and year.

    Several rows of one school and year (subjects, procedures) count as independent results.
    """
    rows = results.school_years
    variance = rows["sampling_variance"].to_numpy(dtype=float)
    usable = np.isfinite(variance) & (variance > 0)
    keys = ["school_id", *(["year"] if "year" in rows.columns else [])]
    kept = rows.loc[usable, [*keys, "residual", "n_pupils"]]
    precision = 1.0 / variance[usable]
    kept = kept.assign(precision=precision, weighted=precision * kept["residual"].to_numpy())
    sums = kept.groupby(keys, sort=True, as_index=False)[
        ["precision", "weighted", "n_pupils"]
    ].sum()
    mean = sums["weighted"] / sums["precision"]
    found: pd.DataFrame = sums.assign(residual=mean).drop(columns="weighted")
    return found


def _rounded_up(value: Floats) -> Floats:
    """Round up to whole numbers of at least 1; rounding noise is not a pupil."""
    return np.asarray(np.maximum(np.ceil(value * (1.0 - 1e-9)), 1.0))


def _consistent(
    table: pd.DataFrame, pupils: Floats, years: Floats, enough: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Let what is needed agree with the verdict where cohorts of unequal size disagree with it."""
    n_years = table["n_years"].to_numpy(dtype=float)
    n_pupils = table["n_pupils"].to_numpy(dtype=float)
    years = np.where(enough, np.minimum(years, n_years), np.maximum(years, n_years + 1.0))
    one = n_years == 1
    within = np.where(enough, np.minimum(pupils, n_pupils), np.maximum(pupils, n_pupils + 1.0))
    return np.where(one, within, pupils), years


def _reason(
    enough: bool,
    unsolved: bool,
    pupils: float,
    years: float,
    cohort: float,
    results: EffectsResults,
) -> Bilingual:
    if enough:
        return text("value_added.enough")
    if unsolved:
        none = results.variances["persistent"] <= 0
        return text("value_added.no_variation" if none else "value_added.coefficients_exceed")
    values = {"years": f"{years:.0f}", "n": f"{cohort:.1f}".removesuffix(".0")}
    if not np.isfinite(years):
        return text("value_added.no_usable_year")
    if not np.isfinite(pupils):
        return text("value_added.transient_exceeds", **values)
    key = "needed" if results.time is not None else "needed_without_years"
    return text(f"value_added.{key}", pupils=f"{pupils:.0f}", **values)


# -- targets -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class _Panel:
    """The yearly residuals of all schools as one table of schools by years."""

    residual: Floats
    sampling: Floats
    years: Floats
    labels: NDArray[np.object_]


def target_table(
    results: EffectsResults, target: Target, *, lag_correlation: float = 0.0
) -> pd.DataFrame:
    r"""Return the best linear prediction of a target for every school.

    With :math:`d_t = u + v_t + e_t`, :math:`\mathrm{cov}(v_t, v_s) = \sigma_v^2\rho^{|t-s|}` and
    the known :math:`\mathrm{Var}(e_t) = s_t^2`, the prediction is :math:`k'V^{-1}d` with variance
    :math:`q - k'V^{-1}k`; k and q are the covariances of the target with the years' effects and
    its variance among schools (`resilience.stats.states.target_posteriors`).  ``persistent`` is u,
    a year's effect :math:`u + v_t`.  ``reliability`` is one minus ``conditional_sd``² over q, and
    ``prmse`` the same with ``std_error``: the proportional reduction of the mean squared error
    against taking every school for average, below 0 where the average is the better guess.

    Parameters
    ----------
    results : EffectsResults
        Results of a model with a year level.
    target : {"persistent", "last_year", "next_year"} or mapping of {year: weight}
        ``last_year`` is the last year of the data, for all schools the same, ``next_year`` the one
        after it.  Weights give :math:`\sum_t w_t(u + v_t)`: those of a difference of two years add
        up to 0.
    lag_correlation : float
        ρ in [0, 1); the fit itself takes the years as independent.

    Returns
    -------
    DataFrame
        ``school_id effect conditional_sd std_error reliability prmse target``.

    Raises
    ------
    SpecificationError
        Without a year level, for an unknown target or year, or where the model has parts that
        yearly residuals do not hold (slopes, outer levels, procedures) and the target needs them.

    References
    ----------
    Henderson1975.
    """
    if results.time is None or "year" not in results.school_years.columns:
        raise SpecificationError(text("value_added.this_years_effect"))
    panel = _panel(results)
    wanted, words = read_target(target, panel.labels)
    variances = (results.variances["persistent"], results.variances["transient"])
    lasting = YearTarget(persistent=1.0, years=np.zeros(0), weights=np.zeros(0))
    plain = target_posteriors(
        panel.residual, panel.sampling, panel.years, lasting, variances=variances
    )
    table = results.school_effects
    scale = max(float(np.sqrt(variances[0])), 1e-300)
    whole = bool(
        np.allclose(plain.mean, table["effect"], rtol=0, atol=1e-6 * scale)
        and np.allclose(np.sqrt(plain.variance), table["conditional_sd"], rtol=0, atol=1e-6 * scale)
    )
    beyond = bool((wanted.years > panel.years.max()).all())
    if lag_correlation == 0.0 and beyond:
        # nothing of the years' own effects is known of such a target: the model's own posterior of
        # the lasting part serves, whatever its further levels
        effect = wanted.persistent * table["effect"].to_numpy(dtype=float)
        extra = variances[1] * float(wanted.weights @ wanted.weights)
        square = wanted.persistent**2
        conditional = square * np.maximum(results.errors.conditional, 0.0) + extra
        total = square * results.errors.prediction + extra
        prior = square * variances[0] + extra
    elif not whole:
        raise SpecificationError(text("value_added.not_yearly", target=words))
    else:
        found = target_posteriors(
            panel.residual,
            panel.sampling,
            panel.years,
            wanted,
            variances=variances,
            lag_correlation=lag_correlation,
        )
        effect, conditional, prior = found.mean, found.variance, found.prior
        total = conditional + _coefficient_variance(results, panel, found.gain)
    return predicted(table["school_id"], effect, (conditional, total, prior), words)


def predicted(
    schools: pd.Series, effect: Floats, variances: tuple[Floats, Floats, float], words: str
) -> pd.DataFrame:
    """Return the table of a target from conditional, total and prior variances."""
    conditional, total, prior = variances
    shares = [1.0 - v / prior if prior > 0 else np.zeros_like(v) for v in (conditional, total)]
    return pd.DataFrame({"school_id": schools}).assign(
        effect=effect,
        conditional_sd=np.sqrt(conditional),
        std_error=np.sqrt(total),
        reliability=np.clip(shares[0], 0.0, 1.0),
        prmse=shares[1],
        target=words,
    )


def _panel(results: EffectsResults) -> _Panel:
    cells = _cells(results)
    labels = np.sort(cells["year"].unique())
    school = pd.Index(results.school_effects["school_id"]).get_indexer(pd.Index(cells["school_id"]))
    at = np.searchsorted(labels, cells["year"].to_numpy())
    shape = (results.n_schools, len(labels))
    residual, sampling = np.full(shape, np.nan), np.full(shape, np.nan)
    residual[school, at] = cells["residual"].to_numpy(dtype=float)
    sampling[school, at] = 1.0 / cells["precision"].to_numpy(dtype=float)
    named = labels.astype(object)
    return _Panel(residual=residual, sampling=sampling, years=year_numbers(named), labels=named)


def read_target(target: Target, labels: NDArray[np.object_]) -> tuple[YearTarget, str]:
    """Return the target in terms of years and its name in the table.

    Parameters
    ----------
    target : {"persistent", "last_year", "next_year"} or mapping of {year: weight}
        As the user stated it.
    labels : ndarray of object
        Years of the data, ascending; years that are no numbers count as 0, 1, 2 …

    Raises
    ------
    SpecificationError
        For an unknown target or year, or weights that are not finite or all zero.
    """
    empty, at = np.zeros(0), year_numbers(labels)
    if isinstance(target, str):
        if target not in _TARGETS:
            raise SpecificationError(
                text("value_added.target", target=repr(target), years=_listed(labels))
            )
        if target == "persistent":
            return YearTarget(persistent=1.0, years=empty, weights=empty), target
        year = at.max() + (1.0 if target == "next_year" else 0.0)
        return YearTarget(persistent=1.0, years=np.array([year]), weights=np.ones(1)), target
    if not isinstance(target, Mapping) or not target:
        raise SpecificationError(
            text("value_added.target", target=repr(target), years=_listed(labels))
        )
    known = dict(zip(labels, at, strict=True))
    unknown = [year for year in target if year not in known]
    if unknown:
        raise SpecificationError(
            text("value_added.target_year", year=repr(unknown[0]), years=_listed(labels))
        )
    weights = np.array([float(w) for w in target.values()])
    if not np.isfinite(weights).all() or not weights.any():
        raise SpecificationError(text("value_added.target_weights", weights=dict(target)))
    words = "; ".join(f"{year}: {weight:g}" for year, weight in target.items())
    years = np.array([known[year] for year in target])
    return YearTarget(persistent=float(weights.sum()), years=years, weights=weights), words


def year_numbers(labels: NDArray[np.object_]) -> Floats:
    """Return the years as numbers: as they are, or their order where they are no numbers."""
    if all(isinstance(label, int | float | np.number) for label in labels):
        return labels.astype(np.float64)
    return np.arange(len(labels), dtype=np.float64)


def _listed(labels: NDArray[np.object_]) -> str:
    return shorten(labels.tolist(), 12)


def _coefficient_variance(results: EffectsResults, panel: _Panel, gain: Floats) -> Floats:
    """Return the part of the error variance that the coefficients bring to a target.

    The leverage is the sum of the years' mean covariates, each times the weight of its residual.
    """
    if results.year_design is None:
        raise DataError(text("value_added.no_year_design"))
    rows = results.school_years
    school = pd.Index(results.school_effects["school_id"]).get_indexer(pd.Index(rows["school_id"]))
    at = pd.Index(panel.labels).get_indexer(pd.Index(rows["year"]))
    precision = 1.0 / rows["sampling_variance"].to_numpy(dtype=float)
    weight = np.where(at >= 0, gain[school, at] * precision * panel.sampling[school, at], 0.0)
    weight = np.where(np.isfinite(weight), weight, 0.0)
    leverage = np.zeros((results.n_schools, results.year_design.shape[1]))
    np.add.at(leverage, school, weight[:, None] * results.year_design)
    half = coefficient_half(leverage, results.errors.beta_covariance)
    return np.asarray(np.einsum("jp,jp->j", half, half))
