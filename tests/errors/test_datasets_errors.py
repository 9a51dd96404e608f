"""Damaged, missing and misspelt data sets: each message names culprit, rule, value and way out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from resilience.data import catalogue
from resilience.data.catalogue import list_datasets, load_dataset
from resilience.data.dataset import Dataset
from resilience.errors import DataError, DatasetError, SpecificationError
from resilience.i18n import Bilingual

CONTENT = b"school_id,n_pupils,band,is_rural\nS01,5,low,true\nS02,7,high,false\n"
MANIFEST = """name = "made_up"
licence = "none"
citation = "nobody"
title = "made up"
description = "made up"

[source]
agency = "nobody"
publication = "nowhere"

[files.schools]
path = "schools.csv"
sha256 = "{sha256}"
n_rows = 2
role = "frame"

[columns.schools.school_id]
type = "string"

[columns.schools.n_pupils]
type = "int"

[columns.schools.band]
type = "category"
levels = ["low", "high"]

[columns.schools.is_rural]
type = "bool"
"""

Maker = Callable[..., Path]


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Return a function that writes the data set with a change to its file or its manifest."""

    def make(content: bytes = CONTENT, *, old: str = "", new: str = "") -> Path:
        folder = tmp_path / "made_up"
        folder.mkdir()
        assert old in MANIFEST
        manifest = MANIFEST.replace(old, new, 1) if old else MANIFEST
        manifest = manifest.replace("{sha256}", hashlib.sha256(content).hexdigest())
        (folder / "dataset.toml").write_text(manifest, encoding="utf-8")
        (folder / "schools.csv").write_bytes(content)
        monkeypatch.setattr(catalogue, "roots", lambda: [tmp_path])
        return folder

    return make


def failure(act: Callable[[], object]) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        act()
    error = caught.value
    assert isinstance(error, DataError)  # one except clause serves
    assert any("а" <= letter <= "я" for letter in error.localized("ru"))
    assert str(error) == error.localized("en")
    return error


def test_the_made_up_set_is_sound(made_up: Maker) -> None:
    made_up()
    assert load_dataset("made_up").schools["n_pupils"].tolist() == [5, 7]


def test_an_unknown_name_lists_the_nearest() -> None:
    error = failure(lambda: load_dataset("london_exams"))
    assert "'london_exams'" in str(error)
    assert "nearest names: london_exam;" in str(error)
    assert "list_datasets()" in error.localized("ru")


def test_a_name_like_none_lists_all() -> None:
    message = str(failure(lambda: load_dataset("zzz")))
    for name in list_datasets()["name"]:
        assert name in message


def test_an_unknown_language() -> None:
    for act in (lambda: load_dataset("london_exam", lang="fr"), lambda: list_datasets(lang="fr")):
        with pytest.raises(SpecificationError, match=r"'fr'.*en, ru"):
            act()


def test_a_changed_file_shows_both_checksums(made_up: Maker) -> None:
    folder = made_up()
    damaged = CONTENT.replace(b"S01,5", b"S01,9")
    (folder / "schools.csv").write_bytes(damaged)
    error = failure(lambda: load_dataset("made_up"))
    for part in (
        "made_up",
        "schools.csv",
        f"expected sha256 {hashlib.sha256(CONTENT).hexdigest()}",
        f"actual {hashlib.sha256(damaged).hexdigest()}",
        "reinstall",
    ):
        assert part in str(error)


def test_a_shipped_file_with_one_bit_turned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = catalogue._folders()["london_exam"]
    twin = tmp_path / "london_exam"
    twin.mkdir()
    (twin / "dataset.toml").write_bytes((folder / "dataset.toml").read_bytes())
    packed = bytearray((folder / "pupils.csv.xz").read_bytes())
    packed[len(packed) // 2] ^= 1
    (twin / "pupils.csv.xz").write_bytes(bytes(packed))
    monkeypatch.setattr(catalogue, "roots", lambda: [tmp_path])
    assert "checksum" in str(failure(lambda: load_dataset("london_exam")))


def test_a_missing_file_is_named(made_up: Maker) -> None:
    (made_up() / "schools.csv").unlink()
    assert "the file schools.csv is missing" in str(failure(lambda: load_dataset("made_up")))


def test_no_folder_at_all_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "roots", lambda: [tmp_path / "nowhere"])
    for act in (list_datasets, lambda: load_dataset("london_exam")):
        message = str(failure(act))
        assert str(tmp_path / "nowhere") in message
        assert "reinstall" in message


