"""What pooled results do in place of a fit's own methods: pool them over the fits, or refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NoReturn, Self, cast

import pandas as pd

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import CrossProducts
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.specification import Structure
from resilience.value_added.effects.sufficiency import sufficiency_table
from resilience.value_added.gaps.pooled_tables import pooled_years
from resilience.value_added.results import ValueAddedResults
from resilience.value_added.years.forecast import CohortSize
from resilience.value_added.years.targets import Target

__all__ = ["PooledMethods", "PooledProducts"]


class PooledProducts:
    """Stands where one fit has its cross-products, and says why there are none."""

    def __init__(self, n_fits: int) -> None:
        self._n_fits = n_fits

    def __getattr__(self, name: str) -> NoReturn:
        known = hasattr(CrossProducts, name) or name in CrossProducts.__dataclass_fields__
        if known and not name.startswith("_"):
            raise _refusal("cross", self._n_fits)
        raise AttributeError(name)


def _refusal(method: str, n: int) -> SpecificationError:
    return SpecificationError(text("imputation.one_fit", method=method, n=n))


class PooledMethods:
    """Methods of `ValueAddedResults` as pooled results have them."""

    if TYPE_CHECKING:
        definition: ModelDefinition
        fits: tuple[ValueAddedResults, ...]

    @property
    def n_imputations(self) -> int:
        """Number of completed data sets."""
        return len(self.fits)

    def predict_effects(
        self, target: Target = "persistent", *, lag_correlation: float = 0.0
    ) -> pd.DataFrame:
        """Return the fits' predictions of a target, pooled; see `ValueAddedResults`."""
        return pooled_years(
            [f.predict_effects(target, lag_correlation=lag_correlation) for f in self.fits]
        )

    def leave_year_out(self, *, lag_correlation: float = 0.0) -> pd.DataFrame:
        """Return the fits' effects of left-out years, pooled; see `ValueAddedResults`."""
        return pooled_years([f.leave_year_out(lag_correlation=lag_correlation) for f in self.fits])

    def forecast(
        self,
        n_pupils: CohortSize = None,
        *,
        level: float = 0.95,
        lag_correlation: float = 0.0,
        years_ahead: int = 1,
    ) -> pd.DataFrame:
        """Return the fits' forecasts, pooled; see `ValueAddedResults`."""
        tables = [
            fit.forecast(
                n_pupils, level=level, lag_correlation=lag_correlation, years_ahead=years_ahead
            )
            for fit in self.fits
        ]
        return pooled_years(tables, level=level)

    def year_effects(
        self,
        n_pupils: CohortSize = None,
        *,
        level: float = 0.95,
        lag_correlation: float = 0.0,
        forecast: bool = True,
    ) -> pd.DataFrame:
        """Return the fits' effects year by year, pooled; see `ValueAddedResults`."""
        tables = [
            fit.year_effects(
                n_pupils, level=level, lag_correlation=lag_correlation, forecast=forecast
            )
            for fit in self.fits
        ]
        return pooled_years(tables, level=level)

    def sufficiency(
        self,
        *,
        reliability: float | None = None,
        std_error: float | None = None,
        half_width: float | None = None,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Return which schools have data enough; refused where years drift."""
        if (self.definition.structure or Structure()).drift is not None:
            raise _refusal("sufficiency", self.n_imputations)
        results = cast("ValueAddedResults", self)  # what this class is mixed into
        return sufficiency_table(
            results,
            reliability=reliability,
            std_error=std_error,
            half_width=half_width,
            level=level,
        )

    def types(self, *, forced: bool = False) -> NoReturn:
        """Refused: Type A is a sub-block of one fit's cross-products; ask it of ``fits``."""
        raise _refusal("types", self.n_imputations)

    def simulate(self, n: int = 1, *, random_state: int = 0) -> list[CrossProducts]:
        """Refused: outcomes are drawn from one fit; ask it of ``fits``."""
        raise _refusal("simulate", self.n_imputations)

    def refit(self, products: CrossProducts) -> Self:
        """Refused: other products are fitted as one model; ask it of ``fits``."""
        raise _refusal("refit", self.n_imputations)

    def bootstrap(
        self,
        n_replicates: int = 500,
        *,
        kind: Literal["parametric", "cluster"] = "parametric",
        level: float = 0.95,
        n_jobs: int = 1,
        random_state: int = 0,
        progress: bool = False,
    ) -> NoReturn:
        """Refused: replicates are drawn from one fit; ask it of ``fits``."""
        raise _refusal("bootstrap", self.n_imputations)

    def variance_intervals(
        self,
        *,
        method: Literal["profile", "bootstrap"] = "profile",
        level: float = 0.95,
        n_replicates: int = 500,
        n_jobs: int = 1,
        random_state: int = 0,
    ) -> NoReturn:
        """Refused: a profile belongs to one likelihood; ask it of ``fits``."""
        raise _refusal("variance_intervals", self.n_imputations)

    def influence(self, units: Sequence[object] | None = None) -> NoReturn:
        """Refused: schools are left out of one fit; ask it of ``fits``."""
        raise _refusal("influence", self.n_imputations)

    def leave_out(self, *, units: Sequence[object] | None = None, year: object = None) -> Self:
        """Refused: rows are left out before the imputation; fit again to the table without them."""
        raise _refusal("leave_out", self.n_imputations)
