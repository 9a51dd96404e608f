"""Known truth found again from means: procedures, municipalities, cohorts with prior means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs

Z90 = 1.6448536269514722
# a variance of the truth may come out as zero in a region or two
pytestmark = pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")

TRUTH = {
    "municipality_id": 0.05,
    "school_id": 0.09,
    "school_id:year": 0.03,
    "school_id:procedure": 0.04,
    "school_id:year:procedure": 0.02,
}


def region(seed, *, n_schools=120, correlation=0.5):
    """Three procedures in three years, half of the noise shared within school and year."""
    rng = np.random.default_rng(seed)
    rows = [(s, t, p) for s in range(n_schools) for t in range(3) for p in range(3)]
    school, year, procedure = (np.array(column) for column in zip(*rows, strict=True))
    n = rng.integers(4, 60, size=(n_schools, 3))[school, year]

    def part(level, *size):
        return np.sqrt(TRUTH[level]) * rng.normal(size=size)

    effect = part("school_id", n_schools)
    own = part("school_id:procedure", n_schools, 3)
    shared = rng.normal(size=(n_schools, 3))[school, year]
    noise = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.normal(size=len(n))
    frame = pd.DataFrame(
        {
            "municipality_id": [f"M{k % 30:02d}" for k in school],
            "school_id": [f"S{k:03d}" for k in school],
            "year": year + 2022,
            "procedure": np.array(["math", "russian", "science"])[procedure],
            "n_pupils": n,
            "mean_score": part("municipality_id", 30)[school % 30]
            + effect[school]
            + own[school, procedure]
            + part("school_id:year", n_schools, 3)[school, year]
            + part("school_id:year:procedure", len(n))
            + noise / np.sqrt(n),
        }
    )
    # not every school has every procedure
    return frame[rng.random(len(frame)) < 0.8], effect, effect[:, None] + own


def fit(frame, procedure="procedure", group=("municipality_id", "school_id")):
    return rs.SchoolLevelModel(
        "mean_score ~ 1", group=group, time="year", procedure=procedure, n="n_pupils", sd=1.0
    ).fit(frame)


def close(values, truth, errors=3.0):
    """Within so many Monte-Carlo errors of the truth."""
    values = np.asarray(values, dtype=float)
    return abs(values.mean() - truth) < errors * values.std(ddof=1) / np.sqrt(len(values))


def test_the_parts_of_several_procedures_in_municipalities():
    found, inside, in_procedure = [], [], []
    for seed in range(16):
        frame, effect, lasting = region(seed)
        result = fit(frame)
        found.append(result.variance_components.set_index("group")["variance"])
        table = result.school_effects
        inside.append(((table["effect"] - effect).abs() <= Z90 * table["std_error"]).mean())
        own = result.procedure_effects
        school = own["school_id"].str[1:].astype(int)
        code = own["procedure"].map({"math": 0, "russian": 1, "science": 2})
        truth = lasting[school, code]
        in_procedure.append(((own["effect"] - truth).abs() <= Z90 * own["std_error"]).mean())
    for level, truth in TRUTH.items():
        assert close([row[level] for row in found], truth), level
    for share in (inside, in_procedure):
        # the variances behind the intervals are estimated: coverage may lack a hundredth
        error = np.std(share, ddof=1) / np.sqrt(len(share))
        assert abs(np.mean(share) - 0.9) < 3 * error + 0.01


def test_ignoring_the_shared_pupils_of_procedures_finds_years_that_are_not_there():
    raised = []
    for seed in range(5):
        frame, _, _ = region(100 + seed)
        years = [
            fit(frame, rs.Procedures("procedure", correlation=r)).variances["transient"]
            for r in (0.5, 0.0)
        ]
        raised.append(years[1] - years[0])
    # what is shared is r/n, about .5/32 and more in small schools, on a truth of .03
    assert min(raised) > 0.01


def test_an_unstructured_covariance_of_procedures():
    truth = np.array([[0.09, 0.06, 0.03], [0.06, 0.12, 0.02], [0.03, 0.02, 0.08]])
    root = np.linalg.cholesky(truth)
    names = ["math", "russian", "science"]
    found, inside = [], []
    for seed in range(24):
        rng = np.random.default_rng(200 + seed)
        effects = rng.normal(size=(120, 3)) @ root.T
        rows = [(s, p) for s in range(120) for p in range(3)]
        school, procedure = (np.array(column) for column in zip(*rows, strict=True))
        n = rng.integers(5, 60, size=len(school))
        frame = pd.DataFrame(
            {
                "school_id": [f"S{k:03d}" for k in school],
                "procedure": np.array(names)[procedure],
                "n_pupils": n,
                "mean_score": effects[school, procedure] + rng.normal(size=len(n)) / np.sqrt(n),
            }
        )
        kept = frame[(rng.random(len(frame)) < 0.85) | (procedure == 0)]
        settings = rs.Procedures("procedure", covariance="unstructured", correlation=0.0)
        model = rs.SchoolLevelModel("mean_score ~ 1", procedure=settings, n="n_pupils", sd=1.0)
        result = model.fit(kept)
        rows = result.variance_components[:3]
        found.append([*rows["variance"], *rows["correlation"][1:]])
        table = result.school_effects
        missed = (table["effect"] - effects.mean(axis=1)).abs()
        inside.append((missed <= Z90 * table["std_error"]).mean())
    shares = [0.06 / np.sqrt(0.09 * 0.12), 0.03 / np.sqrt(0.09 * 0.08)]
    for column, value in zip(np.array(found).T, [0.09, 0.12, 0.08, *shares], strict=True):
        assert close(column, value), value
    error = np.std(inside, ddof=1) / np.sqrt(len(inside))
    assert abs(np.mean(inside) - 0.9) < 3 * error + 0.01


# -- cohort priors -----------------------------------------------------------------------------


def cohorts(seed, *, tau2, rho=0.8, slope=0.8, years=1, omega2=0.0, n_schools=200):
    """Prior and outcome means of the same pupils; most schools are small."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), years)
    n = np.round(np.exp(rng.uniform(np.log(2.5), np.log(80.5), size=len(school)))).clip(3, 80)
    latent = np.sqrt(0.1) * rng.normal(size=n_schools)[school]
    if years > 1:
        latent = latent + 0.2 * rng.normal(size=len(school))
    effect = np.sqrt(tau2) * rng.normal(size=n_schools)
    year = np.sqrt(omega2) * rng.normal(size=len(school))
    first, second = rng.normal(size=(2, len(school)))
    noise = rho * first + np.sqrt(1 - rho**2) * second
    frame = pd.DataFrame(
        {
            "school_id": [f"S{k:03d}" for k in school],
            "year": np.tile(np.arange(years) + 2022, n_schools),
            "n_pupils": n,
            "variance": 1.0 / n,
            "prior_mean": latent + first / np.sqrt(n),
            "mean_score": slope * latent + effect[school] + year + noise / np.sqrt(n),
        }
    )
    return frame, effect


