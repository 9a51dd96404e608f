"""The sorting test: the school that a pupil will join must not tell what she did before.

A future school cannot have caused past results.  Among pupils who left the same school in the same
year, the residual before the move is regressed on the effect of the school they went to.  That
effect must not know them: it is the shrunken mean residual of the school's pupils who never were
at the school left.  With their own later results in it, the ability that a pupil takes along would
pass for sorting; in schools of a dozen pupils that happened in a quarter of sound panels.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtr

from resilience.i18n import text
from resilience.value_added.diagnostics.findings import Finding, Severity, unchecked
from resilience.value_added.diagnostics.of_fit import LEVEL
from resilience.value_added.fits.fitted import PupilFit

__all__ = ["check_sorting"]

_FEWEST_MOVERS = 30
_FEWEST_DESTINATIONS = 10
_SLOPE = 0.10  # a tenth of the differences between schools
_SLOPE_SERIOUS = 0.30


def check_sorting(results: PupilFit, augmented: pd.DataFrame, key: list[str]) -> Finding:
    """Test whether pupils who leave one school differ beforehand by the school they go to.

    Parameters
    ----------
    results : ValueAddedResults
        The fit.
    augmented : DataFrame
        Rows of the fit with ``fitted``, ``pupil_residual`` and the outcome less ``fitted`` as
        ``whole_residual``.
    key : list of str
        Columns that tell a pupil.

    References
    ----------
    Rothstein2010.
    """
    time = results.time or "year"
    if results.group in key or not {*key, time} <= set(augmented.columns):
        words = text("diagnostics.no_panel", key=" × ".join(map(repr, key)), time=repr(time))
        return unchecked("sorting", words)
    rows = pd.DataFrame(
        {
            "pupil": augmented.groupby(key, sort=False, observed=True).ngroup(),
            "time": augmented[time].to_numpy(),
            "school": augmented[results.group].to_numpy(),
            "before": augmented["pupil_residual"].to_numpy(dtype=float),
            "whole": augmented["whole_residual"].to_numpy(dtype=float),
        }
    )
    moves = _moves(rows)
    moves["effect"] = _effect_of_others(rows, moves, results)
    moves = moves.dropna(subset=["effect"])
    left = moves.groupby(["origin", "time"], observed=True)
    x = (moves["effect"] - left["effect"].transform("mean")).to_numpy(dtype=float)
    y = (moves["before"] - left["before"].transform("mean")).to_numpy(dtype=float)
    comparable = np.asarray(left["school"].transform("nunique") > 1, dtype=bool)
    moves, x, y = moves[comparable], x[comparable], y[comparable]
    n, n_schools = len(moves), moves["school"].nunique()
    total = float(x @ x)
    if n < _FEWEST_MOVERS or n_schools < _FEWEST_DESTINATIONS or total <= 0:
        words = text(
            "diagnostics.no_movers",
            n=n,
            schools=n_schools,
            fewest=_FEWEST_MOVERS,
            fewest_schools=_FEWEST_DESTINATIONS,
        )
        return unchecked("sorting", words)
    slope = float(x @ y) / total
    places, _ = pd.factorize(moves["school"])
    sums = np.bincount(places, x * (y - slope * x))
    n_left = moves.groupby(["origin", "time"], observed=True).ngroups
    scale = n_schools / (n_schools - 1.0) * (n - 1.0) / max(n - n_left - 1.0, 1.0)
    error = float(np.sqrt(scale * (sums @ sums))) / total
    p = 2.0 * float(stdtr(n_schools - 1, -abs(slope) / max(error, 1e-300)))
    severity: Severity = "ok" if p >= LEVEL else "note" if abs(slope) < _SLOPE else "warning"
    if p < LEVEL and abs(slope) >= _SLOPE_SERIOUS:
        severity = "serious"
    return Finding(
        check="sorting",
        severity=severity,
        value=slope,
        threshold=_SLOPE,
        finding=text(
            "diagnostics.sorting", n=n, slope=f"{slope:.2f}", error=f"{error:.2f}", p=f"{p:.2g}"
        ),
        remedy=text("diagnostics.sorting_remedy"),
    )


def _moves(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``pupil time origin school before``: a row per change of school between two times."""
    stays = rows.groupby(["pupil", "time", "school"], observed=True, as_index=False)[
        "before"
    ].mean()
    later = stays.shift(-1)
    moved = (
        (stays["pupil"] == later["pupil"])
        & (stays["time"] != later["time"])
        & (stays["school"] != later["school"])
    )
    found: pd.DataFrame = stays[moved].rename(columns={"school": "origin"})
    found["school"] = later.loc[moved, "school"].astype(rows["school"].dtype)
    return found


def _effect_of_others(
    rows: pd.DataFrame, moves: pd.DataFrame, results: PupilFit
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the effect of each destination by pupils who never were at the school left."""
    known = rows.groupby("school", observed=True)["whole"].agg(["sum", "size"])
    movers = rows.loc[rows["pupil"].isin(moves["pupil"]), ["pupil", "school"]].drop_duplicates()
    there = rows.merge(movers.rename(columns={"school": "origin"}), on="pupil")
    came = there.groupby(["origin", "school"], observed=True)["whole"].agg(["sum", "size"])
    wanted = pd.MultiIndex.from_frame(moves[["origin", "school"]])
    own = came.reindex(wanted, fill_value=0.0).to_numpy(dtype=float)
    every = known.reindex(moves["school"]).to_numpy(dtype=float)
    total, n = (every - own).T
    reliability = results.school_effects.set_index("school_id")["reliability"]
    lasting = reliability.reindex(moves["school"]).to_numpy(dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = lasting / (1.0 - lasting) * n / every[:, 1]
        return np.where(n > 0, total / n * precision / (1.0 + precision), np.nan)