def test_a_file_with_other_columns(made_up: Maker) -> None:
    made_up(CONTENT.replace(b"is_rural", b"rural"))
    message = str(failure(lambda: load_dataset("made_up")))
    assert "only in the file: rural; only in dataset.toml: is_rural" in message


def test_a_file_with_columns_in_another_order(made_up: Maker) -> None:
    made_up(b"n_pupils,school_id,band,is_rural\n5,S01,low,true\n7,S02,high,false\n")
    error = failure(lambda: load_dataset("made_up"))
    assert "only in the file: none; only in dataset.toml: none; the order counts" in str(error)
    assert "только в файле: нет" in error.localized("ru")


def test_a_file_with_fewer_rows(made_up: Maker) -> None:
    made_up(old="n_rows = 2", new="n_rows = 3")
    message = str(failure(lambda: load_dataset("made_up")))
    assert "schools.csv has 2 rows, but dataset.toml promises 3" in message


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        (b"S02,7", b"S02,7.5", ("'n_pupils'", "int", "7.5")),
        (b"high", b"hihg", ("'band'", "category", "'hihg' is not among low, high")),
        (b"false", b"0", ("'is_rural'", "bool", "'0' is not among true")),
    ],
)
def test_a_value_that_is_not_of_its_type(
    made_up: Maker, old: bytes, new: bytes, parts: tuple[str, ...]
) -> None:
    made_up(CONTENT.replace(old, new))
    message = str(failure(lambda: load_dataset("made_up")))
    for part in (*parts, "dataset.toml"):
        assert part in message


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ('licence = "none"', "", ("there is no entry licence",)),
        ('licence = "none"', "licence = 3", ("licence is 3", "str")),
        ('name = "made_up"', 'name = "other"', ("name is 'other'", "expected: made_up")),
        ('title = "made up"', 'title = { en = "x" }', ("there is no entry title.ru",)),
        ('role = "frame"', 'role = "fram"', ("files.schools.role", "'fram'", "frame, truth")),
        ('path = "schools.csv"', 'path = "s.zip"', ("files.schools.path", "'s.zip'", ".xz")),
        ("n_rows = 2", "n_rows = true", ("files.schools.n_rows is True", "int")),
        ('type = "int"', 'type = "integer"', ("columns.schools.n_pupils.type", "'integer'")),
        ('levels = ["low", "high"]', "", ("no entry columns.schools.band.levels",)),
        ("[source]", "[sauce]", ("there is no entry source",)),
        ("[files.schools]", "[files.pupils]", ("there is no entry columns.pupils",)),
        ("[source]", "[source", ("dataset.toml is not well formed",)),
        ('type = "bool"', 'type = "bool"\nen = "x"', ("no entry columns.schools.is_rural.ru",)),
    ],
)
def test_a_manifest_that_is_not_well_formed(
    made_up: Maker, old: str, new: str, parts: tuple[str, ...]
) -> None:
    made_up(old=old, new=new)
    for act in (list_datasets, lambda: load_dataset("made_up")):
        message = str(failure(act))
        for part in (*parts, "made_up", "datasets/README.md"):
            assert part in message


@pytest.mark.parametrize(
    "table", ["name", "codebook", "truth", "contents", "_x", "two words", "lang"]
)
def test_a_table_cannot_take_a_name_that_is_taken(table: str) -> None:
    words = Bilingual("x", "х")
    error = failure(
        lambda: Dataset(
            name="made_up",
            title=words,
            description=words,
            frames={table: pd.DataFrame({"x": [1]})},
            citation="",
            licence="",
            source=words,
        )
    )
    assert f"cannot be called {table!r}" in str(error)
    assert "rename the table" in str(error)
