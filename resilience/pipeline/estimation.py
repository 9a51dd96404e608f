"""Which model the data allow: pupils before counts of marks before published means, said aloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from resilience.data.design import check_rows, formula_columns
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.pipeline.config import ModelConfig
from resilience.pipeline.marks import has_marks, marks_to_means
from resilience.validation import (
    check_columns,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)
from resilience.value_added import (
    EffectsResults,
    Intake,
    SchoolLevelModel,
    Structure,
    ValueAddedModel,
)

__all__ = ["Estimate", "estimate_effects", "pupil_composite"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """Effects with the reason why this model was taken.

    Attributes
    ----------
    va : EffectsResults
        The fitted model.
    kind : {"pupils", "counts", "means"}
        Data it rests on.
    notes : tuple of Bilingual
        What was chosen and what was left out.
    """

    va: EffectsResults
    kind: str
    notes: tuple[Bilingual, ...]


def estimate_effects(
    settings: ModelConfig,
    *,
    pupils: pd.DataFrame | None,
    counts: pd.DataFrame | None,
    schools: pd.DataFrame,
    scores: pd.DataFrame | None,
    random_state: int = 0,
) -> Estimate:
    """Fit the model that the data allow.

    Parameters
    ----------
    settings : ModelConfig
        What was asked for.
    pupils, counts, schools : DataFrame
        The binding tables; absent ones are None.
    scores : DataFrame or None
        Context scores, the covariate of the models of counts and means.
    random_state : int
        Seed of the rank intervals.

    Raises
    ------
    DataError, SpecificationError
        If the kind asked for has no data, or the data break a rule of the model.
    """
    there = {
        "pupils": pupils is not None and len(pupils) > 0,
        "counts": has_marks(counts),
        "means": "mean_score" in schools.columns and bool(schools["mean_score"].notna().any()),
    }
    kind: str = settings.kind
    if kind == "auto":
        kind = next((k for k in ("pupils", "counts", "means") if there[k]), "auto")
    if kind == "auto" or not there[kind]:
        raise DataError(
            text("pipeline.no_results", kind=kind, there=", ".join(k for k in there if there[k]))
        )
    note = text(f"pipeline.chosen_{kind}")
    if kind == "pupils":
        assert pupils is not None
        return _from_pupils(settings, pupils, note, random_state)
    if kind == "counts":
        assert counts is not None
        table = marks_to_means(counts, correlation=settings.correlation)
        return _from_means(settings, table, schools, scores, (note, "counts"), random_state)
    return _from_means(
        settings,
        schools[schools["mean_score"].notna()],
        schools,
        scores,
        (note, "means"),
        random_state,
    )


def pupil_composite(
    pupils: pd.DataFrame, *, columns: Sequence[str], keep: Sequence[str]
) -> pd.DataFrame:
    """Return one row per pupil and year: the mean of results standardised within subject and year.

    Parameters
    ----------
    pupils : DataFrame
        ``pupil_key school_id year [subject]`` and the columns named.
    columns : sequence of str
        Results to standardise and average (outcome and prior result).
    keep : sequence of str
        Intake columns that are the same in all rows of a pupil.

    Returns
    -------
    DataFrame
        The composite is standardised again, so that its unit is the SD of pupils within a year.  A
        result that is missing in one subject is missing in the composite.

    Raises
    ------
    DataError
        If a key or outcome is missing, a pupil has two results in one subject and year, or a
        subject and year has no spread.
    """
    keys = ["pupil_key", "school_id", "year"]
    keys += ["subject"] if "subject" in pupils.columns else []
    check_columns(pupils, [*keys, *columns, *keep], table="pupils")
    check_numeric(pupils, columns, table="pupils")
    # gaps are looked for here: a mean over subjects would hide them
    check_rows(pupils, [*keys, columns[0]], table="pupils", unit="school_id")
    check_unique(pupils, keys, table="pupils")
    by = ["subject", "year"] if "subject" in pupils.columns else ["year"]
    groups = pupils.groupby(by, observed=True)[list(columns)]
    width = groups.transform("std", ddof=0)
    flat = (width <= 0).any(axis=1)
    if flat.any():
        cell = "/".join(str(v) for v in pupils.loc[flat, by].iloc[0])
        raise DataError(text("value_added.flat", by=" × ".join(by), cell=cell))
    scaled = (pupils[list(columns)] - groups.transform("mean")) / width
    unit = ["pupil_key", "school_id", "year"]
    frame = pd.concat([pupils[[*unit, *keep]], scaled], axis=1)
    cells = frame.groupby(unit, observed=True, sort=True)
    how = {**dict.fromkeys(columns, "mean"), **dict.fromkeys(keep, "first")}
    composite = cells.agg(how)
    whole = cells[list(columns)].count().eq(cells.size(), axis=0)
    composite[list(columns)] = composite[list(columns)].where(whole)
    composite = composite.reset_index()
    years = composite.groupby("year", observed=True)[list(columns)]
    spread = years.transform("std", ddof=0)
    if (spread.isna() | (spread <= 0)).any(axis=None):
        raise DataError(text("value_added.flat", by="year", cell=str(composite["year"].iloc[0])))
    composite[list(columns)] = (composite[list(columns)] - years.transform("mean")) / spread
    return composite


def _from_pupils(
    settings: ModelConfig, pupils: pd.DataFrame, note: Bilingual, random_state: int
) -> Estimate:
    check_columns(pupils, ["pupil_key", "school_id", "year", "score"], table="pupils")
    table = pupils
    if settings.subjects:
        table = pupils[pupils["subject"].isin(list(settings.subjects))]
        check_not_empty(table, table="pupils")
    covariates = [c for c in ("prior_score", "ses") if c in table.columns]
    formula = settings.formula or f"score ~ {' + '.join(covariates) or '1'}"
    results = [c for c in ("score", "prior_score") if c in table.columns]
    identifiers = {"pupil_key", "school_id", "municipality_id", "year", "subject", "procedure"}
    keep = [c for c in table.columns if c not in identifiers | set(results)]
    if settings.missing == "raise":
        used = [c for c in formula_columns(formula).variables if c in table.columns]
        check_rows(table, used, table="pupils", unit="school_id")
    composite = pupil_composite(table, columns=results, keep=keep)
    several_years = composite["year"].nunique() > 1
    composition = dict(settings.composition)
    if not composition and settings.formula is None and "ses" in covariates:
        composition = {"ses": "latent"}
    model = ValueAddedModel(
        formula,
        group="school_id",
        slopes=list(settings.slopes) or None,
        time="year" if several_years else None,
        intake=Intake(composition=composition, missing=settings.missing),
        structure=Structure(unit="pupil_key"),
    )
    va = model.fit(composite, method=settings.method, random_state=random_state)
    return Estimate(va=va, kind="pupils", notes=(note,))


def _from_means(
    settings: ModelConfig,
    table: pd.DataFrame,
    schools: pd.DataFrame,
    scores: pd.DataFrame | None,
    chosen: tuple[Bilingual, str],
    random_state: int,
) -> Estimate:
    note, kind = chosen
    notes = [note]
    frame = _with_context(table, schools, scores)
    formula = settings.formula
    if formula is None:
        formula = "mean_score ~ context_index" if scores is not None else "mean_score ~ 1"
    parts = formula_columns(formula)
    if scores is not None and "context_index" in parts.variables:
        known = scores.dropna(subset=["context_index"])
        indexed = frame[["school_id", "year"]].merge(known[["school_id", "year"]], how="inner")
        n_standing = int(frame["context_index"].notna().sum()) - len(indexed)
        if n_standing:
            notes.append(text("pipeline.standing_index", n=n_standing))
    check_columns(frame, [*parts.variables, parts.outcome], table=kind)
    usable = frame.dropna(subset=[*parts.variables, parts.outcome])
    if len(usable) < len(frame):
        lost = frame.loc[frame.index.difference(usable.index), "school_id"].astype(str)
        notes.append(
            text(
                "pipeline.left_out",
                n=len(frame) - len(usable),
                schools=lost.nunique(),
                first=shorten(lost.drop_duplicates()),
            )
        )
    check_not_empty(usable, table=kind)
    repeated = usable.groupby("school_id", observed=True)["year"].nunique().max() > 1
    if kind == "counts":
        own = {"variance": "sampling_variance", "n": "n_pupils"}
    else:
        if settings.variance is None and settings.n is None:
            raise SpecificationError(text("pipeline.means_need_n"))
        own = {k: v for k in ("variance", "n") if (v := getattr(settings, k)) is not None}
    model = SchoolLevelModel(
        formula,
        group="school_id",
        time="year" if repeated else None,
        variance=own.get("variance"),
        n=own.get("n"),
        sd=settings.sd if kind == "means" else None,
    )
    va = model.fit(usable, method=settings.method, random_state=random_state)
    if kind == "means" and settings.sd == "estimate":
        # the rules are written in SD of pupils: change the unit, which changes nothing else
        scaled = usable.assign(**{parts.outcome: usable[parts.outcome] / va.pupil_sd})
        notes.append(text("pipeline.unit", sd=f"{va.pupil_sd:.1f}"))
        va = model.fit(scaled, method=settings.method, random_state=random_state)
    return Estimate(va=va, kind=kind, notes=tuple(notes))


def _with_context(
    table: pd.DataFrame, schools: pd.DataFrame, scores: pd.DataFrame | None
) -> pd.DataFrame:
    """Add the school's columns and its index; the latest index stands in where a year has none."""
    frame = table
    extra = [c for c in schools.columns if c not in frame.columns]
    if extra and len(extra) < len(schools.columns):
        on = [c for c in ("school_id", "year") if c in schools.columns]
        frame = frame.merge(schools[[*on, *extra]], on=on, how="left")
    if scores is None:
        return frame
    index = scores[["school_id", "year", "context_index"]]
    frame = frame.merge(index, on=["school_id", "year"], how="left")
    latest = (
        index.dropna(subset=["context_index"])
        .sort_values("year", kind="stable")
        .groupby("school_id", observed=True)["context_index"]
        .last()
    )
    standing = frame["school_id"].map(latest.to_dict()).astype(float)
    return frame.assign(context_index=frame["context_index"].astype(float).fillna(standing))
