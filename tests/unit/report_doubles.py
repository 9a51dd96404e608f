"""Hand-made results for the tests of figures and reports: the tables of the contract, no model."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

RUSSIAN = "Школа № "


@dataclass(frozen=True, kw_only=True)
class ValueAddedResults:
    school_effects: pd.DataFrame
    fixed_effects: pd.DataFrame
    variance_components: pd.DataFrame
    school_years: pd.DataFrame
    criterion: float = 1234.5
    method: str = "reml"
    formula: str = "score ~ prior_score + ses"
    question: str | None = "since_grade_4"
    n_pupils: int = 9000
    n_schools: int = 177
    icc: float = 0.2
    level: float = 0.95
    convergence: Any = None

    def title(self, lang: str = "en") -> str:
        return "value added"


@dataclass(frozen=True, kw_only=True)
class ContextIndexResults:
    scores: pd.DataFrame
    weights: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class DetectionResults:
    schools: pd.DataFrame
    criteria: pd.DataFrame
    rules: tuple[Any, ...] = field(default_factory=tuple)


def effects_frame(n: int = 177, seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    pupils = np.clip(rng.lognormal(3, 0.8, n), 3, 120).astype(int)
    var_u, var_e = 0.1, 0.6
    reliability = var_u / (var_u + var_e / pupils)
    effect = rng.normal(0, np.sqrt(var_u * reliability))
    sd = np.sqrt(var_u * (1 - reliability))
    error = sd * 1.05
    expected = rng.normal(0, 0.4, n)
    p = norm.cdf(effect / error)
    band = np.select(
        [p < 0.025, p < 0.2, p <= 0.8, p <= 0.975],
        ["well_below", "below", "between", "above"],
        "well_above",
    )
    rank = pd.Series(effect).rank()
    return pd.DataFrame(
        {
            "school_id": [f"S{i:03d}" for i in range(1, n + 1)],
            "effect": effect,
            "std_error": error,
            "conditional_sd": sd,
            "conf_low": effect - 1.959964 * error,
            "conf_high": effect + 1.959964 * error,
            "reliability": reliability,
            "n_pupils": pupils,
            "n_years": 4,
            "observed_mean": expected + effect / reliability,
            "expected_mean": expected,
            "rank_expected": rank,
            "rank_low": np.maximum(1, rank - 20),
            "rank_high": np.minimum(n, rank + 20),
            "p_above_zero": p,
            "band": band,
        }
    )


def scores_frame(effects: pd.DataFrame, seed: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    expected = effects["expected_mean"].to_numpy()
    index = 50 + 10 * (0.8 * expected / 0.4 + 0.6 * rng.normal(size=len(effects)))
    parts = [
        pd.DataFrame(
            {
                "school_id": effects["school_id"],
                "year": year,
                "context_index": index + (year - 2025) + rng.normal(0, 1, len(effects)),
                "context_index_std_error": 2.0,
                "context_reliability": 0.9,
                "context_coverage": 1.0,
            }
        )
        for year in (2024, 2025)
    ]
    return pd.concat(parts, ignore_index=True)


def schools_frame(effects: pd.DataFrame) -> pd.DataFrame:
    n = len(effects)
    return pd.DataFrame(
        {
            "school_id": effects["school_id"],
            "municipality_id": [f"Район {1 + i % 11}" for i in range(n)],
            "name": [f"{RUSSIAN}{i + 1}" for i in range(n)],
            "is_rural": [i % 3 != 0 for i in range(n)],
            "year": 2025,
        }
    )


def verdict_frame(effects: pd.DataFrame, rule: str, seed: int = 7) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0, 1, len(effects)) ** 3
    verdict = np.where(effects["n_pupils"] < 9, "insufficient_data", np.where(p > 0.7, "yes", "no"))
    return pd.DataFrame(
        {
            "school_id": effects["school_id"],
            "rule_id": rule,
            "verdict": verdict,
            "probability": p,
            "threshold": 0.8,
            "reason": "",
        }
    )


def rule_double(identifier: str, en: str, ru: str) -> Any:
    return SimpleNamespace(
        id=identifier,
        version="1",
        status="proposal",
        reference="",
        title=lambda lang="en": ru if lang == "ru" else en,
    )
