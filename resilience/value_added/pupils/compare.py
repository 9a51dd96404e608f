"""Specifications side by side: the same rows, one pass where one can serve them, and what changes.

All specifications are fitted to the rows that are complete in every column that any of them uses,
and each row of the table says how many it would have kept alone.  Nested specifications with the
same intake are sub-blocks of one set of cross-products; those of another kind (crossed factors,
shared membership, joint subjects, drift, another composition) make a pass of their own over the
same rows, and the table says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from resilience.data.design import formula_columns
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.results import Results
from resilience.validation import check_choice, check_columns, check_not_empty
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.membership import Membership
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.effects.explained_variance import explained_variance_table
from resilience.value_added.intake.tables_in_memory import table_in_memory
from resilience.value_added.pupils.model_tests import incomparable_data, n_parameters
from resilience.value_added.pupils.shared_levels import common_model
from resilience.value_added.pupils.shared_pass import SharedPass
from resilience.value_added.results import ValueAddedResults

__all__ = ["ComparisonResults", "compare_specifications"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ComparisonResults(Results):
    """Specifications fitted to the same rows.

    Attributes
    ----------
    table : DataFrame
        One row per specification: ``specification formula n_rows n_rows_alone one_pass
        criterion_value n_parameters aic bic basis std_dev_persistent std_dev_transient
        std_dev_residual variance_explained rank_correlation n_bands_changed converged singular``.
        ``aic`` and ``bic`` stand where they can be compared with the first specification, ``basis``
        gives the reason where not; ``variance_explained`` is the marginal R²; ranks and bands are
        compared with the first specification.
    results : dict of {str: ValueAddedResults}
        The fits.
    n_rows, n_rows_dropped : int
        Rows used by all, and rows left out because a column of some specification has a gap.
    n_passes : int
        Passes over the rows.
    """

    table: pd.DataFrame
    results: dict[str, ValueAddedResults]
    n_rows: int
    n_rows_dropped: int
    n_passes: int

    @property
    def fixed_effects(self) -> pd.DataFrame:
        """Coefficients of all specifications: ``specification`` and the columns of each fit."""
        return self._stacked("fixed_effects")

    @property
    def school_effects(self) -> pd.DataFrame:
        """Effects of the schools under every specification."""
        return self._stacked("school_effects")

    def tidy(self) -> pd.DataFrame:
        """Return one row per specification."""
        return self.table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: specifications, rows used and left out, passes."""
        return pd.DataFrame(
            {
                "n_models": [len(self.table)],
                "n_rows": [self.n_rows],
                "n_rows_dropped": [self.n_rows_dropped],
                "n_passes": [self.n_passes],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with ``effect_lowest effect_highest n_bands`` of each row's school.

        Lowest and highest effect over the specifications, and the number of bands that they put
        the school in.
        """
        group = next(iter(self.results.values())).group
        if group not in data.columns:
            raise SpecificationError(
                text("value_added.augment_group", group=repr(group), n=len(data))
            )
        by = self.school_effects.groupby("school_id", observed=True)
        spread = pd.DataFrame(
            {
                "effect_lowest": by["effect"].min(),
                "effect_highest": by["effect"].max(),
                "n_bands": by["band"].nunique(),
            }
        )
        return data.join(spread, on=group)

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain Python objects, the fits by name."""
        return {
            "table": self.table.to_dict(orient="records"),
            "results": {name: fit.to_dict() for name, fit in self.results.items()},
            "n_rows": self.n_rows,
            "n_rows_dropped": self.n_rows_dropped,
            "n_passes": self.n_passes,
        }

    def _stacked(self, table: str) -> pd.DataFrame:
        pieces = [
            getattr(fit, table).assign(specification=name) for name, fit in self.results.items()
        ]
        stacked: pd.DataFrame = pd.concat(pieces, ignore_index=True)
        return stacked[["specification", *(c for c in stacked.columns if c != "specification")]]


def compare_specifications(
    specs: Mapping[str, ModelDefinition | str],
    data: object,
    fit: Callable[..., ValueAddedResults],
    *,
    method: Literal["reml", "ml"] = "reml",
    random_state: int | None = None,
) -> ComparisonResults:
    """Fit specifications to their common complete rows and set them side by side.

    Parameters
    ----------
    specs : mapping of {name: ModelDefinition or formula}
        Specifications; a formula alone stands for the first model with that formula.
    data : frame
        One row per pupil (and subject, and year): a table of any library that narwhals knows.
    fit : callable
        How a specification is fitted that shares its pass with no other: `ValueAddedModel.fit`.
    method : {"reml", "ml"}
        Criterion; fixed parts are comparable by AIC and BIC under ``"ml"`` alone.
    random_state : int, optional
        As for `ValueAddedModel.fit`.

    Returns
    -------
    ComparisonResults

    Raises
    ------
    SpecificationError
        For fewer than two specifications, a formula in the first place, or a source that is no
        table in memory (a path, products), with the way out.
    DataError
        If no row is complete in all columns; what a fit itself raises, with the specification's
        name before it.
    """
    check_choice(method, ("reml", "ml"), argument="method")
    models = _models(specs)
    pupils = table_in_memory(data)
    check_not_empty(pupils, table="data")
    complete = {name: _complete(model, pupils) for name, model in models.items()}
    common = np.logical_and.reduce(list(complete.values()))
    if not common.any():
        raise DataError(text("compare.no_rows", specs=", ".join(models), n=len(pupils)))
    rows = pupils[common]
    passes = _passes(models)
    fits: dict[str, ValueAddedResults] = {}
    for names in passes:
        own = {name: models[name] for name in names}
        base = common_model(list(own.values())) if len(own) > 1 else None
        shared = SharedPass.read_models(base, rows, own) if base is not None else None
        for name, model in own.items():
            try:
                if shared is not None:
                    fits[name] = shared.fit(name, method=method, random_state=random_state)
                else:
                    fits[name] = fit(model, rows, method=method, random_state=random_state)
            except (DataError, SpecificationError) as error:
                words = Bilingual(str(error), error.localized("ru"))
                raise type(error)(text("compare.failed", name=name, reason=words)) from error
    alone = {name: int(mask.sum()) for name, mask in complete.items()}
    together = {name: len(names) > 1 for names in passes for name in names}
    return ComparisonResults(
        table=_table({name: fits[name] for name in models}, alone, together),
        results={name: fits[name] for name in models},
        n_rows=int(common.sum()),
        n_rows_dropped=int((~common).sum()),
        n_passes=len(passes),
    )


def _models(specs: Mapping[str, ModelDefinition | str]) -> dict[str, ModelDefinition]:
    if len(specs) < 2:
        raise SpecificationError(text("compare.too_few", n=len(specs)))
    first = next(iter(specs.values()))
    if not isinstance(first, ModelDefinition):
        raise SpecificationError(text("compare.first", value=repr(first)))
    return {
        str(name): replace(first, formula=spec) if isinstance(spec, str) else spec
        for name, spec in specs.items()
    }


def _complete(model: ModelDefinition, data: pd.DataFrame) -> np.ndarray:
    """Return the rows that have every value the specification needs."""
    intake, structure = model.intake or Intake(), model.structure or Structure()
    parts = formula_columns(model.formula)
    used = [parts.outcome, *_listed(model.group), *_listed(model.crossed), *intake.standardize_by]
    used += [c for c in (model.time, structure.weights, structure.unit) if c]
    if isinstance(structure.outcome_group, str):
        used.append(structure.outcome_group)
    elif structure.outcome_group is not None:
        used += list(structure.outcome_group.values())
    known = intake.prior_reliability
    of_errors = known.values() if isinstance(known, Mapping) else [known]
    used += [column for column in of_errors if isinstance(column, str)]
    members = model.members
    if isinstance(members, Membership):
        used += members.weights
    if intake.missing != "indicator":
        used += [*parts.variables, *intake.compositions]
    check_columns(data, [*dict.fromkeys(used), *parts.variables], table="data")
    return np.asarray(data[list(dict.fromkeys(used))].notna().all(axis=1))


def _listed(value: object) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(v) for v in value]  # type: ignore[attr-defined]  # str or a sequence of str


def _passes(models: dict[str, ModelDefinition]) -> list[list[str]]:
    """Return which specifications share a pass, in their order."""
    found: list[list[str]] = []
    for name, model in models.items():
        for names in found:
            if common_model([*(models[other] for other in names), model]) is not None:
                names.append(name)
                break
        else:
            found.append([name])
    return found


def _table(
    fits: dict[str, ValueAddedResults], alone: dict[str, int], together: dict[str, bool]
) -> pd.DataFrame:
    names = list(fits)
    first = fits[names[0]]
    basis = [_incomparable(first, fits[name]) for name in names]
    rows = []
    for name, reason in zip(names, basis, strict=True):
        fit = fits[name]
        k, n = n_parameters(fit), fit.mixed.n_rows
        told = reason is None
        rank, changed = _against(first, fit)
        rows.append(
            {
                "specification": name,
                "formula": fit.formula,
                "n_rows": n,
                "n_rows_alone": alone[name],
                "one_pass": together[name],
                "criterion_value": fit.criterion,
                "n_parameters": k,
                "aic": fit.criterion + 2.0 * k if told else np.nan,
                "bic": fit.criterion + np.log(n) * k if told else np.nan,
                "std_dev_persistent": np.sqrt(fit.variances["persistent"]),
                "std_dev_transient": np.sqrt(fit.variances["transient"]),
                "std_dev_residual": np.sqrt(fit.variances["residual"]),
                "variance_explained": explained_variance_table(fit, null=False)[
                    "variance_explained"
                ].iloc[0],
                "rank_correlation": rank,
                "n_bands_changed": changed,
                "converged": fit.convergence.converged,
                "singular": fit.convergence.singular,
            }
        )
    table = pd.DataFrame(rows)
    words = [text("compare.comparable") if r is None else r for r in basis]
    table.insert(9, "basis", pd.Series(words, dtype=object))
    return table


def _incomparable(first: ValueAddedResults, other: ValueAddedResults) -> Bilingual | None:
    """Return why information criteria do not compare two fits, None where they do."""
    reason = incomparable_data(first, other)
    if reason is not None:
        return reason
    if first.method == "reml" and set(first.mixed.terms) != set(other.mixed.terms):
        apart = sorted(set(first.mixed.terms) ^ set(other.mixed.terms))
        return text("compare.reml", terms=", ".join(apart))
    return None


def _against(first: ValueAddedResults, other: ValueAddedResults) -> tuple[float, float]:
    """Return the rank correlation of the schools' effects and how many bands change."""
    columns = ["school_id", "effect", "band"]
    both = first.school_effects[columns].merge(
        other.school_effects[columns], on="school_id", suffixes=("", "_other")
    )
    if len(both) < 2:
        return float("nan"), float("nan")
    changed = float((both["band"] != both["band_other"]).sum())
    if both["effect"].nunique() < 2 or both["effect_other"].nunique() < 2:
        return float("nan"), changed
    return float(both["effect"].corr(both["effect_other"], method="spearman")), changed
