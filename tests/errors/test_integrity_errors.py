"""Bad input to the tests and markers of integrity: refused with culprit, rule, value, way out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.detection.integrity.adjacent import adjacent_scores
from resilience.detection.integrity.borders import mark_borders, read_borders
from resilience.detection.integrity.marker_sets import MarkerSet
from resilience.detection.integrity.markers import integrity_markers
from resilience.detection.integrity.objectivity import objectivity_markers
from resilience.detection.integrity.regional import municipal_shares, regional_markers
from resilience.detection.integrity.round_shares import round_shares
from resilience.detection.integrity.thresholds import IntegrityThresholds
from resilience.errors import DataError, SpecificationError
from resilience.stats.integrity.adjacent_reference import cross_fitted_shares, smooth_shares
from resilience.stats.integrity.adjacent_scores import pool_windows
from resilience.stats.marks.mark_agreement import rank_correlation

BORDERS = pd.DataFrame(
    {
        "procedure": "ВПР-5-МА",
        "year": 2025,
        "mark": [3, 4, 5],
        "border_score": [7, 11, 15],
        "max_score": 20,
    }
)


def tables(n_schools=22, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for j in range(n_schools):
        raw = np.clip(np.rint(rng.normal(10.5, 4, 40)), 0, 20).astype(int)
        score, n = np.unique(raw, return_counts=True)
        rows.append(pd.DataFrame({"school_id": f"S{j:02d}", "score": score, "n_pupils": n}))
    return pd.concat(rows, ignore_index=True).assign(year=2025, procedure="ВПР-5-МА")


GOOD = tables()


def spoilt(column, value, row=0):
    table = GOOD.astype({"n_pupils": float, "score": float})
    table.loc[row, column] = value
    return table


MARKS_ONLY = pd.DataFrame(
    {
        "school_id": ["S1", "S1", "S2"],
        "year": 2025,
        "procedure": "ВПР-5-МА",
        "score": [3, 4, 5],
        "n_pupils": [4, 9, 7],
    }
)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (MARKS_ONLY, "these are marks, not raw scores"),
        (GOOD.assign(procedure="ВПР-6-МА"), "never guessed"),
        (GOOD.assign(year=2024), "no borders of marks for 1 tests"),
        (spoilt("n_pupils", -3), "at least 0; 1 do not, the first is -3"),
        (spoilt("score", 7.5), "whole numbers"),
        (spoilt("score", 25), "score 25, above the maximum 20"),
        (GOOD.iloc[:0], "score_histograms"),
        (GOOD.drop(columns="score"), "score"),
        (spoilt("n_pupils", np.nan), "n_pupils"),
        (pd.concat([GOOD, GOOD.iloc[:1]]), "rows repeat"),
        (GOOD.assign(form=np.arange(len(GOOD)) % 2), "more than one form"),
        (GOOD.assign(n_pupils=GOOD["n_pupils"].astype(str)), "n_pupils"),
    ],
)
def test_histograms(table, message):
    with pytest.raises(DataError, match=message) as caught:
        adjacent_scores(table, BORDERS)
    assert caught.value.localized("ru") != str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.concat([BORDERS, BORDERS.iloc[:1]]), "two forms of a test"),
        (BORDERS.assign(border_score=[11, 7, 15]), "must rise"),
        (BORDERS.assign(border_score=[7, 11, 25]), "must rise"),
        (BORDERS.assign(max_score=[20, 20, 25]), "scale must be one"),
        (BORDERS.drop(columns="max_score"), "max_score"),
        (BORDERS.iloc[:0], "borders"),
    ],
)
def test_borders(table, message):
    with pytest.raises(DataError, match=message):
        read_borders(table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": "neighbour"}, "neighbour"),
        ({"window": 0}, "window is 0"),
        ({"window": 1.5}, r"window is 1\.5"),
        ({"years": 0}, "years is 0"),
        ({"level": 1.0}, "level"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(SpecificationError, match=message):
        adjacent_scores(GOOD, BORDERS, **arguments)


def test_scale_of_another_year_is_not_taken():
    procedures = pd.DataFrame({"procedure": ["ВПР-5-МА"], "year": [2025], "scale_year": [2024]})
    with pytest.raises(SpecificationError, match="2024"):
        mark_borders(procedures)
    with pytest.raises(SpecificationError, match="not marked 2 to 5"):
        mark_borders(procedures.assign(procedure="ЕГЭ-РУ"))
    with pytest.raises(DataError, match="scale_year"):
        mark_borders(procedures.drop(columns="scale_year"))


def test_no_border_at_all_can_be_tested():
    flat = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in range(25)] * 3,
            "year": 2025,
            "procedure": "ВПР-5-МА",
            "score": np.repeat([2, 5, 8], 25),
            "n_pupils": 10,
        }
    )
    close = BORDERS.assign(border_score=[3, 6, 9], max_score=10)
    with pytest.raises(DataError, match="no border of marks could be tested"):
        adjacent_scores(flat, close, reference="smooth")


def test_arrays():
    with pytest.raises(DataError, match="rows 1"):
        pool_windows([0, 0], [5, 5], [2, 7], [0.5, 0.5], n_units=1)
    with pytest.raises(DataError, match="no other school"):
        cross_fitted_shares([1, 0], [2, 0], [3.0, 4.0], [0, 1])
    with pytest.raises(DataError, match="only 5 scores"):
        smooth_shares(np.ones(9), [(2, 4, 5)])
    with pytest.raises(DataError, match="one length"):
        rank_correlation([3, 4], [10])
    with pytest.raises(DataError, match="1 pairs"):
        rank_correlation([3, np.nan], [10, 12])
    with pytest.raises(SpecificationError, match="ties"):
        rank_correlation([3, 4], [10, 12], ties="none")


MEANS = pd.DataFrame(
    {
        "school_id": ["S1", "S2"],
        "year": 2025,
        "procedure": "ВПР-4-РУ",
        "n_participants": [20, 30],
        "mean_score": [20.0, 22.0],
        "sd": [4.0, 5.0],
    }
)
PAIRS = pd.DataFrame(
    {
        "school_id": ["S1", "S1"],
        "year": 2025,
        "procedure": "ВПР-4-РУ",
        "pupil_key": ["a", "b"],
        "register_mark": [3, 4],
        "score": [10, 20],
    }
)


@pytest.mark.parametrize(
    ("table", "arguments", "error", "message"),
    [
        (MEANS.assign(n_participants=[-1, 30]), {}, DataError, "n_participants of school S1 is -1"),
        (MEANS.assign(sd=[4.0, -5.0]), {}, DataError, "sd of school S2 is -5"),
        (MEANS.drop(columns="sd"), {}, DataError, "sd"),
        (pd.concat([MEANS, MEANS]), {}, DataError, "school_id"),
        (MEANS, {"year": 2023}, SpecificationError, "year 2023"),
        (MEANS.assign(procedure="ВПР-8-ФИ"), {}, DataError, "none of the tests"),
        (MEANS, {"ties": "other"}, SpecificationError, "ties"),
        (MEANS, {"percentile_method": "mine"}, SpecificationError, "percentile_method"),
        (MEANS, {"markers": "objectivity_15"}, SpecificationError, "objectivity_14"),
        (MEANS, {"journal": PAIRS.assign(register_mark=[3, 7])}, DataError, "the first is 7"),
        (MEANS, {"journal": PAIRS.assign(pupil_key="a")}, DataError, "pupil_key"),
        (MEANS, {"journal": PAIRS.assign(n_pupils=[1, -1])}, DataError, "the first is -1"),
        (MEANS, {"journal": PAIRS.drop(columns="score")}, DataError, "score"),
    ],
)
def test_objectivity(table, arguments, error, message):
    with pytest.raises(error, match=message):
        objectivity_markers(table, **arguments)


def test_marker_sets(tmp_path):
    place = tmp_path / "mine.toml"
    for content, message in (
        ("[marker_set]\nid = 'x'\n", "cannot be read"),
        ("[marker_set", "cannot be read"),
    ):
        place.write_text(content, encoding="utf-8")
        with pytest.raises(SpecificationError, match=message):
            MarkerSet.from_toml(place)
    with pytest.raises(SpecificationError, match="cannot be read"):
        MarkerSet.from_toml(tmp_path / "absent.toml")
    rule = MarkerSet.preset("objectivity_14")
    good = {
        "id": "mine",
        "version": "1",
        "status": "proposal",
        "reference": rule.reference,
        "second_hand": False,
        "z": 1.96,
        "iqr_multiple": 3.0,
        "below": 0.0,
        "markers": rule.markers,
    }
    for change, message in (
        ({"below": -2.0}, "rank correlation"),
        ({"reference": "Nobody1900"}, "Nobody1900"),
        ({"markers": ()}, "numbers"),
        ({"markers": (rule.markers[0], rule.markers[0])}, "do not repeat"),
        ({"z": 0.0}, "z"),
    ):
        with pytest.raises(SpecificationError, match=message):
            MarkerSet(**{**good, **change})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"items": pd.DataFrame({"school_id": ["S1"]})}, "item_id"),
        (
            {
                "items": pd.DataFrame(
                    {
                        "school_id": ["S1"],
                        "year": 2025,
                        "procedure": "ВПР-4-РУ",
                        "item_id": ["1"],
                        "n_participants": 20,
                        "facility": 60.0,
                    }
                )
            },
            "60 % is 0.60",
        ),
        ({"journal": PAIRS}, "pass borders"),
        ({"journal": PAIRS, "borders": BORDERS}, "no borders of marks for ВПР-4-РУ"),
    ],
)
def test_markers(arguments, message):
    with pytest.raises(DataError, match=message):
        integrity_markers(MEANS, **arguments)


def test_markers_need_a_test_that_schools_mark():
    with pytest.raises(DataError, match="no ВПР"):
        integrity_markers(MEANS.assign(procedure="ОГЭ-РУ"))
    with pytest.raises(SpecificationError, match="register_quantile"):
        IntegrityThresholds(register_quantile=1.5)
    with pytest.raises(SpecificationError, match="fewest_pupils"):
        IntegrityThresholds(fewest_pupils=0)


def test_unknown_school_names_the_nearest():
    found = adjacent_scores(GOOD, BORDERS)
    with pytest.raises(DataError, match="nearest ids: S"):
        found.explain("S0l")


def test_regional_lists():
    listed = pd.DataFrame({"school_id": ["S1"], "4 РУ": [2], "4 МА": [0], "5 РУ": [0], "5 МА": [0]})
    with pytest.raises(DataError, match="must be 0 or 1"):
        regional_markers(listed)
    with pytest.raises(DataError, match="not among the schools"):
        regional_markers(listed.assign(**{"4 РУ": 1}), pd.DataFrame({"school_id": ["S2"]}))
    homeless = pd.DataFrame({"school_id": ["S1"], "municipality_id": [None]})
    with pytest.raises(DataError, match="no municipality"):
        municipal_shares(homeless, homeless)


def test_round_shares():
    counts = pd.DataFrame(
        {
            "school_id": ["S1", "S2"],
            "year": 2025,
            "procedure": "ВПР-5-МА",
            "n_participants": [5, 6],
            "n_below_minimum": [1, 2],
        }
    )
    with pytest.raises(DataError, match="at least 10 participants"):
        round_shares(counts)
    with pytest.raises(DataError, match="7"):
        round_shares(counts.assign(n_below_minimum=[1, 7]), fewest=1)
    with pytest.raises(SpecificationError, match="fewest is 0"):
        round_shares(counts, fewest=0)
    with pytest.raises(SpecificationError, match="by"):
        round_shares(counts, by="year")
