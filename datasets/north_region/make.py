"""Make `north_region` from the simulator, with the seed and parameters of `dataset.toml`.

Run ``python datasets/north_region/make.py``; the files come out the same each time, and the script
prints the checksums and row numbers that `dataset.toml` must give.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd

from resilience.data.dataset import Dataset
from resilience.data.simulation import (
    Assessment,
    Indicator,
    MarkInflation,
    Network,
    PupilIntake,
    SchoolEffects,
    SocialPassport,
    simulate_region,
)

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import packing  # noqa: E402  # the folder of data sets is not a package


def simulate(parameters: dict[str, Any]) -> Dataset:
    """Return the region that the table ``[parameters]`` of a `dataset.toml` describes."""
    assessment = dict(parameters["assessment"])
    assessment["vpr_grades"] = tuple(assessment["vpr_grades"])
    passport = dict(parameters["passport"])
    passport["indicators"] = tuple(Indicator(**line) for line in passport["indicators"])
    return simulate_region(
        random_state=parameters["random_state"],
        network=Network(**parameters["network"]),
        intake=PupilIntake(**parameters["intake"]),
        effects=SchoolEffects(**parameters["effects"]),
        assessment=Assessment(**assessment),
        inflation=MarkInflation(**parameters["inflation"]),
        passport=SocialPassport(**passport),
    )


def tables() -> dict[str, pd.DataFrame]:
    """Return the tables by the stem of their file; those of the truth begin with ``truth_``."""
    manifest = tomllib.loads((FOLDER / "dataset.toml").read_text(encoding="utf-8"))
    region = simulate(manifest["parameters"])
    truth = {f"truth_{name}": frame for name, frame in region.truth.items()}
    return dict(region.frames) | truth


if __name__ == "__main__":
    packing.main(tables(), FOLDER)
