"""Closing sections: limitations, sources, provenance, and the annex with every school."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from resilience.columns import label
from resilience.plotting.inputs import interval_note, latest_scores
from resilience.references import reference, reference_keys
from resilience.reporting.draft import Draft, Markup, escape, localized
from resilience.reporting.material import MOST_SCHOOLS, Material
from resilience.reporting.model_words import of_marks
from resilience.reporting.provenance import Provenance
from resilience.reporting.rules import RuleFacts
from resilience.reporting.section_lists import verdict_word
from resilience.reporting.section_rules import rule_code

__all__ = ["write_annex", "write_limitations", "write_provenance", "write_sources"]

_RULES_PER_TABLE = 5
_BAND_SIGNS = {"well_below": "−−", "below": "−", "between": "0", "above": "+", "well_above": "++"}


def write_limitations(draft: Draft, material: Material, rules: tuple[RuleFacts, ...]) -> None:
    """Write what the conclusions cannot bear."""
    keys = []
    if material.va is not None:
        keys += ["limit_effect", "limit_small"]
        if "prior" in str(material.va.formula):
            keys.append("limit_prior")
        if of_marks(material.va):
            keys.append("limit_counts")
        if str(getattr(material.va, "question", "")) == "since_entry":
            keys.append("limit_entry")
    else:
        keys.append("limit_no_model")
    if material.index is None:
        keys.append("limit_no_index")
    else:
        keys.append("limit_index")
    if material.found is not None:
        keys += ["limit_list", "limit_bad_year"]
    if any(rule.status != "documented" for rule in rules):
        keys.append("limit_not_documented")
    keys += ["limit_marks", "limit_no_cause"]
    draft.heading("limitations")
    draft.bullets([draft.words(key) for key in keys])


def write_sources(draft: Draft) -> None:
    """Write the sources cited, with what was compared with them."""
    known = [key for key in draft.references if key in reference_keys()]
    if not known:
        return
    draft.heading("sources")
    items = []
    for key in sorted(known, key=str.lower):
        source = reference(key)
        parts = [f"\\[{escape(key)}\\] {escape(source.citation)}"]
        if source.url:
            parts.append(escape(source.url))
        note = localized(source.note, draft.lang)
        # A note in English says nothing to a reader of Russian that the rule's text does not say.
        if note and (draft.lang == "en" or re.search("[А-яё]", note)):
            parts.append(escape(note))
        items.append(" ".join(parts))
    draft.bullets(items, numbered=True)


def write_provenance(draft: Draft, provenance: Provenance | None) -> None:
    """Write what is needed to repeat the run."""
    record = Provenance() if provenance is None else provenance
    nothing = draft.words("not_given")
    rows = [
        ("provenance_version", record.library_version),
        ("provenance_as_of", record.as_of or nothing),
        ("provenance_seed", nothing if record.seed is None else str(record.seed)),
        ("provenance_command", Markup(f"`{record.command}`") if record.command else nothing),
        ("provenance_licence", record.licence or nothing),
    ]
    cells = [(draft.words(key), value) for key, value in rows]
    cells += [(Markup(f"`{name}`"), value) for name, value in record.settings]
    draft.heading("provenance")
    draft.say(
        "provenance_what",
        section=draft.ref("section", "data"),
        table=draft.ref("table", "provenance"),
    )
    draft.plain_table(
        "provenance",
        [draft.words("data_item"), draft.words("data_value")],
        cells,
        draft.words("provenance_caption"),
    )
    if record.citations:
        draft.say("provenance_citations")
        draft.bullets([escape(c) for c in record.citations])


def write_annex(draft: Draft, material: Material, rules: tuple[RuleFacts, ...]) -> None:
    """Write the complete tables: effects, indices and verdicts of every school."""
    only = material.annex_schools
    draft.heading("annex")
    if only is None:
        draft.say("annex_what")
    else:
        draft.say("annex_part", most=MOST_SCHOOLS, n=len(only))
    if material.va is not None:
        _write_effects(draft, material.va, only)
    if material.index is not None:
        _write_scores(draft, material.index, only)
    if rules:
        _write_verdicts(draft, material, rules, only)


def _sorted(frame: pd.DataFrame, only: set[str] | None) -> pd.DataFrame:
    """Return the rows of the schools wanted, by school, with ``key`` as the id's text."""
    keyed = frame.assign(key=frame["school_id"].astype(str))
    if only is not None:
        keyed = keyed[keyed["key"].isin(only)]
    return keyed.sort_values("key", kind="stable")


