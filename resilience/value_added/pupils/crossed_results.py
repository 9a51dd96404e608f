"""From a fit with crossed factors to the tables of value added."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import Design, formula_columns
from resilience.stats.crossed.crossed_fit import CrossedFit
from resilience.stats.crossed.crossed_products import CrossedProducts, FactorProducts
from resilience.value_added.definitions.membership import Membership
from resilience.value_added.definitions.question import infer_question, question_of
from resilience.value_added.definitions.specification import Intake
from resilience.value_added.effects.effects_table import coefficient_table, effects_table
from resilience.value_added.fits.assembly import errors_of, variance_table
from resilience.value_added.intake.preparation import Prepared
from resilience.value_added.results import ValueAddedResults

if TYPE_CHECKING:
    from resilience.value_added.definitions.definition import ModelDefinition

__all__ = ["MembershipResults", "crossed_results"]

Floats = NDArray[np.float64]
Labels = NDArray[np.object_]


def crossed_results(
    model: ModelDefinition,
    fitted: CrossedFit,
    products: CrossedProducts,
    design: Design,
    prepared: Prepared,
    *,
    school: int,
    key: tuple[str, ...] = (),
    random_state: int = 0,
) -> ValueAddedResults:
    """Return the results of a fit whose factors cross.

    Parameters
    ----------
    model : ModelDefinition
        The specification.
    fitted : CrossedFit
        Its levels are the factors; with years, the cells of schools and years follow the school.
    products, design, prepared
        What the fit was made of.
    school : int
        Position of the school among the factors.
    key : tuple of str
        Columns that make one pupil's result, where a long membership needs them.
    random_state : int
        Seed of the draws behind the rank intervals.
    """
    intake = model.intake or Intake()
    cells = school + 1 if model.time is not None else school
    fitted = _with_years(fitted, school, cells)
    level = fitted.levels[school]
    loadings = [_loading(products, f) for f in products.factors]
    errors = errors_of(level, loadings[school], fitted.beta_covariance)
    if fitted.joint_conditional is not None:
        joint = fitted.joint_conditional
        errors = replace(errors, conditional=np.diag(joint), joint_conditional=joint)
    persistent = float(loadings[school] @ level.covariance @ loadings[school])
    table = effects_table(
        school_id=level.labels,
        effect=level.modes @ loadings[school],
        errors=errors,
        prior_variance=persistent,
        n_pupils=level.n_rows,
        n_years=_n_years(fitted, school, cells),
        means=_means(products, design, fitted, products.factors[school]),
        random_state=random_state,
    )
    table["n_pupils"] = _pupils(products.factors[school])
    others = [k for k in range(len(fitted.levels)) if k not in (school, cells)]
    outer = [(fitted.levels[k], loadings[k]) for k in others]
    common: dict[str, Any] = {
        "definition": model,
        "formula": prepared.formula,
        "source_formula": model.formula,
        "group": level.name,
        "time": model.time,
        "method": fitted.method,
        "criterion": fitted.criterion,
        "fixed_effects": coefficient_table(fitted.terms, fitted.beta, fitted.beta_covariance),
        "variance_components": variance_table(fitted),
        "school_effects": table,
        "school_years": _school_years(products, design, fitted, school, model.time),
        "variances": {
            "persistent": persistent,
            "transient": float(fitted.levels[cells].covariance[0, 0]) if cells != school else 0.0,
            "residual": fitted.residual_variance,
        },
        "convergence": fitted.convergence,
        "question": (
            infer_question(intake.prior, formula_columns(model.formula).variables)
            if intake.question is None
            else question_of(intake.question)
        ),
        "data_kind": "pupils",
        "information": 1.0,
        "errors": errors,
        "year_design": _mean_design(products, design, products.factors[cells]),
        "slope_means": {
            term: float(mean)
            for one, loading in [(level, loadings[school]), *outer]
            for term, mean in zip(one.terms[1:], loading[1:], strict=True)
        },
        "intake": intake,
        "n_dropped": prepared.n_dropped,
        "learnt": prepared.learnt,
        "spec": design.spec,
        "mixed": fitted,
        "cross": products,
    }
    if not isinstance(model.members, Membership):
        return ValueAddedResults(**common)
    return MembershipResults(**common, members=model.members, key=key)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MembershipResults(ValueAddedResults):
    """Results of a model in which pupils belong to several units by shares.

    ``augment`` and ``predict`` return one row per result: a long table comes back with one row per
    pupil.

    Attributes
    ----------
    members : Membership
        Columns of units and shares.
    key : tuple of str
        Columns that make one pupil's result; used by long tables only.
    """

    members: Membership
    key: tuple[str, ...] = ()


def _with_years(fitted: CrossedFit, school: int, cells: int) -> CrossedFit:
    """Let the cells' labels be years, their parents the schools, as with nested levels."""
    if cells == school:
        return fitted
    level = fitted.levels[cells]
    years = np.array([year for _, year in level.labels], dtype=object)
    units = np.array([unit for unit, _ in level.labels], dtype=object)
    parent = _positions(fitted.levels[school].labels, units)
    changed = replace(level, labels=years, parent=parent)
    return replace(fitted, levels=(*fitted.levels[:cells], changed, *fitted.levels[cells + 1 :]))


