"""Covariates of schools beside their results: the context index, and columns of the schools."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from resilience.i18n import Bilingual, numeral, text
from resilience.validation import check_columns, check_not_empty, shorten

__all__ = ["complete_rows", "stated_correlation", "with_covariates"]


def with_covariates(
    table: pd.DataFrame,
    *,
    columns: Sequence[str],
    schools: pd.DataFrame,
    scores: pd.DataFrame | None,
) -> tuple[pd.DataFrame, tuple[Bilingual, ...]]:
    """Add covariates to results of schools and years.

    Parameters
    ----------
    table : DataFrame
        ``school_id year`` and results.
    columns : sequence of str
        Columns wanted; those that the table has are left as they are.
    schools : DataFrame
        Table of schools, from which the others are taken, by school and year where it has years.
    scores : DataFrame or None
        Context scores; where a year has no index the school's latest one stands in.

    Returns
    -------
    (DataFrame, tuple of Bilingual)
        And in how many rows an index of another year stands.
    """
    frame = table
    extra = [c for c in dict.fromkeys(columns) if c in schools.columns and c not in frame.columns]
    if extra:
        on = [c for c in ("school_id", "year") if c in schools.columns]
        frame = frame.merge(schools[[*on, *extra]], on=on, how="left")
    if scores is None or "context_index" not in columns:
        return frame, ()
    index = scores[["school_id", "year", "context_index"]]
    frame = frame.merge(index, on=["school_id", "year"], how="left")
    latest = (
        index.dropna(subset=["context_index"])
        .sort_values("year", kind="stable")
        .groupby("school_id", observed=True)["context_index"]
        .last()
    )
    standing = frame["school_id"].map(latest.to_dict()).astype(float)
    own = frame["context_index"].astype(float)
    frame = frame.assign(context_index=own.fillna(standing))
    lent = frame.loc[own.isna() & standing.notna(), ["school_id", "year"]].drop_duplicates()
    notes = (text("pipeline.standing_index", n=len(lent)),) if len(lent) else ()
    return frame, notes


def complete_rows(
    frame: pd.DataFrame, columns: Sequence[str], *, table: str
) -> tuple[pd.DataFrame, tuple[Bilingual, ...]]:
    """Return the rows in which no column is missing, and a note on the schools left out.

    Raises
    ------
    DataError
        If a column is not there, or no row is left.
    """
    check_columns(frame, columns, table=table)
    usable = frame.dropna(subset=list(columns))
    notes: tuple[Bilingual, ...] = ()
    if len(usable) < len(frame):
        lost = frame.loc[frame.index.difference(usable.index)]
        schools = lost["school_id"].astype(str)
        notes = (
            text(
                "pipeline.left_out",
                n=len(lost[["school_id", "year"]].drop_duplicates()),
                schools=schools.nunique(),
                first=shorten(schools.drop_duplicates()),
            ),
        )
    check_not_empty(usable, table=table)
    return usable, notes


def stated_correlation(correlation: float) -> Bilingual:
    """Return the note on the correlation of two results of one pupil, which nobody estimated."""
    words = f"{correlation:g}"
    return text("pipeline.correlation", r=numeral(words))
