"""Which cohort of pupils sat a procedure: results of one cohort share their pupils."""

from __future__ import annotations

import pandas as pd

from resilience.data.normalise import ProcedureName, parse_procedure
from resilience.errors import DataError

__all__ = ["cohorts", "procedure_grade"]

_GRADES = {"ОГЭ": 9, "ЕГЭ": 11}


def procedure_grade(procedure: str) -> int | None:
    """Return the grade in which a procedure is sat: in its name, 9 for ОГЭ, 11 for ЕГЭ."""
    name = _parsed(procedure)
    if name is None:
        return None
    return name.grade if name.grade is not None else _GRADES.get(name.kind)


def cohorts(table: pd.DataFrame, procedures: pd.DataFrame | None) -> pd.Series:
    """Return which cohort sat each row: rows of one school and cohort hold the same pupils.

    Parameters
    ----------
    table : DataFrame
        ``procedure year``.
    procedures : DataFrame or None
        ``procedure [year] [grade]``; a grade there goes before that of the name.

    Returns
    -------
    Series of str
        ``year − grade``; where the grade is not known, year and kind of the procedure, so that its
        subjects still share their pupils.
    """
    grades = table["procedure"].astype(str).map(_known_grades(table, procedures)).astype(float)
    known = grades.notna()
    entry = (table["year"].astype(float) - grades).fillna(0).astype("int64").astype(str)
    own = table["year"].astype(str) + " " + table["procedure"].astype(str).map(_kind)
    return entry.where(known, own).astype(object).rename("cohort")


def _known_grades(table: pd.DataFrame, procedures: pd.DataFrame | None) -> dict[str, float]:
    names = table["procedure"].astype(str).unique()
    found = {n: grade for n in names if (grade := procedure_grade(n)) is not None}
    grades = {name: float(grade) for name, grade in found.items()}
    if procedures is not None and "grade" in procedures.columns:
        told = procedures.dropna(subset=["grade"]).drop_duplicates("procedure", keep="last")
        grades |= dict(zip(told["procedure"].astype(str), told["grade"].astype(float), strict=True))
    return grades


def _parsed(procedure: str) -> ProcedureName | None:
    try:
        return parse_procedure(procedure)
    except DataError:  # a name of the region's own tells no grade
        return None


def _kind(procedure: str) -> str:
    name = _parsed(procedure)
    return procedure.split("-")[0] if name is None else name.kind
