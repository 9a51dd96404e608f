"""Point and interval criteria on columns of schools: values, percentiles, k of n years."""

from __future__ import annotations

from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import EFFECT, Criterion
from resilience.detection.verdicts.logic import NO, UNKNOWN, YES, Answers, at_least
from resilience.detection.verdicts.tables import Found, Tables, blank
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.verdicts.percentiles import percentiles
from resilience.validation import check_columns, check_numeric, shorten

__all__ = ["compare", "judge_level", "natural_bound"]

Floats = NDArray[np.float64]
Strata = NDArray[np.int64]

_ABSENT = np.int8(-2)  # a subject that the school does not have


def compare(values: Floats, criterion: Criterion) -> Answers:
    """Return the answer of each value on the criterion's scale; a missing value is unknown."""
    low, high = criterion.ends[0], criterion.ends[-1]
    with np.errstate(invalid="ignore"):
        under = values < high if criterion.open_above else values <= high
        yes = {
            "at_most": values <= low,
            "at_least": values >= low,
            "above": values > low,
            "below": values < low,
            "between": (values >= low) & under,
        }[criterion.direction]
    return np.where(np.isnan(values), UNKNOWN, np.where(yes, YES, NO)).astype(np.int8)


def judge_level(tables: Tables, rule: Criteria, criterion: Criterion) -> Found:
    """Judge a point or interval criterion from the table that holds its column.

    A column that varies over years is judged in the latest year of its table (each school's latest
    row for the context index, which is anchored), in ``years_at_least`` of the last ``years_of``
    years, or as the mean over years.  A missing value is unknown.

    ``value`` and ``threshold`` are in the column's own unit; where the bound is a quantile or a
    distance from the mean the threshold is the value in which it was realised.

    Raises
    ------
    SpecificationError
        If no table of the call holds the column.
    """
    name, table = _home(tables, rule, criterion)
    table = table.assign(**{criterion.column: _numbers(table, criterion, name)})
    strata = _strata(tables, rule, criterion)
    if criterion.evidence == "interval":
        return _interval(tables, rule, criterion)
    if criterion.years_of == 1 and criterion.column.startswith("context_"):
        values = _numbers(tables.latest("scores", rule.id, rule.year), criterion, "scores")
        return _found(values[:, None], criterion, strata)
    if criterion.subjects != "mean" and not {"year", "subject"} <= set(table.columns):
        raise SpecificationError(text("events.no_subjects", rule=rule.id))
    if "year" not in table.columns:
        own = table.set_index("school_id")[criterion.column].reindex(tables.school_ids)
        values = own.to_numpy(dtype=float)
        wide = np.full((len(values), criterion.years_of), np.nan)
        wide[:, -1] = values  # one value cannot show k of n years: the others are unknown
        return _found(wide, criterion, strata)
    known = sorted(int(y) for y in table["year"].unique())
    last = known[-1] if rule.year is None else rule.year
    if last not in known:
        raise DataError(text("detection.year", rule=rule.id, year=last, years=shorten(known, 12)))
    if criterion.years == "mean":
        upto = table[table["year"] <= last].groupby("school_id", observed=True)
        means = upto[criterion.column].mean().reindex(tables.school_ids)
        return _found(means.to_numpy(dtype=float)[:, None], criterion, strata)
    if criterion.subjects != "mean":
        return _by_subject(tables, rule, criterion, table, last, strata)
    # subjects of one school and year, where there are several, count as their mean
    by_year: pd.DataFrame = table.pivot_table(
        index="school_id", columns="year", values=criterion.column, aggfunc="mean"
    )
    years = list(range(last - criterion.years_of + 1, last + 1))
    chosen = by_year.reindex(index=tables.school_ids, columns=years)
    return _found(chosen.to_numpy(dtype=float), criterion, strata)


