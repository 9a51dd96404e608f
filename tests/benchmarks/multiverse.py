"""Time multiverses of at least 200 specifications, refits included.  Run by hand:

    python tests/benchmarks/multiverse.py                          # two multiverses, one process
    python tests/benchmarks/multiverse.py --processes 2
    python tests/benchmarks/multiverse.py --study truth --regions 40

``speed`` prints the number of specifications, of models fitted anew and of passes over the rows of
pupils, and seconds of (1) the multiverse by the clock and of CPU in this process (which other work
on the machine does not count in), (2) robustness and attribution with 1,000 bootstrap samples.
``truth`` simulates regions and counts true resilient schools by robustness share,
beside the list of the recommended rule alone.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd

import resilience as rs
from resilience.pipeline.estimation_pupils import pupil_composite
from resilience.pipeline.multiverse import MultiverseResults, Refits, multiverse

INTAKE = [
    "both_parents_higher_edu",
    "single_parent",
    "unemployed_parent",
    "low_income",
    "non_native_russian",
]
ITEMS = {
    "subsidised_meals": -1,
    "english_learners": -1,
    "new_to_school": -1,
    "parents_not_high_school": -1,
    "parents_postgraduate": 1,
}
LEVELS = {"adversity": [0.20, 0.25, 0.33], "quantile": [0.67, 0.75, 0.80]}
BANDS = {"in no list": 0.0, "up to .2": 0.2, ".2 to .5": 0.5, ".5 to .8": 0.8 - 1e-9, "core": 1.0}


def rules() -> tuple[rs.Criteria, ...]:
    """Return eighteen rules: gate × bound × evidence."""
    posterior = rs.Criteria.preset("resilient_posterior")
    point = posterior.amend("adversity", evidence="point").amend(
        "quantile", evidence="point", years=None
    )
    return posterior.grid(**LEVELS) + point.grid(**LEVELS)


def california(processes: int) -> MultiverseResults:
    """Return 324 lists of 6,194 schools: 3 covariate sets × 3 windows × 2 indices × 18 rules."""
    schools = rs.load_dataset("california_api").schools
    schools = schools.assign(result=schools["mean_score"] / 271.0)
    common = "school_type + C(year)"
    covariates = ["subsidised_meals", "english_learners", "parent_education + new_to_school"]
    sets = [" + ".join([*covariates[: k + 1], common]) for k in range(3)]
    index = {
        "supervised": rs.ContextIndex.supervised(
            list(ITEMS),
            outcome="result",
            outcome_sd=1.0,
            weights="cross_fitted",
            directions=ITEMS,
        ),
        "equal": rs.ContextIndex.equal(list(ITEMS), directions=ITEMS),
    }
    refits = Refits(
        rs.SchoolLevelModel("result ~ 1", time="year", n="n_pupils", sd="estimate"),
        schools,
        adjustment=dict(zip(["poverty", "poverty, language", "all"], sets, strict=True)),
        years={"1999": [1999], "2000": [2000], "both": [1999, 2000]},
    )
    return multiverse(refits, index, rules(), schools=schools, n_jobs=processes)


def of_region(region: rs.Dataset, processes: int) -> MultiverseResults:
    """Return 432 lists of 177 schools: 12 models on one pass × 2 indices × 18 rules."""
    pupils = pupil_composite(region.pupils, columns=["score", "prior_score"], keep=["ses"])
    for name, subject in {"russian": "РУ", "mathematics": "МА"}.items():
        rows = region.pupils[region.pupils["subject"] == subject]
        own = pupil_composite(rows, columns=["score"], keep=[]).rename(columns={"score": name})
        pupils = pupils.merge(own, on=["pupil_key", "school_id", "year"], how="left")
    years = sorted(int(y) for y in pupils["year"].unique())
    refits = Refits(
        rs.ValueAddedModel("score ~ 1", group="school_id", time="year"),
        pupils,
        outcome={"both": "score", "Russian": "russian", "mathematics": "mathematics"},
        adjustment={"prior": "prior_score", "prior, family": "prior_score + ses"},
        years={"last": years[-1:], "all": years},
    )
    index = {
        "supervised": rs.ContextIndex.supervised(
            INTAKE, outcome="mean_score", weights="previous_years"
        ),
        "equal": rs.ContextIndex.equal(INTAKE),
    }
    return multiverse(refits, index, rules(), schools=region.schools, n_jobs=processes)


def speed(processes: int) -> None:
    """Print specifications, fits and seconds."""
    head = f"{'data':<14} {'schools':>7} {'specifications':>14} {'fits':>4} {'passes':>6}"
    print(f"{head} {'multiverse, s':>13} {'CPU, s':>6} {'robustness, s':>13} {'failed':>6}")
    region = rs.load_dataset("north_region")
    cases = {
        "california_api": lambda: california(processes),
        "north_region": lambda: of_region(region, processes),
    }
    for name, run in cases.items():
        start, used = time.perf_counter(), time.process_time()
        found = run()
        used = time.process_time() - used
        middle = time.perf_counter()
        found.robustness()
        end = time.perf_counter()
        row = found.glance().iloc[0]
        print(
            f"{name:<14} {row['n_schools']:>7.0f} {row['n_specifications']:>14.0f} "
            f"{row['n_fits']:>4.0f} {row['n_passes']:>6.0f} {middle - start:>13.1f} "
            f"{used:>6.1f} {end - middle:>13.1f} {row['n_failed']:>6.0f}"
        )


def truth(regions: int, processes: int) -> None:
    """Print true resilient schools by robustness share over simulated regions."""
    pieces, single = [], []
    for seed in range(regions):
        region = rs.simulate_region(random_state=1000 + seed)
        found = of_region(region, processes)
        true = region.truth["schools"].set_index("school_id")["true_resilient"]
        schools = found.robustness(n_replicates=1).schools
        held = schools.assign(true=schools["school_id"].map(true), region=seed)
        held["band"] = pd.cut(held["robustness_share"], [-1, *BANDS.values()], labels=list(BANDS))
        pieces.append(held)
        table = found.specifications
        at = np.flatnonzero(
            (table["choice_outcome"] == "both")
            & (table["choice_adjustment"] == "prior, family")
            & (table["choice_years"] == "all")
            & (table["choice_index"] == "supervised")
            & (table["choice_adversity"] == "0.25")
            & (table["choice_evidence"] == "posterior")
            & (table["choice_quantile"] == "0.75")
        )[0]
        listed = found.lists.school_ids[found.lists.answers[at] == 1]
        single.append((len(listed), int(true.reindex(listed).sum())))
    whole = pd.concat(pieces)
    members = int(whole["true"].sum())
    rows = whole.groupby("band", observed=False)["true"].agg(["size", "sum", "mean"])
    print(f"{regions} regions, {len(whole):,} schools, {members} truly resilient")
    print(f"{'robustness share':<22} {'schools':>8} {'true':>5} {'share true':>10} {'± SE':>6}")
    for band, row in rows.iterrows():
        # regions are the independent units
        own = whole[whole["band"] == band].groupby("region")["true"].agg(["size", "sum"])
        gap = own["sum"] - row["mean"] * own["size"]
        error = np.sqrt((gap**2).sum()) / max(row["size"], 1)
        line = f"{band!s:<22} {row['size']:>8.0f} {row['sum']:>5.0f} {row['mean']:>10.3f}"
        print(f"{line} {error:>6.3f}")
    n, hits = np.sum(single, axis=0)
    print(f"{'recommended rule alone':<22} {n:>8} {hits:>5} {hits / n:>10.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", choices=["speed", "truth"], default="speed")
    parser.add_argument("--regions", type=int, default=40)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore", rs.WeakDataWarning)
    if options.study == "speed":
        speed(options.processes)
    else:
        truth(options.regions, options.processes)
