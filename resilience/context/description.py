"""How far the items hang together: a description, since an index formed by its items need not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["component_weights", "cronbach_alpha", "factor_omega", "standardised_alpha"]

Floats = npt.NDArray[np.float64]


def standardised_alpha(mean_correlation: float, n_items: int) -> float:
    r"""Return :math:`\alpha = K\bar r/(1+(K-1)\bar r)`.

    Parameters
    ----------
    mean_correlation : float
        Mean correlation between different items.
    n_items : int
        K, at least 2.

    Raises
    ------
    SpecificationError
        If there are fewer than 2 items: one item has no consistency with others.

    References
    ----------
    Cronbach1951.
    """
    if n_items < 2:
        raise SpecificationError(text("context.alpha_items", n=n_items))
    return n_items * mean_correlation / (1 + (n_items - 1) * mean_correlation)


def cronbach_alpha(correlation: Floats) -> float:
    """Return alpha of standardised items from their correlations; NaN for a single item."""
    n_items = correlation.shape[0]
    if n_items < 2:
        return float("nan")
    mean = (correlation.sum() - n_items) / (n_items * (n_items - 1))
    return standardised_alpha(float(mean), n_items)


def factor_omega(correlation: Floats) -> float:
    r"""Return :math:`\omega = (\Sigma\lambda)^2/((\Sigma\lambda)^2+\Sigma\psi)` of one factor.

    Parameters
    ----------
    correlation : ndarray of shape (n_items, n_items)
        Correlations of the signed items.

    Returns
    -------
    float
        In 0..1; NaN below 3 items, where one factor is not identified.

    References
    ----------
    McDonald1999.
    """
    n_items = correlation.shape[0]
    if n_items < 3:
        return float("nan")
    from sklearn.decomposition import FactorAnalysis

    # Rows ±√K·(square root of R) have mean zero and covariance R exactly: the estimator sees the
    # pupil-weighted correlations although it takes no weights.
    eigenvalues, vectors = np.linalg.eigh(correlation)
    root = (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ vectors.T * np.sqrt(n_items)
    model = FactorAnalysis(1, svd_method="lapack", tol=1e-8, max_iter=10_000)
    model.fit(np.vstack([root, -root]))
    common = float(model.components_[0].sum()) ** 2
    return common / (common + float(model.noise_variance_.sum()))


def component_weights(loadings: Floats) -> Floats:
    r"""Return the weights of a component score, loading / Σ loading².

    Parameters
    ----------
    loadings : ndarray of shape (n_items,)
        Correlations of the items with the component.

    Returns
    -------
    ndarray of shape (n_items,)
        Weights of the standardised items in the component scaled to unit variance.

    References
    ----------
    Avvisati2020, table 3.
    """
    return np.asarray(loadings / np.sum(loadings**2))
