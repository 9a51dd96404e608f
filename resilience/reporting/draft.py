"""A document in the making: numbered tables and figures, cross-references, two Markdowns.

The builder keeps blocks; only at the end, when the order of all tables and figures is known, are
the references in the text turned into numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from resilience.i18n import Bilingual, check_language, text
from resilience.references import reference_keys
from resilience.results import format_table

__all__ = [
    "Block",
    "Draft",
    "Figure",
    "Formula",
    "Heading",
    "Markup",
    "Prose",
    "Table",
    "escape",
    "localized",
]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>$|~^#@\"'])")
_BLANKS = re.compile(r"[ \t\r\n\f\v]+")  # no-break spaces stay
_REFERENCE = re.compile("\ue000(table|figure|section):([^\ue001]+)\ue001")


class Markup(str):
    """A text that is Markdown already and must not be escaped."""

    __slots__ = ()


def escape(words: object) -> str:
    """Return data as Markdown that prints it literally, on one line."""
    flat = _BLANKS.sub(" ", str(words)).strip()
    return _SPECIAL.sub(r"\\\1", flat)


def localized(value: object, lang: str) -> str:
    """Return a wording in the reader's language, empty for a missing one."""
    if isinstance(value, Bilingual):
        return value.localized(lang)
    return "" if value is None or value is pd.NA or value != value else str(value)


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading; ``mark`` is its anchor."""

    words: str
    depth: int
    mark: str


@dataclass(frozen=True, kw_only=True)
class Prose:
    """Paragraphs, or the items of a list, in Markdown."""

    items: tuple[str, ...]
    kind: Literal["text", "bullets", "numbers"] = "text"


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A displayed formula in TeX."""

    tex: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of texts with its caption."""

    name: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]  # columns of numbers stand flush right


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture with its caption."""

    name: str
    caption: str
    png: bytes


Block = Heading | Prose | Formula | Table | Figure


