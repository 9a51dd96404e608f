"""The simulator: its judge, its draws, its tables, what it refuses."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import resilience as rs
from resilience.columns import column_names
from resilience.detection.rules.criterion import Criterion
from resilience.detection.simulator.estimate import estimate_failure_parts, failure_moments
from resilience.detection.simulator.judge import ArrayJudge
from resilience.detection.simulator.layout import band_names, read_layout
from resilience.detection.simulator.priors import beta_priors
from resilience.detection.simulator.shares import true_shares
from resilience.detection.simulator.simulate import simulate_rule
from resilience.stats.lists.share_moments import FailureParts
from resilience.stats.proportions import fit_beta_prior

NONE = FailureParts()
SHARE = "share_below_minimum"


def table(rng, *, n_schools=25, procedures=None, years=(2023, 2024, 2025), largest=16, empty=0.2):
    """Return random counts with cells nobody sat, and a school that sat nothing last year."""
    procedures = procedures or ("ВПР-5-МА", "ВПР-5-РУ", "ВПР-6-МА", "ОГЭ-РУ")
    rows = []
    for s in range(n_schools):
        rate = rng.uniform(0.1, 0.45)
        for year in years:
            for p in procedures:
                n = int(rng.integers(1, largest + 1))
                if rng.uniform() < empty or (s == 0 and year == years[-1]):
                    continue
                rows.append((f"S{s:02d}", year, p, n, int(rng.binomial(n, rate))))
    names = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    return pd.DataFrame(rows, columns=names)


def rule(*criteria, rule_id="own", combination="all", **fields):
    return rs.Criteria(
        id=rule_id,
        version="1",
        title_en="Own",
        title_ru="Своё",
        combination=combination,
        criteria=criteria,
        target="low",
        **fields,
    )


def criterion(name="c", **fields):
    return Criterion(name=name, column=SHARE, **fields)


def rules_of_every_kind():
    presets = [
        "low_results_2025_or",
        "low_results_2025_and",
        "low_results_2025_or_guarded",
        "low_results_2025_and_guarded",
        "low_results_any",
        "low_posterior",
    ]
    some = [
        criterion("above", above=0.25),
        criterion("at_most", at_most=0.2, procedures_at_least="all"),
        criterion("below", below=0.3, procedures_at_least=3, min_participants=4),
        criterion("between", between=(0.2, 0.4), procedures_at_least=2),
        criterion("two_of_three", at_least=0.3, years_at_least=2, years_of=3, order="years"),
        criterion(
            "any_two_of_three",
            at_least=0.3,
            years_at_least=2,
            years_of=3,
            procedures_at_least=2,
            min_participants=5,
        ),
        criterion(
            "every",
            at_least=0.25,
            procedures_at_least="all",
            years_at_least=1,
            years_of=2,
            order="years",
            min_participants=3,
        ),
        criterion("far_back", at_least=0.3, years_at_least=4, years_of=5, order="years"),
        criterion("sure", at_least=0.3, evidence="posterior", loss_false_positive=2.0),
        criterion("fine", below=0.3, evidence="posterior", years_of=2),
    ]
    own = [rule(c, rule_id=c.name) for c in some]
    own.append(rule(*some[:4], rule_id="two_of_four", combination=2))
    own.append(rule(some[5], some[8], rule_id="mixed", combination="any"))
    heavy = replace(some[4], weight=2.0)
    own.append(rule(heavy, some[0], some[2], rule_id="weighted", combination=2.5))
    half_open = criterion("half_open", between=(0.2, 0.3), open_above=True)
    own.append(rule(half_open, rule_id="half_open"))
    own.append(rule(some[0], rule_id="unflagged", exclude_flagged=True))
    uncleared = criterion("uncleared", at_least=0.3, procedures_at_least=2)
    own.append(rule(uncleared, rule_id="uncleared", exclude_flagged_vpr=True))
    own.append(rule(some[5], rule_id="uncleared_years", exclude_flagged_vpr=True))
    own.append(rule(some[0], rule_id="named", procedures=("ОГЭ-РУ", "ВПР-5-МА")))
    return [*(rs.Criteria.preset(name) for name in presets), *own]


@pytest.mark.parametrize("seed", range(4))
def test_the_array_judge_says_what_detection_says(seed):
    """Every kind of share rule on random tables, with absences, gaps of years, tiny cells."""
    rng = np.random.default_rng(seed)
    years = (2022, 2023, 2025) if seed % 2 else (2023, 2024, 2025)
    counts = table(rng, years=years, largest=(6, 16, 40)[seed % 3])
    ids = [f"S{s:02d}" for s in range(25)]
    schools = pd.DataFrame({"school_id": ids, "integrity_flag": [k % 3 == 0 for k in range(25)]})
    for one in rules_of_every_kind():
        layout = read_layout(counts, (one,), schools)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rs.WeakDataWarning)
            found = rs.detect_schools(None, None, one, counts=counts, schools=schools).schools
        listed, unknown = ArrayJudge(one, layout).verdicts(layout.failing[None], layout.last)
        listed, unknown = (a & ~layout.outside(one) for a in (listed, unknown))
        verdict = found.set_index("school_id")["verdict"].reindex(layout.school_ids)
        assert listed[0].tolist() == (verdict == "yes").tolist(), one.id
        assert unknown[0].tolist() == (verdict == "insufficient_data").tolist(), one.id


def test_the_judge_takes_the_year_of_the_rule():
    rng = np.random.default_rng(7)
    counts = table(rng, years=(2022, 2023, 2024, 2025))
    past = rs.Criteria.preset("low_results_2025_or").amend(year=2024)
    layout = read_layout(counts, (past,), None)
    assert layout.years == (2023, 2024, 2025)
    # the table holds the year after: its own sizes
    now = counts[(counts["year"] == 2025)].groupby("school_id")["n_participants"].sum()
    after = pd.Series(layout.n[:, :, -1].sum(axis=1), index=layout.school_ids)
    assert after.to_dict() == now.reindex(layout.school_ids).fillna(0).to_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        found = rs.detect_schools(None, None, past, counts=counts).schools
    listed, _ = ArrayJudge(past, layout).verdicts(layout.failing[None], layout.last)
    assert listed[0].tolist() == (found["verdict"] == "yes").tolist()


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # small region
def test_the_pooled_rule_is_judged_by_the_model_of_all_counts():
    pooled = rs.Criteria.preset("low_posterior_pooled")
    counts = table(np.random.default_rng(12), n_schools=22, largest=30)
    layout = read_layout(counts, (pooled,), None)
    assert layout.years == (2023, 2024, 2025, 2026)  # every year of the table counts
    found = rs.detect_schools(None, None, pooled, counts=counts).schools
    found = found.set_index("school_id").reindex(layout.school_ids)
    listed, unknown = ArrayJudge(pooled, layout).verdicts(layout.failing[None], layout.last)
    # 1000 draws here, 4000 there: three errors of the difference of two probabilities near 1/3
    near = (found["probability"] - 1 / 3).abs() < 3 * np.sqrt(2 / 9 * (1 / 1000 + 1 / 4000))
    assert near.sum() < 8
    same = listed[0] == (found["verdict"] == "yes").to_numpy()
    assert same[~near.to_numpy()].all()
    assert unknown[0].tolist() == (found["verdict"] == "insufficient_data").tolist()
    flags = pd.DataFrame({"school_id": layout.school_ids, "integrity_flag": True})
    strict = pooled.amend(exclude_flagged_vpr=True)
    marked = read_layout(counts, (strict,), flags)
    still, doubted = ArrayJudge(strict, marked).verdicts(marked.failing[None], marked.last)
    assert still.tolist() == listed.tolist()
    assert (doubted | still).all()
    federal = rs.Criteria.preset("low_results_2025_or")
    result = simulate_rule([federal, pooled], counts, parts=NONE, n_replicates=4)
    assert result.overall["n_replicates"].tolist() == [4, 3]
    assert result.operating["rule_id"].unique().tolist() == [federal.id]
    assert any("low_posterior_pooled" in note for note in result.notes)


def test_priors_of_many_tables_are_those_of_one():
    rng = np.random.default_rng(8)
    n = rng.integers(0, 200, size=60)
    rates = np.where(rng.uniform(size=(12, 1)) < 0.3, 0.2, rng.beta(3, 12, size=(12, 60)))
    failing = rng.binomial(n, rates)  # some tables hold no variation between schools
    alpha, beta = beta_priors(failing, n)
    for row in range(len(failing)):
        one = fit_beta_prior(failing[row], n)
        a, b = alpha[row], beta[row]
        assert a / (a + b) == pytest.approx(one.mean, rel=1e-3)
        if one.alpha + one.beta < 3000:  # beyond, the likelihood is flat: all shares are alike
            # two optimisers of a smooth function, each stopped at a relative gradient of 1e-6
            assert a == pytest.approx(one.alpha, rel=5e-3)


def test_sizes_fall_into_bands():
    band, order = band_names(
        np.array([1, 10, 11, 30, 31, 500, np.nan]), ((1, 10), (11, 30), (31, None))
    )
    assert band.tolist() == ["1–10", "1–10", "11–30", "11–30", "31+", "31+", "0"]
    assert order == ("1–10", "11–30", "31+", "0")
    band, order = band_names(np.array([3.0, 50.0]), ((1, 10),))
    assert band.tolist() == ["1–10", "…"]


def same_size(n, *, n_schools=40, n_procedures=10, years=(2024, 2025), names=None):
    """Return counts of equal cells; a fifth fails, which simulations with given shares ignore."""
    names = names or [f"P{p}" for p in range(n_procedures)]
    index = pd.MultiIndex.from_product(
        [[f"S{s:03d}" for s in range(n_schools)], years, names],
        names=["school_id", "year", "procedure"],
    )
    frame = index.to_frame(index=False)
    return frame.assign(n_participants=n, n_below_minimum=n // 5)


def simulate(rules, counts, **arguments):
    given = {"parts": NONE, "shares": 0.2, "n_replicates": 100, "random_state": 3} | arguments
    return simulate_rule(rules, counts, **given)


@pytest.fixture(scope="module")
def federal():
    return [rs.Criteria.preset(f"low_results_2025_{c}") for c in ("or", "and")]


@pytest.fixture(scope="module")
def region():
    return rs.load_dataset("north_region")


@pytest.fixture(scope="module")
def found(federal, region):
    return simulate_rule(federal, region.counts, schools=region.schools, n_replicates=60)


def test_probabilities_add_up_to_the_expected_numbers(found):
    for rule_id, own in found.schools.groupby("rule_id", sort=False):
        total = found.overall.set_index("rule_id").loc[rule_id]
        for part, whole in (
            ("probability_false_flag", "expected_false_flags"),
            ("probability_miss", "expected_misses"),
            ("probability_flag", "expected_listed"),
            ("probability_truly_low", "expected_low"),
        ):
            assert own[part].sum() == pytest.approx(total[whole], abs=1e-9)
        hits = own["probability_flag"] - own["probability_false_flag"]
        assert (hits + own["probability_miss"]).to_numpy() == pytest.approx(
            own["probability_truly_low"].to_numpy(), abs=1e-12
        )


def test_groups_add_up_to_the_whole(found):
    for grouped in (found.by_size_band, found.by_rurality):
        for name in ("n_schools", "expected_listed", "expected_false_flags", "expected_misses"):
            sums = grouped.groupby("rule_id", sort=False)[name].sum()
            assert sums.to_numpy() == pytest.approx(found.overall[name].to_numpy(), abs=1e-9)
    assert found.by_size_band["size_band"].unique().tolist() == ["1–10", "11–30", "31+"]
    assert found.by_rurality["is_rural"].tolist() == [True, False, True, False]


def test_paired_differences_are_differences(found):
    row = found.differences.iloc[0]
    total = found.overall.set_index("rule_id")
    one, other = total.loc[row["rule_id"]], total.loc[row["other_rule_id"]]
    assert row["difference_misses"] == pytest.approx(
        one["expected_misses"] - other["expected_misses"]
    )
    # every "A and B" list is part of the "A or B" list
    assert row["list_overlap"] == pytest.approx(other["expected_listed"] / one["expected_listed"])
    # on the same draws the difference is known better than from independent runs
    apart = np.hypot(one["expected_misses_mc_error"], other["expected_misses_mc_error"])
    assert row["difference_misses_mc_error"] < apart


def test_rules_beside_each_other_see_the_draws_they_see_alone(federal, region):
    both = simulate_rule(federal, region.counts, n_replicates=20, random_state=9)
    alone = simulate_rule(federal[1], region.counts, n_replicates=20, random_state=9)
    own = both.of_rule(federal[1].id)
    pd.testing.assert_frame_equal(own, alone.schools)
    again = simulate_rule(federal, region.counts, n_replicates=20, random_state=9)
    pd.testing.assert_frame_equal(both.operating, again.operating)
    other = simulate_rule(federal[1], region.counts, n_replicates=20, random_state=10)
    assert not own["probability_flag"].equals(other.schools["probability_flag"])


def test_churn_of_a_rule_on_one_year_is_the_chance_not_to_be_listed():
    """Shares fixed and years independent: who is listed is listed again with P(A)."""
    one_year = rule(criterion(at_least=0.3, procedures_at_least=2))
    result = simulate(one_year, same_size(20, n_schools=100))
    again = stats.binom.sf(1, 10, stats.binom.sf(5, 20, 0.2))
    row = result.overall.iloc[0]
    assert abs(row["churn"] - (1 - again)) < 3 * row["churn_mc_error"]
    assert abs(row["expected_listed"] / 100 - again) < 3 * row["expected_listed_mc_error"] / 100


def test_all_truly_low_makes_every_name_right(federal):
    result = simulate(federal, same_size(12), shares=0.4)
    assert (result.schools["probability_truly_low"] == 1).all()
    assert (result.overall["ppv"] == 1).all()
    assert (result.overall["expected_false_flags"] == 0).all()
    fine = simulate(federal, same_size(12), shares=0.1)
    assert fine.overall["sensitivity"].isna().all()
    at_the_bound = simulate(federal[0], same_size(12), shares=0.3)
    assert (
        at_the_bound.schools["probability_truly_low"] == 1
    ).all()  # "at least" includes the bound


@pytest.mark.parametrize("truth", ["procedure", "two_procedures"])
def test_a_lasting_problem_of_a_procedure_is_true(federal, truth):
    parts = FailureParts(school_procedure=0.3, school_year=0.1, cell=0.05)
    counts = same_size(10, n_schools=300, n_procedures=3)
    result = simulate(federal[0], counts, parts=parts, truth=truth, n_replicates=40)
    bound = stats.norm.ppf(0.3) * np.sqrt(1.15) - stats.norm.ppf(0.2) * np.sqrt(1.45)
    one = stats.norm.sf(bound / np.sqrt(0.3))
    expected = stats.binom.sf(0 if truth == "procedure" else 1, 3, one)
    error = np.sqrt(expected * (1 - expected) / (300 * 40))
    assert abs(result.schools["probability_truly_low"].mean() - expected) < 3 * error


def test_a_truly_low_procedure_counts_at_the_bound(federal):
    result = simulate(federal[0], same_size(12), shares=0.3, truth="procedure")
    assert (result.schools["probability_truly_low"] == 1).all()


def test_small_schools_without_an_answer_count_as_missed():
    guarded = rs.Criteria.preset("low_results_2025_or_guarded")
    result = simulate(guarded, same_size(6), shares=0.5)
    row = result.overall.iloc[0]
    assert row["expected_insufficient"] == row["expected_misses"] == 40
    assert row["sensitivity"] == 0
    assert np.isnan(row["ppv"])
    assert np.isnan(row["churn"])


def test_selective_schools_are_never_listed(federal):
    counts = same_size(5, n_schools=30)
    schools = pd.DataFrame(
        {
            "school_id": [f"S{s:03d}" for s in range(31)],
            "year": 2025,
            "is_selective": [True] + [False] * 30,
            "is_rural": [None, True] * 15 + [False],
        }
    )
    aside = federal[0].amend(exclude_selective=True)
    result = simulate([aside, federal[1]], counts, schools=schools, shares=0.6)
    own = result.of_rule(aside.id).set_index("school_id")
    assert own.loc["S000", "probability_flag"] == 0
    assert own.loc["S001", "probability_flag"] > 0.9
    # a school of the directory that sat nothing keeps its row
    assert own.loc["S030", "size_band"] == "0"
    assert own.loc["S030", "probability_insufficient"] == 1
    assert result.by_rurality["is_rural"].isna().sum() == 2
    text = result.summary("ru")
    assert "nan" not in text
    assert "None" not in text


def test_shares_by_procedure_and_by_school(federal):
    counts = same_size(30, n_schools=20, n_procedures=4)
    keys = counts[["school_id", "procedure"]].drop_duplicates()
    hard = keys.assign(true_share=np.where(keys["procedure"] == "P0", 0.55, 0.05))
    one = rule(criterion(at_least=0.3))
    result = simulate([one, federal[1]], counts, shares=hard)
    assert result.of_rule("own")["probability_flag"].min() > 0.9
    assert result.of_rule(federal[1].id)["probability_flag"].max() < 0.2
    assert result.schools["true_share"].to_numpy() == pytest.approx((0.55 + 3 * 0.05) / 4)
    series = pd.Series(0.1, index=counts["school_id"].unique())
    series.iloc[0] = 0.7
    result = simulate(one, counts, shares=series).schools
    assert result["probability_flag"].iloc[0] == 1
    assert result["true_share"].iloc[0] == pytest.approx(0.7)  # a mean over replicates
    same = simulate(one, counts, shares=dict(series)).schools
    pd.testing.assert_frame_equal(result, same)


def test_drawn_shares_keep_the_school_and_the_region(region, federal):
    """A school's mean rate is the share drawn; a procedure is as hard as in the region."""
    layout = read_layout(region.counts, tuple(federal), None)
    shares = true_shares(None, layout)
    from resilience.detection.simulator.draws import _levels

    school = shares.draw(np.random.default_rng(1), 5)
    rate = stats.norm.cdf(_levels(school, shares, layout))
    n = layout.n[:, :, layout.last]
    mean = (rate * n).sum(axis=2) / n.sum(axis=1)
    assert mean == pytest.approx(school, abs=1e-6)  # Newton's method stops at 1e-9
    by_procedure = rate.mean(axis=(0, 1))
    assert np.argsort(by_procedure).tolist() == np.argsort(layout.rates).tolist()


