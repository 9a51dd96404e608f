"""What "no change" means for the scores of a region: how lasting they are, with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.lists.list_null_band import ListDraws, draw_next_list
from resilience.stats.lists.list_null_panel import PanelPersistence, fit_persistence
from resilience.stats.regression_to_mean import Selection
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
)

__all__ = ["Basis", "ScorePanel", "assumed_bases", "score_panel", "the_basis"]

Floats = NDArray[np.float64]

ASSUMED = (0.35, 0.50, 0.75)  # one small procedure, some years' results, ten pooled procedures
N_BOOTSTRAP = 100
FEWEST_SCHOOLS = 40
FEWEST_PAIRS = 10
_STANDARD = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class ScorePanel:
    """Scores of all schools by year, in SD of schools around each year's mean.

    Attributes
    ----------
    school_ids : ndarray of str
        Rows.
    years : ndarray of int
        Columns, without gaps.
    scores, selecting : ndarray of shape (n_schools, n_years)
        The followed score and the one the list was drawn on; NaN where missing.
    sampling : ndarray or None
        Sampling variances in the same unit, squared.
    two_scores : bool
        Whether the two scores differ.
    """

    school_ids: NDArray[np.object_]
    years: NDArray[np.int64]
    scores: Floats
    selecting: Floats
    sampling: Floats | None
    two_scores: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """The law of next year's scores under no change.

    Attributes
    ----------
    panel : ScorePanel
        The scores.
    fits : tuple of PanelPersistence
        Of the score the list is drawn on; bootstrap draws take turns.
    followed : tuple of (float, float, float)
        Where the followed score is another one: its regression on itself and on the selecting score
        a year before, and the SD of the rest.
    correlation, correlation_low, correlation_high : float
        r and its 95 % interval.
    selection : Selection or None
        Correlations of the selecting with the followed score.
    name : str
        ``own``, ``given`` or ``assumed``.
    """

    panel: ScorePanel
    fits: tuple[PanelPersistence, ...]
    correlation: float
    correlation_low: float
    correlation_high: float
    name: str
    selection: Selection | None = None
    followed: tuple[tuple[float, float, float], ...] = ()

    def draw(
        self,
        k: int,
        *,
        known: NDArray[np.bool_],
        listed: NDArray[np.bool_],
        n_next: int,
        points: float,
        n_draws: int,
        random_state: int,
    ) -> ListDraws:
        """Draw what happens to the list of year ``k``, given this year's scores."""
        selecting = self.panel.selecting[known, k]
        selecting = selecting - selecting.mean()
        sampling: tuple[Floats, Floats] = (np.zeros(1), np.zeros(1))
        if self.panel.sampling is not None and self.name == "own" and not self.followed:
            own = self.panel.sampling[known]
            sampling = (own[:, k], own[:, k + 1])
        rng = np.random.default_rng(random_state)
        draws = draw_next_list(
            selecting,
            listed,
            self.fits,
            sampling=sampling,
            n_next=n_next,
            points=points,
            n_draws=n_draws,
            random_state=rng,
        )
        if not self.followed:
            return draws
        first = self.panel.scores[known, k]
        first = (first - first.mean())[listed]
        betas = np.resize(np.array(self.followed), (n_draws, 3))
        expected = betas[:, :1] * first + betas[:, 1:2] * selecting[listed]
        gain = expected + betas[:, 2:] * rng.normal(size=expected.shape) - first
        return ListDraws(
            n_listed=draws.n_listed,
            n_left=draws.n_left,
            n_positive=(gain > points).sum(axis=1).astype(float),
            gain=gain.mean(axis=1),
        )


