"""Accuracy of expectations: brute force on a small table."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from resilience.clustering.comparison.accuracy import accuracy_of, cross_validated
from resilience.clustering.comparison.by_metric import neighbour_accuracy
from resilience.clustering.conditions.scaled import scale_conditions
from resilience.clustering.conditions.specification import Conditions
from resilience.columns import column_names
from resilience.errors import DataError, SpecificationError

N = 120
CONDITIONS = Conditions(continuous={"first": "linear", "second": "linear"})


def schools() -> pd.DataFrame:
    generator = np.random.default_rng(3)
    first, second, noise = generator.normal(size=(3, N))
    result = first + 0.3 * second + 0.4 * noise
    base = pd.DataFrame(
        {
            "school_id": [f"S{i:03d}" for i in range(N)],
            "first": first,
            "second": second,
            "mean_score": result,
            "year": 2024,
        }
    )
    later = result + 5.0 + 0.2 * generator.normal(size=N)
    return pd.concat([base, base.assign(year=2025, mean_score=later)], ignore_index=True)


SCHOOLS = schools()


def nearest(weights: tuple[float, float], year: int = 2024) -> SimpleNamespace:
    """Return neighbours in the shape of `StatisticalNeighbours.fit`, by brute force."""
    scaled = scale_conditions(SCHOOLS, CONDITIONS, year=year)
    z = np.asarray(scaled.values) * np.sqrt(weights)
    ids = scaled.schools["school_id"].tolist()
    rows, quality = [], []
    for j, own in enumerate(ids):
        distance = np.sqrt(((z - z[j]) ** 2).sum(axis=1))
        order = [i for i in np.argsort(distance, kind="stable") if i != j and distance[i] < 0.8]
        quality.append((own, "ok" if len(order) > 4 else "insufficient_data", ""))
        rows += [(own, ids[i], 1.0) for i in order[:15]]
    return SimpleNamespace(
        scaled=scaled,
        neighbours=pd.DataFrame(rows, columns=["school_id", "neighbour_id", "weight"]),
        quality=pd.DataFrame(quality, columns=["school_id", "verdict", "reason"]),
    )


EQUAL, FIRST = nearest((0.5, 0.5)), nearest((0.9, 0.1))


@pytest.fixture(scope="module")
def found():
    return accuracy_of(SCHOOLS, {"equal": EQUAL, "first": FIRST}, next_year=2025)


def test_expectation_of_neighbours_by_hand(found):
    y = SCHOOLS[SCHOOLS["year"] == 2024].set_index("school_id")["mean_score"]
    own = found.predictions.set_index("school_id")["equal"]
    poor = EQUAL.quality.loc[EQUAL.quality["verdict"] != "ok", "school_id"]
    assert len(poor)
    assert not set(poor) & set(own.index)
    for school in own.index[::9]:
        near = EQUAL.neighbours.loc[EQUAL.neighbours["school_id"] == school, "neighbour_id"]
        assert own[school] == pytest.approx(y[near].mean())


def test_accuracy_is_that_of_the_predictions(found):
    own = found.predictions
    row = found.table.query("expectation_by == 'equal' and predicted_year == 2024").iloc[0]
    error = own["observed"] - own["equal"]
    assert row["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    r2 = 1 - (error**2).sum() / ((own["observed"] - own["observed"].mean()) ** 2).sum()
    assert row["expectation_r2"] == pytest.approx(r2)
    assert row["n_schools"] == len(own)


def test_next_year_is_judged_off_the_mean_change(found):
    later = SCHOOLS[SCHOOLS["year"] == 2025].set_index("school_id")["mean_score"]
    own = found.predictions.set_index("school_id")
    after = later[own.index]
    shift = (after - own["observed"]).mean()
    row = found.table.query("expectation_by == 'regression' and predicted_year == 2025").iloc[0]
    error = after - own["regression"] - shift
    assert row["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    last = found.table.query("expectation_by == 'last_result'").iloc[0]
    assert last["rmse"] == pytest.approx(np.std(after - own["observed"]))


def test_regression_never_sees_the_school_it_predicts():
    generator = np.random.default_rng(1)
    z = generator.normal(size=(60, 2))
    y = z[:, 0] + generator.normal(size=60)
    stratum = np.repeat(["a", "b"], 30)
    base = cross_validated(z, y, stratum, n_folds=30, seed=0)
    for j in (3, 41):
        changed = y.copy()
        changed[j] += 100.0
        again = cross_validated(z, changed, stratum, n_folds=30, seed=0)
        assert again[j] == pytest.approx(base[j])
        # nor do schools of the other stratum
        other = stratum != stratum[j]
        assert again[other] == pytest.approx(base[other])
    # leave-one-out by hand
    rest = [i for i in range(30) if i != 3]
    design = np.column_stack([np.ones(29), z[rest]])
    slopes = np.linalg.lstsq(design, y[rest], rcond=None)[0]
    assert base[3] == pytest.approx(slopes[0] + z[3] @ slopes[1:])


def test_results_keep_the_contract(found):
    assert set(found.tidy().columns) <= set(column_names())
    assert set(found.glance().columns) <= set(column_names())
    again = pickle.loads(pickle.dumps(found))
    assert json.dumps(found.to_dict()) == json.dumps(again.to_dict())
    assert "собственный прошлый результат" in found.summary("ru")
    added = found.augment(SCHOOLS[SCHOOLS["year"] == 2024])
    assert "expected: equal" in added.columns


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"neighbours": {}}, SpecificationError, "at least one metric"),
        ({"neighbours": {"equal": 3}}, SpecificationError, "what StatisticalNeighbours"),
        ({"neighbours": {"regression": EQUAL}}, SpecificationError, "'regression'"),
        ({"neighbours": {"a": EQUAL, "b": nearest((1, 1), 2025)}}, DataError, "neighbours 'b'"),
        ({"outcome": "nothing"}, DataError, "nothing"),
        ({"next_year": 2026}, DataError, "2026"),
        ({"next_year": 2024}, SpecificationError, "must follow"),
        ({"n_folds": 1}, SpecificationError, "n_folds"),
        ({"schools": SCHOOLS.drop(columns="year")}, DataError, "year"),
        ({"schools": pd.concat([SCHOOLS, SCHOOLS.iloc[:1]])}, DataError, "S000"),
        ({"schools": SCHOOLS.iloc[:20]}, DataError, "30 are needed to measure accuracy"),
    ],
)
def test_bad_arguments(arguments, error, match):
    own = {"schools": SCHOOLS, "neighbours": {"equal": EQUAL}, **arguments}
    with pytest.raises(error, match=match):
        accuracy_of(own.pop("schools"), own.pop("neighbours"), **own)


def test_every_metric_is_fitted_to_the_year_before():
    found = neighbour_accuracy(SCHOOLS, CONDITIONS, next_year=2025)
    assert found.year == 2024
    assert found.table["expectation_by"].tolist() == [
        *("equal", "supervised", "mahalanobis", "regression"),
        *("equal", "supervised", "mahalanobis", "regression", "last_result"),
    ]
    own = accuracy_of(SCHOOLS, {"equal": EQUAL})
    row, hand = (t.table.query("expectation_by == 'equal'").iloc[0] for t in (found, own))
    # another caliper in the stand-in: close, not equal
    assert row["expectation_r2"] == pytest.approx(hand["expectation_r2"], abs=0.05)
    latest = neighbour_accuracy(SCHOOLS, CONDITIONS, metrics=["equal"])
    assert latest.year == 2025


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"metrics": []}, SpecificationError, "at least one metric"),
        ({"metrics": ["euclid"]}, SpecificationError, "euclid"),
        ({"outcome": "nothing"}, DataError, "nothing"),
        ({"next_year": 2026}, DataError, "2026"),
        ({"year": 2023}, DataError, "2023"),
        ({"year": 2025, "next_year": 2025}, SpecificationError, "must follow"),
        ({"next_year": 2024}, SpecificationError, "must follow"),
        ({"conditions": ["first"]}, SpecificationError, "conditions"),
    ],
)
def test_bad_arguments_of_all_metrics(arguments, error, match):
    own = {"conditions": CONDITIONS, **arguments}
    with pytest.raises(error, match=match):
        neighbour_accuracy(SCHOOLS, own.pop("conditions"), **own)
