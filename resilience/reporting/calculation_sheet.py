"""Calculation sheets: a page per school on which its verdicts can be redone by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from resilience.data.outputs import write_files
from resilience.detection.verdicts.results import DetectionResults
from resilience.errors import DataError, SpecificationError
from resilience.i18n import check_language, text
from resilience.reporting.calculation_sheet_common import write_common
from resilience.reporting.calculation_sheet_counts import count_table, write_counts
from resilience.reporting.calculation_sheet_data import Material, material_of, school_of
from resilience.reporting.calculation_sheet_page import (
    COLUMNS,
    Cell,
    Page,
    sheet_reference,
)
from resilience.reporting.calculation_sheet_posterior import Words, can_redo
from resilience.reporting.calculation_sheet_rules import write_rule
from resilience.validation import nearest_names

if TYPE_CHECKING:
    from resilience.detection.rules.criteria import Criteria

__all__ = ["CalculationSheets", "calculation_sheet"]

N_NODES = 64  # of the quadrature: errs by less than 1e-10 up to a correlation of .9999
BORDERLINE = 0.5  # share of the threshold from which a probability is near it
_FORBIDDEN = re.compile(r"[\[\]:*?/\\\x00-\x1f]")


@dataclass(frozen=True, kw_only=True, eq=False)
class CalculationSheets:
    """Pages with live formulas, ready to be saved.

    Attributes
    ----------
    lang : {"en", "ru"}
        Language of the pages.
    school_ids : tuple of str
        Schools, in the order of their pages.
    titles : tuple of str
        Name of each school's sheet.
    sheets : mapping of str to Page
        Every sheet by its name: cover, schools, method.
    """

    lang: str
    school_ids: tuple[str, ...]
    titles: tuple[str, ...]
    sheets: Mapping[str, Page]

    def save(self, path: str | Path) -> Path:
        """Write the workbook and return its path.

        Raises
        ------
        OutputError
            If the place cannot be written; no partial file stays.
        """
        from resilience.reporting.calculation_sheet_workbook import sheets_bytes

        place = Path(path)
        write_files({place: sheets_bytes(self.sheets, self.lang)})
        return place

    def table(self, school_id: str) -> pd.DataFrame:
        """Return the cells of a school's page that hold a number, a verdict or a formula.

        Returns
        -------
        DataFrame
            ``sheet_cell sheet_label sheet_value sheet_formula sheet_explanation``: a row per line.

        Raises
        ------
        DataError
            If the school has no page.
        """
        if str(school_id) not in self.school_ids:
            near = nearest_names(str(school_id), self.school_ids)
            raise DataError(text("calculation_sheet.no_page", school=school_id, nearest=near))
        page = self.sheets[self.titles[self.school_ids.index(str(school_id))]]
        rows = []
        for number, row in enumerate(page.rows, start=1):
            value = row.cells.get(2)
            if value is None or value.look not in ("input", "number", "result"):
                continue
            label, how = row.cells.get(1), row.cells.get(4)
            rows.append(
                {
                    "sheet_cell": f"B{number}",
                    "sheet_label": "" if label is None else label.value,
                    "sheet_value": value.value,
                    "sheet_formula": f"={value.formula}" if value.formula else "",
                    "sheet_explanation": how.value if how and how.look == "note" else "",
                }
            )
        return pd.DataFrame(rows)


def calculation_sheet(
    found: DetectionResults,
    *,
    effects: Any = None,
    scores: Any = None,
    counts: pd.DataFrame | None = None,
    schools: pd.DataFrame | None = None,
    school_ids: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    lang: str = "ru",
) -> CalculationSheets:
    r"""Write a page per school on which a director can redo the calculation.

    Inputs stand in cells, all else follows from them by formulas of the spreadsheet: observed
    minus expected result, reliability, shrunken effect and its error, probability (the bivariate
    normal one by quadrature over nodes of a sheet of their own), threshold from the losses,
    verdict; for rules on counts the share of every procedure, compared in whole numbers.  A changed
    input changes the verdict.  What belongs to the region (variances, gate, slope) does not move
    with a single school.

    Parameters
    ----------
    found : DetectionResults
        Verdicts.
    effects : EffectsResults or DataFrame, optional
        What the verdicts were formed from: observed and expected means, and with a result also the
        years of every school.  Without it the page begins at the mean residual.
    scores : ContextIndexResults or DataFrame, optional
        Context index with its error; without it the page begins at the shrunken index.
    counts : DataFrame, optional
        ``school_id year procedure n_participants n_below_minimum``; by default those that
        ``found`` holds.
    schools : DataFrame, optional
        ``school_id name``.
    school_ids : sequence of str, optional
        Schools to write; by default all listed by a rule and all near a line: a probability from
        half its threshold on.
    rules : sequence of str, optional
        Ids of the rules to write; all by default.
    lang : {"en", "ru"}
        Language of the pages; directors read Russian, hence the default.

    Returns
    -------
    CalculationSheets

    Raises
    ------
    DataError
        If a school is not among the verdicts, a rule was not applied, or nobody is to be written.
    SpecificationError
        If ``found`` holds no verdicts.
    """
    check_language(lang)
    if not isinstance(found, DetectionResults):
        raise SpecificationError(text("calculation_sheet.not_found", kind=type(found).__name__))
    chosen = found.rules if rules is None else tuple(found.rule(r) for r in rules)
    ids = _schools(found, chosen) if school_ids is None else _checked(found, school_ids)
    material = material_of(found, effects=effects, scores=scores, counts=counts, schools=schools)
    words = Words.of(lang)
    cover, method = (
        text(f"calculation_sheet.sheet_{n}").localized(lang) for n in ("cover", "method")
    )
    titles = _titles(ids, material, {cover, method})
    pages: dict[str, Page] = {}
    verdicts: list[dict[str, tuple[str, str]]] = []
    outside = {
        "nodes": sheet_reference(method, f"$A$4:$A${3 + N_NODES}"),
        "node_weights": sheet_reference(method, f"$B$4:$B${3 + N_NODES}"),
    }
    for school_id, title in zip(ids, titles, strict=True):
        page, own = _page(material, school_id, chosen, lang, outside)
        pages[title] = page
        verdicts.append(
            {rule: (place, words.of_verdict(verdict)) for rule, (place, verdict) in own.items()}
        )
    sheets = {
        cover: _cover(material, chosen, ids, titles, verdicts, lang),
        **pages,
        method: _method(lang),
    }
    return CalculationSheets(lang=lang, school_ids=tuple(ids), titles=tuple(titles), sheets=sheets)


def _schools(found: DetectionResults, rules: Sequence[Criteria]) -> list[str]:
    """Return the listed schools and those near a line."""
    table = found.schools[found.schools["rule_id"].isin([rule.id for rule in rules])]
    p, line = (table[c].to_numpy(dtype=float) for c in ("probability", "threshold"))
    with np.errstate(invalid="ignore"):
        near = (p >= BORDERLINE * line) & (table["verdict"] != "not_applicable")
    kept = table.loc[(table["verdict"] == "yes") | near, "school_id"]
    ids = sorted({str(s) for s in kept})
    if not ids:
        raise DataError(text("calculation_sheet.nobody"))
    return ids


def _checked(found: DetectionResults, school_ids: Sequence[str]) -> list[str]:
    """Return the ids asked for, each once."""
    known = set(found.schools["school_id"].astype(str))
    ids = list(dict.fromkeys([school_ids] if isinstance(school_ids, str) else map(str, school_ids)))
    for school in ids:
        if school not in known:
            near = nearest_names(school, sorted(known))
            raise DataError(text("detection.no_school", school=school, nearest=near))
    if not ids:
        raise DataError(text("calculation_sheet.nobody"))
    return ids


def _titles(ids: Sequence[str], material: Material, taken: set[str]) -> list[str]:
    """Return a name of at most 31 characters for each sheet, which a spreadsheet accepts."""
    used, titles = {t.lower() for t in taken} | {"history"}, []
    for school in ids:
        stem = _FORBIDDEN.sub("_", school).strip("' ") or "_"
        title, k = stem[:31], 2
        while title.lower() in used:
            tail = f" {k}"
            title, k = stem[: 31 - len(tail)] + tail, k + 1
        used.add(title.lower())
        titles.append(title)
    return titles


def _page(
    material: Material,
    school_id: str,
    rules: Sequence[Criteria],
    lang: str,
    outside: Mapping[str, str],
) -> tuple[Page, dict[str, tuple[str, str]]]:
    """Return the page of a school, and the place of each rule's verdict with its value."""
    school = school_of(material, school_id, rules)
    page = Page(lang=lang, outside=outside)
    name = f"{school_id}. {school.name}" if school.name else school_id
    page.heading(text("calculation_sheet.page_title", school=name), look="title")
    page.note(text("calculation_sheet.page_how"))
    page.head(
        [text(f"calculation_sheet.column_{c}") for c in ("what", "value", "library", "how")],
        last_span=COLUMNS - 3,
    )
    if any(can_redo(rule, school) for rule in rules):
        write_common(page, school)
    counts = count_table(school, material.cells, rules)
    if counts is not None:
        write_counts(page, counts)
    places = {}
    for k, rule in enumerate(rules):
        verdict = write_rule(page, rule, school, counts, material.found.long_run, k)
        places[rule.id] = (page.places[verdict], str(school.verdicts[rule.id]["verdict"]))
    return page, places


