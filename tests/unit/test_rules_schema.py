"""The JSON Schema of criteria files says of a file what the library says of it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from resilience.detection import Criteria, Criterion, preset_ids
from resilience.errors import OutputError, SpecificationError

SCHEMA = Criteria.json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
PRESETS = sorted(
    f.name
    for f in (resources.files("resilience") / "detection" / "rules" / "presets").iterdir()
    if f.name.endswith(".toml")
)

FILE = """
[[rule]]
id = "r"
version = "1"
title = { en = "R", ru = "П" }
procedures = "all"

[[rule.criterion]]
name = "one"
column = "share_below_minimum"
at_least = 0.3

[[rule.criterion]]
name = "two"
column = "context_index"
at_most = 0.25
scale = "quantile"
"""


def accepts(record: dict[str, Any]) -> bool:
    return bool(VALIDATOR.is_valid(record))


def test_it_is_a_schema_of_its_dialect() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", PRESETS)
def test_files_that_ship_are_accepted(name: str) -> None:
    place = resources.files("resilience") / "detection" / "rules" / "presets" / name
    record = tomllib.loads(place.read_text(encoding="utf-8"))
    assert [e.message for e in VALIDATOR.iter_errors(record)] == []


@pytest.mark.parametrize("name", preset_ids())
def test_what_is_written_is_accepted(name: str) -> None:
    record = tomllib.loads(Criteria.preset(name).to_toml())
    assert [e.message for e in VALIDATOR.iter_errors(record)] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("at_least = 0.3", "at_least = 30"),  # percent for a fraction
        ("at_least = 0.3", "between = [20, 30]"),
        ("at_most = 0.25", "at_most = 25"),
        ("at_least = 0.3", "at_least = 0.3\nat_most = 0.4"),  # two bounds
        ("at_least = 0.3", ""),  # none
        ("at_least = 0.3", 'at_least = "0.3"'),
        ("at_least = 0.3", "at_lest = 0.3"),
        ('scale = "quantile"', 'scale = "percentile"'),
        ('column = "context_index"', 'column = "context_indx"'),
        ('column = "context_index"', ""),
        ('name = "one"', 'name = ""'),
        ('procedures = "all"', ""),  # a rule on counts must name them
        ('procedures = "all"', 'procedures = "ОГЭ-МА"'),
        ('procedures = "all"', 'procedures = "all"\nstatus = "official"'),
        ('procedures = "all"', 'procedures = "all"\ncombination = "some"'),
        ('procedures = "all"', 'procedures = "all"\ncombination = { least = 2 }'),
        ('procedures = "all"', 'procedures = "all"\nexclude_selective = "yes"'),
        ('procedures = "all"', 'procedures = "all"\nmin_pupils = 0'),
        ('procedures = "all"', 'procedures = "all"\nneeds = ["integrity_flag"]'),
        ('procedures = "all"', 'procedures = "all"\nthreshold = 0.3'),
        ("at_most = 0.25", 'at_most = 0.25\nyears = "always"'),
        ("at_most = 0.25", 'at_most = 0.25\nyears = "persistent"'),
        ("at_most = 0.25", "at_most = 0.25\nyears = { at_least = 2 }"),
        ("at_most = 0.25", "at_most = 0.25\nweight = 0"),
        ("at_most = 0.25", "at_most = 0.25\nevidence = { posterior = { level = 0.9 } }"),
        ("at_most = 0.25", "at_most = 0.25\nopen_above = true"),
        ("at_most = 0.25", "at_most = 0.25\nlevel = 0.95"),
        ('version = "1"', ""),
        ('title = { en = "R", ru = "П" }', 'title = { en = "R" }'),
        ("[[rule]]", "[[rules]]"),
    ],
)
def test_typical_errors_are_refused_by_both(old: str, new: str) -> None:
    broken = FILE.replace(old, new, 1)
    assert broken != FILE
    assert not accepts(tomllib.loads(broken))
    with pytest.raises(SpecificationError):
        Criteria.from_text(broken)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("at_least = 0.3", "between = [0.2, 0.3]\nopen_above = true"),
        (
            "at_least = 0.3",
            'at_least = 0.3\nprocedures = { at_least = 2 }\norder = ["years", "procedures"]',
        ),
        ("at_least = 0.3", "at_least = 0.3\nyears = { at_least = 2, of = 3 }\nmin_pupils = 10"),
        ("at_most = 0.25", 'at_most = 0.25\nwithin = ["school_type"]'),
        ('procedures = "all"', 'combination = { at_least = 1.5 }\nprocedures = ["ОГЭ-РУ"]'),
        ('procedures = "all"', "[rule.parameters]\nprocedures = 'all'\nmin_pupils = 5\n"),
        (
            'column = "context_index"\nat_most = 0.25\nscale = "quantile"',
            'column = "effect"\nabove = 0.1\nyears = "next_year"\nweight = 2.0\n'
            "evidence = { posterior = { loss_false_positive = 4, loss_false_negative = 1 } }",
        ),
        (
            'column = "context_index"\nat_most = 0.25\nscale = "quantile"',
            'column = "effect"\nabove = 0\nevidence = { interval = { level = 0.9 } }',
        ),
        (
            'column = "context_index"\nat_most = 0.25\nscale = "quantile"',
            'column = "mean_score"\nat_most = -1\nscale = "z"\nsubjects = { at_least = 2 }',
        ),
        (
            'column = "context_index"\nat_most = 0.25\nscale = "quantile"',
            'column = "hard_risk"\nat_least = 1',
        ),
    ],
)
def test_the_whole_grammar_is_accepted_by_both(old: str, new: str) -> None:
    changed = FILE.replace(old, new, 1)
    assert changed != FILE
    if "1.5" in new:  # so much weight: the criteria must carry it
        changed = changed.replace('name = "two"', 'name = "two"\nweight = 0.5')
    assert [e.message for e in VALIDATOR.iter_errors(tomllib.loads(changed))] == []
    Criteria.from_text(changed)


def test_every_field_has_a_description_in_both_languages() -> None:
    for lang in ("en", "ru"):
        own = Criteria.json_schema(lang)["$defs"]
        rule, line = own["rule"]["properties"], own["criterion"]["properties"]
        assert {f.name for f in fields(Criteria)} - {"criteria"} <= set(rule)
        assert {f.name for f in fields(Criterion)} <= set(line)
        for name, record in {**rule, **line}.items():
            assert record["description"].strip(), name
            if lang == "ru":
                assert any("а" <= letter <= "я" for letter in record["description"]), name


def test_the_schema_is_written_for_an_editor(tmp_path: Path) -> None:
    path = Criteria.save_json_schema(tmp_path / "criteria.schema.json", "ru")
    assert json.loads(path.read_text(encoding="utf-8")) == Criteria.json_schema("ru")
    with pytest.raises(OutputError, match=r"schema\.json") as caught:
        Criteria.save_json_schema(tmp_path / "nowhere" / "schema.json")
    assert str(tmp_path) not in str(caught.value)
