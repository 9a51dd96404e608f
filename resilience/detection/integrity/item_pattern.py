"""Item difficulty turned round: easy items worse and hard items better than elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resilience.detection.integrity.histograms import by_test
from resilience.detection.integrity.lines import Line, number
from resilience.detection.integrity.thresholds import IntegrityThresholds
from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
)

__all__ = ["item_lines"]

KEY = ["school_id", "year", "procedure", "item_id"]
FEWEST_ITEMS = 6  # two easy and two hard ones at the least
THIRDS = 3


def item_lines(items: pd.DataFrame, rule: IntegrityThresholds) -> list[Line]:
    r"""Return the lines of `item_pattern`.

    Of the items of a test, by the region's facility, the easiest third E and the hardest third H.
    With :math:`p_i` the facility of the region without the school,

    .. math:: z_E = \sum_{i \in E} (\hat p_{ji} - p_i) \Big/
              \sqrt{\sum_{i \in E} p_i (1 - p_i) / n_j}

    and :math:`z_H` likewise; the value is the smaller of :math:`-z_E` and :math:`z_H`.

    Parameters
    ----------
    items : DataFrame
        ``school_id year procedure item_id n_participants facility``: share of the points earned, in
        [0, 1].
    rule : IntegrityThresholds
        ``item_z`` and ``fewest_pupils``.

    Raises
    ------
    DataError
        If a column is absent, a key repeats, a facility lies outside [0, 1] or a count is negative.
    """
    table = _read(items)
    lines: list[Line] = []
    for procedure, year, own in by_test(table):
        share = own.pivot_table(index="school_id", columns="item_id", values="facility")
        size = own.pivot_table(index="school_id", columns="item_id", values="n_participants")
        p, n = share.to_numpy(dtype=float), size.fillna(0).to_numpy(dtype=float)
        earned = np.nan_to_num(p) * n
        whole = earned.sum(axis=0) / np.maximum(n.sum(axis=0), 1)
        order = np.argsort(whole, kind="stable")
        third = len(order) // THIRDS
        hard, easy = order[:third], order[len(order) - third :]
        others = n.sum(axis=0) - n
        with np.errstate(invalid="ignore", divide="ignore"):
            elsewhere = (earned.sum(axis=0) - earned) / others
            variance = elsewhere * (1 - elsewhere) / n
            apart = p - elsewhere
        for row, school in enumerate(share.index):
            line = Line(
                school_id=str(school),
                marker="item_pattern",
                procedure=procedure,
                year=year,
                threshold=rule.item_z,
            )
            few = int(n[row].max())
            used = np.concatenate([easy, hard])
            total = variance[row, easy].sum(), variance[row, hard].sum()
            if len(order) < FEWEST_ITEMS:
                why = text("integrity.few_items", n=len(order), fewest=FEWEST_ITEMS)
                lines.append(line.answer("insufficient_data", why))
            elif few < rule.fewest_pupils:
                why = text("integrity.few_pupils", n=few, fewest=rule.fewest_pupils)
                lines.append(line.answer("insufficient_data", why))
            elif not (np.isfinite(apart[row, used]).all() and min(total) > 0):
                lines.append(line.answer("insufficient_data", text("integrity.items_missing")))
            else:
                z_easy = float(apart[row, easy].sum() / np.sqrt(total[0]))
                z_hard = float(apart[row, hard].sum() / np.sqrt(total[1]))
                value = min(-z_easy, z_hard)
                evidence = text(
                    "integrity.evidence_items",
                    easy=number(z_easy, 1),
                    hard=number(z_hard, 1),
                    n=third,
                )
                lines.append(line.judged(value, value >= rule.item_z, evidence))
    return lines


def _read(items: pd.DataFrame) -> pd.DataFrame:
    needed = [*KEY, "n_participants", "facility"]
    check_columns(items, needed, table="items")
    check_not_empty(items, table="items")
    check_finite(items, needed, table="items", unit="school_id")
    check_numeric(items, ["year", "n_participants", "facility"], table="items")
    check_unique(items, KEY, table="items")
    for name, low, high in (("facility", 0.0, 1.0), ("n_participants", 0.0, np.inf)):
        values = items[name].to_numpy(dtype=float)
        bad = (values < low) | (values > high)
        if bad.any():
            school = items.loc[bad, "school_id"].iloc[0]
            key = "integrity.facility" if name == "facility" else "integrity.summary"
            extra = {} if name == "facility" else {"column": name}
            raise DataError(text(key, school=school, value=f"{values[bad][0]:g}", **extra))
    return items.assign(school_id=items["school_id"].astype(str))
