"""Sensitivity of the context index to its weights: by hand, brute force, recovery, bad input."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from resilience.columns import column_names
from resilience.context import ContextIndex, ContextIndexResults
from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.i18n import text
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.sensitivity import plot_sensitivity

ITEMS = ("both_parents_higher_edu", "low_income", "single_parent")
POLICY = {"both_parents_higher_edu": 0.5, "low_income": -0.3, "single_parent": -0.2}


def region(n_schools: int = 40, n_years: int = 2, seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n_pupils = rng.integers(20, 300, n_schools)
    favour = rng.normal(size=n_schools)
    years = []
    for t in range(n_years):
        frame = pd.DataFrame(
            {
                "school_id": [f"S{i:02d}" for i in range(n_schools)],
                "year": 2023 + t,
                "n_pupils": n_pupils,
            }
        )
        for name, sign, start in zip(ITEMS, (1, -1, -1), (-0.5, -0.8, -1.0), strict=True):
            own = np.random.default_rng(seed + 10 + len(name)).normal(size=n_schools)
            chance = 1 / (1 + np.exp(-(start + sign * 0.6 * favour + 0.5 * own)))
            frame[name] = rng.binomial(n_pupils, chance) / n_pupils
        frame["mean_score"] = 0.4 * favour + rng.normal(size=n_schools) * 0.3
        years.append(frame)
    return pd.concat(years, ignore_index=True)


@pytest.fixture(scope="module")
def schools() -> pd.DataFrame:
    return region()


@pytest.fixture(scope="module")
def index(schools) -> ContextIndexResults:
    return ContextIndex.policy(POLICY).fit(schools)


@pytest.fixture(scope="module")
def crossed(schools) -> ContextIndexResults:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)
        return ContextIndex.supervised(
            ITEMS, outcome="mean_score", weights="cross_fitted", n_bootstrap=0
        ).fit(schools)


def signed_items(index: ContextIndexResults, schools: pd.DataFrame, year: int) -> np.ndarray:
    """Return the standardised items of a year from the printed tables alone."""
    own = schools[schools["year"] == year]
    return np.column_stack(
        [
            row.direction * (own[row.term] - row.base_mean) / row.base_sd
            for row in index.items.itertuples()
        ]
    )


# ---------------------------------------------------------------- by hand and by brute force


def test_four_schools_by_hand() -> None:
    # Education z = (-1.342, -.447, .447, 1.342), income z = (.447, -1.342, 1.342, -.447) (the
    # shares .1 .2 .3 .4 and .2 .4 .1 .3 of 100 pupils each).  Weights .9 and .1: c = (-1.163,
    # -.537, .537, 1.163), ranks 1 2 3 4.  Equal weights: (-.447, -.894, .894, .447), ranks 2 1 4 3;
    # without education: income alone, ranks 3 1 4 2.
    frame = pd.DataFrame(
        {
            "school_id": list("ABCD"),
            "year": 2024,
            "n_pupils": 100,
            "both_parents_higher_edu": [0.1, 0.2, 0.3, 0.4],
            "low_income": [0.2, 0.4, 0.1, 0.3],
        }
    )
    with pytest.warns(WeakDataWarning, match="4 schools"):
        index = ContextIndex.policy({"both_parents_higher_edu": 0.9, "low_income": -0.1}).fit(frame)
    found = index.sensitivity(n_draws=50, quantile=0.25)
    ranks = found.ranks.pivot_table(
        index="school_id", columns="index_variant", values="context_rank"
    )
    assert found.schools["context_rank"].tolist() == [1, 2, 3, 4]
    assert ranks["equal"].tolist() == [2, 1, 4, 3]
    assert ranks["without_both_parents_higher_edu"].tolist() == [3, 1, 4, 2]
    assert ranks["without_low_income"].tolist() == [1, 2, 3, 4]
    table = found.variants.set_index("index_variant")
    # Equal: every rank moves by one; 1 − 6·4/(4·15) = .6; the gate (lowest one) changes A for B.
    assert table.loc["equal", "mean_abs_rank_shift"] == 1.0
    assert table.loc["equal", "rank_correlation"] == pytest.approx(0.6)
    assert table.loc["equal", "n_gate_changes"] == 2
    # Education left out: shifts 2, 1, 1, 2; 1 − 6·10/60 = 0.
    assert table.loc["without_both_parents_higher_edu", "mean_abs_rank_shift"] == 1.5
    assert table.loc["without_both_parents_higher_edu", "rank_correlation"] == pytest.approx(0.0)
    # Weights that differ ninefold keep their order whatever a quarter of either does: A stays
    # lowest as long as .9·(.894) > .1·(1.789) times 1.25/.75.
    assert found.schools["gate_flip_share"].tolist() == [0, 0, 0, 0]
    assert found.schools["below_gate"].tolist() == [True, False, False, False]
    other = found.schools.set_index("school_id")["n_variants_other_side"]
    assert other["A"] == 2 + (ranks.loc["A", "pca"] > 1)


def test_ties_stand_on_one_side_of_the_gate() -> None:
    frame = pd.DataFrame(
        {
            "school_id": [f"S{i}" for i in range(8)],
            "year": 2024,
            "n_pupils": 50,
            "low_income": [0.7, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1],
        }
    )
    with pytest.warns(WeakDataWarning, match="8 schools"):
        index = ContextIndex.policy({"low_income": -1.0}).fit(frame)
    # Percentiles 1/16, then both of 2/8 = .25: exactly at the gate, and at or below it together.
    found = index.sensitivity(n_draws=5)
    assert found.schools["below_gate"].tolist() == [True] * 3 + [False] * 5
    just_below = index.sensitivity(n_draws=5, quantile=0.24).schools["below_gate"]
    assert just_below.tolist() == [True] + [False] * 7
    # A single item: there is nothing to leave out, and noise in its weight moves nothing.
    assert found.variants["index_variant"].tolist() == ["equal", "pca", "noise"]
    assert found.schools["mean_abs_rank_shift"].max() == 0.0


def test_noise_against_a_loop_over_the_printed_tables(index, schools) -> None:
    found = index.sensitivity(n_draws=150, spread=0.4, quantile=0.3, random_state=7)
    z = signed_items(index, schools, 2024)
    weights = index.weights["estimate"].to_numpy()
    factors = 1 + np.random.default_rng(7).uniform(-0.4, 0.4, (150, 3))
    here = rankdata(z @ weights)
    inside = (here - 0.5) / 40 <= 0.3
    shifts, flips, all_ranks = np.zeros(40), np.zeros(40), []
    for factor in factors:
        there = rankdata(z @ (weights * factor))
        shifts += np.abs(there - here) / 150
        flips += ((there - 0.5) / 40 <= 0.3) != inside
        all_ranks.append(there)
    table = found.schools
    np.testing.assert_array_equal(table["context_rank"], here)
    np.testing.assert_allclose(table["mean_abs_rank_shift"], shifts, atol=1e-5)  # kept as float32
    np.testing.assert_allclose(table["gate_flip_share"], flips / 150)
    low, high = np.quantile(all_ranks, (0.025, 0.975), axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(table["rank_noise_low"], low)
    np.testing.assert_array_equal(table["rank_noise_high"], high)
    last = found.variants.iloc[-1]
    assert last["index_variant"] == "noise"
    assert last["n_gate_changes"] == pytest.approx(flips.sum() / 150)
    error = np.sqrt(flips / 150 * (1 - flips / 150) / 150).max()
    assert found.glance().loc[0, "noise_error"] == pytest.approx(error)


def test_variants_equal_separate_fits(index, schools) -> None:
    found = index.sensitivity(n_draws=2)
    ranks = found.ranks.pivot_table(
        index="school_id", columns="index_variant", values="context_rank"
    )
    fits = {
        "equal": ContextIndex.equal(ITEMS),
        "pca": ContextIndex.pca(ITEMS),
        "without_low_income": ContextIndex.policy(
            {k: v for k, v in POLICY.items() if k != "low_income"}
        ),
    }
    for code, model in fits.items():
        scores = model.fit(schools).scores
        values = scores.loc[scores["year"] == 2024, "context_index"]
        np.testing.assert_array_equal(ranks[code], rankdata(values), err_msg=code)


def test_other_indices_stand_beside_as_variants(index, crossed) -> None:
    found = index.sensitivity(n_draws=2, others={"supervised": crossed})
    own = found.ranks[found.ranks["index_variant"] == "supervised"]
    values = crossed.scores.loc[crossed.scores["year"] == 2024, "context_index"]
    np.testing.assert_array_equal(own["context_rank"], rankdata(values))
    row = found.variants.set_index("index_variant").loc["supervised"]
    assert row["index_variant_title"] == crossed.index_kind
    same = index.sensitivity(n_draws=2, others={"itself": index}).variants
    itself = same.set_index("index_variant").loc["itself"]
    assert itself["mean_abs_rank_shift"] == 0
    assert itself["n_gate_changes"] == 0
    assert itself["rank_correlation"] == pytest.approx(1.0)


def test_cross_fitted_weights_keep_their_folds(crossed) -> None:
    """Without noise the draws are the published index, fold by fold and anchor by anchor."""
    found = crossed.sensitivity(n_draws=4, spread=0.0)
    assert found.schools["mean_abs_rank_shift"].max() == 0.0
    assert found.schools["gate_flip_share"].max() == 0.0


def test_missing_passports(schools) -> None:
    gappy = schools.copy()
    gappy.loc[40, "low_income"] = np.nan  # S00 in 2024 keeps .7 of the weights
    index = ContextIndex.policy(POLICY).fit(gappy)
    found = index.sensitivity(n_draws=20)
    assert len(found.schools) == 40
    own = found.ranks[found.ranks["school_id"] == "S00"].set_index("index_variant")
    # Without education S00 reports .2 of .5: too little; without income it reports everything.
    assert np.isnan(own.loc["without_both_parents_higher_edu", "context_rank"])
    assert own.loc["without_both_parents_higher_edu", "other_side"] is pd.NA
    assert own.loc["without_low_income", "context_rank"] >= 1
    n = found.variants.set_index("index_variant")["n_schools"]
    assert n["without_both_parents_higher_edu"] == 39
    assert n["without_low_income"] == 40


def test_noise_shrinks_with_its_spread_and_repeats_with_its_seed(index) -> None:
    shifts = [
        index.sensitivity(n_draws=200, spread=s).glance().loc[0, "mean_abs_rank_shift"]
        for s in (0.0, 0.1, 0.25, 0.5)
    ]
    assert shifts == sorted(shifts)
    assert shifts[0] == 0.0
    first, second = (index.sensitivity(n_draws=50) for _ in range(2))
    pd.testing.assert_frame_equal(first.schools, second.schools)
    moved = index.sensitivity(n_draws=50, random_state=1).schools
    assert not moved["mean_abs_rank_shift"].equals(first.schools["mean_abs_rank_shift"])


def test_share_of_draws_is_a_share_of_an_integral(index, schools) -> None:
    """The share of flips of one school equals the volume of weights that flip it."""
    many = index.sensitivity(n_draws=4000, random_state=3).schools["gate_flip_share"].to_numpy()
    z = signed_items(index, schools, 2024)
    weights = index.weights["estimate"].to_numpy()
    grid = 0.75 + (np.arange(24) + 0.5) / 48
    here = (rankdata(z @ weights) - 0.5) / 40 <= 0.25
    volume = np.zeros(40)
    for factor in np.stack(np.meshgrid(grid, grid, grid), -1).reshape(-1, 3):
        volume += ((rankdata(z @ (weights * factor)) - 0.5) / 40 <= 0.25) != here
    volume /= grid.size**3
    error = np.sqrt(volume * (1 - volume) / 4000)
    # Four standard errors of 4,000 draws, and a cell of the grid at the edge of the volume.
    assert (np.abs(many - volume) <= 4 * error + 1 / 24).all()
    assert many.max() > 0.02  # someone does stand near the gate


# ---------------------------------------------------------------- the results and their figure


def test_tables_words_and_copies(index) -> None:
    found = index.sensitivity(n_draws=30)
    for table in (found.tidy(), found.glance(), found.schools, found.ranks):
        assert set(table.columns) <= set(column_names())
    assert len(found.glance()) == 1
    english, russian = found.summary(), found.summary("ru")
    assert "Sensitivity of the context index" in english
    assert "Чувствительность" in russian
    assert "published weights without «Low-income families»" in english
    assert "опубликованные веса без показателя «Малообеспеченные семьи»" in russian
    assert "nan" not in english + russian
    assert json.loads(json.dumps(found.to_dict(), ensure_ascii=False))["year"] == 2024
    keys = index.scores[["school_id", "year"]].iloc[::-1]
    added = found.augment(keys)
    assert list(added.index) == list(keys.index)
    assert added.loc[added["year"] == 2023, "context_rank"].isna().all()
    assert added.loc[added["year"] == 2024, "context_rank"].notna().all()
    assert len(found.augment(keys[["school_id"]].drop_duplicates())) == 40
    with pytest.raises(SpecificationError, match="context_rank"):
        found.augment(added)


def test_the_items_behind_an_index_are_frozen(index) -> None:
    with pytest.raises(ValueError, match="read-only"):
        index.item_scores.signed[0, 0] = 0.0
    earlier = index.sensitivity(n_draws=5, year=2023)
    assert earlier.year == 2023
    assert earlier.schools["year"].unique().tolist() == [2023]


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_the_figure_shows_the_schools_nearest_the_gate(index, lang) -> None:
    found = index.sensitivity(n_draws=200)
    ax = plot_sensitivity(found, most=12, lang=lang)
    ticks = [t.get_text() for t in ax.get_yticklabels()]
    ranks = found.schools.set_index("school_id")["context_rank"]
    nearest = (ranks - 10.5).abs().sort_values(kind="stable").index[:12]
    assert ticks == list(ranks[nearest].sort_values().index)
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert text("context.plot_variants").localized(lang) in labels
    assert text("context.plot_gate", share="25").localized(lang) in labels
    assert figure_bytes(ax, "png", dpi=40)[:4] == b"\x89PNG"
    with pytest.raises(SpecificationError, match="schools"):
        plot_sensitivity(object())
    with pytest.raises(SpecificationError, match="quantile"):
        plot_sensitivity(found.schools)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_draws": 0}, "n_draws"),
        ({"n_draws": True}, "n_draws"),
        ({"n_draws": 10.5}, "n_draws"),
        ({"spread": 1.5}, "spread"),
        ({"spread": -0.1}, "spread"),
        ({"spread": 25}, "spread"),
        ({"quantile": 25}, "quantile"),
        ({"quantile": 0.0}, "quantile"),
        ({"quantile": 1.0}, "quantile"),
        ({"random_state": -1}, "random_state"),
        ({"year": 2020}, "2020"),
    ],
)
def test_arguments_out_of_range(index, options, words) -> None:
    with pytest.raises(SpecificationError, match=words) as caught:
        index.sensitivity(**options)
    assert any("а" <= letter <= "я" for letter in caught.value.args[0].ru)


def test_an_index_of_other_schools_is_refused(index, schools) -> None:
    strangers = schools.assign(school_id="T" + schools["school_id"])
    with pytest.raises(DataError, match="only 0 of the schools"):
        index.sensitivity(n_draws=2, others={"other": ContextIndex.policy(POLICY).fit(strangers)})


def test_too_few_schools_for_ranks(schools) -> None:
    two = schools[schools["school_id"].isin(["S00", "S01"])]
    with pytest.warns(WeakDataWarning, match="2 schools"):
        index = ContextIndex.policy({"low_income": -1.0}).fit(two)
    with pytest.raises(DataError, match="only 2 schools"):
        index.sensitivity()
