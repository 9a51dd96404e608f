"""Early warning: who will probably be on next year's list, and how good such predictions were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.history.backtest import (
    METHODS,
    rolling_origin,
    score_table,
    yearly_verdicts,
)
from resilience.detection.history.next_year import (
    CountCube,
    Prediction,
    ShareDraws,
    count_cube,
    federal_form,
    predict,
)
from resilience.detection.rules.criteria import Criteria
from resilience.detection.verdicts.guards import yes_or_no
from resilience.detection.verdicts.school_ids import ids_as_text
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.results import Results, format_table
from resilience.stats.proportions import wilson_interval
from resilience.stats.verdicts.decisions import LossRule
from resilience.validation import check_columns, check_numeric, check_unique, shorten

__all__ = ["EarlyWarningResults", "early_warning"]

Floats = NDArray[np.float64]

SUPPORT = LossRule(false_positive=1.0, false_negative=2.0)  # a missed school costs twice as much
BANDS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
FEWEST_DRAWS = 50


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EarlyWarningResults(Results):
    """Probabilities of next year's list.

    Attributes
    ----------
    schools : DataFrame
        ``school_id year probability_low_next_year prediction_low prediction_high method verdict
        verdict_now n_procedures_low n_participants reason``; ``year`` is the year predicted.
    backtest : DataFrame
        ``school_id origin_year method probability outcome size_band is_rural flag_weight``: what
        each method said of past years from what was known then, and what came.
    scores : DataFrame
        ``method part n_predictions n_events brier calibration_intercept prediction_slope
        prediction_slope_error n_warned flag_ppv recall``.
    exits : DataFrame
        ``n_listed expected_exits exits_low exits_high expected_entries``: what becomes of today's
        list if nothing changes.
    rule : Criteria
        The rule.
    threshold : float
        Probability from which a school is flagged.
    notes : tuple of Bilingual
        What a reader must know.
    """

    schools: pd.DataFrame
    backtest: pd.DataFrame
    scores: pd.DataFrame
    exits: pd.DataFrame
    rule: Criteria
    threshold: float
    notes: tuple[Bilingual, ...] = ()

    @property
    def calibration(self) -> pd.DataFrame:
        """Predictions of past years in bands of probability, beside what came.

        ``method probability_band n_predictions mean_probability observed_rate conf_low conf_high``
        with Wilson's intervals, which take the schools of a band for independent.
        """
        rows = []
        for method in METHODS:
            own = self.backtest[self.backtest["method"] == method]
            if own.empty:
                continue
            p = own["probability"].to_numpy(dtype=float)
            y = own["outcome"].to_numpy(dtype=bool)
            band = np.clip(np.searchsorted(BANDS, p, side="right") - 1, 0, len(BANDS) - 2)
            for k in sorted(set(band)):
                inside = band == k
                low, high = wilson_interval([int(y[inside].sum())], [int(inside.sum())])
                rows.append(
                    {
                        "method": text(f"history.method_{method}"),
                        "probability_band": f"{BANDS[k]:g}-{BANDS[k + 1]:g}",
                        "n_predictions": int(inside.sum()),
                        "mean_probability": float(p[inside].mean()),
                        "observed_rate": float(y[inside].mean()),
                        "conf_low": float(low[0]),
                        "conf_high": float(high[0]),
                    }
                )
        names = ["method", "probability_band", "n_predictions", "mean_probability"]
        table = pd.DataFrame(rows, columns=[*names, "observed_rate", "conf_low", "conf_high"])
        table["method"] = pd.Series([row["method"] for row in rows], dtype=object)
        return table

    def flagged(self) -> pd.DataFrame:
        """Return the schools whose probability reaches the threshold, most probable first."""
        own = self.schools[self.schools["verdict"] == "yes"]
        order = np.argsort(-own["probability_low_next_year"].to_numpy(), kind="stable")
        return own.iloc[order].reset_index(drop=True)

    def tidy(self) -> pd.DataFrame:
        """Return the schools."""
        return self.schools.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, flagged, this year's list, scores of the model."""
        own = self.scores.head(1)
        scored = len(own) > 0
        return pd.DataFrame(
            {
                "n_schools": [len(self.schools)],
                "year": [int(self.schools["year"].iloc[0])],
                "threshold": [self.threshold],
                "n_listed": [int((self.schools["verdict"] == "yes").sum())],
                "n_insufficient": [int((self.schools["verdict"] == "insufficient_data").sum())],
                "expected_exits": [float(self.exits["expected_exits"].iloc[0])],
                "expected_entries": [float(self.exits["expected_entries"].iloc[0])],
                "brier": [float(own["brier"].iloc[0]) if scored else np.nan],
                "prediction_slope": [float(own["prediction_slope"].iloc[0]) if scored else np.nan],
            }
        )

    def summary(self, lang: str = "en") -> str:
        """Return the one-row summary, scores over all schools beside naive ones, and notes."""
        head = format_table(self.glance(), lang).T
        head.columns = pd.Index([""])
        blocks = [self.title(lang), "=" * len(self.title(lang)), self.rule.title(lang)]
        blocks += [head.to_string(header=False), ""]
        if len(self.scores):
            own = self.scores[self.scores["part"] == text("history.part_all")]
            blocks += [format_table(own, lang).to_string(index=False), ""]
        blocks.append(format_table(self.exits, lang).to_string(index=False))
        return "\n".join([*blocks, *(f"* {note.localized(lang)}" for note in self.notes)])

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with the probability, its interval and the flag added.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        """
        check_columns(data, ["school_id"], table="data")
        own = self.schools.set_index("school_id")
        keyed = data["school_id"].astype(str)
        names = ["probability_low_next_year", "prediction_low", "prediction_high"]
        added = data.assign(**{c: keyed.map(own[c]).to_numpy(dtype=float) for c in names})
        return added.assign(verdict_next_year=keyed.map(own["verdict"]).to_numpy(dtype=object))


def early_warning(
    counts: pd.DataFrame,
    *,
    rule: Criteria,
    year: int | None = None,
    shares: ShareDraws | None = None,
    schools: pd.DataFrame | None = None,
    losses: LossRule = SUPPORT,
    n_draws: int = 200,
    random_state: int = 0,
) -> EarlyWarningResults:
    r"""Return each school's probability of being on next year's list.

    Lasting failing shares of schools and procedures come from all years known
    (`stats.lists.share_posterior`); next year adds a drift of the region's procedures, a good or
    bad year of the school and chance in its number of participants, and the rule is applied to all
    that, given which procedures are low this year.  The probability of a past year is made from the
    years before it alone, and scored beside naive predictions.

    Parameters
    ----------
    counts : DataFrame
        ``school_id year procedure n_participants n_below_minimum``, at least two years.
    rule : Criteria
        "At least k procedures low", "one procedure low in two years", or both joined by ``any`` or
        ``all``: `Criteria.preset("low_results_2025_or")`.
    year : int, optional
        Last year to use, the last of the table by default; the year after it is predicted.
    shares : ShareDraws, optional
        Draws of long-run shares from another model.
    schools : DataFrame, optional
        ``school_id [year] [is_rural] [context_index]``: parts of the scores, and a feature of the
        challenger; the last year's row counts.
    losses : LossRule
        Flag where the probability reaches their threshold; a missed school costs twice a needless
        check by default, so that schools are flagged from 1/3 on.
    n_draws : int
        Draws of the lasting shares, at least 50.
    random_state : int
        Source of the draws.

    Returns
    -------
    EarlyWarningResults

    Raises
    ------
    DataError
        If counts are impossible, or hold fewer than two years or procedures.
    SpecificationError
        If the rule is of another form, or the year is not in the table.

    References
    ----------
    RasmussenWilliams2006 for the posterior; Cox1958, Brier1950 for the scores.
    """
    if n_draws < FEWEST_DRAWS:
        raise SpecificationError(
            text("list_null.draws", name="n_draws", value=n_draws, least=FEWEST_DRAWS)
        )
    form = federal_form(rule)
    whole = count_cube(counts, rule)
    last = whole.years[-1] if year is None else year
    if last not in whole.years:
        raise SpecificationError(text("history.origin", year=last, years=shorten(whole.years, 12)))
    cube = whole.until(last)
    rural, context = _of_schools(schools, cube)
    listed = yearly_verdicts(counts, rule, cube)
    now = predict(cube, form, shares=shares, n_draws=n_draws, random_state=random_state)
    past = rolling_origin(
        cube,
        form,
        listed,
        rural=rural,
        context=context,
        n_draws=n_draws,
        random_state=random_state,
    )
    scores = score_table(past.table)
    notes = [text("history.same_size"), *past.notes]
    if shares is not None:
        notes.append(text("history.given_draws"))
    return EarlyWarningResults(
        schools=_table(cube, now, listed[:, -1], losses, last),
        backtest=_worded(past.table),
        scores=scores,
        exits=_exits(now, listed[:, -1], random_state),
        rule=rule,
        threshold=losses.threshold,
        notes=tuple(notes),
    )


def _worded(backtest: pd.DataFrame) -> pd.DataFrame:
    words = [text(f"history.method_{m}") for m in backtest["method"]]
    return backtest.assign(method_name=pd.Series(words, index=backtest.index, dtype=object))


def _of_schools(
    schools: pd.DataFrame | None, cube: CountCube
) -> tuple[NDArray[np.object_], Floats | None]:
    """Return rurality (None where unknown) and context of each school."""
    nothing = np.full(len(cube.school_ids), None, dtype=object)
    if schools is None:
        return nothing, None
    check_columns(schools, ["school_id"], table="schools")
    own = schools.assign(school_id=ids_as_text(schools["school_id"]))
    if "year" in own.columns:
        own = own[own["year"] <= cube.years[-1]].sort_values("year")
        own = own.drop_duplicates("school_id", keep="last")
    check_unique(own, ["school_id"], table="schools")
    keyed = own.set_index("school_id").reindex(list(cube.school_ids))
    rural = nothing
    if "is_rural" in keyed.columns:
        rural = np.array(yes_or_no(keyed["is_rural"], "is_rural"), dtype=object)
    context = None
    if "context_index" in keyed.columns:
        check_numeric(keyed, ["context_index"], table="schools")
        context = keyed["context_index"].to_numpy(dtype=float)
        if not np.isfinite(context).any():
            raise DataError(text("history.no_context"))
        # a school without an index counts as an average one
        context = np.where(np.isfinite(context), context, np.nanmean(context))
    return rural, context


def _table(
    cube: CountCube, now: Prediction, listed: Floats, losses: LossRule, last: int
) -> pd.DataFrame:
    sat = cube.n[:, :, -1].sum(axis=1)
    verdict = np.where(now.probability >= losses.threshold, "yes", "no").astype(object)
    verdict[sat == 0] = "insufficient_data"
    word = np.where(listed == 1, "yes", np.where(listed == 0, "no", "insufficient_data"))
    reason = [text("history.nothing_sat") if n == 0 else "" for n in sat]

    def known(values: Floats) -> Floats:
        return np.where(sat > 0, values, np.nan)

    return pd.DataFrame(
        {
            "school_id": np.array(cube.school_ids, dtype=object),
            "year": last + 1,
            "probability_low_next_year": known(now.probability),
            "prediction_low": known(now.low),
            "prediction_high": known(now.high),
            "method": pd.Series([text("history.method_model")] * len(sat), dtype=object),
            "verdict": verdict,
            "verdict_now": word.astype(object),
            "n_procedures_low": now.low_now.sum(axis=1),
            "n_participants": sat,
            "reason": pd.Series(reason, dtype=object),
        }
    )


def _exits(now: Prediction, listed: Floats, random_state: int) -> pd.DataFrame:
    """Return how many of today's list the rule will not list next year, if nothing changes."""
    on, off = listed == 1, listed == 0
    rng = np.random.default_rng(random_state)
    stay = np.resize(now.draws[:, on], (max(2000, len(now.draws)), int(on.sum())))
    left = (rng.uniform(size=stay.shape) >= stay).sum(axis=1)
    low, high = np.quantile(left, [0.025, 0.975], method="inverted_cdf")
    return pd.DataFrame(
        {
            "n_listed": [int(on.sum())],
            "expected_exits": [float((1.0 - now.probability[on]).sum())],
            "exits_low": [int(low)],
            "exits_high": [int(high)],
            "expected_entries": [float(now.probability[off].sum())],
        }
    )
