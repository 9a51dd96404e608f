"""Every bad workbook is refused with place, value, rule and way out, in both languages."""

from __future__ import annotations

import datetime as dt
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resilience.data.problems import MOST_SHOWN
from resilience.data.template import write_template
from resilience.data.workbook import WorkbookContents, read_workbook
from resilience.data.workbook_layout import SETTINGS, SHEETS, sheet_form
from resilience.errors import DataError, OutputError, SpecificationError

Rows = dict[str, list[dict[str, Any]]]

SETTING_VALUES = {
    "region": "Район",
    "as_of": dt.date(2026, 5, 31),
    "lang": "ru",
    "connective": "или",
    "procedures": "все",
    "index_method": "не рассчитывать",
}


def small_region() -> Rows:
    """Two schools, two procedures: everything in order."""
    schools = [
        {"school_id": code, "name": f"СОШ {code}", "municipality_id": place, "school_type": "СОШ",
         "is_rural": "да", "is_selective": "нет", "levels": "1-4, 5-9"}
        for code, place in (("007", "Север"), ("008", "Юг"))
    ]  # fmt: skip
    procedures = [
        {"procedure": "ВПР-5-РУ", "year": 2026, "available_from": "15.05.2026"},
        {"procedure": "ЕГЭ-РУ", "year": 2025, "available_from": "01.07.2025"},
    ]
    counts = [
        {"school_id": "007", "procedure": "ВПР-5-РУ", "class_label": "5А", "year": 2026,
         "n_participants": 10, "n_2": 3, "n_3": 4, "n_4": 2, "n_5": 1},
        {"school_id": "008", "procedure": "ВПР-5-РУ", "year": "2025-2026",
         "n_participants": 5, "n_2": 0, "n_3": 3, "n_4": 2, "n_5": 0},
        {"school_id": "008", "procedure": "ЕГЭ-РУ", "year": 2025,
         "n_participants": 4, "n_below_minimum": 1},
    ]  # fmt: skip
    passports = [
        {"school_id": "007", "year": 2026, "n_pupils": 100, "family_unit": "учениках",
         "single_parent": 20, "on_register": 0},
        {"school_id": "008", "year": 2026, "n_pupils": 45, "family_unit": "учениках",
         "single_parent": 10, "on_register": 2},
    ]  # fmt: skip
    return {"schools": schools, "procedures": procedures, "counts": counts, "passports": passports}


def write(
    path: Path, rows: Rows, settings: dict[str, Any], edit: Callable[[Any], None] | None
) -> Path:
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.active)
    for form in SHEETS:
        sheet = book.create_sheet(form.title.ru)
        for j, column in enumerate(form.columns, start=1):
            sheet.cell(1, j, form.header(column.name).ru)
        for i, row in enumerate(rows.get(form.name, []), start=2):
            for j, column in enumerate(form.columns, start=1):
                sheet.cell(i, j, row.get(column.name))
    sheet = book.create_sheet("Настройки")
    for i, setting in enumerate(SETTINGS, start=2):
        sheet.cell(i, 1, setting.title.ru)
        sheet.cell(i, 2, settings.get(setting.name))
    if edit is not None:
        edit(book)
    book.save(path)
    return path


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., WorkbookContents]:
    def run(
        rows: Rows | None = None,
        settings: dict[str, Any] | None = None,
        edit: Callable[[Any], None] | None = None,
        **options: bool,
    ) -> WorkbookContents:
        chosen = SETTING_VALUES | (settings or {})
        path = write(tmp_path / "район.xlsx", rows or small_region(), chosen, edit)
        return read_workbook(path, **options)

    return run