def _n_years(fitted: CrossedFit, school: int, cells: int) -> NDArray[np.int64]:
    n = len(fitted.levels[school].labels)
    if cells == school:
        return np.ones(n, dtype=np.int64)
    years = fitted.levels[cells]
    return np.bincount(years.parent[years.n_rows > 0], minlength=n).astype(np.int64)


def _positions(labels: Labels, wanted: Labels) -> NDArray[np.int64]:
    """Return where each wanted label stands, −1 where it does not."""
    place = {label: k for k, label in enumerate(labels)}
    return np.array([place.get(label, -1) for label in wanted], dtype=np.int64)


def _loading(products: CrossedProducts, factor: FactorProducts) -> Floats:
    """Return 1 and the means of the slope columns: the effect is read at the average pupil."""
    columns = list(factor.columns[1:])
    means = products.total[0, columns] / products.total[0, 0]
    return np.concatenate([[1.0], means * products.scale[columns] + products.centre[columns]])


def _sums(products: CrossedProducts, factor: FactorProducts) -> tuple[Floats, Floats]:
    """Return per unit the sum of weights times shares and the so weighted sums of all columns."""
    sums = factor.products[:, factor.columns.index(0), :]
    weight = sums[:, 0]
    return weight, sums * products.scale + weight[:, None] * products.centre


def _mean_design(products: CrossedProducts, design: Design, factor: FactorProducts) -> Floats:
    weight, raw = _sums(products, factor)
    fixed = [products.columns.index(t) for t in design.terms]
    with np.errstate(invalid="ignore"):
        return np.asarray(raw[:, fixed] / weight[:, None])


def _means(
    products: CrossedProducts, design: Design, fitted: CrossedFit, factor: FactorProducts
) -> tuple[Floats, Floats]:
    """Return the observed and the expected mean of each unit."""
    weight, raw = _sums(products, factor)
    with np.errstate(invalid="ignore"):
        return raw[:, -1] / weight, _mean_design(products, design, factor) @ fitted.beta


def _pupils(factor: FactorProducts) -> NDArray[np.int64] | Floats:
    """Return pupils per unit: the sum of their shares where membership is shared."""
    return factor.n_rows if factor.own is None else factor.mass


def _school_years(
    products: CrossedProducts,
    design: Design,
    fitted: CrossedFit,
    school: int,
    time: str | None,
) -> pd.DataFrame:
    """Return mean residuals before shrinkage, per school and (where there is one) year."""
    deepest = school + 1 if time is not None else school
    factor, level = products.factors[deepest], fitted.levels[deepest]
    observed, expected = _means(products, design, fitted, factor)
    weight, _ = _sums(products, factor)
    q = len(factor.columns)
    squares = weight if factor.own is None else factor.own.diagonal()[::q]
    labels = level.labels if time is None else fitted.levels[school].labels[level.parent]
    table: dict[str, object] = {"school_id": labels}
    if time is not None:
        table["year"] = level.labels
    with np.errstate(invalid="ignore", divide="ignore"):
        # a mean by shares m has the sampling variance σ² Σm²/(Σm)²
        variance = fitted.residual_variance * squares / weight**2
    table["residual"] = observed - expected
    table["sampling_variance"] = np.where(weight > 0, variance, np.inf)
    table["n_pupils"] = _pupils(factor)
    return pd.DataFrame(table).infer_objects()
