"""Time the two-level engine against statsmodels and print a table.  Run by hand:

    python tests/benchmarks/engine.py            # 10,000 and 100,000 pupils, both sides
    python tests/benchmarks/engine.py --large    # adds a million pupils in 40,000 schools, ours

Times are seconds of CPU on one thread, so that other work on the machine does not count; ours are
the best of several runs, theirs are of a single run.  "engine" is one pass over arrays plus the
optimisation; "frame" is ``ValueAddedModel.fit`` with its checks, formula, effects, ranks and
intervals.  statsmodels starts from the same frame and formula and returns no ranks; it is timed as
it comes (``fit()``) and with the optimiser that served it best of those that reach the optimum
(Powell for the intercept, where L-BFGS ends at a variance of 0; L-BFGS for the slope).
"criterion +" is how far above ours it ends.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import scipy
import statsmodels
import statsmodels.formula.api as smf
from threadpoolctl import threadpool_limits

import resilience as rs
from resilience.stats.mixed import fit_mixed

FORMULA = "score ~ prior_score + ses + sex"
SMALL = ((10_000, 200), (100_000, 2_000))
LARGE = (1_000_000, 40_000)
OURS = "{:>9} {:>7} {:<9} {:>9} {:>8}"
THEIRS = " | {:<11} {:>6} {:>8} {:>7} {:>11} {:>9}"
HEAD = OURS.format("pupils", "schools", "model", "engine, s", "frame, s") + THEIRS.format(
    "statsmodels", "s", "engine ×", "frame ×", "criterion +", "converged"
)
BEST_OPTIMISER = {False: "powell", True: "lbfgs"}


def pupils(n: int, n_schools: int, seed: int = 1) -> pd.DataFrame:
    """Return unsorted pupils in schools of skewed size, some of a single pupil."""
    rng = np.random.default_rng(seed)
    weight = rng.gamma(1.2, size=n_schools)
    rest = rng.choice(n_schools, p=weight / weight.sum(), size=n - n_schools)
    school = rng.permutation(np.r_[np.arange(n_schools), rest])
    prior = rng.normal(size=n)
    ses = rng.normal(size=n) + 0.5 * rng.normal(size=n_schools)[school]
    girl = rng.integers(0, 2, size=n)
    u = rng.normal(size=(n_schools, 2)) * [0.3, 0.12]
    score = 0.1 + 0.6 * prior + 0.2 * ses + 0.1 * girl + u[school, 0] + u[school, 1] * prior
    return pd.DataFrame(
        {
            "school_id": [f"S{k:05d}" for k in school],
            "score": score + 0.75 * rng.normal(size=n),
            "prior_score": prior,
            "ses": ses,
            "sex": np.where(girl == 1, "girl", "boy"),
        }
    )


def best_time(action: Callable[[], object], repeats: int) -> tuple[float, object]:
    """Return the shortest of several times and the last value."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        value = action()
        times.append(time.process_time() - start)
    return min(times), value


def engine_alone(data: pd.DataFrame, slope: bool) -> Callable[[], object]:
    """Return the engine's work on arrays: codes, cross-products, optimisation."""
    X = np.column_stack([data["prior_score"], data["ses"], data["sex"] == "girl"]).astype(float)
    y = data["score"].to_numpy()
    codes = pd.factorize(data["school_id"])[0]
    terms = ["Intercept", "prior_score"] if slope else ["Intercept"]

    def run() -> object:
        cross = rs.CrossProducts.from_arrays(
            X,
            y,
            columns=["prior_score", "ses", "girl", "score"],
            groups=[("school_id", codes, terms)],
        )
        return fit_mixed(cross)

    return run


def against_statsmodels(
    data: pd.DataFrame, slope: bool, optimiser: str | None
) -> tuple[float, float, bool]:
    """Return seconds, criterion and whether statsmodels says it converged."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its warnings about convergence; the table tells
        model = smf.mixedlm(
            FORMULA,
            data,
            groups=data["school_id"],
            re_formula="~prior_score" if slope else None,
        )
        fit = model.fit(reml=True, method=optimiser)
    return time.process_time() - start, float(-2 * fit.llf), bool(fit.converged)


def rows(n: int, n_schools: int, *, slope: bool, compare: bool) -> Iterator[str]:
    """Run one case and yield its lines of the table."""
    data = pupils(n, n_schools)
    repeats = 7 if n <= 100_000 else 2
    model = rs.ValueAddedModel(FORMULA, group="school_id", slopes="prior_score" if slope else None)
    engine, _ = best_time(engine_alone(data, slope), repeats)
    frame, result = best_time(lambda: model.fit(data), repeats)
    line = OURS.format(
        f"{n:,}",
        f"{n_schools:,}",
        "slope" if slope else "intercept",
        f"{engine:.3f}",
        f"{frame:.3f}",
    )
    if not compare:
        yield line
        return
    for optimiser in (None, BEST_OPTIMISER[slope]):
        theirs, criterion, converged = against_statsmodels(data, slope, optimiser)
        yield line + THEIRS.format(
            optimiser or "as it comes",
            f"{theirs:.2f}",
            f"{theirs / engine:.0f}×",
            f"{theirs / frame:.0f}×",
            f"{criterion - result.criterion:.2g}",
            str(converged),
        )


def main() -> None:
    """Print the versions and the table."""
    parser = argparse.ArgumentParser(description="two-level engine against statsmodels")
    parser.add_argument("--large", action="store_true", help="add a million pupils, ours only")
    cases = [(n, n_schools, True) for n, n_schools in SMALL]
    cases += [(*LARGE, False)] if parser.parse_args().large else []
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"pandas {pd.__version__}, statsmodels {statsmodels.__version__}; one BLAS thread"
    )
    print(HEAD)
    with threadpool_limits(limits=1):
        list(rows(2_000, 50, slope=True, compare=False))  # imports and caches
        for n, n_schools, compare in cases:
            for slope in (False, True):
                for line in rows(n, n_schools, slope=slope, compare=compare):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
