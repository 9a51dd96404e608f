"""Counts of marks against the scores behind them: coverage, reliability, shared pupils, speed.

    python tests/benchmarks/marks.py                       # coverage, 200 regions
    python tests/benchmarks/marks.py --study reliability
    python tests/benchmarks/marks.py --study sharing
    python tests/benchmarks/marks.py --study spread
    python tests/benchmarks/marks.py --study speed
    python tests/benchmarks/marks.py --regions 20          # a quick look

A region is made from its pupils: 177 schools whose cohorts are log-normal in size (median 20,
3 to 120 pupils), three years, four procedures.  A school's lasting effect has SD .30, its year .12,
its procedure .15, in SD of pupils within schools; a covariate of schools moves results by .25 per
SD.  Within a school and year the results of one pupil in two procedures correlate by .5.  Marks are
cut from the latent results by thresholds of the procedure and year.  Effects are judged against the
true lasting effect in SD within schools, each model's effects turned into that unit by its own
estimate.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import resilience as rs

Z90 = 1.6448536269514722
BANDS = {"3-10": (0, 10.5), "11-30": (10.5, 30.5), "over 30": (30.5, np.inf), "all": (0, np.inf)}
CUTS = np.array([-1.2, 0.1, 1.1])
MARKS = ["n_2", "n_3", "n_4", "n_5"]
SCHOOL_SD, YEAR_SD, PROCEDURE_SD, SLOPE = 0.30, 0.12, 0.15, 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """A region with known effects.

    Attributes
    ----------
    cells : DataFrame
        ``school_id year procedure n_participants n_2 n_3 n_4 n_5 mean_score x``.
    pupils : DataFrame
        ``school_id year score x`` of the first procedure.
    effect : ndarray of shape (n_schools,)
        Lasting effects in the order of ``school_id``.
    size : ndarray of shape (n_schools,)
        Mean pupils of a cohort.
    spread : ndarray of shape (n_schools,)
        SD of pupils within each school.
    """

    cells: pd.DataFrame
    pupils: pd.DataFrame
    effect: np.ndarray
    size: np.ndarray
    spread: np.ndarray


def simulate(
    seed: int,
    *,
    n_schools: int = 177,
    n_years: int = 3,
    n_procedures: int = 4,
    correlation: float = 0.5,
    chosen: float = 1.0,
    spread_sd: float = 0.0,
    median_size: float = 20.0,
) -> Region:
    """Return a region; of the procedures after the second, each pupil takes a share ``chosen``."""
    rng = np.random.default_rng(seed)
    J, T, P = n_schools, n_years, n_procedures
    base = np.exp(rng.normal(np.log(median_size), 0.9, size=J)).clip(3, 120)
    n = np.round(base[:, None] * np.exp(0.1 * rng.normal(size=(J, T)))).clip(3, 120).astype(int)
    x = rng.normal(size=J)
    u = SCHOOL_SD * rng.normal(size=J)
    v = YEAR_SD * rng.normal(size=(J, T))
    w = PROCEDURE_SD * rng.normal(size=(J, P))
    spread = np.exp(spread_sd * rng.normal(size=J))
    shift = 0.2 * rng.normal(size=(T, P, 1))
    cohort = np.repeat(np.arange(J * T), n.ravel())  # of each pupil
    school, year = cohort // T, cohort % T
    common = rng.normal(size=len(cohort))
    frames, pupils = [], pd.DataFrame()
    for p in range(P):
        noise = np.sqrt(correlation) * common
        noise += np.sqrt(1.0 - correlation) * rng.normal(size=len(cohort))
        location = SLOPE * x[school] + u[school] + v[school, year] + w[school, p]
        score = location + spread[school] * noise
        there = np.ones(len(cohort), bool) if p < 2 else rng.random(len(cohort)) < chosen
        mark = (score[:, None] > (CUTS + shift[:, p])[year]).sum(axis=1)
        counts = np.bincount((cohort * 4 + mark)[there], minlength=J * T * 4).reshape(-1, 4)
        taken = counts.sum(axis=1)
        total = np.bincount(cohort[there], weights=score[there], minlength=J * T)
        unit = np.arange(J * T)
        frame = pd.DataFrame({"school_id": unit // T, "year": 2022 + unit % T, "procedure": p})
        frame[["n_participants", *MARKS]] = np.column_stack([taken, counts])
        frame["mean_score"], frame["x"] = total / np.maximum(taken, 1), x[unit // T]
        frames.append(frame[taken > 0])
        if p == 0:
            pupils = pd.DataFrame(
                {"school_id": school, "year": year, "score": score, "x": x[school]}
            )
    cells = pd.concat(frames, ignore_index=True)
    effect = u if P > 1 else u + w[:, 0]  # what lasts in a single procedure is one effect
    return Region(cells=cells, pupils=pupils, effect=effect, size=n.mean(axis=1), spread=spread)


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """Effects of one model in SD of pupils within schools."""

    effect: np.ndarray
    std_error: np.ndarray
    reliability: np.ndarray
    sd: dict[str, float]


def from_marks(result: rs.OrdinalSchoolResults) -> View:
    """Return the effects of a fit to marks, in SD within a school of typical spread."""
    components = result.variance_components
    varying = components.loc[components["term"] == "log_spread", "variance"].sum()
    # the mean variance within schools is that of a typical school times exp(2 var(log-spread))
    unit = np.exp(varying) / np.sqrt(result.variances["residual"])
    table = result.school_effects
    parts = components[components["term"] != "log_spread"].set_index("group")["std_dev"]
    names = {
        "school": "school_id",
        "year": "school_id:year",
        "procedure": "school_id:procedure",
    }
    return View(
        effect=table["effect"].to_numpy() * unit,
        std_error=table["std_error"].to_numpy() * unit,
        reliability=table["reliability"].to_numpy(),
        sd={k: float(parts[name]) * unit for k, name in names.items() if name in parts},
    )


def fit_counts(
    region: Region,
    *,
    correlation: float | None = 0.5,
    parts: rs.MarkParts | None = None,
) -> View:
    """Fit all four marks; ``correlation=None`` takes every cell to hold other pupils."""
    cohort = None if correlation is None else rs.Cohort(column="year", correlation=correlation)
    return from_marks(rs.OrdinalSchoolModel("~ x", cohort=cohort, parts=parts).fit(region.cells))


def fit_share(region: Region) -> View:
    """Fit the share of the lowest mark."""
    model = rs.OrdinalSchoolModel(
        "~ x", marks="n_2", participants="n_participants", cohort=rs.Cohort(column="year")
    )
    return from_marks(model.fit(region.cells))


def fit_scores(region: Region, *, correlation: float = 0.5) -> View:
    """Fit the means of the same pupils' scores, the SD within schools known."""
    model = rs.SchoolLevelModel(
        "mean_score ~ x",
        time="year",
        n="n_participants",
        sd=1.0,
        procedure=rs.Procedures("procedure", correlation=correlation, cell=False),
    )
    return from_scores(model.fit(region.cells))


