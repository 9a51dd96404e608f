"""Names of clusters in two languages, made of what distinguishes them and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.clustering.profiles.phrases import numbers_beside, phrase, stratum_phrase
from resilience.data.known_variables import ADMITTED_ROLES, known_variables
from resilience.i18n import Bilingual, text
from resilience.validation import check_columns, check_not_empty

__all__ = ["cluster_names", "distinguishing_terms"]

LEAST = 0.5  # |d| from which a condition distinguishes a cluster
MUCH = 0.8
MOST = 3  # conditions in a name
COPIES = 0.7  # |r| above which two conditions say the same
SLIGHT = 0.2  # |d| from which a condition may tell two equal names apart
_ROUNDING = 1e-12  # limits hold for the printed value, whatever rounding made of it

_NEEDED = (
    "cluster",
    "term",
    "condition",
    "kind",
    "mean",
    "mean_region",
    "standardized_difference",
    "n_schools",
)


@dataclass(frozen=True, kw_only=True)
class _Term:
    """A row of a profile."""

    term: str
    condition: str
    kind: str
    mean: float
    mean_region: float
    difference: float

    @property
    def size(self) -> float:
        return round(abs(self.difference), 12)

    @property
    def degree(self) -> str:
        """How far from the region: ``slight``, ``""`` or ``much``."""
        if self.size >= MUCH - _ROUNDING:
            return "much"
        return "" if self.size >= LEAST - _ROUNDING else "slight"

    def wording(self, *, numbers: bool) -> Bilingual:
        """Return the phrase, with its numbers or without."""
        own = self.term, self.condition, self.kind
        words = phrase(*own, high=self.difference > 0, degree=self.degree)
        if not numbers:
            return words
        beside = numbers_beside(*own, self.mean, self.mean_region)
        return Bilingual(f"{words.en} {beside.en}", f"{words.ru} {beside.ru}")


def cluster_names(
    profiles: pd.DataFrame, correlation: pd.DataFrame, *, numbers: bool = True
) -> dict[int, Bilingual]:
    """Return a name for every cluster from the conditions in which it lies apart.

    Conditions that lie at least 0.5 SD from the region, the farthest first, three at most, of two
    that correlate above 0.7 (or belong to one composition or category) only the first; "very" from
    0.8.  Names that come out equal take the next condition from 0.2, then the number of schools.  A
    cluster of a stratum is named after it first.  No name speaks of results, of what the school
    does, or of worth: such columns are passed over even where the caller insisted on them.

    Parameters
    ----------
    profiles : DataFrame
        What `profile_table` returned.
    correlation : DataFrame
        Correlations by term, square (`term_correlation`); terms that are not in it count as
        uncorrelated.
    numbers : bool
        Whether the numbers stand beside the phrases: ``many single-parent families (38 % against
        26 %)``.

    Returns
    -------
    dict of {int: Bilingual}
        By cluster number.

    Raises
    ------
    DataError
        If the table of profiles is empty or lacks columns.
    """
    check_columns(profiles, _NEEDED, table="profiles")
    check_not_empty(profiles, table="profiles")
    terms = _terms(profiles)
    strata, sizes = _strata(profiles), _sizes(profiles)
    chosen = {c: _chosen(own, correlation, LEAST, MOST) for c, own in terms.items()}
    bare = {c: _joined(strata[c], chosen[c], numbers=False) for c in terms}
    for group in _equal(bare):
        for c in group:
            chosen[c] = chosen[c] + _further(terms[c], chosen[c], correlation)
            bare[c] = _joined(strata[c], chosen[c], numbers=False)
    names = {c: _joined(strata[c], chosen[c], numbers=numbers) for c in terms}
    for group in _equal(bare):
        held = [sizes[c] for c in group]
        for c in group:
            names[c] = text("cluster_profiles.with_size", name=names[c], n=sizes[c])
            if held.count(sizes[c]) > 1:
                names[c] = text("cluster_profiles.with_number", name=names[c], cluster=c)
    return names


def distinguishing_terms(
    profiles: pd.DataFrame, correlation: pd.DataFrame, *, least: float = LEAST, most: int = MOST
) -> dict[int, list[str]]:
    """Return the terms that name each cluster, the farthest from the region first.

    Parameters
    ----------
    profiles : DataFrame
        What `profile_table` returned.
    correlation : DataFrame
        Correlations by term.
    least : float
        Smallest distance from the region, in SDs.
    most : int
        Number of terms.

    Returns
    -------
    dict of {int: list of str}
        By cluster number; an empty list for a cluster close to the region's average.
    """
    check_columns(profiles, _NEEDED, table="profiles")
    return {
        cluster: [t.term for t in _chosen(own, correlation, least, most)]
        for cluster, own in _terms(profiles).items()
    }


def _terms(profiles: pd.DataFrame) -> dict[int, list[_Term]]:
    found: dict[int, list[_Term]] = {}
    words = (profiles[c].astype(str).tolist() for c in ("term", "condition", "kind"))
    numbers = (
        profiles[c].astype(float).tolist()
        for c in ("mean", "mean_region", "standardized_difference")
    )
    for cluster, term, condition, kind, mean, region, difference in zip(
        profiles["cluster"].tolist(), *words, *numbers, strict=True
    ):
        found.setdefault(int(cluster), []).append(
            _Term(
                term=term,
                condition=condition,
                kind=kind,
                mean=mean,
                mean_region=region,
                difference=difference,
            )
        )
    return dict(sorted(found.items()))


def _strata(profiles: pd.DataFrame) -> dict[int, str]:
    given = profiles["stratum"].astype(str) if "stratum" in profiles.columns else ""
    table = profiles.assign(stratum=given).drop_duplicates("cluster")
    return dict(zip(table["cluster"].astype(int), table["stratum"], strict=True))


def _sizes(profiles: pd.DataFrame) -> dict[int, int]:
    table = profiles.drop_duplicates("cluster")
    return dict(zip(table["cluster"].astype(int), table["n_schools"].astype(int), strict=True))


def _chosen(terms: list[_Term], correlation: pd.DataFrame, least: float, most: int) -> list[_Term]:
    found: list[_Term] = []
    for term in _ordered(terms, least):
        if len(found) < most and not _said(term, found, correlation):
            found.append(term)
    return found


def _ordered(terms: list[_Term], least: float) -> list[_Term]:
    """Return the terms that may name a cluster, farthest first; ties in the order given."""
    kept = [
        t
        for t in terms
        if np.isfinite(t.difference)
        and t.size >= least - _ROUNDING
        and _may_name(t.condition)
        and _may_name(t.term)
    ]
    ordered = sorted(kept, key=lambda t: -t.size)
    # of a category, the level that is there says more than the one that is not
    there = {t.condition for t in kept if t.kind == "nominal" and t.difference > 0}
    return [
        t
        for t in ordered
        if not (t.kind == "nominal" and t.difference < 0 and t.condition in there)
    ]


def _may_name(name: str) -> bool:
    """Return whether a column may name a cluster: conditions and kinds of schools may."""
    known = known_variables().get(name.partition("=")[0])
    return known is None or known.role in (*ADMITTED_ROLES, "organisation", "declared")


def _said(term: _Term, found: list[_Term], correlation: pd.DataFrame) -> bool:
    """Return whether a term says what one of those found says already."""
    if any(term.condition == other.condition for other in found):
        return True
    if term.term not in correlation.index:
        return False
    known = [other.term for other in found if other.term in correlation.columns]
    values = correlation.loc[term.term, known].to_numpy(dtype=float)
    return bool((np.abs(values) > COPIES + _ROUNDING).any())


def _further(terms: list[_Term], found: list[_Term], correlation: pd.DataFrame) -> list[_Term]:
    """Return the next term that says something new, none if there is no such term."""
    rest = (t for t in _ordered(terms, SLIGHT) if not _said(t, found, correlation))
    return list(rest)[:1]


def _joined(stratum: str, chosen: list[_Term], *, numbers: bool) -> Bilingual:
    parts = [term.wording(numbers=numbers) for term in chosen]
    name = (
        Bilingual(", ".join(p.en for p in parts), ", ".join(p.ru for p in parts))
        if parts
        else text("cluster_profiles.average")
    )
    if not stratum:
        return name
    return text("cluster_profiles.with_stratum", stratum=stratum_phrase(stratum), name=name)


def _equal(names: dict[int, Bilingual]) -> list[list[int]]:
    """Return the groups of clusters whose names coincide."""
    groups: dict[tuple[str, str], list[int]] = {}
    for cluster, name in names.items():
        groups.setdefault((name.en, name.ru), []).append(cluster)
    return [own for own in groups.values() if len(own) > 1]
