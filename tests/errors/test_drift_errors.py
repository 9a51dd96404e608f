"""What bad structures and drift get: culprit, rule, value seen and way out, in two languages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.data.design import design_from_frame
from resilience.errors import DataError, SpecificationError
from resilience.stats.engine.covariance import covariance_structure
from resilience.value_added.intake.preparation import Prepared

# the small tables here are weak in other ways too; what is refused is looked at
pytestmark = pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")


def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 600
    school = rng.integers(0, 20, size=n)
    prior = rng.normal(size=n)
    year = rng.integers(2020, 2023, size=n)
    yearly = rng.normal(size=(20, 3))[school, year - 2020]
    own = rng.normal(size=20)[school]
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "prior_score": prior,
            "score": prior + own + yearly + rng.normal(size=n),
        }
    )


def fit(data=None, *, time="year", slopes=None, **structure):
    model = rs.ValueAddedModel(
        "score ~ prior_score",
        group="school_id",
        slopes=slopes,
        time=time,
        structure=rs.Structure(**structure),
    )
    return model.fit(pupils() if data is None else data)


def one_year_each():
    data = pupils()
    return data.assign(year=2020 + data["school_id"].str[1:].astype(int) % 3)


def never_together():
    data = pupils()
    odd = data["school_id"].str[1:].astype(int) % 2
    return data[data["year"] != np.where(odd, 2020, 2022)]


def words_for_years():
    data = pupils()
    return data.assign(year="spring " + data["year"].astype(str))


CASES = {
    "drift without years": (
        lambda: fit(time=None, drift="ar1"),
        SpecificationError,
        ("drift='ar1'", "time='year'"),
    ),
    "schools of one year": (
        lambda: fit(one_year_each(), drift="ar1"),
        DataError,
        ("'year'", "no school"),
    ),
    "unstructured schools of one year": (
        lambda: fit(one_year_each(), drift="unstructured"),
        DataError,
        ("'year'", "no school"),
    ),
    "years that never meet": (
        lambda: fit(never_together(), drift="unstructured"),
        SpecificationError,
        ("year=2020", "year=2022", "drift='ar1'"),
    ),
    "two years": (
        lambda: fit(pupils().query("year < 2022"), drift="ar1"),
        SpecificationError,
        ("year=2020, year=2021", "drift='unstructured'"),
    ),
    "unknown drift": (
        lambda: rs.Structure(drift="random_walk"),
        SpecificationError,
        ("Structure.drift", "random_walk", "unstructured"),
    ),
    "unknown structure": (
        lambda: rs.Structure(covariance={"school_id": "toeplitz"}),
        SpecificationError,
        ("Structure.covariance['school_id']", "toeplitz", "compound_symmetry"),
    ),
    "unknown structure in the engine": (
        lambda: covariance_structure("toeplitz", ["Intercept", "prior"], level="school_id"),
        SpecificationError,
        ("school_id", "toeplitz", "compound_symmetry"),
    ),
    "unknown level": (
        lambda: fit(covariance={"region": "diagonal"}),
        SpecificationError,
        ("region", "school_id"),
    ),
    "compound symmetry of one term": (
        lambda: fit(covariance={"school_id": "compound_symmetry"}),
        SpecificationError,
        ("school_id", "Intercept", "slopes"),
    ),
    "ar1 of one term": (
        lambda: fit(time=None, covariance={"school_id": "ar1"}),
        SpecificationError,
        ("school_id", "Intercept", "by year"),
    ),
    "ar1 of an intercept and a slope": (
        lambda: fit(time=None, slopes="prior_score", covariance={"school_id": "ar1"}),
        SpecificationError,
        ("school_id", "Intercept", "drift='ar1'"),
    ),
    "years that are no numbers": (
        lambda: fit(words_for_years(), drift="ar1"),
        SpecificationError,
        ("school_id:year", "spring 2020", "whole"),
    ),
    "half years": (
        lambda: fit(pupils().assign(year=lambda d: d["year"] + 0.5), drift="ar1"),
        SpecificationError,
        ("2020.5", "whole"),
    ),
    "a covariance that drift sets": (
        lambda: fit(drift="ar1", covariance={"school_id:year": "identity"}),
        SpecificationError,
        ("school_id:year", "drift='ar1'"),
    ),
    "a covariance that unstructured drift sets": (
        lambda: fit(drift="unstructured", covariance={"school_id": "diagonal"}),
        SpecificationError,
        ("school_id", "drift='unstructured'"),
    ),
    "drift with subjects": (
        lambda: rs.Structure(drift="ar1", outcome_group="subject"),
        SpecificationError,
        ("drift", "outcome_group"),
    ),
    "the next year of unstructured years": (
        lambda: fit(drift="unstructured").predict_effects("next_year"),
        SpecificationError,
        ("next_year", "2020, 2021, 2022", "drift='ar1'"),
    ),
    "a correlation beside the estimated one": (
        lambda: fit(drift="ar1").predict_effects("next_year", lag_correlation=0.3),
        SpecificationError,
        ("lag_correlation=0.3",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_drift_is_named_and_answered(name):
    action, kind, words = CASES[name]
    with pytest.raises(kind) as caught:
        action()
    english, russian = str(caught.value), caught.value.localized("ru")
    for word in words:
        assert word in english
    assert russian != english
    assert any("а" <= letter <= "я" for letter in russian)


def test_products_of_another_model_are_refused():
    data = pupils()
    plain = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year")
    drifting = rs.ValueAddedModel(
        "score ~ prior_score",
        group="school_id",
        time="year",
        structure=rs.Structure(drift="ar1"),
    )
    design = design_from_frame(data, "score ~ prior_score", groups=plain.levels)
    prepared = Prepared(data=data, formula="score ~ prior_score", added=(), n_dropped=0)
    with pytest.raises(SpecificationError, match="school_id:year \\(year=…\\)"):
        drifting.fit_design(design, prepared)
