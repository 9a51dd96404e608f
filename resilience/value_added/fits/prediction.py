r"""Predictions for pupils, of known schools or new ones, with the errors they carry.

.. math:: \hat y_i = x_i'\hat\beta + \sum_k z_{ik}'\hat u_k

The sum runs over nothing (``effects="none"``), over what lasts of the pupil's school and the units
outside it (``"schools"``), or over the part of the pupil's year too (``"all"``).  The interval of
the mean rests on the joint covariance of coefficients and effects
(``stats/prediction/row_errors.py``); that of a pupil adds the residual and, as new draws, the
effects that the prediction leaves out.  A unit that was not in the fit has the effect 0 and the
whole variance of its level.  With AR(1) years a year outside the data is predicted from the
school's years,

.. math:: E(v_{jy} \mid v_j) = k'R^{-1}v_j, \qquad
          \mathrm{Var}(v_{jy} \mid v_j) = \sigma_v^2(1 - k'R^{-1}k),

with R and k the correlations :math:`\rho^{|t-s|}`.  Variances are taken as known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.crossed.crossed_fit import CrossedFit
from resilience.stats.crossed.crossed_products import CrossedProducts
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.mixed import LevelEffects
from resilience.stats.prediction.row_errors import (
    LevelRows,
    crossed_row_variances,
    nested_row_variances,
)
from resilience.stats.strata.strata_fit import StrataFit
from resilience.validation import check_choice, check_fraction, shorten
from resilience.value_added.definitions.membership import Membership
from resilience.value_added.effects.random_effects import is_cells
from resilience.value_added.fits.prediction_rows import PupilRows, by_year, read_rows

if TYPE_CHECKING:
    from resilience.value_added.fits.fitted import PupilFit

__all__ = ["Effects", "predicted_rows", "prediction_table"]

Effects = Literal["none", "schools", "all"]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """Predictions row by row.

    Attributes
    ----------
    rows : PupilRows
        The rows.
    fixed, mean : ndarray of shape (n_rows,)
        Fixed part, and prediction with the effects asked for.
    levels : tuple of LevelRows
        What the prediction takes of every level.
    left_out : ndarray of shape (n_rows,)
        Variance of the effects it does not take, in squared outcome units.
    unseen : ndarray of shape (n_rows,)
        Variance, given the effects of the fit, of what it takes of years outside the data.
    """

    rows: PupilRows
    fixed: Floats
    mean: Floats
    levels: tuple[LevelRows, ...]
    left_out: Floats
    unseen: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class _Taken:
    """What a prediction takes of a level's terms and leaves, shape (n_rows, q), and variances."""

    weights: Floats
    left: Floats
    left_variance: float = 0.0
    unseen: Floats | float = 0.0


def prediction_table(
    results: PupilFit,
    data: object,
    *,
    effects: Effects = "none",
    interval: float | None = None,
) -> pd.DataFrame:
    """Return ``data`` with predictions; see `ValueAddedResults.predict`."""
    check_choice(effects, ("none", "schools", "all"), argument="effects")
    if interval is not None:
        check_fraction(interval, argument="interval", closed=False)
    found = predicted_rows(results, data, effects)
    added: dict[str, NDArray[Any]] = {"predicted": found.mean}
    if interval is not None:
        variance = _variances(results, found) + found.unseen
        z = float(special.ndtri(0.5 + interval / 2.0))
        own = variance + found.left_out + _residual(results, found.rows.frame)
        spread, whole = z * np.sqrt(variance), z * np.sqrt(own)
        added |= {
            "std_error": np.sqrt(variance),
            "conf_low": found.mean - spread,
            "conf_high": found.mean + spread,
            "pupil_low": found.mean - whole,
            "pupil_high": found.mean + whole,
        }
    names = [level.name for level in results.mixed.levels]
    units = found.levels[names.index(results.group)]
    added["known_unit"] = ((units.units >= 0) | (units.shares == 0)).all(axis=1)
    if results.time is not None and effects == "all":
        added["known_year"] = _known_years(results, found)
    return found.rows.frame.assign(**added)


