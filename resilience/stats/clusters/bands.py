"""Ordered groups cut at quantiles of pupils, with the probability of every group."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from resilience.stats.clusters.partitions import Codes, Floats

__all__ = ["band_probabilities", "bands_of", "clustered_regression", "pupil_cuts"]


def clustered_regression(
    design: Floats, outcome: Floats, weights: Floats, cluster: Codes
) -> tuple[Floats, Floats]:
    r"""Return weighted least squares and the covariance of its coefficients, clustered.

    .. math:: (X'WX)^{-1} \Big(\sum_c s_c s_c'\Big) (X'WX)^{-1} \frac{C}{C - 1}, \qquad
              s_c = \sum_{i \in c} w_i x_i e_i

    Parameters
    ----------
    design : ndarray of shape (n, P)
        Columns, the constant among them.
    outcome, weights : ndarray of shape (n,)
        Results, and what they weigh.
    cluster : ndarray of shape (n,)
        Code of the school: its years do not err independently.

    References
    ----------
    LiangZeger1986.
    """
    scaled = design * weights[:, None]
    bread = np.linalg.pinv(design.T @ scaled)
    coefficients = bread @ (scaled.T @ outcome)
    errors = outcome - design @ coefficients
    n_clusters = int(cluster.max()) + 1
    scores = np.zeros((n_clusters, design.shape[1]))
    np.add.at(scores, cluster, scaled * errors[:, None])
    meat = scores.T @ scores * (n_clusters / max(n_clusters - 1, 1))
    return np.asarray(coefficients), np.asarray(bread @ meat @ bread)


def pupil_cuts(expected: Floats, pupils: Floats, n_bands: int) -> Floats:
    """Return the borders that part the pupils of the schools into equal groups.

    Every border lies midway between the two schools it parts: after the school at which the share
    of pupils comes nearest to q / n_bands.  Schools of equal expectation stay together.

    Parameters
    ----------
    expected : ndarray of shape (S,)
        Expected results.
    pupils : ndarray of shape (S,)
        Pupils, above 0.
    n_bands : int
        Groups.

    Returns
    -------
    ndarray of shape (n_bands - 1,)
        Ascending.
    """
    values, place = np.unique(expected, return_inverse=True)
    mass = np.bincount(place, weights=pupils)
    share = np.cumsum(mass) / mass.sum()
    cuts = []
    for q in range(1, n_bands):
        at = int(np.argmin(np.abs(share[:-1] - q / n_bands)))
        cuts.append((values[at] + values[at + 1]) / 2.0)
    return np.array(cuts)


def bands_of(expected: Floats, cuts: Floats) -> Codes:
    """Return the band of every school, from 1 = lowest."""
    return np.searchsorted(cuts, expected, side="right").astype(np.int64) + 1


def band_probabilities(expected: Floats, std_error: Floats, cuts: Floats) -> Floats:
    r"""Return the probability of every band.

    .. math:: P(b) = \Phi\{(c_b - E)/s\} - \Phi\{(c_{b-1} - E)/s\}

    Parameters
    ----------
    expected, std_error : ndarray of shape (S,)
        Expected results and their errors; an error of 0 is a certainty.
    cuts : ndarray of shape (B - 1,)
        Borders, taken as known.

    Returns
    -------
    ndarray of shape (S, B)
        Rows sum to 1.
    """
    gap = cuts[None, :] - expected[:, None]
    sure = std_error[:, None] == 0.0
    scaled = np.divide(gap, std_error[:, None], out=np.zeros_like(gap), where=~sure)
    below = np.where(sure, (gap > 0).astype(float), ndtr(scaled))
    edges = np.column_stack([np.zeros(len(expected)), below, np.ones(len(expected))])
    return np.asarray(np.diff(edges, axis=1))
