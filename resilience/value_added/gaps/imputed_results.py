"""Results pooled over completed data sets."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from resilience.i18n import Bilingual, numeral, text
from resilience.results import format_table
from resilience.stats.rubin import pool_estimates
from resilience.value_added.effects.explained_variance import explained_variance_table
from resilience.value_added.fits.prediction import Effects
from resilience.value_added.gaps.completion import complete
from resilience.value_added.gaps.pooled_methods import PooledMethods
from resilience.value_added.gaps.pooled_tables import pooled_augment, pooled_prediction
from resilience.value_added.intake.gap_report import MissingResults
from resilience.value_added.intake.tables_in_memory import table_in_memory
from resilience.value_added.results import ValueAddedResults

__all__ = ["ImputedResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ImputedResults(PooledMethods, ValueAddedResults):
    """Results of `ValueAddedModel` with ``Intake(missing="impute")``, pooled by Rubin's rules.

    Attributes
    ----------
    fits : tuple of ValueAddedResults
        The fit to each completed data set.
    gaps : MissingResults
        What was missing; `missing` hands it over.
    seed : int
        Seed of the imputations.
    imputation : DataFrame
        ``pooled_part group term estimate within_variance between_imputations std_error df_pooled
        fraction_missing imputations_needed``: a row per coefficient and per variance; of variances
        only the estimates' variance between the data sets is known.

    Notes
    -----
    ``fixed_effects`` carry intervals by Student's t with Barnard and Rubin's degrees of freedom;
    effects of schools have the variance within and between in ``std_error``, ``conditional_sd``,
    intervals, ranks and bands, which rest on normal quantiles as those of any fit.  ``criterion``
    is the mean over the fits and belongs to no test.

    References
    ----------
    Rubin1987; BarnardRubin1999.
    """

    fits: tuple[ValueAddedResults, ...]
    gaps: MissingResults
    seed: int
    imputation: pd.DataFrame

    @property
    def missing(self) -> MissingResults:
        """Who has gaps: by column, by school, and how those pupils differ."""
        return self.gaps

    @cached_property
    def effect_imputation(self) -> pd.DataFrame:
        """What the gaps cost every school's effect.

        ``school_id effect within_variance between_imputations std_error df_pooled
        fraction_missing``, in outcome units and their squares.
        """
        tables = [fit.school_effects for fit in self.fits]
        pooled = pool_estimates(
            np.array([t["effect"].to_numpy(dtype=float) for t in tables]),
            np.array([t["std_error"].to_numpy(dtype=float) ** 2 for t in tables]),
        )
        return pd.DataFrame(
            {
                "school_id": tables[0]["school_id"].to_numpy(),
                "effect": pooled.estimate,
                "within_variance": pooled.within,
                "between_imputations": pooled.between,
                "std_error": pooled.std_error,
                "df_pooled": pooled.df,
                "fraction_missing": pooled.fraction_missing,
            }
        ).infer_objects()

    def predict(
        self,
        data: object,
        *,
        effects: Effects = "none",
        interval: float | None = None,
    ) -> pd.DataFrame:
        """Return the mean of the fits' predictions; see `ValueAddedResults.predict`.

        Every fit predicts with the compositions of its own data set.  Standard errors and intervals
        add the variance between the fits to the mean of those within.  ``data`` must be without
        gaps: `resilience.impute_pupils` fills them.
        """
        return pooled_prediction(self.fits, data, effects=effects, interval=interval)

    def augment(self, data: object) -> pd.DataFrame:
        """Return ``data`` with the means of the fitted values and residuals of all fits.

        Pupils with gaps are completed as at the fit: with the pupils of the fit themselves, the
        columns are those of the data sets that the fits were made of.  The gaps of ``data`` stay.
        """
        table = table_in_memory(data)
        completed = complete(self.definition, table, self.seed)
        frames = list(completed.frames)
        if len(frames) == 1:
            frames *= self.n_imputations
        return pooled_augment(self.fits, frames, table)

    def explained_variance(self) -> pd.DataFrame:
        """Return R² under every definition that applies, as the mean over the fits."""
        tables = [explained_variance_table(fit) for fit in self.fits]
        found = np.mean([t["variance_explained"].to_numpy(dtype=float) for t in tables], axis=0)
        return tables[0].assign(variance_explained=found)

    def glance(self) -> pd.DataFrame:
        """Return one row; besides that of any fit, how many imputations and what the gaps took."""
        return (
            super()
            .glance()
            .assign(
                n_imputations=self.n_imputations,
                share_missing=float(self.gaps.columns["share_missing"].iloc[-1]),
                fraction_missing=float(self.imputation["fraction_missing"].max()),
            )
        )

    def summary(self, lang: str = "en") -> str:
        """Return the summary of a fit, then what was missing and what it cost."""
        words, table = self._price(lang)
        return "\n".join([super().summary(lang), "", words, table.to_string(index=False)])

    def _repr_html_(self) -> str:
        words, table = self._price("en")
        shown = table.to_html(index=False, border=0)
        return f"{super()._repr_html_()}<p>{html.escape(words)}</p>{shown}"

    def _price(self, lang: str) -> tuple[str, pd.DataFrame]:
        """Return what was missing in words, and what it cost as a printed table."""
        last = self.gaps.columns.iloc[-1]
        words = text(
            "imputation.summary",
            n=self.n_imputations,
            pupils=int(last["n_missing"]),
            share=_printed(100 * float(last["share_missing"])),
        )
        table = self.imputation.drop(columns=["estimate", "std_error"])
        return words.localized(lang), format_table(table, lang)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python objects, without the single fits."""
        return {k: v for k, v in super().to_dict().items() if k != "fits"}


def _printed(value: float) -> Bilingual:
    """Return a number with the decimal sign of each language."""
    shown = f"{value:.1f}"
    return numeral(shown)
