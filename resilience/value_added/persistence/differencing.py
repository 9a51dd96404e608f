"""Differences of three and more reports about teachers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence, Set

from resilience.errors import PolicyError
from resilience.i18n import text

__all__ = ["check_chains"]


def check_chains(reports: Sequence[Sequence[Set[Hashable]]], n_min: int) -> None:
    """Raise if parts from several reports, taken from one cell, leave fewer than ``n_min``.

    Twelve teachers in one report less five in a second and other five in a third are two, although
    any two of the reports are harmless.  From each part the cell is filled with further parts that
    share no teacher, the largest first: a search for chains, not a proof that there are none.

    Parameters
    ----------
    reports : sequence of sequence of set
        Teachers behind every published number, report by report.
    n_min : int
        Least number of teachers.

    Raises
    ------
    PolicyError
        With the number that would be left.
    """
    for own, report in enumerate(reports):
        others = {frozenset(c) for k, cells in enumerate(reports) if k != own for c in cells}
        for whole in report:
            inside = sorted((part for part in others if part < whole), key=_largest_first)
            for first in inside:
                left = set(whole)
                for part in (first, *inside):
                    if part <= left:
                        left -= part
                    if 0 < len(left) < n_min:
                        raise PolicyError(text("policy.differencing", n=len(left), least=n_min))


def _largest_first(part: Set[Hashable]) -> tuple[int, list[str]]:
    """Return a key that sorts by size, then by names: the same in every run."""
    return -len(part), sorted(map(str, part))
