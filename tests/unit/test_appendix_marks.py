"""The appendix of a model of marks: plain words, sources by procedure, thresholds, shares."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest
from appendix_doubles import words_of

import resilience as rs
from resilience.pipeline.config import ModelConfig
from resilience.pipeline.estimation import Tables, estimate_effects
from resilience.reporting import Appendix, methods_appendix
from resilience.reporting.draft import Figure, Formula, Prose, Table


@pytest.fixture(scope="module")
def region() -> Tables:
    data = rs.load_dataset("north_region")
    schools = [f"S{i:03d}" for i in range(1, 61)]

    def some(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["school_id"].isin(schools) & (table["year"] >= 2024)]

    kept = some(data.counts)
    return Tables(
        schools=some(data.schools),
        counts=kept[kept["procedure"].str.contains("-8-|ОГЭ")],
        pupils=some(data.pupils).drop(columns="prior_score"),
    )


def estimate(region: Tables, **settings: Any) -> Any:
    return estimate_effects(ModelConfig(outcome_procedure="ОГЭ", **settings), region)


@pytest.fixture(scope="module")
def counts(region: Tables) -> Any:
    return estimate(region, kind="counts")


@pytest.fixture(scope="module")
def mixture(region: Tables) -> Any:
    return estimate(region, procedures={"ВПР-8-МА": "share"})


def appendix(found: Any, lang: str) -> Appendix:
    return methods_appendix(found.va, None, None, lang=lang, sources=found.sources)


@pytest.mark.parametrize("lang", ["ru", "en"])
@pytest.mark.parametrize("name", ["counts", "mixture"])
def test_tables_and_figures_are_referred_to_and_nothing_is_left_open(
    name: str, lang: str, request: pytest.FixtureRequest
) -> None:
    document = appendix(request.getfixturevalue(name), lang)
    prose = "\n".join(i for b in document.blocks if isinstance(b, Prose) for i in b.items)
    for kind, stem in ((Table, "аблиц|able"), (Figure, "исун|igure")):
        numbers = {b.name for b in document.blocks if isinstance(b, kind)}
        assert numbers <= set(re.findall(rf"(?:{stem})\w* (\d+)", prose))
    plain = re.sub(r"\$[^$]*\$|`[^`]*`", "", words_of(document))
    assert "\ue000" not in document.markdown
    assert not re.search(r"(?<!\\)[{}]", plain)


def test_the_model_is_explained_in_plain_words(counts: Any) -> None:
    russian, english = (words_of(appendix(counts, lang)) for lang in ("ru", "en"))
    for words in ("Marks are not averaged", "thresholds", "The same pupils sit several procedures"):
        assert words in english
    for words in ("Средняя отметка не вычисляется", "порогами", "проходят одни и те же ученики"):
        assert words in russian
    share = f"{100 * counts.va.information:.0f} %"
    assert f"keep {share}" in english
    assert f"сохраняют {share}" in russian
    assert "set to 0.50" in english
    assert "принято значение 0,50" in russian
    assert "since its pupils entered it" in english
    assert "со времени поступления" in russian


def test_formulas_show_the_parts_of_the_model(counts: Any) -> None:
    tex = "\n".join(b.tex for b in appendix(counts, "en").blocks if isinstance(b, Formula))
    assert r"P(m_{ijtp} \le k)" in tex
    for part in ("u_j", "v_{jt}", "w_{jp}", "a_{jc}"):
        assert f"{part} \\sim N(0" in tex
    assert r"\bar y" not in tex


def test_a_model_without_covariates_has_no_table_of_coefficients(counts: Any) -> None:
    document = appendix(counts, "en")
    captions = [b.caption for b in document.blocks if isinstance(b, Table)]
    assert not any("Coefficients" in c for c in captions)
    assert any("Variance components" in c for c in captions)


def test_other_data_are_named_with_their_procedures(mixture: Any) -> None:
    document = appendix(mixture, "en")
    words = words_of(document)
    assert "scores or published means are known (ОГЭ-МА, ОГЭ-РУ)" in words
    assert "below the minimum is known (ВПР-8-МА)" in words
    tex = "\n".join(b.tex for b in document.blocks if isinstance(b, Formula))
    assert r"\bar y_{jtp}" in tex


def test_sources_stand_by_procedure_with_years_and_reasons(mixture: Any) -> None:
    document = appendix(mixture, "ru")
    (table,) = [b for b in document.blocks if isinstance(b, Table) and "взято" in b.caption]
    rows = {row[0]: row[1:] for row in table.rows}
    assert set(rows) == {"ВПР-8-МА", "ВПР-8-РУ", "ОГЭ-МА", "ОГЭ-РУ"}
    assert rows["ВПР-8-МА"][:3] == ("2024, 2025", "доля не достигших минимума", "60")
    assert rows["ОГЭ-МА"][1] == "баллы учеников"
    assert rows["ОГЭ-МА"][-1] == "100 %"
    assert "задано в настройках: ВПР-8-МА (2024, 2025)" in words_of(document)


def test_thresholds_and_shares_are_printed_of_the_last_year(counts: Any) -> None:
    tables = [b for b in appendix(counts, "en").blocks if isinstance(b, Table)]
    (cuts,) = [t for t in tables if "Thresholds" in t.caption]
    (shares,) = [t for t in tables if "observed / fitted" in t.caption]
    assert cuts.heads[2:] == ("«3» from", "«4» from", "«5» from")
    assert [row[:2] for row in cuts.rows] == [
        (p, "2025") for p in ("ВПР-8-МА", "ВПР-8-РУ", "ОГЭ-МА", "ОГЭ-РУ")
    ]
    found = counts.va.thresholds.query("procedure == 'ОГЭ-РУ' and year == 2025")
    printed = [float(c.split(" ")[0].replace("−", "-")) for c in cuts.rows[-1][2:]]
    assert printed == pytest.approx(found["threshold"].tolist(), abs=0.0051)
    for row in shares.rows:
        seen = [float(c.split(" / ")[0]) for c in row[2:]]
        assert sum(seen) == pytest.approx(100, abs=0.25)


def test_marks_that_cannot_be_given_are_dashes(mixture: Any) -> None:
    tables = [b for b in appendix(mixture, "en").blocks if isinstance(b, Table)]
    (cuts,) = [t for t in tables if "Thresholds" in t.caption]
    (shares,) = [t for t in tables if "observed / fitted" in t.caption]
    share = next(row for row in cuts.rows if row[0] == "ВПР-8-МА")
    assert share[3:] == ("—", "—")
    assert next(row for row in shares.rows if row[0] == "ВПР-8-МА")[4:] == ("—", "—")
    # procedures with means have no thresholds
    assert {row[0] for row in cuts.rows} == {"ВПР-8-МА", "ВПР-8-РУ"}


def test_figures_of_thresholds_shares_and_the_funnel_are_there(counts: Any) -> None:
    document = appendix(counts, "ru")
    captions = [b.caption for b in document.blocks if isinstance(b, Figure)]
    assert [c.split(" ")[0] for c in captions[:2]] == ["Пороги", "Доли"]
    assert any("контрольными границами" in c for c in captions)
    assert all(b.png.startswith(b"\x89PNG") for b in document.blocks if isinstance(b, Figure))
    assert "[Spiegelhalter2005]" in document.markdown.replace("\\", "")
