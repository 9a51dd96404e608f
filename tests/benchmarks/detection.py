"""Lists of resilient schools against the truth and against an oracle, over simulated regions.

    python tests/benchmarks/detection.py                    # 200 regions of each design
    python tests/benchmarks/detection.py --regions 20       # a quick look
    python tests/benchmarks/detection.py --whole 20         # whole regions of `simulate_region`
    python tests/benchmarks/detection.py --why 60           # which estimates cost what

Designs: index reliability .6, .8, .9 by slope of results on the context .2, .3, .4 (pupil SD per SD
of context).  177 schools, three years, 3 to 120 pupils a year; what the library is not told it
estimates: slope, variances of effects, reliability of the index, gate.  The oracle knows them.

Where little can be known, naming nobody costs hardly more than the oracle's list does.  So each
loss stands beside that of naming nobody, and `gain` is the share of the oracle's gain over it.
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
    BOUND,
    IDS,
    LOSSES,
    N_SCHOOLS,
    N_YEARS,
    POSTERIOR,
    RULES,
    VAR_E,
    VAR_U,
    VAR_V,
    Region,
    draw_region,
    lists_of,
    ratio_with_error,
    share_with_error,
    study,
)
from scipy import special

from resilience.data.simulation import simulate_region
from resilience.detection import detect_schools
from resilience.errors import WeakDataWarning
from resilience.pipeline import annual_run, list_performance
from resilience.stats.verdicts.decisions import LossRule, joint_posterior
from resilience.value_added import SchoolLevelModel

RELIABILITIES, SLOPES = (0.6, 0.8, 0.9), (0.2, 0.3, 0.4)
SEED = 404
SUPPORT = LossRule(false_positive=1.0, false_negative=2.0)  # a list of those to be helped
MIN_PUPILS = 10  # of the rule, over all years


def losses_of(oracle: np.ndarray, listed: np.ndarray, losses: LossRule) -> np.ndarray:
    """Return the loss of each school expected by the oracle; who is not named is a no."""
    return np.where(listed, losses.false_positive * (1 - oracle), losses.false_negative * oracle)


def costs(schools: pd.DataFrame, listed: pd.Series, losses: LossRule) -> dict[str, float]:
    """Return the loss over the oracle's and the share of the oracle's gain, with errors."""
    regions = schools["region"].to_numpy()

    def loss(rows: pd.Series | np.ndarray) -> np.ndarray:
        each = losses_of(schools["oracle"].to_numpy(), np.asarray(rows), losses)
        return pd.Series(each).groupby(regions).sum().to_numpy()

    own, best = loss(listed), loss(schools["oracle"] >= losses.threshold)
    nobody = loss(np.zeros(len(schools), dtype=bool))
    ratio, error = ratio_with_error(own, best)
    gain, gain_error = ratio_with_error(nobody - own, nobody - best)
    return {"loss ×": ratio, "±": error, "gain": gain, " ±": gain_error}


def support(schools: pd.DataFrame) -> pd.DataFrame:
    """Return the lists at losses of 1 for a wrong name and 2 for a miss."""
    enough = N_YEARS * schools["size"] >= MIN_PUPILS
    compared = lists_of(schools)
    compared["oracle"] = schools["oracle"] >= SUPPORT.threshold
    compared["posterior, losses"] = (schools["probability"] >= SUPPORT.threshold) & enough
    compared["cut posterior"] = (schools["probability_policy"] >= SUPPORT.threshold) & enough
    del compared["posterior, FDR .10"]
    compared["nobody"] = pd.Series(False, index=schools.index)
    n_regions = schools["region"].nunique()
    rows = []
    for name, listed in compared.items():
        hits = schools["resilient"] & listed
        ppv, _ = share_with_error(schools, listed, "resilient")
        found = hits.sum() / schools["resilient"].sum()
        rest = costs(schools, listed, SUPPORT)
        row = {"list": name, "names": listed.sum() / n_regions, "PPV": ppv, "sensitivity": found}
        rows.append({**row, **rest})
    return pd.DataFrame(rows)


def lists(schools: pd.DataFrame) -> pd.DataFrame:
    """Return what every list holds, gets wrong and costs, beside the oracle's."""
    n_regions = schools["region"].nunique()
    compared = {**lists_of(schools), "nobody": pd.Series(False, index=schools.index)}
    rows = []
    for name, listed in compared.items():
        ppv, ppv_error = share_with_error(schools, listed, "resilient")
        found = listed & schools["resilient"]
        stated = {
            "oracle": schools["oracle"],
            "posterior, losses": schools["probability"],
            "posterior, FDR .10": schools["probability"],
            "cut posterior": schools["probability_policy"],
        }.get(name)
        claimed = float((1 - stated[listed]).mean()) if stated is not None else np.nan
        rows.append(
            {
                "list": name,
                "names": listed.sum() / n_regions,
                "PPV": ppv,
                "± ": ppv_error,
                "FDR claimed": claimed,
                "FDR": 1 - ppv,
                "sensitivity": found.sum() / schools["resilient"].sum(),
                **costs(schools, listed, LOSSES),
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


Inputs = dict[str, np.ndarray]
KNOWN = {  # what is told to the library, by the names of its inputs
    "nothing: the library": (),
    "variance of effects, bound": ("effect_variance", "bound"),
    "variance of years": ("precision",),
    "gate": ("gate",),
    "gate, reliability of the index": ("gate", "context", "context_variance"),
    "line": ("residual", "slope"),
    "line, all variances": ("residual", "slope", "effect_variance", "bound", "precision"),
    "gate, reliability, line": ("gate", "context", "context_variance", "residual", "slope"),
}


def inputs_of(region: Region, reliability: float, slope: float) -> tuple[Inputs, Inputs]:
    """Return the inputs of the joint posterior as the library estimates them, and the true ones."""
    model = SchoolLevelModel(
        "mean_score ~ context_index", time="year", n="n_pupils", sd=float(np.sqrt(VAR_E))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)
        va = model.fit(region.means)
        found = detect_schools(
            va.school_effects,
            region.scores,
            RULES[:1],
            school_years=va.school_years,
            variances=va.variances,
        )
    working = found.working.set_index("school_id").loc[IDS]
    read = {name: working[name].to_numpy(dtype=float) for name in working.select_dtypes("number")}
    estimated = {  # contexts and slope in SD of the true context, not in points of the index
        "context": (read["context_shrunken"] - 50) / 10,
        "context_variance": (read["context_error"] / 10) ** 2,
        "residual": read["residual_mean"],
        "precision": read["precision"],
        "slope": read["context_slope"][0] * 10,
        "effect_variance": read["effect_variance"][0],
        "gate": (read["gate"][0] - 50) / 10,
        "bound": read["delta"][0],
    }
    context = reliability * (region.scores["context_index"].to_numpy() - 50) / 10
    yearly = region.means["mean_score"].to_numpy().reshape(N_SCHOOLS, N_YEARS)
    true = {
        "context": context,
        "context_variance": np.full(N_SCHOOLS, 1 - reliability),
        "residual": yearly.mean(axis=1) - slope * context,
        "precision": N_YEARS / (VAR_V + VAR_E / region.size),
        "slope": slope,
        "effect_variance": VAR_U,
        "gate": float(special.ndtri(0.25)) * np.sqrt(reliability),
        "bound": BOUND,
    }
    return estimated, true


def reasons(*, reliability: float, slope: float, n_regions: int) -> pd.DataFrame:
    """Return the loss over the oracle's when the library is told some parameters."""
    rng = np.random.default_rng([SEED, round(1000 * reliability), round(1000 * slope)])
    found: dict[tuple[str, str], list[float]] = {}
    kinds = {"4:1 ×": LOSSES, "1:2 ×": SUPPORT}
    for _ in range(n_regions):
        region = draw_region(rng, reliability=reliability, slope=slope)
        estimated, true = inputs_of(region, reliability, slope)
        told = {name: {**estimated, **{k: true[k] for k in keys}} for name, keys in KNOWN.items()}
        stated = {name: joint_posterior(**values).probability for name, values in told.items()}
        for name, p in {**stated, "oracle": region.oracle, "nobody": 0 * region.oracle}.items():
            for kind, losses in kinds.items():
                loss = losses_of(region.oracle, p >= losses.threshold, losses).sum()
                found.setdefault((name, kind), []).append(float(loss))
    rows = []
    for name in (*KNOWN, "nobody"):
        row: dict[str, object] = {"known": name}
        for kind in kinds:
            own, best = np.array(found[name, kind]), np.array(found["oracle", kind])
            row[kind], row["±" + kind[:3]] = ratio_with_error(own, best)
        rows.append(row)
    return pd.DataFrame(rows)


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
    parser.add_argument("--why", type=int, default=0)
    asked = parser.parse_args()
    if asked.why:
        for reliability in RELIABILITIES:
            table = reasons(reliability=reliability, slope=0.3, n_regions=asked.why)
            show(f"reliability {reliability}, slope 0.3, {asked.why} regions: why", table)
        return
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
        show(f"reliability {reliability}, all slopes: losses 1 to 2", support(schools))
        show(f"reliability {reliability}, all slopes: by size", abstentions(schools))
        show(f"reliability {reliability}, all slopes: calibration", calibration(schools))


if __name__ == "__main__":
    main()
