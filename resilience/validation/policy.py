"""What may be published of teachers: cells of five or more, evidence marked outside the school."""

from __future__ import annotations

from collections.abc import Hashable, Sequence, Set
from typing import TYPE_CHECKING

from resilience.errors import DataError, PolicyError
from resilience.i18n import text
from resilience.validation.arguments import check_count
from resilience.validation.tables import check_columns, check_finite, check_not_empty
from resilience.validation.wording import shorten

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "check_differencing",
    "check_external_marking",
    "check_small_cells",
    "suppressed_cells",
]

_SMALLEST_CELL = 5  # teachers behind a published number
_MARKED_BY = ("school", "region", "federal")
_MARKED_INSIDE = "ВПР"


def check_small_cells(n_min: int) -> int:
    """Return the least number of teachers behind a published number: five, or more on request.

    Raises
    ------
    PolicyError
        If somebody asks for less than five.
    """
    if check_count(n_min, argument="n_min") < _SMALLEST_CELL:
        raise PolicyError(text("policy.n_min", value=n_min, least=_SMALLEST_CELL))
    return n_min


def suppressed_cells(
    members: Sequence[Set[Hashable]], margins: Sequence[Sequence[Hashable]], n_min: int
) -> list[str]:
    """Return why each cell of a report stays hidden: ``""``, ``"n_below_5"``, ``"complementary"``.

    A cell with fewer than ``n_min`` distinct members is hidden.  Totals are taken as known: in
    every margin that would itself be published, the hidden cells are two or more and together hold
    at least ``n_min`` members, or the next smallest cell of the margin is hidden too.

    Parameters
    ----------
    members : sequence of set
        Keys of the teachers in every cell.
    margins : sequence of sequence
        For each way of adding up: the total that every cell belongs to.
    n_min : int
        Least number of members.
    """
    small = [len(own) < n_min for own in members]
    hidden = list(small)
    totals = [
        [k for k, label in enumerate(labels) if label == total]
        for labels in margins
        for total in dict.fromkeys(labels)
    ]
    changed = True
    while changed:
        changed = False
        for cells in totals:
            inside = [k for k in cells if hidden[k]]
            outside = [k for k in cells if not hidden[k]]
            known = len(set().union(*(members[k] for k in cells))) >= n_min
            safe = len(inside) > 1 and len(set().union(*(members[k] for k in inside))) >= n_min
            if inside and outside and known and not safe:
                hidden[min(outside, key=lambda k: len(members[k]))] = changed = True
    reasons = {True: f"n_below_{n_min}", False: "complementary"}
    return [reasons[small[k]] if hidden[k] else "" for k in range(len(members))]


def check_differencing(
    earlier: Sequence[Set[Hashable]], later: Sequence[Set[Hashable]], n_min: int
) -> None:
    """Raise if cells of two reports, one taken from the other, leave fewer than ``n_min`` members.

    Raises
    ------
    PolicyError
        With the number that would be left.
    """
    for wholes, parts in ((earlier, later), (later, earlier)):
        for whole in wholes:
            inside = [part for part in parts if part <= whole]
            for part in [*inside, set().union(*inside)]:
                left = len(whole - part)
                if inside and 0 < left < n_min:
                    raise PolicyError(text("policy.differencing", n=left, least=n_min))


def check_external_marking(procedures: pd.DataFrame, *, table: str) -> None:
    """Raise unless teachers may be judged by these outcomes.

    At least one procedure other than ВПР must be marked by the region or at federal level in two
    years or more: work marked inside the school says as much of the marking as of the teaching.

    Parameters
    ----------
    procedures : DataFrame
        ``year exam marked_by``, ``marked_by`` one of school, region, federal.
    table : str
        Name of the table in messages.

    Raises
    ------
    DataError
        If a column is absent or has gaps, or ``marked_by`` has another word.
    PolicyError
        Naming the procedures seen and what to add.
    """
    check_columns(procedures, ["year", "exam", "marked_by"], table=table)
    check_not_empty(procedures, table=table)
    seen = procedures[["year", "exam", "marked_by"]].drop_duplicates()
    check_finite(seen, ["year", "exam", "marked_by"], table=table)
    unknown = sorted({str(word) for word in seen["marked_by"]} - set(_MARKED_BY))
    if unknown:
        raise DataError(text("policy.marked_by", table=table, value=shorten(map(repr, unknown))))
    inside = seen["exam"].astype(str).str.startswith(_MARKED_INSIDE)
    external = seen[(seen["marked_by"] != "school") & ~inside]
    if len(external) == 0 or external.groupby("exam")["year"].nunique().max() < 2:
        shown = sorted(f"{e} {y} ({m})" for y, e, m in seen.itertuples(index=False))
        raise PolicyError(text("policy.marked_inside", procedures=shorten(shown, 8)))
