"""Every row of the two tables of the list null, and the published example of regression to mean."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, special, stats

from resilience.errors import SpecificationError
from resilience.stats.regression_to_mean import (
    Selection,
    cut_regression,
    exit_probability,
    leave_rate,
    list_null,
    mean_gain,
    null_hazard,
    positive_dynamics,
    school_persistence,
    truly_low,
    window_correlation,
)

# r, q, leave, gain in SD, positive dynamics: the specification of programmes, section 1
TABLE = [
    (0.50, 0.10, 0.6760, 0.8775, 0.8380),
    (0.62, 0.05, 0.6746, 0.7838, 0.8373),
    (0.62, 0.10, 0.5953, 0.6669, 0.7977),
    (0.62, 0.20, 0.4909, 0.5319, 0.7454),
    (0.62, 0.26, 0.4422, 0.4741, 0.7211),
    (0.70, 0.26, 0.3913, 0.3743, 0.6957),
    (0.80, 0.10, 0.4376, 0.3510, 0.7188),
    (0.80, 0.26, 0.3179, 0.2495, 0.6590),
    (0.90, 0.05, 0.3626, 0.2063, 0.6813),
    (0.90, 0.10, 0.3114, 0.1755, 0.6557),
]
DIGITS = 5.1e-5  # half of the last digit printed


@pytest.mark.parametrize(("r", "q", "leave", "gain", "positive"), TABLE)
def test_table_of_the_list_null(r, q, leave, gain, positive):
    found = list_null(q, r)
    assert found.leave == pytest.approx(leave, abs=DIGITS)
    assert found.gain == pytest.approx(gain, abs=DIGITS)
    assert found.positive_dynamics == pytest.approx(positive, abs=DIGITS)


@pytest.mark.parametrize(
    ("r", "q", "leave", "gain", "positive"),
    [
        (0.62, 0.05, 67, 0.78, 84),
        (0.62, 0.10, 60, 0.67, 80),
        (0.62, 0.26, 44, 0.47, 72),
        (0.80, 0.10, 44, 0.35, 72),
        (0.90, 0.10, 31, 0.18, 66),
    ],
)
def test_rounded_table_of_the_list_null(r, q, leave, gain, positive):
    """The table of detection, section 11, in per cent."""
    found = list_null(q, r)
    assert 100 * found.leave == pytest.approx(leave, abs=0.5)
    assert found.gain == pytest.approx(gain, abs=0.005)
    assert 100 * found.positive_dynamics == pytest.approx(positive, abs=0.5)


def test_windows_of_two_years():
    """Truly low .5492 → .6523; leaving .5953 → .4728 side by side, .3368 with a shared year."""
    apart, shared = window_correlation(0.62, 2), window_correlation(0.62, 2, apart=1)
    assert apart == pytest.approx(2 * 0.62 / 1.62, abs=1e-14)
    assert shared == pytest.approx((1 + 3 * 0.62) / (2 * 1.62), abs=1e-14)
    assert [round(float(v), 3) for v in (apart, shared)] == [0.765, 0.883]
    assert truly_low(0.10, 0.62) == pytest.approx(0.5492, abs=DIGITS)
    assert truly_low(0.10, apart) == pytest.approx(0.6523, abs=DIGITS)
    assert leave_rate(0.10, apart) == pytest.approx(0.4728, abs=DIGITS)
    assert leave_rate(0.10, shared) == pytest.approx(0.3368, abs=DIGITS)
    assert window_correlation(0.62, 1) == pytest.approx(0.62, abs=1e-14)
    assert window_correlation(0.62, 2, apart=5) == pytest.approx(float(apart), abs=1e-14)


def test_selection_on_another_score():
    """a = .60, b = .55, r = .62, q = .26 gives .5285, not .7211."""
    other = Selection(with_first=0.60, with_second=0.55)
    # printed .5285, exactly .528554: cut, not rounded, hence a whole unit of the last digit
    assert positive_dynamics(0.26, 0.62, selection=other) == pytest.approx(0.5285, abs=1e-4)
    same = Selection(with_first=1.0, with_second=0.62)
    assert positive_dynamics(0.26, 0.62, selection=same) == pytest.approx(0.7211, abs=DIGITS)
    gain = 0.05 * stats.norm.pdf(special.ndtri(0.26)) / 0.26
    assert mean_gain(0.26, 0.62, selection=other) == pytest.approx(gain, abs=1e-14)


def test_published_example():
    """Barnett, van der Pols and Dobson 2005: mean 60, SD 15, cut 40."""
    found = cut_regression(60, 15, 40, [0.0, 0.2, 0.5, 0.8])
    assert found == pytest.approx([26.97, 21.58, 13.49, 5.39], abs=0.0051)


@pytest.mark.parametrize(
    ("q", "observed_entry", "expected"),
    [
        (0.26, False, [0.4422, 0.3089, 0.2356, 0.1897, 0.1584]),
        (0.26, True, [0.6104, 0.4728, 0.3845, 0.3234, 0.2787]),
        (0.10, False, [0.5953, 0.4233, 0.3236, 0.2601, 0.2166]),
    ],
)
def test_null_hazard(q, observed_entry, expected):
    """The specification of programmes, section 6."""
    found = null_hazard(q, 0.62, 5, observed_entry=observed_entry)
    assert found == pytest.approx(expected, abs=DIGITS)


def test_exit_of_one_school():
    """y₁ = −1.2, r = .62, q = .26: .4490 (the specification of programmes, section 12)."""
    cut = float(special.ndtri(0.26))
    found = exit_probability(-1.2, 0.62, 1 - 0.62**2, cut=cut)
    assert found == pytest.approx(0.4490, abs=DIGITS)


@pytest.mark.parametrize("points", [0.0, 0.3])
@pytest.mark.parametrize("r", [0.0, 0.62, 0.95])
def test_positive_dynamics_is_the_integral(points, r):
    q = 0.26
    c = special.ndtri(q)
    value, error = integrate.quad(
        lambda x: stats.norm.pdf(x) * special.ndtr(-(points + (1 - r) * x) / np.sqrt(1 - r * r)),
        -np.inf,
        c,
    )
    # quad's own bound of its error, and twelve digits of the bivariate normal
    assert positive_dynamics(q, r, points=points) == pytest.approx(value / q, abs=error + 1e-12)


def test_identities():
    """Exits of any listed school equal the first hazard; no persistence leaves all to chance."""
    assert null_hazard(0.2, 0.5, 1, observed_entry=False)[0] == pytest.approx(
        float(leave_rate(0.2, 0.5)), abs=1e-10
    )
    assert leave_rate(0.2, 0.0) == pytest.approx(0.8, abs=1e-12)
    # as many enter as leave: enter·(1 − q) = leave·q, and a shift empties the list
    assert leave_rate(0.2, 0.5, shift=8.0) == pytest.approx(1.0, abs=1e-10)
    assert mean_gain(0.2, 0.5, shift=0.3) - mean_gain(0.2, 0.5) == pytest.approx(0.3, abs=1e-12)
    assert school_persistence(0.62, 0.1, [0.28, 0.0])[0] == pytest.approx(0.62, abs=1e-14)


def test_shift_against_a_simulation():
    """An absolute cut and a rise of .3 SD, 400,000 schools; four standard errors."""
    rng = np.random.default_rng(5)
    n, r, q, shift = 400_000, 0.62, 0.26, 0.3
    first = rng.normal(size=n)
    second = r * first + np.sqrt(1 - r * r) * rng.normal(size=n) + shift
    c = special.ndtri(q)
    listed = first <= c
    m = listed.sum()
    null = list_null(q, r, shift=shift)
    left = (second[listed] > c).mean()
    assert abs(left - null.leave) < 4 * np.sqrt(left * (1 - left) / m)
    gain = (second - first)[listed]
    assert abs(gain.mean() - null.gain) < 4 * gain.std() / np.sqrt(m)
    up = (gain > 0).mean()
    assert abs(up - null.positive_dynamics) < 4 * np.sqrt(up * (1 - up) / m)


@pytest.mark.parametrize("q", [0.0, -0.1, 0.51, 26.0, np.nan])
def test_share_outside(q):
    with pytest.raises(SpecificationError, match="share"):
        leave_rate(q, 0.62)


@pytest.mark.parametrize("r", [1.0, -0.2, 62.0, np.nan])
def test_correlation_outside(r):
    with pytest.raises(SpecificationError, match="correlation of two years"):
        positive_dynamics(0.26, r)


def test_impossible_correlations():
    with pytest.raises(SpecificationError, match="cannot have"):
        mean_gain(0.26, 0.9, selection=Selection(with_first=0.9, with_second=-0.5))
    with pytest.raises(SpecificationError, match="with_second"):
        Selection(with_first=0.9, with_second=1.5)
    with pytest.raises(SpecificationError, match="years"):
        window_correlation(0.6, 0)
    with pytest.raises(SpecificationError, match="negative"):
        school_persistence(1.0, 0.0, [-1.0])
