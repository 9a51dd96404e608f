"""What the imputation works on: every column as standardised numbers or codes, with its gaps.

A column that does not vary within any unit of a level (a school's kind, a year's policy, what is
known of a pupil with a row per subject) is one of that level: a unit gets one value for all its
rows.  The columns of ``Intake.standardize_by``
part the outcome and the priors into cells of their own mean and SD, and so they are imputed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design_formula import check_rows, formula_columns
from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.refits.nested_draws import NestedUnits
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.intake.intake_preparation import standardised_columns

__all__ = ["Variable", "nested_units", "plain_columns", "read_variables", "unit_codes"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

_MOST_MISSING = 0.5  # share: beyond, the data do not say enough of a column to fill it
_MOST_CATEGORIES = 10  # of a column with gaps
_MOST_DUMMIES = 30  # of a complete column that predicts others


@dataclass(frozen=True, kw_only=True, eq=False)
class Variable:
    """One column.

    Attributes
    ----------
    name : str
        Column.
    kind : {"numeric", "category"}
        Categories are columns of words and flags, and numbers of which there are two.
    content : ndarray of shape (n_rows,)
        Standardised numbers, or codes of the categories; anything in the gaps.
    gap : ndarray of shape (n_rows,), bool
        Values to fill, those excepted that other rows of the unit tell.
    labels : ndarray
        Categories in order of their codes; empty for numbers.
    centre, scale : ndarray of shape (n_rows,)
        What was taken out of a number; empty for categories.
    level : int
        Innermost level is 0; -1 for columns that vary within its units.
    """

    name: str
    kind: Literal["numeric", "category"]
    content: Floats
    gap: NDArray[np.bool_]
    labels: NDArray[np.object_]
    centre: Floats
    scale: Floats
    level: int = -1

    @property
    def n_columns(self) -> int:
        """Columns of its design: one number, or all categories but the first."""
        return 1 if self.kind == "numeric" else max(len(self.labels) - 1, 0)

    def design(self, values: Floats) -> Floats:
        """Return the columns by which it predicts others, shape (n_rows, n_columns)."""
        if self.kind == "numeric":
            return values[:, None]
        return np.asarray(values[:, None] == np.arange(1, len(self.labels)), dtype=float)

    def restored(self, column: pd.Series, values: Floats) -> pd.Series:
        """Return the table's column with the gaps filled; what was there stays to the bit."""
        if not self.gap.any():
            return column
        if self.kind == "numeric":
            found = column.to_numpy(dtype=float, na_value=np.nan).copy()
            found[self.gap] = (values * self.scale + self.centre)[self.gap]
            return pd.Series(found, index=column.index, name=column.name)
        drawn = self.labels[values[self.gap].astype(np.int64)]
        kept = column.astype(object).to_numpy().copy()
        kept[self.gap] = drawn
        plain = pd.Series(kept, index=column.index, name=column.name, dtype=object)
        if isinstance(column.dtype, pd.CategoricalDtype):
            return plain.astype(column.dtype)
        return plain.infer_objects()


def read_variables(
    frame: pd.DataFrame, model: ModelDefinition, units: NestedUnits
) -> list[Variable]:
    """Return the outcome and every covariate of a model, those with most gaps last.

    Raises
    ------
    DataError
        For a column of which more than half is missing, infinite values, or a column with gaps
        that has one value or more than ten categories.
    """
    intake, parts = model.intake or Intake(), formula_columns(model.formula)
    names = list(dict.fromkeys([parts.outcome, *parts.variables, *intake.compositions]))
    within = standardised_columns(parts, intake)
    codes = unit_codes(units)
    found: list[Variable] = []
    for name in names:
        column = frame[name]
        gap = column.isna().to_numpy()
        share = float(gap.mean())
        if share > _MOST_MISSING:
            raise DataError(
                text("imputation.mostly_missing", column=repr(name), share=f"{100 * share:.1f}")
            )
        by = list(intake.standardize_by) if name in within else []
        if _is_category(column, name, model.formula):
            variable = _category(column, gap)
        else:
            check_rows(frame[~gap], [name], table="data", unit=model.groups[-1])
            variable = _numeric(frame, name, gap, by)
        found.append(_levelled(variable, codes))
    useful = [v for v in found if v.gap.any() or v.n_columns <= _MOST_DUMMIES]
    return sorted(useful, key=lambda v: int(v.gap.sum()))


def _is_category(column: pd.Series, name: str, formula: str) -> bool:
    """Tell words, flags, two-valued numbers and what the formula takes for categories."""
    kind = column.dtype
    if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
        return True
    if re.search(rf"\bC\(\s*`?{re.escape(name)}\b", formula):
        return True
    return bool(column.isna().any()) and column.nunique() == 2


