"""Profiles and names of clusters, by hand."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from resilience.clustering.conditions.scaled import ScaledSchools, scale_conditions
from resilience.clustering.conditions.specification import Conditions
from resilience.clustering.profiles.naming import cluster_names, distinguishing_terms
from resilience.clustering.profiles.phrases import numbers_beside, phrase, stratum_phrase
from resilience.clustering.profiles.profile import profile_table, term_correlation
from resilience.data.known_variables import ADMITTED_ROLES, known_variables
from resilience.i18n import has_text, text_keys


def profile(*rows: tuple[int, str, str, str, float, float, float]) -> pd.DataFrame:
    """Return a profile from (cluster, term, condition, kind, mean, region, d)."""
    names = ["cluster", "term", "condition", "kind", "mean", "mean_region"]
    table = pd.DataFrame(rows, columns=[*names, "standardized_difference"])
    return table.assign(n_schools=10 * table["cluster"])


NONE = pd.DataFrame()


@pytest.fixture
def scaled() -> ScaledSchools:
    schools = pd.DataFrame(
        {
            "school_id": list("abcdef"),
            "n_pupils": [300, 100, 200, 600, 500, 400],
            "low_income": [0.1, 0.2, 0.3, 0.5, 0.6, 0.7],
            "is_rural": [True, True, True, False, False, True],
            "is_small": [True, False, True, False, False, False],
        }
    )
    return scale_conditions(schools, Conditions(continuous=["n_pupils"], shares=["low_income"]))


def test_profile_of_six_schools(scaled: ScaledSchools) -> None:
    table = profile_table(scaled, np.array([1, 1, 1, 2, 2, 2]))
    income = table[table["term"] == "low_income"].set_index("cluster")
    # means .2 and .6, region .4; sum of squares .28, so SD = sqrt(.28/6); between 6 * .2² = .24
    assert income["mean"].tolist() == pytest.approx([0.2, 0.6])
    assert income["mean_region"].tolist() == pytest.approx([0.4, 0.4])
    assert income["standardized_difference"].tolist() == pytest.approx(
        [-0.2 / np.sqrt(0.28 / 6), 0.2 / np.sqrt(0.28 / 6)]
    )
    assert income["eta_squared"].tolist() == pytest.approx([0.24 / 0.28] * 2)
    assert income["sd_within"].tolist() == pytest.approx([0.1, 0.1])
    assert income["n_schools"].tolist() == [3, 3]
    assert income["n_pupils"].tolist() == [600.0, 1500.0]
    assert income["share_rural"].tolist() == pytest.approx([1.0, 1 / 3])
    assert income["share_small"].tolist() == pytest.approx([2 / 3, 0.0])


def test_a_school_of_no_cluster_counts_in_the_region_alone(scaled: ScaledSchools) -> None:
    table = profile_table(scaled, np.array([1, 1, 0, 2, 2, 0])).set_index(["cluster", "term"])
    assert table.loc[(1, "low_income"), "mean"] == pytest.approx(0.15)
    assert table.loc[(1, "low_income"), "mean_region"] == pytest.approx(0.4)
    assert table.loc[(2, "n_pupils"), "n_schools"] == 2
    # of the four grouped schools: total .17, within .01
    assert table.loc[(1, "low_income"), "eta_squared"] == pytest.approx(0.16 / 0.17)


def test_the_order_of_schools_changes_nothing(scaled: ScaledSchools) -> None:
    labels = np.array([1, 2, 1, 2, 1, 2])
    turned = [5, 3, 1, 0, 2, 4]
    other = replace(
        scaled,
        schools=scaled.schools.iloc[turned].reset_index(drop=True),
        values=scaled.z[turned],
        natural=scaled.natural.iloc[turned].reset_index(drop=True),
    )
    first, second = profile_table(scaled, labels), profile_table(other, labels[turned])
    pd.testing.assert_frame_equal(first, second, rtol=1e-12)


def test_levels_of_categories_have_rows_of_their_own() -> None:
    schools = pd.DataFrame(
        {
            "school_id": list("abcd"),
            "n_pupils": [100, 200, 300, 400],
            "terrain": ["hills", "hills", "plain", "plain"],
        }
    )
    found = scale_conditions(schools, Conditions(nominal=["terrain"]))
    table = profile_table(found, np.array([1, 1, 2, 2])).set_index(["cluster", "term"])
    assert table.loc[(1, "terrain=hills"), "mean"] == 1.0
    assert table.loc[(1, "terrain=hills"), "condition"] == "terrain"
    assert table.loc[(1, "terrain=hills"), "eta_squared"] == pytest.approx(1.0)
    names = cluster_names(table.reset_index(), term_correlation(found))
    assert names[1].en == "far more often terrain “hills” (100 % against 50 %)"


def test_the_example_of_the_specification() -> None:
    table = profile(
        (1, "remoteness_km", "remoteness_km", "continuous", 41.0, 18.0, 0.79),
        (1, "single_parent", "single_parent", "share", 0.38, 0.26, 0.7),
        (1, "n_pupils", "n_pupils", "continuous", 112.0, 420.0, -0.6),
        (1, "low_income", "low_income", "share", 0.3, 0.2, 0.55),
    )
    name = cluster_names(table, NONE)[1]
    assert name.en == (
        "remote (41 against 18 km), many single-parent families (38 % against 26 %), "
        "small by enrolment (112 against 420 pupils)"
    )
    assert name.ru == (
        "удалённые (41 против 18 км), много неполных семей (38 % против 26 %), "
        "небольшие по числу учащихся (112 против 420 чел.)"
    )
    bare = cluster_names(table, NONE, numbers=False)[1]
    assert bare.en == "remote, many single-parent families, small by enrolment"


def test_much_from_eight_tenths_and_none_below_a_half() -> None:
    at = [("low_income", 0.8), ("large_family", 0.79), ("single_parent", 0.49)]
    table = profile(*((1, c, c, "share", 0.5, 0.3, d) for c, d in at))
    assert cluster_names(table, NONE, numbers=False)[1].en == (
        "very many low-income families, many large families"
    )
    assert distinguishing_terms(table, NONE) == {1: ["low_income", "large_family"]}


def test_close_to_the_average() -> None:
    table = profile((1, "low_income", "low_income", "share", 0.3, 0.3, 0.1))
    assert cluster_names(table, NONE)[1].ru == "близкие к среднему по региону"


def test_of_two_correlated_conditions_only_the_first() -> None:
    table = profile(
        (1, "low_income", "low_income", "share", 0.5, 0.3, 0.9),
        (1, "single_parent", "single_parent", "share", 0.5, 0.3, 0.7),
        (1, "large_family", "large_family", "share", 0.5, 0.3, 0.6),
    )
    names = ["low_income", "single_parent", "large_family"]
    related = pd.DataFrame(np.eye(3), index=names, columns=names)
    related.loc["low_income", "single_parent"] = related.loc["single_parent", "low_income"] = -0.71
    related.loc["low_income", "large_family"] = related.loc["large_family", "low_income"] = 0.70
    assert distinguishing_terms(table, related) == {1: ["low_income", "large_family"]}


def test_a_composition_speaks_once() -> None:
    table = profile(
        (1, "edu_low", "education", "composition", 0.5, 0.3, 0.9),
        (1, "edu_high", "education", "composition", 0.1, 0.3, -0.8),
    )
    assert distinguishing_terms(table, NONE) == {1: ["edu_low"]}


def test_of_a_category_the_level_that_is_there_speaks() -> None:
    table = profile(
        (1, "school_type=high", "school_type", "nominal", 0.6, 0.2, 0.9),
        (1, "school_type=primary", "school_type", "nominal", 0.0, 0.7, -1.4),
        (2, "school_type=high", "school_type", "nominal", 0.3, 0.2, 0.3),
        (2, "school_type=primary", "school_type", "nominal", 0.2, 0.7, -0.9),
    )
    assert distinguishing_terms(table, NONE) == {
        1: ["school_type=high"],
        2: ["school_type=primary"],
    }


def test_equal_names_take_the_next_condition_then_their_size() -> None:
    same = [("low_income", 0.6)]
    further = {1: 0.3, 2: -0.3, 3: 0.1, 4: 0.1}
    rows = [
        (c, name, name, "share", 0.5 if d > 0 else 0.1, 0.3, d)
        for c in (1, 2, 3, 4)
        for name, d in [*same, ("large_family", further[c])]
    ]
    names = cluster_names(profile(*rows), NONE, numbers=False)
    assert names[1].en == "many low-income families, somewhat more large families"
    assert names[2].ru == "много малообеспеченных семей, чуть меньше многодетных семей"
    assert names[3].en == "many low-income families (30 schools)"
    assert names[4].ru == "много малообеспеченных семей (40 школ)"
    assert len({n.en for n in names.values()}) == len({n.ru for n in names.values()}) == 4


def test_equal_names_of_equal_size_take_the_number() -> None:
    table = profile(
        *((c, "low_income", "low_income", "share", 0.5, 0.3, 0.6) for c in (1, 2))
    ).assign(n_schools=15)
    assert [n.en for n in cluster_names(table, NONE, numbers=False).values()] == [
        "many low-income families (15 schools) (group 1)",
        "many low-income families (15 schools) (group 2)",
    ]


def test_a_cluster_of_a_stratum_is_named_after_it_first() -> None:
    table = profile((1, "low_income", "low_income", "share", 0.5, 0.3, 0.6)).assign(
        stratum="is_rural=True"
    )
    assert cluster_names(table, NONE, numbers=False)[1].ru == (
        "сельские школы: много малообеспеченных семей"
    )
    assert stratum_phrase("is_small=True, levels=1-9").en.endswith("1-9")


@pytest.mark.parametrize("column", ["mean_score", "teacher_turnover", "context_index"])
def test_results_and_processes_never_name_a_cluster(column: str) -> None:
    table = profile((1, column, column, "continuous", 9.0, 1.0, 3.0))
    assert cluster_names(table, NONE)[1].en == "close to the region's average"


@pytest.mark.parametrize(
    "column", sorted(n for n, v in known_variables().items() if v.role in ADMITTED_ROLES)
)
def test_every_admitted_column_has_phrases(column: str) -> None:
    kind = "share" if known_variables()[column].scale != "number" else "continuous"
    own = {
        lang: {
            getattr(phrase(column, column, kind, high=high, degree=degree), lang)
            for high in (True, False)
            for degree in ("slight", "", "much")
        }
        for lang in ("en", "ru")
    }
    assert len(own["en"]) == len(own["ru"]) == 6
    assert has_text(f"cluster_profiles.noun_{column}") or has_text(
        f"cluster_profiles.phrase_{column}_high"
    )
    assert not re.search("[A-Za-z]", "".join(own["ru"]))


def test_no_phrase_speaks_of_worth() -> None:
    from resilience.i18n import text

    worth = re.compile(r"\b(weak school|bad|good|poor school|best|worst|success|fail)", re.I)
    russian = re.compile(r"слабые школы|плох(ие|ая) школ|хорош|лучш|худш|успешн|отстающ", re.I)
    spoken = [k for k in text_keys() if re.match(r"cluster_profiles\.(noun|phrase|stratum)_", k)]
    assert len(spoken) > 40
    for key in spoken:
        assert not worth.search(text(key).en), key
        assert not russian.search(text(key).ru), key


def test_an_unknown_column_speaks_by_its_own_name() -> None:
    words = phrase("road_index", "road_index", "continuous", high=False, degree="much")
    assert words.en == "road_index: far below the average"
    assert words.ru == "road_index: намного ниже среднего"


def test_rural_flags_speak_of_the_side_that_is_there() -> None:
    low = phrase("is_rural=True", "is_rural", "nominal", high=False)
    same = phrase("is_rural=False", "is_rural", "nominal", high=True)
    assert low == same == "many city schools"
    beside = [
        numbers_beside(term, "is_rural", "nominal", own, region)
        for term, own, region in (("is_rural=True", 0.1, 0.6), ("is_rural=False", 0.9, 0.4))
    ]
    assert [b.en for b in beside] == ["(90 % against 40 %)"] * 2


def test_numbers_have_as_many_decimals_as_tell_them_apart() -> None:
    assert numbers_beside("single_parent", "single_parent", "share", 0.0312, 0.0295).ru == (
        "(3,1 % против 2,9 %)"
    )
    assert numbers_beside("road_index", "road_index", "continuous", -0.31, 0.28).en == (
        "(−0.3 against 0.3)"
    )
    assert numbers_beside("n_pupils", "n_pupils", "continuous", 130.4, 282.1).ru == (
        "(130 против 282 чел.)"
    )
