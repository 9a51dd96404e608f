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
    "Criteria": "detection",
    "detect_schools": "detection",
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
    "methods_appendix": "reporting",
    "write_annual_run": "reporting.annual",
    "write_tables": "reporting",
}

__all__ = [
    "Cohort",
    "CohortPrior",
    "ContextIndex",
    "Criteria",
    "CrossProducts",
    "DataError",
    "Dataset",
    "DatasetError",
    "EffectErrors",
    "Intake",
    "MarkParts",
    "OrdinalSchoolModel",
    "OutputError",
    "Procedures",
    "Question",
    "ResilienceError",
    "ResilienceWarning",
    "SchoolLevelModel",
    "SpecificationError",
    "Structure",
    "ValueAddedModel",
    "WeakDataWarning",
    "WithinCorrelation",
    "__version__",
    "annual_run",
    "detect_schools",
    "format_table",
    "glossary",
    "labelled",
    "list_datasets",
    "list_performance",
    "load_dataset",
    "load_region",
    "methods_appendix",
    "plot",
    "plot_caterpillar",
    "plot_context",
    "plot_funnel",
    "plot_mark_shares",
    "plot_thresholds",
    "plot_verdicts",
    "plot_views",
    "published_means",
    "read_workbook",
    "reference",
    "save_figure",
    "score_means",
    "simulate_class_counts",
    "simulate_region",
    "within_correlation",
    "write_annual_run",
    "write_tables",
    "write_template",
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
    from resilience.columns import glossary, labelled
    from resilience.context import ContextIndex
    from resilience.data.catalogue import Dataset, list_datasets, load_dataset
    from resilience.data.score_means import published_means, score_means
    from resilience.data.simulation import simulate_class_counts, simulate_region
    from resilience.data.template import write_template
    from resilience.data.workbook import read_workbook
    from resilience.detection import Criteria, detect_schools
    from resilience.errors import (
        DataError,
        DatasetError,
        OutputError,
        ResilienceError,
        ResilienceWarning,
        SpecificationError,
        WeakDataWarning,
    )
    from resilience.pipeline import annual_run, list_performance, load_region
    from resilience.plotting import (
        plot,
        plot_caterpillar,
        plot_context,
        plot_funnel,
        plot_mark_shares,
        plot_thresholds,
        plot_verdicts,
        plot_views,
        save_figure,
    )
    from resilience.references import reference
    from resilience.reporting import methods_appendix, write_tables
    from resilience.reporting.annual import write_annual_run
    from resilience.results import format_table
    from resilience.stats.crossproducts import CrossProducts
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
