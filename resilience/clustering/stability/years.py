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
from resilience.results import Results, join_by
from resilience.stats.clusters.partitions import matched_labels
from resilience.validation import (
    check_columns,
    check_count,
    check_finite,
    check_fraction,
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
        by_status = self.matching.groupby("cluster_status")["cluster"].nunique()
        return pd.DataFrame(
            {
                "n_years": [self.schools["year"].nunique()],
                "base_year": [self.base_year],
                "share_stayed": [self.stayed["share_stayed"].mean()],
                "n_new_clusters": [int(by_status.get("new", 0))],
                "n_gone_clusters": [int(by_status.get("gone", 0))],
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
        return join_by(data, self.schools, ["school_id", "year"])


def clusters_over_years(
    model: ClusterModel,
    schools: pd.DataFrame,
    *,
    years: Sequence[int] | None = None,
    base_year: int | None = None,
    least_jaccard: float = 0.5,
    random_state: int | None = None,
) -> YearlyClusters:
    """Fit the clusters of every year on the scale of the base year, and match their labels.

    Labels of clusters are arbitrary; across years they are matched with the base year's by the
    assignment of greatest Jaccard coefficients over the schools of both years.  A pair that shares
    half of its schools or fewer is not the same cluster: one is gone, the other new.  A new cluster
    keeps its number in later years that have it.

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
    least_jaccard : float
        Pairs of clusters up to this coefficient are not taken for the same cluster; 0.5 and less is
        what clusterwise stability calls dissolved.
    random_state : int, optional
        Seed.

    Returns
    -------
    YearlyClusters

    Raises
    ------
    SpecificationError
        If the model leaves the number of clusters open, the base year is not among the years, or
        the least coefficient is not between 0 and 1.
    DataError
        If the table has fewer than two of the years.

    References
    ----------
    HubertArabie1985; Hennig2007.
    """
    check_fraction(least_jaccard, argument="least_jaccard")
    check_instance(
        model, ClusterModel, argument="model", example="rs.ClusterModel(conditions, n_clusters=4)"
    )
    if model.n_clusters is None:
        raise SpecificationError(text("cluster_stability.open_number"))
    check_columns(schools, ["school_id", "year"], table="schools")
    check_numeric(schools, ["year"], table="schools")
    check_finite(schools, ["year"], table="schools", unit="school_id")
    known = sorted({int(y) for y in schools["year"]})
    wanted = (
        known
        if years is None
        else sorted({check_count(y, argument="years", least=0) for y in years})
    )
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
    numbers = _numbers_of_years(fits, base, least_jaccard)
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


def _numbers_of_years(
    fits: dict[int, ClusterResults], base: int, least: float
) -> dict[int, tuple[dict[int, int], pd.DataFrame]]:
    """Return for every year the number of each of its clusters, and the table of matches."""
    own = {year: labels_of(fit).astype(np.int64) for year, fit in fits.items()}
    n_base = fits[base].n_clusters or 0
    known = {number: (own[base], number) for number in range(1, n_base + 1)}
    found = {}
    for year, labels in own.items():
        # clusters of the base year come first; what is left may be a new one of an earlier year
        pairs = _pairs(known, range(1, n_base + 1), labels, least)
        if year != base:
            taken = {there for there, _ in pairs.values()}
            later = range(n_base + 1, len(known) + 1)
            pairs |= _pairs(known, later, labels[~labels.isin(taken)], least)
        rows: list[tuple[int, int | None, float, str]] = [
            (here, there, similarity, "matched" if here <= n_base else "new")
            for here, (there, similarity) in pairs.items()
        ]
        rows += [(here, None, 0.0, "gone") for here in range(1, n_base + 1) if here not in pairs]
        taken = {there for there, _ in pairs.values()}
        for fresh in sorted(set(labels) - taken):
            number = len(known) + 1
            known[number] = (labels, int(fresh))
            rows.append((number, int(fresh), 0.0, "new"))
        table = pd.DataFrame(rows, columns=["cluster", "own_cluster", "jaccard", "cluster_status"])
        table["own_cluster"] = table["own_cluster"].astype("Int64")
        carried = table[table["own_cluster"].notna()]
        number_of = {
            int(own_number): int(number)
            for own_number, number in zip(carried["own_cluster"], carried["cluster"], strict=True)
        }
        found[year] = number_of, table.sort_values("cluster", ignore_index=True)
    return found


def _pairs(
    known: dict[int, tuple[pd.Series, int]], numbers: range, labels: pd.Series, least: float
) -> dict[int, tuple[int, float]]:
    """Return for known clusters which of a year's clusters is the same one, and how alike."""
    there = sorted(set(labels))
    similarity = np.zeros((len(numbers), len(there)))
    for i, number in enumerate(numbers):
        seen, own = known[number]
        both = seen.index.intersection(labels.index)
        inside = (seen[both] == own).to_numpy()
        for j, other in enumerate(there):
            second = (labels[both] == other).to_numpy()
            similarity[i, j] = (inside & second).sum() / max((inside | second).sum(), 1)
    similarity[similarity <= least] = 0.0  # not the same cluster
    return {
        numbers[i]: (int(there[j]), float(similarity[i, j]))
        for i, j in matched_labels(similarity).items()
    }


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
