"""What a posterior verdict was computed from, one row per school and rule.

Enough to redo the probability by hand or in a spreadsheet: every number that enters
`resilience.stats.verdicts.decisions.joint_posterior`, and those of the rule that turn it into a
verdict.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria

__all__ = ["WORKING", "empty_working", "working_table"]

Floats = NDArray[np.float64]

# In the order in which a calculation goes.
WORKING = (
    "context_index",
    "context_shrunken",
    "context_error",
    "gate",
    "context_sign",
    "effect",
    "reliability",
    "line_level",
    "line_slope",
    "residual_mean",
    "precision",
    "context_slope",
    "effect_variance",
    "shrinkage",
    "delta",
    "effect_sign",
    "alternative",
    "probability_adverse",
    "probability",
    "threshold",
    "p_no",
    "power_to_detect",
    "n_pupils",
    "n_years",
    "transient_variance",
)


def empty_working() -> pd.DataFrame:
    """Return the table without rows: no rule was a posterior one."""
    return pd.DataFrame(columns=["school_id", "rule_id", *WORKING])


def working_table(
    school_ids: NDArray[np.object_], rule: Criteria, values: Mapping[str, Floats | float]
) -> pd.DataFrame:
    """Return the rows of one rule; what does not enter its verdict is missing.

    Parameters
    ----------
    school_ids : ndarray of str
        Schools in the order of the values.
    rule : Criteria
        The rule.
    values : mapping of {column: array or number}
        Columns of `WORKING`; the threshold and ``p_no`` are the rule's.
    """
    n = len(school_ids)
    known = {"threshold": rule.losses.threshold, "p_no": rule.p_no, **values}
    columns = {
        name: np.broadcast_to(np.asarray(known.get(name, np.nan), dtype=float), (n,)).copy()
        for name in WORKING
    }
    return pd.DataFrame({"school_id": school_ids, "rule_id": rule.id, **columns})
