"""Results of growth percentiles: pupils, schools, and how well the curves fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError
from resilience.i18n import text
from resilience.results import Results
from resilience.value_added.definitions.question import (
    Question,
    infer_question,
    question_cell,
)
from resilience.value_added.growth.baseline import GrowthBaseline
from resilience.value_added.growth.curves import TAUS, pieces
from resilience.value_added.growth.definition import GrowthDefinition
from resilience.value_added.growth.schools import school_growth_table, spread_ties
from resilience.value_added.intake.tables_in_memory import pupils_table

__all__ = ["GrowthResults", "growth_results", "place"]

Floats = NDArray[np.float64]

_BANDS = 10


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GrowthResults(Results):
    """Growth percentiles of a cohort; no pupil is kept.

    Attributes
    ----------
    school_growth : DataFrame
        ``school_id n_pupils n_unplaced median_growth median_growth_std_error median_growth_low
        median_growth_high mean_growth mean_growth_std_error``; tied pupils of a school are spread
        over the percentiles that their score stands for.
    goodness_of_fit : DataFrame
        ``prior_decile growth_band share_in_band n_pupils``: of the pupils in each tenth of the last
        past result, the share in each band of percentiles: .10 where the curves fit.
        ``n_pupils`` counts the tenth.
    curve_sets : DataFrame
        ``n_priors n_pupils n_placed crossing n_beyond``: of every set of past results, the pupils
        behind its curves, those placed by it, the share of neighbouring quantiles that crossed,
        and the pupils placed whose past results lie beyond the reference cohort's.
    baseline : GrowthBaseline
        Curves, for later cohorts.
    referenced : {"cohort", "baseline"}
        Whether the cohort is its own reference.
    question : Question
        Since when growth is counted: since the past results.
    model : GrowthDefinition
        The specification.
    n_unplaced : int
        Pupils without a percentile, for want of the last past result.
    level : float
        Coverage of the intervals.
    """

    school_growth: pd.DataFrame
    goodness_of_fit: pd.DataFrame
    curve_sets: pd.DataFrame
    baseline: GrowthBaseline
    referenced: str
    question: Question
    model: GrowthDefinition
    n_unplaced: int
    level: float = 0.95

    @property
    def n_pupils(self) -> int:
        """Pupils with a percentile."""
        return int(self.school_growth["n_pupils"].sum())

    def percentiles(self, pupils: object) -> pd.DataFrame:
        """Return ``pupils`` with ``growth_percentile`` and ``n_priors``.

        Parameters
        ----------
        pupils : frame of any library that narwhals knows
            The cohort, or another one with the same columns.  ``n_priors`` is the number of past
            results behind a percentile, 0 where the last one is missing.
        """
        table = self.model.checked(pupils)
        found = place(self.baseline, table, self.model)
        return pupils_table(pupils).assign(growth_percentile=found.percentile, n_priors=found.used)

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with each pupil's growth percentile."""
        return self.percentiles(data)

    def curves(self, past: pd.DataFrame) -> pd.DataFrame:
        """Return the hundred quantiles of pupils with given past results.

        Parameters
        ----------
        past : DataFrame
            Past results, one row per pupil, columns as in ``prior``; gaps as in the data.

        Returns
        -------
        DataFrame
            ``pupil_row quantile_share score_quantile``; the row is the position in ``past``.

        Raises
        ------
        DataError
            If a pupil has no curves.
        """
        names = list(self.model.prior)
        absent = [c for c in names if c not in past.columns]
        if absent:
            raise DataError(text("growth.absent_prior", columns=", ".join(absent)))
        used = self.baseline.n_used(past[names])
        if (used == 0).any():
            raise DataError(text("growth.no_curves", n=int((used == 0).sum())))
        found = np.empty((len(past), len(TAUS)))
        for size in np.unique(used):
            rows = used == size
            own = _values(past, names[-size:], rows)
            found[rows] = self.baseline.curves[int(size)].quantiles(own)
        return pd.DataFrame(
            {
                "pupil_row": np.repeat(np.arange(len(past)), len(TAUS)),
                "quantile_share": np.tile(TAUS, len(past)),
                "score_quantile": found.ravel(),
            }
        )

    def needed(self, pupils: pd.DataFrame, target: float) -> pd.DataFrame:
        """Return the growth percentile that each pupil needs to reach a score.

        Parameters
        ----------
        pupils : DataFrame
            Past results (the outcome is not read).
        target : float
            Score to reach.

        Returns
        -------
        DataFrame
            ``pupils`` with ``growth_needed``: the least percentile whose curve reaches the score,
            100 where none of them does; missing where a pupil has no curves.
        """
        names = list(self.model.prior)
        used = self.baseline.n_used(pupils[names])
        found = np.full(len(pupils), np.nan)
        for size, curves in self.baseline.curves.items():
            at = np.flatnonzero(used == size)
            for rows in pieces(len(at)):
                own = {n: pupils[n].to_numpy(dtype=float)[at[rows]] for n in names[-size:]}
                found[at[rows]] = (curves.quantiles(own) < target).sum(axis=1)
        return pupils.assign(growth_needed=np.maximum(found, 1.0))

    def tidy(self) -> pd.DataFrame:
        """Return one row per school."""
        return self.school_growth.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: reference, pupils, curves, fit."""
        apart = (self.goodness_of_fit["share_in_band"] - 1.0 / _BANDS).abs()
        return pd.DataFrame(
            {
                "question": question_cell(self.question),
                "reference_cohort": [text(f"growth.{self.referenced}")],
                "n_schools": [len(self.school_growth)],
                "n_pupils": [self.n_pupils],
                "n_unplaced": [self.n_unplaced],
                "n_priors": [max(self.baseline.curves)],
                "crossing": [float(self.curve_sets["crossing"].max())],
                "largest_misfit": [float(apart.max())],
                "error_corrected": [self.baseline.corrected],
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the tables as plain Python objects, without curves and specification."""
        kept = super().to_dict()
        return {k: v for k, v in kept.items() if k not in ("baseline", "model")}


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """Percentiles of pupils, and what they rest on.

    Attributes
    ----------
    low, high : ndarray of shape (n,)
        Quantiles below the score and not above it; NaN without curves.
    used : ndarray of shape (n,)
        Past results behind a percentile.
    beyond : ndarray of shape (n,)
        Whether a past result lies beyond the reference cohort's.
    """

    low: Floats
    high: Floats
    used: NDArray[np.int64]
    beyond: NDArray[np.bool_]

    @property
    def percentile(self) -> Floats:
        """Growth percentiles, 1 to 99."""
        return np.clip((self.low + self.high) / 2.0, 1.0, 99.0)


