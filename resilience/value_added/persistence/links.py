"""Which teacher taught which pupil in which year, and by what share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import check_rows
from resilience.data.identifiers import check_one_kind, identified
from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import (
    check_choice,
    check_columns,
    check_names,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = ["LinkedUnits", "TeacherLinks", "linked_units"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_TOLERANCE = 1e-6  # of the sum of shares: shares printed with six digits pass
_MISSING = ("raise", "no_teacher")


@dataclass(frozen=True, kw_only=True)
class TeacherLinks:
    """Columns of the table of links, a row per pupil, year and teacher.

    Attributes
    ----------
    teacher : str
        Teacher key.  A teacher of several years has an effect of each year.
    share : str or None
        Share of the pupil's teaching in the year, above 0 and summing to 1 per pupil and year;
        None gives the teachers of a pupil and year equal shares.
    missing : {"raise", "no_teacher"}
        A result without a link in its own year: an error that names pupils, or a result without
        any teacher effect of that year.  A year in which a pupil has neither result nor link is
        never an error: nothing of that year is carried on, and the results count such years.
    """

    teacher: str = "teacher_id"
    share: str | None = "share"
    missing: Literal["raise", "no_teacher"] = "raise"

    def __post_init__(self) -> None:
        check_names(self.teacher, argument="teacher", example="teacher='teacher_id'", single=True)
        if self.share is not None:
            check_names(self.share, argument="share", example="share='share'", single=True)
        check_choice(self.missing, _MISSING, argument="missing")


@dataclass(frozen=True, kw_only=True, eq=False)
class LinkedUnits:
    """Links in positions, and the units behind them.

    Attributes
    ----------
    pupil, unit : ndarray of int
        Pupil (position among the pupils with results) and unit of every link.
    share : ndarray of float
        Its share.
    units : DataFrame
        A row per unit (teacher × year), sorted: teacher, year, ``n_pupils`` with a result that the
        unit acts on, and the further columns of the links that are constant within the unit.
    varying : tuple of str
        Columns that are not, and therefore cannot form groups.
    n_without_rows : int
        Links of pupils without any result.
    n_unlinked : int
        Results without a teacher of their own year.
    n_unknown_past : int
        Years before a pupil's last result with neither result nor link.
    """

    pupil: Ints
    unit: Ints
    share: Floats
    units: pd.DataFrame
    varying: tuple[str, ...]
    n_without_rows: int
    n_unlinked: int
    n_unknown_past: int


def linked_units(
    links: pd.DataFrame,
    rows: pd.DataFrame,
    columns: TeacherLinks,
    *,
    pupil: str,
    time: str,
    persists: bool,
) -> LinkedUnits:
    """Check the links against the results and number teachers.

    Parameters
    ----------
    links : DataFrame
        Pupil, year, teacher, share.
    rows : DataFrame
        Results, checked.
    columns : TeacherLinks
        Names and the rule for missing links.
    pupil, time : str
        Columns of both tables.
    persists : bool
        Whether effects of a year act on later ones.

    Raises
    ------
    DataError
        For the bad input named in the messages.
    """
    table = _checked(links, columns, pupil, time)
    for name in (pupil, time):
        check_one_kind([rows[name], table[name]], level=name)
    pupils, years = np.unique(rows[pupil]), np.unique(rows[time])
    strange = sorted(set(table[time]) - set(years))
    if strange:
        raise DataError(text("persistence.year_without_rows", years=shorten(strange)))
    known = table[pupil].isin(pupils).to_numpy()
    units, unit = _units(table, columns.teacher, time)
    place = np.searchsorted(pupils, table[pupil].to_numpy()[known])
    seen = np.zeros((len(pupils), len(years)), dtype=bool)
    seen[np.searchsorted(pupils, rows[pupil]), np.searchsorted(years, rows[time])] = True
    year = np.searchsorted(years, table[time])[known]
    later = np.logical_or.accumulate(seen[:, ::-1], axis=1)[:, ::-1] if persists else seen
    acts = later[place, year]
    counts = np.bincount(unit[known][acts], minlength=len(units))
    if (counts == 0).any():
        idle = units.loc[counts == 0, [columns.teacher, time]]
        shown = [f"{t} ({y})" for t, y in idle.itertuples(index=False)]
        raise DataError(text("persistence.idle_teacher", n=len(shown), teachers=shorten(shown)))
    units["n_pupils"] = counts
    linked = np.zeros_like(seen)
    linked[place, year] = True
    _check_missing(seen & ~linked, pupils, years, columns.missing)
    constant, varying = _attributes(table, unit, units, [pupil, time, columns.teacher])
    before = np.logical_or.accumulate(seen[:, ::-1], axis=1)[:, ::-1] & ~seen & ~linked
    return LinkedUnits(
        pupil=place.astype(np.int64),
        unit=unit[known].astype(np.int64),
        share=table["_share"].to_numpy(dtype=float)[known],
        units=constant,
        varying=varying,
        n_without_rows=int((~known).sum()),
        n_unlinked=int((seen & ~linked).sum()),
        n_unknown_past=int(before.sum()) if persists else 0,
    )


def _checked(links: pd.DataFrame, columns: TeacherLinks, pupil: str, time: str) -> pd.DataFrame:
    """Return the links with their shares as ``_share``."""
    keys = [pupil, time, columns.teacher]
    used = [*keys, *([columns.share] if columns.share else [])]
    check_columns(links, used, table="links")
    check_not_empty(links, table="links")
    table = identified(links, keys)
    check_rows(table, used, table="links", unit=columns.teacher)
    check_unique(table, keys, table="links")
    by_pupil = table.groupby([pupil, time], sort=False)[columns.teacher]
    if columns.share is None:
        return table.assign(_share=1.0 / by_pupil.transform("size"))
    check_numeric(table, [columns.share], table="links")
    share = table[columns.share].astype(float)
    if (share <= 0).any():
        bad = table.loc[share <= 0, pupil].drop_duplicates()
        raise DataError(
            text("persistence.share_sign", column=repr(columns.share), pupils=shorten(bad))
        )
    table = table.assign(_share=share)
    total = table.groupby([pupil, time], sort=False)["_share"].sum()
    off = total[(total - 1.0).abs() > _TOLERANCE]
    if len(off):
        named = off.reset_index().itertuples(index=False)
        shown = [f"{who} ({when}): {value:.6g}" for who, when, value in named]
        raise DataError(text("persistence.share_sum", n=len(off), pupils=shorten(shown)))
    return table


def _units(table: pd.DataFrame, teacher: str, time: str) -> tuple[pd.DataFrame, Ints]:
    """Return a row per teacher and year, sorted by key, and the unit of every link."""
    units = table[[teacher, time]].drop_duplicates().sort_values([teacher, time])
    units = units.reset_index(drop=True)
    number = pd.MultiIndex.from_frame(units)
    found = number.get_indexer(pd.MultiIndex.from_frame(table[[teacher, time]]))
    return units, np.asarray(found, dtype=np.int64)


def _check_missing(gaps: NDArray[np.bool_], pupils: object, years: object, rule: str) -> None:
    """Raise if results have no link in their own year and the rule says so."""
    if rule != "raise" or not gaps.any():
        return
    at = np.argwhere(gaps)
    shown = [f"{np.asarray(pupils)[i]} ({np.asarray(years)[t]})" for i, t in at]
    raise DataError(text("persistence.unlinked", n=len(shown), pupils=shorten(shown)))


def _attributes(
    table: pd.DataFrame, unit: Ints, units: pd.DataFrame, keys: Sequence[str]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return units with the columns that are constant within them, and the names of the others."""
    others = [c for c in table.columns if c not in (*keys, "_share", "n_pupils")]
    constant, varying = units, []
    for name in others:
        if table[name].groupby(unit).nunique(dropna=False).max() == 1:
            first = table[name].groupby(unit).first()
            constant = constant.assign(**{str(name): first.to_numpy()})
        else:
            varying.append(str(name))
    return constant, tuple(varying)
