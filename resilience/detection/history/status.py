"""Status of schools over years: entered, confirmed, left, re-entered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.history.states import ENDED, NO, UNKNOWN, YES, Answers, States, follow
from resilience.detection.history.status_results import StatusResults
from resilience.detection.history.verdict_years import (
    VerdictYears,
    read_successors,
    read_verdicts,
)
from resilience.detection.verdicts.results import DetectionResults
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import shorten

__all__ = ["list_status"]


def list_status(
    verdicts: pd.DataFrame | Mapping[int, DetectionResults],
    *,
    rule_id: str | Mapping[int, str] | None = None,
    rule_versions: Mapping[int, str] | None = None,
    successors: pd.DataFrame | Mapping[str, str] | None = None,
) -> StatusResults:
    """Follow schools over the lists of several years.

    A year that no table holds, a school without a row, a verdict ``insufficient_data`` and a school
    the rule leaves aside (``not_applicable``) are unknown: they break the chain and never count as
    having left.  Between two versions of a rule statuses are named as usual, but marked; such pairs
    of years stay out of transitions and durations.

    Parameters
    ----------
    verdicts : DataFrame or mapping of int to DetectionResults
        ``school_id year verdict [rule_id]``, or what `detect_schools` gave for each year.
    rule_id : str or mapping of int to str, optional
        The rule to follow, where several were applied; by year where it changed its name.
    rule_versions : mapping of int to str, optional
        Version of the rule by year; taken from the rules where results are given.
    successors : DataFrame or mapping, optional
        ``school_id successor_id``.  A successor that has no verdicts of its own in the years before
        takes over those of its predecessors (yes if any was listed).  One that has keeps its own,
        and the merged school's row ends with its last verdict: a merger is not an exit.

    Returns
    -------
    StatusResults

    Raises
    ------
    DataError
        If a table is incomplete, a verdict unknown, a key repeated, or a school its own successor.
    SpecificationError
        If several rules were applied and none is named, or a version is given for a year that no
        table holds.
    """
    read = read_verdicts(verdicts, rule_id)
    merged = read_successors(successors)
    table, mergers = _merge(read.table, merged)
    years = np.arange(table["year"].min(), table["year"].max() + 1)
    versions = _versions(read, rule_versions, years)
    new_rule = _new_rule(versions, years)
    school_ids = np.array(sorted(table["school_id"].unique()), dtype=object)
    answers, aside = _answers(table, school_ids, years, mergers)
    states = follow(answers, new_rule)
    statuses = _statuses(school_ids, years, answers, aside, states, new_rule, mergers)
    return StatusResults(
        statuses=statuses,
        mergers=mergers,
        rule_versions=dict(versions),
        notes=_notes(years, table, new_rule, mergers),
    )


def _versions(
    read: VerdictYears, given: Mapping[int, str] | None, years: NDArray[np.int64]
) -> dict[int, str]:
    versions = {int(y): str(v) for y, v in (given or read.versions).items()}
    outside = sorted(set(versions) - {int(y) for y in years})
    if outside:
        raise SpecificationError(
            text("history.version_year", year=outside[0], years=shorten(years, 12))
        )
    return versions


def _new_rule(versions: Mapping[int, str], years: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark years whose rule differs from the last one known before."""
    new, last = np.zeros(len(years), dtype=bool), ""
    for t, year in enumerate(years):
        here = versions.get(int(year), last)
        new[t] = bool(last) and here != last
        last = here
    return new


