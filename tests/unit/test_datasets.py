"""The embedded data sets: anchors, types, codebooks, provenance, and tables nobody can spoil."""

from __future__ import annotations

import copy
import gzip
import hashlib
import importlib.util
import io
import lzma
import pickle
import shutil
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from formulaic import model_matrix

from resilience.columns import column_names
from resilience.data import catalogue
from resilience.data.catalogue import list_datasets, load_dataset
from resilience.data.dataset import Dataset
from resilience.i18n import Bilingual
from resilience.references import reference

REAL = ("california_api", "london_exam", "michigan_schools")
FOLDERS = catalogue._folders()
NAMES = tuple(FOLDERS)
LARGEST = 3_000_000  # bytes of all data sets together, as promised in datasets/README.md


def files_of(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]


def small(**changes: object) -> Dataset:
    words = Bilingual("words", "слова")
    fields: dict[str, object] = {
        "name": "small",
        "title": words,
        "description": words,
        "frames": {"schools": pd.DataFrame({"school_id": ["a", "b"], "year": [1, 2]})},
        "citation": "nobody",
        "licence": "BSD-3-Clause",
        "source": words,
    }
    return Dataset(**(fields | changes))


# ---------------------------------------------------------------- the catalogue


def test_the_list_shows_every_data_set_with_its_size_and_terms() -> None:
    shown = list_datasets()
    assert list(shown.columns) == ["name", "title", "n_rows", "licence", "source"]
    assert set(REAL) <= set(shown["name"])
    assert list(shown["name"]) == sorted(shown["name"])
    rows = shown.set_index("name")["n_rows"]
    # 4059 pupils; 6194 schools in two years and once in `targets`; 1778 schools in six years.
    assert rows[list(REAL)].tolist() == [6194 * 3, 4059, 1778 * 6]
    russian = list_datasets(lang="ru")
    assert (russian["title"] != shown["title"]).all()
    assert russian["n_rows"].equals(shown["n_rows"])


def test_the_list_needs_no_data_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REAL:
        (tmp_path / name).mkdir()
        shutil.copy(FOLDERS[name] / "dataset.toml", tmp_path / name)
    monkeypatch.setattr(catalogue, "roots", lambda: [tmp_path])
    assert tuple(list_datasets()["name"]) == REAL


def test_a_wheel_comes_before_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for root in ("wheel", "checkout"):
        (tmp_path / root / "one").mkdir(parents=True)
        (tmp_path / root / "one" / "dataset.toml").touch()
    monkeypatch.setattr(catalogue, "roots", lambda: [tmp_path / "wheel", tmp_path / "checkout"])
    assert catalogue._folders() == {"one": tmp_path / "wheel" / "one"}


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_the_checksum_and_rows_its_manifest_promises(name: str) -> None:
    data = load_dataset(name)
    assert data.checksums
    for path, sha256 in data.checksums.items():
        assert hashlib.sha256((FOLDERS[name] / path).read_bytes()).hexdigest() == sha256
    assert data.contents()["n_rows"].gt(0).all()
    assert {"README.md", "LICENSE", "dataset.toml"} <= {p.name for p in files_of(FOLDERS[name])}


def test_all_data_sets_together_stay_small() -> None:
    assert sum(p.stat().st_size for f in FOLDERS.values() for p in files_of(f)) < LARGEST


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lang", ["en", "ru"])
def test_the_codebook_explains_every_column(name: str, lang: str) -> None:
    data = load_dataset(name, lang=lang)
    book = data.codebook
    assert list(book.columns) == ["table", "column", "type", "unit", "meaning"]
    expected = [(t, c) for t, frame in data.frames.items() for c in frame.columns]
    expected += [(f"truth.{t}", c) for t, frame in data.truth.items() for c in frame.columns]
    assert list(zip(book["table"], book["column"], strict=True)) == expected
    assert book["meaning"].str.len().min() > 10
    strange = {"The codebook has no entry for this column.", "Описания этого столбца нет."}
    assert not strange & set(book["meaning"])
    if lang == "ru":
        assert book["meaning"].str.contains("[а-яё]").all()
    # Floats are measured in something.
    assert (book.loc[book["type"] == "float", "unit"].str.len() > 0).all()