def _home(tables: Tables, rule: Criteria, criterion: Criterion) -> tuple[str, pd.DataFrame]:
    """Return the name and the rows of the table that holds the column."""
    if criterion.column.startswith("context_"):
        table = tables.need("scores", rule.id)
        check_columns(table, [criterion.column], table="scores")
        return "scores", table
    if criterion.column == EFFECT:
        return "effects", tables.need("effects", rule.id)
    for name in ("effects", "schools", "school_years", "scores"):
        found: pd.DataFrame | None = getattr(tables, name)
        if found is not None and criterion.column in found.columns:
            return name, found
    raise SpecificationError(
        text("detection.no_home", rule=rule.id, criterion=criterion.name, column=criterion.column)
    )


def _numbers(frame: pd.DataFrame, criterion: Criterion, table: str) -> Floats:
    """Return a column as numbers; true and false count as 1 and 0, gaps stay gaps."""
    column = frame[criterion.column]
    if column.dtype.kind not in "biuf":
        known = column.dropna()
        if column.dtype.kind != "O" or not all(isinstance(v, Real) for v in known):
            check_numeric(frame, [criterion.column], table=table)
    return np.asarray(column.to_numpy(dtype=float, na_value=np.nan))


def _strata(tables: Tables, rule: Criteria, criterion: Criterion) -> Strata:
    """Return the stratum of each school; years are always apart."""
    names = [w for w in criterion.within if w != "year"]
    if not names:
        return np.zeros(len(tables.school_ids), dtype=np.int64)
    schools = tables.latest("schools", rule.id, rule.year)
    check_columns(schools, names, table="schools")
    return np.asarray(schools.groupby(names, dropna=False, observed=True).ngroup().to_numpy())


def _scaled(values: Floats, criterion: Criterion, strata: Strata) -> Floats:
    """Return one year's values on the criterion's scale, within strata."""
    if criterion.scale not in ("quantile", "z"):
        return values
    found = np.full(len(values), np.nan)
    for stratum in np.unique(strata):
        rows = strata == stratum
        if criterion.scale == "quantile":
            found[rows] = percentiles(values[rows])
            continue
        known = values[rows][np.isfinite(values[rows])]
        spread = known.std(ddof=1) if len(known) > 1 else 0.0
        if spread > 0:
            found[rows] = (values[rows] - known.mean()) / spread
    return found


def natural_bound(values: Floats, scaled: Floats, criterion: Criterion, strata: Strata) -> Floats:
    """Return the bound in the column's own unit, one per school.

    For a quantile: the last value that still satisfies it, NaN where none does.
    """
    if criterion.scale not in ("quantile", "z"):
        return np.full(len(values), criterion.bound)
    yes = compare(scaled, criterion) == YES
    upward = criterion.direction in ("at_least", "above")
    found = np.full(len(values), np.nan)
    for stratum in np.unique(strata):
        rows = strata == stratum
        if criterion.scale == "z":
            known = values[rows][np.isfinite(values[rows])]
            if len(known) > 1:
                found[rows] = known.mean() + criterion.bound * known.std(ddof=1)
        elif (rows & yes).any():
            inside = values[rows & yes]
            found[rows] = inside.min() if upward else inside.max()
    return found


def _found(by_year: Floats, criterion: Criterion, strata: Strata) -> Found:
    """Judge each year on its own scale and count the years."""
    scaled = np.column_stack(
        [_scaled(by_year[:, t], criterion, strata) for t in range(by_year.shape[1])]
    )
    yearly = np.column_stack([compare(scaled[:, t], criterion) for t in range(scaled.shape[1])])
    answers = at_least(yearly, criterion.years_at_least)
    reason = blank(len(answers))
    n_yes = (yearly == YES).sum(axis=1)
    for k in range(len(answers)):
        if answers[k] == UNKNOWN:
            flat = np.isfinite(by_year[k]).all()  # there are values, and no scale to put them on
            why = "verdicts.flat_column" if flat else "detection.no_value"
            reason[k] = text(why, column=criterion.column)
        elif criterion.years_of > 1:
            reason[k] = text("detection.in_so_many", k=int(n_yes[k]), n=criterion.years_of)
    return Found(
        answers=answers,
        value=by_year[:, -1],
        threshold=natural_bound(by_year[:, -1], scaled[:, -1], criterion, strata),
        probability=np.full(len(answers), np.nan),
        reason=reason,
    )


