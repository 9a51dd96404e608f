"""Lists and shares at their edges: ties, impossible input, nobody sat, infinite needs in print."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.errors import DataError, SpecificationError
from resilience.results import format_table
from resilience.stats.proportions import BetaPrior, next_low_probability, wilson_interval
from resilience.stats.verdicts.decisions import joint_posterior, list_fdr


def test_fdr_ties_share_one_value() -> None:
    # (1 + .9 + .9 + .5): 0, (.1 + .1)/3 twice, .7/4
    expected = [0.2 / 3, 0.0, 0.7 / 4, 0.2 / 3]
    np.testing.assert_allclose(list_fdr([0.9, 1.0, 0.5, 0.9]), expected, atol=1e-15)
    assert list_fdr([]).size == 0


def test_statistics_refuse_impossible_input() -> None:
    with pytest.raises(DataError, match="probability is nan"):
        list_fdr([0.2, np.nan])
    with pytest.raises(DataError, match=r"precision is 0\.0"):
        joint_posterior(
            context=0,
            context_variance=0,
            residual=0,
            precision=0,
            slope=0,
            effect_variance=1,
            gate=0,
            bound=0,
        )


def test_next_year_without_participants_is_not_low() -> None:
    prior = BetaPrior(alpha=3, beta=17)
    found = next_low_probability([4, 4], [10, 10], [10, 0], 0.3, prior)
    assert found[0] == pytest.approx(0.41877, abs=5e-6)  # methods section 4, five decimals
    assert found[1] == 0.0


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_coverage_is_a_share(level: float) -> None:
    with pytest.raises(SpecificationError, match="level"):
        wilson_interval(3, 10, level=level)


def test_infinite_needs_print_as_a_sign() -> None:
    table = pd.DataFrame({"pupils_needed": [np.inf, 27.0], "years_needed": [2.0, np.inf]})
    assert format_table(table, "ru").to_numpy().tolist() == [["∞", "2"], ["27", "∞"]]
