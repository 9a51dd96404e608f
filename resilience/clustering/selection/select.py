"""Choose the number of clusters, or say that nothing is stable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from resilience.clustering.conditions.scaled import ScaledSchools, scale_conditions
from resilience.clustering.conditions.specification import Conditions
from resilience.clustering.fits.algorithms import Covariance, Method, check_method
from resilience.clustering.selection.criteria import Criteria, measure_numbers
from resilience.clustering.selection.results import ClusterNumberResults
from resilience.clustering.selection.settings import SelectionSettings
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, decimal, text
from resilience.stats.clusters.partitions import Floats
from resilience.validation import check_count, check_instance, check_jobs, check_seed

__all__ = ["select_for_rows", "select_n_clusters"]

_FEWEST = 20  # schools below which two clusters of ten do not fit


def select_n_clusters(
    schools: pd.DataFrame | ScaledSchools,
    conditions: Conditions | None = None,
    *,
    k: Sequence[int] = range(2, 9),
    method: Method = "kmeans",
    covariance: Covariance = "full",
    year: int | None = None,
    settings: SelectionSettings | None = None,
    random_state: int | None = None,
    n_jobs: int = 1,
    progress: bool = False,
) -> ClusterNumberResults:
    r"""Show what speaks for every number of clusters, and recommend one or none.

    A number is accepted if its gap exceeds that of one cluster by its standard error, its smallest
    cluster holds enough schools, every cluster is found again in bootstrap samples and halves of
    the schools predict each other.  The largest accepted number is recommended.  Without the gap a
    cloud drawn out in one direction would be cut in half again and again at the same place, and
    pass for two clusters.

    Parameters
    ----------
    schools : DataFrame or ScaledSchools
        Schools with the columns of the conditions, or scaled already.
    conditions : Conditions, optional
        Needed with a table.
    k : sequence of int
        Numbers to look at, each 2 or more.
    method : {"kmeans", "ward", "gmm"}
        See `ClusterModel`.
    covariance : {"full", "tied", "diag", "spherical"}
        Of a mixture.
    year : int, optional
        Of the table; the latest by default.
    settings : SelectionSettings, optional
        Resampling and thresholds.
    random_state : int, optional
        Seed.
    n_jobs : int
        Workers; the result does not depend on it.
    progress : bool
        Whether bars are drawn.

    Returns
    -------
    ClusterNumberResults

    Raises
    ------
    SpecificationError
        If ``k`` holds a number below 2 or none, or the arguments contradict each other.
    DataError
        If there are fewer schools than the largest number of clusters.

    References
    ----------
    TibshiraniWaltherHastie2001; TibshiraniWalther2005; Hennig2007.
    """
    if isinstance(schools, ScaledSchools):
        if conditions is not None or year is not None:
            raise SpecificationError(text("n_clusters.scaled_already"))
        scaled = schools
    else:
        if conditions is None:
            raise SpecificationError(text("n_clusters.no_conditions"))
        scaled = scale_conditions(schools, conditions, year=year)
    if len(set(scaled.stratum)) > 1:
        found = sorted({str(s) for s in scaled.stratum})
        raise SpecificationError(text("n_clusters.strata", strata="; ".join(found)))
    check_method(method, covariance)
    if method == "gmm" and {"nominal", "ordinal"} & set(scaled.kinds.values()):
        raise SpecificationError(text("n_clusters.mixture"))
    return select_for_rows(
        scaled.weighted[scaled.complete],
        numbers=k,
        method=method,
        covariance=covariance,
        settings=settings,
        random_state=random_state,
        n_jobs=n_jobs,
        progress=progress,
        stratum=str(scaled.stratum[0]),
    )


def select_for_rows(
    rows: Floats,
    *,
    numbers: Sequence[int] = range(2, 9),
    method: Method = "kmeans",
    covariance: Covariance = "full",
    settings: SelectionSettings | None = None,
    random_state: int | None = None,
    n_jobs: int = 1,
    progress: bool = False,
    stratum: str = "",
) -> ClusterNumberResults:
    """Return `select_n_clusters` for rows that are scaled, weighted and complete."""
    chosen = settings or SelectionSettings()
    check_instance(
        chosen, SelectionSettings, argument="settings", example="rs.SelectionSettings(n_splits=20)"
    )
    check_jobs(n_jobs)
    check_seed(random_state)
    given: object = numbers
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise SpecificationError(text("n_clusters.k_sequence", value=repr(numbers)))
    wanted = sorted({check_count(number, argument="k", least=2) for number in numbers})
    if not wanted:
        raise SpecificationError(text("n_clusters.no_numbers"))
    distinct = len(np.unique(rows, axis=0))
    if distinct < wanted[0]:
        raise DataError(text("n_clusters.few", n=distinct, k=wanted[0]))
    measured = measure_numbers(
        rows,
        [number for number in wanted if number <= distinct],
        method=method,
        covariance=covariance,
        settings=chosen,
        random_state=random_state,
        n_jobs=n_jobs,
        progress=progress,
    )
    table = _k_table(measured, chosen, len(rows))
    accepted = table.loc[table["accepted"], "k"]
    best = int(accepted.max()) if len(accepted) else None
    return ClusterNumberResults(
        k_table=table,
        choices=_choices(measured, chosen),
        n_clusters=best,
        reason=_reason(table, best, chosen, len(rows)),
        method=method,
        n_schools=len(rows),
        stratum=stratum,
        settings=chosen,
    )


def _k_table(measured: Criteria, settings: SelectionSettings, n_schools: int) -> pd.DataFrame:
    reasons, accepted = [], []
    for i in range(len(measured.numbers)):
        against = _against(measured, i, settings, n_schools)
        accepted.append(against is None)
        reasons.append(against if against is not None else text("n_clusters.passes"))
    return pd.DataFrame(
        {
            "k": list(measured.numbers),
            "silhouette": measured.silhouette,
            "gap": measured.gap,
            "gap_std_error": measured.gap_std_error,
            "prediction_strength": measured.strength,
            "bic": measured.bic,
            "jaccard_min": measured.jaccard,
            "n_smallest": measured.smallest,
            "accepted": accepted,
            "reason": pd.Series(reasons, dtype=object),
        }
    )


def _against(measured: Criteria, i: int, settings: SelectionSettings, n_schools: int) -> str | None:
    """Return the first thing that speaks against a number, None if nothing does."""
    k = measured.numbers[i]
    if k == 1:
        return text("n_clusters.one")
    if k in measured.refused:
        return measured.refused[k]
    bound = measured.gap[0] + measured.gap_std_error[i]
    if not measured.gap[i] > bound:
        return text("n_clusters.gap", gap=decimal(measured.gap[i], 3), bound=decimal(bound, 3))
    least = settings.least_schools(n_schools)
    if measured.smallest[i] < least:
        return text("n_clusters.small", n=int(measured.smallest[i]), least=least)
    if not measured.jaccard[i] >= settings.least_jaccard:
        return text(
            "n_clusters.jaccard",
            value=decimal(measured.jaccard[i], 2),
            least=decimal(settings.least_jaccard, 2),
        )
    if not measured.strength[i] >= settings.least_strength:
        return text(
            "n_clusters.strength",
            value=decimal(measured.strength[i], 2),
            least=decimal(settings.least_strength, 2),
        )
    return None


def _choices(measured: Criteria, settings: SelectionSettings) -> pd.DataFrame:
    """Return what every criterion alone would choose."""
    numbers = np.array(measured.numbers)

    def best(values: Floats, sign: float) -> int | None:
        if np.isnan(values).all():
            return None
        return int(numbers[np.nanargmax(sign * values)])

    def largest(passed: object) -> int | None:
        chosen = numbers[np.asarray(passed)]
        return int(chosen.max()) if len(chosen) else None

    found = {
        "gap": measured.gap_number,
        "silhouette": best(measured.silhouette, 1.0),
        "prediction_strength": largest(measured.strength >= settings.least_strength),
        "jaccard": largest(measured.jaccard >= settings.least_jaccard),
        "bic": best(measured.bic, -1.0),
    }
    return pd.DataFrame(
        {"criterion": list(found), "k": pd.array(list(found.values()), dtype="Int64")}
    )


def _reason(
    table: pd.DataFrame, best: int | None, settings: SelectionSettings, n_schools: int
) -> Bilingual:
    if best is None:
        key = "n_clusters.too_few_schools" if n_schools < _FEWEST else "n_clusters.nothing"
        return text(key, n=n_schools)
    row = table[table["k"] == best].iloc[0]
    one = table[table["k"] == 1].iloc[0]
    return text(
        "n_clusters.chosen",
        k=best,
        jaccard=decimal(row["jaccard_min"], 2),
        strength=decimal(row["prediction_strength"], 2),
        smallest=int(row["n_smallest"]),
        gap=decimal(row["gap"] - one["gap"], 2),
        error=decimal(row["gap_std_error"], 2),
    )
