"""Results of value-added models on pupils."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from resilience.data.design_formula import formula_columns
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.value_added.adjustment.composition import within_between_table
from resilience.value_added.adjustment.types import composition_terms, type_a_fit, type_table
from resilience.value_added.adjustment.types_results import TypesResults
from resilience.value_added.diagnostics.check import CheckResults, check_results
from resilience.value_added.effects.effects_results import EffectsResults
from resilience.value_added.effects.explained_variance import explained_variance_table
from resilience.value_added.fits.latex import latex_table
from resilience.value_added.fits.prediction import Effects, predicted_rows, prediction_table
from resilience.value_added.fits.refits import RefitMethods
from resilience.value_added.fits.scored_schools import scored_table
from resilience.value_added.fits.summaries import summary_html, summary_text
from resilience.value_added.intake.gap_report import MissingResults, gap_words
from resilience.value_added.prior_error.prior_error import (
    PriorErrorResults,
    prior_error_results,
)
from resilience.value_added.prior_error.simex import Reliability

if TYPE_CHECKING:
    pass

__all__ = ["EffectsResults", "ValueAddedResults"]

Part = Literal["fixed", "random", "variance"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ValueAddedResults(RefitMethods):
    """Results of `ValueAddedModel`; `PupilFit` names the fields."""

    def predict(
        self,
        data: object,
        *,
        effects: Effects = "none",
        interval: float | None = None,
    ) -> pd.DataFrame:
        """Predict results of pupils, of the schools of the fit or of new ones.

        Rows are prepared by what the fit learnt (fills of gaps, standardisation, calibration of
        priors measured with error, composition), so that a pupil's prediction does not depend on
        who else is in the table.  Compositions of schools (and years) of the fit are those of the
        fit; under ``leave_one_out`` each row is taken for a pupil of the fit, whose own value is
        taken out of the learnt mean (give the column ``ses_mean`` for further pupils of such a
        school).  New schools and years form theirs from the rows given, shrunken by the fit's null
        model where it is latent and, for a new year, together with what the fit knows of the
        school.

        Parameters
        ----------
        data : frame of any library that narwhals knows
            One row per pupil with the covariates and identifiers.  The outcome may be absent and is
            not read.  A composition that stands in the table (``ses_mean``) is taken as it is.
        effects : {"none", "schools", "all"}
            ``"none"``: the fixed part, a pupil of an average school.  ``"schools"``: with what
            lasts of the school and the units outside it, slopes included.  ``"all"``: with the
            part of the pupil's year too where the fit knows it.
        interval : float, optional
            Coverage of the intervals, in (0, 1); none by default.

        Returns
        -------
        DataFrame
            Of pandas: ``data`` as prepared, with ``predicted known_unit``, ``known_year`` where
            years count, and with ``std_error conf_low conf_high`` (of the mean of such pupils:
            coefficients and effects jointly) and ``pupil_low pupil_high`` (of one pupil: the
            residual and the effects that the prediction leaves out besides).  A new school has the
            fixed part and the whole variance of its effect.  Variances are taken as known; a pupil
            has the weight 1.

        Raises
        ------
        DataError
            If a used column is absent, has gaps or holds a category that the fit did not see; for a
            known unit written in another type (1 and "1"); a school in another outer unit than in
            the fit; a cell of ``standardize_by``, a subject or, of an unstructured drift, a year
            that was not in the fit; a gap in a column that had none at the fit.
        SpecificationError
            If ``data`` is no table, or an interval is asked of more than 30,000 crossed effects.

        Warns
        -----
        WeakDataWarning
            If effects are asked and none of the schools was in the fit; rows dropped.

        References
        ----------
        Henderson1975.
        """
        return prediction_table(self, data, effects=effects, interval=interval)

    def augment(self, data: object) -> pd.DataFrame:
        """Return ``data`` with ``fitted``, ``fitted_with_effects`` and ``pupil_residual``.

        The effects are those of the schools (slopes and outer levels included) that last, as in
        ``predict(effects="schools")``; the part of a single year is left in the residual.  Units
        that were not in the fit get the fixed part alone.  The outcome must be there; rows are
        prepared by what the fit learnt, as for `predict`, and ``data`` may be any frame that
        narwhals knows.

        Raises
        ------
        DataError, SpecificationError
            What `predict` raises; if the outcome is absent, has gaps or is no number.
        """
        found = predicted_rows(self, data, "schools", outcome=True)
        frame = found.rows.frame
        outcome = frame[formula_columns(self.formula).outcome].to_numpy(dtype=float)
        return frame.assign(
            fitted=found.fixed,
            fitted_with_effects=found.mean,
            pupil_residual=outcome - found.mean,
        )

    @property
    def missing(self) -> MissingResults:
        """Who had gaps: by column, by school, and how those pupils differ from the others.

        Raises
        ------
        SpecificationError
            For fits of sources that are not held in memory.
        """
        found = None if self.learnt is None else self.learnt.missing
        if found is None:
            raise SpecificationError(text("imputation.no_report"))
        return found

    def types(self, *, forced: bool = False) -> TypesResults:
        """Return Type A and Type B side by side: without and with the school's composition.

        Type A is fitted to a sub-block of the cross-products of this fit, which is Type B.

        Parameters
        ----------
        forced : bool
            Let the school's mean *prior result* into Type B.  Where the prior was earned in the
            same school, its mean holds the school's own earlier work, and Type B takes that away
            from it: in simulated schools of 20 pupils with equal yearly contributions the
            correlation with the true contribution falls from .68 in Type A to .57.

        Returns
        -------
        TypesResults

        Raises
        ------
        SpecificationError
            Without a declared composition; for a mean prior unless forced or the question is
            ``since_entry``; where units cross or subjects are joint; where the effect of a
            composition differs between schools.

        References
        ----------
        RaudenbushWillms1995.
        """
        terms = composition_terms(self, forced=forced)
        type_a = type_a_fit(self, terms, into=ValueAddedResults)
        coefficients = self.fixed_effects[self.fixed_effects["term"].isin(terms)]
        kinds = [
            self.intake.compositions[term.removesuffix("_mean")] for term in coefficients["term"]
        ]
        composition = coefficients.reset_index(drop=True)
        composition.insert(1, "composition_kind", kinds)
        return TypesResults(
            table=type_table(type_a, self, terms),
            composition=composition,
            type_a=type_a,
            type_b=self,
            question=self.question,
        )

    def check(
        self,
        pupils: object = None,
        *,
        suspicious: Sequence[object] | None = None,
        key: str | Sequence[str] | None = None,
    ) -> CheckResults:
        """Check the fit: findings with severity, and what to do about each.

        Parameters
        ----------
        pupils : frame of any library that narwhals knows, optional
            The pupils of the fit.  Results hold none: without them half of the checks say
            ``not_checked``.
        suspicious : sequence, optional
            Schools whose results are in doubt; the fit without them is set beside this one.
        key : str or sequence of str, optional
            Columns that tell a pupil, for repeats and for moves between schools; by default
            ``Structure(unit=...)`` or ``pupil_key``.

        Returns
        -------
        CheckResults
            ``table`` has a row per check, also where all is well.

        Raises
        ------
        DataError
            If the pupils are not those of the fit, a column of the key is absent, or a school in
            doubt was not in the fit.
        SpecificationError
            If ``pupils`` is no table.

        See Also
        --------
        resilience.value_added.diagnostics
        """
        return check_results(self, pupils, suspicious=suspicious, key=key)

    def within_between(self) -> pd.DataFrame:
        """Return slopes within and between schools of covariates whose school mean is in the model.

        See `resilience.value_added.adjustment.composition.within_between_table`.
        """
        return within_between_table(self)

    def prior_error(
        self,
        pupils: object,
        *,
        reliability: Reliability | None = None,
        n_simulations: int = 50,
        n_jobs: int = 1,
        random_state: int = 0,
    ) -> PriorErrorResults:
        """Show what errors of the prior do: naive, calibrated and SIMEX side by side.

        Parameters
        ----------
        pupils : frame of any library that narwhals knows
            The rows of the fit: results hold no pupils.
        reliability : float, str or mapping of {column: float or str}, optional
            As `Intake.prior_reliability`; by default that of the fit.
        n_simulations, n_jobs, random_state
            As in `resilience.value_added.prior_error.simex.simex`.

        Returns
        -------
        PriorErrorResults
            ``coefficients``, ``phantom``, ``school_effects``, ``changed``, ``reliabilities``.

        Raises
        ------
        DataError
            If the rows are not those of the fit, or their errors cannot be used.
        SpecificationError
            If no reliability is given, none is below 1, or the model has units that cross,
            memberships or several subjects.

        References
        ----------
        CarrollEtAl2006, chapters 4 and 5; CookStefanski1994.
        """
        return prior_error_results(
            self,
            pupils,
            into=ValueAddedResults,
            reliability=reliability,
            n_simulations=n_simulations,
            n_jobs=n_jobs,
            random_state=random_state,
        )

    def score_schools(self, data: object, *, random_state: int = 0) -> pd.DataFrame:
        """Return effects of the schools of the fit and of those left out of it, which are scored.

        A school may be left out of the estimation and still needs a number: the rows of such
        schools are prepared by what the fit learnt, and their effects rest on its coefficients and
        variances.  See `resilience.value_added.fits.scored_schools`.

        Parameters
        ----------
        data : frame of any library that narwhals knows
            Pupils of schools that were not in the fit, with the outcome.  Rows of schools of the
            fit are not read a second time.
        random_state : int
            Seed of the draws behind the rank intervals.

        Returns
        -------
        DataFrame
            The columns of ``school_effects`` and ``scored_only``; ranks are those among all
            schools of the table.

        Raises
        ------
        SpecificationError
            For outer levels, crossed or shared units and several subjects.
        DataError
            What `predict` raises of rows; if every school of ``data`` is in the fit; for a year
            outside the fit with unstructured drift.

        References
        ----------
        Henderson1975.
        """
        return scored_table(self, data, random_state=random_state)

    def explained_variance(self) -> pd.DataFrame:
        """Return R² under every definition that applies, and the reason where one does not.

        See `resilience.value_added.effects.explained_variance` for the formulas.

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
        """Return question, data, coefficients, variances, the search's end and gaps, as text."""
        gaps = gap_words(None if self.learnt is None else self.learnt.missing)
        return "\n".join([summary_text(self, lang), *(line.localized(lang) for line in gaps)])

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
        gaps = gap_words(None if self.learnt is None else self.learnt.missing)
        return summary_html(self) + "".join(f"<p>{html.escape(line)}</p>" for line in gaps if line)
