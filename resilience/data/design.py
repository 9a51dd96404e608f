"""From a formula and a frame to cross-products.

The formula's categories and transformations are learnt once and kept, so that a second frame (new
schools, a prediction) goes through the same columns.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
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

__all__ = [
    "Design",
    "FormulaColumns",
    "Level",
    "check_outcome",
    "check_rows",
    "design_columns",
    "design_from_frame",
    "formula_columns",
    "learn_columns",
]

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


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of grouping and its random terms.

    Attributes
    ----------
    name : str
        Name of the level in the results.
    column : str
        Column of the units; an inner label may repeat in several outer units.
    slopes : tuple of str
        Terms of the formula whose effect differs between units.
    by : str or None
        Column of categories: one effect per category (year, subject) in place of the intercept.
        Its terms are named ``"<column>=<category>"``.
    """

    name: str
    column: str
    slopes: tuple[str, ...] = ()
    by: str | None = None


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


def formula_columns(formula: str) -> FormulaColumns:
    """Parse a formula and name the columns it needs.

    Raises
    ------
    SpecificationError
        If the formula does not parse, has no single outcome column or several right-hand sides, or
        repeats the outcome on the right-hand side.
    """
    from formulaic import Formula, SimpleFormula
    from formulaic.errors import FormulaicError

    left, _, right = str(formula).partition("~")
    outcome = left.strip()
    if not outcome.isidentifier() or not right.strip():
        raise SpecificationError(text("design.formula", formula=repr(formula)))
    try:
        parsed = Formula(right.strip())
        if not isinstance(parsed, SimpleFormula):
            raise SpecificationError(text("design.formula", formula=repr(formula)))
        needed = {name for term in parsed for factor in term.factors for name in _named(factor)}
    except (FormulaicError, SyntaxError) as error:
        raise SpecificationError(
            text("design.formula_syntax", formula=repr(formula), reason=str(error).splitlines()[0])
        ) from error
    names = sorted(needed, key=right.find)
    if outcome in names:
        raise SpecificationError(text("design.outcome_right", outcome=repr(outcome)))
    return FormulaColumns(outcome=outcome, right=right.strip(), variables=tuple(names))


def _named(factor: Any) -> set[str]:
    """Return the columns that a factor of a formula needs.

    formulaic names none for its own transformations that learn from the data (``poly``,
    ``center``, ``bs``), so the expression itself is read: quoted names, and bare names that are
    neither functions nor formulaic's own.
    """
    from formulaic.transforms import TRANSFORMS

    if factor.eval_method.value == "lookup":
        return {str(factor.expr)}
    if factor.eval_method.value != "python":
        return set()
    quoted = re.findall("`([^`]+)`", factor.expr)
    tree = ast.parse(re.sub("`[^`]+`", "None", factor.expr), mode="eval")
    functions = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            functions.add(id(node.func))
            if node.func.id == "Q":
                quoted += [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
    plain = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in functions]
    return {name for name in (*quoted, *plain) if name not in TRANSFORMS and name != "np"}


def check_rows(
    data: pd.DataFrame,
    columns: Sequence[str],
    *,
    table: str,
    unit: str | None = None,
    wording: str = "design.missing",
) -> None:
    """Raise one error that counts missing and infinite values per column and names first units.

    Where the rows have no unit to name (its own identifier is missing), their index labels stand.
    """
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
    places: str = text("design.rows", rows=shorten(data.index[where]))
    if unit is not None and unit in data:
        units = data.loc[where, unit].dropna().astype(str).drop_duplicates()
        places = f" ({unit}: {len(units)}; {shorten(units)})" if len(units) else places
    raise DataError(text(wording, table=table, columns="; ".join(found), places=places))


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


def learn_columns(data: pd.DataFrame, parts: FormulaColumns) -> tuple[Floats, ModelSpec]:
    """Learn categories and transformations of the right-hand side and return its columns.

    Returns
    -------
    (matrix, spec)
        Columns of shape (n_rows, n_terms) and what was learnt; ``spec.column_names`` are the terms.

    Raises
    ------
    DataError
        If a transformation cannot be evaluated or gives missing or infinite values.
    SpecificationError
        If a column of categories has a single one: formulaic would leave it out silently.
    """
    import formulaic

    matrix, spec = _evaluated(
        lambda frame: formulaic.model_matrix(
            parts.right, frame, na_action="raise", output="pandas", context={"np": np}
        ),
        _plain(data, parts.variables),
        parts.right,
    )
    flat = [
        factor
        for factor, (_, learnt) in spec.encoder_state.items()
        if "categories" in learnt and len(learnt["categories"]) < 2
    ]
    if flat:
        raise SpecificationError(
            text("engine.collinear", columns=", ".join(repr(str(factor)) for factor in flat))
        )
    return matrix, spec


def design_columns(spec: ModelSpec, data: pd.DataFrame) -> Floats:
    """Return the columns of a learnt right-hand side for another frame.

    Raises
    ------
    DataError
        If a column holds a category that was not there when the design was learnt, or a
        transformation gives missing values.
    """
    formula: Any = spec.formula
    named = {str(factor): sorted(_named(factor)) for term in formula for factor in term.factors}
    frame = _plain(data, sorted({name for columns in named.values() for name in columns}))
    for factor, columns in named.items():
        _, learnt = spec.encoder_state.get(factor, (None, {}))
        if "categories" not in learnt or len(columns) != 1:
            continue
        values = frame[columns[0]]
        new = values[~values.isin(learnt["categories"])].drop_duplicates()
        if len(new):
            raise DataError(
                text(
                    "design.new_category",
                    column=repr(columns[0]),
                    new=shorten(new),
                    known=shorten(learnt["categories"], 12),
                )
            )
    return _evaluated(lambda frame: spec.get_model_matrix(frame), frame, str(spec.formula))[0]


