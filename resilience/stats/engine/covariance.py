r"""Covariance structures of the effects of one level.

A structure maps free parameters to the relative covariance :math:`D = FCF'` of a level's terms and
the derivative :math:`T = \partial d/\partial D` of the criterion to the gradient in the parameters,

.. math:: \frac{\partial d}{\partial \phi} = \Big\langle T, \frac{\partial D}{\partial \phi}
          \Big\rangle ,

which is exact also where D has no full rank.  F leads from effects of the terms' own columns to
those of the working columns: a structure that ties terms together (identity, compound symmetry,
AR(1)) speaks of their own units and zero points, whatever was subtracted from the columns and
whatever they were divided by.

============================ ===================================================================
``unstructured``             :math:`C = LL'`, the entries of the lower factor
``diagonal``                 one SD per term, no correlations
``identity``                 :math:`\sigma^2 I`
``compound_symmetry``        one variance and one correlation, down to :math:`-1/(q-1)`
``ar1``                      :math:`\sigma^2 \rho^{|t-s|}`, t the years of the terms, gaps counted
============================ ===================================================================

Sources: BatesEtAl2015, section 3; PinheiroBates2000, sections 4.2 and 5.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.engine.covariance_tied import Autoregressive, Projections
from resilience.stats.engine.covariance_unstructured import Bounds, Covariance, Unstructured

__all__ = ["COVARIANCES", "Covariance", "CovarianceStructure", "covariance_structure"]

Floats = NDArray[np.float64]

COVARIANCES: tuple[Covariance, ...] = get_args(Covariance)


class CovarianceStructure(Protocol):
    """What the engine asks of a structure."""

    @property
    def name(self) -> Covariance:
        """Name of the structure."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Terms of the level, q of them."""

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""

    @property
    def bounds(self) -> Bounds:
        """Bounds per parameter; a lower bound of 0 marks a standard deviation."""

    def starts(self) -> list[Floats]:
        """Return starts, the usual one first; more than one where the criterion has valleys."""

    def factor(self, parameters: Floats) -> Floats:
        """Return a square factor of D, shape (q, q)."""

    def gradient(self, sensitivity: Floats, parameters: Floats) -> Floats:
        """Return the gradient in the parameters from T, shape (n_parameters,)."""

    def parameters(self, D: Floats) -> Floats:
        """Return the parameters of a covariance of this structure."""

    def idle(self, parameters: Floats) -> NDArray[np.bool_]:
        """Return which parameters mean nothing at these values (no pivot, no variance)."""

    def canonical(self, parameters: Floats) -> Floats:
        """Return the parameters of the same covariance with the idle ones at rest."""

    def escapes(
        self, parameters: Floats, sensitivity: Floats, tolerance: float
    ) -> Iterator[Floats]:
        """Yield starts off the boundary in directions in which the criterion falls."""

    def singular(self, parameters: Floats) -> bool:
        """Tell whether a variance is zero or a correlation at its end."""

    def natural(self, D: Floats, parameters: Floats) -> dict[str, float]:
        """Return SDs and correlations by name; D in the terms' own units."""


def covariance_structure(
    name: Covariance,
    terms: Sequence[str],
    *,
    scale: Floats | None = None,
    centre: Floats | None = None,
    moments: Floats | None = None,
    level: str = "",
) -> CovarianceStructure:
    """Return a structure of a level.

    Parameters
    ----------
    name : {"unstructured", "diagonal", "identity", "compound_symmetry", "ar1"}
        Name of the structure.
    terms : sequence of str
        Terms of the level; for ``ar1`` one per year, named ``"<column>=<year>"``.
    scale, centre : ndarray of shape (q,), optional
        What the terms' columns were divided by and what was subtracted from them before; 1 and 0
        by default.  Where something was subtracted the first term is the intercept.
    moments : ndarray of shape (q, q), optional
        Means of the products of the working columns over the rows; the identity by default.
    level : str
        Name of the level in messages.

    Raises
    ------
    SpecificationError
        For an unknown structure, compound symmetry or AR(1) of a single term, or AR(1) of terms
        that are no years.

    References
    ----------
    PinheiroBates2000, sections 4.2 and 5.3.
    """
    names = tuple(terms)
    q = len(names)
    # a common factor of the units changes no model; with 1 as the largest, starts stay moderate
    units = np.ones(q) if scale is None or not q else np.asarray(scale, float) / np.max(scale)
    if name not in COVARIANCES:
        known = ", ".join(COVARIANCES)
        raise SpecificationError(
            text("structures.unknown", level=repr(level), name=repr(name), known=known)
        )
    if name in ("compound_symmetry", "ar1") and q < 2:
        raise SpecificationError(
            text("structures.one_term", level=repr(level), name=repr(name), terms=", ".join(names))
        )
    if name == "unstructured":
        return Unstructured(terms=names)
    if name == "ar1":
        return Autoregressive(terms=names, years=_years(names, level), units=units)
    eye, mean = np.eye(q), np.full((q, q), 1.0 / max(q, 1))
    projections = {
        "diagonal": np.einsum("ka,kb->kab", eye, eye),
        "identity": eye[None],
        "compound_symmetry": np.stack([mean, eye - mean]),
    }[name]
    frame = np.diag(units)
    if centre is not None and q:
        frame[0] += centre * (units / (1.0 if scale is None else scale))
    if name == "diagonal":  # every term has an SD of its own, in whatever unit
        frame = frame / units
    # columns far from zero (a calendar year) make large effects of small SDs: the search goes by
    # what an SD adds to the outcome
    there = frame.T @ (np.eye(q) if moments is None else moments) @ frame
    sizes = np.sqrt(np.einsum("ab,kab->k", there, projections))
    return Projections(
        name=name,
        terms=names,
        projections=projections,
        frame=frame,
        sizes=np.where(sizes > 0, sizes, 1.0),
    )


def _years(terms: tuple[str, ...], level: str) -> Floats:
    """Return the years that the terms name, whole numbers."""
    found = []
    for term in terms:
        column, _, label = term.rpartition("=")
        try:
            year = float(label)
        except ValueError:
            year = np.nan
        if not column or year != np.round(year):
            raise SpecificationError(
                text("structures.no_years", level=repr(level), term=repr(term))
            )
        found.append(year)
    if len(set(found)) < len(found):
        raise SpecificationError(text("structures.no_years", level=repr(level), term=repr(terms)))
    return np.array(found)
