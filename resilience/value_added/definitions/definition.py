"""What a value-added model on pupils is, before any data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from resilience.data.design import Level
from resilience.data.design_formula import unquoted
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.validation import check_instance, check_mapping, check_names
from resilience.value_added.definitions.drift import drift_levels
from resilience.value_added.definitions.membership import Membership
from resilience.value_added.definitions.specification import Intake, Structure

__all__ = ["ModelDefinition"]


def _check_each(columns: object, *, argument: str, example: str) -> None:
    """Raise unless names of columns; one that stands twice has a message of its own later."""
    listed = isinstance(columns, Iterable) and not isinstance(columns, str | Mapping)
    names: Iterable[object] = columns if listed else [columns]  # type: ignore[assignment]  # iterable
    for name in names:
        check_names(name, argument=argument, example=example, single=True)


def _named_slopes(
    slopes: object,
) -> tuple[str, ...] | dict[str, tuple[str, ...]] | None:
    """Return the terms with varying effects as the design labels them, of each level."""
    example = "slopes='prior_score'"
    if slopes is None:
        return None
    if isinstance(slopes, Mapping):
        check_mapping(slopes, argument="slopes", example="slopes={'school_id': ['prior_score']}")
        return {
            level: tuple(
                map(unquoted, check_names(own, argument=f"slopes[{level!r}]", example=example))
            )
            for level, own in slopes.items()
        }
    return tuple(map(unquoted, check_names(slopes, argument="slopes", example=example)))


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

    def __post_init__(self) -> None:
        formula: object = self.formula
        if not isinstance(formula, str):
            raise SpecificationError(text("design.formula", formula=repr(formula)))
        if self.group is not None:
            _check_each(self.group, argument="group", example="group='school_id'")
        if self.crossed is not None:
            _check_each(self.crossed, argument="crossed", example="crossed=['primary_id']")
        if self.time is not None:
            check_names(self.time, argument="time", example="time='year'", single=True)
        if self.intake is not None:
            example = "intake=Intake(missing='drop')"
            check_instance(self.intake, Intake, argument="intake", example=example)
        if self.structure is not None:
            example = "structure=Structure(drift='ar1')"
            check_instance(self.structure, Structure, argument="structure", example=example)
        given: object = self.members
        if given is not None and not isinstance(given, Membership):
            raise SpecificationError(text("crossed.members_kind", kind=type(given).__name__))
        object.__setattr__(self, "slopes", _named_slopes(self.slopes))

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
