"""Resilient pupils: percentiles with ties, cuts, schools' posteriors, bad input."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import resilience as rs
from resilience.columns import column_names
from resilience.detection.pupils import resilient_pupils
from resilience.stats.lists.rule_chance import resilient_share
from resilience.stats.proportions import fit_beta_prior
from resilience.stats.verdicts.decisions import LossRule


def pupils_of(rng, *, n_schools=40, per_school=50, r=0.4, subjects=("МА",), year=2025, spread=0.0):
    """Return pupils with bivariate normal status and result; ``spread`` is a SD between schools."""
    n = n_schools * per_school
    school = np.repeat(np.arange(n_schools), per_school)
    ses = rng.normal(size=n)
    noise = np.sqrt(1 - r * r - spread**2) * rng.normal(size=n)
    ability = r * ses + spread * rng.normal(size=n_schools)[school] + noise
    base = pd.DataFrame(
        {
            "pupil_key": [f"{year}-{k}" for k in range(n)],
            "school_id": [f"S{k:02d}" for k in school],
            "municipality_id": "M1",
            "year": year,
            "ses": ses,
        }
    )
    pieces = [
        base.assign(subject=s, score=50 + 10 * k + (8 + k) * ability)
        for k, s in enumerate(subjects)
    ]
    return pd.concat(pieces, ignore_index=True)


@pytest.mark.parametrize("r_squared", [0.12, 0.13, 0.20, 0.0])
def test_simulated_share_equals_the_closed_form(r_squared):
    """Recovery: 100,000 bivariate normal pupils."""
    frame = pupils_of(np.random.default_rng(1), n_schools=50, per_school=2000, r=np.sqrt(r_squared))
    found = resilient_pupils(frame, "oecd_national", n_bootstrap=10)
    expected = float(resilient_share(r_squared))
    # binomial error over the disadvantaged; that of the cuts is smaller and of the same order
    error = np.sqrt(expected * (1 - expected) / 25_000)
    assert abs(found.share - expected) < 3 * error
    row = found.years.iloc[-1]
    assert abs(row["resilient_share_normal"] - expected) < 3 * error


def test_residual_share_is_the_top_share_whatever_the_slope():
    frame = pupils_of(np.random.default_rng(2), n_schools=50, per_school=1000, r=0.6)
    found = resilient_pupils(frame, "oecd_residual", n_bootstrap=10)
    assert abs(found.share - 0.25) < 3 * np.sqrt(0.25 * 0.75 / 12_500)
    assert found.years["resilient_share_normal"].iloc[-1] == pytest.approx(0.25)
    assert found.cuts["slope"].iloc[0] == pytest.approx(0.6, abs=0.02)


def eight():
    """Eight pupils in two schools; status 1 2 2 3 4 5 6 7, the twos at percentile .25."""
    return pd.DataFrame(
        {
            "pupil_key": list("abcdefgh"),
            "school_id": ["S1", "S2"] * 4,
            "year": 2025,
            "subject": "МА",
            "ses": [1, 2, 2, 3, 4, 5, 6, 7],
            "score": [8, 7, 1, 2, 3, 4, 5, 6],
        }
    )


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # two schools
def test_ties_stand_together_and_the_share_is_counted():
    found = resilient_pupils(eight(), "oecd_national")
    row = found.years.iloc[-1]
    assert (row["n_pupils"], row["n_disadvantaged"], row["n_resilient"]) == (8, 3, 2)
    assert found.share == pytest.approx(2 / 3)
    # Wilson's interval of 2 of 3
    assert row["resilient_share_low"] == pytest.approx(0.2077, abs=5e-5)
    assert row["resilient_share_high"] == pytest.approx(0.9385, abs=5e-5)
    by_school = found.schools.set_index("school_id")
    assert by_school.loc["S1", ["n_disadvantaged", "n_resilient"]].tolist() == [2, 1]
    assert by_school.loc["S2", ["n_disadvantaged", "n_resilient"]].tolist() == [1, 1]
    assert (found.schools["verdict"] == "insufficient_data").all()
    classes = found.augment(eight())
    assert classes["is_disadvantaged"].tolist() == [True] * 3 + [False] * 5
    assert classes["is_resilient"].tolist() == [True, True] + [False] * 6


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # two schools
def test_core_skills_ask_for_every_subject():
    more = pd.concat([eight(), eight().iloc[[0, 2, 4]].assign(subject="РУ", score=[5, 6, 7])])
    found = resilient_pupils(more, "oecd_core_skills", minimum_scores={"МА": 2, "РУ": 5})
    classes = found.augment(more).drop_duplicates("pupil_key").set_index("pupil_key")
    # a reaches both; b lacks the second subject; c falls short in the first
    assert classes["is_resilient"].tolist() == [True] + [False] * 7
    assert "5" in str(next(n for n in found.notes if "lack" in n))
    assert np.isnan(found.years["resilient_share_normal"].iloc[-1])
    with pytest.raises(rs.SpecificationError, match="РУ"):
        resilient_pupils(more, "oecd_core_skills", minimum_scores={"МА": 2})
    with pytest.raises(rs.SpecificationError, match="ФИ"):
        resilient_pupils(more, "oecd_core_skills", minimum_scores={"МА": 2, "РУ": 5, "ФИ": 1})
    with pytest.raises(rs.SpecificationError, match="oecd_national"):
        resilient_pupils(more, "oecd_national", minimum_scores={"МА": 2, "РУ": 5})


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # two schools
def test_core_skills_by_level():
    levels = eight().assign(proficiency_level=[3, 2, 4, 5, 5, 5, 5, 5])
    found = resilient_pupils(levels, "oecd_core_skills")
    assert found.augment(levels)["is_resilient"].tolist() == [True, False, True] + [False] * 5
    higher = rs.Criteria.preset("oecd_core_skills").amend("core_skills", at_least=4)
    found = resilient_pupils(levels, higher)
    assert found.augment(levels)["is_resilient"].tolist() == [False, False, True] + [False] * 5
    with pytest.raises(rs.DataError, match="proficiency_level"):
        resilient_pupils(eight(), "oecd_core_skills")


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # two schools
def test_bounds_are_amended_as_a_rule():
    wider = rs.Criteria.preset("oecd_national").amend("disadvantaged", at_most=0.5)
    found = resilient_pupils(eight(), wider)
    assert found.years["n_disadvantaged"].iloc[-1] == 4  # status 4 stands at percentile .5625
    assert found.definition.ses_at_most == 0.5
    assert "50 %" in found.summary()


def test_the_table_of_schools_serves_the_preset_on_pupils():
    frame = pupils_of(np.random.default_rng(11), n_schools=60, per_school=80, spread=0.5)
    found = resilient_pupils(frame, "oecd_national", min_pupils=1).schools
    rule = rs.Criteria.preset("pupil_share").amend(exclude_selective=False)
    judged = rs.detect_schools(None, None, rule, schools=found).schools
    yes = set(judged.loc[judged["verdict"] == "yes", "school_id"])
    assert yes == set(found.loc[found["verdict"] == "yes", "school_id"])


def test_years_and_subjects_have_their_own_scales():
    rng = np.random.default_rng(3)
    one = pupils_of(rng, subjects=("МА", "РУ"))
    other = pupils_of(rng, year=2024, subjects=("МА", "РУ"))
    both = pd.concat([one, other.assign(score=other["score"] / 10, ses=other["ses"] + 5)])
    found = resilient_pupils(both, "oecd_national", n_bootstrap=50)
    alone = resilient_pupils(one, "oecd_national", n_bootstrap=50)
    pd.testing.assert_series_equal(
        found.cuts.iloc[1], alone.cuts.iloc[0], check_names=False, atol=1e-12
    )
    counts = found.years[["n_pupils", "n_disadvantaged", "n_resilient"]]
    assert (counts.iloc[:2].sum() == counts.iloc[2]).all()
    assert found.years["year"].isna().tolist() == [False, False, True]
    # part of the pupils is classified by the same cuts
    part = both[both["school_id"].isin(["S01", "S02"])]
    whole = found.augment(both).loc[lambda t: t["school_id"].isin(["S01", "S02"])]
    assert found.augment(part)["is_resilient"].tolist() == whole["is_resilient"].tolist()
    assert len(found.augment(part)) == len(part)


def test_schools_are_judged_by_their_posterior():
    frame = pupils_of(np.random.default_rng(4), n_schools=60, per_school=80, spread=0.5)
    found = resilient_pupils(frame, "oecd_national")
    table = found.schools
    f, n = table["n_resilient"].to_numpy(), table["n_disadvantaged"].to_numpy()
    prior = fit_beta_prior(f, n)
    p = stats.beta.sf(f.sum() / n.sum(), prior.alpha + f, prior.beta + n - f)
    assert table["probability_resilient_share"].to_numpy() == pytest.approx(p, abs=1e-12)
    enough = n >= 10
    assert ((table["verdict"] == "yes") == (enough & (p >= 0.8))).all()
    assert (table.loc[~enough, "verdict"] == "insufficient_data").all()
    no = table[table["verdict"] == "no"]
    assert ((no["power_to_detect"] >= 0.5) | (no["probability_resilient_share"] <= 0.05)).all()
    # clustered pupils: whole schools vary more than independent pupils would
    row = found.years.iloc[-1]
    wilson = row["resilient_share_high"] - row["resilient_share_low"]
    assert row["cluster_high"] - row["cluster_low"] > 1.3 * wilson
    even = resilient_pupils(
        frame, "oecd_national", losses=LossRule(false_positive=1, false_negative=1)
    )
    assert set(table.loc[table["verdict"] == "yes", "school_id"]) <= set(
        even.schools.loc[even.schools["verdict"] == "yes", "school_id"]
    )


def test_power_is_the_chance_of_a_yes():
    """Brute force: draw counts of a school at the 90th percentile and judge them."""
    frame = pupils_of(np.random.default_rng(5), n_schools=60, per_school=80, spread=0.5)
    table = resilient_pupils(frame, "oecd_national").schools
    f, n = table["n_resilient"].to_numpy(), table["n_disadvantaged"].to_numpy()
    prior, regional = fit_beta_prior(f, n), f.sum() / n.sum()
    high = stats.beta.ppf(0.9, prior.alpha, prior.beta)
    rng = np.random.default_rng(6)
    for k in (0, 20, 40):
        drawn = rng.binomial(n[k], high, size=20_000)
        yes = stats.beta.sf(regional, prior.alpha + drawn, prior.beta + n[k] - drawn) >= 0.8
        error = np.sqrt(yes.mean() * (1 - yes.mean()) / 20_000) + 1e-6
        assert abs(yes.mean() - table["power_to_detect"].iloc[k]) < 4 * error


def test_shape_of_the_result():
    frame = pupils_of(np.random.default_rng(7), subjects=("МА", "РУ"))
    found = resilient_pupils(frame, "oecd_national", n_bootstrap=100)
    again = resilient_pupils(frame.sample(frac=1, random_state=1), "oecd_national", n_bootstrap=100)
    pd.testing.assert_frame_equal(found.schools, again.schools)
    pd.testing.assert_frame_equal(found.years, again.years)
    known = set(column_names())
    tables = (found.schools, found.years, found.cuts, found.standards, found.glance())
    assert set().union(*(t.columns for t in tables)) <= known
    assert len(found.glance()) == 1
    for lang in ("en", "ru"):
        shown = found.summary(lang)
        assert shown.startswith(found.title(lang))
        assert not re.search(r"\bnan\b|None|<NA>", shown)
    assert "<table" in found._repr_html_()
    copy = pickle.loads(pickle.dumps(found))
    pd.testing.assert_frame_equal(copy.tidy(), found.tidy())
    assert not any("pupil_key" in t.columns for t in tables)  # no pupil is kept


def test_few_schools_warn():
    frame = pupils_of(np.random.default_rng(8), n_schools=5)
    with pytest.warns(rs.WeakDataWarning, match="5 schools"):
        resilient_pupils(frame, "oecd_national", n_bootstrap=10)


BAD = [
    (lambda f: f.drop(columns="ses"), rs.DataError, "'ses'"),
    (lambda f: f.assign(ses=f["ses"].where(f.index > 3)), rs.DataError, "'ses'"),
    (lambda f: f.assign(score="good"), rs.DataError, "'score'"),
    (lambda f: pd.concat([f, f.head(1)]), rs.DataError, "pupil_key"),
    (lambda f: pd.concat([f, f.head(1).assign(subject="РУ", ses=9.0)]), rs.DataError, "two values"),
    (
        lambda f: pd.concat([f, f.head(1).assign(subject="РУ", school_id="S39")]),
        rs.DataError,
        "'school_id'",
    ),
    (lambda f: f.assign(ses=1.0), rs.DataError, "ses 2025"),
    (lambda f: f.assign(score=1.0), rs.DataError, "МА 2025"),
    (lambda f: f.assign(ses=(f["ses"] > 0.5).astype(float)), rs.DataError, "lowest 25 %"),
    (lambda f: f.head(0), rs.DataError, "pupils"),
    (lambda f: [1], rs.SpecificationError, "list"),
]


@pytest.mark.parametrize(("change", "error", "told"), BAD)
def test_bad_tables_are_named(change, error, told):
    frame = pupils_of(np.random.default_rng(9))
    with pytest.raises(error, match=told):
        resilient_pupils(change(frame), "oecd_national")


def test_bad_arguments_are_named():
    frame = pupils_of(np.random.default_rng(9))
    with pytest.raises(rs.SpecificationError, match="oecd_national"):
        resilient_pupils(frame, "oecd_nation")
    with pytest.raises(rs.SpecificationError, match="resilient_quadrant"):
        resilient_pupils(frame, rs.Criteria.preset("resilient_quadrant"))
    with pytest.raises(rs.SpecificationError, match="min_pupils is 0"):
        resilient_pupils(frame, "oecd_national", min_pupils=0)
    found = resilient_pupils(frame, "oecd_national", n_bootstrap=10)
    with pytest.raises(rs.DataError, match="МА 2020"):
        found.augment(frame.assign(year=2020))