def joint(rho=0.8, **more):
    return rs.SchoolLevelModel(
        "mean_score ~ 1",
        n="n_pupils",
        sd=1.0,
        cohort_prior="prior_mean",
        within_correlation=rho,
        **more,
    )


@pytest.mark.parametrize(("tau2", "naive_at"), [(0.09, 0.0606), (0.04, 0.0188)])
def test_cohort_priors_do_not_bias_the_variance_but_ignoring_them_does(tau2, naive_at):
    """The larger study, with the same regions, is tests/benchmarks/cohort_priors.py."""
    naive = rs.SchoolLevelModel("mean_score ~ prior_mean", variance="variance")
    found = {"joint": [], "naive": []}
    inside = {"joint": [], "naive": []}
    for seed in range(30):
        frame, effect = cohorts(seed, tau2=tau2)
        for name, model in (("joint", joint()), ("naive", naive)):
            result = model.fit(frame)
            found[name].append(result.variances["persistent"])
            table = result.school_effects
            covered = (table["effect"] - effect).abs() <= Z90 * table["std_error"]
            inside[name].append(covered.mean())
    assert close(found["joint"], tau2, errors=2.0)
    assert close(found["naive"], naive_at, errors=3.0)  # from 200 regions of that study
    assert not close(found["naive"], tau2, errors=5.0)
    error = np.std(inside["joint"], ddof=1) / np.sqrt(30)
    assert abs(np.mean(inside["joint"]) - 0.9) < 3 * error + 0.005
    if tau2 == 0.04:
        assert np.mean(inside["naive"]) < 0.85


