"""Histograms of raw scores: checked, set beside their borders, summed up to means and spreads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    nearest_names,
    shorten,
)

__all__ = ["by_test", "check_scores", "read_histograms", "summaries_of"]

KEY = ["school_id", "year", "procedure", "score"]
TEST = ["school_id", "year", "procedure"]


def by_test(table: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Yield procedure, year and rows of each test of a table, sorted."""
    keys = table[["procedure", "year"]].drop_duplicates().sort_values(["procedure", "year"])
    groups = table.groupby(["procedure", "year"], sort=True)
    for procedure, year in zip(keys["procedure"], keys["year"], strict=True):
        yield str(procedure), int(year), groups.get_group((procedure, year))


def read_histograms(histograms: pd.DataFrame) -> pd.DataFrame:
    """Check score histograms and return them with plain types, sorted.

    Parameters
    ----------
    histograms : DataFrame
        ``school_id year procedure score n_pupils``; a column ``form`` or ``variant`` may tell forms
        of one test apart, and there must be only one of each test.

    Raises
    ------
    DataError
        If the table is empty, a column is absent or has gaps, a score or count is not a whole
        number of at least 0, a key repeats, or forms are mixed.
    """
    check_columns(histograms, [*KEY, "n_pupils"], table="score_histograms")
    check_not_empty(histograms, table="score_histograms")
    check_finite(histograms, [*KEY, "n_pupils"], table="score_histograms", unit="school_id")
    check_numeric(histograms, ["year", "score", "n_pupils"], table="score_histograms")
    for column in ("score", "n_pupils"):
        values = histograms[column].to_numpy(dtype=float)
        bad = (values < 0) | (values != np.round(values))
        if bad.any():
            raise DataError(
                text(
                    "integrity.whole",
                    column=column,
                    n=int(bad.sum()),
                    school=histograms.loc[bad, "school_id"].iloc[0],
                    value=f"{values[bad][0]:g}",
                )
            )
    _check_forms(histograms)
    repeated = histograms.duplicated(KEY, keep="first")
    if repeated.any():
        row = histograms.loc[repeated, KEY].iloc[0]
        place = "/".join(str(v) for v in row.tolist())
        raise DataError(text("integrity.repeated", n=int(repeated.sum()), place=place))
    return pd.DataFrame(
        {
            "school_id": histograms["school_id"].astype(str).to_numpy(),
            "year": histograms["year"].to_numpy(dtype=np.int64),
            "procedure": histograms["procedure"].astype(str).to_numpy(),
            "score": histograms["score"].to_numpy(dtype=np.int64),
            "n_pupils": histograms["n_pupils"].to_numpy(dtype=np.int64),
        }
    ).sort_values(KEY, ignore_index=True)


def _check_forms(histograms: pd.DataFrame) -> None:
    for column in ("form", "variant"):
        if column not in histograms.columns:
            continue
        forms = histograms.groupby(["procedure", "year"])[column].nunique(dropna=False)
        if (forms > 1).any():
            place = "/".join(str(v) for v in forms.index[int(np.argmax(forms > 1))])
            raise DataError(text("integrity.mixed_forms", place=place, column=column))


def check_scores(table: pd.DataFrame, borders: pd.DataFrame) -> None:
    """Raise unless every test has borders and its scores are raw scores of that scale.

    Raises
    ------
    DataError
        If a procedure and year has no borders, only marks 2 to 5 occur, or a score exceeds the
        highest score of the scale.
    """
    scale = borders.groupby(["procedure", "year"])["max_score"].first()
    scores = table[table["n_pupils"] > 0].groupby(["procedure", "year"])["score"]
    lowest, highest = scores.min(), scores.max()
    unknown = [key for key in highest.index if key not in scale.index]
    if unknown:
        known = sorted({str(name) for name, _ in scale.index})
        raise DataError(
            text(
                "integrity.no_border",
                n=len(unknown),
                places=shorten(f"{p}/{y}" for p, y in unknown),
                nearest=nearest_names(str(unknown[0][0]), known),
            )
        )
    for key in highest.index:
        place = f"{key[0]}/{key[1]}"
        if highest[key] <= 5 < scale[key] and lowest[key] >= 2:
            raise DataError(text("integrity.marks_given", place=place, maximum=int(scale[key])))
        if highest[key] > scale[key]:
            raise DataError(
                text(
                    "integrity.above_maximum",
                    place=place,
                    score=int(highest[key]),
                    maximum=int(scale[key]),
                )
            )


def summaries_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return participants, mean and SD of each school, year and procedure.

    Parameters
    ----------
    table : DataFrame
        Histograms from `read_histograms`.

    Returns
    -------
    DataFrame
        ``school_id year procedure n_participants mean_score sd``; the SD has n − 1 in its
        denominator and is missing for one participant.  Tests without participants are left out.
    """
    count = table["n_pupils"].astype(float)
    sums = (
        table.assign(n=count, first=count * table["score"], second=count * table["score"] ** 2)
        .groupby(TEST, sort=True)[["n", "first", "second"]]
        .sum()
        .reset_index()
    )
    sums = sums[sums["n"] > 0].reset_index(drop=True)
    n, first, second = (sums[c].to_numpy(dtype=float) for c in ("n", "first", "second"))
    mean = first / n
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.where(n > 1, np.maximum(second - n * mean**2, 0.0) / (n - 1), np.nan)
    return sums[TEST].assign(
        n_participants=n.astype(np.int64), mean_score=mean, sd=np.sqrt(variance)
    )
