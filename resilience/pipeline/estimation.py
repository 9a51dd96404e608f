"""Which model the data allow, and why: said aloud, with its question and what the data keep."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.pipeline.config import ModelConfig, SourceKind
from resilience.pipeline.estimation_marks import fit_marks
from resilience.pipeline.estimation_means import fit_procedure_means, fit_school_means
from resilience.pipeline.estimation_pupils import fit_pupils
from resilience.pipeline.procedure_cells import procedure_cells
from resilience.pipeline.procedure_names import pupil_procedures
from resilience.pipeline.sources import (
    PREFERENCE,
    Sources,
    Supply,
    choose_sources,
    find_supply,
)
from resilience.value_added import EffectsResults, OrdinalSchoolResults

__all__ = ["Choice", "Estimate", "Tables", "choose_model", "estimate_effects"]

_ALLOWED: dict[str, tuple[SourceKind, ...]] = {
    "pupils": ("pupils",),
    "counts": ("counts", "share"),
    "means": ("means",),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """What the effects may be estimated from.

    Attributes
    ----------
    schools : DataFrame
        One row per school and year.
    pupils, counts, means, procedures : DataFrame or None
        The other tables; absent ones are None.
    scores : DataFrame or None
        Context scores, the covariate of models without pupils.
    """

    schools: pd.DataFrame
    pupils: pd.DataFrame | None = None
    counts: pd.DataFrame | None = None
    means: pd.DataFrame | None = None
    procedures: pd.DataFrame | None = None
    scores: pd.DataFrame | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """The model that is taken.

    Attributes
    ----------
    kind : {"pupils", "counts", "means", "mixture"}
        Data it rests on.
    note : Bilingual
        What was chosen and why.
    sources : Sources
        The same by procedure and year.
    """

    kind: str
    note: Bilingual
    sources: Sources


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """Effects with the reason why this model was taken.

    Attributes
    ----------
    va : EffectsResults
        The fitted model.
    kind : {"pupils", "counts", "means", "mixture"}
        Data it rests on.
    sources : DataFrame
        ``procedure year source_kind other_sources n_schools n_pupils n_schools_without
        information source_reason``: what was taken for each procedure and year; empty where no
        result names its procedure.
    notes : tuple of Bilingual
        What was chosen and why, the question it answers, what the data keep, what was left out.
    """

    va: EffectsResults
    kind: str
    sources: pd.DataFrame
    notes: tuple[Bilingual, ...]


def choose_model(settings: ModelConfig, tables: Tables) -> Choice:
    """Choose the model by what is there.

    Pupils whose scores are linked to an earlier result go first: only they tell what was added
    since then.  Otherwise each procedure and year takes the best source there is, and the model
    follows from the sources taken; means in the table of schools, which name no procedure, come
    last.

    Parameters
    ----------
    settings : ModelConfig
        What was asked for.
    tables : Tables
        What there is, pupils with their procedure where it is known.

    Raises
    ------
    DataError
        If the kind asked for, or any, has no data.
    SpecificationError
        If a procedure is asked for that is not there.
    """
    pupils, asked = tables.pupils, settings.procedures
    there = pupils is not None and len(pupils) > 0
    supply = find_supply(pupils=pupils, counts=tables.counts, means=tables.means)
    if there and not asked and (settings.kind == "pupils" or _auto_linked(settings, pupils)):
        reason = "asked" if settings.kind == "pupils" else "linked"
        return _choice("pupils", reason, choose_sources(supply, {}, allowed=("pupils",)))
    allowed = _ALLOWED.get(settings.kind, PREFERENCE)
    sources = choose_sources(supply, asked, allowed=allowed)
    kind = sources.model_kind
    if kind == "pupils" and pupils is not None and "pupil_key" not in pupils.columns:
        return _choice("means", "keyless", sources)
    if kind != "none":
        alone = settings.kind == "auto" and not asked and supply.kinds == sources.kinds
        free = settings.kind in ("auto", "mixture")
        reason = "only" if alone and kind != "mixture" else "by_procedure" if free else "asked"
        return _choice(kind, reason, sources)
    if settings.kind == "auto" and there:
        return _choice("pupils", "unnamed", sources)
    if settings.kind in ("auto", "means") and _has_school_means(tables.schools):
        return _choice("means", "asked" if settings.kind == "means" else "last", sources)
    raise DataError(
        text("pipeline.no_results", kind=settings.kind, there=_there(supply, tables) or "—")
    )


def estimate_effects(settings: ModelConfig, tables: Tables, *, random_state: int = 0) -> Estimate:
    """Fit the model that the data allow.

    Parameters
    ----------
    settings : ModelConfig
        What was asked for.
    tables : Tables
        What there is.
    random_state : int
        Seed of the rank intervals.

    Raises
    ------
    DataError, SpecificationError
        If the kind asked for has no data, or the data break a rule of the model.
    """
    tables = _named(settings, tables)
    choice = choose_model(settings, tables)
    va, notes = _fitted(settings, tables, choice, random_state)
    return Estimate(
        va=va,
        kind=choice.kind,
        sources=_with_information(choice.sources.table, va),
        notes=(
            choice.note,
            *_meaning(va),
            *_left_aside(choice),
            *_unnamed(settings, tables, choice),
            *notes,
        ),
    )


def _fitted(
    settings: ModelConfig, tables: Tables, choice: Choice, random_state: int
) -> tuple[EffectsResults, tuple[Bilingual, ...]]:
    pupils, sources = tables.pupils, choice.sources
    if choice.kind == "pupils" and pupils is not None:
        return fit_pupils(settings, pupils, random_state=random_state), ()
    if not sources.kinds:
        return fit_school_means(
            settings, tables.schools, scores=tables.scores, random_state=random_state
        )
    cells = procedure_cells(
        sources, pupils=pupils, counts=tables.counts, means=tables.means, sd=settings.sd
    )
    if set(sources.kinds) & {"counts", "share"}:
        return fit_marks(
            settings,
            cells,
            procedures=tables.procedures,
            schools=tables.schools,
            scores=tables.scores,
            random_state=random_state,
        )
    return fit_procedure_means(
        settings,
        cells,
        procedures=tables.procedures,
        schools=tables.schools,
        scores=tables.scores,
        random_state=random_state,
    )


def _named(settings: ModelConfig, tables: Tables) -> Tables:
    """Return the tables with the procedure of each result of a pupil, of the subjects asked for."""
    pupils = tables.pupils
    if pupils is None:
        return tables
    if settings.subjects and "subject" in pupils.columns:
        pupils = pupils[pupils["subject"].isin(list(settings.subjects))]
    named = pupil_procedures(pupils, settings.outcome_procedure)
    return replace(tables, pupils=pupils.assign(procedure=named))


def _auto_linked(settings: ModelConfig, pupils: pd.DataFrame | None) -> bool:
    """Return whether the run chooses by itself and pupils are linked to an earlier result."""
    if settings.kind != "auto" or pupils is None or "prior_score" not in pupils.columns:
        return False
    return bool(pupils["prior_score"].notna().any())


def _has_school_means(schools: pd.DataFrame) -> bool:
    return "mean_score" in schools.columns and bool(schools["mean_score"].notna().any())


def _there(supply: Supply, tables: Tables) -> str:
    found = list(supply.kinds)
    if "pupils" not in found and tables.pupils is not None and len(tables.pupils):
        found.insert(0, "pupils")
    if "means" not in found and _has_school_means(tables.schools):
        found.append("means")
    return ", ".join(found)


def _choice(kind: str, reason: str, sources: Sources) -> Choice:
    note = text(
        "pipeline.choice",
        chosen=text(f"pipeline.chosen_{kind}"),
        reason=text(f"pipeline.reason_{reason}"),
    )
    return Choice(kind=kind, note=note, sources=sources)


def _meaning(va: EffectsResults) -> tuple[Bilingual, ...]:
    """Return the question the effects answer, and how much the data keep."""
    question = text("pipeline.question", question=va.question.describe())
    if va.information == va.information:
        kept = text("pipeline.information", share=f"{100 * va.information:.0f} %")
        return question, kept
    reason = va.information_reason
    return (question,) if reason is None else (question, reason)


def _left_aside(choice: Choice) -> tuple[Bilingual, ...]:
    """Return what was there and was not taken."""
    table = choice.sources.table
    if table.empty:
        return ()
    notes = []
    unused = table[table["source_kind"].astype(str) == "none"]
    if len(unused):
        names = ", ".join(dict.fromkeys(unused["procedure"].astype(str)))
        notes.append(text("pipeline.not_taken", n=len(unused), procedures=names))
    without = int(table["n_schools_without"].sum())
    if without:
        notes.append(text("pipeline.without_source", n=without))
    return tuple(notes)


def _unnamed(settings: ModelConfig, tables: Tables, choice: Choice) -> tuple[Bilingual, ...]:
    """Return how many results of pupils could not enter, since they name no procedure."""
    pupils = tables.pupils
    if pupils is None or choice.kind == "pupils" or settings.kind not in ("auto", "mixture"):
        return ()
    n = int(pupils["procedure"].isna().sum())
    return (text("pipeline.unnamed_pupils", n=n),) if n else ()


def _with_information(sources: pd.DataFrame, va: EffectsResults) -> pd.DataFrame:
    """Add to each procedure and year the share of information that its data keep."""
    if sources.empty:
        return sources
    known = sources["source_kind"].astype(str).map({"pupils": 1.0, "means": 1.0}).astype(float)
    if isinstance(va, OrdinalSchoolResults):
        kept = va.information_table[["procedure", "year", "information"]].copy()
        on = ["procedure", "year"]
        merged = (
            sources[on]
            .astype({"procedure": object})
            .merge(kept.astype({"procedure": object}), on=on, how="left")
        )
        known = known.fillna(merged["information"].set_axis(known.index).astype(float))
    at = list(sources.columns).index("source_reason")
    table = sources.copy()
    table.insert(at, "information", known)
    return table
