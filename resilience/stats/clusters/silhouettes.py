r"""How well units lie inside their clusters.

The silhouette of a unit compares its mean distance a to the others of its own cluster with the
least mean distance b to the units of another one:

.. math:: s = (b - a) / \max(a, b) .

References
----------
Rousseeuw1987.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from resilience.stats.clusters.partitions import Codes, Floats, within_sum_of_squares

__all__ = ["calinski_harabasz", "silhouettes"]

_BLOCK = 500  # rows whose distances are in memory at once


def silhouettes(
    rows: Floats, labels: Codes, *, most_per_cluster: int = 1500, seed: int = 0
) -> Floats:
    """Return the silhouette of every row; 0 for the only row of a cluster.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
        Scaled variables without missing values.
    labels : ndarray of shape (n,)
        Clusters, codes from 0.
    most_per_cluster : int
        Mean distances to a larger cluster are taken over so many of its units, drawn by lot: the
        cost stays proportional to n.
    seed : int
        Of that draw.

    Returns
    -------
    ndarray of shape (n,)
        Zeros where there is one cluster only.

    References
    ----------
    Rousseeuw1987.
    """
    counts = np.bincount(labels)
    found = np.zeros(len(rows))
    if (counts > 0).sum() < 2:
        return found
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == g) for g in range(len(counts))]
    drawn = [
        m if len(m) <= most_per_cluster else np.sort(generator.choice(m, most_per_cluster, False))
        for m in members
    ]
    compared = np.concatenate(drawn)
    sizes = np.array([len(m) for m in drawn], dtype=float)
    indicator = np.repeat(np.eye(len(counts)), sizes.astype(int), axis=0)
    among = np.isin(np.arange(len(rows)), compared)
    for start in range(0, len(rows), _BLOCK):
        piece = slice(start, start + _BLOCK)
        sums = cdist(rows[piece], rows[compared]) @ indicator
        own = labels[piece]
        here = np.arange(len(own))
        others = sizes[own] - among[piece]  # a unit is no neighbour of its own
        inside = sums[here, own] / np.maximum(others, 1.0)
        means = np.divide(sums, sizes, out=np.full_like(sums, np.inf), where=sizes > 0)
        means[here, own] = np.inf
        outside = means.min(axis=1)
        larger = np.maximum(inside, outside)
        value = np.divide(outside - inside, larger, out=np.zeros(len(own)), where=larger > 0)
        found[piece] = np.where(counts[own] > 1, value, 0.0)
    return found


def calinski_harabasz(rows: Floats, labels: Codes) -> float:
    r"""Return the ratio of variation between clusters to that within, each by its freedom.

    .. math:: \frac{B / (k - 1)}{W / (n - k)}

    NaN for one cluster, or where every row is a cluster of its own.

    References
    ----------
    CalinskiHarabasz1974.
    """
    n_clusters = int(labels.max()) + 1
    within = within_sum_of_squares(rows, labels)
    total = float(((rows - rows.mean(axis=0)) ** 2).sum())
    if n_clusters < 2 or len(rows) <= n_clusters or within == 0.0:
        return float("nan")
    return (total - within) / (n_clusters - 1) / (within / (len(rows) - n_clusters))
