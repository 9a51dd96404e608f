"""Where the results below the minimum are: the smallest set of schools that holds most of them.

Sources: HSECapital (documented: more than 60 % of the unsatisfactory ЕГЭ results of a region; the
core of schools that fail in both compulsory subjects in each of three years).  That schools with
equally many results enter together is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.verdicts.logic import NO, UNKNOWN, YES, Answers, at_least
from resilience.detection.verdicts.tables import gather
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import nearest_names, shorten

__all__ = ["concentration_set", "fails_core_years", "smallest_set"]

Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


def smallest_set(failed: Sequence[int] | Counts, *, more_than: float = 0.60) -> Flags:
    r"""Return who belongs to the smallest set that holds more than a share of the total.

    Schools enter by their number, largest first, until
    :math:`\sum f > \text{share} \cdot F` in whole numbers; schools with the number at which the
    bound is passed enter together.

    Parameters
    ----------
    failed : sequence of int, shape (n_schools,)
        Results below the minimum, at least 0.
    more_than : float
        Share to be exceeded, in [0, 1); exactly the share is not more.

    Returns
    -------
    ndarray of bool, shape (n_schools,)
        All false where there is no such result at all.

    Raises
    ------
    DataError
        If a number is negative or not whole.
    SpecificationError
        If the share lies outside [0, 1).

    References
    ----------
    HSECapital.
    """
    share = _fraction(more_than)
    numbers = np.asarray(failed, dtype=float)
    if not (np.isfinite(numbers) & (numbers >= 0) & (numbers % 1 == 0)).all():
        raise DataError(text("rules.whole_numbers", values=shorten(failed, 12)))
    values, total = [int(v) for v in numbers], int(numbers.sum())
    held, least = 0, None
    for value in sorted(set(values), reverse=True):
        if value == 0 or held * share.denominator > total * share.numerator:
            break
        held += value * values.count(value)
        least = value
    return np.array([least is not None and v >= least for v in values], dtype=bool)


def concentration_set(
    counts: pd.DataFrame,
    *,
    more_than: float = 0.60,
    procedures: Sequence[str] | None = None,
    year: int | None = None,
) -> pd.DataFrame:
    """Return the part of the region's results below the minimum that each school holds.

    Parameters
    ----------
    counts : DataFrame
        ``school_id year procedure n_participants n_below_minimum``.
    more_than : float
        Share that the set must exceed.
    procedures : sequence of str, optional
        Procedures that count (the source speaks of ЕГЭ); by default all.
    year : int, optional
        By default the latest.

    Returns
    -------
    DataFrame
        ``school_id year n_below_minimum share_of_failed cumulative_share in_concentration_set``,
        one row per school of the table, largest number first; the last is 1 or 0, as criteria read
        it, and missing where nobody sat.

    Raises
    ------
    DataError
        If the table breaks a rule of its own, or lacks the year or a procedure.
    """
    share = float(_fraction(more_than))
    schools, cells = _cells(counts, procedures)
    years = sorted(int(y) for y in cells["year"].unique())
    last = years[-1] if year is None else year
    if last not in years:
        raise DataError(text("rules.no_year", year=last, years=shorten(years, 12)))
    own = cells[cells["year"] == last].groupby("school_id", observed=True)["n_below_minimum"].sum()
    failed = own.to_numpy(dtype=np.int64)
    total = int(failed.sum())
    part = failed / total if total else np.full(len(failed), np.nan)
    cumulative = np.array([failed[failed >= f].sum() for f in failed]) / max(total, 1)
    table = pd.DataFrame(
        {
            "year": last,
            "n_below_minimum": pd.array(failed, dtype="Int64"),
            "share_of_failed": part,
            "cumulative_share": cumulative if total else part,
            # as criteria read a yes or no: 1, 0 or missing
            "in_concentration_set": smallest_set(failed, more_than=share).astype(float),
        },
        index=pd.Index(own.index.astype(str), name="school_id"),
    )
    found = table.reindex(schools).assign(year=last).rename_axis("school_id").reset_index()
    return found.sort_values(
        ["n_below_minimum", "school_id"], ascending=[False, True], kind="stable"
    ).reset_index(drop=True)


def fails_core_years(
    counts: pd.DataFrame,
    *,
    subjects: Mapping[str, Sequence[str]],
    years_of: int = 3,
    year: int | None = None,
) -> pd.DataFrame:
    """Return in how many of the last years a school had failures in each compulsory subject.

    Parameters
    ----------
    counts : DataFrame
        ``school_id year procedure n_participants n_below_minimum``.
    subjects : mapping of str to procedures
        Procedures of each compulsory subject, for instance
        ``{"РУ": ["ЕГЭ-РУ"], "МА": ["ЕГЭ-МА-база", "ЕГЭ-МА-профиль"]}``.
    years_of : int
        Last years looked at.
    year : int, optional
        Last of them; by default the latest of the table.

    Returns
    -------
    DataFrame
        ``school_id year fails_core_years``: a number of years; missing where years in which nobody
        sat a subject leave open whether it was all of them.

    Raises
    ------
    DataError
        If the table lacks a procedure.
    SpecificationError
        If no subject is named or ``years_of`` is below 1.
    """
    if not subjects or years_of < 1:
        raise SpecificationError(text("rules.core_subjects", n=len(subjects), years=years_of))
    names = [name for own in subjects.values() for name in own]
    schools, cells = _cells(counts, names)
    last = int(cells["year"].max()) if year is None else year
    years = range(last - years_of + 1, last + 1)
    in_year = []
    for one in years:
        rows = cells[cells["year"] == one]
        in_year.append(
            at_least(
                np.column_stack(
                    [_some_failed(rows, own, schools) for own in map(list, subjects.values())]
                ),
                len(subjects),
            )
        )
    stack = np.column_stack(in_year)
    number = (stack == YES).sum(axis=1).astype(float)
    open_still = ~(stack == NO).any(axis=1) & (stack == UNKNOWN).any(axis=1)
    number[open_still] = np.nan
    return pd.DataFrame({"school_id": schools, "year": last, "fails_core_years": number})


def _some_failed(
    rows: pd.DataFrame, procedures: list[str], schools: NDArray[np.object_]
) -> Answers:
    """Return whether somebody failed in one of the procedures; unknown where nobody sat."""
    own = rows[rows["procedure"].isin(procedures)]
    failed = own.groupby("school_id", observed=True)["n_below_minimum"].sum().reindex(schools)
    values = failed.to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.isnan(values), UNKNOWN, np.where(values > 0, YES, NO)).astype(np.int8)


def _cells(
    counts: pd.DataFrame, procedures: Sequence[str] | None
) -> tuple[NDArray[np.object_], pd.DataFrame]:
    """Return all schools of a checked table of counts, and the cells of the procedures."""
    tables = gather(None, None, counts=counts, school_years=None, schools=None, variances=None)
    cells = tables.counts
    assert cells is not None  # gather returns the table it was given
    known = sorted(cells["procedure"].unique())
    for name in procedures or ():
        if name not in known:
            raise DataError(
                text("rules.no_procedure", procedure=name, nearest=nearest_names(name, known))
            )
    if procedures is not None:
        cells = cells[cells["procedure"].isin(list(procedures))]
    return tables.school_ids, cells


def _fraction(share: float) -> Fraction:
    """Return the share as it is written: 0.6 is 6/10."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise SpecificationError(text("rules.more_than", value=share))
    return Fraction(str(share))
