"""Resilient pupils: disadvantaged by home, successful all the same; their share and its error."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.detection.pupil_classes import (
    classified,
    pupil_units,
    score_standards,
    year_cuts,
)
from resilience.detection.pupil_definitions import LEVEL, PupilDefinition, pupil_definition
from resilience.detection.pupil_results import ResilientPupilsResults
from resilience.detection.rules.criteria import Criteria
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.stats.lists.rule_chance import resilient_share
from resilience.stats.proportions import BetaPrior, fit_beta_prior, wilson_interval
from resilience.stats.verdicts.decisions import LossRule
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = ["resilient_pupils"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

P_NO = 0.05  # posterior probability below which the answer of a school is a plain no
DONORS = LossRule(false_positive=4.0, false_negative=1.0)
COVERAGE = 0.95
ALTERNATIVE = 0.9  # percentile of the schools at which power is computed
FEWEST_SCHOOLS = 20


def resilient_pupils(
    pupils: pd.DataFrame,
    definition: str | Criteria,
    *,
    minimum_scores: Mapping[str, float] | None = None,
    losses: LossRule = DONORS,
    min_pupils: int = 10,
    n_bootstrap: int = 1000,
    random_state: int = 0,
) -> ResilientPupilsResults:
    r"""Return the share of resilient pupils among the disadvantaged, in the region and by school.

    Each year stands for itself.  A pupil's result is the mean over subjects of the score in SDs
    from the mean of its subject and year.  Quantiles are percentiles over all pupils of the year,
    ties together, so that a quarter may come out smaller or larger.  A school's share is judged by
    its Beta posterior against the regional share, all years pooled:
    :math:`P(\pi_s > \pi) \ge p^*` is a yes.

    Parameters
    ----------
    pupils : DataFrame
        ``pupil_key school_id year subject score ses``; ``ses`` is the same in all rows of a pupil
        and year.
    definition : str or Criteria
        ``oecd_national`` (lowest quarter of status, highest quarter of results),
        ``oecd_core_skills`` (lowest quarter of status, at least level 3 or ``minimum_scores`` in
        every subject of the year), ``oecd_residual`` (lowest quarter of status, residual on status
        in the highest quarter); or a rule of that form whose unit is the pupil.
    minimum_scores : mapping of str to float, optional
        Lowest score of each subject that counts as core skills; without it core skills are read
        from the column ``proficiency_level``.
    losses : LossRule
        Behind the verdict of a school; 4 to 1 by default, so that p* is .8.
    min_pupils : int
        With fewer disadvantaged pupils a school gets ``insufficient_data``.
    n_bootstrap : int
        Resamplings of whole schools behind the cluster interval.
    random_state : int
        Seed of the resamplings.

    Returns
    -------
    ResilientPupilsResults
        Every school of the table has its row.

    Raises
    ------
    DataError
        If a column is missing or has gaps, a pupil repeats a subject in a year, sits in two schools
        or has two statuses, status or a subject does not vary, or nobody is disadvantaged.
    SpecificationError
        If the definition is unknown, core skills lack the minimum of a subject, or an argument is
        no whole number of at least 1.

    Warns
    -----
    WeakDataWarning
        Fewer than 20 schools; pupils without a subject that core skills ask for.

    References
    ----------
    OECD2011; Agasisti2018; Griffiths1973; Wilson1927.
    """
    chosen = pupil_definition(definition)
    for name, value in (("min_pupils", min_pupils), ("n_bootstrap", n_bootstrap)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SpecificationError(text("simulator.whole", argument=name, value=repr(value)))
    by_level = chosen.kind == "core_skills" and minimum_scores is None
    rows = _checked(pupils, [LEVEL] if by_level else [])
    minima = _minima(chosen, minimum_scores, rows)
    standards = score_standards(rows)
    units = pupil_units(rows, standards, minima, chosen.level_at_least)
    lacking = (units["n_lacking"] > 0) if chosen.kind == "core_skills" else units["n_lacking"] < 0
    cuts = pd.concat(
        [year_cuts(year, own, chosen) for year, own in _by_year(units)], ignore_index=True
    )
    units = classified(units, cuts, chosen)
    schools = _schools(units, losses, min_pupils)
    notes = _notes(chosen, len(schools), int(lacking.sum()))
    _warn(notes)
    return ResilientPupilsResults(
        schools=schools,
        years=_regional(units, chosen, n_bootstrap, random_state),
        cuts=cuts,
        standards=standards,
        definition=chosen,
        minimum_scores=tuple(sorted(minima.items())),
        threshold=losses.threshold,
        notes=tuple(note for note, _ in notes),
    )


def _checked(pupils: pd.DataFrame, more: list[str]) -> pd.DataFrame:
    """Return the columns needed after the checks."""
    if not isinstance(pupils, pd.DataFrame):
        raise SpecificationError(text("pupils.not_a_frame", kind=type(pupils).__name__))
    names = ["pupil_key", "school_id", "year", "subject", "score", "ses", *more]
    check_not_empty(pupils, table="pupils")
    check_columns(pupils, names, table="pupils")
    check_numeric(pupils, ["year", "score", "ses", *more], table="pupils")
    check_finite(pupils, names, table="pupils", unit="school_id")
    check_unique(pupils, ["pupil_key", "year", "subject"], table="pupils")
    keys = ("pupil_key", "school_id", "subject")
    rows = pupils[names].assign(
        **{k: pupils[k].astype(str).to_numpy(dtype=object) for k in keys},
        year=pupils["year"].to_numpy(dtype=np.int64),
        score=pupils["score"].to_numpy(dtype=float),
        ses=pupils["ses"].to_numpy(dtype=float),
    )
    by_pupil = rows.groupby(["pupil_key", "year"])
    for name in ("school_id", "ses"):
        several = by_pupil[name].nunique()
        if (several > 1).any():
            year = several[several > 1].index[0][1]
            raise DataError(
                text("pupils.two_values", column=repr(name), n=int((several > 1).sum()), year=year)
            )
    return rows.reset_index(drop=True)


def _minima(
    definition: PupilDefinition, given: Mapping[str, float] | None, rows: pd.DataFrame
) -> dict[str, float]:
    subjects = sorted(rows["subject"].unique())
    if definition.kind != "core_skills" and given is not None:
        raise SpecificationError(text("pupils.minima_unused", definition=definition.id))
    if given is None:
        return {}
    known = {str(k): float(v) for k, v in given.items()}
    missing = [s for s in subjects if not np.isfinite(known.get(s, np.nan))]
    strange = sorted(set(known) - set(subjects))
    if missing or strange:
        raise SpecificationError(
            text(
                "pupils.minima",
                definition=definition.id,
                missing=shorten(missing or strange),
                subjects=shorten(subjects, 12),
            )
        )
    return known


def _by_year(units: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    return [(y, units[units["year"] == y]) for y in sorted(int(v) for v in units["year"].unique())]


def _counted(units: pd.DataFrame, key: str) -> pd.DataFrame:
    grouped = units.groupby(key, sort=True)
    return pd.DataFrame(
        {
            "n_pupils": grouped.size(),
            "n_disadvantaged": grouped["is_disadvantaged"].sum().astype(np.int64),
            "n_resilient": grouped["is_resilient"].sum().astype(np.int64),
        }
    )


def _shares(table: pd.DataFrame) -> pd.DataFrame:
    """Add the share of resilient pupils with Wilson's interval, NaN where nobody is poor."""
    f, n = (table[c].to_numpy() for c in ("n_resilient", "n_disadvantaged"))
    low, high = wilson_interval(f, n, level=COVERAGE)
    with np.errstate(invalid="ignore"):
        share = np.where(n > 0, f / np.maximum(n, 1), np.nan)
    return table.assign(
        resilient_share=share,
        resilient_share_low=np.where(n > 0, low, np.nan),
        resilient_share_high=np.where(n > 0, high, np.nan),
    )


