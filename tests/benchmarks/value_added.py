"""Time the value-added engine and its peers case by case; print one table.  Run by hand:

    python tests/benchmarks/value_added.py --quick           # 100,000 pupils, half a minute
    python tests/benchmarks/value_added.py                   # adds a million, two minutes
    python tests/benchmarks/value_added.py --peers           # besides lme4, mixedlm, statsmodels
    python tests/benchmarks/value_added.py --peers --large   # peers at a million, ten million rows

Every measurement is a process of its own on one thread, so that memory is that of one case alone.
Times are seconds of CPU, so that other work on the machine does not count.  "engine" is what the
method needs from arrays: one pass and the optimisation; "frame" is ``ValueAddedModel.fit`` with
its checks, formula, effects, ranks and intervals; ours is the best of several warm runs, a peer's a
single one.  Peers start from a data frame in memory, as they come (no option changed), and only the
call that fits is timed: "frame ×" compares like with like.  "above ours" is how much higher
their criterion ends.  Peers are optional: one that is absent is named with how to get it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

EXTRA = [f"x{k}" for k in range(1, 7)]
RIGHT = " + ".join(["prior_score", "ses", "sex", *EXTRA])  # ten columns with that of ones
FORMULA = f"score ~ {RIGHT}"
PEERS = {
    "lme4": "R with lme4 (Debian: r-base-core r-cran-lme4)",
    "mixedlm": "pip install mixedlm",
    "statsmodels": "pip install statsmodels",
}
SLOW_AT_A_MILLION = ("statsmodels",)
LINE = "{:<38} {:<24} {:>8} {:>8} {:>9} {:>9} {:>11}"
HEAD = LINE.format("case", "what", "CPU, s", "peak, GB", "engine ×", "frame ×", "above ours")


@dataclass(frozen=True)
class Case:
    """Sizes and model of one comparison."""

    name: str
    n: int
    schools: int
    kind: str  # intercept, slope, levels, years or crossed

    @property
    def random_part(self) -> str:
        """The random part as lme4 writes it."""
        return {
            "intercept": "(1 | school_id)",
            "slope": "(prior_score | school_id)",
            "levels": "(1 | municipality_id) + (1 | school_id)",
            "years": "(1 | school_id) + (1 | school_year)",
            "crossed": "(1 | s) + (1 | d)",
        }[self.kind]

    @property
    def fixed_part(self) -> str:
        """The fixed part."""
        return "y ~ service" if self.kind == "crossed" else FORMULA

    @property
    def specification(self) -> dict[str, Any]:
        """What `ValueAddedModel` gets besides the formula."""
        return {
            "intercept": {"group": "school_id"},
            "slope": {"group": "school_id", "slopes": "prior_score"},
            "levels": {"group": ["municipality_id", "school_id"]},
            "years": {"group": "school_id", "time": "year"},
            "crossed": {"crossed": ["s", "d"]},
        }[self.kind]


SMALL = [
    Case("intercept, 100,000 / 2,000", 100_000, 2_000, "intercept"),
    Case("slope, 100,000 / 2,000", 100_000, 2_000, "slope"),
    Case("crossed, InstEval 73,421", 73_421, 0, "crossed"),
]
MILLION = [
    Case("intercept, 1,000,000 / 40,000", 1_000_000, 40_000, "intercept"),
    Case("slope, 1,000,000 / 40,000", 1_000_000, 40_000, "slope"),
    Case("three levels, 1,000,000", 1_000_000, 40_000, "levels"),
    Case("year in school, 1,000,000", 1_000_000, 40_000, "years"),
]

# --- data --------------------------------------------------------------------------------------


def pupils(n: int, n_schools: int, seed: int = 1) -> pd.DataFrame:
    """Return unsorted pupils in schools of skewed size, some of a single pupil, five years."""
    rng = np.random.default_rng(seed)
    weight = rng.gamma(1.2, size=n_schools)
    rest = rng.choice(n_schools, p=weight / weight.sum(), size=n - n_schools)
    school = rng.permutation(np.r_[np.arange(n_schools), rest])
    year = rng.integers(2019, 2024, size=n)
    cell = 5 * school + year - 2019
    region = school % max(n_schools // 100, 10)
    prior, girl = rng.normal(size=n), rng.integers(0, 2, size=n)
    ses = rng.normal(size=n) + 0.5 * rng.normal(size=n_schools)[school]
    others = rng.normal(size=(n, len(EXTRA)))
    u = rng.normal(size=(n_schools, 2)) * [0.3, 0.12]
    score = 0.1 + 0.6 * prior + 0.2 * ses + 0.1 * girl + others @ np.full(len(EXTRA), 0.05)
    score += u[school, 0] + u[school, 1] * prior + 0.15 * rng.normal(size=region.max() + 1)[region]
    score += 0.12 * rng.normal(size=5 * n_schools)[cell] + 0.75 * rng.normal(size=n)
    names = np.array([f"S{k:05d}" for k in range(n_schools)], dtype=object)
    towns = np.array([f"M{k:04d}" for k in range(region.max() + 1)], dtype=object)
    return pd.DataFrame(
        {
            "school_id": names[school],
            "municipality_id": towns[region],
            "year": year,
            "score": score,
            "prior_score": prior,
            "ses": ses,
            "sex": np.where(girl == 1, "girl", "boy"),
            **dict(zip(EXTRA, others.T, strict=True)),
        }
    )


def ratings(n: int = 73_421, first: int = 2_972, second: int = 1_128) -> pd.DataFrame:
    """Return simulated ratings of the sizes of lme4's InstEval."""
    rng = np.random.default_rng(1)
    s, d, service = rng.integers(0, first, n), rng.integers(0, second, n), rng.integers(0, 2, n)
    y = 3.3 + 0.33 * rng.normal(size=first)[s] + 0.52 * rng.normal(size=second)[d]
    return pd.DataFrame(
        {"s": s, "d": d, "y": y - 0.09 * service + 1.18 * rng.normal(size=n), "service": service}
    )


