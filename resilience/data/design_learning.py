"""What a formula learns from the data: categories, and transformations such as splines.

Categories are gathered chunk by chunk.  A transformation that learns (``center``, ``poly``, ``bs``)
needs its own column whole: eight bytes a row for each column it uses, and nothing else.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.batches.chunk import Chunk, kind_of
from resilience.data.design_evaluator import Evaluator, as_floats
from resilience.data.design_formula import (
    FormulaColumns,
    evaluated,
    factor_columns,
    learn_columns,
    plain_columns,
)
from resilience.errors import SpecificationError
from resilience.i18n import text

if TYPE_CHECKING:
    from formulaic import ModelSpec

__all__ = ["DesignStep", "LearntColumns", "ordered_categories"]

Floats = NDArray[np.float64]
_MOST_CATEGORIES = 5_000  # beyond that a column of categories is a column of identifiers


@dataclass(kw_only=True)
class _Seen:
    """Distinct values per column, orders that somebody chose, and whole columns."""

    distinct: dict[str, dict[Any, None]] = field(default_factory=dict)
    declared: dict[str, tuple[Any, ...] | None] = field(default_factory=dict)
    whole: dict[str, list[Floats]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class LearntColumns:
    """What was learnt.

    Attributes
    ----------
    evaluator : Evaluator
        Columns of the right-hand side for any further frame.
    categories : dict of {column: tuple}
        Categories of columns that random effects differ by.
    """

    evaluator: Evaluator
    categories: dict[str, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class DesignStep:
    """Gathers what a formula and the levels by category need to know of the data.

    Attributes
    ----------
    parts : FormulaColumns
        The formula.
    categorical : tuple of str
        Columns whose distinct values matter.
    stateful : tuple of str
        Factors that learn from a whole column.
    by : tuple of str
        Columns of categories of random effects.
    whole : tuple of str
        Columns of the factors that learn.
    factors : dict of {factor: tuple of str}
        Columns of each factor.
    """

    parts: FormulaColumns
    categorical: tuple[str, ...]
    stateful: tuple[str, ...]
    by: tuple[str, ...]
    whole: tuple[str, ...]
    factors: dict[str, tuple[str, ...]]
    touches: tuple[str, ...] = ()

    @classmethod
    def of(cls, parts: FormulaColumns, kinds: dict[str, str], by: Sequence[str]) -> DesignStep:
        """Read off a formula what it learns, given the kinds of values in the columns."""
        from formulaic import Formula

        categorical, stateful, whole = [], [], []
        terms: Any = Formula(parts.right)
        factors = {str(f.expr): f for term in terms for f in term.factors}
        for expression, factor in factors.items():
            columns = sorted(factor_columns(factor))
            python = factor.eval_method.value == "python"
            learns, encodes = _calls(expression) if python else ([], [])
            if learns:
                stateful.append(expression)
                whole += columns
            elif encodes or (len(columns) == 1 and kinds.get(columns[0]) in ("text", "date")):
                if len(columns) > 1:
                    raise SpecificationError(
                        text(
                            "sources.joint_categories",
                            factor=repr(expression),
                            columns=", ".join(repr(c) for c in columns),
                        )
                    )
                categorical += columns
        return cls(
            parts=parts,
            categorical=tuple(dict.fromkeys(categorical)),
            stateful=tuple(stateful),
            by=tuple(by),
            whole=tuple(dict.fromkeys(whole)),
            factors={name: tuple(sorted(factor_columns(f))) for name, f in factors.items()},
        )

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns to look at; none where nothing is learnt."""
        return tuple(dict.fromkeys([*self.categorical, *self.by, *self.whole]))

    def start(self) -> _Seen:
        """Return an empty state."""
        return _Seen()

    def add(self, state: _Seen, frame: pd.DataFrame, chunk: Chunk) -> None:
        """Note the distinct values and the whole columns of a chunk."""
        for name in dict.fromkeys([*self.categorical, *self.by]):
            values = frame[name]
            known = state.distinct.setdefault(name, {})
            known.update(dict.fromkeys(values.drop_duplicates().tolist()))
            if len(known) > _MOST_CATEGORIES:
                raise SpecificationError(
                    text("sources.many_categories", column=repr(name), most=_MOST_CATEGORIES)
                )
            if len(values):
                order = None
                if name in chunk.declared and isinstance(values.dtype, pd.CategoricalDtype):
                    order = tuple(values.cat.categories.tolist())
                if state.declared.setdefault(name, order) != order:
                    state.declared[name] = None
        for name in self.whole:
            state.whole.setdefault(name, []).append(as_floats(frame[name]).copy())

    def close(self, state: _Seen) -> _Seen:
        """Return the state as it is."""
        return state

    def merge(self, states: Sequence[_Seen]) -> _Seen:
        """Return the union of values and the rows of whole columns one after another."""
        joined = _Seen()
        for state in states:
            for name, values in state.distinct.items():
                joined.distinct.setdefault(name, {}).update(values)
                order = state.declared.get(name)
                if joined.declared.setdefault(name, order) != order:
                    joined.declared[name] = None
            for name, pieces in state.whole.items():
                joined.whole.setdefault(name, []).extend(pieces)
        return joined

    def learn(self, state: _Seen, sample: pd.DataFrame) -> LearntColumns:
        """Learn the formula on a small table that holds every category.

        Parameters
        ----------
        state : _Seen
            What the pass gathered.
        sample : DataFrame
            Some complete, prepared rows.
        """
        categories = {
            name: ordered_categories(list(values), state.declared.get(name))
            for name, values in state.distinct.items()
        }
        learnt: dict[str, Any] = {}
        for factor in self.stateful:
            columns = [c for c in self.whole if c in self.factors[factor]]
            full = pd.DataFrame({c: np.concatenate(state.whole[c]) for c in columns})
            alone = FormulaColumns(
                outcome=self.parts.outcome, right=f"0 + {{{factor}}}", variables=tuple(columns)
            )
            learnt.update(learn_columns(full, alone)[1].transform_state)
        table = _tiled(sample, self.parts.variables, categories, self.categorical)
        matrix, spec = _learnt(table, self.parts, learnt)
        self._check(spec)
        return LearntColumns(
            evaluator=Evaluator.of(spec, table, matrix),
            categories={name: categories[name] for name in self.by},
        )

    def _check(self, spec: ModelSpec) -> None:
        """Raise where formulaic learnt something that was not gathered from all rows."""
        known = set(self.categorical)
        for factor, (_, learnt) in spec.encoder_state.items():
            if "categories" not in learnt:
                continue
            if not set(self.factors[str(factor)]) <= known:
                raise SpecificationError(
                    text("sources.hidden_categories", factor=repr(str(factor)))
                )
            if len(learnt["categories"]) < 2:
                raise SpecificationError(text("engine.collinear", columns=repr(str(factor))))
        unseen = set(spec.transform_state) - set(self.stateful)
        if any(not factor_is_within(name, self.stateful) for name in unseen):
            raise SpecificationError(
                text("sources.hidden_categories", factor=", ".join(sorted(map(repr, unseen))))
            )


