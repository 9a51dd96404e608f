"""Sections "Purpose and question" and "Data" of the appendix."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from resilience.columns import label
from resilience.i18n import has_text
from resilience.reporting.draft import Draft, Markup, escape, localized
from resilience.reporting.material import Material, years_of

__all__ = ["write_data", "write_purpose"]

_MOST_NAMED = 12  # procedures named for one reason; the files of the run hold them all


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
    elif has_text(f"appendix.question_{words}"):
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
    if material.sources is not None and len(material.sources):
        _write_sources(draft, material.sources)
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


def _write_sources(draft: Draft, sources: pd.DataFrame) -> None:
    """Write what the model takes of each procedure, years with the same source in one row."""
    draft.say("data_sources", table=draft.ref("table", "sources"))
    kinds = sources["source_kind"].astype(str)
    rows = []
    for _, part in sources.groupby(["procedure", kinds.rename("kind")], sort=True, observed=True):
        kept = part["information"].mean()
        pupils = int(part["n_pupils"].sum())
        rows.append(
            (
                str(part["procedure"].iloc[0]),
                years_of(part),
                localized(part["source_kind"].iloc[0], draft.lang),
                f"{int(part['n_schools'].max())}" if pupils else "—",
                f"{pupils}" if pupils else "—",
                f"{100 * kept:.0f} %" if kept == kept else "—",
            )
        )
    heads = [label("procedure", draft.lang), draft.words("head_years")]
    heads += [draft.words(f"head_{k}") for k in ("source", "schools", "results", "information")]
    draft.plain_table("sources", heads, rows, draft.words("data_sources_caption"))
    _write_reasons(draft, sources)
    without = int(sources["n_schools_without"].sum())
    if without:
        draft.say("data_sources_without", n=without)


def _write_reasons(draft: Draft, sources: pd.DataFrame) -> None:
    """Write why each source was taken, unless there is one reason for all."""
    reasons = pd.Series(
        [localized(r, draft.lang) for r in sources["source_reason"]], index=sources.index
    )
    if reasons.nunique() < 2:
        return
    items = []
    for reason, part in sources.groupby(reasons, sort=False):
        years = part.groupby(part["procedure"].astype(str), sort=True)
        cells = [f"{procedure} ({years_of(rows)})" for procedure, rows in years]
        more = f" … ({len(cells)})" if len(cells) > _MOST_NAMED else ""
        items.append(escape(f"{reason}: {', '.join(cells[:_MOST_NAMED])}{more}"))
    draft.say("data_sources_reasons")
    draft.bullets(items)


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


def _model_data(draft: Draft, va: Any) -> list[tuple[str, str]]:
    rows = [("data_kind", draft.words(f"data_kind_{va.data_kind}"))]
    if va.information == va.information:
        rows.append(("data_information", f"{100 * va.information:.0f} %"))
    return rows


def _model_volume(draft: Draft, material: Material) -> list[tuple[str, str]]:
    va = material.va
    rows = [] if getattr(va, "data_kind", None) is None else _model_data(draft, va)
    rows.append(("data_schools_model", f"{va.n_schools}"))
    joint = getattr(va, "subject", None) is not None
    if joint:  # several results of one pupil
        linked = bool(va.mixed.strata.linked)
        rows.append(("data_results_model", f"{va.mixed.n_rows}"))
        rows.append(("data_pupils_joint" if linked else "data_pupils_least", f"{va.n_pupils}"))
    else:
        rows.append(("data_pupils_model", f"{va.n_pupils}"))
    if "n_pupils" in va.school_effects:
        sizes = va.school_effects["n_pupils"].to_numpy(dtype=float)
        quartiles = np.quantile(sizes, [0.25, 0.5, 0.75])
        heading = "data_joint_quartiles" if joint else "data_pupils_quartiles"
        rows.append((heading, "; ".join(draft.number(q, 0) for q in quartiles)))
    years = years_of(va.school_years)
    if years:
        rows.append(("data_years_model", years))
    return rows
