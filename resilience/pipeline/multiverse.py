"""A multiverse of lists: every combination of the choices behind a list, and its list."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.context import ContextIndex, ContextIndexResults
from resilience.detection import Criteria, detect_schools
from resilience.detection.robustness_lists import CODES, ListArray
from resilience.errors import ResilienceError, SpecificationError, WeakDataWarning, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.pipeline.multiverse_choices import expected_levels, grouping_levels
from resilience.pipeline.multiverse_refits import (
    Estimated,
    Refits,
    bilingual_warnings,
    in_parallel,
)
from resilience.pipeline.multiverse_results import MultiverseResults
from resilience.pipeline.multiverse_rules import rule_levels
from resilience.pipeline.within_groups import detect_within_groups

__all__ = ["MultiverseResults", "Refits", "multiverse"]

MOST_UNKNOWN = 0.10
MOST_NOTES = 12  # warnings of single specifications printed; the others are counted


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tables:
    """Tables beside effects and index that rules may read."""

    counts: pd.DataFrame | None
    schools: pd.DataFrame | None
    school_years: pd.DataFrame | None
    variances: Mapping[str, float] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answers:
    """What one pair of model and index gave: one row per rule."""

    school_ids: NDArray[np.object_]
    answers: NDArray[np.int8]
    probabilities: NDArray[np.float32]
    errors: list[str]
    notes: tuple[Bilingual, ...] = field(default=())


def multiverse(
    va: Any,
    index: Any,
    rules: Criteria | Sequence[Criteria] | Mapping[str, Any],
    *,
    counts: pd.DataFrame | None = None,
    schools: pd.DataFrame | None = None,
    school_years: pd.DataFrame | None = None,
    variances: Mapping[str, float] | None = None,
    groups: Any = None,
    expectation: Mapping[str, Any] | None = None,
    n_jobs: int = 1,
    random_state: int = 0,
) -> MultiverseResults:
    """Apply every combination of models, indices, groups and rules.

    Parameters
    ----------
    va : EffectsResults, DataFrame, Refits, None, or mapping of names to these
        Effects: results of a model, a published table, or a model to be refitted under a grid of
        covariates, outcomes, methods and years.  A mapping is a choice of its own, ``model``.
    index : ContextIndexResults, DataFrame, ContextIndex, None, or mapping of names to these
        Context; an index that is not fitted yet is fitted to ``schools``.  A mapping is the choice
        ``index``.
    rules : Criteria, sequence of Criteria, or mapping of names to these
        Named by the caller; the choices of ``rule.grid(...)`` are read off the rules.
    counts, schools, school_years, variances : optional
        Tables for the rules, as for `detect_schools`; results of a model bring their own years and
        variances.
    groups : mapping of names to None or groups, or groups, optional
        Where the quantiles of the rules are taken: None is the whole region, anything else that
        `detect_within_groups` takes is every group by itself.  A mapping is the choice ``groups``.
    expectation : mapping of names to effects, optional
        Effects over different expectations, for instance ``{"regression": va, "neighbours":
        rs.neighbour_effects(...)}``: the choice ``expectation``.  ``va`` is then one of them, None,
        or the further level ``regression``.
    n_jobs : int
        Processes; -1 takes all cores.  The results are the same for any number.
    random_state : int
        Seed of indices that are fitted here.

    Returns
    -------
    MultiverseResults

    Raises
    ------
    DataError, SpecificationError
        If an argument is of the wrong kind.  What concerns single specifications does not raise:
        they stand in the table with their error.

    Warns
    -----
    WeakDataWarning
        Specifications failed; more than a tenth of all answers are insufficient data.

    References
    ----------
    SteegenEtAl2016; SimonsohnEtAl2020.

    Examples
    --------
    >>> import resilience as rs
    >>> from resilience.pipeline.multiverse import multiverse
    >>> region = rs.load_dataset("north_region")
    >>> model = rs.ValueAddedModel("score ~ prior_score + ses", group="school_id", time="year")
    >>> inputs = ["both_parents_higher_edu", "low_income", "single_parent"]
    >>> index = rs.ContextIndex.equal(inputs).fit(region.schools)
    >>> rules = rs.Criteria.preset("resilient_quadrant")
    >>> grid = rules.grid(adversity=[.20, .25, .33], high_mean=[.67, .75])
    >>> found = multiverse(model.fit(region.pupils), index, grid, schools=region.schools)
    >>> len(found.specifications), found.lists.factors
    (6, ('adversity', 'high_mean'))
    """
    if not isinstance(n_jobs, int) or isinstance(n_jobs, bool) or (n_jobs < 1 and n_jobs != -1):
        raise SpecificationError(text("multiverse.n_jobs", value=repr(n_jobs)))
    chosen = rule_levels(rules)
    indices = _indices(index, schools, random_state)
    models = expected_levels(va, expectation, n_jobs=n_jobs)
    placed = grouping_levels(groups, schools)
    factors = _joined(
        models.factors, {"index": tuple(indices), "groups": tuple(placed)}, chosen.factors
    )
    for name, given in (("index", index), ("groups", groups)):
        if not isinstance(given, Mapping):
            factors.pop(name)
    tables = _Tables(counts=counts, schools=schools, school_years=school_years, variances=variances)
    jobs = [
        (one, scores, inside, chosen.rules, tables)
        for one, scores, inside in itertools.product(
            models.fitted, indices.values(), placed.values()
        )
    ]
    found: list[_Answers] = in_parallel(_judge, jobs, n_jobs)
    cells = [
        {**one.levels, "index": name, "groups": inside, **levels}
        for one, name, inside in itertools.product(models.fitted, indices, placed)
        for levels in chosen.levels
    ]
    lists, probabilities = _assembled(factors, cells, found)
    single = [n for one in models.fitted for n in one.notes] + [n for a in found for n in a.notes]
    weak = _weaknesses(lists)
    for note in weak:
        warn_weak_data(note)
    return MultiverseResults(
        lists=lists,
        probabilities=probabilities,
        rules=chosen.rules,
        notes=(*models.notes, *chosen.notes, *weak, *_capped(single)),
        n_fits=models.n_fits,
        n_passes=models.n_passes,
    )


def _joined(*parts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return all choices in the order declared."""
    found: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for name, levels in part.items():
            if name in found:
                raise SpecificationError(text("multiverse.factor_twice", name=repr(name)))
            found[name] = levels
    return found


