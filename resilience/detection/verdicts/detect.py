"""Apply rules to tables: three answers, each with its reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import SHARE, Criterion
from resilience.detection.verdicts.differences import CELLS, empty_cells
from resilience.detection.verdicts.guards import (
    check_rule,
    flagged,
    guard_notes,
    selective,
)
from resilience.detection.verdicts.levels import judge_level
from resilience.detection.verdicts.logic import UNKNOWN, YES, Answers, at_least, words
from resilience.detection.verdicts.pooled import (
    LONG_RUN,
    empty_long_run,
    first_year,
    is_pooled,
    judge_pooled,
)
from resilience.detection.verdicts.posterior import PosteriorVerdict, judge_posterior
from resilience.detection.verdicts.results import DetectionResults
from resilience.detection.verdicts.shares import judge_shares, share_table
from resilience.detection.verdicts.tables import Found, Tables, blank, gather
from resilience.detection.verdicts.working import empty_working, working_table
from resilience.errors import SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.stats.verdicts.decisions import list_fdr
from resilience.validation import shorten

__all__ = ["detect_schools"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEWEST_SCHOOLS = 20
MOST_UNKNOWN = 0.10
NUMBERS = (
    "probability",
    "probability_from",
    "probability_to",
    "probability_policy",
    "probability_effect",
    "probability_adverse",
    "threshold",
    "effect_net",
    "effect_net_sd",
    "power_to_detect",
    "years_needed",
    "pupils_needed",
    "expected_loss",
    "list_fdr",
)


def detect_schools(
    effects: pd.DataFrame | None,
    scores: pd.DataFrame | None,
    rules: Criteria | Sequence[Criteria],
    *,
    counts: pd.DataFrame | None = None,
    school_years: pd.DataFrame | None = None,
    schools: pd.DataFrame | None = None,
    variances: Mapping[str, float] | None = None,
) -> DetectionResults:
    """Apply rules to the schools of a region.

    Parameters
    ----------
    effects : DataFrame or None
        ``school_id effect conditional_sd reliability n_pupils n_years`` and further columns.
    scores : DataFrame or None
        ``school_id [year] context_index [context_index_std_error context_reliability
        context_coverage]``.
    rules : Criteria or sequence of Criteria
        Named by the caller; there is no default rule.
    counts : DataFrame, optional
        ``school_id year procedure [class_label] n_participants n_below_minimum`` for share rules;
        classes are added up.
    school_years : DataFrame, optional
        Yearly residuals, for criteria on them.
    schools : DataFrame, optional
        ``is_selective`` for the guard, ``mean_score`` by year for rules on raw averages.
    variances : mapping, optional
        ``persistent``, ``transient``, ``residual`` (squared outcome units), which say how many
        pupils and years are needed; ``context_slope`` (outcome units per index point, not
        attenuated) where the index is a covariate of the model behind the effects, so that they
        stand off its line already; ``lag_correlation`` of transient effects from one year to the
        next (0 by default); ``subject_correlation`` of a pupil's residuals in two subjects (.5).

    Returns
    -------
    DetectionResults
        A row for every school that occurs in any table: none is dropped.

    Raises
    ------
    DataError, SpecificationError
        If a table that a rule needs is missing, or a table breaks a rule of its own.

    Warns
    -----
    WeakDataWarning
        Fewer than 20 schools; more than a tenth of the schools without an answer for want of data;
        no variation between schools.
    """
    chosen = _chosen(rules)
    tables = gather(
        effects,
        scores,
        counts=counts,
        school_years=school_years,
        schools=schools,
        variances=variances,
    )
    if len(tables.school_ids) < FEWEST_SCHOOLS:
        warn_weak_data(text("detection.few_schools", n=len(tables.school_ids)))
    applied = [_apply(tables, rule) for rule in chosen]
    notes: list[Bilingual] = []
    for one in applied:
        notes += [n for n in one.notes if n not in notes]
    for note in (n for one in applied for n in one.weak):
        warn_weak_data(note)
    return DetectionResults(
        schools=pd.concat([a.schools for a in applied], ignore_index=True),
        criteria=pd.concat([a.criteria for a in applied], ignore_index=True),
        rules=chosen,
        notes=tuple(notes),
        working=_joined([a.working for a in applied if a.working is not None], empty_working()),
        long_run=_joined([t for a in applied for t in a.long_run], empty_long_run()),
        cells=_cells(tables, chosen),
    )


def _joined(tables: Sequence[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(list(tables), ignore_index=True) if tables else empty


def _cells(tables: Tables, rules: Sequence[Criteria]) -> pd.DataFrame:
    """Return the counts behind rules that read them, classes added up."""
    if tables.counts is None or not any(rule.reads_counts for rule in rules):
        return empty_cells()
    return tables.counts[list(CELLS)].copy()


def _chosen(rules: Criteria | Sequence[Criteria]) -> tuple[Criteria, ...]:
    chosen = (rules,) if isinstance(rules, Criteria) else tuple(rules)
    if not chosen:
        raise SpecificationError(text("detection.no_rules"))
    for rule in chosen:
        if not isinstance(rule, Criteria):
            raise SpecificationError(
                text("detection.not_a_rule", value=repr(rule), kind=type(rule).__name__)
            )
    ids = [r.id for r in chosen]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise SpecificationError(text("detection.same_rule", rules=", ".join(twice)))
    return chosen


@dataclass(frozen=True, kw_only=True, eq=False)
class _Applied:
    """What one rule gave; ``weak`` are the notes that warn."""

    schools: pd.DataFrame
    criteria: pd.DataFrame
    working: pd.DataFrame | None
    long_run: list[pd.DataFrame]
    notes: tuple[Bilingual, ...]
    weak: tuple[Bilingual, ...]


def _apply(tables: Tables, rule: Criteria) -> _Applied:
    check_rule(tables, rule)
    n = len(tables.school_ids)
    columns: dict[str, Floats] = {name: np.full(n, np.nan) for name in NUMBERS}
    joint = judge_posterior(tables, rule) if rule.joint_criteria else None
    found = dict(joint.found) if joint is not None else {}
    for criterion in rule.criteria:
        if criterion.name not in found:
            found[criterion.name] = _judge(tables, rule, criterion)
    others = [c.name for c in rule.criteria if c not in rule.joint_criteria]
    answers, reason = _combined(rule, joint, [found[name] for name in others])
    gap = float(np.mean(answers == UNKNOWN if joint is None else ~joint.eligible & _blind(joint)))
    outside, why = _left_aside(tables, rule)
    eligible = ~outside
    if joint is not None:
        columns |= joint.columns
        eligible &= joint.eligible
    else:
        columns |= _share_columns(rule, found)
    _add_list_columns(columns, rule, eligible)
    verdict = words(answers).astype(object)
    verdict[outside] = "not_applicable"
    reason[outside] = why[outside]
    table = pd.DataFrame(
        {
            "school_id": tables.school_ids,
            "rule_id": rule.id,
            "verdict": verdict.astype(str),
            **columns,
            "in_fdr_list": _fdr_list(columns, rule, eligible),
            "target": pd.Series([joint.target if joint is not None else ""] * n, dtype=object),
            "certainty": _certainty(rule, found, answers, outside),
            "reason": pd.Series(reason, dtype=object),
        }
    )
    weak = (
        (text("detection.many_unknown", rule=rule.id, share=f"{100 * gap:.0f}", n=n),)
        if gap > MOST_UNKNOWN
        else ()
    )
    own = [note for f in found.values() for note in f.notes]
    notes = (*(joint.notes if joint is not None else ()), *_notes(tables, rule), *own, *weak)
    return _Applied(
        schools=table,
        criteria=_lines(tables, rule, {c.name: found[c.name] for c in rule.criteria}),
        working=None if joint is None else working_table(tables.school_ids, rule, joint.working),
        long_run=[
            f.long_run.assign(rule_id=rule.id)[["school_id", "rule_id", *LONG_RUN]]
            for f in found.values()
            if f.long_run is not None
        ],
        notes=notes,
        weak=weak,
    )


def _judge(tables: Tables, rule: Criteria, criterion: Criterion) -> Found:
    """Judge a criterion that is not part of the joint posterior."""
    if is_pooled(criterion):
        return judge_pooled(tables, rule, criterion)
    judge = judge_shares if criterion.column == SHARE else judge_level
    return judge(tables, rule, criterion)


def _left_aside(tables: Tables, rule: Criteria) -> tuple[Flags, NDArray[np.object_]]:
    """Return the schools to which the rule does not apply, and why."""
    why = blank(len(tables.school_ids))
    outside = np.zeros(len(why), dtype=bool)
    if rule.exclude_flagged:
        marked = flagged(tables, rule)
        outside |= marked
        why[marked] = blank(int(marked.sum()), text("events.flagged"))
    chosen = selective(tables, rule)
    why[chosen] = blank(int(chosen.sum()), text("detection.selective"))
    return outside | chosen, why


def _blind(joint: PosteriorVerdict) -> Flags:
    """Schools with no effect or no index: the question cannot even be put."""
    return np.isnan(joint.columns["probability"])


def _combined(
    rule: Criteria, joint: PosteriorVerdict | None, others: Sequence[Found]
) -> tuple[Answers, NDArray[np.object_]]:
    """Combine the joint answer and the other criteria, and say why."""
    beside = [c for c in rule.criteria if c not in rule.joint_criteria]
    weights = [c.weight for c in beside]
    members = [(f.answers, f.reason) for f in others]
    if joint is not None:
        members.insert(0, (joint.answers, joint.reason))
        weights.insert(0, max(c.weight for c in rule.joint_criteria))
    stack = np.column_stack([a for a, _ in members])
    if isinstance(rule.combination, str):
        # every member, or one: weights do not matter
        answers = at_least(stack, len(members) if rule.combination == "all" else 1)
    else:
        answers = at_least(stack, min(rule.combination, sum(weights)), weights)
    if len(members) == 1:
        return answers, members[0][1].copy()
    reason = blank(len(answers))
    for row in range(len(answers)):
        agreed = [r[row] for a, r in members if a[row] == answers[row] and r[row]]
        agreed = list(dict.fromkeys(agreed))
        if len(agreed) == 1:
            reason[row] = agreed[0]
        elif agreed:
            reason[row] = Bilingual(
                " ".join(str(getattr(a, "en", a)) for a in agreed),
                " ".join(str(getattr(a, "ru", a)) for a in agreed),
            )
    return answers, reason


def _share_columns(rule: Criteria, found: Mapping[str, Found]) -> dict[str, Floats]:
    """Give a rule of one posterior share criterion its probability."""
    posterior = [c for c in rule.criteria if c.evidence == "posterior"]
    return {"probability": found[posterior[0].name].probability} if len(posterior) == 1 else {}


def _add_list_columns(columns: dict[str, Floats], rule: Criteria, eligible: Flags) -> None:
    """Add threshold, expected loss and the running FDR of the list, over eligible schools."""
    if not rule.is_posterior:
        return
    p = columns["probability"]
    columns["threshold"] = np.full(len(p), rule.losses.threshold)
    columns["expected_loss"] = rule.losses.expected_loss(p)
    rows = eligible & np.isfinite(p)
    columns["list_fdr"][rows] = list_fdr(p[rows])


def _fdr_list(columns: Mapping[str, Floats], rule: Criteria, eligible: Flags) -> pd.Series:
    """Return whether a school stands in the longest list with the allowed share of wrong names."""
    fdr = columns["list_fdr"]
    inside = pd.Series(pd.array([None] * len(fdr), dtype="boolean"))
    known = np.isfinite(fdr) & eligible
    if rule.fdr is not None:
        inside[known] = fdr[known] <= rule.fdr
    return inside


def _certainty(
    rule: Criteria, found: Mapping[str, Found], answers: Answers, outside: Flags
) -> pd.Series:
    """Say of each listed school whether Wilson's intervals alone would list it."""
    shown = blank(len(answers))
    sure = [f.certain for f in found.values() if f.certain is not None]
    if sure and len(sure) == len(rule.criteria):
        weights = [c.weight for c in rule.criteria]
        k = {"all": sum(weights), "any": min(weights)}.get(str(rule.combination))
        k = float(rule.combination) if k is None else k
        certain = at_least(np.column_stack(sure), k, weights) == YES
        for row in np.flatnonzero((answers == YES) & ~outside):
            shown[row] = text("detection.certain" if certain[row] else "detection.possible")
    return pd.Series(shown, dtype=object)


