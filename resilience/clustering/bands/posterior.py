"""The true conditions behind the reported ones: what errors and gaps leave open."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.clustering.conditions.scales import CompositionScale, NumberScale, ShareScale
from resilience.stats.clusters.mixed_scaling import closed_composition
from resilience.stats.clusters.partitions import Floats

__all__ = ["true_conditions"]

_PER_COLUMN = 5  # complete schools for every column, to learn how conditions go together
_RIDGE = 0.01
_LEAST_PART = 1e-9


def true_conditions(
    scaled: ScaledSchools, n_draws: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    r"""Return the expected true conditions of schools and draws of them.

    A share c of n pupils is drawn from its beta distribution,

    .. math:: p \mid c \sim \mathrm{Beta}(\alpha + c,\; \beta + n - c),

    a composition from the Dirichlet distribution of its counts, a number x with the stated error s
    from the normal one, drawn to the mean by :math:`r = \sigma^2 / (\sigma^2 + s^2)` with variance
    :math:`r s^2`.  A missing condition follows from the others by the correlations of the complete
    schools.  Redrawing the survey (`ScaledSchools.redrawn`) would answer another question, how a
    repeated survey scatters, and understate the error of small schools.

    Returns
    -------
    (ndarray of shape (S, P), ndarray of shape (n_draws, S, P))
        Scaled; NaN for a school of which nothing is known.

    References
    ----------
    Kleinman1973.
    """
    natural = scaled.natural.to_numpy(dtype=np.float64)
    expected = np.array(scaled.values)
    draws = np.repeat(expected[None, :, :], n_draws, axis=0)
    blocks = np.array(scaled.blocks)
    for i, scale in enumerate(scaled.scaling.scales):
        columns = np.flatnonzero(blocks == scale.variable)
        own = natural[:, [j for j, b in enumerate(scaled.natural_blocks) if b == scale.variable]]
        base, error = scaled.bases[:, i], scaled.errors[:, i]
        known = np.flatnonzero(~np.isnan(expected[:, columns]).any(axis=1))
        if isinstance(scale, NumberScale) and error.any():
            z, left = _number(scale, own[known, 0], expected[known, columns[0]], error[known])
            expected[known, columns[0]] = z
            noise = generator.standard_normal((n_draws, len(known)))
            draws[:, known, columns[0]] = z + left * noise
        elif isinstance(scale, ShareScale | CompositionScale):
            for d in range(n_draws):
                again = _counted(scale, own[known], base[known], generator)
                draws[d][np.ix_(known, columns)] = again
    _fill(expected, draws, scaled.complete, generator)
    return expected, draws


def _number(scale: NumberScale, x: Floats, z: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Return the shrunken z of a number with stated error, and the error that is left."""
    slope = 1.0 / (1.0 + x) if scale.logged else np.ones_like(x)
    variance = (error * slope / scale.sd) ** 2
    # the scaled column has variance 1 in the base year, errors included
    true = max(1.0 - float(variance.mean()), 0.0)
    reliability = np.divide(true, true + variance, out=np.ones_like(x), where=variance > 0.0)
    return reliability * z, np.sqrt(reliability * variance)


def _counted(
    scale: ShareScale | CompositionScale,
    natural: Floats,
    base: Floats,
    generator: np.random.Generator,
) -> Floats:
    """Return scaled true shares of every school, drawn from what its pupils say of them."""
    if isinstance(scale, ShareScale):
        share, alpha, beta = natural[:, 0], scale.alpha, scale.beta
        true = generator.beta(alpha + share * base, beta + (1.0 - share) * base)
        z = (np.arcsin(np.sqrt(true)) - scale.mean) / scale.sd
        return np.asarray(z[:, None])
    counts = closed_composition(natural, base) * base[:, None]
    drawn = np.maximum(generator.standard_gamma(counts), _LEAST_PART)
    return scale.scaled(drawn / drawn.sum(axis=1, keepdims=True), base)


def _fill(
    expected: Floats, draws: Floats, complete: NDArray[np.bool_], generator: np.random.Generator
) -> None:
    """Write missing conditions into both by the normal regression on the known ones, in place."""
    whole = expected[complete]
    n_columns = expected.shape[1]
    mean, spread = np.zeros(n_columns), np.eye(n_columns)
    if len(whole) >= _PER_COLUMN * (n_columns + 1):
        mean = whole.mean(axis=0)
        spread = np.atleast_2d(np.cov(whole, rowvar=False)) + _RIDGE * np.eye(n_columns)
    missing = np.isnan(expected)
    patterns, place = np.unique(missing, axis=0, return_inverse=True)
    for p, gone in enumerate(patterns):
        if not gone.any() or gone.all():
            continue
        rows = np.flatnonzero(place.reshape(-1) == p)
        there = ~gone
        slopes = np.linalg.solve(spread[np.ix_(there, there)], spread[np.ix_(there, gone)])
        left: NDArray[Any] = spread[np.ix_(gone, gone)] - spread[np.ix_(gone, there)] @ slopes
        root = np.linalg.cholesky(left)
        expected[np.ix_(rows, np.flatnonzero(gone))] = (
            mean[gone] + (expected[rows][:, there] - mean[there]) @ slopes
        )
        for one in draws:
            noise = generator.standard_normal((len(rows), int(gone.sum()))) @ root.T
            one[np.ix_(rows, np.flatnonzero(gone))] = (
                mean[gone] + (one[rows][:, there] - mean[there]) @ slopes + noise
            )
