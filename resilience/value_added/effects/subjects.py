r"""What a joint fit of several subjects says of each subject, of all of them, and of their ties.

A school's effects in S subjects are an S-vector :math:`u_j \sim N(0, \Omega)`.  Its posterior is
joint: a subject with few results borrows from the others by their correlations, and a school
without any result in a subject still has a prediction there.  Any weighted mean of the subjects is
read off the joint posterior,

.. math::

   \hat c_j = w'\hat u_j, \qquad \mathrm{Var}(\hat c_j - c_j) = w'P_jw, \qquad
   \text{reliability} = 1 - \frac{w'V_jw}{w'\Omega w},

with the conditional covariance :math:`V_j` and the prediction-error covariance :math:`P_j`.  Where
slopes differ between schools a subject's effect is that of its average pupil.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.mixed import LevelEffects, MixedFit
from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.stats.ranking import bands
from resilience.stats.strata.strata_fit import StrataFit
from resilience.validation import check_fraction, check_instance, check_number, shorten
from resilience.value_added.effects.effects_table import effects_table

__all__ = [
    "composite_effects",
    "effect_errors",
    "equal_weights",
    "subject_covariance",
    "subject_effects",
    "subject_loadings",
    "subject_terms",
]

Floats = NDArray[np.float64]


class JointEffects(Protocol):
    """What results hold that the tables of this module need."""

    @property
    def group(self) -> str:
        """School column."""

    @property
    def mixed(self) -> MixedFit:
        """The fit."""


def subject_effects(results: JointEffects, *, level: float = 0.95) -> pd.DataFrame:
    """Return the effects of every school in every subject.

    Parameters
    ----------
    results : ValueAddedResults
        Of a model with ``Structure.outcome_group``.
    level : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        ``school_id subject effect std_error conditional_sd conf_low conf_high reliability
        p_above_zero band n_pupils``, in outcome units; a school without a result in a subject has
        ``n_pupils`` 0 and the prediction from its other subjects.

    Raises
    ------
    SpecificationError
        If the model has no subjects.
    """
    fit = joint_fit(results)
    at = _school_at(results, fit)
    school = fit.levels[at]
    counts = fit.strata.rows_by_subject(at)
    loadings = subject_loadings(fit, at)
    pieces = [
        _effects(school, loading, fit.beta_covariance, level).assign(
            subject=subject, n_pupils=counts[:, s]
        )
        for s, (subject, loading) in enumerate(zip(fit.subjects, loadings, strict=True))
    ]
    table = pd.concat(pieces).sort_index(kind="stable").reset_index(drop=True)
    first = ["school_id", "subject"]
    return table[[*first, *(c for c in table.columns if c not in first)]].infer_objects()


def composite_effects(
    results: JointEffects,
    weights: Mapping[object, float] | None = None,
    *,
    level: float = 0.95,
    random_state: int = 0,
) -> pd.DataFrame:
    """Return the effects of every school in a weighted mean of the subjects.

    Parameters
    ----------
    results : ValueAddedResults
        Of a model with ``Structure.outcome_group``.
    weights : mapping of {subject: float}, optional
        Finite numbers that add up to 1; a subject that is not named weighs 0.  By default all
        weigh the same.
    level : float
        Coverage of the intervals.

    random_state : int
        Seed of the draws behind the rank intervals (of up to 1,000 schools with shared errors).

    Returns
    -------
    DataFrame
        ``school_id effect std_error conditional_sd conf_low conf_high reliability n_pupils
        n_subjects rank_expected rank_low rank_high p_above_zero band``.  ``n_pupils`` counts the
        pupils with a result in any subject that weighs, ``n_subjects`` such subjects with results;
        where it is 0 the effect is foretold from the subjects that do not weigh.

    Raises
    ------
    SpecificationError
        If the model has no subjects, a subject is unknown, a weight is no finite number, or the
        weights do not add up to 1.
    """
    fit = joint_fit(results)
    at = _school_at(results, fit)
    shares = equal_weights(fit) if weights is None else _shares(fit, weights)
    used = shares != 0.0
    loading = shares @ subject_loadings(fit, at)
    school = fit.levels[at]
    nothing = np.zeros(len(school.labels))
    table = effects_table(
        school_id=school.labels,
        effect=school.modes @ loading,
        errors=effect_errors(school, loading, fit.beta_covariance),
        prior_variance=float(loading @ school.covariance @ loading),
        n_pupils=_pupils(fit, at, used),
        n_years=nothing.astype(np.int64),
        means=(nothing, nothing),
        level=level,
        random_state=random_state,
    )
    seen = fit.strata.rows_by_subject(at)[:, used] > 0
    table.insert(list(table.columns).index("n_pupils") + 1, "n_subjects", seen.sum(axis=1))
    return table.drop(columns=["n_years", "observed_mean", "expected_mean"])


def subject_covariance(results: JointEffects) -> pd.DataFrame:
    """Return variances, covariances and correlations of the subjects, level by level.

    Parameters
    ----------
    results : ValueAddedResults
        Of a model with ``Structure.outcome_group``.

    Returns
    -------
    DataFrame
        ``group subject other_subject covariance subject_correlation``, one row per pair (a subject
        with itself included) for every level whose effects differ by subject, and for ``residual``
        that of one pupil's subjects; without a pupil key the residuals of different subjects are
        taken as independent and have no rows.

    Raises
    ------
    SpecificationError
        If the model has no subjects.
    """
    fit = joint_fit(results)
    blocks: list[tuple[str, Floats]] = []
    for at, level in enumerate(fit.levels):
        if by_subject(fit, at):
            loadings = subject_loadings(fit, at)
            blocks.append((level.name, loadings @ level.covariance @ loadings.T))
    blocks.append(("residual", fit.residual_covariance))
    rows: list[tuple[object, ...]] = []
    for name, block in blocks:
        spread = np.sqrt(np.diag(block))
        for s, first in enumerate(fit.subjects):
            for t in range(s, len(fit.subjects)):
                if name == "residual" and s != t and not fit.strata.linked:
                    continue
                size = spread[s] * spread[t]
                tie = block[s, t] / size if size > 0 else np.nan
                rows.append((name, first, fit.subjects[t], block[s, t], tie))
    names = ["group", "subject", "other_subject", "covariance", "subject_correlation"]
    return pd.DataFrame(rows, columns=names)


def joint_fit(results: JointEffects) -> StrataFit:
    """Return the joint fit behind results, or raise because there is none."""
    if not isinstance(results.mixed, StrataFit):
        raise SpecificationError(text("subjects.not_joint"))
    return results.mixed


def by_subject(fit: StrataFit, at: int) -> bool:
    """Tell whether the effects of a level differ by subject."""
    return len(fit.levels[at].terms) >= len(fit.subjects) and fit.levels[at].terms[0] != "Intercept"


def subject_terms(fit: StrataFit) -> tuple[str, ...]:
    """Return the subjects as terms of the levels, ``subject=МА`` for instance, shape (S,)."""
    level = next(v for k, v in enumerate(fit.levels) if by_subject(fit, k))
    return tuple(level.terms[: len(fit.subjects)])


def equal_weights(fit: StrataFit) -> Floats:
    """Return the same weight for every subject, shape (S,)."""
    return np.full(len(fit.subjects), 1.0 / len(fit.subjects))


def subject_loadings(fit: StrataFit, at: int) -> Floats:
    """Return where each subject's effect is read among the terms of a level, shape (S, q).

    One at the subject's own term (at the intercept where the level has one effect for all), and the
    mean of each slope's column over the rows of the subject.
    """
    plain = fit.strata.plain
    columns = list(plain.levels[at].columns)
    n_own = len(fit.subjects) if by_subject(fit, at) else 1
    slopes = columns[n_own:]
    found = np.zeros((len(fit.subjects), len(columns)))
    for s in range(len(fit.subjects)):
        found[s, s if n_own > 1 else 0] = 1.0
        total = fit.strata.of_subject(s).total
        mean = total[0, slopes] / total[0, 0]
        found[s, n_own:] = mean * plain.scale[slopes] + plain.centre[slopes]
    return found


def effect_errors(level: LevelEffects, loading: Floats, beta_covariance: Floats) -> EffectErrors:
    """Return the joint errors of a level's effects read at a loading of shape (q,)."""
    return EffectErrors(
        conditional=np.asarray(np.einsum("gab,a,b->g", level.conditional, loading, loading)),
        leverage=np.asarray(np.einsum("gap,a->gp", level.leverage, loading)),
        beta_covariance=beta_covariance,
        shared=tuple(
            (codes, column)
            for codes, parts in level.shared
            for column in np.einsum("gao,a->og", parts, loading)
        ),
        coefficient_part=np.asarray(np.einsum("gap,a->gp", level.coefficient_part, loading)),
    )


