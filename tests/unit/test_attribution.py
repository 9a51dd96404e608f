"""Attribution of lists to choices: the hand case, laws, and a direct enumeration."""

import itertools
import math

import numpy as np
import pytest

from resilience.errors import DataError, SpecificationError
from resilience.stats.lists.attribution import attribute, factor_pairs, jaccard, list_shares

EXACT = 1e-12  # sums of a few thousand numbers of order 1


def enumerated(membership, weights):
    """Return Shapley values, main and total effects by their definitions, one order at a time."""
    levels = membership.shape[:-1]
    K = len(levels)
    cells = list(itertools.product(*map(range, levels)))
    pi = {c: math.prod(weights[k][c[k]] for k in range(K)) for c in cells}

    def v(A):
        total = 0.0
        for s in range(membership.shape[-1]):
            mean, weight = {}, {}
            for c in cells:
                key = tuple(c[k] for k in sorted(A))
                mean[key] = mean.get(key, 0.0) + pi[c] * membership[c][s]
                weight[key] = weight.get(key, 0.0) + pi[c]
            p = sum(mean.values())
            total += sum(weight[k] * (mean[k] / weight[k] - p) ** 2 for k in mean)
        return total

    everything = frozenset(range(K))
    shapley = np.zeros(K)
    for order in itertools.permutations(range(K)):
        for at, factor in enumerate(order):
            shapley[factor] += v(frozenset(order[: at + 1])) - v(frozenset(order[:at]))
    shapley /= math.factorial(K)
    main = [v(frozenset([k])) for k in range(K)]
    total = [v(everything) - v(everything - {k}) for k in range(K)]
    return shapley, np.array(main), np.array(total), v(everything)


def test_hand_case_of_two_binary_choices():
    """One school, listed in one cell of four: p = 1/4, V = 3/16, main effects 1/16 each."""
    cells = np.zeros((2, 2, 1))
    cells[1, 1, 0] = 1.0
    found = attribute(cells)
    np.testing.assert_allclose(found.main.sum(axis=1), [0.0625, 0.0625], atol=EXACT)
    assert found.total_variance == pytest.approx(0.1875, abs=EXACT)
    np.testing.assert_allclose(found.shapley.sum(axis=1), [0.09375, 0.09375], atol=EXACT)
    np.testing.assert_allclose(found.total.sum(axis=1), [0.125, 0.125], atol=EXACT)
    np.testing.assert_allclose(found.shapley_share, [0.5, 0.5], atol=EXACT)


def test_against_enumeration_with_weights():
    rng = np.random.default_rng(3)
    cells = (rng.uniform(size=(2, 3, 2, 5)) < 0.4).astype(float)
    weights = [np.array([0.3, 0.7]), np.array([0.2, 0.5, 0.3]), np.array([0.5, 0.5])]
    shapley, main, total, variance = enumerated(cells, weights)
    # weights of levels need not add up to 1
    found = attribute(cells, [2.0 * weights[0], weights[1], 7.0 * weights[2]])
    np.testing.assert_allclose(found.shapley.sum(axis=1), shapley, atol=EXACT)
    np.testing.assert_allclose(found.main.sum(axis=1), main, atol=EXACT)
    np.testing.assert_allclose(found.total.sum(axis=1), total, atol=EXACT)
    assert found.total_variance == pytest.approx(variance, abs=EXACT)


def test_shares_add_up_and_an_idle_choice_gets_nothing():
    rng = np.random.default_rng(4)
    inner = (rng.uniform(size=(3, 2, 4, 60)) < 0.3).astype(float)
    cells = np.repeat(inner[:, :, None], 3, axis=2)  # the third choice changes no list
    found = attribute(cells)
    assert found.shapley_share.sum() == pytest.approx(1.0, abs=EXACT)
    for shares in (found.shapley_share, found.main_share, found.total_share):
        assert shares[2] == pytest.approx(0.0, abs=EXACT)
    assert (found.main_share <= found.shapley_share + EXACT).all()
    assert (found.shapley_share <= found.total_share + EXACT).all()
    np.testing.assert_allclose(
        np.delete(found.shapley_share, 2), attribute(inner).shapley_share, atol=EXACT
    )


def test_a_duplicated_level_with_halved_weights_changes_nothing():
    rng = np.random.default_rng(5)
    cells = (rng.uniform(size=(2, 3, 40)) < 0.5).astype(float)
    doubled = np.concatenate([cells, cells[:, 1:2]], axis=1)
    weights = [np.ones(2), np.array([1.0, 0.5, 1.0, 0.5])]
    first, second = attribute(cells), attribute(doubled, weights)
    np.testing.assert_allclose(first.shapley_share, second.shapley_share, atol=EXACT)
    np.testing.assert_allclose(first.total_share, second.total_share, atol=EXACT)
    share = list_shares(cells.reshape(6, -1))[0]
    pi = np.outer(*weights).ravel()
    np.testing.assert_allclose(share, list_shares(doubled.reshape(8, -1), pi)[0], atol=EXACT)
    # without the weights the copy buys a vote
    assert not np.allclose(share, list_shares(doubled.reshape(8, -1))[0])


def test_blocks_of_schools_change_nothing(monkeypatch):
    rng = np.random.default_rng(6)
    cells = (rng.uniform(size=(2, 2, 3, 101)) < 0.3).astype(float)
    whole = attribute(cells)
    monkeypatch.setattr("resilience.stats.lists.attribution._CELLS_PER_BLOCK", 70)
    parts = attribute(cells)
    np.testing.assert_allclose(whole.shapley, parts.shapley, atol=EXACT)
    assert whole.intervals(random_state=2)[0] == pytest.approx(
        parts.intervals(random_state=2)[0], abs=EXACT
    )


