"""What stands beside the verdicts of a run: checks, their tables, figures, section and sheets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column_names
from resilience.errors import SpecificationError
from resilience.pipeline import annual_run, dataset_config
from resilience.pipeline.checks import Checks
from resilience.pipeline.config import CHECKS, ModelConfig
from resilience.pipeline.config_reading import read_config
from resilience.reporting.annual import write_annual_run


@pytest.fixture(scope="module")
def north():
    return annual_run(dataset_config("north_region"))


@pytest.fixture(scope="module")
def written(north, tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    return root, write_annual_run(north, root, lang="ru")


def test_every_check_is_made_where_the_data_allow_it(north):
    checks = north.checks
    assert checks.notes == ()
    for name in ("sensitivity", "rule_errors", "early_warning", "adjacent", "switch"):
        assert getattr(checks, name) is not None, name
    assert set(checks.status) == {"low_results_2025_or", "low_results_2025_and"}


def test_the_last_status_is_the_list_of_the_run(north):
    for rule_id, status in north.checks.status.items():
        table = status.statuses
        last = table[table["year"] == 2025]
        on = set(last.loc[last["status"].isin(["entered", "confirmed", "re_entered"]), "school_id"])
        assert on == set(north.found.listed(rule_id)["school_id"])
        # the rule asks for two years: 2022 cannot be judged and is no list
        assert table["year"].min() == 2023


def test_the_early_warning_begins_at_the_list_of_the_run(north):
    warning = north.checks.early_warning
    now = set(warning.schools.loc[warning.schools["verdict_now"] == "yes", "school_id"])
    assert now == set(north.found.listed("low_results_2025_or")["school_id"])
    p = warning.schools["probability_low_next_year"]
    assert p.between(0, 1).all()
    whole = warning.scores[warning.scores["part"].astype(str) == "all"].set_index("method")
    assert whole.loc["model", "brier"] < whole.loc["same list", "brier"]


def test_official_and_pooled_verdicts_stand_side_by_side(north):
    table = north.tables()["why_they_differ"]
    assert set(table["rule_id"]) == {"low_results_2025_or", "low_results_2025_and"}
    one = table[table["rule_id"] == "low_results_2025_or"].set_index("school_id")
    for rule_id, column in (
        ("low_results_2025_or", "official"),
        ("low_posterior_pooled", "companion"),
    ):
        listed = set(north.found.listed(rule_id)["school_id"])
        assert set(one.index[one[column] == "yes"]) == listed
    apart = one["official"] != one["companion"]
    assert (one["why_they_differ"].astype(str) == "agree").ne(apart).all()


def test_the_switch_starts_from_the_lists_of_the_run(north):
    lists = north.checks.switch.lists.set_index("rule_id")
    sizes = north.found.lists.set_index("rule_id")["n_listed"]
    assert lists["n_with"].eq(sizes.reindex(lists.index)).all()


def test_schools_with_signs_are_those_whose_marks_were_moved(north):
    truth = rs.load_dataset("north_region").truth["schools"].set_index("school_id")
    flagged = north.checks.adjacent.flags.set_index("school_id")["integrity_flag"].fillna(False)
    true = truth["inflated"].reindex(flagged.index)
    # the list may hold a tenth of wrong names by its level; 17 names leave two standard errors
    # of √(17·.1·.9) = 1.2 names
    assert (flagged & ~true).sum() <= 0.1 * flagged.sum() + 2 * 1.2
    assert (flagged & true).sum() >= 0.5 * true.sum()


def test_every_column_of_the_tables_of_checks_is_in_the_glossary(north):
    known = set(column_names())
    for name, table in north.checks.tables().items():
        assert len(table), name
        assert set(map(str, table.columns)) <= known, name


def test_outputs_hold_tables_figures_and_sheets(written):
    root, files = written
    names = {p.relative_to(root).as_posix() for p in files}
    tables = ("index_sensitivity", "rule_errors", "statuses", "early_warning", "integrity")
    assert {
        f"tables/{name}.csv" for name in (*tables, "why_they_differ", "integrity_lists")
    } <= names
    figures = ("index_sensitivity", "rule_errors", "rule_curves", "early_warning")
    assert {f"figures/{name}.png" for name in figures} <= names
    assert "figures/status_low_results_2025_or.png" in names
    assert "calculation_sheets.xlsx" in names


def test_the_appendix_tells_the_checks_and_accuses_nobody(written):
    root, _ = written
    page = (root / "appendix.html").read_text(encoding="utf-8")
    for words in (
        "Проверки: выбор, случай, время",
        "Как часто правила ошибаются из-за случайности",
        "признаки, требующие дополнительного анализа",
        "Раннее предупреждение",
    ):
        assert words in page
    for word in ("фальсиф", "мошен", "подтасов", "нарушител"):
        assert word not in page.lower()


def test_checks_not_asked_for_are_not_made():
    config = dataset_config("north_region")
    quiet = replace(config, output=replace(config.output, checks=("sensitivity",), sheets="none"))
    run = annual_run(quiet)
    assert run.checks.sensitivity is not None
    assert run.checks.rule_errors is None
    assert run.checks.status == {}
    assert run.checks.adjacent is None
    assert "integrity" not in run.tables()
    assert "calculation_sheets.xlsx" not in str(run.settings)


def test_a_check_that_the_data_do_not_allow_says_why():
    config = dataset_config("north_region")
    rules = tuple(r for r in config.rules if r.preset == "low_results_2025_or")
    bare = replace(config, index=None, model=ModelConfig(outcome_procedure="ОГЭ"), rules=rules)
    with pytest.warns(rs.WeakDataWarning, match="no answer"):
        run = annual_run(bare, as_of="2022-12-31")
    said = [note.ru for note in run.checks.notes]
    assert any(n.startswith("не рассчитано: статус по годам") for n in said)
    assert any(n.startswith("не рассчитано: раннее предупреждение") for n in said)
    assert all(n in run.notes for n in run.checks.notes)


def test_an_empty_set_of_checks_has_no_tables():
    assert Checks().tables() == {}


def test_the_keys_of_the_configuration(tmp_path):
    head = '[inputs]\ndataset = "north_region"\n[[rules]]\npreset = "adverse_context"\n'
    path = tmp_path / "region.toml"

    def read(output: str):
        path.write_text(head + "[output]\n" + output + "\n", encoding="utf-8")
        return read_config(path).output

    assert read("").checks == CHECKS
    assert read("checks = []").checks == ()
    assert read('checks = ["status", "sensitivity"]').checks == ("sensitivity", "status")
    assert read('sheets = "all"').sheets == "all"
    with pytest.raises(SpecificationError, match="statuses"):
        read('checks = ["statuses"]')
    with pytest.raises(SpecificationError, match="sheets"):
        read('sheets = "some"')


def test_flags_reach_the_guards_of_rules(north):
    flagged = north.checks.adjacent.flags.set_index("school_id")["integrity_flag"].fillna(False)
    config = dataset_config("north_region")
    amended = replace(config.rules[3], amend={config.rules[3].preset: {"exclude_flagged": True}})
    guarded = replace(
        config,
        rules=(amended,),
        output=replace(config.output, checks=("integrity",), sheets="none"),
    )
    run = annual_run(guarded)
    aside = run.found.schools.set_index("school_id")["verdict"] == "not_applicable"
    pd.testing.assert_index_equal(
        aside.index[aside].sort_values(),
        flagged.index[flagged.astype(bool)].sort_values(),
        check_names=False,
        exact=False,
    )
    assert np.sum(aside) == 17
