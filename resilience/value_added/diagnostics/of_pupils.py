"""Checks that need the pupils: shape of the residuals, ends of the scales, repeats, sorting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import fdtrc

from resilience.data.design_formula import formula_columns
from resilience.i18n import text
from resilience.value_added.diagnostics.findings import Finding, unchecked
from resilience.value_added.diagnostics.of_fit import LEVEL, normality, two_sided
from resilience.value_added.fits.fitted import PupilFit

__all__ = ["check_of_pupils", "residual_bins"]

Floats = NDArray[np.float64]

_BINS = 20
_BENT = 0.10  # of a residual SD, in the mean of a twentieth of the pupils
_FEWEST_IN_BIN = 5
_HIGHEST_DEGREE = 4
_AT_END = 0.05
_UNEQUAL = 1.25
_FEWEST_MOVERS = 30


def check_of_pupils(
    results: PupilFit, augmented: pd.DataFrame, pupils: pd.DataFrame
) -> tuple[list[Finding], pd.DataFrame]:
    """Return the checks that need pupils, and the mean residuals along each prior result.

    Parameters
    ----------
    results : ValueAddedResults
        The fit.
    augmented : DataFrame
        Rows of the fit with ``fitted`` and ``pupil_residual``.
    pupils : DataFrame
        The table as given.
    """
    priors = priors_of(results, augmented)
    outcome = augmented[formula_columns(results.formula).outcome].to_numpy(dtype=float)
    residual = augmented["pupil_residual"].to_numpy(dtype=float)
    bins = residual_bins(augmented, priors)
    found = [
        _duplicates(results, pupils),
        _curvature(augmented, residual, priors, bins),
        _end(outcome, highest=True),
        _end(outcome, highest=False),
        _prior_limits(pupils, priors),
        _unequal_spread(augmented["fitted"].to_numpy(dtype=float), residual),
        _pupil_normality(residual),
        _sorting(results, augmented),
    ]
    return found, bins


def priors_of(results: PupilFit, augmented: pd.DataFrame) -> tuple[str, ...]:
    """Return the prior results of the formula, or its numeric covariates where there are none."""
    used = [c for c in formula_columns(results.source_formula).variables if c in augmented.columns]
    numeric = [c for c in used if pd.api.types.is_numeric_dtype(augmented[c])]
    many = [c for c in numeric if augmented[c].nunique() > 4]
    return tuple(c for c in many if c in results.intake.prior) or tuple(many)


def residual_bins(augmented: pd.DataFrame, priors: Sequence[str]) -> pd.DataFrame:
    """Return ``prior prior_mean binned_residual binned_std_error n_pupils`` by twentieth."""
    pieces = []
    for name in priors:
        x = augmented[name].to_numpy(dtype=float)
        residual = augmented["pupil_residual"].to_numpy(dtype=float)
        cuts = np.unique(np.quantile(x, np.arange(1, _BINS) / _BINS))
        place = np.searchsorted(cuts, x, side="left")
        n = np.bincount(place, minlength=len(cuts) + 1).astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(place, residual, minlength=len(n)) / n
            square = np.bincount(place, residual**2, minlength=len(n)) / n
            error = np.sqrt(np.maximum(square - mean**2, 0.0) / n)
            middle = np.bincount(place, x, minlength=len(n)) / n
        pieces.append(
            pd.DataFrame(
                {
                    "prior": name,
                    "prior_mean": middle,
                    "binned_residual": mean,
                    "binned_std_error": error,
                    "n_pupils": n.astype(int),
                }
            )
        )
    columns = ["prior", "prior_mean", "binned_residual", "binned_std_error", "n_pupils"]
    found = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=columns)
    return found[found["n_pupils"] > 0].reset_index(drop=True)


def _duplicates(results: PupilFit, pupils: pd.DataFrame) -> Finding:
    structure = results.definition.structure
    key = structure.unit if structure is not None and structure.unit else "pupil_key"
    if key not in pupils.columns:
        return unchecked("duplicated_pupils", text("diagnostics.no_key", column=repr(key)))
    time = [results.time] if results.time else [c for c in ("year",) if c in pupils.columns]
    keys = [key, *time, *(c for c in ("subject",) if c in pupils.columns)]
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


def _curvature(
    augmented: pd.DataFrame, residual: Floats, priors: Sequence[str], bins: pd.DataFrame
) -> Finding:
    """Look for a bend of the residuals along each prior; the worst one is reported."""
    if not priors:
        return unchecked("curvature", text("diagnostics.no_prior"))
    spread = float(residual.std())
    worst: tuple[float, str, float, int] = (-1.0, "", 1.0, 1)
    for name in priors:
        x = augmented[name].to_numpy(dtype=float)
        degree, p = _degree(x, residual)
        own = bins[(bins["prior"] == name) & (bins["n_pupils"] >= _FEWEST_IN_BIN)]
        # what chance alone adds to a bin's mean is taken off
        size = own["binned_residual"] ** 2 - own["binned_std_error"] ** 2
        bend = float(np.sqrt(max(float(size.max()), 0.0))) / spread if len(own) else 0.0
        if p >= LEVEL:
            bend = 0.0
        if bend > worst[0]:
            worst = (bend, name, p, degree)
    bend, name, p, degree = worst
    severity = "ok" if p >= LEVEL else "note" if bend < _BENT else "warning"
    if bend >= 2 * _BENT:
        severity = "serious"
    shape = f"poly({name}, {degree})" if degree <= _HIGHEST_DEGREE else f"bs({name}, df=6)"
    return Finding(
        check="curvature",
        severity=severity,  # type: ignore[arg-type]  # one of the literals above
        value=bend,
        threshold=_BENT,
        finding=text(
            "diagnostics.curvature" if p < LEVEL else "diagnostics.straight",
            prior=name,
            bend=f"{bend:.2f}",
            p=f"{p:.2g}",
        ),
        remedy=text("diagnostics.curvature_remedy", shape=shape),
    )


def _degree(x: Floats, residual: Floats) -> tuple[int, float]:
    """Return the least polynomial degree that leaves no bend, and the p-value of any bend at all.

    The residuals are regressed on Legendre polynomials of x on [-1, 1]; each degree is tested
    against the highest one.  Above the highest a spline is wanted.
    """
    low, high = float(x.min()), float(x.max())
    if not low < high:
        return 1, 1.0
    scaled = 2.0 * (x - low) / (high - low) - 1.0
    most = min(_HIGHEST_DEGREE + 2, len(np.unique(x)) - 1)
    design = np.polynomial.legendre.legvander(scaled, most)
    gram, right = design.T @ design, design.T @ residual
    total, n = float(residual @ residual), len(residual)
    left = [
        total - float(right[: d + 1] @ np.linalg.lstsq(gram[: d + 1, : d + 1], right[: d + 1])[0])
        for d in range(most + 1)
    ]
    if most < 2 or n <= most + 1 or left[most] <= 0:
        return 1, 1.0
    tests = [
        float(
            fdtrc(
                most - d,
                n - most - 1,
                max(left[d] - left[most], 0.0) / (most - d) / (left[most] / (n - most - 1)),
            )
        )
        for d in range(1, most)
    ]
    enough = next((d + 1 for d, p in enumerate(tests) if p >= LEVEL), most)
    return enough, tests[0]


def _end(outcome: Floats, *, highest: bool) -> Finding:
    end = float(outcome.max() if highest else outcome.min())
    share = float((outcome == end).mean())
    check = "ceiling" if highest else "floor"
    severity = "ok" if share < _AT_END else "warning" if share < 3 * _AT_END else "serious"
    return Finding(
        check=check,
        severity=severity,  # type: ignore[arg-type]  # one of the literals above
        value=share,
        threshold=_AT_END,
        finding=text(f"diagnostics.{check}", share=f"{share:.1%}", end=f"{end:g}"),
        remedy=text(f"diagnostics.{check}_remedy"),
    )


def _prior_limits(pupils: pd.DataFrame, priors: Sequence[str]) -> Finding:
    worst, named, end = 0.0, "", 0.0
    for name in priors:
        if name not in pupils.columns:
            continue
        x = pupils[name].to_numpy(dtype=float, na_value=np.nan)
        x = x[np.isfinite(x)]
        for value in (x.min(), x.max()):
            share = float((x == value).mean())
            if share > worst:
                worst, named, end = share, name, float(value)
    if not named:
        return unchecked("prior_limits", text("diagnostics.no_prior"))
    severity = "ok" if worst < _AT_END else "note" if worst < 3 * _AT_END else "warning"
    return Finding(
        check="prior_limits",
        severity=severity,  # type: ignore[arg-type]  # one of the literals above
        value=worst,
        threshold=_AT_END,
        finding=text("diagnostics.prior_limits", share=f"{worst:.1%}", prior=named, end=f"{end:g}"),
        remedy=text("diagnostics.prior_limits_remedy"),
    )


def _unequal_spread(fitted: Floats, residual: Floats) -> Finding:
    """Compare the residuals' spread in the lowest and the highest third of expected results."""
    n = len(residual)
    square = residual**2
    slope = np.polynomial.polynomial.polyfit(fitted, square, 1)
    explained = float(((slope[0] + slope[1] * fitted - square.mean()) ** 2).sum())
    total = float(((square - square.mean()) ** 2).sum())
    # Koenker's form of the test of Breusch and Pagan: n R², free of normality
    p = two_sided(np.sqrt(n * explained / total)) if total > 0 else 1.0
    cuts = np.quantile(fitted, [1 / 3, 2 / 3])
    spreads = [residual[fitted <= cuts[0]].std(), residual[fitted > cuts[1]].std()]
    low, high = (float(v) for v in spreads)
    ratio = max(low, high) / max(min(low, high), 1e-300)
    bad = p < LEVEL and ratio >= _UNEQUAL
    severity = "ok" if p >= LEVEL else "note"
    if bad:
        severity = "warning" if ratio < 1.5 else "serious"
    return Finding(
        check="unequal_spread",
        severity=severity,  # type: ignore[arg-type]  # one of the literals above
        value=ratio,
        threshold=_UNEQUAL,
        finding=text(
            "diagnostics.unequal_spread", low=f"{low:.3g}", high=f"{high:.3g}", p=f"{p:.2g}"
        ),
        remedy=text("diagnostics.unequal_spread_remedy"),
    )


