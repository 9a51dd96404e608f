"""Predictions of past years from what was known then, beside naive ones, and their scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.detection.history.next_year import CountCube, FederalForm, predict
from resilience.detection.rules.criteria import Criteria
from resilience.detection.verdicts.detect import detect_schools
from resilience.errors import WeakDataWarning
from resilience.i18n import Bilingual, text
from resilience.stats.lists.calibration import (
    brier_score,
    calibration_line,
    logistic_line,
    top_flags,
)
from resilience.stats.proportions import fit_beta_prior

__all__ = ["METHODS", "Backtest", "challenger", "rolling_origin", "score_table", "yearly_verdicts"]

Floats = NDArray[np.float64]

METHODS = ("model", "challenger", "last_share", "same_list", "base_rate")
BANDS = ((1, 10), (11, 30), (31, 80), (81, None))
LEAST_YEARS, LEAST_EVENTS = 3, 30
_RIDGE = 0.5  # on the slope of the standardised last share: a line that separates stays finite


@dataclass(frozen=True, kw_only=True, eq=False)
class Backtest:
    """What was predicted for past years, and what came.

    Attributes
    ----------
    table : DataFrame
        ``school_id origin_year method probability outcome size_band is_rural flagged``.
    notes : tuple of Bilingual
        What was refused.
    """

    table: pd.DataFrame
    notes: tuple[Bilingual, ...]


def yearly_verdicts(counts: pd.DataFrame, rule: Criteria, cube: CountCube) -> Floats:
    """Return the rule's verdict of every year: 1 yes, 0 no, NaN unknown; (n_schools, n_years)."""
    found = np.full((len(cube.school_ids), len(cube.years)), np.nan)
    own = counts[counts["procedure"].isin(cube.procedures)]
    for t, year in enumerate(cube.years):
        known = own[own["year"] <= year]
        if not (known["year"] == year).any():
            continue
        with warnings.catch_warnings():
            # weak data were told of when the prediction itself was made
            warnings.simplefilter("ignore", WeakDataWarning)
            table = detect_schools(None, None, rule.amend(year=year), counts=known).schools
        verdict = table.set_index("school_id")["verdict"].reindex(list(cube.school_ids))
        found[:, t] = verdict.map({"yes": 1.0, "no": 0.0}).to_numpy(dtype=float)
    return found


def rolling_origin(
    cube: CountCube,
    form: FederalForm,
    listed: Floats,
    *,
    rural: NDArray[np.object_],
    context: Floats | None,
    n_draws: int,
    random_state: int,
) -> Backtest:
    """Predict every year that has two years before it, from those years alone."""
    pieces, notes = [], []
    for t in range(1, len(cube.years) - 1):
        past = cube.until(cube.years[t])
        if (past.n.sum(axis=(0, 1)) > 0).sum() < 2:
            continue
        model = predict(past, form, shares=None, n_draws=n_draws, random_state=random_state)
        told: dict[str, Floats | None] = {"model": model.probability}
        told |= _naive(past, listed[:, : t + 1])
        rival, refused = challenger(past, listed[:, : t + 1], context)
        told["challenger"] = rival
        if refused is not None and refused not in notes:
            notes.append(refused)
        outcome = listed[:, t + 1]
        seen = np.isfinite(outcome) & (past.n[:, :, -1].sum(axis=1) > 0)
        seen &= np.isfinite(listed[:, t])
        size = int(listed[seen, t].sum())
        band = size_bands(past)
        for name in METHODS:
            p = told[name]
            if p is None or not seen.any():
                continue
            pieces.append(
                pd.DataFrame(
                    {
                        "school_id": np.array(cube.school_ids, dtype=object)[seen],
                        "origin_year": cube.years[t],
                        "method": name,
                        "probability": p[seen],
                        "outcome": outcome[seen] == 1,
                        "size_band": band[seen],
                        "is_rural": rural[seen],
                        "flag_weight": top_flags(p[seen], size),
                    }
                )
            )
    names = ["school_id", "origin_year", "method", "probability", "outcome", "size_band"]
    empty = pd.DataFrame({n: [] for n in [*names, "is_rural", "flag_weight"]})
    if not pieces:
        notes.append(text("history.no_backtest"))
    return Backtest(
        table=pd.concat(pieces, ignore_index=True) if pieces else empty, notes=tuple(notes)
    )


def _pooled_share(cube: CountCube, t: int) -> Floats:
    f, n = cube.failing[:, :, t].sum(axis=1), cube.n[:, :, t].sum(axis=1)
    return np.asarray((f + 0.5) / (n + 1.0))


