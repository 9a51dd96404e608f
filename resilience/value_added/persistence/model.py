"""Teacher effects that later results keep wholly, partly or not at all: the model a user types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import check_outcome, check_rows, formula_columns, learn_columns
from resilience.data.identifiers import identified
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.persistence.persistence import fit_persistence
from resilience.stats.persistence.persistence_products import Panel, persistence_products
from resilience.validation import (
    check_choice,
    check_columns,
    check_external_marking,
    check_fraction,
    check_not_empty,
    check_unique,
    shorten,
)
from resilience.value_added.persistence.definition import PersistenceDefinition
from resilience.value_added.persistence.links import LinkedUnits, linked_units
from resilience.value_added.persistence.results import PersistenceResults
from resilience.value_added.persistence.tables import persistence_results

__all__ = ["PersistenceModel"]

Floats = NDArray[np.float64]

_SPANNED = 1e-8  # share of an indicator's length that the formula leaves: below, it holds the year


@dataclass(frozen=True)
class PersistenceModel(PersistenceDefinition):
    r"""Teacher effects with weighted multiple membership and persistence.

    .. math:: y_{it} = x_{it}'\beta + \sum_{s \le t}\alpha_{ts}\sum_k w_{isk}\theta_{k(s)} + e_{it}

    with :math:`\alpha_{tt} = 1`, independent teacher effects with a variance of each year and an
    unstructured covariance of a pupil's residuals over the years.  A mean of every year belongs to
    the model: where the formula does not hold it, an indicator is added (``year=2024``).

    Parameters
    ----------
    formula : str
        Outcome and pupils' covariates, for instance ``"score ~ prior_score + C(year)"``.
    pupil : str
        Pupil key, in both tables.
    time : str
        Year, in both tables.
    teachers : TeacherLinks
        Columns of the table of links.
    persistence : {"variable", "complete", "zero"}
        α below the diagonal: estimated, one, or zero.

    References
    ----------
    McCaffreyEtAl2004; MarianoEtAl2010; KarlYangLohr2013.
    """

    def fit(
        self,
        rows: pd.DataFrame,
        links: pd.DataFrame,
        *,
        procedures: pd.DataFrame | None = None,
        method: Literal["reml", "ml"] = "reml",
        level: float = 0.95,
    ) -> PersistenceResults:
        """Fit the model.

        Parameters
        ----------
        rows : DataFrame
            A row per pupil and year with a result; years without a result have no row.
        links : DataFrame
            A row per pupil, year and teacher; further columns that are constant within a teacher
            and year may form groups in reports.
        procedures : DataFrame, optional
            ``year exam marked_by`` of the outcomes; by default columns of ``rows``.
        method : {"reml", "ml"}
            Restricted or full maximum likelihood.
        level : float
            Coverage of the intervals, in (0, 1).

        Returns
        -------
        PersistenceResults

        Raises
        ------
        PolicyError
            If the outcomes were marked inside the school: at least one procedure other than ВПР
            must be marked by the region or at federal level in two years or more.
        DataError
            For gaps, doubled pupils, shares that do not sum to one, results without a link (unless
            ``missing="no_teacher"``), teachers without a result, years that share no pupil.
        SpecificationError
            For fewer than two years with variable persistence.
        """
        check_choice(method, ("reml", "ml"), argument="method")
        check_fraction(level, argument="level", closed=False)
        self._check_marking(rows, procedures)
        table, years = self._checked(rows)
        pupils = np.unique(table[self.pupil])
        pupil = np.searchsorted(pupils, table[self.pupil])
        year = np.searchsorted(years, table[self.time])
        seen = np.zeros((len(pupils), len(years)))
        seen[pupil, year] = 1.0
        _check_shared(seen.T @ seen, years, "results")
        linked = linked_units(
            links,
            table,
            self.teachers,
            pupil=self.pupil,
            time=self.time,
            persists=self.persistence != "zero",
        )
        self._check_links(seen, years, linked)
        parts = formula_columns(self.formula)
        matrix, spec = learn_columns(table, parts)
        columns, added = _with_years(matrix, year, years, self.time)
        terms = (*map(str, spec.column_names), *added)
        panel = Panel(
            pupil=pupil.astype(np.int64),
            year=year.astype(np.int64),
            columns=columns,
            outcome=table[parts.outcome].to_numpy(dtype=float),
            link_pupil=linked.pupil,
            link_unit=linked.unit,
            share=linked.share,
            unit_year=np.searchsorted(years, linked.units[self.time]).astype(np.int64),
            n_years=len(years),
            terms=terms,
        )
        fitted = fit_persistence(
            persistence_products(panel), persistence=self.persistence, method=method
        )
        return persistence_results(self, panel, linked, fitted, years, method=method, level=level)

    def _check_marking(self, rows: pd.DataFrame, procedures: pd.DataFrame | None) -> None:
        """Apply the guard before any number is computed."""
        if procedures is not None:
            check_external_marking(procedures, table="procedures")
            check_columns(rows, [self.time], table="rows")
            absent = sorted(set(rows[self.time].dropna()) - set(procedures["year"]))
            if absent:
                raise DataError(text("persistence.no_procedure", years=shorten(absent)))
            return
        check_columns(rows, [self.time, "exam", "marked_by"], table="rows")
        marking = rows[[self.time, "exam", "marked_by"]].set_axis(
            ["year", "exam", "marked_by"], axis=1
        )
        check_external_marking(marking, table="rows")

    def _checked(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.generic]]:
        """Return the rows with clean keys, and the years ascending."""
        parts = formula_columns(self.formula)
        keys = [self.pupil, self.time]
        used = [*dict.fromkeys([*keys, *parts.variables, parts.outcome])]
        check_not_empty(rows, table="rows")
        check_columns(rows, used, table="rows")
        table = identified(rows, keys)
        check_outcome(table, parts, table="rows")
        check_rows(table, used, table="rows", unit=self.pupil)
        check_unique(table, keys, table="rows")
        years = np.unique(table[self.time])
        if self.persistence == "variable" and len(years) < 2:
            raise SpecificationError(text("persistence.one_year", year=str(years[0])))
        return table, years

    def _check_links(self, seen: Floats, years: NDArray[np.generic], linked: LinkedUnits) -> None:
        """Raise unless α has pupils to act on and each year has two teachers."""
        when = np.searchsorted(years, linked.units[self.time])
        taught = np.zeros_like(seen)
        taught[linked.pupil, when[linked.unit]] = 1.0
        if self.persistence == "variable":
            _check_shared(seen.T @ taught, years, "links")
        teachers = np.bincount(when, minlength=len(years))
        if (teachers < 2).any():
            at = int(np.argmin(teachers))
            raise DataError(
                text("persistence.few_teachers", year=str(years[at]), n=int(teachers[at]))
            )


def _check_shared(counts: Floats, years: NDArray[np.generic], what: str) -> None:
    """Raise if no pupil hangs a later year together with an earlier one."""
    for later, earlier in zip(*np.tril_indices(len(years), -1), strict=True):
        if counts[later, earlier] == 0:
            named = {"earlier": str(years[earlier]), "later": str(years[later])}
            raise DataError(text(f"persistence.unconnected_{what}", **named))


def _with_years(
    matrix: Floats, year: NDArray[np.int64], years: NDArray[np.generic], time: str
) -> tuple[Floats, tuple[str, ...]]:
    """Return the columns with an indicator of every year whose mean they do not hold.

    Beside an intercept the first year is the reference.
    """
    added: list[str] = []
    blocks: list[Floats] = []
    for code in range(len(years) - 1, -1, -1):
        indicator = (year == code).astype(float)
        held = np.column_stack([matrix, *blocks])
        rest = indicator - held @ np.linalg.lstsq(held, indicator, rcond=None)[0]
        if (rest**2).sum() > _SPANNED * indicator.sum():
            blocks.append(indicator)
            added.append(f"{time}={years[code]}")
    return np.column_stack([matrix, *blocks[::-1]]), tuple(added[::-1])
