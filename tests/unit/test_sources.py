"""Any source, cut in any way and read in any order, gives the cross-products of one frame."""

from __future__ import annotations

import pickle
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import resilience as rs
from resilience.data import design_labels
from resilience.data.batches.chunk import Place
from resilience.data.batches.frames import ChunkBatches
from resilience.data.batches.opening import open_source
from resilience.data.design import Level, design_from_frame
from resilience.data.design_batches import design_from_batches, design_from_parquet
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.products import accumulator_cells
from resilience.stats.strata.accumulator import Accumulator, merge_products
from resilience.value_added.intake.pupil_products import PupilProducts
from resilience.value_added.intake.sources import collect_products, cross_products, learn_pupils

# sums of thousands of terms in another order differ by some units of the last place; entries that
# cancel are compared to the largest of their matrix
ROUNDING = 1e-12


def relative(found, expected) -> float:
    largest = np.abs(expected).max()
    return float(np.abs(found - expected).max() / largest) if largest else 0.0


def same_products(found: CrossProducts, expected: CrossProducts) -> None:
    assert found.columns == expected.columns
    assert found.n_rows == expected.n_rows
    moved = found.recentred(expected.centre, expected.scale)
    assert relative(moved.total, expected.total) < ROUNDING
    assert found.log_weights == pytest.approx(expected.log_weights, rel=ROUNDING)
    for mine, theirs in zip(moved.levels, expected.levels, strict=True):
        assert (mine.name, mine.columns) == (theirs.name, theirs.columns)
        assert list(mine.labels) == list(theirs.labels)
        assert [type(v) for v in mine.labels[:3]] == [type(v) for v in theirs.labels[:3]]
        np.testing.assert_array_equal(mine.parent, theirs.parent)
        np.testing.assert_array_equal(mine.n_rows, theirs.n_rows)
        assert relative(mine.products, theirs.products) < ROUNDING
    if expected.blocks is not None:
        assert moved.blocks.level == expected.blocks.level
        assert relative(moved.blocks.packed, expected.blocks.packed) < ROUNDING
        np.testing.assert_allclose(moved.blocks.log_weights, expected.blocks.log_weights)


@pytest.fixture(scope="module")
def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n, n_schools = 3000, 70
    school = rng.integers(0, n_schools, n)
    year = rng.integers(2019, 2022, n)
    frame = pd.DataFrame(
        {
            "pupil_key": np.arange(n),
            "municipality_id": school % 6,
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "subject": rng.choice(["RU", "MA"], n),
            "prior_score": rng.normal(30.0, 5.0, n),
            "ses": rng.normal(size=n_schools)[school] + rng.normal(size=n),
            "sex": rng.choice(["F", "M"], n),
            "weight": rng.uniform(0.1, 2.0, n),
        }
    )
    transient = rng.normal(size=3 * n_schools)[3 * school + year - 2019]
    # apart from the rest: a slope that differs between schools, so that no variance ends at 0
    slope = 0.5 + 0.15 * rng.normal(size=n_schools)[school]
    frame["score"] = slope * (frame["prior_score"] - 30) + frame["ses"] + transient
    frame["score"] += 2 * rng.normal(size=n_schools)[school] + 3 * rng.normal(size=n)
    return frame


def cut(frame: pd.DataFrame, n: int, seed: int = 0) -> list[pd.DataFrame]:
    """Return the rows in random order and pieces of unequal size."""
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.choice(np.arange(1, len(frame)), n - 1, replace=False))
    order = rng.permutation(len(frame))
    return [frame.iloc[rows] for rows in np.split(order, ends)]


THREE = (
    Level(name="municipality_id", column="municipality_id"),
    Level(name="school_id", column="school_id", slopes=("prior_score",)),
    Level(name="school_id:year", column="year"),
)
SCHOOL = (Level(name="school_id", column="school_id"),)
DESIGNS = {
    "numbers": ("score ~ prior_score + ses", THREE, None, None),
    "weights": ("score ~ prior_score*ses", THREE, "weight", None),
    "blocks": ("score ~ prior_score + ses", THREE, "weight", "school_id"),
    "inner blocks": ("score ~ prior_score", THREE, None, "groups"),
    "categories": ("score ~ prior_score + ses*sex + C(year)", THREE, None, None),
    "no intercept": ("score ~ 0 + sex + ses", SCHOOL, None, None),
    "transformations": (
        "score ~ poly(prior_score, 2) + bs(ses, df=5) + np.exp(ses) + center(ses)",
        SCHOOL,
        None,
        None,
    ),
    "no groups": ("score ~ prior_score", (), None, None),
}


