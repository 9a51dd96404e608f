"""The house has one staircase: no import points up or sideways, no file outgrows its room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import resilience

PACKAGE = Path(resilience.__file__).parent

# A module may import what stands before it in this list of steps; modules named on one step are
# neighbours and do not see each other.
STEPS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("i18n",),
    ("references",),
    ("columns",),
    ("validation",),
    ("results",),
    ("stats",),
    ("data",),
    (
        "context",
        "value_added",
        "detection",
        "clustering",
        "teachers",
        "programmes",
        "monitoring",
    ),
    ("pipeline",),
    ("backtesting",),
    ("plotting",),
    ("reporting",),
    ("cli",),
    ("__main__",),
)
STEP_OF = {room: step for step, rooms in enumerate(STEPS) for room in rooms}
LONGEST_FILE = 450
LONGEST_FUNCTION = 65  # lines of code besides docstring and comments; the aim is 50


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(tree: ast.Module) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the staircase"
            module = node.module or ""
            if module == "resilience":
                found += [f"resilience.{alias.name}" for alias in node.names]
            else:
                found.append(module)
    return found


def ids(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_the_walk_sees_the_house() -> None:
    assert {room_of(p) for p in modules()} <= set(STEP_OF)
    assert {"stats", "data", "context", "value_added", "detection"} <= {
        room_of(p) for p in modules()
    }


@pytest.mark.parametrize("path", modules(), ids=ids)
def test_imports_only_point_down(path: Path) -> None:
    room = room_of(path)
    for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if not name.startswith("resilience."):
            assert name != "resilience", f"{ids(path)} imports the package's lazy names"
            continue
        target = name.split(".")[1]
        if target == "__version__":
            continue
        assert target in STEP_OF, f"{ids(path)} imports the unknown room {target!r}"
        if target != room:
            assert STEP_OF[target] < STEP_OF[room], f"{ids(path)} ({room}) imports {name}"


@pytest.mark.parametrize("path", modules(), ids=ids)
def test_heavy_and_reserved_imports(path: Path) -> None:
    names = {n.split(".")[0] for n in imports(ast.parse(path.read_text(encoding="utf-8")))}
    if room_of(path) != "plotting":
        assert "matplotlib" not in names, f"only plotting imports matplotlib, not {ids(path)}"
    if room_of(path) == "stats":
        assert not {"pandas", "formulaic", "sklearn", "openpyxl"} & names, ids(path)


@pytest.mark.parametrize("path", modules(), ids=ids)
def test_files_and_functions_keep_their_size(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= LONGEST_FILE, f"{ids(path)} asks for a second room"
    assert path.name not in {"utils.py", "helpers.py", "misc.py", "common.py"}
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            start = body[0].end_lineno + 1 if ast.get_docstring(node) else body[0].lineno
            code = [
                ln
                for ln in lines[start - 1 : node.end_lineno]
                if ln.strip() and not ln.strip().startswith("#")
            ]
            assert len(code) <= LONGEST_FUNCTION, f"{ids(path)}:{node.name} has {len(code)} lines"
