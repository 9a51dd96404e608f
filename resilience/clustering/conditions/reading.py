"""The table of schools, checked and turned into natural values of every variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.conditions.specification import Conditions
from resilience.errors import DataError, SpecificationError
from resilience.i18n import decimal, text
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = [
    "base_values",
    "check_missing",
    "check_strata",
    "error_values",
    "levels_of",
    "natural_values",
    "printed",
    "read_year",
    "strata_of",
]

Floats = NDArray[np.float64]

TABLE = "schools"
_SUM_SLACK = 0.01  # of a composition, or half a per cent a part where that is more: parts are
_PART_SLACK = 0.005  # published in whole per cent
_SHARE_SLACK = 1e-9
_RARE = 2  # schools on a level, below which it describes a single school


def read_year(
    schools: pd.DataFrame, conditions: Conditions, strata: Sequence[str], year: int | None
) -> tuple[pd.DataFrame, int | None]:
    """Return the rows of one year, the latest by default, with a fresh index, and the year.

    Raises
    ------
    DataError
        If a column is absent, the year has no rows, a school stands in it twice.
    """
    check_not_empty(schools, table=TABLE)
    optional = [c for c in conditions.errors.values() if isinstance(c, str)]
    needed = ["school_id", *conditions.columns, *conditions.bases, *optional, *strata]
    check_columns(schools, dict.fromkeys(needed), table=TABLE)
    check_finite(schools, ["school_id", *strata], table=TABLE, unit="school_id")
    if "year" not in schools.columns:
        if year is not None:
            raise DataError(text("conditions.no_year_column", year=year))
        chosen, frame = None, schools
    else:
        check_numeric(schools, ["year"], table=TABLE)
        check_finite(schools, ["year"], table=TABLE, unit="school_id")
        years = sorted({int(y) for y in schools["year"]})
        chosen = years[-1] if year is None else year
        if chosen not in years:
            raise DataError(text("conditions.year", year=chosen, years=shorten(years, 12)))
        frame = schools[schools["year"] == chosen]
    check_unique(frame, ["school_id"], table=TABLE if chosen is None else f"{TABLE} {chosen}")
    return frame.reset_index(drop=True), chosen


def strata_of(frame: pd.DataFrame, strata: Sequence[str]) -> NDArray[np.str_]:
    """Return the label of every school's stratum, ``""`` where there are no strata."""
    if not strata:
        return np.full(len(frame), "", dtype=np.str_)
    parts = [[f"{name}={printed(value)}" for value in frame[name]] for name in strata]
    return np.array([", ".join(own) for own in zip(*parts, strict=True)], dtype=np.str_)


