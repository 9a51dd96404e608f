"""What must not survive an import: names, documents, contacts, and pupils' special categories.

Columns are recognised by whole words of their header.  Warnings and errors cite the column or the
cell, never what stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from resilience.data.normalise import normalise_header, tidy_text

__all__ = ["is_personal_header", "is_special_category_header", "looks_like_person"]

# Word stems: a header is personal if one of its words begins with one of these.
_PERSONAL_STEMS = (
    "фио",
    "фамили",
    "отчеств",
    "снилс",
    "паспорт",
    "телефон",
    "мобильн",
    "директор",
    "руководител",
    "адрес",
    "прописк",
    "surname",
    "firstname",
    "lastname",
    "patronymic",
    "passport",
    "phone",
    "telephone",
    "email",
    "address",
    "snils",
    "birthdate",
    "headteacher",
)
_PERSONAL_WORDS = frozenset({"имя", "инн", "полис", "почта", "тел", "дата рождения", "серия"})
_PERSONAL_PHRASES = (
    "ф.и.о",
    "ф. и. о",
    "дата рожд",
    "день рожд",
    "номер документ",
    "номер паспорт",
    "номер снилс",
    "номер телеф",
    "серия и номер",
    "серия + номер",
    "свидетельств",
    "e-mail",
    "эл. почт",
    "date of birth",
    "first name",
    "last name",
    "full name",
    "document number",
    "id number",
)
_PERSONAL_WHOLE = frozenset({"номер", "документ"})
_SPECIAL_STEMS = (
    "овз",
    "инвалид",
    "здоровь",
    "диагноз",
    "сирот",
    "опек",
    "учет",
    "вшу",
    "кдн",
    "пдн",
    "национальн",
    "гражданств",
    "disab",
    "health",
    "orphan",
    "guardian",
    "ethnic",
    "nationality",
    "register",
)
_SPECIAL_PHRASES = ("родной язык", "неродной", "native language", "non native", "special needs")

_SNILS = re.compile(r"\d{3}-\d{3}-\d{3}[ -]\d{2}")
_PHONE = re.compile(r"(\+7|8)[\s(-]*\d{3}[\s)-]*\d{3}[\s-]?\d{2}[\s-]?\d{2}")
_PASSPORT = re.compile(r"\d{2} ?\d{2} \d{6}")
_LETTERS = re.compile(r"[^\W\d_]{2,}(-[^\W\d_]{2,})?|[^\W\d_]\.([^\W\d_]\.)?")


def _words(header: str) -> list[str]:
    return re.findall(r"[^\W_]+", header)


def _any_stem(words: Iterable[str], stems: tuple[str, ...]) -> bool:
    return any(word.startswith(stems) for word in words)


def is_personal_header(header: object) -> bool:
    """Return whether a column's header announces names, documents, contacts or birth dates."""
    plain = normalise_header(header)
    words = _words(plain)
    return (
        plain in _PERSONAL_WHOLE
        or _any_stem(words, _PERSONAL_STEMS)
        or not _PERSONAL_WORDS.isdisjoint(words)
        or any(phrase in plain.replace("_", " ") for phrase in _PERSONAL_PHRASES)
    )


def is_special_category_header(header: object) -> bool:
    """Return whether a pupil column holds a special category (health, guardianship, registers).

    Such facts enter as shares of a school only.
    """
    plain = normalise_header(header).replace("_", " ")
    return _any_stem(_words(plain), _SPECIAL_STEMS) or any(p in plain for p in _SPECIAL_PHRASES)


def looks_like_person(value: object) -> bool:
    """Return whether a key that should be a code reads like a name, a document or a phone number.

    Two or more words of letters alone, or initials behind a word, read like a name.
    """
    plain = tidy_text(value)
    if _SNILS.fullmatch(plain) or _PHONE.fullmatch(plain) or _PASSPORT.fullmatch(plain):
        return True
    words = plain.replace(". ", ".").split()
    return len(words) >= 2 and all(_LETTERS.fullmatch(word) for word in words)
