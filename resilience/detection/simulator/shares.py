"""The schools' true failing shares: given, or drawn from what their counts say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.detection.simulator.layout import Layout
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.proportions import BetaPrior, fit_beta_prior
from resilience.validation import check_columns, check_numeric, check_unique, shorten

__all__ = ["Shares", "TrueShares", "true_shares"]

Floats = NDArray[np.float64]
Shares = float | Mapping[str, float] | pd.Series | pd.DataFrame | None


@dataclass(frozen=True, kw_only=True, eq=False)
class TrueShares:
    """How true shares come about.

    Attributes
    ----------
    alpha, beta : ndarray of shape (n_schools,) or None
        Beta posterior of each school's share, drawn anew in every replicate.
    fixed : ndarray of shape (n_schools,) or None
        Shares as given.
    by_procedure : ndarray of shape (n_schools, n_procedures) or None
        Shares as given for each procedure; ``fixed`` is then their mean.
    offset : ndarray of shape (n_procedures,)
        How much harder a procedure is than the average one, on the normal scale.
    prior : BetaPrior or None
        Of drawn shares.
    """

    alpha: Floats | None
    beta: Floats | None
    fixed: Floats | None
    by_procedure: Floats | None
    offset: Floats
    prior: BetaPrior | None

    def draw(self, rng: np.random.Generator, n_replicates: int) -> Floats:
        """Return shares of shape (n_replicates, n_schools)."""
        if self.fixed is not None:
            return np.broadcast_to(self.fixed, (n_replicates, len(self.fixed)))
        assert self.alpha is not None
        assert self.beta is not None
        return rng.beta(self.alpha, self.beta, size=(n_replicates, len(self.alpha)))


def true_shares(shares: Shares, layout: Layout) -> TrueShares:
    """Return how the true shares of a simulation come about.

    Raises
    ------
    DataError
        If a school with participants has no share, or a share lies outside (0, 1).
    SpecificationError
        If the shares are neither numbers by school nor a table.
    """
    none = np.zeros(len(layout.procedures))
    if shares is None:
        f, n = layout.observed
        prior = fit_beta_prior(f, n)
        weight = layout.n[:, :, layout.last].sum(axis=0) + 1e-9
        level = special.ndtri(layout.rates)
        return TrueShares(
            alpha=prior.alpha + f,
            beta=prior.beta + n - f,
            fixed=None,
            by_procedure=None,
            offset=level - np.average(level, weights=weight),
            prior=prior,
        )
    if isinstance(shares, pd.DataFrame):
        check_columns(shares, ["school_id", "true_share"], table="shares")
        check_numeric(shares, ["true_share"], table="shares")
        if "procedure" in shares.columns:
            return _by_procedure(shares, layout)
        check_unique(shares, ["school_id"], table="shares")
        given = dict(
            zip(shares["school_id"].astype(str), shares["true_share"].astype(float), strict=True)
        )
    elif isinstance(shares, Mapping | pd.Series):
        given = {str(k): float(v) for k, v in shares.items()}
    elif isinstance(shares, int | float) and not isinstance(shares, bool):
        given = dict.fromkeys(layout.school_ids, float(shares))
    else:
        raise SpecificationError(text("simulator.shares_kind", kind=type(shares).__name__))
    fixed = np.array([given.get(s, np.nan) for s in layout.school_ids], dtype=float)
    fixed = _checked(fixed, np.asarray((layout.n > 0).any(axis=(1, 2))), layout)
    return TrueShares(
        alpha=None, beta=None, fixed=fixed, by_procedure=None, offset=none, prior=None
    )


def _by_procedure(shares: pd.DataFrame, layout: Layout) -> TrueShares:
    key = ["school_id", "procedure"]
    check_unique(shares, key, table="shares")
    named = {c: shares[c].astype(str).to_numpy(dtype=object) for c in key}
    wide = (
        shares.assign(**named)
        .pivot_table(index="school_id", columns="procedure", values="true_share")
        .reindex(index=layout.school_ids, columns=list(layout.procedures))
        .to_numpy(dtype=float)
    )
    sat = np.asarray((layout.n > 0).any(axis=2))
    rates = _checked(wide, sat, layout)
    n = layout.n[:, :, layout.last].astype(float)
    weight = np.where(n.sum(axis=1, keepdims=True) > 0, n, 1.0)
    return TrueShares(
        alpha=None,
        beta=None,
        fixed=(rates * weight).sum(axis=1) / weight.sum(axis=1),
        by_procedure=rates,
        offset=np.zeros(len(layout.procedures)),
        prior=None,
    )


def _checked(values: Floats, needed: NDArray[np.bool_], layout: Layout) -> Floats:
    """Return the shares with the mean where nobody sat, after the checks."""
    missing = needed & np.isnan(values)
    if missing.any():
        schools = layout.school_ids[missing if missing.ndim == 1 else missing.any(axis=1)]
        raise DataError(text("simulator.shares_missing", n=len(schools), schools=shorten(schools)))
    with np.errstate(invalid="ignore"):
        bad = ~np.isnan(values) & ~((values > 0) & (values < 1))
    if bad.any():
        place = np.argwhere(bad)[0]
        raise DataError(
            text(
                "simulator.shares_range",
                school=layout.school_ids[place[0]],
                value=values[tuple(place)],
            )
        )
    return np.where(np.isnan(values), np.nanmean(values), values)