def _regional(
    units: pd.DataFrame, definition: PupilDefinition, n_bootstrap: int, random_state: int
) -> pd.DataFrame:
    """Return a row per year, and one for all years together (year missing)."""
    rng = np.random.default_rng(random_state)
    pieces = _by_year(units)
    rows = []
    together: list[tuple[int | None, pd.DataFrame]] = [*pieces, (None, units)]
    for year, own in together:
        by_school = _counted(own, "school_id")
        total = _shares(by_school.sum().to_frame().T.astype(np.int64))
        low, high = _cluster_interval(by_school, rng, n_bootstrap)
        # years stand for themselves; together they hold their mean squared correlation
        r2 = [np.corrcoef(o["ses"], o["result"])[0, 1] ** 2 for y, o in pieces if year in (None, y)]
        rows.append(
            total.assign(
                n_schools=len(by_school),
                cluster_low=low,
                cluster_high=high,
                r_squared=float(np.mean(r2)),
                resilient_share_normal=_closed_form(float(np.mean(r2)), definition),
            )
        )
    table = pd.concat(rows, ignore_index=True)
    table.insert(0, "year", pd.Series([*(y for y, _ in pieces), None], dtype="Int64"))
    return table


def _closed_form(r_squared: float, definition: PupilDefinition) -> float:
    """Return the share that bivariate normal status and results of this correlation would give."""
    if definition.kind == "core_skills" or not np.isfinite(r_squared):
        return float("nan")
    successful = 1.0 - definition.result_at_least
    if definition.kind == "residual":
        return successful  # a residual is independent of status
    return float(
        resilient_share(r_squared, disadvantaged=definition.ses_at_most, successful=successful)
    )


