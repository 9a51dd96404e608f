"""The scale of a variable, learnt from the base year or taken over from it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.conditions.reading import (
    check_missing,
    levels_of,
    natural_values,
    printed,
)
from resilience.clustering.conditions.scales import (
    CompositionScale,
    LevelScale,
    NumberScale,
    OrdinalScale,
    ShareScale,
    VariableScale,
)
from resilience.clustering.conditions.specification import Conditions

__all__ = ["variable_scale"]

Floats = NDArray[np.float64]


def variable_scale(
    frame: pd.DataFrame,
    conditions: Conditions,
    variable: str,
    base: Floats,
    frozen: VariableScale | None,
    max_missing: float,
) -> tuple[Floats, VariableScale]:
    """Return the natural values of a variable and its scale, learnt unless it is frozen.

    Raises
    ------
    DataError
        See `natural_values`, `check_missing` and the scales.
    """
    kind = conditions.kinds[variable]
    levels: tuple[str, ...] | None = None
    if isinstance(frozen, LevelScale | OrdinalScale):
        levels = frozen.levels
    elif kind == "nominal":
        levels = levels_of(frame, variable)
    elif kind == "ordinal":
        levels = tuple(printed(level) for level in conditions.ordinal[variable])
    values = natural_values(frame, conditions, variable, levels)
    values[np.isnan(base)] = np.nan
    check_missing(frame, variable, values, max_missing)
    if frozen is not None:
        return values, frozen
    if kind == "continuous":
        logged = dict(conditions.continuous)[variable] == "log"  # type: ignore[arg-type]  # settled to a mapping
        return values, NumberScale.learn(variable, values, logged=logged)
    if kind == "share":
        return values, ShareScale.learn(variable, values, base)
    if kind == "composition":
        parts = tuple(conditions.compositions[variable])
        return values, CompositionScale.learn(variable, parts, values, base)
    assert levels is not None  # nominal and ordinal variables have them
    if kind == "nominal":
        return values, LevelScale.learn(variable, levels, values)
    return values, OrdinalScale.learn(variable, levels, values)
