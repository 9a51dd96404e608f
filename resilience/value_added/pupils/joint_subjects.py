r"""Several subjects in one model: schools' effects by subject, residuals of their own.

.. math::

   y_{is} = x_{is}'\beta + u_{js} + v_{jts} + e_{is}, \qquad u_j \sim N(0, \Omega),\;
   v_{jt} \sim N(0, \Psi),\; e_i \sim N(0, \Sigma),

:math:`\Omega` and :math:`\Psi` (cells of schools and years, with ``time``) unstructured S × S, and
:math:`\Sigma` diagonal, or unstructured where ``Structure.unit`` names the pupil key.  Without the
key the covariance of one pupil's residuals is counted as the schools': with n pupils who sat both
subjects :math:`\Omega_{st}` is estimated about :math:`\Sigma_{st}/n` too high.  Pupils who sat only
some subjects stay in.

The formula holds for all subjects as typed: ``C(subject)`` gives each subject its own mean,
``score ~ 0 + C(subject) + C(subject):prior_score`` its own coefficients throughout, the same model
as ``score ~ C(subject) * prior_score`` in other words.  Outer levels have one effect for all
subjects unless a mapping in ``Structure.outcome_group`` names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.data.design import (
    Design,
    Level,
    design_columns,
    design_from_frame,
    formula_columns,
)
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.strata.strata import StrataProducts
from resilience.stats.strata.strata_fit import fit_strata
from resilience.validation import check_choice, check_table
from resilience.value_added.definitions.nesting import check_nested, check_pupils
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.fits.assembly import warn_of_weakness
from resilience.value_added.intake.preparation import Prepared
from resilience.value_added.intake.subject_preparation import prepare_subjects
from resilience.value_added.pupils.subject_results import SubjectsResults, joint_results

if TYPE_CHECKING:
    from resilience.value_added.definitions.definition import ModelDefinition

__all__ = ["JointDesign", "fit_subjects", "joint_design", "subject_levels"]

Floats = NDArray[np.float64]

_MEANS_APART = 0.1  # pupil SDs between subjects' means, from which a missing term is worth a word


@dataclass(frozen=True, kw_only=True, eq=False)
class JointDesign:
    """The pass over the rows of several subjects.

    Attributes
    ----------
    design : Design
        The plain design: terms, specification, cross-products of all rows.
    strata : StrataProducts
        The same by pattern and pair of subjects.
    prepared : Prepared
        What the intake added and dropped.
    """

    design: Design
    strata: StrataProducts
    prepared: Prepared


def fit_subjects(
    model: ModelDefinition,
    data: pd.DataFrame,
    *,
    method: Literal["reml", "ml"] = "reml",
    random_state: int | None = None,
) -> SubjectsResults:
    """Fit a model with ``Structure.outcome_group``.

    Parameters
    ----------
    model : ModelDefinition
        The specification.
    data : DataFrame
        One row per pupil and subject (and year).
    method : {"reml", "ml"}
        Criterion.
    random_state : int, optional
        Seed of the draws behind the rank intervals.

    Returns
    -------
    SubjectsResults
        ``school_effects`` are those in the plain mean of the subjects; `subject_effects`,
        `composite_effects` and `subject_covariance` of ``resilience.value_added.effects.subjects``
        read the rest.

    Raises
    ------
    DataError, SpecificationError
        For bad input: one subject, a subject without spread or with no more results than
        coefficients, a pupil twice in a subject, a pupil in two schools, two subjects that no pupil
        sat both (with ``unit``).

    Warns
    -----
    WeakDataWarning
        As `ValueAddedModel.fit`, and where the subjects' means differ without a term for it.
    """
    check_choice(method, ("reml", "ml"), argument="method")
    structure = model.structure or Structure()
    joint = joint_design(model, data)
    with threadpool_limits(limits=1):
        fitted = fit_strata(
            joint.strata,
            fixed=joint.design.terms,
            method=method,
            covariance=dict(structure.covariance),
        )
    warn_of_weakness(fitted, model.groups)
    return joint_results(
        model,
        fitted,
        joint.design,
        joint.prepared,
        subject=subject_levels(model)[0],
        random_state=random_state or 0,
    )


def joint_design(model: ModelDefinition, data: pd.DataFrame) -> JointDesign:
    """Make the pass over the rows behind a joint fit.

    Parameters
    ----------
    model : ModelDefinition
        A specification with ``Structure.outcome_group``.
    data : DataFrame
        One row per pupil and subject (and year).
    """
    groups, intake = model.groups, model.intake or Intake()
    structure = model.structure or Structure()
    check_table(data, table="data")
    column, levels = subject_levels(model)
    for name in structure.covariance:
        check_choice(
            name, [level.name for level in levels], argument=text("structures.level_argument")
        )
    prepared = prepare_subjects(
        data,
        model.formula,
        intake,
        groups=groups,
        time=model.time,
        subject=column,
        extra=[c for c in (structure.weights, structure.unit) if c],
    )
    frame = prepared.data
    _check_rows(frame, groups, model.time)
    if structure.unit is not None:
        key = [structure.unit, *([model.time] if model.time else [])]
        check_pupils(frame, key, column, groups)
    design = design_from_frame(frame, prepared.formula, groups=levels, weights=structure.weights)
    codes, labels = pd.factorize(frame[column], sort=True)
    matrix = design_columns(design.spec, frame)
    y = frame[design.outcome].to_numpy(dtype=float)
    weights = None
    if structure.weights is not None:
        weights = frame[structure.weights].to_numpy(dtype=float)
    counted = np.ones(len(y), dtype=bool) if weights is None else weights > 0
    _check_subjects(column, labels, codes[counted], matrix[counted], y[counted])
    _warn_of_means(prepared, column, codes, y)
    strata = _strata(frame, design, levels, (codes, labels), matrix, model.time, structure)
    _check_pairs(strata)
    return JointDesign(design=design, strata=strata, prepared=prepared)


def subject_levels(model: ModelDefinition) -> tuple[str, list[Level]]:
    """Return the column of subjects and the levels of the fit, those by subject marked.

    Raises
    ------
    SpecificationError
        If a level is unknown or the school's is not among them.
    """
    structure, groups, levels = model.structure or Structure(), model.groups, model.levels
    given = structure.outcome_group
    assert given is not None
    names = [level.name for level in levels]
    if isinstance(given, Mapping):
        chosen = dict(given)
    else:
        chosen = dict.fromkeys(names[len(groups) - 1 :], given)
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise SpecificationError(
            text("subjects.level", level=repr(unknown[0]), known=", ".join(names))
        )
    if groups[-1] not in chosen:
        raise SpecificationError(text("subjects.school", school=repr(groups[-1])))
    column = chosen[groups[-1]]
    return column, [replace(v, by=column) if v.name in chosen else v for v in levels]


def _strata(
    frame: pd.DataFrame,
    design: Design,
    levels: list[Level],
    subject: tuple[NDArray[np.int64], pd.Index],
    matrix: Floats,
    time: str | None,
    structure: Structure,
) -> StrataProducts:
    """Make the pass by pattern and pair of subjects in the units of the plain design."""
    codes, labels = subject
    cross = design.cross
    names, positions = cross.columns, [v.columns for v in cross.levels]
    own = [list(design.spec.column_names).index(t) for t in design.terms if t != "Intercept"]
    X = np.column_stack([matrix[:, own], (codes[:, None] == np.arange(len(labels))).astype(float)])
    centre = cross.centre.copy()
    for level, at in zip(levels, positions, strict=True):
        if level.by is not None:
            centre[list(at)] = 0.0  # a slope beside effects by subject keeps its own zero
    factors = [pd.factorize(frame[level.column], sort=True) for level in levels]
    unit = None
    if structure.unit is not None:
        key = [structure.unit, *([time] if time else [])]
        unit = frame.groupby(key, observed=True, sort=True).ngroup().to_numpy()
    weights = None
    if structure.weights is not None:
        weights = frame[structure.weights].to_numpy(dtype=float)
    strata = StrataProducts.from_arrays(
        X,
        frame[design.outcome].to_numpy(dtype=float),
        columns=names[1:],
        subject=codes,
        unit=unit,
        groups=[
            (level.name, code, [names[k] for k in at])
            for level, at, (code, _) in zip(levels, positions, factors, strict=True)
        ],
        weights=weights,
        units=(centre[1:], cross.scale[1:]),
    )
    labelled = tuple(
        replace(v, labels=np.asarray(uniques, dtype=object)[v.labels.astype(np.int64)])
        for v, (_, uniques) in zip(strata.plain.levels, factors, strict=True)
    )
    return replace(
        strata, subjects=tuple(labels.tolist()), plain=replace(strata.plain, levels=labelled)
    )


def _check_rows(frame: pd.DataFrame, groups: list[str], time: str | None) -> None:
    check_nested(frame, groups)
    if time is not None:
        if frame[time].nunique() < 2:
            value = frame[time].iloc[0]
            raise DataError(text("value_added.one_time", time=repr(time), value=value))
        if int(frame.groupby(groups[-1], observed=True)[time].nunique().max()) < 2:
            raise DataError(text("value_added.one_year_each", time=repr(time)))


def _check_subjects(
    column: str, labels: pd.Index, codes: NDArray[np.int64], matrix: Floats, y: Floats
) -> None:
    """Raise unless there are two subjects, each with spread and more results than terms."""
    if len(labels) < 2:
        subject = repr(labels[0]) if len(labels) else "—"
        raise DataError(text("subjects.one_subject", column=repr(column), subject=subject))
    for s, label in enumerate(labels):
        own = codes == s
        n, p = int(own.sum()), int((matrix[own] != 0).any(axis=0).sum())
        if n <= p:
            raise DataError(text("subjects.few", subject=repr(label), n=n, p=p))
        if np.ptp(y[own]) == 0:
            value = f"{y[own][0]:g}"
            raise DataError(text("subjects.flat", subject=repr(label), n=n, value=value))


def _warn_of_means(prepared: Prepared, column: str, codes: NDArray[np.int64], y: Floats) -> None:
    """Warn where the subjects' means differ and no term of the formula says so."""
    if column in formula_columns(prepared.formula).variables:
        return
    means = np.bincount(codes, weights=y) / np.bincount(codes)
    apart = float(np.ptp(means) / np.std(y - means[codes]))
    if apart > _MEANS_APART:
        warn_weak_data(text("subjects.means_differ", spread=f"{apart:.2f}", column=column))


def _check_pairs(strata: StrataProducts) -> None:
    """Raise where a residual correlation has no pupil to tell it."""
    if not strata.linked:
        return
    empty = np.argwhere(np.triu(strata.pairs() == 0, 1))
    if len(empty):
        first, second = (repr(strata.subjects[k]) for k in empty[0])
        raise DataError(text("subjects.no_pair", first=first, second=second, n=len(empty)))
