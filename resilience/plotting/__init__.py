"""Figures: draw what results hold and compute nothing.  The only room that imports matplotlib."""

from __future__ import annotations

from resilience.plotting.bands import plot_bands
from resilience.plotting.canvas import figure_bytes, save_figure
from resilience.plotting.caterpillar import plot_caterpillar
from resilience.plotting.cluster_map import plot_cluster_map
from resilience.plotting.cluster_stability import plot_cluster_stability
from resilience.plotting.context import expected_line, plot_context
from resilience.plotting.dendrogram import plot_dendrogram
from resilience.plotting.diagnostics import plot_diagnostics
from resilience.plotting.dispatch import plot
from resilience.plotting.drift import plot_drift
from resilience.plotting.funnel import plot_funnel
from resilience.plotting.growth import plot_growth, plot_growth_curves, plot_growth_fit
from resilience.plotting.histograms import plot_score_histogram
from resilience.plotting.joint_regions import plot_joint_regions
from resilience.plotting.marks import plot_mark_shares, plot_thresholds
from resilience.plotting.multiverse import plot_multiverse
from resilience.plotting.neighbour_differences import plot_neighbour_differences
from resilience.plotting.neighbours import plot_neighbours
from resilience.plotting.operating import plot_operating
from resilience.plotting.persistence import plot_persistence
from resilience.plotting.profiles import plot_profiles
from resilience.plotting.quadrant import plot_quadrant
from resilience.plotting.selection import plot_selection
from resilience.plotting.selection_panel import plot_selection_panel
from resilience.plotting.sensitivity import plot_sensitivity
from resilience.plotting.share_funnel import plot_share_funnel
from resilience.plotting.silhouette import plot_silhouette
from resilience.plotting.simex import plot_simex
from resilience.plotting.status import plot_durations, plot_early_warning, plot_status
from resilience.plotting.subjects import plot_subjects
from resilience.plotting.types import plot_types
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
    "plot_sensitivity",
    "plot_operating",
    "plot_quadrant",
    "plot_multiverse",
    "plot_status",
    "plot_durations",
    "plot_early_warning",
    "plot_score_histogram",
    "plot_share_funnel",
    "plot_weights",
    "plot_drift",
    "plot_simex",
    "plot_selection",
    "plot_growth",
    "plot_growth_curves",
    "plot_growth_fit",
    "plot_types",
    "plot_joint_regions",
    "plot_subjects",
    "plot_diagnostics",
    "plot_persistence",
    "plot_silhouette",
    "plot_dendrogram",
    "plot_selection_panel",
    "plot_cluster_stability",
    "plot_profiles",
    "plot_cluster_map",
    "plot_neighbours",
    "plot_neighbour_differences",
    "plot_bands",
    "save_figure",
]
