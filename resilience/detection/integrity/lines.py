"""One answer of one marker on one test of one school."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from resilience.i18n import Bilingual, numeral

__all__ = ["MARKERS", "Line", "line_table", "number"]

#: Our markers, in the order in which they are printed.
MARKERS = (
    "high_mean",
    "item_pattern",
    "no_follow_up",
    "cohort_fall",
    "register",
    "low_variance",
    "border_peak",
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One answer.

    Attributes
    ----------
    school_id, marker, procedure : str
        School, marker and test; no test where several are pooled.
    year : int
        Year of the test.
    threshold, value : float
        Bound and what stands against it; NaN where there is none.
    verdict : str
        One of the four answers.
    reason : Bilingual
        Evidence, or why there is no answer.
    """

    school_id: str
    marker: str
    procedure: str
    year: int
    threshold: float
    value: float = float("nan")
    verdict: str = "insufficient_data"
    reason: Bilingual | None = None

    def answer(self, verdict: str, reason: Bilingual, *, value: float = float("nan")) -> Line:
        """Return the line with its answer."""
        return replace(self, verdict=verdict, reason=reason, value=float(value))

    def judged(self, value: float, sign: bool, evidence: Bilingual) -> Line:
        """Return the line with yes where there is a sign and no where there is none."""
        return self.answer("yes" if sign else "no", evidence, value=value)


def number(value: float, digits: int = 2) -> Bilingual:
    """Return a number as sentences print it, with the decimal sign of each language."""
    shown = f"{value:.{digits}f}".replace("-", "−")
    return numeral(shown)


def line_table(lines: Sequence[Line]) -> pd.DataFrame:
    """Return the lines as a table, by school, marker, test and year."""
    place = {name: at for at, name in enumerate(MARKERS)}
    ordered = sorted(lines, key=lambda x: (x.school_id, place[x.marker], x.procedure, x.year))
    return pd.DataFrame(
        {
            "school_id": [x.school_id for x in ordered],
            "marker": [x.marker for x in ordered],
            "procedure": [x.procedure for x in ordered],
            "year": [x.year for x in ordered],
            "value": [x.value for x in ordered],
            "threshold": [x.threshold for x in ordered],
            "verdict": [x.verdict for x in ordered],
            "reason": pd.Series([x.reason for x in ordered], dtype=object),
        }
    )
