"""Results of the integrity switch."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from resilience.detection.integrity.flags import augmented
from resilience.detection.verdicts.results import DetectionResults, Explanation
from resilience.errors import DataError
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results, format_table
from resilience.validation import check_columns, nearest_names

__all__ = ["IntegritySwitchResults"]

CHANGES = {
    str(text(f"integrity.list_{change}")): f"integrity.change_{change}"
    for change in ("kept", "left", "entered", "never_listed", "removed", "set_aside")
}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class IntegritySwitchResults(Results):
    """Every list with and without the schools whose results show signs.

    Attributes
    ----------
    schools : DataFrame
        A row per school and rule: ``school_id rule_id verdict_with verdict_without integrity_flag
        list_change``; the change is ``kept``, ``left``, ``entered``, ``never listed``, and for
        schools with signs ``removed`` (was listed) or ``set aside`` (was not), in two languages.
    lists : DataFrame
        A row per rule: ``rule_id n_with n_without n_staying n_removed n_left n_entered jaccard
        jaccard_others``; the latter among the schools without signs alone.
    everyone, cleared : DetectionResults
        Verdicts over all schools, and over those without signs.
    n_unknown : int
        Schools whose flag is missing; they stay.
    notes : tuple of Bilingual
        Flags of schools that stand in no table.
    """

    schools: pd.DataFrame
    lists: pd.DataFrame
    everyone: DetectionResults
    cleared: DetectionResults
    n_unknown: int
    notes: tuple[Bilingual, ...] = ()

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("integrity.title_switch").localized(lang)

    def tidy(self) -> pd.DataFrame:
        """Return one row per rule."""
        return self.lists.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, schools with signs, lists and how far they agree."""
        one = self.schools.drop_duplicates("school_id")
        return pd.DataFrame(
            {
                "n_schools": [len(one)],
                "n_flagged": [int(one["integrity_flag"].sum())],
                "n_flag_unknown": [self.n_unknown],
                "n_rules": [len(self.lists)],
                "jaccard": [float(self.lists["jaccard"].min())],
                "jaccard_others": [float(self.lists["jaccard_others"].min())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with the change under one rule, or the worst of several.

        With several rules the column holds the changes of all of them, joined by commas.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        """
        check_columns(data, ["school_id"], table="data")
        table = self.schools.groupby("school_id", sort=True).agg(
            integrity_flag=("integrity_flag", "first"),
            list_change=("list_change", lambda changes: _joined(list(changes))),
        )
        return augmented(data, table.reset_index())

    def explain(self, school_id: str, *, lang: str = "en") -> Explanation:
        """Return both verdicts of one school under every rule, and in words.

        Raises
        ------
        DataError
            If the school is not among those judged; the nearest ids are named.
        """
        check_language(lang)
        own = self.schools[self.schools["school_id"] == str(school_id)]
        if own.empty:
            nearest = nearest_names(str(school_id), self.schools["school_id"].unique())
            raise DataError(text("integrity.no_school", school=school_id, nearest=nearest))
        sentences = [
            text(CHANGES[str(row["list_change"])], rule=row["rule_id"]).localized(lang)
            for row in own.to_dict(orient="records")
        ]
        return Explanation(
            school_id=str(school_id),
            lang=lang,
            table=own.drop(columns="school_id").reset_index(drop=True),
            sentences=(*sentences, text("integrity.not_proof").localized(lang)),
        )

    def summary(self, lang: str = "en") -> str:
        """Return how each list changes and what that means."""
        check_language(lang)
        head = format_table(self.glance(), lang).T.to_string(header=False)
        table = format_table(self.lists, lang).to_string(index=False)
        notes = [f"* {note.localized(lang)}" for note in self.notes]
        title = self.title(lang)
        end = [text(f"integrity.{k}").localized(lang) for k in ("not_refitted", "not_proof")]
        return "\n".join([title, "=" * len(title), head, "", table, "", *notes, *end])


def _joined(changes: list[Bilingual]) -> Bilingual:
    different = list(dict.fromkeys(changes))
    return Bilingual(", ".join(c.en for c in different), ", ".join(c.ru for c in different))
