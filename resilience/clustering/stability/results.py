"""How stable every cluster is, and how sure the place of every school."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from resilience.results import Results, join_by
from resilience.stats.clusters.resampling import ResamplingScheme
from resilience.validation import check_columns

__all__ = ["StabilityResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StabilityResults(Results):
    """Clusterwise stability.

    Attributes
    ----------
    clusters : DataFrame
        ``cluster cluster_name stratum n_schools jaccard jaccard_std_error n_dissolved n_recovered
        stability_level``, one row per cluster.
    schools : DataFrame
        ``school_id stratum cluster membership_stability membership_verdict other_cluster
        other_share``: in which share of the resamples the school falls into its own cluster, and
        into the next likeliest.
    scheme : str
        ``bootstrap``, ``subset`` or ``noise``.
    n_resamples : int
        B.

    References
    ----------
    Hennig2007.
    """

    clusters: pd.DataFrame
    schools: pd.DataFrame
    scheme: ResamplingScheme
    n_resamples: int

    @property
    def all_stable(self) -> bool:
        """Whether every cluster is at least stable."""
        return bool(self.clusters["stability_level"].isin(["stable", "highly_stable"]).all())

    def tidy(self) -> pd.DataFrame:
        """Return `clusters`."""
        return self.clusters.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: scheme, resamples, least coefficient, schools between clusters."""
        between = self.schools["membership_verdict"] == "between_clusters"
        return pd.DataFrame(
            {
                "n_clusters": [len(self.clusters)],
                "n_schools": [len(self.schools)],
                "resampling_scheme": [self.scheme],
                "n_resamples": [self.n_resamples],
                "jaccard_min": [self.clusters["jaccard"].min()],
                "n_between_clusters": [int(between.sum())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return the table of schools with cluster, stability of membership and verdict.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="schools")
        own = self.schools.drop(columns="stratum")
        return join_by(data, own, "school_id")
