"""Distances on the common scale of conditions: what must not change them, and brute force."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest

import resilience as rs

# Distances are of order 1 to 10; sums of a dozen squares in another order differ by rounding only.
EXACT = 1e-12

LEVELS = ["1-4", "1-9", "1-11"]
PARTS = ["edu_low", "edu_middle", "edu_high", "edu_unknown"]


def region(*, gaps: bool = False) -> pd.DataFrame:
    """Return sixty schools of two years with every kind of condition; empty parts among them."""
    generator = np.random.default_rng(20)
    n = 60
    parts = generator.dirichlet([2.0, 3.0, 4.0, 0.5], size=2 * n)
    pupils = generator.integers(9, 900, size=2 * n)
    counts = np.array([generator.multinomial(m, p) for m, p in zip(pupils, parts, strict=True)])
    frame = pd.DataFrame(
        {
            "school_id": [f"S{i:02d}" for i in range(n)] * 2,
            "year": [2023] * n + [2024] * n,
            "n_pupils": pupils,
            "remoteness_km": generator.gamma(1.5, 12.0, size=2 * n),
            "low_income": generator.binomial(pupils, generator.beta(2, 5, size=2 * n)) / pupils,
            "school_type": generator.choice(["village", "town", "boarding"], size=2 * n),
            "stage": [LEVELS[i] for i in generator.integers(0, 3, size=2 * n)],
        }
    )
    frame[PARTS] = counts / pupils[:, None]
    if gaps:
        for column, every in (("low_income", 9), ("remoteness_km", 11), ("school_type", 13)):
            frame.loc[frame.index % every == 0, column] = None
    return frame


def conditions(**changed: Any) -> rs.Conditions:
    """Return conditions of every kind, some of them replaced."""
    fields: dict[str, Any] = {
        "continuous": ["n_pupils", "remoteness_km"],
        "shares": ["low_income"],
        "compositions": {"education": PARTS},
        "nominal": ["school_type"],
        "ordinal": {"stage": LEVELS},
        "weights": {"low_income": 2.0, "education": 0.5},
    }
    return rs.Conditions(**{**fields, **changed})


def squared(scaled: rs.ScaledSchools) -> np.ndarray:
    """Return squared distances of all pairs of complete schools, difference by difference."""
    rows = scaled.weighted[scaled.complete]
    return np.asarray(((rows[:, None, :] - rows[None, :, :]) ** 2).sum(axis=2))


@pytest.fixture(scope="module")
def plain() -> rs.ScaledSchools:
    """Return the latest year on its scale."""
    return rs.scale_conditions(region(), conditions())


def test_the_region_has_something_to_lose(plain: rs.ScaledSchools) -> None:
    distances = squared(plain)
    off = ~np.eye(len(distances), dtype=bool)
    assert (region()[PARTS] == 0.0).to_numpy().any()  # empty parts are replaced, not avoided
    assert distances[off].min() > 1e-3
    assert distances.max() < 300.0


def test_the_order_of_variables_and_columns_changes_no_distance(plain: rs.ScaledSchools) -> None:
    turned = conditions(
        continuous=["remoteness_km", "n_pupils"],
        weights={"education": 0.5, "low_income": 2.0},
    )
    frame = region()
    other = rs.scale_conditions(frame[frame.columns[::-1]], turned)
    assert other.columns != plain.columns
    np.testing.assert_allclose(squared(other), squared(plain), rtol=0, atol=EXACT)


def test_the_order_of_the_parts_of_a_whole_changes_no_distance(plain: rs.ScaledSchools) -> None:
    for parts in list(permutations(PARTS))[1:]:
        other = rs.scale_conditions(region(), conditions(compositions={"education": list(parts)}))
        # another basis of log-ratios, the same geometry
        assert not np.allclose(other.z, plain.z)
        np.testing.assert_allclose(squared(other), squared(plain), rtol=0, atol=EXACT)


def test_names_of_nominal_levels_change_no_distance(plain: rs.ScaledSchools) -> None:
    frame = region()
    # the levels sort the other way round and the dummies change places
    names = {"village": "a", "town": "b", "boarding": "c"}
    frame["school_type"] = frame["school_type"].map(names)
    other = rs.scale_conditions(frame, conditions())
    np.testing.assert_allclose(squared(other), squared(plain), rtol=0, atol=EXACT)


def test_a_turned_ordinal_scale_changes_no_distance(plain: rs.ScaledSchools) -> None:
    other = rs.scale_conditions(region(), conditions(ordinal={"stage": LEVELS[::-1]}))
    np.testing.assert_allclose(squared(other), squared(plain), rtol=0, atol=EXACT)


def test_the_order_of_ordinal_levels_matters(plain: rs.ScaledSchools) -> None:
    # the counterpart: an order is information, so that the tests above are able to fail
    other = rs.scale_conditions(region(), conditions(ordinal={"stage": ["1-9", "1-4", "1-11"]}))
    assert np.abs(squared(other) - squared(plain)).max() > 0.1


def test_the_order_of_schools_changes_no_distance(plain: rs.ScaledSchools) -> None:
    frame = region()
    place = np.random.default_rng(3).permutation(len(frame))
    other = rs.scale_conditions(frame.iloc[place], conditions())
    by_id = [other.schools["school_id"].tolist().index(s) for s in plain.schools["school_id"]]
    turned = squared(other)[np.ix_(by_id, by_id)]
    np.testing.assert_allclose(turned, squared(plain), rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("continuous", "n_pupils"),
        ("shares", "low_income"),
        ("compositions", "education"),
        ("nominal", "school_type"),
        ("ordinal", "stage"),
    ],
)
def test_a_variable_twice_with_half_the_weight_is_one_variable(
    plain: rs.ScaledSchools, field: str, name: str
) -> None:
    frame = region()
    given = getattr(plain.conditions, field)
    weights = dict(plain.conditions.weights)
    weight = float(weights.get(name, 1.0))
    weights[name] = weights["again"] = weight / 2.0
    if field == "compositions":
        copies = [f"{part} again" for part in PARTS]
        frame[copies] = frame[PARTS]
        changed: Any = {**given, "again": copies}
    else:
        frame["again"] = frame[name]
        changed = (
            {**given, "again": given[name]} if isinstance(given, Mapping) else (*given, "again")
        )
    with pytest.warns(rs.WeakDataWarning, match="again") as said:
        other = rs.scale_conditions(frame, conditions(**{field: changed, "weights": weights}))
    assert said
    np.testing.assert_allclose(squared(other), squared(plain), rtol=0, atol=EXACT)


def test_log_ratios_keep_the_distance_of_centred_log_ratios() -> None:
    frame = region()
    frame = frame[frame["year"] == 2024].reset_index(drop=True)
    scaled = rs.scale_conditions(frame, rs.Conditions(compositions={"education": PARTS}))
    natural, pupils = frame[PARTS].to_numpy(), frame["n_pupils"].to_numpy(dtype=float)
    centred = np.empty_like(natural)
    for i, (row, n) in enumerate(zip(natural, pupils, strict=True)):
        parts = [0.5 / n if x == 0.0 else x for x in row]
        filled = sum(0.5 / n for x in row if x == 0.0)
        parts = [p if x == 0.0 else p * (1.0 - filled) for p, x in zip(parts, row, strict=True)]
        logs = np.log(parts)
        centred[i] = logs - logs.mean()
    total = float(((centred - centred.mean(axis=0)) ** 2).sum(axis=1).mean())
    wanted = ((centred[:, None, :] - centred[None, :, :]) ** 2).sum(axis=2) / total
    np.testing.assert_allclose(squared(scaled), wanted, rtol=0, atol=EXACT)
    # the block counts as one variable: two schools drawn with replacement differ by 2
    assert squared(scaled).mean() == pytest.approx(2.0, abs=EXACT)


def test_the_worked_composition_of_the_methods() -> None:
    """The example of the method: (0, .3, .5, .2) of forty pupils has an ilr norm of 2.8468."""
    from resilience.stats.clusters.mixed_scaling import closed_composition, isometric_logratio

    closed = closed_composition([[0.0, 0.3, 0.5, 0.2]], [40])
    np.testing.assert_allclose(closed, [[0.0125, 0.29625, 0.49375, 0.1975]], rtol=0, atol=EXACT)
    # four decimals are printed
    assert np.linalg.norm(isometric_logratio(closed)) == pytest.approx(2.8468, abs=5e-5)


def test_scaling_is_frozen_over_years() -> None:
    frame = region()
    first = rs.scale_conditions(frame, conditions(), year=2023)
    both = frame.copy()
    # the later year is another region altogether; on the frozen scale the same school would stand
    # where it stood
    later = both["year"] == 2024
    both.loc[later, "n_pupils"] *= 3
    kept = both.loc[later, "school_id"].isin(["S03", "S17", "S40"])
    rows = kept[kept].index
    both.loc[rows] = both.loc[rows - 60].assign(year=2024).set_index(rows)
    second = rs.scale_conditions(both, conditions(), year=2024, scaling=first.scaling)
    places = [3, 17, 40]
    np.testing.assert_array_equal(second.z[places], first.z[places])
    assert second.scaling is first.scaling
    pd.testing.assert_frame_equal(
        second.factors.drop(columns="n_missing"), first.factors.drop(columns="n_missing")
    )
    own = rs.scale_conditions(both, conditions(), year=2024)
    assert np.abs(own.z[places] - first.z[places]).max() > 0.1


def test_a_frozen_scale_is_that_of_any_subset_of_schools() -> None:
    frame = region()
    first = rs.scale_conditions(frame, conditions(), year=2024)
    some = frame[frame["school_id"] < "S20"]
    again = rs.scale_conditions(some, conditions(), year=2024, scaling=first.scaling)
    np.testing.assert_array_equal(again.values, first.z[:20])


def test_partial_distances_by_brute_force() -> None:
    frame = region(gaps=True)
    with pytest.warns(rs.WeakDataWarning, match="placed"):
        scaled = rs.scale_conditions(frame, conditions())
    assert 0 < (~scaled.complete).sum() < len(scaled.schools)
    points = np.random.default_rng(6).normal(size=(4, len(scaled.columns)))
    weights = {name: float(scaled.conditions.weights.get(name, 1.0)) for name in scaled.variables}
    wanted = np.empty((len(scaled.schools), len(points)))
    for i, row in enumerate(scaled.z):
        for h, point in enumerate(points):
            total, observed = 0.0, 0.0
            for variable in scaled.variables:
                own = [p for p, block in enumerate(scaled.blocks) if block == variable]
                if np.isnan(row[own]).any():
                    continue
                observed += weights[variable]
                root = np.sqrt(weights[variable])
                total += sum((root * row[p] - point[p]) ** 2 for p in own)
            wanted[i, h] = total * sum(weights.values()) / observed
    np.testing.assert_allclose(scaled.distances_to(points), wanted, rtol=0, atol=EXACT * 100)
    rows = np.array([0, 7, 31])
    some = scaled.distances_to(points, rows)
    np.testing.assert_allclose(some, wanted[rows], rtol=0, atol=EXACT * 100)


def test_a_school_of_which_nothing_is_known_has_no_distance() -> None:
    frame = region()
    frame["remoteness_km"] = frame["remoteness_km"].mask(frame["school_id"] == "S02")
    with pytest.warns(rs.WeakDataWarning, match="S02"):
        scaled = rs.scale_conditions(frame, rs.Conditions(continuous=["remoteness_km"]))
    distances = scaled.distances_to(np.zeros((1, 1)))
    assert np.isnan(distances[2, 0])
    assert np.isfinite(np.delete(distances[:, 0], 2)).all()


def test_two_random_schools_differ_by_their_quota_under_every_kind(
    plain: rs.ScaledSchools,
) -> None:
    """Brute force over all pairs with replacement: the derivation of the factors."""
    weights = {name: float(plain.conditions.weights.get(name, 1.0)) for name in plain.variables}
    wanted = {
        "n_pupils": 2.0,
        "remoteness_km": 2.0,
        "low_income": 2.0,
        "education": 2.0,
        "school_type": 1.0,
        "stage": 4.0 / 3.0,
    }
    blocks = np.array(plain.blocks)
    for name, quota in wanted.items():
        own = plain.weighted[:, blocks == name]
        mean = float(((own[:, None, :] - own[None, :, :]) ** 2).sum(axis=2).mean())
        held = np.abs(own).max() >= 3.0 - 1e-9 and name in ("n_pupils", "remoteness_km")
        # winsorising at three SDs takes away from a number's spread, and only from it
        slack = 0.1 if held else EXACT
        assert mean == pytest.approx(quota * weights[name], abs=slack), name
