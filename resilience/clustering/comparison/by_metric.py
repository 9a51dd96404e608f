"""Which metric of neighbours predicts results best: all of them beside a regression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import pandas as pd

from resilience.clustering.comparison.accuracy import METRICS, NeighbourAccuracy, accuracy_of
from resilience.clustering.conditions.specification import Conditions
from resilience.clustering.neighbours.metrics import Metric
from resilience.clustering.neighbours.model import StatisticalNeighbours
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.validation import check_choice, check_columns, check_names, check_not_empty

__all__ = ["neighbour_accuracy"]


def neighbour_accuracy(
    schools: pd.DataFrame,
    conditions: Conditions,
    outcome: str = "mean_score",
    *,
    year: int | None = None,
    next_year: int | None = None,
    metrics: Sequence[str] = METRICS,
    n_neighbours: int = 15,
    caliper: float = 0.75,
    exact_on: Sequence[str] | str = (),
    n_folds: int = 10,
    random_state: int = 0,
) -> NeighbourAccuracy:
    """Measure how well neighbours by every metric predict results, beside a regression.

    The neighbours of all metrics are fitted to one year and judged by `accuracy_of` on the same
    schools: R² and RMSE of the results of that year, each school's own left out, and of the next.

    Parameters
    ----------
    schools : DataFrame
        Conditions and outcome, one row per school or per school and ``year``.
    conditions : Conditions
        What schools are compared by.
    outcome : str
        Column of results.
    year : int, optional
        Year of the neighbours; the year before ``next_year``, or else the latest, by default.
    next_year : int, optional
        A later year to be predicted as well.
    metrics : sequence of {"equal", "supervised", "mahalanobis"}
        Metrics to compare.
    n_neighbours, caliper, exact_on
        As for `StatisticalNeighbours`.
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
        If columns or years are missing, or fewer than 30 schools can be compared.
    SpecificationError
        If an argument is out of range.
    """
    check_not_empty(schools, table="schools")
    check_columns(schools, ["school_id", outcome], table="schools")
    names = check_names(metrics, argument="metrics", example="metrics=['equal']")
    if not names:
        raise SpecificationError(text("neighbour_comparison.no_metrics"))
    if year is None and next_year is not None and "year" in schools.columns:
        before = schools.loc[schools["year"] < next_year, "year"]
        year = int(before.max()) if len(before) else None
    fitted: dict[str, Any] = {}
    said: dict[str, warnings.WarningMessage] = {}
    for name in names:
        check_choice(name, METRICS, argument="metrics")
        model = StatisticalNeighbours(
            conditions,
            metric=cast(Metric, name),
            outcome=outcome if name == "supervised" else None,
            n_neighbours=n_neighbours,
            caliper=caliper,
            exact_on=exact_on,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted[name] = model.fit(schools, year=year)
        said |= {str(one.message): one for one in caught}
    for one in said.values():  # once, not once a metric
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return accuracy_of(
        schools, fitted, outcome, next_year=next_year, n_folds=n_folds, random_state=random_state
    )
