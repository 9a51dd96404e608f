"""How often the adjacent-score test is wrong, and what it finds.  Run by hand:

    python tests/benchmarks/integrity.py                   # a few minutes
    python tests/benchmarks/integrity.py --replicates 1000

Three studies: counts near borders drawn from the model of the test; whole histograms of schools
that differ in level; simulated regions of the library with schools that mark too kindly.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from scipy import stats

from resilience.data.simulation import simulate_region
from resilience.detection.integrity.adjacent import adjacent_scores
from resilience.detection.integrity.borders import mark_borders
from resilience.detection.integrity.markers import integrity_markers
from resilience.stats.integrity.adjacent_scores import (
    PooledWindows,
    unusual_pooled,
    window_correlation,
)

N_SCHOOLS, MEAN_PUPILS, LEVEL, MOVED = 177, 80, 0.10, 0.6
BORDERS = pd.DataFrame(
    {
        "procedure": "ВПР-5-МА",
        "year": 2025,
        "mark": [3, 4, 5],
        "border_score": [7, 11, 15],
        "max_score": 20,
    }
)


def from_counts(rng: np.random.Generator, rho: float, moving: int) -> tuple[np.ndarray, float]:
    """Return which schools are listed and the correlation found."""
    n = rng.poisson(MEAN_PUPILS, N_SCHOOLS)
    size = 0.5 * (1 / rho - 1) if rho else 0.0
    q = rng.beta(size, size, N_SCHOOLS) if rho else np.full(N_SCHOOLS, 0.5)
    above = rng.binomial(n, q)
    above[:moving] += rng.binomial(n[:moving] - above[:moving], MOVED)
    share = above.sum() / n.sum() if moving else 0.5
    tail = stats.binom.sf(above - 1, n, share)
    pooled = PooledWindows(
        total=n, above=above, share=np.full(N_SCHOOLS, share), p_value=tail, mid_p=tail
    )
    found = window_correlation(n, above, pooled.share)
    return unusual_pooled(pooled, found, fewest=30)[2] <= LEVEL, found


def from_histograms(
    rng: np.random.Generator, moving: int, reference: str
) -> tuple[np.ndarray, float]:
    """Return the same for the whole way from histograms of schools that differ in level."""
    level = rng.normal(0, 0.4, N_SCHOOLS)[:, None]
    raw = np.clip(np.rint(10.5 + 4 * (level + rng.normal(size=(N_SCHOOLS, 60)))), 0, 20)
    for border in BORDERS["border_score"]:
        near = (raw >= border - 2) & (raw < border) & (rng.random(raw.shape) < MOVED)
        near[moving:] = False
        raw = np.where(near, border + (rng.random(raw.shape) < 0.5), raw)
    names = np.repeat([f"S{j:03d}" for j in range(N_SCHOOLS)], 60)
    table = (
        pd.DataFrame({"school_id": names, "score": raw.ravel().astype(int)})
        .value_counts()
        .rename("n_pupils")
        .reset_index()
        .assign(year=2025, procedure="ВПР-5-МА")
    )
    found = adjacent_scores(table, BORDERS, reference=reference)
    return (found.schools["verdict"] == "yes").to_numpy(), found.correlation


def line(label: str, runs: list[tuple[np.ndarray, float]], moving: int) -> None:
    """Print one row of a study."""
    listed = np.array([names for names, _ in runs])
    right, wrong = listed[:, :moving].sum(axis=1), listed[:, moving:].sum(axis=1)
    fdr = np.mean(wrong / np.maximum(right + wrong, 1))
    found = f"{right.mean() / moving:5.2f}" if moving else "    –"
    rho = np.mean([r for _, r in runs])
    print(
        f"{label:28} moving {moving:3d}  any false name {np.mean(wrong > 0):.3f}  "
        f"false of the list {fdr:.3f}  found {found}  correlation {rho:.4f}  ({len(runs)} regions)"
    )


def main() -> None:
    """Run the three studies."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--regions", type=int, default=6)
    arguments = parser.parse_args()
    rng = np.random.default_rng(2026)
    for rho in (0.0, 0.01, 0.03):
        for moving in (0, 18):
            runs = [from_counts(rng, rho, moving) for _ in range(arguments.replicates)]
            line(f"counts, correlation {rho}", runs, moving)
    for reference in ("region", "smooth"):
        for moving in (0, 18):
            some = max(arguments.replicates // 10, 10)
            runs = [from_histograms(rng, moving, reference) for _ in range(some)]
            line(f"histograms, {reference}", runs, moving)
    regions(arguments.regions)


def regions(number: int) -> None:
    """Count inflating schools found and other schools flagged in simulated regions."""
    names = ("peaks, 1 year", "peaks, 3 years", "high mean not confirmed")
    totals = {name: np.zeros(3, dtype=int) for name in names}
    for seed in range(1, number + 1):
        region = simulate_region(random_state=seed)
        inflated = region.truth["schools"].set_index("school_id")["inflated"]
        tables = region.score_histograms
        own = tables[tables["procedure"].str.startswith("ВПР")]
        borders = mark_borders(region.procedures)
        lists = [adjacent_scores(own, borders, years=y).flags for y in (1, 3)]
        lists.append(integrity_markers(tables, schools=region.schools).flags)
        for name, flags in zip(names, lists, strict=True):
            flag = flags.set_index("school_id")["integrity_flag"].fillna(False).astype(bool)
            totals[name] += [(flag & inflated).sum(), (flag & ~inflated).sum(), inflated.sum()]
    for name, (right, wrong, there) in totals.items():
        print(f"{number} regions, {name:24} found {right} of {there}, other schools {wrong}")


if __name__ == "__main__":
    main()
