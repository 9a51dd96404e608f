"""Exits, gains and positive dynamics of a list, beside what no change would have given."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.history.null_basis import Basis, assumed_bases, score_panel, the_basis
from resilience.detection.history.states import LISTED
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.results import Results
from resilience.stats.lists.list_null_band import ListDraws, null_band, two_sided_mid_p
from resilience.stats.regression_to_mean import list_null
from resilience.validation import check_columns, shorten

__all__ = ["StatusNullResults", "compare_with_null"]

Floats = NDArray[np.float64]

FEWEST_LISTED = 10
_QUANTITIES = ("leave", "gain", "positive_dynamics")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StatusNullResults(Results):
    """What a list did, and what it would have done if nothing had been done.

    Attributes
    ----------
    comparison : DataFrame
        ``year_before year quantity observed null_value null_low null_high excess p_value n_listed
        list_share year_correlation year_correlation_low year_correlation_high null_closed_form
        null_basis``: a row per pair of years and quantity (``leave``, ``gain`` in SD of schools,
        ``positive_dynamics``).
    rule : Bilingual
        The rule of positive dynamics.
    notes : tuple of Bilingual
        What a reader must know.
    """

    comparison: pd.DataFrame
    rule: Bilingual
    notes: tuple[Bilingual, ...] = ()

    @property
    def side_by_side(self) -> pd.DataFrame:
        """One row per pair of years and basis: observed and null of each quantity in columns."""
        rows = []
        keys = ["year_before", "year", "n_listed", "list_share", "null_basis"]
        for key, group in self.comparison.groupby(keys, sort=False):
            row = dict(zip(keys, key, strict=True))
            own = group.set_index("quantity")
            for quantity in _QUANTITIES:
                row[f"{quantity}_observed"] = own.loc[quantity, "observed"]
                row[f"{quantity}_null"] = own.loc[quantity, "null_value"]
                row[f"{quantity}_null_low"] = own.loc[quantity, "null_low"]
                row[f"{quantity}_null_high"] = own.loc[quantity, "null_high"]
                row[f"{quantity}_excess"] = own.loc[quantity, "excess"]
            rows.append(row)
        return pd.DataFrame(rows)

    def tidy(self) -> pd.DataFrame:
        """Return observed and null, one row per pair of years and quantity."""
        return self.comparison.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: the last pair of years."""
        return self.side_by_side.tail(1).reset_index(drop=True)

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of years with ``leave_null`` and ``positive_dynamics_null`` added.

        Raises
        ------
        DataError
            If ``data`` lacks ``year``.
        """
        check_columns(data, ["year"], table="data")
        known = self.side_by_side.drop_duplicates("year").set_index("year")
        names = ["leave_null", "positive_dynamics_null"]
        return data.assign(**{c: data["year"].map(known[c]).to_numpy(dtype=float) for c in names})

    def summary(self, lang: str = "en") -> str:
        """Return the summary with the rule of positive dynamics and the notes."""
        lines = [super().summary(lang), "", self.rule.localized(lang)]
        return "\n".join([*lines, *(f"* {note.localized(lang)}" for note in self.notes)])


def compare_with_null(
    statuses: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    positive_dynamics: str | float,
    r: float | None,
    assignment: str | None,
    programme_years: tuple[int, ...],
    n_draws: int,
    random_state: int,
) -> StatusNullResults:
    """Return the comparison of every pair of years that allows one."""
    points, rule = _points(positive_dynamics)
    panel = score_panel(scores, assignment)
    basis = the_basis(panel, r, programme_years, random_state)
    bases = assumed_bases(panel) if basis is None else [basis]
    notes = [text("history.centred")]
    if r is None and basis is not None and not programme_years:
        notes.append(text("history.no_programme_years"))
    if basis is None:
        notes.append(text("history.assumed"))
    rows: list[dict[str, object]] = []
    years = [int(y) for y in panel.years]
    for before, after in itertools.pairwise(years):
        pair = _pair(statuses, panel.school_ids, before, after)
        if pair is None:
            continue
        listed, again, known = pair
        k = years.index(before)
        known &= np.isfinite(panel.scores[:, k]) & np.isfinite(panel.scores[:, k + 1])
        lost = int((listed & ~known).sum())
        if lost:
            notes.append(text("history.lost", n=lost, year=before))
        if not (listed & known).any():
            continue
        _check_rule(panel.selecting[known, k], listed[known], panel.school_ids[known], before)
        for one in bases:
            rows += _rows(
                one, panel.scores, k, known, listed, again, points, n_draws, random_state, years
            )
    if not rows:
        raise DataError(text("history.no_pair"))
    table = pd.DataFrame(rows)
    if (table["n_listed"] < FEWEST_LISTED).any():
        notes.append(text("history.short_list", least=FEWEST_LISTED))
    return StatusNullResults(comparison=table, rule=rule, notes=tuple(dict.fromkeys(notes)))


def _points(rule: str | float) -> tuple[float, Bilingual]:
    if isinstance(rule, str):
        if rule != "sign":
            raise SpecificationError(text("history.positive_rule", value=repr(rule)))
        return 0.0, text("history.rule_sign")
    if isinstance(rule, bool) or not np.isfinite(rule) or rule < 0:
        raise SpecificationError(text("history.positive_rule", value=repr(rule)))
    return float(rule), text("history.rule_points", points=f"{float(rule):g}")


def _pair(
    statuses: pd.DataFrame, school_ids: NDArray[np.object_], before: int, after: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return who was listed, who is again, and who is known in both years; None across a break."""
    sides = []
    for year in (before, after):
        own = statuses[statuses["year"] == year].set_index("school_id")
        if own.empty or (year == after and own["rule_break"].any()):
            return None
        sides.append(own["status"].reindex(school_ids).to_numpy(dtype=object))
    on = [np.isin(s.astype(str), LISTED) for s in sides]
    off = [np.isin(s.astype(str), ("not_listed", "left")) for s in sides]
    known = (on[0] | off[0]) & (on[1] | off[1])
    return on[0], on[1] & known, known


