"""Criteria files read into the fields of rules, written back, and the presets that ship."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from resilience.detection.rules.criterion import fail
from resilience.detection.rules.grammar import rule_fields
from resilience.validation import nearest_names

__all__ = ["fields_of_text", "preset_fields", "preset_ids", "read_fields", "toml_text"]

# Other names under which official texts and the specification know a preset.
ALIASES = {
    "shnor_2020_2024": "low_results_any",
    "low_results_2025_any": "low_results_any",
    "low_results_2020_2024_any": "low_results_any",
    "low_results_2025_any_guarded": "low_results_any_guarded",
    "low_results_guarded_or": "low_results_2025_or_guarded",
    "low_results_guarded_and": "low_results_2025_and_guarded",
    "low_results_guarded_any": "low_results_any_guarded",
    "low_by_z": "low_z",
    "low_by_region_gap": "low_region_gap",
    "quadrant": "resilient_quadrant",
    "residual": "resilient_residual",
    "adverse_context_25": "adverse_context",
}
FEDERAL = ("shnor_2025", "low_results_2025")
# Names that stand for several presets, which differ in a number no document gives.
FAMILIES = {
    "low_by_quantile": ("low_quantile_10", "low_quantile_25"),
    "low_quantile": ("low_quantile_10", "low_quantile_25"),
    "persistent": ("persistent_2_of_3", "persistent_3_of_3"),
    "hse_split": ("hse_split_exam", "hse_split_attainment"),
}

Fields = dict[str, Any]


def preset_fields(name: str, connective: str | None = None) -> Fields:
    """Return the fields of a preset; see `Criteria.preset`."""
    known = _presets()
    if name in FEDERAL:
        if connective not in ("or", "and"):
            raise fail("connective", name=name, value=repr(connective))
        return known[f"low_results_2025_{connective}"]
    if connective is not None:
        raise fail("connective_alone", name=repr(name), value=repr(connective))
    if name in FAMILIES:
        raise fail("family", name=repr(name), presets=", ".join(FAMILIES[name]))
    name = ALIASES.get(name, name)
    if name not in known:
        options = [*known, *ALIASES, *FAMILIES]
        raise fail("preset", name=repr(name), nearest=nearest_names(name, options))
    return known[name]


def preset_ids() -> tuple[str, ...]:
    """Return the ids of all preset rules, sorted."""
    return tuple(sorted(_presets()))


@cache
def _presets() -> dict[str, Fields]:
    root = resources.files("resilience") / "detection" / "rules" / "presets"
    files = sorted((f for f in root.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    rules = [r for f in files for r in fields_of_text(f.read_text(encoding="utf-8"), f.name)]
    return {rule["id"]: rule for rule in rules}


def read_fields(path: str | Path) -> tuple[Fields, ...]:
    """Return the fields of all rules of a criteria file; see `Criteria.from_toml`."""
    place = Path(path)
    try:
        content = place.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise fail("file", path=place.name, problem=error.strerror or error) from error
    except UnicodeDecodeError as error:
        raise fail("toml", path=place.name, problem=error) from error
    return fields_of_text(content, place.name)


def fields_of_text(content: str, place: str = "criteria") -> tuple[Fields, ...]:
    """Return the fields of the rules of the text of a criteria file.

    Raises
    ------
    SpecificationError
        If it is no TOML, or a rule is not of the grammar.
    """
    try:
        record = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise fail("toml", path=place, problem=error) from error
    unknown = [k for k in record if k != "rule"]
    rules = record.get("rule")
    if unknown or not isinstance(rules, list) or not rules:
        raise fail("file_keys", path=place, keys=", ".join(unknown) or "—")
    found = tuple(rule_fields(r, place) for r in rules)
    ids = [str(r["id"]) for r in found]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise fail("same_rule", rules=", ".join(twice))
    return found


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
