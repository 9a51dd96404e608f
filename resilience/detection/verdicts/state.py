r"""What the data say of each school in the terms of the joint posterior.

One row of effects holds everything: :math:`\sigma_u^2 = s^2/(1-\lambda)` from the conditional SD
and the reliability, the mean before shrinkage :math:`\bar d = \hat u/\lambda`, and its precision
:math:`A = \lambda/(\sigma_u^2(1-\lambda))`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion
from resilience.detection.rules.wording import printed
from resilience.detection.verdicts.tables import Tables
from resilience.detection.verdicts.yearly import asks_years, read_yearly
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.stats.verdicts.effect_line import variance_off_the_line
from resilience.stats.verdicts.event_posterior import YearModel, YearResiduals
from resilience.stats.verdicts.percentiles import percentiles
from resilience.stats.verdicts.weighted_line import weighted_line
from resilience.validation import check_columns

__all__ = ["State", "read_context", "read_state", "realised_gate"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NO_DATA = 1e-12  # precision of a school whose effect is all prior
ALL_DATA = 1e12  # precision of an effect published without error
# R² of the expected results on the index above which the index, or its items, must be in the model:
# expectations formed without the index cannot follow it closer than its own reliability.
FOLLOWS = 0.9
FEWEST_FOR_A_LINE = 5
FEWEST_FOR_TAILS = 20
SAME = 1e-12  # variance of standardised effects that are all alike
HEAVY = 4.0  # kurtosis; 3 for the normal distribution


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Data of all schools, one entry per school; NaN where a table does not hold it.

    Attributes
    ----------
    residual, precision : ndarray
        d̄ off its line on the shrunken index, and A.
    variance : float
        σ_u² of the effects that the line leaves.
    effect, reliability : ndarray
        As published: d̄ before the line is their ratio.
    level, line_slope : float
        Of the line that was taken out of d̄.
    context, shrunken, context_variance : ndarray
        Index as given, a, and q², in index points.
    gate, slope : float
        g in index points (+∞ without a context criterion); b per index point.
    trusted : ndarray of bool
        Coverage and reliability of the index suffice.
    n_pupils, n_years : ndarray
        Data behind the effect.
    transient : float
        σ_v²; NaN where it is not known and not needed.
    yearly : (YearResiduals, YearModel) or None
        Yearly residuals off the line, where the rule needs them.
    persistent : bool
        False where all effects rest on one year.
    notes : tuple of Bilingual
        What was estimated and assumed.
    """

    residual: Floats
    precision: Floats
    variance: float
    effect: Floats
    reliability: Floats
    level: float
    line_slope: float
    context: Floats
    shrunken: Floats
    context_variance: Floats
    gate: float
    slope: float
    trusted: Flags
    n_pupils: Floats
    n_years: Floats
    transient: float
    yearly: tuple[YearResiduals, YearModel] | None
    persistent: bool
    notes: tuple[Bilingual, ...]


def read_state(
    tables: Tables,
    rule: Criteria,
    better: Criterion,
    adversity: Criterion | None,
    *,
    subject: str | None = None,
) -> State:
    """Read effects or yearly residuals and, where the rule has a context criterion, the index.

    Raises
    ------
    DataError
        If a table lacks a column that the posterior needs.
    SpecificationError
        If next year's effect is asked for and the transient variance is not known.
    """
    yearly = None
    if asks_years(tables, better):
        yearly = read_yearly(tables, rule, subject)
        effects = _with_expectation(tables, yearly.effects(tables.school_ids))
        given, transient = yearly.model.persistent, yearly.model.transient
    else:
        table = tables.need("effects", rule.id)
        columns = ["conditional_sd", "reliability", "n_pupils", "n_years"]
        check_columns(table, columns, table="effects")
        effects = tables.latest("effects", rule.id)
        given = tables.variances.get("persistent", float("nan"))
        transient = tables.variances.get("transient", float("nan"))
        if better.years == "next_year" and np.isnan(transient):
            raise SpecificationError(text("events.needs_transient", rule=rule.id))
    residual, precision, variance = _unshrunken(effects, given)
    n_pupils, n_years = (effects[c].to_numpy(dtype=float) for c in ("n_pupils", "n_years"))
    persistent = bool(np.nanmax(n_years, initial=0.0) > 1)
    notes: list[Bilingual] = [] if persistent else [text("detection.this_year")]
    notes += yearly.notes if yearly is not None else ()
    notes += _heavy_tails(residual, precision, variance)
    n = len(residual)
    own: dict[str, Any] = {
        "context": np.zeros(n),
        "shrunken": np.zeros(n),
        "context_variance": np.zeros(n),
        "trusted": np.ones(n, dtype=bool),
    }
    gate = np.inf
    line = Line(residual=residual, variance=variance)
    if adversity is not None:
        own = read_context(tables, rule, notes)
        gate = realised_gate(own["shrunken"], adversity)
        line = _off_the_line(tables, effects, residual, precision, own, variance)
        notes += line.notes
    by_year = None
    if yearly is not None:
        shift = line.level + line.slope_left * own["shrunken"]
        by_year = yearly.off_the_line(
            shift, line.variance, own["shrunken"], own["context_variance"], line.slope
        )
    return State(
        residual=line.residual,
        precision=precision,
        variance=line.variance,
        effect=effects["effect"].to_numpy(dtype=float),
        reliability=effects["reliability"].to_numpy(dtype=float),
        level=line.level,
        line_slope=line.slope_left,
        gate=gate,
        slope=line.slope,
        n_pupils=n_pupils,
        n_years=n_years,
        transient=transient,
        yearly=by_year,
        persistent=persistent,
        notes=tuple(notes),
        **own,
    )


