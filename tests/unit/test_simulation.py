"""The simulated region: totals, tables, scales, reproducibility, independence of tables."""

from __future__ import annotations

import importlib.util
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.data.catalogue import load_dataset
from resilience.data.scales import scale_table
from resilience.data.simulation import (
    Assessment,
    Indicator,
    MarkInflation,
    Network,
    PupilIntake,
    SchoolEffects,
    SocialPassport,
    simulate_region,
)
from resilience.data.simulation.effects import split_variance
from resilience.data.simulation.parameters import OUR_CHOICE
from resilience.data.simulation.procedures import counted_procedures, make_procedure
from resilience.data.simulation.pupils import Population, _move_over_borders
from resilience.data.simulation.region import RegionParameters, simulate_tables
from resilience.data.simulation.streams import STREAMS, Streams
from resilience.references import reference

DATASET = Path(__file__).parents[2] / "datasets" / "north_region"
PASSPORT = [indicator.name for indicator in SocialPassport().indicators]


@pytest.fixture(scope="module")
def region():
    return simulate_region()


def parameters(**groups) -> RegionParameters:
    usual = {
        "network": Network(n_schools=30, n_rural=20, n_municipalities=4, n_selective=2),
        "intake": PupilIntake(),
        "effects": SchoolEffects(),
        "assessment": Assessment(),
        "inflation": MarkInflation(),
        "passport": SocialPassport(),
    }
    return RegionParameters(**(usual | groups))


def tables(random_state: int = 7, further=None, **groups):
    return simulate_tables(parameters(**groups), Streams(random_state=random_state), further)


def same(left: pd.DataFrame, right: pd.DataFrame) -> bool:
    return left.reset_index(drop=True).equals(right.reset_index(drop=True))


# Totals of the order of 2020 (DOMAIN K0-1, K0-2, K0-10).


def test_totals_are_those_of_the_order_of_2020(region) -> None:
    one_year = region.schools.query("year == 2025")
    assert len(one_year) == 177
    assert int(one_year["is_rural"].sum()) == 123
    assert int((~one_year["is_rural"]).sum()) == 54
    assert one_year["municipality_id"].nunique() == 11
    assert region.schools["year"].unique().tolist() == [2022, 2023, 2024, 2025]
    assert not one_year.query("is_selective")["is_rural"].any()
    assert not one_year.query("is_small and not is_rural").size


def test_cohorts_run_from_3_to_120_and_small_rural_ones_dominate(region) -> None:
    cohorts = region.pupils.query("subject == 'РУ'").groupby(["school_id", "year"]).size()
    assert (cohorts.min(), cohorts.max()) == (3, 120)
    assert (cohorts <= 20).mean() > 0.5
    rural = region.schools.set_index(["school_id", "year"])["is_rural"].reindex(cohorts.index)
    assert cohorts[rural].median() < 16 < 40 < cohorts[~rural].median()


def test_nine_year_schools_have_no_upper_levels(region) -> None:
    schools = region.schools
    nine = schools["school_type"] == "ООШ"
    assert (schools.loc[nine, "levels"] == "1-4, 5-9").all()
    assert (schools.loc[~nine, "levels"] == "1-4, 5-9, 10-11").all()
    # a quarter of 123 rural schools
    assert int(nine.sum()) == 4 * round(0.25 * 123)


def test_names_are_invented_places_and_unique(region) -> None:
    names = region.schools.query("year == 2022")["name"]
    assert names.is_unique
    assert names.str.fullmatch(r"(СОШ|ООШ|лицей|гимназия) № \d+ (г|с)\. [А-Яа-яё]+").all()


# Tables


def test_every_column_stands_in_the_glossary(region) -> None:
    known = set(column_names())
    for frame in [*region.frames.values(), *region.truth.values()]:
        assert set(frame.columns) <= known
        assert not frame.isna().any().any()


def test_keys_are_unique(region) -> None:
    for table, key in {
        "schools": ["school_id", "year"],
        "pupils": ["pupil_key", "subject"],
        "counts": ["school_id", "year", "procedure"],
        "score_histograms": ["school_id", "year", "procedure", "score"],
        "procedures": ["procedure", "year"],
    }.items():
        assert not region.frames[table].duplicated(key).any(), table


