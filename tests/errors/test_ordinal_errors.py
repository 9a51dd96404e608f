"""What a wrong call of the model of marks gets: place, rule, value and way out, both languages.

The reader's own errors stand in test_mark_cells_errors; here the issue's list surfaces through fit.
"""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.value_added.marks.ordinal import Cohort, MarkParts, OrdinalSchoolModel

MARKS = ["n_2", "n_3", "n_4", "n_5"]


def table(n_schools: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for school in range(n_schools):
        for year in (2023, 2024):
            for procedure in ("ВПР-5-МА", "ОГЭ-РУ"):
                p = rng.dirichlet([3.0, 8.0, 8.0, 4.0])
                rows.append((f"S{school:02d}", year, procedure, *rng.multinomial(20, p)))
    frame = pd.DataFrame(rows, columns=["school_id", "year", "procedure", *MARKS])
    frame["n_participants"] = 20
    frame["low_income"] = rng.normal(size=n_schools)[np.arange(len(frame)) // 4]
    return frame


def changed(row: int, **values: object) -> pd.DataFrame:
    frame = table()
    for column, value in values.items():
        if not isinstance(value, int | str):
            frame[column] = frame[column].astype(float)
        frame.loc[row, column] = value
    return frame


def only(**values: object) -> pd.DataFrame:
    frame = table()
    for column, value in values.items():
        frame = frame[frame[column] == value]
    return frame


def says(error: pytest.ExceptionInfo, english: list[str], russian: list[str]) -> None:
    words = error.value.args[0]
    for part in english:
        assert re.search(part, str(words)), (part, str(words))
    for part in russian:
        assert re.search(part, words.ru), (part, words.ru)


SPECIFICATIONS = {
    "correlation of one": (
        lambda: Cohort(column="year", correlation=1.0),
        [r"Cohort\.correlation", "1", r"less than 1"],
        [r"Cohort\.correlation", "меньше 1"],
    ),
    "correlation above one": (
        lambda: Cohort(column="year", correlation=1.3),
        [r"Cohort\.correlation", r"1\.3"],
        [r"Cohort\.correlation", r"1[.,]3"],
    ),
    "negative correlation": (
        lambda: Cohort(column="year", correlation=-0.1),
        [r"Cohort\.correlation", r"-0\.1"],
        [r"Cohort\.correlation"],
    ),
    "two sides": (
        lambda: OrdinalSchoolModel("n_2 ~ low_income").fit(table()),
        ["n_2 ~ low_income", "left-hand side", "right-hand side alone"],
        ["левая часть", "правую часть"],
    ),
    "covariate of the procedure": (
        lambda: OrdinalSchoolModel("~ hard").fit(
            table().assign(hard=lambda d: (d["procedure"] == "ОГЭ-РУ") * 1.0)
        ),
        ["'hard'", "thresholds are free", "leave them out"],
        ["'hard'", "пороги", "уберите"],
    ),
    "covariate of the year": (
        lambda: OrdinalSchoolModel("~ low_income + since").fit(
            table().assign(since=lambda d: d["year"] - 2020.0)
        ),
        ["'since'", "thresholds are free"],
        ["'since'", "пороги"],
    ),
    "year as a category": (
        lambda: OrdinalSchoolModel("~ C(year)").fit(table()),
        ["year", "thresholds are free"],
        ["year", "пороги"],
    ),
    "a covariate twice": (
        lambda: OrdinalSchoolModel("~ low_income + again").fit(
            table().assign(again=lambda d: 2.0 * d["low_income"] + 1.0)
        ),
        ["again", "leave them out"],
        ["again", "уберите"],
    ),
    "one value": (
        lambda: OrdinalSchoolModel("~ same").fit(table().assign(same=3.0)),
        ["'same'", "constant there"],
        ["'same'", "постоянны"],
    ),
    "year part in one year": (
        lambda: OrdinalSchoolModel(parts=MarkParts(year=True)).fit(only(year=2023)),
        [r"MarkParts\(year=True\)", "no school has two years", "leave it out"],
        [r"MarkParts\(year=True\)", "двух лет", "уберите"],
    ),
    "year part without years": (
        lambda: OrdinalSchoolModel(time=None, parts=MarkParts(year=True)).fit(only(year=2023)),
        [r"time is not set"],
        [r"не задан time"],
    ),
    "procedure part in one procedure": (
        lambda: OrdinalSchoolModel(parts=MarkParts(procedure=True)).fit(only(procedure="ОГЭ-РУ")),
        [r"MarkParts\(procedure=True\)", "no school has two procedures", "leave it out"],
        [r"MarkParts\(procedure=True\)", "двух процедур", "уберите"],
    ),
    "cell part in one procedure": (
        lambda: OrdinalSchoolModel(parts=MarkParts(cell=True)).fit(only(procedure="ОГЭ-РУ")),
        [r"MarkParts\(cell=True\)", "two years", "two procedures"],
        [r"MarkParts\(cell=True\)", "двух лет", "двух процедур"],
    ),
    "method": (
        lambda: OrdinalSchoolModel().fit(table(), method="bayes"),
        ["bayes", "reml"],
        ["bayes", "reml"],
    ),
    "share without participants": (
        lambda: OrdinalSchoolModel(marks="n_2").fit(table()),
        ["n_2", "participants"],
        ["n_2", "participants"],
    ),
    "a mark outside the scale": (
        lambda: OrdinalSchoolModel(marks=("n_1", *MARKS)).fit(table().assign(n_1=0)),
        ["n_1", "2 to 5"],
        ["n_1"],
    ),
}

DATA = {
    "one school": (
        lambda: OrdinalSchoolModel().fit(only(school_id="S03")),
        ["school_id", "1"],
        ["school_id"],
    ),
    "counts that do not sum": (
        lambda: OrdinalSchoolModel(participants="n_participants").fit(
            changed(5, n_participants=21)
        ),
        ["S01", "21", "20"],
        ["S01", "21"],
    ),
    "negative": (
        lambda: OrdinalSchoolModel().fit(changed(5, n_3=-2)),
        ["S01", "n_3", "-2"],
        ["S01", "n_3"],
    ),
    "fraction": (
        lambda: OrdinalSchoolModel().fit(changed(5, n_3=2.5)),
        ["S01", "n_3", r"2\.5"],
        ["S01", "n_3"],
    ),
    "per cents": (
        lambda: OrdinalSchoolModel().fit(
            table().assign(**{m: lambda d, m=m: d[m] * 5.0 + 0.1 for m in MARKS})
        ),
        ["per cent|fraction|whole"],
        ["процент|дроб|цел"],
    ),
    "one mark in the region": (
        lambda: OrdinalSchoolModel().fit(
            table().assign(
                **{
                    m: lambda d, m=m: d[m].where(d["procedure"] != "ОГЭ-РУ", 20 * (m == "n_4"))
                    for m in MARKS
                }
            )
        ),
        ["ОГЭ-РУ", "2023", "4"],
        ["ОГЭ-РУ", "2023"],
    ),
    "a school without pupils": (
        lambda: OrdinalSchoolModel().fit(
            table().assign(
                **{m: lambda d, m=m: d[m].where(d["school_id"] != "S07", 0) for m in MARKS}
            )
        ),
        ["S07"],
        ["S07"],
    ),
    "a year twice": (
        lambda: OrdinalSchoolModel().fit(pd.concat([table(), table().iloc[[6]]])),
        ["S01", "2024", "2"],
        ["S01", "2024"],
    ),
    "no such column": (
        lambda: OrdinalSchoolModel("~ lowincome").fit(table()),
        ["lowincome"],
        ["lowincome"],
    ),
    "no such cohort": (
        lambda: OrdinalSchoolModel(cohort=Cohort(column="born")).fit(table()),
        ["born"],
        ["born"],
    ),
    "a gap in a covariate": (
        lambda: OrdinalSchoolModel("~ low_income").fit(changed(4, low_income=np.nan)),
        ["low_income"],
        ["low_income"],
    ),
}


@pytest.mark.parametrize("case", list(SPECIFICATIONS))
def test_specifications(case):
    call, english, russian = SPECIFICATIONS[case]
    with pytest.raises(SpecificationError) as error:
        call()
    says(error, english, russian)


@pytest.mark.parametrize("case", list(DATA))
def test_data(case):
    call, english, russian = DATA[case]
    with pytest.raises(DataError) as error:
        call()
    says(error, english, russian)


def test_few_schools_warn():
    with pytest.warns(WeakDataWarning, match="8") as caught:
        OrdinalSchoolModel(parts=MarkParts(procedure=False, cell=False)).fit(table(8))
    assert any("school_id" in str(w.message) for w in caught)


def test_the_bounds_of_the_correlation_are_legal():
    for value in (0.0, 0.99):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeakDataWarning)
            found = OrdinalSchoolModel(cohort=Cohort(column="year", correlation=value)).fit(table())
        assert found.correlation == value
        assert np.isfinite(found.school_effects["std_error"]).all()
