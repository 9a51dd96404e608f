"""The binding tables: columns, types, keys and ranges, and the check of a table against them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from resilience.columns import label
from resilience.data.normalise import show_value
from resilience.data.problems import Problems
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import nearest_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MARKS",
    "PASSPORT_SHARES",
    "TABLES",
    "ColumnRule",
    "TableRule",
    "check_municipalities",
    "check_table",
    "named",
    "out_of_range",
    "table_rule",
]

CellType = Literal["code", "text", "flag", "count", "number", "share", "year", "date", "procedure"]

#: Social-passport shares of `schools`, in the order of the workbook.
PASSPORT_SHARES = (
    "both_parents_higher_edu",
    "single_parent",
    "unemployed_parent",
    "low_income",
    "large_family",
    "non_native_russian",
    "on_register",
    "guardianship_orphans",
    "disability_ovz",
    "weak_motivation",
)
MARKS = ("n_2", "n_3", "n_4", "n_5")


@dataclass(frozen=True, kw_only=True)
class ColumnRule:
    """One column of a binding table.

    Attributes
    ----------
    name : str
        Name in the glossary.
    type : str
        ``code``, ``text``, ``flag``, ``count``, ``number``, ``share`` (0..1), ``year``, ``date``
        (ISO text) or ``procedure``.
    required : bool
        Whether the column must be there without a missing value.
    minimum, maximum : float or None
        Inclusive range of a number.
    """

    name: str
    type: CellType
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, kw_only=True)
class TableRule:
    """One binding table.

    Attributes
    ----------
    name : str
        Name of the table.
    columns : tuple of ColumnRule
        In the order in which the table is printed.
    key : tuple of str
        Columns that name a row.  The key is checked on those that are there, and only if the
        first of them is: a pupil file without pupil keys is legal.
    """

    name: str
    columns: tuple[ColumnRule, ...]
    key: tuple[str, ...]

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the required columns."""
        return tuple(c.name for c in self.columns if c.required)

    def column(self, name: str) -> ColumnRule | None:
        """Return the rule of a column, ``None`` for a column outside the table."""
        return next((c for c in self.columns if c.name == name), None)


def _rule(name: str, kind: CellType, *, required: bool = False) -> ColumnRule:
    return ColumnRule(name=name, type=kind, required=required)


def _ranged(name: str, low: float | None, high: float | None) -> ColumnRule:
    return ColumnRule(name=name, type="number", minimum=low, maximum=high)


TABLES: tuple[TableRule, ...] = (
    TableRule(
        name="schools",
        key=("school_id", "year"),
        columns=(
            _rule("school_id", "code", required=True),
            _rule("municipality_id", "code"),
            _rule("name", "text"),
            _rule("school_type", "text"),
            _rule("is_rural", "flag"),
            _rule("is_selective", "flag"),
            _rule("is_small", "flag"),
            _rule("levels", "text"),
            _rule("n_pupils", "count"),
            _ranged("latitude", -90, 90),
            _ranged("longitude", -180, 180),
            _ranged("remoteness_km", 0, None),
            _rule("year", "year", required=True),
            _rule("mean_score", "number"),
            *(_rule(name, "share") for name in PASSPORT_SHARES),
        ),
    ),
    TableRule(
        name="pupils",
        key=("pupil_key", "year", "subject"),
        columns=(
            _rule("pupil_key", "code"),
            _rule("school_id", "code", required=True),
            _rule("municipality_id", "code"),
            _rule("year", "year"),
            _rule("subject", "text"),
            _rule("score", "number", required=True),
            _rule("prior_score", "number"),
            _rule("ses", "number"),
        ),
    ),
    TableRule(
        name="counts",
        key=("school_id", "year", "procedure"),
        columns=(
            _rule("school_id", "code", required=True),
            _rule("year", "year", required=True),
            _rule("procedure", "procedure", required=True),
            _rule("n_participants", "count", required=True),
            *(_rule(name, "count") for name in MARKS),
            _rule("n_below_minimum", "count"),
        ),
    ),
    TableRule(
        name="means",
        key=("school_id", "year", "procedure"),
        columns=(
            _rule("school_id", "code", required=True),
            _rule("year", "year", required=True),
            _rule("procedure", "procedure", required=True),
            _rule("mean_score", "number", required=True),
            _rule("n_participants", "count", required=True),
            _ranged("sd", 0, None),
        ),
    ),
    TableRule(
        name="score_histograms",
        key=("school_id", "year", "procedure", "score"),
        columns=(
            _rule("school_id", "code", required=True),
            _rule("year", "year", required=True),
            _rule("procedure", "procedure", required=True),
            _rule("score", "number", required=True),
            _rule("n_pupils", "count", required=True),
        ),
    ),
    TableRule(
        name="procedures",
        key=("procedure", "year"),
        columns=(
            _rule("procedure", "procedure", required=True),
            _rule("year", "year", required=True),
            _rule("available_from", "date", required=True),
        ),
    ),
)


