"""The model of counts of marks in plain words: thresholds, shared pupils, what marks keep."""

from __future__ import annotations

from typing import Any

import pandas as pd

from resilience.columns import label
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.marks import plot_mark_shares, plot_thresholds
from resilience.reporting import formulas
from resilience.reporting.draft import Draft, Markup, escape
from resilience.reporting.material import Material
from resilience.reporting.model_words import write_coefficients, write_convergence
from resilience.reporting.random_parts import random_parts

__all__ = ["write_marks_model"]


def write_marks_model(draft: Draft, material: Material) -> None:
    """Write the model of marks: why no mean mark, thresholds, parts, what the data keep."""
    va = material.va
    parts = random_parts(va)
    has_terms = len(va.fixed_effects) > 0
    draft.heading("model")
    draft.say("model_idea", formula=Markup(f"`{' '.join(str(va.formula).split())}`"))
    draft.say("marks_what_mixture" if va.data_kind == "mixture" else "marks_what")
    draft.say("marks_no_mean")
    draft.say("marks_thresholds")
    draft.formula(
        *formulas.marks_model(
            years=parts.years,
            procedures=parts.procedures,
            cells=parts.cells,
            shared=va.correlation > 0,
        )
    )
    draft.say("marks_symbols")
    if has_terms:
        draft.say("marks_covariates", table=draft.ref("table", "fixed"))
    if parts.years:
        draft.say("model_year", symbol=Markup("$v_{jt}$"))
    if parts.procedures:
        draft.say("model_procedure", symbol=Markup("$w_{jp}$"))
    if parts.cells:
        draft.say("model_cell", symbol=Markup(r"$\varepsilon_{jtp}$"))
    draft.say("marks_unit")
    _write_other_data(draft, material)
    if va.correlation > 0:
        draft.say(
            "marks_shared",
            r=draft.number(va.correlation, 2),
            part=Markup("$a_{jc}$"),
            size=Markup("$N_{jc}$"),
        )
    draft.sources("Reardon2017", "TierneyKadane1986")
    _write_information(draft, va)
    draft.say(
        "marks_fit",
        method=Markup(draft.words(f"method_{va.method}")),
        criterion=draft.number(va.criterion, 2),
        variance=draft.ref("table", "variance"),
    )
    write_convergence(draft, va.convergence)
    write_coefficients(draft, va)
    _write_thresholds(draft, va)
    _write_shares(draft, va)


def _write_other_data(draft: Draft, material: Material) -> None:
    """Write how procedures without four marks enter."""
    scored = _procedures(material, ("pupils", "means"))
    if scored:
        draft.say("marks_mixture", procedures=Markup(scored))
        draft.formula(formulas.MEAN_OF_SCORES)
    shares = _procedures(material, ("share",))
    if shares:
        draft.say("marks_share", procedures=Markup(shares))


def _procedures(material: Material, kinds: tuple[str, ...]) -> str:
    table = material.sources
    if table is None or table.empty:
        return ""
    taken = table[table["source_kind"].astype(str).isin(kinds)]
    return ", ".join(escape(p) for p in dict.fromkeys(taken["procedure"].astype(str)))


def _write_information(draft: Draft, va: Any) -> None:
    if va.information != va.information:
        return
    reached = float(va.coarsening["reliability"].mean())
    scores = float(va.coarsening["reliability_scores"].mean())
    draft.say(
        "marks_information",
        share=f"{100 * va.information:.0f} %",
        reached=draft.number(reached),
        scores=draft.number(scores),
    )


def _latest(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last year of each procedure."""
    last = table.groupby("procedure", sort=False, observed=True)["year"].transform("max")
    return table[table["year"] == last]


def _write_thresholds(draft: Draft, va: Any) -> None:
    table = _latest(va.thresholds)
    borders = sorted({str(b) for b in table["border"]})
    draft.say(
        "marks_thresholds_read",
        table=draft.ref("table", "thresholds"),
        figure=draft.ref("figure", "thresholds"),
    )
    heads = [label("procedure", draft.lang), label("year", draft.lang)]
    heads += [draft.words("marks_border", mark=b) for b in borders]
    rows = []
    for (procedure, year), part in table.groupby(["procedure", "year"], sort=True, observed=True):
        found = {
            str(b): f"{draft.number(t, 2)} ({draft.number(s, 2)})"
            for b, t, s in part[["border", "threshold", "std_error"]].itertuples(index=False)
        }
        rows.append([str(procedure), str(year), *(found.get(b, "—") for b in borders)])
    draft.plain_table("thresholds", heads, rows, draft.words("marks_thresholds_caption"))
    png = figure_bytes(plot_thresholds(va, lang=draft.lang), "png")
    draft.figure("thresholds", png, "marks_thresholds_figure")


def _write_shares(draft: Draft, va: Any) -> None:
    every = va.mark_shares[va.mark_shares["n_marks"] > 0]
    gap = (every["observed_share"] - every["fitted_share"]).abs().max()
    draft.say(
        "marks_shares_read",
        table=draft.ref("table", "mark-shares"),
        figure=draft.ref("figure", "mark-shares"),
        gap=draft.number(100 * float(gap), 1),
    )
    table = _latest(every)
    marks = sorted({str(m) for m in table["mark"]})
    heads = [label("procedure", draft.lang), label("year", draft.lang)]
    heads += [draft.words("marks_mark", mark=m) for m in marks]
    rows = []
    for (procedure, year), part in table.groupby(["procedure", "year"], sort=True, observed=True):
        found = {
            str(m): f"{draft.number(100 * seen, 1)} / {draft.number(100 * fitted, 1)}"
            for m, seen, fitted in part[["mark", "observed_share", "fitted_share"]].itertuples(
                index=False
            )
        }
        rows.append([str(procedure), str(year), *(found.get(m, "—") for m in marks)])
    draft.plain_table("mark-shares", heads, rows, draft.words("marks_shares_caption"))
    png = figure_bytes(plot_mark_shares(every, lang=draft.lang), "png")
    draft.figure("mark-shares", png, "marks_shares_figure")
