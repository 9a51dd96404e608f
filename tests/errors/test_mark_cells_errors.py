"""What bad tables of marks get: place, rule, value and way out, in both languages.

Each entry names the words that the English message must hold (place, value seen, way out) and what
the Russian one must name.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from resilience.data.mark_cells import read_mark_cells
from resilience.errors import DataError, SpecificationError, WeakDataWarning

MARKS = ["n_2", "n_3", "n_4", "n_5"]


def table():
    """Return three schools by two years by two procedures; participants 10 to 21."""
    rows = [
        (f"S{school}", year, procedure)
        for school in (1, 2, 3)
        for year in (2023, 2024)
        for procedure in ("ВПР-5-МА", "ОГЭ-РУ")
    ]
    frame = pd.DataFrame(rows, columns=["school_id", "year", "procedure"])
    k = np.arange(len(frame))
    frame = frame.assign(n_2=k % 3, n_3=3, n_4=4, n_5=3 + k - k % 3)
    return frame.assign(n_participants=10 + k, low_income=0.2, cohort="2015")


def changed(row, **values):
    """Return the table with cells of one row overwritten."""
    frame = table()
    for column, value in values.items():
        if not isinstance(value, int | str):
            frame[column] = frame[column].astype(float)
        frame.loc[row, column] = value
    return frame


def read(frame=None, **options):
    return read_mark_cells(table() if frame is None else frame, **options)


def checked(frame=None, **options):
    return read(frame, participants="n_participants", **options)


def share(frame=None, **options):
    return checked(frame, marks="n_2", **options)


def with_means(row, mean, variance, *, counts=None, participants=None):
    """Return the table where one row holds a mean, and counts only if given."""
    frame = table().assign(mean_score=np.nan, sampling_variance=np.nan)
    frame[[*MARKS, "n_participants"]] = frame[[*MARKS, "n_participants"]].astype(float)
    frame.loc[row, ["mean_score", "sampling_variance"]] = [mean, variance]
    frame.loc[row, MARKS] = np.nan if counts is None else counts
    if participants is not None:
        frame.loc[row, "n_participants"] = participants
    return frame


def mixed(frame, **options):
    return read(frame, means=("mean_score", "sampling_variance"), **options)


def classes():
    """Return the table with every row split into two classes of equal counts."""
    frame = pd.concat([table().assign(class_label=c) for c in ("а", "б")], ignore_index=True)
    return frame.assign(hours=5)


def by_class(frame, **options):
    return read(frame, classes="class_label", **options)


def tenths(factor):
    """Return the table as per cents (100) or shares (1) of participants, in one decimal more."""
    frame = table()
    parts = frame[MARKS].div(frame["n_participants"], axis=0).mul(factor)
    return frame.assign(**parts.round(1 if factor == 100 else 3))


def whole_per_cents():
    """Return the table in whole per cents that sum to 100, participants as they were."""
    return table().assign(n_2=10, n_3=20, n_4=30, n_5=40)


def rounded_per_cents():
    """Return the table in per cents rounded one by one: they sum to 99."""
    return table().assign(n_2=0, n_3=33, n_4=33, n_5=33)


def both_twice():
    frame = classes().assign(mean_score=np.nan, sampling_variance=np.nan)
    frame[MARKS] = frame[MARKS].astype(float)
    frame.loc[1, MARKS] = np.nan
    frame.loc[1, ["mean_score", "sampling_variance"]] = [0.1, 0.02]
    return frame


def one_mark_in_2024():
    frame = table()
    here = (frame["year"] == 2024) & (frame["procedure"] == "ОГЭ-РУ")
    frame.loc[here, MARKS] = [0, 7, 0, 0]
    return frame


def nobody_below_in_2024():
    frame = table()
    frame.loc[(frame["year"] == 2024) & (frame["procedure"] == "ОГЭ-РУ"), "n_2"] = 0
    return frame


def nobody_in_2024():
    frame = table()
    frame.loc[(frame["year"] == 2024) & (frame["procedure"] == "ОГЭ-РУ"), MARKS] = 0
    return frame


def empty_school():
    frame = table()
    frame.loc[frame["school_id"] == "S2", MARKS] = 0
    return frame


FIFTH = "school S2, year 2023, procedure ОГЭ-РУ"  # row 5: 15 participants
FIFTH_RU = "школа S2, год 2023, процедура ОГЭ-РУ"

# name: (what is done, error, words of the English message, words of the Russian one)
CASES = {
    "marks that do not sum to participants": (
        lambda: checked(changed(5, n_4=7)),
        DataError,
        [FIFTH, "marks sum to 18", "15 participants", "1 such row", "correct the counts"],
        [FIFTH_RU, "18", "15", "исправьте"],
    ),
    "negative count": (
        lambda: read(changed(5, n_3=-3)),
        DataError,
        ["column 'n_3'", "-3", FIFTH, "at least 0", "correct it"],
        ["'n_3'", "-3", FIFTH_RU],
    ),
    "negative participants": (
        lambda: checked(changed(5, n_participants=-15)),
        DataError,
        ["column 'n_participants'", "-15", FIFTH],
        ["'n_participants'", FIFTH_RU],
    ),
    "fractional count": (
        lambda: read(changed(5, n_3=2.5)),
        DataError,
        ["column 'n_3'", "2.5", FIFTH, "not a whole number", "give counts, not per cents"],
        ["'n_3'", "2.5", "не целое"],
    ),
    "fractional participants": (
        lambda: checked(changed(5, n_participants=15.2)),
        DataError,
        ["column 'n_participants'", "15.2", "not a whole number"],
        ["'n_participants'", "15.2"],
    ),
    "per cents with a decimal": (
        lambda: read(tenths(100)),
        DataError,
        ["'n_2', 'n_3', 'n_4', 'n_5'", "per cents or shares", "sum to 100", "share × participants"],
        ["проценты или доли", "'n_2'", "число учеников"],
    ),
    "shares of one": (
        lambda: checked(tenths(1)),
        DataError,
        ["per cents or shares", "sum to 1,", "numbers of pupils"],
        ["проценты или доли", "равна 1,"],
    ),
    "whole per cents": (
        lambda: checked(whole_per_cents()),
        DataError,
        ["per cents or shares", "sum to 100", "school S1, year 2023", "numbers of pupils"],
        ["проценты или доли", "школа S1"],
    ),
    "whole per cents that sum to 99": (
        lambda: checked(rounded_per_cents()),
        DataError,
        ["per cents or shares", "sum to 99"],
        ["проценты или доли"],
    ),
    "a share in a single column": (
        lambda: share(table().assign(n_2=0.25)),
        DataError,
        ["column 'n_2' holds shares", "0.25", "numbers of pupils"],
        ["'n_2'", "доли", "0.25"],
    ),
    "per cents in a single column": (
        lambda: share(changed(5, n_2=33)),
        DataError,
        [FIFTH, "'n_2' counts 33 pupils out of 15", "not per cents"],
        [FIFTH_RU, "33", "15", "не проценты"],
    ),
    "fractional per cents in a single column": (
        lambda: share(table().assign(n_2=33.3)),
        DataError,
        ["'n_2'", "33.3", "not a whole number", "not per cents"],
        ["'n_2'", "33.3"],
    ),
    "a mark below the scale asked for": (
        lambda: read(table().assign(n_1=1), marks=["n_1", *MARKS]),
        SpecificationError,
        ["'n_1'", "from 2 to 5", "leave the column out"],
        ["'n_1'", "от 2 до 5"],
    ),
    "a mark above the scale asked for": (
        lambda: read(table().assign(n_6=0), marks=[*MARKS, "n_6"]),
        SpecificationError,
        ["'n_6'", "from 2 to 5"],
        ["'n_6'"],
    ),
    "a single mark outside the scale": (
        lambda: read(marks="n_1", participants="n_participants"),
        SpecificationError,
        ["'n_1'", "from 2 to 5"],
        ["'n_1'"],
    ),
    "a mark outside the scale in the table": (
        lambda: read(table().assign(n_1=[0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0])),
        DataError,
        ["column 'n_1' holds 3 mark(s)", FIFTH, "from 2 to 5", "correct the table"],
        ["'n_1'", FIFTH_RU],
    ),
    "a mark left out": (
        lambda: read(marks=MARKS[1:]),
        DataError,
        ["column 'n_2' holds 12 mark(s)", "not among marks='n_3', 'n_4', 'n_5'", "name the column"],
        ["'n_2'", "назовите"],
    ),
    "marks from the highest down": (
        lambda: read(marks=MARKS[::-1]),
        SpecificationError,
        ["'n_5', 'n_4', 'n_3', 'n_2'", "not in ascending order", "'n_2', 'n_3', 'n_4', 'n_5'"],
        ["не по возрастанию"],
    ),
    "a mark named twice": (
        lambda: read(marks=["n_2", "n_3", "n_3", "n_5"]),
        SpecificationError,
        ["'n_3' is named twice", "marks, marks", "column of its own"],
        ["'n_3'", "дважды"],
    ),
    "one column for two parts": (
        lambda: read(marks=MARKS, participants="n_5"),
        SpecificationError,
        ["'n_5' is named twice", "marks, participants"],
        ["'n_5'"],
    ),
    "no mark": (
        lambda: read(marks=[]),
        SpecificationError,
        ["marks= names no column", "lowest mark first"],
        ["marks="],
    ),
    "a share without participants": (
        lambda: read(marks="n_2"),
        SpecificationError,
        ["single column 'n_2'", "set participants="],
        ["'n_2'", "participants="],
    ),
    "a procedure with one mark in the region": (
        lambda: read(one_mark_in_2024()),
        DataError,
        [
            "year 2024, procedure ОГЭ-РУ",
            "all 21 pupils",
            "the same mark (3)",
            "drop this procedure",
        ],
        ["год 2024, процедура ОГЭ-РУ", "21", "(3)"],
    ),
    "a share of nobody in the region": (
        lambda: share(nobody_below_in_2024()),
        DataError,
        ["year 2024, procedure ОГЭ-РУ", "0 of all 51 pupils", "'n_2'", "drop this procedure"],
        ["год 2024, процедура ОГЭ-РУ", "51", "'n_2'"],
    ),
    "a procedure that nobody sat": (
        lambda: read(nobody_in_2024()),
        DataError,
        ["year 2024, procedure ОГЭ-РУ", "0 pupils in 3 school(s)", "drop these rows"],
        ["год 2024, процедура ОГЭ-РУ", "школ: 3"],
    ),
    "one mark, no year and no procedure named": (
        lambda: read(
            one_mark_in_2024().query("year == 2024 and procedure == 'ОГЭ-РУ'"),
            time=None,
            procedure=None,
        ),
        DataError,
        ["whole region: all 21 pupils"],
        ["весь регион"],
    ),
    "a school without pupils": (
        lambda: read(empty_school()),
        DataError,
        ["1 school(s) without a single pupil", ": S2;", "drop them or supply their data"],
        ["без единого ученика", "S2"],
    ),
    "a gap in one of the counts": (
        lambda: read(changed(5, n_4=np.nan)),
        DataError,
        [FIFTH, "'n_4' is missing", "write 0 where nobody has the mark"],
        [FIFTH_RU, "'n_4'", "впишите 0"],
    ),
    "an infinite count": (
        lambda: read(changed(5, n_4=np.inf)),
        DataError,
        [FIFTH, "'n_4' is missing or infinite"],
        [FIFTH_RU, "'n_4'"],
    ),
    "a gap in the participants": (
        lambda: checked(changed(5, n_participants=np.nan)),
        DataError,
        [FIFTH, "'n_participants' (participants) is missing", "supply the number"],
        [FIFTH_RU, "'n_participants'"],
    ),
    "no school": (
        lambda: read(table().assign(school_id=lambda f: f["school_id"].where(f.index != 5))),
        DataError,
        ["'school_id' is missing in 1 row(s)", "row 5", "fill them in or drop"],
        ["'school_id'", "строка 5"],
    ),
    "no year": (
        lambda: read(changed(5, year=np.nan)),
        DataError,
        ["'year' is missing", "row 5"],
        ["'year'"],
    ),
    "no procedure": (
        lambda: read(table().assign(procedure=lambda f: f["procedure"].where(f.index != 5))),
        DataError,
        ["'procedure' is missing", "row 5"],
        ["'procedure'"],
    ),
    "a variance of zero": (
        lambda: mixed(with_means(5, 0.3, 0.0)),
        DataError,
        [FIFTH, "'sampling_variance' is 0", "finite variance above 0", "squared standard error"],
        [FIFTH_RU, "'sampling_variance'", "больше 0"],
    ),
    "a mean without variance": (
        lambda: mixed(with_means(5, 0.3, np.nan)),
        DataError,
        [FIFTH, "'sampling_variance' is nan"],
        [FIFTH_RU],
    ),
    "an infinite variance": (
        lambda: mixed(with_means(5, 0.3, np.inf)),
        DataError,
        [FIFTH, "'sampling_variance' is inf"],
        [FIFTH_RU],
    ),
    "a variance without mean": (
        lambda: mixed(with_means(5, np.nan, 0.02)),
        DataError,
        [FIFTH, "'sampling_variance' is filled in but the mean in column 'mean_score'"],
        [FIFTH_RU, "'mean_score'"],
    ),
    "a mean of nobody": (
        lambda: mixed(with_means(5, 0.3, 0.02, participants=0), participants="n_participants"),
        DataError,
        [FIFTH, "'n_participants' says 0 participants", "at least one pupil"],
        [FIFTH_RU, "0"],
    ),
    "counts and a mean in one row": (
        lambda: mixed(with_means(5, 0.3, 0.02, counts=[1, 2, 3, 4])),
        DataError,
        [FIFTH, "both counts of marks and a mean", "leave the counts or the mean empty"],
        [FIFTH_RU, "учлись бы дважды"],
    ),
    "neither counts nor a mean": (
        lambda: mixed(with_means(5, np.nan, np.nan)),
        DataError,
        [FIFTH, "no mark is counted and no mean is given", "supply the counts or drop the row"],
        [FIFTH_RU, "удалите строку"],
    ),
    "an empty row without means": (
        lambda: read(with_means(5, np.nan, np.nan)),
        DataError,
        [FIFTH, "no mark is counted"],
        [FIFTH_RU],
    ),
    "a year twice": (
        lambda: read(pd.concat([table(), table().iloc[[5]]])),
        DataError,
        [FIFTH, "stands in 2 rows", "add them up (classes="],
        [FIFTH_RU, "строк 2", "classes="],
    ),
    "a class twice": (
        lambda: by_class(pd.concat([classes(), classes().iloc[[5]]])),
        DataError,
        [FIFTH, "class а stands in 2 rows", "column 'class_label'"],
        [FIFTH_RU, "класс а", "'class_label'"],
    ),
    "no class": (
        lambda: by_class(
            classes().assign(class_label=lambda f: f["class_label"].where(f.index != 5))
        ),
        DataError,
        [FIFTH, "'class_label' (class) is missing", "name the class or drop the row"],
        [FIFTH_RU, "'class_label'"],
    ),
    "counts of one class and a mean": (
        lambda: by_class(both_twice(), means=("mean_score", "sampling_variance")),
        DataError,
        [
            "school S1, year 2023, procedure ОГЭ-РУ",
            "1 of 2 rows hold a mean",
            "keep the counts or one mean",
        ],
        ["школа S1", "одно среднее"],
    ),
    "a covariate missing": (
        lambda: read(changed(5, low_income=np.nan), covariates=["low_income"]),
        DataError,
        ["'low_income' is missing or infinite in 1 row(s)", FIFTH, "supply the value"],
        ["'low_income'", FIFTH_RU],
    ),
    "a covariate infinite": (
        lambda: read(changed(5, low_income=-np.inf), covariates=["low_income"]),
        DataError,
        ["'low_income' is missing or infinite", FIFTH],
        ["'low_income'"],
    ),
    "a covariate that differs between classes": (
        lambda: by_class(
            classes().assign(hours=lambda f: f["hours"].where(f.index != 5, 6)),
            covariates=["hours"],
        ),
        DataError,
        ["'hours' differs between the classes of " + FIFTH, "6, 5", "1 such cell", "average it"],
        ["'hours'", FIFTH_RU, "6, 5"],
    ),
    "a cohort missing": (
        lambda: read(
            table().assign(cohort=lambda f: f["cohort"].where(f.index != 5)), cohort="cohort"
        ),
        DataError,
        ["'cohort' is missing", FIFTH],
        ["'cohort'", FIFTH_RU],
    ),
    "no such cohort column": (
        lambda: read(cohort="cohrt"),
        DataError,
        ["no column 'cohrt'", "cohort", "rename"],
        ["'cohrt'"],
    ),
    "no such covariate": (
        lambda: read(covariates=["low_incme"]),
        DataError,
        ["no column 'low_incme'", "low_income"],
        ["'low_incme'"],
    ),
    "no such mark": (
        lambda: read(table().drop(columns="n_4")),
        DataError,
        ["no column 'n_4'", "nearest names"],
        ["'n_4'"],
    ),
    "text among the counts": (
        lambda: read(table().assign(n_3=["3"] * 11 + ["три"])),
        DataError,
        ["column 'n_3' must be numeric", "convert it"],
        ["'n_3'", "числовым"],
    ),
    "flags for counts": (
        lambda: read(table().assign(n_2=True)),
        DataError,
        ["column 'n_2' must be numeric but is bool"],
        ["'n_2'"],
    ),
    "text as a mean": (
        lambda: mixed(table().assign(mean_score="0,3", sampling_variance=0.1)),
        DataError,
        ["column 'mean_score' must be numeric"],
        ["'mean_score'"],
    ),
    "an empty table": (
        lambda: read(table().head(0)),
        DataError,
        ["table data is empty (0 rows)", "supply at least one row"],
        ["пуста"],
    ),
}


def test_the_table_itself_is_good():
    # otherwise every case below could fail for the wrong reason
    assert checked(cohort="cohort", covariates=["low_income"]).n_cells == 12
    assert share().n_cells == 12
    assert by_class(classes(), covariates=["hours"]).n_cells == 12
    assert mixed(with_means(5, 0.3, 0.02), participants="n_participants").n_cells == 12


@pytest.mark.parametrize("name", CASES)
def test_bad_marks_are_named_and_answered(name):
    action, kind, words, russian_words = CASES[name]
    with pytest.raises(kind) as caught:
        action()
    english, russian = str(caught.value), caught.value.localized("ru")
    for word in words:
        assert word in english
    for word in russian_words:
        assert word in russian
    assert re.search("[а-яё]{3}", russian)
    assert "{" not in english + russian  # every placeholder was filled
    assert ";" in english  # rule and way out are two clauses
    assert ";" in russian


def test_only_the_first_of_many_is_shown_and_the_rest_counted():
    with pytest.raises(DataError, match=r"school S1, year 2023, procedure ВПР-5-МА.*12 such row"):
        checked(table().assign(n_3=4))


def test_five_empty_schools_are_listed_and_the_rest_counted():
    empty = table().head(1).assign(n_2=0, n_3=0, n_4=0, n_5=0)
    frame = pd.concat([table(), *[empty.assign(school_id=f"T{k}") for k in range(7)]])
    with pytest.raises(DataError, match=r"7 school\(s\).*T0, T1, T2, T3, T4, … \(\+2\)"):
        read(frame)


def test_a_school_without_procedure_column_is_named_without_procedure():
    frame = table().query("procedure == 'ОГЭ-РУ'")
    frame = frame.assign(n_3=frame["n_3"].where(frame["school_id"] != "S3", -1))
    with pytest.raises(DataError) as caught:
        read(frame, procedure=None)
    assert "-1 at school S3, year 2023 (2 such value(s))" in str(caught.value)


def test_pandas_nullable_integers_are_refused_like_numpy_ones():
    frame = table().astype(dict.fromkeys(MARKS, "Int64"))
    frame.loc[5, "n_4"] = pd.NA
    with pytest.raises(DataError, match="'n_4' is missing"):
        read(frame)


def test_counts_of_exactly_a_hundred_pupils_are_not_taken_for_per_cents():
    frame = whole_per_cents()
    assert (checked(frame.assign(n_participants=100)).n == 100).all()


@pytest.mark.parametrize("frame", [whole_per_cents(), rounded_per_cents()])
def test_sums_of_a_hundred_everywhere_warn_where_participants_are_not_named(frame):
    with pytest.warns(
        WeakDataWarning, match=r"sum to about 100 in every row.*participants="
    ) as seen:
        cells = read(frame)
    assert cells.n_cells == 12
    assert "как у процентов" in seen[0].message.localized("ru")
    # one school of another size, or four cells only, and there is nothing to suspect
    other = frame.assign(n_3=frame["n_3"].where(frame.index != 3, 50))
    assert read(other).n_cells == 12
    assert read(frame.query("school_id != 'S3' and year == 2023")).n_cells == 4


def test_one_wrong_sum_among_cells_of_a_hundred_is_a_wrong_sum():
    frame = whole_per_cents().assign(n_participants=100)
    frame.loc[5, "n_participants"] = 101
    with pytest.raises(DataError, match=r"marks sum to 100, .* 101 participants"):
        checked(frame)