@dataclass(kw_only=True)
class Draft:
    """The document while it is written.

    Attributes
    ----------
    lang : {"en", "ru"}
        Language of every wording.
    namespace : str
        Namespace of the wordings in the catalogue.
    blocks : list of Block
        What was written so far.
    references : list of str
        Keys of the sources cited, in the order of first citation.
    """

    lang: str
    namespace: str = "appendix"
    blocks: list[Block] = field(default_factory=list)
    references: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_language(self.lang)

    def words(self, key: str, **values: object) -> str:
        """Return a wording; values that are data are escaped, references stay references."""
        safe = {
            name: value if isinstance(value, Markup | Bilingual) else escape(value)
            for name, value in values.items()
        }
        return text(f"{self.namespace}.{key}", **safe).localized(self.lang)

    def number(self, value: float, digits: int = 3) -> Markup:
        """Return a number as the language writes it."""
        if value != value:
            return Markup("—")
        printed = f"{value:.{digits}f}"
        if float(printed) == 0:
            printed = printed.removeprefix("-")
        printed = printed.replace("-", "−")
        return Markup(printed.replace(".", ",") if self.lang == "ru" else printed)

    def ref(self, kind: Literal["table", "figure", "section"], name: str) -> Markup:
        """Return a reference to a table, figure or section, written before or after it."""
        return Markup(f"\ue000{kind}:{name}\ue001")

    def sources(self, *names: str) -> None:
        """Name sources in a line: keys of the bibliography, listed at the end, or citations."""
        known = set(reference_keys())
        self.references += [n for n in names if n in known and n not in self.references]
        if names:
            words = [f"\\[{escape(n)}\\]" if n in known else escape(n) for n in names]
            self.say("sources_line", sources=Markup("; ".join(words)))

    def heading(
        self, key: str, *, depth: int = 1, mark: str | None = None, **values: object
    ) -> None:
        """Add a heading; sections of depth 1 are numbered."""
        self.blocks.append(
            Heading(
                words=self.words(key, **values), depth=depth, mark=mark or key.replace("_", "-")
            )
        )

    def say(self, key: str, **values: object) -> None:
        """Add a paragraph."""
        self.blocks.append(Prose(items=(self.words(key, **values),)))

    def prose(self, markdown: str) -> None:
        """Add a paragraph that is Markdown already."""
        self.blocks.append(Prose(items=(markdown,)))

    def bullets(self, items: Sequence[str], *, numbered: bool = False) -> None:
        """Add a list of items that are Markdown already."""
        if items:
            kind: Literal["bullets", "numbers"] = "numbers" if numbered else "bullets"
            self.blocks.append(Prose(items=tuple(items), kind=kind))

    def formula(self, *tex: str) -> None:
        """Add displayed formulas, each on its own line."""
        self.blocks += [Formula(tex=line) for line in tex]

    def table(self, name: str, frame: pd.DataFrame, caption: str, **values: object) -> None:
        """Add a table whose columns stand in the glossary, in the reader's language."""
        shown = format_table(frame, self.lang)
        self.plain_table(
            name,
            [str(c) for c in shown.columns],
            [tuple(str(v) for v in row) for row in shown.itertuples(index=False)],
            self.words(caption, **values),
        )

    def plain_table(
        self, name: str, heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str
    ) -> None:
        """Add a table of texts; columns of numbers stand flush right, but not the first one."""
        right = tuple(
            i > 0
            and any(_NUMBER.match(r[i]) for r in rows)
            and all(_NUMERIC.match(r[i]) for r in rows)
            for i in range(len(heads))
        )
        cells = tuple(tuple(c if isinstance(c, Markup) else escape(c) for c in row) for row in rows)
        self.blocks.append(
            Table(
                name=name,
                caption=caption,
                heads=tuple(h if isinstance(h, Markup) else escape(h) for h in heads),
                rows=cells,
                right=right,
            )
        )

    def figure(self, name: str, png: bytes, caption: str, **values: object) -> None:
        """Add a picture."""
        self.blocks.append(Figure(name=name, caption=self.words(caption, **values), png=png))

    def finished(self) -> tuple[Block, ...]:
        """Return the blocks with every reference turned into its number.

        Raises
        ------
        KeyError
            If a reference leads nowhere: a slip of this library, not of its user.
        """
        return resolve(self.blocks)


_NUMBER = re.compile(r"[−-]?\d")
_NUMERIC = re.compile(r"[−-]?\d[\d.,  ]*( ?%)?$|—$|\[?[−-]?\d[\d.,]*( ?[;–] ?[−-]?\d[\d.,]*)\]?$|$")


def resolve(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Return the blocks with sections numbered and references turned into numbers."""
    numbers: dict[tuple[str, str], str] = {}
    counts = {"table": 0, "figure": 0, "section": 0}
    for block in blocks:
        kind = type(block).__name__.lower()
        if isinstance(block, Heading) and block.depth == 1:
            counts["section"] += 1
            numbers["section", block.mark] = str(counts["section"])
        elif isinstance(block, Table | Figure):
            counts[kind] += 1
            if (kind, block.name) in numbers:
                raise KeyError(f"two {kind}s are called {block.name!r}")
            numbers[kind, block.name] = str(counts[kind])

    def replaced(words: str) -> str:
        return _REFERENCE.sub(lambda m: numbers[m[1], m[2]], words)

    def finished(block: Block) -> Block:
        match block:
            case Heading():
                number = f"{numbers['section', block.mark]}. " if block.depth == 1 else ""
                return replace(block, words=number + replaced(block.words))
            case Prose():
                return replace(block, items=tuple(map(replaced, block.items)))
            case Table():
                number, caption = numbers["table", block.name], replaced(block.caption)
                return replace(block, name=number, caption=caption)
            case Figure():
                number, caption = numbers["figure", block.name], replaced(block.caption)
                return replace(block, name=number, caption=caption)
            case Formula():
                return block

    return tuple(map(finished, blocks))