def _plain(data: pd.DataFrame, variables: Sequence[str]) -> pd.DataFrame:
    """Return the columns in NumPy's own types or as categories.

    formulaic takes text with pd.NA for a number, and sorts text again for every column it makes.
    """
    found: dict[str, pd.Series] = {}
    for name in variables:
        values = data[name]
        kind = values.dtype
        if isinstance(kind, pd.CategoricalDtype):
            values = values.cat.remove_unused_categories()
        elif isinstance(kind, pd.StringDtype):
            values = values.astype("category")
        elif pd.api.types.is_bool_dtype(kind):
            values = values.astype(bool)
        elif pd.api.types.is_extension_array_dtype(kind) and pd.api.types.is_numeric_dtype(kind):
            values = values.astype(float)
        found[name] = values
    return pd.DataFrame(found, index=data.index)


def _evaluated(
    build: Callable[[pd.DataFrame], Any], frame: pd.DataFrame, right: str
) -> tuple[Floats, Any]:
    """Build a model matrix; what a transformation spoils becomes an error that names it."""
    from formulaic.errors import FormulaicError

    try:
        with np.errstate(all="ignore"):
            matrix = build(frame)
    except (FormulaicError, ValueError, TypeError, NameError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            text("design.transformation", formula=repr(right), reason=reason)
        ) from error
    values = matrix.to_numpy(dtype=float)
    bad = ~np.isfinite(values).all(axis=0)
    if bad.any():
        terms = ", ".join(repr(str(t)) for t in matrix.columns[bad])
        n = int((~np.isfinite(values)).any(axis=1).sum())
        raise DataError(text("design.not_finite", terms=terms, n=n))
    return values, matrix.model_spec


def _check_weights(data: pd.DataFrame, column: str, *, table: str, unit: str | None) -> Floats:
    """Return precision weights or raise: numeric, at least 0, not all 0."""
    check_numeric(data, [column], table=table)
    values = data[column].to_numpy(dtype=float)
    negative = values < 0
    if negative.any() or not (values > 0).any():
        units = list(data.loc[negative, unit].astype(str).drop_duplicates()) if unit else []
        places = f" ({unit}: {len(units)}; {shorten(units)})" if units else ""
        raise DataError(
            text(
                "design.weights",
                table=table,
                column=repr(column),
                n=int(negative.sum()),
                places=places,
                largest=f"{values.max():.6g}",
            )
        )
    return values


def design_from_frame(
    data: pd.DataFrame,
    formula: str,
    *,
    groups: Sequence[Level] = (),
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
    groups : sequence of Level
        Nested levels from outer to inner.
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
    parts = formula_columns(formula)
    columns = [level.column for level in groups]
    categories = list(dict.fromkeys(level.by for level in groups if level.by is not None))
    check_not_empty(data, table=table)
    used = [*parts.variables, parts.outcome, *columns, *categories, *([weights] if weights else [])]
    check_columns(data, used, table=table)
    check_outcome(data, parts, table=table)
    check_rows(data, used, table=table, unit=columns[-1] if columns else None)
    unit = columns[-1] if columns else None
    values = None if weights is None else _check_weights(data, weights, table=table, unit=unit)
    matrix, spec = learn_columns(data, parts)
    terms = tuple(str(name) for name in spec.column_names)
    covariates = [t for t in terms if t != ONES]
    indicators = {c: _indicators(data[c]) for c in categories}
    factors = [pd.factorize(data[column], sort=True) for column in columns]
    levels = []
    for level, (codes, _) in zip(groups, factors, strict=True):
        unknown = [s for s in level.slopes if s not in covariates]
        if unknown:
            raise SpecificationError(
                text("design.slope", slopes=", ".join(unknown), terms=", ".join(covariates))
            )
        own = [ONES] if level.by is None else list(indicators[level.by])
        levels.append((level.name, codes, [*own, *level.slopes]))
    X = [matrix[:, [k for k, t in enumerate(terms) if t != ONES]]]
    X += [np.column_stack(list(own.values())) for own in indicators.values()]
    y = data[parts.outcome].to_numpy(dtype=float)
    names = [*covariates, *(name for own in indicators.values() for name in own), parts.outcome]
    centre, scale = _units(np.column_stack([X[0], y]), len(names) - len(covariates) - 1)
    cross = CrossProducts.from_arrays(
        np.column_stack(X),
        y,
        columns=names,
        groups=levels,
        weights=values,
        centre=centre,
        scale=scale,
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


def _indicators(values: pd.Series) -> dict[str, Floats]:
    """Return one column of zeros and ones per category, under its name."""
    codes, categories = pd.factorize(values, sort=True)
    return {
        f"{values.name}={category}": (codes == k).astype(float)
        for k, category in enumerate(categories)
    }


def _units(block: Floats, n_indicators: int) -> tuple[Floats | None, Floats | None]:
    """Return centres and scales that leave indicators as they are; None lets the pass choose."""
    if not n_indicators:
        return None, None
    centre, scale = block.mean(axis=0), block.std(axis=0)
    flat = scale <= 1e-13 * np.maximum(1.0, np.abs(centre))
    scale = np.where(flat, 1.0, scale)
    return (
        np.concatenate([centre[:-1], np.zeros(n_indicators), centre[-1:]]),
        np.concatenate([scale[:-1], np.ones(n_indicators), scale[-1:]]),
    )
