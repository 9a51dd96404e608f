"""Extract `california_api` from the object apipop of the R package survey.

Run ``python datasets/california_api/extract.py`` with R and Debian's r-cran-survey installed.

Left out: flag (missing in every row), yr.rnd (its only recorded value is "No", in 874 schools, so
that its meaning is lost), name (the 15 first characters of sname), snum (a row number), dnum and
cnum (running numbers of dname and cname; the official codes are in cds).
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import packing  # noqa: E402  # the folder of data sets is not a package

LEVELS = {"E": "elementary", "M": "middle", "H": "high"}
SHARES = {
    "subsidised_meals": "meals",
    "english_learners": "ell",
    "new_to_school": "mobility",
    "parents_not_high_school": "not.hsg",
    "parents_high_school": "hsg",
    "parents_some_college": "some.col",
    "parents_college": "col.grad",
    "parents_postgraduate": "grad.sch",
    "qualified_teachers": "full",
    "emergency_teachers": "emer",
}
PARENTS = [name for name in SHARES if name.startswith("parents_")]
SIZES = {"class_size_k3": "acs.k3", "class_size_46": "acs.46", "class_size_core": "acs.core"}
FLAGS = {
    "met_growth_target": "sch.wide",
    "met_comparable_target": "comp.imp",
    "met_both_targets": "both",
    "award_eligible": "awards",
}


def source() -> pd.DataFrame:
    """Return apipop, read through R."""
    done = subprocess.run(
        ["Rscript", "--vanilla", str(FOLDER / "extract.R")],
        check=True,
        capture_output=True,
    )
    return pd.read_csv(
        io.BytesIO(done.stdout), dtype={"cds": str}, keep_default_na=False, na_values=[""]
    )


def share(percent: pd.Series) -> pd.Series:
    """Return per cent as a share."""
    return (percent / 100).round(4)


def passport(schools: pd.DataFrame) -> pd.DataFrame:
    """Return what is known once per school: place, type, size and context."""
    frame = pd.DataFrame(
        {
            "school_id": schools["cds"],
            "municipality_id": schools["cname"],
            "district_id": schools["cds"].str[:7],
            "district": schools["dname"],
            "name": schools["sname"],
            "school_type": schools["stype"].map(LEVELS),
            "n_pupils": schools["api.stu"],
            "n_enrolled": schools["enroll"].astype("Int64"),
            "tested_share": share(schools["pcttest"]),
        }
    )
    for name, column in SHARES.items():
        frame[name] = share(schools[column])
    # Where no parent answered, the source writes 0 per cent of every kind and leaves avg.ed empty.
    unknown = schools["avg.ed"].isna()
    if (frame.loc[unknown, PARENTS] != 0).any(axis=None):
        raise ValueError("avg.ed is missing where the education of parents is known")
    frame.loc[unknown, PARENTS] = float("nan")
    frame["parent_education"] = packing.as_typed(schools["avg.ed"])
    frame["parents_responding"] = share(schools["pct.resp"])
    for name, column in SIZES.items():
        frame[name] = schools[column].astype("Int64")
    return frame


def tables() -> dict[str, pd.DataFrame]:
    """Return schools (a row per school and year) and the State's targets (a row per school)."""
    wide = source()
    once = passport(wide)
    years = []
    for year, column in ((1999, "api99"), (2000, "api00")):
        one = once.copy()
        one.insert(6, "year", year)
        one.insert(7, "mean_score", wide[column].astype(float))
        years.append(one)
    schools = pd.concat(years).sort_values(["school_id", "year"], ignore_index=True)
    targets = pd.DataFrame({"school_id": wide["cds"], "growth": wide["growth"]})
    targets["growth_target"] = wide["target"].astype("Int64")
    for name, column in FLAGS.items():
        targets[name] = wide[column] == "Yes"
    return {
        "schools": schools,
        "targets": targets.sort_values("school_id", ignore_index=True),
    }


if __name__ == "__main__":
    packing.main(tables(), FOLDER)
