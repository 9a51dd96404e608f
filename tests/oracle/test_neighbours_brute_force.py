"""Lists of neighbours against a search over all pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import resilience as rs
from resilience.clustering.neighbours.metrics import mahalanobis_rows
from resilience.clustering.neighbours.model import StatisticalNeighbours
from resilience.clustering.neighbours.overlap import neighbour_overlap

CONDITIONS = rs.Conditions(
    continuous={"n_pupils": "log", "remoteness_km": "linear"},
    shares=["low_income"],
    nominal=["school_type"],
    weights={"low_income": 2.0},
)


def region(n: int = 80, seed: int = 6) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "school_id": [f"S{i:03d}" for i in generator.permutation(n)],
            "n_pupils": generator.integers(40, 900, size=n),
            "remoteness_km": generator.normal(30, 10, size=n),
            "low_income": generator.beta(2, 5, size=n),
            "school_type": generator.choice(["СОШ", "ООШ"], size=n),
            "is_rural": generator.random(n) < 0.5,
            "entity": np.arange(n) // 3,
            "mean_score": generator.normal(size=n),
        }
    )


def brute_force(
    distance: np.ndarray, ids: np.ndarray, allowed: np.ndarray, most: int, caliper: float
) -> dict[str, list[str]]:
    lists = {}
    for i, own in enumerate(ids):
        pairs = sorted((round(distance[i, j], 10), ids[j]) for j in np.flatnonzero(allowed[i]))
        near = [name for d, name in pairs[:most] if d <= caliper]
        lists[own] = near
    return lists


@pytest.mark.parametrize("metric", ["equal", "mahalanobis"])
def test_lists_are_those_of_all_pairs(metric: str) -> None:
    schools = region()
    model = StatisticalNeighbours(
        CONDITIONS,
        metric=metric,  # type: ignore[arg-type]  # one of the metrics
        caliper=0.9,
        minimum=1,
        n_neighbours=7,
        exact_on=["is_rural"],
        same_entity="entity",
    )
    found = model.fit(schools)
    z, ids = found.scaled.z, schools["school_id"].to_numpy()
    if metric == "equal":
        share = {"n_pupils": 0.2, "remoteness_km": 0.2, "low_income": 0.4, "school_type": 0.2}
        columns = np.array([share[block] for block in found.scaled.blocks])
        squared = ((z[:, None, :] - z[None, :, :]) ** 2 * columns).sum(axis=2)
    else:
        precision = np.linalg.inv(np.cov(z, rowvar=False, bias=True) + 0.05 * np.eye(z.shape[1]))
        gap = z[:, None, :] - z[None, :, :]
        squared = np.einsum("ijp,pq,ijq->ij", gap, precision, gap) / z.shape[1]
    rural, entity = schools["is_rural"].to_numpy(), schools["entity"].to_numpy()
    allowed = (rural[:, None] == rural) & (entity[:, None] != entity)
    wanted = brute_force(np.sqrt(squared), ids, allowed, 7, 0.9)
    got = found.neighbours.groupby("school_id")["neighbour_id"].apply(list).to_dict()
    assert got == {school: near for school, near in wanted.items() if near}
    row, column = (
        np.searchsorted(np.sort(ids), found.neighbours[c]) for c in ("school_id", "neighbour_id")
    )
    order = np.argsort(ids)
    exact = np.sqrt(squared)[order[row], order[column]]
    assert found.neighbours["distance"].to_numpy() == pytest.approx(exact, abs=1e-9)
    reciprocal = {
        school: np.mean([school in got.get(other, []) for other in near])
        for school, near in got.items()
    }
    quality = found.quality.set_index("school_id")
    for school, share_back in reciprocal.items():
        assert quality.loc[school, "share_reciprocal"] == pytest.approx(share_back)
    times = found.neighbours["neighbour_id"].value_counts()
    assert quality["n_times_neighbour"].sum() == times.sum()


def test_quality_by_hand() -> None:
    schools = region()
    found = StatisticalNeighbours(CONDITIONS, caliper=None, n_neighbours=5).fit(schools)
    school = schools["school_id"].iloc[3]
    near = found.neighbours[found.neighbours["school_id"] == school]["neighbour_id"]
    position = schools.set_index("school_id").index.get_indexer([school, *near])
    gaps = np.abs(found.scaled.z[position[0]] - found.scaled.z[position[1:]].mean(axis=0))
    row = found.quality.set_index("school_id").loc[school]
    assert row["imbalance_max"] == pytest.approx(gaps.max())
    assert row["imbalance_variable"] == found.scaled.columns[int(gaps.argmax())]
    assert found.neighbours.groupby("school_id")["weight"].sum().to_numpy() == pytest.approx(
        np.ones(80)
    )


def test_gaps_are_compared_by_what_is_known() -> None:
    schools = region()
    schools.loc[2, "low_income"] = np.nan
    with pytest.warns(rs.WeakDataWarning, match="placed afterwards"):
        found = StatisticalNeighbours(CONDITIONS, caliper=None, n_neighbours=6).fit(schools)
    ids = schools["school_id"].to_numpy()
    z = found.scaled.z
    known = [i for i, block in enumerate(found.scaled.blocks) if block != "low_income"]
    # the remaining three variables share the weight alike
    squared = ((z[:, known] - z[2, known]) ** 2).sum(axis=1) / 3.0
    order = sorted((round(np.sqrt(squared[j]), 10), ids[j]) for j in range(80) if j != 2)
    near = found.neighbours[found.neighbours["school_id"] == ids[2]]
    assert near["neighbour_id"].tolist() == [name for _, name in order[:6]]
    assert near["distance"].to_numpy() == pytest.approx([d for d, _ in order[:6]], abs=1e-9)
    assert ids[2] not in set(found.neighbours["neighbour_id"])
    assert found.quality.set_index("school_id").loc[ids[2], "placed"]


def test_overlap_is_whole_without_noise() -> None:
    schools = region().drop(columns="low_income")
    conditions = rs.Conditions(continuous={"n_pupils": "log", "remoteness_km": "linear"})
    found = StatisticalNeighbours(conditions, n_neighbours=6, caliper=None).fit(schools)
    overlap = neighbour_overlap(found, n_resamples=5, weight_noise=0.0, random_state=1)
    assert (overlap.schools["overlap_stability"] == 1.0).all()
    assert (overlap.neighbours["retention"] == 1.0).all()
    assert overlap.schools["chance_level"].iloc[0] == pytest.approx(6 / 79)
    noisy = neighbour_overlap(found, n_resamples=20, random_state=1)
    assert 0.3 < noisy.schools["overlap_stability"].mean() < 1.0


@pytest.mark.parametrize(("k", "expected"), [(4, 19.4), (6, 9.5), (8, 4.9), (12, 1.4)])
def test_the_expected_number_within_the_caliper(k: int, expected: float) -> None:
    # 177 schools, caliper .75: S·F of chi-square with K degrees of freedom at K·.75²/2
    assert 177 * chi2.cdf(k * 0.75**2 / 2, k) == pytest.approx(expected, abs=0.06)
    generator = np.random.default_rng(k)
    counts = []
    for _ in range(30):
        rows = generator.standard_normal((177, k))
        squared = ((rows[:, None, :] - rows[None, :, :]) ** 2).mean(axis=2)
        counts.append(((squared <= 0.75**2).sum() - 177) / 177)
    # thirty regions: a standard error of about 2 % of the mean count; no school meets itself
    assert np.mean(counts) == pytest.approx(expected * 176 / 177, rel=0.08)


def test_mahalanobis_keeps_the_unit() -> None:
    rows = np.random.default_rng(3).standard_normal((4000, 3)) @ np.array(
        [[1.0, 0.8, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 1.0]]
    )
    turned = mahalanobis_rows(rows, np.ones(4000, dtype=bool))
    first, second = turned[:2000], turned[2000:]
    # two random schools differ by 2; the ridge takes 5 to 20 % off
    assert ((first - second) ** 2).sum(axis=1).mean() == pytest.approx(1.8, abs=0.1)
