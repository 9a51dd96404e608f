"""Choose groups of cross-products: leave some out, take some several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.products.product_levels import (
    GroupBlocks,
    LevelProducts,
    packed_places,
    sum_by,
)
from resilience.validation import shorten

__all__ = ["GroupSubset", "chosen_groups", "innermost_parent", "outer_blocks", "subset_groups"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Levels = Sequence[LevelProducts]


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupSubset:
    """The parts of the cross-products of some groups' rows.

    Attributes
    ----------
    total : ndarray of shape (P, P)
        :math:`W'W` of the rows.
    levels : tuple of LevelProducts
        All levels with the groups that stay.
    blocks : GroupBlocks
        Their blocks.
    """

    total: Floats
    levels: tuple[LevelProducts, ...]
    blocks: GroupBlocks


def chosen_groups(
    levels: Levels,
    level: str,
    labels: Sequence[object] | None,
    mask: NDArray[np.bool_] | None,
    multiplicities: Codes | None,
) -> Codes:
    """Return how often each group of a level is taken, shape (n_groups,).

    Raises
    ------
    SpecificationError
        For an unknown level or label, none or several choices, a choice of another shape, negative
        multiplicities, or a choice that leaves no group.
    """
    names = [v.name for v in levels]
    if level not in names:
        raise SpecificationError(
            text("products.level", level=repr(level), levels=", ".join(names) or "—")
        )
    own = levels[names.index(level)]
    given = [c for c in (labels, mask, multiplicities) if c is not None]
    if len(given) != 1:
        raise SpecificationError(text("products.one_choice", n=len(given)))
    if labels is not None:
        wanted = list(labels)
        known = set(own.labels)
        unknown = [label for label in wanted if label not in known]
        if unknown:
            raise SpecificationError(
                text(
                    "products.unknown_groups",
                    level=repr(level),
                    unknown=shorten(unknown),
                    known=shorten(own.labels),
                )
            )
        inside = set(wanted)
        times = np.array([label in inside for label in own.labels], dtype=np.int64)
    else:
        times = np.asarray(mask if mask is not None else multiplicities)
        if times.shape != (own.n_groups,):
            raise SpecificationError(
                text("engine.shape", what=level, seen=len(times), expected=own.n_groups)
            )
        times = times.astype(np.int64)
        if (times < 0).any():
            raise SpecificationError(text("products.negative", n=int((times < 0).sum())))
    if not times.any():
        raise SpecificationError(text("products.no_group", level=repr(level), n=own.n_groups))
    return times


def subset_groups(levels: Levels, blocks: GroupBlocks, level: str, times: Codes) -> GroupSubset:
    """Return the cross-products of the groups of a level, each taken some times.

    Parameters
    ----------
    levels : sequence of LevelProducts
        From outer to inner.
    blocks : GroupBlocks
        Of the level or of one inside it.
    level : str
        Level whose groups are chosen.
    times : ndarray of shape (n_groups,), int
        How often each is taken.
    """
    names = [v.name for v in levels]
    at, deep = names.index(level), names.index(blocks.level)
    chosen = {at: np.repeat(np.arange(len(times)), times)}
    parents: dict[int, Codes] = {}
    for inner in range(at + 1, len(levels)):
        chosen[inner], parents[inner] = _children(levels[inner].parent, chosen[inner - 1])
    found = {
        k: replace(
            levels[k],
            labels=levels[k].labels[index],
            parent=parents.get(k, levels[k].parent[index]),
            n_rows=levels[k].n_rows[index],
            products=levels[k].products[index],
        )
        for k, index in chosen.items()
    }
    if times.max() > 1:
        found[at] = replace(found[at], labels=_numbered(found[at].labels, times))
    below = innermost_parent(levels, at, deep)
    packed = times[below].astype(float) @ blocks.packed
    own = GroupBlocks(
        level=blocks.level,
        packed=blocks.packed[chosen[deep]],
        log_weights=blocks.log_weights[chosen[deep]],
    )
    _outer_levels(levels, found, at, own)
    return GroupSubset(
        total=packed[packed_places(blocks.n_columns)],
        levels=tuple(found[k] for k in range(len(levels))),
        blocks=own,
    )


def _outer_levels(
    levels: Levels, found: dict[int, LevelProducts], at: int, blocks: GroupBlocks
) -> None:
    """Fill in the levels outside the chosen one: sums of the blocks that stay."""
    names = [v.name for v in levels]
    position = innermost_parent(
        [found[k] for k in sorted(found)], 0, names.index(blocks.level) - at
    )
    rows, n_rows = position, found[at].n_rows
    inside = np.arange(len(n_rows))
    for outer in range(at - 1, -1, -1):
        stay, codes = np.unique(found[outer + 1].parent, return_inverse=True)
        codes = codes.reshape(-1).astype(np.int64)
        found[outer + 1] = replace(found[outer + 1], parent=codes)
        inside = codes[inside]
        old = levels[outer]
        found[outer] = LevelProducts(
            name=old.name,
            columns=old.columns,
            labels=old.labels[stay],
            parent=old.parent[stay],
            n_rows=np.bincount(inside, n_rows, minlength=len(stay)).astype(np.int64),
            products=sum_by(blocks.rows(old.columns), inside[rows], len(stay)),
        )


def innermost_parent(levels: Levels, at: int, deep: int) -> Codes:
    """Return the unit of level ``at`` that each group of level ``deep`` belongs to."""
    position = np.arange(levels[deep].n_groups)
    for k in range(deep, at, -1):
        position = levels[k].parent[position]
    return position


def outer_blocks(
    levels: Levels, blocks: GroupBlocks | None, stay: Sequence[str]
) -> GroupBlocks | None:
    """Return the blocks of the nearest level that stays, at or outside the one that has them."""
    if blocks is None or blocks.level in stay:
        return blocks
    names = [v.name for v in levels]
    deep = names.index(blocks.level)
    above = [k for k in range(deep) if names[k] in stay]
    if not above:
        return None
    at = above[-1]
    return blocks.summed(names[at], innermost_parent(levels, at, deep), levels[at].n_groups)


def _children(parent: Codes, chosen: Codes) -> tuple[Codes, Codes]:
    """Return the groups inside the chosen ones, and the place of each one's parent among these."""
    first = np.searchsorted(parent, chosen, side="left")
    size = np.searchsorted(parent, chosen, side="right") - first
    place = np.repeat(np.arange(len(chosen)), size)
    within = np.arange(len(place)) - np.repeat(np.cumsum(size) - size, size)
    return first[place] + within, place.astype(np.int64)


def _numbered(labels: NDArray[np.object_], times: Codes) -> NDArray[np.object_]:
    """Return labels in which the second and further copies of a group bear their number."""
    copies = np.concatenate([np.arange(k) for k in times if k])
    named = [str(v) if not k else f"{v} #{k + 1}" for v, k in zip(labels, copies, strict=True)]
    return np.array(named, dtype=object)
