"""Section "Checks": how far the lists depend on choices, on chance and on time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from resilience.columns import label
from resilience.reporting.draft import Draft, Markup, localized
from resilience.reporting.material import Material
from resilience.reporting.rules import RuleFacts
from resilience.reporting.section_rules import rule_code

__all__ = ["write_checks"]

_BANDS = ("size_band", "n_schools", "expected_listed", "expected_false_flags", "expected_misses")
_SCORES = ("method", "n_predictions", "n_events", "brier", "prediction_slope", "flag_ppv", "recall")
_VARIANTS = ("index_variant_title", "rank_correlation", "mean_abs_rank_shift", "n_gate_changes")
_SWITCH = ("n_with", "n_without", "n_removed", "n_left", "n_entered")
_MOST_NAMED = 40


def write_checks(draft: Draft, material: Material, rules: Sequence[RuleFacts]) -> None:
    """Write what the checks of the run found, and which were not made and why."""
    checks = material.checks
    if checks is None:
        return
    codes = {rule.rule_id: rule_code(draft, i) for i, rule in enumerate(rules, 1)}
    draft.heading("checks")
    draft.say("checks_purpose")
    if checks.differences:
        _write_companion(draft, checks.differences, codes)
    if checks.rule_errors is not None:
        _write_rule_errors(draft, checks.rule_errors, codes)
    if checks.status:
        _write_status(draft, checks.status, codes)
    if checks.early_warning is not None:
        _write_warning(draft, checks.early_warning, codes)
    if checks.sensitivity is not None:
        _write_sensitivity(draft, checks.sensitivity)
    if checks.adjacent is not None:
        _write_integrity(draft, checks, codes)
    if checks.notes:
        draft.say("checks_not_made")
        draft.bullets([localized(note, draft.lang) for note in checks.notes])


def _write_companion(
    draft: Draft, differences: Mapping[tuple[str, str], pd.DataFrame], codes: dict[str, str]
) -> None:
    """Set each rule on counts beside the rule that pools them."""
    draft.heading("checks_companion", depth=2)
    for (official, companion), table in differences.items():
        apart = table[table["official"] != table["companion"]]
        draft.say(
            "checks_companion_read",
            official=codes[official],
            companion=codes[companion],
            n=len(apart),
            more=int((apart["official"] == "yes").sum()),
            less=int((apart["companion"] == "yes").sum()),
        )
        words = pd.Series([localized(w, draft.lang) for w in apart["why_they_differ"]], dtype=str)
        counted = sorted(words.value_counts().items(), key=lambda item: (-item[1], str(item[0])))
        draft.bullets([draft.words("reason_count", reason=str(w), n=int(n)) for w, n in counted])


def _write_rule_errors(draft: Draft, errors: Any, codes: dict[str, str]) -> None:
    draft.heading("checks_rule_errors", depth=2)
    draft.say("checks_rule_errors_read", n=errors.n_replicates, table=draft.ref("table", "errors"))
    table = errors.by_size_band
    heads = [draft.words("head_code"), *(label(c, draft.lang) for c in _BANDS)]
    rows = []
    for record in table.to_dict(orient="records"):
        numbers = [draft.number(float(record[c]), 1) for c in _BANDS[2:]]
        rows.append(
            (codes[record["rule_id"]], record["size_band"], str(record["n_schools"]), *numbers)
        )
    draft.plain_table("errors", heads, rows, draft.words("checks_rule_errors_caption"))
    for record in errors.overall.to_dict(orient="records"):
        draft.say(
            "checks_rule_errors_total",
            code=codes[record["rule_id"]],
            listed=draft.number(record["expected_listed"], 1),
            false=draft.number(record["expected_false_flags"], 1),
            missed=draft.number(record["expected_misses"], 1),
            churn=draft.number(100 * record["churn"], 0),
        )
    draft.bullets([localized(note, draft.lang) for note in errors.notes])


def _write_status(draft: Draft, status: Any, codes: dict[str, str]) -> None:
    draft.heading("checks_status", depth=2)
    draft.say("checks_status_read", table=draft.ref("table", "status"))
    columns = ["year", "n_listed_before", "n_listed", "n_status_entered", "n_status_confirmed"]
    columns += ["n_status_left", "n_status_re_entered", "n_status_unknown"]
    heads = [draft.words("head_code"), *(label(c, draft.lang) for c in columns)]
    rows = [
        (codes[rule], *(str(record[c]) for c in columns))
        for rule, found in status.items()
        for record in found.list_changes.to_dict(orient="records")
    ]
    draft.plain_table("status", heads, rows, draft.words("checks_status_caption"))
    draft.say("checks_status_null")


def _write_warning(draft: Draft, warning: Any, codes: dict[str, str]) -> None:
    draft.heading("checks_warning", depth=2)
    row = warning.exits.iloc[0]
    draft.say(
        "checks_warning_read",
        code=codes[warning.rule.id],
        year=int(warning.schools["year"].iloc[0]),
        n=int(row["n_listed"]),
        leave=draft.number(row["expected_exits"], 1),
        low=draft.number(row["exits_low"], 0),
        high=draft.number(row["exits_high"], 0),
        enter=draft.number(row["expected_entries"], 1),
    )
    new = warning.schools[
        (warning.schools["verdict"] == "yes") & (warning.schools["verdict_now"] != "yes")
    ].sort_values("probability_low_next_year", ascending=False, kind="stable")
    if len(new):
        schools = ", ".join(
            f"{r.school_id} ({draft.number(r.probability_low_next_year, 2)})"
            for r in new.head(_MOST_NAMED).itertuples()
        )
        draft.say("checks_warning_new", n=len(new), schools=Markup(schools))
    whole = warning.scores[warning.scores["part"].astype(str) == "all"]
    if len(whole):
        draft.say("checks_warning_scores", table=draft.ref("table", "warning"))
        draft.table("warning", whole[list(_SCORES)], "checks_warning_caption")


def _write_sensitivity(draft: Draft, sensitivity: Any) -> None:
    draft.heading("checks_sensitivity", depth=2)
    row = sensitivity.glance().iloc[0]
    draft.say(
        "checks_sensitivity_read",
        spread=draft.number(100 * row["noise_spread"], 0),
        n=int(row["n_noise_draws"]),
        shift=draft.number(row["mean_abs_rank_shift"], 1),
        below=int(row["n_below_gate"]),
        unsettled=int(row["n_unsettled"]),
        table=draft.ref("table", "variants"),
    )
    draft.table("variants", sensitivity.variants[list(_VARIANTS)], "checks_variants_caption")


def _write_integrity(draft: Draft, checks: Any, codes: dict[str, str]) -> None:
    draft.heading("checks_integrity", depth=2)
    schools = checks.adjacent.schools
    flagged = schools[schools["verdict"] == "yes"]
    draft.say(
        "checks_integrity_read",
        n=len(flagged),
        total=len(schools),
        unknown=int((schools["verdict"] == "insufficient_data").sum()),
        level=draft.number(100 * checks.adjacent.level, 0),
        power=draft.number(100 * float(schools["power_moved_40"].median()), 0),
    )
    draft.sources("BenjaminiHochberg1995", "DeeEtAl2019")
    if checks.switch is None:
        return
    lists = checks.switch.lists
    draft.say("checks_integrity_switch", table=draft.ref("table", "switch"))
    heads = [draft.words("head_code"), *(label(c, draft.lang) for c in _SWITCH)]
    rows = [
        (codes[record["rule_id"]], *(str(int(record[c])) for c in _SWITCH))
        for record in lists.to_dict(orient="records")
    ]
    draft.plain_table("switch", heads, rows, draft.words("checks_integrity_caption"))