def _by_subject(
    tables: Tables,
    rule: Criteria,
    criterion: Criterion,
    table: pd.DataFrame,
    last: int,
    strata: Strata,
) -> Found:
    """Judge each subject and year on its own scale, count the subjects of a year, then the years.

    A subject that a school has in none of the years is not counted; one missing in a year is
    unknown there.  ``value`` is the number of subjects that satisfy it in the latest year.
    """
    years = list(range(last - criterion.years_of + 1, last + 1))
    cubes = []
    for _, own in table.groupby("subject", observed=True, sort=True):
        by_year = own.pivot_table(
            index="school_id", columns="year", values=criterion.column, aggfunc="first"
        ).reindex(index=tables.school_ids, columns=years)
        values = by_year.to_numpy(dtype=float)
        scaled = [_scaled(values[:, t], criterion, strata) for t in range(len(years))]
        answers = np.stack([compare(v, criterion) for v in scaled], axis=1)
        cubes.append(np.where(np.isnan(values).all(axis=1)[:, None], _ABSENT, answers))
    cube = np.stack(cubes, axis=1)  # schools, subjects, years
    has = (cube != _ABSENT).any(axis=2).sum(axis=1)
    asked = criterion.subjects
    needed = has if asked == "all" else np.full(len(has), 1 if asked == "any" else int(asked))
    known = np.where(cube == _ABSENT, NO, cube)
    yearly = np.full((len(has), len(years)), UNKNOWN, dtype=np.int8)
    for k in np.unique(needed[has > 0]):
        rows = (needed == k) & (has > 0)
        for t in range(len(years)):
            yearly[rows, t] = at_least(known[rows, :, t], int(k))
    answers = at_least(yearly, criterion.years_at_least)
    n_yes = (cube[:, :, -1] == YES).sum(axis=1)
    reason = blank(len(answers))
    for row in range(len(answers)):
        if answers[row] == UNKNOWN:
            reason[row] = text("detection.no_value", column=criterion.column)
        else:
            reason[row] = text("events.subjects_reached", k=int(n_yes[row]), n=int(has[row]))
    return Found(
        answers=answers,
        value=np.where(has > 0, n_yes, np.nan),
        threshold=needed.astype(float),
        probability=np.full(len(answers), np.nan),
        reason=reason,
    )


def _interval(tables: Tables, rule: Criteria, criterion: Criterion) -> Found:
    """Compare the near end of the interval of the effect; a prediction error where there is one."""
    effects = tables.latest("effects", rule.id)
    name = "std_error" if "std_error" in effects.columns else "conditional_sd"
    check_columns(effects, [name], table="effects")
    effect, error = (effects[c].to_numpy(dtype=float) for c in (EFFECT, name))
    half = float(special.ndtri(0.5 + (criterion.level or 0.95) / 2)) * error
    upward = criterion.direction in ("at_least", "above")
    end = effect - half if upward else effect + half
    answers = compare(end, criterion)
    reason = blank(len(end))
    for k in np.flatnonzero(answers == UNKNOWN):
        reason[k] = text("detection.no_effect")
    if "reliability" in effects.columns:
        # the variance of the effects is estimated at zero: no width is no precision here
        trust = effects["reliability"].to_numpy(dtype=float)
        alike = (trust <= 0) & (error <= 0) & (answers != UNKNOWN)
        answers[alike] = UNKNOWN
        reason[alike] = blank(int(alike.sum()), text("detection.effects_alike"))
    return Found(
        answers=answers,
        value=end,
        threshold=np.full(len(end), criterion.bound),
        probability=np.full(len(end), np.nan),
        reason=reason,
    )
