"""Joint regions of a school's mean result and its value added over successive windows."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.prediction.ellipses import ellipses, quadrant_probabilities
from resilience.validation import check_choice, check_count, check_fraction, check_number
from resilience.value_added.joint.moments import (
    JointMoments,
    RegionSource,
    SchoolYears,
    Shares,
    intake_variance,
    joint_moments,
    school_years_of,
)
from resilience.value_added.joint.results import JointRegionResults
from resilience.value_added.joint.windows import windows_of
from resilience.value_added.years.left_out import year_covariance
from resilience.value_added.years.panel import whole_numbers, year_panel

__all__ = ["QUADRANTS", "joint_regions"]

Floats = NDArray[np.float64]
QUADRANTS = ("high_positive", "high_negative", "low_positive", "low_negative")


def joint_regions(
    va: Any,
    *,
    window: int = 3,
    level: float = 0.95,
    threshold: float | None = None,
    weights: Shares = "pupils",
    result: Literal["observed", "model"] = "observed",
    intake: Literal["drawn", "given"] | None = None,
    min_years: int | None = None,
) -> JointRegionResults:
    r"""Return the joint regions of mean result and value added, school by school and window.

    A mean result says where pupils stand, value added what the school adds to what they came with;
    both come from the same pupils, so that their errors go together.  The region is the ellipse
    that covers the true pair with probability ``level`` on average over schools; see
    `resilience.value_added.joint.moments` for the joint error.  Windows overlap: regions of
    neighbouring windows share years and are no independent findings.

    Parameters
    ----------
    va : ValueAddedResults or SchoolLevelResults
        Results of a model with years, without slopes, outer levels, subjects or procedures.
    window : int
        Successive years of the data per window.
    level : float
        Coverage of the ellipses, in (0, 1).
    threshold : float, optional
        Line between low and high results in outcome units; by default the mean of all pupils in
        all years.
    weights : {"pupils", "years"}
        Whether the years of a window count by their pupils or alike.
    result : {"observed", "model"}
        ``"observed"``: the observed mean, as published.  ``"model"``: the expected result plus the
        predicted effect, which is steadier for small schools.
    intake : {"drawn", "given"}, optional
        ``"drawn"``: the result is that of the school's usual intake, and the draw of this window's
        pupils is an error of the result.  ``"given"``: the result is that of cohorts with just
        these covariates.  By default drawn where the fit knows the covariates of pupils, given for
        models of school means.  Compositions (means of schools) are taken as given.
    min_years : int, optional
        Years with results that a verdict needs; by default more than half of the window.

    Returns
    -------
    JointRegionResults
        ``.table`` has a row for every school and window; one without results in the window has a
        row without numbers.

    Raises
    ------
    SpecificationError
        Without a year level; for a window of more years than the data have, or other arguments out
        of range; for models whose yearly residuals do not hold all (slopes, outer levels, subjects,
        procedures, counts of marks, imputed data); for ``intake="drawn"`` of a fit that does not
        know the covariates of pupils.

    References
    ----------
    Henderson1975; EWD2013.

    Examples
    --------
    >>> import resilience as rs
    >>> from resilience.value_added.joint.regions import joint_regions
    >>> pupils = rs.load_dataset("north_region").pupils
    >>> maths = pupils[pupils["subject"] == "МА"]
    >>> model = rs.ValueAddedModel("score ~ prior_score + ses", group="school_id", time="year")
    >>> joint_regions(model.fit(maths), window=3).windows
    ('2022–2024', '2023–2025')
    """
    check_fraction(level, argument="level", closed=False)
    check_choice(weights, ("pupils", "years"), argument="weights")
    check_choice(result, ("observed", "model"), argument="result")
    if intake is not None:
        check_choice(intake, ("drawn", "given"), argument="intake")
    known = _known(va)
    windows = windows_of(known.panel.labels, window)
    least = window // 2 + 1 if min_years is None else check_count(min_years, argument="min_years")
    if least > window:
        raise SpecificationError(text("joint_regions.min_years", least=least, window=window))
    drawn = None if intake == "given" else intake_variance(va, known)
    if intake == "drawn" and drawn is None:
        raise SpecificationError(text("joint_regions.no_intake", kind=type(va).__name__))
    line = _overall_mean(known) if threshold is None else _line(threshold)
    schools = va.school_effects["school_id"]
    pieces = []
    for years in windows:
        moments = joint_moments(
            known,
            years,
            shares=weights,
            by_model=result == "model",
            intake=drawn or 0.0,
            per_pupil=float(va.variances["residual"]),
        )
        piece = _table(moments, level=level, line=line, least=least)
        piece.insert(0, "window_last_year", known.panel.labels[years.stop - 1])
        piece.insert(0, "window", years.label)
        piece.insert(0, "school_id", schools.to_numpy(dtype=object))
        pieces.append(piece)
    return JointRegionResults(
        table=pd.concat(pieces, ignore_index=True).infer_objects(),
        group=str(va.group),
        question=va.question,
        window=window,
        level=level,
        threshold=line,
        shares=weights,
        estimate=result,
        intake="given" if drawn is None else "drawn",
        min_years=least,
    )


def _known(va: Any) -> SchoolYears:
    """Return the joint posterior of all years, or raise with the reason why there is none."""
    kind = type(va).__name__
    if not hasattr(va, "school_years") or not hasattr(va, "school_effects"):
        raise SpecificationError(text("joint_regions.kind", kind=kind))
    if va.time is None or "year" not in va.school_years.columns:
        raise SpecificationError(text("joint_regions.no_years"))
    if va.year_design is None or hasattr(va, "imputation"):
        raise SpecificationError(text("joint_regions.not_held", kind=kind))
    source: RegionSource = va
    panel = year_panel(source)
    if "subject" in va.school_years.columns:
        raise SpecificationError(text("joint_regions.not_held", kind=kind))
    covariance = year_covariance(source, panel, 0.0)
    if covariance is None:
        raise SpecificationError(text("joint_regions.not_held", kind=kind))
    return school_years_of(source, panel, covariance)


def _overall_mean(known: SchoolYears) -> float:
    panel = known.panel
    there = ~np.isnan(panel.residual)
    observed = (known.expected + np.where(there, panel.residual, 0.0))[there]
    return float(np.average(observed, weights=panel.n_pupils[there]))


def _line(threshold: float) -> float:
    check_number(threshold, argument="threshold")
    if not np.isfinite(threshold):
        raise SpecificationError(text("joint_regions.threshold", value=repr(threshold)))
    return float(threshold)


def _table(moments: JointMoments, *, level: float, line: float, least: int) -> pd.DataFrame:
    centre = np.stack([moments.result, moments.value_added], axis=1)
    shape = ellipses(moments.covariance, level=level)
    chances = quadrant_probabilities(centre, moments.covariance, (line, 0.0))
    spread = np.sqrt(np.einsum("jii->ji", moments.covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        tie = moments.covariance[:, 0, 1] / spread.prod(axis=1)
        settled = (np.abs(centre - np.array([line, 0.0])) > shape.reach).all(axis=1)
    enough = moments.n_years >= least
    side = np.where(centre[:, 0] > line, 0, 2) + np.where(centre[:, 1] > 0, 0, 1)
    quadrant = np.where(settled, np.array(QUADRANTS, dtype=object)[side], "between")
    return pd.DataFrame(
        {
            "n_years": moments.n_years,
            "n_pupils": whole_numbers(moments.n_pupils),
            "result": moments.result,
            "expected_mean": moments.expected,
            "value_added": moments.value_added,
            "result_std_error": spread[:, 0],
            "value_added_std_error": spread[:, 1],
            "error_covariance": moments.covariance[:, 0, 1],
            "error_correlation": np.clip(tie, -1.0, 1.0),
            "ellipse_major": shape.semi_major,
            "ellipse_minor": shape.semi_minor,
            "ellipse_angle": shape.angle,
            **{f"p_{name}": chances[:, k] for k, name in enumerate(QUADRANTS)},
            "quadrant": np.where(enough, quadrant, "insufficient_data"),
            "verdict": np.where(enough, np.where(settled, "yes", "no"), "insufficient_data"),
        }
    )
