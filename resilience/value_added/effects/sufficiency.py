"""What a school's data suffice for, and what it would still need."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import check_fraction, check_positive
from resilience.value_added.definitions.drift import Drift, drift_of
from resilience.value_added.effects.sufficiency_subjects import subject_information
from resilience.value_added.years.targets import has_further_parts
from resilience.value_added.years.yearly import YearlyEffects, school_year_cells

__all__ = ["sufficiency_table"]

Floats = NDArray[np.float64]

_LONGEST = 60  # years searched one by one


def sufficiency_table(
    results: YearlyEffects,
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

    both rounded up and total, not in addition to what there is.  With drift the years hang
    together: for AR(1) they are the least number m of consecutive years of n pupils with
    :math:`1'(\sigma_v^2R_m(\rho) + \sigma_e^2/n\, I)^{-1}1 \ge A_c`; for unstructured years, whose
    mean over the T years of the data is the effect, :math:`\sigma_v^2` is the variance of one year
    around that mean and

    .. math:: \mathrm{years} = \frac{\sigma_v^2T/(T-1) + \sigma_e^2/n}{1/A_c + \sigma_v^2/(T-1)} ,

    exact for equal variances and correlations, infinite above T; the pupils are then
    those of all T years together, :math:`\sigma_e^2A_c`.  A joint fit of several subjects
    counts pupils, not results, and finds both numbers from its own joint posterior, see
    `resilience.value_added.effects.sufficiency_subjects`.  Where schools lie in municipalities,
    what the other schools leave unknown of the municipality's effect, :math:`\tau_j^2` (from the
    school's own conditional variance), is taken off :math:`1/A_c` first: the school's own pupils
    cannot tell it from its effect.  Where units cross or share pupils it depends on which units the
    further pupils come from, and both numbers are missing.  Pupils are infinite where
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
        # where no variance between schools is found an error of 0 is none that data brought about
        enough = (error <= bound * (1.0 + 1e-12)) & (persistent > 0)
        critical = _critical_reliability(results, bound)
    drift = drift_of(results)
    pupils, years, cohort = _amounts(results, drift, critical)
    unsolved = np.isnan(critical)
    pupils, years = _consistent(
        table,
        np.where(unsolved, np.inf, _rounded_up(pupils)),
        np.where(unsolved, np.inf, _rounded_up(years)),
        enough,
    )
    if drift is not None and drift.kind == "unstructured":
        years = np.where(years > len(drift.years), np.inf, years)
    reasons = [
        _reason(bool(e), bool(u), (p, y, c), results, drift)
        for e, u, p, y, c in zip(enough, unsolved, pupils, years, cohort, strict=True)
    ]
    return table[["school_id", "n_pupils", "n_years", "std_error", "reliability"]].assign(
        verdict=np.where(enough, "yes", "insufficient_data"),
        pupils_needed=pupils,
        years_needed=years,
        reason=pd.Series(reasons, index=table.index, dtype=object),
    )


def _amounts(
    results: YearlyEffects, drift: Drift | None, critical: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return pupils of one year, years of one cohort each, and the cohort, before rounding."""
    joint = subject_information(results)
    if joint is not None:
        asked = np.maximum(critical, 0.0)
        if not results.variances["persistent"] > 0:
            nothing = np.full(len(critical), np.inf)
            return nothing, nothing, joint.cohort
        return joint.pupils_needed(asked), joint.years_needed(asked), joint.cohort
    cohort, pupil_variance = _cohorts(results)
    if _tied_to_others(results, drift):
        unknown = np.full(len(critical), np.nan)
        return unknown, unknown, cohort
    with np.errstate(divide="ignore", invalid="ignore"):
        persistent = results.variances["persistent"]
        spread = persistent * (1.0 - critical) / np.maximum(critical, 0.0) - _outer(results)
        room = spread - results.variances["transient"]
        pupils = np.where(room > 0, pupil_variance / room, np.inf)
        precision = np.where(spread > 0, 1.0 / spread, np.inf)
        years = _years(results, drift, precision, pupil_variance / cohort)
    if drift is not None and drift.kind == "unstructured":
        # there are no more years than those of the mean: what is left is more pupils in each
        T = len(drift.years)
        in_all = T * _rounded_up(pupil_variance * precision / T)
        pupils = np.where(_rounded_up(years) > T, in_all, pupils)
    return pupils, years, cohort


