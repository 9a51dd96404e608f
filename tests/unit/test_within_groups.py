"""Rules inside groups of schools, and groups and expectations as choices of a multiverse."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from resilience.clustering.comparison.effects import NeighbourEffects
from resilience.detection import Criteria, detect_schools
from resilience.errors import WeakDataWarning
from resilience.pipeline.groupings import read_groups
from resilience.pipeline.multiverse import multiverse
from resilience.pipeline.within_groups import detect_within_groups

N = 80
GENERATOR = np.random.default_rng(5)
IDS = [f"S{i:02d}" for i in range(N)]
RURAL = np.arange(N) % 2 == 0


def effects() -> pd.DataFrame:
    true = GENERATOR.normal(size=N) + RURAL * 3.0
    return pd.DataFrame(
        {
            "school_id": IDS,
            "effect": true,
            "conditional_sd": 0.3,
            "reliability": 0.9,
            "n_pupils": 60,
            "n_years": 3,
        }
    )


EFFECTS = effects()
SCORES = pd.DataFrame(
    {"school_id": IDS, "context_index": 50.0 - 10.0 * RURAL + GENERATOR.normal(size=N)}
)
SCHOOLS = pd.DataFrame({"school_id": IDS, "is_rural": RURAL})
LABELS = pd.Series(np.where(RURAL, "country", "town"), index=IDS)


def rule(scale: str = "quantile", bound: float = 0.75) -> Criteria:
    return Criteria.from_dict(
        {
            "id": "strong",
            "version": "1",
            "title": {"en": "Strong", "ru": "Сильные"},
            "criterion": [
                {"name": "high", "column": "effect", "at_least": bound, "scale": scale},
                {
                    "name": "adversity",
                    "column": "context_index",
                    "at_most": 0.5,
                    "scale": "quantile",
                },
            ],
        }
    )


def test_quantiles_are_those_of_the_group():
    found = detect_within_groups(EFFECTS, SCORES, rule(), groups=LABELS)
    for group in ("country", "town"):
        own = EFFECTS[LABELS.eq(group).to_numpy()]
        alone = detect_schools(
            own, SCORES[SCORES["school_id"].isin(own["school_id"])], rule()
        ).schools
        inside = found.schools[found.schools["school_id"].isin(own["school_id"])]
        assert inside["verdict"].tolist() == alone["verdict"].tolist()
        # a quarter of 40 schools reaches the third quartile of its own group
        line = found.criteria[
            found.criteria["school_id"].isin(own["school_id"])
            & (found.criteria["criterion"] == "high")
        ]
        assert (line["verdict"] == "yes").sum() == 10
    # of the region as a whole only one town school stands so high
    whole = detect_schools(EFFECTS, SCORES, rule())
    high = whole.criteria[whole.criteria["criterion"] == "high"].set_index("school_id")["verdict"]
    assert (high[~RURAL] == "yes").sum() <= 2


def test_thresholds_of_every_group_stand_in_one_table():
    found = detect_within_groups(EFFECTS, SCORES, rule(), groups=LABELS)
    table = found.thresholds.set_index(["criterion", "school_group"])
    for group in ("country", "town"):
        own = EFFECTS["effect"][LABELS.eq(group).to_numpy()].sort_values()
        # midrank percentiles of 40: the 31st value is the first at .75 or above
        assert table.loc[("high", group), "threshold"] == pytest.approx(own.iloc[30])
        assert table.loc[("high", group), "n_schools"] == 40
        assert table.loc[("high", group), "n_listed"] == 10


def test_bounds_in_natural_units_do_not_move():
    natural = rule(scale="value", bound=1.0)
    inside = detect_within_groups(EFFECTS, SCORES, natural, groups=LABELS)
    whole = detect_schools(EFFECTS, SCORES, natural)
    high = [t.criteria.query("criterion == 'high'")["verdict"].tolist() for t in (inside, whole)]
    assert high[0] == high[1]


def test_rows_and_types_are_those_of_the_region():
    inside = detect_within_groups(EFFECTS, SCORES, rule(), groups=LABELS)
    whole = detect_schools(EFFECTS, SCORES, rule())
    assert inside.schools["school_id"].tolist() == whole.schools["school_id"].tolist()
    assert inside.schools.dtypes.equals(whole.schools.dtypes)
    assert inside.criteria.dtypes.equals(whole.criteria.dtypes)
    assert pickle.loads(pickle.dumps(inside)).notes == inside.notes
    assert json.dumps(inside.to_dict())


def test_the_order_of_rows_does_not_matter():
    mixed = EFFECTS.sample(frac=1.0, random_state=1)
    one = detect_within_groups(EFFECTS, SCORES, rule(), groups=LABELS)
    other = detect_within_groups(
        mixed, SCORES, rule(), groups=LABELS.sample(frac=1, random_state=2)
    )
    pd.testing.assert_frame_equal(one.schools, other.schools)


def test_schools_without_a_group_and_small_groups_are_named():
    labels = LABELS.astype(object).copy()
    labels.iloc[0] = None
    labels.iloc[1:4] = "island"
    found = detect_within_groups(EFFECTS, SCORES, rule(), groups=labels).schools
    outside = found.set_index("school_id").loc[IDS[:4]]
    assert (outside["verdict"] == "insufficient_data").all()
    assert "no group" in outside["reason"].iloc[0]
    assert "island has 3 schools" in outside["reason"].iloc[1]
    assert len(found) == N


def test_no_verdict_rests_on_an_unstable_label():
    table = pd.DataFrame(
        {"school_id": IDS, "cluster": np.where(RURAL, 1, 2), "membership_stability": 1.0}
    )
    table.loc[3, "membership_stability"] = 0.5
    found = detect_within_groups(EFFECTS, SCORES, rule(), groups=table).schools
    named = table.assign(membership_stability=1.0, membership_verdict="inside")
    named.loc[3, "membership_verdict"] = "between_clusters"
    assert "S03" in read_groups(named, None).reasons
    row = found.set_index("school_id").loc["S03"]
    assert row["verdict"] == "insufficient_data"
    assert "between groups" in row["reason"]
    assert row["reason"].ru.startswith("школа находится между группами")


@pytest.mark.parametrize(
    "groups",
    [
        LABELS,
        LABELS.to_dict(),
        LABELS.rename_axis("school_id").rename("anything").reset_index(),
        pd.DataFrame({"school_id": IDS, "cluster": np.where(RURAL, 1, 2), "silhouette": 0.1}),
        SimpleNamespace(schools=pd.DataFrame({"school_id": IDS, "band": RURAL.astype(float)})),
        "is_rural",
        ["is_rural"],
    ],
)
def test_groups_are_read_from_what_holds_them(groups):
    found = read_groups(groups, SCHOOLS)
    names = {found.labels[school] for school in np.array(IDS)[RURAL]}
    assert len(names) == 1
    assert names.isdisjoint({found.labels[school] for school in np.array(IDS)[~RURAL]})
    assert not found.reasons


def test_schools_outside_all_clusters_have_no_group():
    table = pd.DataFrame({"school_id": IDS, "cluster": np.where(RURAL, 1, 2)})
    table.loc[5, "cluster"] = 0
    found = read_groups(SimpleNamespace(schools=table), None)
    assert "S05" in found.reasons
    assert set(found.labels.values()) == {"1", "2"}
    # in a table of one's own 0 is a label like any other
    assert read_groups(table, None).labels["S05"] == "0"


def test_columns_of_schools_count_with_their_latest_row():
    schools = pd.concat([SCHOOLS.assign(year=2025), SCHOOLS.assign(year=2024, is_rural=True)])
    assert read_groups("is_rural", schools).labels == read_groups("is_rural", SCHOOLS).labels


def test_warnings_name_their_group():
    labels = LABELS.where(LABELS != "town", None)
    labels.iloc[:24:2] = "coast"
    with pytest.warns(WeakDataWarning, match="Group coast: only 12 schools"):
        detect_within_groups(EFFECTS, SCORES, rule(), groups=labels)


def test_groups_are_a_choice_of_the_multiverse():
    rules = rule().grid(high=[0.75, 0.9])
    found = multiverse(
        EFFECTS, SCORES, rules, groups={"region": None, "settlement": LABELS}, schools=SCHOOLS
    )
    assert found.lists.factors == ("groups", "high")
    for name, own in (
        ("region", detect_schools(EFFECTS, SCORES, rule())),
        ("settlement", detect_within_groups(EFFECTS, SCORES, rule(), groups=LABELS)),
    ):
        verdicts = found.verdicts[found.verdicts["specification"] == f"groups={name}, high=0.75"]
        assert verdicts["verdict"].tolist() == own.schools["verdict"].tolist()


def test_one_grouping_is_no_choice():
    found = multiverse(EFFECTS, SCORES, rule().grid(high=[0.75, 0.9]), groups=LABELS)
    assert found.lists.factors == ("high",)
    inside = detect_within_groups(EFFECTS, SCORES, rule(), groups=LABELS).schools
    assert (found.lists.answers[0] == 1).tolist() == (inside["verdict"] == "yes").tolist()


def neighbours() -> NeighbourEffects:
    return NeighbourEffects(
        school_effects=EFFECTS.assign(effect=EFFECTS["effect"][::-1].to_numpy()).iloc[2:],
        left_out=pd.DataFrame({"school_id": IDS[:2], "reason": ["alone", "alone"]}),
        variance=1.0,
        notes=(),
    )


def test_expectations_are_a_choice_of_the_multiverse():
    expectation = {"regression": EFFECTS, "neighbours": neighbours()}
    found = multiverse(EFFECTS, SCORES, rule(), expectation=expectation)
    assert found.lists.factors == ("expectation",)
    alone = detect_schools(neighbours().school_effects, SCORES, rule()).schools
    own = found.verdicts[found.verdicts["specification"] == "expectation=neighbours"]
    assert own["verdict"].tolist() == alone["verdict"].tolist()
    # what the neighbours leave out is not dropped, and is said
    assert own["school_id"].tolist() == IDS
    assert any("2 schools have no neighbours" in note for note in found.notes)


def test_effects_beside_the_expectations_are_the_level_regression():
    found = multiverse(EFFECTS, SCORES, rule(), expectation={"neighbours": neighbours()})
    assert found.lists.levels["expectation"] == ("regression", "neighbours")
    without = multiverse(None, SCORES, rule(), expectation={"neighbours": neighbours()})
    assert without.lists.levels["expectation"] == ("neighbours",)


def test_both_choices_and_any_number_of_processes():
    def run(n_jobs: int):
        return multiverse(
            EFFECTS,
            SCORES,
            rule(),
            groups={"region": None, "settlement": LABELS},
            expectation={"neighbours": neighbours()},
            n_jobs=n_jobs,
        )

    one, two = run(1), run(2)
    assert one.lists.factors == ("expectation", "groups")
    assert (one.lists.answers == two.lists.answers).all()
    shares = one.robustness(n_replicates=1).choices
    # the Shapley shares divide all of the variance
    assert shares["shapley_share"].sum() == pytest.approx(1.0)
