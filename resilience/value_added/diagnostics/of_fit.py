r"""Checks that need the fit alone: effects, reliabilities, variances, influence.

A shrunken effect is less spread than a true one, the more so the smaller the school.  What is
compared with the normal distribution is therefore :math:`\hat u_j / \sqrt{\sigma_u^2 - s_j^2}`,
the effect over the standard deviation that it has itself, :math:`s_j` the conditional SD.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtrc, ndtr, ndtri

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.value_added.diagnostics.findings import Finding, Severity, unchecked
from resilience.value_added.effects.influence import EVERYONE_UP_TO
from resilience.value_added.fits.fitted import PupilFit
from resilience.value_added.fits.refits import RefitMethods

__all__ = [
    "check_of_fit",
    "effect_quantiles",
    "level_quantiles",
    "normality",
    "standardised_effects",
    "two_sided",
]

Floats = NDArray[np.float64]

LEVEL = 0.01  # of a test behind a warning: fourteen checks of a sound fit warn once in eight
_INFLUENTIAL = 0.5  # of Cook's distance
_INFLUENTIAL_FEW = 7.0  # over the number of schools: the 98th percentile of sound fits of 6 to 30
_MISSHAPEN = 0.5  # skewness, or half the excess kurtosis
_FEWEST = 20  # schools, below which the shape of a distribution cannot be seen


def standardised_effects(results: PupilFit) -> Floats:
    """Return the schools' effects over their own standard deviations; empty without variance."""
    table = results.school_effects
    spread = results.variances["persistent"] - table["conditional_sd"].to_numpy(dtype=float) ** 2
    known = spread > 1e-6 * max(results.variances["persistent"], 1e-300)
    effect = table["effect"].to_numpy(dtype=float)
    return np.asarray(effect[known] / np.sqrt(spread[known]))


def normality(values: Floats) -> tuple[float, float, float]:
    r"""Return skewness, excess kurtosis and the p-value of both together.

    .. math:: \chi^2 = Z_{skew}^2 + Z_{kurt}^2

    with the transformations of D'Agostino and of Anscombe and Glynn.

    References
    ----------
    DAgostinoPearson1973.
    """
    n = len(values)
    centred = values - values.mean()
    second = float((centred**2).mean())
    skew = float((centred**3).mean()) / second**1.5
    kurtosis = float((centred**4).mean()) / second**2
    return skew, kurtosis - 3.0, float(chdtrc(2, _z_skew(skew, n) ** 2 + _z_kurt(kurtosis, n) ** 2))


def _z_skew(skew: float, n: int) -> float:
    y = skew * np.sqrt((n + 1.0) * (n + 3.0) / (6.0 * (n - 2.0)))
    beta = 3.0 * (n**2 + 27.0 * n - 70.0) * (n + 1.0) * (n + 3.0)
    beta /= (n - 2.0) * (n + 5.0) * (n + 7.0) * (n + 9.0)
    w = np.sqrt(2.0 * (beta - 1.0)) - 1.0
    delta, alpha = 1.0 / np.sqrt(0.5 * np.log(w)), np.sqrt(2.0 / (w - 1.0))
    return float(delta * np.arcsinh(y / alpha))


def _z_kurt(kurtosis: float, n: int) -> float:
    mean = 3.0 * (n - 1.0) / (n + 1.0)
    variance = 24.0 * n * (n - 2.0) * (n - 3.0) / ((n + 1.0) ** 2 * (n + 3.0) * (n + 5.0))
    x = (kurtosis - mean) / np.sqrt(variance)
    root = 6.0 * (n**2 - 5.0 * n + 2.0) / ((n + 7.0) * (n + 9.0))
    root *= np.sqrt(6.0 * (n + 3.0) * (n + 5.0) / (n * (n - 2.0) * (n - 3.0)))
    a = 6.0 + 8.0 / root * (2.0 / root + np.sqrt(1.0 + 4.0 / root**2))
    part = (1.0 - 2.0 / a) / (1.0 + x * np.sqrt(2.0 / (a - 4.0)))
    return float((1.0 - 2.0 / (9.0 * a) - np.cbrt(part)) / np.sqrt(2.0 / (9.0 * a)))


