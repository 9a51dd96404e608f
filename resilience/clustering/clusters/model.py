"""Clusters of schools by the conditions they work in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.clustering.clusters.definition import ClusterDefinition
from resilience.clustering.clusters.results import ClusterResults
from resilience.clustering.clusters.strata import (
    FitOptions,
    StratumClusters,
    by_number,
    fit_stratum,
    hardest_first,
    numbers_by_stratum,
    part_of,
    stratum_name,
)
from resilience.clustering.conditions.scaled import ScaledSchools, Scaling, scale_conditions
from resilience.clustering.selection.select import select_n_clusters
from resilience.clustering.selection.settings import SelectionSettings
from resilience.errors import SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.results import Results
from resilience.stats.clusters.partitions import Codes, Floats
from resilience.stats.clusters.silhouettes import silhouettes
from resilience.validation import check_count

__all__ = ["ClusterModel"]

_PER_CLUSTER = 10  # schools of a stratum per cluster, below which clusters are named weak
_LEAST_CHOSEN = 20  # schools of a stratum from which two clusters of ten could be chosen


@dataclass(frozen=True)
class ClusterModel(ClusterDefinition):
    """Clusters of schools by the conditions they work in, inside strata.

    Attributes
    ----------
    conditions : Conditions
        What schools are grouped by: intake and location, never results.
    n_clusters : int, mapping of {stratum: int} or None
        Number of clusters of every stratum, 2 or more (a mapping may leave a small stratum whole
        with 1).  None lets `select_n_clusters` choose in every stratum; where nothing stable is
        found there are no clusters.
    method : {"kmeans", "ward", "gmm"}
        Least squares around centres, Ward's tree, or a mixture of normal distributions.
    strata : sequence of str
        Columns that part the schools before anything is grouped; each stratum has clusters of its
        own on the scale of all schools.
    sizes : ClusterSizes, optional
        Bounds of the number of schools in every cluster (k-means).
    covariance : {"full", "tied", "diag", "spherical"}
        Of a mixture.
    n_init : int, optional
        Starts, of which the best is kept: by default 50 of k-means, 20 of a mixture.

    Raises
    ------
    SpecificationError
        For anything of another kind, fewer than two clusters, a mixture of categories, bounds with
        another method than k-means.

    References
    ----------
    HennigLiao2013; ArthurVassilvitskii2007; MurtaghLegendre2014; FraleyRaftery2002.
    """

    def fit(
        self,
        schools: pd.DataFrame | ScaledSchools,
        year: int | None = None,
        *,
        scaling: Scaling | None = None,
        random_state: int | None = None,
        settings: SelectionSettings | None = None,
        n_jobs: int = 1,
        progress: bool = False,
    ) -> ClusterResults:
        """Find the clusters of the schools of one year.

        Parameters
        ----------
        schools : DataFrame or ScaledSchools
            One row per school, or per school and ``year``; or what `scale_conditions` returned
            with these conditions and strata.
        year : int, optional
            Which year; the latest by default.
        scaling : Scaling, optional
            Of an earlier year, so that a unit keeps its meaning.
        random_state : int, optional
            Seed of the starts; 0 by default.
        settings : SelectionSettings, optional
            Resampling and thresholds of the choice of the number of clusters.
        n_jobs, progress
            Workers and bar of that choice; the result does not depend on them.

        Returns
        -------
        ClusterResults
            Clusters numbered from the hardest conditions; schools with missing values are placed
            afterwards by what is known of them.

        Raises
        ------
        DataError
            If a stratum has fewer (distinct, complete) schools than clusters, a component of a
            mixture collapses, bounds of sizes cannot be kept; see also `scale_conditions`.
        SpecificationError
            If scaled schools are of other conditions or strata, or ``n_clusters`` names other
            strata than there are.

        Warns
        -----
        WeakDataWarning
            If a stratum has fewer than ten schools per cluster.
        """
        scaled = self._scaled(schools, year, scaling)
        seed = (
            0
            if random_state is None
            else check_count(random_state, argument="random_state", least=0)
        )
        strata = sorted({str(s) for s in scaled.stratum})
        if self.n_clusters is None:
            wanted, selections, reasons = self._chosen(
                scaled, strata, settings, random_state=seed, n_jobs=n_jobs, progress=progress
            )
        else:
            wanted, selections, reasons = numbers_by_stratum(self.n_clusters, strata), {}, {}
        options = FitOptions(
            method=self.method, covariance=self.covariance, n_init=self.n_init, sizes=self.sizes
        )
        parts, labels = [], np.full(len(scaled.schools), -1, dtype=np.int64)
        start = 0
        for stratum, k in wanted.items():
            if k is not None:
                part = fit_stratum(scaled, stratum, k, options, seed=seed)
                self._warn_of_few(stratum, k, len(part.fitted))
                labels[part.fitted] = start + part.labels
                parts.append(part)
                start += k
        placed = _place(scaled, tuple(parts), labels)
        if start:
            place = hardest_first(scaled.schools, scaled.direction, labels, start)
            numbered = by_number(tuple(parts), place)
            labels = np.where(labels >= 0, place[labels], -1)
        else:
            numbered = ()
        return ClusterResults(
            model=self,
            scaled=scaled,
            clusters=np.asarray(labels + 1, dtype=np.int64),
            placed=placed,
            silhouette=_silhouettes(scaled, numbered, seed),
            parts=numbered,
            selections=selections,
            reasons=reasons,
            random_state=seed,
        )

    def _scaled(self, schools: object, year: int | None, scaling: Scaling | None) -> ScaledSchools:
        if not isinstance(schools, ScaledSchools):
            return scale_conditions(
                schools,  # type: ignore[arg-type]  # anything else than a table is refused there
                self.conditions,
                year=year,
                scaling=scaling,
                strata=self.strata,
            )
        if schools.conditions != self.conditions or schools.strata != tuple(self.strata):
            raise SpecificationError(text("clusters.other_scaled"))
        if year is not None and year != schools.year:
            raise SpecificationError(
                text("clusters.other_year", year=year, scaled=schools.year or "—")
            )
        return schools

    def _chosen(
        self,
        scaled: ScaledSchools,
        strata: list[str],
        settings: SelectionSettings | None,
        *,
        random_state: int,
        n_jobs: int,
        progress: bool,
    ) -> tuple[dict[str, int | None], dict[str, Results], dict[str, Bilingual]]:
        """Return the number of clusters of every stratum by the rule of `select_n_clusters`."""
        wanted: dict[str, int | None] = {}
        selections: dict[str, Results] = {}
        reasons: dict[str, Bilingual] = {}
        for stratum in strata:
            rows = np.flatnonzero(scaled.stratum == stratum)
            n_complete = int(scaled.complete[rows].sum())
            if n_complete < _LEAST_CHOSEN:
                wanted[stratum] = None
                reasons[stratum] = text("clusters.few_for_choice", n=n_complete)
                continue
            found = select_n_clusters(
                part_of(scaled, rows),
                method=self.method,
                covariance=self.covariance,
                settings=settings,
                random_state=random_state,
                n_jobs=n_jobs,
                progress=progress,
            )
            selections[stratum] = found
            wanted[stratum] = found.n_clusters
            if found.n_clusters is None:
                reasons[stratum] = found.reason
        return wanted, selections, reasons

    def _warn_of_few(self, stratum: str, n_clusters: int, n_schools: int) -> None:
        if n_clusters * _PER_CLUSTER > n_schools and n_clusters > 1:
            warn_weak_data(
                text("clusters.many", k=n_clusters, n=n_schools, stratum=stratum_name(stratum))
            )


def _place(scaled: ScaledSchools, parts: tuple[StratumClusters, ...], labels: Codes) -> np.ndarray:
    """Write the clusters of incomplete schools into the labels; return which were placed."""
    placed = np.zeros(len(labels), dtype=bool)
    start = 0
    for part in parts:
        rows = np.flatnonzero((scaled.stratum == part.stratum) & ~scaled.complete)
        if len(rows):
            codes, _ = part.assigned(scaled, rows)
            found = rows[codes >= 0]
            labels[found] = start + codes[codes >= 0]
            placed[found] = True
        start += len(part.centres)
    return placed


def _silhouettes(scaled: ScaledSchools, parts: tuple[StratumClusters, ...], seed: int) -> Floats:
    found = np.full(len(scaled.schools), np.nan)
    for part in parts:
        if len(part.centres) > 1:
            found[part.fitted] = silhouettes(scaled.weighted[part.fitted], part.labels, seed=seed)
    return found