def predicted_rows(
    results: PupilFit, data: object, effects: Effects, *, outcome: bool = False
) -> Predicted:
    """Return the predictions of the rows and what they rest on.

    Parameters
    ----------
    results : PupilFit
        The fit.
    data : frame of any library that narwhals knows
        Pupils.
    effects : {"none", "schools", "all"}
        Which effects count.
    outcome : bool
        Whether the outcome must be there.
    """
    rows = read_rows(results, data, outcome=outcome)
    fixed = rows.X @ results.mixed.beta
    mean, left_out, unseen = fixed.copy(), np.zeros(len(fixed)), np.zeros(len(fixed))
    levels: list[LevelRows] = []
    school: Codes = np.zeros((len(fixed), 1), dtype=np.int64)
    for at, level in enumerate(results.mixed.levels):
        units, shares = _units(results, at, rows, school)
        if level.name == results.group:
            school = units
        taken = _taken(results, at, rows, effects)
        squares, left = (shares**2).sum(axis=1), taken.left
        spread = np.einsum("ia,ab,ib->i", left, level.covariance, left)
        left_out += squares * (spread + taken.left_variance)
        unseen += squares * taken.unseen
        values = np.vstack([level.modes, np.zeros(level.modes.shape[1])])[units]
        mean += np.einsum("im,imq,iq->i", shares, values, taken.weights)
        levels.append(LevelRows(weights=taken.weights, units=units, shares=shares))
    if not isinstance(results.mixed, CrossedFit):
        _check_paths(results, levels)
    if effects != "none":
        _warn_of_strangers(results, rows, levels)
    return Predicted(
        rows=rows,
        fixed=fixed,
        mean=mean,
        levels=tuple(levels),
        left_out=left_out,
        unseen=unseen,
    )


def _units(results: PupilFit, at: int, rows: PupilRows, school: Codes) -> tuple[Codes, Floats]:
    """Return positions of the rows' units of a level, and the shares."""
    level, frame, read = results.mixed.levels[at], rows.frame, rows.members
    if by_year(results, at) and not is_cells(results.mixed, at):  # a school's own vector of years
        return school, np.ones(school.shape)
    members = getattr(results, "members", None)
    if is_cells(results.mixed, at):
        years = np.repeat(
            np.asarray(frame[results.time], dtype=object)[:, None], school.shape[1], 1
        )
        known = pd.MultiIndex.from_arrays([level.parent, level.labels])
        cells = pd.MultiIndex.from_arrays([school.ravel(), years.ravel()])
        found = known.get_indexer(cells).astype(np.int64).reshape(school.shape)
        shares = np.ones(school.shape)
        if isinstance(members, Membership) and results.group == members.level and read is not None:
            shares = read.shares
        return found, shares
    if isinstance(members, Membership) and level.name == members.level and read is not None:
        where = np.append(pd.Index(level.labels).get_indexer(pd.Index(read.labels)), -1)
        return where[read.codes].astype(np.int64), read.shares
    asked = pd.Index(np.asarray(frame[level.name], dtype=object))
    own = pd.Index(level.labels).get_indexer(asked)
    return own.astype(np.int64)[:, None], np.ones((len(frame), 1))


def _taken(results: PupilFit, at: int, rows: PupilRows, effects: Effects) -> _Taken:
    """Return what the prediction takes of a level; what it leaves is an independent draw."""
    level = results.mixed.levels[at]
    whole, years = _terms(results, level, rows)
    nothing = np.zeros_like(whole)
    if effects == "none" or (effects == "schools" and by_year(results, at)):
        return _Taken(weights=nothing, left=_any_year(whole, years) if years else whole)
    if not years:
        return _Taken(weights=whole, left=nothing)
    if effects == "all":
        return _with_years(results, level, rows, whole, years)
    lasting = whole.copy()
    lasting[:, years] = 1.0 / len(years)
    return _Taken(weights=lasting, left=nothing, left_variance=_around_lasting(level, years))


def _terms(results: PupilFit, level: LevelEffects, rows: PupilRows) -> tuple[Floats, list[int]]:
    """Return the values of a level's terms in the rows, and which are effects of years."""
    fitted, n = results.mixed, len(rows.X)
    columns: list[NDArray[Any]] = []
    years: list[int] = []
    for k, term in enumerate(level.terms):
        if term == ONES:
            columns.append(np.ones(n))
        elif term in fitted.terms:
            columns.append(rows.X[:, fitted.terms.index(term)])
        else:
            name, _, label = term.partition("=")
            if not isinstance(fitted, StrataFit):
                years.append(k)
            columns.append(_is_label(rows.frame[name], label).astype(float))
    return np.column_stack(columns), years


def _is_label(values: pd.Series, label: str) -> NDArray[np.bool_]:
    """Return where a column holds the category of a term: 2021.0 is the year 2021."""
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return np.asarray(values.to_numpy(dtype=float) == float(label))
    return np.asarray(values.astype(str) == label)


def _any_year(whole: Floats, years: list[int]) -> Floats:
    """Return the terms at one year of the data: the last, of a stationary level any."""
    found = whole.copy()
    unseen = found[:, years].sum(axis=1) == 0
    found[np.ix_(unseen, years[-1:])] = 1.0
    return found


