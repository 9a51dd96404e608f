"""How much of a list stays if shares, weights or the year are others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.clustering.neighbours.lists import find_nearest
from resilience.clustering.neighbours.metrics import MetricWeights
from resilience.clustering.neighbours.results import NeighbourResults
from resilience.errors import DataError
from resilience.i18n import text
from resilience.results import Results, join_by
from resilience.stats.clusters.partitions import Codes
from resilience.stats.clusters.pieces import in_pieces, seeds_of
from resilience.validation import (
    check_columns,
    check_count,
    check_fraction,
    check_instance,
    check_jobs,
    check_seed,
)

__all__ = ["OverlapResults", "neighbour_overlap", "neighbour_overlap_between"]

_CORE = 0.8  # share of replicates that a neighbour survives to belong to the core
_ONE_OF_MANY = 0.5


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OverlapResults(Results):
    """How stable the lists of neighbours are.

    Attributes
    ----------
    schools : DataFrame
        ``school_id n_neighbours overlap_stability chance_level n_core list_reading``: mean share
        of the list that replicates name again; what lists by lot would share; ``one_of_many``
        below one half.
    neighbours : DataFrame
        ``school_id neighbour_id neighbour_rank distance weight retention core``: share of
        replicates that keep the neighbour.
    n_resamples : int
        B.
    weight_noise : float
        Half width of the factor on weights.

    References
    ----------
    NFERNeighbours.
    """

    schools: pd.DataFrame
    neighbours: pd.DataFrame
    n_resamples: int
    weight_noise: float

    def tidy(self) -> pd.DataFrame:
        """Return `schools`."""
        return self.schools.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: mean overlap, its chance level, lists that are one of many."""
        reading = self.schools["list_reading"]
        return pd.DataFrame(
            {
                "n_schools": [len(self.schools)],
                "n_resamples": [self.n_resamples],
                "overlap_stability": [float(self.schools["overlap_stability"].mean())],
                "chance_level": [float(self.schools["chance_level"].mean())],
                "n_one_of_many": [int((reading == "one_of_many").sum())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return the table of schools with the stability of every list.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="schools")
        return join_by(data, self.schools, "school_id")


def neighbour_overlap(
    found: NeighbourResults,
    *,
    n_resamples: int = 200,
    weight_noise: float = 0.25,
    random_state: int | None = None,
    n_jobs: int = 1,
    progress: bool = False,
) -> OverlapResults:
    """Find the lists again with errors and weights drawn anew, and count what they share.

    Shares are redrawn with the sampling error of their base, numbers with their stated error,
    weights multiplied by 1 + U(-0.25, 0.25) and scaled to sum to 1; the same number of nearest
    schools is taken as the list has.

    Parameters
    ----------
    found : NeighbourResults
        What `StatisticalNeighbours.fit` returned.
    n_resamples : int
        B.
    weight_noise : float
        Half width of the factor on weights, in [0, 1).
    random_state : int, optional
        Seed.
    n_jobs : int
        Workers; the result does not depend on it.
    progress : bool
        Whether a bar is drawn.

    Returns
    -------
    OverlapResults

    References
    ----------
    NFERNeighbours.
    """
    check_instance(
        found, NeighbourResults, argument="found", example="rs.StatisticalNeighbours(...).fit(...)"
    )
    check_count(n_resamples, argument="n_resamples", least=2)
    check_fraction(weight_noise, argument="weight_noise")
    check_jobs(n_jobs)
    check_seed(random_state)
    row, near, sizes = _pairs(found)
    task = partial(_piece, found, row, near, sizes, weight_noise)
    made = in_pieces(
        task,
        seeds_of(random_state, n_resamples),
        n_jobs=n_jobs,
        progress=progress,
        title="neighbours",
    )
    kept = np.sum(made, axis=0) / n_resamples
    return _assembled(found, row, sizes, kept, n_resamples, weight_noise)


def _pairs(found: NeighbourResults) -> tuple[Codes, Codes, Codes]:
    """Return positions of school and neighbour of every row of the lists, and lists' lengths."""
    ids = pd.Index(found.scaled.schools["school_id"].astype(str))
    table = found.neighbours
    row = ids.get_indexer(pd.Index(table["school_id"].astype(str))).astype(np.int64)
    near = ids.get_indexer(pd.Index(table["neighbour_id"].astype(str))).astype(np.int64)
    return row, near, np.bincount(row, minlength=len(ids)).astype(np.int64)


def _piece(
    found: NeighbourResults,
    row: Codes,
    near: Codes,
    sizes: Codes,
    weight_noise: float,
    seeds: Sequence[int],
) -> NDArray[np.int64]:
    """Return in how many replicates every neighbour stays."""
    n = len(sizes)
    stays = np.zeros(len(row), dtype=np.int64)
    most = int(max(sizes.max(initial=0), 1))
    own = row * n + near
    with threadpool_limits(limits=1):
        for seed in seeds:
            generator = np.random.default_rng(seed)
            values = found.scaled.redrawn(generator)
            metric = found.metric_weights
            if metric is not None:
                factor = 1.0 + generator.uniform(
                    -weight_noise, weight_noise, size=metric.weights.shape[1]
                )
                drawn = metric.weights * factor
                metric = MetricWeights(
                    weights=drawn / drawn.sum(axis=1, keepdims=True), fold=metric.fold
                )
            nearest = find_nearest(values, found.frame, metric, most)
            listed = (nearest.index >= 0) & (np.arange(most) < sizes[:, None])
            school, column = np.nonzero(listed)
            stays += np.isin(own, school * n + nearest.index[school, column])
    return stays


def _assembled(
    found: NeighbourResults,
    row: Codes,
    sizes: Codes,
    kept: NDArray[np.float64],
    n_resamples: int,
    weight_noise: float,
) -> OverlapResults:
    with_list = sizes > 0
    total = np.bincount(row, weights=kept, minlength=len(sizes))
    core = np.bincount(row, weights=kept >= _CORE, minlength=len(sizes))
    candidates = found.frame.complete
    pool = np.array(
        [
            int((candidates & (found.frame.stratum == code)).sum())
            for code in range(int(found.frame.stratum.max()) + 1)
        ]
    )[found.frame.stratum]
    overlap = np.where(with_list, total / np.maximum(sizes, 1), np.nan)
    reading = np.where(
        ~with_list, "no_list", np.where(overlap < _ONE_OF_MANY, "one_of_many", "stable_list")
    )
    schools = pd.DataFrame(
        {
            "school_id": found.scaled.schools["school_id"].to_numpy(),
            "n_neighbours": sizes,
            "overlap_stability": overlap,
            "chance_level": np.where(with_list, sizes / np.maximum(pool - 1, 1), np.nan),
            "n_core": core.astype(np.int64),
            "list_reading": reading,
        }
    )
    named = ["school_id", "neighbour_id", "neighbour_rank", "distance", "weight"]
    lists = found.neighbours[named].assign(retention=kept, core=kept >= _CORE)
    return OverlapResults(
        schools=schools, neighbours=lists, n_resamples=n_resamples, weight_noise=weight_noise
    )


def neighbour_overlap_between(one: NeighbourResults, other: NeighbourResults) -> pd.DataFrame:
    """Return how much the lists of two fits share: two years, two metrics, two sets of conditions.

    Parameters
    ----------
    one, other : NeighbourResults
        Lists of the same schools.

    Returns
    -------
    DataFrame
        ``school_id n_neighbours n_other n_common overlap``: for schools with a list in both, the
        shared neighbours as a part of the shorter list.

    Raises
    ------
    DataError
        If no school has a list in both.
    """
    example = "rs.StatisticalNeighbours(...).fit(...)"
    check_instance(one, NeighbourResults, argument="one", example=example)
    check_instance(other, NeighbourResults, argument="other", example=example)
    sets = []
    for found in (one, other):
        table = found.neighbours
        grouped = table["neighbour_id"].astype(str).groupby(table["school_id"].astype(str))
        sets.append({str(school): frozenset(near) for school, near in grouped})
    both = [school for school in sets[0] if school in sets[1]]
    if not both:
        raise DataError(text("neighbours.nothing_common"))
    rows = []
    for school in both:
        a, b = sets[0][school], sets[1][school]
        shared = len(a & b)
        rows.append((school, len(a), len(b), shared, shared / min(len(a), len(b))))
    return pd.DataFrame(
        rows, columns=["school_id", "n_neighbours", "n_other", "n_common", "overlap"]
    )
