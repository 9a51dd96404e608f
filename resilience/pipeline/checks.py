"""What stands beside the verdicts of a run: how far they depend on choices, chance and time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import pandas as pd

from resilience.context import ContextIndexResults
from resilience.context.sensitivity_results import IndexSensitivityResults
from resilience.detection import Criteria, DetectionResults, detect_schools
from resilience.detection.history.early_warning import EarlyWarningResults, early_warning
from resilience.detection.history.next_year import federal_form
from resilience.detection.history.status import list_status
from resilience.detection.history.status_results import StatusResults
from resilience.detection.integrity.adjacent import adjacent_scores
from resilience.detection.integrity.adjacent_results import AdjacentScoresResults
from resilience.detection.integrity.borders import mark_borders
from resilience.detection.integrity.switch import without_suspicious
from resilience.detection.integrity.switch_results import IntegritySwitchResults
from resilience.detection.simulator.results import RuleSimulationResults
from resilience.detection.simulator.simulate import simulate_rule
from resilience.detection.verdicts.differences import is_companion, is_official
from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.i18n import Bilingual, text
from resilience.pipeline.config import Check, RegionConfig
from resilience.pipeline.inputs import Region
from resilience.value_added import EffectsResults

__all__ = ["Checks", "Signs", "look_for_signs", "run_checks"]

FEWEST_YEARS = 2
N_REPLICATES = 500  # Monte-Carlo error of a probability at most .022

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True, eq=False)
class Checks:
    """Results of the checks of a run; absent where they were not asked for or the data lack.

    Attributes
    ----------
    sensitivity : IndexSensitivityResults or None
        How ranks and the gate depend on the weights of the index.
    rule_errors : RuleSimulationResults or None
        How often the rules on counts err by chance, on the region's own sizes.
    status : mapping of str to StatusResults
        Lists of several years by rule.
    early_warning : EarlyWarningResults or None
        Next year's list of the first low-result rule of the federal form.
    adjacent : AdjacentScoresResults or None
        The test of scores at the borders of marks.
    switch : IntegritySwitchResults or None
        Every list with and without schools with signs.
    differences : mapping of (str, str) to DataFrame
        For each rule on counts and the rule that pools them: both verdicts of every school, and why
        they differ.
    notes : tuple of Bilingual
        Which check was not made, and why.
    """

    sensitivity: IndexSensitivityResults | None = None
    rule_errors: RuleSimulationResults | None = None
    status: Mapping[str, StatusResults] = field(default_factory=dict)
    early_warning: EarlyWarningResults | None = None
    adjacent: AdjacentScoresResults | None = None
    switch: IntegritySwitchResults | None = None
    differences: Mapping[tuple[str, str], pd.DataFrame] = field(default_factory=dict)
    notes: tuple[Bilingual, ...] = ()

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables by name, in the order of a report."""
        found: dict[str, pd.DataFrame] = {}
        if self.differences:
            pieces = [t.assign(rule_id=official) for (official, _), t in self.differences.items()]
            found["why_they_differ"] = pd.concat(pieces, ignore_index=True)
        if self.sensitivity is not None:
            found["index_sensitivity"] = self.sensitivity.schools
            found["index_variants"] = self.sensitivity.variants
        if self.rule_errors is not None:
            found["rule_errors"] = self.rule_errors.by_size_band
            found["rule_errors_schools"] = self.rule_errors.schools
        if self.status:
            pieces = [r.statuses.assign(rule_id=rule) for rule, r in self.status.items()]
            found["statuses"] = pd.concat(pieces, ignore_index=True)
        if self.early_warning is not None:
            found["early_warning"] = self.early_warning.schools
            found["early_warning_scores"] = self.early_warning.scores
        if self.adjacent is not None:
            found["integrity"] = self.adjacent.schools
        if self.switch is not None:
            found["integrity_lists"] = self.switch.lists
        return found


class _Trials:
    """Checks made one by one; one that the data do not allow leaves its reason."""

    def __init__(self, wanted: tuple[Check, ...]) -> None:
        self.wanted = wanted
        self.notes: list[Bilingual] = []

    def make(self, check: Check, given: bool, run: Callable[[], Found]) -> Found | None:
        """Return what a check found, or None."""
        if check not in self.wanted or not given:
            return None
        try:
            with warnings.catch_warnings():
                # the run itself warns of weak data; its checks carry their own notes
                warnings.simplefilter("ignore", WeakDataWarning)
                return run()
        except (DataError, SpecificationError) as error:
            name = text(f"checks.{check}")
            self.notes.append(text("checks.not_made", check=name, reason=error.message))
            return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Signs:
    """Signs in the scores, looked for before the rules are applied.

    Attributes
    ----------
    adjacent : AdjacentScoresResults or None
        The test; None where it was not asked for or there are no scores.
    notes : tuple of Bilingual
        Why it was not made.
    """

    adjacent: AdjacentScoresResults | None = None
    notes: tuple[Bilingual, ...] = ()

    @property
    def flags(self) -> pd.DataFrame | None:
        """``school_id integrity_flag`` for the guards of rules."""
        return None if self.adjacent is None else self.adjacent.flags

    def marked(self, schools: pd.DataFrame) -> pd.DataFrame:
        """Return the table of schools with the flag, which the guards of rules read.

        A table that brings flags of its own keeps them.
        """
        if self.flags is None or "integrity_flag" in schools.columns:
            return schools
        flag = self.flags.set_index("school_id")["integrity_flag"]
        return schools.assign(integrity_flag=schools["school_id"].astype(str).map(flag).to_numpy())


