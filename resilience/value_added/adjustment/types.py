"""Type A and Type B of one fit: for the pupil's intake alone, and for the school's composition too.

Type A answers a family: how would this pupil fare here?  Only the pupil's own intake is taken into
account.  Type B answers whoever judges the staff: what does the school add, given its pupils *and*
who sits beside them?  Raudenbush and Willms (1995) named them; a table of one of them alone hides
which schools owe their place to their composition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import Design
from resilience.data.design_formula import quoted
from resilience.errors import SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.crossproducts import CrossProducts
from resilience.value_added.adjustment.type_errors import composition_part_error
from resilience.value_added.fits.fitted import PupilFit
from resilience.value_added.fits.nested import fit_nested
from resilience.value_added.fits.refits import nested_products
from resilience.value_added.intake.preparation import Prepared

__all__ = ["composition_terms", "type_a_fit", "type_table"]

Floats = NDArray[np.float64]
R = TypeVar("R", bound=PupilFit)


def composition_terms(results: PupilFit, *, forced: bool) -> tuple[str, ...]:
    """Return the terms by which Type B goes beyond Type A, or refuse with the reason.

    Parameters
    ----------
    results : ValueAddedResults
        A fit with ``Intake(composition=...)``.
    forced : bool
        Whether a school mean of a prior result is let through.

    Raises
    ------
    SpecificationError
        If no composition was declared; if it holds the mean of a prior result and the prior is not
        known to have been earned elsewhere: neither forced nor ``question="since_entry"``.
    """
    nested_products(results)
    composition = results.intake.compositions
    if not composition:
        raise SpecificationError(text("types.no_composition", formula=results.source_formula))
    own = [name for name in composition if name in results.intake.prior]
    if own and not forced and results.question.kind != "since_entry":
        raise SpecificationError(
            text(
                "types.own_prior",
                column=repr(own[0]),
                question=results.question.describe(),
                kept=repr([name for name in composition if name not in own]),
            )
        )
    return tuple(f"{name}_mean" for name in composition)


def type_a_fit(results: R, terms: tuple[str, ...], into: Callable[..., R]) -> R:
    """Fit the model without its composition from the cross-products of the fit.

    Parameters
    ----------
    results : ValueAddedResults
        Type B.
    terms : tuple of str
        Composition terms.
    into : type
        Class of the results.

    Raises
    ------
    SpecificationError
        If the effect of a composition term differs between schools, or years drift.
    """
    cross: CrossProducts = nested_products(results)
    structure = results.definition.structure
    if structure is not None and structure.drift is not None:
        raise SpecificationError(text("types.drift", drift=repr(structure.drift)))
    slopes = {cross.columns[c] for level in cross.levels for c in level.columns}
    varying = [term for term in terms if term in slopes]
    if varying:
        raise SpecificationError(text("types.varying", term=repr(varying[0])))
    if results.intake.prior_reliability is not None:
        warn_weak_data(text("types.calibrated"))
    kept = [c for c in cross.columns if c not in terms]
    random: dict[str, Sequence[str]] = {
        level.name: [cross.columns[c] for c in level.columns] for level in cross.levels
    }
    formula = results.formula
    for term in terms:
        formula = formula.replace(f" + {quoted(term)}", "", 1)
    design = Design(
        cross=cross.subset_columns(kept, random=random),
        terms=tuple(t for t in results.mixed.terms if t not in terms),
        outcome=cross.columns[-1],
        spec=results.spec.subset([t for t in results.spec.terms if str(t).strip("`") not in terms]),
        n_rows=cross.n_rows,
    )
    definition = replace(
        results.definition, intake=replace(results.intake, composition={}, within_between=())
    )
    prepared = Prepared(
        data=pd.DataFrame(),
        formula=formula,
        added=(),
        n_dropped=results.n_dropped,
        learnt=results.learnt,
    )
    return fit_nested(definition, design, prepared, into=into, method=results.mixed.method)


def type_table(type_a: PupilFit, type_b: PupilFit, terms: tuple[str, ...]) -> pd.DataFrame:
    """Return one row per school with both effects, their difference and its standard error.

    Parameters
    ----------
    type_a, type_b : ValueAddedResults
        Both fits, schools in the same order.
    terms : tuple of str
        Composition terms.

    Returns
    -------
    DataFrame
        ``school_id n_pupils effect_a std_error_a verdict_a effect_b std_error_b verdict_b
        difference std_error_difference changed``.
    """
    a, b = type_a.school_effects, type_b.school_effects
    shrinkage = (
        a["reliability"].to_numpy(dtype=float),
        b["reliability"].to_numpy(dtype=float),
    )
    inside = np.isin(np.array(type_b.mixed.terms, dtype=object), terms)
    means = school_means(type_b, shrinkage[1])
    # the schools' mean residuals vary by the effect's variance over its reliability
    variance = type_b.variances["persistent"]
    n = np.maximum(b["n_pupils"].to_numpy(dtype=float), 1.0)
    plain = variance + type_b.variances["transient"] + type_b.variances["residual"] / n
    spread = np.where(shrinkage[1] > _FEWEST, variance / np.maximum(shrinkage[1], _FEWEST), plain)
    difference = a["effect"].to_numpy(dtype=float) - b["effect"].to_numpy(dtype=float)
    error = composition_part_error(
        means,
        type_b.mixed.beta_covariance,
        inside,
        shrinkage=shrinkage,
        mean_variance=spread,
    )
    return pd.DataFrame(
        {
            "school_id": b["school_id"],
            "n_pupils": b["n_pupils"],
            "effect_a": a["effect"],
            "std_error_a": a["std_error"],
            "verdict_a": a["band"],
            "effect_b": b["effect"],
            "std_error_b": b["std_error"],
            "verdict_b": b["band"],
            "difference": difference,
            "std_error_difference": error,
            "changed": a["band"].to_numpy() != b["band"].to_numpy(),
        }
    )


_FEWEST = 1e-8  # a reliability below it is a variance of zero


def school_means(results: PupilFit, shrinkage: Floats) -> Floats:
    """Return the mean covariates behind each school's effect, shape (n_schools, p).

    The leverages of the effects over the shrinkage: years and slopes weigh as they do in the
    effect.  Where nothing lasts the plain means over pupils serve.
    """
    rows, design = results.school_years, results.year_design
    if (shrinkage > _FEWEST).all() or design is None:
        return results.errors.leverage / np.maximum(shrinkage, _FEWEST)[:, None]
    at = pd.Index(results.school_effects["school_id"]).get_indexer(pd.Index(rows["school_id"]))
    weight = rows["n_pupils"].to_numpy(dtype=float)
    total = np.zeros((results.n_schools, design.shape[1]))
    np.add.at(total, at, weight[:, None] * design)
    return total / np.bincount(at, weight, minlength=results.n_schools)[:, None]
