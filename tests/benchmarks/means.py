"""Time `SchoolLevelModel` from the frame, checks, ranks and tables included.  Run by hand:

    python tests/benchmarks/means.py            # a region of 200 schools
    python tests/benchmarks/means.py --large    # adds 40,000 schools × 10 rows

Times are seconds of CPU on one thread, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd

import resilience as rs


def region(n_schools: int, years: int, procedures: int) -> pd.DataFrame:
    """Return means with every part the model knows."""
    rng = np.random.default_rng(1)
    shape = (n_schools, years, procedures)
    school, year, procedure = (part.ravel() for part in np.indices(shape))
    n = rng.integers(3, 80, size=len(school))
    parts = [
        0.2 * rng.normal(size=20)[school % 20],
        0.3 * rng.normal(size=n_schools)[school],
        0.2 * rng.normal(size=(n_schools, years))[school, year],
        0.2 * rng.normal(size=(n_schools, procedures))[school, procedure],
        0.1 * rng.normal(size=len(school)),
        rng.normal(size=len(school)) / np.sqrt(n),
    ]
    return pd.DataFrame(
        {
            "municipality_id": [f"M{k % 20:02d}" for k in school],
            "school_id": [f"S{k:05d}" for k in school],
            "year": year + 2020,
            "procedure": [f"P{k:02d}" for k in procedure],
            "n_pupils": n,
            "prior_mean": 0.3 * rng.normal(size=n_schools)[school]
            + rng.normal(size=len(school)) / np.sqrt(n),
            "mean_score": sum(parts),
        }
    )


def timed(label: str, model: rs.SchoolLevelModel, frame: pd.DataFrame) -> None:
    """Fit once and print a row."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        result = model.fit(frame)
    seconds = time.process_time() - start
    record = result.convergence
    print(
        f"{frame['school_id'].nunique():>7,} {len(frame):>8,} {label:<44} {seconds:7.1f}"
        f" {record.n_evaluations:>5} {record.converged}",
        flush=True,
    )


def models() -> dict[str, tuple[rs.SchoolLevelModel, bool]]:
    """Return models by name, and whether they take several procedures."""
    outer = ["municipality_id", "school_id"]
    known = {"n": "n_pupils", "sd": 1.0, "time": "year"}
    free = rs.Procedures("procedure", covariance="unstructured")
    return {
        "years": (rs.SchoolLevelModel("mean_score ~ 1", **known), False),
        "years, municipality": (rs.SchoolLevelModel("mean_score ~ 1", group=outer, **known), False),
        "years, cohort priors": (
            rs.SchoolLevelModel(
                "mean_score ~ 1", cohort_prior="prior_mean", within_correlation=0.7, **known
            ),
            False,
        ),
        "years, procedures, municipality": (
            rs.SchoolLevelModel("mean_score ~ 1", group=outer, procedure="procedure", **known),
            True,
        ),
        "years, procedures unstructured": (
            rs.SchoolLevelModel("mean_score ~ 1", procedure=free, **known),
            True,
        ),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    sizes = [(200, 3, 10), (40_000, 2, 5)] if parser.parse_args().large else [(200, 3, 10)]
    print(f"{'schools':>7} {'rows':>8} {'model':<44} {'s':>7} {'eval.':>5} converged")
    for size in sizes:
        frame = region(*size)
        first = frame[frame["procedure"] == "P00"]
        for label, (model, several) in models().items():
            timed(label, model, frame if several else first)


if __name__ == "__main__":
    main()
