"""Cells of marks by hand: order, sums, what is kept, what is legal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.data.catalogue import load_dataset
from resilience.data.mark_cells import read_mark_cells

MARKS = ["n_2", "n_3", "n_4", "n_5"]


def table():
    """Return two schools, two years, two procedures, unsorted, one cell absent."""
    rows = [
        ("S2", 2024, "ОГЭ-РУ", 0, 4, 1, 0, "M1"),
        ("S1", 2024, "ОГЭ-РУ", 1, 2, 3, 4, "M2"),
        ("S1", 2023, "ОГЭ-РУ", 0, 1, 0, 2, "M2"),
        ("S2", 2023, "ВПР-5-МА", 2, 0, 0, 1, "M1"),
        ("S1", 2024, "ВПР-5-МА", 5, 0, 5, 0, "M2"),
        ("S1", 2023, "ВПР-5-МА", 1, 1, 1, 1, "M2"),
        ("S2", 2023, "ОГЭ-РУ", 3, 3, 3, 0, "M1"),
    ]
    columns = ["school_id", "year", "procedure", *MARKS, "municipality_id"]
    return pd.DataFrame(rows, columns=columns)


def test_cells_are_sorted_by_school_procedure_and_year():
    cells = read_mark_cells(table())
    assert cells.counts.tolist() == [
        [1, 1, 1, 1],
        [5, 0, 5, 0],
        [0, 1, 0, 2],
        [1, 2, 3, 4],
        [2, 0, 0, 1],
        [3, 3, 3, 0],
        [0, 4, 1, 0],
    ]
    assert cells.school_labels.tolist() == ["S1", "S2"]
    assert cells.procedure_labels.tolist() == ["ВПР-5-МА", "ОГЭ-РУ"]
    assert cells.year_labels.tolist() == [2023, 2024]
    assert cells.school.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert cells.procedure.tolist() == [0, 0, 1, 1, 0, 1, 1]
    assert cells.year.tolist() == [0, 1, 0, 1, 0, 0, 1]
    assert cells.n.tolist() == [4, 10, 3, 10, 3, 9, 5]
    assert cells.marks == ("2", "3", "4", "5")
    assert cells.n_cells == 7
    assert np.isnan(cells.mean).all()
    assert np.isnan(cells.variance).all()
    for codes in (cells.school, cells.procedure, cells.year):
        assert codes.dtype == np.int64


def test_the_frame_follows_the_cells_and_keeps_what_describes_them():
    cells = read_mark_cells(table())
    assert list(cells.frame) == ["school_id", "year", "procedure", "municipality_id"]
    assert (cells.frame["school_id"] == cells.school_labels[cells.school]).all()
    assert (cells.frame["year"] == cells.year_labels[cells.year]).all()
    assert (cells.frame["procedure"] == cells.procedure_labels[cells.procedure]).all()
    assert cells.frame["municipality_id"].tolist() == ["M2"] * 4 + ["M1"] * 3
    assert cells.frame.index.tolist() == list(range(7))


def test_the_order_of_rows_and_columns_does_not_matter():
    one = read_mark_cells(table())
    other = read_mark_cells(table().iloc[::-1, ::-1])
    assert (one.counts == other.counts).all()
    pd.testing.assert_frame_equal(one.frame, other.frame[list(one.frame)])


def test_the_input_is_left_alone():
    frame = table()
    read_mark_cells(frame)
    pd.testing.assert_frame_equal(frame, table())


def test_classes_of_one_cell_are_summed():
    half = table().assign(class_label="5а", head="Ivanova")
    other = table().assign(class_label="5б", head="Petrova", n_2=1, n_3=0, n_4=2, n_5=0)
    whole = read_mark_cells(pd.concat([half, other]), classes="class_label")
    one = read_mark_cells(table())
    assert (whole.counts == one.counts + np.array([1, 0, 2, 0])).all()
    assert (whole.n == one.n + 3).all()
    # heads differ within each cell, municipalities do not
    assert list(whole.frame) == ["school_id", "year", "procedure", "municipality_id"]


def test_participants_of_classes_are_compared_class_by_class():
    frame = table().assign(class_label="5а", sat=lambda f: f[MARKS].sum(axis=1))
    both = pd.concat([frame, frame.assign(class_label="5б")])
    cells = read_mark_cells(both, classes="class_label", participants="sat")
    assert cells.n.tolist() == [8, 20, 6, 20, 6, 18, 10]
    assert "sat" not in cells.frame


def test_a_constant_column_of_classes_may_be_a_gap():
    frame = table().assign(class_label="5а", note=np.nan)
    cells = read_mark_cells(
        pd.concat([frame, frame.assign(class_label="5б")]), classes="class_label"
    )
    assert cells.frame["note"].isna().all()


def test_a_share_has_two_categories():
    frame = table().assign(sat=lambda f: f[MARKS].sum(axis=1))
    cells = read_mark_cells(frame, marks="n_2", participants="sat")
    assert cells.marks == ("below", "not_below")
    assert cells.counts.tolist() == [[1, 3], [5, 5], [0, 3], [1, 9], [2, 1], [3, 6], [0, 5]]
    assert (cells.n == cells.counts.sum(axis=1)).all()


def test_a_mixture_holds_counts_or_means():
    frame = table().astype(dict.fromkeys(MARKS, float)).assign(mean=np.nan, var=np.nan, sat=7.0)
    frame["sat"] = frame[MARKS].sum(axis=1)
    vpr = frame["procedure"] == "ВПР-5-МА"
    frame.loc[vpr, MARKS] = np.nan
    frame.loc[vpr, "mean"] = [0.5, -0.25, 0.0]
    frame.loc[vpr, "var"] = [0.1, 0.2, 0.3]
    cells = read_mark_cells(frame, means=("mean", "var"), participants="sat")
    holds = ~np.isnan(cells.mean)
    assert holds.tolist() == [True, True, False, False, True, False, False]
    assert cells.mean[holds].tolist() == [0.0, -0.25, 0.5]
    assert cells.variance[holds].tolist() == [0.3, 0.2, 0.1]
    assert (np.isnan(cells.variance) == ~holds).all()
    assert not cells.counts[holds].any()
    assert cells.n.tolist() == [4, 10, 3, 10, 3, 9, 5]
    without = read_mark_cells(frame.drop(columns="sat"), means=("mean", "var"))
    assert (np.isnan(without.n) == holds).all()


def test_a_mean_needs_no_class():
    frame = (
        table().astype(dict.fromkeys(MARKS, float)).assign(class_label="5а", mean=np.nan, var=1.0)
    )
    frame["var"] = frame["var"].where(frame.index == 6)
    frame.loc[6, ["mean", *MARKS]] = [0.1, *[np.nan] * 4]
    frame["class_label"] = frame["class_label"].where(frame.index != 6)
    cells = read_mark_cells(frame, means=("mean", "var"), classes="class_label")
    assert cells.n_cells == 7


def test_a_region_of_means_only_is_legal():
    frame = table()[["school_id", "year", "procedure"]].assign(mean=0.1, var=0.2)
    frame = frame.assign(**dict.fromkeys(MARKS, np.nan))
    cells = read_mark_cells(frame, means=("mean", "var"))
    assert not cells.counts.any()
    assert (cells.mean == 0.1).all()


def test_no_year_and_no_procedure():
    frame = table().query("year == 2023 and procedure == 'ОГЭ-РУ'")
    cells = read_mark_cells(frame, time=None, procedure=None)
    assert cells.counts.tolist() == [[0, 1, 0, 2], [3, 3, 3, 0]]
    assert cells.year_labels.tolist() == cells.procedure_labels.tolist() == [None]
    assert not cells.year.any()
    assert not cells.procedure.any()
    # the columns that were not named stay as descriptions
    assert cells.frame["year"].tolist() == [2023, 2023]


# Legal though thin


def test_a_mark_that_a_procedure_never_gives_is_legal():
    frame = table()
    frame.loc[frame["procedure"] == "ВПР-5-МА", ["n_3", "n_4"]] = 0
    frame.loc[4, "n_5"] = 5
    assert read_mark_cells(frame).counts[:, 1:3].sum(axis=1).tolist() == [0, 0, 1, 5, 0, 6, 5]


def test_a_school_where_all_have_one_mark_is_legal():
    frame = table()
    frame.loc[frame["school_id"] == "S2", MARKS] = [0, 6, 0, 0]
    assert read_mark_cells(frame).n_cells == 7


def test_a_cell_without_pupils_is_legal_if_the_school_has_others():
    frame = table()
    frame.loc[6, MARKS] = 0
    cells = read_mark_cells(frame)
    assert cells.n_cells == 7
    assert cells.n[5] == 0


def test_counts_with_the_rounding_of_a_spreadsheet_become_whole():
    frame = table().astype(dict.fromkeys(MARKS, float))
    frame.loc[0, "n_3"] = 4 + 1e-9
    assert read_mark_cells(frame).counts[6].tolist() == [0, 4, 1, 0]


def test_other_categories_keep_the_names_of_their_columns():
    names = {"n_2": "basic", "n_3": "proficient", "n_4": "advanced"}
    frame = table().rename(columns=names).drop(columns="n_5")
    assert read_mark_cells(frame, marks=list(names.values())).marks == tuple(names.values())
    levels = {name: f"level_{k}" for k, name in enumerate(names.values())}
    cells = read_mark_cells(frame.rename(columns=levels), marks=list(levels.values()))
    assert cells.marks == ("level_0", "level_1", "level_2")


@pytest.mark.parametrize("kind", ["category", "object", "string"])
def test_the_type_of_the_key_does_not_matter(kind):
    frame = table().astype({"school_id": kind, "procedure": kind})
    cells = read_mark_cells(frame)
    assert cells.school_labels.tolist() == ["S1", "S2"]
    assert (cells.counts == read_mark_cells(table()).counts).all()


@pytest.mark.parametrize("kind", ["Int64", "float64", "int32"])
def test_the_type_of_the_counts_does_not_matter(kind):
    cells = read_mark_cells(table().astype(dict.fromkeys(MARKS, kind)))
    assert cells.counts.dtype == np.float64
    assert (cells.counts == read_mark_cells(table()).counts).all()


def test_codes_of_schools_may_mix_numbers_and_words():
    frame = table().assign(school_id=lambda f: f["school_id"].astype(object))
    frame["school_id"] = frame["school_id"].replace({"S1": 7}).infer_objects()
    assert read_mark_cells(frame).school_labels.tolist() == [7, "S2"]


def test_the_shipped_region_passes_and_loses_nobody():
    counts = load_dataset("north_region").counts
    cells = read_mark_cells(counts, participants="n_participants")
    assert cells.n_cells == len(counts)
    assert cells.counts.sum(axis=0).tolist() == counts[MARKS].sum().tolist()
    order = ["school_id", "procedure", "year"]
    expected = counts.sort_values(order)[MARKS].to_numpy()
    assert (cells.counts == expected).all()
