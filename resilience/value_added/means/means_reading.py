"""Tables of published means: checks, design, sampling variances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import (
    FormulaColumns,
    check_outcome,
    check_rows,
    formula_columns,
    learn_columns,
)
from resilience.data.design_formula import quoted
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.mixed import dependent_columns
from resilience.validation import (
    check_choice,
    check_columns,
    check_not_empty,
    check_numeric,
    check_positive,
    check_unique,
    shorten,
)
from resilience.value_added.definitions.nesting import check_nested

__all__ = [
    "MeansTable",
    "Procedures",
    "check_correlation",
    "check_prior",
    "pupil_numbers",
    "read_means",
    "sampling_variances",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Procedures:
    r"""Several procedures (subject × grade × kind of examination) fitted jointly.

    Attributes
    ----------
    column : str
        Column that names the procedure; rows are then school × year × procedure.  Procedures get
        intercepts of their own unless the formula names the column.
    covariance : {"compound_symmetry", "unstructured"}
        ``compound_symmetry``: an effect common to all procedures plus a lasting deviation of each,
        one variance for all.  ``unstructured``: a full covariance of the procedures' effects
        between schools; the effect is their average.
    cohort : str, optional
        Column of the cohort: means of one school and cohort rest on the same pupils.  None: the
        means of one year do.
    correlation : float
        Correlation r of two results of one pupil within a school, in [0, 1): means that share
        pupils have the sampling covariance :math:`r\sigma_a\sigma_b\min(n_a, n_b)/(n_an_b)`.
        The default .5 is a proposal, printed with every result; see
        `SchoolLevelModel.sensitivity`.
    weights : mapping of {procedure: float}, optional
        Weights of the average under ``unstructured``; equal by default.
    cell : bool
        Whether a single procedure of a single year may deviate beyond sampling (a class, a
        teacher).  Used where the data can tell: some school has two procedures in each of two
        years.
    """

    column: str
    covariance: Literal["compound_symmetry", "unstructured"] = "compound_symmetry"
    cohort: str | None = None
    correlation: float = 0.5
    weights: Mapping[str, float] | None = None
    cell: bool = True

    def __post_init__(self) -> None:
        check_choice(
            self.covariance,
            ("compound_symmetry", "unstructured"),
            argument="Procedures.covariance",
        )
        check_correlation(self.correlation, argument="Procedures.correlation")
        if self.weights is None:
            return
        if self.covariance != "unstructured":
            raise SpecificationError(text("value_added_means.weights_unused"))
        for name, weight in self.weights.items():
            check_positive(float(weight), argument=f"Procedures.weights[{name!r}]", zero=True)
        check_positive(float(sum(self.weights.values())), argument="sum(Procedures.weights)")

    def trait_weights(self, names: NDArray[np.object_]) -> Floats:
        """Return the weights of the procedures found, adding up to 1."""
        if self.weights is None:
            return np.full(len(names), 1.0 / len(names))
        unknown = [repr(k) for k in self.weights if k not in set(names)]
        if unknown:
            raise SpecificationError(
                text(
                    "value_added_means.weights_unknown",
                    unknown=", ".join(unknown),
                    known=shorten(names, 12),
                )
            )
        found = np.array([float(self.weights.get(name, 0.0)) for name in names])
        return np.asarray(found / found.sum())


def check_correlation(value: float, *, argument: str) -> float:
    """Return a correlation within schools if it lies in [0, 1)."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not 0.0 <= value < 1.0:
        raise SpecificationError(
            text(
                "value_added_means.correlation",
                argument=argument,
                value=value if number else repr(value),
            )
        )
    return float(value)


@dataclass(frozen=True, kw_only=True, eq=False)
class MeansTable:
    """Checked means, sorted by school, year and procedure.

    Attributes
    ----------
    frame : DataFrame
        The rows.
    formula : str
        Formula as fitted, intercepts of procedures added.
    y : ndarray of shape (n_rows,)
        Means.
    X : ndarray of shape (n_rows, p)
        Columns of the formula.
    terms : tuple of str
        Their names.
    school, year, procedure : ndarray of shape (n_rows,), int
        Codes; zeros without a year or procedure column.
    schools, procedures : ndarray of object
        Labels behind the codes.
    outer : ndarray of shape (n_schools,), int, or None
        Code of each school's outer unit.
    outers : ndarray of object
        Labels of the outer units.
    """

    frame: pd.DataFrame
    formula: str
    y: Floats
    X: Floats
    terms: tuple[str, ...]
    school: Codes
    year: Codes
    procedure: Codes
    schools: NDArray[np.object_]
    procedures: NDArray[np.object_]
    outer: Codes | None
    outers: NDArray[np.object_]

    def n_units(self, level: str, groups: list[str]) -> int:
        """Return the number of outer units or of schools."""
        return len(self.outers if len(groups) == 2 and level == groups[0] else self.schools)

    @property
    def cells(self) -> Codes:
        """Code of each row's school and year, in the order of the rows."""
        change = np.diff(self.school, prepend=-1) != 0
        change |= np.diff(self.year, prepend=-1) != 0
        return np.asarray(np.cumsum(change) - 1, dtype=np.int64)


