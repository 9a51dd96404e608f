"""Tables as files and the methodology appendix."""

from __future__ import annotations

from resilience.reporting.appendix import Appendix, methods_appendix
from resilience.reporting.provenance import DataRecord, Provenance
from resilience.reporting.tables import write_tables

__all__ = ["Appendix", "DataRecord", "Provenance", "methods_appendix", "write_tables"]
