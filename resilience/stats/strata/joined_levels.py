r"""Joint errors of the effects that one unit has on two levels.

A school with what lasts (:math:`u_j`) on one level and its years (:math:`v_{jt}`) on the next is
the same model as one level with the vector :math:`(u_j, v_j)` and the covariance
:math:`D_u \oplus D_v`: every group of the second level is a group of the first.  Written so, the
conditional covariances *between* the two stand in the matrices of the joined level, and any sum of
what lasts and of years has its best linear prediction and its error.  Source: Henderson1975.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import linalg

from resilience.stats.crossproducts import CrossProducts
from resilience.stats.mixed import LevelEffects, MixedFit, effects_at

__all__ = ["joined_effects"]


def joined_effects(cross: CrossProducts, fitted: MixedFit, at: int) -> LevelEffects:
    """Return the effects of a level and of the one inside it, which has the same groups, as one.

    Parameters
    ----------
    cross : CrossProducts
        What the fit was made of.
    fitted : MixedFit
        The fit; level ``at + 1`` is its innermost and has one group in each group of ``at``.
    at : int
        Position of the outer of the two levels.

    Returns
    -------
    LevelEffects
        Terms of the outer level, then of the inner; modes, conditional covariances and the rest at
        the fitted covariances.
    """
    outer, inner = cross.levels[at], cross.levels[at + 1]
    joined = replace(
        outer,
        columns=outer.columns + inner.columns,
        products=np.concatenate([outer.products, inner.products], axis=1),
    )
    covariances = [level.covariance / fitted.residual_variance for level in fitted.levels]
    together = linalg.block_diag(covariances[at], covariances[at + 1])
    levels = effects_at(
        replace(cross, levels=(*cross.levels[:at], joined)),
        [*covariances[:at], together],
        fixed=fitted.terms,
        method=fitted.method,
    )
    return levels[at]
