"""The model of next year's list: lasting shares, what passes, and the rule applied to both."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.data.cohorts import procedure_grade
from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import SHARE, Criterion
from resilience.detection.verdicts.shares import share_table
from resilience.detection.verdicts.tables import gather
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.binormal import binormal_cdf
from resilience.stats.lists.next_list import LowTable, Reading, next_list_probability
from resilience.stats.lists.share_moments import FailureMoments, tetrachoric_parts
from resilience.stats.lists.share_posterior import LastingShares, lasting_shares
from resilience.stats.proportions import share_at_least

__all__ = ["CountCube", "FederalForm", "Prediction", "ShareDraws", "count_cube", "federal_form"]
__all__ += ["own_draws", "predict"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

INTERVAL = 0.90
_NEAR = 0.30  # failing share at which the correlation of two procedures is taken
_BLOCK = 1_500_000  # numbers held at a time
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True, kw_only=True)
class FederalForm:
    """A rule read as "k procedures low" (A) and "one procedure low in two years" (B).

    Attributes
    ----------
    reading : str
        ``or``, ``and``, ``two_procedures`` (A alone) or ``same_procedure`` (B alone).
    procedures : int
        k.
    share : Fraction
        Threshold of a low procedure.
    min_participants : int
        Fewer give no verdict for a procedure.
    """

    reading: Reading
    procedures: int
    share: Fraction
    min_participants: int


@dataclass(frozen=True, kw_only=True, eq=False)
class CountCube:
    """Counts of schools × procedures × years.

    Attributes
    ----------
    school_ids, procedures, years : tuple
        Names of the axes.
    failing, n : ndarray of int, shape (n_schools, n_procedures, n_years)
        Counts; 0 where not sat.
    """

    school_ids: tuple[str, ...]
    procedures: tuple[str, ...]
    years: tuple[int, ...]
    failing: Integers
    n: Integers

    def until(self, year: int) -> CountCube:
        """Return the cube without the years after."""
        k = sum(y <= year for y in self.years)
        return CountCube(
            school_ids=self.school_ids,
            procedures=self.procedures,
            years=self.years[:k],
            failing=self.failing[:, :, :k],
            n=self.n[:, :, :k],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ShareDraws:
    """Draws of the lasting failing shares, from this room's model or from another one.

    Attributes
    ----------
    school_ids, procedures : sequence of str
        Axes 1 and 2 of the draws.
    shares : ndarray of shape (n_draws, n_schools, n_procedures)
        Long-run failing shares in (0, 1).
    """

    school_ids: tuple[str, ...]
    procedures: tuple[str, ...]
    shares: NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Next year's list, one entry per school of the cube.

    Attributes
    ----------
    probability, low, high : ndarray
        Probability of the list, and the 90 % interval over what is not known of lasting shares.
    low_now : ndarray of bool, shape (n_schools, n_procedures)
        Procedures low this year.
    draws : ndarray of shape (n_draws, n_schools)
        The probability in each draw.
    """

    probability: Floats
    low: Floats
    high: Floats
    low_now: NDArray[np.bool_]
    draws: Floats


def federal_form(rule: Criteria) -> FederalForm:
    """Return the form of a rule whose next list has a formula.

    Raises
    ------
    SpecificationError
        If a criterion is neither "at least k procedures low this year" nor "one and the same
        procedure low this year and last".
    """
    kinds = {}
    for criterion in rule.criteria:
        kind = _kind(criterion)
        if kind is None or kind in kinds:
            raise SpecificationError(
                text("history.no_form", rule=rule.id, criterion=criterion.name)
            )
        kinds[kind] = criterion
    first = next(iter(kinds.values()))
    if any(c.at_least != first.at_least for c in kinds.values()) or any(
        c.min_participants != first.min_participants for c in kinds.values()
    ):
        raise SpecificationError(text("history.two_bounds", rule=rule.id))
    reading: Reading = "two_procedures" if "A" in kinds else "same_procedure"
    if len(kinds) == 2:
        if rule.combination not in ("any", "all"):
            raise SpecificationError(text("history.no_form", rule=rule.id, criterion="combination"))
        reading = "or" if rule.combination == "any" else "and"
    k = int(kinds["A"].procedures_at_least) if "A" in kinds else 1
    return FederalForm(
        reading=reading,
        procedures=k,
        share=Fraction(str(first.at_least)),
        min_participants=first.min_participants,
    )


def _kind(criterion: Criterion) -> str | None:
    """Return A, B or nothing."""
    plain = (
        criterion.column == SHARE
        and criterion.at_least is not None
        and criterion.evidence == "point"
        and criterion.procedures_at_least != "all"
    )
    if not plain:
        return None
    if criterion.years_of == 1:
        return "A"
    same = criterion.years_of == 2 and criterion.years_at_least == 2
    return (
        "B" if same and criterion.order == "years" and criterion.procedures_at_least == 1 else None
    )


def count_cube(counts: pd.DataFrame, rule: Criteria) -> CountCube:
    """Return the counts of the rule's procedures, checked as `detect_schools` checks them."""
    tables = gather(None, None, counts=counts, school_years=None, schools=None, variances=None)
    cells = share_table(tables, rule.amend(year=None)).cells
    years = np.arange(cells["year"].min(), cells["year"].max() + 1)
    procedures = np.array(sorted(cells["procedure"].unique()), dtype=object)
    shape = (len(tables.school_ids), len(procedures), len(years))
    failing, n = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    place = (
        np.searchsorted(tables.school_ids, cells["school_id"].to_numpy(dtype=object)),
        np.searchsorted(procedures, cells["procedure"].to_numpy(dtype=object)),
        cells["year"].to_numpy(dtype=np.int64) - years[0],
    )
    failing[place] = cells["n_below_minimum"].to_numpy(dtype=np.int64)
    n[place] = cells["n_participants"].to_numpy(dtype=np.int64)
    return CountCube(
        school_ids=tuple(map(str, tables.school_ids)),
        procedures=tuple(map(str, procedures)),
        years=tuple(int(y) for y in years),
        failing=failing,
        n=n,
    )


