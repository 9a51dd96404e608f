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


def region(seed: int, n_schools: int = 60, slopes: float = 0.0, fan: float = 0.0) -> pd.DataFrame:
    """Return schools of 15 to 60 pupils; slopes may differ and spread may grow with the prior."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), rng.choice([15, 25, 40, 60], n_schools))
    n = len(school)
    prior, ses = rng.normal(size=n), rng.normal(size=n)
    effect = 0.3 * rng.normal(size=n_schools)
    slope = 0.6 + slopes * rng.normal(size=n_schools)
    noise = 0.8 * rng.normal(size=n) * np.exp(fan * prior)
    return pd.DataFrame(
        {
            "pupil_key": [f"K{k}" for k in range(n)],
            "school_id": [f"S{k:02d}" for k in school],
            "year": 2024,
            "prior_score": prior,
            "ses": ses,
            "score": slope[school] * prior + 0.2 * ses + effect[school] + noise,
        }
    )


def checked(frame: pd.DataFrame) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)
        va = ValueAddedModel("score ~ prior_score + ses", group="school_id").fit(frame)
        table = va.check(frame).table
    return dict(zip(table["check"], table["severity"], strict=True))


def flagged(n_regions: int, **kind: float) -> Counter[str]:
    flags: Counter[str] = Counter()
    for seed in range(n_regions):
        found = checked(region(seed, **kind))
        flags.update(name for name, how in found.items() if how in FLAGS)
    return flags


def test_sound_fits_are_rarely_flagged():
    # tests at one in a hundred: more than 3 of 40 regions would be beyond three standard errors
    flags = flagged(40)
    assert max(flags.values(), default=0) <= 3, flags


def test_few_schools_do_not_raise_false_alarms():
    flags = flagged(30, n_schools=12)
    few = {
        "small_schools",
        "singular",
    }  # with twelve schools a variance of zero may be the estimate
    assert max((n for name, n in flags.items() if name not in few), default=0) <= 3, flags


@pytest.mark.parametrize("kind", [{"slopes": 0.2}, {"fan": 0.3}])
def test_what_is_no_bend_does_not_pass_for_one(kind):
    """Slopes that differ and spread that grows: a test of equal spread warned in a quarter."""
    flags = flagged(20, **kind)
    assert flags["curvature"] <= 2, flags
    assert flags["sorting"] == flags["duplicated_pupils"] == 0


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


def unruly(frame: pd.DataFrame) -> pd.DataFrame:
    """Small schools differ more within than large ones."""
    rng = np.random.default_rng(3)
    small = frame.groupby("school_id")["score"].transform("size") < 20
    return frame.assign(score=frame["score"] + 1.2 * small * rng.normal(size=len(frame)))


def cubic(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(score=frame["score"] + 0.12 * frame["prior_score"] ** 3)


def skewed(frame: pd.DataFrame) -> pd.DataFrame:
    """A tenth of the schools lies far above the others: no outlier, a shape."""
    high = frame["school_id"].str[-1] == "3"
    return frame.assign(score=frame["score"] + 1.5 * high)


def leaning(frame: pd.DataFrame) -> pd.DataFrame:
    """One school holds all the reach of ses and its own slope."""
    own = frame["school_id"] == "S03"
    ses = frame["ses"].where(~own, 12.0 + frame["ses"])
    return frame.assign(ses=ses, score=frame["score"] - 0.4 * (ses - frame["ses"]))


@pytest.mark.parametrize(
    ("defect", "check"),
    [
        (bent, "curvature"),
        (cubic, "curvature"),
        (unruly, "spread_by_size"),
        (skewed, "effect_normality"),
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
    found = [checked(defect(region(seed)))[check] for seed in range(6)]
    # at a power of .99 two misses of six have a chance of one in seven hundred
    assert sum(how in FLAGS for how in found) >= 5, found


def panel(seed: int, sorted_by: float, n_schools: int = 40, n: int = 1500) -> pd.DataFrame:
    """Return pupils of two years; a third move, to schools that fit their unseen ability or not."""
    rng = np.random.default_rng(seed)
    effect = 0.3 * rng.normal(size=n_schools)
    hidden = rng.normal(size=n)
    first = rng.integers(0, n_schools, n)
    order = np.argsort(effect)
    rank = np.argsort(np.argsort(sorted_by * hidden + rng.normal(size=n)))
    moves = rng.random(n) < 0.4
    second = np.where(moves, order[rank * n_schools // n], first)
    prior = rng.normal(size=n)
    rows = []
    for year, school in ((2023, first), (2024, second)):
        score = 0.5 * prior + effect[school] + 0.8 * hidden + 0.5 * rng.normal(size=n)
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


@pytest.mark.parametrize(("n_schools", "n"), [(40, 1500), (100, 600)])
def test_pupils_who_move_at_random_are_not_sorted(n_schools, n):
    """Ability that is taken along is no sorting, not even in schools of a dozen rows."""
    found = [checked(panel(seed, 0.0, n_schools, n))["sorting"] for seed in range(25)]
    assert "not_checked" not in found
    # at one in a hundred, and a little above it with few moves per school
    assert sum(how in FLAGS for how in found) <= 2, found


def test_sorting_is_seen_among_movers_and_only_there():
    planted = [checked(panel(seed, 1.0))["sorting"] for seed in range(6)]
    assert sum(how in FLAGS for how in planted) >= 5, planted
    assert checked(region(0))["sorting"] == "not_checked"  # one year
    stay = panel(0, 0.0)
    first = stay[stay["year"] == 2023].set_index("pupil_key")["school_id"]
    assert checked(stay.assign(school_id=stay["pupil_key"].map(first)))["sorting"] == "not_checked"
    together = stay.assign(school_id=stay["school_id"] + stay["year"].astype(str))
    together["school_id"] = stay["pupil_key"].map(first) + together["year"].astype(str)
    assert checked(together)["sorting"] == "not_checked"  # all of a school move to the same one
