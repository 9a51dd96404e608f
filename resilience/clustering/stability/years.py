"""Clusters year by year, with labels that mean the same in every year."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from resilience.clustering.clusters.model import ClusterModel
from resilience.clustering.clusters.results import ClusterResults
from resilience.clustering.stability.compare import compare_partitions, labels_of
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.results import Results
from resilience.stats.clusters.partitions import contingency, jaccard_table, matched_labels
from resilience.validation import (
    check_columns,
    check_finite,
    check_instance,
    check_numeric,
    shorten,
)

__all__ = ["YearlyClusters", "clusters_over_years"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class YearlyClusters(Results):
    """Clusters of several years, matched to those of the base year.

    Attributes
    ----------
    schools : DataFrame
        ``school_id year cluster cluster_status``: the number in the base year's terms; ``matched``,
        or ``new`` for a cluster that no cluster of the base year is like.
    matching : DataFrame
        ``year cluster own_cluster jaccard cluster_status``: which cluster of a year carries which
        number; ``gone`` where a cluster of the base year has no successor.
    transitions : DataFrame
        ``year next_year cluster next_cluster n_schools share_of_cluster``.
    stayed : DataFrame
        ``year next_year n_schools share_stayed adjusted_rand``: schools of both years, the share
        in the same cluster.
    base_year : int
        Whose numbers are used.
    fits : mapping of {int: ClusterResults}
        The clusters of every year in their own numbers.

    References
    ----------
    HubertArabie1985.
    """

    schools: pd.DataFrame
    matching: pd.DataFrame
    transitions: pd.DataFrame
    stayed: pd.DataFrame
    base_year: int
    fits: dict[int, ClusterResults]

    def tidy(self) -> pd.DataFrame:
        """Return `transitions`."""
        return self.transitions.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: years, base year, mean share that stayed, new and gone clusters."""
        status = self.matching["cluster_status"]
        return pd.DataFrame(
            {
                "n_years": [self.schools["year"].nunique()],
                "base_year": [self.base_year],
                "share_stayed": [self.stayed["share_stayed"].mean()],
                "n_new_clusters": [int((status == "new").sum())],
                "n_gone_clusters": [int((status == "gone").sum())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return the table of school-years with the matched cluster.

        Raises
        ------
        DataError
            If the table has no school_id or year.
        """
        check_columns(data, ["school_id", "year"], table="schools")
        own = [c for c in self.schools.columns if c not in ("school_id", "year")]
        kept = [c for c in data.columns if c not in own]
        return data[kept].merge(self.schools, on=["school_id", "year"], how="left")


def clusters_over_years(
    model: ClusterModel,
    schools: pd.DataFrame,
    *,
    years: Sequence[int] | None = None,
    base_year: int | None = None,
    random_state: int | None = None,
) -> YearlyClusters:
    """Fit the clusters of every year on the scale of the base year, and match their labels.

    Labels of clusters are arbitrary; across years they are matched with the base year's by the
    assignment of greatest Jaccard coefficients over the schools of both years.

    Parameters
    ----------
    model : ClusterModel
        With a number of clusters, so that years are comparable.
    schools : DataFrame
        One row per school and year.
    years : sequence of int, optional
        Which years; all of the table by default.
    base_year : int, optional
        Whose scale and numbers are used; the first of the years by default.
    random_state : int, optional
        Seed.

    Returns
    -------
    YearlyClusters

    Raises
    ------
    SpecificationError
        If the model leaves the number of clusters open, or the base year is not among the years.
    DataError
        If the table has fewer than two of the years.

    References
    ----------
    HubertArabie1985.
    """
    check_instance(
        model, ClusterModel, argument="model", example="rs.ClusterModel(conditions, n_clusters=4)"
    )
    if model.n_clusters is None:
        raise SpecificationError(text("cluster_stability.open_number"))
    check_columns(schools, ["school_id", "year"], table="schools")
    check_numeric(schools, ["year"], table="schools")
    check_finite(schools, ["year"], table="schools", unit="school_id")
    known = sorted({int(y) for y in schools["year"]})
    wanted = known if years is None else sorted({int(y) for y in years})
    absent = [y for y in wanted if y not in known]
    if absent or len(wanted) < 2:
        raise DataError(
            text(
                "cluster_stability.years",
                years=shorten(wanted, 12),
                known=shorten(known, 12),
            )
        )
    base = wanted[0] if base_year is None else int(base_year)
    if base not in wanted:
        raise SpecificationError(
            text("cluster_stability.base_year", base=base, years=shorten(wanted, 12))
        )
    first = model.fit(schools, base, random_state=random_state)
    scaling = first.scaled.scaling
    fits = {
        year: first
        if year == base
        else model.fit(schools, year, scaling=scaling, random_state=random_state)
        for year in wanted
    }
    numbers = {year: _numbers(first, fit) for year, fit in fits.items()}
    table = pd.concat(
        [
            _labelled(fit, year, numbers[year][0], first.n_clusters or 0)
            for year, fit in fits.items()
        ],
        ignore_index=True,
    )
    transitions, stayed = _moves(table, wanted)
    return YearlyClusters(
        schools=table,
        matching=pd.concat(
            [own.assign(year=year)[_MATCHING] for year, (_, own) in numbers.items()],
            ignore_index=True,
        ),
        transitions=transitions,
        stayed=stayed,
        base_year=base,
        fits=fits,
    )


_MATCHING = ["year", "cluster", "own_cluster", "jaccard", "cluster_status"]


def _numbers(base: ClusterResults, other: ClusterResults) -> tuple[dict[int, int], pd.DataFrame]:
    """Return the base year's number of every cluster of a year, and the table of matches."""
    one, two = labels_of(base), labels_of(other)
    both = one.index.intersection(two.index)
    shape = (base.n_clusters or 0, other.n_clusters or 0)
    a, b = (labels[both].to_numpy(dtype=np.int64) - 1 for labels in (one, two))
    similarity = jaccard_table(contingency(a, b, shape))
    match = matched_labels(similarity)
    number = {there + 1: here + 1 for here, there in match.items()}
    rows: list[tuple[int, int | None, float, str]] = [
        (here + 1, there + 1, float(similarity[here, there]), "matched")
        for here, there in match.items()
    ]
    rows += [(here + 1, None, 0.0, "gone") for here in range(shape[0]) if here not in match]
    # new clusters are numbered on from the base year's
    fresh = [own for own in range(1, shape[1] + 1) if own not in number]
    for place, own in enumerate(fresh):
        number[own] = shape[0] + place + 1
        rows.append((number[own], own, 0.0, "new"))
    table = pd.DataFrame(rows, columns=["cluster", "own_cluster", "jaccard", "cluster_status"])
    table["own_cluster"] = table["own_cluster"].astype("Int64")
    return number, table.sort_values("cluster", ignore_index=True)


def _labelled(fit: ClusterResults, year: int, number: dict[int, int], n_base: int) -> pd.DataFrame:
    """Return the schools of a year in the base year's numbers."""
    own = labels_of(fit)
    mapped = own.map(number).to_numpy(dtype=np.int64)
    return pd.DataFrame(
        {
            "school_id": own.index.to_numpy(),
            "year": year,
            "cluster": mapped,
            "cluster_status": np.where(mapped <= n_base, "matched", "new"),
        }
    )


def _moves(table: pd.DataFrame, years: Sequence[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return transitions between successive years and the share that stayed."""
    moves, stays = [], []
    for year, following in pairwise(years):
        here = table.loc[table["year"] == year, ["school_id", "cluster"]]
        there = table.loc[table["year"] == following, ["school_id", "cluster"]]
        both = here.merge(
            there.rename(columns={"cluster": "next_cluster"}), on="school_id", how="inner"
        )
        counts = both.groupby(["cluster", "next_cluster"], as_index=False).size()
        counts = counts.rename(columns={"size": "n_schools"})
        total = counts.groupby("cluster")["n_schools"].transform("sum")
        moves.append(
            counts.assign(
                year=year, next_year=following, share_of_cluster=counts["n_schools"] / total
            )
        )
        same = float((both["cluster"] == both["next_cluster"]).mean()) if len(both) else np.nan
        rand = np.nan
        if len(both):
            rand = compare_partitions(
                both[["school_id", "cluster"]],
                both[["school_id", "next_cluster"]].rename(columns={"next_cluster": "cluster"}),
            ).adjusted_rand
        stays.append((year, following, len(both), same, rand))
    columns = ["year", "next_year", "cluster", "next_cluster", "n_schools", "share_of_cluster"]
    return (
        pd.concat(moves, ignore_index=True)[columns],
        pd.DataFrame(
            stays, columns=["year", "next_year", "n_schools", "share_stayed", "adjusted_rand"]
        ),
    )
