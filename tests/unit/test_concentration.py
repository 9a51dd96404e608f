"""Where the failures are, four types of schools, and whether a list repeats itself."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.detection import Criteria, detect_schools
from resilience.detection.concentration import concentration_set, fails_core_years, smallest_set
from resilience.detection.rule_columns import (
    rank_percentiles,
    share_excess,
    share_good_marks,
    yearly_flags,
)
from resilience.detection.typology import (
    TYPES,
    list_persistence,
    persistence_ratio,
    type_title,
    typology,
)
from resilience.errors import DataError, SpecificationError, WeakDataWarning

# DOMAIN.md section 7, oracle 16: fails 30, 20, 12, 8, 8, 22 (sum 100); 30 + 22 = 52, + 20 = 72.
ORACLE_16 = [30, 20, 12, 8, 8, 22]


def counts_of(
    failed: dict[str, list[int]], procedure: str = "ЕГЭ-РУ", n: int = 100
) -> pd.DataFrame:
    """Return counts of a procedure, one year per number from 2023 on; -1 is nobody there."""
    rows = [
        (school, 2023 + t, procedure, 100, f)
        for school, own in failed.items()
        for t, f in enumerate(own)
        if f >= 0
    ]
    names = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    return pd.DataFrame(rows, columns=names)


def test_oracle_16() -> None:
    inside = smallest_set(ORACLE_16)
    assert [f for f, yes in zip(ORACLE_16, inside, strict=True) if yes] == [30, 20, 22]


def test_exactly_sixty_per_cent_is_not_more() -> None:
    # oracle 16: 40 + 20 = 60 of 100 is not more than 60 %: the next one enters, with its tie
    assert smallest_set([40, 20, 15, 15, 10]).tolist() == [True, True, True, True, False]
    assert smallest_set([40, 21, 14, 15, 10]).tolist() == [True, True, False, False, False]
    # .6 * 5 is 3.0 in floats and .29 * 100 is 28.999…: whole numbers decide
    assert smallest_set([29, 71 - 1, 1], more_than=0.70).tolist() == [True, True, False]


def test_the_set_is_the_smallest_by_trying_all() -> None:
    from itertools import combinations

    rng = np.random.default_rng(5)
    for _ in range(60):
        failed = rng.permutation(40)[: rng.integers(2, 9)]  # no ties: ties are a rule of ours
        total = failed.sum()
        size = int(smallest_set(failed).sum())
        enough = [
            k
            for k in range(len(failed) + 1)
            if any(10 * sum(c) > 6 * total for c in combinations(failed.tolist(), k))
        ]
        assert size == (enough[0] if enough else 0)


def test_nobody_failed() -> None:
    assert not smallest_set([0, 0, 0]).any()
    found = concentration_set(counts_of({"A": [0], "B": [0]}))
    assert found["in_concentration_set"].tolist() == [False, False]
    assert found["share_of_failed"].isna().all()


def test_the_table_of_the_set() -> None:
    schools = dict(zip("ABCDEF", ([f] for f in ORACLE_16), strict=True))
    found = concentration_set(counts_of(schools | {"G": [-1]}))
    assert found["school_id"].tolist() == list("AFBCDE")
    assert found["cumulative_share"].tolist() == pytest.approx([0.30, 0.52, 0.72, 0.84, 1.0, 1.0])
    assert found["in_concentration_set"].tolist() == [True, True, True, False, False, False]
    assert set(found.columns) <= set(column_names())


def test_a_school_without_results_this_year_is_missing_not_outside() -> None:
    counts = counts_of({"A": [9, 9], "B": [1, -1]})
    found = concentration_set(counts).set_index("school_id")
    assert found.loc["B"].drop("year").isna().all()
    earlier = concentration_set(counts, year=2023).set_index("school_id")
    assert bool(earlier.loc["A", "in_concentration_set"])
    assert not earlier.loc["B", "in_concentration_set"]


@pytest.mark.parametrize("share", [60, 1, -0.1, True, "0.6"])
def test_the_share_is_a_fraction(share: object) -> None:
    with pytest.raises(SpecificationError, match=r"60 % is 0\.60"):
        smallest_set([1, 2], more_than=share)


def test_bad_numbers_years_and_procedures() -> None:
    with pytest.raises(DataError, match="whole"):
        smallest_set([1, -2])
    with pytest.raises(DataError, match="whole"):
        smallest_set([1, 2.5])
    counts = counts_of({"A": [1]})
    with pytest.raises(DataError, match="2020"):
        concentration_set(counts, year=2020)
    with pytest.raises(DataError, match="ЕГЭ-РУ"):
        concentration_set(counts, procedures=["ЕГЭ-РО"])
    with pytest.raises(SpecificationError, match="compulsory"):
        fails_core_years(counts, subjects={})


CORE = {"РУ": ["ЕГЭ-РУ"], "МА": ["ЕГЭ-МА"]}


def core_counts() -> pd.DataFrame:
    russian = {"A": [1, 2, 1], "B": [1, 0, 1], "C": [1, -1, 1], "D": [1, 0, -1]}
    maths = {"A": [1, 1, 3], "B": [2, 2, 2], "C": [1, -1, 1], "D": [1, 1, -1]}
    return pd.concat([counts_of(russian), counts_of(maths, "ЕГЭ-МА")], ignore_index=True)


def test_both_subjects_in_each_of_three_years() -> None:
    found = fails_core_years(core_counts(), subjects=CORE).set_index("school_id")
    years = found["fails_core_years"]
    assert years["A"] == 3
    assert years["B"] == 2
    assert np.isnan(years["C"])  # a year nobody sat: it might have been all three
    assert years["D"] == 1  # a year without a failure settles it, whatever the missing one
    assert set(found["year"]) == {2025}


def test_the_core_is_a_rule() -> None:
    counts = core_counts()
    columns = concentration_set(counts, more_than=0.25).merge(
        fails_core_years(counts, subjects=CORE), on=["school_id", "year"]
    )
    inside = columns.set_index("school_id")["in_concentration_set"]
    assert bool(inside["A"])
    rule = Criteria.preset("hse_core")
    tables = {"schools": columns}
    assert rule.validate(tables=tables) is rule


def test_yearly_answers() -> None:
    verdicts = pd.DataFrame(
        {
            "school_id": list("AABB"),
            "year": [2024, 2025, 2024, 2025],
            "verdict": ["yes", "no", "insufficient_data", "not_applicable"],
        }
    )
    listed = yearly_flags(verdicts)["listed"]
    assert listed.isna().tolist() == [False, False, True, True]
    assert listed[:2].tolist() == [True, False]
    with pytest.raises(DataError, match="maybe"):
        yearly_flags(verdicts.assign(verdict="maybe"))
    with pytest.raises(DataError, match="school_id × year"):
        yearly_flags(verdicts.assign(year=2024))


def test_the_excess_compares_within_the_procedures_sat() -> None:
    easy, hard = counts_of({"A": [10], "B": [20]}), counts_of({"B": [60]}, "ЕГЭ-МА")
    found = share_excess(pd.concat([easy, hard], ignore_index=True)).set_index("school_id")
    # region: 30 of 200 in the easy one, 60 of 100 in the hard one, which only B sat
    assert found.loc["A", "share_excess"] == pytest.approx(0.10 - 0.15)
    assert found.loc["B", "share_excess"] == pytest.approx(0.40 - (0.15 + 0.60) / 2)


def test_marks_of_four_and_five() -> None:
    counts = pd.DataFrame(
        {
            "school_id": ["A", "A", "B"],
            "year": 2025,
            "procedure": ["ОГЭ-РУ", "ОГЭ-МА", "ОГЭ-РУ"],
            "n_2": [1, 0, 0],
            "n_3": [4, 1, 0],
            "n_4": [3, 2, 0],
            "n_5": [2, 7, 0],
        }
    )
    share = share_good_marks(counts).set_index("school_id")["share_good_marks"]
    assert share["A"] == pytest.approx(14 / 20)
    assert np.isnan(share["B"])
    with pytest.raises(DataError, match="-1"):
        share_good_marks(counts.assign(n_2=-1))


def test_percentiles_of_expected_ranks() -> None:
    effects = pd.DataFrame({"school_id": list("ABCD"), "rank_expected": [1.0, 4.0, 2.5, 2.5]})
    found = rank_percentiles(effects)["rank_percentile"]
    assert found.tolist() == [12.5, 87.5, 50.0, 50.0]  # 100 (rank − ½) / 4
    with pytest.raises(DataError, match="between 1 and the number of schools, 4"):
        rank_percentiles(effects.assign(rank_expected=9.0))


def verdicts(**answers: str) -> pd.DataFrame:
    return pd.DataFrame({"school_id": list(answers), "verdict": list(answers.values())})


def test_the_four_types() -> None:
    low = verdicts(A="yes", B="yes", C="no", D="no")
    adverse = verdicts(A="yes", B="no", C="yes", D="no")
    resilient = verdicts(A="no", B="no", C="yes", D="not_applicable")
    found = typology(low, adverse, resilient).set_index("school_id")
    assert found["typology"].tolist() == list(TYPES)
    assert found["low_or_adverse"].tolist() == ["yes", "yes", "yes", "no"]
    assert typology(low, adverse)["typology"].tolist()[2:] == ["regular", "regular"]
    assert set(found.reset_index().columns) <= set(column_names())
    assert {type_title(k).ru for k in TYPES} >= {"резильентная", "обычная"}
    assert type_title("insufficient_data").ru != type_title("insufficient_data").en


@pytest.mark.parametrize(
    ("answers", "kind", "union"),
    [
        (("yes", "insufficient_data", "no"), "insufficient_data", "yes"),
        (("insufficient_data", "yes", "yes"), "insufficient_data", "yes"),
        (("insufficient_data", "no", "no"), "insufficient_data", "insufficient_data"),
        (("no", "yes", "insufficient_data"), "insufficient_data", "yes"),
        (("no", "insufficient_data", "yes"), "resilient", "insufficient_data"),
        (("not_applicable", "no", "no"), "not_applicable", "no"),
        (("yes", "yes", "yes"), "low_adverse", "yes"),
    ],
)
def test_types_where_an_answer_is_missing(
    answers: tuple[str, str, str], kind: str, union: str
) -> None:
    found = typology(*(verdicts(A=a) for a in answers)).iloc[0]
    assert (found["typology"], found["low_or_adverse"]) == (kind, union)
    quiet = kind == "resilient"
    assert bool(found["reason"]) is not quiet


def test_a_school_that_a_list_lacks_has_no_answer_there() -> None:
    found = typology(verdicts(A="yes"), verdicts(B="no")).set_index("school_id")
    assert found["typology"].tolist() == ["insufficient_data", "insufficient_data"]


def test_a_list_of_several_rules_is_refused() -> None:
    both = pd.concat([verdicts(A="yes"), verdicts(A="no")])
    with pytest.raises(DataError, match="school_id"):
        typology(both, verdicts(A="no"))


def test_how_often_georgia_repeats_itself() -> None:
    # methods/detection.md section 2, from gosa.georgia.gov/beating-odds-analysis: 1,037 schools in
    # 2016, 271 of them five years running; .45^4 = 4.1 % were to be expected, 26.1 % observed
    found = persistence_ratio(n_first=1037, n_kept=271, rates=[0.45] * 4)
    assert round(100 * found["kept_share_expected"], 1) == 4.1
    assert round(100 * found["kept_share"], 1) == 26.1
    assert found["kept_ratio"] == pytest.approx(0.26133 / 0.0410063, rel=1e-4)  # printed digits


def test_persistence_of_a_list_by_hand() -> None:
    answers = {
        "A": ["yes", "yes", "yes"],
        "B": ["yes", "no", "yes"],
        "C": ["yes", "insufficient_data", "yes"],
        "D": ["no", "yes", "no"],
    }
    table = pd.DataFrame(
        [(s, 2023 + t, v) for s, own in answers.items() for t, v in enumerate(own)],
        columns=["school_id", "year", "verdict"],
    )
    found = list_persistence(table)
    assert found["year"].tolist() == [2024, 2025]
    assert found["n_kept_listed"].tolist() == [1, 1]
    assert found["n_kept_unknown"].tolist() == [1, 1]
    assert found["kept_share"].tolist() == [0.5, 0.5]
    # rates: 2 of the 3 answered in 2024, 3 of 4 in 2025
    assert found["kept_share_expected"].tolist() == pytest.approx([2 / 3, 2 / 3 * 3 / 4])
    assert set(found.columns) <= set(column_names())


def test_a_list_drawn_afresh_repeats_itself_as_often_as_expected() -> None:
    rng = np.random.default_rng(11)
    n = 20_000
    listed = rng.random((n, 3)) < 0.45
    table = pd.DataFrame(
        {
            "school_id": np.repeat(np.arange(n).astype(str), 3),
            "year": np.tile([2023, 2024, 2025], n),
            "verdict": np.where(listed.ravel(), "yes", "no"),
        }
    )
    last = list_persistence(table).iloc[-1]
    share = last["kept_share_expected"]
    # four binomial standard errors of the share kept
    error = 4 * np.sqrt(share * (1 - share) / last["n_first_listed"])
    assert last["kept_share"] == pytest.approx(share, abs=error)


def test_persistence_of_what_cannot_be() -> None:
    with pytest.raises(SpecificationError, match="271"):
        persistence_ratio(n_first=200, n_kept=271, rates=[0.45])
    with pytest.raises(SpecificationError, match="45"):
        persistence_ratio(n_first=200, n_kept=1, rates=[45])
    one = pd.DataFrame({"school_id": ["A"], "year": [2025], "verdict": ["yes"]})
    with pytest.raises(DataError, match="two years"):
        list_persistence(one)


def test_a_rule_on_the_columns_of_this_page() -> None:
    n = 25
    ids = [f"S{k:02d}" for k in range(n)]
    effects = pd.DataFrame({"school_id": ids, "rank_expected": np.linspace(1.5, n - 0.5, n)})
    schools = rank_percentiles(effects)
    found = detect_schools(None, None, Criteria.preset("expected_rank_70"), schools=schools)
    verdict = found.schools.set_index("school_id")["verdict"]
    expected = np.where(schools["rank_percentile"] >= 70, "yes", "no")
    assert verdict[ids].tolist() == expected.tolist()


def test_presets_on_lasting_lists_answer_in_full() -> None:
    ids = [f"S{k:02d}" for k in range(25)]
    answers = {2023: ["yes"] * 25, 2024: ["yes"] * 20 + ["no"] * 5, 2025: ["yes"] * 15}
    answers[2025] += ["no"] * 5 + ["insufficient_data"] * 5
    table = pd.concat(
        [pd.DataFrame({"school_id": ids, "year": y, "verdict": a}) for y, a in answers.items()]
    )
    flags = yearly_flags(table)
    expected = {
        "persistent_3_of_3": ["yes"] * 15 + ["no"] * 10,
        "persistent_2_of_3": ["yes"] * 20 + ["insufficient_data"] * 5,
    }
    for name, verdict in expected.items():
        with pytest.warns(WeakDataWarning) if "2_of" in name else nullcontext():
            found = detect_schools(None, None, Criteria.preset(name), schools=flags)
        assert found.schools["verdict"].tolist() == verdict


def test_the_concentration_preset_answers_as_the_set() -> None:
    rng = np.random.default_rng(3)
    counts = counts_of({f"S{k:02d}": [int(f)] for k, f in enumerate(rng.poisson(4, 30))})
    columns = concentration_set(counts)
    found = detect_schools(None, None, Criteria.preset("concentration_60"), schools=columns)
    listed = found.schools.query("verdict == 'yes'")["school_id"]
    assert set(listed) == set(columns.query("in_concentration_set == 1")["school_id"])
    assert "60 %" in str(found.explain("S00"))
