"""Lists of neighbours as arrays over the schools of a scaled table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.clusters.differences import NeighbourLists

__all__ = ["check_neighbours", "lists_of"]


def check_neighbours(neighbours: Any) -> None:
    """Raise unless the argument is the result of `StatisticalNeighbours.fit`."""
    lists, quality = (getattr(neighbours, name, None) for name in ("neighbours", "quality"))
    whole = isinstance(lists, pd.DataFrame) and isinstance(quality, pd.DataFrame)
    if not whole or not isinstance(getattr(neighbours, "scaled", None), ScaledSchools):
        raise SpecificationError(
            text("neighbour_comparison.neighbours", kind=type(neighbours).__name__)
        )


def lists_of(neighbours: Any, usable: NDArray[np.bool_]) -> NeighbourLists:
    """Return who is compared with whom, as positions in ``neighbours.scaled.schools``.

    Parameters
    ----------
    neighbours : NeighbourResults
        Lists with weights.
    usable : ndarray of bool
        Schools with a result; the others leave the lists, whose weights sum to 1 again.
    """
    ids = pd.Index(neighbours.scaled.schools["school_id"].astype(str))
    table = neighbours.neighbours
    unit = ids.get_indexer(table["school_id"].astype(str))
    near = ids.get_indexer(table["neighbour_id"].astype(str))
    whole = NeighbourLists(
        unit=np.asarray(unit, dtype=np.int64),
        neighbour=np.asarray(near, dtype=np.int64),
        weight=table["weight"].to_numpy(dtype=float),
        n_units=len(ids),
    )
    return whole.among(usable)
