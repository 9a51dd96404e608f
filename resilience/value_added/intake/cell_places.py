"""Which cell of a fit a row belongs to, by the labels of its keys."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["cell_places", "row_cells"]

Codes = NDArray[np.int64]


def cell_places(
    labels: Sequence[NDArray[np.object_]], keys: Sequence[str], frame: pd.DataFrame
) -> Codes:
    """Return the position of each row's cell among the known ones, -1 for a new one.

    Parameters
    ----------
    labels : sequence of ndarray of shape (n_cells,)
        Labels of the known cells, one array per key.
    keys : sequence of str
        Columns that make the cells.
    frame : DataFrame
        Rows without gaps in the keys.
    """
    codes, first = row_cells(frame, keys)
    known = {cell: k for k, cell in enumerate(zip(*(own.tolist() for own in labels), strict=True))}
    asked = zip(*(frame[key].iloc[first].astype(object).tolist() for key in keys), strict=True)
    places = np.array([known.get(cell, -1) for cell in asked], dtype=np.int64)
    return np.asarray(places[codes])


def row_cells(frame: pd.DataFrame, keys: Sequence[str]) -> tuple[Codes, Codes]:
    """Return the cell of each row, codes in order of appearance, and the first row of each cell."""
    grouped = frame.groupby(list(keys), sort=False, observed=True)
    codes: Codes = np.asarray(grouped.ngroup(), dtype=np.int64)
    return codes, np.asarray(np.unique(codes, return_index=True)[1], dtype=np.int64)