def _pupil_normality(residual: Floats) -> Finding:
    if len(residual) < 50:
        reason = text("diagnostics.few_pupils", n=len(residual))
        return unchecked("pupil_normality", reason)
    skew, kurtosis, p = normality(residual)
    size = max(abs(skew), abs(kurtosis) / 2.0)
    severity = "ok" if p >= LEVEL else "note" if size < 0.5 else "warning"
    beyond = float((np.abs(residual - residual.mean()) > 4.0 * residual.std()).mean())
    return Finding(
        check="pupil_normality",
        severity=severity,  # type: ignore[arg-type]  # one of the literals above
        value=size,
        threshold=0.5,
        finding=text(
            "diagnostics.pupil_normality",
            skew=f"{skew:.2f}",
            kurtosis=f"{kurtosis:.2f}",
            beyond=f"{beyond:.2%}",
        ),
        remedy=text("diagnostics.pupil_normality_remedy"),
    )


def _sorting(results: PupilFit, augmented: pd.DataFrame) -> Finding:
    """Regress what pupils did before a move on the effect of the school they move to."""
    structure = results.definition.structure
    key = structure.unit if structure is not None and structure.unit else "pupil_key"
    time = results.time or "year"
    if key not in augmented.columns or time not in augmented.columns:
        words = text("diagnostics.no_panel", key=repr(key), time=repr(time))
        return unchecked("sorting", words)
    columns = [key, time, results.group, "pupil_residual"]
    rows = augmented[columns].sort_values([key, time], kind="stable")
    later = rows.shift(-1)
    moved = (rows[key] == later[key]) & (rows[results.group] != later[results.group])
    effect = results.school_effects.set_index("school_id")["effect"]
    movers = rows[moved].assign(future=later.loc[moved, results.group].map(effect))
    movers = movers.dropna(subset=["future"])
    n = len(movers)
    if n < _FEWEST_MOVERS or movers["future"].std() <= 0:
        return unchecked("sorting", text("diagnostics.no_movers", n=n, fewest=_FEWEST_MOVERS))
    x = movers["future"].to_numpy(dtype=float)
    y = movers["pupil_residual"].to_numpy(dtype=float)
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    left = y - y.mean() - slope * centred
    error = float(np.sqrt(((centred * left) ** 2).sum()) / (centred @ centred))
    p = two_sided(slope / error)
    return Finding(
        check="sorting",
        severity="serious" if p < LEVEL else "ok",
        value=slope / error,
        threshold=2.576,
        finding=text("diagnostics.sorting", n=n, slope=f"{slope:.2f}", p=f"{p:.2g}"),
        remedy=text("diagnostics.sorting_remedy"),
    )
