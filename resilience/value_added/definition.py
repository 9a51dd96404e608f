"""What a value-added model on pupils is, before any data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resilience.data.design import Level
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.value_added.drift import drift_levels
from resilience.value_added.membership import Membership
from resilience.value_added.specification import Intake, Structure

__all__ = ["ModelDefinition"]


@dataclass(frozen=True, eq=False)
class ModelDefinition:
    """Formula, levels, intake and structure of a value-added model; see `ValueAddedModel`."""

    formula: str
    group: str | Sequence[str] | None = None
    slopes: str | Sequence[str] | Mapping[str, Sequence[str]] | None = None
    time: str | None = None
    crossed: Sequence[str] | None = None
    members: Membership | None = None
    intake: Intake | None = None
    structure: Structure | None = None

    @property
    def groups(self) -> list[str]:
        """Columns of the nested levels from outer to inner, the school last."""
        for argument, value in (("crossed", self.crossed), ("members", self.members)):
            if value is not None:
                raise SpecificationError(text("crossed.nested_only", argument=argument))
        if not self.group:
            raise SpecificationError(text("value_added.no_group"))
        groups = [self.group] if isinstance(self.group, str) else list(self.group)
        twice = [name for name, n in Counter([*groups, self.time]).items() if n > 1]
        if twice:
            raise SpecificationError(text("value_added.level_twice", group=repr(twice[0])))
        return groups

    @property
    def levels(self) -> list[Level]:
        """Nested levels from outer to inner; with drift the last one only counts pupils by year."""
        groups = self.groups
        slopes: dict[str, Sequence[str]] = {}
        if isinstance(self.slopes, Mapping):
            slopes = dict(self.slopes)
        elif self.slopes is not None:
            terms = [self.slopes] if isinstance(self.slopes, str) else list(self.slopes)
            slopes = {groups[-1]: terms}
        for level in slopes:
            if level not in groups:
                raise SpecificationError(
                    text("value_added.slopes_level", level=repr(level), groups=", ".join(groups))
                )
        levels = [Level(name=g, column=g, slopes=tuple(slopes.get(g, ()))) for g in groups]
        return drift_levels(levels, self.structure or Structure(), self.time)
