"""What results of a fit with drift hold, and how they compare with those of independent years."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column_names
from resilience.errors import WeakDataWarning
from resilience.stats.engine.covariance import COVARIANCES
from resilience.value_added.definitions.drift_identification import persistent_std_error

# Four years of 60 schools hardly tell what lasts from what fades; a test of its own looks at that.
pytestmark = pytest.mark.filterwarnings(
    "ignore:what lasts and what fades:resilience.errors.WeakDataWarning"
)

YEARS = (2020, 2021, 2022, 2023)


def pupils(seed: int = 3, *, rho: float = 0.7, persistent: float = 0.5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n, n_schools = 4000, 60
    school, year = rng.integers(0, n_schools, size=n), rng.integers(0, 4, size=n)
    year[(school < 6) & (year == 0)] = 1
    root = np.linalg.cholesky(rho ** np.abs(np.subtract.outer(range(4), range(4))))
    yearly = 0.5 * rng.normal(size=(n_schools, 4)) @ root.T
    prior = rng.normal(size=n)
    own = persistent * rng.normal(size=n_schools)
    score = 0.6 * prior + own[school] + yearly[school, year] + rng.normal(size=n)
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": np.array(YEARS)[year],
            "prior_score": prior,
            "weight": rng.uniform(0.5, 2.0, size=n),
            "score": score,
        }
    )


def fit(drift, *, data=None, weights=None, slopes=None):
    return rs.ValueAddedModel(
        "score ~ prior_score",
        group="school_id",
        slopes=slopes,
        time="year",
        structure=rs.Structure(drift=drift, weights=weights),
    ).fit(pupils() if data is None else data)


@pytest.fixture(scope="module")
def fits():
    return {drift: fit(drift) for drift in (None, "ar1", "unstructured")}


def test_wider_covariances_of_years_fit_better(fits):
    values = [fits[drift].criterion for drift in (None, "ar1", "unstructured")]
    assert values == sorted(values, reverse=True)
    assert all(va.convergence.converged for va in fits.values())


def test_ar1_shows_what_lasts_and_the_correlation_of_neighbouring_years(fits):
    va = fits["ar1"]
    table = va.variance_components.set_index("group")
    assert list(table.index) == ["school_id", "school_id:year", "residual"]
    years = table.loc["school_id:year"]
    assert years["term"] == "ar1"
    assert 0.0 < years["correlation"] < 1.0
    assert years["variance"] == pytest.approx(va.variances["transient"])
    assert table.loc["school_id", "variance"] == pytest.approx(va.variances["persistent"])
    assert va.mixed.levels[1].parameters["correlation"] == years["correlation"]
    intervals = va.variance_intervals()
    assert list(intervals["term"]) == ["Intercept", "ar1", "ar1", ""]


def test_unstructured_shows_every_correlation_of_two_years(fits):
    va = fits["unstructured"]
    table = va.variance_components
    D = va.mixed.levels[0].covariance
    assert va.mixed.levels[0].name == "school_id"
    named = table.set_index("term")["correlation"]
    assert len(table) == 4 + 3 + 1  # years, pairs without the first, residual
    expected = D[1, 3] / np.sqrt(D[1, 1] * D[3, 3])
    assert named["year=2021 × year=2023"] == pytest.approx(expected)
    assert named["year=2022"] == pytest.approx(D[0, 2] / np.sqrt(D[0, 0] * D[2, 2]))
    # the mean over the years, and the mean square of a year around it
    assert va.variances["persistent"] == pytest.approx(D.mean())
    assert va.variances["transient"] == pytest.approx(np.trace(D) / 4 - D.mean())


def test_the_effect_of_unstructured_years_is_their_mean(fits):
    va = fits["unstructured"]
    modes = va.mixed.levels[0].modes
    np.testing.assert_allclose(va.school_effects["effect"], modes.mean(axis=1), atol=1e-12)


def test_school_years_are_those_of_independent_years(fits):
    plain, *others = (fits[drift].school_years for drift in (None, "ar1", "unstructured"))
    assert list(plain.columns) == list(others[0].columns) == list(others[1].columns)
    for table in others:
        for name in ("school_id", "year", "n_pupils"):
            assert list(table[name]) == list(plain[name])
    for drift in ("ar1", "unstructured"):
        effects = fits[drift].school_effects.set_index("school_id")
        assert effects.loc["S00", "n_years"] == 3
        assert effects.loc["S30", "n_years"] == 4
        assert effects["n_pupils"].sum() == 4000


def test_weights_and_drift_keep_counts_of_pupils():
    data = pupils(rho=0.3)
    va = fit("ar1", weights="weight", data=data)
    counts = data.groupby(["school_id", "year"]).size()
    assert list(va.school_years["n_pupils"]) == list(counts)


def test_every_unit_has_a_row_per_year(fits):
    tables = {drift: va.random_effects for drift, va in fits.items()}
    for drift, table in tables.items():
        years = table[table["term"].str.startswith("year=")]
        # independent years have effects only where there are results
        assert len(years) == (60 * 4 - 6 if drift is None else 60 * 4)
        assert set(years["unit_id"]) == {f"S{k:02d}" for k in range(60)}
        assert (table["std_error"] >= table["conditional_sd"] - 1e-12).all()
        assert set(table.columns) <= set(column_names())


def test_the_fits_own_correlation_predicts_the_next_year(fits):
    va = fits["ar1"]
    last = va.predict_effects("last_year").set_index("school_id")
    following = va.predict_effects("next_year").set_index("school_id")
    lasting = va.predict_effects("persistent").set_index("school_id")
    rho = va.mixed.levels[1].parameters["correlation"]
    # what is left of the last year's own part after one more year
    faded = lasting["effect"] + rho * (last["effect"] - lasting["effect"])
    np.testing.assert_allclose(following["effect"], faded, atol=1e-12)
    assert (following["conditional_sd"] > last["conditional_sd"]).all()
    np.testing.assert_allclose(lasting["effect"], va.school_effects["effect"], atol=1e-9)
    np.testing.assert_allclose(lasting["std_error"], va.school_effects["std_error"], atol=1e-9)


def test_without_correlation_drift_predicts_as_independent_years_do():
    """Independent years are AR(1) at ρ = 0: one posterior, two ways to it."""
    data = pupils(rho=0.0)
    plain, drifting = fit(None, data=data), fit("ar1", data=data)
    rho = drifting.mixed.levels[1].parameters["correlation"]
    assert abs(rho) < 0.3
    for target in ("last_year", "next_year"):
        one = plain.predict_effects(target)
        other = drifting.predict_effects(target)
        assert np.corrcoef(one["effect"], other["effect"])[0, 1] > 0.98


def test_sufficiency_counts_years_that_hang_together(fits):
    va = fits["ar1"]
    table = va.sufficiency(reliability=0.9)
    asked = va.school_effects["school_id"] == "S30"
    years = int(table.loc[asked, "years_needed"].iloc[0])
    rows = va.school_years[va.school_years["school_id"] == "S30"]
    sampling = 1.0 / (1.0 / rows["sampling_variance"]).mean()
    persistent, transient = va.variances["persistent"], va.variances["transient"]
    rho = va.mixed.levels[1].parameters["correlation"]

    def reliability(m: int) -> float:
        lags = np.abs(np.subtract.outer(range(m), range(m)))
        V = transient * rho**lags + sampling * np.eye(m)
        precision = np.linalg.solve(V, np.ones(m)).sum()
        return precision * persistent / (1 + precision * persistent)

    assert reliability(years) >= 0.9 > reliability(years - 1)
    # independent years of these variances would need fewer
    independent = 9.0 / persistent * (transient + sampling)
    assert years > independent


def test_sufficiency_of_a_mean_over_the_years_ends_with_the_years(fits):
    va = fits["unstructured"]
    easy, hard = va.sufficiency(reliability=0.7), va.sufficiency(reliability=0.995)
    assert set(easy["verdict"]) == {"yes"}
    assert easy["years_needed"].max() <= 4
    assert set(hard["verdict"]) == {"insufficient_data"}
    assert np.isinf(hard["years_needed"]).all()
    assert "4 years" in hard["reason"].iloc[0]
    assert "лет: 4" in hard["reason"].iloc[0].ru


def test_slopes_stand_beside_drift(fits):
    for drift in ("ar1", "unstructured"):
        va = fit(drift, slopes="prior_score", data=slope_data())
        slopes = va.school_slopes
        assert list(slopes["term"].unique()) == ["prior_score"]
        assert len(slopes) == 60
        assert va.slope_means == {"prior_score": pytest.approx(slope_data()["prior_score"].mean())}
        assert va.convergence.converged


def slope_data():
    data = pupils()
    slope = 0.3 * np.random.default_rng(8).normal(size=60)
    return data.assign(
        score=data["score"] + slope[data["school_id"].str[1:].astype(int)] * data["prior_score"]
    )


def test_all_structures_are_fitted_from_a_model():
    data = slope_data()
    found = {}
    for name in COVARIANCES[:4]:
        va = rs.ValueAddedModel(
            "score ~ prior_score",
            group="school_id",
            slopes="prior_score",
            structure=rs.Structure(covariance={"school_id": name}),
        ).fit(data)
        found[name] = va
    values = {name: va.criterion for name, va in found.items()}
    assert min(values, key=values.__getitem__) == "unstructured"
    assert max(values, key=values.__getitem__) == "identity"
    D = found["identity"].mixed.levels[0].covariance
    np.testing.assert_allclose(D, D[0, 0] * np.eye(2), atol=1e-10)
    tied = found["compound_symmetry"].variance_components
    assert tied["variance"].iloc[0] == pytest.approx(tied["variance"].iloc[1])


@pytest.mark.filterwarnings("error")
def test_a_weak_separation_of_what_lasts_is_said():
    with pytest.warns(WeakDataWarning, match="in 4 years of 60 schools.*standard error") as caught:
        fit("ar1")
    assert "устойчивую часть трудно отличить" in caught[0].message.args[0].ru
    weak = pupils(rho=-0.3, persistent=0.8)
    assert fit("ar1", data=weak).convergence.converged  # an alternating part is told apart


def test_the_error_of_what_lasts_is_that_of_a_balanced_design():
    """Without a transient part: moments of the mean squares between and within schools."""
    J, T, n, u, e = 150, 5, 20, 0.3, 0.8
    found = persistent_std_error(
        np.full((J, T), float(n)),
        np.arange(T, dtype=float),
        variances=(u, 0.0, e),
        correlation=0.0,
    )
    s = e / n
    expected = 2.0 / T**2 * ((T * u + s) ** 2 / J + s**2 / (J * (T - 1)))
    assert found == pytest.approx(np.sqrt(expected), rel=1e-9)
    two = persistent_std_error(
        np.full((J, 2), float(n)), np.arange(2.0), variances=(u, 0.2, e), correlation=0.5
    )
    assert two > 1e3  # two years do not tell the parts apart at all