def effect_quantiles(results: PupilFit) -> pd.DataFrame:
    """Return ``school_id standardised_effect normal_quantile``, ascending: the QQ plot."""
    table = results.school_effects
    spread = results.variances["persistent"] - table["conditional_sd"].to_numpy(dtype=float) ** 2
    known = spread > 1e-6 * max(results.variances["persistent"], 1e-300)
    found = table.loc[known, ["school_id"]].assign(
        standardised_effect=standardised_effects(results)
    )
    found = found.sort_values("standardised_effect", kind="stable", ignore_index=True)
    return found.assign(normal_quantile=_blom(len(found)))


def check_of_fit(results: RefitMethods) -> tuple[list[Finding], pd.DataFrame]:
    """Return the checks that need no pupils, and the influence of the schools."""
    influential, influence = _influence(results)
    found = [
        _rows_dropped(results),
        _singular(results),
        _small_schools(results),
        _effect_normality(results, level_quantiles(results)),
        influential,
    ]
    return found, influence


def _rows_dropped(results: PupilFit) -> Finding:
    total = results.n_pupils + results.n_dropped
    share = results.n_dropped / total if total else 0.0
    severity: Severity = "ok" if share == 0 else "note" if share <= 0.02 else "warning"
    if share > 0.10:
        severity = "serious"
    return Finding(
        check="rows_dropped",
        severity=severity,
        value=share,
        threshold=0.10,
        finding=text("diagnostics.rows_dropped", n=results.n_dropped, total=total),
        remedy=text("diagnostics.rows_dropped_remedy"),
    )


def _singular(results: PupilFit) -> Finding:
    singular = [level.name for level in results.mixed.levels if level.singular]
    bad = not results.convergence.converged
    key = "not_converged" if bad else "singular" if singular else "not_singular"
    return Finding(
        check="singular",
        severity="serious" if bad else "warning" if singular else "ok",
        value=float(len(singular)),
        threshold=0.0,
        finding=text(f"diagnostics.{key}", levels=", ".join(singular) or "—"),
        remedy=text("diagnostics.singular_remedy"),
    )


def _small_schools(results: PupilFit) -> Finding:
    reliability = results.school_effects["reliability"].to_numpy(dtype=float)
    few = int((reliability < 0.5).sum())
    share = few / len(reliability)
    severity: Severity = "ok" if few == 0 else "note" if share <= 0.25 else "warning"
    return Finding(
        check="small_schools",
        severity=severity,
        value=share,
        threshold=0.25,
        finding=text("diagnostics.small_schools", n=few, total=len(reliability)),
        remedy=text("diagnostics.small_schools_remedy"),
    )


