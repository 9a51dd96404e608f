r"""Long-run failing shares of schools from a fitted ordinal model of marks.

A school's results of one year pass; what lasts is its own effect and its effects in single
procedures.  With the lowest threshold :math:`c_{1,pt}` of procedure p in year t

.. math::

   \pi_{jp} = \frac{1}{|T_p|} \sum_{t \in T_p}
      \Phi\!\left(\frac{c_{1,pt} - x_{jp}'\beta - u_j - w_{jp}}{s_p}\right), \qquad
   s_p^2 = \sigma_p^2 + \sigma_v^2 + \sigma_\varepsilon^2 ,

is the share of pupils who fail over many years such as those of the table: pupils' own variance
:math:`\sigma_p^2`, and that of what passes with a year or a cell.  Its joint posterior over the
procedures of a school is drawn from the normal approximation at the mode, the error of thresholds
and coefficients included and shared by all schools; the standard deviations of the random parts are
taken as estimated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.marks.ordinal import OrdinalFit
from resilience.stats.marks.ordinal_data import OrdinalData

__all__ = ["LongRunShares", "long_run_blocks", "long_run_shares"]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Codes = NDArray[np.int64]

_BLOCK_BYTES = 200e6  # of shares that one block of schools may take
_MOST_BYTES = 4e9  # of shares that are kept at once


@dataclass(frozen=True, kw_only=True, eq=False)
class LongRunShares:
    """Draws of the long-run failing shares of a block of schools.

    Attributes
    ----------
    shares : ndarray of shape (n_draws, S, P), float32
        π; NaN in procedures without counts in the region.
    sat : ndarray of bool, shape (S, P)
        Whether the school has sat the procedure in a year of the table.
    school_codes : ndarray of shape (S,), int
        Codes of the schools in the model.
    """

    shares: Singles
    sat: NDArray[np.bool_]
    school_codes: Codes

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return len(self.shares)

    def reached(
        self, *, at_least: float = 0.30, among: Literal["sat", "all"] = "sat"
    ) -> NDArray[np.int64]:
        """Return in how many procedures the share is at least the bound, shape (n_draws, S).

        Parameters
        ----------
        at_least : float
            Bound of the share.
        among : {"sat", "all"}
            Procedures that count: those the school has sat, or all that any school has; of a
            procedure it has not sat, the draws are those of the school's own effect and of the
            spread between procedures.
        """
        if not 0 <= at_least <= 1:
            raise SpecificationError(text("pooled.bound", value=at_least))
        # rounded to single precision: a bound of .3 must not fall between a share and itself
        above = self.shares >= np.float32(at_least)
        if among == "sat":
            above &= self.sat[None]
        return np.asarray(above.sum(axis=2), dtype=np.int64)

    def probability(
        self,
        *,
        at_least: float = 0.30,
        procedures: int | Literal["all"] = 2,
        among: Literal["sat", "all"] = "sat",
    ) -> Floats:
        r"""Return :math:`P(\pi_{jp} \ge` ``at_least`` in at least ``procedures`` procedures).

        Monte-Carlo standard error :math:`\sqrt{P(1-P)/M}`: at most .008 with 4000 draws.

        Parameters
        ----------
        at_least : float
            Bound of the share.
        procedures : int or "all"
            How many procedures; every one that counts.
        among : {"sat", "all"}
            See `reached`.

        Raises
        ------
        SpecificationError
            If the bound lies outside [0, 1] or fewer than one procedure is asked for.

        Returns
        -------
        ndarray of shape (S,)
        """
        reached = self.reached(at_least=at_least, among=among)
        needed: NDArray[np.int64] | int
        if procedures == "all":
            needed = np.maximum(self.counted(among), 1)
        elif procedures < 1:
            raise SpecificationError(text("pooled.procedures", value=procedures))
        else:
            needed = procedures
        return np.asarray((reached >= needed).mean(axis=0), dtype=np.float64)

    def counted(self, among: Literal["sat", "all"] = "sat") -> NDArray[np.int64]:
        """Return how many procedures of each school count."""
        if among == "sat":
            return np.asarray(self.sat.sum(axis=1), dtype=np.int64)
        known = int(np.isfinite(self.shares[0]).any(axis=0).sum())
        return np.full(len(self.sat), known, dtype=np.int64)

    def moments(self) -> tuple[Floats, Floats]:
        """Return mean and SD of every school's share in every procedure, shape (S, P)."""
        return (
            np.asarray(self.shares.mean(axis=0, dtype=np.float64)),
            np.asarray(self.shares.std(axis=0, ddof=1, dtype=np.float64)),
        )

    def quantiles(self, levels: tuple[float, ...] = (0.025, 0.5, 0.975)) -> Floats:
        """Return quantiles of the shares, shape (len(levels), S, P)."""
        return np.asarray(np.quantile(self.shares, levels, axis=0), dtype=np.float64)

    def above(self, bound: float) -> Floats:
        """Return the probability that the share is at least the bound, shape (S, P)."""
        known = np.isfinite(self.shares[0])
        share = (self.shares >= np.float32(bound)).mean(axis=0)
        return np.asarray(np.where(known, share, np.nan), dtype=np.float64)


