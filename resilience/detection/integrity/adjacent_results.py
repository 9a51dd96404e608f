"""Results of the adjacent-score test."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from resilience.detection.integrity.flags import augmented, flag_of, row_of
from resilience.detection.integrity.lines import number
from resilience.detection.verdicts.results import Explanation
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results, format_table

__all__ = ["AdjacentScoresResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AdjacentScoresResults(Results):
    r"""What the adjacent-score test found.

    Attributes
    ----------
    schools : DataFrame
        A row per school: ``school_id verdict n_results n_windows n_above expected_share
        expected_above binomial_p_value integrity_p_value integrity_mid_p integrity_q_value
        moved_share moved_share_low moved_share_high power_moved_40 power_moved_60 power_moved_80
        windows_needed results_needed reason``.  Power is that of one test at level .01.
    windows : DataFrame
        A row per school, procedure, year and border: ``school_id procedure year mark border_score
        n_windows n_above expected_share``.
    borders : DataFrame
        A row per border: ``procedure year mark border_score window_width n_windows n_above
        reason``; a border that was not used has its reason.
    correlation : float
        :math:`\rho` between the pupils of one school, which honest differences explain.
    level : float
        Share of wrong names tolerated in the list.
    reference : {"region", "smooth"}
        Where the expected shares come from.
    years : tuple of int
        Years pooled.
    notes : tuple of Bilingual
        Windows made narrower, procedures left out.
    """

    schools: pd.DataFrame
    windows: pd.DataFrame
    borders: pd.DataFrame
    correlation: float
    level: float
    reference: str
    years: tuple[int, ...]
    notes: tuple[Bilingual, ...] = ()

    @property
    def flags(self) -> pd.DataFrame:
        """Return ``school_id integrity_flag``; missing where the data do not suffice."""
        return flag_of(self.schools)

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("integrity.title_adjacent").localized(lang)

    def tidy(self) -> pd.DataFrame:
        """Return one row per school."""
        return self.schools.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools by verdict, correlation, level."""
        answers = self.schools["verdict"].value_counts()
        return pd.DataFrame(
            {
                "n_schools": [len(self.schools)],
                "n_listed": [int(answers.get("yes", 0))],
                "n_not_listed": [int(answers.get("no", 0))],
                "n_insufficient": [int(answers.get("insufficient_data", 0))],
                "window_correlation": [self.correlation],
                "fdr_level": [self.level],
                "window_reference": [self.reference],
                "n_years": [len(self.years)],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with the test's columns added.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        """
        names = ["integrity_p_value", "integrity_q_value"]
        names += ["moved_share", "moved_share_low", "moved_share_high"]
        table = self.schools[["school_id", *names]].merge(self.flags, on="school_id")
        return augmented(data, table)

    def explain(self, school_id: str, *, lang: str = "en") -> Explanation:
        """Return the windows of one school and the verdict in words.

        Raises
        ------
        DataError
            If the school is not among those tested; the nearest ids are named.
        """
        check_language(lang)
        row = row_of(self.schools, school_id)
        sentences = [row["reason"]]
        if row["n_windows"] > 0 and row["verdict"] != "insufficient_data":
            sentences.append(
                text(
                    "integrity.adjacent_size",
                    moved=f"{100 * row['moved_share']:.0f}",
                    low=f"{100 * row['moved_share_low']:.0f}",
                    high=f"{100 * row['moved_share_high']:.0f}",
                    q=number(row["integrity_q_value"], 3),
                    level=number(self.level),
                )
            )
        sentences.append(text("integrity.not_proof"))
        own = self.windows[self.windows["school_id"] == str(school_id)]
        return Explanation(
            school_id=str(school_id),
            lang=lang,
            table=own.drop(columns="school_id").reset_index(drop=True),
            sentences=tuple(s.localized(lang) for s in sentences),
        )

    def summary(self, lang: str = "en") -> str:
        """Return the size of the list, the schools on it, the power, and what it means."""
        check_language(lang)
        head = format_table(self.glance(), lang).T.to_string(header=False)
        listed = self.schools[self.schools["verdict"] == "yes"].sort_values("integrity_p_value")
        columns = ["school_id", "n_windows", "n_above", "expected_above", "integrity_q_value"]
        columns += ["moved_share", "moved_share_low", "moved_share_high", "power_moved_60"]
        blocks = [self.title(lang), "=" * len(self.title(lang)), head, ""]
        if len(listed):
            blocks.append(format_table(listed[columns], lang).to_string(index=False))
        judged = self.schools[self.schools["verdict"] != "insufficient_data"]
        if len(judged):
            blocks.append(
                text(
                    "integrity.power_line",
                    n=len(judged),
                    median=f"{100 * judged['power_moved_60'].median():.0f}",
                    seen=int((judged["power_moved_60"] >= 0.8).sum()),
                ).localized(lang)
            )
        blocks += [f"* {note.localized(lang)}" for note in self.notes]
        return "\n".join([*blocks, text("integrity.not_proof").localized(lang)])
