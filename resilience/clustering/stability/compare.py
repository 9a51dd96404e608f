"""Two groupings of the same schools side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.clustering.clusters.results import ClusterResults
from resilience.errors import DataError
from resilience.i18n import text
from resilience.results import Results, join_by
from resilience.stats.clusters.partitions import (
    Codes,
    adjusted_rand,
    contingency,
    jaccard_table,
    matched_labels,
)
from resilience.validation import check_columns, check_finite, check_unique

__all__ = ["PartitionComparison", "compare_partitions", "labels_of"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PartitionComparison(Results):
    """What two groupings have in common.

    Attributes
    ----------
    matching : DataFrame
        ``cluster other_cluster n_schools n_other n_common jaccard``: the pairs of the assignment
        with the greatest sum of Jaccard coefficients; a cluster without partner has none.
    contingency : DataFrame
        ``cluster other_cluster n_schools``: schools of every pair of clusters that have any.
    schools : DataFrame
        ``school_id cluster other_cluster matched_cluster moved``: the partner of the school's
        cluster, and whether the school is elsewhere.
    adjusted_rand : float
        1 for equal groupings, 0 on average for groupings by lot.
    n_only_here, n_only_there : int
        Schools that only one of the groupings has.

    References
    ----------
    HubertArabie1985; Hennig2007.
    """

    matching: pd.DataFrame
    contingency: pd.DataFrame
    schools: pd.DataFrame
    adjusted_rand: float
    n_only_here: int
    n_only_there: int

    def tidy(self) -> pd.DataFrame:
        """Return `matching`."""
        return self.matching.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools in both, adjusted Rand index, schools that moved."""
        return pd.DataFrame(
            {
                "n_schools": [len(self.schools)],
                "adjusted_rand": [self.adjusted_rand],
                "n_moved": [int(self.schools["moved"].sum())],
                "n_only_here": [self.n_only_here],
                "n_only_there": [self.n_only_there],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return the table of schools with both clusters and whether the school moved.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="schools")
        return join_by(data, self.schools, "school_id")


def compare_partitions(
    one: ClusterResults | pd.DataFrame, other: ClusterResults | pd.DataFrame
) -> PartitionComparison:
    """Compare two groupings of the same schools.

    Parameters
    ----------
    one, other : ClusterResults or DataFrame
        Results, or tables with ``school_id`` and ``cluster``; labels may be numbers or words.
        Schools without a cluster are left aside.

    Returns
    -------
    PartitionComparison

    Raises
    ------
    DataError
        If a table lacks a column, a school stands in it twice, or no school is in both.

    References
    ----------
    HubertArabie1985.
    """
    left, right = labels_of(one), labels_of(other)
    both = left.index.intersection(right.index)
    if len(both) == 0:
        raise DataError(text("cluster_stability.nothing_common"))
    a_names, a = _codes(left[both])
    b_names, b = _codes(right[both])
    table = contingency(a, b, (len(a_names), len(b_names)))
    match = matched_labels(jaccard_table(table))
    rows: list[tuple[int | None, int | None]] = [(i, match.get(i)) for i in range(len(a_names))]
    rows += [(None, j) for j in range(len(b_names)) if j not in match.values()]
    similarity = jaccard_table(table)
    matching = pd.DataFrame(
        [
            (
                None if i is None else a_names[i],
                None if j is None else b_names[j],
                0 if i is None else int(table[i].sum()),
                0 if j is None else int(table[:, j].sum()),
                0 if i is None or j is None else int(table[i, j]),
                0.0 if i is None or j is None else float(similarity[i, j]),
            )
            for i, j in rows
        ],
        columns=["cluster", "other_cluster", "n_schools", "n_other", "n_common", "jaccard"],
    )
    places = np.argwhere(table > 0)
    cells = pd.DataFrame(
        {
            "cluster": [a_names[i] for i, _ in places],
            "other_cluster": [b_names[j] for _, j in places],
            "n_schools": [int(table[i, j]) for i, j in places],
        }
    )
    partner = np.array([match.get(i, -1) for i in range(len(a_names))])
    schools = pd.DataFrame(
        {
            "school_id": both.to_numpy(),
            "cluster": [a_names[i] for i in a],
            "other_cluster": [b_names[j] for j in b],
            "matched_cluster": pd.Series(
                [b_names[p] if p >= 0 else None for p in partner[a]], dtype=object
            ),
            "moved": partner[a] != b,
        }
    )
    return PartitionComparison(
        matching=matching,
        contingency=cells,
        schools=schools,
        adjusted_rand=adjusted_rand(table),
        n_only_here=len(left) - len(both),
        n_only_there=len(right) - len(both),
    )


def labels_of(grouping: ClusterResults | pd.DataFrame) -> pd.Series:
    """Return the label of every school that has one, by school_id."""
    if isinstance(grouping, ClusterResults):
        grouping.require_clusters()
        frame = grouping.schools
    else:
        frame = grouping
    check_columns(frame, ["school_id", "cluster"], table="clusters")
    check_finite(frame, ["school_id"], table="clusters")
    check_unique(frame, ["school_id"], table="clusters")
    known = frame[frame["cluster"].notna()]
    return pd.Series(known["cluster"].tolist(), index=pd.Index(known["school_id"]), dtype=object)


def _codes(labels: pd.Series) -> tuple[list[object], Codes]:
    names = sorted(set(labels), key=lambda v: (isinstance(v, str), v))
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([place[v] for v in labels], dtype=np.int64)
