"""Cells of school, year and procedure, each with counts of marks or with a mean and its error."""

from __future__ import annotations

import pandas as pd

from resilience.data.schema import MARKS
from resilience.data.score_means import published_means, score_means
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.pipeline.sources import Sources

__all__ = ["MEAN_COLUMNS", "procedure_cells"]

MEAN_COLUMNS = ("mean_score", "sampling_variance")
_KEY = ["school_id", "year", "procedure"]


def procedure_cells(
    sources: Sources,
    *,
    pupils: pd.DataFrame | None = None,
    counts: pd.DataFrame | None = None,
    means: pd.DataFrame | None = None,
    sd: float | str | None = None,
) -> pd.DataFrame:
    """Return the results that the model takes, one row per school, year and procedure.

    Parameters
    ----------
    sources : Sources
        What is taken for which procedure and year.
    pupils, counts, means : DataFrame or None
        The tables, pupils with their procedure.
    sd : float, str or None
        SD of pupils within schools in the units of ``means``; by default its column ``sd``.

    Returns
    -------
    DataFrame
        ``school_id year procedure n_participants`` with ``n_2 n_3 n_4 n_5`` where marks are
        counted and ``mean_score sampling_variance`` (SD of pupils of the region) where a mean is
        known.  A share below the minimum stands as marks 2 and 3: one threshold, and no more is
        read from it.

    Raises
    ------
    DataError
        If scores or means break a rule.
    SpecificationError
        If the SD of pupils behind published means is not known.
    """
    parts: list[pd.DataFrame] = []
    kinds = sources.kinds
    if counts is not None and "counts" in kinds:
        rows = sources.rows(counts, "counts")
        # a school whose marks are not known at all; one mark alone missing is a gap, and refused
        rows = rows[rows[list(MARKS)].notna().any(axis=1)]
        parts.append(rows[[*_KEY, "n_participants", *MARKS]])
    if counts is not None and "share" in kinds:
        rows = sources.rows(counts, "share")
        rows = rows[rows["n_below_minimum"].notna()]
        below = rows["n_below_minimum"]
        above = rows["n_participants"] - below
        cells = rows[[*_KEY, "n_participants"]]
        parts.append(cells.assign(n_2=below, n_3=above, n_4=0, n_5=0))
    if pupils is not None and "pupils" in kinds:
        known = pupils[pupils["procedure"].notna()]
        parts.append(score_means(sources.rows(known, "pupils"), by=_KEY))
    if means is not None and "means" in kinds:
        known = means[means["n_participants"] != 0]
        parts.append(published_means(sources.rows(known, "means"), by=_KEY, sd=_spread(known, sd)))
    table = pd.concat([p.astype({"procedure": object}) for p in parts], ignore_index=True)
    return table.sort_values(_KEY, kind="stable", ignore_index=True)


def _spread(means: pd.DataFrame, sd: float | str | None) -> float | str:
    if sd is not None and sd != "estimate":
        return sd
    if "sd" not in means.columns or means["sd"].isna().all():
        raise SpecificationError(text("pipeline.means_need_sd"))
    return "sd"
