"""Pseudo data sets of SIMEX: the design with further errors in the prior.

Standardised scores keep the units of the data, so that a coefficient stays one per observed
standard deviation whatever is added; school compositions of the prior are formed anew from the
contaminated scores, as the naive model forms them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import (
    Design,
    design_columns,
    design_from_frame,
    formula_columns,
)
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.strata.changed_products import ChangedProducts, nested_positions
from resilience.stats.strata.latent_cells import CellVariances, cell_variances
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.nesting import check_keys
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.intake.measurement_error import Calibration
from resilience.value_added.intake.preparation import Prepared, prepare

__all__ = ["Contaminated", "contaminated", "prepared_twice"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Contaminated:
    """A design that can be made again with further errors in its priors.

    Attributes
    ----------
    design : Design
        The naive design: priors and compositions as observed.
    products : ChangedProducts
        Its rows; the changed columns are those that depend on the priors.
    frame : DataFrame
        Columns of the formula, prepared.
    observed, spread : ndarray of shape (n, q)
        Observed priors and the SDs of their errors.
    names : tuple of str
        Priors.
    composition : dict of {column: how}
        Compositions of the priors.
    cells : ndarray of shape (n,)
        Schools, or schools × years, sorted by school.
    parent : ndarray of shape (K,)
        School of each cell.
    nulls : dict of {column: CellVariances}
        Null models of the columns with a latent composition.
    by_share : ndarray of shape (q,), bool
        Priors whose error variance is a share of their observed variance.
    """

    design: Design
    products: ChangedProducts
    frame: pd.DataFrame
    observed: Floats
    spread: Floats
    names: tuple[str, ...]
    composition: Mapping[str, str]
    cells: Codes
    parent: Codes
    nulls: Mapping[str, CellVariances]
    by_share: NDArray[np.bool_]

    @property
    def n_errors(self) -> int:
        """Columns with errors of their own: noisy priors, and their means where not shrunken."""
        noisy = [name for name, s in zip(self.names, self.spread.T, strict=True) if s.any()]
        return len(noisy) + sum(
            how != "latent" for name, how in self.composition.items() if name in noisy
        )

    def cross(self, noise: Floats, multiplier: float) -> CrossProducts:
        """Return the cross-products with further errors.

        Parameters
        ----------
        noise : ndarray of shape (n, q)
            Standard normal draws.
        multiplier : float
            Variance added, in error variances.
        """
        found = self._columns(noise, multiplier)
        terms = [self.design.cross.columns[c] for c in self.products.changed]
        if set(terms) <= set(found):
            return self.products.with_columns(np.column_stack([found[t] for t in terms]))
        names = [str(name) for name in self.design.spec.column_names]
        whole = design_columns(self.design.spec, self.frame.assign(**found))
        return self.products.with_columns(whole[:, [names.index(t) for t in terms]])

    def without(
        self, level: str, left_out: NDArray[np.bool_]
    ) -> tuple[Contaminated, NDArray[np.bool_]]:
        """Return the design without some units, and the rows that stay.

        Null models are fitted and error variances by share formed anew, the units of the columns
        stay.

        Parameters
        ----------
        level : str
            Level of the units.
        left_out : ndarray of shape (n_units,), bool
            Units to leave out.
        """
        cross = self.products.cross
        at = [v.name for v in cross.levels].index(level)
        unit = self.products.position
        for inner in reversed(cross.levels[at + 1 :]):
            unit = inner.parent[unit]
        rows = ~left_out[unit]
        kept = cross.subset_groups(level, mask=~left_out)
        cells = np.unique(self.cells[rows], return_inverse=True)[1].reshape(-1).astype(np.int64)
        parent = np.zeros(int(cells.max()) + 1, dtype=np.int64)
        parent[cells] = np.unique(self.parent[self.cells[rows]], return_inverse=True)[1].reshape(-1)
        values = self.observed[rows]
        ratio = np.where(self.by_share, values.std(axis=0) / self.observed.std(axis=0), 1.0)
        nulls = {
            name: cell_variances(values[:, self.names.index(name)], cells, parent)
            for name in self.nulls
        }
        return replace(
            self,
            design=replace(self.design, cross=kept, n_rows=int(rows.sum())),
            products=self.products.of_groups(rows, kept),
            frame=self.frame[rows],
            observed=values,
            spread=self.spread[rows] * ratio,
            cells=cells,
            parent=parent,
            nulls=nulls,
        ), rows

    def _columns(self, noise: Floats, multiplier: float) -> dict[str, Floats]:
        """Return the contaminated priors and their compositions by name."""
        x = self.observed + np.sqrt(multiplier) * self.spread * noise
        found = {name: x[:, k] for k, name in enumerate(self.names)}
        added = multiplier * (self.spread**2).mean(axis=0)
        for name, how in self.composition.items():
            values = found[name]
            if how == "latent":
                more = float(added[self.names.index(name)])
                means = self.nulls[name].means(values, self.cells, self.parent, added=more)
                found[f"{name}_mean"] = means[self.cells]
                continue
            size = np.bincount(self.cells)[self.cells].astype(float)
            total = np.bincount(self.cells, values)[self.cells]
            if how == "mean":
                found[f"{name}_mean"] = total / size
            else:
                others = (total - values) / np.maximum(size - 1.0, 1.0)
                found[f"{name}_mean"] = np.where(size > 1, others, values.mean())
        return found


def prepared_twice(
    model: ModelDefinition, data: pd.DataFrame
) -> tuple[Prepared, Prepared, Calibration]:
    """Return the rows prepared without and with the calibration of their priors, and that.

    Parameters
    ----------
    model : ModelDefinition
        With nested levels and ``Intake.prior_reliability``.
    data : DataFrame
        Pupils.

    Raises
    ------
    DataError, SpecificationError
        What a fit raises; if no reliability is below 1.
    """
    structure, intake = model.structure or Structure(), model.intake or Intake()
    extra = [c for c in (structure.weights, structure.unit) if c]
    both = [
        prepare(data, model.formula, own, groups=model.groups, time=model.time, extra=extra)
        for own in (replace(intake, prior_reliability=None), intake)
    ]
    calibration = both[1].calibration
    if calibration is None:
        given = intake.prior_reliability
        raise SpecificationError(text("simex.no_errors", reliability=repr(given)))
    check_keys(both[0].data, model.groups, model.time, structure)
    return both[0], both[1], calibration


def contaminated(model: ModelDefinition, naive: Prepared, calibration: Calibration) -> Contaminated:
    """Return the naive design with what its pseudo data sets need.

    Parameters
    ----------
    model : ModelDefinition
        With nested levels.
    naive : Prepared
        Rows prepared without calibration.
    calibration : Calibration
        The same rows' priors with their error variances.

    Raises
    ------
    SpecificationError
        If no column of the design depends on a prior measured with error.
    """
    structure = model.structure or Structure()
    frame, levels = naive.data, model.levels
    design = design_from_frame(
        frame, naive.formula, groups=levels, weights=structure.weights, keep="groups"
    )
    q = len(calibration.prone)
    observed = np.asarray(calibration.values)[:, :q]
    used = formula_columns(naive.formula).variables
    codes = [np.asarray(pd.factorize(frame[v.column], sort=True)[0]) for v in levels]
    parent = np.zeros(int(calibration.cells.max()) + 1, dtype=np.int64)
    parent[calibration.cells] = calibration.schools
    found = Contaminated(
        design=design,
        products=ChangedProducts.of(
            design.cross,
            _all_columns(model, design, frame),
            position=nested_positions([code.astype(np.int64) for code in codes])[-1],
            changed=(),
            weights=None
            if structure.weights is None
            else frame[structure.weights].to_numpy(dtype=float),
        ),
        frame=frame[list(used)],
        observed=observed,
        spread=np.sqrt(calibration.errors[:, :q]),
        names=calibration.prone,
        composition={k: v for k, v in calibration.composition.items() if k in calibration.prone},
        cells=calibration.cells,
        parent=parent,
        nulls={
            name: cell_variances(
                observed[:, calibration.prone.index(name)], calibration.cells, parent
            )
            for name, how in calibration.composition.items()
            if how == "latent" and name in calibration.prone
        },
        by_share=calibration.by_share[:q],
    )
    return replace(found, products=replace(found.products, changed=_changed(found)))


def _all_columns(model: ModelDefinition, design: Design, frame: pd.DataFrame) -> Floats:
    """Return the columns of the cross-products in own units, the ones first."""
    names = [str(name) for name in design.spec.column_names]
    own = dict(zip(names, design_columns(design.spec, frame).T, strict=True))
    own[ONES] = np.ones(len(frame))
    own[design.outcome] = frame[design.outcome].to_numpy(dtype=float)
    for level in model.levels:
        if level.by is not None:
            values, categories = pd.factorize(frame[level.by], sort=True)
            for k, category in enumerate(categories):
                own[f"{level.by}={category}"] = (values == k).astype(float)
    return np.column_stack([own[name] for name in design.cross.columns])


def _changed(found: Contaminated) -> tuple[int, ...]:
    """Return the columns that move with the priors: those of a draw that differ from the data."""
    noise = np.random.default_rng(0).normal(size=found.observed.shape)
    moved = found.frame.assign(**found._columns(noise, 1.0))
    spec, columns = found.design.spec, found.design.cross.columns
    before = design_columns(spec, found.frame)
    try:
        after = design_columns(spec, moved)
    except DataError as error:
        raise DataError(text("simex.not_evaluable", reason=error.message)) from error
    names = [str(name) for name in spec.column_names]
    changed = [names[k] for k in np.flatnonzero((before != after).any(axis=0))]
    if not changed:
        raise SpecificationError(text("simex.not_used", columns=", ".join(found.names)))
    return tuple(columns.index(name) for name in changed)
