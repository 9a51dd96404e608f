"""What the appendix says of every kind of model of pupils: formula, words, tables."""

from __future__ import annotations

import re
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.reporting.draft import Draft
from resilience.reporting.model_words import term_words
from resilience.reporting.random_parts import level_of, random_parts
from resilience.value_added.definitions.membership import Membership

FORMULA = "score ~ prior_score + ses"


@cache
def pupils():
    rng = np.random.default_rng(1)
    n, J = 900, 20
    school, year, other = rng.integers(0, J, n), rng.integers(2022, 2025, n), rng.integers(0, 8, n)
    prior, ses = rng.normal(size=(2, n))
    score = 0.6 * prior + 0.2 * ses + 0.5 * rng.normal(size=J)[school]
    score += 0.3 * rng.normal(size=(J, 3))[school, year - 2022] + 0.3 * rng.normal(size=8)[other]
    frame = pd.DataFrame(
        {
            "municipality_id": [f"M{k % 5}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "school_id_before": [f"P{k}" for k in other],
            "before_2": [f"P{k}" for k in rng.permutation(other)],
            "year": year,
            "prior_score": prior,
            "ses": ses,
            "score": score + (0.3 * rng.normal(size=J))[school] * prior + rng.normal(size=n),
            "w1": rng.choice([1.0, 0.7], size=n),
        }
    )
    return frame.assign(w2=1.0 - frame["w1"], next_id=np.roll(frame["school_id"], 1))


@cache
def subjects():
    rng = np.random.default_rng(2)
    n, J, L = 500, 20, np.linalg.cholesky([[1.0, 0.4], [0.4, 0.8]])
    school, year, prior = rng.integers(0, J, n), rng.integers(2022, 2025, n), rng.normal(size=n)
    score = 0.6 * prior[:, None] + (rng.normal(size=(J, 2)) @ (0.6 * L.T))[school]
    score += (rng.normal(size=(J, 3, 2)) @ (0.4 * L.T))[school, year - 2022]
    score += rng.normal(size=(n, 2)) @ L.T
    rows = {"pupil_key": np.arange(n), "school_id": [f"S{k:02d}" for k in school]}
    rows |= {"municipality_id": [f"M{k % 5}" for k in school], "year": year, "prior_score": prior}
    frame = pd.DataFrame({name: np.repeat(values, 2) for name, values in rows.items()})
    return frame.assign(subject=np.tile(["МА", "РУ"], n), score=score.ravel())


def model(kind):
    joint = {"outcome_group": "subject"}
    own = {"group": "school_id"}
    options = {
        "plain": own,
        "slopes": {
            "group": ["municipality_id", "school_id"],
            "slopes": {"municipality_id": ["ses"], "school_id": ["prior_score"]},
            "time": "year",
        },
        "crossed": {**own, "crossed": ["school_id_before"], "time": "year"},
        "members": {
            "members": Membership(unit=["school_id", "next_id"], weight=["w1", "w2"], name="school")
        },
        "shares": {
            **own,
            "members": Membership(
                unit=["school_id_before", "before_2"], weight=["w1", "w2"], name="before"
            ),
        },
        "ar1": {**own, "time": "year", "structure": rs.Structure(drift="ar1")},
        "unstructured": {**own, "time": "year", "structure": rs.Structure(drift="unstructured")},
        "calibrated": {**own, "intake": rs.Intake(prior_reliability=0.8)},
        "joint": {
            **own,
            "time": "year",
            "slopes": "prior_score",
            "structure": rs.Structure(**joint, unit="pupil_key"),
        },
        "apart": {**own, "structure": rs.Structure(**joint)},
        "mixed": {
            "group": ["municipality_id", "school_id"],
            "time": "year",
            "structure": rs.Structure(
                outcome_group={"municipality_id": "subject", "school_id": "subject"},
                unit="pupil_key",
            ),
        },
    }[kind]
    formula = "score ~ C(subject) + prior_score" if "joint apart mixed".count(kind) else FORMULA
    return rs.ValueAddedModel(formula, **options)


@cache
def fitted(kind, source="frame"):
    data = subjects() if kind in ("joint", "apart", "mixed") else pupils()
    if kind == "apart":
        data = data.drop(columns="pupil_key")
    made = model(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return made.fit(made.cross_products(data) if source == "products" else data)


@cache
def document(kind, lang, source="frame"):
    return rs.methods_appendix(fitted(kind, source), None, None, lang=lang).markdown


FORMULAS = {
    "plain": (r"+ u_j + e_{ij}", r"u_j \sim N(0,\,\sigma_u^2)", r"A_j = \frac{n_j}{\sigma_e^2}"),
    "slopes": (
        r"+ w_{m(j)} + u_j + \mathbf{z}_{ijt}^\top \mathbf{b}_j + v_{jt} + e_{ijt}",
        r"(u_j,\,\mathbf{b}_j) \sim N(\mathbf{0},\,\boldsymbol{\Omega}_u)",
    ),
    "crossed": (r"+ c_{k(i)} + u_j + v_{jt} + e_{ijt}", r"c_k \sim N(0,\,\sigma_c^2)"),
    "members": (r"y_{i} = ", r"+ \sum_k \omega_{ik} u_k + e_{i}", r"u_k \sim N("),
    "shares": (r"+ \sum_k \omega_{ik}\, a_k + u_j + e_{ij}", r"a_k \sim N(0,\,\sigma_a^2)"),
    "ar1": (r"+ u_j + v_{jt} + e_{ijt}", r"\text{cor}(v_{jt},\, v_{js}) = \rho^{\left|t-s\right|}"),
    "unstructured": (r"(u_j + v_{j1},\,\ldots,\,u_j + v_{jT}) \sim N(\mathbf{0}",),
    "joint": (
        r"+ u_{js} + \mathbf{z}_{ijts}^\top \mathbf{b}_j + v_{jts} + e_{ijts}",
        r"(u_{j1},\,\ldots,\,u_{jS},\,\mathbf{b}_j) \sim N(",
        r"(e_{ijt1},\,\ldots,\,e_{ijtS}) \sim N(\mathbf{0},\,\boldsymbol{\Omega}_e)",
    ),
    "apart": (r"+ u_{js} + e_{ijs}", r"e_{ijs} \sim N(0,\,\sigma_{e,s}^2)"),
    "mixed": (
        r"+ w_{m(j)s} + u_{js} + v_{jt} + e_{ijts}",
        r"(w_{m1},\,\ldots,\,w_{mS}) \sim N(",
        r"v_{jt} \sim N(0,\,\sigma_v^2)",
    ),
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_the_formula_holds_the_parts_of_the_model(kind):
    for lang in ("en", "ru"):
        text = document(kind, lang)
        for piece in FORMULAS[kind]:
            assert piece in text
        assert "{{" not in text  # a wording that was printed without its values
        # only an intercept of schools has the short formula of precision
        assert ("A_j = " in text) == (kind == "plain")


WORDS = {
    "slopes": (
        "`ses` also differ between the units of `municipality_id`",
        "Коэффициенты при `ses` различаются и между единицами `municipality_id`",
    ),
    "crossed": (
        "effects of `school_id_before`, written $c$. These units cross the schools",
        "эффекты `school_id_before`, они обозначены $c$. Эти единицы пересекаются со школами",
    ),
    "members": ("add up by the shares $\\omega_{ik}$", "складываются с долями $\\omega_{ik}$"),
    "shares": ("effects of `before`, written $a_k$", "эффекты `before`, они обозначены $a_k$"),
    "ar1": ("school in the year, fading | neighbouring years", "угасает | соседние годы"),
    "unstructured": ("school, year by year | Year: 2022 ×", "школа, по годам | Год: 2023 |"),
    "calibrated": ("(regression calibration)", "(регрессионная калибровка)"),
    "joint": (
        "The subjects (МА, РУ) are estimated jointly: a school has an effect of its own",
        "Предметы (МА, РУ) оцениваются совместно: у школы свой эффект",
    ),
    "apart": ("are taken as independent", "считаются независимыми"),
    "mixed": (
        "Units of `municipality_id` have an effect of their own in each subject",
        "У единиц `municipality_id` свой эффект по каждому предмету",
    ),
}


@pytest.mark.parametrize("kind", WORDS)
def test_each_part_has_its_sentence_in_both_languages(kind):
    english, russian = WORDS[kind]
    if kind == "unstructured":
        english = "school, year by year | Year: 2023 × Year: 2024"
    assert english in document(kind, "en")
    assert russian in document(kind, "ru")
    # neither the sentence nor what it tells of stands where the model has no such part
    assert english not in document("plain", "en")
    assert russian not in document("plain", "ru")


def test_office_programs_can_read_the_formulas():
    """LibreOffice prints question marks for a raised bracket and for bare bars of DOCX."""
    for kind in FORMULAS:
        for lang in ("en", "ru"):
            text = document(kind, lang)
            maths = re.findall(r"\$\$\n(.+)\n\$\$", text)
            inline = [m for line in text.splitlines() for m in re.findall(r"\$([^$]+)\$", line)]
            assert len(maths) > 4
            assert len(inline) > 4
            lost = re.compile(r"\)\^|(?<!left)(?<!right)\|")
            assert not [m for m in [*maths, *inline] if lost.search(m)]


def test_subjects_are_no_slopes():
    parts = random_parts(fitted("joint"))
    assert parts.slopes == ("prior_score",)
    assert parts.subjects == ("МА", "РУ")
    assert (parts.years_by_subject, parts.linked, parts.outer_by_subject) == (True, True, ())
    assert random_parts(fitted("apart")).slopes == ()
    assert not random_parts(fitted("apart")).linked
    assert not random_parts(fitted("mixed")).years_by_subject
    assert random_parts(fitted("mixed")).outer_by_subject == ("municipality_id",)
    english = document("joint", "en")
    assert "The coefficients of `prior_score` also differ between schools ($b_j$)" in english
    assert "| pupil and chance | Subject: РУ |" in english
    assert "Предмет: РУ × Предшествующий результат" in document("joint", "ru")
    assert "Предмет: РУ (C(subject)\\[T.РУ\\])" in document("joint", "ru")


def test_the_variance_of_the_effects_is_the_one_that_shrinks_them():
    for kind, where in (("joint", "in the mean of the subjects"), ("slopes", "average pupil")):
        printed = re.search(rf"lasting effects [a-z ]*{where}, ([\d.]+)\.", document(kind, "en"))
        assert float(printed[1]) == pytest.approx(fitted(kind).variances["persistent"], abs=5e-5)


def test_pupils_and_results_are_counted_apart():
    english = document("joint", "en")
    assert "| Pupil results in the model, over all subjects | 1000 |" in english
    assert "| Pupils in the model | 500 |" in english
    assert "| Учеников в модели, не меньше | 500 |" in document("apart", "ru")
    assert "| Pupil results in the model | 900 |" in document("plain", "en")


def test_correlations_are_explained_where_there_are_any():
    assert "that with the first term of the same level." in document("apart", "en")
    assert "rows with the sign ×" in document("joint", "en")
    assert "rows with the sign ×" not in document("apart", "en")
    for kind in ("plain", "ar1"):
        assert "the first term of the same level" not in document(kind, "en")


def test_products_give_the_appendix_of_their_pupils():
    for lang in ("en", "ru"):
        one, other = document("plain", lang), document("plain", lang, "products")
        # searches from sums in another order agree to far more digits than are printed
        assert one == other


def test_a_level_whose_name_begins_like_the_school_is_no_part_of_it():
    va = fitted("crossed")
    assert level_of(va, "school_id_before") == "outer"
    assert level_of(va, "school_id:year") == "school_year"
    parts = random_parts(va)
    assert (parts.crossed, parts.outer, parts.procedures) == (("school_id_before",), (), False)
    assert random_parts(fitted("members")).shares == "school"
    shared = random_parts(fitted("shares"))
    assert (shared.shares, shared.crossed) == ("before", ("before",))
    assert random_parts(fitted("slopes")).outer == ("municipality_id",)


def test_terms_in_words():
    draft = Draft(lang="ru")
    assert term_words(draft, "year=2022 × ses") == "Год: 2022 × Социальный статус семьи (ses)"
    assert term_words(draft, "C(subject, contr.sum)[T.РУ]").startswith("Предмет: РУ (C(")
    assert term_words(draft, "C(a)[T.x]:C(b)[T.y]") == "C(a)[T.x]:C(b)[T.y]"
    assert term_words(draft, "I(ses == 2)") == "I(ses == 2)"
