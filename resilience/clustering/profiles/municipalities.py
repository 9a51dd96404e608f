"""Which municipality has schools of which clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.profiles.labels import labels_of, names_of, scaled_of
from resilience.errors import DataError
from resilience.i18n import check_language, text
from resilience.results import Results, join_by
from resilience.validation import check_choice, check_columns, shorten

__all__ = ["ClustersByMunicipality", "clusters_by_municipality"]

CITY, RURAL, MIXED, UNKNOWN = "city", "rural", "mixed", "unknown"
_VALUES = ("n_schools", "n_pupils", "share_schools", "share_pupils")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ClustersByMunicipality(Results):
    """How the clusters of schools lie over the municipalities.

    Attributes
    ----------
    table : DataFrame
        ``municipality_id cluster cluster_name n_schools n_pupils share_schools share_pupils``: a
        row for every pair, also for those without schools; shares of the municipality's schools of
        clusters and of their pupils.
    municipalities : DataFrame
        ``municipality_id settlement n_schools n_pupils share_rural share_rural_pupils share_small
        n_clusters_present n_clusters_effective main_cluster main_cluster_share n_without_cluster``.
    names : mapping of {int: str}
        Names of the clusters.
    """

    table: pd.DataFrame
    municipalities: pd.DataFrame
    names: dict[int, str]

    def tidy(self) -> pd.DataFrame:
        """Return `table`."""
        return self.table.copy()

    def wide(self, value: str = "n_schools", lang: str = "en") -> pd.DataFrame:
        """Return municipalities in rows and clusters in columns, for reading.

        Parameters
        ----------
        value : {"n_schools", "n_pupils", "share_schools", "share_pupils"}
            What the cells hold.
        lang : {"en", "ru"}
            Language of the heads.

        Raises
        ------
        SpecificationError
            For another value or language.
        """
        check_choice(value, _VALUES, argument="value")
        check_language(lang)
        found = self.table.pivot_table(
            index="municipality_id", columns="cluster", values=value, sort=True, aggfunc="first"
        ).reindex(self.municipalities["municipality_id"])
        heads = [text("cluster_profiles.title", cluster=c).localized(lang) for c in self.names]
        return found.reindex(columns=list(self.names)).set_axis(heads, axis=1)

    def glance(self) -> pd.DataFrame:
        """Return one row: municipalities, of them city, rural and mixed; clusters."""
        kinds = self.municipalities["settlement"]
        return pd.DataFrame(
            {
                "n_municipalities": [len(self.municipalities)],
                "n_city": [int((kinds == CITY).sum())],
                "n_rural": [int((kinds == RURAL).sum())],
                "n_mixed": [int((kinds == MIXED).sum())],
                "n_clusters": [len(self.names)],
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


def clusters_by_municipality(clusters: Any) -> ClustersByMunicipality:
    r"""Return which municipality has schools of which clusters.

    A municipality is ``city`` or ``rural`` where all its schools are, else ``mixed``: then no
    cluster can speak for it, and support is planned by its mix.  The effective number of clusters
    is :math:`\exp(-\sum_c p_c \log p_c)` of the shares of schools: 1 where one cluster holds all.

    Parameters
    ----------
    clusters : ClusterResults
        Or any result with ``.schools`` and ``.scaled`` whose table of schools has
        ``municipality_id``.

    Returns
    -------
    ClustersByMunicipality

    Raises
    ------
    SpecificationError
        If there are no clusters.
    DataError
        If schools have no municipality.
    """
    schools, labels, names = scaled_of(clusters).schools, labels_of(clusters), names_of(clusters)
    check_columns(schools, ["municipality_id"], table="schools")
    lacking = schools["municipality_id"].isna()
    if lacking.any():
        ids = schools.loc[lacking, "school_id"].astype(str)
        raise DataError(
            text("cluster_profiles.no_municipality", n=int(lacking.sum()), schools=shorten(ids))
        )
    frame = pd.DataFrame(
        {
            "municipality_id": schools["municipality_id"].astype(str),
            "cluster": labels,
            "n_pupils": _numbers(schools, "n_pupils"),
            "is_rural": _numbers(schools, "is_rural"),
            "is_small": _numbers(schools, "is_small"),
        }
    )
    table = _cells(frame[frame["cluster"] > 0], frame["municipality_id"].unique(), names)
    return ClustersByMunicipality(table=table, municipalities=_places(frame, table), names=names)


def settlement_of(rural: pd.Series) -> str:
    """Return whether schools are all in the city, all rural, or mixed."""
    known = rural.dropna()
    if known.empty:
        return UNKNOWN
    share = float(known.mean())
    return RURAL if share == 1.0 else CITY if share == 0.0 else MIXED


def _cells(frame: pd.DataFrame, places: Any, names: dict[int, str]) -> pd.DataFrame:
    every = pd.MultiIndex.from_product(
        [sorted(places), list(names)], names=["municipality_id", "cluster"]
    )
    own = frame.groupby(["municipality_id", "cluster"])
    table = pd.DataFrame(
        {"n_schools": own.size(), "n_pupils": own["n_pupils"].sum(min_count=1)}
    ).reindex(every)
    empty = table["n_schools"].isna()
    table.loc[empty, "n_pupils"] = 0.0
    table["n_schools"] = table["n_schools"].fillna(0).astype(int)
    for share, count in (("share_schools", "n_schools"), ("share_pupils", "n_pupils")):
        total = table.groupby("municipality_id")[count].transform("sum", min_count=1).astype(float)
        table[share] = table[count] / total.where(total > 0)
    found = table.reset_index()
    found.insert(
        2, "cluster_name", pd.Series([names[c] for c in found["cluster"].tolist()], dtype=object)
    )
    return found


def _places(frame: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    cells = dict(iter(table.groupby("municipality_id", sort=True)))
    rows = []
    for name, own in frame.groupby("municipality_id", sort=True):
        shares = cells[name]["share_schools"].fillna(0.0).to_numpy()
        inside = shares[shares > 0]
        pupils = own["n_pupils"].where(own["is_rural"].notna())
        main = int(np.argmax(shares)) if len(inside) else None
        rows.append(
            {
                "municipality_id": name,
                "settlement": text(f"cluster_profiles.settlement_{settlement_of(own['is_rural'])}"),
                "n_schools": len(own),
                "n_pupils": own["n_pupils"].sum(min_count=1),
                "share_rural": own["is_rural"].mean(),
                "share_rural_pupils": _ratio((pupils * own["is_rural"]).sum(), pupils.sum()),
                "share_small": own["is_small"].mean(),
                "n_clusters_present": len(inside),
                "n_clusters_effective": float(np.exp(-(inside * np.log(inside)).sum()))
                if len(inside)
                else np.nan,
                "main_cluster": pd.NA if main is None else cells[name]["cluster"].iloc[main],
                "main_cluster_share": np.nan if main is None else shares[main],
                "n_without_cluster": int((own["cluster"] <= 0).sum()),
            }
        )
    found = pd.DataFrame(rows).astype({"main_cluster": "Int64"})
    found["settlement"] = pd.Series([row["settlement"] for row in rows], dtype=object)
    return found


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def _numbers(schools: pd.DataFrame, column: str) -> NDArray[np.float64]:
    if column not in schools.columns:
        return np.full(len(schools), np.nan)
    numbers = pd.to_numeric(schools[column], errors="coerce")
    return np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan))
