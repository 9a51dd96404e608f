"""Phrases for what distinguishes a cluster, with the numbers beside them."""

from __future__ import annotations

import math

from resilience.columns import column, column_names
from resilience.i18n import Bilingual, has_text, numeral, text

__all__ = ["LEVELS", "numbers_beside", "phrase", "stratum_phrase"]

LEVELS = ("slight", "", "much")
_SHARES = ("share", "composition", "nominal")


def phrase(term: str, condition: str, kind: str, *, high: bool, degree: str = "") -> Bilingual:
    """Return the wording of a condition that lies above or below the region.

    Parameters
    ----------
    term : str
        Column in natural units; a level of a category is ``"column=level"``.
    condition : str
        Variable that the term belongs to.
    kind : str
        Kind of the variable.
    high : bool
        Whether the cluster lies above the region.
    degree : {"slight", "", "much"}
        How far.

    Returns
    -------
    Bilingual
        Of the glossary of phrases, else the column's label with "above the average".
    """
    start = f"{degree}_" if degree else ""
    name, level = _level(term, condition, kind)
    if level is not None and level.lower() in ("true", "false"):
        high, level = high == (level.lower() == "true"), None
    if not high and has_text(f"cluster_profiles.noun_{name}_not"):
        high, name = True, f"{name}_not"  # "many city schools" rather than "few rural schools"
    if has_text(f"cluster_profiles.phrase_{name}_{start}high"):
        return text(f"cluster_profiles.phrase_{name}_{start}{'high' if high else 'low'}")
    how = f"{start}{'many' if high else 'few'}"
    if level is not None:
        own = text("cluster_profiles.level", variable=_inside(_label(name)), level=level)
        return text(f"cluster_profiles.level_{how}", label=own)
    if has_text(f"cluster_profiles.noun_{name}"):
        return text(f"cluster_profiles.quantity_{how}", noun=text(f"cluster_profiles.noun_{name}"))
    return text(f"cluster_profiles.value_{start}{'high' if high else 'low'}", label=_label(name))


def numbers_beside(term: str, condition: str, kind: str, own: float, region: float) -> Bilingual:
    """Return ``(38 % against 26 %)`` or ``(41 against 18 km)`` in both languages."""
    name, level = _level(term, condition, kind)
    if level is not None and level.lower() == "false":
        own, region = 1.0 - own, 1.0 - region
    if own < region and has_text(f"cluster_profiles.noun_{name}_not"):
        own, region = 1.0 - own, 1.0 - region
    known = name in column_names()
    flag = known and column(name).kind in ("share", "flag")
    if kind in _SHARES or flag:
        ours, theirs = _told_apart(100.0 * own, 100.0 * region, least=0)
        unit = Bilingual("%", "%")
        ours, theirs = Bilingual(f"{ours.en} %", f"{ours.ru} %"), theirs
    else:
        least = 0 if max(abs(own), abs(region)) >= 10 else 1
        ours, theirs = _told_apart(own, region, least=least)
        unit = Bilingual(column(name).unit_en, column(name).unit_ru) if known else Bilingual("", "")
    wording = text("cluster_profiles.against", own=ours, region=theirs, unit=unit)
    return Bilingual(wording.en.replace(" )", ")"), wording.ru.replace(" )", ")"))


def stratum_phrase(stratum: str) -> Bilingual:
    """Return the wording of ``"is_rural=True, levels=1-9"``."""
    parts = []
    for part in stratum.split(", "):
        name, _, level = part.partition("=")
        key = f"cluster_profiles.stratum_{name}_{level.lower()}"
        parts.append(
            text(key)
            if has_text(key)
            else text("cluster_profiles.stratum", variable=_label(name), level=level)
            if level
            else Bilingual(part, part)
        )
    return Bilingual(", ".join(p.en for p in parts), ", ".join(p.ru for p in parts))


def _level(term: str, condition: str, kind: str) -> tuple[str, str | None]:
    """Return the column that speaks for the term, and the level of a category."""
    if kind == "nominal" and term.startswith(f"{condition}="):
        return condition, term[len(condition) + 1 :]
    return term, None


def _label(name: str) -> Bilingual:
    if name not in column_names():
        return Bilingual(name, name)
    return Bilingual(column(name).label_en, column(name).label_ru)


def _inside(label: Bilingual) -> Bilingual:
    """Return a label as it stands inside a sentence: small first letter, initials as they are."""
    return Bilingual(
        *(w if w[:2].isupper() else w[:1].lower() + w[1:] for w in (label.en, label.ru))
    )


def _told_apart(own: float, region: float, *, least: int) -> tuple[Bilingual, Bilingual]:
    """Print two numbers with the fewest decimals that tell them apart, three at most."""
    for digits in range(least, 4):
        printed = f"{own:.{digits}f}", f"{region:.{digits}f}"
        if printed[0] != printed[1] or math.isclose(own, region, rel_tol=1e-9, abs_tol=1e-12):
            break
    signed = [p.replace("-", "−") for p in printed]
    return (
        numeral(signed[0]),
        numeral(signed[1]),
    )
