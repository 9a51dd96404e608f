r"""Means of schools in SD of pupils, with their sampling variance, from scores or publications.

Sources mix only in one unit: within each procedure and year the pupils of the region have mean 0
and SD 1.  With :math:`n_j` pupils of mean :math:`\bar y_j` in school j, N pupils in J schools,

.. math::

   s^2 = \frac{1}{N}\Big[\sum_j n_j (\bar y_j - \bar y)^2 + \sum_j (n_j - 1) s_j^2\Big], \qquad
   \sigma_w^2 = \frac{\sum_j (n_j - 1) s_j^2}{N - J},

the mean is :math:`(\bar y_j - \bar y)/s` and its sampling variance
:math:`\sigma_w^2/(s^2 n_j)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import (
    check_choice,
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = ["published_means", "score_means"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

KEY = ("school_id", "year", "procedure")
RESULT = ("mean_score", "sampling_variance", "n_participants")
# A spread below this share of the largest value is rounding, not a difference between pupils.
_NO_SPREAD = 1e-9


def score_means(
    pupils: pd.DataFrame,
    *,
    by: Sequence[str] = KEY,
    score: str = "score",
    sd: Literal["pooled"] | float = "pooled",
) -> pd.DataFrame:
    """Return means of schools from scores of pupils.

    Parameters
    ----------
    pupils : DataFrame
        One row per pupil, year and procedure.
    by : sequence of str
        School column, then those within which scores are standardised (year, procedure).
    score : str
        Column of scores.
    sd : "pooled" or float
        SD of pupils within schools, in SD of pupils of the region: pooled over the schools of the
        procedure and year (divisor N − J), or a number where no school has two pupils.

    Returns
    -------
    DataFrame
        The columns of ``by`` and ``mean_score sampling_variance n_participants``, sorted by
        ``by``; the mean over pupils of the region is 0 and the SD of pupils (divisor N) is 1.

    Raises
    ------
    DataError, SpecificationError
        For bad input, with culprit, rule, value and way out.
    """
    keys = _checked_keys(by, (score,))
    stated = None if isinstance(sd, str) and sd == "pooled" else _number(sd, "sd_number")
    check_not_empty(pupils, table="pupils")
    check_columns(pupils, [*keys, score], table="pupils")
    check_numeric(pupils, [score], table="pupils")
    check_finite(pupils, [*keys, score], table="pupils", unit=keys[0])
    schools = pupils.groupby(keys, observed=True, sort=True)[score]
    # the sum of squares is taken about each school's own mean: no cancellation for large scores
    table = schools.agg(["mean", "size"]).reset_index()
    own = pupils[score] - schools.transform("mean")
    squares = (own**2).groupby([pupils[k] for k in keys], observed=True, sort=True).sum()
    cells = _Cells(
        keys=table[keys],
        mean=table["mean"].to_numpy(dtype=float),
        size=table["size"].to_numpy(dtype=float),
    )
    inner = squares.to_numpy(dtype=float)
    if stated is None:
        return cells.table(*_variances(cells, inner, None))
    # the number is in SD of pupils of the region, whatever the units of the scores
    total, _ = _variances(cells, inner, 1.0)
    return cells.table(total, stated**2 * total)


def published_means(
    means: pd.DataFrame,
    *,
    n: str = "n_participants",
    sd: str | float,
    sd_of: Literal["school", "region"] = "school",
    by: Sequence[str] = KEY,
    mean: str = "mean_score",
) -> pd.DataFrame:
    """Return published means of schools in SD of pupils of the region.

    Parameters
    ----------
    means : DataFrame
        One row per school, year and procedure; all schools of the region should be there, since
        the region's mean and SD are computed from them.
    n : str
        Column of numbers of pupils.
    sd : str or float
        SD of pupils in the units of the means: a column or a number.
    sd_of : {"school", "region"}
        Whose SD it is: of the pupils within schools (divisor n − 1; may be missing for one pupil),
        or of all pupils of the region (divisor N; one value per procedure and year).
    by : sequence of str
        School column, then those within which means are standardised (year, procedure).
    mean : str
        Column of means.

    Returns
    -------
    DataFrame
        As `score_means`, whose table it repeats if both rest on the same pupils.

    Raises
    ------
    DataError, SpecificationError
        For bad input, with culprit, rule, value and way out.
    """
    keys = _checked_keys(by, (n, mean, sd))
    check_choice(sd_of, ("school", "region"), argument="sd_of")
    numbers = [mean, n, *([sd] if isinstance(sd, str) else [])]
    stated = None if isinstance(sd, str) else _number(sd, "sd_published")
    check_not_empty(means, table="means")
    check_columns(means, [*keys, *numbers], table="means")
    check_numeric(means, numbers, table="means")
    check_finite(means, [*keys, mean, n], table="means", unit=keys[0])
    check_unique(means, keys, table="means")
    frame = means.sort_values(keys, kind="stable").reset_index(drop=True)
    cells = _Cells(
        keys=frame[keys],
        mean=frame[mean].to_numpy(dtype=float),
        size=frame[n].to_numpy(dtype=float),
    )
    bad = (cells.size < 1) | (cells.size != np.round(cells.size))
    worst = f"{cells.size[int(np.argmax(bad))]:g}"
    cells.refuse_rows("score_means.sizes", bad, column=repr(n), value=worst)
    if stated is not None:
        spread = np.full(len(frame), stated)
    else:
        spread = frame[sd].to_numpy(dtype=float, na_value=np.nan)
    if sd_of == "region":
        return cells.table(*_split_region(cells, spread, repr(sd)))
    inner = _school_squares(cells, spread, repr(sd))
    return cells.table(*_variances(cells, inner, None if stated is None else stated**2))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cells:
    """Means of schools, and sums of theirs over each procedure and year."""

    keys: pd.DataFrame
    mean: Floats
    size: Floats

    @cached_property
    def code(self) -> Integers:
        """Number of the procedure and year of each mean."""
        names = list(self.keys.columns[1:])
        if not names:
            return np.zeros(len(self.keys), dtype=np.int64)
        groups = self.keys.groupby(names, observed=True, sort=True)
        return np.asarray(groups.ngroup(), dtype=np.int64)

    def totals(self, values: Floats) -> Floats:
        """Return sums over each procedure and year."""
        return np.asarray(np.bincount(self.code, weights=values), dtype=np.float64)

    @cached_property
    def n_pupils(self) -> Floats:
        """Pupils of each procedure and year."""
        return self.totals(self.size)

    @cached_property
    def n_schools(self) -> Floats:
        """Schools of each procedure and year."""
        return self.totals(np.ones(len(self.size)))

    @cached_property
    def region(self) -> Floats:
        """Mean over pupils of each procedure and year."""
        return self.totals(self.size * self.mean) / self.n_pupils

    @property
    def deviation(self) -> Floats:
        """Mean of each school less that of the region."""
        return np.asarray(self.mean - self.region[self.code])

    @cached_property
    def between(self) -> Floats:
        """Sum of squares between schools, weighted by pupils."""
        return self.totals(self.size * self.deviation**2)

    @cached_property
    def degrees(self) -> Floats:
        """Pupils less schools."""
        return self.totals(self.size - 1)

    def place(self, code: int) -> Bilingual | str:
        """Return the year and procedure of a number, as the table names them."""
        row = self.keys.iloc[int(np.argmax(self.code == code)), 1:]
        shown = ", ".join(f"{name}={value}" for name, value in row.items())
        return shown or text("score_means.whole_table")

    def refuse(self, key: str, bad: Flags, **values: Floats) -> None:
        """Raise for the first procedure and year of which ``bad`` is true."""
        if bad.any():
            at = int(np.argmax(bad))
            shown = {name: f"{value[at]:.6g}" for name, value in values.items()}
            raise DataError(text(key, place=self.place(at), **shown))

    def refuse_rows(self, key: str, bad: Flags, **values: object) -> None:
        """Raise for the first school of which ``bad`` is true."""
        if bad.any():
            school = self.keys.iloc[int(np.argmax(bad)), 0]
            raise DataError(text(key, school=school, n=int(bad.sum()), **values))

    def table(self, total: Floats, within: Floats) -> pd.DataFrame:
        """Return the means in SD of pupils, given the variances in all and within schools."""
        scale = total[self.code]
        return self.keys.assign(
            mean_score=self.deviation / np.sqrt(scale),
            sampling_variance=within[self.code] / (scale * self.size),
            n_participants=self.size.astype(np.int64),
        )


def _checked_keys(by: Sequence[str], numbers: Sequence[object]) -> list[str]:
    keys = [by] if isinstance(by, str) else list(by)
    if not keys or len(set(keys)) < len(keys):
        raise SpecificationError(text("score_means.by", by=repr(tuple(keys))))
    for name in keys:
        if name in numbers:
            raise SpecificationError(text("score_means.column_twice", column=repr(name)))
        if name in RESULT:
            raise SpecificationError(
                text("score_means.output_name", by=repr(tuple(keys)), column=repr(name))
            )
    return keys


def _number(value: object, key: str) -> float:
    """Return an SD given as a number."""
    plain = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not plain or not (np.isfinite(value) and value > 0):  # type: ignore[call-overload, operator]  # plain
        raise SpecificationError(text(f"score_means.{key}", value=repr(value)))
    return float(value)  # type: ignore[arg-type]  # plain


def _variances(cells: _Cells, inner: Floats, stated: float | None) -> tuple[Floats, Floats]:
    """Return variances of pupils in the region and within schools, by procedure and year.

    Parameters
    ----------
    cells : _Cells
        The means.
    inner : ndarray of shape (n_means,)
        Sum of squares within each school.
    stated : float, optional
        Variance within schools where it is known.
    """
    sums = cells.totals(inner)
    total = (cells.between + sums) / cells.n_pupils
    flat = np.sqrt(total) <= _NO_SPREAD * np.abs(cells.region)
    cells.refuse("score_means.flat", flat, n=cells.n_pupils, value=cells.region)
    if stated is not None:
        return total, np.full(len(total), stated)
    cells.refuse("score_means.no_pairs", cells.degrees == 0, n=cells.n_schools)
    within = sums / cells.degrees
    cells.refuse("score_means.no_within", within <= _NO_SPREAD**2 * total)
    return total, within


def _school_squares(cells: _Cells, spread: Floats, column: str) -> Floats:
    """Return the sum of squares within each school from its published SD."""
    bad = (cells.size > 1) & ~(np.isfinite(spread) & (spread >= 0))
    at = int(np.argmax(bad))
    cells.refuse_rows(
        "score_means.sd_values",
        bad,
        column=column,
        value=f"{spread[at]:g}",
        size=f"{cells.size[at]:g}",
    )
    return np.where(cells.size > 1, (cells.size - 1) * np.nan_to_num(spread) ** 2, 0.0)


def _split_region(cells: _Cells, spread: Floats, column: str) -> tuple[Floats, Floats]:
    """Return variances in the region and within schools from the region's published SD."""
    first = np.unique(cells.code, return_index=True)[1]
    sd = spread[first]
    wrong = (spread != sd[cells.code]) | ~(np.isfinite(spread) & (spread > 0))
    if wrong.any():
        code = int(cells.code[np.argmax(wrong)])
        values = pd.unique(spread[cells.code == code])
        raise DataError(
            text(
                "score_means.region_values",
                place=cells.place(code),
                column=column,
                values=shorten(f"{v:g}" for v in values),
            )
        )
    cells.refuse("score_means.one_pupil_each", cells.degrees == 0, n=cells.n_schools)
    inner = cells.n_pupils * sd**2 - cells.between
    between = np.sqrt(cells.between / cells.n_pupils)
    cells.refuse("score_means.spread", between >= sd * (1 - _NO_SPREAD), between=between, sd=sd)
    return sd**2, inner / cells.degrees
