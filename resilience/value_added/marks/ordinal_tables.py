"""From the fitted ordinal engine to tables in SD of pupils of the region."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.mark_layout import Layout
from resilience.stats.marks.ordinal import OrdinalFit
from resilience.stats.marks.ordinal_data import RandomParts
from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.value_added.definitions.question import DataKind, infer_question
from resilience.value_added.effects.effects_table import coefficient_table, effects_table
from resilience.value_added.marks.mark_tables import (
    coarsening_table,
    information_table,
    mark_share_table,
    procedure_spread_table,
    spread_table,
    threshold_table,
)
from resilience.value_added.marks.ordinal_fitted import Fitted, total_variance, working_estimates
from resilience.value_added.marks.ordinal_results import OrdinalSchoolResults, YearState

__all__ = ["ordinal_results"]

Floats = NDArray[np.float64]

_PRIORS = ("prior_score", "prior_mean")


def ordinal_results(
    fitted: OrdinalFit,
    layout: Layout,
    *,
    unit: float,
    model: tuple[str, str, str | None, str | None],
    correlation: float,
    method: str,
    random_state: int,
) -> OrdinalSchoolResults:
    """Return the results of a fit; ``unit`` is the SD of pupils in SD within schools."""
    formula, group, time, procedure = model
    data = layout.data(_parts_of(fitted), correlation, unit)
    own = Fitted(
        fit=fitted,
        data=data,
        layout=layout,
        unit=unit,
        block_variance=total_variance(fitted, layout)[0],
    )
    state = _year_state(own)
    errors = EffectErrors(
        conditional=state.covariance[:, 0, 0],
        leverage=state.leverage[:, 0],
        beta_covariance=fitted.covariance,
    )
    years = _school_years(own)
    pupils, n_years, means = _school_sums(own)
    information = information_table(own)
    kind: DataKind = "counts"
    if layout.is_mean.any():
        kind = "means" if layout.is_mean.all() else "mixture"
    table = effects_table(
        school_id=own.labels,
        effect=state.mean[:, 0],
        errors=errors,
        prior_variance=(fitted.scales.school / unit) ** 2,
        n_pupils=pupils,
        n_years=n_years,
        means=means,
        random_state=random_state,
    )
    return OrdinalSchoolResults(
        formula=formula,
        group=group,
        time=time,
        method=method,
        criterion=fitted.state.criterion,
        fixed_effects=_coefficients(own),
        variance_components=_variance_table(own, group, time, procedure),
        school_effects=table,
        school_years=years,
        variances={
            "persistent": (fitted.scales.school / unit) ** 2,
            "transient": (fitted.scales.year / unit) ** 2,
            "residual": own.within,
        },
        convergence=fitted.convergence,
        question=infer_question(_PRIORS, layout.terms),
        data_kind=kind,
        information=float(np.average(information["information"], weights=information["n_pupils"])),
        errors=errors,
        procedure=procedure,
        marks=layout.cells.marks,
        thresholds=threshold_table(own),
        mark_shares=mark_share_table(own),
        procedure_effects=_procedure_effects(own),
        information_table=information,
        coarsening=coarsening_table(own, table, correlation),
        spread_effects=spread_table(own),
        procedure_spreads=procedure_spread_table(own),
        correlation=correlation,
        state=state,
    )


def _coefficients(own: Fitted) -> pd.DataFrame:
    n = own.n_thresholds
    factor = 1.0 / (own.unit * own.layout.scale)
    covariance = own.fit.covariance[n:, n:] * np.outer(factor, factor)
    return coefficient_table(own.layout.terms, own.beta * factor, covariance)


def _parts_of(fitted: OrdinalFit) -> RandomParts:
    return RandomParts(
        **{name: name in fitted.state.gradient for name in ("year", "procedure", "cell", "spread")},
        procedure_spread=bool(fitted.scales.procedure_spread),
    )


def _effects(own: Fitted, places: list[int], loads: list[float]) -> tuple[Floats, Floats, Floats]:
    """Return mean, covariance and leverage of effects at given places, in the effects' unit."""
    system, point = own.fit.state.system, own.fit.state.point
    load = np.array(loads) / own.unit
    mean = point.effects[:, places] * load
    covariance = system.inverse[:, places][:, :, places] * load[:, None] * load
    return mean, covariance, system.carried[:, places] * load[:, None]


def _year_state(own: Fitted) -> YearState:
    scales, places = own.fit.scales, own.data.places
    at, loads = [0], [scales.school]
    years: NDArray[np.object_] = np.empty(0, dtype=object)
    if "year" in places:
        years = own.layout.cells.year_labels[: int(own.data.year.max()) + 1]
        at += [places["year"] + k for k in range(len(years))]
        loads += [scales.year] * len(years)
    mean, covariance, leverage = _effects(own, at, loads)
    return YearState(years=years, mean=mean, covariance=covariance, leverage=leverage)


