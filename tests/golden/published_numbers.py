"""Comparison with numbers as they were printed."""

from __future__ import annotations

import pytest


def as_printed(shown: str):
    """Half a unit of the last printed digit: all that a printed number says."""
    digits = len(shown.partition(".")[2])
    return pytest.approx(float(shown), rel=0, abs=0.5 * 10.0**-digits)
