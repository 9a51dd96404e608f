"""Rules and verdicts in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resilience.columns import label
from resilience.detection.rules.criterion import SHARE, Criterion, is_flag
from resilience.detection.rules.rule import Rule
from resilience.i18n import Bilingual, check_language, has_text, text

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "describe_criterion",
    "describe_rule",
    "describe_verdict",
    "field_label",
    "printed",
    "printed_value",
    "table_of_rules",
]


def printed(value: float, digits: int = 3) -> Bilingual:
    """Return a number for both languages: a decimal comma in Russian."""
    return Bilingual(_number(value, "en", digits), _number(value, "ru", digits))


def _number(value: float, lang: str, digits: int = 3) -> str:
    shown = f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
    shown = "0" if shown in ("-0", "") else shown.replace("-", "−")
    return shown.replace(".", ",") if lang == "ru" else shown


def printed_value(value: object, lang: str) -> str:
    """Return the value of a field as text: lists by commas, nothing for what is not set."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return text("verdicts.yes" if value else "verdicts.no").localized(lang)
    if isinstance(value, int | float):
        return _number(float(value), lang, 6)
    if isinstance(value, list | tuple):
        return ", ".join(printed_value(v, lang) for v in value)
    return str(value)


def field_label(name: str, lang: str) -> str:
    """Return what a field of a rule or criterion is called."""
    own = f"rules.field_{name}"
    return text(own if has_text(own) else f"appendix.parameter_{name}").localized(lang)


def describe_criterion(criterion: Criterion, lang: str) -> str:
    """Return one criterion as a phrase with all its values."""
    words = [_bound(criterion, lang), *_counted(criterion, lang), *_when(criterion, lang)]

    def say(key: str, **values: object) -> None:
        words.append(text(f"detection.{key}", **values).localized(lang))

    if criterion.within:
        say("within_strata", columns=", ".join(label(name, lang) for name in criterion.within))
    if criterion.min_participants > 1:
        say("with_participants", n=criterion.min_participants)
    if criterion.floor > 0:
        say("with_floor", value=_number(criterion.floor, lang))
    if criterion.level is not None:
        say("with_interval", level=_number(100 * criterion.level, lang))
    if criterion.evidence == "posterior":
        say(
            "with_posterior",
            threshold=_number(criterion.losses.threshold, lang),
            fp=_number(criterion.loss_false_positive, lang),
            fn=_number(criterion.loss_false_negative, lang),
        )
    if criterion.weight != 1:
        say("with_weight", weight=_number(criterion.weight, lang))
    return ", ".join(words)


def _bound(criterion: Criterion, lang: str) -> str:
    """Return the column with its bound; a flag has no bound but an answer."""
    name = label(criterion.column, lang)
    if is_flag(criterion.column):
        answer = criterion.direction in ("at_least", "above")
        return f"{name}: {text('verdicts.yes' if answer else 'verdicts.no').localized(lang)}"
    ends = [_number(float(v), lang) for v in criterion.ends]
    key = "bound_open_above" if criterion.open_above else f"bound_{criterion.direction}"
    high = {"high": ends[-1]} if criterion.direction == "between" else {}
    bound = text(f"detection.{key}", value=ends[0], **high).localized(lang)
    return f"{name} {bound}{text(f'detection.scale_{criterion.scale}').localized(lang)}"


def _counted(criterion: Criterion, lang: str) -> list[str]:
    """Return in how many procedures or subjects it must hold."""
    k: object
    if criterion.column == SHARE:
        k = criterion.procedures_at_least
        if criterion.evidence != "posterior":
            key = "in_every_procedure" if k == "all" else "in_procedures"
        elif k == 1:
            return []
        else:
            key = "long_run_every_procedure" if k == "all" else "long_run_procedures"
    elif criterion.subjects == "mean":
        return []
    else:
        k = {"any": 1, "all": "all"}.get(str(criterion.subjects), criterion.subjects)
        key = "in_every_subject" if k == "all" else "in_subjects"
    values = {} if k == "all" else {"k": k}
    return [text(f"detection.{key}", **values).localized(lang)]


def _when(criterion: Criterion, lang: str) -> list[str]:
    """Return which years it speaks of."""
    k, n = criterion.years_at_least, criterion.years_of
    if criterion.column == SHARE and criterion.evidence == "posterior":
        if criterion.procedures_at_least != 1 and n == 1:
            return []
        return [text("detection.pooled_years", n=n).localized(lang)]
    if n > 1:
        key = "in_years"
        if criterion.column == SHARE:
            key = "in_years_same" if criterion.order == "years" else "in_years_any"
        elif criterion.evidence == "posterior":
            key = "in_years_event"
        return [text(f"detection.{key}", k=k, n=n).localized(lang)]
    keys = {"mean": "mean_of_years", "next_year": "of_next_year", "persistent": "persistent_part"}
    if criterion.years is None or criterion.years == "latest":
        return []
    return [text(f"detection.{keys[criterion.years]}").localized(lang)]