def refused(read: Callable[..., WorkbookContents], **how: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read(**how)
    message = caught.value.localized("ru")
    assert message != caught.value.localized("en"), "the message must exist in both languages"
    return caught.value


def test_the_small_region_is_in_order(read: Callable[..., WorkbookContents]) -> None:
    contents = read()
    assert len(contents.counts) == 3
    assert contents.warnings[-1].startswith("«Marks»") or contents.warnings  # ЕГЭ without grade 11


# (sheet, row, column, value) that is wrong; the cell and some words of the Russian message
CELLS = [
    ("counts", 0, "n_2", -3, "Отметки!F2", "«-3» — не целое неотрицательное"),
    ("counts", 0, "n_2", 2.5, "Отметки!F2", "«2.5» — не целое"),
    ("counts", 0, "n_3", "много", "Отметки!G2", "«много» — не число"),
    ("counts", 0, "n_2", 4, "Отметки!E2", "в сумме 11, а участников 10"),
    ("counts", 0, "n_2", None, "Отметки!E2", "дают 7 при числе участников 10"),
    ("counts", 0, "n_below_minimum", 11, "Отметки!J2", "минимум 11, а участников всего 10"),
    ("counts", 2, "n_below_minimum", None, "Отметки!J4", "для ЕГЭ-РУ не указано"),
    ("counts", 2, "n_participants", None, "Отметки!E4", "нет ни числа участников"),
    ("counts", 0, "procedure", "PISA-8-МА", "Отметки!B2", "неизвестный вид процедуры: «PISA"),
    ("counts", 0, "procedure", "ЕГЭ-МА", "Отметки!B2", "какая это математика"),
    ("counts", 0, "procedure", "ОГЭ-МА", "Отметки!B2", "нет на листе «Процедуры»"),
    ("counts", 0, "year", "2024-2026", "Отметки!D2", "больше одного учебного года"),
    ("counts", 0, "year", None, "Отметки!D2", "обязательное поле"),
    ("counts", 0, "school_id", "999", "Отметки!A2", "школы «999» нет на листе «Школы»"),
    ("counts", 0, "school_id", 7, "Отметки!A2", "есть 007"),
    ("counts", 0, "n_5", "#REF!", "Отметки!I2", "ошибка табличного редактора"),
    ("schools", 1, "school_id", "007", "Школы!C3", "в двух муниципалитетах: «Север» и «Юг»"),
    ("schools", 0, "is_rural", "может", "Школы!E2", "не «да» и не «нет»"),
    ("schools", 0, "remoteness_km", -5, "Школы!I2", "конечным числом не меньше 0"),
    ("schools", 0, "levels", "2-7", "Школы!H2", "уровни образования — «2-7»"),
    ("procedures", 0, "available_from", "весной", "Процедуры!C2", "«весной» — не дата"),
    ("procedures", 0, "available_from", "15.05.2025", "Процедуры!C2", "раньше начала учебного"),
    ("passports", 0, "single_parent", 140, "Социальные паспорта!G2", "140 больше базы (100"),
    ("passports", 0, "on_register", 0.35, "Социальные паспорта!L2", "не долю и не проценты"),
    ("passports", 0, "n_pupils", 0, "Социальные паспорта!C2", "в школе 0 учеников"),
    ("passports", 0, "family_unit", None, "Социальные паспорта!D2", "не указано, в чём"),
    ("passports", 0, "family_unit", "людях", "Социальные паспорта!D2", "«людях»"),
    ("passports", 0, "family_unit", "семьях", "Социальные паспорта!E2", "числа семей нет"),
]  # fmt: skip


@pytest.mark.parametrize(("sheet", "row", "column", "value", "cell", "words"), CELLS)
def test_a_wrong_cell_is_named(
    read: Callable[..., WorkbookContents],
    sheet: str, row: int, column: str, value: object, cell: str, words: str,
) -> None:  # fmt: skip
    rows = small_region()
    rows[sheet][row][column] = value
    error = refused(read, rows=rows)
    assert f"{cell}: " in error.localized("ru")
    assert words in error.localized("ru")


@pytest.mark.parametrize(
    ("sheet", "row", "cell", "words"),
    [
        ("counts", 0, "Отметки!A5", "строка повторяет строку 2"),
        ("passports", 1, "Социальные паспорта!A4", "строка повторяет строку 3"),
        ("procedures", 0, "Процедуры!A4", "строка повторяет строку 2"),
        ("schools", 0, "Школы!A4", "записана второй раз (впервые в строке 2)"),
    ],
)
def test_a_repeated_row_is_named_with_the_first(
    read: Callable[..., WorkbookContents], sheet: str, row: int, cell: str, words: str
) -> None:
    rows = small_region()
    rows[sheet].append(dict(rows[sheet][row]))
    message = refused(read, rows=rows).localized("ru")
    assert f"{cell}: " in message
    assert words in message


def test_classes_beside_the_whole_year_group_count_twice(
    read: Callable[..., WorkbookContents],
) -> None:
    rows = small_region()
    rows["counts"].append({**rows["counts"][0], "class_label": None})
    message = refused(read, rows=rows).localized("ru")
    assert "Отметки!A5: здесь параллель целиком, а в других строках (строка 2)" in message


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("connective", None, "не заполнен параметр «Условия А и Б"),
        ("connective", "либо", "«либо», а должен быть одним из: или, и"),
        ("as_of", "скоро", "«скоро» — не дата"),
        ("as_of", None, "не заполнен параметр «На какую дату»"),
        (
            "procedures",
            "ВПР-5-МА",
            "процедура «ВПР-5-МА», но на листе «Отметки» её нет; есть: ВПР-5-РУ",
        ),
        ("adversity_quantile", 25, "«25» — не доля"),
        ("adversity_quantile", 1, "больше 0 и меньше 1"),
        ("index_method", "заданные веса", "хотя бы один ненулевой вес"),
        ("weight_low_income", "?", ""),
        ("lang", "de", "«de», а должен быть одним из"),
    ],
)
def test_a_wrong_setting_is_named(
    read: Callable[..., WorkbookContents], setting: str, value: object, words: str
) -> None:
    settings = {setting: value}
    if setting.startswith("weight"):
        settings["index_method"] = "заданные веса"
    message = refused(read, settings=settings).localized("ru")
    row = 2 + [s.name for s in SETTINGS].index(setting)
    assert f"Настройки!B{row}: " in message
    assert words in message