def level_quantiles(results: PupilFit) -> pd.DataFrame:
    """Return the QQ points of every level and term: schools, their years, slopes, outer units.

    Returns
    -------
    DataFrame
        ``group unit_id term standardised_effect normal_quantile``, ascending within each term.
    """
    columns = ["group", "unit_id", "term", "standardised_effect", "normal_quantile"]
    pieces = []
    for level in results.mixed.levels:
        for k, term in enumerate(level.terms):
            whole = float(level.covariance[k, k])
            spread = whole - level.conditional[:, k, k]
            known = spread > 1e-6 * max(whole, 1e-300)
            values = level.modes[known, k] / np.sqrt(spread[known])
            order = np.argsort(values, kind="stable")
            piece = {
                "group": level.name,
                "unit_id": level.labels[known][order],
                "term": term,
                "standardised_effect": values[order],
                "normal_quantile": _blom(len(values)),
            }
            pieces.append(pd.DataFrame(piece))
    found = [piece for piece in pieces if len(piece)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def _blom(n: int) -> Floats:
    return np.asarray(ndtri((np.arange(n) + 0.625) / (n + 0.25)))


def _effect_normality(results: PupilFit, quantiles: pd.DataFrame) -> Finding:
    """Test shape and outliers at each level; the worst one is reported."""
    sets = [
        (f"{group}, {term}" if term != ONES else str(group), part)
        for (group, term), part in quantiles.groupby(["group", "term"], sort=False)
        if len(part) >= _FEWEST
    ]
    if not sets:
        n = int(quantiles.groupby(["group", "term"]).size().max()) if len(quantiles) else 0
        reason = text("diagnostics.few_effects", n=n, fewest=_FEWEST)
        return unchecked("effect_normality", reason)
    tests = 2.0 * len(sets)
    judged = []
    for name, part in sets:
        values = part["standardised_effect"].to_numpy(dtype=float)
        skew, kurtosis, p = normality(values)
        if ":" in str(part["group"].iloc[0]):
            p = 1.0  # years of one school are estimated together: shape cannot be tested, reach can
        far = float(np.abs(values).max())
        outlying = min(1.0, 2.0 * len(values) * float(ndtr(-far)))
        judged.append((min(1.0, tests * min(p, outlying)), outlying, skew, kurtosis, name, part))
    p, outlying, skew, kurtosis, name, part = min(judged, key=lambda one: one[0])
    values = part["standardised_effect"].to_numpy(dtype=float)
    at = int(np.argmax(np.abs(values)))
    size = max(abs(skew), abs(kurtosis) / 2.0)
    severity: Severity = "ok"
    if p < LEVEL:
        severity = "warning" if size >= _MISSHAPEN or tests * outlying < LEVEL else "note"
    return Finding(
        check="effect_normality",
        severity=severity,
        value=p,
        threshold=LEVEL,
        finding=text(
            "diagnostics.effect_normality",
            level=name,
            skew=f"{skew:.2f}",
            kurtosis=f"{kurtosis:.2f}",
            unit=str(part["unit_id"].iloc[at]),
            far=f"{abs(values[at]):.1f}",
            limit=f"{float(-ndtri(LEVEL / tests / (2.0 * len(values)))):.1f}",
        ),
        remedy=text("diagnostics.effect_normality_remedy"),
    )


def _influence(results: RefitMethods) -> tuple[Finding, pd.DataFrame]:
    empty = pd.DataFrame({"school_id": [], "cook_distance": [], "effect_shift": []})
    if results.n_schools > EVERYONE_UP_TO:
        reason = text("diagnostics.too_many", n=results.n_schools, most=EVERYONE_UP_TO)
        return unchecked("influential_schools", reason), empty
    try:
        cross = results.cross
        if isinstance(cross, CrossProducts) and len(cross.levels[0].labels) < 3:
            raise DataError(text("diagnostics.few_units", n=len(cross.levels[0].labels)))
        found = results.influence()
    except (DataError, SpecificationError) as error:
        return unchecked("influential_schools", error.message), empty
    schools = found.schools
    distance = schools["cook_distance"].to_numpy(dtype=float)
    # a school that moves the coefficients by more than half of their joint standard error, or,
    # where schools are few and each of them counts, by more than it does in sound fits
    limit = max(_INFLUENTIAL, _INFLUENTIAL_FEW / max(len(distance), 1))
    moved = int((distance > limit).sum())
    largest = float(np.nanmax(distance)) if np.isfinite(distance).any() else 0.0
    severity: Severity = "serious" if largest > 2.0 * limit else "warning" if moved else "ok"
    return (
        Finding(
            check="influential_schools",
            severity=severity,
            value=largest,
            threshold=limit,
            finding=text(
                "diagnostics.influential_schools",
                n=moved,
                school=str(schools["school_id"].iloc[0]),
                distance=f"{largest:.2f}",
                limit=f"{limit:.2g}",
            ),
            remedy=text("diagnostics.influential_schools_remedy"),
        ),
        schools[["school_id", "cook_distance", "effect_shift"]].copy(),
    )


def two_sided(z: float) -> float:
    """Return the p-value of a standard normal statistic."""
    return float(2.0 * ndtr(-abs(z)))
