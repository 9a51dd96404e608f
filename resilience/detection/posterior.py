"""Posterior rules: disadvantaged, better than delta, and how sure we are of both together."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from resilience.detection.criteria import Criteria, Criterion
from resilience.detection.levels import percentiles
from resilience.detection.logic import NO, UNKNOWN, YES, Answers
from resilience.detection.tables import Found, Tables, blank
from resilience.errors import SpecificationError, WeakDataWarning
from resilience.i18n import Bilingual, text
from resilience.stats.decisions import (
    JointPosterior,
    critical_reliability,
    joint_posterior,
    list_fdr,
    power_to_detect,
    pupils_needed,
    years_needed,
)

__all__ = ["PosteriorVerdict", "judge_posterior"]

Floats = NDArray[np.float64]

LEAST_RELIABILITY = 0.5  # of the index, below which it cannot carry a verdict
_ALTERNATIVE = float(stats.norm.ppf(0.9))


@dataclass(frozen=True, kw_only=True, eq=False)
class PosteriorVerdict:
    """Verdicts of a posterior rule with everything behind them, one entry per school."""

    answers: Answers
    reason: NDArray[np.object_]
    found: dict[str, Found]
    columns: dict[str, Floats]
    notes: tuple[Bilingual, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    """Data of all schools in the terms of the joint posterior."""

    effect: Floats
    residual: Floats
    precision: Floats
    variance: float
    context: Floats
    shrunken: Floats
    context_variance: Floats
    context_reliability: Floats
    gate: float
    slope: float
    n_pupils: Floats
    n_years: Floats


def judge_posterior(tables: Tables, rule: Criteria) -> PosteriorVerdict:
    """Judge a rule whose criteria stand on posterior evidence, all of them jointly.

    The effect criterion reads ``effect`` (with ``conditional_sd`` and ``reliability``), the context
    criterion ``context_index`` with its error.  Residuals are taken off their line on the shrunken
    index, so that a school recorded as poorer than it is gets no flattered effect.
    """
    better, adversity = _parts(rule)
    notes: list[Bilingual] = []
    state = _state(tables, rule, adversity, notes)
    sd = float(np.sqrt(state.variance))
    bound = _bound(better, sd)
    alternative = max(_ALTERNATIVE * sd, bound + 0.6 * max(sd, 1e-12))
    usable = np.isfinite(state.effect) & np.isfinite(state.shrunken)
    joint = _joint(state, usable, bound)
    threshold = rule.losses.threshold
    power = np.full(len(usable), np.nan)
    if sd > 0:
        power[usable] = power_to_detect(
            state.precision[usable],
            effect_sd=sd,
            bound=bound,
            alternative=alternative,
            threshold=threshold,
        )
    answers, reason = _verdicts(state, rule, joint, usable, power)
    needed = _needed(tables, state, sd, bound, alternative, threshold)
    fdr = np.full(len(usable), np.nan)
    fdr[usable] = list_fdr(joint["probability"][usable])
    columns = {
        "probability": joint["probability"],
        "probability_policy": joint["policy"],
        "probability_effect": joint["effect"],
        "probability_adverse": joint["adverse"],
        "threshold": np.full(len(usable), threshold),
        "power_to_detect": power,
        **needed,
        "expected_loss": rule.losses.expected_loss(joint["probability"]),
        "list_fdr": fdr,
    }
    found = (
        {adversity.name: _criterion(joint["adverse"], state.context, state.gate, threshold, usable)}
        if adversity is not None
        else {}
    )
    found[better.name] = _criterion(joint["effect"], state.effect, bound, threshold, usable)
    ordered = {c.name: found[c.name] for c in rule.criteria}
    return PosteriorVerdict(
        answers=answers, reason=reason, found=ordered, columns=columns, notes=tuple(notes)
    )


def _parts(rule: Criteria) -> tuple[Criterion, Criterion | None]:
    effects = [c for c in rule.criteria if c.column == "effect"]
    contexts = [c for c in rule.criteria if c.column == "context_index"]
    others = [c for c in rule.criteria if c not in effects + contexts]
    if len(effects) != 1 or len(contexts) > 1 or others or rule.combination != "all":
        raise SpecificationError(text("detection.posterior_shape", rule=rule.id))
    if effects[0].direction not in ("above", "at_least"):
        raise SpecificationError(text("detection.posterior_direction", rule=rule.id))
    if contexts and contexts[0].direction not in ("at_most", "below"):
        raise SpecificationError(text("detection.posterior_direction", rule=rule.id))
    return effects[0], contexts[0] if contexts else None


def _bound(criterion: Criterion, sd: float) -> float:
    if criterion.scale == "quantile":
        return max(float(stats.norm.ppf(criterion.bound)) * sd, criterion.floor)
    return max(criterion.bound, criterion.floor) if criterion.floor else criterion.bound


def _state(
    tables: Tables, rule: Criteria, adversity: Criterion | None, notes: list[Bilingual]
) -> _State:
    effects = tables.latest("effects", rule.id)
    effect, trust, spread = (
        effects[c].to_numpy(dtype=float) for c in ("effect", "reliability", "conditional_sd")
    )
    variance = _effect_variance(tables, trust, spread)
    if variance <= 0:
        warnings.warn(WeakDataWarning(text("detection.no_variation")), stacklevel=5)
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = np.where(trust > 0, effect / trust, 0.0)
        precision = np.where(
            (trust > 0) & (variance > 0), trust / (max(variance, 1e-300) * (1 - trust)), 1e-12
        )
    precision = np.minimum(precision, 1e12)
    n_years = (
        effects["n_years"].to_numpy(dtype=float) if "n_years" in effects else np.ones(len(effects))
    )
    if np.nanmax(n_years, initial=0) <= 1:
        notes.append(text("detection.this_year"))
    known = np.isfinite(effect)
    n = len(effect)
    zeros, ones = np.zeros(n), np.ones(n)
    context, shrunken, q2, trusted = zeros, zeros, zeros, ones
    gate, slope = np.inf, 0.0
    if adversity is not None:
        context, shrunken, q2, trusted = _context(tables.latest("scores", rule.id))
        gate = _gate(shrunken, context, adversity)
        both = known & np.isfinite(shrunken)
        slope, residual, variance = _off_the_line(
            tables, residual, precision, shrunken, q2, variance, both
        )
        notes.append(text("detection.slope", slope=f"{slope:.4f}"))
    return _State(
        effect=effect,
        residual=residual,
        precision=precision,
        variance=variance,
        context=context,
        shrunken=shrunken,
        context_variance=q2,
        context_reliability=trusted,
        gate=gate,
        slope=slope,
        n_pupils=effects["n_pupils"].to_numpy(dtype=float),
        n_years=n_years,
    )


def _effect_variance(tables: Tables, trust: Floats, spread: Floats) -> float:
    """Return the variance of the effects: given, or s²/(1 − λ), the same for every school."""
    if "persistent" in tables.variances:
        return float(tables.variances["persistent"])
    inside = (trust < 1) & (trust > 0)
    if not inside.any():
        return 0.0
    return float(np.median(spread[inside] ** 2 / (1 - trust[inside])))


def _context(scores: pd.DataFrame) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the index, its shrunken value a, its posterior variance q², its reliability."""
    context = scores["context_index"].to_numpy(dtype=float)
    n = len(context)
    trusted = (
        scores["context_reliability"].to_numpy(dtype=float)
        if "context_reliability" in scores
        else np.ones(n)
    )
    error = (
        scores["context_index_std_error"].to_numpy(dtype=float)
        if "context_index_std_error" in scores
        else np.zeros(n)
    )
    centre = np.nanmean(context)
    shrunken = centre + trusted * (context - centre)
    return context, shrunken, trusted * error**2, trusted


