"""Checks of arguments: single values, names, mappings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real

import numpy as np

from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = [
    "check_choice",
    "check_count",
    "check_fraction",
    "check_instance",
    "check_jobs",
    "check_mapping",
    "check_names",
    "check_number",
    "check_positive",
    "check_seed",
]


def check_choice(value: str, options: Sequence[str], *, argument: str) -> str:
    """Return ``value`` if it is one of ``options``.

    Raises
    ------
    SpecificationError
        Otherwise, with the nearest options.
    """
    if value not in options:
        raise SpecificationError(
            text(
                "validation.choice",
                argument=argument,
                value=repr(value),
                options=", ".join(repr(o) for o in options),
            )
        )
    return value


def check_fraction(value: float, *, argument: str, closed: bool = True) -> float:
    """Return ``value`` if it lies in [0, 1] (or (0, 1) where not ``closed``)."""
    check_number(value, argument=argument)
    inside = 0 <= value <= 1 if closed else 0 < value < 1
    if not inside:
        raise SpecificationError(
            text(
                "validation.fraction",
                argument=argument,
                value=value,
                interval="[0, 1]" if closed else "(0, 1)",
            )
        )
    return value


def check_positive(value: float, *, argument: str, zero: bool = False) -> float:
    """Return ``value`` if it is finite and above zero (or at least zero)."""
    check_number(value, argument=argument)
    if not (np.isfinite(value) and (value > 0 or (zero and value == 0))):
        raise SpecificationError(
            text(
                "validation.positive",
                argument=argument,
                value=value,
                bound="≥ 0" if zero else "> 0",
            )
        )
    return value


def check_count(value: object, *, argument: str, least: int = 1) -> int:
    """Return ``value`` if it is a whole number of at least ``least``; booleans are none.

    Raises
    ------
    SpecificationError
        Otherwise.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral) or value < least:
        raise SpecificationError(
            text("validation.count", argument=argument, value=repr(value), least=least)
        )
    return int(value)


def check_seed(value: object) -> int | None:
    """Return ``random_state`` if it is None or a whole number of at least 0.

    Raises
    ------
    SpecificationError
        Otherwise.
    """
    return None if value is None else check_count(value, argument="random_state", least=0)


def check_jobs(value: object) -> int:
    """Return ``n_jobs`` if it is a whole number of workers, or below zero as joblib counts them."""
    whole = isinstance(value, Integral) and not isinstance(value, bool | np.bool_)
    if not whole or value == 0:
        raise SpecificationError(text("validation.jobs", value=repr(value)))
    return int(value)  # type: ignore[call-overload, no-any-return]  # an Integral


def check_instance(value: object, kind: type, *, argument: str, example: str) -> None:
    """Raise unless ``value`` is of the type; the message shows the ``example`` to write.

    Raises
    ------
    SpecificationError
        Naming argument, type and value.
    """
    if not isinstance(value, kind):
        raise SpecificationError(
            text(
                "validation.instance",
                argument=argument,
                kind=type(value).__name__,
                wanted=kind.__name__,
                example=example,
            )
        )


def check_names(
    value: object, *, argument: str, example: str, single: bool = False
) -> tuple[str, ...]:
    """Return one name or several as a tuple: text of at least one letter, none of them twice.

    Parameters
    ----------
    value : str or sequence of str
        A string is one name, never a sequence of letters.
    argument : str
        Name in the message.
    example : str
        What to write.
    single : bool
        Whether only a string will do.

    Raises
    ------
    SpecificationError
        For anything else.
    """
    listed = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    names: list[object] = list(value) if listed else [value]  # type: ignore[call-overload]  # iterable, as just asked
    found = tuple(name for name in names if isinstance(name, str) and name.strip())
    if len(found) < len(names) or (single and listed):
        raise SpecificationError(
            text("validation.names", argument=argument, value=repr(value)[:80], example=example)
        )
    again = next((name for name in found if found.count(name) > 1), None)
    if again is not None:
        raise SpecificationError(text("validation.name_twice", argument=argument, name=repr(again)))
    return found


def check_mapping(value: object, *, argument: str, example: str) -> None:
    """Raise unless ``value`` maps names to something.

    Raises
    ------
    SpecificationError
        Naming argument and value.
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise SpecificationError(
            text("validation.mapping", argument=argument, value=repr(value), example=example)
        )


def check_number(value: object, *, argument: str) -> None:
    """Raise a `SpecificationError` unless ``value`` is a real number; booleans are none."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise SpecificationError(text("validation.number", argument=argument, value=repr(value)))
