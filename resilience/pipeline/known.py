"""The region as it was known on the day of a list."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pandas as pd

from resilience.errors import warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.pipeline.availability import known_on
from resilience.pipeline.config import RegionConfig
from resilience.pipeline.inputs import Region
from resilience.pipeline.marks import has_marks, mean_marks
from resilience.pipeline.procedure_names import pupil_procedures
from resilience.validation import shorten

__all__ = ["known_region"]


def known_region(
    config: RegionConfig, region: Region, day: date | None
) -> tuple[Region, pd.DataFrame, tuple[Bilingual, ...]]:
    """Return the region as it was known on the day.

    Parameters
    ----------
    config : RegionConfig
        Says which procedure results of pupils come from.
    region : Region
        All that was read.
    day : date or None
        The day; None withholds nothing.

    Returns
    -------
    (Region, DataFrame, tuple of Bilingual)
        What was known, what was withheld (``procedure year available_from n_rows``), and notes.

    Raises
    ------
    DataError
        If a day is set and a procedure has no date.

    Warns
    -----
    WeakDataWarning
        Where results name no procedure and so have no date.
    """
    pieces: list[pd.DataFrame] = []
    # results that no part of the run reads need no date
    pupils = None if config.model.kind in ("counts", "means") else region.pupils
    tables: list[pd.DataFrame | None] = []
    # scores are looked at for their integrity alone
    scores = region.score_histograms if "integrity" in config.output.checks else None
    for table in (region.counts, region.means, scores):
        seen = None if table is None else known_on(table, region.procedures, day)
        tables.append(None if seen is None else seen.table)
        pieces += [] if seen is None else [seen.withheld]
    counts, means, histograms = tables
    notes: tuple[Bilingual, ...] = ()
    if pupils is not None and day is not None:
        pupils, late, n_undated = _known_pupils(
            pupils, region.procedures, config.model.outcome_procedure, day
        )
        pieces.append(late)
        if n_undated:
            notes = (text("pipeline.undated", n=n_undated, as_of=day.isoformat()),)
            warn_weak_data(notes[0])
    undated = config.model.outcome_procedure is None and _reads_means(config, region)
    if day is not None and undated:
        notes = (*notes, text("pipeline.undated_means", as_of=day.isoformat()))
        warn_weak_data(notes[-1])
    withheld = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame()
    withheld = withheld.drop_duplicates(["procedure", "year"]) if len(withheld) else withheld
    if len(withheld) and day is not None:
        shown = shorten((f"{p} {y}" for p, y in withheld[["procedure", "year"]].to_numpy()), 12)
        notes = (text("pipeline.withheld", as_of=day.isoformat(), procedures=shown), *notes)
    outcome = config.model.outcome_procedure
    schools = _known_means(region.schools, counts, withheld, outcome)
    if config.index is not None and config.index.outcome == "mean_mark":
        schools = _with_mean_marks(schools, counts, "mean_mark")
    known = replace(
        region,
        pupils=pupils,
        counts=counts,
        means=means,
        score_histograms=histograms,
        schools=schools,
    )
    return known, withheld, notes


def _reads_means(config: RegionConfig, region: Region) -> bool:
    """Return whether the means in the table of schools may enter the model or the index."""
    if "mean_score" not in region.schools.columns:
        return False
    in_index = config.index is not None and config.index.outcome == "mean_score"
    return in_index or config.model.kind in ("auto", "means")


def _known_pupils(
    pupils: pd.DataFrame, procedures: pd.DataFrame | None, kind: str | None, day: date
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return the pupils' results known on the day, what was withheld, and how many have no date.

    The procedure of a result is its own column, or ``kind`` (``[model] outcome_procedure``) with
    the subject.  Results of no named procedure cannot be dated; they stay, and are counted.
    """
    named = pupil_procedures(pupils, kind)
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
    return _with_mean_marks(schools, counts, "mean_score")


def _with_mean_marks(schools: pd.DataFrame, counts: pd.DataFrame | None, name: str) -> pd.DataFrame:
    """Return the table of schools with mean marks, where it lacks them and there are marks."""
    if name in schools.columns or "year" not in schools.columns:
        return schools
    if counts is None or not has_marks(counts):
        return schools
    means = mean_marks(counts).rename(columns={"mean_score": name})
    return schools.merge(means, on=["school_id", "year"], how="left")
