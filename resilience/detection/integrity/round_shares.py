"""Shares of exactly 0, 50 and 100 per cent: as many as chance gives, or more."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from resilience.detection.integrity.histograms import by_test
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.integrity.adjacent_scores import pooled_null, tail_of
from resilience.stats.proportions import fit_beta_prior
from resilience.validation import (
    check_choice,
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
)

__all__ = ["round_shares"]

KEY = ["school_id", "year", "procedure"]
ROUND = (0.0, 0.5, 1.0)


def round_shares(
    counts: pd.DataFrame,
    *,
    column: str = "n_below_minimum",
    by: Literal["region", "procedure", "school_id"] = "region",
    fewest: int = 10,
) -> pd.DataFrame:
    r"""Compare how often a share is exactly 0, 50 or 100 per cent with what chance gives.

    For each procedure and year the schools' counts are beta-binomial with parameters from all
    schools; the probability of a round share of one school is its value of that distribution.  The
    number of round shares is then Poisson-binomial, and the p-value is
    :math:`P(\text{number} \ge \text{observed})`.

    Parameters
    ----------
    counts : DataFrame
        ``school_id year procedure n_participants`` and ``column``.
    column : str
        Count whose share is looked at: ``n_below_minimum``, ``n_2`` … ``n_5``.
    by : {"region", "procedure", "school_id"}
        What is counted together.
    fewest : int
        Schools with fewer participants are left out: their shares are round by themselves.

    Returns
    -------
    DataFrame
        ``[procedure or school_id] round_share n_tests n_round expected_round p_value``.

    Raises
    ------
    DataError
        If a column is absent, a count exceeds the participants, or too few schools are left.

    References
    ----------
    Griffiths1973.
    """
    check_choice(by, ("region", "procedure", "school_id"), argument="by")
    if isinstance(fewest, bool) or not isinstance(fewest, int) or fewest < 1:
        raise SpecificationError(text("integrity.at_least_one", argument="fewest", value=fewest))
    needed = [*KEY, "n_participants", column]
    check_columns(counts, needed, table="counts")
    check_not_empty(counts, table="counts")
    check_finite(counts, needed, table="counts", unit="school_id")
    check_numeric(counts, ["n_participants", column], table="counts")
    check_unique(counts, KEY, table="counts")
    _check_counts(counts, column)
    table = counts[counts["n_participants"] >= fewest]
    if table.empty:
        raise DataError(text("integrity.no_large", fewest=fewest))
    pieces = []
    for _, _, own in by_test(table):
        if len(own) < 2:
            continue
        n, f = own["n_participants"].to_numpy(), own[column].to_numpy()
        prior = fit_beta_prior(f, n)
        for share in ROUND:
            at = share * n
            whole = at == np.floor(at)
            chance = np.where(
                whole, stats.betabinom.pmf(np.floor(at), n, prior.alpha, prior.beta), 0
            )
            pieces.append(
                pd.DataFrame(
                    {
                        "school_id": own["school_id"].astype(str).to_numpy(),
                        "procedure": own["procedure"].astype(str).to_numpy(),
                        "round_share": share,
                        "is_round": f == at,
                        "chance": np.clip(chance, 0.0, 1.0),
                    }
                )
            )
    if not pieces:
        raise DataError(text("integrity.no_large", fewest=fewest))
    whole_table = pd.concat(pieces, ignore_index=True)
    keys = ["round_share"] if by == "region" else [by, "round_share"]
    rows = []
    for key, own in whole_table.groupby(keys, sort=True):
        chance, seen = own["chance"].to_numpy(), int(own["is_round"].sum())
        p = tail_of(pooled_null(np.ones(len(own), dtype=int), chance), seen)[0]
        names = dict(zip(keys, key if isinstance(key, tuple) else (key,), strict=True))
        rows.append(
            {
                **names,
                "n_tests": len(own),
                "n_round": seen,
                "expected_round": float(chance.sum()),
                "p_value": p,
            }
        )
    return pd.DataFrame(rows)


def _check_counts(counts: pd.DataFrame, column: str) -> None:
    sat, of_them = (counts[c].to_numpy(dtype=float) for c in ("n_participants", column))
    bad = (sat < 0) | (of_them < 0) | (of_them > sat) | (sat % 1 != 0) | (of_them % 1 != 0)
    if bad.any():
        row = counts.loc[bad].iloc[0]
        raise DataError(
            text(
                "integrity.counts",
                school=row["school_id"],
                procedure=row["procedure"],
                year=row["year"],
                column=column,
                value=f"{of_them[bad][0]:g}",
                sat=f"{sat[bad][0]:g}",
                n=int(bad.sum()),
            )
        )
