"""The region's marks by class: sums, sizes, one class for all years, nothing else moved."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.data.catalogue import load_dataset
from resilience.data.mark_cells import read_mark_cells
from resilience.data.simulation import (
    Assessment,
    MarkInflation,
    Network,
    PupilIntake,
    SchoolEffects,
    SocialPassport,
    simulate_class_counts,
    simulate_region,
)
from resilience.data.simulation.classes import _classes, _label
from resilience.data.simulation.region import RegionParameters, draw_population
from resilience.data.simulation.streams import Streams

NETWORK = Network(n_schools=30, n_rural=20, n_municipalities=4, n_selective=2, n_years=2)
KEY = ["school_id", "year", "procedure"]
NUMBERS = ["n_participants", "n_2", "n_3", "n_4", "n_5", "n_below_minimum"]


@pytest.fixture(scope="module")
def classes():
    return simulate_class_counts(random_state=7, network=NETWORK)


@pytest.fixture(scope="module")
def counts():
    return simulate_region(random_state=7, network=NETWORK).counts


def population():
    parameters = RegionParameters(
        network=NETWORK,
        intake=PupilIntake(),
        effects=SchoolEffects(),
        assessment=Assessment(),
        inflation=MarkInflation(),
        passport=SocialPassport(),
    )
    return draw_population(parameters, Streams(random_state=7))


def test_classes_sum_to_the_counts_of_the_region(classes, counts):
    summed = classes.groupby(KEY, sort=False)[NUMBERS].sum().reset_index()
    pd.testing.assert_frame_equal(summed, counts, check_exact=True)


def test_classes_of_the_shipped_region_sum_to_its_counts():
    shipped = load_dataset("north_region").counts
    summed = simulate_class_counts().groupby(KEY, sort=False)[NUMBERS].sum().reset_index()
    pd.testing.assert_frame_equal(summed, shipped, check_exact=True, check_dtype=False)


def test_the_shipped_region_is_the_one_of_the_defaults():
    # what the test above rests on
    folder = Path(__file__).parents[2] / "datasets" / "north_region"
    manifest = tomllib.loads((folder / "dataset.toml").read_text(encoding="utf-8"))
    assert manifest["parameters"]["random_state"] == 2020
    assert Network(**manifest["parameters"]["network"]) == Network()


def test_classes_are_as_small_as_asked_for(classes):
    assert list(classes) == [*KEY, "class_label", *NUMBERS]
    assert set(classes) <= set(column_names())
    assert classes["n_participants"].min() >= 1
    assert classes["n_participants"].max() <= 25
    assert not classes.duplicated([*KEY, "class_label"]).any()
    tiny = simulate_class_counts(random_state=7, network=NETWORK, largest=6)
    assert tiny["n_participants"].max() <= 6
    assert len(tiny) > len(classes)


def test_pupils_are_in_classes_of_nearly_equal_size():
    cohort = population().cohort(2022)
    number = _classes(cohort, 25)
    frame = pd.DataFrame({"school": cohort.school, "number": number})
    sizes = frame.groupby(["school", "number"]).size()
    spread = sizes.groupby("school").agg(["min", "max", "sum", "count"])
    assert ((spread["max"] - spread["min"]) <= 1).all()
    assert (spread["count"] == np.ceil(spread["sum"] / 25)).all()
    assert spread["count"].max() > 1


def test_a_class_stays_together_through_the_grades(classes):
    # The class of a grade and the next one a year later: as many letters, nobody moves schools.
    five = classes.query("procedure == 'ВПР-5-РУ' and year == 2022")
    six = classes.query("procedure == 'ВПР-6-РУ' and year == 2023")
    letters = [
        frame.assign(letter=frame["class_label"].str[-1]).groupby("school_id")["letter"].agg(set)
        for frame in (five, six)
    ]
    assert (letters[0] == letters[1]).all()
    assert five["class_label"].str.fullmatch("5[А-Я]").all()
    assert six["class_label"].str.fullmatch("6[А-Я]").all()


def test_one_seed_gives_one_table(classes):
    again = simulate_class_counts(random_state=7, network=NETWORK)
    pd.testing.assert_frame_equal(classes, again, check_exact=True)
    other = simulate_class_counts(random_state=8, network=NETWORK)
    assert not other.equals(classes)


def test_letters_begin_again_behind_the_alphabet():
    assert [_label(9, k) for k in (0, 27, 28, 57)] == ["9А", "9Я", "9А2", "9Б3"]


def test_the_reader_of_marks_sums_classes_back(classes, counts):
    cells = read_mark_cells(classes, classes="class_label", participants="n_participants")
    whole = read_mark_cells(counts, participants="n_participants")
    assert (cells.counts == whole.counts).all()
    assert (cells.frame[KEY] == whole.frame[KEY]).all(axis=None)
