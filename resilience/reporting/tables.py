"""Tables as files: CSV for machines, one workbook for readers; the same bytes on a re-run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resilience.data.outputs import write_files
from resilience.errors import SpecificationError
from resilience.i18n import check_language, text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["csv_bytes", "write_tables"]

WORKBOOK = "tables.xlsx"
_NAME = re.compile(r"[^\W]([\w-]*[^\W])?", re.UNICODE)
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)\d", re.IGNORECASE)  # no files on Windows


def write_tables(
    tables: Mapping[str, pd.DataFrame], folder: str | Path, *, lang: str = "en"
) -> tuple[Path, ...]:
    """Write each table as ``<name>.csv`` and all of them as ``tables.xlsx``.

    The CSV is for machines: UTF-8 with a byte-order mark (so that Excel shows Cyrillic), commas,
    decimal points, the columns' own names, numbers with ten significant digits, verdicts in
    English.  The workbook is for readers: headings, verdicts and flags in their language, number
    formats of the glossary, fixed heads, and a last sheet that explains every column.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Name to table.
    folder : str or Path
        Made where it does not exist.
    lang : {"en", "ru"}
        Language of the workbook.

    Returns
    -------
    tuple of Path
        The CSV files in the order of the tables, then the workbook.

    Raises
    ------
    SpecificationError
        If there is no table or a name is not usable as a file name.
    OutputError
        If the folder cannot be written, or a table is longer than a sheet; nothing is left behind.
    """
    from resilience.reporting.workbook import workbook_bytes

    check_language(lang)
    if not tables:
        raise SpecificationError(text("reporting.no_tables"))
    for name in tables:
        if not _NAME.fullmatch(name) or _DEVICE.fullmatch(name):
            raise SpecificationError(text("reporting.table_name", name=repr(name)))
    folder = Path(folder)
    files = {folder / f"{name}.csv": csv_bytes(frame) for name, frame in tables.items()}
    files[folder / WORKBOOK] = workbook_bytes(tables, lang)
    return write_files(files)


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Return the table as CSV: UTF-8 with a byte-order mark, commas, ten significant digits."""
    shown = frame.copy()
    for name in shown.columns[[d.kind == "f" for d in shown.dtypes]]:
        # -0.0 and 0.0 are one number and must be one text.
        values = shown[name].to_numpy(dtype=float, na_value=np.nan)
        shown[name] = np.where(values == 0, 0.0, values)
    return shown.to_csv(index=False, lineterminator="\n", float_format="%.10g").encode("utf-8-sig")