def _cover(
    material: Material,
    rules: Sequence[Criteria],
    ids: Sequence[str],
    titles: Sequence[str],
    verdicts: Sequence[Mapping[str, tuple[str, str]]],
    lang: str,
) -> Page:
    """Return the first page: what this is, what colours mean, verdicts that follow the pages."""
    page = Page(lang=lang, widths=(20.0, 34.0, *(20.0 for _ in rules)))
    page.heading(text("calculation_sheet.cover_title"), look="title")
    for part in ("purpose", "change", "region", "probability", "method"):
        page.note(text(f"calculation_sheet.cover_{part}"))
    page.blank()
    page.heading(text("calculation_sheet.cover_legend"))
    for look in ("input", "number", "result", "text"):
        words = text(f"calculation_sheet.legend_{look}").localized(lang)
        row = {
            1: Cell(value=text(f"calculation_sheet.sample_{look}").localized(lang), look=look),
            2: Cell(value=words, look="note", span=8),
        }
        page.table_row(row)
    page.blank()
    page.heading(text("calculation_sheet.cover_rules"))
    for rule in rules:
        page.note(rule.describe(lang))
    page.blank()
    page.heading(text("calculation_sheet.cover_schools", n=len(ids)))
    page.head(
        [text("calculation_sheet.head_school"), text("calculation_sheet.head_name")]
        + [rule.title(lang) for rule in rules]
    )
    for school, title, own in zip(ids, titles, verdicts, strict=True):
        cells = {
            1: Cell(value=school, look="label"),
            2: Cell(value=material.names.get(school, ""), look="text"),
        }
        for k, rule in enumerate(rules):
            place, verdict = own[rule.id]
            cells[3 + k] = Cell(value=verdict, formula=sheet_reference(title, place), look="number")
        page.table_row(cells)
    return page


def _method(lang: str) -> Page:
    """Return the last page: the nodes and weights of the quadrature."""
    page = Page(lang=lang)
    page.heading(text("calculation_sheet.method_title"), look="title")
    page.note(text("calculation_sheet.method_how"))
    page.head([text("calculation_sheet.head_node"), text("calculation_sheet.head_node_weight")])
    nodes, weights = np.polynomial.legendre.leggauss(N_NODES)
    for node, weight in zip(nodes, weights, strict=True):
        page.table_row(
            {
                1: Cell(value=float(node), look="text", digits=12),
                2: Cell(value=float(weight), look="text", digits=12),
            }
        )
    return page
