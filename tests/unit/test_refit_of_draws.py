"""A draw of the fitted model is fitted by the results that drew it; refusals say what to do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs

FORMULA = "score ~ prior_score"


@pytest.fixture(scope="module")
def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n, J = 720, 24
    school, prior = np.arange(n) % J, rng.normal(size=n)
    effect, year = rng.normal(0, 0.5, J), np.arange(n) // J % 3
    passing = rng.normal(0, 0.3, (J, 3))
    score = 0.6 * prior + effect[school] + passing[school, year] + rng.normal(0, 0.7, n)
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "primary_id": [f"P{k:02d}" for k in rng.integers(0, 12, n)],
            "year": 2021 + year,
            "prior_score": prior,
            "score": score,
        }
    )


@pytest.mark.parametrize("time", [None, "year"])
def test_a_draw_is_fitted_with_all_its_tables(pupils, time) -> None:
    va = rs.ValueAddedModel(FORMULA, group="school_id", time=time).fit(pupils)
    draws = va.simulate(60, random_state=4)
    slope = []
    for draw in draws:
        again = va.refit(draw)
        slope.append(again.fixed_effects["estimate"].iloc[1])
    assert type(again) is type(va)
    assert list(again.school_effects["school_id"]) == list(va.school_effects["school_id"])
    assert (again.school_effects["n_pupils"] == va.school_effects["n_pupils"]).all()
    own = va.fixed_effects.iloc[1]
    # the mean of 60 draws, within 4 of its standard errors of the value they were drawn from
    assert np.mean(slope) == pytest.approx(own["estimate"], abs=4 * own["std_error"] / 60**0.5)
    assert np.std(slope) == pytest.approx(own["std_error"], rel=0.4)  # 4/√(2·60)


def test_the_own_products_give_the_own_fit(pupils) -> None:
    va = rs.ValueAddedModel(FORMULA, group="school_id", time="year").fit(pupils)
    again = va.refit(va.cross)
    pd.testing.assert_frame_equal(again.school_effects, va.school_effects, rtol=1e-6)


def test_what_is_no_draw_of_these_results_is_refused(pupils) -> None:
    va = rs.ValueAddedModel(FORMULA, group="school_id").fit(pupils)
    with pytest.raises(rs.SpecificationError, match="got DataFrame"):
        va.refit(pupils)
    other = rs.ValueAddedModel("score ~ 1", group="school_id").fit(pupils)
    with pytest.raises(rs.SpecificationError, match="but the fit has"):
        va.refit(other.simulate(1)[0])
    fading = rs.Structure(drift="unstructured")
    drift = rs.ValueAddedModel(FORMULA, group="school_id", time="year", structure=fading)
    fitted = drift.fit(pupils)
    with pytest.raises(rs.SpecificationError, match=r"bootstrap\(\)"):
        fitted.refit(fitted.simulate(1)[0])


@pytest.mark.parametrize(
    "action",
    [
        lambda va: va.leave_out(units=["S01"]),
        lambda va: va.influence(units=["S01"]),
        lambda va: va.simulate(1),
    ],
)
def test_crossed_fits_say_how_schools_are_left_out(pupils, action) -> None:
    origin = pupils["primary_id"].str[1:].astype(int) % 5
    crossing = pupils.assign(score=pupils["score"] + 0.4 * origin)
    va = rs.ValueAddedModel(FORMULA, crossed=["primary_id", "school_id"]).fit(crossing)
    with pytest.raises(rs.SpecificationError) as caught:
        action(va)
    assert "drop their rows from the table and fit again" in str(caught.value)
    assert "уберите их строки" in caught.value.localized("ru")
