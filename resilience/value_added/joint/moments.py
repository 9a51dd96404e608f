r"""The joint error of a school's mean result and its value added over some years.

School j has in year t the mean result
:math:`\bar y_{jt} = \bar x_{jt}'\beta + \theta_{jt} + \bar e_{jt}` with the effect
:math:`\theta_{jt}` (what lasts and the year's own part, covariance K between the years) and the
noise of its pupils, :math:`\mathrm{Var}(\bar e_{jt}) = s_{jt}^2`.  With shares :math:`a_{jt}` of
the years of a window that add up to 1,

.. math::

   A_j = a_j'\theta_j, \qquad R_j = \bar x_j'\beta + A_j, \qquad \bar x_j = X_j'a_j :

value added, and the result expected of such cohorts in this school.  With
:math:`V_j = K + \mathrm{diag}(s_j^2)` the best linear prediction is
:math:`\hat A_j = a_j'KV_j^{-1}(\bar y_j - X_j\hat\beta)`; it moves by :math:`-\ell_j'` times a
move of the coefficients, :math:`\ell_j = X_j'V_j^{-1}Ka_j`.  Let
:math:`v_j = a_j'(K - KV_j^{-1}K)a_j` and C the covariance of :math:`\hat\beta`.  Then

.. math::

   \mathrm{Var}(\hat A_j - A_j) &= v_j + \ell_j'C\ell_j \\
   \mathrm{Var}(\bar y_j - R_j) &= a_j'\mathrm{diag}(s_j^2)a_j \\
   \mathrm{cov} &= v_j - \ell_j'C(\bar x_j - \ell_j) .

The covariance needs no further sum over pupils: given the data and :math:`\beta`, the error
:math:`\bar y_j - R_j` is a known number minus :math:`A_j`, so that it shares with
:math:`\hat A_j - A_j` just what the data leave open of :math:`A_j`; and the part of the noise that
the data betray, :math:`a_j'\mathrm{diag}(s_j^2)V_j^{-1}(\bar y_j - X_j\beta)`, has the leverage
:math:`\bar x_j - \ell_j`, which gives its covariance with :math:`\hat\beta`.  The estimate by the
model, :math:`\hat R_j = \bar x_j'\hat\beta + \hat A_j`, has the same covariance with
:math:`\hat A_j` and the variance :math:`v_j + (\bar x_j-\ell_j)'C(\bar x_j-\ell_j)`.

Where the intake is drawn too, :math:`R_j` is the result of the school's usual intake, and the
variance of the result has :math:`\beta'\Sigma_x\beta\sum_t a_{jt}^2/n_{jt}` more, with the pooled
covariance :math:`\Sigma_x` of the covariates within schools and years.  Source: Henderson1975.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.prediction.prediction_errors import coefficient_half
from resilience.value_added.joint.windows import Window
from resilience.value_added.years.panel import YearPanel, panel_design
from resilience.value_added.years.yearly import YearlyEffects

__all__ = [
    "JointMoments",
    "RegionSource",
    "SchoolYears",
    "intake_variance",
    "joint_moments",
    "school_years_of",
]

Floats = NDArray[np.float64]
Shares = Literal["pupils", "years"]

_SCHOOLS_PER_BLOCK = 20_000


class RegionSource(YearlyEffects, Protocol):
    """What results hold that joint regions need."""

    @property
    def fixed_effects(self) -> pd.DataFrame:
        """One row per coefficient."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SchoolYears:
    """What is known of the years of all schools, each with all its years of the data.

    Attributes
    ----------
    panel : YearPanel
        Residuals, sampling variances and pupils.
    design : ndarray of shape (n_schools, n_years, p)
        Mean covariates, 0 without data.
    expected : ndarray of shape (n_schools, n_years)
        Mean result expected from them.
    effect : ndarray of shape (n_schools, n_years)
        Predictions of the effects.
    conditional : ndarray of shape (n_schools, n_years, n_years)
        Their posterior covariance, coefficients taken as known.
    leverage : ndarray of shape (n_schools, n_years, p)
        The predictions move by minus its product with a move of the coefficients.
    beta_covariance : ndarray of shape (p, p)
        Covariance of the coefficients.
    """

    panel: YearPanel
    design: Floats
    expected: Floats
    effect: Floats
    conditional: Floats
    leverage: Floats
    beta_covariance: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class JointMoments:
    """Result and value added over a window; NaN for schools without data in it.

    Attributes
    ----------
    result, expected, value_added : ndarray of shape (n_schools,)
        Mean result, its expectation at average schools, and value added.
    covariance : ndarray of shape (n_schools, 2, 2)
        Joint error covariance of (result, value added).
    n_years : ndarray of int, n_pupils : ndarray, both of shape (n_schools,)
        Years with data and pupils in the window.
    """

    result: Floats
    expected: Floats
    value_added: Floats
    covariance: Floats
    n_years: NDArray[np.int64]
    n_pupils: Floats


