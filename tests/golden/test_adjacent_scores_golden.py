"""Published figures of the adjacent-score test."""

from __future__ import annotations

import pytest

from resilience.stats.integrity.adjacent_power import power_of_pupils
from resilience.stats.integrity.adjacent_scores import pool_windows

# methods/detection.md section 13: 14 % of pupils in the window, q = .5, level .01
POWER = {
    0.4: {60: 0.05, 150: 0.24, 300: 0.56, 600: 0.90},
    0.8: {60: 0.37, 150: 0.93, 300: 1.00, 600: 1.00},
}


@pytest.mark.parametrize(("moved", "n"), [(m, n) for m, row in POWER.items() for n in row])
def test_power_table(moved, n):
    # printed with two decimals, and .935 may be cut or rounded
    assert power_of_pupils(n, 0.14, 0.5, moved) == pytest.approx(POWER[moved][n], abs=0.01)


def test_eighteen_of_twenty_four():
    one = pool_windows([0], [24], [18], [0.5], n_units=1)
    assert one.p_value[0] == pytest.approx(0.01133, abs=5e-6)
    assert one.mid_p[0] == pytest.approx(0.00732, abs=5e-6)