def posterior_of(cube: CountCube) -> LastingShares:
    """Return the posterior of lasting shares from the region's own counts.

    Raises
    ------
    DataError
        If fewer than two years or procedures hold counts.
    """
    if (cube.n.sum(axis=(0, 1)) > 0).sum() < 2 or len(cube.procedures) < 2:
        raise DataError(text("history.two_years_needed", years=", ".join(map(str, cube.years))))
    grades = [procedure_grade(p) for p in cube.procedures]
    moments: FailureMoments = tetrachoric_parts(
        cube.failing,
        cube.n,
        grades=[np.nan if g is None else float(g) for g in grades],
        years=cube.years,
    )
    return lasting_shares(cube.failing, cube.n, moments.parts, moments.school)


def own_draws(cube: CountCube, *, n_draws: int, random_state: int) -> ShareDraws:
    """Return draws of the long-run shares from the region's own counts."""
    posterior = posterior_of(cube)
    latent = posterior.draw(n_draws, np.random.default_rng(random_state))
    return ShareDraws(
        school_ids=cube.school_ids,
        procedures=cube.procedures,
        shares=posterior.long_run(latent),
    )


def predict(
    cube: CountCube,
    form: FederalForm,
    *,
    shares: ShareDraws | None,
    n_draws: int,
    random_state: int,
) -> Prediction:
    """Return next year's list from counts up to now.

    Next year's participants are expected to be as many as in the last year of the cube.  To the
    lasting shares come a shift of the region's procedures (shared by all schools of a draw), a
    good or bad year of the school (shared by its procedures, averaged over five nodes) and the
    spread of single cells.
    """
    posterior = posterior_of(cube)
    rng = np.random.default_rng(random_state)
    latent = posterior.draw(n_draws, rng) if shares is None else _latent(shares, cube, posterior)
    drift = posterior.drift
    shift = np.sqrt(drift.common) * rng.normal(size=(len(latent), 1, 1))
    shift = shift + np.sqrt(drift.own) * rng.normal(size=(len(latent), 1, len(cube.procedures)))
    latent = latent + shift
    n = cube.n[:, :, -1]
    enough = n >= max(form.min_participants, 1)
    low_now = enough & share_at_least(cube.failing[:, :, -1], n, form.share)
    table = LowTable.of(
        n, cell=posterior.cell, share=form.share, min_participants=form.min_participants
    )
    found = np.zeros(latent.shape[:2])
    spread = np.sqrt(posterior.school_year)
    groups, correlation = _shared_pupils(cube, posterior)
    for rows in np.array_split(np.arange(len(latent)), -(-latent.size // _BLOCK)):
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            low = table.look_up(latent[rows] + spread * node, n)
            found[rows] += weight * next_list_probability(
                low,
                low_now,
                reading=form.reading,
                procedures=form.procedures,
                groups=groups,
                correlation=correlation,
            )
    ends = np.quantile(found, [0.5 - INTERVAL / 2, 0.5 + INTERVAL / 2], axis=0)
    return Prediction(
        probability=found.mean(axis=0), low=ends[0], high=ends[1], low_now=low_now, draws=found
    )


def _shared_pupils(cube: CountCube, posterior: LastingShares) -> tuple[Integers, float]:
    """Return which procedures the same pupils sit, and how their low shares correlate.

    Counts of the same pupils correlate as two results of one pupil do; those near the threshold
    decide.
    """
    grades = [procedure_grade(p) for p in cube.procedures]
    groups = np.array([-1 - k if g is None else g for k, g in enumerate(grades)], dtype=np.int64)
    h = special.ndtri(_NEAR)
    both = float(binormal_cdf(h, h, posterior.same_pupil))
    return groups, (both - _NEAR**2) / (_NEAR * (1.0 - _NEAR))


def _latent(shares: ShareDraws, cube: CountCube, posterior: LastingShares) -> Floats:
    """Return given draws of long-run shares as latent levels, in the order of the cube."""
    for name, given, wanted in (
        ("school_ids", shares.school_ids, cube.school_ids),
        ("procedures", shares.procedures, cube.procedures),
    ):
        missing = [w for w in wanted if w not in set(given)]
        if missing:
            raise DataError(text("history.draws_lack", name=name, value=missing[0]))
    rows = [list(shares.school_ids).index(s) for s in cube.school_ids]
    columns = [list(shares.procedures).index(p) for p in cube.procedures]
    pi = np.asarray(shares.shares, dtype=float)[:, rows][:, :, columns]
    outside = ~((pi >= 0) & (pi <= 1)) & (cube.n[:, :, -1] > 0)
    if outside.any():
        raise DataError(text("history.draws_outside", value=float(pi[outside][0])))
    scale = np.sqrt(1.0 + posterior.school_year + posterior.cell)
    return np.asarray(special.ndtri(np.clip(np.nan_to_num(pi, nan=0.5), 1e-9, 1 - 1e-9)) * scale)
