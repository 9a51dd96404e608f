"""Criteria files: the grammar of a rule read, written, and the presets that ship."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import SHARE, Criterion, fail
from resilience.validation import nearest_names

__all__ = ["find_preset", "preset_ids", "read_rules", "rule_from", "rules_from_text", "toml_text"]

# Other names under which official texts and the specification know a preset.
ALIASES = {
    "shnor_2020_2024": "low_results_any",
    "low_results_2025_any": "low_results_any",
    "low_results_2020_2024_any": "low_results_any",
    "low_results_guarded_or": "low_results_2025_or_guarded",
    "low_results_guarded_and": "low_results_2025_and_guarded",
}
FEDERAL = ("shnor_2025", "low_results_2025")


def find_preset(name: str, connective: str | None = None) -> Criteria:
    """Return a preset; see `Criteria.preset`."""
    known = _presets()
    if name in FEDERAL:
        if connective not in ("or", "and"):
            raise fail("connective", name=name, value=repr(connective))
        return known[f"low_results_2025_{connective}"]
    if connective is not None:
        raise fail("connective_alone", name=repr(name), value=repr(connective))
    name = ALIASES.get(name, name)
    if name not in known:
        raise fail("preset", name=repr(name), nearest=nearest_names(name, [*known, *ALIASES]))
    return known[name]


def preset_ids() -> tuple[str, ...]:
    """Return the ids of all preset rules, sorted."""
    return tuple(sorted(_presets()))


@cache
def _presets() -> dict[str, Criteria]:
    root = resources.files("resilience") / "detection" / "rules" / "presets"
    files = sorted((f for f in root.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    rules = [r for f in files for r in rules_from_text(f.read_text(encoding="utf-8"), f.name)]
    return {rule.id: rule for rule in rules}


def read_rules(path: str | Path) -> tuple[Criteria, ...]:
    """Return all rules of a criteria file; see `Criteria.from_toml`."""
    place = Path(path)
    try:
        content = place.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise fail("file", path=place.name, problem=error.strerror or error) from error
    except UnicodeDecodeError as error:
        raise fail("toml", path=place.name, problem=error) from error
    return rules_from_text(content, place.name)


def rules_from_text(content: str, place: str = "criteria") -> tuple[Criteria, ...]:
    """Return the rules of the text of a criteria file.

    Raises
    ------
    SpecificationError
        If it is no TOML, or a rule is not well formed.
    """
    try:
        record = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise fail("toml", path=place, problem=error) from error
    unknown = [k for k in record if k != "rule"]
    rules = record.get("rule")
    if unknown or not isinstance(rules, list) or not rules:
        raise fail("file_keys", path=place, keys=", ".join(unknown) or "—")
    found = tuple(rule_from(r, place) for r in rules)
    ids = [r.id for r in found]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise fail("same_rule", rules=", ".join(twice))
    return found


def rule_from(record: Mapping[str, Any], place: str) -> Criteria:
    """Return one rule from its table.

    Besides the fields of `Criteria` a table may hold ``title = { en = …, ru = … }``,
    ``combination = { at_least = k }`` and ``[rule.parameters]``; a criterion ``years``,
    ``procedures``, ``order`` and ``evidence`` in the words of the grammar.
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
    _known(rule, [f.name for f in fields(Criteria) if f.name != "criteria"], place)
    _required(rule, ("id", "version", "title_en", "title_ru"), place)
    criteria = tuple(_criterion(line, rule, place) for line in lines)
    if any(c.column == SHARE for c in criteria) and "procedures" not in rule:
        raise fail("procedures_required", rule=rule["id"])
    if rule.get("procedures") == "all":
        rule["procedures"] = ()
    own: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in rule.items()}
    return Criteria(criteria=criteria, **own)


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


def toml_text(record: Mapping[str, Any]) -> str:
    """Return a rule's plain data as the text of a criteria file."""
    lines = ["[[rule]]", *(f"{k} = {_toml(v)}" for k, v in record.items() if k != "criterion")]
    for criterion in record["criterion"]:
        lines += ["", "[[rule.criterion]]", *(f"{k} = {_toml(v)}" for k, v in criterion.items())]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        for sign, code in (("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
            escaped = escaped.replace(sign, code)
        return f'"{escaped}"'
    return repr(value)
