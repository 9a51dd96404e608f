"""Lists of neighbours with the quality of the likeness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.clustering.neighbours.lists import Frame
from resilience.clustering.neighbours.metrics import Metric, MetricWeights
from resilience.errors import DataError
from resilience.i18n import text
from resilience.results import Results, format_table, join_by
from resilience.validation import check_columns, nearest_names

__all__ = ["NeighbourResults"]

_HUB = 3.0  # times the usual number of lists, from which a school is called a hub


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NeighbourResults(Results):
    """The schools most like each school, and how like they are.

    Attributes
    ----------
    neighbours : DataFrame
        ``school_id neighbour_id neighbour_rank distance weight distance_relative [distance_km]``:
        a row per school and neighbour.  Weights of a list sum to 1.
    quality : DataFrame
        ``school_id stratum n_neighbours distance_mean distance_max distance_percentile
        imbalance_max imbalance_variable n_times_neighbour share_reciprocal tied placed verdict
        reason``: every school, those without enough neighbours too.
    scaled : ScaledSchools
        The schools on the common scale.
    metric : str
        ``equal``, ``supervised`` or ``mahalanobis``.
    metric_weights : MetricWeights or None
        Weights of the variables; None for Mahalanobis' distance.
    frame : Frame
        Strata, entities and order of ids, as positions.
    n_neighbours, minimum : int
        Longest and shortest list.
    caliper : float or None
        Largest distance on a list.

    References
    ----------
    NFERNeighbours; CIPFANeighbours.
    """

    neighbours: pd.DataFrame
    quality: pd.DataFrame
    scaled: ScaledSchools
    metric: Metric
    metric_weights: MetricWeights | None
    frame: Frame
    n_neighbours: int
    minimum: int
    caliper: float | None

    @property
    def weights_of_variables(self) -> pd.DataFrame:
        """``term metric_weight``: weight of every variable, the mean over folds where learnt.

        Missing for Mahalanobis' distance, which has no weights of single variables.
        """
        names = list(self.scaled.variables)
        if self.metric_weights is None:
            return pd.DataFrame({"term": names, "metric_weight": np.nan})
        return pd.DataFrame(
            {"term": names, "metric_weight": self.metric_weights.weights.mean(axis=0)}
        )

    @property
    def hubness(self) -> pd.DataFrame:
        """One row: how unevenly schools are named as neighbours.

        ``times_skewness share_never_named n_hubs most_named_school most_named``: nearest-neighbour
        lists in many dimensions name a few schools everywhere; a result of such a school moves
        many comparisons at once.  A hub is named three times as often as the mean.
        """
        times = self.quality["n_times_neighbour"].to_numpy(dtype=np.float64)
        spread = times.std()
        skewness = float((((times - times.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0
        top = int(times.argmax())
        return pd.DataFrame(
            {
                "times_skewness": [skewness],
                "share_never_named": [float((times == 0).mean())],
                "n_hubs": [int((times > _HUB * max(times.mean(), 1e-12)).sum())],
                "most_named_school": [self.quality["school_id"].iloc[top]],
                "most_named": [int(times[top])],
            }
        )

    def table(self, school_id: str, *, lang: str | None = None) -> pd.DataFrame:
        """Return one school and its neighbours side by side in natural units, for an appendix.

        Parameters
        ----------
        school_id : str
            Which school; its row comes first, the weighted mean of its neighbours last.
        lang : {"en", "ru"}, optional
            Print numbers and headings for the reader; by default numbers stay numbers.

        Returns
        -------
        DataFrame
            ``school_id neighbour_rank distance weight`` and the conditions.

        Raises
        ------
        DataError
            If the school is unknown, or its list is too short, with the reason.
        """
        ids = self.scaled.schools["school_id"].astype(str)
        if str(school_id) not in set(ids):
            near = nearest_names(str(school_id), ids)
            raise DataError(text("neighbours.unknown", school=repr(school_id), nearest=near))
        row = self.quality[self.quality["school_id"].astype(str) == str(school_id)].iloc[0]
        if row["verdict"] == "insufficient_data":
            raise DataError(
                text("neighbours.no_list", school=repr(school_id), reason=row["reason"])
            )
        own = self.neighbours[self.neighbours["school_id"].astype(str) == str(school_id)]
        position = pd.Index(ids).get_indexer(
            pd.Index([str(school_id), *own["neighbour_id"].astype(str)])
        )
        natural = self.scaled.natural.iloc[position].reset_index(drop=True)
        head = pd.DataFrame(
            {
                "school_id": self.scaled.schools["school_id"].to_numpy()[position],
                "neighbour_rank": [0, *own["neighbour_rank"]],
                "distance": [0.0, *own["distance"]],
                "weight": [np.nan, *own["weight"]],
            }
        )
        whole = pd.concat([head, natural], axis=1)
        mean = own["weight"].to_numpy() @ natural.to_numpy(dtype=np.float64)[1:]
        last: dict[str, object] = dict(zip(natural.columns, mean, strict=True))
        words = text("neighbours.mean_row")
        name = words if lang is None else words.localized(lang)
        last |= {"school_id": str(name), "distance": float(own["distance"].mean()), "weight": 1.0}
        whole = pd.concat([whole, pd.DataFrame([last])], ignore_index=True)
        whole["neighbour_rank"] = whole["neighbour_rank"].astype("Int64")
        return whole if lang is None else format_table(whole, lang)

    def tidy(self) -> pd.DataFrame:
        """Return `neighbours`."""
        return self.neighbours.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, metric, caliper, lists that are long enough."""
        enough = self.quality["verdict"] != "insufficient_data"
        return pd.DataFrame(
            {
                "n_schools": [len(self.quality)],
                "metric": [self.metric],
                "n_variables": [len(self.scaled.variables)],
                "caliper": [self.caliper],
                "n_with_list": [int(enough.sum())],
                "n_without_list": [int((~enough).sum())],
                "distance_mean": [float(self.quality["distance_mean"].mean())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return the table of schools with the quality of every list.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="schools")
        return join_by(data, self.quality, "school_id")
