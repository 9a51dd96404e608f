r"""The likelihood of teacher effects that persist, and its exact gradient.

Pupil i in year t: ``y_it = x_it'β + Σ_{s ≤ t} α_ts Σ_k w_isk θ_k(s) + e_it`` with ``α_tt = 1``,
``θ_k(s) ~ N(0, τ_s²)`` and ``e_i ~ N(0, R)``, R unstructured over the years observed.

With ``V_P`` the inverse of R over the years of pattern P (zero elsewhere) and A the matrix of α:

.. math::

    H = \sum_P (A'V_PA)_{ss'} N^P_{ss'}, \quad
    F = \sum_P (A'V_P)_{st} (w_s'W_t)^P, \quad
    G = \sum_P V_{P,tu} (W_t'W_u)^P

and with ``U = (H + T^{-2})^{-1}`` the criterion is ``log|R| + log|THT + I| + r²`` plus
``log|S_X|`` for REML, ``S = G - F'UF``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from resilience.stats.persistence.persistence_products import PersistenceProducts

__all__ = [
    "Layout",
    "PersistenceParameters",
    "Solution",
    "criterion_and_gradient",
    "parameter_layout",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PersistenceParameters:
    """Covariance of residuals, teacher standard deviations and persistence.

    Attributes
    ----------
    root : ndarray of shape (n_years, n_years)
        Lower Cholesky root of the covariance R of a pupil's residuals.
    teacher_sd : ndarray of shape (n_years,)
        Standard deviation of the effects of the teachers of each year.
    persistence : ndarray of shape (n_years, n_years)
        Row t, column s: what is left in year t of an effect of year s; ones on the diagonal.
    """

    root: Floats
    teacher_sd: Floats
    persistence: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Which entry of the vector of parameters is what."""

    n_years: int
    variable: bool
    fixed: Floats
    lower: tuple[Ints, Ints]
    below: tuple[Ints, Ints]

    @property
    def n_root(self) -> int:
        """Entries of the Cholesky root."""
        return len(self.lower[0])

    @property
    def teacher(self) -> slice:
        """Positions of the teacher standard deviations."""
        return slice(self.n_root, self.n_root + self.n_years)

    @property
    def alpha(self) -> slice:
        """Positions of the persistence parameters, row by row."""
        start = self.n_root + self.n_years
        return slice(start, start + (len(self.below[0]) if self.variable else 0))

    @property
    def n_parameters(self) -> int:
        """Length of the vector."""
        return int(self.alpha.stop)

    def unpack(self, vector: Floats) -> PersistenceParameters:
        """Return the parameters of a vector; the diagonal of the root stands there as logarithm."""
        root = np.zeros((self.n_years, self.n_years))
        root[self.lower] = vector[: self.n_root]
        np.fill_diagonal(root, np.exp(np.diag(root)))
        persistence = self.fixed.copy()
        if self.variable:
            persistence[self.below] = vector[self.alpha]
        return PersistenceParameters(
            root=root, teacher_sd=vector[self.teacher].copy(), persistence=persistence
        )

    def pack(self, covariance: Floats, teacher_sd: Floats, alpha: float) -> Floats:
        """Return the vector of a covariance, standard deviations and one α for all pairs."""
        root = np.linalg.cholesky(covariance)
        np.fill_diagonal(root, np.log(np.diag(root)))
        free = np.full(len(self.below[0]) if self.variable else 0, alpha)
        return np.concatenate([root[self.lower], teacher_sd, free])


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """What an evaluation leaves behind, in standardised columns.

    Attributes
    ----------
    coefficients : ndarray of shape (n_terms,)
        Generalised least squares.
    information : ndarray of shape (n_terms, n_terms)
        ``X'V⁻¹X``.
    posterior : tuple of ndarray
        Conditional covariance U of the units' effects, one block per component.
    moments : ndarray of shape (n_units, n_terms + 1)
        F of the formulas above.
    """

    coefficients: Floats
    information: Floats
    posterior: tuple[Floats, ...]
    moments: Floats


def parameter_layout(n_years: int, persistence: str) -> Layout:
    """Return the layout of the parameters.

    Parameters
    ----------
    n_years : int
        Years, at least one.
    persistence : {"variable", "complete", "zero"}
        Below the diagonal α is free, one, or zero.
    """
    rows, columns = np.tril_indices(n_years)
    below = np.tril_indices(n_years, -1)
    fixed = np.eye(n_years)
    if persistence == "complete":
        fixed[below] = 1.0
    return Layout(
        n_years=n_years,
        variable=persistence == "variable",
        fixed=fixed,
        lower=(rows.astype(np.int64), columns.astype(np.int64)),
        below=(below[0].astype(np.int64), below[1].astype(np.int64)),
    )


