"""Fits, silhouettes, mixtures and bounded assignments against scikit-learn and linear programs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score, calinski_harabasz_score, silhouette_samples
from sklearn.mixture import GaussianMixture

from resilience.clustering.fits.algorithms import fit_clusters, fit_partition, partitioner
from resilience.clustering.fits.sizes import ClusterSizes
from resilience.stats.clusters import bounded
from resilience.stats.clusters.bounded import bounded_assignment
from resilience.stats.clusters.mixtures import Mixture
from resilience.stats.clusters.partitions import within_sum_of_squares
from resilience.stats.clusters.silhouettes import calinski_harabasz, silhouettes
from resilience.stats.clusters.transfers import single_transfers


def cloud(seed: int, n: int = 160, spread: float = 2.5) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.normal(scale=spread, size=(4, 3))
    return centres[generator.integers(0, 4, n)] + generator.normal(size=(n, 3))


@pytest.mark.parametrize("seed", range(5))
def test_k_means_is_scikit_learn_s(seed: int) -> None:
    rows = cloud(seed, spread=6.0)
    own = fit_clusters(rows, 4, n_init=20, seed=seed)
    theirs = KMeans(4, n_init=20, random_state=seed).fit(rows)
    assert adjusted_rand_score(own.labels, theirs.labels_) == 1.0
    # sums of 160 squares in another order
    assert own.within == pytest.approx(theirs.inertia_, rel=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_k_means_is_never_worse_where_groups_overlap(seed: int) -> None:
    rows = cloud(seed)
    theirs = KMeans(4, n_init=50, random_state=seed).fit(rows)
    assert fit_clusters(rows, 4, seed=seed).within <= theirs.inertia_ * (1 + 1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_no_single_transfer_gains_anything(seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(60, 3))
    start = np.random.default_rng(seed + 50).permutation(np.arange(60) % 4)
    labels = single_transfers(rows, start, 4)
    least = within_sum_of_squares(rows, labels)
    assert least < within_sum_of_squares(rows, start)
    assert set(labels) == {0, 1, 2, 3}
    for row in range(60):
        for other in range(4):
            moved = labels.copy()
            moved[row] = other
            assert within_sum_of_squares(rows, moved) >= least * (1 - 1e-9)


def test_two_seeds_agree_where_the_means_alone_do_not() -> None:
    rows = np.random.default_rng(3).normal(size=(177, 5))
    lloyd = {round(KMeans(4, n_init=50, random_state=s).fit(rows).inertia_, 3) for s in range(6)}
    own = {round(fit_clusters(rows, 4, seed=s).within, 3) for s in range(6)}
    assert len(own) <= 2 < len(lloyd)
    assert max(own) < np.mean(list(lloyd))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_tree_is_scikit_learn_s(k: int) -> None:
    rows = cloud(11)
    theirs = AgglomerativeClustering(k, linkage="ward").fit_predict(rows)
    assert adjusted_rand_score(fit_partition(rows, k, method="ward"), theirs) == 1.0


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_mixtures_are_scikit_learn_s(covariance: str) -> None:
    rows = cloud(3)
    own = fit_clusters(rows, 3, method="gmm", n_init=5, seed=2, covariance=covariance)
    theirs = GaussianMixture(
        3, covariance_type=covariance, n_init=5, random_state=2, max_iter=500
    ).fit(rows)
    assert adjusted_rand_score(own.labels, theirs.predict(rows)) == 1.0
    assert own.bic == pytest.approx(theirs.bic(rows), rel=1e-12)
    probabilities = own.mixture.memberships(rows)
    # the same densities from another factorisation
    np.testing.assert_allclose(
        np.sort(probabilities, axis=1), np.sort(theirs.predict_proba(rows), axis=1), atol=1e-8
    )


def test_an_incomplete_row_belongs_by_its_marginal_density() -> None:
    from scipy.stats import multivariate_normal

    generator = np.random.default_rng(5)
    roots = generator.normal(size=(2, 3, 3))
    mixture = Mixture(
        weights=np.array([0.3, 0.7]),
        means=generator.normal(size=(2, 3)),
        covariances=roots @ roots.transpose(0, 2, 1) + np.eye(3),
    )
    row = np.array([[0.4, np.nan, -1.0]])
    at = [0, 2]
    densities = [
        w * multivariate_normal(m[at], c[np.ix_(at, at)]).pdf(row[0, at])
        for w, m, c in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    ]
    np.testing.assert_allclose(
        mixture.memberships(row)[0], np.array(densities) / sum(densities), rtol=1e-12
    )
    assert np.isnan(mixture.memberships(np.full((1, 3), np.nan))).all()


@pytest.mark.parametrize("seed", range(3))
def test_silhouettes_are_scikit_learn_s(seed: int) -> None:
    rows = cloud(seed, n=1203)
    labels = fit_partition(rows, 4, n_init=2, seed=seed)
    labels[0] = 4  # a cluster of one school
    np.testing.assert_allclose(
        silhouettes(rows, labels), silhouette_samples(rows, labels), atol=1e-12
    )
    assert calinski_harabasz(rows, labels) == pytest.approx(
        calinski_harabasz_score(rows, labels), rel=1e-12
    )


def test_silhouettes_from_a_draw_are_those_of_all() -> None:
    rows = cloud(9, n=3000)
    labels = fit_partition(rows, 4, n_init=2)
    drawn = silhouettes(rows, labels, most_per_cluster=400)
    # A mean of 400 of 700 distances with an SD of about 1 has an error below .05 of distances of
    # about 2 to 5; the silhouette's is of that order divided by the larger distance.
    assert np.abs(drawn - silhouettes(rows, labels)).max() < 0.06
    assert abs(drawn.mean() - silhouettes(rows, labels).mean()) < 0.01


def least_cost(costs: np.ndarray, smallest: int, largest: int) -> float:
    """Return the optimum of the transport problem, whose vertices are whole numbers."""
    n, k = costs.shape
    rows = np.kron(np.eye(n), np.ones(k))
    columns = np.kron(np.ones(n), np.eye(k))
    found = linprog(
        costs.ravel(),
        A_eq=rows,
        b_eq=np.ones(n),
        A_ub=np.vstack([columns, -columns]),
        b_ub=np.r_[np.full(k, largest), np.full(k, -smallest)],
        bounds=(0, 1),
    )
    assert found.status == 0
    return float(found.fun)


@pytest.mark.parametrize("priced", [True, False])
@pytest.mark.parametrize("seed", range(40))
def test_bounded_assignments_cost_what_the_linear_program_costs(
    seed: int, priced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not priced:  # transfers alone must find the same optimum
        monkeypatch.setattr(bounded, "_prices", lambda costs, *_: np.zeros(costs.shape[1]))
    generator = np.random.default_rng(seed)
    n, k = int(generator.integers(4, 40)), int(generator.integers(1, 7))
    costs = generator.gamma(1.0, size=(n, k)) + generator.gamma(1.0, size=k)
    if seed % 4 == 0:
        costs = np.round(costs)  # ties
    smallest = int(generator.integers(0, n // k + 1))
    largest = int(generator.integers(-(-n // k), n + 1))
    labels = bounded_assignment(costs, smallest, largest)
    counts = np.bincount(labels, minlength=k)
    assert counts.sum() == n
    assert counts.min() >= smallest
    assert counts.max() <= largest
    own = costs[np.arange(n), labels].sum()
    assert own == pytest.approx(least_cost(costs, smallest, largest), abs=1e-7)  # HiGHS' tolerance


def test_bounded_clusters_keep_their_bounds_and_lose_little() -> None:
    generator = np.random.default_rng(1)
    small, large = generator.normal(size=(6, 2)) + 6.0, generator.normal(size=(94, 2))
    rows = np.vstack([small, large])
    free = fit_clusters(rows, 2, seed=0)
    assert np.bincount(free.labels).tolist() == [94, 6]
    bounded = fit_clusters(rows, 2, seed=0, sizes=ClusterSizes(smallest=20))
    assert np.bincount(bounded.labels).min() == 20
    assert bounded.within > free.within
    capped = fit_clusters(rows, 3, seed=0, sizes=ClusterSizes(smallest=30, largest=35))
    assert set(np.bincount(capped.labels)) <= set(range(30, 36))


def test_bounds_that_do_not_bind_change_nothing() -> None:
    rows = cloud(4)
    free = fit_clusters(rows, 4, seed=0)
    bounded = fit_clusters(rows, 4, seed=0, sizes=ClusterSizes(smallest=1))
    assert bounded.within == pytest.approx(free.within, rel=1e-10)


def test_partitioners_travel_and_survive_poor_resamples() -> None:
    rows = np.repeat(cloud(2, n=3), 5, axis=0)
    for method in ("kmeans", "ward", "gmm"):
        own = pickle.loads(pickle.dumps(partitioner(method, n_init=2)))
        assert len(np.unique(own(rows, 3, 7))) == 3
        assert len(np.unique(own(rows[:10], 4, 7))) == 2
    bounded = partitioner(sizes=ClusterSizes(smallest=40))
    assert np.bincount(bounded(cloud(2, n=60), 4, 1)).tolist() == [15, 15, 15, 15]


def test_row_order_and_seed_change_no_well_separated_partition() -> None:
    rows = cloud(6, spread=6.0)
    order = np.random.default_rng(0).permutation(len(rows))
    for method in ("kmeans", "ward", "gmm"):
        one = fit_partition(rows, 4, method=method, seed=1)
        other = fit_partition(rows[order], 4, method=method, seed=2)
        assert adjusted_rand_score(one[order], other) == 1.0
        np.testing.assert_array_equal(one, fit_partition(rows, 4, method=method, seed=1))
        assert (np.diff(np.bincount(one)) <= 0).all()  # larger clusters first
