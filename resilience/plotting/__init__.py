"""Figures: draw what results hold and compute nothing.  The only room that imports matplotlib."""

from __future__ import annotations

from resilience.plotting.canvas import figure_bytes, save_figure
from resilience.plotting.caterpillar import plot_caterpillar
from resilience.plotting.context import expected_line, plot_context
from resilience.plotting.dispatch import plot
from resilience.plotting.funnel import plot_funnel
from resilience.plotting.marks import plot_mark_shares, plot_thresholds
from resilience.plotting.verdicts import plot_verdicts
from resilience.plotting.views import plot_views
from resilience.plotting.weights import plot_weights

__all__ = [
    "expected_line",
    "figure_bytes",
    "plot",
    "plot_caterpillar",
    "plot_context",
    "plot_funnel",
    "plot_mark_shares",
    "plot_thresholds",
    "plot_verdicts",
    "plot_views",
    "plot_weights",
    "save_figure",
]
