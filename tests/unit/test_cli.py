"""The command line: three commands, messages in the reader's language, nothing left behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from resilience.cli import main


def test_template_and_run(tmp_path, capsys):
    book = tmp_path / "регион.xlsx"
    assert main(["template", "--lang", "ru", "--example", "-o", str(book)]) == 0
    assert "Записано: регион.xlsx" in capsys.readouterr().out
    out = tmp_path / "out"
    assert main(["run", str(book), "-o", str(out), "--no-figures"]) == 0
    said = capsys.readouterr()
    assert "Низкие результаты" in said.out
    assert "Предупреждение" in said.err
    assert (out / "manifest.json").exists()
    assert not (out / "figures").exists()


def test_demo_in_english(tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "-o", str(out), "--lang", "en", "--as-of", "2025-05-31"]) == 0
    said = capsys.readouterr().out
    assert "Low results, federal rule: A or B" in said
    assert "not yet available" in said
    assert (out / "tables" / "withheld.csv").exists()


def test_the_choice_of_the_model_is_printed_with_its_reason(tmp_path, capsys):
    out = tmp_path / "counts"
    words = ["demo", "--dataset", "north_region_counts", "-o", str(out), "--no-figures"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Модель построена по числам отметок" in said
    assert "Такой вид данных задан в настройках" in said
    assert "со времени поступления в школу" in said
    assert "эти данные сохраняют 85 %" in said
    assert "принята равной 0,5" in said
    assert (out / "tables" / "sources.csv").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "nowhere.toml", "--lang", "ru"], "Ошибка"),
        (["run", "nowhere.xlsx"], "Ошибка"),
        (["run", "nowhere.toml"], "Error"),
        (["demo", "--dataset", "nowhere"], "no configuration is shipped"),
        (["demo", "--as-of", "31.05.2025"], "31.05.2025"),
    ],
)
def test_bad_commands_exit_with_two_and_write_nothing(words, expected, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*words, "-o", str(out)]) == 2
    assert expected in capsys.readouterr().err
    assert not out.exists()


def test_a_place_below_a_file_is_refused_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert main(["demo", "-o", str(tmp_path / "file" / "out")]) == 2
    said = capsys.readouterr().err
    assert "file" in said
    assert "Context" not in said
    assert (tmp_path / "file").read_text(encoding="utf-8") == "x"


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "resilience", "--help"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert "template" in done.stdout
