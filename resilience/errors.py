"""Error and warning types.

Every message names the culprit, the rule, the value seen and the way out.  A message may be a plain
string or a bilingual one (``i18n.text``); ``localized`` gives the wording for the reader.
"""

from __future__ import annotations

import sys
import warnings

__all__ = [
    "DataError",
    "DatasetError",
    "OutputError",
    "PolicyError",
    "ResilienceError",
    "ResilienceWarning",
    "SpecificationError",
    "TeacherRankingError",
    "WeakDataWarning",
    "warn_weak_data",
]


class ResilienceError(Exception):
    """Root of all errors raised on purpose by this library."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def localized(self, lang: str) -> str:
        """Return the message in the reader's language, English where no other wording exists."""
        return str(getattr(self.message, lang, self.message))


class DataError(ResilienceError, ValueError):
    """The data break a rule: a missing column, a duplicate key, an impossible value."""


class DatasetError(DataError):
    """An embedded data set is unknown, damaged, or does not match its checksum."""


class SpecificationError(ResilienceError, ValueError):
    """The model, rule or configuration asked for is not well formed."""


class OutputError(ResilienceError, OSError):
    """An output path cannot be written."""


class PolicyError(ResilienceError):
    """A use of diagnostics that the policy guards refuse, with the use that is offered instead."""


class TeacherRankingError(PolicyError, AttributeError):
    """Somebody asked for a ranking of teachers; there is no such attribute, and no such use."""


class ResilienceWarning(UserWarning):
    """Root of all warnings issued on purpose by this library."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def localized(self, lang: str) -> str:
        """Return the message in the reader's language, English where no other wording exists."""
        return str(getattr(self.message, lang, self.message))


class WeakDataWarning(ResilienceWarning):
    """The computation went through, but the data carry little weight; the number is named."""


def warn_weak_data(message: str) -> None:
    """Warn with a `WeakDataWarning` that points to the user's line, however deep it was raised."""
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 2
    while frame.f_globals.get("__name__", "").partition(".")[0] == package and frame.f_back:
        frame, level = frame.f_back, level + 1
    warnings.warn(WeakDataWarning(message), stacklevel=level)