def write_data(case: Case, folder: Path) -> Path:
    """Write the data of a case once, as Parquet, and return the file."""
    file = folder / f"{'crossed' if case.kind == 'crossed' else 'pupils'}_{case.n}.parquet"
    if file.exists():
        return file
    if case.kind != "crossed":
        pupils(case.n, case.schools).to_parquet(file, index=False)
        return file
    table = folder / "insteval.csv"
    script = f"library(lme4); write.csv(InstEval[,c('s','d','y','service')], '{table.as_posix()}')"
    if shutil.which("Rscript"):
        subprocess.run(["Rscript", "-e", script], capture_output=True, check=False)
    (pd.read_csv(table) if table.exists() else ratings()).to_parquet(file, index=False)
    return file


def write_large(n: int, n_schools: int, file: Path) -> None:
    """Write rows in pieces of a million, each a row group; schools are spread over all pieces."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for part in range(n // 1_000_000):
        rows = pa.Table.from_pandas(pupils(1_000_000, n_schools, seed=part), preserve_index=False)
        writer = writer or pq.ParquetWriter(file, rows.schema)
        writer.write_table(rows, row_group_size=250_000)
    if writer is not None:
        writer.close()


# --- what a child process measures -------------------------------------------------------------


def timed(action: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Return the best CPU time of several runs and what the last one returned."""
    best, value = np.inf, None
    for _ in range(repeats):
        start = time.process_time()
        value = action()
        best = min(best, time.process_time() - start)
    return best, value


def peak_gigabytes() -> float:
    """Return the largest memory of this process so far (resident set)."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def arrays_of(case: Case, data: pd.DataFrame) -> Callable[[], Any]:
    """Return the engine's work on arrays: codes, cross-products, optimisation."""
    import resilience as rs
    from resilience.stats.crossed.crossed_fit import fit_crossed
    from resilience.stats.crossed.crossed_products import CrossedFactor, CrossedProducts
    from resilience.stats.mixed import fit_mixed

    if case.kind == "crossed":
        units = [
            CrossedFactor(name=f, units=data[f].to_numpy(), terms=["Intercept"]) for f in ("s", "d")
        ]
        X, y = data[["service"]].to_numpy(dtype=float), data["y"].to_numpy(dtype=float)
        return lambda: fit_crossed(
            CrossedProducts.from_arrays(X, y, columns=["service", "y"], factors=units)
        )
    names = ["prior_score", "ses", "sex", *EXTRA]
    X = data[names].assign(sex=(data["sex"] == "girl").astype(float)).to_numpy(dtype=float)
    y = data["score"].to_numpy()
    groups = {name: pd.factorize(data[name])[0] for name in ("municipality_id", "school_id")}
    chosen = ["municipality_id", "school_id"] if case.kind == "levels" else ["school_id"]
    if case.kind == "years":
        groups["year"] = groups["school_id"] * 5 + data["year"].to_numpy() - 2019
        chosen.append("year")
    terms = ["Intercept", *(["prior_score"] if case.kind == "slope" else [])]
    levels = [(name, groups[name], terms) for name in chosen]
    return lambda: fit_mixed(
        rs.CrossProducts.from_arrays(X, y, columns=[*names, "score"], groups=levels)
    )