def criterion_and_gradient(
    products: PersistenceProducts, layout: Layout, vector: Floats, *, reml: bool
) -> tuple[float, Floats, Solution]:
    """Return minus twice the (restricted) log-likelihood, its gradient, and the solution.

    The constant of standardisation is left out: `fit_persistence` adds it.

    Parameters
    ----------
    products : PersistenceProducts
        Sums over pupils.
    layout : Layout
        Meaning of the vector.
    vector : ndarray of shape (n_parameters,)
        Parameters.
    reml : bool
        Restricted likelihood.

    Returns
    -------
    tuple of (float, ndarray of shape (n_parameters,), Solution)

    References
    ----------
    McCaffreyEtAl2004, section 3; KarlYangLohr2013.
    """
    parameters = layout.unpack(vector)
    inverses, log_roots = _pattern_inverses(products, parameters.root)
    alpha = parameters.persistence
    turned = alpha.T @ inverses
    system = _System(products, parameters.teacher_sd)
    system.add_pairs(turned @ alpha)
    system.add_columns(turned)
    gram = np.einsum("ptu,ptuab->ab", inverses, products.gram)
    free = products.n_rows - (products.n_terms if reml else 0)
    value = free * np.log(2.0 * np.pi) + float(products.n_pupils @ log_roots)
    reduced, log_determinant = system.eliminate(gram)
    value += log_determinant
    p = products.n_terms
    factor = cholesky(reduced[:p, :p], lower=True)
    coefficients = cho_solve((factor, True), reduced[:p, p])
    value += float(reduced[p, p] - reduced[:p, p] @ coefficients)
    contrast = np.append(-coefficients, 1.0)
    gram_bar = np.outer(contrast, contrast)
    if reml:
        value += 2.0 * float(np.log(np.diag(factor)).sum())
        gram_bar[:p, :p] += cho_solve((factor, True), np.eye(p))
    pair_bar, column_bar, teacher_bar = system.backward(gram_bar)
    inverse_bar = np.einsum("ab,ptuab->ptu", gram_bar, products.gram)
    inverse_bar += alpha @ pair_bar @ alpha.T + alpha @ column_bar
    alpha_bar = (2.0 * inverses @ alpha @ pair_bar + inverses @ column_bar.transpose(0, 2, 1)).sum(
        axis=0
    )
    middle = 0.5 * (inverse_bar + inverse_bar.transpose(0, 2, 1))
    residual_bar = np.einsum("p,ptu->tu", products.n_pupils, inverses)
    residual_bar -= (inverses @ middle @ inverses).sum(axis=0)
    root_bar = 2.0 * residual_bar @ parameters.root
    diagonal = np.diag_indices(layout.n_years)
    root_bar[diagonal] *= parameters.root[diagonal]
    slopes = alpha_bar[layout.below] if layout.variable else np.empty(0)
    gradient = np.concatenate([root_bar[layout.lower], teacher_bar, slopes])
    solution = Solution(
        coefficients=coefficients,
        information=reduced[:p, :p],
        posterior=tuple(system.posterior),
        moments=system.moments,
    )
    return value, gradient, solution


def _pattern_inverses(products: PersistenceProducts, root: Floats) -> tuple[Floats, Floats]:
    """Return R⁻¹ over the years of each pattern (zero elsewhere) and log|R| there."""
    covariance = root @ root.T
    n_patterns, n_years = products.observed.shape
    inverses = np.zeros((n_patterns, n_years, n_years))
    logarithms = np.empty(n_patterns)
    for code, years in enumerate(products.observed):
        at = np.flatnonzero(years)
        part = cholesky(covariance[np.ix_(at, at)], lower=True)
        inverses[code][np.ix_(at, at)] = cho_solve((part, True), np.eye(len(at)))
        logarithms[code] = 2.0 * np.log(np.diag(part)).sum()
    return inverses, logarithms


