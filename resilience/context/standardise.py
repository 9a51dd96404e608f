"""Items on a common signed scale, anchored in the base year."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resilience.context.reading import SchoolTable
from resilience.context.variables import IndexInput, Transform
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import shorten

__all__ = [
    "StandardisedItems",
    "correlation_of_pairs",
    "standardise",
    "transform_error_variance",
    "transformed",
]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SMALLEST_SD = 1e-12
# Pairs of items with fewer joint rows borrow nothing from each other.
FEWEST_JOINT_ROWS = 3
SMALLEST_EIGENVALUE = 1e-10


@dataclass(frozen=True, kw_only=True, eq=False)
class StandardisedItems:
    """Signed items with mean 0 and SD 1 over the pupils of the base year.

    Attributes
    ----------
    signed : ndarray of shape (n_rows, n_items)
        z with plus = favourable, NaN where missing.
    base_year : int
        Year of the means and SDs.
    base_mean, base_sd : ndarray of shape (n_items,)
        On the transformed scale, weighted by pupils.
    correlation : ndarray of shape (n_items, n_items)
        Of the signed items in the base year, weighted by pupils.
    repaired : bool
        True where gaps had left the correlations contradictory and they were made positive
        semi-definite.
    """

    signed: Floats
    base_year: int
    base_mean: Floats
    base_sd: Floats
    correlation: Floats
    repaired: bool


def transformed(values: Floats, n_pupils: Floats, transform: Transform) -> Floats:
    r"""Return one item on its transformed scale.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        Shares in 0..1 (any number for ``number``), NaN where missing.
    n_pupils : ndarray of shape (n_rows,)
        Pupils behind each share.
    transform : {"share", "logit", "arcsine", "number"}
        ``logit`` is :math:`\log((c+½)/(n-c+½))` with c the share times n, rounded to whole
        pupils; ``arcsine`` is :math:`\arcsin\sqrt{x}`.

    Returns
    -------
    ndarray of shape (n_rows,)
    """
    if transform == "logit":
        count = np.rint(values * n_pupils)
        # Rounding may not carry the count above a fractional average number of pupils.
        count = np.minimum(count, n_pupils)
        return np.asarray(np.log((count + 0.5) / (n_pupils - count + 0.5)))
    if transform == "arcsine":
        return np.asarray(np.arcsin(np.sqrt(values)))
    return values.copy()


def transform_error_variance(values: Floats, n_pupils: Floats, transform: Transform) -> Floats:
    r"""Return the binomial variance of a reported share on its transformed scale.

    With the count :math:`c = xn`, ``share`` takes :math:`\tilde x(1-\tilde x)/n` at the smoothed
    share :math:`\tilde x = (c+½)/(n+1)`, so that no share is free of error; ``logit``
    :math:`1/(c+½) + 1/(n-c+½)` and ``arcsine`` :math:`1/(4n)` by the delta method; ``number``
    zero, since one year of data cannot show its error.

    Over all outcomes of a true share p the first averages
    :math:`[n(n-1)p(1-p) + n/2 + ¼]/(n(n+1)^2)`.  Against :math:`p(1-p)/n` that is too small by
    :math:`n/(n+1)^2` of it at most (p = ½; 14 % with five pupils) and too large for rare shares in
    small schools (twice as large at p = .05 with five pupils).

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        Shares in 0..1 (any number for ``number``), NaN where missing.
    n_pupils : ndarray of shape (n_rows,)
        Pupils behind each share, at least 1; an average number need not be whole.
    transform : {"share", "logit", "arcsine", "number"}
        Scale of the variance; see `transformed`.

    Returns
    -------
    ndarray of shape (n_rows,)
        Squared units of the transformed scale, NaN where the value is missing.
    """
    if transform == "share":
        # Half a pupil more on either side: a share of 0 among five pupils is not known exactly.
        smoothed = (values * n_pupils + 0.5) / (n_pupils + 1)
        return np.asarray(smoothed * (1 - smoothed) / n_pupils)
    if transform == "logit":
        count = np.minimum(np.rint(values * n_pupils), n_pupils)
        return np.asarray(1 / (count + 0.5) + 1 / (n_pupils - count + 0.5))
    if transform == "arcsine":
        return np.where(np.isnan(values), np.nan, 0.25 / n_pupils)
    return np.where(np.isnan(values), np.nan, 0.0)


def standardise(
    table: SchoolTable, items: Sequence[IndexInput], base_year: int | None
) -> StandardisedItems:
    r"""Return the items as :math:`z_{sk} = s_k (g(x_{sk}) - m_k)/d_k`.

    m and d are the mean and the SD over the pupils (schools weighted by enrolment) of the base
    year and stay frozen for all years.

    Parameters
    ----------
    table : SchoolTable
        The checked table.
    items : sequence of IndexInput
        Signs and transforms, in the order of ``table.values``.
    base_year : int or None
        Year of the anchor; the first year of the table where None.

    Raises
    ------
    SpecificationError
        If the table has no such year.
    DataError
        If an item has no value in the base year or does not vary there.
    """
    year = table.years[0] if base_year is None else base_year
    if year not in table.years:
        raise SpecificationError(
            text("context.base_year", value=year, years=shorten(table.years, 12))
        )
    base = table.year == year
    scaled = np.empty_like(table.values)
    mean = np.empty(len(items))
    sd = np.empty(len(items))
    for k, item in enumerate(items):
        values = transformed(table.values[:, k], table.n_pupils, item.transform)
        seen = base & ~np.isnan(values)
        if not seen.any():
            raise DataError(text("context.no_base_values", column=repr(item.name), year=year))
        mean[k], sd[k] = _weighted_moments(values[seen], table.n_pupils[seen])
        if sd[k] < SMALLEST_SD:
            raise DataError(
                text(
                    "context.constant",
                    column=repr(item.name),
                    year=year,
                    value=f"{table.values[seen, k][0]:g}",
                )
            )
        scaled[:, k] = item.direction * (values - mean[k]) / sd[k]
    correlation, repaired = correlation_of_pairs(scaled[base], table.n_pupils[base])
    return StandardisedItems(
        signed=scaled,
        base_year=int(year),
        base_mean=mean,
        base_sd=sd,
        correlation=correlation,
        repaired=repaired,
    )


def _weighted_moments(values: Floats, weights: Floats) -> tuple[float, float]:
    mean = float(np.average(values, weights=weights))
    return mean, float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def correlation_of_pairs(values: Floats, weights: Floats) -> tuple[Floats, bool]:
    """Return the weighted correlations of columns with gaps, and whether they needed repair.

    Each pair uses the rows where both are known; with fewer than 3 such rows, or without variation
    in them, the correlation is 0 (nothing is borrowed).  A matrix that pairwise gaps have left
    indefinite has its negative eigenvalues cut to zero and its diagonal scaled back to 1.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_items)
        NaN where missing.
    weights : ndarray of shape (n_rows,)
        Above 0.

    Returns
    -------
    correlation : ndarray of shape (n_items, n_items)
    repaired : bool
    """
    n_items = values.shape[1]
    correlation = np.eye(n_items)
    for i in range(n_items):
        for k in range(i):
            both = ~np.isnan(values[:, i]) & ~np.isnan(values[:, k])
            if both.sum() < FEWEST_JOINT_ROWS:
                continue
            first, second, w = values[both, i], values[both, k], weights[both]
            mean_first, sd_first = _weighted_moments(first, w)
            mean_second, sd_second = _weighted_moments(second, w)
            if min(sd_first, sd_second) < SMALLEST_SD:
                continue
            joint = np.average((first - mean_first) * (second - mean_second), weights=w)
            correlation[i, k] = correlation[k, i] = np.clip(joint / (sd_first * sd_second), -1, 1)
    eigenvalues, vectors = np.linalg.eigh(correlation)
    if eigenvalues[0] > -SMALLEST_EIGENVALUE:
        return correlation, False
    positive = (vectors * np.maximum(eigenvalues, 0)) @ vectors.T
    scale = np.sqrt(np.diag(positive))
    return positive / np.outer(scale, scale), True
