"""Labels, names and scaled schools of whatever holds clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text

__all__ = ["cluster_title", "labels_of", "names_of", "scaled_of", "schools_of"]


def schools_of(clusters: Any) -> pd.DataFrame:
    """Return the table of schools with their clusters.

    Raises
    ------
    SpecificationError
        If the argument is no result of clusters, or none was found.
    """
    schools = getattr(clusters, "schools", None)
    if not isinstance(schools, pd.DataFrame) or not isinstance(
        getattr(clusters, "scaled", None), ScaledSchools
    ):
        raise SpecificationError(text("cluster_profiles.no_clusters", kind=type(clusters).__name__))
    if "cluster" not in schools.columns or not (_numbers(schools) > 0).any():
        raise SpecificationError(text("cluster_profiles.none_found"))
    return schools


def scaled_of(clusters: Any) -> ScaledSchools:
    """Return the scaled schools behind the clusters."""
    schools_of(clusters)
    scaled: ScaledSchools = clusters.scaled
    return scaled


def labels_of(clusters: Any) -> NDArray[np.int64]:
    """Return the cluster of each scaled school in their order, 0 without one."""
    schools = schools_of(clusters)
    by_school = pd.Series(_numbers(schools), index=schools["school_id"].astype(str).to_numpy())
    order = clusters.scaled.schools["school_id"].astype(str).to_numpy()
    return np.asarray(by_school.reindex(order).fillna(0).to_numpy(dtype=np.int64))


def names_of(clusters: Any) -> dict[int, str]:
    """Return the name of each cluster; its number in words where the result has none."""
    numbers = np.unique(labels_of(clusters))
    names = getattr(clusters, "names", None)
    if isinstance(names, pd.DataFrame):
        names = dict(zip(names["cluster"].tolist(), names["cluster_name"].tolist(), strict=True))
    if not isinstance(names, dict):
        names = {}
    return {int(c): names.get(int(c), cluster_title(int(c))) for c in numbers if c > 0}


def cluster_title(cluster: int) -> Bilingual:
    """Return "cluster 2" in both languages."""
    return text("cluster_profiles.title", cluster=cluster)


def _numbers(schools: pd.DataFrame) -> NDArray[np.int64]:
    numbers = pd.to_numeric(schools["cluster"], errors="coerce")
    return np.asarray(numbers.fillna(0).to_numpy(dtype=np.int64))
