"""Robustness of lists: shares, agreement, division among choices, refusals."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.detection.robustness import list_robustness
from resilience.errors import DataError, SpecificationError

NAMES = {1: "yes", 0: "no", -1: "insufficient_data", 2: "not_applicable"}


def lists(answers, levels=None, names=("gate", "model")):
    """Return verdicts and choices of a grid; answers of shape (specifications, schools)."""
    answers = np.asarray(answers)
    ids = [f"spec {k}" for k in range(len(answers))]
    verdicts = pd.DataFrame(
        [
            (f"S{s}", ids[r], NAMES[int(answers[r, s])])
            for r in range(len(answers))
            for s in range(answers.shape[1])
        ],
        columns=["school_id", "specification", "verdict"],
    )
    if levels is None:
        return verdicts, None
    cells = list(itertools.product(*levels))
    factors = pd.DataFrame(cells, columns=list(names))
    factors.insert(0, "specification", ids)
    return verdicts, factors


HAND = [[1, 0, 1, 2], [1, 0, -1, 0], [1, 0, 1, 0], [1, 1, 1, 0]]
GRID = ([0.2, 0.25], ["a", "b"])


def test_hand_case():
    found = list_robustness(*lists(HAND, GRID))
    schools = found.schools.set_index("school_id")
    assert list(found.schools["school_id"]) == ["S0", "S2", "S1", "S3"]
    assert schools["robustness_share"].to_dict() == {"S0": 1.0, "S1": 0.25, "S2": 1.0, "S3": 0.0}
    assert schools["unknown_share"].to_dict() == {"S0": 0.0, "S1": 0.0, "S2": 0.25, "S3": 0.0}
    assert schools["n_specifications"].to_dict() == {"S0": 4, "S1": 4, "S2": 3, "S3": 4}
    assert set(found.core["school_id"]) == {"S0", "S2"}
    # the six pairs of lists agree by 1/2, 1, 2/3, 1/2, 1/3 and 2/3
    whole = found.jaccard.iloc[0]
    assert whole["n_pairs"] == 6
    assert whole["jaccard_median"] == pytest.approx(7 / 12)
    assert whole["jaccard_lowest"] == pytest.approx(1 / 3)
    choices = found.choices.set_index("factor")
    # pairs that differ in the gate alone agree by 1 and 1/3, in the model alone by 1/2 and 2/3
    assert choices.loc["gate", "jaccard_median"] == pytest.approx(2 / 3)
    assert choices.loc["model", "jaccard_median"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    # school 1: the hand case; school 2 (unknown counts as not listed): its mirror image
    np.testing.assert_allclose(choices["shapley_share"], [0.5, 0.5])
    np.testing.assert_allclose(choices["main_share"], [1 / 3, 1 / 3])
    np.testing.assert_allclose(choices["total_share"], [2 / 3, 2 / 3])
    assert list(found.specifications["n_listed"]) == [2, 1, 2, 3]
    assert list(found.specifications["n_unknown"]) == [0, 1, 0, 0]
    assert list(found.specifications["choice_gate"]) == ["0.2", "0.2", "0.25", "0.25"]
    sizes = found.levels.set_index(["factor", "choice_level"])["n_listed_median"]
    assert sizes["gate", "0.2"] == 1.5
    assert any("6.2 %" in n for n in found.notes)  # 1 unknown of 16


def test_weights_are_products_of_levels():
    verdicts, factors = lists(HAND, GRID)
    weighted = list_robustness(verdicts, factors, weights={"gate": {0.25: 3}, "model": {"b": 2}})
    schools = weighted.schools.set_index("school_id")
    # weights 1 2 3 6 of 12
    assert schools.loc["S1", "robustness_share"] == pytest.approx(6 / 12)
    assert schools.loc["S2", "unknown_share"] == pytest.approx(2 / 12)
    for wrong, named in (({"door": {"a": 1}}, "'door'"), ({"gate": {"0.3": 1}}, "'0.3'")):
        with pytest.raises(SpecificationError, match=named):
            list_robustness(verdicts, factors, weights=wrong)
    with pytest.raises(SpecificationError, match="at least 0"):
        list_robustness(verdicts, factors, weights={"gate": {"0.2": -1}})


def test_order_of_rows_changes_nothing():
    verdicts, factors = lists(HAND, GRID)
    one = list_robustness(verdicts, factors)
    other = list_robustness(verdicts.sample(frac=1, random_state=1), factors)
    pd.testing.assert_frame_equal(one.schools, other.schools)
    pd.testing.assert_frame_equal(one.choices, other.choices)


def test_a_failed_specification_is_a_row_and_stops_the_division():
    verdicts, factors = lists(HAND, GRID)
    verdicts = verdicts[verdicts["specification"] != "spec 1"]
    factors["error"] = ["", "the model did not fit", "", ""]
    found = list_robustness(verdicts, factors)
    assert list(found.specifications["error"]) == ["", "the model did not fit", "", ""]
    assert found.specifications["n_listed"].tolist() == [2, 0, 2, 3]
    assert found.choices["shapley_share"].isna().all()
    assert "3 specifications of 4" in found.choices["reason"].iloc[0].replace("(", "").replace(
        "have a list", ""
    ).replace("  ", " ")
    # it is no empty list: agreement and shares are of the three others
    assert found.jaccard["n_pairs"].tolist() == [3, 1, 1]
    schools = found.schools.set_index("school_id")
    assert schools.loc["S2", "robustness_share"] == 1.0
    assert schools.loc["S2", "unknown_share"] == 0.0
    assert found.glance()["n_failed"].item() == 1
    with pytest.raises(DataError, match="did not fit"):
        list_robustness(verdicts, factors.assign(error="the model did not fit"))


def test_refusals_keep_the_agreement():
    verdicts, factors = lists(HAND, GRID)
    part = factors[factors["specification"] != "spec 3"]
    incomplete = list_robustness(verdicts[verdicts["specification"] != "spec 3"], part)
    assert "incomplete" in incomplete.choices["reason"].iloc[0]
    assert incomplete.choices["jaccard_median"].notna().all()
    twice = list_robustness(verdicts, factors.assign(model="a"))
    assert "2 specifications share all" in twice.choices["reason"].iloc[0]
    alone = list_robustness(verdicts)
    assert alone.choices.empty or alone.choices["shapley_share"].isna().all()
    assert alone.jaccard["n_pairs"].iloc[0] == 6
    same = list_robustness(*lists([[1, 0]] * 4, GRID))
    assert "no choice moves the list" in same.choices["reason"].iloc[0]
    assert same.choices["shapley_share"].isna().all()
    wide = list_robustness(
        *lists(np.zeros((512, 2)), [[0, 1]] * 9, names=[f"f{k}" for k in range(9)])
    )
    assert "9 and 512" in wide.choices["reason"].iloc[0]


def test_a_school_no_one_could_judge():
    found = list_robustness(*lists([[1, -1]] * 4, GRID))
    schools = found.schools.set_index("school_id")
    assert np.isnan(schools.loc["S1", "robustness_share"])
    assert schools.loc["S1", "unknown_share"] == 1.0
    assert not schools.loc["S1", "core"]


def test_bad_tables_are_named():
    verdicts, factors = lists(HAND, GRID)
    with pytest.raises(DataError, match="'maybe'"):
        list_robustness(verdicts.assign(verdict="maybe"), factors)
    with pytest.raises(DataError, match="'spec 3'"):
        list_robustness(verdicts, factors.iloc[:3])
    with pytest.raises(DataError, match="specification"):
        list_robustness(pd.concat([verdicts, verdicts.iloc[:1]]), factors)
    with pytest.raises(DataError, match="verdict"):
        list_robustness(verdicts.drop(columns="verdict"), factors)
    with pytest.raises(SpecificationError, match="core_share"):
        list_robustness(verdicts, factors, core_share=1.2)


def test_contract_of_results():
    found = list_robustness(*lists(HAND, GRID))
    known = set(column_names())
    for table in (
        found.schools,
        found.choices,
        found.levels,
        found.jaccard,
        found.glance(),
        found.tidy(),
        found.specifications,
    ):
        assert {c for c in table.columns if not c.startswith("choice_")} <= known
    english, russian = found.summary(), found.summary("ru")
    assert "Robustness of lists" in english
    assert "Устойчивость списков" in russian
    assert "не вероятность" in russian
    assert "модель" in russian  # names of choices change language too
    assert "nan" not in english + russian
    data = pd.DataFrame({"school_id": ["S2", "S9"]}, index=[5, 6])
    more = found.augment(data)
    assert list(more.index) == [5, 6]
    assert more["robustness_share"].iloc[0] == 1.0
    assert more["core"].isna().tolist() == [False, True]
    assert json.dumps(found.to_dict(), ensure_ascii=False)
    assert found._repr_html_().startswith("<h4>")
    assert "\n" not in repr(found)
