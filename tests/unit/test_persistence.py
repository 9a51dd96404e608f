"""Teacher effects that persist: tables, reports and guards, by hand."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.data.simulation.classrooms import simulate_classrooms
from resilience.errors import PolicyError, SpecificationError, TeacherRankingError
from resilience.plotting.persistence import plot_persistence
from resilience.validation import check_differencing, check_external_marking, suppressed_cells
from resilience.value_added.persistence import PersistenceModel, TeacherLinks


@pytest.fixture(scope="module")
def classrooms():
    return simulate_classrooms(600, class_size=20, n_schools=4, missing=0.1, random_state=2)


@pytest.fixture
def results(classrooms):
    """A fresh fit: reports remember what was issued before."""
    return PersistenceModel("score ~ prior_score").fit(classrooms.rows, classrooms.links)


def of(n: int, first: int = 0) -> frozenset[int]:
    return frozenset(range(first, first + n))


@pytest.mark.parametrize(
    ("sizes", "reasons"),
    [
        ([9, 8, 7], ["", "", ""]),
        ([9, 8, 4], ["", "complementary", "n_below_5"]),  # one hidden: the total gives it away
        ([9, 8, 2, 2], ["", "complementary", "n_below_5", "n_below_5"]),  # 2 + 2 is below five
        ([9, 8, 4, 3], ["", "", "n_below_5", "n_below_5"]),
        ([4], ["n_below_5"]),
        ([2, 2], ["n_below_5", "n_below_5"]),
    ],
)
def test_small_cells_are_hidden_with_their_complement(sizes, reasons):
    members = [of(n, 100 * k) for k, n in enumerate(sizes)]
    assert suppressed_cells(members, [[()] * len(sizes)], 5) == reasons


def test_complements_are_hidden_in_rows_and_columns():
    # school × subject; the small cell takes one of its row and one of its column with it, and
    # these two take the cell that shares their other totals
    sizes = [[4, 6], [7, 8]]
    members = [of(sizes[i][j], 100 * (2 * i + j)) for i in range(2) for j in range(2)]
    rows, columns = ["a", "a", "b", "b"], ["x", "y", "x", "y"]
    found = suppressed_cells(members, [columns, rows], 5)
    assert found == ["n_below_5", "complementary", "complementary", "complementary"]


def test_reports_that_differ_by_few_are_refused():
    check_differencing([of(12)], [of(7), of(5, 7)], 5)
    check_differencing([of(12)], [of(12)], 5)
    with pytest.raises(PolicyError, match="about 4 teachers"):
        check_differencing([of(12)], [of(8)], 5)
    with pytest.raises(PolicyError, match="about 2 teachers"):
        check_differencing([of(5), of(5, 5)], [of(12)], 5)


MARKS = {"year": [2023, 2024, 2025]}


@pytest.mark.parametrize(
    ("exam", "marked_by"),
    [
        (["ВПР"] * 3, ["school"] * 3),
        (["ВПР"] * 3, ["region"] * 3),
        (["РДР", "ВПР", "ВПР"], ["region", "school", "school"]),
        (["РДР"] * 3, ["region", "school", "school"]),
        (["РДР", "ОГЭ", "ВПР"], ["region", "federal", "school"]),
    ],
)
def test_outcomes_marked_inside_the_school_are_refused(exam, marked_by):
    with pytest.raises(PolicyError, match="marked inside the school") as caught:
        check_external_marking(
            pd.DataFrame(MARKS | {"exam": exam, "marked_by": marked_by}), table="procedures"
        )
    assert exam[0] in str(caught.value)


def test_one_procedure_marked_outside_in_two_years_is_enough():
    frame = pd.DataFrame(
        MARKS | {"exam": ["РДР", "ВПР", "РДР"], "marked_by": ["region", "school", "federal"]}
    )
    assert check_external_marking(frame, table="procedures") is None


def test_teacher_table_is_sorted_by_key_and_holds_no_rank(results):
    table = results.teacher_effects
    keys = table[["teacher_id", "year"]].apply(tuple, axis=1)
    assert list(keys) == sorted(keys)
    assert not [c for c in table.columns if "rank" in c or "percentile" in c]
    assert table["reliability"].between(0, 1).all()
    assert (table["std_error"] >= table["conditional_sd"]).all()


@pytest.mark.parametrize("name", ["rank", "top", "best", "worst", "percentile"])
def test_rankings_are_refused(results, name):
    assert not hasattr(results, name)
    with pytest.raises(TeacherRankingError, match="use group_report"):
        getattr(results, name)()
    with pytest.raises(PolicyError):
        getattr(results, name)
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = results.colour


def test_group_report_is_the_mean_over_teachers(results):
    report = results.group_report("school_id")
    links = results.groups.set_index("teacher_id")["school_id"]
    effects = results.teacher_effects.set_index("teacher_id")["teacher_effect"]
    expected = effects.groupby(links).mean()
    np.testing.assert_allclose(report["mean_teacher_effect"], expected.loc[report["school_id"]])
    assert (report["n_teachers"] == links.value_counts().loc[report["school_id"]].to_numpy()).all()
    assert (report["std_error"] > 0).all()
    assert (report["reason"] == "").all()
    assert report.attrs["n_suppressed"] == 0


def test_a_teacher_of_several_years_counts_once():
    made = simulate_classrooms(300, class_size=10, n_schools=1, random_state=5)
    first = made.teachers.groupby("year").cumcount()
    renamed = dict(zip(made.teachers["teacher_id"], first.map("T{:02d}".format), strict=True))
    links = made.links.assign(teacher_id=made.links["teacher_id"].map(renamed))
    results = PersistenceModel("score ~ prior_score").fit(made.rows, links)
    report = results.group_report("school_id")
    assert list(report["n_teachers"]) == [30]
    assert len(results.teacher_effects) == 90
    profile = results.individual_report("T03")
    assert list(profile["year"]) == [2023, 2024, 2025]
    assert report["mean_teacher_effect"][0] == pytest.approx(
        results.teacher_effects["teacher_effect"].mean()
    )


def test_reports_remember_each_other(classrooms):
    part = classrooms.links["teacher_id"].str[-1].isin(["1", "2", "3"]).map({True: "a", False: "b"})
    held = classrooms.links.assign(part=part, all="all")
    model = PersistenceModel("score ~ prior_score")
    results = model.fit(classrooms.rows, held)
    by_part = results.group_report("part")
    assert (by_part["reason"] == "").all()
    detailed = results.group_report(["school_id", "part", "year"])
    assert detailed.attrs["n_suppressed"] == (detailed["reason"] != "").sum() > 0
    assert detailed.loc[detailed["reason"] != "", "mean_teacher_effect"].isna().all()
    for column in ("n_teachers", "mean_teacher_effect", "std_error", "conf_low", "conf_high"):
        assert column in detailed


def test_nested_reports_with_a_small_difference_are_refused(classrooms):
    keys = sorted(set(classrooms.links["teacher_id"]))
    wide = {key: "x" if k < 12 else "y" for k, key in enumerate(keys)}
    # four of the twelve move to the other group: either report is legal, their difference is not
    close = {key: "x" if k < 8 else "y" for k, key in enumerate(keys)}
    links = classrooms.links.assign(
        wide=classrooms.links["teacher_id"].map(wide),
        close=classrooms.links["teacher_id"].map(close),
    )
    results = PersistenceModel("score ~ prior_score").fit(classrooms.rows, links)
    results.group_report("wide")
    with pytest.raises(PolicyError, match="about 4 teachers"):
        results.group_report("close")
    copy = pickle.loads(pickle.dumps(results))
    with pytest.raises(PolicyError, match="about 4 teachers"):
        copy.group_report("close")


def test_smaller_cells_may_not_be_asked_for(results):
    with pytest.raises(PolicyError, match="n_min is 4"):
        results.group_report("school_id", n_min=4)
    hidden = results.group_report("school_id", n_min=1000)
    assert (hidden["reason"] == "n_below_1000").all()


def test_summary_carries_the_note_on_stakes(results):
    assert "Not for attestation, pay or dismissal" in results.summary()
    assert "Не для аттестации, оплаты труда или увольнения" in results.summary("ru")
    assert "Not for attestation" in results._repr_html_()


def test_columns_stand_in_the_glossary(results):
    known = set(column_names())
    tables = [
        results.tidy(),
        results.glance(),
        results.fixed_effects,
        results.variance_components,
        results.residual_covariance,
        results.teacher_effects,
        results.group_report(),
    ]
    assert not [c for table in tables for c in table.columns if c not in known]


def test_year_means_belong_to_the_model(classrooms):
    ours = PersistenceModel("score ~ prior_score").fit(classrooms.rows, classrooms.links)
    named = PersistenceModel("score ~ prior_score + C(year)").fit(classrooms.rows, classrooms.links)
    assert list(ours.fixed_effects["term"]) == [
        "Intercept",
        "prior_score",
        "year=2024",
        "year=2025",
    ]
    assert len(named.fixed_effects) == 4
    assert ours.criterion == pytest.approx(named.criterion, abs=1e-6)  # end of two searches


def test_special_cases_have_a_larger_deviance(classrooms):
    fits = {
        kind: PersistenceModel("score ~ prior_score", persistence=kind).fit(
            classrooms.rows, classrooms.links, method="ml"
        )
        for kind in ("variable", "complete", "zero")
    }
    assert fits["variable"].criterion < min(fits["complete"].criterion, fits["zero"].criterion)
    assert list(fits["complete"].persistence["estimate"]) == [1.0] * 3
    assert list(fits["zero"].persistence["estimate"]) == [0.0] * 3
    assert (fits["zero"].persistence["reason"] == "fixed").all()
    with pytest.raises(SpecificationError, match="no estimated persistence"):
        plot_persistence(fits["zero"])


def test_no_teacher_variance_leaves_persistence_undefined():
    found = []
    for seed in range(6):
        made = simulate_classrooms(300, teacher_sd=0.0, random_state=seed)
        results = PersistenceModel("score ~ prior_score").fit(made.rows, made.links)
        assert results.convergence.converged
        zero = results.variance_components["variance"][:3].to_numpy() == 0
        idle = dict(zip([2023, 2024, 2025], zero, strict=True))
        for row in results.persistence.itertuples():
            assert (row.reason == "no_teacher_variance") == idle[row.earlier_year]
            assert np.isnan(row.estimate) == idle[row.earlier_year]
        assert results.convergence.singular == zero.any()
        found.append(zero.any())
    assert any(found)


def test_missing_links_follow_the_rule(classrooms):
    pupil = classrooms.rows.loc[classrooms.rows["year"] == 2024, "pupil_key"].iloc[0]
    gone = (classrooms.links["pupil_key"] == pupil) & (classrooms.links["year"] == 2024)
    model = PersistenceModel(
        "score ~ prior_score", teachers=TeacherLinks(missing="no_teacher"), persistence="complete"
    )
    results = model.fit(classrooms.rows, classrooms.links[~gone])
    assert results.n_unlinked == 1
    assert results.glance()["n_unlinked"][0] == 1


def test_a_past_without_result_and_link_is_counted(classrooms):
    rows, links = classrooms.rows, classrooms.links
    late = rows.loc[rows["year"] == 2024, "pupil_key"].iloc[:7]
    rows = rows[~(rows["pupil_key"].isin(late) & (rows["year"] == 2023))]
    links = links[~(links["pupil_key"].isin(late) & (links["year"] == 2023))]
    results = PersistenceModel("score ~ prior_score").fit(rows, links)
    assert results.n_unknown_past == 7
    zero = PersistenceModel("score ~ prior_score", persistence="zero").fit(rows, links)
    assert zero.n_unknown_past == 0


def test_links_without_shares_are_equal(classrooms):
    equal = PersistenceModel("score ~ prior_score", teachers=TeacherLinks(share=None))
    shared = PersistenceModel("score ~ prior_score")
    links = classrooms.links
    # the simulated shares are one, or one half for each of two
    assert equal.fit(classrooms.rows, links).criterion == pytest.approx(
        shared.fit(classrooms.rows, links).criterion, abs=1e-9
    )


def test_order_of_rows_does_not_matter(classrooms):
    model = PersistenceModel("score ~ prior_score")
    one = model.fit(classrooms.rows, classrooms.links)
    other = model.fit(
        classrooms.rows.sample(frac=1, random_state=1),
        classrooms.links.sample(frac=1, random_state=2),
    )
    np.testing.assert_allclose(
        one.persistence["estimate"], other.persistence["estimate"], atol=1e-6
    )
    pd.testing.assert_frame_equal(
        one.teacher_effects[["teacher_id", "year"]], other.teacher_effects[["teacher_id", "year"]]
    )


def test_procedures_may_come_as_a_table(classrooms):
    rows = classrooms.rows.drop(columns=["exam", "marked_by"])
    procedures = pd.DataFrame(MARKS | {"exam": "РДР", "marked_by": "region"})
    results = PersistenceModel("score ~ prior_score").fit(
        rows, classrooms.links, procedures=procedures
    )
    assert results.n_rows == len(rows)


def test_augment_adds_effects_to_links(results, classrooms):
    links = classrooms.links.set_index(np.arange(len(classrooms.links))[::-1])
    found = results.augment(links)
    assert list(found.index) == list(links.index)
    effects = results.teacher_effects.set_index(["teacher_id", "year"])["teacher_effect"]
    expected = effects.loc[pd.MultiIndex.from_frame(links[["teacher_id", "year"]])]
    np.testing.assert_array_equal(found["teacher_effect"], expected)


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_plot_draws_every_pair(results, lang):
    ax = plot_persistence(results, lang=lang)
    assert len(ax.get_yticks()) == 3
    assert ax.get_yticklabels()[0].get_text() == "2024 ← 2023"


def test_simulated_truth_is_kept():
    made = simulate_classrooms(200, persistence=0.5, missing=0.4, random_state=3)
    assert (made.persistence[np.tril_indices(3, -1)] == 0.5).all()
    assert set(made.rows["pupil_key"]) == set(made.links["pupil_key"])
    sums = made.links.groupby(["pupil_key", "year"])["share"].sum()
    np.testing.assert_allclose(sums, 1.0)
    again = simulate_classrooms(200, persistence=0.5, missing=0.4, random_state=3)
    pd.testing.assert_frame_equal(made.rows, again.rows)
