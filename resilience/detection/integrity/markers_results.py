"""Results of our own markers."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pandas as pd

from resilience.detection.integrity.flags import augmented, flag_of, row_of
from resilience.detection.integrity.objectivity_results import (
    counted,
    marker_sentence,
    named_markers,
)
from resilience.detection.integrity.thresholds import IntegrityThresholds
from resilience.detection.verdicts.results import Explanation
from resilience.i18n import check_language, text
from resilience.results import Results, format_table

__all__ = ["IntegrityResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class IntegrityResults(Results):
    """What our own markers say of each school; status: proposal.

    Attributes
    ----------
    schools : DataFrame
        A row per school: ``school_id verdict border_peak n_combined n_markers n_markers_judged
        reason``.  ``n_markers`` counts the tests of ``counted`` with a sign.
    markers : DataFrame
        A row per school, marker and test: ``school_id marker procedure year value threshold verdict
        reason``.
    confirmation : DataFrame
        ВПР beside school marks and later exams, a row per school, year and procedure.
    thresholds : IntegrityThresholds
        Every number of the rules.
    counted : tuple of str
        Tests over which ``n_markers`` counts.
    """

    schools: pd.DataFrame
    markers: pd.DataFrame
    confirmation: pd.DataFrame
    thresholds: IntegrityThresholds
    counted: tuple[str, ...]

    @property
    def flags(self) -> pd.DataFrame:
        """Return ``school_id integrity_flag``; missing where nothing could be judged."""
        return flag_of(self.schools)

    @property
    def by_marker(self) -> pd.DataFrame:
        """Return how many school × tests each marker marked, did not mark, could not judge."""
        return counted(self.markers, ["marker"])

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("integrity.title_markers").localized(lang)

    def tidy(self) -> pd.DataFrame:
        """Return one row per school, marker and test."""
        return self.markers.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools by verdict, by way of the flag."""
        answers = self.schools["verdict"].value_counts()
        return pd.DataFrame(
            {
                "n_schools": [len(self.schools)],
                "n_listed": [int(answers.get("yes", 0))],
                "n_not_listed": [int(answers.get("no", 0))],
                "n_insufficient": [int(answers.get("insufficient_data", 0))],
                "n_border_peak": [int((self.schools["border_peak"] == "yes").sum())],
                "n_combined": [int((self.schools["n_combined"] > 0).sum())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with ``integrity_flag n_markers n_combined`` added.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        """
        names = ["school_id", "n_markers", "n_combined"]
        return augmented(data, self.flags.merge(self.schools[names], on="school_id"))

    def explain(self, school_id: str, *, lang: str = "en") -> Explanation:
        """Return every marker of one school with value, threshold and evidence, and in words.

        Raises
        ------
        DataError
            If the school is not among those examined; the nearest ids are named.
        """
        check_language(lang)
        row = row_of(self.schools, school_id)
        own = self.markers[self.markers["school_id"] == str(school_id)]
        sentences = [row["reason"]]
        for line in own[own["verdict"] == "yes"].to_dict(orient="records"):
            place = f"{line['procedure']}, {line['year']}" if line["procedure"] else line["year"]
            title = text(f"integrity.marker_{line['marker']}", place=place)
            sentences.append(marker_sentence(title, line))
        sentences += [text("integrity.status_proposal"), text("integrity.not_proof")]
        return Explanation(
            school_id=str(school_id),
            lang=lang,
            table=named_markers(own.drop(columns="school_id").reset_index(drop=True)),
            sentences=tuple(s.localized(lang) for s in sentences),
        )

    def summary(self, lang: str = "en") -> str:
        """Return the thresholds, the size of the list, and what each marker marked."""
        check_language(lang)
        numbers = ", ".join(
            f"{f.name} {getattr(self.thresholds, f.name):g}" for f in fields(self.thresholds)
        )
        head = format_table(self.glance(), lang).T.to_string(header=False)
        table = format_table(named_markers(self.by_marker), lang).to_string(index=False)
        rule = text("integrity.thresholds", numbers=numbers).localized(lang)
        end = [text(f"integrity.{k}").localized(lang) for k in ("status_proposal", "not_proof")]
        title = self.title(lang)
        return "\n".join([title, "=" * len(title), rule, "", head, "", table, "", *end])
