"""How ranks and the gate of an index depend on its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata, spearmanr

from resilience.columns import label
from resilience.context.gaps import completed, coverage, gap_patterns
from resilience.context.schemes import first_component
from resilience.context.sensitivity_results import (
    IndexSensitivityResults,
    WeightedIndex,
)
from resilience.context.standardise import SMALLEST_SD
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import check_fraction, shorten

__all__ = ["sensitivity_of"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# Draws are ranked in portions, so that a national table fits into memory.
PORTION = 100
RANGE = (0.025, 0.975)
ROUNDING = 1e-9
FEWEST_SCHOOLS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class _Year:
    """One year's rows and the weights that scored them.

    ``which`` says of each row which row of ``weights`` scored it.
    """

    school_id: list[object]
    published: Floats
    rows: npt.NDArray[np.int64]
    which: npt.NDArray[np.int64]
    weights: Floats


def sensitivity_of(
    index: WeightedIndex,
    *,
    n_draws: int,
    spread: float,
    quantile: float,
    random_state: int,
    year: int | None,
    others: Mapping[str, WeightedIndex],
) -> IndexSensitivityResults:
    """Return the sensitivity of an index; see `ContextIndexResults.sensitivity`."""
    for name, value, least in (("n_draws", n_draws, 1), ("random_state", random_state, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise SpecificationError(
                text("context.whole", argument=name, value=repr(value), least=least)
            )
    check_fraction(spread, argument="spread")
    check_fraction(quantile, argument="quantile", closed=False)
    chosen = _chosen_year(index, year)
    this = _rows_of(index, chosen)
    scored, notes = _variants(index, this, chosen, others)
    compared = [(code, title, *_compare(this.published, v, quantile)) for code, title, v in scored]
    ranks = pd.concat(
        [
            pd.DataFrame(
                {
                    "school_id": this.school_id,
                    "index_variant": code,
                    "context_rank": rankdata(values, nan_policy="omit"),
                    "other_side": pd.array(side, dtype="boolean"),
                }
            )
            for (code, _, values), (_, _, _, side) in zip(scored, compared, strict=True)
        ],
        ignore_index=True,
    )
    schools, noise = _noise(index, this, n_draws, spread, quantile, random_state)
    schools.insert(1, "year", chosen)
    other = ranks.groupby("school_id", sort=False)["other_side"].sum()
    schools["n_variants_other_side"] = schools["school_id"].map(other).astype("int64")
    rows = [{"index_variant": c, "index_variant_title": t, **r} for c, t, r, _ in compared]
    title = text("context.variant_noise", spread=f"{100 * spread:g}", n=n_draws)
    rows.append({"index_variant": "noise", "index_variant_title": title, **noise})
    variants = pd.DataFrame(rows)
    variants["index_variant_title"] = pd.Series(
        [r["index_variant_title"] for r in rows], dtype=object
    )
    return IndexSensitivityResults(
        schools=schools,
        variants=variants,
        ranks=ranks,
        year=chosen,
        n_draws=int(n_draws),
        spread=float(spread),
        quantile=float(quantile),
        notes=tuple(notes),
    )


def _chosen_year(index: WeightedIndex, year: int | None) -> int:
    known = index.scores.loc[index.scores["context_index"].notna(), "year"]
    years = sorted({int(y) for y in known})
    if not years:
        raise DataError(text("context.no_scored_year"))
    chosen = years[-1] if year is None else year
    if chosen not in years:
        raise SpecificationError(
            text("context.sensitivity_year", value=repr(chosen), years=shorten(years, 12))
        )
    n = int((known == chosen).sum())
    if n < FEWEST_SCHOOLS:
        raise DataError(text("context.sensitivity_schools", year=chosen, n=n, least=FEWEST_SCHOOLS))
    return int(chosen)


def _rows_of(index: WeightedIndex, year: int) -> _Year:
    """Return the rows with an index in the year, with the weights each was scored with."""
    scores = index.scores
    here = ((scores["year"] == year) & scores["context_index"].notna()).to_numpy(dtype=bool)
    names = scores.loc[here, "weight_set"].astype(str).tolist()
    used = list(dict.fromkeys(names))
    long = index.weight_sets.assign(weight_set=index.weight_sets["weight_set"].astype(str))
    weights = [long.loc[long["weight_set"] == name, "estimate"].to_numpy(float) for name in used]
    return _Year(
        school_id=scores.loc[here, "school_id"].tolist(),
        published=scores.loc[here, "context_index"].to_numpy(dtype=float),
        rows=np.flatnonzero(here),
        which=np.array([used.index(name) for name in names], dtype=np.int64),
        weights=np.vstack(weights),
    )


def _variants(
    index: WeightedIndex,
    this: _Year,
    year: int,
    others: Mapping[str, WeightedIndex],
) -> tuple[list[tuple[str, Bilingual, Floats]], list[Bilingual]]:
    """Return code, title and values of every other set of weights, and what was left out."""
    names = [str(t) for t in index.items["term"]]
    signs = index.items["direction"].to_numpy(dtype=int)
    k = len(names)
    everything = np.ones(k, dtype=bool)
    n_sets = len(this.weights)
    plans = [
        ("equal", text("context.kind_equal"), everything, np.full((n_sets, k), 1 / k)),
        (
            "pca",
            text("context.kind_pca"),
            everything,
            np.tile(first_component(index.correlation, names, signs), (n_sets, 1)),
        ),
    ]
    for item in range(k if k > 1 else 0):
        keep = everything.copy()
        keep[item] = False
        title = text(
            "context.variant_drop",
            item=Bilingual(label(names[item], "en"), label(names[item], "ru")),
        )
        plans.append((f"without_{names[item]}", title, keep, this.weights[:, keep]))
    found: list[tuple[str, Bilingual, Floats]] = []
    notes: list[Bilingual] = []
    for code, title, keep, weights in plans:
        values = _scored(index, this, keep, weights)
        if values is None:
            notes.append(text("context.note_variant_empty", title=title))
            continue
        found.append((code, title, values))
    for code, other in others.items():
        found.append((str(code), other.index_kind, _other_values(this, year, str(code), other)))
    return found, notes


def _other_values(this: _Year, year: int, code: str, other: WeightedIndex) -> Floats:
    table = other.scores[other.scores["year"] == year]
    values = table.set_index(table["school_id"].astype(str))["context_index"]
    chosen = values.reindex([str(s) for s in this.school_id]).to_numpy(dtype=float)
    if np.isfinite(chosen).sum() < FEWEST_SCHOOLS:
        raise DataError(
            text(
                "context.other_index", name=repr(code), year=year, n=int(np.isfinite(chosen).sum())
            )
        )
    return chosen


def _items(index: WeightedIndex, keep: Flags) -> tuple[Floats, Floats]:
    """Return the kept items with and without gaps, filled from one another alone."""
    signed = index.item_scores.signed[:, keep]
    correlation = index.correlation[np.ix_(keep, keep)]
    return signed, completed(signed, gap_patterns(signed, correlation))


def _scored(index: WeightedIndex, this: _Year, keep: Flags, weights: Floats) -> Floats | None:
    """Return the values of one variant, one scale for all sets; None where it does not vary."""
    signed, filled = _items(index, keep)
    if not np.abs(weights).sum(axis=1).all():
        return None
    values = np.full(this.rows.size, np.nan)
    for number, own in enumerate(weights):
        known = coverage(signed, own) >= index.item_scores.min_coverage - ROUNDING
        mean, joint = _base_moments(index, filled, known)
        sd = np.sqrt(max(0.0, float(own @ joint @ own)))
        if sd < SMALLEST_SD:
            return None
        mine = (this.which == number) & known[this.rows]
        values[mine] = (filled[this.rows[mine]] - mean) @ own / sd
    return values


def _base_moments(index: WeightedIndex, filled: Floats, known: Flags) -> tuple[Floats, Floats]:
    """Return means and covariance of the items over the pupils of the base year."""
    base = known & (index.scores["year"] == index.base_year).to_numpy(dtype=bool)
    if not base.any():
        return np.zeros(filled.shape[1]), np.zeros((filled.shape[1], filled.shape[1]))
    pupils = index.item_scores.n_pupils[base] / index.item_scores.n_pupils[base].sum()
    mean = pupils @ filled[base]
    centred = filled[base] - mean
    return mean, centred.T @ (pupils[:, None] * centred)


def _below(ranks: Floats, n: int, quantile: float) -> Flags:
    """Return whether the percentile (rank − ½)/n is at or below the gate; ties stand together."""
    return np.asarray(2 * ranks - 1 <= 2 * n * quantile + ROUNDING)


def _compare(
    published: Floats, values: Floats, quantile: float
) -> tuple[dict[str, object], list[bool | None]]:
    """Compare two orders over the schools that both know."""
    both = np.isfinite(values)
    n = int(both.sum())
    here, there = rankdata(published[both]), rankdata(values[both])
    changed = _below(here, n, quantile) != _below(there, n, quantile)
    side: list[bool | None] = [None] * both.size
    for row, change in zip(np.flatnonzero(both), changed, strict=True):
        side[row] = bool(change)
    return {
        "n_schools": n,
        "rank_correlation": _rank_correlation(here, there),
        "mean_abs_rank_shift": float(np.abs(there - here).mean()) if n else float("nan"),
        "n_gate_changes": float(changed.sum()),
    }, side


def _rank_correlation(here: Floats, there: Floats) -> float:
    if here.size < FEWEST_SCHOOLS or min(np.ptp(here), np.ptp(there)) == 0:
        return float("nan")
    return float(spearmanr(here, there).statistic)


def _noise(
    index: WeightedIndex,
    this: _Year,
    n_draws: int,
    spread: float,
    quantile: float,
    random_state: int,
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Draw noisy weights and return what they do to each school, and on average."""
    _, filled = _items(index, np.ones(this.weights.shape[1], dtype=bool))
    factors = 1 + np.random.default_rng(random_state).uniform(
        -spread, spread, (n_draws, this.weights.shape[1])
    )
    n = this.published.size
    here = rankdata(this.published)
    inside = _below(here, n, quantile)
    ranks = np.empty((n, n_draws), dtype=np.float32)
    for start in range(0, n_draws, PORTION):
        part = factors[start : start + PORTION]
        values = np.empty((n, len(part)))
        for number, own in enumerate(this.weights):
            known = coverage(index.item_scores.signed, own)
            mean, joint = _base_moments(
                index, filled, known >= index.item_scores.min_coverage - ROUNDING
            )
            noisy = own * part
            sd = np.sqrt(np.einsum("di,ij,dj->d", noisy, joint, noisy))
            mine = this.which == number
            values[mine] = (filled[this.rows[mine]] - mean) @ noisy.T / np.maximum(sd, SMALLEST_SD)
        ranks[:, start : start + PORTION] = rankdata(values, axis=0)
    shift = np.abs(ranks - here[:, None])
    flips = _below(ranks.astype(np.float64), n, quantile) != inside[:, None]
    low, high = np.quantile(ranks, RANGE, axis=1, method="inverted_cdf")
    table = pd.DataFrame(
        {
            "school_id": this.school_id,
            "context_index": this.published,
            "context_rank": here,
            "rank_noise_low": low.astype(np.float64),
            "rank_noise_high": high.astype(np.float64),
            "mean_abs_rank_shift": shift.mean(axis=1, dtype=np.float64),
            "gate_flip_share": flips.mean(axis=1),
            "below_gate": inside,
        }
    )
    correlations = [_rank_correlation(here, ranks[:, d].astype(float)) for d in range(n_draws)]
    return table, {
        "n_schools": n,
        "rank_correlation": float(np.mean(correlations)),
        "mean_abs_rank_shift": float(shift.mean(dtype=np.float64)),
        "n_gate_changes": float(flips.sum(axis=0).mean()),
    }
