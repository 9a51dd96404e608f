r"""Where failing shares vary: school, year, procedure, cell and pupil, by tetrachoric moments.

Pupil i of school s fails in procedure p of year t when

.. math:: k_s + b_{st} + c_{sp} + d_{spt} + g_i + \varepsilon > 0

with independent normal parts, :math:`\mathrm{Var}(\varepsilon) = 1`.  The joint rates at which two
pupils of one school fail give the correlations of their latent results, and these the variances.
The idea is the tetrachoric correlation: Pearson1900.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.binormal import binormal_cdf

__all__ = ["FailureMoments", "FailureParts", "tetrachoric_parts"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LARGEST = 0.98  # correlation; two pupils of one school are never copies of each other
_RATE_FLOOR = 1e-4  # of a procedure's failing rate, so that its normal quantile is finite


@dataclass(frozen=True, kw_only=True)
class FailureParts:
    """Variances of the parts of a pupil's latent failing, in units of the rest, which is 1.

    Attributes
    ----------
    school_year : float
        Of the school in one year, all procedures.
    school_procedure : float
        Of the school in one procedure, all years.
    cell : float
        Of the school in one procedure and year.
    pupil : float
        Of the pupil, in all procedures of one grade and year.
    """

    school_year: float = 0.0
    school_procedure: float = 0.0
    cell: float = 0.0
    pupil: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < np.inf:
                raise SpecificationError(
                    text("simulator.variance", part=field.name, value=repr(value))
                )

    @property
    def total(self) -> float:
        """Variance of the latent result about its school's lasting level, the rest included."""
        return 1.0 + self.school_year + self.school_procedure + self.cell + self.pupil


@dataclass(frozen=True, kw_only=True, eq=False)
class FailureMoments:
    """What the moments of shares say.

    Attributes
    ----------
    parts : FailureParts
        Variances within schools; a negative estimate is taken for 0.
    school : float
        Variance of the schools' lasting level, same unit.
    correlations : tuple of float
        Of the latent results of two pupils of one school: same cell, same year, same procedure,
        both other.
    same_pupil : float or None
        Correlation of the results of one pupil in two procedures of a grade and year; None where
        no two procedures share a grade.
    n_pairs : tuple of int
        Number of cells or pairs of cells behind each correlation.
    """

    parts: FailureParts
    school: float
    correlations: tuple[float, float, float, float]
    same_pupil: float | None
    n_pairs: tuple[int, ...]


def tetrachoric_parts(
    failing: ArrayLike,
    n: ArrayLike,
    grades: Sequence[float] | None = None,
    years: Sequence[int] | None = None,
) -> FailureMoments:
    r"""Estimate the parts of failing from counts by matching joint failing rates.

    With f of n failing in a cell and x = f/n, the mean of f(f−1)/(n(n−1)) over cells and of x·x'
    over pairs of cells of one school (same year and other procedure, same procedure and other year,
    both other) are joint failing rates of two different pupils.  Each gives the correlation
    :math:`\rho` that solves :math:`\sum \Phi_2(h, h'; \rho) =` observed, :math:`h = \Phi^{-1}` of
    the rate of the procedure and year.  With :math:`d = 1 - \rho_0`:

    .. math::

       \sigma^2_{school} = \rho_3/d, \quad \sigma^2_b = (\rho_1-\rho_3)/d, \quad
       \sigma^2_c = (\rho_2-\rho_3)/d, \quad \sigma^2_d = (\rho_0-\rho_1-\rho_2+\rho_3)/d

    Cells of one cohort (year − grade) hold the same pupils: they stay out of :math:`\rho_1` and
    :math:`\rho_3`.  Two procedures of one grade and year share min(n, n') pupils; the excess of
    their joint rate over :math:`\rho_1` gives the variance of the pupil, and all variances are
    then expressed in units of what is left of one result.

    Parameters
    ----------
    failing, n : array_like of int, shape (n_schools, n_procedures, n_years)
        Counts; ``n = 0`` where a procedure was not sat.
    grades : sequence of float, optional
        Grade of each procedure, NaN where unknown (such a procedure has pupils of its own).
    years : sequence of int, optional
        The years, ascending; consecutive by default.

    Raises
    ------
    DataError
        If fewer than two procedures or two years are there, so that what lasts cannot be told from
        what passes, or the counts are impossible.

    References
    ----------
    Pearson1900.
    """
    f, m = np.broadcast_arrays(np.asarray(failing), np.asarray(n))
    if f.ndim != 3 or (f < 0).any() or (f > m).any():
        raise DataError(text("simulator.cube"))
    n_schools, n_procedures, n_years = f.shape
    f, m = (a.reshape(n_schools, -1).astype(float) for a in (f, m))
    sat = m > 0
    used = sat.any(axis=0).reshape(n_procedures, n_years)
    if min(used.any(axis=1).sum(), used.any(axis=0).sum()) < 2:
        raise DataError(text("simulator.one_of_them"))
    pairs = _Pairs.of(n_procedures, n_years, grades, years)
    share = np.where(sat, f / np.maximum(m, 1.0), 0.0)
    h = _quantiles(share, sat)
    zero, n_zero = _within_cells(f, m, h)
    joint, number = share.T @ share, sat.T.astype(float) @ sat.astype(float)
    found, sizes = [zero], [n_zero]
    for kind in (pairs.same_year, pairs.same_procedure, pairs.both_other):
        found.append(_correlation(joint[kind].sum(), number[kind], h, kind))
        sizes.append(int(number[kind].sum()))
    one_pupil, n_pupil = _same_pupil(joint, number, m, h, pairs.same_cohort, found[1])
    sizes.append(n_pupil)
    return _moments(found, one_pupil, sizes)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """Pairs of cells by what they share, each an index pair (i < j) into procedures × years."""

    same_year: tuple[Integers, Integers]
    same_procedure: tuple[Integers, Integers]
    both_other: tuple[Integers, Integers]
    same_cohort: tuple[Integers, Integers]  # and the same year: the same pupils sit both

    @classmethod
    def of(
        cls,
        n_procedures: int,
        n_years: int,
        grades: Sequence[float] | None,
        years: Sequence[int] | None,
    ) -> _Pairs:
        grade = np.full(n_procedures, np.nan) if grades is None else np.asarray(grades, dtype=float)
        when = np.arange(n_years) if years is None else np.asarray(years)
        if grade.shape != (n_procedures,) or when.shape != (n_years,):
            raise DataError(text("simulator.cube"))
        procedure, year = (a.ravel() for a in np.indices((n_procedures, n_years)))
        cohort = when[year] - grade[procedure]
        i, j = np.triu_indices(n_procedures * n_years, k=1)
        one_year, one_procedure = year[i] == year[j], procedure[i] == procedure[j]
        shared = cohort[i] == cohort[j]  # False where a grade is unknown
        # a region that tests one grade alone has no pairs but those that share their pupils
        first = one_year & ~one_procedure
        kept = first & ~shared if (first & ~shared).any() else first

        def chosen(flags: NDArray[np.bool_]) -> tuple[Integers, Integers]:
            return i[flags], j[flags]

        return cls(
            same_year=chosen(kept),
            same_procedure=chosen(one_procedure),
            both_other=chosen(~one_year & ~one_procedure & ~shared),
            same_cohort=chosen(first & shared & ~kept),
        )


