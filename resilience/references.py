"""The bibliography: one record per source, cited by key in docstrings, rules and reports."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from resilience.errors import SpecificationError
from resilience.i18n import catalogue_tables

__all__ = ["Reference", "reference", "reference_keys"]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A source.

    Attributes
    ----------
    key : str
        Citation key, for instance ``"RaudenbushBryk2002"``.
    citation : str
        Author, year, title, place, in the source's own language.
    url : str
        Address or DOI, empty where there is none.
    note : str
        What was compared with the source and what was not.
    """

    key: str
    citation: str
    url: str = ""
    note: str = ""

    def __str__(self) -> str:
        return f"{self.citation} {self.url}".strip()


@cache
def _references() -> dict[str, Reference]:
    found: dict[str, Reference] = {}
    for tables in catalogue_tables("references").values():
        for key, record in tables.items():
            if key in found:
                raise SpecificationError(f"reference {key!r} is defined twice in the catalogue")
            found[key] = Reference(key=key, **record)
    return found


def reference(key: str) -> Reference:
    """Return the source with this key.

    Raises
    ------
    SpecificationError
        If the bibliography has no such key.
    """
    try:
        return _references()[key]
    except KeyError:
        raise SpecificationError(
            f"reference {key!r} is not in the bibliography; "
            "add it to resilience/catalogue/references"
        ) from None


def reference_keys() -> tuple[str, ...]:
    """Return all citation keys, sorted."""
    return tuple(sorted(_references()))
