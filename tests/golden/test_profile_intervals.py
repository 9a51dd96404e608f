"""Profile-likelihood intervals against lme4's ``confint(profile(...))``.

Numbers: ``lme4/profile.csv``, printed by ``lme4/profile.R`` with the versions in
``lme4/versions.txt``; data: Exam of mlmRev.  lme4 profiles the full likelihood, so the fits here
are by maximum likelihood.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import resilience as rs
from resilience.stats.engine.likelihood_intervals import profile_intervals
from resilience.stats.refits.natural_criteria import natural_criterion

LME4 = Path(__file__).parent / "lme4" / "profile.csv"
NAMES = {
    "sd_(Intercept)|school": ("school_id", "std_dev[Intercept]"),
    "sd_standLRT|school": ("school_id", "std_dev[standLRT]"),
    "cor_standLRT.(Intercept)|school": ("school_id", "correlation[Intercept, standLRT]"),
    "sigma": ("residual", "std_dev"),
}


@pytest.mark.parametrize(("model", "slopes"), [("intercept", None), ("slope", "standLRT")])
def test_intervals_of_exam_are_those_of_lme4(model, slopes):
    pupils = rs.load_dataset("london_exam").pupils
    fitted = rs.ValueAddedModel("normexam ~ standLRT", group="school_id", slopes=slopes).fit(
        pupils, method="ml"
    )
    with LME4.open(encoding="utf-8") as source:
        rows = [row for row in csv.DictReader(source) if row["model"] == model]
    assert len(rows) == (4 if slopes is None else 8)
    criterion = natural_criterion(fitted.cross, fitted.mixed)
    for level in (0.90, 0.95):
        found = {(one.group, one.name): one for one in profile_intervals(criterion, level=level)}
        for row in (row for row in rows if float(row["level"]) == level):
            ours = found[NAMES[row["parameter"]]]
            # lme4 reads its limits off a spline through some 25 points of the profile: it is good
            # to about the seventh digit
            assert ours.low == pytest.approx(float(row["conf_low"]), rel=2e-6)
            assert ours.high == pytest.approx(float(row["conf_high"]), rel=2e-6)
