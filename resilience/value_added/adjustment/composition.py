r"""What a school mean among the covariates tells, and how it misleads in small schools.

With pupil's value x and true school mean :math:`\mu_j`, the contextual effect is the coefficient of
:math:`\mu_j` beside x.  The mean of n pupils is :math:`\mu_j` with an error of variance
:math:`\omega^2/n`, which draws its coefficient down to about :math:`\lambda = \tau^2/(\tau^2 +
\omega^2/n)` of the truth, and further where x itself stands beside it; the mean without the pupil
is farther off and pulls the slope of x along.  The latent mean, :math:`E(\mu_j \mid x)`, leaves the
coefficient where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, get_args

import numpy as np
import pandas as pd
from scipy.special import ndtr

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.validation import check_choice, check_instance, check_names
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.specification import Composition, Intake
from resilience.value_added.fits.fitted import PupilFit

__all__ = ["composition_bias", "within_between_table"]

KINDS: tuple[Composition, ...] = get_args(Composition)


class _Model(Protocol):
    """A model of pupils before any data."""

    intake: Intake | None

    def fit(self, data: Any) -> PupilFit: ...


def composition_bias(
    model: _Model, data: object, *, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Fit a model with each kind of school mean and set the coefficients side by side.

    Parameters
    ----------
    model : ValueAddedModel
        Its composition names the columns, whatever their kind.
    data : DataFrame
        Pupils.
    columns : sequence of str, optional
        Columns of the composition; by default those of the model.

    Returns
    -------
    DataFrame
        ``column composition_kind estimate std_error distance_from_latent within within_std_error
        std_dev``: for the latent mean, the plain one and the one without the pupil, the contextual
        coefficient, how far it lies from that of the latent mean, the coefficient of the pupil's
        own value (missing where it is not in the formula), and the SD of the school effects.

    Raises
    ------
    SpecificationError
        If there is no composition, or the prior is measured with error: only latent means are
        corrected for it.

    References
    ----------
    LudtkeEtAl2008.
    """
    example = "ValueAddedModel('score ~ ses', group='school_id')"
    check_instance(model, ModelDefinition, argument="model", example=example)
    intake = model.intake or Intake()
    names = tuple(intake.compositions)
    if columns is not None:
        names = check_names(columns, argument="columns", example="columns=['ses']")
    if not names:
        raise SpecificationError(text("types.no_columns"))
    if intake.prior_reliability is not None:
        raise SpecificationError(text("types.reliable_only"))
    rows: list[dict[str, object]] = []
    truth: dict[str, float] = {}
    for kind in KINDS:
        composed = replace(intake, composition=dict.fromkeys(names, kind), within_between=())
        fitted = replace(model, intake=composed).fit(data)  # type: ignore[type-var]  # a dataclass
        fixed = fitted.fixed_effects
        beta = dict(zip(fixed["term"], fixed["estimate"].astype(float), strict=True))
        error = dict(zip(fixed["term"], fixed["std_error"].astype(float), strict=True))
        spread = float(np.sqrt(fitted.variances["persistent"]))
        for name in names:
            own = f"{name}_mean"
            truth.setdefault(name, beta[own])
            rows.append(
                {
                    "column": name,
                    "composition_kind": kind,
                    "estimate": beta[own],
                    "std_error": error[own],
                    "distance_from_latent": beta[own] - truth[name],
                    "within": beta.get(name, np.nan),
                    "within_std_error": error.get(name, np.nan),
                    "std_dev": spread,
                }
            )
    order = {name: k for k, name in enumerate(names)}
    found = pd.DataFrame(rows)
    return found.sort_values("column", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def within_between_table(results: PupilFit) -> pd.DataFrame:
    r"""Return slopes within and between schools, and their difference with its test.

    With x and its school mean among the covariates, the coefficient of x is the slope within
    schools, the sum of both the slope between them; the coefficient of the mean is their
    difference, the contextual effect.  With plain means of all pupils the slope within equals that
    of schools as fixed effects (Mundlak1978).

    Parameters
    ----------
    results : ValueAddedResults
        With ``Intake(within_between=...)``, or a composition of a column that is a covariate too.

    Returns
    -------
    DataFrame
        ``column composition_kind within within_std_error between between_std_error contextual
        contextual_std_error p_value``.

    Raises
    ------
    SpecificationError
        If no covariate has a school mean beside it, or the mean leaves the pupil out: its
        coefficient is no difference of the two slopes.

    References
    ----------
    Mundlak1978; RaudenbushBryk2002, chapter 5.
    """
    compositions = results.intake.compositions
    wanted = results.intake.within_between or tuple(
        name for name in compositions if name in results.mixed.terms
    )
    if not wanted:
        raise SpecificationError(text("types.no_split"))
    terms = list(results.mixed.terms)
    beta, covariance = results.mixed.beta, results.mixed.beta_covariance
    rows = []
    for name in wanted:
        check_choice(name, terms, argument="Intake.within_between")
        if compositions[name] == "leave_one_out":
            raise SpecificationError(text("types.split_leave_one_out", column=repr(name)))
        at, mean = terms.index(name), terms.index(f"{name}_mean")
        pick = np.zeros((3, len(terms)))
        pick[0, at], pick[1, [at, mean]], pick[2, mean] = 1.0, 1.0, 1.0
        value = pick @ beta
        error = np.sqrt(np.einsum("kp,pq,kq->k", pick, covariance, pick))
        rows.append(
            (
                name,
                compositions[name],
                *(v for pair in zip(value, error, strict=True) for v in pair),
                float(2.0 * ndtr(-abs(value[2] / error[2]))),
            )
        )
    named = ["within", "between", "contextual"]
    parts = [c for n in named for c in (n, f"{n}_std_error")]
    return pd.DataFrame(rows, columns=["column", "composition_kind", *parts, "p_value"])
