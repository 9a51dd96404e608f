"""Kleene's three-valued logic on arrays: 1 yes, 0 no, -1 unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO", "UNKNOWN", "YES", "at_least", "words"]

Answers = NDArray[np.int8]
YES, NO, UNKNOWN = np.int8(1), np.int8(0), np.int8(-1)
_WORDS = np.array(["insufficient_data", "no", "yes"])


def at_least(answers: Answers, k: float, weights: Sequence[float] | None = None) -> Answers:
    """Return "at least k of the columns": yes if y ≥ k, no if y + u < k, else unknown.

    Parameters
    ----------
    answers : ndarray of shape (n, T), int8
        Answers.
    k : int or float
        Above 0.
    weights : sequence of float, optional
        What each column counts; 1 by default.
    """
    counts = np.ones(answers.shape[1]) if weights is None else np.asarray(weights, dtype=float)
    yes = (answers == YES) @ counts
    unknown = (answers == UNKNOWN) @ counts
    short = 1e-9  # sums of weights such as .1 + .2 must reach .3
    enough, hopeless = yes >= k - short, yes + unknown < k - short
    return np.where(enough, YES, np.where(hopeless, NO, UNKNOWN)).astype(np.int8)


def words(answers: Answers) -> NDArray[np.str_]:
    """Return the verdicts' names."""
    return _WORDS[answers.astype(np.int64) + 1]
