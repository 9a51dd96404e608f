"""Bad input of teacher effects that persist."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.data.simulation.classrooms import simulate_classrooms
from resilience.errors import DataError, PolicyError, SpecificationError
from resilience.value_added.persistence import PersistenceModel, TeacherLinks


@pytest.fixture(scope="module")
def made():
    return simulate_classrooms(60, class_size=10, n_schools=2, random_state=0)


MODEL = PersistenceModel("score ~ prior_score")


def test_shares_that_do_not_sum_to_one_name_pupils(made):
    links = made.links.copy()
    at = links.index[links["share"] == 1.0][0]
    links.loc[at, "share"] = 0.8
    pupil, year = links.loc[at, ["pupil_key", "year"]]
    with pytest.raises(DataError, match=rf"sum to 1 .* {pupil} \({year}\): 0.8") as caught:
        MODEL.fit(made.rows, links)
    assert "сумма долей" in caught.value.localized("ru")


def test_shares_are_positive_numbers(made):
    with pytest.raises(DataError, match="not above 0"):
        MODEL.fit(made.rows, made.links.assign(share=-1.0))
    with pytest.raises(DataError, match="share"):
        MODEL.fit(made.rows, made.links.assign(share="1"))
    with pytest.raises(DataError, match="share"):
        MODEL.fit(made.rows, made.links.assign(share=np.nan))


def test_variable_persistence_needs_two_years(made):
    rows, links = made.rows[made.rows["year"] == 2023], made.links[made.links["year"] == 2023]
    procedures = pd.DataFrame({"year": [2022, 2023], "exam": "РДР", "marked_by": "region"})
    with pytest.raises(SpecificationError, match="at least two years, there is only 2023"):
        MODEL.fit(rows, links, procedures=procedures)
    one = PersistenceModel("score ~ prior_score", persistence="complete")
    assert one.fit(rows, links, procedures=procedures).persistence.empty


def test_a_teacher_in_no_row_is_named(made):
    extra = made.links.iloc[[0]].assign(pupil_key="P99999", teacher_id="T9999", share=1.0)
    with pytest.raises(DataError, match=r"T9999 \(2023\)"):
        MODEL.fit(made.rows, pd.concat([made.links, extra]))


def test_pupils_doubled_within_a_year(made):
    with pytest.raises(DataError, match="pupil_key × year"):
        MODEL.fit(pd.concat([made.rows, made.rows.iloc[[3]]]), made.links)
    with pytest.raises(DataError, match="pupil_key × year × teacher_id"):
        MODEL.fit(made.rows, pd.concat([made.links, made.links.iloc[[3]]]))


def test_unconnected_years(made):
    early = made.rows["pupil_key"] <= "P00030"
    rows = made.rows[(early & (made.rows["year"] < 2025)) | (~early & (made.rows["year"] == 2025))]
    with pytest.raises(DataError, match="no pupil has results in both 2023 and 2025"):
        MODEL.fit(rows, made.links)


def test_persistence_needs_links_of_the_earlier_year(made):
    stays = made.rows.loc[made.rows["year"] == 2024, "pupil_key"].iloc[:40]
    later = made.rows["pupil_key"].isin(stays)
    # those tested later have no link in 2023, although they were tested then
    rows = made.rows[later | (made.rows["year"] == 2023)]
    links = made.links[~(made.links["pupil_key"].isin(stays) & (made.links["year"] == 2023))]
    model = PersistenceModel("score ~ prior_score", teachers=TeacherLinks(missing="no_teacher"))
    with pytest.raises(DataError, match="is linked to a teacher of 2023"):
        model.fit(rows, links)


def test_links_of_a_year_without_results(made):
    rows = made.rows[made.rows["year"] != 2025]
    with pytest.raises(DataError, match="2025"):
        MODEL.fit(rows, made.links)


def test_results_without_a_link_are_named(made):
    links = made.links[made.links["pupil_key"] != "P00004"]
    with pytest.raises(DataError, match=r"P00004 \(2023\).*missing='no_teacher'"):
        MODEL.fit(made.rows, links)


def test_one_teacher_is_no_comparison(made):
    links = made.links.assign(share=1.0, teacher_id="T1").drop_duplicates(["pupil_key", "year"])
    with pytest.raises(DataError, match="need at least two"):
        MODEL.fit(made.rows, links)


def test_gaps_and_kinds(made):
    with pytest.raises(DataError, match="prior_score"):
        MODEL.fit(made.rows.assign(prior_score=np.nan), made.links)
    with pytest.raises(DataError, match="score"):
        MODEL.fit(made.rows.assign(score="12"), made.links)
    with pytest.raises(DataError, match="teacher_id"):
        MODEL.fit(made.rows, made.links.drop(columns="teacher_id"))
    with pytest.raises(DataError, match="several kinds"):
        MODEL.fit(
            made.rows, made.links.assign(pupil_key=made.links["pupil_key"].str[1:].astype(int))
        )
    with pytest.raises(DataError, match="0 rows"):
        MODEL.fit(made.rows, made.links.iloc[:0])
    with pytest.raises(SpecificationError):
        MODEL.fit(made.rows, None)
    doubled = made.rows.assign(twice=2.0 * made.rows["prior_score"])
    with pytest.raises(DataError, match="'twice'"):
        PersistenceModel("score ~ prior_score + twice").fit(doubled, made.links)
    with pytest.raises(DataError, match="without rest"):
        PersistenceModel("score ~ half").fit(
            doubled.assign(half=made.rows["score"] / 2), made.links
        )


def test_guard_comes_before_numbers(made):
    inside = made.rows.assign(exam="ВПР", marked_by="school")
    with pytest.raises(PolicyError, match="ВПР 2023"):
        MODEL.fit(inside, made.links)
    with pytest.raises(DataError, match="'exam'"):
        MODEL.fit(made.rows.drop(columns="exam"), made.links)
    with pytest.raises(DataError, match="'marked_by'"):
        MODEL.fit(made.rows.drop(columns="marked_by"), made.links)
    with pytest.raises(DataError, match="'teacher'"):
        MODEL.fit(made.rows.assign(marked_by="teacher"), made.links)
    part = pd.DataFrame({"year": [2023, 2024], "exam": "РДР", "marked_by": "region"})
    with pytest.raises(DataError, match="lacks the years 2025"):
        MODEL.fit(made.rows, made.links, procedures=part)


def test_arguments(made):
    with pytest.raises(SpecificationError, match="persistence"):
        PersistenceModel("score ~ 1", persistence="partial")
    with pytest.raises(SpecificationError, match="TeacherLinks"):
        PersistenceModel("score ~ 1", teachers="teacher_id")
    with pytest.raises(SpecificationError, match="missing"):
        TeacherLinks(missing="drop")
    with pytest.raises(SpecificationError, match="method"):
        MODEL.fit(made.rows, made.links, method="em")
    with pytest.raises(SpecificationError, match="level"):
        MODEL.fit(made.rows, made.links, level=95)


def test_reports(made):
    links = made.links.assign(
        room=np.arange(len(made.links)),
        corps=made.links["school_id"].where(made.links["year"] > 2023),
    )
    results = MODEL.fit(made.rows, links)
    with pytest.raises(SpecificationError, match="there is no column 'town'"):
        results.group_report("town")
    with pytest.raises(SpecificationError, match="several values"):
        results.group_report("room")
    with pytest.raises(SpecificationError, match="individual_report"):
        results.group_report("teacher_id")
    with pytest.raises(DataError, match="'corps' is missing"):
        results.group_report("corps")
    with pytest.raises(SpecificationError, match="n_min"):
        results.group_report(n_min=5.5)
    with pytest.raises(DataError, match="no teacher 'T7'") as caught:
        results.individual_report("T7")
    assert "T0001" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"n_pupils": 1},
        {"n_years": 0},
        {"class_size": 0},
        {"n_schools": 2000},
        {"teacher_sd": -1.0},
        {"shared": 1.5},
        {"missing": -0.1},
        {"persistence": (0.5, 0.5)},
        {"persistence": np.nan},
    ],
)
def test_simulation_arguments(options):
    with pytest.raises(SpecificationError):
        simulate_classrooms(**options)
