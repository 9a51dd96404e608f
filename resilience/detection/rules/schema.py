"""The JSON Schema of criteria files: what an editor needs to complete and to check them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from resilience.columns import column, column_names
from resilience.detection.rules.criterion import (
    BOUNDS,
    SHARE,
    Evidence,
    Scale,
    Status,
    Subjects,
    Years,
)
from resilience.detection.rules.rule import Target, Unit
from resilience.errors import OutputError
from resilience.i18n import text

__all__ = ["rules_schema", "write_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

FRACTION: Schema = {"type": "number", "minimum": 0, "maximum": 1}
INSIDE: Schema = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
KNOB: Schema = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
POSITIVE: Schema = {"type": "number", "exclusiveMinimum": 0}
COUNT: Schema = {"type": "integer", "minimum": 1}
WORDS: Schema = {"type": "string", "pattern": "\\S"}
FLAG: Schema = {"type": "boolean"}
NAMES: Schema = {"type": "array", "items": WORDS, "uniqueItems": True}


def rules_schema(lang: str) -> Schema:
    """Return the schema with descriptions in ``lang``; see `Criteria.json_schema`."""
    return {
        "$schema": DIALECT,
        "$id": "urn:resilience:criteria",
        "title": text("rules.schema_title").localized(lang),
        "description": text("rules.schema_meaning").localized(lang),
        "type": "object",
        "properties": {"rule": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/rule"}}},
        "required": ["rule"],
        "additionalProperties": False,
        "$defs": {"rule": _rule(lang), "criterion": _criterion(lang)},
    }


def write_schema(path: str | Path, lang: str) -> Path:
    """Write the schema as JSON in UTF-8 and return its path.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    place = Path(path)
    content = json.dumps(rules_schema(lang), ensure_ascii=False, indent=2) + "\n"
    try:
        place.write_text(content, encoding="utf-8", newline="\n")
    except OSError as error:
        problem = error.strerror or str(error)
        raise OutputError(text("rules.not_written", path=place.name, problem=problem)) from error
    return place


