"""A context judged by itself, and the order in which verdicts are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion
from resilience.detection.rules.wording import printed
from resilience.detection.verdicts.logic import NO, UNKNOWN, YES, Answers
from resilience.detection.verdicts.state import read_context, realised_gate
from resilience.detection.verdicts.tables import Found, Tables, blank
from resilience.i18n import Bilingual, text

__all__ = ["UPWARD", "ContextVerdict", "alone", "first_that_holds", "judge_context", "weak"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

UPWARD = ("above", "at_least")


@dataclass(frozen=True, kw_only=True, eq=False)
class ContextVerdict:
    """Verdicts of a criterion on the index alone, one entry per school.

    Attributes
    ----------
    answers, reason : ndarray
        Three answers and why.
    found : dict of {criterion name: Found}
        The criterion.
    probability : ndarray
        Of the adverse context.
    eligible : ndarray of bool
        Schools whose index can carry a verdict.
    working : mapping of {column: ndarray or float}
        What the probability was computed from.
    notes : tuple of Bilingual
    """

    answers: Answers
    reason: NDArray[np.object_]
    found: dict[str, Found]
    probability: Floats
    eligible: Flags
    working: Mapping[str, Floats | float]
    notes: tuple[Bilingual, ...]


def judge_context(tables: Tables, rule: Criteria, criterion: Criterion) -> ContextVerdict:
    """Judge the context alone: yes or no where the error of the index leaves no doubt."""
    notes: list[Bilingual] = []
    own = read_context(tables, rule, notes)
    gate = realised_gate(own["shrunken"], criterion)
    sign = -1 if criterion.direction in UPWARD else 1
    p = alone(sign * (gate - own["shrunken"]), own["context_variance"])
    known, threshold = np.isfinite(p), rule.losses.threshold
    with np.errstate(invalid="ignore"):
        steps = [
            (~known, UNKNOWN, text("detection.no_context")),
            (~own["trusted"], UNKNOWN, weak(rule)),
            (p >= threshold, YES, text("detection.likely")),
            (p <= rule.p_no, NO, text("detection.unlikely")),
            (known, UNKNOWN, text("detection.context_alone_uncertain")),
        ]
    answers, reason = first_that_holds(steps, len(p))
    found = Found(
        answers=answers,
        value=own["shrunken"],
        threshold=np.full(len(p), gate),
        probability=p,
        reason=blank(len(p)),
    )
    return ContextVerdict(
        answers=answers,
        reason=reason,
        found={criterion.name: found},
        probability=p,
        eligible=known & own["trusted"],
        working={
            "context_index": own["context"],
            "context_shrunken": own["shrunken"],
            "context_error": np.sqrt(own["context_variance"]),
            "gate": gate,
            "context_sign": float(sign),
            "probability_adverse": p,
            "probability": p,
        },
        notes=tuple(notes),
    )


def alone(gap: Floats, variance: Floats) -> Floats:
    """Return the probability of the index by itself; without error it is 0 or 1."""
    q = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(q > 0, special.ndtr(gap / q), (gap >= 0).astype(float))
    return np.asarray(np.where(np.isnan(gap) | np.isnan(q), np.nan, p))


def weak(rule: Criteria) -> Bilingual:
    """Return the reason of a school whose index cannot carry a verdict."""
    return text(
        "detection.weak_context",
        reliability=printed(rule.min_context_reliability or 0.0),
        coverage=printed(rule.min_coverage or 0.0),
    )


def first_that_holds(
    steps: Sequence[tuple[Flags, np.int8, Bilingual]], n: int
) -> tuple[Answers, NDArray[np.object_]]:
    """Return the answer and the reason of the first step that holds."""
    answers = np.full(n, NO, dtype=np.int8)
    reason = blank(n)
    open_ = np.ones(n, dtype=bool)
    for condition, answer, why in steps:
        hit = open_ & condition
        answers[hit] = answer
        for k in np.flatnonzero(hit):
            reason[k] = why
        open_ &= ~hit
    return answers, reason
