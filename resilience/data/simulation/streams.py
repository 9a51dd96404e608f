"""Independent random streams, one per table, so that a new table never changes an old one.

Each stream is a child of ``numpy.random.SeedSequence(random_state)`` addressed by its number in a
fixed register and, within a table, by the cohort, the year, the grade or the subject.  Nothing
depends on the order in which tables are drawn, nor on how many years there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["STREAMS", "Streams"]

# Numbers are for ever: append, never renumber.  `teacher_waves` and `support_programme` belong to
# tables of later versions.
STREAMS: Mapping[str, int] = MappingProxyType(
    {
        "network": 0,
        "cohorts": 1,
        "context": 2,
        "intake": 3,
        "persistent_effects": 4,
        "transient_effects": 5,
        "procedure_effects": 6,
        "abilities": 7,
        "occasions": 8,
        "parts": 9,
        "participation": 10,
        "passports": 11,
        "inflation": 12,
        "teacher_waves": 13,
        "support_programme": 14,
        "classes": 15,
    }
)


@dataclass(frozen=True, kw_only=True)
class Streams:
    """The streams of one simulation.

    Attributes
    ----------
    random_state : int
        Seed of the whole region, at least 0.
    """

    random_state: int

    def __post_init__(self) -> None:
        seed = self.random_state
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise SpecificationError(text("simulation.random_state", value=repr(seed)))

    def generator(self, table: str, *address: int) -> np.random.Generator:
        """Return the generator of a table, or of one part of it.

        Parameters
        ----------
        table : str
            A name of `STREAMS`.
        *address : int
            Cohort, year, grade or number of the subject, at least 0.

        Returns
        -------
        numpy.random.Generator
            Fresh on each call: the same address gives the same numbers.

        Raises
        ------
        SpecificationError
            If the table is not in the register.
        """
        if table not in STREAMS:
            raise SpecificationError(
                text("simulation.stream", table=repr(table), known=", ".join(STREAMS))
            )
        key = (STREAMS[table], *address)
        return np.random.default_rng(np.random.SeedSequence(int(self.random_state), spawn_key=key))
