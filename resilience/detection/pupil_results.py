"""What the search for resilient pupils returns."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from resilience.detection.pupil_classes import classified, pupil_units
from resilience.detection.pupil_definitions import LEVEL, PupilDefinition
from resilience.errors import DataError
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results, format_table
from resilience.validation import check_columns, shorten

__all__ = ["ResilientPupilsResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ResilientPupilsResults(Results):
    """Shares of resilient pupils; no pupil is kept.

    Attributes
    ----------
    schools : DataFrame
        ``school_id n_pupils n_disadvantaged n_resilient resilient_share resilient_share_low
        resilient_share_high resilient_share_shrunken probability_resilient_share threshold
        power_to_detect verdict``: one row per school, years pooled; the probability is that of a
        share above the region's, as the preset ``pupil_share`` reads it.
    years : DataFrame
        ``year n_schools n_pupils n_disadvantaged n_resilient resilient_share resilient_share_low
        resilient_share_high cluster_low cluster_high r_squared resilient_share_normal``: a row per
        year, the last one (year missing) for all together.
    cuts : DataFrame
        ``year ses_cut result_cut intercept slope r_squared``: where the percentiles fall.
    standards : DataFrame
        ``year subject raw_mean raw_sd`` of the scores.
    definition : PupilDefinition
        The reading used.
    minimum_scores : tuple of (str, float)
        Core skills by subject; empty where a level or nothing of the kind was asked for.
    threshold : float
        Probability from which a school's verdict is yes.
    notes : tuple of Bilingual
        What a reader must know.
    """

    schools: pd.DataFrame
    years: pd.DataFrame
    cuts: pd.DataFrame
    standards: pd.DataFrame
    definition: PupilDefinition
    minimum_scores: tuple[tuple[str, float], ...]
    threshold: float
    notes: tuple[Bilingual, ...] = ()

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("pupils.title").localized(check_language(lang))

    @property
    def share(self) -> float:
        """Share of resilient pupils among the disadvantaged, all years together."""
        return float(self.years["resilient_share"].iloc[-1])

    def tidy(self) -> pd.DataFrame:
        """Return the regional shares, one row per year and one for all years."""
        return self.years.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: all years together, and how many schools stand above the region."""
        row = self.years.tail(1).drop(columns="year").reset_index(drop=True)
        answers = self.schools["verdict"].value_counts()
        return row.assign(
            n_listed=int(answers.get("yes", 0)),
            n_not_listed=int(answers.get("no", 0)),
            n_insufficient=int(answers.get("insufficient_data", 0)),
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return pupils' rows with ``is_disadvantaged`` and ``is_resilient`` added.

        The cuts are those of this result, so that part of the pupils may be classified too; a pupil
        must come with all rows of the year.

        Raises
        ------
        DataError
            If a column is missing, or a year or subject was not there.
        """
        names = ["pupil_key", "year", "subject", "score", "ses"]
        if self.definition.kind == "core_skills" and not self.minimum_scores:
            names.append(LEVEL)
        check_columns(data, names, table="data")
        rows = data[names].assign(
            pupil_key=data["pupil_key"].astype(str),
            subject=data["subject"].astype(str),
            year=data["year"].astype("int64"),
            school_id="",
        )
        known = set(zip(self.standards["year"], self.standards["subject"], strict=True))
        given = dict.fromkeys(zip(rows["year"], rows["subject"], strict=True))
        strange = [f"{subject} {year}" for year, subject in given if (year, subject) not in known]
        if strange:
            raise DataError(text("pupils.not_there", cells=shorten(strange)))
        units = pupil_units(
            rows, self.standards, dict(self.minimum_scores), self.definition.level_at_least
        )
        found = classified(units, self.cuts, self.definition).set_index(["year", "pupil_key"])
        key = pd.MultiIndex.from_arrays([rows["year"], rows["pupil_key"]])
        own = found[["is_disadvantaged", "is_resilient"]].reindex(key)
        return data.assign(**{name: own[name].to_numpy(dtype=bool) for name in own.columns})

    def summary(self, lang: str = "en") -> str:
        """Return the regional shares, the number of schools by verdict, and the notes."""
        check_language(lang)
        head = format_table(self.glance(), lang).T
        head.columns = pd.Index([""])
        blocks = [self.title(lang), "=" * len(self.title(lang)), head.to_string(header=False), ""]
        blocks += [format_table(self.years, lang).to_string(index=False), ""]
        return "\n".join([*blocks, *(f"* {n.localized(lang)}" for n in self.notes)])
