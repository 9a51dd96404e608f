"""Published numbers about composite indices of context."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.context import component_weights, standardised_alpha


def test_component_weights_of_pisa_2015() -> None:
    # Avvisati 2020 (doi 10.1186/s40536-020-00086-x), table 3: loadings of parental education,
    # parental occupation and home possessions on the index of social status, and its weights.
    weights = component_weights(np.array([0.814, 0.815, 0.776]))
    assert [f"{w:.3f}" for w in weights] == ["0.422", "0.422", "0.402"]
    # A component score of standardised items with unit variance: loadings times weights sum to 1.
    assert weights @ np.array([0.814, 0.815, 0.776]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("mean_correlation", "n_items", "alpha"),
    # Cronbach 1951, the Spearman-Brown form: K r / (1 + (K − 1) r).
    [(0.5, 4, 0.8), (0.5, 2, 2 / 3), (0.0, 10, 0.0), (1.0, 3, 1.0)],
)
def test_standardised_alpha(mean_correlation, n_items, alpha) -> None:
    assert standardised_alpha(mean_correlation, n_items) == pytest.approx(alpha)
