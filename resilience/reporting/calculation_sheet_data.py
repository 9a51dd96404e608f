"""What a calculation sheet knows of one school: the numbers behind its verdicts, each once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from resilience.detection.rules.criteria import Criteria
from resilience.detection.verdicts.results import DetectionResults
from resilience.validation import check_columns

__all__ = ["Material", "School", "Years", "is_number", "material_of", "school_of"]

_SAME = 1e-9  # numbers of two tables that are the same up to rounding


@dataclass(frozen=True, kw_only=True)
class Years:
    """A school's years behind its effect.

    Attributes
    ----------
    year, n_pupils : tuple of int
    residual, sampling_variance : tuple of float
        Observed minus expected mean of the year, and its error variance.
    pupil_variance : float or None
        Variance of pupils, where the sampling variance is that over n.
    transient : float
        Variance of a single year.
    """

    year: tuple[int, ...]
    n_pupils: tuple[int, ...]
    residual: tuple[float, ...]
    sampling_variance: tuple[float, ...]
    pupil_variance: float | None
    transient: float

    @property
    def weights(self) -> tuple[float, ...]:
        """Precision of each year."""
        return tuple(1 / (self.transient + s) for s in self.sampling_variance)

    @property
    def precision(self) -> float:
        """Precision of all years together: A."""
        return sum(self.weights)

    @property
    def mean(self) -> float:
        """Mean residual by precision."""
        return sum(w * r for w, r in zip(self.weights, self.residual, strict=True)) / self.precision

    @property
    def by_pupils(self) -> float:
        """Mean residual by pupils."""
        products = (n * r for n, r in zip(self.n_pupils, self.residual, strict=True))
        return sum(products) / sum(self.n_pupils)


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Tables of the region, indexed for look-up.

    Attributes
    ----------
    found : DetectionResults
        Verdicts with their working.
    effects, scores : DataFrame or None
        One row per school, by ``school_id``.
    years : DataFrame or None
        Yearly residuals.
    transient : float or None
        Variance of a single year, squared outcome units.
    cells : DataFrame
        Counts, classes added up.
    names : mapping of str to str
        Names of schools, where known.
    centre : float or None
        Mean of the index over schools.
    """

    found: DetectionResults
    effects: pd.DataFrame | None
    scores: pd.DataFrame | None
    years: pd.DataFrame | None
    transient: float | None
    cells: pd.DataFrame
    names: Mapping[str, str]
    centre: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class School:
    """The numbers of one school; None where a table does not hold them.

    Attributes
    ----------
    school_id, name : str
    verdicts : dict of str to dict
        Row of verdicts by rule.
    working : dict of str to dict
        Row of working by rule.
    criteria : dict of (str, str) to dict
        Row of criteria by rule and criterion.
    observed, expected : float or None
        Means over years.
    raw : float or None
        Mean residual before shrinkage.
    precision, n_pupils : float or None
        Of the mean residual.
    years : Years or None
        Where they give ``raw`` and ``precision`` exactly.
    index, centre, kappa, index_error, shrunken, error : float or None
        Context index, mean over schools, reliability, standard error, a and q.
    coverage : float or None
        Share of the index that rests on data.
    cells : DataFrame
        Counts of the school.
    """

    school_id: str
    name: str
    verdicts: Mapping[str, Mapping[str, Any]]
    working: Mapping[str, Mapping[str, Any]]
    criteria: Mapping[tuple[str, str], Mapping[str, Any]]
    observed: float | None
    expected: float | None
    raw: float | None
    precision: float | None
    n_pupils: float | None
    years: Years | None
    index: float | None
    centre: float | None
    kappa: float | None
    index_error: float | None
    shrunken: float | None
    error: float | None
    coverage: float | None
    cells: pd.DataFrame


