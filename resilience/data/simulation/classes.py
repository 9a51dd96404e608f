"""Counts of marks by class: the table of a region as schools hand it in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from resilience.data.simulation.counts import MARKS, cross_table, sit_test
from resilience.data.simulation.network import LAST_GRADE
from resilience.data.simulation.parameters import (
    Assessment,
    MarkInflation,
    Network,
    PupilIntake,
    SchoolEffects,
)
from resilience.data.simulation.passports import SocialPassport
from resilience.data.simulation.procedures import Procedure, counted_procedures
from resilience.data.simulation.pupils import Cohort, Population
from resilience.data.simulation.region import RegionParameters, draw_population
from resilience.data.simulation.streams import Streams
from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["class_counts", "simulate_class_counts"]

Integers = npt.NDArray[np.int64]
LETTERS = "АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЭЮЯ"


def simulate_class_counts(
    *,
    random_state: int = 2020,
    network: Network | None = None,
    intake: PupilIntake | None = None,
    effects: SchoolEffects | None = None,
    assessment: Assessment | None = None,
    inflation: MarkInflation | None = None,
    largest: int = 25,
) -> pd.DataFrame:
    """Return the counts of `simulate_region` by class.

    With the same seed and parameters the classes of a school, procedure and year sum to the row of
    the region's table ``counts``.  Pupils are put into classes of nearly equal size by lot, once
    for all their school years, so classes differ by chance only.

    Parameters
    ----------
    random_state : int, default 2020
        Seed of the region.
    network, intake, effects, assessment, inflation : optional
        Groups of parameters of the region; social passports have no part in the counts.
    largest : int, default 25
        Most pupils in one class, at least 1.

    Returns
    -------
    DataFrame
        ``school_id year procedure class_label n_participants n_2 n_3 n_4 n_5 n_below_minimum``,
        sorted by year, procedure (in the order of the table ``counts``), school and class; only
        classes with participants.

    Raises
    ------
    SpecificationError
        If a parameter lies outside its range or parameters contradict each other.
    """
    parameters = RegionParameters(
        network=network or Network(),
        intake=intake or PupilIntake(),
        effects=effects or SchoolEffects(),
        assessment=assessment or Assessment(),
        inflation=inflation or MarkInflation(),
        passport=SocialPassport(),
    )
    population = draw_population(parameters, Streams(random_state=random_state))
    return class_counts(
        population,
        counted_procedures(parameters.assessment),
        parameters.assessment,
        parameters.network.years,
        largest=largest,
    )


def class_counts(
    population: Population,
    procedures: Sequence[Procedure],
    assessment: Assessment,
    years: Sequence[int],
    *,
    largest: int = 25,
) -> pd.DataFrame:
    """Return the table of `simulate_class_counts` for a population."""
    if isinstance(largest, bool) or not isinstance(largest, int | np.integer) or largest < 1:
        raise SpecificationError(text("simulation.largest_class", value=repr(largest)))
    cohorts: dict[int, tuple[Cohort, Integers]] = {}
    frames = []
    for year in years:
        for procedure in procedures:
            last_year = year + LAST_GRADE - procedure.grade
            if last_year not in cohorts:
                cohort = population.cohort(last_year)
                cohorts[last_year] = (cohort, _classes(cohort, int(largest)))
            cohort, number = cohorts[last_year]
            who, _, marks = sit_test(cohort, procedure, assessment)
            width = int(number.max()) + 1
            rows = cohort.school[who] * width + number[who]
            n_rows = population.schools.n_schools * width
            table = cross_table(rows, marks - MARKS[0], n_rows, len(MARKS))
            frames.append(_frame(population, table, width, year, procedure))
    return pd.concat(frames, ignore_index=True)


def _classes(cohort: Cohort, largest: int) -> Integers:
    """Return the number of each pupil's class within the school, from 0, by lot."""
    school = cohort.school
    generator = cohort.population.streams.generator("classes", cohort.last_year)
    sizes = np.bincount(school)
    order = np.lexsort((generator.random(len(school)), school))
    place = np.empty(len(school), dtype=np.int64)
    place[order] = np.arange(len(school)) - (np.cumsum(sizes) - sizes)[school]
    return np.asarray(place % -(-sizes // largest)[school])


def _label(grade: int, number: int) -> str:
    """Return grade and letter; where the alphabet ends, it begins again with a figure behind."""
    again, letter = divmod(number, len(LETTERS))
    return f"{grade}{LETTERS[letter]}{again + 1 if again else ''}"


def _frame(
    population: Population, table: Integers, width: int, year: int, procedure: Procedure
) -> pd.DataFrame:
    total = table.sum(axis=1)
    sat = np.flatnonzero(total)
    labels = [_label(procedure.grade, number) for number in range(width)]
    columns = {
        "school_id": population.schools.school_id[sat // width],
        "year": np.full(len(sat), year),
        "procedure": [procedure.name] * len(sat),
        "class_label": [labels[number] for number in sat % width],
        "n_participants": total[sat],
    }
    columns |= {f"n_{mark}": table[sat, k] for k, mark in enumerate(MARKS)}
    return pd.DataFrame(columns | {"n_below_minimum": table[sat, 0]})
