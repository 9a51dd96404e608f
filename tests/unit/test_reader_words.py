"""What a reader meets in words: counted nouns, tables, the summary, reasons."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience import i18n
from resilience.i18n import Bilingual, text
from resilience.results import format_table


@cache
def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n, J = 540, 18
    school, year, prior = np.arange(n) % J, np.arange(n) // J % 3, rng.normal(size=n)
    passing = rng.normal(0, 0.3, (J, 3)).cumsum(axis=1)
    score = 0.6 * prior + rng.normal(0, 0.4, J)[school] + passing[school, year]
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "pupil_key": np.arange(n),
            "year": 2021 + year,
            "prior_score": prior,
            "балл": prior,
            "score": score + rng.normal(0, 0.7, n),
        }
    )


@cache
def fit(formula: str = "score ~ prior_score", time: str | None = None, drift: str | None = None):
    structure = rs.Structure(drift=drift) if drift else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)  # three years tell drift weakly
        return rs.ValueAddedModel(formula, group="school_id", time=time, structure=structure).fit(
            pupils()
        )


@pytest.mark.parametrize(
    ("n", "russian", "english"),
    [
        (1, "1 ученик", "1 pupil"),
        (2, "2 ученика", "2 pupils"),
        (4, "4 ученика", "4 pupils"),
        (5, "5 учеников", "5 pupils"),
        (11, "11 учеников", "11 pupils"),
        (14, "14 учеников", "14 pupils"),
        (20, "20 учеников", "20 pupils"),
        (21, "21 ученик", "21 pupils"),
        (112, "112 учеников", "112 pupils"),
        (122, "122 ученика", "122 pupils"),
        ("53", "53 ученика", "53 pupils"),
        ("16.7", "16,7 ученика", "16.7 pupils"),
        (0, "0 учеников", "0 pupils"),
    ],
)
def test_a_counted_noun_has_the_form_of_its_number(n, russian, english, monkeypatch) -> None:
    wording = ("{n:pupil|pupils} {{of}} {x}", "{n:ученик|ученика|учеников} {{из}} {x}")
    monkeypatch.setattr(i18n, "_texts", lambda namespace: {"k": wording})
    found = text("t.k", n=n, x=Bilingual("a", "б"))
    assert found == f"{english} {{of}} a"
    assert found.ru == f"{russian} {{из}} б"


def test_a_summary_says_what_is_needed_in_natural_russian() -> None:
    table = fit(time="year").sufficiency(reliability=0.95)
    assert "потребуется" in table["reason"][0].ru
    few = pupils().head(3).assign(score=[1.0, 2.0, 2.5], prior_score=[0.0, 1.0, 0.5])
    three = few.assign(ses=[1.0, 0.0, 2.0], school_id=["A", "B", "A"])
    with pytest.raises(rs.ResilienceError) as caught:
        rs.ValueAddedModel("score ~ prior_score + ses", group="school_id").fit(three)
    assert "3 коэффициента на 3 строки" in caught.value.localized("ru")


def test_words_of_the_library_are_russian_in_russian_tables() -> None:
    va = fit(time="year")
    shown = format_table(va.variance_intervals(), "ru")
    assert set(shown["Величина"]) == {"СКО"}
    assert set(shown["Вид интервала"]) == {"профильное правдоподобие"}
    assert shown["Уровень"].iloc[-1] == "остаток"
    assert format_table(va.variance_components, "ru")["Уровень"].iloc[-1] == "остаток"
    target = format_table(va.predict_effects("next_year"), "ru")["Что оценивается"]
    assert set(target) == {"эффект следующего года"}
    boot = va.bootstrap(20).summary("ru")
    assert "фиксированная часть" in boot
    assert "коэффициент" in boot
    assert "coefficient" not in boot
    # English tables keep the values that code compares
    assert set(format_table(va.variance_intervals())["Interval"]) == {"profile"}


def test_labelled_speaks_the_language_in_cells_too() -> None:
    table = fit().sufficiency(reliability=0.99)
    shown = rs.labelled(table, "ru")
    assert set(shown.iloc[:, list(table).index("verdict")]) == {"недостаточно данных"}
    assert "потребуется" in shown.iloc[0, list(table).index("reason")]
    pd.testing.assert_series_equal(
        shown.iloc[:, list(table).index("std_error")], table["std_error"], check_names=False
    )
    assert set(rs.labelled(table).iloc[:, list(table).index("verdict")]) == {"insufficient_data"}


def test_an_unknown_language_is_refused_in_both() -> None:
    with pytest.raises(rs.SpecificationError) as caught:
        fit().summary("de")
    assert "'de' is not in the catalogue" in str(caught.value)
    assert "языка 'de' нет в каталоге" in caught.value.localized("ru")


def test_the_summary_counts_cells_of_schools_and_years() -> None:
    assert "school_id:year: 54" in fit(time="year").summary()
    assert "school_id:year: 54" in fit(time="year", drift="ar1").summary()


def test_the_question_is_said_with_what_it_rests_on() -> None:
    assert "the formula uses prior_score of Intake.prior" in fit().summary()
    other = fit("score ~ балл")
    assert other.question.key == "since_entry"
    assert "no column of Intake.prior is used (prior_score)" in other.summary()
    assert "ни один столбец из Intake.prior не использован (prior_score)" in other.summary("ru")
    asked = rs.Intake(question="last_year")
    stated = rs.ValueAddedModel("score ~ prior_score", group="school_id", intake=asked)
    assert "задан в Intake.question" in stated.fit(pupils()).summary("ru")


def test_the_most_influential_school_is_said_to_be_that() -> None:
    found = fit().influence()
    assert found.glance()["most_influential"].iloc[0] == found.schools["school_id"].iloc[0]
    assert "Самая влиятельная школа" in found.summary("ru")


def test_fading_years_are_no_slopes() -> None:
    table = fit(time="year", drift="ar1").explained_variance()
    reasons = " ".join(str(v) for v in table["basis"])
    assert "hang together from year to year" in reasons
    assert "differs from pupil to pupil" not in reasons


def test_more_pupils_in_years_of_a_mean_are_counted() -> None:
    va = fit(time="year", drift="unstructured")
    table = va.sufficiency(reliability=0.98)
    lacking = table[table["verdict"] == "insufficient_data"]
    assert len(lacking)
    assert np.isinf(lacking["years_needed"]).all()
    need = lacking["pupils_needed"].to_numpy()
    assert np.isfinite(need).all()
    assert (need > lacking["n_pupils"]).all()
    # σ_u² against the error of the mean over T years of such cohorts, by hand
    sigma, residual = va.variances["persistent"], va.variances["residual"]
    assert need.max() == 3 * np.ceil(residual * 0.98 / (sigma * 0.02) / 3)
    assert "in all" in lacking["reason"].iloc[0]
    assert "всего" in lacking["reason"].iloc[0].localized("ru")


def test_a_stated_correlation_of_joint_subjects_is_refused_with_the_reason() -> None:
    both = pd.concat([pupils().assign(subject="МА"), pupils().assign(subject="РУ")])
    both["score"] += np.sin(np.arange(len(both)) ** 2) * 0.5
    structure = rs.Structure(outcome_group="subject", unit="pupil_key")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)  # copies with noise: correlation 1
        va = rs.ValueAddedModel(
            "score ~ C(subject)", group="school_id", time="year", structure=structure
        ).fit(both.reset_index(drop=True))
    with pytest.raises(rs.SpecificationError) as caught:
        va.predict_effects("last_year", lag_correlation=0.3)
    assert "several subjects are fitted jointly" in str(caught.value)
    assert "годовые части предметов связаны" in caught.value.localized("ru")


def test_names_stand_off_the_line_where_all_effects_are_zero() -> None:
    table = pd.DataFrame(
        {
            "school_id": [f"S{k}" for k in range(12)],
            "effect": 0.0,
            "conf_low": 0.0,
            "conf_high": 0.0,
        }
    )
    ax = rs.plot_caterpillar(table)
    named = [t for t in ax.texts if t.get_text().startswith("S")]
    assert len(named) == 10
    low, high = ax.get_ylim()
    heights = [t.xy[1] for t in named]
    apart = (high - low) / 60  # of the line and of each other
    assert min(abs(y) for y in heights) > apart
    assert min(np.diff(sorted(heights))) > apart


@pytest.mark.parametrize("crossed", [None, ["pupil_school", "school_id"]])
def test_an_unknown_level_of_a_structure_is_named_in_russian(crossed) -> None:
    structure = rs.Structure(covariance={"schol_id": "diagonal"})
    units = {"crossed": crossed} if crossed else {"group": "school_id"}
    model = rs.ValueAddedModel("score ~ prior_score", structure=structure, **units)
    table = pupils().assign(pupil_school=pupils()["pupil_key"] % 7)
    with pytest.raises(rs.SpecificationError) as caught:
        model.fit(table)
    assert "уровень в Structure.covariance" in caught.value.localized("ru")
    assert "level in" not in caught.value.localized("ru")
