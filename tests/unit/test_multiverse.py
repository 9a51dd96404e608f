"""The multiverse: choices read off the rules, refits, failures, the curve of one school."""

import itertools
import json
import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column_names
from resilience.detection.robustness import list_robustness
from resilience.pipeline.multiverse import Refits, multiverse
from resilience.pipeline.multiverse_rules import rule_levels

POSTERIOR = rs.Criteria.preset("resilient_posterior")
POINT = POSTERIOR.amend("adversity", evidence="point").amend(
    "quantile", evidence="point", years=None
)
GRID = {"adversity": [0.25, 0.4], "quantile": [0.6, 0.75]}


@pytest.fixture(scope="module")
def region():
    rng = np.random.default_rng(21)
    J, n = 60, 4800
    context = rng.normal(size=J)
    u = 0.35 * rng.normal(size=J)
    school = rng.permutation(np.r_[np.arange(J), np.arange(J), rng.integers(0, J, n - 2 * J)])
    year = rng.integers(2023, 2026, size=n)
    prior = 0.4 * context[school] + rng.normal(size=n)
    ses = 0.5 * context[school] + rng.normal(size=n)
    score = 0.6 * prior + 0.2 * ses + u[school] + rng.normal(size=n)
    ids = np.array([f"S{k:02d}" for k in range(J)])
    pupils = pd.DataFrame(
        {
            "school_id": ids[school],
            "year": year,
            "prior_score": prior,
            "ses": ses,
            "score": score,
            "mark": np.clip(np.round(3.5 + score), 2, 5),
        }
    )
    scores = pd.DataFrame(
        {
            "school_id": np.tile(ids, 3),
            "year": np.repeat([2023, 2024, 2025], J),
            "context_index": np.tile(50 + 10 * context, 3) + rng.normal(size=3 * J),
            "context_index_std_error": 3.0,
            "context_reliability": 0.9,
        }
    )
    means = pupils.groupby(["school_id", "year"]).agg(
        mean_score=("score", "mean"), n_pupils=("score", "size"), low_income=("ses", "mean")
    )
    return pupils, scores, means.reset_index()