def test_unknown_counts_as_not_listed_with_its_share():
    cells = np.array([[[1.0, np.nan]], [[0.0, 1.0]]])
    filled = np.nan_to_num(cells)
    found = attribute(cells, [np.array([3.0, 1.0]), np.ones(1)])
    expected = attribute(filled, [np.array([3.0, 1.0]), np.ones(1)])
    np.testing.assert_array_equal(found.shapley, expected.shapley)
    assert found.unknown_share == pytest.approx(0.75 / 2, abs=EXACT)


def test_no_variance_gives_a_reason():
    for value in (0.0, 1.0):
        found = attribute(np.full((2, 3, 4), value))
        assert np.isnan(found.shapley_share).all()
        assert found.reason is not None
        assert "no choice moves the list" in found.reason
        assert np.isnan(found.intervals()[0]).all()
    assert attribute(np.eye(2)[:, :, None]).reason is None


def test_intervals_cover_resampled_regions():
    """A region is a sample of schools from a population whose share is known.

    Three kinds of schools, listed by the first choice, by the second, or by both together.  Half
    width of 4 Monte-Carlo standard errors around .95 for 300 regions: ± .05.
    """
    kinds = np.zeros((2, 2, 3))
    kinds[1, :, 0] = 1.0
    kinds[:, 1, 1] = 1.0
    kinds[1, 1, 2] = 1.0
    chance = np.array([0.5, 0.2, 0.3])
    whole = attribute(kinds)
    truth = (whole.shapley @ chance) / (whole.variance @ chance)
    rng = np.random.default_rng(8)
    inside = []
    for region in range(300):
        cells = kinds[..., rng.choice(3, p=chance, size=120)]
        low, high = attribute(cells).intervals(n_replicates=400, random_state=region)
        inside.append(low[0] <= truth[0] <= high[0])
    assert abs(np.mean(inside) - 0.95) < 0.05


def test_intervals_are_reproducible_and_ordered():
    rng = np.random.default_rng(9)
    cells = (rng.uniform(size=(3, 2, 50)) < 0.4).astype(float)
    found = attribute(cells)
    low, high = found.intervals(random_state=1)
    again = found.intervals(random_state=1)
    np.testing.assert_array_equal(low, again[0])
    assert (low <= found.shapley_share).all()
    assert (found.shapley_share <= high).all()
    assert (found.intervals(level=0.5, random_state=1)[0] >= low).all()


def test_jaccard_by_hand():
    lists = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]], dtype=bool)
    expected = [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(jaccard(lists), expected, atol=EXACT)
    np.testing.assert_allclose(jaccard(lists[:1], lists[1:]), [[1 / 3, 0]], atol=EXACT)


def test_pairs_that_differ_in_one_choice():
    codes = np.array(list(itertools.product(range(3), range(2))))
    first, second = factor_pairs(codes, 0)
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    assert pairs == {(0, 2), (0, 4), (2, 4), (1, 3), (1, 5), (3, 5)}
    first, second = factor_pairs(codes, 1)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == {(0, 1), (2, 3), (4, 5)}
    # a grid with a hole, and a single choice
    first, second = factor_pairs(np.delete(codes, 1, axis=0), 1)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == {(1, 2), (3, 4)}
    assert len(factor_pairs(np.arange(4)[:, None], 0)[0]) == 6


def test_shares_of_lists_by_hand():
    nan = np.nan
    membership = np.array([[1, 1, 0, nan], [1, nan, 0, nan], [0, nan, 0, nan]])
    share, unknown = list_shares(membership)
    np.testing.assert_allclose(share, [2 / 3, 1.0, 0.0, nan], atol=EXACT)
    np.testing.assert_allclose(unknown, [0, 2 / 3, 0, 1], atol=EXACT)
    share, unknown = list_shares(membership, np.array([1.0, 0.0, 1.0]))
    np.testing.assert_allclose(share, [0.5, 1.0, 0.0, nan], atol=EXACT)
    np.testing.assert_allclose(unknown, [0, 0.5, 0, 1], atol=EXACT)


def test_bad_input_is_named():
    with pytest.raises(DataError, match=r"seen 2.0 \(1 such"):
        attribute(np.array([[1.0, 2.0], [0.0, np.nan]]))
    with pytest.raises(SpecificationError, match="9 choices"):
        attribute(np.zeros((1,) * 9 + (3,)))
    with pytest.raises(SpecificationError, match="5041 specifications"):
        attribute(np.zeros((71, 71, 1)))
    cells = np.zeros((2, 2, 1))
    for wrong in ([np.ones(2)], [np.ones(2), np.ones(3)], [np.ones(2), np.array([1.0, -1.0])]):
        with pytest.raises(SpecificationError, match=r"levels \(2, 2\)|\(2, 2\) levels"):
            attribute(cells, wrong)
    for wrong in (np.ones(3), np.zeros(2), np.array([1.0, -1.0])):
        with pytest.raises(SpecificationError, match="2 numbers"):
            list_shares(np.zeros((2, 3)), wrong)
    cells[0, 0, 0] = 1.0
    with pytest.raises(SpecificationError, match=r"seen 1\.5"):
        attribute(cells).intervals(level=1.5)
    with pytest.raises(SpecificationError, match="seen 0"):
        attribute(cells).intervals(n_replicates=0)
