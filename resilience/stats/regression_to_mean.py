r"""What happens to a list of low results when nothing is done: closed forms.

A list is the lowest share q of a noisy score; scores of two years are standard bivariate normal
with correlation r, and the list is drawn anew every year.  With :math:`c = \Phi^{-1}(q)` and the
bivariate normal :math:`\Phi_2`, the share that leaves, the gain and the share with "positive
dynamics" under no change follow.  Years of equal standing are assumed; a list drawn on another
score than the gain is measured on needs that score's correlations with both (`Selection`).

Sources: BarnettEtAl2005 for the gain, KaneStaiger2001 for the persistence of school results.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.binormal import binormal_cdf
from resilience.validation import check_positive

__all__ = [
    "ListNull",
    "Selection",
    "cut_regression",
    "exit_probability",
    "leave_rate",
    "list_null",
    "mean_gain",
    "null_hazard",
    "positive_dynamics",
    "school_persistence",
    "truly_low",
    "window_correlation",
]

Floats = NDArray[np.float64]

_FAR = 9.0  # the normal density beyond is below 1e-18
_NODES = 3601  # steps of .005: the trapezoid rule is exact to 1e-12 up to r = .999


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How the score a list is drawn on goes with the score that is followed.

    Attributes
    ----------
    with_first, with_second : float
        Correlations of the selecting score with the followed score in the year of the list (a)
        and in the next one (b).  Selecting on the followed score itself is a = 1 and b = r.
    """

    with_first: float
    with_second: float

    def __post_init__(self) -> None:
        for name in ("with_first", "with_second"):
            value = getattr(self, name)
            if not -1 <= value <= 1:
                raise SpecificationError(text("list_null.correlation", name=name, value=value))


@dataclass(frozen=True, kw_only=True, eq=False)
class ListNull:
    """A list under no change; shapes of the arguments.

    Attributes
    ----------
    leave : ndarray
        Share of the listed that are not on the next list.
    gain : ndarray
        Mean gain of the listed, SD of schools.
    positive_dynamics : ndarray
        Share of the listed whose gain exceeds the threshold.
    truly_low : ndarray
        Share of the listed that belong to the lowest share q by their lasting level.
    """

    leave: Floats
    gain: Floats
    positive_dynamics: Floats
    truly_low: Floats


def _share(q: ArrayLike) -> tuple[Floats, Floats]:
    """Return q and its normal quantile."""
    share = np.asarray(q, dtype=float)
    outside = ~((share > 0) & (share <= 0.5))
    if outside.any():
        raise SpecificationError(text("list_null.share", value=float(share[outside][0])))
    return share, np.asarray(special.ndtri(share))


def _correlation(r: ArrayLike) -> Floats:
    value = np.asarray(r, dtype=float)
    outside = ~((value >= 0) & (value < 1))
    if outside.any():
        raise SpecificationError(text("list_null.persistence", value=float(value[outside][0])))
    return value


def leave_rate(q: ArrayLike, r: ArrayLike, *, shift: float = 0.0) -> Floats:
    r"""Return the share of a list that is not on the next one.

    .. math:: 1 - \Phi_2(c, c - s; r)/q

    Parameters
    ----------
    q : array_like
        Share of schools on the list, in (0, .5].
    r : array_like
        Correlation of the scores of two years over all schools, in [0, 1).
    shift : float
        s, rise of the whole region in SD where the cut is absolute; a relative list has none.

    Raises
    ------
    SpecificationError
        If q or r lies outside its interval.

    References
    ----------
    DreznerWesolowsky1990 for the bivariate normal.
    """
    share, c = _share(q)
    return np.asarray(1.0 - binormal_cdf(c, c - shift, _correlation(r)) / share)


def mean_gain(
    q: ArrayLike, r: ArrayLike, *, selection: Selection | None = None, shift: float = 0.0
) -> Floats:
    r"""Return the mean gain of a list that nothing was done for, in SD.

    .. math:: (a - b)\,\varphi(c)/q + s

    with a = 1, b = r where the list is drawn on the followed score.

    Parameters
    ----------
    q, r : array_like
        Share on the list and correlation of two years.
    selection : Selection, optional
        Correlations of the score the list was drawn on, if it is another one.
    shift : float
        Rise of the whole region, SD.

    Raises
    ------
    SpecificationError
        If an argument lies outside its interval or the correlations contradict each other.

    References
    ----------
    BarnettEtAl2005.
    """
    share, c = _share(q)
    a, b = _selecting(selection, _correlation(r))
    density = np.exp(-0.5 * c**2) / np.sqrt(2.0 * np.pi)
    return np.asarray((a - b) * density / share + shift)