def _quantiles(share: Floats, sat: NDArray[np.bool_]) -> Floats:
    """Return Φ⁻¹ of the failing rate of each procedure and year."""
    rate = share.sum(axis=0) / np.maximum(sat.sum(axis=0), 1)
    return np.asarray(special.ndtri(np.clip(rate, _RATE_FLOOR, 1 - _RATE_FLOOR)))


def _within_cells(f: Floats, m: Floats, h: Floats) -> tuple[float, int]:
    """Return the correlation of two pupils of one cell, and the number of cells with two."""
    two = m > 1
    if not two.any():
        raise DataError(text("simulator.single_pupils"))
    observed = float((f * (f - 1) / np.where(two, m * (m - 1), 1.0))[two].sum())
    cells = np.arange(len(h))
    number = two.sum(axis=0).astype(float)
    return _correlation(observed, number, h, (cells, cells)), int(number.sum())


def _correlation(
    observed: float, number: Floats, h: Floats, kind: tuple[Integers, Integers]
) -> float:
    """Return the ρ at which the expected sum of joint rates is the observed one."""

    def gap(rho: float) -> float:
        expected = binormal_cdf(h[kind[0]], h[kind[1]], rho)
        return float(expected @ number) - observed

    return _root(gap)


def _same_pupil(
    joint: Floats,
    number: Floats,
    m: Floats,
    h: Floats,
    kind: tuple[Integers, Integers],
    other_pupils: float,
) -> tuple[float | None, int]:
    """Return the correlation of one pupil's results in two procedures of a grade and year."""
    i, j = kind
    if not len(i) or not number[kind].sum():
        return None, 0
    a, b = m[:, i], m[:, j]
    both = (a > 0) & (b > 0)
    # of the n·n' pairs of a result here and one there, min(n, n') are of one pupil
    overlap = np.where(both, 1.0 / np.maximum(np.maximum(a, b), 1.0), 0.0).sum(axis=0)
    apart = binormal_cdf(h[i], h[j], other_pupils) @ (number[kind] - overlap)
    observed = float(joint[kind].sum())

    def gap(rho: float) -> float:
        return float(binormal_cdf(h[i], h[j], rho) @ overlap + apart) - observed

    return _root(gap), int(number[kind].sum())


def _root(gap: Callable[[float], float]) -> float:
    """Return where an increasing function of ρ crosses 0, or the end nearest to it."""
    low, high = -_LARGEST, _LARGEST
    if gap(low) >= 0:
        return low
    if gap(high) <= 0:
        return high
    return float(optimize.brentq(gap, low, high, xtol=1e-10))


def _moments(
    found: Sequence[float], one_pupil: float | None, sizes: Sequence[int]
) -> FailureMoments:
    r0, r1, r2, r3 = found
    d = 1.0 - r0
    # share of what is left of one result that belongs to the pupil: g/(1+g)
    share = 0.0 if one_pupil is None else float(np.clip((one_pupil - r1) / d, 0.0, 0.95))
    unit = d * (1.0 - share)

    def part(value: float) -> float:
        return max(0.0, value / unit)

    return FailureMoments(
        parts=FailureParts(
            school_year=part(r1 - r3),
            school_procedure=part(r2 - r3),
            cell=part(r0 - r1 - r2 + r3),
            pupil=share / (1.0 - share),
        ),
        school=part(r3),
        correlations=(r0, r1, r2, r3),
        same_pupil=one_pupil,
        n_pairs=tuple(sizes),
    )
