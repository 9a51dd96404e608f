"""Checks of tables and arguments, each with a message that names culprit, rule, value, way out."""

from resilience.validation.arguments import (
    check_choice,
    check_count,
    check_fraction,
    check_instance,
    check_jobs,
    check_mapping,
    check_names,
    check_number,
    check_positive,
    check_seed,
)
from resilience.validation.policy import (
    check_differencing,
    check_external_marking,
    check_small_cells,
    suppressed_cells,
)
from resilience.validation.tables import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_table,
    check_unique,
)
from resilience.validation.wording import (
    nearest_names,
    shorten,
)

__all__ = [
    "check_choice",
    "check_columns",
    "check_count",
    "check_differencing",
    "check_external_marking",
    "check_finite",
    "check_fraction",
    "check_instance",
    "check_jobs",
    "check_mapping",
    "check_names",
    "check_not_empty",
    "check_number",
    "check_numeric",
    "check_positive",
    "check_seed",
    "check_small_cells",
    "check_table",
    "check_unique",
    "nearest_names",
    "shorten",
    "suppressed_cells",
]
