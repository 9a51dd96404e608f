"""Models of a multiverse: given results, or one model refitted under a grid of choices."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from typing import Any, Literal

import pandas as pd

from resilience.clustering.comparison.effects import NeighbourEffects
from resilience.data.design import formula_columns
from resilience.errors import ResilienceError, SpecificationError, WeakDataWarning
from resilience.i18n import Bilingual, text
from resilience.value_added import (
    EffectsResults,
    OrdinalSchoolModel,
    SchoolLevelModel,
    ValueAddedModel,
)
from resilience.value_added.pupils.shared_pass import SharedPass

__all__ = ["Estimated", "Models", "Refits", "bilingual_warnings", "in_parallel", "model_levels"]

Model = ValueAddedModel | SchoolLevelModel | OrdinalSchoolModel
Method = Literal["reml", "ml"]
NO_OUTCOME = "outcome_"  # left-hand side of formulas of marks, which have none


@dataclass(frozen=True, eq=False)
class Refits:
    """One model refitted under choices that are crossed with each other.

    All specifications rest on the same rows: those complete in every column that any of them uses.
    For `ValueAddedModel` they share one pass of cross-products.

    Parameters
    ----------
    model : ValueAddedModel, SchoolLevelModel or OrdinalSchoolModel
        The model; what is not varied stays as it is.
    data : DataFrame
        What the model is fitted to.
    adjustment : mapping of {name: right-hand side} or sequence of right-hand sides, optional
        Sets of covariates, for instance ``{"prior": "prior_score", "all": "prior_score + ses"}``.
    outcome : mapping of {name: column} or sequence of columns, optional
        Outcome columns.
    method : sequence of {"reml", "ml"}, optional
        Criteria of the fit.
    years : mapping of {name: years}, optional
        Windows, for instance ``{"last": [2025], "all": [2023, 2024, 2025]}``.  With one year the
        level of years is left out (the effect is that year's), and so are covariates that do not
        vary in it; an SD of pupils to be estimated is taken over all years.  Context, counts and
        other tables count up to the last year of the window.
    year : str
        Column of the years.
    """

    model: Model
    data: pd.DataFrame
    _: KW_ONLY
    adjustment: Mapping[str, str] | Sequence[str] = ()
    outcome: Mapping[str, str] | Sequence[str] = ()
    method: Sequence[Method] = ()
    years: Mapping[str, Sequence[int]] = field(default_factory=dict)
    year: str = "year"

    def __post_init__(self) -> None:
        if not isinstance(self.model, ValueAddedModel | SchoolLevelModel | OrdinalSchoolModel):
            raise SpecificationError(
                text("multiverse.refits_model", kind=type(self.model).__name__)
            )
        for name in ("adjustment", "outcome", "method", "years"):
            _named(getattr(self, name), name)
        if self.outcome and isinstance(self.model, OrdinalSchoolModel):
            raise SpecificationError(text("multiverse.refits_outcome"))
        if self.years and self.year not in self.data.columns:
            raise SpecificationError(text("multiverse.refits_years", column=repr(self.year)))

    @property
    def grid(self) -> dict[str, dict[str, Any]]:
        """Levels of the choices that are varied: ``{factor: {name: value}}``."""
        own = {
            name: _named(getattr(self, name), name)
            for name in ("outcome", "adjustment", "method", "years")
        }
        return {name: levels for name, levels in own.items() if levels}


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimated:
    """Effects under one combination of choices, or why there are none.

    Attributes
    ----------
    levels : dict of {factor: level}
        The combination.
    effects, school_years : DataFrame or None
        Tables for the rules.
    variances : dict
        Variances for the rules; empty for published effects.
    last_year : int or None
        Last year of the window; later rows of other tables do not count.
    error : str
        Why there are no effects; empty where there are.
    notes : tuple of Bilingual
        Warnings of the fit.
    """

    levels: dict[str, str]
    effects: pd.DataFrame | None = None
    school_years: pd.DataFrame | None = None
    variances: dict[str, float] = field(default_factory=dict)
    last_year: int | None = None
    error: str = ""
    notes: tuple[Bilingual, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Models:
    """All models of a multiverse.

    Attributes
    ----------
    factors : dict of {factor: tuple of levels}
        Choices that the models vary.
    fitted : tuple of Estimated
        One per combination, in the order of the product.
    n_fits, n_passes : int
        Models fitted anew; passes over rows of pupils.
    notes : tuple of Bilingual
        What concerns all of them.
    """

    factors: dict[str, tuple[str, ...]]
    fitted: tuple[Estimated, ...]
    n_fits: int = 0
    n_passes: int = 0
    notes: tuple[Bilingual, ...] = ()


def _named(levels: Any, argument: str) -> dict[str, Any]:
    """Return levels by name; a sequence names itself."""
    if isinstance(levels, str):
        raise SpecificationError(
            text("multiverse.refits_levels", argument=argument, value=repr(levels))
        )
    pairs = list(levels.items()) if isinstance(levels, Mapping) else [(str(v), v) for v in levels]
    names = [str(name) for name, _ in pairs]
    if len(set(names)) != len(names) or not all(names):
        raise SpecificationError(
            text("multiverse.refits_levels", argument=argument, value=repr(names))
        )
    return {str(name): value for name, value in pairs}


def model_levels(va: object, *, n_jobs: int = 1, factor: str = "model") -> Models:
    """Return the models behind ``va``: results, a table, `Refits`, or a mapping of names to these.

    A mapping is the choice ``factor``.

    Raises
    ------
    SpecificationError
        If something else is given, or the members of a mapping vary different choices.
    """
    if isinstance(va, Mapping):
        return _of_mapping(va, n_jobs, factor)
    if isinstance(va, Refits):
        return _of_refits(va, n_jobs)
    if isinstance(va, EffectsResults):
        return Models(factors={}, fitted=(_tables_of(va, {}),))
    if isinstance(va, NeighbourEffects):
        return Models(factors={}, fitted=(_of_neighbours(va),))
    if va is None or isinstance(va, pd.DataFrame):
        return Models(factors={}, fitted=(Estimated(levels={}, effects=va),))
    raise SpecificationError(text("multiverse.va_type", kind=type(va).__name__))


def _of_neighbours(effects: NeighbourEffects) -> Estimated:
    """Return effects over the expectation by neighbours, and who has none."""
    n = len(effects.left_out)
    return Estimated(
        levels={},
        effects=effects.school_effects,
        variances=effects.variances,
        notes=(text("groupings.alone", n=n),) if n else (),
    )


def _of_mapping(models: Mapping[Any, object], n_jobs: int, factor: str) -> Models:
    own = {str(name): model_levels(value, n_jobs=n_jobs) for name, value in models.items()}
    if not own:
        raise SpecificationError(text("multiverse.va_type", kind="{}"))
    first = next(iter(own))
    for name, found in own.items():
        if found.factors != own[first].factors:
            raise SpecificationError(
                text(
                    "multiverse.different_factors",
                    first=repr(first),
                    expected=own[first].factors,
                    name=repr(name),
                    seen=found.factors,
                )
            )
    return Models(
        factors={factor: tuple(own), **own[first].factors},
        fitted=tuple(
            replace(one, levels={factor: name, **one.levels})
            for name, found in own.items()
            for one in found.fitted
        ),
        n_fits=sum(found.n_fits for found in own.values()),
        n_passes=sum(found.n_passes for found in own.values()),
        notes=tuple(dict.fromkeys(note for found in own.values() for note in found.notes)),
    )


def _tables_of(va: EffectsResults, levels: dict[str, str], **more: Any) -> Estimated:
    return Estimated(
        levels=levels,
        effects=va.school_effects,
        school_years=va.school_years,
        variances=dict(va.variances),
        **more,
    )


def _of_refits(refits: Refits, n_jobs: int) -> Models:
    """Fit every combination; one that fails keeps its place with its error."""
    grid = refits.grid
    formulas = _formulas(refits)
    cells = [dict(zip(grid, names, strict=True)) for names in itertools.product(*grid.values())]
    if isinstance(refits.model, ValueAddedModel):
        shared = SharedPass.read(
            refits.model, refits.data, formulas, years=refits.year if refits.years else None
        )
        n_dropped = shared.n_dropped
        fitted = [_from_shared(refits, shared, cell) for cell in cells]
        n_passes = 1
    else:
        # the windows of one formula share the SD of pupils, and so stay together
        rows, n_dropped = _common_rows(refits, list(formulas.values()))
        families: dict[tuple[str, str], list[dict[str, str]]] = {}
        for cell in cells:
            families.setdefault((_key(cell), cell.get("method", "reml")), []).append(cell)
        jobs = [
            (refits, rows, formulas[key], method, own) for (key, method), own in families.items()
        ]
        together = in_parallel(_fit_family, jobs, n_jobs)
        by_levels = {tuple(e.levels.items()): e for e in itertools.chain(*together)}
        fitted = [by_levels[tuple(cell.items())] for cell in cells]
        n_passes = 0
    notes = (text("multiverse.dropped", n=n_dropped),) if n_dropped else ()
    return Models(
        factors={name: tuple(levels) for name, levels in grid.items()},
        fitted=tuple(fitted),
        n_fits=sum(not one.error for one in fitted),
        n_passes=n_passes,
        notes=notes,
    )


def in_parallel(function: Any, jobs: Sequence[tuple[Any, ...]], n_jobs: int) -> list[Any]:
    """Return ``[function(*job) for job in jobs]``, the same for any number of processes."""
    if n_jobs == 1 or len(jobs) < 2:
        return [function(*job) for job in jobs]
    from joblib import Parallel, delayed  # type: ignore[import-untyped]  # ships no types

    return list(Parallel(n_jobs=n_jobs)(delayed(function)(*job) for job in jobs))


def _key(cell: Mapping[str, str]) -> str:
    """Return the name of the formula of a combination."""
    return f"{cell.get('outcome', '')}|{cell.get('adjustment', '')}"


def _formulas(refits: Refits) -> dict[str, str]:
    """Return the formula of every outcome and adjustment."""
    left, _, right = refits.model.formula.partition("~")
    outcomes = refits.grid.get("outcome", {"": left.strip()})
    adjustments = refits.grid.get("adjustment", {"": right.strip()})
    return {
        _key({"outcome": o, "adjustment": a}): f"{outcome} ~ {adjustment}".strip()
        for (o, outcome), (a, adjustment) in itertools.product(
            outcomes.items(), adjustments.items()
        )
    }


def _common_rows(refits: Refits, formulas: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Return the rows complete in every column of any formula, and how many are left out."""
    data, used = refits.data, []
    for formula in formulas:
        left, _, right = formula.partition("~")
        try:
            parts = formula_columns(f"{left.strip() or NO_OUTCOME} ~ {right}")
        except SpecificationError:
            continue  # said of this specification alone
        used += [parts.outcome, *parts.variables]
    there = [c for c in dict.fromkeys(used) if c in data.columns]
    complete = data[there].notna().all(axis=1)
    return data[complete], int((~complete).sum())


def _from_shared(refits: Refits, shared: SharedPass, cell: dict[str, str]) -> Estimated:
    window = _window(refits, cell)
    method: Any = cell.get("method", "reml")  # the model refuses what is none
    return _recorded(
        cell, partial(shared.fit, _key(cell), window=window, method=method), window=window
    )


def _window(refits: Refits, cell: Mapping[str, str]) -> list[int] | None:
    """Return the years of a combination, None for all."""
    years = refits.grid.get("years", {}).get(cell.get("years", ""))
    return None if years is None else [int(y) for y in years]


def _recorded(
    cell: dict[str, str], fit: Callable[[], EffectsResults], *, window: Sequence[int] | None
) -> Estimated:
    """Run one fit; its warnings become notes, its failure an error that stands in the table."""
    last_year = max(window) if window else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", WeakDataWarning)
        try:
            va = fit()
        except ResilienceError as error:
            return Estimated(levels=cell, error=str(error), last_year=last_year)
    return _tables_of(va, cell, last_year=last_year, notes=bilingual_warnings(caught))


def bilingual_warnings(caught: list[warnings.WarningMessage]) -> tuple[Bilingual, ...]:
    """Return our own warnings in both languages, and pass on those of others."""
    notes = []
    for one in caught:
        if not isinstance(one.message, WeakDataWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
            continue
        said = one.message.message
        notes.append(said if isinstance(said, Bilingual) else Bilingual(said, said))
    return tuple(dict.fromkeys(notes))


def _fit_family(
    refits: Refits,
    rows: pd.DataFrame,
    formula: str,
    method: str,
    cells: Sequence[dict[str, str]],
) -> list[Estimated]:
    """Fit one formula in all windows."""
    sd: list[float] = []  # of pupils over all years, once it was needed
    found = []
    for cell in cells:
        window = _window(refits, cell)
        fit = partial(_fit_window, refits, rows, formula, method, window, sd)
        found.append(_recorded(cell, fit, window=window))
    return found


def _fit_window(
    refits: Refits,
    rows: pd.DataFrame,
    formula: str,
    method: str,
    window: Sequence[int] | None,
    sd: list[float],
) -> EffectsResults:
    """Fit a model of means or marks to some years."""
    model: Any = refits.model  # of three kinds, each with a formula and a year column
    model = replace(model, formula=formula)
    data = rows if window is None else rows[rows[refits.year].isin(window)]
    if window is not None and len(data) and len(set(window)) == 1 and model.time is not None:
        if getattr(model, "sd", None) == "estimate":
            if not sd:
                sd.append(float(model.fit(rows, method=method).pupil_sd))
            model = replace(model, sd=sd[0])
        model = replace(model, time=None, formula=_varying(formula, data))
    found: EffectsResults = model.fit(data, method=method)
    return found


def _varying(formula: str, data: pd.DataFrame) -> str:
    """Return the formula without the terms whose columns do not vary in the rows."""
    from formulaic import Formula

    left, _, right = formula.partition("~")
    terms = [str(term) for term in Formula(right.strip())]
    kept = []
    for term in terms:
        columns = () if term == "1" else formula_columns(f"{NO_OUTCOME} ~ {term}").variables
        flat = [c for c in columns if c in data.columns and data[c].nunique() < 2]
        if not columns or len(flat) < len(columns):
            kept.append(term)
    if len(kept) == len(terms):
        return formula
    constant = [] if "1" in kept else ["0"]
    return f"{left.strip()} ~ {' + '.join([*constant, *kept])}".strip()
