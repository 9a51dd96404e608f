"""Rows of a table of marks: what each must hold before rows become cells."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import check_columns, check_not_empty, check_numeric

__all__ = [
    "MarkRows",
    "Places",
    "Roles",
    "check_arguments",
    "checked_rows",
    "look_like_per_cents",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LOWEST, HIGHEST = 2, 5
_MARK_COLUMN = re.compile(r"n_(\d{1,2})")
_NUMBERED = re.compile(r"(.*?)(\d+)")
# A count read from a spreadsheet may carry the rounding of binary fractions, nothing coarser.
_WHOLE = 1e-6
# Per cents rounded to one decimal each, and shares rounded to two, still sum to 100 and 1 so well.
_NEAR_100, _NEAR_1 = 0.5, 0.025
_NEARLY_ALL = 0.9
# So many cells in a row have about 100 pupils each by design only, or are per cents.
_SUSPICIOUS = 5


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Which column plays which part; see `read_mark_cells`."""

    group: str
    time: str | None
    procedure: str | None
    marks: tuple[str, ...]
    participants: str | None
    means: tuple[str, str] | None
    covariates: tuple[str, ...]
    cohort: str | None
    classes: str | None

    @property
    def keys(self) -> list[str]:
        """Columns that name a cell."""
        return [c for c in (self.group, self.time, self.procedure) if c is not None]

    @property
    def counted(self) -> list[str]:
        """Columns of numbers that become arrays, and the class, which is summed over."""
        single = [c for c in (self.participants, self.classes) if c is not None]
        return [*self.marks, *(self.means or ()), *single]

    @property
    def described(self) -> list[str]:
        """Columns that must be constant within a cell."""
        return [*self.covariates, *([] if self.cohort is None else [self.cohort])]


@dataclass(frozen=True, kw_only=True, eq=False)
class MarkRows:
    """Numbers of the rows, checked.

    Attributes
    ----------
    counts : ndarray of shape (n_rows, K)
        Whole numbers; zeros in rows that hold a mean.
    participants, mean, variance : ndarray of shape (n_rows,)
        NaN where not given.
    is_mean : ndarray of bool, shape (n_rows,)
        Rows that hold a mean instead of counts.
    """

    counts: Floats
    participants: Floats
    mean: Floats
    variance: Floats
    is_mean: Flags


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """How messages name a place in the table."""

    data: pd.DataFrame
    roles: Roles

    def row(self, position: int | np.integer) -> Bilingual:
        """Return school, year and procedure of a row."""
        r, at = self.roles, int(position)
        year = None if r.time is None else self.data[r.time].iloc[at]
        name = None if r.procedure is None else self.data[r.procedure].iloc[at]
        school = text("mark_cells.school", value=self.data[r.group].iloc[at])
        return _listed([school, *self._cell(year, name)])

    def procedure(self, year: object, name: object) -> Bilingual:
        """Return year and procedure, or that the whole region is meant."""
        return _listed(self._cell(year, name) or [text("mark_cells.whole_region")])

    def _cell(self, year: object, name: object) -> list[Bilingual]:
        found = []
        if self.roles.time is not None:
            found.append(text("mark_cells.year", value=year))
        if self.roles.procedure is not None:
            found.append(text("mark_cells.procedure", value=name))
        return found


def _listed(parts: list[Bilingual]) -> Bilingual:
    return Bilingual(", ".join(p.en for p in parts), ", ".join(p.ru for p in parts))


def check_arguments(roles: Roles) -> tuple[str, ...]:
    """Return the names of the marks, after checking which columns were named.

    Raises
    ------
    SpecificationError
        If no mark is named, one column lacks its participants, a column plays two parts, a mark
        lies outside the scale, or marks are not in ascending order.
    """
    marks = roles.marks
    if not marks:
        raise SpecificationError(text("mark_cells.no_marks"))
    if len(marks) == 1 and roles.participants is None:
        raise SpecificationError(text("mark_cells.no_participants", column=repr(marks[0])))
    parts = [("group", roles.group), ("time", roles.time), ("procedure", roles.procedure)]
    parts += [("marks", c) for c in marks] + [("means", c) for c in roles.means or ()]
    parts += [("participants", roles.participants), ("classes", roles.classes)]
    seen: dict[str, str] = {}
    for role, name in parts:
        if name in seen:
            both = f"{seen[name]}, {role}"
            raise SpecificationError(text("mark_cells.column_twice", column=repr(name), roles=both))
        if name is not None:
            seen[name] = role
    own = [_MARK_COLUMN.fullmatch(c) for c in marks]
    for name, match in zip(marks, own, strict=True):
        if match and not LOWEST <= int(match[1]) <= HIGHEST:
            raise SpecificationError(text("mark_cells.off_scale", column=repr(name)))
    numbered = [_NUMBERED.fullmatch(c) for c in marks]
    digits = [int(m[2]) for m in numbered if m]
    if len({m[1] for m in numbered if m}) == 1 and len(digits) == len(marks):
        ordered = [marks[k] for k in np.argsort(digits, kind="stable")]
        if ordered != list(marks):
            raise SpecificationError(
                text("mark_cells.unordered", marks=_quoted(marks), sorted=_quoted(ordered))
            )
    return tuple(m[1] for m in own if m) if all(own) else marks


