"""What the intake learns from all rows: means that fill gaps, standardisation, composition.

Each is a sum over cells (schools and years, subjects and years), so that it can be learnt chunk by
chunk and merged; the latent composition needs nothing but those sums either, because its null model
is fitted from cross-products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.data.batches.chunk import Chunk
from resilience.data.design_formula import check_rows
from resilience.data.design_labels import CellTable, LabelCoder
from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.mixed import fit_mixed
from resilience.stats.strata.accumulator import Accumulator, common_units, merge_products
from resilience.validation import check_numeric, shorten
from resilience.value_added.definitions.specification import Composition

__all__ = [
    "CellStep",
    "CellValues",
    "GapStep",
    "LatentNull",
    "cell_labels",
    "composition_values",
    "spread_values",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class CellStep:
    """Sums of columns over cells.

    Attributes
    ----------
    kind : {"standardisation", "composition"}
        What they are for; the former needs sums of squares per cell too.
    names : tuple of str
        Columns summed.
    keys : tuple of str
        Columns that make the cells, from outer to inner.
    touches : tuple of str
        Prepared columns that wait for it.
    raw : bool
        Sum in raw units: enough where means are all that is asked.
    """

    kind: Literal["standardisation", "composition"]
    names: tuple[str, ...]
    keys: tuple[str, ...]
    touches: tuple[str, ...] = ()
    raw: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Prepared columns to read."""
        return tuple(dict.fromkeys([*self.names, *self.keys]))

    def start(self) -> _CellSums:
        """Return empty sums."""
        return _CellSums(coders=tuple(LabelCoder() for _ in self.keys))

    def add(self, state: _CellSums, frame: pd.DataFrame, chunk: Chunk | None) -> None:
        """Add prepared rows; the first ones give the units of the sums."""
        check_numeric(frame, list(self.names), table="data")
        columns = [frame[name].to_numpy(dtype=float, na_value=np.nan) for name in self.names]
        if len(frame) == 0:
            return
        if state.sums is None:
            centre, spread = np.zeros(len(columns)), np.ones(len(columns))
            if not self.raw:
                centre = np.array([column.mean() for column in columns])
                spread = np.array([column.std() for column in columns])
            state.sums = self._empty(centre, np.where(spread > 0, spread, 1.0))
        codes = [
            coder.codes(frame[key]) for coder, key in zip(state.coders, self.keys, strict=True)
        ]
        known = np.all([code >= 0 for code in codes], axis=0)
        if not known.all():  # pandas leaves gaps in keys out of its groups too
            codes = [code[known] for code in codes]
            columns = [column[known] for column in columns]
        state.sums.add(columns, codes)

    def _empty(self, centre: Floats, scale: Floats) -> Accumulator:
        terms = [ONES, *self.names] if self.kind == "standardisation" else [ONES]
        levels = [(key, [ONES]) for key in self.keys[:-1]] + [(self.keys[-1], terms)]
        return Accumulator(self.names, levels, centre=centre, scale=scale)

    def close(self, state: _CellSums) -> CrossProducts:
        """Return the sums with cells in order."""
        k = len(self.names)
        sums = state.sums or self._empty(np.zeros(k), np.ones(k))
        return sums.finish([coder.labels for coder in state.coders])

    def merge(self, states: Sequence[CrossProducts]) -> CrossProducts:
        """Return the sums over all rows."""
        return merge_products([s for s in states if s.n_rows] or list(states[:1]))

    def of_frame(self, frame: pd.DataFrame) -> CrossProducts:
        """Return the sums over one frame."""
        state = self.start()
        self.add(state, frame, None)
        return self.close(state)