def _one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def _table(**fields: Schema) -> Schema:
    """Return a table that holds exactly these keys."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def _either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _described(fields: dict[str, Schema], keys: dict[str, str], lang: str) -> dict[str, Schema]:
    return {
        name: {"description": text(keys[name]).localized(lang), **schema}
        for name, schema in fields.items()
    }


def _rule_fields() -> dict[str, Schema]:
    at_least = _table(at_least=POSITIVE)
    return {
        "id": WORDS,
        "version": WORDS,
        "title": _either(WORDS, _table(en=WORDS, ru=WORDS)),
        "title_en": WORDS,
        "title_ru": WORDS,
        "target": _one_of(*get_args(Target)),
        "unit": _one_of(*get_args(Unit)),
        "status": _one_of(*get_args(Status)),
        "second_hand": FLAG,
        "reference": {"type": "string"},
        "combination": _either(_one_of("all", "any"), POSITIVE, at_least),
        "procedures": _either({"const": "all"}, {**NAMES, "minItems": 1, "uniqueItems": True}),
        "year": COUNT,
        "exclude_selective": FLAG,
        "exclude_flagged": FLAG,
        "exclude_flagged_vpr": FLAG,
        "needs": {**NAMES, "items": {"type": "string", "pattern": "^[^.]+\\..+$"}},
        "min_pupils": COUNT,
        "p_no": KNOB,
        "min_coverage": KNOB,
        "min_context_reliability": KNOB,
        "alternative_quantile": KNOB,
        "fdr": KNOB,
    }


def _rule(lang: str) -> Schema:
    own = _rule_fields()
    fields = _described(own, {name: f"rules.key_{name}" for name in own}, lang)
    parameters = {
        "type": "object",
        "description": text("rules.key_parameters").localized(lang),
        "properties": fields,
        "additionalProperties": False,
    }
    lines = {
        "type": "array",
        "minItems": 1,
        "description": text("rules.key_criterion").localized(lang),
        "items": {"$ref": "#/$defs/criterion"},
    }

    def has(name: str) -> Schema:
        """Say that a key stands in the rule or among its parameters."""
        nested = {"properties": {"parameters": {"required": [name]}}, "required": ["parameters"]}
        return _either({"required": [name]}, nested)

    of_shares = {
        "properties": {"criterion": {"contains": {"properties": {"column": {"const": SHARE}}}}},
        "required": ["criterion"],
    }
    titles = _either({"required": ["title"]}, {"allOf": [has("title_en"), has("title_ru")]})
    return {
        "type": "object",
        "properties": {**fields, "parameters": parameters, "criterion": lines},
        "required": ["criterion"],
        "additionalProperties": False,
        "allOf": [
            has("id"),
            has("version"),
            titles,
            {"if": of_shares, "then": has("procedures")},
        ],
    }


def _criterion_fields() -> dict[str, Schema]:
    pair = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    losses = _table(loss_false_positive=POSITIVE, loss_false_negative=POSITIVE)
    evidence = _either(
        _one_of(*get_args(Evidence)),
        _table(interval=_table(level=INSIDE)),
        _table(posterior=losses),
    )
    both = {"enum": [["procedures", "years"], ["years", "procedures"]]}
    years = _either(_one_of(*get_args(Years)), _table(at_least=COUNT, of=COUNT))
    subjects = _either(_one_of(*get_args(Subjects)), COUNT, _table(at_least=COUNT))
    return {
        "name": WORDS,
        "column": {"enum": list(column_names())},
        **{name: {"type": "number"} for name in BOUNDS if name != "between"},
        "between": pair,
        "open_above": FLAG,
        "scale": _one_of(*get_args(Scale)),
        "evidence": evidence,
        "level": INSIDE,
        "loss_false_positive": POSITIVE,
        "loss_false_negative": POSITIVE,
        "procedures": _either(_one_of("any", "all"), _table(at_least=COUNT)),
        "procedures_at_least": _either({"const": "all"}, COUNT),
        "years": years,
        "years_at_least": COUNT,
        "years_of": COUNT,
        "order": _either(_one_of("procedures", "years"), both),
        "within": {**NAMES, "items": {"enum": list(column_names())}},
        "subjects": subjects,
        "weight": POSITIVE,
        "min_participants": COUNT,
        "min_pupils": COUNT,
        "floor": {"type": "number", "minimum": 0},
        "reference": {"type": "string"},
        "status": _one_of(*get_args(Status)),
    }


def _criterion(lang: str) -> Schema:
    own = _criterion_fields()
    shares = [n for n in column_names() if column(n).kind in ("share", "probability")]
    flags = [n for n in column_names() if column(n).kind == "flag"]
    by_effect = {"properties": {"column": {"const": "effect"}}}
    posterior = {
        "properties": {
            "evidence": _either({"const": "posterior"}, {"required": ["posterior"]}),
        },
        "required": ["evidence"],
    }
    in_words = {"enum": ["persistent", "next_year"]}
    return {
        "type": "object",
        "properties": _described(own, {name: f"rules.line_{name}" for name in own}, lang),
        "required": ["name", "column"],
        "additionalProperties": False,
        # exactly one bound
        "oneOf": [{"required": [name]} for name in BOUNDS],
        "allOf": [
            {"if": _on(shares, {"enum": ["value", "probability"]}), "then": _bounds(FRACTION)},
            {"if": _scale({"enum": ["quantile", "probability"]}), "then": _bounds(FRACTION)},
            {"if": _on(flags, {"const": "value"}), "then": _bounds({"enum": [0, 1]})},
            {"if": {"required": ["open_above"]}, "then": {"required": ["between"]}},
            {
                "if": {"properties": {"years": in_words}, "required": ["years"]},
                "then": {"allOf": [by_effect, posterior]},
            },
            {"if": {"required": ["level"]}, "then": _evidence("interval")},
        ],
    }


def _on(names: list[str], scale: Schema) -> Schema:
    """Say that the column is one of these and the bound on this scale; none written is value."""
    return {
        "properties": {"column": {"enum": names}, "scale": scale},
        "required": ["column"],
    }


def _scale(scale: Schema) -> Schema:
    return {"properties": {"scale": scale}, "required": ["scale"]}


def _bounds(number: Schema) -> Schema:
    single: dict[str, Schema] = {name: number for name in BOUNDS if name != "between"}
    return {"properties": {**single, "between": {"items": number}}}


def _evidence(kind: str) -> Schema:
    return {"properties": {"evidence": {"const": kind}}, "required": ["evidence"]}
