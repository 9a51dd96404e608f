"""The documentation keeps step with the library: fast checks that build nothing."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest

import resilience
from resilience.columns import column_names
from resilience.detection import Criteria, preset_ids
from resilience.pipeline import list_performance, read_config
from resilience.pipeline.config import (
    IndexConfig,
    InputsConfig,
    ModelConfig,
    OutputConfig,
    RuleConfig,
)
from resilience.pipeline.plan import build_rules
from resilience.references import reference_keys

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if not {"generated", "_build"} & set(p.parts))
READMES = [ROOT / "README.md", ROOT / "README.ru.md"]
CONFIGS = (InputsConfig, ModelConfig, IndexConfig, RuleConfig, OutputConfig)
BLOCK = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, kind: str) -> list[str]:
    return [body for name, body in BLOCK.findall(page.read_text(encoding="utf-8")) if name == kind]


def short(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_there_are_pages_to_check() -> None:
    assert len(PAGES) >= 12


@pytest.mark.parametrize("name", resilience.__all__)
def test_every_public_name_stands_in_the_api(name: str) -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    assert re.search(rf"^\s+{re.escape(name)}$|`resilience\.{re.escape(name)}`", page, re.MULTILINE)


def test_both_readmes_have_the_same_two_lines() -> None:
    lines = [
        [b.strip() for b in blocks(page, "") if b.startswith("python3 -m venv")] for page in READMES
    ]
    assert lines[0] == lines[1]
    assert [("resilience demo" in line, "pytest" in line) for line in lines[0]] == [
        (True, False),
        (False, True),
    ]
    assert all("\n" not in line for line in lines[0])


def test_both_readmes_have_the_same_notebook_cells_and_commands() -> None:
    cells = [blocks(page, "python") for page in READMES]
    assert cells[0] == cells[1]
    assert len(cells[0]) == 5
    commands = [
        [line.split("#")[0].split() for b in blocks(page, "") for line in b.splitlines()]
        for page in READMES
    ]
    assert commands[0] == commands[1]


@pytest.mark.parametrize("page", [*READMES, *PAGES], ids=short)
def test_python_blocks_parse_and_use_public_names(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "rs" or node.attr in resilience.__all__, node.attr


def test_the_quick_start_has_code() -> None:
    assert len(blocks(DOCS / "quickstart.md", "python")) >= 4


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_toml_blocks_are_toml(page: Path) -> None:
    for block in blocks(page, "toml"):
        assert tomllib.loads(block)


def test_the_rule_shown_is_a_rule(tmp_path: Path) -> None:
    (block,) = blocks(DOCS / "methodology" / "detection.md", "toml")
    file = tmp_path / "rules.toml"
    file.write_text(block, encoding="utf-8")
    (rule,) = Criteria.from_toml(file)
    assert rule.criteria[0].at_most == 0.33


def test_the_configuration_shown_is_a_configuration(tmp_path: Path) -> None:
    (block,) = blocks(DOCS / "annual_run.md", "toml")
    (tmp_path / "data").mkdir()
    for name in ("schools", "counts", "procedures"):
        (tmp_path / "data" / f"{name}.csv").write_text("x", encoding="utf-8")
    file = tmp_path / "region.toml"
    file.write_text(block, encoding="utf-8")
    assert [rule.id for rule in build_rules(read_config(file))] == [
        "low_results_2025_or",
        "resilient_posterior",
    ]


def test_every_key_of_the_configuration_is_explained() -> None:
    page = (DOCS / "annual_run.md").read_text(encoding="utf-8")
    keys = {f.name for part in CONFIGS for f in fields(part)} - {"mode"}
    assert {key for key in keys if f"`{key}`" not in page} == set()


def test_every_preset_is_explained() -> None:
    page = (DOCS / "methodology" / "rules.md").read_text(encoding="utf-8")
    assert {name for name in preset_ids() if f"`{name}`" not in page} == set()


def test_the_table_of_what_rules_find_is_true() -> None:
    # The page prints counts of one run on the embedded region; they must be those of today.
    region = resilience.load_dataset("north_region")
    run = resilience.annual_run(region)
    found = pd.concat(
        list_performance(run.found.schools, region.truth["schools"], target).set_index("rule_id")
        for target in ("true_low", "true_resilient")
    )
    page = (DOCS / "methodology" / "detection.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| \2?(\d+) of (\d+) \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for name, *printed in rows:
        target = found.loc[[name]].query(f"n_true == {printed[3]}").iloc[0]
        assert [target["n_listed"], target["n_true_listed"], target["n_true_listed"]] == [
            int(v) for v in printed[:3]
        ], name


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_cited_sources_are_in_the_bibliography(page: Path) -> None:
    cited = re.findall(r"\{cite\}`([^`]+)`", page.read_text(encoding="utf-8").replace("`` ", ""))
    assert set(cited) <= set(reference_keys())


@pytest.mark.parametrize("page", [*READMES, *PAGES], ids=short)
def test_pages_stand_on_their_own(page: Path) -> None:
    found = re.search(
        r"\bshared/|ARCHITECTURE|\bDOMAIN\.md|\bissue \d|\bstep \d+ of|/(work|tmp|home)/",
        page.read_text(encoding="utf-8"),
    )
    assert found is None


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_the_generated_glossary_holds_every_column(
    lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.delitem(sys.modules, "generated_pages", raising=False)
    import generated_pages

    page = generated_pages.columns_page(lang)
    rows = re.findall(r"^\| `([^`]+)` \|(.*)\|$", page, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(column_names())
    # three further cells in every row: a bar inside a wording would shift the table
    assert {len(re.findall(r"(?<!\\)\|", cells)) for _, cells in rows} == {2}
    assert all(cells.rsplit("|", 1)[1].strip() for _, cells in rows)


def test_generated_text_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    import generated_pages

    assert generated_pages.plain("a|b *c* $d$ <e>\n f_g") == (r"a\|b \*c\* \$d\$ \<e\> f\_g")


def test_notebooks_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    import generated_pages

    assert generated_pages.copy_notebooks(tmp_path / "none", tmp_path / "copy") == []
    assert "toctree" not in generated_pages.notebooks_page([])
    source = tmp_path / "notebooks"
    source.mkdir()
    (source / "01_a.ipynb").write_text("{}", encoding="utf-8")
    assert generated_pages.copy_notebooks(source, tmp_path / "copy") == ["01_a"]
    assert (tmp_path / "copy" / "01_a.ipynb").is_file()
    assert "notebooks/01_a" in generated_pages.notebooks_page(["01_a"])
    (source / "01_a.ipynb").unlink()
    assert generated_pages.copy_notebooks(source, tmp_path / "copy") == []
    assert not (tmp_path / "copy" / "01_a.ipynb").exists()