def positive_dynamics(
    q: ArrayLike,
    r: ArrayLike,
    *,
    points: float = 0.0,
    selection: Selection | None = None,
    shift: float = 0.0,
) -> Floats:
    r"""Return the share of a list whose gain exceeds a threshold though nothing was done.

    .. math::

       \Phi_2\Big(c, \frac{s - \delta}{\sqrt{2(1-r)}}; \frac{a-b}{\sqrt{2(1-r)}}\Big)/q

    Parameters
    ----------
    q, r : array_like
        Share on the list and correlation of two years.
    points : float
        δ, gain in SD that must be exceeded; 0 is the rule of the sign.  Ties are not positive.
    selection : Selection, optional
        Correlations of the score the list was drawn on, if it is another one.
    shift : float
        Rise of the whole region, SD.

    Raises
    ------
    SpecificationError
        If an argument lies outside its interval or the correlations contradict each other.

    References
    ----------
    DreznerWesolowsky1990 for the bivariate normal.
    """
    share, c = _share(q)
    known = _correlation(r)
    a, b = _selecting(selection, known)
    spread = np.sqrt(2.0 * (1.0 - known))
    along = np.clip((a - b) / spread, -1.0, 1.0)
    return np.asarray(binormal_cdf(c, (shift - points) / spread, along) / share)


def _selecting(selection: Selection | None, r: Floats) -> tuple[Floats, Floats]:
    """Return a and b, after checking that three scores can be correlated so."""
    if selection is None:
        return np.ones_like(r), r
    a, b = selection.with_first, selection.with_second
    determinant = 1.0 + 2.0 * a * b * r - a**2 - b**2 - r**2
    if (determinant < -1e-12).any():
        at = int(np.argmin(determinant))
        raise SpecificationError(text("list_null.contradiction", a=a, b=b, r=float(r.flat[at])))
    return np.full_like(r, a), np.full_like(r, b)


def truly_low(q: ArrayLike, r: ArrayLike) -> Floats:
    r"""Return the share of a list that is in the lowest q by its lasting level.

    .. math:: \Phi_2(c, c; \sqrt r)/q

    Parameters
    ----------
    q, r : array_like
        Share on the list and correlation of two years, which is the reliability of one year.

    Raises
    ------
    SpecificationError
        If q or r lies outside its interval.
    """
    share, c = _share(q)
    return np.asarray(binormal_cdf(c, c, np.sqrt(_correlation(r))) / share)


def list_null(
    q: ArrayLike,
    r: ArrayLike,
    *,
    points: float = 0.0,
    selection: Selection | None = None,
    shift: float = 0.0,
) -> ListNull:
    """Return all that a list does under no change.

    Parameters
    ----------
    q, r : array_like
        Share on the list and correlation of two years.
    points : float
        Gain in SD above which dynamics are called positive.
    selection : Selection, optional
        Correlations of the score the list was drawn on, if it is another one.  The share that
        leaves stays that of the selecting score, whose own correlation of two years is then ``r``
        only if the two scores are equally lasting.
    shift : float
        Rise of the whole region, SD, where the cut is absolute.
    """
    return ListNull(
        leave=leave_rate(q, r, shift=shift),
        gain=mean_gain(q, r, selection=selection, shift=shift),
        positive_dynamics=positive_dynamics(q, r, points=points, selection=selection, shift=shift),
        truly_low=truly_low(q, r),
    )


def window_correlation(r: ArrayLike, years: int, *, apart: int | None = None) -> Floats:
    r"""Return the correlation of two means over several years.

    .. math:: \frac{r + \max(T-g, 0)(1-r)/T^2}{r + (1-r)/T}

    Parameters
    ----------
    r : array_like
        Correlation of single years.
    years : int
        T, years in each mean, at least 1.
    apart : int, optional
        g, years between the starts of the windows; windows side by side (g = T) by default.

    Raises
    ------
    SpecificationError
        If a number of years is below 1 or r lies outside [0, 1).
    """
    gap = years if apart is None else apart
    for name, value in (("years", years), ("apart", gap)):
        if value < 1:
            raise SpecificationError(text("list_null.years", name=name, value=value))
    known = _correlation(r)
    common = max(years - gap, 0) / years**2
    return np.asarray((known + common * (1.0 - known)) / (known + (1.0 - known) / years))


