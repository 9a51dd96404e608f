"""From the text of ``region.toml`` to a configuration."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from resilience.data.workbook_sheets import check_file
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, Language, text
from resilience.pipeline.config import (
    CHECKS,
    Check,
    Composition,
    IndexConfig,
    InputsConfig,
    Method,
    Missing,
    ModelConfig,
    ModelKind,
    OutputConfig,
    RegionConfig,
    RuleConfig,
    Sheets,
    SourceKind,
)
from resilience.pipeline.config_index import read_index
from resilience.pipeline.config_values import TomlTable, is_number, listed
from resilience.validation import nearest_names
from resilience.value_added.definitions.question import question_of

__all__ = ["read_config"]

KEYS: dict[str, tuple[str, ...]] = {
    "inputs": tuple(f.name for f in fields(InputsConfig)),
    "model": tuple(f.name for f in fields(ModelConfig)),
    "index": tuple(f.name for f in fields(IndexConfig) if f.name != "mode"),
    "rules": tuple(f.name for f in fields(RuleConfig)),
    "output": tuple(f.name for f in fields(OutputConfig)),
}
TABLE_FILES = ("schools", "pupils", "counts", "means", "procedures", "score_histograms")

# Keys of the model that only some kinds of data have a use for.
_KINDS_OF_KEY = {
    "composition": ("auto", "pupils"),
    "slopes": ("auto", "pupils"),
    "subjects": ("auto", "pupils", "mixture"),
    "missing": ("auto", "pupils"),
    "question": ("auto", "pupils"),
    "procedures": ("auto", "mixture"),
    "correlation": ("auto", "counts", "means", "mixture"),
    "n": ("auto", "means"),
    "sd": ("auto", "means"),
    "variance": ("auto", "means"),
}


def read_config(path: str | Path) -> RegionConfig:
    r"""Read ``region.toml``.

    Paths in it are relative to its folder and may be written with ``/`` or, in single quotes, with
    a backslash.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    RegionConfig

    Raises
    ------
    SpecificationError
        If the file is not well-formed TOML in UTF-8, a key is unknown, misplaced or missing, or a
        value is of the wrong kind.
    DataError
        If the file, or one it names, does not exist.
    """
    source = Path(path)
    if source.suffix.lower() != ".toml":
        raise SpecificationError(text("config.suffix", file=repr(source.name)))
    check_file(source, str(path))
    content = _parsed(source)
    file, folder = source.name, source.parent
    _check_tables(content, file)

    def table(name: str) -> TomlTable:
        record = content.get(name, {})
        if not isinstance(record, dict):
            raise SpecificationError(
                text("config.not_table", file=file, key=name, value=repr(record))
            )
        made = TomlTable(record, name=name, file=file, folder=folder)
        made.check_keys(KEYS[name], _homes(name))
        return made

    # All keys are looked at before any value, so that a slip in a name is told as such.
    inputs, model, output = table("inputs"), table("model"), table("output")
    index = table("index") if "index" in content else None
    rules = _rule_tables(content, file, folder)
    return RegionConfig(
        source=file,
        inputs=_inputs(inputs),
        model=_model(model, by_procedure=inputs.has("means")),
        index=None if index is None else read_index(index),
        rules=tuple(_rule(rule) for rule in rules),
        output=_output(output),
    )


def _homes(own: str) -> dict[str, str]:
    """Return the table in which a key of another table belongs, for keys of one table alone."""
    every = [key for keys in KEYS.values() for key in keys]
    return {
        key: name
        for name, keys in KEYS.items()
        for key in keys
        # `file` is what anybody would call an input, so it tells nothing.
        if name != own and every.count(key) == 1 and key != "file"
    }


def _parsed(source: Path) -> dict[str, Any]:
    file = source.name
    try:
        # Notepad may put a mark before the text.
        words = source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecificationError(text("config.encoding", file=file)) from error
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise DataError(text("schema.file_locked", path=repr(file), problem=problem)) from error
    try:
        return tomllib.loads(words)
    except tomllib.TOMLDecodeError as error:
        raise SpecificationError(_toml_problem(str(error), words, file)) from error


def _toml_problem(problem: str, words: str, file: str) -> Bilingual:
    """Return what to do about a TOML error, with the line; backslashes are the usual cause."""
    place = re.search(r"\(at line (\d+), column (\d+)\)", problem)
    if place is None:
        return text("config.toml", file=file, problem=problem)
    line, column = int(place[1]), int(place[2])
    lines = words.splitlines()
    seen = lines[line - 1] if line <= len(lines) else ""
    if re.search(r'"[^"]*\\', seen):
        return text("config.backslash", file=file, line=line)
    bare = problem[: place.start()].strip()
    where = text("config.toml_place", line=line, column=column, problem=bare)
    return text("config.toml", file=file, problem=where)


def _check_tables(content: dict[str, Any], file: str) -> None:
    for key in content:
        if key in KEYS:
            continue
        home = _homes("").get(key)
        if home is not None:
            place = text("config.top")
            raise SpecificationError(
                text("config.misplaced", file=file, key=repr(key), table=place, home=home)
            )
        raise SpecificationError(
            text("config.unknown_table", file=file, key=key, nearest=nearest_names(key, KEYS))
        )
    if "inputs" not in content:
        example = '[inputs] dataset = "north_region"'
        raise SpecificationError(
            text("config.missing_table", file=file, table="inputs", example=example)
        )


def _rule_tables(content: dict[str, Any], file: str, folder: Path) -> list[TomlTable]:
    rules = content.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(r, dict) for r in rules):
        raise SpecificationError(text("config.not_rules", file=file))
    if not rules:
        raise SpecificationError(text("config.no_rules", file=file))
    tables = []
    for i, record in enumerate(rules, start=1):
        rule = TomlTable(record, name=f"rules[{i}]", file=file, folder=folder)
        rule.check_keys(KEYS["rules"], _homes("rules"))
        tables.append(rule)
    return tables


# --- the tables ---------------------------------------------------------------------------------


def _inputs(table: TomlTable) -> InputsConfig:
    files = [name for name in TABLE_FILES if table.has(name)]
    given = [name for name in ("dataset", "workbook") if table.has(name)]
    if len(given) + bool(files) != 1:
        raise SpecificationError(
            text(
                "config.one_source",
                file=table.file,
                given=listed([*given, *files], text("config.nothing")),
                tables=", ".join(TABLE_FILES),
            )
        )
    if files and "schools" not in files:
        raise SpecificationError(text("config.no_schools", file=table.file))
    dated = next((name for name in ("counts", "means") if name in files), None)
    if dated is not None and "procedures" not in files:
        raise SpecificationError(text("config.no_procedures", file=table.file, table=dated))
    return InputsConfig(
        dataset=table.words("dataset"),
        workbook=table.path("workbook"),
        schools=table.path("schools"),
        pupils=table.path("pupils"),
        counts=table.path("counts"),
        means=table.path("means"),
        procedures=table.path("procedures"),
        score_histograms=table.path("score_histograms"),
    )


def _model(table: TomlTable, *, by_procedure: bool) -> ModelConfig:
    kind: ModelKind = table.choice("kind", ModelKind, "auto")
    for key, kinds in _KINDS_OF_KEY.items():
        if table.has(key) and kind not in kinds:
            raise SpecificationError(
                text(
                    "config.only_for",
                    file=table.file,
                    key=key,
                    kinds=", ".join(repr(k) for k in kinds),
                    kind=repr(kind),
                )
            )
    formula = _formula(table, kind)
    _check_means(table, kind, by_procedure=by_procedure)
    correlation = table.number("correlation", 0.5)
    if not 0 <= correlation < 1:
        table.fail("correlation", text("config.kind_fraction", low=0, high=1))
    composition = table.table("composition", "words")
    for column in composition:
        inner = TomlTable(
            composition, name=f"{table.name}.composition", file=table.file, folder=table.folder
        )
        inner.choice(column, Composition, "latent")
    return ModelConfig(
        kind=kind,
        procedures=_sources(table),
        question=_question(table),
        formula=formula,
        composition=composition,
        slopes=table.names("slopes"),
        subjects=table.names("subjects"),
        missing=table.choice("missing", Missing, "raise"),
        outcome_procedure=table.words("outcome_procedure"),
        correlation=correlation,
        n=table.words("n"),
        sd=_spread(table),
        variance=table.words("variance"),
        method=table.choice("method", Method, "reml"),
    )


def _formula(table: TomlTable, kind: ModelKind) -> str | None:
    """Return the formula; only models of counts may leave the outcome out."""
    formula = table.words("formula")
    if formula is None:
        return None
    side = r"[^~]*[^~\s][^~]*"
    outcome = rf"(?:{side})?\s*" if kind in ("auto", "counts", "mixture") else side
    if not re.fullmatch(f"{outcome}~{side}", formula):
        raise SpecificationError(text("config.formula", file=table.file, value=repr(formula)))
    return formula


def _sources(table: TomlTable) -> dict[str, SourceKind]:
    """Return which data to take for which procedure."""
    named = table.table("procedures", "sources")
    inner = TomlTable(named, name=f"{table.name}.procedures", file=table.file, folder=table.folder)
    found: dict[str, SourceKind] = {}
    for procedure in named:
        source: SourceKind = inner.choice(procedure, SourceKind, "none")
        found[procedure] = source
    return found


def _question(table: TomlTable) -> str | None:
    key = table.words("question")
    if key is None:
        return None
    try:
        return question_of(key).key
    except SpecificationError as error:
        raise SpecificationError(
            text("config.file", file=table.file, key="model.question", message=error.message)
        ) from None


def _check_means(table: TomlTable, kind: ModelKind, *, by_procedure: bool) -> None:
    """Raise unless sampling variances are known in exactly one way.

    A table of means by procedure brings its own numbers of pupils.
    """
    given = [key for key in ("variance", "n", "sd") if table.has(key)]
    whole = given in (["variance"], ["n", "sd"])
    needed = kind == "means" and not by_procedure
    if not whole and (needed or given):
        shown = listed(given, text("config.nothing"))
        raise SpecificationError(text("config.means_need", file=table.file, given=shown))


def _spread(table: TomlTable) -> float | str | None:
    value = table.record.get("sd")
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    if not is_number(value) or value <= 0:
        table.fail("sd", text("config.kind_sd"))
    return float(value)


def _rule(table: TomlTable) -> RuleConfig:
    if table.has("preset") == table.has("file"):
        given = text("config.both" if table.has("preset") else "config.neither")
        raise SpecificationError(
            text("config.rule_source", file=table.file, rule=table.name, given=given)
        )
    amend = table.table("amend", "amend")
    if not all(isinstance(bounds, dict) and bounds for bounds in amend.values()):
        table.fail("amend", text("config.kind_amend"))
    return RuleConfig(
        preset=table.words("preset"),
        file=table.path("file"),
        amend=amend,
        procedures=table.names("procedures"),
    )


def _output(table: TomlTable) -> OutputConfig:
    return OutputConfig(
        region=table.words("region"),
        as_of=table.date("as_of"),
        lang=table.choice("lang", Language, "en"),
        figures=table.flag("figures", True),
        seed=table.whole("seed", 0),
        checks=_checks(table),
        sheets=table.choice("sheets", Sheets, "listed"),
    )


def _checks(table: TomlTable) -> tuple[Check, ...]:
    """Return the checks named; ``[]`` asks for none, no key for all."""
    if not table.has("checks"):
        return CHECKS
    named = table.record["checks"]
    chosen = table.names("checks") if named != [] else ()
    for check in chosen:
        if check not in CHECKS:
            raise SpecificationError(
                text(
                    "config.choice",
                    file=table.file,
                    key=f"{table.name}.checks",
                    value=repr(check),
                    options=", ".join(repr(c) for c in CHECKS),
                )
            )
    return tuple(check for check in CHECKS if check in chosen)
