"""Counts of marks and histograms of scores, by school, year and procedure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from resilience.data.simulation.network import LAST_GRADE
from resilience.data.simulation.parameters import Assessment
from resilience.data.simulation.procedures import SUBJECTS, Procedure
from resilience.data.simulation.pupils import Cohort, Population

__all__ = ["MARKS", "count_marks", "cross_table", "procedure_calendar", "sit_test"]

Integers = npt.NDArray[np.int64]
MARKS = (2, 3, 4, 5)


def count_marks(
    population: Population,
    procedures: Sequence[Procedure],
    assessment: Assessment,
    years: Sequence[int],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables `counts` and `score_histograms`.

    Parameters
    ----------
    population : Population
        The region.
    procedures : sequence of Procedure
        What is counted.
    assessment : Assessment
        Participation.
    years : sequence of int
        School years.

    Returns
    -------
    counts, histograms : DataFrame
        Sorted by year, procedure (in the given order) and school; only cells with participants.
    """
    cohorts: dict[int, Cohort] = {}
    counts, histograms = [], []
    for year in years:
        for procedure in procedures:
            last_year = year + LAST_GRADE - procedure.grade
            cohort = cohorts.setdefault(last_year, population.cohort(last_year))
            marks, scores = _tabulate(cohort, procedure, assessment)
            counts.append(_counts_frame(population, marks, year, procedure.name))
            histograms.append(_histogram_frame(population, scores, year, procedure.name))
    return pd.concat(counts, ignore_index=True), pd.concat(histograms, ignore_index=True)


def procedure_calendar(procedures: Sequence[Procedure], years: Sequence[int]) -> pd.DataFrame:
    """Return the table `procedures`: from which day the results of a year may be used."""
    rows = [
        (p.name, year, f"{year}-{p.available}", p.grade, p.subject, p.scale.maximum, p.scale.year)
        for year in years
        for p in procedures
    ]
    names = ["procedure", "year", "available_from", "grade", "subject", "max_score", "scale_year"]
    return pd.DataFrame(rows, columns=names)


def sit_test(
    cohort: Cohort, procedure: Procedure, assessment: Assessment
) -> tuple[Integers, Integers, Integers]:
    """Return who sat a test, with raw scores and marks.

    Returns
    -------
    who, raw, marks : ndarray of shape (n_participants,)
        Numbers of the pupils in their cohort, ascending; raw scores; marks 2 to 5.
    """
    subject = SUBJECTS.index(procedure.subject)
    raw = cohort.raw_scores(procedure, subject)
    marks = cohort.marks(procedure, subject, raw)
    who = np.arange(len(raw))
    if procedure.is_vpr:
        who = np.flatnonzero(cohort.present(procedure.grade, assessment.participation)[:, subject])
    return who, raw[who], marks[who]


def _tabulate(
    cohort: Cohort, procedure: Procedure, assessment: Assessment
) -> tuple[Integers, Integers]:
    """Return numbers of pupils by school and mark, and by school and raw score."""
    who, raw, marks = sit_test(cohort, procedure, assessment)
    school = cohort.school[who]
    n_schools = cohort.population.schools.n_schools
    return (
        cross_table(school, marks - MARKS[0], n_schools, len(MARKS)),
        cross_table(school, raw, n_schools, procedure.scale.maximum + 1),
    )


def cross_table(rows: Integers, columns: Integers, n_rows: int, n_columns: int) -> Integers:
    """Return how often each pair of a row and a column occurs."""
    flat = np.bincount(rows * n_columns + columns, minlength=n_rows * n_columns)
    return flat.reshape(n_rows, n_columns)


def _counts_frame(
    population: Population, marks: Integers, year: int, procedure: str
) -> pd.DataFrame:
    total = marks.sum(axis=1)
    sat = total > 0
    columns = {
        "school_id": population.schools.school_id[sat],
        "year": np.full(int(sat.sum()), year),
        "procedure": [procedure] * int(sat.sum()),
        "n_participants": total[sat],
    }
    columns |= {f"n_{mark}": marks[sat, k] for k, mark in enumerate(MARKS)}
    return pd.DataFrame(columns | {"n_below_minimum": marks[sat, 0]})


def _histogram_frame(
    population: Population, scores: Integers, year: int, procedure: str
) -> pd.DataFrame:
    school, score = np.nonzero(scores)
    return pd.DataFrame(
        {
            "school_id": population.schools.school_id[school],
            "year": np.full(len(school), year),
            "procedure": [procedure] * len(school),
            "score": score,
            "n_pupils": scores[school, score],
        }
    )
