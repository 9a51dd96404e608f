"""Diagnostics on simulated regions: quiet where all is well, loud where a defect was planted."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from resilience.errors import WeakDataWarning
from resilience.value_added.model import ValueAddedModel

FLAGS = {"warning", "serious"}


def region(seed: int, n_schools: int = 60, size: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), size)
    n = len(school)
    prior, ses = rng.normal(size=n), rng.normal(size=n)
    effect = 0.3 * rng.normal(size=n_schools)
    return pd.DataFrame(
        {
            "pupil_key": [f"K{k}" for k in range(n)],
            "school_id": [f"S{k:02d}" for k in school],
            "year": 2024,
            "prior_score": prior,
            "ses": ses,
            "score": 0.6 * prior + 0.2 * ses + effect[school] + 0.8 * rng.normal(size=n),
        }
    )


def checked(frame: pd.DataFrame) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)
        va = ValueAddedModel("score ~ prior_score + ses", group="school_id").fit(frame)
        table = va.check(frame).table
    return dict(zip(table["check"], table["severity"], strict=True))


def test_sound_fits_are_rarely_flagged():
    n_regions = 60
    flags: Counter[str] = Counter()
    for seed in range(n_regions):
        flags.update(name for name, how in checked(region(seed)).items() if how in FLAGS)
    # tests at one in a hundred: more than 3 of 60 regions would be beyond three standard errors
    assert max(flags.values(), default=0) <= 3, flags


def bent(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(score=frame["score"] + 0.25 * frame["prior_score"] ** 2)


def capped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(score=frame["score"].clip(upper=frame["score"].quantile(0.88)))


def floored(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(score=frame["score"].clip(lower=frame["score"].quantile(0.20)))


def fanned(frame: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=len(frame)) * np.exp(0.6 * frame["prior_score"])
    return frame.assign(score=frame["score"] + 0.5 * noise)


def heavy(frame: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return frame.assign(score=frame["score"] + rng.standard_t(3, size=len(frame)))


def outlying(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(score=frame["score"] + 2.5 * (frame["school_id"] == "S07"))


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[:3]], ignore_index=True)


def few(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby("school_id").head(2)


def leaning(frame: pd.DataFrame) -> pd.DataFrame:
    """One school holds all the reach of ses and its own slope."""
    own = frame["school_id"] == "S03"
    ses = frame["ses"].where(~own, 12.0 + frame["ses"])
    return frame.assign(ses=ses, score=frame["score"] - 0.4 * (ses - frame["ses"]))


@pytest.mark.parametrize(
    ("defect", "check"),
    [
        (bent, "curvature"),
        (capped, "ceiling"),
        (floored, "floor"),
        (fanned, "unequal_spread"),
        (heavy, "pupil_normality"),
        (outlying, "effect_normality"),
        (doubled, "duplicated_pupils"),
        (few, "small_schools"),
        (leaning, "influential_schools"),
    ],
)
def test_planted_defects_are_found(defect, check):
    found = [checked(defect(region(seed)))[check] for seed in range(10)]
    assert sum(how in FLAGS for how in found) >= 9, found


def panel(seed: int, sorted_by: float) -> pd.DataFrame:
    """Return pupils of two years; a third move, to schools that fit their unseen ability or not."""
    rng = np.random.default_rng(seed)
    n, n_schools = 1500, 40
    effect = 0.3 * rng.normal(size=n_schools)
    hidden = rng.normal(size=n)
    first = rng.integers(0, n_schools, n)
    order = np.argsort(effect)
    rank = np.argsort(np.argsort(sorted_by * hidden + rng.normal(size=n)))
    second = np.where(rng.random(n) < 0.33, order[rank * n_schools // n], first)
    prior = rng.normal(size=n)
    rows = []
    for year, school in ((2023, first), (2024, second)):
        score = 0.5 * prior + effect[school] + 0.5 * hidden + 0.5 * rng.normal(size=n)
        rows.append(
            pd.DataFrame(
                {
                    "pupil_key": np.arange(n),
                    "year": year,
                    "school_id": [f"S{k:02d}" for k in school],
                    "prior_score": prior,
                    "ses": rng.normal(size=n),
                    "score": score,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def test_sorting_is_seen_among_movers_and_only_there():
    by_chance = [checked(panel(seed, 0.0))["sorting"] for seed in range(20)]
    assert sum(how in FLAGS for how in by_chance) <= 2  # at one in a hundred
    planted = [checked(panel(seed, 1.0))["sorting"] for seed in range(10)]
    assert sum(how in FLAGS for how in planted) >= 9
    assert checked(region(0))["sorting"] == "not_checked"
