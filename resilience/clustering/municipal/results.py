"""What clusters and neighbours of municipalities say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.results import Results, join_by
from resilience.validation import check_columns

__all__ = ["MunicipalClusterResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MunicipalClusterResults(Results):
    """Clusters of municipalities where they are stable, and neighbours of each in any case.

    Attributes
    ----------
    municipalities : DataFrame
        ``municipality_id n_schools n_pupils share_rural_pupils share_small one_school`` and where
        there are clusters ``cluster cluster_name membership_stability``, one row each.
    clusters : DataFrame
        ``cluster cluster_name n_municipalities n_schools n_pupils jaccard jaccard_std_error
        stability_level``; empty without clusters.
    k_table : DataFrame
        ``k gap gap_std_error jaccard_min n_smallest accepted reason``; empty where there are too
        few municipalities to try.
    features : DataFrame
        ``feature feature_reliability feature_used``: the share of the differences between
        municipalities that does not depend on which schools they happen to have.
    feature_values : DataFrame
        ``municipality_id`` and the features used, as they are.
    neighbours : DataFrame
        ``municipality_id neighbour_municipality neighbour_rank distance retention``: the most
        alike; ``retention`` the share of draws of schools that keep the neighbour.
    n_clusters : int or None
        None where nothing stable was found.
    reason : Bilingual
        Why this number, or none.
    tree : ndarray or None
        Ward's linkage; None without a try.
    scaled : ScaledSchools
        The schools behind the municipalities.
    table_of_profiles : DataFrame
        Behind `profiles`; empty without clusters.
    names : mapping of {int: Bilingual}
        Names of the clusters; empty without.
    n_resamples, random_state : int
        Draws of schools inside municipalities, and their seed.
    notes : tuple of Bilingual
        What a reader must know.

    References
    ----------
    Hennig2007; TibshiraniWaltherHastie2001; MurtaghLegendre2014.
    """

    municipalities: pd.DataFrame
    clusters: pd.DataFrame
    k_table: pd.DataFrame
    features: pd.DataFrame
    feature_values: pd.DataFrame
    neighbours: pd.DataFrame
    n_clusters: int | None
    reason: Bilingual
    tree: NDArray[np.float64] | None
    scaled: ScaledSchools
    table_of_profiles: pd.DataFrame
    names: dict[int, Bilingual]
    n_resamples: int
    random_state: int
    notes: tuple[Bilingual, ...]

    @property
    def profiles(self) -> pd.DataFrame:
        """How far each cluster lies from the mean municipality; columns of `profile_table`.

        Raises
        ------
        SpecificationError
            If there are no clusters.
        """
        if self.n_clusters is None:
            raise SpecificationError(
                text("cluster_profiles.no_municipal_clusters", reason=self.reason)
            )
        return self.table_of_profiles.copy()

    def tidy(self) -> pd.DataFrame:
        """Return `clusters`, or `neighbours` where there are none."""
        return (self.neighbours if self.n_clusters is None else self.clusters).copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: municipalities, those of one school, clusters, reason."""
        return pd.DataFrame(
            {
                "n_municipalities": [len(self.municipalities)],
                "n_one_school": [int(self.municipalities["one_school"].sum())],
                "n_features": [int(self.features["feature_used"].sum())],
                "n_clusters": pd.array([self.n_clusters or pd.NA], dtype="Int64"),
                "reason": pd.Series([self.reason], dtype=object),
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table with ``municipality_id`` and the municipality's columns added.

        Raises
        ------
        DataError
            If the table has no municipality_id.
        """
        check_columns(data, ["municipality_id"], table="data")
        kept = [c for c in self.municipalities.columns if c not in data.columns]
        own = self.municipalities[["municipality_id", *kept]]
        return join_by(data, own, "municipality_id")

    def summary(self, lang: str = "en") -> str:
        """Return the summary with the notes at its end."""
        lines = [note.localized(lang) for note in self.notes]
        return "\n".join([super().summary(lang), "", *lines])
