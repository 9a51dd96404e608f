"""What bad input gets from imputation and from bounds by who left."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.gaps.completion import impute_pupils
from resilience.value_added.gaps.selection import selection_bounds
from resilience.value_added.gaps.stayers import beside_stayers
from resilience.value_added.pupils.shared_pass import SharedPass


def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    school = np.repeat(np.arange(12), 12)
    n = len(school)
    ses = rng.normal(size=n)
    score = 0.4 * ses + 0.5 * rng.normal(size=12)[school] + rng.normal(size=n)
    ses[:10] = np.nan
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "earlier_id": rng.integers(0, 8, n),
            "ses": ses,
            "kind": rng.choice(list("abcdefghijkl"), n),
            "prior_score": rng.normal(size=n),
            "score": score,
        }
    )


IMPUTE = rs.Intake(missing="impute", n_imputations=2)


def fit(frame: pd.DataFrame, formula: str = "score ~ ses", **kwargs) -> object:
    kwargs = {"group": "school_id", "intake": IMPUTE} | kwargs
    return rs.ValueAddedModel(formula, **kwargs).fit(frame)


def holed(column: str, rows: slice, value: object = None) -> pd.DataFrame:
    frame = pupils().astype({column: object} if column == "kind" else {})
    frame.loc[frame.index[rows], column] = np.nan if value is None else value
    return frame


CASES = {
    "mostly missing": (
        lambda: fit(holed("ses", slice(0, 90))),
        rs.DataError,
        ["column 'ses' is missing in 62.5 %", "more than half", "missing='indicator'"],
    ),
    "outcome missing": (
        lambda: fit(holed("score", slice(0, 3))),
        rs.DataError,
        ["never imputed", "'score': 3", "S00"],
    ),
    "identifier missing": (
        lambda: fit(holed("school_id", slice(0, 2))),
        rs.DataError,
        ["school_id", "2"],
    ),
    "infinite value": (
        lambda: fit(holed("ses", slice(20, 21), np.inf)),
        rs.DataError,
        ["'ses': 1", "S01"],
    ),
    "constant column": (
        lambda: fit(pupils().assign(ses=np.where(pupils()["ses"].isna(), np.nan, 1.0))),
        rs.DataError,
        ["'ses'", "one single value"],
    ),
    "too many categories": (
        lambda: fit(holed("kind", slice(0, 5)), "score ~ kind"),
        rs.DataError,
        ["'kind'", "12 categories", "2 to 10", "pool rare ones"],
    ),
    "one category": (
        lambda: fit(
            holed("kind", slice(0, 5)).assign(
                kind=lambda d: d["kind"].where(d["kind"].isna(), "a")
            ),
            "score ~ kind",
        ),
        rs.DataError,
        ["'kind'", "1 categories"],
    ),
    "one imputation": (
        lambda: rs.Intake(missing="impute", n_imputations=1),
        rs.SpecificationError,
        ["Intake.n_imputations", "1", "2"],
    ),
    "half an imputation": (
        lambda: rs.Intake(missing="impute", n_imputations=2.5),
        rs.SpecificationError,
        ["Intake.n_imputations", "2.5"],
    ),
    "crossed units": (
        lambda: fit(pupils(), group=None, crossed=["earlier_id", "school_id"]),
        rs.SpecificationError,
        ["nested levels", "crossed", "impute_pupils", "pool_estimates"],
    ),
    "joint subjects": (
        lambda: fit(pupils().assign(subject="MA"), structure=rs.Structure(outcome_group="subject")),
        rs.SpecificationError,
        ["nested levels", "Structure.outcome_group"],
    ),
    "chunks": (
        lambda: fit([pupils()]),
        rs.SpecificationError,
        ['Intake(missing="impute")', "list"],
    ),
    "products": (
        lambda: rs.ValueAddedModel("score ~ ses", group="school_id", intake=IMPUTE).cross_products(
            pupils()
        ),
        rs.SpecificationError,
        ['Intake(missing="impute")'],
    ),
    "negative seed": (
        lambda: impute_pupils(
            rs.ValueAddedModel("score ~ ses", group="school_id", intake=IMPUTE),
            pupils(),
            random_state=-1,
        ),
        rs.SpecificationError,
        ["random_state", "-1"],
    ),
    "unknown column": (
        lambda: fit(pupils(), "score ~ sses"),
        rs.DataError,
        ["'sses'", "ses"],
    ),
    "copy of the outcome": (
        lambda: fit(pupils().assign(prior_score=pupils()["score"]), "score ~ ses + prior_score"),
        rs.DataError,
        ["prior_score", "score"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named_and_answered(name):
    action, kind, words = CASES[name]
    with pytest.raises(kind) as caught:
        action()
    for word in words:
        assert word in str(caught.value)
    russian = caught.value.localized("ru")
    assert russian != str(caught.value)


def test_one_pass_of_many_formulas_refuses_to_impute():
    model = rs.ValueAddedModel("score ~ ses", group="school_id", intake=IMPUTE)
    found = SharedPass.read(model, pupils(), {"one": "score ~ ses"})
    assert "impute_pupils" in str(found.errors["one"])


@pytest.mark.filterwarnings("ignore:.*singular fit:resilience.errors.WeakDataWarning")
def test_slopes_and_products_of_columns_with_gaps_are_warned_of():
    with pytest.warns(rs.WeakDataWarning, match="'ses' differ between schools"):
        fit(pupils(), slopes="ses")
    with pytest.warns(rs.WeakDataWarning, match="interactions"):
        fit(pupils(), "score ~ ses * prior_score")


def test_a_warning_of_some_fits_says_of_how_many():
    rng = np.random.default_rng(1)
    frame = pupils()
    noise = rng.normal(size=len(frame))
    frame["score"] = noise - np.repeat(noise.reshape(12, 12).mean(axis=1), 12)
    with pytest.warns(rs.WeakDataWarning, match="variance 0 from 12 groups"):
        fit(frame)


@pytest.fixture(scope="module")
def va():
    return rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(pupils())


COUNTS = {"school_id": ["S00", "S01"], "n_before": [12, 12], "n_stayed": [8, 12]}

SELECTION = {
    "no flag and no counts": (
        lambda va: selection_bounds(va, pupils(), stayed="sat"),
        ["flag 'sat'", "n_before", "stayed="],
    ),
    "flag with gaps": (
        lambda va: selection_bounds(va, pupils().assign(stayed=[None] * 3 + [True] * 141)),
        ["'stayed'", "3 pupils", "S00"],
    ),
    "flag of words": (
        lambda va: selection_bounds(va, pupils().assign(stayed="yes")),
        ["true and false", "yes"],
    ),
    "more stayed than were there": (
        lambda va: beside_stayers(va, pd.DataFrame(COUNTS | {"n_stayed": [13, 12]})),
        ["school S00", "13", "12"],
    ),
    "fractional count": (
        lambda va: beside_stayers(va, pd.DataFrame(COUNTS | {"n_stayed": [7.5, 12]})),
        ["n_stayed of school S00 is 7.5"],
    ),
    "no school in common": (
        lambda va: beside_stayers(va, pd.DataFrame(COUNTS | {"school_id": ["X", "Y"]})),
        ["no row of any school", "S00"],
    ),
    "schools without names": (
        lambda va: beside_stayers(va, pd.DataFrame(COUNTS | {"school_id": ["S00", None]})),
        ["1 rows", "'school_id'"],
    ),
    "no range": (
        lambda va: selection_bounds(va, pd.DataFrame(COUNTS), assumption="range"),
        ["outcome_range"],
    ),
    "range upside down": (
        lambda va: selection_bounds(va, pd.DataFrame(COUNTS), outcome_range=(5, -5)),
        ["(5.0, -5.0)", "lower one first"],
    ),
    "range of another scale": (
        lambda va: selection_bounds(va, pd.DataFrame(COUNTS), outcome_range=(20, 100)),
        ["(20.0, 100.0)", "expected results"],
    ),
    "delta below zero": (
        lambda va: selection_bounds(va, pd.DataFrame(COUNTS), delta=-0.1),
        ["delta", "-0.1"],
    ),
    "unknown assumption": (
        lambda va: selection_bounds(va, pd.DataFrame(COUNTS), assumption="best"),
        ["assumption", "'best'", "'range'"],
    ),
    "level of 95": (
        lambda va: beside_stayers(va, pd.DataFrame(COUNTS), level=95),
        ["level", "95"],
    ),
    "no results": (
        lambda va: selection_bounds(pupils(), pd.DataFrame(COUNTS)),
        ["results", "ValueAddedModel"],
    ),
}


@pytest.mark.parametrize("name", SELECTION)
@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # ten schools unknown
def test_bad_tables_of_who_stayed_are_named(name, va):
    action, words = SELECTION[name]
    with pytest.raises((rs.DataError, rs.SpecificationError)) as caught:
        action(va)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.localized("ru") != str(caught.value)
