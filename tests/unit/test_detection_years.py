"""Rules on next year's effect, on events over years, on subjects, and the guards before a rule."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from resilience.columns import column_names
from resilience.detection import Criteria, Criterion, DetectionResults, detect_schools
from resilience.detection.verdicts.logic import NO, UNKNOWN, YES, at_least
from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.stats.verdicts.event_posterior import frechet_bounds

N = 40
IDS = [f"S{k:02d}" for k in range(N)]
VARIANCES = {"persistent": 0.09, "transient": 0.02}
BOUND = 0.1


def years_table(subjects: tuple[str, ...] = ()) -> pd.DataFrame:
    rng = np.random.default_rng(21)
    rows = []
    for j in range(N):
        u = 0.3 * rng.normal()
        for year in (2023, 2024, 2025):
            v = 0.14 * rng.normal()
            for subject in subjects or ("",):
                s2 = rng.uniform(0.01, 0.05)
                d = u + v + np.sqrt(s2) * rng.normal()
                rows.append((IDS[j], year, subject, d, s2, 30))
    names = ["school_id", "year", "subject", "residual", "sampling_variance", "n_pupils"]
    table = pd.DataFrame(rows, columns=names)
    return table if subjects else table.drop(columns="subject")


def rule(*extra: Criterion, identifier: str = "r", **fields: object) -> Criteria:
    one = Criterion(
        name="better",
        column="effect",
        evidence="posterior",
        above=BOUND,
        loss_false_positive=2.0,
        **fields,  # type: ignore[arg-type]  # fields of the criterion by name
    )
    return Criteria(id=identifier, version="1", title_en="R", title_ru="П", criteria=(one, *extra))


def one(found: DetectionResults, column: str = "probability") -> np.ndarray:
    return found.schools[column].to_numpy(dtype=float)


def by_hand(table: pd.DataFrame, *, coming: bool) -> tuple[np.ndarray, np.ndarray]:
    w = 1 / (0.02 + table["sampling_variance"])
    sums = pd.DataFrame({"w": w, "wd": w * table["residual"]}).groupby(table["school_id"]).sum()
    s2 = 1 / (1 / 0.09 + sums["w"])
    return (s2 * sums["wd"]).to_numpy(), np.sqrt(s2 + (0.02 if coming else 0.0)).to_numpy()


@pytest.mark.parametrize("coming", [False, True])
def test_from_yearly_residuals(coming: bool) -> None:
    table = years_table()
    asked = rule(years="next_year" if coming else "persistent")
    found = detect_schools(None, None, asked, school_years=table, variances=VARIANCES)
    mean, sd = by_hand(table, coming=coming)
    np.testing.assert_allclose(one(found), stats.norm.sf(BOUND, mean, sd), atol=1e-10)
    np.testing.assert_allclose(one(found, "effect_net"), mean, atol=1e-10)
    np.testing.assert_allclose(one(found, "effect_net_sd"), sd, atol=1e-10)
    target = found.schools["target"].iloc[0]
    assert target == ("next year's effect" if coming else "persistent effect")
    assert re.search("[а-я]{4}", target.ru)


def test_next_year_from_a_table_of_effects_is_the_same() -> None:
    table = years_table()
    w = (1 / (0.02 + table["sampling_variance"])).groupby(table["school_id"]).sum().to_numpy()
    mean, _ = by_hand(table, coming=False)
    trust = 0.09 * w / (1 + 0.09 * w)
    effects = pd.DataFrame(
        {
            "school_id": IDS,
            "effect": mean,
            "conditional_sd": np.sqrt(0.09 * (1 - trust)),
            "reliability": trust,
            "n_pupils": 90,
            "n_years": 3,
        }
    )
    scores = pd.DataFrame(
        {
            "school_id": IDS,
            "context_index": np.linspace(30, 70, N),
            "context_index_std_error": 4.0,
            "context_reliability": 0.85,
        }
    )
    gate = Criterion(
        name="adverse",
        column="context_index",
        evidence="posterior",
        at_most=0.25,
        scale="quantile",
        loss_false_positive=2.0,
    )
    asked = rule(gate, years="next_year")
    direct = detect_schools(effects, scores, asked, variances=VARIANCES)
    by_year = detect_schools(None, scores, asked, school_years=table, variances=VARIANCES)
    for column in ("probability", "probability_policy", "probability_effect", "power_to_detect"):
        np.testing.assert_allclose(one(direct, column), one(by_year, column), atol=1e-9)
    lasting = detect_schools(effects, scores, rule(gate, years="persistent"), variances=VARIANCES)
    assert (one(direct, "power_to_detect") <= one(lasting, "power_to_detect") + 1e-12).all()
    np.testing.assert_allclose(direct.working["transient_variance"], 0.02)
    with pytest.raises(SpecificationError, match="transient"):
        detect_schools(effects, scores, asked)


def test_variances_are_estimated_where_none_are_given() -> None:
    found = detect_schools(None, None, rule(years="next_year"), school_years=years_table())
    assert any("restricted maximum likelihood" in note for note in found.notes)
    variance = found.working["effect_variance"].iloc[0]
    assert 0.04 < variance < 0.16  # .09 with the error of forty schools


def test_one_year_cannot_tell_what_lasts() -> None:
    table = years_table()
    one_year = table[table["year"] == 2025]
    with pytest.raises(DataError, match="two years"):
        detect_schools(None, None, rule(years="next_year"), school_years=one_year)


def test_correlated_years_need_their_variances() -> None:
    table = years_table()
    lag = {"lag_correlation": 0.6}
    with pytest.raises(SpecificationError, match="lag_correlation"):
        detect_schools(None, None, rule(years="next_year"), school_years=table, variances=lag)
    asked = rule(years="next_year")
    args = {"school_years": table}
    found = detect_schools(None, None, asked, variances=VARIANCES | lag, **args)
    own = table[table["school_id"] == "S03"]
    R = 0.6 ** np.abs(np.subtract.outer(np.arange(3), np.arange(3)))
    V = 0.09 + 0.02 * R + np.diag(own["sampling_variance"])
    k = 0.09 + 0.02 * 0.6 ** np.array([3, 2, 1])
    gain = np.linalg.solve(V, k)
    p = stats.norm.sf(BOUND, gain @ own["residual"], np.sqrt(0.11 - gain @ k))
    assert one(found)[3] == pytest.approx(p, abs=1e-10)
    with pytest.raises(SpecificationError, match=r"\[0, 1\)"):
        detect_schools(None, None, asked, variances={"lag_correlation": 1.0}, **args)


def test_events_over_years() -> None:
    table = years_table()
    found = {}
    for k in (1, 2, 3):
        asked = rule(years_at_least=k, years_of=3)
        results = detect_schools(None, None, asked, school_years=table, variances=VARIANCES)
        found[k] = one(results)
        assert any("Monte-Carlo" in note for note in results.notes)
        assert results.schools["target"].iloc[0] == f"effect of a year in at least {k} of 3 years"
    assert (found[1] >= found[2]).all()
    assert (found[2] >= found[3]).all()
    assert (found[1] > found[3]).any()
    lasting = Criterion(
        name="lasting",
        column="effect",
        evidence="posterior",
        above=BOUND,
        loss_false_positive=2.0,
    )
    both = rule(lasting, years_at_least=2, years_of=3)
    joint = detect_schools(None, None, both, school_years=table, variances=VARIANCES)
    assert (one(joint) <= found[2]).all()
    assert (one(joint) < found[2]).any()
    with pytest.raises(SpecificationError, match="2022"):
        detect_schools(
            None,
            None,
            rule(years_at_least=2, years_of=4),
            school_years=table,
            variances=VARIANCES,
        )
    twice = rule(replace(lasting, years="next_year"))
    with pytest.raises(SpecificationError, match="at most one"):
        detect_schools(None, None, twice, school_years=table, variances=VARIANCES)


SUBJECTS = ("МА", "РУ")


def test_subjects_by_their_bounds() -> None:
    table = years_table(SUBJECTS)
    apart = []
    for subject in SUBJECTS:
        own = table[table["subject"] == subject].drop(columns="subject")
        apart.append(one(detect_schools(None, None, rule(), school_years=own, variances=VARIANCES)))
    p = np.stack(apart, axis=1)
    for asked, m in (("any", 1), ("all", 2), (2, 2)):
        found = detect_schools(
            None, None, rule(subjects=asked), school_years=table, variances=VARIANCES
        )
        low, high = frechet_bounds(p, m)
        np.testing.assert_allclose(one(found), low, atol=1e-12)
        np.testing.assert_allclose(one(found, "probability_from"), low, atol=1e-12)
        np.testing.assert_allclose(one(found, "probability_to"), high, atol=1e-12)
        listed = (found.schools["verdict"] == "yes").to_numpy()
        assert (low[listed] >= 2 / 3).all()  # decided on the lower bound
    with pytest.raises(SpecificationError, match="subject"):
        detect_schools(
            None,
            None,
            rule(subjects="all"),
            school_years=table.drop(columns="subject").drop_duplicates(["school_id", "year"]),
            variances=VARIANCES,
        )


@pytest.mark.parametrize("r", [None, 0.3])
def test_the_mean_over_subjects_has_the_variance_of_the_formula(r: float | None) -> None:
    table = years_table(SUBJECTS)
    given = VARIANCES if r is None else VARIANCES | {"subject_correlation": r}
    found = detect_schools(None, None, rule(), school_years=table, variances=given)
    rho = 0.5 if r is None else r
    wide = table.pivot_table(index=["school_id", "year"], columns="subject")
    s = np.sqrt(wide["sampling_variance"].to_numpy())
    variance = (s[:, 0] ** 2 + s[:, 1] ** 2 + 2 * rho * s[:, 0] * s[:, 1]) / 4
    mean_table = pd.DataFrame(
        {
            "school_id": wide.index.get_level_values(0),
            "residual": wide["residual"].mean(axis=1).to_numpy(),
            "sampling_variance": variance,
        }
    )
    mean, sd = by_hand(mean_table, coming=False)
    np.testing.assert_allclose(one(found), stats.norm.sf(BOUND, mean, sd), atol=1e-10)
    assert any(("stated" in note) == (r is None) for note in found.notes if "subjects" in note)


def test_subjects_of_a_point_criterion() -> None:
    table = pd.DataFrame(
        {
            "school_id": ["A", "A", "B", "B", "C", "C"],
            "year": 2025,
            "subject": [*SUBJECTS] * 3,
            "residual": [0.3, 0.2, 0.3, -0.1, 0.4, np.nan],
        }
    )
    answers = {}
    for asked in ("any", "all", 2, "mean"):
        line = Criterion(name="c", column="residual", above=0.0, subjects=asked)  # type: ignore[arg-type]
        own = Criteria(id="r", version="1", title_en="R", title_ru="П", criteria=(line,))
        with pytest.warns(WeakDataWarning, match="only 3 schools"):
            found = detect_schools(None, None, own, school_years=table)
        answers[asked] = list(found.schools["verdict"])
    assert answers["any"] == ["yes", "yes", "yes"]
    # a subject that C never has is not counted among all; two it cannot have
    assert answers["all"] == ["yes", "no", "yes"]
    assert answers[2] == ["yes", "no", "no"]
    assert answers["mean"] == ["yes", "yes", "yes"]


def test_weights_of_criteria() -> None:
    answers = np.array(
        [[YES, NO, NO], [NO, YES, YES], [NO, YES, UNKNOWN], [NO, NO, UNKNOWN]], dtype=np.int8
    )
    found = at_least(answers, 0.5, [0.5, 0.3, 0.2])
    np.testing.assert_array_equal(found, [YES, YES, UNKNOWN, NO])
    np.testing.assert_array_equal(at_least(answers, 2), [NO, YES, UNKNOWN, NO])


def counts() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = [
        (s, 2025, p, 20, int(rng.binomial(20, 0.25)))
        for s in IDS
        for p in ("ВПР-5-МА", "ВПР-5-РУ", "ОГЭ-МА")
    ]
    names = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    return pd.DataFrame(rows, columns=names)


def share_rule(**fields: object) -> Criteria:
    line = Criterion(name="low", column="share_below_minimum", at_least=0.3, procedures_at_least=2)
    return Criteria(
        id="low",
        version="1",
        title_en="L",
        title_ru="Н",
        criteria=(line,),
        **fields,  # type: ignore[arg-type]  # fields of the rule by name
    )


def test_flagged_schools() -> None:
    table = counts()
    schools = pd.DataFrame({"school_id": IDS, "integrity_flag": [True, False, *[None] * (N - 2)]})
    plain = detect_schools(None, None, share_rule(), counts=table).schools["verdict"]
    aside = detect_schools(
        None, None, share_rule(exclude_flagged=True), counts=table, schools=schools
    )
    assert aside.schools["verdict"].iloc[0] == "not_applicable"
    assert list(aside.schools["verdict"].iloc[1:]) == list(plain.iloc[1:])
    assert "further analysis" in str(aside.schools["reason"].iloc[0])
    flags = schools.assign(integrity_flag=True)
    with pytest.warns(WeakDataWarning, match="no answer"):
        doubted = detect_schools(
            None, None, share_rule(exclude_flagged_vpr=True), counts=table, schools=flags
        )
    # a yes stands; a no could have been a yes if the two ВПР had been low
    expected = np.where(plain == "yes", "yes", "insufficient_data")
    assert list(doubted.schools["verdict"]) == list(expected)
    assert {"yes", "insufficient_data"} == set(expected)
    without = detect_schools(None, None, share_rule(exclude_flagged=True), counts=table)
    assert any("integrity_flag" in note for note in without.notes)


def test_needs_and_pupils() -> None:
    table = counts()
    with pytest.raises(SpecificationError, match="schools"):
        detect_schools(None, None, share_rule(needs=("schools.is_rural",)), counts=table)
    with pytest.raises(DataError, match="is_rural"):
        detect_schools(
            None,
            None,
            share_rule(needs=("schools.is_rural",)),
            counts=table,
            schools=pd.DataFrame({"school_id": IDS}),
        )
    with pytest.raises(SpecificationError, match="no such table"):
        detect_schools(None, None, share_rule(needs=("school.is_rural",)), counts=table)
    with pytest.raises(SpecificationError, match="pupils"):
        detect_schools(None, None, share_rule(unit="pupil"), counts=table)


def test_the_open_end_of_between() -> None:
    table = counts().assign(n_below_minimum=6)  # .30 everywhere
    for open_above, verdict in ((False, "yes"), (True, "no")):
        line = Criterion(
            name="c", column="share_below_minimum", between=(0.2, 0.3), open_above=open_above
        )
        own = Criteria(id="r", version="1", title_en="R", title_ru="П", criteria=(line,))
        assert set(detect_schools(None, None, own, counts=table).schools["verdict"]) == {verdict}
        level = Criterion(name="c", column="mean_score", between=(0.2, 0.3), open_above=open_above)
        own = Criteria(id="r", version="1", title_en="R", title_ru="П", criteria=(level,))
        schools = pd.DataFrame({"school_id": IDS, "mean_score": 0.3})
        assert set(detect_schools(None, None, own, schools=schools).schools["verdict"]) == {verdict}


def test_every_column_and_both_languages() -> None:
    found = detect_schools(
        None,
        None,
        [rule(years="next_year"), rule(identifier="e", years_at_least=2, years_of=3)],
        school_years=years_table(),
        variances=VARIANCES,
    )
    for table in (found.schools, found.criteria, found.working):
        assert set(table.columns) <= set(column_names())
    for verdict in set(found.schools["verdict"]):
        school = found.schools.loc[found.schools["verdict"] == verdict, "school_id"].iloc[0]
        said = str(found.explain(school, lang="ru"))
        assert "{" not in said
        assert re.search("[а-я]{4}", said)
    for note in found.notes:
        assert re.search("[а-я]{4}", note.ru)


@pytest.mark.filterwarnings("ignore:.*have no answer for want of data")
@pytest.mark.parametrize(
    ("fields", "answers"),
    [
        ({}, {"insufficient_data"}),
        ({"years": "next_year"}, {"insufficient_data"}),
        ({"years_at_least": 2, "years_of": 3}, None),  # of years gone by there are data
    ],
)
def test_where_nothing_lasts_only_single_years_can_be_judged(fields, answers) -> None:
    variances = VARIANCES | {"persistent": 0.0}
    data = years_table()
    if answers is None:
        found = detect_schools(None, None, rule(**fields), school_years=data, variances=variances)
        assert np.isfinite(one(found)).all()
        assert len(set(found.schools["verdict"])) > 1
        return
    with pytest.warns(WeakDataWarning, match="estimated at zero"):
        found = detect_schools(None, None, rule(**fields), school_years=data, variances=variances)
    assert set(found.schools["verdict"]) == answers
    assert np.isnan(one(found)).all()


def test_years_that_hang_together_tell_of_the_next_where_nothing_lasts() -> None:
    variances = VARIANCES | {"persistent": 0.0, "lag_correlation": 0.8}
    found = detect_schools(
        None, None, rule(years="next_year"), school_years=years_table(), variances=variances
    )
    assert np.isfinite(one(found)).all()


def test_a_subject_without_variation_leaves_a_yes_and_takes_a_no() -> None:
    """Two subjects, effects of one of them all alike: its probability may be anything."""
    table = years_table(("МА", "РУ"))
    ru = table["subject"] == "РУ"
    table.loc[ru, "residual"] = 0.001 * np.sin(np.arange(int(ru.sum())))
    alone = detect_schools(None, None, rule(), school_years=table[~ru].drop(columns="subject"))
    with pytest.warns(WeakDataWarning, match="estimated at zero"):
        either = detect_schools(None, None, rule(subjects="any"), school_years=table).schools
    with pytest.warns(WeakDataWarning, match="estimated at zero"):
        both = detect_schools(None, None, rule(subjects="all"), school_years=table).schools
    sure = (alone.schools["verdict"] == "yes").to_numpy()
    assert sure.any()
    assert not sure.all()
    assert set(either["verdict"][sure]) == {"yes"}
    assert set(either["verdict"][~sure]) == {"insufficient_data"}
    assert (either["probability_to"] == 1.0).all()
    # both of them: no where the other subject alone says no
    assert "yes" not in set(both["verdict"])
    p = one(alone)
    sure_no = p <= rule().p_no
    assert set(both["verdict"][sure_no]) == {"no"}
    assert set(both["verdict"][~sure_no]) == {"insufficient_data"}
