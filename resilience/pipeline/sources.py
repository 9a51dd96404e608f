"""What there is for each procedure and year, and what the model takes of it.

Scores of pupils go before counts of marks, counts before published means, means before the share
below the minimum: in that order a result of a school is known less well, or less is known about
how well it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from resilience.data.schema import MARKS
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.pipeline.config import SourceKind
from resilience.validation import nearest_names

__all__ = ["PREFERENCE", "Sources", "Supply", "choose_sources", "find_supply"]

PREFERENCE: tuple[SourceKind, ...] = ("pupils", "counts", "means", "share")

#: A source is passed over where another one knows many more schools: a file of three schools'
#: pupils must not displace the marks of all the others.
LEAST_COVERAGE = 0.9

_KEY = ["procedure", "year"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Supply:
    """What there is by procedure.

    Attributes
    ----------
    table : DataFrame
        ``procedure year source_kind n_schools n_pupils usable schools``, one row per source of a
        procedure and year, ``schools`` their ids.  A source in which all results of the region are
        alike tells nothing: not usable.
    """

    table: pd.DataFrame

    @property
    def kinds(self) -> tuple[SourceKind, ...]:
        """Sources of which anything usable is there, best first."""
        found = set(self.table.loc[self.table["usable"], "source_kind"])
        return tuple(kind for kind in PREFERENCE if kind in found)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sources:
    """What the model takes.

    Attributes
    ----------
    table : DataFrame
        ``procedure year source_kind other_sources n_schools n_pupils n_schools_without
        source_reason``: source ``none`` where nothing is taken; ``n_schools_without`` schools have
        a result of the procedure in another source alone.
    """

    table: pd.DataFrame

    @property
    def kinds(self) -> tuple[SourceKind, ...]:
        """Sources taken, best first."""
        found = {str(s) for s in self.table["source_kind"]}
        return tuple(kind for kind in PREFERENCE if kind in found)

    @property
    def model_kind(self) -> str:
        """``pupils``, ``counts``, ``means``, ``mixture``, or ``none`` where nothing is taken."""
        kinds = set(self.kinds)
        if not kinds:
            return "none"
        if kinds <= {"counts", "share"}:
            return "counts"
        if kinds == {"pupils"}:
            return "pupils"
        return "means" if kinds <= {"pupils", "means"} else "mixture"

    def rows(self, table: pd.DataFrame, source: SourceKind) -> pd.DataFrame:
        """Return the rows of a table whose procedure and year take this source."""
        taken = self.table.loc[self.table["source_kind"].astype(str) == source, _KEY]
        wanted = pd.MultiIndex.from_frame(taken.astype({"procedure": object}))
        have = pd.MultiIndex.from_frame(table[_KEY].astype({"procedure": object}))
        return table[have.isin(wanted)]


def find_supply(
    *,
    pupils: pd.DataFrame | None = None,
    counts: pd.DataFrame | None = None,
    means: pd.DataFrame | None = None,
) -> Supply:
    """Return what there is for each procedure and year.

    Parameters
    ----------
    pupils : DataFrame or None
        ``school_id year procedure score``; rows of no known procedure are passed over.
    counts : DataFrame or None
        ``school_id year procedure n_participants`` with marks, ``n_below_minimum`` or both.
    means : DataFrame or None
        ``school_id year procedure mean_score n_participants``.
    """
    columns = [*_KEY, "source_kind", "n_schools", "n_pupils", "usable", "schools"]
    rows = [
        r for found in (_of_pupils(pupils), _of_counts(counts), _of_means(means)) for r in found
    ]
    table = pd.DataFrame(rows, columns=columns).astype({"usable": bool})
    return Supply(table=table.sort_values([*_KEY, "source_kind"], kind="stable", ignore_index=True))


Row = tuple[str, int, str, int, int, bool, frozenset[object]]


def _cells(table: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    for key, part in table.groupby(_KEY, observed=True, sort=True):
        procedure, year = tuple(key)
        yield str(procedure), int(float(str(year))), part


def _of_pupils(pupils: pd.DataFrame | None) -> Iterator[Row]:
    if pupils is None or not {"score", *_KEY} <= set(pupils.columns):
        return
    known = pupils[pupils["procedure"].notna() & pupils["score"].notna()]
    for procedure, year, part in _cells(known):
        # without two pupils of one school that differ, the error of a mean is not known
        usable = part.groupby("school_id", observed=True)["score"].nunique().max() > 1
        schools = frozenset(part["school_id"])
        yield procedure, year, "pupils", len(schools), len(part), usable, schools


def _of_counts(counts: pd.DataFrame | None) -> Iterator[Row]:
    if counts is None:
        return
    if set(MARKS) <= set(counts.columns):
        marked = counts[counts[list(MARKS)].sum(axis=1) > 0]
        for procedure, year, part in _cells(marked):
            totals = part[list(MARKS)].sum()
            schools = frozenset(part["school_id"])
            n, usable = int(totals.sum()), int((totals > 0).sum()) > 1
            yield procedure, year, "counts", len(schools), n, usable, schools
    if {"n_below_minimum", "n_participants"} <= set(counts.columns):
        shared = counts[counts["n_below_minimum"].notna() & (counts["n_participants"] > 0)]
        for procedure, year, part in _cells(shared):
            below, n = int(part["n_below_minimum"].sum()), int(part["n_participants"].sum())
            schools = frozenset(part["school_id"])
            yield procedure, year, "share", len(schools), n, 0 < below < n, schools


def _of_means(means: pd.DataFrame | None) -> Iterator[Row]:
    if means is None:
        return
    known = means[means["n_participants"] != 0]
    for procedure, year, part in _cells(known):
        usable = part["mean_score"].nunique() > 1
        schools = frozenset(part["school_id"])
        n = int(part["n_participants"].sum())
        yield procedure, year, "means", len(schools), n, usable, schools


def choose_sources(
    supply: Supply,
    asked: Mapping[str, SourceKind],
    *,
    allowed: tuple[SourceKind, ...] = PREFERENCE,
) -> Sources:
    """Choose a source for each procedure and year.

    Parameters
    ----------
    supply : Supply
        What there is.
    asked : mapping of {procedure or beginning of its name: source}
        Choices of the configuration; the longest name that fits decides.
    allowed : tuple of str
        Sources to choose from.

    Raises
    ------
    SpecificationError
        If a name asked for fits no procedure.
    DataError
        If a procedure holds nothing of the source asked for.
    """
    there = supply.table
    names = [str(p) for p in there["procedure"].unique()]
    wanted = _resolved(asked, names)
    _check_asked(there, wanted)
    rows = []
    for procedure, year, part in _cells(there):
        options = {str(s): i for s, i in zip(part["source_kind"], part.index, strict=True)}
        source, reason = _chosen(part, wanted.get(procedure), allowed)
        schools = frozenset().union(*part["schools"])
        at = there.loc[options[source]] if source != "none" else None
        others = [k for k in PREFERENCE if k in options and k != source]
        rows.append(
            {
                "procedure": procedure,
                "year": year,
                "source_kind": text(f"pipeline.source_{source}"),
                "other_sources": ", ".join(others),
                "n_schools": int(at["n_schools"]) if at is not None else 0,
                "n_pupils": int(at["n_pupils"]) if at is not None else 0,
                "n_schools_without": len(schools - at["schools"]) if at is not None else 0,
                "source_reason": reason,
            }
        )
    table = pd.DataFrame(rows)
    for name in ("source_kind", "source_reason"):
        # wordings in two languages, which a column of plain texts would not keep
        table[name] = pd.Series([row[name] for row in rows], dtype=object)
    return Sources(table=table)


def _chosen(
    part: pd.DataFrame, wanted: SourceKind | None, allowed: tuple[SourceKind, ...]
) -> tuple[str, Bilingual]:
    if wanted == "none":
        return "none", text("pipeline.why_left_out")
    usable = part[part["usable"]]
    sizes = dict(zip(usable["source_kind"].astype(str), usable["n_schools"], strict=True))
    if wanted is not None:
        if wanted in sizes:
            return wanted, text("pipeline.why_asked")
        there = wanted in set(part["source_kind"])
        return "none", text(f"pipeline.why_{'flat' if there else 'absent'}")
    options = [k for k in PREFERENCE if k in sizes and k in allowed]
    if not options:
        only = not part["source_kind"].isin(list(allowed)).any()
        return "none", text(f"pipeline.why_{'unused' if only else 'flat'}")
    most = max(sizes[k] for k in options)
    best = next(k for k in options if sizes[k] >= LEAST_COVERAGE * most)
    passed = best != options[0]
    return best, text("pipeline.why_wider" if passed else "pipeline.why_best")


def _resolved(asked: Mapping[str, SourceKind], names: list[str]) -> dict[str, SourceKind]:
    found: dict[str, tuple[int, SourceKind]] = {}
    for name, source in asked.items():
        fitting = [n for n in names if n == name or n.startswith(f"{name}-")]
        if not fitting:
            raise SpecificationError(
                text("pipeline.source_unknown", name=repr(name), nearest=nearest_names(name, names))
            )
        for procedure in fitting:
            if procedure not in found or len(name) > found[procedure][0]:
                found[procedure] = (len(name), source)
    return {procedure: source for procedure, (_, source) in found.items()}


def _check_asked(there: pd.DataFrame, wanted: Mapping[str, SourceKind]) -> None:
    for procedure, source in wanted.items():
        has = set(there.loc[there["procedure"] == procedure, "source_kind"])
        if source != "none" and source not in has:
            raise DataError(
                text(
                    "pipeline.source_missing",
                    procedure=procedure,
                    source=source,
                    there=", ".join(k for k in PREFERENCE if k in has),
                )
            )
