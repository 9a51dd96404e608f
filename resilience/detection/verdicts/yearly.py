"""Yearly residuals as the posterior of next year's effect and of events over years reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion
from resilience.detection.rules.wording import printed
from resilience.detection.verdicts.tables import Tables
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.stats.verdicts.event_posterior import YearModel, YearResiduals
from resilience.stats.verdicts.year_variances import year_variances
from resilience.validation import check_columns, check_finite, shorten

__all__ = ["Yearly", "asks_years", "read_yearly", "subjects_of"]

Floats = NDArray[np.float64]

SUBJECT_CORRELATION = 0.5  # of a pupil's residuals in two subjects: a proposal, not an estimate


@dataclass(frozen=True, kw_only=True, eq=False)
class Yearly:
    """Residuals of all schools by year.

    Attributes
    ----------
    residual, sampling_variance : ndarray of shape (S, T)
        NaN where a school has no data.
    years : ndarray of shape (T,)
        Consecutive years.
    model : YearModel
        Variances of the effects.
    n_pupils : ndarray of shape (S,)
        Over all years; 0 without data.
    notes : tuple of Bilingual
        What was estimated and assumed.
    """

    residual: Floats
    sampling_variance: Floats
    years: Floats
    model: YearModel
    n_pupils: Floats
    notes: tuple[Bilingual, ...]

    def effects(self, school_ids: NDArray[np.object_]) -> pd.DataFrame:
        """Return the persistent effects with independent years, as a table of effects holds them.

        The line on the context is taken from them; without data a school has no effect.
        """
        there = ~np.isnan(self.residual)
        own = self.model.transient + np.where(there, self.sampling_variance, 1.0)
        if not (own[there] > 0).all():
            raise DataError(text("value_added.exact_year"))
        w = np.where(there, 1.0 / own, 0.0)
        A = w.sum(axis=1)
        known = A > 0
        mean = (w * np.where(there, self.residual, 0.0)).sum(axis=1) / np.where(known, A, 1.0)
        trust = self.model.persistent * A / (1.0 + self.model.persistent * A)
        table = pd.DataFrame(
            {
                "effect": np.where(known, trust * mean, np.nan),
                "conditional_sd": np.sqrt(self.model.persistent * (1.0 - trust)),
                "reliability": trust,
                "n_pupils": self.n_pupils,
                "n_years": there.sum(axis=1).astype(float),
            }
        )
        return table.set_index(pd.Index(school_ids, name="school_id"))

    def off_the_line(
        self,
        shift: Floats,
        variance: float,
        context: Floats,
        context_variance: Floats,
        slope: float,
    ) -> tuple[YearResiduals, YearModel]:
        """Return the residuals less the line at each school, with the variance it leaves."""
        known = np.isfinite(context) & np.isfinite(context_variance)
        return (
            YearResiduals(
                residual=self.residual - np.where(np.isfinite(shift), shift, 0.0)[:, None],
                sampling_variance=self.sampling_variance,
                years=self.years,
                context=np.where(known, context, 0.0),
                context_variance=np.where(known, context_variance, 0.0),
                slope=slope,
            ),
            replace(self.model, persistent=variance),
        )


def asks_years(tables: Tables, criterion: Criterion) -> bool:
    """Tell whether a criterion must be judged from yearly residuals.

    An event over years and single subjects need them; next year's effect and the mean over subjects
    use them where the call brings them, and the lasting effect where there is no table of effects.
    """
    if criterion.years_of > 1 or criterion.subjects != "mean":
        return True
    if "lag_correlation" in tables.variances:
        return True
    given = tables.school_years is not None
    return given and (criterion.years == "next_year" or tables.effects is None)


def subjects_of(tables: Tables, rule: Criteria) -> tuple[str, ...]:
    """Return the subjects of the yearly residuals.

    Raises
    ------
    SpecificationError
        If they are not given by subject.
    """
    table = tables.need("school_years", rule.id)
    if "subject" not in table.columns:
        raise SpecificationError(text("events.no_subjects", rule=rule.id))
    return tuple(sorted(str(s) for s in table["subject"].unique()))


def read_yearly(tables: Tables, rule: Criteria, subject: str | None = None) -> Yearly:
    """Return the yearly residuals of one subject, or of the mean over subjects.

    Variances are those of the call, or else estimated by restricted maximum likelihood.

    Raises
    ------
    DataError
        If a column is missing, a value impossible, or the variances cannot be told apart.
    SpecificationError
        If the years are said to be correlated and the variances are not given.
    """
    table = tables.need("school_years", rule.id)
    check_columns(table, ["year", "sampling_variance", "n_pupils"], table="school_years")
    numbers = ["residual", "sampling_variance", "n_pupils"]
    check_finite(table, numbers, table="school_years", unit="school_id")
    if rule.year is not None:
        table = table[table["year"] <= rule.year]
    notes: list[Bilingual] = []
    if "subject" in table.columns and subject is not None:
        table = table[table["subject"].astype(str) == subject]
    elif "subject" in table.columns:
        table, note = _composite(table, tables.variances.get("subject_correlation"))
        notes.append(note)
    years = np.arange(int(table["year"].min()), int(table["year"].max()) + 1)
    residual, variance, pupils = (
        table.pivot_table(index="school_id", columns="year", values=name, aggfunc="first")
        .reindex(index=tables.school_ids, columns=years)
        .to_numpy(dtype=float)
        for name in numbers
    )
    model, said = _model(tables, rule, residual, variance, subject)
    return Yearly(
        residual=residual,
        sampling_variance=variance,
        years=years.astype(float),
        model=model,
        n_pupils=np.nansum(pupils, axis=1),
        notes=(*notes, *said),
    )


def _model(
    tables: Tables, rule: Criteria, residual: Floats, variance: Floats, subject: str | None
) -> tuple[YearModel, list[Bilingual]]:
    """Return the variances over years and what to say of them."""
    given = tables.variances
    lag = given.get("lag_correlation", 0.0)
    if {"persistent", "transient"} <= set(given):
        model = YearModel(
            persistent=given["persistent"], transient=given["transient"], lag_correlation=lag
        )
        return model, []
    if lag > 0:
        raise SpecificationError(text("events.lag", rule=rule.id, value=lag))
    persistent, transient = year_variances(residual, variance)
    note = text(
        "events.estimated",
        persistent=printed(persistent, 4),
        transient=printed(transient, 4),
        subject=f" ({subject})" if subject else "",
    )
    return YearModel(persistent=persistent, transient=transient), [note]


def _composite(table: pd.DataFrame, correlation: float | None) -> tuple[pd.DataFrame, Bilingual]:
    r"""Return the mean over the subjects of each school and year.

    Its sampling variance is :math:`\sum_{kl} r_{kl}s_ks_l/K^2`, r = 1 on the diagonal.  Pupils are
    those of the largest subject: the same pupils sit several.
    """
    r = SUBJECT_CORRELATION if correlation is None else correlation
    s = np.sqrt(table["sampling_variance"].to_numpy(dtype=float))
    groups = table.assign(own=(1 - r) * s**2, root=s).groupby(["school_id", "year"], observed=True)
    sums = groups[["own", "root"]].sum()
    n = groups.size()
    found = pd.DataFrame(
        {
            "residual": groups["residual"].mean(),
            "sampling_variance": (sums["own"] + r * sums["root"] ** 2) / n**2,
            "n_pupils": groups["n_pupils"].max(),
        }
    ).reset_index()
    subjects = shorten(sorted(str(v) for v in table["subject"].unique()), 8)
    key = "events.composite_stated" if correlation is None else "events.composite"
    return found, text(key, subjects=subjects, value=printed(r, 2))
