r"""A fitted model as a LaTeX table: coefficients, variance components and what they rest on.

The table needs no package: rules are ``\hline``.  A Russian one needs the document's own support of
Cyrillic (``\usepackage[T2A]{fontenc}`` and ``babel``, or XeLaTeX).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from resilience.i18n import Bilingual, check_language, numeral, text
from resilience.results import format_table
from resilience.value_added.fits.summaries import variance_words

if TYPE_CHECKING:
    from resilience.value_added.fits.fitted import PupilFit

__all__ = ["escaped", "latex_table"]

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # at the start of a row it would be an option of the line break
    "−": "$-$",
    "—": "---",
    "∞": r"$\infty$",
    "×": r"$\times$",
    "²": r"\textsuperscript{2}",
}
_COLUMNS = 5


def latex_table(
    results: PupilFit,
    *,
    lang: str = "en",
    caption: str | None = None,
    label: str | None = None,
) -> str:
    r"""Return a ``table`` environment.

    Parameters
    ----------
    results : PupilFit
        The fit.
    lang : {"en", "ru"}
        Language; Russian numbers carry a decimal comma.
    caption : str, optional
        Caption as text; by default the title of the results and the formula.
    label : str, optional
        Of the caption; none by default.
    """
    check_language(lang)
    words = caption if caption is not None else f"{results.title(lang)}: {results.formula}"
    fixed = results.fixed_effects[["term", "estimate", "std_error", "conf_low", "conf_high"]]
    variances = variance_words(results)
    terms = [
        _joined(group, term)
        for group, term in zip(variances["group"], variances["term"], strict=True)
    ]
    spread = variances[["variance", "std_dev", "correlation"]].copy()
    spread.insert(0, "group", pd.Series(terms, dtype=object))
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escaped(words)}}}",
        *([rf"\label{{{label}}}"] if label else []),
        rf"\begin{{tabular}}{{l{'r' * (_COLUMNS - 1)}}}",
        r"\hline",
        *_block(text("summaries.fixed"), fixed, lang),
        r"\hline",
        *_block(text("summaries.variances"), spread, lang),
        r"\hline",
        *(_wide(escaped(line.localized(lang))) for line in _footer(results)),
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(words: str) -> str:
    """Return text in which no character means anything to LaTeX."""
    return "".join(_ESCAPES.get(character, character) for character in str(words))


def _joined(group: Bilingual, term: str) -> Bilingual:
    return Bilingual(group.en + f": {term}" * bool(term), group.ru + f": {term}" * bool(term))


def _block(head: Bilingual, table: pd.DataFrame, lang: str) -> list[str]:
    """Return a heading, the column heads and the rows, filled up to the table's width."""
    shown = format_table(table, lang)
    rows = [[str(name) for name in shown.columns], *shown.astype(str).to_numpy().tolist()]
    filled = [row + [""] * (_COLUMNS - len(row)) for row in rows]
    return [
        _wide(rf"\textit{{{escaped(head.localized(lang))}}}"),
        *(" & ".join(escaped(cell) for cell in row) + r" \\" for row in filled),
    ]


def _wide(words: str) -> str:
    return rf"\multicolumn{{{_COLUMNS}}}{{l}}{{{words}}} \\"


def _footer(results: PupilFit) -> list[Bilingual]:
    printed = f"{results.criterion:.3f}"
    return [
        text(
            "summaries.reml" if results.method == "reml" else "summaries.ml",
            value=numeral(printed),
        ),
        text("summaries.sizes", rows=results.mixed.n_rows, schools=results.n_schools),
    ]