def school_persistence(persistent: float, transient: float, sampling: ArrayLike) -> Floats:
    r"""Return each school's own correlation of two years.

    .. math:: r_j = \sigma_u^2/(\sigma_u^2 + \sigma_v^2 + s_j^2)

    Parameters
    ----------
    persistent, transient : float
        Variances of what lasts and of what does not, above 0 and at least 0.
    sampling : array_like
        Sampling variance of each school's yearly score.

    Raises
    ------
    SpecificationError
        If a variance is negative or nothing lasts.
    """
    check_positive(persistent, argument="persistent")
    check_positive(transient, argument="transient", zero=True)
    own = np.asarray(sampling, dtype=float)
    if not (own >= 0).all():
        raise SpecificationError(text("list_null.sampling", value=float(np.nanmin(own))))
    return np.asarray(persistent / (persistent + transient + own))


def cut_regression(mean: float, sd: float, cut: float, correlation: ArrayLike) -> Floats:
    r"""Return the mean gain of those below an absolute cut, in the score's own units.

    .. math:: (1-\rho)\,\sigma\,\varphi(z)/(1-\Phi(z)), \quad z = (\mu - C)/\sigma

    Parameters
    ----------
    mean, sd : float
        Of the scores of all units, sd above 0.
    cut : float
        C; units below it are selected.
    correlation : array_like
        ρ of two measurements, in [0, 1).

    References
    ----------
    BarnettEtAl2005, equation for the effect of regression to the mean.
    """
    z = (mean - cut) / check_positive(sd, argument="sd")
    # φ/(1−Φ) by the scaled complementary error function keeps its digits far in the tail
    ratio = np.sqrt(2.0 / np.pi) / special.erfcx(z / np.sqrt(2.0))
    return np.asarray((1.0 - _correlation(correlation)) * sd * ratio)


def exit_probability(
    score: ArrayLike,
    slope: ArrayLike,
    variance: ArrayLike,
    *,
    cut: float,
    mean: float = 0.0,
    next_mean: float = 0.0,
) -> Floats:
    r"""Return the probability that a school with this score lies above the cut next year.

    .. math:: y_{2} \mid y_1 \sim N(\mu_2 + b(y_1 - \mu_1), \sigma^2)

    Parameters
    ----------
    score : array_like
        Score of the year of the list.
    slope, variance : array_like
        b and σ² of the school: r and 1 − r² for standardised scores.
    cut : float
        Score above which a school is off the next list.
    mean, next_mean : float
        Means of all schools in the two years.
    """
    expected = next_mean + np.asarray(slope, dtype=float) * (np.asarray(score, dtype=float) - mean)
    return np.asarray(special.ndtr((expected - cut) / np.sqrt(np.asarray(variance, dtype=float))))


def null_hazard(q: float, r: float, n_years: int, *, observed_entry: bool = True) -> Floats:
    r"""Return the chance of leaving after 1, 2, … years on the list, if nothing changes.

    .. math:: h_k = 1 - I_{k+1}/I_k, \quad p(u) = \Phi\Big(\frac{c-\sqrt r u}{\sqrt{1-r}}\Big)

    with :math:`I_k = \int \varphi p^k` for any listed school and
    :math:`I_k = \int \varphi (1-p) p^k` for spells whose entry was seen.  It falls with duration by
    selection alone: who is still listed has a lower lasting level.

    Parameters
    ----------
    q, r : float
        Share on the list and correlation of two years.
    n_years : int
        Durations 1..n_years.
    observed_entry : bool
        Whether the school was seen off the list before it entered.

    Returns
    -------
    ndarray of shape (n_years,)

    Raises
    ------
    SpecificationError
        If q or r lies outside its interval or ``n_years`` is below 1.
    """
    if n_years < 1:
        raise SpecificationError(text("list_null.years", name="n_years", value=n_years))
    _, c = _share(q)
    known = float(_correlation(r))
    u = np.linspace(-_FAR, _FAR, _NODES)
    low = special.ndtr((c - np.sqrt(known) * u) / np.sqrt(1.0 - known))
    weight = np.exp(-0.5 * u**2) * ((1.0 - low) if observed_entry else 1.0)
    integrals = np.array([(weight * low**k).sum() for k in range(1, n_years + 2)])
    return np.asarray(1.0 - integrals[1:] / integrals[:-1])
