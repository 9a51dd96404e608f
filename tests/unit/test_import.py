"""`import resilience` is quick because it loads nothing: a test on modules, not on time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import resilience as rs

HEAVY = {
    "IPython",
    "formulaic",
    "joblib",
    "markdown_it",
    "matplotlib",
    "numpy",
    "openpyxl",
    "pandas",
    "pypandoc",
    "scipy",
    "sklearn",
    "statsmodels",
    "threadpoolctl",
    "tqdm",
}


def modules_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after running ``code``."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_import_loads_nothing_heavy():
    assert not modules_after("import resilience") & HEAVY


@pytest.mark.parametrize(
    ("code", "spared"),
    [
        ("import resilience as rs; rs.DataError; rs.reference", HEAVY),
        # a model may need tables, never figures, workbooks, folds or formulas before they are used
        (
            "import resilience as rs; rs.ValueAddedModel; rs.SchoolLevelModel; rs.load_dataset",
            {"matplotlib", "openpyxl", "sklearn", "formulaic", "statsmodels", "pypandoc"},
        ),
        (
            "import resilience as rs; rs.ContextIndex; rs.Criteria; rs.detect_schools",
            {"matplotlib", "openpyxl", "sklearn", "formulaic", "statsmodels", "pypandoc"},
        ),
        ("import resilience.cli", {"matplotlib", "sklearn", "statsmodels", "pypandoc"}),
    ],
)
def test_a_room_loads_only_what_it_needs(code, spared):
    assert not modules_after(code) & spared


def test_every_public_name_is_at_home():
    for name in rs.__all__:
        assert getattr(rs, name) is not None, name
    assert dir(rs) == rs.__all__
    assert sorted(rs.__all__) == rs.__all__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'resilience' has no attribute 'Regression'"):
        rs.Regression  # noqa: B018 - the access itself is what raises
