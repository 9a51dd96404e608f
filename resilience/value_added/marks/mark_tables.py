"""Tables of a model of marks: thresholds, shares, spreads, what the marks keep of the scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.mark_layout import names_of
from resilience.stats.marks.ordinal_cells import cell_terms, mark_information, mark_probabilities
from resilience.stats.marks.ordinal_criterion import posterior_spread
from resilience.stats.marks.ordinal_system import assemble, displacement, log_spread, solve_system
from resilience.value_added.marks.ordinal_fitted import Fitted

__all__ = [
    "coarsening_table",
    "information_table",
    "mark_share_table",
    "procedure_spread_table",
    "spread_table",
    "threshold_table",
]

Floats = NDArray[np.float64]


def threshold_table(own: Fitted) -> pd.DataFrame:
    """Return ``procedure year border threshold std_error``; see `OrdinalSchoolResults`.

    A threshold is the mean over pupils of threshold minus location, effects included, so that 0 is
    the average of the pupils who sat; its error is that of this mean, by one solution of the
    penalised system.
    """
    layout, state = own.layout, own.fit.state
    marks = layout.cells.marks
    n_blocks = len(layout.borders)
    weight = layout.size / np.bincount(layout.block, weights=layout.size)[layout.block]
    # the intercept of means is no threshold
    means = np.isfinite(layout.cells.mean[layout.rows[layout.block_rows]])
    blocks, border = np.nonzero((layout.borders >= 0) & ~means[:, None])
    at = np.zeros((n_blocks, layout.borders.shape[1]))
    for k in range(at.shape[1]):
        at[:, k] = np.bincount(layout.block, weights=weight * state.zeta[:, k], minlength=n_blocks)
    own_sd = np.sqrt(own.block_variance[blocks])
    variance = [
        _mean_variance(own, weight * (layout.block == b), k)
        for b, k in zip(blocks.tolist(), border.tolist(), strict=True)
    ]
    procedure, year = names_of(layout, blocks)
    return pd.DataFrame(
        {
            "procedure": procedure,
            "year": year,
            "border": [marks[k + 1] for k in border],
            "threshold": at[blocks, border] / own_sd,
            "std_error": np.sqrt(np.maximum(variance, 0.0)) / own_sd,
        }
    ).infer_objects()


def _mean_variance(own: Fitted, weight: Floats, border: int) -> float:
    """Return the posterior variance of a weighted mean of threshold minus location."""
    data, scales, system = own.data, own.fit.scales, own.fit.state.system
    local = np.zeros((data.n_cells, len(system.direction)))
    local[:, border] = weight
    point = own.fit.state.point
    nothing = (np.zeros_like(point.effects), np.zeros_like(point.cell))
    solved = solve_system(data, scales, system, local, nothing, fixed=True)
    moved = displacement(data, scales, solved)
    moved += scales.cell * solved.cell[:, None] * system.direction
    return float((local * moved).sum())


def _location_spread(own: Fitted) -> Floats:
    """Return the posterior variance of each cell's location around its thresholds."""
    spread = posterior_spread(
        own.data, own.fit.scales, own.fit.state.system, own.fit.state.covariance
    )
    k = own.layout.borders.shape[1]
    return np.asarray(np.diagonal(spread.local[:, :k, :k], axis1=1, axis2=2).min(axis=1))


def _standardised(own: Fitted) -> Floats:
    return np.asarray(own.fit.state.zeta * own.pupil_scale[:, None])


def mark_share_table(own: Fitted) -> pd.DataFrame:
    """Return observed and fitted shares of marks, the location's own uncertainty averaged over."""
    layout, data = own.layout, own.data
    unsure = _location_spread(own) * own.pupil_scale**2
    alone = 1.0 if data.within is None else data.within**2  # without the cohort's common part
    b = _standardised(own) / np.sqrt(alone + unsure)[:, None]
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


def spread_table(own: Fitted) -> pd.DataFrame:
    """Return the spread of each school's pupils over the average one."""
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


def procedure_spread_table(own: Fitted) -> pd.DataFrame:
    """Return the spread of pupils around their schools in each procedure over the average one."""
    log = np.array(own.fit.scales.procedure_spread)
    if not len(log):
        return pd.DataFrame(columns=["procedure", "spread_ratio", "std_error"])
    n = len(own.fit.free)
    free = own.fit.scale_covariance[n:, n:]
    # the last log-spread is minus the sum of the others
    lift = np.vstack([np.eye(len(free)), -np.ones(len(free))])
    return pd.DataFrame(
        {
            "procedure": own.layout.cells.procedure_labels[own.data.spread_procedures],
            "spread_ratio": np.exp(log),
            "std_error": np.sqrt(np.einsum("ab,bc,ac->a", lift, free, lift)),
        }
    ).infer_objects()


def information_table(own: Fitted) -> pd.DataFrame:
    """Return the share of the information of scores that the marks of each procedure keep."""
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


def coarsening_table(own: Fitted, table: pd.DataFrame, correlation: float) -> pd.DataFrame:
    """Return reliabilities from these data and from the scores behind them, variances unchanged."""
    layout, data = own.layout, own.data
    share = np.where(layout.cohort >= 0, correlation * layout.size / layout.cohort_size, 0.0)
    precision = np.where(layout.is_mean, data.precision, layout.size * own.pupil_scale**2)
    as_scores = replace(
        data,
        counts=np.zeros_like(data.counts),
        precision=precision,
        mean=np.zeros(data.n_cells),
        weight=1.0 / (1.0 - share),
        shared=np.where(layout.cohort >= 0, np.sqrt(correlation / layout.cohort_size), 0.0),
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
