"""The annual run: from what an authority has to effects, index and verdicts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path

import pandas as pd

from resilience.context import ContextIndexResults
from resilience.data.dataset import Dataset
from resilience.detection import DetectionResults, detect_schools
from resilience.errors import WeakDataWarning
from resilience.i18n import Bilingual, check_language, text
from resilience.pipeline.availability import known_on, read_date
from resilience.pipeline.config import RegionConfig
from resilience.pipeline.estimation import Estimate, estimate_effects
from resilience.pipeline.inputs import Region, load_region
from resilience.pipeline.marks import has_marks, marks_to_means
from resilience.pipeline.plan import build_index, build_rules, needs_effects
from resilience.results import Results
from resilience.validation import shorten
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
        ``pupils``, ``counts``, ``means`` or ``none``.
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
    lang, figures : str, bool
        Language of the outputs, and whether to draw figures.
    region : str
        Name of the region in the title of the appendix; may be empty.
    command, citations, licence : str, tuple of str, str
        For the appendix.
    """

    va: EffectsResults | None
    model_kind: str
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
        if self.index is not None:
            found["context_scores"] = self.index.scores
            found["context_weights"] = self.index.weights
        if len(self.withheld):
            found["withheld"] = self.withheld
        return found

    def tidy(self) -> pd.DataFrame:
        """Return the verdicts, one row per school and rule."""
        return self.found.tidy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, rules, model, lists."""
        verdicts = self.found.schools["verdict"]
        return pd.DataFrame(
            {
                "n_schools": [len(self.schools)],
                "n_rules": [len(self.found.rules)],
                "model_kind": [self.model_kind],
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
    known, withheld, notes = _known(config, region, day)
    say(text("annual.step_index").localized(lang))
    index = build_index(config, known)
    say(text("annual.step_model").localized(lang))
    estimate = _estimate(config, known, index)
    say(text("annual.step_rules").localized(lang))
    latest = _latest(known.schools)
    va = estimate.va if estimate is not None else None
    found = detect_schools(
        va.school_effects if va is not None else None,
        index.scores if index is not None else None,
        list(rules),
        counts=known.counts,
        school_years=va.school_years if va is not None else None,
        schools=known.schools,
        variances=va.variances if va is not None else None,
    )
    return AnnualResults(
        va=va,
        model_kind=estimate.kind if estimate is not None else "none",
        index=index,
        found=found,
        schools=latest,
        counts=known.counts,
        withheld=withheld,
        notes=(*region.notes, *notes, *(estimate.notes if estimate is not None else ())),
        as_of=day,
        seed=config.output.seed,
        data_records=region.records,
        settings=config.settings(),
        lang=lang,
        figures=config.output.figures,
        region=config.output.region or "",
        command=config.command(),
        citations=region.citations,
        licence=region.licence,
    )


def _known(
    config: RegionConfig, region: Region, day: date | None
) -> tuple[Region, pd.DataFrame, tuple[Bilingual, ...]]:
    """Return the region as it was known on the day."""
    pieces: list[pd.DataFrame] = []
    counts, pupils = region.counts, region.pupils
    if counts is not None:
        seen = known_on(counts, region.procedures, day)
        counts = seen.table
        pieces.append(seen.withheld)
    notes: tuple[Bilingual, ...] = ()
    if pupils is not None and day is not None:
        pupils, late, n_undated = _known_pupils(
            pupils, region.procedures, config.model.outcome_procedure, day
        )
        pieces.append(late)
        if n_undated:
            notes = (text("pipeline.undated", n=n_undated, as_of=day.isoformat()),)
            warnings.warn(WeakDataWarning(notes[0]), stacklevel=3)
    undated = config.model.outcome_procedure is None and "mean_score" in region.schools.columns
    if day is not None and undated:
        notes = (*notes, text("pipeline.undated_means", as_of=day.isoformat()))
        warnings.warn(WeakDataWarning(notes[-1]), stacklevel=3)
    withheld = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame()
    withheld = withheld.drop_duplicates(["procedure", "year"]) if len(withheld) else withheld
    if len(withheld) and day is not None:
        shown = shorten((f"{p} {y}" for p, y in withheld[["procedure", "year"]].to_numpy()), 12)
        notes = (text("pipeline.withheld", as_of=day.isoformat(), procedures=shown), *notes)
    schools = _known_means(region.schools, counts, withheld, config.model.outcome_procedure)
    return replace(region, counts=counts, pupils=pupils, schools=schools), withheld, notes


def _known_pupils(
    pupils: pd.DataFrame, procedures: pd.DataFrame | None, kind: str | None, day: date
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return the pupils' results known on the day, what was withheld, and how many have no date.

    The procedure of a result is its own column, or ``kind`` (``[model] outcome_procedure``) with
    the subject.  Results of no named procedure cannot be dated; they stay, and are counted.
    """
    if "procedure" in pupils.columns:
        named = pupils["procedure"]
    elif kind is not None:
        tail = "-" + pupils["subject"].astype(str) if "subject" in pupils.columns else ""
        named = pd.Series(kind, index=pupils.index) + tail
    else:
        named = pd.Series(None, index=pupils.index, dtype=object)
    dated = named.notna()
    if not dated.any():
        return pupils, pd.DataFrame(), len(pupils)
    tagged = pupils.loc[dated, ["year"]].assign(procedure=named[dated].astype(str))
    seen = known_on(tagged, procedures, day)
    keep = ~dated | pupils.index.isin(seen.table.index)
    return pupils[keep], seen.withheld, int((~dated).sum())


def _known_means(
    schools: pd.DataFrame,
    counts: pd.DataFrame | None,
    withheld: pd.DataFrame,
    outcome_procedure: str | None,
) -> pd.DataFrame:
    """Return the table of schools with ``mean_score`` as it was known on the day.

    Means of years whose outcome procedure was withheld are blanked; where the table has no means,
    they are formed from the counts of marks that were known.
    """
    if "mean_score" in schools.columns:
        if not len(withheld) or outcome_procedure is None:
            return schools
        ours = withheld["procedure"].astype(str).str.startswith(outcome_procedure)
        late = schools["year"].isin(withheld.loc[ours, "year"])
        return schools.assign(mean_score=schools["mean_score"].where(~late))
    if counts is None or "year" not in schools.columns or not has_marks(counts):
        return schools
    means = marks_to_means(counts)[["school_id", "year", "mean_score"]]
    return schools.merge(means, on=["school_id", "year"], how="left")


def _estimate(
    config: RegionConfig, region: Region, index: ContextIndexResults | None
) -> Estimate | None:
    if not needs_effects(config):
        return None
    return estimate_effects(
        config.model,
        pupils=region.pupils,
        counts=region.counts,
        schools=region.schools,
        scores=index.scores if index is not None else None,
        random_state=config.output.seed,
    )


def _latest(schools: pd.DataFrame) -> pd.DataFrame:
    if "year" not in schools.columns:
        return schools
    ordered = schools.sort_values(["school_id", "year"], kind="stable")
    return ordered.drop_duplicates("school_id", keep="last").reset_index(drop=True)
