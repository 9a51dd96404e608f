"""From the fitted ordinal engine to tables in SD of pupils of the region."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.stats.ordinal import OrdinalFit
from resilience.stats.ordinal_cells import cell_terms, mark_information, mark_probabilities
from resilience.stats.ordinal_criterion import posterior_spread
from resilience.stats.ordinal_data import OrdinalData, RandomParts
from resilience.stats.ordinal_system import assemble, log_spread, random_location
from resilience.stats.prediction_errors import EffectErrors
from resilience.value_added.effects import coefficient_table, effects_table
from resilience.value_added.mark_layout import Layout, names_of
from resilience.value_added.ordinal_results import OrdinalSchoolResults, YearState
from resilience.value_added.question import DataKind, infer_question

__all__ = ["ordinal_results", "total_variance"]

Floats = NDArray[np.float64]

_PRIORS = ("prior_score", "prior_mean")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fitted:
    """The fit with what every table needs."""

    fit: OrdinalFit
    data: OrdinalData
    layout: Layout
    unit: float
    block_variance: Floats

    @property
    def n_thresholds(self) -> int:
        return self.data.n_thresholds

    @property
    def beta(self) -> Floats:
        return self.fit.state.point.fixed[self.n_thresholds :]

    @property
    def expected(self) -> Floats:
        """Fixed part of each cell, in the effects' unit."""
        return np.asarray(self.data.X @ self.beta / self.unit)

    @property
    def labels(self) -> NDArray[np.object_]:
        """Schools in the order of the engine."""
        cells = self.layout.cells
        return cells.school_labels[np.unique(cells.school[self.layout.rows])]


def total_variance(fitted: OrdinalFit, layout: Layout) -> tuple[Floats, float]:
    """Return the variance of pupils of each procedure × year and its mean over pupils.

    In squared SD of pupils within schools: their own variance (1 without a spread part), those of
    the random parts, and that of the fixed part over pupils.
    """
    scales = fitted.scales
    own = np.exp(2.0 * scales.spread**2)
    random = scales.school**2 + scales.year**2 + scales.procedure**2 + scales.cell**2
    fixed = layout.X @ fitted.state.point.fixed[int(layout.borders.max()) + 1 :]
    n_blocks = len(layout.borders)
    weight = np.bincount(layout.block, weights=layout.size, minlength=n_blocks)
    mean = np.bincount(layout.block, weights=layout.size * fixed, minlength=n_blocks) / weight
    apart = layout.size * (fixed - mean[layout.block]) ** 2
    variance = np.bincount(layout.block, weights=apart, minlength=n_blocks) / weight
    total = own + random + variance
    return total, float(np.average(total, weights=weight))


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
    own = _Fitted(
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
    information = _information(own)
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
            "residual": 1.0 / unit**2,
        },
        convergence=fitted.convergence,
        question=infer_question(_PRIORS, layout.terms),
        data_kind=kind,
        information=float(np.average(information["information"], weights=information["n_pupils"])),
        errors=errors,
        procedure=procedure,
        marks=layout.cells.marks,
        thresholds=_thresholds(own),
        mark_shares=_mark_shares(own),
        procedure_effects=_procedure_effects(own),
        information_table=information,
        coarsening=_coarsening(own, table, correlation),
        spread_effects=_spread_effects(own),
        correlation=correlation,
        state=state,
    )


def _coefficients(own: _Fitted) -> pd.DataFrame:
    n = own.n_thresholds
    factor = 1.0 / (own.unit * own.layout.scale)
    covariance = own.fit.covariance[n:, n:] * np.outer(factor, factor)
    return coefficient_table(own.layout.terms, own.beta * factor, covariance)


def _parts_of(fitted: OrdinalFit) -> RandomParts:
    return RandomParts(
        **{name: name in fitted.state.gradient for name in ("year", "procedure", "cell", "spread")}
    )


def _effects(own: _Fitted, places: list[int], loads: list[float]) -> tuple[Floats, Floats, Floats]:
    """Return mean, covariance and leverage of effects at given places, in the effects' unit."""
    system, point = own.fit.state.system, own.fit.state.point
    load = np.array(loads) / own.unit
    mean = point.effects[:, places] * load
    covariance = system.inverse[:, places][:, :, places] * load[:, None] * load
    return mean, covariance, system.carried[:, places] * load[:, None]