def long_run_shares(
    fit: OrdinalFit,
    data: OrdinalData,
    *,
    n_draws: int = 4000,
    random_state: int = 0,
    mark: int = 0,
) -> LongRunShares:
    """Return draws of the long-run failing shares of all schools.

    Parameters
    ----------
    fit : OrdinalFit
        The fitted model.
    data : OrdinalData
        What it was fitted to.
    n_draws : int
        Draws of the joint posterior.
    random_state : int
        Seed.  A school's draws depend on it, on the draw and on the school's place, not on the
        blocks in which schools are drawn.
    mark : int
        Marks up to this one, from 0, count as failing.

    Raises
    ------
    SpecificationError
        If there are no draws, or their shares would take more than 4 GB: take the blocks.
    """
    n_procedures = int(data.procedure.max()) + 1
    size = 4.0 * n_draws * data.n_schools * n_procedures
    if size > _MOST_BYTES:
        raise SpecificationError(
            text("pooled.memory", draws=n_draws, n=data.n_schools, gigabytes=round(size / 1e9, 1))
        )
    blocks = list(long_run_blocks(fit, data, n_draws=n_draws, random_state=random_state, mark=mark))
    return LongRunShares(
        shares=np.concatenate([b.shares for b in blocks], axis=1),
        sat=np.concatenate([b.sat for b in blocks]),
        school_codes=np.concatenate([b.school_codes for b in blocks]),
    )


