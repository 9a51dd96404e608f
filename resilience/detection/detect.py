"""Apply rules to tables: three answers, each with its reasons."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.criteria import Criteria
from resilience.detection.levels import judge_level
from resilience.detection.logic import Answers, all_of, any_of, words
from resilience.detection.posterior import judge_posterior
from resilience.detection.results import DetectionResults
from resilience.detection.shares import SHARE, judge_shares
from resilience.detection.tables import Found, Tables, blank, gather
from resilience.errors import SpecificationError, WeakDataWarning
from resilience.i18n import Bilingual, text
from resilience.stats.decisions import list_fdr

__all__ = ["detect_schools"]

Floats = NDArray[np.float64]

NUMBERS = (
    "probability",
    "probability_policy",
    "probability_effect",
    "probability_adverse",
    "threshold",
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
        ``school_id [year] context_index [context_index_std_error context_reliability]``.
    rules : Criteria or sequence of Criteria
        Named by the caller; there is no default rule.
    counts : DataFrame, optional
        ``school_id year procedure n_participants n_below_minimum`` for share rules.
    school_years : DataFrame, optional
        Yearly residuals, for criteria on them.
    schools : DataFrame, optional
        ``is_selective`` for the guard, ``mean_score`` by year for rules on raw averages.
    variances : mapping, optional
        ``persistent``, ``transient``, ``residual`` (squared outcome units); ``context_slope`` where
        the effects already stand off the line on the shrunken index.

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
        Fewer than 20 schools, or more than a tenth of verdicts open.
    """
    chosen = (rules,) if isinstance(rules, Criteria) else tuple(rules)
    if not chosen:
        raise SpecificationError(text("detection.no_rules"))
    twice = {r.id for r in chosen if [x.id for x in chosen].count(r.id) > 1}
    if twice:
        raise SpecificationError(text("detection.same_rule", rules=", ".join(sorted(twice))))
    tables = gather(
        effects,
        scores,
        counts=counts,
        school_years=school_years,
        schools=schools,
        variances=variances,
    )
    if len(tables.school_ids) < 20:
        warnings.warn(
            WeakDataWarning(text("detection.few_schools", n=len(tables.school_ids))), stacklevel=2
        )
    verdicts: list[pd.DataFrame] = []
    lines: list[pd.DataFrame] = []
    notes: list[Bilingual] = []
    for rule in chosen:
        table, criteria, said = _apply(tables, rule)
        verdicts.append(table)
        lines.append(criteria)
        notes += [n for n in said if n not in notes]
    return DetectionResults(
        schools=pd.concat(verdicts, ignore_index=True),
        criteria=pd.concat(lines, ignore_index=True),
        rules=chosen,
        notes=tuple(notes),
    )


def _apply(
    tables: Tables, rule: Criteria
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[Bilingual, ...]]:
    n = len(tables.school_ids)
    columns: dict[str, Floats] = {name: np.full(n, np.nan) for name in NUMBERS}
    notes: tuple[Bilingual, ...] = ()
    posterior = [c for c in rule.criteria if c.evidence == "posterior"]
    if posterior and all(c.column != SHARE for c in posterior):
        if len(posterior) < len(rule.criteria):
            raise SpecificationError(text("detection.mixed_evidence", rule=rule.id))
        joint = judge_posterior(tables, rule)
        answers, reason, found = joint.answers, joint.reason, joint.found
        columns |= joint.columns
        notes = joint.notes
    else:
        found = {
            c.name: judge_shares(tables, rule, c)
            if c.column == SHARE
            else judge_level(tables, rule, c)
            for c in rule.criteria
        }
        stack = np.column_stack([f.answers for f in found.values()])
        answers = all_of(stack) if rule.combination == "all" else any_of(stack)
        reason = _reasons(answers, found)
        columns |= _share_columns(rule, found)
    verdict = words(answers).astype(object)
    _guard(tables, rule, verdict, reason)
    table = pd.DataFrame(
        {"school_id": tables.school_ids, "rule_id": rule.id, "verdict": verdict, **columns}
    )
    table["reason"] = pd.Series(reason, dtype=object)
    return table.astype({"verdict": str}), _lines(tables, rule, found), notes


def _share_columns(rule: Criteria, found: Mapping[str, Found]) -> dict[str, Floats]:
    """Give a rule of one posterior share criterion its probability, threshold, loss and FDR."""
    posterior = [c for c in rule.criteria if c.evidence == "posterior"]
    if len(posterior) != 1:
        return {}
    p = found[posterior[0].name].probability
    known = np.isfinite(p)
    fdr = np.full(len(p), np.nan)
    fdr[known] = list_fdr(p[known])
    return {
        "probability": p,
        "threshold": np.full(len(p), rule.losses.threshold),
        "expected_loss": rule.losses.expected_loss(p),
        "list_fdr": fdr,
    }


def _reasons(answers: Answers, found: Mapping[str, Found]) -> NDArray[np.object_]:
    """Give the reason of the first criterion that agrees with the verdict and has one."""
    reason = blank(len(answers))
    for k in range(len(answers)):
        for line in found.values():
            if line.answers[k] == answers[k] and line.reason[k]:
                reason[k] = line.reason[k]
                break
    return reason


def _guard(
    tables: Tables,
    rule: Criteria,
    verdict: NDArray[np.object_],
    reason: NDArray[np.object_],
) -> None:
    """Take schools with selection out of a rule that excludes them."""
    if not rule.exclude_selective or tables.schools is None:
        return
    if "is_selective" not in tables.schools.columns:
        return
    chosen = tables.latest("schools", rule.id)["is_selective"]
    selective = chosen.isin([True, 1]).to_numpy()
    for k in np.flatnonzero(selective):
        verdict[k] = "not_applicable"
        reason[k] = text("detection.selective")


def _lines(tables: Tables, rule: Criteria, found: Mapping[str, Found]) -> pd.DataFrame:
    pieces = []
    for criterion in rule.criteria:
        line = found[criterion.name]
        piece = pd.DataFrame(
            {
                "school_id": tables.school_ids,
                "rule_id": rule.id,
                "criterion": criterion.name,
                "value": line.value,
                "threshold": line.threshold,
                "scale": criterion.scale,
                "probability": line.probability,
                "verdict": words(line.answers),
                "reference": criterion.reference or rule.reference,
            }
        )
        piece.insert(8, "reason", pd.Series(line.reason, dtype=object))
        pieces.append(piece)
    return pd.concat(pieces, ignore_index=True)
