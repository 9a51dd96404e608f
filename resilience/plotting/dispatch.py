"""``plot(result)``: the figure that belongs to a kind of result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.plotting.bands import plot_bands
from resilience.plotting.caterpillar import plot_caterpillar
from resilience.plotting.cluster_map import plot_cluster_map
from resilience.plotting.cluster_stability import plot_cluster_stability
from resilience.plotting.diagnostics import plot_diagnostics
from resilience.plotting.growth import plot_growth
from resilience.plotting.joint_regions import plot_joint_regions
from resilience.plotting.multiverse import plot_multiverse
from resilience.plotting.neighbour_differences import plot_neighbour_differences
from resilience.plotting.neighbours import plot_neighbours
from resilience.plotting.operating import plot_operating
from resilience.plotting.persistence import plot_persistence
from resilience.plotting.profiles import plot_profiles
from resilience.plotting.selection import plot_selection
from resilience.plotting.selection_panel import plot_selection_panel
from resilience.plotting.sensitivity import plot_sensitivity
from resilience.plotting.share_funnel import plot_share_funnel
from resilience.plotting.silhouette import plot_silhouette
from resilience.plotting.simex import plot_simex
from resilience.plotting.status import plot_early_warning, plot_status
from resilience.plotting.types import plot_types
from resilience.plotting.verdicts import plot_verdicts
from resilience.plotting.weights import plot_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot"]

# By the class's name, so that drawing one kind of result does not import the rooms of the others.
_PLOTS: dict[str, Callable[..., Axes]] = {
    "ValueAddedResults": plot_caterpillar,
    "SchoolLevelResults": plot_caterpillar,
    "OrdinalSchoolResults": plot_caterpillar,
    "ContextIndexResults": plot_weights,
    "DetectionResults": plot_verdicts,
    "IndexSensitivityResults": plot_sensitivity,
    "RuleSimulationResults": plot_operating,
    "MultiverseResults": plot_multiverse,
    "ListRobustness": plot_multiverse,
    "StatusResults": plot_status,
    "EarlyWarningResults": plot_early_warning,
    "ShareFunnelResults": plot_share_funnel,
    "TypesResults": plot_types,
    "SimexResults": plot_simex,
    "PriorErrorResults": plot_simex,
    "SelectionResults": plot_selection,
    "StayersResults": plot_selection,
    "GrowthResults": plot_growth,
    "JointRegionResults": plot_joint_regions,
    "PersistenceResults": plot_persistence,
    "CheckResults": plot_diagnostics,
    "BandResults": plot_bands,
    "GroupDetectionResults": plot_verdicts,
    "NeighbourEffects": plot_caterpillar,
    "NeighbourComparison": plot_neighbour_differences,
    "NeighbourResults": plot_neighbours,
    "MunicipalClusterResults": plot_profiles,
    "ClustersByMunicipality": plot_cluster_map,
    "StabilityResults": plot_cluster_stability,
    "ClusterNumberResults": plot_selection_panel,
    "ClusterResults": plot_silhouette,
}


def plot(result: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw the figure that belongs to this kind of result.

    Value-added results, from pupils, means or counts of marks, give the caterpillar of school
    effects, a context index its weights and their sensitivity the ranks near the gate, a detection
    the count of verdicts by rule, a rule simulation the operating curves, a multiverse its curve,
    statuses the flow over the years, an early warning its calibration, a share funnel the funnel,
    two types of effect one over the other, SIMEX its curves, a selection the bounds, growth
    percentiles the medians of schools, joint regions their ellipses, the
    persistence of teachers its shares, a check of a fit its panel, clusters their silhouettes, a
    choice of their number its criteria, their stability its bars, clusters over municipalities the
    table of shares, neighbours the strips of one school, a comparison with them its differences,
    condition bands their borders.

    Parameters
    ----------
    result : Results
        What a model, an index or a detection returned.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    SpecificationError
        If no figure belongs to this class.
    """
    for kind in type(result).__mro__:
        if kind.__name__ in _PLOTS:
            return _PLOTS[kind.__name__](result, ax=ax, lang=lang)
    raise SpecificationError(
        text("plotting.no_plot", kind=type(result).__name__, options=", ".join(sorted(_PLOTS)))
    )
