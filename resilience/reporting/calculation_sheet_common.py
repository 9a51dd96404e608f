"""The part of a calculation sheet that all posterior rules share: result, precision, context."""

from __future__ import annotations

from resilience.i18n import Bilingual, text
from resilience.reporting.calculation_sheet_data import School
from resilience.reporting.calculation_sheet_page import Cell, Page

__all__ = ["say", "write_common", "write_step"]


def write_common(page: Page, school: School) -> None:
    """Write what all posterior rules of the school share: residual, precision, index."""
    if school.raw is not None and school.precision is not None:
        page.heading(text("calculation_sheet.part_result"))
        _write_result(page, school)
    if school.shrunken is not None and school.error is not None:
        page.heading(text("calculation_sheet.part_context"))
        _write_context(page, school)


def say(key: str, **values: object) -> tuple[Bilingual, Bilingual]:
    """Return label and explanation of a line of the catalogue."""
    return text(f"calculation_sheet.{key}"), text(f"calculation_sheet.{key}_how", **values)


def write_step(
    page: Page,
    name: str,
    key: str,
    value: float | str,
    formula: str = "",
    *,
    digits: int = 4,
    result: bool = False,
    library: float | str | None = None,
) -> None:
    """Write a line with the catalogue's label and explanation; see `Page.line`."""
    label, how = say(key)
    page.line(
        name, label, value, how, formula=formula, digits=digits, result=result, library=library
    )


def _write_result(page: Page, school: School) -> None:
    raw, years = float(school.raw or 0.0), school.years
    if years is not None:
        _write_years(page, school)
    if school.observed is not None and school.expected is not None:
        gap = school.observed - school.expected
        write_step(page, "observed", "observed", school.observed)
        write_step(page, "expected", "expected", school.expected)
        write_step(page, "difference", "difference", gap, "{observed}-{expected}")
        if years is not None and abs(years.by_pupils - gap) < 1e-6:
            # the difference weighs years by pupils, the mean residual by precision
            redone = years.mean - years.by_pupils
            formula = "{year_mean}-{year_plain}"
            write_step(page, "weighting", "weighting", redone, formula)
        else:
            write_step(page, "weighting", "weighting_given", raw - gap)
        write_step(page, "raw", "raw", raw, "{difference}+{weighting}", result=True)
    elif years is not None:
        write_step(page, "raw", "raw", raw, "{year_mean}", result=True)
    else:
        write_step(page, "raw", "raw_given", raw)
    if years is not None:
        write_step(page, "precision", "precision", years.precision, "SUM({weights})", digits=3)
    else:
        write_step(page, "precision", "precision_given", float(school.precision or 0.0), digits=3)
    pupils = float(school.n_pupils or 0.0)
    exact = years is not None and sum(years.n_pupils) == pupils
    write_step(
        page, "n_pupils", "n_pupils", pupils, "SUM({year_pupils})" if exact else "", digits=0
    )


def _write_years(page: Page, school: School) -> None:
    """Write a row per year: pupils, residual, variance, weight."""
    years = school.years
    if years is None:
        return
    if years.pupil_variance is not None:
        write_step(page, "pupil_variance", "pupil_variance", years.pupil_variance, digits=5)
    write_step(page, "transient", "transient", years.transient, digits=5)
    heads = ("year", "pupils", "residual", "sampling", "weight")
    page.head([text(f"calculation_sheet.head_{h}") for h in heads])
    first = len(page.rows) + 1
    for k, year in enumerate(years.year):
        row = first + k
        sampling = f"{{pupil_variance}}/$B${row}" if years.pupil_variance is not None else ""
        page.table_row(
            {
                1: Cell(value=str(year), look="label"),
                2: Cell(value=years.n_pupils[k], look="input", digits=0),
                3: Cell(value=years.residual[k], look="input", digits=4),
                4: Cell(
                    value=years.sampling_variance[k],
                    formula=sampling,
                    look="number" if sampling else "input",
                    digits=5,
                ),
                5: Cell(
                    value=years.weights[k],
                    formula=f"1/({{transient}}+$D${row})",
                    look="number",
                    digits=3,
                ),
            }
        )
    last = first + len(years.year) - 1
    page.places["year_pupils"] = f"$B${first}:$B${last}"
    page.places["year_residuals"] = f"$C${first}:$C${last}"
    page.places["weights"] = f"$E${first}:$E${last}"
    page.note(text("calculation_sheet.years_how"))
    for name, weights, value in (
        ("year_mean", "weights", years.mean),
        ("year_plain", "year_pupils", years.by_pupils),
    ):
        formula = f"SUMPRODUCT({{{weights}}},{{year_residuals}})/SUM({{{weights}}})"
        write_step(page, name, name, value, formula)


def _write_context(page: Page, school: School) -> None:
    a, q = float(school.shrunken or 0.0), float(school.error or 0.0)
    if school.kappa is None or school.centre is None or school.index_error is None:
        write_step(page, "a", "a_given", a)
        write_step(page, "q", "q_given", q)
    else:
        write_step(page, "index", "index", float(school.index or 0.0))
        write_step(page, "centre", "centre", school.centre)
        write_step(page, "kappa", "kappa", school.kappa)
        write_step(page, "index_error", "index_error", school.index_error)
        write_step(page, "a", "a", a, "{centre}+{kappa}*({index}-{centre})", result=True)
        write_step(page, "q", "q", q, "SQRT({kappa})*{index_error}")
    if school.coverage is not None:
        write_step(page, "coverage", "coverage", school.coverage, digits=2)