def _merge(table: pd.DataFrame, merged: Mapping[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hand verdicts of merged schools on to their successors."""
    own = {str(s): set(g["year"]) for s, g in table.groupby("school_id")}
    first = {s: min(years) for s, years in own.items()}
    rows, moved = [], []
    for school, successor in sorted(merged.items()):
        if school not in own:
            continue
        last = max(own[school])
        # a successor without verdicts of its own up to then takes over the history
        takes = successor not in first or first[successor] > last
        rows.append(
            {
                "school_id": school,
                "successor_id": successor,
                "last_year": last,
                "taken_over": takes,
            }
        )
        if takes:
            moved.append(school)
    names = ["school_id", "successor_id", "last_year", "taken_over"]
    mergers = pd.DataFrame(rows, columns=names)
    if not moved:
        return table, mergers
    renamed = table.assign(school_id=[merged[s] if s in moved else s for s in table["school_id"]])
    joined = renamed.groupby(["school_id", "year"])["verdict"].agg(_any).reset_index()
    return joined, mergers


def _any(verdicts: pd.Series) -> str:
    """Combine predecessors: listed if any was, off only if all are known to have been."""
    words = set(verdicts)
    if "yes" in words or len(words) == 1:
        return "yes" if "yes" in words else str(words.pop())
    return "insufficient_data"


def _answers(
    table: pd.DataFrame,
    school_ids: NDArray[np.object_],
    years: NDArray[np.int64],
    mergers: pd.DataFrame,
) -> tuple[Answers, NDArray[np.bool_]]:
    """Return answers of shape (schools, years), and where a rule left a school aside."""
    answers = np.full((len(school_ids), len(years)), UNKNOWN)
    aside = np.zeros(answers.shape, dtype=bool)
    row = np.searchsorted(school_ids, table["school_id"].to_numpy(dtype=object))
    column = table["year"].to_numpy() - years[0]
    word = table["verdict"].to_numpy(dtype=object)
    answers[row, column] = np.where(word == "yes", YES, np.where(word == "no", NO, UNKNOWN))
    aside[row, column] = word == "not_applicable"
    ended = mergers[~mergers["taken_over"].astype(bool)]
    for school, last in zip(ended["school_id"], ended["last_year"], strict=True):
        at = int(np.searchsorted(school_ids, school))
        answers[at, years > last] = ENDED
    return answers, aside


def _statuses(
    school_ids: NDArray[np.object_],
    years: NDArray[np.int64],
    answers: Answers,
    aside: NDArray[np.bool_],
    states: States,
    new_rule: NDArray[np.bool_],
    mergers: pd.DataFrame,
) -> pd.DataFrame:
    n, T = answers.shape
    long = states.years_listed.ravel()
    table = pd.DataFrame(
        {
            "school_id": np.repeat(school_ids, T),
            "year": np.tile(years, n),
            "status": states.status.ravel().astype(object),
            "n_years_listed": pd.array(np.where(long < 0, 0, long), dtype="Int64"),
            "spell_kind": np.where(states.at_start, "running_at_start", "observed_entry").ravel(),
            "rule_break": np.tile(new_rule, n),
        }
    )
    table.loc[long < 0, "n_years_listed"] = pd.NA
    listed = answers.ravel() == YES
    kinds = zip(table["spell_kind"], listed, strict=True)
    table["spell_kind"] = pd.Series([k if on else None for k, on in kinds], dtype=object)
    heirs = dict(zip(mergers["successor_id"], mergers["last_year"], strict=True))
    notes = np.full((n, T), "", dtype=object)
    for j in range(n):
        heir = heirs.get(school_ids[j])
        for t in range(T):
            inherited = t > 0 and heir == years[t - 1]
            notes[j, t] = _note(
                states.after_gap[j, t], aside[j, t], new_rule[t], inherited, str(years[t])
            )
    table["status_note"] = pd.Series(notes.ravel(), dtype=object)
    there: pd.DataFrame = table[answers.ravel() != ENDED]
    return there.reset_index(drop=True)


def _note(gap: bool, aside: bool, new_rule: bool, inherited: bool, year: str) -> Bilingual | str:
    keys = [("after_gap", gap), ("aside", aside), ("new_rule", new_rule), ("inherited", inherited)]
    said: Sequence[Bilingual] = [text(f"history.note_{k}", year=year) for k, on in keys if on]
    if not said:
        return ""
    return Bilingual("; ".join(s.en for s in said), "; ".join(s.ru for s in said))


def _notes(
    years: NDArray[np.int64],
    table: pd.DataFrame,
    new_rule: NDArray[np.bool_],
    mergers: pd.DataFrame,
) -> tuple[Bilingual, ...]:
    notes = []
    missing = sorted({int(y) for y in years} - {int(y) for y in table["year"].unique()})
    if missing:
        notes.append(text("history.missing_years", years=shorten(missing, 12)))
    if new_rule.any():
        notes.append(text("history.breaks", years=shorten(years[new_rule], 12)))
    if len(mergers):
        notes.append(text("history.mergers", n=len(mergers)))
    return tuple(notes)