def test_procedures_and_the_last_of_may(region) -> None:
    calendar = region.procedures.query("year == 2025").set_index("procedure")["available_from"]
    by_31_may = calendar[calendar <= "2025-05-31"].index.tolist()
    assert by_31_may == [f"ВПР-{grade}-{s}" for grade in (5, 6, 7, 8) for s in ("РУ", "МА")]
    assert calendar["ОГЭ-РУ"] == calendar["ОГЭ-МА"] == "2025-07-01"
    assert set(calendar.index) == set(region.counts["procedure"])


def test_marks_add_up_to_participants(region) -> None:
    counts = region.counts
    assert (counts[["n_2", "n_3", "n_4", "n_5"]].sum(axis=1) == counts["n_participants"]).all()
    assert (counts["n_below_minimum"] == counts["n_2"]).all()
    assert (counts["n_participants"] >= 1).all()


def test_histograms_agree_with_counts(region) -> None:
    histograms = region.score_histograms
    for procedure in counted_procedures(Assessment()):
        cells = histograms[histograms["procedure"] == procedure.name]
        assert cells["score"].between(0, procedure.scale.maximum).all()
        mark = procedure.scale.band_of(cells["score"])
        by_band = cells.assign(mark=mark).pivot_table(
            index=["year", "school_id"], columns="mark", values="n_pupils", aggfunc="sum"
        )
        counts = region.counts[region.counts["procedure"] == procedure.name]
        counts = counts.set_index(["year", "school_id"]).sort_index()
        by_band = by_band.reindex(columns=[2, 3, 4, 5]).fillna(0).sort_index().astype(int)
        assert (by_band.sum(axis=1) == counts["n_participants"]).all()
        if procedure.name == "ОГЭ-МА":  # geometry only takes marks away
            assert (counts["n_2"] >= by_band[2]).all()
            assert counts["n_2"].sum() > by_band[2].sum()
        elif procedure.name == "ОГЭ-РУ":  # literacy lowers 4 and 5, never to 2
            assert (counts["n_2"] == by_band[2]).all()
            assert counts["n_5"].sum() < by_band[5].sum()
        else:
            assert (counts[["n_2", "n_3", "n_4", "n_5"]].to_numpy() == by_band.to_numpy()).all()


def test_oge_counts_are_the_pupils_of_the_table(region) -> None:
    cells = region.score_histograms.query("procedure == 'ОГЭ-МА'")
    pupils = region.pupils.query("subject == 'МА'")
    counted = pupils.groupby(["year", "school_id", "score"]).size()
    listed = cells.set_index(["year", "school_id", "score"])["n_pupils"]
    assert counted.sort_index().equals(listed.sort_index())


def test_scores_of_pupils_lie_on_their_scales(region) -> None:
    for subject, most, prior in (("РУ", 33, 38), ("МА", 31, 20)):
        pupils = region.pupils[region.pupils["subject"] == subject]
        assert pupils["score"].between(0, most).all()
        assert pupils["prior_score"].between(0, prior).all()
        assert pupils[["score", "prior_score"]].dtypes.eq("int64").all()


def test_mean_score_by_hand(region) -> None:
    pupils = region.pupils.query("year == 2023")
    school = pupils["school_id"].iloc[0]
    means = []
    for _, rows in pupils.groupby("subject"):
        scores = rows["score"].to_numpy(dtype=float)
        own = scores[(rows["school_id"] == school).to_numpy()]
        means.append((own.mean() - scores.mean()) / scores.std())
    shown = region.schools.query("year == 2023 and school_id == @school")["mean_score"].item()
    assert shown == round(sum(means) / 2, 4)


def test_passport_shares_are_counts_over_the_roll(region) -> None:
    schools = region.schools
    for name in PASSPORT:
        counted = schools[name] * schools["n_pupils"]
        # shares are printed with four decimals, rolls stay below 1500
        assert (counted - counted.round()).abs().max() < 1500 * 0.00005 + 1e-9
        assert schools[name].between(0, 1).all()