def printed(value: object) -> str:
    """Return a level as text; 1 and 1.0 are one level."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if isinstance(value, float) and whole else str(value)


def levels_of(frame: pd.DataFrame, variable: str) -> tuple[str, ...]:
    """Return the levels of a nominal variable as printed, sorted.

    Raises
    ------
    DataError
        If there is one level, or a level with a single school.
    """
    counts = frame[variable].dropna().map(printed).value_counts()
    if len(counts) < 2:
        value = str(counts.index[0]) if len(counts) else "—"
        raise DataError(text("conditions.constant", column=repr(variable), value=value))
    rare = sorted(str(level) for level in counts.index[counts < _RARE])
    if rare:
        owner = frame.loc[frame[variable].map(printed) == rare[0], "school_id"].iloc[0]
        raise DataError(
            text("conditions.rare_level", column=repr(variable), level=repr(rare[0]), school=owner)
        )
    return tuple(sorted(str(level) for level in counts.index))


def natural_values(
    frame: pd.DataFrame, conditions: Conditions, variable: str, levels: tuple[str, ...] | None
) -> Floats:
    """Return the natural values of a variable, shape (S, its columns), NaN where missing.

    Raises
    ------
    DataError
        If values are not numbers of the kind that the conditions say; a level is unknown.
    """
    kind = conditions.kinds[variable]
    if kind in ("nominal", "ordinal"):
        assert levels is not None  # read beforehand
        return _codes(frame, variable, levels, ordinal=kind == "ordinal")
    columns = conditions.compositions.get(variable, (variable,))
    values = np.column_stack([_numbers(frame, name) for name in columns])
    if kind in ("share", "composition"):
        for i, name in enumerate(columns):
            _check_share(frame, name, values[:, i])
        values = np.clip(values, 0.0, 1.0)
    if kind == "composition":
        total = values.sum(axis=1)
        slack = max(_SUM_SLACK, _PART_SLACK * len(columns)) + _SHARE_SLACK
        off = np.asarray(np.abs(total - 1.0) > slack)
        if off.any():
            raise DataError(
                text(
                    "conditions.whole",
                    name=repr(variable),
                    n=int(off.sum()),
                    slack=decimal(slack, 3),
                    value=f"{total[off][np.argmax(np.abs(total[off] - 1.0))]:.3f}",
                    schools=_places(frame, off),
                )
            )
        values = values / total[:, None]
        values[np.isnan(values).any(axis=1)] = np.nan
    if kind == "continuous" and dict(conditions.continuous)[variable] == "log":  # type: ignore[arg-type]  # settled to a mapping
        below: NDArray[np.bool_] = np.less(values[:, 0], 0.0)
        if below.any():
            raise DataError(
                text(
                    "conditions.negative",
                    column=repr(variable),
                    n=int(below.sum()),
                    value=f"{np.nanmin(values):g}",
                    schools=_places(frame, below),
                )
            )
    return values


def base_values(frame: pd.DataFrame, column: str | None) -> Floats:
    """Return the pupils behind shares, ones where there is no base, NaN where it is missing.

    A share without its base counts as missing.

    Raises
    ------
    DataError
        If one is not above 0.
    """
    if column is None:
        return np.ones(len(frame))
    base = _numbers(frame, column)
    bad = np.asarray(base <= 0)
    if bad.any():
        raise DataError(
            text(
                "conditions.base",
                column=repr(column),
                n=int(bad.sum()),
                schools=_places(frame, bad),
            )
        )
    return base


def error_values(frame: pd.DataFrame, error: float | str) -> Floats:
    """Return the stated standard error of every school.

    Raises
    ------
    DataError
        If a column of errors has missing or negative values.
    """
    if not isinstance(error, str):
        return np.full(len(frame), float(error))
    stated = _numbers(frame, error)
    bad = ~(stated >= 0)
    if bad.any():
        raise DataError(
            text(
                "conditions.error",
                column=repr(error),
                n=int(bad.sum()),
                schools=_places(frame, bad),
            )
        )
    return stated


def check_missing(frame: pd.DataFrame, variable: str, values: Floats, max_missing: float) -> None:
    """Raise if too many schools lack the variable.

    Raises
    ------
    DataError
        Naming the variable, the share of schools without it and the first of them.
    """
    missing: NDArray[np.bool_] = np.asarray(np.isnan(values).any(axis=1))
    share = float(missing.mean())
    if share > max_missing or share == 1.0:
        key = "conditions.all_missing" if share == 1.0 else "conditions.missing"
        raise DataError(
            text(
                key,
                column=repr(variable),
                share=f"{share:.0%}",
                limit=f"{max_missing:.0%}",
                schools=_places(frame, missing),
            )
        )


def _numbers(frame: pd.DataFrame, name: str) -> Floats:
    series: pd.Series[Any] = frame[name]
    if pd.api.types.is_bool_dtype(series.dtype):
        series = series.astype("Float64")
    check_numeric(frame.assign(**{name: series}), [name], table=TABLE)
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.isinf(values)
    if infinite.any():
        raise DataError(
            text(
                "conditions.infinite",
                column=repr(name),
                n=int(infinite.sum()),
                schools=_places(frame, infinite),
            )
        )
    return values


def _check_share(frame: pd.DataFrame, name: str, values: Floats) -> None:
    above, below = values > 1 + _SHARE_SLACK, values < 0
    bad = np.asarray(above | below)
    if bad.any():
        worst = np.nanmax(values) if above.any() else np.nanmin(values)
        raise DataError(
            text(
                "conditions.percent" if above.any() else "conditions.negative_share",
                column=repr(name),
                name=name,
                n=int(bad.sum()),
                value=f"{worst:g}",
                schools=_places(frame, bad),
            )
        )


def _codes(frame: pd.DataFrame, variable: str, levels: tuple[str, ...], *, ordinal: bool) -> Floats:
    series = frame[variable]
    missing = series.isna().to_numpy()
    words = series.map(printed).to_numpy()
    known = {level: i for i, level in enumerate(levels)}
    strange = [v for v, gone in zip(words, missing, strict=True) if not gone and v not in known]
    if strange:
        where = np.array(
            [not gone and v not in known for v, gone in zip(words, missing, strict=True)]
        )
        raise DataError(
            text(
                "conditions.unknown_level",
                column=repr(variable),
                level=repr(strange[0]),
                levels=shorten(levels, 12),
                schools=_places(frame, where),
            )
        )
    code = np.array([np.nan if gone else known[v] for v, gone in zip(words, missing, strict=True)])
    if ordinal:
        if len(np.unique(code[~missing])) < 2:
            value = str(words[~missing][0]) if (~missing).any() else "—"
            raise DataError(text("conditions.constant", column=repr(variable), value=value))
        return np.asarray(code[:, None] + 1.0)
    dummies: Floats = np.equal(code[:, None], np.arange(len(levels))).astype(np.float64)
    dummies[missing] = np.nan
    return dummies


def _places(frame: pd.DataFrame, rows: NDArray[np.bool_]) -> str:
    return shorten(frame.loc[rows, "school_id"].astype(str))


def check_strata(strata: Sequence[str], conditions: Conditions) -> None:
    """Raise if a variable of the conditions is a stratum as well: it would be constant there.

    Raises
    ------
    SpecificationError
        Naming it.
    """
    both = [name for name in strata if name in conditions.columns]
    if both:
        raise SpecificationError(text("conditions.stratum_too", column=repr(both[0])))
