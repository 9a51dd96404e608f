"""Checks of the levels that every model of schools shares."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pandas as pd

from resilience.data.identifiers import pupils_shown, torn_unit
from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import check_unique, shorten
from resilience.value_added.definitions.specification import Structure

__all__ = ["check_keys", "check_nested", "check_pupils"]


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
            backwards = not pairs.duplicated(outer).any()
            raise torn_unit(inner, unit, outer, places, backwards=backwards)
    for name in groups:
        n = data[name].nunique()
        if n < 2:
            raise DataError(text("value_added.few_groups", group=repr(name), n=n))


def check_pupils(
    data: pd.DataFrame, key: Sequence[str], subject: str, columns: Sequence[str]
) -> None:
    """Raise unless a pupil has one row per subject and stands in one unit of every level.

    Parameters
    ----------
    data : DataFrame
        One row per pupil and subject (and year).
    key : sequence of str
        Pupil key and, where the model has years, the year.
    subject : str
        Column of subjects.
    columns : sequence of str
        Columns of the levels.

    Raises
    ------
    DataError
        With the number of rows or pupils and the first three keys.
    """
    named = [*key, subject]
    again = data.duplicated(named)
    if again.any():
        places = pupils_shown(data[again], key)
        words = " × ".join(named)
        raise DataError(text("levels.twice", n=int(again.sum()), places=places, key=words))
    for column in columns:
        pairs = data[list(dict.fromkeys([*key, column]))].drop_duplicates()
        torn = pairs[pairs.duplicated(list(key))].drop_duplicates(list(key))
        if len(torn):
            places = pupils_shown(torn, key)
            raise DataError(
                text("levels.two_units", n=len(torn), level=repr(column), places=places)
            )


def check_keys(
    data: pd.DataFrame, groups: list[str], time: str | None, structure: Structure
) -> None:
    """Raise unless levels nest, years separate, and pupils do not repeat."""
    check_nested(data, groups)
    if time is not None:
        if data[time].nunique() < 2:
            raise DataError(text("value_added.one_time", time=repr(time), value=data[time].iloc[0]))
        if int(data.groupby(groups[-1], observed=True)[time].nunique().max()) < 2:
            raise DataError(text("value_added.one_year_each", time=repr(time)))
    if structure.unit is not None:
        key = [structure.unit, *([time] if time else [])]
        key += ["subject"] if "subject" in data.columns else []
        check_unique(data, key, table="data")
