"""Results of value-added models on pupils."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from resilience.data.design_formula import formula_columns
from resilience.value_added.effects_results import EffectsResults
from resilience.value_added.explained_variance import explained_variance_table
from resilience.value_added.latex import latex_table
from resilience.value_added.prediction import Effects, predicted_rows, prediction_table
from resilience.value_added.refits import RefitMethods
from resilience.value_added.summaries import summary_html, summary_text

if TYPE_CHECKING:
    pass

__all__ = ["EffectsResults", "ValueAddedResults"]

Part = Literal["fixed", "random", "variance"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ValueAddedResults(RefitMethods):
    """Results of `ValueAddedModel`; `PupilFit` names the fields."""

    def predict(
        self,
        data: pd.DataFrame,
        *,
        effects: Effects = "none",
        interval: float | None = None,
    ) -> pd.DataFrame:
        """Predict results of pupils, of the schools of the fit or of new ones.

        Parameters
        ----------
        data : DataFrame
            One row per pupil with the covariates and identifiers; the outcome may be absent.  A
            composition of schools is formed from these rows unless its column (``ses_mean``) is
            given.
        effects : {"none", "schools", "all"}
            ``"none"``: the fixed part, a pupil of an average school.  ``"schools"``: with what
            lasts of the school and the units outside it, slopes included.  ``"all"``: with the
            part of the pupil's year too where the fit knows it.
        interval : float, optional
            Coverage of the intervals, in (0, 1); none by default.

        Returns
        -------
        DataFrame
            ``data`` with ``predicted known_unit``, with ``known_year`` where years count, and with
            ``std_error conf_low conf_high`` (of the mean of such pupils: coefficients and effects
            jointly) and ``pupil_low pupil_high`` (of one pupil: the residual and the effects that
            the prediction leaves out besides).  A new school has the fixed part and the whole
            variance of its effect.  Variances are taken as known; a pupil has the weight 1.

        Raises
        ------
        DataError
            If a used column is absent, has gaps or holds a category that the fit did not see; for a
            school in another outer unit than in the fit, or a new year of an unstructured drift.
        SpecificationError
            If an interval is asked of more than 30,000 crossed effects.

        References
        ----------
        Henderson1975.
        """
        return prediction_table(self, data, effects=effects, interval=interval)

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with ``fitted``, ``fitted_with_effects`` and ``pupil_residual``.

        The effects are those of the schools (slopes and outer levels included) that last, as in
        ``predict(effects="schools")``; the part of a single year is left in the residual.  Units
        that were not in the fit get the fixed part alone.

        Raises
        ------
        DataError
            If a used column is absent, has gaps, or holds a category that the fit did not see.
        """
        found = predicted_rows(self, data, "schools", outcome=True)
        frame = found.rows.frame
        outcome = frame[formula_columns(self.formula).outcome].to_numpy(dtype=float)
        return frame.assign(
            fitted=found.fixed,
            fitted_with_effects=found.mean,
            pupil_residual=outcome - found.mean,
        )

    def explained_variance(self) -> pd.DataFrame:
        """Return R² under every definition that applies, and the reason where one does not.

        See `resilience.value_added.explained_variance` for the formulas.

        Returns
        -------
        DataFrame
            ``definition group variance_explained reference basis``: marginal and conditional
            (Nakagawa and Schielzeth; Johnson for slopes), the reduction of each level's variance
            against a constant (Raudenbush and Bryk), the modelled variance of a pupil and of a
            school mean (Snijders and Bosker).

        References
        ----------
        NakagawaSchielzeth2013; Johnson2014; RaudenbushBryk2002; SnijdersBosker1994.
        """
        return explained_variance_table(self)

    def summary(self, lang: str = "en") -> str:
        """Return question, data, coefficients, variances and how the search ended, as text."""
        return summary_text(self, lang)

    def to_latex(
        self, *, lang: str = "en", caption: str | None = None, label: str | None = None
    ) -> str:
        r"""Return a LaTeX table of coefficients and variance components.

        Parameters
        ----------
        lang : {"en", "ru"}
            Language; Russian numbers carry a decimal comma.
        caption : str, optional
            Caption as plain text, escaped; by default the title and the formula.
        label : str, optional
            Label of the table, as typed.

        Returns
        -------
        str
            A ``table`` environment that needs no package.
        """
        return latex_table(self, lang=lang, caption=caption, label=label)

    def _repr_html_(self) -> str:
        return summary_html(self)
