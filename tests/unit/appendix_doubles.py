"""A whole appendix of hand-made results, for the tests of its content and of its files."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from report_doubles import (
    ContextIndexResults,
    DetectionResults,
    ValueAddedResults,
    effects_frame,
    rule_double,
    schools_frame,
    scores_frame,
    verdict_frame,
)

from resilience.i18n import Bilingual
from resilience.reporting import Appendix, DataRecord, Provenance, methods_appendix
from resilience.reporting.draft import Figure, Heading, Prose, Table

HOSTILE = "МБОУ «СОШ | № 5» *a*_b_ $x$ <b> [c](d) `e` ~f~ ^g^ @h {i} #j \\k"


@dataclass(frozen=True, kw_only=True)
class YearlyResults(ValueAddedResults):
    """Value added with a level for years."""

    group: str = "school_id"
    time: str | None = "year"
    variances: dict[str, float] = field(default_factory=lambda: {"persistent": 0.1})


def rule(identifier: str, status: str, **record: Any) -> Any:
    facts = vars(rule_double(identifier, f"Rule {identifier}", f"Правило {identifier}"))
    return SimpleNamespace(
        **{
            **facts,
            "status": status,
            "reference": record.pop("reference", ""),
            "describe": lambda lang="en": "Описание." if lang == "ru" else "Description.",
            "to_dict": lambda: record,
        }
    )


def material(n: int = 24) -> dict[str, Any]:
    effects = effects_frame(n)
    rules = (
        rule(
            "resilient_posterior",
            "proposal",
            combination="all",
            criterion=[
                {
                    "name": "effect",
                    "column": "effect",
                    "above": 0.75,
                    "evidence": "posterior",
                    "loss_false_positive": 4,
                    "loss_false_negative": 1,
                    "min_participants": 1,
                    "reference": "Yastrebov2014",
                }
            ],
        ),
        rule("low_2025_or", "documented", second_hand=True, parameters={"share_at_least": 0.3}),
        rule("low_2025_and", "unverified"),
    )
    frames = [verdict_frame(effects, r.id, seed=k) for k, r in enumerate(rules, 7)]
    verdicts = pd.concat(frames, ignore_index=True)
    few = Bilingual("few pupils", "мало учеников")
    verdicts["reason"] = pd.Series(
        [few if v == "insufficient_data" else "" for v in verdicts["verdict"]], dtype=object
    )
    schools = schools_frame(effects)
    schools.loc[0, "name"] = HOSTILE
    va = YearlyResults(
        school_effects=effects,
        fixed_effects=pd.DataFrame(
            {
                "term": ["Intercept", "prior_score"],
                "estimate": [0.01, 0.56],
                "std_error": [0.03, 0.01],
                "conf_low": [-0.05, 0.54],
                "conf_high": [0.07, 0.58],
            }
        ),
        variance_components=pd.DataFrame(
            {
                "group": ["school_id", "school_id × year", "residual"],
                "term": ["Intercept", "Intercept", ""],
                "variance": [0.1, 0.02, 0.6],
                "std_dev": [0.3162, 0.1414, 0.7746],
                "correlation": [np.nan] * 3,
            }
        ),
        school_years=pd.DataFrame({"school_id": ["S001"] * 3, "year": [2023, 2024, 2025]}),
        convergence=SimpleNamespace(converged=True, singular=False),
        n_schools=n,
    )
    index = ContextIndexResults(
        scores=scores_frame(effects),
        weights=pd.DataFrame(
            {
                "term": ["both_parents_higher_edu", "single_parent"],
                "estimate": [0.6, 0.4],
                "conf_low": [np.nan] * 2,
                "conf_high": [np.nan] * 2,
                "direction": [1, -1],
            }
        ),
    )
    criteria = pd.DataFrame(
        {
            "school_id": ["S001"],
            "rule_id": ["low_2025_and"],
            "criterion": ["both conditions"],
            "threshold": [0.3],
            "scale": ["value"],
        }
    )
    return {
        "va": va,
        "index": index,
        "found": DetectionResults(schools=verdicts, criteria=criteria, rules=rules),
        "schools": schools,
        "counts": pd.DataFrame(
            {
                "school_id": ["S001", "S002"],
                "year": [2024, 2025],
                "procedure": ["ВПР-5-МА", "ОГЭ-РУ"],
                "n_participants": [10, 20],
            }
        ),
        "provenance": Provenance(
            data=(DataRecord(name="schools", sha256="0123456789abcdef" * 4, n_rows=24),),
            as_of="2026-05-31",
            seed=11,
            command="resilience run region.toml -o out",
            settings=(("model.formula", "score ~ prior_score"),),
            citations=("Simulated region.",),
            licence="BSD-3-Clause",
        ),
    }


def appendix(lang: str = "ru", **changes: Any) -> Appendix:
    parts = {**material(), **changes}
    first = (parts.pop("va"), parts.pop("index"), parts.pop("found"))
    return methods_appendix(*first, lang=lang, **parts)


def words_of(document: Appendix) -> str:
    """Return headings, prose and captions: all that is not a cell."""
    parts: list[str] = []
    for block in document.blocks:
        match block:
            case Heading():
                parts.append(block.words)
            case Prose():
                parts += block.items
            case Table() | Figure():
                parts.append(block.caption)
    return "\n".join(parts)
