"""Early warning and the list null over simulated regions.  Run by hand:

    python tests/benchmarks/history.py               # 6 regions, two to three minutes
    python tests/benchmarks/history.py --regions 20

Each region is `simulate_region` with another random state: 177 schools, four years of counts.  The
early warning is scored on the years 2024 and 2025, predicted from the years before each alone.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd

import resilience as rs
from resilience.detection.history.early_warning import early_warning
from resilience.detection.history.status import list_status
from resilience.detection.rules.criteria import Criteria
from resilience.stats.lists.calibration import brier_score, calibration_line

METHODS = ("model", "challenger", "last_share", "same_list", "base_rate")


def predictions(n_regions: int, name: str) -> pd.DataFrame:
    """Return what every method said of past years of simulated regions."""
    rule = Criteria.preset(name)
    pieces = []
    for seed in range(n_regions):
        region = rs.simulate_region(random_state=1000 + seed)
        found = early_warning(region.counts, rule=rule, schools=region.schools, n_draws=100)
        pieces.append(found.backtest.assign(region=seed))
    return pd.concat(pieces, ignore_index=True)


def print_scores(table: pd.DataFrame, name: str) -> None:
    """Print scores of each method, the slope with the spread of single regions."""
    print(f"\n{name}: {table['region'].nunique()} regions")
    print("method        n      Brier   slope (SE)     intercept  PPV    recall  slopes of regions")
    for method in METHODS:
        own = table[table["method"] == method]
        if own.empty:
            continue
        p, y = own["probability"].to_numpy(), own["outcome"].to_numpy(dtype=bool)
        w = own["flag_weight"].to_numpy()
        line = calibration_line(p, y)
        each = [
            calibration_line(g["probability"], g["outcome"]).slope for _, g in own.groupby("region")
        ]
        head = f"{method:<12} {len(own):5d}  {brier_score(p, y):.4f}"
        hits = f"{(w * y).sum() / w.sum():.2f}   {(w * y).sum() / y.sum():.2f}"
        if not np.isfinite(each).any():
            print(f"{head}    no scale of probabilities      {hits}")
            continue
        fit = f"{line.slope:5.2f} ({line.slope_error:.2f})  {line.intercept:8.2f}"
        print(f"{head}  {fit}    {hits}   {np.nanmin(each):.2f} to {np.nanmax(each):.2f}")
    own = table[table["method"] == "model"]
    for band, group in own.groupby("size_band"):
        line = calibration_line(group["probability"], group["outcome"])
        shown = f"slope {line.slope:.2f} ({line.slope_error:.2f})"
        print(f"  model, {band:>5}: n {len(group):5d}, {shown}")


def coverage(n_regions: int) -> tuple[int, int]:
    """Return how often exits lie outside the 95 % band where nothing is done, and of how many."""
    outside = total = 0
    for seed in range(n_regions):
        rng = np.random.default_rng(seed)
        n = rng.integers(6, 121, size=177)
        u = np.sqrt(0.62) * rng.normal(size=177)
        y = u[:, None] + np.sqrt(0.05 + 6.0 / n[:, None]) * rng.normal(size=(177, 4))
        rows = pd.DataFrame(
            {
                "school_id": np.repeat([f"S{k:03d}" for k in range(177)], 4),
                "year": np.tile(np.arange(2022, 2026), 177),
                "score": y.ravel(),
                "sampling_variance": np.repeat(6.0 / n, 4),
            }
        )
        rows["verdict"] = np.where(rows.groupby("year")["score"].rank() <= 46, "yes", "no")
        found = list_status(rows[["school_id", "year", "verdict"]]).against_null(
            rows, positive_dynamics="sign", n_draws=400
        )
        wide = found.side_by_side
        left = wide["leave_observed"]
        outside += int(((left < wide["leave_null_low"]) | (left > wide["leave_null_high"])).sum())
        total += len(wide)
    return outside, total


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--regions", type=int, default=6)
    n_regions = parser.parse_args().regions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        for name in ("low_results_2025_or", "low_results_2025_and"):
            print_scores(predictions(n_regions, name), name)
        outside, total = coverage(3 * n_regions)
    print(f"\nexits outside the 95 % band under no change: {outside} of {total} pairs of years")


if __name__ == "__main__":
    main()