@pytest.mark.parametrize("case", DESIGNS)
@pytest.mark.parametrize("n", [1, 2, 40])
def test_any_partition_in_any_order_is_the_whole(pupils, case, n):
    formula, groups, weights, keep = DESIGNS[case]
    whole = design_from_frame(pupils, formula, groups=groups, weights=weights, keep=keep)
    found = design_from_batches(
        cut(pupils, n) if n > 1 else [pupils], formula, groups=groups, weights=weights, keep=keep
    )
    assert found.terms == whole.terms
    assert found.n_rows == whole.n_rows
    same_products(found.cross, whole.cross)


def test_effects_by_category_in_chunks(pupils):
    levels = (Level(name="school_id", column="school_id", by="year"),)
    whole = design_from_frame(pupils, "score ~ ses", groups=levels)
    found = design_from_batches(cut(pupils, 9), "score ~ ses", groups=levels)
    same_products(found.cross, whole.cross)
    assert found.passes == 2


FRAMES = {
    "pandas with Arrow types": lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
    "pandas with nullable types": lambda f: f.convert_dtypes(),
    "pandas with categories": lambda f: f.astype({"school_id": "category", "sex": "category"}),
    "polars": pl.from_pandas,
    "polars lazy": lambda f: pl.from_pandas(f).lazy(),
    "polars categories": lambda f: pl.from_pandas(f).with_columns(
        pl.col("sex").cast(pl.Categorical), pl.col("school_id").cast(pl.Categorical)
    ),
    "polars enum": lambda f: pl.from_pandas(f).with_columns(
        pl.col("sex").cast(pl.Enum(["F", "M"]))
    ),
    "Arrow table": pa.Table.from_pandas,
    "Arrow batches": lambda f: pa.Table.from_pandas(f).to_batches(max_chunksize=333),
    "Arrow dictionaries": lambda f: pa.table(
        {
            c: pa.array(f[c]).dictionary_encode() if c in ("sex", "school_id") else pa.array(f[c])
            for c in f
        }
    ),
    "chunks of different libraries": lambda f: [
        f.iloc[:1000],
        pl.from_pandas(f.iloc[1000:1500]),
        pa.Table.from_pandas(f.iloc[1500:]),
    ],
    "a function": lambda f: lambda: iter(cut(f, 7)),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_any_library_give_the_same(pupils, kind):
    formula = "score ~ prior_score + ses*sex"
    whole = design_from_frame(pupils, formula, groups=THREE)
    found = design_from_batches(FRAMES[kind](pupils), formula, groups=THREE)
    assert found.terms == whole.terms
    same_products(found.cross, whole.cross)


def test_a_declared_order_of_categories_decides_the_reference(pupils):
    order = pd.CategoricalDtype(["M", "F"])
    declared = pupils.astype({"sex": order})
    whole = design_from_frame(declared, "score ~ sex", groups=SCHOOL)
    assert whole.terms == ("Intercept", "sex[T.F]")
    for source in (
        cut(declared, 5),
        pl.from_pandas(pupils).with_columns(pl.col("sex").cast(pl.Enum(["M", "F"]))),
    ):
        found = design_from_batches(source, "score ~ sex", groups=SCHOOL)
        assert found.terms == whole.terms
        same_products(found.cross, whole.cross)
    # two chunks that declare different orders: the order of the values stands
    mixed = [declared.iloc[:1500], pupils.iloc[1500:].astype({"sex": "category"})]
    assert design_from_batches(mixed, "score ~ sex", groups=SCHOOL).terms[1] == "sex[T.M]"


@pytest.fixture
def folder(pupils, tmp_path):
    for k, part in enumerate(cut(pupils, 4)):
        name = tmp_path / ("year=2020" if k == 2 else ".") / f"part-{k}.parquet"
        name.parent.mkdir(exist_ok=True)
        part.to_parquet(name, row_group_size=113, index=False)
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "_metadata.parquet").write_bytes(b"not a table")
    return tmp_path


def test_a_folder_of_parquet_files(pupils, folder):
    formula = "score ~ prior_score + ses*sex"
    whole = design_from_frame(pupils, formula, groups=THREE)
    found = design_from_parquet(folder, formula, groups=THREE)
    same_products(found.cross, whole.cross)
    assert found.passes == 2
    assert [str(note) for note in found.notes] == [
        "pass 1: the categories of sex",
        "pass 2: the cross-products",
    ]
    single = folder / "part-1.parquet"
    alone = design_from_parquet(str(single), "score ~ ses", groups=SCHOOL)
    assert alone.n_rows == pq.read_metadata(single).num_rows
    assert alone.passes == 1