def _with_expectation(tables: Tables, effects: pd.DataFrame) -> pd.DataFrame:
    """Add the expected means of the table of effects, if there is one: they may hold the index."""
    if tables.effects is None or "expected_mean" not in tables.effects.columns:
        return effects
    expected = tables.effects.set_index("school_id")["expected_mean"]
    return effects.assign(expected_mean=expected.reindex(effects.index))


def _unshrunken(effects: pd.DataFrame, variance: float) -> tuple[Floats, Floats, float]:
    """Return d̄ and A of each school and σ_u², from the rows themselves where it is NaN."""
    effect, trust, spread = (
        effects[c].to_numpy(dtype=float) for c in ("effect", "reliability", "conditional_sd")
    )
    inside = (trust > 0) & (trust < 1) & (spread > 0)
    if np.isnan(variance):
        own = spread[inside] ** 2 / (1 - trust[inside])
        variance = float(np.median(own)) if inside.any() else 0.0
    known = np.isfinite(effect)
    if variance <= 0:
        return np.where(known, 0.0, np.nan), np.where(known, NO_DATA, np.nan), 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = np.where(trust > 0, effect / trust, 0.0)
        precision = np.clip(trust / (variance * (1 - trust)), NO_DATA, ALL_DATA)
    return np.where(known, residual, np.nan), np.where(known, precision, np.nan), variance


def _heavy_tails(residual: Floats, precision: Floats, variance: float) -> list[Bilingual]:
    """Say if d̄/√(σ_u² + 1/A) is far from normal: the posterior rests on a normal prior."""
    z = residual / np.sqrt(variance + 1.0 / precision)
    z = z[np.isfinite(z)]
    if variance <= 0 or z.size < FEWEST_FOR_TAILS:
        return []
    centred = z - z.mean()
    spread = float(np.mean(centred**2))
    kurtosis = float(np.mean(centred**4)) / spread**2 if spread > SAME else 0.0
    if kurtosis <= HEAVY:
        return []
    return [text("detection.heavy_tails", kurtosis=printed(kurtosis, 1))]


def read_context(tables: Tables, rule: Criteria, notes: list[Bilingual]) -> dict[str, Any]:
    """Return the index, a = c̄ + κ(c − c̄), q² = κ·se², and whether it can carry a verdict.

    Keys ``context``, ``shrunken``, ``context_variance`` and ``trusted``; an index given without its
    error is taken as exact, and ``notes`` says so.
    """
    scores = tables.latest("scores", rule.id, rule.year)
    context = scores["context_index"].to_numpy(dtype=float)
    if {"context_reliability", "context_index_std_error"} <= set(scores.columns):
        kappa = scores["context_reliability"].to_numpy(dtype=float)
        error = scores["context_index_std_error"].to_numpy(dtype=float)
    else:
        kappa, error = np.ones(len(context)), np.zeros(len(context))
        notes.append(text("detection.index_without_error"))
    known = np.isfinite(context) & np.isfinite(kappa) & np.isfinite(error)
    centre = float(context[known].mean()) if known.any() else 0.0
    shrunken = np.where(known, centre + kappa * (context - centre), np.nan)
    trusted = ~(kappa < (rule.min_context_reliability or 0.0))
    if "context_coverage" in scores.columns:
        coverage = scores["context_coverage"].to_numpy(dtype=float)
        trusted &= ~(coverage < (rule.min_coverage or 0.0))
    return {
        "context": context,
        "shrunken": shrunken,
        "context_variance": np.where(known, kappa * error**2, np.nan),
        "trusted": trusted,
    }


