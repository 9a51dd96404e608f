"""What a simulation of rules returns."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from resilience.detection.rules.criteria import Criteria
from resilience.errors import DataError
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results, format_table
from resilience.stats.lists.share_moments import FailureParts
from resilience.validation import check_columns, nearest_names

__all__ = ["RuleSimulationResults"]

_ADDED = (
    "probability_flag",
    "probability_insufficient",
    "probability_false_flag",
    "probability_miss",
)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RuleSimulationResults(Results):
    """False names, misses and churn of rules on a region's own cohort sizes.

    Attributes
    ----------
    schools : DataFrame
        ``rule_id school_id size_band is_rural mean_participants true_share probability_truly_low
        probability_flag probability_insufficient probability_false_flag probability_miss churn``:
        a row per rule and school.  False flags and misses are joint probabilities: summed over
        schools they give the expected numbers.
    by_size_band, by_rurality, overall : DataFrame
        A row per rule and group: expected numbers, ``sensitivity``, ``ppv``, ``churn``, each with
        its Monte-Carlo error.
    differences : DataFrame
        A row per pair of rules on the same draws.
    operating : DataFrame
        ``rule_id n_participants true_share probability_flag probability_flag_mc_error``.
    rules : tuple of Criteria
        The rules.
    parts : FailureParts
        Variances within schools.
    truth : str
        ``school``, ``procedure`` or ``two_procedures``: what truly low means.
    truth_share : float
        The share from which on a school, or a procedure, is truly low.
    n_replicates : int
        Simulated regions.
    notes : tuple of Bilingual
        What a reader must know about the figures.
    """

    schools: pd.DataFrame
    by_size_band: pd.DataFrame
    by_rurality: pd.DataFrame
    overall: pd.DataFrame
    differences: pd.DataFrame
    operating: pd.DataFrame
    rules: tuple[Criteria, ...]
    parts: FailureParts
    truth: str
    truth_share: float
    n_replicates: int
    notes: tuple[Bilingual, ...] = ()

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("simulator.title").localized(check_language(lang))

    def of_rule(self, rule_id: str | None = None) -> pd.DataFrame:
        """Return the schools' rows of one rule, by default the first.

        Raises
        ------
        DataError
            If the rule was not simulated; the ids that were are named.
        """
        known = [r.id for r in self.rules]
        chosen = known[0] if rule_id is None else rule_id
        if chosen not in known:
            raise DataError(
                text("detection.not_applied", rule=chosen, nearest=nearest_names(chosen, known))
            )
        return self.schools[self.schools["rule_id"] == chosen].reset_index(drop=True)

    def tidy(self) -> pd.DataFrame:
        """Return the table by size band, one row per rule and band."""
        return self.by_size_band.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, rules, replicates, the bound of truth, the variances."""
        parts = self.parts
        return pd.DataFrame(
            {
                "n_schools": [self.schools["school_id"].nunique()],
                "n_rules": [len(self.rules)],
                "n_replicates": [self.n_replicates],
                "truth_share": [self.truth_share],
                "part_school_year": [parts.school_year],
                "part_school_procedure": [parts.school_procedure],
                "part_cell": [parts.cell],
                "part_pupil": [parts.pupil],
            }
        )

    def augment(self, data: pd.DataFrame, *, rule_id: str | None = None) -> pd.DataFrame:
        """Return a table of schools with the probabilities of one rule added, by default the first.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id`` or the rule was not simulated.
        """
        check_columns(data, ["school_id"], table="data")
        own = self.of_rule(rule_id).set_index("school_id")
        keyed = data["school_id"].astype(str)
        return data.assign(**{name: keyed.map(own[name]).to_numpy() for name in _ADDED})

    def summary(self, lang: str = "en") -> str:
        """Return the tables of all schools, by size band and by rurality, and the notes."""
        check_language(lang)
        blocks = [self.title(lang), "=" * len(self.title(lang))]
        head = format_table(self.glance(), lang).T
        head.columns = pd.Index([""])
        blocks += [head.to_string(header=False), ""]
        for table in (self.overall, self.by_size_band, self.by_rurality, self.differences):
            if len(table):
                short = table[[c for c in table.columns if not str(c).endswith("_mc_error")]]
                blocks += [format_table(short, lang).to_string(index=False), ""]
        return "\n".join([*blocks, *(f"* {n.localized(lang)}" for n in self.notes)])
