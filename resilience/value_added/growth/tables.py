"""Tables of pupils of any library, for growth percentiles."""

from __future__ import annotations

import pandas as pd

from resilience.data.batches.frames import narwhals_frame
from resilience.validation import check_table
from resilience.value_added.intake.tables_in_memory import pandas_table

__all__ = ["pupils_table"]


def pupils_table(data: object) -> pd.DataFrame:
    """Return a frame of any library that narwhals knows as one of pandas.

    Raises
    ------
    DataError
        For whatever is no table.
    """
    if isinstance(data, pd.DataFrame):
        return data
    frame = narwhals_frame(data)
    if frame is not None:
        return pandas_table(frame)
    check_table(data, table="pupils")
    raise AssertionError("check_table refuses whatever is no table")  # pragma: no cover
