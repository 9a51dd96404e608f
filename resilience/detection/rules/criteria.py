"""Criteria as data: readable, citable, amendable."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from resilience.detection.rules.comparison import compare_rules
from resilience.detection.rules.criterion import BOUNDS, Criterion, fail
from resilience.detection.rules.files import (
    fields_of_text,
    preset_fields,
    preset_ids,
    read_fields,
    toml_text,
)
from resilience.detection.rules.grammar import rule_fields
from resilience.detection.rules.rule import Rule
from resilience.detection.rules.schema import rules_schema, write_schema
from resilience.detection.rules.soundness import check_rule
from resilience.detection.rules.wording import describe_rule, table_of_rules
from resilience.i18n import check_language
from resilience.validation import nearest_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Criteria"]

AMENDED = "+amended"
# Naming procedures or the year fills in what the rule leaves to its user; all else changes it.
LEFT_TO_THE_USER = {"procedures", "year"}


@dataclass(frozen=True, kw_only=True)
class Criteria(Rule):
    """A rule that can be read from a file, amended, compared and put into words.

    The fields are those of `Rule`: identity, criteria, and how they combine.
    """

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
        return cls(**preset_fields(name, connective))

    @classmethod
    def from_toml(cls, path: str | Path) -> tuple[Criteria, ...]:
        """Return all rules of a criteria file.

        Raises
        ------
        SpecificationError
            If the file is missing, is not TOML, or a rule is not well formed.
        """
        return tuple(cls(**own) for own in read_fields(path))

    @classmethod
    def from_text(cls, content: str, place: str = "criteria") -> tuple[Criteria, ...]:
        """Return all rules of the text of a criteria file; ``place`` names it in errors."""
        return tuple(cls(**own) for own in fields_of_text(content, place))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Criteria:
        """Return a rule from the mapping that `to_dict` gives."""
        return cls(**rule_fields(record, str(record.get("id", "rule"))))

    def to_toml(self) -> str:
        """Return the rule as the text of a criteria file."""
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
            if values["between"] is None:
                values.setdefault("open_above", False)
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

    def validate(
        self,
        *,
        tables: Mapping[str, Iterable[str]] | None = None,
        years: Iterable[int] | None = None,
        procedures: Iterable[str] | None = None,
    ) -> Self:
        """Return the rule itself if it can hold, and can be judged from these data.

        A rule that exists is well formed; this asks whether it makes sense: no criteria that
        exclude or repeat each other, no bound that is always or never met, and, where they are
        given, tables, years and procedures that hold what the rule reads.

        Parameters
        ----------
        tables : mapping of str to columns, optional
            Columns of the tables for `detect_schools` (``effects``, ``scores``, ``counts``,
            ``school_years``, ``schools``) or of ``pupils``; a DataFrame stands for its columns.
        years : iterable of int, optional
            Years there are.
        procedures : iterable of str, optional
            Procedures there are.

        Raises
        ------
        SpecificationError
            Naming every problem found.
        """
        check_rule(self, tables=tables, years=years, procedures=procedures)
        return self

    def describe(self, lang: str = "en") -> str:
        """Return the rule in plain words, every value included."""
        return describe_rule(self, check_language(lang))

    def diff(self, other: Rule, lang: str = "en") -> pd.DataFrame:
        """Return what another version changes.

        Parameters
        ----------
        other : Criteria
            The newer version.
        lang : {"en", "ru"}
            Language of labels and values.

        Returns
        -------
        DataFrame
            ``rule_id criterion field field_label old_value new_value change``: one row per field
            that differs and one per criterion added or removed (then ``field`` is empty);
            ``criterion`` is empty for fields of the rule.  Values are texts as in a file.
        """
        return compare_rules([self], [other], lang)

    @classmethod
    def diff_files(cls, old: str | Path, new: str | Path, lang: str = "en") -> pd.DataFrame:
        """Return what a newer criteria file changes: the table of `diff`, rules paired by id.

        A rule that is only in one of the files is one row with empty ``criterion`` and ``field``.
        """
        return compare_rules(cls.from_toml(old), cls.from_toml(new), lang)

    @classmethod
    def presets(cls, lang: str = "en") -> pd.DataFrame:
        """Return the table of all rules that ship.

        Returns
        -------
        DataFrame
            ``rule_id rule_version rule_status rule_unit rule_target rule_title reference``, by id.
        """
        return table_of_rules([cls.preset(name) for name in preset_ids()], lang)

    @staticmethod
    def json_schema(lang: str = "en") -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of criteria files, for editors.

        Every field with its type, its options, its range and a description in words.
        """
        return rules_schema(check_language(lang))

    @staticmethod
    def save_json_schema(path: str | Path, lang: str = "en") -> Path:
        """Write the JSON Schema of criteria files and return its path.

        An editor with a TOML extension uses it where the file's first line is
        ``#:schema ./criteria.schema.json``.
        """
        return write_schema(path, check_language(lang))
