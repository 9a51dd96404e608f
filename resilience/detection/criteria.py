"""Criteria as data: readable, citable, amendable."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from resilience.columns import column_names
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, check_language, text
from resilience.references import reference_keys
from resilience.stats.decisions import LossRule
from resilience.validation import check_choice, nearest_names

__all__ = ["BOUNDS", "Criteria", "Criterion", "preset_ids"]

Scale = Literal["value", "quantile", "z"]
Evidence = Literal["point", "posterior"]
Status = Literal["documented", "unverified", "proposal"]
BOUNDS = ("at_most", "at_least", "above", "below")
LATEST = "latest"


def _fail(key: str, /, **values: object) -> SpecificationError:
    return SpecificationError(text(f"detection.{key}", **values))


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One line of a rule: a column, a bound, and what counts as evidence.

    Attributes
    ----------
    name : str
        Name by which the rule is amended.
    column : str
        Column of the glossary; ``share_below_minimum`` is formed from counts per procedure.
    at_most, at_least, above, below : float or None
        Exactly one bound; the first two are inclusive.
    scale : {"value", "quantile", "z"}
        ``quantile`` compares with the percentile over the region's schools; with posterior evidence
        on ``effect`` it is the quantile of the persistent effects.
    evidence : {"point", "posterior"}
        Compare the value, or the posterior probability with the threshold of the losses.
    loss_false_positive, loss_false_negative : float
        Losses of a posterior criterion.
    procedures_at_least : int
        How many procedures must satisfy it (share criteria).
    years_at_least, years_of : int
        In how many of the last ``years_of`` years.
    order : {"procedures", "years"}
        What is reduced first: ``years`` asks for the same procedure in every year, ``procedures``
        allows another one each year.
    min_participants : int
        Fewer participants give no verdict for the procedure.
    floor : float
        Smallest bound of a posterior effect criterion, in outcome units.
    reference, status : str
        Source and standing.
    """

    name: str
    column: str
    at_most: float | None = None
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    scale: Scale = "value"
    evidence: Evidence = "point"
    loss_false_positive: float = 1.0
    loss_false_negative: float = 1.0
    procedures_at_least: int = 1
    years_at_least: int = 1
    years_of: int = 1
    order: Literal["procedures", "years"] = "procedures"
    min_participants: int = 1
    floor: float = 0.0
    reference: str = ""
    status: Status = "proposal"

    def __post_init__(self) -> None:
        given = [b for b in BOUNDS if getattr(self, b) is not None]
        if len(given) != 1:
            raise _fail("bounds", criterion=self.name, given=", ".join(given) or "—")
        known = column_names()
        if self.column not in known:
            raise _fail(
                "column",
                criterion=self.name,
                column=self.column,
                nearest=nearest_names(self.column, known),
            )
        check_choice(self.scale, get_args(Scale), argument=f"{self.name}.scale")
        check_choice(self.evidence, get_args(Evidence), argument=f"{self.name}.evidence")
        check_choice(self.status, get_args(Status), argument=f"{self.name}.status")
        check_choice(self.order, ("procedures", "years"), argument=f"{self.name}.order")
        if isinstance(self.bound, bool) or not isinstance(self.bound, int | float):
            raise _fail("number", criterion=self.name, value=repr(self.bound))
        if self.scale == "quantile" and not 0 <= self.bound <= 1:
            raise _fail("quantile", criterion=self.name, value=self.bound)
        if self.column == "share_below_minimum" and not 0 <= self.bound <= 1:
            raise _fail("share", criterion=self.name, value=self.bound)
        if not 1 <= self.years_at_least <= self.years_of:
            raise _fail("years", criterion=self.name, k=self.years_at_least, n=self.years_of)
        if self.procedures_at_least < 1 or self.min_participants < 1:
            raise _fail(
                "at_least_one",
                criterion=self.name,
                value=min(self.procedures_at_least, self.min_participants),
            )
        LossRule(false_positive=self.loss_false_positive, false_negative=self.loss_false_negative)
        if self.reference and self.reference not in reference_keys():
            raise _fail(
                "reference",
                criterion=self.name,
                key=self.reference,
                nearest=nearest_names(self.reference, reference_keys()),
            )

    @property
    def direction(self) -> str:
        """Name of the bound that is set."""
        return next(b for b in BOUNDS if getattr(self, b) is not None)

    @property
    def bound(self) -> float:
        """The bound."""
        return float(getattr(self, self.direction))

    @property
    def losses(self) -> LossRule:
        """Losses of a posterior criterion."""
        return LossRule(
            false_positive=self.loss_false_positive, false_negative=self.loss_false_negative
        )

    @property
    def exact_bound(self) -> Fraction:
        """The bound as it is written: 0.3 is 3/10."""
        return Fraction(str(getattr(self, self.direction)))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        defaults = {f.name: f.default for f in fields(self)}
        return {k: v for k, v in asdict(self).items() if v is not None and v != defaults[k]}


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """A rule: its identity, its criteria, and how they combine.

    Attributes
    ----------
    id, version : str
        A changed threshold is a new version.
    title_en, title_ru : str
        Headings.
    target : {"low", "resilient", "adverse", "other"}
        What a yes means; figures and reports choose their words by it.
    status : {"documented", "unverified", "proposal"}
        Standing of the rule.
    second_hand : bool
        Documented through a publication that quotes the text.
    reference : str
        Key of the bibliography.
    combination : {"all", "any"}
        How the criteria combine, in Kleene's three-valued logic.
    procedures : tuple of str
        Procedures of share criteria; empty means all there are, and the report says so.
    exclude_selective : bool
        Schools with selection get ``not_applicable``.
    min_pupils : int
        Fewer pupils over all years give ``insufficient_data`` (posterior rules).
    p_no : float
        Posterior probability below which the answer is a plain no.
    criteria : tuple of Criterion
        The lines.
    """

    id: str
    version: str
    title_en: str
    title_ru: str
    criteria: tuple[Criterion, ...]
    target: Literal["low", "resilient", "adverse", "other"] = "other"
    status: Status = "proposal"
    second_hand: bool = False
    reference: str = ""
    combination: Literal["all", "any"] = "all"
    procedures: tuple[str, ...] = ()
    exclude_selective: bool = False
    min_pupils: int = 1
    p_no: float = 0.05

    def __post_init__(self) -> None:
        if not self.criteria:
            raise _fail("no_criteria", rule=self.id)
        names = [c.name for c in self.criteria]
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise _fail("twice", rule=self.id, names=", ".join(sorted(twice)))
        check_choice(self.combination, ("all", "any"), argument=f"{self.id}.combination")
        check_choice(self.status, get_args(Status), argument=f"{self.id}.status")
        check_choice(
            self.target, ("low", "resilient", "adverse", "other"), argument=f"{self.id}.target"
        )
        if self.reference and self.reference not in reference_keys():
            raise _fail(
                "reference",
                criterion=self.id,
                key=self.reference,
                nearest=nearest_names(self.reference, reference_keys()),
            )
        if self.is_posterior and self.p_no >= self.losses.threshold:
            raise _fail("p_no", rule=self.id, p_no=self.p_no, threshold=self.losses.threshold)

    @classmethod
    def preset(cls, name: str) -> Criteria:
        """Return a preset rule by its id.

        Raises
        ------
        SpecificationError
            If there is no such preset; the nearest ids are named.  The federal rule has no form
            without its connective: choose ``low_results_2025_or`` or ``low_results_2025_and``.
        """
        known = _presets()
        if name not in known:
            if name in ("low_results_2025", "shnor_2025"):
                raise _fail("connective", name=name)
            raise _fail("preset", name=name, nearest=nearest_names(name, known))
        return known[name]

    @classmethod
    def from_toml(cls, path: str | Path) -> tuple[Criteria, ...]:
        """Return all rules of a criteria file.

        Raises
        ------
        SpecificationError
            If the file is missing, is not TOML, or a rule is not well formed.
        """
        place = Path(path)
        try:
            content = tomllib.loads(place.read_text(encoding="utf-8"))
        except OSError as error:
            raise _fail("file", path=place.name, problem=error.strerror or error) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise _fail("toml", path=place.name, problem=error) from error
        return _rules(content, place.name)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Criteria:
        """Return a rule from the mapping that `to_dict` gives."""
        return _rule(record, str(record.get("id", "rule")))

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain data, as it would stand in a file."""
        defaults = {f.name: f.default for f in fields(self)}
        own = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name != "criteria" and getattr(self, f.name) != defaults[f.name]
        }
        own = {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()}
        return {**own, "criterion": [c.to_dict() for c in self.criteria]}

    def to_toml(self) -> str:
        """Return the rule as the text of a criteria file."""
        record = self.to_dict()
        lines = ["[[rule]]", *(f"{k} = {_toml(v)}" for k, v in record.items() if k != "criterion")]
        for criterion in record["criterion"]:
            lines += [
                "",
                "[[rule.criterion]]",
                *(f"{k} = {_toml(v)}" for k, v in criterion.items()),
            ]
        return "\n".join(lines) + "\n"

    def amend(self, name: str, **bounds: object) -> Criteria:
        """Return a copy with one criterion (or, by the rule's id, the rule itself) changed.

        Setting a bound removes the other one.

        Raises
        ------
        SpecificationError
            If there is no such criterion or field; the nearest names are named.
        """
        if name == self.id:
            allowed = [f.name for f in fields(self) if f.name not in ("criteria", "id")]
            self._check_fields(bounds, allowed, name)
            own = {k: tuple(v) if isinstance(v, list) else v for k, v in bounds.items()}
            return replace(self, **own)  # type: ignore[arg-type]  # checked by __post_init__
        names = [c.name for c in self.criteria]
        if name not in names:
            raise _fail("amend", rule=self.id, name=name, nearest=nearest_names(name, names))
        allowed = [f.name for f in fields(Criterion) if f.name != "name"]
        self._check_fields(bounds, allowed, name)
        cleared: dict[str, Any] = dict.fromkeys(BOUNDS) if set(bounds) & set(BOUNDS) else {}
        changed = tuple(
            replace(c, **{**cleared, **bounds}) if c.name == name else c for c in self.criteria
        )
        return replace(self, criteria=changed)

    def _check_fields(self, given: Mapping[str, object], allowed: list[str], name: str) -> None:
        for key in given:
            if key not in allowed:
                raise _fail("field", criterion=name, key=key, nearest=nearest_names(key, allowed))

    def grid(self, **bounds: Sequence[float]) -> tuple[Criteria, ...]:
        """Return the Cartesian product of bounds, criteria in the order given.

        ``rule.grid(adversity=[.20, .25], quantile=[.67, .75])`` changes the bound of each named
        criterion and keeps its direction.
        """
        for name in bounds:
            if name not in [c.name for c in self.criteria]:
                names = [c.name for c in self.criteria]
                raise _fail("amend", rule=self.id, name=name, nearest=nearest_names(name, names))
        found = []
        for values in itertools.product(*bounds.values()):
            rule = self
            for name, value in zip(bounds, values, strict=True):
                direction = next(c.direction for c in self.criteria if c.name == name)
                rule = rule.amend(name, **{direction: value})
            found.append(rule)
        return tuple(found)

    @property
    def is_posterior(self) -> bool:
        """Whether the verdict is taken from a posterior probability."""
        return any(c.evidence == "posterior" for c in self.criteria)

    @property
    def losses(self) -> LossRule:
        """Losses of the rule: those of its last posterior criterion."""
        chosen = [c for c in self.criteria if c.evidence == "posterior"]
        return chosen[-1].losses if chosen else LossRule(false_positive=1, false_negative=1)

    def title(self, lang: str = "en") -> str:
        """Return the heading in the reader's language."""
        return self.title_ru if check_language(lang) == "ru" else self.title_en

    def validate(self) -> Criteria:
        """Return the rule itself; a rule that exists has passed every check."""
        return self

    def describe(self, lang: str = "en") -> str:
        """Return the rule in plain words, every value included."""
        from resilience.detection.wording import describe_rule

        return describe_rule(self, lang)

    def diff(self, other: Criteria) -> dict[str, tuple[Any, Any]]:
        """Return what differs: ``{field or criterion.field: (here, there)}``."""
        here, there = _flat(self), _flat(other)
        keys = dict.fromkeys([*here, *there])
        return {k: (here.get(k), there.get(k)) for k in keys if here.get(k) != there.get(k)}

    def __iter__(self) -> Iterator[Criterion]:
        return iter(self.criteria)


def _flat(rule: Criteria) -> dict[str, Any]:
    record = rule.to_dict()
    flat = {k: v for k, v in record.items() if k != "criterion"}
    for criterion in record["criterion"]:
        flat |= {f"{criterion['name']}.{k}": v for k, v in criterion.items() if k != "name"}
    return flat


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


def _rules(content: Mapping[str, Any], place: str) -> tuple[Criteria, ...]:
    unknown = [k for k in content if k != "rule"]
    if unknown or not isinstance(content.get("rule"), list):
        raise _fail("file_keys", path=place, keys=", ".join(unknown) or "—")
    return tuple(_rule(record, place) for record in content["rule"])


def _rule(record: Mapping[str, Any], place: str) -> Criteria:
    allowed = [f.name for f in fields(Criteria) if f.name != "criteria"]
    lines = record.get("criterion", [])
    _known(record, [*allowed, "criterion"], place)
    for line in lines:
        _known(line, [f.name for f in fields(Criterion)], place)
        _required(line, ("name", "column"), place)
    _required(record, ("id", "version", "title_en", "title_ru"), place)
    own: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in record.items() if k != "criterion"
    }
    return Criteria(criteria=tuple(Criterion(**line) for line in lines), **own)


def _known(record: Mapping[str, Any], allowed: Iterable[str], place: str) -> None:
    options = list(allowed)
    for key in record:
        if key not in options:
            raise _fail("key", path=place, key=key, nearest=nearest_names(key, options))


def _required(record: Mapping[str, Any], names: Iterable[str], place: str) -> None:
    for name in names:
        if name not in record:
            raise _fail("missing_key", path=place, key=name)


@cache
def _presets() -> dict[str, Criteria]:
    root = resources.files("resilience") / "detection" / "presets"
    found: dict[str, Criteria] = {}
    for file in sorted(
        (f for f in root.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name
    ):
        for rule in _rules(tomllib.loads(file.read_text(encoding="utf-8")), file.name):
            found[rule.id] = rule
    return found


def preset_ids() -> tuple[str, ...]:
    """Return the ids of all preset rules, sorted."""
    return tuple(sorted(_presets()))


def rule_title(rule: Criteria) -> Bilingual:
    """Return the rule's heading in both languages."""
    return Bilingual(rule.title_en, rule.title_ru)
