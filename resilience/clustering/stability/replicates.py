"""Resamples of a partition on as many workers as wanted, the same for any number of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.stats.clusters.partitions import Codes, Floats, Partitioner
from resilience.stats.clusters.pieces import in_pieces, seeds_of
from resilience.stats.clusters.resampling import ResamplingScheme, replicate

__all__ = ["Redraw", "Replicates", "resample_partition"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Redraw:
    """Weighted scaled rows with their errors drawn anew; travels to other processes.

    Attributes
    ----------
    scaled : ScaledSchools
        The schools, complete ones only.
    """

    scaled: ScaledSchools

    def __call__(self, generator: np.random.Generator) -> Floats:
        """Return the rows once more."""
        return np.asarray(self.scaled.redrawn(generator) * np.sqrt(self.scaled.column_weights))


@dataclass(frozen=True, kw_only=True, eq=False)
class Replicates:
    """What all resamples say.

    Attributes
    ----------
    jaccard : ndarray of shape (B, k)
        γ of every cluster in every resample.
    votes : ndarray of shape (n, k)
        In how many resamples each unit was put into each cluster.
    """

    jaccard: Floats
    votes: NDArray[np.int64]


def resample_partition(
    rows: Floats,
    labels: Codes,
    method: Partitioner,
    *,
    n_resamples: int,
    scheme: ResamplingScheme,
    redrawn: Callable[[np.random.Generator], Floats] | None = None,
    random_state: int | None = None,
    n_jobs: int = 1,
    progress: bool = False,
) -> Replicates:
    """Cluster resamples of the rows and compare each with the clusters of all.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
        Scaled, weighted, complete.
    labels : ndarray of shape (n,)
        Clusters, codes from 0.
    method : callable
        See `Partitioner`.
    n_resamples : int
        B.
    scheme, redrawn
        See `replicate`.
    random_state : int, optional
        Seed.
    n_jobs : int
        Workers; the result does not depend on it.
    progress : bool
        Whether a bar is drawn.
    """
    task = partial(_piece, rows, labels, method, scheme=scheme, redrawn=redrawn)
    made = in_pieces(
        task,
        seeds_of(random_state, n_resamples),
        n_jobs=n_jobs,
        progress=progress,
        title=f"k = {int(labels.max()) + 1}",
    )
    jaccard, votes = zip(*made, strict=True)
    return Replicates(jaccard=np.concatenate(jaccard), votes=np.sum(votes, axis=0))


def _piece(
    rows: Floats,
    labels: Codes,
    method: Partitioner,
    seeds: Sequence[int],
    *,
    scheme: ResamplingScheme,
    redrawn: Callable[[np.random.Generator], Floats] | None,
) -> tuple[Floats, NDArray[np.int64]]:
    """Return γ of each resample and the votes of all."""
    k = int(labels.max()) + 1
    votes = np.zeros((len(rows), k), dtype=np.int64)
    found = []
    with threadpool_limits(limits=1):  # many threads on small matrices cost more than they give
        for seed in seeds:
            one = replicate(rows, labels, method, seed=seed, scheme=scheme, redrawn=redrawn)
            found.append(one.jaccard)
            voting = np.flatnonzero(one.assigned >= 0)
            votes[voting, one.assigned[voting]] += 1
    return np.array(found), votes
