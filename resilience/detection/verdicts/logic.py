"""Kleene's three-valued logic on arrays: 1 yes, 0 no, -1 unknown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO", "UNKNOWN", "YES", "at_least", "words"]

Answers = NDArray[np.int8]
YES, NO, UNKNOWN = np.int8(1), np.int8(0), np.int8(-1)
_WORDS = np.array(["insufficient_data", "no", "yes"])


def at_least(answers: Answers, k: int) -> Answers:
    """Return "at least k of the columns": yes if y ≥ k, no if y + u < k, else unknown.

    Parameters
    ----------
    answers : ndarray of shape (n, T), int8
        Answers.
    k : int
        At least 1.
    """
    yes = (answers == YES).sum(axis=1)
    unknown = (answers == UNKNOWN).sum(axis=1)
    return np.where(yes >= k, YES, np.where(yes + unknown < k, NO, UNKNOWN)).astype(np.int8)


def words(answers: Answers) -> NDArray[np.str_]:
    """Return the verdicts' names."""
    return _WORDS[answers.astype(np.int64) + 1]
