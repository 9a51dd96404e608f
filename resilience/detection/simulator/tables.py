"""Tables of a simulation: by school and by group, each expectation with its Monte-Carlo error."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Lists", "differences", "grouped", "school_rows"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Lists:
    """What one rule did in every replicate; arrays of shape (n_replicates, n_schools).

    Attributes
    ----------
    rule_id : str
        The rule.
    listed, unknown : ndarray of bool
        Listed, and left without an answer for want of data.
    later : ndarray of bool
        Listed a year later, nothing having changed.
    true : ndarray of bool
        Truly low.
    """

    rule_id: str
    listed: Flags
    unknown: Flags
    later: Flags
    true: Flags

    def first(self, n_replicates: int) -> Lists:
        """Return the first replicates."""
        return Lists(
            rule_id=self.rule_id,
            listed=self.listed[:n_replicates],
            unknown=self.unknown[:n_replicates],
            later=self.later[:n_replicates],
            true=self.true[:n_replicates],
        )


def school_rows(lists: Lists, schools: pd.DataFrame) -> pd.DataFrame:
    """Return a row per school: probabilities over replicates."""
    listed, true = lists.listed, lists.true
    named = listed.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        churn = np.where(named > 0, (listed & ~lists.later).mean(axis=0) / named, np.nan)
    return schools.assign(
        rule_id=lists.rule_id,
        probability_truly_low=true.mean(axis=0),
        probability_flag=named,
        probability_insufficient=lists.unknown.mean(axis=0),
        probability_false_flag=(listed & ~true).mean(axis=0),
        probability_miss=(~listed & true).mean(axis=0),
        churn=churn,
    )


def grouped(lists: Lists, groups: Sequence[Flags]) -> pd.DataFrame:
    """Return a row per group of schools, given as masks over schools."""
    member = np.stack(groups, axis=1).astype(np.float32)
    listed, true = lists.listed, lists.true
    events = {
        "low": true,
        "listed": listed,
        "insufficient": lists.unknown,
        "false_flags": listed & ~true,
        "misses": ~listed & true,
        "right": listed & true,
        "left": listed & ~lists.later,
    }
    # sums of fewer than 2²⁴ ones are exact in single precision
    count = {k: (v.astype(np.float32) @ member).astype(np.float64) for k, v in events.items()}
    columns: dict[str, Floats] = {"n_schools": member.sum(axis=0).astype(np.int64)}
    columns["expected_low"] = count["low"].mean(axis=0)
    for name in ("listed", "insufficient", "false_flags", "misses"):
        columns[f"expected_{name}"] = count[name].mean(axis=0)
        if name != "insufficient":
            columns[f"expected_{name}_mc_error"] = _error(count[name])
    for name, top, bottom in (
        ("sensitivity", "right", "low"),
        ("ppv", "right", "listed"),
        ("churn", "left", "listed"),
    ):
        columns[name], columns[f"{name}_mc_error"] = _ratio(count[top], count[bottom])
    return pd.DataFrame({"rule_id": [lists.rule_id] * len(groups), **columns})


def _error(values: Floats) -> Floats:
    """Return the Monte-Carlo error of a mean over replicates."""
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def _ratio(top: Floats, bottom: Floats) -> tuple[Floats, Floats]:
    """Return E[top]/E[bottom] and its Monte-Carlo error by linearisation; NaN where undefined."""
    mean = bottom.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(mean > 0, top.mean(axis=0) / mean, np.nan)
        error = _error(top - value * bottom) / mean
    return value, np.where(mean > 0, error, np.nan)


def differences(lists: Sequence[Lists]) -> pd.DataFrame:
    """Return a row per pair of rules, compared on the same draws."""
    rows = []
    for one, other in itertools.combinations(lists, 2):
        n = min(len(one.listed), len(other.listed))
        a, b = one.first(n), other.first(n)
        row: dict[str, object] = {"rule_id": a.rule_id, "other_rule_id": b.rule_id}
        for name, here, there in (
            ("listed", a.listed, b.listed),
            ("false_flags", a.listed & ~a.true, b.listed & ~b.true),
            ("misses", ~a.listed & a.true, ~b.listed & b.true),
        ):
            gap = (here.sum(axis=1) - there.sum(axis=1)).astype(float)
            row[f"difference_{name}"] = float(gap.mean())
            row[f"difference_{name}_mc_error"] = float(_error(gap))
        together = (a.listed & b.listed).sum()
        either = (a.listed | b.listed).sum()
        row["list_overlap"] = float(together / either) if either else np.nan
        rows.append(row)
    names = ["rule_id", "other_rule_id"]
    for name in ("listed", "false_flags", "misses"):
        names += [f"difference_{name}", f"difference_{name}_mc_error"]
    return pd.DataFrame(rows, columns=[*names, "list_overlap"])
