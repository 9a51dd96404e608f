r"""Chained equations that know the schools: one Markov chain per completed data set.

Every column with gaps is regressed in turn on all others and its gaps drawn anew.  What is proper
for an analysis of schools goes into each regression: the outcome; the means of all other columns in
the school and year, the school and the units around it, taken from the values as they are filled at
that moment; and a random intercept of every level, so that schools may differ in what the other
columns do not tell.  Without the means a column would have one slope within and between schools;
without the intercepts, imputed pupils of one school would be less alike than real ones, and the
composition and the variance between schools too small.  Coefficients, intercepts and variances are
drawn, not estimated (`resilience.stats.refits.nested_draws`).  Categories are imputed by latent
normal scores, of which the largest (or none above 0) tells the category.

The chains start from scikit-learn's ``IterativeImputer`` (Bayesian ridge regressions of one level,
sampled from the posterior).  It alone would not do: it has no schools, and it draws every value
with an error of the coefficients of its own, which cancels in means.

Sources: Rubin1987; GrundLuedtkeRobitzsch2018; SchaferYucel2002; AlbertChib1993.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.stats.refits.nested_draws import (
    NestedUnits,
    State,
    draw_regression,
    truncated_normals,
)
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.gaps.variables import Variable, plain_columns, unit_codes

__all__ = ["Chain", "N_SWEEPS"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

N_SWEEPS = 12  # rounds over the columns; their dependence falls as the share missing to the round
_INNER = 3  # turns of a category's latent scores per round
_START_ROWS = 20_000  # rows that the starting regressions learn from
_START_ROUNDS = 3


class Chain:
    """The state of one chain: current values of every column."""

    def __init__(
        self,
        frame: pd.DataFrame,
        model: ModelDefinition,
        variables: list[Variable],
        units: NestedUnits,
        rng: np.random.Generator,
    ) -> None:
        self.variables, self.units, self.rng = variables, units, rng
        self.codes = unit_codes(units)
        self.plain = plain_columns(frame, model)
        self.values = [v.content.copy() for v in variables]
        self.states: dict[tuple[int, int], State] = {}
        self.latent: dict[int, Floats] = {}
        self.known: dict[tuple[int, int], Floats] = {}  # designs of columns without gaps
        # of every level, a row that stands for each unit
        self.first = [np.unique(code, return_index=True)[1] for code in self.codes]
        self.counts = [np.bincount(code).astype(float) for code in self.codes]

    def run(self, n_sweeps: int = N_SWEEPS) -> None:
        """Start the chain and let it go round."""
        self._start()
        holed = [k for k, v in enumerate(self.variables) if v.gap.any()]
        for _ in range(n_sweeps):
            for k in holed:
                self._visit(k)

    def completed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the table with the gaps filled."""
        filled = {
            v.name: v.restored(frame[v.name], values)
            for v, values in zip(self.variables, self.values, strict=True)
            if v.gap.any()
        }
        return frame.assign(**filled)

    def _start(self) -> None:
        """Fill the gaps for the first time: categories by lot, numbers by one-level regressions."""
        for k, v in enumerate(self.variables):
            if v.kind == "category" and v.gap.any():
                lot = self.rng.choice(v.content[~v.gap], size=len(v.gap))
                self._fill(k, lot)
        numeric = [k for k, v in enumerate(self.variables) if v.kind == "numeric" and v.gap.any()]
        if not numeric:
            return
        others = [k for k in range(len(self.variables)) if k not in numeric]
        pieces = [self.plain, *(self._design(k, -1) for k in others)]
        for k in numeric:
            v = self.variables[k]
            pieces.append(np.where(v.gap, np.nan, v.content)[:, None])
        table = np.column_stack(pieces)
        drawn = _first_draws(table, self.rng)
        for k, column in zip(numeric, drawn[:, -len(numeric) :].T, strict=True):
            self._fill(k, column)

    def _fill(self, k: int, values: Floats) -> None:
        """Fill the gaps of a column, with one value for all of a unit where it has a level."""
        v = self.variables[k]
        if v.level >= 0:
            # what other rows of the unit tell was filled when the column was read
            told = np.zeros(len(self.first[v.level]), dtype=bool)
            told[self.codes[v.level][~v.gap]] = True
            values = values[self.first[v.level]][self.codes[v.level]]
            gap = v.gap & ~told[self.codes[v.level]]
        else:
            gap = v.gap
        self.values[k] = np.where(gap, values, self.values[k])

    def _design(self, k: int, level: int) -> Floats:
        """Return the columns of one variable on a level: its own (-1), or means of the units."""
        if (k, level) in self.known:
            return self.known[k, level]
        v = self.variables[k]
        own = v.design(self.values[k])
        if level >= 0:
            code, count = self.codes[level], self.counts[level]
            sums = [np.bincount(code, column, minlength=len(count)) for column in own.T]
            own = np.column_stack([s / count for s in sums])[code] if sums else own
        if not v.gap.any():
            self.known[k, level] = own
        return own

    def _predictors(self, k: int, level: int) -> Floats:
        """Return what a column of a level is regressed on, a row per pupil."""
        n = len(self.codes[0])
        pieces = [np.ones((n, 1)), self.plain]
        for other, v in enumerate(self.variables):
            if other == k:
                continue
            if v.level >= level:
                pieces.append(self._design(other, -1))
            further = range(max(level, v.level + 1), len(self.codes))
            pieces += [self._design(other, at) for at in further]
        X = np.column_stack(pieces)
        spread = X.std(axis=0)
        spread[0] = 1.0
        return np.asarray(X[:, spread > 1e-9])

    def _visit(self, k: int) -> None:
        """Draw the gaps of one column anew."""
        v = self.variables[k]
        X, values, gap, units = self._predictors(k, v.level), self.values[k], v.gap, self.units
        if v.level >= 0:
            rows = self.first[v.level]
            told = np.zeros(len(rows), dtype=bool)
            told[self.codes[v.level][~gap]] = True
            X, values, gap = X[rows], values[rows], ~told
            units = self._outer(v.level, rows)
            if not gap.any():
                return
        if v.kind == "numeric":
            drawn = self._number(k, X, values, gap, units)
        else:
            drawn = self._category(k, X, values, gap, units)
        self._fill(k, drawn if v.level < 0 else drawn[self.codes[v.level]])

    def _outer(self, level: int, rows: Codes) -> NestedUnits:
        """Return the units around those of a level, a row per unit."""
        above = level + 1
        if above >= len(self.codes):
            return NestedUnits(codes=np.zeros(len(rows), dtype=np.int64), parents=(), sizes=())
        return NestedUnits(
            codes=self.codes[above][rows],
            parents=self.units.parents[above:],
            sizes=self.units.sizes[above:],
        )

    def _number(
        self, k: int, X: Floats, y: Floats, gap: NDArray[np.bool_], units: NestedUnits
    ) -> Floats:
        draw = draw_regression(
            X[~gap], y[~gap], units.rows(~gap), self.rng, state=self.states.get((k, 0))
        )
        self.states[k, 0] = draw.state
        noise = draw.residual_sd * self.rng.standard_normal(int(gap.sum()))
        found = y.copy()
        found[gap] = draw.mean(X[gap], units.codes[gap]) + noise
        return found

    def _category(
        self, k: int, X: Floats, y: Floats, gap: NDArray[np.bool_], units: NestedUnits
    ) -> Floats:
        """Draw categories by latent scores: category c where its score is the largest above 0."""
        n = len(self.variables[k].labels) - 1
        seen = y[~gap].astype(np.int64)
        rows, known = np.arange(len(seen)), units.rows(~gap)
        z = self.latent.get(k)
        if z is None:
            z = np.where(seen[:, None] == np.arange(1, n + 1), 0.8, -0.8)
        z, means = z.copy(), np.zeros((int(gap.sum()), n))
        for turn in range(_INNER):
            for c in range(n):
                draw = draw_regression(
                    X[~gap],
                    z[:, c],
                    known,
                    self.rng,
                    state=self.states.get((k, c)),
                    residual_known=True,
                )
                self.states[k, c] = draw.state
                z[:, c] = _scores(draw.mean(X[~gap], known.codes), z, c, seen, rows, self.rng)
                if turn == _INNER - 1:
                    means[:, c] = draw.mean(X[gap], units.codes[gap])
        self.latent[k] = z
        scores = means + self.rng.standard_normal(means.shape)
        found = y.copy()
        found[gap] = np.where(scores.max(axis=1) > 0, 1 + scores.argmax(axis=1), 0)
        return found


