"""Pupils and the cuts of their year: standard scores, percentiles, classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from resilience.detection.pupil_definitions import LEVEL, PupilDefinition
from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.verdicts.percentiles import percentiles

__all__ = ["classified", "pupil_units", "score_standards", "year_cuts"]


def score_standards(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean and SD of the scores of each year and subject."""
    grouped = rows.groupby(["year", "subject"])["score"]
    table = grouped.agg(raw_mean="mean", raw_sd=lambda x: x.std(ddof=0)).reset_index()
    flat = table[~(table["raw_sd"] > 0)]
    if len(flat):
        first = flat.iloc[0]
        raise DataError(text("pupils.flat", what=f"{first['subject']} {first['year']}"))
    return table


def pupil_units(
    rows: pd.DataFrame, standards: pd.DataFrame, minima: Mapping[str, float], level: float
) -> pd.DataFrame:
    """Return a row per pupil and year: status, mean result, core skills in every subject.

    Core skills are minimum scores where there are any, else a proficiency level.
    """
    joined = rows.merge(standards, on=["year", "subject"], how="left", sort=False)
    joined["result"] = (joined["score"] - joined["raw_mean"]) / joined["raw_sd"]
    if minima:
        joined["reached"] = joined["score"] >= joined["subject"].map(dict(minima)).astype(float)
    else:
        joined["reached"] = joined[LEVEL] >= level if LEVEL in joined.columns else False
    units = (
        joined.groupby(["year", "pupil_key"], sort=True)
        .agg(
            school_id=("school_id", "first"),
            ses=("ses", "first"),
            result=("result", "mean"),
            n_subjects=("subject", "size"),
            n_reached=("reached", "sum"),
        )
        .reset_index()
    )
    in_year = standards.groupby("year").size()
    units["n_lacking"] = units["year"].map(in_year).astype(int) - units["n_subjects"]
    units["core"] = (units["n_reached"] == units["n_subjects"]) & (units["n_lacking"] == 0)
    return units


def year_cuts(year: int, units: pd.DataFrame, definition: PupilDefinition) -> pd.DataFrame:
    """Return the values at which the percentiles of a year fall."""
    ses, result = units["ses"].to_numpy(), units["result"].to_numpy()
    if not ses.std() > 0:
        raise DataError(text("pupils.flat", what=f"ses {year}"))
    slope = float(np.cov(ses, result, ddof=0)[0, 1] / ses.var())
    intercept = float(result.mean() - slope * ses.mean())
    value = result - intercept - slope * ses if definition.kind == "residual" else result
    low = ses[percentiles(ses) <= definition.ses_at_most]
    high = value[percentiles(value) >= definition.result_at_least]
    if not len(low):
        raise DataError(text("pupils.nobody", year=year, share=f"{100 * definition.ses_at_most:g}"))
    core = definition.kind == "core_skills"
    r = float(np.corrcoef(ses, result)[0, 1]) if result.std() > 0 else np.nan
    return pd.DataFrame(
        {
            "year": [year],
            "ses_cut": [low.max()],
            "result_cut": [np.nan if core or not len(high) else high.min()],
            "intercept": [intercept],
            "slope": [slope],
            "r_squared": [r * r],
        }
    )


def classified(
    units: pd.DataFrame, cuts: pd.DataFrame, definition: PupilDefinition
) -> pd.DataFrame:
    """Add ``is_disadvantaged`` and ``is_resilient`` by the cuts of each pupil's year."""
    own = cuts.set_index("year").reindex(units["year"])
    ses, result = units["ses"].to_numpy(), units["result"].to_numpy()
    poor = ses <= own["ses_cut"].to_numpy()
    if definition.kind == "core_skills":
        high = units["core"].to_numpy(dtype=bool)
    else:
        if definition.kind == "residual":
            result = result - own["intercept"].to_numpy() - own["slope"].to_numpy() * ses
        high = result >= own["result_cut"].to_numpy()
    return units.assign(is_disadvantaged=poor, is_resilient=poor & high)
