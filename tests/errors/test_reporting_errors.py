"""Bad input to figures, tables and the appendix: culprit, rule, value seen, way out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from resilience.errors import DataError, OutputError, ResilienceError, SpecificationError
from resilience.plotting import (
    plot,
    plot_caterpillar,
    plot_context,
    plot_verdicts,
    plot_weights,
    save_figure,
)
from resilience.reporting import convert, methods_appendix, workbook, write_tables

EFFECTS = pd.DataFrame(
    {
        "school_id": ["S1", "S2", "S3"],
        "effect": [-0.1, 0.0, 0.2],
        "conf_low": [-0.3, -0.2, 0.0],
        "conf_high": [0.1, 0.2, 0.4],
        "observed_mean": [0.0, 0.1, 0.2],
        "expected_mean": [0.1, 0.1, 0.1],
    }
)
SCORES = pd.DataFrame({"school_id": ["S1", "S2"], "year": 2025, "context_index": [40.0, 60.0]})
VERDICTS = pd.DataFrame(
    {
        "school_id": ["S1", "S1"],
        "rule_id": ["low", "resilient"],
        "verdict": ["yes", "no"],
    }
)
FOUND = SimpleNamespace(schools=VERDICTS, criteria=pd.DataFrame(), rules=())
TABLE = {"effects": EFFECTS}


def says(error: ResilienceError, *words: str) -> None:
    """Check that the message names these in both languages, and that the Russian is Russian."""
    for lang in ("en", "ru"):
        for word in words:
            assert word in error.localized(lang), (lang, word, error.localized(lang))
    russian = sum("а" <= letter <= "я" for letter in error.localized("ru"))
    assert russian > 20


# ------------------------------------------------------------------ figures


def test_caterpillar_of_an_empty_table() -> None:
    with pytest.raises(DataError, match="0 rows") as caught:
        plot_caterpillar(EFFECTS.head(0))
    says(caught.value, "school_effects", "0")


def test_caterpillar_without_intervals() -> None:
    with pytest.raises(DataError, match="no column 'conf_high'") as caught:
        plot_caterpillar(EFFECTS.rename(columns={"conf_high": "conf_hihg"}))
    says(caught.value, "school_effects", "conf_high", "conf_hihg")


def test_caterpillar_with_an_unknown_band() -> None:
    with pytest.raises(DataError, match="use one of") as caught:
        plot_caterpillar(EFFECTS.assign(band=["below", "splendid", "above"]))
    says(caught.value, "band", "splendid", "well_above")


def test_caterpillar_with_a_school_that_is_not_there() -> None:
    with pytest.raises(DataError, match="not in the table") as caught:
        plot_caterpillar(EFFECTS, highlight=["S1", "S77"])
    says(caught.value, "highlight", "S77")
    assert "S1," not in str(caught.value)


def test_caterpillar_of_something_else() -> None:
    with pytest.raises(SpecificationError, match="no table school_effects") as caught:
        plot_caterpillar([1, 2, 3])
    says(caught.value, "list", "school_effects")


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_level_outside_its_range(level: float) -> None:
    with pytest.raises(SpecificationError, match="level") as caught:
        plot_caterpillar(EFFECTS, level=level)
    says(caught.value, "level", str(level), "(0, 1)")


def test_level_against_the_result() -> None:
    with pytest.raises(SpecificationError, match="leave level out") as caught:
        plot_caterpillar(SimpleNamespace(school_effects=EFFECTS, level=0.95), level=0.9)
    says(caught.value, "0.9", "0.95")


def test_unknown_language() -> None:
    with pytest.raises(SpecificationError, match="'de'"):
        plot_caterpillar(EFFECTS, lang="de")
    with pytest.raises(SpecificationError, match="'de'"):
        methods_appendix(None, None, FOUND, lang="de")


def test_context_without_a_common_school() -> None:
    strangers = SCORES.assign(school_id=["A", "B"])
    with pytest.raises(DataError, match="same school_id") as caught:
        plot_context(EFFECTS, strangers)
    says(caught.value, "school_effects", "context_scores", "3", "2")


def test_context_without_an_index() -> None:
    with pytest.raises(DataError, match="no column 'context_index'") as caught:
        plot_context(EFFECTS, SCORES.rename(columns={"context_index": "index"}))
    says(caught.value, "context_scores", "context_index")


def test_context_with_a_rule_that_was_not_applied() -> None:
    with pytest.raises(DataError, match="use one of low, resilient") as caught:
        plot_context(EFFECTS, SCORES, found=FOUND, rule_id="lwo")
    says(caught.value, "lwo", "low, resilient")


def test_verdicts_by_municipality_need_a_rule() -> None:
    schools = pd.DataFrame({"school_id": ["S1"], "municipality_id": ["M"]})
    with pytest.raises(SpecificationError, match="name it with rule_id") as caught:
        plot_verdicts(FOUND, schools)
    says(caught.value, "low, resilient", "rule_id")


def test_verdicts_by_municipality_need_municipalities() -> None:
    with pytest.raises(DataError, match="municipality_id") as caught:
        plot_verdicts(FOUND, pd.DataFrame({"school_id": ["S1"]}), rule_id="low")
    says(caught.value, "schools", "municipality_id")


def test_weights_of_something_else() -> None:
    with pytest.raises(SpecificationError, match="no table weights") as caught:
        plot_weights(FOUND)
    says(caught.value, "SimpleNamespace", "weights")


def test_no_figure_belongs_to_a_number() -> None:
    with pytest.raises(SpecificationError, match="no figure belongs to int") as caught:
        plot(3)
    says(caught.value, "int", "ValueAddedResults", "plot_context")


# ------------------------------------------------------------------ files


def test_output_whose_parent_is_a_file(tmp_path: Path) -> None:
    blocked = tmp_path / "results"
    blocked.write_text("a file", encoding="utf-8")
    document = methods_appendix(None, None, FOUND, lang="en")
    for attempt in (
        lambda: write_tables(TABLE, blocked),
        lambda: save_figure(plot_caterpillar(EFFECTS), blocked / "deep" / "caterpillar"),
        lambda: document.save(blocked / "appendix.md"),
    ):
        with pytest.raises(OutputError, match="is a file and not a folder") as caught:
            attempt()
        says(caught.value, "results")
    assert list(tmp_path.iterdir()) == [blocked]
    assert blocked.read_text(encoding="utf-8") == "a file"


def test_output_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "effects.csv").mkdir()
    with pytest.raises(OutputError, match="is a folder") as caught:
        write_tables(TABLE, tmp_path)
    says(caught.value, "effects.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["effects.csv"]


def test_no_tables(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match="0 tables") as caught:
        write_tables({}, tmp_path)
    says(caught.value, "0")


@pytest.mark.parametrize("name", ["a/b", "", "..", "a b", "x:y", "-", "con", "LPT1"])
def test_table_names_that_are_no_file_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match="not usable as a file name") as caught:
        write_tables({name: EFFECTS}, tmp_path)
    says(caught.value, repr(name))
    assert not list(tmp_path.iterdir())


def test_a_table_longer_than_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MOST_ROWS", 2)
    with pytest.raises(OutputError, match="write a shorter table") as caught:
        write_tables(TABLE, tmp_path)
    says(caught.value, "'effects'", "3", "2")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ appendix


def test_appendix_of_nothing() -> None:
    with pytest.raises(SpecificationError, match="0 results") as caught:
        methods_appendix(None, None, None)
    says(caught.value, "va, index", "found")


@pytest.mark.parametrize(
    ("place", "attribute"), [("va", "school_effects"), ("index", "scores"), ("found", "schools")]
)
def test_appendix_of_something_else(place: str, attribute: str) -> None:
    results = {"va": None, "index": None, "found": None, place: "text"}
    with pytest.raises(SpecificationError, match="of type str") as caught:
        methods_appendix(*results.values())
    says(caught.value, place, "str", attribute)


def test_appendix_with_tables_that_lack_columns() -> None:
    with pytest.raises(DataError, match="procedure") as caught:
        methods_appendix(None, None, FOUND, counts=pd.DataFrame({"school_id": [], "year": []}))
    says(caught.value, "counts", "procedure")
    with pytest.raises(DataError, match="school_id"):
        methods_appendix(None, None, FOUND, schools=pd.DataFrame({"id": ["S1"]}))


@pytest.mark.parametrize("name", ["a.pdf", "a.doc", "a"])
def test_appendix_with_another_suffix(name: str, tmp_path: Path) -> None:
    document = methods_appendix(None, None, FOUND)
    with pytest.raises(SpecificationError, match="change the suffix") as caught:
        document.save(tmp_path / name)
    says(caught.value, name, repr(Path(name).suffix), ".docx, .html")
    assert not list(tmp_path.iterdir())


def test_word_file_without_pandoc_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "pandoc_path", lambda: None)
    document = methods_appendix(None, None, FOUND)
    with pytest.raises(SpecificationError, match="install the extra 'report'") as caught:
        document.save(tmp_path / "a.docx")
    says(caught.value, "pandoc", "school-resilience[report]", ".html")
    assert not list(tmp_path.iterdir())


def test_pandoc_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_READER", "no-such-format")
    document = methods_appendix(None, None, FOUND)
    with pytest.raises(SpecificationError, match="could not convert") as caught:
        document.save(tmp_path / "a.html")
    says(caught.value, "Unknown input format", ".md")
    assert not list(tmp_path.iterdir())
