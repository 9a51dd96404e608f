"""What the appendix says of years that hang together."""

from __future__ import annotations

import pandas as pd
import pytest

from resilience.reporting.random_parts import random_parts


class Fit:
    """The little of a fit that the appendix reads its parts from."""

    group, time = "school_id", "year"

    def __init__(self, rows):
        self.variance_components = pd.DataFrame(rows, columns=["group", "term"])


@pytest.mark.parametrize(
    ("rows", "drift", "slopes"),
    [
        ([("school_id", "Intercept"), ("school_id:year", "Intercept")], "", ()),
        ([("school_id", "Intercept"), ("school_id:year", "ar1")], "ar1", ()),
        (
            [
                ("school_id", "year=2020"),
                ("school_id", "year=2021"),
                ("school_id", "ses"),
                ("school_id", "year=2021 × ses"),
            ],
            "unstructured",
            ("ses",),
        ),
    ],
)
def test_drift_is_read_off_the_variances(rows, drift, slopes):
    parts = random_parts(Fit([*rows, ("residual", "")]))
    assert (parts.drift, parts.slopes, parts.years) == (drift, slopes, True)
