"""Pages made from the library itself: the glossary of columns, the bibliography, the notebooks.

They are written to ``docs/generated`` (not kept in the repository) each time the documentation is
built, so that a column, a source or a notebook has one home only.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes

from resilience.columns import Column, column
from resilience.i18n import catalogue_tables
from resilience.references import reference, reference_keys

if TYPE_CHECKING:
    from docutils.parsers.rst.states import Inliner
    from sphinx.application import Sphinx

# Heading of each file of the glossary, English and Russian; a file without an entry is shown under
# its own name, so that a new one is never left out.
HEADINGS = {
    "inputs": ("Input tables", "Исходные таблицы"),
    "workbook": ("The workbook", "Книга методиста"),
    "datasets": ("Data sets and their codebooks", "Наборы данных и их описания"),
    "simulation": ("The simulator and its truth", "Модель региона и известная истина"),
    "context": ("Context index", "Индекс контекста"),
    "value_added": ("Value added", "Добавленная стоимость"),
    "value_added_marks": ("Value added from counts of marks", "Добавленная стоимость по отметкам"),
    "value_added_means": ("Value added from school means", "Добавленная стоимость по средним"),
    "detection": ("Rules and verdicts", "Правила и выводы"),
    "rules": ("Rules as data", "Правила как данные"),
    "verdicts": ("The working of a verdict", "Как получен вывод"),
    "simulator": ("Rules under chance", "Ошибки правил"),
    "multiverse": ("The multiverse of choices", "Мультивселенная выборов"),
    "pupils": ("Resilient pupils", "Резильентные ученики"),
    "risk": ("Risk profile and risk zone", "Рисковый профиль и зона риска"),
    "integrity": ("Integrity of marks", "Объективность результатов"),
    "history": ("Lists over years", "Списки по годам"),
    "share_funnel": ("Funnel of shares", "Воронка долей"),
    "calculation_sheet": ("Calculation sheets", "Листы расчёта"),
    "pipeline": ("The annual run", "Годовой расчёт"),
    "plotting": ("Figures", "Рисунки"),
    "reporting": ("The appendix", "Приложение"),
}
HEADS = {
    "en": ("Column", "Label", "Unit", "Meaning"),
    "ru": ("Столбец", "Название", "Единица", "Смысл"),
}
KINDS_WITHOUT_UNIT = {"key", "text", "flag", "verdict", "year"}


def write_all(docs: Path) -> None:
    """Write every generated page below ``docs/generated``."""
    folder = docs / "generated"
    folder.mkdir(exist_ok=True)
    for lang in ("en", "ru"):
        _write(folder / f"columns_{lang}.md", columns_page(lang))
    _write(folder / "bibliography.md", bibliography_page())
    names = copy_notebooks(docs.parent / "notebooks", folder / "notebooks")
    _write(folder / "notebooks.md", notebooks_page(names))


def _write(path: Path, content: str) -> None:
    """Write a page unless it already says the same: unchanged pages are not built again."""
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        path.write_text(content, encoding="utf-8", newline="\n")


def plain(words: str) -> str:
    """Return text that Markdown prints as it stands, also in a cell of a table."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|$])", r"\\\1", words)
    return " ".join(escaped.split())


def columns_page(lang: str) -> str:
    """Return the glossary of columns in one language, a part of the page glossary."""
    ru = lang == "ru"
    title = "Столбцы таблиц" if ru else "Columns of the tables"
    lead = (
        "Составлено при сборке документации из того же словаря, по которому подписаны таблицы "
        "и рисунки."
        if ru
        else "Made when the documentation is built, from the same glossary that labels the tables "
        "and figures."
    )
    parts = [f"## {title}", lead]
    for stem, tables in catalogue_tables("columns").items():
        heading = HEADINGS.get(stem, (stem, stem))[1 if ru else 0]
        rows = [_column_row(column(name), lang) for name in sorted(tables)]
        head = [f"| {' | '.join(HEADS[lang])} |", "| --- | --- | --- | --- |"]
        parts += [f"### {heading}", "\n".join([*head, *rows])]
    return "\n\n".join(parts) + "\n"


def _column_row(record: Column, lang: str) -> str:
    unit = record.unit_ru if lang == "ru" else record.unit_en
    if not unit and record.kind == "share":
        unit = "доля 0–1" if lang == "ru" else "share 0–1"
    if not unit and record.kind not in KINDS_WITHOUT_UNIT:
        unit = "—"
    words = (record.label(lang), unit, record.meaning(lang))
    return f"| `{record.name}` | {' | '.join(plain(w) for w in words)} |"


def bibliography_page() -> str:
    """Return the sources with one target each."""
    parts = [
        "# Sources",
        "Every source the library cites, by its key. `resilience.reference(key)` prints one; "
        "the note says what was compared with the source and what was not.",
    ]
    for key in sorted(reference_keys(), key=str.casefold):
        record = reference(key)
        words = [f"**{plain(key)}.** {plain(record.citation)}"]
        words += [f"<{url}>" for url in re.findall(r"https?://[^\s,;]+", record.url)]
        if record.note:
            words.append(f"*{plain(record.note)}*")
        parts.append(f"({target(key)})=\n" + " ".join(words))
    return "\n\n".join(parts) + "\n"


def target(key: str) -> str:
    """Return the label of a source on the page of sources."""
    return "ref-" + re.sub(r"[^0-9a-z]+", "-", key.lower())


def copy_notebooks(source: Path, copy: Path) -> list[str]:
    """Copy the notebooks there are and return their names; stale copies go."""
    names = sorted(p.name for p in source.glob("*.ipynb")) if source.is_dir() else []
    if copy.is_dir():
        for stale in copy.glob("*.ipynb"):
            if stale.name not in names:
                stale.unlink()
    for name in names:
        copy.mkdir(exist_ok=True)
        shutil.copy2(source / name, copy / name)  # with its date: unchanged ones are not read again
    return [Path(name).stem for name in names]


def notebooks_page(names: list[str]) -> str:
    """Return the page that leads to the notebooks."""
    lead = (
        "Run from top to bottom by the tests, which compare every stored output with a fresh one; "
        "shown here with the stored output."
    )
    if not names:
        return f"# Notebooks\n\n{lead} This checkout holds none.\n"
    entries = "\n".join(f"notebooks/{name}" for name in names)
    return f"# Notebooks\n\n{lead}\n\n```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```\n"


def cite_role(
    name: str,
    rawtext: str,
    text: str,
    lineno: int,
    inliner: Inliner,
    options: dict[str, Any] | None = None,
    content: list[str] | None = None,
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Make a link to a source; a key outside the bibliography is an error of the build."""
    if text not in reference_keys():
        message = inliner.reporter.error(f"no source {text!r} in the bibliography", line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]
    link = addnodes.pending_xref(
        rawtext,
        refdomain="std",
        reftype="ref",
        reftarget=target(text),
        refexplicit=True,
        refwarn=True,
    )
    link += nodes.inline(rawtext, text)
    return [link], []


def link_references(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn the keys in the section References of a docstring into links."""
    heads = [i for i, line in enumerate(lines) if "References" in line]
    if not heads:
        return
    keys = sorted(reference_keys(), key=len, reverse=True)
    known = re.compile(rf"(?<![\w`])({'|'.join(map(re.escape, keys))})(?!\w)")
    for i in range(heads[0] + 1, len(lines)):
        if lines[i].startswith(".. rubric::"):
            break
        lines[i] = known.sub(lambda m: f":cite:`{m.group(1)}`", lines[i])
