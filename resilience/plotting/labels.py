"""Names beside points without overlap: greedy, deterministic, in the pixels of the axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from resilience.columns import column_names, label
from resilience.i18n import text
from resilience.plotting.canvas import figure_of

__all__ = ["place_labels", "shortened", "stratum_words"]

_ANGLES = (20, 160, 340, 200, 60, 120, 300, 240, 90, 270, 0, 180)  # degrees, in order of preference
_RADII = (9, 15, 23, 33, 45, 60, 78, 100, 125)  # points


def shortened(name: str, most: int = 26) -> str:
    """Return the name, cut with an ellipsis where it is longer than ``most`` characters."""
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"


def stratum_words(stratum: str, lang: str) -> str:
    """Return the label of a stratum, ``is_rural=True``, in words: ``Rural: yes``."""
    words = []
    for part in stratum.split(", "):
        name, _, value = part.partition("=")
        answer = {"True": "yes", "False": "no"}.get(value)
        shown = text(f"verdicts.{answer}").localized(lang) if answer else value
        words.append(f"{label(name, lang)}: {shown}" if name in set(column_names()) else part)
    return ", ".join(words)


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
    page = _Page(
        frame=frame,
        taken=[legend.get_window_extent(renderer)] if legend is not None else [],
        marks=marks,
        leaders=[],
        scale=pixels_per_point,
    )
    placed: list[Text] = []
    for point, name in zip(points, names, strict=True):
        label = ax.annotate(
            name, point, xytext=(0, 0), textcoords="offset points", fontsize=size, color=color
        )
        label.set_in_layout(False)
        extent = label.get_window_extent(renderer)
        label.remove()
        here = _pixels(ax, [point])[0]
        found = _free_place(here, extent, page)
        if found is None:
            continue
        box, radius = found
        page.taken.append(box)
        if radius > _RADII[1]:
            page.leaders.append(_leader(here, box))
        placed.append(_write(ax, point, name, here, box, radius, size, color, pixels_per_point))
    return placed


@dataclass(frozen=True, kw_only=True)
class _Page:
    """What stands on the page already, in pixels."""

    frame: Bbox
    taken: list[Bbox]
    marks: np.ndarray  # (n_points, 2)
    leaders: list[np.ndarray]  # each (n_samples, 2), points along a leader line
    scale: float  # pixels per point


def _renderer(figure: Figure) -> RendererAgg:
    width, height = figure.get_size_inches() * figure.dpi
    return RendererAgg(width, height, figure.dpi)  # type: ignore[no-untyped-call]  # no stubs


def _pixels(ax: Axes, points: Sequence[tuple[float, float]]) -> np.ndarray:
    return np.asarray(ax.transData.transform(np.asarray(points, dtype=float).reshape(-1, 2)))


def _free_place(here: np.ndarray, extent: Bbox, page: _Page) -> tuple[Bbox, float] | None:
    best: tuple[float, Bbox, float] | None = None
    for step, radius in enumerate(_RADII):
        for angle in _ANGLES:
            box = _box_at(here, extent, radius * page.scale, angle)
            if not _within(box, page.frame) or any(box.overlaps(other) for other in page.taken):
                continue
            # One circle further is worth a hidden point; a crossing is worth three.
            cost = float(_inside(page.marks, box).sum()) + 1.0 * step
            if step > 1:
                cost += 3 * _crossings(_leader(here, box), page)
            cost += 3 * sum(bool(_inside(line, box).any()) for line in page.leaders)
            if best is None or cost < best[0] - 1e-9:
                best = (cost, box, float(radius))
    return None if best is None else (best[1], best[2])


def _within(box: Bbox, frame: Bbox) -> bool:
    return bool(
        frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
    )


def _inside(points: np.ndarray, box: Bbox) -> np.ndarray:
    """Return which points lie in the box or within two pixels of it."""
    inside = (
        (points[:, 0] > box.x0 - 2)
        & (points[:, 0] < box.x1 + 2)
        & (points[:, 1] > box.y0 - 2)
        & (points[:, 1] < box.y1 + 2)
    )
    return np.asarray(inside, dtype=bool)


def _leader(here: np.ndarray, box: Bbox) -> np.ndarray:
    """Return points along the line from a mark to its name."""
    end = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    line: np.ndarray = here + np.linspace(0.05, 0.95, 19)[:, None] * (end - here)
    return line


def _crossings(line: np.ndarray, page: _Page) -> int:
    """Count the names and leader lines that a new leader line would cross."""
    names = sum(bool(_inside(line, box).any()) for box in page.taken)
    return names + sum(_cross(line[0], line[-1], other[0], other[-1]) for other in page.leaders)


def _cross(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> bool:
    """Return whether the segments ab and cd cross."""

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


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