def test_a_weight_needs_data(read: Callable[..., WorkbookContents]) -> None:
    settings = {"index_method": "заданные веса", "weight_low_income": -1}
    message = refused(read, settings=settings).localized("ru")
    assert "вес показателя «Малообеспеченные семьи» равен «-1»" in message


def test_a_missing_sheet_names_those_there_are(read: Callable[..., WorkbookContents]) -> None:
    error = refused(read, edit=lambda book: book.remove(book["Школы"]))
    assert "нет листа «Школы»; есть листы: Процедуры, Отметки" in error.localized("ru")
    assert "no sheet «Schools»" in error.localized("en")


def test_a_sheet_without_its_header(read: Callable[..., WorkbookContents]) -> None:
    def edit(book: Any) -> None:
        book["Школы"].delete_rows(1)

    assert "Школы: в первых 30 строках нет заголовка" in refused(read, edit=edit).localized("ru")


def test_a_missing_column_is_named_with_those_there_are(
    read: Callable[..., WorkbookContents],
) -> None:
    def edit(book: Any) -> None:
        book["Отметки"]["D1"] = "Когда"

    message = refused(read, edit=edit).localized("ru")
    assert "Отметки!1: нет обязательного столбца «Год»; есть столбцы: «Код школы»" in message


def test_two_columns_with_one_header(read: Callable[..., WorkbookContents]) -> None:
    def edit(book: Any) -> None:
        book["Отметки"]["K1"] = "Год"

    message = refused(read, edit=edit).localized("ru")
    assert "Отметки!K1: заголовок «Год» стоит в двух столбцах" in message


def test_merged_cells_are_told_once(read: Callable[..., WorkbookContents]) -> None:
    error = refused(read, edit=lambda book: book["Школы"].merge_cells("C2:C3"))
    assert "Школы!C2:C3: ячейки C2:C3 объединены" in error.localized("ru")
    assert "найдено ошибок: 1;" in error.localized("ru")


def test_a_formula_without_a_value(read: Callable[..., WorkbookContents]) -> None:
    def edit(book: Any) -> None:
        book["Отметки"]["E2"] = "=SUM(F2:I2)"

    message = refused(read, edit=edit).localized("ru")
    assert "Отметки!E2: в ячейке формула без сохранённого значения" in message
    assert "найдено ошибок: 1;" in message


def test_an_empty_workbook_of_marks(read: Callable[..., WorkbookContents]) -> None:
    message = refused(read, rows=small_region() | {"counts": []}).localized("ru")
    assert "листы «Отметки» и «Ученики» пусты (0 строк)" in message


def test_all_problems_come_at_once_and_are_counted(
    read: Callable[..., WorkbookContents],
) -> None:
    rows = small_region()
    for k in range(30):
        rows["counts"].append({**rows["counts"][0], "class_label": f"6-{k}", "n_2": -1})
    rows["schools"][0]["is_rural"] = "?!"
    error = refused(read, rows=rows, settings={"connective": None})
    message = error.localized("ru")
    assert "найдено ошибок: 32, показаны первые 20" in message
    assert message.count("\n  - ") == MOST_SHOWN
    assert message.splitlines()[1].startswith("  - Школы!E2: ")


