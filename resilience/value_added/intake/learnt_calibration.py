"""What a regression calibration learnt, kept for rows that come later.

Cells (schools, or schools by year) known at the fit keep their expected true means; the sums of
their rows stay, so that a further year of a known school is told by its other years too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design_formula import check_rows
from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.gaps.regression_calibration import (
    CellSums,
    Moments,
    cell_effects,
    cell_sums,
    pupil_expectations,
)
from resilience.validation import check_columns, check_numeric
from resilience.value_added.intake.cell_places import cell_places, row_cells
from resilience.value_added.intake.intake_learning import CellValues

__all__ = ["LearntCalibration", "error_variances"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LearntCalibration:
    """What a calibration learnt, for further rows: no pupils, one set of sums per cell.

    Attributes
    ----------
    names : tuple of str
        Columns, the error-prone ones first; categories as ``column=category``.
    categories : dict of {column: categories}
        Categories, but the first, of columns that hold no numbers.
    shares : dict of {column: float or str}
        Error variance of each error-prone column in the units of the fit, or the column of it.
    moments : Moments
        Means and covariances.
    keys : tuple of str
        School, or school and year.
    labels : tuple of ndarray of shape (K,)
        Labels of the cells known at the fit.
    sums : CellSums
        What their rows tell.
    effects, means : ndarray of shape (K, q)
        Expected true deviations of the cells, and what the latent composition is.
    raw : dict of {column: ndarray of shape (K, 2)}
        Mean of the calibrated values and rows of each cell, where a plain mean is asked.
    composition : dict of {column: how}
        Composition of the intake.
    """

    names: tuple[str, ...]
    categories: dict[str, tuple[object, ...]]
    shares: dict[str, float | str]
    moments: Moments
    keys: tuple[str, ...]
    labels: tuple[NDArray[np.object_], ...]
    sums: CellSums
    effects: Floats
    means: Floats
    raw: dict[str, Floats]
    composition: dict[str, str]

    def columns(self, frame: pd.DataFrame, spreads: CellValues | None = None) -> dict[str, Floats]:
        """Return the calibrated priors and compositions of further rows, by name.

        Cells known at the fit keep what was learnt of them; those of new schools and years are
        formed from the rows given, together with what the fit knows of the school.

        Parameters
        ----------
        frame : DataFrame
            Prepared rows.
        spreads : CellValues or None
            The standardisation of the fit.

        Raises
        ------
        DataError
            If a column or its error variances are not usable numbers.
        """
        values, errors = self._values(frame), np.zeros((len(frame), len(self.names)))
        for k, (name, share) in enumerate(self.shares.items()):
            if isinstance(share, str):
                errors[:, k] = error_variances(frame, name, share, spreads)
            else:
                errors[:, k] = share
        places = cell_places(self.labels, self.keys, frame)
        effects, means = self.effects[places], self.means[places]
        new = np.flatnonzero(places < 0)
        code = np.zeros(0, dtype=np.int64)
        if len(new):
            rows = frame.iloc[new]
            code, first = row_cells(rows, self.keys)
            sums = cell_sums(values[new], errors[new], code, self.moments)
            schools = rows[self.keys[0]].iloc[first].astype(object).to_numpy()
            found = self._of_new(sums, schools)
            at_cell = np.where(self.moments.constant, sums.means, found) + self.moments.mean
            effects[new], means[new] = found[code], at_cell[code]
        pupils = pupil_expectations(values, errors, effects, self.moments)
        found_columns = {name: pupils[:, k] for k, name in enumerate(self.shares)}
        for name, how in self.composition.items():
            if how == "latent" and name in self.names:
                found_columns[f"{name}_mean"] = means[:, self.names.index(name)]
            elif name in self.raw:
                x = found_columns[name]
                found_columns[f"{name}_mean"] = self._raw_mean(name, x, places, new, code)
        return found_columns

    def _values(self, frame: pd.DataFrame) -> Floats:
        plain = [name for name in self.names if name in frame.columns]
        check_numeric(frame, plain, table="data")
        own = {name: frame[name].to_numpy(dtype=float) for name in plain}
        for column, categories in self.categories.items():
            values = frame[column].astype(object)
            for category in categories:
                own[f"{column}={category}"] = (values == category).to_numpy(dtype=float)
        return np.column_stack([own[name] for name in self.names])

    def _of_new(self, sums: CellSums, schools: NDArray[np.object_]) -> Floats:
        """Return the expected deviations of new cells, given the known ones of their schools."""
        behind = np.flatnonzero(pd.Index(self.labels[0]).isin(pd.unique(schools)))
        both = CellSums(
            precision=np.concatenate([sums.precision, self.sums.precision[behind]]),
            pull=np.concatenate([sums.pull, self.sums.pull[behind]]),
            means=np.concatenate([sums.means, self.sums.means[behind]]),
        )
        parent = pd.factorize(np.concatenate([schools, self.labels[0][behind]]))[0]
        return cell_effects(both, parent.astype(np.int64), self.moments)[: len(sums.pull)]

    def _raw_mean(self, name: str, x: Floats, places: Codes, new: Codes, code: Codes) -> Floats:
        """Return the mean of calibrated values of the row's cell, without its own where asked."""
        mean, n = self.raw[name][places].T
        if len(new):
            size = np.bincount(code).astype(float)
            mean[new], n[new] = (np.bincount(code, x[new]) / size)[code], size[code]
        if self.composition[name] != "leave_one_out":
            return np.asarray(mean)
        each, rows = self.raw[name].T
        others = (mean * n - x) / np.maximum(n - 1.0, 1.0)
        return np.where(n > 1, others, float(each @ rows / rows.sum()))


def error_variances(
    frame: pd.DataFrame, name: str, how: float | str, spreads: CellValues | None
) -> Floats:
    """Return the error variance of each row in the units of the prepared column.

    Parameters
    ----------
    frame : DataFrame
        Prepared rows.
    name : str
        Error-prone column.
    how : float or str
        Its reliability in these rows, or the column of error variances in units before the
        standardisation.
    spreads : CellValues or None
        The standardisation.

    Raises
    ------
    DataError
        If error variances are missing, negative or no numbers.
    """
    if not isinstance(how, str):
        x = frame[name].to_numpy(dtype=float)
        return np.full(len(frame), (1.0 - float(how)) * float(x.var()))
    values = _checked_errors(frame, how)
    if spreads is None or name not in spreads.by_cell:
        return values
    cells = cell_places(spreads.labels, spreads.keys, frame)
    return np.asarray(values / spreads.by_cell[name][cells, 1] ** 2)


def _checked_errors(frame: pd.DataFrame, how: str) -> Floats:
    check_columns(frame, [how], table="data")
    check_numeric(frame, [how], table="data")
    check_rows(frame, [how], table="data")
    values: Floats = frame[how].to_numpy(dtype=float)
    if (values < 0).any():
        raise DataError(
            text(
                "measurement.negative",
                column=repr(how),
                n=int((values < 0).sum()),
                least=f"{values.min():.6g}",
            )
        )
    return values
