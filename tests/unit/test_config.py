"""A run's configuration from region.toml and from a workbook."""

from __future__ import annotations

import datetime as dt
from pathlib import Path, PureWindowsPath

import pytest

from resilience.data.template import write_template
from resilience.data.workbook import read_workbook
from resilience.pipeline.config import (
    IndexConfig,
    InputsConfig,
    ModelConfig,
    OutputConfig,
    RegionConfig,
    RuleConfig,
    config_from_workbook,
)
from resilience.pipeline.config_reading import read_config
from resilience.pipeline.config_values import join_path
from resilience.pipeline.inputs import dataset_config

SMALLEST = """
[inputs]
dataset = "north_region"

[[rules]]
preset = "low_results_2025_or"
"""

CALIFORNIA = """
[inputs]
dataset = "california_api"

[model]
kind = "means"
formula = "mean_score ~ subsidised_meals + english_learners"
n = "n_pupils"
sd = "estimate"

[index]
kind = "supervised"
inputs = ["subsidised_meals", "english_learners"]
weights = "cross_fitted"
outcome = "mean_score"
outcome_sd = 100
directions = { subsidised_meals = -1, english_learners = -1 }

[[rules]]
preset = "resilient_posterior"
amend = { adversity = { at_most = 0.33 }, quantile = { above = 0.8 } }

[output]
region = "California"
as_of = 2000-12-31
"""

FILES = r"""
[inputs]
schools = 'таблицы\школы.csv'
counts = "таблицы/отметки.csv"
procedures = 'таблицы/процедуры.csv'

[model]
kind = "counts"
correlation = 0.6

[index]
kind = "policy"
weights = { both_parents_higher_edu = 1, large_family = -0.5 }
transform = "logit"

[[rules]]
preset = "low_results_2025_and"
procedures = ["ВПР-5-РУ", "ВПР-5-МА"]

[[rules]]
file = 'критерии.toml'

[output]
as_of = "31.05.2026"
lang = "ru"
figures = false
seed = 7
"""


def save(folder: Path, words: str, encoding: str = "utf-8") -> Path:
    path = folder / "region.toml"
    path.write_text(words, encoding=encoding)
    return path


def test_the_smallest_configuration_takes_every_default(tmp_path: Path) -> None:
    config = read_config(save(tmp_path, SMALLEST))
    assert config == RegionConfig(
        source="region.toml",
        inputs=InputsConfig(dataset="north_region"),
        model=ModelConfig(),
        index=None,
        rules=(RuleConfig(preset="low_results_2025_or"),),
        output=OutputConfig(),
    )
    assert config.as_of is None
    assert config.inputs.tables == {}


def test_california(tmp_path: Path) -> None:
    config = read_config(save(tmp_path, CALIFORNIA))
    assert config.model == ModelConfig(
        kind="means",
        formula="mean_score ~ subsidised_meals + english_learners",
        n="n_pupils",
        sd="estimate",
    )
    assert config.index == IndexConfig(
        kind="supervised",
        inputs=("subsidised_meals", "english_learners"),
        mode="cross_fitted",
        outcome="mean_score",
        outcome_sd=100.0,
        directions={"subsidised_meals": -1, "english_learners": -1},
    )
    assert config.rules[0].amend == {"adversity": {"at_most": 0.33}, "quantile": {"above": 0.8}}
    assert config.as_of == dt.date(2000, 12, 31)


def test_files_lie_beside_the_configuration_whatever_the_slash(tmp_path: Path) -> None:
    (tmp_path / "таблицы").mkdir()
    for name in (
        "таблицы/школы.csv",
        "таблицы/отметки.csv",
        "таблицы/процедуры.csv",
        "критерии.toml",
    ):
        (tmp_path / name).write_text("")
    config = read_config(save(tmp_path, FILES))
    assert config.inputs.tables == {
        "schools": tmp_path / "таблицы" / "школы.csv",
        "counts": tmp_path / "таблицы" / "отметки.csv",
        "procedures": tmp_path / "таблицы" / "процедуры.csv",
    }
    assert config.rules == (
        RuleConfig(preset="low_results_2025_and", procedures=("ВПР-5-РУ", "ВПР-5-МА")),
        RuleConfig(file=tmp_path / "критерии.toml"),
    )
    assert config.index == IndexConfig(
        kind="policy",
        inputs=("both_parents_higher_edu", "large_family"),
        weights={"both_parents_higher_edu": 1.0, "large_family": -0.5},
        transform="logit",
    )
    assert config.output == OutputConfig(
        as_of=dt.date(2026, 5, 31), lang="ru", figures=False, seed=7
    )
    assert config.model.correlation == 0.6


def test_windows_paths() -> None:
    folder = Path("region")
    for words in (r"data\schools.csv", "data/schools.csv", r".\data\schools.csv"):
        assert join_path(words, folder) == Path("region", "data", "schools.csv")
    for words in (r"C:\data\schools.csv", r"\\server\share\schools.csv", "/data/schools.csv"):
        assert join_path(words, folder) == Path(words)
        assert PureWindowsPath(words).root


def test_a_mark_before_the_text_is_no_harm(tmp_path: Path) -> None:
    assert read_config(save(tmp_path, SMALLEST, "utf-8-sig")).inputs.dataset == "north_region"


