"""A Dask cluster of two processes gives what one process gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.data.batches.distributed import on_cluster
from resilience.errors import SpecificationError

# the same sums in another order, and an optimum found from them
EQUAL = 1e-10


def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    n, n_schools = 6000, 80
    school = rng.integers(0, n_schools, n)
    year = rng.integers(2019, 2022, n)
    frame = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "prior_score": rng.normal(size=n),
            "ses": rng.normal(size=n_schools)[school] + rng.normal(size=n),
            "sex": rng.choice(["F", "M"], n),
            "pupil_key": np.arange(n),
        }
    )
    slope = 0.6 + 0.2 * rng.normal(size=n_schools)[school]
    transient = 0.3 * rng.normal(size=3 * n_schools)[3 * school + year - 2019]
    frame["score"] = slope * frame["prior_score"] + 0.2 * frame["ses"] + transient
    frame["score"] += 0.5 * rng.normal(size=n_schools)[school] + rng.normal(size=n)
    return frame


MODELS = {
    "one pass": rs.ValueAddedModel(
        "score ~ prior_score + ses",
        group="school_id",
        slopes="prior_score",
        structure=rs.Structure(unit="pupil_key"),
    ),
    "two passes": rs.ValueAddedModel(
        "score ~ prior_score*sex + poly(ses, 2)",
        group="school_id",
        time="year",
        intake=rs.Intake(composition={"ses": "latent"}, standardize_by=["year"]),
    ),
}


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    frame = pupils()
    folder = tmp_path_factory.mktemp("pupils")
    for k, rows in enumerate(np.array_split(np.arange(len(frame)), 5)):
        frame.iloc[rows].to_parquet(folder / f"part-{k}.parquet", row_group_size=300, index=False)
    return frame, folder


def sources(frame, folder):
    import dask.dataframe as dd

    return {
        "frame": dd.from_pandas(frame, npartitions=11),  # more than are merged at once
        "frame of files": dd.read_parquet(folder),
        "row groups": on_cluster(folder),
        "files": on_cluster([folder / f"part-{k}.parquet" for k in range(5)]),
    }


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("kind", ["frame", "frame of files", "row groups", "files"])
def test_a_cluster_equals_one_process(client, data, case, kind):
    frame, folder = data
    model = MODELS[case]
    products = model.cross_products(sources(frame, folder)[kind])
    local = model.cross_products(folder)
    assert products.n_rows == local.n_rows == len(frame)
    assert products.passes == local.passes
    moved = products.cross.recentred(local.cross.centre, local.cross.scale)
    np.testing.assert_allclose(moved.total, local.cross.total, atol=EQUAL * local.n_rows)
    for mine, theirs in zip(moved.levels, local.cross.levels, strict=True):
        assert list(mine.labels) == list(theirs.labels)
        np.testing.assert_allclose(mine.products, theirs.products, atol=EQUAL * local.n_rows)
    found, whole = model.fit(products), model.fit(local)
    assert found.criterion == pytest.approx(whole.criterion, rel=EQUAL)
    np.testing.assert_allclose(
        found.fixed_effects["estimate"], whole.fixed_effects["estimate"], atol=1e-8
    )
    assert found.criterion == pytest.approx(model.fit(frame).criterion, rel=EQUAL)


def test_work_is_done_by_both_workers_and_only_the_sum_comes_back(client, data):
    _, folder = data
    on_cluster_before = client.run(lambda dask_worker: dask_worker.state.executed_count)
    MODELS["one pass"].cross_products(on_cluster(folder, client))
    after = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert all(after[w] > on_cluster_before[w] for w in after)


def test_groups_keep_their_own_products_on_a_cluster(client, data):
    _, folder = data
    found = MODELS["one pass"].cross_products(on_cluster(folder), keep="groups").cross
    local = MODELS["one pass"].cross_products(folder, keep="groups").cross
    moved = found.recentred(local.centre, local.scale)
    np.testing.assert_allclose(moved.blocks.packed, local.blocks.packed, atol=1e-8)


def test_a_key_that_repeats_in_two_files_is_found(client, data):
    import dask.dataframe as dd

    frame = data[0].copy()
    frame.loc[5900, "pupil_key"] = 17
    with pytest.raises(rs.DataError, match=r"partition 6: .*repeats in 1 rows, first: 17"):
        MODELS["one pass"].fit(dd.from_pandas(frame, npartitions=6))


def test_a_dask_frame_without_a_cluster(data):
    import dask
    import dask.dataframe as dd

    frame, _ = data
    model = MODELS["one pass"]
    with dask.config.set(scheduler="synchronous"):
        found = model.fit(dd.from_pandas(frame, npartitions=3))
    assert found.criterion == pytest.approx(model.fit(frame).criterion, rel=EQUAL)


def test_what_no_cluster_reads(data):
    with pytest.raises(SpecificationError, match="not DataFrame; write the rows as Parquet"):
        on_cluster(data[0])
