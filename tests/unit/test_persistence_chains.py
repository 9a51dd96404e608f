"""Differences of three reports about teachers."""

from __future__ import annotations

import pytest

from resilience.data.simulation.classrooms import simulate_classrooms
from resilience.errors import PolicyError
from resilience.validation import check_differencing
from resilience.value_added.persistence import PersistenceModel
from resilience.value_added.persistence.differencing import check_chains


def test_three_reports_leave_two_teachers():
    whole, first, second = set(range(12)), set(range(5)), set(range(5, 10))
    for earlier, later in ((whole, first), (whole, second), (first, second)):
        check_differencing([earlier], [later], 5)
        check_chains([[earlier], [later]], 5)
    with pytest.raises(PolicyError, match="about 2 teachers"):
        check_chains([[whole], [first], [second]], 5)


def test_chains_that_leave_none_or_enough_pass():
    whole, first, second = set(range(15)), set(range(5)), set(range(5, 10))
    check_chains([[whole], [first], [second]], 5)
    check_chains([[whole], [first], [second], [set(range(10, 15))]], 5)
    # cells of one report are not taken from one another: years hold the same teachers
    check_chains([[whole, set(range(12))]], 5)


def test_reports_of_a_fit_are_held_against_all_earlier_ones():
    made = simulate_classrooms(240, class_size=20, n_years=2, n_schools=1, random_state=1)
    number = {key: k for k, key in enumerate(sorted(set(made.links["teacher_id"])))}
    place = made.links["teacher_id"].map(number)
    links = made.links.assign(
        whole=(place < 12).astype(int),
        first=(place < 5).astype(int),
        second=place.between(5, 9).astype(int),
    )
    results = PersistenceModel("score ~ prior_score").fit(made.rows, links)
    results.group_report("whole")
    results.group_report("first")
    with pytest.raises(PolicyError, match="about 2 teachers"):
        results.group_report("second")
