"""Bad input to the context index: the message names culprit, rule, value seen and way out."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from resilience.context import ContextIndex
from resilience.errors import DataError, ResilienceError, SpecificationError, WeakDataWarning

INPUTS = ["both_parents_higher_edu", "low_income"]


def schools(n_schools: int = 30, n_years: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    favour = rng.normal(size=n_schools)
    years = [
        pd.DataFrame(
            {
                "school_id": [f"S{i:02d}" for i in range(n_schools)],
                "year": 2022 + t,
                "n_pupils": rng.integers(10, 90, n_schools),
                "both_parents_higher_edu": 1 / (1 + np.exp(0.5 - 0.7 * favour)),
                "low_income": 1 / (1 + np.exp(0.5 + 0.6 * favour + rng.normal(size=n_schools))),
                "mean_score": 0.5 * favour + rng.normal(0, 0.3, n_schools),
            }
        )
        for t in range(n_years)
    ]
    return pd.concat(years, ignore_index=True)


def changed(**columns) -> pd.DataFrame:
    """Return the table with cells replaced: ``column={row: value}``."""
    frame = schools()
    for name, cells in columns.items():
        values = frame[name].astype(float)
        for row, value in cells.items():
            values.iloc[row] = value
        frame[name] = values
    return frame


def policy(**options) -> ContextIndex:
    return ContextIndex.policy({"both_parents_higher_edu": 0.5, "low_income": -0.5}, **options)


def supervised(inputs=INPUTS, *, outcome="mean_score", weights="cross_fitted", **options):
    options.setdefault("n_bootstrap", 0)
    return ContextIndex.supervised(inputs, outcome=outcome, weights=weights, **options)


def says(error: ResilienceError, *parts: str) -> None:
    """Check both wordings: the parts in the English one, Cyrillic and no leftovers in the other."""
    english, russian = error.localized("en"), error.localized("ru")
    for part in parts:
        assert part in english, english
    assert re.search("[а-яё]", russian), russian
    for wording in (english, russian):
        assert not re.search(r"\{[a-z_]+\}", wording), wording


SPECIFICATIONS = {
    "process": (
        lambda: supervised(["low_income", "teacher_turnover"]),
        ["'teacher_turnover'", "what the school does"],
    ),
    "process_policy": (
        lambda: ContextIndex.policy({"attendance": 1.0}),
        ["'attendance'", "excuse"],
    ),
    "process_declared": (
        lambda: ContextIndex.equal(["attendance"], directions={"attendance": 1}),
        ["'attendance'", "remove it"],
    ),
    "outcome_known": (
        lambda: ContextIndex.pca(["low_income", "share_below_minimum"]),
        ["'share_below_minimum'", "result"],
    ),
    "outcome_own": (
        lambda: supervised(["low_income", "api"], outcome="api", directions={"api": 1}),
        ["'api'", "explains results by themselves"],
    ),
    "organisation": (lambda: ContextIndex.equal(["is_selective"]), ["'is_selective'", "guard"]),
    "identifier": (lambda: ContextIndex.equal(["latitude"]), ["'latitude'", "measures nothing"]),
    "unknown": (
        lambda: supervised(["low_incom"]),
        ["'low_incom'", "low_income", "directions={'low_incom': 1}"],
    ),
    "no_sign": (
        lambda: supervised(["large_family"]),
        ["'large_family'", "no sign is documented", "directions={'large_family': -1}"],
    ),
    "empty": (lambda: supervised([]), ["empty", "0 columns"]),
    "string": (lambda: supervised("low_income"), ["'low_income'", "['low_income']"]),
    "not_a_name": (lambda: supervised(["low_income", 3]), ["3", "strings"]),
    "repeated": (
        lambda: supervised(["low_income", "low_income"]),
        ["'low_income'", "more than once"],
    ),
    "stray_direction": (
        lambda: supervised(directions={"low_incme": -1}),
        ["directions", "'low_incme'", "low_income"],
    ),
    "bad_direction": (
        lambda: supervised(directions={"low_income": -2}),
        ["'low_income'", "-2", "must be 1"],
    ),
    "stray_transform": (
        lambda: supervised(transform={"remoteness_km": "number"}),
        ["transform", "'remoteness_km'"],
    ),
    "bad_transform": (lambda: supervised(transform="log"), ["transform", "'log'", "'logit'"]),
    "bad_own_transform": (
        lambda: supervised(transform={"low_income": "sqrt"}),
        ["transform['low_income']", "'sqrt'"],
    ),
    "bad_mode": (
        lambda: supervised(weights="same_year"),
        ["weights", "'same_year'", "'previous_years'"],
    ),
    "bad_outcome": (lambda: supervised(outcome=None), ["outcome", "None", "mean_score"]),
    "one_fold": (lambda: supervised(folds=1), ["folds", "1", "at least 2"]),
    "part_of_a_fold": (lambda: supervised(folds=2.5), ["folds", "2.5", "whole number"]),
    "bootstrap": (lambda: supervised(n_bootstrap=-1), ["n_bootstrap", "-1"]),
    "outcome_sd": (lambda: supervised(outcome_sd=-1.0), ["outcome_sd", "-1.0"]),
    "outcome_sd_nan": (lambda: supervised(outcome_sd=float("nan")), ["outcome_sd", "nan"]),
    "coverage_per_cent": (lambda: policy(min_coverage=60), ["min_coverage", "60", "per cent"]),
    "weight_zero": (
        lambda: ContextIndex.policy({"low_income": 0}),
        ["'low_income'", "0", "leave the column out"],
    ),
    "weight_nan": (
        lambda: ContextIndex.policy({"low_income": float("nan")}),
        ["'low_income'", "nan"],
    ),
    "weight_text": (
        lambda: ContextIndex.policy({"low_income": "-0.3"}),
        ["'low_income'", "'-0.3'", "number"],
    ),
    "weight_sign": (
        lambda: ContextIndex.policy({"low_income": 0.3}),
        ["'low_income'", "0.3", "-1", "directions={'low_income': +1}"],
    ),
    "weights_list": (lambda: ContextIndex.policy(["low_income"]), ["list", "mapping"]),
}


@pytest.mark.parametrize("case", SPECIFICATIONS)
def test_specifications_that_are_refused(case) -> None:
    make, parts = SPECIFICATIONS[case]
    with pytest.raises(SpecificationError) as caught:
        make()
    says(caught.value, *parts)


TABLES = {
    "not_a_table": (policy, lambda: schools().to_dict(), DataError, ["dict", "DataFrame"]),
    "no_rows": (policy, lambda: schools().iloc[:0], DataError, ["schools", "0 rows"]),
    "no_n_pupils": (
        policy,
        lambda: schools().drop(columns="n_pupils"),
        DataError,
        ["'n_pupils'", "schools"],
    ),
    "no_year": (policy, lambda: schools().drop(columns="year"), DataError, ["'year'", "add it"]),
    "no_item": (
        policy,
        lambda: schools().rename(columns={"low_income": "low_incomes"}),
        DataError,
        ["'low_income'", "low_incomes"],
    ),
    "no_outcome": (
        supervised,
        lambda: schools().drop(columns="mean_score"),
        DataError,
        ["'mean_score'"],
    ),
    "per_cent": (
        policy,
        lambda: schools().assign(low_income=lambda t: t["low_income"] * 100),
        DataError,
        ["'low_income'", "0..1", "per cent", "divide the whole column by 100", "S00"],
    ),
    "per_cent_in_one_row": (
        policy,
        lambda: changed(low_income={7: 35.0}),
        DataError,
        ["'low_income'", "1 rows", "35", "S07"],
    ),
    "negative_share": (
        policy,
        lambda: changed(low_income={3: -0.1}),
        DataError,
        ["'low_income'", "-0.1", "S03"],
    ),
    "infinite": (
        policy,
        lambda: changed(low_income={3: np.inf}),
        DataError,
        ["'low_income'", "infinite", "S03"],
    ),
    "infinite_outcome": (
        supervised,
        lambda: changed(mean_score={3: -np.inf}),
        DataError,
        ["'mean_score'", "infinite"],
    ),
    "text": (
        policy,
        lambda: schools().assign(low_income="12%"),
        DataError,
        ["'low_income'", "numeric"],
    ),
    "text_outcome": (
        supervised,
        lambda: schools().assign(mean_score="4,5"),
        DataError,
        ["'mean_score'", "numeric"],
    ),
    "no_pupils": (
        policy,
        lambda: changed(n_pupils={5: 0}),
        DataError,
        ["'n_pupils'", "above 0", "S05"],
    ),
    "negative_pupils": (
        policy,
        lambda: changed(n_pupils={5: -12}),
        DataError,
        ["'n_pupils'", "above 0", "-12", "S05"],
    ),
    "unknown_pupils": (
        policy,
        lambda: changed(n_pupils={5: np.nan}),
        DataError,
        ["'n_pupils'", "S05"],
    ),
    "no_school_id": (
        policy,
        lambda: schools().assign(school_id=lambda t: t["school_id"].mask(t.index == 2)),
        DataError,
        ["'school_id'"],
    ),
    "part_of_a_year": (policy, lambda: changed(year={0: 2022.5}), DataError, ["'year'", "2022.5"]),
    "twice": (
        policy,
        lambda: pd.concat([schools(), schools().iloc[:2]]),
        DataError,
        ["school_id × year", "S00/2022"],
    ),
    "constant": (
        policy,
        lambda: schools().assign(low_income=0.25),
        DataError,
        ["'low_income'", "0.25", "2022"],
    ),
    "nothing_in_the_base_year": (
        policy,
        lambda: changed(low_income=dict.fromkeys(range(30), np.nan)),
        DataError,
        ["'low_income'", "2022", "base_year"],
    ),
    "constant_outcome": (
        supervised,
        lambda: schools().assign(mean_score=4.0),
        DataError,
        ["'mean_score'", "4"],
    ),
    "empty_outcome": (
        supervised,
        lambda: schools().assign(mean_score=np.nan),
        DataError,
        ["'mean_score'", "ContextIndex.policy"],
    ),
    "one_vintage": (
        lambda: supervised(weights="previous_years"),
        lambda: schools(30, 1),
        DataError,
        ["previous_years", "'mean_score'", "cross_fitted", "2022"],
    ),
    "results_in_the_last_year_alone": (
        lambda: supervised(weights="previous_years"),
        lambda: changed(mean_score=dict.fromkeys(range(30), np.nan)),
        DataError,
        ["previous_years", "cross_fitted"],
    ),
    "few_results": (
        supervised,
        lambda: changed(mean_score=dict.fromkeys([*range(8, 30), *range(38, 60)], np.nan)),
        DataError,
        ["10 are needed", "fewer folds"],
    ),
    "wrong_signs": (
        lambda: supervised(directions={"both_parents_higher_edu": -1, "low_income": 1}),
        schools,
        DataError,
        ["no input is associated", "directions"],
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_are_refused(case) -> None:
    make, table, kind, parts = TABLES[case]
    with pytest.raises(kind) as caught:
        make().fit(table())
    says(caught.value, *parts)


def test_a_base_year_outside_the_table() -> None:
    with pytest.raises(SpecificationError) as caught:
        policy().fit(schools(), base_year=2019)
    says(caught.value, "2019", "2022, 2023")


@pytest.mark.parametrize("seed", [-1, 1.5, None, True])
def test_a_seed_that_is_none(seed) -> None:
    with pytest.raises(SpecificationError) as caught:
        policy().fit(schools(), random_state=seed)
    says(caught.value, "random_state", repr(seed))


def test_too_few_passports_in_the_base_year() -> None:
    frame = schools()
    # Half the schools report one item and half the other: nobody knows 60 % of the weights.
    frame.loc[:14, "low_income"] = np.nan
    frame.loc[15:29, "both_parents_higher_edu"] = np.nan
    with pytest.raises(DataError) as caught:
        policy().fit(frame)
    says(caught.value, "2022", "0 schools", "min_coverage")


def test_an_index_without_variation() -> None:
    frame = schools()
    frame["low_income"] = frame["both_parents_higher_edu"]
    with pytest.raises(DataError) as caught:
        policy().fit(frame)
    says(caught.value, "same for all 30 schools", "2022")


def test_augment_refuses_a_table_that_has_the_columns() -> None:
    result = policy().fit(schools())
    with pytest.raises(SpecificationError) as caught:
        result.augment(result.scores)
    says(caught.value, "context_index")
    with pytest.raises(DataError) as missing:
        result.augment(pd.DataFrame({"school_id": ["S00"]}))
    says(missing.value, "'year'")


def test_a_gate_outside_its_scale() -> None:
    with pytest.raises(SpecificationError) as caught:
        policy().fit(schools()).adverse_context(quantile=25)
    says(caught.value, "quantile", "25")


def test_few_schools_warn_with_their_number() -> None:
    with pytest.warns(WeakDataWarning) as caught:
        policy().fit(schools(12))
    assert "12 schools, fewer than 20" in str(caught[0].message)
    assert "12" in caught[0].message.localized("ru")


def test_many_schools_without_an_index_warn_with_their_number() -> None:
    frame = schools()
    frame.loc[:9, "low_income"] = np.nan
    with pytest.warns(WeakDataWarning, match="10 of 60 school-years have no index"):
        result = policy().fit(frame)
    assert result.scores["context_index"].isna().sum() == 10


def test_the_first_year_without_weights_does_not_warn() -> None:
    # It is the rule of previous_years, told in notes and reasons, and no lack of data.
    result = supervised(weights="previous_years").fit(schools(60))
    assert result.scores["context_index"].isna().sum() == 60


def test_a_structural_zero_is_questioned_and_a_gap_is_not() -> None:
    frame = schools().assign(n_pupils=400)
    clean = policy().fit(frame)
    assert not any("hardly credible" in note for note in clean.notes)
    zero = frame.copy()
    zero.loc[[3, 33], "low_income"] = 0.0
    result = policy().fit(zero)
    told = [note for note in result.notes if "hardly credible" in note]
    assert len(told) == 1
    assert "low_income is exactly 0 in 2 school-years" in told[0]
    assert "(S03)" in told[0]
    assert "пропуск — это не ноль" in told[0].ru
    # Among four pupils nobody is no surprise.
    few = zero.assign(n_pupils=zero["n_pupils"].mask(zero["low_income"] == 0, 4))
    assert not any("hardly credible" in note for note in policy().fit(few).notes)
    # The empty cell: other items speak for it, and the index is not that of a favoured school.
    empty = zero.assign(low_income=zero["low_income"].mask(zero["low_income"] == 0))
    lenient = policy(min_coverage=0.5)
    gap, taken = (lenient.fit(t).scores.loc[3] for t in (empty, zero))
    assert gap["context_coverage"] == 0.5
    assert gap["context_index"] < taken["context_index"] - 5
    assert gap["context_index_std_error"] > taken["context_index_std_error"]
