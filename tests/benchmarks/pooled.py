"""Stated probabilities of long-run failing shares against the truth, over simulated regions.

    python tests/benchmarks/pooled.py                 # 200 regions, four marks
    python tests/benchmarks/pooled.py --share         # the share below the minimum alone
    python tests/benchmarks/pooled.py --regions 20    # a quick look

Regions are drawn from the model itself, pupil by pupil (not by `simulate_region`, whose schools
follow another law): 177 schools, three years, ten procedures of five grades.  A third of the
schools each has 3 to 10, 11 to 30 and 31 to 90 pupils in a grade.  The standard deviations differ
between regions: schools .25 to .45, procedures of a school .10 to .30, its years .05 to .20, cells
.05 to .15, in SD of pupils within schools.  All results of a pupil, in
both subjects and as the cohort moves up the grades, correlate by .5 within the school; thresholds
differ between procedures and years.  A school is truly low where its
long-run share is at least .30 in two procedures.

Printed per size band: in ten bins of the stated probability its mean and the observed share of
truly low schools, and their distance in standard errors over regions; then what the list by 1/3
gets wrong, beside the federal rule.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from resilience.detection import Criteria, Criterion, detect_schools
from resilience.errors import WeakDataWarning

BANDS = {"3-10": (3, 10), "11-30": (11, 30), "over 30": (31, 1000)}
N_SCHOOLS, N_YEARS, GRADES = 177, 3, (4, 5, 6, 7, 8)
PROCEDURES = [f"ВПР-{grade}-{subject}" for grade in GRADES for subject in ("МА", "РУ")]
MARKS = ["n_2", "n_3", "n_4", "n_5"]
WITHIN = 0.5
POOLED = Criteria(
    id="pooled",
    version="1",
    title_en="Pooled",
    title_ru="Объединённое",
    target="low",
    criteria=(
        Criterion(
            name="share",
            column="share_below_minimum",
            evidence="posterior",
            at_least=0.30,
            procedures_at_least=2,
            loss_false_negative=2.0,
        ),
    ),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """Counts of a region and which schools are truly low.

    Attributes
    ----------
    counts : DataFrame
        ``school_id year procedure n_participants n_2 n_3 n_4 n_5 n_below_minimum``.
    low : ndarray of bool, shape (S,)
        Long-run share of at least .30 in two procedures.
    size : ndarray of int, shape (S,)
        Pupils of a grade.
    """

    counts: pd.DataFrame
    low: np.ndarray
    size: np.ndarray


def draw_region(seed: int, *, n_schools: int = N_SCHOOLS) -> Region:
    """Draw a region from the model."""
    rng = np.random.default_rng(seed)
    school_sd, procedure_sd = rng.uniform(0.25, 0.45), rng.uniform(0.10, 0.30)
    year_sd, cell_sd = rng.uniform(0.05, 0.20), rng.uniform(0.05, 0.15)
    low, high = np.array([3, 11, 31]), np.array([11, 31, 91])
    band = rng.integers(0, 3, n_schools)
    size = rng.integers(low[band], high[band])
    P = len(PROCEDURES)
    u = school_sd * rng.standard_normal(n_schools)
    w = procedure_sd * rng.standard_normal((n_schools, P))
    v = year_sd * rng.standard_normal((n_schools, N_YEARS))
    e = cell_sd * rng.standard_normal((n_schools, N_YEARS, P))
    first = -1.10 + 0.25 * rng.standard_normal(P) + 0.1 * rng.standard_normal((N_YEARS, P))
    cuts = first[..., None] + np.array([0.0, 1.1, 2.1])
    lasting = (first - u[:, None, None] - w[:, None, :]) / np.sqrt(1 + year_sd**2 + cell_sd**2)
    truth = special.ndtr(lasting).mean(axis=1)
    rows = []
    pupils: dict[tuple[int, int], np.ndarray] = {}
    for j, t, g in np.ndindex(n_schools, N_YEARS, len(GRADES)):
        # who is in grade 4 this year is in grade 5 the next
        drawn = np.sqrt(WITHIN) * rng.standard_normal(size[j])
        common = pupils.setdefault((j, t - g), drawn)
        for k in (2 * g, 2 * g + 1):
            own = np.sqrt(1 - WITHIN) * rng.standard_normal(size[j])
            result = u[j] + w[j, k] + v[j, t] + e[j, t, k] + common + own
            marks = np.bincount(np.searchsorted(cuts[t, k], result), minlength=4)
            rows.append((f"S{j:03d}", 2023 + t, PROCEDURES[k], *marks))
    counts = pd.DataFrame(rows, columns=["school_id", "year", "procedure", *MARKS])
    counts = counts.assign(n_participants=counts[MARKS].sum(axis=1), n_below_minimum=counts["n_2"])
    return Region(counts=counts, low=(truth >= 0.30).sum(axis=1) >= 2, size=size)


def judge(region: Region, *, share: bool) -> pd.DataFrame:
    """Return ``probability official low size``, a row per school."""
    counts = region.counts.drop(columns=MARKS) if share else region.counts
    official = Criteria.preset("low_results_2025_or")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)
        found = detect_schools(None, None, [POOLED, official], counts=counts)
    table = found.schools.pivot_table(
        index="school_id", columns="rule_id", values="verdict", aggfunc="first"
    )
    own = found.schools[found.schools["rule_id"] == "pooled"]
    return pd.DataFrame(
        {
            "probability": own["probability"].to_numpy(dtype=float),
            "pooled": (table["pooled"] == "yes").to_numpy(),
            "official": (table["low_results_2025_or"] == "yes").to_numpy(),
            "low": region.low,
            "size": region.size,
        }
    )


def calibration(schools: pd.DataFrame) -> pd.DataFrame:
    """Return stated and observed by band and bin, with a standard error over regions."""
    rows = []
    for name, (least, most) in BANDS.items():
        own = schools[schools["size"].between(least, most)]
        bins = np.minimum((own["probability"] * 10).astype(int), 9)
        for b, part in own.groupby(bins):
            gaps = (part["low"] - part["probability"]).groupby(part["region"]).sum()
            error = np.sqrt((gaps**2).sum()) / len(part)
            stated, observed = part["probability"].mean(), part["low"].mean()
            z = (observed - stated) / error if error > 0 else np.nan
            rows.append((name, f"{b / 10:.1f}-{(b + 1) / 10:.1f}", len(part), stated, observed, z))
    return pd.DataFrame(rows, columns=["pupils", "bin", "schools", "stated", "observed", "z"])


def errors(schools: pd.DataFrame) -> pd.DataFrame:
    """Return what each rule lists and gets wrong, by band; losses 1 : 2 per school."""
    rows = []
    for name, (least, most) in {**BANDS, "all": (0, 1000)}.items():
        own = schools[schools["size"].between(least, most)]
        for rule in ("pooled", "official"):
            listed, low = own[rule], own["low"]
            wrong, missed = (listed & ~low).sum(), (~listed & low).sum()
            loss = (wrong + 2 * missed) / len(own)
            shares = (wrong / max(listed.sum(), 1), missed / max(low.sum(), 1))
            rows.append((name, rule, listed.mean(), low.mean(), *shares, loss))
    names = ["pupils", "rule", "listed", "truly low", "wrong names", "missed", "loss"]
    return pd.DataFrame(rows, columns=names)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=200)
    parser.add_argument("--share", action="store_true")
    asked = parser.parse_args()
    found = [
        judge(draw_region(seed), share=asked.share).assign(region=seed)
        for seed in range(asked.regions)
    ]
    schools = pd.concat(found, ignore_index=True)
    print(f"{asked.regions} regions, {'share alone' if asked.share else 'four marks'}")
    print(calibration(schools).to_string(index=False, float_format="%.3f"))
    print(errors(schools).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
