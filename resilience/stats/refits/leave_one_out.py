r"""What a fit would be without one of its groups, from the groups' own cross-products.

Every group is left out of the cross-products in turn and the model is fitted again from the optimum
at hand, exactly (`resilience.stats.refits.refits`).  The group's own effect is then predicted from
its rows with the parameters of the others: what it would be if it had no say in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.errors import ResilienceError
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.elimination import eliminate, solve_groups
from resilience.stats.engine.profile import to_own_units
from resilience.stats.mixed import MixedFit
from resilience.stats.products.product_subsets import innermost_parent
from resilience.stats.refits.refits import Refit, RefitPlan, refit_plan

__all__ = ["LeftOut", "cook_distance", "leave_one_out"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LeftOut:
    """The fit without one group.

    Attributes
    ----------
    group : int
        Position of the group in its level.
    refit : Refit or None
        Fit to the other groups; None where there is none.
    modes : ndarray of shape (q,)
        The group's effects by the parameters of the others, in own units.
    reason : str
        Why there is no fit; empty otherwise.
    """

    group: int
    refit: Refit | None
    modes: Floats
    reason: str = ""


def leave_one_out(
    cross: CrossProducts, fitted: MixedFit, level: str, groups: Sequence[int]
) -> tuple[LeftOut, ...]:
    """Leave some groups out, one at a time.

    Parameters
    ----------
    cross : CrossProducts
        With blocks at ``level`` or inside it.
    fitted : MixedFit
        The fit to all groups.
    level : str
        Level of the groups.
    groups : sequence of int
        Positions of the groups in the level.

    Returns
    -------
    tuple of LeftOut
        In the order of ``groups``.

    Raises
    ------
    SpecificationError
        Without blocks.
    """
    plan = refit_plan(cross, fitted)
    working = plan.problem.cross
    names = [v.name for v in working.levels]
    at = names.index(level)
    everyone = np.ones(working.levels[at].n_groups, dtype=bool)
    working.subset_groups(level, mask=everyone)  # refuses without blocks before the first refit
    found: list[LeftOut] = []
    with threadpool_limits(limits=1):
        for group in groups:
            others = everyone.copy()
            others[group] = False
            try:
                refit = plan.refit(working.subset_groups(level, mask=others))
            except (ResilienceError, np.linalg.LinAlgError) as error:
                nothing = np.full(len(working.levels[at].columns), np.nan)
                found.append(LeftOut(group=group, refit=None, modes=nothing, reason=str(error)))
                continue
            modes = _own_modes(plan, refit, at, group)
            found.append(LeftOut(group=group, refit=refit, modes=modes))
    return tuple(found)


def cook_distance(fitted: MixedFit, beta: Floats) -> float:
    r"""Return the distance of other coefficients from those of the fit.

    .. math:: (\hat\beta - b)' \widehat{\mathrm{Var}}(\hat\beta)^{-1} (\hat\beta - b) / p

    Parameters
    ----------
    fitted : MixedFit
        The fit.
    beta : ndarray of shape (p,)
        Coefficients without a group.

    References
    ----------
    Cook1977.
    """
    change = fitted.beta - beta
    if not len(change):
        return 0.0
    return float(change @ np.linalg.solve(fitted.beta_covariance, change)) / len(change)


def _own_modes(plan: RefitPlan, refit: Refit, at: int, group: int) -> Floats:
    """Return the group's effects by other parameters; only its outermost unit's rows matter."""
    problem = plan.problem
    cross = problem.cross
    outermost = innermost_parent(cross.levels, 0, at)[group]
    place = int(group - np.searchsorted(innermost_parent(cross.levels, 0, at), outermost))
    own = cross.subset_groups(
        cross.levels[0].name, mask=np.arange(cross.levels[0].n_groups) == outermost
    )
    covariances = problem.covariances(refit.theta)
    solves = solve_groups(own, covariances, eliminate(own, covariances))
    unit = cross.scale[-1]
    fixed = list(problem.fixed)
    shift = np.zeros(len(fixed))
    if 0 in fixed:
        shift[fixed.index(0)] = cross.centre[-1]
    contrast = np.zeros(len(cross.columns))
    contrast[-1] = 1.0
    if fixed:
        contrast[fixed] = -np.linalg.solve(to_own_units(cross, fixed), refit.beta - shift) / unit
    modes = solves.to_columns[at][place] @ contrast @ covariances[at]
    return np.asarray(to_own_units(cross, cross.levels[at].columns) @ modes * unit)
