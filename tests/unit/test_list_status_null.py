"""Lists against no change, comparison of lists, figures, and bad input of the room of history."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.detection.history.compare_lists import compare_lists
from resilience.detection.history.status import list_status
from resilience.detection.rules.criteria import Criteria
from resilience.detection.verdicts.detect import detect_schools
from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.i18n import text
from resilience.plotting.status import plot_durations, plot_early_warning, plot_status
from resilience.stats.regression_to_mean import list_null


def region(
    seed: int = 0, *, schools: int = 177, years: int = 4, listed: int = 46, effect: float = 0.0
) -> pd.DataFrame:
    """Return scores and lists of the lowest; from the second year on the listed gain ``effect``."""
    rng = np.random.default_rng(seed)
    n = rng.integers(6, 121, size=schools)
    u = np.sqrt(0.62) * rng.normal(size=schools)
    rows, on = [], np.zeros(schools, dtype=bool)
    for t in range(years):
        y = u + np.sqrt(0.05 + 6.0 / n) * rng.normal(size=schools) + effect * on
        on = y <= np.sort(y)[listed - 1]
        rows += [
            (f"S{j:03d}", 2020 + t, y[j], 6.0 / n[j], "yes" if on[j] else "no")
            for j in range(schools)
        ]
    names = ["school_id", "year", "score", "sampling_variance", "verdict"]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture(scope="module")
def table():
    return region()


@pytest.fixture(scope="module")
def status(table):
    return list_status(table[["school_id", "year", "verdict"]])


@pytest.fixture(scope="module")
def null(table, status):
    return status.against_null(table, positive_dynamics="sign", n_draws=1000)


def test_observed_and_null_stand_side_by_side(table, null):
    wide = null.side_by_side
    assert wide["year"].tolist() == [2021, 2022, 2023]
    assert (wide["n_listed"] == 46).all()
    y = table.pivot_table(index="school_id", columns="year", values="score")
    on = table.assign(on=table["verdict"] == "yes").pivot_table(
        index="school_id", columns="year", values="on"
    )
    centred = y - y.mean()
    unit = np.sqrt((centred**2).to_numpy().mean())
    first = on[2020] == 1
    gain = ((centred[2021] - centred[2020]) / unit)[first]
    row = wide.iloc[0]
    assert row["leave_observed"] == pytest.approx(1 - on[2021][first].mean())
    assert row["gain_observed"] == pytest.approx(gain.mean())
    assert row["positive_dynamics_observed"] == pytest.approx((gain > 0).mean())
    for name in ("leave", "gain", "positive_dynamics"):
        inside = wide[f"{name}_null_low"] <= wide[f"{name}_null"]
        assert (inside & (wide[f"{name}_null"] <= wide[f"{name}_null_high"])).all()
        excess = wide[f"{name}_observed"] - wide[f"{name}_null"]
        assert excess.to_numpy() == pytest.approx(wide[f"{name}_excess"].to_numpy())


def test_no_change_is_not_called_a_change():
    """8 regions where nothing happens: the band misses the exits in about 5 % of pairs.

    Of 24 pairs 1.2 are expected; three standard errors add 3.2.
    """
    outside = 0
    for seed in range(8):
        table = region(seed)
        status = list_status(table[["school_id", "year", "verdict"]])
        found = status.against_null(table, positive_dynamics="sign", n_draws=200).side_by_side
        left = found["leave_observed"]
        outside += int(((left < found["leave_null_low"]) | (left > found["leave_null_high"])).sum())
    assert outside <= 4


def test_a_strong_effect_shows():
    """Listed schools gain 1.2 SD: far outside the band of chance."""
    table = region(3, effect=1.2)
    status = list_status(table[["school_id", "year", "verdict"]])
    found = status.against_null(
        table.drop(columns="sampling_variance"), positive_dynamics="sign", r=0.7, n_draws=1000
    ).comparison
    gain = found[(found["quantity"] == "gain") & (found["year"] == 2021)].iloc[0]
    assert gain["excess"] > 0.5
    assert gain["p_value"] < 0.01


def test_given_correlation_agrees_with_the_closed_form(table, status):
    """Given this year's scores the null differs from the closed form by the list's own draw."""
    found = status.against_null(table, positive_dynamics=0.2, r=0.62, n_draws=1000).comparison
    exact = list_null(46 / 177, 0.62, points=0.2)
    rows = found.set_index(["year", "quantity"])
    assert rows.loc[(2021, "leave"), "null_closed_form"] == pytest.approx(float(exact.leave))
    assert rows.loc[(2021, "positive_dynamics"), "null_closed_form"] == pytest.approx(
        float(exact.positive_dynamics)
    )
    assert set(found["null_basis"]) == {"given"}
    mean = found[found["quantity"] == "leave"]["null_value"].mean()
    assert mean == pytest.approx(float(exact.leave), abs=0.05)  # 46 schools: SE .07 a year


def test_correlation_is_estimated_over_all_schools(table, status):
    """Near the mean correlation of the three pairs of years, inside its bootstrap interval."""
    plain = status.against_null(
        table.drop(columns="sampling_variance"), positive_dynamics="sign", n_draws=200
    ).comparison.iloc[0]
    own = status.against_null(table, positive_dynamics="sign", n_draws=200).comparison.iloc[0]
    y = table.pivot_table(index="school_id", columns="year", values="score").to_numpy()
    lag = np.mean([np.corrcoef(y[:, t], y[:, t + 1])[0, 1] for t in range(3)])
    assert plain["year_correlation"] == pytest.approx(lag, abs=0.03)
    assert plain["year_correlation_low"] < lag < plain["year_correlation_high"]
    assert own["year_correlation"] == pytest.approx(lag, abs=0.15)


def test_too_few_years_without_a_programme(table, status):
    """Nothing to learn from: three assumed persistences are printed."""
    found = status.against_null(
        table,
        positive_dynamics="sign",
        programme_years=(2020, 2021, 2022, 2023),
        n_draws=200,
    )
    rows = found.comparison
    assert set(rows["null_basis"]) == {"assumed"}
    assert sorted(rows["year_correlation"].unique()) == [0.35, 0.50, 0.75]
    assert any("assumed" in note for note in found.notes)


def test_a_list_on_another_score():
    """A list drawn on an unrelated part of the score: about half gain, not three quarters."""
    rng = np.random.default_rng(5)
    u, n = rng.normal(size=(400, 1)), 3
    y = 0.8 * u + 0.6 * rng.normal(size=(400, n))
    other = 0.6 * u + 0.8 * rng.normal(size=(400, n))
    rows = pd.DataFrame(
        {
            "school_id": np.repeat([f"S{k:03d}" for k in range(400)], n),
            "year": np.tile(np.arange(2020, 2020 + n), 400),
            "score": y.ravel(),
            "share_passed": other.ravel(),
        }
    )
    lowest = rows.groupby("year")["share_passed"].rank() <= 104
    rows["verdict"] = np.where(lowest, "yes", "no")
    status = list_status(rows[["school_id", "year", "verdict"]])
    with pytest.raises(DataError, match="not what the list was drawn on"):
        status.against_null(rows, positive_dynamics="sign")
    found = status.against_null(
        rows, positive_dynamics="sign", assignment="share_passed", n_draws=1000
    ).comparison
    share = found[found["quantity"] == "positive_dynamics"]
    # a = b = .48: nothing regresses, so that half gain
    assert (share["null_value"] - 0.5).abs().max() < 0.06
    assert (share["observed"] - 0.5).abs().max() < 4 * 0.05
    assert (share["null_closed_form"] - 0.5).abs().max() < 0.06


def test_a_short_list_gets_a_band_alone():
    table = region(7, schools=60, listed=8)
    status = list_status(table[["school_id", "year", "verdict"]])
    found = status.against_null(table, positive_dynamics="sign", n_draws=200)
    assert found.comparison[["null_value", "excess", "p_value"]].isna().all().all()
    assert found.comparison[["observed", "null_low", "null_high"]].notna().all().all()
    assert any("no point claim" in note for note in found.notes)


def test_a_new_rule_is_not_compared(table):
    status = list_status(
        table[["school_id", "year", "verdict"]],
        rule_versions={2020: "a", 2021: "a", 2022: "b", 2023: "b"},
    )
    found = status.against_null(table, positive_dynamics="sign", n_draws=200).comparison
    assert sorted(found["year"].unique()) == [2021, 2023]


@pytest.mark.parametrize("rule", ["points", -0.1, True, np.inf])
def test_positive_dynamics_must_be_a_rule(table, status, rule):
    with pytest.raises(SpecificationError, match="positive_dynamics"):
        status.against_null(table, positive_dynamics=rule)


@pytest.mark.parametrize("r", [-0.1, 1.0, 62])
def test_correlation_must_be_one(table, status, r):
    with pytest.raises(SpecificationError, match="correlation of two years"):
        status.against_null(table, positive_dynamics="sign", r=r)


def test_results_that_do_not_last(table, status):
    turned = table.assign(score=table["score"] * np.where(table["year"] % 2 == 0, 1, -1))
    with pytest.raises(DataError, match="over all schools is -"):
        status.against_null(turned.drop(columns="sampling_variance"), positive_dynamics="sign")


def test_standardised_scores_and_few_schools_warn(table, status):
    z = table.groupby("year")["score"].transform(lambda s: (s - s.mean()) / s.std(ddof=0))
    with pytest.warns(WeakDataWarning, match="mean 0 and SD 1"):
        status.against_null(table.assign(score=z), positive_dynamics="sign", n_draws=100)
    small = region(8, schools=30, listed=10)
    own = list_status(small[["school_id", "year", "verdict"]])
    with pytest.warns(WeakDataWarning, match="30 schools"):
        own.against_null(small, positive_dynamics="sign", n_draws=100)


def test_a_list_over_half(table):
    most = table.assign(verdict=np.where(table.groupby("year")["score"].rank() <= 100, "yes", "no"))
    status = list_status(most[["school_id", "year", "verdict"]])
    with pytest.raises(SpecificationError, match="at most half"):
        status.against_null(most, positive_dynamics="sign")


def test_durations_beside_chance(status):
    found = status.durations_against_null(0.62)
    assert found["null_hazard"].between(0, 1).all()
    seen = found[found["spell_kind"] == "observed_entry"]["null_hazard"].to_numpy()
    assert (np.diff(seen) < 0).all()


def test_hazard_model_and_corrected_chain(table):
    many = region(9, schools=400, years=6, listed=104)
    status = list_status(many[["school_id", "year", "verdict"]])
    size = pd.DataFrame({"school_id": many["school_id"].unique(), "n_pupils": np.arange(400.0)})
    found = status.hazard_model(size)
    assert found["term"].tolist()[-1] == "n_pupils"
    assert set(found.columns) <= set(column_names())
    with pytest.raises(DataError, match="covariates are missing"):
        status.hazard_model(size.head(10))
    chain = status.corrected(many, n_bootstrap=20).set_index("transition")
    assert chain.loc["leave", "corrected"] < chain.loc["leave", "observed"]
    assert chain.loc["leave", "corrected_low"] <= chain.loc["leave", "corrected"]
    assert set(chain.columns) <= set(column_names())


def test_tables_stand_in_the_glossary(table, status, null):
    known = set(column_names())
    for frame in (
        status.tidy(),
        status.glance(),
        status.transitions,
        status.list_changes,
        status.durations_against_null(0.6),
        status.mergers,
        null.tidy(),
        null.glance(),
        null.side_by_side,
    ):
        assert set(frame.columns) <= known, set(frame.columns) - known
    for result in (status, null):
        assert "nan" not in result.summary("ru").lower()
        assert result.summary() != result.summary("ru")
    joined = status.augment(table[["school_id", "year"]])
    expected = table[["school_id", "year"]].merge(status.statuses, how="left")
    assert joined["status"].tolist() == expected["status"].tolist()
    assert null.augment(pd.DataFrame({"year": [2020, 2021]}))["leave_null"].isna().tolist() == [
        True,
        False,
    ]


def counts_of(shares: dict[str, tuple[int, int]]) -> pd.DataFrame:
    rows = [
        (school, 2024 + t, name, 20, fails[t])
        for school, fails in shares.items()
        for t in range(2)
        for name in ("ВПР-5-МА", "ВПР-5-РУ")
    ]
    names = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture(scope="module")
def verdicts():
    counts = counts_of({f"S{k:02d}": (9, 9) if k < 4 else (1, 1) for k in range(22)})
    rule = Criteria.preset("low_results_2025_and")
    return {y: detect_schools(None, None, rule.amend(year=y), counts=counts) for y in (2025,)}


def test_computed_list_against_agreed_list(verdicts):
    """K0-9: every difference with its reason; nothing is judged."""
    agreed = pd.DataFrame(
        {
            "school_id": ["S00", "S01", "S09", "S99", "S03"],
            "agreed": [True, True, True, True, False],
            "agreed_reason": ["", "", "fire in 2025", "", "new head"],
        }
    )
    found = compare_lists(verdicts[2025], agreed)
    rows = found.schools.set_index("school_id")
    assert rows["list_difference"].to_dict() == {
        "S00": "in_both",
        "S01": "in_both",
        "S02": "computed_only",
        "S03": "computed_only",
        "S09": "agreed_only",
        "S99": "agreed_only",
    }
    assert rows.loc["S03", "agreed_reason"] == "new head"
    assert "does not list" in rows.loc["S09", "difference_reason"]
    assert "none of the tables" in rows.loc["S99", "difference_reason"]
    assert (found.differences["difference_reason"] != "").all()
    assert found.glance().iloc[0].to_dict() == {
        "n_computed": 4,
        "n_agreed": 4,
        "n_in_both": 2,
        "n_computed_only": 2,
        "n_agreed_only": 2,
        "list_jaccard": pytest.approx(2 / 6),
    }
    assert set(found.tidy().columns) | set(found.glance().columns) <= set(column_names())
    assert "только в расчётном" in found.summary("ru")
    joined = found.augment(pd.DataFrame({"school_id": ["S00", "S20"]}))
    assert joined["list_difference"].isna().tolist() == [False, True]


def test_agreed_list_of_ids(verdicts):
    found = compare_lists(verdicts[2025], ["S00", "S01", "S02", "S03"])
    assert len(found.differences) == 0
    with pytest.raises(SpecificationError, match="several ids"):
        compare_lists(verdicts[2025], "S00")
    with pytest.raises(DataError, match="school_id"):
        compare_lists(verdicts[2025], ["S00", "S00"])


def test_results_by_year_carry_their_rule(verdicts):
    found = list_status(verdicts)
    assert found.rule_versions == {2025: "low_results_2025_and 2025-12"}
    assert (found.statuses["status"] == "entered").sum() == 4
    with pytest.raises(SpecificationError, match="detect_schools"):
        list_status({2025: "a list"})


def test_verdicts_must_be_whole(status, table):
    rows = table[["school_id", "year", "verdict"]]
    with pytest.raises(DataError, match="'maybe'"):
        list_status(rows.assign(verdict="maybe"))
    with pytest.raises(DataError, match="no whole number"):
        list_status(rows.assign(year=2020.5))
    with pytest.raises(DataError, match="repeats"):
        list_status(pd.concat([rows, rows.head(1)]))
    with pytest.raises(DataError, match="circle"):
        list_status(rows, successors={"S001": "S002", "S002": "S001"})
    with pytest.raises(SpecificationError, match="2031"):
        list_status(rows, rule_versions={2031: "b"})
    two = pd.concat([rows.assign(rule_id="a"), rows.assign(rule_id="b")])
    with pytest.raises(SpecificationError, match="rule_id"):
        list_status(two)
    assert len(list_status(two, rule_id="a").statuses) == len(rows)
    with pytest.raises(DataError, match="no verdicts of rule c"):
        list_status(two, rule_id="c")
    with pytest.raises(DataError, match="already has a column"):
        status.augment(status.statuses)


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_flow_counts_every_school(status, lang):
    ax = plot_status(status, lang=lang)
    numbers = [int(t.get_text()) for t in ax.texts]
    assert sum(numbers) == 4 * 177
    assert ax.get_ylabel() == text("history.plot_schools").localized(lang)
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert text("verdicts.confirmed").localized(lang) in labels
    hazards = plot_durations(status, 0.62, lang=lang)
    assert len(hazards.lines) >= 2


def test_flow_needs_two_years(table):
    one = table[table["year"] == 2020][["school_id", "year", "verdict"]]
    with pytest.raises(SpecificationError, match="at least two"):
        plot_status(list_status(one))


def test_calibration_needs_a_past():
    class Nothing:
        calibration = pd.DataFrame()

    with pytest.raises(SpecificationError, match="no past year"):
        plot_early_warning(Nothing())