@pytest.mark.parametrize("name", REAL)
def test_columns_stand_in_the_glossary_and_sources_in_the_bibliography(name: str) -> None:
    data = load_dataset(name)
    assert not {c for frame in data.frames.values() for c in frame.columns} - set(column_names())
    for key in data.references:
        assert reference(key).citation
    assert data.references
    for text in (data.citation, data.licence, data.source, data.source.ru, data.description.ru):
        assert len(text) > 20


# ---------------------------------------------------------------- nobody can spoil it


def test_what_a_user_does_to_a_table_leaves_the_next_one_whole() -> None:
    data = load_dataset("london_exam")
    for mine in (data.pupils, data.frames["pupils"]):
        mine.loc[:, "normexam"] = 0.0
        del mine["standLRT"]
    book = data.codebook
    book.loc[:, "meaning"] = ""
    assert data.pupils["normexam"].std() == pytest.approx(1.0, abs=0.01)
    again = load_dataset("london_exam")
    pd.testing.assert_frame_equal(again.pupils, data.pupils)
    assert again.codebook["meaning"].str.len().min() > 10


def test_a_data_set_is_frozen() -> None:
    data = load_dataset("london_exam")
    with pytest.raises(FrozenInstanceError):
        data.licence = "mine"  # type: ignore[misc]  # the offence
    with pytest.raises(TypeError):
        data.frames["pupils"] = pd.DataFrame()  # type: ignore[index]  # the offence
    with pytest.raises(TypeError):
        data.checksums["pupils.csv.xz"] = ""  # type: ignore[index]  # the offence


def test_the_maker_of_a_data_set_cannot_change_it_afterwards() -> None:
    frame = pd.DataFrame({"school_id": ["a", "b"]})
    data = small(frames={"schools": frame}, truth={"schools": frame})
    frame.loc[:, "school_id"] = "z"
    assert data.schools["school_id"].tolist() == ["a", "b"]
    assert data.truth["schools"]["school_id"].tolist() == ["a", "b"]


def test_attributes_lead_to_tables_and_nowhere_else() -> None:
    data = load_dataset("california_api")
    pd.testing.assert_frame_equal(data.schools, data.frames["schools"])
    assert {"schools", "targets", "codebook"} <= set(dir(data))
    with pytest.raises(AttributeError, match=r"no table 'pupils'.*schools, targets"):
        _ = data.pupils
    assert not hasattr(data, "_private")
    for twin in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        pd.testing.assert_frame_equal(twin.targets, data.targets)


def test_printed_forms_speak_both_languages() -> None:
    assert repr(load_dataset("london_exam")) == "Dataset('london_exam': pupils 4059 × 12)"
    assert repr(load_dataset("london_exam").frames) == "Tables(pupils: 4059 × 12)"
    english = load_dataset("london_exam")._repr_html_()
    russian = load_dataset("london_exam", lang="ru")._repr_html_()
    assert "Examination results of inner London" in english
    assert "Codebook" in english
    assert "Результаты экзаменов школ" in russian
    assert "Описание столбцов" in russian
    assert "Oxford Review of Education" in russian
    assert "ссылка" in small(citation=Bilingual("words", "ссылка"), lang="ru")._repr_html_()
    nasty = small(citation="<script>")
    assert "<script>" not in nasty._repr_html_()


def test_without_notes_the_codebook_comes_from_the_glossary() -> None:
    frame = pd.DataFrame(
        {"school_id": ["a"], "mean_score": [0.5], "is_rural": [True], "year": [2024], "odd": [1]}
    ).assign(kind=pd.Categorical(["x"], categories=["x", "y"]))
    data = small(frames={"schools": frame}, truth={"effects": frame[["school_id"]]}, lang="ru")
    book = data.codebook.set_index(["table", "column"])
    assert book.loc["schools", "type"].tolist() == [
        *("string", "float", "bool", "int", "int", "category")
    ]
    assert book.loc[("schools", "mean_score"), "unit"] == "СКО учеников"
    assert book.loc[("schools", "odd"), "meaning"] == "Описания этого столбца нет."
    assert book.loc[("schools", "kind"), "meaning"].endswith("Значения: x, y.")
    assert book.loc[("truth.effects", "school_id"), "meaning"] == "Код школы, строка."


# ---------------------------------------------------------------- types, on a made-up folder

