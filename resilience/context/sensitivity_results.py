"""What the sensitivity of an index is made from, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.results import Results
from resilience.validation import check_columns

__all__ = ["IndexSensitivityResults", "ItemScores", "WeightedIndex"]

Floats = npt.NDArray[np.float64]


class WeightedIndex(Protocol):
    """What the sensitivity reads of a fitted index."""

    @property
    def scores(self) -> pd.DataFrame:
        """Scores by school and year."""

    @property
    def weight_sets(self) -> pd.DataFrame:
        """Every vector of weights a score was made with."""

    @property
    def items(self) -> pd.DataFrame:
        """Items with sign and transform."""

    @property
    def correlation(self) -> Floats:
        """Base-year correlation of the signed items."""

    @property
    def item_scores(self) -> ItemScores:
        """The standardised items."""

    @property
    def base_year(self) -> int:
        """Year of the anchor."""

    @property
    def index_kind(self) -> Bilingual:
        """How the weights were set."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemScores:
    """The standardised items behind an index, row by row with its table of scores.

    Attributes
    ----------
    signed : ndarray of shape (n_rows, n_items)
        Items in base-year SDs, plus = favourable, NaN where missing; read-only.
    n_pupils : ndarray of shape (n_rows,)
        Pupils of the school-year; read-only.
    min_coverage : float
        Least share of the weights that must be known.
    """

    signed: Floats
    n_pupils: Floats
    min_coverage: float

    def __post_init__(self) -> None:
        for name in ("signed", "n_pupils"):
            frozen = np.array(getattr(self, name), dtype=np.float64)
            frozen.setflags(write=False)
            object.__setattr__(self, name, frozen)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class IndexSensitivityResults(Results):
    """Ranks of one year under other weights, and under noise in the weights.

    Attributes
    ----------
    schools : DataFrame
        One row per school with an index in the year: ``school_id year context_index context_rank
        rank_noise_low rank_noise_high mean_abs_rank_shift gate_flip_share below_gate
        n_variants_other_side``.  Rank 1 = the least favourable intake; the range holds 95 % of
        the draws.
    variants : DataFrame
        ``index_variant index_variant_title n_schools rank_correlation mean_abs_rank_shift
        n_gate_changes``: each set of weights against the published index; the last row averages
        over the draws.
    ranks : DataFrame
        ``school_id index_variant context_rank other_side``: one row per school and variant;
        NaN where the variant leaves too little of the school's passport.
    year : int
        Year of the ranks.
    n_draws : int
        Noisy sets of weights.
    spread : float
        Each weight is multiplied by 1 + U(−spread, spread).
    quantile : float
        Gate: the share of schools at or below it.
    notes : tuple of Bilingual
        Variants that could not be computed, and why.
    """

    schools: pd.DataFrame
    variants: pd.DataFrame
    ranks: pd.DataFrame
    year: int
    n_draws: int
    spread: float
    quantile: float
    notes: tuple[Bilingual, ...] = ()

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("context.sensitivity_title", year=self.year).localized(lang)

    def tidy(self) -> pd.DataFrame:
        """Return the variants, one row each."""
        return self.variants.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: the size of the exercise and what noise does on average.

        ``n_unsettled`` counts the schools that change side in more than a twentieth of the draws;
        ``noise_error`` is the largest standard error of a share of draws.
        """
        flips = self.schools["gate_flip_share"].to_numpy(dtype=float)
        row = {
            "year": self.year,
            "n_schools": len(self.schools),
            "n_noise_draws": self.n_draws,
            "noise_spread": self.spread,
            "gate_quantile": self.quantile,
            "n_below_gate": int(self.schools["below_gate"].sum()),
            "mean_abs_rank_shift": float(self.schools["mean_abs_rank_shift"].mean()),
            "n_unsettled": int((flips > 0.05).sum()),
            "noise_error": float(np.sqrt(flips * (1 - flips) / self.n_draws).max()),
        }
        return pd.DataFrame([row])

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with rank, range, shift and share of draws across the gate added.

        Rows are matched by school, and by year where ``data`` has one.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        SpecificationError
            If ``data`` holds one of the columns already.
        """
        check_columns(data, ["school_id"], table="data")
        key = ["school_id", *(["year"] if "year" in data.columns else [])]
        own = [c for c in self.schools.columns if c not in ("school_id", "year", "context_index")]
        taken = [c for c in own if c in data.columns]
        if taken:
            raise SpecificationError(text("context.augment_taken", columns=", ".join(taken)))
        merged = data.merge(self.schools[[*key, *own]], on=key, how="left", validate="many_to_one")
        return merged.set_axis(data.index, axis=0)

    def summary(self, lang: str = "en") -> str:
        """Return heading, one-row summary, variants and notes as plain text."""
        notes = "\n".join(f"* {note.localized(lang)}" for note in self.notes)
        return f"{super().summary(lang)}\n\n{notes}" if notes else super().summary(lang)
