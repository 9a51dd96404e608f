"""The model of marks by hand: unit, place, tables, symmetries, mixtures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from resilience.errors import WeakDataWarning
from resilience.stats.marks.ordinal_cells import mark_information, mark_probabilities
from resilience.value_added.marks.ordinal import Cohort, MarkParts, OrdinalSchoolModel

MARKS = ["n_2", "n_3", "n_4", "n_5"]
CUTS = np.array([-1.2, 0.1, 1.1])
PLAIN = MarkParts(cell=False)


def region(
    seed: int = 1,
    *,
    n_schools: int = 40,
    n_years: int = 2,
    procedures: tuple[str, ...] = ("ОГЭ-МА", "ОГЭ-РУ"),
    cuts: np.ndarray = CUTS,
) -> pd.DataFrame:
    """Return counts with the means of the same pupils, correlation .5 within a school and year."""
    rng = np.random.default_rng(seed)
    rows = []
    for school in range(n_schools):
        n = int(rng.integers(4, 40))
        income, lasting = rng.normal(), 0.4 * rng.normal()
        subject = dict(zip(procedures, 0.2 * rng.normal(size=len(procedures)), strict=True))
        for year in range(2022, 2022 + n_years):
            own, common = 0.15 * rng.normal(), rng.normal(size=n)
            for procedure in procedures:
                noise = np.sqrt(0.5) * (common + rng.normal(size=n))
                score = 0.3 * income + lasting + own + subject[procedure] + noise
                counts = np.bincount((score[:, None] > cuts).sum(axis=1), minlength=len(cuts) + 1)
                row = {"school_id": f"S{school:02d}", "year": year, "procedure": procedure}
                row |= {"n_participants": n, "income": income, "mean": score.mean()}
                rows.append(row | {f"n_{k + 2}": c for k, c in enumerate(counts)})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def table():
    return region()


@pytest.fixture(scope="module")
def fitted(table):
    return OrdinalSchoolModel("~ income", cohort=Cohort(column="year"), parts=PLAIN).fit(table)


@pytest.fixture(scope="module")
def plain(table):
    """Return one procedure in two years, no covariates, no cohorts."""
    return OrdinalSchoolModel().fit(table[table["procedure"] == "ОГЭ-МА"])


# information and probabilities -----------------------------------------------


def test_information_of_known_thresholds():
    # one threshold at the median: φ(0)²/¼ = 2/π
    assert mark_information(np.array([[0.0]]))[0] == pytest.approx(2.0 / np.pi, rel=1e-14)
    # a share of 10 %: φ(z)²/(.1·.9)
    z = stats.norm.ppf(0.1)
    wanted = stats.norm.pdf(z) ** 2 / 0.09
    assert mark_information(np.array([[z]]))[0] == pytest.approx(wanted, rel=1e-12)
    # the mean of a mark's latent results, squared, weighted by its share
    edge = np.array([-np.inf, *CUTS, np.inf])
    share = np.diff(stats.norm.cdf(edge))
    mean = -np.diff(stats.norm.pdf(edge)) / share
    found = mark_information(CUTS[None])[0]
    assert found == pytest.approx((share * mean**2).sum(), rel=1e-12)
    assert found == pytest.approx(0.873, abs=5e-4)
    np.testing.assert_allclose(mark_probabilities(CUTS[None])[0], share, rtol=1e-12)


def test_finer_marks_keep_more_up_to_all():
    kept = [
        mark_information(stats.norm.ppf(np.arange(1, k) / k)[None])[0] for k in (2, 3, 4, 8, 400)
    ]
    assert (np.diff(kept) > 0).all()
    assert 0.999 < kept[-1] < 1.0
    # a threshold that splits no pupils adds nothing
    assert mark_information(np.array([[0.0, 60.0]]))[0] == pytest.approx(2.0 / np.pi, rel=1e-14)


# unit and place --------------------------------------------------------------


def test_pupils_of_the_region_have_variance_one(plain, fitted, table):
    assert plain.variance_components["variance"].sum() == pytest.approx(1.0, rel=1e-12)
    # with covariates the fixed part has its share: that of income over pupils
    slope = fitted.fixed_effects["estimate"].iloc[0]
    weights = table["n_participants"]
    centre = np.average(table["income"], weights=weights)
    spread = np.average((table["income"] - centre) ** 2, weights=weights)
    total = fitted.variance_components["variance"].sum() + slope**2 * spread
    # every procedure and year has the same pupils here, so that the blocks' means agree
    assert total == pytest.approx(1.0, rel=1e-9)


def test_effects_and_thresholds_are_placed_by_each_other(plain, table):
    # a shift of all thresholds is a shift of all schools: at the mode the effects sum to zero
    assert plain.school_effects["effect"].sum() == pytest.approx(0.0, abs=1e-5)
    counts = table[table["procedure"] == "ОГЭ-МА"].groupby("year")[MARKS].sum()
    share = counts.cumsum(axis=1).div(counts.sum(axis=1), axis=0).iloc[:, :3]
    cuts = plain.thresholds.pivot_table(index="year", columns="border", values="threshold")
    assert list(cuts.columns) == ["3", "4", "5"]
    # in the unit of the region a threshold is where its share of the normal lies, up to the
    # difference of pupils' and schools' means, .08 with forty schools of unequal size
    np.testing.assert_allclose(cuts, stats.norm.ppf(share), atol=0.12)
    assert (plain.thresholds["std_error"] > 0).all()


def test_thresholds_of_an_easier_form_move_and_effects_stay(table):
    one = table[table["procedure"] == "ОГЭ-МА"].reset_index(drop=True)
    found = OrdinalSchoolModel().fit(one)
    # in one year the two lowest marks are called by the higher one's name
    easier = one.copy()
    last = easier["year"] == 2023
    easier.loc[last, "n_3"] += easier.loc[last, "n_2"]
    easier.loc[last, "n_2"] = 0
    other = OrdinalSchoolModel().fit(easier)
    borders = other.thresholds.groupby("year")["border"].apply(list)
    assert borders[2022] == ["3", "4", "5"]
    assert borders[2023] == ["4", "5"]
    effects = np.corrcoef(found.school_effects["effect"], other.school_effects["effect"])[0, 1]
    assert effects > 0.97  # what is lost is the border of 3 in one of two years


# tables ----------------------------------------------------------------------


def test_information_table(plain, table):
    found = plain.information_table
    assert list(found.columns) == ["procedure", "year", "n_pupils", "information"]
    pupils = table[table["procedure"] == "ОГЭ-МА"].groupby("year")["n_participants"].sum()
    assert found["n_pupils"].tolist() == pupils.tolist()
    # thresholds in SD within schools; schools away from the centre keep a little less
    within = np.sqrt(plain.variances["residual"])
    cuts = plain.thresholds["threshold"].to_numpy().reshape(2, 3) / within
    np.testing.assert_allclose(found["information"], mark_information(cuts), atol=0.03)
    assert plain.information == pytest.approx(
        np.average(found["information"], weights=found["n_pupils"]), rel=1e-12
    )


def test_mark_shares(fitted, table):
    found = fitted.mark_shares
    sums = found.groupby(["procedure", "year"])[["observed_share", "fitted_share"]].sum()
    np.testing.assert_allclose(sums, 1.0, rtol=1e-12)
    seen = table.groupby(["procedure", "year"])[MARKS].sum().to_numpy()
    assert found["n_marks"].to_numpy().reshape(-1, 4).tolist() == seen.tolist()
    # thresholds are free: fitted shares miss the observed ones by shrinkage alone
    assert (found["observed_share"] - found["fitted_share"]).abs().max() < 0.01


def test_scores_would_have_been_more_reliable(fitted, plain):
    for result in (fitted, plain):
        found = result.coarsening
        assert (found["reliability_scores"] > found["reliability"]).all()
        np.testing.assert_array_equal(found["reliability"], result.school_effects["reliability"])
        assert (found["reliability_scores"] < 1.0).all()


def test_scores_reliability_by_hand(plain):
    # n scores a year: 1/variance = 1/τ² + Σ 1/(ω² + σ²/n)
    v, years = plain.variances, plain.school_years
    precision = 1.0 / (v["transient"] + v["residual"] / years["n_pupils"])
    total = precision.groupby(years["school_id"]).sum().to_numpy()
    wanted = 1.0 - 1.0 / (1.0 + v["persistent"] * total)
    np.testing.assert_allclose(plain.coarsening["reliability_scores"], wanted, rtol=1e-9)


def test_school_years_lead_back_to_the_effects(plain):
    years = plain.school_years
    assert list(years.columns) == ["school_id", "year", "residual", "sampling_variance", "n_pupils"]
    assert len(years) == 80
    v = plain.variances
    weight = 1.0 / (v["transient"] + years["sampling_variance"])
    sums = (weight * years["residual"]).groupby(years["school_id"]).sum()
    total = 1.0 / v["persistent"] + weight.groupby(years["school_id"]).sum()
    # at the mode the working estimates give back the mode, whatever the marks
    np.testing.assert_allclose(plain.school_effects["effect"], sums / total, atol=1e-6)
    np.testing.assert_allclose(
        plain.school_effects["conditional_sd"], 1.0 / np.sqrt(total), rtol=1e-6
    )


def test_pupils_of_a_cohort_count_once(fitted, table):
    once = table.drop_duplicates(["school_id", "year"])
    pupils = once.groupby("school_id")["n_participants"].sum()
    assert fitted.school_effects["n_pupils"].tolist() == pupils.tolist()
    alone = OrdinalSchoolModel("~ income", parts=PLAIN).fit(table)
    assert alone.school_effects["n_pupils"].tolist() == (2 * pupils).tolist()
    # and cells that share pupils say less together than the variance of effects suggests
    ratio = fitted.school_effects["conditional_sd"] / alone.school_effects["conditional_sd"]
    assert ratio.median() > 1.02


def test_procedure_effects(fitted):
    found = fitted.procedure_effects
    assert list(found.columns) == [
        "school_id",
        "procedure",
        "effect",
        "std_error",
        "conditional_sd",
    ]
    assert len(found) == 80
    assert (found["std_error"] >= found["conditional_sd"]).all()


def test_spread_of_schools():
    frame = region(3, n_schools=30, procedures=("ОГЭ-МА",))
    # ten schools give extreme marks alone, ten the middle ones
    frame[MARKS] = 0
    rng = np.random.default_rng(0)
    for row in range(len(frame)):
        kind = row // 20
        sd = (2.0, 1.0, 0.5)[kind]
        marks = (sd * rng.normal(size=60)[:, None] > CUTS).sum(axis=1)
        frame.loc[row, MARKS] = np.bincount(marks, minlength=4)
    frame["n_participants"] = 60
    with pytest.warns(WeakDataWarning):
        found = OrdinalSchoolModel(parts=MarkParts(spread=True)).fit(frame).spread_effects
    ratio = found["spread_ratio"].to_numpy().reshape(3, 10)
    assert ratio[0].min() > ratio[1].max() > ratio[1].min() > ratio[2].max()
    # 120 pupils each: truth 2, 1, ½, drawn towards the middle by less than a tenth
    np.testing.assert_allclose(ratio.mean(axis=1), [2.0, 1.0, 0.5], rtol=0.15)


def test_glance_tidy_and_dictionary(fitted):
    row = fitted.glance().iloc[0]
    assert row["n_schools"] == 40
    assert row["within_correlation"] == 0.5
    assert row["mean_reliability"] < row["mean_reliability_scores"] < 1.0
    assert str(row["data_kind"]) == "counts"
    assert 0.8 < row["information"] < 0.9
    tidy = fitted.tidy()
    assert tidy["term"].iloc[0] == "income"
    assert len(tidy) == 1 + 12
    # income was scaled inside: the coefficient is per unit of the column
    wanted, error = 0.3 / 1.15, tidy["std_error"].iloc[0]
    assert tidy["estimate"].iloc[0] == pytest.approx(wanted, abs=3 * error)
    plain_objects = fitted.to_dict()
    assert plain_objects["question"] == "since_entry"
    assert "state" not in plain_objects
    assert "errors" not in plain_objects


def test_russian_summary(fitted):
    words = fitted.summary(lang="ru")
    for word in ("отмет", "Школ", "0,50", "Сохран"):
        assert word.casefold() in words.casefold()
    assert "Within-school" not in words


# what must not change the effects --------------------------------------------


def effects(result) -> np.ndarray:
    return result.school_effects.set_index("school_id")["effect"].sort_index().to_numpy()


MODEL = OrdinalSchoolModel("~ income", cohort=Cohort(column="year"), parts=PLAIN)
# two searches of the same criterion from the same start differ by rounding alone
SAME = 1e-9


def test_order_of_rows(table, fitted):
    mixed = table.sample(frac=1.0, random_state=0)
    np.testing.assert_allclose(effects(MODEL.fit(mixed)), effects(fitted), atol=SAME)


def test_classes_are_summed(table, fitted):
    rng = np.random.default_rng(4)
    part = table.copy()
    part[MARKS] = rng.binomial(table[MARKS].to_numpy(), 0.4)
    rest = table.copy()
    rest[MARKS] = table[MARKS] - part[MARKS]
    classes = pd.concat([part.assign(class_label="А"), rest.assign(class_label="Б")])
    classes["n_participants"] = classes[MARKS].sum(axis=1)
    np.testing.assert_allclose(effects(MODEL.fit(classes)), effects(fitted), atol=SAME)


def test_names_of_schools_years_and_procedures(table, fitted):
    number = table["school_id"].str[1:].astype(int)
    renamed = table.assign(
        school_id=100 - number,
        year=table["year"].map({2022: 2019, 2023: 2011}),
        procedure=table["procedure"].map({"ОГЭ-МА": "Я", "ОГЭ-РУ": "А"}),
    )
    other = MODEL.fit(renamed)
    # the search passes other places: what it leaves to be gained, 1e-5 of the criterion
    np.testing.assert_allclose(effects(other)[::-1], effects(fitted), atol=1e-4)
    assert other.criterion == pytest.approx(fitted.criterion, abs=1e-4)


def test_the_scale_turned_over_turns_the_effects(table, fitted):
    turned = table.rename(columns=dict(zip(MARKS, MARKS[::-1], strict=True)))
    other = MODEL.fit(turned)
    np.testing.assert_allclose(effects(other), -effects(fitted), atol=1e-4)
    assert other.criterion == pytest.approx(fitted.criterion, abs=1e-4)


def test_a_share_is_two_marks(table):
    share = OrdinalSchoolModel(marks="n_2", participants="n_participants", parts=PLAIN).fit(table)
    above = table.assign(above=table["n_participants"] - table["n_2"])
    two = OrdinalSchoolModel(marks=("n_2", "above"), parts=PLAIN).fit(above)
    np.testing.assert_allclose(effects(share), effects(two), atol=SAME)
    assert share.thresholds["border"].unique().tolist() == ["not_below"]
    assert share.information < 0.6


def test_better_marks_raise_the_effect_of_their_school(table, fitted):
    first = table.index[table["n_3"] > 0][0]
    better = table.copy()
    better.loc[first, ["n_3", "n_4"]] += [-1, 1]
    school = table.loc[first, "school_id"]
    rows = fitted.school_effects["school_id"] == school
    gain = (MODEL.fit(better).school_effects["effect"] - fitted.school_effects["effect"])[rows]
    assert gain.iloc[0] > 0.0


def test_effects_follow_the_means_of_the_same_pupils(fitted, table):
    # without shrinkage and covariates the order of large schools is that of their means
    own = table.assign(weight=table["mean"] * table["n_participants"]).groupby("school_id")
    mean = own["weight"].sum() / own["n_participants"].sum()
    observed = fitted.school_effects.set_index("school_id")["observed_mean"]
    assert np.corrcoef(mean, observed)[0, 1] > 0.98


# means instead of counts -----------------------------------------------------


def as_means(frame: pd.DataFrame, which: pd.Series, marks: tuple[str, ...]) -> pd.DataFrame:
    """Put means in SD of the region's pupils into rows, with their sampling variances."""
    sd = np.sqrt(1.0 + 0.09 + 0.16 + 0.0225 + 0.04)
    rows = frame.assign(mean_score=np.nan, sampling_variance=np.nan)
    rows[list(marks)] = rows[list(marks)].astype(float)
    rows.loc[which, "mean_score"] = frame["mean"] / sd
    rows.loc[which, "sampling_variance"] = 1.0 / (frame["n_participants"] * sd**2)
    rows.loc[which, list(marks)] = np.nan
    return rows


