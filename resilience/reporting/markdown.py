"""Markdown of a finished document: for pandoc, and for readers without pandoc."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from resilience.i18n import text
from resilience.reporting.draft import Block, Figure, Formula, Heading, Prose, Table

__all__ = ["figure_file", "pandoc_markdown", "simple_markdown", "table_widths"]

_INLINE_FORMULA = re.compile(r"(?<!\\)\$([^$\n]+?)(?<!\\)\$")
_LINE_CHARACTERS = 96  # characters of table text across an A4 page at the tables' font size
_CELL_MARGIN = 3  # characters lost to the margins of a cell


def figure_file(number: str) -> str:
    """Return the file name of a figure."""
    return f"figure_{int(number):02d}.png"


def pandoc_markdown(blocks: Iterable[Block], lang: str, folder: str) -> str:
    """Return pandoc's Markdown: real formulas, tables with relative widths, captions.

    Parameters
    ----------
    blocks : iterable of Block
        The finished document.
    lang : {"en", "ru"}
        Language of the words "Table" and "Figure".
    folder : str
        Folder of the figures as the text names it, empty for the text's own folder.
    """
    parts: list[str] = []
    for block in blocks:
        match block:
            case Heading():
                parts.append(f"{'#' * block.depth} {block.words} {{#{block.mark}}}")
            case Prose():
                parts.append(_prose(block))
            case Formula():
                parts.append(f"$$\n{block.tex}\n$$")
            case Table():
                parts.append(f"{_pipe_table(block)}\n\n: {_caption('table', block, lang)}")
            case Figure():
                caption = _caption("figure", block, lang)
                place = f"{folder}/" if folder else ""
                parts.append(f"![{caption}]({place}{figure_file(block.name)}){{width=100%}}")
    return "\n\n".join(parts) + "\n"


def simple_markdown(blocks: Iterable[Block], lang: str) -> str:
    """Return CommonMark with pipe tables: formulas as TeX in code, figures inside the text."""
    parts: list[str] = []
    for block in blocks:
        match block:
            case Heading():
                parts.append(f"{'#' * block.depth} {block.words}")
            case Prose():
                parts.append(_INLINE_FORMULA.sub(r"`\1`", _prose(block)))
            case Formula():
                parts.append(f"```tex\n{block.tex}\n```")
            case Table():
                caption = _INLINE_FORMULA.sub(r"`\1`", _caption("table", block, lang))
                table = _INLINE_FORMULA.sub(r"`\1`", _pipe_table(block))
                parts.append(f"*{caption}*\n\n{table}")
            case Figure():
                data = base64.b64encode(block.png).decode("ascii")
                caption = _INLINE_FORMULA.sub(r"`\1`", _caption("figure", block, lang))
                parts.append(f"![{caption}](data:image/png;base64,{data})\n\n*{caption}*")
    return "\n\n".join(parts) + "\n"


def _caption(kind: Literal["table", "figure"], block: Table | Figure, lang: str) -> str:
    words = text(f"appendix.{kind}_word", number=block.name).localized(lang)
    return f"{words}. {block.caption}"


def _prose(block: Prose) -> str:
    if block.kind == "text":
        return "\n\n".join(block.items)
    marks = [f"{i}." if block.kind == "numbers" else "-" for i in range(1, len(block.items) + 1)]
    width = max(map(len, marks)) + 1
    return "\n".join(
        f"{mark:<{width}}{item}" for mark, item in zip(marks, block.items, strict=True)
    )


def _pipe_table(table: Table) -> str:
    widths = table_widths(table.heads, table.rows)
    rule = [
        "-" * (w - 1) + ":" if right else ":" + "-" * (w - 1)
        for w, right in zip(widths, table.right, strict=True)
    ]
    lines = [table.heads, rule, *table.rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def table_widths(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the widths of the columns, in shares of a hundred or so.

    No column is narrower than its longest word, so that nothing is cut; what is left of the page
    goes to the columns that have more to say.
    """
    need, want = [], []
    for i, head in enumerate(heads):
        cells = [_visible(head), *(_visible(row[i]) for row in rows)]
        # A no-break space holds a word together, which `str.split` without argument does not see.
        longest = max(len(w) for c in cells for w in c.split(" "))
        bold = 1 if len(cells[0].split(" ")[-1]) == longest else 0
        need.append(longest + bold + _CELL_MARGIN)
        lengths = sorted(len(c) for c in cells[1:]) or [0]
        typical = lengths[-1] if len(lengths) <= 40 else lengths[int(0.95 * (len(lengths) - 1))]
        want.append(max(need[-1], min(200, max(typical, len(cells[0]) // 2)) + _CELL_MARGIN))
    spare = max(0, max(_LINE_CHARACTERS, sum(need)) - sum(need))
    wish = sum(want) - sum(need)
    share = min(1.0, spare / wish) if wish else 0.0
    widths = [n + share * (w - n) for n, w in zip(need, want, strict=True)]
    return [max(4, round(100 * w / sum(widths))) for w in widths]


def _visible(cell: str) -> str:
    return re.sub(r"\\(.)", r"\1", cell).replace("`", "").replace("**", "")
