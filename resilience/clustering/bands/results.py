"""Condition bands of schools, with probabilities, borders and years."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.clustering.bands.expectation import Regression
from resilience.clustering.conditions.scaled import Scaling
from resilience.i18n import Bilingual
from resilience.results import Results, join_by
from resilience.validation import check_columns

__all__ = ["BandResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BandResults(Results):
    """Ordered groups of conditions.

    Attributes
    ----------
    schools : DataFrame
        ``school_id [year] stratum band band_name band_probability expected_result std_error
        conf_low conf_high between_bands reason``: 1 = the hardest conditions of the stratum.
    probabilities : DataFrame
        ``school_id band band_probability``: a row per school and band.
    bands : DataFrame
        ``stratum band band_name n_schools n_pupils band_from band_to expected_mean expected_sd
        n_between_bands``: borders, and how far the expected results lie apart inside a band.
    cuts : mapping of {stratum: ndarray}
        Borders, frozen.
    regression : Regression
        Expected results by conditions, frozen.
    scaling : Scaling or None
        Of the conditions; None for an index.
    n_bands : int
        Bands asked for.
    year : int or None
        Year of the schools.
    level : float
        Of the intervals.
    warnings : tuple of Bilingual
        What the reader should know.
    """

    schools: pd.DataFrame
    probabilities: pd.DataFrame
    bands: pd.DataFrame
    cuts: dict[str, np.ndarray]
    regression: Regression
    scaling: Scaling | None
    n_bands: int
    year: int | None
    level: float
    warnings: tuple[Bilingual, ...]

    def beside_clusters(self, clusters: pd.DataFrame) -> pd.DataFrame:
        """Return how many schools of every band stand in every cluster.

        Parameters
        ----------
        clusters : DataFrame
            ``school_id cluster``, say ``ClusterResults.schools``.

        Returns
        -------
        DataFrame
            ``band cluster n_schools share_of_band``.

        Raises
        ------
        DataError
            If a column is missing.
        """
        check_columns(clusters, ["school_id", "cluster"], table="clusters")
        own = self.schools.loc[self.schools["band"].notna(), ["school_id", "band"]]
        both = own.merge(clusters[["school_id", "cluster"]], on="school_id", how="inner")
        both = both[both["cluster"].notna()]
        counts = both.groupby(["band", "cluster"], as_index=False).size()
        counts = counts.rename(columns={"size": "n_schools"})
        total = counts.groupby("band")["n_schools"].transform("sum")
        return counts.assign(share_of_band=counts["n_schools"] / total)

    def tidy(self) -> pd.DataFrame:
        """Return `bands`."""
        return self.bands.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, bands, mean probability of the own band, schools between."""
        known = self.schools["band"].notna()
        return pd.DataFrame(
            {
                "n_schools": [len(self.schools)],
                "n_condition_groups": [self.n_bands],
                "band_probability": [float(self.schools.loc[known, "band_probability"].mean())],
                "n_between_bands": [int(self.schools["between_bands"].sum())],
                "n_without_band": [int((~known).sum())],
                "expectation_r2": [self.regression.r2],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return the table of schools with band, probability and expected result.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="schools")
        own = self.schools.drop(columns=[c for c in ("year", "stratum") if c in self.schools])
        return join_by(data, own, "school_id")
