"""What refits need stands in every fit where it is small, and parameters have one name."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

import resilience as rs
from resilience.data.batches.opening import open_source
from resilience.value_added.effects.bootstrap import part_of_name
from resilience.value_added.intake import small_blocks


@pytest.fixture(scope="module")
def pupils():
    rng = np.random.default_rng(3)
    n, J = 1500, 25
    school, year = rng.integers(0, J, n), rng.integers(2020, 2025, n)
    prior = rng.normal(size=n)
    drift = 0.5 * rng.normal(size=(J, 5))
    for k in range(1, 5):
        drift[:, k] = 0.6 * drift[:, k - 1] + 0.8 * drift[:, k]
    score = 0.6 * prior + 0.4 * rng.normal(size=J)[school] + drift[school, year - 2020]
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "prior_score": prior,
            "score": score + rng.normal(size=n),
        }
    )


@pytest.fixture(scope="module")
def file(pupils, tmp_path_factory):
    path = tmp_path_factory.mktemp("pupils") / "pupils.parquet"
    pupils.to_parquet(path)
    return path


def model(drift=None):
    return rs.ValueAddedModel(
        "score ~ prior_score",
        group="school_id",
        time="year",
        structure=rs.Structure(drift=drift),
    )


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return function(*arguments, **options)


@pytest.mark.parametrize("drift", [None, "ar1", "unstructured"])
def test_files_and_frames_keep_the_blocks_of_a_table(pupils, file, drift):
    one = quiet(model(drift).fit, pupils)
    for source in (file, str(file), pl.from_pandas(pupils)):
        other = quiet(model(drift).fit, source)
        assert other.cross.blocks.level == one.cross.blocks.level
        left = [quiet(va.influence, ["S03", "S11"]).schools for va in (one, other)]
        for name in ("cook_distance", "effect_without"):
            # a refit stops where a step promises less than 1e-9 of deviance
            np.testing.assert_allclose(left[0][name], left[1][name], atol=1e-4)
        assert (left[0]["reason"] == "").all()
        assert (left[0]["cook_distance"] > 0).all()


def test_rows_decide_before_the_pass(pupils, file, monkeypatch):
    """The limit lies at 1500 blocks of half a symmetric matrix of doubles."""
    columns = 4  # ones, prior_score, year, score
    longer = rs.ValueAddedModel("score ~ prior_score + year", group="school_id")
    limit = 1500 * 4 * columns * (columns + 1)
    monkeypatch.setattr(small_blocks, "SMALL", limit)
    assert quiet(longer.fit, file).cross.blocks is not None
    monkeypatch.setattr(small_blocks, "SMALL", limit - 1)
    va = quiet(longer.fit, file)
    assert va.cross.blocks is None
    with pytest.raises(rs.SpecificationError, match=r'cross_products\(data, keep="groups"\)') as no:
        va.influence(["S03"])
    assert "every row" in str(no.value)
    assert "каждая строка" in no.value.localized("ru")
    asked = quiet(longer.fit, longer.cross_products(file, keep="groups"))
    assert len(quiet(asked.influence, ["S03"]).schools) == 1


def test_where_rows_are_not_known_beforehand_nothing_is_kept(pupils):
    chunks = [pupils.iloc[:700], pupils.iloc[700:]]
    assert quiet(model().fit, chunks).cross.blocks is None
    assert quiet(model().fit, pl.from_pandas(pupils).lazy()).cross.blocks is None
    assert open_source(pl.from_pandas(pupils)).n_rows == 1500
    assert open_source(pl.from_pandas(pupils).lazy()).n_rows is None


def joint(linked):
    rng = np.random.default_rng(8)
    n, subjects = 300, ["МА", "РУ, письменно", "ОБ"]
    ties = np.linalg.cholesky([[1.0, 0.4, 0.2], [0.4, 0.8, 0.3], [0.2, 0.3, 1.2]])
    school = np.arange(n) % 15
    effects = rng.normal(size=(15, 3)) @ (0.5 * ties.T)
    score = effects[school] + rng.normal(size=(n, 3)) @ ties.T
    data = pd.DataFrame(
        {
            "pupil_key": np.repeat(np.arange(n), 3),
            "school_id": np.repeat([f"S{k:02d}" for k in school], 3),
            "subject": np.tile(subjects, n),
            "score": score.ravel(),
        }
    )
    unit = "pupil_key" if linked else None
    structure = rs.Structure(outcome_group="subject", unit=unit)
    formula = "score ~ C(subject)"
    own = rs.ValueAddedModel(formula, group="school_id", structure=structure)
    return quiet(own.fit, data if linked else data.drop(columns="pupil_key"))


@pytest.mark.parametrize("linked", [True, False])
def test_residuals_of_subjects_have_the_names_of_the_table_of_variances(linked):
    va = joint(linked)
    table = va.variance_components
    known = set(table["group"] + " " + table["term"])
    intervals = quiet(va.variance_intervals)
    spreads = intervals[intervals["component"] == "std_dev"]
    assert set(spreads["group"] + " " + spreads["term"]) <= known
    own = spreads[spreads["group"] == "residual"].set_index("term")["estimate"]
    shown = table[table["group"] == "residual"].set_index("term")["std_dev"].dropna()
    assert list(own.index) == ["subject=МА", "subject=ОБ", "subject=РУ, письменно"]
    np.testing.assert_allclose(own, shown, rtol=1e-10)
    ties = intervals[intervals["component"] == "correlation"]
    assert "subject=МА × subject=РУ, письменно" in set(
        ties.loc[ties["group"] != "residual", "term"]
    )
    assert sorted(ties.loc[ties["group"] == "residual", "term"]) == (
        [
            "subject=МА × subject=ОБ",
            "subject=МА × subject=РУ, письменно",
            "subject=ОБ × subject=РУ, письменно",
        ]
        if linked
        else []
    )
    if linked:
        found = ties[ties["group"] == "residual"].set_index("term")["estimate"]
        rows = table[table["group"] == "residual"].set_index("term")["correlation"]
        last = "subject=ОБ × subject=РУ, письменно"
        assert found[last] == pytest.approx(rows[last], rel=1e-8)
        assert found["subject=МА × subject=ОБ"] == pytest.approx(rows["subject=ОБ"], rel=1e-8)


def test_a_comma_inside_brackets_is_part_of_a_term():
    both = "correlation[Intercept, poly(prior_score, 2)[1]]"
    assert part_of_name(both) == ("Intercept × poly(prior_score, 2)[1]", "correlation")
    both = "correlation[C(kind)[T.a, b], poly(prior_score, 2)[1]]"
    assert part_of_name(both)[0] == "C(kind)[T.a, b] × poly(prior_score, 2)[1]"
    assert part_of_name("std_dev[poly(prior_score, 2)[1]]")[0] == "poly(prior_score, 2)[1]"
    assert part_of_name("correlation") == ("", "correlation")
