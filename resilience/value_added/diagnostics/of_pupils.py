"""Checks that need the pupils: repeats, ends of the scales; residuals and sorting next door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design_formula import formula_columns
from resilience.errors import DataError
from resilience.i18n import text
from resilience.value_added.diagnostics.findings import Finding, Severity, unchecked
from resilience.value_added.diagnostics.of_residuals import (
    check_curvature,
    check_normality,
    check_spread,
    check_spread_by_size,
    pupil_quantiles,
    residual_bins,
    school_spread,
)
from resilience.value_added.diagnostics.of_sorting import check_sorting
from resilience.value_added.fits.fitted import PupilFit

__all__ = ["PupilChecks", "check_of_pupils"]

Floats = NDArray[np.float64]

_AT_END = 0.05
_FEWEST_IN_CELL = 100  # below, one pupil is a share of her own


@dataclass(frozen=True, kw_only=True)
class PupilChecks:
    """Findings that need pupils, and what their panels draw.

    Attributes
    ----------
    findings : list of Finding
    bins : DataFrame
        ``prior prior_mean binned_residual binned_std_error n_pupils``.
    quantiles : DataFrame
        ``normal_quantile standardised_residual``.
    spread : DataFrame
        ``school_id n_pupils residual_spread``.
    """

    findings: list[Finding]
    bins: pd.DataFrame
    quantiles: pd.DataFrame
    spread: pd.DataFrame


def check_of_pupils(
    results: PupilFit, augmented: pd.DataFrame, pupils: pd.DataFrame, key: Sequence[str] | None
) -> PupilChecks:
    """Return the checks that need pupils, with the data behind their panels.

    Parameters
    ----------
    results : ValueAddedResults
        The fit.
    augmented : DataFrame
        Rows of the fit with ``fitted`` and ``pupil_residual``.
    pupils : DataFrame
        The table as given.
    key : sequence of str, optional
        Columns that tell a pupil; by default ``Structure(unit=...)`` or ``pupil_key``.

    Raises
    ------
    DataError
        If a named column of the key is not there, or the rows are not those of the fit.
    """
    _check_rows(results, augmented)
    columns = _key_columns(results, pupils, key)
    priors = _priors_of(results, augmented)
    outcome = formula_columns(results.formula).outcome
    residual = augmented["pupil_residual"].to_numpy(dtype=float)
    whole = augmented[outcome].to_numpy(dtype=float) - augmented["fitted"].to_numpy(dtype=float)
    bins = residual_bins(augmented, priors)
    spread = school_spread(results, augmented)
    findings = [
        _duplicates(results, pupils, columns),
        check_curvature(augmented, results.group, priors, bins),
        _end(results, pupils, highest=True),
        _end(results, pupils, highest=False),
        _prior_limits(pupils, priors),
        check_spread(augmented["fitted"].to_numpy(dtype=float), residual),
        check_spread_by_size(spread),
        check_normality(residual),
        check_sorting(results, augmented.assign(whole_residual=whole), columns),
    ]
    return PupilChecks(
        findings=findings, bins=bins, quantiles=pupil_quantiles(residual), spread=spread
    )


def _check_rows(results: PupilFit, augmented: pd.DataFrame) -> None:
    """Raise unless each school has as many rows as in the fit."""
    level = next((one for one in results.mixed.levels if one.name == results.group), None)
    if level is None:
        return
    found = augmented.groupby(results.group, observed=True).size()
    fitted = pd.Series(level.n_rows, index=pd.Index(level.labels))
    other = [str(school) for school in fitted.index if found.get(school, 0) != fitted[school]]
    other += [str(school) for school in found.index if school not in fitted.index]
    if not other:
        return
    raise DataError(
        text(
            "diagnostics.other_pupils",
            n=len(augmented),
            n_fit=int(fitted.sum()),
            schools=", ".join(other[:5]),
            n_schools=len(other),
        )
    )


def _key_columns(results: PupilFit, pupils: pd.DataFrame, key: Sequence[str] | None) -> list[str]:
    if key is None:
        structure = results.definition.structure
        return [structure.unit if structure is not None and structure.unit else "pupil_key"]
    named = [key] if isinstance(key, str) else list(key)
    absent = [c for c in named if c not in pupils.columns]
    if absent or not named:
        raise DataError(
            text(
                "diagnostics.absent_key",
                columns=", ".join(map(repr, absent)) or "—",
                given=", ".join(map(repr, pupils.columns[:12])),
            )
        )
    return named


def _priors_of(results: PupilFit, augmented: pd.DataFrame) -> tuple[str, ...]:
    """Return the prior results of the formula, or its numeric covariates where there are none."""
    used = [c for c in formula_columns(results.source_formula).variables if c in augmented.columns]
    numeric = [c for c in used if pd.api.types.is_numeric_dtype(augmented[c])]
    many = [c for c in numeric if augmented[c].nunique() > 4]
    return tuple(c for c in many if c in results.intake.prior) or tuple(many)


def _duplicates(results: PupilFit, pupils: pd.DataFrame, key: list[str]) -> Finding:
    if not set(key) <= set(pupils.columns):
        return unchecked("duplicated_pupils", text("diagnostics.no_key", column=repr(key[0])))
    time = [results.time] if results.time else [c for c in ("year",) if c in pupils.columns]
    subject = [c for c in ("subject",) if c in pupils.columns]
    keys = list(dict.fromkeys([*key, *time, *subject]))
    again = pupils.duplicated(keys, keep=False)
    n = int(pupils.loc[again, keys].drop_duplicates().shape[0])
    named = pupils.loc[again, results.group].drop_duplicates().astype(str).tolist()
    return Finding(
        check="duplicated_pupils",
        severity="serious" if n else "ok",
        value=float(n),
        threshold=0.0,
        finding=text(
            "diagnostics.duplicated_pupils",
            n=n,
            keys=" × ".join(keys),
            schools=", ".join(named[:5]) or "—",
        ),
        remedy=text("diagnostics.duplicated_pupils_remedy"),
    )


def _end(results: PupilFit, pupils: pd.DataFrame, *, highest: bool) -> Finding:
    """Return the share at an end of the scale, of each cell's own scale where cells have one."""
    name = formula_columns(results.source_formula).outcome
    if name not in pupils.columns:
        return unchecked("ceiling" if highest else "floor", text("diagnostics.no_outcome"))
    rows = pupils.dropna(subset=[name])
    outcome = rows[name].astype(float)
    cells = _scales(results, rows)
    how: Literal["max", "min"] = "max" if highest else "min"
    end = outcome.agg(how)
    ends = outcome.groupby([rows[c] for c in cells], observed=True).transform(how) if cells else end
    share = float((outcome == ends).mean())
    check = "ceiling" if highest else "floor"
    severity: Severity = (
        "ok" if share < _AT_END else "warning" if share < 3 * _AT_END else "serious"
    )
    return Finding(
        check=check,
        severity=severity,
        value=share,
        threshold=_AT_END,
        finding=text(f"diagnostics.{check}", share=f"{share:.1%}", end=f"{end:g}"),
        remedy=text(f"diagnostics.{check}_remedy"),
    )


