r"""Lists under many choices: how far they agree, and which choice moves them.

A membership array :math:`M` has one axis per choice (its levels) and a last axis of schools; 1 =
listed, 0 = not listed, NaN = unknown.  Specifications have weights :math:`\pi = \prod_f \pi_f`,
products of weights of levels.  With :math:`m_s(A)` the mean of :math:`M_s` over the choices outside
a set :math:`A`,

.. math::

   v(A) = \sum_s \mathrm{Var}_{\text{levels of } A}\, m_s(A), \qquad
   V = v(\text{all}) = \sum_s p_s(1-p_s),

.. math::

   \mathrm{Shapley}_f = \sum_{A \not\ni f} \frac{|A|!\,(K-|A|-1)!}{K!}
   \bigl(v(A \cup f) - v(A)\bigr), \qquad \sum_f \mathrm{Shapley}_f = V.

Every :math:`v(A)` is a sum over schools, so that the bootstrap resamples schools without a second
pass.  Sources: Sobol2001 (the variances), Owen2014 (their Shapley values).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text

__all__ = [
    "MOST_FACTORS",
    "MOST_SPECIFICATIONS",
    "Attribution",
    "attribute",
    "factor_pairs",
    "jaccard",
    "list_shares",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]

MOST_FACTORS = 8
MOST_SPECIFICATIONS = 5000
_CELLS_PER_BLOCK = 4_000_000
_NOTHING = 1e-12  # share of the number of schools below which V is rounding


def jaccard(members: Flags, other: Flags | None = None) -> Floats:
    r"""Return the agreement :math:`|A \cap B| / |A \cup B|` of all pairs of lists.

    Parameters
    ----------
    members : ndarray of shape (n_lists, n_schools), bool
        Listed schools.
    other : ndarray of shape (n_other, n_schools), bool, optional
        Lists to compare with; the same ones by default.

    Returns
    -------
    ndarray of shape (n_lists, n_other)
        In [0, 1]; two empty lists agree fully.

    References
    ----------
    Jaccard1901.
    """
    first = np.asarray(members, dtype=np.float32)
    second = first if other is None else np.asarray(other, dtype=np.float32)
    # counts up to 2^24 are exact in single precision
    both = (first @ second.T).astype(float)
    either = first.sum(axis=1)[:, None].astype(float) + second.sum(axis=1)[None, :] - both
    return np.asarray(np.where(either > 0, both / np.maximum(either, 1.0), 1.0))


def factor_pairs(codes: Codes, factor: int) -> tuple[Codes, Codes]:
    """Return the pairs of specifications that differ in one factor alone.

    Parameters
    ----------
    codes : ndarray of shape (n_specifications, n_factors), int
        Level of each factor; the grid need not be complete.
    factor : int
        Column of the factor.

    Returns
    -------
    (first, second), ndarrays of int
        Positions of each pair, the smaller one first.
    """
    rest = np.delete(codes, factor, axis=1)
    if rest.shape[1]:
        _, group = np.unique(rest, axis=0, return_inverse=True)
    else:
        group = np.zeros(len(codes), dtype=np.int64)
    order = np.argsort(group.reshape(-1), kind="stable")
    cuts = np.flatnonzero(np.diff(group.reshape(-1)[order])) + 1
    first: list[Codes] = []
    second: list[Codes] = []
    for members in np.split(order, cuts):
        a, b = np.triu_indices(len(members), 1)
        differ = codes[members[a], factor] != codes[members[b], factor]
        first.append(members[a[differ]])
        second.append(members[b[differ]])
    return np.concatenate(first).astype(np.int64), np.concatenate(second).astype(np.int64)


def list_shares(membership: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    r"""Return the robustness share and the unknown share of each school.

    .. math:: \frac{\sum_r \pi_r 1\{M_{rs} = 1\}}{\sum_r \pi_r 1\{M_{rs}\ \text{known}\}}, \qquad
              \frac{\sum_r \pi_r 1\{M_{rs}\ \text{unknown}\}}{\sum_r \pi_r}

    Parameters
    ----------
    membership : ndarray of shape (n_specifications, n_schools)
        1, 0 or NaN.
    weights : ndarray of shape (n_specifications,), optional
        At least 0, not all 0; equal by default.

    Returns
    -------
    (robustness_share, unknown_share), ndarrays of shape (n_schools,)
        In [0, 1]; the first is NaN for a school that no specification could judge.
    """
    pi = np.ones(len(membership)) if weights is None else np.asarray(weights, dtype=float)
    if pi.shape != (len(membership),) or (pi < 0).any() or not pi.sum() > 0:
        raise SpecificationError(text("multiverse.weights", n=len(membership)))
    unknown = np.isnan(membership)
    known = pi @ ~unknown
    yes = pi @ (membership == 1.0)
    # one division by what is known keeps a school listed everywhere at exactly 1
    with np.errstate(invalid="ignore"):
        share = np.where(known > 0, np.minimum(yes / known, 1.0), np.nan)
    return np.asarray(share), np.asarray(np.clip(pi @ unknown / pi.sum(), 0.0, 1.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """How the variance of membership divides among the choices.

    Attributes
    ----------
    shapley, main, total : ndarray of shape (n_factors, n_schools)
        Each school's Shapley value, v({f}) and V − v(all but f); sums over schools are those of the
        list.
    variance : ndarray of shape (n_schools,)
        p_s(1 − p_s).
    unknown_share : float
        Weight of the unknown memberships, which counted as not listed.
    """

    shapley: Floats
    main: Floats
    total: Floats
    variance: Floats
    unknown_share: float

    @property
    def total_variance(self) -> float:
        """V, the sum of the variances."""
        return float(self.variance.sum())

    @cached_property
    def reason(self) -> Bilingual | None:
        """Why the shares are undefined, None where they are defined."""
        if self.total_variance > _NOTHING * max(1, len(self.variance)):
            return None
        return text("multiverse.no_variance")

    @cached_property
    def shapley_share(self) -> Floats:
        """Shapley values over V, adding up to 1; NaN where V = 0."""
        return self._share(self.shapley)

    @cached_property
    def main_share(self) -> Floats:
        """Main effects over V; NaN where V = 0."""
        return self._share(self.main)

    @cached_property
    def total_share(self) -> Floats:
        """Total effects, interactions included, over V; NaN where V = 0."""
        return self._share(self.total)

    def _share(self, parts: Floats) -> Floats:
        if self.reason is not None:
            return np.full(len(parts), np.nan)
        return np.asarray(parts.sum(axis=1) / self.total_variance)

    def intervals(
        self, *, level: float = 0.95, n_replicates: int = 1000, random_state: int = 0
    ) -> tuple[Floats, Floats]:
        """Return percentile intervals of the Shapley shares over resampled schools.

        The interval says how much the division depends on which schools there are; the grid of
        choices is taken as declared.

        Parameters
        ----------
        level : float
            Coverage, in (0, 1).
        n_replicates : int
            Samples of whole schools.
        random_state : int
            Seed.

        Returns
        -------
        (low, high), ndarrays of shape (n_factors,)
            NaN where V = 0.

        References
        ----------
        EfronTibshirani1993, chapter 13.
        """
        if not 0 < level < 1:
            raise SpecificationError(text("multiverse.level", value=level))
        if n_replicates < 1:
            raise SpecificationError(text("multiverse.replicates", value=n_replicates))
        n_factors = len(self.shapley)
        moving = self.variance > 0  # schools that no choice moves add nothing to any sum
        if self.reason is not None or not moving.any():
            return np.full(n_factors, np.nan), np.full(n_factors, np.nan)
        rng = np.random.default_rng(random_state)
        n, n_moving = len(self.variance), int(moving.sum())
        chances = np.append(np.full(n_moving, 1.0 / n), (n - n_moving) / n)
        parts = np.vstack([self.shapley[:, moving], self.variance[moving]])
        sums = np.empty((n_replicates, n_factors + 1))
        step = max(1, _CELLS_PER_BLOCK // (n_moving + 1))
        for start in range(0, n_replicates, step):
            some = min(step, n_replicates - start)
            counts = rng.multinomial(n, chances / chances.sum(), size=some)[:, :-1]
            sums[start : start + some] = counts @ parts.T
        rows = sums[:, -1] > 0  # a sample without any school that moves has no shares
        if not rows.any():
            return np.full(n_factors, np.nan), np.full(n_factors, np.nan)
        shares = sums[rows, :-1] / sums[rows, -1:]
        low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return np.asarray(low), np.asarray(high)


def attribute(membership: Floats, weights: Sequence[Floats] | None = None) -> Attribution:
    """Divide the variance of membership among the choices of a complete grid.

    Parameters
    ----------
    membership : ndarray of shape (levels of factor 1, …, levels of factor K, n_schools)
        1, 0 or NaN; an unknown membership counts as not listed.
    weights : sequence of K ndarrays, optional
        Weights of the levels of each factor, at least 0; equal by default.

    Returns
    -------
    Attribution

    Raises
    ------
    SpecificationError
        With more than 8 factors or 5,000 specifications, or weights that do not fit.
    DataError
        If a membership is neither 0, 1 nor NaN.

    References
    ----------
    Sobol2001; Owen2014, theorem 1.
    """
    levels = membership.shape[:-1]
    n_factors, n_specifications = len(levels), math.prod(levels)
    if not 1 <= n_factors <= MOST_FACTORS or n_specifications > MOST_SPECIFICATIONS:
        raise SpecificationError(
            text(
                "multiverse.too_large",
                k=n_factors,
                n=n_specifications,
                most_k=MOST_FACTORS,
                most_n=MOST_SPECIFICATIONS,
            )
        )
    unknown = np.isnan(membership)
    strange = membership[~unknown & (membership != 0) & (membership != 1)]
    if strange.size:
        raise DataError(text("multiverse.membership", value=strange[0], n=strange.size))
    pi = _level_weights(levels, weights)
    n_schools = membership.shape[-1]
    found = np.zeros((2**n_factors, n_schools))
    step = max(1, _CELLS_PER_BLOCK // n_specifications)
    for start in range(0, n_schools, step):
        part = slice(start, start + step)
        block = np.where(unknown[..., part], 0.0, membership[..., part])
        _variances(block, pi, 0, 0, found[:, part])
    everything = 2**n_factors - 1
    singles = 2 ** np.arange(n_factors)
    return Attribution(
        shapley=_shapley(found, n_factors),
        main=found[singles],
        total=found[everything] - found[everything - singles],
        variance=found[everything],
        unknown_share=_mean_unknown(unknown, pi),
    )


def _level_weights(levels: tuple[int, ...], weights: Sequence[Floats] | None) -> list[Floats]:
    """Return weights of levels that add up to 1 per factor."""
    if weights is None:
        return [np.full(n, 1.0 / n) for n in levels]
    own = [np.asarray(w, dtype=float) for w in weights]
    fits = len(own) == len(levels) and all(
        w.shape == (n,) and (w >= 0).all() and w.sum() > 0
        for w, n in zip(own, levels, strict=False)
    )
    if not fits:
        raise SpecificationError(text("multiverse.level_weights", levels=levels))
    return [w / w.sum() for w in own]


def _variances(
    block: Floats, weights: list[Floats], factor: int, kept: int, found: Floats, at: int = 0
) -> None:
    """Fill in v(A) for every set A that goes on from here: each factor stays or is averaged out.

    ``factor`` is the next one to decide on, ``at`` its axis, ``kept`` the set so far as bits.
    """
    if factor == len(weights):
        pi = np.ones(1)
        for k, own in enumerate(weights):
            if kept >> k & 1:
                pi = np.outer(pi, own).ravel()
        flat = block.reshape(len(pi), -1)
        found[kept] = pi @ (flat - pi @ flat) ** 2
        return
    averaged = np.tensordot(weights[factor], block, axes=(0, at))
    _variances(averaged, weights, factor + 1, kept, found, at)
    _variances(block, weights, factor + 1, kept | 1 << factor, found, at + 1)


def _shapley(found: Floats, n_factors: int) -> Floats:
    """Return each factor's Shapley value of v, school by school."""
    values = np.zeros((n_factors, found.shape[1]))
    for subset in range(2**n_factors):
        size = subset.bit_count()
        for factor in range(n_factors):
            if subset >> factor & 1:
                continue
            share = math.factorial(size) * math.factorial(n_factors - size - 1)
            gain = found[subset | 1 << factor] - found[subset]
            values[factor] += share / math.factorial(n_factors) * gain
    return values


def _mean_unknown(unknown: Flags, weights: list[Floats]) -> float:
    mean = unknown.mean(axis=-1)
    for pi in weights:
        mean = np.tensordot(pi, mean, axes=(0, 0))
    return float(mean)
