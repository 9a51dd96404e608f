"""Schools against each other: ranks, comparative bars, pairs; intervals at other levels."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.stats.ranking import comparative_multiplier, joint_ranks, separated_pairs
from resilience.validation import check_choice, check_count, check_fraction, check_positive
from resilience.value_added.effects.effects_table import school_ranks

__all__ = ["ErrorKind", "at_level", "comparative_table", "pair_table", "rank_table"]

Floats = NDArray[np.float64]
ErrorKind = Literal["conditional", "prediction"]

_PAIRS_UP_TO = 5000  # schools: above, the table has more than twelve million rows


def at_level(
    table: pd.DataFrame,
    errors: EffectErrors,
    *,
    level: float,
    kind: ErrorKind,
    random_state: int,
) -> pd.DataFrame:
    """Return a table of effects with the intervals of effects and ranks at another level."""
    check_fraction(level, argument="level", closed=False)
    check_count(random_state, argument="random_state", least=0)
    spread = _spread(errors, kind)
    effect = table["effect"].to_numpy(dtype=float)
    reach = float(special.ndtri(0.5 + level / 2.0)) * spread
    _, (low, high) = school_ranks(effect, errors, level=level, random_state=random_state)
    return table.assign(
        conf_low=effect - reach, conf_high=effect + reach, rank_low=low, rank_high=high
    )


def rank_table(
    table: pd.DataFrame,
    errors: EffectErrors,
    *,
    level: float,
    kind: ErrorKind,
    n_draws: int | None,
    random_state: int,
) -> pd.DataFrame:
    """Return ``school_id rank_expected rank_low rank_high`` of the joint posterior."""
    check_fraction(level, argument="level", closed=False)
    check_choice(kind, get_args(ErrorKind), argument="errors")
    if n_draws is not None:
        check_count(n_draws, argument="n_draws")
    check_count(random_state, argument="random_state", least=0)
    expected, (low, high) = joint_ranks(
        table["effect"].to_numpy(dtype=float),
        errors,
        coefficients=kind == "prediction",
        level=level,
        n_draws=n_draws,
        random_state=random_state,
    )
    return table[["school_id"]].assign(rank_expected=expected, rank_low=low, rank_high=high)


def comparative_table(
    table: pd.DataFrame, errors: EffectErrors, *, level: float, kind: ErrorKind
) -> pd.DataFrame:
    """Return ``school_id effect comparative_low comparative_high multiplier``."""
    check_fraction(level, argument="level", closed=False)
    check_choice(kind, get_args(ErrorKind), argument="errors")
    spread = _spread(errors, "conditional")
    multiplier = comparative_multiplier(
        spread, level=level, errors=errors, coefficients=kind == "prediction"
    )
    effect = table["effect"].to_numpy(dtype=float)
    return table[["school_id", "effect"]].assign(
        comparative_low=effect - multiplier * spread,
        comparative_high=effect + multiplier * spread,
        multiplier=multiplier,
    )


def pair_table(
    table: pd.DataFrame, errors: EffectErrors, *, multiplier: float, kind: ErrorKind
) -> pd.DataFrame:
    """Return ``school_id other_id difference std_error p_value separated`` of all pairs.

    Raises
    ------
    SpecificationError
        Above 5,000 schools.
    """
    check_choice(kind, get_args(ErrorKind), argument="errors")
    check_positive(multiplier, argument="multiplier")
    if len(table) > _PAIRS_UP_TO:
        raise SpecificationError(text("value_added.pairs", n=len(table)))
    first, second = np.triu_indices(len(table), 1)
    names = table["school_id"].to_numpy()
    effect = table["effect"].to_numpy(dtype=float)
    difference = effect[first] - effect[second]
    apart = np.concatenate(
        [
            np.sqrt(errors.difference_variance(i, j, coefficients=kind == "prediction"))
            for i, j in zip(_blocks(first), _blocks(second), strict=True)
        ]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(difference == 0.0, 0.0, np.abs(difference) / apart)
    if kind == "conditional":
        separated = separated_pairs(effect, _spread(errors, kind), multiplier=multiplier)
    else:
        # bars of two equal independent errors fail to overlap at just this distance
        separated = np.abs(difference) > np.sqrt(2.0) * multiplier * apart
    return pd.DataFrame(
        {
            "school_id": names[first],
            "other_id": names[second],
            "difference": difference,
            "std_error": apart,
            "p_value": 2.0 * special.ndtr(-z),
            "separated": separated,
        }
    )


def _spread(errors: EffectErrors, kind: ErrorKind) -> Floats:
    check_choice(kind, get_args(ErrorKind), argument="errors")
    variance = errors.conditional if kind == "conditional" else errors.prediction
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def _blocks(positions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut positions of pairs, so that the leverages of a block fit the cache."""
    return np.array_split(positions, 1 + len(positions) // 200_000)
