"""The template: what stands in it, and that a filled-in one comes back as written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from resilience.data.schema import PASSPORT_SHARES, check_table
from resilience.data.template import write_template
from resilience.data.workbook import WorkbookContents, read_workbook
from resilience.data.workbook_layout import LEVELS, MEANINGS, SETTINGS, SHEETS, choices, choose
from resilience.errors import DataError


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_template(tmp_path_factory.mktemp("книга") / "пример.xlsx", example=True)


@pytest.fixture(scope="module")
def contents(example: Path) -> WorkbookContents:
    return read_workbook(example)


@pytest.fixture(scope="module")
def book(example: Path) -> Any:
    return load_workbook(example)


def test_the_example_runs_from_template_to_tables(contents: WorkbookContents) -> None:
    assert contents.source == "пример.xlsx"
    assert contents.warnings == ()
    assert contents.schools["school_id"].nunique() == 8
    assert contents.pupils is None
    for name in ("schools", "counts", "procedures"):
        check_table(name, getattr(contents, name))


def test_the_example_has_schools_of_five_pupils(contents: WorkbookContents) -> None:
    smallest = contents.counts.groupby("school_id")["n_participants"].max()
    assert smallest.min() == 5
    assert (smallest < 10).sum() == 3


def test_classes_are_summed(contents: WorkbookContents) -> None:
    cell = "school_id == '001' and procedure == 'ВПР-5-РУ' and year == 2024"
    classes, whole = contents.class_counts.query(cell), contents.counts.query(cell)
    assert classes["class_label"].tolist() == ["5А", "5Б"]
    columns = ["n_participants", "n_2", "n_3", "n_4", "n_5", "n_below_minimum"]
    assert whole[columns].iloc[0].tolist() == classes[columns].sum().tolist()
    # 52 pupils in two classes of 26, marks as printed on the sheet
    assert whole[columns].iloc[0].tolist() == [52, 7, 21, 17, 7, 7]


def test_ege_has_the_minimum_and_no_marks(contents: WorkbookContents) -> None:
    ege = contents.counts.query("procedure == 'ЕГЭ-РУ'")
    assert len(ege) == 10  # five schools with grade 11, two years
    assert ege[["n_2", "n_3", "n_4", "n_5"]].isna().all(axis=None)
    assert ege["n_below_minimum"].notna().all()


def test_numbers_of_the_passport_become_shares_with_their_base(contents: WorkbookContents) -> None:
    row = contents.passports.query(
        "school_id == '008' and year == 2026 and indicator == 'single_parent'"
    ).iloc[0]
    assert (row["n_counted"], row["counted_in"], row["n_base"]) == (12, "pupils", 44)
    school = contents.schools.query("school_id == '008' and year == 2026").iloc[0]
    assert school["single_parent"] == 12 / 44
    assert school["n_pupils"] == 44


def test_families_take_families_as_their_base(example: Path, tmp_path: Path) -> None:
    book = load_workbook(example)
    sheet = book["Социальные паспорта"]
    assert sheet["A3"].value == "001"
    sheet["D3"], sheet["E3"], sheet["G3"], sheet["L3"] = "семьях", 400, 100, None
    book.save(tmp_path / "a.xlsx")
    contents = read_workbook(tmp_path / "a.xlsx")
    first = contents.schools.query("school_id == '001' and year == 2024").iloc[0]
    assert first["single_parent"] == 100 / 400
    assert first["on_register"] != first["on_register"], "missing is not zero"
    assert first["disability_ovz"] == 35 / 572, "pupils keep the pupils as their base"
    assert "in families in 1 rows and in pupils in 23" in contents.warnings[0]


def test_settings_of_the_example(contents: WorkbookContents) -> None:
    settings = contents.settings
    assert (settings.connective, settings.index_method, settings.lang) == ("or", "policy", "ru")
    assert settings.as_of.isoformat() == "2026-05-31"
    assert settings.adversity_quantile == 0.25
    assert settings.procedures[:2] == ("ВПР-5-РУ", "ВПР-5-МА")
    assert settings.weights["single_parent"] == -0.5
    assert "large_family" not in settings.weights


def test_summer_examinations_are_dated_after_a_list_of_may(contents: WorkbookContents) -> None:
    dated = contents.procedures.set_index(["procedure", "year"])["available_from"]
    as_of = contents.settings.as_of.isoformat()
    assert dated["ОГЭ-РУ", 2026] > as_of > dated["ВПР-5-РУ", 2026]
    assert dated["ОГЭ-РУ", 2025] < as_of


def test_english_and_russian_templates_read_alike(
    contents: WorkbookContents, tmp_path: Path
) -> None:
    english = read_workbook(write_template(tmp_path / "a.xlsx", lang="en", example=True))
    assert english.settings.lang == "en"
    for name in ("counts", "class_counts", "passports", "procedures"):
        assert getattr(english, name).equals(getattr(contents, name)), name
    same = [c for c in contents.schools if c not in ("name", "municipality_id", "school_type")]
    assert english.schools[same].equals(contents.schools[same])


def test_the_same_template_has_the_same_bytes(example: Path, tmp_path: Path) -> None:
    again = write_template(tmp_path / "b.xlsx", example=True)
    assert again.read_bytes() == example.read_bytes()


def test_an_empty_template_says_all_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_workbook(write_template(tmp_path / "пустой.xlsx"))
    message = caught.value.localized("ru")
    assert "Школы: на листе нет заполненных строк" in message
    assert "Настройки!B5: не заполнен параметр «Условия А и Б" in message
    assert "найдено ошибок: 7" in message


def test_overwriting_must_be_asked_for(tmp_path: Path) -> None:
    path = write_template(tmp_path / "a.xlsx", years=(2030,))
    assert write_template(path, overwrite=True, years=(2031,)) == path
    sheet = load_workbook(path)["Процедуры"]
    assert {sheet.cell(i, 2).value for i in range(3, sheet.max_row + 1)} == {2031}


def test_every_sheet_has_a_frozen_head_explanations_and_colours(book: Any) -> None:
    assert book.sheetnames == ["Инструкция", "Школы", "Процедуры", "Отметки", "Социальные паспорта",
                               "Ученики", "Настройки", "Списки"]  # fmt: skip
    for form in SHEETS:
        sheet = book[form.title.ru]
        assert sheet.freeze_panes == "B3"
        assert sheet["A2"].value.startswith("↑")
        fills = [sheet.cell(1, j).fill.fgColor.rgb for j in range(1, len(form.columns) + 1)]
        required = {f for f, c in zip(fills, form.columns, strict=True) if c.required}
        optional = {f for f, c in zip(fills, form.columns, strict=True) if not c.required}
        assert len(required) == 1
        assert not required & optional


def test_lists_stand_behind_the_cells(book: Any) -> None:
    checks = {}
    for title in ("Школы", "Отметки", "Социальные паспорта", "Настройки"):
        for check in book[title].data_validations.dataValidation:
            if check.type == "list":
                checks[f"{title}!{str(check.sqref).split(':')[0]}"] = check.formula1
    assert set(checks) == {
        "Школы!D3", "Школы!E3", "Школы!F3", "Школы!G3", "Школы!H3", "Отметки!A3", "Отметки!B3",
        "Социальные паспорта!A3", "Социальные паспорта!D3",
        "Настройки!B4", "Настройки!B5", "Настройки!B7",
    }  # fmt: skip
    assert checks["Школы!E3"] == "='Списки'!$A$2:$A$3"
    assert [book["Списки"][f"A{i}"].value for i in (2, 3)] == ["да", "нет"]
    assert checks["Отметки!A3"].startswith("='Школы'!$A$3")


def test_codes_typed_into_empty_cells_stay_text(book: Any) -> None:
    for title, letter in (("Школы", "A"), ("Отметки", "A"), ("Социальные паспорта", "A")):
        assert book[title].column_dimensions[letter].number_format == "@"


def test_header_with_a_trailing_nbsp_and_moved_columns(example: Path, tmp_path: Path) -> None:
    book = load_workbook(example)
    sheet = book["Школы"]
    sheet["A1"] = "Код школы\u00a0"
    sheet.insert_rows(1, 2)
    sheet["A1"] = "Сведения о школах района"
    book["Отметки"].title = "Лист1"
    book["Отметки" if "Отметки" in book.sheetnames else "Лист1"].move_range("A1:J400", cols=1)
    book.create_sheet("Черновик")["A1"] = "заметки"
    book.save(tmp_path / "a.xlsx")
    contents = read_workbook(tmp_path / "a.xlsx")
    assert contents.schools["school_id"].nunique() == 8
    said = [w.ru for w in contents.warnings]
    assert "лист «Лист1» прочитан как «Отметки» — по заголовкам" in said
    assert "лист «Черновик» не входит в форму книги и не прочитан" in said


def test_pupils_may_be_given_without_marks(example: Path, tmp_path: Path) -> None:
    book = load_workbook(example)
    book.remove(book["Отметки"])
    book["Ученики"].append(["p1", "001", 2026, "РУ", "21,5", None, None])
    book["Ученики"].append(["p1", "001", 2026, "МА", 14, None, None])
    book.save(tmp_path / "a.xlsx")
    contents = read_workbook(tmp_path / "a.xlsx")
    assert len(contents.counts) == 0
    assert contents.settings.procedures == ()
    assert contents.pupils is not None
    assert contents.pupils["score"].tolist() == [21.5, 14.0]
    assert contents.pupils["municipality_id"].tolist() == ["Город Ясный"] * 2
    check_table("pupils", contents.pupils)


def test_choices_mean_the_same_in_both_languages() -> None:
    for name, meanings in MEANINGS.items():
        for lang in ("en", "ru"):
            assert [choose(name, c) for c in choices(name, lang)] == list(meanings)
    assert len(choices("school_types", "en")) == len(choices("school_types", "ru"))
    assert choices("levels", "ru") == LEVELS
    assert [s.name for s in SETTINGS][-len(PASSPORT_SHARES) :] == [
        f"weight_{name}" for name in PASSPORT_SHARES
    ]
