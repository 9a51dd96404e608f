r"""Gap statistic: how much tighter the rows cluster than rows without any clusters.

.. math:: \mathrm{gap}_k = \tfrac1B \sum_b \log W_{kb}^* - \log W_k, \qquad
          s_k = \mathrm{SD}_b(\log W_{kb}^*)\sqrt{1 + 1/B}

with W the sum of squares within clusters and W* that of a reference set, uniform in the box of the
principal axes.  It alone among the usual criteria can say that there is one cluster.

References
----------
TibshiraniWaltherHastie2001.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resilience.stats.clusters.partitions import (
    Floats,
    Partitioner,
    uniform_reference,
    within_sum_of_squares,
)

__all__ = ["gap_choice", "gap_curve", "log_within", "reference_within"]


def log_within(rows: Floats, numbers: Sequence[int], method: Partitioner, *, seed: int) -> Floats:
    """Return log W for every number of clusters.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
        Scaled variables.
    numbers : sequence of int
        Numbers of clusters, 1 among them or not.
    method : callable
        See `Partitioner`.
    seed : int
        Of the starts.
    """
    found = []
    for k in numbers:
        labels = np.zeros(len(rows), dtype=np.int64) if k == 1 else method(rows, k, seed)
        # rows on k points alone leave nothing within
        found.append(np.log(max(within_sum_of_squares(rows, labels), np.finfo(float).tiny)))
    return np.array(found)


def reference_within(
    rows: Floats, numbers: Sequence[int], method: Partitioner, *, seed: int
) -> Floats:
    """Return log W* of one reference set for every number of clusters.

    All numbers see the same set, so that chance moves the whole curve and not its bends.
    """
    generator = np.random.default_rng(seed)
    drawn = uniform_reference(rows, generator)
    return log_within(drawn, numbers, method, seed=int(generator.integers(0, 2**31 - 1)))


def gap_curve(observed: Floats, references: Floats) -> tuple[Floats, Floats]:
    """Return gap and s of every number of clusters.

    Parameters
    ----------
    observed : ndarray of shape (m,)
        log W.
    references : ndarray of shape (B, m)
        log W* of the reference sets.
    """
    b = len(references)
    spread = references.std(axis=0) * np.sqrt(1.0 + 1.0 / b)
    return references.mean(axis=0) - observed, spread


def gap_choice(numbers: Sequence[int], gap: Floats, std_error: Floats) -> int | None:
    """Return the smallest k with gap at k at least gap less s at k + 1; None if there is none."""
    for i in range(len(numbers) - 1):
        if gap[i] >= gap[i + 1] - std_error[i + 1]:
            return int(numbers[i])
    return None