def _write_effects(draft: Draft, va: Any, only: set[str] | None) -> None:
    effects = _sorted(va.school_effects, only)
    columns: dict[str, list[str]] = {label("school_id", draft.lang): list(effects["key"])}
    digits = _digits(effects, ["observed_mean", "effect", "conf_low", "conf_high"])
    for name in ("n_pupils", "observed_mean", "expected_mean", "effect", "std_error"):
        if name in effects:
            places = 0 if name == "n_pupils" else digits
            columns[draft.words(f"short_{name}")] = _column(draft, effects, name, places)
    low, high = (_column(draft, effects, name, digits) for name in ("conf_low", "conf_high"))
    columns[draft.words("short_interval")] = [
        f"{a}\u00a0…\u00a0{b}" for a, b in zip(low, high, strict=True)
    ]
    if "reliability" in effects:
        columns["λ"] = _column(draft, effects, "reliability", 2)
    if {"rank_expected", "rank_low", "rank_high"} <= set(effects.columns):
        ranks = (_column(draft, effects, f"rank_{k}", 0) for k in ("expected", "low", "high"))
        columns[draft.words("short_rank")] = [
            f"{a}\u00a0({b}–{c})" for a, b, c in zip(*ranks, strict=True)
        ]
    if "band" in effects:
        columns[draft.words("short_band")] = [_BAND_SIGNS.get(b, b) for b in effects["band"]]
    note = interval_note(va.school_effects, va.level).localized(draft.lang)
    draft.say("effects_columns", table=draft.ref("table", "effects"))
    draft.plain_table(
        "effects",
        list(columns),
        list(zip(*columns.values(), strict=True)),
        draft.words("effects_caption", interval=Markup(escape(note))),
    )


def _digits(frame: pd.DataFrame, names: list[str]) -> int:
    """Return as many decimal places as keep a table of these units narrow."""
    present = frame[[n for n in names if n in frame]].abs().to_numpy(dtype=float)
    largest = float(np.nanmax(present, initial=0.0))
    return 2 if largest < 10 else 1 if largest < 1000 else 0


def _column(draft: Draft, frame: pd.DataFrame, name: str, digits: int) -> list[str]:
    return [draft.number(float(v), digits) for v in frame[name].astype(float)]


def _write_scores(draft: Draft, index: Any, only: set[str] | None) -> None:
    scores = _sorted(latest_scores(index.scores), only)
    names = ["context_index", "context_index_std_error", "context_reliability", "context_coverage"]
    present = [c for c in names if c in scores]
    columns = [list(scores["key"])]
    heads = [label("school_id", draft.lang)]
    if "year" in scores:
        heads.append(label("year", draft.lang))
        columns.append([str(int(y)) for y in scores["year"]])
    for name in present:
        heads.append(label(name, draft.lang))
        columns.append(_column(draft, scores, name, 1 if "index" in name else 2))
    if "context_reason" in scores:
        words = [localized(v, draft.lang) for v in scores["context_reason"]]
        if any(words):
            heads.append(label("context_reason", draft.lang))
            columns.append(words)
    draft.plain_table(
        "scores",
        heads,
        list(zip(*columns, strict=True)),
        draft.words("scores_caption"),
    )


def _write_verdicts(
    draft: Draft, material: Material, rules: tuple[RuleFacts, ...], only: set[str] | None
) -> None:
    """Write a row per school and a column per rule, at most five rules to a table."""
    verdicts = _sorted(material.found.schools, only)
    cells: dict[tuple[str, str], str] = {}
    for row in verdicts.to_dict(orient="records"):
        words = verdict_word(row["verdict"], draft.lang)
        probability = row.get("probability")
        judged = row["verdict"] != "not_applicable"
        if judged and probability is not None and pd.notna(probability):
            words += f" ({draft.number(float(probability), 2)})"
        cells[str(row["school_id"]), str(row["rule_id"])] = words
    schools = sorted({school for school, _ in cells})
    names = [material.place(s)[0] for s in schools]
    starts = range(0, max(len(rules), 1), _RULES_PER_TABLE)
    tables = ", ".join(draft.ref("table", f"matrix-{k}") for k in range(1, len(starts) + 1))
    draft.say("matrix_what" if len(starts) == 1 else "matrices_what", tables=Markup(tables))
    for part, start in enumerate(starts, 1):
        some = rules[start : start + _RULES_PER_TABLE]
        heads = [label("school_id", draft.lang)]
        columns = [schools]
        if any(names):
            heads.append(label("name", draft.lang))
            columns.append(names)
        for i, rule in enumerate(some, start + 1):
            heads.append(rule_code(draft, i))
            columns.append([cells.get((s, rule.rule_id), "—") for s in schools])
        draft.plain_table(
            f"matrix-{part}",
            heads,
            list(zip(*columns, strict=True)),
            draft.words("matrix_caption", first=start + 1, last=start + len(some)),
        )
