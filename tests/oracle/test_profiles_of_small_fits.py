"""Profile intervals of small regions with slopes: a table for every layout, singular ones too."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs


@pytest.mark.parametrize("seed", [0, 2, 3, 9, 10, 11])
def test_every_small_region_gets_a_table(seed):
    """Searches along a profile may stray to where no likelihood exists; they come back."""
    rng = np.random.default_rng(seed)
    n_schools = int(rng.integers(6, 20))
    school = np.repeat(np.arange(n_schools), rng.integers(3, 10, n_schools))
    n = len(school)
    z = 1.0 + 0.5 * rng.normal(size=n)
    own = [[0.7], [0.5]] * rng.normal(size=(2, n_schools))
    y = 0.3 * z + own[0, school] + own[1, school] * z + rng.normal(size=n)
    pupils = pd.DataFrame({"school_id": school, "z": z, "y": y})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        va = rs.ValueAddedModel("y ~ z", group="school_id", slopes="z").fit(pupils)
        table = va.variance_intervals(level=0.9)
    spreads = table[table["component"] == "std_dev"]
    known = spreads.dropna(subset=["conf_low", "conf_high"])
    assert (known["conf_low"] <= known["estimate"] + 1e-9).all()
    assert (known["conf_high"] >= known["estimate"] - 1e-9).all()
    assert (known["conf_low"] >= 0.0).all()
    # the residual is always known well
    residual = spreads[spreads["group"] == "residual"].iloc[0]
    assert 0.0 < residual["conf_low"] < residual["estimate"] < residual["conf_high"] < 3.0