MANIFEST = """
name = "made_up"
licence = "none"
citation = "nobody"
title = "made up"
description = "made up"
[source]
agency = "nobody"
publication = "nowhere"
[files.rows]
path = "rows.csv.gz"
sha256 = "{rows}"
n_rows = 3
role = "frame"
[files.truth_rows]
path = "truth.csv"
sha256 = "{truth}"
n_rows = 1
role = "truth"
table = "rows"
[columns.rows.school_id]
type = "string"
[columns.rows.band]
type = "category"
levels = ["low", "high"]
ordered = true
[columns.rows.n_pupils]
type = "int"
[columns.rows.n_2]
type = "int"
[columns.rows.effect]
type = "float"
unit = {{ en = "points", ru = "баллы" }}
[columns.rows.is_rural]
type = "bool"
[columns.rows.is_small]
type = "bool"
[columns.truth_rows.effect]
type = "float"
en = "The true effect."
ru = "Истинный эффект."
"""
ROWS = """school_id,band,n_pupils,n_2,effect,is_rural,is_small
007,high,5,1,0.1,true,True
NA,low,6,,,false,
nan,,9007199254740993,3,1e-300,true,false
"""


def test_types_are_restored_as_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "made_up"
    folder.mkdir()
    packed = gzip.compress(ROWS.encode(), mtime=0)
    (folder / "rows.csv.gz").write_bytes(packed)
    (folder / "truth.csv").write_bytes(b"effect\n0.25\n")
    hashes = {
        "rows": hashlib.sha256(packed).hexdigest(),
        "truth": hashlib.sha256(b"effect\n0.25\n").hexdigest(),
    }
    (folder / "dataset.toml").write_text(MANIFEST.format(**hashes), encoding="utf-8")
    monkeypatch.setattr(catalogue, "roots", lambda: [tmp_path])
    data = load_dataset("made_up", lang="ru")
    rows = data.rows
    assert rows["school_id"].tolist() == ["007", "NA", "nan"]  # codes, not numbers, not gaps
    assert rows["band"].dtype == pd.CategoricalDtype(["low", "high"], ordered=True)
    assert rows["band"].isna().tolist() == [False, False, True]
    assert rows["n_pupils"].dtype == "int64"
    assert rows["n_pupils"].iloc[2] == 2**53 + 1  # a double would lose the last unit
    assert rows["n_2"].dtype == "Int64"
    assert rows["n_2"].isna().tolist() == [False, True, False]
    assert rows["effect"].dtype == "float64"
    assert rows["effect"].iloc[0] == 0.1
    assert rows["effect"].iloc[2] == 1e-300
    assert rows["is_rural"].dtype == "bool"
    assert rows["is_small"].dtype == "boolean"
    assert rows["is_small"].tolist() == [True, pd.NA, False]
    assert data.truth["rows"]["effect"].tolist() == [0.25]
    book = data.codebook.set_index(["table", "column"])
    assert book.loc[("rows", "effect"), "unit"] == "баллы"
    assert book.loc[("truth.rows", "effect"), "meaning"] == "Истинный эффект."
    assert list_datasets()["n_rows"].tolist() == [3]


# ---------------------------------------------------------------- London


def test_london_anchors() -> None:
    pupils = load_dataset("london_exam").pupils
    assert len(pupils) == 4059
    assert pupils["school"].nunique() == 65
    assert pupils["pupil_key"].is_unique
    assert (pupils["school"].astype(str) == pupils["school_id"]).all()
    twice = pupils[pupils.duplicated(["school", "student"])]
    assert twice["school"].tolist() == [43, 50, 52, 52]  # methods/value_added.md section 6
    sizes = pupils.groupby("school_id").size()
    assert sizes[["48", "54", "53", "59"]].tolist() == [2, 8, 70, 47]
    for school, sex, n_pupils in (("43", "M", 61), ("47", "F", 82)):
        there = pupils[pupils["school_id"] == school]
        assert (there["schgend"] == "mixed").all()
        assert ((there["sex"] == sex).sum(), len(there)) == (1, n_pupils)


def test_london_codebook_tells_the_truth_about_odd_columns() -> None:
    pupils = load_dataset("london_exam").pupils
    assert pupils.groupby("school")["vr"].nunique().max() == 1
    by_band = pupils.groupby("intake", observed=True)["standLRT"].mean()
    # The labels run backwards; the two means stand in the codebook with two decimals.
    assert by_band["bottom 25%"] == pytest.approx(0.92, abs=0.005)
    assert by_band["top 25%"] == pytest.approx(-1.33, abs=0.005)
    means = pupils.groupby("school")["standLRT"].mean()
    # schavg has seven printed digits.
    assert np.allclose(means, pupils.groupby("school")["schavg"].first(), rtol=0, atol=1e-6)


