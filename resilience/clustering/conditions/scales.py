r"""One scale for each kind of variable, learnt in a base year and applied to any.

One unit means the same in all of them: two random schools of the base year differ by
:math:`E(\Delta^2) = 2` on a number, a share or a composition as a whole, by 1 on a nominal variable
and by :math:`2 / (1 + 1/(K-1))` on an ordinal one of K levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.clusters.mixed_scaling import (
    beta_moments,
    closed_composition,
    isometric_logratio,
    nominal_factor,
    ordinal_factor,
)

__all__ = [
    "CompositionScale",
    "LevelScale",
    "NumberScale",
    "OrdinalScale",
    "ShareScale",
    "VariableScale",
]

Floats = NDArray[np.float64]

WINSOR = 3.0
_LEAST_SPREAD = 1e-12  # of a column's largest value: what rounding alone leaves of a constant


class VariableScale(Protocol):
    """What every scale answers; natural values are arrays of shape (S, columns of the variable)."""

    @property
    def variable(self) -> str:
        """Name of the variable."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scaled columns."""

    @property
    def transformation(self) -> str:
        """What is done to the natural values."""

    @property
    def factor(self) -> float:
        """By what the transformed values are multiplied."""

    def scaled(self, natural: Floats, base: Floats) -> Floats:
        """Return the scaled columns, NaN where the natural value is missing."""

    def redrawn(
        self, natural: Floats, base: Floats, error: Floats, generator: np.random.Generator
    ) -> Floats:
        """Return natural values with their sampling or stated error drawn once more."""


@dataclass(frozen=True, kw_only=True)
class NumberScale:
    """A number: log(1 + x) or as it is, standardised, winsorised at three SDs.

    Attributes
    ----------
    variable : str
        Column.
    logged : bool
        Whether log(1 + x) is taken first.
    mean, sd : float
        Of the transformed values of the base year.
    """

    variable: str
    logged: bool
    mean: float
    sd: float

    @classmethod
    def learn(cls, variable: str, natural: Floats, *, logged: bool) -> NumberScale:
        """Return the scale of the base year's values."""
        values = np.log1p(natural[:, 0]) if logged else natural[:, 0]
        mean, sd = _moments(variable, values)
        return cls(variable=variable, logged=logged, mean=mean, sd=sd)

    @property
    def names(self) -> tuple[str, ...]:
        """The column itself."""
        return (self.variable,)

    @property
    def transformation(self) -> str:
        """``log1p`` or ``linear``."""
        return "log1p" if self.logged else "linear"

    @property
    def factor(self) -> float:
        """1 / SD."""
        return 1.0 / self.sd

    def scaled(self, natural: Floats, base: Floats) -> Floats:
        """Return z within ±3, shape (S, 1)."""
        values = np.log1p(natural) if self.logged else natural
        return np.asarray(np.clip((values - self.mean) / self.sd, -WINSOR, WINSOR))

    def redrawn(
        self, natural: Floats, base: Floats, error: Floats, generator: np.random.Generator
    ) -> Floats:
        """Return the values with their stated error; what is logged stays at or above 0."""
        drawn = natural + error[:, None] * generator.normal(size=natural.shape)
        return np.maximum(drawn, 0.0) if self.logged else drawn


