"""Lists of resilient schools against the truth and against an oracle, over simulated regions.

    python tests/benchmarks/detection.py                    # 200 regions of each design
    python tests/benchmarks/detection.py --regions 20       # a quick look
    python tests/benchmarks/detection.py --whole 20         # whole regions of `simulate_region`

Designs: index reliability .6, .8, .9 by slope of results on the context .2, .3, .4 (pupil SD per SD
of context).  177 schools, three years, 3 to 120 pupils a year; what the library is not told it
estimates: slope, variances of effects, reliability of the index, gate.  The oracle knows them.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "recovery"))

from detection_study import (
    BANDS,
    POSTERIOR,
    expected_loss,
    lists_of,
    ratio_with_error,
    share_with_error,
    study,
)

from resilience.data.simulation import simulate_region
from resilience.errors import WeakDataWarning
from resilience.pipeline import annual_run, list_performance

RELIABILITIES, SLOPES = (0.6, 0.8, 0.9), (0.2, 0.3, 0.4)
SEED = 404


def lists(schools: pd.DataFrame) -> pd.DataFrame:
    """Return what every list holds, gets wrong and costs, beside the oracle's."""
    best = expected_loss(schools, schools["oracle_listed"])
    n_regions = schools["region"].nunique()
    rows = []
    for name, listed in lists_of(schools).items():
        ppv, ppv_error = share_with_error(schools, listed, "resilient")
        found = listed & schools["resilient"]
        stated = {
            "oracle": schools["oracle"],
            "posterior, losses": schools["probability"],
            "posterior, FDR .10": schools["probability"],
            "cut posterior": schools["probability_policy"],
        }.get(name)
        claimed = float((1 - stated[listed]).mean()) if stated is not None else np.nan
        ratio, error = ratio_with_error(expected_loss(schools, listed), best)
        rows.append(
            {
                "list": name,
                "names": listed.sum() / n_regions,
                "PPV": ppv,
                "± ": ppv_error,
                "FDR claimed": claimed,
                "FDR": 1 - ppv,
                "sensitivity": found.sum() / schools["resilient"].sum(),
                "loss ×": ratio,
                "±": error,
            }
        )
    return pd.DataFrame(rows)


def abstentions(schools: pd.DataFrame) -> pd.DataFrame:
    """Return by size what became of the truly resilient schools, and how often no answer came."""
    rows = []
    for name, (least, most) in {**BANDS, "all": (0, 1000)}.items():
        own = schools[schools["size"].between(least, most)]
        true = own[own["resilient"]]
        rows.append(
            {
                "pupils a year": name,
                "schools": len(own),
                "no answer": (own[POSTERIOR] == "insufficient_data").mean(),
                "resilient": len(true),
                "found": (true[POSTERIOR] == "yes").mean(),
                "missed, no answer": (true[POSTERIOR] == "insufficient_data").mean(),
                "missed, no": (true[POSTERIOR] == "no").mean(),
                "found by oracle": true["oracle_listed"].mean(),
                "coverage": own["covered"].mean(),
                "±": share_with_error(own, own["size"] > 0, "covered")[1],
                "oracle's": own["oracle_covered"].mean(),
                "width ×": own["width"].mean(),
            }
        )
    return pd.DataFrame(rows)


def calibration(schools: pd.DataFrame) -> pd.DataFrame:
    """Return stated and observed shares in ten bins, with the distance in standard errors."""
    bins = np.clip((schools["probability"] * 10).astype(int), 0, 9)
    rows = []
    for b, own in schools.groupby(bins):
        gap = own["resilient"] - own["probability"]
        error = np.sqrt((gap.groupby(own["region"]).sum() ** 2).sum()) / len(own)
        stated, seen = own["probability"].mean(), own["resilient"].mean()
        z = (seen - stated) / error
        rows.append((f"{b / 10:.1f}-{(b + 1) / 10:.1f}", len(own), stated, seen, error, z))
    return pd.DataFrame(rows, columns=["bin", "schools", "stated", "observed", "±", "z"])


def whole_regions(n_regions: int) -> pd.DataFrame:
    """Return PPV and sensitivity of each rule over full simulated regions, truth known."""
    shares = []
    for seed in range(n_regions):
        region = replace(simulate_region(random_state=seed), name="north_region")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeakDataWarning)
            run = annual_run(region)
        truth = region.truth["schools"]
        for rule in run.found.rules:
            if rule.target not in ("resilient", "low"):
                continue
            found = list_performance(
                run.found.schools, truth, f"true_{rule.target}", rules=[rule.id]
            )
            own = run.found.schools[run.found.schools["rule_id"] == rule.id]
            claimed = (1 - own.loc[own["verdict"] == "yes", "probability"]).sum(min_count=1)
            shares.append(found.assign(region=seed, target=rule.target, claimed=claimed))
    table = pd.concat(shares)
    rows = []
    for (target, rule), own in table.groupby(["target", "rule_id"], sort=False):
        hits, n = own["n_true_listed"].to_numpy(float), own["n_listed"].to_numpy(float)
        ppv, ppv_error = ratio_with_error(hits, n)
        found, error = ratio_with_error(hits, own["n_true"].to_numpy(float))
        claimed = own["claimed"].sum(min_count=1) / n.sum() if n.sum() else np.nan
        rows.append((target, rule, n.mean(), claimed, 1 - ppv, ppv, ppv_error, found, error))
    names = ["target", "rule", "names", "FDR claimed", "FDR", "PPV", "±", "sensitivity", "± "]
    return pd.DataFrame(rows, columns=names)


def show(title: str, table: pd.DataFrame) -> None:
    """Print a table under its title."""
    print(f"\n{title}\n{table.to_string(index=False, float_format='%.3f')}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=200)
    parser.add_argument("--whole", type=int, default=0)
    asked = parser.parse_args()
    if asked.whole:
        show(f"{asked.whole} whole regions", whole_regions(asked.whole))
        return
    found: dict[float, list[pd.DataFrame]] = {}
    for k, (reliability, slope) in enumerate(itertools.product(RELIABILITIES, SLOPES)):
        schools = study(reliability=reliability, slope=slope, n_regions=asked.regions, seed=SEED)
        show(f"reliability {reliability}, slope {slope}, {asked.regions} regions", lists(schools))
        shifted = schools.assign(region=schools["region"] + k * asked.regions)
        found.setdefault(reliability, []).append(shifted)
    for reliability, parts in found.items():
        schools = pd.concat(parts, ignore_index=True)
        show(f"reliability {reliability}, all slopes: lists", lists(schools))
        show(f"reliability {reliability}, all slopes: by size", abstentions(schools))
        show(f"reliability {reliability}, all slopes: calibration", calibration(schools))


if __name__ == "__main__":
    main()
