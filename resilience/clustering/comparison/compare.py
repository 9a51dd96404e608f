"""Compare the results of every school with those of its statistical neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.clustering.comparison.comparison_results import NeighbourComparison
from resilience.clustering.comparison.lists import check_neighbours, lists_of
from resilience.clustering.comparison.outcomes import Outcomes, decimal, read_outcomes
from resilience.clustering.comparison.slopes import ConditionSlopes
from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.stats.clusters.differences import (
    NeighbourDifferences,
    NeighbourLists,
    neighbour_differences,
)
from resilience.validation import (
    check_count,
    check_fraction,
    check_instance,
    check_positive,
    shorten,
)

__all__ = ["Compared", "compare_with_neighbours", "compared"]

Floats = NDArray[np.float64]
Words = NDArray[np.object_]

COMPARED = (
    "neighbour_mean",
    "neighbour_correction",
    "difference",
    "std_error",
    "conf_low",
    "conf_high",
    "typical_low",
    "typical_high",
    "neighbour_spread",
    "percentile_among_neighbours",
    "p_above_neighbours",
    "imbalance_max",
)
_MOST_SILENT = 0.2  # share of schools without a verdict from which the comparison warns


def compare_with_neighbours(
    neighbours: Any,
    results: Any,
    *,
    value: str = "mean_score",
    std_error: str | None = None,
    pupil_sd: float | None = None,
    slopes: ConditionSlopes | None = None,
    regression: Any = None,
    minimum: int = 5,
    max_imbalance: float = 0.5,
    level: float = 0.95,
) -> NeighbourComparison:
    r"""Compare the results of every school with those of its statistical neighbours.

    .. math::
        D = y_j - \sum_i a_i y_i - b'(z_j - \sum_i a_i z_i), \qquad
        \mathrm{SE}^2 = s_j^2 + \sum_i a_i^2 s_i^2

    The interval of D asks "is it really different from their average?", the typical range "is it
    unusual among them?".

    Parameters
    ----------
    neighbours : NeighbourResults
        Result of `StatisticalNeighbours.fit`.
    results : DataFrame or results of a model
        ``school_id``, the column of results, their sampling variance; rows of several years are
        averaged.  Schools without a result leave the lists of others and are counted.
    value : str
        Column of unshrunken results; ``"residual"`` of a table of school effects is found from
        its ``effect`` and ``reliability``.
    std_error : str, optional
        Column of standard errors; the column ``sampling_variance`` by default.
    pupil_sd : float, optional
        In place of both: SD of pupils within schools in the unit of the results, over the root of
        ``n_pupils``.
    slopes : ConditionSlopes, optional
        Frozen slopes that correct for what still differs between a school and its neighbours.
    regression : DataFrame or results of a model, optional
        Residuals of a regression to report beside: ``residual`` and ``sampling_variance``, or a
        table of school effects.
    minimum : int
        Fewest neighbours with results for a comparison.
    max_imbalance : float
        Largest mean difference in a condition, in SDs, with which there is a verdict.
    level : float
        Of interval and typical range.

    Returns
    -------
    NeighbourComparison
        One row for every school of the neighbours, and for every school of the results that they
        do not know.

    Raises
    ------
    DataError
        If columns are missing, or a school has a result without a sampling variance (named).
    SpecificationError
        If the column of results is shrunken, the slopes belong to other conditions, or an argument
        is out of range.

    Warns
    -----
    WeakDataWarning
        If more than a fifth of the schools have no verdict.

    References
    ----------
    DerSimonianLaird1986; HigginsThompsonSpiegelhalter2009.
    """
    pair = compared(
        neighbours,
        results,
        value=value,
        std_error=std_error,
        pupil_sd=pupil_sd,
        slopes=slopes,
        minimum=minimum,
        max_imbalance=max_imbalance,
        level=level,
    )
    table = _judged(_table(pair), pair)
    if regression is not None:
        table = _beside(table, regression, pair.ids, level)
    if pair.read.strangers:
        table = pd.concat([table, _strangers(pair.read.strangers, table)], ignore_index=True)
    n_silent = int((table["verdict"] == "insufficient_data").sum())
    if n_silent > _MOST_SILENT * len(table):
        warn_weak_data(text("neighbour_comparison.silent", n=n_silent, of=len(table)))
    return NeighbourComparison(
        table=table,
        value=value,
        level=level,
        corrected=slopes is not None,
        notes=_notes(table, pair.lists, level, slopes),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """Every school of a scaled table beside its neighbours, arrays in its order.

    Attributes
    ----------
    ids : list of str
        Schools.
    read : Outcomes
        Their results.
    lists : NeighbourLists
        Neighbours with a result.
    found : NeighbourDifferences
        Differences and ranges.
    imbalance : ndarray of shape (S,)
        Largest mean difference in a condition, in SDs.
    n_without_result : ndarray of shape (S,)
        Neighbours that left the lists.
    reason : ndarray of Bilingual or ""
        Why there is no verdict.
    alone : ndarray of bool
        The list is too short for any number of a comparison.
    """

    ids: list[str]
    read: Outcomes
    lists: NeighbourLists
    found: NeighbourDifferences
    imbalance: Floats
    n_without_result: NDArray[np.int64]
    reason: Words
    alone: NDArray[np.bool_]


def compared(
    neighbours: Any,
    results: Any,
    *,
    value: str,
    std_error: str | None,
    pupil_sd: float | None,
    slopes: ConditionSlopes | None,
    minimum: int,
    max_imbalance: float,
    level: float,
) -> Compared:
    """Check the arguments and put every school beside its neighbours."""
    check_neighbours(neighbours)
    check_count(minimum, argument="minimum", least=2)
    check_positive(max_imbalance, argument="max_imbalance")
    check_fraction(level, argument="level", closed=False)
    scaled: ScaledSchools = neighbours.scaled
    _check_slopes(slopes, scaled)
    ids = [str(s) for s in scaled.schools["school_id"]]
    read = read_outcomes(results, ids, value=value, std_error=std_error, pupil_sd=pupil_sd)
    usable = np.isfinite(read.results)
    if not usable.any():
        raise DataError(text("neighbour_comparison.no_common", schools=shorten(ids, 3)))
    before = lists_of(neighbours, np.ones(len(ids), dtype=bool))
    lists = before.among(usable)
    found = neighbour_differences(
        read.results,
        read.variances,
        lists,
        conditions=scaled.values,
        slopes=None if slopes is None else slopes.estimate,
        level=level,
    )
    imbalance = _imbalance(scaled, lists)
    reason, alone = _reasons(neighbours, read, lists, imbalance, (minimum, max_imbalance))
    return Compared(
        ids=ids,
        read=read,
        lists=lists,
        found=found,
        imbalance=imbalance[0],
        n_without_result=before.counts - lists.counts,
        reason=reason,
        alone=alone,
    )


def _check_slopes(slopes: ConditionSlopes | None, scaled: ScaledSchools) -> None:
    if slopes is None:
        return
    check_instance(slopes, ConditionSlopes, argument="slopes", example="rs.condition_slopes(...)")
    if slopes.columns != scaled.columns:
        raise SpecificationError(
            text(
                "neighbour_comparison.other_slopes",
                seen=", ".join(slopes.columns),
                expected=", ".join(scaled.columns),
            )
        )


def _imbalance(scaled: ScaledSchools, lists: NeighbourLists) -> tuple[Floats, Words]:
    """Return the largest mean difference in a condition, and which condition it is."""
    gaps = np.zeros((lists.n_units, len(scaled.columns)))
    z = np.asarray(scaled.values)
    apart = np.nan_to_num(z[lists.unit] - z[lists.neighbour])
    for k in range(gaps.shape[1]):
        gaps[:, k] = np.abs(lists.summed(lists.weight * apart[:, k]))
    names = np.array([*scaled.blocks], dtype=object)
    some = lists.counts > 0
    return np.where(some, gaps.max(axis=1), np.nan), names[gaps.argmax(axis=1)]


def _table(pair: Compared) -> pd.DataFrame:
    found = pair.found
    return pd.DataFrame(
        {
            "school_id": pair.ids,
            "observed": pair.read.results,
            "neighbour_mean": found.neighbour_mean,
            "neighbour_correction": found.correction,
            "difference": found.difference,
            "std_error": found.std_error,
            "conf_low": found.conf_low,
            "conf_high": found.conf_high,
            "typical_low": found.typical_low,
            "typical_high": found.typical_high,
            "neighbour_spread": np.sqrt(found.tau_squared),
            "percentile_among_neighbours": found.percentile,
            "p_above_neighbours": found.p_above,
            "n_neighbours": pair.lists.counts,
            "n_without_result": pair.n_without_result,
            "imbalance_max": pair.imbalance,
        }
    )


def _reasons(
    neighbours: Any,
    read: Outcomes,
    lists: NeighbourLists,
    imbalance: tuple[Floats, Words],
    limits: tuple[int, float],
) -> tuple[Words, NDArray[np.bool_]]:
    """Return why a school has no verdict, an empty text where it has one, and who stands alone.

    A school whose list is too short stands alone: no number of a comparison is shown for it.
    """
    scaled: ScaledSchools = neighbours.scaled
    minimum, most = limits
    quality = neighbours.quality.assign(school_id=neighbours.quality["school_id"].astype(str))
    own = quality.set_index("school_id").reindex(scaled.schools["school_id"].astype(str))
    verdicts, whys = own["verdict"].to_numpy(dtype=object), own["reason"].to_numpy(dtype=object)
    poor = verdicts == "insufficient_data"
    few = lists.counts < minimum
    reasons = np.full(lists.n_units, "", dtype=object)
    for j in range(lists.n_units):
        if not np.isfinite(read.results[j]):
            reasons[j] = text("neighbour_comparison.reason_no_result")
        elif poor[j]:
            reasons[j] = whys[j]
        elif few[j]:
            reasons[j] = text(
                "neighbour_comparison.reason_few", n=int(lists.counts[j]), minimum=minimum
            )
        elif imbalance[0][j] > most:
            reasons[j] = text(
                "neighbour_comparison.reason_imbalance",
                variable=imbalance[1][j],
                value=decimal(imbalance[0][j]),
                limit=decimal(most, 1),
            )
    return reasons, np.asarray(poor | few)


def _verdicts(low: Floats, high: Floats, silent: NDArray[np.bool_]) -> Words:
    """Return ``above``, ``as_expected`` or ``below`` by an interval of a difference."""
    with np.errstate(invalid="ignore"):
        found = np.select([low > 0, high < 0], ["above", "below"], default="as_expected")
    return np.where(silent | np.isnan(low), "insufficient_data", found).astype(object)


def _judged(table: pd.DataFrame, pair: Compared) -> pd.DataFrame:
    """Add both verdicts and the reason; numbers of schools that stand alone are blanked."""
    table = table.copy()
    table.loc[pair.alone, list(COMPARED)] = np.nan
    silent = pair.reason != ""
    observed, low, high = (
        table[c].to_numpy(dtype=float) for c in ("observed", "typical_low", "typical_high")
    )
    lower, upper = (table[c].to_numpy(dtype=float) for c in ("conf_low", "conf_high"))
    return table.assign(
        verdict=_verdicts(lower, upper, silent),
        typical_verdict=_verdicts(observed - high, observed - low, silent),
        reason=pd.Series(list(pair.reason), dtype=object),
    )


def _beside(table: pd.DataFrame, regression: Any, ids: list[str], level: float) -> pd.DataFrame:
    """Add the regression's residual with its verdict, and where both agree."""
    read = read_outcomes(regression, ids, value="residual")
    half = float(special.ndtri(0.5 + level / 2.0)) * np.sqrt(read.variances)
    low, high = read.results - half, read.results + half
    verdict = _verdicts(low, high, np.isnan(read.results))
    own = table["verdict"].to_numpy(dtype=object)
    missing = (own == "insufficient_data") | (verdict == "insufficient_data")
    both = np.where(own == verdict, own, "differ")
    return table.assign(
        regression_residual=read.results,
        regression_low=low,
        regression_high=high,
        regression_verdict=verdict,
        both_verdict=np.where(missing, "insufficient_data", both).astype(object),
    )


