"""What a model of persistence is, before any data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from resilience.data.design import formula_columns
from resilience.validation import check_choice, check_instance, check_names
from resilience.value_added.persistence.links import TeacherLinks

__all__ = ["PersistenceDefinition"]

_KINDS = ("variable", "complete", "zero")


@dataclass(frozen=True)
class PersistenceDefinition:
    """Formula, keys, links and kind of persistence; see `PersistenceModel`."""

    formula: str
    pupil: str = field(default="pupil_key", kw_only=True)
    time: str = field(default="year", kw_only=True)
    teachers: TeacherLinks = field(default_factory=TeacherLinks, kw_only=True)
    persistence: Literal["variable", "complete", "zero"] = field(default="variable", kw_only=True)

    def __post_init__(self) -> None:
        formula_columns(self.formula)
        for argument in ("pupil", "time"):
            given = getattr(self, argument)
            check_names(given, argument=argument, example=f"{argument}='column'", single=True)
        example = "teachers=rs.TeacherLinks(teacher='teacher_id', share='share')"
        check_instance(self.teachers, TeacherLinks, argument="teachers", example=example)
        check_choice(self.persistence, _KINDS, argument="persistence")
