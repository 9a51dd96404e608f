"""The files of the appendix: Word with real formulas, one-file HTML, Markdown with its figures."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from appendix_doubles import HOSTILE, appendix, words_of

from resilience.i18n import text, text_keys
from resilience.reporting import Appendix, convert
from resilience.reporting.archives import read_parts
from resilience.reporting.draft import Draft, Formula, escape
from resilience.reporting.markdown import table_widths


@pytest.fixture(scope="module")
def russian() -> Appendix:
    return appendix("ru")


@pytest.fixture(scope="module")
def english() -> Appendix:
    return appendix("en")


# ------------------------------------------------------------------ Markdown


def test_table_widths_leave_room_for_the_longest_word() -> None:
    heads = ["Школа", "Название", "Интервал"]
    rows = [("S001", "Муниципальное общеобразовательное учреждение", "−0,24\u00a0…\u00a00,56")]
    widths = table_widths(heads, rows)
    assert 97 <= sum(widths) <= 103  # shares of a hundred, each rounded
    # 96 characters fit a line: every column holds its longest unbroken word.
    assert widths[1] / sum(widths) * 96 >= len("общеобразовательное")
    assert widths[2] / sum(widths) * 96 >= len(rows[0][2])


def test_numbers_follow_the_language() -> None:
    assert Draft(lang="ru").number(-1.5, 2) == "−1,50"
    assert Draft(lang="en").number(-0.0001, 2) == "0.00"
    assert Draft(lang="en").number(float("nan")) == "—"


def test_escaped_names_survive_both_markdowns(
    tmp_path: Path, russian: Appendix, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert escape("a\n b") == "a b"
    with_pandoc = russian.save(tmp_path / "a.html").read_text(encoding="utf-8")
    monkeypatch.setattr(convert, "pandoc_path", lambda: None)
    without = russian.save(tmp_path / "b.html").read_text(encoding="utf-8")
    for page in (with_pandoc, without):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", page, flags=re.DOTALL)
        plain = [html.unescape(re.sub(r"<[^>]+>", "", c)).strip() for c in cells]
        assert HOSTILE in plain


# ------------------------------------------------------------------ files


def test_word_file_holds_real_formulas_tables_and_pictures(
    tmp_path: Path, russian: Appendix
) -> None:
    parts = read_parts(russian.save(tmp_path / "приложение.docx").read_bytes())
    body = parts["word/document.xml"].decode("utf-8")
    displayed = sum(isinstance(b, Formula) for b in russian.blocks)
    inline = len(re.findall(r"(?<!\\)\$[^$\n]+\$", words_of(russian)))
    assert body.count("<m:oMathPara>") == displayed
    assert len(re.findall(r"<m:oMath>", body)) == displayed + inline
    assert "$" not in re.sub(r"<[^>]+>", "", body).replace(HOSTILE.split("<")[0], "").replace(
        html.escape(HOSTILE, quote=False), ""
    )
    assert body.count("<w:tbl>") == russian.n_tables
    assert body.count("<w:tblHeader") == russian.n_tables  # heads repeat on every page
    assert 'w:val="Compact"' not in "".join(re.findall(r"<w:tbl>.*?</w:tbl>", body, re.DOTALL))
    media = [name for name in parts if name.startswith("word/media/")]
    assert len(media) == len(russian.figures)
    page = re.search(r"<w:pgSz[^>]*>", body)
    assert page is not None
    assert 'w:w="11906"' in page[0]  # A4 upright, in twentieths of a point
    assert 'w:h="16838"' in page[0]
    assert "Times New Roman" in parts["word/styles.xml"].decode("utf-8")
    assert " PAGE " in parts["word/footer1.xml"].decode("utf-8")
    for number in range(1, russian.n_tables + 1):
        assert f"Таблица {number}." in re.sub(r"<[^>]+>", "", body)


def test_html_is_one_file_with_mathml(tmp_path: Path, english: Appendix) -> None:
    page = english.save(tmp_path / "a.html").read_text(encoding="utf-8")
    displayed = sum(isinstance(b, Formula) for b in english.blocks)
    assert page.count('<math display="block"') == displayed
    assert page.count("data:image/png;base64,") == len(english.figures)
    assert not re.search(r'<(?:img|script|link|iframe)[^>]*(?:src|href)="(?!data:)', page)
    assert page.count("<table") == english.n_tables
    anchors = re.findall(r'href="#([^"]+)"', page)
    assert all(f'id="{a}"' in page for a in anchors)
    assert '<html lang="en">' in page


def test_simple_html_names_the_extra(
    tmp_path: Path, russian: Appendix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "pandoc_path", lambda: None)
    page = russian.save(tmp_path / "a.html").read_text(encoding="utf-8")
    assert html.escape(text("appendix.no_pandoc").ru) in page
    assert "school-resilience[report]" in page
    assert page.count("<table>") == russian.n_tables
    assert page.count('src="data:image/png;base64,') == len(russian.figures)
    assert r"\hat u_j = \lambda_j\, d_j" in page
    assert "<math" not in page
    anchors = re.findall(r'href="#([^"]+)"', page)
    assert all(f'id="{a}"' in page for a in anchors)


def test_markdown_file_brings_its_figures(tmp_path: Path, english: Appendix) -> None:
    path = english.save(tmp_path / "out" / "my appendix.md")
    markdown = path.read_text(encoding="utf-8")
    for name, png in english.figures.items():
        assert f"](my_appendix_figures/{name})" in markdown
        assert (path.parent / "my_appendix_figures" / name).read_bytes() == png
    assert markdown.startswith("---\ntitle: 'Methodology appendix'\n")


def test_a_second_run_gives_the_same_files(tmp_path: Path) -> None:
    contents = []
    for folder in ("a", "b"):
        document = appendix("ru")
        contents.append(
            [
                document.save(tmp_path / folder / f"x.{s}").read_bytes()
                for s in ("docx", "html", "md")
            ]
        )
    assert contents[0] == contents[1]


def test_title_and_date(english: Appendix) -> None:
    assert english.title == "Methodology appendix"
    assert english.subtitle == "State of the data: 2026-05-31"
    named = appendix("en", title="Our region", va=None, index=None)
    assert named.title == "Our region"
    assert repr(english).startswith("Appendix('Methodology appendix', lang='en', n_tables=")


def test_wordings_come_in_two_languages() -> None:
    for key in text_keys():
        if not key.startswith(("appendix.", "reporting.", "plotting.")):
            continue
        words = text(key)
        if re.sub(r"\{\w+\}|[^A-Za-z]", "", words.en):
            letters = re.sub(r"\{\w+\}", "", words.ru)
            assert re.search("[А-Яа-яё]", letters) or key == "plotting.in_band", key
        placeholders = [sorted(re.findall(r"\{(\w+)\}", w)) for w in (words.en, words.ru)]
        assert set(placeholders[0]) == set(placeholders[1]), key
