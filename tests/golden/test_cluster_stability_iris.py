"""Jaccard coefficients of clusters on iris: fpc 2.2-10 `clusterboot`, ten starts, many samples."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.clustering.fits.algorithms import fit_partition, partitioner
from resilience.clustering.stability.replicates import resample_partition

B = 60
# size of the cluster -> mean coefficient, SD of the coefficient over resamples
PUBLISHED = {
    2: {53: (0.995, 0.015), 97: (0.997, 0.008)},
    3: {38: (0.95, 0.11), 50: (1.00, 0.00), 62: (0.96, 0.10)},
    4: {28: (0.93, 0.09), 32: (0.83, 0.19), 40: (0.85, 0.16), 50: (1.00, 0.00)},
}


@pytest.mark.parametrize("k", [2, 3, 4])
def test_every_cluster_comes_back_as_often_as_published(k: int) -> None:
    from sklearn.datasets import load_iris

    iris = np.asarray(load_iris().data)
    labels = fit_partition(iris, k, seed=0)
    found = resample_partition(
        iris,
        labels,
        partitioner("kmeans", n_init=10),
        n_resamples=B,
        scheme="bootstrap",
        random_state=4,
    )
    for cluster, size in enumerate(np.bincount(labels)):
        mean, spread = PUBLISHED[k][int(size)]
        # three standard errors of B resamples, and the rounding of what was published
        assert found.jaccard[:, cluster].mean() == pytest.approx(
            mean, abs=3 * spread / np.sqrt(B) + 0.01
        )
