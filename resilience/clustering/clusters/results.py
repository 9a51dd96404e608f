"""What clusters of schools say: who belongs where, and what every cluster is like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.clusters.definition import ClusterDefinition
from resilience.clustering.clusters.names import ClusterName, given_names
from resilience.clustering.clusters.strata import StratumClusters, stratum_name
from resilience.clustering.clusters.tables import (
    centres_table,
    identity_of,
    memberships_table,
    names_column,
    numbers_column,
    predicted_table,
    sizes_table,
    within_table,
)
from resilience.clustering.conditions.scaled import ScaledSchools, scale_conditions
from resilience.clustering.fits.algorithms import partitioner
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results
from resilience.stats.clusters.partitions import Floats, Partitioner
from resilience.validation import check_choice, check_columns

__all__ = ["ClusterResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ClusterResults(Results):
    """Clusters of schools by their conditions.

    Attributes
    ----------
    model : ClusterDefinition
        What was asked for.
    scaled : ScaledSchools
        The schools on the common scale.
    clusters : ndarray of shape (S,)
        Number of the cluster of every school, 1 = the hardest conditions; 0 outside clusters.
    placed : ndarray of shape (S,), bool
        Whether a school was placed by part of its conditions only.
    silhouette : ndarray of shape (S,)
        Inside the own stratum, NaN for placed schools and a stratum of one cluster.
    parts : tuple of StratumClusters
        Centres, trees and mixtures of the strata that have clusters.
    selections : mapping of {stratum: SelectionResults}
        How the numbers of clusters were chosen; empty where they were given.
    reasons : mapping of {stratum: Bilingual}
        Why strata have no clusters.
    random_state : int
        Seed of the fit.
    given : mapping of {int: ClusterName}
        Names given by people in place of those made from the profiles.
    """

    model: ClusterDefinition
    scaled: ScaledSchools
    clusters: NDArray[np.int64]
    placed: NDArray[np.bool_]
    silhouette: Floats
    parts: tuple[StratumClusters, ...]
    selections: Mapping[str, Results]
    reasons: Mapping[str, Bilingual]
    random_state: int
    given: Mapping[int, ClusterName] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("clusters", "placed", "silhouette"):
            frozen = np.array(getattr(self, name))
            frozen.setflags(write=False)
            object.__setattr__(self, name, frozen)

    @property
    def n_clusters(self) -> int | None:
        """Number of clusters of all strata; None where no stratum has any."""
        return sum(len(part.numbers) for part in self.parts) or None

    @property
    def n_clusters_by_stratum(self) -> dict[str, int | None]:
        """Number of clusters of every stratum; None where nothing stable was found."""
        found: dict[str, int | None] = dict.fromkeys(sorted({str(s) for s in self.scaled.stratum}))
        return found | {part.stratum: len(part.numbers) for part in self.parts}

    @property
    def reason(self) -> Bilingual | None:
        """Why schools are without clusters, or that somebody set the number; None if neither."""
        if not self.reasons:
            return None if self.model.n_clusters is None else text("clusters.forced")
        pieces = [
            Bilingual(
                *(
                    f"{stratum}: {why.localized(lang)}" if stratum else why.localized(lang)
                    for lang in ("en", "ru")
                )
            )
            for stratum, why in self.reasons.items()
        ]
        return Bilingual("; ".join(p.en for p in pieces), "; ".join(p.ru for p in pieces))

    def require_clusters(self) -> None:
        """Raise if there are no clusters, naming what is offered instead.

        Raises
        ------
        SpecificationError
            With the reason, neighbours and condition bands.
        """
        if not self.parts:
            raise SpecificationError(text("clusters.no_clusters", reason=self.reason or "—"))

    @cached_property
    def _profiles(self) -> pd.DataFrame:
        from resilience.clustering.profiles.profile import profile_table

        return profile_table(self.scaled, self.clusters)

    @property
    def profiles(self) -> pd.DataFrame:
        """What every cluster is like, one row per cluster and variable; see `cluster_profiles`.

        Raises
        ------
        SpecificationError
            If there are no clusters.
        """
        self.require_clusters()
        return self._profiles.copy()

    @cached_property
    def _automatic(self) -> dict[int, Bilingual]:
        from resilience.clustering.profiles.naming import cluster_names
        from resilience.clustering.profiles.profile import term_correlation

        return cluster_names(self._profiles, term_correlation(self.scaled))

    @property
    def names(self) -> dict[int, Bilingual]:
        """Name of every cluster in both languages, with the numbers beside the words.

        Made from the profiles, or as given by `renamed`; empty where there are no clusters.
        """
        if not self.parts:
            return {}
        return {
            number: self.given[number].name if number in self.given else self._automatic[number]
            for number in range(1, (self.n_clusters or 0) + 1)
        }

    def renamed(self, names: Mapping[int, str | tuple[str, str]], *, author: str) -> ClusterResults:
        """Return the same clusters with some names changed by a person.

        Parameters
        ----------
        names : mapping of {cluster: str or (str, str)}
            New names: English and Russian, or one that serves for both.
        author : str
            Who named them: kept beside the names.

        Returns
        -------
        ClusterResults

        Raises
        ------
        SpecificationError
            For an unknown cluster, an empty name, a name borne by two clusters, no author, or if
            there are no clusters.
        """
        self.require_clusters()
        return replace(self, given=given_names(self.given, self.names, names, author))

    @property
    def schools(self) -> pd.DataFrame:
        """One row per school: stratum, cluster and its name, silhouette, whether placed.

        ``membership_probability`` is added by mixtures.  Schools outside clusters have neither
        cluster nor name.
        """
        table = identity_of(self.scaled)
        table["cluster"] = numbers_column(self.clusters)
        table["cluster_name"] = names_column(self.clusters, self.names)
        table["silhouette"] = self.silhouette
        table["placed"] = self.placed
        if self.model.method == "gmm":
            table["membership_probability"] = self._probabilities()
        return table

    def _probabilities(self) -> Floats:
        found = np.full(len(self.clusters), np.nan)
        for part in self.parts:
            rows = np.flatnonzero(self.scaled.stratum == part.stratum)
            found[rows] = part.assigned(self.scaled, rows)[1]
        return found

    def memberships(self) -> pd.DataFrame:
        """Return one row per school and cluster of its stratum: the probability by the mixture.

        Raises
        ------
        SpecificationError
            If there are no clusters, or they are no mixture.
        """
        self.require_clusters()
        if self.model.method != "gmm":
            raise SpecificationError(text("clusters.no_mixture", method=repr(self.model.method)))
        return memberships_table(self.scaled, self.parts)

    @property
    def sizes(self) -> pd.DataFrame:
        """One row per cluster: name and its author, schools, pupils, spread, silhouette.

        Raises
        ------
        SpecificationError
            If there are no clusters.
        """
        self.require_clusters()
        return self.tidy()

    @property
    def centres(self) -> pd.DataFrame:
        """One row per cluster and column: the centre in natural units and on the common scale.

        Raises
        ------
        SpecificationError
            If there are no clusters.
        """
        self.require_clusters()
        return centres_table(self.scaled, self.clusters, self.parts, self.names)

    @property
    def within(self) -> pd.DataFrame:
        """One row per stratum: sums of squares, share between clusters, criteria of fit."""
        return within_table(self.scaled, self.parts, self.silhouette)

    @property
    def tree(self) -> Floats | None:
        """Linkage of Ward's tree over the complete schools, None of another method.

        Raises
        ------
        SpecificationError
            If every stratum has a tree of its own: see `tree_of`.
        """
        if self.model.method != "ward" or not self.parts:
            return None
        if len(self.parts) > 1:
            first = self.parts[0].stratum
            raise SpecificationError(
                text("clusters.trees", n=len(self.parts), example=f"tree_of({first!r})")
            )
        return self.parts[0].tree

    def part(self, stratum: str = "") -> StratumClusters:
        """Return the clusters of one stratum: centres, tree, rows of the schools behind them.

        Raises
        ------
        SpecificationError
            If there is no such stratum, or it has no clusters.
        """
        self.require_clusters()
        known = {part.stratum: part for part in self.parts}
        if stratum in self.reasons:
            raise SpecificationError(
                text(
                    "clusters.no_clusters_there",
                    stratum=stratum_name(stratum),
                    reason=self.reasons[stratum],
                )
            )
        check_choice(stratum, tuple(known), argument="stratum")
        return known[stratum]

    def tree_of(self, stratum: str = "") -> Floats | None:
        """Return the linkage of Ward's tree of one stratum, None of another method."""
        return self.part(stratum).tree

    def partitioner(self, stratum: str = "") -> Partitioner:
        """Return the method of the fit as resampling needs it, with ten starts.

        Parameters
        ----------
        stratum : str
            Which stratum's; its label, ``""`` without strata.
        """
        self.part(stratum)
        return partitioner(
            self.model.method, covariance=self.model.covariance, sizes=self.model.sizes
        )

    def predict(
        self, schools: pd.DataFrame | ScaledSchools, year: int | None = None
    ) -> pd.DataFrame:
        """Return the clusters of schools of another year, or of schools that are new.

        On the scale of the fit; the nearest centre, or the likeliest component of a mixture.
        Bounds of sizes are not kept there.

        Parameters
        ----------
        schools : DataFrame or ScaledSchools
            As in the fit.
        year : int, optional
            Which year; the latest by default.

        Returns
        -------
        DataFrame
            ``school_id [year municipality_id] stratum cluster cluster_name distance_to_centre
            placed [membership_probability]``; a stratum without clusters leaves its schools
            without.

        Raises
        ------
        SpecificationError
            If there are no clusters, or the scaled schools are on another scale.
        """
        self.require_clusters()
        if isinstance(schools, ScaledSchools):
            if schools.scaling is not self.scaled.scaling or schools.strata != self.scaled.strata:
                raise SpecificationError(text("clusters.other_scale"))
            scaled = schools
        else:
            scaled = scale_conditions(
                schools,
                self.model.conditions,
                year=year,
                scaling=self.scaled.scaling,
                strata=self.scaled.strata,
            )
        return predicted_table(scaled, self.parts, self.names)

    def tidy(self) -> pd.DataFrame:
        """Return `sizes`; no row where there are no clusters."""
        return sizes_table(
            self.scaled, self.clusters, self.placed, self.silhouette, self.parts, self._bearers()
        )

    def _bearers(self) -> dict[int, tuple[Bilingual, str]]:
        return {
            number: (name, self.given[number].author if number in self.given else "")
            for number, name in self.names.items()
        }

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, strata, clusters, who chose their number, how they fit."""
        within = self.within
        clustered = self.clusters > 0
        total = float(within["total_sum_of_squares"].sum())
        known = self.silhouette[~np.isnan(self.silhouette)]
        return pd.DataFrame(
            {
                "n_schools": [len(self.clusters)],
                "n_strata": [len(set(self.scaled.stratum))],
                "n_clusters": pd.array([self.n_clusters], dtype="Int64"),
                "clustering_method": [self.model.method],
                "number_chosen_by": ["rule" if self.model.n_clusters is None else "user"],
                "share_between": [
                    1.0 - float(within["within_sum_of_squares"].sum()) / total
                    if total > 0
                    else float("nan")
                ],
                "silhouette": [float(known.mean()) if len(known) else float("nan")],
                "n_placed_schools": [int(self.placed.sum())],
                "n_without_cluster": [int((~clustered).sum())],
                "base_year": [self.scaled.scaling.year],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return the table of schools with stratum, cluster, name and silhouette added.

        Rows of other years carry the cluster of the fitted year; `predict` says where a school
        lies in another one.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="schools")
        own = self.schools.drop(columns=["year", "municipality_id"], errors="ignore")
        own = own.drop(columns=[c for c in own.columns if c in data.columns and c != "school_id"])
        joined = data.merge(own, on="school_id", how="left")
        return joined.set_axis(data.index)

    def summary(self, lang: str = "en") -> str:
        """Return the heading, the one-row summary, the clusters, and why there are none."""
        shown = super().summary(check_language(lang))
        why = self.reason
        return shown if why is None else f"{shown}\n\n{why.localized(lang)}"