def _indices(
    index: object, schools: pd.DataFrame | None, random_state: int
) -> dict[str, pd.DataFrame | str | None]:
    """Return the scores of every index by name; the error of one that could not be fitted."""
    if isinstance(index, Mapping):
        if not index:
            raise SpecificationError(text("multiverse.index_type", kind="{}"))
        return {str(name): _scores(value, schools, random_state) for name, value in index.items()}
    return {"": _scores(index, schools, random_state)}


def _scores(
    index: object, schools: pd.DataFrame | None, random_state: int
) -> pd.DataFrame | str | None:
    if isinstance(index, ContextIndexResults):
        return index.scores
    if index is None or isinstance(index, pd.DataFrame):
        return index
    if not isinstance(index, ContextIndex):
        raise SpecificationError(text("multiverse.index_type", kind=type(index).__name__))
    if schools is None:
        raise SpecificationError(text("multiverse.index_schools"))
    try:
        return index.fit(schools, random_state=random_state).scores
    except ResilienceError as error:
        return str(error)


def _judge(
    one: Estimated,
    scores: pd.DataFrame | str | None,
    groups: Any,
    rules: tuple[Criteria, ...],
    tables: _Tables,
) -> _Answers:
    """Apply all rules to one model and index, in the region or inside groups.

    What fails gives its error.
    """
    failure = one.error or (scores if isinstance(scores, str) else "")
    if failure or isinstance(scores, str):
        return _failed(len(rules), failure)
    arguments: dict[str, Any] = {
        "counts": _upto(tables.counts, one.last_year),
        "schools": _upto(tables.schools, one.last_year),
        "school_years": tables.school_years if one.school_years is None else one.school_years,
        "variances": one.variances or tables.variances,
    }
    context = _upto(scores, one.last_year)
    detect: Any = detect_schools
    if groups is not None:
        detect = partial(detect_within_groups, groups=groups)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", WeakDataWarning)
        try:
            found = [detect(one.effects, context, rules, **arguments).schools]
            errors = [""] * len(rules)
        except ResilienceError:
            # some rule cannot be applied: each by itself, so that the others keep their lists
            found, errors = [], []
            for rule in rules:
                try:
                    found.append(detect(one.effects, context, rule, **arguments).schools)
                    errors.append("")
                except ResilienceError as error:
                    errors.append(str(error))
    notes = bilingual_warnings(caught)
    if not found:
        return _failed(len(rules), "", errors=errors, notes=notes)
    # every rule answers on the same schools, in the same order
    first = found[0]
    ids = first["school_id"].to_numpy(dtype=object)[: _n_of_first_rule(first)]
    answers = np.full((len(rules), len(ids)), -1, dtype=np.int8)
    probabilities = np.full((len(rules), len(ids)), np.nan, dtype=np.float32)
    worked = [k for k, error in enumerate(errors) if not error]
    together = pd.concat(found, ignore_index=True) if len(found) > 1 else first
    verdicts = pd.Series(together["verdict"].to_numpy(dtype=object)).map(CODES)
    answers[worked] = verdicts.to_numpy(dtype=np.int8).reshape(len(worked), -1)
    p = together["probability"].to_numpy(dtype=np.float32)
    probabilities[worked] = p.reshape(len(worked), -1)
    return _Answers(
        school_ids=ids, answers=answers, probabilities=probabilities, errors=errors, notes=notes
    )


