"""Preparing a long table of several subjects: the composition is formed within each subject.

One pupil has a row per subject.  Over all rows of a school a pupil would count as often as the
subjects sat, a latent mean would take these repeats for further pupils, and a pupil's own value
would stand among the others of a leave-one-out mean.  Hence one null model, and one mean per school
(and year), for every subject's own pupils.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from resilience.data.design import formula_columns
from resilience.data.design_formula import quoted
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import check_numeric
from resilience.value_added.definitions.specification import Composition, Intake
from resilience.value_added.intake.intake_learning import CellStep, CellValues, composition_values
from resilience.value_added.intake.preparation import Prepared, prepare

__all__ = ["prepare_subjects"]


def prepare_subjects(
    data: pd.DataFrame,
    formula: str,
    intake: Intake,
    *,
    groups: Sequence[str],
    time: str | None,
    subject: str,
    extra: Sequence[str] = (),
) -> Prepared:
    """Handle gaps, standardise, and add composition columns within each subject.

    Parameters
    ----------
    data, formula, intake, groups, time, extra
        As in `prepare`.
    subject : str
        Column of the subjects.

    Raises
    ------
    DataError
        What `prepare` raises.
    SpecificationError
        If priors measured with error are to be calibrated: not with several subjects.
    """
    if intake.prior_reliability is not None:
        raise SpecificationError(text("subjects.with_reliability"))
    parts = formula_columns(formula)
    composition = dict(intake.compositions)
    further = [name for name in composition if name not in parts.variables]
    prepared = prepare(
        data,
        formula,
        replace(intake, composition={}),
        groups=groups,
        time=time,
        extra=[subject, *extra, *further],
    )
    learnt = prepared.learnt
    assert learnt is not None  # `prepare` always tells
    if not composition:
        return replace(prepared, learnt=replace(learnt, subject=subject))
    frame = prepared.data
    check_numeric(frame, list(composition), table="data")
    cells = [groups[-1], *([time] if time else [])]
    for name in composition:
        if f"{name}_mean" in frame.columns:
            raise DataError(text("value_added.column_taken", column=repr(f"{name}_mean")))
    learnt = replace(
        learnt,
        plan=replace(learnt.plan, intake=intake),
        subject=subject,
        by_subject={
            label: _learnt(own, composition, cells)
            for label, own in frame.groupby(subject, observed=True, sort=True)
        },
    )
    frame = frame.assign(**{f"{name}_mean": learnt.composed(frame, name) for name in composition})
    added = [f"{name}_mean" for name in composition]
    return replace(
        prepared,
        data=frame,
        formula=" + ".join([prepared.formula, *map(quoted, added)]),
        added=(*prepared.added, *added),
        learnt=learnt,
    )


def _learnt(frame: pd.DataFrame, how: dict[str, Composition], cells: Sequence[str]) -> CellValues:
    """Return the compositions of the pupils of one subject, each column on its own."""
    found: list[CellValues] = []
    for name, kind in how.items():
        step = CellStep(kind="composition", names=(name,), keys=tuple(cells), raw=kind != "latent")
        found.append(composition_values(step, step.of_frame(frame), {name: kind}))
    return replace(
        found[0],
        by_cell={name: values for own in found for name, values in own.by_cell.items()},
        overall={name: value for own in found for name, value in own.overall.items()},
        nulls={name: null for own in found for name, null in own.nulls.items()},
    )
