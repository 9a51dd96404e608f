"""Joint errors of result and value added against linear algebra on pupils."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import resilience as rs
from resilience.stats.prediction.ellipses import ellipses, quadrant_probabilities
from resilience.value_added.joint.regions import QUADRANTS, joint_regions

# few schools and years: what lasts is hardly told apart, which does not matter to the algebra
pytestmark = pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")

YEARS = [2020, 2021, 2022, 2023]


def pupils(seed: int = 4) -> pd.DataFrame:
    """Fourteen schools, two of which miss years."""
    rng = np.random.default_rng(seed)
    rows = []
    for school in range(14):
        lasting = rng.normal()
        for year in YEARS:
            if (school, year) in {(2, 2021), (5, 2020), (5, 2021), (5, 2022)}:
                continue
            n = int(rng.integers(1, 9))
            prior = 50 + 0.5 * school + 3 * rng.normal(size=n)
            effect = lasting + 0.6 * rng.normal()
            rows.append(
                pd.DataFrame(
                    {
                        "school_id": f"S{school:02d}",
                        "year": year,
                        "prior_score": prior,
                        "score": 0.3 * prior + effect + rng.normal(size=n),
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def dense(data, va, K, years, *, by_model):
    """Return centre and error covariance of every school from the covariance of all pupils."""
    X = np.column_stack([np.ones(len(data)), data["prior_score"]])
    y = data["score"].to_numpy()
    school = data["school_id"].to_numpy()
    at = data["year"].to_numpy() - YEARS[0]
    among = np.where(school[:, None] == school, K[np.ix_(at, at)], 0.0)
    V = among + va.variances["residual"] * np.eye(len(y))
    W = np.linalg.inv(V)
    C = np.linalg.inv(X.T @ W @ X)
    coefficients = C @ X.T @ W  # β̂ = coefficients · y
    rest = np.eye(len(y)) - X @ coefficients
    found = []
    for unit in va.school_effects["school_id"]:
        rows = (school == unit) & np.isin(data["year"], years)
        if not rows.any():
            found.append((np.full(2, np.nan), np.full((2, 2), np.nan)))
            continue
        p = rows / rows.sum()
        a = np.bincount(at, weights=p, minlength=len(YEARS))
        tie = np.where(school == unit, (K @ a)[at], 0.0)  # cov(y, A)
        prediction = tie @ W @ rest
        result = p @ X @ coefficients + prediction if by_model else p
        M = np.stack([result, prediction])
        # errors: M y less (mean + A, A); the mean of the first is p'Xβ in both
        Q = float(a @ K @ a)
        both = M @ tie
        found.append((M @ y, M @ V @ M.T - both[:, None] - both[None, :] + Q))
    return found


@pytest.mark.parametrize("drift", [None, "ar1", "unstructured"])
@pytest.mark.parametrize("result", ["observed", "model"])
def test_the_joint_error_is_that_of_dense_algebra(drift, result):
    data = pupils()
    structure = rs.Structure(drift=drift)
    model = rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", time="year", structure=structure
    )
    va = model.fit(data)
    if drift is None:
        K = va.variances["persistent"] + va.variances["transient"] * np.eye(4)
    else:
        from resilience.value_added.definitions.drift import drift_of

        K = drift_of(va).year_covariance()
    regions = joint_regions(va, window=3, result=result, intake="given")
    assert regions.windows == ("2020–2022", "2021–2023")
    for label, years in zip(regions.windows, (YEARS[:3], YEARS[1:]), strict=True):
        table = regions.of_window(label)
        for (_, row), (centre, covariance) in zip(
            table.iterrows(), dense(data, va, K, years, by_model=result == "model"), strict=True
        ):
            if row["n_years"] == 0:
                assert np.isnan(centre).all()
                assert np.isnan(row["result"])
                assert row["verdict"] == "insufficient_data"
                continue
            # priors near 50 with an SD of 3 cost some digits of the dense inverse
            assert [row["result"], row["value_added"]] == pytest.approx(centre, rel=1e-7, abs=1e-7)
            seen = [
                row["result_std_error"] ** 2,
                row["value_added_std_error"] ** 2,
                row["error_covariance"],
            ]
            expected = [covariance[0, 0], covariance[1, 1], covariance[0, 1]]
            assert seen == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_draw_of_the_intake_adds_the_pooled_variance_within_cells():
    data = pupils()
    va = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year").fit(data)
    within = data["prior_score"] - data.groupby(["school_id", "year"])["prior_score"].transform(
        "mean"
    )
    n_cells = len(data.drop_duplicates(["school_id", "year"]))
    slope = va.fixed_effects.set_index("term").loc["prior_score", "estimate"]
    variance = slope**2 * float((within**2).sum()) / (len(data) - n_cells)
    drawn, given = (joint_regions(va, intake=how).of_window() for how in ("drawn", "given"))
    more = drawn["result_std_error"] ** 2 - given["result_std_error"] ** 2
    # pupils weigh alike in the window: the mean of n of them has an n-th of the variance
    known = drawn["n_pupils"] > 0
    assert more[known].to_numpy() == pytest.approx(variance / drawn["n_pupils"][known].to_numpy())
    same = ["result", "value_added", "value_added_std_error", "error_covariance"]
    pd.testing.assert_frame_equal(drawn[same], given[same])
    assert joint_regions(va).intake == "drawn"


def test_models_of_means_agree_with_models_of_their_pupils():
    data = pupils()
    va = rs.ValueAddedModel("score ~ 1", group="school_id", time="year").fit(data)
    means = data.groupby(["school_id", "year"], as_index=False).agg(
        score=("score", "mean"), n=("score", "size")
    )
    spread = float(np.sqrt(va.variances["residual"]))
    level = rs.SchoolLevelModel("score ~ 1", group="school_id", time="year", n="n", sd=spread).fit(
        means
    )
    one, other = joint_regions(va, intake="given").table, joint_regions(level).table
    numbers = [
        "result",
        "value_added",
        "result_std_error",
        "value_added_std_error",
        "p_low_negative",
    ]
    # REML of the pupils and of the means given σ differ in the estimated variances alone
    ratio = va.variances["persistent"] / level.variances["persistent"]
    assert ratio == pytest.approx(1.0, abs=0.05)
    for name in numbers[:1]:
        assert other[name].to_numpy() == pytest.approx(one[name].to_numpy(), nan_ok=True)
    for name in numbers[1:]:
        assert other[name].to_numpy() == pytest.approx(
            one[name].to_numpy(), rel=0.05, abs=0.03, nan_ok=True
        )
    assert joint_regions(level).intake == "given"


def test_ellipses_are_those_of_the_eigenvectors():
    rng = np.random.default_rng(1)
    roots = rng.normal(size=(50, 2, 2))
    covariance = roots @ roots.transpose(0, 2, 1)
    shape = ellipses(covariance, level=0.9)
    values, vectors = np.linalg.eigh(covariance)
    c = stats.chi2(2).ppf(0.9)
    assert shape.semi_minor == pytest.approx(np.sqrt(c * values[:, 0]))
    assert shape.semi_major == pytest.approx(np.sqrt(c * values[:, 1]))
    turn = np.radians(shape.angle)
    along = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    assert np.abs(np.einsum("na,na->n", along, vectors[:, :, 1])) == pytest.approx(1.0)
    circle = np.linspace(0, 2 * np.pi, 2001)
    x = shape.semi_major[0] * np.cos(circle) * np.cos(turn[0])
    x = x - shape.semi_minor[0] * np.sin(circle) * np.sin(turn[0])
    assert x.max() == pytest.approx(shape.reach[0, 0], rel=1e-5)  # 2,001 points of the circle


def test_quadrants_are_those_of_a_bivariate_normal():
    rng = np.random.default_rng(2)
    centre = rng.normal(size=(12, 2))
    roots = rng.normal(size=(12, 2, 2))
    covariance = roots @ roots.transpose(0, 2, 1)
    lines = (0.2, -0.1)
    found = quadrant_probabilities(centre, covariance, lines)
    assert found.sum(axis=1) == pytest.approx(1.0)
    for row, mean, cov in zip(found, centre, covariance, strict=True):
        below = stats.multivariate_normal(mean, cov, seed=1).cdf(np.array(lines))
        x, y = (stats.norm(mean[k], np.sqrt(cov[k, k])).cdf(lines[k]) for k in range(2))
        expected = [1 - x - y + below, y - below, x - below, below]
        assert row == pytest.approx(expected, abs=1e-5)  # error of SciPy's quadrature
    assert len(QUADRANTS) == 4
