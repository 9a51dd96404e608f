"""Every slip in region.toml is named with file, key, value and way out, in both languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.errors import DataError, ResilienceError, SpecificationError
from resilience.pipeline.config_reading import read_config

INPUTS = '[inputs]\ndataset = "north_region"\n'
RULES = '[[rules]]\npreset = "low_results_2025_or"\n'
MEANS = '[model]\nkind = "means"\n'


def refused(folder: Path, words: str | bytes) -> ResilienceError:
    path = folder / "region.toml"
    path.write_bytes(words.encode("utf-8") if isinstance(words, str) else words)
    with pytest.raises((SpecificationError, DataError)) as caught:
        read_config(path)
    error = caught.value
    assert error.localized("ru") != error.localized("en"), "both languages"
    assert "region.toml" in error.localized("ru"), "the file is named"
    return error


BOTH = INPUTS + RULES
POLICY = BOTH + '[index]\nkind = "policy"\n'

SLIPS = [
    # tables and keys
    ("", "нет таблицы [inputs]", "the table [inputs] is missing"),
    (INPUTS, "правила по умолчанию не существует", "no rule is a default"),
    (BOTH + "[modle]\n", "таблицы [modle] нет; похожие: model", "nearest are: model"),
    (BOTH + '[model]\nformla = "y ~ x"\n', "нет ключа 'formla'; похожие: formula", "formula"),
    (BOTH + "[output]\nfigurs = true\n", "похожие: figures", "nearest are: figures"),
    ('lang = "ru"\n' + BOTH, "'lang' стоит в начале файла", "[output]"),
    (INPUTS + 'as_of = 2026-05-31\n' + RULES, "место — в [output]", "belongs in [output]"),
    (INPUTS + '[rules]\npreset = "low"\n', "[[rules]] в двойных скобках", "double brackets"),
    ('inputs = "north_region"\n' + RULES, "inputs — это 'north_region'", "must be a table"),
    # inputs
    ('[inputs]\n' + RULES, "в [inputs] указано: ничего", "names nothing"),
    (INPUTS + "workbook = 'a.xlsx'\n" + RULES, "указано: dataset, workbook", "exactly one source"),
    ("[inputs]\npupils = 'p.csv'\n" + RULES, "нет schools", "without schools"),
    ("[inputs]\nschools = 's.csv'\ncounts = 'c.csv'\n" + RULES, "нет procedures", "without"),
    ("[inputs]\nschools = 's.csv'\n" + RULES, "schools: файла 's.csv' нет", "not exist"),
    ('[inputs]\nschools = "d\\new.csv"\n' + RULES, "'data\\new.csv'", "invisible character"),
    ("[inputs]\ndataset = 5\n" + RULES, "inputs.dataset — это 5", "text in quotation marks"),
    # model
    (BOTH + '[model]\nkind = "pupil"\n', "'auto', 'pupils', 'counts', 'means'", "'pupil'"),
    (BOTH + '[model]\nformula = "score"\n', "знак ~", "must have an outcome"),
    (BOTH + MEANS, "указано: ничего", "given: nothing"),
    (BOTH + MEANS + 'n = "n_pupils"\n', "указано: n", "together with sd"),
    (BOTH + MEANS + 'n = "n"\nsd = -2\n', "model.sd — это -2", "the name of a column"),
    (BOTH + MEANS + 'slopes = "ses"\n', "model.slopes нужен при", "is for model.kind"),
    (BOTH + "[model]\ncorrelation = 1\n", "model.correlation — это 1", "below 1"),
    (BOTH + '[model]\nprocedures = { "ОГЭ" = "marks" }\n', "model.procedures.ОГЭ", "'share'"),
    (BOTH + '[model.procedures]\n', "таблица процедур", "a table of procedures"),
    (BOTH + '[model]\nquestion = "since_grade_12"\n', "model.question", "model.question"),
    (
        BOTH + '[model]\nkind = "counts"\n[model.procedures]\n"ОГЭ" = "pupils"\n',
        "model.procedures нужен при model.kind = 'auto', 'mixture'",
        "'auto', 'mixture'",
    ),
    (
        BOTH + '[model]\nkind = "pupils"\nformula = "~ ses"\n',
        "результат не нужен",
        "must have an outcome",
    ),
    (
        "[inputs]\nschools = 's.csv'\nmeans = 'm.csv'\n" + RULES,
        "есть means, но нет procedures",
        "gives means without procedures",
    ),
    (BOTH + '[model]\ncomposition = { ses = "median" }\n', "'latent'", "model.composition.ses"),
    (BOTH + "[model]\nsubjects = []\n", "model.subjects — это []", "a list of texts"),
    (BOTH + '[model]\nsubjects = ["РУ", "РУ"]\n', "дважды назван 'РУ'", "twice"),
    # index
    (BOTH + "[index]\n", "нужен ключ kind", "needs kind"),
    (POLICY, "нужен ключ weights", "needs weights"),
    (POLICY + 'weights = "equal"\n', "таблица чисел", "'equal'"),
    (POLICY + 'weights = { low_income = 0 }\n', "не равных нулю", "zero"),
    (BOTH + '[index]\nkind = "equal"\ninputs = ["a"]\nfolds = 3\n', "folds не нужен", "no use for"),
    (BOTH + '[index]\nkind = "pca"\ninputs = ["a"]\ndirections = { a = 2 }\n', "из +1 и -1", "+1"),
    # rules
    (INPUTS + "[[rules]]\n", "в rules[1] должно быть указано", "names neither"),
    (INPUTS + "[[rules]]\npreset = 'a'\nfile = 'b'\n", "и то и другое", "names both"),
    (INPUTS + "[[rules]]\nfile = 'b.toml'\n", "rules[1].file: файла 'b.toml' нет", "not exist"),
    (BOTH + "amend = { adversity = 0.3 }\n", "таблица таблиц", "table of tables"),
    (BOTH + "quantile = 0.3\n", "в таблице [rules[1]] нет ключа 'quantile'", "no key"),
    # output
    (BOTH + '[output]\nlang = "de"\n', "'en', 'ru'", "one of"),
    (BOTH + '[output]\nfigures = "yes"\n', "true или false", "without quotation marks"),
    (BOTH + "[output]\nseed = -1\n", "целое число не меньше 0", "at least 0"),
    (BOTH + "[output]\nas_of = 20260531\n", "дата, например 2026-05-31", "a date"),
    # the text itself
    (BOTH + 'procedures = "ВПР\n', "нарушает правила TOML: строка 5", "line 5"),
    ('[inputs]\nschools = "C:\\Users\\s.csv"\n' + RULES, "строка 2: обратная косая", "line 2"),
    ("[inputs]\ndataset = 'регион'\n".encode("cp1251"), "не в UTF-8", "UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "ru", "en"), SLIPS)
def test_a_slip_is_named(tmp_path: Path, words: str | bytes, ru: str, en: str) -> None:
    error = refused(tmp_path, words)
    assert ru in error.localized("ru")
    assert en in error.localized("en")


def test_a_file_that_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match=r"region\.toml or from a workbook"):
        read_config(tmp_path / "schools.csv")


def test_a_missing_configuration_names_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "region-2025.toml").write_text(BOTH)
    with pytest.raises(DataError) as caught:
        read_config(tmp_path / "region.toml")
    assert "в этой папке есть: region-2025.toml" in caught.value.localized("ru")
