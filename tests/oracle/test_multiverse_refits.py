"""A sub-block of shared cross-products against the same model fitted by itself."""

import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.pupils.shared_pass import SharedPass

SAME = 1e-6  # both searches stop at a relative gradient of about 1e-8; effects are of order .5


@pytest.fixture(scope="module")
def pupils():
    rng = np.random.default_rng(11)
    n, J = 1500, 30
    school = rng.permutation(np.r_[np.arange(J), np.arange(J), rng.integers(0, J, n - 2 * J)])
    year = rng.integers(2022, 2025, size=n)
    prior, ses = rng.normal(size=n), rng.normal(size=n) + 0.4 * rng.normal(size=J)[school]
    u, v = 0.4 * rng.normal(size=J), 0.25 * rng.normal(size=(J, 3))
    score = 0.6 * prior + 0.2 * ses + u[school] + v[school, year - 2022] + 0.1 * (year - 2022)
    frame = pd.DataFrame(
        {
            "municipality_id": [f"M{k % 6}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "prior_score": prior,
            "ses": ses,
            "sex": rng.choice(["f", "m"], size=n),
            "weight": rng.uniform(0.5, 2.0, size=n),
            "score": score + rng.normal(size=n),
            "mark": np.round(score + rng.normal(size=n)),
        }
    )
    frame.loc[:4, "ses"] = np.nan
    return frame


FORMULAS = {
    "none": "score ~ 1",
    "prior": "score ~ prior_score",
    "full": "score ~ prior_score + ses + sex + C(year)",
    "other outcome": "mark ~ prior_score + ses",
    "curved": "score ~ poly(prior_score, 2) + ses:sex",
}


def direct(model, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return model.fit(data)


def same(first, second, *, criterion=True):
    columns = ["effect", "std_error", "conditional_sd", "reliability", "observed_mean"]
    assert list(first.school_effects["school_id"]) == list(second.school_effects["school_id"])
    for name in columns:
        np.testing.assert_allclose(
            first.school_effects[name], second.school_effects[name], atol=SAME, err_msg=name
        )
    pd.testing.assert_frame_equal(first.school_years, second.school_years, atol=SAME, rtol=SAME)
    assert first.variances == pytest.approx(second.variances, abs=SAME)
    if criterion:
        assert first.criterion == pytest.approx(second.criterion, abs=1e-5)
        pd.testing.assert_frame_equal(
            first.fixed_effects, second.fixed_effects, atol=SAME, rtol=1e-4
        )


@pytest.mark.parametrize("key", FORMULAS)
@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_sub_block_equals_own_fit(pupils, key):
    base = rs.ValueAddedModel("score ~ 1", group=["municipality_id", "school_id"], time="year")
    shared = SharedPass.read(base, pupils, FORMULAS, years="year")
    assert (shared.n_rows, shared.n_dropped, shared.errors) == (1495, 5, {})
    rows = pupils.dropna()
    own = rs.ValueAddedModel(FORMULAS[key], group=["municipality_id", "school_id"], time="year")
    same(shared.fit(key), direct(own, rows))
    assert list(shared.fit(key).outer_effects["unit_id"]) == [f"M{k}" for k in range(6)]


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_windows_are_sums_of_years(pupils):
    base = rs.ValueAddedModel("score ~ 1", group="school_id", time="year")
    shared = SharedPass.read(base, pupils, FORMULAS, years="year")
    rows = pupils.dropna()
    for years in ([2022, 2023], [2023, 2024]):
        own = rs.ValueAddedModel(FORMULAS["full"], group="school_id", time="year")
        # dummies of years differ in their base: only the effects are compared
        same(
            shared.fit("full", window=years),
            direct(own, rows[rows["year"].isin(years)]),
            criterion=False,
        )
    alone = rs.ValueAddedModel("score ~ prior_score + ses + sex", group="school_id")
    same(
        shared.fit("full", window=[2024]),
        direct(alone, rows[rows["year"] == 2024]),
        criterion=False,
    )
    with pytest.raises(rs.DataError, match="2021"):
        shared.fit("full", window=[2021, 2022])


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_slopes_weights_and_compositions(pupils):
    options = {
        "group": "school_id",
        "slopes": "prior_score",
        "intake": rs.Intake(composition={"ses": "latent"}, standardize_by=["year"]),
        "structure": rs.Structure(weights="weight"),
    }
    shared = SharedPass.read(
        rs.ValueAddedModel("score ~ 1", **options), pupils, FORMULAS, years="year"
    )
    rows = pupils.dropna()
    # the slope's term must stand in the formula
    assert set(shared.errors) == {"none", "curved"}
    with pytest.raises(rs.SpecificationError, match="prior_score"):
        shared.fit("none")
    for key in ("prior", "full", "other outcome"):
        own = direct(rs.ValueAddedModel(FORMULAS[key], **options), rows)
        same(shared.fit(key), own)
        assert "ses_mean" in list(own.fixed_effects["term"])


def test_a_formula_that_cannot_be_formed_spoils_no_other(pupils):
    base = rs.ValueAddedModel("score ~ 1", group="school_id")
    shared = SharedPass.read(base, pupils, {"bad": "score ~ nothing", "good": "score ~ ses"})
    with pytest.raises(rs.DataError, match="nothing"):
        shared.fit("bad")
    assert shared.fit("good").n_schools == 30
