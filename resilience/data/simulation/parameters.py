"""What a simulated region is made of: every number with its default and where it comes from.

The source of a default is a key of the bibliography or ``"our choice"``; it travels with the
parameter (``field(metadata=...)``) into the table ``truth["parameters"]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = [
    "OUR_CHOICE",
    "Assessment",
    "MarkInflation",
    "Network",
    "PupilIntake",
    "SchoolEffects",
]

OUR_CHOICE = "our choice"
BASIC_SCHOOL_GRADES = (4, 5, 6, 7, 8)


def _parameter(default: Any, source: str, low: float, high: float) -> Any:
    """Return a field with its default, source and closed range."""
    return field(default=default, metadata={"source": source, "low": low, "high": high})


class _Checked:
    """Checks each numeric parameter against the range that stands beside it."""

    def __post_init__(self) -> None:
        for entry in fields(self):  # type: ignore[arg-type]  # every heir is a dataclass
            if "low" not in entry.metadata:
                continue
            value = getattr(self, entry.name)
            low, high = entry.metadata["low"], entry.metadata["high"]
            kinds = (int,) if isinstance(entry.default, int) else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                raise SpecificationError(
                    text(
                        "simulation.range",
                        parameter=f"{type(self).__name__}.{entry.name}",
                        value=repr(value),
                        kind=text(f"simulation.{'whole_number' if len(kinds) == 1 else 'number'}"),
                        low=f"{low:g}",
                        high=f"{high:g}",
                    )
                )


@dataclass(frozen=True, kw_only=True)
class Network(_Checked):
    """Schools, municipalities and cohorts.

    Attributes
    ----------
    first_year, n_years : int
        First school year (by its ending calendar year) and number of cohorts of grade 9.
    n_schools, n_rural, n_municipalities : int
        Totals.  The order of 2020 counts 54 urban and 141 rural organisations, 18 colleges among
        them; taking the colleges for rural, 177 schools are 54 urban and 123 rural (K2020).
    n_selective : int
        Lyceums and gymnasiums, all urban.
    nine_year_share : float
        Share of the rural schools that end with grade 9 (ООШ); the smaller ones.
    smallest_cohort, largest_cohort : int
        Bounds of the number of pupils of a school in one grade.
    rural_cohort, urban_cohort : float
        Median number of pupils in one grade.
    rural_spread, urban_spread : float
        SD of the logarithm of that number between schools.
    small_cohort : float
        A rural school with fewer pupils a grade on average is marked `is_small`.
    staying_share : float
        Share of grade 9 that goes on to grades 10 and 11 of the same school.
    """

    first_year: int = _parameter(2022, OUR_CHOICE, 2000, 2100)
    n_years: int = _parameter(4, OUR_CHOICE, 1, 20)
    n_schools: int = _parameter(177, "K2020", 4, 5000)
    n_rural: int = _parameter(123, "K2020", 0, 5000)
    n_municipalities: int = _parameter(11, "K2020", 1, 99)
    n_selective: int = _parameter(6, OUR_CHOICE, 0, 5000)
    nine_year_share: float = _parameter(0.25, OUR_CHOICE, 0, 1)
    smallest_cohort: int = _parameter(3, OUR_CHOICE, 1, 1000)
    largest_cohort: int = _parameter(120, OUR_CHOICE, 1, 1000)
    rural_cohort: float = _parameter(13.0, OUR_CHOICE, 1, 1000)
    urban_cohort: float = _parameter(55.0, OUR_CHOICE, 1, 1000)
    rural_spread: float = _parameter(0.60, OUR_CHOICE, 0, 3)
    urban_spread: float = _parameter(0.45, OUR_CHOICE, 0, 3)
    small_cohort: float = _parameter(10.0, OUR_CHOICE, 0, 1000)
    staying_share: float = _parameter(0.5, OUR_CHOICE, 0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for small, large in (
            ("n_rural", "n_schools"),
            ("n_municipalities", "n_schools"),
            ("smallest_cohort", "largest_cohort"),
        ):
            if getattr(self, small) > getattr(self, large):
                raise SpecificationError(
                    text(
                        "simulation.order",
                        small=f"Network.{small}",
                        value=getattr(self, small),
                        large=f"Network.{large}",
                        bound=getattr(self, large),
                    )
                )
        if self.n_selective > self.n_schools - self.n_rural:
            raise SpecificationError(
                text(
                    "simulation.selective",
                    value=self.n_selective,
                    n_urban=self.n_schools - self.n_rural,
                )
            )

    @property
    def years(self) -> tuple[int, ...]:
        """School years with results, ascending."""
        return tuple(range(self.first_year, self.first_year + self.n_years))


@dataclass(frozen=True, kw_only=True)
class PupilIntake(_Checked):
    """Family background and what it does to results.

    Attributes
    ----------
    ses_icc : float
        Share of the variance of family background that lies between schools.
    rural_gap : float
        How much less favourable rural schools are, in SD of the other differences between schools.
    selective_gain : float
        How much more favourable lyceums and gymnasiums are, in the same unit.
    municipality_share : float
        Share of those other differences that whole municipalities have in common.  Municipalities
        have no effect of their own on results (WP55).
    ses_slope : float
        Pupil SD of results per SD of the pupil's family background, within schools.
    composition : float
        Composition effect: what the school's mean background adds to that, per unit.
    stability : float
        Correlation of two tests of one pupil in one subject, within school and background.
    subject_correlation : float
        Correlation of the lasting abilities of one pupil in the two subjects.
    """

    ses_icc: float = _parameter(0.30, OUR_CHOICE, 0.01, 0.9)
    rural_gap: float = _parameter(0.60, OUR_CHOICE, -5, 5)
    selective_gain: float = _parameter(1.50, OUR_CHOICE, -5, 5)
    municipality_share: float = _parameter(0.10, OUR_CHOICE, 0, 1)
    ses_slope: float = _parameter(0.25, OUR_CHOICE, -1, 1)
    composition: float = _parameter(0.40, OUR_CHOICE, -2, 2)
    stability: float = _parameter(0.70, OUR_CHOICE, 0, 1)
    subject_correlation: float = _parameter(0.75, OUR_CHOICE, 0, 1)


@dataclass(frozen=True, kw_only=True)
class SchoolEffects(_Checked):
    """What schools do, in SD of pupils' results at the end of grade 9.

    Attributes
    ----------
    persistent_sd : float
        SD of the lasting effect of a school, common to its subjects.
    subject_sd : float
        SD of a lasting deviation of one subject within the school.
    transient_sd : float
        SD of an effect of one school year, common to all tests of the school in that year.
    procedure_sd : float
        SD of an effect of one school in one test of one year.
    accumulation : float
        The lasting effects reach the share (grade / 9) to this power by the end of a grade: 1 means
        equal yearly contributions, so that ВПР results are partly the school's own work; 0 means
        that the whole effect is there from the start.
    boosted_share : float
        Share of the schools in the least favourable quarter whose lasting effect is drawn from the
        upper quarter of effects, besides the resilient schools that arise by themselves.

    Notes
    -----
    The defaults give, for the value added of one subject with 23 pupils a year, a correlation of
    about .36 between two years, as published for Luxembourg (Emslander2022: .34 and .37), and a
    share of schools in the residual variance of one year of about .10.
    """

    persistent_sd: float = _parameter(0.20, "Emslander2022", 0, 1)
    subject_sd: float = _parameter(0.08, OUR_CHOICE, 0, 1)
    transient_sd: float = _parameter(0.10, "Emslander2022", 0, 1)
    procedure_sd: float = _parameter(0.07, OUR_CHOICE, 0, 1)
    accumulation: float = _parameter(1.0, OUR_CHOICE, 0, 20)
    boosted_share: float = _parameter(0.0, OUR_CHOICE, 0, 1)


@dataclass(frozen=True, kw_only=True)
class Assessment(_Checked):
    """Procedures, their scales and their difficulty.

    The scales are real ones of single years, applied to every simulated year: forms do not differ
    in difficulty between years.

    Attributes
    ----------
    vpr_grades : tuple of int
        Grades whose ВПР are counted each year, in Russian and mathematics.
    prior_grade : int
        Grade of the ВПР that stands in `pupils` as `prior_score`.
    vpr_scale_year, oge_scale_year : int
        Years of the mark scales (VPR2021, OGE2023).
    vpr_below_russian, vpr_below_mathematics, oge_below_russian, oge_below_mathematics : float
        Share of pupils of the whole region below the minimum (mark 2), before the condition on
        geometry and without inflation.  These four set the size of the list of low results: the
        defaults give 46.2 schools in the last year (mean of 200 seeds, standard error 0.4).
    vpr_top_russian, vpr_top_mathematics, oge_top_russian, oge_top_mathematics : float
        Share of pupils of the whole region in the range of mark 5.
    participation : float
        Share of a grade that sits a ВПР on the day.  The absent sit it later: their results stand
        in `pupils` and not in the school's counts.
    vpr_available, oge_available : str
        Month and day from which the results of the year may be used, ``"MM-DD"``.
    """

    vpr_grades: tuple[int, ...] = field(default=(5, 6, 7, 8), metadata={"source": OUR_CHOICE})
    prior_grade: int = _parameter(4, OUR_CHOICE, 4, 8)
    vpr_scale_year: int = _parameter(2021, "VPR2021", 2000, 2100)
    oge_scale_year: int = _parameter(2023, "OGE2023", 2000, 2100)
    vpr_below_russian: float = _parameter(0.14, OUR_CHOICE, 0.001, 0.9)
    vpr_below_mathematics: float = _parameter(0.12, OUR_CHOICE, 0.001, 0.9)
    oge_below_russian: float = _parameter(0.05, OUR_CHOICE, 0.001, 0.9)
    oge_below_mathematics: float = _parameter(0.10, OUR_CHOICE, 0.001, 0.9)
    vpr_top_russian: float = _parameter(0.14, OUR_CHOICE, 0.001, 0.9)
    vpr_top_mathematics: float = _parameter(0.12, OUR_CHOICE, 0.001, 0.9)
    oge_top_russian: float = _parameter(0.25, OUR_CHOICE, 0.001, 0.9)
    oge_top_mathematics: float = _parameter(0.08, OUR_CHOICE, 0.001, 0.9)
    participation: float = _parameter(0.95, OUR_CHOICE, 0.05, 1)
    vpr_available: str = field(default="05-15", metadata={"source": OUR_CHOICE})
    oge_available: str = field(default="07-01", metadata={"source": OUR_CHOICE})

    def __post_init__(self) -> None:
        super().__post_init__()
        grades = tuple(self.vpr_grades)
        if list(grades) != sorted(set(grades)) or not set(grades) <= set(BASIC_SCHOOL_GRADES):
            raise SpecificationError(text("simulation.grades", value=repr(self.vpr_grades)))
        for name in ("vpr_available", "oge_available"):
            _check_day(name, getattr(self, name))
        for exam in ("vpr", "oge"):
            for subject in ("russian", "mathematics"):
                below = getattr(self, f"{exam}_below_{subject}")
                top = getattr(self, f"{exam}_top_{subject}")
                if below + top >= 1:
                    raise SpecificationError(
                        text("simulation.shares", name=f"{exam}_*_{subject}", total=below + top)
                    )


@dataclass(frozen=True, kw_only=True)
class MarkInflation(_Checked):
    """Schools that mark their own ВПР too kindly, in all grades and years.

    Attributes
    ----------
    school_share : float
        Share of the schools (not selective) that do so.
    moved_share : float
        Share of the pupils just below a border of marks who are put just above it.
    window : int
        How many scores below a border are moved, and as many above it receive them.
    lift : float
        What these schools add to every ВПР result, in pupil SD.
    """

    school_share: float = _parameter(0.10, OUR_CHOICE, 0, 1)
    moved_share: float = _parameter(0.60, OUR_CHOICE, 0, 1)
    window: int = _parameter(2, OUR_CHOICE, 1, 3)
    lift: float = _parameter(0.25, OUR_CHOICE, 0, 3)


def _check_day(name: str, value: object) -> None:
    from datetime import date

    try:
        date.fromisoformat(f"2023-{value}")
    except ValueError:
        raise SpecificationError(
            text("simulation.day", parameter=f"Assessment.{name}", value=repr(value))
        ) from None
