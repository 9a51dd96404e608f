"""`ContextIndex`: the specification a methodologist types, and its fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd

from resilience.context.panel import lag_correlation
from resilience.context.prepared import PreparedTable, prepare
from resilience.context.reading import SchoolTable, read_schools
from resilience.context.results import ContextIndexResults
from resilience.context.schemes import (
    EqualWeights,
    PolicyWeights,
    PrincipalComponent,
    Weighting,
    WeightScheme,
)
from resilience.context.scoring import score
from resilience.context.sensitivity_results import ItemScores
from resilience.context.supervised import SupervisedWeights, WeightsMode
from resilience.context.tables import (
    fits_table,
    items_table,
    scores_table,
    weight_sets_table,
    weights_table,
)
from resilience.context.variables import (
    IndexInput,
    Transform,
    resolve_inputs,
)
from resilience.data.known_variables import known_variables
from resilience.errors import SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.validation import check_choice, check_fraction, check_positive, shorten

__all__ = ["ContextIndex"]

FEWEST_SCHOOLS = 20
MOST_UNSCORED = 0.10
FEWEST_FOLDS = 2
# A zero less likely than this, at the share of the lowest twentieth, is worth a question.
LOWEST, HARDLY = 0.05, 1e-3


@dataclass(frozen=True, kw_only=True)
class ContextIndex:
    """A context index (ИСБШ): how favourable a school's intake is, apart from what it achieves.

    Only columns that describe the intake or the location enter; what the school does and what it
    achieves is refused by name.  The official weights are not public, so there is no default: the
    caller names method and items.  Make one with `policy`, `supervised`, `equal` or `pca`.

    Attributes
    ----------
    inputs : tuple of IndexInput
        Items with sign and transform.
    scheme : WeightScheme
        How the weights come about.
    min_coverage : float
        Least share of the weights a school-year must report; below it there is no index.

    References
    ----------
    Yastrebov2014 (the approach; no coefficients are published).
    """

    inputs: tuple[IndexInput, ...]
    scheme: WeightScheme
    min_coverage: float

    @classmethod
    def policy(
        cls,
        weights: Mapping[str, float],
        *,
        directions: Mapping[str, int] | None = None,
        transform: Transform | Mapping[str, Transform] = "share",
        min_coverage: float = 0.6,
    ) -> ContextIndex:
        """Return an index whose weights the authority has fixed.

        Parameters
        ----------
        weights : mapping of str to float
            Column and weight; the sign says whether more of it is favourable, so a column the
            room does not know needs no further declaration.  In base-year SDs of the item.
        directions : mapping of str to {-1, 1}, optional
            Confirms a sign that differs from the documented one.
        transform : {"share", "logit", "arcsine", "number"} or mapping by column
            Scale on which shares enter; ``number`` marks a column that is not a share.
        min_coverage : float
            Least share of the weights that must be reported, 0..1.

        Returns
        -------
        ContextIndex

        Raises
        ------
        SpecificationError
            If a column is refused, a weight is zero or not finite, or its sign contradicts the
            documented direction and is not confirmed.
        """
        if not isinstance(weights, Mapping):
            raise SpecificationError(text("context.weights_type", kind=type(weights).__name__))
        declared = dict(directions or {})
        for name, value in weights.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not np.isfinite(value) or value == 0:
                raise SpecificationError(
                    text("context.weight_value", column=repr(name), value=repr(value))
                )
            sign = 1 if value > 0 else -1
            known = known_variables().get(name)
            wanted = declared.get(name, known.direction if known else 0)
            if wanted in (-1, 1) and wanted != sign:
                raise SpecificationError(
                    text(
                        "context.weight_sign",
                        column=repr(name),
                        value=f"{value:g}",
                        direction=f"{wanted:+d}",
                        sign=f"{sign:+d}",
                    )
                )
            declared.setdefault(name, sign)
        inputs = resolve_inputs(weights, directions=declared, transform=transform)
        scheme = PolicyWeights(weights=tuple(abs(float(weights[i.name])) for i in inputs))
        return cls(inputs=inputs, scheme=scheme, min_coverage=_checked_coverage(min_coverage))

    @classmethod
    def supervised(
        cls,
        inputs: Iterable[str],
        *,
        outcome: str,
        weights: WeightsMode,
        folds: int = 5,
        outcome_sd: float = 1.0,
        n_bootstrap: int = 500,
        directions: Mapping[str, int] | None = None,
        transform: Transform | Mapping[str, Transform] = "share",
        min_coverage: float = 0.6,
    ) -> ContextIndex:
        r"""Return an index whose weights are estimated from school results.

        The weights minimise :math:`\sum_s ω_s(y_s − α_t − z_s'w)^2 + λ|w|^2` under w ≥ 0 for
        signed items, :math:`ω_s = 1/(τ^2+σ^2/n_s)`, one intercept per year; λ by the
        one-standard-error rule over folds of whole schools.

        Parameters
        ----------
        inputs : iterable of str
            Items; signs come from the documented directions or from ``directions``.
        outcome : str
            Column of school results, such as ``mean_score``; may have gaps.
        weights : {"previous_years", "cross_fitted"}
            Whose results a score may depend on.  ``previous_years``: year t is scored with weights
            from the years before t, so the first year has no score.  ``cross_fitted``: each school
            is scored with weights from the other folds of schools, the way out for one vintage.
        folds : int
            Folds of schools, at least 2, in cross-fitting and in the choice of λ.
        outcome_sd : float
            σ, the SD of pupils' results within a school in units of the outcome; 1 for an outcome
            standardised over pupils.
        n_bootstrap : int
            Resamples of whole schools behind the 95 % intervals of the weights; 0 for none.
        directions, transform, min_coverage
            See `policy`; a column the room does not know needs a direction.

        Returns
        -------
        ContextIndex

        Raises
        ------
        SpecificationError
            If a column is refused or lacks a direction, or an argument is out of range.

        References
        ----------
        HastieTibshiraniFriedman2009; PauleMandel1982.
        """
        check_choice(weights, get_args(WeightsMode), argument="weights")
        if not isinstance(outcome, str) or not outcome:
            raise SpecificationError(text("context.outcome_type", value=repr(outcome)))
        check_positive(outcome_sd, argument="outcome_sd", zero=True)
        _check_whole(folds, "folds", FEWEST_FOLDS)
        _check_whole(n_bootstrap, "n_bootstrap", 0)
        items = resolve_inputs(inputs, directions=directions, transform=transform, outcome=outcome)
        scheme = SupervisedWeights(
            outcome_column=outcome,
            mode=weights,
            folds=folds,
            outcome_sd=float(outcome_sd),
            n_bootstrap=n_bootstrap,
        )
        return cls(inputs=items, scheme=scheme, min_coverage=_checked_coverage(min_coverage))

    @classmethod
    def equal(
        cls,
        inputs: Iterable[str],
        *,
        directions: Mapping[str, int] | None = None,
        transform: Transform | Mapping[str, Transform] = "share",
        min_coverage: float = 0.6,
    ) -> ContextIndex:
        """Return an index of equal weights, to see how much the weights matter; see `policy`."""
        items = resolve_inputs(inputs, directions=directions, transform=transform)
        coverage = _checked_coverage(min_coverage)
        return cls(inputs=items, scheme=EqualWeights(), min_coverage=coverage)

    @classmethod
    def pca(
        cls,
        inputs: Iterable[str],
        *,
        directions: Mapping[str, int] | None = None,
        transform: Transform | Mapping[str, Transform] = "share",
        min_coverage: float = 0.6,
    ) -> ContextIndex:
        """Return an index from the first principal component of the base year; see `policy`.

        For comparison only: the component follows whatever the items share, and may give a weight
        against the item's direction.
        """
        items = resolve_inputs(inputs, directions=directions, transform=transform)
        coverage = _checked_coverage(min_coverage)
        return cls(inputs=items, scheme=PrincipalComponent(), min_coverage=coverage)

    def fit(
        self, schools: pd.DataFrame, *, base_year: int | None = None, random_state: int = 0
    ) -> ContextIndexResults:
        """Return the index of every school-year of the table.

        Parameters
        ----------
        schools : DataFrame
            One row per school and year: ``school_id``, ``year``, ``n_pupils``, the items, and the
            outcome where weights are estimated.  Items may have gaps; a table of one vintage still
            carries its ``year``.
        base_year : int, optional
            Year that anchors the scale (mean 50, SD 10 over its pupils); the first year of the
            table by default, so that adding years moves no earlier score.
        random_state : int
            Seed of the folds and the bootstrap.

        Returns
        -------
        ContextIndexResults

        Raises
        ------
        DataError
            If the table breaks a rule: a missing column, per cent instead of shares, no pupils, a
            repeated school-year, an item that does not vary, too few schools with results.
        SpecificationError
            If the base year is not in the table or the seed is not a whole number.

        Warns
        -----
        WeakDataWarning
            With fewer than 20 schools, with over 10 % of the school-years left without an index
            for want of data, or where the items do not explain results.
        """
        _check_whole(random_state, "random_state", 0)
        table = read_schools(schools, self.inputs, self.scheme.outcome)
        prepared = prepare(table, self.inputs, base_year, self.min_coverage)
        if table.n_schools < FEWEST_SCHOOLS:
            message = text("context.weak_schools", n=table.n_schools, least=FEWEST_SCHOOLS)
            warn_weak_data(message)
        weighting = self.scheme.find(prepared, random_state)
        scored = score(prepared, weighting)
        lag = lag_correlation(table, scored.index)
        _warn_of_gaps(prepared, weighting, scored.index)
        return ContextIndexResults(
            scores=scores_table(prepared, scored),
            weights=weights_table(prepared, weighting),
            weight_sets=weight_sets_table(prepared, weighting),
            fits=fits_table(weighting, scored),
            items=items_table(prepared),
            correlation=prepared.standardised.correlation,
            item_scores=ItemScores(
                signed=prepared.standardised.signed,
                n_pupils=table.n_pupils,
                min_coverage=self.min_coverage,
            ),
            index_kind=text(f"context.kind_{self.scheme.kind}"),
            base_year=prepared.standardised.base_year,
            n_schools=table.n_schools,
            r2_cv=weighting.r2_cv,
            r2_cv_of_explainable=weighting.r2_cv_of_explainable,
            lag1_correlation=lag,
            notes=(*weighting.notes, *_notes(prepared, lag)),
        )


def _checked_coverage(value: float) -> float:
    return check_fraction(value, argument="min_coverage")


def _check_whole(value: object, argument: str, least: int) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:  # type: ignore[operator]  # an integer, as just checked
        raise SpecificationError(
            text("context.whole", argument=argument, value=repr(value), least=least)
        )


def _warn_of_gaps(prepared: PreparedTable, weighting: Weighting, index: np.ndarray) -> None:
    tried = np.ones(prepared.n_rows, dtype=bool)
    for rows, _ in weighting.unscored:
        tried &= ~rows
    missing = int(np.isnan(index[tried]).sum())
    if missing > MOST_UNSCORED * tried.sum():
        message = text(
            "context.weak_coverage", n=missing, total=int(tried.sum()), least=prepared.min_coverage
        )
        warn_weak_data(message)


def _notes(prepared: PreparedTable, index_lag: float) -> list[Bilingual]:
    """Return what the preparation did that a reader would not expect."""
    one_year = len(prepared.table.years) == 1
    notes = [text("context.note_one_year")] if one_year else []
    if not one_year and np.isnan(index_lag):
        notes.append(text("context.note_no_lag"))
    sources = prepared.error.source
    named = {
        "note_no_error": [
            i.name for i, s in zip(prepared.items, sources, strict=True) if s == "none"
        ],
        "note_no_changes": [
            i.name
            for i, s in zip(prepared.items, sources, strict=True)
            if s == "binomial" and not one_year
        ],
        "note_declared": [i.name for i in prepared.items if i.role == "declared"],
        "note_against": [i.name for i in prepared.items if _is_against(i)],
    }
    notes += [
        text(f"context.{key}", columns=", ".join(names)) for key, names in named.items() if names
    ]
    if prepared.standardised.repaired:
        notes.append(text("context.note_repaired"))
    return notes + _suspicious_zeros(prepared)


def _suspicious_zeros(prepared: PreparedTable) -> list[Bilingual]:
    """Return notes on zeros that a school of its size would hardly report.

    With a share as low as the lowest twentieth of the positive ones a zero among n pupils has the
    probability (1 − x)ⁿ; below one in a thousand the cell is more likely one nobody filled in, or
    a question that the school has no grade for.
    """
    table: SchoolTable = prepared.table
    notes = []
    columns = np.split(table.values, prepared.n_items, axis=1)
    for item, values in zip(prepared.items, (c.ravel() for c in columns), strict=True):
        positive = values[values > 0]
        if not item.is_share or not positive.size:
            continue
        low = min(float(np.quantile(positive, LOWEST)), 1 - 1e-12)
        zero = (values == 0) & (table.n_pupils * np.log1p(-low) < np.log(HARDLY))
        if zero.any():
            schools = table.school_id[zero].astype(str).drop_duplicates()
            notes.append(
                text(
                    "context.note_zeros",
                    column=item.name,
                    n=int(zero.sum()),
                    schools=shorten(schools),
                )
            )
    return notes


def _is_against(item: IndexInput) -> bool:
    """Return whether the caller reversed a documented or proposed direction."""
    known = known_variables().get(item.name)
    return known is not None and known.direction == -item.direction
