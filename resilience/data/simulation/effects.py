"""True effects of schools: lasting, of one year, of one test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from resilience.data.simulation.network import LAST_GRADE, Schools
from resilience.data.simulation.parameters import PupilIntake, SchoolEffects
from resilience.data.simulation.streams import Streams
from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["N_SUBJECTS", "TrueEffects", "Variances", "draw_effects", "split_variance"]

Floats = npt.NDArray[np.float64]

N_SUBJECTS = 2
ADVERSE_QUARTER = 0.25
UPPER_QUARTER = 0.75
SMALLEST_RESIDUAL = 0.05
DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class Variances:
    """Where the variance of a result at the end of grade 9 lies; the parts sum to 1.

    Attributes
    ----------
    context : float
        Family background and composition, between and within schools.
    school : float
        Persistent, subject, transient and procedure effects of schools.
    ability, subject_ability : float
        Lasting differences between pupils of one school and background: in common to the subjects,
        and of one subject.
    occasion : float
        Of one pupil in one test.
    """

    context: float
    school: float
    ability: float
    subject_ability: float
    occasion: float

    @property
    def pupil(self) -> float:
        """Variance between pupils of one school, year and background."""
        return self.ability + self.subject_ability + self.occasion


@dataclass(frozen=True, kw_only=True, eq=False)
class TrueEffects:
    """True school effects.

    Attributes
    ----------
    persistent : ndarray of shape (n_schools,)
        Lasting effect, common to the subjects.
    by_subject : ndarray of shape (n_schools, 2)
        Lasting deviation of each subject.
    parameters : SchoolEffects
        What they were drawn from.
    streams : Streams
        Streams ``transient_effects`` and ``procedure_effects``.
    """

    persistent: Floats
    by_subject: Floats
    parameters: SchoolEffects
    streams: Streams

    def transient(self, year: int) -> Floats:
        """Return the effect of one school year, shape (n_schools,)."""
        drawn = self.streams.generator("transient_effects", year)
        return np.round(
            self.parameters.transient_sd * drawn.standard_normal(len(self.persistent)), DIGITS
        )

    def procedure(self, year: int, grade: int) -> Floats:
        """Return the effects of the tests of one year and grade, shape (n_schools, 2)."""
        drawn = self.streams.generator("procedure_effects", year, grade)
        spread = self.parameters.procedure_sd
        return np.asarray(spread * drawn.standard_normal(self.by_subject.shape))

    def lasting(self, grade: int) -> Floats:
        """Return what the lasting effects have reached by the end of a grade, (n_schools, 2)."""
        share = float((grade / LAST_GRADE) ** self.parameters.accumulation)
        return share * (self.persistent[:, None] + self.by_subject)

    def total(self, year: int, grade: int) -> Floats:
        """Return the whole effect on the tests of one year and grade, shape (n_schools, 2)."""
        return self.lasting(grade) + self.transient(year)[:, None] + self.procedure(year, grade)


def draw_effects(parameters: SchoolEffects, schools: Schools, streams: Streams) -> TrueEffects:
    """Draw the lasting effects, with extra resilient schools where asked for.

    A boosted school keeps its place in the order: its effect at quantile p moves to quantile
    3/4 + p/4, so that nothing else has to be drawn.
    """
    generator = streams.generator("persistent_effects")
    standard = generator.standard_normal(schools.n_schools)
    by_subject = parameters.subject_sd * generator.standard_normal((schools.n_schools, N_SUBJECTS))
    lot = generator.random(schools.n_schools)
    adverse = schools.context <= np.quantile(schools.context, ADVERSE_QUARTER)
    boosted = adverse & (lot < parameters.boosted_share)
    lifted = ndtri(UPPER_QUARTER + (1 - UPPER_QUARTER) * ndtr(standard))
    persistent = parameters.persistent_sd * np.where(boosted, lifted, standard)
    return TrueEffects(
        persistent=np.round(persistent, DIGITS),
        by_subject=by_subject,
        parameters=parameters,
        streams=streams,
    )


def split_variance(intake: PupilIntake, effects: SchoolEffects) -> Variances:
    """Split the variance of a result so that the parts sum to 1.

    Raises
    ------
    SpecificationError
        If background and schools leave less than 5 % to the pupils.
    """
    between = (intake.ses_slope + intake.composition) ** 2 * intake.ses_icc
    context = intake.ses_slope**2 * (1 - intake.ses_icc) + between
    school = (
        effects.persistent_sd**2
        + effects.subject_sd**2
        + effects.transient_sd**2
        + effects.procedure_sd**2
    )
    residual = 1 - context - school
    if residual < SMALLEST_RESIDUAL:
        raise SpecificationError(
            text(
                "simulation.variance",
                context=f"{context:.3f}",
                school=f"{school:.3f}",
                least=SMALLEST_RESIDUAL,
            )
        )
    lasting = intake.stability * residual
    return Variances(
        context=context,
        school=school,
        ability=lasting * intake.subject_correlation,
        subject_ability=lasting * (1 - intake.subject_correlation),
        occasion=residual - lasting,
    )
