"""What the intake learnt at a fit, applied to the rows of a prediction.

Nothing is learnt anew from the rows passed: a pupil's prediction does not depend on who else is in
the table.  Only cells that the fit did not know form their composition from these rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import check_numeric, shorten
from resilience.value_added.intake.cell_places import cell_places, row_cells
from resilience.value_added.intake.gap_report import MissingResults
from resilience.value_added.intake.intake_learning import CellValues
from resilience.value_added.intake.intake_preparation import IntakePreparation, add_column
from resilience.value_added.intake.learnt_calibration import LearntCalibration

__all__ = ["LearntIntake"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LearntIntake:
    """Means that fill gaps, spreads of standardisation, compositions and calibration of a fit.

    Attributes
    ----------
    plan : IntakePreparation
        The intake's part in preparing rows, with what was learnt.
    by_subject : dict of {subject: CellValues}
        Compositions within each subject, where there are several.
    subject : str or None
        Column of the subjects.
    calibration : LearntCalibration or None
        What priors measured with error rest on.
    missing : MissingResults or None
        Who had gaps; None where the rows were not held in memory.
    """

    plan: IntakePreparation
    by_subject: Mapping[object, CellValues] = field(default_factory=dict)
    subject: str | None = None
    calibration: LearntCalibration | None = None
    missing: MissingResults | None = None

    @property
    def complete(self) -> bool:
        """Whether everything that the intake asks for was learnt."""
        return not self.plan.steps() or bool(self.by_subject)

    @property
    def error_columns(self) -> list[str]:
        """Columns of error variances."""
        shares = {} if self.calibration is None else self.calibration.shares
        return [how for how in shares.values() if isinstance(how, str)]

    def apply(self, frame: pd.DataFrame, given: Sequence[str] = ()) -> pd.DataFrame:
        """Return rows as those of the fit were prepared.

        Parameters
        ----------
        frame : DataFrame
            Rows without gaps but in columns that the fit fills.
        given : sequence of str
            Columns of compositions that the table holds itself.

        Raises
        ------
        DataError
            For a gap in a column that had none at the fit, a cell of standardisation that was not
            there, or a column of the table that the intake would overwrite.
        """
        found: dict[str, pd.Series] = {}
        self._fill(frame, found)
        self._standardise(frame, found)
        filled = frame.assign(**found) if found else frame
        added: dict[str, pd.Series] = {}
        wanted = [n for n in self.plan.intake.compositions if f"{n}_mean" not in given]
        for name in wanted:
            check_numeric(filled, [name], table="data")
            add_column(frame, added, f"{name}_mean", self.composed(filled, name))
        if self.calibration is not None:
            for name, values in self.calibration.columns(filled, self.plan.spreads).items():
                if name not in given:
                    added[name] = pd.Series(values, index=frame.index)
        return filled.assign(**added) if added else filled

    def _fill(self, frame: pd.DataFrame, found: dict[str, pd.Series]) -> None:
        if self.plan.intake.missing != "indicator":
            return
        means = self.plan.means or {}
        for name in self.plan.covariates:
            if name not in frame.columns:
                continue
            gap = frame[name].isna()
            if name in means:
                check_numeric(frame[~gap], [name], table="data")
                add_column(frame, found, f"{name}_missing", gap.astype(float))
                found[name] = frame[name].astype(float).fillna(means[name])
            elif gap.any():
                raise DataError(text("prediction.new_gap", column=repr(name), n=int(gap.sum())))

    def _standardise(self, frame: pd.DataFrame, found: dict[str, pd.Series]) -> None:
        spreads = self.plan.spreads
        if spreads is None:
            return
        places = cell_places(spreads.labels, spreads.keys, frame)
        if (places < 0).any():
            cells = frame.loc[places < 0, list(spreads.keys)].drop_duplicates()
            raise DataError(
                text(
                    "prediction.new_cell",
                    by=" × ".join(spreads.keys),
                    cells=shorten("/".join(map(str, row)) for row in cells.to_numpy()),
                    known=shorten("/".join(map(str, c)) for c in zip(*spreads.labels, strict=True)),
                )
            )
        for name, by_cell in spreads.by_cell.items():
            if name in frame.columns and pd.api.types.is_numeric_dtype(frame[name].dtype):
                values = found.get(name, frame[name]).to_numpy(dtype=float, na_value=np.nan)
                mean, spread = by_cell[places].T
                found[name] = pd.Series((values - mean) / spread, index=frame.index)

    def composed(self, frame: pd.DataFrame, name: str) -> pd.Series[float]:
        """Return the composition of each row's cell, within its subject where there are several.

        Parameters
        ----------
        frame : DataFrame
            Rows without gaps.
        name : str
            Column of the composition.
        """
        x = frame[name].to_numpy(dtype=float, na_value=np.nan)
        how = self.plan.intake.compositions[name]
        if self.subject is None:
            assert self.plan.composition is not None  # `complete` was asked
            return pd.Series(_mean(self.plan.composition, name, frame, x, how), index=frame.index)
        values = np.full(len(frame), np.nan)
        subjects = frame[self.subject].astype(object).to_numpy()
        for subject, learnt in self.by_subject.items():
            at = np.flatnonzero(subjects == subject)
            if len(at):
                values[at] = _mean(learnt, name, frame.iloc[at], x[at], how)
        return pd.Series(values, index=frame.index)


def _mean(learnt: CellValues, name: str, frame: pd.DataFrame, x: Floats, how: str) -> Floats:
    """Return the composition of each row: learnt of known cells, formed here of new ones."""
    places = cell_places(learnt.labels, learnt.keys, frame)
    mean, n = learnt.by_cell[name][places].T
    new = np.flatnonzero(places < 0)
    if len(new):
        rows = frame.iloc[new]
        code, first = row_cells(rows, learnt.keys)
        size = np.bincount(code).astype(float)
        own = np.bincount(code, x[new]) / size
        if how == "latent":
            schools = rows[learnt.keys[0]].iloc[first].astype(object).to_numpy()
            own = learnt.nulls[name].means(schools, own, size)
        mean[new], n[new] = own[code], size[code]
    if how != "leave_one_out":
        return np.asarray(mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        others = (mean * n - x) / (n - 1.0)
    return np.where(n > 1, others, learnt.overall[name])
