"""Cut schools into ordered groups by the result that their conditions let expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import pandas as pd

from resilience.clustering.bands.expectation import (
    BandRows,
    Regression,
    learn_regression,
    rows_of_conditions,
    rows_of_index,
)
from resilience.clustering.bands.results import BandResults
from resilience.clustering.bands.tables import band_rows, bands_table
from resilience.clustering.conditions.scaled import Scaling
from resilience.clustering.conditions.specification import Conditions
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.stats.clusters.bands import pupil_cuts
from resilience.validation import (
    check_columns,
    check_count,
    check_fraction,
    check_instance,
    check_names,
    check_seed,
    shorten,
)

__all__ = ["ContextBands"]

_PER_BAND = 3  # schools a stratum needs for every band


@dataclass(frozen=True)
class ContextBands:
    r"""Three to five ordered groups of conditions, never called clusters.

    Within each stratum the schools are ordered by the result that their conditions let expect,

    .. math:: E_j = a + b'z_j ,

    with the regression of results on conditions learnt from earlier years, and cut where the
    pupils fall into equal parts.  The error of :math:`E_j`, from the coefficients and from the
    conditions themselves, gives the probability of every band.  Results of the school itself have
    no part in its band.

    Attributes
    ----------
    conditions : Conditions or str
        Conditions, or the column of a ready context index; its ``<name>_std_error`` is read where
        the table has it.
    outcome : str
        Column of results.
    n_bands : int
        Three to five.
    strata : sequence of str
        Columns that part the schools first (stage, settlement).
    level : float
        Of the interval of the expected result.
    n_draws : int
        Redrawings of shares and stated errors.

    Raises
    ------
    SpecificationError
        For values out of range, or an outcome among the conditions.
    """

    conditions: Conditions | str
    _: KW_ONLY
    outcome: str = "mean_score"
    n_bands: int = 4
    strata: Sequence[str] | str = ()
    level: float = 0.95
    n_draws: int = 100

    def __post_init__(self) -> None:
        if not isinstance(self.conditions, str):
            check_instance(
                self.conditions,
                Conditions,
                argument="conditions",
                example="rs.Conditions(shares=['low_income'])",
            )
        check_names(self.outcome, argument="outcome", example="'mean_score'", single=True)
        own = (self.conditions,) if isinstance(self.conditions, str) else self.conditions.columns
        if self.outcome in own:
            raise SpecificationError(
                text("neighbours.outcome_is_condition", column=repr(self.outcome))
            )
        if check_count(self.n_bands, argument="n_bands", least=3) > 5:
            raise SpecificationError(text("bands.n_bands", n=self.n_bands))
        parted = check_names(self.strata, argument="strata", example="strata=['is_rural']")
        object.__setattr__(self, "strata", parted)
        check_fraction(self.level, argument="level", closed=False)
        check_count(self.n_draws, argument="n_draws", least=0)

    def fit(
        self,
        schools: pd.DataFrame,
        year: int | None = None,
        *,
        history: pd.DataFrame | None = None,
        scaling: Scaling | None = None,
        random_state: int | None = None,
    ) -> BandResults:
        """Cut the schools of one year.

        Parameters
        ----------
        schools : DataFrame
            One row per school, or per school and ``year``.
        year : int, optional
            Which year; the latest by default.
        history : DataFrame, optional
            School-years with conditions and results that the expectation is learnt from; by
            default the earlier years of ``schools``.  Where there are none, every tenth of the
            schools is expected by the other nine.
        scaling : Scaling, optional
            Of a base year.
        random_state : int, optional
            Seed of the redrawn errors.

        Returns
        -------
        BandResults

        Raises
        ------
        DataError
            See `scale_conditions`; if there are too few results to learn from.

        Warns
        -----
        WeakDataWarning
            For strata too small to be cut.
        """
        check_seed(random_state)
        rows = self._rows(schools, year, scaling, random_state)
        past = history
        if past is None and rows.year is not None:
            past = schools[schools["year"] < rows.year]
        if past is None or not len(past):
            check_columns(schools, [self.outcome], table="schools")
            regression = learn_regression([rows], crossed=True)
        else:
            check_columns(past, [self.outcome, "year"], table="history")
            years = sorted({int(y) for y in past["year"]})
            earlier = [self._rows(past, y, rows.scaling, None, draws=0) for y in years]
            regression = learn_regression(earlier, crossed=False)
        return self._banded(rows, regression, None)

    def predict(
        self,
        results: BandResults,
        schools: pd.DataFrame,
        year: int | None = None,
        *,
        random_state: int | None = None,
    ) -> BandResults:
        """Return the bands of another year with the regression and the borders of a fit.

        Parameters
        ----------
        results : BandResults
            A fit of this model.
        schools, year
            As in `fit`; results are not needed.
        random_state : int, optional
            Seed of the redrawn errors.

        Returns
        -------
        BandResults

        Raises
        ------
        DataError
            If a stratum was not in the fit.
        """
        check_instance(results, BandResults, argument="results", example="model.fit(schools)")
        check_seed(random_state)
        rows = self._rows(schools, year, results.scaling, random_state)
        unknown = sorted({str(s) for s in rows.stratum} - set(results.cuts))
        if unknown:
            raise DataError(
                text(
                    "bands.stratum",
                    strata=shorten(repr(s) for s in unknown),
                    known=shorten((repr(s) for s in results.cuts), 12),
                )
            )
        return self._banded(rows, results.regression, results.cuts)

    def over_years(
        self,
        schools: pd.DataFrame,
        years: Sequence[int] | None = None,
        *,
        random_state: int | None = None,
    ) -> pd.DataFrame:
        """Return how schools move between bands from year to year, with one set of borders.

        The borders and the regression are those of the latest of the years.

        Parameters
        ----------
        schools : DataFrame
            One row per school and year.
        years : sequence of int, optional
            Which years; those after the first of the table by default.
        random_state : int, optional
            Seed of the redrawn errors.

        Returns
        -------
        DataFrame
            ``year next_year band next_band n_schools share_of_band``.

        Raises
        ------
        DataError
            For fewer than two years.
        """
        check_columns(schools, ["school_id", "year"], table="schools")
        known = sorted({int(y) for y in schools["year"]})
        wanted = (
            known[1:]
            if years is None
            else sorted({check_count(y, argument="years", least=0) for y in years})
        )
        if len(wanted) < 2 or not set(wanted) <= set(known):
            raise DataError(
                text(
                    "cluster_stability.years",
                    years=shorten(wanted, 12),
                    known=shorten(known, 12),
                )
            )
        last = self.fit(schools, wanted[-1], random_state=random_state)
        found = {
            year: last
            if year == wanted[-1]
            else self.predict(last, schools, year, random_state=random_state)
            for year in wanted
        }
        moves = []
        for k, year in enumerate(wanted[:-1]):
            here = found[year].schools[["school_id", "band"]]
            there = found[wanted[k + 1]].schools[["school_id", "band"]]
            both = here.merge(there.rename(columns={"band": "next_band"}), on="school_id").dropna()
            counts = both.groupby(["band", "next_band"], as_index=False).size()
            counts = counts.rename(columns={"size": "n_schools"})
            total = counts.groupby("band")["n_schools"].transform("sum")
            moves.append(
                counts.assign(
                    year=year, next_year=wanted[k + 1], share_of_band=counts["n_schools"] / total
                )
            )
        columns = ["year", "next_year", "band", "next_band", "n_schools", "share_of_band"]
        return pd.concat(moves, ignore_index=True)[columns]

    def _rows(
        self,
        schools: pd.DataFrame,
        year: int | None,
        scaling: Scaling | None,
        random_state: int | None,
        *,
        draws: int | None = None,
    ) -> BandRows:
        n_draws = self.n_draws if draws is None else draws
        if isinstance(self.conditions, str):
            return rows_of_index(
                schools,
                self.conditions,
                self.outcome,
                year=year,
                strata=tuple(self.strata),
                n_draws=n_draws,
                random_state=random_state,
            )
        return rows_of_conditions(
            schools,
            self.conditions,
            self.outcome,
            year=year,
            scaling=scaling,
            strata=tuple(self.strata),
            n_draws=n_draws,
            random_state=random_state,
        )

    def _banded(
        self, rows: BandRows, regression: Regression, frozen: dict[str, np.ndarray] | None
    ) -> BandResults:
        expected, std_error = regression.expected(rows)
        known = np.isfinite(expected)
        cuts: dict[str, np.ndarray] = {} if frozen is None else dict(frozen)
        warnings: list[Bilingual] = []
        for stratum in sorted({str(s) for s in rows.stratum}):
            inside = (rows.stratum == stratum) & known
            if frozen is not None:
                continue
            different = len(np.unique(expected[inside]))
            if different < _PER_BAND * self.n_bands:
                cuts[stratum] = np.zeros(0)
                warnings.append(
                    text(
                        "bands.small_stratum",
                        stratum=stratum or "—",
                        n=int(inside.sum()),
                        needed=_PER_BAND * self.n_bands,
                    )
                )
            else:
                cuts[stratum] = pupil_cuts(expected[inside], rows.pupils[inside], self.n_bands)
        for message in warnings:
            warn_weak_data(message)
        schools, chances = band_rows(
            rows, expected, std_error, cuts, n_bands=self.n_bands, level=self.level
        )
        return BandResults(
            schools=schools,
            probabilities=chances,
            bands=bands_table(schools, rows.pupils, cuts),
            cuts=cuts,
            regression=regression,
            scaling=rows.scaling,
            n_bands=self.n_bands,
            year=rows.year,
            level=self.level,
            warnings=tuple(warnings),
        )
