"""Axes without global state, one look for all figures, and files that do not change on a re-run."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import ScalarFormatter

from resilience.data.outputs import write_files

__all__ = [
    "GREY",
    "PALETTE",
    "ReportAxes",
    "figure_bytes",
    "figure_of",
    "look",
    "new_axes",
    "panel_grid",
    "printed",
    "save_figure",
    "write_numbers",
]

# Okabe and Ito's colours: told apart with any of the common kinds of colour blindness.
PALETTE = {
    "blue": "#0072B2",
    "sky": "#56B4E9",
    "green": "#009E73",
    "orange": "#E69F00",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}
GREY = "#8C8C8C"

PNG_DPI = 200

_LOOK: dict[str, object] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib, carries Cyrillic
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "svg.hashsalt": "resilience",  # element ids depend on the drawing alone
    "svg.fonttype": "path",
    "path.simplify": False,
}


class ReportAxes(Axes):
    """Axes that a notebook shows as a picture when they are the value of a cell."""

    name = "resilience_report"

    def _repr_png_(self) -> bytes:
        return figure_bytes(self, "png", dpi=110)


class _CommaFormatter(ScalarFormatter):
    """Tick labels with a decimal comma."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return str(super().__call__(x, pos)).replace(".", ",")


def write_numbers(ax: Axes, lang: str, *, axes: str = "xy") -> None:
    """Give the ticks the decimal sign of the language."""
    if lang == "ru":
        for name in axes:
            (ax.xaxis if name == "x" else ax.yaxis).set_major_formatter(_CommaFormatter())


def printed(value: float, lang: str, digits: int = 2) -> str:
    """Return a number as the figures print it: decimal sign of the language, a true minus."""
    shown = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(shown) != 0 else ""
    return sign + (shown.replace(".", ",") if lang == "ru" else shown)


@contextmanager
def look() -> Iterator[None]:
    """Set the library's fonts and lines for the time of a drawing; the user's settings stay."""
    with rc_context(_LOOK):  # type: ignore[arg-type]  # the stub wants a literal of every rc key
        yield


def new_axes(width: float = 7.4, height: float = 4.6) -> Axes:
    """Return axes on a figure of their own, outside pyplot's registry.

    Parameters
    ----------
    width, height : float
        Size in inches; the default fills the text width of an A4 page.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot(axes_class=ReportAxes)


def panel_grid(ax: Axes, titles: Sequence[str], *, columns: int, lines: int = 1) -> list[Axes]:
    """Divide the axes into panels of one size that share their scales.

    A single panel is the axes themselves.  Of several, only the outer ones carry tick labels, and
    the axes keep nothing but their own labels and legend.

    Parameters
    ----------
    ax : Axes
        Axes to divide, empty.
    titles : sequence of str
        One per panel, printed above it.
    columns : int
        Panels in a full row.
    lines : int
        Lines of the longest title, for which room is left.
    """
    if len(titles) == 1:
        ax.set_title(titles[0], fontsize=8)
        return [ax]
    rows = -(-len(titles) // columns)
    head = (0.18 + 0.15 * lines) / figure_of(ax).get_size_inches()[1]  # a title's share of height
    height, width = (1 - rows * head) / rows, (1 - 0.04 * (columns - 1)) / columns
    panels: list[Axes] = []
    for k, title in enumerate(titles):
        row, column = divmod(k, columns)
        place = (column * (width + 0.04), 1 - (row + 1) * (height + head), width, height)
        panel = ax.inset_axes(place)
        if panels:
            panel.sharex(panels[0])
            panel.sharey(panels[0])
        panel.set_title(title, fontsize=8)
        panel.tick_params(
            labelleft=column == 0, labelbottom=k + columns >= len(titles), labelsize=7.5
        )
        panels.append(panel)
    ax.set_frame_on(False)
    ax.set_xticks([])
    ax.set_yticks([])
    # Points between a label and the ticks of the panels, which the outer axes know nothing of.
    ax.xaxis.labelpad, ax.yaxis.labelpad = 20.0, 32.0
    return panels


def figure_of(ax: Axes) -> Figure:
    """Return the figure the axes stand on, the outermost one."""
    figure = ax.figure
    root = figure.figure if isinstance(figure, SubFigure) else figure
    if not isinstance(root, Figure):
        raise ValueError("the axes were removed from their figure")
    return root


def figure_bytes(ax: Axes, kind: Literal["png", "svg"], *, dpi: int = PNG_DPI) -> bytes:
    """Return the figure as a file's content, the same bytes for the same drawing.

    Neither a date nor the version of the drawing library is written into the file.
    """
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    buffer = io.BytesIO()
    figure = figure_of(ax)
    with look():
        figure.savefig(
            buffer,
            format=kind,
            dpi=dpi,
            metadata=metadata,  # None removes an entry
            facecolor="white",
        )
    return buffer.getvalue()


def save_figure(ax: Axes, path_without_suffix: str | Path) -> tuple[Path, Path]:
    """Write the figure as PNG (200 dots per inch) and SVG.

    Parameters
    ----------
    ax : Axes
        Axes returned by a plot.
    path_without_suffix : str or Path
        ``figures/caterpillar`` gives ``figures/caterpillar.png`` and ``figures/caterpillar.svg``.

    Returns
    -------
    (Path, Path)
        The PNG and the SVG.

    Raises
    ------
    OutputError
        If the place cannot be written; no partial file stays.
    """
    base = Path(path_without_suffix)
    png, svg = (base.with_name(base.name + suffix) for suffix in (".png", ".svg"))
    write_files({png: figure_bytes(ax, "png"), svg: figure_bytes(ax, "svg")})
    return png, svg
