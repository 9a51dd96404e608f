"""Lists against the truth: what a simulated region allows and a real one does not."""

from __future__ import annotations

import pandas as pd

from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.proportions import wilson_interval
from resilience.validation import check_columns, nearest_names

__all__ = ["list_performance"]


def list_performance(
    schools: pd.DataFrame, truth: pd.DataFrame, target: str, *, rules: list[str] | None = None
) -> pd.DataFrame:
    """Return how right and how complete each rule's list is.

    Parameters
    ----------
    schools : DataFrame
        ``school_id rule_id verdict``, as `detect_schools` returns it.
    truth : DataFrame
        ``school_id`` and the boolean column ``target``.
    target : str
        Column of ``truth``: ``true_resilient`` or ``true_low``.
    rules : list of str, optional
        Rules to look at; all by default.

    Returns
    -------
    DataFrame
        ``rule_id n_listed n_true n_true_listed ppv ppv_low ppv_high sensitivity sensitivity_low
        sensitivity_high n_insufficient``: PPV is the share of listed schools that truly belong,
        sensitivity the share of those that belong that are listed, both with Wilson 95 % limits.

    Raises
    ------
    DataError
        If a school of the list is not in the truth, or a rule was not applied.
    """
    check_columns(schools, ["school_id", "rule_id", "verdict"], table="schools")
    check_columns(truth, ["school_id", target], table="truth")
    known = truth.set_index("school_id")[target].astype(bool)
    strange = schools.loc[~schools["school_id"].isin(known.index), "school_id"]
    if len(strange):
        raise DataError(text("pipeline.truth", n=len(strange), first=strange.iloc[0]))
    applied = list(dict.fromkeys(schools["rule_id"].astype(str)))
    for asked in rules or ():
        if asked not in applied:
            near = nearest_names(asked, applied)
            raise DataError(text("detection.not_applied", rule=asked, nearest=near))
    rows = []
    for rule_id, table in schools.groupby("rule_id", sort=False, observed=True):
        if rules is not None and rule_id not in rules:
            continue
        listed = set(table.loc[table["verdict"] == "yes", "school_id"])
        members = set(known.index[known])
        hits = len(listed & members)
        ppv = wilson_interval(hits, len(listed)) if listed else (float("nan"),) * 2
        sensitivity = wilson_interval(hits, len(members)) if members else (float("nan"),) * 2
        rows.append(
            {
                "rule_id": rule_id,
                "n_listed": len(listed),
                "n_true": len(members),
                "n_true_listed": hits,
                "ppv": hits / len(listed) if listed else float("nan"),
                "ppv_low": float(ppv[0]),
                "ppv_high": float(ppv[1]),
                "sensitivity": hits / len(members) if members else float("nan"),
                "sensitivity_low": float(sensitivity[0]),
                "sensitivity_high": float(sensitivity[1]),
                "n_insufficient": int((table["verdict"] == "insufficient_data").sum()),
            }
        )
    return pd.DataFrame(rows)
