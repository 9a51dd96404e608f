"""Checks of the levels that every model of schools shares."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pandas as pd

from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import shorten

__all__ = ["check_nested"]


def check_nested(data: pd.DataFrame, groups: Sequence[str]) -> None:
    """Raise unless every unit stands in one outer unit and every level has two units.

    Parameters
    ----------
    data : DataFrame
        With the columns of the levels.
    groups : sequence of str
        Columns from outer to inner.
    """
    for outer, inner in itertools.pairwise(groups):
        pairs = data[[inner, outer]].drop_duplicates()
        twice = pairs[pairs.duplicated(inner, keep=False)]
        if len(twice):
            unit = twice[inner].iloc[0]
            places = shorten(sorted(map(str, twice.loc[twice[inner] == unit, outer])))
            raise DataError(
                text("value_added.two_parents", inner=inner, unit=unit, outer=outer, places=places)
            )
    for name in groups:
        n = data[name].nunique()
        if n < 2:
            raise DataError(text("value_added.few_groups", group=repr(name), n=n))
