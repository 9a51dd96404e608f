"""Apply rules inside every group of schools: its own quantiles, its own line on the context."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from resilience.detection import Criteria, detect_schools
from resilience.detection.verdicts.results import DetectionResults
from resilience.errors import ResilienceError, SpecificationError, WeakDataWarning, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.pipeline.groupings import Grouping, read_groups
from resilience.pipeline.multiverse_refits import bilingual_warnings
from resilience.validation import check_count

__all__ = ["GroupDetectionResults", "detect_within_groups"]

NOT_NUMBERS = ("school_id", "rule_id", "verdict", "target", "certainty", "reason", "in_fdr_list")
TABLES = ("effects", "scores", "counts", "school_years", "schools")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GroupDetectionResults(DetectionResults):
    """Verdicts of rules applied inside every group by itself.

    Attributes
    ----------
    groups : DataFrame
        ``school_id school_group``; missing where a school has no group.
    """

    groups: pd.DataFrame

    @property
    def thresholds(self) -> pd.DataFrame:
        """``rule_id criterion school_group n_schools threshold n_listed`` of every group.

        ``threshold`` is in the unit of the criterion's column, as it was realised in the group;
        missing where it differs between schools of the group or does not exist.
        """
        label = self.groups.set_index("school_id")["school_group"]
        lines = self.criteria.assign(
            school_group=self.criteria["school_id"].map(label),
            listed=self.criteria["verdict"].eq("yes"),
        )
        rows = []
        keys = ["rule_id", "criterion", "school_group"]
        for key, own in lines.groupby(keys, observed=True, sort=False):
            bounds = own["threshold"].dropna().unique()
            rows.append(
                {
                    **dict(zip(keys, key, strict=True)),
                    "n_schools": own["school_id"].nunique(),
                    "threshold": float(bounds[0]) if len(bounds) == 1 else float("nan"),
                    "n_listed": int(own["listed"].sum()),
                }
            )
        found = pd.DataFrame(rows, columns=[*keys, "n_schools", "threshold", "n_listed"])
        return found.sort_values(keys, kind="stable").reset_index(drop=True)


def detect_within_groups(
    effects: pd.DataFrame | None,
    scores: pd.DataFrame | None,
    rules: Criteria | Sequence[Criteria],
    *,
    groups: Any,
    counts: pd.DataFrame | None = None,
    school_years: pd.DataFrame | None = None,
    schools: pd.DataFrame | None = None,
    variances: Mapping[str, float] | None = None,
    min_schools: int = 10,
) -> GroupDetectionResults:
    """Apply rules inside every group of schools as if it were a region of its own.

    Quantiles and distances from the mean are those of the group, and so is the line of effects on
    the context; bounds in natural units stay.  ``variances`` stay those of the region where they
    are given.

    Parameters
    ----------
    effects, scores, rules, counts, school_years, schools, variances
        As for `detect_schools`.
    groups : results with ``.schools``, DataFrame, Series, mapping, str or sequence of str
        Clusters, bands, a table of labels, or columns of ``schools``.
    min_schools : int
        Smaller groups, like schools without a group, get ``insufficient_data``.

    Returns
    -------
    GroupDetectionResults
        A row for every school that occurs in any table.

    Raises
    ------
    DataError, SpecificationError
        As for `detect_schools` where the rules can be applied in no group; if groups cannot be
        read or no group is large enough.

    Warns
    -----
    WeakDataWarning
        As for `detect_schools`, with the group named.
    """
    check_count(min_schools, argument="min_schools", least=2)
    given = {
        "effects": effects,
        "scores": scores,
        "counts": counts,
        "school_years": school_years,
        "schools": schools,
    }
    grouping = read_groups(groups, schools)
    with warnings.catch_warnings():
        # of the region as a whole: only its rows are used, for schools without a group
        warnings.simplefilter("ignore", WeakDataWarning)
        whole = _detected(given, rules, variances)
    ids = list(dict.fromkeys(whole.schools["school_id"]))
    members = _members(grouping, ids)
    reasons = _outside(grouping, ids, members, min_schools)
    parts: list[DetectionResults] = []
    notes: list[Bilingual] = []
    first: ResilienceError | None = None
    large = {name: own for name, own in members.items() if len(own) >= min_schools}
    if not large:
        most = max((len(own) for own in members.values()), default=0)
        raise SpecificationError(text("groupings.all_small", minimum=min_schools, most=most))
    for name, own in large.items():
        try:
            part, said = _one_group(given, rules, variances, own)
        except ResilienceError as error:
            first = first or error
            why = text("groupings.failed", group=name, error=_both(error))
            reasons |= dict.fromkeys(own, why)
            continue
        parts.append(part)
        for note in dict.fromkeys((*said, *part.notes)):
            notes.append(text("groupings.note", group=name, note=note))
            if note in said:
                warn_weak_data(notes[-1])
    if first is not None and not parts:
        raise first
    return _together(whole, parts, reasons, grouping, notes)


def _detected(
    given: Mapping[str, pd.DataFrame | None],
    rules: Criteria | Sequence[Criteria],
    variances: Mapping[str, float] | None,
) -> DetectionResults:
    return detect_schools(
        given["effects"],
        given["scores"],
        rules,
        counts=given["counts"],
        school_years=given["school_years"],
        schools=given["schools"],
        variances=variances,
    )


def _members(grouping: Grouping, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the schools of every group, groups by name."""
    members: dict[str, list[str]] = {}
    for school in ids:
        if school in grouping.labels:
            members.setdefault(grouping.labels[school], []).append(school)
    return dict(sorted(members.items()))