def test_vpr_of_a_grade_follows_its_cohort(region) -> None:
    # ОГЭ of 2025 and ВПР-8 of 2024 are sat by one cohort: at most its pupils take part.
    of_2025 = region.counts.query("year == 2025 and procedure == 'ОГЭ-РУ'")
    of_2024 = region.counts.query("year == 2024 and procedure == 'ВПР-8-РУ'")
    both = of_2025.merge(of_2024, on="school_id", suffixes=("", "_vpr"))
    assert (both["n_participants_vpr"] <= both["n_participants"]).all()
    share = both["n_participants_vpr"].sum() / both["n_participants"].sum()
    # 4 standard errors of a binomial share of about 4900 pupils around .95
    assert abs(share - 0.95) < 4 * np.sqrt(0.95 * 0.05 / both["n_participants"].sum())


# Tests and marks by hand


def test_the_map_puts_the_regional_shares_at_the_borders() -> None:
    procedure = make_procedure(Assessment(vpr_below_mathematics=0.10), "МА", 5)
    # ends of «2» and «4» are 6 and 14: Φ⁻¹(.10) at 6.5 and Φ⁻¹(.88) at 14.5
    assert procedure.spread == pytest.approx(8 / (1.2815515655 + 1.1749867921), rel=1e-9)
    assert procedure.centre == pytest.approx(6.5 + 1.2815515655 * procedure.spread, rel=1e-9)
    assert procedure.share_below(np.array(0.0), 1.0) == pytest.approx(0.10, abs=1e-12)
    assert procedure.raw_scores(np.array([-50.0, 0.0, 50.0])).tolist() == [0, 11, 20]


def test_share_below_counts_the_geometry_condition() -> None:
    procedure = make_procedure(Assessment(), "МА", 9)
    drawn = np.random.default_rng(3)
    raw = procedure.raw_scores(0.3 + 0.9 * drawn.standard_normal(200_000))
    marks = procedure.scale.mark_of(raw, geometry=procedure.part_points(raw, drawn))
    exact = float(procedure.share_below(np.array(0.3), 0.9))
    assert abs((marks == 2).mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / 200_000)
    assert exact > float(np.mean(raw <= 7))


def test_moving_over_borders_by_hand() -> None:
    procedure = make_procedure(Assessment(), "МА", 5)  # borders 7, 11, 15
    raw = np.array([4, 5, 6, 7, 9, 10, 14, 6])
    kind = np.array([True] * 7 + [False])
    lot = np.array([0.0, 0.0, 0.59, 0.0, 0.61, 0.1, 0.1, 0.0])
    landing = np.array([0.9, 0.1, 0.9, 0.9, 0.9, 0.4, 0.5, 0.1])
    moved = _move_over_borders(raw, procedure, MarkInflation(), kind, lot, landing)
    assert moved.tolist() == [4, 7, 8, 7, 9, 11, 16, 6]


def test_variances_sum_to_one() -> None:
    intake, effects = PupilIntake(), SchoolEffects()
    parts = split_variance(intake, effects)
    assert parts.context + parts.school + parts.pupil == pytest.approx(1, abs=1e-12)
    assert parts.context == pytest.approx(0.25**2 * 0.7 + 0.65**2 * 0.3, abs=1e-12)
    assert parts.school == pytest.approx(0.2**2 + 0.08**2 + 0.1**2 + 0.07**2, abs=1e-12)
    lasting = parts.ability + parts.subject_ability
    assert lasting / parts.pupil == pytest.approx(0.70, abs=1e-12)
    assert parts.ability / lasting == pytest.approx(0.75, abs=1e-12)


# The truth


