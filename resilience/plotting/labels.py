"""Names beside points without overlap: greedy, deterministic, in the pixels of the axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from resilience.plotting.canvas import figure_of

__all__ = ["place_labels", "shortened"]

_ANGLES = (20, 160, 340, 200, 60, 120, 300, 240, 90, 270, 0, 180)  # degrees, in order of preference
_RADII = (9, 15, 23, 33, 45, 60, 78, 100, 125)  # points


def shortened(name: str, most: int = 26) -> str:
    """Return the name, cut with an ellipsis where it is longer than ``most`` characters."""
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"


def place_labels(
    ax: Axes,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    *,
    obstacles: Sequence[tuple[float, float]] = (),
    size: float = 7.0,
    color: str = "#222222",
) -> list[Text]:
    """Write each name near its point; names never overlap, leader lines join far ones.

    For each name the places on growing circles around its point are tried; of those that overlap
    no earlier name and stay inside the axes, the one that hides the fewest points wins, nearer
    places first.  The order of ``names`` is the order of importance.  Call it last, when
    limits, titles and legend are set.

    Parameters
    ----------
    ax : Axes
        Axes with everything else drawn.
    points : sequence of (float, float)
        Positions of the named points, in data units.
    names : sequence of str
        One per point.
    obstacles : sequence of (float, float)
        Further points that are better not hidden, in data units.
    size : float
        Font size in points.
    color : str
        Colour of the names.

    Returns
    -------
    list of Text
        The names that found a place, in the order given; a name with no free place is left out.
    """
    figure = figure_of(ax)
    figure.draw_without_rendering()  # settles the layout, so that pixels mean what they will mean
    pixels_per_point = figure.dpi / 72
    renderer = _renderer(figure)
    frame = ax.get_window_extent(renderer)
    marks = _pixels(ax, [*obstacles, *points])
    legend = ax.get_legend()
    taken = [legend.get_window_extent(renderer)] if legend is not None else []
    placed: list[Text] = []
    for point, name in zip(points, names, strict=True):
        label = ax.annotate(
            name, point, xytext=(0, 0), textcoords="offset points", fontsize=size, color=color
        )
        label.set_in_layout(False)
        extent = label.get_window_extent(renderer)
        label.remove()
        here = _pixels(ax, [point])[0]
        found = _free_place(here, extent, frame, taken, marks, pixels_per_point)
        if found is None:
            continue
        box, radius = found
        taken.append(box)
        placed.append(_write(ax, point, name, here, box, radius, size, color, pixels_per_point))
    return placed


def _renderer(figure: Figure) -> RendererAgg:
    width, height = figure.get_size_inches() * figure.dpi
    return RendererAgg(width, height, figure.dpi)  # type: ignore[no-untyped-call]  # no stubs


def _pixels(ax: Axes, points: Sequence[tuple[float, float]]) -> np.ndarray:
    return np.asarray(ax.transData.transform(np.asarray(points, dtype=float).reshape(-1, 2)))


def _free_place(
    here: np.ndarray,
    extent: Bbox,
    frame: Bbox,
    taken: Sequence[Bbox],
    marks: np.ndarray,
    pixels_per_point: float,
) -> tuple[Bbox, float] | None:
    best: tuple[float, Bbox, float] | None = None
    for step, radius in enumerate(_RADII):
        for angle in _ANGLES:
            box = _box_at(here, extent, radius * pixels_per_point, angle)
            if not (
                frame.x0 <= box.x0
                and box.x1 <= frame.x1
                and frame.y0 <= box.y0
                and box.y1 <= frame.y1
            ):
                continue
            if any(box.overlaps(other) for other in taken):
                continue
            hidden = np.sum(
                (marks[:, 0] > box.x0 - 2)
                & (marks[:, 0] < box.x1 + 2)
                & (marks[:, 1] > box.y0 - 2)
                & (marks[:, 1] < box.y1 + 2)
            )
            cost = float(hidden) + 0.6 * step  # one circle further is worth most of a hidden point
            if best is None or cost < best[0] - 1e-9:
                best = (cost, box, float(radius))
    return None if best is None else (best[1], best[2])


def _box_at(here: np.ndarray, extent: Bbox, radius: float, angle: float) -> Bbox:
    """Return the text box whose nearest edge lies ``radius`` pixels away in that direction."""
    dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    center_x = here[0] + radius * dx + extent.width / 2 * dx
    center_y = here[1] + radius * dy + extent.height / 2 * (0 if abs(dy) < 0.01 else dy)
    margin = 1.5
    return Bbox.from_extents(
        center_x - extent.width / 2 - margin,
        center_y - extent.height / 2 - margin,
        center_x + extent.width / 2 + margin,
        center_y + extent.height / 2 + margin,
    )


def _write(
    ax: Axes,
    point: tuple[float, float],
    name: str,
    here: np.ndarray,
    box: Bbox,
    radius: float,
    size: float,
    color: str,
    pixels_per_point: float,
) -> Text:
    offset = (
        ((box.x0 + box.x1) / 2 - here[0]) / pixels_per_point,
        ((box.y0 + box.y1) / 2 - here[1]) / pixels_per_point,
    )
    leader = {
        "arrowstyle": "-",
        "lw": 0.5,
        "color": color,
        "alpha": 0.6,
        "shrinkA": 0,
        "shrinkB": 3,
    }
    label = ax.annotate(
        name,
        point,
        xytext=offset,
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=size,
        color=color,
        arrowprops=leader if radius > _RADII[1] else None,
        zorder=6,
    )
    label.set_in_layout(False)
    return label
