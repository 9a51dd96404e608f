"""A rule as a record: its identity, its criteria, its knobs, checked on the way in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from resilience.detection.rules.criterion import (
    SHARE,
    Criterion,
    Status,
    check_count,
    check_reference,
    fail,
)
from resilience.i18n import Bilingual, check_language
from resilience.stats.verdicts.decisions import LossRule
from resilience.validation import check_choice

__all__ = ["POSTERIOR_DEFAULTS", "Rule", "Target", "Unit"]

Target = Literal["low", "resilient", "adverse", "other"]
Unit = Literal["school", "pupil"]
# Knobs of posterior rules and the values they take where a rule names none.
POSTERIOR_DEFAULTS: dict[str, float] = {
    "min_coverage": 0.6,
    "min_context_reliability": 0.5,
    "alternative_quantile": 0.9,
    "fdr": 0.1,
}


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, str) and v for v in value)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule: its identity, its criteria, and how they combine.

    Attributes
    ----------
    id, version : str
        A changed threshold is a new version: `amend` marks it.
    title_en, title_ru : str
        Headings.
    target : {"low", "resilient", "adverse", "other"}
        What a yes means; figures and reports choose their words by it.
    status : {"documented", "unverified", "proposal"}
        Standing of the rule.
    second_hand : bool
        Documented through a publication that quotes the text.
    reference : str
        Key of the bibliography, or a citation in words.
    combination : {"all", "any"}, int or float
        How the criteria combine, in Kleene's three-valued logic; a number asks for at least so
        many, or for so much weight where the criteria carry weights.
        Posterior criteria on effect and context count as one, judged jointly.
    procedures : tuple of str
        Procedures of share criteria; empty means all there are (``procedures = "all"`` in a file),
        and the result says which.
    year : int or None
        Year of the verdict; by default the latest of each table.
    exclude_selective : bool
        Schools with selection get ``not_applicable``.
    exclude_flagged : bool
        Schools whose marks show signs that call for analysis (``integrity_flag`` in the table of
        schools) get ``not_applicable``.
    exclude_flagged_vpr : bool
        A ВПР procedure of such a school does not clear it: a share that is not low is unknown.
    needs : tuple of str
        Columns, as ``table.column``, that must be there besides those of the criteria.
    unit : {"school", "pupil"}
        What the rule names.  Rules on pupils are applied by `resilient_pupils`.
    min_pupils : int
        Fewer pupils over all years give ``insufficient_data`` (posterior rules).
    p_no : float
        Posterior probability below which the answer is a plain no.
    min_coverage, min_context_reliability : float or None
        Below them the index of a school carries no verdict (.6 and .5; posterior rules).
    alternative_quantile : float or None
        Quantile of the effects at which power is computed (.9; posterior rules).
    fdr : float or None
        Share of wrong names allowed in the list by probability alone (.1; posterior rules).
    criteria : tuple of Criterion
        The lines.
    """

    id: str
    version: str
    title_en: str
    title_ru: str
    criteria: tuple[Criterion, ...]
    target: Target = "other"
    status: Status = "proposal"
    second_hand: bool = False
    reference: str = ""
    combination: Literal["all", "any"] | int | float = "all"
    procedures: tuple[str, ...] = ()
    year: int | None = None
    exclude_selective: bool = False
    exclude_flagged: bool = False
    exclude_flagged_vpr: bool = False
    needs: tuple[str, ...] = ()
    unit: Unit = "school"
    min_pupils: int = 1
    p_no: float = 0.05
    min_coverage: float | None = None
    min_context_reliability: float | None = None
    alternative_quantile: float | None = None
    fdr: float | None = None

    def __post_init__(self) -> None:
        for name in ("id", "version", "title_en", "title_ru"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise fail("text_field", rule=self.id, field=name, value=repr(getattr(self, name)))
        if not self.criteria:
            raise fail("no_criteria", rule=self.id)
        names = [c.name for c in self.criteria]
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise fail("twice", rule=self.id, names=", ".join(sorted(twice)))
        self._check_fields()
        if self.is_posterior:
            self._check_posterior()

    def _check_fields(self) -> None:
        check_choice(self.status, get_args(Status), argument=f"{self.id}.status")
        check_choice(self.target, get_args(Target), argument=f"{self.id}.target")
        check_reference(self.id, self.reference)
        self._check_combination()
        check_count(self.id, "min_pupils", self.min_pupils)
        if self.year is not None:
            check_count(self.id, "year", self.year)
        check_choice(self.unit, get_args(Unit), argument=f"{self.id}.unit")
        for name in ("second_hand", "exclude_selective", "exclude_flagged", "exclude_flagged_vpr"):
            if not isinstance(getattr(self, name), bool):
                raise fail("flag", rule=self.id, field=name, value=repr(getattr(self, name)))
        named: object = self.procedures  # a caller may pass anything
        if not _are_names(named):
            raise fail("procedure_names", rule=self.id, value=repr(named))
        twice = sorted({n for n in self.procedures if self.procedures.count(n) > 1})
        if twice:
            raise fail("procedures_twice", rule=self.id, procedures=", ".join(twice))
        if not _are_names(self.needs) or not all("." in n for n in self.needs):
            raise fail("needs", rule=self.id, value=repr(self.needs))
        for name in ("procedures", "needs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def _check_combination(self) -> None:
        k: Any = self.combination
        if k in ("all", "any"):
            return
        most = sum(c.weight for c in self.criteria)
        weighted = any(c.weight != 1 for c in self.criteria)
        number = isinstance(k, int | float if weighted else int) and not isinstance(k, bool)
        # 1 of criteria that count 1 each; of weights any sum above 0
        if not number or not (0 < k <= most) or (not weighted and k < 1):
            raise fail("combination", rule=self.id, value=repr(k), n=f"{most:g}")

    def _check_posterior(self) -> None:
        posterior = [c for c in self.criteria if c.evidence == "posterior"]
        if len({c.losses for c in posterior}) > 1:
            raise fail("losses_differ", rule=self.id)
        for name, default in POSTERIOR_DEFAULTS.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)  # shown even where left at default
        for name in ("p_no", *POSTERIOR_DEFAULTS):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise fail("knob", rule=self.id, field=name, value=repr(value))
        if self.p_no >= self.losses.threshold:
            raise fail("p_no", rule=self.id, p_no=self.p_no, threshold=self.losses.threshold)

    @property
    def is_posterior(self) -> bool:
        """Whether the verdict is taken from a posterior probability."""
        return any(c.evidence == "posterior" for c in self.criteria)

    @property
    def joint_criteria(self) -> tuple[Criterion, ...]:
        """Posterior criteria on effect and context, which are judged jointly."""
        return tuple(c for c in self.criteria if c.evidence == "posterior" and c.column != SHARE)

    @property
    def reads_counts(self) -> bool:
        """Whether a criterion is formed from counts of marks."""
        return any(c.column == SHARE for c in self.criteria)

    @property
    def losses(self) -> LossRule:
        """Losses of the rule: those of its posterior criteria."""
        chosen = [c for c in self.criteria if c.evidence == "posterior"]
        return chosen[-1].losses if chosen else LossRule(false_positive=1, false_negative=1)

    def title(self, lang: str = "en") -> str:
        """Return the heading in the reader's language."""
        return self.wording.localized(check_language(lang))

    @property
    def wording(self) -> Bilingual:
        """The heading in both languages."""
        return Bilingual(self.title_en, self.title_ru)

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain data, as it would stand in a file."""
        defaults = {f.name: f.default for f in fields(self)}
        own = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name != "criteria" and getattr(self, f.name) != defaults[f.name]
        }
        own = {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()}
        if self.reads_counts:
            own["procedures"] = list(self.procedures) or "all"
        return {**own, "criterion": [c.to_dict() for c in self.criteria]}

    def __iter__(self) -> Iterator[Criterion]:
        return iter(self.criteria)
