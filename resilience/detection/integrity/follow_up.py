"""Does a result hold: the cohort a year later, and its ОГЭ or ЕГЭ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from resilience.data.normalise import parse_procedure
from resilience.detection.integrity.histograms import by_test
from resilience.detection.integrity.lines import Line, number
from resilience.detection.integrity.thresholds import IntegrityThresholds
from resilience.i18n import Bilingual, text

__all__ = ["SchoolScores", "follow_up_lines", "later_exam", "school_scores"]

LAST_GRADES = {"ОГЭ": 9, "ЕГЭ": 11}
FEWEST_SCHOOLS = 10  # below it an SD of school means says nothing

Key = tuple[str, int]  # procedure and year


@dataclass(frozen=True, kw_only=True, eq=False)
class SchoolScores:
    """z of every school in every test, in SD of school means.

    Attributes
    ----------
    z : dict of (procedure, year) to Series
        z by school, of schools with enough participants.
    sat : dict of (procedure, year) to dict
        Participants by school, whoever sat.
    fewest : int
        Participants from which a mean is used.
    """

    z: dict[Key, pd.Series]
    sat: dict[Key, dict[str, int]]
    fewest: int


def school_scores(table: pd.DataFrame, *, fewest: int) -> SchoolScores:
    """Return z of the school means of each test: off the mean of schools, in SD of schools.

    Parameters
    ----------
    table : DataFrame
        ``school_id year procedure n_participants mean_score``.
    fewest : int
        Participants from which a school's mean is used.
    """
    z: dict[Key, pd.Series] = {}
    sat: dict[Key, dict[str, int]] = {}
    for procedure, year, own in by_test(table):
        key = (procedure, year)
        sat[key] = dict(zip(own["school_id"], own["n_participants"].astype(int), strict=True))
        used = own[own["n_participants"] >= fewest].set_index("school_id")["mean_score"]
        if len(used) >= FEWEST_SCHOOLS and float(used.std(ddof=1)) > 0:
            z[key] = (used - used.mean()) / used.std(ddof=1)
    return SchoolScores(z=z, sat=sat, fewest=fewest)


def later_exam(procedure: str, year: int, known: set[Key]) -> Key | None:
    """Return the exam that the same cohort sat later in the same subject: ОГЭ, else ЕГЭ.

    Parameters
    ----------
    procedure, year : str, int
        A ВПР.
    known : set of (str, int)
        Tests there are.
    """
    own = parse_procedure(procedure)
    if own is None or own.grade is None:
        return None
    for kind, grade in LAST_GRADES.items():
        for name, later in sorted(known):
            other = parse_procedure(name)
            if (
                other is not None
                and (other.kind, other.subject) == (kind, own.subject)
                and later == year + grade - own.grade
                and other.variant != "база"
            ):
                return name, later
    return None


def next_test(procedure: str, year: int) -> Key | None:
    """Return the ВПР of the next grade a year later, the same cohort's."""
    own = parse_procedure(procedure)
    if own is None or own.grade is None:
        return None
    return f"{own.kind}-{own.grade + 1}-{own.subject}", year + 1


def follow_up_lines(
    scores: SchoolScores, tests: pd.DataFrame, rule: IntegrityThresholds
) -> list[Line]:
    """Return the lines of `no_follow_up` and `cohort_fall` of every ВПР.

    Parameters
    ----------
    scores : SchoolScores
        z of every school.
    tests : DataFrame
        ВПР: ``school_id year procedure``.
    rule : IntegrityThresholds
        Thresholds.
    """
    known = set(scores.sat)
    lines: list[Line] = []
    for procedure, year, own in by_test(tests):
        here = (procedure, year)
        exam, following = later_exam(*here, known), next_test(*here)
        for school in own["school_id"]:
            lines.append(_compare(scores, school, here, exam, "no_follow_up", rule))
            lines.append(_compare(scores, school, here, following, "cohort_fall", rule))
    return lines


def _compare(
    scores: SchoolScores,
    school: str,
    here: Key,
    there: Key | None,
    marker: Literal["no_follow_up", "cohort_fall"],
    rule: IntegrityThresholds,
) -> Line:
    fall = marker == "cohort_fall"
    bound = -rule.cohort_fall if fall else rule.follow_up
    line = Line(school_id=school, marker=marker, procedure=here[0], year=here[1], threshold=bound)
    why = _missing(scores, school, here, there)
    if why is not None or there is None:
        return line.answer("insufficient_data", why or text("integrity.no_later"))
    first, second = float(scores.z[here][school]), float(scores.z[there][school])
    value = second - first if fall else first - second
    evidence = text(
        "integrity.evidence_later",
        first=number(first, 2),
        second=number(second, 2),
        later=there[0],
        year=there[1],
    )
    return line.judged(value, value < bound if fall else value > bound, evidence)


def _missing(scores: SchoolScores, school: str, here: Key, there: Key | None) -> Bilingual | None:
    """Return why two tests of a school cannot be compared, None if they can."""
    if there is None or there not in scores.sat:
        return text("integrity.no_later")
    for key in (here, there):
        if school not in scores.sat[key]:
            return text("integrity.not_sat", place=key[0], year=key[1])
        if key not in scores.z:
            return text("integrity.few_for_z", place=key[0], year=key[1], fewest=FEWEST_SCHOOLS)
        if school not in scores.z[key].index:
            n = scores.sat[key][school]
            return text("integrity.few_pupils", n=n, fewest=scores.fewest)
    return None


def z_of(scores: SchoolScores, key: Key | None, school: str) -> float:
    """Return the z of a school in a test, NaN where there is none."""
    if key is None or key not in scores.z or school not in scores.z[key].index:
        return float(np.nan)
    return float(scores.z[key][school])