def test_parts_are_estimated_from_the_counts(region):
    moments = failure_moments(region.counts)
    assert estimate_failure_parts(region.counts) == moments.parts
    assert moments.same_pupil > moments.correlations[1]
    assert moments.parts.pupil > 0


def test_operating_curves_rise_with_the_true_share(found):
    curves = found.operating
    assert sorted(curves["n_participants"].unique()) == [5, 10, 20, 40, 80]
    for _, own in curves.groupby(["rule_id", "n_participants"]):
        p = own.sort_values("true_share")["probability_flag"].to_numpy()
        assert p[0] < 0.2
        assert p[-1] > 0.95
        assert (np.diff(p) > -0.25).all()  # 60 replicates: SE of a difference up to .09


def test_shape_of_the_result(found, region):
    assert len(found.glance()) == 1
    assert len(found.schools) == 2 * 177
    data = region.schools[region.schools["year"] == 2025]
    more = found.augment(data)
    assert len(more) == len(data)
    assert more["probability_flag"].between(0, 1).all()
    second = found.augment(data, rule_id=found.rules[1].id)
    assert (second["probability_flag"] <= more["probability_flag"]).all()
    known = set(column_names())
    for one in (found.schools, found.overall, found.by_size_band, found.by_rurality):
        assert set(one.columns) <= known
    assert set(found.differences) | set(found.operating) | set(found.glance()) <= known
    for lang in ("en", "ru"):
        assert found.summary(lang).startswith(found.title(lang))
        assert "nan" not in found.summary(lang)
    assert "<table" in found._repr_html_()
    assert set(found.to_dict()) >= {"schools", "parts", "rules"}
    copy = pickle.loads(pickle.dumps(found))
    pd.testing.assert_frame_equal(copy.tidy(), found.tidy())
    with pytest.raises(rs.DataError, match="low_results_2025_or"):
        found.of_rule("low_results_2025_oder")


