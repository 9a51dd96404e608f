"""The federal low-result rule on hand-made counts: DOMAIN oracles 1 and 2, Kleene, reasons."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.detection import Criteria, DetectionResults, detect_schools
from resilience.errors import WeakDataWarning

A, B = "two_procedures", "same_procedure_two_years"
FILLERS = 25  # ordinary schools, so that the region is no handful


def region(
    schools: dict[str, list[tuple[int, str, int, int]]], fillers: int = FILLERS
) -> pd.DataFrame:
    """Counts of named schools (year, procedure, participants, fails) among ordinary ones."""
    rows = [(s, *cell) for s, cells in schools.items() for cell in cells]
    for k in range(fillers):
        for year in (2024, 2025):
            rows += [(f"Z{k:02d}", year, p, 40, 2 + k % 5) for p in ("ВПР-5-МА", "ВПР-5-РУ")]
    names = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    return pd.DataFrame(rows, columns=names)


def verdicts(found: DetectionResults, rule: str | None = None) -> dict[str, str]:
    table = found.schools
    if rule is not None:
        table = table[table["rule_id"] == rule]
    return dict(zip(table["school_id"], table["verdict"], strict=True))


def line(found: DetectionResults, school: str, criterion: str) -> pd.Series:
    table = found.criteria
    return table[(table["school_id"] == school) & (table["criterion"] == criterion)].iloc[0]


def judge(
    cells: list[tuple[int, str, int, int]], rule: str = "low_results_2025_or", **kw
) -> DetectionResults:
    preset = Criteria.preset(rule)
    return detect_schools(
        None, None, preset.amend(**kw) if kw else preset, counts=region({"S": cells})
    )


PADDING = [(2024, "ОГЭ-РУ", 20, 0), (2025, "ОГЭ-РУ", 20, 0)]


@pytest.mark.parametrize(
    ("n", "f", "low"), [(10, 3, 1), (10, 2, 0), (20, 6, 1), (9, 9, 1), (9, 2, 0), (7, 3, 1)]
)
def test_low_is_thirty_per_cent_in_whole_numbers(n: int, f: int, low: int) -> None:
    found = judge([(2025, "ОГЭ-МА", n, f), *PADDING])
    assert line(found, "S", A)["value"] == low


def test_two_low_procedures_give_a() -> None:
    cells = [(2025, "ВПР-5-РУ", 10, 3), (2025, "ОГЭ-МА", 100, 31), (2024, "ВПР-5-РУ", 10, 0)]
    found = judge([*cells, (2024, "ОГЭ-МА", 10, 0)])
    assert line(found, "S", A)["verdict"] == "yes"
    assert line(found, "S", B)["verdict"] == "no"
    assert verdicts(found)["S"] == "yes"
    assert verdicts(judge(cells, "low_results_2025_and"))["S"] == "no"


def test_one_procedure_low_in_both_years_gives_b() -> None:
    cells = [(2024, "ОГЭ-МА", 10, 4), (2025, "ОГЭ-МА", 10, 4), *PADDING]
    found = judge(cells)
    assert line(found, "S", A)["verdict"] == "no"
    assert line(found, "S", B)["verdict"] == "yes"
    assert verdicts(found)["S"] == "yes"
    assert verdicts(judge(cells, "low_results_2025_and"))["S"] == "no"


def test_different_procedures_satisfy_only_the_older_reading() -> None:
    cells = [(2024, "ОГЭ-МА", 10, 4), (2025, "ОГЭ-МА", 10, 0), (2024, "ОГЭ-РУ", 10, 0)]
    cells += [(2025, "ОГЭ-РУ", 10, 4)]
    assert verdicts(judge(cells))["S"] == "no"
    assert verdicts(judge(cells, "low_results_any"))["S"] == "yes"


def test_a_procedure_absent_last_year_is_no_with_its_reason() -> None:
    found = judge([(2025, "ОГЭ-МА", 10, 4), (2024, "ОГЭ-РУ", 10, 0), (2025, "ОГЭ-РУ", 10, 0)])
    row = line(found, "S", B)
    assert row["verdict"] == "no"
    assert "not sat in the other year: ОГЭ-МА" in row["reason"]
    assert "в другом году не проводилось: ОГЭ-МА" in row["reason"].ru


def test_the_floor_makes_small_numbers_unknown() -> None:
    cells = [(2025, "ОГЭ-МА", 9, 9), (2024, "ОГЭ-МА", 9, 9), *PADDING]
    assert verdicts(judge(cells))["S"] == "yes"
    guarded = judge(cells, "low_results_2025_or_guarded")
    assert verdicts(guarded)["S"] == "insufficient_data"
    assert "Fewer than 10 participants: ОГЭ-МА" in line(guarded, "S", B)["reason"]


def test_kleene_what_is_unknown_cannot_turn_a_verdict() -> None:
    # two large low procedures: A is yes whatever the small one would say
    cells = [(2025, "ОГЭ-МА", 9, 9), (2025, "ОГЭ-РУ", 20, 9), (2025, "ВПР-5-МА", 20, 9)]
    assert verdicts(judge(cells, "low_results_2025_or_guarded"))["S"] == "yes"
    # one large low procedure and one small: at least two is open, and so is the rule
    assert verdicts(judge(cells[:2], "low_results_2025_or_guarded"))["S"] == "insufficient_data"
    # none of the large ones is low and only one is small: two cannot be reached, nor can B
    cells = [(2025, "ОГЭ-МА", 9, 9), (2025, "ОГЭ-РУ", 20, 0), (2024, "ОГЭ-РУ", 20, 0)]
    assert verdicts(judge(cells, "low_results_2025_or_guarded"))["S"] == "no"


def test_a_school_that_sat_nothing_is_unknown_and_stays_in_the_table() -> None:
    counts = region({"S": [(2024, "ОГЭ-МА", 10, 9)]})
    schools = pd.DataFrame({"school_id": ["S", "T"], "is_selective": False})
    found = detect_schools(
        None, None, Criteria.preset("low_results_2025_or"), counts=counts, schools=schools
    )
    assert verdicts(found)["S"] == "insufficient_data"  # last year only
    assert verdicts(found)["T"] == "insufficient_data"  # in no counts at all
    assert len(found.schools) == FILLERS + 2
    assert "No participants in 2025" in line(found, "T", A)["reason"]


def test_a_year_the_table_does_not_hold_leaves_b_open() -> None:
    counts = region({"S": [(2025, "ОГЭ-МА", 10, 4)]})
    counts = counts[counts["year"] == 2025]
    found = detect_schools(None, None, Criteria.preset("low_results_2025_or"), counts=counts)
    assert line(found, "Z00", B)["verdict"] == "no"  # nothing low this year: B cannot hold
    assert line(found, "S", B)["verdict"] == "insufficient_data"
    assert "no results of 2024" in line(found, "S", B)["reason"]


def test_many_schools_without_an_answer_are_said() -> None:
    small = {f"S{k}": [(2025, "ОГЭ-МА", 5, 3), (2024, "ОГЭ-МА", 5, 3)] for k in range(5)}
    rule = Criteria.preset("low_results_2025_or_guarded")
    with pytest.warns(WeakDataWarning, match=r"17 % of 30 schools have no answer"):
        found = detect_schools(None, None, rule, counts=region(small))
    assert any("17 %" in note for note in found.notes)


def test_the_year_can_be_chosen() -> None:
    cells = [(2024, "ОГЭ-МА", 10, 4), (2024, "ОГЭ-РУ", 10, 4), (2025, "ОГЭ-МА", 10, 0)]
    cells += [(2025, "ОГЭ-РУ", 10, 0), (2023, "ОГЭ-МА", 10, 0)]
    assert verdicts(judge(cells))["S"] == "no"
    assert verdicts(judge(cells, year=2024))["S"] == "yes"


def test_only_the_named_procedures_count() -> None:
    cells = [(2025, "ОГЭ-МА", 10, 4), (2025, "ОГЭ-РУ", 10, 4), *PADDING[:1]]
    assert verdicts(judge(cells))["S"] == "yes"
    named = judge(cells, procedures=["ОГЭ-МА", "ВПР-5-МА"])
    assert verdicts(named)["S"] == "no"
    assert "procedures named by the rule: ОГЭ-МА, ВПР-5-МА" in named.notes[0]
    assert (
        "all procedures of the table: ВПР-5-МА, ВПР-5-РУ, ОГЭ-МА, ОГЭ-РУ" in judge(cells).notes[0]
    )


def test_every_procedure() -> None:
    rule = Criteria.preset("low_results_2025_or").amend(A, procedures_at_least="all")
    counts = region(
        {
            "S": [(2025, "ОГЭ-МА", 10, 4), (2025, "ОГЭ-РУ", 10, 4)],
            "T": [(2025, "ОГЭ-МА", 10, 4), (2025, "ОГЭ-РУ", 10, 2)],
        }
    )
    found = detect_schools(None, None, rule, counts=counts)
    assert line(found, "S", A)["verdict"] == "yes"
    assert line(found, "T", A)["verdict"] == "no"
    assert line(found, "S", A)["threshold"] == 2


def test_classes_are_added_up() -> None:
    counts = region({"S": []})
    classes = pd.DataFrame(
        {
            "school_id": "S",
            "year": 2025,
            "procedure": ["ОГЭ-МА", "ОГЭ-МА", "ОГЭ-РУ"],
            "class_label": ["9А", "9Б", "9А"],
            "n_participants": [10, 10, 20],
            "n_below_minimum": [5, 1, 6],
        }
    )
    counts = pd.concat([counts.assign(class_label="А"), classes], ignore_index=True)
    found = detect_schools(None, None, Criteria.preset("low_results_2025_or"), counts=counts)
    assert verdicts(found)["S"] == "yes"  # 6 of 20 is low; the second class alone is not
    assert "ОГЭ-МА 2025: 6 of 20" in line(found, "S", A)["reason"]


def test_certain_and_possible_never_change_the_verdict() -> None:
    counts = region(
        {
            "S": [(2025, "ОГЭ-МА", 100, 40), (2025, "ОГЭ-РУ", 100, 40)],
            "T": [(2025, "ОГЭ-МА", 100, 40), (2025, "ОГЭ-РУ", 10, 3)],
            "U": [(2025, "ОГЭ-МА", 100, 30), (2024, "ОГЭ-МА", 100, 40)],
        }
    )
    found = detect_schools(None, None, Criteria.preset("low_results_2025_or"), counts=counts)
    table = found.schools.set_index("school_id")
    assert [table.loc[s, "verdict"] for s in "STU"] == ["yes"] * 3
    assert [str(table.loc[s, "certainty"]) for s in "STU"] == ["certain", "possible", "possible"]
    assert table.loc["S", "certainty"].ru == "определённо"
    assert table.loc["Z00", "certainty"] == ""


def test_or_and_and_stand_beside_each_other() -> None:
    counts = region(
        {
            "S": [(2025, "ОГЭ-МА", 10, 4), (2025, "ОГЭ-РУ", 10, 4)],
            "T": [(y, "ОГЭ-МА", 10, 4) for y in (2024, 2025)],
            "U": [(y, p, 10, 4) for y in (2024, 2025) for p in ("ОГЭ-МА", "ОГЭ-РУ")],
        }
    )
    rules = [Criteria.preset(f"low_results_2025_{c}") for c in ("or", "and")]
    found = detect_schools(None, None, rules, counts=counts)
    lists = found.lists.set_index("rule_id")
    assert lists["n_listed"].to_dict() == {"low_results_2025_or": 3, "low_results_2025_and": 1}
    assert set(lists["n_if_any"]) == {3}
    assert set(lists["n_if_all"]) == {1}


def test_reasons_name_the_procedures_that_decide() -> None:
    cells = [(2024, "ОГЭ-МА", 10, 5), (2025, "ОГЭ-МА", 10, 4), (2024, "ОГЭ-РУ", 10, 9)]
    row = line(judge([*cells, (2025, "ОГЭ-РУ", 10, 0)]), "S", B)
    assert row["reason"] == "Reached: ОГЭ-МА 2024: 5 of 10, ОГЭ-МА 2025: 4 of 10."
    assert row["reason"].ru == "Достигнуто: ОГЭ-МА 2024: 5 из 10, ОГЭ-МА 2025: 4 из 10."


def test_counts_alone_and_schools_of_five_are_enough_for_the_companion() -> None:
    rng = np.random.default_rng(6)
    rows = []
    for k in range(60):
        share = rng.beta(3, 17)
        for year in (2023, 2024, 2025):
            for p in range(10):
                rows.append((f"S{k:02d}", year, f"П{p}", 5, rng.binomial(5, share)))
    names = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    counts = pd.DataFrame(rows, columns=names)
    found = detect_schools(None, None, Criteria.preset("low_posterior"), counts=counts)
    table = found.schools
    assert set(table["verdict"]) <= {"yes", "no"}  # everyone gets a decision
    assert ((table["probability"] >= 1 / 3) == (table["verdict"] == "yes")).all()
    assert table["threshold"].unique() == pytest.approx([1 / 3])
    pooled = counts.groupby("school_id")[["n_below_minimum", "n_participants"]].sum()
    shares = (pooled["n_below_minimum"] / pooled["n_participants"]).to_numpy()
    np.testing.assert_allclose(found.criteria["value"], shares, atol=1e-15)
    ranks = pd.Series(shares).rank(), table["probability"].rank()
    assert (ranks[0].to_numpy() == ranks[1].to_numpy()).all()  # equal sizes: more fails, higher P


def test_high_shares_can_be_asked_for_too() -> None:
    rule = Criteria.preset("low_results_2025_or")
    none = rule.amend(A, below=0.30, procedures_at_least="all")
    found = detect_schools(
        None,
        None,
        none,
        counts=region({"S": [(2025, "ОГЭ-МА", 10, 3)], "T": [(2025, "ОГЭ-МА", 10, 2)]}),
    )
    assert line(found, "S", A)["verdict"] == "no"  # 3 of 10 is not below 30 %
    assert line(found, "T", A)["verdict"] == "yes"


def test_order_of_rows_does_not_matter() -> None:
    counts = region({"S": [(2025, "ОГЭ-МА", 10, 4), (2025, "ОГЭ-РУ", 10, 4)]})
    rule = Criteria.preset("low_results_2025_or")
    one = detect_schools(None, None, rule, counts=counts)
    other = detect_schools(None, None, rule, counts=counts.sample(frac=1, random_state=3))
    pd.testing.assert_frame_equal(one.schools, other.schools)
    pd.testing.assert_frame_equal(one.criteria, other.criteria)