def measure_ours(case: Case, file: Path) -> dict[str, Any]:
    """Time the engine and the whole fit from a frame."""
    import resilience as rs
    from resilience.stats.mixed import fit_mixed  # noqa: F401 - so that imports are not timed

    data = pd.read_parquet(file)
    runs = 5 if case.n == 100_000 else 2
    action = arrays_of(case, data)
    action()
    model = rs.ValueAddedModel(case.fixed_part, **case.specification)
    warnings.simplefilter("ignore")
    frame, fit = timed(lambda: model.fit(data), runs)
    peak = peak_gigabytes()
    engine, _ = timed(action, runs)
    return {"engine": engine, "seconds": frame, "criterion": fit.criterion, "peak": peak}


def measure_mixedlm(case: Case, file: Path) -> dict[str, Any]:
    """Time mixedlm's lmer."""
    import mixedlm

    data = pd.read_parquet(file)
    if case.kind == "years":
        data["school_year"] = data["school_id"] + ":" + data["year"].astype(str)
    formula = f"{case.fixed_part} + {case.random_part}"
    seconds, fit = timed(lambda: mixedlm.lmer(formula, data))
    return {"seconds": seconds, "criterion": float(fit.REMLcrit()), "peak": peak_gigabytes()}


def measure_statsmodels(case: Case, file: Path) -> dict[str, Any]:
    """Time statsmodels' MixedLM."""
    import statsmodels.formula.api as smf

    data = pd.read_parquet(file)
    slopes = "~prior_score" if case.kind == "slope" else None
    warnings.simplefilter("ignore")  # the table tells whether it converged
    seconds, fit = timed(
        lambda: smf.mixedlm(FORMULA, data, groups=data["school_id"], re_formula=slopes).fit()
    )
    said = {"seconds": seconds, "criterion": float(-2 * fit.llf), "peak": peak_gigabytes()}
    return said | {"note": "" if fit.converged else "not converged"}


def measure_bootstrap(case: Case, file: Path) -> dict[str, Any]:
    """Time 500 refits to drawn outcomes, all done from the cross-products of one fit."""
    import resilience as rs

    warnings.simplefilter("ignore")
    va = rs.ValueAddedModel(FORMULA, **case.specification).fit(pd.read_parquet(file))
    seconds, _ = timed(lambda: va.bootstrap(n_replicates=500, random_state=1))
    return {"seconds": seconds, "peak": peak_gigabytes()}


def measure_second(case: Case, file: Path) -> dict[str, Any]:
    """Time a second specification from the cross-products that the first one was made of."""
    import resilience as rs
    from resilience.stats.mixed import fit_mixed
    from resilience.value_added.pupils.shared_pass import SharedPass

    model = rs.ValueAddedModel(FORMULA, **case.specification)
    other = "score ~ prior_score + ses + x1 + x2"
    shared = SharedPass.read(model, pd.read_parquet(file), {"A": FORMULA, "B": other})
    whole = shared.fit("A")
    shared.fit("B")
    tables, _ = timed(lambda: shared.fit("B"), 2)
    kept = ["prior_score", "ses", "x1", "x2", "score"]
    engine, _ = timed(lambda: fit_mixed(whole.cross.subset_columns(kept)), 2)
    return {"engine": engine, "seconds": tables, "peak": peak_gigabytes()}


def measure_parquet(case: Case, file: Path) -> dict[str, Any]:
    """Fit out of core; the parent times this whole process."""
    import resilience as rs

    va = rs.ValueAddedModel(FORMULA, **case.specification).fit(file)
    return {"criterion": va.criterion, "peak": peak_gigabytes()}


