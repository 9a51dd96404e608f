r"""Clusterwise stability: whether each cluster would be found again in other data like these.

The Jaccard coefficient of cluster i of all units with the most similar cluster of a resample, over
the units that both hold:

.. math:: \gamma_{ib} = \max_h |C_i \cap X_b \cap D_h| \,/\, |(C_i \cap X_b) \cup D_h| .

Its mean over resamples says whether the cluster is a finding or an accident; a mean of ½ or less
means that it dissolves.  Stable is not the same as valid: a cloud cut in half by its longest axis
is cut there again.

References
----------
Hennig2007.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from resilience.stats.clusters.partitions import (
    Codes,
    Floats,
    Partitioner,
    centres_of,
    contingency,
    jaccard_table,
    matched_labels,
    nearest_centre,
)

__all__ = ["Replicate", "ResamplingScheme", "replicate"]

ResamplingScheme = Literal["bootstrap", "subset", "noise"]

_HALF = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Replicate:
    """What one resample says of the clusters and of every unit.

    Attributes
    ----------
    jaccard : ndarray of shape (k,)
        γ of each cluster.
    assigned : ndarray of shape (n,)
        Cluster of every unit by the resample carried over to all units, in the codes of the
        original clusters; -1 where the resample's cluster matches none of them.
    """

    jaccard: Floats
    assigned: Codes


def replicate(
    rows: Floats,
    labels: Codes,
    method: Partitioner,
    *,
    seed: int,
    scheme: ResamplingScheme = "bootstrap",
    redrawn: Callable[[np.random.Generator], Floats] | None = None,
) -> Replicate:
    """Cluster one resample and compare it with the clusters of all units.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
        Scaled variables.
    labels : ndarray of shape (n,)
        Clusters of all units, codes from 0.
    method : callable
        See `Partitioner`; the number of clusters is that of ``labels``.
    seed : int
        Of the resample and of the starts.
    scheme : {"bootstrap", "subset", "noise"}
        Drawn with replacement and each unit kept once, as the R package fpc does; half of the units
        without replacement; all units with the errors of their variables drawn anew.
    redrawn : callable, optional
        ``generator -> rows``: the rows with their errors drawn anew, for ``"noise"``.

    Returns
    -------
    Replicate

    References
    ----------
    Hennig2007.
    """
    generator = np.random.default_rng(seed)
    n, k = len(rows), int(labels.max()) + 1
    if scheme == "bootstrap":
        taken = np.unique(generator.integers(0, n, size=n))
    elif scheme == "subset":
        taken = np.sort(generator.permutation(n)[: max(int(n * _HALF), k)])
    else:
        taken = np.arange(n)
    drawn = rows[taken]
    if scheme == "noise" and redrawn is not None:
        drawn = redrawn(generator)
    own = method(drawn, k, int(generator.integers(0, 2**31 - 1)))
    h = int(own.max()) + 1
    found = jaccard_table(contingency(labels[taken], own, (k, h)))
    # carried over to all units by the nearest mean, so that every unit has a vote in every resample
    placed = own if len(taken) == n else nearest_centre(rows, centres_of(drawn, own, h))
    match = matched_labels(jaccard_table(contingency(labels, placed, (k, h))))
    back = np.full(h, -1, dtype=np.int64)
    for cluster, other in match.items():
        back[other] = cluster
    return Replicate(jaccard=found.max(axis=1), assigned=back[placed])