class _System:
    """The mixed-model equations of the units, block by block of those that share pupils."""

    def __init__(self, products: PersistenceProducts, teacher_sd: Floats) -> None:
        self.products = products
        self.sd = teacher_sd[products.unit_year]
        self.place = np.empty(products.n_units, dtype=np.int64)
        sizes = np.array([len(units) for units in products.components], dtype=np.int64)
        label = np.empty(products.n_units, dtype=np.int64)
        for code, units in enumerate(products.components):
            self.place[units] = np.arange(len(units))
            label[units] = code
        self.ends = np.concatenate([[0], np.cumsum(sizes**2)])
        _, first, second = products.pair_records.T
        own = label[first]
        self.flat = self.ends[own] + self.place[first] * sizes[own] + self.place[second]
        self.sizes = sizes
        self.posterior: list[Floats] = []
        self.blocks: list[Floats] = []

    def add_pairs(self, weights: Floats) -> None:
        """Fill H from the counts of pupils that two units share."""
        pattern, first, second = self.products.pair_records.T
        year = self.products.unit_year
        values = weights[pattern, year[first], year[second]] * self.products.pair_shares
        filled = _sums(self.flat, values, int(self.ends[-1]))
        for code, size in enumerate(self.sizes):
            block = filled[self.ends[code] : self.ends[code + 1]].reshape(size, size)
            self.blocks.append(block)

    def add_columns(self, weights: Floats) -> None:
        """Fill F from the sums of columns over a unit's pupils."""
        pattern, unit = self.products.unit_records.T
        row = weights[pattern, self.products.unit_year[unit]]
        values = np.einsum("rt,rtq->rq", row, self.products.unit_columns)
        self.moments = np.zeros((self.products.n_units, values.shape[1]))
        np.add.at(self.moments, unit, values)

    def eliminate(self, gram: Floats) -> tuple[Floats, float]:
        """Return S = G - F'UF and log|THT + I|."""
        reduced, logarithm = gram.copy(), 0.0
        for units, block in zip(self.products.components, self.blocks, strict=True):
            sd, moments = self.sd[units], self.moments[units]
            matrix = sd[:, None] * block * sd
            matrix[np.diag_indices(len(units))] += 1.0
            factor = cholesky(matrix, lower=True, check_finite=False)
            logarithm += 2.0 * float(np.log(np.diag(factor)).sum())
            inverse = cho_solve((factor, True), np.eye(len(units)), check_finite=False)
            posterior = sd[:, None] * inverse * sd
            self.posterior.append(posterior)
            reduced -= moments.T @ posterior @ moments
        return 0.5 * (reduced + reduced.T), logarithm

    def backward(self, gram_bar: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the derivatives by the weights of pairs and columns, and by the teacher SD."""
        products = self.products
        n_patterns, n_years = products.observed.shape
        filled = np.empty(int(self.ends[-1]))
        moments_bar = np.empty_like(self.moments)
        sd_bar = np.empty(products.n_units)
        for code, units in enumerate(products.components):
            block, posterior = self.blocks[code], self.posterior[code]
            sd, moments = self.sd[units], self.moments[units]
            solved = posterior @ moments
            moments_bar[units] = -2.0 * solved @ gram_bar
            bar = posterior + solved @ gram_bar @ solved.T
            filled[self.ends[code] : self.ends[code + 1]] = bar.ravel()
            sd_bar[units] = _by_sd(block, moments, posterior, sd, gram_bar)
        pattern, first, second = products.pair_records.T
        year = products.unit_year
        cell = (pattern * n_years + year[first]) * n_years + year[second]
        weighted = filled[self.flat] * products.pair_shares
        pair_bar = _sums(cell, weighted, n_patterns * n_years**2)
        pair_bar = pair_bar.reshape(n_patterns, n_years, n_years)
        pattern, unit = products.unit_records.T
        column_bar = np.zeros((n_patterns, n_years, n_years))
        values = np.einsum("rq,rtq->rt", moments_bar[unit], products.unit_columns)
        np.add.at(column_bar, (pattern, year[unit]), values)
        return pair_bar, column_bar, _sums(year, sd_bar, n_years)


def _sums(place: Ints, values: Floats, size: int) -> Floats:
    """Return the sum of the values that share a place."""
    return np.asarray(np.bincount(place, weights=values, minlength=size), dtype=float)


def _by_sd(
    block: Floats, moments: Floats, posterior: Floats, sd: Floats, gram_bar: Floats
) -> Floats:
    """Return the derivative of the criterion by each unit's prior standard deviation.

    It is ``2 (H T M⁻¹)_kk - 2 ((I - HU) E T M⁻¹)_kk`` with ``E = F S̄ F'`` and ``M = THT + I``.
    ``T M⁻¹`` is solved for anew, since U / T does not exist at a standard deviation of zero.
    """
    matrix = sd[:, None] * block * sd
    matrix[np.diag_indices(len(sd))] += 1.0
    scaled = sd[:, None] * np.linalg.inv(matrix)
    left = moments - block @ (posterior @ moments)
    outer = np.einsum("kq,qk->k", left @ gram_bar, moments.T @ scaled)
    trace: Floats = 2.0 * np.einsum("kl,lk->k", block, scaled) - 2.0 * outer
    return trace
