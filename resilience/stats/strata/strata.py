r"""Cross-products kept apart where the residuals differ: several outcomes of one pupil.

Rows are results of pupils in subjects (or any other *outcomes*).  The residuals of one pupil have
the covariance :math:`\sigma^2 R_m`, the sub-matrix of :math:`R` for the pattern :math:`m` of the
subjects that the pupil sat.  With :math:`W_{ms}` the rows of subject :math:`s` of the pupils of
pattern :math:`m`, in the order of these pupils,

.. math::

   W'(\oplus R^{-1})W = \sum_m \sum_{s \le t} (R_m^{-1})_{st} P_{mst}, \qquad
   P_{mss} = W_{ms}'W_{ms}, \quad P_{mst} = W_{ms}'W_{mt} + W_{mt}'W_{ms},

and the same for :math:`Z_g'(\oplus R^{-1})W` of every group, as long as a pupil's results stand in
one group of every level.  The stored :math:`P_{mst}` are sums over pupils, so they add up over
chunks, and for any :math:`R` the cross-products of the whitened rows are a combination of them with
:math:`\log|\oplus R| = \sum_m n_m\log|R_m|`.  Where rows are not linked by a pupil key every row is
a pattern of its own, and only the subjects' residual variances enter.

The number of strata is that of pairs of subjects over the patterns met: with all :math:`2^S - 1`
patterns :math:`S(S+3)2^{S-3}`, which is 5 at two subjects, 18 at three, 56 at four, 432 at six.  A
group meets few of the patterns and a pair of subjects few of the columns, so the strata are kept
sparse and memory grows with what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import CrossProducts, LevelProducts
from resilience.stats.engine.elimination_adjoint import ProductSensitivities

__all__ = ["StrataProducts", "Stratum"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Pattern = tuple[int, ...]
Stratum = tuple[Pattern, int, int]

_LARGEST = 8.0  # GB of strata


@dataclass(frozen=True, kw_only=True, eq=False)
class StrataProducts:
    """Additive cross-products by pattern of subjects and pair of subjects.

    Attributes
    ----------
    subjects : tuple
        Labels of the subjects, in the order of the residual covariance.
    plain : CrossProducts
        The cross-products of all rows without any residual structure: columns, groups and their
        sizes are read here.
    strata : tuple of (pattern, s, t)
        Positions of the subjects of a pattern, and the pair s ≤ t among them.
    patterns : dict of {pattern: int}
        Pupils (without a pupil key: rows) of each pattern.
    totals : ndarray of shape (n_strata, P, P)
        Per stratum the symmetric cross-products.
    group_products : tuple of sparse arrays of shape (n_strata, n_groups * q * P)
        Per level the same for the groups, each flattened.
    group_rows : tuple of ndarray of shape (n_strata, n_groups)
        Per level the pupils of each stratum in each group.
    linked : bool
        Whether a pupil key ties the rows of one pupil.
    """

    subjects: tuple[Any, ...]
    plain: CrossProducts
    strata: tuple[Stratum, ...]
    patterns: dict[Pattern, int]
    totals: Floats
    group_products: tuple[sparse.csr_array, ...]
    group_rows: tuple[Codes, ...]
    linked: bool

    @classmethod
    def from_arrays(
        cls,
        X: Floats,
        y: Floats,
        *,
        columns: Sequence[str],
        subject: NDArray[np.generic],
        unit: NDArray[np.generic] | None = None,
        groups: Sequence[tuple[str, NDArray[np.generic], Sequence[str]]] = (),
        weights: Floats | None = None,
        units: tuple[Floats, Floats] | None = None,
    ) -> StrataProducts:
        """Make one pass over the rows.

        Parameters
        ----------
        X, y, columns, groups, weights
            As in `CrossProducts.from_arrays`.
        subject : ndarray of shape (n_rows,)
            Subject of each row.
        unit : ndarray of shape (n_rows,), optional
            Pupil of each row; all rows of a pupil must be in one call.
        units : (centre, scale), optional
            Of the covariates and the outcome, shapes (n_columns + 1,).

        Returns
        -------
        StrataProducts

        Raises
        ------
        DataError
            If a pupil has two rows of one subject, or rows in two groups of a level.
        SpecificationError
            What `CrossProducts.from_arrays` raises.
        """
        centre, scale = (None, None) if units is None else units
        plain = CrossProducts.from_arrays(
            X, y, columns=columns, groups=groups, weights=weights, centre=centre, scale=scale
        )
        own, code = np.unique(subject, return_inverse=True)
        code = code.reshape(-1).astype(np.int64)
        block = np.column_stack([np.ones(len(code)), X, y]).astype(float, copy=False)
        block[:, 1:] = (block[:, 1:] - plain.centre[1:]) / plain.scale[1:]
        used = np.arange(len(code))
        if weights is not None:
            block *= np.sqrt(np.asarray(weights, dtype=float))[:, None]
            used = np.flatnonzero(np.asarray(weights) > 0)
        positions = _positions(groups)
        for (name, _, _), position in zip(groups, positions, strict=True):
            if unit is not None:
                _check_one_group(np.asarray(unit)[used], position[used], name)
        members = _members(code[used], None if unit is None else np.asarray(unit)[used])
        strata: list[Stratum] = []
        kept = _Kept()
        for pattern, rows in members.items():
            at = [used[column] for column in rows.T]
            for i, s in enumerate(pattern):
                for k, t in enumerate(pattern[i:], start=i):
                    strata.append((pattern, s, t))
                    kept.add(_paired(plain, block, (at[i], at[k]), positions))
        return cls(
            subjects=tuple(own.tolist()),
            plain=plain,
            strata=tuple(strata),
            patterns={pattern: len(rows) for pattern, rows in members.items()},
            linked=unit is not None,
            **kept.stacked(),
        )

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return len(self.subjects)

    def pairs(self) -> NDArray[np.int64]:
        """Return how many pupils sat each two subjects, shape (S, S); the diagonal: each one."""
        found = np.zeros((self.n_subjects, self.n_subjects), dtype=np.int64)
        for pattern, n in self.patterns.items():
            found[np.ix_(pattern, pattern)] += n
        return found

    def rows_by_subject(self, level: int) -> NDArray[np.int64]:
        """Return the rows of each group of a level in each subject, shape (n_groups, S)."""
        rows = self.group_rows[level]
        found = np.zeros((rows.shape[1], self.n_subjects), dtype=np.int64)
        for (_, s, t), own in zip(self.strata, rows, strict=True):
            if s == t:
                found[:, s] += own
        return found

    def pupils(self, level: int) -> NDArray[np.int64]:
        """Return the pupils of each group of a level, shape (n_groups,).

        Without a pupil key it is the largest number of rows in one subject: no fewer pupils can
        have given them.
        """
        if not self.linked:
            return np.asarray(self.rows_by_subject(level).max(axis=1))
        rows = self.group_rows[level]
        found = np.zeros(rows.shape[1], dtype=np.int64)
        for (pattern, s, t), own in zip(self.strata, rows, strict=True):
            if s == t == pattern[0]:
                found += own
        return found

    def of_subject(self, subject: int) -> CrossProducts:
        """Return the plain cross-products of the rows of one subject (weights included)."""
        return self.combine(np.array([float(s == t == subject) for _, s, t in self.strata]))

    def coefficients(self, R: Floats) -> Floats:
        """Return the coefficient of every stratum at a residual covariance, shape (n_strata,)."""
        inverse = {m: np.linalg.inv(R[np.ix_(m, m)]) for m in self.patterns}
        return np.array([inverse[m][m.index(s), m.index(t)] for m, s, t in self.strata])

    def log_determinant(self, R: Floats) -> float:
        """Return the log-determinant of all residuals' relative covariance."""
        return sum(
            n * float(np.linalg.slogdet(R[np.ix_(m, m)])[1]) for m, n in self.patterns.items()
        )

    def combine(self, coefficients: Floats, *, log_determinant: float = 0.0) -> CrossProducts:
        """Return the combination of the strata as ordinary cross-products.

        Parameters
        ----------
        coefficients : ndarray of shape (n_strata,)
            What `coefficients` returns, or any others.
        log_determinant : float
            What `log_determinant` returns: it goes with the weights, so that criteria keep all
            their constants.
        """
        levels = tuple(
            replace(level, products=(products.T @ coefficients).reshape(level.products.shape))
            for level, products in zip(self.plain.levels, self.group_products, strict=True)
        )
        return replace(
            self.plain,
            total=np.tensordot(coefficients, self.totals, axes=1),
            levels=levels,
            log_weights=self.plain.log_weights - log_determinant,
        )

    def whitened(self, R: Floats) -> CrossProducts:
        """Return the cross-products whose residuals are independent with one variance.

        Parameters
        ----------
        R : ndarray of shape (S, S)
            Residual covariance of the subjects relative to the residual variance; without linked
            rows only its diagonal counts.
        """
        return self.combine(self.coefficients(R), log_determinant=self.log_determinant(R))

    def sensitivity(
        self, adjoint: ProductSensitivities, R: Floats, *, log_determinant: float = 1.0
    ) -> Floats:
        r"""Return the derivative of a scalar in the residual covariance, shape (S, S).

        With :math:`A_m` the derivatives in the coefficients (halved off the diagonal) it is
        :math:`\sum_m n_mR_m^{-1} - R_m^{-1}A_mR_m^{-1}`, the first part for the log-determinant.

        Parameters
        ----------
        adjoint : ProductSensitivities
            Derivative in the cross-products at ``whitened(R)``.
        R : ndarray of shape (S, S)
            Residual covariance.
        log_determinant : float
            Derivative of the scalar in the log-determinant of all residuals.
        """
        slopes = np.tensordot(self.totals, adjoint.total, axes=2)
        for products, own in zip(self.group_products, adjoint.products, strict=True):
            slopes = slopes + products @ own.reshape(-1)
        parts = {m: np.zeros((self.n_subjects, self.n_subjects)) for m in self.patterns}
        for (m, s, t), slope in zip(self.strata, slopes, strict=True):
            parts[m][s, t] += 0.5 * slope
            parts[m][t, s] += 0.5 * slope
        found = np.zeros((self.n_subjects, self.n_subjects))
        for pattern, n in self.patterns.items():
            A = parts[pattern][np.ix_(pattern, pattern)]
            inverse = np.linalg.inv(R[np.ix_(pattern, pattern)])
            found[np.ix_(pattern, pattern)] += log_determinant * n * inverse - inverse @ A @ inverse
        return found

    def recentred(self, centre: Floats, scale: Floats) -> StrataProducts:
        """Return the same strata in other units: an exact linear map, as `CrossProducts` does."""
        return self._mapped(lambda cross: cross.recentred(centre, scale))

    def merge(self, other: StrataProducts) -> StrataProducts:
        """Return the strata of both sets of rows together; no pupil may stand in both.

        Raises
        ------
        SpecificationError
            If columns, levels, random terms or the linking of rows differ.
        """
        if self.linked != other.linked:
            raise SpecificationError(text("engine.merge"))
        subjects = tuple(np.unique([*self.subjects, *other.subjects]).tolist())
        mine, theirs = self._numbered(subjects), other._numbered(subjects)
        strata = tuple(dict.fromkeys([*mine.strata, *theirs.strata]))
        kept = _Kept()
        for key in strata:
            kept.add(mine._view(key).merge(theirs._view(key)))
        patterns = dict(mine.patterns)
        for pattern, n in theirs.patterns.items():
            patterns[pattern] = patterns.get(pattern, 0) + n
        return replace(
            mine,
            plain=mine.plain.merge(theirs.plain),
            strata=strata,
            patterns=patterns,
            **kept.stacked(),
        )

    def _numbered(self, subjects: tuple[Any, ...]) -> StrataProducts:
        """Return the strata under the positions of a longer list of subjects."""
        place = [subjects.index(s) for s in self.subjects]
        new = {m: tuple(place[s] for s in m) for m in self.patterns}
        return replace(
            self,
            subjects=subjects,
            strata=tuple((new[m], place[s], place[t]) for m, s, t in self.strata),
            patterns={new[m]: n for m, n in self.patterns.items()},
        )

    def _view(self, key: Stratum) -> CrossProducts:
        """Return one stratum as cross-products; zeros where there is no such stratum."""
        chosen = np.array([float(key == own) for own in self.strata])
        view = self.combine(chosen)
        levels = tuple(
            replace(level, n_rows=(chosen @ rows).astype(np.int64))
            for level, rows in zip(view.levels, self.group_rows, strict=True)
        )
        return replace(view, levels=levels)

    def _mapped(self, change: Callable[[CrossProducts], CrossProducts]) -> StrataProducts:
        kept = _Kept()
        for key in self.strata:
            kept.add(change(self._view(key)))
        return replace(self, plain=change(self.plain), **kept.stacked())


