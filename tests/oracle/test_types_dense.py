"""Type A and Type B against dense algebra: effects, and the error of their difference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.value_added.adjustment.type_errors import composition_part_error
from resilience.value_added.definitions.specification import Intake
from resilience.value_added.model import ValueAddedModel


def pupils(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 12, 30)
    school = np.repeat(np.arange(30), sizes)
    ses = rng.normal(size=30)[school] * 0.6 + rng.normal(size=len(school))
    prior = 0.3 * ses + rng.normal(size=len(school))
    mean = pd.Series(ses).groupby(school).transform("mean")
    score = 0.5 * prior + 0.2 * ses + 0.4 * mean + 0.5 * rng.normal(size=30)[school]
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "prior_score": prior,
            "ses": ses,
            "score": score + rng.normal(size=len(school)),
        }
    )


def weights(frame: pd.DataFrame, columns: list[np.ndarray], ratio: float) -> tuple[np.ndarray, ...]:
    """Return K with û = K y, the covariance V over σ², and X, for a random intercept."""
    codes = pd.factorize(frame["school_id"], sort=True)[0]
    z = np.eye(codes.max() + 1)[codes]
    v = np.eye(len(codes)) + ratio * z @ z.T
    x = np.column_stack([np.ones(len(codes)), *columns])
    inverse = np.linalg.inv(v)
    hat = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse)
    return ratio * z.T @ inverse @ (np.eye(len(codes)) - x @ hat), v, x, z, hat


def test_both_types_are_the_fits_one_would_make_alone():
    frame = pupils()
    model = ValueAddedModel("score ~ prior_score + ses", group="school_id")
    composed = ValueAddedModel(
        model.formula, group="school_id", intake=Intake(composition={"ses": "mean"})
    ).fit(frame)
    types = composed.types()
    alone = model.fit(frame)
    # one search from other starting columns: the same optimum to rounding of the search
    np.testing.assert_allclose(
        types.type_a.school_effects["effect"], alone.school_effects["effect"], atol=1e-7
    )
    assert types.type_a.criterion == pytest.approx(alone.criterion, rel=1e-10)
    assert types.type_a.formula == alone.formula
    predicted = types.type_a.predict(frame, effects="schools")["predicted"]
    np.testing.assert_allclose(
        predicted, alone.predict(frame, effects="schools")["predicted"], atol=1e-7
    )
    assert types.question == composed.question


@pytest.mark.parametrize("same", [True, False])
def test_the_error_of_the_difference(same):
    """Exact at one ratio of variances; where they differ by a quarter within 5 % of the exact.

    Both fits then weigh schools differently in their coefficients, which the formula leaves out:
    1.5 % at the median school, 4 % at the worst.
    """
    frame = pupils()
    mean = frame.groupby("school_id")["ses"].transform("mean").to_numpy()
    own = [frame["prior_score"].to_numpy(), frame["ses"].to_numpy()]
    ratio_b = 0.25
    ratio_a = ratio_b if same else 0.32
    k_a, *_ = weights(frame, own, ratio_a)
    k_b, v, x, z, _ = weights(frame, [*own, mean], ratio_b)
    exact = np.sqrt(np.diag((k_a - k_b) @ v @ (k_a - k_b).T))
    sizes = z.sum(axis=0)
    covariance = np.linalg.inv(x.T @ np.linalg.inv(v) @ x)
    shrinkage = tuple(r * sizes / (1 + r * sizes) for r in (ratio_a, ratio_b))
    found = composition_part_error(
        (z.T @ x) / sizes[:, None],
        covariance,
        np.array([False, False, False, True]),
        shrinkage=shrinkage,
        mean_variance=ratio_b + 1 / sizes,
    )
    np.testing.assert_allclose(found, exact, rtol=1e-9 if same else 0.05)


def test_the_difference_estimates_what_composition_explains():
    """Without noise in the coefficients the difference is a c̃'γ exactly."""
    frame = pupils()
    mean = frame.groupby("school_id")["ses"].transform("mean").to_numpy()
    own = [frame["prior_score"].to_numpy(), frame["ses"].to_numpy()]
    k_a, _, _, z, _ = weights(frame, own, 0.25)
    k_b, v, x, *_ = weights(frame, [*own, mean], 0.25)
    outcome = x @ np.array([1.0, 0.5, 0.2, 0.4])
    sizes = z.sum(axis=0)
    inverse = np.linalg.inv(v)
    slim = x[:, :3]
    projected = np.linalg.solve(slim.T @ inverse @ slim, slim.T @ inverse @ mean)
    part = (z.T @ (mean - slim @ projected)) / sizes
    reliability = 0.25 * sizes / (1 + 0.25 * sizes)
    np.testing.assert_allclose((k_a - k_b) @ outcome, reliability * part * 0.4, atol=1e-10)
