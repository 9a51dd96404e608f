"""Section on the rules: each with id, version, status, every parameter and its source."""

from __future__ import annotations

from resilience.i18n import has_text, text
from resilience.reporting import formulas
from resilience.reporting.draft import Draft, Markup, escape
from resilience.reporting.rules import RuleFacts

__all__ = ["rule_code", "write_rules"]


def rule_code(draft: Draft, number: int) -> str:
    """Return the short code of a rule in tables: R1, R2, or П1, П2 in Russian."""
    return draft.words("rule_code", number=number)


def write_rules(draft: Draft, rules: tuple[RuleFacts, ...]) -> None:
    """Write the table of rules, the decision rule, and a part for each rule."""
    draft.heading("rules")
    draft.say("rules_idea", table=draft.ref("table", "rules"))
    rows = [
        (
            rule_code(draft, i),
            rule.title,
            Markup(f"`{rule.rule_id}`"),
            rule.version or "—",
            draft.words(f"status_{rule.status}"),
        )
        for i, rule in enumerate(rules, 1)
    ]
    heads = [draft.words(f"head_{k}") for k in ("code", "rule", "id", "version", "status")]
    draft.plain_table("rules", heads, rows, draft.words("rules_caption"))
    draft.bullets(
        [draft.words(f"status_{s}_means") for s in ("documented", "unverified", "proposal")]
    )
    if any(rule.weighs_losses for rule in rules):
        draft.say("rules_losses", wrong=Markup("$L_{FP}$"), missed=Markup("$L_{FN}$"))
        draft.formula(formulas.BAYES_RULE)
        draft.say("rules_losses_example")
    for i, rule in enumerate(rules, 1):
        _write_rule(draft, i, rule)


def _write_rule(draft: Draft, number: int, rule: RuleFacts) -> None:
    mark = f"rule-{number}"
    draft.heading("rule_head", depth=2, mark=mark, code=rule_code(draft, number), title=rule.title)
    if rule.status == "documented":
        draft.say("rule_second_hand" if rule.second_hand else "rule_documented")
    else:
        draft.say("rule_not_documented", status=draft.words(f"status_{rule.status}"))
    if len(rule.description) == 1:
        draft.prose(escape(rule.description[0]))
    else:
        draft.bullets([escape(line) for line in rule.description])
    draft.sources(*rule.references)
    if rule.parameters:
        draft.say("rule_parameters", table=draft.ref("table", mark))
        heads, rows = _parameters(draft, rule)
        caption = draft.words("rule_parameters_caption", code=rule_code(draft, number))
        draft.plain_table(mark, heads, rows, caption)


def _parameters(draft: Draft, rule: RuleFacts) -> tuple[list[str], list[list[str]]]:
    """Return a row per parameter and a column for the whole rule and for each criterion."""
    owners = list(dict.fromkeys(owner for owner, _, _ in rule.parameters))
    values = {(owner, name): value for owner, name, value in rule.parameters}
    names = list(dict.fromkeys(name for _, name, _ in rule.parameters))
    heads: list[str] = [draft.words("head_parameter")]
    heads += [Markup(f"`{owner}`") if owner else draft.words("whole_rule") for owner in owners]
    rows = [
        [_parameter(draft, name), *(values.get((owner, name), "") for owner in owners)]
        for name in names
    ]
    return heads, rows


def _parameter(draft: Draft, name: str) -> Markup:
    """Return a parameter in words with its name in criteria files."""
    key = f"appendix.parameter_{name}"
    if not has_text(key):
        return Markup(f"`{name}`")
    return Markup(f"{escape(text(key).localized(draft.lang))} (`{name}`)")