def _n_of_first_rule(table: pd.DataFrame) -> int:
    rule = table["rule_id"].to_numpy(dtype=object)
    return int((rule == rule[0]).sum())


def _failed(
    n: int, error: str, *, errors: list[str] | None = None, notes: tuple[Bilingual, ...] = ()
) -> _Answers:
    return _Answers(
        school_ids=np.empty(0, dtype=object),
        answers=np.empty((n, 0), dtype=np.int8),
        probabilities=np.empty((n, 0), dtype=np.float32),
        errors=[error] * n if errors is None else errors,
        notes=notes,
    )


def _upto(table: pd.DataFrame | None, last_year: int | None) -> pd.DataFrame | None:
    """Return the rows up to the last year of a window."""
    if table is None or last_year is None or "year" not in table.columns:
        return table
    return table[table["year"] <= last_year]


def _assembled(
    factors: dict[str, tuple[str, ...]], cells: list[dict[str, str]], found: list[_Answers]
) -> tuple[ListArray, NDArray[np.float32]]:
    """Put the answers of all pairs into one array; a school a pair does not know is unknown."""
    ids = np.unique(np.concatenate([a.school_ids for a in found]))
    answers = np.full((len(cells), len(ids)), -1, dtype=np.int8)
    probabilities = np.full((len(cells), len(ids)), np.nan, dtype=np.float32)
    errors: list[str] = []
    for a in found:
        rows = slice(len(errors), len(errors) + len(a.errors))
        at = np.searchsorted(ids, a.school_ids)
        answers[rows, at] = a.answers
        probabilities[rows, at] = a.probabilities
        errors += a.errors
    table = pd.DataFrame({name: [cell[name] for cell in cells] for name in factors})
    varied = [name for name, levels in factors.items() if len(levels) > 1]
    names = [", ".join(f"{f}={cell[f]}" for f in varied) or "—" for cell in cells]
    table.insert(0, "specification", names)
    table["error"] = errors
    lists = ListArray(
        school_ids=ids,
        specifications=table,
        factors=tuple(varied),
        levels=factors,
        answers=answers,
    )
    return lists, probabilities


def _capped(notes: list[Bilingual]) -> list[Bilingual]:
    """Return the distinct notes, no more than a reader takes in."""
    distinct = list(dict.fromkeys(notes))
    if len(distinct) <= MOST_NOTES:
        return distinct
    rest = len(distinct) - MOST_NOTES
    return [*distinct[:MOST_NOTES], text("multiverse.further_notes", n=rest)]


def _weaknesses(lists: ListArray) -> list[Bilingual]:
    """Return what is to be warned of: failed specifications, answers for want of data."""
    worked, found = lists.worked, []
    if not worked.all():
        found.append(text("multiverse.note_failed", n=int((~worked).sum()), of=len(worked)))
    unknown = float((lists.answers[worked] < 0).mean()) if worked.any() else 0.0
    if unknown > MOST_UNKNOWN:
        found.append(text("multiverse.many_unknown", share=f"{100 * unknown:.0f}"))
    return found
