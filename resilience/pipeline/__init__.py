"""The annual chain: whatever needs several rooms at once."""

from __future__ import annotations

from resilience.pipeline.annual import AnnualResults, annual_run
from resilience.pipeline.config import RegionConfig
from resilience.pipeline.config_reading import read_config
from resilience.pipeline.inputs import Region, dataset_config, load_region
from resilience.pipeline.performance import list_performance

__all__ = [
    "AnnualResults",
    "Region",
    "RegionConfig",
    "annual_run",
    "dataset_config",
    "list_performance",
    "load_region",
    "read_config",
]
