"""Who has gaps: how many values are missing, where, and how those pupils differ from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.i18n import Bilingual, numeral, text
from resilience.results import Results
from resilience.validation import check_columns

__all__ = ["ANY", "MissingResults", "gap_report", "gap_words"]

ANY = "any"  # the row of pupils with a gap in any of the columns

Gaps = dict[str, NDArray[np.bool_]]

_DIFFERENCES = [
    "column",
    "compared",
    "n_missing",
    "mean_missing",
    "mean_present",
    "difference",
    "standardized_difference",
]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MissingResults(Results):
    """Gaps of the columns that a model uses, before anything was done about them.

    Attributes
    ----------
    columns : DataFrame
        ``column n_missing n_rows share_missing n_schools``: a row per column, with ``n_schools``
        the schools with a gap in it; the last row, ``any``, counts pupils with a gap in any.
    schools : DataFrame
        ``school_id column n_missing n_pupils share_missing``: every school, for every column with
        gaps and for ``any``; empty where nothing is missing.
    differences : DataFrame
        ``column compared n_missing mean_missing mean_present difference
        standardized_difference``: means of the other numeric columns among pupils with a gap and
        without; the last is the difference in SDs of all pupils.
    group : str
        School column.
    handling : {"raise", "drop", "indicator", "impute"}
        What the model did about the gaps.
    """

    columns: pd.DataFrame
    schools: pd.DataFrame
    differences: pd.DataFrame
    group: str
    handling: str

    @property
    def any_missing(self) -> bool:
        """Whether there is a gap at all."""
        return bool(self.columns["n_missing"].to_numpy()[-1])

    def tidy(self) -> pd.DataFrame:
        """Return the gaps, one row per column."""
        return self.columns.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: pupils with a gap, their share, schools with gaps, what was done."""
        last = self.columns.iloc[-1]
        return pd.DataFrame(
            {
                "n_rows": [int(last["n_rows"])],
                "n_missing": [int(last["n_missing"])],
                "share_missing": [float(last["share_missing"])],
                "n_schools": [int(last["n_schools"])],
                "handling": [self.handling],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with the share of the school's pupils that have a gap in any column.

        Parameters
        ----------
        data : DataFrame
            With the school column; a school without gaps has 0.
        """
        check_columns(data, [self.group], table="data")
        whole = self.schools[self.schools["column"] == ANY].set_index("school_id")["share_missing"]
        known = data[self.group].map(whole).astype(float)
        return data.assign(share_missing=known if self.any_missing else 0.0)


def gap_report(
    frame: pd.DataFrame,
    columns: Sequence[str],
    *,
    group: str,
    handling: str,
    compared: Sequence[str] = (),
) -> MissingResults:
    """Count the gaps of columns by school and say who the pupils with gaps are.

    Parameters
    ----------
    frame : DataFrame
        One row per pupil.
    columns : sequence of str
        Columns whose gaps count.
    group : str
        School column.
    handling : str
        What is done about the gaps.
    compared : sequence of str
        Further columns to compare pupils by, the outcome for instance.
    """
    named = list(dict.fromkeys(columns))
    gaps = {name: frame[name].isna().to_numpy(dtype=bool) for name in named}
    gaps[ANY] = np.logical_or.reduce([np.zeros(len(frame), dtype=bool), *gaps.values()])
    school = frame[group].reset_index(drop=True)
    rows = [
        {
            "column": name,
            "n_missing": int(gap.sum()),
            "n_rows": len(gap),
            "share_missing": float(gap.mean()) if len(gap) else 0.0,
            "n_schools": int(school[gap].nunique()),
        }
        for name, gap in gaps.items()
    ]
    holed = [name for name, gap in gaps.items() if gap.any()]
    others = [c for c in dict.fromkeys([*compared, *named]) if _is_number(frame[c])]
    return MissingResults(
        columns=pd.DataFrame(rows),
        schools=_by_school(gaps, school, holed),
        differences=_differences(frame.reset_index(drop=True), gaps, holed, others),
        group=group,
        handling=handling,
    )


def gap_words(missing: MissingResults | None) -> list[Bilingual]:
    """Return the lines of a summary that say what was missing; none where nothing was."""
    if missing is None or not missing.any_missing:
        return []
    last = missing.columns.iloc[-1]
    share = f"{100 * float(last['share_missing']):.1f}"
    by_column = missing.columns[:-1][missing.columns["n_missing"][:-1] > 0]
    named = ", ".join(f"{row.column}: {row.n_missing}" for row in by_column.itertuples())
    words = text(
        f"imputation.handled_{missing.handling}",
        pupils=int(last["n_missing"]),
        share=numeral(share),
        schools=int(last["n_schools"]),
        columns=named,
    )
    return [Bilingual("", ""), words]


def _is_number(values: pd.Series) -> bool:
    kind = values.dtype
    return pd.api.types.is_numeric_dtype(kind)


def _by_school(gaps: Gaps, school: pd.Series, holed: list[str]) -> pd.DataFrame:
    names = ["school_id", "column", "n_missing", "n_pupils", "share_missing"]
    pieces = []
    for name in holed:
        flags = pd.Series(gaps[name].astype(np.int64))
        found = flags.groupby(school, observed=True, sort=True).agg(["sum", "size"])
        n, size = found["sum"].to_numpy(dtype=np.int64), found["size"].to_numpy(dtype=np.int64)
        pieces.append(
            pd.DataFrame(
                {
                    "school_id": found.index.to_numpy(),
                    "column": name,
                    "n_missing": n,
                    "n_pupils": size,
                    "share_missing": n / size,
                }
            )
        )
    if not pieces:
        return pd.DataFrame(columns=names)
    return pd.concat(pieces, ignore_index=True).infer_objects()


def _differences(
    frame: pd.DataFrame, gaps: Gaps, holed: list[str], others: list[str]
) -> pd.DataFrame:
    rows = []
    for name in holed:
        gap = gaps[name]
        for other in others:
            if other == name:
                continue
            values = frame[other].to_numpy(dtype=float, na_value=np.nan)
            known = np.isfinite(values)
            here, there = values[gap & known], values[~gap & known]
            if not len(here):
                continue  # nobody with a gap here has a value there
            with_gap = float(here.mean())
            without = float(there.mean()) if len(there) else float("nan")
            spread = float(values[known].std()) if known.any() else 0.0
            apart = with_gap - without
            scaled = apart / spread if spread > 0 else float("nan")
            rows.append((name, other, len(here), with_gap, without, apart, scaled))
    return pd.DataFrame(rows, columns=_DIFFERENCES)