def test_another_slope_between_schools_than_within():
    """Composition: the slope between schools is 1.1, that of pupils .7."""
    rows = []
    for seed in range(30):
        frame, _ = cohorts(300 + seed, tau2=0.05, rho=0.7, slope=1.1)
        result = joint(rho=0.7).fit(frame)
        coefficients = result.fixed_effects.set_index("term").loc["prior_mean"]
        rows.append(
            (
                result.variances["persistent"],
                coefficients["estimate"],
                coefficients["conf_low"] <= 1.1 <= coefficients["conf_high"],
                coefficients["std_error"],
            )
        )
    variance, slope, covered, stated = np.array(rows, dtype=float).T
    assert close(variance, 0.05)
    assert close(slope, 1.1)
    # 30 intervals of 95 %: fewer than 25 have a probability below 2 %
    assert covered.sum() >= 25
    # an SD from 30 regions has a standard error of 13 %; three of them
    assert np.median(stated) == pytest.approx(slope.std(ddof=1), rel=0.39)


def test_several_cohorts_of_a_school():
    rows, inside = [], []
    for seed in range(20):
        frame, effect = cohorts(400 + seed, tau2=0.06, years=3, omega2=0.03, n_schools=120)
        result = joint(time="year").fit(frame)
        rows.append([result.variances["persistent"], result.variances["transient"]])
        table = result.school_effects
        inside.append(((table["effect"] - effect).abs() <= Z90 * table["std_error"]).mean())
    for column, truth in zip(np.array(rows).T, (0.06, 0.03), strict=True):
        assert close(column, truth)
    error = np.std(inside, ddof=1) / np.sqrt(20)
    assert abs(np.mean(inside) - 0.9) < 3 * error + 0.01


# -- the pupil SD from differences between years -----------------------------------------------


def sized(seed, *, n_schools=150, years=3):
    """Means whose sizes change from year to year by a factor of up to six; pupil SD 30."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), years)
    n = rng.integers(5, 30, size=n_schools)[school] * rng.integers(1, 7, size=len(school))
    index = rng.normal(size=n_schools)[school]
    mean = 500 + 10 * index + 6.0 * rng.normal(size=n_schools)[school]
    mean = mean + 3.0 * rng.normal(size=len(school)) + 30 * rng.normal(size=len(school)) / n**0.5
    return pd.DataFrame(
        {
            "school_id": [f"S{k:03d}" for k in school],
            "year": np.tile(np.arange(years) + 2021, n_schools),
            "mean_score": mean,
            "index": index,
            "n_pupils": n,
        }
    )


def test_the_pupil_sd_is_found_from_year_differences():
    model = rs.SchoolLevelModel("mean_score ~ index", time="year", n="n_pupils", sd="estimate")
    found = [model.fit(sized(100 + k)) for k in range(30)]
    for name, truth in (("residual", 900.0), ("persistent", 36.0), ("transient", 9.0)):
        assert close([r.variances[name] for r in found], truth), name
    assert all(r.pupil_sd == pytest.approx(np.sqrt(r.variances["residual"])) for r in found)
