"""What a newer version of a rule, or of a criteria file, changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from resilience.detection.rules.criterion import Criterion
from resilience.detection.rules.rule import Rule
from resilience.detection.rules.wording import describe_criterion, field_label, printed_value
from resilience.i18n import check_language, text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare_rules"]

COLUMNS = ("rule_id", "criterion", "field", "field_label", "old_value", "new_value", "change")
Row = tuple[str, str, str, str, str, str, str]


def compare_rules(old: Sequence[Rule], new: Sequence[Rule], lang: str) -> pd.DataFrame:
    """Return what differs, one row per field, criterion or rule; see `Criteria.diff`.

    One rule beside one rule is compared whatever their ids; more are paired by id.
    """
    import pandas as pd

    check_language(lang)
    if len(old) == len(new) == 1:
        rows = _compare(old[0], new[0], lang)
    else:
        rows = _compare_files(old, new, lang)
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=str)


def _compare_files(old: Sequence[Rule], new: Sequence[Rule], lang: str) -> list[Row]:
    before, after = {r.id: r for r in old}, {r.id: r for r in new}
    rows: list[Row] = []
    for name in _both(before, after):
        if name in before and name in after:
            rows += _compare(before[name], after[name], lang)
        else:
            there = before.get(name) or after[name]
            shown = f"{there.title(lang)} ({there.version})"
            rows.append(_one_sided(name, "", shown, name in before, lang))
    return rows


def _compare(old: Rule, new: Rule, lang: str) -> list[Row]:
    rows = _fields(new.id, "", _record(old), _record(new), lang)
    before, after = ({c.name: c for c in rule} for rule in (old, new))
    for name in _both(before, after):
        if name in before and name in after:
            rows += _fields(new.id, name, _record(before[name]), _record(after[name]), lang)
        else:
            own = before.get(name) or after[name]
            shown = describe_criterion(own, lang)
            rows.append(_one_sided(new.id, name, shown, name in before, lang))
    return rows


def _record(part: Rule | Criterion) -> dict[str, Any]:
    """Return every field, those left at their default included."""
    return {f.name: getattr(part, f.name) for f in fields(part) if f.name != "criteria"}


def _fields(
    rule: str, criterion: str, before: dict[str, Any], after: dict[str, Any], lang: str
) -> list[Row]:
    change = text("rules.changed").localized(lang)
    return [
        (
            rule,
            criterion,
            name,
            field_label(name, lang),
            printed_value(before.get(name), lang),
            printed_value(after.get(name), lang),
            change,
        )
        for name in _both(before, after)
        if before.get(name) != after.get(name)
    ]


def _one_sided(rule: str, criterion: str, shown: str, gone: bool, lang: str) -> Row:
    """Return the row of a rule or criterion that only one side has."""
    label = text("rules.part_criterion" if criterion else "rules.part_rule").localized(lang)
    change = text("rules.removed" if gone else "rules.added").localized(lang)
    sides = (shown, "") if gone else ("", shown)
    return (rule, criterion, "", label, *sides, change)


def _both(here: Iterable[str], there: Iterable[str]) -> list[str]:
    """Return the names of both sides in their order, those of the old one first."""
    return list(dict.fromkeys([*here, *there]))
