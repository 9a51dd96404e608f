"""The joint rule on hand-made rows: numbers, order of verdicts, needs, slopes, errors of lists."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import resilience as rs
from resilience.detection import Criteria, Criterion, DetectionResults, detect_schools
from resilience.errors import WeakDataWarning
from resilience.stats.verdicts.decisions import joint_posterior, power_to_detect

N = 40
IDS = [f"S{k:02d}" for k in range(N)]
VAR_U = 0.09
DELTA = stats.norm.ppf(0.75) * np.sqrt(VAR_U)
PRESET = Criteria.preset("resilient_posterior")


def effects(d: np.ndarray, precision: np.ndarray | float, variance: float = VAR_U) -> pd.DataFrame:
    """Rows of school_effects from the mean residual and its precision."""
    A = np.broadcast_to(np.asarray(precision, dtype=float), d.shape)
    trust = variance * A / (1 + variance * A)
    return pd.DataFrame(
        {
            "school_id": IDS[: len(d)],
            "effect": trust * d,
            "conditional_sd": np.sqrt(variance * (1 - trust)),
            "reliability": trust,
            "n_pupils": 60,
            "n_years": 3,
        }
    )


def scores(index: np.ndarray, std_error: float = 0.0, reliability: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "school_id": IDS[: len(index)],
            "year": 2025,
            "context_index": index,
            "context_index_std_error": std_error,
            "context_reliability": reliability,
            "context_coverage": 1.0,
        }
    )


def effect_rule(**fields: object) -> Criteria:
    own = {"above": 0.75, "scale": "quantile", "loss_false_positive": 4.0}
    if {"below", "at_most", "above", "at_least"} & set(fields):
        own.pop("above")
    one = Criterion(name="quantile", column="effect", evidence="posterior", **(own | fields))
    return Criteria(id="r", version="1", title_en="R", title_ru="П", criteria=(one,))


def row(found: DetectionResults, school: str) -> pd.Series:
    return found.schools.set_index("school_id").loc[school]


def balanced(seed: int = 2) -> np.ndarray:
    """Residuals without any slope on the order of schools."""
    d = np.random.default_rng(seed).normal(0, 0.35, N)
    x = np.arange(N) - (N - 1) / 2
    return d - d.mean() - (d @ x) / (x @ x) * x


def test_one_row_holds_everything() -> None:
    d = balanced()
    found = detect_schools(effects(d, 50.0), None, effect_rule())
    s2 = 1 / (1 / VAR_U + 50)
    expected = special.ndtr((s2 * 50 * d - DELTA) / np.sqrt(s2))
    np.testing.assert_allclose(found.schools["probability"], expected, atol=1e-12)
    np.testing.assert_allclose(found.schools["effect_net"], s2 * 50 * d, atol=1e-12)
    np.testing.assert_allclose(found.schools["effect_net_sd"], np.sqrt(s2), atol=1e-12)
    assert found.criteria["threshold"].unique() == pytest.approx([DELTA])
    assert found.schools["probability_adverse"].isna().all()


def test_the_joint_probability_is_that_of_the_formula() -> None:
    """A region whose slope is .04 per point by construction; q² = κ se²."""
    index = 50 + 0.5 * (np.arange(N) - (N - 1) / 2)
    kappa, error = 0.8, 4.0
    shrunken = index.mean() + kappa * (index - index.mean())
    d = balanced() + 0.04 * shrunken
    given = effects(d, 50.0, variance=0.2)
    found = detect_schools(given, scores(index, error, kappa), PRESET)
    residual = d - d.mean() - 0.04 * (shrunken - shrunken.mean())
    left = 0.2 - 0.04**2 * shrunken.var() - 0.04**2 * kappa * error**2
    gate = np.sort(shrunken)[9]  # the tenth of forty stands at percentile .2375, the next at .2625
    by_hand = joint_posterior(
        context=shrunken,
        context_variance=kappa * error**2,
        residual=residual,
        precision=50.0,
        slope=0.04,
        effect_variance=left,
        gate=gate,
        bound=stats.norm.ppf(0.75) * np.sqrt(left),
    )
    np.testing.assert_allclose(found.schools["probability"], by_hand.probability, atol=1e-10)
    np.testing.assert_allclose(found.schools["probability_policy"], by_hand.policy, atol=1e-10)
    np.testing.assert_allclose(found.schools["probability_effect"], by_hand.effect, atol=1e-10)
    alone = special.ndtr((gate - shrunken) / np.sqrt(kappa * error**2))
    np.testing.assert_allclose(found.schools["probability_adverse"], alone, atol=1e-12)
    thresholds = found.criteria.groupby("criterion")["threshold"].first()
    assert thresholds["adversity"] == pytest.approx(gate)
    assert thresholds["quantile"] == pytest.approx(stats.norm.ppf(0.75) * np.sqrt(left))


def test_an_exact_index_gates_and_multiplies() -> None:
    d = balanced()
    index = np.arange(N, dtype=float)
    found = detect_schools(effects(d, 50.0), scores(index), PRESET)
    alone = detect_schools(effects(d, 50.0), None, effect_rule())
    gated = np.where(index <= 9, alone.schools["probability"], 0.0)
    np.testing.assert_allclose(found.schools["probability"], gated, atol=1e-12)


def test_effects_that_stand_off_the_index_already() -> None:
    """The same school in three guises: not adjusted, adjusted and said, adjusted and recognised."""
    index = 50 + 0.5 * (np.arange(N) - (N - 1) / 2)
    shrunken = index.mean() + 0.8 * (index - index.mean())
    d = balanced() + 0.04 * (shrunken - shrunken.mean())
    table = scores(index, 4.0, 0.8)
    plain = detect_schools(effects(d, 50.0, 0.2), table, PRESET)
    residual = d - 0.04 * (shrunken - shrunken.mean())
    variance = 0.2 - 0.04**2 * shrunken.var()
    adjusted = effects(residual, 50.0, variance)
    said = detect_schools(adjusted, table, PRESET, variances={"context_slope": 0.04})
    expected = 12 + 0.04 * 0.8 * (index - index.mean())
    seen = detect_schools(adjusted.assign(expected_mean=expected), table, PRESET)
    for other in (said, seen):
        np.testing.assert_allclose(
            other.schools["probability"], plain.schools["probability"], atol=1e-9
        )
    assert any("taken to be in the model" in note for note in seen.notes)
    # an expectation that merely goes with the index is no such model
    noise = np.random.default_rng(1).normal(0, 0.3, N)
    other = detect_schools(adjusted.assign(expected_mean=expected + noise), table, PRESET)
    assert not any("taken to be in the model" in note for note in other.notes)


def test_a_flattered_school_is_doubted() -> None:
    """Index error and results are linked: good results are evidence of a better context."""
    index = 50 + 0.5 * (np.arange(N) - (N - 1) / 2)
    d = balanced()
    d[:4] = 0.9
    found = detect_schools(
        effects(d, 50.0), scores(index, 4.0, 0.8), PRESET, variances={"context_slope": 0.04}
    )
    top = found.schools.iloc[:4]
    assert (top["probability"] < top["probability_policy"]).all()


def test_the_bound_has_a_floor() -> None:
    small = effects(balanced() * 0.1, 500.0, variance=0.01)
    found = detect_schools(small, scores(np.arange(N, dtype=float)), PRESET)
    bound = found.criteria.set_index("criterion").loc["quantile", "threshold"].iloc[0]
    assert bound == 0.10  # Φ⁻¹(.75)·.1 = .067 would find winners in a region without any
    lower = PRESET.amend("quantile", floor=0.0)
    found = detect_schools(small, scores(np.arange(N, dtype=float)), lower)
    bound = found.criteria.set_index("criterion").loc["quantile", "threshold"].iloc[0]
    # the line on the index takes a little of the variance with it
    assert 0.060 < bound <= stats.norm.ppf(0.75) * 0.1 + 1e-12


def test_a_floor_beyond_the_alternative_is_no_error() -> None:
    tiny = effects(balanced() * 0.03, 500.0, variance=0.004)  # Φ⁻¹(.9)·.063 = .081 < .10
    found = detect_schools(tiny, scores(np.arange(N, dtype=float)), PRESET)
    assert set(found.schools["verdict"]) <= {"no", "insufficient_data"}
    assert found.schools["years_needed"].isna().all()


def test_order_of_the_verdicts() -> None:
    d = balanced() * 0.2
    d[[0, 1, 2]] = 1.2
    d[3] = -1.0
    table = effects(d, 60.0)
    table.loc[1, "n_pupils"] = 9
    index = scores(np.arange(N, dtype=float), 0.5, 0.99)
    index.loc[2, "context_reliability"] = 0.4
    index.loc[4, "context_coverage"] = 0.5
    index.loc[5, ["context_index", "context_index_std_error", "context_reliability"]] = np.nan
    found = detect_schools(table.drop(index=6), index.drop(index=7), PRESET)
    verdict = found.schools.set_index("school_id")["verdict"]
    reason = found.schools.set_index("school_id")["reason"]
    assert verdict["S00"] == "yes"
    for school, words in {
        "S01": "Fewer than 10 pupils",
        "S02": "reliability below 0.5",
        "S04": "coverage below 0.6",
        "S05": "No context index",
        "S06": "No estimate of the effect",
        "S07": "No context index",
    }.items():
        assert verdict[school] == "insufficient_data"
        assert words in reason[school]
    assert verdict["S03"] == "no"
    assert "negligible" in reason["S03"]
    assert verdict["S39"] == "no"  # a favourable context
    assert len(found.schools) == N


def test_an_uncertain_context_is_no_answer() -> None:
    d = balanced() * 0.2
    d[10] = 1.5
    index = scores(np.arange(N, dtype=float), 3.0, 0.93)
    found = detect_schools(effects(d, 60.0), index, PRESET)
    near = row(found, "S10")
    assert 0.05 < near["probability_adverse"] < 0.8
    assert (near["verdict"], "context is uncertain" in near["reason"]) == (
        "insufficient_data",
        True,
    )


def test_no_means_would_probably_have_been_seen() -> None:
    d = np.full(N, 0.08)
    d[::2] = -0.08
    index = scores(np.zeros(N) + 40)
    rule = PRESET.amend("adversity", at_most=45.0, scale="value")
    weak = detect_schools(effects(d, 20.0), index, rule).schools
    strong = detect_schools(effects(d, 200.0), index, rule).schools
    middle = weak["probability"].between(0.05, 0.8)
    assert middle.any()
    assert set(weak.loc[middle, "verdict"]) == {"insufficient_data"}
    assert (weak.loc[middle, "power_to_detect"] < 0.5).all()
    assert (strong["power_to_detect"] >= 0.5).all()
    assert set(strong["verdict"]) == {"no"}
    by_hand = power_to_detect(
        20.0,
        effect_sd=np.sqrt(VAR_U),
        bound=DELTA,
        alternative=stats.norm.ppf(0.9) * np.sqrt(VAR_U),
        threshold=0.8,
    )
    assert weak["power_to_detect"].iloc[0] == pytest.approx(float(by_hand))


def test_the_context_takes_its_part_of_the_power() -> None:
    d = balanced() * 0.2
    index = scores(np.arange(N, dtype=float), 3.0, 0.93)
    table = detect_schools(effects(d, 100.0), index, PRESET).schools
    sure = table[table["probability_adverse"] > 0.99]["power_to_detect"]
    doubtful = table[table["probability_adverse"].between(0.8, 0.95)]["power_to_detect"]
    assert len(sure)
    assert len(doubtful)
    assert doubtful.max() < sure.min()


def test_what_is_needed_with_and_without_the_variances() -> None:
    """Exam variances: 26.4 → 27 pupils in one year, 5.29 → 6 years of five pupils."""
    variance, noise = 0.09213, 0.56573
    table = effects(balanced(), 10 / noise, variance).assign(n_pupils=10, n_years=2)
    rule = effect_rule()
    parts = {"persistent": variance, "transient": 0.0, "residual": noise}
    said = detect_schools(table, None, rule, variances=parts).schools
    assert set(said["years_needed"]) == {6.0}
    assert set(said["pupils_needed"]) == {27.0}
    read = detect_schools(table, None, rule).schools
    assert set(read["years_needed"]) == {6.0}  # two years of such cohorts stand in the row
    assert read["pupils_needed"].isna().all()  # pupils and years cannot be told apart
    restless = detect_schools(table, None, rule, variances=parts | {"transient": 0.03}).schools
    assert set(restless["years_needed"]) == {7.0}
    unsteady = detect_schools(table, None, rule, variances=parts | {"transient": 0.05})
    assert set(unsteady.schools["pupils_needed"]) == {np.inf}
    assert any("no number of pupils in one year" in note for note in unsteady.notes)


def test_one_year_is_this_year() -> None:
    table = effects(balanced(), 26 / 0.56573, 0.09213).assign(n_pupils=26, n_years=1)
    found = detect_schools(table, None, effect_rule())
    assert set(map(str, found.schools["target"])) == {"this year's effect"}
    assert found.schools["target"].iloc[0].ru == "эффект этого года"
    assert any("persistence cannot be shown" in note for note in found.notes)
    assert set(found.schools["pupils_needed"]) == {27.0}
    several = detect_schools(effects(balanced(), 20.0), None, effect_rule())
    assert set(map(str, several.schools["target"])) == {"persistent effect"}


def test_low_effects_mirror_high_ones() -> None:
    d = balanced()
    high = detect_schools(effects(d, 30.0), None, effect_rule()).schools
    low = detect_schools(effects(-d, 30.0), None, effect_rule(below=0.25)).schools
    np.testing.assert_allclose(low["probability"], high["probability"], atol=1e-12)
    np.testing.assert_allclose(low["effect_net"], -high["effect_net"], atol=1e-12)
    assert low["verdict"].tolist() == high["verdict"].tolist()


def test_favourable_contexts_mirror_adverse_ones() -> None:
    d, index = balanced(), np.arange(N, dtype=float)
    adverse = detect_schools(effects(d, 30.0), scores(index, 2.0, 0.9), PRESET).schools
    mirrored = PRESET.amend("adversity", at_least=0.75)
    good = detect_schools(effects(d, 30.0), scores(-index, 2.0, 0.9), mirrored).schools
    np.testing.assert_allclose(good["probability"], adverse["probability"], atol=1e-12)


def test_the_context_alone() -> None:
    rule = Criteria.preset("adverse_context").amend(
        "adversity", evidence="posterior", loss_false_positive=4.0
    )
    index = np.arange(N, dtype=float)
    found = detect_schools(None, scores(index, 3.0, 0.93), rule).schools
    joint = detect_schools(effects(balanced(), 30.0), scores(index, 3.0, 0.93), PRESET).schools
    assert found["probability"].tolist() == joint["probability_adverse"].tolist()
    assert [v == "yes" for v in found["verdict"]] == (found["probability"] >= 0.8).tolist()
    assert found["verdict"].iloc[10] == "insufficient_data"
    exact = detect_schools(None, scores(index)[["school_id", "context_index"]], rule)
    assert [v == "yes" for v in exact.schools["verdict"]] == (index <= 9).tolist()
    assert any("taken as exact" in note for note in exact.notes)


def nothing_found() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "school_id": IDS,
            "effect": 0.0,
            "std_error": 0.0,
            "conditional_sd": 0.0,
            "reliability": 0.0,
            "n_pupils": 50,
            "n_years": 3,
        }
    )


@pytest.mark.filterwarnings("ignore:.*have no answer for want of data")
def test_no_variation_between_schools_is_no_answer() -> None:
    with pytest.warns(WeakDataWarning, match="estimated at zero"):
        found = detect_schools(nothing_found(), scores(np.arange(N, dtype=float)), PRESET)
    schools = found.schools
    assert set(schools["verdict"]) == {"insufficient_data"}
    assert schools[["probability", "probability_effect", "effect_net_sd"]].isna().all().all()
    assert schools["probability_adverse"].notna().all()  # of the context there are data
    assert "reliability 0" in schools["reason"].iloc[0]
    assert "надёжность 0" in schools["reason"].iloc[0].localized("ru")
    # a single criterion says the same as the rule, that on the context is judged
    by_criterion = found.criteria.groupby("criterion")["verdict"].agg(set)
    assert by_criterion.pop("adversity") != {"insufficient_data"}
    assert list(by_criterion) == [{"insufficient_data"}]
    assert found.glance()["n_insufficient"].iloc[0] == N


@pytest.mark.filterwarnings("ignore:.*have no answer for want of data")
def test_an_interval_of_no_width_is_no_answer_either() -> None:
    rule = Criteria(
        id="interval",
        version="1",
        title_en="R",
        title_ru="П",
        criteria=(Criterion(name="low", column="effect", evidence="interval", below=-0.1),),
    )
    found = detect_schools(nothing_found(), None, rule).schools
    assert set(found["verdict"]) == {"insufficient_data"}
    exact = nothing_found().assign(reliability=1.0)
    assert set(detect_schools(exact, None, rule).schools["verdict"]) == {"no"}


def test_a_school_without_information_keeps_the_prior() -> None:
    table = effects(balanced(), 30.0)
    table.loc[0, ["effect", "reliability", "conditional_sd"]] = [0.0, 0.0, np.sqrt(VAR_U)]
    found = detect_schools(table, None, effect_rule())
    assert row(found, "S00")["probability"] == pytest.approx(0.25, abs=1e-5)
    assert row(found, "S00")["verdict"] == "insufficient_data"


def test_higher_demands_and_smaller_gates_nest() -> None:
    rng = np.random.default_rng(9)
    table = effects(rng.normal(0, 0.5, N), 60.0)
    index = scores(rng.normal(50, 10, N), 3.0, 0.92)
    lists = []
    for losses in (1.0, 2.0, 4.0, 9.0):
        lines = [c.to_dict() | {"loss_false_positive": losses} for c in PRESET]
        both = Criteria.from_dict(PRESET.to_dict() | {"criterion": lines})
        found = detect_schools(table, index, both)
        lists.append(set(found.listed()["school_id"]))
    assert all(b <= a for a, b in pairwise(lists))
    gates = [
        detect_schools(table, index, PRESET.amend("adversity", at_most=q)).schools["probability"]
        for q in (0.5, 0.33, 0.25, 0.1)
    ]
    assert all((b <= a + 1e-12).all() for a, b in pairwise(gates))


def test_the_error_of_the_list() -> None:
    rng = np.random.default_rng(4)
    table = effects(rng.normal(0, 0.6, N), 60.0)
    found = detect_schools(table, None, effect_rule())
    rows = found.schools
    listed = rows[rows["verdict"] == "yes"]
    errors = found.list_errors.iloc[0]
    assert errors["n_listed"] == len(listed)
    assert errors["expected_false"] == pytest.approx((1 - listed["probability"]).sum())
    assert errors["expected_true"] == pytest.approx(listed["probability"].sum())
    assert errors["list_fdr"] == pytest.approx((1 - listed["probability"]).mean())
    assert errors["list_fdr"] <= 1 - 0.8  # P ≥ p* bounds the share of wrong names by 1 − p*
    inside = rows[rows["in_fdr_list"].astype(bool)]
    assert errors["n_in_fdr_list"] == len(inside)
    assert (1 - inside["probability"]).mean() <= 0.10
    assert rows.loc[inside.index, "list_fdr"].max() <= 0.10


def test_schools_that_cannot_be_judged_are_in_no_list() -> None:
    table = effects(np.full(N, 1.5), 60.0)
    table.loc[0, "n_pupils"] = 5
    schools = pd.DataFrame({"school_id": IDS, "is_selective": [False] * (N - 1) + [True]})
    rule = Criteria.from_dict(
        effect_rule().to_dict() | {"exclude_selective": True, "min_pupils": 10}
    )
    found = detect_schools(table, None, rule, schools=schools).schools.set_index("school_id")
    assert found.loc[["S00", "S39"], "list_fdr"].isna().all()
    assert found.loc[["S00", "S39"], "in_fdr_list"].isna().all()
    assert found["list_fdr"].notna().sum() == N - 2


def test_heavy_tails_are_said() -> None:
    d = balanced() * 0.2
    d[0] = 6.0
    found = detect_schools(effects(d, 60.0), None, effect_rule())
    assert any("heavier tails" in note for note in found.notes)


def test_london_schools() -> None:
    """Golden, methods/detection.md: Exam, ML, LRT: 9 schools at P ≥ .8, 12 at FDR ≤ .10."""
    pupils = rs.load_dataset("london_exam").pupils
    va = rs.ValueAddedModel("normexam ~ standLRT", group="school").fit(pupils, method="ml")
    found = detect_schools(va.school_effects, None, effect_rule())
    bound = found.criteria["threshold"].iloc[0]
    assert bound == pytest.approx(0.2047, abs=5e-5)
    p = found.schools["probability"].sort_values(ascending=False).to_numpy()
    assert (p >= 0.8).sum() == 9
    running = np.cumsum(1 - p) / np.arange(1, len(p) + 1)
    assert running[11] == pytest.approx(0.0917, abs=5e-5)
    assert running[12] == pytest.approx(0.1153, abs=5e-5)
    assert found.list_errors["n_in_fdr_list"].iloc[0] == 12
