"""From a fitted model of means to effects, their errors and the parts of the variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.stats.means.summary_data import (
    Component,
    Outer,
    SharedPupils,
    SummaryData,
)
from resilience.stats.means.summary_fit import CellMeans, Predicted, SummaryFit, Target
from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.value_added.means.means_reading import MeansTable, Procedures

__all__ = [
    "MeansEstimates",
    "Parts",
    "VarianceRow",
    "estimates_of",
    "parts_of",
    "no_procedures",
    "procedure_table",
    "shared_errors",
    "summary_of",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class VarianceRow(NamedTuple):
    """A row of the table of variances.

    ``scale`` is the SD of the rows that load on the term, against which a variance counts as zero.
    """

    group: str
    term: str
    variance: float
    scale: float
    correlation: float = float("nan")

    @property
    def singular(self) -> bool:
        """Whether the variance is zero or the correlation ±1, up to the search's accuracy."""
        return self.variance <= 1e-7 * self.scale**2 or abs(self.correlation) > 1.0 - 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """Which component of the engine is what.

    Attributes
    ----------
    components : tuple of Component
        Random parts within schools.
    names : tuple of str
        Level each stands for in the table of variances.
    transient, procedure : int or None
        Number of the component of years, of lasting deviations of procedures.
    weights : ndarray
        Weights of the traits of the persistent effect.
    """

    components: tuple[Component, ...]
    names: tuple[str, ...]
    transient: int | None
    procedure: int | None
    weights: Floats

    def lasting(self, *, yearly: bool = False) -> Target:
        """Return the persistent effect (with ``yearly``, plus the part of the cell's own year)."""
        found: list[tuple[int, Floats, int | None]] = [(0, self.weights, None)]
        if yearly and self.transient is not None:
            found.append((self.transient, np.ones(1), None))
        return Target(parts=tuple(found))

    def of_procedure(self, code: int) -> Target:
        """Return the lasting effect in one procedure."""
        if self.procedure is None:
            return Target(parts=((0, np.eye(len(self.weights))[code], None),))
        return Target(parts=((0, np.ones(1), None), (self.procedure, np.ones(1), code)))


@dataclass(frozen=True, kw_only=True, eq=False)
class MeansEstimates:
    """What a table of results needs.

    Attributes
    ----------
    terms, beta, beta_covariance
        Coefficients.
    effect : ndarray of shape (n_schools,)
        Persistent effects.
    errors : EffectErrors
        Their errors.
    cells : CellMeans
        Each school-year as one measure.
    expected : ndarray of shape (n_rows,)
        Expected mean of each row.
    variance_rows : list of VarianceRow
        Rows of the table of variances, without the pupils' one.
    persistent, transient : float
        Variances of the effect and of one year.
    outer : Predicted or None
        Effects of the outer level.
    procedures : DataFrame
        Lasting effects of schools in single procedures.
    """

    terms: tuple[str, ...]
    beta: Floats
    beta_covariance: Floats
    effect: Floats
    errors: EffectErrors
    cells: CellMeans
    expected: Floats
    variance_rows: list[VarianceRow]
    persistent: float
    transient: float
    outer: Predicted | None
    procedures: pd.DataFrame


def parts_of(
    table: MeansTable, group: str, time: str | None, procedures: Procedures | None
) -> Parts:
    """Return the random parts that the columns ask for."""
    components, names = [Component()], [group]
    transient, procedure, weights = None, None, np.ones(1)
    if procedures is not None and procedures.covariance == "unstructured":
        size = len(table.procedures)
        components = [Component(traits=table.procedure, size=size)]
        weights = procedures.trait_weights(table.procedures)
    if time is not None:
        transient = len(components)
        components.append(Component(units=table.year))
        names.append(f"{group}:{time}")
    if procedures is not None and procedures.covariance == "compound_symmetry":
        procedure = len(components)
        components.append(Component(units=table.procedure))
        names.append(f"{group}:{procedures.column}")
    if procedures is not None and procedures.cell and _crossed(table):
        components.append(Component(units=np.arange(len(table.school), dtype=np.int64)))
        names.append(f"{group}:{time}:{procedures.column}")
    return Parts(
        components=tuple(components),
        names=tuple(names),
        transient=transient,
        procedure=procedure,
        weights=weights,
    )


