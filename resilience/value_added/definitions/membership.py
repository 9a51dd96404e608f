r"""Weighted multiple membership: pupils who belong to several schools or teachers by shares.

A pupil who spent shares :math:`w_{ij}` of the time in the schools j has the effect
:math:`\sum_j w_{ij}u_j`, :math:`\sum_j w_{ij} = 1`.  Source: BrowneGoldsteinRasbash2001.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import check_rows
from resilience.data.identifiers import check_one_kind, identified, pupils_shown
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import (
    check_columns,
    check_names,
    check_not_empty,
    check_numeric,
    check_table,
)
from resilience.value_added.definitions.specification import Missing

__all__ = ["Members", "Membership"]

Floats = NDArray[np.float64]

_TOLERANCE = 1e-6  # of the sum of a pupil's shares: shares printed with six digits pass


@dataclass(frozen=True)
class Membership:
    """Columns that say to which units a pupil belongs, and by what shares.

    Attributes
    ----------
    unit : str or sequence of str
        Wide: one column per membership; the entry may be missing where its share is 0.  Long: one
        column, a row per pupil and unit; ``Structure.unit`` must then name the pupil key.
    weight : str or sequence of str
        Column of the shares, one per column of ``unit``; at least 0, summing to 1 per pupil (and
        year, and subject, where the table has them).
    name : str, optional
        Name of the level in the results: by default what the columns' names begin with in common,
        or the column itself.

    Raises
    ------
    SpecificationError
        If there are not as many columns of shares as of units, or a column stands twice.
    """

    unit: str | Sequence[str]
    weight: str | Sequence[str]
    name: str | None = None

    def __post_init__(self) -> None:
        for argument in ("unit", "weight"):
            given, example = getattr(self, argument), f"{argument}=['{argument}_1', '{argument}_2']"
            if not isinstance(given, str):
                listed = isinstance(given, Iterable) and not isinstance(given, Mapping)
                for name in given if listed else [given]:
                    where = f"Membership.{argument}"
                    check_names(name, argument=where, example=example, single=True)
        units, weights = self.units, self.weights
        if not units or len(units) != len(weights) or self.long != isinstance(self.weight, str):
            raise SpecificationError(
                text(
                    "crossed.members_columns",
                    units=", ".join(units) or "—",
                    weights=", ".join(weights) or "—",
                )
            )
        names = [*units, *weights]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SpecificationError(text("crossed.members_twice", column=repr(twice[0])))

    @property
    def long(self) -> bool:
        """Whether the table has a row per pupil and unit."""
        return isinstance(self.unit, str)

    @property
    def units(self) -> list[str]:
        """Columns of the units."""
        return [self.unit] if isinstance(self.unit, str) else list(self.unit)

    @property
    def weights(self) -> list[str]:
        """Columns of the shares."""
        return [self.weight] if isinstance(self.weight, str) else list(self.weight)

    @property
    def level(self) -> str:
        """Name of the level in the results."""
        if self.name is not None:
            return self.name
        if self.long:
            return self.units[0]
        letters = zip(*self.units, strict=False)
        alike = itertools.takewhile(lambda found: len(set(found)) == 1, letters)
        common = "".join(found[0] for found in alike).rstrip("0123456789_-. ")
        return common or " + ".join(self.units)

    @property
    def main(self) -> str:
        """Column, added to the table, of the unit with the pupil's largest share."""
        return f"{self.level} (largest share)"

    def read(
        self,
        data: pd.DataFrame,
        *,
        key: Sequence[str],
        used: Sequence[str],
        missing: Missing = "raise",
    ) -> Members:
        """Return one row per pupil with the units and shares beside it.

        Parameters
        ----------
        data : DataFrame
            Wide or long.
        key : sequence of str
            Columns that make a pupil's result: pupil key, year, subject.  Needed for a long table;
            of a wide one they name the pupils in messages.
        used : sequence of str
            Further columns that the model reads: the rows of one pupil must agree in them; a gap in
            one of the rows is a gap of the pupil.
        missing : {"raise", "drop", "indicator"}
            With ``"drop"`` a pupil without a unit, though with a share, loses the value of `main`,
            so that the row can be dropped and counted; otherwise it is refused.

        Raises
        ------
        DataError
            For unknown or non-numeric columns, shares that are missing, negative or do not sum to
            1, units missing where the share is positive, and pupils whose rows disagree.
        """
        check_table(data, table="data")
        check_not_empty(data, table="data")
        check_columns(data, [*self.units, *self.weights, *key, *used], table="data")
        check_numeric(data, self.weights, table="data")
        data = identified(data, [*self.units, *key])
        if self.long and missing != "drop":
            check_rows(data, key, table="data", wording="design.missing_intake")
        check_one_kind([data[unit].dropna().unique() for unit in self.units], level=self.level)
        shares = data[self.weights].to_numpy(dtype=float, na_value=np.nan)
        self._check_shares(shares)
        lost = data[self.units].isna().to_numpy() & (shares > 0)
        if lost.any() and missing != "drop":
            column = self.units[int(np.argmax(lost.any(axis=0)))]
            rows = np.asarray(lost.any(axis=1), dtype=bool)
            places = pupils_shown(data.loc[rows], key)
            raise DataError(
                text("crossed.unit_missing", column=repr(column), n=int(rows.sum()), places=places)
            )
        codes, labels = self._coded(data)
        if self.long:
            members = _collapsed(data, codes[:, 0], shares[:, 0], list(key), list(used))
        else:
            members = Members(frame=data.copy(), codes=codes, shares=shares, labels=labels)
        sums = members.shares.sum(axis=1)
        keyless = members.frame[list(key)].isna().any(axis=1).to_numpy(dtype=bool)
        wrong = (np.abs(sums - 1.0) > _TOLERANCE) & ~keyless
        if wrong.any():
            first = sums[wrong][np.argmax(np.abs(sums[wrong] - 1.0))]
            raise DataError(
                text(
                    "crossed.shares_sum",
                    columns=", ".join(repr(w) for w in self.weights),
                    n=int(wrong.sum()),
                    sum=f"{first:.6g}",
                    places=pupils_shown(members.frame[wrong], key),
                )
            )
        largest = members.codes[np.arange(len(sums)), np.argmax(members.shares, axis=1)]
        frame = members.frame
        lost_codes = (members.codes < 0) & (members.shares > 0)
        unknown = np.asarray(lost_codes.any(axis=1), dtype=bool)
        main = pd.Series(labels[largest], index=frame.index).infer_objects()
        frame[self.main] = main.mask(unknown) if unknown.any() else main
        return Members(frame=frame, codes=members.codes, shares=members.shares, labels=labels)

    def _check_shares(self, shares: Floats) -> None:
        for column, values in zip(self.weights, shares.T, strict=True):
            bad = ~np.isfinite(values) | (values < 0)
            if bad.any():
                raise DataError(
                    text(
                        "crossed.shares",
                        column=repr(column),
                        n=int(bad.sum()),
                        value=f"{values[bad][0]:.6g}",
                    )
                )

    def _coded(self, data: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
        """Return codes of shape (n_rows, n_members), −1 for none, and the sorted labels."""
        stacked = pd.concat([data[column] for column in self.units], ignore_index=True)
        codes, labels = pd.factorize(stacked, sort=True)
        shape = (len(self.units), len(data))
        return codes.astype(np.int64).reshape(shape).T, np.asarray(labels, dtype=object)


@dataclass(frozen=True, kw_only=True, eq=False)
class Members:
    """Pupils' results with their units.

    Attributes
    ----------
    frame : DataFrame
        One row per result.
    codes : ndarray of shape (n_rows, n_members)
        Positions in ``labels``; −1 where the share is 0.
    shares : ndarray of shape (n_rows, n_members)
        Shares, summing to 1 in every row.
    labels : ndarray of shape (n_units,)
        Units.
    """

    frame: pd.DataFrame
    codes: NDArray[np.int64]
    shares: Floats
    labels: NDArray[np.object_]


def _collapsed(
    data: pd.DataFrame,
    codes: NDArray[np.int64],
    shares: Floats,
    key: list[str],
    used: list[str],
) -> Members:
    """Return one row per pupil from a table with one row per pupil and unit."""
    grouped = data.groupby(key, sort=False, dropna=False, observed=True)
    pupil = grouped.ngroup().to_numpy()
    keyless = data[key].isna().any(axis=1).to_numpy(dtype=bool)
    # two missing keys are not the same pupil
    pupil = np.where(keyless, len(data) + np.arange(len(data)), pupil)
    _, first, pupil = np.unique(pupil, return_index=True, return_inverse=True)
    pupil = pupil.reshape(-1)
    frame = data.iloc[first].copy()
    for column in dict.fromkeys(used):
        values = pd.factorize(data[column])[0]
        known = values >= 0
        low, high = np.full(len(first), len(data)), np.full(len(first), -1)
        np.minimum.at(low, pupil[known], values[known])
        np.maximum.at(high, pupil[known], values[known])
        differ = high > low
        if differ.any():
            raise DataError(
                text(
                    "crossed.rows_disagree",
                    column=repr(column),
                    n=int(differ.sum()),
                    key=" × ".join(key),
                    places=pupils_shown(frame[differ], key),
                )
            )
        if not known.all():
            gap = np.bincount(pupil[~known], minlength=len(first)) > 0
            frame[column] = frame[column].mask(gap)
    order = np.argsort(pupil, kind="stable")
    place = np.arange(len(data)) - np.repeat(
        np.cumsum(np.bincount(pupil)) - np.bincount(pupil), np.bincount(pupil)
    )
    shape = (len(first), int(place.max()) + 1)
    wide_codes, wide_shares = np.full(shape, -1, dtype=np.int64), np.zeros(shape)
    wide_codes[pupil[order], place] = codes[order]
    wide_shares[pupil[order], place] = shares[order]
    return Members(
        frame=frame,
        codes=wide_codes,
        shares=wide_shares,
        labels=np.empty(0, dtype=object),
    )