@dataclass(kw_only=True)
class _CellSums:
    """Sums on the way; without rows there are none."""

    coders: tuple[LabelCoder, ...]
    sums: Accumulator | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class GapStep:
    """Means of the values that are there, and which columns have gaps.

    Attributes
    ----------
    needs : tuple of str
        Columns that may have gaps.
    unit : str
        School column, for messages.
    """

    needs: tuple[str, ...]
    unit: str
    touches: tuple[str, ...] = ()

    def start(self) -> dict[str, tuple[int, int, float]]:
        """Return no values, no gaps and a sum of 0 per column."""
        return dict.fromkeys(self.needs, (0, 0, 0.0))

    def add(
        self, state: dict[str, tuple[int, int, float]], frame: pd.DataFrame, chunk: Chunk | None
    ) -> None:
        """Add the values and gaps of some rows.

        Raises
        ------
        DataError
            If a column with gaps holds no numbers, or an infinite one.
        """
        for name in self.needs:
            gap = frame[name].isna()
            n, n_gaps, total = state[name]
            numeric = pd.api.types.is_numeric_dtype(frame[name].dtype)
            if gap.any():
                if not gap.all():
                    check_numeric(frame, [name], table="data")
                check_rows(frame[~gap], [name], table="data", unit=self.unit)
            there = float(frame[name].sum()) if numeric else 0.0
            state[name] = (n + int((~gap).sum()), n_gaps + int(gap.sum()), total + there)

    def close(self, state: dict[str, tuple[int, int, float]]) -> dict[str, tuple[int, int, float]]:
        """Return the state as it is."""
        return state

    def merge(
        self, states: Sequence[dict[str, tuple[int, int, float]]]
    ) -> dict[str, tuple[int, int, float]]:
        """Return the sums."""
        return {
            name: (
                sum(s[name][0] for s in states),
                sum(s[name][1] for s in states),
                float(sum(s[name][2] for s in states)),
            )
            for name in self.needs
        }

    @staticmethod
    def means(state: dict[str, tuple[int, int, float]]) -> dict[str, float]:
        """Return the mean of each column that has gaps."""
        return {
            name: total / n if n else float("nan")
            for name, (n, gaps, total) in state.items()
            if gaps
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentNull:
    """The null model of a column: what the mean of a cell that comes later is drawn towards.

    Attributes
    ----------
    mean : float
        Overall mean, in the column's units.
    outer, inner : float
        Variances of what lasts in schools and of their single years; without years the former is
        that of schools and the latter 0.
    residual : float
        Variance of pupils.
    effects, uncertainty : ndarray of shape (n_schools,)
        What is known of the lasting part of the schools, and its variance.
    schools : ndarray of shape (n_schools,)
        Labels of the schools.
    """

    mean: float
    outer: float
    inner: float
    residual: float
    effects: Floats
    uncertainty: Floats
    schools: NDArray[np.object_]

    def means(self, schools: NDArray[np.object_], raw: Floats, n: Floats) -> Floats:
        r"""Return the latent means of cells outside the table, shape (K,).

        With :math:`b_j, c_j` what the table tells of school j (0 and the variance between schools
        for a new one) the cells' raw means :math:`\bar x_{jt}` of :math:`n_{jt}` rows add to it,

        .. math::

           \hat s_j = \frac{b_j/c_j + \sum_t a_{jt}(\bar x_{jt} - m)}{1/c_j + \sum_t a_{jt}},
           \quad a_{jt} = \frac{1}{\sigma_v^2 + \sigma_e^2/n_{jt}}, \qquad
           m + \hat s_j + \sigma_v^2a_{jt}(\bar x_{jt} - m - \hat s_j) .

        Parameters
        ----------
        schools : ndarray of shape (K,)
            School of each cell.
        raw, n : ndarray of shape (K,)
            Mean and number of the rows of each cell.
        """
        place = {school: k for k, school in enumerate(self.schools.tolist())}
        code, distinct = pd.factorize(schools)
        at = np.array([place.get(school, -1) for school in distinct.tolist()], dtype=np.int64)
        before = np.where(at >= 0, np.append(self.effects, 0.0)[at], 0.0)
        spread = np.where(at >= 0, np.append(self.uncertainty, self.outer)[at], self.outer)
        gap = raw - self.mean
        weight = 1.0 / np.maximum(self.inner + self.residual / n, 1e-300)
        total, pull = np.bincount(code, weight), np.bincount(code, weight * gap)
        lasting = (before + spread * pull) / (1.0 + spread * total)
        own = lasting[code]
        return np.asarray(self.mean + own + self.inner * weight * (gap - own))


@dataclass(frozen=True, kw_only=True, eq=False)
class CellValues:
    """Learnt values per cell.

    Attributes
    ----------
    what : str
        Key of the words that name what was learnt.
    keys : tuple of str
        Columns that make the cells.
    table : CellTable
        From rows to cells.
    by_cell : dict of {column: ndarray of shape (n_cells, k)}
        Values of each cell.
    overall : dict of {column: float}
        Means over all rows.
    labels : tuple of ndarray of shape (n_cells,)
        Labels of the cells, one array per key.
    nulls : dict of {column: LatentNull}
        Null models behind latent means.
    """

    what: str
    keys: tuple[str, ...]
    table: CellTable
    by_cell: dict[str, Floats]
    overall: dict[str, float] = field(default_factory=dict)
    labels: tuple[NDArray[np.object_], ...] = ()
    nulls: dict[str, LatentNull] = field(default_factory=dict)

    def rows(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """Return the cell of each row.

        Raises
        ------
        DataError
            For a cell that was not there when the values were learnt.
        """
        cells = self.table.cells([frame[key] for key in self.keys])
        if (cells < 0).any():
            first = frame.loc[cells < 0, list(self.keys)].iloc[0]
            raise DataError(
                text(
                    "sources.unseen_cell",
                    columns=" × ".join(self.keys),
                    cell="/".join(str(v) for v in first),
                    what=text(f"sources.learns_{self.what}", columns=shorten(self.by_cell)),
                )
            )
        return cells


def spread_values(step: CellStep, cross: CrossProducts) -> CellValues:
    """Return mean and standard deviation of each column in each cell.

    A cell is flat if its variance is no more than what the rounding of its sums may leave of the
    column's overall variance and of the cell's distance from the mean; a spread below some 1e-8 of
    the column's always is.

    Raises
    ------
    DataError
        Naming a cell without spread.
    """
    deepest = cross.levels[-1]
    n = deepest.products[:, 0, 0]
    values: dict[str, Floats] = {}
    rounding = np.finfo(float).eps * (16.0 + n)  # of sums of n squares, a share of their mean
    least = np.full(len(n), np.inf)
    for k, name in enumerate(step.names, start=1):
        mean = deepest.products[:, 0, k] / n
        variance = np.maximum(deepest.products[:, k, k] / n - mean**2, 0.0)
        grand = cross.total[0, k] / cross.total[0, 0]
        overall = max(float(cross.total[k, k] / cross.total[0, 0] - grand**2), 0.0)
        noise = rounding * np.maximum(overall + mean**2, 1e-300)
        least = np.minimum(least, variance / noise)
        centre, scale = cross.centre[k], cross.scale[k]
        values[name] = np.column_stack([centre + scale * mean, scale * np.sqrt(variance)])
    labels = cell_labels(cross)
    if least.min() <= 1.0:
        cell = int(np.argmin(least))
        raise DataError(
            text(
                "value_added.flat",
                by=" × ".join(step.keys),
                cell="/".join(str(own[cell]) for own in labels),
            )
        )
    return CellValues(
        what="standardisation",
        keys=step.keys,
        table=CellTable(cross.levels),
        by_cell=values,
        labels=labels,
    )


def cell_labels(cross: CrossProducts) -> tuple[NDArray[np.object_], ...]:
    """Return the labels of the cells of the last level, one array per level."""
    found: list[NDArray[np.object_]] = []
    at = np.arange(cross.levels[-1].n_groups)
    for level in reversed(cross.levels):
        found.insert(0, np.asarray(level.labels, dtype=object)[at])
        at = np.asarray(level.parent, dtype=np.int64)[at]
    return tuple(found)


def composition_values(
    step: CellStep, cross: CrossProducts, how: dict[str, Composition]
) -> CellValues:
    """Return per cell the mean (or the latent mean) and the rows of each column."""
    deepest = cross.levels[-1]
    n = deepest.products[:, 0, 0]
    values: dict[str, Floats] = {}
    overall: dict[str, float] = {}
    nulls: dict[str, LatentNull] = {}
    for k, name in enumerate(step.names, start=1):
        mean = cross.centre[k] + cross.scale[k] * deepest.products[:, 0, k] / n
        grand = cross.total[0, k] / cross.total[0, 0]
        overall[name] = float(cross.centre[k] + cross.scale[k] * grand)
        if how[name] == "latent":
            mean, nulls[name] = _latent(cross, name)
        values[name] = np.column_stack([mean, n])
    return CellValues(
        what="composition",
        keys=step.keys,
        table=CellTable(cross.levels),
        by_cell=values,
        overall=overall,
        labels=cell_labels(cross),
        nulls=nulls,
    )


def _latent(cross: CrossProducts, name: str) -> tuple[Floats, LatentNull]:
    """Return the mean of each cell shrunken by a null model of the column itself, and the model.

    Schools by year have two parts, what lasts in the school and what is the year's own: shrunken
    alone, every year of a small school would be pulled to the overall mean and not to its school's.
    """
    alone = common_units(cross.subset_columns([name]))
    levels = [replace(v, labels=np.arange(v.n_groups).astype(object)) for v in alone.levels]
    with threadpool_limits(limits=1):
        null = fit_mixed(replace(alone, levels=tuple(levels)))
    if not any(v.covariance[0, 0] > 0.0 for v in null.levels):
        raise DataError(text("value_added.flat_composition", column=repr(name)))
    of_outer = np.zeros(1)
    for products, effects in zip(levels, null.levels, strict=True):
        of_outer = of_outer[products.parent] + effects.modes[:, 0]
    school = null.levels[0]
    learnt = LatentNull(
        mean=float(null.beta[0]),
        outer=float(school.covariance[0, 0]),
        inner=float(null.levels[1].covariance[0, 0]) if len(null.levels) > 1 else 0.0,
        residual=float(null.residual_variance),
        effects=np.asarray(school.modes[:, 0]),
        uncertainty=np.maximum(school.conditional[:, 0, 0], 0.0),
        schools=np.asarray(cross.levels[0].labels, dtype=object),
    )
    return np.asarray(null.beta[0] + of_outer), learnt