def describe_rule(rule: Rule, lang: str) -> str:
    """Return the rule: title, id, version, standing, every criterion with its values."""

    def say(key: str, **values: object) -> str:
        return text(f"detection.{key}", **values).localized(lang)

    status = say(f"status_{rule.status}") + (say("second_hand") if rule.second_hand else "")
    head = say("rule_head", title=rule.title(lang), id=rule.id, version=rule.version)
    lines = [f"{head} {status}"]
    if rule.unit == "pupil":
        lines.append(say("names_pupils"))
    if len(rule.criteria) > 1:
        lines.append(_combination(rule, lang))
    lines += [f"  – {c.name}: {describe_criterion(c, lang)}" for c in rule.criteria]
    if rule.reads_counts:
        chosen = ", ".join(rule.procedures)
        lines.append(
            "  " + say("procedures_are" if chosen else "procedures_all", procedures=chosen)
        )
    lines += [f"  {line}" for line in _guards(rule, lang)]
    if rule.joint_criteria:
        knobs = {
            "p_no": rule.p_no,
            "reliability": rule.min_context_reliability,
            "coverage": rule.min_coverage,
            "alternative": rule.alternative_quantile,
            "fdr": rule.fdr,
        }
        shown = {k: _number(float(v or 0.0), lang) for k, v in knobs.items()}
        lines.append("  " + say("posterior_knobs", **shown))
    if " " in rule.reference:
        lines.append("  " + say("source", source=rule.reference))
    return "\n".join(lines)


def _combination(rule: Rule, lang: str) -> str:
    k = rule.combination
    if isinstance(k, str):
        return text(f"detection.combine_{k}").localized(lang)
    weighted = any(c.weight != 1 for c in rule.criteria)
    key = "combine_weight" if weighted else "combine_k"
    return text(f"detection.{key}", k=_number(float(k), lang)).localized(lang)


def _guards(rule: Rule, lang: str) -> list[str]:
    """Return who is left aside, and when there is no verdict."""
    own = {
        "in_year": None if rule.year is None else {"year": rule.year},
        "excludes_selective": {} if rule.exclude_selective else None,
        "excludes_flagged": {} if rule.exclude_flagged else None,
        "excludes_flagged_vpr": {} if rule.exclude_flagged_vpr else None,
        "needs_pupils": {"n": rule.min_pupils} if rule.min_pupils > 1 else None,
    }
    return [
        text(f"detection.{key}", **values).localized(lang)
        for key, values in own.items()
        if values is not None
    ]


def table_of_rules(rules: Sequence[Rule], lang: str) -> pd.DataFrame:
    """Return one row per rule: id, version, standing, what it names, title, source."""
    import pandas as pd

    check_language(lang)
    rows = [
        (
            rule.id,
            rule.version,
            rule.status,
            rule.unit,
            rule.target,
            rule.title(lang),
            rule.reference,
        )
        for rule in rules
    ]
    names = ["rule_id", "rule_version", "rule_status", "rule_unit", "rule_target", "rule_title"]
    names.append("reference")
    return pd.DataFrame(rows, columns=names, dtype=str)


def describe_verdict(rule: Rule, row: Any, lines: pd.DataFrame, lang: str) -> str:
    """Return a verdict in words: the answer, its probability, its reason, what would change it."""
    verdict = text(f"verdicts.{row['verdict']}").localized(lang)
    words = [text("detection.verdict_is", title=rule.title(lang), verdict=verdict).localized(lang)]
    if row["probability"] == row["probability"]:
        words.append(
            text(
                "detection.probability_is",
                p=_number(float(row["probability"]), lang),
                threshold=_number(float(row["threshold"]), lang),
            ).localized(lang)
        )
    reason = row["reason"]
    if reason:
        words.append(reason.localized(lang) if hasattr(reason, "localized") else str(reason))
    if row["certainty"]:
        words.append(text(f"detection.{row['certainty']}_means").localized(lang))
    words += _change(rule, row, lines, lang)
    return " ".join(words)


def _change(rule: Rule, row: Any, lines: pd.DataFrame, lang: str) -> list[str]:
    """Say what would have to be different for another answer."""
    verdict = row["verdict"]
    years = row["years_needed"]
    if verdict == "insufficient_data" and years == years and years != float("inf"):
        pupils = row["pupils_needed"]
        if pupils == pupils and pupils != float("inf"):
            return [
                text(
                    "detection.needed_both",
                    years=_number(float(years), lang, 0),
                    pupils=_number(float(pupils), lang, 0),
                ).localized(lang)
            ]
        return [text("detection.needed", years=_number(float(years), lang, 0)).localized(lang)]
    if verdict not in ("yes", "no"):
        return []
    own = lines[lines["rule_id"] == rule.id]
    against = own[own["verdict"] != verdict]
    phrases = {c.name: describe_criterion(c, lang) for c in rule.criteria}
    names = own[own["verdict"] == verdict]["criterion"].astype(str)
    decisive = "; ".join(f"«{phrases[name]}»" for name in names)
    if not decisive:
        return []
    if verdict == "no":
        key = "turn_all" if rule.combination == "all" else "turn_any"
    elif rule.combination == "any" and len(rule.criteria) > 1:
        key = "turn_back_any" if len(against) else "turn_back_both"
    else:
        key = "turn_back"
    return [text(f"detection.{key}", criteria=decisive).localized(lang)]
