"""One result of the fits to completed data sets: Rubin's rules for every table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError
from resilience.i18n import text
from resilience.results import Convergence
from resilience.stats.mixed import LevelEffects, MixedFit
from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.stats.rubin import (
    PooledEstimates,
    imputations_needed,
    pool_covariances,
    pool_estimates,
)
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.specification import Intake
from resilience.value_added.effects.effects_table import effects_table
from resilience.value_added.gaps.imputed_results import ImputedResults
from resilience.value_added.gaps.pooled_methods import PooledProducts
from resilience.value_added.intake.gap_report import MissingResults
from resilience.value_added.results import ValueAddedResults

__all__ = ["pooled_results"]

Floats = NDArray[np.float64]
Fits = Sequence[ValueAddedResults]


def pooled_results(
    model: ModelDefinition, fits: Fits, missing: MissingResults, *, random_state: int = 0
) -> ImputedResults:
    """Pool fits of one model to completed data sets.

    Coefficients, effects and yearly residuals are pooled by Rubin's rules with their variances
    within and between; variances of the model are means.

    Parameters
    ----------
    model : ModelDefinition
        The specification, ``missing="impute"`` included.
    fits : sequence of ValueAddedResults
        At least 2, of the same schools and terms.
    missing : MissingResults
        What was missing.
    random_state : int
        Seed of the imputations and of the draws behind rank intervals.

    Raises
    ------
    DataError
        If terms or schools differ between the fits.
    """
    first = fits[0]
    _check_alike(fits)
    errors = _errors(fits)
    mixed = _mixed(fits)
    fixed = _coefficients(fits)
    variances = {
        name: float(np.mean([f.variances[name] for f in fits])) for name in first.variances
    }
    components = _components(fits)
    return ImputedResults(
        definition=model,
        formula=first.formula,
        source_formula=first.source_formula,
        group=first.group,
        time=first.time,
        method=first.method,
        criterion=float(np.mean([f.criterion for f in fits])),
        fixed_effects=_coefficient_table(first, fixed),
        variance_components=components,
        school_effects=_effects(fits, errors, variances["persistent"], random_state),
        school_years=_years(fits),
        variances=variances,
        convergence=mixed.convergence,
        question=first.question,
        data_kind=first.data_kind,
        information=first.information,
        information_reason=first.information_reason,
        errors=errors,
        year_design=_mean_of([f.year_design for f in fits]),
        slope_means={
            t: float(np.mean([f.slope_means[t] for f in fits])) for t in first.slope_means
        },
        intake=model.intake or Intake(),
        n_dropped=0,
        spec=first.spec,
        mixed=mixed,
        cross=PooledProducts(len(fits)),  # type: ignore[arg-type]  # refuses what one fit alone has
        learnt=None,
        fits=tuple(fits),
        gaps=missing,
        seed=random_state,
        imputation=_imputation(fits, fixed),
    )


def _check_alike(fits: Fits) -> None:
    """Raise unless all fits have the same terms and schools."""
    first = fits[0]
    for k, fit in enumerate(fits):
        if fit.mixed.terms != first.mixed.terms:
            odd = sorted(set(fit.mixed.terms) ^ set(first.mixed.terms))
            raise DataError(text("imputation.terms_differ", n=k + 1, terms=", ".join(odd)))


def _stack(fits: Fits, table: str, column: str) -> Floats:
    return np.array([getattr(f, table)[column].to_numpy(dtype=float) for f in fits])


def _mean_of(arrays: Sequence[Floats | None]) -> Floats | None:
    given = [a for a in arrays if a is not None]
    return np.mean(given, axis=0) if len(given) == len(arrays) else None


def _free(fits: Fits) -> float:
    """Return the degrees of freedom of the coefficients in complete data: rows minus terms."""
    fitted = fits[0].mixed
    return float(max(fitted.n_rows - len(fitted.beta), 1))


def _coefficients(fits: Fits) -> PooledEstimates:
    return pool_estimates(
        np.array([f.mixed.beta for f in fits]),
        np.array([np.diag(f.mixed.beta_covariance) for f in fits]),
        df_complete=_free(fits),
    )


def _coefficient_table(first: ValueAddedResults, pooled: PooledEstimates) -> pd.DataFrame:
    low, high = pooled.interval(first.level)
    return pd.DataFrame(
        {
            "term": list(first.mixed.terms),
            "estimate": pooled.estimate,
            "std_error": pooled.std_error,
            "statistic": pooled.estimate / pooled.std_error,
            "p_value": pooled.p_value,
            "conf_low": low,
            "conf_high": high,
        }
    )


def _errors(fits: Fits) -> EffectErrors:
    r"""Return the joint errors of the pooled effects.

    The variance between the completed data sets is a sum of products of loadings,
    :math:`(1+1/M)/(M-1)\sum_m d_{jm}d_{km}` with the deviations d of the effects: it enters as one
    more thing that all schools share per data set.
    """
    n, first = len(fits), fits[0].errors
    effects = _stack(fits, "school_effects", "effect")
    apart = (effects - effects.mean(axis=0)) * np.sqrt((1.0 + 1.0 / n) / (n - 1.0))
    everyone = np.zeros(first.n_schools, dtype=np.int64)
    shared = [(codes, loading / np.sqrt(n)) for f in fits for codes, loading in f.errors.shared]
    if apart.any():
        shared += [(everyone, row) for row in apart]
    conditional = np.mean([np.maximum(f.errors.conditional, 0.0) for f in fits], axis=0)
    # the coefficients' part of the first fit, made as long as the mean of all of them
    squares = np.mean([(f.errors.half**2).sum(axis=1) for f in fits], axis=0)
    own = (first.half**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        longer = np.where(own > 0, np.sqrt(squares / own), 0.0)
    return EffectErrors(
        conditional=conditional + (apart**2).sum(axis=0),
        leverage=np.mean([f.errors.leverage for f in fits], axis=0),
        beta_covariance=np.mean([f.errors.beta_covariance for f in fits], axis=0),
        shared=tuple(shared),
        coefficient_part=first.half * longer[:, None],
    )


def _effects(
    fits: Fits, errors: EffectErrors, persistent: float, random_state: int
) -> pd.DataFrame:
    first = fits[0].school_effects
    return effects_table(
        school_id=first["school_id"].to_numpy(dtype=object),
        effect=_stack(fits, "school_effects", "effect").mean(axis=0),
        errors=errors,
        prior_variance=persistent,
        n_pupils=first["n_pupils"].to_numpy(dtype=np.int64),
        n_years=first["n_years"].to_numpy(dtype=np.int64),
        means=(
            _stack(fits, "school_effects", "observed_mean").mean(axis=0),
            _stack(fits, "school_effects", "expected_mean").mean(axis=0),
        ),
        level=fits[0].level,
        random_state=random_state,
    )


def _years(fits: Fits) -> pd.DataFrame:
    """Return the yearly residuals; their sampling variance counts the gaps too."""
    pooled = pool_estimates(
        _stack(fits, "school_years", "residual"),
        _stack(fits, "school_years", "sampling_variance"),
    )
    return fits[0].school_years.assign(residual=pooled.estimate, sampling_variance=pooled.total)


def _components(fits: Fits) -> pd.DataFrame:
    """Return the mean variance components; SDs are roots of the mean variances."""
    variance = _stack(fits, "variance_components", "variance").mean(axis=0)
    correlation = _stack(fits, "variance_components", "correlation")
    known = np.isfinite(correlation).all(axis=0)
    mean = np.where(known, np.where(known, correlation, 0.0).mean(axis=0), np.nan)
    return fits[0].variance_components.assign(
        variance=variance, std_dev=np.sqrt(variance), correlation=mean
    )


def _imputation(fits: Fits, fixed: PooledEstimates) -> pd.DataFrame:
    """Return what the gaps cost: a row per coefficient and per variance."""
    coefficients = pd.DataFrame(
        {
            "pooled_part": "coefficient",
            "group": "fixed",
            "term": list(fits[0].mixed.terms),
            "estimate": fixed.estimate,
            "within_variance": fixed.within,
            "between_imputations": fixed.between,
            "std_error": fixed.std_error,
            "df_pooled": fixed.df,
            "fraction_missing": fixed.fraction_missing,
            "imputations_needed": imputations_needed(fixed.fraction_missing),
        }
    )
    stacked = _stack(fits, "variance_components", "variance")
    kept = np.isfinite(stacked[0])
    table = fits[0].variance_components[kept]
    variances = pd.DataFrame(
        {
            "pooled_part": "variance",
            "group": table["group"].to_numpy(),
            "term": table["term"].to_numpy(),
            "estimate": stacked[:, kept].mean(axis=0),
            "within_variance": np.nan,
            "between_imputations": stacked[:, kept].var(axis=0, ddof=1),
            "std_error": np.nan,
            "df_pooled": np.nan,
            "fraction_missing": np.nan,
            "imputations_needed": np.nan,
        }
    )
    return pd.concat([coefficients, variances], ignore_index=True)


def _mixed(fits: Fits) -> MixedFit:
    """Return the engine's terms of the pooled fit: means, with the variance between added."""
    all_fits = [f.mixed for f in fits]
    beta, covariance = pool_covariances(
        np.array([f.beta for f in all_fits]), np.array([f.beta_covariance for f in all_fits])
    )
    levels = tuple(_level([f.levels[k] for f in all_fits]) for k in range(len(all_fits[0].levels)))
    return replace(
        all_fits[0],
        beta=beta,
        beta_covariance=covariance,
        residual_variance=float(np.mean([f.residual_variance for f in all_fits])),
        criterion=float(np.mean([f.criterion for f in all_fits])),
        levels=levels,
        convergence=_convergence([f.convergence for f in all_fits]),
        theta=np.mean([f.theta for f in all_fits], axis=0),
    )