def _strangers(schools: tuple[str, ...], table: pd.DataFrame) -> pd.DataFrame:
    """Return rows of schools with results whose conditions nobody knows."""
    rows = pd.DataFrame({"school_id": list(schools)}).reindex(columns=table.columns)
    for name in (c for c in table.columns if c.endswith("verdict")):
        rows[name] = "insufficient_data"
    rows["reason"] = pd.Series(
        [text("neighbour_comparison.reason_stranger")] * len(rows), dtype=object
    )
    for name in ("n_neighbours", "n_without_result"):
        rows[name] = 0
    return rows.astype({n: table[n].dtype for n in table.columns if n != "reason"})


def _notes(
    table: pd.DataFrame, lists: NeighbourLists, level: float, slopes: ConditionSlopes | None
) -> tuple[Bilingual, ...]:
    """Return what a reader of many intervals must know."""
    judged = table["verdict"] != "insufficient_data"
    n = int(judged.sum())
    outside = int(table["verdict"].isin(["above", "below"]).sum())
    times = np.bincount(lists.neighbour, minlength=lists.n_units)
    notes = [
        text(
            "neighbour_comparison.dependence",
            n=n,
            outside=outside,
            chance=decimal((1.0 - level) * n, 1),
            percent=decimal(100.0 * (1.0 - level), 1),
            most=int(times.max(initial=0)),
        )
    ]
    if slopes is None:
        notes.append(text("neighbour_comparison.uncorrected"))
    return tuple(notes)