def factor_is_within(name: str, factors: Sequence[str]) -> bool:
    """Return whether a call stands inside one of the factors."""
    return any(name in factor for factor in factors)


def ordered_categories(values: Sequence[Any], declared: Sequence[Any] | None) -> tuple[Any, ...]:
    """Return the categories in the order declared, or in the order of their values."""
    if declared is not None:
        return tuple(v for v in declared if v in set(values))
    return tuple(sorted(values))


def _calls(expression: str) -> tuple[list[str], list[str]]:
    """Return the functions of a factor that learn from values, and those that make categories."""
    from formulaic.transforms import TRANSFORMS

    tree = ast.parse(re.sub("`[^`]+`", "None", expression), mode="eval")
    called = [
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    encodes = [name for name in called if name in ("C", "hashed")]
    learns = [
        name
        for name in called
        if name not in encodes
        and getattr(TRANSFORMS.get(name), "__is_stateful_transform__", False)
        and name not in ("lag",)
    ]
    return learns, encodes


def _tiled(
    sample: pd.DataFrame,
    variables: Sequence[str],
    categories: dict[str, tuple[Any, ...]],
    categorical: Sequence[str],
) -> pd.DataFrame:
    """Return a table in which every category stands, other columns as in the sample."""
    n = max([min(len(sample), 200), *(len(categories[name]) for name in categorical)])
    found: dict[str, pd.Series] = {}
    for name in variables:
        if name in categorical:
            known = categories[name]
            values = [known[k % len(known)] for k in range(n)]
            if kind_of(pd.Series(list(known))) == "text":
                found[name] = pd.Series(pd.Categorical(values, categories=list(known)))
            else:
                found[name] = pd.Series(values)
        else:
            rows = np.arange(n) % len(sample)
            found[name] = sample[name].iloc[rows].reset_index(drop=True)
    return pd.DataFrame(found, index=range(n))


def _learnt(
    table: pd.DataFrame, parts: FormulaColumns, transforms: dict[str, Any]
) -> tuple[Floats, ModelSpec]:
    """Learn the formula with transformations that were learnt before."""
    from formulaic import ModelSpec

    blank: Any = ModelSpec.from_spec(
        parts.right, na_action="raise", output="pandas", transform_state=transforms
    )
    return evaluated(
        lambda frame: blank.get_model_matrix(frame, context={"np": np}),
        plain_columns(table, parts.variables),
        parts.right,
    )
