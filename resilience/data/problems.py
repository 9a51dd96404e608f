"""A list of everything wrong with one input, told at once.

A methodologist corrects a workbook once, not one error per run: readers add each problem with its
place, go on where they can, and raise a single `DataError` at the end.
"""

from __future__ import annotations

from collections.abc import Iterable

from resilience.errors import DataError
from resilience.i18n import Bilingual, text

__all__ = ["MOST_SHOWN", "Problems", "join_lines"]

MOST_SHOWN = 20


def join_lines(lines: Iterable[str], separator: str = "\n") -> Bilingual:
    """Return wordings joined in each language."""
    items = list(lines)
    english = separator.join(str(line) for line in items)
    russian = separator.join(str(getattr(line, "ru", line)) for line in items)
    return Bilingual(english, russian)


class Problems:
    """Problems and warnings of one input, in the order in which they were met."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.warnings: list[Bilingual] = []
        self._problems: list[Bilingual] = []
        self._repeats: dict[tuple[str, ...], int] = {}
        self._firsts: dict[tuple[str, ...], tuple[str, Bilingual]] = {}

    def __len__(self) -> int:
        return len(self._problems) + len(self._firsts)

    def add(self, place: str, message: str) -> None:
        """Note a problem at a place such as ``Отметки!D17``."""
        self._problems.append(text("schema.problem", place=place, message=message))

    def add_repeated(self, kind: tuple[str, ...], place: str, message: str) -> None:
        """Note a problem that is told once per ``kind``, with the number of further places."""
        self._repeats[kind] = self._repeats.get(kind, 0) + 1
        if kind not in self._firsts:
            self._firsts[kind] = (place, Bilingual(str(message), getattr(message, "ru", message)))

    def warn(self, message: Bilingual) -> None:
        """Note something suspicious but legal."""
        self.warnings.append(message)

    def raise_if_any(self) -> None:
        """Raise one `DataError` that lists the first problems and counts all of them."""
        lines = list(self._problems)
        for kind, (place, message) in self._firsts.items():
            more = self._repeats[kind] - 1
            line = text("schema.problem", place=place, message=message)
            lines.append(text("schema.problem_repeated", line=line, n=more) if more else line)
        if not lines:
            return
        shown = join_lines((text("schema.bullet", line=line) for line in lines[:MOST_SHOWN]), "")
        key = "schema.problems_all" if len(lines) <= MOST_SHOWN else "schema.problems_first"
        raise DataError(
            text(key, source=self.source, n=len(lines), most=MOST_SHOWN, problems=shown)
        )
