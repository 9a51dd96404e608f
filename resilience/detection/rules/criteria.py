"""Criteria as data: readable, citable, amendable."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from resilience.detection.rules.criterion import (
    BOUNDS,
    SHARE,
    Criterion,
    Status,
    check_count,
    check_reference,
    fail,
)
from resilience.i18n import Bilingual, check_language
from resilience.stats.decisions import LossRule
from resilience.validation import check_choice, nearest_names

__all__ = ["Criteria"]

Target = Literal["low", "resilient", "adverse", "other"]
Unit = Literal["school", "pupil"]
AMENDED = "+amended"
# Knobs of posterior rules and the values they take where a rule names none.
POSTERIOR_DEFAULTS: dict[str, float] = {
    "min_coverage": 0.6,
    "min_context_reliability": 0.5,
    "alternative_quantile": 0.9,
    "fdr": 0.1,
}
# Naming procedures or the year fills in what the rule leaves to its user; all else changes it.
LEFT_TO_THE_USER = {"procedures", "year"}


@dataclass(frozen=True, kw_only=True)
class Criteria:
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
        if self.combination not in ("all", "any"):
            k, most = self.combination, sum(c.weight for c in self.criteria)
            weighted = any(c.weight != 1 for c in self.criteria)
            number = isinstance(k, int | float if weighted else int) and not isinstance(k, bool)
            if not number or not (0 if weighted else 1) <= k <= most or k == 0:
                raise fail("combination", rule=self.id, value=repr(k), n=f"{most:g}")
        check_count(self.id, "min_pupils", self.min_pupils)
        if self.year is not None:
            check_count(self.id, "year", self.year)
        check_choice(self.unit, get_args(Unit), argument=f"{self.id}.unit")
        for name in ("second_hand", "exclude_selective", "exclude_flagged", "exclude_flagged_vpr"):
            if not isinstance(getattr(self, name), bool):
                raise fail("flag", rule=self.id, field=name, value=repr(getattr(self, name)))
        named: object = self.procedures  # a caller may pass anything
        if not isinstance(named, list | tuple) or not all(isinstance(p, str) and p for p in named):
            raise fail("procedure_names", rule=self.id, value=repr(named))
        object.__setattr__(self, "procedures", tuple(self.procedures))

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

    @classmethod
    def preset(cls, name: str, *, connective: str | None = None) -> Criteria:
        """Return a preset rule by its id.

        Parameters
        ----------
        name : str
            Id of the preset; ``shnor_2025`` names the federal rule with ``connective``.
        connective : {"or", "and"}, optional
            Required with ``shnor_2025``: the quoted text does not settle whether one of the two
            conditions is enough.

        Raises
        ------
        SpecificationError
            If there is no such preset (the nearest ids are named), or the connective is missing.
        """
        from resilience.detection.rules.files import find_preset

        return find_preset(name, connective)

    @classmethod
    def from_toml(cls, path: str | Path) -> tuple[Criteria, ...]:
        """Return all rules of a criteria file.

        Raises
        ------
        SpecificationError
            If the file is missing, is not TOML, or a rule is not well formed.
        """
        from resilience.detection.rules.files import read_rules

        return read_rules(path)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Criteria:
        """Return a rule from the mapping that `to_dict` gives."""
        from resilience.detection.rules.files import rule_from

        return rule_from(record, str(record.get("id", "rule")))

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

    def to_toml(self) -> str:
        """Return the rule as the text of a criteria file."""
        from resilience.detection.rules.files import toml_text

        return toml_text(self.to_dict())

    def amend(self, name: str | None = None, /, **changes: object) -> Criteria:
        """Return a copy with one criterion, or the rule itself, changed.

        Setting a bound removes the other one.  A copy that differs carries ``+amended`` in its
        version and is no longer a documented rule; naming the procedures or the year, which the
        rule leaves to its user, is no such change.

        Parameters
        ----------
        name : str, optional
            Name of a criterion; the rule's id or nothing for fields of the rule.
        **changes : object
            New values of fields.

        Raises
        ------
        SpecificationError
            If there is no such criterion or field; the nearest names are named.
        """
        if name is None or name == self.id:
            return self._amend_rule(changes)
        names = [c.name for c in self.criteria]
        if name not in names:
            near = nearest_names(name, [*names, self.id])
            raise fail("amend", rule=self.id, name=repr(name), nearest=near)
        known = [f.name for f in fields(Criterion) if f.name != "name"]
        self._check_known(changes, known, name)
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()
        }
        if set(values) & set(BOUNDS):
            values = {**dict.fromkeys(BOUNDS), **values}
        if "evidence" in values and values["evidence"] != "interval":
            values.setdefault("level", None)
        changed = tuple(replace(c, **values) if c.name == name else c for c in self.criteria)
        return self._marked(replace(self, criteria=changed))

    def _amend_rule(self, changes: Mapping[str, object]) -> Criteria:
        known = [f.name for f in fields(self) if f.name != "criteria"]
        self._check_known(changes, known, self.id)
        values = dict(changes)
        if values.get("procedures") == "all":
            values["procedures"] = ()
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        found = replace(self, **values)  # type: ignore[arg-type]  # checked by __post_init__
        if set(changes) & {"version", "status"}:
            return found  # the caller answers for the new version
        return found if set(changes) <= LEFT_TO_THE_USER | {"id"} else self._marked(found)

    def _marked(self, found: Criteria) -> Criteria:
        """Mark a copy that differs as amended."""
        if found == self or self.version.endswith(AMENDED):
            return found
        status = "proposal" if self.status == "documented" else self.status
        return replace(found, version=self.version + AMENDED, status=status, second_hand=False)

    def _check_known(self, given: Mapping[str, object], allowed: list[str], name: str) -> None:
        for key in given:
            if key not in allowed:
                near = nearest_names(key, allowed)
                raise fail("field", criterion=repr(name), key=repr(key), nearest=near)

    def grid(self, **bounds: Sequence[Any]) -> tuple[Criteria, ...]:
        """Return the Cartesian product of bounds, in the order given.

        ``rule.grid(adversity=[.20, .25], quantile=[.67, .75])`` changes the bound of each named
        criterion and keeps its direction; a field of the rule may be named as well.  Every rule
        gets its own id: ``resilient_posterior[adversity=0.2,quantile=0.67]``.

        Raises
        ------
        SpecificationError
            If a name is neither a criterion nor a field, or a list is empty.
        """
        names = {c.name: c.direction for c in self.criteria}
        own = [f.name for f in fields(self) if f.name not in ("criteria", "id", "version")]
        for name, values in list(bounds.items()):
            if name not in names and name not in own:
                near = nearest_names(name, [*names, *own])
                raise fail("amend", rule=self.id, name=repr(name), nearest=near)
            if hasattr(values, "tolist"):
                bounds[name] = values = values.tolist()
            if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
                raise fail("grid_values", rule=self.id, name=name, value=repr(values))
        found = []
        for values in itertools.product(*bounds.values()):
            rule = self
            for name, value in zip(bounds, values, strict=True):
                rule = (
                    rule.amend(name, **{names[name]: value})
                    if name in names
                    else rule.amend(**{name: value})
                )
            tag = ",".join(f"{n}={v}" for n, v in zip(bounds, values, strict=True))
            found.append(replace(rule, id=f"{self.id}[{tag}]") if tag else rule)
        return tuple(found)

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

    def validate(self) -> Criteria:
        """Return the rule itself; a rule that exists has passed every check."""
        return self

    def describe(self, lang: str = "en") -> str:
        """Return the rule in plain words, every value included."""
        from resilience.detection.rules.wording import describe_rule

        return describe_rule(self, lang)

    def diff(self, other: Criteria) -> dict[str, tuple[Any, Any]]:
        """Return what differs: ``{field or criterion.field: (here, there)}``."""
        here, there = _flat(self), _flat(other)
        keys = [*here, *(k for k in there if k not in here)]
        return {k: (here.get(k), there.get(k)) for k in keys if here.get(k) != there.get(k)}

    def __iter__(self) -> Iterator[Criterion]:
        return iter(self.criteria)


def _flat(rule: Criteria) -> dict[str, Any]:
    record = rule.to_dict()
    flat = {k: v for k, v in record.items() if k != "criterion"}
    for criterion in record["criterion"]:
        flat |= {f"{criterion['name']}.{k}": v for k, v in criterion.items() if k != "name"}
    return flat
