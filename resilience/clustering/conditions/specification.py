"""Which conditions of work schools are grouped and compared by, and what kind each of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from resilience.data.known_variables import ADMITTED_ROLES, known_variables
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.validation import check_choice, check_mapping, check_names, check_positive

__all__ = ["Conditions", "Kind", "Transform"]

Transform = Literal["log", "linear"]
Kind = Literal["continuous", "share", "composition", "nominal", "ordinal"]

# counts and distances: what matters is how many times larger, not how much larger
LOGGED = ("n_pupils", "remoteness_km", "n_enrolled", "n_participants")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions of work behind clusters, neighbours and bands.

    Only what a school does not control enters: its intake and its location.  Results and what the
    school does are refused, because clusters formed by results would explain results by themselves.

    Attributes
    ----------
    continuous : sequence of str or mapping of {column: "log" or "linear"}
        Numbers.  By default counts of pupils and distances enter as log(1 + x), others as they are.
    shares : sequence of str or mapping of {column: column of its base}
        Unrelated shares in 0..1; the base is the column of pupils behind the share.
    compositions : mapping of {name: columns}
        Shares of one whole (parents by education), two or more, summing to 1: one variable.
    nominal : sequence of str
        Categories without order.
    ordinal : mapping of {column: levels from low to high}
        Ordered categories.
    weights : mapping of {variable: weight}
        Weight of a variable (of a composition as a whole) in squared distances; 1 by default.
    base : str
        Column of pupils behind shares and compositions that name none.
    errors : mapping of {column: standard error or column of standard errors}
        Stated errors of numbers, in their own units; shares have their sampling error anyway.
    insist : sequence of str
        Columns taken in spite of their role: the caller answers for it, and tables say so.

    Raises
    ------
    SpecificationError
        If there is no variable, one stands twice, or a role forbids it.
    """

    continuous: Sequence[str] | Mapping[str, Transform] = ()
    shares: Sequence[str] | Mapping[str, str] = ()
    compositions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    nominal: Sequence[str] = ()
    ordinal: Mapping[str, Sequence[object]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    base: str = "n_pupils"
    errors: Mapping[str, float | str] = field(default_factory=dict)
    insist: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_names(self.base, argument="Conditions.base", example="base='n_pupils'", single=True)
        self._settle_fields()
        fields = (self.continuous, self.shares, self.compositions, self.nominal, self.ordinal)
        names = [name for own in (*fields, *self.compositions.values()) for name in own]
        if not self.variables:
            raise SpecificationError(text("conditions.none"))
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SpecificationError(text("conditions.twice", column=repr(twice[0])))
        for name in self.columns:
            known = known_variables().get(name)
            if known is None or known.role in ADMITTED_ROLES or name in self.insist:
                continue
            if known.role == "organisation" and name in (*self.nominal, *self.ordinal):
                continue  # kinds of schools are strata, not results
            raise SpecificationError(
                text("conditions.role", column=repr(name), role=text(f"context.role_{known.role}"))
            )
        for name, weight in self.weights.items():
            check_choice(name, self.variables, argument="Conditions.weights")
            check_positive(weight, argument=f"Conditions.weights[{name!r}]")
        for name, error in self.errors.items():
            check_choice(name, tuple(self.continuous), argument="Conditions.errors")
            if not isinstance(error, str):
                check_positive(error, argument=f"Conditions.errors[{name!r}]", zero=True)
        for name in self.continuous:
            known = known_variables().get(name)
            if known is not None and known.scale == "share" and name not in self.insist:
                raise SpecificationError(text("conditions.a_share", column=repr(name), name=name))

    def _settle_fields(self) -> None:
        for name in ("nominal", "insist"):
            given = check_names(
                getattr(self, name), argument=f"Conditions.{name}", example=f"{name}=['is_rural']"
            )
            object.__setattr__(self, name, tuple(given))
        object.__setattr__(self, "continuous", _transforms(self.continuous))
        object.__setattr__(self, "shares", _bases(self.shares, self.base))
        for name, example in (
            ("compositions", "compositions={'education': ['edu_low', 'edu_high']}"),
            ("ordinal", "ordinal={'levels': ['1-4', '1-9', '1-11']}"),
        ):
            given = getattr(self, name)
            check_mapping(given, argument=f"Conditions.{name}", example=example)
            settled = {
                key: (own,) if isinstance(own, str) else tuple(own) for key, own in given.items()
            }
            short = [key for key, own in settled.items() if len(own) < 2]
            if short:
                raise SpecificationError(
                    text("conditions.two", argument=f"Conditions.{name}", name=repr(short[0]))
                )
            object.__setattr__(self, name, settled)
        for name, example in (
            ("weights", "weights={'low_income': 2}"),
            ("errors", "errors={'remoteness_km': 2.0}"),
        ):
            check_mapping(getattr(self, name), argument=f"Conditions.{name}", example=example)
            object.__setattr__(self, name, dict(getattr(self, name)))

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables; a composition is one."""
        return tuple(self.kinds)

    @property
    def kinds(self) -> dict[str, Kind]:
        """Kind of every variable, in the order of the fields."""
        found: dict[str, Kind] = {}
        for field_name, kind in (
            ("continuous", "continuous"),
            ("shares", "share"),
            ("compositions", "composition"),
            ("nominal", "nominal"),
            ("ordinal", "ordinal"),
        ):
            for name in getattr(self, field_name):
                found[name] = kind  # type: ignore[assignment]  # one of the five literals above
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that the conditions read, bases of shares aside."""
        own = (self.compositions.get(name, (name,)) for name in self.variables)
        return tuple(column for columns in own for column in columns)

    @property
    def bases(self) -> tuple[str, ...]:
        """Columns of pupils behind shares and compositions."""
        used = [self.base_of(name) for name in self.variables]
        return tuple(dict.fromkeys(base for base in used if base is not None))

    def base_of(self, variable: str) -> str | None:
        """Return the column of pupils behind a share or a composition, None for other kinds."""
        if isinstance(self.shares, Mapping) and variable in self.shares:
            return self.shares[variable]
        return self.base if variable in self.compositions else None


def _transforms(given: Sequence[str] | Mapping[str, Transform]) -> dict[str, Transform]:
    settled: dict[str, Transform]
    if isinstance(given, Mapping):
        settled = dict(given)
    else:
        names = check_names(
            given, argument="Conditions.continuous", example="continuous=['n_pupils']"
        )
        settled = {name: "log" if name in LOGGED else "linear" for name in names}
    for name, how in settled.items():
        check_choice(how, get_args(Transform), argument=f"Conditions.continuous[{name!r}]")
    return settled


def _bases(given: Sequence[str] | Mapping[str, str], base: str) -> dict[str, str]:
    if isinstance(given, Mapping):
        return dict(given)
    names = check_names(given, argument="Conditions.shares", example="shares=['low_income']")
    return dict.fromkeys(names, base)
