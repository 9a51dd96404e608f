"""The methodology appendix: what was computed, from what, by which rules, with which result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilience.data.outputs import write_files
from resilience.errors import SpecificationError
from resilience.i18n import check_language, text
from resilience.reporting.convert import docx_bytes, figures_of, html_text
from resilience.reporting.draft import Block, Draft, Table
from resilience.reporting.markdown import pandoc_markdown
from resilience.reporting.material import Material
from resilience.reporting.provenance import Provenance

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Appendix", "methods_appendix"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Appendix:
    """A finished appendix.

    Attributes
    ----------
    title, subtitle : str
        Heading and the line below it.
    lang : {"en", "ru"}
        Language of the text.
    blocks : tuple of Block
        Headings, paragraphs, formulas, tables and figures in order, with their numbers.
    """

    title: str
    subtitle: str
    lang: str
    blocks: tuple[Block, ...]

    @property
    def markdown(self) -> str:
        """The text in pandoc's Markdown; figures are named ``figure_01.png`` and so on."""
        return self._markdown("")

    @property
    def figures(self) -> Mapping[str, bytes]:
        """The pictures, file name to PNG."""
        return figures_of(self.blocks)

    @property
    def n_tables(self) -> int:
        """Number of tables."""
        return sum(isinstance(b, Table) for b in self.blocks)

    def _markdown(self, folder: str) -> str:
        heads = {"title": self.title, "subtitle": self.subtitle, "lang": self.lang}
        lines = [f"{k}: '{v.replace(chr(39), chr(39) * 2)}'" for k, v in heads.items() if v]
        body = pandoc_markdown(self.blocks, self.lang, folder)
        return "---\n" + "\n".join(lines) + "\n---\n\n" + body

    def save(self, path: str | Path) -> Path:
        """Write the appendix as ``.docx``, ``.html`` (one file) or ``.md`` (with a figure folder).

        Formulas are real formulas: Word's own in DOCX, MathML in HTML.  Without pandoc (extra
        ``report``) HTML is simple, with formulas in TeX and a line that names the extra.

        Parameters
        ----------
        path : str or Path
            Folders that do not exist are made.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        SpecificationError
            If the suffix is another one, or DOCX is asked for without pandoc.
        OutputError
            If the place cannot be written; nothing is left behind.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        common = {"title": self.title, "subtitle": self.subtitle, "lang": self.lang}
        if suffix == ".docx":
            write_files({path: docx_bytes(self.blocks, **common)})
        elif suffix == ".html":
            write_files({path: html_text(self.blocks, **common).encode("utf-8")})
        elif suffix == ".md":
            folder = re.sub(r"\s+", "_", path.stem) + "_figures"
            files = {path: self._markdown(folder).encode("utf-8")}
            files |= {path.parent / folder / name: png for name, png in self.figures.items()}
            write_files(files)
        else:
            raise SpecificationError(text("appendix.suffix", path=str(path), suffix=repr(suffix)))
        return path

    def __repr__(self) -> str:
        return (
            f"Appendix({self.title!r}, lang={self.lang!r}, n_tables={self.n_tables}, "
            f"n_figures={len(self.figures)})"
        )


def methods_appendix(
    va: Any,
    index: Any,
    found: Any,
    *,
    lang: str = "ru",
    counts: pd.DataFrame | None = None,
    schools: pd.DataFrame | None = None,
    sources: pd.DataFrame | None = None,
    checks: Any = None,
    provenance: Provenance | None = None,
    title: str | None = None,
) -> Appendix:
    """Write the methodology appendix of a run.

    Parameters
    ----------
    va : EffectsResults or None
        Value added, from pupils, means or counts of marks; None where there is no model.
    index : ContextIndexResults or None
        Context index.
    found : DetectionResults or None
        Verdicts with their rules.
    lang : {"en", "ru"}
        Language of the text; official appendices are Russian, hence the default.
    counts : DataFrame, optional
        Counts of marks (``school_id year procedure n_participants``), for the volume of the data.
    schools : DataFrame, optional
        Table of schools (``school_id name municipality_id is_rural``).
    sources : DataFrame, optional
        What the model takes for each procedure and year, and why: `AnnualResults.sources`.
    checks : Checks, optional
        How far the verdicts depend on choices, chance and time: `AnnualResults.checks`.
    provenance : Provenance, optional
        Where the numbers come from; without it only the library's version is printed.
    title : str, optional
        Heading of the document.

    Returns
    -------
    Appendix
        With every table and figure numbered and referred to.

    Raises
    ------
    SpecificationError
        If all three results are None, or one of them is not a result.
    """
    from resilience.reporting.composition import compose

    check_language(lang)
    material = Material(
        va=va,
        index=index,
        found=found,
        counts=counts,
        schools=schools,
        provenance=provenance,
        sources=sources,
        checks=checks,
    )
    draft = Draft(lang=lang)
    compose(draft, material)
    as_of = provenance.as_of if provenance is not None else None
    return Appendix(
        title=title or draft.words("title"),
        subtitle=text("appendix.as_of_line", date=as_of).localized(lang) if as_of else "",
        lang=lang,
        blocks=draft.finished(),
    )
