"""A comparison takes the tables that a fit takes, and says what to do with anything else."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import resilience as rs


@pytest.fixture(scope="module")
def pupils():
    rng = np.random.default_rng(2)
    n, J = 800, 20
    school = rng.permutation(np.r_[np.arange(J), rng.integers(0, J, n - J)])
    kind = np.array(["rural", "gymnasium", "town"])[np.r_[0, rng.integers(0, 3, n - 1)]]
    prior = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "kind": kind,
            "prior_score": prior,
            "csem": rng.uniform(0.1, 0.2, size=n),
            "score": 0.6 * prior + 0.3 * (kind == "town") + 0.4 * rng.normal(size=J)[school],
        }
    )
    frame["score"] += rng.normal(size=n)
    frame.loc[3:12, "prior_score"] = np.nan
    return frame


def specifications():
    first = rs.ValueAddedModel("score ~ prior_score", group="school_id")
    return {"one": first, "two": "score ~ prior_score + kind"}


def compared(data, specs=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return rs.ValueAddedModel.compare(specs or specifications(), data)


def tables():
    return {
        "polars": pl.from_pandas,
        "lazy": lambda frame: pl.from_pandas(frame).lazy(),
        "polars categories": lambda frame: pl.from_pandas(frame).with_columns(
            pl.col("kind").cast(pl.Categorical), pl.col("school_id").cast(pl.Categorical)
        ),
        "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
        "arrow dictionary": lambda frame: (
            lambda table: table.set_column(
                1, "kind", table.column("kind").combine_chunks().dictionary_encode()
            )
        )(pa.Table.from_pandas(frame, preserve_index=False)),
    }


@pytest.mark.parametrize("kind", tables())
def test_every_table_gives_what_pandas_gives(pupils, kind):
    expected, found = compared(pupils), compared(tables()[kind](pupils))
    assert found.n_rows_dropped == 10
    pd.testing.assert_frame_equal(found.table, expected.table)
    for table in ("fixed_effects", "school_effects"):
        mine, own = getattr(found, table), getattr(expected, table)
        pd.testing.assert_frame_equal(mine, own, check_dtype=False, rtol=1e-12)
    # undeclared categories stand in the order of their values: the first one is the base
    assert "kind[T.gymnasium]" not in set(found.fixed_effects["term"])


def test_a_declared_order_of_categories_stays(pupils):
    order = ["town", "rural", "gymnasium"]
    frame = pl.from_pandas(pupils).with_columns(pl.col("kind").cast(pl.Enum(order)))
    terms = list(compared(frame).results["two"].fixed_effects["term"])
    assert terms == ["Intercept", "prior_score", "kind[T.rural]", "kind[T.gymnasium]"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        alone = rs.ValueAddedModel("score ~ kind", group="school_id").fit(frame)
    assert list(alone.fixed_effects["term"])[1:] == terms[2:]


def test_gaps_in_error_variances_are_gaps(pupils):
    """A mapping names its column of error variances as the bare name does."""
    data = pupils.assign(csem=pupils["csem"].mask(np.arange(len(pupils)) >= 780))
    intake = rs.Intake(prior_reliability={"prior_score": "csem"})
    first = rs.ValueAddedModel("score ~ prior_score", group="school_id", intake=intake)
    found = compared(data, {"one": first, "two": "score ~ prior_score + kind"})
    assert (found.n_rows, found.n_rows_dropped) == (770, 30)


def test_what_is_no_table_is_refused_with_the_way_out(pupils, tmp_path):
    path = tmp_path / "pupils.parquet"
    pupils.to_parquet(path)
    model = specifications()["one"]
    refused = {
        "read_parquet": [path, str(path)],
        "products of its own": [model.cross_products(pupils.dropna())],
        "join the chunks": [[pupils.iloc[:400], pupils.iloc[400:]], lambda: iter([pupils])],
    }
    for words, sources in refused.items():
        for source in sources:
            with pytest.raises(rs.SpecificationError, match=words) as caught:
                compared(source)
            assert "anova()" in str(caught.value)
            assert "compare принимает" in caught.value.localized("ru")
    for source in (None, 3, {"score": [1.0]}):
        with pytest.raises(rs.ResilienceError, match="data"):
            compared(source)
    with pytest.raises(rs.DataError, match="data"):
        compared(pl.from_pandas(pupils).head(0))
