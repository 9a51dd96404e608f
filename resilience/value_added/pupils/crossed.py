r"""Value-added models whose factors cross, or of which pupils belong to several units by shares.

.. math::

   y_i = x_i'\beta + \sum_f z_{if}'u_{f,j_f(i)} + \sum_k w_{ik}u_{m,k} + e_i

The nested levels of ``group``, the crossed columns and the membership are factors side by side; the
school is the last of ``group``, else the last crossed column, else the unit of membership.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.data.design import (
    Design,
    check_slopes,
    design_columns,
    design_from_frame,
    formula_columns,
)
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.crossed.crossed_fit import fit_crossed
from resilience.stats.crossed.crossed_products import CrossedFactor, CrossedProducts
from resilience.stats.crossed.crossed_system import complement_columns
from resilience.stats.crossproducts import ONES
from resilience.validation import check_choice, check_columns, check_table, check_unique
from resilience.value_added.definitions.membership import Members, Membership
from resilience.value_added.definitions.nesting import check_nested
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.fits.assembly import warn_of_weakness
from resilience.value_added.intake.calibration_error import with_calibration_error
from resilience.value_added.intake.preparation import Prepared, prepare
from resilience.value_added.pupils.crossed_results import crossed_results
from resilience.value_added.results import ValueAddedResults

if TYPE_CHECKING:
    from resilience.value_added.definitions.definition import ModelDefinition

__all__ = ["CrossedLevel", "crossed_levels", "fit_crossed_model"]

_ALL_THREADS_FROM = 2000  # columns of the complement: below, threads cost more than they bring


@dataclass(frozen=True, kw_only=True)
class CrossedLevel:
    """One factor of the model.

    Attributes
    ----------
    name : str
        Name in the results.
    column : str or None
        Column of its units; None for the membership.
    slopes : tuple of str
        Terms whose effect differs between its units.
    cells : str or None
        Year column: the units are those of the column, year by year.
    kind : {"tree", "crossed", "members"}
        Argument of the model it comes from.
    """

    name: str
    column: str | None
    slopes: tuple[str, ...] = ()
    cells: str | None = None
    kind: Literal["tree", "crossed", "members"] = "tree"


def crossed_levels(model: ModelDefinition) -> tuple[list[CrossedLevel], int]:
    """Return the factors of a model and the position of the school among them.

    Raises
    ------
    SpecificationError
        If a column stands twice, or slopes name no factor.
    """
    tree, crossed, members = _listed(model.group), _listed(model.crossed), model.members
    names = [*tree, *crossed, *([members.level] if members is not None else [])]
    twice = [name for name, n in Counter([*names, model.time]).items() if n > 1]
    if twice:
        raise SpecificationError(text("crossed.twice", column=repr(twice[0])))
    school = (tree or crossed or names)[-1]
    slopes = _slopes(model.slopes, school)
    for name in slopes:
        if name not in names:
            raise SpecificationError(
                text("value_added.slopes_level", level=repr(name), groups=", ".join(names))
            )
    kinds = {**dict.fromkeys(tree, "tree"), **dict.fromkeys(crossed, "crossed")}
    levels: list[CrossedLevel] = []
    for name in names:
        kind = kinds.get(name, "members")
        column = None if kind == "members" else name
        level = CrossedLevel(
            name=name,
            column=column,
            slopes=tuple(slopes.get(name, ())),
            kind="tree" if kind == "tree" else "crossed" if kind == "crossed" else "members",
        )
        levels.append(level)
        if name == school and model.time is not None:
            cells = f"{name}:{model.time}"
            levels.append(replace(level, name=cells, slopes=(), cells=model.time))
    return levels, [level.name for level in levels].index(school)


def fit_crossed_model(
    model: ModelDefinition,
    data: pd.DataFrame,
    *,
    method: Literal["reml", "ml"] = "reml",
    random_state: int | None = None,
) -> ValueAddedResults:
    """Fit a model with ``crossed`` or ``members``.

    Parameters
    ----------
    model : ModelDefinition
        The specification.
    data : DataFrame
        One row per pupil (and subject, and year); one per pupil and unit for a long membership.
    method : {"reml", "ml"}
        Criterion.
    random_state : int, optional
        Seed of the draws behind the rank intervals.

    Returns
    -------
    ValueAddedResults

    Raises
    ------
    DataError, SpecificationError
        For every case of bad input, each with culprit, rule, value and way out.
    """
    check_table(data, table="data")
    levels, at = crossed_levels(model)
    intake, structure = model.intake or Intake(), model.structure or Structure()
    _check_structure(structure, levels)
    members = read_members(model, data)
    _check_composition(levels[at], intake)
    table = data if members is None else members.frame.reset_index(drop=True)
    # the school comes last: composition and messages go by it
    columns = [level.column for level in levels if level.column and level.cells is None]
    school = levels[at].column or _main(model)
    ordered = [*(c for c in columns if c != school), school]
    extra = [structure.weights, structure.unit]
    extra += [_main(model)] if members is not None and _main(model) != school else []
    prepared = prepare(
        table,
        model.formula,
        intake,
        groups=ordered,
        time=model.time,
        extra=[c for c in extra if c],
    )
    if members is not None:
        kept = prepared.data.index.to_numpy()
        members = replace(members, codes=members.codes[kept], shares=members.shares[kept])
    _check_units(prepared.data, levels, school, model.time)
    if structure.unit is not None:
        check_unique(prepared.data, key_columns(model, prepared.data), table="data")
    products, design = _products(prepared, levels, members, structure.weights)
    threads = None if complement_columns(products) >= _ALL_THREADS_FROM else 1
    with threadpool_limits(limits=threads):
        fitted = fit_crossed(
            products,
            fixed=design.terms,
            method=method,
            covariance=dict(structure.covariance),
            joint=levels[at].name,
        )
    warn_of_weakness(fitted, [level.name for level in levels])
    return crossed_results(
        model,
        with_calibration_error(fitted, design, prepared, structure.weights),
        products,
        design,
        prepared,
        school=at,
        key=tuple(key_columns(model, prepared.data)) if structure.unit is not None else (),
        random_state=random_state or 0,
    )


def read_members(model: ModelDefinition, data: pd.DataFrame) -> Members | None:
    """Return pupils' memberships, one row per result, or None where the model has none."""
    if not isinstance(model.members, Membership):
        return None
    structure, intake = model.structure or Structure(), model.intake or Intake()
    if model.members.long and structure.unit is None:
        raise SpecificationError(
            text("crossed.long_without_key", unit=repr(model.members.units[0]))
        )
    parts = formula_columns(model.formula)
    named = [*_listed(model.group), *_listed(model.crossed), model.time, structure.weights]
    used = [*parts.variables, parts.outcome, *intake.compositions, *intake.standardize_by, *named]
    key = key_columns(model, data) if structure.unit is not None else []
    check_columns(data, key, table="data")
    own = [c for c in used if c is not None and c not in key]
    found = model.members.read(data, key=key, used=own, missing=intake.missing)
    if len(found.labels) < 2:
        level = repr(model.members.level)
        raise DataError(text("crossed.few_units", group=level, n=len(found.labels)))
    return found


