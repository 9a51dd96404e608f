"""Keys that repeat, found out of core by fingerprints of 64 bits and then looked at themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.batches.chunk import TABLE, Batches, Chunk
from resilience.data.batches.passes import run_pass
from resilience.data.design_labels import fingerprints
from resilience.data.design_recipe import Recipe
from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["check_repeats", "repeated"]

Prints = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, eq=False)
class _RepeatStep:
    """Gathers the rows whose fingerprints repeat."""

    needs: tuple[str, ...]
    suspects: Prints
    touches: tuple[str, ...] = ()

    def start(self) -> list[pd.DataFrame]:
        return []

    def add(self, state: list[pd.DataFrame], frame: pd.DataFrame, chunk: Chunk) -> None:
        rows = np.isin(fingerprints(frame, self.needs), self.suspects)
        if rows.any():
            found = frame.loc[rows, list(self.needs)].astype(object)
            found[_PLACE] = pd.Series([chunk.place] * len(found), index=found.index, dtype=object)
            state.append(found)

    def close(self, state: list[pd.DataFrame]) -> list[pd.DataFrame]:
        return state

    def merge(self, states: Sequence[list[pd.DataFrame]]) -> list[pd.DataFrame]:
        return [frame for state in states for frame in state]


_PLACE = "\0place"


def repeated(prints: Prints) -> Prints:
    """Return the fingerprints that stand more than once, one for each row too many."""
    ordered = np.sort(prints)
    again: Prints = ordered[1:][ordered[1:] == ordered[:-1]]
    return again


def check_repeats(batches: Batches | None, recipe: Recipe, prints: Prints) -> None:
    """Raise if keys repeat; where fingerprints agree the rows themselves are compared.

    Parameters
    ----------
    batches : Batches or None
        The source; None, or one that reads once, cannot be looked at again.
    recipe : Recipe
        Its ``keys`` are watched.
    prints : ndarray of uint64
        Fingerprints of all rows.

    Raises
    ------
    DataError
        With the number of rows too many, the first three keys and where they stand.

    Notes
    -----
    Two different keys share a fingerprint with probability 2 to the power of -64: about once in
    370,000 sources of ten million rows.
    """
    keys = recipe.step.keys
    suspects = repeated(prints)
    if len(suspects) == 0:
        return
    named = " × ".join(keys)
    if batches is None or batches.once:
        raise DataError(text("sources.repeated_once", table=TABLE, key=named, n=len(suspects)))
    step = _RepeatStep(needs=keys, suspects=np.unique(suspects))
    job = replace(
        recipe.job,
        steps=(step,),
        columns=tuple(recipe.preparation.raw(keys)),
        unit=None,
    )
    found: list[pd.DataFrame] = run_pass(batches, job).states[0]
    rows = pd.concat(found, ignore_index=True)
    again = rows.duplicated(list(keys), keep="first")
    if not again.any():
        return
    first = rows.loc[again].drop_duplicates(list(keys)).head(3)
    shown = "; ".join(
        "/".join(str(v) for v in row[:-1]) for row in first.itertuples(index=False, name=None)
    )
    place = first[_PLACE].iloc[0].describe()
    message = text("sources.repeated", table=TABLE, key=named, n=int(again.sum()), first=shown)
    raise DataError(text("sources.located", place=place, message=message))
