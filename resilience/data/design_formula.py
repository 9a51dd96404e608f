"""Formulas: what they need, the columns they make, and the checks of those columns.

A formula's categories and transformations are learnt once and kept, so that a second frame (new
schools, a prediction, the next chunk) goes through the same columns.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import check_numeric, shorten

if TYPE_CHECKING:
    from formulaic import ModelSpec

__all__ = [
    "FormulaColumns",
    "check_outcome",
    "check_rows",
    "check_weights",
    "copies_of_outcome",
    "design_columns",
    "evaluated",
    "factor_columns",
    "formula_columns",
    "learn_columns",
    "missing_counts",
    "plain_columns",
    "quoted",
    "unquoted",
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
    outcome = unquoted(left.strip())
    if (quoted(outcome) != left.strip() and not outcome.isidentifier()) or not right.strip():
        raise SpecificationError(text("design.formula", formula=repr(formula)))
    _refuse_bars(right, str(formula))
    try:
        parsed = Formula(right.strip())
        if not isinstance(parsed, SimpleFormula):
            raise SpecificationError(text("design.formula", formula=repr(formula)))
        needed = {
            name for term in parsed for factor in term.factors for name in factor_columns(factor)
        }
    except (FormulaicError, SyntaxError) as error:
        raise SpecificationError(
            text("design.formula_syntax", formula=repr(formula), reason=str(error).splitlines()[0])
        ) from error
    names = sorted(needed, key=right.find)
    if outcome in names:
        raise SpecificationError(text("design.outcome_right", outcome=repr(outcome)))
    return FormulaColumns(outcome=outcome, right=right.strip(), variables=tuple(names))


def _refuse_bars(right: str, formula: str) -> None:
    """Raise for random effects in the notation of lme4: ``(1 | school_id)``.

    A bar inside the call of a function is an expression of Python and stays.
    """
    plain = re.sub(r"`[^`]*`|'[^']*'|\"[^\"]*\"", lambda m: "q" * len(m.group()), right)
    opened: list[tuple[int, bool]] = []  # brackets, and whether they call a function
    for at, sign in enumerate(plain):
        if sign in "([{":
            before = plain[:at].rstrip()[-1:]
            opened.append((at, sign != "(" or before.isalnum() or before in ("_", ")", "]")))
        elif sign in ")]}" and opened:
            opened.pop()
        elif sign == "|" and opened and not any(call for _, call in opened):
            end = plain.find(")", at) + 1
            bar = right[opened[-1][0] : end or None].strip()
            units = re.split(r"[/:+]", right[at:].lstrip("| ").split(")")[0])
            groups = [unquoted(unit.strip()) for unit in units if unit.strip()]
            shown = repr(groups[0]) if len(groups) == 1 else repr(groups)
            raise SpecificationError(
                text("design.bars", formula=repr(formula), bar=bar, group=shown)
            )


def quoted(name: str) -> str:
    """Return a column as formulas name it: in backticks where it is no plain identifier."""
    plain = name.isidentifier() and not keyword.iskeyword(name)
    return name if plain else f"`{name}`"


def unquoted(name: str) -> str:
    """Return a column's own name without the backticks that a formula needs."""
    inside = name[1:-1]
    wrapped = len(name) > 2 and name[0] == name[-1] == "`" and "`" not in inside
    return inside if wrapped else name


def factor_columns(factor: Any) -> set[str]:
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
    counts, where = missing_counts(data, columns)
    if not counts:
        return
    found = [f"{name!r}: {n}" for name, n in counts.items()]
    places: str = text("design.rows", rows=shorten(data.index[where]))
    if unit is not None and unit in data:
        units = data.loc[where, unit].dropna().astype(str).drop_duplicates()
        places = f" ({unit}: {len(units)}; {shorten(units)})" if len(units) else places
    raise DataError(text(wording, table=table, columns="; ".join(found), places=places))


def missing_counts(
    data: pd.DataFrame, columns: Sequence[str]
) -> tuple[dict[str, int], NDArray[np.bool_]]:
    """Return how many values per column are missing or infinite, and the rows concerned."""
    counts: dict[str, int] = {}
    where = np.zeros(len(data), dtype=bool)
    for name in dict.fromkeys(columns):
        values = data[name]
        if isinstance(values.dtype, np.dtype) and values.dtype.kind == "f":
            # one sum tells of a gap or an infinite value; only then is it looked for
            with np.errstate(all="ignore"):
                if np.isfinite(values.to_numpy().sum()):
                    continue
        bad = values.isna().to_numpy(dtype=bool)
        if pd.api.types.is_float_dtype(values.dtype):
            bad = bad | np.isinf(values.to_numpy(dtype=float, na_value=np.nan))
        if bad.any():
            counts[name] = int(bad.sum())
            where |= bad
    return counts, where


