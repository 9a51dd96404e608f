"""Effects of the last exam beside the share of pupils who stayed to sit it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.errors import DataError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.results import Results
from resilience.stats.proportions import wilson_interval
from resilience.validation import check_columns, check_fraction, check_table, check_unique, shorten
from resilience.value_added.definitions.question import Question, question_cell
from resilience.value_added.effects.effects_results import EffectsResults
from resilience.value_added.gaps.stayed import read_stayed
from resilience.value_added.intake.tables_in_memory import table_in_memory

__all__ = ["StayersResults", "beside_stayers"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StayersResults(Results):
    """Every school's effect with the share that stayed after grade 9.

    Attributes
    ----------
    table : DataFrame
        ``school_id effect std_error conf_low conf_high n_before n_stayed share_stayed share_low
        share_high stayers_note``: the limits of the share are Wilson's, NaN where it is unknown;
        the note is a sentence in both languages to be printed beside the effect.
    group : str
        School column.
    question : Question or None
        Since when the school's part is counted; None where a bare table of effects was given.
    level : float
        Coverage of the interval of the share.
    """

    table: pd.DataFrame
    group: str
    question: Question | None
    level: float

    def tidy(self) -> pd.DataFrame:
        """Return one row per school."""
        return self.table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, those of unknown share, pupils before, share that stayed."""
        before = int(self.table["n_before"].sum())
        stayed = int(self.table["n_stayed"].sum())
        asked = {} if self.question is None else {"question": question_cell(self.question)}
        return pd.DataFrame(
            {
                **asked,
                "n_schools": [len(self.table)],
                "n_sign_unknown": [int(self.table["share_stayed"].isna().sum())],
                "n_before": [before],
                "n_stayed": [stayed],
                "share_stayed": [stayed / before if before else float("nan")],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with each school's share that stayed and its interval."""
        check_columns(data, [self.group], table="data")
        names = ["share_stayed", "share_low", "share_high"]
        return data.join(self.table.set_index("school_id")[names], on=self.group)


def beside_stayers(
    effects: EffectsResults | pd.DataFrame,
    stayed_table: object,
    *,
    stayed: str = "stayed",
    level: float = 0.95,
) -> StayersResults:
    """Set every school's effect beside the share of its pupils that stayed to sit the exam.

    An effect of ЕГЭ results speaks of those who stayed after grade 9; where many left, it must not
    be read, or printed, without their share.

    Parameters
    ----------
    effects : EffectsResults or DataFrame
        Results of the last exam, or such a table of school effects (``school_id effect std_error
        conf_low conf_high``).
    stayed_table : frame of any library that narwhals knows
        One row per pupil of grade 9 with the flag ``stayed``, or per school (and year) with the
        counts ``n_before`` and ``n_stayed``; counts of several rows of a school add up.
    stayed : str
        Column of the flag.
    level : float
        Coverage of Wilson's interval.

    Returns
    -------
    StayersResults

    Raises
    ------
    DataError
        If no school's share is known, or counts are impossible.

    Warns
    -----
    WeakDataWarning
        If the share is unknown for some schools (named).

    References
    ----------
    Wilson1927.
    """
    check_fraction(level, argument="level", closed=False)
    if isinstance(effects, EffectsResults):
        table, group = effects.school_effects, effects.group
    else:
        check_table(effects, table="effects")
        table, group = effects, "school_id"
    names = ["school_id", "effect", "std_error", "conf_low", "conf_high"]
    check_columns(table, names, table="effects")
    check_unique(table, ["school_id"], table="effects")
    found = read_stayed(table_in_memory(stayed_table), stayed=stayed, group=group)
    counts = found.counts.reindex(table["school_id"].to_numpy()).fillna(0)
    before = counts["n_before"].to_numpy(dtype=np.int64)
    sat = counts["n_stayed"].to_numpy(dtype=np.int64)
    unknown = table["school_id"][before == 0]
    if len(unknown) == len(table):
        raise DataError(text("selection.no_common", schools=shorten(table["school_id"])))
    if len(unknown):
        warn_weak_data(text("selection.some_unknown", n=len(unknown), schools=shorten(unknown)))
    low, high = wilson_interval(sat, before, level=level)
    known = before > 0
    share = np.where(known, sat / np.maximum(before, 1), np.nan)
    low, high = np.where(known, low, np.nan), np.where(known, high, np.nan)
    notes = [_note(*row, level) for row in zip(before, sat, share, low, high, strict=True)]
    return StayersResults(
        question=effects.question if isinstance(effects, EffectsResults) else None,
        table=table[names]
        .reset_index(drop=True)
        .assign(
            n_before=before,
            n_stayed=sat,
            share_stayed=share,
            share_low=low,
            share_high=high,
            stayers_note=pd.Series(notes, dtype=object),
        ),
        group=group,
        level=level,
    )


def _note(before: int, sat: int, share: float, low: float, high: float, level: float) -> Bilingual:
    """Return the sentence beside an effect."""
    if not before:
        return text("selection.note_unknown")
    printed = {k: f"{100 * v:.0f}" for k, v in (("share", share), ("low", low), ("high", high))}
    return text("selection.note", before=before, sat=sat, level=f"{100 * level:g}", **printed)
