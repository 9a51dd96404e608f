"""The funnel of one procedure: whose share below the minimum is unusual for its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from resilience.detection.verdicts.tables import gather
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, check_language, numeral, text
from resilience.results import Results, format_table
from resilience.stats.lists.share_funnel import ShareFunnel, share_funnel_of
from resilience.validation import check_columns, nearest_names, shorten

__all__ = ["ShareFunnelResults", "share_funnel"]

Floats = NDArray[np.float64]

LEVELS = (0.95, 0.998)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ShareFunnelResults(Results):
    """Shares below the minimum of one procedure and year against their control limits.

    Attributes
    ----------
    schools : DataFrame
        A row per school: ``school_id year procedure n_participants n_below_minimum
        share_below_minimum estimate std_error z_score limit_low_95 limit_high_95 limit_low_998
        limit_high_998 outside outside_998``.  ``estimate`` and ``std_error`` are on the arcsine
        scale, limits are shares.
    funnel : ShareFunnel
        Centre, variance between schools, limits of any level.
    procedure : str
        What was sat.
    year : int
        When.
    notes : tuple of Bilingual
        How the limits are formed, who did not sit.
    """

    schools: pd.DataFrame
    funnel: ShareFunnel
    procedure: str
    year: int
    notes: tuple[Bilingual, ...] = ()

    def limits(self, n: ArrayLike, level: float, *, between: bool = True) -> tuple[Floats, Floats]:
        """Return the limits of an observed share among n participants."""
        return self.funnel.limits(level, between=between, n=n)

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("share_funnel.title", procedure=self.procedure, year=self.year).localized(lang)

    def tidy(self) -> pd.DataFrame:
        """Return one row per school."""
        return self.schools.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: centre, variance, schools outside the limits and expected there."""
        n = len(self.schools)
        return pd.DataFrame(
            {
                "n_schools": [n],
                "center_share": [self.funnel.center],
                "arcsine_variance": [self.funnel.between_variance],
                "n_outside": [int(self.schools["outside"].sum())],
                "expected_outside": [self.funnel.expected_outside(LEVELS[0])],
                "n_outside_998": [int(self.schools["outside_998"].sum())],
                "expected_outside_998": [self.funnel.expected_outside(LEVELS[1])],
            }
        )

    def summary(self, lang: str = "en") -> str:
        """Return the centre, the schools outside the limits, and what chance would do."""
        check_language(lang)
        head = format_table(self.glance(), lang).T.to_string(header=False)
        far = self.schools[self.schools["outside"]].sort_values(
            ["z_score", "school_id"], ascending=[False, True]
        )
        names = ["school_id", "n_participants", "n_below_minimum", "share_below_minimum"]
        names += ["z_score", "limit_low_95", "limit_high_95", "outside_998"]
        blocks = [self.title(lang), "=" * len(self.title(lang)), head, ""]
        if len(far):
            blocks.append(format_table(far[names], lang).to_string(index=False))
        return "\n".join([*blocks, *(f"* {note.localized(lang)}" for note in self.notes)])

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with the funnel's columns added.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        """
        check_columns(data, ["school_id"], table="data")
        names = ["share_below_minimum", "z_score", "limit_low_95", "limit_high_95"]
        own = self.schools.set_index("school_id")
        keyed = data["school_id"].astype(str)
        added = {c: keyed.map(own[c]).to_numpy(dtype=float) for c in names}
        flag = keyed.map(own["outside"].astype("boolean")).astype("boolean").to_numpy()
        kept = data.drop(columns=[c for c in (*names, "outside") if c in data.columns])
        return kept.assign(**added, outside=pd.array(flag, dtype="boolean"))


def share_funnel(
    counts: pd.DataFrame,
    *,
    procedure: str | None = None,
    year: int | None = None,
    target: float | None = None,
    between_variance: float | None = None,
) -> ShareFunnelResults:
    """Compare shares below the minimum with what chance allows among so many participants.

    One procedure and one year: results of one pupil in several procedures are no separate draws.

    Parameters
    ----------
    counts : DataFrame
        ``school_id year procedure [class_label] n_participants n_below_minimum``; classes are
        added up.
    procedure : str, optional
        Needed where the table holds several.
    year : int, optional
        The latest of the procedure by default.
    target : float, optional
        Centre set beforehand; by default the region's share.
    between_variance : float, optional
        Variance between schools on the arcsine scale; 0 asks for limits of sampling alone.

    Returns
    -------
    ShareFunnelResults

    Raises
    ------
    DataError
        If the table has an impossible count, or not the procedure or year asked for.
    SpecificationError
        If the procedure is not named although there are several.

    References
    ----------
    Spiegelhalter2005; Anscombe1948.
    """
    cells = gather(None, None, counts=counts, school_years=None, schools=None, variances=None)
    table = cells.counts if cells.counts is not None else pd.DataFrame()
    known = sorted(table["procedure"].unique())
    if procedure is None and len(known) > 1:
        raise SpecificationError(text("share_funnel.which", procedures=shorten(known, 12)))
    chosen = str(procedure) if procedure is not None else "".join(known)
    own = table[table["procedure"] == chosen]
    if own.empty:
        near = nearest_names(chosen, known)
        raise DataError(text("share_funnel.procedure", procedure=repr(chosen), nearest=near))
    years = sorted(int(y) for y in own["year"].unique())
    last = years[-1] if year is None else int(year)
    if last not in years:
        raise DataError(text("share_funnel.year", year=last, years=shorten(years, 12)))
    own = own[own["year"] == last].reset_index(drop=True)
    found = share_funnel_of(
        own["n_below_minimum"],
        own["n_participants"],
        target=target,
        between_variance=between_variance,
    )
    absent = cells.school_ids.size - len(own)
    return ShareFunnelResults(
        schools=_table(own, found),
        funnel=found,
        procedure=chosen,
        year=last,
        notes=_notes(found, absent),
    )


def _table(own: pd.DataFrame, found: ShareFunnel) -> pd.DataFrame:
    columns: dict[str, NDArray[Any]] = {
        "share_below_minimum": found.share,
        "estimate": found.estimate,
        "std_error": found.std_error,
        "z_score": found.z_score,
    }
    for level, name in zip(LEVELS, ("95", "998"), strict=True):
        columns[f"limit_low_{name}"], columns[f"limit_high_{name}"] = found.limits(level)
    columns["outside"], columns["outside_998"] = (found.outside(level) for level in LEVELS)
    names = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    return own[names].assign(**columns)


def _notes(found: ShareFunnel, absent: int) -> tuple[Bilingual, ...]:
    notes = [text("share_funnel.with_variance" if found.differ else "share_funnel.exact")]
    if found.reason is not None:
        notes.append(found.reason)
    shown = f"{found.expected_outside(LEVELS[0]):.1f}"
    notes.append(text("share_funnel.chance", n=numeral(shown)))
    if absent:
        notes.append(text("share_funnel.absent", n=absent))
    return tuple(notes)
