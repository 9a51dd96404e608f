"""The choices that a set of rules varies, read off the rules themselves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from resilience.detection import Criteria
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text

__all__ = ["RuleLevels", "rule_levels"]

# What names a rule, not what it does.
IDENTITY = {
    "id",
    "version",
    "title_en",
    "title_ru",
    "status",
    "second_hand",
    "reference",
    "target",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class RuleLevels:
    """Rules with the level of every choice.

    Attributes
    ----------
    factors : dict of {factor: tuple of levels}
        Choices that differ between the rules.
    rules : tuple of Criteria
        With ids that do not repeat.
    levels : tuple of dict
        Level of every choice, one per rule.
    notes : tuple of Bilingual
        Where rules form no grid.
    """

    factors: dict[str, tuple[str, ...]]
    rules: tuple[Criteria, ...]
    levels: tuple[dict[str, str], ...]
    notes: tuple[Bilingual, ...] = ()


def rule_levels(
    rules: Criteria | Sequence[Criteria] | Mapping[str, Criteria | Sequence[Criteria]],
) -> RuleLevels:
    """Return the rules and the choices they vary.

    Rules of one grid differ in fields; fields that change together are one choice, named after the
    criterion they belong to, or after the field where they belong to several.  Rules that do not
    form a complete grid are one choice, ``rule``.  A mapping adds the choice ``rule``; its members'
    grids are matched by name, or by position where their levels are equal.

    Raises
    ------
    SpecificationError
        If there is no rule, or something else is given.
    """
    if isinstance(rules, Mapping):
        return _of_mapping(rules)
    chosen = _rules(rules)
    found = _grid(chosen)
    if found is not None:
        return RuleLevels(factors=found[0], rules=_distinct(chosen), levels=found[1])
    names = _names(chosen)
    return RuleLevels(
        factors={"rule": names},
        rules=_distinct(chosen),
        levels=tuple({"rule": name} for name in names),
        notes=(text("multiverse.rules_as_one", n=len(chosen)),)
        if _looks_like_a_grid(chosen)
        else (),
    )


def _rules(rules: object) -> tuple[Criteria, ...]:
    chosen = (rules,) if isinstance(rules, Criteria) else rules
    if not isinstance(chosen, Sequence) or isinstance(chosen, str):
        raise SpecificationError(text("multiverse.rules_type", kind=type(rules).__name__))
    if not chosen:
        raise SpecificationError(text("multiverse.no_rules"))
    for rule in chosen:
        if not isinstance(rule, Criteria):
            raise SpecificationError(text("multiverse.rules_type", kind=type(rule).__name__))
    return tuple(chosen)


def _names(rules: Sequence[Criteria]) -> tuple[str, ...]:
    """Return names of rules that do not repeat."""
    seen: Counter[str] = Counter()
    names = []
    for rule in rules:
        seen[rule.id] += 1
        names.append(rule.id if seen[rule.id] == 1 else f"{rule.id} ({seen[rule.id]})")
    return tuple(names)


def _distinct(rules: Sequence[Criteria]) -> tuple[Criteria, ...]:
    """Return the rules with ids that do not repeat, as detection asks for."""
    return tuple(
        rule if rule.id == name else replace(rule, id=name)
        for rule, name in zip(rules, _names(rules), strict=True)
    )


def _looks_like_a_grid(rules: Sequence[Criteria]) -> bool:
    """Tell whether the rules are variants of one rule, so that a hole in the grid is likely."""
    return len(rules) > 2 and len({tuple(c.name for c in rule.criteria) for rule in rules}) == 1


def _flat(rule: Criteria) -> dict[str, str]:
    """Return every field that says what the rule does, as text."""
    skipped = IDENTITY | {"criteria"}
    flat = {f.name: _shown(getattr(rule, f.name)) for f in fields(rule) if f.name not in skipped}
    for criterion in rule.criteria:
        flat |= {
            f"{criterion.name}.{f.name}": _shown(getattr(criterion, f.name))
            for f in fields(criterion)
            if f.name not in ("name", "reference", "status")
        }
    return flat


def _shown(value: object) -> str:
    if value is None or value == ():
        return "—"
    if isinstance(value, tuple):
        return ", ".join(_shown(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _grid(
    rules: Sequence[Criteria],
) -> tuple[dict[str, tuple[str, ...]], tuple[dict[str, str], ...]] | None:
    """Return the choices of a complete grid of rules, None if they form none."""
    if len({tuple(c.name for c in rule.criteria) for rule in rules}) > 1:
        return None  # different rules, not variants of one
    flats = [_flat(rule) for rule in rules]
    together: dict[tuple[int, ...], list[str]] = {}
    for name in flats[0]:
        values = [flat[name] for flat in flats]
        place = {v: k for k, v in enumerate(dict.fromkeys(values))}
        if len(place) > 1:
            together.setdefault(tuple(place[v] for v in values), []).append(name)
    cells = set(zip(*together, strict=True)) if together else {()}
    expected = math.prod(max(codes) + 1 for codes in together)
    if len(cells) != len(rules) or expected != len(rules):
        return None
    factors: dict[str, tuple[str, ...]] = {}
    levels: list[dict[str, str]] = [{} for _ in rules]
    for names in together.values():
        name, shown = _name_of(names, factors)
        values = [flat[shown] for flat in flats]
        factors[name] = tuple(dict.fromkeys(values))
        for own, value in zip(levels, values, strict=True):
            own[name] = value
    return factors, tuple(levels)


def _name_of(changed: Sequence[str], taken: Mapping[str, object]) -> tuple[str, str]:
    """Return the name of the choice behind fields that change together, and the field shown."""
    owners = dict.fromkeys(f.partition(".")[0] for f in changed if "." in f)
    last = Counter(f.rpartition(".")[2] for f in changed)
    common = last.most_common(1)[0][0]  # of equals the first, in the order of the rule
    shown = next(f for f in changed if f.rpartition(".")[2] == common)
    name = next(iter(owners)) if len(owners) == 1 and "evidence" not in last else common
    return (name if name not in taken else shown), shown


def _of_mapping(rules: Mapping[str, Any]) -> RuleLevels:
    own = {str(name): _rules(value) for name, value in rules.items()}
    if not own:
        raise SpecificationError(text("multiverse.no_rules"))
    grids = {name: _grid(chosen) for name, chosen in own.items()}
    matched = _matched([grid for grid in grids.values() if grid is not None])
    flat = [(name, rule) for name, chosen in own.items() for rule in chosen]
    if matched is None or None in grids.values():
        names = _names([rule for _, rule in flat])
        return RuleLevels(
            factors={"rule": names},
            rules=_distinct([rule for _, rule in flat]),
            levels=tuple({"rule": name} for name in names),
            notes=(text("multiverse.rules_as_one", n=len(flat)),),
        )
    factors, renamed = matched
    levels = []
    for name, change in zip(own, renamed, strict=True):
        grid = grids[name]
        assert grid is not None
        levels += [{"rule": name, **{change[f]: v for f, v in cell.items()}} for cell in grid[1]]
    rules_first = {"rule": tuple(own)} if len(own) > 1 else {}
    return RuleLevels(
        factors={**rules_first, **factors},
        rules=_distinct([rule for _, rule in flat]),
        levels=tuple(
            {f: v for f, v in cell.items() if f != "rule" or rules_first} for cell in levels
        ),
    )


def _matched(
    grids: Sequence[tuple[dict[str, tuple[str, ...]], Any]],
) -> tuple[dict[str, tuple[str, ...]], list[dict[str, str]]] | None:
    """Match the choices of several grids; None where they have different ones."""
    if not grids:
        return None
    first = grids[0][0]
    if all(grid[0] == first for grid in grids):
        return first, [{f: f for f in first} for _ in grids]
    if any(list(grid[0].values()) != list(first.values()) for grid in grids):
        return None
    joint = ["/".join(dict.fromkeys(names)) for names in zip(*(g[0] for g in grids), strict=True)]
    factors = dict(zip(joint, first.values(), strict=True))
    return factors, [dict(zip(grid[0], joint, strict=True)) for grid in grids]
