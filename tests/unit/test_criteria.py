"""Criteria as data: the grammar, presets, amendments, grids and the way back to a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.detection import Criteria, Criterion, preset_ids
from resilience.errors import SpecificationError
from resilience.references import reference_keys

NOT_CONFIRMED = "правило не подтверждено официальным документом"  # DOMAIN 4.1(1)

GRAMMAR = """
[[rule]]
id = "everything"
version = "2026-05"
title = { en = "Everything", ru = "Всё" }
status = "proposal"
reference = "Order of the ministry, 1 May 2026, no. 17"
combination = { at_least = 2 }

[rule.parameters]
procedures = ["ВПР-5-МА", "ОГЭ-РУ"]
p_no = 0.1

[[rule.criterion]]
name = "low"
column = "share_below_minimum"
at_least = 0.30
procedures = { at_least = 2 }
years = { at_least = 2, of = 3 }
order = ["years", "procedures"]
min_pupils = 10

[[rule.criterion]]
name = "middle"
column = "mean_score"
between = [-1.0, 1.0]
scale = "z"
within = ["school_type"]
years = "mean"

[[rule.criterion]]
name = "good"
column = "effect"
above = 0
evidence = { interval = { level = 0.9 } }

[[rule.criterion]]
name = "better"
column = "effect"
above = 0.75
scale = "quantile"
years = "persistent"
min_pupils = 12
evidence = { posterior = { loss_false_positive = 4, loss_false_negative = 1 } }
"""


def rule(**fields: object) -> Criteria:
    own = {"name": "one", "column": "context_index", "at_most": 0.25, "scale": "quantile"}
    return Criteria(
        id="r", version="1", title_en="R", title_ru="П", criteria=(Criterion(**(own | fields)),)
    )


def test_the_whole_grammar_is_read() -> None:
    (found,) = Criteria.from_text(GRAMMAR)
    assert (found.title_en, found.title_ru) == ("Everything", "Всё")
    assert found.combination == 2
    assert found.procedures == ("ВПР-5-МА", "ОГЭ-РУ")
    assert found.p_no == 0.1
    assert found.min_pupils == 12
    low, middle, good, better = found.criteria
    assert (low.procedures_at_least, low.years_at_least, low.years_of) == (2, 2, 3)
    assert (low.order, low.min_participants) == ("years", 10)
    assert (middle.between, middle.within, middle.years) == ((-1.0, 1.0), ("school_type",), "mean")
    assert (good.evidence, good.level) == ("interval", 0.9)
    assert better.losses.threshold == 0.8
    assert better.years == "persistent"


def test_every_rule_finds_its_way_back(tmp_path: Path) -> None:
    rules = [*Criteria.from_text(GRAMMAR), *map(Criteria.preset, preset_ids())]
    for one in rules:
        assert Criteria.from_dict(one.to_dict()) == one
        assert Criteria.from_text(one.to_toml()) == (one,)
    path = tmp_path / "критерии.toml"
    path.write_text("\n".join(r.to_toml() for r in rules), encoding="utf-8-sig")
    assert Criteria.from_toml(path) == tuple(rules)


def test_texts_with_quotes_and_breaks_find_their_way_back() -> None:
    odd = Criteria.from_dict(rule().to_dict() | {"title_en": 'a "b" \\ c\nd\te', "title_ru": "«е»"})
    assert Criteria.from_text(odd.to_toml()) == (odd,)


@pytest.mark.parametrize("name", preset_ids())
def test_every_preset_is_complete(name: str) -> None:
    preset = Criteria.preset(name)
    assert preset.id == name
    assert preset.version
    assert preset.status in ("documented", "unverified", "proposal")
    sources = {preset.reference, *(c.reference for c in preset)} - {""}
    assert sources <= set(reference_keys())
    for lang in ("en", "ru"):
        words = preset.describe(lang)
        assert preset.title(lang) in words
        assert preset.version in words
        for criterion in preset:
            assert criterion.name in words
    confirmed = preset.status == "documented"
    assert (NOT_CONFIRMED in preset.describe("ru")) is not confirmed
    assert preset.validate() is preset


def test_which_rules_are_documented() -> None:
    # DOMAIN 4.2 (federal rule), 4.3 (HSECapital), 4.6 (OECD residual); all else is not
    documented = {n for n in preset_ids() if Criteria.preset(n).status == "documented"}
    federal = {"low_results_2025_and", "low_results_2025_or"}
    assert documented == federal | {"concentration_60", "hse_core", "oecd_residual"}
    assert all(Criteria.preset(n).second_hand for n in federal)


@pytest.mark.parametrize("connective", ["or", "and"])
def test_the_federal_rule_by_its_official_name(connective: str) -> None:
    found = Criteria.preset("shnor_2025", connective=connective)
    assert found == Criteria.preset(f"low_results_2025_{connective}")
    assert found.combination == {"or": "any", "and": "all"}[connective]


def test_the_federal_rule_has_no_default_connective() -> None:
    with pytest.raises(SpecificationError, match="does not say") as caught:
        Criteria.preset("shnor_2025")
    assert "low_results_2025_and" in str(caught.value)


def test_the_older_reading_by_either_name() -> None:
    assert Criteria.preset("shnor_2020_2024") == Criteria.preset("low_results_any")
    assert Criteria.preset("low_results_any").status == "unverified"


def test_guarded_variants_differ_in_the_floor_alone() -> None:
    for connective in ("or", "and"):
        plain = Criteria.preset(f"low_results_2025_{connective}")
        guarded = Criteria.preset(f"low_results_2025_{connective}_guarded")
        assert {c.min_participants for c in plain} == {1}
        assert {c.min_participants for c in guarded} == {10}
        assert guarded.status == "proposal"
        changed = plain.diff(guarded).query("criterion != ''")
        assert set(changed["field"]) == {"min_participants", "status"}


def test_amending_a_criterion() -> None:
    preset = Criteria.preset("resilient_posterior")
    same = preset.amend("adversity", at_most=0.25)
    assert same == preset
    other = preset.amend("adversity", at_most=0.33)
    assert preset.criteria[0].at_most == 0.25
    assert other.criteria[0].at_most == 0.33
    assert other.id == preset.id
    assert other.version == preset.version + "+amended"
    rows = preset.diff(other)[["criterion", "field", "old_value", "new_value"]]
    assert rows.values.tolist() == [
        ["", "version", preset.version, other.version],
        ["adversity", "at_most", "0.25", "0.33"],
    ]


def test_setting_a_bound_removes_the_other() -> None:
    found = rule().amend("one", below=0.5)
    assert (found.criteria[0].at_most, found.criteria[0].below) == (None, 0.5)
    pair = rule().amend("one", between=[0.1, 0.2])
    assert pair.criteria[0].between == (0.1, 0.2)


def test_an_amended_documented_rule_is_a_proposal() -> None:
    federal = Criteria.preset("low_results_2025_or")
    own = federal.amend("two_procedures", at_least=0.25)
    assert (own.status, own.second_hand) == ("proposal", False)
    assert NOT_CONFIRMED in own.describe("ru")


def test_naming_procedures_or_the_year_leaves_a_rule_official() -> None:
    federal = Criteria.preset("low_results_2025_or")
    for own in (
        federal.amend(procedures=["ВПР-5-МА"]),
        federal.amend(federal.id, procedures=("ВПР-5-МА",)),
        federal.amend(year=2024),
    ):
        assert (own.status, own.version) == ("documented", "2025-12")
    assert "ВПР-5-МА" in federal.amend(procedures=["ВПР-5-МА"]).describe("ru")
    assert federal.amend(procedures=["ВПР-5-МА"]).amend(procedures="all") == federal


def test_the_caller_may_answer_for_a_new_version() -> None:
    own = Criteria.preset("low_results_2025_or").amend(version="КЧР-2026", exclude_selective=True)
    assert own.version == "КЧР-2026"


def test_grid_is_the_product_in_declared_order() -> None:
    found = Criteria.preset("resilient_posterior").grid(
        adversity=[0.20, 0.25, 0.33], quantile=[0.67, 0.75]
    )
    bounds = [(r.criteria[0].at_most, r.criteria[1].above) for r in found]
    assert bounds == [(a, q) for a in (0.20, 0.25, 0.33) for q in (0.67, 0.75)]
    assert len({r.id for r in found}) == 6
    assert found[0].id == "resilient_posterior[adversity=0.2,quantile=0.67]"


def test_grid_of_a_field_of_the_rule() -> None:
    found = Criteria.preset("low_results_2025_or").grid(combination=["all", "any"])
    assert [r.combination for r in found] == ["all", "any"]
    assert Criteria.preset("resilient_posterior").grid() == (
        Criteria.preset("resilient_posterior"),
    )


def test_values_at_their_default_are_shown() -> None:
    found = Criteria.preset("resilient_posterior")
    assert (found.min_coverage, found.min_context_reliability) == (0.6, 0.5)
    assert (found.alternative_quantile, found.fdr) == (0.9, 0.1)
    words = found.describe("ru")
    for value in ("0,05", "0,5", "0,6", "0,9", "0,1", "4 : 1", "10"):
        assert value in words
    assert Criteria.preset("resilient_residual").criteria[1].level == 0.95


def test_thresholds_are_read_as_written() -> None:
    low = Criteria.preset("low_results_2025_or").criteria[0]
    (bound,) = low.exact_ends
    assert (bound.numerator, bound.denominator) == (3, 10)


def test_criteria_are_frozen_and_iterable() -> None:
    found = rule()
    with pytest.raises(AttributeError):
        found.version = "2"
    assert [c.name for c in found] == ["one"]


def test_descriptions_name_every_part() -> None:
    words = Criteria.from_text(GRAMMAR)[0].describe("en")
    for part in (
        "At least 2 of these",
        "the same procedure in 2 of 3 years",
        "at least 10 participants",
        "from −1 to 1",
        "within strata by: School type",
        "mean over years",
        "90 % interval",
        "posterior probability at least 0.8",
        "ВПР-5-МА, ОГЭ-РУ",
        "Order of the ministry, 1 May 2026, no. 17",
    ):
        assert part in words, part


NEWER = """
[[rule]]
id = "newer"
version = "1"
title = { en = "Newer", ru = "Новое" }
combination = { at_least = 2.5 }
procedures = "all"
exclude_selective = true
exclude_flagged = true
exclude_flagged_vpr = true
needs = ["counts.class_label"]

