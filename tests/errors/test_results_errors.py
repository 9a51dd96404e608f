"""Refusals of predictions, tests and comparisons name culprit, rule, value and way out."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.pupils.model_tests import anova


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(4)
    n, J = 300, 15
    school = rng.permutation(np.r_[np.arange(J), rng.integers(0, J, n - J)])
    return pd.DataFrame(
        {
            "municipality_id": [f"M{k % 5}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "primary_id": [f"P{k}" for k in rng.integers(0, 8, size=n)],
            "year": rng.integers(2021, 2024, size=n),
            "prior_score": rng.normal(size=n),
            "ses": rng.normal(size=n),
            "score": rng.normal(size=n) + 0.5 * rng.normal(size=J)[school],
        }
    )


def fit(formula, frame, method="ml", **model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return rs.ValueAddedModel(formula, **{"group": "school_id", **model}).fit(
            frame, method=method
        )


@pytest.fixture(scope="module")
def plain(frame):
    return fit("score ~ prior_score", frame)


def test_a_prediction_needs_covariates_without_gaps(plain, frame):
    with pytest.raises(rs.DataError, match="prior_score"):
        plain.predict(frame.drop(columns="prior_score"))
    with pytest.raises(rs.DataError, match="prior_score"):
        plain.predict(frame.assign(prior_score=np.nan))
    with pytest.raises(rs.SpecificationError, match="effects"):
        plain.predict(frame, effects="all_of_them")
    with pytest.raises(rs.SpecificationError, match="interval"):
        plain.predict(frame, interval=1.5)
    with pytest.raises(rs.SpecificationError, match="data"):
        plain.predict(None)


def test_a_school_that_moved(frame):
    result = fit("score ~ ses", frame, group=["municipality_id", "school_id"])
    moved = frame[frame["school_id"] == "S03"].assign(municipality_id="M0")
    with pytest.raises(
        rs.DataError, match=r"S03 stands in another 'municipality_id'.*M3"
    ) as caught:
        result.predict(moved, effects="schools")
    assert "S03" in caught.value.localized("ru")


def test_an_unseen_category(frame):
    kinds = frame.assign(kind=np.where(frame["ses"] > 0, "a", "b"))
    result = fit("score ~ C(kind)", kinds)
    with pytest.raises(rs.DataError, match="kind"):
        result.predict(kinds.assign(kind="c"))


def test_a_new_year_of_an_unstructured_drift(frame):
    result = fit("score ~ ses", frame, time="year", structure=rs.Structure(drift="unstructured"))
    later = frame.head(2).assign(year=2030)
    with pytest.raises(rs.DataError, match=r'2030.*effects="schools"'):
        result.predict(later, effects="all")
    assert len(result.predict(later, effects="schools", interval=0.9)) == 2


def test_too_many_crossed_effects(frame, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        model = rs.ValueAddedModel("score ~ ses", crossed=["primary_id", "school_id"])
        result = model.fit(frame)
    monkeypatch.setattr("resilience.stats.prediction.row_errors._LARGEST", 10)
    with pytest.raises(rs.SpecificationError, match=r"23 crossed effects.*10"):
        result.predict(frame, effects="schools", interval=0.9)
    assert len(result.predict(frame, effects="schools")) == len(frame)


def test_anova_refuses_what_cannot_be_compared(plain, frame):
    with pytest.raises(rs.SpecificationError, match="at least two"):
        anova(plain)
    with pytest.raises(rs.SpecificationError, match="DataFrame"):
        anova(plain, frame)
    with pytest.raises(rs.DataError, match=r"300 and 200 rows|200 and 300 rows"):
        anova(plain, fit("score ~ prior_score + ses", frame.head(200)))
    shifted = fit("score ~ prior_score + ses", frame.assign(score=frame["score"] + 1.0))
    with pytest.raises(rs.DataError, match="another mean"):
        anova(plain, shifted)
    with pytest.raises(rs.DataError, match=r"'ses' and 'score'|'score' and 'ses'"):
        anova(plain, fit("ses ~ prior_score + year", frame))
    with pytest.raises(rs.SpecificationError, match=r"ml.*reml|reml.*ml"):
        anova(plain, fit("score ~ prior_score + ses", frame, "reml"))


def test_anova_of_reml_fits_says_why_and_the_way_out(frame):
    small, large = (fit(f, frame, "reml") for f in ("score ~ 1", "score ~ ses"))
    with pytest.raises(rs.SpecificationError, match=r'ses.*method="ml"') as caught:
        anova(small, large)
    assert 'method="ml"' in caught.value.localized("ru")


def test_anova_needs_nested_models(plain, frame):
    with pytest.raises(rs.SpecificationError, match=r"prior_score.*not nested"):
        anova(plain, fit("score ~ ses + year", frame))
    with pytest.raises(rs.SpecificationError, match="nothing to test"):
        anova(plain, fit("score ~ prior_score", frame))
    years = fit("score ~ prior_score", frame, time="year")
    places = fit("score ~ prior_score + ses", frame, group=["municipality_id", "school_id"])
    with pytest.raises(rs.SpecificationError, match="school_id:year"):
        anova(years, places)
    tied = rs.Structure(covariance={"school_id": "identity"})
    same = fit("score ~ prior_score", frame, slopes="prior_score", structure=tied)
    more = fit("score ~ prior_score + ses", frame, slopes=["prior_score", "ses"], structure=tied)
    with pytest.raises(rs.SpecificationError, match="no special case"):
        anova(same, more)


def test_tidy_knows_three_parts(plain):
    with pytest.raises(rs.SpecificationError, match="part"):
        plain.tidy(part="everything")
    with pytest.raises(rs.SpecificationError, match="language"):
        plain.to_latex(lang="de")