def _year_state(own: _Fitted) -> YearState:
    scales, places = own.fit.scales, own.data.places
    at, loads = [0], [scales.school]
    years: NDArray[np.object_] = np.empty(0, dtype=object)
    if "year" in places:
        years = own.layout.cells.year_labels[: int(own.data.year.max()) + 1]
        at += [places["year"] + k for k in range(len(years))]
        loads += [scales.year] * len(years)
    mean, covariance, leverage = _effects(own, at, loads)
    return YearState(years=years, mean=mean, covariance=covariance, leverage=leverage)


def _working(own: _Fitted) -> tuple[Floats, Floats]:
    """Return each cell's own estimate of its random location and its variance, at the mode.

    One Newton step from the mode: the location less the slope of −ℓ over its curvature.
    """
    state = own.fit.state
    nu = state.system.direction
    curve = np.maximum(state.system.pull @ nu, 1e-8)
    location = random_location(own.data, own.fit.scales, state.point)
    estimate = location - (state.terms.gradient @ nu) / curve
    return estimate / own.unit, 1.0 / (curve * own.unit**2)


def _school_years(own: _Fitted) -> pd.DataFrame:
    """Return the residual of each school and year and its variance, by GLS over procedures."""
    data, scales, layout = own.data, own.fit.scales, own.layout
    estimate, variance = _working(own)
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


def _distinct_pupils(own: _Fitted, unit: NDArray[np.int64], n_units: int) -> Floats:
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
    own: _Fitted,
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
    estimate, variance = _working(own)
    weight = np.bincount(data.school, weights=1.0 / variance)
    observed = np.bincount(data.school, weights=(estimate + own.expected) / variance) / weight
    expected = np.bincount(data.school, weights=own.expected / variance) / weight
    return np.round(pupils).astype(np.int64), years.astype(np.int64), (observed, expected)


