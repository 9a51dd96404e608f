"""What the comparison of schools with their neighbours found."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from scipy import stats

from resilience.clustering.comparison.outcomes import decimal
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results, format_table
from resilience.validation import check_columns, nearest_names, shorten

__all__ = ["NeighbourComparison"]

_SHOWN = 10  # schools printed at each end; all of them are in the table


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NeighbourComparison(Results):
    """Schools against their statistical neighbours.

    Attributes
    ----------
    table : DataFrame
        One row per school: ``school_id observed neighbour_mean neighbour_correction difference
        std_error conf_low conf_high typical_low typical_high neighbour_spread
        percentile_among_neighbours p_above_neighbours n_neighbours n_without_result imbalance_max
        verdict typical_verdict reason``, and beside a regression ``regression_residual
        regression_low regression_high regression_verdict both_verdict``.
    value : str
        Column of results that was compared.
    level : float
        Of intervals and typical ranges.
    corrected : bool
        Whether slopes corrected for remaining differences.
    notes : tuple of Bilingual
        What a reader of many intervals must know.
    """

    table: pd.DataFrame
    value: str
    level: float
    corrected: bool
    notes: tuple[Bilingual, ...]

    @property
    def has_regression(self) -> bool:
        """Whether residuals of a regression stand beside."""
        return "both_verdict" in self.table.columns

    @property
    def rank_correlation(self) -> float:
        """Spearman correlation of differences and residuals of the regression.

        Raises
        ------
        SpecificationError
            If the comparison was made without a regression.
        """
        self._need("regression_residual")
        known = self.table[["difference", "regression_residual"]].dropna()
        if len(known) < 3:
            return float("nan")
        return float(stats.spearmanr(known["difference"], known["regression_residual"]).statistic)

    def by_both(self, verdict: str = "above") -> tuple[str, ...]:
        """Return the schools that neighbours and regression both call ``above`` or ``below``.

        Raises
        ------
        SpecificationError
            If the comparison was made without a regression.
        """
        self._need("both_verdict")
        return tuple(self.table.loc[self.table["both_verdict"] == verdict, "school_id"])

    def _need(self, column: str) -> None:
        if column not in self.table.columns:
            raise SpecificationError(text("neighbour_comparison.no_column", column=repr(column)))

    def school(self, school_id: str) -> pd.Series:
        """Return the row of one school.

        Raises
        ------
        DataError
            If the comparison has no such school; the nearest ids are named.
        """
        rows = self.table[self.table["school_id"] == str(school_id)]
        if rows.empty:
            near = nearest_names(str(school_id), list(self.table["school_id"]))
            raise DataError(
                text("neighbour_comparison.no_school", school=repr(school_id), nearest=near)
            )
        return rows.iloc[0]

    def tidy(self) -> pd.DataFrame:
        """Return `table`."""
        return self.table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, verdicts, what chance alone would give, agreement."""
        verdict = self.table["verdict"]
        silent = int((verdict == "insufficient_data").sum())
        row = {
            "n_schools": [len(verdict)],
            "n_above_neighbours": [int((verdict == "above").sum())],
            "n_below_neighbours": [int((verdict == "below").sum())],
            "n_insufficient": [silent],
            "n_by_chance": [(1.0 - self.level) * (len(verdict) - silent)],
            "n_atypical": [int(self.table["typical_verdict"].isin(["above", "below"]).sum())],
        }
        if self.has_regression:
            row["residual_rank_correlation"] = [self.rank_correlation]
        return pd.DataFrame(row)

    def agreement(self) -> Bilingual:
        """Say how far neighbours and regression agree.

        Raises
        ------
        SpecificationError
            If the comparison was made without a regression.
        """
        self._need("both_verdict")
        both = self.table["both_verdict"]
        known = both != "insufficient_data"
        return text(
            "neighbour_comparison.agreement",
            same=int((known & (both != "differ")).sum()),
            n=int(known.sum()),
            correlation=decimal(self.rank_correlation),
            above=shorten(self.by_both("above"), 10) or "—",
            below=shorten(self.by_both("below"), 10) or "—",
        )

    def summary(self, lang: str = "en") -> str:
        """Return the counts, the schools with a verdict, and the notes on dependence."""
        check_language(lang)
        head = self.title(lang)
        shown = format_table(self.glance(), lang).T.to_string(header=False)
        columns = ["school_id", "observed", "neighbour_mean", "difference", "conf_low", "conf_high"]
        found = self.table[self.table["verdict"].isin(["above", "below"])]
        found = found.sort_values("difference", ascending=False, kind="stable")
        ends = pd.concat([found.head(_SHOWN), found.tail(_SHOWN)])
        ends = found if len(found) <= 2 * _SHOWN else ends
        listed = format_table(ends[[*columns, "verdict"]], lang).to_string(index=False)
        notes = [*self.notes, *((self.agreement(),) if self.has_regression else ())]
        if len(found) > len(ends):
            rest = len(found) - len(ends)
            notes.insert(0, text("neighbour_comparison.further", n=rest))
        said = "\n".join(f"* {note.localized(lang)}" for note in notes)
        blocks = [f"{head}\n{'=' * len(head)}", shown, *((listed,) if len(found) else ()), said]
        return "\n\n".join(blocks)

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with ``difference conf_low conf_high verdict`` added.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="data")
        columns = ["neighbour_mean", "difference", "conf_low", "conf_high", "verdict"]
        own = self.table.set_index("school_id")[columns]
        found = own.reindex(data["school_id"].astype(str)).set_axis(data.index, axis=0)
        return data.drop(columns=[c for c in columns if c in data.columns]).join(found)