def key_columns(model: ModelDefinition, data: pd.DataFrame) -> list[str]:
    """Return the columns that make one result: pupil key, year, subject."""
    unit = (model.structure or Structure()).unit
    assert unit is not None
    key = [unit, *([model.time] if model.time else [])]
    return [*key, *(["subject"] if "subject" in data.columns else [])]


def _listed(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _slopes(
    slopes: str | Sequence[str] | Mapping[str, Sequence[str]] | None, school: str
) -> dict[str, list[str]]:
    if isinstance(slopes, Mapping):
        return {name: _listed(terms) for name, terms in slopes.items()}
    return {school: _listed(slopes)} if slopes is not None else {}


def _main(model: ModelDefinition) -> str:
    assert isinstance(model.members, Membership)
    return model.members.main


def _check_structure(structure: Structure, levels: Sequence[CrossedLevel]) -> None:
    names = [level.name for level in levels]
    for name in structure.covariance:
        check_choice(name, names, argument=text("structures.level_argument"))
    for argument in ("drift", "outcome_group"):
        if getattr(structure, argument, None) is not None:
            raise SpecificationError(text("crossed.structure", argument=f"Structure.{argument}"))


def _check_composition(school: CrossedLevel, intake: Intake) -> None:
    if school.kind == "members" and intake.compositions:
        names = ", ".join(repr(name) for name in intake.compositions)
        raise SpecificationError(text("crossed.composition", columns=names, group=school.name))


def _check_units(
    frame: pd.DataFrame, levels: Sequence[CrossedLevel], school: str, time: str | None
) -> None:
    """Raise unless the tree nests and every crossed factor can be told from the others."""
    own = [level for level in levels if level.cells is None and level.column is not None]
    check_nested(frame, [level.column for level in own if level.kind == "tree" and level.column])
    if time is not None:
        if frame[time].nunique() < 2:
            value = frame[time].iloc[0]
            raise DataError(text("value_added.one_time", time=repr(time), value=value))
        if int(frame.groupby(school, observed=True)[time].nunique().max()) < 2:
            raise DataError(text("value_added.one_year_each", time=repr(time)))
    for k, level in enumerate(own):
        if level.kind != "crossed":
            continue
        check_nested(frame, [str(level.column)])
        n = frame[level.column].nunique()
        if n == len(frame):
            raise DataError(text("crossed.one_row_each", column=repr(level.column), n=n))
        for other in own[:k]:
            pairs = len(frame[[level.column, other.column]].drop_duplicates())
            if pairs == n == frame[other.column].nunique():
                raise DataError(
                    text(
                        "crossed.same_units",
                        column=repr(level.column),
                        other=repr(other.column),
                        n=n,
                    )
                )


def _products(
    prepared: Prepared,
    levels: Sequence[CrossedLevel],
    members: Members | None,
    weights: str | None,
) -> tuple[CrossedProducts, Design]:
    """Return the cross-products of the factors and the design of the fixed part."""
    frame = prepared.data
    design = design_from_frame(frame, prepared.formula, weights=weights)
    covariates = [t for t in design.terms if t != ONES]
    matrix = design_columns(design.spec, frame)
    at = [k for k, t in enumerate(design.terms) if t != ONES]
    factors, labels = [], []
    for level in levels:
        check_slopes(level.slopes, covariates)
        codes, names = _coded(frame, level, members)
        shares = members.shares if level.kind == "members" and members is not None else None
        factors.append(
            CrossedFactor(name=level.name, units=codes, terms=[ONES, *level.slopes], shares=shares)
        )
        labels.append(names)
    products = CrossedProducts.from_arrays(
        matrix[:, at],
        frame[design.outcome].to_numpy(dtype=float),
        columns=[*covariates, design.outcome],
        factors=factors,
        weights=None if weights is None else frame[weights].to_numpy(dtype=float),
    )
    named = tuple(
        replace(factor, labels=names[factor.labels.astype(np.int64)])
        for factor, names in zip(products.factors, labels, strict=True)
    )
    return replace(products, factors=named), design


def _coded(
    frame: pd.DataFrame, level: CrossedLevel, members: Members | None
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return codes per row (and membership) and the units they stand for, sorted."""
    if level.column is None:
        assert members is not None
        codes, names = members.codes, members.labels
    else:
        found, uniques = pd.factorize(frame[level.column], sort=True)
        codes, names = found.astype(np.int64), np.asarray(uniques, dtype=object)
    if level.cells is None:
        return codes, names
    year, years = pd.factorize(frame[level.cells], sort=True)
    year = year.astype(np.int64).reshape(-1, *([1] * (codes.ndim - 1)))
    cells, position = np.unique(
        np.where(codes < 0, -1, codes * len(years) + year), return_inverse=True
    )
    units = np.empty(len(cells), dtype=object)
    units[:] = [(names[c // len(years)], years[c % len(years)]) for c in cells]
    return position.reshape(codes.shape).astype(np.int64), units