@dataclass(frozen=True, kw_only=True)
class ShareScale:
    r"""A share: shrunk to the region by its base, arcsin √x, standardised.

    .. math:: \hat x = (\alpha + c) / (\alpha + \beta + n)

    Attributes
    ----------
    variable : str
        Column.
    alpha, beta : float
        Of the beta distribution of true shares, by moments.
    mean, sd : float
        Of arcsin √x̂ in the base year.
    """

    variable: str
    alpha: float
    beta: float
    mean: float
    sd: float

    @classmethod
    def learn(cls, variable: str, natural: Floats, base: Floats) -> ShareScale:
        """Return the scale of the base year's shares."""
        share = natural[:, 0]
        known = ~np.isnan(share)
        _moments(variable, share)  # a constant column is refused before its beta distribution
        alpha, beta = beta_moments(share[known], base[known])
        if not np.isfinite(alpha + beta):
            raise DataError(text("conditions.chance", column=repr(variable), n=int(known.sum())))
        shrunk = _arcsine((alpha + share * base) / (alpha + beta + base))
        mean, sd = _moments(variable, shrunk)
        return cls(variable=variable, alpha=alpha, beta=beta, mean=mean, sd=sd)

    @property
    def names(self) -> tuple[str, ...]:
        """The column itself."""
        return (self.variable,)

    @property
    def transformation(self) -> str:
        """Shrinkage and arc sine."""
        return "shrunk_arcsine"

    @property
    def factor(self) -> float:
        """1 / SD."""
        return 1.0 / self.sd

    def shrunk(self, natural: Floats, base: Floats) -> Floats:
        """Return shares drawn towards the region's mean, the more the smaller the base."""
        n = base[:, None]
        return np.asarray((self.alpha + natural * n) / (self.alpha + self.beta + n))

    def scaled(self, natural: Floats, base: Floats) -> Floats:
        """Return z, shape (S, 1)."""
        return np.asarray((_arcsine(self.shrunk(natural, base)) - self.mean) / self.sd)

    def redrawn(
        self, natural: Floats, base: Floats, error: Floats, generator: np.random.Generator
    ) -> Floats:
        """Return shares of as many pupils once more, of a true share that the data leave open.

        The true share is drawn from its beta distribution given the pupils counted, and the pupils
        from it: a school of nine without a single case has not for that reason a share known
        without error.
        """
        n = np.maximum(np.rint(base), 1.0)[:, None]
        known = ~np.isnan(natural)
        counted = np.where(known, natural, 0.0) * base[:, None]
        rest = np.maximum(base[:, None] - counted, 0.0)
        true = generator.beta(self.alpha + counted, self.beta + rest)
        return np.where(known, generator.binomial(n.astype(np.int64), true) / n, np.nan)


@dataclass(frozen=True, kw_only=True)
class CompositionScale:
    """Shares of one whole: log-ratios whose block counts as one variable.

    Attributes
    ----------
    variable : str
        Name of the composition.
    parts : tuple of str
        Columns.
    means : tuple of float
        Of the log-ratios in the base year.
    sd : float
        Square root of their total variance.
    """

    variable: str
    parts: tuple[str, ...]
    means: tuple[float, ...]
    sd: float

    @classmethod
    def learn(
        cls, variable: str, parts: tuple[str, ...], natural: Floats, base: Floats
    ) -> CompositionScale:
        """Return the scale of the base year's compositions."""
        ratios = _ratios(natural, base)
        spread = float(np.nansum(np.nanvar(ratios, axis=0)))
        if not spread > _LEAST_SPREAD:
            raise DataError(text("conditions.constant", column=repr(variable), value="—"))
        means = tuple(float(m) for m in np.nanmean(ratios, axis=0))
        return cls(variable=variable, parts=parts, means=means, sd=float(np.sqrt(spread)))

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the composition with the number of the log-ratio in brackets."""
        return tuple(f"{self.variable} [{i}]" for i in range(1, len(self.parts)))

    @property
    def transformation(self) -> str:
        """Isometric log-ratios."""
        return "ilr"

    @property
    def factor(self) -> float:
        """1 / √(total variance)."""
        return 1.0 / self.sd

    def scaled(self, natural: Floats, base: Floats) -> Floats:
        """Return the scaled log-ratios, shape (S, K - 1)."""
        return np.asarray((_ratios(natural, base) - np.asarray(self.means)) / self.sd)

    def redrawn(
        self, natural: Floats, base: Floats, error: Floats, generator: np.random.Generator
    ) -> Floats:
        """Return compositions of as many pupils drawn anew."""
        known = ~np.isnan(natural).any(axis=1)
        drawn = np.full(natural.shape, np.nan)
        n = np.maximum(np.rint(base[known]), 1.0).astype(np.int64)
        expected = closed_composition(natural[known], n)
        drawn[known] = generator.multinomial(n, expected) / n[:, None]
        return drawn


@dataclass(frozen=True, kw_only=True)
class LevelScale:
    """A nominal variable: a dummy for every level, brought to half a unit of a number.

    Attributes
    ----------
    variable : str
        Column.
    levels : tuple of str
        As printed, sorted.
    shares : tuple of float
        Share of schools on each in the base year.
    factor : float
        Of every dummy.
    """

    variable: str
    levels: tuple[str, ...]
    shares: tuple[float, ...]
    factor: float

    @classmethod
    def learn(cls, variable: str, levels: tuple[str, ...], natural: Floats) -> LevelScale:
        """Return the scale of the base year's dummies."""
        counts = np.nansum(natural, axis=0)
        shares = tuple(float(c) for c in counts / counts.sum())
        return cls(variable=variable, levels=levels, shares=shares, factor=nominal_factor(counts))

    @property
    def names(self) -> tuple[str, ...]:
        """``is_rural=True`` and so on."""
        return tuple(f"{self.variable}={level}" for level in self.levels)

    @property
    def transformation(self) -> str:
        """Dummies."""
        return "dummies"

    def scaled(self, natural: Floats, base: Floats) -> Floats:
        """Return the scaled dummies, shape (S, K)."""
        return np.asarray((natural - np.asarray(self.shares)) * self.factor)

    def redrawn(
        self, natural: Floats, base: Floats, error: Floats, generator: np.random.Generator
    ) -> Floats:
        """Return the dummies: a kind of school has no error."""
        return natural


