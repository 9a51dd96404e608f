"""Californian schools: a list from the results of 1999 alone, checked by those of 2000.

Source of the data: the Academic Performance Index of both years (data set `california_api`).  The
figures are this library's own, asserted so that notebook 04 and a change of method cannot drift
apart.  The SD of pupils cannot be had from one year of means and is stated: 271 points, as
differences between the years give it.
"""

from __future__ import annotations

import warnings

import pandas as pd
import pytest

import resilience as rs

SD = 271.0
ITEMS = {
    "subsidised_meals": -1,
    "english_learners": -1,
    "new_to_school": -1,
    "parents_not_high_school": -1,
    "parents_postgraduate": 1,
}
FORMULA = (
    "score ~ subsidised_meals + parent_education + no_parent_education + english_learners"
    " + new_to_school + school_type"
)


@pytest.fixture(scope="module")
def years() -> dict[int, pd.DataFrame]:
    """Schools of each year; a missing item is the year's mean, and says so."""
    table = rs.load_dataset("california_api").schools
    table = table.assign(score=table["mean_score"] / SD)
    found = {}
    for year, own in table.groupby("year"):
        known = own.assign(no_parent_education=own["parent_education"].isna().astype(float))
        for name in ("parent_education", "new_to_school"):
            known[name] = known[name].fillna(known[name].mean())
        found[int(year)] = known.reset_index(drop=True)
    return found


@pytest.fixture(scope="module")
def found(years):
    index = rs.ContextIndex.supervised(
        list(ITEMS), outcome="score", weights="cross_fitted", n_bootstrap=0, directions=ITEMS
    ).fit(table_of_1999())
    va = rs.SchoolLevelModel(FORMULA, n="n_pupils", sd=1.0).fit(years[1999])
    quadrant = rs.Criteria.preset("resilient_quadrant")
    rules = [
        rs.Criteria.preset("resilient_posterior"),
        quadrant.amend("high_mean", years_at_least=1, years_of=1),
        rs.Criteria.preset("resilient_residual"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return rs.detect_schools(
            va.school_effects, index.scores, rules, schools=years[1999], variances=va.variances
        )


def table_of_1999() -> pd.DataFrame:
    table = rs.load_dataset("california_api").schools
    return table[table["year"] == 1999].assign(score=table["mean_score"] / SD)


@pytest.fixture(scope="module")
def later(years) -> pd.Series:
    """Observed minus expected result of 2000, expected from 2000 alone, in SD of pupils."""
    table = rs.SchoolLevelModel(FORMULA, n="n_pupils", sd=1.0).fit(years[2000]).school_effects
    return (table["effect"] / table["reliability"]).set_axis(table["school_id"])


def test_most_schools_of_the_list_are_above_expectation_again(found, later):
    assert len(later) == 6194
    listed = later[found.listed("resilient_posterior")["school_id"]]
    assert (len(listed), int((listed > 0).sum())) == (291, 287)
    assert int((listed > later.quantile(0.75)).sum()) == 253
    # nothing but chance would bring half of any list above expectation
    assert (later > 0).mean() == pytest.approx(0.501, abs=5e-4)


def test_raw_averages_name_almost_nobody(found, later, years):
    naive = later[found.listed("resilient_quadrant")["school_id"]]
    assert (len(naive), int((naive > 0).sum())) == (3, 3)
    # as many names as the posterior list by raw averages among the adverse schools
    working = found.working.dropna(subset=["gate"])
    adverse = working.loc[working["context_shrunken"] <= working["gate"], "school_id"]
    means = years[1999].set_index("school_id")["score"]
    same_size = later[means[adverse].nlargest(291).index]
    assert len(adverse) == 1504
    assert int((same_size > 0).sum()) == 275
    assert int((same_size > later.quantile(0.75)).sum()) == 229
    assert int((later[adverse] > 0).sum()) == 778  # a random list: 51.7 %, 151 of 291


def test_an_interval_above_zero_asks_less_and_keeps_less(found, later):
    listed = later[found.listed("resilient_residual")["school_id"]]
    assert (len(listed), int((listed > 0).sum())) == (483, 457)
