"""What a simulation takes from the tables: sizes of cells, grades, bands; never the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.cohorts import procedure_grade
from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import SHARE
from resilience.detection.verdicts.pooled import first_year, is_pooled
from resilience.detection.verdicts.shares import share_table
from resilience.detection.verdicts.tables import Tables, gather
from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["Band", "Layout", "band_names", "check_rules", "plain_counts", "read_layout"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Band = tuple[int, int | None]

_COLUMNS = (
    "school_id",
    "year",
    "procedure",
    "class_label",
    "n_participants",
    "n_below_minimum",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Cells of schools, procedures and years.

    Attributes
    ----------
    tables : Tables
        The tables as detection reads them.
    school_ids : ndarray of str, shape (n_schools,)
        All schools, sorted.
    procedures : tuple of str
        Procedures of any rule, sorted.
    grades : ndarray of shape (n_procedures,)
        Grade of each procedure, NaN where its name does not say.
    years : tuple of int
        Consecutive; the last one is the year after the verdict.
    n : ndarray of int, shape (n_schools, n_procedures, n_years)
        Participants; the year after the verdict has the sizes of the verdict's year unless the
        table holds it.
    failing : ndarray of int
        As observed, same shape; 0 in the year after the verdict.
    observed : ndarray of int, shape (2, n_schools)
        Failing and participants of each school over every year up to the verdict's.
    rates : ndarray of shape (n_procedures,)
        Failing rate of each procedure in the region over those years.
    """

    tables: Tables
    school_ids: NDArray[np.object_]
    procedures: tuple[str, ...]
    grades: Floats
    years: tuple[int, ...]
    n: Integers
    failing: Integers
    observed: Integers
    rates: Floats

    @property
    def last(self) -> int:
        """Index of the verdict's year."""
        return len(self.years) - 2

    @property
    def size(self) -> Floats:
        """Mean number of participants over the procedures a school sat, rounded half up; else NaN.

        Years of the verdict.
        """
        now = self.n[:, :, self.last]
        sat = (now > 0).sum(axis=1)
        mean = now.sum(axis=1) / np.maximum(sat, 1)
        return np.where(sat > 0, np.floor(mean + 0.5), np.nan)

    def flagged(self, column: str, rule: Criteria) -> Flags:
        """Return the schools for which a column of the table of schools is true."""
        schools = self.tables.schools
        # a layout of made-up schools keeps the tables of the region and has no flags of its own
        own = self.school_ids is self.tables.school_ids
        if schools is None or column not in schools.columns or not own:
            return np.zeros(len(self.school_ids), dtype=bool)
        chosen = self.tables.latest("schools", rule.id, rule.year)[column]
        return np.asarray(chosen.isin([True]).to_numpy(dtype=bool))

    def outside(self, rule: Criteria) -> Flags:
        """Return the schools that a rule leaves aside."""
        found = np.zeros(len(self.school_ids), dtype=bool)
        if rule.exclude_selective:
            found |= self.flagged("is_selective", rule)
        if rule.exclude_flagged:
            found |= self.flagged("integrity_flag", rule)
        return found

    def uncleared(self, rule: Criteria) -> Flags:
        """Return the cells, (n_schools, n_procedures), in which a share not low clears nobody."""
        if not rule.exclude_flagged_vpr:
            return np.zeros(self.n.shape[:2], dtype=bool)
        vpr = np.array([p.startswith("ВПР") for p in self.procedures])
        return np.asarray(self.flagged("integrity_flag", rule)[:, None] & vpr)

    def columns(self, rule: Criteria) -> Integers:
        """Return the places of a rule's procedures."""
        if not rule.procedures:
            return np.arange(len(self.procedures))
        places = {name: k for k, name in enumerate(self.procedures)}
        return np.array([places[p] for p in rule.procedures], dtype=np.int64)


def check_rules(rules: Criteria | Sequence[Criteria]) -> tuple[Criteria, ...]:
    """Return the rules if counts alone decide each of them.

    Raises
    ------
    SpecificationError
        If there is none, two share an id, or one reads a column that no simulated count gives.
    """
    passed: object = rules  # a caller may pass anything
    if not isinstance(passed, Criteria | Sequence) or isinstance(passed, str):
        raise SpecificationError(
            text("detection.not_a_rule", value=repr(passed), kind=type(passed).__name__)
        )
    chosen = (rules,) if isinstance(rules, Criteria) else tuple(rules)
    if not chosen:
        raise SpecificationError(text("detection.no_rules"))
    for rule in chosen:
        if not isinstance(rule, Criteria):
            raise SpecificationError(
                text("detection.not_a_rule", value=repr(rule), kind=type(rule).__name__)
            )
        for criterion in rule.criteria:
            if criterion.column != SHARE:
                raise SpecificationError(
                    text(
                        "simulator.column",
                        rule=rule.id,
                        criterion=criterion.name,
                        column=repr(criterion.column),
                    )
                )
    ids = [r.id for r in chosen]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise SpecificationError(text("detection.same_rule", rules=", ".join(twice)))
    return chosen


