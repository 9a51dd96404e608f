"""Seconds of refits from cross-products, against the goals of the specification.

Run ``python tests/benchmarks/refits.py`` for 100,000 pupils in 2,000 schools and add ``--large``
for 1,000,000 in 40,000.  A random slope, ten covariates, unsorted rows, skewed sizes of schools
with schools of one pupil.  Times are seconds of CPU on one thread, so that other work does not
count; with ``--jobs`` above 1 the bootstraps are timed by the wall clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.likelihood_intervals import profile_intervals
from resilience.stats.mixed import fit_mixed
from resilience.stats.refits.leave_one_out import leave_one_out
from resilience.stats.refits.natural_criteria import natural_criterion
from resilience.stats.refits.refits import cluster_refits, parametric_refits
from resilience.stats.refits.simulated_products import outcome_draws

GOALS = {"small": 10.0, "large": 120.0}  # seconds of 500 parametric refits


def region(n_pupils: int, n_schools: int, *, seed: int = 0):
    """Return covariates, outcome and school of every pupil."""
    rng = np.random.default_rng(seed)
    share = rng.lognormal(0.0, 0.8, n_schools)
    more = rng.choice(n_schools, n_pupils - n_schools, p=share / share.sum())
    school = rng.permutation(np.concatenate([np.arange(n_schools), more]))
    X = rng.normal(size=(n_pupils, 10))
    u = rng.normal(size=(n_schools, 2)) * [0.3, 0.12]
    u[:, 1] += 0.15 * u[:, 0]
    y = X @ np.linspace(0.5, 0.05, 10) + u[school, 0] + u[school, 1] * X[:, 0]
    return X, y + 0.75 * rng.normal(size=n_pupils), school


def products(X, y, school, *, keep: str | None) -> CrossProducts:
    """Make the pass."""
    names = [f"x{k}" for k in range(X.shape[1])]
    return CrossProducts.from_arrays(
        X,
        y,
        columns=[*names, "y"],
        groups=[("school", school, ["Intercept", "x0"])],
        keep=keep,
    )


def timed(
    words: str, work: Callable[[], object], *, times: int = 1, jobs: int = 1
) -> tuple[float, object]:
    """Print and return the seconds of one call, the best of some."""
    clock = time.process_time if jobs == 1 else time.perf_counter
    best, result = np.inf, None
    for _ in range(times):
        start = clock()
        result = work()
        best = min(best, clock() - start)
    print(f"{words:<58} {best:10.4f} s")
    return best, result


def run(n_pupils: int, n_schools: int, *, goal: float, n_replicates: int, n_jobs: int) -> None:
    """Print one table."""
    print(f"\n{n_pupils:,} pupils, {n_schools:,} schools, random slope, 10 covariates")
    X, y, school = region(n_pupils, n_schools)
    bare, _ = timed("pass", lambda: products(X, y, school, keep=None), times=3)
    kept, cross = timed(
        'pass with keep="groups"', lambda: products(X, y, school, keep="groups"), times=3
    )
    blocks = cross.blocks.packed.nbytes / 1e6
    print(f"{'  ratio of both; blocks in MB':<58} {kept / bare:10.2f}   {blocks:.1f} MB")
    fit, fitted = timed("fit", lambda: fit_mixed(cross), times=2)
    draws = outcome_draws(cross, fitted)
    timed("directions of the errors, once", lambda: draws.directions)
    rng = np.random.default_rng(1)
    timed("one draw of the outcome", lambda: draws.draw(rng), times=5)
    how = {"n_replicates": n_replicates, "n_jobs": n_jobs}
    clusters = {**how, "level": "school"}
    for words, refit in (
        ("parametric", lambda: parametric_refits(cross, fitted, **how)),
        ("cluster", lambda: cluster_refits(cross, fitted, **clusters)),
    ):
        seconds, refits = timed(
            f"{n_replicates} {words} refits, {n_jobs} job(s)", refit, jobs=n_jobs
        )
        failed = sum(isinstance(r, str) for r in refits)
        whole = seconds / n_replicates * 500
        print(f"{'  500 of them; failed':<58} {whole:10.2f} s {failed}")
        ratios = f"{goal / whole:10.2f}   {500 * fit / whole:.1f}"
        print(f"{'  goal / seconds of 500; fits from scratch / seconds':<58} {ratios}")
    some = np.linspace(0, n_schools - 1, 50 if n_schools < 10_000 else 10).astype(int)
    seconds, _ = timed(
        f"{len(some)} schools left out", lambda: leave_one_out(cross, fitted, "school", some)
    )
    print(f"{'  1,000 schools':<58} {seconds / len(some) * 1000:10.2f} s")
    timed(
        "profile intervals of 4 parameters",
        lambda: profile_intervals(natural_criterion(cross, fitted)),
    )


def main() -> None:
    """Read the options and print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--large", action="store_true", help="1,000,000 pupils as well")
    options.add_argument("--jobs", type=int, default=1, help="processes of the bootstraps")
    options.add_argument("--replicates", type=int, default=500)
    given = options.parse_args()
    with threadpool_limits(limits=1):
        run(
            100_000,
            2_000,
            goal=GOALS["small"],
            n_replicates=given.replicates,
            n_jobs=given.jobs,
        )
        if given.large:
            run(
                1_000_000,
                40_000,
                goal=GOALS["large"],
                n_replicates=max(20, given.replicates // 10),
                n_jobs=given.jobs,
            )


if __name__ == "__main__":
    main()
