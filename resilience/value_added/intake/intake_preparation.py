"""From the rows of a source to prepared rows, with what was learnt from all of them.

The order is that of one frame in memory: gaps, standardisation, composition.  Each learnt part is
added to a frozen object that can be pickled and applied to any chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.batches.passes import Step
from resilience.data.design_formula import FormulaColumns, quoted
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.value_added.definitions.specification import Intake
from resilience.value_added.intake.intake_learning import (
    CellStep,
    CellValues,
    GapStep,
    composition_values,
    spread_values,
)

__all__ = ["IntakePreparation", "add_column", "standardised_columns"]


@dataclass(frozen=True, kw_only=True, eq=False)
class IntakePreparation:
    """The intake's part in preparing rows, as far as it is learnt.

    Attributes
    ----------
    parts : FormulaColumns
        The formula as the user wrote it.
    intake : Intake
        Composition, standardisation, gaps.
    cells : tuple of str
        School, or school and year: where compositions are formed.
    keys : tuple of str
        Columns in which no gap is allowed besides the outcome: levels, weights, pupil key.
    means : dict of {column: float} or None
        Values that fill gaps; None until learnt, or where gaps are not filled.
    spreads, composition : CellValues or None
        Learnt standardisation and composition.
    """

    parts: FormulaColumns
    intake: Intake
    cells: tuple[str, ...]
    keys: tuple[str, ...]
    means: dict[str, float] | None = None
    spreads: CellValues | None = None
    composition: CellValues | None = None

    @property
    def covariates(self) -> list[str]:
        """Columns in which the intake may allow gaps."""
        return list(dict.fromkeys([*self.parts.variables, *self.intake.compositions]))

    @property
    def added(self) -> tuple[str, ...]:
        """Terms that the intake adds to the formula."""
        gaps = [f"{name}_missing" for name in self.means or {}]
        return (*gaps, *(f"{name}_mean" for name in self.intake.compositions))

    @property
    def formula(self) -> str:
        """The formula with the terms added."""
        right = " + ".join([self.parts.right, *map(quoted, self.added)])
        return f"{quoted(self.parts.outcome)} ~ {right}"

    def gap_step(self) -> GapStep | None:
        """Return the step that learns the means to fill gaps with, where gaps are filled."""
        if self.intake.missing != "indicator" or self.means is not None:
            return None
        return GapStep(needs=tuple(self.covariates), unit=self.cells[0])

    def with_means(self, means: dict[str, float]) -> IntakePreparation:
        """Return the preparation that fills gaps with these means."""
        return replace(self, means=means)

    def steps(self) -> list[Step]:
        """Return what is still to be learnt after the gaps, in order."""
        found: list[Step] = []
        standard = standardised_columns(self.parts, self.intake)
        if standard and self.spreads is None:
            keys = tuple(self.intake.standardize_by)
            found.append(
                CellStep(
                    kind="standardisation",
                    names=tuple(standard),
                    keys=keys,
                    touches=tuple(standard),
                )
            )
        if self.intake.compositions and self.composition is None:
            names = tuple(self.intake.compositions)
            added = tuple(f"{name}_mean" for name in names)
            found.append(
                CellStep(
                    kind="composition",
                    names=names,
                    keys=self.cells,
                    touches=added,
                    raw="latent" not in self.intake.compositions.values(),  # a mapping
                )
            )
        return found

    def learnt(self, step: Any, state: Any) -> IntakePreparation:
        """Return the preparation after a step."""
        if step.kind == "standardisation":
            return replace(self, spreads=spread_values(step, state))
        how = dict(self.intake.compositions)
        return replace(self, composition=composition_values(step, state, how))

    def words(self, step: Any) -> Bilingual:
        """Say what a step learns."""
        kind = "gaps" if isinstance(step, GapStep) else step.kind
        names = step.needs if isinstance(step, GapStep) else step.names
        return text(f"sources.learns_{kind}", columns=", ".join(names))

    def raw(self, columns: Sequence[str]) -> list[str]:
        """Return the source's columns behind prepared ones."""
        behind: list[str] = []
        if self.intake.missing == "drop":
            behind += [*self.covariates, self.parts.outcome, *self.keys]
        composed = {f"{name}_mean": name for name in self.intake.compositions}
        filled = {f"{name}_missing": name for name in self.means or {}}
        standard = standardised_columns(self.parts, self.intake)
        for name in columns:
            if name in composed:
                behind += [composed[name], *self.cells]
            else:
                behind.append(filled.get(name, name))
        if set(behind) & set(standard):
            behind += self.intake.standardize_by
        return list(dict.fromkeys(behind))

    def strict(self) -> list[str]:
        """Return the source's columns in which no gap is allowed."""
        used = [self.parts.outcome, *self.keys, *self.intake.standardize_by]
        if self.intake.missing != "indicator":
            used = [*self.covariates, *used]
        return list(dict.fromkeys(used))

    def complete(self, frame: pd.DataFrame) -> NDArray[np.bool_] | None:
        """Return the rows to keep; None keeps all."""
        if self.intake.missing != "drop":
            return None
        used = dict.fromkeys([*self.covariates, self.parts.outcome, *self.keys])
        keep = np.ones(len(frame), dtype=bool)
        for name in used:
            keep &= frame[name].notna().to_numpy(dtype=bool)
        return keep

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with gaps filled, columns standardised and compositions added.

        Raises
        ------
        DataError
            For a cell that was not there when its values were learnt, or a column of the table
            that the intake would overwrite.
        """
        found: dict[str, pd.Series] = {}
        for name, mean in (self.means or {}).items():
            if name in frame.columns:
                gap = frame[name].isna()
                add_column(frame, found, f"{name}_missing", gap.astype(float))
                found[name] = frame[name].astype(float).fillna(mean)
        if self.spreads is not None:
            self._standardise(frame, found)
        if self.composition is not None:
            self._compose(frame, found)
        return frame.assign(**found) if found else frame

    def _standardise(self, frame: pd.DataFrame, found: dict[str, pd.Series]) -> None:
        spreads = self.spreads
        there = [n for n in spreads.by_cell if n in frame.columns] if spreads is not None else []
        if spreads is None or not there:
            return
        cells = spreads.rows(frame)
        for name in there:
            values = found.get(name, frame[name]).to_numpy(dtype=float, na_value=np.nan)
            mean, spread = spreads.by_cell[name][cells].T
            found[name] = pd.Series((values - mean) / spread, index=frame.index)

    def _compose(self, frame: pd.DataFrame, found: dict[str, pd.Series]) -> None:
        learnt = self.composition
        if learnt is None or not {*learnt.keys, *learnt.by_cell} <= set(frame.columns):
            return
        cells = learnt.rows(frame)
        for name, values in learnt.by_cell.items():
            mean, n = values[cells].T
            if self.intake.compositions[name] == "leave_one_out":
                x = found.get(name, frame[name]).to_numpy(dtype=float, na_value=np.nan)
                with np.errstate(divide="ignore", invalid="ignore"):
                    others = (mean * n - x) / (n - 1.0)
                mean = np.where(n > 1, others, learnt.overall[name])
            add_column(frame, found, f"{name}_mean", pd.Series(mean, index=frame.index))


def standardised_columns(parts: FormulaColumns, intake: Intake) -> list[str]:
    """Return the outcome and the priors in use, where the intake standardises.

    Raises
    ------
    SpecificationError
        If priors are named and none of them is in the formula.
    """
    if not intake.standardize_by:
        return []
    priors = [c for c in intake.prior if c in parts.variables]
    if not priors and intake.prior != Intake.prior:
        raise SpecificationError(
            text(
                "value_added.prior_unused",
                prior=", ".join(repr(c) for c in intake.prior),
                terms=", ".join(parts.variables),
            )
        )
    return [parts.outcome, *priors]


def add_column(
    frame: pd.DataFrame, found: dict[str, pd.Series], name: str, values: pd.Series
) -> None:
    """Note a column of the intake, never on top of one of the table's own."""
    if name in frame.columns:
        raise DataError(text("value_added.column_taken", column=repr(name)))
    found[name] = values
