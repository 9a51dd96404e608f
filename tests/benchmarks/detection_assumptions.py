"""Why the resilient list of a whole simulated region holds more wrong names than it claims.

    python tests/benchmarks/detection_assumptions.py                # 40 regions
    python tests/benchmarks/detection_assumptions.py --regions 4

The truth of `simulate_region` tells which assumption of the posterior fails: the stated error of
the context index or the effect that is asked for.  The last table repeats the list with an error
of the index as large as it truly is.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace
from unittest import mock

import numpy as np
import pandas as pd

from resilience.data.simulation import simulate_region
from resilience.errors import WeakDataWarning
from resilience.pipeline import annual_run, dataset_config
from resilience.stats.verdicts.decisions import joint_posterior

RULE = "resilient_posterior"
THRESHOLD = 0.8


def judged(seed: int) -> pd.DataFrame:
    """Return the working of the rule in one region beside the truth."""
    region = replace(simulate_region(random_state=seed), name="north_region")
    config = dataset_config("north_region")
    config = replace(config, rules=tuple(rule for rule in config.rules if rule.preset == RULE))
    with mock.patch("resilience.pipeline.inputs.dataset_config", return_value=config):
        run = annual_run(region)
    answers = run.found.schools.set_index("school_id")
    working = run.found.working.set_index("school_id")  # of the only rule that is asked
    table = answers.join(working[working.columns.difference(answers.columns)])
    table = table.join(region.truth["schools"].set_index("school_id"))
    adverse = table["true_index"] <= table["true_index"].quantile(0.25)
    return table.assign(true_adverse=adverse, region=seed).reset_index()


def again(own: pd.DataFrame, explained: float | None) -> pd.Series:
    """Return the probabilities of one region; ``explained`` is the true reliability, if used."""
    read = {name: own[name].to_numpy(dtype=float) for name in own.select_dtypes("number")}
    context, error = read["context_shrunken"], read["context_error"] ** 2
    residual, slope = read["residual_mean"], read["context_slope"][0]
    variance, gate = read["effect_variance"][0], read["gate"][0]
    if explained is not None:
        index = read["context_index"]
        left = variance + slope**2 * error.mean()
        context = index.mean() + explained * (index - index.mean())
        error = np.full(len(index), explained * (1 - explained) * index.var(ddof=1))
        slope, gate = float(np.polyfit(context, residual, 1)[0]), np.quantile(context, 0.25)
        variance = max(0.3 * variance, left - slope**2 * error.mean())
    stated = joint_posterior(
        context=context,
        context_variance=error,
        residual=residual,
        precision=read["precision"],
        slope=slope,
        effect_variance=variance,
        gate=gate,
        bound=read["delta"][0],
    )
    return pd.Series(stated.probability, index=own.index)


def report(schools: pd.DataFrame) -> None:
    """Print the sources of wrong names."""
    listed, wrong = schools["verdict"] == "yes", ~schools["true_resilient"]
    off = ~schools["true_adverse"]
    print(f"{listed.sum()} names, {(listed & wrong).sum()} wrong")
    print(f"  claimed {(1 - schools.loc[listed, 'probability']).sum():.1f}")
    missing = (1 - schools.loc[listed, "probability_adverse"]).sum()
    small = (1 - schools.loc[listed, "probability_effect"]).sum()
    print(f"  context not adverse {(listed & off).sum()}, claimed {missing:.1f}")
    print(f"  effect too small {(listed & wrong & ~off).sum()}, claimed {small:.1f}")
    gap = (schools["effect_net"] - schools["persistent_effect"]).abs()
    covered = gap <= 1.959964 * schools["effect_net_sd"]
    by_marks = covered.groupby(schools["inflated"]).mean()
    print(f"effects covered {covered.mean():.3f}, by inflated marks {by_marks.round(3).to_dict()}")
    sure = schools[schools["probability_adverse"] >= 0.9]
    stated, seen = sure["probability_adverse"].mean(), sure["true_adverse"].mean()
    print(f"surely adverse: stated {stated:.3f}, true {seen:.3f}")

    known = schools[schools["context_shrunken"].notna() & schools["residual_mean"].notna()]
    groups = [own for _, own in known.groupby("region")]
    explained = [np.corrcoef(g["context_index"], g["true_index"])[0, 1] ** 2 for g in groups]
    true = float(np.mean(explained))
    error = np.std(explained, ddof=1) / np.sqrt(len(groups))
    stated = np.mean(
        [1 - (g["context_error"] ** 2).mean() / g["context_index"].var() for g in groups]
    )
    print(f"the index explains {true:.3f} ± {error:.3f}; its error says about {stated:.3f}")
    for title, value in (("error as stated", None), ("error as it is", true)):
        p = pd.concat([again(own, value) for own in groups])
        names = (p >= THRESHOLD) & (known.loc[p.index, "verdict"] != "not_applicable")
        bad = (names & ~known.loc[p.index, "true_resilient"]).groupby(known["region"]).sum()
        n = names.groupby(known["region"]).sum()
        share = bad.sum() / n.sum()
        spread = np.sqrt(((bad - share * n) ** 2).sum()) / n.sum()
        false = (names & ~known.loc[p.index, "true_adverse"]).sum()
        print(
            f"{title}: {n.mean():.2f} names, FDR {share:.3f} ± {spread:.3f}, claimed"
            f" {(1 - p[names]).mean():.3f}, contexts not adverse {false}"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=40)
    asked = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)
        report(pd.concat([judged(seed) for seed in range(asked.regions)], ignore_index=True))


if __name__ == "__main__":
    main()
