"""Missing items: conditional expectation from the known ones, and the variance it leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "GapPattern",
    "completed",
    "coverage",
    "effective_weights",
    "gap_patterns",
    "imputation_variance",
]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

# Relative cut of the pseudo-inverse: items that repeat each other carry one piece of information.
SINGULAR = 1e-10


@dataclass(frozen=True, kw_only=True, eq=False)
class GapPattern:
    """Rows that miss the same items.

    Attributes
    ----------
    rows : ndarray of int
        Row numbers.
    observed : ndarray of bool of shape (n_items,)
        Which items are known.
    regression : ndarray of shape (n_missing, n_observed)
        R_mo R_oo⁻¹.
    conditional : ndarray of shape (n_missing, n_missing)
        R_mm − R_mo R_oo⁻¹ R_om.
    """

    rows: Integers
    observed: Flags
    regression: Floats
    conditional: Floats


def gap_patterns(signed: Floats, correlation: Floats) -> tuple[GapPattern, ...]:
    """Return one record per pattern of missing items, complete rows left out.

    Parameters
    ----------
    signed : ndarray of shape (n_rows, n_items)
        Standardised items, NaN where missing.
    correlation : ndarray of shape (n_items, n_items)
        Base-year correlation R.
    """
    missing = np.isnan(signed)
    kinds, which = np.unique(missing, axis=0, return_inverse=True)
    which = which.reshape(-1)
    patterns = []
    for number, absent in enumerate(kinds):
        if not absent.any():
            continue
        known = ~absent
        between = correlation[np.ix_(absent, known)]
        regression = (
            between @ np.linalg.pinv(correlation[np.ix_(known, known)], rcond=SINGULAR)
            if known.any()
            else between
        )
        conditional = correlation[np.ix_(absent, absent)] - regression @ between.T
        patterns.append(
            GapPattern(
                rows=np.flatnonzero(which == number),
                observed=known,
                regression=regression,
                conditional=conditional,
            )
        )
    return tuple(patterns)


def completed(signed: Floats, patterns: tuple[GapPattern, ...]) -> Floats:
    """Return the items with each gap filled by z_m = R_mo R_oo⁻¹ z_o; never by zero shares."""
    filled = signed.copy()
    for p in patterns:
        known = signed[np.ix_(p.rows, p.observed)]
        filled[np.ix_(p.rows, ~p.observed)] = known @ p.regression.T
    return filled


def imputation_variance(n_rows: int, patterns: tuple[GapPattern, ...], weights: Floats) -> Floats:
    """Return w_m'(R_mm − R_mo R_oo⁻¹ R_om)w_m per row, 0 for complete rows."""
    variance = np.zeros(n_rows)
    for p in patterns:
        own = weights[~p.observed]
        variance[p.rows] = max(0.0, float(own @ p.conditional @ own))
    return variance


def effective_weights(n_rows: int, patterns: tuple[GapPattern, ...], weights: Floats) -> Floats:
    """Return the weight each *known* item really carries, w_o + (R_mo R_oo⁻¹)'w_m; 0 for gaps.

    A known item also speaks for the missing ones, so its reporting error counts with both weights.
    """
    carried = np.tile(weights, (n_rows, 1))
    for p in patterns:
        row = np.zeros(weights.size)
        row[p.observed] = weights[p.observed] + p.regression.T @ weights[~p.observed]
        carried[p.rows] = row
    return carried


def coverage(signed: Floats, weights: Floats) -> Floats:
    """Return Σ_o |w_k| / Σ |w_k| per row, 0..1."""
    size = np.abs(weights)
    return np.asarray((~np.isnan(signed)) @ size / size.sum())
