"""Profiles, results by cluster, municipalities and settlements against slow direct computation."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from scipy.cluster.hierarchy import fcluster, linkage

import resilience as rs
from resilience.clustering.clusters.model import ClusterModel
from resilience.clustering.clusters.results import ClusterResults
from resilience.clustering.conditions.specification import Conditions
from resilience.clustering.municipal.choice import cut_municipalities
from resilience.clustering.municipal.features import Features, municipal_units
from resilience.clustering.municipal.model import MunicipalClusters
from resilience.clustering.profiles.municipalities import clusters_by_municipality
from resilience.clustering.profiles.outcomes import cluster_outcomes
from resilience.clustering.profiles.settlements import settlement_mix
from resilience.stats.clusters.areas import (
    AreaUnits,
    area_means,
    area_shares,
    area_spread,
    cluster_agreement,
    hellinger_rows,
    ward_cuts,
)
from resilience.stats.clusters.effect_sizes import adjusted_eta_squared, eta_squared


@pytest.fixture(scope="module")
def schools() -> pd.DataFrame:
    return rs.load_dataset("north_region").schools.query("year == 2025").reset_index(drop=True)


@pytest.fixture(scope="module")
def clusters(schools: pd.DataFrame) -> ClusterResults:
    conditions = Conditions(
        continuous=["n_pupils", "remoteness_km"], shares=["both_parents_higher_edu", "low_income"]
    )
    return ClusterModel(conditions, n_clusters=4).fit(schools)


def joined(clusters: ClusterResults, schools: pd.DataFrame) -> pd.DataFrame:
    return clusters.schools[["school_id", "cluster"]].merge(schools, on="school_id")


def test_profiles_by_pandas(clusters: ClusterResults, schools: pd.DataFrame) -> None:
    table, frame = clusters.profiles.set_index(["cluster", "term"]), joined(clusters, schools)
    for term in ("n_pupils", "remoteness_km", "both_parents_higher_edu", "low_income"):
        fit = smf.ols(f"{term} ~ C(cluster)", frame.astype({"cluster": int})).fit()
        for cluster, rows in frame.groupby("cluster"):
            own = table.loc[(cluster, term)]
            gap = rows[term].mean() - frame[term].mean()
            # rounding of sums alone
            assert own["mean"] == pytest.approx(rows[term].mean(), rel=1e-10)
            assert own["standardized_difference"] == pytest.approx(
                gap / frame[term].std(ddof=0), rel=1e-9
            )
            assert own["eta_squared"] == pytest.approx(fit.rsquared, rel=1e-9)
            assert own["share_rural"] == pytest.approx(rows["is_rural"].mean())
            assert own["n_pupils"] == rows["n_pupils"].sum()


def test_results_by_cluster_against_a_regression(
    clusters: ClusterResults, schools: pd.DataFrame
) -> None:
    found = cluster_outcomes(clusters, schools, column="mean_score", level=0.9)
    frame = joined(clusters, schools).astype({"cluster": int})
    fit = smf.ols("mean_score ~ C(cluster)", frame).fit()
    assert found.eta_squared == pytest.approx(fit.rsquared, rel=1e-9)
    assert found.eta_squared_adjusted == pytest.approx(fit.rsquared_adj, rel=1e-9)
    for row, (_, own) in zip(
        found.clusters.to_dict("records"), frame.groupby("cluster"), strict=True
    ):
        y = own["mean_score"]
        low, high = stats.t.interval(0.9, len(y) - 1, y.mean(), stats.sem(y))
        assert (row["conf_low"], row["conf_high"]) == pytest.approx((low, high), rel=1e-9)
        assert row["sd_within"] == pytest.approx(y.std(), rel=1e-9)
        assert row["share_above_mean"] == pytest.approx((y > frame["mean_score"].mean()).mean())
        assert np.isnan(row["sd_true"])


def test_results_within_strata_against_two_regressions(schools: pd.DataFrame) -> None:
    conditions = Conditions(shares=["both_parents_higher_edu", "low_income"])
    parted = ClusterModel(conditions, n_clusters=2, strata=["is_rural"]).fit(schools)
    found = cluster_outcomes(parted, schools, column="mean_score")
    frame = joined(parted, schools).astype({"cluster": int, "is_rural": int})
    small = smf.ols("mean_score ~ is_rural", frame).fit()
    large = smf.ols("mean_score ~ C(cluster)", frame).fit()
    assert found.eta_squared_strata == pytest.approx(1 - large.ssr / small.ssr, rel=1e-9)
    assert found.eta_squared == pytest.approx(large.rsquared, rel=1e-9)


def test_a_shrunken_effect_is_taken_before_shrinkage(clusters: ClusterResults) -> None:
    rng = np.random.default_rng(5)
    ids = clusters.schools["school_id"]
    raw, trust, variance = rng.normal(size=len(ids)), rng.uniform(0.2, 0.9, len(ids)), 0.3
    effects = pd.DataFrame(
        {
            "school_id": ids,
            "effect": raw * trust,
            "reliability": trust,
            "conditional_sd": np.sqrt(variance * (1 - trust)),
        }
    )
    found = cluster_outcomes(clusters, effects, column="effect")
    values = found.schools.set_index("school_id")["outcome_value"].loc[ids].to_numpy()
    assert values == pytest.approx(raw, rel=1e-9)
    labels = clusters.schools["cluster"].to_numpy(dtype=int)
    for row in found.clusters.to_dict("records"):
        own = labels == row["cluster"]
        noise = (variance * (1 - trust) / trust)[own].mean()
        expected = np.sqrt(max(raw[own].var(ddof=1) - noise, 0.0))
        assert row["sd_true"] == pytest.approx(expected, rel=1e-9)


def test_eta_of_one_group_and_of_constants() -> None:
    x = np.array([1.0, 2.0, 3.0])
    assert eta_squared(x, np.zeros(3, dtype=np.int64), 1) == 0.0
    assert np.isnan(eta_squared(np.full(3, 0.1), np.array([0, 1, 1]), 2))
    assert np.isnan(adjusted_eta_squared(0.5, 3, 3))


def test_municipalities_by_cross_tabulation(
    clusters: ClusterResults, schools: pd.DataFrame
) -> None:
    found, frame = clusters_by_municipality(clusters), joined(clusters, schools)
    counts = pd.crosstab(frame["municipality_id"], frame["cluster"])
    assert (found.wide().to_numpy() == counts.to_numpy()).all()
    pupils = frame.pivot_table(
        index="municipality_id", columns="cluster", values="n_pupils", aggfunc="sum", fill_value=0
    )
    shares = pupils.div(pupils.sum(axis=1), axis=0)
    assert found.wide("share_pupils").to_numpy() == pytest.approx(shares.to_numpy())
    places = found.municipalities.set_index("municipality_id")
    p = counts.div(counts.sum(axis=1), axis=0)
    assert places["n_clusters_effective"].to_numpy() == pytest.approx(
        [np.exp(stats.entropy(row)) for row in p.to_numpy()]
    )
    assert (places["main_cluster_share"].to_numpy() == p.max(axis=1).to_numpy()).all()


def test_settlements_by_cross_tabulation(clusters: ClusterResults, schools: pd.DataFrame) -> None:
    mix, frame = settlement_mix(clusters, n_redraws=0), joined(clusters, schools)
    counts = pd.crosstab([frame["is_rural"], frame["is_small"]], frame["cluster"])
    own = mix.table["n_schools"].to_numpy().reshape(counts.shape)
    assert (own == counts.to_numpy()).all()
    assert mix.cramers_v == pytest.approx(
        stats.contingency.association(counts.to_numpy(), method="cramer")
    )
    expected = stats.contingency.expected_freq(counts.to_numpy())
    assert mix.table["expected_schools"].to_numpy() == pytest.approx(expected.ravel())
    pure = counts.columns[counts.max() / counts.sum() >= 0.8]
    outside = sum(int(counts[c].sum() - counts[c].max()) for c in pure)
    assert int(mix.schools["out_of_place"].sum()) == outside
    assert mix.kinds["kept_when_redrawn"].isna().all()


def test_features_of_areas_by_loops() -> None:
    rng = np.random.default_rng(3)
    areas = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    weights, values = rng.uniform(50, 500, 9), rng.normal(size=(9, 2))
    values[1, 0] = np.nan
    units = AreaUnits(areas=areas, weights=weights, n_areas=3)
    rows = np.array([0, 0, 1, 3, 4, 5, 6, 6, 8])
    means, spread = area_means(units, values, rows), area_spread(units, values[:, 1], rows)
    codes = np.array([0, 1, -1, 0, 0, 1, 1, 0, 1])
    shares = area_shares(units, codes, 2, rows)
    for area in range(3):
        own = [r for r in rows if areas[r] == area]
        for j in range(2):
            known = [r for r in own if np.isfinite(values[r, j])]
            direct = np.average(values[known, j], weights=weights[known])
            assert means[area, j] == pytest.approx(direct, rel=1e-12)
        assert spread[area] == pytest.approx(np.std(values[own, 1], ddof=1), rel=1e-12)
        grouped = [r for r in own if codes[r] >= 0]
        for g in range(2):
            part = sum(weights[r] for r in grouped if codes[r] == g)
            assert shares[area, g] == pytest.approx(part / weights[grouped].sum(), rel=1e-12)


def test_schools_are_redrawn_inside_their_areas() -> None:
    areas = np.array([2, 0, 1, 0, 2, 2, 0])
    units = AreaUnits(areas=areas, weights=np.ones(7), n_areas=3)
    generator = np.random.default_rng(0)
    seen = np.zeros(7)
    for _ in range(600):
        rows = units.redrawn(generator)
        assert (np.bincount(areas[rows], minlength=3) == np.bincount(areas)).all()
        seen += np.bincount(rows, minlength=7)
    # each unit is drawn once on average; the SD of its mean count is at most sqrt(1/600) = .041
    assert np.abs(seen / 600 - 1).max() < 4 * 0.041


def test_an_area_of_one_unit_takes_the_mean_spread_of_the_others() -> None:
    units = AreaUnits(areas=np.array([0, 0, 1, 2, 2]), weights=np.ones(5), n_areas=3)
    spread = area_spread(units, np.array([0.0, 2.0, 9.0, 0.0, 4.0]), np.arange(5))
    one, three = np.sqrt(2.0), np.sqrt(8.0)
    assert spread == pytest.approx([one, (one + three) / 2, three])


def test_hellinger_distance() -> None:
    shares = np.array([[0.2, 0.8, 0.0], [0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    rows = hellinger_rows(shares)
    for p, q in itertools.combinations(range(3), 2):
        direct = np.sqrt(0.5 * ((np.sqrt(shares[p]) - np.sqrt(shares[q])) ** 2).sum())
        assert np.linalg.norm(rows[p] - rows[q]) == pytest.approx(direct, rel=1e-12)


def test_cuts_and_their_agreement_against_scipy_and_sets() -> None:
    rng = np.random.default_rng(8)
    rows = rng.normal(size=(25, 3))
    tree, cuts = ward_cuts(rows, (2, 3, 4))
    again = ward_cuts(rows + 0.3 * rng.normal(size=rows.shape), (2, 3, 4))[1]
    assert tree == pytest.approx(linkage(rows, "ward"))
    for i, k in enumerate((2, 3, 4)):
        direct = fcluster(linkage(rows, "ward"), k, "maxclust")
        assert len(set(zip(cuts[:, i], direct, strict=True))) == k  # one partition, other labels
        jaccard, kept = cluster_agreement(cuts[:, i], again[:, i])
        mine = [set(np.flatnonzero(cuts[:, i] == g)) for g in range(k)]
        other = [set(np.flatnonzero(again[:, i] == g)) for g in range(k)]
        table = np.array([[len(a & b) / len(a | b) for b in other] for a in mine])
        assert jaccard == pytest.approx(table.max(axis=1))
        best = max(
            itertools.permutations(range(k)), key=lambda p: sum(table[g, p[g]] for g in range(k))
        )
        for unit in range(25):
            g = int(cuts[unit, i])
            assert kept[unit] == (unit in other[best[g]] and table[g, best[g]] > 0)


def test_neighbours_of_municipalities_by_sorting(schools: pd.DataFrame) -> None:
    conditions = Conditions(shares=["low_income", "both_parents_higher_edu"])
    model = MunicipalClusters(
        conditions, features=["low_income", "log_pupils"], n_resamples=50, n_neighbours=3
    )
    with pytest.warns(rs.WeakDataWarning, match="too few for clusters"):
        found = model.fit(schools)
    values = found.feature_values.set_index("municipality_id")
    z = (values - values.mean()) / values.std(ddof=0)
    for place, rows in found.neighbours.groupby("municipality_id"):
        gaps = np.sqrt(((z - z.loc[place]) ** 2).sum(axis=1) / 2).drop(place).sort_values()
        assert rows["neighbour_municipality"].tolist() == gaps.index[:3].tolist()
        assert rows["distance"].to_numpy() == pytest.approx(gaps.to_numpy()[:3], rel=1e-9)
    weighted = schools.assign(total=schools["n_pupils"]).groupby("municipality_id")["total"].sum()
    assert values["log_pupils"].to_numpy() == pytest.approx(np.log(weighted.to_numpy()))


def test_draws_without_noise_find_every_cluster_again() -> None:
    rng = np.random.default_rng(1)
    rows = np.vstack([rng.normal(c, 0.3, size=(10, 2)) for c in (-3.0, 3.0)])
    features = Features(
        rows=rows,
        redrawn=np.repeat(rows[None], 50, axis=0),
        natural=pd.DataFrame(rows),
        table=pd.DataFrame(),
        divisor=1.0,
    )
    cuts = cut_municipalities(features, seed=0)
    assert (cuts.table["jaccard_min"] == 1.0).all()
    assert all((own == 1.0).all() for own in cuts.kept.values())
    assert cuts.table["accepted"].iloc[0]


def test_municipal_units_carry_enrolment(schools: pd.DataFrame) -> None:
    conditions = Conditions(shares=["low_income"])
    scaled = rs.scale_conditions(schools, conditions)
    names, units = municipal_units(scaled)
    assert names == sorted(schools["municipality_id"].unique())
    assert (units.weights == schools["n_pupils"].to_numpy()).all()
