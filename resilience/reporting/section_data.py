"""Sections "Purpose and question" and "Data" of the appendix."""

from __future__ import annotations

import re

import numpy as np

from resilience.i18n import text_keys
from resilience.reporting.draft import Draft, Markup
from resilience.reporting.material import Material, years_of

__all__ = ["write_data", "write_purpose"]


def write_purpose(draft: Draft, material: Material) -> None:
    """Write what the document is for, how to read a verdict, and the question of the model."""
    draft.heading("purpose")
    draft.say("purpose_what")
    draft.say("purpose_signs")
    draft.say("purpose_verdicts")
    if material.va is not None:
        _write_question(draft, getattr(material.va, "question", None))


def _write_question(draft: Draft, question: object) -> None:
    if question is None:
        draft.say("question", section=draft.ref("section", "model"))
        return
    words = str(question)
    grade = re.fullmatch(r"since_grade[_(]?(\d+)\)?", words)
    if grade:
        draft.say("question_since_grade", grade=grade[1])
    elif f"appendix.question_{words}" in text_keys():
        draft.say(f"question_{words}")
    else:
        draft.say("question_other", question=words)


def write_data(draft: Draft, material: Material) -> None:
    """Write how much data there are, up to which date, and their checksums."""
    draft.heading("data")
    draft.say("data_volume", table=draft.ref("table", "volume"))
    draft.plain_table(
        "volume",
        [draft.words("data_item"), draft.words("data_value")],
        [(draft.words(key), value) for key, value in _volume(draft, material)],
        draft.words("data_volume_caption"),
    )
    provenance = material.provenance
    if provenance is not None and provenance.as_of:
        draft.say("data_as_of", date=provenance.as_of)
    if provenance is None or not provenance.data:
        draft.say("data_no_checksums")
        return
    draft.say("data_checksums", table=draft.ref("table", "checksums"))
    draft.plain_table(
        "checksums",
        [draft.words(f"head_{key}") for key in ("file", "rows", "checksum")],
        [(r.name, f"{r.n_rows}", Markup(_grouped(r.sha256))) for r in provenance.data],
        draft.words("data_checksums_caption"),
    )


def _grouped(checksum: str) -> str:
    """Return 64 digits in groups that a line can be broken between and an eye can compare."""
    return "`" + " ".join(re.findall(".{1,8}", checksum)) + "`"


def _volume(draft: Draft, material: Material) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    schools, counts = material.schools, material.counts
    if schools is not None:
        last = schools.drop_duplicates("school_id", keep="last")
        rows.append(("data_schools_table", f"{len(last)}"))
        if "is_rural" in last and last["is_rural"].notna().all():
            rows.append(("data_rural", f"{int(last['is_rural'].astype(bool).sum())}"))
        if "municipality_id" in last:
            rows.append(("data_municipalities", f"{last['municipality_id'].nunique()}"))
    if material.va is not None:
        rows += _model_volume(draft, material)
    if material.index is not None:
        scores = material.index.scores
        known = scores[scores["context_index"].notna()]
        rows.append(("data_schools_index", f"{known['school_id'].nunique()}"))
        if "year" in scores:
            rows.append(("data_years_index", years_of(known)))
    if counts is not None:
        rows.append(("data_schools_counts", f"{counts['school_id'].nunique()}"))
        rows.append(("data_procedures", f"{counts['procedure'].nunique()}"))
        rows.append(("data_years_counts", years_of(counts)))
        if "n_participants" in counts:
            rows.append(("data_participants", f"{int(counts['n_participants'].sum())}"))
    if material.found is not None:
        rows.append(("data_schools_judged", f"{material.found.schools['school_id'].nunique()}"))
    return rows


def _model_volume(draft: Draft, material: Material) -> list[tuple[str, str]]:
    va = material.va
    rows = [
        ("data_schools_model", f"{va.n_schools}"),
        ("data_pupils_model", f"{va.n_pupils}"),
    ]
    if "n_pupils" in va.school_effects:
        sizes = va.school_effects["n_pupils"].to_numpy(dtype=float)
        quartiles = np.quantile(sizes, [0.25, 0.5, 0.75])
        rows.append(("data_pupils_quartiles", "; ".join(draft.number(q, 0) for q in quartiles)))
    years = years_of(va.school_years)
    if years:
        rows.append(("data_years_model", years))
    return rows
