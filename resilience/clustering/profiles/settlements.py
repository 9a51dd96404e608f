"""City, country and small ungraded schools against the clusters: where the two disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.clustering.profiles.labels import labels_of, names_of, scaled_of
from resilience.clustering.profiles.phrases import stratum_phrase
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, numeral, text
from resilience.results import Results, join_by
from resilience.stats.clusters.effect_sizes import group_means
from resilience.stats.clusters.partitions import adjusted_rand, contingency
from resilience.validation import check_columns, check_count, check_fraction, check_names

__all__ = ["SettlementMix", "settlement_mix"]

_COLUMNS = ("is_rural", "is_small")
_KEPT = 0.8  # share of redraws below which a label is largely chance
_SAME = 0.8  # adjusted Rand index from which clusters say what the settlement says


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SettlementMix(Results):
    """Kinds of schools (city, country, small ungraded) against the clusters.

    Attributes
    ----------
    table : DataFrame
        ``settlement cluster cluster_name n_schools n_pupils share_of_cluster share_of_kind
        expected_schools``: a row for every pair; ``expected_schools`` if kind and cluster had
        nothing to do with each other.
    clusters : DataFrame
        ``cluster cluster_name n_schools main_kind main_kind_share mix``: ``mix`` is ``one kind``
        where one kind holds ``purity`` of the schools or more, else ``mixed``.
    kinds : DataFrame
        ``settlement n_schools n_pupils main_cluster main_cluster_share n_clusters_present
        kept_when_redrawn``.
    schools : DataFrame
        ``school_id municipality_id settlement cluster cluster_name kept_when_redrawn
        out_of_place``: out of place is a school of one kind in a cluster of another;
        ``kept_when_redrawn`` the share of redraws in which the chance of who attends leaves the
        school nearest to the same cluster.
    adjusted_rand : float
        Agreement of kinds and clusters, 1 = the same partition, about 0 = nothing in common.
    cramers_v : float
        Strength of the association, 0..1.
    columns : tuple of str
        What tells the kinds apart.
    purity : float
        Share from which a cluster is of one kind.
    notes : tuple of Bilingual
        What follows for the choice of strata.

    References
    ----------
    HubertArabie1985.
    """

    table: pd.DataFrame
    clusters: pd.DataFrame
    kinds: pd.DataFrame
    schools: pd.DataFrame
    adjusted_rand: float
    cramers_v: float
    columns: tuple[str, ...]
    purity: float
    notes: tuple[Bilingual, ...]

    def tidy(self) -> pd.DataFrame:
        """Return `table`."""
        return self.table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: kinds, clusters, mixed ones, schools out of place, agreement."""
        return pd.DataFrame(
            {
                "n_kinds": [len(self.kinds)],
                "n_clusters": [len(self.clusters)],
                "n_mixed": [int((self.clusters["main_kind_share"] < self.purity).sum())],
                "n_out_of_place": [int(self.schools["out_of_place"].sum())],
                "adjusted_rand": [self.adjusted_rand],
                "cramers_v": [self.cramers_v],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with ``settlement cluster out_of_place`` added.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="data")
        new = [c for c in ("settlement", "cluster", "out_of_place") if c not in data.columns]
        return join_by(data, self.schools[["school_id", *new]], "school_id")

    def summary(self, lang: str = "en") -> str:
        """Return the summary with the notes at its end."""
        lines = [note.localized(lang) for note in self.notes]
        return "\n".join([super().summary(lang), "", *lines])


def settlement_mix(
    clusters: Any,
    columns: Sequence[str] | str = _COLUMNS,
    *,
    purity: float = 0.8,
    n_redraws: int = 100,
    random_state: int | None = None,
) -> SettlementMix:
    """Return which clusters hold city, country or small schools, and where the two disagree.

    Three things follow.  Clusters that repeat the settlement (agreement near 1) say nothing that
    the strata did not: fit inside strata instead.  A mixed cluster holds city and country schools
    that work in like conditions: it must not be called rural.  A school out of place is one whose
    conditions are not those of its kind: look at it before it is compared with its stratum.

    In a small school a few families are a large share.  Every share is therefore drawn again with
    the sampling error of its pupils (`ScaledSchools.redrawn`), and ``kept_when_redrawn`` says how
    often the school stays nearest to the same centre: where it is low, the label of a small school
    is chance.

    Parameters
    ----------
    clusters : ClusterResults
        Or any result with ``.schools`` and ``.scaled``.
    columns : sequence of str
        Flags or categories of the table of schools; those it lacks are refused.
    purity : float
        Share of one kind from which a cluster counts as of that kind.
    n_redraws : int
        Redraws of the shares; 0 leaves ``kept_when_redrawn`` empty.
    random_state : int, optional
        Seed of the redraws; 0 by default.

    Returns
    -------
    SettlementMix

    Raises
    ------
    SpecificationError
        If there are no clusters, or a column did not come with the schools.
    DataError
        If no school of a cluster has all the columns.
    """
    scaled, labels, names = scaled_of(clusters), labels_of(clusters), names_of(clusters)
    check_fraction(purity, argument="purity")
    check_count(n_redraws, argument="n_redraws", least=0)
    seed = (
        0 if random_state is None else check_count(random_state, argument="random_state", least=0)
    )
    asked = check_names(columns, argument="columns", example="columns=['is_rural', 'is_small']")
    if not asked:
        raise SpecificationError(text("cluster_profiles.empty_columns"))
    absent = [c for c in asked if c not in scaled.schools.columns]
    if absent and tuple(asked) != _COLUMNS:
        raise SpecificationError(text("cluster_profiles.no_settlement", columns=", ".join(absent)))
    used = tuple(c for c in asked if c not in absent)
    if not used:
        raise SpecificationError(text("cluster_profiles.no_settlement", columns=", ".join(absent)))
    kinds, order = _kinds(scaled.schools, used)
    inside = np.array([k is not None for k in kinds]) & (labels > 0)
    if not inside.any():
        raise DataError(text("cluster_profiles.no_kinds", columns=", ".join(used)))
    found = [k for k in order if any(own == k for own in np.array(kinds, dtype=object)[inside])]
    place = np.array([found.index(k) if k in found else -1 for k in kinds])
    numbers = list(names)
    code = np.searchsorted(numbers, labels)
    counts = contingency(
        place[inside].astype(np.int64), code[inside].astype(np.int64), (len(found), len(numbers))
    )
    pupils = _pupils(scaled.schools)
    weights = np.zeros(counts.shape)
    np.add.at(weights, (place[inside], code[inside]), pupils[inside])
    own = _clusters(counts, found, names, purity)
    kept = kept_when_redrawn(scaled, labels, n_redraws, seed)
    kinds_table = _kinds_table(counts, weights, found, numbers)
    kinds_table["kept_when_redrawn"] = group_means(
        np.where(inside, kept, np.nan), np.where(inside, place, -1).astype(np.int64), len(found)
    ).means
    schools = _schools(scaled.schools, place, found, labels, names)
    schools["kept_when_redrawn"] = kept
    pure = own.loc[own["main_kind_share"] >= purity, ["cluster", "main_kind"]]
    main = dict(zip(pure["cluster"].tolist(), pure["main_kind"].tolist(), strict=True))
    schools["out_of_place"] = [
        c in main and kind != main[c]
        for kind, c in zip(schools["settlement"], schools["cluster"], strict=True)
    ]
    schools = schools[inside].reset_index(drop=True)
    agreement = adjusted_rand(counts)
    mix = SettlementMix(
        table=_table(counts, weights, found, names),
        clusters=own,
        kinds=kinds_table,
        schools=schools,
        adjusted_rand=agreement,
        cramers_v=_cramer(counts),
        columns=used,
        purity=purity,
        notes=(),
    )
    return replace(mix, notes=_notes(mix, scaled.strata))


def kept_when_redrawn(
    scaled: ScaledSchools, labels: NDArray[np.int64], n_redraws: int, seed: int
) -> NDArray[np.float64]:
    """Return how often each school stays nearest to the same centre when shares are drawn again.

    Centres are the means of the complete schools of each cluster and stay; only clusters of the
    school's own stratum are compared.  NaN for schools of no cluster, and without redraws.
    """
    if not n_redraws:
        return np.full(len(labels), np.nan)
    roots = np.sqrt(scaled.column_weights)
    used = [int(c) for c in np.unique(labels[(labels > 0) & scaled.complete])]
    own = [(labels == c) & scaled.complete for c in used]
    centres = np.array([scaled.weighted[rows].mean(axis=0) for rows in own])
    closed = np.array([~np.isin(scaled.stratum, scaled.stratum[labels == c]) for c in used]).T

    def nearest(values: NDArray[np.float64]) -> NDArray[np.int64]:
        gaps = values[:, None, :] - centres[None, :, :]
        distance = np.nansum(gaps**2, axis=2)  # gaps of one school are the same for all centres
        return np.asarray(np.where(closed, np.inf, distance).argmin(axis=1), dtype=np.int64)

    generator = np.random.default_rng(seed)
    usual = nearest(scaled.weighted)
    hits = np.zeros(len(labels))
    for _ in range(n_redraws):
        hits += nearest(scaled.redrawn(generator) * roots) == usual
    return np.where(labels > 0, hits / n_redraws, np.nan)


def _kinds(
    schools: pd.DataFrame, columns: tuple[str, ...]
) -> tuple[list[Bilingual | None], list[Bilingual]]:
    """Return the kind of every school in words (None where unknown), and all kinds in order."""
    frame = schools[list(columns)]
    rows = list(frame.itertuples(index=False, name=None))
    known = frame.notna().all(axis=1).tolist()
    levels = sorted({row for row, own in zip(rows, known, strict=True) if own}, key=str)
    words = {row: _kind_words(columns, row) for row in levels}
    return (
        [words[row] if own else None for row, own in zip(rows, known, strict=True)],
        [words[row] for row in levels],
    )


def _kind_words(columns: tuple[str, ...], row: tuple[Any, ...]) -> Bilingual:
    if columns == _COLUMNS:
        place = "rural" if bool(row[0]) else "city"
        return text(f"cluster_profiles.kind_{place}{'_small' if bool(row[1]) else ''}")
    return stratum_phrase(", ".join(f"{c}={v}" for c, v in zip(columns, row, strict=True)))


def _pupils(schools: pd.DataFrame) -> NDArray[np.float64]:
    if "n_pupils" not in schools.columns:
        return np.full(len(schools), np.nan)
    return np.asarray(schools["n_pupils"].to_numpy(dtype=np.float64, na_value=np.nan))


def _table(
    counts: NDArray[np.int64],
    pupils: NDArray[np.float64],
    kinds: list[Bilingual],
    names: dict[int, str],
) -> pd.DataFrame:
    rows, columns, total = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    found = []
    for i, kind in enumerate(kinds):
        for j, (cluster, name) in enumerate(names.items()):
            found.append(
                {
                    "settlement": kind,
                    "cluster": cluster,
                    "cluster_name": name,
                    "n_schools": counts[i, j],
                    "n_pupils": pupils[i, j],
                    "share_of_cluster": counts[i, j] / columns[j] if columns[j] else np.nan,
                    "share_of_kind": counts[i, j] / rows[i],
                    "expected_schools": rows[i] * columns[j] / total,
                }
            )
    return _worded(pd.DataFrame(found), found)


def _worded(frame: pd.DataFrame, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Keep wordings as objects with both languages, whatever the table makes of strings."""
    for name in ("settlement", "cluster_name", "main_kind", "mix"):
        if rows and name in rows[0]:
            frame[name] = pd.Series([row[name] for row in rows], dtype=object)
    return frame


def _clusters(
    counts: NDArray[np.int64], kinds: list[Bilingual], names: dict[int, str], purity: float
) -> pd.DataFrame:
    found: list[dict[str, Any]] = []
    for j, (cluster, name) in enumerate(names.items()):
        held = counts[:, j]
        main, total = int(np.argmax(held)), int(held.sum())
        share = held[main] / total if total else float("nan")
        found.append(
            {
                "cluster": cluster,
                "cluster_name": name,
                "n_schools": total,
                "main_kind": kinds[main] if total else None,
                "main_kind_share": share,
                "mix": text(f"cluster_profiles.mix_{'one' if share >= purity else 'mixed'}"),
            }
        )
    return _worded(pd.DataFrame(found), found)


def _kinds_table(
    counts: NDArray[np.int64],
    pupils: NDArray[np.float64],
    kinds: list[Bilingual],
    numbers: list[int],
) -> pd.DataFrame:
    found: list[dict[str, Any]] = [
        {
            "settlement": kind,
            "n_schools": int(counts[i].sum()),
            "n_pupils": float(pupils[i].sum()),
            "main_cluster": numbers[int(np.argmax(counts[i]))],
            "main_cluster_share": float(counts[i].max() / counts[i].sum()),
            "n_clusters_present": int((counts[i] > 0).sum()),
        }
        for i, kind in enumerate(kinds)
    ]
    return _worded(pd.DataFrame(found), found)


def _schools(
    schools: pd.DataFrame,
    place: NDArray[Any],
    kinds: list[Bilingual],
    labels: NDArray[np.int64],
    names: dict[int, str],
) -> pd.DataFrame:
    carried = [c for c in ("school_id", "municipality_id") if c in schools.columns]
    table = schools[carried].reset_index(drop=True)
    words = [kinds[int(p)] if p >= 0 else None for p in place]
    table["settlement"] = pd.Series(words, dtype=object)
    table["cluster"] = labels
    table["cluster_name"] = pd.Series([names.get(int(c)) for c in labels], dtype=object)
    return table


def _cramer(counts: NDArray[np.int64]) -> float:
    """Return Cramér's V, NaN where there is one kind or one cluster."""
    held = counts[:, counts.sum(axis=0) > 0]
    if min(held.shape) < 2:
        return float("nan")
    total = held.sum()
    expected = held.sum(axis=1)[:, None] * held.sum(axis=0)[None, :] / total
    chi_squared = float(((held - expected) ** 2 / expected).sum())
    return float(np.sqrt(chi_squared / (total * (min(held.shape) - 1))))


def _notes(mix: SettlementMix, strata: tuple[str, ...]) -> tuple[Bilingual, ...]:
    """Return what follows for the choice of strata and for the reading of labels."""
    found = []
    apart = [c for c in mix.columns if c in strata]
    printed = f"{mix.adjusted_rand:.2f}"
    value = numeral(printed)
    if apart:
        found.append(text("cluster_profiles.note_strata", columns=", ".join(apart)))
    elif mix.adjusted_rand >= _SAME:
        found.append(text("cluster_profiles.note_same", value=value, column=mix.columns[0]))
    mixed = mix.clusters.loc[mix.clusters["main_kind_share"] < mix.purity, "cluster"].tolist()
    if mixed:
        listed = ", ".join(str(c) for c in mixed)
        found.append(text("cluster_profiles.note_mixed", n=len(mixed), clusters=listed))
    for kind, kept in zip(mix.kinds["settlement"], mix.kinds["kept_when_redrawn"], strict=True):
        if kept < _KEPT:
            share = f"{100 * kept:.0f}"
            found.append(text("cluster_profiles.note_noise", kind=kind, share=share))
    out = int(mix.schools["out_of_place"].sum())
    if out:
        found.append(text("cluster_profiles.note_out_of_place", n=out))
    return tuple(found)
