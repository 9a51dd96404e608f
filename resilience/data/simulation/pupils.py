"""Pupils of one cohort and their results in any test they ever sat."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from resilience.data.simulation.effects import N_SUBJECTS, TrueEffects, Variances
from resilience.data.simulation.network import LAST_GRADE, Schools
from resilience.data.simulation.parameters import MarkInflation, PupilIntake
from resilience.data.simulation.procedures import Procedure
from resilience.data.simulation.streams import Streams

__all__ = ["Cohort", "Population", "inflating_schools"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """Everything that results of pupils depend on.

    Attributes
    ----------
    schools, effects, variances : Schools, TrueEffects, Variances
        The region and its truth.
    intake, inflation : PupilIntake, MarkInflation
        Parameters.
    inflated : ndarray of bool
        Schools that mark ВПР too kindly.
    streams : Streams
        Streams ``intake``, ``abilities``, ``occasions``, ``participation``, ``inflation`` and
        ``parts``.
    """

    schools: Schools
    effects: TrueEffects
    variances: Variances
    intake: PupilIntake
    inflation: MarkInflation
    inflated: Flags
    streams: Streams

    def cohort(self, last_year: int) -> Cohort:
        """Return the pupils who finish grade 9 in a year."""
        return Cohort(last_year=last_year, population=self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohort:
    """Pupils who finish grade 9 in one year; they stay in one school.

    Attributes
    ----------
    last_year : int
        Year of grade 9.
    population : Population
        The region.
    """

    last_year: int
    population: Population

    @cached_property
    def school(self) -> Integers:
        """Number of the school of each pupil, ascending."""
        schools = self.population.schools
        sizes = schools.cohort(self.population.streams, self.last_year)
        return np.repeat(np.arange(schools.n_schools), sizes)

    @cached_property
    def ses(self) -> Floats:
        """Family background, mean 0 and SD 1 over the region, two decimals."""
        p = self.population
        drawn = p.streams.generator("intake", self.last_year).standard_normal(len(self.school))
        within = np.sqrt(1 - p.intake.ses_icc)
        return np.asarray(np.round(p.schools.context[self.school] + within * drawn, 2))

    @cached_property
    def _lasting(self) -> Floats:
        """Background, composition and lasting ability, shape (n_pupils, 2)."""
        p = self.population
        drawn = p.streams.generator("abilities", self.last_year).standard_normal(
            (len(self.school), 1 + N_SUBJECTS)
        )
        background = (
            p.intake.ses_slope * self.ses
            + p.intake.composition * p.schools.context[self.school]
            + np.sqrt(p.variances.ability) * drawn[:, 0]
        )
        of_subject = np.sqrt(p.variances.subject_ability) * drawn[:, 1:]
        return np.asarray(background[:, None] + of_subject)

    def ability(self, grade: int) -> Floats:
        """Return results of the tests of a grade in pupil SD, shape (n_pupils, 2)."""
        p = self.population
        year = self.last_year - LAST_GRADE + grade
        drawn = p.streams.generator("occasions", self.last_year, grade).standard_normal(
            (len(self.school), N_SUBJECTS)
        )
        school = p.effects.total(year, grade)[self.school]
        return np.asarray(self._lasting + school + np.sqrt(p.variances.occasion) * drawn)

    def raw_scores(self, procedure: Procedure, subject: int) -> Integers:
        """Return raw scores as recorded: honest ones, or inflated where the school does so.

        Parameters
        ----------
        procedure : Procedure
            The test.
        subject : int
            Number of its subject, 0 or 1.
        """
        p = self.population
        result = self.ability(procedure.grade)[:, subject]
        if not procedure.is_vpr:
            return procedure.raw_scores(result)
        kind = p.inflated[self.school]
        raw = procedure.raw_scores(result + p.inflation.lift * kind)
        generator = p.streams.generator("inflation", self.last_year, procedure.grade, subject)
        lot, landing = generator.random((2, len(raw)))
        return _move_over_borders(raw, procedure, p.inflation, kind, lot, landing)

    def marks(self, procedure: Procedure, subject: int, raw: Integers) -> Integers:
        """Return marks 2 to 5 under all conditions of the scale."""
        if procedure.part is None:
            return procedure.scale.band_of(raw)
        generator = self.population.streams.generator("parts", self.last_year, subject)
        points = procedure.part_points(raw, generator)
        if procedure.part[0] == "literacy":
            return procedure.scale.mark_of(raw, literacy=points)
        return procedure.scale.mark_of(raw, geometry=points)

    def present(self, grade: int, participation: float) -> Flags:
        """Return who sits the ВПР of a grade on the day, shape (n_pupils, 2)."""
        generator = self.population.streams.generator("participation", self.last_year, grade)
        return generator.random((len(self.school), N_SUBJECTS)) < participation


def inflating_schools(schools: Schools, inflation: MarkInflation, streams: Streams) -> Flags:
    """Return which schools mark ВПР too kindly: a fixed number, by lot among the not selective."""
    lot = streams.generator("inflation").random(schools.n_schools)
    count = round(inflation.school_share * schools.n_schools)
    order = np.argsort(np.where(schools.is_selective, 2.0, lot), kind="stable")
    chosen = np.zeros(schools.n_schools, dtype=bool)
    chosen[order[:count]] = True
    return chosen & ~schools.is_selective


def _move_over_borders(
    raw: Integers,
    procedure: Procedure,
    inflation: MarkInflation,
    kind: Flags,
    lot: Floats,
    landing: Floats,
) -> Integers:
    """Move pupils just below a border to one of the scores just above it."""
    moved = raw.copy()
    steps = np.floor(landing * inflation.window).astype(np.int64)
    for border in procedure.scale.borders:
        near = (raw >= border - inflation.window) & (raw < border)
        moves = near & kind & (lot < inflation.moved_share)
        moved = np.where(moves, border + steps, moved)
    return moved
