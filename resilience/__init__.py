"""Contextual value added, school detection and the methodology appendix of a region.

Names load on first use, so that ``import resilience`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES: dict[str, str] = {
    "DataError": "errors",
    "DatasetError": "errors",
    "OutputError": "errors",
    "ResilienceError": "errors",
    "ResilienceWarning": "errors",
    "SpecificationError": "errors",
    "WeakDataWarning": "errors",
    "glossary": "columns",
    "labelled": "columns",
    "reference": "references",
    "format_table": "results",
    "CrossProducts": "stats.crossproducts",
    "Dataset": "data.catalogue",
    "list_datasets": "data.catalogue",
    "load_dataset": "data.catalogue",
    "published_means": "data.score_means",
    "score_means": "data.score_means",
    "simulate_class_counts": "data.simulation",
    "simulate_region": "data.simulation",
    "read_workbook": "data.workbook",
    "write_template": "data.template",
    "ContextIndex": "context",
    "component_weights": "context",
    "standardised_alpha": "context",
    "Cohort": "value_added",
    "EffectErrors": "value_added",
    "MarkParts": "value_added",
    "OrdinalSchoolModel": "value_added",
    "CohortPrior": "value_added",
    "Intake": "value_added",
    "Procedures": "value_added",
    "Question": "value_added",
    "Structure": "value_added",
    "ValueAddedModel": "value_added",
    "WithinCorrelation": "value_added",
    "within_correlation": "value_added",
    "SchoolLevelModel": "value_added",
    "Membership": "value_added.definitions.membership",
    "PupilProducts": "value_added.intake.pupil_products",
    "anova": "value_added.pupils.model_tests",
    "composite_effects": "value_added.effects.subjects",
    "on_cluster": "data.batches.distributed",
    "subject_covariance": "value_added.effects.subjects",
    "subject_effects": "value_added.effects.subjects",
    "Successors": "value_added.years.successors",
    "with_successors": "value_added.years.handed_over",
    "school_events": "value_added.years.school_events",
    "validate_years": "value_added.years.validation",
    "GrowthPercentiles": "value_added.growth.model",
    "composition_bias": "value_added.adjustment.composition",
    "impute_pupils": "value_added.gaps.completion",
    "missing_report": "value_added.gaps.completion",
    "selection_bounds": "value_added.gaps.selection",
    "beside_stayers": "value_added.gaps.stayers",
    "pool_estimates": "stats.rubin",
    "simex": "value_added.prior_error.simex",
    "joint_regions": "value_added.joint.regions",
    "PersistenceModel": "value_added.persistence",
    "TeacherLinks": "value_added.persistence",
    "simulate_classrooms": "data.simulation.classrooms",
    "PolicyError": "errors",
    "Conditions": "clustering",
    "ScaledSchools": "clustering",
    "scale_conditions": "clustering",
    "ClusterModel": "clustering.clusters.model",
    "ClusterResults": "clustering.clusters.results",
    "ClusterSizes": "clustering.fits.sizes",
    "select_n_clusters": "clustering.selection.select",
    "SelectionSettings": "clustering.selection.settings",
    "cluster_stability": "clustering.stability.stability",
    "compare_partitions": "clustering.stability.compare",
    "clusters_over_years": "clustering.stability.years",
    "stability_by_number": "clustering.stability.by_number",
    "cluster_profiles": "clustering.profiles.profile",
    "cluster_names": "clustering.profiles.naming",
    "cluster_outcomes": "clustering.profiles.outcomes",
    "clusters_by_municipality": "clustering.profiles.municipalities",
    "settlement_mix": "clustering.profiles.settlements",
    "MunicipalClusters": "clustering.municipal.model",
    "StatisticalNeighbours": "clustering.neighbours.model",
    "neighbour_overlap": "clustering.neighbours.overlap",
    "neighbour_overlap_between": "clustering.neighbours.overlap",
    "remoteness": "clustering.neighbours.geography",
    "compare_with_neighbours": "clustering.comparison.compare",
    "condition_slopes": "clustering.comparison.slopes",
    "neighbour_effects": "clustering.comparison.effects",
    "neighbour_accuracy": "clustering.comparison.by_metric",
    "accuracy_of": "clustering.comparison.accuracy",
    "ContextBands": "clustering.bands.model",
    "detect_within_groups": "pipeline.within_groups",
    "Criteria": "detection",
    "detect_schools": "detection",
    "Criterion": "detection",
    "FailureParts": "stats.lists.share_moments",
    "estimate_failure_parts": "detection.simulator.estimate",
    "simulate_rule": "detection.simulator.simulate",
    "federal_rule_probabilities": "stats.lists.rule_chance",
    "resilient_share": "stats.lists.rule_chance",
    "resilient_pupils": "detection.pupils",
    "multiverse": "pipeline.multiverse",
    "Refits": "pipeline.multiverse",
    "list_robustness": "detection.robustness",
    "list_status": "detection.history.status",
    "compare_lists": "detection.history.compare_lists",
    "early_warning": "detection.history.early_warning",
    "adjacent_scores": "detection.integrity.adjacent",
    "mark_borders": "detection.integrity.borders",
    "objectivity_markers": "detection.integrity.objectivity",
    "MarkerSet": "detection.integrity.marker_sets",
    "integrity_markers": "detection.integrity.markers",
    "IntegrityThresholds": "detection.integrity.thresholds",
    "without_suspicious": "detection.integrity.switch",
    "round_shares": "detection.integrity.round_shares",
    "regional_markers": "detection.integrity.regional",
    "municipal_shares": "detection.integrity.regional",
    "RiskFactor": "detection.risk_factors",
    "RiskItem": "detection.risk_factors",
    "risk_factor": "detection.risk_factors",
    "risk_factors": "detection.risk_factors",
    "risk_profile": "detection.risk",
    "resource_risks": "detection.risk_resources",
    "eliminated_risks": "detection.risk_resources",
    "elimination_shares": "detection.risk_resources",
    "risk_zone": "detection.risk_zone",
    "risk_columns": "detection.risk_zone",
    "share_funnel": "detection.funnel",
    "concentration_set": "detection.concentration",
    "fails_core_years": "detection.concentration",
    "typology": "detection.typology",
    "list_persistence": "detection.typology",
    "yearly_flags": "detection.rule_columns",
    "share_excess": "detection.rule_columns",
    "share_good_marks": "detection.rule_columns",
    "rank_percentiles": "detection.rule_columns",
    "annual_run": "pipeline",
    "list_performance": "pipeline",
    "load_region": "pipeline",
    "plot": "plotting",
    "plot_caterpillar": "plotting",
    "plot_context": "plotting",
    "plot_funnel": "plotting",
    "plot_mark_shares": "plotting",
    "plot_thresholds": "plotting",
    "plot_verdicts": "plotting",
    "plot_views": "plotting",
    "save_figure": "plotting",
    "plot_sensitivity": "plotting",
    "plot_operating": "plotting",
    "plot_quadrant": "plotting",
    "plot_multiverse": "plotting",
    "plot_status": "plotting",
    "plot_durations": "plotting",
    "plot_early_warning": "plotting",
    "plot_score_histogram": "plotting",
    "plot_share_funnel": "plotting",
    "plot_drift": "plotting",
    "plot_simex": "plotting",
    "plot_selection": "plotting",
    "plot_growth": "plotting",
    "plot_growth_curves": "plotting",
    "plot_growth_fit": "plotting",
    "plot_types": "plotting",
    "plot_joint_regions": "plotting",
    "plot_subjects": "plotting",
    "plot_diagnostics": "plotting",
    "plot_persistence": "plotting",
    "plot_silhouette": "plotting",
    "plot_dendrogram": "plotting",
    "plot_selection_panel": "plotting",
    "plot_cluster_stability": "plotting",
    "plot_profiles": "plotting",
    "plot_cluster_map": "plotting",
    "plot_neighbours": "plotting",
    "plot_neighbour_differences": "plotting",
    "plot_bands": "plotting",
    "calculation_sheet": "reporting.calculation_sheet",
    "methods_appendix": "reporting",
    "write_annual_run": "reporting.annual",
    "write_tables": "reporting",
}

__all__ = [
    "ClusterModel",
    "ClusterResults",
    "ClusterSizes",
    "Cohort",
    "CohortPrior",
    "Conditions",
    "ContextBands",
    "ContextIndex",
    "Criteria",
    "Criterion",
    "CrossProducts",
    "DataError",
    "Dataset",
    "DatasetError",
    "EffectErrors",
    "FailureParts",
    "GrowthPercentiles",
    "Intake",
    "IntegrityThresholds",
    "MarkParts",
    "MarkerSet",
    "Membership",
    "MunicipalClusters",
    "OrdinalSchoolModel",
    "OutputError",
    "PersistenceModel",
    "PolicyError",
    "Procedures",
    "PupilProducts",
    "Question",
    "Refits",
    "ResilienceError",
    "ResilienceWarning",
    "RiskFactor",
    "RiskItem",
    "ScaledSchools",
    "SchoolLevelModel",
    "SelectionSettings",
    "SpecificationError",
    "StatisticalNeighbours",
    "Structure",
    "Successors",
    "TeacherLinks",
    "ValueAddedModel",
    "WeakDataWarning",
    "WithinCorrelation",
    "__version__",
    "accuracy_of",
    "adjacent_scores",
    "annual_run",
    "anova",
    "beside_stayers",
    "calculation_sheet",
    "cluster_names",
    "cluster_outcomes",
    "cluster_profiles",
    "cluster_stability",
    "clusters_by_municipality",
    "clusters_over_years",
    "compare_lists",
    "compare_partitions",
    "compare_with_neighbours",
    "component_weights",
    "composite_effects",
    "composition_bias",
    "concentration_set",
    "condition_slopes",
    "detect_schools",
    "detect_within_groups",
    "early_warning",
    "eliminated_risks",
    "elimination_shares",
    "estimate_failure_parts",
    "fails_core_years",
    "federal_rule_probabilities",
    "format_table",
    "glossary",
    "impute_pupils",
    "integrity_markers",
    "joint_regions",
    "labelled",
    "list_datasets",
    "list_performance",
    "list_persistence",
    "list_robustness",
    "list_status",
    "load_dataset",
    "load_region",
    "mark_borders",
    "methods_appendix",
    "missing_report",
    "multiverse",
    "municipal_shares",
    "neighbour_accuracy",
    "neighbour_effects",
    "neighbour_overlap",
    "neighbour_overlap_between",
    "objectivity_markers",
    "on_cluster",
    "plot",
    "plot_bands",
    "plot_caterpillar",
    "plot_cluster_map",
    "plot_cluster_stability",
    "plot_context",
    "plot_dendrogram",
    "plot_diagnostics",
    "plot_drift",
    "plot_durations",
    "plot_early_warning",
    "plot_funnel",
    "plot_growth",
    "plot_growth_curves",
    "plot_growth_fit",
    "plot_joint_regions",
    "plot_mark_shares",
    "plot_multiverse",
    "plot_neighbour_differences",
    "plot_neighbours",
    "plot_operating",
    "plot_persistence",
    "plot_profiles",
    "plot_quadrant",
    "plot_score_histogram",
    "plot_selection",
    "plot_selection_panel",
    "plot_sensitivity",
    "plot_share_funnel",
    "plot_silhouette",
    "plot_simex",
    "plot_status",
    "plot_subjects",
    "plot_thresholds",
    "plot_types",
    "plot_verdicts",
    "plot_views",
    "pool_estimates",
    "published_means",
    "rank_percentiles",
    "read_workbook",
    "reference",
    "regional_markers",
    "remoteness",
    "resilient_pupils",
    "resilient_share",
    "resource_risks",
    "risk_columns",
    "risk_factor",
    "risk_factors",
    "risk_profile",
    "risk_zone",
    "round_shares",
    "save_figure",
    "scale_conditions",
    "school_events",
    "score_means",
    "select_n_clusters",
    "selection_bounds",
    "settlement_mix",
    "share_excess",
    "share_funnel",
    "share_good_marks",
    "simex",
    "simulate_class_counts",
    "simulate_classrooms",
    "simulate_region",
    "simulate_rule",
    "stability_by_number",
    "standardised_alpha",
    "subject_covariance",
    "subject_effects",
    "typology",
    "validate_years",
    "with_successors",
    "within_correlation",
    "without_suspicious",
    "write_annual_run",
    "write_tables",
    "write_template",
    "yearly_flags",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'resilience' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"resilience.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from resilience.clustering import Conditions, ScaledSchools, scale_conditions
    from resilience.clustering.bands.model import ContextBands
    from resilience.clustering.clusters.model import ClusterModel
    from resilience.clustering.clusters.results import ClusterResults
    from resilience.clustering.comparison.accuracy import accuracy_of
    from resilience.clustering.comparison.by_metric import neighbour_accuracy
    from resilience.clustering.comparison.compare import compare_with_neighbours
    from resilience.clustering.comparison.effects import neighbour_effects
    from resilience.clustering.comparison.slopes import condition_slopes
    from resilience.clustering.fits.sizes import ClusterSizes
    from resilience.clustering.municipal.model import MunicipalClusters
    from resilience.clustering.neighbours.geography import remoteness
    from resilience.clustering.neighbours.model import StatisticalNeighbours
    from resilience.clustering.neighbours.overlap import (
        neighbour_overlap,
        neighbour_overlap_between,
    )
    from resilience.clustering.profiles.municipalities import clusters_by_municipality
    from resilience.clustering.profiles.naming import cluster_names
    from resilience.clustering.profiles.outcomes import cluster_outcomes
    from resilience.clustering.profiles.profile import cluster_profiles
    from resilience.clustering.profiles.settlements import settlement_mix
    from resilience.clustering.selection.select import select_n_clusters
    from resilience.clustering.selection.settings import SelectionSettings
    from resilience.clustering.stability.by_number import stability_by_number
    from resilience.clustering.stability.compare import compare_partitions
    from resilience.clustering.stability.stability import cluster_stability
    from resilience.clustering.stability.years import clusters_over_years
    from resilience.columns import glossary, labelled
    from resilience.context import ContextIndex, component_weights, standardised_alpha
    from resilience.data.batches.distributed import on_cluster
    from resilience.data.catalogue import Dataset, list_datasets, load_dataset
    from resilience.data.score_means import published_means, score_means
    from resilience.data.simulation import simulate_class_counts, simulate_region
    from resilience.data.simulation.classrooms import simulate_classrooms
    from resilience.data.template import write_template
    from resilience.data.workbook import read_workbook
    from resilience.detection import Criteria, Criterion, detect_schools
    from resilience.detection.concentration import concentration_set, fails_core_years
    from resilience.detection.funnel import share_funnel
    from resilience.detection.history.compare_lists import compare_lists
    from resilience.detection.history.early_warning import early_warning
    from resilience.detection.history.status import list_status
    from resilience.detection.integrity.adjacent import adjacent_scores
    from resilience.detection.integrity.borders import mark_borders
    from resilience.detection.integrity.marker_sets import MarkerSet
    from resilience.detection.integrity.markers import integrity_markers
    from resilience.detection.integrity.objectivity import objectivity_markers
    from resilience.detection.integrity.regional import municipal_shares, regional_markers
    from resilience.detection.integrity.round_shares import round_shares
    from resilience.detection.integrity.switch import without_suspicious
    from resilience.detection.integrity.thresholds import IntegrityThresholds
    from resilience.detection.pupils import resilient_pupils
    from resilience.detection.risk import risk_profile
    from resilience.detection.risk_factors import RiskFactor, RiskItem, risk_factor, risk_factors
    from resilience.detection.risk_resources import (
        eliminated_risks,
        elimination_shares,
        resource_risks,
    )
    from resilience.detection.risk_zone import risk_columns, risk_zone
    from resilience.detection.robustness import list_robustness
    from resilience.detection.rule_columns import (
        rank_percentiles,
        share_excess,
        share_good_marks,
        yearly_flags,
    )
    from resilience.detection.simulator.estimate import estimate_failure_parts
    from resilience.detection.simulator.simulate import simulate_rule
    from resilience.detection.typology import list_persistence, typology
    from resilience.errors import (
        DataError,
        DatasetError,
        OutputError,
        PolicyError,
        ResilienceError,
        ResilienceWarning,
        SpecificationError,
        WeakDataWarning,
    )
    from resilience.pipeline import annual_run, list_performance, load_region
    from resilience.pipeline.multiverse import Refits, multiverse
    from resilience.pipeline.within_groups import detect_within_groups
    from resilience.plotting import (
        plot,
        plot_bands,
        plot_caterpillar,
        plot_cluster_map,
        plot_cluster_stability,
        plot_context,
        plot_dendrogram,
        plot_diagnostics,
        plot_drift,
        plot_durations,
        plot_early_warning,
        plot_funnel,
        plot_growth,
        plot_growth_curves,
        plot_growth_fit,
        plot_joint_regions,
        plot_mark_shares,
        plot_multiverse,
        plot_neighbour_differences,
        plot_neighbours,
        plot_operating,
        plot_persistence,
        plot_profiles,
        plot_quadrant,
        plot_score_histogram,
        plot_selection,
        plot_selection_panel,
        plot_sensitivity,
        plot_share_funnel,
        plot_silhouette,
        plot_simex,
        plot_status,
        plot_subjects,
        plot_thresholds,
        plot_types,
        plot_verdicts,
        plot_views,
        save_figure,
    )
    from resilience.references import reference
    from resilience.reporting import methods_appendix, write_tables
    from resilience.reporting.annual import write_annual_run
    from resilience.reporting.calculation_sheet import calculation_sheet
    from resilience.results import format_table
    from resilience.stats.crossproducts import CrossProducts
    from resilience.stats.lists.rule_chance import federal_rule_probabilities, resilient_share
    from resilience.stats.lists.share_moments import FailureParts
    from resilience.stats.rubin import pool_estimates
    from resilience.value_added import (
        Cohort,
        CohortPrior,
        EffectErrors,
        Intake,
        MarkParts,
        OrdinalSchoolModel,
        Procedures,
        Question,
        SchoolLevelModel,
        Structure,
        ValueAddedModel,
        WithinCorrelation,
        within_correlation,
    )
    from resilience.value_added.adjustment.composition import composition_bias
    from resilience.value_added.definitions.membership import Membership
    from resilience.value_added.effects.subjects import (
        composite_effects,
        subject_covariance,
        subject_effects,
    )
    from resilience.value_added.gaps.completion import impute_pupils, missing_report
    from resilience.value_added.gaps.selection import selection_bounds
    from resilience.value_added.gaps.stayers import beside_stayers
    from resilience.value_added.growth.model import GrowthPercentiles
    from resilience.value_added.intake.pupil_products import PupilProducts
    from resilience.value_added.joint.regions import joint_regions
    from resilience.value_added.persistence import PersistenceModel, TeacherLinks
    from resilience.value_added.prior_error.simex import simex
    from resilience.value_added.pupils.model_tests import anova
    from resilience.value_added.years.handed_over import with_successors
    from resilience.value_added.years.school_events import school_events
    from resilience.value_added.years.successors import Successors
    from resilience.value_added.years.validation import validate_years
