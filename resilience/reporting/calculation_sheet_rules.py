"""The part of a calculation sheet that takes one rule from its criteria to its verdict."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from resilience.columns import label as column_label
from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import INDEX, SHARE, Criterion
from resilience.detection.rules.wording import describe_criterion
from resilience.detection.verdicts.pooled import is_pooled
from resilience.i18n import Bilingual, text
from resilience.reporting.calculation_sheet_counts import (
    CountTable,
    by_probability,
    write_share_criterion,
)
from resilience.reporting.calculation_sheet_data import School, is_number
from resilience.reporting.calculation_sheet_page import Cell, Page, quoted
from resilience.reporting.calculation_sheet_posterior import Words, can_redo, write_joint

__all__ = ["write_rule"]

_UPWARD = ("above", "at_least")


def write_rule(
    page: Page,
    rule: Criteria,
    school: School,
    counts: CountTable | None,
    long_run: pd.DataFrame,
    number: int,
) -> str:
    """Write a rule from its criteria to its verdict and return the verdict's name.

    A criterion whose answer the formulas give is redone; of any other the library's answer stands
    as an input, with the reason.
    """
    words, prefix = Words.of(page.lang), f"r{number}_"
    verdict = words.of_verdict(str(school.verdicts[rule.id]["verdict"]))
    page.heading(rule.title(page.lang))
    page.note(rule.describe(page.lang))
    members: list[tuple[str, float]] = []
    if rule.joint_criteria:
        weight = max(c.weight for c in rule.joint_criteria)
        if can_redo(rule, school):
            members.append((write_joint(page, school, rule, prefix, words), weight))
        else:
            members.append((_joint_as_given(page, rule, school, prefix, words), weight))
    for k, criterion in enumerate(c for c in rule.criteria if c not in rule.joint_criteria):
        own = f"{prefix}c{k}_"
        name = _criterion(page, rule, criterion, school, counts, long_run, own, words)
        members.append((name, criterion.weight))
    return _verdict(page, rule, school, members, prefix, words, verdict)


def _criterion(
    page: Page,
    rule: Criteria,
    criterion: Criterion,
    school: School,
    counts: CountTable | None,
    long_run: pd.DataFrame,
    prefix: str,
    words: Words,
) -> str:
    """Write one criterion that is judged by itself."""
    name: str | None = None
    if criterion.column == SHARE:
        line = school.criteria[rule.id, criterion.name]
        if is_pooled(criterion) and is_number(line["probability"]):
            name = _pooled(page, rule, criterion, school, long_run, prefix, words)
        elif counts is not None:
            name = write_share_criterion(page, rule, criterion, school, counts, prefix, words)
    else:
        name = _level(page, rule, criterion, school, prefix, words)
    return name or _as_given(page, rule, criterion, school, prefix, words)


def _pooled(
    page: Page,
    rule: Criteria,
    criterion: Criterion,
    school: School,
    long_run: pd.DataFrame,
    prefix: str,
    words: Words,
) -> str | None:
    """Write the long-run shares and the decision; the probability itself comes from draws."""
    line = school.criteria[rule.id, criterion.name]
    verdict = words.of_verdict(str(line["verdict"]))
    p = float(line["probability"])
    if verdict != (words.yes if p >= rule.losses.threshold else words.no):
        return None
    page.note(describe_criterion(criterion, page.lang))
    page.note(text("calculation_sheet.pooled_how"))
    names = ["procedure", "n_participants", "n_below_minimum", "long_run_share"]
    names += ["long_run_low", "long_run_high", "probability_share"]
    page.head([column_label(c, page.lang) for c in names])
    own = long_run[(long_run["school_id"] == school.school_id) & (long_run["rule_id"] == rule.id)]
    for row in own.sort_values("procedure").to_dict(orient="records"):
        cells = {1: Cell(value=str(row["procedure"]), look="label")}
        for k, column in enumerate(names[1:]):
            digits = 0 if column.startswith("n_") else 3
            cells[2 + k] = Cell(value=row[column], look="text", digits=digits)
        page.table_row(cells)
    page.line(
        f"{prefix}probability",
        text("calculation_sheet.probability_drawn"),
        p,
        text("calculation_sheet.probability_drawn_how"),
        digits=3,
        library=p,
    )
    return by_probability(page, rule, prefix, p, words)


def _level(
    page: Page, rule: Criteria, criterion: Criterion, school: School, prefix: str, words: Words
) -> str | None:
    """Write a value against its bound; None where more than one comparison makes the answer."""
    line = school.criteria[rule.id, criterion.name]
    value, bound = line["value"], line["threshold"]
    simple = criterion.years_of == 1 and criterion.subjects == "mean"
    if (
        not simple
        or criterion.direction == "between"
        or not (is_number(value) and is_number(bound))
    ):
        return None
    realised = criterion.scale == "quantile"  # the last value that still satisfies it
    upward = criterion.direction in _UPWARD
    strict = criterion.direction in ("above", "below") and not realised
    sign = (">" if upward else "<") + ("" if strict else "=")
    holds = {">": value > bound, ">=": value >= bound, "<": value < bound, "<=": value <= bound}
    verdict = words.yes if holds[sign] else words.no
    if verdict != words.of_verdict(str(line["verdict"])):
        return None
    page.note(describe_criterion(criterion, page.lang))
    above = criterion.column == INDEX and "index" in page.places and value == school.index
    page.line(
        f"{prefix}value",
        column_label(criterion.column, page.lang, unit=True),
        float(value),
        text(f"calculation_sheet.value_{criterion.evidence}_how"),
        formula="{index}" if above else "",
    )
    page.line(
        f"{prefix}bound",
        text("calculation_sheet.bound"),
        float(bound),
        text("calculation_sheet.bound_realised_how" if realised else "calculation_sheet.bound_how"),
    )
    page.line(
        f"{prefix}answer",
        text("calculation_sheet.criterion_answer"),
        verdict,
        formula=f"IF({{{prefix}value}}{sign}{{{prefix}bound}},"
        f"{quoted(words.yes)},{quoted(words.no)})",
        result=True,
        library=verdict,
    )
    return f"{prefix}answer"


def _as_given(
    page: Page, rule: Criteria, criterion: Criterion, school: School, prefix: str, words: Words
) -> str:
    """Write the library's answer to a criterion as an input."""
    line = school.criteria[rule.id, criterion.name]
    page.note(describe_criterion(criterion, page.lang))
    page.line(
        f"{prefix}answer",
        text("calculation_sheet.criterion_answer"),
        words.of_verdict(str(line["verdict"])),
        _given(page, line["reason"]),
    )
    return f"{prefix}answer"