def _cluster_interval(
    by_school: pd.DataFrame, rng: np.random.Generator, n_bootstrap: int
) -> tuple[float, float]:
    """Return the percentile interval of the share over resamplings of whole schools."""
    n_schools = len(by_school)
    weights = rng.multinomial(n_schools, np.full(n_schools, 1.0 / n_schools), size=n_bootstrap)
    top = weights @ by_school["n_resilient"].to_numpy()
    bottom = weights @ by_school["n_disadvantaged"].to_numpy()
    drawn = top[bottom > 0] / bottom[bottom > 0]
    low, high = np.quantile(drawn, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def _schools(units: pd.DataFrame, losses: LossRule, min_pupils: int) -> pd.DataFrame:
    """Return a row per school: its share, its posterior and its verdict."""
    table = _shares(_counted(units, "school_id").reset_index())
    f, n = (table[c].to_numpy() for c in ("n_resilient", "n_disadvantaged"))
    prior = fit_beta_prior(f, n)
    regional = float(f.sum() / n.sum())
    a, b = prior.alpha + f, prior.beta + n - f
    # P(π > c) = I_{1−c}(b, a)
    p = special.betainc(b, a, 1.0 - regional)
    power = _power(n, prior, regional, losses.threshold)
    could = (p <= P_NO) | (power >= 0.5)
    verdict = np.where(p >= losses.threshold, "yes", np.where(could, "no", "insufficient_data"))
    verdict = np.where(n < min_pupils, "insufficient_data", verdict)
    return table.assign(
        resilient_share_shrunken=a / (a + b),
        probability_resilient_share=p,
        threshold=losses.threshold,
        power_to_detect=power,
        verdict=verdict.astype(str),
    )


def _power(n: Integers, prior: BetaPrior, regional: float, threshold: float) -> Floats:
    """Return the chance of a yes for a school truly at the 90th percentile of the prior."""
    high = special.betaincinv(prior.alpha, prior.beta, ALTERNATIVE)
    found = np.zeros(len(n))
    for size in np.unique(n):
        f = np.arange(size + 1)
        p = special.betainc(prior.beta + size - f, prior.alpha + f, 1.0 - regional)
        enough = np.flatnonzero(p >= threshold)
        if len(enough):
            least = int(enough[0])
            tail = 1.0 if least == 0 else special.betainc(least, size - least + 1.0, high)
            found[n == size] = tail
    return found


def _notes(
    definition: PupilDefinition, n_schools: int, incomplete: int
) -> list[tuple[Bilingual, bool]]:
    """Return what a reader must know, and whether it warns."""
    notes = [(definition.describe(), False), (text("pupils.note_school"), False)]
    if incomplete:
        notes.append((text("pupils.incomplete", n=incomplete), True))
    if n_schools < FEWEST_SCHOOLS:
        notes.append((text("detection.few_schools", n=n_schools), True))
    return notes


def _warn(notes: list[tuple[Bilingual, bool]]) -> None:
    for note, weak in notes:
        if weak:
            warn_weak_data(note)
