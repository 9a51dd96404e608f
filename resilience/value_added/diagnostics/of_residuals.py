r"""Checks of residuals: bends along the priors, spread by expectation and by size, shape.

Residuals are those within schools, effects taken out.  A school's own effect is shrunken, which
takes :math:`\sigma_e^2 \lambda_j / n_j` off the variance of a residual; where schools of different
sizes are compared it is put back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from resilience.i18n import text
from resilience.stats.bends import Bend, fit_bend
from resilience.value_added.diagnostics.findings import Finding, Severity, unchecked
from resilience.value_added.diagnostics.of_fit import LEVEL, normality, two_sided
from resilience.value_added.fits.fitted import PupilFit

__all__ = [
    "check_curvature",
    "check_normality",
    "check_spread",
    "check_spread_by_size",
    "pupil_quantiles",
    "residual_bins",
    "school_spread",
]

Floats = NDArray[np.float64]

_BINS = 20
_BENT = 0.10  # of a residual SD, in the mean of a twentieth of the pupils
_FEWEST_IN_BIN = 5
_HIGHEST_DEGREE = 4
_UNEQUAL = 1.25
_UNEQUAL_BADLY = 1.5
_FEWEST_SCHOOLS = 20
_DIFFERENT = 1.5  # mean size of the larger third over that of the smaller
_POINTS = 199


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


def check_curvature(
    augmented: pd.DataFrame, group: str, priors: Sequence[str], bins: pd.DataFrame
) -> Finding:
    """Look for a bend of the residuals along each prior; the worst one is reported."""
    if not priors:
        return unchecked("curvature", text("diagnostics.no_prior"))
    residual = augmented["pupil_residual"].to_numpy(dtype=float)
    spread = float(residual.std()) or 1.0
    schools = pd.factorize(augmented[group])[0].astype(np.intp)
    level = LEVEL / len(priors)
    found: list[tuple[float, str, Bend]] = []
    for name in priors:
        x = augmented[name].to_numpy(dtype=float)
        bend = fit_bend(x, residual, schools, highest=_HIGHEST_DEGREE, level=level)
        own = bins[(bins["prior"] == name) & (bins["n_pupils"] >= _FEWEST_IN_BIN)]
        size = 0.0
        if bend.p_value < level and len(own):
            curve = bend.curve(own["prior_mean"].to_numpy(dtype=float))
            size = float(np.abs(curve).max()) / spread
        found.append((size, name, bend))
    size, name, bend = max(found, key=lambda one: (one[0], -one[2].p_value))
    seen = bend.p_value < level
    severity: Severity = "ok" if not seen else "note" if size < _BENT else "warning"
    if size >= 2 * _BENT:
        severity = "serious"
    shape = f"poly({name}, {bend.degree})"
    if bend.degree > _HIGHEST_DEGREE:
        shape = f"bs({name}, df=6)"
    return Finding(
        check="curvature",
        severity=severity,
        value=size,
        threshold=_BENT,
        finding=text(
            "diagnostics.curvature" if seen else "diagnostics.straight",
            prior=name,
            bend=f"{size:.2f}",
            p=f"{bend.p_value:.2g}",
        ),
        remedy=text("diagnostics.curvature_remedy", shape=shape),
    )


def check_spread(fitted: Floats, residual: Floats) -> Finding:
    r"""Compare the residuals' spread in the lowest and the highest third of expected results.

    The p-value is that of :math:`n R^2` of squared residuals on expected results.

    References
    ----------
    Koenker1981.
    """
    square = residual**2
    n = len(residual)
    related = 0.0
    if fitted.std() > 0 and square.std() > 0:
        related = float(np.corrcoef(fitted, square)[0, 1])
    p = two_sided(np.sqrt(n) * related)
    cuts = np.quantile(fitted, [1 / 3, 2 / 3])
    return _spread_finding(
        "unequal_spread",
        float(residual[fitted <= cuts[0]].std()),
        float(residual[fitted >= cuts[1]].std()),
        p=p,
    )


def school_spread(results: PupilFit, augmented: pd.DataFrame) -> pd.DataFrame:
    """Return ``school_id n_pupils residual_spread``: the spread within schools, shrinkage put back.

    Schools of one pupil whose effect takes all of the residual are left out.
    """
    square = augmented["pupil_residual"].pow(2).groupby(augmented[results.group], observed=True)
    table = square.agg(["sum", "size"])
    lasting = results.school_effects.set_index("school_id")["reliability"].reindex(table.index)
    n = table["size"].to_numpy(dtype=float)
    left = n - lasting.fillna(0.0).to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(table["sum"].to_numpy(dtype=float) / left)
    known = np.flatnonzero(left > 1e-9)
    found = pd.DataFrame(
        {"school_id": table.index, "n_pupils": table["size"].array, "residual_spread": spread}
    )
    return found.iloc[known].reset_index(drop=True)


def check_spread_by_size(table: pd.DataFrame) -> Finding:
    """Compare the residuals' spread in the third of the smallest and of the largest schools.

    The schools' mean squared residuals are regressed on the logarithm of their size, weighted by
    size; the error of the slope is robust, schools being the units.
    """
    n = table["n_pupils"].to_numpy(dtype=float)
    mean = table["residual_spread"].to_numpy(dtype=float) ** 2
    third = len(n) // 3
    order = np.argsort(n, kind="stable")
    small, large = order[:third], order[len(n) - third :]
    if len(n) < _FEWEST_SCHOOLS or n[small].mean() * _DIFFERENT > n[large].mean():
        return unchecked("spread_by_size", text("diagnostics.one_size", n=len(n)))
    log_size = np.log(n)
    centred = log_size - np.average(log_size, weights=n)
    total = float((n * centred**2).sum())
    slope = float((n * centred * mean).sum()) / total
    around = mean - np.average(mean, weights=n) - slope * centred
    error = np.sqrt(float(((n * centred * around) ** 2).sum())) / total
    p = 2.0 * float(stdtr(len(n) - 2, -abs(slope) / max(error, 1e-300)))
    spreads = [float(np.sqrt(np.average(mean[at], weights=n[at]))) for at in (small, large)]
    return _spread_finding("spread_by_size", *spreads, p=p)


def _spread_finding(check: str, low: float, high: float, *, p: float) -> Finding:
    ratio = max(low, high) / max(min(low, high), 1e-300)
    severity: Severity = "ok" if p >= LEVEL else "note"
    if p < LEVEL and ratio >= _UNEQUAL:
        severity = "warning" if ratio < _UNEQUAL_BADLY else "serious"
    return Finding(
        check=check,
        severity=severity,
        value=ratio,
        threshold=_UNEQUAL,
        finding=text(f"diagnostics.{check}", low=f"{low:.3g}", high=f"{high:.3g}", p=f"{p:.2g}"),
        remedy=text(f"diagnostics.{check}_remedy"),
    )


def check_normality(residual: Floats) -> Finding:
    """Measure skewness and kurtosis of the pupils' residuals."""
    if len(residual) < 50:
        reason = text("diagnostics.few_pupils", n=len(residual))
        return unchecked("pupil_normality", reason)
    skew, kurtosis, p = normality(residual)
    size = max(abs(skew), abs(kurtosis) / 2.0)
    severity: Severity = "ok" if p >= LEVEL else "note" if size < 0.5 else "warning"
    beyond = float((np.abs(residual - residual.mean()) > 4.0 * residual.std()).mean())
    return Finding(
        check="pupil_normality",
        severity=severity,
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


def pupil_quantiles(residual: Floats) -> pd.DataFrame:
    """Return ``normal_quantile standardised_residual`` at up to 199 points: a QQ plot of pupils."""
    spread = float(residual.std())
    columns = ["normal_quantile", "standardised_residual"]
    if not spread > 0:
        return pd.DataFrame(columns=columns, dtype=float)
    n = min(len(residual), _POINTS)
    chances = (np.arange(n) + 0.5) / n
    values = np.quantile((residual - residual.mean()) / spread, chances)
    return pd.DataFrame({columns[0]: ndtri(chances), columns[1]: values})
