r"""Explained variance of a model with several levels: one row per definition.

There is no single R² of such a model.  With :math:`\sigma_f^2` the variance of
:math:`x'\hat\beta` over the rows and, for a level with random terms z, the mean variance
:math:`\sigma_l^2 = \mathrm{tr}(D_l\,\overline{zz'})` of its part,

.. math::

   R^2_m = \frac{\sigma_f^2}{\sigma_f^2 + \sum_l\sigma_l^2 + \sigma_e^2}, \qquad
   R^2_c = \frac{\sigma_f^2 + \sum_l\sigma_l^2}{\sigma_f^2 + \sum_l\sigma_l^2 + \sigma_e^2}

(marginal and conditional: NakagawaSchielzeth2013, for slopes Johnson2014).  Against a model with
the same levels and a constant only, fitted from the same cross-products (index 0),

.. math::

   \text{per level:}\quad 1 - \sigma_l^2/\sigma_{l0}^2 \qquad
   \text{of a pupil:}\quad 1 - \frac{\sum\sigma_l^2 + \sigma_e^2}{\sum\sigma_{l0}^2 + \sigma_{e0}^2}
   \qquad \text{of a school mean:}\quad
   1 - \frac{\sigma_u^2 + \sigma_e^2/n}{\sigma_{u0}^2 + \sigma_{e0}^2/n}

with n the harmonic mean of the schools' pupils: the first is the proportional reduction of
RaudenbushBryk2002, chapter 4, the others the modelled variance of SnijdersBosker1994.  A definition
that does not apply to a model gives no number but the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.i18n import Bilingual, text
from resilience.stats.crossed.crossed_fit import fit_crossed
from resilience.stats.crossed.crossed_products import CrossedProducts, FactorProducts
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.engine.profile import Method
from resilience.stats.mixed import MixedFit, fit_mixed
from resilience.stats.strata.strata_fit import StrataFit

__all__ = ["explained_variance_table"]

Floats = NDArray[np.float64]


class Fitted(Protocol):
    """What results hold that the table needs."""

    @property
    def mixed(self) -> MixedFit:
        """The fit."""

    @property
    def cross(self) -> CrossProducts | CrossedProducts:
        """What it was made of."""

    @property
    def group(self) -> str:
        """School column."""


def explained_variance_table(results: Fitted, *, null: bool = True) -> pd.DataFrame:
    """Return ``definition group variance_explained reference basis``, a row per definition.

    Parameters
    ----------
    results : ValueAddedResults
        A fit.
    null : bool
        Whether the definitions against a constant, which need a fit of their own, are wanted.

    References
    ----------
    NakagawaSchielzeth2013; Johnson2014; RaudenbushBryk2002; SnijdersBosker1994.
    """
    rows = [*_of_the_whole(results), *(_against_null(results) if null else [])]
    names = ["definition", "group", "variance_explained", "reference", "basis"]
    table = pd.DataFrame(rows, columns=names).astype({"variance_explained": float})
    for k in (0, 4):  # a column of strings would keep the English wording alone
        table[names[k]] = pd.Series([row[k] for row in rows], dtype=object)
    return table


Row = tuple[Bilingual, str, float, str, Bilingual]


def _of_the_whole(results: Fitted) -> list[Row]:
    """Return the marginal and the conditional R²."""
    reference = "NakagawaSchielzeth2013"
    names = ("marginal", "conditional")
    if isinstance(results.mixed, StrataFit):
        reason = text("explained.subjects")
        return [(text(f"explained.{n}"), "", np.nan, reference, reason) for n in names]
    parts = level_variances(results)
    fixed, residual = fixed_variance(results), results.mixed.residual_variance
    total = fixed + sum(parts) + residual
    if any(len(level.terms) > 1 for level in results.mixed.levels):
        reference = "Johnson2014"
    shares = (fixed / total, (fixed + sum(parts)) / total)
    return [
        (text(f"explained.{n}"), "", share, reference, text(f"explained.{n}_basis"))
        for n, share in zip(names, shares, strict=True)
    ]


def fixed_variance(results: Fitted) -> float:
    """Return the variance of the fixed part over the rows, weights counted."""
    cross, fitted = results.cross, results.mixed
    at = [cross.columns.index(t) for t in fitted.terms]
    mean = cross.total[0, at] / cross.total[0, 0]
    own = cross.total[np.ix_(at, at)] / cross.total[0, 0] - np.outer(mean, mean)
    slopes = np.where(np.array(at) == 0, 0.0, fitted.beta * cross.scale[at])
    return float(slopes @ own @ slopes)


def level_variances(results: Fitted) -> list[float]:
    """Return the mean variance of each level's part of a row, tr(D E[zz'])."""
    cross, found = results.cross, []
    for k, level in enumerate(results.mixed.levels):
        at = [cross.columns.index(t) for t in level.terms]
        squares = cross.total[np.ix_(at, at)]
        if isinstance(cross, CrossedProducts) and cross.factors[k].own is not None:
            squares = _own_squares(cross.factors[k])
        back = _back(cross, at)
        own = back @ squares @ back.T / cross.total[0, 0]
        found.append(float(np.trace(level.covariance @ own)))
    return found


def _own_squares(factor: FactorProducts) -> Floats:
    """Return the sum of the units' own blocks: squared shares times zz'."""
    assert factor.own is not None
    q, entries = len(factor.columns), factor.own.tocoo()
    same = entries.row // q == entries.col // q
    found = np.zeros((q, q))
    np.add.at(found, (entries.row[same] % q, entries.col[same] % q), entries.data[same])
    return found


def _back(cross: CrossProducts | CrossedProducts, at: list[int]) -> Floats:
    """Return the map from centred, scaled columns to own ones: z = B (1, w)."""
    found = np.diag(cross.scale[at])
    if 0 in at:
        k = at.index(0)
        found[:, k] += np.where(np.array(at) == 0, 0.0, cross.centre[at])
    return found


def _against_null(results: Fitted) -> list[Row]:
    """Return the definitions that compare with a model of a constant only."""
    fitted = results.mixed
    names = [level.name for level in fitted.levels]
    reason = _no_null(results)
    null = null_fit(results) if reason is None else None
    rows: list[Row] = []
    own = [*(float(v.covariance[0, 0]) for v in fitted.levels), fitted.residual_variance]
    zero = [np.nan] * len(own)
    if null is not None:
        zero = [*(float(v.covariance[0, 0]) for v in null.levels), null.residual_variance]
    for name, now, before in zip([*names, "residual"], own, zero, strict=True):
        why, share = reason or text("explained.level_basis"), np.nan
        if reason is None and before <= 0:
            why = text("explained.null_zero", level=repr(name))
        elif reason is None:
            share = 1.0 - now / before
        rows.append((text("explained.level"), name, share, "RaudenbushBryk2002", why))
    share = np.nan if null is None else 1.0 - sum(own) / sum(zero)
    why = reason or text("explained.pupil_basis")
    rows.append((text("explained.pupil"), "", share, "SnijdersBosker1994", why))
    rows.append(_of_a_mean(results, own, zero, reason))
    return rows


def _of_a_mean(
    results: Fitted, own: list[float], zero: list[float], reason: Bilingual | None
) -> Row:
    fitted = results.mixed
    name, reference = text("explained.school_mean"), "SnijdersBosker1994"
    if reason is None and len(fitted.levels) > 1:
        reason = text("explained.two_levels", n=len(fitted.levels) + 1)
    if reason is not None:
        return name, results.group, np.nan, reference, reason
    n = fitted.levels[0].n_rows.astype(float)
    mean = len(n[n > 0]) / float((1.0 / n[n > 0]).sum())
    share = 1.0 - (own[0] + own[1] / mean) / (zero[0] + zero[1] / mean)
    basis = text("explained.school_mean_basis", n=f"{mean:.1f}")
    return name, results.group, share, reference, basis


def _no_null(results: Fitted) -> Bilingual | None:
    """Return why the definitions against a constant do not apply, None where they do."""
    fitted = results.mixed
    if isinstance(fitted, StrataFit):
        return text("explained.subjects")
    if ONES not in fitted.terms:
        return text("explained.no_intercept")
    for level in fitted.levels:
        if level.terms != (ONES,):
            terms = ", ".join(t for t in level.terms if t != ONES)
            if all("=" in t for t in level.terms):
                return text("explained.years", level=repr(level.name), terms=terms)
            return text("explained.slopes", level=repr(level.name), terms=terms)
    return None


def null_fit(results: Fitted) -> MixedFit:
    """Fit a constant and the same levels from the same cross-products."""
    method: Method = results.mixed.method
    cross = results.cross
    with threadpool_limits(limits=1):
        if isinstance(cross, CrossProducts):
            random: dict[str, Sequence[str]] = {level.name: [ONES] for level in cross.levels}
            alone = cross.subset_columns([cross.columns[-1]], random=random)
            return fit_mixed(alone, fixed=[ONES], method=method)
        return fit_crossed(_constant_only(cross), fixed=[ONES], method=method)


def _constant_only(products: CrossedProducts) -> CrossedProducts:
    """Return the sub-block of the constant and the outcome; factors have intercepts only."""
    kept = [0, len(products.columns) - 1]
    return replace(
        products,
        columns=(ONES, products.columns[-1]),
        centre=products.centre[kept],
        scale=products.scale[kept],
        total=products.total[np.ix_(kept, kept)],
        factors=tuple(replace(f, products=f.products[:, :, kept]) for f in products.factors),
    )