class _Kept:
    """Strata on their way into the arrays of `StrataProducts`, one after the other."""

    def __init__(self) -> None:
        self.totals: list[Floats] = []
        self.products: list[list[sparse.csr_array]] = []
        self.rows: list[list[Codes]] = []
        self.bytes = 0

    def add(self, view: CrossProducts) -> None:
        """Keep one stratum; raise where they would outgrow the memory of an ordinary machine."""
        own = [sparse.csr_array(v.products.reshape(1, -1)) for v in view.levels]
        self.totals.append(view.total)
        self.products.append(own)
        self.rows.append([v.n_rows for v in view.levels])
        self.bytes += sum(one.data.nbytes + one.indices.nbytes for one in own)
        if self.bytes > _LARGEST * 1e9:
            raise SpecificationError(
                text("subjects.memory", strata=len(self.totals), needed=f"{_LARGEST:g}")
            )

    def stacked(self) -> dict[str, Any]:
        """Return the arrays by the names of the attributes."""
        return {
            "totals": np.array(self.totals),
            "group_products": tuple(
                sparse.csr_array(sparse.vstack(level)) for level in zip(*self.products, strict=True)
            ),
            "group_rows": tuple(np.array(level) for level in zip(*self.rows, strict=True)),
        }


def _positions(groups: Sequence[tuple[str, NDArray[np.generic], Sequence[str]]]) -> list[Codes]:
    """Return each row's group per level, numbered as `CrossProducts` numbers them."""
    found: list[Codes] = []
    outer: Codes | None = None
    for _, labels, _ in groups:
        own, code = np.unique(labels, return_inverse=True)
        code = code.reshape(-1).astype(np.int64)
        if outer is not None:
            code = outer * np.int64(len(own)) + code
        _, position = np.unique(code, return_inverse=True)
        outer = position.reshape(-1).astype(np.int64)
        found.append(outer)
    return found


