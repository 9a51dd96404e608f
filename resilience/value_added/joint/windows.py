"""Successive, overlapping windows of the years of the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.validation import check_count, shorten

__all__ = ["Window", "windows_of"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Some successive years of the data.

    Attributes
    ----------
    start, stop : int
        Positions of its first year and of the year after its last one.
    label : str
        ``2021–2023``; where years of the calendar are missing in between, each year by name.
    """

    start: int
    stop: int
    label: str


def windows_of(labels: NDArray[np.object_], window: int) -> list[Window]:
    """Return the windows, one per year from the first that has enough years before it.

    Parameters
    ----------
    labels : ndarray of object
        Years of the data, ascending.
    window : int
        Years per window.

    Raises
    ------
    SpecificationError
        If the data have fewer years.
    """
    check_count(window, argument="window")
    if window > len(labels):
        raise SpecificationError(
            text(
                "joint_regions.too_wide",
                window=window,
                n=len(labels),
                years=shorten(labels.tolist(), 12),
            )
        )
    return [
        Window(start=k, stop=k + window, label=_label(labels[k : k + window]))
        for k in range(len(labels) - window + 1)
    ]


def _label(years: NDArray[np.object_]) -> str:
    if len(years) == 1:
        return str(years[0])
    numbers = all(isinstance(year, int | float | np.number) for year in years)
    if numbers and years[-1] - years[0] == len(years) - 1:
        return f"{years[0]}–{years[-1]}"
    return ", ".join(map(str, years))