def table_rule(name: str) -> TableRule:
    """Return the rule of a binding table.

    Raises
    ------
    SpecificationError
        If there is no such table, with the nearest names.
    """
    names = [t.name for t in TABLES]
    if name not in names:
        raise SpecificationError(
            text("schema.no_table", name=repr(name), nearest=nearest_names(name, names))
        )
    return TABLES[names.index(name)]


def named(name: str) -> Bilingual:
    """Return a column as messages cite it: its label and its name in the glossary."""
    return text("schema.column_named", label=Bilingual(label(name), label(name, "ru")), name=name)


def check_table(name: str, frame: pd.DataFrame, *, unique: bool = True) -> None:
    """Check a table against its rule and raise one error that lists all problems found.

    Columns outside the rule are legal (further intake columns).

    Parameters
    ----------
    name : {"schools", "pupils", "counts", "means", "score_histograms", "procedures"}
        Binding table.
    frame : DataFrame
        The table, already typed.
    unique : bool
        Whether the key must not repeat; ``False`` where the codebook says that it does.

    Raises
    ------
    DataError
        Missing columns, no rows, a wrong type, a missing required value, a value out of range, a
        repeated key, marks that do not add up, more below the minimum than participants, a school
        in two municipalities.
    SpecificationError
        If there is no such table.
    """
    rule = table_rule(name)
    problems = Problems(str(name))
    missing = [c for c in rule.required if c not in frame.columns]
    for lost in missing:
        nearest = nearest_names(lost, [str(c) for c in frame.columns])
        problems.add(name, text("schema.no_column", column=named(lost), nearest=nearest))
    if len(frame) == 0:
        problems.add(name, text("schema.no_rows"))
    problems.raise_if_any()
    for column_rule in rule.columns:
        if column_rule.name in frame.columns:
            _check_column(frame, rule, column_rule, problems)
    problems.raise_if_any()
    if unique:
        _check_key(frame, rule, problems)
    if name == "counts":
        _check_marks(frame, rule, problems)
    if {"school_id", "municipality_id"} <= set(frame.columns):
        check_municipalities(frame, problems, place=lambda i: _place(frame, rule, i))
    problems.raise_if_any()


def _place(frame: pd.DataFrame, rule: TableRule, row: int, name: str = "") -> str:
    key = ", ".join(f"{k} {frame[k].iloc[row]}" for k in rule.key if k in frame.columns)
    return text("schema.place", table=rule.name, row=row + 1, key=key, column=name and f", {name}")


