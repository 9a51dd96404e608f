"""Whether the sign of a school's effect depends on the pupils who left before the exam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design_formula import formula_columns
from resilience.errors import SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.results import Results
from resilience.stats.gaps.selection import (
    partial_interval,
    range_bounds,
    tipping_points,
    trimmed_means,
)
from resilience.validation import (
    check_choice,
    check_columns,
    check_fraction,
    check_instance,
    check_positive,
    shorten,
)
from resilience.value_added.definitions.question import Question, question_cell
from resilience.value_added.gaps.stayed import Stayed, read_stayed
from resilience.value_added.intake.tables_in_memory import table_in_memory
from resilience.value_added.results import ValueAddedResults

__all__ = ["Assumption", "SelectionResults", "selection_bounds"]

Floats = NDArray[np.float64]
Assumption = Literal["range", "trimming", "delta"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SelectionResults(Results):
    """Effects of schools under what those who left might have scored.

    Attributes
    ----------
    table : DataFrame
        ``school_id n_before n_stayed n_pupils_left share_stayed effect effect_low effect_high
        conf_low conf_high tipping_point sign_depends verdict range_low range_high trimmed_low
        trimmed_high delta_low delta_high``.  Bounds are on the shrunken effect; ``effect_low`` and
        ``effect_high`` are those of the assumption asked for, ``conf_low`` and ``conf_high`` add
        the sampling error.  ``verdict`` says whether the sign depends on who left: ``yes``,
        ``no``, ``not_applicable`` where nobody left, ``insufficient_data`` where it is unknown.
    assumption : {"range", "trimming", "delta"}
        What bounds ``effect_low`` and ``effect_high``.
    delta : float
        SDs by which those who left may differ from those who stayed.
    outcome_range : (float, float) or None
        Ends of the outcome's scale.
    pupil_sd : float
        SD of pupils' residuals within schools, the unit of the tipping point.
    expected_from : {"pupils", "schools"}
        Whether the expected results of those who left are their own or their school's mean.
    question : Question
        Since when the school's part is counted.
    group : str
        School column.
    level : float
        Coverage of the intervals.
    """

    table: pd.DataFrame
    assumption: Assumption
    delta: float
    outcome_range: tuple[float, float] | None
    pupil_sd: float
    expected_from: Literal["pupils", "schools"]
    group: str
    question: Question
    level: float

    def tidy(self) -> pd.DataFrame:
        """Return one row per school."""
        return self.table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, pupils who left, schools whose sign depends on them."""
        verdict = self.table["verdict"]
        before, stayed = (float(self.table[c].sum()) for c in ("n_before", "n_stayed"))
        return pd.DataFrame(
            {
                "question": question_cell(self.question),
                "n_schools": [len(self.table)],
                "n_pupils_left": [int(before - stayed)],
                "share_stayed": [stayed / before if before else float("nan")],
                "n_sign_depends": [int((verdict == "yes").sum())],
                "n_sign_unknown": [int((verdict == "insufficient_data").sum())],
                "assumption": [self.assumption],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with each school's bounds, tipping point and verdict."""
        check_columns(data, [self.group], table="data")
        names = ["share_stayed", "effect_low", "effect_high", "tipping_point", "sign_depends"]
        return data.join(self.table.set_index("school_id")[names], on=self.group)


def selection_bounds(
    results: ValueAddedResults,
    pupils: object,
    *,
    stayed: str = "stayed",
    assumption: Assumption | None = None,
    outcome_range: tuple[float, float] | None = None,
    delta: float = 0.5,
    level: float = 0.95,
) -> SelectionResults:
    r"""Bound every school's effect by what the pupils who left might have scored.

    With the share :math:`s_j` that stayed, the mean residual :math:`d_j` and reliability
    :math:`\lambda_j` of the effect, the effect on all pupils is
    :math:`\lambda_j(s_jd_j + (1-s_j)m_j)` with the unknown mean residual :math:`m_j` of those who
    left; :math:`\lambda_j` stays that of the pupils examined.

    Parameters
    ----------
    results : ValueAddedResults
        Fit to the pupils who sat the exam.
    pupils : frame of any library that narwhals knows
        One row per pupil who was there before (in grade 9) with the flag ``stayed``; with the
        formula's covariates, expected results of those who left are their own, and with the
        outcome of those who stayed trimming is possible.  Or a table of schools with the counts
        ``n_before`` and ``n_stayed``.
    stayed : str
        Column of the flag.
    assumption : {"range", "trimming", "delta"}, optional
        What ``effect_low`` and ``effect_high`` rest on, ``"range"`` where its ends are given and
        ``"delta"`` otherwise; the table holds all three.  ``"range"``:
        nothing but the ends of the scale (Manski).  ``"trimming"``: every school would have kept
        the same share, and who stays where fewer stay would stay where more do (Lee).
        ``"delta"``: those who left were at most ``delta`` SD below or above those who stayed,
        given their intake.
    outcome_range : (float, float), optional
        Lowest and highest possible result, in the units of the fit; needed for ``"range"``.
    delta : float
        In SDs of pupils' residuals within schools, above 0.
    level : float
        Coverage of the intervals around the bounds.

    Returns
    -------
    SelectionResults

    Raises
    ------
    SpecificationError
        Without what the assumption needs, or for a range that does not hold the expected results.
    DataError
        For absent columns, flags with gaps and impossible counts.

    Warns
    -----
    WeakDataWarning
        If nothing is known of the pupils who left some schools (named).

    References
    ----------
    Manski1990; Lee2009; ImbensManski2004.
    """
    example = "results=ValueAddedModel(...).fit(pupils)"
    check_instance(results, ValueAddedResults, argument="results", example=example)
    if assumption is None:
        assumption = "delta" if outcome_range is None else "range"
    check_choice(assumption, get_args(Assumption), argument="assumption")
    check_positive(delta, argument="delta")
    check_fraction(level, argument="level", closed=False)
    found = read_stayed(table_in_memory(pupils), stayed=stayed, group=results.group)
    effects = results.school_effects
    counts = found.counts.reindex(effects["school_id"].to_numpy())
    _warn_of_unknown(effects["school_id"], counts)
    share = (counts["n_stayed"] / counts["n_before"]).to_numpy(dtype=float)
    expected, basis = _expected(results, found)
    span = _range(outcome_range, expected, assumption)
    parts = _Parts.of(results, share)
    bounds: dict[str, tuple[Floats, Floats]] = {
        "range": parts.range_bounds(expected, span),
        "trimming": _trimming(results, found, parts),
        "delta": parts.delta_bounds(delta),
    }
    if assumption == "trimming" and not np.isfinite(bounds["trimming"][0]).any():
        raise SpecificationError(text("selection.no_outcome"))
    return SelectionResults(
        table=_table(results, counts, parts, bounds, assumption, level),
        question=results.question,
        assumption=assumption,
        delta=float(delta),
        outcome_range=span,
        pupil_sd=parts.sd,
        expected_from=basis,
        group=results.group,
        level=level,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """Effects, mean residuals before shrinkage, reliabilities and shares of all schools."""

    effect: Floats
    mean: Floats
    trust: Floats
    share: Floats
    sd: float

    @classmethod
    def of(cls, results: ValueAddedResults, share: Floats) -> _Parts:
        table = results.school_effects
        effect = table["effect"].to_numpy(dtype=float)
        trust = table["reliability"].to_numpy(dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(trust > 0, effect / trust, np.nan)
        sd = float(np.sqrt(results.variances["residual"]))
        return cls(effect=effect, mean=mean, trust=trust, share=share, sd=sd)

    def range_bounds(
        self, expected: Floats, span: tuple[float, float] | None
    ) -> tuple[Floats, Floats]:
        if span is None:
            nothing = np.full(len(self.effect), np.nan)
            return nothing, nothing
        low, high = range_bounds(self.mean, self.share, expected, span)
        return self.trust * low, self.trust * high

    def delta_bounds(self, delta: float) -> tuple[Floats, Floats]:
        reach = self.trust * (1.0 - self.share) * delta * self.sd
        return self.effect - reach, self.effect + reach


def _warn_of_unknown(schools: pd.Series, counts: pd.DataFrame) -> None:
    """Warn of schools of the fit of which it is unknown who left."""
    lost = schools[~(counts["n_before"] > 0).to_numpy()]
    if len(lost) == len(schools):
        raise SpecificationError(text("selection.no_common", schools=shorten(schools)))
    if len(lost):
        warn_weak_data(text("selection.some_unknown", n=len(lost), schools=shorten(lost)))


def _expected(
    results: ValueAddedResults, found: Stayed
) -> tuple[Floats, Literal["pupils", "schools"]]:
    """Return the mean expected result of those who left each school, and what it rests on."""
    own = results.school_effects["expected_mean"].to_numpy(dtype=float)
    schools = results.school_effects["school_id"]
    if found.pupils is None or found.flag is None or results.group not in found.pupils.columns:
        return own, "schools"
    needed = _needed(results)
    if not set(needed) <= set(found.pupils.columns):
        return own, "schools"
    left = found.pupils[~found.flag & found.pupils[results.group].isin(schools).to_numpy()]
    left = left[left[needed].notna().all(axis=1)]
    if not len(left):
        return own, "schools"
    predicted = results.predict(left)[["predicted"]].to_numpy(dtype=float)[:, 0]
    mean = pd.Series(predicted).groupby(left[results.group].to_numpy(), sort=True).mean()
    theirs = mean.reindex(schools.to_numpy()).to_numpy(dtype=float)
    return np.where(np.isfinite(theirs), theirs, own), "pupils"


def _needed(results: ValueAddedResults) -> list[str]:
    """Return the columns that a pupil's expected result rests on."""
    intake, parts = results.intake, formula_columns(results.source_formula)
    keys = [results.group, *([results.time] if results.time else [])]
    columns = [*parts.variables, *intake.composition, *intake.standardize_by, *keys]
    return list(dict.fromkeys(columns))


def _range(
    given: tuple[float, float] | None, expected: Floats, assumption: Assumption
) -> tuple[float, float] | None:
    """Return the ends of the scale, checked."""
    if given is None:
        if assumption == "range":
            raise SpecificationError(text("selection.no_range"))
        return None
    low, high = (float(v) for v in given)
    seen = expected[np.isfinite(expected)]
    if not low < high or seen.min() < low or seen.max() > high:
        raise SpecificationError(
            text(
                "selection.range",
                low=low,
                high=high,
                least=f"{seen.min():.3g}",
                most=f"{seen.max():.3g}",
            )
        )
    return low, high


def _trimming(results: ValueAddedResults, found: Stayed, parts: _Parts) -> tuple[Floats, Floats]:
    """Return the bounds by trimming: all schools brought to one share that stayed."""
    n = len(parts.effect)
    low, high = np.full(n, np.nan), np.full(n, np.nan)
    outcome = formula_columns(results.source_formula).outcome
    if found.pupils is None or found.flag is None or outcome not in found.pupils.columns:
        return low, high
    sat = found.pupils[found.flag]
    used = [*_needed(results), outcome]
    if not set(used) <= set(sat.columns):
        return low, high
    sat = sat[sat[used].notna().all(axis=1)]  # residuals of pupils without gaps stand for all
    if not len(sat):
        return low, high
    fitted = results.augment(sat)
    outcome = formula_columns(results.formula).outcome
    residual = (fitted[outcome] - fitted["fitted"]).to_numpy(dtype=float)
    school = fitted[results.group].to_numpy()
    whole = float(found.counts["n_stayed"].sum() / found.counts["n_before"].sum())
    for k, unit in enumerate(results.school_effects["school_id"]):
        mine, share = school == unit, parts.share[k]
        if not mine.any() or not share > 0:
            continue
        if share >= whole:
            ends = trimmed_means(residual[mine], (share - whole) / share)
            shifts = [end - float(residual[mine].mean()) for end in ends]
        else:
            rest = residual[~mine]
            ends = trimmed_means(rest, (whole - share) / whole)
            shifts = [float(rest.mean()) - end for end in reversed(ends)]
        low[k] = parts.effect[k] + parts.trust[k] * shifts[0]
        high[k] = parts.effect[k] + parts.trust[k] * shifts[1]
    return low, high


def _table(
    results: ValueAddedResults,
    counts: pd.DataFrame,
    parts: _Parts,
    bounds: dict[str, tuple[Floats, Floats]],
    assumption: Assumption,
    level: float,
) -> pd.DataFrame:
    effects = results.school_effects
    low, high = bounds[assumption]
    error = effects["std_error"].to_numpy(dtype=float)
    conf_low, conf_high = partial_interval(low, high, error, level)
    depends = (low < 0) & (high > 0)
    known = np.isfinite(low) & np.isfinite(parts.mean) & np.isfinite(parts.share)
    verdict = np.where(depends, "yes", "no").astype(object)
    # by trimming, a school that kept all still holds some whom others did not keep
    untouched = (parts.share == 1.0) & (assumption != "trimming")
    verdict[untouched] = "not_applicable"
    verdict[~known] = "insufficient_data"
    before = counts["n_before"].fillna(0).to_numpy(dtype=np.int64)
    stayed = counts["n_stayed"].fillna(0).to_numpy(dtype=np.int64)
    return pd.DataFrame(
        {
            "school_id": effects["school_id"].to_numpy(),
            "n_before": before,
            "n_stayed": stayed,
            "n_pupils_left": before - stayed,
            "share_stayed": parts.share,
            "effect": parts.effect,
            "effect_low": low,
            "effect_high": high,
            "conf_low": conf_low,
            "conf_high": conf_high,
            "tipping_point": tipping_points(parts.mean, parts.share, parts.sd),
            "sign_depends": depends & known & ~untouched,
            "verdict": verdict,
            "range_low": bounds["range"][0],
            "range_high": bounds["range"][1],
            "trimmed_low": bounds["trimming"][0],
            "trimmed_high": bounds["trimming"][1],
            "delta_low": bounds["delta"][0],
            "delta_high": bounds["delta"][1],
        }
    ).infer_objects()
