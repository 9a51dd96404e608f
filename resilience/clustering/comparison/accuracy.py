"""How well neighbours predict results, this year's and the next, beside a regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.comparison.lists import check_neighbours, lists_of
from resilience.clustering.comparison.outcomes import decimal
from resilience.clustering.comparison.slopes import least_squares
from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results, format_table
from resilience.stats.clusters.differences import neighbour_means
from resilience.stats.prediction.prediction_accuracy import prediction_accuracy
from resilience.validation import (
    check_columns,
    check_count,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = ["METRICS", "NeighbourAccuracy", "accuracy_of"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

METRICS = ("equal", "supervised", "mahalanobis")  # with names in both languages
REGRESSION, LAST = "regression", "last_result"
FEWEST = 30


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NeighbourAccuracy(Results):
    """Accuracy of expectations by neighbours and by regression, over the same schools.

    Attributes
    ----------
    table : DataFrame
        ``expectation_by predicted_year expectation_r2 rmse expectation_slope n_schools
        n_predicted``: of every expectation, for the year it is made from and for the next.
    predictions : DataFrame
        ``school_id``, observed results and every expectation of the compared schools.
    year, next_year : int or None
        Year of neighbours and expectations; year predicted beside.
    outcome : str
        Column of the results.
    notes : tuple of Bilingual
        How schools were compared, and what changed between the years.
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    year: int | None
    next_year: int | None
    outcome: str
    notes: tuple[Bilingual, ...]

    def tidy(self) -> pd.DataFrame:
        """Return `table`."""
        return self.table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, the best metric of neighbours, its R² and the regression's."""
        own = self.table[self.table["predicted_year"] == self.year]
        if self.year is None:
            own = self.table
        near = own[~own["expectation_by"].isin([REGRESSION, LAST])]
        best = near.sort_values("expectation_r2", kind="stable").iloc[-1]
        line = own.loc[own["expectation_by"] == REGRESSION, "expectation_r2"]
        return pd.DataFrame(
            {
                "n_schools": [int(best["n_schools"])],
                "expectation_by": [best["expectation_by"]],
                "expectation_r2": [float(best["expectation_r2"])],
                "r2_cv": [float(line.iloc[0])],
            }
        )

    def summary(self, lang: str = "en") -> str:
        """Return the table and the notes."""
        check_language(lang)
        head = self.title(lang)
        said = "\n".join(f"* {note.localized(lang)}" for note in self.notes)
        shown = format_table(self.table, lang).to_string(index=False)
        return "\n\n".join([f"{head}\n{'=' * len(head)}", shown, said])

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with the expectations added under ``expected: name``.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="data")
        own = self.predictions.set_index("school_id").add_prefix("expected: ")
        return data.join(own.reindex(data["school_id"].astype(str)).set_axis(data.index, axis=0))


def accuracy_of(
    schools: pd.DataFrame,
    neighbours: Mapping[str, Any],
    outcome: str = "mean_score",
    *,
    next_year: int | None = None,
    n_folds: int = 10,
    random_state: int = 0,
) -> NeighbourAccuracy:
    r"""Measure how well fitted neighbours predict results, beside a regression.

    Every expectation leaves the school's own result out: neighbours by their nature, the regression
    (least squares on the scaled conditions, apart in every stratum) by cross-validation.  All are
    judged on the same schools, those that have every expectation:

    .. math:: R^2 = 1 - \sum_j (y_j - \hat y_j)^2 / \sum_j (y_j - \bar y)^2

    For the next year the same expectations are moved by the mean change of all compared schools;
    a school's own last result stands beside as what no expectation from conditions can reach.

    Parameters
    ----------
    schools : DataFrame
        ``school_id``, the outcome and, where there are several years, ``year``.
    neighbours : mapping of names to NeighbourResults
        Results of `StatisticalNeighbours.fit` on the same schools; the first lends its conditions
        to the regression.
    outcome : str
        Column of results.
    next_year : int, optional
        A year after that of the neighbours, to be predicted as well.
    n_folds : int
        Folds of the regression.
    random_state : int
        Seed of the folds.

    Returns
    -------
    NeighbourAccuracy

    Raises
    ------
    DataError
        If columns or years are missing, the neighbours are of other schools, or fewer than 30
        schools can be compared.
    SpecificationError
        If an argument is of the wrong kind or out of range.
    """
    scaled = _checked(schools, neighbours, outcome, n_folds)
    year = scaled.year
    _check_years(schools, year, next_year)
    ids = [str(s) for s in scaled.schools["school_id"]]
    now = _results(schools, outcome, ids, year)
    expected = {name: _by_neighbours(own, now) for name, own in neighbours.items()}
    expected[REGRESSION] = cross_validated(
        np.asarray(scaled.values), now, scaled.stratum, n_folds=n_folds, seed=random_state
    )
    same = _common([now, *expected.values()])
    rows = _accuracy(expected, now, same, year)
    notes = [text("neighbour_comparison.same_schools", n=int(same.sum()), of=len(ids))]
    if next_year is not None:
        after = _results(schools, outcome, ids, next_year)
        both = _common([now, after, *expected.values()])
        shift = float((after - now)[both].mean())
        moved = {name: own + shift for name, own in {**expected, LAST: now}.items()}
        rows += _accuracy(moved, after, both, next_year)
        shown = decimal(shift)
        notes.append(
            text("neighbour_comparison.shift", year=next_year, shift=shown, n=int(both.sum()))
        )
    predictions = pd.DataFrame({"school_id": ids, "observed": now, **expected})
    return NeighbourAccuracy(
        table=pd.DataFrame(rows),
        predictions=predictions[same].reset_index(drop=True),
        year=year,
        next_year=next_year,
        outcome=outcome,
        notes=tuple(notes),
    )


