"""The criteria of the number of clusters side by side, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from resilience.clustering.selection.settings import SelectionSettings
from resilience.i18n import Bilingual
from resilience.results import Results, join_by
from resilience.validation import check_columns

__all__ = ["ClusterNumberResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ClusterNumberResults(Results):
    """What speaks for every number of clusters, and the recommendation.

    Attributes
    ----------
    k_table : DataFrame
        ``k silhouette gap gap_std_error prediction_strength bic jaccard_min n_smallest accepted
        reason``, one row per number, that of one cluster first.
    choices : DataFrame
        ``criterion k``: what each criterion alone would choose; k is missing where it chooses none.
    n_clusters : int or None
        The largest number that passes everything; None if none does.
    reason : Bilingual
        Why.
    method : str
        ``kmeans``, ``ward`` or ``gmm``.
    n_schools : int
        Schools with all variables.
    stratum : str
        Label of the stratum, empty without strata.
    settings : SelectionSettings
        Thresholds and resampling.

    References
    ----------
    TibshiraniWaltherHastie2001; TibshiraniWalther2005; Hennig2007.
    """

    k_table: pd.DataFrame
    choices: pd.DataFrame
    n_clusters: int | None
    reason: Bilingual
    method: str
    n_schools: int
    stratum: str
    settings: SelectionSettings

    def tidy(self) -> pd.DataFrame:
        """Return `k_table`."""
        return self.k_table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, method, recommended number and its reason."""
        return pd.DataFrame(
            {
                "n_schools": [self.n_schools],
                "method": [self.method],
                "n_clusters": pd.array([self.n_clusters], dtype="Int64"),
                "reason": pd.Series([self.reason], dtype=object),
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table with a column ``k`` and, beside it, whether that number is accepted.

        Raises
        ------
        DataError
            If the table has no column ``k``.
        """
        check_columns(data, ["k"], table="data")
        return join_by(data, self.k_table[["k", "accepted", "reason"]], "k")
