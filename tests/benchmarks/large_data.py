"""Write a large Parquet file by simulation, fit it out of core, and print seconds and memory.

    python tests/benchmarks/large_data.py              # 1 and 10 million pupils in 40,000 schools
    python tests/benchmarks/large_data.py --small      # 1 million only

Every fit runs in a fresh process: "process" is the wall time from its start to its end with all
imports, "CPU" the time on all cores, "memory" the largest resident size.  The model is a random
slope (``score ~ prior_score + ses``, slopes of ``prior_score``); "text" adds a column of text,
which costs a pass; "latent" adds a latent school composition.  The last lines hold a Dask
cluster of two processes to the result of one.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

N_SCHOOLS = 40_000
ROWS_PER_GROUP = 250_000
MODELS = {
    "slope": ("score ~ prior_score + ses", {}),
    "slope, text": ("score ~ prior_score + ses + sex", {}),
    "slope, latent": ("score ~ prior_score + ses", {"ses": "latent"}),
}
FIT = """
import json, resource, sys, time
start = time.perf_counter()
import resilience as rs
path, formula, composition = json.loads(sys.argv[1])
model = rs.ValueAddedModel(
    formula,
    group="school_id",
    slopes="prior_score",
    intake=rs.Intake(composition=composition) if composition else None,
)
imported = time.perf_counter()
products = model.cross_products(path)
read = time.perf_counter()
va = model.fit(products)
done = time.perf_counter()
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "read": read - imported, "fit": done - read, "cpu": usage.ru_utime + usage.ru_stime,
    "memory": usage.ru_maxrss / (1 if sys.platform != "darwin" else 1024) / 1024,
    "passes": products.passes, "criterion": va.criterion,
    "slope": va.fixed_effects["estimate"][1],
}))
"""


def write(path: Path, n: int, seed: int = 1) -> None:
    """Write pupils in random order, a quarter of a million at a time."""
    rng = np.random.default_rng(seed)
    size = rng.gamma(1.2, size=N_SCHOOLS)
    share = np.cumsum(size / size.sum())
    effects = rng.normal(size=(N_SCHOOLS, 2)) * [0.3, 0.12]
    intake = 0.5 * rng.normal(size=N_SCHOOLS)
    labels = pa.array([f"S{k:05d}" for k in range(N_SCHOOLS)])
    writer: pq.ParquetWriter | None = None
    for start in range(0, n, ROWS_PER_GROUP):
        m = min(ROWS_PER_GROUP, n - start)
        school = np.minimum(np.searchsorted(share, rng.uniform(size=m)), N_SCHOOLS - 1)
        prior, ses = rng.normal(size=m), intake[school] + rng.normal(size=m)
        girl = rng.integers(0, 2, m)
        score = 0.1 + 0.6 * prior + 0.2 * ses + 0.1 * girl + effects[school, 0]
        score += effects[school, 1] * prior + 0.75 * rng.normal(size=m)
        table = pa.table(
            {
                "school_id": labels.take(pa.array(school)),
                "prior_score": prior,
                "ses": ses,
                "sex": pa.array(["F", "M"]).take(pa.array(girl)),
                "score": score,
                "unused": rng.normal(size=m),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def fit(path: Path, formula: str, composition: dict[str, str]) -> dict[str, float]:
    """Fit in a fresh process and return its figures."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", FIT, json.dumps([str(path), formula, composition])],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "process": time.perf_counter() - start}


def compare_with_cluster(path: Path) -> None:
    """Fit on two processes and print the difference from one."""
    from distributed import Client, LocalCluster

    import resilience as rs
    from resilience.data.batches.distributed import on_cluster

    model = rs.ValueAddedModel(MODELS["slope"][0], group="school_id", slopes="prior_score")
    start = time.perf_counter()
    local = model.fit(path)
    alone = time.perf_counter() - start
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        start = time.perf_counter()
        found = model.fit(on_cluster(path, client))
        together = time.perf_counter() - start
    criterion = abs(found.criterion / local.criterion - 1)
    effects = np.abs(found.school_effects["effect"] - local.school_effects["effect"]).max()
    print(
        f"Dask, two processes: {together:.1f} s (one process {alone:.1f} s); relative difference "
        f"of the criterion {criterion:.1e}, largest of an effect {effects:.1e}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="one million pupils only")
    sizes = (1_000_000,) if parser.parse_args().small else (1_000_000, 10_000_000)
    print(f"Python {platform.python_version()}, numpy {np.__version__}, pyarrow {pa.__version__}")
    head = "{:>11} {:<14} {:>6} {:>9} {:>7} {:>7} {:>7} {:>10} {:>9}"
    names = ("process, s", "read, s", "fit, s", "CPU, s", "memory, MB", "slope")
    print(head.format("pupils", "model", "passes", *names))
    line = "{:>11,} {:<14} {:>6} {:>9.2f} {:>7.2f} {:>7.2f} {:>7.2f} {:>10.0f} {:>9.5f}"
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            path = Path(folder) / f"pupils-{n}.parquet"
            write(path, n)
            for name, (formula, composition) in MODELS.items():
                f = fit(path, formula, composition)
                figures = (f["process"], f["read"], f["fit"], f["cpu"], f["memory"], f["slope"])
                print(line.format(n, name, f["passes"], *figures), flush=True)
        compare_with_cluster(Path(folder) / f"pupils-{sizes[-1]}.parquet")


if __name__ == "__main__":
    main()
