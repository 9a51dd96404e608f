r"""Chance of being on next year's list by the rule "two procedures, or the same one twice".

With :math:`a_p` the probability that procedure p is low next year, L the procedures low this year
and :math:`P_{<k}` the probability of fewer than k low ones among procedures outside L:

.. math::

   P(A \vee B) = 1 - \prod_L (1-a_p)\,P_{<k}, \qquad
   P(A \wedge B) = P(\ge k \text{ of all}) - \prod_L (1-a_p)\,(1 - P_{<k})

Procedures that the same pupils sit are not independent: within a group of such procedures the
events share a normal factor, which leaves every :math:`a_p` as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from resilience.stats.lists.rule_chance import low_probability

__all__ = ["LowTable", "next_list_probability"]

Floats = NDArray[np.float64]
Reading = Literal["or", "and", "two_procedures", "same_procedure"]

_GRID = np.linspace(-7.0, 5.0, 1201)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
# Nodes for the factor that the same pupils share: the stronger it is, the steeper each event in it.
# They leave every a_p as it is within 6e-4 up to the correlation named, 21 of them up to .83.
_FEW = ((0.5, 5), (0.7, 9), (1.0, 21))


def next_list_probability(
    low: ArrayLike,
    low_now: ArrayLike,
    *,
    reading: Reading,
    procedures: int = 2,
    groups: ArrayLike | None = None,
    correlation: float = 0.0,
) -> Floats:
    """Return the probability of the list given what is low this year.

    Parameters
    ----------
    low : array_like of shape (..., n_procedures)
        a_p.
    low_now : array_like of bool, broadcast against ``low``
        Whether the procedure is low this year: L.
    reading : {"or", "and", "two_procedures", "same_procedure"}
        A or B, A and B, A alone, B alone.
    procedures : int
        k, how many low procedures make A.
    groups : array_like of shape (n_procedures,), optional
        Procedures with one number are sat by the same pupils.
    correlation : float
        Of the latent events within a group, in [0, 1).

    Returns
    -------
    ndarray of shape (...)
    """
    a = np.asarray(low, dtype=float)
    now = np.broadcast_to(np.asarray(low_now, dtype=bool), a.shape)
    if correlation > 0 and groups is not None:
        table = _grouped(a, now, procedures, np.asarray(groups), correlation)
        few_none, few_some, many_none, many_some = table
        found = {
            "or": 1.0 - few_none,
            "and": many_some,
            "two_procedures": many_none + many_some,
            "same_procedure": few_some + many_some,
        }[reading]
    else:
        found = _apart(a, now, procedures, reading)
    # sums of probabilities may pass 0 or 1 by a rounding, and so may their differences
    return np.asarray(np.clip(found, 0.0, 1.0))


def _apart(a: Floats, now: NDArray[np.bool_], procedures: int, reading: Reading) -> Floats:
    """Return the probability where the procedures are independent."""
    none_again = np.prod(np.where(now, 1.0 - a, 1.0), axis=-1)
    if reading == "same_procedure":
        return np.asarray(1.0 - none_again)
    few = _fewer(np.where(now, 0.0, a), procedures)
    if reading == "or":
        return np.asarray(1.0 - none_again * few)
    enough = 1.0 - _fewer(a, procedures)
    if reading == "two_procedures":
        return enough
    return np.asarray(enough - none_again * (1.0 - few))


def _grouped(
    a: Floats, now: NDArray[np.bool_], k: int, groups: NDArray[np.generic], correlation: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return P(fewer than k, none again), (fewer, some), (k or more, none), (k or more, some).

    States are the number of low procedures up to k and whether one of L is low again.
    """
    state = np.zeros((k + 1, 2, *a.shape[:-1]))
    state[0, 0] = 1.0
    quantile = special.ndtri(np.clip(a, 1e-12, 1.0 - 1e-12))
    count = next(n for most, n in _FEW if correlation <= most)
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    weights = weights / weights.sum()
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        if len(own) == 1:
            state = _one_more(state, a[..., own[0]], now[..., own[0]])
            continue
        mixed = np.zeros_like(state)
        for node, weight in zip(nodes, weights, strict=True):
            part = state
            for p in own:
                gap = quantile[..., p] + np.sqrt(correlation) * node
                one = special.ndtr(gap / np.sqrt(1.0 - correlation))
                part = _one_more(part, one, now[..., p])
            mixed += weight * part
        state = mixed
    few = state[:k].sum(axis=0)
    return few[0], few[1], state[k, 0], state[k, 1]


def _one_more(state: Floats, one: Floats, again: NDArray[np.bool_]) -> Floats:
    """Return the states after one more procedure that is low with probability ``one``."""
    moved = state * (1.0 - one)
    for flag in (0, 1):
        up = state[:, flag] * one
        up = np.concatenate([np.zeros_like(up[:1]), up[:-2], up[-2:].sum(axis=0)[None]])
        moved[:, 1] += np.where(again, up, up if flag else 0.0)
        if not flag:
            moved[:, 0] += np.where(again, 0.0, up)
    return moved


def _fewer(a: Floats, k: int) -> Floats:
    """Return P(fewer than k events), events on the last axis independent."""
    counts = np.zeros((k, *a.shape[:-1]))
    counts[0] = 1.0
    for p in range(a.shape[-1]):
        one = a[..., p]
        before = counts.copy()
        counts = before * (1.0 - one)
        counts[1:] += before[:-1] * one
    return np.asarray(counts.sum(axis=0))


@dataclass(frozen=True, kw_only=True, eq=False)
class LowTable:
    """P(a procedure is low | latent level, size), the spread of single cells averaged out.

    Attributes
    ----------
    sizes : ndarray of int
        Distinct numbers of participants, ascending, from 0.
    values : ndarray of shape (n_sizes, n_grid)
        Probabilities on a grid of latent levels.
    """

    sizes: NDArray[np.int64]
    values: Floats

    @classmethod
    def of(
        cls,
        n: ArrayLike,
        *,
        cell: float,
        share: float | str | Fraction = "0.30",
        min_participants: int = 1,
    ) -> LowTable:
        """Return the table for the sizes in ``n``.

        Parameters
        ----------
        n : array_like of int
            Participants.
        cell : float
            Variance of a single cell, latent units.
        share : float, str or Fraction
            Threshold of a low procedure.
        min_participants : int
            Fewer are never low.
        """
        sizes = np.unique(np.append(np.asarray(n, dtype=np.int64), 0))
        levels = _GRID[:, None] + np.sqrt(cell) * _NODES
        rates = special.ndtr(levels)
        values = np.empty((len(sizes), len(_GRID)))
        for k, size in enumerate(sizes):
            tail = low_probability(
                np.full(rates.shape, size), rates, share=share, min_participants=min_participants
            )
            values[k] = tail @ _WEIGHTS
        return cls(sizes=sizes, values=values)

    def look_up(self, latent: Floats, n: NDArray[np.int64]) -> Floats:
        """Return the probabilities at latent levels of shape (..., S, P) for sizes (S, P)."""
        row = np.searchsorted(self.sizes, n)
        place = (np.clip(latent, _GRID[0], _GRID[-1]) - _GRID[0]) / (_GRID[1] - _GRID[0])
        left = np.minimum(place.astype(np.int64), len(_GRID) - 2)
        part = place - left
        return np.asarray(self.values[row, left] * (1.0 - part) + self.values[row, left + 1] * part)
