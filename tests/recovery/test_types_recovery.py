"""Two questions on simulated schools: what each adjustment leaves of the true contribution."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from resilience.errors import WeakDataWarning
from resilience.value_added.adjustment.composition import composition_bias
from resilience.value_added.definitions.specification import Intake
from resilience.value_added.model import ValueAddedModel

BANDS = {"2-5": (2, 5), "6-15": (6, 15), "16-30": (16, 30), ">30": (31, 60)}


@pytest.mark.parametrize("kind", ["mean", "latent"])
def test_the_difference_covers_the_part_of_composition_in_every_size_band(kind):
    gamma, inside, whole = 0.5, {band: [] for band in BANDS}, {band: [] for band in BANDS}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sizes = np.concatenate([rng.integers(low, high + 1, 30) for low, high in BANDS.values()])
        school = np.repeat(np.arange(len(sizes)), sizes)
        true_mean = (0.5 * rng.normal(size=len(sizes)))[school]
        ses = true_mean + rng.normal(size=len(school))
        mean = pd.Series(ses).groupby(school).transform("mean").to_numpy()
        acting = mean if kind == "mean" else true_mean
        score = 0.3 * ses + gamma * acting + 0.3 * rng.normal(size=len(sizes))[school]
        frame = pd.DataFrame(
            {
                "school_id": [f"S{k:03d}" for k in school],
                "ses": ses,
                "score": score + rng.normal(size=len(school)),
            }
        )
        fitted = ValueAddedModel(
            "score ~ ses", group="school_id", intake=Intake(composition={"ses": kind})
        ).fit(frame)
        types = fitted.types()
        mean = fitted.augment(frame)["ses_mean"].to_numpy()
        # what composition explains: the projection by the weights of the fit, shrunken as Type A
        ratio = fitted.variances["persistent"] / fitted.variances["residual"]
        weight = ratio / (1 + ratio * sizes)
        x = np.column_stack([np.ones(len(ses)), ses])
        sums = np.zeros((len(sizes), 2))
        np.add.at(sums, school, x)
        left = x.T @ x - (sums * weight[:, None]).T @ sums
        school_mean = mean[np.unique(school, return_index=True)[1]]
        right = x.T @ mean - (sums * weight[:, None]).T @ (school_mean * sizes)
        part = school_mean - (sums / sizes[:, None]) @ np.linalg.solve(left, right)
        shrinkage = types.type_a.school_effects["reliability"].to_numpy()
        difference = types.table["difference"].to_numpy()
        half = 1.96 * types.table["std_error_difference"].to_numpy()
        covered = np.abs(difference - shrinkage * part * gamma) <= half
        covers_all = np.abs(difference - part * gamma) <= half
        for band, (low, high) in BANDS.items():
            own = (sizes >= low) & (sizes <= high)
            inside[band].append(covered[own].mean())
            whole[band].append(covers_all[own].mean())
    for band, found in inside.items():
        # schools of one region share the error of γ: the regions are the units, 60 of them
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        assert abs(np.mean(found) - 0.95) < 3 * error, (band, np.mean(found))
    # the whole part is not what the interval is for, and the page says so: .47 and .64 measured
    assert np.mean(whole["2-5"]) < 0.75


def small_schools(seed: int) -> pd.DataFrame:
    """Return schools of 3 to 12 pupils with a true contextual effect of .40."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 13, 1500)
    school = np.repeat(np.arange(len(sizes)), sizes)
    true_mean = 0.5 * rng.normal(size=len(sizes))
    ses = true_mean[school] + np.sqrt(0.75) * rng.normal(size=len(school))
    score = 0.3 * ses + 0.4 * true_mean[school] + 0.3 * rng.normal(size=len(sizes))[school]
    return pd.DataFrame(
        {
            "school_id": [f"S{k:04d}" for k in school],
            "ses": ses,
            "score": score + 0.8 * rng.normal(size=len(school)),
        }
    )


def test_the_latent_mean_finds_the_contextual_effect_that_the_others_miss():
    tables = [
        composition_bias(ValueAddedModel("score ~ ses", group="school_id"), frame, columns=["ses"])
        for frame in map(small_schools, range(6))
    ]
    found = pd.concat(tables).groupby("composition_kind")[["estimate", "within"]].mean()
    error = tables[0].set_index("composition_kind")["std_error"] / np.sqrt(len(tables))
    assert abs(found.loc["latent", "estimate"] - 0.40) < 3 * error["latent"]
    # the mean of n pupils has the variance .25 + .75/n, of which .25 carries the effect; schools
    # count by 1/(s² + .64/n), with .32² the variance between them that the mean leaves
    n = np.arange(3, 13)
    weight = 1 / (0.32**2 + 0.64 / n)
    attenuated = 0.40 * 0.25 * weight.sum() / (weight * (0.25 + 0.75 / n)).sum()
    assert abs(found.loc["mean", "estimate"] - attenuated) < 3 * error["mean"]
    # without the pupil it is lower still: .23, with errors of some .01 on either side
    assert found.loc["leave_one_out", "estimate"] < attenuated - 3 * error["leave_one_out"]
    assert abs(found.loc["latent", "within"] - 0.3) < 0.02
    assert found.loc["leave_one_out", "within"] > 0.3 + 0.02  # a biased slope within, too


def test_a_mean_prior_of_the_same_school_takes_its_own_work_away():
    """Equal yearly contributions in grades 1 to 9, 20 pupils a school, a prior of grade 5."""
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n_schools, n = 300, 20
        school = np.repeat(np.arange(n_schools), n)
        context = 0.5 * rng.normal(size=n_schools)
        ses = context[school] + np.sqrt(0.75) * rng.normal(size=len(school))
        yearly = 0.3 * rng.normal(size=n_schools) / 9
        passing = 0.1 * rng.normal(size=(2, n_schools))
        ability = 0.8 * rng.normal(size=len(school))
        known = 0.3 * ses + ability
        prior = known + 5 * yearly[school] + passing[0, school] + 0.4 * rng.normal(size=len(school))
        score = known + 9 * yearly[school] + passing[1, school] + 0.4 * rng.normal(size=len(school))
        frame = pd.DataFrame(
            {
                "school_id": [f"S{k:03d}" for k in school],
                "ses": ses,
                "prior_score": prior,
                "score": score,
            }
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeakDataWarning)  # little variance is left in Type B
            own = Intake(composition={"prior_score": "latent"})
            types = (
                ValueAddedModel("score ~ prior_score + ses", group="school_id", intake=own)
                .fit(frame)
                .types(forced=True)
            )
            entry = ValueAddedModel("score ~ ses", group="school_id").fit(frame)
        found.append(
            [
                np.corrcoef(fit.school_effects["effect"], yearly)[0, 1]
                if fit.school_effects["effect"].std() > 0
                else 0.0
                for fit in (entry, types.type_a, types.type_b)
            ]
        )
    entry, type_a, type_b = np.mean(found, axis=0)
    # measured .795, .682 and .570; the Monte-Carlo errors over 12 regions are .006 to .008, and
    # four of them are allowed for.  The order is the claim: planning had .81, .65 and .29 from a
    # design it does not state, and no design tried comes near the last of them (.54 to .63)
    np.testing.assert_allclose([entry, type_a, type_b], [0.795, 0.682, 0.570], atol=0.032)
    assert entry > type_a > type_b
