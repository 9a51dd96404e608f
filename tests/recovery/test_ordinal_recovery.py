"""Regions made from pupils: what the model of marks finds again.

Sixteen regions of 120 schools, cohorts of 3 to 80 pupils, three years, two procedures; the large
study (200 regions, four procedures, shares, wrong statements about shared pupils) is
tests/benchmarks/marks.py.  Monte-Carlo errors are clustered by region; every bound is three of
them, which all tests together break by chance once in a hundred choices of the seeds.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.value_added.marks.ordinal import Cohort, MarkParts, OrdinalSchoolModel
from resilience.value_added.means.school_level import Procedures, SchoolLevelModel

N_REGIONS, N_SCHOOLS, N_YEARS, N_PROCEDURES = 16, 120, 3, 2
SD = {"school": 0.30, "year": 0.15, "procedure": 0.20}
CUTS = np.array([-1.2, 0.1, 1.1])
MARKS = ["n_2", "n_3", "n_4", "n_5"]
Z90 = 1.6448536269514722
# a part of single cells, absent from these regions, is left out for speed
PARTS = MarkParts(cell=False)


def region(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return cells and the schools' lasting effects in SD of pupils within schools."""
    rng = np.random.default_rng(seed)
    J, T, P = N_SCHOOLS, N_YEARS, N_PROCEDURES
    n = np.exp(rng.uniform(np.log(3), np.log(80), size=J)).round().astype(int)
    u = SD["school"] * rng.normal(size=J)
    v = SD["year"] * rng.normal(size=(J, T))
    w = SD["procedure"] * rng.normal(size=(J, P))
    unit = np.repeat(np.arange(J * T), np.repeat(n, T))
    school, year = unit // T, unit % T
    common = rng.normal(size=len(unit))
    frames = []
    for p in range(P):
        noise = np.sqrt(0.5) * (common + rng.normal(size=len(unit)))
        score = u[school] + v[school, year] + w[school, p] + noise
        mark = (score[:, None] > CUTS + 0.1 * p).sum(axis=1)
        counts = np.bincount(unit * 4 + mark, minlength=J * T * 4).reshape(-1, 4)
        at = np.arange(J * T)
        frame = pd.DataFrame({"school_id": at // T, "year": 2022 + at % T, "procedure": p})
        frame[["n_participants", *MARKS]] = np.column_stack([counts.sum(axis=1), counts])
        frame["mean_score"] = np.bincount(unit, weights=score) / counts.sum(axis=1)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True), u


def in_school_units(result) -> pd.DataFrame:
    unit = 1.0 / np.sqrt(result.variances["residual"])
    table = result.school_effects[["effect", "std_error", "reliability", "n_pupils"]].copy()
    table[["effect", "std_error"]] *= unit
    names = ("school_id", "school_id:year", "school_id:procedure")
    found = result.variance_components.set_index("group")["std_dev"] * unit
    sd = {part: found[name] for part, name in zip(SD, names, strict=True)}
    return table.assign(**{f"sd_{part}": value for part, value in sd.items()})


@pytest.fixture(scope="module")
def study():
    """Return one row per region, school and model."""
    rows = []
    for seed in range(N_REGIONS):
        frame, truth = region(seed)
        sharing = OrdinalSchoolModel(cohort=Cohort(column="year"), parts=PARTS).fit(frame)
        alone = OrdinalSchoolModel(parts=PARTS).fit(frame)
        scores = SchoolLevelModel(
            "mean_score ~ 1",
            time="year",
            n="n_participants",
            sd=1.0,
            procedure=Procedures("procedure", correlation=0.5, cell=False),
        ).fit(frame)
        size = frame.groupby("school_id")["n_participants"].mean().to_numpy()
        reliability = scores.school_effects["reliability"].to_numpy()
        for name, result in (("sharing", sharing), ("alone", alone)):
            table = in_school_units(result).assign(model=name, region=seed, truth=truth, size=size)
            rows.append(table.assign(of_scores=reliability))
    return pd.concat(rows, ignore_index=True)


def by_region(values: pd.Series, study: pd.DataFrame) -> tuple[float, float]:
    """Return a mean and its standard error over regions."""
    own = values.groupby(study["region"]).mean()
    return float(own.mean()), float(own.std() / np.sqrt(len(own)))


@pytest.mark.parametrize("part", list(SD))
def test_standard_deviations(study, part):
    own = study[study["model"] == "sharing"]
    mean, error = by_region(own[f"sd_{part}"], own)
    assert abs(mean - SD[part]) < 3.0 * error
    assert error < 0.1 * SD[part]  # the test can see a bias of a third of the SD


@pytest.mark.parametrize(("low", "high"), [(0, 10.5), (10.5, 30.5), (30.5, 100)])
def test_coverage_of_intervals(study, low, high):
    own = study[(study["model"] == "sharing") & study["size"].between(low, high)]
    inside = (own["effect"] - own["truth"]).abs() <= Z90 * own["std_error"]
    mean, error = by_region(inside, own)
    assert abs(mean - 0.9) < 3.0 * error
    assert error < 0.02


def test_reliability_is_that_of_the_scores_within_a_tenth(study):
    own = study[study["model"] == "sharing"]
    mean, _ = by_region(own["reliability"] / own["of_scores"], own)
    assert 0.9 < mean < 1.02
    # and it is the share of the variance of true effects that the estimates explain
    explained = own.groupby("region").apply(
        lambda d: np.corrcoef(d["effect"], d["truth"])[0, 1] ** 2, include_groups=False
    )
    assert abs(explained.mean() - own["reliability"].mean()) < 3.0 * explained.std() / 4.0


def test_ignoring_shared_pupils_takes_them_for_effects_of_years(study):
    own = study[study["model"] == "alone"]
    mean, error = by_region(own["sd_year"], own)
    assert mean - SD["year"] > 3.0 * error
