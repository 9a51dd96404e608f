"""The question of a posterior rule: its probability, its power, and what is still needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion, fail
from resilience.detection.verdicts.context_alone import UPWARD, alone
from resilience.detection.verdicts.state import State
from resilience.detection.verdicts.tables import Tables
from resilience.stats.binormal import binormal_cdf
from resilience.stats.verdicts.decisions import (
    JointPosterior,
    critical_reliability,
    joint_posterior,
    power_to_detect,
    pupils_needed,
    years_needed,
)
from resilience.stats.verdicts.event_posterior import (
    YearModel,
    YearResiduals,
    event_probability,
    target_joint,
)

__all__ = ["EVENT_DRAWS", "Problem", "joint_probabilities", "needs", "pose"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

EVENT_DRAWS = 4000
SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """The question in the direction in which a yes means an effect above, a context below.

    Attributes
    ----------
    better : Criterion
        On the effect; the event over years where there is one.
    lasting : Criterion or None
        A second criterion that the persistent effect must satisfy beside an event.
    adversity : Criterion or None
        On the index.
    sd, bound, alternative : float
        σ_u, δ and the effect to be seen.
    lasting_bound : float or None
        Bound of ``lasting``.
    sign_effect, sign_context : int
        −1 where the rule asks for the other side.
    """

    better: Criterion
    lasting: Criterion | None
    adversity: Criterion | None
    sd: float
    bound: float
    lasting_bound: float | None
    alternative: float
    sign_effect: int
    sign_context: int

    @property
    def target(self) -> str:
        """``event``, ``next_year`` or ``persistent``."""
        if self.better.years_of > 1:
            return "event"
        return "next_year" if self.better.years == "next_year" else "persistent"


def pose(
    rule: Criteria,
    state: State,
    better: Criterion,
    lasting: Criterion | None,
    adversity: Criterion | None,
) -> Problem:
    """Return the question of a rule with its bounds in outcome units."""
    sd = float(np.sqrt(state.variance))
    sign = 1 if better.direction in UPWARD else -1
    alternative = float(special.ndtri(rule.alternative_quantile or 0.9)) * sd
    if better.scale == "quantile":
        asked = better.bound if sign > 0 else 1 - better.bound
        if (rule.alternative_quantile or 0.9) <= asked:
            raise fail(
                "alternative", rule=rule.id, value=rule.alternative_quantile, bound=round(asked, 6)
            )
    return Problem(
        better=better,
        lasting=lasting,
        adversity=adversity,
        sd=sd,
        bound=_bound(better, sd, sign),
        lasting_bound=None if lasting is None else _bound(lasting, sd, sign),
        alternative=alternative,
        sign_effect=sign,
        sign_context=-1 if adversity is not None and adversity.direction in UPWARD else 1,
    )


def _bound(criterion: Criterion, sd: float, sign: int) -> float:
    """Return the bound in outcome units, in the direction of a yes."""
    own = criterion.bound
    if criterion.scale == "quantile":
        own = float(special.ndtri(criterion.bound)) * sd
    elif criterion.scale == "z":
        own = criterion.bound * sd
    bound = sign * own
    return max(bound, criterion.floor) if criterion.floor > 0 else bound


def joint_probabilities(state: State, problem: Problem, usable: Flags) -> dict[str, Floats]:
    """Return joint and single probabilities, and the posterior of the effect.

    Keys ``probability``, ``policy``, ``adverse``, ``effect``, ``mean`` and ``sd``; NaN where a
    school lacks an effect or an index.
    """
    names = ("probability", "policy", "adverse", "effect", "mean", "sd")
    found = {name: np.full(len(usable), np.nan) for name in names}
    if not usable.any():
        return found
    c = problem.sign_context
    own = _by_year(state, problem, usable) if state.yearly is not None else None
    if own is None:
        own = _from_effects(state, problem, usable)
    for name, values in own.items():
        found[name][usable] = values
    # of the index alone: what results say of the context is part of the joint probability
    q2 = state.context_variance[usable]
    found["adverse"][usable] = alone(c * (state.gate - state.shrunken[usable]), q2)
    if problem.adversity is None:
        found["adverse"][:] = np.nan
    return found


def _from_effects(state: State, problem: Problem, usable: Flags) -> dict[str, Floats]:
    """Return what one mean residual per school tells of its lasting or its next year's effect."""
    u, c = problem.sign_effect, problem.sign_context
    q2, A = state.context_variance[usable], state.precision[usable]
    a, d = c * state.shrunken[usable], u * state.residual[usable]
    slope, gate = u * c * state.slope, c * state.gate
    joint = joint_posterior(
        context=a,
        context_variance=q2,
        residual=d,
        precision=A,
        slope=slope,
        effect_variance=state.variance,
        gate=gate,
        bound=problem.bound,
    )
    found = {
        "probability": joint.probability,
        "policy": joint.policy,
        "effect": joint.effect,
        "mean": u * joint.effect_mean,
        "sd": joint.effect_sd,
    }
    if problem.target == "next_year":
        trust = state.variance * A / (1.0 + state.variance * A)
        cut = (trust * d, state.variance * (1 - trust) + trust**2 * slope**2 * q2)
        found |= _coming(
            joint, (a, np.sqrt(q2)), (*cut, trust * slope * q2), state.transient, (gate, problem)
        )
    return found


