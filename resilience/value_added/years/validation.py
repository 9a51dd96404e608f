r"""Do effects of earlier years predict a later one?  Ours against the plain means in use.

The model is fitted to the years before the held-out one and predicts its residuals.  What is to be
predicted, the held-out year's observed minus expected mean, comes from a second fit of the same
model to all years up to and including it: its coefficients say what could be expected of each
intake, and no effect of the held-out year enters a prediction.  The residuals are taken around
their mean over the schools compared, since no effect of a school foretells what moves all of them.

Rivals are what authorities use: the last year's residual and the mean of the last three years, both
as observed, without shrinkage; and 0, the average school.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.i18n import text
from resilience.results import Results
from resilience.stats.prediction.prediction_accuracy import prediction_accuracy
from resilience.validation import (
    check_columns,
    check_fraction,
    check_not_empty,
    check_numeric,
    shorten,
)
from resilience.value_added.years.forecast import forecast_table
from resilience.value_added.years.panel import YearPanel, year_panel
from resilience.value_added.years.yearly import YearlyEffects

__all__ = ["PREDICTORS", "YearValidationResults", "validate_years"]

Floats = NDArray[np.float64]

PREDICTORS = ("prediction", "last_year", "three_year_mean", "average")
_THREE = 3


class YearModel(Protocol):
    """A model with years: `ValueAddedModel` or `SchoolLevelModel`."""

    @property
    def time(self) -> str | None:
        """Year column."""

    def fit(self, data: Any) -> Any:
        """Fit the model."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class YearValidationResults(Results):
    """Predictions of a held-out year against what came.

    Attributes
    ----------
    holdout : object
        The held-out year.
    years : tuple
        Years behind the predictions.
    level : float
        Coverage of the predictive intervals.
    accuracy : DataFrame
        ``predictor cohort_size n_schools correlation slope_on_prediction slope_std_error rmse
        coverage``: every predictor in all schools and by size; ``coverage`` of the prediction's
        intervals.
    schools : DataFrame
        ``school_id cohort_size n_years n_pupils residual prediction last_year_residual
        three_year_mean predictive_sd inside``: the schools compared.
    left_out : DataFrame
        ``school_id left_out_reason``: schools of the data that could not be compared.
    variances : dict
        Persistent, transient and residual variance of the fit behind the predictions.
    shift : float
        Mean residual of the held-out year, taken out.
    """

    holdout: object
    years: tuple[object, ...]
    level: float
    accuracy: pd.DataFrame
    schools: pd.DataFrame
    left_out: pd.DataFrame
    variances: dict[str, float]
    shift: float

    def tidy(self) -> pd.DataFrame:
        """Return ``accuracy``."""
        return self.accuracy.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: the held-out year, schools, and our accuracy beside the rivals' RMSE."""
        whole = self.accuracy[self.accuracy["cohort_size"] == "all"].set_index("predictor")
        ours = whole.loc[["prediction"]].reset_index(drop=True)
        return pd.DataFrame(
            {
                "year": [self.holdout],
                "n_schools": ours["n_schools"],
                "n_left_out": [len(self.left_out)],
                "correlation": ours["correlation"],
                "slope_on_prediction": ours["slope_on_prediction"],
                "rmse": ours["rmse"],
                "rmse_last_year": [whole.loc["last_year", "rmse"]],
                "rmse_three_year_mean": [whole.loc["three_year_mean", "rmse"]],
                "coverage": ours["coverage"],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with each school's prediction and residual of the held-out year.

        Parameters
        ----------
        data : DataFrame
            With ``school_id``.
        """
        check_columns(data, ["school_id"], table="data")
        columns = ["prediction", "predictive_sd", "residual"]
        return data.join(self.schools.set_index("school_id")[columns], on="school_id")


def validate_years(
    model: YearModel,
    data: pd.DataFrame,
    *,
    holdout: object,
    size: str | None = None,
    size_edges: Sequence[float] = (5, 15, 30),
    level: float = 0.90,
    lag_correlation: float = 0.0,
) -> YearValidationResults:
    """Predict a year from the years before it and compare with what came.

    Parameters
    ----------
    model : ValueAddedModel or SchoolLevelModel
        With ``time``.
    data : DataFrame
        What the model is fitted to, the held-out year included; later years are not used.
    holdout : int
        The held-out year, not the first two of the data.
    size : str, optional
        Column whose mean over a school's rows before the held-out year is its size; by default the
        mean number of pupils of a school and year in the fit (of the column ``n`` in one of means).
    size_edges : sequence of float
        Largest sizes of the size bands but the last.
    level : float
        Coverage of the predictive intervals.
    lag_correlation : float
        ρ in [0, 1) for fits that take the years as independent.

    Returns
    -------
    YearValidationResults
        Predictors are compared on the same schools: those with results in the held-out year and in
        the last year before it.  The others are listed with the reason.

    Raises
    ------
    SpecificationError
        If the model has no years, does not forecast (unstructured drift, counts of marks), or
        ``size_edges`` do not ascend.
    DataError
        If the held-out year is not in the data, or fewer than two years stand before it.

    Warns
    -----
    WeakDataWarning
        As the model's fits.

    Examples
    --------
    >>> import resilience as rs
    >>> schools = rs.load_dataset("michigan_schools").schools
    >>> used = ["share_satisfactory", "subsidised_meals", "n_enrolled"]
    >>> model = rs.SchoolLevelModel(
    ...     "share_satisfactory ~ subsidised_meals + C(year)",
    ...     time="year", n="n_enrolled", sd="estimate",
    ... )
    >>> found = rs.validate_years(
    ...     model, schools.dropna(subset=used), holdout=1998, size_edges=(300, 500)
    ... )
    >>> bool(found.glance().loc[0, "rmse"] < found.glance().loc[0, "rmse_three_year_mean"])
    True
    """
    time, before = _years_before(model, data, holdout)
    check_columns(data, [size] if size is not None else [], table="data")
    edges = _edges(size_edges)
    check_fraction(level, argument="level", closed=False)
    fit = model.fit(data[data[time].isin(before)])
    # the same warnings of weak data twice would say nothing new
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)
        whole = model.fit(data[data[time].isin([*before, holdout])])
    panel = year_panel(fit)
    there = panel.n_pupils > 0
    cohort = panel.n_pupils.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    if size is not None:
        check_numeric(data, [size], table="data")
        rows = data[data[time].isin(before)].groupby(str(fit.group), observed=True)[size].mean()
        cohort = rows.reindex(fit.school_effects["school_id"]).to_numpy(dtype=float, na_value=0.0)
    bands = [_band(one, edges) for one in cohort]
    schools, left_out, shift = _compared(
        fit, panel, whole, holdout, bands=bands, level=level, lag_correlation=lag_correlation
    )
    return YearValidationResults(
        holdout=holdout,
        years=tuple(before),
        level=level,
        accuracy=_accuracy(schools, edges),
        schools=schools,
        left_out=left_out,
        variances=dict(fit.variances),
        shift=shift,
    )


def _years_before(
    model: YearModel, data: pd.DataFrame, holdout: object
) -> tuple[str, list[object]]:
    time = getattr(model, "time", None)
    if not isinstance(time, str):
        raise SpecificationError(text("year_validation.no_time"))
    check_columns(data, [time], table="data")
    check_not_empty(data, table="data")
    years = sorted(data[time].dropna().unique())
    if holdout not in years:
        raise DataError(
            text("year_validation.holdout", year=repr(holdout), years=shorten(years, 12))
        )
    before = [year for year in years if year < holdout]
    if len(before) < 2:
        raise DataError(
            text("year_validation.too_few", year=repr(holdout), years=shorten(before) or "—")
        )
    return time, before


def _edges(given: Sequence[float]) -> tuple[float, ...]:
    edges = tuple(float(edge) for edge in given)
    rising = all(a < b for a, b in itertools.pairwise(edges))
    if not edges or not rising or not edges[0] > 0:
        raise SpecificationError(text("year_validation.edges", edges=shorten(given, 8) or "—"))
    return edges


def _band(size: float, edges: tuple[float, ...]) -> str:
    """Return the name of the band of a cohort size."""
    at = int(np.searchsorted(edges, size))
    low = f"{edges[at - 1]:g}" if at else "0"
    return f"> {low}" if at == len(edges) else f"{low}–{edges[at]:g}" if at else f"≤ {edges[0]:g}"


def _bands(edges: tuple[float, ...]) -> list[str]:
    return [_band(edge, edges) for edge in edges] + [_band(np.inf, edges)]


def _compared(
    fit: YearlyEffects,
    panel: YearPanel,
    whole: YearlyEffects,
    holdout: object,
    *,
    bands: list[str],
    level: float,
    lag_correlation: float,
) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Return the schools compared, those that are not with the reason, and the common shift."""
    came = _held_out(whole, holdout)
    schools = fit.school_effects["school_id"]
    sizes = came["n_pupils"].reindex(schools)
    ahead = 1
    if all(isinstance(label, int | float | np.number) for label in panel.labels):
        ahead = round(float(holdout) - float(panel.years.max()))  # type: ignore[arg-type]  # a number as the others
    # the draw of pupils is that of the cohort that came; of schools that vanished none is asked
    table = forecast_table(
        fit,
        None if (sizes.dropna() == 1).all() else sizes.fillna(np.inf),
        level=level,
        lag_correlation=lag_correlation,
        years_ahead=ahead,
    )
    three = panel.residual[:, -_THREE:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # schools without any of the three years
        mean = np.nanmean(three, axis=1)
    found = pd.DataFrame(
        {
            "school_id": schools,
            "cohort_size": bands,
            "n_years": table["n_years"],
            "n_pupils": sizes.to_numpy(dtype=float),
            "residual": came["residual"].reindex(schools).to_numpy(dtype=float),
            "prediction": table["effect"],
            "last_year_residual": panel.residual[:, -1],
            "three_year_mean": mean,
            "predictive_sd": table["predictive_sd"],
            "_reach": table["predictive_high"] - table["effect"],
        }
    )
    reasons = _reasons(found, came.index)
    kept = found[~found["school_id"].isin(reasons["school_id"])].reset_index(drop=True)
    if len(kept) < 3:
        raise DataError(text("year_validation.few_schools", n=len(kept), left=len(reasons)))
    shift = float(kept["residual"].mean())
    kept["residual"] -= shift
    away = (kept["residual"] - kept["prediction"]).abs()
    return kept.assign(inside=away <= kept["_reach"]).drop(columns="_reach"), reasons, shift


def _held_out(whole: YearlyEffects, holdout: object) -> pd.DataFrame:
    """Return residual and pupils of the held-out year by school."""
    panel = year_panel(whole)
    at = int(np.flatnonzero(panel.labels == holdout)[0])
    found = pd.DataFrame(
        {"residual": panel.residual[:, at], "n_pupils": panel.n_pupils[:, at]},
        index=pd.Index(whole.school_effects["school_id"]),
    )
    return found.dropna(subset=["residual"])


def _reasons(found: pd.DataFrame, came: Iterable[object]) -> pd.DataFrame:
    """Return the schools that cannot be compared, each with its first reason."""
    gone = found["residual"].isna()
    unheard = ~gone & found["last_year_residual"].isna()
    rows = [(school, text("year_validation.vanished")) for school in found.loc[gone, "school_id"]]
    rows += [
        (school, text("year_validation.no_last_year")) for school in found.loc[unheard, "school_id"]
    ]
    known = set(found["school_id"])
    rows += [(s, text("year_validation.new")) for s in came if s not in known]
    return pd.DataFrame(
        {
            "school_id": [school for school, _ in rows],
            "left_out_reason": pd.Series([reason for _, reason in rows], dtype=object),
        }
    )


def _accuracy(schools: pd.DataFrame, edges: tuple[float, ...]) -> pd.DataFrame:
    columns = {
        "prediction": "prediction",
        "last_year": "last_year_residual",
        "three_year_mean": "three_year_mean",
        "average": None,
    }
    rows = []
    for band in ["all", *_bands(edges)]:
        chosen = schools if band == "all" else schools[schools["cohort_size"] == band]
        observed = chosen["residual"].to_numpy(dtype=float)
        for predictor in PREDICTORS:
            column = columns[predictor]
            given = np.zeros(len(chosen)) if column is None else chosen[column].to_numpy(float)
            one = prediction_accuracy(given, observed)
            inside = chosen["inside"].mean() if predictor == "prediction" else np.nan
            rows.append(
                {
                    "predictor": predictor,
                    "cohort_size": band,
                    "n_schools": one.n,
                    "correlation": one.correlation,
                    "slope_on_prediction": one.slope,
                    "slope_std_error": one.slope_std_error,
                    "rmse": one.rmse,
                    "coverage": float(inside) if one.n else np.nan,
                }
            )
    return pd.DataFrame(rows)