def _outside(
    grouping: Grouping, ids: Sequence[str], members: Mapping[str, Sequence[str]], minimum: int
) -> dict[str, Bilingual]:
    """Return why schools cannot be judged inside a group."""
    found = {s: grouping.reasons.get(s, text("groupings.no_label")) for s in ids}
    for name, own in members.items():
        if len(own) < minimum:
            why = text("groupings.small", group=name, n=len(own), minimum=minimum)
            found |= dict.fromkeys(own, why)
        else:
            for school in own:
                del found[school]
    return found


def _one_group(
    given: Mapping[str, pd.DataFrame | None],
    rules: Criteria | Sequence[Criteria],
    variances: Mapping[str, float] | None,
    own: Sequence[str],
) -> tuple[DetectionResults, tuple[Bilingual, ...]]:
    """Apply the rules to the rows of one group; what it warns of comes back as notes."""
    inside = set(own)
    tables = {
        name: None if table is None else table[_ids(table).isin(inside)]
        for name, table in given.items()
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", WeakDataWarning)
        found = _detected(tables, rules, variances)
    return found, bilingual_warnings(caught)


def _ids(table: pd.DataFrame) -> pd.Series:
    """Return ids as detection reads them: 7.0 of a spreadsheet is ``"7"``."""
    column = table["school_id"]
    if column.dtype.kind == "f" and column.notna().all() and (column % 1 == 0).all():
        column = column.astype("int64")
    return column.astype(str)


def _both(error: ResilienceError) -> Bilingual:
    return Bilingual(error.localized("en"), error.localized("ru"))


def _together(
    whole: DetectionResults,
    parts: Sequence[DetectionResults],
    reasons: Mapping[str, Bilingual],
    grouping: Grouping,
    notes: Sequence[Bilingual],
) -> GroupDetectionResults:
    """Put groups and schools without one into tables in the order of the whole region."""
    schools = _joined(whole.schools, [p.schools for p in parts], ["school_id", "rule_id"], reasons)
    criteria = _joined(
        whole.criteria,
        [p.criteria for p in parts],
        ["school_id", "rule_id", "criterion"],
        reasons,
    )
    first = text(
        "groupings.inside",
        n=len({grouping.labels[s] for p in parts for s in p.schools["school_id"]}),
        outside=len(reasons),
    )
    ids = list(dict.fromkeys(whole.schools["school_id"]))
    labels = [None if s in reasons else grouping.labels[s] for s in ids]
    return GroupDetectionResults(
        schools=schools,
        criteria=criteria,
        rules=whole.rules,
        notes=(first, *dict.fromkeys(notes)),
        working=_appended([p.working for p in parts], whole.working),
        long_run=_appended([p.long_run for p in parts], whole.long_run),
        cells=whole.cells,
        groups=pd.DataFrame({"school_id": ids, "school_group": pd.Series(labels, dtype=object)}),
    )


def _joined(
    whole: pd.DataFrame,
    parts: Sequence[pd.DataFrame],
    key: list[str],
    reasons: Mapping[str, Bilingual],
) -> pd.DataFrame:
    """Return the rows of the groups, and blank rows of the others, in the order of the whole."""
    outside = whole[whole["school_id"].isin(set(reasons))].copy()
    fixed = {*key, *NOT_NUMBERS, "scale", "reference"}
    for name in outside.columns:
        if name not in fixed:
            outside[name] = float("nan")
    outside["verdict"] = "insufficient_data"
    outside["reason"] = pd.Series(
        [reasons[s] for s in outside["school_id"]], index=outside.index, dtype=object
    )
    if "in_fdr_list" in outside.columns:
        outside["in_fdr_list"] = pd.array([None] * len(outside), dtype="boolean")
        outside["certainty"] = pd.Series([""] * len(outside), index=outside.index, dtype=object)
    rows = [*parts, outside] if len(outside) else list(parts)
    found = pd.concat(rows, ignore_index=True)
    order = whole[key].reset_index(drop=True).assign(place=range(len(whole)))
    place = found[key].merge(order, on=key, how="left")["place"].to_numpy()
    return found.iloc[place.argsort(kind="stable")].reset_index(drop=True)


def _appended(parts: Sequence[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    filled = [p for p in parts if len(p)]
    return pd.concat(filled, ignore_index=True) if filled else empty.iloc[:0]