R_FIT = """
suppressMessages(library(lme4))
args <- commandArgs(TRUE)
data <- read.csv(args[1], stringsAsFactors = TRUE)
for (name in intersect(c("s", "d", "year"), names(data))) data[[name]] <- factor(data[[name]])
if ("year" %in% names(data)) data$school_year <- interaction(data$school_id, data$year, drop = TRUE)
spent <- system.time(fit <- suppressWarnings(lmer(as.formula(args[2]), data)))
peak <- sum(gc()[, 6]) / 1024
cat("\\n", spent[["user.self"]] + spent[["sys.self"]], format(REMLcrit(fit), digits = 15), peak,
    as.character(packageVersion("lme4")), "\\n")
"""


def measure_lme4(case: Case, file: Path) -> dict[str, Any]:
    """Time lme4's lmer on data read before."""
    table = file.with_suffix(".csv")
    if not table.exists():
        pd.read_parquet(file).to_csv(table, index=False, float_format="%.17g")
    formula = f"{case.fixed_part} + {case.random_part}"
    done = subprocess.run(
        ["Rscript", "-e", R_FIT, str(table), formula], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"absent": done.stderr.strip().splitlines()[-1:]}
    seconds, criterion, peak, _ = done.stdout.split()[-4:]
    return {"seconds": float(seconds), "criterion": float(criterion), "peak": float(peak)}


MEASURES: dict[str, Callable[[Case, Path], dict[str, Any]]] = {
    "ours": measure_ours,
    "lme4": measure_lme4,
    "mixedlm": measure_mixedlm,
    "statsmodels": measure_statsmodels,
    "bootstrap": measure_bootstrap,
    "second": measure_second,
    "parquet": measure_parquet,
}


