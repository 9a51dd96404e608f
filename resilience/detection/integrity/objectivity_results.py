"""Results of the federal markers of objectivity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from resilience.detection.integrity.flags import augmented, flag_of, row_of
from resilience.detection.integrity.lines import number
from resilience.detection.integrity.marker_sets import MarkerSet
from resilience.detection.verdicts.results import Explanation
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results, format_table

__all__ = ["ObjectivityResults", "counted", "marker_sentence", "named_markers"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ObjectivityResults(Results):
    """What the federal markers say of each school, and the region's index.

    Attributes
    ----------
    schools : DataFrame
        A row per school: ``school_id verdict n_markers n_markers_judged``.
    markers : DataFrame
        A row per school and marker: ``school_id marker_number marker procedure year value threshold
        verdict reason``; the reason holds the evidence, or why there is no answer.
    municipalities : DataFrame
        ``municipality_id n_marked n_sat marked_share``; empty without municipalities.
    rule : MarkerSet
        The list of markers, with version, status and source.
    year : int
        Year of the list.
    ties, percentile_method : str
        Choices that the source leaves open.
    """

    schools: pd.DataFrame
    markers: pd.DataFrame
    municipalities: pd.DataFrame
    rule: MarkerSet
    year: int
    ties: str
    percentile_method: str

    @property
    def index(self) -> float:
        """100 minus the per cent of schools with at least one marker, among those judged.

        A school without any result that could be judged is neither objective nor not; it would
        raise the index.  NaN where no school was judged.
        """
        judged = self.schools["verdict"].isin(["yes", "no"])
        marked = int((self.schools["n_markers"] > 0).sum())
        return 100.0 - 100.0 * marked / int(judged.sum()) if judged.any() else float("nan")

    @property
    def flags(self) -> pd.DataFrame:
        """Return ``school_id integrity_flag``: at least one marker."""
        return flag_of(self.schools)

    @property
    def by_marker(self) -> pd.DataFrame:
        """Return how many schools each marker marked, did not mark, and could not judge."""
        return counted(self.markers, ["marker_number", "marker", "procedure"])

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("integrity.title_objectivity").localized(lang)

    def tidy(self) -> pd.DataFrame:
        """Return one row per school and marker."""
        return self.markers.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, schools marked, the index."""
        return pd.DataFrame(
            {
                "year": [self.year],
                "n_schools": [len(self.schools)],
                "n_marked": [int((self.schools["n_markers"] > 0).sum())],
                "n_insufficient": [int((self.schools["verdict"] == "insufficient_data").sum())],
                "objectivity_index": [self.index],
                "n_markers": [int(self.schools["n_markers"].sum())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with ``n_markers n_markers_judged integrity_flag`` added.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        """
        names = ["school_id", "n_markers", "n_markers_judged"]
        return augmented(data, self.schools[names].merge(self.flags, on="school_id"))

    def explain(self, school_id: str, *, lang: str = "en") -> Explanation:
        """Return every marker of one school with value, bound and evidence, and in words.

        Raises
        ------
        DataError
            If the school is not among those examined; the nearest ids are named.
        """
        check_language(lang)
        row = row_of(self.schools, school_id)
        own = self.markers[self.markers["school_id"] == str(school_id)]
        titles = {m.number: m.title for m in self.rule.markers}
        sentences = [
            text(
                "integrity.marked_of", n=int(row["n_markers"]), judged=int(row["n_markers_judged"])
            )
        ]
        for line in own[own["verdict"] == "yes"].to_dict(orient="records"):
            sentences.append(marker_sentence(titles[line["marker_number"]], line))
        sentences.append(text("integrity.not_proof"))
        return Explanation(
            school_id=str(school_id),
            lang=lang,
            table=named_markers(own.drop(columns="school_id").reset_index(drop=True)),
            sentences=tuple(s.localized(lang) for s in sentences),
        )

    def summary(self, lang: str = "en") -> str:
        """Return the rule in words, the index, and the schools of each marker."""
        check_language(lang)
        head = format_table(self.glance(), lang).T.to_string(header=False)
        blocks = [self.title(lang), "=" * len(self.title(lang)), self.rule.describe(lang), "", head]
        blocks += ["", format_table(named_markers(self.by_marker), lang).to_string(index=False)]
        if len(self.municipalities):
            blocks += ["", format_table(self.municipalities, lang).to_string(index=False)]
        choices = text(
            "integrity.open_choices", ties=self.ties, method=self.percentile_method
        ).localized(lang)
        return "\n".join([*blocks, "", choices, text("integrity.not_proof").localized(lang)])


def counted(markers: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the number of schools by verdict for each combination of ``keys``."""
    answers = pd.DataFrame(
        {
            "n_listed": markers["verdict"] == "yes",
            "n_not_listed": markers["verdict"] == "no",
            "n_insufficient": markers["verdict"] == "insufficient_data",
            "n_not_applicable": markers["verdict"] == "not_applicable",
        }
    )
    grouped = answers.groupby([markers[k] for k in keys], sort=True).sum()
    return grouped.astype("int64").reset_index()


def named_markers(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose markers are named in both languages."""
    names = [text(f"integrity.name_{m}") for m in table["marker"]]
    # object keeps both wordings; pandas' own strings would drop the Russian one
    return table.assign(marker=pd.Series(names, index=table.index, dtype=object))


def marker_sentence(title: Bilingual, line: Mapping[Any, Any]) -> Bilingual:
    """Return a marker that says yes as a sentence: what, its value, its bound, its evidence."""
    value, bound = (number(float(line[k]), 3) for k in ("value", "threshold"))
    reason = line["reason"]
    evidence = reason if isinstance(reason, Bilingual) else Bilingual(str(reason), str(reason))
    return text(
        "integrity.marker_sentence", title=title, value=value, bound=bound, evidence=evidence
    )
