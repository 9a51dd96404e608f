"""The annual run: from what an authority has to effects, index and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path

import pandas as pd

from resilience.context import ContextIndexResults
from resilience.data.dataset import Dataset
from resilience.detection import DetectionResults, detect_schools
from resilience.i18n import Bilingual, check_language, text
from resilience.pipeline.availability import read_date
from resilience.pipeline.checks import Checks, look_for_signs, run_checks
from resilience.pipeline.config import RegionConfig, Sheets
from resilience.pipeline.estimation import Estimate, Tables, estimate_effects
from resilience.pipeline.inputs import Region, load_region
from resilience.pipeline.known import known_region
from resilience.pipeline.plan import build_index, build_rules, needs_effects
from resilience.results import Results
from resilience.value_added import EffectsResults

__all__ = ["AnnualResults", "annual_run"]

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AnnualResults(Results):
    """What a run found, with everything a reader needs to repeat it.

    Attributes
    ----------
    va : EffectsResults or None
        School effects; None where the rules and data need none.
    model_kind : str
        ``pupils``, ``counts``, ``means``, ``mixture`` or ``none``.
    sources : DataFrame
        What the model takes for each procedure and year, and why; empty without a model, or where
        no result names its procedure.
    index : ContextIndexResults or None
        Context index.
    found : DetectionResults
        Verdicts of every rule.
    schools : DataFrame
        The latest row of every school.
    counts : DataFrame or None
        Counts of marks known on the day.
    withheld : DataFrame
        Results that were not available on the day.
    notes : tuple of Bilingual
        What was chosen, left out and why.
    as_of : date or None
        The day of the list.
    seed : int
        Seed of every draw.
    data_records : tuple of (name, sha256, rows)
        Inputs.
    settings : tuple of (name, value)
        The configuration, keys left at their default included.
    checks : Checks
        How far the verdicts depend on choices, chance and time.
    sheets : {"listed", "all", "none"}
        Schools that get a calculation sheet.
    lang, figures : str, bool
        Language of the outputs, and whether to draw figures.
    region : str
        Name of the region in the title of the appendix; may be empty.
    command, citations, licence : str, tuple of str, str
        For the appendix.
    """

    va: EffectsResults | None
    model_kind: str
    sources: pd.DataFrame
    index: ContextIndexResults | None
    found: DetectionResults
    schools: pd.DataFrame
    counts: pd.DataFrame | None
    withheld: pd.DataFrame
    notes: tuple[Bilingual, ...]
    as_of: date | None
    seed: int
    data_records: tuple[tuple[str, str, int], ...]
    settings: tuple[tuple[str, str], ...]
    checks: Checks = field(default_factory=Checks)
    sheets: Sheets = "listed"
    lang: str = "en"
    figures: bool = True
    region: str = ""
    command: str = ""
    citations: tuple[str, ...] = ()
    licence: str = ""

    @cached_property
    def school_names(self) -> Mapping[str, str]:
        """Names of the schools by id; empty where the table has none."""
        if "name" not in self.schools.columns:
            return {}
        named = self.schools.dropna(subset=["name"])
        return dict(zip(named["school_id"].astype(str), named["name"].astype(str), strict=True))

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables of the run by name, in the order of a report."""
        found: dict[str, pd.DataFrame] = {
            "verdicts": self.found.schools,
            "criteria": self.found.criteria,
        }
        if self.va is not None:
            found["school_effects"] = self.va.school_effects
            found["school_years"] = self.va.school_years
            found["fixed_effects"] = self.va.fixed_effects
            found["variance_components"] = self.va.variance_components
        for name in ("thresholds", "mark_shares", "procedure_effects", "coarsening"):
            table = getattr(self.va, name, None)  # of models of marks, or of several procedures
            if table is not None and len(table):
                found[name] = table
        if len(self.sources):
            found["sources"] = self.sources
        if self.index is not None:
            found["context_scores"] = self.index.scores
            found["context_weights"] = self.index.weights
        found |= self.checks.tables()
        if len(self.withheld):
            found["withheld"] = self.withheld
        return found

    def tidy(self) -> pd.DataFrame:
        """Return the verdicts, one row per school and rule."""
        return self.found.tidy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, rules, model with its question and information, lists."""
        verdicts, va = self.found.schools["verdict"], self.va
        question = None if va is None else va.question.describe()
        return pd.DataFrame(
            {
                "n_schools": [len(self.schools)],
                "n_rules": [len(self.found.rules)],
                "model_kind": [self.model_kind],
                "question": pd.Series([question], dtype=object),
                "information": [float("nan") if va is None else va.information],
                "n_listed": [int((verdicts == "yes").sum())],
                "n_insufficient": [int((verdicts == "insufficient_data").sum())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with the verdicts added."""
        return self.found.augment(data)

    def explain(self, school_id: str, *, lang: str = "en") -> object:
        """Return why a school got its verdicts; see `DetectionResults.explain`."""
        return self.found.explain(school_id, lang=lang)


