"""What the appendix prints of each rule: identity, status, words, and the value of every knob."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import pandas as pd

from resilience.columns import label
from resilience.i18n import Bilingual, has_text, text
from resilience.reporting.draft import localized

__all__ = ["RuleFacts", "rules_applied"]

# Printed in the table of rules, or in the words of the rule, and not among its parameters.
_IDENTITY = {"id", "version", "status", "title_en", "title_ru", "title", "reference", "second_hand"}
_IDENTITY |= {"name", "target", "description", "needs", "unit"}
_CRITERIA = ("criterion", "criteria")
# Knobs that cannot matter: those of a posterior where a value is compared, those of the counts of
# marks where another column is.
_POSTERIOR = {"loss_false_positive", "loss_false_negative", "floor", "min_pupils", "p_no"}
_POSTERIOR |= {"min_coverage", "min_context_reliability", "alternative_quantile", "fdr"}
_COUNTS = {"procedures_at_least", "order", "min_participants", "procedures"}
_SHARE = "share_below_minimum"
# Guards and choices that are said only where they were made.
_USUAL = {
    "exclude_flagged": False,
    "exclude_flagged_vpr": False,
    "open_above": False,
    "subjects": "mean",
    "weight": 1.0,
}


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
        Sources of the rule and of its criteria: keys of the bibliography or citations in words.
    second_hand : bool
        Whether the official text itself was not compared, only a publication that quotes it.
    target : str
        What a yes means: ``low``, ``resilient``, ``adverse`` or ``other``.
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
    target: str
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
        target=str(getattr(rule, "target", "other")),
        description=_sentences(_wording(rule, "describe", lang), rule_id),
        parameters=parameters,
    )


def _record(rule: Any) -> dict[str, Any]:
    """Return every field of a rule, those at their defaults included."""
    if rule is None:
        return {}
    if is_dataclass(rule):
        return {f.name: getattr(rule, f.name) for f in fields(rule)}
    record = rule.to_dict() if hasattr(rule, "to_dict") else {}
    inner = record.get("rule", record)
    return dict(inner[0] if isinstance(inner, list) and inner else inner)


def _criteria_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = next((record[key] for key in _CRITERIA if key in record), ())
    return [dict(line) if isinstance(line, Mapping) else _record(line) for line in lines]


def _parameters(
    record: Mapping[str, Any], criteria: Sequence[Mapping[str, Any]], lang: str
) -> Iterator[tuple[str, str, str]]:
    posterior = any(c.get("evidence", "point") != "point" for c in criteria)
    of_counts = any(c.get("column") == _SHARE for c in criteria)
    for name, value in _flat(record):
        idle = (name in _POSTERIOR and not posterior) or (name in _COUNTS and not of_counts)
        if name not in _CRITERIA and not idle:
            yield "", name, _printed(value, name, lang)
    for criterion in criteria:
        posterior = criterion.get("evidence", "point") != "point"
        of_counts = criterion.get("column") == _SHARE
        for name, value in _flat(criterion):
            idle = (name in _POSTERIOR and not posterior) or (name in _COUNTS and not of_counts)
            if not idle:
                yield str(criterion.get("name", "")), name, _printed(value, name, lang)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if value is None or (name in _USUAL and value == _USUAL[name]):
            continue
        if not prefix and (name in _IDENTITY or name in _CRITERIA):
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
        (str(row["criterion"]), name, _printed(row[name], name, lang))
        for row in rows.to_dict(orient="records")
        for name in names
        if pd.notna(row[name])
    )


def _printed(value: Any, name: str, lang: str) -> str:
    if isinstance(value, bool):
        return text("verdicts.yes" if value else "verdicts.no").localized(lang)
    if isinstance(value, float):
        return f"{value:.10g}".replace(".", ",") if lang == "ru" else f"{value:.10g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        known = "; ".join(_printed(v, name, lang) for v in value)
        return known or text(f"appendix.value_{name}_empty").localized(lang)
    if name == "column":
        return f"{label(str(value), lang)} ({value})"
    key = f"appendix.value_{name}_{value}"
    return text(key).localized(lang) if has_text(key) else localized(value, lang)


def _wording(rule: Any, name: str, lang: str) -> Any:
    value = getattr(rule, name, "")
    if callable(value):
        value = value(lang)
    return value.localized(lang) if isinstance(value, Bilingual) else value


def _sentences(value: Any, rule_id: str) -> tuple[str, ...]:
    """Return the sentences of a description without the line that repeats the rule's identity."""
    lines = value.splitlines() if isinstance(value, str) else [str(v) for v in value or ()]
    plain = [line.strip().lstrip("*-•– ").strip() for line in lines if line.strip()]
    return tuple(line for i, line in enumerate(plain) if i or rule_id not in line)


def _keys(value: Any) -> list[str]:
    """Return the sources named: keys of the bibliography, or one citation in words."""
    if not value:
        return []
    if not isinstance(value, str):
        return [str(v) for v in value]
    return [value.strip()]
