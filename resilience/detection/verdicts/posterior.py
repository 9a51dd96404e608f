"""Posterior rules: disadvantaged, better than delta, and how sure we are of both together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import EFFECT, INDEX, Criterion, fail
from resilience.detection.rules.wording import printed
from resilience.detection.verdicts.logic import NO, UNKNOWN, YES, Answers
from resilience.detection.verdicts.state import State, read_context, read_state, realised_gate
from resilience.detection.verdicts.tables import Found, Tables, blank
from resilience.errors import WeakDataWarning
from resilience.i18n import Bilingual, text
from resilience.stats.decisions import (
    critical_reliability,
    joint_posterior,
    power_to_detect,
    pupils_needed,
    years_needed,
)

__all__ = ["PosteriorVerdict", "judge_posterior"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

GOOD_POWER = 0.5
UPWARD = ("above", "at_least")


@dataclass(frozen=True, kw_only=True, eq=False)
class PosteriorVerdict:
    """Verdicts of the joint criteria with everything behind them, one entry per school.

    Attributes
    ----------
    answers, reason : ndarray
        Three answers and why.
    found : dict of {criterion name: Found}
        Each criterion by itself.
    columns : dict of {column: ndarray}
        Probabilities, power, needs, effect net of context.
    eligible : ndarray of bool
        Schools whose data allow a place in a list by probability.
    target : str
        ``persistent`` or ``this_year``.
    working : mapping of {column: ndarray or float}
        What the probability was computed from; see `resilience.detection.verdicts.working`.
    notes : tuple of Bilingual
    """

    answers: Answers
    reason: NDArray[np.object_]
    found: dict[str, Found]
    columns: dict[str, Floats]
    eligible: Flags
    target: str
    working: Mapping[str, Floats | float]
    notes: tuple[Bilingual, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
    """The question in the direction in which a yes means an effect above, a context below."""

    better: Criterion
    adversity: Criterion | None
    sd: float
    bound: float
    alternative: float
    sign_effect: int
    sign_context: int


def judge_posterior(tables: Tables, rule: Criteria) -> PosteriorVerdict:
    r"""Judge the criteria that stand on posterior evidence of effect and context, jointly.

    Residuals are taken off their line on the shrunken index, and the index has an error:
    `joint_posterior` gives P(c ≤ g and u > δ).  The power to say yes allows for the context: where
    only P(c ≤ g) is left for it, the effect must clear :math:`p^*/P(c \le g)`.

    Raises
    ------
    SpecificationError
        If the posterior criteria are more than one on ``effect`` and one on ``context_index``, or
        the alternative of the power lies at or below the bound of the effect.
    """
    better, adversity = _parts(rule)
    if better is None:
        return _judge_context(tables, rule, rule.joint_criteria[0])
    state = read_state(tables, rule, adversity)
    problem = _problem(rule, state, better, adversity)
    notes = list(state.notes)
    if state.variance <= 0:
        warnings.warn(WeakDataWarning(text("detection.no_variation")), stacklevel=4)
        notes.append(text("detection.no_variation"))
    usable = np.isfinite(state.residual) & np.isfinite(state.shrunken)
    joint = _joint(state, problem, usable)
    power, needed = _needs(tables, rule, state, problem, joint["adverse"], usable)
    answers, reason = _verdicts(state, rule, joint, usable, power)
    columns = {
        "probability": joint["probability"],
        "probability_policy": joint["policy"],
        "probability_effect": joint["effect"],
        "probability_adverse": joint["adverse"],
        "effect_net": joint["mean"],
        "effect_net_sd": joint["sd"],
        "power_to_detect": power,
        **needed,
    }
    if np.isposinf(needed["pupils_needed"]).any():
        notes.append(text("detection.no_single_year"))
    return PosteriorVerdict(
        answers=answers,
        reason=reason,
        found=_each(rule, state, problem, joint, usable),
        columns=columns,
        eligible=usable & state.trusted & (state.n_pupils >= rule.min_pupils),
        target="persistent" if state.persistent else "this_year",
        working=_working(state, problem, columns),
        notes=tuple(notes),
    )


def _working(
    state: State, problem: _Problem, columns: Mapping[str, Floats]
) -> dict[str, Floats | float]:
    """Return what the probabilities were computed from."""
    with_context = problem.adversity is not None
    found: dict[str, Floats | float] = {
        "effect": state.effect,
        "reliability": state.reliability,
        "line_level": state.level,
        "line_slope": state.line_slope,
        "residual_mean": state.residual,
        "precision": state.precision,
        "effect_variance": state.variance,
        "shrinkage": state.variance * state.precision / (1 + state.variance * state.precision),
        "delta": problem.sign_effect * problem.bound,
        "effect_sign": float(problem.sign_effect),
        "alternative": problem.sign_effect * problem.alternative,
        "probability": columns["probability"],
        "power_to_detect": columns["power_to_detect"],
        "n_pupils": state.n_pupils,
        "n_years": state.n_years,
    }
    if with_context:
        found |= {
            "context_index": state.context,
            "context_shrunken": state.shrunken,
            "context_error": np.sqrt(state.context_variance),
            "gate": state.gate,
            "context_sign": float(problem.sign_context),
            "context_slope": state.slope,
            "probability_adverse": columns["probability_adverse"],
        }
    return found


def _parts(rule: Criteria) -> tuple[Criterion | None, Criterion | None]:
    effects = [c for c in rule.joint_criteria if c.column == EFFECT]
    contexts = [c for c in rule.joint_criteria if c.column == INDEX]
    if len(effects) > 1 or len(contexts) > 1:
        raise fail("posterior_shape", rule=rule.id)
    if any(c.years_of > 1 or c.years == "mean" for c in rule.joint_criteria):
        raise fail("posterior_years", rule=rule.id)
    return effects[0] if effects else None, contexts[0] if contexts else None


def _judge_context(tables: Tables, rule: Criteria, criterion: Criterion) -> PosteriorVerdict:
    """Judge the context alone: yes or no where the error of the index leaves no doubt."""
    notes: list[Bilingual] = []
    own = read_context(tables, rule, notes)
    gate = realised_gate(own["shrunken"], criterion)
    sign = -1 if criterion.direction in UPWARD else 1
    p = _alone(sign * (gate - own["shrunken"]), own["context_variance"])
    known, threshold = np.isfinite(p), rule.losses.threshold
    with np.errstate(invalid="ignore"):
        steps = [
            (~known, UNKNOWN, text("detection.no_context")),
            (~own["trusted"], UNKNOWN, _weak(rule)),
            (p >= threshold, YES, text("detection.likely")),
            (p <= rule.p_no, NO, text("detection.unlikely")),
            (known, UNKNOWN, text("detection.context_alone_uncertain")),
        ]
    answers, reason = _first(steps, len(p))
    found = Found(
        answers=answers,
        value=own["shrunken"],
        threshold=np.full(len(p), gate),
        probability=p,
        reason=blank(len(p)),
    )
    return PosteriorVerdict(
        answers=answers,
        reason=reason,
        found={criterion.name: found},
        columns={"probability": p, "probability_adverse": p},
        eligible=known & own["trusted"],
        target="",
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


def _alone(gap: Floats, variance: Floats) -> Floats:
    """Return the probability of the index by itself; without error it is 0 or 1."""
    q = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(q > 0, special.ndtr(gap / q), (gap >= 0).astype(float))
    return np.asarray(np.where(np.isnan(gap) | np.isnan(q), np.nan, p))


def _weak(rule: Criteria) -> Bilingual:
    return text(
        "detection.weak_context",
        reliability=printed(rule.min_context_reliability or 0.0),
        coverage=printed(rule.min_coverage or 0.0),
    )


def _first(
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


def _problem(
    rule: Criteria, state: State, better: Criterion, adversity: Criterion | None
) -> _Problem:
    sd = float(np.sqrt(state.variance))
    sign = 1 if better.direction in UPWARD else -1
    own = better.bound
    if better.scale == "quantile":
        own = float(special.ndtri(better.bound)) * sd
    elif better.scale == "z":
        own = better.bound * sd
    bound = sign * own
    if better.floor > 0:
        bound = max(bound, better.floor)
    alternative = float(special.ndtri(rule.alternative_quantile or 0.9)) * sd
    if better.scale == "quantile":
        asked = better.bound if sign > 0 else 1 - better.bound
        if (rule.alternative_quantile or 0.9) <= asked:
            raise fail(
                "alternative", rule=rule.id, value=rule.alternative_quantile, bound=round(asked, 6)
            )
    return _Problem(
        better=better,
        adversity=adversity,
        sd=sd,
        bound=bound,
        alternative=alternative,
        sign_effect=sign,
        sign_context=-1 if adversity is not None and adversity.direction in UPWARD else 1,
    )


def _joint(state: State, problem: _Problem, usable: Flags) -> dict[str, Floats]:
    """Return joint and single probabilities, and the posterior of the effect."""
    names = ("probability", "policy", "adverse", "effect", "mean", "sd")
    found = {name: np.full(len(usable), np.nan) for name in names}
    if not usable.any():
        return found
    u, c = problem.sign_effect, problem.sign_context
    q2 = state.context_variance[usable]
    joint = joint_posterior(
        context=c * state.shrunken[usable],
        context_variance=q2,
        residual=u * state.residual[usable],
        precision=state.precision[usable],
        slope=u * c * state.slope,
        effect_variance=state.variance,
        gate=c * state.gate,
        bound=problem.bound,
    )
    found["probability"][usable] = joint.probability
    found["policy"][usable] = joint.policy
    found["effect"][usable] = joint.effect
    found["mean"][usable] = u * joint.effect_mean
    found["sd"][usable] = joint.effect_sd
    # of the index alone: what results say of the context is part of the joint probability
    found["adverse"][usable] = _alone(c * (state.gate - state.shrunken[usable]), q2)
    if problem.adversity is None:
        found["adverse"][:] = np.nan
    return found


def _needs(
    tables: Tables,
    rule: Criteria,
    state: State,
    problem: _Problem,
    adverse: Floats,
    usable: Flags,
) -> tuple[Floats, dict[str, Floats]]:
    """Return the power of these data, and the years or pupils with which it would be one half."""
    n = len(usable)
    empty = {"years_needed": np.full(n, np.nan), "pupils_needed": np.full(n, np.nan)}
    if problem.sd <= 0:
        return np.full(n, np.nan), empty
    context = np.where(np.isnan(adverse), 1.0, adverse)
    with np.errstate(divide="ignore", over="ignore"):
        asked = np.where(context > 0, rule.losses.threshold / context, np.inf)
    reachable = usable & (asked < 1)
    power = np.where(usable, 0.0, np.nan)
    if not problem.alternative > problem.bound:
        # the floor lies above what one school in ten reaches: these data cannot show such a school
        return power, empty
    p = np.where(reachable, asked, 0.5)
    common = {
        "effect_sd": problem.sd,
        "bound": problem.bound,
        "alternative": problem.alternative,
    }
    shown = power_to_detect(state.precision, threshold=p, **common)
    power = np.where(reachable, shown, power)
    critical = critical_reliability(threshold=p, **common)
    years, pupils = _amounts(tables, state, problem.sd, critical)
    return power, {
        "years_needed": np.where(reachable, years, np.nan),
        "pupils_needed": np.where(reachable, pupils, np.nan),
    }


def _amounts(tables: Tables, state: State, sd: float, critical: Floats) -> tuple[Floats, Floats]:
    """Return whole years of such cohorts, and whole pupils of one year."""
    residual = tables.variances.get("residual")
    transient = tables.variances.get("transient", 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        if residual is not None:
            years = years_needed(
                critical,
                effect_sd=sd,
                transient_variance=transient,
                pupil_variance=residual,
                n_per_year=state.n_pupils / state.n_years,
            )
            pupils = pupils_needed(
                critical, effect_sd=sd, transient_variance=transient, pupil_variance=residual
            )
        else:
            # the precision of the row says what a year brings; pupils and years cannot be told
            # apart without the variances unless there is but one year
            wanted = critical / (sd**2 * (1 - critical))
            years = wanted * state.n_years / state.precision
            pupils = np.where(state.persistent, np.nan, wanted * state.n_pupils / state.precision)
    tiny = 1e-9  # an exact whole number must not become the next one
    return np.ceil(years - tiny), np.ceil(pupils - tiny)


def _verdicts(
    state: State,
    rule: Criteria,
    joint: dict[str, Floats],
    usable: Flags,
    power: Floats,
) -> tuple[Answers, NDArray[np.object_]]:
    """Apply the order of the decision rule: data, yes, no, context, power."""
    n = len(usable)
    p, adverse = joint["probability"], joint["adverse"]
    threshold = rule.losses.threshold
    with np.errstate(invalid="ignore"):
        steps = [
            (np.isnan(state.precision), UNKNOWN, text("detection.no_effect")),
            (~usable, UNKNOWN, text("detection.no_context")),
            (
                state.n_pupils < rule.min_pupils,
                UNKNOWN,
                text("detection.few_pupils", n=rule.min_pupils),
            ),
            (~state.trusted, UNKNOWN, _weak(rule)),
            (p >= threshold, YES, text("detection.likely")),
            (p <= rule.p_no, NO, text("detection.unlikely")),
            (
                (adverse > rule.p_no) & (adverse < threshold),
                UNKNOWN,
                text("detection.context_uncertain"),
            ),
            (~(power >= GOOD_POWER), UNKNOWN, text("detection.low_power")),
            (np.ones(n, dtype=bool), NO, text("detection.would_be_seen")),
        ]
    return _first(steps, n)


def _each(
    rule: Criteria, state: State, problem: _Problem, joint: dict[str, Floats], usable: Flags
) -> dict[str, Found]:
    """Return each criterion by itself: its value, its bound, its own probability."""
    found = {}
    for criterion in rule.joint_criteria:
        context = criterion.column == INDEX
        probability = joint["adverse" if context else "effect"]
        bound = state.gate if context else problem.sign_effect * problem.bound
        with np.errstate(invalid="ignore"):
            answers = np.where(
                probability >= rule.losses.threshold,
                YES,
                np.where(probability <= rule.p_no, NO, UNKNOWN),
            )
        found[criterion.name] = Found(
            answers=np.where(usable, answers, UNKNOWN).astype(np.int8),
            value=state.shrunken if context else joint["mean"],
            threshold=np.full(len(usable), bound),
            probability=probability,
            reason=blank(len(usable)),
        )
    return found