def _tied_to_others(results: YearlyEffects, drift: Drift | None) -> bool:
    """Return whether what a school needs depends on which units its further pupils come from."""
    errors = results.errors
    if errors.joint_conditional is not None or (drift is not None and errors.shared):
        return True
    if drift is not None or errors.shared:
        return False
    slopes = ~results.variance_components["term"].isin(["Intercept", ""])
    return has_further_parts(results) and not slopes.any()


def _outer(results: YearlyEffects) -> Floats:
    """Return per school what other schools leave unknown of the effects of its outer units."""
    if not results.errors.shared:
        return np.zeros(results.n_schools)
    cells = school_year_cells(results)
    each = 1.0 / (1.0 / cells["precision"] + results.variances["transient"])
    own = each.groupby(cells["school_id"]).sum().reindex(results.school_effects["school_id"])
    prior, left = results.variances["persistent"], np.maximum(results.errors.conditional, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        now = prior * left / (prior - left)  # the variance of all that is known beside the effect
        found = now - 1.0 / own.to_numpy(dtype=float)
    return np.where(np.isfinite(found) & (found > 1e-9 * prior), found, 0.0)


def _standard_error(std_error: float | None, half_width: float | None, level: float) -> float:
    if std_error is not None:
        return check_positive(std_error, argument="std_error")
    assert half_width is not None
    check_positive(half_width, argument="half_width")
    return half_width / float(special.ndtri(0.5 + level / 2.0))


def _critical_reliability(results: YearlyEffects, bound: float) -> Floats:
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


def _cohorts(results: YearlyEffects) -> tuple[Floats, Floats]:
    """Return per school the mean yearly number of pupils and the pupil variance behind its means.

    The second is that of a school whose years all had the mean number of pupils and the mean
    precision; schools without a usable year take it from all schools.
    """
    cells = school_year_cells(results)
    by_school = cells.groupby("school_id", sort=False)[["n_pupils", "precision"]].mean()
    ordered = by_school.reindex(results.school_effects["school_id"])
    cohort = ordered["n_pupils"].to_numpy(dtype=float)
    pooled = float(cells["n_pupils"].sum() / cells["precision"].sum()) if len(cells) else np.nan
    variance = cohort / ordered["precision"].to_numpy(dtype=float)
    return cohort, np.where(np.isfinite(variance), variance, pooled)


def _years(
    results: YearlyEffects, drift: Drift | None, precision: Floats, sampling: Floats
) -> Floats:
    """Return the number of years of one cohort each at which a precision is reached."""
    transient = results.variances["transient"]
    if drift is None:
        return precision * (transient + sampling)
    if drift.kind == "unstructured":
        others = len(drift.years) - 1.0
        share = transient / others
        return np.asarray((transient + share + sampling) / (1.0 / precision + share))
    found = np.full(len(precision), np.nan)
    reached = np.zeros(len(precision))
    for m in range(1, _LONGEST + 1):
        lags = np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
        values, vectors = np.linalg.eigh(transient * np.power(float(drift.correlation), lags))
        loads = vectors.sum(axis=0) ** 2
        before, reached = reached, (loads / (values + sampling[:, None])).sum(axis=1)
        now = np.isnan(found) & (reached >= precision * (1.0 - 1e-9))
        found = np.where(now, float(m), found)
    # beyond, every further year adds the same
    rest = _LONGEST + (precision - reached) / (reached - before)
    return np.where(np.isnan(found), rest, found)


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
    needed: tuple[float, float, float],
    results: YearlyEffects,
    drift: Drift | None,
) -> Bilingual:
    pupils, years, cohort = needed
    if enough:
        return text("value_added.enough")
    if unsolved:
        none = results.variances["persistent"] <= 0
        return text("value_added.no_variation" if none else "value_added.coefficients_exceed")
    values = {"years": f"{years:.0f}", "n": f"{cohort:.1f}".removesuffix(".0")}
    if drift is not None and not np.isfinite(years) and np.isfinite(cohort):
        T = len(drift.years)
        each, whole = f"{pupils / T:.0f}", f"{pupils:.0f}"
        return text("drift.mean_of_years", years=T, n=values["n"], each=each, pupils=whole)
    if np.isnan(pupils) and np.isfinite(cohort) and _tied_to_others(results, drift):
        return text("value_added.needs_unknown")
    if not np.isfinite(years):
        unseen = np.isinf(years) and np.isfinite(cohort)
        return text("value_added.subjects_unseen" if unseen else "value_added.no_usable_year")
    if not np.isfinite(pupils):
        return text("value_added.transient_exceeds", **values)
    key = "needed" if results.time is not None else "needed_without_years"
    return text(f"value_added.{key}", pupils=f"{pupils:.0f}", **values)
