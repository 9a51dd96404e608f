"""School effects whose expectation is the mean of statistical neighbours, for the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.clustering.comparison.compare import Compared, compared
from resilience.clustering.comparison.slopes import ConditionSlopes
from resilience.errors import DataError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.results import Results
from resilience.stats.clusters.differences import between_variance
from resilience.stats.ranking import bands, posterior_ranks
from resilience.validation import check_columns

__all__ = ["NeighbourEffects", "neighbour_effects"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NeighbourEffects(Results):
    """Effects of schools against their neighbours, in the shape of a model's table.

    Attributes
    ----------
    school_effects : DataFrame
        ``school_id effect std_error conditional_sd conf_low conf_high reliability n_pupils n_years
        observed_mean expected_mean rank_expected rank_low rank_high p_above_zero band
        sampling_variance``; ``effect`` is shrunken, ``sampling_variance`` that of the difference
        before shrinkage as a measurement of the effect.
    left_out : DataFrame
        ``school_id reason`` of schools without a comparison.
    variance : float
        Variance of the effects, squared outcome units.
    notes : tuple of Bilingual
        What a reader must know.
    """

    school_effects: pd.DataFrame
    left_out: pd.DataFrame
    variance: float
    notes: tuple[Bilingual, ...]

    @property
    def variances(self) -> dict[str, float]:
        """``{"persistent": variance}`` for `detect_schools`."""
        return {"persistent": self.variance}

    def tidy(self) -> pd.DataFrame:
        """Return `school_effects`."""
        return self.school_effects.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools with an effect and without, variance, mean reliability."""
        return pd.DataFrame(
            {
                "n_schools": [len(self.school_effects)],
                "n_left_out": [len(self.left_out)],
                "variance": [self.variance],
                "reliability": [float(self.school_effects["reliability"].mean())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with ``effect std_error conf_low conf_high band`` added.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="data")
        columns = ["effect", "std_error", "conf_low", "conf_high", "band"]
        own = self.school_effects.set_index("school_id")[columns]
        found = own.reindex(data["school_id"].astype(str)).set_axis(data.index, axis=0)
        return data.drop(columns=[c for c in columns if c in data.columns]).join(found)


def neighbour_effects(
    neighbours: Any,
    results: Any,
    *,
    value: str = "mean_score",
    std_error: str | None = None,
    pupil_sd: float | None = None,
    slopes: ConditionSlopes | None = None,
    minimum: int = 5,
    max_imbalance: float = 0.5,
    level: float = 0.95,
) -> NeighbourEffects:
    r"""Estimate school effects with the neighbours' mean in place of a regression's expectation.

    The difference measures the effect u of the school with the error of both sides, the
    neighbours' own effects included:

    .. math::
        D_j = u_j + \varepsilon_j, \qquad
        \mathrm{Var}(\varepsilon_j) = s_j^2 + \sum_i a_i^2 (s_i^2 + \sigma_u^2)

    with :math:`\sigma_u^2` such that the squared differences over their variances sum to the number
    of schools; the effect is :math:`\lambda_j D_j` with
    :math:`\lambda_j = \sigma_u^2 / (\sigma_u^2 + \mathrm{Var}(\varepsilon_j))`.

    Parameters
    ----------
    neighbours, results, value, std_error, pupil_sd, slopes, minimum, max_imbalance
        As for `compare_with_neighbours`; results need ``n_pupils``.
    level : float
        Of intervals of effects and ranks.

    Returns
    -------
    NeighbourEffects
        Its ``school_effects`` go into `detect_schools` and `multiverse` as those of a model do.

    Raises
    ------
    DataError
        As for `compare_with_neighbours`, and where no school has a comparison or a number of
        pupils is missing.

    Warns
    -----
    WeakDataWarning
        If the differences do not vary more than their sampling errors.

    References
    ----------
    PauleMandel1982.
    """
    pair = compared(
        neighbours,
        results,
        value=value,
        std_error=std_error,
        pupil_sd=pupil_sd,
        slopes=slopes,
        minimum=minimum,
        max_imbalance=max_imbalance,
        level=level,
    )
    reason = pair.reason
    kept = np.flatnonzero(reason == "")
    ids = np.array(pair.ids, dtype=object)
    if not len(kept):
        raise DataError(text("neighbour_comparison.nobody", reason=reason[0]))
    pupils = pair.read.n_pupils[kept]
    if not (np.isfinite(pupils) & (pupils > 0)).all():
        first = ids[kept][~(np.isfinite(pupils) & (pupils > 0))][0]
        raise DataError(text("neighbour_comparison.no_pupils", school=first))
    share = pair.lists.summed(pair.lists.weight**2)[kept]
    sampling = pair.found.std_error[kept] ** 2
    variance = between_variance(pair.found.difference[kept], sampling, 1.0 + share)
    notes = [text("neighbour_comparison.effects_error")]
    if variance <= 0.0:
        notes.append(text("neighbour_comparison.no_spread"))
        warn_weak_data(notes[-1])
    table = _effects(pair, kept, sampling + variance * share, variance, level)
    return NeighbourEffects(
        school_effects=table,
        left_out=pd.DataFrame(
            {
                "school_id": ids[reason != ""],
                "reason": pd.Series(list(reason[reason != ""]), dtype=object),
            }
        ),
        variance=variance,
        notes=tuple(notes),
    )


def _effects(
    pair: Compared, kept: NDArray[np.int64], error: Floats, variance: float, level: float
) -> pd.DataFrame:
    """Return one row per school with an effect, shrunken by its reliability."""
    trust = variance / (variance + error)
    effect = trust * pair.found.difference[kept]
    spread = np.sqrt(variance * (1.0 - trust))
    z = float(special.ndtri(0.5 + level / 2.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        p_above = special.ndtr(np.where(spread > 0, effect / spread, 0.0))
    rank, (low, high) = posterior_ranks(effect, spread, level=level, random_state=0)
    return pd.DataFrame(
        {
            "school_id": np.array(pair.ids, dtype=object)[kept].astype(str),
            "effect": effect,
            "std_error": spread,
            "conditional_sd": spread,
            "conf_low": effect - z * spread,
            "conf_high": effect + z * spread,
            "reliability": trust,
            "n_pupils": pair.read.n_pupils[kept].astype(np.int64),
            "n_years": pair.read.n_years[kept].astype(np.int64),
            "observed_mean": pair.read.results[kept],
            "expected_mean": pair.found.neighbour_mean[kept],
            "rank_expected": rank,
            "rank_low": low,
            "rank_high": high,
            "p_above_zero": p_above,
            "band": bands(p_above),
            "sampling_variance": error,
        }
    )