def _crossed(table: MeansTable) -> bool:
    """Tell whether some school has two procedures in each of two years."""
    rows = pd.DataFrame({"school": table.school, "year": table.year})
    per_cell = rows.groupby(["school", "year"]).size()
    several = per_cell[per_cell > 1].groupby("school").size()
    repeated = pd.DataFrame({"school": table.school, "procedure": table.procedure})
    again = repeated[repeated.duplicated()]["school"].unique()
    return bool((several.reindex(again).fillna(0) > 1).any())


def summary_of(
    table: MeansTable,
    parts: Parts,
    known: Floats,
    inverse_n: Floats,
    shared: SharedPupils | None,
) -> SummaryData:
    """Return the engine's data."""
    return SummaryData(
        X=table.X,
        y=table.y,
        school=table.school,
        known=known,
        inverse_n=inverse_n,
        components=parts.components,
        outer=None if table.outer is None else Outer(of_school=table.outer),
        shared=shared,
    )


def shared_errors(outer: Codes | None, loadings: Floats) -> tuple[tuple[Codes, Floats], ...]:
    """Return the pairs of codes and loadings that `EffectErrors` takes."""
    if outer is None:
        return ()
    return tuple((outer, loadings[:, k]) for k in range(loadings.shape[1]))


def estimates_of(table: MeansTable, parts: Parts, fit: SummaryFit, outer: str) -> MeansEstimates:
    """Return effects and variances of a model without cohort priors."""
    target = parts.lasting()
    found = fit.predict(target)
    G = fit.variances.outer
    rows = _variance_rows(table, parts, fit, outer)
    transient = parts.transient
    return MeansEstimates(
        terms=table.terms,
        beta=fit.beta,
        beta_covariance=fit.beta_covariance,
        effect=found.effect,
        errors=EffectErrors(
            conditional=found.conditional,
            leverage=found.leverage,
            beta_covariance=fit.beta_covariance,
            shared=shared_errors(table.outer, found.loadings),
            coefficient_part=found.coefficient_part,
        ),
        cells=fit.cell_means(table.cells, parts.lasting(yearly=True), np.ones(len(G))),
        expected=table.X @ fit.beta,
        variance_rows=rows,
        persistent=target.variance(fit.variances),
        transient=0.0 if transient is None else float(fit.variances.components[transient][0, 0]),
        outer=fit.predict_outer(np.ones(1)) if len(G) else None,
        procedures=procedure_table(table, parts, fit),
    )


def _variance_rows(
    table: MeansTable, parts: Parts, fit: SummaryFit, outer: str
) -> list[VarianceRow]:
    *scales, around = fit.layout.scales
    G, rows = fit.variances.outer, []
    if len(G):
        rows.append(VarianceRow(outer, "Intercept", float(G[0, 0]), float(around[0])))
    for name, Q, scale in zip(parts.names, fit.variances.components, scales, strict=True):
        if len(Q) == 1:
            rows.append(VarianceRow(name, "Intercept", float(Q[0, 0]), float(scale[0])))
            continue
        spread = np.sqrt(np.diag(Q))
        for p, procedure in enumerate(table.procedures):
            together = spread[0] * spread[p]
            share = float(Q[0, p] / together) if p and together > 0 else float("nan")
            row = VarianceRow(name, str(procedure), float(Q[p, p]), float(scale[p]), share)
            rows.append(row)
    return rows


def no_procedures() -> pd.DataFrame:
    """Return the table of effects in procedures of a model of a single one."""
    columns = ["school_id", "procedure", "effect", "std_error", "conditional_sd"]
    return pd.DataFrame(columns=columns)


def procedure_table(table: MeansTable, parts: Parts, fit: SummaryFit) -> pd.DataFrame:
    """Return the lasting effect of every school in every procedure it has."""
    pieces = []
    for code, name in enumerate(table.procedures):
        found = fit.predict(parts.of_procedure(code))
        have = np.unique(table.school[table.procedure == code])
        pieces.append(
            pd.DataFrame(
                {
                    "school_id": table.schools[have],
                    "procedure": name,
                    "effect": found.effect[have],
                    "std_error": np.sqrt(found.prediction[have]),
                    "conditional_sd": np.sqrt(found.conditional[have]),
                }
            )
        )
    if not pieces:
        return no_procedures()
    joined = pd.concat(pieces, ignore_index=True).infer_objects()
    return joined.sort_values(["school_id", "procedure"], kind="stable", ignore_index=True)
