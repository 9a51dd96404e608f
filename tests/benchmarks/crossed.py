"""Time crossed factors against lme4 and print a table.  Run by hand:

    python tests/benchmarks/crossed.py            # InstEval's size, both sides, half a minute
    python tests/benchmarks/crossed.py --large    # adds 200,000 pupils of 20,000 by 8,000 units

The ratings are lme4's InstEval (73,421 ratings, 2,972 students by 1,128 lecturers) where Rscript
and lme4 are installed, and a simulation of the same sizes where they are not.  Times are seconds of
CPU on one thread, so that other work on the machine does not count.  "engine" is one pass over
arrays, the optimisation, effects with both variances and the joint covariance of all units;
"frame" is ``ValueAddedModel.fit`` with its checks, formula, ranks and intervals; lme4 is ``lmer``
from a data frame, without conditional variances.  "criterion +" is how far above ours it ends.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
from threadpoolctl import threadpool_limits

from resilience.stats.crossed.crossed_fit import fit_crossed
from resilience.stats.crossed.crossed_products import CrossedFactor, CrossedProducts
from resilience.value_added.model import ValueAddedModel

LINE = "{:<22} {:>8} {:>8} {:>8} {:>9} {:>8} {:>7} {:>9} {:>8} {:>11}"
HEAD = LINE.format(
    "data", "rows", "first", "second", "engine, s", "frame, s", "lme4, s", "engine ×", "frame ×",
    "criterion +",
)  # fmt: skip
R_SCRIPT = """
suppressMessages(library(lme4))
args <- commandArgs(TRUE)
if (args[1] == "data") {
  write.csv(InstEval[, c("s", "d", "y", "service")], args[2], row.names = FALSE)
} else {
  data <- read.csv(args[2], colClasses = c(s = "factor", d = "factor"))
  time <- system.time(fit <- lmer(y ~ service + (1 | s) + (1 | d), data))
  cat(time[["user.self"]] + time[["sys.self"]], format(REMLcrit(fit), digits = 15),
      as.character(packageVersion("lme4")))
}
"""


def in_r(*arguments: str) -> str | None:
    """Return what the script prints, or None where R or lme4 is missing."""
    if shutil.which("Rscript") is None:
        return None
    done = subprocess.run(
        ["Rscript", "-e", R_SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else None


def simulated(n: int, first: int, second: int, seed: int = 1) -> pd.DataFrame:
    """Return ratings of units that all meet each other."""
    rng = np.random.default_rng(seed)
    s, d = rng.integers(0, first, n), rng.integers(0, second, n)
    return outcomes(s, d, rng)


def regional(n: int, first: int, second: int, seed: int = 1) -> pd.DataFrame:
    """Return results of pupils who go on to one of the five schools next to their first one."""
    rng = np.random.default_rng(seed)
    s = rng.integers(0, first, n)
    d = ((s * second) // first + rng.integers(-2, 3, n)) % second
    return outcomes(s, d, rng)


def outcomes(s: np.ndarray, d: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Return a table whose variances are about those of InstEval."""
    y = 3.3 + 0.33 * rng.normal(size=s.max() + 1)[s] + 0.52 * rng.normal(size=d.max() + 1)[d]
    service = rng.integers(0, 2, len(s))
    y += 1.18 * rng.normal(size=len(s)) - 0.09 * service
    return pd.DataFrame({"s": s, "d": d, "y": y, "service": service})


def timed(call: Callable[[], object], runs: int) -> tuple[float, object]:
    """Return the best CPU time of several runs and what the last one returned."""
    best, found = np.inf, None
    for _ in range(runs):
        start = time.process_time()
        found = call()
        best = min(best, time.process_time() - start)
    return best, found


def engine(data: pd.DataFrame) -> object:
    """Return the fit from arrays."""
    names = ("s", "d")
    factors = [CrossedFactor(name=f, units=data[f].to_numpy(), terms=["Intercept"]) for f in names]
    products = CrossedProducts.from_arrays(
        data[["service"]].to_numpy(dtype=float),
        data["y"].to_numpy(dtype=float),
        columns=["service", "y"],
        factors=factors,
    )
    return fit_crossed(products, joint="d")


def compare(name: str, data: pd.DataFrame, folder: Path, *, runs: int, peer: bool) -> str:
    """Return one line of the table."""
    model = ValueAddedModel("y ~ service", crossed=["s", "d"])
    ours, fitted = timed(lambda: engine(data), runs)
    frame, _ = timed(lambda: model.fit(data), runs)
    theirs: list[str] = ["–", "–", "–", "–"]
    if peer:
        table = folder / "ratings.csv"
        data.to_csv(table, index=False)
        said = in_r("fit", str(table))
        if said is not None:
            seconds, criterion, version = said.split()[-3:]
            print(f"lme4 {version}")
            spent = float(seconds)
            theirs = [
                f"{spent:.2f}",
                f"{spent / ours:.1f}×",
                f"{spent / frame:.1f}×",
                f"{float(criterion) - fitted.criterion:.1e}",
            ]
    sizes = [len(data), data["s"].nunique(), data["d"].nunique()]
    return LINE.format(name, *(f"{n:,}" for n in sizes), f"{ours:.2f}", f"{frame:.2f}", *theirs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true")
    large = parser.parse_args().large
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"pandas {pd.__version__}; one BLAS thread"
    )
    with tempfile.TemporaryDirectory() as place, threadpool_limits(limits=1):
        folder = Path(place)
        table = folder / "insteval.csv"
        found = in_r("data", str(table)) is not None and table.exists()
        data = pd.read_csv(table) if found else simulated(73_421, 2_972, 1_128)
        name = "InstEval" if found else "simulated InstEval"
        lines = [compare(name, data, folder, runs=2, peer=True)]
        if large:
            wide = regional(200_000, 20_000, 8_000)
            lines.append(compare("regional", wide, folder, runs=1, peer=True))
    print(HEAD)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
