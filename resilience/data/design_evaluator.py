"""The columns of a learnt formula, chunk after chunk.

Plain numeric columns, columns of categories and their products are formed here, many times quicker
than by a general evaluation; anything else goes through formulaic.  Which way a formula takes is
settled once, by comparing both on the rows it was learnt from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design_formula import design_columns
from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import shorten

if TYPE_CHECKING:
    from formulaic import ModelSpec

__all__ = ["Evaluator", "as_floats"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Factor:
    """A column, and for categories which of them have an indicator."""

    column: str
    categories: tuple[Any, ...] | None = None
    first: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluator:
    """Columns of a learnt right-hand side.

    Attributes
    ----------
    spec : formulaic.ModelSpec
        What was learnt.
    plan : tuple of tuple of _Factor, or None
        The factors of each term, where all are plain; None leaves the work to formulaic.
    """

    spec: ModelSpec
    plan: tuple[tuple[_Factor, ...], ...] | None

    @classmethod
    def of(cls, spec: ModelSpec, sample: pd.DataFrame, matrix: Floats) -> Evaluator:
        """Return the evaluator of a formula learnt on ``sample``, which gave ``matrix``."""
        plan = _plan(spec)
        found = cls(spec=spec, plan=plan)
        if plan is not None and not np.array_equal(np.transpose(found.columns(sample)), matrix):
            return cls(spec=spec, plan=None)
        return found

    def columns(self, frame: pd.DataFrame) -> list[Floats]:
        """Return the columns of all terms, each of shape (n_rows,).

        Raises
        ------
        DataError
            For a category that was not there when the formula was learnt.
        """
        if self.plan is None:
            return list(design_columns(self.spec, frame).T)
        known: dict[_Factor, list[Floats]] = {}
        columns: list[Floats] = []
        ones = np.ones(len(frame))
        for factors in self.plan:
            product = [ones]
            for factor in factors:
                if factor not in known:
                    known[factor] = _values(frame[factor.column], factor)
                # the first factor runs fastest, as in formulaic
                product = [b if a is ones else a * b for b in known[factor] for a in product]
            columns += product
        return columns


def as_floats(values: pd.Series) -> Floats:
    """Return a column of numbers, without a copy where they are floats already."""
    if values.dtype == np.float64:
        return values.to_numpy()
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _values(values: pd.Series, factor: _Factor) -> list[Floats]:
    if factor.categories is None:
        return [as_floats(values)]
    known = {category: k for k, category in enumerate(factor.categories)}
    if isinstance(values.dtype, pd.CategoricalDtype):
        local, own = values.cat.codes.to_numpy(), values.cat.categories
    else:
        local, unique = pd.factorize(values)
        own = pd.Index(unique)
    lookup = np.array([known.get(v, -1) for v in own.tolist()] + [-1], dtype=np.int64)
    code = lookup[local]
    if (code < 0).any():
        new = values[code < 0].drop_duplicates()
        raise DataError(
            text(
                "design.new_category",
                column=repr(factor.column),
                new=shorten(new),
                known=shorten(factor.categories, 12),
            )
        )
    return [(code == k).astype(float) for k in range(factor.first, len(factor.categories))]


def _plan(spec: ModelSpec) -> tuple[tuple[_Factor, ...], ...] | None:
    """Return the plain factors of each term, or None where one of them is not plain."""
    terms: list[tuple[_Factor, ...]] = []
    structure: Any = spec.structure
    for encoded in structure:
        if len(encoded.scoped_terms) != 1:
            return None
        scoped = next(iter(encoded.scoped_terms))
        if scoped.scale not in (None, 1):
            return None
        factors = [_factor(spec, item) for item in scoped.factors]
        if any(factor is None for factor in factors):
            return None
        terms.append(tuple(factor for factor in factors if factor is not None))
    return tuple(terms)


def _factor(spec: ModelSpec, scoped: Any) -> _Factor | None:
    factor = scoped.factor.factor
    if factor.eval_method.value != "lookup":
        return None
    name = str(factor.expr)
    kind, learnt = spec.encoder_state.get(factor.expr, (None, {}))
    if kind is None or kind.value not in ("numerical", "categorical"):
        return None
    if kind.value == "numerical":
        return _Factor(column=name)
    contrasts = getattr(learnt.get("contrasts"), "contrasts", None)
    if type(contrasts).__name__ != "TreatmentContrasts":
        return None
    return _Factor(
        column=name, categories=tuple(learnt["categories"]), first=1 if scoped.reduced else 0
    )
