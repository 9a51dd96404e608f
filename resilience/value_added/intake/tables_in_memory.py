"""Any table of pupils as one of pandas, with categories in the order that a fit gives them."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any

import pandas as pd

from resilience.data.batches.arrow import check_arrow
from resilience.data.batches.frames import narwhals_frame
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.validation import check_table
from resilience.value_added.intake.pupil_products import PupilProducts

__all__ = ["pandas_table", "pupils_table", "table_in_memory"]


def table_in_memory(source: object) -> pd.DataFrame:
    """Return pupils as a table of pandas for what reads whole rows of several models.

    Parameters
    ----------
    source : frame of any library that narwhals knows
        A lazy one is collected.

    Returns
    -------
    DataFrame
        A frame of pandas is returned as it is.  Categories of another library whose order nobody
        declared (no polars Enum, no ordered Arrow dictionary) become plain values, so that
        they stand in the order of their values as in `ValueAddedModel.fit`.

    Raises
    ------
    SpecificationError
        For paths, products, chunks and whatever is no table, with the way out.
    """
    if isinstance(source, pd.DataFrame):
        return source
    frame = narwhals_frame(source)
    if frame is None:
        raise _refusal(source)
    return pandas_table(frame)


def pupils_table(data: object) -> pd.DataFrame:
    """Return a frame of any library that narwhals knows as one of pandas.

    Raises
    ------
    SpecificationError
        For whatever is no table.
    """
    if isinstance(data, pd.DataFrame):
        return data
    frame = narwhals_frame(data)
    if frame is None:
        check_table(data, table="pupils")
    return pandas_table(frame)


def pandas_table(frame: Any) -> pd.DataFrame:
    """Return a frame of narwhals as one of pandas; undeclared categories become plain values.

    Parameters
    ----------
    frame : narwhals.DataFrame or LazyFrame
        A lazy one is collected.
    """
    import narwhals as nw

    eager = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
    foreign = not eager.implementation.is_pandas_like()
    if foreign:
        check_arrow()
    table: pd.DataFrame = eager.to_pandas()
    if not foreign:
        return table
    plain: dict[Any, pd.Series[Any]] = {}
    for name, kind in eager.schema.items():
        own = table[name].dtype
        if kind == nw.Categorical and isinstance(own, pd.CategoricalDtype) and not own.ordered:
            plain[name] = table[name].astype(own.categories.dtype)
    return table.assign(**plain)


def _refusal(source: object) -> SpecificationError:
    """Return why the pupils cannot be taken from a source; what is no source at all raises."""
    kind: str = type(source).__name__
    if isinstance(source, PupilProducts):
        return SpecificationError(text("compare.products"))
    if isinstance(source, str | PathLike):
        return SpecificationError(text("compare.path"))
    if isinstance(source, dict) or not (isinstance(source, Iterable) or callable(source)):
        check_table(source, table="data")
    return SpecificationError(text("compare.source", kind=kind))
