"""Assignment of units to centres at the least total cost when the sizes of clusters are bounded.

The least cost of all assignments with given sizes is an M-convex function of the sizes: an
assignment that is the best of its sizes, and from which no transfer of one unit along a chain of
clusters gains anything, is the best one of all.  A price on every cluster gives an assignment that
is the best of its sizes; prices are first brought near to what the bounds ask for, and single
transfers do the rest.  The graph of transfers has one node per cluster, so that tens of thousands
of units are assigned in a fraction of a second.
"""

from __future__ import annotations

import numpy as np

from resilience.stats.clusters.partitions import Codes, Floats

__all__ = ["bounded_assignment"]

_GAIN = 1e-12  # of the scale of the costs: what counts as no gain
_SWEEPS = 30  # over the clusters in search of prices; transfers mend what is left


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
    prices = _prices(costs, smallest, largest)
    labels = np.asarray(np.argmin(costs + prices, axis=1), dtype=np.int64)
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


def _prices(costs: Floats, smallest: int, largest: int) -> Floats:
    """Return prices of the clusters under which the cheapest choices nearly keep the bounds.

    Coordinate ascent of the dual: a cluster inside its bounds is free; an overfull one asks, a
    wanting one pays, as much as brings it to its bound while the others' prices stay.
    """
    n, k = costs.shape
    prices = np.zeros(k)
    for _ in range(_SWEEPS if k > 1 else 0):
        before = prices.copy()
        for own in range(k):
            others = np.delete(costs + prices, own, axis=1).min(axis=1)
            margins = others - costs[:, own]  # up to this price a unit chooses the cluster
            count = int((margins >= 0.0).sum())
            wanted = min(max(count, smallest), largest)
            if wanted == count:
                prices[own] = 0.0
                continue
            # between the last unit that shall come and the first that shall not
            ranked = -np.partition(-margins, (max(wanted - 1, 0), min(wanted, n - 1)))
            prices[own] = (ranked[max(wanted - 1, 0)] + ranked[min(wanted, n - 1)]) / 2.0
        if np.allclose(before, prices, rtol=1e-9, atol=1e-12):
            break
    return prices


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