def test_london_categories_keep_the_order_of_r() -> None:
    pupils = load_dataset("london_exam").pupils
    bands = ["bottom 25%", "mid 50%", "top 25%"]
    expected = {
        "schgend": ["mixed", "boys", "girls"],
        "vr": bands,
        "intake": bands,
        "sex": ["F", "M"],
        "type": ["Mxd", "Sngl"],
    }
    for name, levels in expected.items():
        assert list(pupils[name].dtype.categories) == levels
        assert not pupils[name].dtype.ordered
        assert not pupils[name].isna().any()


def test_london_treatment_coding_names_and_signs_are_those_of_lme4() -> None:
    pupils = load_dataset("london_exam").pupils
    for formula, signs in (
        (
            "standLRT + sex + schgend",
            {"standLRT": 1, "sex[T.M]": -1, "schgend[T.boys]": 1, "schgend[T.girls]": 1},
        ),
        ("standLRT + sex + type", {"standLRT": 1, "sex[T.M]": -1, "type[T.Sngl]": 1}),
    ):
        design = model_matrix(formula, pupils)
        beta = np.linalg.lstsq(design.to_numpy(float), pupils["normexam"], rcond=None)[0]
        found = dict(zip(design.columns, np.sign(beta), strict=True))
        assert {name: found[name] for name in signs} == signs


# ---------------------------------------------------------------- California


def test_california_anchors() -> None:
    data = load_dataset("california_api")
    schools, targets = data.schools, data.targets
    assert schools["school_id"].nunique() == len(targets) == 6194
    assert not schools.duplicated(["school_id", "year"]).any()
    assert schools.groupby("school_id")["year"].apply(tuple).unique().tolist() == [(1999, 2000)]
    assert schools["municipality_id"].nunique() == 57
    assert schools["district_id"].nunique() == 766
    assert schools["district"].nunique() == 757
    last = schools[schools["year"] == 2000]
    # The two numbers the help page of survey's `api` computes: mean(api00), sum(enroll), R 4.2.2.
    assert last["mean_score"].mean() == pytest.approx(664.7126, abs=5e-5)
    assert last["n_enrolled"].sum() == 3811472
    assert last["school_type"].value_counts().to_dict() == {
        "elementary": 4421,
        "middle": 1018,
        "high": 755,
    }


def test_california_context_is_repeated_and_the_states_arithmetic_holds() -> None:
    data = load_dataset("california_api")
    wide = {y: s.set_index("school_id")["mean_score"] for y, s in data.schools.groupby("year")}
    targets = data.targets.set_index("school_id")
    assert wide[1999].index.equals(targets.index)
    assert ((wide[2000] - wide[1999]) == targets["growth"]).all()
    assert targets["growth_target"].isna().equals(wide[1999] >= 800)
    asked = np.maximum(1, np.floor(0.05 * (800 - wide[1999]) + 0.5))
    assert (targets["growth_target"].dropna() == asked[wide[1999] < 800]).all()
    assert (targets["met_both_targets"] | ~targets["award_eligible"]).all()
    context = data.schools.drop(columns=["year", "mean_score"])
    once = context.groupby("school_id").nunique(dropna=False)
    assert (once == 1).all(axis=None)


def test_california_shares_are_shares_and_gaps_are_those_of_the_codebook() -> None:
    data = load_dataset("california_api")
    last = data.schools[data.schools["year"] == 2000]
    book = data.codebook.set_index(["table", "column"]).loc["schools"]
    shares = list(book.index[book["unit"] == "share"])
    assert len(shares) == 12
    for name in shares:
        assert last[name].dropna().between(0, 1).all()
    parents = [n for n in shares if n.startswith("parents_") and n != "parents_responding"]
    assert len(parents) == 5
    known = last[last["parent_education"].notna()]
    assert len(last) - len(known) == 178
    assert last[parents].isna().any(axis=1).sum() == 178
    assert known[parents].sum(axis=1).between(0.98 - 1e-9, 1.02 + 1e-9).all()  # sums of five floats
    assert ((last["parents_responding"] == 0).sum(), (known["parents_responding"] == 0).sum()) == (
        260,
        82,
    )
    assert (last["n_pupils"] > last["n_enrolled"]).sum() == 20
    assert last["n_enrolled"].isna().sum() == 37
    assert last["n_pupils"].min() == 100


