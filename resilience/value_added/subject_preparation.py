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
from resilience.value_added.preparation import Prepared, composition_mean, prepare
from resilience.value_added.specification import Composition, Intake

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
    composition = dict(intake.composition)
    further = [name for name in composition if name not in parts.variables]
    prepared = prepare(
        data,
        formula,
        replace(intake, composition={}),
        groups=groups,
        time=time,
        extra=[subject, *extra, *further],
    )
    if not composition:
        return prepared
    frame = prepared.data
    check_numeric(frame, list(composition), table="data")
    cells = [groups[-1], *([time] if time else [])]
    for name, how in composition.items():
        if f"{name}_mean" in frame.columns:
            raise DataError(text("value_added.column_taken", column=repr(f"{name}_mean")))
        frame = frame.assign(**{f"{name}_mean": _within_subjects(frame, name, cells, subject, how)})
    added = [f"{name}_mean" for name in composition]
    return replace(
        prepared,
        data=frame,
        formula=" + ".join([prepared.formula, *map(quoted, added)]),
        added=(*prepared.added, *added),
    )


def _within_subjects(
    frame: pd.DataFrame, name: str, cells: Sequence[str], subject: str, how: Composition
) -> pd.Series[float]:
    plain = frame.reset_index(drop=True)
    parts = [
        composition_mean(own, name, cells, how=how)
        for _, own in plain.groupby(subject, observed=True, sort=True)
    ]
    return pd.concat(parts).sort_index().set_axis(frame.index)