def score_panel(scores: pd.DataFrame, assignment: str | None) -> ScorePanel:
    """Return the scores as a panel of schools by years.

    Raises
    ------
    DataError
        If a column is missing, not numeric, or a key repeats.

    Warns
    -----
    WeakDataWarning
        Fewer than 40 schools, or scores standardised over schools in every year.
    """
    names = ["score", *([assignment] if assignment else [])]
    check_columns(scores, ["school_id", "year", *names], table="scores")
    check_not_empty(scores, table="scores")
    check_numeric(scores, names, table="scores")
    check_finite(scores, ["school_id", "year"], table="scores")
    check_unique(scores, ["school_id", "year"], table="scores")
    own = scores.assign(
        school_id=scores["school_id"].astype(str), year=scores["year"].astype("int64")
    )
    years = np.arange(own["year"].min(), own["year"].max() + 1)
    wide = _wide(own, "score", years)
    raw = wide.to_numpy(dtype=float)
    if len(raw) < FEWEST_SCHOOLS:
        warn_weak_data(text("history.few_schools", n=len(raw), least=FEWEST_SCHOOLS))
    y, unit = _deviations(raw)
    full = np.isfinite(raw).any(axis=0)
    means, sds = np.nanmean(raw[:, full], axis=0), np.nanstd(raw[:, full], axis=0)
    if full.sum() > 1 and (np.abs(means) < _STANDARD).all() and (abs(sds - 1) < _STANDARD).all():
        warn_weak_data(text("history.standardised"))
    sampling = None
    if "sampling_variance" in own.columns:
        check_numeric(own, ["sampling_variance"], table="scores")
        sampling = _wide(own, "sampling_variance", years).to_numpy(dtype=float) / unit**2
    selecting = y
    if assignment:
        selecting = _deviations(_wide(own, assignment, years).to_numpy(dtype=float))[0]
    return ScorePanel(
        school_ids=wide.index.to_numpy(dtype=object),
        years=years,
        scores=y,
        selecting=selecting,
        sampling=sampling,
        two_scores=bool(assignment),
    )


def _wide(frame: pd.DataFrame, column: str, years: NDArray[np.int64]) -> pd.DataFrame:
    wide = frame.pivot_table(index="school_id", columns="year", values=column)
    # pivot_table leaves out schools without any value: every table keeps all of them
    return wide.reindex(index=sorted(frame["school_id"].unique()), columns=years)


def _deviations(raw: Floats) -> tuple[Floats, float]:
    """Return deviations from each year's mean in pooled SD, and that SD."""
    seen = np.isfinite(raw)
    size = seen.sum(axis=0)
    mean = np.where(size > 0, np.nansum(np.where(seen, raw, 0.0), axis=0) / np.maximum(size, 1), 0)
    centred = raw - mean
    unit = float(np.sqrt(np.nanmean(centred**2)))
    if not unit > 0:
        raise DataError(text("history.no_spread"))
    return centred / unit, unit


def the_basis(
    panel: ScorePanel, r: float | None, programme_years: tuple[int, ...], random_state: int
) -> Basis | None:
    """Return the region's own law, that of a given r, or None if nothing allows one.

    Raises
    ------
    SpecificationError
        If r lies outside [0, 1).
    DataError
        If the correlation of two years is not above 0.
    """
    if r is not None:
        if not 0 <= r < 1:
            raise SpecificationError(text("list_null.persistence", value=r))
        return _fixed(panel, r, "given")
    usable = ~np.isin(panel.years, programme_years)
    if _n_pairs(panel.selecting, usable) < FEWEST_PAIRS:
        return None
    rng = np.random.default_rng(random_state)
    weights = rng.multinomial(
        len(panel.scores), np.full(len(panel.scores), 1 / len(panel.scores)), size=N_BOOTSTRAP
    )
    everyone = np.ones(len(panel.scores))
    if panel.two_scores:
        return _of_two_scores(panel, usable, [everyone, *weights])
    if panel.sampling is not None:
        return _of_sampling(panel, usable, weights)
    values = [_lag(panel.scores, panel.scores, usable, w) for w in (everyone, *weights)]
    return _own(panel, values, tuple(_homogeneous(v) for v in values[1:]))


def assumed_bases(panel: ScorePanel) -> list[Basis]:
    """Return laws of assumed persistence, where the region's own cannot be known."""
    return [_fixed(panel, r, "assumed") for r in ASSUMED]


