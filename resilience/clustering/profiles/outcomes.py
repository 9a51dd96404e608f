"""Results by cluster, afterwards: means with intervals, and how much variation stays inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.profiles.labels import labels_of, names_of, scaled_of
from resilience.clustering.profiles.profile import codes_of
from resilience.columns import column as glossary_column
from resilience.columns import column_names
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.results import Results, join_by
from resilience.stats.clusters.effect_sizes import (
    adjusted_eta_squared,
    eta_squared,
    group_means,
    mean_intervals,
)
from resilience.validation import (
    check_columns,
    check_fraction,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = ["ClusterOutcomes", "cluster_outcomes"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ClusterOutcomes(Results):
    """A result of schools compared between clusters that were formed without it.

    Attributes
    ----------
    clusters : DataFrame
        ``cluster cluster_name n_schools n_with_result mean std_error conf_low conf_high sd_within
        sd_true quartile_low quartile_high share_above_mean``; units of the result.
    schools : DataFrame
        ``school_id cluster outcome_value difference_from_cluster``, one row per school.
    column : str
        Which result.
    mean, sd : float
        Of all schools of clusters with a result.
    eta_squared : float
        Share of the variation between schools that lies between clusters.
    eta_squared_adjusted : float
        Less what as many clusters by lot would explain; may be below 0.
    eta_squared_strata : float
        Share of the variation inside strata that lies between their clusters; NaN without strata.
    level : float
        Of the intervals.
    notes : tuple of Bilingual
        What a reader must know.

    References
    ----------
    Kelley1935.
    """

    clusters: pd.DataFrame
    schools: pd.DataFrame
    column: str
    mean: float
    sd: float
    eta_squared: float
    eta_squared_adjusted: float
    eta_squared_strata: float
    level: float
    notes: tuple[Bilingual, ...]

    def tidy(self) -> pd.DataFrame:
        """Return `clusters`."""
        return self.clusters.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools with a result and without, mean, SD, shares between clusters."""
        known = int(self.schools["outcome_value"].notna().sum())
        return pd.DataFrame(
            {
                "outcome_column": [self.column],
                "n_with_result": [known],
                "n_missing": [len(self.schools) - known],
                "mean_region": [self.mean],
                "sd_total": [self.sd],
                "eta_squared": [self.eta_squared],
                "eta_squared_adjusted": [self.eta_squared_adjusted],
                "eta_squared_strata": [self.eta_squared_strata],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with ``cluster outcome_value difference_from_cluster`` added.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="data")
        own = self.schools.drop(columns=[c for c in ("cluster",) if c in data.columns])
        return join_by(data, own, "school_id")

    def summary(self, lang: str = "en") -> str:
        """Return the summary with the notes at its end."""
        lines = [note.localized(lang) for note in self.notes]
        return "\n".join([super().summary(lang), "", *lines])


def cluster_outcomes(
    clusters: Any,
    results: Any,
    *,
    column: str | None = None,
    std_error: str | None = None,
    level: float = 0.95,
) -> ClusterOutcomes:
    r"""Compare a result of schools between clusters that were formed without it.

    Means over schools, every school alike, with Student intervals
    :math:`\bar y_c \pm t_{n_c-1}\, s_c/\sqrt{n_c}`; they take the clusters as given.  A shrunken
    effect is taken before its shrinkage, which draws small schools to the mean more than large
    ones.

    Parameters
    ----------
    clusters : ClusterResults
        Or any result with ``.schools`` and ``.scaled``.
    results : DataFrame or results of a model
        ``school_id`` and the column; of several years that of the clusters; or a fitted model with
        ``school_effects``.
    column : str, optional
        Which column; ``"effect"`` of a fitted model by default.
    std_error : str, optional
        Column of standard errors of the result: ``sd_true`` is the spread within a cluster without
        their part, :math:`\sqrt{\max(0, s_c^2 - \overline{e^2})}`.  Of school effects it is known.
    level : float
        Of the intervals.

    Returns
    -------
    ClusterOutcomes

    Raises
    ------
    SpecificationError
        If there are no clusters, ``results`` is neither a table nor a model, the column formed the
        clusters, or it is shrunken and nothing tells by how much.
    DataError
        If columns are missing or no numbers, a school stands twice, or none has a result.

    Warns
    -----
    WeakDataWarning
        If schools of the clusters have no result.
    """
    check_fraction(level, argument="level", closed=False)
    scaled, labels, names = scaled_of(clusters), labels_of(clusters), names_of(clusters)
    chosen, table = _table(results, column)
    if chosen in (*scaled.variables, *scaled.conditions.columns):
        raise SpecificationError(text("cluster_profiles.is_condition", column=repr(chosen)))
    table = _one_year(table, scaled.year)
    values, errors, notes = _values(table, chosen, std_error)
    order = scaled.schools["school_id"].astype(str).to_numpy()
    ids = table["school_id"].astype(str).to_numpy()
    given = pd.DataFrame({"value": values, "error": errors}, index=ids).reindex(order)
    y, e = given["value"].to_numpy(), given["error"].to_numpy()
    found, codes = codes_of(labels)
    inside = codes >= 0
    if not np.isfinite(y[inside]).any():
        raise DataError(
            text("cluster_profiles.no_overlap", n=int(inside.sum()), column=repr(chosen))
        )
    notes.extend(_missing(order, inside & ~np.isfinite(y)))
    share = eta_squared(y, codes, len(found))
    known = inside & np.isfinite(y)
    printed = f"{100 * (1 - share):.0f}"
    notes.append(text("cluster_profiles.inside", share=printed, column=chosen))
    rows = _rows(y, e, codes, len(found), level)
    rows.insert(0, "cluster", found)
    rows.insert(1, "cluster_name", pd.Series([names[c] for c in found], dtype=object))
    own = rows["mean"].to_numpy()[codes]
    return ClusterOutcomes(
        clusters=rows,
        schools=pd.DataFrame(
            {
                "school_id": scaled.schools["school_id"],
                "cluster": pd.array(np.where(inside, labels, 0), dtype="Int64"),
                "outcome_value": y,
                "difference_from_cluster": np.where(inside, y - own, np.nan),
            }
        )[inside].reset_index(drop=True),
        column=chosen,
        mean=float(y[known].mean()),
        sd=float(y[known].std(ddof=1)) if known.sum() > 1 else float("nan"),
        eta_squared=share,
        eta_squared_adjusted=adjusted_eta_squared(
            share, int(known.sum()), len(np.unique(codes[known]))
        ),
        eta_squared_strata=_within_strata(y, codes, scaled.stratum, len(found)),
        level=level,
        notes=tuple(notes),
    )


def _table(results: Any, column: str | None) -> tuple[str, pd.DataFrame]:
    effects = getattr(results, "school_effects", None)
    if isinstance(results, pd.DataFrame):
        table = results
    elif isinstance(effects, pd.DataFrame):
        table, column = effects, column or "effect"
    else:
        raise SpecificationError(text("cluster_profiles.results_kind", kind=type(results).__name__))
    if column is None or not isinstance(column, str):
        raise SpecificationError(text("cluster_profiles.name_column"))
    check_columns(table, ["school_id", column], table="results")
    check_not_empty(table, table="results")
    return column, table


def _one_year(table: pd.DataFrame, year: int | None) -> pd.DataFrame:
    """Return the rows of the clusters' year where the table has several, one row per school."""
    if "year" in table.columns and table["year"].nunique() > 1:
        own = table[table["year"] == year] if year is not None else table.iloc[:0]
        if own.empty:
            raise DataError(text("cluster_profiles.several_years", year=year or "—"))
        table = own
    check_unique(table, ["school_id"], table="results")
    return table


def _values(
    table: pd.DataFrame, column: str, std_error: str | None
) -> tuple[Floats, Floats, list[Bilingual]]:
    """Return results before shrinkage, their standard errors (NaN where unknown), and notes."""
    read = [column] if std_error is None else [column, std_error]
    check_columns(table, read, table="results")
    check_numeric(table, read, table="results")
    for name in read:
        infinite = np.isinf(_floats(table, name))
        if infinite.any():
            bad = table.loc[infinite, "school_id"].astype(str)
            raise DataError(
                text("cluster_profiles.infinite", column=repr(name), schools=shorten(bad))
            )
    values = _floats(table, column)
    errors = np.full(len(table), np.nan) if std_error is None else _floats(table, std_error)
    if (errors < 0).any():
        bad = table.loc[errors < 0, "school_id"].astype(str)
        raise DataError(
            text(
                "cluster_profiles.bad_errors",
                column=repr(std_error),
                n=len(bad),
                schools=shorten(bad),
            )
        )
    if column not in column_names() or not glossary_column(column).shrunken:
        return values, errors, []
    if "reliability" not in table.columns:
        raise SpecificationError(text("cluster_profiles.no_reliability", column=repr(column)))
    check_numeric(table, ["reliability"], table="results")
    trust = _floats(table, "reliability")
    with np.errstate(invalid="ignore", divide="ignore"):
        unshrunk = np.where(trust > 0, values / trust, np.nan)
        if std_error is None and "conditional_sd" in table.columns:
            # sampling variance = conditional variance / reliability
            errors = np.where(trust > 0, _floats(table, "conditional_sd") / np.sqrt(trust), np.nan)
    return unshrunk, errors, [text("cluster_profiles.unshrunk", column=column)]


def _floats(table: pd.DataFrame, column: str) -> Floats:
    return np.asarray(table[column].to_numpy(dtype=np.float64, na_value=np.nan))


def _missing(order: NDArray[Any], lacking: NDArray[np.bool_]) -> list[Bilingual]:
    if not lacking.any():
        return []
    message = text(
        "cluster_profiles.without_result", n=int(lacking.sum()), schools=shorten(order[lacking])
    )
    warn_weak_data(message)
    return [message]


def _rows(
    y: Floats, e: Floats, codes: NDArray[np.int64], n_groups: int, level: float
) -> pd.DataFrame:
    known = np.where(codes >= 0, y, np.nan)
    own = group_means(known, codes, n_groups)
    errors, low, high = mean_intervals(own, level)
    noise = group_means(np.where(np.isfinite(y), e**2, np.nan), codes, n_groups).means
    quartiles = np.full((n_groups, 2), np.nan)
    above = np.full(n_groups, np.nan)
    for g in range(n_groups):
        mine = y[(codes == g) & np.isfinite(y)]
        if len(mine):
            quartiles[g] = np.quantile(mine, [0.25, 0.75])
            above[g] = float((mine > own.mean).mean())
    return pd.DataFrame(
        {
            "n_schools": np.bincount(codes[codes >= 0], minlength=n_groups),
            "n_with_result": own.counts,
            "mean": own.means,
            "std_error": errors,
            "conf_low": low,
            "conf_high": high,
            "sd_within": own.spreads,
            "sd_true": np.sqrt(np.maximum(own.spreads**2 - noise, 0.0)),
            "quartile_low": quartiles[:, 0],
            "quartile_high": quartiles[:, 1],
            "share_above_mean": above,
        }
    )


def _within_strata(
    y: Floats, codes: NDArray[np.int64], stratum: NDArray[Any], n_groups: int
) -> float:
    """Return the share of variation inside strata that lies between clusters."""
    names, place = np.unique(stratum, return_inverse=True)
    if len(names) < 2:
        return float("nan")
    place = np.where(codes >= 0, place, -1).astype(np.int64)
    centred = y - group_means(y, place, len(names)).means[place]
    return eta_squared(np.where(codes >= 0, centred, np.nan), codes, n_groups)
