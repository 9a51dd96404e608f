"""Results of a model without some of its rows, from cross-products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from resilience.data.design import Design
from resilience.errors import warn_weak_data
from resilience.i18n import text
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.mixed import dependent_columns
from resilience.value_added.fits.fitted import PupilFit
from resilience.value_added.fits.nested import fit_nested
from resilience.value_added.intake.preparation import Prepared

__all__ = ["refitted"]

R = TypeVar("R", bound=PupilFit)


def refitted(results: R, cross: CrossProducts) -> R:
    """Fit the model behind results to the cross-products of some of its rows.

    Parameters
    ----------
    results : ValueAddedResults
        Of nested levels.
    cross : CrossProducts
        A subset of theirs.

    Warns
    -----
    WeakDataWarning
        If terms say nothing in these rows and are left out (the dummy of a year that is gone).
    """
    fitted = results.mixed
    terms = _independent(cross, fitted.terms)
    lost = [t for t in fitted.terms if t not in terms]
    if lost:
        warn_weak_data(text("refits.lost_terms", terms=", ".join(repr(t) for t in lost)))
    design = Design(
        cross=cross,
        terms=terms,
        outcome=cross.columns[-1],
        spec=results.spec,
        n_rows=cross.n_rows,
    )
    prepared = Prepared(
        data=pd.DataFrame(),
        formula=results.formula,
        added=(),
        n_dropped=results.n_dropped,
        learnt=results.learnt,
    )
    return fit_nested(
        results.definition, design, prepared, into=type(results), method=fitted.method
    )


def _independent(cross: CrossProducts, terms: Sequence[str]) -> tuple[str, ...]:
    """Return the terms that are no combination of others in these rows."""
    if ONES not in terms:
        return tuple(terms)
    ordered = [ONES, *(t for t in terms if t != ONES)]
    at = [cross.columns.index(t) for t in ordered]
    lost = set(dependent_columns(cross.total[np.ix_(at, at)], ordered))
    return tuple(t for t in terms if t not in lost)