def fit_pupils(region: Region) -> View:
    """Fit the scores of pupils in the first procedure."""
    model = rs.ValueAddedModel("score ~ x", group="school_id", time="year")
    return from_scores(model.fit(region.pupils))


def from_scores(result: rs.EffectsResults) -> View:
    """Return the effects of a fit to scores."""
    table = result.school_effects
    sd = {
        "school": float(np.sqrt(result.variances["persistent"])),
        "year": float(np.sqrt(result.variances["transient"])),
    }
    return View(
        effect=table["effect"].to_numpy(),
        std_error=table["std_error"].to_numpy(),
        reliability=table["reliability"].to_numpy(),
        sd=sd,
    )


Models = dict[str, Callable[[Region], View]]


def run(regions: Iterable[Region], models: Models) -> pd.DataFrame:
    """Return one row per region, model and band: sums over its schools."""
    rows = []
    for number, region in enumerate(regions):
        views = {name: fit(region) for name, fit in models.items()}
        reference = next(iter(views.values()))
        for name, view in views.items():
            inside = np.abs(view.effect - region.effect) <= Z90 * view.std_error
            for band, (low, high) in BANDS.items():
                at = (region.size > low) & (region.size <= high)
                own, true = view.effect[at], region.effect[at]
                rows.append(
                    {
                        "region": number,
                        "model": name,
                        "band": band,
                        "n": at.sum(),
                        "inside": inside[at].sum(),
                        "width": view.std_error[at].sum(),
                        "reference": reference.std_error[at].sum(),
                        "reliability": view.reliability[at].sum(),
                        "of_reference": reference.reliability[at].sum(),
                        "ee": (own**2).sum(),
                        "et": (own * true).sum(),
                        "tt": (true**2).sum(),
                        **{f"sd_{part}": value for part, value in view.sd.items()},
                    }
                )
    return pd.DataFrame(rows)


def clustered(found: pd.DataFrame, top: str, bottom: str) -> tuple[float, float]:
    """Return the ratio of two sums and its standard error over regions."""
    a, b = found[top].to_numpy(float), found[bottom].to_numpy(float)
    ratio = a.sum() / b.sum()
    error = np.sqrt(((a - ratio * b) ** 2).sum()) / b.sum()
    return float(ratio), float(error)


