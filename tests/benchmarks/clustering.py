"""Clusters of a whole country: 40,000 schools, k-means, stability by a hundred resamples.

Every resample clusters its 25,000 distinct schools from ten random starts.  None of the starts is
the centres of all schools: a resample that begins where the clusters are would find them again too
easily, and their coefficients would be too good.

Run ``python tests/benchmarks/clustering.py [schools] [resamples] [workers]`` by hand; nothing here
decides.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd

import resilience as rs
from resilience.clustering.clusters.model import ClusterModel
from resilience.clustering.stability.stability import cluster_stability

CONDITIONS = rs.Conditions(
    continuous=["n_pupils", "remoteness_km"],
    shares=["both_parents_higher_edu", "single_parent", "low_income"],
    base="n_pupils",
)
N_CLUSTERS = 5


def country(n_schools: int, seed: int = 1) -> pd.DataFrame:
    """Return schools of five kinds that overlap."""
    generator = np.random.default_rng(seed)
    kind = generator.integers(0, N_CLUSTERS, size=n_schools)
    pupils = np.exp(
        np.array([6.8, 6.3, 6.0, 5.0, 4.0])[kind] + generator.normal(0, 0.35, n_schools)
    )
    n_pupils = np.maximum(pupils.round(), 12)
    remote = np.exp(np.array([0.3, 1.0, 2.3, 3.0, 4.2])[kind] + generator.normal(0, 0.5, n_schools))
    shares = {
        "both_parents_higher_edu": [0.55, 0.35, 0.3, 0.2, 0.12],
        "single_parent": [0.18, 0.32, 0.2, 0.28, 0.24],
        "low_income": [0.08, 0.22, 0.18, 0.4, 0.33],
    }
    frame = pd.DataFrame(
        {
            "school_id": [f"S{i:05d}" for i in range(n_schools)],
            "n_pupils": n_pupils,
            "remoteness_km": remote,
        }
    )
    for name, means in shares.items():
        mean = np.array(means)[kind]
        # schools of one kind differ: a beta with a standard deviation of about a tenth
        own = generator.beta(mean * 20, (1 - mean) * 20)
        frame[name] = generator.binomial(n_pupils.astype(int), own) / n_pupils
    return frame


def main(n_schools: int, n_resamples: int, n_jobs: int) -> None:
    """Print seconds of every step and what was found."""
    schools = country(n_schools)
    began = time.perf_counter()
    clusters = ClusterModel(CONDITIONS, n_clusters=N_CLUSTERS).fit(schools, random_state=1)
    fitted = time.perf_counter()
    print(f"{n_schools} schools: scaling and clusters {fitted - began:.1f} s", flush=True)
    found = cluster_stability(clusters, n_resamples=n_resamples, random_state=1, n_jobs=n_jobs)
    seconds = time.perf_counter() - fitted
    print(f"stability, B = {n_resamples}, {n_jobs} workers: {seconds:.1f} s", flush=True)
    print(found.clusters.drop(columns="cluster_name").round(3).to_string(index=False))
    print(found.glance().to_string(index=False))


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [40_000, 100, 2][len(given) :]))
