"""What became of listed schools: statuses, list changes, transitions, durations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from resilience.detection.history.against_null import StatusNullResults, compare_with_null
from resilience.detection.history.spells import duration_table, hazard_regression, spell_rows
from resilience.detection.history.states import LISTED
from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.results import Results, format_table
from resilience.stats.lists.list_null_chain import corrected_chain
from resilience.stats.proportions import wilson_interval
from resilience.stats.regression_to_mean import null_hazard
from resilience.validation import check_columns, check_numeric, check_unique

__all__ = ["StatusResults"]

_CHANGES = ("entered", "confirmed", "left", "re_entered")
_MOVES = (
    ("not_listed", "listed"),
    ("not_listed", "not_listed"),
    ("listed", "listed"),
    ("listed", "not_listed"),
)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StatusResults(Results):
    """Statuses of schools over years.

    Attributes
    ----------
    statuses : DataFrame
        ``school_id year status n_years_listed spell_kind rule_break status_note``: a row per school
        and year of the record.
    mergers : DataFrame
        ``school_id successor_id last_year taken_over``: schools merged into others, and whether the
        successor took over their history.
    rule_versions : mapping of int to str
        Version of the rule by year, where known.
    notes : tuple of Bilingual
        What a reader must know.
    """

    statuses: pd.DataFrame
    mergers: pd.DataFrame
    rule_versions: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[Bilingual, ...] = ()

    @cached_property
    def _wide(self) -> tuple[pd.DataFrame, pd.Series]:
        """Statuses by school and year, and the years in which the rule changed."""
        wide = self.statuses.pivot_table(
            index="school_id", columns="year", values="status", aggfunc="first"
        )
        return wide, self.statuses.groupby("year")["rule_break"].first()

    @property
    def transitions(self) -> pd.DataFrame:
        """Counts and shares of the four moves, with Wilson's 95 % intervals.

        ``from_state to_state n_transitions n_at_risk transition_share conf_low conf_high`` over all
        pairs of adjacent years under one rule in which the school is known on both.
        """
        counts = dict.fromkeys(_MOVES, 0)
        wide, new_rule = self._wide
        for before, after in zip(wide.columns[:-1], wide.columns[1:], strict=True):
            if new_rule[after]:
                continue
            a, b = wide[before].map(_standing), wide[after].map(_standing)
            for move in _MOVES:
                counts[move] += int(((a == move[0]) & (b == move[1])).sum())
        rows = pd.DataFrame(
            [(a, b, n) for (a, b), n in counts.items()],
            columns=["from_state", "to_state", "n_transitions"],
        )
        rows["n_at_risk"] = rows.groupby("from_state")["n_transitions"].transform("sum")
        some = rows["n_at_risk"] > 0
        rows["transition_share"] = (rows["n_transitions"] / rows["n_at_risk"].where(some)).astype(
            float
        )
        low, high = wilson_interval(rows["n_transitions"], rows["n_at_risk"])
        return rows.assign(conf_low=low, conf_high=high)

    @property
    def list_changes(self) -> pd.DataFrame:
        """What changed between the lists of adjacent years: counts, names, overlap.

        ``year_before year rule_break n_listed_before n_listed n_status_entered
        n_status_confirmed n_status_left n_status_re_entered n_status_unknown list_jaccard
        names_entered names_confirmed names_left names_re_entered``; the overlap
        is Jaccard's, over schools known in both years.
        """
        wide, new_rule = self._wide
        rows = []
        for before, after in zip(wide.columns[:-1], wide.columns[1:], strict=True):
            a, b = wide[before].map(_standing), wide[after].map(_standing)
            known = a.isin(["listed", "not_listed"]) & b.isin(["listed", "not_listed"])
            on_a, on_b = (a == "listed") & known, (b == "listed") & known
            either = int((on_a | on_b).sum())
            members = {s: wide.index[wide[after] == s] for s in _CHANGES}
            rows.append(
                {
                    "year_before": int(before),
                    "year": int(after),
                    "rule_break": bool(new_rule[after]),
                    "n_listed_before": int((a == "listed").sum()),
                    "n_listed": int((b == "listed").sum()),
                    **{f"n_status_{s}": len(members[s]) for s in _CHANGES},
                    "n_status_unknown": int((wide[after] == "unknown").sum()),
                    "list_jaccard": int((on_a & on_b).sum()) / either if either else np.nan,
                    **{f"names_{s}": ", ".join(map(str, members[s])) for s in _CHANGES},
                }
            )
        names = ["year_before", "year", "rule_break", "n_listed_before", "n_listed"]
        names += [f"n_status_{s}" for s in _CHANGES] + ["n_status_unknown", "list_jaccard"]
        return pd.DataFrame(rows, columns=[*names, *(f"names_{s}" for s in _CHANGES)])

    @property
    def durations(self) -> pd.DataFrame:
        """Chance of leaving by years on the list, and the share still listed.

        ``spell_kind duration n_at_risk n_exits hazard conf_low conf_high survival``.  Spells whose
        entry was not seen have an unknown length: they stand apart, counted from the first year of
        the record.
        """
        return duration_table(self.statuses)

    def durations_against_null(self, r: float, *, q: float | None = None) -> pd.DataFrame:
        """Return the durations with the hazard that selection alone would give beside each.

        Parameters
        ----------
        r : float
            Correlation of the scores of two years, in [0, 1).
        q : float, optional
            Share on the list; the mean share of known schools by default.
        """
        table = self.durations
        share = self.list_share if q is None else q
        longest = int(table["duration"].max()) if len(table) else 1
        nulls = {
            kind: null_hazard(share, r, longest, observed_entry=kind == "observed_entry")
            for kind in ("observed_entry", "running_at_start")
        }
        places = zip(table["spell_kind"], table["duration"], strict=True)
        return table.assign(null_hazard=[nulls[k][d - 1] for k, d in places])

    def hazard_model(self, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Fit the chance of leaving by duration and covariates (complementary log-log).

        Only spells whose entry was seen take part.  Durations from the first with fewer than ten
        exits on share one coefficient.

        Parameters
        ----------
        covariates : DataFrame, optional
            ``school_id`` and numeric columns, with ``year`` where they change.

        Returns
        -------
        DataFrame
            ``term estimate std_error hazard_ratio hazard_ratio_low hazard_ratio_high p_value``;
            standard errors clustered by school.

        Raises
        ------
        DataError
            With fewer than 20 exits, or covariates that are missing for a listed school.

        References
        ----------
        PrenticeGloeckler1978.
        """
        return hazard_regression(self.statuses, covariates)

    @property
    def list_share(self) -> float:
        """Mean share on the list among schools whose status is known."""
        known = self.statuses[self.statuses["status"] != "unknown"]
        return float(known["status"].isin(LISTED).mean())

    def against_null(
        self,
        scores: pd.DataFrame,
        *,
        positive_dynamics: str | float,
        r: float | None = None,
        assignment: str | None = None,
        programme_years: tuple[int, ...] = (),
        n_draws: int = 4_000,
        random_state: int = 0,
    ) -> StatusNullResults:
        """Put exits, gains and "positive dynamics" beside what no change would have given.

        Parameters
        ----------
        scores : DataFrame
            ``school_id year score [sampling_variance]`` of all schools, listed or not, high = good.
            Scores are taken as deviations from the year's mean of all schools.
        positive_dynamics : "sign" or float
            Rule of a positive change: any rise, or a rise of more than so many SD of schools.  No
            official number exists, so there is no default.
        r : float, optional
            Correlation of two years; estimated from years without a programme by default.
        assignment : str, optional
            Column of the score the list was drawn on (high = good), if it is not ``score``.
        programme_years : tuple of int
            Years in which a programme ran: they teach nothing about r.
        n_draws : int
            Draws behind the bands.
        random_state : int
            Source of the draws.

        Returns
        -------
        StatusNullResults

        Raises
        ------
        DataError
            If a school off the list lies below one on it: then the score is not what the list was
            drawn on.
        SpecificationError
            If ``positive_dynamics`` is no rule or r lies outside [0, 1).
        """
        return compare_with_null(
            self.statuses,
            scores,
            positive_dynamics=positive_dynamics,
            r=r,
            assignment=assignment,
            programme_years=programme_years,
            n_draws=n_draws,
            random_state=random_state,
        )

    def corrected(
        self, scores: pd.DataFrame, *, n_bootstrap: int = 200, random_state: int = 0
    ) -> pd.DataFrame:
        """Return the chain free of misclassification beside the observed one.

        Parameters
        ----------
        scores : DataFrame
            ``school_id year score [sampling_variance]`` of all schools, at least three years.
        n_bootstrap : int
            Draws of schools behind the interval.
        random_state : int
            Source of the draws.

        Returns
        -------
        DataFrame
            ``transition observed corrected corrected_low corrected_high hidden_markov``; the
            observed column is that of these lists.
        """
        check_columns(scores, ["school_id", "year", "score"], table="scores")
        check_numeric(scores, ["score"], table="scores")
        check_unique(scores, ["school_id", "year"], table="scores")
        wide = scores.pivot_table(index="school_id", columns="year", values="score")
        sampling = np.zeros(wide.shape)
        if "sampling_variance" in scores.columns:
            known = scores.pivot_table(
                index="school_id", columns="year", values="sampling_variance"
            )
            sampling = known.reindex_like(wide).to_numpy(dtype=float)
        found = corrected_chain(
            wide.to_numpy(dtype=float),
            sampling,
            q=self.list_share,
            n_bootstrap=n_bootstrap,
            random_state=random_state,
        )
        seen = self.transitions.set_index(["from_state", "to_state"])["transition_share"]
        observed = {
            "enter": seen["not_listed", "listed"],
            "confirm": seen["listed", "listed"],
            "leave": seen["listed", "not_listed"],
        }
        hidden = found.hidden_markov
        return pd.DataFrame(
            [
                {
                    "transition": name,
                    "observed": float(value),
                    "corrected": getattr(found.corrected, name),
                    "corrected_low": getattr(found.low, name),
                    "corrected_high": getattr(found.high, name),
                    "hidden_markov": np.nan if hidden is None else getattr(hidden, name),
                }
                for name, value in observed.items()
            ]
        )

    def tidy(self) -> pd.DataFrame:
        """Return the statuses, one row per school and year."""
        return self.statuses.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, years, the last year's statuses, the share that leaves."""
        last = self.statuses[self.statuses["year"] == self.statuses["year"].max()]["status"]
        moves = self.transitions.set_index(["from_state", "to_state"])["transition_share"]
        spells = spell_rows(self.statuses)
        return pd.DataFrame(
            {
                "n_schools": [self.statuses["school_id"].nunique()],
                "n_years": [self.statuses["year"].nunique()],
                "n_listed": [int(last.isin(LISTED).sum())],
                **{f"n_status_{s}": [int((last == s).sum())] for s in _CHANGES},
                "n_status_unknown": [int((last == "unknown").sum())],
                "leave_rate": [float(moves["listed", "not_listed"])],
                "n_exits": [int(spells["left_next"].sum())],
            }
        )

    def summary(self, lang: str = "en") -> str:
        """Return the one-row summary, changes of the lists, transitions and notes as plain text."""
        head = format_table(self.glance(), lang).T
        head.columns = pd.Index([""])
        counts = [c for c in self.list_changes.columns if not c.startswith("names_")]
        blocks = [self.title(lang), "=" * len(self.title(lang)), head.to_string(header=False), ""]
        blocks.append(format_table(self.list_changes[counts], lang).to_string(index=False))
        blocks += ["", format_table(self.transitions, lang).to_string(index=False)]
        blocks += [f"* {note.localized(lang)}" for note in self.notes]
        return "\n".join(blocks)

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with ``status`` and ``n_years_listed`` added.

        Joined by ``school_id`` and ``year``, or the last year of the record where ``data`` has no
        years.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        """
        check_columns(data, ["school_id"], table="data")
        taken = [c for c in ("status", "n_years_listed") if c in data.columns]
        if taken:
            raise DataError(text("history.column_taken", column=taken[0]))
        last = int(self.statuses["year"].max())
        year = data["year"] if "year" in data.columns else pd.Series(last, index=data.index)
        keyed = self.statuses.set_index(["school_id", "year"])
        places = pd.MultiIndex.from_arrays([data["school_id"].astype(str), year.astype("int64")])
        own = keyed[["status", "n_years_listed"]].reindex(places)
        return data.assign(
            status=own["status"].to_numpy(dtype=object),
            n_years_listed=own["n_years_listed"].array,
        )


def _standing(status: object) -> str:
    """Return whether a status means on the list, off it, or unknown."""
    if status in LISTED:
        return "listed"
    return "not_listed" if status in ("not_listed", "left") else "unknown"
