"""Resample the schools behind clusters and ask whether the clusters come back."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd

from resilience.clustering.clusters.results import ClusterResults
from resilience.clustering.clusters.strata import StratumClusters, part_of
from resilience.clustering.stability.replicates import Redraw, Replicates, resample_partition
from resilience.clustering.stability.results import StabilityResults
from resilience.errors import SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.clusters.partitions import Floats
from resilience.stats.clusters.resampling import ResamplingScheme
from resilience.validation import (
    check_choice,
    check_count,
    check_instance,
    check_jobs,
    check_seed,
)

__all__ = ["cluster_stability", "stability_levels"]

_FEW = 50  # resamples below which the mean coefficient has a standard error of .02 or more
_SURE = 0.6  # share of resamples below which no verdict is based on a school's label
_LEVELS = (
    (0.85, "highly_stable"),
    (0.75, "stable"),
    (0.6, "pattern"),
    (0.5, "not_trusted"),
)
_DISSOLVED, _RECOVERED = 0.5, 0.75


def cluster_stability(
    clusters: ClusterResults,
    *,
    n_resamples: int = 200,
    scheme: ResamplingScheme = "bootstrap",
    random_state: int | None = None,
    n_jobs: int = 1,
    progress: bool = False,
) -> StabilityResults:
    r"""Say whether each cluster would be found again, and how surely each school belongs to it.

    Every stratum is resampled apart.  For cluster i of all schools and resample b

    .. math:: \gamma_{ib} = \max_h |C_i \cap X_b \cap D_h| \,/\, |(C_i \cap X_b) \cup D_h| ;

    ``jaccard`` is its mean: 0.85 and more highly stable, from 0.75 stable, from 0.6 a pattern with
    doubtful members, above 0.5 not to be trusted, else dissolved.  Stable is not the same as valid.

    Parameters
    ----------
    clusters : ClusterResults
        What `ClusterModel.fit` returned.
    n_resamples : int
        B.
    scheme : {"bootstrap", "subset", "noise"}
        Schools drawn with replacement and each kept once; half of the schools; all schools with
        the errors of their shares and stated errors drawn anew.
    random_state : int, optional
        Seed.
    n_jobs : int
        Workers; the result does not depend on it.
    progress : bool
        Whether a bar is drawn.

    Returns
    -------
    StabilityResults

    Raises
    ------
    SpecificationError
        If there are no clusters, for an unknown scheme, or for noise where no variable has any.

    Warns
    -----
    WeakDataWarning
        For fewer than 50 resamples.

    References
    ----------
    Hennig2007.
    """
    check_instance(
        clusters, ClusterResults, argument="clusters", example="rs.ClusterModel(...).fit(schools)"
    )
    clusters.require_clusters()
    check_choice(scheme, get_args(ResamplingScheme), argument="scheme")
    check_count(n_resamples, argument="n_resamples", least=2)
    check_jobs(n_jobs)
    check_seed(random_state)
    if scheme == "noise" and not clusters.scaled.has_errors:
        raise SpecificationError(text("cluster_stability.no_errors"))
    if n_resamples < _FEW:
        warn_weak_data(text("cluster_stability.few", n=n_resamples, least=_FEW))
    seeds = np.random.SeedSequence(random_state).generate_state(len(clusters.parts))
    tables, schools = [], []
    for part, seed in zip(clusters.parts, seeds, strict=True):
        found = resample_partition(
            clusters.scaled.weighted[part.fitted],
            part.labels,
            clusters.partitioner(part.stratum),
            n_resamples=n_resamples,
            scheme=scheme,
            redrawn=Redraw(scaled=part_of(clusters.scaled, part.fitted)),
            random_state=int(seed),
            n_jobs=n_jobs,
            progress=progress,
        )
        tables.append(_clusters(part, found, clusters))
        schools.append(_schools(part, found, clusters, n_resamples))
    by_cluster = pd.concat(tables, ignore_index=True).sort_values("cluster", ignore_index=True)
    order = np.concatenate([part.fitted for part in clusters.parts])
    by_school = pd.concat(schools, ignore_index=True).iloc[np.argsort(order, kind="stable")]
    return StabilityResults(
        clusters=by_cluster,
        schools=by_school.reset_index(drop=True),
        scheme=scheme,
        n_resamples=n_resamples,
    )


def stability_levels(jaccard: Floats) -> list[str]:
    """Return the level of every mean coefficient."""
    return [
        next((name for bound, name in _LEVELS if _reaches(j, bound)), "dissolved") for j in jaccard
    ]


def _reaches(value: float, bound: float) -> bool:
    # a mean of exactly one half still counts as dissolved
    return bool(value > bound if bound == _DISSOLVED else value >= bound)


def _clusters(part: StratumClusters, found: Replicates, clusters: ClusterResults) -> pd.DataFrame:
    gamma = found.jaccard
    names = clusters.names
    return pd.DataFrame(
        {
            "cluster": list(part.numbers),
            "cluster_name": pd.Series([names[n] for n in part.numbers], dtype=object),
            "stratum": part.stratum,
            "n_schools": np.bincount(part.labels, minlength=len(part.numbers)),
            "jaccard": gamma.mean(axis=0),
            "jaccard_std_error": gamma.std(axis=0, ddof=1) / np.sqrt(len(gamma)),
            "n_dissolved": (gamma <= _DISSOLVED).sum(axis=0),
            "n_recovered": (gamma > _RECOVERED).sum(axis=0),
            "stability_level": stability_levels(gamma.mean(axis=0)),
        }
    )


def _schools(
    part: StratumClusters, found: Replicates, clusters: ClusterResults, n_resamples: int
) -> pd.DataFrame:
    n, k = found.votes.shape
    numbers = np.array(part.numbers)
    own = found.votes[np.arange(n), part.labels] / n_resamples
    others = found.votes.copy()
    others[np.arange(n), part.labels] = -1
    next_code = others.argmax(axis=1)
    next_share = np.maximum(others.max(axis=1), 0) / n_resamples
    has_other = (next_share > 0) & (k > 1)
    next_number = pd.array(numbers[next_code], dtype="Int64")
    next_number[~has_other] = pd.NA
    return pd.DataFrame(
        {
            "school_id": clusters.scaled.schools["school_id"].to_numpy()[part.fitted],
            "stratum": part.stratum,
            "cluster": numbers[part.labels],
            "membership_stability": own,
            "membership_verdict": np.where(own < _SURE, "between_clusters", "inside"),
            "other_cluster": next_number,
            "other_share": np.where(has_other, next_share, 0.0),
        }
    )
