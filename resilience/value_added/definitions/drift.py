r"""Effects of schools that drift from year to year.

With the effect of school j at the average pupil :math:`u_j` (what lasts) and :math:`v_{jt}` (the
part of year t)

.. math::

   \text{ar1:}\quad \mathrm{cov}(v_{jt}, v_{js}) = \sigma_v^2\rho^{|t-s|}, \qquad
   \text{unstructured:}\quad u_{jt} \sim N(0, D) \text{ with any } T\times T \text{ matrix } D,
   \quad \bar u_j = \tfrac{1}{T}\sum_t u_{jt} .

The years stand on the school's own groups, one column per year, so that a school costs
:math:`O(T^2P)` and a missing year costs nothing.  A school's year to come is predicted through its
last year of the data: given :math:`v_{jT}`, :math:`v_{jy}` has the mean
:math:`\rho^{y-T} v_{jT}` and the variance :math:`\sigma_v^2(1-\rho^{2(y-T)})` whatever else is
known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from resilience.data.design import Level
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.engine.covariance import Covariance
from resilience.stats.mixed import LevelEffects, MixedFit
from resilience.stats.prediction.states import YearTarget
from resilience.stats.strata.joined_levels import joined_effects
from resilience.value_added.definitions.drift_identification import (
    check_years_meet,
    warn_of_separation,
)
from resilience.value_added.definitions.specification import Structure
from resilience.value_added.definitions.yearly_effects import YearlyEffects

__all__ = [
    "Drift",
    "TargetMoments",
    "drift_covariance",
    "drift_levels",
    "drift_of",
    "fitted_products",
    "kept_levels",
]

Floats = NDArray[np.float64]

_CELLS = "{school}:{time} (pupils)"  # carries counts of pupils by school and year, has no effects


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetMoments:
    """A linear target of schools' effects, its prediction and its errors.

    Attributes
    ----------
    mean, conditional, total : ndarray of shape (n_schools,)
        Prediction and its variance without and with the error of the coefficients.
    prior : float
        Variance of the target among schools.
    leverage : ndarray of shape (n_schools, p), optional
        The predictions move by minus its product with a move of the coefficients; None where the
        model does not hand it over.
    """

    mean: Floats
    conditional: Floats
    total: Floats
    prior: float
    leverage: Floats | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Drift:
    """The effects of schools and their years in a fit with drift.

    Attributes
    ----------
    kind : {"ar1", "unstructured"}
        As in `Structure.drift`.
    cross : CrossProducts
        What the fit was made of.
    fitted : MixedFit
        The fit.
    at : int
        Level of the schools.
    years : tuple of str
        Terms of the years, as the level names them.
    slope_means : mapping of {term: float}
        Where slopes are read.
    """

    kind: str
    cross: CrossProducts
    fitted: MixedFit
    at: int
    years: tuple[str, ...]
    slope_means: Mapping[str, float]

    @property
    def variances(self) -> tuple[float, float]:
        """Variance of what lasts and variance of a single year around it."""
        lasting, years = self._loadings()
        D = self._effects.covariance
        persistent = float(lasting @ D @ lasting)
        whole = np.einsum("ta,ab,tb->t", years, D, years)
        return persistent, float(max(whole.mean() - persistent, 0.0))

    @property
    def correlation(self) -> float:
        """Correlation ρ of neighbouring years' parts; 0 where they have no variance."""
        if self.kind != "ar1":
            return float("nan")
        rho = self.fitted.levels[self.at + 1].parameters["correlation"]
        return rho if np.isfinite(rho) else 0.0

    def warn(self) -> None:
        """Warn where what lasts is hardly told apart from what fades."""
        if self.kind == "ar1":
            warn_of_separation(
                self.cross,
                self.at + 1,
                variances=(*self.variances, self.fitted.residual_variance),
                correlation=self.correlation,
            )

    def predict(self, target: YearTarget, axis: Floats) -> TargetMoments:
        """Return the best linear prediction of a target.

        Parameters
        ----------
        target : YearTarget
            Weights of what lasts and of years; years after the last one only with ``ar1``.
        axis : ndarray of shape (n_years,)
            The years of the data as numbers, ascending.
        """
        lasting, years = self._loadings()
        beyond = target.years > axis.max()
        own = years - lasting if self.kind == "ar1" else years
        loading = target.persistent * lasting if self.kind == "ar1" else np.zeros(len(lasting))
        if self.kind != "ar1" and not len(target.years):
            loading = target.persistent * lasting
        extra = 0.0
        for year, weight, later in zip(target.years, target.weights, beyond, strict=True):
            if later:
                fading = self.correlation ** float(year - axis.max())
                loading = loading + weight * fading * own[-1]
                spread = float(self.fitted.levels[self.at + 1].covariance[0, 0])
                extra += weight**2 * spread * (1.0 - fading**2)
            else:
                loading = loading + weight * own[int(np.searchsorted(axis, year))]
        effects = self._effects
        conditional = np.einsum("jab,a,b->j", effects.conditional, loading, loading)
        half = np.einsum("jap,a->jp", effects.coefficient_part, loading)
        known = np.maximum(conditional, 0.0) + extra
        return TargetMoments(
            mean=effects.modes @ loading,
            conditional=known,
            total=known + np.einsum("jp,jp->j", half, half),
            prior=float(loading @ effects.covariance @ loading) + extra,
            leverage=np.einsum("jap,a->jp", effects.leverage, loading),
        )

    def year_covariance(self) -> Floats:
        """Return the covariance of a school's effects in the years of the data, shape (T, T)."""
        _, years = self._loadings()
        return np.asarray(years @ self._effects.covariance @ years.T)

    @property
    def is_plain(self) -> bool:
        """Whether schools have no slopes and no level outside them."""
        lasting = [t for t in self.fitted.levels[self.at].terms if t not in self.years]
        return self.at == 0 and all(term == ONES for term in lasting)

    @cached_property
    def _effects(self) -> LevelEffects:
        if self.kind == "unstructured":
            return self.fitted.levels[self.at]
        return joined_effects(self.cross, self.fitted, self.at)

    def _loadings(self) -> tuple[Floats, Floats]:
        """Return what lasts, shape (q,), and the effect of every year, (T, q), as loadings."""
        terms = self._effects.terms
        at = [terms.index(year) for year in self.years]
        years = np.zeros((len(at), len(terms)))
        years[np.arange(len(at)), at] = 1.0
        rest = [k for k in range(len(terms)) if k not in at]
        level = np.zeros(len(terms))
        level[rest] = [self.slope_means.get(terms[k], 1.0) for k in rest]
        if self.kind == "unstructured":
            return level + years.mean(axis=0), level + years
        return level, level + years