def _scores(
    mean: Floats, z: Floats, c: int, seen: Codes, rows: Codes, rng: np.random.Generator
) -> Floats:
    """Draw the latent scores of one category given those of the others and what was seen."""
    others = np.delete(z, c, axis=1)
    rest = np.maximum(others.max(axis=1, initial=-np.inf), 0.0)
    mine = seen == c + 1
    own = np.where(seen > 0, z[rows, np.maximum(seen - 1, 0)], 0.0)
    low = np.where(mine, rest, -np.inf)
    high = np.where(mine, np.inf, own)
    return truncated_normals(mean, low, high, rng)


def _first_draws(table: Floats, rng: np.random.Generator) -> Floats:
    """Return the table with its gaps filled by one-level Bayesian regressions."""
    from sklearn.experimental import enable_iterative_imputer
    from sklearn.impute import IterativeImputer
    from sklearn.linear_model import BayesianRidge

    assert enable_iterative_imputer is not None  # the import itself admits the class
    imputer = IterativeImputer(
        estimator=BayesianRidge(),
        sample_posterior=True,
        max_iter=_START_ROUNDS,
        random_state=int(rng.integers(2**31 - 1)),
        skip_complete=True,
    )
    learnt = table
    if len(table) > _START_ROWS:
        learnt = table[rng.choice(len(table), size=_START_ROWS, replace=False)]
    return np.asarray(imputer.fit(learnt).transform(table))
