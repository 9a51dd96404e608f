"""The tables of SIMEX: coefficients, both curves of every term, and points to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.i18n import text
from resilience.stats.simex import (
    MULTIPLIERS,
    Curve,
    Extrapolation,
    extrapolate,
    quadratic_curve,
    rational_curve,
    simulation_errors,
)
from resilience.value_added.effects.effects_table import coefficient_table
from resilience.value_added.prior_error.simulation import Simulated

__all__ = ["Curves", "coefficients", "curve_table", "curves_of", "extrapolation_table"]

Floats = NDArray[np.float64]

_GRID = np.round(np.linspace(-1.0, 2.0, 61), 2)  # where curves are written down


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """The curves of all terms.

    Attributes
    ----------
    taken, rational, quadratic : tuple of Curve
        The curve behind the estimate of each term, and both there are.
    asked : {"rational", "quadratic"}
        The family asked for.
    found : Simulated
        The means behind them.
    """

    taken: tuple[Curve, ...]
    rational: tuple[Curve, ...]
    quadratic: tuple[Curve, ...]
    asked: Extrapolation
    found: Simulated

    @property
    def estimates(self) -> Floats:
        """Estimates without errors, shape (p,)."""
        return np.array([curve.value for curve in self.taken])

    @property
    def weights(self) -> Floats:
        """Their derivatives in the means, shape (p, n_multipliers)."""
        return np.array([curve.weights for curve in self.taken])


def curves_of(found: Simulated, asked: Extrapolation) -> Curves:
    """Return the curves through the means of a simulation."""
    columns = list(zip(found.means.T, found.errors[-1], strict=True))
    return Curves(
        taken=tuple(
            extrapolate(MULTIPLIERS, means, kind=asked, error=float(error))
            for means, error in columns
        ),
        rational=tuple(
            rational_curve(MULTIPLIERS, means, float(error)) for means, error in columns
        ),
        quadratic=tuple(quadratic_curve(MULTIPLIERS, means) for means, _ in columns),
        asked=asked,
        found=found,
    )


def coefficients(
    terms: tuple[str, ...], curves: Curves, covariance: Floats, *, level: float, n_sets: int
) -> pd.DataFrame:
    """Return the table of coefficients, by Student's t where sets of schools gave the variance.

    Parameters
    ----------
    terms : tuple of str
        Fixed terms.
    curves : Curves
        Their curves.
    covariance : ndarray of shape (p, p)
        Covariance of the estimates.
    level : float
        Coverage of the intervals.
    n_sets : int
        Sets of schools that were left out, 0 where none were.
    """
    beta = curves.estimates
    table = coefficient_table(terms, beta, covariance, level=level)
    if n_sets:
        df = n_sets - 1.0
        half = float(special.stdtrit(df, 0.5 + level / 2.0)) * table["std_error"]
        table["p_value"] = 2.0 * special.stdtr(df, -table["statistic"].abs().to_numpy())
        table["conf_low"], table["conf_high"] = beta - half, beta + half
    reasons = [_reason(r) if curves.asked == "rational" else "" for r in curves.rational]
    table["extrapolation"] = pd.Series([curve.kind for curve in curves.taken], dtype=object)
    table["simulation_error"] = simulation_errors(curves.found.pairs, curves.weights)
    table["reason"] = pd.Series(reasons, dtype=object)
    return table


def extrapolation_table(terms: tuple[str, ...], curves: Curves) -> pd.DataFrame:
    """Return both curves of every term in a row each."""
    rows = []
    for k, term in enumerate(terms):
        for curve in (curves.rational[k], curves.quadratic[k]):
            noise = simulation_errors(curves.found.pairs[:, :, [k]], curve.weights[None])
            rows.append(
                {
                    "term": term,
                    "extrapolation": curve.kind,
                    "estimate": curve.value,
                    "simulation_error": float(noise[0]),
                    "pole": -curve.parameters[2] if curve.kind == "rational" else np.nan,
                    "reason": _reason(curve),
                }
            )
    return pd.DataFrame(rows)


def curve_table(terms: tuple[str, ...], curves: Curves) -> pd.DataFrame:
    """Return the simulated means and points of the curves; a rational one where it behaves."""
    found, parts = curves.found, []
    for k, term in enumerate(terms):
        parts.append(
            _points(term, "simulated", np.array(MULTIPLIERS), found.means[:, k], found.errors[:, k])
        )
        for curve in (curves.quadratic[k], curves.rational[k]):
            if not curve.reason:
                nothing = np.full(len(_GRID), np.nan)
                parts.append(_points(term, curve.kind, _GRID, curve.at(_GRID), nothing))
    return pd.concat(parts, ignore_index=True)


def _points(
    term: str, kind: str, multipliers: Floats, estimates: Floats, errors: Floats
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "term": term,
            "error_multiplier": multipliers,
            "extrapolation": kind,
            "estimate": estimates,
            "simulation_error": errors,
        }
    )


def _reason(curve: Curve) -> object:
    """Return in words why a rational curve is not to be trusted; nothing where it is."""
    return text(f"simex.reason_{curve.reason}") if curve.reason else ""