def _scales(results: PupilFit, rows: pd.DataFrame) -> list[str]:
    """Return the columns whose cells have their own scale: as declared, or subject and year."""
    if results.intake.standardize_by:
        return list(results.intake.standardize_by)
    cells = [name for name in ("subject", results.time or "year") if name in rows.columns]
    few = cells and len(rows) < _FEWEST_IN_CELL * len(rows[cells].drop_duplicates())
    return [] if few else cells


def _prior_limits(pupils: pd.DataFrame, priors: Sequence[str]) -> Finding:
    worst, named, end = 0.0, "", 0.0
    for name in priors:
        if name not in pupils.columns:
            continue
        x = pupils[name].to_numpy(dtype=float, na_value=np.nan)
        x = x[np.isfinite(x)]
        for value in (x.min(), x.max()) if len(x) else ():
            share = float((x == value).mean())
            if share > worst:
                worst, named, end = share, name, float(value)
    if not named:
        return unchecked("prior_limits", text("diagnostics.no_prior"))
    severity: Severity = "ok" if worst < _AT_END else "note" if worst < 3 * _AT_END else "warning"
    return Finding(
        check="prior_limits",
        severity=severity,
        value=worst,
        threshold=_AT_END,
        finding=text("diagnostics.prior_limits", share=f"{worst:.1%}", prior=named, end=f"{end:g}"),
        remedy=text("diagnostics.prior_limits_remedy"),
    )
