"""Reports over groups of teachers: small cells hidden, differences of reports refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import check_differencing, shorten, suppressed_cells
from resilience.value_added.persistence.differencing import check_chains

__all__ = ["Release", "TeacherErrors", "group_cells", "group_table"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherErrors:
    """Prediction errors of teacher effects: ``U + L L'``, U block by block.

    Attributes
    ----------
    blocks : tuple of (ndarray of int, ndarray)
        Units that share pupils and the conditional covariance of their effects.
    loadings : ndarray of shape (n_units, n_terms + n_parameters)
        L: the errors of fixed effects, persistence and variances, which all units share.
    """

    blocks: tuple[tuple[Ints, Floats], ...]
    loadings: Floats

    def of_contrast(self, weights: Floats) -> float:
        """Return the standard error of a weighted sum of effects."""
        variance = float(((weights @ self.loadings) ** 2).sum())
        for units, block in self.blocks:
            own = weights[units]
            if own.any():
                variance += float(own @ block @ own)
        return float(np.sqrt(variance))


@dataclass(frozen=True, kw_only=True)
class Release:
    """A report that was issued: what it could later be differenced with.

    Attributes
    ----------
    by : tuple of str
        Columns of the report.
    cells : tuple of frozenset
        Teachers behind every published number.
    n_hidden : int
        Cells that stayed hidden.
    """

    by: tuple[str, ...]
    cells: tuple[frozenset[object], ...]
    n_hidden: int


def group_cells(
    groups: pd.DataFrame, by: Sequence[str], varying: Sequence[str], teacher: str
) -> pd.DataFrame:
    """Return the columns that form the groups, a row per unit.

    Raises
    ------
    SpecificationError
        If a column is the teacher key, unknown, or varies within a teacher and year.
    DataError
        If a column has gaps.
    """
    for name in by:
        if name == teacher:
            raise SpecificationError(text("persistence.by_teacher", column=repr(name)))
        if name in varying:
            raise SpecificationError(text("persistence.by_varying", column=repr(name)))
        if name not in groups.columns:
            known = shorten([c for c in groups.columns if c != teacher], 12)
            raise SpecificationError(text("persistence.by_unknown", column=repr(name), known=known))
        if groups[name].isna().any():
            n = int(groups[name].isna().sum())
            raise DataError(text("persistence.by_missing", column=repr(name), n=n))
    return groups[list(by)]


def group_table(
    cells: pd.DataFrame,
    teachers: pd.Series,
    effects: Floats,
    errors: TeacherErrors,
    *,
    n_min: int,
    level: float,
    earlier: Sequence[Release],
) -> tuple[pd.DataFrame, Release]:
    """Return the report and what it releases.

    A group's number is the mean over its teachers, each with the mean of the teacher's own years.

    Raises
    ------
    PolicyError
        If an earlier report and this one differ by fewer than ``n_min`` teachers.
    """
    by = list(cells.columns)
    table = cells.drop_duplicates().sort_values(by).reset_index(drop=True)
    place = pd.MultiIndex.from_frame(table).get_indexer(pd.MultiIndex.from_frame(cells))
    keys = teachers.to_numpy()
    members = [frozenset(keys[place == k]) for k in range(len(table))]
    reasons = suppressed_cells(members, _margins(table), n_min)
    shown = tuple(own for own, reason in zip(members, reasons, strict=True) if not reason)
    for release in earlier:
        check_differencing(release.cells, shown, n_min)
    check_chains([*(release.cells for release in earlier), shown], n_min)
    mean, error = np.full(len(table), np.nan), np.full(len(table), np.nan)
    for k, reason in enumerate(reasons):
        if not reason:
            inside = place == k
            per_teacher = pd.Series(inside).groupby(keys).transform("sum").to_numpy()
            weights = np.where(inside, 1.0 / np.maximum(per_teacher, 1), 0.0) / len(members[k])
            mean[k], error[k] = weights @ effects, errors.of_contrast(weights)
    z = float(special.ndtri(0.5 + level / 2.0))
    table["n_teachers"] = [len(own) for own in members]
    table["mean_teacher_effect"] = mean
    table["std_error"] = error
    table["conf_low"] = mean - z * error
    table["conf_high"] = mean + z * error
    table["reason"] = reasons
    release = Release(by=tuple(by), cells=shown, n_hidden=sum(map(bool, reasons)))
    return table, release


def _margins(table: pd.DataFrame) -> list[list[object]]:
    """Return, for each way of adding up one column, the total that every cell belongs to."""
    found: list[list[object]] = []
    for name in table.columns:
        others = [c for c in table.columns if c != name]
        found.append([tuple(row) for row in table[others].itertuples(index=False)])
    return found
