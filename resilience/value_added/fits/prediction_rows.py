"""Reading the rows of a prediction: columns, labels and gaps, and what the fit learnt of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.batches.frames import narwhals_frame
from resilience.data.design_formula import check_rows, design_columns, formula_columns
from resilience.data.identifiers import identified
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.strata.strata_fit import StrataFit
from resilience.validation import (
    check_columns,
    check_not_empty,
    check_numeric,
    check_table,
    shorten,
)
from resilience.value_added.definitions.membership import Members, Membership
from resilience.value_added.effects.random_effects import is_cells
from resilience.value_added.intake.intake_preparation import IntakePreparation
from resilience.value_added.intake.learnt_intake import LearntIntake
from resilience.value_added.intake.tables_in_memory import table_in_memory

if TYPE_CHECKING:
    from resilience.value_added.fits.fitted import PupilFit

__all__ = ["PupilRows", "by_year", "read_rows"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PupilRows:
    """Prepared rows with their fixed terms and memberships.

    Attributes
    ----------
    frame : DataFrame
        Rows that stay, with the columns of the intake; indexed as the data.
    X : ndarray of shape (n_rows, p)
        Fixed terms.
    members : Members or None
        Shared membership of the rows.
    """

    frame: pd.DataFrame
    X: Floats
    members: Members | None = None


def read_rows(results: PupilFit, data: object, *, outcome: bool) -> PupilRows:
    """Prepare rows by what the fit learnt; the outcome is needed where the rows are compared to it.

    Parameters
    ----------
    results : PupilFit
        The fit.
    data : frame of any library that narwhals knows
        Pupils.
    outcome : bool
        Whether the outcome must be there.

    Raises
    ------
    DataError
        For columns that are absent, double or of another type than at the fit, gaps, labels written
        in another type, a subject, or a cell of standardisation, that the fit did not know.
    SpecificationError
        If ``data`` is no table, or the fit does not hold what its intake learnt.
    """
    table, learnt = _table(data), _learnt(results)
    composition = learnt.plan.intake.compositions
    given = [f"{name}_mean" for name in composition if f"{name}_mean" in table.columns]
    composed = [name for name in composition if f"{name}_mean" not in given]
    parts, members = learnt.plan.parts, getattr(results, "members", None)
    groups, keys = _groups(results), _keys(results)
    error_columns = learnt.error_columns
    covariates = list(dict.fromkeys([*parts.variables, *composed]))
    strict = [*keys, *learnt.plan.intake.standardize_by, *error_columns]
    strict += [*given, *([parts.outcome] if outcome else [])]
    read: Members | None = None
    if isinstance(members, Membership):
        key = list(getattr(results, "key", ())) if members.long else []
        own = [c for c in dict.fromkeys([*covariates, *strict]) if c not in key]
        check_columns(table, [*own, *key], table="data")
        read = members.read(table, key=key, used=own)
        groups = [members.main if g == members.level else g for g in groups]
        table = read.frame
    strict = list(dict.fromkeys([*groups, *strict]))
    check_columns(table, dict.fromkeys([*covariates, *strict]), table="data")
    if outcome:
        check_numeric(table, [parts.outcome], table="data")
    index = table.index
    frame = identified(table.reset_index(drop=True), [*groups, *keys])
    _check_labels(results, frame, read, learnt)
    frame = _complete(frame, covariates, strict, learnt.plan, groups[-1])
    frame = learnt.apply(frame, given)
    kept = frame.index.to_numpy()
    if read is not None:
        codes = read.codes[kept]
        read = replace(read, codes=codes, shares=_joined(codes, read.shares[kept]))
    names = [str(name) for name in results.spec.column_names]
    at = [names.index(term) for term in results.mixed.terms]  # a refit may have lost some
    X = design_columns(results.spec, frame)[:, at]
    return PupilRows(frame=frame.set_axis(index[kept]), X=X, members=read)


def by_year(results: PupilFit, at: int) -> bool:
    """Tell the levels of schools' years: they have no column of their own.

    Parameters
    ----------
    results : PupilFit
        The fit.
    at : int
        Position of the level.
    """
    level = results.mixed.levels[at]
    return is_cells(results.mixed, at) or level.name == f"{results.group}:{results.time}"


def _table(data: object) -> pd.DataFrame:
    """Return any frame as one of pandas."""
    if not isinstance(data, pd.DataFrame) and narwhals_frame(data) is None:
        if not (isinstance(data, Iterable | PathLike) or callable(data)):
            check_table(data, table="data")
        kind = type(data).__name__
        raise SpecificationError(text("prediction.table", kind=kind))
    table = table_in_memory(data)
    check_not_empty(table, table="data")
    return table


def _learnt(results: PupilFit) -> LearntIntake:
    """Return what the intake learnt; what learns nothing needs nothing."""
    learnt = results.learnt
    if learnt is None:
        parts = formula_columns(results.source_formula)
        cells = (results.group, *([results.time] if results.time else []))
        plan = IntakePreparation(parts=parts, intake=results.intake, cells=cells, keys=())
        learnt = LearntIntake(plan=plan)
    if not learnt.complete:
        raise SpecificationError(text("prediction.not_learnt"))
    return learnt


def _groups(results: PupilFit) -> list[str]:
    """Return the levels that are columns, the school last."""
    names = [level.name for k, level in enumerate(results.mixed.levels) if not by_year(results, k)]
    return [*(name for name in names if name != results.group), results.group]


def _keys(results: PupilFit) -> list[str]:
    """Return the columns of years and subjects."""
    return [c for c in (results.time, getattr(results, "subject", None)) if c]


def _complete(
    frame: pd.DataFrame,
    covariates: Sequence[str],
    strict: Sequence[str],
    plan: IntakePreparation,
    unit: str,
) -> pd.DataFrame:
    """Return the rows that stay under the rule for gaps of the fit."""
    missing = plan.intake.missing
    if missing == "drop":
        complete = frame[list(dict.fromkeys([*covariates, *strict]))].notna().all(axis=1)
        lost = frame[~complete]
        if len(lost):
            share = f"{100 * len(lost) / len(frame):.1f}"
            schools = lost[unit].nunique()
            warn_weak_data(text("value_added.dropped", n=len(lost), share=share, schools=schools))
        check_not_empty(frame[complete], table="data")
        return frame[complete]
    if missing == "raise":
        strict = [*covariates, *strict]
    wording = "design.missing_intake" if missing == "raise" else "design.missing"
    check_rows(frame, list(strict), table="data", unit=unit, wording=wording)
    return frame


def _check_labels(
    results: PupilFit, frame: pd.DataFrame, read: Members | None, learnt: LearntIntake
) -> None:
    """Raise where units, years, subjects or cells are written in another type than at the fit."""
    members, subject = getattr(results, "members", None), getattr(results, "subject", None)
    for at, level in enumerate(results.mixed.levels):
        if by_year(results, at):
            continue
        if isinstance(members, Membership) and level.name == members.level:
            if read is not None:
                _check_kind(", ".join(members.units), read.labels, level.labels)
        else:
            _check_kind(level.name, frame[level.name], level.labels)
    spreads = learnt.plan.spreads
    cells: dict[str, list[Any]] = {}
    if spreads is not None:
        cells = {k: _distinct(own) for k, own in zip(spreads.keys, spreads.labels, strict=True)}
    if results.time is not None:
        cells[results.time] = _distinct(results.school_years["year"])
    if subject is not None and isinstance(results.mixed, StrataFit):
        cells[subject] = list(results.mixed.subjects)
    for name, labels in cells.items():
        _check_kind(name, frame[name], labels, strict=True)
    if subject is not None and isinstance(results.mixed, StrataFit):
        known = list(results.mixed.subjects)
        new = [s for s in _distinct(frame[subject]) if s not in known]
        if new:
            raise DataError(
                text(
                    "prediction.new_subject",
                    column=repr(subject),
                    subjects=shorten(new),
                    known=shorten(known, 12),
                )
            )


def _check_kind(
    column: str, asked: Iterable[Any], known: Iterable[Any], *, strict: bool = False
) -> None:
    """Raise where a known label stands in another type, or (``strict``) any label does."""
    fitted = _distinct(known)
    kinds = {_kind(label) for label in fitted}
    written = {_bare(label): label for label in fitted}
    for label in _distinct(asked):
        if _kind(label) in kinds or not (strict or _bare(label) in written):
            continue
        other = written.get(_bare(label), fitted[0])
        raise DataError(
            text(
                "prediction.other_type",
                column=repr(column),
                label=repr(label),
                kind=type(label).__name__,
                known=repr(other),
                known_kind=type(other).__name__,
            )
        )


def _distinct(labels: Iterable[Any]) -> list[Any]:
    values: Any = labels if isinstance(labels, pd.Series) else pd.Series(labels)
    return [v.item() if isinstance(v, np.generic) else v for v in values.dropna().unique().tolist()]


def _kind(label: object) -> str:
    if isinstance(label, str | bool):
        return type(label).__name__
    return "number" if isinstance(label, Real) else type(label).__name__


def _bare(label: object) -> object:
    """Return a label without its type: 7, 7.0, "7" and " 07" are the same."""
    try:
        return float(str(label))
    except ValueError:
        return str(label).strip()


def _joined(codes: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return shares with those of one unit that a row names twice in its first place."""
    found = shares.copy()
    for later in range(1, codes.shape[1]):
        for first in range(later):
            same = codes[:, first] == codes[:, later]
            found[same, first] += found[same, later]
            found[same, later] = 0.0
    return found
