r"""How reliable priors are: of a pupil's score, within schools, and of a school's mean.

With the true variances :math:`\tau^2` between schools (and years) and :math:`\omega^2` within, and
the mean error variance :math:`\sigma_\delta^2`,

.. math::

   \rho = \frac{\tau^2 + \omega^2}{\tau^2 + \omega^2 + \sigma_\delta^2}, \qquad
   \kappa = \frac{\omega^2}{\omega^2 + \sigma_\delta^2}, \qquad
   \lambda_n = \frac{\tau^2}{\tau^2 + (\omega^2 + \sigma_\delta^2)/n} .
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from resilience.value_added.intake.measurement_error import Calibration

__all__ = ["reliability_table"]


def reliability_table(calibration: Calibration, given: Mapping[str, float | str]) -> pd.DataFrame:
    """Return what errors of the priors were reckoned with.

    Parameters
    ----------
    calibration : Calibration
        Priors, errors and cells.
    given : mapping of {column: float or str}
        Reliability, or column of error variances, of each prior.

    Returns
    -------
    DataFrame
        ``column reliability_source error_variance prior_reliability prior_reliability_within
        prior_reliability_mean median_cell_size``.
    """
    moments = calibration.moments()
    size = float(np.median(np.bincount(calibration.cells)))
    rows = []
    for k, name in enumerate(calibration.prone):
        error, within = float(moments.error[k]), float(moments.within[k, k])
        between = float(moments.between[k, k] + moments.years[k, k])
        how = given[name]
        rows.append(
            {
                "column": name,
                "reliability_source": how if isinstance(how, str) else f"{float(how):g}",
                "error_variance": error,
                "prior_reliability": (between + within) / (between + within + error),
                "prior_reliability_within": within / (within + error),
                "prior_reliability_mean": between / (between + (within + error) / size),
                "median_cell_size": size,
            }
        )
    return pd.DataFrame(rows)
