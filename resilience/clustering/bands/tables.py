"""Tables of condition bands."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import ndtri

from resilience.clustering.bands.expectation import BandRows
from resilience.i18n import Bilingual, text
from resilience.stats.clusters.bands import band_probabilities, bands_of
from resilience.stats.clusters.partitions import Floats

__all__ = ["band_name", "band_rows", "bands_table"]

_SURE = 0.6  # probability of the own band below which a school stands between two


def band_name(band: int, n_bands: int) -> Bilingual:
    """Return the name of a band: its number and where it stands from hard to easy."""
    if band == 1:
        return text("bands.hardest", band=band)
    if band == n_bands:
        return text("bands.easiest", band=band)
    place = {1: "harder", -1: "easier"}.get(int(np.sign((n_bands + 1) / 2 - band)), "middle")
    return text(f"bands.{place}", band=band)


def band_rows(
    rows: BandRows,
    expected: Floats,
    std_error: Floats,
    cuts: Mapping[str, Floats],
    *,
    n_bands: int,
    level: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table of schools and the table of the probabilities of every band."""
    n = len(expected)
    band = np.zeros(n, dtype=np.int64)
    chance = np.full((n, n_bands), np.nan)
    reasons = np.full(n, "", dtype=object)
    for stratum, own in cuts.items():
        inside = np.flatnonzero((rows.stratum == stratum) & np.isfinite(expected))
        if len(own) == 0:
            reasons[inside] = text("bands.reason_small", stratum=stratum or "—")
        elif len(inside):
            band[inside] = bands_of(expected[inside], own)
            chance[inside] = band_probabilities(expected[inside], std_error[inside], own)
    reasons[~np.isfinite(expected)] = text("bands.reason_missing")
    has = band > 0
    sure = np.full(n, np.nan)
    sure[has] = chance[has, band[has] - 1]
    half = ndtri((1.0 + level) / 2.0) * std_error
    table = rows.schools.copy()
    table["stratum"] = pd.Series([str(s) for s in rows.stratum])
    table["placed"] = ~np.asarray(rows.complete)
    table["band"] = pd.Series(band).astype("Int64").mask(~has)
    table["band_name"] = pd.Series(
        [band_name(int(b), n_bands) if b else None for b in band], dtype=object
    )
    table["band_probability"] = sure
    table["expected_result"] = expected
    table["std_error"] = std_error
    table["conf_low"] = expected - half
    table["conf_high"] = expected + half
    table["between_bands"] = has & (sure < _SURE)
    table["reason"] = pd.Series(list(reasons), dtype=object)
    chances = pd.DataFrame(
        {
            "school_id": np.repeat(table.loc[has, "school_id"].to_numpy(), n_bands),
            "band": np.tile(np.arange(1, n_bands + 1), int(has.sum())),
            "band_probability": chance[has].reshape(-1),
        }
    )
    return table, chances


def bands_table(schools: pd.DataFrame, pupils: Floats, cuts: Mapping[str, Floats]) -> pd.DataFrame:
    """Return a row per stratum and band."""
    lines = []
    for stratum, own in cuts.items():
        if len(own) == 0:
            continue
        edges = np.concatenate([[-np.inf], own, [np.inf]])
        inside = (schools["stratum"] == stratum).to_numpy()
        for band in range(1, len(own) + 2):
            here = inside & (schools["band"] == band).fillna(value=False).to_numpy(dtype=bool)
            expected = schools["expected_result"].to_numpy(dtype=np.float64)[here]
            lines.append(
                {
                    "stratum": stratum,
                    "band": band,
                    "band_name": band_name(band, len(own) + 1),
                    "n_schools": int(here.sum()),
                    "n_pupils": int(pupils[here].sum()),
                    "band_from": edges[band - 1],
                    "band_to": edges[band],
                    "expected_mean": expected.mean() if len(expected) else np.nan,
                    "expected_sd": expected.std(ddof=1) if len(expected) > 1 else np.nan,
                    "n_between_bands": int(schools.loc[here, "between_bands"].sum()),
                }
            )
    named = [line.pop("band_name") for line in lines]
    table = pd.DataFrame(
        lines,
        columns=[
            "stratum",
            "band",
            "n_schools",
            "n_pupils",
            "band_from",
            "band_to",
            "expected_mean",
            "expected_sd",
            "n_between_bands",
        ],
    )
    table.insert(2, "band_name", pd.Series(named, dtype=object))
    return table
