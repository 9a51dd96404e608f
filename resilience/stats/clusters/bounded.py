"""Assignment of units to centres at the least total cost when the sizes of clusters are bounded.

The least cost of all assignments with given sizes is an M-convex function of the sizes: an
assignment from which no transfer of one unit along a chain of clusters gains anything is the best
one of all.  The graph of transfers has one node per cluster, so that tens of thousands of units are
assigned as quickly as hundreds.
"""

from __future__ import annotations

import numpy as np

from resilience.stats.clusters.partitions import Codes, Floats

__all__ = ["bounded_assignment"]

_GAIN = 1e-12  # of the scale of the costs: what counts as no gain


def bounded_assignment(costs: Floats, smallest: int, largest: int) -> Codes:
    """Return the assignment of units to clusters of least cost within the bounds.

    Parameters
    ----------
    costs : ndarray of shape (n, k)
        Cost of every unit in every cluster, such as its squared distance to the centre.
    smallest, largest : int
        Bounds of the size of every cluster; k · smallest ≤ n ≤ k · largest.

    Returns
    -------
    ndarray of shape (n,)
        Codes from 0 to k - 1.

    Raises
    ------
    ValueError
        If no assignment keeps the bounds.

    References
    ----------
    Murota2003, chapter 6: local optimality of M-convex functions is global.
    """
    n, k = costs.shape
    if k * smallest > n or k * largest < n:
        raise ValueError(f"{n} units cannot fill {k} clusters of {smallest} to {largest}")
    labels = np.asarray(np.argmin(costs, axis=1), dtype=np.int64)
    counts = np.bincount(labels, minlength=k)
    tolerance = _GAIN * max(float(np.ptp(costs)), 1e-300)
    while True:
        lengths, first, movers = _shortest_transfers(costs, labels)
        # Leaving an overfull cluster and filling a wanting one each mend one violation.
        mended = (
            (counts > largest).astype(int)[:, None]
            - (counts <= smallest).astype(int)[:, None]
            + (counts < smallest).astype(int)[None, :]
            - (counts >= largest).astype(int)[None, :]
        )
        np.fill_diagonal(mended, -2)
        best = int(mended.max())
        value = np.where(mended == best, lengths, np.inf)
        source, target = np.unravel_index(int(np.argmin(value)), value.shape)
        if best < 0 or (best == 0 and value[source, target] >= -tolerance):
            return labels
        at = int(source)
        while at != target:
            to = int(first[at, target])
            labels[movers[at, to]] = to
            at = to
        counts[source] -= 1
        counts[target] += 1


def _shortest_transfers(costs: Floats, labels: Codes) -> tuple[Floats, Codes, Codes]:
    """Return the least cost of moving one unit's place from cluster to cluster, with the way.

    Also the first step of each way and the unit that makes a step cheapest (Floyd-Warshall).
    """
    k = costs.shape[1]
    lengths = np.full((k, k), np.inf)
    movers = np.zeros((k, k), dtype=np.int64)
    for own in range(k):
        rows = np.flatnonzero(labels == own)
        if len(rows):
            extra = costs[rows] - costs[rows, own][:, None]
            cheapest = np.argmin(extra, axis=0)
            lengths[own] = extra[cheapest, np.arange(k)]
            movers[own] = rows[cheapest]
    np.fill_diagonal(lengths, 0.0)
    first = np.tile(np.arange(k), (k, 1))
    for via in range(k):
        through = lengths[:, via][:, None] + lengths[via][None, :]
        shorter = through < lengths - 1e-15
        lengths = np.where(shorter, through, lengths)
        first = np.where(shorter, first[:, via][:, None], first)
    return lengths, first.astype(np.int64), movers