def _quoted(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(repr(n) for n in names)


def checked_rows(data: pd.DataFrame, roles: Roles) -> MarkRows:
    """Return the numbers of a table of marks, every row checked on its own.

    Raises
    ------
    DataError
        For the first rule that a row breaks.
    """
    check_not_empty(data, table="data")
    check_columns(data, [*roles.keys, *roles.counted, *roles.described], table="data")
    numbers = [c for c in roles.counted if c != roles.classes]
    check_numeric(data, numbers, table="data")
    check = _RowChecks(places=Places(data=data, roles=roles), roles=roles)
    check.keys(data)
    counts = data[list(roles.marks)].to_numpy(dtype=float, na_value=np.nan)
    given = [_numbers(data, c) for c in (roles.participants, *(roles.means or (None, None)))]
    participants, mean, variance = given
    is_mean = check.kinds(counts, mean, variance)
    check.means(mean, variance, participants, is_mean)
    counts = np.where(is_mean[:, None], 0.0, counts)
    check.whole(counts, participants, is_mean)
    check.extra_marks(data)
    check.totals(counts, participants, is_mean)
    check.descriptions(data)
    counts, participants = np.round(counts), np.round(participants)
    if len(roles.marks) == 1:
        rest = np.where(is_mean, 0.0, participants - counts[:, 0])
        counts = np.column_stack([counts[:, 0], rest])
    return MarkRows(
        counts=counts, participants=participants, mean=mean, variance=variance, is_mean=is_mean
    )


def look_like_per_cents(counts: Floats, roles: Roles) -> bool:
    """Return whether whole counts, never compared with participants, all sum to about 100."""
    if roles.participants is not None or len(roles.marks) == 1:
        return False
    total = counts.sum(axis=1)
    total = total[total > 0]
    near = np.abs(total - 100) <= len(roles.marks) / 2
    return bool(len(total) >= _SUSPICIOUS and near.all())


def _numbers(data: pd.DataFrame, column: str | None) -> Floats:
    if column is None:
        return np.full(len(data), np.nan)
    return data[column].to_numpy(dtype=float, na_value=np.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class _RowChecks:
    """The rules of a row, each a method that raises at the first place that breaks it."""

    places: Places
    roles: Roles

    def _refuse(self, key: str, bad: Flags, **values: object) -> None:
        """Raise with the first bad row and the number of bad rows."""
        raise DataError(
            text(key, place=self.places.row(np.argmax(bad)), n=int(bad.sum()), **values)
        )

    def keys(self, data: pd.DataFrame) -> None:
        """Want school, year and procedure in every row."""
        for name in self.roles.keys:
            bad = data[name].isna().to_numpy()
            if bad.any():
                raise DataError(
                    text(
                        "mark_cells.key",
                        column=repr(name),
                        n=int(bad.sum()),
                        row=data.index[int(np.argmax(bad))],
                    )
                )

    def kinds(self, counts: Floats, mean: Floats, variance: Floats) -> Flags:
        """Return which rows hold a mean; the others hold all counts, and none holds both."""
        there = np.isfinite(counts)
        is_mean = np.asarray(~np.isnan(mean) | ~np.isnan(variance))
        some = np.asarray((~np.isnan(counts)).any(axis=1))
        if (some & is_mean).any():
            self._refuse("mark_cells.both", some & is_mean)
        gap = np.asarray(some & ~there.all(axis=1))
        if gap.any():
            column = self.roles.marks[int(np.argmin(there[np.argmax(gap)]))]
            self._refuse("mark_cells.gap", gap, column=repr(column))
        if (~some & ~is_mean).any():
            self._refuse("mark_cells.neither", ~some & ~is_mean)
        return is_mean

    def means(self, mean: Floats, variance: Floats, participants: Floats, is_mean: Flags) -> None:
        """Want a finite mean, a variance above 0 and at least one pupil."""
        if self.roles.means is None:
            return
        bad = is_mean & ~np.isfinite(mean)
        if bad.any():
            names = dict(zip(("mean", "variance"), map(repr, self.roles.means), strict=True))
            self._refuse("mark_cells.no_mean", bad, **names)
        bad = is_mean & ~(np.isfinite(variance) & (variance > 0))
        if bad.any():
            value = f"{variance[np.argmax(bad)]:g}"
            self._refuse("mark_cells.variance", bad, column=repr(self.roles.means[1]), value=value)
        bad = is_mean & (participants < 1)
        if bad.any():
            self._refuse(
                "mark_cells.no_pupils_in_mean",
                bad,
                column=repr(self.roles.participants),
                value=f"{participants[np.argmax(bad)]:g}",
            )

    def whole(self, counts: Floats, participants: Floats, is_mean: Flags) -> None:
        """Want whole numbers from 0; per cents and shares are recognised as such."""
        columns = [(name, counts[:, k]) for k, name in enumerate(self.roles.marks)]
        if self.roles.participants is not None:
            columns.append((self.roles.participants, participants))
        for name, values in columns:
            bad = values < 0
            if bad.any():
                value = f"{values[np.argmax(bad)]:g}"
                self._refuse("mark_cells.negative", bad, column=repr(name), value=value)
        broken = [np.abs(values - np.round(values)) > _WHOLE for _, values in columns]
        if np.any(broken[: len(self.roles.marks)]):
            self._per_cents(counts, ~is_mean, whole=False)
        for (name, values), bad in zip(columns, broken, strict=True):
            if bad.any():
                value = f"{values[np.argmax(bad)]:g}"
                self._refuse("mark_cells.fractional", bad, column=repr(name), value=value)

    def _per_cents(self, counts: Floats, counted: Flags, *, whole: bool) -> None:
        """Raise if the rows look like per cents or shares rather than counts."""
        total = counts.sum(axis=1)
        counted = counted & (total > 0)
        if len(self.roles.marks) == 1:
            if total.max() <= 1 and not whole:
                bad = counted & (total < 1)
                value = f"{total[np.argmax(bad)]:g}"
                column = repr(self.roles.marks[0])
                self._refuse("mark_cells.share_column", bad, column=column, value=value)
            return
        # whole per cents may be off by rounding of each mark: 33 + 33 + 33 + 0
        near = np.abs(total - 100) <= (len(self.roles.marks) / 2 if whole else _NEAR_100)
        if not whole:
            near |= np.abs(total - 1) <= _NEAR_1
        if (near & counted).sum() >= (1.0 if whole else _NEARLY_ALL) * counted.sum():
            at = near & counted
            self._refuse_columns(at, f"{total[np.argmax(at)]:g}")

    def _refuse_columns(self, at: Flags, total: str) -> None:
        raise DataError(
            text(
                "mark_cells.per_cents",
                columns=_quoted(self.roles.marks),
                place=self.places.row(np.argmax(at)),
                total=total,
            )
        )

    def extra_marks(self, data: pd.DataFrame) -> None:
        """Want no mark counted in a column that was not named."""
        marks = self.roles.marks
        if len(marks) == 1 or not all(_MARK_COLUMN.fullmatch(c) for c in marks):
            return
        for name in data.columns:
            match = _MARK_COLUMN.fullmatch(name) if isinstance(name, str) else None
            if name in marks or match is None:
                continue
            values = pd.to_numeric(data[name], errors="coerce").to_numpy(dtype=float, na_value=0.0)
            values = np.nan_to_num(values)
            found = {
                "column": repr(name),
                "n": f"{values.sum():g}",
                "place": self.places.row(np.argmax(values != 0)),
            }
            if values.any() and LOWEST <= int(match[1]) <= HIGHEST:
                raise DataError(text("mark_cells.left_out", marks=_quoted(marks), **found))
            if values.any():
                raise DataError(text("mark_cells.extra_mark", **found))

    def totals(self, counts: Floats, participants: Floats, is_mean: Flags) -> None:
        """Want marks that sum to the participants, and no part above the whole."""
        if self.roles.participants is None:
            return
        column = repr(self.roles.participants)
        bad = ~is_mean & ~np.isfinite(participants)
        if bad.any():
            self._refuse("mark_cells.participants", bad, column=column)
        total = counts.sum(axis=1)
        if len(self.roles.marks) == 1:
            bad = ~is_mean & (total > participants + 0.5)
            key, values = "mark_cells.more_than_participants", {"column": repr(self.roles.marks[0])}
        else:
            bad = ~is_mean & (np.abs(total - participants) > 0.5)
            key, values = "mark_cells.sum", {"column": column}
        if not bad.any():
            return
        if bad.sum() > 0.5 * (~is_mean).sum():
            self._per_cents(counts, ~is_mean, whole=True)
        at = int(np.argmax(bad))
        shown = {"total" if len(self.roles.marks) > 1 else "value": f"{total[at]:g}"}
        self._refuse(key, bad, participants=f"{participants[at]:g}", **values, **shown)

    def descriptions(self, data: pd.DataFrame) -> None:
        """Want covariates and cohort filled in."""
        for name in self.roles.described:
            bad = data[name].isna().to_numpy(dtype=bool)
            if data[name].dtype.kind == "f":
                bad = bad | np.isinf(_numbers(data, name))
            if bad.any():
                self._refuse("mark_cells.covariate_missing", bad, column=repr(name))
