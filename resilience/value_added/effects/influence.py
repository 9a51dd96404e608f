"""Results of leaving schools out one at a time: who moves what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError
from resilience.i18n import text
from resilience.results import Results
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.mixed import MixedFit
from resilience.stats.refits.leave_one_out import LeftOut, cook_distance, leave_one_out
from resilience.stats.refits.refits import components
from resilience.validation import check_instance, shorten
from resilience.value_added.effects.bootstrap import part_of_name

__all__ = ["InfluenceResults", "influence_results", "positions_of"]

Floats = NDArray[np.float64]

EVERYONE_UP_TO = 2000  # schools: above, leaving out every one of them is to be asked for by name


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class InfluenceResults(Results):
    r"""What the fit would be without each school, by exact refits from cross-products.

    Cook's distance of the fixed effects is
    :math:`(\hat\beta - \hat\beta_{(j)})' \widehat{\mathrm{Var}}(\hat\beta)^{-1}
    (\hat\beta - \hat\beta_{(j)}) / p`; ``effect_without`` is the school's own effect predicted with
    the parameters of the other schools.

    Attributes
    ----------
    schools : DataFrame
        ``school_id n_pupils cook_distance effect effect_without effect_shift singular reason``,
        the most influential school first.
    parameters : DataFrame
        ``school_id group term component estimate estimate_without estimate_shift``: every
        coefficient, standard deviation and correlation with and without the school.
    group : str
        School column.

    References
    ----------
    Cook1977.
    """

    schools: pd.DataFrame
    parameters: pd.DataFrame
    group: str

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("refits.influence_title").localized(lang)

    def tidy(self) -> pd.DataFrame:
        """Return one row per school that was left out, the most influential first."""
        return self.schools.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools left out, the most influential one, fits that failed."""
        first = self.schools.iloc[0]
        return pd.DataFrame(
            {
                "n_schools": [len(self.schools)],
                "most_influential": [first["school_id"]],
                "cook_distance": [first["cook_distance"]],
                "n_refits_singular": [int(self.schools["singular"].sum())],
                "n_refits_failed": [int((self.schools["reason"] != "").sum())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with each school's distance and the shift of its effect.

        Raises
        ------
        DataError
            If the column of schools is not there.
        """
        if self.group not in data.columns:
            raise DataError(text("value_added.augment_group", group=repr(self.group), n=len(data)))
        table = self.schools.set_index("school_id")[["cook_distance", "effect_shift"]]
        return data.join(table, on=self.group)


def influence_results(
    cross: CrossProducts, fitted: MixedFit, group: str, units: Sequence[object] | None
) -> InfluenceResults:
    """Leave schools out one at a time.

    Parameters
    ----------
    cross : CrossProducts
        With blocks of the schools or of what lies inside them.
    fitted : MixedFit
        The fit.
    group : str
        Level of the schools.
    units : sequence, optional
        Schools to leave out, all by default.

    Raises
    ------
    DataError
        For unknown schools, or all of more than 2,000.
    """
    at = [v.name for v in cross.levels].index(group)
    level = cross.levels[at]
    if units is None and level.n_groups > EVERYONE_UP_TO:
        raise DataError(text("refits.too_many_units", n=level.n_groups, most=EVERYONE_UP_TO))
    places = (
        list(range(level.n_groups)) if units is None else positions_of(units, level.labels, group)
    )
    if level.n_groups < 3:
        raise DataError(text("refits.too_few_left", group=repr(group), left=level.n_groups - 1))
    found = leave_one_out(cross, fitted, group, places)
    loading = _loading(cross, at, fitted.terms)
    schools = pd.DataFrame([_school(cross, fitted, at, loading, one) for one in found])
    parameters = pd.concat([_parameters(fitted, level.labels, one) for one in found])
    order = np.argsort(-schools["cook_distance"].to_numpy(dtype=float), kind="stable")
    return InfluenceResults(
        schools=schools.iloc[order].reset_index(drop=True).infer_objects(),
        parameters=parameters.reset_index(drop=True).infer_objects(),
        group=group,
    )


def positions_of(units: Sequence[object], labels: NDArray[np.object_], group: str) -> list[int]:
    """Return the positions of units in a level.

    Raises
    ------
    DataError
        For no unit at all, or units that are not there (named).
    """
    check_instance(units, Iterable, argument="units", example="units=['S07']")
    wanted = [units] if isinstance(units, str) else list(units)
    places = {label: k for k, label in enumerate(labels)}
    unknown = [unit for unit in wanted if unit not in places]
    if unknown or not wanted:
        raise DataError(
            text(
                "refits.unknown_units",
                group=repr(group),
                unknown=shorten(unknown) or "—",
                known=shorten(labels),
            )
        )
    return list(dict.fromkeys(places[unit] for unit in wanted))


def _loading(cross: CrossProducts, at: int, terms: Sequence[str]) -> Floats:
    """Return where the effect is read: the average pupil, over all years alike."""
    columns = list(cross.levels[at].columns)
    names = [cross.columns[c] for c in columns]
    by = np.array([name != ONES and name not in terms for name in names])
    means: Floats = cross.total[0, columns] / cross.total[0, 0] * cross.scale[columns]
    return np.where(by, 1.0 / max(int(by.sum()), 1), means + cross.centre[columns])


def _school(
    cross: CrossProducts, fitted: MixedFit, at: int, loading: Floats, one: LeftOut
) -> dict[str, object]:
    level = cross.levels[at]
    effect = float(fitted.levels[at].modes[one.group] @ loading)
    without = float(one.modes @ loading)
    return {
        "school_id": level.labels[one.group],
        "n_pupils": int(level.n_rows[one.group]),
        "cook_distance": np.nan if one.refit is None else cook_distance(fitted, one.refit.beta),
        "effect": effect,
        "effect_without": without,
        "effect_shift": effect - without,
        "singular": bool(one.refit is not None and one.refit.singular),
        "reason": one.reason,
    }


def _parameters(fitted: MixedFit, labels: NDArray[np.object_], one: LeftOut) -> pd.DataFrame:
    own = [value for level in fitted.levels for value in level.parameters.values()]
    estimates = np.array([*fitted.beta, *own, np.sqrt(fitted.residual_variance)])
    without = np.full(len(estimates), np.nan)
    if one.refit is not None:
        without = np.concatenate([one.refit.beta, one.refit.natural])
    names = [("fixed", term, "coefficient") for term in fitted.terms]
    names += [(group, *part_of_name(name)) for group, name in components(fitted)]
    frame = pd.DataFrame(names, columns=["group", "term", "component"])
    frame.insert(0, "school_id", labels[one.group])
    return frame.assign(
        estimate=estimates, estimate_without=without, estimate_shift=estimates - without
    )
