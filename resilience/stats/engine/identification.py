"""Whether the data tell the variances of a model apart.

Two levels whose units coincide, a level whose units have one row each, or effects that the fixed
part holds already leave the criterion flat in some direction of the variances: any start would be
returned as the estimate.  In logarithms of the standard deviations an honest fit has a curvature of
.01 and more in every direction; a flat one shows rounding alone, below 1e-5.  SDs below .05 of the
residual one are not looked at: near zero every criterion is flat in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.results import Convergence
from resilience.stats.crossproducts import CrossProducts

__all__ = ["LevelSize", "refuse_flat", "refuse_still_outcome"]


@dataclass(frozen=True, kw_only=True)
class LevelSize:
    """A level as far as messages need it.

    Attributes
    ----------
    name : str
        Its name.
    n_units, n_parameters : int
        Units, and parameters of the covariance.
    """

    name: str
    n_units: int
    n_parameters: int


def refuse_flat(convergence: Convergence, levels: Sequence[LevelSize], n_rows: int) -> None:
    """Raise if the search ended on a flat criterion.

    Parameters
    ----------
    convergence : Convergence
        Record of the search.
    levels : sequence of LevelSize
        In the order of the parameters; what follows them belongs to the residuals.
    n_rows : int
        Rows of data.

    Raises
    ------
    SpecificationError
        Naming the levels, why they cannot be told apart where that is seen, and the way out.
    """
    if not convergence.flat:
        return
    owners = [level for level in levels for _ in range(level.n_parameters)]
    found = {owners[k].name: owners[k] for k in convergence.flat if k < len(owners)}
    flat = list(found.values()) or list(levels)
    raise SpecificationError(
        text(
            "engine.flat",
            levels=", ".join(repr(level.name) for level in flat),
            why=_why(flat, levels, n_rows),
        )
    )


def _why(flat: Sequence[LevelSize], levels: Sequence[LevelSize], n_rows: int) -> Bilingual:
    for level in flat:
        if level.n_units == n_rows:
            return text("engine.flat_rows", level=repr(level.name), n=n_rows)
    for level in flat:
        same = [o for o in levels if o.n_units == level.n_units and o.name != level.name]
        if same:
            return text(
                "engine.flat_units",
                level=repr(level.name),
                other=repr(same[0].name),
                n=level.n_units,
            )
    return text("engine.flat_fixed")


def refuse_still_outcome(cross: CrossProducts) -> None:
    """Raise if the outcome does not vary within the units of the innermost level.

    Parameters
    ----------
    cross : CrossProducts
        Cross-products; levels without an intercept are not looked at.

    Raises
    ------
    DataError
        Naming the level: means of units were joined to their rows.
    """
    total = float(cross.total[-1, -1] - cross.total[0, -1] ** 2 / cross.total[0, 0])
    for level in cross.levels[-1:]:
        if 0 not in level.columns or level.n_groups >= cross.n_rows or not total > 0:
            continue
        at = level.columns.index(0)
        sums, weights = level.products[:, at, -1], level.products[:, at, 0]
        between = float((sums**2 / np.maximum(weights, 1e-300)).sum())
        if cross.total[-1, -1] - between <= 1e-11 * max(total, float(cross.total[-1, -1])):
            raise DataError(
                text(
                    "engine.still_outcome",
                    outcome=repr(cross.columns[-1]),
                    level=repr(level.name),
                    n=level.n_groups,
                    rows=cross.n_rows,
                )
            )
