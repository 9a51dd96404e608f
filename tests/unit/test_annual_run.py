"""The annual run end to end on real and simulated input."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.pipeline import annual_run, dataset_config, list_performance, load_region
from resilience.pipeline.config import ModelConfig
from resilience.pipeline.estimation import Tables, estimate_effects
from resilience.pipeline.estimation_pupils import pupil_composite
from resilience.reporting.annual import write_annual_run


def without_checks(name: str):
    """Return a shipped configuration that asks for verdicts alone."""
    config = dataset_config(name)
    return replace(config, output=replace(config.output, checks=(), sheets="none"))


@pytest.fixture(scope="module")
def north():
    return annual_run(dataset_config("north_region"))


@pytest.fixture(scope="module")
def california():
    return annual_run(dataset_config("california_api"))


def test_every_school_gets_a_verdict_under_every_rule(north):
    table = north.found.schools
    assert len(table) == 177 * len(north.found.rules)
    assert not table.duplicated(["school_id", "rule_id"]).any()
    assert set(table["verdict"]) <= {"yes", "no", "insufficient_data", "not_applicable"}
    assert north.model_kind == "pupils"
    assert north.glance().shape[0] == 1


def test_the_connective_matters_and_both_readings_are_there(north):
    lists = north.found.lists.set_index("rule_id")
    assert lists.loc["low_results_2025_or", "n_listed"] == lists["n_if_any"].iloc[0]
    assert lists.loc["low_results_2025_and", "n_listed"] == lists["n_if_all"].iloc[0]
    assert lists["n_if_any"].iloc[0] > lists["n_if_all"].iloc[0]


def test_the_or_list_equals_an_independent_count(north):
    """A: two procedures with 10 f ≥ 3 n this year; B: one of them low last year too."""
    counts = rs.load_dataset("north_region").counts
    low = counts.assign(low=10 * counts["n_below_minimum"] >= 3 * counts["n_participants"])
    wide = low.pivot_table(index="school_id", columns=["procedure", "year"], values="low")
    wide = wide.fillna(0).astype(bool)
    now = wide.xs(2025, axis=1, level="year")
    before = wide.xs(2024, axis=1, level="year").reindex(columns=now.columns, fill_value=False)
    a, b = now.sum(axis=1) >= 2, (now & before).any(axis=1)
    for rule, expected in (("or", a | b), ("and", a & b)):
        listed = north.found.listed(f"low_results_2025_{rule}")["school_id"]
        assert sorted(listed) == sorted(expected.index[expected])


def test_effects_follow_the_truth(north):
    truth = rs.load_dataset("north_region").truth["schools"].set_index("school_id")
    effects = north.va.school_effects.set_index("school_id").join(truth)
    # the correlation of a shrunken effect with its truth is the root of its reliability, here
    # .76 on average; 177 schools leave it a standard error of (1 − .76)/√177 = .02, four of them
    expected = np.sqrt(effects["reliability"].mean())
    seen = effects["effect"].corr(effects["persistent_effect"])
    assert seen > expected - 0.15


def test_lists_against_the_truth_are_counted_right(north):
    truth = rs.load_dataset("north_region").truth["schools"]
    table = list_performance(north.found.schools, truth, "true_low", rules=["low_results_2025_or"])
    row = table.iloc[0]
    listed = set(north.found.listed("low_results_2025_or")["school_id"])
    members = set(truth.loc[truth["true_low"], "school_id"])
    assert row["n_true_listed"] == len(listed & members)
    assert row["ppv"] == pytest.approx(len(listed & members) / len(listed))
    assert row["sensitivity"] == pytest.approx(len(listed & members) / len(members))
    assert row["ppv_low"] < row["ppv"] < row["ppv_high"]
    with pytest.raises(DataError, match="not in the truth"):
        list_performance(north.found.schools, truth.iloc[:5], "true_low")
    with pytest.raises(DataError, match="low_posterior_pooled"):
        list_performance(north.found.schools, truth, "true_low", rules=["low_posterior"])


def test_a_list_of_31_may_does_not_know_the_summer():
    spring = annual_run(without_checks("north_region"), as_of="2025-05-31")
    assert set(spring.withheld["procedure"]) == {"ОГЭ-РУ", "ОГЭ-МА"}
    assert set(spring.withheld["year"]) == {2025}
    assert 2025 not in set(spring.va.school_years["year"])
    assert not (
        (spring.counts["year"] == 2025) & spring.counts["procedure"].str.startswith("ОГЭ")
    ).any()
    assert spring.as_of.isoformat() == "2025-05-31"
    assert any("2025-05-31" in note for note in spring.notes)


def test_no_number_of_a_spring_list_depends_on_the_summer():
    """Change every ОГЭ mark and mean of 2025: the list of 31 May stays, to the last digit."""
    region = rs.load_dataset("north_region")
    counts, schools, pupils = region.counts, region.schools, region.pupils
    late = (counts["year"] == 2025) & counts["procedure"].astype(str).str.startswith("ОГЭ")
    counts.loc[late, "n_below_minimum"] = counts.loc[late, "n_participants"]
    schools.loc[schools["year"] == 2025, "mean_score"] = 0.123
    pupils.loc[pupils["year"] == 2025, "score"] = 1
    changed = rs.Dataset(
        name="north_region",
        title=region.title,
        description=region.description,
        frames={
            "schools": schools,
            "pupils": pupils,
            "counts": counts,
            "procedures": region.procedures,
        },
        citation=region.citation,
        licence=region.licence,
        source=region.source,
    )
    first = annual_run(region, as_of="2025-05-31").found.schools
    second = annual_run(changed, as_of="2025-05-31").found.schools
    pd.testing.assert_frame_equal(first, second)


def test_results_without_a_procedure_cannot_be_dated_and_that_is_said():
    config = without_checks("north_region")
    unnamed = replace(config, model=replace(config.model, outcome_procedure=None))
    with pytest.warns(WeakDataWarning, match="outcome_procedure"):
        run = annual_run(unnamed, as_of="2025-05-31")
    assert any("name no procedure" in note for note in run.notes)
    assert any("mean_score" in note for note in run.notes)
    assert 2025 in set(run.va.school_years["year"])


def test_california_names_resilient_schools_from_real_data(california):
    assert california.model_kind == "means"
    lists = california.found.lists.set_index("rule_id")
    assert lists.loc["resilient_posterior", "n_listed"] > 50
    listed = california.found.listed("resilient_posterior")
    assert (listed["probability"] >= 0.8).all()
    # the pupil SD of the index is identified from differences between the years: about 270 points
    note = next(str(n) for n in california.notes if "published scale" in n)
    sd = float(note.split("one SD is ")[1].split(" ")[0])
    assert 250 < sd < 290
    # 178 schools without parents' education, and four without mobility, are rows, not gaps
    silent = california.found.schools.query("rule_id == 'resilient_posterior'")
    assert len(silent) == 6194


def test_a_composite_is_the_mean_of_standardised_subjects():
    pupils = pd.DataFrame(
        {
            "pupil_key": ["a", "a", "b", "b", "c", "c"],
            "school_id": ["1"] * 6,
            "year": [2025] * 6,
            "subject": ["РУ", "МА"] * 3,
            "score": [10.0, 1.0, 20.0, 2.0, 30.0, 6.0],
        }
    )
    table = pupil_composite(pupils, columns=["score"], keep=[]).set_index("pupil_key")["score"]
    ru = (np.array([10, 20, 30]) - 20) / np.std([10, 20, 30])
    ma = (np.array([1, 2, 6]) - 3) / np.std([1, 2, 6])
    raw = (ru + ma) / 2
    np.testing.assert_allclose(table, raw / raw.std(), rtol=1e-12)


SITTINGS = pd.DataFrame(
    {
        "pupil_key": ["a", "a", "b", "b", "c", "c"],
        "school_id": ["1", "1", "1", "1", "2", "2"],
        "year": [2025] * 6,
        "subject": ["РУ", "МА"] * 3,
        "score": [10.0, 1.0, 20.0, 2.0, 30.0, 6.0],
        "prior_score": [1.0, 2.0, 2.0, np.nan, 4.0, 3.0],
    }
)


def test_a_gap_in_one_subject_is_a_gap_in_the_composite():
    table = pupil_composite(SITTINGS, columns=["score", "prior_score"], keep=[])
    assert table.set_index("pupil_key")["prior_score"].isna().to_dict() == {
        "a": False,
        "b": True,
        "c": False,
    }
    with pytest.raises(DataError, match=r"'prior_score': 1 \(school_id: 1; 1\)"):
        estimate_effects(ModelConfig(), Tables(schools=SITTINGS, pupils=SITTINGS))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pd.concat([SITTINGS, SITTINGS.iloc[[2]]]), "b/1/2025/РУ"),
        (SITTINGS.assign(school_id=["1", None, "1", "1", "2", "2"]), "'school_id': 1"),
        (SITTINGS.assign(score=[np.nan, 1, 20, 2, 30, 6]), "'score': 1"),
        (SITTINGS.assign(score=[10, 1, 10, 2, 10, 6]), "cell РУ/2025"),
    ],
)
def test_nothing_is_averaged_away(table, words):
    with pytest.raises(DataError, match=words):
        pupil_composite(table, columns=["score"], keep=[])


def test_the_manifest_names_a_command_that_repeats_the_run(north, california):
    assert north.command == "resilience demo --dataset north_region"
    assert california.command == "resilience demo --dataset california_api"


def test_outputs_are_complete_and_the_same_on_a_second_run(tmp_path, north):
    first = write_annual_run(north, tmp_path / "a", lang="ru")
    again = write_annual_run(annual_run(dataset_config("north_region")), tmp_path / "b", lang="ru")
    names = [p.relative_to(tmp_path / "a").as_posix() for p in first]
    assert names == [p.relative_to(tmp_path / "b").as_posix() for p in again]
    for one, two in zip(first, again, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text(encoding="utf-8"))
    for name, checksum in manifest["outputs"].items():
        content = (tmp_path / "a" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == checksum
    assert {"tables/tables.xlsx", "tables/verdicts.csv", "figures/caterpillar.png"} <= set(names)
    assert {"figures/context.svg", "appendix.html", "appendix.docx"} <= set(names)
    page = (tmp_path / "a" / "appendix.html").read_text(encoding="utf-8")
    for words in (
        "North region (simulated)",
        "low_results_2025_or",
        "не подтвержден",
        "Таблица 1",
        "Рисунок 1",
        "<math",
    ):
        assert words in page
    verdicts = pd.read_csv(tmp_path / "a" / "tables" / "verdicts.csv")
    assert len(verdicts) == len(north.found.schools)


def test_the_workbook_of_a_methodologist_runs_from_counts_alone(tmp_path):
    path = rs.write_template(tmp_path / "регион.xlsx", lang="ru", example=True)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", WeakDataWarning
        )  # eight schools: said, and tested elsewhere
        run = annual_run(path)
        write_annual_run(run, tmp_path / "отчёт", lang="ru")
    assert run.model_kind == "counts"
    low = run.found.schools.query("rule_id.str.startswith('low_results')")
    sizes = run.counts.groupby("school_id")["n_participants"].max()
    assert sizes.min() <= 6, "the example has a school of five pupils"
    assert len(low) == run.schools["school_id"].nunique()
    assert (tmp_path / "отчёт" / "appendix.docx").exists()


def test_a_dataset_without_a_configuration_says_so():
    with pytest.raises(SpecificationError, match="north_region"):
        load_region(rs.load_dataset("michigan_schools"))


# ------------------------------------------------------------------ counts, means, mixtures


@pytest.fixture(scope="module")
def counted():
    return annual_run(dataset_config("north_region_counts"))


def test_the_region_seen_as_counts_follows_the_truth(counted):
    truth = rs.load_dataset("north_region").truth["schools"].set_index("school_id")
    effects = counted.va.school_effects.set_index("school_id").join(truth)
    assert counted.model_kind == counted.va.data_kind == "counts"
    # another question than the truth's: since entry, not what grade 9 adds, and the index does not
    # hold all of the context; five standard errors (1/√177 = .075) above no relation
    assert effects["effect"].corr(effects["persistent_effect"]) > 5 / np.sqrt(177)
    # the share below the minimum falls with the level of a school; the truth is the second
    # largest of its shares in the long run, a curved function of that level
    level = effects["expected_mean"] + effects["effect"]
    assert level.corr(effects["true_share_below"]) < -0.8


def test_no_pupil_enters_a_run_on_counts(counted):
    region = rs.load_dataset("north_region")
    frames = {"schools": region.schools.drop(columns="mean_score"), "counts": region.counts}
    alone = rs.Dataset(
        name="north_region_counts",
        title=region.title,
        description=region.description,
        frames={**frames, "procedures": region.procedures},
        citation=region.citation,
        licence=region.licence,
        source=region.source,
    )
    run = annual_run(alone)
    pd.testing.assert_frame_equal(run.va.school_effects, counted.va.school_effects)
    # the quadrant rule reads the mean results in the table of schools, which are gone here
    verdicts = [t.found.schools.query("rule_id != 'resilient_quadrant'") for t in (run, counted)]
    pd.testing.assert_frame_equal(*verdicts)


def test_a_run_says_its_data_its_question_and_what_they_keep(counted):
    row = counted.glance().iloc[0]
    assert (row["model_kind"], row["question"]) == ("counts", "since entry to school")
    # four marks at the shares of this region; DOMAIN's 86–88 % are for even shares
    assert 0.80 < row["information"] < 0.90
    assert set(counted.sources["source_kind"]) == {"counts"}
    assert len(counted.sources) == 40
    notes = [note.ru for note in counted.notes]
    assert any("числам отметок" in n and "Такой вид данных задан" in n for n in notes)
    assert any("со времени поступления" in n for n in notes)
    assert any("85 %" in n for n in notes)
    assert any("0,5" in n for n in notes)


def test_outputs_of_counts_hold_thresholds_and_are_the_same_again(counted, tmp_path):
    first = write_annual_run(counted, tmp_path / "a", lang="ru", figures=False)
    again = annual_run(dataset_config("north_region_counts"))
    second = write_annual_run(again, tmp_path / "b", lang="ru", figures=False)
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name
    names = {p.relative_to(tmp_path / "a").as_posix() for p in first}
    tables = ("thresholds", "mark_shares", "procedure_effects", "coarsening", "sources")
    assert {f"tables/{name}.csv" for name in tables} <= names
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["command"] == "resilience demo --dataset north_region_counts"
    assert (manifest["model"], manifest["question"]) == ("counts", "since_entry")
    assert manifest["information"] == pytest.approx(counted.va.information, abs=5e-4)
    page = (tmp_path / "a" / "appendix.html").read_text(encoding="utf-8")
    for words in (
        "Средняя отметка не вычисляется",
        "называются порогами",
        "одной параллели",
        "сохраняют 85",
        "со времени поступления",
    ):
        assert words in page


def test_published_means_by_procedure_run_from_files(tmp_path):
    region = rs.load_dataset("north_region")
    marks = region.counts[region.counts["procedure"].str.startswith("ОГЭ")]
    points = marks[["n_2", "n_3", "n_4", "n_5"]].to_numpy() @ np.array([2, 3, 4, 5])
    squares = marks[["n_2", "n_3", "n_4", "n_5"]].to_numpy() @ np.array([4, 9, 16, 25])
    n = marks["n_participants"].to_numpy()
    spread = np.sqrt(np.maximum(squares - points**2 / n, 0) / np.maximum(n - 1, 1))
    means = marks[["school_id", "year", "procedure", "n_participants"]].assign(
        mean_score=points / n, sd=np.where(n > 1, spread, np.nan)
    )
    tables = {
        "schools": region.schools.drop(columns="mean_score"),
        "means": means,
        "procedures": region.procedures[["procedure", "year", "available_from"]],
    }
    for name, frame in tables.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "region.toml").write_text(
        """
[inputs]
schools = "schools.csv"
means = "means.csv"
procedures = "procedures.csv"

[index]
kind = "policy"
weights = { both_parents_higher_edu = 1.0, low_income = -1.0 }

[[rules]]
preset = "resilient_posterior"

[output]
as_of = 2025-05-31
""",
        encoding="utf-8",
    )
    run = annual_run(tmp_path / "region.toml")
    assert run.model_kind == run.va.data_kind == "means"
    assert set(run.withheld["procedure"]) == {"ОГЭ-РУ", "ОГЭ-МА"}
    assert run.sources["year"].max() == 2024
    assert run.va.information == 1.0
    assert len(run.tables()["procedure_effects"]) == 2 * 177
    truth = region.truth["schools"].set_index("school_id")
    effects = run.va.school_effects.set_index("school_id").join(truth)
    assert effects["effect"].corr(effects["persistent_effect"]) > 0.5
