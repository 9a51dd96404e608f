"""Inside the room of rules imports form a staircase: no circle, not even inside functions."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import resilience.detection.rules as room

PREFIX = "resilience.detection.rules."


def test_no_circle_among_the_modules_of_rules() -> None:
    graph: dict[str, set[str]] = {}
    for path in Path(room.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        graph[path.stem] = {
            node.module.removeprefix(PREFIX)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PREFIX)
        }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError on a circle
    assert order.index("criterion") < order.index("rule") < order.index("criteria")
    above = {name for name, below in graph.items() if "criteria" in below}
    assert above == set()


def test_rules_know_no_tables() -> None:
    for path in Path(room.__file__).parent.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "resilience.detection.verdicts" not in source, path.name
        assert "resilience.data" not in source, path.name