def test_a_mixture_is_near_the_means_it_replaces():
    # twelve marks keep nearly all: counts of one procedure then say what its means would
    frame = region(5, cuts=stats.norm.ppf(np.arange(1, 12) / 12, scale=1.15))
    names = tuple(f"points_{k}" for k in range(1, 13))
    frame = frame.rename(columns={f"n_{k + 1}": f"points_{k}" for k in range(1, 13)})
    model = OrdinalSchoolModel(
        "~ income",
        marks=names,
        participants="n_participants",
        means=("mean_score", "sampling_variance"),
        cohort=Cohort(column="year"),
        parts=PLAIN,
    )
    one = model.fit(as_means(frame, frame["procedure"] == "ОГЭ-РУ", names))
    all_means = model.fit(as_means(frame, frame["procedure"] != "", names))
    assert one.data_kind == "mixture"
    assert all_means.data_kind == "means"
    # twelfths keep .96, means all; half the pupils' results have each
    kept = mark_information(stats.norm.ppf(np.arange(1, 12) / 12)[None])[0]
    assert one.information == pytest.approx((kept + 1.0) / 2.0, abs=0.01)
    assert all_means.information == 1.0
    a, b = effects(one), effects(all_means)
    assert np.corrcoef(a, b)[0, 1] > 0.995
    # and no school moves by more than its own error
    assert np.abs(a - b).max() < all_means.school_effects["std_error"].min()
    assert (one.thresholds["procedure"] == "ОГЭ-МА").all()
    assert one.information_table["information"].tolist()[2:] == [1.0, 1.0]


