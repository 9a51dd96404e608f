"""The region as a whole: draw the truth, let pupils sit their tests, write the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.data.dataset import Dataset
from resilience.data.simulation.counts import count_marks, procedure_calendar
from resilience.data.simulation.effects import draw_effects, split_variance
from resilience.data.simulation.network import draw_schools
from resilience.data.simulation.parameters import (
    Assessment,
    MarkInflation,
    Network,
    PupilIntake,
    SchoolEffects,
)
from resilience.data.simulation.passports import SocialPassport, passport_shares
from resilience.data.simulation.procedures import (
    SUBJECTS,
    counted_procedures,
    make_procedure,
)
from resilience.data.simulation.pupils import Population, inflating_schools
from resilience.data.simulation.streams import Streams
from resilience.data.simulation.truth import (
    long_run_shares,
    true_parameters,
    true_school_years,
    true_schools,
)
from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = [
    "RegionParameters",
    "RegionTables",
    "draw_population",
    "simulate_region",
    "simulate_tables",
]

SCORE_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class RegionParameters:
    """All parameters of a simulated region, one group per subject.

    Attributes
    ----------
    network, intake, effects, assessment, inflation, passport
        See the classes.
    """

    network: Network
    intake: PupilIntake
    effects: SchoolEffects
    assessment: Assessment
    inflation: MarkInflation
    passport: SocialPassport

    def __post_init__(self) -> None:
        for name, kind in (
            ("network", Network),
            ("intake", PupilIntake),
            ("effects", SchoolEffects),
            ("assessment", Assessment),
            ("inflation", MarkInflation),
            ("passport", SocialPassport),
        ):
            if not isinstance(getattr(self, name), kind):
                raise SpecificationError(
                    text(
                        "simulation.group",
                        argument=name,
                        value=type(getattr(self, name)).__name__,
                        kind=kind.__name__,
                    )
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionTables:
    """The tables of a region and its truth, before they become a `Dataset`.

    Attributes
    ----------
    frames, truth : dict of str to DataFrame
        Tables by name.
    """

    frames: Mapping[str, pd.DataFrame]
    truth: Mapping[str, pd.DataFrame]


FurtherTable = Callable[[Population, Streams], pd.DataFrame]


def simulate_region(
    *,
    random_state: int = 2020,
    network: Network | None = None,
    intake: PupilIntake | None = None,
    effects: SchoolEffects | None = None,
    assessment: Assessment | None = None,
    inflation: MarkInflation | None = None,
    passport: SocialPassport | None = None,
    lang: str = "en",
) -> Dataset:
    r"""Simulate a region with known truth.

    The default is a region of the size of the order of 2020 (K2020): 177 schools, 54 urban and 123
    rural, 11 municipalities, four cohorts; the rule of low results with "or" and no floor on the
    number of participants lists about 46 schools in its last year.

    Pupil i of school j has in a test of grade g, subject s and year t the result

    .. math:: y = \beta\,ses_i + \gamma\,c_j + (g/9)^a (u_j + w_{js}) + v_{jt} + d_{jgst}
                  + a_i + b_{is} + e_{igs},

    with the school's true context c, its lasting effect u, a lasting deviation w of the subject, an
    effect v of the year, an effect d of the test, lasting abilities a and b of the pupil and an
    occasion e; variances sum to 1 at the end of grade 9.  Raw scores follow on the real scale of
    the test, marks by the real table of marks.

    Parameters
    ----------
    random_state : int, default 2020
        Seed; one number gives one region.
    network, intake, effects, assessment, inflation, passport : optional
        Groups of parameters; every default stands in the class with its source.
    lang : {"en", "ru"}
        Language of the codebook and of the printed card.

    Returns
    -------
    Dataset
        Frames ``schools``, ``pupils``, ``counts``, ``score_histograms``, ``procedures``; truth
        ``schools``, ``school_years``, ``shares``, ``parameters``.

    Raises
    ------
    SpecificationError
        If a parameter lies outside its range, parameters contradict each other, or the scale of the
        year asked for is not known.

    References
    ----------
    K2020, VPR2021, OGE2023, Emslander2022, KaneStaiger2001, HSECapital, WP55.
    """
    parameters = RegionParameters(
        network=network or Network(),
        intake=intake or PupilIntake(),
        effects=effects or SchoolEffects(),
        assessment=assessment or Assessment(),
        inflation=inflation or MarkInflation(),
        passport=passport or SocialPassport(),
    )
    tables = simulate_tables(parameters, Streams(random_state=random_state))
    return Dataset(
        name="simulated_region",
        title=text("simulation.title"),
        description=text("simulation.description", n_schools=parameters.network.n_schools),
        frames=tables.frames,
        citation=text("simulation.citation", random_state=random_state),
        licence="CC0-1.0",
        source=text("simulation.source"),
        truth=tables.truth,
        lang=lang,
    )


def simulate_tables(
    parameters: RegionParameters,
    streams: Streams,
    further: Mapping[str, FurtherTable] | None = None,
) -> RegionTables:
    """Return all tables of a region.

    Parameters
    ----------
    parameters : RegionParameters
        Everything but the seed.
    streams : Streams
        The seed.
    further : mapping of str to callable, optional
        Tables of later steps: each gets the population and the streams and returns a frame.

    Returns
    -------
    RegionTables
        Frames in a fixed order, further ones behind.
    """
    population = draw_population(parameters, streams)
    years = parameters.network.years
    procedures = counted_procedures(parameters.assessment)
    counts, histograms = count_marks(population, procedures, parameters.assessment, years)
    pupils = _pupils(population, parameters)
    frames = {
        "schools": _schools(population, parameters.passport, pupils, years),
        "pupils": pupils,
        "counts": counts,
        "score_histograms": histograms,
        "procedures": procedure_calendar(procedures, years),
    }
    frames |= {name: build(population, streams) for name, build in (further or {}).items()}
    truth = {
        "schools": true_schools(population, procedures),
        "school_years": true_school_years(population, years),
        "shares": _rounded(long_run_shares(population, procedures)),
        "parameters": true_parameters(
            parameters.network,
            parameters.intake,
            parameters.effects,
            parameters.assessment,
            parameters.inflation,
            parameters.passport,
        ),
    }
    return RegionTables(frames=frames, truth=truth)


def draw_population(parameters: RegionParameters, streams: Streams) -> Population:
    """Return schools, effects and intake: everything that results of pupils depend on."""
    variances = split_variance(parameters.intake, parameters.effects)
    schools = draw_schools(parameters.network, parameters.intake, streams)
    return Population(
        schools=schools,
        effects=draw_effects(parameters.effects, schools, streams),
        variances=variances,
        intake=parameters.intake,
        inflation=parameters.inflation,
        inflated=inflating_schools(schools, parameters.inflation, streams),
        streams=streams,
    )


def _pupils(population: Population, parameters: RegionParameters) -> pd.DataFrame:
    """Return a row per pupil and subject: ОГЭ result, ВПР prior, background."""
    assessment = parameters.assessment
    outcome = [make_procedure(assessment, s, 9) for s in SUBJECTS]
    prior = [make_procedure(assessment, s, assessment.prior_grade) for s in SUBJECTS]
    frames = []
    for year in parameters.network.years:
        cohort = population.cohort(year)
        n = len(cohort.school)
        keys = np.array([f"{year}-{number + 1:05d}" for number in range(n)])
        scores = [cohort.raw_scores(outcome[k], k) for k in range(len(SUBJECTS))]
        priors = [cohort.raw_scores(prior[k], k) for k in range(len(SUBJECTS))]
        pair = np.repeat(np.arange(n), len(SUBJECTS))
        frames.append(
            pd.DataFrame(
                {
                    "pupil_key": keys[pair],
                    "school_id": population.schools.school_id[cohort.school[pair]],
                    "municipality_id": population.schools.municipality_id[cohort.school[pair]],
                    "year": np.full(len(pair), year),
                    "subject": np.tile(SUBJECTS, n),
                    "score": np.column_stack(scores).ravel(),
                    "prior_score": np.column_stack(priors).ravel(),
                    "ses": cohort.ses[pair],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _schools(
    population: Population,
    passport: SocialPassport,
    pupils: pd.DataFrame,
    years: tuple[int, ...],
) -> pd.DataFrame:
    """Return a row per year and school: kind, place, roll, passport, mean result."""
    schools = population.schools
    yearly = []
    for year in years:
        columns = {
            "school_id": schools.school_id,
            "municipality_id": schools.municipality_id,
            "name": schools.name,
            "school_type": schools.school_type,
            "is_rural": schools.is_rural,
            "is_selective": schools.is_selective,
            "is_small": schools.is_small,
            "levels": schools.levels,
            "n_pupils": schools.roll(population.streams, year),
            "latitude": schools.latitude,
            "longitude": schools.longitude,
            "remoteness_km": schools.remoteness_km,
        }
        yearly.append(pd.DataFrame(columns | {"year": np.full(schools.n_schools, year)}))
    frame = pd.concat(yearly, ignore_index=True)
    within = pupils.groupby(["year", "subject"])["score"]
    standard = (pupils["score"] - within.transform("mean")) / within.transform("std", ddof=0)
    by_subject = standard.groupby([pupils["year"], pupils["school_id"], pupils["subject"]]).mean()
    means = by_subject.groupby(level=["year", "school_id"]).mean().round(SCORE_DIGITS)
    frame["mean_score"] = means.reindex(
        pd.MultiIndex.from_frame(frame[["year", "school_id"]])
    ).to_numpy()
    shares = passport_shares(passport, schools, population.streams, years)
    return pd.concat([frame, shares], axis=1)


def _rounded(shares: pd.DataFrame) -> pd.DataFrame:
    return shares.assign(true_share_below=shares["true_share_below"].round(6))