def _level(levels: Sequence[LevelEffects]) -> LevelEffects:
    n, first = len(levels), levels[0]
    modes = np.array([level.modes for level in levels])
    apart = modes - modes.mean(axis=0)
    between = (1.0 + 1.0 / n) / (n - 1.0) * np.einsum("mga,mgb->gab", apart, apart)
    return replace(
        first,
        modes=modes.mean(axis=0),
        conditional=np.mean([level.conditional for level in levels], axis=0) + between,
        prediction=np.mean([level.prediction for level in levels], axis=0) + between,
        covariance=np.mean([level.covariance for level in levels], axis=0),
        singular=all(level.singular for level in levels),
        leverage=np.mean([level.leverage for level in levels], axis=0),
        shared=(),
        parameters={
            name: float(np.mean([level.parameters[name] for level in levels]))
            for name in first.parameters
        },
    )


def _convergence(records: Sequence[Convergence]) -> Convergence:
    """Return how the searches ended: well if all did."""
    known = [r.hessian_positive for r in records if r.hessian_positive is not None]
    return Convergence(
        converged=all(r.converged for r in records),
        n_evaluations=sum(r.n_evaluations for r in records),
        n_iterations=sum(r.n_iterations for r in records),
        gradient_norm=max(r.gradient_norm for r in records),
        hessian_positive=all(known) if known else None,
        singular=any(r.singular for r in records),
        message=records[0].message,
    )