def _category(column: pd.Series, gap: NDArray[np.bool_]) -> Variable:
    if isinstance(column.dtype, pd.CategoricalDtype):
        labels = [c for c in column.cat.categories if (column == c).any()]
    else:
        labels = sorted(column.dropna().unique().tolist(), key=lambda v: (str(type(v)), v))
    if gap.any() and not 2 <= len(labels) <= _MOST_CATEGORIES:
        raise DataError(
            text(
                "imputation.categories",
                column=repr(column.name),
                n=len(labels),
                most=_MOST_CATEGORIES,
            )
        )
    known = pd.Index(labels, dtype=object)
    codes = known.get_indexer(pd.Index(column.astype(object).to_numpy(), dtype=object))
    return Variable(
        name=str(column.name),
        kind="category",
        content=np.maximum(codes, 0).astype(float),
        gap=gap,
        labels=known.to_numpy(dtype=object),
        centre=np.zeros(0),
        scale=np.zeros(0),
    )


def _numeric(frame: pd.DataFrame, name: str, gap: NDArray[np.bool_], by: Sequence[str]) -> Variable:
    raw = frame[name].to_numpy(dtype=float, na_value=np.nan)
    series = pd.Series(raw, index=frame.index)
    spread = float(np.nanstd(raw))
    if gap.any() and spread <= 1e-12 * max(float(np.nanmax(np.abs(raw))), 1e-300):
        raise DataError(text("imputation.constant", column=repr(name)))
    centre, scale = np.full(len(raw), np.nanmean(raw)), np.full(len(raw), spread)
    if by:
        cells = series.groupby([frame[c] for c in by], observed=True)
        mean, own = cells.transform("mean").to_numpy(), cells.transform("std").to_numpy()
        usable = np.isfinite(own) & (own > 0)
        centre, scale = np.where(usable, mean, centre), np.where(usable, own, scale)
    scale = np.where(scale > 0, scale, 1.0)
    return Variable(
        name=name,
        kind="numeric",
        content=np.where(gap, 0.0, (raw - centre) / scale),
        gap=gap,
        labels=np.zeros(0, dtype=object),
        centre=centre,
        scale=scale,
    )


def _levelled(variable: Variable, codes: list[Codes]) -> Variable:
    """Return a variable with its level: the outermost within whose units it does not vary."""
    known = ~variable.gap
    for level in reversed(range(len(codes))):
        code = codes[level][known]
        n = int(codes[level].max()) + 1
        values = variable.content[known]
        if len(np.unique(code)) == len(code):
            continue  # one row in every unit tells nothing of variation within
        top, low = np.full(n, -np.inf), np.full(n, np.inf)
        np.maximum.at(top, code, values)
        np.minimum.at(low, code, values)
        seen = np.isfinite(top)
        if (top[seen] - low[seen]).max(initial=0.0) <= 1e-9:
            told = variable.gap & seen[codes[level]]
            filled = np.where(told, top[codes[level]], variable.content)
            return _replaced(variable, filled, level)
    return variable


def _replaced(variable: Variable, values: Floats, level: int) -> Variable:
    return Variable(
        name=variable.name,
        kind=variable.kind,
        content=values,
        gap=variable.gap,
        labels=variable.labels,
        centre=variable.centre,
        scale=variable.scale,
        level=level,
    )


def nested_units(frame: pd.DataFrame, model: ModelDefinition) -> NestedUnits:
    """Return the units of a model's rows: schools by years where it has years, schools, outer ones.

    Pupils with several rows (subjects) are the innermost units where ``Structure.unit`` names them.

    Parameters
    ----------
    frame : DataFrame
        Pupils without gaps in the identifiers.
    model : ModelDefinition
        With nested levels.
    """
    columns = [[name] for name in reversed(model.groups)]
    if model.time is not None:
        columns.insert(0, [model.groups[-1], model.time])
    unit = (model.structure or Structure()).unit
    if unit is not None and frame.duplicated(named := [unit, *columns[0]]).any():
        columns.insert(0, named)
    codes = [frame.groupby(by, observed=True, sort=True).ngroup().to_numpy() for by in columns]
    sizes = [int(code.max()) + 1 for code in codes]
    parents: list[Codes] = []
    for inner, outer, n in zip(codes, codes[1:], sizes, strict=False):
        parent = np.zeros(n, dtype=np.int64)
        parent[inner] = outer
        parents.append(parent)
    return NestedUnits(codes=codes[0].astype(np.int64), parents=tuple(parents), sizes=tuple(sizes))


def unit_codes(units: NestedUnits) -> list[Codes]:
    """Return the unit of every row on every level, innermost first."""
    found = [units.codes]
    for parent in units.parents:
        found.append(parent[found[-1]])
    return found


def plain_columns(frame: pd.DataFrame, model: ModelDefinition) -> Floats:
    """Return dummies of years and of the columns to standardise by, shape (n_rows, k)."""
    intake = model.intake or Intake()
    names = dict.fromkeys([*([model.time] if model.time else []), *intake.standardize_by])
    pieces = [np.zeros((len(frame), 0))]
    for name in names:
        codes, labels = pd.factorize(frame[name], sort=True)
        if len(labels) <= _MOST_DUMMIES:
            pieces.append(np.asarray(codes[:, None] == np.arange(1, len(labels)), dtype=float))
    return np.column_stack(pieces)
