"""Bad input of the comparison with neighbours and of detection inside groups."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from resilience.clustering.comparison.compare import compare_with_neighbours
from resilience.clustering.comparison.effects import neighbour_effects
from resilience.clustering.comparison.slopes import condition_slopes
from resilience.clustering.conditions.scaled import scale_conditions
from resilience.clustering.conditions.specification import Conditions
from resilience.detection import Criteria
from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.pipeline.groupings import read_groups
from resilience.pipeline.multiverse import multiverse
from resilience.pipeline.within_groups import detect_within_groups

N = 24
IDS = [f"S{i:02d}" for i in range(N)]
SCHOOLS = pd.DataFrame(
    {
        "school_id": IDS,
        "n_pupils": np.arange(N) * 10 + 20,
        "mean_score": np.sin(np.arange(N)),
        "sampling_variance": 0.01,
    }
)
CONDITIONS = Conditions(continuous={"n_pupils": "linear"})
SCALED = scale_conditions(SCHOOLS, CONDITIONS)
NEIGHBOURS = SimpleNamespace(
    scaled=SCALED,
    neighbours=pd.DataFrame(
        {
            "school_id": np.repeat(IDS, 6),
            "neighbour_id": [IDS[(i + k) % N] for i in range(N) for k in range(1, 7)],
            "weight": 1 / 6,
        }
    ),
    quality=pd.DataFrame({"school_id": IDS, "verdict": "ok", "reason": ""}),
)


def refused(error, match, **changes):
    arguments = {"neighbours": NEIGHBOURS, "results": SCHOOLS, **changes}
    with pytest.raises(error, match=match) as caught:
        compare_with_neighbours(arguments.pop("neighbours"), arguments.pop("results"), **arguments)
    # said in both languages, and not with the same words
    assert caught.value.localized("ru") != caught.value.localized("en")


def test_neighbours_of_the_wrong_kind():
    refused(SpecificationError, "what StatisticalNeighbours", neighbours=SCHOOLS)


def test_results_of_the_wrong_kind():
    refused(SpecificationError, "results must be a table", results=[1, 2])


def test_column_that_is_not_there():
    refused(DataError, "mean_scores", value="mean_scores")
    refused(SpecificationError, "name of a column", value=3)


def test_shrunken_column_is_refused_with_the_way_out():
    effects = SCHOOLS.assign(effect=0.1)
    refused(SpecificationError, "column 'effect' is shrunken", results=effects, value="effect")
    refused(SpecificationError, "value='residual'", results=effects, value="effect")


def test_schools_without_a_sampling_variance_are_named():
    missing = SCHOOLS.assign(
        sampling_variance=SCHOOLS["sampling_variance"].mask(SCHOOLS["school_id"] == "S05")
    )
    refused(DataError, r"1 school has a result in 'mean_score' .*\(S05", results=missing)
    refused(DataError, "S00", results=SCHOOLS.assign(sampling_variance=0.0))
    refused(DataError, "S00", results=SCHOOLS.assign(error=-0.1), std_error="error")


def test_nothing_says_how_precise_results_are():
    bare = SCHOOLS.drop(columns="sampling_variance")
    refused(SpecificationError, "nothing says how precise 'mean_score' is", results=bare)
    refused(DataError, "mistake", std_error="mistake")
    refused(SpecificationError, "give one of them", std_error="sampling_variance", pupil_sd=1.0)
    refused(SpecificationError, "pupil_sd", pupil_sd=-1.0)
    bare = bare.drop(columns="n_pupils")
    refused(DataError, "n_pupils", results=bare, pupil_sd=1.0)


def test_duplicates_and_infinite_results():
    refused(DataError, "S00", results=pd.concat([SCHOOLS, SCHOOLS.iloc[:1]]))
    infinite = SCHOOLS.assign(mean_score=np.inf)
    refused(DataError, "infinite in school S00", results=infinite)
    refused(DataError, "mean_score", results=SCHOOLS.assign(mean_score="good"))


def test_no_school_in_common():
    other = SCHOOLS.assign(school_id=[f"s-{i}" for i in range(N)])
    refused(DataError, "no school of the neighbours", results=other)


def test_arguments_out_of_range():
    refused(SpecificationError, "minimum", minimum=1)
    refused(SpecificationError, "max_imbalance", max_imbalance=0)
    refused(SpecificationError, "level", level=1.0)


def test_slopes_of_other_conditions():
    refused(SpecificationError, "slopes", slopes=0.5)
    other = scale_conditions(
        SCHOOLS.rename(columns={"n_pupils": "size"}), Conditions(continuous={"size": "linear"})
    )
    slopes = condition_slopes(other, SCHOOLS)
    refused(SpecificationError, "slopes belong to other conditions", slopes=slopes)


def test_too_few_schools_for_slopes():
    with pytest.raises(DataError, match="ask for at least 10 schools with results; there are 4"):
        condition_slopes(SCALED, SCHOOLS.iloc[:4])
    with pytest.raises(DataError, match="nowhere"):
        condition_slopes(SCALED, SCHOOLS, value="nowhere")
    with pytest.raises(SpecificationError, match="scaled"):
        condition_slopes(SCHOOLS, SCHOOLS)


def test_effects_without_any_reliability():
    effects = SCHOOLS.drop(columns="sampling_variance").assign(
        effect=0.0, reliability=0.0, conditional_sd=0.0
    )
    refused(DataError, "no effect of the table", results=effects, value="residual")


def test_agreement_without_a_regression():
    found = compare_with_neighbours(NEIGHBOURS, SCHOOLS, max_imbalance=9.0)
    for ask in (found.by_both, found.agreement, lambda: found.rank_correlation):
        with pytest.raises(SpecificationError, match="without regression="):
            ask()


def test_unknown_school_is_answered_with_the_nearest():
    with pytest.raises(DataError, match="no school 'S1l' in the comparison"):
        compare_with_neighbours(NEIGHBOURS, SCHOOLS, max_imbalance=9.0).school("S1l")


def test_effects_ask_for_pupils_and_comparable_schools():
    with pytest.raises(DataError, match="school S00 has no number of pupils"):
        neighbour_effects(NEIGHBOURS, SCHOOLS.drop(columns="n_pupils"), max_imbalance=9.0)
    nobody = SimpleNamespace(
        **{
            **vars(NEIGHBOURS),
            "quality": NEIGHBOURS.quality.assign(verdict="insufficient_data", reason="alone"),
        }
    )
    with pytest.raises(DataError, match=r"no school can be compared .* alone"):
        neighbour_effects(nobody, SCHOOLS)


RULE = Criteria.preset("resilient_quadrant")
EFFECTS = pd.DataFrame({"school_id": IDS, "effect": np.sin(np.arange(N))})
POINT = Criteria.from_dict(
    {
        "id": "strong",
        "version": "1",
        "title": "Strong",
        "criterion": [{"name": "high", "column": "effect", "at_least": 0.75, "scale": "quantile"}],
    }
)


@pytest.mark.parametrize(
    ("groups", "error", "match"),
    [
        (3, SpecificationError, "groups must be clusters or bands"),
        ("is_rural", SpecificationError, "need the table schools="),
        (dict.fromkeys(IDS, "one"), DataError, "nothing to tell apart"),
        (pd.DataFrame({"school_id": IDS, "a": 1, "b": 2}), DataError, "a, b"),
        (pd.DataFrame({"school": IDS, "cluster": 1}), DataError, "school_id"),
        (
            pd.DataFrame({"school_id": ["S00", "S00"], "cluster": [1, 2]}),
            DataError,
            "S00",
        ),
        (
            pd.DataFrame({"school_id": IDS, "cluster": np.arange(N) // 3}),
            SpecificationError,
            "no group has 10 schools",
        ),
    ],
)
def test_groups_that_cannot_be_read(groups, error, match):
    with pytest.raises(error, match=match):
        detect_within_groups(EFFECTS, None, POINT, groups=groups)


def test_columns_of_groups_that_are_not_there():
    with pytest.raises(DataError, match="settlement"):
        read_groups(["settlement"], SCHOOLS)


def test_no_clusters_names_the_ways_out():
    none = SimpleNamespace(schools=pd.DataFrame({"school_id": IDS, "cluster": 0}))
    with pytest.raises(SpecificationError, match=r"ContextBands.*neighbour_effects"):
        detect_within_groups(EFFECTS, None, POINT, groups=none)


def test_fewest_schools_of_a_group():
    with pytest.raises(SpecificationError, match="min_schools"):
        detect_within_groups(EFFECTS, None, POINT, groups=dict.fromkeys(IDS, "a"), min_schools=0)


def test_rules_that_can_be_applied_nowhere():
    halves = {school: str(i % 2) for i, school in enumerate(IDS)}
    with pytest.raises((DataError, SpecificationError), match="scores"):
        detect_within_groups(EFFECTS, None, RULE, groups=halves)


def test_choices_of_the_multiverse():
    for expectation, match in (
        ({}, "expectation must map names"),
        ([EFFECTS], "got list"),
        ({"regression": EFFECTS.copy()}, "stands beside expectation="),
        ({"neighbours": 3}, "int"),
    ):
        with pytest.raises(SpecificationError, match=match):
            multiverse(EFFECTS, None, POINT, expectation=expectation)
    with pytest.raises(SpecificationError, match="stands beside expectation="):
        multiverse({"a": EFFECTS}, None, POINT, expectation={"neighbours": EFFECTS})
    with pytest.raises(SpecificationError, match="groups must be clusters or bands"):
        multiverse(EFFECTS, None, POINT, groups={"region": None, "wrong": 3})
    with pytest.raises(SpecificationError, match="empty mapping"):
        multiverse(EFFECTS, None, POINT, groups={})


def test_groups_that_fail_stand_in_the_table_with_their_error():
    small = {school: str(i // 3) for i, school in enumerate(IDS)}
    with pytest.warns(WeakDataWarning, match="1 of 2 specifications failed"):
        found = multiverse(EFFECTS, None, POINT, groups={"region": None, "small": small})
    errors = found.specifications["error"].tolist()
    assert errors[0] == ""
    assert "no group has 10 schools" in errors[1]
