"""What the appendix prints of each rule: identity, status, words, and the value of every knob."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from resilience.i18n import Bilingual

__all__ = ["RuleFacts", "rules_applied"]

_IDENTITY = {"id", "version", "status", "title", "reference", "second_hand", "description", "name"}
_CRITERIA_KEYS = ("criterion", "criteria")


@dataclass(frozen=True, kw_only=True)
class RuleFacts:
    """One rule as it was applied.

    Attributes
    ----------
    rule_id, version, status : str
        Identity and status (``documented``, ``unverified``, ``proposal``).
    title : str
        In the reader's language.
    references : tuple of str
        Keys of the sources of the rule and of its criteria.
    second_hand : bool
        Whether the official text itself was not compared, only a publication that quotes it.
    description : tuple of str
        Sentences in the reader's language.
    parameters : tuple of (str, str, str)
        Criterion (empty for the whole rule), parameter, value.
    """

    rule_id: str
    version: str
    status: str
    title: str
    references: tuple[str, ...]
    second_hand: bool
    description: tuple[str, ...]
    parameters: tuple[tuple[str, str, str], ...]

    @property
    def weighs_losses(self) -> bool:
        """Whether a probability is held against the losses of a wrong answer."""
        return any("loss" in name for _, name, _ in self.parameters)


def rules_applied(found: Any, lang: str) -> tuple[RuleFacts, ...]:
    """Return the facts of every rule of a detection, in the order of application."""
    known = {str(rule.id): rule for rule in getattr(found, "rules", ())}
    order = list(dict.fromkeys([*known, *map(str, found.schools["rule_id"].unique())]))
    return tuple(_facts(i, known.get(i), found, lang) for i in order)


def _facts(rule_id: str, rule: Any, found: Any, lang: str) -> RuleFacts:
    record = _record(rule)
    criteria = _criteria_of(record)
    references = [
        *_keys(getattr(rule, "reference", None)),
        *(key for c in criteria for key in _keys(c.get("reference"))),
    ]
    parameters = tuple(_parameters(record, criteria, lang)) or _thresholds(found, rule_id, lang)
    return RuleFacts(
        rule_id=rule_id,
        version=str(getattr(rule, "version", "") or ""),
        status=str(getattr(rule, "status", "") or "unverified"),
        title=_wording(rule, "title", lang) or rule_id,
        references=tuple(dict.fromkeys(references)),
        second_hand=bool(getattr(rule, "second_hand", record.get("second_hand", False))),
        description=_sentences(_wording(rule, "describe", lang)),
        parameters=parameters,
    )


def _record(rule: Any) -> Mapping[str, Any]:
    """Return the rule as it stands in a criteria file."""
    if rule is None or not hasattr(rule, "to_dict"):
        return {}
    record: Any = rule.to_dict()
    inner = record.get("rule", record)
    if isinstance(inner, Sequence) and not isinstance(inner, str):
        inner = inner[0] if inner else {}
    return inner if isinstance(inner, Mapping) else {}


def _criteria_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    for key in _CRITERIA_KEYS:
        if key in record:
            return [c for c in record[key] if isinstance(c, Mapping)]
    return []


def _parameters(
    record: Mapping[str, Any], criteria: Sequence[Mapping[str, Any]], lang: str
) -> Iterator[tuple[str, str, str]]:
    own = {k: v for k, v in record.items() if k not in _IDENTITY and k not in _CRITERIA_KEYS}
    for name, value in _flat(own):
        yield "", name, _printed(value, lang)
    for criterion in criteria:
        label = str(criterion.get("name", ""))
        inner = {k: v for k, v in criterion.items() if k not in _IDENTITY}
        for name, value in _flat(inner):
            yield label, name, _printed(value, lang)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if value is None or value == "":
            continue
        if isinstance(value, Mapping):
            head = prefix if name == "parameters" else f"{prefix}{name}."
            yield from _flat(value, head)
        else:
            yield f"{prefix}{name}", value


def _thresholds(found: Any, rule_id: str, lang: str) -> tuple[tuple[str, str, str], ...]:
    """Return the thresholds of the table of criteria, for rules that bring no record."""
    table = getattr(found, "criteria", None)
    if not isinstance(table, pd.DataFrame) or "rule_id" not in table:
        return ()
    mine = table[table["rule_id"].astype(str) == rule_id]
    names = [c for c in ("threshold", "scale") if c in mine]
    rows = mine.drop_duplicates(["criterion", *names]) if len(mine) else mine
    return tuple(
        (str(row["criterion"]), name, _printed(row[name], lang))
        for row in rows.to_dict(orient="records")
        for name in names
        if pd.notna(row[name])
    )


def _printed(value: Any, lang: str) -> str:
    if isinstance(value, Bilingual):
        return value.localized(lang)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}".replace(".", ",") if lang == "ru" else f"{value:.10g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(_printed(v, lang) for v in value)
    return str(value)


def _wording(rule: Any, name: str, lang: str) -> Any:
    value = getattr(rule, name, "")
    if callable(value):
        value = value(lang)
    return value.localized(lang) if isinstance(value, Bilingual) else value


def _sentences(value: Any) -> tuple[str, ...]:
    lines = value.splitlines() if isinstance(value, str) else [str(v) for v in value or ()]
    return tuple(line.strip().lstrip("*-• ").strip() for line in lines if line.strip())


def _keys(value: Any) -> list[str]:
    if not value:
        return []
    if isinstance(value, str):
        return [key.strip() for key in value.replace(";", ",").split(",") if key.strip()]
    return [str(v) for v in value]