def test_settings_are_printed_whole_and_without_folders(tmp_path: Path) -> None:
    (tmp_path / "схема.toml").write_text("")
    words = CALIFORNIA.replace('preset = "resilient_posterior"', "file = 'схема.toml'")
    config = read_config(save(tmp_path, words))
    printed = dict(config.settings())
    assert printed["inputs.dataset"] == "california_api"
    assert printed["model.method"] == "reml"
    assert printed["index.directions"] == "subsidised_meals = -1, english_learners = -1"
    assert printed["rules[1].file"] == "схема.toml"
    assert printed["rules[1].amend"] == "adversity = (at_most = 0.33), quantile = (above = 0.8)"
    assert printed["output.as_of"] == "2000-12-31"
    assert printed["output.figures"] == "true"
    assert printed["model.subjects"] == "—"
    assert str(tmp_path) not in str(config.settings())
    assert config.command() == "resilience run region.toml"


def test_a_workbook_stands_for_the_same_configuration(tmp_path: Path) -> None:
    contents = read_workbook(write_template(tmp_path / "регион.xlsx", example=True))
    config = config_from_workbook(contents)
    assert config.source == "регион.xlsx"
    assert config.inputs == InputsConfig(workbook=Path("регион.xlsx"))
    assert [rule.preset for rule in config.rules] == [
        "low_results_2025_or",
        "low_posterior_pooled",
        "adverse_context",
        "resilient_posterior",
    ]
    for rule in config.rules[:2]:
        assert rule.procedures == contents.settings.procedures
    assert config.rules[2].amend == {"adversity": {"at_most": 0.25}}
    assert config.index is not None
    assert config.index.weights == contents.settings.weights
    assert config.output == OutputConfig(
        region="Луговой район (вымышленный)", as_of=dt.date(2026, 5, 31), lang="ru"
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            "равные веса",
            IndexConfig(kind="equal", inputs=("low_income",), directions={"low_income": -1}),
        ),
        (
            "по прошлым годам",
            IndexConfig(
                kind="supervised",
                inputs=("low_income",),
                mode="previous_years",
                outcome="mean_score",
                directions={"low_income": -1},
            ),
        ),
        ("не рассчитывать", None),
    ],
)
def test_methods_of_the_index_in_a_workbook(
    tmp_path: Path, answer: str, expected: IndexConfig | None
) -> None:
    from openpyxl import load_workbook

    path = write_template(tmp_path / "регион.xlsx", example=True)
    book = load_workbook(path)
    sheet = book["Настройки"]
    sheet["B5"], sheet["B7"], sheet["B8"] = "и", answer, None
    for i in range(9, 19):
        is_low_income = "Малообеспеченные" in sheet.cell(i, 1).value
        sheet.cell(i, 2).value = -2 if is_low_income else None
    book.save(path)
    config = config_from_workbook(read_workbook(path))
    assert config.index == expected
    assert config.rules[0].preset == "low_results_2025_and"
    assert len(config.rules) == (2 if expected is None else 4)
    assert all(rule.amend == {} for rule in config.rules), "no share set: the rule keeps its own"


MIXTURE = """
[inputs]
dataset = "north_region"

[model]
kind = "mixture"
formula = "~ context_index"
correlation = 0.6
outcome_procedure = "ОГЭ"

[model.procedures]
"ОГЭ" = "pupils"
"ВПР-5" = "none"

[[rules]]
preset = "low_results_2025_or"
"""


def test_a_mixture_names_its_procedures_and_needs_no_outcome(tmp_path: Path) -> None:
    config = read_config(save(tmp_path, MIXTURE))
    assert config.model == ModelConfig(
        kind="mixture",
        formula="~ context_index",
        correlation=0.6,
        outcome_procedure="ОГЭ",
        procedures={"ОГЭ": "pupils", "ВПР-5": "none"},
    )
    settings = dict(config.settings())
    assert settings["model.procedures"] == "ОГЭ = pupils, ВПР-5 = none"
    assert settings["model.question"] == "—"


def test_means_by_procedure_bring_their_own_sampling_error(tmp_path: Path) -> None:
    for name in ("schools", "means", "procedures"):
        (tmp_path / f"{name}.csv").write_text("")
    words = "\n".join(f"{name} = '{name}.csv'" for name in ("schools", "means", "procedures"))
    rules = '[[rules]]\npreset = "resilient_posterior"\n'
    config = read_config(save(tmp_path, f'[inputs]\n{words}\n[model]\nkind = "means"\n{rules}'))
    assert config.model.n is config.model.sd is None
    assert config.inputs.means == tmp_path / "means.csv"


def test_a_question_is_read_in_either_writing(tmp_path: Path) -> None:
    words = SMALLEST + '[model]\nquestion = "since_grade(4)"\n'
    assert read_config(save(tmp_path, words)).model.question == "since_grade_4"


@pytest.mark.parametrize("name", ["north_region", "north_region_counts", "california_api"])
def test_shipped_configurations_name_the_command_that_repeats_them(name: str) -> None:
    assert dataset_config(name).command() == f"resilience demo --dataset {name}"