# criterion and variants ------------------------------------------------------


def test_ml_judges_covariates(table):
    one = table[table["procedure"] == "ОГЭ-МА"]
    without = OrdinalSchoolModel().fit(one, method="ml")
    with_income = OrdinalSchoolModel("~ income").fit(one, method="ml")
    noise = np.random.default_rng(8).normal(size=40)
    schools = one["school_id"].astype("category").cat.codes
    extra = one.assign(noise=noise[schools])
    with_noise = OrdinalSchoolModel("~ noise").fit(extra, method="ml")
    # one degree of freedom: income explains .3² of .25, noise nothing; 10.8 is the 1 ‰ point
    assert without.criterion - with_income.criterion > 10.8
    assert -1e-3 < without.criterion - with_noise.criterion < 10.8


def test_one_year_and_one_procedure(table):
    one = table[(table["year"] == 2022) & (table["procedure"] == "ОГЭ-МА")]
    named = OrdinalSchoolModel().fit(one)
    bare = OrdinalSchoolModel(time=None, procedure=None).fit(
        one.drop(columns=["year", "procedure"])
    )
    np.testing.assert_allclose(effects(named), effects(bare), atol=SAME)
    assert named.variance_components["group"].tolist() == ["school_id", "residual"]
    assert "year" not in bare.school_years
    assert named.procedure_effects.empty


def test_no_differences_between_schools_are_said_to_be_none():
    frame = region(2, n_schools=12, procedures=("ОГЭ-МА",))
    frame[MARKS] = [2, 5, 4, 1]
    with pytest.warns(WeakDataWarning, match="variance"):
        found = OrdinalSchoolModel().fit(frame)
    assert found.variances["persistent"] == 0.0
    assert (found.school_effects["effect"] == 0.0).all()
    assert (found.school_effects["reliability"] == 0.0).all()
    assert found.convergence.singular


def test_schools_with_one_mark_and_a_single_pupil_are_kept(table):
    frame = table.copy()
    frame.loc[frame["school_id"] == "S00", MARKS] = [9, 0, 0, 0]
    frame.loc[frame["school_id"] == "S01", MARKS] = [0, 0, 0, 9]
    frame.loc[frame["school_id"] == "S02", MARKS] = [0, 0, 1, 0]
    found = MODEL.fit(frame).school_effects
    assert len(found) == 40
    assert np.isfinite(found.select_dtypes("number")).all().all()
    assert found["effect"].idxmin() == 0
    assert found["effect"].idxmax() == 1
    assert found["reliability"].idxmin() == 2