def _fixed(panel: ScorePanel, r: float, name: str) -> Basis:
    return Basis(
        panel=panel,
        fits=(_homogeneous(r),),
        correlation=r,
        correlation_low=r,
        correlation_high=r,
        name=name,
    )


def _homogeneous(r: float) -> PanelPersistence:
    """Return the law in which every school's years correlate r."""
    lasting = float(np.clip(r, 0.0, 0.999))
    return PanelPersistence(
        lasting=lasting,
        passing=1.0 - lasting,
        stability=1.0,
        means=np.zeros(1),
        log_likelihood=np.nan,
        n_schools=0,
        n_years=2,
    )


def _n_pairs(y: Floats, usable: NDArray[np.bool_]) -> int:
    both = usable[:-1] & usable[1:]
    return int((np.isfinite(y[:, :-1]) & np.isfinite(y[:, 1:]))[:, both].sum())


def _lag(
    x: Floats, y: Floats, usable: NDArray[np.bool_], weights: Floats, *, gap: int = 1
) -> float:
    """Return the correlation of x with y a year later (or in the same year), pooled over years."""
    if gap:
        columns = usable[:-1] & usable[1:]
        a, b = x[:, :-1][:, columns], y[:, 1:][:, columns]
    else:
        a, b = x[:, usable], y[:, usable]
    both = np.isfinite(a) & np.isfinite(b)
    w = np.where(both, weights[:, None], 0.0)
    a, b = np.where(both, a, 0.0), np.where(both, b, 0.0)
    return float((w * a * b).sum() / np.sqrt((w * a**2).sum() * (w * b**2).sum()))


def _own(
    panel: ScorePanel,
    values: list[float],
    fits: tuple[PanelPersistence, ...],
    selection: Selection | None = None,
    followed: tuple[tuple[float, float, float], ...] = (),
) -> Basis:
    if not values[0] > 0:
        raise DataError(text("history.no_persistence", value=f"{values[0]:.3f}"))
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Basis(
        panel=panel,
        fits=fits,
        correlation=values[0],
        correlation_low=float(low),
        correlation_high=float(high),
        name="own",
        selection=selection,
        followed=followed,
    )


def _of_sampling(panel: ScorePanel, usable: NDArray[np.bool_], weights: NDArray[np.int64]) -> Basis:
    """Return the law in which small schools change more, from their sampling variances."""
    y = np.where(usable, panel.scores, np.nan)
    assert panel.sampling is not None
    first, last = np.flatnonzero(usable)[[0, -1]]
    y, sampling = y[:, first : last + 1], panel.sampling[:, first : last + 1]
    if not np.isfinite(sampling[np.isfinite(y)]).all():
        raise DataError(text("history.sampling_missing"))
    whole = fit_persistence(y, sampling)
    fits = tuple(fit_persistence(y, sampling, weights=w, start=whole) for w in weights)
    mean = np.where(np.isfinite(y), sampling, np.nan)
    return _own(panel, [f.correlation(mean) for f in (whole, *fits)], fits)


def _of_two_scores(
    panel: ScorePanel, usable: NDArray[np.bool_], weights: list[NDArray[np.float64]]
) -> Basis:
    """Return the law for a list drawn on another score than the one followed."""
    S, y = panel.selecting, panel.scores
    found = [
        (
            _lag(S, S, usable, w),
            _lag(y, y, usable, w),
            _lag(S, y, usable, w, gap=0),
            _lag(S, y, usable, w),
        )
        for w in weights
    ]
    followed = []
    for _, r, a, b in found[1:]:
        # regression of y₂ on y₁ and S₁, all of variance 1
        own, other = (r - a * b) / (1 - a * a), (b - a * r) / (1 - a * a)
        followed.append((own, other, float(np.sqrt(max(1 - own * r - other * b, 0.0)))))
    _, r, a, b = found[0]
    return _own(
        panel,
        [one[1] for one in found],
        tuple(_homogeneous(one[0]) for one in found[1:]),
        selection=Selection(with_first=a, with_second=b),
        followed=tuple(followed),
    )
