"""The outputs of an annual run: tables, figures, appendix and manifest, all or none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from resilience import __version__
from resilience.data.outputs import write_files
from resilience.i18n import check_language, text
from resilience.pipeline.annual import AnnualResults
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.caterpillar import plot_caterpillar
from resilience.plotting.context import plot_context
from resilience.plotting.funnel import plot_funnel
from resilience.plotting.marks import plot_mark_shares, plot_thresholds
from resilience.plotting.operating import plot_operating
from resilience.plotting.quadrant import plot_quadrant
from resilience.plotting.sensitivity import plot_sensitivity
from resilience.plotting.status import plot_early_warning, plot_status
from resilience.plotting.verdicts import plot_verdicts
from resilience.reporting.appendix import Appendix, methods_appendix
from resilience.reporting.calculation_sheet import CalculationSheets, calculation_sheet
from resilience.reporting.calculation_sheet_workbook import sheets_bytes
from resilience.reporting.convert import docx_bytes, html_text, pandoc_path
from resilience.reporting.provenance import DataRecord, Provenance
from resilience.reporting.tables import csv_bytes
from resilience.reporting.workbook import workbook_bytes
from resilience.value_added import OrdinalSchoolResults

__all__ = ["write_annual_run"]

Progress = Callable[[str], None]


def write_annual_run(
    results: AnnualResults,
    folder: str | Path,
    *,
    lang: str = "ru",
    figures: bool = True,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Write everything an annual run gives.

    Parameters
    ----------
    results : AnnualResults
        The run.
    folder : str or Path
        Where to; made where it does not exist.  Files of an earlier run of the same name are
        replaced; nothing is written before everything is ready.
    lang : {"en", "ru"}
        Language of the workbook, figures and appendix.
    figures : bool
        Whether to draw figures (PNG and SVG).
    progress : callable, optional
        Called with a line before each long step.

    Returns
    -------
    tuple of Path
        ``tables/*.csv``, ``tables/tables.xlsx``, ``figures/*.png`` and ``.svg``,
        ``calculation_sheets.xlsx``,
        ``appendix.html``, ``appendix.docx`` (with the extra ``report``; else ``appendix.md``) and
        ``manifest.json`` with the checksum of every file.

    Raises
    ------
    OutputError
        If the place cannot be written; no partial output is left behind.
    """
    check_language(lang)
    root = Path(folder)
    say = progress or (lambda line: None)
    say(text("annual.step_tables").localized(lang))
    tables = results.tables()
    files: dict[Path, bytes] = {
        root / "tables" / f"{name}.csv": csv_bytes(frame) for name, frame in tables.items()
    }
    files[root / "tables" / "tables.xlsx"] = workbook_bytes(tables, lang)
    if figures:
        say(text("annual.step_figures").localized(lang))
        for name, axes in _figures(results, lang).items():
            files[root / "figures" / f"{name}.png"] = figure_bytes(axes, "png")
            files[root / "figures" / f"{name}.svg"] = figure_bytes(axes, "svg")
    say(text("annual.step_sheets").localized(lang))
    sheets = _sheets(results, lang)
    if sheets is not None:
        files[root / "calculation_sheets.xlsx"] = sheets_bytes(sheets.sheets, lang)
    say(text("annual.step_appendix").localized(lang))
    files |= _appendix_files(_appendix(results, lang), root)
    manifest = _manifest(results, {p.relative_to(root).as_posix(): b for p, b in files.items()})
    files[root / "manifest.json"] = manifest
    return write_files(files)


def _figures(results: AnnualResults, lang: str) -> dict[str, Any]:
    """Draw what there is: effects, funnel, context, marks, verdicts by municipality per rule."""
    drawn: dict[str, Any] = {}
    names = results.school_names
    if results.va is not None:
        drawn["caterpillar"] = plot_caterpillar(results.va, lang=lang, names=names)
        drawn["funnel"] = plot_funnel(results.va, lang=lang, names=names)
        if results.index is not None:
            drawn["context"] = plot_context(
                results.va, results.index, found=results.found, names=names, lang=lang
            )
    if isinstance(results.va, OrdinalSchoolResults):
        drawn["thresholds"] = plot_thresholds(results.va, lang=lang)
        given = results.va.mark_shares["n_marks"] > 0
        drawn["mark_shares"] = plot_mark_shares(results.va.mark_shares[given], lang=lang)
    if results.va is not None and results.index is not None:
        for rule in results.found.rules:
            if {"effect", "context_index"} == {c.column for c in rule.joint_criteria}:
                drawn[f"quadrant_{rule.id}"] = plot_quadrant(
                    results.found, rule_id=rule.id, names=names, lang=lang
                )
    for rule in results.found.rules:
        drawn[f"verdicts_{rule.id}"] = plot_verdicts(
            results.found, results.schools, rule_id=rule.id, lang=lang
        )
    return drawn | _check_figures(results, lang)