def _members(subject: Codes, unit: NDArray[np.generic] | None) -> dict[Pattern, Codes]:
    """Return per pattern of subjects the rows of its pupils, shape (n_pupils, n_subjects)."""
    if unit is None:
        return {
            (int(s),): np.flatnonzero(subject == s)[:, None]
            for s in range(int(subject.max(initial=-1)) + 1)
        }
    _, pupil = np.unique(unit, return_inverse=True)
    pupil = pupil.reshape(-1)
    order = np.lexsort((subject, pupil))
    twice = (np.diff(pupil[order]) == 0) & (np.diff(subject[order]) == 0)
    if twice.any():
        raise DataError(text("subjects.twice", n=int(twice.sum())))
    n_subjects = int(subject.max(initial=-1)) + 1
    place = np.full((int(pupil.max(initial=-1)) + 1, n_subjects), -1, dtype=np.int64)
    place[pupil, subject] = np.arange(len(subject))
    kinds, kind = np.unique(place >= 0, axis=0, return_inverse=True)
    found: dict[Pattern, Codes] = {}
    for k, sat in enumerate(kinds):
        pattern = tuple(int(s) for s in np.flatnonzero(sat))
        found[pattern] = place[kind.reshape(-1) == k][:, sat]
    return found


def _check_one_group(unit: NDArray[np.generic], position: Codes, name: str) -> None:
    """Raise if a pupil's rows stand in two groups: their tie would couple the groups."""
    _, pupil = np.unique(unit, return_inverse=True)
    pupil = pupil.reshape(-1)
    first = np.full(int(pupil.max(initial=-1)) + 1, -1, dtype=np.int64)
    first[pupil[::-1]] = position[::-1]
    apart = np.unique(pupil[position != first[pupil]])
    if len(apart):
        raise DataError(text("subjects.two_groups", level=repr(name), n=len(apart)))


