"""Columns that rules read and that tables do not bring: gaps, ranks, marks, yearly answers.

Each function returns a small table to be joined to the table of schools by ``school_id`` (and
``year``), where `detect_schools` finds it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from resilience.detection.verdicts.tables import gather
from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
)

__all__ = ["rank_percentiles", "share_excess", "share_good_marks", "yearly_flags"]

MARKS = ("n_2", "n_3", "n_4", "n_5")
NUMBER_OF = {"yes": 1.0, "no": 0.0}  # as criteria read a yes or no
VERDICTS = ("yes", "no", "insufficient_data", "not_applicable")


def yearly_flags(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return whether a school was listed in a year, for rules of k of n years.

    Parameters
    ----------
    verdicts : DataFrame
        ``school_id year verdict``, one row per school and year.

    Returns
    -------
    DataFrame
        ``school_id year listed``: 1 for yes, 0 for no, else missing.

    Raises
    ------
    DataError
        If the table is empty, a school or year is missing or repeats, or a verdict is none of
        the four.
    """
    check_columns(verdicts, ["school_id", "year", "verdict"], table="verdicts")
    check_not_empty(verdicts, table="verdicts")
    check_finite(verdicts, ["school_id", "year"], table="verdicts", unit="school_id")
    check_numeric(verdicts, ["year"], table="verdicts")
    check_unique(verdicts, ["school_id", "year"], table="verdicts")
    given = verdicts["verdict"].astype(str)
    strange = given[~given.isin(VERDICTS)]
    if len(strange):
        raise DataError(
            text(
                "rules.verdict",
                value=repr(strange.iloc[0]),
                n=len(strange),
                options=", ".join(VERDICTS),
            )
        )
    listed = np.array([NUMBER_OF.get(v, np.nan) for v in given])
    return verdicts[["school_id", "year"]].reset_index(drop=True).assign(listed=listed)


def share_excess(counts: pd.DataFrame) -> pd.DataFrame:
    r"""Return how far a school's share below the minimum lies above that of the region.

    .. math:: \frac{\sum_p f_{sp}}{\sum_p n_{sp}} - \frac{\sum_p n_{sp} r_p}{\sum_p n_{sp}}

    with :math:`r_p` the region's share in procedure p of the year, so that schools are compared in
    the procedures they sat.

    Returns
    -------
    DataFrame
        ``school_id year share_excess``, one row per school and year with participants.
    """
    cells = gather(
        None, None, counts=counts, school_years=None, schools=None, variances=None
    ).counts
    assert cells is not None  # gather returns the table it was given
    key = ["procedure", "year"]
    region = cells.groupby(key, observed=True)[["n_participants", "n_below_minimum"]].sum()
    rate = (region["n_below_minimum"] / region["n_participants"]).rename("rate")
    own = cells.merge(rate.reset_index(), on=key, how="left", validate="many_to_one")
    own = own.assign(expected=own["rate"] * own["n_participants"])
    sums = own.groupby(["school_id", "year"], observed=True)[
        ["n_participants", "n_below_minimum", "expected"]
    ].sum()
    excess = (sums["n_below_minimum"] - sums["expected"]) / sums["n_participants"]
    return excess.rename("share_excess").reset_index()


def share_good_marks(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the share of marks 4 and 5 among a school's marks of a year.

    Parameters
    ----------
    counts : DataFrame
        ``school_id year procedure n_2 n_3 n_4 n_5``; procedures without marks have missing counts.

    Returns
    -------
    DataFrame
        ``school_id year share_good_marks``; missing where there are no marks.

    Raises
    ------
    DataError
        If the table is empty, a school, year or procedure is missing or repeats, a count is
        negative or no whole number, only some marks of a row are there, or there are more marks
        than participants.
    """
    check_not_empty(counts, table="counts")
    key = ["school_id", "year", "procedure"]
    check_columns(counts, [*key, *MARKS], table="counts")
    check_finite(counts, key, table="counts", unit="school_id")
    check_numeric(counts, ["year", *MARKS], table="counts")
    check_unique(counts, [*key, *counts.columns.intersection(["class_label"])], table="counts")
    _check_marks(counts)
    sums = counts.groupby(["school_id", "year"], observed=True)[list(MARKS)].sum()
    total = sums.sum(axis=1)
    share = (sums["n_4"] + sums["n_5"]) / total.where(total > 0)
    return share.rename("share_good_marks").reset_index()


def _check_marks(counts: pd.DataFrame) -> None:
    """Raise unless each row holds all four marks or none, whole, no more than participants."""
    marks = counts[list(MARKS)].to_numpy(dtype=float, na_value=np.nan)
    known = ~np.isnan(marks)
    strange = (marks < 0) | np.isinf(marks) | (known & (marks != np.floor(marks)))
    partial = known.any(axis=1) & ~known.all(axis=1)
    total = marks.sum(axis=1)
    check_numeric(counts, counts.columns.intersection(["n_participants"]), table="counts")
    sat = (
        counts["n_participants"].to_numpy(dtype=float, na_value=np.nan)
        if "n_participants" in counts.columns
        else np.full(len(counts), np.nan)
    )
    bad = strange.any(axis=1) | partial | (total > sat)
    if bad.any():
        at = int(np.argmax(bad))
        row = counts.iloc[at]
        found = ", ".join(
            f"{name} = {value:g}" for name, value in zip(MARKS, marks[at], strict=True)
        )
        raise DataError(
            text(
                "rules.marks",
                school=row["school_id"],
                procedure=row["procedure"],
                year=row["year"],
                marks=found,
                sat="" if np.isnan(sat[at]) else f", n_participants = {sat[at]:g}",
                n=int(bad.sum()),
            )
        )


def rank_percentiles(effects: pd.DataFrame) -> pd.DataFrame:
    r"""Return the percentile of each school's expected rank.

    .. math:: 100\,(E[\text{rank}] - \tfrac12)/S

    Parameters
    ----------
    effects : DataFrame
        ``school_id rank_expected``, 1 = lowest effect.

    Returns
    -------
    DataFrame
        ``school_id rank_percentile``, 0 to 100, high = good.

    References
    ----------
    LairdLouis1989.
    """
    check_not_empty(effects, table="effects")
    check_columns(effects, ["school_id", "rank_expected"], table="effects")
    check_unique(effects, ["school_id"], table="effects")
    check_finite(effects, ["rank_expected"], table="effects", unit="school_id")
    ranks = effects["rank_expected"].to_numpy(dtype=float)
    n = len(ranks)
    if (ranks < 1).any() or (ranks > n).any():
        strange = ranks[(ranks < 1) | (ranks > n)][0]
        raise DataError(text("rules.rank", value=f"{strange:g}", n=n))
    return pd.DataFrame(
        {
            "school_id": effects["school_id"].to_numpy(),
            "rank_percentile": 100 * (ranks - 0.5) / np.float64(n),
        }
    )
