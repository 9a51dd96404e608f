"""The federal markers of objectivity: overstated means, school marks, sharp changes of a cohort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.detection.integrity.histograms import read_histograms, summaries_of
from resilience.detection.integrity.lines import number
from resilience.detection.integrity.marker_sets import Marker, MarkerSet
from resilience.detection.integrity.objectivity_results import ObjectivityResults
from resilience.detection.integrity.pairs import read_journal
from resilience.detection.integrity.regional import DENOMINATOR, municipal_shares
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.stats.marks.mark_agreement import TIES, Ties, rank_correlation
from resilience.validation import (
    check_choice,
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_table,
    check_unique,
    shorten,
)

__all__ = ["objectivity_markers", "read_results"]

TEST = ["school_id", "year", "procedure"]
PERCENTILE_METHODS = (
    "linear",
    "lower",
    "higher",
    "midpoint",
    "nearest",
    "inverted_cdf",
    "averaged_inverted_cdf",
    "closest_observation",
    "interpolated_inverted_cdf",
    "hazen",
    "weibull",
    "median_unbiased",
    "normal_unbiased",
)
FEWEST_RATIOS = 4  # schools below which quartiles of a ratio say nothing


def objectivity_markers(
    results: pd.DataFrame,
    *,
    journal: pd.DataFrame | None = None,
    procedures: pd.DataFrame | None = None,
    schools: pd.DataFrame | None = None,
    markers: str | MarkerSet = "objectivity_14",
    year: int | None = None,
    ties: Ties = "printed",
    percentile_method: str = "linear",
) -> ObjectivityResults:
    r"""Judge every school by the fourteen markers of the federal method, and the region's index.

    * mean: the school's :math:`\bar x - 1.96\, s/\sqrt m` above the region's
      :math:`\bar X + 1.96\, S/\sqrt n`;
    * school marks: Spearman's coefficient of marks and scores below 0;
    * cohort: :math:`K = S_4(t-1)/S_5(t)`, S the mean share of the highest score; sharp fall where
      :math:`K > P_{75} + 3\,\mathrm{IQR}`, sharp rise where :math:`K < P_{25} - 3\,\mathrm{IQR}`.

    The index is 100 minus the per cent of schools with at least one marker.

    Parameters
    ----------
    results : DataFrame
        Score histograms (``school_id year procedure score n_pupils``) or published means
        (``school_id year procedure n_participants mean_score sd``).
    journal : DataFrame, optional
        ``school_id year procedure register_mark score`` by pupil, or with ``n_pupils`` by
        combination; without it the markers of school marks lack data.
    procedures : DataFrame, optional
        ``procedure year max_score`` for the cohorts' shares of the highest score; without it the
        markers of cohorts lack data.
    schools : DataFrame, optional
        ``school_id`` [``municipality_id`` ``year``]: schools without results, and municipalities.
    markers : str or MarkerSet
        Which list of markers.
    year : int, optional
        Year of the list, the latest by default; a cohort's earlier test is of the year before.
    ties : {"printed", "corrected"}
        Spearman's coefficient as the method prints it, or corrected for ties.
    percentile_method : str
        How quartiles of K are computed, a method of `numpy.quantile`; the source prints none.

    Returns
    -------
    ObjectivityResults
        A row per school and marker with value, bound and evidence; a row per school.

    Raises
    ------
    DataError
        If a table breaks a rule, or no test of the list was sat in that year.
    SpecificationError
        If an argument is not one of its choices.

    Warns
    -----
    WeakDataWarning
        A municipality with more marked schools than schools that sat the test of the denominator.

    References
    ----------
    FIOKOObjectivity; VPRDashboard.
    """
    check_choice(ties, TIES, argument="ties")
    check_choice(percentile_method, PERCENTILE_METHODS, argument="percentile_method")
    chosen = markers if isinstance(markers, MarkerSet) else MarkerSet.preset(markers)
    table = read_results(results)
    last = int(table["year"].max()) if year is None else year
    if last not in set(table["year"]):
        known = shorten(sorted(table["year"].unique()), 12)
        raise SpecificationError(text("integrity.no_year", year=last, known=known))
    own = table[(table["year"] == last) & table["procedure"].isin(_tests(chosen))]
    if own.empty:
        raise DataError(
            text("integrity.no_tests", year=last, procedures=", ".join(sorted(_tests(chosen))))
        )
    ids = sorted(set(own["school_id"]) | _listed(schools, last))
    pairs = None if journal is None else read_journal(journal, result="score")
    judge = _Judge(
        results=table,
        pairs=pairs,
        highest=_highest(procedures),
        rule=chosen,
        year=last,
        ties=ties,
        percentile_method=percentile_method,
    )
    lines = pd.concat([judge.lines(marker, ids) for marker in chosen.markers], ignore_index=True)
    found = ObjectivityResults(
        schools=_by_school(ids, lines),
        markers=lines,
        municipalities=_municipalities(schools, lines, own, last),
        rule=chosen,
        year=last,
        ties=ties,
        percentile_method=percentile_method,
    )
    for row in found.municipalities.to_dict(orient="records"):
        if row["marked_share"] > 1:
            warn_weak_data(
                text(
                    "integrity.share_above_one",
                    municipality=row["municipality_id"],
                    marked=row["n_marked"],
                    sat=row["n_sat"],
                )
            )
    return found


def read_results(results: pd.DataFrame) -> pd.DataFrame:
    """Return participants, mean and SD by school, year and procedure, from either kind of table.

    Raises
    ------
    DataError
        If the table breaks a rule.
    """
    check_table(results, table="results")
    if "score" in results.columns and "mean_score" not in results.columns:
        return summaries_of(read_histograms(results))
    needed = ["n_participants", "mean_score"]
    check_columns(results, [*TEST, *needed, "sd"], table="results")
    check_not_empty(results, table="results")
    check_finite(results, [*TEST, *needed], table="results", unit="school_id")
    check_numeric(results, ["year", *needed, "sd"], table="results")
    check_unique(results, TEST, table="results")
    n = results["n_participants"].to_numpy(dtype=float)
    sd = results["sd"].to_numpy(dtype=float, na_value=np.nan)
    for name, values, bad in (
        ("n_participants", n, (n < 0) | (n != np.round(n))),
        ("sd", sd, (sd < 0) | np.isinf(sd)),
    ):
        if bad.any():
            school = results.loc[bad, "school_id"].iloc[0]
            raise DataError(
                text("integrity.summary", column=name, school=school, value=f"{values[bad][0]:g}")
            )
    keep = n > 0
    return pd.DataFrame(
        {
            "school_id": results["school_id"].astype(str).to_numpy(),
            "year": results["year"].to_numpy(dtype=np.int64),
            "procedure": results["procedure"].astype(str).to_numpy(),
            "n_participants": n.astype(np.int64),
            "mean_score": results["mean_score"].to_numpy(dtype=float),
            "sd": np.where(n > 1, sd, np.nan),
        }
    )[keep].reset_index(drop=True)


def _tests(rule: MarkerSet) -> set[str]:
    return {m.procedure for m in rule.markers} | {m.earlier for m in rule.markers if m.earlier}


def _listed(schools: pd.DataFrame | None, year: int) -> set[str]:
    if schools is None:
        return set()
    check_columns(schools, ["school_id"], table="schools")
    rows = schools[schools["year"] == year] if "year" in schools.columns else schools
    return set(rows["school_id"].astype(str))


def _highest(procedures: pd.DataFrame | None) -> dict[tuple[str, int], float]:
    if procedures is None:
        return {}
    check_columns(procedures, ["procedure", "year", "max_score"], table="procedures")
    check_unique(procedures, ["procedure", "year"], table="procedures")
    known = procedures.dropna(subset=["max_score"])
    return {
        (str(p), int(y)): float(m)
        for p, y, m in zip(known["procedure"], known["year"], known["max_score"], strict=True)
    }


Row = tuple[float, float, str, Bilingual]  # value, bound, verdict, evidence or reason


@dataclass(frozen=True, kw_only=True, eq=False)
class _Judge:
    """The tables and choices behind the markers of one year."""

    results: pd.DataFrame
    pairs: pd.DataFrame | None
    highest: dict[tuple[str, int], float]
    rule: MarkerSet
    year: int
    ties: Ties
    percentile_method: str

    def lines(self, marker: Marker, ids: list[str]) -> pd.DataFrame:
        """Return a row per school: value, bound, verdict, evidence."""
        judges: dict[str, Callable[[Marker], dict[str, Row]]] = {
            "high_mean": self._means,
            "journal": self._journal,
            "sharp_rise": self._cohort,
            "sharp_fall": self._cohort,
        }
        found = judges[marker.kind](marker)
        absent = text("integrity.not_sat", place=self._place(marker), year=self.year)
        rows = [found.get(i, (np.nan, np.nan, "insufficient_data", absent)) for i in ids]
        return pd.DataFrame(
            {
                "school_id": ids,
                "marker_number": marker.number,
                "marker": marker.kind,
                "procedure": marker.procedure,
                "year": self.year,
                "value": [r[0] for r in rows],
                "threshold": [r[1] for r in rows],
                "verdict": [r[2] for r in rows],
                "reason": pd.Series([r[3] for r in rows], dtype=object),
            }
        )

    def _place(self, marker: Marker) -> str:
        return f"{marker.earlier}, {marker.procedure}" if marker.earlier else marker.procedure

    def _of(self, procedure: str, year: int) -> pd.DataFrame:
        rows = (self.results["procedure"] == procedure) & (self.results["year"] == year)
        return self.results[rows]

    def _means(self, marker: Marker) -> dict[str, Row]:
        own = self._of(marker.procedure, self.year)
        if own.empty:
            return {}
        n, mean, sd = (own[c].to_numpy(dtype=float) for c in ("n_participants", "mean_score", "sd"))
        centre, spread, total = pooled_moments(n, mean, sd)
        upper = centre + self.rule.z * spread / np.sqrt(total) if total > 1 else np.nan
        found: dict[str, Row] = {}
        for school, m, x, s in zip(own["school_id"].tolist(), n, mean, sd, strict=True):
            if m < 2 or np.isnan(s):
                why = text("integrity.one_pupil" if m < 2 else "integrity.no_sd")
                found[school] = (np.nan, upper, "insufficient_data", why)
                continue
            lower = x - self.rule.z * s / np.sqrt(m)
            found[school] = (
                lower,
                upper,
                "yes" if lower > upper else "no",
                text(
                    "integrity.evidence_mean", mean=number(x, 2), m=int(m), region=number(centre, 2)
                ),
            )
        return found

    def _journal(self, marker: Marker) -> dict[str, Row]:
        if self.pairs is None:
            return {}
        rows = (self.pairs["procedure"] == marker.procedure) & (self.pairs["year"] == self.year)
        found: dict[str, Row] = {}
        for school, own in self.pairs[rows].groupby("school_id", sort=True):
            times = own["n_pupils"].to_numpy()
            marks = np.repeat(own["register_mark"].to_numpy(dtype=float), times)
            scores = np.repeat(own["score"].to_numpy(dtype=float), times)
            r = rank_correlation(marks, scores, ties=self.ties)
            bound = self.rule.below
            if np.isnan(r):
                key = "integrity.all_alike" if len(marks) > 1 else "integrity.one_pupil"
                found[str(school)] = (np.nan, bound, "insufficient_data", text(key))
                continue
            verdict = "yes" if r < bound else "no"
            found[str(school)] = (r, bound, verdict, text("integrity.evidence_pairs", n=len(marks)))
        return found

    def _cohort(self, marker: Marker) -> dict[str, Row]:
        tops = [
            self.highest.get((marker.earlier, self.year - 1)),
            self.highest.get((marker.procedure, self.year)),
        ]
        if None in tops:
            return {}
        before = self._of(marker.earlier, self.year - 1).set_index("school_id")["mean_score"]
        after = self._of(marker.procedure, self.year).set_index("school_id")["mean_score"]
        both = sorted(set(before.index) & set(after.index))
        early, late = before[both].to_numpy() / tops[0], after[both].to_numpy() / tops[1]
        usable = late > 0
        ratio = np.divide(early, late, out=np.full(len(both), np.nan), where=usable)
        if usable.sum() < FEWEST_RATIOS:
            why = text("integrity.few_ratios", n=int(usable.sum()), fewest=FEWEST_RATIOS)
            return {
                s: (float(k), np.nan, "insufficient_data", why)
                for s, k in zip(both, ratio, strict=True)
            }
        low, high = ratio_limits(ratio[usable], self.rule.iqr_multiple, self.percentile_method)
        fall = marker.kind == "sharp_fall"
        bound = high if fall else low
        found: dict[str, Row] = {}
        for school, k, a, b in zip(both, ratio, early, late, strict=True):
            if np.isnan(k):
                found[school] = (np.nan, bound, "insufficient_data", text("integrity.no_ratio"))
                continue
            marked = k > bound if fall else k < bound
            evidence = text("integrity.evidence_cohort", early=number(a, 3), late=number(b, 3))
            found[school] = (float(k), bound, "yes" if marked else "no", evidence)
        return found


def pooled_moments(n: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> tuple[float, float, float]:
    """Return mean, SD (n − 1) and number of all pupils from those of the schools.

    Schools of several pupils without an SD take no part.
    """
    use = (n == 1) | ((n > 1) & np.isfinite(sd))
    n, mean, sd = n[use], mean[use], sd[use]
    total = float(n.sum())
    if total < 2:
        return float("nan"), float("nan"), total
    centre = float(n @ mean / total)
    inside = np.where(n > 1, (n - 1) * np.nan_to_num(sd) ** 2, 0.0)
    between = n * (mean - centre) ** 2
    return centre, float(np.sqrt((inside + between).sum() / (total - 1))), total


def ratio_limits(ratio: np.ndarray, multiple: float, method: str) -> tuple[float, float]:
    """Return P25 − multiple·IQR and P75 + multiple·IQR of the ratios of all schools."""
    low, high = np.quantile(ratio, [0.25, 0.75], method=method)  # type: ignore[call-overload]  # checked choice
    return float(low - multiple * (high - low)), float(high + multiple * (high - low))


def _by_school(ids: list[str], lines: pd.DataFrame) -> pd.DataFrame:
    school = lines["school_id"]
    yes, no = (
        (lines["verdict"] == answer).groupby(school).sum().reindex(ids, fill_value=0).to_numpy()
        for answer in ("yes", "no")
    )
    marked, judged = yes, yes + no
    verdict = np.where(marked > 0, "yes", np.where(judged > 0, "no", "insufficient_data"))
    return pd.DataFrame(
        {
            "school_id": ids,
            "verdict": verdict.astype(str),
            "n_markers": marked.astype(np.int64),
            "n_markers_judged": judged.astype(np.int64),
        }
    )


def _municipalities(
    schools: pd.DataFrame | None, lines: pd.DataFrame, own: pd.DataFrame, year: int
) -> pd.DataFrame:
    empty = pd.DataFrame({"municipality_id": [], "n_marked": [], "n_sat": [], "marked_share": []})
    if schools is None or "municipality_id" not in schools.columns:
        return empty
    rows = schools[schools["year"] == year] if "year" in schools.columns else schools
    one = rows.drop_duplicates("school_id")
    of = one.set_index(one["school_id"].astype(str))["municipality_id"]
    marked = sorted(lines.loc[lines["verdict"] == "yes", "school_id"].unique())
    sat = own.loc[own["procedure"] == DENOMINATOR, "school_id"]
    return municipal_shares(
        pd.DataFrame({"school_id": marked, "municipality_id": of.reindex(marked).to_numpy()}),
        pd.DataFrame({"school_id": sat.to_numpy(), "municipality_id": of.reindex(sat).to_numpy()}),
        warn=False,
    )
