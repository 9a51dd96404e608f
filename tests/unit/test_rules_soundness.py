"""`Criteria.validate`: contradictions, idle lines, bounds out of range, data that are not there."""

from __future__ import annotations

from itertools import product

import pandas as pd
import pytest

from resilience.detection import Criteria, Criterion, detect_schools, preset_ids
from resilience.errors import SpecificationError


def rule(*lines: dict[str, object], **fields: object) -> Criteria:
    given = [{"name": f"c{k}", "column": "low_income", **line} for k, line in enumerate(lines, 1)]
    own = {"id": "r", "version": "1", "title_en": "R", "title_ru": "П", **fields}
    return Criteria(criteria=tuple(Criterion(**line) for line in given), **own)


def refused(one: Criteria, *parts: str, **data: object) -> str:
    with pytest.raises(SpecificationError) as caught:
        one.validate(**data)
    for lang in ("en", "ru"):
        words = caught.value.localized(lang)
        for part in ("r", *parts):
            assert part in words, (part, words)
    assert any("а" <= letter <= "я" for letter in caught.value.localized("ru"))
    return str(caught.value)


@pytest.mark.parametrize("name", preset_ids())
def test_every_preset_is_sound(name: str) -> None:
    preset = Criteria.preset(name)
    assert preset.validate() is preset


HIGH, LOW = {"at_least": 0.3}, {"below": 0.2}
SHARE = {"column": "share_below_minimum"}


def test_criteria_that_exclude_each_other() -> None:
    words = refused(rule(HIGH, LOW), "c1", "c2", "low_income")
    assert "contradictory" in words
    assert rule(HIGH, LOW, combination="any").validate()
    assert rule({"at_least": 0.3}, {"at_most": 0.3}).validate()  # .30 itself satisfies both
    refused(rule({"at_least": 0.3}, {"below": 0.3}), "c1", "c2")
    refused(rule({"above": 0.3}, {"at_most": 0.3}), "c1", "c2")
    refused(rule({"between": (0.2, 0.3), "open_above": True}, {"at_least": 0.3}), "c1", "c2")


def test_different_numbers_do_not_exclude_each_other() -> None:
    assert rule(HIGH, LOW | {"column": "single_parent"}).validate()
    assert rule({"at_least": 0.5}, {"at_most": 0.25, "scale": "quantile"}).validate()
    assert rule(
        HIGH | {"within": ("is_rural",), "scale": "quantile"}, {"at_most": 0.2, "scale": "quantile"}
    ).validate()
    assert rule(HIGH, LOW | {"years": "mean"}).validate()


def test_a_quantile_gate_with_an_impossible_other() -> None:
    gate = {"column": "context_index", "at_most": 0.25, "scale": "quantile"}
    refused(rule(gate, gate | {"name": "c2", "at_most": None, "at_least": 0.5}), "c1", "c2")
    words = refused(rule(gate, {"above": 1.0}), "c2", "low_income", "1")
    assert "can never hold" in words


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ({"above": 1.0}, "never"),
        ({"below": 0.0}, "never"),
        ({"at_least": 0.0}, "always"),
        ({"at_most": 1.0}, "always"),
        ({"between": (0.0, 1.0)}, "always"),
        ({"column": "n_pupils", "below": 0.0}, "never"),
        ({"column": "n_pupils", "at_least": 0.0}, "always"),
        ({"column": "n_pupils", "at_most": -5.0}, "never"),
        ({"column": "rank_percentile", "at_least": 101.0}, "never"),
        ({"column": "mean_score", "at_least": 1.0, "scale": "quantile"}, "never"),
        ({"column": "mean_score", "at_most": 0.0, "scale": "quantile"}, "never"),
        ({"column": "mean_score", "at_most": 1.0, "scale": "quantile"}, "always"),
    ],
)
def test_bounds_outside_the_range_of_their_column(line: dict[str, object], word: str) -> None:
    assert word in refused(rule(line), "c1")


@pytest.mark.parametrize(
    "line",
    [
        {"at_least": 1.0},
        {"at_most": 0.0},
        {"column": "mean_score", "at_least": 90.0},
        {"column": "mean_score", "at_most": -9.0, "scale": "z"},
        {"column": "rank_percentile", "at_least": 100.0},
        {"column": "hard_risk", "at_least": 1},
        {"column": "hard_risk", "at_most": 0},
    ],
)
def test_bounds_at_the_edge_may_hold(line: dict[str, object]) -> None:
    assert rule(line).validate()


def test_criteria_that_repeat_each_other() -> None:
    assert "same" in refused(rule(HIGH, HIGH), "c1", "c2")
    assert "same" in refused(rule(HIGH, HIGH, combination=2), "c1", "c2")