def read_means(
    data: pd.DataFrame,
    formula: str,
    *,
    groups: list[str],
    time: str | None,
    procedures: Procedures | None,
    used: list[str],
) -> MeansTable:
    """Check a table of means and learn its design.

    Parameters
    ----------
    data : DataFrame
        One row per school (and year, and procedure).
    formula : str
        The formula.
    groups : list of str
        The school column, or the outer and the school column.
    time : str, optional
        Year column.
    procedures : Procedures, optional
        Several procedures.
    used : list of str
        Further columns that may not have gaps.
    """
    parts = formula_columns(formula)
    check_not_empty(data, table="data")
    key = [groups[-1], *([time] if time else [])]
    own = [] if procedures is None else [procedures.column]
    cohort = [procedures.cohort] if procedures is not None and procedures.cohort else []
    needed = [*parts.variables, parts.outcome, *groups, *key, *own, *cohort, *used]
    check_columns(data, dict.fromkeys(needed), table="data")
    check_outcome(data, parts, table="data")
    check_rows(data, needed, table="data", unit=groups[-1])
    check_unique(data, [*key, *own], table="data")
    _check_groups(data, groups)
    _check_time(data, groups[-1], time)
    if procedures is not None:
        _check_procedures(data, groups[-1], procedures)
        parts = _with_procedures(data, parts, procedures.column)
    frame = data.sort_values([*key, *own], kind="stable")
    X, terms = _design(frame, parts)
    school, schools = _coded(frame, groups[-1])
    outer: Codes | None = None
    outers = np.empty(0, dtype=object)
    if len(groups) == 2:
        first = np.searchsorted(school, np.arange(len(schools)))
        outer, outers = _coded(frame.iloc[first], groups[0])
    year, _ = _coded(frame, time)
    procedure, names = _coded(frame, None if procedures is None else procedures.column)
    return MeansTable(
        frame=frame,
        formula=f"{quoted(parts.outcome)} ~ {parts.right}",
        y=frame[parts.outcome].to_numpy(dtype=float),
        X=X,
        terms=terms,
        school=school,
        year=year,
        procedure=procedure,
        schools=schools,
        procedures=names,
        outer=outer,
        outers=outers,
    )


def _coded(frame: pd.DataFrame, column: str | None) -> tuple[Codes, NDArray[np.object_]]:
    """Return sorted codes and labels of a column; zeros and no labels without one."""
    if column is None:
        return np.zeros(len(frame), dtype=np.int64), np.empty(0, dtype=object)
    codes, labels = pd.factorize(frame[column], sort=True)
    return codes.astype(np.int64), np.asarray(labels, dtype=object)


def _check_groups(data: pd.DataFrame, groups: list[str]) -> None:
    check_nested(data, groups)
    for name in groups:
        n = data[name].nunique()
        if n < 10:
            warn_weak_data(text("value_added.weak_groups", group=repr(name), n=n))


def _check_time(data: pd.DataFrame, school: str, time: str | None) -> None:
    if time is None:
        return
    if data[time].nunique() < 2:
        raise DataError(text("value_added.one_time", time=repr(time), value=data[time].iloc[0]))
    if int(data.groupby(school, observed=True)[time].nunique().max()) < 2:
        raise DataError(text("value_added.one_year_each", time=repr(time)))


