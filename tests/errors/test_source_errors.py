"""What goes wrong in files, chunks and workers is named with its place, never a wrong number."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import resilience as rs
from resilience.data import design_recipe
from resilience.data.batches.opening import open_source
from resilience.data.design import Level
from resilience.data.design_batches import design_from_batches
from resilience.errors import DataError, SpecificationError
from resilience.value_added.intake.sources import cross_products, learn_pupils

MODEL = rs.ValueAddedModel("score ~ prior_score + ses", group="school_id")
BY_SEX = rs.ValueAddedModel("score ~ prior_score + sex", group="school_id")


def pupils(n: int = 2000, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    school = rng.integers(0, 40, n)
    frame = pd.DataFrame(
        {
            "pupil_key": np.arange(n),
            "municipality_id": [f"M{k % 5}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": rng.integers(2020, 2023, n),
            "prior_score": rng.normal(size=n),
            "ses": rng.normal(size=n),
            "sex": rng.choice(["F", "M"], n),
            "weight": rng.uniform(0.5, 1.5, n),
        }
    )
    frame["score"] = frame["prior_score"] + rng.normal(size=40)[school] + rng.normal(size=n)
    return frame


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pupils()


def chunks(table: pd.DataFrame, n: int = 100) -> list[pd.DataFrame]:
    return [table.iloc[rows].copy() for rows in np.array_split(np.arange(len(table)), n)]


def write(folder: Path, table: pd.DataFrame, n: int = 4, rows: int = 100) -> list[Path]:
    paths = []
    for k, part in enumerate(chunks(table, n)):
        paths.append(folder / f"part-{k}.parquet")
        part.to_parquet(paths[-1], row_group_size=rows, index=False)
    return paths


def refused(model, source, *words: str, kind=DataError) -> str:
    """Return the message of the refusal, after looking for the words in it."""
    with pytest.raises(kind) as raised:
        model.fit(source)
    message = str(raised.value)
    for word in words:
        assert word in message, message
    russian = raised.value.localized("ru")
    assert russian != message
    assert any("а" <= letter <= "я" for letter in russian.lower())
    return message


# files ------------------------------------------------------------------------------------------


def test_a_file_cut_short_is_named(table, tmp_path):
    paths = write(tmp_path, table)
    content = paths[2].read_bytes()
    paths[2].write_bytes(content[: len(content) // 2])
    refused(MODEL, tmp_path, "part-2.parquet", "cut short", "copy it anew")


def test_damaged_pages_are_named_with_their_row_group(table, tmp_path):
    path = write(tmp_path, table, n=1)[0]
    start = pq.read_metadata(path).row_group(7).column(4).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(bytes(content))
    refused(MODEL, path, "file part-0.parquet, row group 8", "damaged")


def test_a_file_without_a_used_column_is_named(table, tmp_path):
    paths = write(tmp_path, table)
    part = pd.read_parquet(paths[3]).rename(columns={"ses": "sess"})
    part.to_parquet(paths[3])
    refused(MODEL, tmp_path, "file part-3.parquet", "no column 'ses'", "sess")


def test_a_column_that_changes_its_type_between_files(table, tmp_path):
    paths = write(tmp_path, table)
    part = pd.read_parquet(paths[1])
    part.assign(ses=part["ses"].astype(str)).to_parquet(paths[1])
    refused(MODEL, tmp_path, "file part-1.parquet, row group 1", "'ses'", "holds text, but numbers")


def test_ids_that_are_numbers_in_one_file_and_text_in_another(table, tmp_path):
    paths = write(tmp_path, table)
    part = pd.read_parquet(paths[1])
    part.assign(school_id=part["school_id"].str[1:].astype(int)).to_parquet(paths[1])
    refused(MODEL, tmp_path, "file part-1.parquet", "'school_id'", "holds numbers, but text")


def test_empty_files_and_folders(table, tmp_path):
    refused(MODEL, tmp_path, "holds no Parquet file")
    refused(MODEL, tmp_path / "nowhere.parquet", "there is no file or folder")
    table.iloc[:0].to_parquet(tmp_path / "empty.parquet")
    refused(MODEL, tmp_path, "no rows in empty.parquet")
    (tmp_path / "empty.parquet").write_bytes(b"")
    refused(MODEL, tmp_path, "file empty.parquet cannot be read as Parquet")


# rows -------------------------------------------------------------------------------------------


def test_a_gap_in_chunk_57_of_100(table):
    parts = chunks(table)
    parts[56].iloc[3, parts[56].columns.get_loc("ses")] = np.nan
    school = parts[56]["school_id"].iloc[3]
    refused(MODEL, parts, "'ses': 1", f"school_id: 1; {school}; chunk 57)")


def test_a_gap_in_a_row_group(table, tmp_path):
    wrong = table.copy()
    wrong.loc[1250, "prior_score"] = np.inf
    wrong.loc[1999, "score"] = np.nan
    write(tmp_path, wrong)
    message = refused(MODEL, tmp_path, "'prior_score': 1; 'score': 1")
    assert "file part-2.parquet, row group 3; file part-3.parquet, row group 5" in message


def test_gaps_are_counted_over_all_chunks(table):
    parts = chunks(table)
    for part in parts[10:20]:
        part.loc[part.index[:3], "ses"] = np.nan
    refused(MODEL, parts, "'ses': 30", "chunk 11; chunk 12; chunk 13, … (+7)")


def test_a_missing_school_in_one_chunk(table):
    for missing in ("drop", "indicator", "raise"):
        parts = chunks(table)
        parts[4].loc[parts[4].index[0], "school_id"] = None
        model = rs.ValueAddedModel(
            MODEL.formula, group="school_id", intake=rs.Intake(missing=missing)
        )
        if missing == "drop":
            with pytest.warns(rs.WeakDataWarning, match="1 rows"):
                assert model.cross_products(parts).n_dropped == 1
        else:
            refused(model, parts, "'school_id': 1", "chunk 5")


def test_nothing_but_gaps(table):
    empty = [part.assign(ses=np.nan) for part in chunks(table, 3)]
    refused(MODEL, empty, "'ses': 2000")
    drop = rs.ValueAddedModel(MODEL.formula, group="school_id", intake=rs.Intake(missing="drop"))
    refused(drop, empty, "all 2000 rows were dropped")


def test_a_negative_weight_in_one_chunk(table):
    parts = chunks(table)
    at = parts[70].index[0]
    parts[70].loc[at, "weight"] = -1.0
    model = rs.ValueAddedModel(
        MODEL.formula, group="school_id", structure=rs.Structure(weights="weight")
    )
    refused(model, parts, "chunk 71", "'weight'", "1 are negative", parts[70]["school_id"][at])
    refused(model, [part.assign(weight=0.0) for part in parts], "not all 0", "largest is 0")


def test_an_outcome_that_is_no_number(table):
    parts = [part.assign(score=part["score"].astype(str)) for part in chunks(table, 3)]
    refused(MODEL, parts, "chunk 1", "'score' must be numeric")


def test_a_covariate_that_copies_the_outcome(table):
    copied = table.assign(ses=table["score"])
    refused(MODEL, chunks(copied, 7), "'ses' is identical to outcome")
    copied.loc[1900, "ses"] += 1.0  # one difference, in the last chunks
    MODEL.cross_products(chunks(copied, 7))


def test_a_category_that_the_learning_pass_did_not_see(table):
    recipe = learn_pupils(BY_SEX, table)
    later = table.copy()
    later.loc[1500, "sex"] = "U"
    with pytest.raises(DataError, match=r"chunk 76: column 'sex' holds categories .*: U"):
        cross_products(BY_SEX, chunks(later), recipe=recipe)


def test_a_source_that_changes_between_the_passes(table):
    passes = []

    def source():
        passes.append(len(passes))
        new = table.copy()
        if len(passes) > 3:  # names of columns, first rows, learning pass, then the products
            new.loc[1500, "school_id"] = "S99"
        return iter(chunks(new, 10))

    model = rs.ValueAddedModel(
        MODEL.formula, group="school_id", intake=rs.Intake(composition={"ses": "mean"})
    )
    refused(model, source, "chunk 8: school_id hold S99", "the school composition of ses")
    assert len(passes) == 4


def test_a_school_in_two_municipalities_is_named_with_both_places(table):
    parts = chunks(table)
    at = parts[90].index[parts[90]["school_id"] == parts[90]["school_id"].iloc[0]][0]
    school = parts[90].loc[at, "school_id"]
    parts[90].loc[at, "municipality_id"] = "M9"
    model = rs.ValueAddedModel("score ~ ses", group=["municipality_id", "school_id"])
    own = table.loc[table["school_id"] == school, "municipality_id"].iloc[0]
    refused(model, parts, f"school_id {school}", f"{own}, M9", "then in chunk 91)")


def test_years_that_do_not_separate(table):
    model = rs.ValueAddedModel("score ~ ses", group="school_id", time="year")
    refused(model, chunks(table.assign(year=2021)), "single value 2021")
    once = table.assign(year=2020 + table["school_id"].str[1:].astype(int) % 3)
    refused(model, chunks(once), "no school has two values of 'year'")
    refused(MODEL, chunks(table.assign(school_id="S01"), 4), "1 group(s), at least 2")


def test_keys_that_repeat_far_from_each_other(table, tmp_path):
    again = table.copy()
    again.loc[[1800, 1900], "pupil_key"] = again["pupil_key"][[5, 7]].to_numpy()
    model = rs.ValueAddedModel(
        "score ~ ses", group="school_id", structure=rs.Structure(unit="pupil_key")
    )
    write(tmp_path, again)
    refused(model, tmp_path, "part-3.parquet, row group 4", "pupil_key repeats in 2 rows", "5; 7")
    refused(model, iter(chunks(again, 5)), "repeats in 2 rows (by fingerprints")
    yearly = rs.ValueAddedModel(
        "score ~ ses", group="school_id", time="year", structure=rs.Structure(unit="pupil_key")
    )
    message = refused(yearly, chunks(again.assign(year=2020 + again.index % 3), 5), "× year")
    assert "repeats in 1 rows" in message  # 1800 and 5 differ in the year, 1900 and 7 do not


def test_fingerprints_that_agree_by_chance_are_looked_at(table, monkeypatch):
    model = rs.ValueAddedModel(
        "score ~ ses", group="school_id", structure=rs.Structure(unit="pupil_key")
    )
    few = lambda frame, keys: frame["pupil_key"].to_numpy(dtype=np.uint64) // 2  # noqa: E731  # a stand-in of one line
    monkeypatch.setattr(design_recipe, "fingerprints", few)
    monkeypatch.setattr("resilience.data.design_repeats.fingerprints", few)
    assert model.cross_products(chunks(table, 4)).n_rows == len(table)


def test_more_keys_than_memory_are_refused(table, monkeypatch):
    monkeypatch.setattr(design_recipe, "MOST_KEYS", 1000)
    model = rs.ValueAddedModel(
        "score ~ ses", group="school_id", structure=rs.Structure(unit="pupil_key")
    )
    refused(model, chunks(table), "more than 1000 rows", "8 bytes a row", kind=SpecificationError)


def test_columns_that_the_intake_would_overwrite(table):
    model = rs.ValueAddedModel(
        "score ~ ses", group="school_id", intake=rs.Intake(composition={"ses": "mean"})
    )
    refused(model, chunks(table.assign(ses_mean=0.0)), "would add column 'ses_mean'")
    fill = rs.ValueAddedModel(
        "score ~ ses", group="school_id", intake=rs.Intake(missing="indicator")
    )
    gaps = table.assign(ses_missing=0.0)
    gaps.loc[7, "ses"] = np.nan
    refused(fill, chunks(gaps), "would add column 'ses_missing'")


# what is no source, and what a source cannot give ------------------------------------------------


def test_an_iterator_that_would_be_read_twice(table):
    refused(
        BY_SEX,
        iter(chunks(table)),
        "a single time",
        "the categories of sex needs a pass of its own",
        "a function that returns a fresh iterator",
        kind=SpecificationError,
    )
    fill = rs.ValueAddedModel(
        "score ~ ses", group="school_id", intake=rs.Intake(missing="indicator")
    )
    refused(fill, iter(chunks(table)), "means that fill gaps", kind=SpecificationError)
    used = iter(chunks(table))
    batches = open_source(used)
    list(batches.chunks(["ses"]))
    with pytest.raises(SpecificationError, match="was read already"):
        list(batches.chunks(["ses"]))


@pytest.mark.parametrize("source", [None, 7, {"score": [1.0]}, b"x"])
def test_what_is_no_source(source):
    refused(MODEL, source, "cannot be read", type(source).__name__, kind=SpecificationError)


def test_chunks_that_are_no_tables(table):
    refused(MODEL, [1, 2], "type int is no table", kind=SpecificationError)
    refused(
        MODEL, [table.iloc[:50], "x"], "chunk 2", "type str is no table", kind=SpecificationError
    )


def test_a_chunk_without_a_column(table):
    parts = chunks(table, 5)
    parts[3] = parts[3].drop(columns="ses")
    refused(MODEL, parts, "chunk 4", "'ses'")
    refused(MODEL, [part.drop(columns="ses") for part in parts[:3]], "no column 'ses'")


def test_formulas_that_cannot_be_learnt_in_chunks(table):
    joint = "score ~ C(prior_score > ses)"
    level = (Level(name="school_id", column="school_id"),)
    with pytest.raises(SpecificationError, match="several columns"):
        design_from_batches(chunks(table, 3), joint, groups=level)
    with pytest.raises(SpecificationError, match="cannot be gathered chunk by chunk"):
        design_from_batches(chunks(table, 3), "score ~ {ses.round().astype('str')}", groups=level)
    wide = pupils(12_000).assign(sex=lambda f: "P" + f["pupil_key"].astype(str))
    with pytest.raises(SpecificationError, match="more than 5000 categories"):
        design_from_batches(chunks(wide, 3), "score ~ sex", groups=level)
    with pytest.raises(SpecificationError, match="'sex' are constant"):
        design_from_batches(chunks(table.assign(sex="F"), 3), "score ~ sex", groups=level)
    steep = (Level(name="school_id", column="school_id", slopes=("sex",)),)
    with pytest.raises(SpecificationError, match="slope"):
        design_from_batches(chunks(table, 3), "score ~ ses", groups=steep)


def test_models_that_need_the_pupils_say_so(table, tmp_path):
    write(tmp_path, table)
    crossed = rs.ValueAddedModel("score ~ ses", crossed=["municipality_id", "school_id"])
    refused(crossed, tmp_path, "crossed needs the pupils in memory", kind=SpecificationError)
    with pytest.raises(SpecificationError, match="crossed needs the pupils"):
        crossed.cross_products(table)
    measured = rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", intake=rs.Intake(prior_reliability=0.8)
    )
    refused(measured, chunks(table), "Intake.prior_reliability", kind=SpecificationError)


def test_products_of_other_models_and_recipes(table):
    products = MODEL.cross_products(table)
    refused(BY_SEX, products, "made for another model", kind=SpecificationError)
    with pytest.raises(SpecificationError, match="made for another model"):
        products.merge(BY_SEX.cross_products(table))
    half = BY_SEX.cross_products(
        table[table["sex"] == "F"]
        .assign(sex="X")
        .iloc[:100]
        .pipe(lambda f: pd.concat([f, table.iloc[:300]]))
    )
    with pytest.raises(SpecificationError, match="made with other categories"):
        half.merge(BY_SEX.cross_products(table))
    keyed = rs.ValueAddedModel(
        "score ~ ses", group="school_id", structure=rs.Structure(unit="pupil_key")
    )
    first = keyed.cross_products(table)
    with pytest.raises(DataError, match="repeats in 2000 rows"):
        first.merge(first)


def test_pyarrow_that_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(MODEL, tmp_path, r"school-resilience[parquet]", kind=SpecificationError)


# workers ----------------------------------------------------------------------------------------


def partition(number: int, table: pd.DataFrame, flag: str, always: bool) -> pd.DataFrame:
    """Return a partition; reading the third one kills the worker, once or every time."""
    if number == 2 and "DASK_WORKER_NAME" not in os.environ:
        from distributed import get_worker

        try:
            get_worker()
        except ValueError:  # this process only looks at the first rows
            return table.iloc[number::5]
        if always or not Path(flag).exists():
            Path(flag).touch()
            os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    return table.iloc[number::5]


@pytest.fixture(scope="module")
def client():
    import dask
    from distributed import Client, LocalCluster

    quick = {"distributed.scheduler.allowed-failures": 1}
    with (
        dask.config.set(quick),
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


@pytest.mark.parametrize("always", [False, True])
def test_a_worker_killed_in_the_middle_of_a_fit(client, table, tmp_path, always):
    import dask.dataframe as dd

    frame = dd.from_map(
        partition,
        list(range(5)),
        table=table,
        flag=str(tmp_path / "killed"),
        always=always,
        meta=table.iloc[:0],
    )
    if always:
        message = refused(MODEL, frame, "workers it was sent to died", "nothing was estimated")
        # Dask blames every part that waited on the dead worker, and tells of one of them
        assert re.match(r"partition \d could not be computed", message), message
    else:
        found = MODEL.fit(frame)
        whole = MODEL.fit(table)
        assert (tmp_path / "killed").exists()
        # the same sums in another order
        assert found.criterion == pytest.approx(whole.criterion, rel=1e-10)
        np.testing.assert_allclose(
            found.school_effects["effect"], whole.school_effects["effect"], atol=1e-8
        )


def test_faults_in_partitions_are_counted_over_all_workers(client, table):
    import dask.dataframe as dd

    wrong = table.copy()
    wrong.loc[[10, 900, 901, 1990], "ses"] = np.nan
    refused(MODEL, dd.from_pandas(wrong, npartitions=4), "'ses': 4", "partition 1; partition 2")
    negative = table.copy()
    negative.loc[1990, "weight"] = -1.0
    model = rs.ValueAddedModel(
        MODEL.formula, group="school_id", structure=rs.Structure(weights="weight")
    )
    refused(model, dd.from_pandas(negative, npartitions=4), "partition 4", "1 are negative")
