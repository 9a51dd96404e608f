"""The fixed recipe from rows to cross-products: what loops, workers and Spark's tasks all run.

A recipe holds everything that was learnt from the data (categories, transformations, whatever the
preparation learnt) and can be pickled; the products of any parts of the rows then add up.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.batches.chunk import TABLE, Chunk, Place
from resilience.data.batches.frames import to_chunk
from resilience.data.batches.passes import Pass, PassResult, Preparation
from resilience.data.design import Level, check_slopes
from resilience.data.design_evaluator import Evaluator, as_floats
from resilience.data.design_formula import FormulaColumns, check_weights, copies_of_outcome
from resilience.data.design_labels import LabelCoder, fingerprints
from resilience.data.identifiers import torn_unit
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.strata.accumulator import Accumulator, common_units, merge_products
from resilience.validation import check_numeric, shorten

if TYPE_CHECKING:
    from formulaic import ModelSpec

__all__ = ["Products", "ProductsStep", "Recipe"]

Floats = NDArray[np.float64]
MOST_KEYS = 200_000_000  # fingerprints of more rows than that take over 1.6 GB


@dataclass(frozen=True, kw_only=True, eq=False)
class Products:
    """Cross-products of some of the rows, and what only all rows together can tell.

    Attributes
    ----------
    cross : CrossProducts
        Of these rows.
    copies : frozenset of str
        Covariates that equal the outcome in every one of these rows.
    keys : ndarray of uint64
        Fingerprints of the keys that must not repeat; empty where no key is watched.
    torn : tuple of _Torn
        Units met in two outer units, which a nested level forbids.
    """

    cross: CrossProducts
    copies: frozenset[str] = frozenset()
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    torn: tuple[_Torn, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Torn:
    """A unit that stands in two outer units, and where each was first met."""

    level: int
    unit: Any
    parents: tuple[Any, ...]
    places: tuple[Place, ...] = ()


@dataclass(kw_only=True)
class _Running:
    """Sums on the way."""

    sums: Accumulator
    coders: tuple[LabelCoder, ...]
    copies: frozenset[str]
    places: list[Place] = field(default_factory=list)
    keys: list[NDArray[np.uint64]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProductsStep:
    """Sums the cross-products of prepared rows.

    Attributes
    ----------
    parts : FormulaColumns
        The formula of the prepared rows.
    evaluator : Evaluator
        Its columns.
    levels : tuple of Level
        From outer to inner.
    categories : dict of {column: tuple}
        Categories of columns that random effects differ by.
    weights : str or None
        Column of precision weights.
    keys : tuple of str
        Columns that together must not repeat.
    keep : str or None
        Level whose units keep their own cross-products.
    copies : frozenset of str
        Covariates that equalled the outcome in the first rows.
    centre, scale : ndarray of shape (n_columns,)
        Units in which the rows enter.
    n_nested : int
        So many of the levels, from the outermost, are units that stand in a single outer unit.
    """

    parts: FormulaColumns
    evaluator: Evaluator
    levels: tuple[Level, ...]
    categories: dict[str, tuple[Any, ...]]
    weights: str | None = None
    keys: tuple[str, ...] = ()
    keep: str | None = None
    copies: frozenset[str] = frozenset()
    centre: Floats = field(default_factory=lambda: np.zeros(0))
    scale: Floats = field(default_factory=lambda: np.zeros(0))
    n_nested: int = 0
    touches: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Prepared columns to read."""
        used = [*self.parts.variables, self.parts.outcome, *(v.column for v in self.levels)]
        used += [*self.categories, *([self.weights] if self.weights else []), *self.keys]
        return tuple(dict.fromkeys(used))

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Columns of units, pupils and years."""
        by = [v.by for v in self.levels if v.by is not None]
        return tuple(dict.fromkeys([*(v.column for v in self.levels), *by, *self.keys]))

    @property
    def terms(self) -> tuple[str, ...]:
        """Fixed terms as formulaic labels them."""
        return tuple(str(name) for name in self.evaluator.spec.column_names)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of the cross-products besides the ones, the outcome last."""
        covariates = [t for t in self.terms if t != ONES]
        return (*covariates, *self._indicator_names(), self.parts.outcome)

    def _indicator_names(self) -> list[str]:
        return [f"{name}={c}" for name, own in self.categories.items() for c in own]

    def random_terms(self) -> list[tuple[str, list[str]]]:
        """Return the random terms of each level.

        Raises
        ------
        SpecificationError
            If a slope is no term of the formula.
        """
        covariates = [t for t in self.terms if t != ONES]
        found = []
        for level in self.levels:
            check_slopes(level.slopes, covariates)
            own = [ONES]
            if level.by is not None:
                own = [f"{level.by}={c}" for c in self.categories[level.by]]
            found.append((level.name, [*own, *level.slopes]))
        return found

    def vectors(self, frame: pd.DataFrame) -> list[Floats]:
        """Return the columns of the cross-products for prepared rows, the outcome last."""
        columns = self.evaluator.columns(frame)
        indicators = [
            np.asarray(frame[name] == c, dtype=float)
            for name, own in self.categories.items()
            for c in own
        ]
        covariates = [v for v, term in zip(columns, self.terms, strict=True) if term != ONES]
        return [*covariates, *indicators, as_floats(frame[self.parts.outcome])]

    def units_of(self, frame: pd.DataFrame) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the columns; indicators keep 0 and 1."""
        data = np.column_stack(self.vectors(frame))
        centre, spread = data.mean(axis=0), data.std(axis=0)
        flat = ~(spread > 1e-13 * np.maximum(1.0, np.abs(centre)))
        scale = np.where(flat, 1.0, spread)
        first = len(self.terms) - (ONES in self.terms)
        at = slice(first, first + len(self._indicator_names()))
        centre[at], scale[at] = 0.0, 1.0
        return centre, scale

    def start(self) -> _Running:
        """Return empty sums."""
        sums = Accumulator(
            self.names, self.random_terms(), centre=self.centre, scale=self.scale, keep=self.keep
        )
        coders = tuple(LabelCoder() for _ in self.levels)
        return _Running(sums=sums, coders=coders, copies=self.copies)

    def add(self, state: _Running, frame: pd.DataFrame, chunk: Chunk) -> None:
        """Add prepared rows.

        Raises
        ------
        DataError
            For an outcome that is no number, a negative weight, an unknown category.
        """
        if len(frame) == 0:
            return
        check_numeric(frame, [self.parts.outcome], table=TABLE)
        weights = None
        if self.weights is not None:
            unit = self.levels[-1].column if self.levels else None
            weights = check_weights(frame, self.weights, table=TABLE, unit=unit, some=False)
        if state.copies:
            state.copies &= set(copies_of_outcome(frame, self.parts))
        if self.keys:
            if sum(map(len, state.keys)) + len(frame) > MOST_KEYS:
                raise SpecificationError(
                    text(
                        "sources.many_keys",
                        n=MOST_KEYS,
                        memory=f"{8e-9 * MOST_KEYS:.1f}",
                    )
                )
            state.keys.append(fingerprints(frame, self.keys))
        codes = [
            coder.codes(frame[level.column])
            for coder, level in zip(state.coders, self.levels, strict=True)
        ]
        state.sums.add(self.vectors(frame), codes, weights)
        state.places.append(chunk.place)

    def close(self, state: _Running) -> Products:
        """Return the sums with labels in order."""
        keys = np.concatenate(state.keys) if state.keys else np.zeros(0, dtype=np.uint64)
        cross = state.sums.finish([coder.labels for coder in state.coders])
        return Products(cross=cross, copies=state.copies, keys=keys, torn=self._torn(state))

    def _torn(self, state: _Running) -> tuple[_Torn, ...]:
        """Return the first unit of each level that stands in two outer units, and where."""
        found: list[_Torn] = []
        for k in range(1, self.n_nested):
            parents, codes = state.sums.cells(k)
            own, first, n = np.unique(codes, return_index=True, return_counts=True)
            if not (n > 1).any():
                continue
            code = own[n > 1][np.argmin(first[n > 1])]
            cells = np.flatnonzero(codes == code)
            outer = state.sums.cells(k - 1)[1][parents[cells]]
            found.append(
                _Torn(
                    level=k,
                    unit=state.coders[k].labels[code],
                    parents=tuple(state.coders[k - 1].labels[c] for c in outer),
                    places=tuple(state.places[state.sums.first_chunk(k, int(c))] for c in cells),
                )
            )
        return tuple(found)

    def merge(self, states: Sequence[Products]) -> Products:
        """Return the sum of products of different rows."""
        there = [s for s in states if s.cross.n_rows] or list(states[:1])
        copies = there[0].copies
        for other in there[1:]:
            copies &= other.copies
        return Products(
            cross=merge_products([s.cross for s in there]),
            copies=copies,
            keys=np.concatenate([s.keys for s in states]),
            torn=tuple(torn for s in states for torn in s.torn),
        )

    def check(self, products: Products) -> Products:
        """Return the products of all rows in common units, or raise.

        Raises
        ------
        DataError
            If a unit stands in two outer units, a covariate copies the outcome, or no weight is
            positive.
        """
        for torn in products.torn or _torn_levels(products.cross, self.n_nested):
            places: str = shorten(sorted(map(str, torn.parents)))
            if len(torn.places) > 1:
                first, second = (place.describe() for place in torn.places[:2])
                at = text("sources.two_parents_at", first=first, second=second)
                places = Bilingual(places + at.en, places + at.ru)
            inner, outer = (self.levels[torn.level - k].column for k in (0, 1))
            cells = products.cross.levels[torn.level]
            backwards = bool((np.bincount(cells.parent) == 1).all())
            raise torn_unit(inner, torn.unit, outer, places, backwards=backwards)
        for name in sorted(products.copies):
            raise DataError(
                text("design.copy", table=TABLE, column=repr(name), outcome=self.parts.outcome)
            )
        if products.cross.n_rows == 0:
            raise DataError(
                text(
                    "design.weights",
                    table=TABLE,
                    column=repr(self.weights),
                    n=0,
                    places="",
                    largest="0",
                )
            )
        return replace(products, cross=common_units(products.cross))


def _torn_levels(cross: CrossProducts, n_nested: int) -> tuple[_Torn, ...]:
    """Return the first unit of each level that stands in two outer units."""
    found: list[_Torn] = []
    for k in range(1, min(n_nested, len(cross.levels))):
        seen: dict[Any, int] = {}
        for at, label in enumerate(cross.levels[k].labels):
            if label in seen:
                both = cross.levels[k].parent[[seen[label], at]]
                parents = tuple(cross.levels[k - 1].labels[both])
                found.append(_Torn(level=k, unit=label, parents=parents))
                break
            seen[label] = at
    return tuple(found)


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """Everything that turns rows into cross-products, learnt once and fixed.

    Attributes
    ----------
    step : ProductsStep
        From prepared rows to sums.
    preparation : Preparation
        From the source's rows to prepared ones.
    columns : tuple of str
        Columns of the source that are read.
    kinds : dict of {column: kind}
        Kinds of values in the first rows.
    unit : str or None
        Column named as the place of a fault.
    wording : str
        Text of the error for gaps.
    notes : tuple of Bilingual
        What each pass over the source learnt.
    """

    step: ProductsStep
    preparation: Preparation
    columns: tuple[str, ...]
    kinds: dict[str, str]
    unit: str | None = None
    wording: str = "design.missing"
    notes: tuple[str, ...] = ()

    @property
    def spec(self) -> ModelSpec:
        """Learnt categories and transformations of the formula."""
        return self.step.evaluator.spec

    @property
    def job(self) -> Pass:
        """The pass that sums the cross-products; it can be pickled."""
        return Pass(
            steps=(self.step,),
            preparation=self.preparation,
            columns=self.columns,
            unit=self.unit,
            wording=self.wording,
            kinds=dict(self.kinds),
            identifiers=self.step.identifiers,
        )

    def products(self, chunk: object) -> CrossProducts:
        """Return the cross-products of some rows.

        Parameters
        ----------
        chunk : Chunk, DataFrame, pyarrow.Table or any table that narwhals knows
            Rows with the recipe's ``columns``.

        Returns
        -------
        CrossProducts
            Additive with those of any other rows.

        Raises
        ------
        DataError
            For gaps, another type of values, a category that was not learnt, a negative weight.
        """
        job = self.job
        result = job.check(job.one([to_chunk(chunk, self.columns, Place(part=1))]))
        products: Products = result.states[0]
        return products.cross

    def arrow_batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Turn Arrow batches into one batch with one row: the function for ``mapInArrow``.

        Parameters
        ----------
        batches : iterable of pyarrow.RecordBatch
            The rows of one task.

        Yields
        ------
        pyarrow.RecordBatch
            Column ``products`` (binary): the pickled partial result, for `collect`.  A task without
            rows yields a result of zeros.

        Notes
        -----
        In Spark, with ``recipe`` in the driver::

            rows = frame.select(*recipe.columns)
            parts = rows.mapInArrow(recipe.arrow_batches, "products binary")
            result = recipe.collect(row.products for row in parts.toLocalIterator())

        Unpickle only what your own workers made.
        """
        import pyarrow as pa

        job = self.job
        result = job.start()
        for part, batch in enumerate(batches, start=1):
            job.add(result, to_chunk(batch, self.columns, Place(part=part)))
        packed = pickle.dumps(job.close(result), protocol=pickle.HIGHEST_PROTOCOL)
        yield pa.RecordBatch.from_arrays([pa.array([packed], type=pa.binary())], names=["products"])

    def collect(self, parts: Iterable[bytes]) -> PassResult:
        """Add up the partial results of `arrow_batches`.

        Raises
        ------
        DataError
            For gaps that the tasks found, counted over all of them, or no rows at all.
        """
        job = self.job
        results = [pickle.loads(bytes(part)) for part in parts]
        joined = job.check(job.merge(results) if results else job.close(job.start()))
        joined.states[0] = self.step.check(joined.states[0])
        return joined
