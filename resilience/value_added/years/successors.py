"""Schools that merge, split or change their number: whose results are whose history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import check_columns, check_not_empty, check_numeric, shorten

__all__ = ["Successors"]

_TOLERANCE = 1e-9  # of shares that add up to 1


@dataclass(frozen=True, eq=False)
class Successors:
    """Which school carries on which, whole or in parts.

    Parameters
    ----------
    links : mapping of {old id: new id} or DataFrame
        A table has ``old_id new_id`` and optionally ``year`` (the first year in which the old
        school's results are the successor's own; results of earlier years are handed over) and
        ``share`` (of the old school's pupils, where it split; shares of one old school add up to
        1).  Without a year all results of the old school are handed over.  Chains are followed: a
        school whose successor has a successor itself belongs to the last one.

    Attributes
    ----------
    table : DataFrame
        ``old_id new_id year share``, one row per old school and successor; ``year`` is missing
        where none was given.

    Raises
    ------
    SpecificationError
        If ``links`` is neither.
    DataError
        For gaps, a pair that stands twice, shares outside (0, 1] or that do not add up to 1, an old
        school with two years, or schools that succeed each other in a circle (named).

    Examples
    --------
    >>> import resilience as rs
    >>> rs.Successors({"S01": "S05", "S02": "S05"}).table["new_id"].tolist()
    ['S05', 'S05']
    """

    links: Mapping[object, object] | pd.DataFrame
    table: pd.DataFrame = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", _checked(_read(self.links)))

    @property
    def old_ids(self) -> list[object]:
        """Schools that have successors."""
        return list(dict.fromkeys(self.table["old_id"]))


def _read(links: object) -> pd.DataFrame:
    if isinstance(links, Mapping):
        frame = pd.DataFrame({"old_id": list(links.keys()), "new_id": list(links.values())})
    elif isinstance(links, pd.DataFrame):
        frame = links
    else:
        raise SpecificationError(text("successors.kind", kind=type(links).__name__))
    check_columns(frame, ["old_id", "new_id"], table="successors")
    check_not_empty(frame, table="successors")
    found = pd.DataFrame(
        {
            "old_id": frame["old_id"].to_numpy(dtype=object),
            "new_id": frame["new_id"].to_numpy(dtype=object),
            "year": np.full(len(frame), np.nan),
            "share": 1.0,
        }
    )
    for name in ("year", "share"):
        if name in frame.columns:
            check_numeric(frame, [name], table="successors")
            found[name] = frame[name].to_numpy(dtype=float, na_value=np.nan)
    years = found["year"].to_numpy(dtype=float)
    broken = ~np.isnan(years) & (years != np.round(years))
    if broken.any():
        raise DataError(text("successors.year", year=f"{years[broken][0]:g}"))
    return found.assign(year=found["year"].astype("Int64"))


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the links if they hold together."""
    gaps = table[["old_id", "new_id", "share"]].isna().any(axis=1)
    if gaps.any():
        raise DataError(text("successors.gaps", n=int(gaps.sum()), row=int(np.argmax(gaps)) + 1))
    twice = table.duplicated(["old_id", "new_id"])
    if twice.any():
        first = table[twice].iloc[0]
        raise DataError(text("successors.twice", old=first["old_id"], new=first["new_id"]))
    outside = ~((table["share"] > 0) & (table["share"] <= 1))
    if outside.any():
        first = table[outside].iloc[0]
        share = f"{first['share']:g}"
        raise DataError(
            text("successors.share", old=first["old_id"], new=first["new_id"], share=share)
        )
    years = table.groupby("old_id", sort=False)["year"].nunique(dropna=False)
    if (years > 1).any():
        school = years.index[years > 1][0]
        given = table.loc[table["old_id"] == school, "year"]
        raise DataError(text("successors.years", old=school, years=shorten(given)))
    sums = table.groupby("old_id", sort=False)["share"].sum()
    wrong = (sums - 1.0).abs() > _TOLERANCE
    if wrong.any():
        school = sums.index[wrong][0]
        raise DataError(
            text(
                "successors.sum",
                old=school,
                sum=f"{sums[school]:g}",
                n=int(wrong.sum()),
                successors=shorten(table.loc[table["old_id"] == school, "new_id"]),
            )
        )
    _check_circles(table)
    return table.reset_index(drop=True)


def _check_circles(table: pd.DataFrame) -> None:
    """Raise if following the successors comes back to a school; a part may stay where it is."""
    stays = (table["old_id"] == table["new_id"]) & (table["share"] < 1.0 - _TOLERANCE)
    following: dict[object, list[object]] = {}
    for old, new in table.loc[~stays, ["old_id", "new_id"]].itertuples(index=False):
        following.setdefault(old, []).append(new)
    done: set[object] = set()
    for start in following:
        path: list[object] = []
        circle = _circle(start, following, path, done)
        if circle:
            raise DataError(text("successors.circle", path=" → ".join(map(str, circle))))


def _circle(
    start: object,
    following: Mapping[object, Sequence[object]],
    path: list[object],
    done: set[object],
) -> list[object] | None:
    """Return a circle that is reached from a school, walking without recursion."""
    stack: list[tuple[object, int]] = [(start, 0)]
    path.append(start)
    while stack:
        school, at = stack.pop()
        after = following.get(school, [])
        if school in done or at >= len(after):
            done.add(school)
            path.pop()
            continue
        stack.append((school, at + 1))
        coming = after[at]
        if coming in path:
            return [*path[path.index(coming) :], coming]
        if coming not in done:
            path.append(coming)
            stack.append((coming, 0))
    return None
