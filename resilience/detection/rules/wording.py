"""Rules and verdicts in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilience.columns import label
from resilience.detection.rules.criterion import SHARE
from resilience.i18n import Bilingual, text

if TYPE_CHECKING:
    import pandas as pd

    from resilience.detection.rules.criteria import Criteria
    from resilience.detection.rules.criterion import Criterion

__all__ = ["describe_criterion", "describe_rule", "describe_verdict", "printed"]


def printed(value: float, digits: int = 3) -> Bilingual:
    """Return a number for both languages: a decimal comma in Russian."""
    return Bilingual(_number(value, "en", digits), _number(value, "ru", digits))


def _number(value: float, lang: str, digits: int = 3) -> str:
    shown = f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
    shown = "0" if shown in ("-0", "") else shown.replace("-", "−")
    return shown.replace(".", ",") if lang == "ru" else shown


def describe_criterion(criterion: Criterion, lang: str) -> str:
    """Return one criterion as a phrase with all its values."""

    def say(key: str, **values: object) -> str:
        return text(f"detection.{key}", **values).localized(lang)

    ends = [_number(float(v), lang) for v in criterion.ends]
    bound = say(f"bound_{criterion.direction}", value=ends[0], **_high(criterion, ends))
    words = [f"{label(criterion.column, lang)} {bound}{say(f'scale_{criterion.scale}')}"]
    counted = criterion.column == SHARE and criterion.evidence == "point"
    if counted and criterion.procedures_at_least == "all":
        words.append(say("in_every_procedure"))
    elif counted:
        words.append(say("in_procedures", k=criterion.procedures_at_least))
    if criterion.column == SHARE and not counted:
        words.append(say("pooled_years", n=criterion.years_of))
    elif criterion.years_of > 1:
        same = "same" if criterion.order == "years" else "any"
        key = f"in_years_{same}" if criterion.column == SHARE else "in_years"
        words.append(say(key, k=criterion.years_at_least, n=criterion.years_of))
    if criterion.years == "mean":
        words.append(say("mean_of_years"))
    if criterion.within:
        names = ", ".join(label(name, lang) for name in criterion.within)
        words.append(say("within_strata", columns=names))
    if criterion.min_participants > 1:
        words.append(say("with_participants", n=criterion.min_participants))
    if criterion.floor > 0:
        words.append(say("with_floor", value=_number(criterion.floor, lang)))
    if criterion.level is not None:
        words.append(say("with_interval", level=_number(100 * criterion.level, lang)))
    if criterion.evidence == "posterior":
        words.append(
            say(
                "with_posterior",
                threshold=_number(criterion.losses.threshold, lang),
                fp=_number(criterion.loss_false_positive, lang),
                fn=_number(criterion.loss_false_negative, lang),
            )
        )
    return ", ".join(words)


def _high(criterion: Criterion, ends: list[str]) -> dict[str, str]:
    return {"high": ends[-1]} if criterion.direction == "between" else {}


def describe_rule(rule: Criteria, lang: str) -> str:
    """Return the rule: title, id, version, standing, every criterion with its values."""

    def say(key: str, **values: object) -> str:
        return text(f"detection.{key}", **values).localized(lang)

    status = say(f"status_{rule.status}") + (say("second_hand") if rule.second_hand else "")
    head = say("rule_head", title=rule.title(lang), id=rule.id, version=rule.version)
    lines = [f"{head} {status}"]
    if len(rule.criteria) > 1:
        named = rule.combination in ("all", "any")
        lines.append(
            say(f"combine_{rule.combination}") if named else say("combine_k", k=rule.combination)
        )
    lines += [f"  – {c.name}: {describe_criterion(c, lang)}" for c in rule.criteria]
    if rule.reads_counts:
        chosen = ", ".join(rule.procedures)
        lines.append(
            "  " + say("procedures_are" if chosen else "procedures_all", procedures=chosen)
        )
    if rule.year is not None:
        lines.append("  " + say("in_year", year=rule.year))
    if rule.exclude_selective:
        lines.append("  " + say("excludes_selective"))
    if rule.min_pupils > 1:
        lines.append("  " + say("needs_pupils", n=rule.min_pupils))
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
    if row["certainty"]:
        words.append(text(f"detection.{row['certainty']}_means").localized(lang))
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
