"""Who is a resilient pupil: three readings, as bounds that can be amended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import nearest_names

__all__ = ["DEFINITIONS", "LEVEL", "PupilDefinition", "pupil_definition"]

Kind = Literal["national", "core_skills", "residual"]

DEFINITIONS = ("oecd_national", "oecd_core_skills", "oecd_residual")
_COLUMNS: dict[str, Kind] = {"score": "national", "residual_on_ses": "residual"}
LEVEL = "proficiency_level"


@dataclass(frozen=True, kw_only=True)
class PupilDefinition:
    """A reading of "resilient pupil".

    Attributes
    ----------
    id : str
        Id of the reading or of the rule.
    kind : {"national", "core_skills", "residual"}
        Success by the result, by minimum scores in every subject, by the residual on status.
    ses_at_most : float
        Percentile of socio-economic status up to which a pupil is disadvantaged.
    result_at_least : float
        Percentile from which a result or residual is a success; unused by core skills.
    level_at_least : float
        Proficiency level that counts as core skills; unused by the other two.
    status : str
        Standing of the rule.
    """

    id: str
    kind: Kind
    ses_at_most: float = 0.25
    result_at_least: float = 0.75
    level_at_least: float = 3
    status: str = "unverified"

    def describe(self) -> Bilingual:
        """Return the reading in words, every number included."""
        return text(
            f"pupils.definition_{self.kind}",
            id=self.id,
            low=f"{100 * self.ses_at_most:g}",
            high=f"{100 * (1 - self.result_at_least):g}",
            level=f"{self.level_at_least:g}",
        )


def pupil_definition(definition: str | Criteria) -> PupilDefinition:
    """Return the reading behind a name or a rule.

    Raises
    ------
    SpecificationError
        If the name is unknown or the rule is not one about pupils of the two lines needed.
    """
    if isinstance(definition, Criteria):
        return _from_rule(definition)
    if not isinstance(definition, str) or definition not in DEFINITIONS:
        raise SpecificationError(
            text(
                "pupils.unknown",
                definition=repr(definition),
                nearest=nearest_names(str(definition), DEFINITIONS),
            )
        )
    return _from_rule(Criteria.preset(definition))


def _from_rule(rule: Criteria) -> PupilDefinition:
    lines = {c.column: c for c in rule.criteria}
    others = [c for c in rule.criteria if c.column != "ses"]
    status = lines.get("ses")
    joined = rule.unit == "pupil" and rule.combination == "all" and len(rule.criteria) == 2
    if not joined or status is None or len(others) != 1:
        raise SpecificationError(text("pupils.rule", rule=rule.id))
    high = others[0]
    low = _quantile(rule, status, "at_most")
    if (high.column, high.scale, high.direction) == (LEVEL, "value", "at_least"):
        return PupilDefinition(
            id=rule.id,
            kind="core_skills",
            ses_at_most=low,
            level_at_least=high.bound,
            status=rule.status,
        )
    if high.column not in _COLUMNS:
        raise SpecificationError(text("pupils.rule", rule=rule.id))
    return PupilDefinition(
        id=rule.id,
        kind=_COLUMNS[high.column],
        ses_at_most=low,
        result_at_least=_quantile(rule, high, "at_least"),
        status=rule.status,
    )


def _quantile(rule: Criteria, criterion: Criterion, direction: str) -> float:
    inside = 0 < criterion.bound < 1
    if criterion.direction != direction or criterion.scale != "quantile" or not inside:
        raise SpecificationError(text("pupils.rule", rule=rule.id))
    return criterion.bound
