"""Rules and verdicts in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilience.columns import label
from resilience.i18n import text

if TYPE_CHECKING:
    import pandas as pd

    from resilience.detection.criteria import Criteria, Criterion

__all__ = ["describe_criterion", "describe_rule", "describe_verdict"]


def _number(value: float, lang: str, digits: int = 3) -> str:
    shown = f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
    shown = "0" if shown in ("-0", "") else shown.replace("-", "−")
    return shown.replace(".", ",") if lang == "ru" else shown


def describe_criterion(criterion: Criterion, lang: str) -> str:
    """Return one criterion as a phrase with all its values."""
    bound = text(
        f"detection.bound_{criterion.direction}", value=_number(criterion.bound, lang)
    ).localized(lang)
    scale = text(f"detection.scale_{criterion.scale}").localized(lang)
    words = [f"{label(criterion.column, lang)} {bound}{scale}"]
    if criterion.procedures_at_least > 1 or criterion.column == "share_below_minimum":
        words.append(
            text("detection.in_procedures", k=criterion.procedures_at_least).localized(lang)
        )
    if criterion.years_of > 1 and criterion.evidence == "point":
        same = "same" if criterion.order == "years" else "any"
        key = f"in_years_{same}" if criterion.column == "share_below_minimum" else "in_years"
        words.append(
            text(f"detection.{key}", k=criterion.years_at_least, n=criterion.years_of).localized(
                lang
            )
        )
    if criterion.min_participants > 1:
        words.append(
            text("detection.with_participants", n=criterion.min_participants).localized(lang)
        )
    if criterion.floor > 0:
        words.append(
            text("detection.with_floor", value=_number(criterion.floor, lang)).localized(lang)
        )
    if criterion.evidence == "posterior":
        words.append(
            text(
                "detection.with_posterior",
                threshold=_number(criterion.losses.threshold, lang),
                fp=_number(criterion.loss_false_positive, lang),
                fn=_number(criterion.loss_false_negative, lang),
            ).localized(lang)
        )
    return ", ".join(words)


def describe_rule(rule: Criteria, lang: str) -> str:
    """Return the rule: title, id, version, standing, every criterion with its values."""
    status = text(f"detection.status_{rule.status}").localized(lang)
    if rule.second_hand:
        status += text("detection.second_hand").localized(lang)
    head = text(
        "detection.rule_head", title=rule.title(lang), id=rule.id, version=rule.version
    ).localized(lang)
    lines = [f"{head} {status}"]
    if len(rule.criteria) > 1:
        lines.append(text(f"detection.combine_{rule.combination}").localized(lang))
    lines += [f"  – {c.name}: {describe_criterion(c, lang)}" for c in rule.criteria]
    if any(c.column == "share_below_minimum" for c in rule.criteria):
        chosen = ", ".join(rule.procedures)
        key = "procedures_are" if chosen else "procedures_all"
        lines.append("  " + text(f"detection.{key}", procedures=chosen).localized(lang))
    if rule.exclude_selective:
        lines.append("  " + text("detection.excludes_selective").localized(lang))
    if rule.min_pupils > 1:
        lines.append("  " + text("detection.needs_pupils", n=rule.min_pupils).localized(lang))
    return "\n".join(lines)


def describe_verdict(rule: Criteria, row: Any, lines: pd.DataFrame, lang: str) -> str:
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
    words += _change(rule, row, lines, lang)
    return " ".join(words)


def _change(rule: Criteria, row: Any, lines: pd.DataFrame, lang: str) -> list[str]:
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
    decisive = own[own["verdict"] == verdict]["criterion"].astype(str).tolist()
    if verdict == "no" and rule.combination == "all":
        return (
            [text("detection.turn_all", criteria=", ".join(decisive)).localized(lang)]
            if (decisive)
            else []
        )
    if verdict == "yes" and rule.combination == "any" and len(rule.criteria) > 1:
        key = "turn_back_any" if len(against) else "turn_back_both"
        return [text(f"detection.{key}", criteria=", ".join(decisive)).localized(lang)]
    if verdict == "no":
        return [text("detection.turn_any", criteria=", ".join(decisive)).localized(lang)]
    return [text("detection.turn_back", criteria=", ".join(decisive)).localized(lang)]