def child(what: str, case: Case, file: Path) -> dict[str, Any]:
    """Run one measurement in a process of its own; whole-process seconds stand in ``whole``."""
    import resource

    threads = ("OMP", "OPENBLAS", "MKL", "RAYON")
    environment = os.environ | {f"{name}_NUM_THREADS": "1" for name in threads}
    command = [sys.executable, str(Path(__file__)), "--child", what, json.dumps(asdict(case))]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [*command, str(file)], capture_output=True, text=True, check=False, env=environment
    )
    clock = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        return {"absent": done.stderr.strip().splitlines()[-1:]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found | {"whole": spent, "clock": clock}


# --- the table ----------------------------------------------------------------------------------


def there(peer: str) -> bool:
    """Say whether a peer is installed."""
    if peer != "lme4":
        return importlib.util.find_spec(peer) is not None
    if shutil.which("Rscript") is None:
        return False
    return not subprocess.run(
        ["Rscript", "-e", "library(lme4)"], capture_output=True, check=False
    ).returncode


def ratio(theirs: float, ours: float | None) -> str:
    """Write a ratio of times."""
    return "" if ours is None else f"{theirs / ours:.1f}×"


def show(case: str, what: str, seconds: float, peak: float, *rest: str) -> None:
    """Print one line."""
    print(
        LINE.format(case, what, f"{seconds:.3f}", f"{peak:.2f}", *[*rest, "", "", ""][:3]),
        flush=True,
    )


class Goals:
    """Goals and what was measured for them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def at_most(self, what: str, value: float, goal: float, unit: str) -> None:
        """Note a measurement that should not exceed its goal."""
        self._note(what, value, goal, unit, value <= goal, "≤")

    def at_least(self, what: str, value: float, goal: float, unit: str) -> None:
        """Note a measurement that should reach its goal."""
        self._note(what, value, goal, unit, value >= goal, "≥")

    def _note(self, what: str, value: float, goal: float, unit: str, met: bool, sign: str) -> None:
        word = "not measured" if np.isnan(value) else "met" if met else "NOT MET"
        self.lines.append(f"{what:<58} {value:>9.3g} {unit:<3} {sign} {goal:<7g} {word}")


def compare(case: Case, file: Path, peers: list[str], goals: Goals) -> None:
    """Print the lines of one case."""
    ours = child("ours", case, file)
    if "absent" in ours:
        print(f"{case.name}: failed: {ours['absent']}")
        return
    show(case.name, "engine", ours["engine"], ours["peak"])
    show(case.name, "frame", ours["seconds"], ours["peak"])
    for peer in peers:
        if peer == "statsmodels" and case.kind not in ("intercept", "slope"):
            continue
        if peer in SLOW_AT_A_MILLION and case.n >= 1_000_000:
            continue
        found = child(peer, case, file)
        if "absent" in found:
            print(f"{case.name:<38} {peer:<24} failed: {' '.join(found['absent'])[:70]}")
            continue
        t, above = found["seconds"], found["criterion"] - ours["criterion"]
        show(
            case.name,
            " ".join([peer, found.get("note", "")]),
            t,
            found["peak"],
            ratio(t, ours["engine"]),
            ratio(t, ours["seconds"]),
            f"{above:.1e}",
        )
        bound = 1e-7 * abs(ours["criterion"])
        if above < -bound:
            goals.at_least(f"{case.name}: criterion against {peer}", above, -bound, "")
        wanted = {"lme4": 15, "mixedlm": 3}.get(peer)
        if wanted and case.kind == "slope" and case.n >= 1_000_000:
            goals.at_least(f"{case.name}: {peer} / frame", t / ours["seconds"], wanted, "×")


def without_peers(folder: Path, goals: Goals, *, million: bool, large: bool) -> None:
    """Print the cases that no peer has: refits, cached cross-products, Parquet."""
    small, wide = SMALL[1], MILLION[1]
    for case, limit in [(small, 10.0), *([(wide, 120.0)] if large else [])]:
        found = child("bootstrap", case, write_data(case, folder))
        _one(f"500 refits, {case.name}", "bootstrap", found, "seconds")
        goals.at_most(f"500 parametric refits, {case.name}", _of(found, "seconds"), limit, "s")
    if not million:
        return
    file = write_data(wide, folder)
    found = child("second", wide, file)
    _one("second specification, 1,000,000", "engine", found, "engine")
    _one("second specification, 1,000,000", "with all tables", found, "seconds")
    goals.at_most("second specification, engine, 1,000,000", _of(found, "engine"), 0.3, "s")
    goals.at_most("second specification, all tables, 1,000,000", _of(found, "seconds"), 0.3, "s")
    sizes = [(wide, file, 2.0, 0.6)]
    if large:
        many = Case("slope, 10,000,000 / 40,000", 10_000_000, 40_000, "slope")
        ten = folder / "ten.parquet"
        write_large(many.n, many.schools, ten)
        sizes.append((many, ten, 4.0, 0.5))
    for case, source, seconds, memory in sizes:
        found = child("parquet", case, source)
        _one(f"Parquet, {case.name}", "whole process", found, "whole")
        print(f"{'':<38} by the clock {found.get('clock', np.nan):.2f} s")
        goals.at_most(f"Parquet, whole process, {case.n:,}", _of(found, "whole"), seconds, "s")
        goals.at_most(f"Parquet, peak memory, {case.n:,}", _of(found, "peak"), memory, "GB")


def _of(found: dict[str, Any], key: str) -> float:
    return float(found.get(key, np.nan))


def _one(case: str, what: str, found: dict[str, Any], key: str) -> None:
    if "absent" in found:
        print(f"{case}: failed: {found['absent']}")
    else:
        show(case, what, found[key], found["peak"])


def main() -> None:
    """Print versions, the table and the goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 pupils only")
    parser.add_argument("--large", action="store_true", help="peers at a million; ten million rows")
    parser.add_argument("--peers", action="store_true", help="time lme4, mixedlm, statsmodels too")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "CASE", "FILE"), help="internal")
    chosen = parser.parse_args()
    if chosen.child:
        what, given, file = chosen.child
        fields = json.loads(given)
        print(json.dumps(MEASURES[what](Case(**fields), Path(file))))
        return
    versions = f"numpy {np.__version__}, pandas {pd.__version__}; one thread"
    print(f"Python {platform.python_version()}, {versions}")
    peers = [name for name in PEERS if chosen.peers and there(name)]
    for name, way in PEERS.items():
        if chosen.peers and name not in peers:
            print(f"{name}: not installed; {way}")
    print(HEAD)
    goals = Goals()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for case in SMALL:
            compare(case, write_data(case, folder), peers, goals)
        for case in [] if chosen.quick else MILLION:
            compare(case, write_data(case, folder), peers if chosen.large else [], goals)
        large = chosen.large and not chosen.quick
        without_peers(folder, goals, million=not chosen.quick, large=large)
    print("\ngoals")
    print("\n".join(goals.lines))


if __name__ == "__main__":
    main()
