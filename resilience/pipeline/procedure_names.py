"""Which procedure a result comes from, and which cohort of pupils sat it."""

from __future__ import annotations

import pandas as pd

from resilience.data.cohorts import cohorts, procedure_grade

__all__ = ["cohorts", "procedure_grade", "pupil_procedures"]


def pupil_procedures(pupils: pd.DataFrame, kind: str | None) -> pd.Series:
    """Return the procedure of each result of a pupil, None where it is not known.

    Parameters
    ----------
    pupils : DataFrame
        ``[procedure] [subject]``.
    kind : str or None
        Kind of procedure (``[model] outcome_procedure``), to which the subject is added.
    """
    if "procedure" in pupils.columns:
        return pupils["procedure"]
    if kind is None:
        return pd.Series(None, index=pupils.index, dtype=object)
    tail = "-" + pupils["subject"].astype(str) if "subject" in pupils.columns else ""
    return pd.Series(kind, index=pupils.index) + tail
