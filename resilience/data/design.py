"""From a formula and a frame to cross-products.

The formula's categories and transformations are learnt once and kept, so that a second frame (new
schools, a prediction) goes through the same columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.validation import check_columns, check_not_empty, check_numeric, shorten

if TYPE_CHECKING:
    from formulaic import ModelSpec

__all__ = ["Design", "FormulaColumns", "design_from_frame", "formula_columns"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class FormulaColumns:
    """A formula taken apart.

    Attributes
    ----------
    outcome : str
        Column on the left-hand side.
    right : str
        Right-hand side as typed.
    variables : tuple of str
        Columns the right-hand side needs, in order.
    """

    outcome: str
    right: str
    variables: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """A fitted design: terms, the specification behind them, and the cross-products.

    Attributes
    ----------
    cross : CrossProducts
        Cross-products with the outcome as last column.
    terms : tuple of str
        Fixed terms as formulaic labels them, ``Intercept`` first where there is one.
    outcome : str
        Outcome column.
    spec : formulaic.ModelSpec
        Learnt categories and transformations of the right-hand side.
    n_rows : int
        Rows of the frame.
    """

    cross: CrossProducts
    terms: tuple[str, ...]
    outcome: str
    spec: ModelSpec
    n_rows: int

    def matrix(self, data: pd.DataFrame) -> Floats:
        """Return the fixed columns for another frame, shape (n_rows, n_terms)."""
        return np.asarray(self.spec.get_model_matrix(data), dtype=float)


def formula_columns(formula: str) -> FormulaColumns:
    """Parse a formula and name the columns it needs.

    Raises
    ------
    SpecificationError
        If the formula does not parse, has no single outcome column, or repeats the outcome on the
        right-hand side.
    """
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    left, tilde, right = formula.partition("~")
    outcome = left.strip()
    if not tilde or not outcome.isidentifier() or not right.strip():
        raise SpecificationError(text("design.formula", formula=repr(formula)))
    try:
        needed = Formula(right.strip()).required_variables
    except (FormulaicError, SyntaxError) as error:
        raise SpecificationError(
            text("design.formula_syntax", formula=repr(formula), reason=str(error).splitlines()[0])
        ) from error
    names = sorted((str(v) for v in needed), key=lambda v: right.find(v))
    if outcome in names:
        raise SpecificationError(text("design.outcome_right", outcome=repr(outcome)))
    return FormulaColumns(outcome=outcome, right=right.strip(), variables=tuple(names))


def check_rows(
    data: pd.DataFrame, columns: Sequence[str], *, table: str, unit: str | None = None
) -> None:
    """Raise one error that counts missing and infinite values per column and names first units."""
    found: list[str] = []
    where = np.zeros(len(data), dtype=bool)
    for name in dict.fromkeys(columns):
        bad = data[name].isna().to_numpy(dtype=bool)
        if pd.api.types.is_float_dtype(data[name].dtype):
            bad = bad | np.isinf(data[name].to_numpy(dtype=float, na_value=np.nan))
        if bad.any():
            found.append(f"{name!r}: {int(bad.sum())}")
            where |= bad
    if not found:
        return
    places = ""
    if unit is not None and unit in data:
        units = data.loc[where, unit].dropna().astype(str).drop_duplicates()
        places = f" ({unit}: {len(units)}; {shorten(units)})" if len(units) else ""
    raise DataError(text("design.missing", table=table, columns="; ".join(found), places=places))


def check_outcome(data: pd.DataFrame, parts: FormulaColumns, *, table: str) -> None:
    """Raise unless the outcome is numeric, not boolean, and not a copy of a covariate."""
    check_numeric(data, [parts.outcome], table=table)
    y = data[parts.outcome].to_numpy(dtype=float, na_value=np.nan)
    for name in parts.variables:
        kind = data[name].dtype
        if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
            continue
        if np.array_equal(data[name].to_numpy(dtype=float, na_value=np.nan), y):
            raise DataError(
                text("design.copy", table=table, column=repr(name), outcome=repr(parts.outcome))
            )


def design_from_frame(
    data: pd.DataFrame,
    formula: str,
    *,
    groups: Sequence[tuple[str, str, Sequence[str]]] = (),
    weights: str | None = None,
    table: str = "data",
) -> Design:
    """Turn a frame into cross-products.

    Parameters
    ----------
    data : DataFrame
        One row per pupil (or per school-year).
    formula : str
        A formulaic formula with one outcome column, for instance ``"score ~ prior_score + ses"``.
    groups : sequence of (level name, column, slope terms)
        Nested levels from outer to inner; every level has a random intercept, and a random slope
        for each named term of the formula.
    weights : str, optional
        Column of precision weights, at least 0.
    table : str
        Name of the table in messages.

    Returns
    -------
    Design

    Raises
    ------
    DataError, SpecificationError
        For the bad input named in the messages: unknown columns, missing or infinite values,
        a boolean or non-numeric outcome, a covariate that copies the outcome, an unknown slope.
    """
    import formulaic

    parts = formula_columns(formula)
    columns = [column for _, column, _ in groups]
    check_not_empty(data, table=table)
    used = [*parts.variables, parts.outcome, *columns, *([weights] if weights else [])]
    check_columns(data, used, table=table)
    check_outcome(data, parts, table=table)
    check_rows(data, used, table=table, unit=columns[-1] if columns else None)
    matrix = formulaic.model_matrix(parts.right, data, na_action="raise", output="pandas")
    spec: Any = matrix.model_spec
    terms = tuple(str(name) for name in matrix.columns)
    covariates = [t for t in terms if t != ONES]
    factors = [pd.factorize(data[column], sort=True) for column in columns]
    levels = []
    for (name, _, slopes), (codes, _) in zip(groups, factors, strict=True):
        unknown = [s for s in slopes if s not in covariates]
        if unknown:
            raise SpecificationError(
                text("design.slope", slopes=", ".join(unknown), terms=", ".join(covariates))
            )
        levels.append((name, codes, [ONES, *slopes]))
    cross = CrossProducts.from_arrays(
        matrix[covariates].to_numpy(dtype=float),
        data[parts.outcome].to_numpy(dtype=float),
        columns=[*covariates, parts.outcome],
        groups=levels,
        weights=None if weights is None else data[weights].to_numpy(dtype=float),
    )
    labelled = tuple(
        replace(level, labels=np.asarray(uniques, dtype=object)[level.labels.astype(np.int64)])
        for level, (_, uniques) in zip(cross.levels, factors, strict=True)
    )
    return Design(
        cross=replace(cross, levels=labelled),
        terms=terms,
        outcome=parts.outcome,
        spec=spec,
        n_rows=len(data),
    )