def _around_lasting(level: LevelEffects, years: list[int]) -> float:
    """Return the mean variance of a single year around the mean of all years."""
    own = level.covariance[np.ix_(years, years)]
    contrast = np.eye(len(years)) - 1.0 / len(years)
    return float(np.trace(contrast @ own @ contrast.T) / len(years))


def _with_years(
    results: PupilFit,
    level: LevelEffects,
    rows: PupilRows,
    whole: Floats,
    years: list[int],
) -> _Taken:
    """Return the weights of the rows' years, those outside the data through their neighbours."""
    nothing, unseen = np.zeros_like(whole), whole[:, years].sum(axis=1) == 0
    if not unseen.any():
        return _Taken(weights=whole, left=nothing)
    asked = rows.frame.loc[unseen, results.time].to_numpy()
    if level.structure != "ar1":
        raise DataError(
            text(
                "prediction.new_year",
                time=repr(results.time),
                years=shorten(pd.unique(asked)),
                known=shorten(level.terms[k].partition("=")[2] for k in years),
            )
        )
    axis = np.array([float(level.terms[k].partition("=")[2]) for k in years])
    rho = level.parameters["correlation"]
    rho = rho if np.isfinite(rho) else 0.0
    R = rho ** np.abs(axis[:, None] - axis)
    k = rho ** np.abs(asked.astype(float)[:, None] - axis)
    loading = k @ np.linalg.pinv(R, hermitian=True)  # R is singular where years never differ
    found, extra = whole.copy(), np.zeros(len(whole))
    found[np.ix_(unseen, years)] = loading
    spread = float(level.covariance[years[0], years[0]])
    extra[unseen] = spread * np.maximum(1.0 - (loading * k).sum(axis=1), 0.0)
    return _Taken(weights=found, left=nothing, unseen=extra)


def _known_years(results: PupilFit, found: Predicted) -> NDArray[np.bool_]:
    """Return whether the fit has results of the row's school in the row's year."""
    cells = results.school_years[["school_id", "year"]].drop_duplicates()
    known = pd.MultiIndex.from_frame(cells.astype(object))
    frame = found.rows.frame
    group, members = results.group, getattr(results, "members", None)
    if isinstance(members, Membership) and group == members.level:
        group = members.main
    asked = pd.MultiIndex.from_frame(frame[[group, results.time]].astype(object))
    return np.asarray(known.get_indexer(asked) >= 0)


def _check_paths(results: PupilFit, levels: list[LevelRows]) -> None:
    """Raise if a known unit stands in another outer unit than in the fit."""
    for at in range(1, len(levels)):
        level, outer = results.mixed.levels[at], results.mixed.levels[at - 1]
        own, above = levels[at].units[:, 0], levels[at - 1].units[:, 0]
        moved = (own >= 0) & (level.parent[own] != above)
        if moved.any():
            first = int(np.argmax(moved))
            raise DataError(
                text(
                    "prediction.moved",
                    group=repr(level.name),
                    unit=level.labels[own[first]],
                    outer=repr(outer.name),
                    place=outer.labels[level.parent[own[first]]],
                    n=len(np.unique(own[moved])),
                )
            )


def _warn_of_strangers(results: PupilFit, rows: PupilRows, levels: list[LevelRows]) -> None:
    """Warn where effects are asked and no row is of a school that the fit knows."""
    known = levels[[level.name for level in results.mixed.levels].index(results.group)]
    if not ((known.units >= 0) & (known.shares > 0)).any():
        members, read = getattr(results, "members", None), rows.members
        if isinstance(members, Membership) and members.level == results.group and read is not None:
            n = len(np.unique(read.codes[read.codes >= 0]))
        else:
            n = rows.frame[results.group].nunique()
        warn_weak_data(
            text("prediction.strangers", group=repr(results.group), n=n, rows=len(rows.frame))
        )


def _variances(results: PupilFit, found: Predicted) -> Floats:
    """Return the error variance of each prediction of a mean."""
    cross = results.cross
    if isinstance(cross, CrossProducts):
        return nested_row_variances(cross, results.mixed, found.rows.X, found.levels)
    if isinstance(cross, CrossedProducts):
        return crossed_row_variances(cross, results.mixed, found.rows.X, found.levels)
    raise SpecificationError(text("prediction.no_interval", kind=type(cross).__name__))


def _residual(results: PupilFit, frame: pd.DataFrame) -> Floats:
    """Return the residual variance of each row: that of its subject where there are several."""
    fitted = results.mixed
    if not isinstance(fitted, StrataFit):
        return np.full(len(frame), fitted.residual_variance)
    column = str(getattr(results, "subject", ""))
    known = pd.Index(list(fitted.subjects), dtype=object)
    at = known.get_indexer(pd.Index(frame[column].to_numpy(dtype=object), dtype=object))
    return np.asarray(np.diag(fitted.residual_covariance)[at])
