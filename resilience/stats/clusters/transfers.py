r"""The last improvement of least-squares clusters: units moved one by one.

Moving unit x from cluster a to cluster b changes the within sum of squares by

.. math:: \frac{n_b}{n_b + 1}\lVert x - m_b\rVert^2 - \frac{n_a}{n_a - 1}\lVert x - m_a\rVert^2 ,

because both means move with it.  Assignments to the nearest centre stop where some of these changes
are still negative.

References
----------
HartiganWong1979.
"""

from __future__ import annotations

import numpy as np

from resilience.stats.clusters.partitions import Codes, Floats, centres_of

__all__ = ["single_transfers"]

_GAIN = 1e-10  # of the within sum of squares: what counts as no gain


def single_transfers(rows: Floats, labels: Codes, n_clusters: int) -> Codes:
    """Return the labels after every single move that lowers the within sum of squares.

    The most profitable move first, until none is left.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
        Scaled variables.
    labels : ndarray of shape (n,)
        Codes from 0; no cluster is empty.
    n_clusters : int
        k.

    Returns
    -------
    ndarray of shape (n,)
    """
    found = labels.copy()
    here = np.arange(len(rows))
    counts = np.bincount(found, minlength=n_clusters).astype(np.float64)
    means = centres_of(rows, found, n_clusters)
    squared = ((rows[:, None, :] - means) ** 2).sum(axis=2)
    least = _GAIN * max(float(squared[here, found].sum()), 1e-300)
    while True:
        own = counts[found]
        kept = squared[here, found] * np.where(own > 1, own / np.maximum(own - 1.0, 1.0), 0.0)
        gain = kept[:, None] - squared * (counts / (counts + 1.0))
        gain[here, found] = 0.0
        unit, target = np.unravel_index(int(np.argmax(gain)), gain.shape)
        if gain[unit, target] <= least:
            return found
        source = int(found[unit])
        found[unit] = target
        for cluster in (source, int(target)):
            inside = rows[found == cluster]
            counts[cluster] = len(inside)
            squared[:, cluster] = ((rows - inside.mean(axis=0)) ** 2).sum(axis=1)
