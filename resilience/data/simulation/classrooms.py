"""Classrooms over years with known teacher effects and known persistence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.validation import check_count, check_fraction, check_positive

__all__ = ["Classrooms", "simulate_classrooms"]

_FIRST_YEAR = 2023
_RESIDUAL_SD = 8.0
_BASE, _GROWTH = 50.0, 4.0
_PRIOR_SLOPE = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Classrooms:
    """Simulated pupils, links and the truth behind them.

    Attributes
    ----------
    rows : DataFrame
        ``pupil_key year score prior_score exam marked_by``: a row per pupil and year with a result.
    links : DataFrame
        ``pupil_key year teacher_id share school_id``; shares of a pupil and year sum to one.
    teachers : DataFrame
        ``teacher_id year school_id true_effect``: the effect in the teacher's own year, in points.
    persistence : ndarray of shape (n_years, n_years)
        True α, ones on the diagonal.
    teacher_sd : float
        True standard deviation of teacher effects, in points.
    residual : ndarray of shape (n_years, n_years)
        True covariance of a pupil's residuals.
    """

    rows: pd.DataFrame
    links: pd.DataFrame
    teachers: pd.DataFrame
    persistence: np.ndarray
    teacher_sd: float
    residual: np.ndarray


def simulate_classrooms(
    n_pupils: int = 1250,
    *,
    n_years: int = 3,
    class_size: int = 50,
    n_schools: int = 5,
    persistence: float | Sequence[float] = 0.5,
    teacher_sd: float = 3.0,
    shared: float = 0.2,
    missing: float = 0.0,
    random_state: int = 0,
) -> Classrooms:
    r"""Simulate pupils who change classes every year within their school.

    ``score_it = 50 + 4 t + 3 prior_i + Σ_{s ≤ t} α_ts Σ_k w_isk θ_k(s) + e_it`` with residuals of
    variance 64 and correlation ``.7^{|t-s|}`` over years.

    Parameters
    ----------
    n_pupils : int
        Pupils, spread evenly over the schools.
    n_years : int
        Years, the first is 2023.
    class_size : int
        Pupils per class on average; sizes vary by chance.
    n_schools : int
        Schools; classes are formed anew each year within a school.
    persistence : float or sequence of float
        α: one number for all pairs of years, or one per pair below the diagonal, row by row
        (2 on 1, 3 on 1, 3 on 2, ...).
    teacher_sd : float
        Standard deviation of teacher effects in their own year, in points.
    shared : float
        Share of pupil-years taught half and half by two teachers, in [0, 1].
    missing : float
        Share of results missing at random, in [0, 1); every pupil keeps at least one.
    random_state : int
        Seed.

    Returns
    -------
    Classrooms

    Raises
    ------
    SpecificationError
        For counts below one, shares out of range, or a wrong number of α.
    """
    _check(n_pupils, n_years, class_size, n_schools)
    check_positive(teacher_sd, argument="teacher_sd", zero=True)
    check_fraction(shared, argument="shared")
    check_fraction(missing, argument="missing")
    alpha = _alpha(persistence, n_years)
    rng = np.random.default_rng(random_state)
    school = np.arange(n_pupils) * n_schools // n_pupils
    unit, share, teachers = _classes(rng, school, n_years, class_size, shared)
    teachers["true_effect"] = teacher_sd * rng.normal(size=len(teachers))
    effect = teachers["true_effect"].to_numpy()
    taught = (share * effect[unit]).sum(axis=2)  # pupils × years
    lag = np.abs(np.subtract.outer(np.arange(n_years), np.arange(n_years)))
    residual = _RESIDUAL_SD**2 * 0.7**lag
    prior = rng.normal(size=n_pupils)
    score = _BASE + _GROWTH * np.arange(n_years) + _PRIOR_SLOPE * prior[:, None] + taught @ alpha.T
    score += rng.normal(size=(n_pupils, n_years)) @ np.linalg.cholesky(residual).T
    kept = rng.random((n_pupils, n_years)) >= missing
    kept[np.arange(n_pupils), rng.integers(0, n_years, n_pupils)] = True
    pupil, year = np.nonzero(kept)
    keys = np.array([f"P{i + 1:05d}" for i in range(n_pupils)])
    rows = pd.DataFrame(
        {
            "pupil_key": keys[pupil],
            "year": year + _FIRST_YEAR,
            "score": score[pupil, year],
            "prior_score": prior[pupil],
            "exam": "РДР",
            "marked_by": "region",
        }
    )
    pupil, year, slot = np.nonzero(share > 0)
    held = teachers.iloc[unit[pupil, year, slot]].reset_index(drop=True)
    links = pd.DataFrame(
        {
            "pupil_key": keys[pupil],
            "year": year + _FIRST_YEAR,
            "teacher_id": held["teacher_id"],
            "share": share[pupil, year, slot],
            "school_id": held["school_id"],
        }
    )
    return Classrooms(
        rows=rows,
        links=links,
        teachers=teachers,
        persistence=alpha,
        teacher_sd=float(teacher_sd),
        residual=residual,
    )


def _check(n_pupils: int, n_years: int, class_size: int, n_schools: int) -> None:
    check_count(n_pupils, argument="n_pupils", least=2)
    check_count(n_years, argument="n_years", least=1)
    check_count(class_size, argument="class_size", least=1)
    check_count(n_schools, argument="n_schools", least=1)
    if n_schools > n_pupils:
        raise SpecificationError(
            text("persistence.too_many_schools", schools=n_schools, pupils=n_pupils)
        )


def _alpha(persistence: float | Sequence[float], n_years: int) -> np.ndarray:
    """Return the matrix of α."""
    below = np.tril_indices(n_years, -1)
    given = np.atleast_1d(np.asarray(persistence, dtype=float))
    if given.size not in (1, len(below[0])) or not np.isfinite(given).all():
        raise SpecificationError(
            text("persistence.wrong_alpha", n=given.size, wanted=len(below[0]), years=n_years)
        )
    alpha = np.eye(n_years)
    alpha[below] = given if given.size > 1 else given[0]
    return alpha


def _classes(
    rng: np.random.Generator, school: np.ndarray, n_years: int, class_size: int, shared: float
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return teachers and shares of each pupil and year, and the table of teachers."""
    n = len(school)
    unit = np.zeros((n, n_years, 2), dtype=np.int64)
    share = np.zeros((n, n_years, 2))
    records: list[tuple[str, int, str]] = []
    for year in range(n_years):
        for code in range(int(school.max()) + 1):
            own = np.flatnonzero(school == code)
            n_classes = max(round(len(own) / class_size), 1)
            first = len(records)
            records += [
                (f"T{first + k + 1:04d}", year + _FIRST_YEAR, f"S{code + 1:02d}")
                for k in range(n_classes)
            ]
            main = rng.integers(0, n_classes, len(own))
            main[:n_classes] = np.arange(n_classes)[: len(own)]  # no class stands empty
            split = (rng.random(len(own)) < shared) & (n_classes > 1)
            other = (main + rng.integers(1, max(n_classes, 2), len(own))) % n_classes
            unit[own, year, 0] = first + main
            unit[own, year, 1] = first + other
            share[own, year, 0] = np.where(split, 0.5, 1.0)
            share[own, year, 1] = np.where(split, 0.5, 0.0)
    return unit, share, pd.DataFrame(records, columns=["teacher_id", "year", "school_id"])