def test_a_problem_of_many_rows_is_told_once(read: Callable[..., WorkbookContents]) -> None:
    rows = small_region()
    for k in range(5):
        rows["counts"].append({**rows["counts"][0], "class_label": f"6-{k}", "school_id": "404"})
    message = refused(read, rows=rows).localized("ru")
    assert "Отметки!A5: школы «404» нет" in message
    assert "(и ещё таких же: 4)" in message


def test_pupils_keys_that_are_names_are_refused_without_showing_them(
    read: Callable[..., WorkbookContents],
) -> None:
    pupil = {"school_id": "007", "year": 2026, "subject": "РУ", "score": 12}
    rows = small_region() | {"pupils": [{"pupil_key": "Иванова Анна", **pupil}]}
    error = refused(read, rows=rows)
    assert "Ученики!A2: код ученика похож на имя" in error.localized("ru")
    assert "Иванова" not in error.localized("ru") + error.localized("en")


def test_a_name_in_the_wrong_column_is_not_shown(read: Callable[..., WorkbookContents]) -> None:
    pupil = {"pupil_key": "p1", "school_id": "007", "year": 2026, "subject": "РУ"}
    rows = small_region() | {"pupils": [{**pupil, "score": "Иванова"}]}
    message = refused(read, rows=rows).localized("ru")
    assert "Ученики!E2: значение не того вида" in message
    assert "Иванова" not in message


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "регион-2025.xlsx").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        read_workbook(tmp_path / "регион.xlsx")
    assert "в этой папке есть: регион-2025.xlsx" in caught.value.localized("ru")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        read_workbook(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"school_id;year\n7;2026\n", "внутри другой формат"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 64, "старый формат .xls"),
    ],
)
def test_a_file_that_is_no_workbook(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "регион.xlsx"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_workbook(path)
    assert words in caught.value.localized("ru")


def test_a_damaged_workbook(tmp_path: Path) -> None:
    path = tmp_path / "регион.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook")
    with pytest.raises(DataError) as caught:
        read_workbook(path)
    assert "он повреждён" in caught.value.localized("ru")


# --- legal, but worth a word ----------------------------------------------------------------------


def only_warning(contents: WorkbookContents, words: str) -> str:
    found = [w.ru for w in contents.warnings if words in w.ru]
    assert len(found) == 1, [w.ru for w in contents.warnings]
    return found[0]


def test_personal_columns_are_dropped_with_the_column_alone(
    read: Callable[..., WorkbookContents],
) -> None:
    def edit(book: Any) -> None:
        book["Школы"]["J1"], book["Школы"]["J2"] = "ФИО директора", "Петров Пётр"
        for column, header, value in (
            ("H", "Фамилия", "Иванова"),
            ("I", "ОВЗ", "да"),
            ("J", "возраст", 15),
        ):
            book["Ученики"][f"{column}1"] = header
            book["Ученики"][f"{column}2"] = value

    pupil = {"pupil_key": "p1", "school_id": "007", "year": 2026, "subject": "РУ", "score": 9}
    rows = small_region() | {"pupils": [pupil]}
    contents = read(rows=rows, edit=edit)
    assert "Школы!J1: столбец «ФИО директора»" in only_warning(contents, "директора")
    assert "Ученики!H1" in only_warning(contents, "«Фамилия»")
    assert "особую категорию" in only_warning(contents, "«ОВЗ»")
    assert contents.pupils is not None
    assert list(contents.pupils.columns) == [
        "pupil_key", "school_id", "municipality_id", "year", "subject", "score", "возраст",
    ]  # fmt: skip
    everything = repr(contents) + contents.schools.to_string() + contents.pupils.to_string()
    everything += " ".join(w.ru + w.en for w in contents.warnings)
    assert "Иванова" not in everything
    assert "Петров" not in everything
    asked = read(rows=rows, edit=edit, keep_personal=True)
    assert asked.pupils is not None
    assert asked.pupils["фамилия"].tolist() == ["Иванова"]
    assert asked.schools["фио директора"].dropna().tolist() == ["Петров Пётр"]


def test_empty_marks_are_zeros_only_where_the_sum_proves_it(
    read: Callable[..., WorkbookContents],
) -> None:
    rows = small_region()
    rows["counts"][1] |= {"n_2": None, "n_5": None}
    contents = read(rows=rows)
    assert "строки 3" in only_warning(contents, "прочитаны как 0")
    school = contents.counts.query("school_id == '008' and year == 2026").iloc[0]
    assert [school[m] for m in ("n_2", "n_5", "n_below_minimum")] == [0, 0, 0]


