"""Wordings, glossary and bibliography against the source that uses them."""

from __future__ import annotations

import ast
import re
import string
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import resilience
from resilience.columns import Kind, column, column_names
from resilience.i18n import catalogue_tables, text_keys
from resilience.references import reference, reference_keys

PACKAGE = Path(resilience.__file__).parent
SOURCES = {
    p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text(encoding="utf-8"))
    for p in sorted(PACKAGE.rglob("*.py"))
}
WORDINGS = {
    f"{namespace}.{key}": wording
    for namespace, tables in catalogue_tables("texts").items()
    for key, wording in tables.items()
}
# Keys of f"workbook.{sheet}_{column}": the fixed part of the f-string is too short to tell.
DYNAMIC_PREFIXES = tuple(
    f"workbook.{sheet}_" for sheet in ("schools", "counts", "procedures", "passports", "pupils")
)
CYRILLIC = re.compile("[А-Яа-яЁё]")


def placeholders(wording: str) -> set[str]:
    """Return the names of the placeholders, format specifications checked on the way."""
    names = set()
    for _, name, _, _ in string.Formatter().parse(wording):
        if name is not None:
            assert name.isidentifier(), f"placeholder {{{name}}} has no plain name"
            names.add(name)
    return names


def words(wording: str) -> str:
    """Return a wording without its placeholders."""
    return re.sub(r"\{[^{}]*\}", "", wording)


@pytest.mark.parametrize("key", text_keys())
def test_wording_is_complete_in_both_languages(key):
    wording = WORDINGS[key]
    assert set(wording) == {"en", "ru"}
    english, russian = wording["en"], wording["ru"]
    # an empty wording is a choice (nothing is said of the usual case), half an empty one is not
    assert bool(english.strip()) == bool(russian.strip())
    assert placeholders(english) == placeholders(russian)
    if re.search("[A-Za-z]{3}", words(english)):  # not a mere sign such as " × "
        assert CYRILLIC.search(words(russian)), russian
    for wrong in ("  ", " ,", " ;", "TODO"):
        assert wrong not in english.strip()
        assert wrong not in russian.strip()


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call of a function by its bare name, with the file it stands in."""
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name:
                yield path, node


def strings() -> set[str]:
    """Return every string constant of the source."""
    return {
        node.value
        for tree in SOURCES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_every_wording_the_source_asks_for_exists():
    missing = [
        f"{path}:{call.lineno} {call.args[0].value}"
        for path, call in calls("text")
        if call.args
        and isinstance(call.args[0], ast.Constant)
        and call.args[0].value not in WORDINGS
    ]
    assert not missing


def test_every_placeholder_is_given_and_wanted():
    wrong = []
    for path, call in calls("text"):
        if not call.args or not isinstance(call.args[0], ast.Constant):
            continue
        given = {keyword.arg for keyword in call.keywords}
        wanted = placeholders(WORDINGS.get(call.args[0].value, {"en": ""})["en"])
        if None not in given and given != wanted:  # None: a dictionary unpacked into the call
            wrong.append(f"{path}:{call.lineno} gives {sorted(given)}, wanted {sorted(wanted)}")
    assert not wrong


def bare_names() -> set[str]:
    """Return what may stand behind a prefix: string constants and names of classes."""
    classes = {
        node.name
        for tree in SOURCES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    return strings() | classes


ANY = "[A-Za-z0-9_]+"


def shapes() -> Iterator[re.Pattern[str]]:
    """Yield the shapes of keys, with and without namespace, that the source puts together.

    ``f"workbook.{sheet}_{column}"`` and ``f"head_{name}"`` name every key of that shape.  A mere
    namespace, ``f"verdicts.{value}"``, says nothing about the key and is left to `bare_names`.
    """
    for tree in SOURCES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else None for p in node.values]
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
                left = node.left
                parts = [left.value if isinstance(left, ast.Constant) else None, None]
            else:
                continue
            fixed = "".join(part for part in parts if isinstance(part, str))
            letters = re.fullmatch(r"(?:[a-z_]+\.)?([a-z0-9_]*)", fixed)
            if letters and len(letters[1]) > 3:
                yield re.compile(
                    "".join(re.escape(p) if isinstance(p, str) else ANY for p in parts)
                )


def test_every_wording_is_used():
    named, bare, composed = strings(), bare_names(), list(shapes())
    assert composed, "the search for composed keys found none"
    unused = []
    for key in WORDINGS:
        own = key.partition(".")[2]
        put_together = any(shape.fullmatch(key) or shape.fullmatch(own) for shape in composed)
        put_together = put_together or key.startswith(DYNAMIC_PREFIXES)
        if key not in named and own not in bare and not put_together:
            unused.append(key)
    assert not unused


@pytest.mark.parametrize("name", column_names())
def test_column_is_complete_in_both_languages(name):
    record = column(name)
    assert record.kind in get_args(Kind)
    for english, russian in (
        (record.label_en, record.label_ru),
        (record.meaning_en, record.meaning_ru),
    ):
        assert english.strip()
        assert CYRILLIC.search(russian), russian
    for meaning in (record.meaning_en, record.meaning_ru):
        assert meaning.endswith("."), meaning
    assert bool(record.unit_en) == bool(record.unit_ru)
    assert 0 <= record.digits <= 6
    assert name.isidentifier()


KEY = re.compile(r"\b[A-Z][A-Za-zА-Яа-я]*(?:[A-Z][A-Za-z]*)*(?:19|20)\d\d[a-z]?\b")


def cited_in_docstrings() -> Iterator[tuple[str, str]]:
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for key in KEY.findall(ast.get_docstring(node) or ""):
                    yield path, key


def cited_in_tables() -> Iterator[tuple[str, str]]:
    def walk(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for name, inner in value.items():
                if name == "reference" and isinstance(inner, str):
                    yield inner
                elif name == "references" and isinstance(inner, list):
                    yield from inner
                else:
                    yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)

    for path in sorted(PACKAGE.rglob("*.toml")):
        for key in walk(tomllib.loads(path.read_text(encoding="utf-8"))):
            yield path.relative_to(PACKAGE).as_posix(), key


def test_every_cited_source_is_in_the_bibliography():
    known = set(reference_keys())
    cited = {*cited_in_docstrings(), *cited_in_tables()}
    assert {key for _, key in cited} & known, "the search for citations found none"
    assert not sorted((path, key) for path, key in cited if key not in known)


@pytest.mark.parametrize("key", reference_keys())
def test_source_is_complete(key):
    record = reference(key)
    assert len(record.citation) > 20
    assert record.citation.endswith(".")
    assert record.url == "" or record.url.startswith("https://")
