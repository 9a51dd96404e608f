"""Text files in every encoding, separator and disguise."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.data.delimited import read_delimited
from resilience.errors import DataError

HEAD = ["Код школы\u00a0", "Год", "Процедура", "Участников", "Отметок «2»"]
SHORT = ["007", "2026", "ВПР-5-РУ"]
BODY = [["007", "2025-2026", "впр-5-ру", "10", "3"], ["111002.0", "2026", "ОГЭ-РУ", "5", "—"]]


def save(path: Path, rows: list[list[str]], separator: str, encoding: str) -> Path:
    path.write_text("\n".join(separator.join(row) for row in rows) + "\n", encoding=encoding)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251"])
@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_any_encoding_and_separator(tmp_path: Path, encoding: str, separator: str) -> None:
    path = save(tmp_path / "отметки.csv", [["Район"], HEAD, *BODY], separator, encoding)
    table = read_delimited("counts", path)
    assert table.frame["school_id"].tolist() == ["007", "111002"]
    assert table.frame["year"].tolist() == [2026, 2026]
    assert table.frame["procedure"].tolist() == ["ВПР-5-РУ", "ОГЭ-РУ"]
    assert table.frame["n_2"].isna().tolist() == [False, True]
    assert table.separator == separator
    assert table.encoding == ("cp1251" if encoding == "cp1251" else "utf-8-sig")
    assert table.warnings[0].startswith("отметки.csv: read as " + table.encoding.upper())
    assert "cells with a dash" in table.warnings[1]


def test_decimal_commas_and_quoted_separators(tmp_path: Path) -> None:
    path = tmp_path / "schools.csv"
    path.write_text('school_id,year,name,low_income\n1,2026,"School 1, North","0,35"\n', "utf-8")
    frame = read_delimited("schools", path).frame
    assert frame["name"].tolist() == ["School 1, North"]
    assert frame["low_income"].tolist() == [0.35]


def test_personal_and_special_columns_of_pupils_are_dropped(tmp_path: Path) -> None:
    head = ["pupil_key", "school_id", "score", "Фамилия", "ОВЗ", "sex", "age", "remark"]
    rows = [head, ["p1", "1", "5,5", "Иванова", "да", "f", "15", "тихая"]]
    path = save(tmp_path / "pupils.csv", rows, ";", "utf-8")
    table = read_delimited("pupils", path, keep=["sex"])
    assert list(table.frame.columns) == ["pupil_key", "school_id", "score", "sex", "age"]
    said = " ".join(w.ru for w in table.warnings)
    assert all(word in said for word in ("«Фамилия»", "«ОВЗ»", "«age»", "«remark»"))
    assert "Иванова" not in said
    kept = read_delimited("pupils", path, keep_personal=True).frame
    assert kept[["Фамилия", "ОВЗ"]].to_numpy().tolist() == [["Иванова", "да"]]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([HEAD, [*SHORT, "-3", "0"]], "c.csv, строка 2, столбец «Участников»: значение «-3»"),
        ([HEAD, SHORT], "c.csv, строка 2: в строке полей: 3, а в заголовке 5"),
        ([[*HEAD[:3], "Писали"], [*SHORT, "3"]], "нет обязательного столбца «Участников»"),
        ([["a", "b"], ["1", "2"]], "среди первых 30 строк нет заголовка таблицы 'counts'"),
        ([[*HEAD, "Год"], [*SHORT, "3", "0", "2026"]], "заголовок «Год» стоит в двух"),
        ([HEAD, *BODY, BODY[0]], "строка повторяет"),
        ([HEAD], "c.csv: counts: найдено ошибок: 1"),
        ([[]], "таблица counts пуста"),
    ],
)
def test_bad_files_are_named_with_their_line(
    tmp_path: Path, rows: list[list[str]], words: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_delimited("counts", save(tmp_path / "c.csv", rows, ";", "utf-8"))
    assert words in caught.value.localized("ru")
    assert caught.value.localized("en") != caught.value.localized("ru")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04rest", "электронная таблица"),
        ("school_id;year".encode("utf-16"), "UTF-16"),
        (b"\x98\xff\xfe", "не читается"),  # 0x98 stands for nothing in windows-1251
    ],
)
def test_files_that_are_no_text_tables(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_delimited("counts", path)
    assert words in caught.value.localized("ru")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_delimited("counts", tmp_path / "c.csv")