def _effects(
    school: LevelEffects, loading: Floats, beta_covariance: Floats, level: float
) -> pd.DataFrame:
    check_fraction(level, argument="level", closed=False)
    errors = effect_errors(school, loading, beta_covariance)
    effect = school.modes @ loading
    prior = float(loading @ school.covariance @ loading)
    conditional = np.maximum(errors.conditional, 0.0)
    std_error = np.sqrt(errors.prediction)
    z = float(special.ndtri(0.5 + level / 2.0))
    trusted = 1.0 - conditional / prior if prior > 0 else np.zeros_like(effect)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_above = special.ndtr(np.where(std_error > 0, effect / std_error, np.sign(effect) * 99))
    return pd.DataFrame(
        {
            "school_id": school.labels,
            "effect": effect,
            "std_error": std_error,
            "conditional_sd": np.sqrt(conditional),
            "conf_low": effect - z * std_error,
            "conf_high": effect + z * std_error,
            "reliability": np.clip(trusted, 0.0, 1.0),
            "p_above_zero": p_above,
            "band": bands(p_above),
        }
    )


def _pupils(fit: StrataFit, at: int, used: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return each group's pupils with a result in any subject used, everyone once.

    Without a pupil key the largest number of rows in one of them: no fewer can have given them.
    """
    strata = fit.strata
    if not strata.linked:
        return np.asarray(strata.rows_by_subject(at)[:, used].max(axis=1))
    found = np.zeros(strata.group_rows[at].shape[1], dtype=np.int64)
    for (pattern, s, t), own in zip(strata.strata, strata.group_rows[at], strict=True):
        if s == t == next((k for k in pattern if used[k]), None):
            found += own
    return found


def _school_at(results: JointEffects, fit: StrataFit) -> int:
    return [level.name for level in fit.levels].index(results.group)


def _shares(fit: StrataFit, weights: Mapping[object, float]) -> Floats:
    example = "weights={'МА': 0.5, 'РУ': 0.5}"
    check_instance(weights, Mapping, argument="weights", example=example)
    for subject, share in weights.items():
        check_number(share, argument=f"weights[{subject!r}]")
        if not np.isfinite(share):
            raise SpecificationError(
                text("subjects.weight_finite", subject=repr(subject), value=f"{share}")
            )
    unknown = [subject for subject in weights if subject not in fit.subjects]
    total = float(sum(weights.values()))
    if unknown:
        raise SpecificationError(
            text(
                "subjects.unknown",
                subjects=shorten(unknown),
                known=shorten(fit.subjects, 12),
            )
        )
    if abs(total - 1.0) > 1e-9:
        raise SpecificationError(text("subjects.weights", total=f"{total:.6g}"))
    return np.array([float(weights.get(subject, 0.0)) for subject in fit.subjects])
