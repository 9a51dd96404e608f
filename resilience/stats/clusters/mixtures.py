r"""Probabilities of membership in a mixture of normal distributions, also of incomplete rows.

.. math:: p_{ig} \propto \pi_g \, \varphi(x_i; \mu_g, \Sigma_g)

Of a row with missing values the density of the known part decides, which for a normal distribution
takes the same means and the same block of the covariance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from resilience.stats.clusters.partitions import Floats

__all__ = ["Mixture"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """A mixture of normal distributions.

    Attributes
    ----------
    weights : ndarray of shape (k,)
        Shares of the components.
    means : ndarray of shape (k, p)
        Their means.
    covariances : ndarray of shape (k, p, p)
        Their covariances.
    """

    weights: Floats
    means: Floats
    covariances: Floats

    def memberships(self, rows: Floats) -> Floats:
        """Return the probability of every component for every row; NaN for a row of nothing.

        Parameters
        ----------
        rows : ndarray of shape (n, p)
            NaN where a value is missing.
        """
        known = ~np.isnan(rows)
        patterns, which = np.unique(known, axis=0, return_inverse=True)
        found = np.full((len(rows), len(self.weights)), np.nan)
        for number, pattern in enumerate(patterns):
            if pattern.any():
                chosen = which.reshape(-1) == number
                found[chosen] = self._of(rows[chosen][:, pattern], pattern)
        return found

    def _of(self, rows: Floats, pattern: np.ndarray) -> Floats:
        logs = np.empty((len(rows), len(self.weights)))
        for g, weight in enumerate(self.weights):
            root = np.linalg.cholesky(self.covariances[g][np.ix_(pattern, pattern)])
            apart = solve_triangular(root, (rows - self.means[g][pattern]).T, lower=True)
            logs[:, g] = np.log(weight) - np.log(np.diag(root)).sum() - 0.5 * (apart**2).sum(axis=0)
        logs -= logs.max(axis=1, keepdims=True)
        shares = np.exp(logs)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))