def _paired(
    plain: CrossProducts, block: Floats, pair: tuple[Codes, Codes], positions: Sequence[Codes]
) -> CrossProducts:
    """Return the cross-products of pairs of rows, both ways where the rows differ."""
    first, second = pair
    ways = [(first, first)] if first is second else [(first, second), (second, first)]
    return replace(
        plain,
        total=sum((block[a].T @ block[b] for a, b in ways), start=np.zeros_like(plain.total)),
        levels=tuple(
            replace(
                level,
                products=sum(
                    (_group_sums(block, way, position, level) for way in ways),
                    start=np.zeros_like(level.products),
                ),
                n_rows=np.bincount(position[first], minlength=level.n_groups).astype(np.int64),
            )
            for level, position in zip(plain.levels, positions, strict=True)
        ),
    )


def _group_sums(
    block: Floats, way: tuple[Codes, Codes], position: Codes, level: LevelProducts
) -> Floats:
    """Return Z'W per group with Z from the first rows and W from the second."""
    left, right = way
    found = np.empty_like(level.products)
    at = np.arange(len(left) + 1)
    shape = (len(left), level.n_groups)
    for k, column in enumerate(level.columns):
        indicator = sparse.csr_array((block[left, column], position[left], at), shape=shape)
        found[:, k] = np.asarray(indicator.T @ block[right])
    return found
