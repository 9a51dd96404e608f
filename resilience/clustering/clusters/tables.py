"""Tables of clusters: sizes, centres, sums of squares, memberships, schools of other years."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.clusters.strata import StratumClusters
from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.i18n import Bilingual
from resilience.stats.clusters.partitions import Codes, Floats
from resilience.stats.clusters.silhouettes import calinski_harabasz

__all__ = [
    "centres_table",
    "identity_of",
    "memberships_table",
    "names_column",
    "numbers_column",
    "predicted_table",
    "sizes_table",
    "within_table",
]

_IDENTITY = ("school_id", "year", "municipality_id")


def numbers_column(clusters: Codes) -> pd.Series:
    """Return the numbers of clusters as a column, missing in place of 0."""
    numbers = pd.Series(np.asarray(clusters, dtype=np.int64))
    if (clusters > 0).all():
        return numbers
    return numbers.astype("Int64").mask(numbers == 0)


def names_column(clusters: Codes, names: Mapping[int, Bilingual]) -> pd.Series:
    """Return the names of clusters as a column, None outside clusters."""
    return pd.Series([names.get(int(c)) for c in clusters], dtype=object)


def identity_of(scaled: ScaledSchools) -> pd.DataFrame:
    """Return school, year, municipality where known, and stratum."""
    table = scaled.schools[[c for c in _IDENTITY if c in scaled.schools.columns]].copy()
    table["stratum"] = pd.Series([str(s) for s in scaled.stratum], index=table.index)
    return table


def sizes_table(
    scaled: ScaledSchools,
    clusters: Codes,
    placed: NDArray[np.bool_],
    silhouette: Floats,
    parts: Sequence[StratumClusters],
    bearers: Mapping[int, tuple[Bilingual, str]],
) -> pd.DataFrame:
    """Return one row per cluster, the hardest conditions first.

    Parameters
    ----------
    scaled : ScaledSchools
        The schools.
    clusters : ndarray of shape (S,)
        Numbers of clusters, 0 outside.
    placed : ndarray of shape (S,), bool
        Schools placed by part of their conditions.
    silhouette : ndarray of shape (S,)
        Of complete schools.
    parts : sequence of StratumClusters
        Strata that have clusters.
    bearers : mapping of {cluster: (name, author)}
        Names; an empty author stands for the library.
    """
    rows = []
    has_pupils = "n_pupils" in scaled.schools.columns
    for part in parts:
        values = scaled.weighted[part.fitted]
        for code, number in enumerate(part.numbers):
            own = clusters == number
            spread = values[part.labels == code]
            known = silhouette[own & ~np.isnan(silhouette)]
            row = {
                "cluster": number,
                "stratum": part.stratum,
                "n_schools": int(own.sum()),
                "share_of_schools": float(own.mean()),
                "n_placed_schools": int((own & placed).sum()),
                "within_sum_of_squares": float(((spread - spread.mean(axis=0)) ** 2).sum()),
                "silhouette": float(known.mean()) if len(known) else float("nan"),
            }
            if has_pupils:
                row["n_pupils"] = float(scaled.schools["n_pupils"][own].sum())
            rows.append(row)
    columns = ["cluster", "cluster_name", "name_author", "stratum", "n_schools"]
    columns += ["n_pupils"] if has_pupils else []
    columns += ["share_of_schools", "n_placed_schools", "within_sum_of_squares", "silhouette"]
    table = pd.DataFrame(rows, columns=columns)
    numbers = table["cluster"].tolist()
    # Of type object: a column of text would keep the English half of the names only.
    table["cluster_name"] = pd.Series([bearers[c][0] for c in numbers], dtype=object)
    table["name_author"] = pd.Series([bearers[c][1] or None for c in numbers], dtype=object)
    return table.sort_values("cluster", ignore_index=True)


def centres_table(
    scaled: ScaledSchools,
    clusters: Codes,
    parts: Sequence[StratumClusters],
    names: Mapping[int, Bilingual],
) -> pd.DataFrame:
    """Return one row per cluster and column: natural means first, then those on the scale."""
    kinds = (
        ("natural", scaled.natural.to_numpy(dtype=np.float64), list(scaled.natural.columns)),
        ("scaled", scaled.z, list(scaled.columns)),
    )
    rows = []
    for part in parts:
        for number in part.numbers:
            own = clusters == number
            for scale, values, terms in kinds:
                known = ~np.isnan(values[own])
                sums = np.where(known, np.nan_to_num(values[own]), 0.0).sum(axis=0)
                counts = known.sum(axis=0)
                means = np.divide(sums, counts, out=np.full(len(terms), np.nan), where=counts > 0)
                rows += [
                    {
                        "cluster": number,
                        "stratum": part.stratum,
                        "centre_scale": scale,
                        "term": term,
                        "centre": float(mean),
                    }
                    for term, mean in zip(terms, means, strict=True)
                ]
    table = pd.DataFrame(rows).sort_values("cluster", kind="stable", ignore_index=True)
    table.insert(1, "cluster_name", names_column(table["cluster"].to_numpy(), names))
    return table


def within_table(
    scaled: ScaledSchools, parts: Sequence[StratumClusters], silhouette: Floats
) -> pd.DataFrame:
    """Return one row per stratum: sums of squares of its complete schools and criteria of fit."""
    columns = ["stratum", "n_schools", "n_clusters", "total_sum_of_squares"]
    columns += ["within_sum_of_squares", "share_between", "calinski_harabasz", "silhouette", "bic"]
    rows = []
    for part in parts:
        known = silhouette[part.fitted]
        several = len(part.numbers) > 1
        rows.append(
            (
                part.stratum,
                len(part.fitted),
                len(part.numbers),
                part.total,
                part.within,
                1.0 - part.within / part.total if part.total > 0 else float("nan"),
                calinski_harabasz(scaled.weighted[part.fitted], part.labels),
                float(known.mean()) if several else float("nan"),
                part.bic,
            )
        )
    return pd.DataFrame(rows, columns=columns)


def memberships_table(scaled: ScaledSchools, parts: Sequence[StratumClusters]) -> pd.DataFrame:
    """Return one row per school and cluster of its stratum, with the mixture's probability."""
    tables = []
    identity = identity_of(scaled)
    for part in parts:
        assert part.mixture is not None
        rows = np.flatnonzero(scaled.stratum == part.stratum)
        chances = part.mixture.memberships(scaled.weighted[rows])
        own = identity.iloc[np.repeat(rows, len(part.numbers))].reset_index(drop=True)
        own["cluster"] = np.tile(np.array(part.numbers, dtype=np.int64), len(rows))
        own["membership_probability"] = chances.ravel()
        tables.append(own)
    return pd.concat(tables, ignore_index=True)


def predicted_table(
    scaled: ScaledSchools, parts: Sequence[StratumClusters], names: Mapping[int, Bilingual]
) -> pd.DataFrame:
    """Return the clusters of schools that were not among those of the fit."""
    n = len(scaled.schools)
    clusters = np.zeros(n, dtype=np.int64)
    distance, chance = np.full(n, np.nan), np.full(n, np.nan)
    for part in parts:
        rows = np.flatnonzero(scaled.stratum == part.stratum)
        codes, chances = part.assigned(scaled, rows)
        found = codes >= 0
        clusters[rows[found]] = np.array(part.numbers)[codes[found]]
        apart = scaled.distances_to(part.centres, rows)
        distance[rows[found]] = np.sqrt(apart[found, codes[found]])
        chance[rows] = chances
    table = identity_of(scaled)
    table["cluster"] = numbers_column(clusters)
    table["cluster_name"] = names_column(clusters, names)
    table["distance_to_centre"] = distance
    table["placed"] = ~scaled.complete & (clusters > 0)
    if any(part.mixture is not None for part in parts):
        table["membership_probability"] = chance
    return table
