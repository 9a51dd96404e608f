"""The bivariate normal distribution against scipy's quadrature, Owen's T and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, special, stats

from resilience.errors import DataError
from resilience.stats.binormal import binormal_cdf


def by_conditioning(h: float, k: float, rho: float) -> float:
    """P(X ≤ h, Y ≤ k) as the integral of φ(x) Φ((k − ρx)/√(1 − ρ²)), adaptive quadrature."""
    root = np.sqrt(1 - rho**2)
    # Φ steps from 0 to 1 around x = k/ρ; naming the step keeps the quadrature honest near ±1
    steps = [k / rho + root * j for j in (-8, -4, -2, 0, 2, 4, 8)] if rho else []
    kink = [x for x in steps if -12 < x < min(h, 12)]
    value, _ = integrate.quad(
        lambda x: stats.norm.pdf(x) * special.ndtr((k - rho * x) / root),
        -12,
        min(h, 12),
        epsabs=1e-14,
        epsrel=1e-13,
        limit=400,
        points=kink or None,
    )
    return value


def by_owen(h: float, k: float, rho: float) -> float:
    """Owen (1956): ½Φ(h) + ½Φ(k) − T(h, a_h) − T(k, a_k), minus ½ where h and k differ in sign."""
    root = np.sqrt(1 - rho**2)
    split = 0.0 if h * k > 0 or (h * k == 0 and h + k >= 0) else 0.5
    return float(
        0.5 * special.ndtr(h)
        + 0.5 * special.ndtr(k)
        - special.owens_t(h, (k / h - rho) / root)
        - special.owens_t(k, (h / k - rho) / root)
        - split
    )


POINTS = [(-0.6, 0.97), (0.3, 0.2), (-1.5, -2.0), (2.5, -0.1), (0.01, 3.0), (-3.0, 1.2), (1.0, 1.0)]


@pytest.mark.parametrize("rho", [-0.95, -0.9, -0.5, -0.1, 0.0, 0.3, 0.58523, 0.9, 0.91, 0.99])
@pytest.mark.parametrize(("h", "k"), POINTS)
def test_agrees_with_conditioning_and_owen(h: float, k: float, rho: float) -> None:
    found = float(binormal_cdf(h, k, rho))
    # both oracles work to about 1e-14; the nodes promise 1e-15 up to .9 and 1e-13 above
    assert found == pytest.approx(by_conditioning(h, k, rho), abs=2e-13)
    assert found == pytest.approx(by_owen(h, k, rho), abs=2e-13)


@pytest.mark.parametrize("rho", [0.999, 0.9999, -0.999, -0.9999])
@pytest.mark.parametrize(("h", "k"), [*POINTS, (0.5, 0.50001), (-0.5, 0.5), (0.0, 0.4), (0.0, 0.0)])
def test_stays_exact_next_to_perfect_correlation(h: float, k: float, rho: float) -> None:
    # the specification states 1e-13 at .9999
    assert float(binormal_cdf(h, k, rho)) == pytest.approx(by_conditioning(h, k, rho), abs=1e-13)


def test_agrees_with_scipy_in_one_vectorised_call() -> None:
    rng = np.random.default_rng(11)
    h, k = rng.normal(size=(2, 60)) * 1.5
    rho = rng.uniform(-0.89, 0.89, 60)
    found = binormal_cdf(h, k, rho)
    expected = [
        stats.multivariate_normal.cdf([a, b], mean=[0, 0], cov=[[1, r], [r, 1]])
        for a, b, r in zip(h, k, rho, strict=True)
    ]
    assert found.shape == (60,)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)  # scipy's own default accuracy


def test_quadrant_probability_has_a_closed_form() -> None:
    rho = np.linspace(-0.99, 0.99, 41)
    closed = 0.25 + np.arcsin(rho) / (2 * np.pi)  # Sheppard
    np.testing.assert_allclose(binormal_cdf(0.0, 0.0, rho), closed, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("r2", "share"), [(0.12, 0.121), (0.13, 0.116), (0.20, 0.088)])
def test_share_of_resilient_pupils_in_closed_form(r2: float, share: float) -> None:
    z = stats.norm.ppf(0.25)
    # methods/detection.md section 2 prints three decimal places
    assert float(binormal_cdf(z, z, -np.sqrt(r2))) / 0.25 == pytest.approx(share, abs=5e-4)


def test_limits() -> None:
    inf = np.inf
    assert float(binormal_cdf(inf, 0.3, 0.5)) == pytest.approx(special.ndtr(0.3), abs=1e-15)
    assert float(binormal_cdf(-inf, 0.3, 0.5)) == pytest.approx(0.0, abs=1e-300)
    assert float(binormal_cdf(inf, inf, -0.5)) == pytest.approx(1.0, abs=1e-15)
    assert float(binormal_cdf(0.2, 0.7, 1.0)) == pytest.approx(special.ndtr(0.2), abs=1e-15)
    assert float(binormal_cdf(0.2, -0.7, -1.0)) == 0.0
    assert float(binormal_cdf(0.2, 0.7, -1.0)) == pytest.approx(
        special.ndtr(0.2) + special.ndtr(0.7) - 1, abs=1e-15
    )


def test_refuses_what_is_no_correlation() -> None:
    with pytest.raises(DataError, match=r"correlation is 1\.2"):
        binormal_cdf(0.0, 0.0, [0.3, 1.2])
    with pytest.raises(DataError, match="must be numbers"):
        binormal_cdf(np.nan, 0.0, 0.3)
