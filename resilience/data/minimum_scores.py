"""Minimum scores of examinations, versioned by year: data with a status and a source."""

from __future__ import annotations

from dataclasses import dataclass

from resilience.data.scales import Status, scale_records, scale_table
from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["MinimumScore", "minimum_score"]


@dataclass(frozen=True, kw_only=True)
class MinimumScore:
    """A minimum score and where it stands.

    Attributes
    ----------
    exam, subject : str
        Examination and code of the subject.
    year : int
        Year of validity.
    kind : str
        ``"certificate"``, ``"pass"``, or one of the bounds of universities.
    value : int
        Lowest score that passes (test score of ЕГЭ, raw score of ОГЭ).
    status, second_hand, reference, note
        As in `ScaleTable`.
    """

    exam: str
    subject: str
    year: int
    kind: str
    value: int
    status: Status = "documented"
    second_hand: bool = False
    reference: str = ""
    note: str = ""


def minimum_score(exam: str, subject: str, *, year: int, kind: str = "certificate") -> MinimumScore:
    """Return a minimum score of ЕГЭ, or the pass mark of ОГЭ.

    Parameters
    ----------
    exam, subject : str
        ``"ЕГЭ"`` or ``"ОГЭ"`` and the code of the subject (``"МА-профиль"`` for ЕГЭ mathematics).
    year : int
        Year of validity; the neighbouring year is never used instead.
    kind : str, default "certificate"
        ``"certificate"``: the bound of the rule of low results; ``"university_federal"``,
        ``"university_minobrnauki"``, ``"university_minprosveshcheniya"``: admission, never for that
        rule; ``"pass"``: lowest raw score of "3" at ОГЭ.

    Returns
    -------
    MinimumScore
        Value, status and source.

    Raises
    ------
    SpecificationError
        If there is no such minimum, or the examination gives marks and no 0-100 score.

    References
    ----------
    EGEmin2026, EGEmin2019, MNVO2026, MP2026, OGE2023, eddu.
    """
    if (exam, subject) == ("ЕГЭ", "МА-база"):
        raise SpecificationError(text("scales.basic_mathematics"))
    records = [
        r for r in scale_records()["minimum"] if (r["exam"], r["subject"]) == (exam, subject)
    ]
    for record in records:
        if (record["year"], record["kind"]) == (year, kind):
            return MinimumScore(**record)
    tables = [r for r in scale_records()["table"] if (r["exam"], r["subject"]) == (exam, subject)]
    if (exam, kind) == ("ОГЭ", "pass") and any(r["year"] == year for r in tables):
        table = scale_table(exam, subject, year=year)
        return MinimumScore(
            exam=exam,
            subject=subject,
            year=year,
            kind=kind,
            value=table.borders[0],
            second_hand=table.second_hand,
            reference=table.reference,
        )
    known = {f"{r['kind']} {r['year']}" for r in records}
    known |= {f"pass {r['year']}" for r in tables if exam == "ОГЭ"}
    raise SpecificationError(
        text(
            "scales.no_minimum",
            exam=exam,
            subject=subject,
            kind=kind,
            year=year,
            known=", ".join(sorted(known)) or "—",
        )
    )