@dataclass(frozen=True, kw_only=True)
class OrdinalScale:
    """An ordinal variable: codes 1 to K, brought to their quota of a number.

    Attributes
    ----------
    variable : str
        Column.
    levels : tuple of str
        From low to high.
    mean, factor : float
        Of the codes in the base year.
    """

    variable: str
    levels: tuple[str, ...]
    mean: float
    factor: float

    @classmethod
    def learn(cls, variable: str, levels: tuple[str, ...], natural: Floats) -> OrdinalScale:
        """Return the scale of the base year's codes."""
        codes = natural[~np.isnan(natural[:, 0]), 0]
        counts = np.bincount(codes.astype(np.int64) - 1, minlength=len(levels))
        return cls(
            variable=variable,
            levels=levels,
            mean=float(codes.mean()),
            factor=ordinal_factor(counts),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The column itself."""
        return (self.variable,)

    @property
    def transformation(self) -> str:
        """Codes."""
        return "codes"

    def scaled(self, natural: Floats, base: Floats) -> Floats:
        """Return the scaled codes, shape (S, 1)."""
        return np.asarray((natural - self.mean) * self.factor)

    def redrawn(
        self, natural: Floats, base: Floats, error: Floats, generator: np.random.Generator
    ) -> Floats:
        """Return the codes: a kind of school has no error."""
        return natural


def _moments(variable: str, values: Floats) -> tuple[float, float]:
    mean, sd = float(np.nanmean(values)), float(np.nanstd(values))
    if not sd > _LEAST_SPREAD * max(1.0, abs(mean)):
        raise DataError(text("conditions.constant", column=repr(variable), value=f"{mean:g}"))
    return mean, sd


def _arcsine(share: Floats) -> Floats:
    return np.asarray(np.arcsin(np.sqrt(np.clip(share, 0.0, 1.0))))


def _ratios(natural: Floats, base: Floats) -> Floats:
    known = ~np.isnan(natural).any(axis=1)
    ratios = np.full((len(natural), natural.shape[1] - 1), np.nan)
    ratios[known] = isometric_logratio(closed_composition(natural[known], base[known]))
    return ratios