def _check_procedures(data: pd.DataFrame, school: str, procedures: Procedures) -> None:
    column = procedures.column
    pairs = data[[school, column]].drop_duplicates()
    counts = pairs[column].value_counts(sort=False).sort_index()
    counts = counts[counts > 0]  # categories without a row are no procedures
    if len(counts) < 2:
        raise DataError(
            text("value_added_means.one_procedure", column=repr(column), value=counts.index[0])
        )
    alone = counts.index[counts < 2]
    if len(alone):
        raise DataError(
            text(
                "value_added_means.lone_procedure",
                column=repr(column),
                procedures=shorten(alone),
                n=int(data[column].isin(alone).sum()),
            )
        )
    codes, names = pd.factorize(pairs[column], sort=True)
    units, schools = pd.factorize(pairs[school])
    held = np.zeros((len(schools), len(names)))
    held[units, codes] = 1.0
    together = held.T @ held
    if procedures.covariance == "unstructured":
        never = np.argwhere(np.triu(together == 0, 1))
        if len(never):
            first, second = never[0]
            raise DataError(
                text(
                    "value_added_means.apart_procedures",
                    first=names[first],
                    second=names[second],
                    n=len(never),
                )
            )
    elif held.sum(axis=1).max() < 2:
        raise DataError(text("value_added_means.one_procedure_each", column=repr(column)))


def _with_procedures(data: pd.DataFrame, parts: FormulaColumns, column: str) -> FormulaColumns:
    """Add intercepts of the procedures unless the formula names their column."""
    if column in parts.variables:
        return parts
    name = column if column.isidentifier() else f"`{column}`"
    if pd.api.types.is_numeric_dtype(data[column].dtype):
        name = f"C({name})"
    return formula_columns(f"{quoted(parts.outcome)} ~ {parts.right} + {name}")


def _design(frame: pd.DataFrame, parts: FormulaColumns) -> tuple[Floats, tuple[str, ...]]:
    X, spec = learn_columns(frame, parts)
    terms = tuple(str(c) for c in spec.column_names)
    flat = np.ptp(X, axis=0) == 0
    # without a constant among the columns their sum may be one: dummies of every procedure
    centred = X - X.mean(axis=0) * ~flat if flat.any() else X
    dependent = dependent_columns(centred.T @ centred, terms)
    if dependent:
        raise SpecificationError(
            text("engine.collinear", columns=", ".join(repr(d) for d in dependent))
        )
    if len(X) <= X.shape[1]:
        raise SpecificationError(text("engine.no_residual", p=X.shape[1], n=len(X)))
    return X, terms


def sampling_variances(
    frame: pd.DataFrame,
    *,
    unit: str,
    variance: str | None,
    n: str | None,
    sd: float | str | None,
    argument: str = "sd",
) -> Floats:
    """Return the known sampling variances of means.

    Parameters
    ----------
    frame : DataFrame
        The rows.
    unit : str
        School column, for the messages.
    variance : str, optional
        Column of variances; otherwise ``sd`` squared over ``n``.
    n : str, optional
        Column of numbers of pupils.
    sd : float or str, optional
        SD of pupils within schools, or its column.
    argument : str
        Name of ``sd`` in messages.
    """
    if variance is not None:
        check_numeric(frame, [variance], table="data")
        values = frame[variance].to_numpy(dtype=float)
        _refuse(frame, values <= 0, variance, unit, "value_added.sampling_variance")
        return np.asarray(values)
    assert n is not None
    assert sd is not None
    sizes = pupil_numbers(frame, n, unit)
    if isinstance(sd, str):
        check_numeric(frame, [sd], table="data")
        spread = frame[sd].to_numpy(dtype=float)
        _refuse(frame, spread <= 0, sd, unit, "value_added.sampling_variance")
        return np.asarray(spread**2 / sizes)
    return np.asarray(check_positive(float(sd), argument=argument) ** 2 / sizes)


def check_prior(table: MeansTable, prior: str, outcome: str) -> Floats:
    """Return prior means: numeric, and not a copy of the outcome."""
    check_numeric(table.frame, [prior], table="data")
    values = table.frame[prior].to_numpy(dtype=float)
    if np.array_equal(values, table.y):
        raise DataError(
            text("design.copy", table="data", column=repr(prior), outcome=repr(outcome))
        )
    return np.asarray(values)


def pupil_numbers(frame: pd.DataFrame, n: str, unit: str) -> Floats:
    """Return numbers of pupils, at least 1."""
    check_numeric(frame, [n], table="data")
    sizes = frame[n].to_numpy(dtype=float)
    _refuse(frame, sizes < 1, n, unit, "value_added.sizes")
    return np.asarray(sizes)


def _refuse(frame: pd.DataFrame, bad: NDArray[np.bool_], column: str, unit: str, key: str) -> None:
    if bad.any():
        first = frame.loc[bad, unit].iloc[0]
        raise DataError(text(key, column=repr(column), n=int(bad.sum()), unit=first))
