"""Joint regions: windows, shares, verdicts, tables, the figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column
from resilience.errors import WeakDataWarning
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.joint_regions import plot_joint_regions
from resilience.stats.prediction.ellipses import ellipses, quadrant_probabilities
from resilience.value_added.joint.regions import QUADRANTS, joint_regions
from resilience.value_added.joint.windows import windows_of


def pupils(seed: int = 1, *, n_schools: int = 24, years=(2020, 2021, 2022, 2023)) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    lasting, frames = 0.5 * rng.normal(size=n_schools), []
    for year in years:
        school = np.repeat(np.arange(n_schools), rng.integers(3, 15, n_schools))
        prior = rng.normal(size=len(school))
        effect = lasting + 0.2 * rng.normal(size=n_schools)
        frames.append(
            pd.DataFrame(
                {
                    "school_id": [f"S{k:02d}" for k in school],
                    "year": year,
                    "prior_score": prior,
                    "score": 0.6 * prior + effect[school] + 0.7 * rng.normal(size=len(school)),
                }
            )
        )
    data = pd.concat(frames, ignore_index=True)
    gone = (data["school_id"] == "S03") & (data["year"] > 2020)
    short = (data["school_id"] == "S04") & (data["year"] != 2022)
    return data[~(gone | short)].reset_index(drop=True)


@pytest.fixture(scope="module")
def va():
    return rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year").fit(pupils())


@pytest.fixture(scope="module")
def regions(va):
    return joint_regions(va)


def test_windows_follow_each_other_and_name_their_years():
    labels = np.array([2019, 2021, 2022, 2023], dtype=object)
    assert [w.label for w in windows_of(labels, 3)] == ["2019, 2021, 2022", "2021–2023"]
    assert [w.label for w in windows_of(labels, 1)] == ["2019", "2021", "2022", "2023"]
    words = np.array(["2021/22", "2022/23"], dtype=object)
    assert [w.label for w in windows_of(words, 2)] == ["2021/22, 2022/23"]


def test_the_result_is_the_mean_of_the_window_s_pupils(regions):
    data = pupils()
    for label, years in (("2020–2022", (2020, 2022)), ("2021–2023", (2021, 2023))):
        own = data[data["year"].between(*years)].groupby("school_id")["score"]
        table = regions.of_window(label).set_index("school_id")
        known = table[table["n_years"] > 0]
        assert known["result"].to_numpy() == pytest.approx(own.mean()[known.index].to_numpy())
        assert known["n_pupils"].to_dict() == own.size().to_dict()
    assert regions.threshold == pytest.approx(data["score"].mean())


def test_value_added_of_one_year_is_the_year_s_own_prediction(va):
    table = joint_regions(va, window=1).of_window("2022").set_index("school_id")
    year = va.predict_effects({2022: 1.0}).set_index("school_id")
    known = table.index[table["n_years"] > 0]
    assert table.loc[known, "value_added"].to_numpy() == pytest.approx(
        year.loc[known, "effect"].to_numpy()
    )
    assert table.loc[known, "value_added_std_error"].to_numpy() == pytest.approx(
        year.loc[known, "std_error"].to_numpy()
    )


def test_years_that_count_alike_are_a_contrast_of_years(va):
    table = joint_regions(va, weights="years").of_window().set_index("school_id")
    thirds = va.predict_effects({2021: 1 / 3, 2022: 1 / 3, 2023: 1 / 3}).set_index("school_id")
    whole = table.index[table["n_years"] == 3]
    for own, other in (("value_added", "effect"), ("value_added_std_error", "std_error")):
        assert table.loc[whole, own].to_numpy() == pytest.approx(
            thirds.loc[whole, other].to_numpy()
        )


def test_schools_without_years_enough_stay_in_the_table(regions):
    last = regions.of_window().set_index("school_id")
    assert len(last) == 24
    assert last.loc["S03", "n_years"] == 0
    assert last.loc["S03", ["result", "value_added", "ellipse_major"]].isna().all()
    assert last.loc["S04", "n_years"] == 1
    assert np.isfinite(last.loc["S04", "result"])
    for school in ("S03", "S04"):
        assert last.loc[school, "verdict"] == last.loc[school, "quadrant"] == "insufficient_data"


def test_one_year_is_enough_where_the_caller_says_so(va):
    last = joint_regions(va, min_years=1).of_window().set_index("school_id")
    assert last.loc["S04", "verdict"] in ("yes", "no")
    assert last.loc["S03", "verdict"] == "insufficient_data"


def test_a_verdict_is_that_of_the_whole_ellipse(regions):
    table = regions.table[regions.table["verdict"] != "insufficient_data"]
    c = np.sqrt(-2 * np.log(0.05))
    right = table["result"] - c * table["result_std_error"] > regions.threshold
    left = table["result"] + c * table["result_std_error"] < regions.threshold
    up = table["value_added"] - c * table["value_added_std_error"] > 0
    down = table["value_added"] + c * table["value_added_std_error"] < 0
    settled = (right | left) & (up | down)
    assert (table["verdict"] == np.where(settled, "yes", "no")).all()
    assert settled.any()
    assert (~settled).any()
    for name, inside in (("high_positive", right & up), ("low_negative", left & down)):
        assert (table["quadrant"] == name).equals(inside)
        # the ellipse holds 95 % of the probability, the quadrant holds the ellipse
        assert (table.loc[inside, f"p_{name}"] > 0.95).all()
    assert (table.loc[~settled, "quadrant"] == "between").all()
    chances = table[[f"p_{name}" for name in QUADRANTS]].sum(axis=1)
    assert chances.to_numpy() == pytest.approx(1.0)


def test_errors_of_one_school_go_together(regions):
    table = regions.table.dropna(subset=["result"])
    assert table["error_correlation"].between(0, 1).all()  # the same pupils: never opposite
    wide = table["ellipse_major"] * table["ellipse_minor"]
    # the area of an ellipse is π c times the root of the determinant
    determinant = (
        table["result_std_error"] ** 2 * table["value_added_std_error"] ** 2
        - table["error_covariance"] ** 2
    )
    assert (wide / (-2 * np.log(0.05))).to_numpy() == pytest.approx(np.sqrt(determinant).to_numpy())


def test_a_higher_level_widens_the_regions(va, regions):
    wide = joint_regions(va, level=0.99).table["ellipse_major"] / regions.table["ellipse_major"]
    expected = np.sqrt(np.log(0.01) / np.log(0.05))
    assert wide.dropna().to_numpy() == pytest.approx(expected)


def test_the_model_s_result_is_steadier(va, regions):
    by_model = joint_regions(va, result="model").table
    known = by_model["n_years"] > 0
    seen = regions.table
    assert (by_model["result_std_error"] < seen["result_std_error"])[known].all()
    assert (by_model["result"] - by_model["expected_mean"])[known].to_numpy() == pytest.approx(
        by_model["value_added"][known].to_numpy()
    )
    assert by_model["value_added"].equals(seen["value_added"])


def test_without_any_school_variance_value_added_is_nil():
    rng = np.random.default_rng(3)
    data = pupils().assign(score=lambda d: d["prior_score"] + rng.normal(size=len(d)))
    cell = data.groupby(["school_id", "year"])["score"].transform("mean")
    data["score"] = (
        data["score"]
        - cell
        + 0.5 * data.groupby(["school_id", "year"])["prior_score"].transform("mean")
    )
    model = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year")
    with pytest.warns(WeakDataWarning, match="singular"):
        va = model.fit(data)
    assert va.variances["persistent"] == va.variances["transient"] == 0.0
    table = joint_regions(va).table.dropna(subset=["result"])
    assert (table["value_added"] == 0).all()
    assert (table["value_added_std_error"] == 0).all()
    assert not (table["verdict"] == "yes").any()


def test_points_without_error_on_a_line_count_half():
    found = quadrant_probabilities(np.array([[0.0, 1.0]]), np.zeros((1, 2, 2)), (0.0, 0.0))
    assert found.tolist() == [[0.5, 0.0, 0.5, 0.0]]
    shape = ellipses(np.zeros((1, 2, 2)), level=0.9)
    assert shape.semi_major.tolist() == shape.semi_minor.tolist() == [0.0]


def test_the_line_is_the_caller_s(va, regions):
    high = joint_regions(va, threshold=10.0).table
    assert high["p_high_positive"].dropna().max() < 1e-9
    assert high["result"].equals(regions.table["result"])


def test_results_print_and_join(regions):
    assert regions.glance()["n_schools"].item() == 24
    glance = regions.glance().iloc[0]
    assert glance["n_settled"] + glance["n_between"] + glance["n_insufficient"] == 24
    joined = regions.augment(pd.DataFrame({"school_id": ["S01", "S99"]}))
    assert joined["window"].tolist()[0] == "2021–2023"
    assert joined["result"].isna().tolist() == [False, True]
    assert "Средний результат" in regions.summary("ru")
    for name in [*regions.table.columns, *regions.glance().columns]:
        assert column(str(name))


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_the_figure_holds_every_school_and_the_chosen_windows(regions, lang):
    ax = plot_joint_regions(regions, lang=lang, highlight=["S01", "S02"])
    known = regions.of_window()["result"].notna().sum()
    # two patches per school and window in front, one per other school behind
    assert len(ax.patches) >= 2 * 2 * 2 + known - 2
    word = {"en": "Mean result", "ru": "Средний результат"}[lang]
    assert ax.get_xlabel().startswith(word)
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend[:2] == ["S01", "S02"]
    assert figure_bytes(ax, "png", dpi=50)[:4] == b"\x89PNG"


def test_the_figure_names_the_surest_school_of_each_quadrant(regions):
    names = {"S01": "North"}
    legend = plot_joint_regions(regions, names=names).get_legend().get_texts()
    last = regions.of_window().dropna(subset=["result"]).set_index("school_id")
    first = last["p_high_positive"].idxmax()
    assert legend[0].get_text() == names.get(first, first)
