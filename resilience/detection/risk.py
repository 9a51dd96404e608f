"""The risk profile of a school: items of 0 to 100, factors as weighted means, bands."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.columns import column, column_names
from resilience.detection.risk_factors import RiskFactor, RiskItem
from resilience.detection.risk_results import KEY, ROUNDING, RiskProfileResults, at_or_above
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.stats.verdicts.percentiles import percentiles
from resilience.validation import (
    check_columns,
    check_finite,
    check_fraction,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = ["RiskProfileResults", "risk_profile"]

Floats = NDArray[np.float64]

TABLE = "items"
HIGH, MEDIUM = 67.0, 34.0


def risk_profile(
    items: pd.DataFrame,
    definition: Sequence[RiskFactor],
    *,
    high: float = HIGH,
    medium: float = MEDIUM,
    min_coverage: float = 0.6,
) -> RiskProfileResults:
    r"""Return the risk profile of schools.

    An item x becomes a risk of 0 to 100: linear, :math:`100 (x - ok)/(critical - ok)` cut at both
    ends, or the percentile among the schools of the year.  A factor is the weighted mean of its
    known items; the share of its weights that are known is its coverage, and below
    ``min_coverage`` it has no score.  The official scoring is not public: cut-offs, items and
    weights are a proposal and the caller's to set.

    Parameters
    ----------
    items : DataFrame
        One row per school and year: ``school_id year`` and the columns of the items; gaps allowed.
    definition : sequence of RiskFactor
        Factors with their items; those without items are named in the notes and left out.
    high, medium : float
        A score of at least ``high`` is high; of at least ``medium`` medium; 0 to 100.
    min_coverage : float
        Least share of a factor's weights that must be known, 0..1.

    Returns
    -------
    RiskProfileResults

    Raises
    ------
    DataError
        If the table breaks a rule: a column missing, not numeric or infinite, a repeated
        school-year, per cent where a share is declared.
    SpecificationError
        If no factor has items, an id repeats, or a cut-off is out of range.

    References
    ----------
    Otradnoe14 (titles of the factors).
    """
    factors, notes = _chosen(definition)
    given: tuple[object, ...] = (medium, high)  # a caller may pass anything
    numbers = all(isinstance(v, Real) and not isinstance(v, bool) for v in given)
    # scores run to 100: a cut-off of .67 would call every school high
    if not numbers or not 0 < medium < high <= 100 or high <= 1:
        raise SpecificationError(text("risk.cuts", medium=repr(medium), high=repr(high)))
    check_fraction(min_coverage, argument="min_coverage")
    _check_table(items, factors)
    risks = [
        np.column_stack([_item_risk(_values(items, i), _years(items), i) for i in factor.items])
        for factor in factors
    ]
    scored = _scored(items, factors, risks, min_coverage)
    score = scored["risk_score"].to_numpy(dtype=float)
    is_high, is_medium = at_or_above(score, high), at_or_above(score, medium)
    known = np.where(is_high, "high", np.where(is_medium, "medium", "low"))
    bands = np.where(np.isnan(score), "unknown", known)
    # Object keeps both wordings; a string column would keep the English alone.
    scored["risk_band"] = pd.Series([text(f"risk.band_{b}") for b in bands], dtype=object)
    by_school = (len(items), len(factors))
    schools = items[KEY].reset_index(drop=True)
    schools["n_high_factors"] = is_high.reshape(by_school).sum(axis=1)
    schools["n_unknown_factors"] = np.isnan(score).reshape(by_school).sum(axis=1)
    schools["n_risk_factors"] = len(factors)
    return RiskProfileResults(
        factors=scored,
        schools=schools,
        items=_long(items, factors, risks),
        definition=factors,
        high=float(high),
        medium=float(medium),
        min_coverage=float(min_coverage),
        notes=tuple(notes),
    )


def _chosen(definition: Sequence[RiskFactor]) -> tuple[tuple[RiskFactor, ...], list[Bilingual]]:
    passed: object = definition  # a caller may pass anything
    if not isinstance(passed, Sequence):
        raise SpecificationError(text("risk.not_factors", kind=type(definition).__name__))
    given = tuple(definition)
    for factor in given:
        if not isinstance(factor, RiskFactor):
            raise SpecificationError(text("risk.not_a_factor", value=repr(factor)))
    ids = [f.id for f in given]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise SpecificationError(text("risk.factor_twice", factors=", ".join(twice)))
    factors = tuple(f for f in given if f.items)
    if not factors:
        raise SpecificationError(text("risk.no_items", n=len(given)))
    notes = [text("risk.note_proposal")]
    empty = [f.id for f in given if not f.items]
    if empty:
        notes.append(text("risk.note_empty", n=len(empty), factors=", ".join(empty)))
    relative = [f.id for f in factors if not all(i.is_linear for i in f.items)]
    if relative:
        notes.append(text("risk.note_relative", factors=", ".join(relative)))
    return factors, notes


def _check_table(items: pd.DataFrame, factors: Sequence[RiskFactor]) -> None:
    if not isinstance(items, pd.DataFrame):
        raise DataError(text("risk.not_a_table", kind=type(items).__name__))
    check_not_empty(items, table=TABLE)
    wanted = list(dict.fromkeys(i.column for f in factors for i in f.items))
    check_columns(items, [*KEY, *wanted], table=TABLE)
    check_finite(items, KEY, table=TABLE)
    check_numeric(items, ["year"], table=TABLE)
    check_unique(items, KEY, table=TABLE)
    for name in wanted:
        if items[name].dtype.kind != "b":  # a flag is an item of two values
            check_numeric(items, [name], table=TABLE)
        values = items[name].to_numpy(dtype=float, na_value=np.nan)
        share = name in column_names() and column(name).kind == "share"
        bad = np.isinf(values) | (share & ((values > 1 + ROUNDING) | (values < 0)))
        if bad.any():
            places = shorten(items.loc[bad, "school_id"].astype(str).drop_duplicates())
            key = "risk.infinite" if np.isinf(values[bad][0]) else "risk.percent"
            raise DataError(
                text(
                    key,
                    column=repr(name),
                    n=int(bad.sum()),
                    value=f"{values[bad][0]:g}",
                    schools=places,
                )
            )


def _values(items: pd.DataFrame, item: RiskItem) -> Floats:
    return np.asarray(items[item.column].to_numpy(dtype=float, na_value=np.nan))


def _years(items: pd.DataFrame) -> NDArray[np.int64]:
    return np.asarray(items["year"].to_numpy(dtype=np.int64))


def _item_risk(values: Floats, year: NDArray[np.int64], item: RiskItem) -> Floats:
    if item.ok is not None and item.critical is not None:
        risk = 100 * (values - item.ok) / (item.critical - item.ok)
        return np.asarray(np.clip(risk, 0, 100) + 0.0)  # + 0.0: no negative zero
    risk = np.full(values.size, np.nan)
    for y in np.unique(year):
        rows = year == y
        risk[rows] = 100 * percentiles(values[rows] if item.higher_is_worse else -values[rows])
    return risk


def _scored(
    items: pd.DataFrame,
    factors: Sequence[RiskFactor],
    risks: Sequence[Floats],
    min_coverage: float,
) -> pd.DataFrame:
    """Return weighted means over the known items and their coverage, factors within schools."""
    score = np.empty((len(items), len(factors)))
    coverage = np.empty_like(score)
    for k, (factor, risk) in enumerate(zip(factors, risks, strict=True)):
        weight = np.array([item.weight for item in factor.items], dtype=np.float64)
        known = ~np.isnan(risk)
        used = known @ weight
        coverage[:, k] = used / weight.sum()
        enough = (coverage[:, k] >= min_coverage - ROUNDING) & (used > 0)
        total = np.where(known, risk, 0.0) @ weight
        score[:, k] = np.divide(total, used, out=np.full(len(items), np.nan), where=enough)
    n = len(factors)
    return pd.DataFrame(
        {
            "school_id": items["school_id"].repeat(n).to_numpy(),
            "year": _years(items).repeat(n),
            "risk_factor": [factor.id for factor in factors] * len(items),
            "factor_title": pd.Series([f.wording for f in factors] * len(items), dtype=object),
            "risk_score": score.ravel(),
            "risk_coverage": coverage.ravel(),
        }
    )


def _long(
    items: pd.DataFrame, factors: Sequence[RiskFactor], risks: Sequence[Floats]
) -> pd.DataFrame:
    """Return one row per factor, item and school-year."""
    pieces = [
        pd.DataFrame(
            {
                "school_id": items["school_id"].to_numpy(),
                "year": _years(items),
                "risk_factor": factor.id,
                "risk_item": item.column,
                "item_value": _values(items, item),
                "item_risk": risk[:, k],
                "item_weight": float(item.weight),
            }
        )
        for factor, risk in zip(factors, risks, strict=True)
        for k, item in enumerate(factor.items)
    ]
    return pd.concat(pieces, ignore_index=True)
