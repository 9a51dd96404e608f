"""ВПР beside the school's own marks and beside the later exam of the same cohort."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resilience.detection.integrity.follow_up import SchoolScores, later_exam, z_of
from resilience.detection.integrity.histograms import by_test
from resilience.detection.integrity.lines import Line
from resilience.detection.integrity.thresholds import IntegrityThresholds
from resilience.i18n import text

__all__ = ["confirmation_table", "register_lines"]

TEST = ["school_id", "year", "procedure"]
FAR = 2  # marks apart in the table of confirmation


def register_lines(pairs: pd.DataFrame, rule: IntegrityThresholds) -> list[Line]:
    """Return the lines of `register`: pupils far from their school mark, against the region.

    Parameters
    ----------
    pairs : DataFrame
        ``school_id year procedure register_mark mark n_pupils``.
    rule : IntegrityThresholds
        ``register_gap``, ``register_quantile`` and ``fewest_pupils``.
    """
    shares = _shares(pairs, far=rule.register_gap)
    lines: list[Line] = []
    for procedure, year, own in by_test(shares):
        enough = own["n_pupils"] >= rule.fewest_pupils
        far = own["share_far"].to_numpy(dtype=float)
        bound = float(np.quantile(far[enough], rule.register_quantile)) if enough.any() else np.nan
        for school, n, share in zip(own["school_id"], own["n_pupils"], far, strict=True):
            line = Line(
                school_id=str(school),
                marker="register",
                procedure=procedure,
                year=year,
                threshold=bound,
            )
            if n < rule.fewest_pupils:
                why = text("integrity.few_pupils", n=int(n), fewest=rule.fewest_pupils)
                lines.append(line.answer("insufficient_data", why))
                continue
            evidence = text(
                "integrity.evidence_register",
                far=round(share * n),
                n=int(n),
                gap=rule.register_gap,
            )
            lines.append(line.judged(float(share), bool(share > bound), evidence))
    return lines


def _shares(pairs: pd.DataFrame, *, far: int) -> pd.DataFrame:
    gap = pairs["mark"] - pairs["register_mark"]
    n = pairs["n_pupils"]
    table = pairs[TEST].assign(
        n_pupils=n,
        share_lowered=n * (gap < 0),
        share_confirmed=n * (gap == 0),
        share_raised=n * (gap > 0),
        share_far=n * (gap.abs() >= far),
    )
    sums = table.groupby(TEST, sort=True).sum().reset_index()
    sums = sums[sums["n_pupils"] > 0].reset_index(drop=True)
    for name in ("share_lowered", "share_confirmed", "share_raised", "share_far"):
        sums[name] = sums[name] / sums["n_pupils"]
    return sums


def confirmation_table(
    pairs: pd.DataFrame | None, scores: SchoolScores, tests: pd.DataFrame
) -> pd.DataFrame:
    """Return how far school marks and later exams confirm each ВПР of each school.

    Parameters
    ----------
    pairs : DataFrame or None
        ``school_id year procedure register_mark mark n_pupils``.
    scores : SchoolScores
        z of every school in every test.
    tests : DataFrame
        ВПР: ``school_id year procedure n_participants``.

    Returns
    -------
    DataFrame
        ``school_id year procedure n_participants share_lowered share_confirmed share_raised
        share_far later_procedure later_year z_score z_score_later z_difference``; missing where
        there is no school mark or no later exam.  Lowered: the mark of the ВПР is below the school
        mark.
    """
    known = set(scores.sat)
    base = tests[[*TEST, "n_participants"]].reset_index(drop=True)
    if pairs is None:
        shares = base[TEST].assign(
            share_lowered=np.nan, share_confirmed=np.nan, share_raised=np.nan, share_far=np.nan
        )
    else:
        shares = _shares(pairs, far=FAR).drop(columns="n_pupils")
    table = base.merge(shares, on=TEST, how="left")
    exams = {
        (str(p), int(y)): later_exam(str(p), int(y), known)
        for p, y in base[["procedure", "year"]].drop_duplicates().itertuples(index=False)
    }
    rows = list(zip(table["school_id"], table["procedure"], table["year"], strict=True))
    later = [exams[(str(p), int(y))] for _, p, y in rows]
    first = np.array([z_of(scores, (str(p), int(y)), s) for s, p, y in rows])
    second = np.array([z_of(scores, key, r[0]) for key, r in zip(later, rows, strict=True)])
    table["later_procedure"] = ["" if key is None else key[0] for key in later]
    table["later_year"] = pd.array([None if key is None else key[1] for key in later], "Int64")
    return table.assign(z_score=first, z_score_later=second, z_difference=first - second)
