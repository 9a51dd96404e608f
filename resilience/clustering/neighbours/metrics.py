r"""What counts how much in the distance of two schools.

.. math:: d_{ij}^2 = \sum_k w_k \lVert z_{ik} - z_{jk} \rVert^2, \qquad \sum_k w_k = 1

over variables k; all columns of one variable share its weight.  Two random schools have
:math:`E d^2 = 2` where all variables are numbers or shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.clusters.partitions import Codes, Floats

__all__ = ["Metric", "MetricWeights", "equal_weights", "mahalanobis_rows", "supervised_weights"]

Metric = Literal["equal", "supervised", "mahalanobis"]

_LEARNT, _FLOOR = 0.75, 0.25  # parts of the weights that follow the regression, and that all share
_RIDGE = 0.05  # of unit variances: keeps nearly copied variables from blowing the distance up
_FOLDS = 10
_PER_COLUMN = 5  # schools for every slope


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricWeights:
    """Weights of the variables for every school.

    Attributes
    ----------
    weights : ndarray of shape (folds, K)
        Weights of the variables, each row summing to 1; read-only.
    fold : ndarray of shape (S,)
        Which row of the weights holds for a school's own distances.
    """

    weights: Floats
    fold: Codes

    def __post_init__(self) -> None:
        for name in ("weights", "fold"):
            frozen = np.array(getattr(self, name))
            frozen.setflags(write=False)
            object.__setattr__(self, name, frozen)


def equal_weights(scaled: ScaledSchools) -> MetricWeights:
    """Return equal weights, or those stated in the conditions."""
    given = np.array([float(scaled.conditions.weights.get(v, 1.0)) for v in scaled.variables])
    return MetricWeights(
        weights=(given / given.sum())[None, :],
        fold=np.zeros(len(scaled.schools), dtype=np.int64),
    )


def supervised_weights(
    values: Floats, blocks: tuple[str, ...], variables: tuple[str, ...], outcome: Floats
) -> Floats:
    r"""Return weights by the part of the outcome that every variable predicts.

    .. math:: w_k = .75\, v_k / \sum v + .25 / K

    with :math:`v_k` the variance of the variable's part of the regression, :math:`b_k^2` for a
    single column of unit variance: the square, because :math:`(b_k \Delta z_k)^2` is its part of
    the predicted difference of two schools.

    Parameters
    ----------
    values : ndarray of shape (S, P)
        Scaled columns, complete.
    blocks : tuple of str
        Variable of every column.
    variables : tuple of str
        Variables in their order.
    outcome : ndarray of shape (S,)
        Results.

    Raises
    ------
    DataError
        If there are fewer than five schools per column.
    """
    if len(outcome) < _PER_COLUMN * values.shape[1]:
        raise DataError(
            text("neighbours.few_results", n=len(outcome), needed=_PER_COLUMN * values.shape[1])
        )
    centred = values - values.mean(axis=0)
    # dummies of all levels sum to a constant: the least-norm slopes spread over them
    slopes, *_ = np.linalg.lstsq(centred, outcome - outcome.mean(), rcond=None)
    own = np.array(blocks)
    parts = np.array([float((centred[:, own == v] @ slopes[own == v]).var()) for v in variables])
    total = parts.sum()
    share = parts / total if total > 0 else np.full(len(parts), 1.0 / len(parts))
    return np.asarray(_LEARNT * share + _FLOOR / len(parts))


def cross_fitted(scaled: ScaledSchools, outcome: Floats) -> MetricWeights:
    """Return weights for every tenth of the schools, learnt from the other nine.

    For a table of a single year: no school's own result helps to choose what it is compared by.
    """
    known = scaled.complete & np.isfinite(outcome)
    n_folds = min(_FOLDS, max(int(known.sum()) // 2, 1))
    ids = scaled.schools["school_id"].astype(str).to_numpy(dtype=object)
    # by id, so that the order of the rows changes nothing
    order = np.argsort(np.argsort(ids, kind="stable"), kind="stable") % n_folds
    rows = []
    for fold in range(n_folds):
        others = known & (order != fold)
        rows.append(
            supervised_weights(scaled.z[others], scaled.blocks, scaled.variables, outcome[others])
        )
    return MetricWeights(weights=np.array(rows), fold=order.astype(np.int64))


def mahalanobis_rows(values: Floats, complete: NDArray[np.bool_]) -> Floats:
    """Return rows whose Euclidean distance is Mahalanobis' over the square root of their number.

    Parameters
    ----------
    values : ndarray of shape (S, P)
        Scaled columns.
    complete : ndarray of shape (S,), bool
        Rows that the covariance is taken of.
    """
    known = values[complete]
    covariance = np.atleast_2d(np.cov(known, rowvar=False, bias=True))
    ridged = covariance + _RIDGE * np.eye(len(covariance))
    root = np.linalg.cholesky(np.linalg.inv(ridged))
    return np.asarray(values @ root / np.sqrt(values.shape[1]))
