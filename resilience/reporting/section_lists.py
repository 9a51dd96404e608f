"""Section "Results": verdicts counted, lists of schools, and what the wording of a rule changes."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from resilience.columns import label
from resilience.i18n import text
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.verdicts import plot_verdicts
from resilience.reporting.draft import Draft, Markup, escape, localized
from resilience.reporting.material import Material
from resilience.reporting.rules import RuleFacts
from resilience.reporting.section_rules import rule_code

__all__ = ["VERDICTS", "verdict_word", "write_lists"]

VERDICTS = ("yes", "no", "insufficient_data", "not_applicable")

# The two conditions of the federal rule, A and B.
_CONDITIONS = ("two_procedures", "same_procedure_two_years")
_MOST_LISTED = 120  # schools a list in the body carries; the annex and the files carry all


def verdict_word(verdict: object, lang: str) -> str:
    """Return a verdict in the reader's language."""
    return text(f"verdicts.{verdict}").localized(lang)


def write_lists(draft: Draft, material: Material, rules: tuple[RuleFacts, ...]) -> None:
    """Write how many schools got which verdict, the lists, and what "or" and "and" change."""
    verdicts = material.found.schools
    draft.heading("results")
    draft.say(
        "results_counts", table=draft.ref("table", "verdicts"), annex=draft.ref("table", "matrix-1")
    )
    rows = []
    for i, rule in enumerate(rules, 1):
        mine = verdicts.loc[verdicts["rule_id"].astype(str) == rule.rule_id, "verdict"].astype(str)
        numbers = [str(int((mine == v).sum())) for v in VERDICTS]
        rows.append((rule_code(draft, i), rule.title, *numbers))
    heads = [draft.words("head_code"), draft.words("head_rule")]
    heads += [verdict_word(v, draft.lang) for v in VERDICTS]
    draft.plain_table("verdicts", heads, rows, draft.words("verdicts_caption"))
    _write_connectives(draft, material, rules)
    notes = [localized(n, draft.lang) for n in getattr(material.found, "notes", ())]
    if notes:
        draft.say("results_notes")
        draft.bullets([escape(n) for n in notes])
    if material.found.schools.empty:
        return
    _write_figures(draft, material, rules)
    for i, rule in enumerate(rules, 1):
        _write_list(draft, material, i, rule)


def _write_connectives(draft: Draft, material: Material, rules: Sequence[RuleFacts]) -> None:
    """Say how the list changes between "or" and "and" where both conditions were judged."""
    criteria = getattr(material.found, "criteria", None)
    if not isinstance(criteria, pd.DataFrame) or "verdict" not in criteria:
        return
    for i, rule in enumerate(rules, 1):
        mine = criteria[criteria["rule_id"].astype(str) == rule.rule_id]
        if rule.target != "low" or set(mine["criterion"]) != set(_CONDITIONS):
            continue
        first, second = (
            set(mine.loc[(mine["criterion"] == c) & (mine["verdict"] == "yes"), "school_id"])
            for c in _CONDITIONS
        )
        draft.say(
            "results_connective",
            code=rule_code(draft, i),
            first=len(first),
            second=len(second),
            either=len(first | second),
            both=len(first & second),
            change=len(first ^ second),
        )
        return  # the other rules with these conditions differ in the connective alone


def _write_figures(draft: Draft, material: Material, rules: Sequence[RuleFacts]) -> None:
    found, schools = material.found, material.schools
    if schools is None or "municipality_id" not in schools:
        draft.say("results_figure_rules", figure=draft.ref("figure", "verdicts"))
        ax = plot_verdicts(found, lang=draft.lang)
        draft.figure("verdicts", figure_bytes(ax, "png"), "verdicts_rules_caption")
        return
    marks = [f"verdicts-{i}" for i in range(1, len(rules) + 1)]
    figures = ", ".join(draft.ref("figure", m) for m in marks)
    key = "results_figures" if len(marks) > 1 else "results_figure"
    draft.say(key, figures=Markup(figures))
    for mark, rule in zip(marks, rules, strict=True):
        ax = plot_verdicts(found, schools, rule_id=rule.rule_id, lang=draft.lang)
        draft.figure(mark, figure_bytes(ax, "png"), "verdicts_figure_caption", rule=rule.title)