def test_definitions_of_the_truth(region) -> None:
    truth = region.truth["schools"].set_index("school_id")
    shares = region.truth["shares"].pivot_table(
        index="school_id", columns="procedure", values="true_share_below"
    )
    assert shares.shape == (177, 10)
    low = (shares >= 0.30).sum(axis=1) >= 2
    assert (low.reindex(truth.index) == truth["true_low"]).all()
    adverse = truth["true_index"] <= truth["true_index"].quantile(0.25)
    better = truth["persistent_effect"] > 0.6744897501960817 * 0.20
    assert ((adverse & better) == truth["true_resilient"]).all()
    assert truth["true_index"].mean() == pytest.approx(50, abs=1e-5)
    assert truth["true_index"].std(ddof=0) == pytest.approx(10, abs=1e-5)
    assert int(truth["inflated"].sum()) == round(0.10 * 177)
    selective = region.schools.query("year == 2022 and is_selective")["school_id"]
    assert not truth.loc[selective, "inflated"].any()


def test_truth_has_every_parameter_with_a_source() -> None:
    shown = simulate_region(passport=SocialPassport(), random_state=1).truth["parameters"]
    names = set(shown["parameter"])
    for group in (Network(), PupilIntake(), SchoolEffects(), Assessment(), MarkInflation()):
        for entry in fields(group):
            assert f"{type(group).__name__}.{entry.name}" in names
            assert entry.metadata["source"]
    assert "SocialPassport.indicators.single_parent.share" in names
    for source in shown["parameter_source"].unique():
        assert source == OUR_CHOICE or reference(source).citation


def test_boosted_schools_are_all_resilient() -> None:
    truth = tables(effects=SchoolEffects(boosted_share=1.0)).truth["schools"]
    adverse = truth["true_index"] <= truth["true_index"].quantile(0.25)
    assert (truth["true_resilient"] == adverse).all()
    plain = tables().truth["schools"]
    assert (
        truth.loc[~adverse, "persistent_effect"] == plain.loc[~adverse, "persistent_effect"]
    ).all()
    # the order of the boosted schools is kept
    assert (
        truth.loc[adverse, "persistent_effect"].rank()
        == plain.loc[adverse, "persistent_effect"].rank()
    ).all()


# Reproducibility and independence of tables


def test_one_seed_gives_one_region() -> None:
    first, again, other = tables(), tables(), tables(random_state=8)
    for name in first.frames:
        assert same(first.frames[name], again.frames[name])
    assert not same(first.frames["pupils"], other.frames["pupils"])


def test_the_register_of_streams_is_for_ever() -> None:
    # A renumbered stream would change shipped data: append only.
    assert list(STREAMS) == [
        "network",
        "cohorts",
        "context",
        "intake",
        "persistent_effects",
        "transient_effects",
        "procedure_effects",
        "abilities",
        "occasions",
        "parts",
        "participation",
        "passports",
        "inflation",
        "teacher_waves",
        "support_programme",
        "classes",
    ]
    assert list(STREAMS.values()) == list(range(16))
    first = Streams(random_state=5).generator("intake", 2024).random()
    child = np.random.SeedSequence(5, spawn_key=(3, 2024))
    assert first == np.random.default_rng(child).random()


def test_a_further_table_changes_no_other() -> None:
    def waves(population: Population, streams: Streams) -> pd.DataFrame:
        drawn = streams.generator("teacher_waves").standard_normal(population.schools.n_schools)
        return pd.DataFrame({"school_id": population.schools.school_id, "score": drawn})

    plain, richer = tables(), tables(further={"teacher_waves": waves})
    assert list(richer.frames) == [*plain.frames, "teacher_waves"]
    for name in plain.frames:
        assert same(plain.frames[name], richer.frames[name])
    for name in plain.truth:
        assert same(plain.truth[name], richer.truth[name])


def test_a_further_year_changes_no_earlier_one() -> None:
    short = tables(network=replace(parameters().network, n_years=3))
    long = tables(network=replace(parameters().network, n_years=4))
    for name, frame in short.frames.items():
        assert same(frame, long.frames[name].query("year <= 2024")), name
    assert same(short.truth["schools"], long.truth["schools"])


