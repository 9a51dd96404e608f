"""Ids of schools as text, and ids of two tables that only look the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["check_same_spelling", "ids_as_text"]

# Cyrillic letters and the Latin ones that look like them
_LOOK_ALIKE = str.maketrans("АВЕКМНОРСТХУаеорсух", "ABEKMHOPCTXYaeopcyx")


def ids_as_text(column: pd.Series) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """Return ids as text; 7.0, what a spreadsheet with an empty cell makes of 7, is ``"7"``."""
    if column.dtype.kind == "f":
        values = column.to_numpy(dtype=float)
        if np.isfinite(values).all() and (values == np.floor(values)).all():
            column = column.astype(np.int64)
    found: np.ndarray[tuple[int], np.dtype[np.object_]] = column.astype(str).to_numpy(dtype=object)
    return found


def check_same_spelling(given: Mapping[str, pd.Series]) -> None:
    """Raise where one school seems to be written in two ways, or two tables share no school.

    Blanks around an id, a decimal part of zeros and Cyrillic beside Latin letters of one shape
    would otherwise make two schools of one, each with half of its data.

    Raises
    ------
    DataError
        With both spellings and the tables that hold them.
    """
    seen: dict[str, tuple[str, str]] = {}
    twice = []
    for table, column in given.items():
        for name in pd.unique(column):
            first = seen.setdefault(_shape(name), (name, table))
            if first[0] != name:
                twice.append((first, (name, table)))
    if twice:
        (one, first_table), (other, second_table) = twice[0]
        raise DataError(
            text(
                "verdicts.two_spellings",
                one=repr(one),
                first=first_table,
                other=repr(other),
                second=second_table,
                n=len(twice),
            )
        )
    _check_common(given)


def _check_common(given: Mapping[str, pd.Series]) -> None:
    names = list(given)
    ids = {table: set(column) for table, column in given.items()}
    for k, second in enumerate(names):
        for first in names[:k]:
            if ids[first].isdisjoint(ids[second]):
                raise DataError(
                    text(
                        "verdicts.no_common_school",
                        first=first,
                        one=repr(min(ids[first])),
                        second=second,
                        other=repr(min(ids[second])),
                    )
                )


def _shape(name: str) -> str:
    plain = name.strip().translate(_LOOK_ALIKE)
    return plain.removesuffix(".0")
