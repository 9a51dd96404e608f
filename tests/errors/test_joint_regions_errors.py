"""What joint regions refuse, and the way out they name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.errors import DataError, SpecificationError
from resilience.plotting.joint_regions import plot_joint_regions
from resilience.value_added.joint.regions import joint_regions

FORMULA = "score ~ prior_score"


def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 900
    school = np.r_[np.arange(20), rng.integers(0, 20, n - 20)]
    prior = rng.normal(size=n)
    return pd.DataFrame(
        {
            "pupil_key": [f"P{k}" for k in range(n)],
            "municipality_id": [f"M{k % 10}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": rng.integers(2021, 2024, size=n),
            "subject": np.where(rng.uniform(size=n) < 0.5, "maths", "reading"),
            "prior_score": prior,
            "score": 0.5 * prior
            + (0.5 * rng.normal(size=20))[school]
            + (0.4 * rng.normal(size=20))[school] * prior
            + (0.4 * rng.normal(size=10))[school % 10]
            + rng.normal(size=n),
        }
    )


@pytest.fixture(scope="module")
def va():
    return rs.ValueAddedModel(FORMULA, group="school_id", time="year").fit(pupils())


def both(caught) -> tuple[str, str]:
    wording = caught.value.args[0]
    return str(wording), wording.ru


def test_a_window_wider_than_the_data(va):
    with pytest.raises(SpecificationError, match=r"window is 4.*3 years.*2021") as caught:
        joint_regions(va, window=4)
    assert "at most 3" in both(caught)[0]
    assert "не шире 3" in both(caught)[1]


@pytest.mark.parametrize("window", [0, -1, 2.0, True, "3"])
def test_a_window_that_is_no_count(va, window):
    with pytest.raises(SpecificationError, match="window"):
        joint_regions(va, window=window)


def test_a_model_without_years():
    va = rs.ValueAddedModel(FORMULA, group="school_id").fit(pupils())
    with pytest.raises(SpecificationError, match="time='year'") as caught:
        joint_regions(va)
    assert "time='year'" in both(caught)[1]


@pytest.mark.parametrize("level", [0.0, 1.0, 95, float("nan")])
def test_levels_out_of_range(va, level):
    with pytest.raises(SpecificationError, match="level"):
        joint_regions(va, level=level)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"weights": "schools"}, "weights"),
        ({"result": "expected"}, "result"),
        ({"intake": "fixed"}, "intake"),
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": "0"}, "threshold"),
        ({"min_years": 4}, "min_years"),
        ({"min_years": 0}, "min_years"),
    ],
)
def test_other_arguments(va, given, word):
    with pytest.raises(SpecificationError, match=word):
        joint_regions(va, **given)


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
@pytest.mark.parametrize(
    "model",
    [
        {"slopes": "prior_score"},
        {"group": ["municipality_id", "school_id"]},
        {"structure": rs.Structure(outcome_group="subject")},
    ],
)
def test_models_whose_residuals_do_not_hold_all(model):
    given = {"group": "school_id", "time": "year", **model}
    formula = "score ~ C(subject) * prior_score" if "structure" in model else FORMULA
    va = rs.ValueAddedModel(formula, **given).fit(pupils())
    with pytest.raises(SpecificationError, match="do not hold all") as caught:
        joint_regions(va)
    assert "group='school_id'" in both(caught)[1]


def test_intake_of_school_means_is_not_known():
    means = (
        pupils()
        .groupby(["school_id", "year"], as_index=False)
        .agg(score=("score", "mean"), n=("score", "size"), prior_score=("prior_score", "mean"))
    )
    model = rs.SchoolLevelModel(FORMULA, group="school_id", time="year", n="n", sd=1.0)
    va = model.fit(means)
    assert joint_regions(va).intake == "given"
    with pytest.raises(SpecificationError, match="intake='drawn'"):
        joint_regions(va, intake="drawn")


def test_something_else_than_results():
    with pytest.raises(SpecificationError, match="DataFrame"):
        joint_regions(pd.DataFrame())


def test_windows_and_columns_that_are_absent(va):
    regions = joint_regions(va)
    with pytest.raises(SpecificationError, match="2021–2023"):
        regions.of_window("2019–2021")
    with pytest.raises(SpecificationError, match="school_id"):
        regions.augment(pd.DataFrame({"school": ["S01"]}))


def test_figures_of_what_is_not_there(va):
    regions = joint_regions(va)
    with pytest.raises(DataError, match="S99"):
        plot_joint_regions(regions, highlight=["S99"])
    with pytest.raises(SpecificationError, match="at most 6"):
        plot_joint_regions(regions, highlight=[f"S{k:02d}" for k in range(7)])
    with pytest.raises(SpecificationError, match="DataFrame"):
        plot_joint_regions(regions.table)


def test_imputed_data():
    data = pupils()
    data.loc[::9, "prior_score"] = np.nan
    intake = rs.Intake(missing="impute", n_imputations=2)
    va = rs.ValueAddedModel(FORMULA, group="school_id", time="year", intake=intake).fit(
        data, random_state=1
    )
    with pytest.raises(SpecificationError, match="imputed data"):
        joint_regions(va)
