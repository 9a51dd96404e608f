"""Two choices of a multiverse: what results are expected from, and where quantiles are taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.pipeline.groupings import read_groups
from resilience.pipeline.multiverse_refits import Models, model_levels

__all__ = ["expected_levels", "grouping_levels"]

FIRST = "regression"


def expected_levels(va: Any, expectation: Mapping[str, Any] | None, *, n_jobs: int = 1) -> Models:
    """Return the models behind ``va``, or behind the expectations where they are given.

    Raises
    ------
    SpecificationError
        If the expectations are no mapping, or ``va`` stands beside them and is none of them.
    """
    if expectation is None:
        return model_levels(va, n_jobs=n_jobs)
    if not isinstance(expectation, Mapping) or not expectation:
        shown = "{}" if isinstance(expectation, Mapping) else type(expectation).__name__
        raise SpecificationError(text("groupings.expectation_kind", kind=shown))
    levels = dict(expectation)
    if va is not None and not any(own is va for own in levels.values()):
        if FIRST in levels or isinstance(va, Mapping):
            names = ", ".join(str(name) for name in levels)
            raise SpecificationError(text("groupings.expectation_twice", names=names))
        levels = {FIRST: va, **levels}
    return model_levels(levels, n_jobs=n_jobs, factor="expectation")


def grouping_levels(groups: Any, schools: pd.DataFrame | None) -> dict[str, Any]:
    """Return the groups by name; what is no mapping is a single level without a name.

    Raises
    ------
    DataError, SpecificationError
        If the mapping is empty, or what it holds is neither None nor groups of schools.
    """
    if isinstance(groups, Mapping) and not groups:
        raise SpecificationError(text("groupings.group_names"))
    own = groups.items() if isinstance(groups, Mapping) else [("", groups)]
    levels = {str(name): value for name, value in own}
    for value in levels.values():
        if value is not None:
            read_groups(value, schools)
    return levels
