"""Tables as files: what stands in them, and that a re-run writes the same bytes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from report_doubles import effects_frame, schools_frame, verdict_frame

from resilience import __version__
from resilience.columns import column
from resilience.data.outputs import write_files
from resilience.i18n import Bilingual
from resilience.reporting import DataRecord, Provenance, write_tables
from resilience.reporting.archives import read_parts, write_parts
from resilience.reporting.tables import csv_bytes


def tables() -> dict[str, pd.DataFrame]:
    effects = effects_frame(12)
    return {
        "school_effects": effects,
        "schools": schools_frame(effects),
        "verdicts": verdict_frame(effects, "r"),
    }


def test_csv_is_for_machines(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "school_id": ["001", "Школа, «2»"],
            "effect": [1 / 3, np.nan],
            "residual": [-0.0, 0.0],
            "verdict": [Bilingual("yes", "да"), "no"],
        }
    )
    write_tables({"effects": frame}, tmp_path, lang="ru")
    content = (tmp_path / "effects.csv").read_bytes()
    assert content.decode("utf-8") == (
        '\ufeffschool_id,effect,residual,verdict\n001,0.3333333333,0,yes\n"Школа, «2»",,0,no\n'
    )


def test_csv_gives_the_numbers_back() -> None:
    effects = effects_frame(20)
    back = pd.read_csv(io.BytesIO(csv_bytes(effects)))
    # Ten significant digits are written, so the relative error is at most 5e-10.
    np.testing.assert_allclose(back["effect"], effects["effect"], rtol=5e-10)
    assert list(back.columns) == list(effects.columns)


def test_workbook_is_for_readers(tmp_path: Path) -> None:
    paths = write_tables(tables(), tmp_path / "new" / "folder", lang="ru")
    assert [p.name for p in paths] == [
        "school_effects.csv",
        "schools.csv",
        "verdicts.csv",
        "tables.xlsx",
    ]
    book = openpyxl.load_workbook(paths[-1])
    assert book.sheetnames == ["Эффекты школ", "schools", "Выводы по школам", "Пояснения"]
    sheet = book["Эффекты школ"]
    heads = [cell.value for cell in sheet[1]]
    assert heads[0] == "Школа"
    assert heads[1] == column("effect").label("ru", unit=True)
    assert "Ожидаемый ранг" in heads  # and not "Ожидаемый ранг, ранг"
    assert sheet.row_dimensions[1].height > 30  # heads of several lines are seen whole
    assert sheet.freeze_panes == "B2"
    row = {c.value: sheet.cell(2, c.column) for c in sheet[1]}
    effects = tables()["school_effects"]
    effect = row[column("effect").label("ru", unit=True)]
    assert effect.value == float(f"{effects['effect'][0]:.10g}")
    assert effect.number_format == "0.000"
    assert row[column("n_pupils").label("ru", unit=True)].number_format == "0"
    assert row[column("band").label("ru")].value in {
        "как ожидалось",
        "выше",
        "ниже",
        "намного выше",
    }
    verdicts = {c.value for c in book["Выводы по школам"]["C"][1:]}
    assert verdicts <= {"да", "нет", "недостаточно данных"}
    flags = [c.value for c in book["schools"]["D"][1:]]
    assert flags[:3] == ["нет", "да", "да"]
    glossary = book["Пояснения"]
    names = [c.value for c in glossary["D"][1:]]
    assert set(names) >= {"effect", "school_id", "is_rural"}
    assert "latitude" not in names  # only columns of these tables are explained


def test_workbook_in_english(tmp_path: Path) -> None:
    book = openpyxl.load_workbook(write_tables(tables(), tmp_path)[-1])
    assert book.sheetnames == ["School effects", "schools", "Verdicts", "Glossary"]
    assert {c.value for c in book["Verdicts"]["C"][1:]} <= {"yes", "no", "insufficient data"}


def test_hostile_cells_stay_texts(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "school_id": ["=1+1", "a\x07b", "+7"],
            "reason_text": pd.Series([Bilingual("few", "мало"), None, pd.NA], dtype=object),
            "effect": [np.inf, np.nan, 1.0],
            "n_pupils": pd.array([1, None, 3], dtype="Int64"),
        }
    )
    sheet = openpyxl.load_workbook(write_tables({"t": frame}, tmp_path, lang="ru")[-1])["t"]
    assert [c.value for c in sheet["A"][1:]] == ["=1+1", "ab", "+7"]
    assert all(c.data_type == "s" for c in sheet["A"][1:])
    assert [c.value for c in sheet["B"][1:]] == ["мало", None, None]
    assert [c.value for c in sheet["C"][1:]] == ["inf", None, 1.0]
    assert [c.value for c in sheet["D"][1:]] == [1, None, 3]


def test_sheets_of_like_names_are_kept_apart(tmp_path: Path) -> None:
    frame = pd.DataFrame({"school_id": ["a"]})
    long = "a_table_with_a_name_beyond_thirty_one_letters"
    sheets = openpyxl.load_workbook(
        write_tables({long: frame, long + "_too": frame, "glossary": frame}, tmp_path)[-1]
    ).sheetnames
    assert sheets == [long[:31], long[:29] + " 2", "glossary", "Glossary 2"]


def test_rerun_writes_the_same_bytes_and_no_clock(tmp_path: Path) -> None:
    first = [p.read_bytes() for p in write_tables(tables(), tmp_path / "a", lang="ru")]
    second = [p.read_bytes() for p in write_tables(tables(), tmp_path / "b", lang="ru")]
    assert first == second
    with zipfile.ZipFile(io.BytesIO(first[-1])) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        core = archive.read("docProps/core.xml").decode("utf-8")
    assert core.count("1980-01-01T00:00:00Z") == 2


def test_writing_again_replaces_and_leaves_no_part(tmp_path: Path) -> None:
    write_tables(tables(), tmp_path)
    write_tables({"verdicts": tables()["verdicts"].head(2)}, tmp_path)
    assert len(pd.read_csv(tmp_path / "verdicts.csv")) == 2
    assert not list(tmp_path.glob("*.part"))


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from resilience.errors import OutputError

    whole = Path.write_bytes

    def full_disk(self: Path, content: bytes) -> int:
        if "second" in self.name:
            raise OSError(28, "No space left on device")
        return whole(self, content)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OutputError, match=r"second\.txt.*No space left"):
        write_files({tmp_path / "first.txt": b"1", tmp_path / "second.txt": b"2"})
    assert not list(tmp_path.iterdir())


def test_archive_parts_round_trip() -> None:
    parts = {"a.txt": b"1", "docProps/core.xml": b"<dcterms:created x='y'>2026</dcterms:created>"}
    back = read_parts(write_parts(parts))
    assert back["a.txt"] == b"1"
    assert back["docProps/core.xml"] == (
        b"<dcterms:created x='y'>1980-01-01T00:00:00Z</dcterms:created>"
    )


def test_checksums_of_tables_and_files(tmp_path: Path) -> None:
    frame = pd.DataFrame({"school_id": ["a", "b"], "effect": [0.5, np.nan]})
    by_hand = hashlib.sha256(b"school_id,effect\na,0.5\nb,\n").hexdigest()
    record = DataRecord.of_frame("effects", frame)
    assert (record.name, record.sha256, record.n_rows) == ("effects", by_hand, 2)
    (tmp_path / "данные.csv").write_bytes(b"abc")
    record = DataRecord.of_file(tmp_path / "данные.csv", 7)
    # sha256("abc") as FIPS 180-2 prints it, appendix B.1
    assert record.sha256.startswith(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert (record.name, record.n_rows) == ("данные.csv", 7)
    assert Provenance().library_version == __version__
