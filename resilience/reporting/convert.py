"""From Markdown to files: DOCX and one-file HTML through pandoc, simple HTML without it."""

from __future__ import annotations

import base64
import html
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.reporting.archives import read_parts, write_parts
from resilience.reporting.draft import Block, Figure, Heading
from resilience.reporting.markdown import figure_file, pandoc_markdown, simple_markdown
from resilience.reporting.word import reference_document

__all__ = ["docx_bytes", "html_text", "pandoc_path"]

# What the data might trigger by accident is off: quotes stay as they are, "@" cites nothing.
_READER = (
    "markdown-smart-citations-example_lists-fancy_lists-raw_tex-raw_html-latex_macros"
    "-auto_identifiers"
)
_BODY = "word/document.xml"
_EPOCH = "315532800"  # 1 January 1980: pandoc writes no clock into its files


def pandoc_path() -> str | None:
    """Return the path of pandoc, None where the extra ``report`` is not installed."""
    try:
        import pypandoc
    except ImportError:
        return None
    try:
        return str(pypandoc.get_pandoc_path())
    except OSError:
        return None


def docx_bytes(blocks: Sequence[Block], *, title: str, subtitle: str, lang: str) -> bytes:
    """Return the document as DOCX, the same bytes for the same blocks.

    Raises
    ------
    SpecificationError
        Without pandoc (extra ``report``).
    """
    pandoc = pandoc_path()
    if pandoc is None:
        raise SpecificationError(text("appendix.needs_pandoc"))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, png in figures_of(blocks).items():
            (folder / name).write_bytes(png)
        default = _run(pandoc, ["--print-default-data-file", "reference.docx"], b"")
        (folder / "reference.docx").write_bytes(reference_document(default))
        arguments = [
            *("--from", _READER, "--to", "docx", "--columns", "10"),
            *("--reference-doc", str(folder / "reference.docx")),
            *("--resource-path", str(folder), "--output", str(folder / "out.docx")),
            *("--metadata", f"title={title}", "--metadata", f"subtitle={subtitle}"),
            *("--metadata", f"lang={'ru-RU' if lang == 'ru' else 'en-GB'}"),
        ]
        _run(pandoc, arguments, pandoc_markdown(blocks, lang, "").encode("utf-8"))
        parts = read_parts((folder / "out.docx").read_bytes())
    body = re.sub(r"<w:tbl>.*?</w:tbl>", _table, parts[_BODY].decode("utf-8"), flags=re.DOTALL)
    return write_parts({**parts, _BODY: body.encode("utf-8")})


def _table(match: re.Match[str]) -> str:
    """Give the cells a style of their own; a row stays on one page with all it says."""
    cells = match[0].replace('<w:pStyle w:val="Compact" />', '<w:pStyle w:val="TableCell" />')
    return cells.replace("<w:tr><w:tc>", "<w:tr><w:trPr><w:cantSplit/></w:trPr><w:tc>")


def html_text(blocks: Sequence[Block], *, title: str, subtitle: str, lang: str) -> str:
    """Return the document as one self-contained HTML file.

    With pandoc formulas are MathML; without it they are TeX in code, and a line on top names the
    extra that brings pandoc.
    """
    pandoc = pandoc_path()
    if pandoc is None:
        body = _simple_body(blocks, lang)
        notice = f'<p class="notice">{html.escape(text("appendix.no_pandoc").localized(lang))}</p>'
    else:
        arguments = [
            "--from",
            _READER,
            "--to",
            "html5",
            "--mathml",
            "--columns",
            "10",
            "--wrap",
            "none",
        ]
        arguments += ["--shift-heading-level-by", "1"]
        markdown = pandoc_markdown(blocks, lang, "")
        for name, png in figures_of(blocks).items():
            data = base64.b64encode(png).decode("ascii")
            markdown = markdown.replace(f"]({name})", f"](data:image/png;base64,{data})")
        body = _run(pandoc, arguments, markdown.encode("utf-8")).decode("utf-8")
        body = body.replace("\r\n", "\n")
        notice = ""
    style = resources.files("resilience.reporting").joinpath("page.css").read_text("utf-8")
    head = f"<h1>{html.escape(title)}</h1>\n"
    head += f'<p class="subtitle">{html.escape(subtitle)}</p>\n' if subtitle else ""
    return (
        f'<!DOCTYPE html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"{head}{notice}{_contents(blocks, lang)}<main>\n{body}</main>\n</body>\n</html>\n"
    )


def figures_of(blocks: Sequence[Block]) -> Mapping[str, bytes]:
    """Return the pictures of the document, file name to PNG."""
    return {figure_file(b.name): b.png for b in blocks if isinstance(b, Figure)}


def _run(pandoc: str, arguments: Sequence[str], source: bytes) -> bytes:
    done = subprocess.run(
        [pandoc, *arguments],
        input=source,
        capture_output=True,
        check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": _EPOCH},
    )
    if done.returncode:
        problem = done.stderr.decode("utf-8", errors="replace").strip()
        raise SpecificationError(text("appendix.pandoc_failed", problem=problem))
    return done.stdout


def _simple_body(blocks: Sequence[Block], lang: str) -> str:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    body = str(parser.render(simple_markdown(blocks, lang)))
    marks = iter(b for b in blocks if isinstance(b, Heading))

    def anchored(match: re.Match[str]) -> str:
        depth = int(match[1]) + 1
        return f'<h{depth} id="{next(marks).mark}">{match[2]}</h{depth}>'

    return re.sub(r"<h([1-4])>(.*?)</h\1>", anchored, body)


def _contents(blocks: Sequence[Block], lang: str) -> str:
    rows = [
        f'<li><a href="#{b.mark}">{html.escape(_plain(b.words))}</a></li>'
        for b in blocks
        if isinstance(b, Heading) and b.depth == 1
    ]
    words = html.escape(text("appendix.contents").localized(lang))
    return f"<nav>\n<h2>{words}</h2>\n<ol>\n" + "\n".join(rows) + "\n</ol>\n</nav>\n"


def _plain(words: str) -> str:
    return re.sub(r"\\(.)", r"\1", words)
