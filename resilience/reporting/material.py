"""What an appendix is made from, read with care: any of the results may be absent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.plotting.inputs import rule_target, school_names
from resilience.reporting.provenance import Provenance
from resilience.validation import check_columns

__all__ = ["MOST_SCHOOLS", "Material", "years_of"]

MOST_SCHOOLS = 1000


@dataclass(frozen=True, kw_only=True)
class Material:
    """Results and tables behind one appendix.

    Attributes
    ----------
    va : EffectsResults or None
        Value added.
    index : ContextIndexResults or None
        Context index.
    found : DetectionResults or None
        Verdicts.
    counts, schools : DataFrame or None
        Tables of the contract.
    sources : DataFrame or None
        What the model takes for each procedure and year, and why.
    provenance : Provenance or None
        Where the numbers come from.
    checks : Checks or None
        How far the verdicts depend on choices, chance and time.
    """

    va: Any
    index: Any
    found: Any
    counts: pd.DataFrame | None
    schools: pd.DataFrame | None
    provenance: Provenance | None
    sources: pd.DataFrame | None = None
    checks: Any = None

    def __post_init__(self) -> None:
        if self.va is None and self.index is None and self.found is None:
            raise SpecificationError(text("appendix.nothing"))
        for argument, attribute in (
            ("va", "school_effects"),
            ("index", "scores"),
            ("found", "schools"),
        ):
            value = getattr(self, argument)
            if value is not None and not isinstance(getattr(value, attribute, None), pd.DataFrame):
                raise SpecificationError(
                    text(
                        "appendix.no_table",
                        argument=argument,
                        kind=type(value).__name__,
                        attribute=attribute,
                    )
                )
        if self.va is not None and self.va.school_effects["school_id"].duplicated().any():
            kind = type(self.va).__name__
            raise SpecificationError(text("reporting.one_model", kind=kind))
        if self.schools is not None:
            check_columns(self.schools, ["school_id"], table="schools")
        if self.counts is not None:
            check_columns(self.counts, ["school_id", "year", "procedure"], table="counts")

    @property
    def has_context_figure(self) -> bool:
        """Whether results can be set against the index."""
        if self.va is None or self.index is None:
            return False
        known = self.index.scores[self.index.scores["context_index"].notna()]
        common = set(known["school_id"].astype(str)) & set(
            self.va.school_effects["school_id"].astype(str)
        )
        return bool(common) and "observed_mean" in self.va.school_effects

    @property
    def annex_schools(self) -> set[str] | None:
        """Schools the annex lists: None for all, else those that a rule on results named.

        Beyond a thousand schools a complete annex would be hundreds of pages that nobody prints;
        the files of the run hold every school, and the annex says so.
        """
        tables = [
            getattr(result, name)
            for result, name in (
                (self.va, "school_effects"),
                (self.index, "scores"),
                (self.found, "schools"),
            )
            if result is not None
        ]
        schools = {str(s) for table in tables for s in table["school_id"].unique()}
        if len(schools) <= MOST_SCHOOLS:
            return None
        if self.found is None:
            return set()
        of_context = {
            str(r.id)
            for r in getattr(self.found, "rules", ())
            if rule_target(self.found, r.id) == "adverse"
        }
        verdicts = self.found.schools
        of_results = ~verdicts["rule_id"].astype(str).isin(of_context)
        named = verdicts[(verdicts["verdict"] == "yes") & of_results]
        return {str(s) for s in named["school_id"]}

    def place(self, school: object) -> tuple[str, str]:
        """Return name and municipality of a school, empty where they are unknown."""
        return self._places.get(str(school), ("", ""))

    @cached_property
    def _places(self) -> dict[str, tuple[str, str]]:
        if self.schools is None:
            return {}
        names = school_names(self.schools)
        last = self.schools.drop_duplicates("school_id", keep="last")
        ids = last["school_id"].astype(str)
        homes = (
            last["municipality_id"].astype(str)
            if "municipality_id" in last
            else ids.map(lambda _: "")
        )
        return {s: (names.get(s, ""), h) for s, h in zip(ids, homes, strict=True)}


def years_of(frame: pd.DataFrame) -> str:
    """Return the years of a table as ``2022–2025``, or as a list where there are gaps."""
    if "year" not in frame:
        return ""
    years = sorted({int(y) for y in frame["year"].dropna()})
    if len(years) > 2 and years[-1] - years[0] == len(years) - 1:
        return f"{years[0]}–{years[-1]}"
    return ", ".join(map(str, years))
