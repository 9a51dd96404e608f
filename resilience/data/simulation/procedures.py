"""Procedures of the region: their names, scales and the map from ability to raw score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from scipy.stats import hypergeom

from resilience.data.scales import ScaleTable, scale_table
from resilience.data.simulation.network import LAST_GRADE
from resilience.data.simulation.parameters import Assessment

__all__ = ["EXAM_PARTS", "SUBJECTS", "Procedure", "counted_procedures", "make_procedure"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SUBJECTS = ("РУ", "МА")
SUBJECT_WORDS = {"РУ": "russian", "МА": "mathematics"}

# Points of the part with a condition within the ОГЭ test of 2023: literacy criteria ГК1-ГК4
# (2 points each); geometry, tasks 15-19 (1 point each) and 23-25 (2 points each).  OGE2023.
EXAM_PARTS = {"РУ": ("literacy", 8), "МА": ("geometry", 11)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Procedure:
    """One procedure: a kind of examination in one grade and subject.

    Attributes
    ----------
    name : str
        ``"ВПР-5-МА"``, ``"ОГЭ-РУ"``.
    exam, subject : str
        Kind and subject.
    grade : int
        Grade of the pupils and of the test.
    scale : ScaleTable
        Scale of marks.
    centre, spread : float
        Raw score of the average pupil and raw points per pupil SD: raw = rint(centre + spread·y),
        held within 0 and the maximum.
    available : str
        Month and day from which results may be used.
    """

    name: str
    exam: str
    subject: str
    grade: int
    scale: ScaleTable
    centre: float
    spread: float
    available: str

    @property
    def is_vpr(self) -> bool:
        """True for a ВПР, which the school marks itself."""
        return self.exam == "ВПР"

    @property
    def part(self) -> tuple[str, int] | None:
        """Part of the test with a condition and its points, none for ВПР."""
        return None if self.is_vpr else EXAM_PARTS[self.subject]

    def raw_scores(self, ability: Floats) -> Integers:
        """Return raw scores of results in pupil SD, any shape."""
        points = np.rint(self.centre + self.spread * ability)
        return np.clip(points, 0, self.scale.maximum).astype(np.int64)

    def part_points(self, raw: Integers, generator: np.random.Generator) -> Integers:
        """Return points of the part with a condition: the raw score falls on tasks by lot."""
        _, points = EXAM_PARTS[self.subject]
        return generator.hypergeometric(points, self.scale.maximum - points, raw)

    def share_below(self, mean: Floats, spread: float) -> Floats:
        r"""Return the exact share below the minimum of groups with normal results.

        .. math:: P(\text{mark } 2) = \sum_r P(\text{raw} = r) P(\text{mark } 2 \mid r)

        Parameters
        ----------
        mean : ndarray
            Mean result of each group, in pupil SD.
        spread : float
            SD of results within the group, in pupil SD.

        Returns
        -------
        ndarray
            Shares in [0, 1], in the shape of `mean`.
        """
        raw = np.arange(self.scale.maximum + 1)
        upper = (raw + 0.5 - self.centre) / self.spread
        upper[-1] = np.inf
        cumulative = ndtr((upper - np.asarray(mean)[..., None]) / spread)
        at = np.diff(cumulative, axis=-1, prepend=0.0)
        return np.asarray(at @ self._fails_at(raw))

    def _fails_at(self, raw: Integers) -> Floats:
        """Return the probability of mark 2 at each raw score."""
        fails: Floats = (self.scale.band_of(raw) == 2).astype(np.float64)
        if self.scale.geometry is None or self.part is None:
            return fails
        points = self.part[1]
        short = hypergeom.cdf(self.scale.geometry - 1, self.scale.maximum, points, raw)
        return np.asarray(np.where(fails == 1, 1.0, short))


def make_procedure(assessment: Assessment, subject: str, grade: int) -> Procedure:
    """Return a procedure, its raw-score map set by the regional shares of marks 2 and 5.

    The map is the straight line on which Φ⁻¹ of the share below the minimum falls on the upper end
    of mark 2, and Φ⁻¹ of one minus the share of mark 5 on the upper end of mark 4.

    Raises
    ------
    SpecificationError
        If there is no scale of the year asked for.
    """
    is_oge = grade == LAST_GRADE
    prefix, words = ("oge" if is_oge else "vpr"), SUBJECT_WORDS[subject]
    scale = scale_table(
        "ОГЭ" if is_oge else "ВПР",
        subject,
        grade=grade,
        year=assessment.oge_scale_year if is_oge else assessment.vpr_scale_year,
    )
    low = ndtri(getattr(assessment, f"{prefix}_below_{words}"))
    high = ndtri(1 - getattr(assessment, f"{prefix}_top_{words}"))
    end_of_2, end_of_4 = scale.borders[0] - 0.5, scale.borders[2] - 0.5
    spread = (end_of_4 - end_of_2) / (high - low)
    return Procedure(
        name=f"ОГЭ-{subject}" if is_oge else f"ВПР-{grade}-{subject}",
        exam=scale.exam,
        subject=subject,
        grade=grade,
        scale=scale,
        centre=float(end_of_2 - spread * low),
        spread=float(spread),
        available=getattr(assessment, f"{prefix}_available"),
    )


def counted_procedures(assessment: Assessment) -> tuple[Procedure, ...]:
    """Return the procedures that are counted each year: ВПР by grade, then ОГЭ."""
    grades = (*assessment.vpr_grades, LAST_GRADE)
    return tuple(make_procedure(assessment, s, g) for g in grades for s in SUBJECTS)
