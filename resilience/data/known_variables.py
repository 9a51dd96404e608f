"""What is known of the columns that describe schools: role, scale, direction, status and source.

Conditions (intake and location) may enter an index, clusters and neighbours; what schools do and
what comes of it may not.  The knowledge is data, ``known_variables.toml``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

__all__ = ["ADMITTED_ROLES", "KnownVariable", "Role", "Scale", "known_variables"]

Role = Literal["intake", "location", "process", "outcome", "organisation", "identifier", "declared"]
Scale = Literal["share", "number", "flag"]

ADMITTED_ROLES = ("intake", "location")


@dataclass(frozen=True, kw_only=True)
class KnownVariable:
    """What the library knows of a column.

    Attributes
    ----------
    role : str
        ``intake`` and ``location`` may enter the index, clusters and neighbours; ``process``,
        ``outcome``, ``organisation`` and ``identifier`` may not.
    scale : str or None
        ``share`` (0..1), ``number`` or ``flag``; None for refused columns.
    direction : {-1, 0, 1}
        Documented or proposed sign; 0 where there is none.
    status : str
        ``documented`` or ``proposal``; empty for refused columns.
    source : str
        Key of the bibliography, empty where there is none.
    """

    role: Role
    scale: Scale | None = None
    direction: int = 0
    status: str = ""
    source: str = ""


@cache
def known_variables() -> dict[str, KnownVariable]:
    """Return what the library knows, by column name."""
    source = resources.files("resilience.data") / "known_variables.toml"
    tables = tomllib.loads(source.read_text(encoding="utf-8"))
    return {name: KnownVariable(**record) for name, record in tables.items()}
