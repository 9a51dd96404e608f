"""What somebody types first with each member of the family, and what must then simply work."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.errors import DataError
from resilience.value_added.definitions.membership import Membership

MEMBERS = Membership(unit=["school_1", "school_2"], weight=["w1", "w2"])
MODEL = rs.ValueAddedModel("score ~ prior_score", members=MEMBERS)


@pytest.fixture(scope="module")
def movers() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 15, 600), rng.integers(0, 15, 600)
    effect, prior = rng.normal(size=15), rng.normal(size=600)
    score = prior + 0.7 * effect[first] + 0.3 * effect[second] + rng.normal(size=600)
    return pd.DataFrame(
        {
            "school_1": [f"S{k:02d}" for k in first],
            "school_2": [f"S{k:02d}" for k in second],
            "w1": 0.7,
            "w2": 0.3,
            "prior_score": prior,
            "score": score,
        }
    )


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_results_of_shared_pupils_can_be_printed(movers, lang):
    result = MODEL.fit(movers)
    assert result.formula in result.summary(lang=lang)
    assert "<table" in result._repr_html_()
    assert "\\begin{table}" in result.to_latex(lang=lang)


def test_pupils_of_a_single_unit_are_predicted_but_not_fitted(movers):
    result = MODEL.fit(movers)
    alone = movers[:3].assign(school_1="S04", school_2="S04")
    table = result.predict(alone, effects="schools")
    effect = result.school_effects.set_index("school_id").loc["S04", "effect"]
    fixed = result.predict(alone)["predicted"]
    # the same numbers added in another order
    np.testing.assert_allclose(table["predicted"], fixed + effect, rtol=1e-12)
    with pytest.raises(DataError, match="at least 2 are needed"):
        MODEL.fit(alone)


def test_a_fit_from_a_frame_leaves_out_and_looks_for_influence():
    exam = rs.load_dataset("london_exam").pupils
    result = rs.ValueAddedModel("normexam ~ standLRT", group="school_id").fit(exam)
    assert len(result.influence(["53", "59"]).schools) == 2
    left = result.leave_out(units=["53"])
    again = rs.ValueAddedModel("normexam ~ standLRT", group="school_id").fit(
        exam[exam["school_id"] != "53"]
    )
    # 1e-9: two searches of one criterion
    assert left.criterion == pytest.approx(again.criterion, rel=1e-9)


def test_years_are_added_up_one_at_a_time_and_fitted_together():
    pupils = rs.load_dataset("north_region").pupils
    pupils = pupils[pupils["subject"] == "МА"]
    model = rs.ValueAddedModel("score ~ prior_score + ses", group="school_id", time="year")
    parts = [model.cross_products(rows) for _, rows in pupils.groupby("year")]
    total = parts[0]
    for part in parts[1:]:
        total = total.merge(part)
    # 1e-10: the same sums in another order
    assert model.fit(total).criterion == pytest.approx(model.fit(pupils).criterion, rel=1e-10)
    with pytest.raises(DataError, match="single value 2022"):
        model.fit(parts[0])