def realised_gate(shrunken: Floats, criterion: Criterion) -> float:
    """Return the gate in index points: the value itself, or the realised quantile of a.

    A quantile is realised by the last school that satisfies it; where ties leave none, nobody does.
    """
    known = shrunken[np.isfinite(shrunken)]
    if criterion.scale == "value" or not known.size:
        return criterion.bound
    if criterion.scale == "z":
        return float(known.mean() + criterion.bound * (known.std(ddof=1) if known.size > 1 else 0))
    place = percentiles(known)
    if criterion.direction in ("at_most", "below"):
        strict = criterion.direction == "below"
        inside = known[place < criterion.bound if strict else place <= criterion.bound]
        return float(inside.max()) if inside.size else -np.inf
    strict = criterion.direction == "above"
    inside = known[place > criterion.bound if strict else place >= criterion.bound]
    return float(inside.min()) if inside.size else np.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """Residuals off their line on the shrunken index.

    Attributes
    ----------
    residual : ndarray
        d̄ off the line.
    variance : float
        σ_u² that it leaves.
    slope : float
        b: of results on the context, what the effects' own model took out included.
    level, slope_left : float
        The line that was taken out here.
    notes : tuple of Bilingual
    """

    residual: Floats
    variance: float
    slope: float = 0.0
    level: float = 0.0
    slope_left: float = 0.0
    notes: tuple[Bilingual, ...] = ()


def _off_the_line(
    tables: Tables,
    effects: pd.DataFrame,
    residual: Floats,
    precision: Floats,
    own: dict[str, Any],
    variance: float,
) -> Line:
    """Return b, residuals off their line on the shrunken index, σ_u² without it, and notes.

    The slope on the shrunken index is not attenuated; σ_u² is lowered by what the line takes and by
    what the error of the index adds to the residuals, by likelihood.  Where the model that made the
    effects has the index among its covariates, the effects stand off the line already and the slope
    is that of the expected results: given as ``variances["context_slope"]``, or read off
    ``expected_mean`` where that follows the index.
    """
    a, q2 = own["shrunken"], own["context_variance"]
    both = np.isfinite(residual) & np.isfinite(a)
    if both.sum() < FEWEST_FOR_A_LINE or np.ptp(a[both]) == 0 or variance <= 0:
        return Line(residual=residual, variance=variance)
    within, note = _slope_within_model(tables, effects, a, own["context"], both)
    weights = np.zeros(len(a))
    weights[both] = 1.0 / (variance + 1.0 / precision[both])
    line = weighted_line(a[both], residual[both], weights[both])
    level, left_over = line if line is not None else (0.0, 0.0)
    slope = within + left_over
    off = residual - level - left_over * a
    left = variance_off_the_line(
        variance, residual[both], off[both], precision[both], q2[both], slope=slope
    )
    notes = [note] if note else []
    notes.append(text("detection.slope", slope=printed(slope, 4)))
    return Line(
        residual=off,
        variance=left,
        slope=slope,
        level=level,
        slope_left=left_over,
        notes=tuple(notes),
    )


def _slope_within_model(
    tables: Tables, effects: pd.DataFrame, a: Floats, context: Floats, both: Flags
) -> tuple[float, Bilingual | None]:
    """Return the slope on the context that the effects' own model has taken out, and a note."""
    if "context_slope" in tables.variances:
        return tables.variances["context_slope"], None
    if "expected_mean" not in effects.columns:
        return 0.0, None
    expected = effects["expected_mean"].to_numpy(dtype=float)
    rows = both & np.isfinite(expected)
    if rows.sum() < FEWEST_FOR_A_LINE or np.ptp(expected[rows]) == 0:
        return 0.0, None
    fit = float(np.corrcoef(expected[rows], context[rows])[0, 1]) ** 2
    if fit < FOLLOWS:
        return 0.0, None
    line = weighted_line(a[rows], expected[rows], np.ones(int(rows.sum())))
    if line is None:
        return 0.0, None
    return line[1], text("detection.index_in_model", fit=printed(fit, 3), slope=printed(line[1], 4))