def _check_figures(results: AnnualResults, lang: str) -> dict[str, Any]:
    """Draw what the checks of the run found."""
    checks = results.checks
    drawn: dict[str, Any] = {}
    if checks.sensitivity is not None:
        drawn["index_sensitivity"] = plot_sensitivity(
            checks.sensitivity, names=results.school_names, lang=lang
        )
    if checks.rule_errors is not None:
        drawn["rule_errors"] = plot_operating(checks.rule_errors, view="errors", lang=lang)
        drawn["rule_curves"] = plot_operating(checks.rule_errors, lang=lang)
    for rule_id, status in checks.status.items():
        drawn[f"status_{rule_id}"] = plot_status(status, lang=lang)
    if checks.early_warning is not None:
        drawn["early_warning"] = plot_early_warning(checks.early_warning, lang=lang)
    return drawn


def _sheets(results: AnnualResults, lang: str) -> CalculationSheets | None:
    """Return the calculation sheets of the schools the configuration asks for."""
    found = results.found
    if results.sheets == "none":
        return None
    if results.sheets == "listed" and not (found.schools["verdict"] == "yes").any():
        return None
    everyone = sorted(found.schools["school_id"].unique()) if results.sheets == "all" else None
    return calculation_sheet(
        found,
        effects=results.va,
        scores=results.index,
        counts=results.counts,
        schools=results.schools,
        school_ids=everyone,
        lang=lang,
    )


def _appendix(results: AnnualResults, lang: str) -> Appendix:
    provenance = Provenance(
        data=tuple(
            DataRecord(name=name, sha256=sha256, n_rows=n_rows)
            for name, sha256, n_rows in results.data_records
        ),
        as_of=results.as_of.isoformat() if results.as_of else None,
        seed=results.seed,
        command=results.command,
        settings=results.settings,
        citations=results.citations,
        licence=results.licence,
    )
    title = text("annual.title", region=results.region).localized(lang) if results.region else None
    return methods_appendix(
        results.va,
        results.index,
        results.found,
        lang=lang,
        counts=results.counts,
        schools=results.schools,
        sources=results.sources,
        checks=results.checks,
        provenance=provenance,
        title=title,
    )


def _appendix_files(appendix: Appendix, root: Path) -> dict[Path, bytes]:
    heads = {"title": appendix.title, "subtitle": appendix.subtitle, "lang": appendix.lang}
    files = {root / "appendix.html": html_text(appendix.blocks, **heads).encode("utf-8")}
    if pandoc_path() is not None:
        files[root / "appendix.docx"] = docx_bytes(appendix.blocks, **heads)
    else:
        files[root / "appendix.md"] = appendix.markdown.encode("utf-8")
        files |= {root / name: png for name, png in appendix.figures.items()}
    return files


def _rounded(share: float) -> float | None:
    """Return a share with three decimals; JSON has no NaN."""
    return round(share, 3) if share == share else None


def _manifest(results: AnnualResults, files: Mapping[str, bytes]) -> bytes:
    """Return the manifest: no clock and no folder, so that a re-run gives the same bytes."""
    record = {
        "library": "school-resilience",
        "version": __version__,
        "command": results.command,
        "as_of": results.as_of.isoformat() if results.as_of else None,
        "seed": results.seed,
        "settings": dict(results.settings),
        "model": results.model_kind,
        "question": results.va.question.key if results.va is not None else None,
        "information": _rounded(results.va.information) if results.va is not None else None,
        "notes": [{"en": note.en, "ru": note.ru} for note in results.notes],
        "rules": [
            {"id": r.id, "version": r.version, "status": r.status} for r in results.found.rules
        ],
        "inputs": [
            {"name": name, "sha256": sha256, "n_rows": n_rows}
            for name, sha256, n_rows in results.data_records
        ],
        "outputs": {
            name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())
        },
    }
    return (json.dumps(record, ensure_ascii=False, indent=2) + "\n").encode("utf-8")
