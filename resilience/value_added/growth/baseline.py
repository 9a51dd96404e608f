r"""What a reference cohort teaches: curves for every set of past results, frozen afterwards.

Past results measured with error make curves too flat: pupils of schools with strong intakes look as
if they grew more.  SIMEX adds errors to the past results, variance :math:`\zeta` times that of the
error there already is, fits the curves anew and extrapolates their coefficients in
:math:`\zeta = 0, ½, 1, 1½, 2` by a parabola to :math:`\zeta = -1`, where no error would be left
(CookStefanski1994; ShangEtAl2015).  Percentiles are read at the observed past results, so that a
single pupil's percentile keeps the error of her own past; means and medians of schools do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError
from resilience.i18n import text
from resilience.value_added.growth.curves import GrowthCurves, fit_all, fit_curves

__all__ = ["GrowthBaseline", "learn_baseline", "sets_of"]

Floats = NDArray[np.float64]

ZETAS = (0.5, 1.0, 1.5, 2.0)
_ROWS = 20_000  # of a larger cohort a sample says how much the curves bend
_DRAWN = 20_000  # rows of pseudo cohorts per ζ
_ALL = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class GrowthBaseline:
    """Curves of a reference cohort; picklable, for later cohorts.

    Attributes
    ----------
    priors : tuple of str
        Past results, the earliest first.
    curves : dict of {number of past results: GrowthCurves}
        Curves given the last one, two, … past results; sets with too few pupils are absent.
    n_pupils : int
        Pupils of the reference cohort with at least the last past result.
    corrected : bool
        Whether errors of past results were taken out by SIMEX.
    """

    priors: tuple[str, ...]
    curves: dict[int, GrowthCurves]
    n_pupils: int
    corrected: bool

    def n_used(self, priors: pd.DataFrame) -> NDArray[np.int64]:
        """Return how many past results place each pupil: the longest run with curves, 0 for none.

        Parameters
        ----------
        priors : DataFrame
            Past results with gaps, the earliest first.
        """
        run = sets_of(priors)
        found = np.zeros(len(priors), dtype=np.int64)
        for size in sorted(self.curves):
            found[run >= size] = size
        return found


def sets_of(priors: pd.DataFrame) -> NDArray[np.int64]:
    """Return how many past results each pupil has without a gap, counted from the last one."""
    present = priors.notna().to_numpy()[:, ::-1]
    return np.asarray(np.cumprod(present, axis=1).sum(axis=1), dtype=np.int64)


def learn_baseline(
    priors: pd.DataFrame,
    score: Floats,
    *,
    knots: Sequence[float],
    reliability: Mapping[str, float],
    min_cohort: int,
    run: tuple[int, int, bool],
) -> GrowthBaseline:
    """Learn the curves of a cohort.

    Parameters
    ----------
    priors : DataFrame
        Past results, the earliest first, gaps allowed.
    score : ndarray of shape (n,)
        Outcome.
    knots : sequence of float
        Shares at which inner knots stand.
    reliability : mapping of {prior: float}
        Reliabilities below 1 are corrected for.
    min_cohort : int
        Least number of pupils behind curves.
    run : (int, int, bool)
        Processes, seed, whether to show a bar.

    Raises
    ------
    DataError
        If too few pupils have the last past result.
    """
    n_jobs, random_state, progress = run
    available = sets_of(priors)
    n_last = int((available >= 1).sum())
    if n_last < min_cohort:
        raise DataError(
            text("growth.small_cohort", n=n_last, least=min_cohort, prior=repr(priors.columns[-1]))
        )
    sizes = [s for s in range(1, priors.shape[1] + 1) if (available >= s).sum() >= min_cohort]
    prone = {name: share for name, share in reliability.items() if share < 1.0}
    fits = 0
    for size in sizes:
        noisy = bool(set(priors.columns[-size:]) & set(prone))
        fits += 1 + noisy * (1 + len(ZETAS) * _n_draws(int((available >= size).sum())))
    curves: dict[int, GrowthCurves] = {}
    with _Bar(progress, fits * _ALL) as said:
        for size in sizes:
            names = list(priors.columns[-size:])
            rows = available >= size
            values = {n: priors.loc[rows, n].to_numpy(dtype=float) for n in names}
            found = fit_curves(values, score[rows], names, knots=knots, n_jobs=n_jobs, said=said)
            errors = {
                name: float(np.sqrt((1.0 - prone[name]) * values[name].var()))
                for name in names
                if name in prone
            }
            if errors:
                found = _extrapolated(
                    found, values, score[rows], errors, run=(n_jobs, random_state, said)
                )
            curves[size] = found
    return GrowthBaseline(
        priors=tuple(map(str, priors.columns)),
        curves=curves,
        n_pupils=n_last,
        corrected=bool(prone),
    )


def _n_draws(n_pupils: int) -> int:
    """Return how many pseudo cohorts per ζ make up twenty thousand rows, one at least."""
    return max(1, _DRAWN // min(n_pupils, _ROWS))


def _extrapolated(
    curves: GrowthCurves,
    values: Mapping[str, Floats],
    score: Floats,
    errors: Mapping[str, float],
    *,
    run: tuple[int, int, Callable[[int], object]],
) -> GrowthCurves:
    """Return curves whose coefficients are extrapolated to past results without error.

    The change of the coefficients is found on a sample of large cohorts and added to the curves of
    all pupils.
    """
    n_jobs, random_state, said = run
    n_draws = _n_draws(len(score))
    seeds = np.random.SeedSequence(random_state).spawn(1 + len(ZETAS) * n_draws)
    rows = np.arange(len(score))
    if len(rows) > _ROWS:
        rows = np.random.default_rng(seeds[0]).choice(rows, size=_ROWS, replace=False)
    own, outcome = {name: v[rows] for name, v in values.items()}, score[rows]
    means = [fit_all(curves.design.columns(own), outcome, n_jobs=n_jobs, said=said)]
    for k, zeta in enumerate(ZETAS):
        total = np.zeros_like(curves.coefficients)
        for draw in range(n_draws):
            generator = np.random.default_rng(seeds[1 + k * n_draws + draw])
            noisy = {
                name: v + np.sqrt(zeta) * errors.get(name, 0.0) * generator.normal(size=len(v))
                for name, v in own.items()
            }
            total += fit_all(curves.design.columns(noisy), outcome, n_jobs=n_jobs, said=said)
        means.append(total / n_draws)
    parabola = np.vander(np.array([0.0, *ZETAS]), 3)
    # least squares in ζ, evaluated at -1: one row of weights for all coefficients
    weights = np.array([1.0, -1.0, 1.0]) @ np.linalg.pinv(parabola)
    change = np.tensordot(weights, np.array(means), axes=1) - means[0]
    return replace(curves, coefficients=curves.coefficients + change)


class _Bar:
    """A progress bar of fitted quantiles, or nothing."""

    def __init__(self, shown: bool, total: int) -> None:
        self._shown, self._total = shown, total

    def __enter__(self) -> Callable[[int], object]:
        if not self._shown:
            return lambda n: None
        from tqdm import tqdm

        self._bar = tqdm(total=self._total, desc="growth percentiles", unit="quantile")
        return self._bar.update

    def __exit__(self, *error: object) -> None:
        if self._shown:
            self._bar.close()
