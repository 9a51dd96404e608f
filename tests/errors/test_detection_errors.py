"""Bad input to rules and detection: each message names culprit, rule, value and way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resilience.detection import Criteria, Criterion, detect_schools
from resilience.errors import DataError, ResilienceError, SpecificationError, WeakDataWarning

N = 25
IDS = [f"S{k:02d}" for k in range(N)]
LOW = Criteria.preset("low_results_2025_or")
POSTERIOR = Criteria.preset("resilient_posterior")


def effects(**columns: object) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "school_id": IDS,
            "effect": np.linspace(-0.3, 0.3, N),
            "conditional_sd": 0.1,
            "reliability": 0.8,
            "n_pupils": 50,
            "n_years": 3,
        }
    )
    return table.assign(**columns)


def scores(**columns: object) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "school_id": IDS,
            "year": 2025,
            "context_index": np.linspace(30, 70, N),
            "context_index_std_error": 2.0,
            "context_reliability": 0.9,
            "context_coverage": 1.0,
        }
    )
    return table.assign(**columns)


def counts(**columns: object) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "school_id": IDS,
            "year": 2025,
            "procedure": "ОГЭ-МА",
            "n_participants": 20,
            "n_below_minimum": 3,
        }
    )
    return table.assign(**columns)


def told(error: ResilienceError, *parts: str) -> None:
    """Both wordings name every part, and the Russian one is Russian."""
    for lang in ("en", "ru"):
        words = error.localized(lang)
        for part in parts:
            assert part in words, (part, words)
    assert any("а" <= letter <= "я" for letter in error.localized("ru"))


ONE = {"name": "one", "column": "context_index", "at_most": 0.25}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"at_least": 0.5}, ["one", "at_most, at_least"]),
        ({"at_most": None}, ["one", "at_most", "between"]),
        ({"at_most": "0.25"}, ["one", "'0.25'"]),
        ({"at_most": True}, ["one", "True"]),
        ({"at_most": float("nan")}, ["one", "nan"]),
        ({"at_most": 25, "scale": "quantile"}, ["one", "25", "0.25"]),
        ({"at_most": None, "between": (0.5, 0.2)}, ["one", "[0.5, 0.2]"]),
        ({"at_most": None, "between": 0.5}, ["one", "0.5"]),
        ({"column": "context_indx"}, ["'context_indx'", "context_index"]),
        ({"column": "low_income", "at_most": 30}, ["one", "30", "0.30"]),
        ({"column": "share_below_minimum", "at_most": 30}, ["one", "30"]),
        ({"column": "share_below_minimum", "scale": "z"}, ["one", "z"]),
        ({"scale": "percentile"}, ["one.scale", "'percentile'", "quantile"]),
        ({"evidence": "likely"}, ["one.evidence", "'likely'", "posterior"]),
        ({"status": "official"}, ["one.status", "'official'", "documented"]),
        ({"order": "schools"}, ["one.order", "'schools'"]),
        ({"years": "always"}, ["one.years", "'always'", "persistent"]),
        ({"years_at_least": 4, "years_of": 3}, ["one", "4", "3"]),
        ({"years_at_least": 0}, ["one", "years_at_least", "0"]),
        ({"years_of": 2.5}, ["one", "years_of", "2.5"]),
        ({"years": "mean", "years_of": 3}, ["one", "mean"]),
        ({"years": "persistent"}, ["one", "context_index"]),
        ({"min_participants": 0}, ["one", "min_participants", "0"]),
        ({"procedures_at_least": "most"}, ["one", "procedures_at_least", "'most'"]),
        ({"within": ("distrikt",)}, ["'distrikt'", "district"]),
        ({"floor": -0.1}, ["one.floor", "-0.1"]),
        ({"loss_false_positive": 0}, ["0"]),
        ({"evidence": "interval"}, ["one", "effect", "context_index"]),
        ({"level": 0.95}, ["one", "0.95", "interval"]),
        ({"column": "effect", "evidence": "interval", "level": 95}, ["one", "95", "0.95"]),
        ({"column": "low_income", "evidence": "posterior"}, ["one", "low_income"]),
        ({"evidence": "posterior", "within": ("is_rural",)}, ["one"]),
        (
            {"column": "effect", "at_most": 1.0, "scale": "quantile", "evidence": "posterior"},
            ["one", "1.0", "0.75"],
        ),
        ({"column": "low_income", "at_most": 30}, ["one", "30 % ", "0.30"]),
        ({"at_most": 25, "scale": "quantile"}, ["one", "25 % ", "0.25"]),
        ({"subjects": "some"}, ["one", "subjects", "'some'"]),
        ({"subjects": 0}, ["one", "subjects", "0"]),
        ({"subjects": "all"}, ["one", "context_index"]),
        ({"column": "share_below_minimum", "subjects": "any"}, ["one", "procedures"]),
        ({"weight": 0}, ["one", "0"]),
        ({"weight": float("inf")}, ["one", "inf"]),
        ({"open_above": True}, ["one", "open_above", "at_most"]),
        ({"at_most": None, "between": (0.1, 0.2), "open_above": 1}, ["one", "open_above", "1"]),
        ({"years": "next_year"}, ["one", "next_year", "context_index"]),
        ({"column": "effect", "years": "next_year"}, ["one", "next_year"]),
        ({"column": "is_rural", "at_most": 0.5}, ["one", "is_rural", "at_least = 1"]),
        ({"column": "n_pupils", "scale": "probability"}, ["one", "n_pupils"]),
        ({"reference": "Omsk2052"}, ["one", "'Omsk2052'", "Omsk2025"]),
        ({"name": " "}, ["' '"]),
    ],
)
def test_a_criterion(change: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(SpecificationError) as caught:
        Criterion(**(ONE | change))
    told(caught.value, *parts)


def ordinary(**fields: object) -> dict[str, object]:
    own = {
        "id": "r",
        "version": "1",
        "title_en": "R",
        "title_ru": "П",
        "criteria": (Criterion(**ONE),),
    }
    return own | fields


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"criteria": ()}, ["r", "[[rule.criterion]]"]),
        ({"criteria": (Criterion(**ONE), Criterion(**ONE))}, ["r", "one"]),
        ({"combination": "some"}, ["r", "'some'"]),
        ({"combination": 2}, ["r", "2", "1"]),
        ({"status": "official"}, ["r.status", "'official'"]),
        ({"target": "bad"}, ["r.target", "'bad'"]),
        ({"title_ru": ""}, ["r", "title_ru"]),
        ({"version": 1}, ["r", "version", "1"]),
        ({"procedures": "ОГЭ-МА"}, ["r", "'ОГЭ-МА'"]),
        ({"exclude_selective": "yes"}, ["r", "exclude_selective", "'yes'"]),
        ({"exclude_flagged": 1}, ["r", "exclude_flagged", "1"]),
        ({"exclude_flagged_vpr": "да"}, ["r", "exclude_flagged_vpr", "'да'"]),
        ({"unit": "class"}, ["r.unit", "'class'", "pupil"]),
        ({"needs": ("integrity_flag",)}, ["r", "integrity_flag"]),
        ({"needs": "schools.year"}, ["r", "schools.year"]),
        ({"combination": 0.5}, ["r", "0.5"]),
        ({"min_pupils": 0}, ["r", "min_pupils", "0"]),
        ({"year": "2025"}, ["r", "year", "'2025'"]),
        ({"reference": "Nowhere"}, ["r", "'Nowhere'"]),
    ],
)
def test_a_rule(change: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(SpecificationError) as caught:
        Criteria(**ordinary(**change))
    told(caught.value, *parts)


def test_knobs_of_posterior_rules() -> None:
    with pytest.raises(SpecificationError) as caught:
        POSTERIOR.amend(p_no=0.9)
    told(caught.value, "0.9", "0.8")
    with pytest.raises(SpecificationError) as caught:
        POSTERIOR.amend(fdr=10)
    told(caught.value, "fdr", "10")
    with pytest.raises(SpecificationError) as caught:
        POSTERIOR.amend("quantile", loss_false_positive=9.0)
    told(caught.value, "resilient_posterior")
    with pytest.raises(SpecificationError) as caught:
        detect_schools(effects(), scores(), POSTERIOR.amend(alternative_quantile=0.7))
    told(caught.value, "alternative_quantile", "0.7", "0.75")


def test_amending_what_is_not_there() -> None:
    with pytest.raises(SpecificationError) as caught:
        POSTERIOR.amend("adversty", at_most=0.3)
    told(caught.value, "resilient_posterior", "'adversty'", "adversity")
    with pytest.raises(SpecificationError) as caught:
        POSTERIOR.amend("adversity", at_mots=0.3)
    told(caught.value, "'at_mots'", "at_most")
    with pytest.raises(SpecificationError) as caught:
        POSTERIOR.amend(min_pupil=5)
    told(caught.value, "'min_pupil'", "min_pupils")
    with pytest.raises(SpecificationError) as caught:
        POSTERIOR.amend("adversity", at_most=0.3, at_least=0.7)
    told(caught.value, "adversity", "at_most, at_least")


def test_grids_of_what_is_not_there() -> None:
    with pytest.raises(SpecificationError) as caught:
        POSTERIOR.grid(adversty=[0.2])
    told(caught.value, "'adversty'", "adversity")
    for values in ([], 0.25, "0.25"):
        with pytest.raises(SpecificationError) as caught:
            POSTERIOR.grid(adversity=values)
        told(caught.value, "adversity", repr(values))


def test_presets_that_are_not_there() -> None:
    with pytest.raises(SpecificationError) as caught:
        Criteria.preset("resilient_posteror")
    told(caught.value, "'resilient_posteror'", "resilient_posterior")
    with pytest.raises(SpecificationError) as caught:
        Criteria.preset("shnor_2025", connective="xor")
    told(caught.value, "'xor'", "low_results_2025_or")
    with pytest.raises(SpecificationError) as caught:
        Criteria.preset("low_results_2025_or", connective="and")
    told(caught.value, "'low_results_2025_or'", "'and'")


def test_presets_that_differ_in_a_number_no_document_gives() -> None:
    for name in ("low_by_quantile", "persistent", "hse_split"):
        with pytest.raises(SpecificationError) as caught:
            Criteria.preset(name)
        told(caught.value, repr(name), "_")


RULE = """
[[rule]]
id = "r"
version = "1"
title = { en = "R", ru = "П" }
procedures = "all"

