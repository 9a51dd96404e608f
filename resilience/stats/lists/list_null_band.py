"""How far chance alone moves a list: draws of exits, gains and positive dynamics.

Either all schools are drawn from a bivariate normal (`draw_list`), or next year's scores are drawn
given this year's, each school with its own persistence (`draw_next_list`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.lists.list_null_panel import PanelPersistence
from resilience.stats.regression_to_mean import Selection, _correlation, _selecting
from resilience.validation import check_fraction

__all__ = [
    "ListDraws",
    "NullBand",
    "draw_list",
    "draw_next_list",
    "null_band",
    "poisson_binomial",
    "two_sided_mid_p",
]

Floats = NDArray[np.float64]

_BLOCK = 2_000_000  # numbers held at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class ListDraws:
    """What happened to the listed schools in each draw.

    Attributes
    ----------
    n_listed : int
        Schools on the first list.
    n_left, n_positive : ndarray of shape (n_draws,)
        How many of them left, and how many gained more than the threshold.
    gain : ndarray of shape (n_draws,)
        Their mean gain.
    """

    n_listed: int
    n_left: Floats
    n_positive: Floats
    gain: Floats

    def __post_init__(self) -> None:
        if self.n_listed < 1:
            raise SpecificationError(text("list_null.list_size", n_listed=0, n_schools="?"))

    @property
    def leave(self) -> Floats:
        """Share that left."""
        return self.n_left / self.n_listed

    @property
    def positive_dynamics(self) -> Floats:
        """Share that gained more than the threshold."""
        return self.n_positive / self.n_listed

    def probability_of_target(self, share: float, *, quantity: str = "positive_dynamics") -> float:
        """Return how often chance alone reaches a target such as "at least 25 %"."""
        drawn = getattr(self, quantity)
        return float(np.mean(drawn >= check_fraction(share, argument="share") - 1e-12))


@dataclass(frozen=True, kw_only=True)
class NullBand:
    """Mean and quantiles under no change.

    Attributes
    ----------
    mean, low, high : float
        Of the draws.
    std_error : float
        Monte-Carlo standard error of the mean.
    """

    mean: float
    low: float
    high: float
    std_error: float


def null_band(draws: ArrayLike, *, level: float = 0.95) -> NullBand:
    """Return mean and equal-tailed band of draws."""
    x = np.asarray(draws, dtype=float)
    check_fraction(level, argument="level", closed=False)
    low, high = np.quantile(x, [0.5 - level / 2, 0.5 + level / 2], method="inverted_cdf")
    return NullBand(
        mean=float(x.mean()),
        low=float(low),
        high=float(high),
        std_error=float(x.std() / np.sqrt(len(x))),
    )


def two_sided_mid_p(observed: float, draws: ArrayLike) -> float:
    """Return the two-sided mid-p value of an observation among draws of its null."""
    x = np.asarray(draws, dtype=float)
    same = np.isclose(x, observed, rtol=0, atol=1e-9)
    below = float(np.mean((x < observed) & ~same) + 0.5 * np.mean(same))
    # the draws can rule nothing out beyond their own number
    return float(min(1.0, max(2.0 * min(below, 1.0 - below), 1.0 / (len(x) + 1))))


def poisson_binomial(probabilities: ArrayLike) -> Floats:
    """Return the distribution of the number of events of independent schools.

    Parameters
    ----------
    probabilities : array_like of shape (n,)
        Probability of each school, in [0, 1].

    Returns
    -------
    ndarray of shape (n + 1,)
        P(0), …, P(n), by repeated convolution.

    Raises
    ------
    SpecificationError
        If a probability lies outside [0, 1].
    """
    p = np.asarray(probabilities, dtype=float)
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise SpecificationError(text("list_null.probabilities", value=float(p[outside][0])))
    mass = np.ones(1)
    for one in p:
        mass = np.convolve(mass, [1.0 - one, one])
    return mass


def draw_list(
    n_schools: int,
    n_listed: int,
    r: ArrayLike,
    *,
    points: float = 0.0,
    selection: Selection | None = None,
    n_draws: int = 10_000,
    random_state: int | np.random.Generator = 0,
) -> ListDraws:
    """Draw all schools twice from a bivariate normal and follow the lowest.

    Parameters
    ----------
    n_schools, n_listed : int
        Of the region and of its list, at most half of it.
    r : float or array_like
        Correlation of two years in [0, 1); of several values each draw takes one in turn, so that
        their uncertainty enters the band.
    points : float
        Gain in SD above which dynamics are positive.
    selection : Selection, optional
        Where the list is drawn on another score; exits are then those of the followed score's
        lowest ``n_listed``.
    n_draws : int
        At least 100.
    random_state : int or Generator
        Source of the draws.

    Raises
    ------
    SpecificationError
        If the list is no list of the lowest half, or r lies outside [0, 1).
    """
    _check_draws(n_draws)
    _check_size(n_listed, n_schools)
    rng = np.random.default_rng(random_state)
    many = np.resize(np.atleast_1d(_correlation(r)), n_draws)
    parts = []
    for block in np.array_split(many, -(-n_draws * n_schools // _BLOCK)):
        known = block[:, None]
        first = rng.normal(size=(len(block), n_schools))
        second = known * first + np.sqrt(1 - known**2) * rng.normal(size=first.shape)
        score = first
        if selection is not None:
            a, b = _selecting(selection, known)
            # regression of the selecting score on both years
            own = (a - b * known) / (1 - known**2)
            later = (b - a * known) / (1 - known**2)
            rest = np.maximum(1 - own * a - later * b, 0.0)
            score = own * first + later * second + np.sqrt(rest) * rng.normal(size=first.shape)
        listed = _lowest(score, n_listed)
        parts.append(_follow(listed, second - first, _lowest(second, n_listed), points))
    return _joined(parts, n_listed)


def draw_next_list(
    scores: ArrayLike,
    listed: ArrayLike,
    fits: Sequence[PanelPersistence],
    *,
    sampling: tuple[ArrayLike, ArrayLike],
    n_next: int,
    points: float = 0.0,
    n_draws: int = 4_000,
    random_state: int | np.random.Generator = 0,
) -> ListDraws:
    r"""Draw next year's scores given this year's, and the list of the lowest from them.

    .. math:: y_{j2} \mid y_{j1} \sim N(b_j y_{j1},\; v_{j2} - b_j^2 v_{j1})

    with deviations from the mean of all schools and :math:`b_j = \varphi\tau^2/v_{j1}`.

    Parameters
    ----------
    scores : array_like of shape (n_schools,)
        This year's scores as deviations from the mean of all schools.
    listed : array_like of bool
        Who is on this year's list.
    fits : sequence of PanelPersistence
        One fit, or bootstrap draws of it that take turns.
    sampling : (array_like, array_like)
        Sampling variances of this and of next year.
    n_next : int
        Size of next year's list.
    points : float
        Gain in score units above which dynamics are positive.
    n_draws : int
        At least 100.
    random_state : int or Generator
        Source of the draws.
    """
    _check_draws(n_draws)
    y = np.asarray(scores, dtype=float)
    chosen = np.asarray(listed, dtype=bool)
    _check_size(n_next, len(y))
    now, then = (np.broadcast_to(np.asarray(v, dtype=float), y.shape) for v in sampling)
    rng = np.random.default_rng(random_state)
    turns = [len(a) for a in np.array_split(np.arange(n_draws), min(len(fits), n_draws))]
    parts = []
    for fit, n in zip(fits, turns, strict=False):
        slope = fit.slope(now)
        spread = np.sqrt(np.maximum(fit.variance(then) - slope**2 * fit.variance(now), 0.0))
        for m in (len(a) for a in np.array_split(np.arange(n), -(-n * len(y) // _BLOCK))):
            second = slope * y + spread * rng.normal(size=(m, len(y)))
            parts.append(
                _follow(
                    np.broadcast_to(chosen, second.shape),
                    second - y,
                    _lowest(second, n_next),
                    points,
                )
            )
    return _joined(parts, int(chosen.sum()))


_Parts = tuple[Floats, Floats, Floats]


def _follow(
    listed: NDArray[np.bool_], gain: Floats, again: NDArray[np.bool_], points: float
) -> _Parts:
    size = listed.sum(axis=1)
    return (
        (listed & ~again).sum(axis=1).astype(float),
        (listed & (gain > points)).sum(axis=1).astype(float),
        np.where(listed, gain, 0.0).sum(axis=1) / size,
    )


def _joined(parts: Sequence[_Parts], n_listed: int) -> ListDraws:
    left, positive, gain = (np.concatenate([p[k] for p in parts]) for k in range(3))
    return ListDraws(n_listed=n_listed, n_left=left, n_positive=positive, gain=gain)


def _lowest(scores: Floats, size: int) -> NDArray[np.bool_]:
    cut = np.partition(scores, size - 1, axis=1)[:, size - 1 : size]
    return np.asarray(scores <= cut)


def _check_size(n_listed: int, n_schools: int) -> None:
    if not 1 <= n_listed <= n_schools / 2:
        raise SpecificationError(
            text("list_null.list_size", n_listed=n_listed, n_schools=n_schools)
        )


def _check_draws(n_draws: int) -> None:
    if n_draws < 100:
        raise SpecificationError(text("list_null.draws", name="n_draws", value=n_draws, least=100))
