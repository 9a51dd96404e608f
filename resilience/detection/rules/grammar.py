"""The grammar of criteria files: one rule's table turned into the fields of a rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from resilience.detection.rules.criterion import SHARE, Criterion, fail
from resilience.detection.rules.rule import Rule
from resilience.validation import nearest_names

__all__ = ["rule_fields"]


def rule_fields(record: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return one rule's table as the fields of `Rule`, its criteria as `Criterion` objects.

    Besides the fields of `Criteria` a table may hold ``title = { en = …, ru = … }``,
    ``combination = { at_least = k }`` and ``[rule.parameters]``; a criterion ``years``,
    ``subjects``, ``procedures``, ``order`` and ``evidence`` in the words of the grammar.

    Raises
    ------
    SpecificationError
        If a key is unknown or missing, or a value is not of the grammar.
    """
    if not isinstance(record, Mapping):
        raise fail("not_a_table", path=place, key="rule", value=repr(record))
    rule = dict(record)
    lines = rule.pop("criterion", [])
    if not isinstance(lines, list) or not all(isinstance(line, Mapping) for line in lines):
        raise fail("not_a_table", path=place, key="criterion", value=repr(lines))
    parameters = rule.pop("parameters", {})
    if not isinstance(parameters, Mapping) or set(parameters) & set(rule):
        raise fail("not_a_table", path=place, key="parameters", value=repr(parameters))
    rule |= parameters
    _spread_title(rule, place)
    if isinstance(rule.get("combination"), Mapping):
        rule["combination"] = _only(rule["combination"], ("at_least",), place)["at_least"]
    _known(rule, [f.name for f in fields(Rule) if f.name != "criteria"], place)
    _required(rule, ("id", "version", "title_en", "title_ru"), place)
    criteria = tuple(_criterion(line, rule, place) for line in lines)
    if any(c.column == SHARE for c in criteria) and "procedures" not in rule:
        raise fail("procedures_required", rule=rule["id"])
    if rule.get("procedures") in ([], ()):  # a list left empty is not a wish for all
        raise fail("procedure_names", rule=rule["id"], value="[]")
    if rule.get("procedures") == "all":
        rule["procedures"] = ()
    own: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in rule.items()}
    return own | {"criteria": criteria}


def _spread_title(rule: dict[str, Any], place: str) -> None:
    title = rule.pop("title", None)
    if isinstance(title, Mapping):
        both = _only(title, ("en", "ru"), place)
        rule |= {"title_en": both["en"], "title_ru": both["ru"]}
    elif title is not None:
        rule |= {"title_en": title, "title_ru": title}


def _criterion(line: Mapping[str, Any], rule: dict[str, Any], place: str) -> Criterion:
    own = dict(line)
    if isinstance(own.get("subjects"), Mapping):
        own["subjects"] = _only(own["subjects"], ("at_least",), place)["at_least"]
    _spread_years(own, place)
    _spread_procedures(own, place)
    _spread_evidence(own, place)
    if isinstance(own.get("order"), list):
        if sorted(map(str, own["order"])) != ["procedures", "years"]:
            raise fail("order", path=place, value=repr(own["order"]))
        own["order"] = own["order"][0]
    if "min_pupils" in own:
        pupils = own.pop("min_pupils")
        if own.get("column") == SHARE:
            own["min_participants"] = pupils
        else:
            rule["min_pupils"] = max(pupils, rule.get("min_pupils", 1))
    _known(own, [f.name for f in fields(Criterion)], place)
    _required(own, ("name", "column"), place)
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in own.items()}
    return Criterion(**values)


def _spread_years(own: dict[str, Any], place: str) -> None:
    years = own.get("years")
    if isinstance(years, Mapping):
        both = _only(own.pop("years"), ("at_least", "of"), place)
        own |= {"years_at_least": both["at_least"], "years_of": both["of"]}


def _spread_procedures(own: dict[str, Any], place: str) -> None:
    if "procedures" not in own:
        return
    chosen = own.pop("procedures")
    if isinstance(chosen, Mapping):
        own["procedures_at_least"] = _only(chosen, ("at_least",), place)["at_least"]
    elif chosen in ("any", "all"):
        own["procedures_at_least"] = 1 if chosen == "any" else "all"
    else:
        raise fail("procedures_word", path=place, value=repr(chosen))


def _spread_evidence(own: dict[str, Any], place: str) -> None:
    evidence = own.get("evidence")
    if not isinstance(evidence, Mapping):
        return
    own["evidence"] = next(iter(evidence), "")
    names: tuple[str, ...]
    if own["evidence"] == "posterior":
        names = ("loss_false_positive", "loss_false_negative")
    elif own["evidence"] == "interval":
        names = ("level",)
    else:
        raise fail("evidence", path=place, value=repr(dict(evidence)))
    own |= _only(_only(evidence, (own["evidence"],), place)[own["evidence"]], names, place)


def _only(record: object, names: tuple[str, ...], place: str) -> Mapping[str, Any]:
    """Return a table that holds exactly these keys."""
    if not isinstance(record, Mapping):
        raise fail("not_a_table", path=place, key=", ".join(names), value=repr(record))
    _known(record, names, place)
    _required(record, names, place)
    return record


def _known(record: Mapping[str, Any], allowed: Iterable[str], place: str) -> None:
    options = list(allowed)
    for key in record:
        if key not in options:
            raise fail("key", path=place, key=repr(key), nearest=nearest_names(key, options))


def _required(record: Mapping[str, Any], names: Iterable[str], place: str) -> None:
    for name in names:
        if name not in record:
            raise fail("missing_key", path=place, key=name)