def _check_column(
    frame: pd.DataFrame, table: TableRule, rule: ColumnRule, problems: Problems
) -> None:
    from pandas.api import types

    series = frame[rule.name]
    numeric = types.is_numeric_dtype(series.dtype) and not types.is_bool_dtype(series.dtype)
    if rule.type in ("count", "number", "share", "year") and not numeric:
        problems.add(rule.name, text("schema.not_numeric", dtype=str(series.dtype)))
        return
    missing = series.isna().to_numpy()
    if rule.required and missing.any():
        problems.add(
            _place(frame, table, int(np.flatnonzero(missing)[0]), rule.name),
            text("schema.missing_values", n=int(missing.sum()), column=named(rule.name)),
        )
    if numeric:
        values = series.to_numpy(dtype=float, na_value=np.nan)
        for row in np.flatnonzero(_out_of_rule(values, rule) & ~missing):
            place = _place(frame, table, int(row), rule.name)
            problems.add_repeated((rule.name,), place, _broken_rule(float(values[row]), rule))


def _out_of_rule(values: npt.NDArray[np.float64], rule: ColumnRule) -> npt.NDArray[np.bool_]:
    low, high = _limits(rule)
    with np.errstate(invalid="ignore"):
        bad = (values < low) | (values > high) | np.isinf(values)
        if rule.type in ("count", "year"):
            bad |= values != np.round(values)
    return bad


def _limits(rule: ColumnRule) -> tuple[float, float]:
    if rule.type == "share":
        return 0.0, 1.0
    if rule.type == "count":
        return 0.0, np.inf
    if rule.type == "year":
        return 1990.0, 2100.0
    low = -np.inf if rule.minimum is None else rule.minimum
    return low, np.inf if rule.maximum is None else rule.maximum


def _broken_rule(value: float, rule: ColumnRule) -> Bilingual:
    if rule.type in ("share", "count", "year"):
        return text(f"schema.not_{rule.type}", value=show_value(value))
    return out_of_range(value, *_limits(rule))


def out_of_range(value: object, low: float, high: float) -> Bilingual:
    """Return the message of a value outside its range, one-sided or not."""
    shown = show_value(value)
    if np.isinf(high) and not np.isinf(low):
        return text("schema.at_least", value=shown, low=f"{low:g}")
    return text("schema.range", value=shown, low=f"{low:g}", high=f"{high:g}")


def _check_key(frame: pd.DataFrame, rule: TableRule, problems: Problems) -> None:
    key = [k for k in rule.key if k in frame.columns]
    if not key or key[0] != rule.key[0]:
        return
    repeated = frame.duplicated(key, keep="first").to_numpy()
    for row in np.flatnonzero(repeated):
        message = text("schema.repeated_key", key=" × ".join(key))
        problems.add_repeated(("key",), _place(frame, rule, int(row)), message)


def _check_marks(frame: pd.DataFrame, rule: TableRule, problems: Problems) -> None:
    n = frame["n_participants"].to_numpy(dtype=float, na_value=np.nan)
    if set(MARKS) <= set(frame.columns):
        marks = frame[list(MARKS)].to_numpy(dtype=float, na_value=np.nan)
        total = marks.sum(axis=1)
        for row in np.flatnonzero(np.isfinite(total) & (total != n)):
            message = text("schema.marks_sum", total=int(total[row]), n=int(n[row]))
            problems.add_repeated(("marks",), _place(frame, rule, int(row)), message)
    if "n_below_minimum" in frame.columns:
        below = frame["n_below_minimum"].to_numpy(dtype=float, na_value=np.nan)
        for row in np.flatnonzero(below > n):
            message = text("schema.below_exceeds", below=int(below[row]), n=int(n[row]))
            problems.add_repeated(("below",), _place(frame, rule, int(row)), message)


def check_municipalities(
    frame: pd.DataFrame, problems: Problems, *, place: Callable[[int], str]
) -> None:
    """Note every school that stands in more than one municipality."""
    first: dict[str, str] = {}
    pairs = zip(frame["school_id"], frame["municipality_id"], strict=True)
    for i, (school, municipality) in enumerate(pairs):
        if municipality is None or municipality != municipality or str(municipality) == "<NA>":
            continue
        known = first.setdefault(str(school), str(municipality))
        if known != str(municipality):
            message = text(
                "schema.two_municipalities",
                school=show_value(school),
                first=show_value(known),
                second=show_value(municipality),
            )
            problems.add_repeated(("municipality", str(school)), place(i), message)
