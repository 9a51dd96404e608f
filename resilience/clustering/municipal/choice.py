"""How many clusters of municipalities there are, if any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.municipal.features import Features
from resilience.i18n import Bilingual, numeral, text
from resilience.stats.clusters.areas import cluster_agreement, ward_cuts
from resilience.stats.clusters.gap import gap_curve, reference_within
from resilience.stats.clusters.partitions import within_sum_of_squares

__all__ = ["NUMBERS", "Cuts", "cut_municipalities"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

NUMBERS = (2, 3, 4)
SMALLEST = 3  # municipalities in a cluster
STABLE = 0.75  # mean Jaccard coefficient of every cluster
_REFERENCES = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Cuts:
    """The cuts of Ward's tree and what speaks for each of them.

    Attributes
    ----------
    tree : ndarray of shape (M - 1, 4)
        Linkage.
    labels : dict of {k: ndarray of shape (M,)}
        From 0.
    jaccard : dict of {k: ndarray of shape (B, k)}
        Of every cluster with the most like cluster of every draw.
    kept : dict of {k: ndarray of shape (M,)}
        Share of draws in which a municipality is in the cluster matched to its own.
    table : DataFrame
        ``k gap gap_std_error jaccard_min n_smallest accepted reason``.
    """

    tree: Floats
    labels: dict[int, Codes]
    jaccard: dict[int, Floats]
    kept: dict[int, Floats]
    table: pd.DataFrame

    @property
    def chosen(self) -> int | None:
        """The largest accepted number, None if there is none."""
        accepted = self.table.loc[self.table["accepted"], "k"]
        return None if accepted.empty else int(accepted.max())


def cut_municipalities(features: Features, *, seed: int) -> Cuts:
    """Cut Ward's tree of the municipalities and judge every cut.

    Accepted is a number of clusters of which every cluster is found again when the schools inside
    municipalities are drawn anew (mean Jaccard coefficient of at least 0.75), none has fewer than
    three municipalities, and the gap exceeds that of a single cluster by its standard error.

    Parameters
    ----------
    features : Features
        Rows, and rows of the draws.
    seed : int
        Of the reference sets of the gap.

    References
    ----------
    TibshiraniWaltherHastie2001; Hennig2007.
    """
    rows, every = features.rows, (1, *NUMBERS)
    tree, cuts = ward_cuts(rows, NUMBERS)
    labels = {k: cuts[:, i] for i, k in enumerate(NUMBERS)}
    gap, spread = _gap(rows, labels, every, seed)
    jaccard = {k: np.empty((len(features.redrawn), k)) for k in NUMBERS}
    kept = {k: np.zeros(len(rows)) for k in NUMBERS}
    for b, drawn in enumerate(features.redrawn):
        _, again = ward_cuts(drawn, NUMBERS)
        for i, k in enumerate(NUMBERS):
            jaccard[k][b], own = cluster_agreement(labels[k], again[:, i])
            kept[k] += own
    judged = [_judged(k, labels[k], jaccard[k], gap, spread, every) for k in NUMBERS]
    table = pd.DataFrame(judged)
    table["reason"] = pd.Series([row["reason"] for row in judged], dtype=object)
    share = max(len(features.redrawn), 1)
    return Cuts(
        tree=tree,
        labels=labels,
        jaccard=jaccard,
        kept={k: total / share for k, total in kept.items()},
        table=table,
    )


def _gap(
    rows: Floats, labels: dict[int, Codes], every: tuple[int, ...], seed: int
) -> tuple[Floats, Floats]:
    def ward(points: Floats, n_clusters: int, _: int) -> Codes:
        return np.asarray(ward_cuts(points, [n_clusters])[1][:, 0])

    tiny = np.finfo(float).tiny  # municipalities on k points alone leave nothing within
    whole = np.zeros(len(rows), dtype=np.int64)
    observed = np.log([max(within_sum_of_squares(rows, labels.get(k, whole)), tiny) for k in every])
    seeds = np.random.default_rng(seed).integers(0, 2**31 - 1, size=_REFERENCES)
    references = np.array([reference_within(rows, every, ward, seed=int(s)) for s in seeds])
    return gap_curve(observed, references)


def _judged(
    k: int,
    labels: Codes,
    jaccard: Floats,
    gap: Floats,
    spread: Floats,
    every: tuple[int, ...],
) -> dict[str, object]:
    at, smallest = every.index(k), int(np.bincount(labels).min())
    least = float(jaccard.mean(axis=0).min()) if len(jaccard) else float("nan")
    faults: list[Bilingual] = []
    if gap[at] <= gap[0] + spread[at]:
        faults.append(text("cluster_profiles.fault_gap"))
    if not least >= STABLE:
        shown = f"{least:.2f}"
        value = numeral(shown)
        faults.append(text("cluster_profiles.fault_jaccard", value=value))
    if smallest < SMALLEST:
        faults.append(text("cluster_profiles.fault_small", n=smallest))
    reason = Bilingual("; ".join(f.en for f in faults), "; ".join(f.ru for f in faults))
    return {
        "k": k,
        "gap": float(gap[at]),
        "gap_std_error": float(spread[at]),
        "jaccard_min": least,
        "n_smallest": smallest,
        "accepted": not faults,
        "reason": reason if faults else text("cluster_profiles.no_fault"),
    }
