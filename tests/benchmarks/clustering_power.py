"""How often the rule of the number of clusters finds nothing where nothing is, and groups that are.

Two hundred regions of 200 schools and five variables each: one cloud, round and drawn out; three
groups 4 SD apart on the raw scale; and the power after the library's own scaling, with two of five
variables separating three groups by 2 to 6 SD, of equal and of unequal sizes.

Run ``python tests/benchmarks/clustering_power.py [regions]`` by hand; nothing here decides.
"""

from __future__ import annotations

import sys
import time
from functools import partial

import numpy as np
from joblib import Parallel, delayed

from resilience.clustering.selection.select import select_for_rows
from resilience.clustering.selection.settings import SelectionSettings

N_SCHOOLS = 200
SETTINGS = SelectionSettings(n_references=50, n_splits=20, n_resamples=40, n_init=5)
SIZES = {"equal": (67, 67, 66), "unequal": (120, 50, 30)}


def standardised(rows: np.ndarray) -> np.ndarray:
    """Return columns of variance one: what the library's scaling does to numbers."""
    return (rows - rows.mean(axis=0)) / rows.std(axis=0)


def cloud(generator: np.random.Generator, correlation: float) -> np.ndarray:
    """Return one normal cloud, scaled."""
    shared = generator.standard_normal((N_SCHOOLS, 1))
    own = generator.standard_normal((N_SCHOOLS, 5))
    return standardised(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


def groups(
    generator: np.random.Generator, distance: float, sizes: tuple[int, ...], *, scaled: bool
) -> np.ndarray:
    """Return three normal groups whose means form an equilateral triangle."""
    corners = distance * np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    rows = generator.standard_normal((N_SCHOOLS, 5))
    rows[:, :2] += np.repeat(corners, sizes, axis=0)
    return standardised(rows) if scaled else rows


def chosen(draw: partial[np.ndarray], region: int) -> int | None:
    """Return the number recommended for one region."""
    generator = np.random.default_rng([2026, region])
    rows = draw(generator)
    return select_for_rows(rows, settings=SETTINGS, random_state=region).n_clusters


def main() -> None:
    """Print the share of regions with each answer."""
    n_regions = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    cases = {
        "one cloud, round": partial(cloud, correlation=0.0),
        "one cloud, correlations .5": partial(cloud, correlation=0.5),
        "three groups, 4 SD, raw": partial(
            groups, distance=4.0, sizes=SIZES["equal"], scaled=False
        ),
    } | {
        f"three groups, {distance:g} SD, scaled, {name}": partial(
            groups, distance=distance, sizes=sizes, scaled=True
        )
        for distance in (2.0, 3.0, 4.0, 5.0, 6.0)
        for name, sizes in SIZES.items()
    }
    print(f"{n_regions} regions of {N_SCHOOLS} schools, 5 variables")
    print(f"{'':44s} none    k=2    k=3  other  seconds")
    for name, draw in cases.items():
        start = time.perf_counter()
        found = Parallel(n_jobs=-1)(delayed(chosen)(draw, r) for r in range(n_regions))
        counts = [found.count(None), found.count(2), found.count(3)]
        shares = [c / n_regions for c in (*counts, n_regions - sum(counts))]
        print(
            f"{name:44s}"
            + "".join(f"{s:6.1%} " for s in shares)
            + f"{time.perf_counter() - start:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