BAD = [
    ({"parts": "guess"}, "FailureParts"),
    ({"truth": "region"}, "truth"),
    ({"truth_share": 30}, "truth_share is 30"),
    ({"shares": 20.0}, "20 % is 0.20"),
    ({"shares": {"S000": 0.2}}, "39 school"),
    ({"shares": "0.2"}, "str"),
    ({"n_replicates": 1}, "n_replicates is 1"),
    ({"bands": ((1, 10), (5, 20))}, "ascending"),
    ({"bands": ((10, 1),)}, "ascending"),
    ({"bands": ()}, "ascending"),
    ({"bands": (10, 20)}, "ascending"),
]


@pytest.mark.parametrize(("arguments", "told"), BAD)
def test_bad_arguments_are_named(federal, arguments, told):
    with pytest.raises((rs.SpecificationError, rs.DataError), match=told):
        simulate(federal, same_size(10), **arguments)


def test_rules_that_counts_do_not_decide_are_refused(federal):
    counts = same_size(10)
    resilient = rs.Criteria.preset("resilient_posterior")
    with pytest.raises(
        rs.SpecificationError, match=r"resilient_posterior.*'context_index'"
    ) as told:
        simulate([*federal, resilient], counts)
    assert "моделируются" in told.value.localized("ru")
    with pytest.raises(rs.SpecificationError):
        simulate([], counts)
    with pytest.raises(rs.SpecificationError, match="low_results_2025_or"):
        simulate([federal[0], federal[0]], counts)
    with pytest.raises(rs.SpecificationError, match="str"):
        simulate(["low_results_2025_or"], counts)
    with pytest.raises(rs.SpecificationError, match="2024"):
        simulate([federal[0], federal[1].amend(year=2024)], counts)
    with pytest.raises(rs.DataError, match="ОГЭ"):
        simulate(federal[0].amend(procedures=["ОГЭ"]), counts)


def test_bad_tables_are_named(federal):
    counts = same_size(10)
    with pytest.raises(rs.DataError, match="n_below_minimum"):
        simulate(federal, counts.drop(columns="n_below_minimum"))
    with pytest.raises(rs.DataError, match="S000"):
        simulate(federal, counts.assign(n_below_minimum=11))
    with pytest.raises(rs.SpecificationError, match="list"):
        simulate(federal, [1, 2])
    twice = pd.DataFrame({"school_id": ["S000", "S000"], "true_share": [0.1, 0.2]})
    with pytest.raises(rs.DataError, match="S000"):
        simulate(federal, counts, shares=twice)
    one_year = counts[counts["year"] == 2025]
    with pytest.raises(rs.DataError, match="fewer than two procedures or two years"):
        simulate(federal, one_year, parts="estimate")