def drift_levels(levels: Sequence[Level], structure: Structure, time: str | None) -> list[Level]:
    """Return the levels with those of the years, the school the last of the given ones.

    Parameters
    ----------
    levels : sequence of Level
        From outer to inner, the school last.
    structure : Structure
        Its ``drift`` decides.
    time : str or None
        Year column.

    Raises
    ------
    SpecificationError
        For drift without years, or a covariance of the level that drift sets.
    """
    school, kind = levels[-1], structure.drift
    if kind is None:
        cells = [Level(name=f"{school.name}:{time}", column=time)] if time is not None else []
        return [*levels, *cells]
    if time is None:
        raise SpecificationError(text("drift.no_time", drift=repr(kind)))
    own = f"{school.name}:{time}" if kind == "ar1" else school.name
    if own in structure.covariance:
        raise SpecificationError(text("drift.own_covariance", level=repr(own), drift=repr(kind)))
    counts = Level(name=_CELLS.format(school=school.name, time=time), column=time)
    if kind == "unstructured":
        return [*levels[:-1], replace(school, by=time), counts]
    return [*levels, Level(name=own, column=school.column, by=time), counts]


def drift_covariance(levels: Sequence[Level], structure: Structure) -> dict[str, Covariance]:
    """Return the covariance structures of the levels, that of the drift included."""
    found = dict(structure.covariance)
    if structure.drift == "ar1":
        found[levels[-2].name] = "ar1"
    return found


def fitted_products(
    cross: CrossProducts, levels: Sequence[Level], structure: Structure
) -> CrossProducts:
    """Return the cross-products of the levels that have effects.

    Raises
    ------
    SpecificationError
        If the cross-products were made for other levels, or the data do not determine the drift.
    """
    seen = [
        _named(level.name, None if 0 in level.columns else cross.columns[level.columns[0]])
        for level in cross.levels
    ]
    expected = [_named(level.name, level.by) for level in levels]
    if seen != expected:
        raise SpecificationError(
            text(
                "drift.other_levels",
                seen=", ".join(seen) or "—",
                expected=", ".join(expected),
            )
        )
    if structure.drift is None:
        return cross
    kept = kept_levels(cross, [level.name for level in levels[:-1]])
    check_years_meet(kept, len(levels) - 2, kind=structure.drift)
    return kept


def kept_levels(cross: CrossProducts, names: Sequence[str]) -> CrossProducts:
    """Return the cross-products without the levels that are not named."""
    random: dict[str, Sequence[str]] = {
        level.name: [cross.columns[c] for c in level.columns]
        for level in cross.levels
        if level.name in names
    }
    if len(random) == len(cross.levels):
        return cross
    return cross.subset_columns(cross.columns[1:], random=random)


def drift_of(results: YearlyEffects) -> Drift | None:
    """Return the drift of a fit, None where the years are independent or there are none."""
    fitted, cross = getattr(results, "mixed", None), getattr(results, "cross", None)
    if results.time is None or not isinstance(fitted, MixedFit):
        return None
    names = [level.name for level in fitted.levels]
    group = str(getattr(results, "group", ""))
    if group not in names or not isinstance(cross, CrossProducts):
        return None
    at = names.index(group)
    prefix = f"{results.time}="
    for kind, level in zip(("unstructured", "ar1"), fitted.levels[at : at + 2], strict=False):
        years = tuple(term for term in level.terms if term.startswith(prefix))
        ascending = tuple(
            f"{prefix}{label}" for label in np.sort(results.school_years["year"].unique())
        )
        if set(ascending) == set(years):
            years = ascending
        if years and (kind == "unstructured" or level.structure == "ar1"):
            return Drift(
                kind=kind,
                cross=cross,
                fitted=fitted,
                at=at,
                years=years,
                slope_means=getattr(results, "slope_means", {}),
            )
    return None


def _named(level: str, by: str | None) -> str:
    """Return the name of a level, with the column of its categories where it has effects by any."""
    return level if by is None else f"{level} ({by.partition('=')[0]}=…)"
