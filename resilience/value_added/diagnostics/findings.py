"""What one check found: a row of the table of diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from resilience.i18n import Bilingual, text

__all__ = ["CHECKS", "Finding", "Severity", "findings_table", "unchecked"]

Severity = Literal["ok", "note", "warning", "serious", "not_checked"]

# in the order of the table: first what would change every number, last what concerns few schools
CHECKS = (
    "duplicated_pupils",
    "rows_dropped",
    "curvature",
    "ceiling",
    "floor",
    "prior_limits",
    "unequal_spread",
    "spread_by_size",
    "pupil_normality",
    "effect_normality",
    "singular",
    "small_schools",
    "influential_schools",
    "sorting",
    "suspicious_schools",
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check: how bad, by which number, what that means and what to do.

    Attributes
    ----------
    check : str
        One of `CHECKS`.
    severity : str
        ``ok``; ``note``: know it; ``warning``: may move conclusions, look; ``serious``: mend it
        before publishing; ``not_checked``: with the reason and how to have it checked.
    value, threshold : float
        The number and what it is held against; NaN where the check was not made.
    finding, remedy : Bilingual
        What was found, and the way out.
    """

    check: str
    severity: Severity
    value: float = float("nan")
    threshold: float = float("nan")
    finding: Bilingual
    remedy: Bilingual


def unchecked(check: str, reason: str) -> Finding:
    """Return a check that was not made, with the reason (of an error, say) as the finding."""
    assert isinstance(reason, Bilingual)  # every message of the library is
    return Finding(
        check=check,
        severity="not_checked",
        finding=reason,
        remedy=text("diagnostics.as_said"),
    )


def findings_table(found: Sequence[Finding]) -> pd.DataFrame:
    """Return ``check severity check_statistic value threshold finding remedy``, one row each."""
    order = {name: k for k, name in enumerate(CHECKS)}
    rows = sorted(found, key=lambda one: order[one.check])
    nothing = text("diagnostics.nothing_to_do")
    return pd.DataFrame(
        {
            "check": [one.check for one in rows],
            "severity": [one.severity for one in rows],
            "check_statistic": _cells([text(f"diagnostics.{r.check}_statistic") for r in rows]),
            "value": np.array([one.value for one in rows], dtype=float),
            "threshold": np.array([one.threshold for one in rows], dtype=float),
            "finding": _cells([one.finding for one in rows]),
            "remedy": _cells([nothing if r.severity == "ok" else r.remedy for r in rows]),
        }
    )


def _cells(words: Sequence[Bilingual]) -> pd.Series:
    """Return cells that keep both wordings: a column of strings would keep the English one."""
    return pd.Series(list(words), dtype=object)