def _check_rule(
    selecting: Floats, listed: NDArray[np.bool_], names: NDArray[np.object_], year: int
) -> None:
    """Refuse a list that is not the lowest part of the score it is said to be drawn on."""
    highest = selecting[listed].max()
    below = ~listed & (selecting < highest)
    if below.any():
        raise DataError(
            text(
                "history.not_the_rule",
                year=year,
                n=int(below.sum()),
                schools=shorten(names[below]),
            )
        )


def _rows(
    basis: Basis,
    scores: Floats,
    k: int,
    known: NDArray[np.bool_],
    listed: NDArray[np.bool_],
    again: NDArray[np.bool_],
    points: float,
    n_draws: int,
    random_state: int,
    years: Sequence[int],
) -> list[dict[str, object]]:
    """Return the three quantities of one pair of years."""
    first, second = scores[known, k], scores[known, k + 1]
    first, second = first - first.mean(), second - second.mean()
    chosen = listed[known]
    n_next = int(again[known].sum())
    share = float(chosen.mean())
    draws = basis.draw(
        k,
        known=known,
        listed=chosen,
        n_next=max(n_next, 1),
        points=points,
        n_draws=n_draws,
        random_state=random_state,
    )
    gain = (second - first)[chosen]
    observed = {
        "leave": float((~again[known])[chosen].mean()),
        "gain": float(gain.mean()),
        "positive_dynamics": float((gain > points).mean()),
    }
    closed = _closed_form(basis, share, points)
    return [
        {
            "year_before": years[k],
            "year": years[k + 1],
            "quantity": quantity,
            **_against(observed[quantity], draws, quantity, int(chosen.sum())),
            "n_listed": int(chosen.sum()),
            "list_share": share,
            "year_correlation": basis.correlation,
            "year_correlation_low": basis.correlation_low,
            "year_correlation_high": basis.correlation_high,
            "null_closed_form": closed[quantity],
            "null_basis": basis.name,
        }
        for quantity in _QUANTITIES
    ]


def _closed_form(basis: Basis, share: float, points: float) -> dict[str, float]:
    if not 0 < share <= 0.5 or not 0 <= basis.correlation < 1:
        return dict.fromkeys(_QUANTITIES, np.nan)
    null = list_null(share, basis.correlation, points=points, selection=basis.selection)
    leave = np.nan if basis.selection is not None else float(null.leave)
    return {
        "leave": leave,
        "gain": float(null.gain),
        "positive_dynamics": float(null.positive_dynamics),
    }


def _against(observed: float, draws: ListDraws, quantity: str, n_listed: int) -> dict[str, float]:
    """Return observed beside the null; a short list gets its band and no point claim."""
    drawn = getattr(draws, quantity)
    band = null_band(drawn)
    enough = n_listed >= FEWEST_LISTED
    return {
        "observed": observed,
        "null_value": band.mean if enough else np.nan,
        "null_low": band.low,
        "null_high": band.high,
        "excess": observed - band.mean if enough else np.nan,
        "p_value": two_sided_mid_p(observed, drawn) if enough else np.nan,
    }
