"""Our own markers of results that need further analysis, each with its value and its evidence."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resilience.detection.integrity.adjacent_results import AdjacentScoresResults
from resilience.detection.integrity.borders import read_borders
from resilience.detection.integrity.confirmation import confirmation_table, register_lines
from resilience.detection.integrity.follow_up import follow_up_lines, school_scores
from resilience.detection.integrity.histograms import by_test
from resilience.detection.integrity.item_pattern import item_lines
from resilience.detection.integrity.lines import Line, line_table, number
from resilience.detection.integrity.markers_results import IntegrityResults
from resilience.detection.integrity.objectivity import pooled_moments, read_results
from resilience.detection.integrity.pairs import read_journal, with_marks
from resilience.detection.integrity.regional import COUNTED
from resilience.detection.integrity.thresholds import IntegrityThresholds
from resilience.detection.verdicts.guards import yes_or_no
from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.validation import check_columns, shorten

__all__ = ["integrity_markers"]

CONFIRMING = ("item_pattern", "no_follow_up", "cohort_fall")
ON_ONE_TEST = ("item_pattern", "register", "low_variance")


def integrity_markers(
    results: pd.DataFrame,
    *,
    adjacent: AdjacentScoresResults | None = None,
    items: pd.DataFrame | None = None,
    journal: pd.DataFrame | None = None,
    borders: pd.DataFrame | None = None,
    schools: pd.DataFrame | None = None,
    counted: tuple[str, ...] = COUNTED,
    thresholds: IntegrityThresholds | None = None,
) -> IntegrityResults:
    r"""Judge every school by markers of our own; a sign calls for analysis and proves nothing.

    For each ВПР: `high_mean` the lower bound of the mean above the region's by .4 SD of pupils, not
    selective; `item_pattern` easy items worse and hard items better than elsewhere; `register` the
    share of pupils two marks or more off their school mark above the region's 95th percentile;
    `no_follow_up` z of the ВПР minus z of the cohort's later ОГЭ or ЕГЭ above 1; `cohort_fall` z a
    year later minus z below −1; `low_variance` SD below half the region's with a high mean.
    z is in SD of school means.  `border_peak` is the adjacent-score test, pooled.

    A school is flagged if `high_mean` stands together with one of `item_pattern`, `no_follow_up`
    and `cohort_fall` on the same test, or by `border_peak`.  Status: proposal.

    Parameters
    ----------
    results : DataFrame
        Score histograms (``school_id year procedure score n_pupils``) or published means
        (``school_id year procedure n_participants mean_score sd``) of ВПР and later exams.
    adjacent : AdjacentScoresResults, optional
        The adjacent-score test; without it `border_peak` lacks data.
    items : DataFrame, optional
        ``school_id year procedure item_id n_participants facility``: share of the points earned.
    journal : DataFrame, optional
        ``school_id year procedure register_mark`` with ``mark`` or ``score``.
    borders : DataFrame, optional
        Borders of marks, where the journal holds scores.
    schools : DataFrame, optional
        ``school_id`` [``is_selective``].
    counted : tuple of str
        Tests over which ``n_markers`` counts.
    thresholds : IntegrityThresholds, optional
        Every number of the rules.

    Returns
    -------
    IntegrityResults
        A row per school, a row per school, test and marker, and the table of confirmation.

    Raises
    ------
    DataError
        If a table breaks a rule or there is no ВПР.

    References
    ----------
    RicoKo; FIOKO2026.
    """
    rule = IntegrityThresholds() if thresholds is None else thresholds
    table = read_results(results)
    tests = table[table["procedure"].str.startswith("ВПР")]
    if tests.empty:
        known = shorten(sorted(table["procedure"].unique()))
        raise DataError(text("integrity.no_vpr", procedures=known))
    selective = _selective(schools)
    lines = _mean_lines(tests, selective, rule)
    scores = school_scores(table, fewest=rule.fewest_pupils)
    lines += follow_up_lines(scores, tests, rule)
    if items is not None:
        lines += item_lines(items, rule)
    pairs = None
    if journal is not None:
        limits = None if borders is None else read_borders(borders)
        pairs = read_journal(with_marks(journal, limits), result="mark")
        lines += register_lines(pairs, rule)
    ids = sorted(
        set(table["school_id"])
        | (set() if schools is None else set(schools["school_id"].astype(str)))
        | (set() if adjacent is None else set(adjacent.schools["school_id"]))
        | {line.school_id for line in lines}
    )
    lines += _peak_lines(adjacent)
    markers = line_table(lines)
    return IntegrityResults(
        schools=_by_school(ids, markers, counted, adjacent is not None),
        markers=markers,
        confirmation=confirmation_table(pairs, scores, tests),
        thresholds=rule,
        counted=tuple(counted),
    )


def _selective(schools: pd.DataFrame | None) -> set[str]:
    if schools is None:
        return set()
    check_columns(schools, ["school_id"], table="schools")
    if "is_selective" not in schools.columns:
        return set()
    ids = schools["school_id"].astype(str).to_numpy(dtype=object)
    chosen = yes_or_no(schools.set_index(ids)["is_selective"], "is_selective")
    return {school for school, answer in zip(ids, chosen, strict=True) if answer}


def _mean_lines(tests: pd.DataFrame, selective: set[str], rule: IntegrityThresholds) -> list[Line]:
    """Return the lines of `high_mean` and `low_variance`."""
    lines: list[Line] = []
    for procedure, year, own in by_test(tests):
        n, mean, sd = (own[c].to_numpy(dtype=float) for c in ("n_participants", "mean_score", "sd"))
        centre, spread, _ = pooled_moments(n, mean, sd)
        for school, m, x, s in zip(own["school_id"].tolist(), n, mean, sd, strict=True):
            high, low = (
                Line(school_id=school, marker=marker, procedure=procedure, year=year, threshold=at)
                for marker, at in (
                    ("high_mean", rule.high_mean),
                    ("low_variance", rule.low_variance),
                )
            )
            silent = _no_mean(m, s, spread, rule)
            if school in selective:
                why = text("integrity.selective")
                lines += [one.answer("not_applicable", why) for one in (high, low)]
                continue
            if silent is not None:
                lines += [one.answer("insufficient_data", silent) for one in (high, low)]
                continue
            margin = (x - rule.z * s / np.sqrt(m) - centre) / spread
            evidence = text(
                "integrity.evidence_high", mean=number(x, 2), m=int(m), region=number(centre, 2)
            )
            above = margin > rule.high_mean
            lines.append(high.judged(margin, above, evidence))
            evidence = text("integrity.evidence_spread", sd=number(s, 2), region=number(spread, 2))
            ratio = s / spread
            lines.append(low.judged(ratio, ratio < rule.low_variance and above, evidence))
    return lines


def _no_mean(m: float, s: float, spread: float, rule: IntegrityThresholds) -> Bilingual | None:
    if m < rule.fewest_pupils:
        return text("integrity.few_pupils", n=int(m), fewest=rule.fewest_pupils)
    if np.isnan(s) or not spread > 0:
        return text("integrity.no_sd")
    return None


def _peak_lines(adjacent: AdjacentScoresResults | None) -> list[Line]:
    if adjacent is None:
        return []
    lines = []
    last = max(adjacent.years)
    for row in adjacent.schools.to_dict(orient="records"):
        line = Line(
            school_id=str(row["school_id"]),
            marker="border_peak",
            procedure="",
            year=last,
            threshold=adjacent.level,
        )
        value = float(row["integrity_q_value"])
        lines.append(line.answer(str(row["verdict"]), row["reason"], value=value))
    return lines


def _by_school(
    ids: list[str], markers: pd.DataFrame, counted: tuple[str, ...], with_peaks: bool
) -> pd.DataFrame:
    yes = markers[markers["verdict"] == "yes"]
    test = ["school_id", "procedure", "year"]
    high = yes.loc[yes["marker"] == "high_mean", test]
    confirmed = yes.loc[yes["marker"].isin(CONFIRMING), test].drop_duplicates()
    combined = high.merge(confirmed, on=test)
    n_combined = combined["school_id"].value_counts().reindex(ids, fill_value=0)
    single = yes.loc[yes["marker"].isin(ON_ONE_TEST), test]
    signs = pd.concat([combined, single])[["school_id", "procedure"]].drop_duplicates()
    signs = signs[signs["procedure"].isin(counted)]
    answered = markers[markers["verdict"].isin(["yes", "no"])]
    seen = answered.loc[answered["procedure"].isin(counted), "school_id"].value_counts()
    n_markers = signs["school_id"].value_counts().reindex(ids, fill_value=0).astype("Int64")
    peaks = markers[markers["marker"] == "border_peak"].set_index("school_id")["verdict"]
    peak = peaks.reindex(ids).fillna("insufficient_data").to_numpy()
    n_judged = answered["school_id"].value_counts().reindex(ids, fill_value=0).to_numpy()
    applicable = (n_combined.to_numpy() > 0) | (peak == "yes")
    known = answered.loc[
        answered["marker"].isin(["high_mean", "border_peak"]), "school_id"
    ].unique()
    judged = pd.Index(ids).isin(known)
    verdict = np.where(applicable, "yes", np.where(judged, "no", "insufficient_data"))
    return pd.DataFrame(
        {
            "school_id": ids,
            "verdict": verdict.astype(str),
            "border_peak": peak.astype(str),
            "n_combined": n_combined.to_numpy(dtype=np.int64),
            "n_markers": n_markers.where(n_markers.index.isin(seen.index)).array,
            "n_markers_judged": n_judged.astype(np.int64),
            "reason": _reasons(verdict, n_combined.to_numpy(), peak, with_peaks),
        }
    )


def _reasons(
    verdict: np.ndarray, n_combined: np.ndarray, peak: np.ndarray, with_peaks: bool
) -> pd.Series:
    shown: list[Bilingual] = []
    for answer, tests, border in zip(verdict, n_combined, peak, strict=True):
        if answer == "insufficient_data":
            shown.append(text("integrity.nothing_judged"))
        elif answer == "no":
            shown.append(
                text("integrity.no_signs" if with_peaks else "integrity.no_signs_no_peaks")
            )
        elif tests and border == "yes":
            shown.append(text("integrity.signs_both", n=int(tests)))
        elif tests:
            shown.append(text("integrity.signs_combined", n=int(tests)))
        else:
            shown.append(text("integrity.signs_border"))
    return pd.Series(shown, dtype=object)
