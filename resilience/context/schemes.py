"""How the weights come about: by decision, equal, or by principal component.

The supervised scheme has a file of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from resilience.context.description import component_weights
from resilience.context.prepared import PreparedTable
from resilience.context.ridge import RidgeFit
from resilience.i18n import Bilingual, text

__all__ = [
    "EqualWeights",
    "PolicyWeights",
    "PrincipalComponent",
    "WeightScheme",
    "WeightSet",
    "Weighting",
    "first_component",
]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# The item whose sign fixes the sign of a principal component.
ANCHOR_ITEM = "both_parents_higher_edu"


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightSet:
    """One vector of weights and the school-years it scores.

    Attributes
    ----------
    name : str
        Code in the column ``weight_set``.
    applied_to, fitted_on : Bilingual
        In words.
    rows : ndarray of bool of shape (n_rows,)
        School-years scored with it.
    weights : ndarray of shape (n_items,)
        On the signed items.
    fit : RidgeFit or None
        How they were estimated; None where nothing was fitted to results.
    """

    name: str
    applied_to: Bilingual
    fitted_on: Bilingual
    rows: Flags
    weights: Floats
    fit: RidgeFit | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighting:
    """What a scheme found.

    Attributes
    ----------
    sets : tuple of WeightSet
        Together they cover each scored row once.
    unscored : tuple of (ndarray of bool, Bilingual)
        Rows without weights, and why.
    estimate : ndarray of shape (n_items,)
        Weights to print.
    conf_low, conf_high : ndarray of shape (n_items,)
        Their interval; NaN where they are not estimated.
    r2_cv, r2_cv_of_explainable : float
        NaN where undefined; the reason is among the notes.
    notes : tuple of Bilingual
        What the reader must know.
    """

    sets: tuple[WeightSet, ...]
    unscored: tuple[tuple[Flags, Bilingual], ...]
    estimate: Floats
    conf_low: Floats
    conf_high: Floats
    r2_cv: float
    r2_cv_of_explainable: float
    notes: tuple[Bilingual, ...]


class WeightScheme(Protocol):
    """A way to find weights."""

    @property
    def kind(self) -> str:
        """Code of the scheme, ``context.kind_<code>`` in words."""

    @property
    def outcome(self) -> str | None:
        """Column of results the scheme needs, if any."""

    def find(self, prepared: PreparedTable, random_state: int) -> Weighting:
        """Return the weights for a prepared table."""


@dataclass(frozen=True, kw_only=True)
class PolicyWeights:
    """Weights fixed by the authority.

    Attributes
    ----------
    weights : tuple of float
        On the signed items, above 0.
    """

    weights: tuple[float, ...]
    kind: str = "policy"
    outcome: None = None

    def find(self, prepared: PreparedTable, random_state: int) -> Weighting:
        """Return the fixed weights for all years."""
        return _one_set(prepared, np.array(self.weights), text("context.fitted_on_decision"))


@dataclass(frozen=True, kw_only=True)
class EqualWeights:
    """The same weight for every item, for comparison."""

    kind: str = "equal"
    outcome: None = None

    def find(self, prepared: PreparedTable, random_state: int) -> Weighting:
        """Return 1/K for all years."""
        weights = np.full(prepared.n_items, 1 / prepared.n_items)
        return _one_set(prepared, weights, text("context.fitted_on_decision"))


@dataclass(frozen=True, kw_only=True)
class PrincipalComponent:
    """First principal component of the base year, for comparison.

    Its weights may be negative: the component follows whatever the items share, not what is
    favourable.
    """

    kind: str = "pca"
    outcome: None = None

    def find(self, prepared: PreparedTable, random_state: int) -> Weighting:
        """Return the component-score weights for all years."""
        weights = first_component(
            prepared.standardised.correlation,
            [item.name for item in prepared.items],
            np.array([item.direction for item in prepared.items]),
        )
        year = prepared.standardised.base_year
        fitted_on = text("context.fitted_on_component", year=year)
        return _one_set(prepared, weights, fitted_on)


def first_component(
    correlation: Floats, names: Sequence[str], directions: npt.NDArray[np.int64]
) -> Floats:
    """Return the weights of the first principal component of signed items.

    Its sign makes it rise with both parents' higher education, or with most of the items where
    that is not among them.

    Parameters
    ----------
    correlation : ndarray of shape (n_items, n_items)
        Correlation of the signed items.
    names : sequence of str
        Columns.
    directions : ndarray of shape (n_items,)
        Signs of the items.
    """
    eigenvalues, vectors = np.linalg.eigh(correlation)
    loadings = vectors[:, -1] * np.sqrt(eigenvalues[-1])
    anchor = (
        loadings[names.index(ANCHOR_ITEM)] * directions[names.index(ANCHOR_ITEM)]
        if ANCHOR_ITEM in names
        else loadings.sum()
    )
    return component_weights(-loadings if anchor < 0 else loadings)


def _one_set(prepared: PreparedTable, weights: Floats, fitted_on: Bilingual) -> Weighting:
    undefined = np.full(prepared.n_items, np.nan)
    return Weighting(
        sets=(
            WeightSet(
                name="all",
                applied_to=text("context.applied_to_all"),
                fitted_on=fitted_on,
                rows=np.ones(prepared.n_rows, dtype=bool),
                weights=weights,
            ),
        ),
        unscored=(),
        estimate=weights,
        conf_low=undefined,
        conf_high=undefined,
        r2_cv=float("nan"),
        r2_cv_of_explainable=float("nan"),
        notes=(text("context.note_not_fitted"),),
    )
