"""The rule simulator: speed on a region of 177 schools, and how official rules err there.

    python tests/benchmarks/rules.py                  # two minutes
    python tests/benchmarks/rules.py --study speed
    python tests/benchmarks/rules.py --study rules --pooled

The region is the data set ``north_region``: ten procedures, four years, cohorts of 1 to 120 pupils,
two thirds of the schools rural.  Its failing shares by school are drawn from the Beta posterior of
their counts, the variances within schools are estimated from the counts.  Times are seconds of CPU.
"""

from __future__ import annotations

import argparse
import time
import warnings

import pandas as pd

import resilience as rs
from resilience.detection.simulator.estimate import failure_moments
from resilience.detection.simulator.simulate import simulate_rule
from resilience.stats.lists.share_moments import FailureParts

RULES = [
    "low_results_2025_or",
    "low_results_2025_and",
    "low_results_2025_or_guarded",
    "low_results_2025_and_guarded",
    "low_results_any",
    "low_posterior",
]
SHOWN = {
    "expected_listed": "listed",
    "expected_false_flags": "wrong",
    "expected_misses": "missed",
    "sensitivity": "found",
    "ppv": "right",
    "churn": "churn",
}


def speed(region: rs.Dataset) -> None:
    federal = rs.Criteria.preset("low_results_2025_or")
    posterior = rs.Criteria.preset("low_posterior")
    apart = FailureParts(school_year=0.05, school_procedure=0.04, cell=0.02)
    shared = FailureParts(school_year=0.05, school_procedure=0.04, cell=0.02, pupil=0.5)
    print("177 schools × 10 procedures × 2000 replicates, this year and the next")
    for name, rules, parts in (
        ("federal rule, pupils of each procedure apart", federal, apart),
        ("federal rule, pupils shared by two procedures", federal, shared),
        ("posterior rule, prior fitted in every replicate", posterior, apart),
        ("both rules on the same draws", [federal, posterior], apart),
    ):
        start = time.process_time()
        simulate_rule(rules, region.counts, schools=region.schools, parts=parts)
        print(f"  {name:<50} {time.process_time() - start:6.1f} s")


def rules(region: rs.Dataset, *, pooled: bool) -> None:
    moments = failure_moments(region.counts)
    p = moments.parts
    print(
        f"\nvariances: school {moments.school:.3f}, year {p.school_year:.3f}, procedure "
        f"{p.school_procedure:.3f}, cell {p.cell:.3f}, pupil {p.pupil:.2f}"
    )
    names = [*RULES, "low_posterior_pooled"] if pooled else RULES
    chosen = [rs.Criteria.preset(name) for name in names]
    for truth in ("school", "two_procedures"):
        found = simulate_rule(chosen, region.counts, schools=region.schools, truth=truth)
        low = found.overall["expected_low"].iloc[0]
        print(f"\ntruly low ({truth}, 30 %): {low:.1f} schools of 177")
        print_table(found.overall, ["rule_id"])
        print_table(found.by_size_band, ["rule_id", "size_band"])
        print_table(found.by_rurality, ["rule_id", "is_rural"])


def print_table(table: pd.DataFrame, keys: list[str]) -> None:
    shown = table[[*keys, *SHOWN]].rename(columns=SHOWN)
    print()
    print(shown.round(3).to_string(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", choices=["all", "speed", "rules"], default="all")
    parser.add_argument("--pooled", action="store_true", help="also the pooled rule: a minute more")
    options = parser.parse_args()
    region = rs.load_dataset("north_region")
    if options.study in ("all", "speed"):
        speed(region)
    if options.study in ("all", "rules"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rs.WeakDataWarning)
            rules(region, pooled=options.pooled)


if __name__ == "__main__":
    main()
