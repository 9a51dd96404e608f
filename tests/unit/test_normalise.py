"""Cells as spreadsheets and exports really hold them."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from resilience.data.normalise import (
    is_blank,
    normalise_code,
    normalise_header,
    parse_count,
    parse_date,
    parse_flag,
    parse_number,
    parse_procedure,
    parse_share,
    parse_year,
    show_value,
)
from resilience.data.personal import (
    is_personal_header,
    is_special_category_header,
    looks_like_person,
)
from resilience.errors import DataError

NBSP = "\u00a0"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (f"Код школы{NBSP}", "код школы"),
        (f"  Код{NBSP}{NBSP} школы\n", "код школы"),
        ("Удалённость, км", "удаленность, км"),
        ("Код школы *", "код школы"),
        ("\ufeffschool_id", "school_id"),
        ("Приё\u200bм:", "прием"),
        # й and ё in two code points, as some systems store them
        ("Райо\u043d и\u0306", "район й"),
        ("Е\u0308лка", "елка"),
    ],
)
def test_headers_meet_in_one_form(written: str, read: str) -> None:
    assert normalise_header(written) == read


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("111002.0", "111002"),
        ("111002,00", "111002"),
        (111002.0, "111002"),
        (111002, "111002"),
        (np.float64(7.0), "7"),
        ("007", "007"),
        ("'007", "007"),
        (f" 00 7{NBSP}", "00 7"),
        ("edu220133", "edu220133"),
        ("1.5", "1.5"),
        ("", None),
        (NBSP, None),
        ("—", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_codes_are_text_with_their_zeros(cell: object, code: str | None) -> None:
    assert normalise_code(cell) == code


@pytest.mark.parametrize("cell", ["1.11002E+05", "1,1E5", dt.date(2026, 5, 9), True])
def test_codes_that_lost_their_digits_are_refused(cell: object) -> None:
    with pytest.raises(DataError):
        normalise_code(cell)


@pytest.mark.parametrize(
    ("cell", "year"),
    [
        ("2018-2019", 2019),
        ("2020/2021", 2021),
        ("2020–2021", 2021),
        ("2020 / 2021 уч. г.", 2021),
        ("2025/26", 2026),
        ("1999/00", 2000),
        ("2021", 2021),
        ("2021 г.", 2021),
        (2021, 2021),
        (2021.0, 2021),
        ("2021.0", 2021),
        ("-", None),
        (None, None),
    ],
)
def test_a_school_year_is_its_ending_year(cell: object, year: int | None) -> None:
    assert parse_year(cell) == year


@pytest.mark.parametrize(
    "cell", ["2018-2020", "2019-2018", "21", 2201, 1066, "весна", 2021.5, True]
)
def test_years_that_are_none_are_refused(cell: object) -> None:
    with pytest.raises(DataError) as caught:
        parse_year(cell)
    assert show_value(cell) in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("46,0", 46.0),
        ("1 234,5", 1234.5),
        (f"1{NBSP}234", 1234.0),
        ("−3", -3.0),
        (",5", 0.5),
        ("67,", 67.0),
        ("1e3", 1000.0),
        (12, 12.0),
        ("", None),
        ("н/д", None),
    ],
)
def test_numbers_with_either_decimal_sign(cell: object, number: float | None) -> None:
    assert parse_number(cell) == number


@pytest.mark.parametrize("cell", ["69,7/72,3", "1.234,5", "пять", "inf", float("inf"), False])
def test_what_is_not_one_number_is_refused(cell: object) -> None:
    with pytest.raises(DataError):
        parse_number(cell)


def test_missing_is_never_zero() -> None:
    assert parse_count("-") is None
    assert parse_count("0") == 0
    assert parse_share("") is None
    assert parse_flag("—") is None


@pytest.mark.parametrize(
    ("cell", "share"), [("35%", 0.35), ("67,%", 0.67), ("0,35", 0.35), (0.35, 0.35), (1, 1.0)]
)
def test_shares_and_per_cents(cell: object, share: float) -> None:
    # per cents divide by 100: one rounding of a double
    assert parse_share(cell) == pytest.approx(share, abs=1e-15)


@pytest.mark.parametrize("cell", ["35", 1.01, "101%", -0.1])
def test_a_share_above_one_is_refused(cell: object) -> None:
    with pytest.raises(DataError, match="35%"):
        parse_share(cell)


@pytest.mark.parametrize("cell", [-1, 2.5, "0,35"])
def test_counts_are_whole_and_not_negative(cell: object) -> None:
    with pytest.raises(DataError, match="whole number"):
        parse_count(cell)


def test_flags_in_both_languages() -> None:
    assert [parse_flag(c) for c in ("Да", "yes", 1, True, "1.0", "+")] == [True] * 6
    assert [parse_flag(c) for c in ("нет", "No", 0, False)] == [False] * 4
    with pytest.raises(DataError, match="«может»"):
        parse_flag("может")


@pytest.mark.parametrize(
    "cell",
    [
        "31.05.2026",
        "2026-05-31",
        "2026-05-31T00:00:00",
        46173,
        dt.datetime(2026, 5, 31, 9),
        "31.05.2026 г.",
    ],
)
def test_dates_as_they_are_typed(cell: object) -> None:
    # 46173 days after 30 December 1899, the spreadsheet's day of 31 May 2026
    assert parse_date(cell) == dt.date(2026, 5, 31)


@pytest.mark.parametrize("cell", ["31.02.2026", "май 2026", "05/2026"])
def test_dates_that_are_none_are_refused(cell: object) -> None:
    with pytest.raises(DataError, match=r"31\.05\.2026"):
        parse_date(cell)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("ВПР-5-МА", "ВПР-5-МА"),
        ("впр 5 ма", "ВПР-5-МА"),
        ("ВПР – 5 – МА", "ВПР-5-МА"),
        ("BПP-5-MA", "ВПР-5-МА"),  # Latin B, P, M, A
        ("VPR-5-МА", "ВПР-5-МА"),
        ("ВПР-5-Русский язык", "ВПР-5-РУ"),
        ("огэ-математика", "ОГЭ-МА"),
        ("ЕГЭ-МА-Профильная", "ЕГЭ-МА-профиль"),
        ("ГВЭ-9-МА", "ГВЭ-9-МА"),
    ],
)
def test_procedures_are_put_into_one_form(cell: str, name: str) -> None:
    assert str(parse_procedure(cell)) == name


@pytest.mark.parametrize(
    "cell", ["PISA-8", "ВПР-МА", "ВПР-12-МА", "ОГЭ", "ОГЭ-9-РУ", "ЕГЭ-МА", "ЕГЭ-профиль"]
)
def test_procedures_that_do_not_say_which_are_refused(cell: str) -> None:
    with pytest.raises(DataError):
        parse_procedure(cell)


def test_mark_two_means_below_the_minimum_only_where_there_are_marks() -> None:
    marked = {
        n: parse_procedure(n) for n in ("ВПР-5-МА", "ОГЭ-РУ", "ЕГЭ-РУ", "ЕГЭ-МА-база", "КДР-6-ЧГ")
    }
    assert [p is not None and p.has_marks for p in marked.values()] == [
        True,
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "header",
    [
        "ФИО",
        "Ф.И.О. ученика",
        "Фамилия",
        "Имя",
        "Отчество",
        "СНИЛС",
        "Паспорт",
        "Серия",
        "Номер",
        "Серия и номер документа",
        "Телефон",
        "E-mail",
        "Дата рождения",
        "Адрес",
        "ФИО директора",
        "Last name",
    ],
)
def test_personal_headers_are_known(header: str) -> None:
    assert is_personal_header(header)


@pytest.mark.parametrize(
    "header",
    [
        "Код школы",
        "Название",
        "Муниципалитет",
        "Балл",
        "Пол",
        "Номер варианта",
        "Серийность",
        "score",
    ],
)
def test_ordinary_headers_are_not_personal(header: str) -> None:
    assert not is_personal_header(header)


@pytest.mark.parametrize(
    "header", ["ОВЗ", "Инвалидность", "Учёт КДН", "Опека", "Родной язык", "disability"]
)
def test_special_categories_are_known(header: str) -> None:
    assert is_special_category_header(header)


@pytest.mark.parametrize(
    ("key", "is_person"),
    [
        ("Иванова Анна", True),
        ("Петров-Водкин К. С.", True),
        ("112-233-445 95", True),
        ("+7 928 123-45-67", True),
        ("4501 123456", True),
        ("P0001", False),
        ("50001", False),
        ("ул 7 б", False),
        ("a3f9c2", False),
    ],
)
def test_keys_that_read_like_persons(key: str, is_person: bool) -> None:
    assert looks_like_person(key) is is_person


def test_blank_cells() -> None:
    assert [is_blank(c) for c in (None, "", NBSP, float("nan"), 0, "0")] == [True] * 4 + [False] * 2


def test_values_are_quoted_short() -> None:
    assert show_value("а" * 60) == "«" + "а" * 39 + "…»"
    assert show_value(3.0) == "«3»"