[[rule.criterion]]
name = "one"
column = "share_below_minimum"
at_least = 0.3
"""


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("at_least = 0.3", "at_least = 0.3\nweigth = 1", ["'weigth'"]),
        ("at_least = 0.3", "at_least = 0.3\nweight = -1", ["one", "-1"]),
        ("at_least = 0.3", 'at_least = 0.3\nsubjects = "any"', ["subjects"]),
        ("at_least = 0.3", 'at_least = 0.3\nyears = "next_year"', ["next_year", "effect"]),
        ("at_least = 0.3", "at_least = 0.3\nyears = { at_least = 2 }", ["of"]),
        ("at_least = 0.3", 'at_least = 0.3\nprocedures = "most"', ["'most'"]),
        ("at_least = 0.3", 'at_least = 0.3\norder = ["years"]', ["['years']"]),
        ("at_least = 0.3", "at_least = 0.3\nevidence = { point = {} }", ["point"]),
        (
            "at_least = 0.3",
            "at_least = 0.3\nevidence = { posterior = { loss_false_positive = 4 } }",
            ["loss_false_negative"],
        ),
        ('procedures = "all"', "", ["r", 'procedures = "all"']),
        ('procedures = "all"', 'procedures = "all"\nparameters = 3', ["parameters", "3"]),
        ('version = "1"', "", ["version"]),
        ('title = { en = "R", ru = "П" }', 'title = { en = "R" }', ["ru"]),
        ('id = "r"', 'id = "r"\nthreshold = 3', ["'threshold'"]),
        ('column = "share_below_minimum"', "", ["column"]),
        ("[[rule.criterion]]", "[rule.criterion]", ["criterion"]),
        ("[[rule]]", "[[rules]]", ["rules", "[[rule]]"]),
        ('id = "r"', "id = r", ["TOML"]),
    ],
)
def test_a_criteria_file(old: str, new: str, parts: list[str]) -> None:
    with pytest.raises(SpecificationError) as caught:
        Criteria.from_text(RULE.replace(old, new, 1), "правила.toml")
    told(caught.value, *parts)


def test_a_criteria_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError) as caught:
        Criteria.from_toml(tmp_path / "нет.toml")
    told(caught.value, "нет.toml")
    assert str(tmp_path) not in str(caught.value)
    path = tmp_path / "старый.toml"
    path.write_bytes("title = 'Правило'".encode("cp1251"))
    with pytest.raises(SpecificationError) as caught:
        Criteria.from_toml(path)
    told(caught.value, "старый.toml", "UTF-8")
    twice = tmp_path / "дважды.toml"
    twice.write_text(RULE * 2, encoding="utf-8")
    with pytest.raises(SpecificationError) as caught:
        Criteria.from_toml(twice)
    told(caught.value, "r")


@pytest.mark.parametrize(
    ("tables", "rule", "parts"),
    [
        ({}, LOW, ["effects", "counts"]),
        ({"effects": effects()}, LOW, ["counts", "low_results_2025_or"]),
        ({"counts": counts()}, POSTERIOR, ["effects", "resilient_posterior"]),
        ({"effects": effects()}, POSTERIOR, ["scores", "resilient_posterior"]),
        ({"effects": "school_effects"}, POSTERIOR, ["effects", "str", "DataFrame"]),
        ({"effects": effects()}, "resilient_posterior", ["'resilient_posterior'", "str"]),
        ({"effects": effects()}, [], ["resilient_posterior"]),
        ({"counts": counts()}, [LOW, LOW], ["low_results_2025_or"]),
    ],
)
def test_calls(tables: dict[str, object], rule: object, parts: list[str]) -> None:
    given = {"effects": None, "scores": None} | tables
    with pytest.raises(SpecificationError) as caught:
        detect_schools(given.pop("effects"), given.pop("scores"), rule, **given)
    told(caught.value, *parts)


def spoiled(table: pd.DataFrame, column: str, value: object, row: int = 3) -> pd.DataFrame:
    values = table[column].astype(object).tolist()
    values[row] = value
    return table.assign(**{column: pd.Series(values).infer_objects()})


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        (effects().iloc[:0], ["effects"]),
        (effects().drop(columns="effect"), ["effects", "'effect'"]),
        (effects().drop(columns="n_years"), ["effects", "'n_years'"]),
        (effects(school_id="S00"), ["effects", "school_id"]),
        (spoiled(effects(), "school_id", None), ["effects", "'school_id'"]),
        (spoiled(effects(), "effect", np.nan), ["effects", "'effect'", "S03", "nan"]),
        (spoiled(effects(), "effect", np.inf), ["effects", "'effect'", "S03", "inf"]),
        (spoiled(effects(), "conditional_sd", -0.1), ["'conditional_sd'", "S03", "-0.1"]),
        (spoiled(effects(), "reliability", 1.2), ["'reliability'", "S03", "1.2"]),
        (spoiled(effects(), "n_pupils", -4), ["'n_pupils'", "S03", "-4"]),
        (effects(effect="0,3"), ["effects", "'effect'"]),
    ],
)
def test_effects(table: pd.DataFrame, parts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        detect_schools(table, scores(), POSTERIOR)
    told(caught.value, *parts)


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        (scores().drop(columns="context_index"), ["scores", "'context_index'"]),
        (pd.concat([scores(), scores()]), ["scores", "school_id × year"]),
        (spoiled(scores(), "context_index", np.inf), ["'context_index'", "S03", "inf"]),
        (spoiled(scores(), "context_index_std_error", -1.0), ["S03", "-1.0"]),
        (spoiled(scores(), "context_reliability", 90.0), ["'context_reliability'", "90.0", "1"]),
        (spoiled(scores(), "year", np.nan), ["scores", "'year'"]),
    ],
)
def test_scores(table: pd.DataFrame, parts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        detect_schools(effects(), table, POSTERIOR)
    told(caught.value, *parts)


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        (counts().drop(columns="n_below_minimum"), ["counts", "'n_below_minimum'"]),
        (pd.concat([counts(), counts()]), ["counts", "school_id × procedure × year"]),
        (spoiled(counts(), "n_below_minimum", 21), ["S03", "ОГЭ-МА", "2025", "21", "20"]),
        (spoiled(counts(), "n_below_minimum", -1), ["S03", "-1"]),
        (spoiled(counts(), "n_participants", 20.5), ["S03", "20.5"]),
        (spoiled(counts(), "n_participants", np.nan), ["counts", "'n_participants'", "S03"]),
        (spoiled(counts(), "procedure", None), ["counts", "'procedure'", "S03"]),
        (counts(year="2025"), ["counts", "'year'"]),
    ],
)
def test_counts(table: pd.DataFrame, parts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        detect_schools(None, None, LOW, counts=table)
    told(caught.value, *parts)


def test_procedures_and_years_that_are_not_there() -> None:
    latin = LOW.amend(procedures=["ОГЭ-MA"])  # Latin letters
    with pytest.raises(DataError) as caught:
        detect_schools(None, None, latin, counts=counts())
    told(caught.value, "low_results_2025_or", "ОГЭ-MA", "ОГЭ-МА")
    with pytest.raises(DataError) as caught:
        detect_schools(None, None, LOW.amend(year=2019), counts=counts())
    told(caught.value, "low_results_2025_or", "2019", "2025")


def test_variances() -> None:
    with pytest.raises(SpecificationError) as caught:
        detect_schools(effects(), scores(), POSTERIOR, variances={"persistant": 0.1})
    told(caught.value, "'persistant'", "persistent")
    with pytest.raises(SpecificationError) as caught:
        detect_schools(effects(), scores(), POSTERIOR, variances={"residual": -1.0})
    told(caught.value, "residual", "-1.0")


def test_a_criterion_on_a_column_of_words() -> None:
    rule = Criteria(
        **ordinary(criteria=(Criterion(name="one", column="school_type", at_most=1.0),))
    )
    schools = pd.DataFrame({"school_id": IDS, "school_type": "СОШ"})
    with pytest.raises(DataError) as caught:
        detect_schools(None, None, rule, schools=schools)
    told(caught.value, "'school_type'")


def test_strata_without_the_table_of_schools() -> None:
    rule = Criteria(**ordinary(criteria=(Criterion(**ONE, within=("is_rural",)),)))
    with pytest.raises(SpecificationError) as caught:
        detect_schools(None, scores(), rule)
    told(caught.value, "schools", "r")


def test_a_handful_of_schools_warns_with_its_number() -> None:
    with pytest.warns(WeakDataWarning, match="only 7 schools"):
        detect_schools(None, scores().head(7), Criteria.preset("adverse_context"))


def test_asking_for_what_was_not_found() -> None:
    found = detect_schools(None, scores(), Criteria.preset("adverse_context"))
    with pytest.raises(DataError) as caught:
        found.explain("S99")
    told(caught.value, "S99")
    with pytest.raises(DataError) as caught:
        found.listed("low_posterior")
    told(caught.value, "low_posterior", "adverse_context")
    with pytest.raises(SpecificationError, match="catalogue"):
        found.explain("S01", lang="de")
    with pytest.raises(DataError, match="'school_id'"):
        found.augment(pd.DataFrame({"school": ["S01"]}))
