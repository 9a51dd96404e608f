"""Replicates in pieces, on as many workers as wanted, with the same result for any number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

__all__ = ["in_pieces", "seeds_of"]

_PIECES = 8  # for each worker: what a progress bar moves by

Item = TypeVar("Item")
Made = TypeVar("Made")


def seeds_of(random_state: int | None, n: int) -> list[int]:
    """Return seeds of replicates."""
    return [int(s) for s in np.random.default_rng(random_state).integers(0, 2**31 - 1, size=n)]


def in_pieces(
    task: Callable[[list[Item]], Made],
    items: Sequence[Item],
    *,
    n_jobs: int = 1,
    progress: bool = False,
    title: str = "",
) -> list[Made]:
    """Return the results of a task over pieces of the items, in their order.

    Parameters
    ----------
    task : callable
        ``items -> result``; travels to other processes.
    items : sequence
        Seeds, say.
    n_jobs : int
        Workers, as joblib counts them.
    progress : bool
        Whether a bar is drawn.
    title : str
        Of the bar.
    """
    from joblib import Parallel, delayed, effective_n_jobs  # type: ignore[import-untyped]  # ships no types

    workers = max(1, int(effective_n_jobs(n_jobs)))
    places = np.array_split(np.arange(len(items)), max(1, min(len(items), _PIECES * workers)))
    pieces = [[items[i] for i in piece] for piece in places]
    made: Any = (task(piece) for piece in pieces)
    if workers > 1:
        made = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(task)(p) for p in pieces)
    if progress:
        from tqdm import tqdm

        made = tqdm(made, total=len(pieces), desc=title)
    return list(made)
