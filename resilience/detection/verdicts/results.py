"""Verdicts with their reasons."""

from __future__ import annotations

import html
import itertools
from dataclasses import dataclass, field

import pandas as pd

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.wording import describe_verdict
from resilience.detection.verdicts.differences import (
    differences,
    empty_cells,
    is_companion,
    is_official,
)
from resilience.detection.verdicts.pooled import empty_long_run
from resilience.detection.verdicts.working import empty_working
from resilience.errors import DataError
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results, format_table
from resilience.validation import check_columns, nearest_names

__all__ = ["DetectionResults", "Explanation"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Why a school got its verdicts.

    Attributes
    ----------
    school_id : str
        The school.
    lang : {"en", "ru"}
        Language of the text.
    table : DataFrame
        A row per rule and criterion: ``rule_id criterion value threshold scale probability verdict
        reason reference``.
    sentences : tuple of str
        One or more sentences per rule: the verdict, its probability, its reason, and what would
        change it.
    """

    school_id: str
    lang: str
    table: pd.DataFrame
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        head = text("detection.explain_head", school=self.school_id).localized(self.lang)
        return "\n".join([head, *self.sentences])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = text("detection.explain_head", school=self.school_id).localized(self.lang)
        lines = "".join(f"<p>{html.escape(s)}</p>" for s in self.sentences)
        table = format_table(self.table, self.lang).to_html(index=False, border=0)
        return f"<h4>{html.escape(head)}</h4>{lines}{table}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DetectionResults(Results):
    """Verdicts of one or more rules.

    Attributes
    ----------
    schools : DataFrame
        ``school_id rule_id verdict probability probability_from probability_to probability_policy
        probability_effect probability_adverse threshold effect_net effect_net_sd power_to_detect
        years_needed pupils_needed expected_loss list_fdr in_fdr_list target certainty reason``: one
        row per school and rule.
    criteria : DataFrame
        ``school_id rule_id criterion value threshold scale probability verdict reason reference``:
        one row per school, rule and criterion.
    rules : tuple of Criteria
        The rules as they were applied.
    notes : tuple of Bilingual
        What a reader must know about all verdicts.
    working : DataFrame
        What each posterior verdict on effect and context was computed from, one row per school and
        rule: ``school_id rule_id context_index context_shrunken context_error gate context_sign
        effect reliability line_level line_slope residual_mean precision context_slope
        effect_variance shrinkage delta effect_sign alternative probability_adverse probability
        threshold p_no power_to_detect n_pupils n_years transient_variance``.
    long_run : DataFrame
        Long-run failing shares behind rules that pool counts, one row per school, rule and
        procedure: ``school_id rule_id procedure n_participants n_below_minimum long_run_share
        long_run_sd long_run_low long_run_high probability_share``.
    cells : DataFrame
        Counts behind rules that read them: ``school_id year procedure n_participants
        n_below_minimum``, classes added up.
    """

    schools: pd.DataFrame
    criteria: pd.DataFrame
    rules: tuple[Criteria, ...]
    notes: tuple[Bilingual, ...] = ()
    working: pd.DataFrame = field(default_factory=empty_working)
    long_run: pd.DataFrame = field(default_factory=empty_long_run)
    cells: pd.DataFrame = field(default_factory=empty_cells)

    @property
    def lists(self) -> pd.DataFrame:
        """One row per rule: how many schools got each answer, and how the connective matters.

        ``n_if_any`` and ``n_if_all`` count the schools that satisfy at least one, or every,
        criterion; ``expected_false`` is the sum of 1 − P over the listed schools.
        """
        rows = []
        for rule in self.rules:
            own = self.schools[self.schools["rule_id"] == rule.id]
            lines = self.criteria[self.criteria["rule_id"] == rule.id]
            yes = (lines["verdict"] == "yes").groupby(lines["school_id"]).sum()
            listed = own[own["verdict"] == "yes"]
            answers = own["verdict"].value_counts()
            rows.append(
                {
                    "rule_id": rule.id,
                    "n_listed": len(listed),
                    "n_not_listed": int(answers.get("no", 0)),
                    "n_insufficient": int(answers.get("insufficient_data", 0)),
                    "n_not_applicable": int(answers.get("not_applicable", 0)),
                    "n_if_any": int((yes >= 1).sum()),
                    "n_if_all": int((yes == len(rule.criteria)).sum()),
                    "expected_false": float((1 - listed["probability"]).sum(min_count=1)),
                }
            )
        return pd.DataFrame(rows)

    @property
    def list_errors(self) -> pd.DataFrame:
        """One row per rule with probabilities: how wrong its lists are expected to be.

        ``n_listed`` names by the losses with ``expected_true`` right and ``expected_false`` wrong
        ones (share ``list_fdr``), ``expected_missed`` members among the schools that could be
        judged and were not listed; ``n_in_fdr_list`` names by the allowed share of wrong ones,
        ``fdr``, alone.

        References
        ----------
        NewtonEtAl2004.
        """
        rows = []
        for rule in self.rules:
            if not rule.is_posterior:
                continue
            own = self.schools[self.schools["rule_id"] == rule.id]
            p = own["probability"].astype(float)
            yes = own["verdict"] == "yes"
            judged = own["list_fdr"].notna()
            rows.append(
                {
                    "rule_id": rule.id,
                    "n_listed": int(yes.sum()),
                    "expected_true": float(p[yes].sum()),
                    "expected_false": float((1 - p[yes]).sum()),
                    "list_fdr": float((1 - p[yes]).mean()) if yes.any() else 0.0,
                    "expected_missed": float(p[judged & ~yes].sum()),
                    "fdr": rule.fdr,
                    "n_in_fdr_list": int(own["in_fdr_list"].fillna(False).sum()),
                }
            )
        names = ["rule_id", "n_listed", "expected_true", "expected_false", "list_fdr"]
        return pd.DataFrame(rows, columns=[*names, "expected_missed", "fdr", "n_in_fdr_list"])

    def listed(self, rule_id: str | None = None) -> pd.DataFrame:
        """Return the rows with verdict yes, of one rule or of all."""
        table = self.schools[self.schools["verdict"] == "yes"]
        if rule_id is not None:
            self.rule(rule_id)
            table = table[table["rule_id"] == rule_id]
        return table.reset_index(drop=True)

    def rule(self, rule_id: str) -> Criteria:
        """Return the rule with this id.

        Raises
        ------
        DataError
            If it was not applied; the ids that were are named.
        """
        known = {r.id: r for r in self.rules}
        if rule_id not in known:
            raise DataError(
                text("detection.not_applied", rule=rule_id, nearest=nearest_names(rule_id, known))
            )
        return known[rule_id]

    def why_they_differ(self, official_id: str, companion_id: str) -> pd.DataFrame:
        """Return where the official rule and the pooled one disagree, and why, school by school.

        Rules of thumb, in this order; see `resilience.detection.verdicts.differences`.

        Parameters
        ----------
        official_id : str
            Id of a rule on counts per procedure and year.
        companion_id : str
            Id of a rule judged by the model of counts (``low_posterior_pooled``).

        Returns
        -------
        DataFrame
            ``school_id official companion probability why_they_differ explanation``: the verdicts,
            the companion's probability, the reason in a word and in a sentence.

        Raises
        ------
        DataError
            If a rule was not applied.
        SpecificationError
            If the first is not a rule on counts, or the second does not pool them.
        """
        return differences(
            self.schools, self.cells, self.rule(official_id), self.rule(companion_id)
        )

    def explain(self, school_id: str, *, lang: str = "en") -> Explanation:
        """Return every criterion with value, threshold, probability, verdict, and in words.

        Parameters
        ----------
        school_id : str
            The school.
        lang : {"en", "ru"}
            Language.

        Raises
        ------
        DataError
            If the school is in none of the tables; the nearest ids are named.
        """
        check_language(lang)
        own = self.schools[self.schools["school_id"] == str(school_id)]
        if own.empty:
            known = self.schools["school_id"].astype(str).unique()
            raise DataError(
                text(
                    "detection.no_school",
                    school=school_id,
                    nearest=nearest_names(str(school_id), known),
                )
            )
        lines = self.criteria[self.criteria["school_id"] == str(school_id)]
        sentences = tuple(
            describe_verdict(self.rule(str(row["rule_id"])), row, lines, lang)
            # records, not rows as Series: pandas 3 would turn bilingual reasons into plain text
            for row in own.to_dict(orient="records")
        )
        sentences += self._differences(str(school_id), lang)
        table = lines.drop(columns="school_id").reset_index(drop=True)
        return Explanation(school_id=str(school_id), lang=lang, table=table, sentences=sentences)

    def _differences(self, school_id: str, lang: str) -> tuple[str, ...]:
        """Say why an official rule and its companion answer differently for a school."""
        own = self.schools[self.schools["school_id"] == school_id]
        cells = self.cells[self.cells["school_id"] == school_id]
        said = []
        for official, companion in itertools.product(self.rules, self.rules):
            if is_official(official) and is_companion(companion):
                row = differences(own, cells, official, companion).to_dict(orient="records")[0]
                if row["why_they_differ"] != text("pooled.why_agree"):
                    said.append(row["explanation"].localized(lang))
        return tuple(said)

    def tidy(self) -> pd.DataFrame:
        """Return the verdicts, one row per school and rule."""
        return self.schools.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, rules, verdicts of each kind over all rules."""
        answers = self.schools["verdict"].value_counts()
        return pd.DataFrame(
            {
                "n_schools": [self.schools["school_id"].nunique()],
                "n_rules": [len(self.rules)],
                "n_listed": [int(answers.get("yes", 0))],
                "n_not_listed": [int(answers.get("no", 0))],
                "n_insufficient": [int(answers.get("insufficient_data", 0))],
                "n_not_applicable": [int(answers.get("not_applicable", 0))],
            }
        )

    def summary(self, lang: str = "en") -> str:
        """Return the rules in words and the size of every list."""
        check_language(lang)
        rules = [rule.describe(lang) for rule in self.rules]
        notes = [f"* {note.localized(lang)}" for note in self.notes]
        lists = format_table(self.lists, lang).to_string(index=False)
        return "\n".join([self.title(lang), *rules, "", lists, *notes])

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with ``verdict_<rule id>`` columns added.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        """
        check_columns(data, ["school_id"], table="data")
        wide = self.schools.pivot_table(
            index="school_id", columns="rule_id", values="verdict", aggfunc="first"
        )
        wide.columns = pd.Index([f"verdict_{name}" for name in wide.columns])
        keyed = data["school_id"].astype(str)
        return data.assign(**{c: keyed.map(wide[c]).to_numpy() for c in wide.columns})
