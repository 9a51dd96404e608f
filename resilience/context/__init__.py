"""The context index (ИСБШ): how favourable a school's intake is.

Weights are fixed by the authority or estimated from results that the scored school-year had no
part in; items describe intake and location only.
"""

from __future__ import annotations

from resilience.context.index import ContextIndex
from resilience.context.results import ContextIndexResults

__all__ = ["ContextIndex", "ContextIndexResults"]
