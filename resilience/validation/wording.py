"""Values and near names as messages show them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "nearest_names",
    "shorten",
]


def shorten(values: Iterable[object], most: int = 5) -> str:
    """Return the first values as a comma-separated list, with the number of further ones."""
    items = [str(v) for v in values]
    rest = len(items) - most
    return ", ".join(items[:most]) + (f", … (+{rest})" if rest > 0 else "")


def nearest_names(name: str, options: Iterable[str], most: int = 3) -> str:
    """Return the options that look most like ``name``, or all of them if none does.

    Capital letters do not count: ``ses`` is the nearest name to ``SES``.
    """
    known = [str(o) for o in options]
    folded = [o.casefold() for o in known]
    near = difflib.get_close_matches(str(name).casefold(), folded, n=most, cutoff=0.5)
    close = [o for found in dict.fromkeys(near) for o in known if o.casefold() == found]
    return shorten(close[:most] or known, 12)
