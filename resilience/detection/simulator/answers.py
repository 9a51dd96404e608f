"""Kleene's logic on arrays of simulated answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answered"]

Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """Answers: what is yes, what is unknown; broadcast against each other."""

    yes: Flags
    unknown: Flags

    def at_least(self, k: int, axis: int) -> Answered:
        """Return "at least k along the axis"."""
        yes = self.yes.sum(axis=axis, dtype=np.int16)
        unknown = self.unknown.sum(axis=axis, dtype=np.int16)
        return Answered(yes=yes >= k, unknown=(yes < k) & (yes + unknown >= k))
