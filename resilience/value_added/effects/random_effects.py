"""Tables of the effects of all units of all levels, read from the fit itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.stats.crossproducts import ONES
from resilience.stats.mixed import LevelEffects, MixedFit
from resilience.stats.strata.strata_fit import StrataFit
from resilience.value_added.effects.subjects import equal_weights, subject_loadings

__all__ = [
    "effects_of_levels",
    "is_cells",
    "level_loading",
    "random_effects_table",
    "slopes_of_levels",
]

Floats = NDArray[np.float64]


def random_effects_table(fitted: MixedFit) -> pd.DataFrame:
    """Return the effects of all units of all levels, one row per unit and term.

    Effects of a school's years stand in rows of the school with the year as term
    (``year=2023``), whether the years are independent, AR(1) or unstructured.

    Parameters
    ----------
    fitted : MixedFit
        Any fit with levels.

    Returns
    -------
    DataFrame
        ``group unit_id term estimate std_error conditional_sd``: ``std_error`` includes the error
        of the fixed effects, ``conditional_sd`` does not; in the outcome's units per unit of the
        term.
    """
    pieces = []
    for at, level in enumerate(fitted.levels):
        units: NDArray[np.object_] = level.labels
        terms = [np.full(len(units), term, dtype=object) for term in level.terms]
        if is_cells(fitted, at):
            outer = fitted.levels[at - 1]
            column = level.name.removeprefix(f"{outer.name}:")
            units = outer.labels[level.parent]
            years = [f"{column}={label}" for label in level.labels]
            terms = [_within_years(term, years) for term in level.terms]
        for k, names in enumerate(terms):
            pieces.append(
                pd.DataFrame(
                    {
                        "group": level.name,
                        "unit_id": units,
                        "term": names,
                        "estimate": level.modes[:, k],
                        "std_error": np.sqrt(np.maximum(level.prediction[:, k, k], 0.0)),
                        "conditional_sd": np.sqrt(np.maximum(level.conditional[:, k, k], 0.0)),
                    }
                )
            )
    return pd.concat(pieces, ignore_index=True).infer_objects()


def is_cells(fitted: MixedFit, at: int) -> bool:
    """Tell whether the units of a level are years of the units of the level before it."""
    if not at:
        return False
    level, outer = fitted.levels[at], f"{fitted.levels[at - 1].name}:"
    column = level.name.removeprefix(outer)
    return level.name.startswith(outer) and not level.terms[0].startswith(f"{column}=")


def _within_years(term: str, years: list[str]) -> NDArray[np.object_]:
    """Return the names of the effects of years, by subject where they differ by subject."""
    named = years if term == ONES else [f"{term}, {year}" for year in years]
    return np.array(named, dtype=object)


def level_loading(fitted: MixedFit, at: int, slope_means: Mapping[str, float]) -> Floats:
    """Return where the effect of a level is read among its terms, shape (q,).

    At the average pupil, in the plain mean of the subjects, over all years of the data alike.
    """
    if isinstance(fitted, StrataFit):
        return np.asarray(equal_weights(fitted) @ subject_loadings(fitted, at))
    terms = fitted.levels[at].terms
    by = [term != ONES and term not in fitted.terms for term in terms]
    return np.array(
        [
            1.0 / sum(by) if category else 1.0 if term == ONES else slope_means[term]
            for term, category in zip(terms, by, strict=True)
        ]
    )


def effects_of_levels(
    fitted: MixedFit, levels: list[int], slope_means: Mapping[str, float]
) -> pd.DataFrame:
    """Return ``group unit_id effect std_error`` of some levels, read at the average pupil."""
    pieces = []
    for at in levels:
        level, loading = fitted.levels[at], level_loading(fitted, at, slope_means)
        variance = np.einsum("gab,a,b->g", level.prediction, loading, loading)
        pieces.append(
            pd.DataFrame(
                {
                    "group": level.name,
                    "unit_id": level.labels,
                    "effect": level.modes @ loading,
                    "std_error": np.sqrt(np.maximum(variance, 0.0)),
                }
            )
        )
    empty = pd.DataFrame(columns=["group", "unit_id", "effect", "std_error"])
    return pd.concat(pieces, ignore_index=True).infer_objects() if pieces else empty


def slopes_of_levels(fitted: MixedFit, levels: list[int]) -> pd.DataFrame:
    """Return ``group unit_id term estimate std_error`` of the slopes of some levels."""
    pieces = [
        pd.DataFrame(
            {
                "group": level.name,
                "unit_id": level.labels,
                "term": term,
                "estimate": level.modes[:, k],
                "std_error": np.sqrt(np.maximum(level.prediction[:, k, k], 0.0)),
            }
        )
        for level in (fitted.levels[at] for at in levels)
        for k, term in enumerate(level.terms)
        if is_slope(fitted, level, term)
    ]
    empty = pd.DataFrame(columns=["group", "unit_id", "term", "estimate", "std_error"])
    return pd.concat(pieces, ignore_index=True).infer_objects() if pieces else empty


def is_slope(fitted: MixedFit, level: LevelEffects, term: str) -> bool:
    """Tell a slope from an intercept and from effects by category (years, subjects)."""
    return term != ONES and term in fitted.terms
