"""LaTeX tables and printed summaries in both languages."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.fits.latex import escaped


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(2)
    n, J = 400, 20
    school = rng.permutation(np.r_[np.arange(J), rng.integers(0, J, n - J)])
    frame = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "kind_of_place": np.where(rng.random(n) > 0.5, "50% & more_{x}", "village"),
            "prior_score": rng.normal(size=n),
        }
    )
    frame["score"] = frame["prior_score"] + 0.4 * rng.normal(size=J)[school] + rng.normal(size=n)
    model = rs.ValueAddedModel(
        "score ~ prior_score + C(kind_of_place)", group="school_id", slopes="prior_score"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return model.fit(frame)


def balanced(source: str) -> bool:
    depth = 0
    for mark in re.findall(r"(?<!\\)[{}]", source):
        depth += 1 if mark == "{" else -1
        if depth < 0:
            return False
    return depth == 0


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_the_table_is_well_formed(result, lang):
    source = result.to_latex(lang=lang, caption="100 % of a_b & {c}", label="tab:va")
    assert balanced(source)
    begun = re.findall(r"\\begin\{(\w+)\}", source)
    assert begun == ["table", "tabular"]
    assert re.findall(r"\\end\{(\w+)\}", source) == begun[::-1]
    assert r"\caption{100 \% of a\_b \& \{c\}}" in source
    assert r"\label{tab:va}" in source
    body = source.split("\\hline", 1)[1].rsplit("\\end{tabular}", 1)[0]
    rows = [line for line in body.splitlines() if line and line != "\\hline"]
    for row in rows:
        assert row.endswith(r" \\")
        cells = len(re.findall(r"(?<!\\)&", row)) + 1
        assert cells == (1 if row.startswith(r"\multicolumn{5}") else 5)
    # outside rows and commands nothing that LaTeX would act on
    assert not re.search(r"(?<!\\)[%#$^~](?!-\$)(?<!\$-\$)", source.replace("$-$", ""))


def test_numbers_follow_the_language(result):
    english, russian = result.to_latex(), result.to_latex(lang="ru")
    slope = result.fixed_effects.set_index("term").loc["prior_score", "estimate"]
    assert f"{slope:.4f}" in english
    assert f"{slope:.4f}".replace(".", ",") in russian
    assert "Variance components" in english
    assert "Компоненты дисперсии" in russian
    assert f"{result.criterion:.3f}".replace(".", ",") in russian
    assert not re.search(r"\d\.\d", russian)


def test_default_caption_and_no_label(result):
    source = result.to_latex()
    assert r"\caption{Contextual value added: score \textasciitilde{} prior\_score" in source
    assert "\\label" not in source


def test_every_special_character_is_escaped():
    assert escaped("a_b%c&d$e#f{g}~^\\") == (
        r"a\_b\%c\&d\$e\#f\{g\}\textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert escaped("−0.5 [x]") == "$-$0.5 {[}x]"


def test_the_summary_says_what_was_asked_and_how_it_ended(result):
    english, russian = result.summary(), result.summary("ru")
    for words in ("Formula: score ~", "Question: ", "rows: 400; schools: 20", "REML criterion"):
        assert words in english
    assert english.index("Fixed effects") < english.index("Variance components")
    assert "The search ended at an optimum" in english
    for words in ("Фиксированные эффекты", "Компоненты дисперсии", "остаток", "Критерий REML"):
        assert words in russian
    for shown in (english, russian, result._repr_html_()):
        assert not re.search(r"0x[0-9a-f]{6}|object at", shown)
    assert "<h4>Contextual value added</h4>" in result._repr_html_()


def test_a_singular_fit_says_what_it_means():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"school_id": np.repeat([f"S{k}" for k in range(12)], 10), "x": rng.normal(size=120)}
    )
    noise = rng.normal(size=120)
    groups = frame.groupby("school_id")["x"]
    frame["score"] = (
        frame["x"] + noise - pd.Series(noise).groupby(frame["school_id"]).transform("mean")
    )
    assert len(groups) == 12
    with pytest.warns(rs.WeakDataWarning, match="school_id"):
        singular = rs.ValueAddedModel("score ~ x", group="school_id").fit(frame)
    assert "Singular fit (school_id)" in singular.summary()
    assert "Вырожденная подгонка (school_id)" in singular.summary("ru")


def test_tidy_of_every_part(result):
    pd.testing.assert_frame_equal(result.tidy(), result.fixed_effects)
    pd.testing.assert_frame_equal(result.tidy(part="variance"), result.variance_components)
    pd.testing.assert_frame_equal(result.tidy(part="random"), result.random_effects)