# ---------------------------------------------------------------- Michigan


def test_michigan_anchors() -> None:
    schools = load_dataset("michigan_schools").schools
    assert schools["school_id"].nunique() == 1778
    assert schools["municipality_id"].nunique() == 525
    assert not schools.duplicated(["school_id", "year"]).any()
    assert set(schools.groupby("school_id").size()) == {6}
    assert sorted(schools["year"].unique()) == list(range(1993, 1999))
    gaps = schools.isna().sum()
    assert gaps[gaps > 0].to_dict() == {
        "share_satisfactory": 103,
        "n_enrolled": 169,
        "subsidised_meals": 303,
        "spending_per_pupil": 937,
        "real_spending_per_pupil": 937,
        "foundation_grant": 3556,
    }
    assert schools["foundation_grant"].isna().equals(schools["year"] < 1995)
    assert schools["share_satisfactory"].dropna().between(0, 1).all()
    assert (schools["spending_per_pupil"].min(), schools["spending_per_pupil"].max()) == (
        254,
        13581,
    )
    ratio = schools["real_spending_per_pupil"] / schools["spending_per_pupil"]
    # One deflator per year, 1 in 1997; the source keeps seven digits.
    spread = ratio.groupby(schools["year"]).agg(["min", "max"])
    assert np.allclose(spread["min"], spread["max"], rtol=1e-6, atol=0)
    assert spread.loc[1997, "min"] == pytest.approx(1, abs=1e-6)


# ---------------------------------------------------------------- extraction


@pytest.fixture
def extraction(monkeypatch: pytest.MonkeyPatch):
    """Load the script kept in a folder, leaving neither modules nor bytecode behind."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(FOLDERS["london_exam"].parent))
    monkeypatch.delitem(sys.modules, "packing", raising=False)

    def load(name: str):
        spec = importlib.util.spec_from_file_location(
            f"extract_{name}", FOLDERS[name] / "extract.py"
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    sys.modules.pop("packing", None)


@pytest.mark.parametrize(
    ("name", "table"), [("london_exam", "pupils"), ("michigan_schools", "schools")]
)
def test_the_kept_script_makes_the_shipped_table(name: str, table: str, extraction) -> None:
    script = extraction(name)
    shipped = (FOLDERS[name] / f"{table}.csv.xz").read_bytes()
    content = script.packing.csv_bytes(script.tables()[table])
    # The content byte by byte; releases of xz need not agree on the packed bytes.
    assert (
        hashlib.sha256(content).hexdigest() == hashlib.sha256(lzma.decompress(shipped)).hexdigest()
    )


def test_packing_is_deterministic_and_keeps_every_digit(extraction) -> None:
    packing = extraction("london_exam").packing
    frame = pd.DataFrame({"x": [0.1, 1 / 3, np.nan], "flag": [True, False, True]})
    content = packing.csv_bytes(frame)
    assert content == b"x,flag\n0.1,true\n0.3333333333333333,false\n,true\n"
    assert packing.pack(content) == packing.pack(content)
    assert lzma.decompress(packing.pack(content)) == content


def test_four_byte_floats_are_recognised(extraction) -> None:
    packing = extraction("michigan_schools").packing
    single = pd.Series([39.7999992370605, 46.599998474121094, np.nan], name="lunch")
    assert packing.as_typed(single).iloc[:2].tolist() == [39.8, 46.6]
    with pytest.raises(ValueError, match="lunch was not kept as 4-byte floats"):
        packing.as_typed(pd.Series([39.8], name="lunch"))


def test_the_script_prints_what_the_manifest_must_say(
    tmp_path: Path, extraction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packing = extraction("london_exam").packing
    monkeypatch.setattr(sys, "argv", ["extract.py", "--output", str(tmp_path / "new")])
    packing.main({"rows": pd.DataFrame({"x": [1, 2]})}, tmp_path)
    packed = (tmp_path / "new" / "rows.csv.xz").read_bytes()
    assert pd.read_csv(io.BytesIO(lzma.decompress(packed)))["x"].tolist() == [1, 2]
    assert capsys.readouterr().out.splitlines() == [
        "[files.rows]",
        f'sha256 = "{hashlib.sha256(packed).hexdigest()}"',
        "n_rows = 2",
    ]
