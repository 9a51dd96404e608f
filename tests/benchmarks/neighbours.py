"""Time to find statistical neighbours in a country of 40,000 schools.

Run ``python tests/benchmarks/neighbours.py`` by hand; nothing here decides.  The peer is a search
over all pairs in blocks, which every list could also be read from.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

import resilience as rs

N_SCHOOLS = 40_000
SHARES = ("both_parents_higher_edu", "single_parent", "low_income", "non_native_russian")


def country(seed: int = 1) -> pd.DataFrame:
    """Return schools of a country: enrolment, remoteness, four shares."""
    generator = np.random.default_rng(seed)
    pupils = generator.integers(20, 1200, size=N_SCHOOLS)
    shares = {
        name: generator.binomial(pupils, generator.beta(2, 5, size=N_SCHOOLS)) / pupils
        for name in SHARES
    }
    return pd.DataFrame(
        {
            "school_id": [f"S{i:05d}" for i in range(N_SCHOOLS)],
            "n_pupils": pupils,
            "remoteness_km": generator.exponential(20, size=N_SCHOOLS),
            "is_rural": generator.random(N_SCHOOLS) < 0.6,
            "latitude": generator.uniform(42, 60, size=N_SCHOOLS),
            "longitude": generator.uniform(30, 60, size=N_SCHOOLS),
        }
        | shares
    )


def all_pairs(rows: np.ndarray, n_neighbours: int) -> np.ndarray:
    """Return the nearest rows of every row by brute force, in blocks."""
    found = []
    for start in range(0, len(rows), 500):
        distance = cdist(rows[start : start + 500], rows)
        distance[np.arange(len(distance)), start + np.arange(len(distance))] = np.inf
        found.append(np.argpartition(distance, n_neighbours, axis=1)[:, :n_neighbours])
    return np.concatenate(found)


def main() -> None:
    """Print the seconds of every step."""
    schools = country()
    conditions = rs.Conditions(continuous=["n_pupils", "remoteness_km"], shares=SHARES)
    for metric in ("equal", "mahalanobis"):
        model = rs.StatisticalNeighbours(
            conditions, metric=metric, exact_on=["is_rural"], coordinates=("latitude", "longitude")
        )
        start = time.perf_counter()
        found = model.fit(schools)
        print(f"{metric:12s} lists of {N_SCHOOLS} schools: {time.perf_counter() - start:6.1f} s")
    start = time.perf_counter()
    rs.neighbour_overlap(found, n_resamples=4, random_state=1, n_jobs=2)
    each = (time.perf_counter() - start) / 4
    print(f"overlap, per replicate on two workers: {each:6.1f} s")
    start = time.perf_counter()
    all_pairs(found.scaled.z / np.sqrt(6), 15)
    print(f"all pairs in blocks, one metric:       {time.perf_counter() - start:6.1f} s")


if __name__ == "__main__":
    main()
