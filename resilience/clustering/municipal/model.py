"""Clusters of municipalities, of which a region has ten to sixty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.conditions.scaled import ScaledSchools, Scaling, scale_conditions
from resilience.clustering.conditions.specification import Conditions
from resilience.clustering.municipal.choice import NUMBERS, Cuts, cut_municipalities
from resilience.clustering.municipal.features import (
    Features,
    cluster_features,
    index_of,
    municipal_units,
    numbers_of,
    school_features,
)
from resilience.clustering.municipal.results import MunicipalClusterResults
from resilience.clustering.profiles.labels import scaled_of
from resilience.clustering.profiles.naming import cluster_names
from resilience.clustering.profiles.profile import unit_profile
from resilience.clustering.stability.stability import stability_levels
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.stats.clusters.areas import AreaUnits, area_means
from resilience.validation import check_choice, check_count, check_instance, check_names

__all__ = ["MunicipalClusters"]

MunicipalDistance = Literal["conditions", "hellinger"]

LEAST = 20  # municipalities from which clusters are tried
_NEIGHBOURS = 5


@dataclass(frozen=True)
class MunicipalClusters:
    """Clusters of municipalities by the conditions of their schools.

    Ward's tree cut into two to four clusters.  There are few municipalities and all of them are
    known; uncertain are their features, and so the schools inside them are drawn again.

    Attributes
    ----------
    conditions : Conditions
        What schools are described by.
    n_clusters : int or None
        2, 3 or 4, or None: the largest number that is stable, if any.
    features : sequence of str, optional
        Columns of the scaled conditions (enrolment-weighted means), ``context_spread`` (SD of the
        context index between schools), ``share_small``, ``share_rural`` (of pupils),
        ``log_pupils``; at most max(2, M/8) of them.  By default the most reliable ones.
    distance : {"conditions", "hellinger"}
        Between features, or between the shares of school clusters.
    n_neighbours : int
        Municipalities most alike that are listed for each.
    n_resamples : int
        Draws of schools inside municipalities.

    Raises
    ------
    SpecificationError
        For anything of another kind, other numbers of clusters, features with Hellinger's distance.
    """

    conditions: Conditions
    _: KW_ONLY
    n_clusters: int | None = None
    features: Sequence[str] | str | None = None
    distance: MunicipalDistance = "conditions"
    n_neighbours: int = _NEIGHBOURS
    n_resamples: int = 500

    def __post_init__(self) -> None:
        check_instance(
            self.conditions,
            Conditions,
            argument="conditions",
            example="rs.Conditions(shares=['low_income'])",
        )
        check_choice(self.distance, get_args(MunicipalDistance), argument="distance")
        check_count(self.n_neighbours, argument="n_neighbours")
        check_count(self.n_resamples, argument="n_resamples", least=50)
        if self.n_clusters is not None:
            check_count(self.n_clusters, argument="n_clusters", least=NUMBERS[0])
            if self.n_clusters > NUMBERS[-1]:
                raise SpecificationError(
                    text("cluster_profiles.municipal_number", value=self.n_clusters)
                )
        if self.features is not None:
            if self.distance == "hellinger":
                raise SpecificationError(text("cluster_profiles.features_hellinger"))
            named = check_names(
                self.features, argument="features", example="features=['share_rural']"
            )
            if not named:
                raise SpecificationError(text("cluster_profiles.empty_features"))
            object.__setattr__(self, "features", named)

    def fit(
        self,
        schools: pd.DataFrame | ScaledSchools,
        year: int | None = None,
        *,
        clusters: Any = None,
        scaling: Scaling | None = None,
        random_state: int | None = None,
    ) -> MunicipalClusterResults:
        """Group the municipalities, or list the most alike where no grouping is stable.

        Parameters
        ----------
        schools : DataFrame or ScaledSchools
            One row per school, or per school and ``year``, with ``municipality_id``.
        year : int, optional
            Which year; the latest by default.
        clusters : ClusterResults, optional
            Clusters of these schools, for Hellinger's distance.
        scaling : Scaling, optional
            Of an earlier year.
        random_state : int, optional
            Seed of the draws; 0 by default.

        Returns
        -------
        MunicipalClusterResults

        Raises
        ------
        SpecificationError
            If a number of clusters is asked of fewer than 20 municipalities, more features or
            school clusters than they bear, or Hellinger's distance without clusters.
        DataError
            If schools have no municipality, or there are fewer than three municipalities.

        Warns
        -----
        WeakDataWarning
            If there are fewer than 20 municipalities: neighbours only.
        """
        seed = (
            0
            if random_state is None
            else check_count(random_state, argument="random_state", least=0)
        )
        scaled = self._scaled(schools, year, clusters, scaling)
        names, units = municipal_units(scaled)
        if len(names) < 3:
            raise DataError(text("cluster_profiles.few_municipalities", n=len(names)))
        few = len(names) < LEAST
        if few and self.n_clusters is not None:
            raise SpecificationError(text("cluster_profiles.too_few", n=len(names), least=LEAST))
        generator = np.random.default_rng(seed)
        features = self._features(scaled, units, clusters, generator)
        notes: list[Bilingual] = []
        if few:
            reason = text("cluster_profiles.too_few_reason", n=len(names), least=LEAST)
            warn_weak_data(reason)
            cuts, chosen = None, None
        else:
            cuts = cut_municipalities(features, seed=seed)
            chosen, reason = self._settled(cuts)
        places = _places(names, scaled, units)
        alone = int(places["one_school"].sum())
        if alone:
            notes.append(text("cluster_profiles.one_school", n=alone))
        return _results(self, scaled, units, places, features, cuts, chosen, (reason, notes, seed))

    def _scaled(
        self,
        schools: pd.DataFrame | ScaledSchools,
        year: int | None,
        clusters: Any,
        scaling: Scaling | None,
    ) -> ScaledSchools:
        if self.distance == "hellinger" and clusters is None:
            raise SpecificationError(text("cluster_profiles.hellinger_clusters"))
        if self.distance != "hellinger" and clusters is not None:
            raise SpecificationError(text("cluster_profiles.clusters_hellinger"))
        scaled = (
            schools
            if isinstance(schools, ScaledSchools)
            else scale_conditions(schools, self.conditions, year=year, scaling=scaling)
        )
        if clusters is not None:
            own = scaled_of(clusters).schools["school_id"].astype(str).tolist()
            if own != scaled.schools["school_id"].astype(str).tolist():
                raise SpecificationError(text("cluster_profiles.other_schools"))
        return scaled

    def _features(
        self,
        scaled: ScaledSchools,
        units: AreaUnits,
        clusters: Any,
        generator: np.random.Generator,
    ) -> Features:
        if self.distance == "hellinger":
            return cluster_features(
                clusters, units, n_resamples=self.n_resamples, generator=generator
            )
        asked = None if self.features is None else list(self.features)
        return school_features(
            scaled, units, asked=asked, n_resamples=self.n_resamples, generator=generator
        )

    def _settled(self, cuts: Cuts) -> tuple[int | None, Bilingual]:
        if self.n_clusters is None:
            if cuts.chosen is None:
                return None, text("cluster_profiles.none_stable")
            return cuts.chosen, text("cluster_profiles.largest_stable", k=cuts.chosen)
        row = cuts.table[cuts.table["k"] == self.n_clusters].iloc[0]
        key = "forced_accepted" if bool(row["accepted"]) else "forced"
        return self.n_clusters, text(
            f"cluster_profiles.{key}", k=self.n_clusters, reason=row["reason"]
        )


def _places(names: list[str], scaled: ScaledSchools, units: AreaUnits) -> pd.DataFrame:
    """Return size, settlement and the mark of a single school of every municipality."""
    everyone = np.arange(len(units.areas))
    flags = np.column_stack([numbers_of(scaled.schools, c) for c in ("is_rural", "is_small")])
    shares = area_means(units, flags, everyone)
    counts = np.bincount(units.areas, minlength=units.n_areas)
    pupils = numbers_of(scaled.schools, "n_pupils")
    known = np.isfinite(pupils)
    total = np.bincount(units.areas[known], weights=pupils[known], minlength=units.n_areas)
    return pd.DataFrame(
        {
            "municipality_id": names,
            "n_schools": counts,
            "n_pupils": total if known.any() else np.nan,
            "share_rural_pupils": shares[:, 0],
            "share_small_pupils": shares[:, 1],
            "one_school": counts == 1,
        }
    )


def _results(
    model: MunicipalClusters,
    scaled: ScaledSchools,
    units: AreaUnits,
    places: pd.DataFrame,
    features: Features,
    cuts: Cuts | None,
    chosen: int | None,
    said: tuple[Bilingual, list[Bilingual], int],
) -> MunicipalClusterResults:
    reason, notes, seed = said
    profiles, names, own = pd.DataFrame(), dict[int, Bilingual](), pd.DataFrame()
    if cuts is not None and chosen is not None:
        order = _hardest_first(scaled, units, cuts.labels[chosen], chosen)
        codes = order[cuts.labels[chosen]]
        profiles, correlation = _profiles(scaled, units, places, codes, chosen)
        names = cluster_names(profiles, correlation)
        places = places.assign(cluster=codes + 1)
        places["cluster_name"] = pd.Series([names[int(c) + 1] for c in codes], dtype=object)
        places["membership_stability"] = cuts.kept[chosen]
        own = _clusters(places, cuts.jaccard[chosen][:, np.argsort(order)], names)
    ids = places["municipality_id"].astype(str).tolist()
    values = features.natural.copy()
    values.insert(0, "municipality_id", ids)
    return MunicipalClusterResults(
        municipalities=places,
        clusters=own,
        k_table=pd.DataFrame() if cuts is None else cuts.table,
        features=features.table,
        feature_values=values,
        neighbours=_neighbours(ids, features, model.n_neighbours),
        n_clusters=chosen,
        reason=reason,
        tree=None if cuts is None else cuts.tree,
        scaled=scaled,
        table_of_profiles=profiles,
        names=names,
        n_resamples=model.n_resamples,
        random_state=seed,
        notes=(reason, *notes),
    )


def _hardest_first(
    scaled: ScaledSchools, units: AreaUnits, labels: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Return the place of every cluster by the mean context of its municipalities."""
    index = area_means(units, index_of(scaled)[:, None], np.arange(len(units.areas)))[:, 0]
    means = np.array([np.nanmean(index[labels == g]) for g in range(k)])
    sizes = np.bincount(labels, minlength=k)
    order = np.lexsort((-sizes, np.round(means, 10)))
    place = np.empty(k, dtype=np.int64)
    place[order] = np.arange(k)
    return place