def _write_list(draft: Draft, material: Material, number: int, rule: RuleFacts) -> None:
    verdicts = material.found.schools
    mine = verdicts[verdicts["rule_id"].astype(str) == rule.rule_id]
    mine = mine.assign(key=mine["school_id"].astype(str)).sort_values("key", kind="stable")
    yes = mine[mine["verdict"] == "yes"]
    unknown = mine[mine["verdict"] == "insufficient_data"]
    code = rule_code(draft, number)
    draft.heading("list_head", depth=2, mark=f"list-{number}", code=code, title=rule.title)
    if yes.empty:
        draft.say("list_none")
    else:
        table = draft.ref("table", f"list-{number}")
        if len(yes) <= _MOST_LISTED:
            draft.say("list_yes", n=len(yes), table=table)
            shown = yes
        else:
            draft.say("list_first", n=len(yes), most=_MOST_LISTED, table=table)
            shown = _most_probable(yes)
        reasons = sorted({localized(r, draft.lang) for r in yes.get("reason", ())})
        if len(reasons) == 1 and reasons[0] and "certainty" not in yes:
            draft.say("list_reason", reason=reasons[0].rstrip(". "))
            shown = shown.drop(columns="reason")
        heads, rows = _listed(draft, material, shown)
        draft.plain_table(f"list-{number}", heads, rows, draft.words("list_caption", code=code))
    _write_error(draft, yes)
    if len(unknown):
        if len(unknown) <= _MOST_LISTED:
            schools = ", ".join(escape(k) for k in unknown["key"])
            draft.say("list_insufficient", n=len(unknown), schools=Markup(schools))
        else:
            draft.say("list_insufficient_many", n=len(unknown))
        draft.bullets(_reasons(draft, unknown))


def _write_error(draft: Draft, yes: pd.DataFrame) -> None:
    """Say which share of the list is expected to be wrong, where the rule weighs probabilities."""
    if "list_fdr" not in yes or yes["list_fdr"].isna().all():
        return
    share = 100 * float(yes["list_fdr"].max())
    draft.say("list_error", share=Markup(f"{draft.number(share, 0)} %"))


def _most_probable(yes: pd.DataFrame) -> pd.DataFrame:
    """Return the first schools of a long list, by probability where there is one."""
    if "probability" in yes:
        order = yes.assign(order=-yes["probability"].astype(float).fillna(0.0))
        yes = order.sort_values(["order", "key"], kind="stable").drop(columns="order")
    return yes.head(_MOST_LISTED).sort_values("key", kind="stable")


def _listed(
    draft: Draft, material: Material, yes: pd.DataFrame
) -> tuple[list[str], list[tuple[str, ...]]]:
    places = [material.place(key) for key in yes["key"]]
    columns: list[tuple[str, list[str]]] = [
        (label("school_id", draft.lang), list(yes["key"])),
        (label("name", draft.lang), [name for name, _ in places]),
        (label("municipality_id", draft.lang), [home for _, home in places]),
    ]
    if "probability" in yes and yes["probability"].notna().any():
        numbers = [draft.number(float(p), 2) for p in yes["probability"].astype(float)]
        columns.append((label("probability", draft.lang), list(numbers)))
    if "reason" in yes or "certainty" in yes:
        parts = [
            [localized(v, draft.lang) for v in yes.get(name, [""] * len(yes))]
            for name in ("certainty", "reason")
        ]
        # How certain a share is leads its reason: a column of its own would crowd the reason out.
        words = [": ".join(filter(None, pair)) for pair in zip(*parts, strict=True)]
        columns.append((label("reason", draft.lang), [w[:1].upper() + w[1:] for w in words]))
    kept = [(head, cells) for head, cells in columns if any(cells)]
    return [head for head, _ in kept], list(zip(*(cells for _, cells in kept), strict=True))


def _reasons(draft: Draft, rows: pd.DataFrame) -> list[str]:
    """Return the reasons with the number of schools, the most frequent first."""
    if "reason" not in rows:
        return []
    words = pd.Series([localized(v, draft.lang) for v in rows["reason"]])
    counts = words[words != ""].value_counts()
    order = sorted(counts.items(), key=lambda item: (-int(item[1]), str(item[0])))
    return [
        draft.words("reason_count", reason=str(r).rstrip(". "), n=int(n)) for r, n in order[:12]
    ]
