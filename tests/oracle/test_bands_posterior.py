"""What errors and gaps of conditions leave open, against closed forms; levels of strata."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import beta

import resilience as rs
from resilience.clustering.bands.model import ContextBands
from resilience.clustering.bands.posterior import true_conditions

N_DRAWS = 4000


def region(n: int = 120, seed: int = 3) -> pd.DataFrame:
    """Return three years of small schools, rural ones lower than their conditions say."""
    generator = np.random.default_rng(seed)
    pupils = generator.integers(8, 60, size=n)
    poverty = generator.beta(3, 6, size=n)
    remote = generator.gamma(2.0, 10.0, size=n)
    rural = np.arange(n) % 2 == 0
    frames = [
        pd.DataFrame(
            {
                "school_id": [f"S{i:03d}" for i in range(n)],
                "year": year,
                "n_pupils": pupils,
                "is_rural": rural,
                "low_income": generator.binomial(pupils, poverty) / pupils,
                "remoteness_km": remote,
                "mean_score": -2.0 * poverty
                - 0.02 * remote
                - 1.0 * rural
                + 0.2 * generator.standard_normal(n),
            }
        )
        for year in (2022, 2023, 2024)
    ]
    return pd.concat(frames, ignore_index=True)


def test_true_shares_follow_their_beta_distribution() -> None:
    frame = region().query("year == 2024").reset_index(drop=True)
    scaled = rs.scale_conditions(frame, rs.Conditions(shares=["low_income"]))
    _, draws = true_conditions(scaled, N_DRAWS, np.random.default_rng(1))
    scale = scaled.scaling.scales[0]
    for i in (0, 7, 50):
        n = float(frame.loc[i, "n_pupils"])
        count = n * float(frame.loc[i, "low_income"])
        law = beta(scale.alpha + count, scale.beta + n - count)  # type: ignore[attr-defined]  # a scale of shares
        moments = [
            quad(
                lambda p, power=power, law=law: (
                    ((np.arcsin(np.sqrt(p)) - scale.mean) / scale.sd) ** power  # type: ignore[attr-defined]  # the same
                    * law.pdf(p)
                ),
                0.0,
                1.0,
            )[0]
            for power in (1, 2)
        ]
        sd = np.sqrt(moments[1] - moments[0] ** 2)
        own = draws[:, i, 0]
        # four standard errors of a mean and of an SD of N_DRAWS draws
        assert own.mean() == pytest.approx(moments[0], abs=4 * sd / np.sqrt(N_DRAWS))
        assert own.std() == pytest.approx(sd, rel=4 / np.sqrt(2 * N_DRAWS))


def test_numbers_with_a_stated_error_are_drawn_to_the_mean() -> None:
    frame = region().query("year == 2024").reset_index(drop=True)
    frame["error"] = np.where(np.arange(len(frame)) % 2, 0.0, 8.0)
    conditions = rs.Conditions(
        continuous={"remoteness_km": "linear"}, errors={"remoteness_km": "error"}
    )
    scaled = rs.scale_conditions(frame, conditions)
    expected, draws = true_conditions(scaled, N_DRAWS, np.random.default_rng(1))
    sd = float(frame["remoteness_km"].std(ddof=0))
    z = np.clip((frame["remoteness_km"] - frame["remoteness_km"].mean()) / sd, -3, 3).to_numpy()
    variance = (frame["error"].to_numpy() / sd) ** 2
    true = 1.0 - variance.mean()
    reliability = true / (true + variance)
    assert expected[:, 0] == pytest.approx(reliability * z, abs=1e-12)
    exact = variance == 0.0
    np.testing.assert_array_equal(
        draws[:, exact, 0], np.broadcast_to(expected[exact, 0], (N_DRAWS, int(exact.sum())))
    )
    # the largest of sixty SDs of N_DRAWS draws: five standard errors
    assert draws[:, ~exact, 0].std(axis=0) == pytest.approx(
        np.sqrt(reliability * variance)[~exact], rel=5 / np.sqrt(2 * N_DRAWS)
    )


def test_compositions_follow_the_dirichlet_distribution_of_their_counts() -> None:
    generator = np.random.default_rng(2)
    n = 40
    pupils = generator.integers(30, 200, size=n)
    counts = np.array([generator.multinomial(m, [0.2, 0.5, 0.3]) for m in pupils])
    frame = pd.DataFrame(counts / pupils[:, None], columns=["low", "middle", "high"])
    frame = frame.assign(school_id=[f"S{i}" for i in range(n)], n_pupils=pupils)
    conditions = rs.Conditions(compositions={"education": ["low", "middle", "high"]})
    scaled = rs.scale_conditions(frame, conditions)
    _, draws = true_conditions(scaled, N_DRAWS, generator)
    # log-ratio of two gamma variables: its variance is the sum of their trigamma functions
    from scipy.special import polygamma

    trigamma = polygamma(1, counts[:, :2].astype(float)).sum(axis=1)
    sd = np.sqrt(trigamma / 2.0) * scaled.scaling.scales[0].factor
    assert draws[:, :, 0].std(axis=0) == pytest.approx(sd, rel=5 / np.sqrt(2 * N_DRAWS))


def test_gaps_follow_from_what_goes_together() -> None:
    generator = np.random.default_rng(4)
    n = 200
    one = generator.standard_normal(n)
    frame = pd.DataFrame(
        {
            "school_id": [f"S{i}" for i in range(n)],
            "one": one,
            "other": 0.8 * one + 0.6 * generator.standard_normal(n),
        }
    )
    frame.loc[:9, "other"] = np.nan
    frame.loc[10, ["one", "other"]] = np.nan
    with pytest.warns(rs.WeakDataWarning):
        scaled = rs.scale_conditions(frame, rs.Conditions(continuous=["one", "other"]))
    expected, draws = true_conditions(scaled, N_DRAWS, generator)
    whole = scaled.z[scaled.complete]
    table = np.cov(whole, rowvar=False)
    # the ridge of a hundredth keeps copies of a variable from breaking the regression
    slope = table[0, 1] / (table[0, 0] + 0.01)
    wanted = whole[:, 1].mean() + slope * (scaled.z[:10, 0] - whole[:, 0].mean())
    assert expected[:10, 1] == pytest.approx(wanted, abs=1e-10)
    left = np.sqrt(table[1, 1] + 0.01 - slope * table[0, 1])
    assert draws[:, :10, 1].std(axis=0) == pytest.approx(left, rel=5 / np.sqrt(2 * N_DRAWS))
    assert np.isnan(expected[10]).all()


def test_a_school_with_gaps_has_a_band_and_a_wider_interval() -> None:
    frame = region()
    model = ContextBands(rs.Conditions(continuous=["remoteness_km"], shares=["low_income"]))
    full = model.fit(frame, random_state=1).schools
    gone = (frame["year"] == 2024) & frame["school_id"].isin(["S004", "S077"])
    with pytest.warns(rs.WeakDataWarning, match="S004, S077"):
        part = model.fit(frame.assign(low_income=frame["low_income"].mask(gone)), random_state=1)
    rows = part.schools.set_index("school_id")
    assert rows["placed"].sum() == 2
    assert rows["band"].notna().all()
    before = full.set_index("school_id")["std_error"]
    for school in ("S004", "S077"):
        # shares of so few pupils leave much open even when they are known
        assert rows.loc[school, "std_error"] > 1.1 * before[school]


def test_strata_have_levels_of_their_own() -> None:
    frame = region()
    conditions = rs.Conditions(continuous=["remoteness_km"], shares=["low_income"])
    parted = ContextBands(conditions, strata=["is_rural"]).fit(frame, random_state=1)
    own = parted.schools.merge(
        frame.query("year == 2024")[["school_id", "mean_score"]], on="school_id"
    )
    gap = (own["mean_score"] - own["expected_result"]).groupby(own["stratum"]).mean()
    # residuals of SD below 0.4 over sixty schools of each stratum: three standard errors
    assert gap.to_numpy() == pytest.approx([0.0, 0.0], abs=3 * 0.4 / np.sqrt(60))
    joint = ContextBands(conditions).fit(frame, random_state=1)
    assert parted.regression.r2 > joint.regression.r2 + 0.2


def test_the_order_of_rows_changes_nothing() -> None:
    frame = region().query("year == 2024").reset_index(drop=True)
    model = ContextBands(
        rs.Conditions(continuous=["remoteness_km"]), strata=["is_rural"], n_bands=3
    )
    one = model.fit(frame).schools.set_index("school_id")
    turned = frame.iloc[np.random.default_rng(8).permutation(len(frame))]
    other = model.fit(turned).schools.set_index("school_id").loc[one.index]
    assert (one["band"] == other["band"]).all()
    for column in ("expected_result", "std_error", "band_probability"):
        # the same sums in another order
        assert other[column].to_numpy() == pytest.approx(one[column].to_numpy(), abs=1e-9)


def test_the_index_of_each_school_has_its_own_reliability() -> None:
    frame = region()
    generator = np.random.default_rng(5)
    index = 50 - 40 * frame["low_income"] + 4 * generator.standard_normal(len(frame))
    error = np.where(np.arange(len(frame)) % 3 == 0, 6.0, 0.0)
    table = frame.assign(context_index=index, context_index_std_error=error)
    found = ContextBands("context_index").fit(table, random_state=1)
    now = table[table["year"] == 2024].reset_index(drop=True)
    x, s = now["context_index"].to_numpy(), now["context_index_std_error"].to_numpy()
    true = x.var() - (s**2).mean()
    shrunken = x.mean() + true / (true + s**2) * (x - x.mean())
    constant, slope = found.regression.coefficients[0]
    own = found.schools["expected_result"].to_numpy()
    assert own == pytest.approx(constant + slope * shrunken, abs=1e-10)