def place(baseline: GrowthBaseline, table: pd.DataFrame, model: GrowthDefinition) -> Placed:
    """Return the percentiles of pupils by the curves of their longest set of past results.

    Of a pupil at the highest score it is only known that the true result is at least that: every
    percentile from the curves below it up to the last one is possible; at the lowest likewise.
    """
    names = list(model.prior)
    used = baseline.n_used(table[names])
    score = table[model.outcome].to_numpy(dtype=float)
    low, high = np.full(len(table), np.nan), np.full(len(table), np.nan)
    beyond = np.zeros(len(table), dtype=bool)
    for size, curves in baseline.curves.items():
        rows = used == size
        if not rows.any():
            continue
        own = _values(table, names[-size:], rows)
        low[rows], high[rows] = curves.ranges(own, score[rows])
        beyond[rows] = curves.design.outside(own)
    if model.limits is not None:
        placed = used > 0
        low[placed & (score <= model.limits[0])] = 0.0
        high[placed & (score >= model.limits[1])] = float(len(TAUS))
    return Placed(low=low, high=high, used=used, beyond=beyond)


def _values(table: pd.DataFrame, names: list[str], rows: NDArray[np.bool_]) -> dict[str, Floats]:
    return {name: table.loc[rows, name].to_numpy(dtype=float) for name in names}


def growth_results(
    model: GrowthDefinition,
    baseline: GrowthBaseline,
    table: pd.DataFrame,
    *,
    n_bootstrap: int,
    random_state: int,
    level: float,
) -> GrowthResults:
    """Place pupils by curves and put the tables together."""
    placed = place(baseline, table, model)
    fit = _goodness(placed, table[model.prior[-1]].to_numpy(dtype=float, na_value=np.nan))
    sets = [
        {
            "n_priors": size,
            "n_pupils": curves.n_pupils,
            "n_placed": int((placed.used == size).sum()),
            "crossing": curves.crossing,
            "n_beyond": int(placed.beyond[placed.used == size].sum()),
        }
        for size, curves in sorted(baseline.curves.items())
    ]
    return GrowthResults(
        school_growth=school_growth_table(
            table[model.group],
            spread_ties(pd.factorize(table[model.group])[0], placed.low, placed.high),
            level=level,
            n_bootstrap=n_bootstrap,
            random_state=random_state,
        ),
        goodness_of_fit=fit,
        curve_sets=pd.DataFrame(sets),
        baseline=baseline,
        question=infer_question(model.prior, model.prior),
        referenced="cohort" if model.baseline is None else "baseline",
        model=model,
        n_unplaced=int((placed.used == 0).sum()),
        level=level,
    )


def _goodness(placed: Placed, prior: Floats) -> pd.DataFrame:
    """Return the shares of percentile bands within tenths of the last past result.

    With k curves below a score, its share of pupils lies between k - ½ and k + ½ hundredths; where
    curves run through the score, it is spread over all of theirs.
    """
    known = placed.used > 0
    low = np.maximum(placed.low[known] - 0.5, 0.0)
    high = np.minimum(placed.high[known] + 0.5, 100.0)
    cuts = np.quantile(prior[known], np.arange(1, _BANDS) / _BANDS)
    decile = np.searchsorted(cuts, prior[known], side="left")
    counts = np.zeros((_BANDS, _BANDS))
    for band in range(_BANDS):
        edges = 10.0 * band, 10.0 * (band + 1)
        inside = np.clip(np.minimum(high, edges[1]) - np.maximum(low, edges[0]), 0.0, None)
        counts[:, band] = np.bincount(decile, inside / (high - low), minlength=_BANDS)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    return pd.DataFrame(
        {
            "prior_decile": np.repeat(np.arange(1, _BANDS + 1), _BANDS),
            "growth_band": np.tile([f"{10 * b}–{10 * b + 10}" for b in range(_BANDS)], _BANDS),
            "share_in_band": share.ravel(),
            "n_pupils": np.repeat(np.bincount(decile, minlength=_BANDS), _BANDS),
        }
    )
