"""Labels of units, pupils and years: one type per column, and no blank text among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.validation import shorten

__all__ = ["check_one_kind", "identified", "pupils_shown", "torn_unit"]


def identified(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Return the table with blank text in its identifiers as missing; itself where there is none.

    Parameters
    ----------
    frame : DataFrame
        Rows.
    columns : iterable of str
        Identifiers: units, pupils, years.  Those that the table lacks are passed over.

    Raises
    ------
    DataError
        If a column mixes numbers and text, so that one school may stand under two labels.
    """
    blanked: dict[str, pd.Series] = {}
    for name in dict.fromkeys(columns):
        if name not in frame.columns or isinstance(frame[name], pd.DataFrame):
            continue  # a missing or doubled column has a message of its own
        labels = _labels(frame[name])
        if _all_text(labels):  # what the tables of large regions hold, chunk by chunk
            index = pd.Index(labels)
            blank = list(index[np.asarray(index.str.strip() == "", dtype=bool)])
        else:
            used = _used(frame[name], labels)
            check_one_kind([used], level=name)
            blank = [label for label in used if isinstance(label, str) and not label.strip()]
        if blank:
            blanked[name] = frame[name].where(~frame[name].isin(blank))
    return frame.assign(**blanked) if blanked else frame


def check_one_kind(columns: Sequence[Iterable[Any]], *, level: str) -> None:
    """Raise if labels that name units of one level are of several kinds.

    Parameters
    ----------
    columns : sequence of iterables
        Labels, column by column; whole and other numbers are one kind.
    level : str
        Name in the message.

    Raises
    ------
    DataError
        With the kinds met.
    """
    kinds: dict[str, str] = {}
    for labels in columns:
        dtype = getattr(labels, "dtype", None)
        if isinstance(dtype, np.dtype) and dtype.kind in "iuf":
            kinds[str(dtype)] = "number"
            continue
        for label in labels:
            if not (pd.api.types.is_scalar(label) and pd.isna(label)):
                kinds[type(label).__name__] = _kind(label)
    if len(set(kinds.values())) > 1:
        raise DataError(
            text("sources.mixed_labels", level=repr(level), kinds=", ".join(sorted(kinds)))
        )


def torn_unit(inner: str, unit: object, outer: str, places: str, *, backwards: bool) -> DataError:
    """Return the error for a unit that stands in two outer units.

    Parameters
    ----------
    inner, outer : str
        Columns of both levels.
    unit : object
        The unit.
    places : str
        The outer units, in both languages.
    backwards : bool
        Whether every outer unit stands in a single inner one: the order is then the wrong way.
    """
    named = {"inner": inner, "unit": unit, "outer": outer, "places": places}
    if backwards:
        return DataError(text("levels.reversed", **named, order=repr([inner, outer])))
    message = text("value_added.two_parents", **named)
    return DataError(text("levels.join", message=message, inner=inner, outer=outer))


def pupils_shown(frame: pd.DataFrame, key: Sequence[str]) -> Bilingual:
    """Return the first three pupils of some rows by the key the user gave, else the rows.

    Parameters
    ----------
    frame : DataFrame
        The rows concerned.
    key : sequence of str
        Pupil key first; empty where none was given.  No other column of a pupil is shown.
    """
    if not key:
        return text("levels.rows", first=shorten(frame.index, 3))
    pupils = frame[key[0]].drop_duplicates()
    return text("levels.pupils", column=key[0], first=shorten(pupils, 3))


def _labels(values: pd.Series) -> Any:
    """Return the distinct labels of a column, all categories of one; of numbers nothing."""
    kind: Any = values.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return kind.categories
    if pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind):
        return values.dropna().unique()
    return np.zeros(0)


def _all_text(labels: Any) -> bool:
    """Return whether labels are text without looking at each in Python."""
    if len(labels) == 0:
        return False
    string = pd.api.types.is_string_dtype(labels.dtype) and not pd.api.types.is_object_dtype(
        labels.dtype
    )
    return string or pd.api.types.infer_dtype(labels, skipna=False) == "string"


def _used(values: pd.Series, labels: Any) -> Any:
    """Return the labels that stand in some row: a category may be left over."""
    if not isinstance(values.dtype, pd.CategoricalDtype):
        return labels
    codes = np.unique(values.cat.codes.to_numpy())
    return labels[codes[codes >= 0]]


def _kind(label: object) -> str:
    if isinstance(label, bool | np.bool_):
        return "boolean"
    return "number" if isinstance(label, Real) else "text" if isinstance(label, str) else "other"