@pytest.mark.parametrize(("combination", "idle"), [("all", "c1"), ("any", "c2")])
def test_a_criterion_that_never_matters(combination: str, idle: str) -> None:
    # .30 and more is also .20 and more: of both the weaker, of either the stronger is idle
    words = refused(rule({"at_least": 0.2}, {"at_least": 0.3}, combination=combination), idle)
    assert f"{idle} never matters" in words
    assert rule({"at_least": 0.2}, {"at_least": 0.3}, combination=1).validate()


def test_years_may_reconcile_what_one_year_cannot() -> None:
    once = {"years_at_least": 1, "years_of": 2}
    assert rule(HIGH | once, LOW | once).validate()
    most = {"years_at_least": 2, "years_of": 3}
    refused(rule(HIGH | most, LOW | most), "c1", "c2")
    assert rule(HIGH | most, LOW | {"years_at_least": 1, "years_of": 3}).validate()


def test_shares_differ_between_procedures() -> None:
    both = (HIGH | SHARE, LOW | SHARE)
    assert rule(*both).validate()  # high in one procedure, low in another
    refused(rule(*both, procedures=("ОГЭ-МА",)), "c1", "c2")
    refused(rule(HIGH | SHARE | {"procedures_at_least": "all"}, LOW | SHARE), "c1", "c2")
    three = ("ВПР-5-МА", "ОГЭ-МА", "ОГЭ-РУ")
    two = {"procedures_at_least": 2}
    refused(rule(HIGH | SHARE | two, LOW | SHARE | two, procedures=three), "c1", "c2")
    assert rule(HIGH | SHARE | two, LOW | SHARE, procedures=three).validate()


def holds(c: Criterion, low: list[list[bool]]) -> bool:
    """Whether "low in enough procedures and years" holds of a table of procedures by years."""
    window = [row[-c.years_of :] for row in low]
    if c.order == "years":
        lasting = sum(sum(row) >= c.years_at_least for row in window)
        return lasting >= c.procedures_at_least
    years = [sum(col) >= c.procedures_at_least for col in zip(*window, strict=True)]
    return sum(years) >= c.years_at_least


def share_lines() -> list[Criterion]:
    return [
        Criterion(
            name="c",
            column="share_below_minimum",
            at_least=0.3,
            procedures_at_least=p,
            years_at_least=k,
            years_of=n,
            order=order,
        )
        for p, n in product((1, 2), (1, 2, 3))
        for k in range(1, n + 1)
        for order in ("procedures", "years")
    ]


def test_implication_between_share_criteria_is_true_in_every_table() -> None:
    # brute force: all 64 tables of two procedures by three years
    from resilience.detection.rules.soundness import _implies

    tables = [[list(cells[:3]), list(cells[3:])] for cells in product((False, True), repeat=6)]
    lines = share_lines()
    claimed = 0
    for one, two in product(lines, repeat=2):
        if _implies(one, two):
            claimed += 1
            assert all(holds(two, t) for t in tables if holds(one, t)), (one, two)
    assert claimed > len(lines)  # more than that every line implies itself


def test_weights_that_never_count() -> None:
    weighted = rule({"at_least": 0.2, "weight": 2.0}, {"column": "single_parent", "at_least": 0.3})
    assert "weights" in refused(weighted, "at_least = k")
    assert weighted.amend(combination=2.5).validate()
    for k in (0, 3.5, True, "2"):
        with pytest.raises(SpecificationError, match="combination"):
            weighted.amend(combination=k)


def test_tables_that_lack_what_the_rule_reads() -> None:
    federal = Criteria.preset("low_results_2025_or").amend(id="r")
    counts = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    assert federal.validate(tables={"counts": counts})
    refused(federal, "counts", "n_below_minimum", tables={"counts": counts[:4]})
    refused(federal, "counts", tables={"schools": ["school_id"]})
    flagged = federal.amend(exclude_flagged=True, exclude_selective=True)
    words = refused(flagged, "integrity_flag", tables={"counts": counts, "schools": ["year"]})
    assert "is_selective" in words
    posterior = Criteria.preset("resilient_posterior").amend(id="r", exclude_selective=False)
    frame = pd.DataFrame(columns=["school_id", "effect", "reliability", "n_pupils"])
    refused(posterior, "effects", "conditional_sd", "scores", tables={"effects": frame})
    refused(rule({"at_least": 0.2}), "low_income", tables={"scores": ["context_index"]})
    lasting = rule({"at_least": 0.2, "years_at_least": 2, "years_of": 2})
    refused(lasting, "c1", "2", tables={"schools": ["school_id", "low_income"]})
    assert lasting.validate(tables={"schools": ["school_id", "year", "low_income"]})
    needy = rule({"at_least": 0.2}, needs=("counts.class_label",))
    refused(needy, "counts", "class_label", tables={"schools": ["low_income"]})
    pupils = Criteria.preset("oecd_national").amend(id="r")
    assert pupils.validate(tables={"pupils": ["ses", "score"]})
    refused(pupils, "pupils", "ses", tables={"pupils": ["score"]})