def check_outcome(data: pd.DataFrame, parts: FormulaColumns, *, table: str) -> None:
    """Raise unless the outcome is numeric, not boolean, and not a copy of a covariate."""
    check_numeric(data, [parts.outcome], table=table)
    for name in copies_of_outcome(data, parts):
        raise DataError(
            text("design.copy", table=table, column=repr(name), outcome=repr(parts.outcome))
        )


def copies_of_outcome(data: pd.DataFrame, parts: FormulaColumns) -> list[str]:
    """Return the numeric covariates that equal the outcome in every row."""
    y = data[parts.outcome].to_numpy(dtype=float, na_value=np.nan)
    found: list[str] = []
    for name in parts.variables:
        kind = data[name].dtype
        if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
            continue
        if np.array_equal(data[name].to_numpy(dtype=float, na_value=np.nan), y):
            found.append(name)
    return found


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

    matrix, spec = evaluated(
        lambda frame: formulaic.model_matrix(
            parts.right, frame, na_action="raise", output="pandas", context={"np": np}
        ),
        plain_columns(data, parts.variables),
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
    named = {
        str(factor): sorted(factor_columns(factor)) for term in formula for factor in term.factors
    }
    for factor, columns in named.items():
        kind, learnt = spec.encoder_state.get(factor, (None, {}))
        # formulaic would take text for categories, and note them in the design
        numeric = kind is not None and "categories" not in learnt
        plain = numeric and list(columns) == [factor]
        if plain and not pd.api.types.is_numeric_dtype(data[factor].dtype):
            check_numeric(data, [factor], table="data")
    frame = plain_columns(data, sorted({name for columns in named.values() for name in columns}))
    spec = spec.update(encoder_state=dict(spec.encoder_state))  # a failed call must leave no trace
    changed = False
    for factor, columns in named.items():
        _, learnt = spec.encoder_state.get(factor, (None, {}))
        if "categories" not in learnt:
            continue
        if not _is_plain(factor, columns):
            changed = True  # categories of a function of the column: formulaic compares those
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
    try:
        return _known_columns(spec, frame, changed)
    except DataError:
        for factor, columns in named.items():  # say of text given to a function what it is
            kind, learnt = spec.encoder_state.get(factor, (None, {}))
            if kind is None or "categories" in learnt or re.search(r"[=!]=|[<>'\"]", factor):
                continue
            check_numeric(data, sorted(columns), table="data")
        raise


def _known_columns(spec: ModelSpec, frame: pd.DataFrame, changed: bool) -> Floats:
    """Return the columns; formulaic compares categories of functions where ``changed``."""
    if not changed:
        return evaluated(lambda frame: spec.get_model_matrix(frame), frame, str(spec.formula))[0]
    from formulaic.errors import DataMismatchWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DataMismatchWarning)
            return evaluated(lambda f: spec.get_model_matrix(f), frame, str(spec.formula))[0]
    except DataMismatchWarning as warning:
        reason = str(warning).splitlines()[0]
        raise DataError(
            text("design.transformation", formula=repr(str(spec.formula)), reason=reason)
        ) from warning


def _is_plain(factor: str, columns: Sequence[str]) -> bool:
    """Return whether a factor's categories are the values of its column."""
    if len(columns) != 1:
        return False
    name = re.escape(columns[0])
    return factor == columns[0] or re.match(rf"C\(\s*`?{name}`?\s*[,)]", factor) is not None


def plain_columns(data: pd.DataFrame, variables: Sequence[str]) -> pd.DataFrame:
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


def evaluated(
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


def check_weights(
    data: pd.DataFrame, column: str, *, table: str, unit: str | None, some: bool = True
) -> Floats:
    """Return precision weights or raise: numeric, at least 0, not all 0 (unless not ``some``)."""
    check_numeric(data, [column], table=table)
    values = data[column].to_numpy(dtype=float)
    negative = values < 0
    if negative.any() or (some and not (values > 0).any()):
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
