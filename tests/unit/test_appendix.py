"""The appendix: numbering, references, wording, what each part of the results leaves in it."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from appendix_doubles import YearlyResults, appendix, material, rule, words_of
from report_doubles import DetectionResults, effects_frame, verdict_frame

from resilience.i18n import Bilingual, text_keys
from resilience.reporting import Appendix, methods_appendix
from resilience.reporting.draft import Draft, Figure, Formula, Heading, Prose, Table


@pytest.fixture(scope="module")
def russian() -> Appendix:
    return appendix("ru")


@pytest.fixture(scope="module")
def english() -> Appendix:
    return appendix("en")


# ------------------------------------------------------------------ numbering and references


@pytest.mark.parametrize("lang", ["ru", "en"])
def test_every_table_and_figure_is_numbered_and_referred_to(
    lang: str, russian: Appendix, english: Appendix
) -> None:
    document = russian if lang == "ru" else english
    tables = [b.name for b in document.blocks if isinstance(b, Table)]
    figures = [b.name for b in document.blocks if isinstance(b, Figure)]
    assert tables == [str(i) for i in range(1, len(tables) + 1)]
    assert figures == [str(i) for i in range(1, len(figures) + 1)]
    prose = "\n".join(i for b in document.blocks if isinstance(b, Prose) for i in b.items)
    named: dict[str, set[str]] = {}
    for kind, stem in (("table", "аблиц|able"), ("figure", "исун|igure")):
        lists = re.findall(rf"(?:{stem})\w* ((?:\d+(?:, )?)+)", prose)
        named[kind] = {number for found in lists for number in re.findall(r"\d+", found)}
    assert set(tables) <= named["table"]
    assert set(figures) <= named["figure"]


@pytest.mark.parametrize("lang", ["ru", "en"])
def test_no_placeholder_and_no_reference_is_left(
    lang: str, russian: Appendix, english: Appendix
) -> None:
    document = russian if lang == "ru" else english
    markdown = document.markdown
    assert "\ue000" not in markdown
    lines = words_of(document).splitlines()
    # Sources are cited in the language they are written in.
    own = "\n".join(line for line in lines if not line.startswith("\\["))
    prose = re.sub(r"\$[^$]*\$", "", own)
    assert not re.search(r"(?<!\\)[{}]", prose)
    other = r"\b(Table|Figure|rule)\b" if lang == "ru" else r"[А-Яа-я]{3,}"
    outside = re.sub(r"`[^`]*`", "", prose)
    if lang == "ru":
        assert not re.search(other, outside)
    else:
        # Russian remains where it is the name of a test.
        assert set(re.findall(other, outside)) <= {"ВПР"}


def test_sections_are_numbered_in_order(russian: Appendix) -> None:
    heads = [b.words for b in russian.blocks if isinstance(b, Heading) and b.depth == 1]
    assert [h.split(".")[0] for h in heads] == [str(i) for i in range(1, len(heads) + 1)]
    assert len({b.mark for b in russian.blocks if isinstance(b, Heading)}) == sum(
        isinstance(b, Heading) for b in russian.blocks
    )


def test_a_reference_that_leads_nowhere_is_a_slip() -> None:
    draft = Draft(lang="en")
    draft.say("effects_information", table=draft.ref("table", "absent"))
    with pytest.raises(KeyError):
        draft.finished()


# ------------------------------------------------------------------ content


def test_rules_stand_with_id_version_status_values_and_sources(russian: Appendix) -> None:
    markdown = russian.markdown
    for identifier in ("resilient_posterior", "low_2025_or", "low_2025_and"):
        assert f"`{identifier}`" in markdown
    assert "не подтверждено официальным документом (статус: предложение)" in markdown
    assert "не подтверждено официальным документом (статус: не подтверждено)" in markdown
    assert "документировано из вторых рук" in markdown
    assert "| потери от ошибочно названной школы (`loss_false_positive`) |  | 4 |" in markdown
    assert "| показатель (`column`) |  | Эффект школы (effect) |" in markdown
    assert "min_participants" not in markdown  # a knob that cannot matter for an effect
    assert "| Параметр | Правило в целом | `effect` |" in markdown
    assert "| `share_at_least` | 0,3 |" in markdown
    assert "| Параметр | `both conditions` |" in markdown
    assert "| `threshold` | 0,3 |" in markdown
    assert r"\[Yastrebov2014\]" in markdown
    assert r"p^* = \frac{L_{FP}}{L_{FP}+L_{FN}}" in markdown


def test_a_source_may_be_a_citation_in_words() -> None:
    order = "Приказ Минобрнауки от 21.05.2020 № 367, приложение 1"
    own = rule("own", "documented", reference="")
    own.reference = order
    effects = effects_frame(3)
    found = DetectionResults(
        schools=verdict_frame(effects, "own"), criteria=pd.DataFrame(), rules=(own,)
    )
    assert f"Источники: {order}." in words_of(methods_appendix(None, None, found, lang="ru"))


def test_both_readings_of_the_federal_rule_are_compared() -> None:
    # A holds for S1, S2, S3, B for S1, S4: "or" names four schools, "and" one; three hang on it.
    schools = ["S1", "S2", "S3", "S4", "S5"]
    conditions = {
        "two_procedures": ["yes", "yes", "yes", "no", "insufficient_data"],
        "same_procedure_two_years": ["yes", "no", "insufficient_data", "yes", "no"],
    }
    criteria = pd.concat(
        pd.DataFrame({"school_id": schools, "rule_id": "x", "criterion": name, "verdict": said})
        for name, said in conditions.items()
    )
    verdicts = pd.DataFrame({"school_id": schools, "rule_id": "x", "verdict": "no"})
    low = rule("x", "documented")
    low.target = "low"
    found = DetectionResults(schools=verdicts, criteria=criteria, rules=(low,))
    prose = words_of(methods_appendix(None, None, found, lang="en"))
    assert "A holds for 3 schools, B for 2." in prose
    assert "(«A or B»), 4 schools" in prose
    assert "(«A and B»), 1." in prose
    assert "decides about 3 schools" in prose
    low.target = "other"
    assert "A or B" not in words_of(methods_appendix(None, None, found, lang="en"))


def test_expected_error_of_a_list_and_notes_are_told() -> None:
    effects = effects_frame(6)
    verdicts = verdict_frame(effects, "r").assign(verdict="yes", list_fdr=[0.0, 0.1, 0.2] * 2)
    found = SimpleNamespace(
        schools=verdicts,
        criteria=pd.DataFrame(),
        rules=(),
        notes=(Bilingual("the target is this year's effect", "речь об эффекте этого года"),),
    )
    prose = words_of(methods_appendix(None, None, found, lang="ru"))
    assert "ошибочно названы примерно 20 % школ" in prose
    assert "речь об эффекте этого года" in prose


def test_lists_hold_every_school_with_a_sign(russian: Appendix) -> None:
    verdicts = material()["found"].schools
    for identifier in ("resilient_posterior", "low_2025_or", "low_2025_and"):
        mine = verdicts[verdicts["rule_id"] == identifier]
        yes = sorted(mine.loc[mine["verdict"] == "yes", "school_id"])
        listed = [
            sorted(row[0] for row in b.rows)
            for b in russian.blocks
            if isinstance(b, Table) and b.caption.startswith("Школы с признаками")
        ]
        assert yes in listed or not yes
        unknown = sorted(mine.loc[mine["verdict"] == "insufficient_data", "school_id"])
        assert f"школ: {len(unknown)}. Это {', '.join(unknown)}." in words_of(russian)
        assert f"мало учеников: школ — {len(unknown)}" in words_of(russian)


def test_annex_holds_every_school(russian: Appendix) -> None:
    n = 24
    complete = [b for b in russian.blocks if isinstance(b, Table) and len(b.rows) == n]
    assert [len({row[0] for row in b.rows}) for b in complete] == [n] * 3


def test_worked_example_multiplies_out(english: Appendix) -> None:
    found = re.search(
        r"the effect is ([\d.-]+) × ([\d.-]+) = ([\d.-]+)", words_of(english).replace("−", "-")
    )
    assert found is not None
    reliability, difference, effect = map(float, found.groups())
    # Three places are printed: the product is off by at most .0005·(1 + |d|), the effect by .0005.
    assert effect == pytest.approx(reliability * difference, abs=0.0005 * (2 + abs(difference)))


def test_parts_of_the_model_show_in_its_formula() -> None:
    yearly = appendix("en", index=None, found=None)
    assert r"+ u_j + v_{jt} + e_{ijt}" in yearly.markdown
    va = material()["va"]
    fields = {k: getattr(va, k) for k in va.__dataclass_fields__}
    plain = YearlyResults(**{**fields, "time": None, "variance_components": pd.DataFrame(
        {
            "group": ["municipality_id", "school_id", "school_id", "residual"],
            "term": ["Intercept", "Intercept", "prior_score", ""],
            "variance": [0.01, 0.1, 0.02, 0.6],
            "std_dev": [0.1, 0.3162, 0.1414, 0.7746],
            "correlation": [np.nan, np.nan, 0.4, np.nan],
        }
    )})  # fmt: skip
    document = appendix("en", va=plain, index=None, found=None).markdown
    assert r"+ w_{m(j)} + u_j + \mathbf{z}_{ij}^\top \mathbf{b}_j + e_{ij}" in document
    assert "v_{jt}" not in document
    # n/σ² is the precision of an intercept alone: slopes and levels above take their share of it
    assert r"A_j = \frac" not in document
    assert r"A_j = \sum_t \frac" in yearly.markdown
    assert "for the average pupil, 0.1000" in document
    assert "`prior_score` also differ between schools" in document
    assert "0.400" in document


def test_means_of_schools_have_their_own_formula() -> None:
    va = material()["va"]

    class SchoolLevelResults(YearlyResults):
        """The other kind of value added."""

    fields = {k: getattr(va, k) for k in va.__dataclass_fields__}
    table = va.variance_components.iloc[:2]
    document = appendix(
        "en",
        va=SchoolLevelResults(**{**fields, "variance_components": table, "icc": np.nan}),
        index=None,
        found=None,
    ).markdown
    assert r"\bar y_{jt}" in document
    assert r"\varsigma_{jt}^2" in document
    assert "unexplained variance" not in document  # the variance of pupils is not known


def test_troubles_of_the_fit_are_told() -> None:
    va = material()["va"]
    fields = {k: getattr(va, k) for k in va.__dataclass_fields__}
    trouble = YearlyResults(
        **{**fields, "convergence": SimpleNamespace(converged=False, singular=True)}
    )
    prose = words_of(appendix("en", va=trouble, index=None, found=None))
    assert "did not converge" in prose
    assert "unexplained variance that lies between schools and lasts is 0.200" in prose
    assert "The fit is singular" in prose


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (None, "by how much do the results"),
        ("since_entry", "since its pupils entered it"),
        ("since_grade_5", "since grade 5"),
        ("last_year", "in the last year"),
        ("a question of our own", "a question of our own."),
    ],
)
def test_question_of_the_model(question: str | None, words: str) -> None:
    va = material()["va"]
    fields = {k: getattr(va, k) for k in va.__dataclass_fields__}
    document = appendix("en", va=YearlyResults(**{**fields, "question": question}), found=None)
    assert words in words_of(document)


def test_what_is_absent_is_left_out_and_named() -> None:
    counts_only = appendix("ru", va=None, index=None, schools=None)
    marks = [b.mark for b in counts_only.blocks if isinstance(b, Heading) and b.depth == 1]
    assert "model" not in marks
    assert "index" not in marks
    assert "Модели добавленной стоимости в этом расчёте нет" in words_of(counts_only)
    assert "Контекстного индекса в этом расчёте нет" in words_of(counts_only)
    assert len(counts_only.figures) == 1
    only_index = appendix("ru", va=None, found=None)
    assert "matrix" not in only_index.markdown
    assert not only_index.figures
    bare = appendix("en", va=None, index=None, provenance=None, counts=None, schools=None)
    assert "No checksums of the data were handed" in words_of(bare)
    assert "not given" in bare.markdown


def test_large_regions_point_to_the_files() -> None:
    effects = effects_frame(2000)
    found = DetectionResults(schools=verdict_frame(effects, "r"), criteria=pd.DataFrame())
    document = methods_appendix(None, None, found, lang="en")
    yes = int((found.schools["verdict"] == "yes").sum())
    assert (
        f"tables below hold the schools that at least one rule on results named ({yes})"
        in words_of(document)
    )
    assert max(len(b.rows) for b in document.blocks if isinstance(b, Table)) == yes
    assert "holds 120 of them" in words_of(document)


def test_signs_are_not_accusations(russian: Appendix) -> None:
    prose = words_of(russian).lower()
    assert "признак" in prose
    for word in ("виновн", "нарушител", "худш", "отстающ", "провал"):
        assert word not in prose


# ------------------------------------------------------------------ the real results


def test_every_parameter_of_every_preset_has_words() -> None:
    from resilience.detection import Criteria, preset_ids
    from resilience.reporting.rules import rules_applied

    rules = tuple(Criteria.preset(name) for name in preset_ids())
    schools = pd.DataFrame({"school_id": [], "rule_id": [], "verdict": []}, dtype=str)
    facts = rules_applied(SimpleNamespace(schools=schools, rules=rules), "ru")
    assert [f.rule_id for f in facts] == list(preset_ids())
    for fact in facts:
        names = {name for _, name, _ in fact.parameters}
        assert {"combination", "evidence"} <= names
        assert {f"appendix.parameter_{name}" for name in names} <= set(text_keys()), fact.rule_id
        assert fact.description
        assert all(fact.rule_id not in line for line in fact.description)
        assert fact.weighs_losses == ("loss_false_positive" in names)


def test_london_schools_from_fit_to_page(tmp_path: Path) -> None:
    import resilience as rs

    pupils = rs.load_dataset("london_exam").frames["pupils"]
    va = rs.ValueAddedModel("normexam ~ standLRT", group="school_id").fit(pupils)
    document = rs.methods_appendix(va, None, None, lang="en")
    annex = [b for b in document.blocks if isinstance(b, Table)][-1]
    assert len(annex.rows) == 65
    assert "4059" in document.markdown
    assert "standard error with the error of the coefficients" in annex.caption
    assert rs.plot(va).get_ylabel() == rs.plot_caterpillar(va).get_ylabel()
    page = document.save(tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count('<math display="block"') == sum(
        isinstance(b, Formula) for b in document.blocks
    )
