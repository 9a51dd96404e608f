"""What a fitted context index holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from resilience.context.description import cronbach_alpha, factor_omega
from resilience.context.sensitivity import sensitivity_of
from resilience.context.sensitivity_results import IndexSensitivityResults, ItemScores
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.results import Results
from resilience.validation import check_columns, check_fraction, check_positive

__all__ = ["ContextIndexResults"]

Floats = npt.NDArray[np.float64]

KEY = ["school_id", "year"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ContextIndexResults(Results):
    """A context index: scores, weights, and what stands behind them.

    Attributes
    ----------
    scores : DataFrame
        One row per row of the table of schools, in its order: ``school_id year context_index
        context_index_std_error context_reliability context_coverage context_index_reanchored
        weight_set context_reason``.  Index points: 50 and 10 are the mean and SD over the pupils
        of the base year; higher = more favourable.
    weights : DataFrame
        ``term estimate conf_low conf_high direction``: the weight of each item after signing
        (estimated ones are shrunken: their proportions make the index, its scale is the anchor's).
        With ``previous_years`` those used for the latest year, with ``cross_fitted`` those of a
        fit to all schools (the scores use `weight_sets`); the interval is NaN where the weights
        are not estimated.
    weight_sets : DataFrame
        ``weight_set term estimate direction``: every vector of weights a score was made with.
    fits : DataFrame
        One row per set of weights: ``weight_set applied_to fitted_on n_schools n_school_years
        penalty calibration_slope between_variance r2_cv raw_mean raw_sd``.
    items : DataFrame
        ``term role direction transform base_mean base_sd missing_share reporting_sd error_source
        lag1_correlation``: with `fits` and `weights` enough to redo a score by hand.
    correlation : ndarray of shape (n_items, n_items)
        Base-year correlation of the signed items, in the order of `items`.
    item_scores : ItemScores
        The standardised items row by row, with the pupils behind them.
    index_kind : Bilingual
        How the weights were set.
    base_year : int
        Year of the anchor.
    n_schools : int
        Schools in the table.
    r2_cv : float
        Share of the variance of school results explained in schools outside the fit; NaN where
        nothing was fitted.
    r2_cv_of_explainable : float
        `r2_cv` over the share that is not sampling error; may exceed 1 by chance.
    lag1_correlation : float
        Of the index in adjacent years; NaN with one year.
    notes : tuple of Bilingual
        What the reader must know: years without an index and why, rows left out, weak spots.
    """

    scores: pd.DataFrame
    weights: pd.DataFrame
    weight_sets: pd.DataFrame
    fits: pd.DataFrame
    items: pd.DataFrame
    correlation: Floats
    item_scores: ItemScores
    index_kind: Bilingual
    base_year: int
    n_schools: int
    r2_cv: float
    r2_cv_of_explainable: float
    lag1_correlation: float
    notes: tuple[Bilingual, ...]

    @property
    def missing_share(self) -> float:
        """Share of missing values over all items and school-years."""
        return float(self.items["missing_share"].mean())

    @property
    def cronbach_alpha(self) -> float:
        """Alpha of the standardised items; a description, not a demand."""
        return cronbach_alpha(self.correlation)

    @cached_property
    def factor_omega(self) -> float:
        """Omega of a one-factor model; a description, not a demand."""
        return factor_omega(self.correlation)

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("context.title").localized(lang)

    def tidy(self) -> pd.DataFrame:
        """Return the weights, one row per item."""
        return self.weights.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row that sums the index up."""
        scored = self.scores["context_index"].notna()
        row = {
            # Object keeps both wordings; a string column would keep the English alone.
            "index_kind": pd.Series([self.index_kind], dtype=object),
            "base_year": self.base_year,
            "n_schools": self.n_schools,
            "n_years": int(self.scores["year"].nunique()),
            "n_inputs": len(self.items),
            "n_scored": int(scored.sum()),
            "n_unscored": int((~scored).sum()),
            "context_reliability": float(self.scores["context_reliability"].mean()),
            "missing_share": self.missing_share,
            "r2_cv": self.r2_cv,
            "r2_cv_of_explainable": self.r2_cv_of_explainable,
            "lag1_correlation": self.lag1_correlation,
            "cronbach_alpha": self.cronbach_alpha,
        }
        return pd.DataFrame(row, index=[0])

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with the columns of the scores added by school and year.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id`` or ``year``.
        SpecificationError
            If ``data`` holds columns of the scores already.
        """
        check_columns(data, KEY, table="data")
        own = [c for c in self.scores.columns if c not in KEY]
        taken = [c for c in own if c in data.columns]
        if taken:
            raise SpecificationError(text("context.augment_taken", columns=", ".join(taken)))
        merged = data.merge(self.scores, on=KEY, how="left", validate="many_to_one")
        return merged.set_axis(data.index, axis=0)

    def with_validity(self, validity: float) -> ContextIndexResults:
        r"""Return the index with the error that passports cannot show added to its own.

        The standard error holds what changes between years and what pupils' numbers leave to
        chance.  It cannot hold what passports leave out, nor a school's own lasting way of filling
        them in.  With :math:`\tau_t^2` the variance of the index in year t less its mean squared
        error and :math:`\nu` the validity,

        .. math:: se'^2 = se^2 + (1 - \nu)\tau_t^2, \qquad \kappa' = \nu\kappa .

        A validity is a statement, not an estimate; a study that compares passports with families'
        own answers would give one.  Rules then ask for more before they call a context adverse.

        Parameters
        ----------
        validity : float
            Share of the differences between schools in the index, its error apart, that is their
            true context; in (0, 1].

        Returns
        -------
        ContextIndexResults
            The same scores with a larger `context_index_std_error`, a smaller
            `context_reliability` and a note.

        Raises
        ------
        SpecificationError
            If the validity lies outside (0, 1].
        """
        check_fraction(validity, argument="validity", closed=True)
        check_positive(validity, argument="validity")
        scores = self.scores.copy()
        index, error, kappa = (
            scores[name].to_numpy(dtype=float)
            for name in ("context_index", "context_index_std_error", "context_reliability")
        )
        added = np.zeros(index.size)
        for year in scores["year"].unique():
            rows = ((scores["year"] == year) & np.isfinite(index * error)).to_numpy()
            if rows.sum() > 1:
                lasting = float(np.var(index[rows], ddof=1) - np.mean(error[rows] ** 2))
                added[rows] = (1.0 - validity) * max(0.0, lasting)
        scores["context_index_std_error"] = np.sqrt(error**2 + added)
        scores["context_reliability"] = validity * kappa
        note = text("context.validity", validity=validity)
        return replace(self, scores=scores, notes=(*self.notes, note))

    def adverse_context(
        self, *, quantile: float | None = None, gate: float | None = None
    ) -> pd.DataFrame:
        r"""Return the probability that each school's true context lies at or below the gate.

        The posterior of the true context is normal with mean a = c̄ + κ(c − c̄) and variance
        κ·se², κ the reliability and c̄ the year's mean; the gate g is the quantile of a among the
        schools of the year or a fixed value, and the probability is Φ((g − a)/√(κ se²)).

        Parameters
        ----------
        quantile : float, optional
            Share of schools at or below the gate, in (0, 1); .25 where no gate is given.
        gate : float, optional
            The gate in index points, the same in all years: comparable over years, since the
            index is anchored, but tied to this base year and these weights.

        Returns
        -------
        DataFrame
            ``school_id year context_index context_index_shrunken gate probability_adverse``; NaN
            where there is no index or no reliability.

        Raises
        ------
        SpecificationError
            If both a quantile and a gate are given, or one of them is out of range.
        """
        if quantile is not None and gate is not None:
            raise SpecificationError(text("context.gate_twice", quantile=quantile, gate=gate))
        share = check_fraction(
            0.25 if quantile is None else quantile, argument="quantile", closed=False
        )
        if gate is not None and not np.isfinite(gate):
            raise SpecificationError(text("context.gate_value", value=repr(gate)))
        index = self.scores["context_index"].to_numpy(dtype=float)
        kappa = self.scores["context_reliability"].to_numpy(dtype=float)
        error = self.scores["context_index_std_error"].to_numpy(dtype=float)
        shrunken, gates, probability = (np.full(index.size, np.nan) for _ in range(3))
        for year in self.scores["year"].unique():
            rows = ((self.scores["year"] == year) & np.isfinite(index * kappa)).to_numpy()
            if not rows.any():
                continue
            mean = float(index[rows].mean())
            shrunken[rows] = mean + kappa[rows] * (index[rows] - mean)
            own = float(np.quantile(shrunken[rows], share, method="inverted_cdf"))
            gates[rows] = own if gate is None else gate
            spread = np.sqrt(kappa[rows]) * error[rows]
            distance = gates[rows] - shrunken[rows]
            certain = spread == 0
            safe = np.where(certain, 1.0, spread)
            probability[rows] = np.where(certain, distance >= 0, ndtr(distance / safe))
        return self.scores[[*KEY, "context_index"]].assign(
            context_index_shrunken=shrunken, gate=gates, probability_adverse=probability
        )

    def sensitivity(
        self,
        *,
        n_draws: int = 1000,
        spread: float = 0.25,
        quantile: float = 0.25,
        random_state: int = 0,
        year: int | None = None,
        others: Mapping[str, ContextIndexResults] | None = None,
    ) -> IndexSensitivityResults:
        """Return how ranks, and the schools below the gate, depend on the weights.

        Variants: equal weights, the first principal component, the published weights without one
        item each, and whatever other indices the caller brings (an index of policy weights beside
        an estimated one, or the reverse).  Noise: every weight times 1 + U(−spread, spread), drawn
        anew for each item, anchored like the published index.

        This is sensitivity to a choice and says nothing of errors in the passports; for those see
        `adverse_context`.

        Parameters
        ----------
        n_draws : int
            Noisy sets of weights.
        spread : float
            Largest relative change of a weight, 0..1.
        quantile : float
            Share of schools at or below the gate, in (0, 1); a school stands below it where its
            percentile does, ties together.
        random_state : int
            Seed of the noise.
        year : int, optional
            Year of the ranks; the latest with an index by default.
        others : mapping of str to ContextIndexResults, optional
            Further indices of the same schools and year, by the name of the variant.

        Returns
        -------
        IndexSensitivityResults

        Raises
        ------
        SpecificationError
            If an argument is out of range or the year has no index.
        DataError
            If fewer than 3 schools have an index in the year.

        References
        ----------
        SaisanaSaltelliTarantola2005.
        """
        return sensitivity_of(
            self,
            n_draws=n_draws,
            spread=spread,
            quantile=quantile,
            random_state=random_state,
            year=year,
            others=others or {},
        )

    def summary(self, lang: str = "en") -> str:
        """Return heading, one-row summary, weights and notes as plain text."""
        notes = "\n".join(f"* {note.localized(lang)}" for note in self.notes)
        return f"{super().summary(lang)}\n\n{notes}" if notes else super().summary(lang)