def _checked(
    schools: pd.DataFrame, neighbours: Mapping[str, Any], outcome: str, n_folds: int
) -> ScaledSchools:
    """Check the arguments and return the scaled schools of the first neighbours."""
    check_not_empty(schools, table="schools")
    check_columns(schools, ["school_id", outcome], table="schools")
    check_numeric(schools, [outcome], table="schools")
    check_count(n_folds, argument="n_folds", least=2)
    if not isinstance(neighbours, Mapping) or not neighbours:
        raise SpecificationError(text("neighbour_comparison.no_metrics"))
    first: ScaledSchools | None = None
    for name, own in neighbours.items():
        check_neighbours(own)
        if name in (REGRESSION, LAST):
            raise SpecificationError(text("neighbour_comparison.reserved", name=repr(name)))
        first = first or own.scaled
        same = own.scaled.schools["school_id"].tolist() == first.schools["school_id"].tolist()
        if not same or own.scaled.year != first.year:
            raise DataError(text("neighbour_comparison.other_schools", name=repr(name)))
    assert first is not None  # the mapping is not empty
    return first


def _check_years(schools: pd.DataFrame, year: int | None, next_year: int | None) -> None:
    """Raise unless the table holds the years that are asked for, in their order."""
    if "year" not in schools.columns:
        if year is not None or next_year is not None:
            raise DataError(text("conditions.no_year_column", year=next_year or year))
        check_unique(schools, ["school_id"], table="schools")
        return
    check_unique(schools, ["school_id", "year"], table="schools")
    years = sorted({int(y) for y in schools["year"]})
    for asked in (year, next_year):
        if asked is not None and asked not in years:
            raise DataError(text("conditions.year", year=asked, years=shorten(years, 12)))
    if next_year is not None and (year is None or next_year <= year):
        raise SpecificationError(text("neighbour_comparison.next_year", year=year, later=next_year))


def _results(schools: pd.DataFrame, outcome: str, ids: Sequence[str], year: int | None) -> Floats:
    """Return the results of one year in the order of the schools."""
    own = schools if year is None else schools[schools["year"] == year]
    names = own["school_id"].astype(str).to_numpy(dtype=object)
    values = pd.Series(own[outcome].to_numpy(dtype=float, na_value=np.nan), index=names)
    found = values.reindex(list(ids)).to_numpy(dtype=float)
    return np.where(np.isfinite(found), found, np.nan)


def _by_neighbours(neighbours: Any, results: Floats) -> Floats:
    """Return the mean result of the neighbours; NaN where a school is like no other."""
    lists = lists_of(neighbours, np.isfinite(results))
    quality = neighbours.quality
    poor = quality.loc[quality["verdict"] == "insufficient_data", "school_id"].astype(str)
    alone = neighbours.scaled.schools["school_id"].astype(str).isin(set(poor)).to_numpy()
    return np.where(alone, np.nan, neighbour_means(np.nan_to_num(results), lists))


def cross_validated(
    values: Floats, results: Floats, stratum: NDArray[np.str_], *, n_folds: int, seed: int
) -> Floats:
    """Return expectations of a regression in schools it was not fitted to, apart in every stratum.

    A school of a stratum with too few others for a line gets none.
    """
    expected = np.full(len(results), np.nan)
    generator = np.random.default_rng(seed)
    for name in np.unique(stratum):
        own = np.flatnonzero((stratum == name) & np.isfinite(results))
        fold = generator.permutation(len(own)) % n_folds
        for k in range(n_folds):
            inside, outside = own[fold != k], own[fold == k]
            if len(inside) <= 2 * (values.shape[1] + 1) or not len(outside):
                continue
            intercept, slopes = least_squares(values[inside], results[inside])
            expected[outside] = intercept + np.nan_to_num(values[outside]) @ slopes
    return expected


def _common(columns: Sequence[Floats]) -> Flags:
    """Return the schools that every column knows.

    Raises
    ------
    DataError
        If they are too few for an accuracy.
    """
    known = np.all([np.isfinite(c) for c in columns], axis=0)
    if known.sum() < FEWEST:
        raise DataError(
            text("neighbour_comparison.few_for_accuracy", n=int(known.sum()), needed=FEWEST)
        )
    return np.asarray(known)


def _accuracy(
    expected: Mapping[str, Floats], observed: Floats, rows: Flags, year: int | None
) -> list[dict[str, object]]:
    """Return one row of the table for every expectation."""
    y = observed[rows]
    total = float(((y - y.mean()) ** 2).sum())
    found: list[dict[str, object]] = []
    for name, own in expected.items():
        p = own[rows]
        accuracy = prediction_accuracy(p, y)
        found.append(
            {
                "expectation_by": name,
                "predicted_year": year,
                "expectation_r2": 1.0 - float(((y - p) ** 2).sum()) / total if total else np.nan,
                "rmse": accuracy.rmse,
                "expectation_slope": accuracy.slope,
                "n_schools": int(rows.sum()),
                "n_predicted": int((np.isfinite(own) & np.isfinite(observed)).sum()),
            }
        )
    return found