def long_run_blocks(
    fit: OrdinalFit,
    data: OrdinalData,
    *,
    n_draws: int = 4000,
    random_state: int = 0,
    mark: int = 0,
) -> Iterator[LongRunShares]:
    """Yield the same draws by blocks of schools that take up to 200 MB each.

    Parameters
    ----------
    fit, data, n_draws, random_state, mark
        As in `long_run_shares`.
    """
    if n_draws < 1:
        raise SpecificationError(text("pooled.draws", value=n_draws))
    if not 0 <= mark < data.thresholds.shape[1]:
        raise SpecificationError(text("pooled.mark", value=mark, n=data.thresholds.shape[1]))
    region = _Region.read(fit, data, mark)
    fixed = region.fixed_error(n_draws, random_state)
    step = max(1, int(_BLOCK_BYTES / (4.0 * n_draws * region.n_procedures)))
    for start in range(0, data.n_schools, step):
        schools = np.arange(start, min(start + step, data.n_schools))
        shares = np.empty((n_draws, len(schools), region.n_procedures), dtype=np.float32)
        for k, school in enumerate(schools):
            shares[:, k] = region.draw(int(school), fixed, random_state).T
        yield LongRunShares(shares=shares, sat=region.sat[schools], school_codes=schools)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Region:
    """What all schools have in common: thresholds of each procedure and year, spreads, places."""

    fit: OrdinalFit
    data: OrdinalData
    n_procedures: int
    ladder_procedure: Codes
    ladder_border: Codes
    sat: NDArray[np.bool_]
    covariates: Floats
    log_spread: Floats

    @classmethod
    def read(cls, fit: OrdinalFit, data: OrdinalData, mark: int) -> _Region:
        counted = data.counts.sum(axis=1) > 0
        if not counted.any():
            raise DataError(text("pooled.no_cells"))
        n = int(data.procedure.max()) + 1
        ladders = np.unique(
            np.stack([data.procedure, data.year, data.thresholds[:, mark]], axis=1)[counted], axis=0
        )
        sat = np.zeros((data.n_schools, n), dtype=bool)
        sat[data.school[counted], data.procedure[counted]] = True
        log = np.zeros(n)
        if fit.scales.procedure_spread:
            log[data.spread_procedures] = fit.scales.procedure_spread
        return cls(
            fit=fit,
            data=data,
            n_procedures=n,
            ladder_procedure=ladders[:, 0],
            ladder_border=ladders[:, 2],
            sat=sat,
            covariates=_school_covariates(data, n),
            log_spread=log,
        )

    def fixed_error(self, n_draws: int, random_state: int) -> Floats:
        """Return draws of the error of thresholds and coefficients, shape (f, n_draws)."""
        values, vectors = np.linalg.eigh(self.fit.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        rng = np.random.default_rng([random_state, 0])
        return np.asarray(root @ rng.standard_normal((root.shape[1], n_draws)))

    def draw(self, school: int, fixed: Floats, random_state: int) -> Floats:
        """Return draws of one school's shares, shape (P, n_draws)."""
        data, state = self.data, self.fit.state
        rng = np.random.default_rng([random_state, 1, school])
        lasting = self._lasting()
        system = state.system
        spread = lasting @ system.inverse[school] @ lasting.T
        values, vectors = np.linalg.eigh(spread)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        # given the fixed part the mode moves by −B⁻¹E times its error
        leverage = lasting @ system.carried[school]
        own = root @ rng.standard_normal((len(root), fixed.shape[1])) - leverage @ fixed
        own += (lasting @ state.point.effects[school])[:, None]
        n = data.n_thresholds
        beta = state.point.fixed[n:]
        if len(beta):
            x = self.covariates[school]
            own[: self.n_procedures] += (x @ beta)[:, None] + x @ fixed[n:]
        location, log = own[: self.n_procedures], self.log_spread[:, None]
        if data.parts.spread:
            log = log + own[-1]
        passing = self.fit.scales.year**2 + self.fit.scales.cell**2
        total = np.sqrt(np.exp(2.0 * log) + passing)
        shares = np.zeros((self.n_procedures, fixed.shape[1]))
        for procedure, border in zip(self.ladder_procedure, self.ladder_border, strict=True):
            if border < 0:  # nobody in the region, or everybody, below this mark
                shares[procedure] += 0.0 if border == -1 else 1.0
                continue
            cut = state.point.fixed[border] + fixed[border]
            shares[procedure] += special.ndtr((cut - location[procedure]) / total[procedure])
        forms = np.bincount(self.ladder_procedure, minlength=self.n_procedures)
        with np.errstate(invalid="ignore"):
            return np.asarray(shares / np.where(forms > 0, forms, np.nan)[:, None])

    def _lasting(self) -> Floats:
        """Return what takes a school's spherical effects to u + w of each procedure.

        Shape (P, q); with a spread of schools a further row for the log-spread.
        """
        data, scales = self.data, self.fit.scales
        rows = np.zeros((self.n_procedures + int(data.parts.spread), data.places["end"]))
        rows[: self.n_procedures, 0] = scales.school
        if "procedure" in data.places:
            at = data.places["procedure"] + np.arange(self.n_procedures)
            rows[np.arange(self.n_procedures), at] = scales.procedure
        if data.parts.spread:
            rows[-1, data.places["spread"]] = scales.spread
        return rows


def _school_covariates(data: OrdinalData, n_procedures: int) -> Floats:
    """Return the mean covariates of each school in each procedure, its own mean where not sat."""
    p = data.X.shape[1]
    sums = np.zeros((data.n_schools, n_procedures, p))
    cells = np.zeros((data.n_schools, n_procedures))
    if not p:
        return sums
    np.add.at(sums, (data.school, data.procedure), data.X)
    np.add.at(cells, (data.school, data.procedure), 1.0)
    own = sums.sum(axis=1) / cells.sum(axis=1)[:, None]
    there = cells > 0
    found = np.where(there[..., None], sums / np.maximum(cells, 1.0)[..., None], own[:, None])
    return np.asarray(found)