def school_years_of(results: RegionSource, panel: YearPanel, covariance: Floats) -> SchoolYears:
    """Return the joint posterior of the effects of all years of every school.

    Parameters
    ----------
    results : EffectsResults
        Results of a model with years and mean covariates.
    panel : YearPanel
        Their yearly residuals.
    covariance : ndarray of shape (n_years, n_years)
        K, the covariance of a school's effects in the years of the data.

    Raises
    ------
    DataError
        If a year has neither a sampling variance nor a part of its own.
    """
    design = panel_design(results, panel)
    there = ~np.isnan(panel.residual)
    sampling = np.where(there, panel.sampling, 1.0)
    if not (results.variances["transient"] + sampling > 0).all():
        raise DataError(text("value_added.exact_year"))
    n, T = there.shape
    gain = np.empty((n, T, T))
    conditional = np.empty((n, T, T))
    diagonal = np.arange(T)
    for first in range(0, n, _SCHOOLS_PER_BLOCK):
        part = slice(first, first + _SCHOOLS_PER_BLOCK)
        seen = there[part]
        # a year without data becomes a row and a column of the unit matrix
        V = np.where(seen[:, :, None] & seen[:, None, :], covariance, 0.0)
        V[:, diagonal, diagonal] += sampling[part]
        known = np.where(seen[:, :, None], covariance, 0.0)
        gain[part] = np.linalg.solve(V, known).transpose(0, 2, 1)
        conditional[part] = covariance - gain[part] @ known
    estimates = results.fixed_effects["estimate"].to_numpy(dtype=float)
    return SchoolYears(
        panel=panel,
        design=design,
        expected=design @ estimates,
        effect=np.einsum("jts,js->jt", gain, np.where(there, panel.residual, 0.0)),
        conditional=conditional,
        leverage=gain @ design,
        beta_covariance=np.asarray(results.errors.beta_covariance, dtype=float),
    )


def joint_moments(
    known: SchoolYears,
    window: Window,
    *,
    shares: Shares,
    by_model: bool,
    intake: float,
    per_pupil: float,
) -> JointMoments:
    """Return result, value added and their joint errors over a window.

    Parameters
    ----------
    known : SchoolYears
        All years of all schools.
    window : Window
        The years.
    shares : {"pupils", "years"}
        Whether years count by their pupils or alike.
    by_model : bool
        Whether the result is estimated by the model instead of the observed mean.
    intake : float
        Variance that the draw of one pupil's covariates brings into the result; 0 where the intake
        is taken as given.
    per_pupil : float
        Residual variance, which turns sampling variances into numbers of pupils.
    """
    panel = known.panel
    inside = np.zeros(len(panel.labels), dtype=bool)
    inside[window.start : window.stop] = True
    there = ~np.isnan(panel.residual) & inside
    size = panel.n_pupils if shares == "pupils" else np.ones_like(panel.n_pupils)
    size = np.where(there, size, 0.0)
    with np.errstate(invalid="ignore"):
        a = size / size.sum(axis=1, keepdims=True)  # NaN without data in the window
    sampling = np.where(there, panel.sampling, 0.0)
    residual = np.where(there, panel.residual, 0.0)
    effect = np.einsum("jt,jt->j", a, known.effect)
    expected = np.einsum("jt,jt->j", a, np.where(there, known.expected, 0.0))
    posterior = np.einsum("jt,jts,js->j", a, known.conditional, a)
    leverage = np.einsum("jt,jtp->jp", a, known.leverage)
    rest = np.einsum("jt,jtp->jp", a, known.design) - leverage
    half, half_rest = (coefficient_half(part, known.beta_covariance) for part in (leverage, rest))
    noise = np.einsum("jt,jt->j", a**2, sampling)
    drawn = intake * noise / per_pupil if intake > 0 else np.zeros_like(noise)
    of_model = posterior + np.einsum("jp,jp->j", half_rest, half_rest)
    covariance = np.empty((len(effect), 2, 2))
    covariance[:, 0, 0] = (of_model if by_model else noise) + drawn
    covariance[:, 1, 1] = posterior + np.einsum("jp,jp->j", half, half)
    covariance[:, 0, 1] = posterior - np.einsum("jp,jp->j", half, half_rest)
    covariance[:, 1, 0] = covariance[:, 0, 1]
    observed = expected + np.einsum("jt,jt->j", a, residual)
    return JointMoments(
        result=expected + effect if by_model else observed,
        expected=expected,
        value_added=effect,
        covariance=covariance,
        n_years=there.sum(axis=1).astype(np.int64),
        n_pupils=np.where(there, panel.n_pupils, 0.0).sum(axis=1),
    )


def intake_variance(results: RegionSource, known: SchoolYears) -> float | None:
    r"""Return :math:`\beta'\Sigma_x\beta`, None where the fit does not know pupils' covariates.

    The covariance within schools and years is what the whole one exceeds that of their means.

    Parameters
    ----------
    results : EffectsResults
        Any results with years.
    known : SchoolYears
        Their mean covariates.
    """
    cross = getattr(results, "cross", None)
    table = results.fixed_effects
    if not isinstance(cross, CrossProducts) or not results.variances["residual"] > 0:
        return None
    terms = [term for term in table["term"] if term in cross.columns]
    own = [k for k, term in enumerate(table["term"]) if term in cross.columns[1:-1]]
    if len(terms) < len(table):
        return None
    at = [cross.columns.index(table["term"].iloc[k]) for k in own]
    beta = table["estimate"].to_numpy(dtype=float)[own] * cross.scale[at]
    there = ~np.isnan(known.panel.residual)
    weight = results.variances["residual"] / known.panel.sampling[there]
    means = (known.design[there][:, own] - cross.centre[at]) / cross.scale[at]
    within = cross.total[np.ix_(at, at)] - (means * weight[:, None]).T @ means
    free = cross.n_rows - int(there.sum())
    return max(float(beta @ within @ beta), 0.0) / free if free > 0 else None
