"""Oracles 1, 2 and 20 of the domain (DOMAIN.md section 7) on the presets of low results.

Oracle 1 quotes the rule of 4.2 (Omsk2025) by its ids ``shnor_2025`` and ``shnor_2020_2024``; its
``min_participants`` is amended, since the quoted text names none.
"""

from __future__ import annotations

import inspect
import warnings
from types import SimpleNamespace

import pandas as pd
import pytest

from resilience.detection import Criteria, DetectionResults, detect_schools, preset_ids
from resilience.errors import SpecificationError, WeakDataWarning
from resilience.reporting.draft import Draft
from resilience.reporting.rules import rules_applied
from resilience.reporting.section_rules import write_rules
from resilience.stats.proportions import wilson_interval

A, B = "two_procedures", "same_procedure_two_years"
# The sentence of DOMAIN.md 4.1(1), letter by letter.
NOT_CONFIRMED = "правило не подтверждено официальным документом"

Cell = tuple[str, int, int, int]  # procedure, year, participants, below the minimum


def judged(rule: Criteria, *cells: Cell) -> DetectionResults:
    """Apply a rule to one school; its cells stand beside a school that sat everything in both."""
    names = ["procedure", "year", "n_participants", "n_below_minimum"]
    own = pd.DataFrame(cells, columns=names).assign(school_id="S")
    procedures = {p for p, *_ in cells}
    all_sat = [(p, y, 50, 0) for p in sorted(procedures) for y in (2024, 2025)]
    other = pd.DataFrame(all_sat, columns=names).assign(school_id="other")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)  # two schools are few, which is meant
        return detect_schools(None, None, rule, counts=pd.concat([own, other], ignore_index=True))


def answer(rule: Criteria, *cells: Cell, criterion: str | None = None) -> str:
    found = judged(rule, *cells)
    table = found.schools if criterion is None else found.criteria.query("criterion == @criterion")
    return str(table.set_index("school_id").loc["S", "verdict"])


def one_procedure(min_participants: int = 1) -> Criteria:
    """Return the rule of a single low procedure, which is the ``low`` of 4.2."""
    rule = Criteria.preset("shnor_2025", connective="or")
    return rule.amend(A, procedures_at_least=1, min_participants=min_participants)


@pytest.mark.parametrize(
    ("n", "f", "floor", "verdict"),
    [
        (10, 3, 1, "yes"),
        (10, 2, 1, "no"),
        (20, 6, 1, "yes"),
        (9, 9, 10, "insufficient_data"),
        (9, 9, 1, "yes"),
    ],
)
def test_oracle_1_low(n: int, f: int, floor: int, verdict: str) -> None:
    assert answer(one_procedure(floor), ("ОГЭ-МА", 2025, n, f), criterion=A) == verdict


OR = Criteria.preset("shnor_2025", connective="or")
AND = Criteria.preset("shnor_2025", connective="and")
OLDER = Criteria.preset("shnor_2020_2024")


def test_oracle_1_two_procedures() -> None:
    cells = [("ВПР-5-РУ", 2025, 100, 30), ("ОГЭ-МА", 2025, 100, 31)]
    assert answer(OR, *cells, criterion=A) == "yes"
    assert answer(OR, *cells) == "yes"


def test_oracle_1_the_same_procedure_in_both_years() -> None:
    cells = [("ОГЭ-МА", 2024, 100, 40), ("ОГЭ-МА", 2025, 100, 40), ("ОГЭ-РУ", 2025, 100, 0)]
    assert answer(OR, *cells, criterion=A) == "no"
    assert answer(OR, *cells, criterion=B) == "yes"
    assert answer(OR, *cells) == "yes"
    assert answer(AND, *cells) == "no"


def test_oracle_1_different_procedures_in_the_years() -> None:
    cells = [
        ("ОГЭ-МА", 2024, 100, 40),
        ("ОГЭ-МА", 2025, 100, 0),
        ("ОГЭ-РУ", 2024, 100, 0),
        ("ОГЭ-РУ", 2025, 100, 40),
    ]
    assert answer(OR, *cells, criterion=B) == "no"
    assert answer(OLDER, *cells, criterion="any_procedure_two_years") == "yes"


def test_oracle_1_a_procedure_absent_a_year_ago() -> None:
    found = judged(OR, ("ОГЭ-МА", 2025, 100, 40), ("ОГЭ-РУ", 2024, 100, 0))
    line = found.criteria.query("criterion == @B").set_index("school_id").loc["S"]
    assert line["verdict"] == "no"
    assert "ОГЭ-МА" in line["reason"].ru
    assert "не проводилось" in line["reason"].ru


# n, f, Wilson's limits as printed in the oracle, and what they say of a listing at .30.
WILSON = [
    (10, 3, 0.1078, 0.6032, "possible"),
    (100, 40, 0.3094, 0.4980, "certain"),
    (100, 30, 0.2189, 0.3958, "possible"),
    (9, 1, 0.0199, 0.4350, ""),
    (3, 2, 0.2077, 0.9385, "possible"),
]


@pytest.mark.parametrize(("n", "f", "low", "high", "certainty"), WILSON)
def test_oracle_2(n: int, f: int, low: float, high: float, certainty: str) -> None:
    limits = wilson_interval([f], [n])
    assert [float(v[0]) for v in limits] == pytest.approx([low, high], abs=5e-5)  # four digits
    rule = Criteria.from_dict(OR.to_dict() | {"criterion": [one_procedure().criteria[0].to_dict()]})
    found = judged(rule, ("ОГЭ-МА", 2025, n, f))
    row = found.schools.set_index("school_id").loc["S"]
    assert str(row["certainty"]) == certainty
    assert row["verdict"] == ("yes" if certainty else "no")  # it never changes the verdict


@pytest.mark.parametrize("name", preset_ids())
def test_oracle_20_a_rule_says_that_no_document_confirms_it(name: str) -> None:
    rule = Criteria.preset(name)
    confirmed = rule.status == "documented"
    assert (NOT_CONFIRMED in rule.describe("ru")) is not confirmed
    nothing = pd.DataFrame({"school_id": [], "rule_id": [], "verdict": []}, dtype=str)
    found = SimpleNamespace(schools=nothing, rules=(rule,))
    draft = Draft(lang="ru")
    write_rules(draft, rules_applied(found, "ru"))
    page = "\n".join(str(block) for block in draft.blocks)
    assert (NOT_CONFIRMED in page) is not confirmed


def test_oracle_20_an_amended_documented_rule_is_no_longer_confirmed() -> None:
    own = OR.amend(A, at_least=0.25)
    assert NOT_CONFIRMED in own.describe("ru")
    cells = ("ОГЭ-МА", 2025, 10, 3)
    assert NOT_CONFIRMED in judged(own, cells).summary("ru")
    assert NOT_CONFIRMED not in judged(OR, cells).summary("ru")


def test_oracle_20_there_is_no_default_rule() -> None:
    rules = inspect.signature(detect_schools).parameters["rules"]
    assert rules.default is inspect.Parameter.empty
    with pytest.raises(SpecificationError, match="name at least one"):
        detect_schools(None, None, [])
    # and where the document leaves a knob open, the caller must turn it
    with pytest.raises(SpecificationError, match="connective"):
        Criteria.preset("shnor_2025")
