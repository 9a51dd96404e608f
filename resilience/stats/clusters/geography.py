"""Distances over the surface of the earth."""

from __future__ import annotations

import numpy as np

from resilience.stats.clusters.partitions import Floats

__all__ = ["EARTH_RADIUS_KM", "great_circle_km"]

EARTH_RADIUS_KM = 6371.0088  # mean radius of the ellipsoid WGS 84


def great_circle_km(one: Floats, other: Floats) -> Floats:
    r"""Return great-circle distances by the haversine formula.

    .. math:: 2R \arcsin\sqrt{\sin^2\tfrac{\Delta\varphi}{2}
              + \cos\varphi_1\cos\varphi_2\sin^2\tfrac{\Delta\lambda}{2}}

    Parameters
    ----------
    one, other : ndarray of shape (..., 2)
        Latitude and longitude in degrees; shapes are broadcast.

    Returns
    -------
    ndarray
        Kilometres.
    """
    a, b = np.radians(one), np.radians(other)
    up = np.sin((b[..., 0] - a[..., 0]) / 2.0) ** 2
    along = np.sin((b[..., 1] - a[..., 1]) / 2.0) ** 2
    chord = up + np.cos(a[..., 0]) * np.cos(b[..., 0]) * along
    return np.asarray(2.0 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0))))
