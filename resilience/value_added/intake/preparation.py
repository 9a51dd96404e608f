"""Before the cross-products: gaps, standardisation and school composition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.batches.chunk import Chunk, Place
from resilience.data.design import FormulaColumns, check_rows, formula_columns
from resilience.data.design_formula import quoted
from resilience.data.identifiers import identified
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.validation import check_columns, check_not_empty, check_numeric
from resilience.value_added.definitions.specification import Composition, Intake
from resilience.value_added.intake.gap_report import gap_report
from resilience.value_added.intake.intake_learning import CellStep, composition_values
from resilience.value_added.intake.intake_preparation import IntakePreparation
from resilience.value_added.intake.learnt_intake import LearntIntake
from resilience.value_added.intake.measurement_error import Calibration, calibrated_intake

__all__ = ["Prepared", "composition_mean", "prepare"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A frame ready for the design.

    Attributes
    ----------
    data : DataFrame
        Rows that stay, with the columns added.
    formula : str
        The formula with the terms that the intake added.
    added : tuple of str
        Terms that the intake added.
    n_dropped : int
        Rows dropped because of gaps.
    calibration : Calibration or None
        What calibrated priors and compositions rest on.
    used : ndarray of shape (n,), bool, or None
        Rows of the fit among those of the calibration; None where it uses all of them.
    learnt : LearntIntake or None
        What predictions need of the intake; carried by every results object.
    """

    data: pd.DataFrame
    formula: str
    added: tuple[str, ...]
    n_dropped: int
    calibration: Calibration | None = None
    used: NDArray[np.bool_] | None = None
    learnt: LearntIntake | None = None


def prepare(
    data: pd.DataFrame,
    formula: str,
    intake: Intake,
    *,
    groups: Sequence[str],
    time: str | None,
    extra: Sequence[str] = (),
) -> Prepared:
    """Handle gaps, standardise, and add composition columns.

    Raises
    ------
    DataError
        For unknown columns, gaps under ``missing="raise"``, groups of standardisation without
        spread, a composition in which schools do not differ, a column that the intake would
        overwrite, or an empty table.
    """
    parts = formula_columns(formula)
    check_not_empty(data, table="data")
    keys = [*groups, *([time] if time else []), *extra]
    used = [*parts.variables, parts.outcome, *intake.compositions, *keys, *intake.standardize_by]
    check_columns(data, dict.fromkeys(used), table="data")
    check_numeric(data, [parts.outcome], table="data")
    frame = identified(data, [*groups, *([time] if time else []), *extra]).copy()
    cells = [groups[-1], *([time] if time else [])]
    if intake.missing == "impute":
        raise SpecificationError(text("imputation.only_fit"))
    covariates = list(dict.fromkeys([*parts.variables, *intake.compositions]))
    # only rows that may be dropped may lack a result or an identifier
    strict = [
        c for c in (parts.outcome, *keys) if intake.missing == "drop" and frame[c].isna().any()
    ]
    missing = gap_report(
        frame,
        [*covariates, *strict],
        group=groups[-1],
        handling=intake.missing,
        compared=[parts.outcome],
    )
    frame, n_dropped, means = _gaps(frame, parts.variables, [parts.outcome, *keys], intake, groups)
    added = [f"{name}_missing" for name in means]
    plan = IntakePreparation(parts=parts, intake=intake, cells=tuple(cells), keys=tuple(keys))
    rows = frame
    for name in intake.compositions:
        check_numeric(rows, [name], table="data")
    for step in plan.steps():
        state = step.start()
        step.add(state, plan.apply(rows), Chunk(frame=rows, place=Place(part=1)))
        plan = plan.learnt(step, step.close(state))
    frame = plan.apply(rows)
    added += [f"{name}_mean" for name in intake.compositions]
    frame, calibration, learnt = calibrated_intake(
        frame, intake, variables=parts.variables, cells=cells, spreads=plan.spreads
    )
    right = " + ".join([parts.right, *map(quoted, added)])
    return Prepared(
        data=frame,
        formula=f"{quoted(parts.outcome)} ~ {right}",
        added=tuple(added),
        n_dropped=n_dropped,
        calibration=calibration,
        learnt=LearntIntake(plan=plan.with_means(means), calibration=learnt, missing=missing),
    )


def _gaps(
    frame: pd.DataFrame,
    covariates: Sequence[str],
    strict: Sequence[str],
    intake: Intake,
    groups: Sequence[str],
) -> tuple[pd.DataFrame, int, dict[str, float]]:
    """Return the rows that stay, how many went, and the means that fill gaps."""
    names = list(dict.fromkeys([*covariates, *intake.compositions]))
    if intake.missing == "raise":
        check_rows(
            frame,
            [*names, *strict],
            table="data",
            unit=groups[-1],
            wording="design.missing_intake",
        )
        return frame, 0, {}
    if intake.missing == "indicator":
        check_rows(frame, list(strict), table="data", unit=groups[-1])
        means: dict[str, float] = {}
        for name in names:
            gap = frame[name].isna()
            if gap.any():
                check_numeric(frame, [name], table="data")
                check_rows(frame[~gap], [name], table="data", unit=groups[-1])
                _add(frame, f"{name}_missing", gap.astype(float))
                means[name] = float(frame[name].astype(float).mean())
                frame[name] = frame[name].astype(float).fillna(means[name])
        return frame, 0, means
    complete = frame[[*names, *strict]].notna().all(axis=1)
    kept = frame[complete]
    n_dropped = len(frame) - len(kept)
    if n_dropped:
        schools = frame.loc[~complete, groups[-1]].nunique()
        share = n_dropped / len(frame)
        warn_weak_data(
            text(
                "value_added.dropped",
                n=n_dropped,
                share=f"{100 * share:.1f}",
                schools=schools,
            )
        )
    check_not_empty(kept, table="data")
    return kept, n_dropped, {}


def _add(frame: pd.DataFrame, name: str, values: pd.Series[float]) -> None:
    """Add a column of the intake, never on top of one of the table's own."""
    if name in frame.columns:
        raise DataError(text("value_added.column_taken", column=repr(name)))
    frame[name] = values


def composition_mean(
    frame: pd.DataFrame, name: str, cells: Sequence[str], *, how: Composition
) -> pd.Series[float]:
    r"""Return the school composition of an intake variable, one value per row.

    Parameters
    ----------
    frame : DataFrame
        One row per pupil.
    name : str
        Intake variable.
    cells : sequence of str
        School, or school and year.
    how : {"latent", "mean", "leave_one_out"}
        ``latent`` is :math:`m + \lambda_j(\bar x_j - m)` with :math:`\lambda_j` from a null model
        of the variable itself; a pupil alone in a cell gets the overall mean under
        ``leave_one_out``.

    Returns
    -------
    Series
        In the variable's own units, indexed as the frame.
    """
    step = CellStep(kind="composition", names=(name,), keys=tuple(cells), raw=how != "latent")
    values = composition_values(step, step.of_frame(frame), {name: how})
    plan = IntakePreparation(
        parts=FormulaColumns(outcome=name, right="1", variables=()),
        intake=Intake(composition={name: how}),
        cells=tuple(cells),
        keys=(),
        composition=values,
    )
    found: pd.Series[float] = plan.apply(frame[[name, *cells]])[f"{name}_mean"]
    return found
