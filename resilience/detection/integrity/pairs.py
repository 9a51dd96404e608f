"""School marks beside results of a test, pupil by pupil without names, or counted by school."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resilience.detection.integrity.histograms import by_test
from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
)

__all__ = ["read_journal", "with_marks"]

TEST = ["school_id", "year", "procedure"]
MARKS = (1, 2, 3, 4, 5)


def read_journal(journal: pd.DataFrame, *, result: str) -> pd.DataFrame:
    """Check a table of school marks and results and return it with plain types.

    Parameters
    ----------
    journal : DataFrame
        ``school_id year procedure register_mark`` and ``score`` or ``mark``; one row per pupil
        (``pupil_key`` optional, never a name), or one per combination with ``n_pupils``.
    result : {"score", "mark"}
        Column set beside the school mark.

    Returns
    -------
    DataFrame
        ``school_id year procedure register_mark`` ``result`` ``n_pupils``.

    Raises
    ------
    DataError
        If a column is absent, a pupil repeats, a mark is none of 1 to 5, or a count is negative or
        not whole.
    """
    needed = [*TEST, "register_mark", result]
    check_columns(journal, needed, table="journal")
    check_not_empty(journal, table="journal")
    check_finite(journal, needed, table="journal", unit="school_id")
    check_numeric(journal, ["year", "register_mark", result], table="journal")
    if "pupil_key" in journal.columns:
        check_unique(journal, ["pupil_key", "year", "procedure"], table="journal")
    for column in ("register_mark", *(("mark",) if result == "mark" else ())):
        strange = ~journal[column].isin(MARKS)
        if strange.any():
            raise DataError(
                text(
                    "integrity.mark_value",
                    column=column,
                    n=int(strange.sum()),
                    value=journal.loc[strange, column].iloc[0],
                )
            )
    count = (
        journal["n_pupils"].to_numpy(dtype=float)
        if "n_pupils" in journal.columns
        else np.ones(len(journal))
    )
    bad = ~((count >= 0) & (count == np.round(count)))
    if bad.any():
        raise DataError(
            text("integrity.journal_count", n=int(bad.sum()), value=f"{count[bad][0]:g}")
        )
    return pd.DataFrame(
        {
            "school_id": journal["school_id"].astype(str).to_numpy(),
            "year": journal["year"].to_numpy(dtype=np.int64),
            "procedure": journal["procedure"].astype(str).to_numpy(),
            "register_mark": journal["register_mark"].to_numpy(dtype=np.int64),
            result: journal[result].to_numpy(dtype=float),
            "n_pupils": count.astype(np.int64),
        }
    )


def with_marks(journal: pd.DataFrame, borders: pd.DataFrame | None) -> pd.DataFrame:
    """Return a journal that has marks of the test, from its scores and borders where need be.

    Raises
    ------
    DataError
        If there are neither marks nor scores with borders.
    """
    if "mark" in journal.columns:
        return journal
    check_columns(journal, [*TEST, "score"], table="journal")
    if borders is None:
        raise DataError(text("integrity.journal_marks"))
    known = {(procedure, year): own for procedure, year, own in by_test(borders)}
    pieces = []
    for procedure, year, own in by_test(journal):
        if (procedure, year) not in known:
            raise DataError(text("integrity.journal_border", procedure=procedure, year=year))
        line = known[(procedure, year)].sort_values("mark")
        scores = own["score"].to_numpy(dtype=float)
        above = np.searchsorted(line["border_score"].to_numpy(), scores, side="right")
        marks = np.concatenate([[line["mark"].iloc[0] - 1], line["mark"].to_numpy()])
        pieces.append(own.assign(mark=marks[above].astype(np.int64)))
    return pd.concat(pieces, ignore_index=True)