def test_a_preset_asked_for_years_that_are_not_there() -> None:
    federal = Criteria.preset("low_results_2025_or").amend(id="r")
    assert federal.validate(years=[2024, 2025])
    refused(federal, "same_procedure_two_years", "2024", years=[2025])
    refused(federal.amend(year=2019), "2019", "2024, 2025", years=[2024, 2025])
    refused(federal.amend(year=2024), "2023", years=[2024, 2025])
    refused(Criteria.preset("resilient_three_of_three").amend(id="r"), "2023", years=[2024, 2025])
    refused(federal, "—", years=[])


def test_procedures_that_are_not_there() -> None:
    federal = Criteria.preset("low_results_2025_or").amend(id="r")
    assert federal.validate(procedures=["ОГЭ-МА", "ОГЭ-РУ"])
    refused(federal, "two_procedures", "2", "1", procedures=["ОГЭ-МА"])
    latin = federal.amend(procedures=["ОГЭ-MA", "ОГЭ-РУ"])  # Latin letters
    refused(latin, "ОГЭ-MA", "ОГЭ-МА", procedures=["ОГЭ-МА", "ОГЭ-РУ"])
    vpr = federal.amend(exclude_flagged_vpr=True)
    refused(vpr, "exclude_flagged_vpr", "ОГЭ-МА", procedures=["ОГЭ-МА", "ОГЭ-РУ"])
    assert vpr.validate(procedures=["ВПР-5-МА", "ОГЭ-РУ"])
    assert rule({"at_least": 0.2}).validate(procedures=[])


def test_all_problems_are_told_at_once() -> None:
    words = refused(rule(HIGH, LOW, {"column": "n_pupils", "below": 0}), "c3", years=[])
    assert "(3)" in words


IMPOSSIBLE = [
    (
        "at_least = 0.3\nprocedures = { at_least = 2 }",
        '["ОГЭ-РУ"]',
        "needs 2 procedures, and there are 1",
    ),
    ("above = 1.0", '"all"', "can never hold"),
]


def own_rule(bound: str, procedures: str) -> str:
    return (
        '[[rule]]\nid = "own"\nversion = "1"\ntitle_en = "Own"\ntitle_ru = "Своё"\n'
        f"procedures = {procedures}\n[[rule.criterion]]\n"
        f'name = "low"\ncolumn = "share_below_minimum"\n{bound}\n'
    )


@pytest.mark.parametrize(("bound", "procedures", "said"), IMPOSSIBLE)
def test_a_rule_that_nobody_can_meet_is_not_applied(bound: str, procedures: str, said: str) -> None:
    (rule,) = Criteria.from_text(own_rule(bound, procedures))
    counts = pd.DataFrame(
        {
            "school_id": [f"S{i}" for i in range(20)],
            "year": 2025,
            "procedure": "ОГЭ-РУ",
            "n_participants": 20,
            "n_below_minimum": range(20),
        }
    )
    with pytest.raises(SpecificationError) as caught:
        detect_schools(None, None, rule, counts=counts)
    assert said in str(caught.value)


def test_criteria_that_exclude_each_other_are_not_applied() -> None:
    rule = Criteria(
        id="own",
        version="1",
        title_en="own",
        title_ru="своё",
        criteria=(
            Criterion(name="poor", column="context_index", at_most=0.25, scale="quantile"),
            Criterion(name="rich", column="context_index", at_least=0.75, scale="quantile"),
        ),
    )
    scores = pd.DataFrame({"school_id": [f"S{i}" for i in range(20)], "context_index": range(20)})
    with pytest.raises(SpecificationError, match="contradictory") as caught:
        detect_schools(None, scores, rule)
    assert "противореч" in caught.value.message.ru


@pytest.mark.parametrize("procedures", ["[]", '["ОГЭ-РУ", "ОГЭ-РУ"]'])
def test_procedures_are_named_once(procedures: str) -> None:
    with pytest.raises(SpecificationError, match="procedures"):
        Criteria.from_text(own_rule("at_least = 0.3", procedures))