def report(found: pd.DataFrame, *, school: float = SCHOOL_SD) -> None:
    """Print coverage and width, reliability, then the standard deviations."""
    print(
        f"{'model':22s} {'pupils':8s} {'schools':>8s} {'coverage':>9s} {'± SE':>6s} {'width ×':>8s}"
        f" {'reliability':>11s} {'rel. ×':>7s} {'realised r²':>11s}"
    )
    for (model, band), rows in found.groupby(["model", "band"], sort=False):
        coverage, error = clustered(rows, "inside", "n")
        squared = rows["et"].sum() ** 2 / (rows["ee"].sum() * rows["tt"].sum())
        print(
            f"{model:22s} {band:8s} {rows['n'].sum():8,d} {coverage:9.4f} {error:6.4f}"
            f" {clustered(rows, 'width', 'reference')[0]:8.3f}"
            f" {clustered(rows, 'reliability', 'n')[0]:11.3f}"
            f" {clustered(rows, 'reliability', 'of_reference')[0]:7.3f} {squared:11.3f}"
        )
    print("\nSD found, mean over regions ± Monte-Carlo error")
    true = {"school": school, "year": YEAR_SD, "procedure": PROCEDURE_SD}
    for model, rows in found[found["band"] == "all"].groupby("model", sort=False):
        words = []
        for part, value in true.items():
            column = rows.get(f"sd_{part}")
            if column is None or column.isna().all():
                continue
            error = column.std() / np.sqrt(len(column))
            words.append(f"{part} {column.mean():.4f} ± {error:.4f} ({value:.3f})")
        print(f"{model:22s} " + "  ".join(words))


def regions_of(count: int, **changes: float) -> Iterable[Region]:
    """Yield regions with seeds of their own."""
    for k in range(count):
        yield simulate(10_000 + k, **changes)


def coverage(count: int) -> None:
    """Coverage and width: the scores, all marks, the share of the lowest."""
    models: Models = {"scores": fit_scores, "counts": fit_counts, "share of 2": fit_share}
    report(run(regions_of(count), models))


def reliability(count: int) -> None:
    """One procedure in three years: pupils' scores, all marks, the share of the lowest."""
    models: Models = {"pupils": fit_pupils, "counts": fit_counts, "share of 2": fit_share}
    report(run(regions_of(count, n_procedures=1), models), school=np.hypot(SCHOOL_SD, PROCEDURE_SD))


def sharing(count: int) -> None:
    """What is stated about shared pupils: the truth, nothing, too little, too much."""
    for title, chosen in (("all take all", 1.0), ("40 % take each of two", 0.4)):
        print(f"\n{title}")
        models: Models = {
            "r = .5 (true)": fit_counts,
            "ignored": lambda region: fit_counts(region, correlation=None),
            "r = .3": lambda region: fit_counts(region, correlation=0.3),
            "r = .7": lambda region: fit_counts(region, correlation=0.7),
        }
        report(run(regions_of(count, chosen=chosen), models))


def spread(count: int) -> None:
    """Schools differ in the spread of their pupils (log-SD .15): with and without that part."""
    models: Models = {
        "one spread": fit_counts,
        "spread of each school": lambda region: fit_counts(region, parts=rs.MarkParts(spread=True)),
    }
    report(run(regions_of(count, spread_sd=0.15), models))


def speed(count: int) -> None:
    """Seconds of CPU from frame to results, and the peak of memory."""
    sizes = [(200, 3, 10), (200, 30, 1), (200, 6, 5), (40_000, 2, 5)]
    for schools, years, procedures in sizes:
        region = simulate(1, n_schools=schools, n_years=years, n_procedures=procedures)
        for name, cohort in (("alone", None), ("cohorts", rs.Cohort(column="year"))):
            begun, wall = time.process_time(), time.perf_counter()
            result = rs.OrdinalSchoolModel("~ x", cohort=cohort).fit(region.cells)
            seconds, passed = time.process_time() - begun, time.perf_counter() - wall
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(
                f"{schools:7,d} schools {years:3d} years {procedures:3d} procedures"
                f" {len(region.cells):8,d} cells {name:8s} {seconds:7.2f} s CPU {passed:7.2f} s"
                f" {result.convergence.n_evaluations:4d} evaluations"
                f" converged {result.convergence.converged}  peak {peak:.2f} GB",
                flush=True,
            )


STUDIES: dict[str, Callable[[int], None]] = {
    "coverage": coverage,
    "reliability": reliability,
    "sharing": sharing,
    "spread": spread,
    "speed": speed,
}


def main() -> None:
    """Run one study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", choices=list(STUDIES), default="coverage")
    parser.add_argument("--regions", type=int, default=200)
    options = parser.parse_args()
    begun = time.perf_counter()
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)  # a variance of zero counts too
        STUDIES[options.study](options.regions)
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
