"""Growth percentiles of a million pupils: a hundred quantiles, and one quantile beside peers.

    python tests/benchmarks/growth.py               # a million pupils on all cores: minutes
    python tests/benchmarks/growth.py --peers       # one quantile at 5,000 and 20,000 rows

Prints seconds by the clock and of the processor, and the ratios of one run.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings

import numpy as np
import pandas as pd

from resilience.stats.quantile_regression import fit_quantiles
from resilience.value_added.growth.model import GrowthPercentiles


def pupils(n: int, seed: int = 0) -> pd.DataFrame:
    """Return pupils of schools of 25 on average with two past results."""
    rng = np.random.default_rng(seed)
    school = rng.integers(0, max(n // 25, 2), n)
    ability = rng.normal(size=n)
    effect = 0.2 * rng.normal(size=max(n // 25, 2))
    return pd.DataFrame(
        {
            "school_id": school,
            "before": ability + 0.5 * rng.normal(size=n),
            "last_year": ability + 0.5 * rng.normal(size=n),
            "score": ability + effect[school] + (0.5 + 0.1 * np.abs(ability)) * rng.normal(size=n),
        }
    )


def processor() -> float:
    """Return the seconds of this process and its finished children."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    done = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + done.ru_utime + done.ru_stime


def whole_cohort(n: int, n_jobs: int) -> None:
    """Fit one and two past results of a cohort and place pupils and schools."""
    data = pupils(n)
    for prior in (["last_year"], ["before", "last_year"]):
        model = GrowthPercentiles(prior=prior)
        clock, cpu = time.perf_counter(), processor()
        results = model.fit(data, n_jobs=n_jobs)
        clock = time.perf_counter() - clock
        largest = float(results.glance()["largest_misfit"].iloc[0])
        print(
            f"{n:,} pupils, {len(results.school_growth):,} schools, {len(prior)} past results, "
            f"100 quantiles, n_jobs={n_jobs}: {clock:.0f} s by the clock, "
            f"{processor() - cpu:.0f} s of this process; largest misfit {largest:.4f}"
        )


def one_quantile() -> None:
    """Time one quantile beside HiGHS and statsmodels."""
    import statsmodels.api as sm
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, eye_array, hstack

    for n in (5_000, 20_000):
        data = pupils(n)
        x = np.c_[np.ones(n), data["before"], data["last_year"], data["last_year"] ** 2]
        y = data["score"].to_numpy()
        seconds: dict[str, float] = {}
        begin = time.perf_counter()
        fit_quantiles(x, y, (0.3,))
        seconds["here"] = time.perf_counter() - begin
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its iteration limit
            sm.QuantReg(y, x).fit(q=0.3)
        seconds["statsmodels"] = time.perf_counter() - begin
        p = x.shape[1]
        cost = np.r_[np.zeros(p), np.full(n, 0.3), np.full(n, 0.7)]
        rows = hstack([csr_array(x), eye_array(n), -eye_array(n)])
        bounds = [(None, None)] * p + [(0, None)] * (2 * n)
        begin = time.perf_counter()
        linprog(cost, A_eq=rows, b_eq=y, bounds=bounds)
        seconds["HiGHS"] = time.perf_counter() - begin
        said = ", ".join(f"{k} {v:.3f} s ({v / seconds['here']:.0f}x)" for k, v in seconds.items())
        print(f"one quantile, {n:,} rows, {p} columns: {said}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--peers", action="store_true")
    asked = parser.parse_args()
    if asked.peers:
        one_quantile()
    else:
        whole_cohort(asked.rows, asked.jobs)