def test_inflation_changes_vpr_and_nothing_else() -> None:
    plain, honest = tables(), tables(inflation=MarkInflation(school_share=0))
    assert same(plain.frames["schools"], honest.frames["schools"])
    kept = ["pupil_key", "school_id", "score", "ses"]
    assert same(plain.frames["pupils"][kept], honest.frames["pupils"][kept])
    oge = "procedure.str.startswith('ОГЭ')"
    assert same(plain.frames["counts"].query(oge), honest.frames["counts"].query(oge))
    assert not same(plain.frames["counts"], honest.frames["counts"])
    # schools that do not inflate keep their ВПР
    truth = plain.truth["schools"]
    others = truth.loc[~truth["inflated"], "school_id"]
    for name in ("counts", "pupils"):
        left, right = plain.frames[name], honest.frames[name]
        assert same(left[left["school_id"].isin(others)], right[right["school_id"].isin(others)])
    assert not honest.truth["schools"]["inflated"].any()


def test_fewer_procedures_or_lines_leave_the_others_alone() -> None:
    full, fewer = tables(), tables(assessment=Assessment(vpr_grades=(6,)))
    kept = fewer.frames["counts"]["procedure"].unique()
    assert kept.tolist() == ["ВПР-6-РУ", "ВПР-6-МА", "ОГЭ-РУ", "ОГЭ-МА"]
    left = full.frames["counts"]
    assert same(left[left["procedure"].isin(kept)], fewer.frames["counts"])
    one = SocialPassport(indicators=(Indicator(name="low_income", share=0.25, loading=-0.60),))
    assert same(
        tables(passport=one).frames["schools"]["low_income"].to_frame(),
        full.frames["schools"]["low_income"].to_frame(),
    )


def test_prior_of_a_counted_grade_is_the_counted_result() -> None:
    # With full participation, ВПР-8 of 2024 in the histogram is the prior of the cohort of 2025.
    found = tables(assessment=Assessment(prior_grade=8, participation=1))
    cells = found.frames["score_histograms"].query("year == 2024 and procedure == 'ВПР-8-РУ'")
    prior = found.frames["pupils"].query("year == 2025 and subject == 'РУ'")
    counted = prior.groupby(["school_id", "prior_score"]).size()
    assert (
        counted.to_numpy() == cells.set_index(["school_id", "score"])["n_pupils"].sort_index()
    ).all()


@pytest.mark.parametrize(
    "network",
    [
        Network(n_schools=4, n_rural=0, n_municipalities=4, n_selective=0),
        Network(n_schools=5, n_rural=5, n_municipalities=5, n_selective=0, n_years=1),
        Network(n_schools=6, n_rural=3, n_municipalities=1, n_selective=3),
    ],
)
def test_tiny_networks(network: Network) -> None:
    found = tables(network=network)
    schools = found.frames["schools"].query("year == 2022")
    assert len(schools) == network.n_schools
    assert schools["municipality_id"].nunique() == network.n_municipalities
    assert int(schools["is_rural"].sum()) == network.n_rural


# The data set that ships


def test_the_shipped_region_is_the_simulated_one() -> None:
    spec = importlib.util.spec_from_file_location("make_north_region", DATASET / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    manifest = tomllib.loads((DATASET / "dataset.toml").read_text(encoding="utf-8"))
    simulated, shipped = make.simulate(manifest["parameters"]), load_dataset("north_region")
    assert list(simulated.frames) == list(shipped.frames)
    assert list(simulated.truth) == list(shipped.truth)
    for name, frame in simulated.frames.items():
        pd.testing.assert_frame_equal(frame, shipped.frames[name], check_exact=True)
    for name, frame in simulated.truth.items():
        pd.testing.assert_frame_equal(frame, shipped.truth[name], check_exact=True)


def test_the_shipped_files_are_small() -> None:
    assert sum(path.stat().st_size for path in DATASET.glob("*.xz")) < 1_200_000


def test_scales_are_the_declared_ones() -> None:
    for procedure in counted_procedures(Assessment()):
        year = 2021 if procedure.is_vpr else 2023
        own = scale_table(procedure.exam, procedure.subject, grade=procedure.grade, year=year)
        assert procedure.scale == own
