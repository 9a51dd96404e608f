"""States of schools over consecutive years, from answers of three values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ENDED", "LISTED", "NO", "UNKNOWN", "YES", "States", "follow"]

Answers = NDArray[np.int8]
Integers = NDArray[np.int64]

YES, NO, UNKNOWN, ENDED = np.int8(1), np.int8(0), np.int8(-1), np.int8(-2)
LISTED = ("entered", "confirmed", "re_entered")


@dataclass(frozen=True, kw_only=True, eq=False)
class States:
    """What each school's year is called; arrays of shape (n_schools, n_years).

    Attributes
    ----------
    status : ndarray of str
        ``not_listed entered confirmed left re_entered unknown``, empty after a school's end.
    years_listed : ndarray of int
        Years in a row on the list, this one included; -1 where unknown.
    at_start : ndarray of bool
        The spell was already running when the record, or a chain after a gap or a new rule, began:
        its true length is unknown.
    after_gap : ndarray of bool
        Entered though the year before is unknown: it may have been on the list all the time.
    """

    status: NDArray[np.str_]
    years_listed: Integers
    at_start: NDArray[np.bool_]
    after_gap: NDArray[np.bool_]


def follow(answers: Answers, new_rule: NDArray[np.bool_]) -> States:
    """Name the states of consecutive years.

    A school on the list has entered if the year before it was off it or unknown, confirmed if it
    was on it, re-entered if it was off it and on it some time before.  A school off the list has
    left if it was on it the year before.  A year that is unknown breaks the chain: the year after
    it is neither confirmed nor left.

    Parameters
    ----------
    answers : ndarray of shape (n_schools, n_years)
        `YES`, `NO`, `UNKNOWN` or `ENDED` (merged into another school).
    new_rule : ndarray of bool, shape (n_years,)
        Years in which the rule differs from that of the year before.
    """
    n, T = answers.shape
    status = np.full((n, T), "", dtype="<U10")
    years = np.zeros((n, T), dtype=np.int64)
    at_start, after_gap = np.zeros((2, n, T), dtype=bool)
    ever = np.zeros(n, dtype=bool)
    for t in range(T):
        now = answers[:, t]
        before = answers[:, t - 1] if t else np.full(n, UNKNOWN)
        yes, no = now == YES, now == NO
        was, was_off = before == YES, before == NO
        status[yes, t] = "entered"
        status[yes & was_off & ever, t] = "re_entered"
        status[yes & was, t] = "confirmed"
        status[no, t] = "not_listed"
        status[no & was, t] = "left"
        status[now == UNKNOWN, t] = "unknown"
        earlier = years[:, t - 1] if t else np.zeros(n, dtype=np.int64)
        years[:, t] = np.where(yes, np.where(was, earlier, 0) + 1, 0)
        years[now == UNKNOWN, t] = -1
        gap = yes & (before == UNKNOWN) & (t > 0)
        after_gap[:, t] = gap
        running = at_start[:, t - 1] if t else np.zeros(n, dtype=bool)
        fresh = ~was & ~was_off
        at_start[:, t] = yes & (fresh | (was & (running | new_rule[t])) | (was_off & new_rule[t]))
        ever |= yes
    return States(status=status, years_listed=years, at_start=at_start, after_gap=after_gap)
