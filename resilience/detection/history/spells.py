"""Spells on the list: one row per listed school-year, with what came after."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

from resilience.detection.history.states import LISTED
from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.lists.list_null_hazard import fit_hazard, hazard_table
from resilience.validation import check_columns, check_finite, check_numeric, check_unique, shorten

__all__ = ["duration_table", "hazard_regression", "spell_rows"]

FEWEST_OWN_EXITS = 10  # a duration with fewer shares its coefficient with the later ones
_KINDS = ("observed_entry", "running_at_start")
_Z95 = 1.959963984540054


def spell_rows(statuses: pd.DataFrame) -> pd.DataFrame:
    """Return listed school-years whose next year is known and under the same rule.

    ``school_id year duration spell_kind left_next``; a school-year before a gap, a new rule, a
    merger or the end of the record is censored and has no row.
    """
    table = statuses.sort_values(["school_id", "year"], ignore_index=True)
    following = table.shift(-1)
    same = (table["school_id"] == following["school_id"]).fillna(False).to_numpy(dtype=bool)
    listed = table["status"].isin(LISTED).to_numpy(dtype=bool)
    known = following["status"].isin(["left", "confirmed"]).to_numpy(dtype=bool)
    new_rule = following["rule_break"].isin([True]).to_numpy(dtype=bool)
    rows = listed & same & known & ~new_rule
    return pd.DataFrame(
        {
            "school_id": table["school_id"][rows].to_numpy(),
            "year": table["year"][rows].to_numpy(),
            "duration": table["n_years_listed"][rows].to_numpy(dtype=np.int64),
            "spell_kind": table["spell_kind"][rows].to_numpy(),
            "left_next": (following["status"][rows] == "left").to_numpy(dtype=bool),
        }
    )


def duration_table(statuses: pd.DataFrame) -> pd.DataFrame:
    """Return hazard and survival by duration, spells of unknown length apart."""
    rows = spell_rows(statuses)
    pieces = []
    for kind in _KINDS:
        own = rows[rows["spell_kind"] == kind]
        if own.empty:
            continue
        found = hazard_table(own["duration"].to_numpy(), own["left_next"].to_numpy())
        pieces.append(
            pd.DataFrame(
                {
                    "spell_kind": kind,
                    "duration": np.arange(1, len(found.hazard) + 1),
                    "n_at_risk": found.n_at_risk,
                    "n_exits": found.n_exits,
                    "hazard": found.hazard,
                    "conf_low": found.low,
                    "conf_high": found.high,
                    "survival": found.survival,
                }
            )
        )
    names = ["spell_kind", "duration", "n_at_risk", "n_exits", "hazard"]
    names += ["conf_low", "conf_high", "survival"]
    if not pieces:
        return pd.DataFrame({name: [] for name in names})
    table = pd.concat(pieces, ignore_index=True)
    return table[table["n_at_risk"] > 0].reset_index(drop=True)


def hazard_regression(statuses: pd.DataFrame, covariates: pd.DataFrame | None) -> pd.DataFrame:
    """Return the complementary log-log regression on spells whose entry was seen."""
    rows = spell_rows(statuses)
    rows = rows[rows["spell_kind"] == "observed_entry"].reset_index(drop=True)
    exits = rows.groupby("duration")["left_next"].sum()
    few = [int(d) for d in exits.index if exits[d] < FEWEST_OWN_EXITS]
    pooled_from = max(min(few, default=int(exits.index.max()) + 1 if len(exits) else 1), 1)
    step = np.minimum(rows["duration"], pooled_from)
    levels = sorted(set(step))
    names = [
        f"duration_{d}" + ("+" if d == levels[-1] and d == pooled_from else "") for d in levels
    ]
    design = np.column_stack([(step == d).to_numpy(dtype=float) for d in levels] or [step])
    if covariates is not None:
        extra = _covariates(rows, covariates)
        names += [str(c) for c in extra.columns]
        design = np.column_stack([design, extra.to_numpy(dtype=float)])
    fit = fit_hazard(design, rows["left_next"].to_numpy(), rows["school_id"].to_numpy(dtype=str))
    z = fit.estimate / fit.std_error
    return pd.DataFrame(
        {
            "term": names,
            "estimate": fit.estimate,
            "std_error": fit.std_error,
            "hazard_ratio": np.exp(fit.estimate),
            "hazard_ratio_low": np.exp(fit.estimate - _Z95 * fit.std_error),
            "hazard_ratio_high": np.exp(fit.estimate + _Z95 * fit.std_error),
            "p_value": 2.0 * special.ndtr(-np.abs(z)),
        }
    )


def _covariates(rows: pd.DataFrame, covariates: pd.DataFrame) -> pd.DataFrame:
    """Return the covariates of each row, centred."""
    check_columns(covariates, ["school_id"], table="covariates")
    key = ["school_id", *(["year"] if "year" in covariates.columns else [])]
    names = [c for c in covariates.columns if c not in key]
    check_numeric(covariates, names, table="covariates")
    check_finite(covariates, names, table="covariates", unit="school_id")
    check_unique(covariates, key, table="covariates")
    own = covariates.assign(school_id=covariates["school_id"].astype(str))
    joined = rows.assign(school_id=rows["school_id"].astype(str)).merge(own, on=key, how="left")
    without = joined[joined[names].isna().any(axis=1)]["school_id"].unique()
    if len(without):
        raise DataError(text("history.no_covariates", schools=shorten(without)))
    return joined[names] - joined[names].mean()