def model(region, formula="score ~ prior_score + ses"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return rs.ValueAddedModel(formula, group="school_id", time="year").fit(region[0])


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_every_list_is_that_of_detect_schools(region):
    va, scores = model(region), region[1]
    rules = POSTERIOR.grid(**GRID) + POINT.grid(**GRID)
    found = multiverse({"one": va, "table": va.school_effects}, scores, rules)
    assert found.lists.factors == ("model", "adversity", "evidence", "quantile")
    assert found.lists.levels["adversity"] == ("0.25", "0.4")
    table = found.specifications
    assert len(table) == 16
    assert (table["error"] == "").all()
    extra = {"one": (va.school_years, va.variances), "table": (None, None)}
    lists = found.verdicts.set_index(["specification", "school_id"])["verdict"]
    for row, rule in zip(range(16), itertools.cycle(rules), strict=False):
        years, variances = extra[table["choice_model"][row]]
        own = rs.detect_schools(
            va.school_effects, scores, rule, school_years=years, variances=variances
        ).schools
        spec = table["specification"][row]
        assert lists[spec].to_dict() == own.set_index("school_id")["verdict"].to_dict(), spec
        assert table["n_listed"][row] == (own["verdict"] == "yes").sum()
        curve = found.probabilities[row]
        np.testing.assert_allclose(curve, own["probability"].astype(float), atol=1e-6)
    assert table["n_listed"].sum() > 0


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_the_tables_give_the_same_robustness(region):
    found = multiverse(model(region), region[1], POSTERIOR.grid(**GRID))
    own = found.robustness()
    table = found.specifications
    factors = table[["specification", "choice_adversity", "choice_quantile"]]
    other = list_robustness(found.verdicts, factors.rename(columns=lambda c: c.split("_")[-1]))
    pd.testing.assert_frame_equal(own.schools, other.schools)
    pd.testing.assert_frame_equal(own.choices, other.choices)
    assert own.choices["shapley_share"].sum() == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_refits_are_crossed_and_equal_their_own_fits(region):
    pupils, scores, _ = region
    base = rs.ValueAddedModel("score ~ 1", group="school_id", time="year")
    refits = Refits(
        base,
        pupils,
        adjustment={"prior": "prior_score", "both": "prior_score + ses"},
        outcome=["score", "mark"],
        method=["reml", "ml"],
        years={"last two": [2024, 2025], "all": [2023, 2024, 2025]},
    )
    found = multiverse(refits, scores, POSTERIOR)
    assert found.lists.factors == ("outcome", "adjustment", "method", "years")
    assert (found.n_fits, found.n_passes) == (16, 1)
    table = found.specifications
    cells = table[[f"choice_{f}" for f in found.lists.factors]].to_numpy().tolist()
    assert [tuple(c) for c in cells] == list(
        itertools.product(["score", "mark"], ["prior", "both"], ["reml", "ml"], ["last two", "all"])
    )
    for row in (0, 5, 10, 15):
        outcome, adjustment, method, years = cells[row]
        right = refits.grid["adjustment"][adjustment]
        rows = pupils[pupils["year"].isin(refits.grid["years"][years])]
        own = rs.ValueAddedModel(f"{outcome} ~ {right}", group="school_id", time="year").fit(
            rows, method=method
        )
        verdicts = rs.detect_schools(
            own.school_effects, scores, POSTERIOR, variances=own.variances
        ).schools
        np.testing.assert_allclose(found.probabilities[row], verdicts["probability"], atol=1e-4)


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_means_of_one_year_take_the_spread_of_all(region):
    _, scores, means = region
    base = rs.SchoolLevelModel(
        "mean_score ~ low_income + C(year)", time="year", n="n_pupils", sd="estimate"
    )
    refits = Refits(base, means, years={"2025": [2025], "all": [2023, 2024, 2025]})
    found = multiverse(refits, scores, POSTERIOR)
    assert (found.specifications["error"] == "").all()
    whole = base.fit(means)
    alone = rs.SchoolLevelModel("mean_score ~ low_income", n="n_pupils", sd=whole.pupil_sd)
    own = alone.fit(means[means["year"] == 2025])
    verdicts = rs.detect_schools(
        own.school_effects, scores, POSTERIOR, variances=own.variances
    ).schools
    np.testing.assert_allclose(found.probabilities[0], verdicts["probability"], atol=1e-6)


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_windows_see_no_later_context(region):
    pupils, scores, _ = region
    base = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year")
    refits = Refits(base, pupils, years={"early": [2023, 2024], "all": [2023, 2024, 2025]})
    broken = scores.assign(context_index=scores["context_index"].where(scores["year"] < 2025, 50.0))
    first, second = multiverse(refits, scores, POINT), multiverse(refits, broken, POINT)
    assert (first.lists.answers[0] == second.lists.answers[0]).all()
    assert (first.lists.answers[1] != second.lists.answers[1]).any()


def test_what_fails_stays_in_the_table(region):
    pupils, scores, _ = region
    base = rs.ValueAddedModel("score ~ 1", group="school_id", time="year")
    refits = Refits(base, pupils, adjustment={"good": "prior_score", "bad": "no_such_column"})
    with pytest.warns(rs.WeakDataWarning, match="2 of 4"):
        found = multiverse(refits, scores, POINT.grid(adversity=[0.25, 0.4]))
    errors = found.specifications.set_index("choice_adjustment")["error"]
    assert (errors["good"] == "").all()
    assert all("no_such_column" in e for e in errors["bad"])
    robustness = found.robustness()
    assert "incomplete" in robustness.choices["reason"].iloc[0]
    assert robustness.glance()["n_failed"].item() == 2
    # a rule whose table is missing fails by itself
    low = rs.Criteria.preset("low_results_2025_or")
    with pytest.warns(rs.WeakDataWarning, match="1 of 2"):
        found = multiverse(model(region), scores, {"resilient": POINT, "low": low})
    errors = found.specifications.set_index("choice_rule")["error"]
    assert errors["resilient"] == ""
    assert "counts" in errors["low"]
    assert len(found.verdicts) == 60


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_any_number_of_processes_gives_the_same(region):
    base = rs.ValueAddedModel("score ~ 1", group="school_id", time="year")
    refits = Refits(base, region[0], adjustment=["prior_score", "prior_score + ses"])
    one = multiverse(refits, region[1], POSTERIOR.grid(**GRID))
    two = multiverse(refits, region[1], POSTERIOR.grid(**GRID), n_jobs=2)
    np.testing.assert_array_equal(one.lists.answers, two.lists.answers)
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    pd.testing.assert_frame_equal(one.specifications, two.specifications)
    assert one.notes == two.notes


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_indices_are_a_choice_and_may_be_unfitted(region):
    va, scores, means = model(region), region[1], region[2]
    shares = means.assign(low_income=1 / (1 + np.exp(means["low_income"])), single_parent=0.2)
    shares["single_parent"] += 0.1 * np.sin(np.arange(len(shares)))
    index = {"given": scores, "equal": rs.ContextIndex.equal(["low_income", "single_parent"])}
    found = multiverse(va, index, POINT, schools=shares)
    assert found.lists.factors == ("index",)
    assert list(found.specifications["choice_index"]) == ["given", "equal"]
    with pytest.raises(rs.SpecificationError, match="schools="):
        multiverse(va, index, POINT)


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_the_curve_of_one_school(region):
    found = multiverse(model(region), region[1], POSTERIOR.grid(**GRID) + POINT.grid(**GRID))
    best = found.robustness().schools["school_id"].iloc[0]
    curve = found.school(best)
    assert len(curve) == 8
    listed = (curve["verdict"] == "yes").to_numpy()
    assert listed[: listed.sum()].all()
    assert curve["probability"].isna().sum() == 4  # hard rules have none
    with pytest.raises(rs.DataError, match="S9"):
        found.school("S999")


def test_choices_are_read_off_the_rules():
    grid = POSTERIOR.grid(**GRID)
    found = rule_levels(grid)
    assert found.factors == {"adversity": ("0.25", "0.4"), "quantile": ("0.6", "0.75")}
    assert found.levels[1] == {"adversity": "0.25", "quantile": "0.75"}
    # evidence of two criteria changes together, and so do years and losses with it
    both = rule_levels(grid + POINT.grid(**GRID))
    assert both.factors["evidence"] == ("posterior", "point")
    assert len({r.id for r in both.rules}) == 8
    assert rule_levels(POSTERIOR).factors == {}
    # a grid with a hole, different presets
    holed = rule_levels(grid[:3])
    assert list(holed.factors) == ["rule"]
    assert "one choice with 3 levels" in holed.notes[0]
    quadrant = rs.Criteria.preset("resilient_quadrant")
    apart = rule_levels([POSTERIOR, quadrant])
    assert apart.factors == {"rule": ("resilient_posterior", "resilient_quadrant")}
    assert not apart.notes
    crossed = rule_levels(
        {"own": grid, "raw": quadrant.grid(adversity=[0.25, 0.4], high_mean=[0.6, 0.75])}
    )
    assert list(crossed.factors) == ["rule", "adversity", "quantile/high_mean"]
    assert crossed.levels[-1] == {
        "rule": "raw",
        "adversity": "0.4",
        "quantile/high_mean": "0.75",
    }
    flags = rule_levels(POSTERIOR.grid(exclude_selective=[True, False], min_pupils=[5, 10]))
    assert flags.factors == {"exclude_selective": ("True", "False"), "min_pupils": ("5", "10")}


def test_bad_input_is_named(region):
    va, scores = model(region), region[1]
    cases = [
        ((5, scores, POINT), {}, "seen int"),
        ((va, "x", POINT), {}, "seen str"),
        ((va, scores, []), {}, "at least one rule"),
        ((va, scores, ["x"]), {}, "seen str"),
        ((va, scores, POINT), {"n_jobs": 0}, "seen 0"),
        (({}, scores, POINT), {}, "seen {}"),
    ]
    for arguments, more, named in cases:
        with pytest.raises(rs.SpecificationError, match=named):
            multiverse(*arguments, **more)
    with pytest.raises(rs.SpecificationError, match=r"adjustment.*'a'"):
        Refits(rs.ValueAddedModel("score ~ 1", group="school_id"), region[0], adjustment="a")
    with pytest.raises(rs.SpecificationError, match="without repeats"):
        Refits(rs.ValueAddedModel("score ~ 1", group="school_id"), region[0], outcome=["a", "a"])
    with pytest.raises(rs.SpecificationError, match="no outcome"):
        Refits(rs.OrdinalSchoolModel("~ 1"), region[0], outcome=["a"])
    with pytest.raises(rs.SpecificationError, match="'when'"):
        Refits(
            rs.ValueAddedModel("score ~ 1", group="school_id"),
            region[0],
            years={"a": [2025]},
            year="when",
        )
    with pytest.raises(rs.SpecificationError, match="seen str"):
        Refits("a model", region[0])


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_contract_of_results(region):
    found = multiverse(model(region), region[1], POSTERIOR.grid(**GRID))
    known = set(column_names())
    for table in (found.tidy(), found.glance(), found.verdicts, found.school("S00")):
        assert {c for c in table.columns if not c.startswith("choice_")} <= known
    english, russian = found.summary(), found.summary("ru")
    assert "Multiverse" in english
    assert "Мультивселенная" in russian
    assert "порог эффекта" in russian
    assert "nan" not in english + russian
    data = pd.DataFrame({"school_id": ["S03", "S77"]})
    assert list(found.augment(data)["robustness_share"].isna()) == [False, True]
    assert json.dumps(found.to_dict(), ensure_ascii=False)
    assert found._repr_html_().startswith("<h4>")
