"""The tables of SIMEX: coefficients, both curves of every term, and points to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.i18n import text
from resilience.stats.refits.simex import (
    MULTIPLIERS,
    Curves,
    Extrapolation,
    quadratic_curves,
    rational_curves,
    simulation_errors,
)
from resilience.value_added.effects.effects_table import coefficient_table
from resilience.value_added.prior_error.simulation import Simulated

__all__ = ["Extrapolated", "coefficients", "curve_table", "extrapolated", "extrapolation_table"]

Floats = NDArray[np.float64]

_GRID = np.round(np.linspace(-1.0, 2.0, 61), 2)  # where curves are written down


@dataclass(frozen=True, kw_only=True, eq=False)
class Extrapolated:
    """The curves of all terms and what is taken of them.

    Attributes
    ----------
    rational, quadratic : Curves
        Both families.
    asked : {"rational", "quadratic"}
        The family asked for.
    found : Simulated
        The means behind them.
    """

    rational: Curves
    quadratic: Curves
    asked: Extrapolation
    found: Simulated

    @property
    def is_rational(self) -> NDArray[np.bool_]:
        """Terms whose estimate comes from the rational curve, shape (p,)."""
        behaves = np.array([not reason for reason in self.rational.reasons])
        return behaves & (self.asked == "rational")

    @property
    def estimates(self) -> Floats:
        """Estimates without errors, shape (p,)."""
        own = self.rational.limits, self.quadratic.limits
        return np.where(self.is_rational, *own)

    @property
    def weights(self) -> Floats:
        """Their derivatives in the means, shape (p, n_multipliers, p)."""
        own = self.rational.weights, self.quadratic.weights
        return np.where(self.is_rational[:, None, None], *own)


def extrapolated(found: Simulated, asked: Extrapolation, degree: int) -> Extrapolated:
    """Return the curves through the means of a simulation.

    Parameters
    ----------
    found : Simulated
        Means at the multipliers.
    asked : {"rational", "quadratic"}
        The family asked for.
    degree : int
        Number of columns with errors of their own.
    """
    means = found.means
    return Extrapolated(
        rational=rational_curves(MULTIPLIERS, means, found.errors[-1], degree=degree),
        quadratic=quadratic_curves(MULTIPLIERS, means),
        asked=asked,
        found=found,
    )


def coefficients(
    terms: tuple[str, ...], curves: Extrapolated, covariance: Floats, *, level: float, n_sets: int
) -> pd.DataFrame:
    """Return the table of coefficients, by Student's t where sets of schools gave the variance.

    Parameters
    ----------
    terms : tuple of str
        Fixed terms.
    curves : Extrapolated
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
    asked = curves.asked == "rational"
    reasons = [_reason(why) if asked else "" for why in curves.rational.reasons]
    kinds = ["rational" if taken else "quadratic" for taken in curves.is_rational]
    table["extrapolation"] = pd.Series(kinds, dtype=object)
    table["simulation_error"] = simulation_errors(curves.found.pairs, curves.weights)
    table["reason"] = pd.Series(reasons, dtype=object)
    return table


def extrapolation_table(terms: tuple[str, ...], curves: Extrapolated) -> pd.DataFrame:
    """Return both curves of every term in a row each."""
    families = (curves.rational, curves.quadratic)
    noise = [simulation_errors(curves.found.pairs, family.weights) for family in families]
    rows = []
    for k, term in enumerate(terms):
        for family, own in zip(families, noise, strict=True):
            rows.append(
                {
                    "term": term,
                    "extrapolation": family.kind,
                    "estimate": float(family.limits[k]),
                    "simulation_error": float(own[k]),
                    "pole": family.pole,
                    "reason": _reason(family.reasons[k]),
                }
            )
    return pd.DataFrame(rows)


def curve_table(terms: tuple[str, ...], curves: Extrapolated) -> pd.DataFrame:
    """Return the simulated means and points of the curves; a rational one where it behaves."""
    found, parts = curves.found, []
    for k, term in enumerate(terms):
        parts.append(
            _points(term, "simulated", np.array(MULTIPLIERS), found.means[:, k], found.errors[:, k])
        )
        for family in (curves.quadratic, curves.rational):
            if not family.reasons[k]:
                nothing = np.full(len(_GRID), np.nan)
                parts.append(_points(term, family.kind, _GRID, family.at(_GRID)[:, k], nothing))
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


def _reason(why: str) -> object:
    """Return in words why a rational curve is not to be trusted; nothing where it is."""
    return text(f"simex.reason_{why}") if why else ""
