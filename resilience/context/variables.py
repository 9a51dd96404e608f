"""Which columns may enter the context index, with which sign and on which scale.

What is known of a column is data (``resilience/data/known_variables.toml``).  A column that is not
listed there enters only if the caller declares its direction, and answers for its being intake or
location.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from resilience.data.known_variables import ADMITTED_ROLES, Role, known_variables
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.validation import check_choice, nearest_names

__all__ = ["IndexInput", "Transform", "resolve_inputs"]

Transform = Literal["share", "logit", "arcsine", "number"]

TRANSFORMS: tuple[str, ...] = get_args(Transform)


@dataclass(frozen=True, kw_only=True)
class IndexInput:
    """One item of the index, settled: column, role, sign and transform.

    Attributes
    ----------
    name : str
        Column of the table of schools.
    role : str
        ``intake``, ``location`` or ``declared`` (the caller answers for it).
    direction : {-1, 1}
        1 where more of it is more favourable.
    transform : {"share", "logit", "arcsine", "number"}
        ``share`` and ``number`` enter as they are; only shares carry a binomial reporting error.
    is_share : bool
        Whether values must lie in 0..1.
    """

    name: str
    role: Role
    direction: int
    transform: Transform
    is_share: bool


def resolve_inputs(
    names: Iterable[str],
    *,
    directions: Mapping[str, int] | None,
    transform: Transform | Mapping[str, Transform],
    outcome: str | None = None,
) -> tuple[IndexInput, ...]:
    """Return the items of the index with their signs, or refuse a column by name.

    Parameters
    ----------
    names : iterable of str
        Columns asked for.
    directions : mapping, optional
        Signs declared by the caller; they override the documented ones and admit columns the
        room does not know.
    transform : str or mapping
        One transform for every share, or one by column; see `IndexInput`.
    outcome : str, optional
        Column of results, refused among the items.

    Returns
    -------
    tuple of IndexInput
        In the caller's order.

    Raises
    ------
    SpecificationError
        If a column is of a refused role, unknown and undeclared, repeated, without a sign; if a
        declared sign or transform is impossible or names no item.
    """
    items = _checked_names(names)
    signs = dict(directions or {})
    for name, sign in signs.items():
        if name not in items:
            _refuse_stray("directions", name, items)
        if sign not in (-1, 1):
            raise SpecificationError(text("context.sign", column=repr(name), value=repr(sign)))
    by_column = {} if isinstance(transform, str) else dict(transform)
    for name, value in by_column.items():
        if name not in items:
            _refuse_stray("transform", name, items)
        check_choice(value, TRANSFORMS, argument=f"transform[{name!r}]")
    common: Transform = "share"
    if isinstance(transform, str):
        check_choice(transform, TRANSFORMS, argument="transform")
        common = transform
    return tuple(
        _resolve(name, signs.get(name, 0), by_column.get(name), common, outcome) for name in items
    )


def _checked_names(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise SpecificationError(text("context.inputs_string", value=repr(names)))
    items = tuple(names)
    if not items:
        raise SpecificationError(text("context.inputs_empty"))
    for name in items:
        if not isinstance(name, str):
            raise SpecificationError(text("context.inputs_type", value=repr(name)))
        if items.count(name) > 1:
            raise SpecificationError(text("context.inputs_repeated", column=repr(name)))
    return items


def _refuse_stray(argument: str, name: str, items: tuple[str, ...]) -> None:
    raise SpecificationError(
        text(
            "context.stray",
            argument=argument,
            column=repr(name),
            nearest=nearest_names(str(name), items),
        )
    )


def _resolve(
    name: str, sign: int, own: Transform | None, common: Transform, outcome: str | None
) -> IndexInput:
    known = known_variables().get(name)
    if known is not None and known.role not in ADMITTED_ROLES:
        raise SpecificationError(
            text("context.refused", column=repr(name), reason=text(f"context.role_{known.role}"))
        )
    if name == outcome:
        raise SpecificationError(
            text("context.refused", column=repr(name), reason=text("context.role_outcome"))
        )
    direction = sign or (known.direction if known else 0)
    if not direction:
        key = "context.unknown" if known is None else "context.no_direction"
        admitted = [n for n, v in known_variables().items() if v.role in ADMITTED_ROLES]
        raise SpecificationError(
            text(key, column=repr(name), name=name, nearest=nearest_names(name, admitted))
        )
    if known is None:
        chosen = own or common
        return IndexInput(
            name=name,
            role="declared",
            direction=int(direction),
            transform=chosen,
            is_share=chosen != "number",
        )
    is_share = known.scale == "share"
    return IndexInput(
        name=name,
        role=known.role,
        direction=int(direction),
        transform=own or (common if is_share else "number"),
        is_share=is_share or own in ("share", "logit", "arcsine"),
    )
