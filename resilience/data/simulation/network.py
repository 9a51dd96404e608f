"""Schools of the region: where they stand, how large they are, whom they teach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resilience.data.simulation.parameters import Network, PupilIntake
from resilience.data.simulation.streams import Streams

__all__ = ["LAST_GRADE", "Schools", "draw_schools"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

LAST_GRADE = 9
# The place is invented; only distances within the region mean something.
CENTRE = (60.0, 60.0)
KM_PER_DEGREE = 111.2
ROAD_FACTOR = 1.3
DISTRICT_DISTANCE_KM = (30.0, 90.0)
URBAN_SCATTER_KM = 1.5
RURAL_DISTANCE_KM = 14.0
FARTHEST_KM = 60.0

SETTLEMENT_BEGINNINGS = (
    "Верхне", "Нижне", "Старо", "Ново", "Красно", "Бело", "Черно", "Светло", "Тихо", "Дальне",
    "Средне", "Мало",
)  # fmt: skip
SETTLEMENT_ENDINGS = (
    "озёрное", "полевое", "горное", "лесное", "реченское", "каменное", "луговое", "ключевое",
    "бродское", "холмское", "родниковое", "заречное",
)  # fmt: skip
TOWNS = (
    "Северореченск", "Озерогорск", "Дальнеполье", "Каменнобродск", "Тихолесск", "Белоключевск",
    "Светлохолмск", "Среднезаречье", "Новолуговск", "Старородниковск", "Красноборье",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Schools:
    """Arrays of what does not change from year to year, one element per school.

    Attributes
    ----------
    school_id, municipality_id, name, school_type, levels : ndarray of str
        Keys and words; schools are sorted by municipality.
    municipality : ndarray of int
        Number of the municipality, 0-based.
    is_rural, is_selective, is_small, has_grade_11 : ndarray of bool
        Kinds of school.
    usual_cohort : ndarray of float
        Expected number of pupils in one grade.
    latitude, longitude, remoteness_km : ndarray of float
        Place, and road distance to the nearest municipal centre.
    context : ndarray of float
        True context: the school's long-run mean family background, in pupil SD; its pupil-weighted
        mean over the region is 0.
    network : Network
        What they were drawn from.
    """

    school_id: npt.NDArray[np.str_]
    municipality_id: npt.NDArray[np.str_]
    name: npt.NDArray[np.str_]
    school_type: npt.NDArray[np.str_]
    levels: npt.NDArray[np.str_]
    municipality: Integers
    is_rural: Flags
    is_selective: Flags
    is_small: Flags
    has_grade_11: Flags
    usual_cohort: Floats
    latitude: Floats
    longitude: Floats
    remoteness_km: Floats
    context: Floats
    network: Network

    @property
    def n_schools(self) -> int:
        """Number of schools."""
        return len(self.school_id)

    def cohort(self, streams: Streams, last_year: int) -> Integers:
        """Return the number of pupils of each school who finish grade 9 in `last_year`.

        Poisson around the usual size, within the bounds of the network.
        """
        drawn = streams.generator("cohorts", last_year).poisson(self.usual_cohort)
        return np.clip(drawn, self.network.smallest_cohort, self.network.largest_cohort)

    def roll(self, streams: Streams, year: int) -> Integers:
        """Return the number of pupils of each school in a school year, all grades."""
        basic = sum(self.cohort(streams, year + LAST_GRADE - g) for g in range(1, LAST_GRADE + 1))
        upper = self.cohort(streams, year - 1) + self.cohort(streams, year - 2)
        staying = np.floor(self.network.staying_share * upper).astype(np.int64)
        return np.asarray(basic) + np.where(self.has_grade_11, staying, 0)


def draw_schools(network: Network, intake: PupilIntake, streams: Streams) -> Schools:
    """Draw the schools of the region.

    Parameters
    ----------
    network : Network
        Totals and sizes.
    intake : PupilIntake
        How the context differs between schools.
    streams : Streams
        Streams ``network`` and ``context``.

    Returns
    -------
    Schools
        Sorted by municipality, urban before rural.
    """
    generator = streams.generator("network")
    municipality, is_rural = _places(network)
    n = network.n_schools
    # 1. sizes: logarithms normal around the median of the kind
    median = np.where(is_rural, network.rural_cohort, network.urban_cohort)
    spread = np.where(is_rural, network.rural_spread, network.urban_spread)
    usual = np.clip(
        median * np.exp(spread * generator.standard_normal(n)),
        network.smallest_cohort,
        network.largest_cohort,
    )
    # 2. kinds: lyceums among the urban, nine-year schools among the smaller rural
    is_selective = _lowest(generator.random(n), network.n_selective, among=~is_rural)
    n_nine_year = round(network.nine_year_share * network.n_rural)
    blurred = usual * np.exp(0.5 * generator.standard_normal(n))
    nine_year = _lowest(blurred, n_nine_year, among=is_rural)
    # 3. places
    latitude, longitude, remoteness = _coordinates(municipality, is_rural, generator)
    order = np.arange(n) + 1
    selective_kind = np.where(order % 2 == 0, "лицей", "гимназия")
    plain_kind = np.where(nine_year, "ООШ", "СОШ")
    school_type = np.where(is_selective, selective_kind, plain_kind)
    return Schools(
        school_id=np.array([f"S{k:0{max(3, len(str(n)))}d}" for k in order]),
        municipality_id=np.array([f"M{m + 1:02d}" for m in municipality]),
        name=_names(school_type, municipality, is_rural),
        school_type=school_type,
        levels=np.where(nine_year, "1-4, 5-9", "1-4, 5-9, 10-11"),
        municipality=municipality,
        is_rural=is_rural,
        is_selective=is_selective,
        is_small=is_rural & (usual < network.small_cohort),
        has_grade_11=~nine_year,
        usual_cohort=usual,
        latitude=latitude,
        longitude=longitude,
        remoteness_km=remoteness,
        context=_context(intake, municipality, is_rural, is_selective, usual, streams),
        network=network,
    )


def _places(network: Network) -> tuple[Integers, Flags]:
    """Return municipality and rurality: a capital, a second town, and districts."""
    m = network.n_municipalities
    urban_weights, rural_weights = np.ones(m), np.ones(m)
    urban_weights[0] = 6.0
    if m > 1:
        urban_weights[1], rural_weights[0] = 3.0, 0.0
    urban = _apportion(network.n_schools - network.n_rural, urban_weights)
    rural = _apportion(network.n_rural, rural_weights)
    for empty in np.flatnonzero(urban + rural == 0):  # tiny networks: every municipality has one
        donor = int(np.argmax(urban + rural))
        kind = rural if rural[donor] >= urban[donor] else urban
        kind[donor] -= 1
        kind[empty] += 1
    municipality = np.concatenate([np.repeat(k, urban[k] + rural[k]) for k in range(m)])
    is_rural = np.concatenate([np.repeat([False, True], [urban[k], rural[k]]) for k in range(m)])
    return municipality.astype(np.int64), is_rural


def _apportion(total: int, weights: Floats) -> Integers:
    """Split a total by weights into whole numbers (largest remainders)."""
    exact = total * weights / weights.sum()
    whole: Integers = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(whole - exact, kind="stable")
    whole[by_remainder[: total - whole.sum()]] += 1
    return whole


def _lowest(values: Floats, count: int, *, among: Flags) -> Flags:
    chosen = np.zeros(len(values), dtype=bool)
    chosen[np.argsort(np.where(among, values, np.inf), kind="stable")[:count]] = True
    return chosen


def _coordinates(
    municipality: Integers, is_rural: Flags, generator: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    m, n = int(municipality.max()) + 1, len(municipality)
    angle = 2 * np.pi * (np.arange(m) + generator.uniform(-0.3, 0.3, m)) / max(m - 1, 1)
    radius = generator.uniform(*DISTRICT_DISTANCE_KM, m)
    radius[0] = 0.0  # the capital
    centres = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    direction = generator.uniform(0, 2 * np.pi, n)
    village = np.minimum(generator.exponential(RURAL_DISTANCE_KM, n) + 3.0, FARTHEST_KM)
    town = np.abs(generator.normal(0.0, URBAN_SCATTER_KM, n))
    distance = np.where(is_rural, village, town)
    offset = np.column_stack([np.cos(direction), np.sin(direction)]) * distance[:, None]
    place = centres[municipality] + offset
    gaps = np.linalg.norm(place[:, None, :] - centres[None, :, :], axis=2).min(axis=1)
    latitude = CENTRE[0] + place[:, 0] / KM_PER_DEGREE
    longitude = CENTRE[1] + place[:, 1] / (KM_PER_DEGREE * np.cos(np.radians(CENTRE[0])))
    return np.round(latitude, 4), np.round(longitude, 4), np.round(ROAD_FACTOR * gaps, 1)


def _names(
    school_type: npt.NDArray[np.str_], municipality: Integers, is_rural: Flags
) -> npt.NDArray[np.str_]:
    """Return invented names: a number within the town, a settlement of its own in the country."""
    settlements = [f"{a}{b}" for b in SETTLEMENT_ENDINGS for a in SETTLEMENT_BEGINNINGS]
    names, village = [], 0
    numbers: dict[int, int] = {}
    for kind, home, rural in zip(school_type, municipality, is_rural, strict=True):
        numbers[home] = numbers.get(home, 0) + 1
        if rural:
            turn, place = divmod(village, len(settlements))
            settlement = settlements[place] + (f" {turn + 1}-е" if turn else "")
            names.append(f"{kind} № {numbers[home]} с. {settlement}")
            village += 1
        else:
            names.append(f"{kind} № {numbers[home]} г. {TOWNS[home % len(TOWNS)]}")
    return np.array(names)


def _context(
    intake: PupilIntake,
    municipality: Integers,
    is_rural: Flags,
    is_selective: Flags,
    weights: Floats,
    streams: Streams,
) -> Floats:
    """Return the true context with pupil-weighted mean 0 and variance `ses_icc`."""
    generator = streams.generator("context")
    shared = generator.standard_normal(int(municipality.max()) + 1)[municipality]
    own = generator.standard_normal(len(municipality))
    raw = (
        np.sqrt(intake.municipality_share) * shared
        + np.sqrt(1 - intake.municipality_share) * own
        - intake.rural_gap * is_rural
        + intake.selective_gain * is_selective
    )
    centred = raw - np.average(raw, weights=weights)
    scale = np.sqrt(intake.ses_icc / np.average(centred**2, weights=weights))
    return np.asarray(np.round(centred * scale, 6))