def _variance_table(
    own: _Fitted, group: str, time: str | None, procedure: str | None
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
    rows.append(("residual", "", 1.0 / unit2))
    table = pd.DataFrame(rows, columns=["group", "term", "variance"])
    return table.assign(std_dev=np.sqrt(table["variance"]), correlation=np.nan)


def _thresholds(own: _Fitted) -> pd.DataFrame:
    layout, n = own.layout, own.n_thresholds
    marks = layout.cells.marks
    n_blocks = len(layout.borders)
    weight = np.bincount(layout.block, weights=layout.size, minlength=n_blocks)
    mean_x = np.zeros((n_blocks, layout.X.shape[1]))
    np.add.at(mean_x, layout.block, layout.X * layout.size[:, None])
    mean_x /= weight[:, None]
    blocks, border = np.nonzero(layout.borders >= 0)
    at = layout.borders[blocks, border]
    lift = np.zeros((len(at), len(own.fit.covariance)))
    lift[np.arange(len(at)), at] = 1.0
    lift[:, n:] = -mean_x[blocks]
    own_sd = np.sqrt(own.block_variance[blocks])
    value = lift @ own.fit.state.point.fixed / own_sd
    variance = np.einsum("af,fg,ag->a", lift, own.fit.covariance, lift)
    procedure, year = names_of(layout, blocks)
    table = pd.DataFrame(
        {
            "procedure": procedure,
            "year": year,
            "border": [marks[k + 1] for k in border],
            "threshold": value,
            "std_error": np.sqrt(np.maximum(variance, 0.0)) / own_sd,
        }
    )
    # the intercept of means is no threshold
    counted = ~np.isfinite(layout.cells.mean[layout.rows[layout.block_rows[blocks]]])
    return table[counted].reset_index(drop=True).infer_objects()


def _location_spread(own: _Fitted) -> Floats:
    """Return the posterior variance of each cell's location around its thresholds."""
    spread = posterior_spread(
        own.data, own.fit.scales, own.fit.state.system, own.fit.state.covariance
    )
    k = own.layout.borders.shape[1]
    return np.asarray(np.diagonal(spread.local[:, :k, :k], axis1=1, axis2=2).min(axis=1))


def _standardised(own: _Fitted) -> Floats:
    spread = log_spread(own.data, own.fit.scales, own.fit.state.point)
    scale = 1.0 if spread is None else np.exp(-spread)[:, None]
    return np.asarray(own.fit.state.zeta * scale)


def _mark_shares(own: _Fitted) -> pd.DataFrame:
    layout, data = own.layout, own.data
    b = _standardised(own) / np.sqrt(1.0 + _location_spread(own))[:, None]
    fitted = mark_probabilities(b) * data.counts.sum(axis=1)[:, None]
    n_blocks, k = len(layout.borders), data.counts.shape[1]
    seen, expected = np.zeros((n_blocks, k)), np.zeros((n_blocks, k))
    np.add.at(seen, layout.block, data.counts)
    np.add.at(expected, layout.block, fitted)
    total = seen.sum(axis=1)
    counted = np.flatnonzero(total > 0)
    blocks = np.repeat(counted, k)
    procedure, year = names_of(layout, blocks)
    return pd.DataFrame(
        {
            "procedure": procedure,
            "year": year,
            "mark": list(layout.cells.marks) * len(counted),
            "n_marks": seen[counted].ravel().astype(np.int64),
            "observed_share": (seen[counted] / total[counted, None]).ravel(),
            "fitted_share": (expected[counted] / total[counted, None]).ravel(),
        }
    ).infer_objects()


def _procedure_effects(own: _Fitted) -> pd.DataFrame:
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


def _spread_effects(own: _Fitted) -> pd.DataFrame:
    if "spread" not in own.data.places:
        return pd.DataFrame(columns=["school_id", "spread_ratio", "std_error"])
    at, load = own.data.places["spread"], own.fit.scales.spread
    system = own.fit.state.system
    reach = system.carried[:, at] * load
    variance = system.inverse[:, at, at] * load**2
    variance = variance + np.einsum("jf,fg,jg->j", reach, own.fit.covariance, reach)
    return pd.DataFrame(
        {
            "school_id": own.labels,
            "spread_ratio": np.exp(load * own.fit.state.point.effects[:, at]),
            "std_error": np.sqrt(variance),
        }
    ).infer_objects()


def _information(own: _Fitted) -> pd.DataFrame:
    layout = own.layout
    kept = np.where(layout.is_mean, 1.0, mark_information(_standardised(own)))
    n_blocks = len(layout.borders)
    pupils = np.bincount(layout.block, weights=layout.size, minlength=n_blocks)
    total = np.bincount(layout.block, weights=layout.size * kept, minlength=n_blocks)
    procedure, year = names_of(layout, np.arange(n_blocks))
    return pd.DataFrame(
        {
            "procedure": procedure,
            "year": year,
            "n_pupils": np.round(pupils).astype(np.int64),
            "information": total / pupils,
        }
    ).infer_objects()


def _coarsening(own: _Fitted, table: pd.DataFrame, correlation: float) -> pd.DataFrame:
    """Return reliabilities from these data and from the scores behind them, variances unchanged."""
    layout, data = own.layout, own.data
    share = np.where(layout.cohort >= 0, correlation * layout.size / layout.cohort_size, 0.0)
    precision = np.where(layout.is_mean, data.precision, layout.size)
    as_scores = replace(
        data,
        counts=np.zeros_like(data.counts),
        precision=precision,
        mean=np.zeros(data.n_cells),
        weight=1.0 / (1.0 - share),
    )
    terms = cell_terms(
        own.fit.state.zeta,
        as_scores.weighted_counts,
        log_spread=log_spread(data, own.fit.scales, own.fit.state.point),
        mean=as_scores.mean,
        precision=as_scores.weighted_precision,
    )
    reliability = np.zeros(data.n_schools)
    if own.fit.scales.school > 0:
        reliability = 1.0 - assemble(as_scores, own.fit.scales, terms).inverse[:, 0, 0]
    return pd.DataFrame(
        {
            "school_id": table["school_id"],
            "n_pupils": table["n_pupils"],
            "reliability": table["reliability"],
            "reliability_scores": reliability,
        }
    )
