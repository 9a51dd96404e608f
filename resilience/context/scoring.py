"""From weights to the anchored index, its error and its reliability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resilience.context.gaps import coverage, effective_weights, imputation_variance
from resilience.context.prepared import PreparedTable
from resilience.context.schemes import Weighting, WeightSet
from resilience.context.standardise import SMALLEST_SD
from resilience.errors import DataError
from resilience.i18n import Bilingual, text

__all__ = ["CENTRE", "SPREAD", "Scored", "score"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

CENTRE, SPREAD = 50.0, 10.0
FEWEST_FOR_VARIANCE = 2
ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """The index of each row; NaN where there is none.

    Attributes
    ----------
    index, std_error, reliability, coverage, reanchored : ndarray of shape (n_rows,)
        Columns of the table of scores.
    weight_set : tuple of str
        Name of the weights used, empty where there were none.
    reason : tuple of str or Bilingual
        Why there is no index, empty where there is one.
    raw_mean, raw_sd : ndarray of shape (n_sets,)
        Anchor of each set of weights.
    """

    index: Floats
    std_error: Floats
    reliability: Floats
    coverage: Floats
    reanchored: Floats
    weight_set: tuple[str, ...]
    reason: tuple[str | Bilingual, ...]
    raw_mean: Floats
    raw_sd: Floats


def score(prepared: PreparedTable, weighting: Weighting) -> Scored:
    r"""Return the index 50 + 10(c − c̄₀)/sd₀ with its error and reliability.

    c = Σ w_k z_k; c̄₀ and sd₀ are taken over the pupils of the base year with the same weights, so
    that sets of weights share one scale.  The error variance is (10/sd₀)² times the variance left
    by the gaps plus Σ ω_k² Ω_kk, ω the weight each known item really carries.  The reliability is
    τ²/(τ² + se²) with τ² = max(0, Var(c) − mean se²) over the schools of the year.

    Raises
    ------
    DataError
        If the index does not vary in the base year, or too few schools report there.
    """
    n = prepared.n_rows
    columns = {name: np.full(n, np.nan) for name in ("index", "error", "rel", "cover", "own")}
    names = np.full(n, "", dtype=object)
    reasons: list[str | Bilingual] = [""] * n
    anchors = []
    for weight_set in weighting.sets:
        part = _score_set(prepared, weight_set)
        rows = weight_set.rows
        for name, values in part.items():
            if name in columns:
                columns[name][rows] = values[rows]
        names[rows] = weight_set.name
        anchors.append((float(part["anchor"][0]), float(part["anchor"][1])))
        for row in np.flatnonzero(rows & np.isnan(part["index"])):
            reasons[row] = _coverage_reason(prepared, int(row), float(part["cover"][row]))
    for rows, reason in weighting.unscored:
        for row in np.flatnonzero(rows):
            reasons[row] = reason
    return Scored(
        index=columns["index"],
        std_error=columns["error"],
        reliability=columns["rel"],
        coverage=columns["cover"],
        reanchored=columns["own"],
        weight_set=tuple(names),
        reason=tuple(reasons),
        raw_mean=np.array([a[0] for a in anchors]),
        raw_sd=np.array([a[1] for a in anchors]),
    )


def _score_set(prepared: PreparedTable, weight_set: WeightSet) -> dict[str, Floats]:
    """Score every row of the table with one set, so that anchors and τ² are the set's own."""
    table, weights = prepared.table, weight_set.weights
    raw = prepared.filled @ weights
    known = prepared.covered(weights)
    base = known & (table.year == prepared.standardised.base_year)
    if not base.any():
        raise DataError(
            text("context.no_base_rows", year=prepared.standardised.base_year, n=int(base.sum()))
        )
    mean, sd = _moments(raw[base], table.n_pupils[base])
    if sd < SMALLEST_SD:
        raise DataError(
            text(
                "context.no_variation",
                year=prepared.standardised.base_year,
                n=int(base.sum()),
            )
        )
    carried = effective_weights(prepared.n_rows, prepared.gaps, weights)
    reported = np.nansum(carried**2 * prepared.error.variance, axis=1)
    variance = imputation_variance(prepared.n_rows, prepared.gaps, weights) + reported
    index = np.where(known, CENTRE + SPREAD * (raw - mean) / sd, np.nan)
    own = np.full(prepared.n_rows, np.nan)
    for year in table.years:
        rows = known & (table.year == year)
        if rows.any():
            year_mean, year_sd = _moments(raw[rows], table.n_pupils[rows])
            if year_sd >= SMALLEST_SD:
                own[rows] = CENTRE + SPREAD * (raw[rows] - year_mean) / year_sd
    return {
        "index": index,
        "error": np.where(known, SPREAD / sd * np.sqrt(variance), np.nan),
        "rel": _reliability(raw, variance, known, table.year),
        "cover": coverage(prepared.standardised.signed, weights),
        "own": own,
        "anchor": np.array([mean, sd]),
    }


def _moments(values: Floats, weights: Floats) -> tuple[float, float]:
    mean = float(np.average(values, weights=weights))
    sd = float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
    # With complete items the base-year mean is zero but for rounding; a table should say 0.
    return (0.0 if abs(mean) < ROUNDING * sd else mean), sd


def _reliability(
    raw: Floats, variance: Floats, known: Flags, year: npt.NDArray[np.int64]
) -> Floats:
    reliability = np.full(raw.size, np.nan)
    for y in np.unique(year):
        rows = known & (year == y)
        if rows.sum() < FEWEST_FOR_VARIANCE:
            continue
        true = max(0.0, float(np.var(raw[rows], ddof=1)) - float(variance[rows].mean()))
        total = true + variance[rows]
        reliability[rows] = np.divide(true, total, out=np.full(total.size, np.nan), where=total > 0)
    return reliability


def _coverage_reason(prepared: PreparedTable, row: int, share: float) -> Bilingual:
    absent = np.isnan(prepared.standardised.signed[row])
    names = ", ".join(i.name for i, gone in zip(prepared.items, absent, strict=True) if gone)
    return text(
        "context.reason_coverage",
        share=f"{share:.2f}",
        least=f"{prepared.min_coverage:g}",
        missing=names,
    )
