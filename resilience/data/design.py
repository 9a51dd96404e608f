"""From a formula and a frame to cross-products.

Readers of what does not fit into memory stand in `design_batches`; both give the same products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design_formula import (
    FormulaColumns,
    check_outcome,
    check_rows,
    check_weights,
    design_columns,
    formula_columns,
    learn_columns,
)
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.validation import check_columns, check_not_empty

if TYPE_CHECKING:
    from formulaic import ModelSpec

__all__ = [
    "Design",
    "FormulaColumns",
    "Level",
    "check_outcome",
    "check_rows",
    "check_slopes",
    "design_columns",
    "design_from_frame",
    "formula_columns",
    "learn_columns",
]

Floats = NDArray[np.float64]


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
        Rows read.
    passes : int
        How often the rows were read.
    notes : tuple of str
        What each pass was for, where there were several chunks.
    """

    cross: CrossProducts
    terms: tuple[str, ...]
    outcome: str
    spec: ModelSpec
    n_rows: int
    passes: int = 1
    notes: tuple[str, ...] = ()


def design_from_frame(
    data: pd.DataFrame,
    formula: str,
    *,
    groups: Sequence[Level] = (),
    weights: str | None = None,
    table: str = "data",
    keep: str | None = None,
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
    keep : str, optional
        Level whose units keep their own cross-products; ``"groups"`` is the innermost one.

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
    values = None if weights is None else check_weights(data, weights, table=table, unit=unit)
    matrix, spec = learn_columns(data, parts)
    terms = tuple(str(name) for name in spec.column_names)
    covariates = [t for t in terms if t != ONES]
    indicators = {c: _indicators(data[c]) for c in categories}
    factors = [pd.factorize(data[column], sort=True) for column in columns]
    levels = []
    for level, (codes, _) in zip(groups, factors, strict=True):
        check_slopes(level.slopes, covariates)
        own = [ONES] if level.by is None else list(indicators[level.by])
        levels.append((level.name, codes, [*own, *level.slopes]))
    X = matrix[:, 1:] if terms[:1] == (ONES,) else matrix[:, [t != ONES for t in terms]]
    y = data[parts.outcome].to_numpy(dtype=float)
    names = [*covariates, *(name for own in indicators.values() for name in own), parts.outcome]
    centre, scale = None, None
    if indicators:
        by = [np.column_stack(list(own.values())) for own in indicators.values()]
        centre, scale = _units(np.column_stack([X, y]), sum(b.shape[1] for b in by))
        X = np.column_stack([X, *by])
    cross = CrossProducts.from_arrays(
        X,
        y,
        columns=names,
        groups=levels,
        weights=values,
        centre=centre,
        scale=scale,
        keep=keep,
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


def check_slopes(slopes: Sequence[str], terms: Sequence[str]) -> None:
    """Raise unless every slope is a term of the formula.

    Raises
    ------
    SpecificationError
        With the terms there are, and those that a column of categories makes.
    """
    unknown = [s for s in slopes if s not in terms]
    if not unknown:
        return
    made = {s: [t for t in terms if t.startswith((f"{s}[", f"C({s})["))] for s in unknown}
    slope = next((s for s in unknown if made[s]), None)
    hint = text("design.slope_hint", slope=slope, term=", ".join(made[slope])) if slope else ""
    words = ", ".join(unknown)
    raise SpecificationError(text("design.slope", slopes=words, terms=", ".join(terms), hint=hint))


def _indicators(values: pd.Series) -> dict[str, Floats]:
    """Return one column of zeros and ones per category, under its name."""
    codes, categories = pd.factorize(values, sort=True)
    return {
        f"{values.name}={category}": (codes == k).astype(float)
        for k, category in enumerate(categories)
    }


def _units(block: Floats, n_indicators: int) -> tuple[Floats, Floats]:
    """Return centres and scales that leave indicators as they are."""
    centre, scale = block.mean(axis=0), block.std(axis=0)
    flat = scale <= 1e-13 * np.maximum(1.0, np.abs(centre))
    scale = np.where(flat, 1.0, scale)
    return (
        np.concatenate([centre[:-1], np.zeros(n_indicators), centre[-1:]]),
        np.concatenate([scale[:-1], np.ones(n_indicators), scale[-1:]]),
    )