def test_rows_without_participants_are_left_out_aloud(
    read: Callable[..., WorkbookContents],
) -> None:
    rows = small_region()
    rows["counts"] += [
        {"school_id": "007", "procedure": "ЕГЭ-РУ", "year": 2025},
        {"school_id": "007", "procedure": "ВПР-5-РУ", "year": 2026, "class_label": "5Б",
         "n_participants": 0, "n_2": 0, "n_3": 0, "n_4": 0, "n_5": 0},
    ]  # fmt: skip
    contents = read(rows=rows)
    assert "2 (строки 5, 6)" in only_warning(contents, "строки без участников")
    assert len(contents.class_counts) == 3


def test_what_is_suspicious_warns(read: Callable[..., WorkbookContents]) -> None:
    rows = small_region()
    rows["counts"][0] |= {"n_below_minimum": 2}
    rows["counts"][1] |= {"n_participants": 50, "n_3": 48}
    rows["schools"].append({**rows["schools"][0], "school_id": "009"})
    rows["procedures"][1]["available_from"] = "01.09.2026"
    rows["passports"][1] |= {"family_unit": "семьях", "n_families": 30, "on_register": "н/д"}
    contents = read(rows=rows)
    assert "строки 2" in only_warning(contents, "не равно числу отметок «2»")
    assert "008/2026/ВПР-5-РУ" in only_warning(contents, "участников больше, чем учеников")
    assert "1 (009)" in only_warning(contents, "без отметок, учеников и социальных паспортов")
    assert "строки 4" in only_warning(contents, "класса, которого в школе нет")
    assert "строки 3" in only_warning(contents, "позже чем через год")
    assert "в 1 строках" in only_warning(contents, "такие доли сравнимы не вполне")
    assert "не как нули" in only_warning(contents, "«н/д»")


def test_marks_of_some_classes_only_are_not_summed(read: Callable[..., WorkbookContents]) -> None:
    rows = small_region()
    rows["counts"].append(
        {"school_id": "007", "procedure": "ВПР-5-РУ", "class_label": "5Б", "year": 2026,
         "n_participants": 8, "n_below_minimum": 2}
    )  # fmt: skip
    contents = read(rows=rows)
    assert "007/2026/ВПР-5-РУ" in only_warning(contents, "отметки есть не у всех классов")
    cell = contents.counts.query("school_id == '007'").iloc[0]
    assert (cell["n_participants"], cell["n_below_minimum"]) == (18, 5)
    assert cell[["n_2", "n_3", "n_4", "n_5"]].isna().all()


def test_levels_that_became_dates_are_read_back(read: Callable[..., WorkbookContents]) -> None:
    rows = small_region()
    rows["schools"][0]["levels"] = "1-11"
    contents = read(rows=rows)
    assert set(contents.schools["levels"]) == {"1-4, 5-9, 10-11", "1-4, 5-9"}

    def edit(book: Any) -> None:
        book["Школы"]["H2"] = dt.datetime(2026, 9, 5)  # what a spreadsheet makes of 5-9

    contents = read(edit=edit)
    assert "5-9" in contents.schools["levels"].tolist()
    assert only_warning(contents, "превратил в даты")


# --- writing --------------------------------------------------------------------------------------


def test_a_filled_workbook_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "регион.xlsx"
    path.write_bytes(b"a year's work")
    with pytest.raises(OutputError) as caught:
        write_template(path)
    assert "уже есть" in caught.value.localized("ru")
    assert path.read_bytes() == b"a year's work"


def test_a_parent_that_is_a_file_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "папка").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        write_template(tmp_path / "папка" / "регион.xlsx")
    assert [p.name for p in tmp_path.iterdir()] == ["папка"]


def test_template_arguments(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.xlsx"):
        write_template(tmp_path / "регион.xls")
    with pytest.raises(SpecificationError, match="1066"):
        write_template(tmp_path / "a.xlsx", years=(1066,))
    with pytest.raises(SpecificationError, match="'de'"):
        write_template(tmp_path / "a.xlsx", lang="de")
    assert list(tmp_path.iterdir()) == []


def test_reading_is_silent_where_the_spreadsheet_is_odd(
    read: Callable[..., WorkbookContents],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read().source == "район.xlsx"
    assert sheet_form("counts").title.en == "Marks"