def _profiles(
    scaled: ScaledSchools,
    units: AreaUnits,
    places: pd.DataFrame,
    codes: NDArray[np.int64],
    k: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return profiles of enrolment-weighted means of municipalities, and their correlations."""
    everyone = np.arange(len(units.areas))
    natural = pd.DataFrame(
        area_means(units, scaled.natural.to_numpy(dtype=float), everyone),
        columns=list(scaled.natural.columns),
    )
    blocks = {
        str(term): (variable, scaled.kinds[variable])
        for term, variable in zip(scaled.natural.columns, scaled.natural_blocks, strict=True)
    }
    for term, column in (("is_rural", "share_rural_pupils"), ("is_small", "share_small_pupils")):
        if term not in scaled.variables and places[column].notna().any():
            natural[term], blocks[term] = places[column].to_numpy(dtype=float), (term, "share")
    own = places.groupby(codes)
    whole = {
        "n_municipalities": own.size().tolist(),
        "n_schools": own["n_schools"].sum().tolist(),
        "n_pupils": own["n_pupils"].sum(min_count=1).tolist(),
    }
    table = unit_profile(natural, blocks, codes, list(range(1, k + 1)), whole)
    return table, natural.corr()


def _clusters(
    places: pd.DataFrame, jaccard: NDArray[np.float64], names: dict[int, Bilingual]
) -> pd.DataFrame:
    own = places.groupby("cluster")
    table = pd.DataFrame(
        {
            "n_municipalities": own.size(),
            "n_schools": own["n_schools"].sum(),
            "n_pupils": own["n_pupils"].sum(min_count=1),
        }
    ).reset_index()
    table["jaccard"] = jaccard.mean(axis=0)
    table["jaccard_std_error"] = jaccard.std(axis=0, ddof=1) / np.sqrt(len(jaccard))
    table["stability_level"] = stability_levels(jaccard.mean(axis=0))
    table.insert(
        1, "cluster_name", pd.Series([names[c] for c in table["cluster"].tolist()], dtype=object)
    )
    return table


def _neighbours(ids: list[str], features: Features, n_neighbours: int) -> pd.DataFrame:
    m = min(n_neighbours, len(ids) - 1)
    distance, near = _nearest(features.rows / features.divisor, m)
    hits = np.zeros(near.shape)
    for drawn in features.redrawn:
        again = _nearest(drawn / features.divisor, m)[1]
        hits += (near[:, :, None] == again[:, None, :]).any(axis=2)
    rows = [
        {
            "municipality_id": ids[i],
            "neighbour_municipality": ids[near[i, r]],
            "neighbour_rank": r + 1,
            "distance": distance[i, near[i, r]],
            "retention": hits[i, r] / len(features.redrawn),
        }
        for i in range(len(ids))
        for r in range(m)
    ]
    return pd.DataFrame(rows)


def _nearest(rows: NDArray[np.float64], m: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    gaps = np.sqrt(((rows[:, None, :] - rows[None, :, :]) ** 2).sum(axis=2))
    away = gaps + np.diag(np.full(len(rows), np.inf))
    near = np.argsort(np.round(away, 12), axis=1, kind="stable")[:, :m]
    return gaps, np.asarray(near, dtype=np.int64)
