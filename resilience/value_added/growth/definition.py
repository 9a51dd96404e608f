"""What a model of growth percentiles is, before any data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import (
    check_choice,
    check_columns,
    check_count,
    check_finite,
    check_fraction,
    check_instance,
    check_names,
    check_not_empty,
    check_numeric,
    shorten,
)
from resilience.value_added.growth.baseline import GrowthBaseline
from resilience.value_added.intake.tables_in_memory import pupils_table

__all__ = ["GrowthDefinition"]


@dataclass(frozen=True, kw_only=True)
class GrowthDefinition:
    """Past results, outcome and reference of growth percentiles; see `GrowthPercentiles`."""

    prior: str | Sequence[str]
    outcome: str = "score"
    group: str = "school_id"
    baseline: GrowthBaseline | None = None
    reliability: float | Mapping[str, float] | None = None
    limits: tuple[float, float] | None = None
    knots: Sequence[float] = (0.2, 0.4, 0.6, 0.8)
    min_cohort: int = 1000

    def __post_init__(self) -> None:
        names = check_names(self.prior, argument="prior", example="prior=['score_2023']")
        object.__setattr__(self, "prior", tuple(names))
        for argument in ("outcome", "group"):
            given = getattr(self, argument)
            check_names(given, argument=argument, example=f"{argument}='column'", single=True)
        if not self.prior:
            raise SpecificationError(text("growth.no_prior"))
        if self.outcome in self.prior:
            raise SpecificationError(text("growth.outcome_prior", column=repr(self.outcome)))
        check_count(self.min_cohort, argument="min_cohort", least=100)
        for share in self.knots:
            check_fraction(share, argument="knots", closed=False)
        if self.baseline is not None:
            example = "baseline=results.baseline"
            check_instance(self.baseline, GrowthBaseline, argument="baseline", example=example)
            if self.baseline.priors != self.prior:
                raise SpecificationError(
                    text(
                        "growth.other_baseline",
                        priors=", ".join(self.prior),
                        baseline=", ".join(self.baseline.priors),
                    )
                )
            if self.reliability is not None:
                raise SpecificationError(text("growth.baseline_reliability"))
        given_reliability = self.reliability
        if isinstance(given_reliability, Mapping):
            for name in given_reliability:
                check_choice(name, self.prior, argument="reliability")
        for name, share in self.reliabilities.items():
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
                raise SpecificationError(
                    text("growth.reliability", column=repr(name), value=repr(share))
                )
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise SpecificationError(text("growth.limits", limits=repr(tuple(self.limits))))

    @property
    def reliabilities(self) -> dict[str, float]:
        """Reliability of every past result that has one."""
        if self.reliability is None:
            return {}
        if isinstance(self.reliability, Mapping):
            return dict(self.reliability)
        return dict.fromkeys(self.prior, self.reliability)

    def checked(self, data: object) -> pd.DataFrame:
        """Return the columns in use after the checks that need no curves."""
        data = pupils_table(data)
        columns = [self.group, self.outcome, *self.prior]
        check_columns(data, columns, table="pupils")
        check_not_empty(data, table="pupils")
        check_numeric(data, columns[1:], table="pupils")
        check_finite(data, [self.outcome], table="pupils", unit=self.group)
        empty = data[self.group].isna()
        if empty.any():
            raise DataError(text("growth.no_school", n=int(empty.sum()), column=repr(self.group)))
        for name in self.prior:
            if np.isinf(data[name].to_numpy(dtype=float, na_value=np.nan)).any():
                raise DataError(text("growth.infinite", column=repr(name)))
        if self.limits is not None:
            score = data[self.outcome].to_numpy(dtype=float)
            beyond = (score < self.limits[0]) | (score > self.limits[1])
            if beyond.any():
                raise DataError(
                    text(
                        "growth.beyond_limits",
                        n=int(beyond.sum()),
                        values=shorten(np.unique(score[beyond]).tolist()),
                        limits=f"{self.limits[0]:g}–{self.limits[1]:g}",
                    )
                )
        return data[columns]