def _gate(shrunken: Floats, context: Floats, criterion: Criterion) -> float:
    """Return the gate in units of the index: the realised quantile, or the value itself."""
    if criterion.scale != "quantile":
        return criterion.bound
    place = percentiles(shrunken)
    inside = place <= criterion.bound
    return float(np.nanmax(shrunken[inside])) if inside.any() else float(np.nanmin(context)) - 1.0


def _off_the_line(
    tables: Tables,
    residual: Floats,
    precision: Floats,
    shrunken: Floats,
    q2: Floats,
    variance: float,
    both: NDArray[np.bool_],
) -> tuple[float, Floats, float]:
    """Return slope b, residuals off their line on the shrunken index, and σ_u² without it.

    With ``variances["context_slope"]`` the residuals already stand off that line.
    """
    if "context_slope" in tables.variances:
        slope = float(tables.variances["context_slope"])
        return slope, residual, max(variance - slope**2 * float(np.mean(q2[both])), 0.0)
    if both.sum() < 3 or np.ptp(shrunken[both]) == 0:
        return 0.0, residual, variance
    w = 1.0 / (variance + 1.0 / precision[both])
    a, d = shrunken[both], residual[both]
    centre = float(np.average(a, weights=w))
    level = float(np.average(d, weights=w))
    slope = float(np.sum(w * (a - centre) * (d - level)) / np.sum(w * (a - centre) ** 2))
    spread = float(np.average((a - centre) ** 2, weights=w))
    left = variance - slope**2 * (spread + float(np.mean(q2[both])))
    return slope, residual - slope * (shrunken - centre), max(left, 0.0)


