"""``Intake(missing="impute")``: the same model on every completed data set, pooled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pandas as pd

from resilience.errors import WeakDataWarning, warn_weak_data
from resilience.i18n import text
from resilience.stats.engine.profile import Method
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.specification import Intake
from resilience.value_added.gaps.completion import complete
from resilience.value_added.gaps.imputed_results import ImputedResults
from resilience.value_added.gaps.pooling import pooled_results
from resilience.value_added.results import ValueAddedResults

__all__ = ["fit_imputed"]

M = TypeVar("M", bound=ModelDefinition)


def fit_imputed(
    model: M,
    pupils: pd.DataFrame,
    fit: Callable[..., ValueAddedResults],
    *,
    method: Method = "reml",
    random_state: int | None = None,
) -> ImputedResults:
    """Impute, fit and pool.

    Parameters
    ----------
    model : ValueAddedModel
        With ``Intake(missing="impute")``.
    pupils : DataFrame
        One row per pupil.
    fit : callable
        ``ValueAddedModel.fit``, called with the model without gaps and each completed data set:
        standardisation, composition and calibration are formed anew in every one.
    method : {"reml", "ml"}
        Criterion.
    random_state : int, optional
        Seed of the imputations and of the draws behind rank intervals, 0 by default.

    Warns
    -----
    WeakDataWarning
        What the fits warn of, each once, with the number of fits concerned.
    """
    seed = random_state or 0
    completed = complete(model, pupils, seed)
    plain = replace(model, intake=replace(model.intake or Intake(), missing="raise"))
    fits: list[ValueAddedResults] = []
    said: dict[str, tuple[object, int]] = {}
    for frame in completed.frames:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fits.append(fit(plain, frame, method=method, random_state=seed))
        for one in caught:
            _note(one, said)
    n = len(fits)
    if n == 1:
        fits *= completed.n_imputations
    for message, times in said.values():
        if times == n or n == 1:
            warn_weak_data(message)  # type: ignore[arg-type]  # a text of the catalogue
        else:
            warn_weak_data(text("imputation.some_fits", n=times, of=n, warning=message))
    return pooled_results(model, fits, completed.missing, random_state=seed)


def _note(warning: warnings.WarningMessage, said: dict[str, tuple[object, int]]) -> None:
    """Count a warning of weak data by its first words; any other is passed on."""
    if not isinstance(warning.message, WeakDataWarning):
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        return
    words = warning.message.message
    key = str(words)[:40]  # the numbers in it differ from fit to fit
    first, times = said.get(key, (words, 0))
    said[key] = (first, times + 1)