[[rule.criterion]]
name = "zone"
column = "share_below_minimum"
between = [0.20, 0.30]
open_above = true
weight = 1.5

[[rule.criterion]]
name = "long_run"
column = "share_below_minimum"
at_least = 0.30
procedures = { at_least = 2 }
evidence = { posterior = { loss_false_positive = 4, loss_false_negative = 1 } }

[[rule.criterion]]
name = "subjects"
column = "residual"
at_least = 0.1
subjects = { at_least = 2 }

[[rule.criterion]]
name = "every_subject"
column = "mean_score"
at_least = 0
subjects = "all"

[[rule.criterion]]
name = "event"
column = "effect"
above = 0.1
years = { at_least = 2, of = 3 }
evidence = { posterior = { loss_false_positive = 4, loss_false_negative = 1 } }

[[rule.criterion]]
name = "hard"
column = "hard_risk"
at_most = 0
"""


def test_the_newer_grammar_is_read_and_finds_its_way_back() -> None:
    (found,) = Criteria.from_text(NEWER)
    assert found.combination == 2.5
    assert (found.exclude_flagged, found.exclude_flagged_vpr) == (True, True)
    assert found.needs == ("counts.class_label",)
    zone, long_run, subjects, every, event, _ = found
    assert (zone.open_above, zone.weight) == (True, 1.5)
    assert long_run.procedures_at_least == 2
    assert (subjects.subjects, every.subjects) == (2, "all")
    assert (event.years_at_least, event.years_of) == (2, 3)
    assert Criteria.from_text(found.to_toml()) == (found,)
    assert Criteria.from_dict(found.to_dict()) == found
    assert found.validate() is found
    after = found.amend("event", years="next_year", years_at_least=1, years_of=1)
    assert after.criteria[4].years == "next_year"
    assert Criteria.from_text(after.to_toml()) == (after,)


def test_the_newer_grammar_in_words() -> None:
    (found,) = Criteria.from_text(NEWER)
    after = found.amend("event", years="next_year", years_at_least=1, years_of=1)
    words = {
        "en": (
            "must sum to at least 2.5",
            "from 0.2 to below 0.3",
            "weight 1.5",
            "in the long run in at least 2 procedures",
            "in at least 2 subject(s)",
            "in every subject",
            "in at least 2 of the last 3 years",
            "Hard risk: no",
            "signs that call for further analysis are left aside",
            "do not clear a school",
        ),
        "ru": (
            "не менее 2,5",
            "от 0,2 до 0,3, не включая верхнюю границу",
            "вес 1,5",
            "в длительной перспективе не менее чем по 2 процедурам",
            "по предметам: не менее 2",
            "по каждому предмету",
            "не менее чем в 2 из последних 3 лет",
            "Ресурсный риск: нет",
            "с признаками, требующими дополнительного анализа",
            "не снимают вопроса",
        ),
    }
    for lang, parts in words.items():
        for part in parts:
            assert part in found.describe(lang), part
    assert "next year's cohort" in after.describe("en")
    assert "следующего года" in after.describe("ru")


def test_dropping_between_drops_its_open_end() -> None:
    (found,) = Criteria.from_text(NEWER)
    assert found.amend("zone", at_least=0.2).criteria[0].open_above is False
    assert found.amend("zone", between=[0.1, 0.2]).criteria[0].open_above is True