def _joint(state: _State, usable: NDArray[np.bool_], bound: float) -> dict[str, Floats]:
    empty = np.full(len(usable), np.nan)
    found = {name: empty.copy() for name in ("probability", "policy", "adverse", "effect")}
    if not usable.any():
        return found
    joint: JointPosterior = joint_posterior(
        context=state.shrunken[usable],
        context_variance=state.context_variance[usable],
        residual=state.residual[usable],
        precision=state.precision[usable],
        slope=state.slope,
        effect_variance=state.variance,
        gate=state.gate,
        bound=bound,
    )
    for name in found:
        found[name][usable] = getattr(joint, name)
    return found


def _verdicts(
    state: _State,
    rule: Criteria,
    joint: dict[str, Floats],
    usable: NDArray[np.bool_],
    power: Floats,
) -> tuple[Answers, NDArray[np.object_]]:
    """Apply the order of the decision rule: data, yes, no, context, power."""
    n = len(usable)
    p, adverse = joint["probability"], joint["adverse"]
    threshold = rule.losses.threshold
    answers = np.full(n, NO, dtype=np.int8)
    reason = blank(n)
    steps = [
        (~np.isfinite(state.effect), UNKNOWN, text("detection.no_effect")),
        (~usable, UNKNOWN, text("detection.no_context")),
        (
            state.n_pupils < rule.min_pupils,
            UNKNOWN,
            text("detection.few_pupils", n=rule.min_pupils),
        ),
        (
            state.context_reliability < LEAST_RELIABILITY,
            UNKNOWN,
            text("detection.weak_context", least=LEAST_RELIABILITY),
        ),
        (p >= threshold, YES, text("detection.likely")),
        (p <= rule.p_no, NO, text("detection.unlikely")),
        (
            (adverse > rule.p_no) & (adverse < threshold),
            UNKNOWN,
            text("detection.context_uncertain"),
        ),
        (~(power >= 0.5), UNKNOWN, text("detection.low_power")),
        (np.ones(n, dtype=bool), NO, text("detection.would_be_seen")),
    ]
    open_ = np.ones(n, dtype=bool)
    for condition, answer, why in steps:
        hit = open_ & condition
        answers[hit] = answer
        for k in np.flatnonzero(hit):
            reason[k] = why
        open_ &= ~hit
    return answers, reason


def _needed(
    tables: Tables, state: _State, sd: float, bound: float, alternative: float, threshold: float
) -> dict[str, Floats]:
    """Return years and pupils of one year with which a strong school would be seen."""
    n = len(state.effect)
    if sd <= 0:
        return {"years_needed": np.full(n, np.nan), "pupils_needed": np.full(n, np.nan)}
    critical = critical_reliability(
        effect_sd=sd, bound=bound, alternative=alternative, threshold=threshold
    )
    residual = tables.variances.get("residual", float("nan"))
    transient = tables.variances.get("transient", 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        if np.isfinite(residual):
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
            wanted = critical / (sd**2 * (1 - critical)) if critical < 1 else np.inf
            years = wanted / (state.precision / state.n_years)
            pupils = float("nan")
    return {"years_needed": np.ceil(years), "pupils_needed": np.full(n, np.ceil(pupils))}


def _criterion(
    probability: Floats, value: Floats, bound: float, threshold: float, usable: NDArray[np.bool_]
) -> Found:
    answers = np.where(usable, np.where(probability >= threshold, YES, NO), UNKNOWN)
    return Found(
        answers=answers.astype(np.int8),
        value=value,
        threshold=np.full(len(value), bound),
        probability=probability,
        reason=blank(len(value)),
    )
