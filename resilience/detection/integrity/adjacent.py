"""The adjacent-score test over the schools of a region: too many scores just above borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from resilience.detection.integrity.adjacent_results import AdjacentScoresResults
from resilience.detection.integrity.borders import Window, read_borders, score_windows
from resilience.detection.integrity.histograms import by_test, check_scores, read_histograms
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.stats.integrity.adjacent_power import moved_share, power_of_windows, windows_needed
from resilience.stats.integrity.adjacent_reference import (
    cross_fitted_shares,
    school_folds,
    smooth_shares,
)
from resilience.stats.integrity.adjacent_scores import (
    PooledWindows,
    pool_windows,
    unusual_pooled,
    window_correlation,
)
from resilience.validation import check_choice, check_columns, check_fraction, shorten

__all__ = ["adjacent_scores"]

REFERENCES = ("region", "smooth")
N_FOLDS = 10
FEWEST_PUPILS = 30  # in the windows; below it there is no answer
FEWEST_SCHOOLS = 20
POWER_LEVEL = 0.01  # level of the single test for which power is printed
NEEDED_MOVED, NEEDED_POWER = 0.6, 0.8


def adjacent_scores(
    histograms: pd.DataFrame,
    borders: pd.DataFrame,
    *,
    schools: pd.DataFrame | None = None,
    reference: Literal["region", "smooth"] = "region",
    window: int = 2,
    level: float = 0.10,
    years: int = 3,
    random_state: int = 0,
) -> AdjacentScoresResults:
    r"""Test whether a school has more scores just above the borders of marks than others have.

    At each border, of the N pupils within ``window`` scores of it A stand at or above it;
    :math:`A \mid N \sim \mathrm{Bin}(N, q)` where nobody is moved.  Borders, procedures and years
    of a school are pooled, the pooled count is judged by a beta-binomial whose correlation between
    the pupils of a school comes from all schools, and the p-values pass through Benjamini and
    Hochberg.  A sign that needs further analysis, never proof.

    Parameters
    ----------
    histograms : DataFrame
        ``school_id year procedure score n_pupils``, raw scores.
    borders : DataFrame
        ``procedure year mark border_score max_score`` (`mark_borders`), for every procedure and
        year of the histograms.
    schools : DataFrame, optional
        ``school_id``: schools without histograms stand in the result with their reason.
    reference : {"region", "smooth"}
        Where q comes from: a logistic regression on the school's mean outside the window,
        cross-fitted over 10 folds of schools; or a smooth curve through the region's histogram
        without its windows, for a region that is suspect as a whole.
    window : int
        Scores on each side, at least 1; narrower where two borders stand close.
    level : float
        Share of wrong names tolerated in the list, in (0, 1).
    years : int
        How many of the latest years are pooled.
    random_state : int
        Seed of the folds.

    Returns
    -------
    AdjacentScoresResults
        A row per school with p-values, share moved with interval, power, verdict.

    Raises
    ------
    DataError
        If a table breaks a rule: marks in place of scores, no border, two forms, negative counts.
    SpecificationError
        If an argument is out of range.

    Warns
    -----
    WeakDataWarning
        Fewer than 20 schools.

    References
    ----------
    BenjaminiHochberg1995; DeeEtAl2019; Spiegelhalter2005.
    """
    check_choice(reference, REFERENCES, argument="reference")
    check_fraction(level, argument="level", closed=False)
    for name, value in (("window", window), ("years", years)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SpecificationError(text("integrity.at_least_one", argument=name, value=value))
    table = _latest(read_histograms(histograms), years)
    scale = read_borders(borders)
    check_scores(table, scale)
    school_ids = _school_ids(table, schools)
    if len(school_ids) < FEWEST_SCHOOLS:
        warn_weak_data(text("integrity.few_schools", n=len(school_ids)))
    fold = school_folds(len(school_ids), n_folds=N_FOLDS, random_state=random_state)
    parts = _all_windows(table, scale, school_ids, fold, reference=reference, window=window)
    rows = parts.rows
    pooled = pool_windows(
        rows["school"],
        rows["n_windows"],
        rows["n_above"],
        rows["expected_share"],
        n_units=len(school_ids),
    )
    of_results = table.groupby("school_id")["n_pupils"].sum()
    n_results = of_results.reindex(school_ids, fill_value=0).to_numpy(dtype=np.int64)
    enough = pooled.total >= FEWEST_PUPILS
    rho = window_correlation(pooled.total[enough], pooled.above[enough], pooled.share[enough])
    shown = rows.assign(school_id=np.asarray(school_ids, dtype=object)[rows["school"]])
    return AdjacentScoresResults(
        schools=_judge(school_ids, pooled, n_results, rho, level),
        windows=shown[["school_id", *rows.columns[1:]]],
        borders=parts.borders,
        correlation=rho,
        level=level,
        reference=reference,
        years=tuple(int(y) for y in sorted(table["year"].unique())),
        notes=parts.notes,
    )


def _latest(table: pd.DataFrame, years: int) -> pd.DataFrame:
    known = np.sort(table["year"].unique())[-years:]
    return table[table["year"].isin(known)].reset_index(drop=True)


def _school_ids(table: pd.DataFrame, schools: pd.DataFrame | None) -> list[str]:
    ids = set(table["school_id"].unique())
    if schools is not None:
        check_columns(schools, ["school_id"], table="schools")
        ids |= set(schools["school_id"].astype(str).unique())
    return sorted(ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Windows:
    """Windows of every school, what became of each border, and what to say about it."""

    rows: pd.DataFrame
    borders: pd.DataFrame
    notes: tuple[Bilingual, ...]


def _all_windows(
    table: pd.DataFrame,
    scale: pd.DataFrame,
    school_ids: Sequence[str],
    fold: np.ndarray,
    *,
    reference: str,
    window: int,
) -> _Windows:
    code = pd.Series(np.arange(len(school_ids)), index=list(school_ids))
    borders = {(procedure, year): own for procedure, year, own in by_test(scale)}
    pieces, lines, refused = [], [], []
    for procedure, year, own in by_test(table):
        marks = borders[(procedure, year)]
        counts = np.zeros((len(school_ids), int(marks["max_score"].iloc[0]) + 1), dtype=np.int64)
        np.add.at(
            counts,
            (code[own["school_id"]].to_numpy(), own["score"].to_numpy()),
            own["n_pupils"].to_numpy(),
        )
        windows = score_windows(marks, window=window)
        shares, reason = _shares(counts, windows, fold, reference)
        if reason is not None:
            refused.append(f"{procedure}/{year}")
        used = dict(zip([w.mark for w in windows], windows, strict=True)) if not reason else {}
        for mark, border in zip(marks["mark"].tolist(), marks["border_score"], strict=True):
            line = {"procedure": procedure, "year": year, "mark": mark, "border_score": int(border)}
            if mark not in used:
                why = reason or text("integrity.no_room")
                lines.append({**line, "window_width": 0, "n_windows": 0, "reason": why})
                continue
            place = windows.index(used[mark])
            piece = _window_rows(counts, used[mark], shares[place]).assign(**line)
            pieces.append(piece[piece["n_windows"] > 0])
            lines.append(
                {
                    **line,
                    "window_width": used[mark].width,
                    "n_windows": int(piece["n_windows"].sum()),
                    "n_above": int(piece["n_above"].sum()),
                    "reason": Bilingual("", ""),
                }
            )
    if not pieces:
        raise DataError(text("integrity.no_windows", places=shorten(refused or ["—"])))
    columns = ["school", "procedure", "year", "mark", "border_score"]
    columns += ["n_windows", "n_above", "expected_share"]
    return _Windows(
        rows=pd.concat(pieces, ignore_index=True)[columns],
        borders=_border_table(lines),
        notes=_notes(lines, window, refused),
    )


def _shares(
    counts: np.ndarray, windows: list[Window], fold: np.ndarray, reference: str
) -> tuple[list[np.ndarray], Bilingual | None]:
    """Return the expected share of each school at each window, or why there is none."""
    if not windows:
        return [], None
    if reference == "smooth":
        try:
            smooth = smooth_shares(
                counts.sum(axis=0), [(w.first, w.border, w.last) for w in windows]
            )
        except DataError as error:
            message = error.message
            return [], message if isinstance(message, Bilingual) else text("integrity.no_room")
        return [np.full(len(counts), q) for q in smooth], None
    scores = np.arange(counts.shape[1])
    shares = []
    for one in windows:
        inside = counts[:, one.first : one.last + 1]
        outside = counts.copy()
        outside[:, one.first : one.last + 1] = 0
        n_outside = outside.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(n_outside > 0, outside @ scores / n_outside, np.nan)
        if inside.sum() == 0:
            shares.append(np.full(len(counts), 0.5))  # nobody to be compared
            continue
        above = counts[:, one.border : one.last + 1].sum(axis=1)
        # Schools without this test take no part in the scale of the means.
        sat = counts.sum(axis=1) > 0
        share = np.full(len(counts), 0.5)
        share[sat] = cross_fitted_shares(above[sat], inside.sum(axis=1)[sat], mean[sat], fold[sat])
        shares.append(share)
    return shares, None


def _window_rows(counts: np.ndarray, one: Window, share: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "school": np.arange(len(counts)),
            "n_windows": counts[:, one.first : one.last + 1].sum(axis=1),
            "n_above": counts[:, one.border : one.last + 1].sum(axis=1),
            "expected_share": share,
        }
    )


def _border_table(lines: list[dict[str, object]]) -> pd.DataFrame:
    reasons = pd.Series([line["reason"] for line in lines], dtype=object)
    return pd.DataFrame(
        {
            **{
                name: [line[name] for line in lines]
                for name in ("procedure", "year", "mark", "border_score", "window_width")
            },
            "n_windows": [line["n_windows"] for line in lines],
            "n_above": [line.get("n_above", 0) for line in lines],
            "reason": reasons,
        }
    )


def _notes(
    lines: list[dict[str, object]], window: int, refused: list[str]
) -> tuple[Bilingual, ...]:
    narrow = sorted(
        {
            f"{line['procedure']} ({line['mark']})"
            for line in lines
            if 0 < int(str(line["window_width"])) < window
        }
    )
    notes = []
    if narrow:
        notes.append(text("integrity.narrowed", places=shorten(narrow, 12)))
    if refused:
        notes.append(text("integrity.smooth_refused", places=shorten(refused, 12)))
    return tuple(notes)


def _judge(
    school_ids: Sequence[str],
    pooled: PooledWindows,
    n_results: np.ndarray,
    rho: float,
    level: float,
) -> pd.DataFrame:
    p, mid, adjusted = unusual_pooled(pooled, rho, fewest=FEWEST_PUPILS)
    n, a, q = pooled.total, pooled.above, pooled.share
    moved, low, high = moved_share(n, a, q, correlation=rho)
    power = {
        f"power_moved_{round(100 * mu)}": power_of_windows(
            n, q, mu, correlation=rho, level=POWER_LEVEL
        )
        for mu in (0.4, 0.6, 0.8)
    }
    # A school without pupils near a border would need as many as a typical one.
    typical = float(np.sum(a) / np.sum(n)) if n.sum() else 0.5
    needed = windows_needed(
        np.where(np.isfinite(q), q, typical),
        NEEDED_MOVED,
        power=NEEDED_POWER,
        correlation=rho,
        level=POWER_LEVEL,
    )
    density = n.sum() / max(n_results.sum(), 1)
    own = np.where(n >= FEWEST_PUPILS, n / np.maximum(n_results, 1), density)
    enough = n >= FEWEST_PUPILS
    listed = enough & (np.nan_to_num(adjusted, nan=1.0) <= level)
    verdict = np.where(listed, "yes", np.where(enough, "no", "insufficient_data"))
    pupils = np.ceil(needed / np.maximum(own, 1e-9))
    return pd.DataFrame(
        {
            "school_id": list(school_ids),
            "verdict": verdict.astype(str),
            "n_results": n_results,
            "n_windows": n,
            "n_above": a,
            "expected_share": q,
            "expected_above": n * np.nan_to_num(q),
            "binomial_p_value": np.where(n > 0, pooled.p_value, np.nan),
            "integrity_p_value": p,
            "integrity_mid_p": mid,
            "integrity_q_value": adjusted,
            "moved_share": moved,
            "moved_share_low": low,
            "moved_share_high": high,
            **power,
            "windows_needed": needed,
            "results_needed": pupils,
            "reason": _reasons(verdict, pooled, power["power_moved_60"], pupils),
        }
    )


def _reasons(
    verdict: np.ndarray, pooled: PooledWindows, power: np.ndarray, needed: np.ndarray
) -> pd.Series:
    shown = []
    for at, answer in enumerate(verdict):
        n, a = int(pooled.total[at]), int(pooled.above[at])
        if answer == "insufficient_data":
            endless = not np.isfinite(needed[at])
            key = "integrity.adjacent_endless" if endless else "integrity.adjacent_few"
            values = {} if endless else {"needed": f"{needed[at]:.0f}"}
            shown.append(text(key, n=n, fewest=FEWEST_PUPILS, **values))
            continue
        shown.append(
            text(
                f"integrity.adjacent_{answer}",
                above=a,
                total=n,
                expected=f"{n * pooled.share[at]:.0f}",
                power=f"{100 * power[at]:.0f}",
            )
        )
    return pd.Series(shown, dtype=object)