def test_only_used_columns_are_read_row_group_by_row_group(folder, monkeypatch):
    asked = []
    original = pq.ParquetFile.iter_batches

    def watched(self, **options):
        asked.append((tuple(options["columns"]), options["row_groups"], self.num_row_groups))
        return original(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    monkeypatch.setattr(pq, "read_table", lambda *a, **k: pytest.fail("a whole table was read"))
    design_from_parquet(folder, "score ~ ses", groups=SCHOOL)
    assert {columns for columns, _, _ in asked} == {("ses", "score", "school_id")}
    assert all(len(groups) == 1 for _, groups, _ in asked)
    assert max(n for _, _, n in asked) > 3


def test_row_groups_larger_than_a_chunk_are_read_in_slices(folder):
    batches = open_source(folder / "part-0.parquet", rows=50)
    chunks = list(batches.chunks(["ses", "school_id"]))
    assert max(len(chunk.frame) for chunk in chunks) == 50
    assert chunks[0].place == Place(part=1, kind="row_group", file="part-0.parquet")
    assert [c.place.part for c in chunks[:4]] == [1, 1, 1, 2]  # 113 rows: 50, 50, 13


def test_a_lazy_frame_collects_only_the_used_columns(pupils):
    asked: list[list[str] | None] = []

    def source(with_columns, predicate, n_rows, batch_size):
        asked.append(with_columns)
        yield pl.from_pandas(pupils).select(with_columns or list(pupils))

    schema = pl.from_pandas(pupils).schema
    lazy = pl.io.plugins.register_io_source(source, schema=schema)
    found = design_from_batches(lazy, "score ~ ses", groups=SCHOOL)
    assert found.n_rows == len(pupils)
    assert {frozenset(columns) for columns in asked} == {frozenset({"score", "ses", "school_id"})}


def test_an_iterator_will_do_where_nothing_is_learnt(pupils):
    whole = design_from_frame(pupils, "score ~ prior_score + ses", groups=THREE)
    parts = cut(pupils, 9)
    found = design_from_batches(iter(parts), "score ~ prior_score + ses", groups=THREE)
    same_products(found.cross, whole.cross)
    reader = pa.RecordBatchReader.from_batches(
        pa.Table.from_pandas(pupils).schema, pa.Table.from_pandas(pupils).to_batches(500)
    )
    found = design_from_batches(reader, "score ~ prior_score + ses", groups=THREE)
    same_products(found.cross, whole.cross)


def test_first_chunks_without_a_complete_row(pupils):
    empty = pupils.iloc[:0]
    parts = [empty, *cut(pupils, 3), empty]
    for source in (parts, iter(parts)):
        found = design_from_batches(source, "score ~ ses", groups=SCHOOL)
        same_products(found.cross, design_from_frame(pupils, "score ~ ses", groups=SCHOOL).cross)


def test_a_large_grid_of_groups_leaves_the_table(pupils, monkeypatch):
    monkeypatch.setattr(accumulator_cells, "_TABLE_CELLS", 64)
    whole = design_from_frame(pupils, "score ~ ses", groups=THREE[:0] + THREE[2:])
    found = design_from_batches(cut(pupils, 11), "score ~ ses", groups=THREE[:0] + THREE[2:])
    same_products(found.cross, whole.cross)
    formula = "score ~ prior_score + ses"
    whole = design_from_frame(pupils, formula, groups=THREE)
    same_products(design_from_batches(cut(pupils, 11), formula, groups=THREE).cross, whole.cross)


def test_one_group_by_hand():
    sums = Accumulator(["y"], [("g", ["Intercept"])], centre=np.array([1.0]), scale=np.array([2.0]))
    sums.add([np.array([3.0, 5.0])], [np.array([0, 1])])
    sums.add([np.array([7.0])], [np.array([0])], np.array([4.0]))
    cross = sums.finish([["b", "a"]])
    # columns (1, (y - 1)/2): rows (1, 1), (1, 2) and (1, 3) with weight 4
    np.testing.assert_array_equal(cross.total, [[6.0, 15.0], [15.0, 41.0]])
    assert list(cross.levels[0].labels) == ["a", "b"]
    np.testing.assert_array_equal(cross.levels[0].products[:, 0], [[1.0, 2.0], [5.0, 13.0]])
    np.testing.assert_array_equal(cross.levels[0].n_rows, [1, 2])
    assert cross.log_weights == pytest.approx(np.log(4.0))


def test_many_parts_merge_like_two_and_two(pupils):
    parts = [
        design_from_frame(part, "score ~ prior_score + ses", groups=THREE).cross
        for part in cut(pupils, 6)
    ]
    pairwise = parts[0]
    for part in parts[1:]:
        pairwise = pairwise.merge(part)
    same_products(merge_products(parts), pairwise)


# value added ------------------------------------------------------------------------------------


def gappy(frame: pd.DataFrame) -> pd.DataFrame:
    found = frame.copy()
    found.loc[found.index[::17], "ses"] = np.nan
    found.loc[found.index[::23], "prior_score"] = np.nan
    return found


def model(formula="score ~ prior_score + ses", **options) -> rs.ValueAddedModel:
    return rs.ValueAddedModel(formula, group="school_id", **options)


MODELS = {
    "slopes": (lambda f: f, model(slopes="prior_score"), 1),
    "three levels": (
        lambda f: f,
        rs.ValueAddedModel(
            "score ~ prior_score + ses*sex",
            group=["municipality_id", "school_id"],
            time="year",
            structure=rs.Structure(weights="weight", unit="pupil_key"),
        ),
        2,
    ),
    "latent, standardised": (
        lambda f: f,
        model(
            time="year",
            intake=rs.Intake(composition={"ses": "latent"}, standardize_by=["subject", "year"]),
        ),
        2,
    ),
    "composition of what is standardised": (
        lambda f: f,
        model(
            intake=rs.Intake(composition={"prior_score": "mean"}, standardize_by=["subject"]),
        ),
        3,
    ),
    "dropped rows": (
        gappy,
        model(
            "score ~ poly(prior_score, 2) + ses",
            time="year",
            intake=rs.Intake(
                composition={"ses": "latent"}, standardize_by=["subject"], missing="drop"
            ),
        ),
        3,
    ),
    "indicators": (
        gappy,
        model(
            intake=rs.Intake(
                composition={"ses": "mean", "prior_score": "leave_one_out"}, missing="indicator"
            )
        ),
        3,
    ),
    "drift": (lambda f: f, model(time="year", structure=rs.Structure(drift="unstructured")), 2),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_fit_out_of_core_is_the_fit_in_memory(pupils, case, tmp_path):
    change, specification, passes = MODELS[case]
    frame = change(pupils)
    cut(frame, 3)[0].to_parquet(tmp_path / "a.parquet", row_group_size=200)
    pd.concat(cut(frame, 3)[1:]).to_parquet(tmp_path / "b.parquet", row_group_size=301)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)  # the same ones in both
        whole = specification.fit(frame)
        found = specification.fit(tmp_path)
        products = specification.cross_products(tmp_path)
        again = specification.fit(products)
    assert found.formula == whole.formula
    assert found.n_dropped == whole.n_dropped
    # the optimum is found to 1e-8 of the criterion's scale from products equal to 1e-12
    assert found.criterion == pytest.approx(whole.criterion, rel=1e-11)
    for table, column in (
        ("fixed_effects", "estimate"),
        ("school_effects", "effect"),
        ("school_effects", "expected_mean"),
        ("school_years", "residual"),
    ):
        expected = getattr(whole, table)
        mine = getattr(found, table)
        assert list(mine.iloc[:, 0]) == list(expected.iloc[:, 0])
        np.testing.assert_allclose(mine[column], expected[column], rtol=1e-6, atol=1e-7)
    assert products.passes == passes
    assert again.criterion == found.criterion


def test_augment_after_a_fit_out_of_core(pupils):
    specification = model("score ~ prior_score + sex")
    found = specification.fit(cut(pupils, 4)).augment(pupils)
    whole = specification.fit(pupils).augment(pupils)
    pd.testing.assert_frame_equal(found, whole, rtol=1e-8)


def test_products_are_public_picklable_and_say_what_they_are(pupils):
    specification = model(intake=rs.Intake(composition={"ses": "mean"}))
    products = specification.cross_products(cut(pupils, 3), keep="groups")
    assert isinstance(products, PupilProducts)
    assert products.cross.blocks.level == "school_id"
    assert products.terms == ("Intercept", "prior_score", "ses", "ses_mean")
    assert products.n_rows == len(pupils)
    line = str(products)
    assert line == (
        "Cross-products of 3000 pupils (0 dropped): score ~ prior_score + ses + ses_mean; "
        "school_id: 70; 2 pass(es) over 1 source(s): chunks"
    )
    assert "Матрицы произведений по 3000 ученикам" in products.describe().ru
    again = pickle.loads(pickle.dumps(products))
    assert str(again) == line
    assert specification.fit(again).criterion == specification.fit(products).criterion


def test_products_of_one_recipe_add_up(pupils):
    specification = model(
        "score ~ prior_score + ses*sex",
        intake=rs.Intake(composition={"ses": "latent"}, standardize_by=["year"]),
        structure=rs.Structure(unit="pupil_key"),
    )
    recipe = learn_pupils(specification, pupils)
    parts = [cross_products(specification, part, recipe=recipe) for part in cut(pupils, 3)]
    joined = parts[0].merge(parts[1]).merge(parts[2])
    assert joined.n_rows == len(pupils)
    whole = specification.cross_products(pupils)
    same_products(joined.cross, whole.cross)


def test_the_recipe_of_workers_is_that_of_the_loop(pupils):
    specification = model("score ~ prior_score + sex", time="year")
    recipe = pickle.loads(pickle.dumps(learn_pupils(specification, pupils)))
    total = merge_products([recipe.products(part) for part in cut(pupils, 5)])
    same_products(total, specification.cross_products(pupils).cross)


def test_arrow_batches_as_sparks_tasks_hand_them_over(pupils):
    specification = model("score ~ prior_score + sex", intake=rs.Intake(missing="drop"))
    frame = gappy(pupils)
    with pytest.warns(rs.WeakDataWarning, match="rows .* were dropped"):
        whole = specification.cross_products(frame)
    recipe = whole.recipe
    packed: list[bytes] = []
    for task in np.array_split(np.arange(len(frame)), 3):
        table = pa.Table.from_pandas(frame.iloc[task], preserve_index=False)
        rows = list(recipe.arrow_batches(table.to_batches(max_chunksize=211)))
        assert [(row.num_rows, row.schema.names) for row in rows] == [(1, ["products"])]
        assert rows[0].schema.field("products").type == pa.binary()
        packed += rows[0].column("products").to_pylist()
    packed += next(iter(recipe.arrow_batches([]))).column("products").to_pylist()
    with pytest.warns(rs.WeakDataWarning, match="rows .* were dropped"):
        found = collect_products(specification, recipe, packed)
    assert (found.n_rows, found.n_dropped) == (whole.n_rows, whole.n_dropped)
    same_products(found.cross, whole.cross)


def test_a_model_that_needs_pupils_takes_frames_of_other_libraries(pupils):
    crossed = rs.ValueAddedModel("score ~ ses", crossed=["municipality_id", "school_id"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)  # six municipalities
        assert crossed.fit(pl.from_pandas(pupils)).criterion == pytest.approx(
            crossed.fit(pupils).criterion, rel=1e-9
        )


def test_own_batches(pupils):
    class Halves:
        names = ("halves",)
        once = False

        def columns(self):
            return list(pupils)

        def chunks(self, columns):
            yield from ChunkBatches([pupils.iloc[:1000], pupils.iloc[1000:]]).chunks(columns)

    found = design_from_batches(Halves(), "score ~ ses", groups=SCHOOL)
    same_products(found.cross, design_from_frame(pupils, "score ~ ses", groups=SCHOOL).cross)


def test_labels_keep_their_codes_from_chunk_to_chunk():
    coder = design_labels.LabelCoder()
    assert list(coder.codes(pd.Series(["b", "a", None, "b"]))) == [0, 1, -1, 0]
    assert list(coder.codes(pd.Series(["c", "a"]).astype("category"))) == [2, 1]
    assert list(coder.codes(pd.Series(["d", "c"]), grow=False)) == [-1, 2]
    assert coder.labels == ["b", "a", "c"]


def test_fingerprints_do_not_depend_on_types():
    plain = pd.DataFrame({"k": [1, 2, 1], "s": ["x", "y", "x"]})
    first = design_labels.fingerprints(plain, ["k", "s"])
    assert first[0] == first[2] != first[1]
    for other in (
        plain.astype({"k": "float64"}),
        plain.astype({"k": "int32", "s": "category"}),
        plain.convert_dtypes(),
        plain.convert_dtypes(dtype_backend="pyarrow"),
    ):
        np.testing.assert_array_equal(design_labels.fingerprints(other, ["k", "s"]), first)


def test_nothing_heavy_is_imported_with_the_readers():
    import subprocess

    code = (
        "import sys, resilience.value_added.model as m; "
        "print(sorted({'pyarrow.parquet', 'polars', 'dask', 'distributed', 'formulaic'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
