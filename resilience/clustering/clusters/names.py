"""Names that people give to clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import shorten

__all__ = ["ClusterName", "given_names"]


@dataclass(frozen=True, kw_only=True)
class ClusterName:
    """A name and who gave it.

    Attributes
    ----------
    name : Bilingual
        In both languages.
    author : str
        A person or an office.
    """

    name: Bilingual
    author: str


def given_names(
    earlier: Mapping[int, ClusterName],
    current: Mapping[int, Bilingual],
    names: Mapping[int, str | tuple[str, str]],
    author: str,
) -> dict[int, ClusterName]:
    """Return the names given so far with the new ones.

    Parameters
    ----------
    earlier : mapping
        Given before.
    current : mapping of {cluster: Bilingual}
        Names of all clusters now.
    names : mapping of {cluster: str or (str, str)}
        New ones; of a pair the second is Russian.
    author : str
        Who gives them.

    Raises
    ------
    SpecificationError
        See `ClusterResults.renamed`.
    """
    if not isinstance(names, Mapping) or not names:
        raise SpecificationError(text("clusters.names_mapping", value=repr(names)))
    if not isinstance(author, str) or not author.strip():
        raise SpecificationError(text("clusters.author", value=repr(author)))
    unknown = [number for number in names if number not in current]
    if unknown:
        raise SpecificationError(
            text(
                "clusters.unknown_cluster",
                clusters=shorten(repr(u) for u in unknown),
                known=shorten(current, 12),
            )
        )
    settled = dict(earlier)
    for number, name in names.items():
        pair = name if isinstance(name, tuple) else (name, getattr(name, "ru", name))
        if len(pair) != 2 or not all(isinstance(own, str) and own.strip() for own in pair):
            raise SpecificationError(text("clusters.empty_name", cluster=number, value=repr(name)))
        settled[int(number)] = ClusterName(
            name=Bilingual(str(pair[0]), str(pair[1])), author=author.strip()
        )
    after = dict(current) | {number: own.name for number, own in settled.items()}
    for lang in ("en", "ru"):
        shown = [name.localized(lang) for name in after.values()]
        twice = [name for name in shown if shown.count(name) > 1]
        if twice:
            owners = [number for number, name in after.items() if name.localized(lang) == twice[0]]
            raise SpecificationError(
                text("clusters.same_name", name=repr(twice[0]), clusters=shorten(owners))
            )
    return settled
