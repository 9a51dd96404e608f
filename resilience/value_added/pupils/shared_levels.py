"""Which levels several specifications share, and what is left when one of them lacks a level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resilience.stats.crossproducts import CrossProducts
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.specification import Intake, Structure

__all__ = ["by_label", "common_model"]


def common_model(models: Sequence[ModelDefinition]) -> ModelDefinition | None:
    """Return a model whose levels hold those of all models, None where one pass cannot serve them.

    The models must be nested, with levels that are parts of one chain, the school innermost, years
    from one column or none, and the same intake, weights and pupil key; compositions and calibrated
    priors bind the years too, because they are formed per school and year.

    Parameters
    ----------
    models : sequence of ModelDefinition
        Specifications.
    """
    structures = [model.structure or Structure() for model in models]
    plain = all(
        m.crossed is None and m.members is None and s.drift is None and s.outcome_group is None
        for m, s in zip(models, structures, strict=True)
    )
    if not plain or len({(s.weights, s.unit) for s in structures}) > 1:
        return None
    intakes = [model.intake or Intake() for model in models]
    if any(intake != intakes[0] for intake in intakes):
        return None
    chains = [model.groups for model in models]
    longest = max(chains, key=len)
    if any([g for g in longest if g in chain] != chain for chain in chains):
        return None
    times = {model.time for model in models}
    named = times - {None}
    if len({chain[-1] for chain in chains}) > 1 or len(named) > 1:
        return None
    by_cell = intakes[0].compositions or intakes[0].prior_reliability is not None
    if by_cell and len(times) > 1:
        return None
    return replace(
        models[0],
        group=longest,
        slopes=None,
        time=next(iter(named), None),
        structure=replace(structures[0], covariance={}),
    )


def by_label(cross: CrossProducts) -> CrossProducts:
    """Return the same cross-products with groups in the order of their labels within each parent.

    Groups stand in the order of the outermost level of the pass; once it is left out, theirs is the
    order that a fit of their own would have.

    Parameters
    ----------
    cross : CrossProducts
        Without blocks of groups; labels are codes in the order wanted.
    """
    levels = []
    place: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
    for level in cross.levels:
        parent = place[level.parent]
        order = np.lexsort((level.labels.astype(np.int64), parent))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        levels.append(
            replace(
                level,
                labels=level.labels[order],
                parent=parent[order],
                n_rows=level.n_rows[order],
                products=level.products[order],
            )
        )
    return replace(cross, levels=tuple(levels))