def look_for_signs(config: RegionConfig, region: Region) -> Signs:
    """Test the scores at the borders of marks, where the run has scores and asks for it."""
    trials = _Trials(config.output.checks)
    adjacent = trials.make(
        "integrity",
        region.score_histograms is not None and region.procedures is not None,
        lambda: _adjacent(region, config.output.seed),
    )
    return Signs(adjacent=adjacent, notes=tuple(trials.notes))


def run_checks(
    config: RegionConfig,
    region: Region,
    *,
    index: ContextIndexResults | None,
    va: EffectsResults | None,
    found: DetectionResults,
    signs: Signs,
) -> Checks:
    """Make the checks that a configuration asks for, where the data allow them.

    Parameters
    ----------
    config : RegionConfig
        ``[output] checks``.
    region : Region
        What was known on the day.
    index, va, found
        Index, effects and verdicts of the run.
    signs : Signs
        What `look_for_signs` found in the scores.
    """
    trials, seed = _Trials(config.output.checks), config.output.seed
    trials.notes += signs.notes
    counts = region.counts
    on_counts = [r for r in found.rules if _on_counts(r)]
    readable = counts is not None and bool(on_counts)
    sensitivity = trials.make(
        "sensitivity", index is not None, lambda: _index(index).sensitivity(random_state=seed)
    )
    rule_errors = trials.make(
        "rule_errors",
        readable,
        lambda: simulate_rule(
            on_counts,
            _table(counts),
            schools=region.schools,
            truth="two_procedures",
            n_replicates=N_REPLICATES,
            random_state=seed,
        ),
    )
    status = trials.make("status", readable, lambda: _statuses(on_counts, region))
    federal = next((r for r in on_counts if _has_federal_form(r)), None)
    warning = trials.make(
        "early_warning",
        readable and federal is not None,
        lambda: early_warning(
            _table(counts), rule=_rule(federal), schools=region.schools, random_state=seed
        ),
    )
    flags = signs.flags
    switch = trials.make(
        "integrity",
        flags is not None and bool(flags["integrity_flag"].fillna(False).any()),
        lambda: without_suspicious(
            va.school_effects if va is not None else None,
            index.scores if index is not None else None,
            list(found.rules),
            flags=_table(flags),
            counts=counts,
            school_years=va.school_years if va is not None else None,
            schools=region.schools,
            variances=va.variances if va is not None else None,
            everyone=found,
        ),
    )
    return Checks(
        sensitivity=sensitivity,
        rule_errors=rule_errors,
        status=status or {},
        early_warning=warning,
        adjacent=signs.adjacent,
        switch=switch,
        differences=_differences(found),
        notes=tuple(trials.notes),
    )


def _on_counts(rule: Criteria) -> bool:
    """Whether a rule reads counts alone and compares them as they are."""
    return all(c.column == "share_below_minimum" and c.evidence == "point" for c in rule.criteria)


def _differences(found: DetectionResults) -> dict[tuple[str, str], pd.DataFrame]:
    low = [rule for rule in found.rules if rule.target == "low"]
    return {
        (official.id, companion.id): found.why_they_differ(official.id, companion.id)
        for official in low
        for companion in low
        if is_official(official) and is_companion(companion)
    }


def _has_federal_form(rule: Criteria) -> bool:
    try:
        federal_form(rule)
    except SpecificationError:
        return False
    return True


def _index(index: ContextIndexResults | None) -> ContextIndexResults:
    assert index is not None  # only called where there is one
    return index


def _table(table: pd.DataFrame | None) -> pd.DataFrame:
    assert table is not None  # only called where there is one
    return table


def _rule(rule: Criteria | None) -> Criteria:
    assert rule is not None  # only called where there is one
    return rule


def _statuses(rules: list[Criteria], region: Region) -> dict[str, StatusResults]:
    """Apply the rules of this year to every year of the counts and follow the schools."""
    counts = _table(region.counts)
    years = sorted(int(y) for y in counts["year"].unique())
    found = {}
    for rule in rules:
        # a list is complete from the first year on in which the table holds all the rule asks for
        judged = years[max(c.years_of for c in rule.criteria) - 1 :]
        if len(judged) < FEWEST_YEARS:
            raise DataError(
                text("checks.few_years", n=len(years), rule=rule.id, judged=len(judged))
            )
        lists = {}
        for year in judged:
            upto = counts[counts["year"] <= year]
            present = set(upto["procedure"].unique())
            # a procedure that began later cannot have been asked for then
            kept = tuple(p for p in rule.procedures if p in present)
            dated = rule.amend(rule.id, year=year, procedures=kept or "all")
            lists[year] = detect_schools(None, None, dated, counts=upto, schools=region.schools)
        found[rule.id] = list_status(lists, rule_id=rule.id)
    return found


def _adjacent(region: Region, seed: int) -> AdjacentScoresResults:
    scores, procedures = _table(region.score_histograms), _table(region.procedures)
    key = ["procedure", "year"]
    named = scores[key].drop_duplicates()
    borders = mark_borders(procedures.merge(named, on=key))
    latest = region.schools.drop_duplicates("school_id", keep="last")
    return adjacent_scores(scores, borders, schools=latest, random_state=seed)
