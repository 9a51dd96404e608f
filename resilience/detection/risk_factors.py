"""Risk factors of a school as data: what they are called, and which items measure them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, get_args

import numpy as np

from resilience.columns import column, column_names
from resilience.detection.rules.criterion import Status, check_reference
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import check_choice, nearest_names

__all__ = ["RiskFactor", "RiskItem", "risk_factor", "risk_factors"]


@dataclass(frozen=True, kw_only=True)
class RiskItem:
    """One measured item of a factor and how it becomes a risk of 0 to 100.

    With ``ok`` and ``critical`` the risk is linear between them, 0 at ``ok`` and 100 at
    ``critical``, cut at both ends; an item that is a score of 0 to 100 already takes ``ok=0,
    critical=100``.  Without them it is the percentile among the schools of the year, times 100:
    then about a third of the schools stands above 67 whatever the state of the region.

    Attributes
    ----------
    column : str
        Column of the table of items.
    weight : float
        Above 0.
    ok, critical : float or None
        Value without risk and value of full risk, both or neither; ``ok`` above ``critical`` where
        less is worse.
    higher_is_worse : bool
        Direction of the percentile; of a linear item the two ends say it.
    """

    column: str
    weight: float = 1.0
    ok: float | None = None
    critical: float | None = None
    higher_is_worse: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not self.column:
            raise SpecificationError(text("risk.item_column", value=repr(self.column)))
        if not _is_number(self.weight) or self.weight <= 0:
            raise SpecificationError(
                text("risk.item_weight", item=self.column, value=repr(self.weight))
            )
        ends = (self.ok, self.critical)
        if ends == (None, None):
            return
        if not all(_is_number(v) for v in ends) or self.ok == self.critical:
            raise SpecificationError(
                text(
                    "risk.item_ends",
                    item=self.column,
                    ok=repr(self.ok),
                    critical=repr(self.critical),
                )
            )
        share = self.column in column_names() and column(self.column).kind == "share"
        worst = max(float(v) for v in ends if v is not None)
        if share and worst > 1:
            raise SpecificationError(text("risk.item_percent", item=self.column, value=worst))

    @property
    def is_linear(self) -> bool:
        """Whether the item has ends of its own."""
        return self.ok is not None


@dataclass(frozen=True, kw_only=True)
class RiskFactor:
    """A factor of the risk profile.

    Attributes
    ----------
    id : str
        Code.
    title_en, title_ru : str
        Title; the Russian one as quoted.
    status : {"documented", "unverified", "proposal"}
        Standing of the title as part of an official list; items and scoring are always the
        caller's (proposal).
    reference : str
        Key of the bibliography.
    number : int
        Place in the official list, 0 for factors of one's own.
    items : tuple of RiskItem
        What measures it; a factor without items is not scored.
    """

    id: str
    title_en: str
    title_ru: str
    status: Status = "proposal"
    reference: str = ""
    number: int = 0
    items: tuple[RiskItem, ...] = ()

    def __post_init__(self) -> None:
        for name in ("id", "title_en", "title_ru"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise SpecificationError(
                    text("risk.factor_text", factor=repr(self.id), field=name, value=repr(value))
                )
        check_choice(self.status, get_args(Status), argument=f"{self.id}.status")
        check_reference(self.id, self.reference)
        object.__setattr__(self, "items", tuple(self.items))
        names = []
        for item in self.items:
            if not isinstance(item, RiskItem):
                raise SpecificationError(
                    text("risk.factor_items", factor=self.id, value=repr(item))
                )
            names.append(item.column)
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise SpecificationError(
                text("risk.item_twice", factor=self.id, items=", ".join(twice))
            )

    @property
    def wording(self) -> Bilingual:
        """The title in both languages."""
        return Bilingual(self.title_en, self.title_ru)

    def title(self, lang: str = "en") -> str:
        """Return the title in the reader's language."""
        return self.wording.localized(lang)

    def measured_by(self, *items: RiskItem) -> RiskFactor:
        """Return a copy that is measured by these items."""
        return replace(self, items=items)


@cache
def risk_factors() -> tuple[RiskFactor, ...]:
    """Return the twelve factors of the school risk profile in their official order, without items.

    References
    ----------
    Otradnoe14.
    """
    source = resources.files("resilience.detection") / "risk_factors.toml"
    tables: dict[str, dict[str, Any]] = tomllib.loads(source.read_text(encoding="utf-8"))
    return tuple(RiskFactor(id=name, **record) for name, record in tables.items())


def risk_factor(name: str) -> RiskFactor:
    """Return one of the twelve factors by its id.

    Raises
    ------
    SpecificationError
        If there is no such factor; the nearest ids are named.
    """
    known = {f.id: f for f in risk_factors()}
    if name not in known:
        raise SpecificationError(
            text("risk.no_factor", name=repr(name), nearest=nearest_names(str(name), known))
        )
    return known[name]


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return number and bool(np.isfinite(value))  # type: ignore[call-overload]  # a number, as checked
