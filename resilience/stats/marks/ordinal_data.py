"""Cells of marks laid out for the ordinal engine: by school, with the places of all effects."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["ABOVE", "BELOW", "OrdinalData", "RandomParts"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

BELOW, ABOVE = -1, -2  # thresholds at −∞ and +∞: marks at the end of the scale that nobody got

# Schools per block: arrays of a block (schools × effects × thresholds) stay within some 50 MB.
_ENTRIES = 6_000_000


@dataclass(frozen=True, kw_only=True)
class RandomParts:
    """Which random parts the model has beside the school's own.

    Attributes
    ----------
    year, procedure, cell, spread : bool
        School × year, school × procedure, school × year × procedure, log-spread of the school.
    procedure_spread : bool
        Log-spreads of the procedures, parameters of mean 0.
    """

    year: bool = True
    procedure: bool = True
    cell: bool = False
    spread: bool = False
    procedure_spread: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the standard deviations, the school's first."""
        own = ("year", "procedure", "cell", "spread")
        return ("school", *(name for name in own if getattr(self, name)))


@dataclass(frozen=True, kw_only=True, eq=False)
class OrdinalData:
    """Cells sorted by school.

    Attributes
    ----------
    counts : ndarray of shape (m, K)
        Pupils per mark, lowest first.
    X : ndarray of shape (m, p)
        Covariates without a column of ones (thresholds are free in every procedure and year).
    school, year, procedure : ndarray of shape (m,), int
        Codes; schools ascend.
    thresholds : ndarray of shape (m, K − 1), int
        Number of the threshold of each cell, `BELOW` or `ABOVE` for an infinite one.
    n_thresholds : int
        Number of thresholds.
    cohort : ndarray of shape (m,), int
        Number of the cohort within its school, −1 where a cell shares pupils with no other.
    shared : ndarray of shape (m,)
        SD of the part that the cohort's pupils have in common, √(e/N), in SD of pupils within
        schools; 0 where ``cohort`` is −1.  See `ordinal_cells.shared_covariance` for e.
    weight : ndarray of shape (m,)
        Power of the cell's likelihood, (1 − e/N)/(1 − I e n/N), for means without the numerator:
        given the shared part a cell says more.
    mean, precision : ndarray of shape (m,)
        Means of cells without counts and their precision; precision 0 elsewhere.
    parts : RandomParts
        Random parts.
    """

    counts: Floats
    X: Floats
    school: Codes
    year: Codes
    procedure: Codes
    thresholds: Codes
    n_thresholds: int
    cohort: Codes
    shared: Floats
    weight: Floats
    mean: Floats
    precision: Floats
    parts: RandomParts

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.school)

    @property
    def n_schools(self) -> int:
        """Number of schools."""
        return int(self.school[-1]) + 1

    @property
    def n_fixed(self) -> int:
        """Thresholds and covariates."""
        return int(self.n_thresholds + self.X.shape[1])

    @property
    def has_spread(self) -> bool:
        """Whether the cells' local variables hold a log-spread."""
        return self.parts.spread or self.parts.procedure_spread

    @cached_property
    def spread_procedures(self) -> Codes:
        """Procedures with a log-spread of their own: those with counts."""
        if not self.parts.procedure_spread:
            return np.empty(0, dtype=np.int64)
        return np.unique(self.procedure[self.counts.sum(axis=1) > 0])

    @cached_property
    def within(self) -> Floats | None:
        """SD of pupils about the location of their cell, its shared part included; None where 1.

        The shared part is a part of the spread of pupils: what is left without it is less.
        """
        if not self.shared.any():
            return None
        return np.asarray(np.where(self.precision > 0, 1.0, np.sqrt(1.0 - self.shared**2)))

    @cached_property
    def weighted_counts(self) -> Floats:
        """Counts times the power of their cell."""
        return np.asarray(self.counts * self.weight[:, None])

    @cached_property
    def weighted_precision(self) -> Floats:
        """Precision of means times the power of their cell."""
        return np.asarray(self.precision * self.weight)

    @cached_property
    def places(self) -> dict[str, int]:
        """First place of each kind of effect in a school's vector; ``end`` is its length."""
        found, at = {"school": 0}, 1
        sizes = {
            "year": int(self.year.max()) + 1 if self.parts.year else 0,
            "procedure": int(self.procedure.max()) + 1 if self.parts.procedure else 0,
            "cohort": int(self.cohort.max()) + 1,
            "spread": int(self.parts.spread),
        }
        for name, size in sizes.items():
            if size:
                found[name] = at
                at += size
        return {**found, "end": at}

    @cached_property
    def linear(self) -> tuple[str, ...]:
        """Kinds of effects that shift the location of a cell and have a place of their own."""
        return tuple(n for n in ("school", "year", "procedure", "cohort") if n in self.places)

    @cached_property
    def index(self) -> Codes:
        """Places of each cell's effects in its school's vector, shape (m, len(linear))."""
        own = {
            "school": np.zeros(self.n_cells, dtype=np.int64),
            "year": self.year,
            "procedure": self.procedure,
            "cohort": np.maximum(self.cohort, 0),
        }
        return np.stack([self.places[name] + own[name] for name in self.linear], axis=1)

    @cached_property
    def starts(self) -> Codes:
        """First cell of each school, and the number of cells at the end."""
        return np.searchsorted(self.school, np.arange(self.n_schools + 1)).astype(np.int64)

    @cached_property
    def blocks(self) -> tuple[tuple[slice, slice], ...]:
        """Slices of schools and of their cells whose arrays fit into the cache of one step."""
        q = self.places["end"]
        per_school = q * (self.n_fixed + q) + 4 * self.n_fixed * int(np.diff(self.starts).max())
        step = max(1, _ENTRIES // max(per_school, 1))
        cuts = [*range(0, self.n_schools, step), self.n_schools]
        return tuple(
            (slice(a, b), slice(int(self.starts[a]), int(self.starts[b])))
            for a, b in itertools.pairwise(cuts)
        )

    def every(self, step: int) -> OrdinalData:
        """Return the data of every ``step``-th school, thresholds numbered as they are."""
        kept = self.school % step == 0
        return replace(
            self,
            counts=self.counts[kept],
            X=self.X[kept],
            school=self.school[kept] // step,
            year=self.year[kept],
            procedure=self.procedure[kept],
            thresholds=self.thresholds[kept],
            cohort=self.cohort[kept],
            shared=self.shared[kept],
            weight=self.weight[kept],
            mean=self.mean[kept],
            precision=self.precision[kept],
        )

    @property
    def holds_all_thresholds(self) -> bool:
        """Whether every threshold has pupils on both sides, or a mean that determines it."""
        below, above = np.zeros(self.n_thresholds), np.zeros(self.n_thresholds)
        for k in range(self.thresholds.shape[1]):
            used = self.thresholds[:, k] >= 0
            at = self.thresholds[used, k]
            known = self.precision[used] > 0
            np.add.at(below, at, self.counts[used, : k + 1].sum(axis=1) + known)
            np.add.at(above, at, self.counts[used, k + 1 :].sum(axis=1) + known)
        return bool((below > 0).all() and (above > 0).all())

    @cached_property
    def _ladders(self) -> Codes:
        """Rows of ``thresholds`` that differ: one per procedure and year."""
        return np.unique(self.thresholds, axis=0)

    def ordered(self, fixed: Floats) -> bool:
        """Tell whether the thresholds of every procedure and year ascend."""
        cuts = np.concatenate([fixed[: self.n_thresholds], [np.inf, -np.inf]])[self._ladders]
        tied = np.diff(self._ladders, axis=1) == 0
        return not bool(((cuts[:, 1:] <= cuts[:, :-1]) & ~tied).any())

    def zeta(self, fixed: Floats, location: Floats) -> Floats:
        """Return thresholds minus the location of each cell, shape (m, K − 1)."""
        from resilience.stats.marks.ordinal_cells import FAR

        cuts = np.concatenate([fixed[: self.n_thresholds], [FAR * 1e3, -FAR * 1e3]])
        # the last two stand for +∞ (index −2) and −∞ (index −1)
        return np.clip(np.asarray(cuts[self.thresholds] - location[:, None]), -FAR, FAR)