def _training(
    cube: CountCube, listed: Floats, features: Callable[[int], Floats]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return features of every past year with the outcome of the year after it."""
    X, y = [], []
    for s in range(listed.shape[1] - 1):
        known = np.isfinite(listed[:, s + 1]) & (cube.n[:, :, s].sum(axis=1) > 0)
        X.append(features(s)[known])
        y.append(listed[known, s + 1] == 1)
    return np.concatenate(X), np.concatenate(y)


def _naive(cube: CountCube, listed: Floats) -> dict[str, Floats | None]:
    """Return the naive predictions: same list, last share, base rate."""
    last = listed.shape[1] - 1
    X, y = _training(cube, listed, lambda s: special.logit(_pooled_share(cube, s))[:, None])
    # of the first year a rule on two years has half an answer: none but its yes, or none but its no
    rate = float(y.mean()) if len(y) else np.nan
    line = None
    if len(y) and y.any() and not y.all():
        mean, sd = X.mean(), X.std() or 1.0
        beta, _ = logistic_line((X[:, 0] - mean) / sd, y, ridge=_RIDGE)
        now = (special.logit(_pooled_share(cube, last)) - mean) / sd
        line = special.expit(beta[0] + beta[1] * now)
    return {
        "same_list": listed[:, last],
        "last_share": line,
        "base_rate": np.full(len(listed), rate),
    }


def challenger(
    cube: CountCube, listed: Floats, context: Floats | None
) -> tuple[Floats | None, Bilingual | None]:
    """Return the logistic regression's probabilities, or why there are none.

    Features, standardised: pooled share of the year (logit), posterior mean over the years known,
    change of the share, number of participants (log), and the context where it is given.
    """

    def features(s: int) -> Floats:
        f, n = cube.failing[:, :, : s + 1].sum(axis=(1, 2)), cube.n[:, :, : s + 1].sum(axis=(1, 2))
        prior = fit_beta_prior(f, n)
        share = special.logit(_pooled_share(cube, s))
        trend = share - special.logit(_pooled_share(cube, s - 1)) if s else np.zeros(len(share))
        columns = [
            share,
            special.logit((prior.alpha + f) / (prior.alpha + prior.beta + n)),
            trend,
            np.log1p(cube.n[:, :, s].sum(axis=1)),
        ]
        return np.column_stack(columns if context is None else [*columns, context])

    n_years = int(np.isfinite(listed).any(axis=0).sum())
    X, y = _training(cube, listed, features)
    n_events = int(np.sum(y))
    if n_years < LEAST_YEARS or n_events < LEAST_EVENTS or n_events == len(y):
        return None, text(
            "history.challenger_refused",
            n_years=n_years,
            n_events=n_events,
            least_years=LEAST_YEARS,
            least_events=LEAST_EVENTS,
        )
    from sklearn.linear_model import LogisticRegression

    mean, sd = X.mean(axis=0), np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    model = LogisticRegression(C=1.0).fit((X - mean) / sd, y)
    now = (features(listed.shape[1] - 1) - mean) / sd
    return np.asarray(model.predict_proba(now)[:, 1], dtype=float), None


def size_bands(cube: CountCube) -> NDArray[np.object_]:
    """Return the band of each school by its mean number of participants in a procedure."""
    now = cube.n[:, :, -1]
    sat = (now > 0).sum(axis=1)
    mean = np.rint(now.sum(axis=1) / np.maximum(sat, 1)).astype(np.int64)
    bands = np.full(len(now), "0", dtype=object)
    for low, high in BANDS:
        inside = (mean >= low) & (mean <= (high or np.inf)) & (sat > 0)
        bands[inside] = f"{low}-{high}" if high else f">{low - 1}"
    return bands


def score_table(backtest: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of every method: all schools, by size band, by rurality.

    Flagged are the most probable schools, as many in each year as were listed at its origin.
    """
    names = ["method", "part", "n_predictions", "n_events", "brier", "calibration_intercept"]
    names += ["prediction_slope", "prediction_slope_error", "n_warned", "flag_ppv", "recall"]
    rows = []
    for part, inside in _parts(backtest):
        for method in METHODS:
            own = backtest[inside & (backtest["method"] == method)]
            if own.empty:
                continue
            p = own["probability"].to_numpy(dtype=float)
            y = own["outcome"].to_numpy(dtype=bool)
            w = own["flag_weight"].to_numpy(dtype=float)
            line = calibration_line(p, y)
            rows.append(
                {
                    "method": text(f"history.method_{method}"),
                    "part": part,
                    "n_predictions": len(own),
                    "n_events": int(y.sum()),
                    "brier": brier_score(p, y),
                    "calibration_intercept": line.intercept,
                    "prediction_slope": line.slope,
                    "prediction_slope_error": line.slope_error,
                    "n_warned": float(w.sum()),
                    "flag_ppv": float((w * y).sum() / w.sum()) if w.sum() else np.nan,
                    "recall": float((w * y).sum() / y.sum()) if y.any() else np.nan,
                }
            )
    table = pd.DataFrame(rows, columns=names)
    for name in ("method", "part"):
        table[name] = pd.Series([row[name] for row in rows], dtype=object)
    return table


def _parts(backtest: pd.DataFrame) -> list[tuple[Bilingual, pd.Series]]:
    everyone = pd.Series(True, index=backtest.index)
    parts = [(text("history.part_all"), everyone)]
    for low, high in BANDS:
        name = f"{low}-{high}" if high else f">{low - 1}"
        words = (
            text("history.part_size", low=low, high=high)
            if high
            else text("history.part_size_above", low=low - 1)
        )
        parts.append((words, backtest["size_band"] == name))
    for key, value in (("rural", True), ("urban", False)):
        parts.append((text(f"history.part_{key}"), backtest["is_rural"].isin([value])))
    return [(name, inside) for name, inside in parts if inside.any() or inside is everyone]
