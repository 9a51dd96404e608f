"""The tables of a context index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from resilience.context.panel import lag_correlation
from resilience.context.prepared import PreparedTable
from resilience.context.schemes import Weighting
from resilience.context.scoring import Scored
from resilience.i18n import Bilingual, text

__all__ = ["fits_table", "items_table", "scores_table", "weight_sets_table", "weights_table"]


def wordings(values: list[Bilingual] | tuple[str | Bilingual, ...]) -> pd.Series[Any]:
    """Return a column that keeps both wordings of each text."""
    return pd.Series(list(values), dtype=object)


def scores_table(prepared: PreparedTable, scored: Scored) -> pd.DataFrame:
    """Return one row per school-year in the caller's order."""
    return pd.DataFrame(
        {
            "school_id": prepared.table.school_id,
            "year": prepared.table.year,
            "context_index": scored.index,
            "context_index_std_error": scored.std_error,
            "context_reliability": scored.reliability,
            "context_coverage": scored.coverage,
            "context_index_reanchored": scored.reanchored,
            "weight_set": list(scored.weight_set),
            "context_reason": wordings(scored.reason),
        }
    )


def weights_table(prepared: PreparedTable, weighting: Weighting) -> pd.DataFrame:
    """Return the printed weights with their intervals."""
    return pd.DataFrame(
        {
            "term": [item.name for item in prepared.items],
            "estimate": weighting.estimate,
            "conf_low": weighting.conf_low,
            "conf_high": weighting.conf_high,
            "direction": [item.direction for item in prepared.items],
        }
    )


def weight_sets_table(prepared: PreparedTable, weighting: Weighting) -> pd.DataFrame:
    """Return every vector of weights used, in long form."""
    k, n = prepared.n_items, len(weighting.sets)
    return pd.DataFrame(
        {
            "weight_set": [s.name for s in weighting.sets for _ in range(k)],
            "term": [item.name for item in prepared.items] * n,
            "estimate": np.concatenate([s.weights for s in weighting.sets]),
            "direction": [item.direction for item in prepared.items] * n,
        }
    )


def fits_table(weighting: Weighting, scored: Scored) -> pd.DataFrame:
    """Return one row per set of weights; numbers of a fit are missing where nothing was fitted."""
    sets = weighting.sets
    fits = [s.fit for s in sets]
    return pd.DataFrame(
        {
            "weight_set": [s.name for s in sets],
            "applied_to": wordings([s.applied_to for s in sets]),
            "fitted_on": wordings([s.fitted_on for s in sets]),
            "n_schools": pd.array([f.n_schools if f else None for f in fits], dtype="Int64"),
            "n_school_years": pd.array([f.n_rows if f else None for f in fits], dtype="Int64"),
            "penalty": [f.multiplier if f else np.nan for f in fits],
            "calibration_slope": [f.slope if f else np.nan for f in fits],
            "between_variance": [f.between_variance if f else np.nan for f in fits],
            "r2_cv": [f.r2_cv if f else np.nan for f in fits],
            "raw_mean": scored.raw_mean,
            "raw_sd": scored.raw_sd,
        }
    )


def items_table(prepared: PreparedTable) -> pd.DataFrame:
    """Return what is known of each item."""
    signed = prepared.standardised.signed
    missing = np.isnan(signed)
    variance = np.where(missing, np.nan, prepared.error.variance)
    return pd.DataFrame(
        {
            "term": [item.name for item in prepared.items],
            "role": wordings([text(f"context.label_{i.role}") for i in prepared.items]),
            "direction": [item.direction for item in prepared.items],
            "transform": wordings([text(f"context.label_{i.transform}") for i in prepared.items]),
            "base_mean": prepared.standardised.base_mean,
            "base_sd": prepared.standardised.base_sd,
            "missing_share": missing.mean(axis=0),
            "reporting_sd": np.sqrt(np.nanmean(variance, axis=0)),
            "error_source": wordings(
                [text(f"context.label_error_{s}") for s in prepared.error.source]
            ),
            "lag1_correlation": [
                lag_correlation(prepared.table, signed[:, k]) for k in range(prepared.n_items)
            ],
        }
    )