def _joint_as_given(page: Page, rule: Criteria, school: School, prefix: str, words: Words) -> str:
    """Write the library's answer to the posterior criteria as an input, with its probability."""
    row = school.verdicts[rule.id]
    for criterion in rule.joint_criteria:
        page.note(describe_criterion(criterion, page.lang))
    if is_number(row["probability"]):
        page.line(
            f"{prefix}probability",
            text("calculation_sheet.probability_given"),
            float(row["probability"]),
            text("calculation_sheet.probability_given_how"),
        )
    answer = str(row["verdict"])
    answer = "insufficient_data" if answer == "not_applicable" else answer
    page.line(
        f"{prefix}joint_verdict",
        text("calculation_sheet.joint_verdict"),
        words.of_verdict(answer),
        _given(page, row["reason"]),
    )
    return f"{prefix}joint_verdict"


def _given(page: Page, reason: object) -> str:
    own = reason if isinstance(reason, Bilingual | str) and reason == reason else ""
    return " ".join(
        w for w in (page.words(text("calculation_sheet.as_given_how")), page.words(own)) if w
    )


def _verdict(
    page: Page,
    rule: Criteria,
    school: School,
    members: Sequence[tuple[str, float]],
    prefix: str,
    words: Words,
    verdict: str,
) -> str:
    """Combine the members by the rule's connective; a school left aside has no verdict."""
    yes, no, unknown = (quoted(w) for w in (words.yes, words.no, words.unknown))
    places = ["{" + name + "}" for name, _ in members]
    if len(members) == 1:
        combined = places[0]
    else:
        equal = isinstance(rule.combination, str)
        weights = [1.0 if equal else w for _, w in members]
        asked = {"all": float(len(members)), "any": 1.0}.get(str(rule.combination))
        k = asked if asked is not None else min(float(rule.combination), sum(weights))
        n_yes, n_unknown = (
            "+".join(f"{w:g}*({p}={word})" for p, w in zip(places, weights, strict=True))
            for word in (yes, unknown)
        )
        combined = f"IF({n_yes}>={k:g},{yes},IF({n_yes}+{n_unknown}<{k:g},{no},{unknown}))"
    outside = rule.exclude_selective or rule.exclude_flagged or verdict == words.outside
    if outside:
        aside = words.yes if verdict == words.outside else words.no
        page.line(
            f"{prefix}aside",
            text("calculation_sheet.aside"),
            aside,
            text("calculation_sheet.aside_how"),
        )
        combined = f"IF({{{prefix}aside}}={yes},{quoted(words.outside)},{combined})"
    connective = {"all": "connective_all", "any": "connective_any"}.get(str(rule.combination))
    how = text(f"calculation_sheet.{connective or 'connective_k'}", n=rule.combination)
    page.line(
        f"{prefix}verdict",
        text("calculation_sheet.verdict"),
        verdict,
        how if len(members) > 1 else text("calculation_sheet.verdict_how"),
        formula=combined,
        result=True,
        library=verdict,
    )
    page.blank()
    return f"{prefix}verdict"
