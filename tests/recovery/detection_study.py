"""Regions with known truth, judged by the library, by hard rules and by a Bayes oracle.

A region has 177 schools of 3 to 120 pupils a year over three years, a context that carries a slope
of results, and an index of known reliability.  The library sees means of schools and the index with
its standard error: it estimates the slope, all variances of effects, the reliability of the index
and the gate.  The oracle is told every parameter and sees the same data.

A school is truly resilient where its true context lies at or below the gate of the population and
its persistent effect above the bound, both at their true values.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from resilience.detection import Criteria, detect_schools
from resilience.errors import WeakDataWarning
from resilience.stats.verdicts.decisions import LossRule, joint_posterior
from resilience.value_added import SchoolLevelModel

N_SCHOOLS, N_YEARS = 177, 3
VAR_U, VAR_V, VAR_E = 0.09, 0.02, 0.57
YEARS = np.arange(2023, 2023 + N_YEARS)
IDS = [f"S{k:03d}" for k in range(N_SCHOOLS)]
BOUND = max(float(special.ndtri(0.75)) * np.sqrt(VAR_U), 0.10)
LOSSES = LossRule(false_positive=4.0, false_negative=1.0)
BANDS = {"3-10": (3, 10), "11-30": (11, 30), "over 30": (31, 1000)}  # pupils of a year
POSTERIOR = "resilient_posterior"
HARD = ("resilient_quadrant", "resilient_residual", "resilient_three_of_three")
RULES = [Criteria.preset(name) for name in (POSTERIOR, *HARD)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """What the library sees of a region, and what only the simulator knows.

    Attributes
    ----------
    means : DataFrame
        ``school_id year n_pupils mean_score context_index``.
    scores : DataFrame
        ``school_id context_index context_index_std_error context_reliability``; the reliability is
        estimated from the index and its error.
    size : ndarray of int
        Pupils of a year.
    effect : ndarray
        True persistent effect.
    resilient : ndarray of bool
        Truly resilient.
    oracle : ndarray
        Probability of being resilient given the data and every parameter.
    oracle_mean, oracle_sd : ndarray
        The oracle's posterior of the effect.
    """

    means: pd.DataFrame
    scores: pd.DataFrame
    size: np.ndarray
    effect: np.ndarray
    resilient: np.ndarray
    oracle: np.ndarray
    oracle_mean: np.ndarray
    oracle_sd: np.ndarray


def draw_region(rng: np.random.Generator, *, reliability: float, slope: float) -> Region:
    """Draw a region; ``slope`` is in pupil SD per SD of the context."""
    context, effect = rng.normal(size=N_SCHOOLS), rng.normal(0, np.sqrt(VAR_U), N_SCHOOLS)
    error = np.sqrt((1 - reliability) / reliability)
    index = context + error * rng.normal(size=N_SCHOOLS)
    size = np.clip(rng.lognormal(3, 0.8, N_SCHOOLS), 3, 120).astype(int)
    noise = np.sqrt(VAR_V + VAR_E / size)[:, None] * rng.normal(size=(N_SCHOOLS, N_YEARS))
    yearly = (slope * context + effect)[:, None] + noise
    precision = N_YEARS / (VAR_V + VAR_E / size)
    gate = float(special.ndtri(0.25)) * np.sqrt(reliability)
    shrunken = reliability * index
    known = joint_posterior(
        context=shrunken,
        context_variance=1 - reliability,
        residual=yearly.mean(axis=1) - slope * shrunken,
        precision=precision,
        slope=slope,
        effect_variance=VAR_U,
        gate=gate,
        bound=BOUND,
    )
    observed = 50 + 10 * index
    within = max(0.0, observed.var(ddof=1) - (10 * error) ** 2)
    return Region(
        means=pd.DataFrame(
            {
                "school_id": np.repeat(IDS, N_YEARS),
                "year": np.tile(YEARS, N_SCHOOLS),
                "n_pupils": np.repeat(size, N_YEARS),
                "mean_score": yearly.ravel(),
                "context_index": np.repeat(observed, N_YEARS),
            }
        ),
        scores=pd.DataFrame(
            {
                "school_id": IDS,
                "context_index": observed,
                "context_index_std_error": 10 * error,
                "context_reliability": within / (within + (10 * error) ** 2),
            }
        ),
        size=size,
        effect=effect,
        resilient=(context <= gate) & (effect > BOUND),
        oracle=known.probability,
        oracle_mean=known.effect_mean,
        oracle_sd=known.effect_sd,
    )


def judge(region: Region) -> pd.DataFrame:
    """Return one row per school: truth, probabilities, and the verdict of every rule."""
    model = SchoolLevelModel(
        "mean_score ~ context_index", time="year", n="n_pupils", sd=float(np.sqrt(VAR_E))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)  # abstentions are what is counted here
        va = model.fit(region.means)
        found = detect_schools(
            va.school_effects,
            region.scores,
            RULES,
            school_years=va.school_years,
            schools=region.means[["school_id", "year", "mean_score"]],
            variances=va.variances,
        )
    verdicts = found.schools.pivot_table(
        index="school_id", columns="rule_id", values="verdict", aggfunc="first"
    )
    own = found.schools[found.schools["rule_id"] == POSTERIOR]
    half = 1.959964 * own["effect_net_sd"].to_numpy(dtype=float)
    gap = np.abs(own["effect_net"].to_numpy(dtype=float) - region.effect)
    return pd.DataFrame(
        {
            "size": region.size,
            "resilient": region.resilient,
            "oracle": region.oracle,
            "oracle_listed": region.oracle >= LOSSES.threshold,
            "probability": own["probability"].to_numpy(dtype=float),
            "probability_policy": own["probability_policy"].to_numpy(dtype=float),
            "by_fdr": own["in_fdr_list"].fillna(False).to_numpy(dtype=bool),
            "covered": gap <= half,
            "width": half / (1.959964 * region.oracle_sd),
            "oracle_covered": np.abs(region.oracle_mean - region.effect)
            <= 1.959964 * region.oracle_sd,
            **{rule: verdicts[rule].to_numpy(dtype=object) for rule in verdicts.columns},
        }
    )


def study(*, reliability: float, slope: float, n_regions: int, seed: int) -> pd.DataFrame:
    """Return the judged schools of many regions; column ``region`` tells them apart."""
    rng = np.random.default_rng([seed, round(1000 * reliability), round(1000 * slope)])
    return pd.concat(
        [
            judge(draw_region(rng, reliability=reliability, slope=slope)).assign(region=k)
            for k in range(n_regions)
        ],
        ignore_index=True,
    )


def expected_loss(schools: pd.DataFrame, listed: pd.Series) -> np.ndarray:
    """Return the loss of a list in each region, expected by the oracle: an abstention is a no.

    The oracle's probability in place of the truth takes the luck of the draw out of the comparison.
    """
    p = schools["oracle"]
    loss = np.where(listed, LOSSES.false_positive * (1 - p), LOSSES.false_negative * p)
    return np.asarray(pd.Series(loss).groupby(schools["region"].to_numpy()).sum())


def ratio_with_error(top: np.ndarray, bottom: np.ndarray) -> tuple[float, float]:
    """Return the ratio of two sums over regions and its standard error over regions."""
    ratio = float(top.sum() / bottom.sum()) if bottom.sum() else float("nan")
    spread = np.sqrt(((top - ratio * bottom) ** 2).sum())
    return ratio, float(spread / bottom.sum()) if bottom.sum() else float("nan")


def share_with_error(schools: pd.DataFrame, rows: pd.Series, of: str) -> tuple[float, float]:
    """Return the share of ``of`` among the rows and its standard error over regions."""
    key = schools["region"].to_numpy()
    hits = (schools[of].astype(bool) & rows).groupby(key).sum()
    return ratio_with_error(hits.to_numpy(float), rows.groupby(key).sum().to_numpy(float))


def lists_of(schools: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the membership of every list that is compared."""
    return {
        "oracle": schools["oracle_listed"],
        "posterior, losses": schools[POSTERIOR] == "yes",
        "posterior, FDR .10": schools["by_fdr"],
        "cut posterior": schools["probability_policy"] >= LOSSES.threshold,
        **{rule.removeprefix("resilient_"): schools[rule] == "yes" for rule in HARD},
    }
