"""Errors of the prior: naive, calibrated and SIMEX side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd

from resilience.data.design import design_from_frame
from resilience.errors import DataError
from resilience.i18n import text
from resilience.results import Results, format_table
from resilience.stats.engine.profile import Method
from resilience.value_added.definitions.question import question_cell
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.effects.effects_results import EffectsResults
from resilience.value_added.fits.fitted import PupilFit
from resilience.value_added.fits.nested import fit_nested
from resilience.value_added.intake.preparation import Prepared
from resilience.value_added.intake.sources import pupil_table
from resilience.value_added.prior_error.contaminated import prepared_twice
from resilience.value_added.prior_error.simex import Reliability, simex, with_reliability
from resilience.value_added.prior_error.simex_results import SimexResults

__all__ = ["PriorErrorResults", "prior_error_results"]

R = TypeVar("R", bound=PupilFit)

CORRECTIONS = ("naive", "calibrated", "simex")
_COEFFICIENT = ["estimate", "std_error", "p_value", "conf_low", "conf_high"]
_EFFECT = ["effect", "std_error", "conf_low", "conf_high", "band"]
_SAME = 1e-6  # relative difference of criteria of one fit to one table
_STILL = 1e-3  # standard errors between its coefficients


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PriorErrorResults(Results):
    """What errors of the prior do to coefficients, school effects and verdicts.

    Attributes
    ----------
    naive : ValueAddedResults
        The fit that takes the prior for exact.
    calibrated : ValueAddedResults
        The fit by regression calibration, the library's answer.
    simex : SimexResults
        The second opinion.
    composition_terms : tuple of str
        Terms of the schools' compositions, of exact columns too: they take up what an error-prone
        prior loses.

    References
    ----------
    CarrollEtAl2006, chapters 4 and 5.
    """

    naive: EffectsResults
    calibrated: EffectsResults
    simex: SimexResults
    composition_terms: tuple[str, ...]

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("simex.prior_error_title").localized(lang)

    @property
    def reliabilities(self) -> pd.DataFrame:
        """Priors with the errors reckoned with, and the reliability of a pupil and of a mean."""
        return self.simex.reliabilities.copy()

    @cached_property
    def coefficients(self) -> pd.DataFrame:
        """All coefficients: ``term prior_correction estimate std_error p_value conf_low …``."""
        tables = [one.fixed_effects for one in (self.naive, self.calibrated)]
        tables.append(self.simex.fixed_effects)
        parts = [
            table[["term", *_COEFFICIENT]].assign(prior_correction=name, order=k)
            for k, (name, table) in enumerate(zip(CORRECTIONS, tables, strict=True))
        ]
        place = {term: k for k, term in enumerate(self.naive.fixed_effects["term"])}
        whole = pd.concat(parts)
        whole["place"] = whole["term"].map(place)
        ordered: pd.DataFrame = whole.sort_values(["place", "order"], kind="stable")
        return ordered[["term", "prior_correction", *_COEFFICIENT]].reset_index(drop=True)

    @property
    def phantom(self) -> pd.DataFrame:
        """The composition effect with and without correction.

        ``term prior_correction estimate std_error conf_low conf_high phantom composition_effect``:
        ``phantom`` is the naive coefficient minus the row's, ``composition_effect`` says whether
        the interval excludes zero.  Without a composition it has no rows: then the phantom stands
        in the school effects.
        """
        table = self.coefficients
        table = table[table["term"].isin(self.composition_terms)].reset_index(drop=True)
        naive = table[table["prior_correction"] == "naive"].set_index("term")["estimate"]
        outside = (table["conf_low"] > 0) | (table["conf_high"] < 0)
        return table.drop(columns="p_value").assign(
            phantom=table["term"].map(naive).astype(float) - table["estimate"],
            composition_effect=pd.Series(np.where(outside, "yes", "no"), dtype=object),
        )

    @cached_property
    def school_effects(self) -> pd.DataFrame:
        """Effects and bands of every school under the three, and whose band changes.

        ``school_id n_pupils``, then ``effect_… std_error_… conf_low_… conf_high_… band_…`` for
        ``naive``, ``calibrated`` and ``simex``, ``calibration_shift`` (calibrated minus naive
        effect), ``band_changed`` (naive against calibrated) and ``corrections_agree`` (calibrated
        against SIMEX).
        """
        table = self.naive.school_effects[["school_id", "n_pupils"]]
        tables = [one.school_effects for one in (self.naive, self.calibrated)]
        tables.append(self.simex.school_effects)
        for name, effects in zip(CORRECTIONS, tables, strict=True):
            own = effects[["school_id", *_EFFECT]]
            renamed = {column: f"{column}_{name}" for column in _EFFECT}
            table = table.merge(own.rename(columns=renamed), on="school_id", how="left")
        return table.assign(
            calibration_shift=table["effect_calibrated"] - table["effect_naive"],
            band_changed=table["band_calibrated"] != table["band_naive"],
            corrections_agree=table["band_calibrated"] == table["band_simex"],
        )

    @property
    def changed(self) -> pd.DataFrame:
        """Schools whose band the calibration changes, the largest shift first."""
        table = self.school_effects
        order = table["calibration_shift"].abs().sort_values(ascending=False, kind="stable").index
        ordered = table.loc[order]
        return ordered[ordered["band_changed"]].reset_index(drop=True)

    def tidy(self) -> pd.DataFrame:
        """Return one row per coefficient and correction."""
        return self.coefficients.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: sizes, reliabilities, and how many verdicts hang on the errors."""
        schools, worst = self.school_effects, self.reliabilities
        return pd.DataFrame(
            {
                "question": question_cell(self.naive.question),
                "n_schools": [len(schools)],
                "n_pupils": [int(schools["n_pupils"].sum())],
                "prior_reliability": [float(worst["prior_reliability"].min())],
                "prior_reliability_within": [float(worst["prior_reliability_within"].min())],
                "n_bands_changed": [int(schools["band_changed"].sum())],
                "n_disagreements": [int((~schools["corrections_agree"]).sum())],
                "largest_shift": [float(schools["calibration_shift"].abs().max())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with the three effects of each row's school.

        Raises
        ------
        DataError
            If the column of schools is not there.
        """
        group = self.naive.group
        if group not in data.columns:
            raise DataError(text("value_added.augment_group", group=repr(group), n=len(data)))
        columns = [f"effect_{name}" for name in CORRECTIONS] + ["band_changed"]
        return data.join(self.school_effects.set_index("school_id")[columns], on=group)

    def summary(self, lang: str = "en") -> str:
        """Return heading, sizes, coefficients, reliabilities, the phantom and changed verdicts."""
        blocks = [super().summary(lang), "", _printed(self.reliabilities, lang)]
        if len(self.phantom):
            blocks += ["", _printed(self.phantom, lang)]
        if len(self.changed):
            shown = ["school_id", "n_pupils", *(f"effect_{name}" for name in CORRECTIONS)]
            shown += [f"band_{name}" for name in CORRECTIONS]
            blocks += ["", _printed(self.changed[shown].head(10), lang)]
        return "\n".join(blocks)


def prior_error_results(
    va: PupilFit,
    pupils: object,
    *,
    into: Callable[..., R],
    reliability: Reliability | None = None,
    n_simulations: int = 50,
    n_jobs: int = 1,
    random_state: int = 0,
) -> PriorErrorResults:
    """Fit a model naively, calibrated and by SIMEX.

    Parameters
    ----------
    va : PupilFit
        A fit with nested levels.
    pupils : frame
        The rows of the fit.
    into : type
        Class of the results.
    reliability, n_simulations, n_jobs, random_state
        As in `simex`.

    Raises
    ------
    SpecificationError
        What `simex` raises.
    DataError
        If the rows are not those of the fit, and what `simex` raises.
    """
    model = with_reliability(va.definition, reliability)
    data = pupil_table(model, pupils)
    naive, calibrated, calibration = prepared_twice(model, data)
    exact = replace(model, intake=replace(model.intake or Intake(), prior_reliability=None))
    structure = model.structure or Structure()
    method: Method = "ml" if va.method == "ml" else "reml"

    def fitted(prepared: Prepared, *, naively: bool) -> R:
        design = design_from_frame(
            prepared.data,
            prepared.formula,
            groups=model.levels,
            weights=structure.weights,
            keep="small",
        )
        own = exact if naively else model
        return fit_nested(
            own, design, prepared, into=into, method=method, random_state=random_state
        )

    fits = fitted(naive, naively=True), fitted(calibrated, naively=False)
    _check_same(va, fits[0] if va.intake.prior_reliability is None else fits[1], reliability)
    second = simex(
        model,
        data,
        n_simulations=n_simulations,
        method=method,
        n_jobs=n_jobs,
        random_state=random_state,
    )
    composition = [f"{name}_mean" for name in calibration.composition]
    return PriorErrorResults(
        naive=fits[0],
        calibrated=fits[1],
        simex=second,
        composition_terms=tuple(composition),
    )


def _check_same(va: PupilFit, again: PupilFit, reliability: Reliability | None) -> None:
    """Raise unless the rows give the fit at hand."""
    corrected = va.intake.prior_reliability is not None
    if corrected and reliability is not None:
        return  # another reliability, another criterion
    tables = again.fixed_effects, va.fixed_effects
    far = abs(again.criterion - va.criterion) > _SAME * max(1.0, abs(va.criterion))
    if not far and list(tables[0]["term"]) == list(tables[1]["term"]):
        # an outcome moved along a covariate leaves the criterion what it is
        gap = (tables[0]["estimate"] - tables[1]["estimate"]).abs() / tables[1]["std_error"]
        far = bool((gap > _STILL).any())
    if far or again.n_pupils != va.n_pupils:
        raise DataError(
            text(
                "simex.other_pupils",
                n=again.n_pupils,
                criterion=f"{again.criterion:.6g}",
                n_fit=va.n_pupils,
                criterion_fit=f"{va.criterion:.6g}",
            )
        )


def _printed(table: pd.DataFrame, lang: str) -> str:
    return str(format_table(table, lang).to_string(index=False))
