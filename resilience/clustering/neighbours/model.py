"""Find statistical neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from resilience.clustering.conditions.scaled import ScaledSchools, Scaling, scale_conditions
from resilience.clustering.conditions.specification import Conditions
from resilience.clustering.neighbours.geography import coordinates_of
from resilience.clustering.neighbours.lists import Frame, find_nearest
from resilience.clustering.neighbours.metrics import (
    Metric,
    MetricWeights,
    cross_fitted,
    equal_weights,
    supervised_weights,
)
from resilience.clustering.neighbours.results import NeighbourResults
from resilience.clustering.neighbours.tables import neighbour_table, quality_table
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.clusters.geography import great_circle_km
from resilience.stats.clusters.partitions import Floats
from resilience.validation import (
    check_choice,
    check_columns,
    check_count,
    check_instance,
    check_names,
    check_numeric,
    check_positive,
    shorten,
)

__all__ = ["StatisticalNeighbours"]

Kernel = Literal["equal", "triangular"]

_MANY = 0.2  # share of schools without a list, from which the fit warns
_SMALL_STRATUM = 6


@dataclass(frozen=True)
class StatisticalNeighbours:
    r"""The schools most like each school in what it does not choose.

    .. math:: d_{ij} = \sqrt{\sum_k w_k \lVert z_{ik} - z_{jk} \rVert^2}, \qquad \sum_k w_k = 1

    in regional standard deviations, root mean square over variables.  The list is cut at the
    caliper and never filled with strangers: below ``minimum`` there is no list, and the reason.

    Attributes
    ----------
    conditions : Conditions
        What schools are compared by; six independent variables at most leave enough neighbours.
    metric : {"equal", "supervised", "mahalanobis"}
        Equal weights (or those of the conditions), which can be redone by hand; weights by what
        predicts the outcome of previous years; or the inverse pooled covariance.
    outcome : str, optional
        Column of results, for the supervised metric alone.
    n_neighbours : int
        Longest list.
    caliper : float or None
        Largest distance; None sets no bound.
    minimum : int
        Shortest list.
    exact_on : sequence of str
        Columns that must be equal (stage, settlement).
    same_entity : str, optional
        Column of the legal entity: campuses of one are no neighbours of each other.
    coordinates : (str, str), optional
        Columns of latitude and longitude: lists show the distance on the map.
    kernel : {"equal", "triangular"}
        Weights of neighbours: alike, or falling to 0 at the caliper.

    Raises
    ------
    SpecificationError
        For values out of range, a supervised metric without outcome, a triangular kernel without
        caliper.

    References
    ----------
    NFERNeighbours; CIPFANeighbours; EEFFamilies.
    """

    conditions: Conditions
    _: KW_ONLY
    metric: Metric = "equal"
    outcome: str | None = None
    n_neighbours: int = 15
    caliper: float | None = 0.75
    minimum: int = 5
    exact_on: Sequence[str] | str = ()
    same_entity: str | None = None
    coordinates: tuple[str, str] | None = None
    kernel: Kernel = "equal"

    def __post_init__(self) -> None:
        check_instance(
            self.conditions,
            Conditions,
            argument="conditions",
            example="rs.Conditions(shares=['low_income'])",
        )
        check_choice(self.metric, get_args(Metric), argument="metric")
        check_choice(self.kernel, get_args(Kernel), argument="kernel")
        check_count(self.minimum, argument="minimum")
        check_count(self.n_neighbours, argument="n_neighbours", least=self.minimum)
        if self.caliper is not None:
            check_positive(self.caliper, argument="caliper", zero=True)
        elif self.kernel == "triangular":
            raise SpecificationError(text("neighbours.kernel"))
        if (self.metric == "supervised") != (self.outcome is not None):
            raise SpecificationError(text("neighbours.outcome", metric=repr(self.metric)))
        exact = check_names(self.exact_on, argument="exact_on", example="exact_on=['school_type']")
        object.__setattr__(self, "exact_on", exact)
        if self.coordinates is not None:
            places = check_names(
                self.coordinates, argument="coordinates", example="('latitude', 'longitude')"
            )
            if len(places) != 2:
                raise SpecificationError(text("neighbours.two_coordinates", n=len(places)))
            object.__setattr__(self, "coordinates", places)

    def fit(
        self,
        schools: pd.DataFrame,
        year: int | None = None,
        *,
        history: pd.DataFrame | None = None,
        scaling: Scaling | None = None,
    ) -> NeighbourResults:
        """Find the neighbours of every school of one year.

        Parameters
        ----------
        schools : DataFrame
            One row per school, or per school and ``year``.
        year : int, optional
            Which year; the latest by default.
        history : DataFrame, optional
            School-years with the conditions and the outcome that a supervised metric learns from;
            by default the earlier years of ``schools``.  Where there are none, every tenth of the
            schools gets weights learnt from the other nine.
        scaling : Scaling, optional
            Of a base year.

        Returns
        -------
        NeighbourResults

        Raises
        ------
        DataError
            See `scale_conditions`; for impossible coordinates; for too few results to learn from.

        Warns
        -----
        WeakDataWarning
            If more than a fifth of the schools have no list.
        """
        exact = tuple(self.exact_on)
        scaled = scale_conditions(
            schools, self.conditions, year=year, scaling=scaling, strata=exact
        )
        rows = self._rows(schools, scaled)
        frame = self._frame(rows, scaled)
        metric = self._metric(schools, rows, scaled, history)
        nearest = find_nearest(scaled.z, frame, metric, self.n_neighbours)
        caliper = np.inf if self.caliper is None else self.caliper
        near = (nearest.index >= 0) & (nearest.distance <= caliper)
        enough = near.sum(axis=1) >= self.minimum
        kept = near & enough[:, None]
        places = None if self.coordinates is None else coordinates_of(rows, self.coordinates)
        distance_km = (
            None
            if places is None
            else great_circle_km(places[:, None, :], places[np.maximum(nearest.index, 0)])
        )
        table = neighbour_table(
            scaled,
            nearest,
            kept,
            kernel_caliper=self.caliper if self.kernel == "triangular" else None,
            distance_km=distance_km,
        )
        quality = quality_table(
            scaled, frame, nearest, near, kept, table, self.minimum, self.caliper, _SMALL_STRATUM
        )
        self._warn(quality, scaled)
        return NeighbourResults(
            neighbours=table,
            quality=quality,
            scaled=scaled,
            metric=self.metric,
            metric_weights=metric,
            frame=frame,
            n_neighbours=self.n_neighbours,
            minimum=self.minimum,
            caliper=self.caliper,
        )

    def _rows(self, schools: pd.DataFrame, scaled: ScaledSchools) -> pd.DataFrame:
        """Return the table's rows behind the scaled schools."""
        further = [c for c in (self.same_entity, *(self.coordinates or ())) if c is not None]
        check_columns(schools, further, table="schools")
        if scaled.year is None:
            return schools.reset_index(drop=True)
        return schools[schools["year"] == scaled.year].reset_index(drop=True)

    def _frame(self, rows: pd.DataFrame, scaled: ScaledSchools) -> Frame:
        n = len(rows)
        ids = scaled.schools["school_id"].astype(str).to_numpy(dtype=object)
        entity = np.arange(n, dtype=np.int64)
        if self.same_entity is not None:
            codes, _ = pd.factorize(rows[self.same_entity])
            entity = np.where(codes >= 0, codes, n + entity).astype(np.int64)
        place = {name: i for i, name in enumerate(scaled.variables)}
        return Frame(
            variable_of=np.array([place[b] for b in scaled.blocks], dtype=np.int64),
            stratum=np.unique(scaled.stratum, return_inverse=True)[1].reshape(-1).astype(np.int64),
            order=np.argsort(np.argsort(ids, kind="stable"), kind="stable").astype(np.int64),
            entity=entity,
            complete=scaled.complete,
        )

    def _metric(
        self,
        schools: pd.DataFrame,
        rows: pd.DataFrame,
        scaled: ScaledSchools,
        history: pd.DataFrame | None,
    ) -> MetricWeights | None:
        if self.metric == "mahalanobis":
            return None
        if self.metric == "equal":
            return equal_weights(scaled)
        name = self.outcome
        assert name is not None  # checked with the metric
        if name in self.conditions.columns:
            raise SpecificationError(text("neighbours.outcome_is_condition", column=repr(name)))
        past = history
        if past is None and scaled.year is not None:
            past = schools[schools["year"] < scaled.year]
        if past is None or not len(past):
            return cross_fitted(scaled, _outcome(rows, name))
        values, results = self._past(past, scaled, name)
        weights = supervised_weights(values, scaled.blocks, scaled.variables, results)
        fold = np.zeros(len(rows), dtype=np.int64)
        return MetricWeights(weights=weights[None, :], fold=fold)

    def _past(self, past: pd.DataFrame, scaled: ScaledSchools, name: str) -> tuple[Floats, Floats]:
        """Return complete scaled rows of earlier years and their results less the year's mean."""
        if "year" not in past.columns:
            raise DataError(text("neighbours.history_year"))
        values, results = [], []
        for year in sorted({int(y) for y in past["year"]}):
            own = scale_conditions(past, self.conditions, year=year, scaling=scaled.scaling)
            outcome = _outcome(past[past["year"] == year].reset_index(drop=True), name)
            known = own.complete & np.isfinite(outcome)
            if known.any():
                values.append(own.z[known])
                results.append(outcome[known] - outcome[known].mean())
        if not values:
            raise DataError(text("neighbours.few_results", n=0, needed=5 * len(scaled.columns)))
        return np.concatenate(values), np.concatenate(results)

    def _warn(self, quality: pd.DataFrame, scaled: ScaledSchools) -> None:
        alone = quality["verdict"] == "insufficient_data"
        if len(quality) and alone.mean() > _MANY:
            from scipy.stats import chi2

            k = len(scaled.variables)
            inside = (
                float("nan")
                if self.caliper is None
                else len(quality) * float(chi2.cdf(k * self.caliper**2 / 2.0, k))
            )
            warn_weak_data(
                text(
                    "neighbours.many_alone",
                    n=int(alone.sum()),
                    share=f"{alone.mean():.0%}",
                    k=k,
                    expected=f"{inside:.1f}",
                    schools=shorten(quality.loc[alone, "school_id"].astype(str)),
                )
            )


def _outcome(rows: pd.DataFrame, name: str) -> Floats:
    check_columns(rows, [name], table="schools")
    check_numeric(rows, [name], table="schools")
    return rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
