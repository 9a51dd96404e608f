"""Variances of persistent and transient effects from yearly residuals of schools."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["year_variances"]

Floats = NDArray[np.float64]


def year_variances(residual: Floats, sampling_variance: Floats) -> tuple[float, float]:
    r"""Return :math:`(\sigma_u^2, \sigma_v^2)` by restricted maximum likelihood.

    With :math:`w_{jt} = 1/(\sigma_v^2 + s_{jt}^2)`, :math:`A_j = \sum_t w_{jt}` and means of the
    years as fixed part

    .. math::

       -2\ell = \sum_j \Big[\sum_t \log\frac{1}{w_{jt}} + \log(1 + \sigma_u^2 A_j)
       + \sum_t w_{jt} r_{jt}^2
       - \Big(\sum_t w_{jt} r_{jt}\Big)^2 \frac{\sigma_u^2}{1 + \sigma_u^2 A_j}\Big]
       + \log\Big|\sum_j X_j'V_j^{-1}X_j\Big| .

    Parameters
    ----------
    residual, sampling_variance : ndarray of shape (S, T)
        d and s²; NaN in both where a school has no data.

    Raises
    ------
    DataError
        If no school has two years: what passes cannot be told from what lasts.

    References
    ----------
    PattersonThompson1971.
    """
    there = ~np.isnan(residual)
    if not (there.sum(axis=1) > 1).any():
        raise DataError(text("events.one_year"))
    used = there.any(axis=0)
    there = there[:, used]
    d = np.where(there, residual[:, used], 0.0)
    s2 = np.where(there, sampling_variance[:, used], 1.0)

    def criterion(sds: Floats) -> float:
        persistent, transient = sds[0] ** 2, sds[1] ** 2
        w = np.where(there, 1.0 / np.maximum(transient + s2, 1e-12), 0.0)
        A = w.sum(axis=1)
        f = persistent / (1.0 + persistent * A)
        # X'V⁻¹X and X'V⁻¹d of means of years: diagonal sums less what the school shares
        G = np.diag(w.sum(axis=0)) - (w * f[:, None]).T @ w
        g = (w * d).sum(axis=0) - (w * (f * (w * d).sum(axis=1))[:, None]).sum(axis=0)
        r = np.where(there, d - np.linalg.solve(G, g), 0.0)
        fit = (w * r**2).sum() - (f * (w * r).sum(axis=1) ** 2).sum()
        logs = -np.log(w[there]).sum() + np.log1p(persistent * A).sum()
        return float(logs + fit + np.linalg.slogdet(G)[1])

    spread = float(np.std(d[there])) or 1.0
    runs = [
        optimize.minimize(
            criterion,
            np.array([a, b]) * spread,
            method="L-BFGS-B",
            bounds=[(0.0, 10 * spread)] * 2,
            options={"ftol": 1e-12, "gtol": 1e-8},
        )
        for a, b in ((0.7, 0.3), (0.3, 0.7))
    ]
    best = min(runs, key=lambda run: float(run.fun))
    persistent, transient = (float(x) ** 2 for x in best.x)
    return persistent, transient
