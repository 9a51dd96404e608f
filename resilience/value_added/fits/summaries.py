"""The printed summary of a value-added model: what was asked, what was found, how sure it is."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from resilience.data.design_formula import formula_columns
from resilience.i18n import Bilingual, check_language, numeral, text
from resilience.results import format_table
from resilience.stats.crossproducts import ONES
from resilience.value_added.definitions.question import describe_data, question_basis

if TYPE_CHECKING:
    from resilience.stats.mixed import LevelEffects
    from resilience.value_added.fits.fitted import PupilFit

__all__ = ["convergence_words", "data_words", "summary_html", "summary_text", "variance_words"]


def summary_text(results: PupilFit, lang: str = "en") -> str:
    """Return heading, question, data, coefficients, variances and how the search ended."""
    check_language(lang)
    title = results.title(lang)
    lines = [title, "=" * len(title)]
    for head, body in _sections(results):
        if head is not None:
            lines += ["", head.localized(lang)]
        if isinstance(body, pd.DataFrame):
            lines.append(format_table(body, lang).to_string(index=False))
        else:
            lines += [words.localized(lang) for words in body]
    return "\n".join(lines)


def summary_html(results: PupilFit, lang: str = "en") -> str:
    """Return the same as HTML."""
    parts = [f"<h4>{html.escape(results.title(lang))}</h4>"]
    for head, body in _sections(results):
        if head is not None:
            parts.append(f"<h5>{html.escape(head.localized(lang))}</h5>")
        if isinstance(body, pd.DataFrame):
            parts.append(format_table(body, lang).to_html(index=False, border=0, max_rows=60))
        else:
            parts += [f"<p>{html.escape(words.localized(lang))}</p>" for words in body]
    return "".join(parts)


def _sections(
    results: PupilFit,
) -> Iterator[tuple[Bilingual | None, pd.DataFrame | list[Bilingual]]]:
    yield None, data_words(results)
    yield text("summaries.fixed"), results.fixed_effects
    yield text("summaries.variances"), variance_words(results)
    yield text("summaries.search"), convergence_words(results)


def data_words(results: PupilFit) -> list[Bilingual]:
    """Return the formula, the question, the data and the criterion as sentences."""
    fitted = results.mixed
    found = [
        text("summaries.formula", formula=results.formula),
        text(
            "summaries.question",
            question=results.question.describe(),
            basis=question_basis(
                results.intake.prior,
                formula_columns(results.source_formula).variables,
                stated=results.intake.question is not None,
            ),
        ),
        text(
            "summaries.data",
            rows=fitted.n_rows,
            schools=results.n_schools,
            levels=", ".join(f"{v.name}: {_units(results, v)}" for v in fitted.levels),
            kind=describe_data(results.data_kind),
        ),
    ]
    if results.n_dropped:
        found.append(text("summaries.dropped", n=results.n_dropped))
    key = "summaries.reml" if results.method == "reml" else "summaries.ml"
    found.append(_number(key, results.criterion))
    return found


def _units(results: PupilFit, level: LevelEffects) -> int:
    """Return the number of units of a level; of fading years those that the data hold."""
    if level.name != f"{results.group}:{results.time}" or ONES in level.terms:
        return len(level.labels)
    return len(results.school_years[["school_id", "year"]].drop_duplicates())


def variance_words(results: PupilFit) -> pd.DataFrame:
    """Return the variance components, the residual's row named in both languages."""
    table = results.variance_components.copy()
    names = [
        text("summaries.residual") if group == "residual" else Bilingual(group, group)
        for group in table["group"]
    ]
    return table.assign(group=pd.Series(names, dtype=object))


def convergence_words(results: PupilFit) -> list[Bilingual]:
    """Return how the search ended and what a singular fit means."""
    record = results.convergence
    key = "summaries.converged" if record.converged else "summaries.not_converged"
    gradient = f"{record.gradient_norm:.1e}"
    values = {"n": record.n_evaluations, "gradient": gradient}
    russian = text(key, **values | {"gradient": gradient.replace(".", ",")}).localized("ru")
    found = [Bilingual(str(text(key, **values)), russian)]
    singular = [level.name for level in results.mixed.levels if level.singular]
    if record.singular or singular:
        found.append(text("summaries.singular", levels=", ".join(singular) or "—"))
    return found


def _number(key: str, value: float) -> Bilingual:
    """Return a sentence with a number, a decimal comma in the Russian one."""
    printed = f"{value:.3f}"
    return text(key, value=numeral(printed))