def _notes(tables: Tables, rule: Criteria) -> list[Bilingual]:
    """Say which procedures counted, and which guard could not be applied."""
    notes: list[Bilingual] = []
    if rule.reads_counts:
        table = share_table(tables, rule)
        firsts = [first_year(c, table.last) for c in rule.criteria if is_pooled(c)]
        years = [y for y in sorted(table.years) if firsts and min(firsts) <= y <= table.last]
        key = "used_named" if rule.procedures else "used_all"
        own = {"rule": rule.id} if rule.procedures else {}
        notes.append(
            text(
                f"detection.{key}",
                year=shorten(years, 12) if years else table.last,
                procedures=shorten(table.procedures, 40),
                **own,
            )
        )
    notes += guard_notes(tables, rule)
    return notes


def _lines(tables: Tables, rule: Criteria, found: Mapping[str, Found]) -> pd.DataFrame:
    pieces = []
    for criterion in rule.criteria:
        line = found[criterion.name]
        pieces.append(
            pd.DataFrame(
                {
                    "school_id": tables.school_ids,
                    "rule_id": rule.id,
                    "criterion": criterion.name,
                    "value": line.value,
                    "threshold": line.threshold,
                    "scale": _scale(criterion),
                    "probability": line.probability,
                    "verdict": words(line.answers),
                    "reason": pd.Series(line.reason, dtype=object),
                    "reference": criterion.reference or rule.reference,
                }
            )
        )
    return pd.concat(pieces, ignore_index=True)


def _scale(criterion: Criterion) -> str:
    """Return what value and threshold of a criterion count or measure."""
    if criterion.column == SHARE and (criterion.evidence == "point" or is_pooled(criterion)):
        return "procedures"
    counted = criterion.subjects != "mean" and criterion.evidence == "point"
    return "subjects" if counted else criterion.scale
