"""Factors of the R package fpc (`distancefactor`) and worked compositions."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.stats.clusters.mixed_scaling import (
    closed_composition,
    isometric_logratio,
    nominal_factor,
    ordinal_factor,
)

# half a unit of the last printed digit
PRINTED = 5e-5


@pytest.mark.parametrize(
    ("counts", "finite", "limit"),
    [([25, 25, 25, 25], 0.8206, 0.8165), ([30, 70], 1.0965, 1.0911)],
)
def test_nominal_factors_are_those_of_fpc(counts: list[int], finite: float, limit: float) -> None:
    # fpc 2.2-10: distancefactor(cat=…, catsizes=…, type="categorical", normfactor=2, qfactor=1/2)
    assert nominal_factor(counts, finite=True) == pytest.approx(finite, abs=PRINTED)
    assert nominal_factor(counts) == pytest.approx(limit, abs=PRINTED)


@pytest.mark.parametrize(
    ("counts", "finite", "limit"),
    [([20, 20, 20, 20, 20], 0.6356, 0.6325), ([20, 50, 30], 1.1722, 1.1664)],
)
def test_ordinal_factors_are_those_of_fpc(counts: list[int], finite: float, limit: float) -> None:
    # fpc 2.2-10: distancefactor(…, type="ordinal", normfactor=2, qfactor=1/(1+1/(cat-1)))
    assert ordinal_factor(counts, finite=True) == pytest.approx(finite, abs=PRINTED)
    assert ordinal_factor(counts) == pytest.approx(limit, abs=PRINTED)


def test_a_composition_with_a_zero_by_hand() -> None:
    # one of forty pupils halved takes the empty part; the others give it up in proportion
    closed = closed_composition([[0.0, 0.3, 0.5, 0.2]], [40])
    assert closed[0] == pytest.approx([0.0125, 0.29625, 0.49375, 0.1975], abs=1e-12)
    logs = np.log(closed[0])
    clr = logs - logs.mean()
    ilr = isometric_logratio(closed)[0]
    assert np.linalg.norm(ilr) == pytest.approx(2.8468, abs=PRINTED)
    assert np.linalg.norm(ilr) == pytest.approx(np.linalg.norm(clr), rel=1e-12)