def annual_run(
    source: str | Path | RegionConfig | Dataset,
    *,
    as_of: date | str | None = None,
    lang: str | None = None,
    progress: Progress | None = None,
) -> AnnualResults:
    """Run the whole chain: read, index, model, rules.

    Parameters
    ----------
    source : path, RegionConfig or Dataset
        ``region.toml``, a filled-in workbook (``.xlsx``), a configuration, or a data set (run with
        its default configuration).
    as_of : date or str, optional
        The day of the list, ISO; results of procedures that became available later are withheld.
        Overrides the configuration.
    lang : {"en", "ru"}, optional
        Language of the progress lines and of the outputs; the configuration's by default.
    progress : callable, optional
        Called with a line before each step.

    Returns
    -------
    AnnualResults

    Raises
    ------
    DataError, SpecificationError
        For bad input, before anything is computed where possible.
    """
    say = progress or (lambda line: None)
    say(text("annual.step_read").localized(lang or "en"))
    config, region = load_region(source)
    lang = check_language(lang or config.output.lang)
    day = read_date(as_of, argument="as_of") if as_of is not None else config.as_of
    rules = build_rules(config)
    known, withheld, notes = known_region(config, region, day)
    say(text("annual.step_index").localized(lang))
    index = build_index(config, known)
    say(text("annual.step_model").localized(lang))
    estimate = _estimate(config, known, index)
    say(text("annual.step_rules").localized(lang))
    latest = _latest(known.schools)
    signs = look_for_signs(config, known)
    va = estimate.va if estimate is not None else None
    found = detect_schools(
        va.school_effects if va is not None else None,
        index.scores if index is not None else None,
        list(rules),
        counts=known.counts,
        school_years=va.school_years if va is not None else None,
        schools=signs.marked(known.schools),
        variances=va.variances if va is not None else None,
    )
    say(text("annual.step_checks").localized(lang))
    checks = run_checks(config, known, index=index, va=va, found=found, signs=signs)
    return AnnualResults(
        va=va,
        model_kind=estimate.kind if estimate is not None else "none",
        sources=estimate.sources if estimate is not None else pd.DataFrame(),
        index=index,
        found=found,
        schools=latest,
        counts=known.counts,
        withheld=withheld,
        notes=(
            *region.notes,
            *notes,
            *(estimate.notes if estimate is not None else ()),
            *checks.notes,
        ),
        as_of=day,
        seed=config.output.seed,
        data_records=region.records,
        settings=config.settings(),
        checks=checks,
        sheets=config.output.sheets,
        lang=lang,
        figures=config.output.figures,
        region=config.output.region or "",
        command=config.command(),
        citations=region.citations,
        licence=region.licence,
    )


def _estimate(
    config: RegionConfig, region: Region, index: ContextIndexResults | None
) -> Estimate | None:
    if not needs_effects(config):
        return None
    return estimate_effects(
        config.model,
        Tables(
            schools=region.schools,
            pupils=region.pupils,
            counts=region.counts,
            means=region.means,
            procedures=region.procedures,
            scores=index.scores if index is not None else None,
        ),
        random_state=config.output.seed,
    )


def _latest(schools: pd.DataFrame) -> pd.DataFrame:
    if "year" not in schools.columns:
        return schools
    ordered = schools.sort_values(["school_id", "year"], kind="stable")
    return ordered.drop_duplicates("school_id", keep="last").reset_index(drop=True)
