"""Regional practice: four 0/1 columns a year, their sum, and the share of marked schools."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resilience.errors import DataError, warn_weak_data
from resilience.i18n import text
from resilience.validation import check_columns, check_not_empty, check_table, check_unique, shorten

__all__ = ["COUNTED", "DENOMINATOR", "municipal_shares", "regional_markers"]

#: Tests of the four columns, in the order of the yearly list.
COUNTED = ("ВПР-4-РУ", "ВПР-4-МА", "ВПР-5-РУ", "ВПР-5-МА")
#: Test whose participants are the denominator of the municipal share.
DENOMINATOR = "ВПР-4-РУ"
_PRINTED = {"ВПР-4-РУ": "4 РУ", "ВПР-4-МА": "4 МА", "ВПР-5-РУ": "5 РУ", "ВПР-5-МА": "5 МА"}
_NAMES = ("marked_russian_4", "marked_mathematics_4", "marked_russian_5", "marked_mathematics_5")


def regional_markers(listed: pd.DataFrame, schools: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the yearly list of marked schools with the number of markers of each.

    Parameters
    ----------
    listed : DataFrame
        ``school_id`` [``municipality_id`` ``year``] and the four 0/1 columns, under their printed
        heads («4 РУ», «4 МА», «5 РУ», «5 МА») or under the names of the result.
    schools : DataFrame, optional
        ``school_id`` [``municipality_id`` ``year``] of all schools: the list holds only marked
        schools, so one that is absent from it is not marked.

    Returns
    -------
    DataFrame
        ``school_id`` [``municipality_id`` ``year``] ``marked_russian_4 marked_mathematics_4
        marked_russian_5 marked_mathematics_5 n_markers``.

    Raises
    ------
    DataError
        If a column is absent, a value is neither 0 nor 1, a school repeats, or a marked school is
        not among ``schools``.

    References
    ----------
    VPRDashboard.
    """
    check_table(listed, table="listed")
    heads = dict(zip(_PRINTED.values(), _NAMES, strict=True))
    table = listed.rename(columns={c: heads.get(" ".join(str(c).split()), c) for c in listed})
    check_columns(table, ["school_id", *_NAMES], table="listed")
    check_not_empty(table, table="listed")
    key = ["school_id", *(c for c in ("year",) if c in table.columns)]
    check_unique(table, key, table="listed")
    for name in _NAMES:
        strange = ~table[name].isin([0, 1])
        if strange.any():
            raise DataError(
                text(
                    "integrity.not_binary",
                    column=name,
                    n=int(strange.sum()),
                    value=table.loc[strange, name].iloc[0],
                )
            )
    keys = [c for c in ("school_id", "municipality_id", "year") if c in table.columns]
    found = table[[*keys, *_NAMES]].assign(
        school_id=table["school_id"].astype(str), **{n: table[n].astype("int64") for n in _NAMES}
    )
    if schools is not None:
        found = _with_unmarked(found, schools, key)
    return found.assign(n_markers=found[list(_NAMES)].sum(axis=1)).reset_index(drop=True)


def _with_unmarked(found: pd.DataFrame, schools: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    check_columns(schools, key, table="schools")
    keep = [c for c in ("school_id", "municipality_id", "year") if c in schools.columns]
    whole = schools[keep].assign(school_id=schools["school_id"].astype(str)).drop_duplicates(key)
    merged = whole.merge(found[[*key, *_NAMES]], on=key, how="outer", indicator=True)
    lost = merged.loc[merged["_merge"] == "right_only", "school_id"]
    if len(lost):
        raise DataError(text("integrity.marked_unknown", n=len(lost), schools=shorten(lost)))
    marks = {n: merged[n].fillna(0).astype("int64") for n in _NAMES}
    return merged.drop(columns="_merge").assign(**marks)


def municipal_shares(marked: pd.DataFrame, sat: pd.DataFrame, *, warn: bool = True) -> pd.DataFrame:
    """Return the share of marked schools of each municipality.

    The denominator is the number of schools (logins) that sat ВПР Russian of grade 4 in that year,
    also where a marked school did not: a share above 1 is possible, is warned of, and is not
    capped.

    Parameters
    ----------
    marked : DataFrame
        ``school_id municipality_id`` of the schools with at least one marker.
    sat : DataFrame
        ``school_id municipality_id`` of the schools that sat that test.
    warn : bool
        Whether a share above 1 warns.

    Returns
    -------
    DataFrame
        ``municipality_id n_marked n_sat marked_share``; no share where nobody sat the test.

    Raises
    ------
    DataError
        If a column is absent, a school repeats, or a school has no municipality.

    Warns
    -----
    WeakDataWarning
        For every municipality with more marked schools than the denominator.

    References
    ----------
    VPRDashboard.
    """
    counts = {}
    for name, table in (("n_marked", marked), ("n_sat", sat)):
        check_columns(table, ["school_id", "municipality_id"], table=name)
        check_unique(table, ["school_id"], table=name)
        homeless = table.loc[table["municipality_id"].isna(), "school_id"]
        if len(homeless):
            raise DataError(
                text("integrity.no_municipality", n=len(homeless), schools=shorten(homeless))
            )
        counts[name] = table["municipality_id"].astype(str).value_counts()
    found = pd.DataFrame(counts).sort_index()
    n_marked, n_sat = (found[c].fillna(0).to_numpy(dtype=np.int64) for c in ("n_marked", "n_sat"))
    share = np.divide(n_marked, n_sat, out=np.full(len(found), np.nan), where=n_sat > 0)
    if warn:
        for place, some, of in zip(found.index, n_marked, n_sat, strict=True):
            if some > of:
                warn_weak_data(
                    text(
                        "integrity.share_above_one",
                        municipality=place,
                        marked=int(some),
                        sat=int(of),
                    )
                )
    return pd.DataFrame(
        {
            "municipality_id": [str(p) for p in found.index],
            "n_marked": n_marked,
            "n_sat": n_sat,
            "marked_share": share,
        }
    )
