r"""Hand the results of schools over to their successors, and say what happened to every school.

In a table of pupils a row is a pupil's result: a school that merged hands its rows over, a school
that split hands each row to every successor with the successor's share, a precision weight
(``Structure(weights="successor_share")``).  In a table with one row per school and year (``n``
named) rows that come together are averaged,

.. math::

   \bar y = \frac{\sum_k s_k n_k \bar y_k}{\sum_k s_k n_k}, \qquad n = \sum_k s_k n_k, \qquad
   \mathrm{Var}(\bar y) = \frac{\sum_k (s_k n_k)^2 \mathrm{Var}(\bar y_k) / s_k}
                               {(\sum_k s_k n_k)^2},

:math:`s_k` the shares handed over.  Successors of a split school share the noise of its past: what
they inherit is not independent, and the model does not know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import (
    check_columns,
    check_finite,
    check_instance,
    check_not_empty,
    check_numeric,
    nearest_names,
    shorten,
)
from resilience.value_added.years.successors import Successors

__all__ = ["moved_rows", "with_successors"]

_ADDED = ("former_id", "successor_share")


def with_successors(
    table: pd.DataFrame,
    successors: Successors,
    *,
    group: str = "school_id",
    time: str = "year",
    n: str | None = None,
    variance: str | None = None,
    counts: Sequence[str] = (),
    keys: Sequence[str] = (),
    follow: Sequence[str] = (),
    allow_new: bool = False,
) -> pd.DataFrame:
    """Return the table with the results of schools handed over to their successors.

    Parameters
    ----------
    table : DataFrame
        One row per pupil; with ``n``, one row per school and year.
    successors : Successors
        Who carries on whom.
    group, time : str
        School and year column.  The year column may be absent if no successor has a year.
    n : str, optional
        Column of numbers of pupils in a table of school means: rows that come together are averaged
        with it as weights, other numeric columns included.
    variance : str, optional
        Column of sampling variances of the means, beside ``n``.
    counts : sequence of str
        Columns that are added up instead of averaged, beside ``n``.
    keys : sequence of str
        Columns that keep rows of one school and year apart, beside ``n``: procedure, subject.
    follow : sequence of str
        Columns that take the successor's value, from its own rows of the latest year: the
        municipality, if the model has it as a level.
    allow_new : bool
        Whether a successor may have no row of its own: a school that opens after the data.

    Returns
    -------
    DataFrame
        ``table`` with new ids in ``group``, and the columns ``former_id`` (the school as it stood;
        the school itself after averaging) and ``successor_share`` (1 but for split schools).
        `school_events` says what happened to every school.

    Raises
    ------
    DataError
        If a school of the map is not in the table (named, with the nearest ids there are), columns
        are missing, or the table holds the added columns already.
    SpecificationError
        If a successor has a year and the table none.

    Examples
    --------
    >>> import pandas as pd, resilience as rs
    >>> rows = pd.DataFrame({"school_id": ["S01", "S05"], "year": [2023, 2023]})
    >>> rs.with_successors(rows, rs.Successors({"S01": "S05"}))["school_id"].tolist()
    ['S05', 'S05']
    """
    frame = moved_rows(table, successors, group=group, time=time, allow_new=allow_new)
    for column in follow:
        check_columns(table, [column], table="table")
        frame[column] = _followed(table, frame, column, group, time)
    if n is None:
        if variance is not None or counts or keys:
            raise SpecificationError(text("successors.needs_n"))
        return frame
    sums = [n, *counts]
    check_columns(table, [*sums, *keys, *([variance] if variance else [])], table="table")
    check_numeric(table, [*sums, *([variance] if variance else [])], table="table")
    check_finite(table, [n], table="table", unit=group)
    by = [group, *([time] if time in table.columns else []), *keys]
    kept = [*by, *follow, *_ADDED]
    return _averaged(frame, by=by, kept=kept, n=n, variance=variance, counts=counts)


def moved_rows(
    table: pd.DataFrame, successors: Successors, *, group: str, time: str, allow_new: bool = False
) -> pd.DataFrame:
    """Return the rows under their new schools, one for each successor of a school that split.

    Parameters
    ----------
    table : DataFrame
        The rows.
    successors : Successors
        Who carries on whom.
    group, time : str
        School and year column.
    allow_new : bool
        Whether a successor may have no row of its own.
    """
    given: object = successors
    example = "Successors({'S01': 'S05'})"
    check_instance(given, Successors, argument="successors", example=example)
    check_columns(table, [group], table="table")
    check_not_empty(table, table="table")
    held = [c for c in _ADDED if c in table.columns]
    if held:
        raise DataError(text("successors.held", columns=", ".join(map(repr, held))))
    links = successors.table
    dated = bool(links["year"].notna().any())
    if dated:
        if time not in table.columns:
            raise SpecificationError(text("successors.no_year", time=repr(time)))
        check_numeric(table, [time], table="table")
    _check_known(table[group], links, allow_new=allow_new)
    frame = table.assign(former_id=table[group], successor_share=1.0)
    rows = pd.DataFrame(
        {
            "row": np.arange(len(frame)),
            "school": frame[group].to_numpy(dtype=object),
            "share": 1.0,
            "year": frame[time].to_numpy(dtype=float) if dated else -np.inf,
        }
    )
    moved = _moved(rows, links)
    found = frame.iloc[moved["row"].to_numpy()].reset_index(drop=True)
    found[group] = _of_kind(moved["school"], table[group].dtype)
    found["successor_share"] = moved["share"].to_numpy(dtype=float)
    return found


def _of_kind(schools: pd.Series, kind: Any) -> pd.Series:
    """Return ids in the kind of the column they come from, where they fit into it."""
    plain = pd.Series(schools.to_numpy(dtype=object), dtype=object)
    if isinstance(kind, pd.CategoricalDtype):
        return plain.infer_objects()
    try:
        return plain.astype(kind)
    except (TypeError, ValueError):  # a new id of another kind than the column's
        return plain


def _check_known(schools: pd.Series, links: pd.DataFrame, *, allow_new: bool) -> None:
    """Raise if a school of the map has no row; one in the middle of a chain needs none."""
    known = set(schools.dropna().unique())
    old, new = set(links["old_id"]), set(links["new_id"])
    for role, names in (
        ("old_id", [v for v in links["old_id"] if v not in known | new]),
        ("new_id", [] if allow_new else [v for v in links["new_id"] if v not in known | old]),
    ):
        if names:
            first = nearest_names(str(names[0]), sorted(map(str, known)))
            raise DataError(
                text(
                    "successors.unknown",
                    role=role,
                    schools=shorten(dict.fromkeys(names)),
                    nearest=first or "—",
                )
            )


def _moved(rows: pd.DataFrame, links: pd.DataFrame) -> pd.DataFrame:
    """Return the rows under their last schools; links form no circle, so that this ends."""
    resting: list[pd.DataFrame] = []
    columns = list(rows.columns)
    when = links["year"].to_numpy(dtype=float, na_value=np.nan)
    links = links.drop(columns="year").rename(columns={"share": "part"}).assign(from_year=when)
    while len(rows):
        rows = rows.assign(item=np.arange(len(rows)))
        joined = rows.merge(links, left_on="school", right_on="old_id", how="left")
        goes = joined["new_id"].notna() & ~(joined["year"] >= joined["from_year"])
        # rows of the event's year and later stay where they are, once
        stays = joined[~goes].drop_duplicates("item")
        resting.append(stays[columns])
        on = joined[goes]
        after = on.assign(school=on["new_id"], share=on["share"] * on["part"])
        itself = (on["new_id"] == on["old_id"]).to_numpy(dtype=bool)
        resting.append(after.loc[itself, columns])
        rows = after.loc[~itself, columns]
    # two ways of a split may meet again in one school
    whole = pd.concat(resting, ignore_index=True).groupby(["row", "school"], sort=False)
    found = whole[["share"]].sum().reset_index()
    return found.sort_values("row", kind="stable").reset_index(drop=True)


def _followed(
    table: pd.DataFrame, frame: pd.DataFrame, column: str, group: str, time: str
) -> pd.Series:
    """Return a column with the values of the schools that the rows now belong to."""
    own = table.sort_values(time, kind="stable") if time in table.columns else table
    latest = own.dropna(subset=[column]).groupby(group, observed=True)[column].last()
    changed = frame[group].astype(object) != frame["former_id"].astype(object)
    taken = frame[group].map(latest)
    return frame[column].where(~changed | taken.isna(), taken)


def _averaged(
    frame: pd.DataFrame,
    *,
    by: Sequence[str],
    kept: Sequence[str],
    n: str,
    variance: str | None,
    counts: Sequence[str],
) -> pd.DataFrame:
    """Return one row per key: means weighted by pupils, numbers of pupils added up."""
    alone = ~frame.duplicated(list(by), keep=False) & (frame["successor_share"] == 1.0)
    if alone.all():
        return frame
    rows = frame[~alone]
    share = rows["successor_share"].to_numpy(dtype=float)
    size = share * rows[n].to_numpy(dtype=float)
    key = rows.groupby(list(by), sort=False, observed=True, dropna=False).ngroup().to_numpy()
    # words are the successor's own where it has a row, else those of the largest part
    own = (rows[by[0]].astype(object) == rows["former_id"].astype(object)).to_numpy(dtype=bool)
    order = np.lexsort((-size, ~own))
    _, first = np.unique(key[order], return_index=True)
    out = rows.iloc[order[first]].copy()  # by key, ascending
    total = np.bincount(key, weights=size)
    summed = [n, *counts]
    for column in rows.columns:
        kind = rows[column].dtype
        number = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
        if column in kept or not number:
            continue
        values = rows[column].to_numpy(dtype=float, na_value=np.nan)
        if column in summed:
            out[column] = np.bincount(key, weights=share * values)
        elif column == variance:
            out[column] = np.bincount(key, weights=size**2 * values / share) / total**2
        else:
            there = ~np.isnan(values)
            weight = np.bincount(key, weights=np.where(there, size, 0.0))
            with np.errstate(invalid="ignore"):
                out[column] = np.bincount(key, weights=np.where(there, size * values, 0.0)) / weight
    out["former_id"], out["successor_share"] = out[by[0]], 1.0
    joined = pd.concat([frame[alone], out])
    return joined.sort_values(list(by), kind="stable").reset_index(drop=True)
