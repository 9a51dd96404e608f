"""Fisher's iris data, unscaled: the partitions that R's kmeans, hclust and mclust print.

Sources: `kmeans(iris[1:4], k, nstart=50)$tot.withinss`, `cluster::silhouette`,
`fpc::calinhara` and `hclust(dist(x), "ward.D2")` of R 4; `mclust::Mclust` (its BIC has the opposite
sign).  Calinski and Harabasz, silhouettes and sums of squares to the printed digits.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris

from resilience.clustering.fits.algorithms import fit_clusters
from resilience.stats.clusters.silhouettes import calinski_harabasz, silhouettes

IRIS = np.asarray(load_iris().data, dtype=np.float64)

WITHIN = {1: 681.371, 2: 152.348, 3: 78.851, 4: 57.228, 5: 46.446}
SILHOUETTE = {2: 0.681, 3: 0.553, 4: 0.498, 5: 0.489}
CALINSKI = {2: 513.9, 3: 561.6, 4: 530.8, 5: 495.5}


@pytest.mark.parametrize("k", WITHIN)
def test_sums_of_squares(k: int) -> None:
    found = fit_clusters(IRIS, k, seed=1)
    # half a unit of the last printed digit
    assert found.within == pytest.approx(WITHIN[k], abs=0.0006)


@pytest.mark.parametrize("k", SILHOUETTE)
def test_silhouettes_and_ratios_of_variation(k: int) -> None:
    labels = fit_clusters(IRIS, k, seed=1).labels
    assert silhouettes(IRIS, labels).mean() == pytest.approx(SILHOUETTE[k], abs=0.0006)
    assert calinski_harabasz(IRIS, labels) == pytest.approx(CALINSKI[k], abs=0.06)


def test_sizes_of_ward_s_tree() -> None:
    labels = fit_clusters(IRIS, 3, method="ward").labels
    assert np.bincount(labels).tolist() == [64, 50, 36]


def test_bic_of_mixtures() -> None:
    # mclust's VVV,2 is -574.02; the floor added to covariances moves BIC by less than .02
    assert fit_clusters(IRIS, 2, method="gmm", seed=1).bic == pytest.approx(574.02, abs=0.02)
    assert fit_clusters(IRIS, 3, method="gmm", seed=1).bic == pytest.approx(580.85, abs=0.02)


def test_sizes_of_three_and_four_clusters() -> None:
    # fpc 2.2-10, kmeansCBI with ten starts
    assert np.bincount(fit_clusters(IRIS, 3, seed=1).labels).tolist() == [62, 50, 38]
    assert np.bincount(fit_clusters(IRIS, 4, seed=1).labels).tolist() == [50, 40, 32, 28]
