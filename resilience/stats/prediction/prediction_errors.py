r"""Errors of predicted effects, shared errors of coefficients and of outer units included.

An effect predicted at the coefficients :math:`\beta` is
:math:`\hat u_j(\beta) = const - \ell_j'\beta` with the leverage :math:`\ell_j`, the weighted mean
of the school's covariates times the shrinkage.  Hence, for known variances,

.. math::

   \hat u_j(\hat\beta) - u_j = \big[\hat u_j(\beta) - u_j\big] - \ell_j'(\hat\beta - \beta),

two parts without correlation: the first is what the data of the school (and of the other schools
of its outer unit) leave open when the coefficients are known, the second is the error of the
coefficients, which all schools share.  With :math:`C` the covariance of :math:`\hat\beta`

.. math::

   \mathrm{cov}(\hat u_j - u_j, \hat u_k - u_k) = V_{jk} + \ell_j'C\ell_k, \qquad
   \mathrm{cov}(\hat\beta - \beta, \hat u_j - u_j) = -C\ell_j,

:math:`V_{jj}` the conditional variance and :math:`V_{jk}`, for two schools of one outer unit, a sum
of products of two loadings; zero for any others.  Memory and time are those of a table with a row
per school: no matrix of schools by schools is made.  Only where the units of factors cross, so that
any two schools may share a part, an engine hands the whole matrix :math:`V` over.
Source: Henderson1975.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["EffectErrors", "coefficient_half"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class EffectErrors:
    r"""The joint error of all predicted effects and of the coefficients.

    Attributes
    ----------
    conditional : ndarray of shape (n_schools,)
        Posterior variances with the coefficients taken as known, in squared outcome units.
    leverage : ndarray of shape (n_schools, p)
        :math:`\ell_j`: effects move by :math:`-\ell_j'\Delta` when the coefficients move by
        :math:`\Delta`.
    beta_covariance : ndarray of shape (p, p)
        Covariance of the coefficients.
    shared : tuple of (codes, loading)
        Each an outer unit's code of shape (n_schools,) and a loading of that shape: the conditional
        covariance of two schools of one unit is the product of their loadings, summed over the
        pairs of the tuple.  The conditional variances hold the squares already.
    coefficient_part : ndarray of shape (n_schools, p), optional
        :math:`\ell_j'R` for a root :math:`RR' = C`.  An engine that works in centred columns hands
        it over, so that covariates far from zero do not cancel away; otherwise it is computed.
    joint_conditional : ndarray of shape (n_schools, n_schools), optional
        :math:`V` itself, symmetric with ``conditional`` on its diagonal; ``shared`` is then empty.

    Raises
    ------
    DataError
        If the shapes disagree, a number is not finite, a variance is negative, or the joint
        conditional covariance is not symmetric, contradicts ``conditional`` or stands beside
        ``shared``.

    References
    ----------
    Henderson1975.
    """

    conditional: Floats
    leverage: Floats
    beta_covariance: Floats
    shared: tuple[tuple[Codes, Floats], ...] = ()
    coefficient_part: Floats | None = None
    joint_conditional: Floats | None = None

    def __post_init__(self) -> None:
        n, p = np.shape(self.leverage)
        joint = self.joint_conditional
        parts = (
            ("conditional", self.conditional, (n,)),
            ("beta_covariance", self.beta_covariance, (p, p)),
            *(("shared", array, (n,)) for pair in self.shared for array in pair),
            *([] if joint is None else [("joint_conditional", joint, (n, n))]),
        )
        for name, array, shape in (*parts, ("leverage", self.leverage, (n, p))):
            if np.shape(array) != shape:
                raise DataError(
                    text(
                        "value_added.errors_shape", name=name, seen=np.shape(array), expected=shape
                    )
                )
            if not np.isfinite(array).all():
                unit = int(np.argwhere(~np.isfinite(array))[0][0])
                raise DataError(text("value_added.errors_finite", name=name, unit=unit))
        least = float(np.min(self.conditional, initial=0.0))
        if least < -1e-9 * float(np.max(self.conditional, initial=0.0)):
            raise DataError(text("shrinkage.variance", value=least))
        if joint is not None:
            self._check_joint(np.asarray(joint))

    def _check_joint(self, joint: Floats) -> None:
        if self.shared:
            raise DataError(text("crossed.joint_shared"))
        largest = float(np.max(self.conditional, initial=0.0))
        apart = max(
            float(np.abs(joint - joint.T).max(initial=0.0)),
            float(np.abs(np.diag(joint) - self.conditional).max(initial=0.0)),
        )
        # rounding of a matrix product, far below any printed digit
        if apart > 1e-8 * largest:
            raise DataError(text("crossed.joint_differs", apart=f"{apart:.3g}"))

    @property
    def n_schools(self) -> int:
        """Number of schools."""
        return len(self.conditional)

    @cached_property
    def half(self) -> Floats:
        """Leverages times a root of the coefficients' covariance, shape (n_schools, p)."""
        if self.coefficient_part is not None:
            return self.coefficient_part
        return coefficient_half(self.leverage, self.beta_covariance)

    @cached_property
    def _joint_half(self) -> Floats:
        """A root of the joint conditional covariance, which may be singular."""
        values, vectors = np.linalg.eigh(np.asarray(self.joint_conditional, dtype=float))
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))

    @cached_property
    def prediction(self) -> Floats:
        """Prediction-error variances, error of the coefficients included, shape (n_schools,)."""
        return np.asarray(
            np.maximum(self.conditional, 0.0) + np.einsum("jp,jp->j", self.half, self.half)
        )

    def covariance(
        self, first: ArrayLike, second: ArrayLike, *, coefficients: bool = True
    ) -> Floats:
        """Return the covariance of the errors of schools ``first`` and ``second``.

        Parameters
        ----------
        first, second : array_like of int
            Positions of schools, of one shape.
        coefficients : bool
            Whether the shared error of the coefficients counts.
        """
        one, other = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
        found = np.where(one == other, np.maximum(self.conditional, 0.0)[one], 0.0)
        if self.joint_conditional is not None:
            found = np.where(one == other, found, self.joint_conditional[one, other])
        for codes, loading in self.shared:
            together = (codes[one] == codes[other]) & (one != other)
            found = found + np.where(together, loading[one] * loading[other], 0.0)
        if coefficients:
            found = found + np.einsum("...p,...p->...", self.half[one], self.half[other])
        return np.asarray(found)

    def difference_variance(
        self, first: ArrayLike, second: ArrayLike, *, coefficients: bool = True
    ) -> Floats:
        r"""Return the error variance of the difference of two effects.

        .. math:: V_{jj} + V_{kk} - 2V_{jk} + (\ell_j-\ell_k)'C(\ell_j-\ell_k)

        Parameters
        ----------
        first, second : array_like of int
            Positions of schools, of one shape.
        coefficients : bool
            Whether the shared error of the coefficients counts.
        """
        one, other = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
        own = np.maximum(self.conditional, 0.0)
        found = own[one] + own[other]
        if self.joint_conditional is not None:
            found = found - 2.0 * self.joint_conditional[one, other]
        for codes, loading in self.shared:
            together = codes[one] == codes[other]
            found = found - np.where(together, 2.0 * loading[one] * loading[other], 0.0)
        found = np.where(one == other, 0.0, np.maximum(found, 0.0))
        if coefficients:
            apart = self.half[one] - self.half[other]
            found = found + np.einsum("...p,...p->...", apart, apart)
        return np.asarray(found)

    def joint(self, school: int) -> Floats:
        r"""Return the covariance of :math:`(\hat\beta-\beta, \hat u_j-u_j)`, shape (p+1, p+1).

        Parameters
        ----------
        school : int
            Position of the school.
        """
        C = np.asarray(self.beta_covariance)
        across = -C @ self.leverage[school]
        last = np.append(across, self.prediction[school])
        return np.vstack([np.column_stack([C, across]), last])

    def draws(
        self,
        n_draws: int,
        *,
        random_state: int | np.random.Generator = 0,
        coefficients: bool = True,
    ) -> Floats:
        """Return joint draws of the effects' errors, shape (n_draws, n_schools).

        Added to the effects they are draws from the joint posterior.

        Parameters
        ----------
        n_draws : int
            Number of draws.
        random_state : int or numpy Generator
            Seed, or a generator to go on from.
        coefficients : bool
            Whether the shared error of the coefficients counts.
        """
        rng = np.random.default_rng(random_state)
        if self.joint_conditional is not None:
            found = rng.standard_normal((n_draws, self.n_schools)) @ self._joint_half.T
            if coefficients:
                found -= rng.standard_normal((n_draws, self.half.shape[1])) @ self.half.T
            return found
        own = self.conditional - sum(
            (loading**2 for _, loading in self.shared), start=np.zeros(self.n_schools)
        )
        found = np.sqrt(np.maximum(own, 0.0)) * rng.standard_normal((n_draws, self.n_schools))
        for codes, loading in self.shared:
            _, units = np.unique(codes, return_inverse=True)
            unit = rng.standard_normal((n_draws, int(units.max(initial=-1)) + 1))
            found += loading * unit[:, units]
        if coefficients:
            found -= rng.standard_normal((n_draws, self.half.shape[1])) @ self.half.T
        return found


def coefficient_half(leverage: Floats, beta_covariance: Floats) -> Floats:
    r"""Return :math:`\ell'R` with :math:`RR' = C`, also where C is singular.

    The squares of a row add up to the part of the error variance that the coefficients bring.

    Parameters
    ----------
    leverage : ndarray of shape (n, p)
        Rows :math:`\ell'`.
    beta_covariance : ndarray of shape (p, p)
        C.
    """
    values, vectors = np.linalg.eigh(0.5 * (beta_covariance + np.transpose(beta_covariance)))
    return np.asarray(leverage @ (vectors * np.sqrt(np.maximum(values, 0.0))))
