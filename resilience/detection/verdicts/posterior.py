"""Posterior rules: disadvantaged, better than delta, and how sure we are of both together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import EFFECT, INDEX, Criterion, fail
from resilience.detection.rules.wording import printed
from resilience.detection.verdicts.context_alone import (
    UPWARD,
    first_that_holds,
    judge_context,
    weak,
)
from resilience.detection.verdicts.logic import NO, UNKNOWN, YES, Answers
from resilience.detection.verdicts.problem import (
    EVENT_DRAWS,
    Problem,
    joint_probabilities,
    needs,
    pose,
)
from resilience.detection.verdicts.state import State, read_state
from resilience.detection.verdicts.tables import Found, Tables, blank
from resilience.detection.verdicts.yearly import subjects_of
from resilience.errors import warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.stats.verdicts.event_posterior import frechet_bounds

__all__ = ["PosteriorVerdict", "judge_posterior"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

GOOD_POWER = 0.5


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
        What the probability speaks of, in words; empty for a context alone.
    working : mapping of {column: ndarray or float}
        What the probability was computed from; see `resilience.detection.verdicts.working`.
    notes : tuple of Bilingual
    """

    answers: Answers
    reason: NDArray[np.object_]
    found: dict[str, Found]
    columns: dict[str, Floats]
    eligible: Flags
    target: Bilingual | str
    working: Mapping[str, Floats | float]
    notes: tuple[Bilingual, ...]


def judge_posterior(tables: Tables, rule: Criteria) -> PosteriorVerdict:
    r"""Judge the criteria that stand on posterior evidence of effect and context, jointly.

    Residuals are taken off their line on the shrunken index, and the index has an error:
    P(c ≤ g and effect > δ) of the joint posterior.  The effect is the persistent one, that of the
    next year, or the event "u + v_t beyond δ in at least k of the last T years", alone or together
    with a criterion on the persistent effect.  The power to say yes allows for the context: where
    only P(c ≤ g) is left for it, the effect must clear :math:`p^*/P(c \le g)`.

    Where a criterion speaks of single subjects, each is judged by itself and the probability is the
    lower Fréchet bound of "any", "all" or "at least k" of them, which holds whatever their
    dependence; ``probability_from`` and ``probability_to`` are both bounds.

    Where the variance of the effects is estimated at zero, all reliabilities are 0: the data tell
    no school from another, there is no probability, and the answer is ``insufficient_data``.

    Raises
    ------
    SpecificationError
        If the posterior criteria do not make one question, or the alternative of the power lies at
        or below the bound of the effect.
    """
    better, lasting, adversity = _parts(rule)
    if better is None:
        context = judge_context(tables, rule, rule.joint_criteria[0])
        return PosteriorVerdict(
            answers=context.answers,
            reason=context.reason,
            found=context.found,
            columns={
                "probability": context.probability,
                "probability_adverse": context.probability,
            },
            eligible=context.eligible,
            target="",
            working=context.working,
            notes=context.notes,
        )
    if better.subjects != "mean":
        views = [
            _view(tables, rule, (better, lasting, adversity), subject)
            for subject in subjects_of(tables, rule)
        ]
        view = _together(views, better)
    else:
        view = _view(tables, rule, (better, lasting, adversity), None)
    return _verdict(rule, view)


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    """What the data say to the question: of one subject, or of all together.

    ``doubt`` marks the schools of which an effect was asked whose variance is estimated at zero.
    """

    state: State
    problem: Problem
    joint: dict[str, Floats]
    power: Floats
    needed: dict[str, Floats]
    usable: Flags
    doubt: Flags
    bounds: tuple[Floats, Floats] | None = None
    notes: tuple[Bilingual, ...] = ()


def _view(
    tables: Tables,
    rule: Criteria,
    parts: tuple[Criterion, Criterion | None, Criterion | None],
    subject: str | None,
) -> _View:
    better, lasting, adversity = parts
    state = read_state(tables, rule, better, adversity, subject=subject)
    problem = pose(rule, state, better, lasting, adversity)
    notes = list(state.notes)
    informed = _tells_apart(state, problem)
    if not informed:
        warn_weak_data(text("detection.no_variation"))
        notes.append(text("detection.no_variation"))
    if problem.target == "event":
        error = printed(0.5 / float(np.sqrt(EVENT_DRAWS)), 3)
        notes.append(text("events.draws_error", draws=EVENT_DRAWS, error=error))
    usable = np.isfinite(state.residual) & np.isfinite(state.shrunken)
    joint = joint_probabilities(state, problem, usable)
    if not informed:
        # all prior and no data: a variance estimated at zero is not one known to be zero
        left = ("adverse", "mean")
        joint = {k: v if k in left else np.full_like(v, np.nan) for k, v in joint.items()}
    power, needed = needs(tables, rule, state, problem, joint["adverse"], usable)
    return _View(
        state=state,
        problem=problem,
        joint=joint,
        power=power,
        needed=needed,
        usable=usable,
        doubt=usable & (not informed),
        notes=tuple(notes),
    )


