"""Many specifications from a single pass over the pupils.

The columns of all formulas and all outcomes stand side by side in one set of cross-products, year
by year; each specification is a sub-block of the sum of its years.  Specifications may differ in
formula, slopes, nested levels and covariance structures: levels that one of them lacks are left out
of its sub-block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import (
    Design,
    check_outcome,
    check_slopes,
    formula_columns,
    learn_columns,
)
from resilience.errors import DataError, ResilienceError, SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.mixed import dependent_columns
from resilience.validation import check_columns, check_not_empty, check_numeric, shorten
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.nesting import check_keys
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.fits.nested import fit_nested
from resilience.value_added.intake.preparation import Prepared, prepare
from resilience.value_added.pupils.shared_levels import by_label
from resilience.value_added.results import ValueAddedResults

if TYPE_CHECKING:
    from formulaic import ModelSpec

__all__ = ["SharedPass"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Entry:
    """One formula: its terms, the columns they stand in, and the column of the outcome."""

    prepared: Prepared
    spec: ModelSpec
    terms: tuple[str, ...]
    places: dict[str, str]
    outcome: str
    outcome_place: str


@dataclass
class _Columns:
    """Distinct columns of all formulas; equal columns of one name are kept once."""

    names: list[str] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)

    def place(self, name: str, values: Floats) -> str:
        """Return the name under which the column stands, adding it where it is new."""
        label, k = name, 1
        while label in self.names:
            if np.array_equal(self.values[self.names.index(label)], values):
                return label
            k += 1
            label = f"{name} #{k}"
        self.names.append(label)
        self.values.append(values)
        return label


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedPass:
    """Cross-products that several specifications share.

    Attributes
    ----------
    model : ModelDefinition
        Groups, slopes, years, intake and structure of all specifications together.
    models : dict of {key: ModelDefinition}
        The specifications.
    n_rows, n_dropped : int
        Rows that every specification can use, and rows with a gap in a column of any of them.
    errors : dict of {key: ResilienceError}
        Formulas whose columns could not be formed.
    """

    model: ModelDefinition
    models: dict[str, ModelDefinition]
    n_rows: int
    n_dropped: int
    errors: dict[str, ResilienceError]
    _entries: dict[str, _Entry]
    _years: dict[int, CrossProducts]
    _labels: dict[str, NDArray[np.object_]]
    _years_of_rows: NDArray[np.int64]
    _windows: dict[tuple[int, ...], CrossProducts] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        model: ModelDefinition,
        data: pd.DataFrame,
        formulas: Mapping[str, str],
        *,
        years: str | None = None,
    ) -> SharedPass:
        """Make one pass over the rows that are complete in the columns of all formulas.

        Transformations and categories are learnt on all these rows, whatever the years of a
        specification; compositions of schools are formed per school and year where the model has
        years.

        Parameters
        ----------
        model : ModelDefinition
            Its formula is not used.
        data : DataFrame
            One row per pupil (and subject, and year).
        formulas : mapping of {key: formula}
            Specifications; outcomes may differ.
        years : str, optional
            Column of the years that windows choose from.

        Raises
        ------
        DataError, SpecificationError
            If keys or levels break a rule; what concerns one formula alone goes to ``errors``.
        """
        models = {key: replace(model, formula=formula) for key, formula in formulas.items()}
        return cls.read_models(model, data, models, years=years)

    @classmethod
    def read_models(
        cls,
        model: ModelDefinition,
        data: pd.DataFrame,
        models: Mapping[str, ModelDefinition],
        *,
        years: str | None = None,
    ) -> SharedPass:
        """Make one pass for models that differ in more than the formula.

        Parameters
        ----------
        model : ModelDefinition
            What `common_model` returned for the models; its formula is not used.
        data : DataFrame
            One row per pupil (and subject, and year).
        models : mapping of {key: ModelDefinition}
            Specifications.
        years : str, optional
            Column of the years that windows choose from.
        """
        formulas = {key: own.formula for key, own in models.items()}
        groups = model.groups
        intake, structure = model.intake or Intake(), model.structure or Structure()
        keys = [*groups, *(c for c in (model.time, structure.weights, structure.unit) if c)]
        keys += [years] if years and years not in keys else []
        check_not_empty(data, table="data")
        check_columns(data, [*keys, *intake.compositions, *intake.standardize_by], table="data")
        rows = _complete(data, formulas, intake, keys)
        check_keys(rows, groups, model.time, structure)
        columns = _Columns()
        entries: dict[str, _Entry] = {}
        errors: dict[str, ResilienceError] = {}
        learnt: dict[str, tuple[Floats, ModelSpec]] = {}
        outcomes: dict[str, str] = {}
        for key, formula in formulas.items():
            try:
                slopes = _slope_terms(models[key])
                entries[key] = _entry(model, rows, formula, columns, learnt, outcomes, slopes)
            except ResilienceError as error:
                errors[key] = error
        slopes_of = {key: models[key] for key in entries}
        crosses, labels = _pass(model, rows, columns, entries, years, slopes_of)
        calibrated = any(entry.prepared.calibration is not None for entry in entries.values())
        year = _year_codes(rows, years if calibrated else None)
        return cls(
            model=model,
            models=dict(models),
            n_rows=len(rows),
            n_dropped=len(data) - len(rows),
            errors=errors,
            _entries=entries,
            _years=crosses,
            _labels=labels,
            _years_of_rows=year,
        )

    def fit(
        self,
        key: str,
        *,
        window: Sequence[int] | None = None,
        method: Literal["reml", "ml"] = "reml",
        random_state: int | None = None,
    ) -> ValueAddedResults:
        """Fit one specification from its sub-block.

        Parameters
        ----------
        key : str
            Formula.
        window : sequence of int, optional
            Years; all by default.  In a window of one year the effect is that year's, and the level
            of years is left out.
        method : {"reml", "ml"}
            Criterion.
        random_state : int, optional
            As for `ValueAddedModel.fit`.

        Raises
        ------
        DataError, SpecificationError
            What `ValueAddedModel.fit` raises; a year that is not there.
        """
        if key in self.errors:
            raise self.errors[key]
        entry, model = self._entries[key], self.models[key]
        chosen = tuple(sorted(window)) if window is not None else tuple(self._years)
        cross = self._of_window(chosen)
        if model.time is not None and len(chosen) == 1 and len(self._years) > 1:
            model = replace(model, time=None)
        prepared = entry.prepared
        if prepared.calibration is not None and window is not None:
            prepared = replace(prepared, used=np.isin(self._years_of_rows, chosen))
        levels: dict[str, Sequence[str]] = {
            level.name: [ONES, *(entry.places[s] for s in level.slopes)] for level in model.levels
        }
        terms = entry.terms if window is None else _independent(cross, entry)
        covariates = [t for t in terms if t != ONES]
        sub = cross.subset_columns(
            [*(entry.places[t] for t in covariates), entry.outcome_place], random=levels
        )
        if len(sub.levels) < len(cross.levels):
            sub = by_label(sub)
        sub = replace(
            sub,
            columns=(ONES, *covariates, entry.outcome),
            levels=tuple(
                replace(v, labels=self._labels[v.name][v.labels.astype(np.int64)])
                for v in sub.levels
            ),
        )
        design = Design(
            cross=sub, terms=terms, outcome=entry.outcome, spec=entry.spec, n_rows=sub.n_rows
        )
        return fit_nested(
            replace(model, formula=prepared.formula),
            design,
            prepared,
            into=ValueAddedResults,
            method=method,
            random_state=random_state or 0,
        )

    def _of_window(self, chosen: tuple[int, ...]) -> CrossProducts:
        """Return the sum of the cross-products of some years."""
        absent = [y for y in chosen if y not in self._years]
        if absent or not chosen:
            raise DataError(
                text(
                    "multiverse.absent_years",
                    years=shorten(absent) or "—",
                    known=shorten(self._years, 12),
                )
            )
        if chosen not in self._windows:
            total = self._years[chosen[0]]
            for year in chosen[1:]:
                total = total.merge(self._years[year])
            self._windows[chosen] = total
        return self._windows[chosen]


def _complete(
    data: pd.DataFrame, formulas: Mapping[str, str], intake: Intake, keys: Sequence[str]
) -> pd.DataFrame:
    """Return the rows without a gap in any column of any formula."""
    used = [*keys, *intake.standardize_by]
    for formula in formulas.values():
        try:
            parts = formula_columns(formula)
        except SpecificationError:
            continue  # said of this formula alone
        used.append(parts.outcome)
        if intake.missing != "indicator":
            used += [*parts.variables, *intake.compositions]
    there = [c for c in dict.fromkeys(used) if c in data.columns]
    rows = data[data[there].notna().all(axis=1)]
    check_not_empty(rows, table="data")
    return rows.reset_index(drop=True)


def _slope_terms(model: ModelDefinition) -> list[str]:
    return [term for level in model.levels for term in level.slopes]


def _entry(
    model: ModelDefinition,
    rows: pd.DataFrame,
    formula: str,
    columns: _Columns,
    learnt: dict[str, tuple[Floats, ModelSpec]],
    outcomes: dict[str, str],
    slopes: Sequence[str],
) -> _Entry:
    """Form the columns of one formula and find their places."""
    structure = model.structure or Structure()
    extra = [c for c in (structure.weights, structure.unit) if c]
    intake, groups = model.intake or Intake(), model.groups
    prepared = prepare(rows, formula, intake, groups=groups, time=model.time, extra=extra)
    parts = formula_columns(prepared.formula)
    check_columns(prepared.data, [*parts.variables, parts.outcome], table="data")
    check_numeric(prepared.data, [parts.outcome], table="data")
    check_outcome(prepared.data, parts, table="data")
    if parts.right not in learnt:
        learnt[parts.right] = learn_columns(prepared.data, parts)
    matrix, spec = learnt[parts.right]
    terms = tuple(str(name) for name in spec.column_names)
    check_slopes(slopes, [t for t in terms if t != ONES])
    places = {t: ONES if t == ONES else columns.place(t, matrix[:, k]) for k, t in enumerate(terms)}
    if parts.outcome not in outcomes:
        values = prepared.data[parts.outcome].to_numpy(dtype=float)
        outcomes[parts.outcome] = columns.place(parts.outcome, values)
    # rows are kept where errors of calibrated priors will be asked of them, and no other columns
    kept = prepared.data.iloc[:0]
    if prepared.calibration is not None:
        weights = [structure.weights] if structure.weights else []
        kept = prepared.data[list(dict.fromkeys([*parts.variables, *weights]))]
    return _Entry(
        prepared=replace(prepared, data=kept),
        spec=spec,
        terms=terms,
        places=places,
        outcome=parts.outcome,
        outcome_place=outcomes[parts.outcome],
    )


def _pass(
    model: ModelDefinition,
    rows: pd.DataFrame,
    columns: _Columns,
    entries: dict[str, _Entry],
    years: str | None,
    models: Mapping[str, ModelDefinition],
) -> tuple[dict[int, CrossProducts], dict[str, NDArray[np.object_]]]:
    """Make the cross-products of every year in one pass; groups bear codes until they are used."""
    if not entries:
        return {}, {}
    data = np.column_stack(columns.values)
    structure = model.structure or Structure()
    levels, labels = [], {}
    for level in model.levels:
        codes, uniques = pd.factorize(rows[level.column], sort=True)
        places = {
            entries[key].places[s]: None
            for key, own in models.items()
            for v in own.levels
            if v.name == level.name
            for s in v.slopes
        }
        levels.append((level.name, codes, [ONES, *places]))
        labels[level.name] = np.asarray(uniques, dtype=object)
    weights = None if structure.weights is None else rows[structure.weights].to_numpy(dtype=float)
    centre = data.mean(axis=0)
    spread = data.std(axis=0)
    scale = np.where(spread > 1e-13 * np.maximum(1.0, np.abs(centre)), spread, 1.0)
    year = _year_codes(rows, years)
    found: dict[int, CrossProducts] = {}
    for value in np.unique(year):
        at = year == value
        found[int(value)] = CrossProducts.from_arrays(
            data[at, :-1],
            data[at, -1],
            columns=columns.names,
            groups=[(name, codes[at], terms) for name, codes, terms in levels],
            weights=None if weights is None else weights[at],
            centre=centre,
            scale=scale,
        )
    return found, labels


def _year_codes(rows: pd.DataFrame, years: str | None) -> NDArray[np.int64]:
    """Return the year of each row, 0 where windows choose from none."""
    if years is None:
        return np.zeros(len(rows), dtype=np.int64)
    return rows[years].to_numpy(dtype=np.int64)


def _independent(cross: CrossProducts, entry: _Entry) -> tuple[str, ...]:
    """Return the terms without those that the window makes combinations of the others.

    Dummies of years that are not in the window say nothing there; the effects do not depend on
    which of several columns that say the same is left out.
    """
    if ONES not in entry.terms:
        return entry.terms
    ordered = [ONES, *(t for t in entry.terms if t != ONES)]
    at = [cross.columns.index(entry.places[t]) for t in ordered]
    lost = set(dependent_columns(cross.total[np.ix_(at, at)], ordered))
    return tuple(t for t in entry.terms if t not in lost)
