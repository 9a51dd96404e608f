r"""Mixed model of published means: what the data and the random parts are.

Row :math:`r` of school :math:`j` is a mean with sampling variance :math:`s_r^2`, given or
:math:`\sigma^2/n_r` with the pupil variance :math:`\sigma^2` estimated,

.. math::

   y_r = x_r'\beta + \sum_c b_{c,\,\mathrm{unit}_c(r),\,\mathrm{trait}_c(r)}
       + g_{m(j),\,\mathrm{trait}(r)} + e_r,
   \qquad b_{c,\cdot} \sim N(0, Q_c),\; g_m \sim N(0, G).

A component :math:`c` is a partition of a school's rows into units (the whole school, its years, its
procedures, single rows), each with a vector of :math:`q_c` traits of covariance :math:`Q_c`; a row
loads on one trait.  Thus the persistent effect is one unit per school with one trait; a
covariance between procedures is one unit with a trait per procedure; the latent prior and outcome
means of a cohort are two traits of one unit.  Rows of one school that rest on the same pupils
have correlated errors,

.. math::

   \mathrm{Cov}(e_r, e_s) = \rho\,\sigma_r\sigma_s \frac{\min(n_r, n_s)}{n_r n_s},

which is exact when all pupils behind the smaller mean are among those behind the larger one.
Source: RaudenbushBryk1985.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Component", "Outer", "SharedPupils", "SummaryData", "Variances"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Component:
    """A random part within schools.

    Attributes
    ----------
    units : ndarray of shape (n_rows,), int, or None
        Unit of each row; rows of one school with the same code share it.  None: the whole school.
    traits : ndarray of shape (n_rows,), int, or None
        Trait each row loads on, 0 … size − 1; None where there is a single one.
    size : int
        Number of traits.
    """

    units: Codes | None = None
    traits: Codes | None = None
    size: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Outer:
    """The level around the schools, a municipality for instance.

    Attributes
    ----------
    of_school : ndarray of shape (n_schools,), int
        Unit of each school, 0 … n_units − 1.
    traits : ndarray of shape (n_rows,), int, or None
        Trait each row loads on.
    size : int
        Number of traits.
    """

    of_school: Codes
    traits: Codes | None = None
    size: int = 1

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.of_school.max()) + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedPupils:
    """Which means of a school rest on the same pupils.

    Attributes
    ----------
    cohorts : ndarray of shape (n_rows,), int
        Rows of one school with the same code share pupils.
    correlation : float
        Correlation of the two results of one pupil within the school, in [0, 1).
    sizes : ndarray of shape (n_rows,)
        Pupils behind each mean (ones where unknown: then all are the same pupils).
    """

    cohorts: Codes
    correlation: float
    sizes: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class SummaryData:
    """Means of schools, sorted by school.

    Attributes
    ----------
    X : ndarray of shape (n_rows, p)
        Covariates, with the column of ones where there is one.
    y : ndarray of shape (n_rows,)
        Means.
    school : ndarray of shape (n_rows,), int
        Codes 0 … J − 1, ascending.
    known : ndarray of shape (n_rows,)
        Known sampling variances; zeros where the pupil variance is estimated.
    inverse_n : ndarray of shape (n_rows,)
        1/n where the pupil variance is estimated; zeros otherwise.
    components : tuple of Component
        Random parts; the first is the persistent effect of the school.
    outer : Outer, optional
        The level around the schools.
    shared : SharedPupils, optional
        Means that rest on the same pupils.
    """

    X: Floats
    y: Floats
    school: Codes
    known: Floats
    inverse_n: Floats
    components: tuple[Component, ...] = (Component(),)
    outer: Outer | None = None
    shared: SharedPupils | None = None

    @property
    def n_schools(self) -> int:
        """Number of schools."""
        return int(self.school[-1]) + 1

    def by_school(self, values: Floats) -> Floats:
        """Sum rows of each school."""
        starts = np.searchsorted(self.school, np.arange(self.n_schools))
        return np.asarray(np.add.reduceat(values, starts, axis=0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Variances:
    """Values of the variance parameters.

    Attributes
    ----------
    components : tuple of ndarray of shape (q, q)
        Covariance of each component's traits.
    outer : ndarray of shape (q, q)
        Covariance of the level around the schools; of shape (0, 0) without one.
    sigma2 : float
        Pupil variance; 0 where it is not estimated.
    """

    components: tuple[Floats, ...]
    outer: Floats
    sigma2: float = 0.0
