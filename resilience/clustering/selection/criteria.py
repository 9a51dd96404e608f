"""Every criterion of the number of clusters on scaled rows: the gap first, then resampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from resilience.clustering.fits.algorithms import Covariance, Method, fit_clusters, partitioner
from resilience.clustering.selection.settings import SelectionSettings
from resilience.errors import DataError
from resilience.stats.clusters.gap import gap_choice, gap_curve, log_within, reference_within
from resilience.stats.clusters.partitions import (
    Codes,
    Floats,
    Partitioner,
    prediction_strength,
)
from resilience.stats.clusters.pieces import in_pieces
from resilience.stats.clusters.resampling import replicate
from resilience.stats.clusters.silhouettes import silhouettes

__all__ = ["Criteria", "measure_numbers"]

_Call = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Criteria:
    """What every number of clusters shows; NaN where it was not looked at.

    Attributes
    ----------
    numbers : tuple of int
        1 and the k asked for, ascending.
    gap, gap_std_error, silhouette, strength, jaccard, bic : ndarray of shape (m,)
        Gap with its s, mean silhouette, prediction strength, least mean Jaccard coefficient, BIC
        of a mixture (smaller = better).
    smallest : ndarray of shape (m,)
        Schools in the smallest cluster.
    refused : dict of int to Bilingual
        Numbers that the method cannot fit, with the reason.
    gap_number : int or None
        What the gap alone would choose.
    """

    numbers: tuple[int, ...]
    gap: Floats
    gap_std_error: Floats
    silhouette: Floats
    strength: Floats
    jaccard: Floats
    bic: Floats
    smallest: Codes
    refused: dict[int, str]
    gap_number: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """Rows and method, as every worker needs them."""

    rows: Floats
    method: Partitioner

    def reference(self, numbers: tuple[int, ...], seed: int) -> Floats:
        return reference_within(self.rows, numbers, self.method, seed=seed)

    def strength(self, k: int, seed: int) -> float:
        return prediction_strength(self.rows, k, self.method, seed=seed)

    def jaccard(self, labels: Codes, seed: int) -> Floats:
        return replicate(self.rows, labels, self.method, seed=seed).jaccard


def measure_numbers(
    rows: Floats,
    numbers: Sequence[int],
    *,
    method: Method,
    covariance: Covariance,
    settings: SelectionSettings,
    random_state: int | None,
    n_jobs: int = 1,
    progress: bool = False,
) -> Criteria:
    """Measure every criterion for every number of clusters.

    The gap comes first, with all numbers on the same reference sets; only numbers above it and
    with clusters large enough are resampled, unless the settings ask for all.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
        Scaled, weighted, complete.
    numbers : sequence of int
        k, 2 or more.
    method, covariance
        See `fit_clusters`.
    settings : SelectionSettings
        Resampling and thresholds.
    random_state : int, optional
        Seed; the result does not depend on the number of workers.
    n_jobs : int
        Workers.
    progress : bool
        Whether a bar is drawn.
    """
    all_numbers = (1, *sorted(set(numbers)))
    root = np.random.SeedSequence(random_state)
    seeds = {name: _seeds(child) for name, child in zip("fgsj", root.spawn(4), strict=True)}
    runner = _Runner(n_jobs=n_jobs, progress=progress)
    labels, bic, refused = _fits(rows, all_numbers, method, covariance, seeds["f"](1)[0])
    fitted = tuple(k for k in all_numbers if k in labels)
    quick = partitioner(method, n_init=settings.n_init, covariance=covariance)
    work = _Work(rows=rows, method=quick)
    drawn = runner(
        [(work.reference, (fitted, s)) for s in seeds["g"](settings.n_references)], "gap"
    )
    observed = log_within(rows, fitted, _Given(labels), seed=0)
    gap, spread = gap_curve(observed, np.array(drawn))
    smallest = np.array([int(np.bincount(labels[k]).min()) for k in fitted])
    least = settings.least_schools(len(rows))
    wanted = [
        k
        for i, k in enumerate(fitted)
        if k > 1
        and (settings.resample_all or (gap[i] > gap[0] + spread[i] and smallest[i] >= least))
    ]
    strength, jaccard = {}, {}
    for k in wanted:
        halves = [(work.strength, (k, s)) for s in seeds["s"](settings.n_splits)]
        strength[k] = float(np.mean(runner(halves, f"prediction strength, k = {k}")))
        samples = [(work.jaccard, (labels[k], s)) for s in seeds["j"](settings.n_resamples)]
        jaccard[k] = float(np.mean(runner(samples, f"Jaccard, k = {k}"), axis=0).min())
    place = {k: i for i, k in enumerate(fitted)}
    return Criteria(
        numbers=all_numbers,
        gap=_spread_out(all_numbers, {k: gap[i] for k, i in place.items()}),
        gap_std_error=_spread_out(all_numbers, {k: spread[i] for k, i in place.items()}),
        silhouette=_spread_out(
            all_numbers,
            {k: float(silhouettes(rows, labels[k]).mean()) for k in fitted if k > 1},
        ),
        strength=_spread_out(all_numbers, strength),
        jaccard=_spread_out(all_numbers, jaccard),
        bic=_spread_out(all_numbers, bic),
        smallest=np.array([smallest[place[k]] if k in place else 0 for k in all_numbers]),
        refused=refused,
        gap_number=gap_choice(fitted, gap, spread),
    )


def _spread_out(numbers: Sequence[int], found: dict[int, float]) -> Floats:
    return np.array([found.get(k, np.nan) for k in numbers], dtype=np.float64)


def _seeds(child: np.random.SeedSequence) -> Callable[[int], list[int]]:
    """Return seeds that are the same for every k: numbers are compared on the same draws."""

    def first(n: int) -> list[int]:
        return [int(s) for s in np.random.default_rng(child).integers(0, 2**31 - 1, size=n)]

    return first


@dataclass(frozen=True, eq=False)
class _Given:
    """Labels that are there already, as a method."""

    labels: dict[int, Codes]

    def __call__(self, rows: Floats, n_clusters: int, seed: int) -> Codes:
        return self.labels[n_clusters]


def _fits(
    rows: Floats, numbers: tuple[int, ...], method: Method, covariance: Covariance, seed: int
) -> tuple[dict[int, Codes], dict[int, float], dict[int, str]]:
    """Return labels and BIC of every number, and why some cannot be fitted."""
    labels: dict[int, Codes] = {}
    bic: dict[int, float] = {}
    refused: dict[int, str] = {}
    for k in numbers:
        try:
            found = fit_clusters(rows, k, method=method, covariance=covariance, seed=seed)
        except DataError as error:
            refused[k] = error.message
            continue
        labels[k] = found.labels
        if method == "gmm":
            bic[k] = found.bic
    return labels, bic, refused


@dataclass(frozen=True, kw_only=True)
class _Runner:
    """Calls on as many workers as wanted; results in the order of the calls."""

    n_jobs: int
    progress: bool

    def __call__(self, calls: Sequence[_Call], title: str) -> list[Any]:
        made = in_pieces(_piece, calls, n_jobs=self.n_jobs, progress=self.progress, title=title)
        return [value for part in made for value in part]


def _piece(calls: list[_Call]) -> list[Any]:
    with threadpool_limits(limits=1):  # many threads on small matrices cost more than they give
        return [function(*arguments) for function, arguments in calls]
