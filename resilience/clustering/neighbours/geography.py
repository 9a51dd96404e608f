"""Coordinates of schools, checked, and how remote a school is by them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.clusters.geography import great_circle_km
from resilience.stats.clusters.partitions import Floats
from resilience.validation import (
    check_columns,
    check_count,
    check_finite,
    check_mapping,
    check_names,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = ["coordinates_of", "remoteness"]

_FAR_KM = 1500.0  # from the middle of the schools: farther than any region is long
_NEAR = 0.2  # of that distance, once latitude and longitude change places


def coordinates_of(schools: pd.DataFrame, columns: tuple[str, str]) -> Floats:
    """Return checked coordinates, shape (S, 2): latitude, longitude in degrees.

    Raises
    ------
    DataError
        If a coordinate is missing, out of range, 0/0, or lies far from all other schools and would
        not if latitude and longitude changed places.
    """
    check_columns(schools, columns, table="schools")
    check_numeric(schools, columns, table="schools")
    check_finite(schools, columns, table="schools", unit="school_id")
    places = schools[list(columns)].to_numpy(dtype=np.float64)
    for axis, (name, bound) in enumerate(zip(columns, (90.0, 180.0), strict=True)):
        outside = np.abs(places[:, axis]) > bound
        if outside.any():
            raise DataError(
                text(
                    "neighbours.coordinate_range",
                    column=repr(name),
                    bound=f"{bound:g}",
                    value=f"{places[outside, axis][0]:g}",
                    schools=_ids(schools, outside),
                )
            )
    nowhere = (places == 0.0).all(axis=1)
    if nowhere.any():
        raise DataError(text("neighbours.coordinate_zero", schools=_ids(schools, nowhere)))
    middle = np.median(places, axis=0)
    distance = great_circle_km(places, middle)
    changed = places[:, ::-1]
    possible = np.abs(changed[:, 0]) <= 90.0
    other = np.where(
        possible, great_circle_km(np.where(possible[:, None], changed, 0.0), middle), np.inf
    )
    swapped = (distance > _FAR_KM) & (other < _NEAR * distance)
    if swapped.any():
        raise DataError(
            text(
                "neighbours.coordinate_swapped",
                latitude=repr(columns[0]),
                longitude=repr(columns[1]),
                schools=_ids(schools, swapped),
                value=f"{distance[swapped].max():.0f}",
            )
        )
    return places


def remoteness(
    schools: pd.DataFrame,
    *,
    coordinates: tuple[str, str] = ("latitude", "longitude"),
    n_nearest: int = 5,
    centres: Mapping[str, tuple[float, float]] | tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Return how far every school is from other schools and from a centre, by great circle.

    Parameters
    ----------
    schools : DataFrame
        One row per school, with ``school_id`` and coordinates in degrees.
    coordinates : (str, str)
        Columns of latitude and longitude.
    n_nearest : int
        Schools whose mean distance is taken.
    centres : (float, float) or mapping of {municipality_id: (float, float)}, optional
        Latitude and longitude of the centre, or of one for every municipality.

    Returns
    -------
    DataFrame
        ``school_id nearest_schools_km`` and, with centres, ``centre_km``: kilometres as the crow
        flies; roads in mountains are longer.

    Raises
    ------
    DataError
        For impossible coordinates, a school twice, or a municipality without a centre.
    SpecificationError
        If there are no other schools to be far from.
    """
    check_not_empty(schools, table="schools")
    names = check_names(coordinates, argument="coordinates", example="('latitude', 'longitude')")
    if len(names) != 2:
        raise SpecificationError(text("neighbours.two_coordinates", n=len(names)))
    check_columns(schools, ["school_id"], table="schools")
    check_unique(schools, ["school_id"], table="schools")
    check_count(n_nearest, argument="n_nearest")
    places = coordinates_of(schools, (names[0], names[1]))
    if len(places) < 2:
        raise SpecificationError(text("neighbours.alone"))
    table = pd.DataFrame({"school_id": schools["school_id"].to_numpy()})
    table["nearest_schools_km"] = _nearest_km(places, min(n_nearest, len(places) - 1))
    if centres is not None:
        table["centre_km"] = great_circle_km(places, _centres(schools, centres))
    return table


def _nearest_km(places: Floats, n_nearest: int) -> Floats:
    """Return the mean distance to the nearest schools, over a ball tree of haversines."""
    from sklearn.neighbors import BallTree

    from resilience.stats.clusters.geography import EARTH_RADIUS_KM

    radians = np.radians(places)
    distance, _ = BallTree(radians, metric="haversine").query(radians, k=n_nearest + 1)
    return np.asarray(distance[:, 1:].mean(axis=1) * EARTH_RADIUS_KM)


def _centres(
    schools: pd.DataFrame, centres: Mapping[str, tuple[float, float]] | tuple[float, float]
) -> Floats:
    if not isinstance(centres, Mapping):
        return _centre(centres)
    check_mapping(centres, argument="centres", example="centres={'M01': (44.2, 42.0)}")
    check_columns(schools, ["municipality_id"], table="schools")
    home = schools["municipality_id"].astype(str)
    absent = sorted(set(home) - set(centres))
    if absent:
        raise DataError(text("neighbours.no_centre", municipalities=shorten(absent)))
    return np.array([_centre(centres[name]) for name in home])


def _centre(given: object) -> Floats:
    """Return latitude and longitude of a centre."""
    pair = given if isinstance(given, tuple | list) else ()
    numbers = [
        v for v in pair if isinstance(v, int | float | np.number) and not isinstance(v, bool)
    ]
    if len(pair) != 2 or len(numbers) != 2 or abs(pair[0]) > 90 or abs(pair[1]) > 180:
        raise SpecificationError(text("neighbours.centre", value=repr(given)))
    return np.array(pair, dtype=np.float64)


def _ids(schools: pd.DataFrame, rows: np.ndarray) -> str:
    return shorten(schools.loc[np.asarray(rows), "school_id"].astype(str))
