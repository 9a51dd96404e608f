"""What a detection returns: tables, glossary, explanations in two languages, printed words."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column_names
from resilience.detection import Criteria, DetectionResults, detect_schools
from resilience.results import format_table

SCHOOLS = [
    "school_id",
    "rule_id",
    "verdict",
    "probability",
    "probability_from",
    "probability_to",
    "probability_policy",
    "probability_effect",
    "probability_adverse",
    "threshold",
    "effect_net",
    "effect_net_sd",
    "power_to_detect",
    "years_needed",
    "pupils_needed",
    "expected_loss",
    "list_fdr",
    "in_fdr_list",
    "target",
    "certainty",
    "reason",
]
CRITERIA = [
    "school_id",
    "rule_id",
    "criterion",
    "value",
    "threshold",
    "scale",
    "probability",
    "verdict",
    "reason",
    "reference",
]
RULES = ["low_results_2025_or", "low_posterior", "adverse_context", "resilient_posterior"]


@cache
def found() -> DetectionResults:
    """Rules of every kind on the simulated region; effects and index are made here, not fitted."""
    region = rs.load_dataset("north_region")
    truth = region.truth["schools"]
    rng = np.random.default_rng(7)
    n = len(truth)
    precision = rng.uniform(20, 90, n)
    trust = 0.0365 * precision / (1 + 0.0365 * precision)
    d = truth["persistent_effect"].to_numpy() + rng.normal(size=n) / np.sqrt(precision)
    effects = pd.DataFrame(
        {
            "school_id": truth["school_id"],
            "effect": trust * d,
            "std_error": np.sqrt(0.0365 * (1 - trust)),
            "conditional_sd": np.sqrt(0.0365 * (1 - trust)),
            "reliability": trust,
            "n_pupils": (8 * precision).astype(int),
            "n_years": 4,
        }
    )
    scores = pd.DataFrame(
        {
            "school_id": truth["school_id"],
            "context_index": truth["true_index"] + rng.normal(0, 2, n),
            "context_index_std_error": 2.0,
            "context_reliability": 0.96,
        }
    )
    return detect_schools(
        effects,
        scores,
        [Criteria.preset(name) for name in RULES],
        counts=region.counts,
        schools=region.schools,
    )


def test_columns_are_the_documented_ones_and_stand_in_the_glossary() -> None:
    assert list(found().schools.columns) == SCHOOLS
    assert list(found().criteria.columns) == CRITERIA
    tables = [found().lists, found().list_errors, found().glance()]
    for name in (*SCHOOLS, *CRITERIA, *(c for t in tables for c in t.columns)):
        assert name in column_names(), name


def test_one_row_per_school_and_rule_and_none_is_lost() -> None:
    schools, criteria = found().schools, found().criteria
    assert len(schools) == 177 * len(RULES)
    assert not schools.duplicated(["school_id", "rule_id"]).any()
    assert not criteria.duplicated(["school_id", "rule_id", "criterion"]).any()
    assert len(criteria) == 177 * sum(len(r.criteria) for r in found().rules)
    words = {"yes", "no", "insufficient_data", "not_applicable"}
    assert set(schools["verdict"]) <= words
    assert (schools.loc[schools["verdict"] != "no", "reason"] != "").sum() > 0
    open_ = schools[schools["verdict"].isin(["insufficient_data", "not_applicable"])]
    assert (open_["reason"] != "").all()


def test_lists_and_glance_add_up() -> None:
    lists = found().lists
    numbers = ["n_listed", "n_not_listed", "n_insufficient", "n_not_applicable"]
    assert (lists[numbers].sum(axis=1) == 177).all()
    glance = found().glance()
    assert len(glance) == 1
    assert glance[numbers].iloc[0].tolist() == lists[numbers].sum().tolist()
    first = lists.set_index("rule_id").loc["low_results_2025_or"]
    assert first["n_if_all"] < first["n_if_any"] == first["n_listed"]
    errors = found().list_errors.set_index("rule_id")
    assert list(errors.index) == ["low_posterior", "resilient_posterior"]
    expected = lists.set_index("rule_id").loc[errors.index, "expected_false"]
    assert errors["expected_false"].tolist() == pytest.approx(expected.tolist())


def test_listed_and_rule_by_id() -> None:
    listed = found().listed("low_results_2025_or")
    assert set(listed["rule_id"]) == {"low_results_2025_or"}
    assert len(listed) == found().lists.set_index("rule_id").loc["low_results_2025_or", "n_listed"]
    assert found().rule("low_posterior").status == "proposal"


def test_explanation_of_a_listed_school() -> None:
    school = found().listed("low_results_2025_or")["school_id"].iloc[0]
    english, russian = (found().explain(school, lang=lang) for lang in ("en", "ru"))
    assert list(english.table.columns) == CRITERIA[1:]
    assert len(english.table) == sum(len(r.criteria) for r in found().rules)
    assert len(english.sentences) == len(RULES)
    assert str(english).startswith(f"School {school}")
    assert str(russian).startswith(f"Школа {school}")
    assert "Reached: " in english.sentences[0]
    assert "Достигнуто: " in russian.sentences[0]
    assert "intervals" in english.sentences[0]  # certain or possible, in words
    assert "Низкие результаты, федеральное правило: А или Б: да." in russian.sentences[0]
    page = russian._repr_html_()
    assert school in page
    assert "Достигнуто" in page


def test_explanation_says_what_is_still_needed() -> None:
    rows = found().schools
    open_ = rows[(rows["rule_id"] == "resilient_posterior") & rows["years_needed"].gt(0)]
    school = open_[open_["verdict"] == "insufficient_data"]["school_id"].iloc[0]
    words = str(found().explain(school))
    assert "years of such cohorts" in words
    assert "лет с такими когортами" in str(found().explain(school, lang="ru"))


def test_summary_in_both_languages() -> None:
    english, russian = found().summary(), found().summary("ru")
    for rule in found().rules:
        assert rule.title("en") in english
        assert rule.title("ru") in russian
    assert "правило не подтверждено официальным документом" in russian  # DOMAIN oracle 20
    assert "all procedures of the table: ВПР-5-МА" in english
    assert "R²" not in english  # effects given without expectations: nothing to recognise
    assert all(hasattr(note, "ru") for note in found().notes)


def test_a_result_of_documented_rules_alone_says_nothing_of_proposals() -> None:
    region = rs.load_dataset("north_region")
    rules = [Criteria.preset("shnor_2025", connective=c) for c in ("or", "and")]
    documented = detect_schools(None, None, rules, counts=region.counts)
    assert "не подтверждено" not in documented.summary("ru")


def test_augment_keeps_the_rows_of_the_table() -> None:
    region = rs.load_dataset("north_region")
    wide = found().augment(region.schools)
    assert len(wide) == len(region.schools)
    assert wide.index.equals(region.schools.index)
    for rule in RULES:
        assert set(wide[f"verdict_{rule}"]) <= {"yes", "no", "insufficient_data", "not_applicable"}


def test_tables_print_in_russian() -> None:
    printed = format_table(found().schools.head(3), "ru")
    assert "Заключение" in printed.columns
    assert set(printed["Заключение"]) <= {"да", "нет", "недостаточно данных", "неприменимо"}
    listed = found().listed("low_results_2025_or").head(3)
    assert format_table(listed, "ru")["Основание"].str.startswith("Достигнуто").all()


def test_to_dict_and_tidy() -> None:
    assert found().tidy().equals(found().schools)
    record = found().to_dict()
    assert len(record["schools"]) == len(found().schools)


def test_selective_schools_are_not_applicable_to_resilience_alone() -> None:
    schools = rs.load_dataset("north_region").schools
    selective = set(schools.loc[schools["is_selective"], "school_id"])
    rows = found().schools
    outside = rows[rows["verdict"] == "not_applicable"]
    assert set(outside["school_id"]) == selective
    assert set(outside["rule_id"]) == {"resilient_posterior"}


def test_the_same_input_gives_the_same_tables() -> None:
    region = rs.load_dataset("north_region")
    rule = Criteria.preset("low_results_2025_or")
    one = detect_schools(None, None, rule, counts=region.counts)
    again = detect_schools(None, None, rule, counts=region.counts)
    pd.testing.assert_frame_equal(one.schools, again.schools)
    assert one.schools.to_csv() == again.schools.to_csv()