def plain_counts(counts: Any) -> Any:
    """Return the columns that shares are formed from; the reader of tables checks them.

    What is no table is handed on, for that reader to refuse in its own words.
    """
    if not isinstance(counts, pd.DataFrame):
        return counts
    return counts[[c for c in _COLUMNS if c in counts.columns]]


def read_layout(
    counts: pd.DataFrame, rules: tuple[Criteria, ...], schools: pd.DataFrame | None
) -> Layout:
    """Return the cells that the rules read, and one year more.

    Raises
    ------
    DataError
        If a table breaks a rule of its own or lacks a procedure or the year of a rule.
    SpecificationError
        If the rules judge different years.
    """
    tables = gather(
        None, None, counts=plain_counts(counts), school_years=None, schools=schools, variances=None
    )
    read = {rule.id: share_table(tables, rule) for rule in rules}
    lasts = {name: table.last for name, table in read.items()}
    if len(set(lasts.values())) > 1:
        shown = ", ".join(f"{name}: {year}" for name, year in lasts.items())
        raise SpecificationError(text("simulator.years_differ", years=shown))
    last = next(iter(lasts.values()))
    known_years = min(y for table in read.values() for y in table.years)
    first = min(
        max(first_year(c, last), known_years) if is_pooled(c) else last - c.years_of + 1
        for rule in rules
        for c in rule.criteria
    )
    years = tuple(range(first, last + 2))
    procedures = tuple(sorted({p for table in read.values() for p in table.procedures}))
    cells = tables.need("counts", rules[0].id)
    cells = cells[cells["procedure"].isin(list(procedures))]
    n, failing = _cubes(tables, cells, procedures, years)
    if not n[:, :, -1].any():
        n[:, :, -1] = n[:, :, -2]
    past = cells[cells["year"] <= last]
    return Layout(
        tables=tables,
        school_ids=tables.school_ids,
        procedures=procedures,
        grades=np.array([_grade(p) for p in procedures]),
        years=years,
        n=n,
        failing=failing,
        observed=_observed(tables, past),
        rates=_rates(past, procedures),
    )


def _grade(procedure: str) -> float:
    grade = procedure_grade(procedure)
    return np.nan if grade is None else float(grade)


def _cubes(
    tables: Tables, cells: pd.DataFrame, procedures: tuple[str, ...], years: tuple[int, ...]
) -> tuple[Integers, Integers]:
    shape = (len(tables.school_ids), len(procedures), len(years))
    n, failing = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    inside = cells[cells["year"].between(years[0], years[-1])]
    names = np.array(procedures, dtype=object)
    place = (
        np.searchsorted(tables.school_ids, inside["school_id"].to_numpy(dtype=object)),
        np.searchsorted(names, inside["procedure"].to_numpy(dtype=object)),
        inside["year"].to_numpy(dtype=np.int64) - years[0],
    )
    n[place] = inside["n_participants"].to_numpy(dtype=np.int64)
    failing[place] = inside["n_below_minimum"].to_numpy(dtype=np.int64)
    failing[:, :, -1] = 0
    return n, failing


def _observed(tables: Tables, past: pd.DataFrame) -> Integers:
    summed = past.groupby("school_id", observed=True)[["n_below_minimum", "n_participants"]].sum()
    whole = summed.reindex(tables.school_ids).fillna(0).to_numpy(dtype=np.int64)
    return np.ascontiguousarray(whole.T)


def _rates(past: pd.DataFrame, procedures: tuple[str, ...]) -> Floats:
    summed = past.groupby("procedure", observed=True)[["n_below_minimum", "n_participants"]].sum()
    own = summed.reindex(list(procedures)).fillna(0)
    # half a failing pupil keeps the normal quantile of an empty procedure finite
    failing = own["n_below_minimum"].to_numpy(dtype=float) + 0.5
    return np.asarray(failing / (own["n_participants"].to_numpy(dtype=float) + 1.0))


def band_names(size: Floats, bands: Sequence[Band]) -> tuple[NDArray[np.object_], tuple[str, ...]]:
    """Return the band of each size and all bands in their order.

    Raises
    ------
    SpecificationError
        If the bands overlap, descend, or are not pairs of whole numbers.
    """
    found = np.full(len(size), "", dtype=object)
    names: list[str] = []
    before = 0
    for band in bands:
        low, high = _ends(band, bands)
        if low <= before:
            raise SpecificationError(text("simulator.bands", value=repr(tuple(bands))))
        names.append(f"{low}+" if high is None else f"{low}–{high}")
        top = np.inf if high is None else high
        with np.errstate(invalid="ignore"):
            found[(size >= low) & (size <= top)] = names[-1]
        before = 2**62 if high is None else high
    if not names:
        raise SpecificationError(text("simulator.bands", value=repr(tuple(bands))))
    found[np.isnan(size)] = "0"
    found[found == ""] = "…"
    rest = tuple(name for name in ("0", "…") if (found == name).any())
    return found, (*names, *rest)


def _ends(band: Band, bands: Sequence[Band]) -> Band:
    pair: tuple[object, ...] = tuple(band) if isinstance(band, list | tuple) else ()
    if len(pair) == 2:
        low, high = pair
        if isinstance(low, int) and (high is None or (isinstance(high, int) and high >= low)):
            return low, high
    raise SpecificationError(text("simulator.bands", value=repr(tuple(bands))))