def _coming(
    joint: JointPosterior,
    context: tuple[Floats, Floats],
    cut: tuple[Floats, Floats, Floats],
    transient: float,
    bounds: tuple[float, Problem],
) -> dict[str, Floats]:
    """Return the same for the lasting effect plus the transient one of a year to come."""
    gate, delta = bounds[0], bounds[1].bound
    sd = np.sqrt(joint.effect_sd**2 + transient)
    rho = joint.correlation * np.where(sd > 0, joint.effect_sd / np.where(sd > 0, sd, 1.0), 0.0)
    h = _over(gate - joint.context_mean, joint.context_sd, closed=True)
    k = _over(joint.effect_mean - delta, sd, closed=False)
    a, q = context
    mean, variance, covariance = cut
    cut_sd = np.sqrt(variance + transient)
    both = q * cut_sd
    cut_rho = np.where(both > 0, covariance / np.where(both > 0, both, 1.0), 0.0)
    cut_h, cut_k = _over(gate - a, q, closed=True), _over(mean - delta, cut_sd, closed=False)
    return {
        "probability": binormal_cdf(h, k, np.clip(-rho, -1, 1)),
        "policy": binormal_cdf(cut_h, cut_k, np.clip(cut_rho, -1, 1)),
        "effect": np.asarray(special.ndtr(k)),
        "sd": sd,
    }


def _over(gap: Floats, sd: Floats, *, closed: bool) -> Floats:
    """Return gap/sd; without error ±∞, 0 counting as inside where ``closed``."""
    inside = gap >= 0 if closed else gap > 0
    sure = np.where(inside, np.inf, -np.inf)
    return np.where(sd > 0, gap / np.where(sd > 0, sd, 1.0), sure)


def _by_year(state: State, problem: Problem, usable: Flags) -> dict[str, Floats]:
    """Return what yearly residuals tell of the lasting effect, the next year's, or an event."""
    assert state.yearly is not None
    data, model = state.yearly
    u, c = problem.sign_effect, problem.sign_context
    own = YearResiduals(
        residual=u * data.residual[usable],
        sampling_variance=data.sampling_variance[usable],
        years=data.years,
        context=c * state.shrunken[usable],
        context_variance=state.context_variance[usable],
        slope=u * c * state.slope,
    )
    gate = c * state.gate
    lasting = target_joint(
        own,
        model,
        target="next_year" if problem.target == "next_year" else "persistent",
        gate=gate,
        bound=problem.bound,
    )
    found = {
        "probability": lasting.probability,
        "policy": lasting.policy,
        "effect": lasting.effect,
        "mean": u * lasting.mean,
        "sd": lasting.sd,
    }
    if problem.target == "event":
        found["probability"], found["effect"] = _event(own, model, problem, gate)
        found["policy"] = np.full(len(own.residual), np.nan)
    return found


def _event(
    data: YearResiduals, model: YearModel, problem: Problem, gate: float
) -> tuple[Floats, Floats]:
    joint, apart, _ = event_probability(
        data,
        model,
        gate=gate,
        bound=problem.bound,
        years_at_least=problem.better.years_at_least,
        years_of=problem.better.years_of,
        persistent_bound=problem.lasting_bound,
        n_draws=EVENT_DRAWS,
        random_state=SEED,
    )
    return joint, apart


def needs(
    tables: Tables,
    rule: Criteria,
    state: State,
    problem: Problem,
    adverse: Floats,
    usable: Flags,
) -> tuple[Floats, dict[str, Floats]]:
    """Return the power of these data, and the years or pupils with which it would be one half.

    Of events over years they are those of a lasting effect beyond the same bound.
    """
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
    passing = state.transient if problem.target == "next_year" else 0.0
    common = {
        "effect_sd": problem.sd,
        "bound": problem.bound,
        "alternative": problem.alternative,
        "passing": passing,
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