def _tells_apart(state: State, problem: Problem) -> bool:
    """Tell whether the data carry anything about the effects that are asked for.

    Where the lasting variance is estimated at zero every lasting effect has the reliability 0.
    What single years had of their own can still be seen: in an event over them, and, where years
    hang together, in the year to come; but not against a bound in units of the lasting SD.
    """
    if state.variance > 0:
        return True
    asked = [problem.better] if problem.lasting is None else [problem.better, problem.lasting]
    if state.yearly is None or len(asked) > 1 or any(c.scale in ("quantile", "z") for c in asked):
        return False
    model = state.yearly[1]
    seen = problem.target == "event" or (
        problem.target == "next_year" and model.lag_correlation > 0
    )
    return seen and model.transient > 0


def _together(views: list[_View], better: Criterion) -> _View:
    """Return the view of enough subjects: probabilities by their bounds, the rest of the first.

    A school counts with the subjects it has; the effect and its SD are means over them.  Of a
    subject that tells no school from another the probability is anything between 0 and 1.
    """
    stacks = {k: np.stack([v.joint[k] for v in views], axis=1) for k in views[0].joint}
    doubt = np.stack([v.doubt for v in views], axis=1)
    at_least = {k: np.where(doubt, 0.0, stacks[k]) for k in ("probability", "effect")}
    at_most = np.where(doubt, 1.0, stacks["probability"])
    known = np.isfinite(at_most)
    have = known.sum(axis=1)
    asked = {"any": np.ones_like(have), "all": have}.get(
        str(better.subjects), np.full_like(have, _whole(better.subjects))
    )
    usable = (have > 0) & (asked <= have)
    n = len(have)
    low, high, alone = (np.full(n, np.nan) for _ in range(3))
    for k, m in {(int(h), int(a)) for h, a in zip(have[usable], asked[usable], strict=True)}:
        rows = usable & (have == k) & (asked == m)
        own = known[rows]
        low[rows] = frechet_bounds(at_least["probability"][rows][own].reshape(-1, k), m)[0]
        high[rows] = frechet_bounds(at_most[rows][own].reshape(-1, k), m)[1]
        alone[rows] = frechet_bounds(at_least["effect"][rows][own].reshape(-1, k), m)[0]
    first = views[0]
    power = np.sort(np.stack([v.power for v in views], axis=1), axis=1)[:, ::-1]  # NaN come first
    place = np.clip(len(views) - have + asked - 1, 0, len(views) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # schools without any subject
        mean, sd = np.nanmean(stacks["mean"], axis=1), np.nanmean(stacks["sd"], axis=1)
        adverse = np.nanmean(stacks["adverse"], axis=1)
        pupils = np.max([np.nan_to_num(v.state.n_pupils) for v in views], axis=0)
    joint = {
        "probability": low,
        "policy": np.full(n, np.nan),
        "adverse": adverse,
        "effect": alone,
        "mean": mean,
        "sd": sd,
    }
    precise = np.nanmax(np.nan_to_num([v.state.precision for v in views]), axis=0)
    notes = list(dict.fromkeys(note for v in views for note in v.notes))
    notes.append(text("events.bounds", n=len(views)))
    empty = {name: np.full(n, np.nan) for name in first.needed}
    return _View(
        state=replace(first.state, n_pupils=pupils, precision=np.where(have > 0, precise, np.nan)),
        problem=first.problem,
        joint=joint,
        power=np.take_along_axis(power, place[:, None], axis=1)[:, 0],
        needed=empty,
        usable=usable,
        doubt=usable & doubt.any(axis=1),
        bounds=(low, high),
        notes=tuple(notes),
    )


def _whole(subjects: object) -> int:
    return subjects if isinstance(subjects, int) else 1


def _verdict(rule: Criteria, view: _View) -> PosteriorVerdict:
    """Return verdicts and tables of what the data say."""
    state, problem, joint, usable = view.state, view.problem, view.joint, view.usable
    answers, reason = _verdicts(rule, view)
    columns = {
        "probability": joint["probability"],
        "probability_policy": joint["policy"],
        "probability_effect": joint["effect"],
        "probability_adverse": joint["adverse"],
        "effect_net": joint["mean"],
        "effect_net_sd": joint["sd"],
        "power_to_detect": view.power,
        **view.needed,
    }
    if view.bounds is not None:
        columns["probability_from"], columns["probability_to"] = view.bounds
    notes = list(view.notes)
    if np.isposinf(view.needed["pupils_needed"]).any():
        notes.append(text("detection.no_single_year"))
    return PosteriorVerdict(
        answers=answers,
        reason=reason,
        found=_each(rule, view),
        columns=columns,
        eligible=usable & ~_open(view, rule) & state.trusted & (state.n_pupils >= rule.min_pupils),
        target=_target(state, problem),
        working={} if view.bounds is not None else _working(state, problem, columns),
        notes=tuple(notes),
    )


def _target(state: State, problem: Problem) -> Bilingual:
    if problem.target == "event":
        k, n = problem.better.years_at_least, problem.better.years_of
        return text("events.target_event", k=k, n=n)
    if problem.target == "next_year":
        return text("events.target_next_year")
    return text(f"detection.target_{'persistent' if state.persistent else 'this_year'}")


def _working(
    state: State, problem: Problem, columns: Mapping[str, Floats]
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
        "transient_variance": state.transient if problem.target != "persistent" else np.nan,
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


def _parts(
    rule: Criteria,
) -> tuple[Criterion | None, Criterion | None, Criterion | None]:
    """Return the criteria on the effect, on a lasting effect beside an event, and on the index."""
    effects = [c for c in rule.joint_criteria if c.column == EFFECT]
    contexts = [c for c in rule.joint_criteria if c.column == INDEX]
    events = [c for c in effects if c.years_of > 1]
    lasting = [c for c in effects if c.years_of == 1]
    one_question = len(effects) < 2 or (
        len(events) == len(lasting) == 1
        and lasting[0].years != "next_year"
        and (events[0].direction in UPWARD) == (lasting[0].direction in UPWARD)
        and events[0].subjects == lasting[0].subjects
    )
    if len(contexts) > 1 or not one_question:
        raise fail("posterior_shape", rule=rule.id)
    if any(c.years_of > 1 or c.years == "next_year" for c in contexts) or any(
        c.years == "mean" for c in rule.joint_criteria
    ):
        raise fail("posterior_years", rule=rule.id)
    context = contexts[0] if contexts else None
    if events:
        return events[0], lasting[0] if lasting else None, context
    return effects[0] if effects else None, None, context


def _open(view: _View, rule: Criteria) -> Flags:
    """Return the schools whose "no" would rest on a variance of effects estimated at zero."""
    if view.bounds is None:
        return view.doubt
    with np.errstate(invalid="ignore"):
        return np.asarray(view.doubt & ~(view.bounds[1] <= rule.p_no))


def _verdicts(rule: Criteria, view: _View) -> tuple[Answers, NDArray[np.object_]]:
    """Apply the order of the decision rule: data, yes, variance, no, context, power."""
    state, joint, usable, power = view.state, view.joint, view.usable, view.power
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
            (~state.trusted, UNKNOWN, weak(rule)),
            (p >= threshold, YES, text("detection.likely")),
            (_open(view, rule), UNKNOWN, text("detection.effects_alike")),
            (p <= rule.p_no, NO, text("detection.unlikely")),
            (
                (adverse > rule.p_no) & (adverse < threshold),
                UNKNOWN,
                text("detection.context_uncertain"),
            ),
            (~(power >= GOOD_POWER), UNKNOWN, text("detection.low_power")),
            (np.ones(n, dtype=bool), NO, text("detection.would_be_seen")),
        ]
    return first_that_holds(steps, n)


def _each(rule: Criteria, view: _View) -> dict[str, Found]:
    """Return each criterion by itself: its value, its bound, its own probability."""
    state, problem, joint, usable = view.state, view.problem, view.joint, view.usable
    found = {}
    for criterion in rule.joint_criteria:
        context = criterion.column == INDEX
        beside = criterion is problem.lasting  # judged with the event, not by itself
        probability = joint["adverse" if context else "effect"]
        bound = problem.bound if not beside else problem.lasting_bound or 0.0
        with np.errstate(invalid="ignore"):
            answers = np.where(
                probability >= rule.losses.threshold,
                YES,
                np.where(probability <= rule.p_no, NO, UNKNOWN),
            )
        if not context:
            answers = np.where(_open(view, rule) & (answers == NO), UNKNOWN, answers)
        found[criterion.name] = Found(
            answers=np.where(usable, answers, UNKNOWN).astype(np.int8),
            value=state.shrunken if context else joint["mean"],
            threshold=np.full(len(usable), state.gate if context else problem.sign_effect * bound),
            probability=probability,
            reason=blank(len(usable)),
        )
    return found
