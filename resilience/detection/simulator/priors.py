"""Beta priors of many simulated tables at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from resilience.stats.proportions import fit_beta_prior

__all__ = ["beta_priors"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MOST_STEPS = 25
_SMALL = 1e-7  # gradient of the log-likelihood per school
_LOG_PRECISION = (np.log(0.2), np.log(1e4))  # the bounds of ``fit_beta_prior``


def beta_priors(failing: Integers, n: Integers) -> tuple[Floats, Floats]:
    r"""Return α and β of the beta-binomial likelihood of each row of counts.

    Newton's method in :math:`\log(\mu/(1-\mu))` and :math:`\log(\alpha+\beta)`, all rows at once
    from one start; rows that do not settle inside the bounds are left to
    ``stats.proportions.fit_beta_prior``, which gives the same maximum.

    Parameters
    ----------
    failing : ndarray of int, shape (n_replicates, n_schools)
        Failing.
    n : ndarray of int, shape (n_schools,)
        Participants; schools without any carry no information.

    Raises
    ------
    DataError
        With fewer than two schools that have participants.

    References
    ----------
    Griffiths1973.
    """
    keep = n > 0
    f, m = failing[:, keep].astype(float), n[keep].astype(float)
    start = fit_beta_prior(failing[0, keep], n[keep])
    logit = np.full(len(f), special.logit(start.mean))
    log_precision = np.full(len(f), np.log(start.alpha + start.beta))
    todo = np.arange(len(f))
    for _ in range(_MOST_STEPS):
        step, gradient = _step(f[todo], m, logit[todo], log_precision[todo])
        settled = np.abs(gradient).max(axis=1) < _SMALL * len(m)
        todo, step = todo[~settled], step[~settled]
        if not len(todo):
            break
        logit[todo] += np.clip(step[:, 0], -1.0, 1.0)
        log_precision[todo] = np.clip(
            log_precision[todo] + np.clip(step[:, 1], -1.0, 1.0), *_LOG_PRECISION
        )
    mean, precision = special.expit(logit), np.exp(log_precision)
    alpha, beta = mean * precision, (1 - mean) * precision
    for row in todo:
        prior = fit_beta_prior(failing[row, keep], n[keep])
        alpha[row], beta[row] = prior.alpha, prior.beta
    return alpha, beta


def _step(f: Floats, m: Floats, logit: Floats, log_precision: Floats) -> tuple[Floats, Floats]:
    """Return Newton's step and the gradient, each of shape (n_rows, 2).

    Where the Hessian is not negative definite the step goes up the gradient.
    """
    mean, s = special.expit(logit)[:, None], np.exp(log_precision)[:, None]
    a, b = mean * s, (1 - mean) * s
    total = special.digamma(s) - special.digamma(s + m)
    da = (special.digamma(a + f) - special.digamma(a) + total).sum(axis=1)
    db = (special.digamma(b + m - f) - special.digamma(b) + total).sum(axis=1)
    shared = (special.polygamma(1, s) - special.polygamma(1, s + m)).sum(axis=1)
    daa = (special.polygamma(1, a + f) - special.polygamma(1, a)).sum(axis=1) + shared
    dbb = (special.polygamma(1, b + m - f) - special.polygamma(1, b)).sum(axis=1) + shared
    a, b, q = a[:, 0], b[:, 0], (mean * (1 - mean) * s)[:, 0]
    tilt = 1 - 2 * mean[:, 0]
    # α = μs, β = (1−μ)s: dα/dlogit = q, dβ/dlogit = −q, dα/dlog s = α, dβ/dlog s = β
    g1, g2 = q * (da - db), a * da + b * db
    h11 = q * q * (daa - 2 * shared + dbb) + tilt * g1
    h22 = a * a * daa + 2 * a * b * shared + b * b * dbb + g2
    h12 = q * (a * daa + (b - a) * shared - b * dbb) + g1
    determinant = h11 * h22 - h12 * h12
    concave = (h11 < 0) & (determinant > 0)
    safe = np.where(concave, determinant, 1.0)
    gradient = np.stack([g1, g2], axis=1)
    newton = -np.stack([h22 * g1 - h12 * g2, h11 * g2 - h12 * g1], axis=1) / safe[:, None]
    return np.where(concave[:, None], newton, 0.3 * np.sign(gradient)), gradient
