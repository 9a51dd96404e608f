"""What is refused where it enters: arguments of a wrong kind, identifiers that mean two things."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.data.identifiers import check_one_kind, identified
from resilience.validation import check_count, check_names, nearest_names

N = 480
FORMULA = "score ~ prior_score + ses"
JOINT = rs.Structure(outcome_group="subject", unit="pupil")
KEY = rs.Structure(unit="pupil")
DROP = rs.Intake(missing="drop")
LONG = rs.Membership("teacher", "share")
WIDE = rs.Membership(["s1", "s2"], ["w1", "w2"])


def table() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    school = np.arange(N) % 12
    data = pd.DataFrame(
        {
            "mun": [f"M{k % 3}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "primary_id": [f"P{k}" for k in rng.integers(0, 11, N)],
            "year": 2021 + np.arange(N) // 12 % 3,
            "prior_score": rng.normal(size=N),
            "ses": rng.normal(size=N),
            "pupil": [f"u{k}" for k in range(N)],
            "s1": [f"S{k:02d}" for k in school],
            "s2": [f"S{k:02d}" for k in np.roll(school, 1)],
            "w1": 0.6,
            "w2": 0.4,
        }
    )
    effects = rng.normal(0, 0.4, 12)[school]
    score = 0.6 * data["prior_score"] + effects + rng.normal(0, 0.8, N)
    return data.assign(score=score, sex=np.where(data["ses"] > 0, "F", "M"))


def subjects() -> pd.DataFrame:
    first = table()
    noise = np.random.default_rng(6).normal(0, 0.6, N)
    second = first.assign(subject="RU", score=0.5 * first["score"] + noise)
    return pd.concat([first.assign(subject="MA"), second], ignore_index=True)


def long() -> pd.DataFrame:
    data = table()
    parts = [data.assign(teacher=data[s], share=0.5) for s in ("s1", "s2")]
    return pd.concat(parts, ignore_index=True)


def changed(data: pd.DataFrame, column: str, rows: list[int], value: object) -> pd.DataFrame:
    found = data.astype({column: object})
    found.loc[rows, column] = value
    return found


def mixed(column: str = "school_id") -> pd.DataFrame:
    data = table()
    labels = pd.factorize(data[column])[0]
    own = [int(k) if row % 2 else str(k) for row, k in enumerate(labels)]
    return data.assign(**{column: pd.Series(own, dtype=object)})


def twice(column: str) -> pd.DataFrame:
    data = table()
    return pd.concat([data, data[[column]]], axis=1)


def model(formula=FORMULA, *, group="school_id", **arguments):
    return rs.ValueAddedModel(formula, group=group, **arguments)


def fit(data=None, **arguments):
    return model(**arguments).fit(table() if data is None else data)


def crossed(data, **arguments):
    return rs.ValueAddedModel(FORMULA, crossed=["primary_id", "school_id"], **arguments).fit(data)


def shared(data, members, **arguments):
    return rs.ValueAddedModel(FORMULA, members=members, **arguments).fit(data)


def joint(data, formula="score ~ C(subject)"):
    return rs.ValueAddedModel(formula, group="school_id", structure=JOINT).fit(data)


def halves(data):
    return [data[: N // 2], data[N // 2 :]]


def numbered():
    data = table()
    return data.assign(number=data["school_id"].str[1:].astype(int) // 3)


def used_up():
    chunks = iter([table()])
    next(chunks)
    return chunks


def merged_types():
    first = table()[: N // 2]
    first = first.assign(school_id=first["school_id"].str[1:].astype(int))
    return model().cross_products(first).merge(model().cross_products(table()[N // 2 :]))


def comparison():
    return rs.ValueAddedModel.compare({"A": model(), "B": model("score ~ ses")}, table())


MIXED = ["several kinds (int, str)", "give the column one type"]
TWO = ["column 'ses' 2 times", "rename or drop the others"]

DATA = {
    "mixed schools": (lambda: fit(mixed()), [*MIXED, "'school_id'"]),
    "mixed schools in one chunk": (lambda: fit(halves(mixed())), [*MIXED, "chunk 1"]),
    "mixed schools, crossed": (lambda: crossed(mixed()), MIXED),
    "mixed primary schools": (lambda: crossed(mixed("primary_id")), [*MIXED, "'primary_id'"]),
    "mixed schools as categories": (
        lambda: fit(mixed().astype({"school_id": "category"})),
        MIXED,
    ),
    "mixed years": (lambda: fit(mixed("year"), time="year"), [*MIXED, "'year'"]),
    "mixed pupils": (lambda: fit(mixed("pupil"), structure=KEY), [*MIXED, "'pupil'"]),
    "numbers here, text there": (
        lambda: shared(table().assign(s1=lambda f: f["s1"].str[1:].astype(int)), WIDE),
        ["several kinds (int64, str)", "level 's'"],
    ),
    "products of numbers and of text": (merged_types, MIXED),
    "blank school": (
        lambda: fit(changed(table(), "school_id", [0, 7], " ")),
        ["'school_id': 2", "rows: 0, 7"],
    ),
    "empty school in a chunk": (
        lambda: fit(halves(changed(table(), "school_id", [0, 7, 300], ""))),
        ["'school_id': 3", "chunk 1; chunk 2"],
    ),
    "blank primary school": (
        lambda: crossed(changed(table(), "primary_id", [3], "")),
        ["'primary_id': 1"],
    ),
    "blank pupil of a joint fit": (
        lambda: joint(changed(subjects(), "pupil", [3, 4], "")),
        ["'pupil': 2"],
    ),
    "a covariate twice": (lambda: fit(twice("ses")), TWO),
    "a covariate twice in chunks": (lambda: fit(halves(twice("ses"))), TWO),
    "a covariate twice, crossed": (lambda: crossed(twice("ses")), TWO),
    "a covariate twice, long": (
        lambda: shared(pd.concat([long(), long()[["ses"]]], axis=1), LONG, structure=KEY),
        TWO,
    ),
    "a unit twice": (
        lambda: shared(twice("s1"), WIDE),
        ["column 's1' 2 times"],
    ),
    "other capitals": (
        lambda: fit(table().rename(columns={"ses": "SES"})),
        ["'ses': SES", "rename the column"],
    ),
    "pupils twice in a subject": (
        lambda: joint(pd.concat([subjects(), subjects()[:4]], ignore_index=True)),
        ["4 results stand twice", "(pupil: u0, u1, u2, … (+1))", "pupil × subject"],
    ),
    "a pupil of two schools": (
        lambda: joint(changed(subjects(), "school_id", [N + 5], "S09")),
        ["1 pupils", "'school_id' (pupil: u5)", "assign each pupil to one unit"],
    ),
    "shares that miss one": (
        lambda: shared(changed(table(), "w1", [3, 9], 0.5).astype({"w1": float}), WIDE),
        ["2 pupil(s)", "(rows 3, 9)"],
    ),
    "shares that miss one, with the key": (
        lambda: shared(
            changed(table(), "w1", [3, 9], 0.5).astype({"w1": float}), WIDE, structure=KEY
        ),
        ["2 pupil(s)", "(pupil: u3, u9)"],
    ),
    "rows of a pupil that differ": (
        lambda: shared(
            changed(long(), "ses", [3], 9.0).astype({"ses": float}), LONG, structure=KEY
        ),
        ["column 'ses' differs", "(pupil: u3)"],
    ),
    "a gap in one row of a pupil": (
        lambda: shared(
            changed(long(), "ses", [3], np.nan).astype({"ses": float}), LONG, structure=KEY
        ),
        ["missing or infinite values", "'ses': 1"],
    ),
    "pupils without a key": (
        lambda: shared(changed(long(), "pupil", [3, 4], None), LONG, structure=KEY),
        ["missing or infinite values", "'pupil': 2"],
    ),
    "a blank teacher": (
        lambda: shared(changed(long(), "teacher", [7], " "), LONG, structure=KEY),
        ["column 'teacher' has no unit in 1 row(s)", "(pupil: u7)"],
    ),
    "levels from inner to outer": (
        lambda: fit(group=["school_id", "mun"]),
        ["mun M0", "order of group is from outer to inner", "group=['mun', 'school_id']"],
    ),
    "levels from inner to outer, chunks": (
        lambda: fit(halves(table()), group=["school_id", "mun"]),
        ["mun M0", "group=['mun', 'school_id']"],
    ),
    "numbers that begin anew": (
        lambda: fit(numbered(), group=["mun", "number"]),
        ["number 0", "begin anew in every mun", "data['mun'].astype(str)"],
    ),
    "numbers that begin anew, chunks": (
        lambda: fit([numbered()], group=["mun", "number"]),
        ["number 0", "begin anew in every mun", "data['mun'].astype(str)"],
    ),
}

ARGUMENTS = {
    "group of a number": (lambda: model(group=5), ["group is 5", "group='school_id'"]),
    "slopes of a number": (lambda: model(slopes=5), ["slopes is 5"]),
    "slopes twice": (lambda: model(slopes=["ses", "ses"]), ["slopes names 'ses' twice"]),
    "slopes of a level twice": (
        lambda: model(slopes={"school_id": ["ses", "ses"]}),
        ["slopes['school_id'] names 'ses' twice"],
    ),
    "a list of years": (lambda: model(time=["year"]), ["time is ['year']", "time='year'"]),
    "structure as a dict": (lambda: model(structure={"drift": "ar1"}), ["must be Structure"]),
    "an empty dict": (lambda: model(structure={}), ["structure is of type dict"]),
    "intake as a dict": (lambda: model(intake={}), ["must be Intake", "intake=Intake("]),
    "members as text": (
        lambda: rs.ValueAddedModel(FORMULA, members="s1"),
        ["members is str", "Membership(unit="],
    ),
    "units of a number": (lambda: rs.Membership(5, 6), ["Membership.unit is 5"]),
    "covariance as text": (
        lambda: rs.Structure(covariance="diagonal"),
        ["Structure.covariance is 'diagonal'", "{'school_id': 'diagonal'}"],
    ),
    "a list of weights": (lambda: rs.Structure(weights=["w"]), ["Structure.weights is ['w']"]),
    "composition as text": (
        lambda: rs.Intake(composition="ses"),
        ["Intake.composition is 'ses'", "{'prior_score': 'latent'}"],
    ),
    "no draws": (lambda: fit().ranks(n_draws=0), ["n_draws is 0", "at least 1"]),
    "fewer than no draws": (lambda: fit().ranks(n_draws=-1), ["n_draws is -1"]),
    "a seed of text": (lambda: fit().ranks(random_state="a"), ["random_state is 'a'"]),
    "a seed below zero": (lambda: model().fit(table(), random_state=-1), ["random_state is -1"]),
    "no workers": (lambda: fit().bootstrap(20, n_jobs=0), ["n_jobs is 0", "-1 for one per core"]),
    "half a replicate": (lambda: fit().bootstrap(20.5), ["n_replicates is 20.5"]),
    "draws as text": (lambda: fit().simulate("a"), ["n is 'a'"]),
    "units of influence": (lambda: fit().influence(units=5), ["units is of type int"]),
    "reliability as text": (
        lambda: fit().sufficiency(reliability="0.8"),
        ["reliability is '0.8'", "without quotes"],
    ),
    "a multiplier below zero": (lambda: fit().pairs(multiplier=-1), ["multiplier is -1", "> 0"]),
    "a cut as text": (lambda: fit().bands(outer="a"), ["outer is 'a'"]),
    "a level as text": (lambda: fit().intervals(level="a"), ["level is 'a'"]),
    "weights as a list": (
        lambda: rs.composite_effects(joint(subjects()), ["MA"]),
        ["weights is of type list"],
    ),
    "a weight as text": (
        lambda: rs.composite_effects(joint(subjects()), {"MA": "1"}),
        ["weights['MA'] is '1'"],
    ),
    "nothing to merge": (
        lambda: model().cross_products(table()).merge(None),
        ["other is of type NoneType", "must be PupilProducts"],
    ),
    "a table to merge": (
        lambda: model().cross_products(table()).merge(table()),
        ["other is of type DataFrame"],
    ),
    "no cross-products to merge": (
        lambda: fit().cross.merge(None),
        ["other is of type NoneType", "must be CrossProducts"],
    ),
    "a recipe of another kind": (
        lambda: model().cross_products(table(), recipe=5),
        ["recipe is of type int", "recipe=first.recipe"],
    ),
    "a function with an argument": (
        lambda: model().fit(lambda x: [x]),
        ["the function passed as data needs arguments"],
    ),
    "no verdicts": (
        lambda: rs.plot_quadrant(fit()),
        ["type ValueAddedResults holds no verdicts", "detect_schools"],
    ),
    "several models in one appendix": (
        lambda: rs.methods_appendix(comparison(), None, None),
        ["type ComparisonResults", "comparison.results['A']"],
    ),
    "products of crossed levels": (
        lambda: rs.ValueAddedModel(FORMULA, crossed=["primary_id", "school_id"]).cross_products(
            table()
        ),
        ["crossed needs the pupils themselves", ".fit(data)"],
    ),
    "an iterator that was read": (
        lambda: model().fit(used_up()),
        ["it was read already", "a fresh iterator"],
    ),
    "a category as a slope": (
        lambda: fit(formula=f"{FORMULA} + sex", slopes="sex"),
        ["slope term(s) sex", "sex[T.M] for sex"],
    ),
    "a category as a slope, chunks": (
        lambda: fit(halves(table()), formula=f"{FORMULA} + sex", slopes="sex"),
        ["sex[T.M] for sex"],
    ),
    "a name with a space": (
        lambda: fit(formula="test score ~ ses"),
        ["in backticks", "`test score` ~ ses"],
    ),
}


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
@pytest.mark.parametrize(
    ("kind", "name"),
    [(rs.DataError, name) for name in DATA] + [(rs.SpecificationError, name) for name in ARGUMENTS],
)
def test_what_enters_is_checked_once_and_answered(kind, name):
    action, words = (DATA if kind is rs.DataError else ARGUMENTS)[name]
    with pytest.raises(kind) as caught:
        action()
    english, russian = str(caught.value), caught.value.localized("ru")
    for word in words:
        assert word in english
    assert re.search("[а-яё]{3}", russian)
    assert "{" not in re.sub(r"\{'[^}]*\}", "", english + russian)  # every placeholder was filled


def test_a_csv_file_is_no_parquet_file(tmp_path):
    table().to_csv(tmp_path / "pupils.csv", index=False)
    with pytest.raises(rs.SpecificationError) as caught:
        fit(tmp_path / "pupils.csv")
    assert "pupils.csv is no Parquet file" in str(caught.value)
    assert "pandas.read_csv" in str(caught.value)


def test_a_parquet_file_cut_short_is_still_called_that(tmp_path):
    path = tmp_path / "pupils.parquet"
    table().to_parquet(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(rs.DataError, match="cut short"):
        fit(path)


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
@pytest.mark.parametrize(
    ("data", "n"),
    [
        (changed(long(), "ses", [3], np.nan).astype({"ses": float}), N - 1),
        (changed(long(), "pupil", [3, N + 3, 4, N + 4], ""), N - 2),
        (changed(long(), "teacher", [7], " "), N - 1),
    ],
)
def test_pupils_with_a_gap_in_a_long_table_are_dropped_and_counted(data, n):
    with pytest.warns(rs.WeakDataWarning, match="dropped"):
        va = shared(data, LONG, structure=KEY, intake=DROP)
    assert va.school_effects["n_pupils"].sum() == pytest.approx(n)


@pytest.mark.parametrize("cut", [lambda data: data, halves])
def test_blank_schools_are_dropped_and_counted(cut):
    data = changed(table(), "school_id", [0, 7], " ")
    with pytest.warns(rs.WeakDataWarning, match="2 rows"):
        va = fit(cut(data), intake=DROP)
    assert va.n_schools == 12
    assert va.n_pupils == N - 2


def test_a_string_is_one_name():
    intake = rs.Intake(standardize_by="year", prior="prior_score")
    assert intake.standardize_by == ("year",)
    assert intake.prior == ("prior_score",)
    listed = rs.Intake(standardize_by=["year"])
    one, other = fit(intake=intake), fit(intake=listed)
    pd.testing.assert_frame_equal(one.school_effects, other.school_effects)


def test_products_of_one_recipe_add_up_to_those_of_all_rows():
    data, mine = table(), model("score ~ prior_score + C(sex)")
    first = mine.cross_products(data[: N // 2])
    second = mine.cross_products(data[N // 2 :], recipe=first.recipe)
    both, whole = mine.fit(first.merge(second)), mine.fit([data])
    np.testing.assert_allclose(  # the same sums in another order
        both.fixed_effects["estimate"], whole.fixed_effects["estimate"], rtol=1e-8
    )


def test_labels_of_one_kind_pass():
    check_one_kind([[1, 2.0, np.int64(3), None], np.array([1.5])], level="x")
    frame = pd.DataFrame({"a": ["x", " ", None], "b": [1, 2, 3]})
    found = identified(frame, ["a", "b", "absent"])
    assert found["a"].isna().tolist() == [False, True, True]
    assert identified(frame, ["b"]) is frame
    assert frame["a"].iloc[1] == " "  # the caller's table stays as it is


def test_names_are_near_whatever_their_capitals():
    assert nearest_names("ses", ["SES", "sex", "score"]).startswith("SES")


@pytest.mark.parametrize("value", [True, 2.0, "3", None, 0])
def test_only_whole_numbers_count(value):
    with pytest.raises(rs.SpecificationError):
        check_count(value, argument="n")
    assert check_count(np.int64(3), argument="n") == 3


@pytest.mark.parametrize("value", [7, ["a", 7], {"a": 1}, "", [" "], ["a", "a"], b"a"])
def test_only_text_names_columns(value):
    with pytest.raises(rs.SpecificationError):
        check_names(value, argument="columns", example="columns='a'")
    assert check_names("ab", argument="columns", example="") == ("ab",)


SPACED = {"score": "test score", "prior_score": "prior 2020", "school_id": "the school"}


def spaced() -> pd.DataFrame:
    return table().rename(columns=SPACED)


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
@pytest.mark.parametrize("cut", [lambda data: data, halves])
@pytest.mark.parametrize("name", ["prior 2020", "`prior 2020`"])
def test_names_with_spaces_fit_as_plain_ones_do(cut, name):
    plain = fit(
        cut(table()),
        slopes="prior_score",
        time="year",
        intake=rs.Intake(
            composition={"prior_score": "mean"}, standardize_by="year", missing="indicator"
        ),
    )
    odd = rs.ValueAddedModel(
        "`test score` ~ `prior 2020` + ses",
        group="the school",
        slopes=name,
        time="year",
        intake=rs.Intake(
            composition={name: "mean"}, standardize_by="year", prior=name, missing="indicator"
        ),
    ).fit(cut(spaced()))
    assert odd.fixed_effects["term"].tolist() == [
        "Intercept",
        "prior 2020",
        "ses",
        "prior 2020_mean",
    ]
    np.testing.assert_allclose(  # the same rows in the same order
        odd.fixed_effects["estimate"], plain.fixed_effects["estimate"], rtol=1e-10
    )
    assert odd.formula == "`test score` ~ `prior 2020` + ses + `prior 2020_mean`"


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_an_outcome_in_backticks_works_in_every_kind():
    formula = "`test score` ~ `prior 2020` + ses"
    intake = rs.Intake(composition={"prior 2020": "mean"})
    va = rs.ValueAddedModel(formula, group="the school", intake=intake).fit(spaced())
    own = fit(intake=rs.Intake(composition={"prior_score": "mean"}))
    np.testing.assert_allclose(
        va.augment(spaced())["pupil_residual"], own.augment(table())["pupil_residual"], atol=1e-10
    )
    side = rs.ValueAddedModel(formula, crossed=["primary_id", "the school"], intake=intake)
    assert side.fit(spaced()).formula.endswith("`prior 2020_mean`")
    both = subjects().rename(columns=SPACED)
    tied = rs.ValueAddedModel(
        f"{formula} + C(subject)", group="the school", intake=intake, structure=JOINT
    ).fit(both)
    assert "prior 2020_mean" in tied.fixed_effects["term"].tolist()
    compared = rs.ValueAddedModel.compare(
        {
            "A": rs.ValueAddedModel(formula, group="the school", intake=intake),
            "B": rs.ValueAddedModel("`test score` ~ ses", group="the school"),
        },
        spaced(),
    )
    np.testing.assert_allclose(
        compared.results["A"].school_effects["effect"], va.school_effects["effect"], atol=1e-7
    )  # two optimisations of one criterion