def _school_years(own: Fitted) -> pd.DataFrame:
    """Return the residual of each school and year and its variance, by GLS over procedures."""
    data, scales, layout = own.data, own.fit.scales, own.layout
    estimate, variance = working_estimates(own)
    local = (scales.procedure**2 + scales.cell**2) / own.unit**2
    unit = data.school * (int(data.year.max()) + 1) + data.year
    labels, unit = np.unique(unit, return_inverse=True)
    order = np.lexsort((data.procedure, unit))
    counts = np.bincount(unit)
    widest = int(counts.max())
    place = np.arange(len(unit)) - np.repeat(np.cumsum(counts) - counts, counts)
    V = np.tile(np.eye(widest), (len(labels), 1, 1))
    r, ones = np.zeros((len(labels), widest)), np.zeros((len(labels), widest))
    rows = unit[order]
    V[rows, place, place] = (variance + local)[order]
    r[rows, place], ones[rows, place] = estimate[order], 1.0
    cohort = np.full((len(labels), widest), -1)
    shared = np.zeros((len(labels), widest))
    cohort[rows, place] = data.cohort[order]
    shared[rows, place] = data.shared[order] / own.unit
    same = (cohort[:, :, None] == cohort[:, None, :]) & (cohort[:, :, None] >= 0)
    V += same * shared[:, :, None] * shared[:, None, :]
    solved = np.linalg.solve(V, np.stack([ones, r], axis=2))
    precision = (ones * solved[:, :, 0]).sum(axis=1)
    residual = (ones * solved[:, :, 1]).sum(axis=1) / precision
    n_years = int(data.year.max()) + 1
    table: dict[str, object] = {"school_id": own.labels[labels // n_years]}
    if layout.cells.year_labels[0] is not None:
        table["year"] = layout.cells.year_labels[labels % n_years]
    table |= {
        "residual": residual,
        "sampling_variance": 1.0 / precision,
        "n_pupils": np.round(_distinct_pupils(own, unit, len(labels))).astype(np.int64),
    }
    return pd.DataFrame(table).infer_objects()


def _distinct_pupils(own: Fitted, unit: NDArray[np.int64], n_units: int) -> Floats:
    """Return pupils of each unit of cells: a cohort once, its largest cell."""
    layout = own.layout
    cohort = np.where(layout.cohort >= 0, layout.cohort, -1 - np.arange(len(unit)))
    _, pair = np.unique(np.stack([unit, cohort], axis=1), axis=0, return_inverse=True)
    pair = pair.ravel()
    largest = np.zeros(int(pair.max()) + 1)
    np.maximum.at(largest, pair, layout.size)
    home = np.zeros(len(largest), dtype=np.int64)
    home[pair] = unit
    return np.asarray(np.bincount(home, weights=largest, minlength=n_units), dtype=np.float64)


def _school_sums(
    own: Fitted,
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[Floats, Floats]]:
    """Return pupils, years, and observed and expected means of the schools."""
    data = own.data
    n_years = int(data.year.max()) + 1
    pair = data.school * n_years + data.year
    labels, unit = np.unique(pair, return_inverse=True)
    pupils = np.bincount(
        labels // n_years,
        weights=_distinct_pupils(own, unit, len(labels)),
        minlength=data.n_schools,
    )
    years = np.bincount(labels // n_years, minlength=data.n_schools)
    estimate, variance = working_estimates(own)
    weight = np.bincount(data.school, weights=1.0 / variance)
    observed = np.bincount(data.school, weights=(estimate + own.expected) / variance) / weight
    expected = np.bincount(data.school, weights=own.expected / variance) / weight
    return np.round(pupils).astype(np.int64), years.astype(np.int64), (observed, expected)


def _variance_table(
    own: Fitted, group: str, time: str | None, procedure: str | None
) -> pd.DataFrame:
    scales, unit2 = own.fit.scales, own.unit**2
    names = {
        "school": (group, "Intercept", scales.school**2 / unit2),
        "year": (f"{group}:{time}", "Intercept", scales.year**2 / unit2),
        "procedure": (f"{group}:{procedure}", "Intercept", scales.procedure**2 / unit2),
        "cell": (f"{group}:{time}:{procedure}", "Intercept", scales.cell**2 / unit2),
        "spread": (group, "log_spread", scales.spread**2),
    }
    rows = [names[name] for name in own.data.parts.names]
    rows.append(("residual", "", own.within))
    table = pd.DataFrame(rows, columns=["group", "term", "variance"])
    return table.assign(std_dev=np.sqrt(table["variance"]), correlation=np.nan)


def _procedure_effects(own: Fitted) -> pd.DataFrame:
    columns = ["school_id", "procedure", "effect", "std_error", "conditional_sd"]
    if "procedure" not in own.data.places:
        return pd.DataFrame(columns=columns)
    data = own.data
    pairs = np.unique(np.stack([data.school, data.procedure], axis=1), axis=0)
    load = own.fit.scales.procedure / own.unit
    place = data.places["procedure"] + pairs[:, 1]
    system = own.fit.state.system
    conditional = system.inverse[pairs[:, 0], place, place] * load**2
    leverage = system.carried[pairs[:, 0], place] * load
    extra = np.einsum("af,fg,ag->a", leverage, own.fit.covariance, leverage)
    return pd.DataFrame(
        {
            "school_id": own.labels[pairs[:, 0]],
            "procedure": own.layout.cells.procedure_labels[pairs[:, 1]],
            "effect": own.fit.state.point.effects[pairs[:, 0], place] * load,
            "std_error": np.sqrt(conditional + extra),
            "conditional_sd": np.sqrt(conditional),
        }
    ).infer_objects()