def is_number(value: object) -> bool:
    """Whether a cell of a table holds a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def material_of(
    found: DetectionResults,
    *,
    effects: Any,
    scores: Any,
    counts: pd.DataFrame | None,
    schools: pd.DataFrame | None,
) -> Material:
    """Read the tables that the verdicts were formed from.

    Raises
    ------
    DataError
        If a table lacks ``school_id``.
    """
    own = _frame(effects, "school_effects")
    index = _frame(scores, "scores")
    years = getattr(effects, "school_years", None)
    variances = getattr(effects, "variances", None) or {}
    for name, table in (("effects", own), ("scores", index), ("schools", schools)):
        if table is not None:
            check_columns(table, ["school_id"], table=name)
    names: dict[str, str] = {}
    if schools is not None and "name" in schools.columns:
        last = _latest(schools).dropna(subset=["name"])
        names = {str(k): str(v) for k, v in zip(last["school_id"], last["name"], strict=True)}
    cells = found.cells if counts is None else _added(counts)
    latest = None if index is None else _by_school(_latest(index))
    centre = None
    if latest is not None and "context_index" in latest:
        centre = float(latest["context_index"].mean())
    return Material(
        found=found,
        effects=None if own is None else _by_school(own),
        scores=latest,
        years=years if isinstance(years, pd.DataFrame) and len(years) else None,
        transient=variances.get("transient"),
        cells=cells,
        names=names,
        centre=centre,
    )


def _frame(source: Any, attribute: str) -> pd.DataFrame | None:
    if source is None or isinstance(source, pd.DataFrame):
        return source
    table = getattr(source, attribute, None)
    return table if isinstance(table, pd.DataFrame) else None


def _latest(table: pd.DataFrame) -> pd.DataFrame:
    if "year" not in table.columns:
        return table
    ordered = table.sort_values(["school_id", "year"], kind="stable")
    return ordered.drop_duplicates("school_id", keep="last")


def _by_school(table: pd.DataFrame) -> pd.DataFrame:
    keyed = table.assign(school_id=table["school_id"].astype(str))
    return keyed.drop_duplicates("school_id", keep="last").set_index("school_id")


def _added(counts: pd.DataFrame) -> pd.DataFrame:
    names = ["school_id", "year", "procedure"]
    numbers = ["n_participants", "n_below_minimum"]
    check_columns(counts, [*names, *numbers], table="counts")
    keyed = counts.assign(
        school_id=counts["school_id"].astype(str), procedure=counts["procedure"].astype(str)
    )
    return keyed.groupby(names, observed=True)[numbers].sum().reset_index()


def school_of(material: Material, school_id: str, rules: Sequence[Criteria]) -> School:
    """Return the numbers of one school."""
    found, ids = material.found, {rule.id for rule in rules}
    verdicts = _rows(found.schools, school_id, ids)
    working = _rows(found.working, school_id, ids)
    lines = found.criteria[found.criteria["school_id"] == school_id]
    effect, score = _row(material.effects, school_id), _row(material.scores, school_id)
    first = next((w for w in working.values() if is_number(w["precision"])), None)
    raw = precision = None
    if first is not None and is_number(first["effect"]):
        trust = first["reliability"]
        raw = first["effect"] / trust if is_number(trust) and trust > 0 else 0.0
        precision = float(first["precision"])
    context = next((w for w in working.values() if is_number(w["context_shrunken"])), None)
    own = _context(material, score, context)
    n_pupils = next(
        (float(w["n_pupils"]) for w in working.values() if is_number(w["n_pupils"])), None
    )
    return School(
        school_id=school_id,
        name=material.names.get(school_id, ""),
        verdicts=verdicts,
        working=working,
        criteria={(str(r["rule_id"]), str(r["criterion"])): r for r in _records(lines)},
        observed=_number(effect, "observed_mean"),
        expected=_number(effect, "expected_mean"),
        raw=raw,
        precision=precision,
        n_pupils=n_pupils,
        years=_years(material, school_id, raw, precision),
        coverage=_number(score, "context_coverage"),
        cells=material.cells[material.cells["school_id"] == school_id],
        **own,
    )


def _rows(table: pd.DataFrame, school_id: str, ids: set[str]) -> dict[str, dict[str, Any]]:
    own = table[(table["school_id"] == school_id) & table["rule_id"].isin(ids)]
    return {str(r["rule_id"]): r for r in _records(own)}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict(orient="records")]


def _row(table: pd.DataFrame | None, school_id: str) -> Mapping[str, Any]:
    if table is None or school_id not in table.index:
        return {}
    return {str(k): v for k, v in table.loc[school_id].to_dict().items()}


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    return float(value) if value is not None and is_number(value) else None


def _context(
    material: Material, score: Mapping[str, Any], working: Mapping[str, Any] | None
) -> dict[str, float | None]:
    """Return the index and its parts; the parts only where they give a and q of the verdict."""
    names = ("index", "centre", "kappa", "index_error", "shrunken", "error")
    found: dict[str, float | None] = dict.fromkeys(names)
    if working is None:
        return found
    index = float(working["context_index"])
    found["index"] = index
    a, q = float(working["context_shrunken"]), float(working["context_error"])
    found["shrunken"], found["error"] = a, q
    kappa, error = _number(score, "context_reliability"), _number(score, "context_index_std_error")
    centre = material.centre
    if kappa is None or error is None or centre is None:
        return found
    redone = centre + kappa * (index - centre)
    if abs(redone - a) < _SAME * max(1, abs(a)) and abs(math.sqrt(kappa) * error - q) < _SAME:
        found |= {"centre": centre, "kappa": kappa, "index_error": error}
    return found


def _years(
    material: Material, school_id: str, raw: float | None, precision: float | None
) -> Years | None:
    """Return the years if they give the mean residual and its precision."""
    table, transient = material.years, material.transient
    if table is None or transient is None or raw is None or precision is None:
        return None
    needed = ["school_id", "year", "residual", "sampling_variance", "n_pupils"]
    if not set(needed) <= set(table.columns) or "subject" in table.columns:
        return None
    own = table[table["school_id"].astype(str) == school_id].sort_values("year")
    if own.empty or not own[needed[1:]].notna().all(axis=None):
        return None
    n = tuple(int(v) for v in own["n_pupils"])
    variance = tuple(float(v) for v in own["sampling_variance"])
    products = [k * v for k, v in zip(n, variance, strict=True)]
    one = max(products) - min(products) < _SAME * max(products)
    years = Years(
        year=tuple(int(v) for v in own["year"]),
        n_pupils=n,
        residual=tuple(float(v) for v in own["residual"]),
        sampling_variance=variance,
        pupil_variance=products[0] if one else None,
        transient=float(transient),
    )
    fits = abs(years.precision / precision - 1) < _SAME and abs(years.mean - raw) < _SAME
    return years if fits else None
