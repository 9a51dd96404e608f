"""Where the numbers of a report come from: library, data with checksums, settings, seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resilience import __version__

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DataRecord", "Provenance"]


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """One table or file the report rests on.

    Attributes
    ----------
    name : str
        Name of the table, or of the file without its folder.
    sha256 : str
        Checksum, 64 hexadecimal digits.
    n_rows : int
        Rows without the heading.
    """

    name: str
    sha256: str
    n_rows: int

    @classmethod
    def of_file(cls, path: str | Path, n_rows: int) -> DataRecord:
        """Return the record of a file; its folder stays out of the report."""
        path = Path(path)
        return cls(
            name=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), n_rows=n_rows
        )

    @classmethod
    def of_frame(cls, name: str, frame: pd.DataFrame) -> DataRecord:
        """Return the record of a table in memory.

        The checksum is that of the table as CSV: UTF-8, commas, newlines, the shortest decimals
        that give each number back, empty cells for missing values, no row index.
        """
        content = frame.to_csv(index=False, lineterminator="\n").encode("utf-8")
        return cls(name=name, sha256=hashlib.sha256(content).hexdigest(), n_rows=len(frame))


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a reader needs to repeat the run.

    Attributes
    ----------
    data : tuple of DataRecord
        Tables or files read, with their checksums.
    as_of : str or None
        Date (ISO) up to which results were allowed to be used; None where no date was set.
    seed : int or None
        Seed of the random numbers; None where none were drawn.
    command : str
        Command that made the report, without folders.
    settings : tuple of (str, str)
        Settings of the run, name and value, in the order of the configuration.
    citations : tuple of str
        How to cite the data, one entry per source.
    licence : str
        Terms the data come under.
    library_version : str
        Version of this library.
    """

    data: tuple[DataRecord, ...] = ()
    as_of: str | None = None
    seed: int | None = None
    command: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    citations: tuple[str, ...] = ()
    licence: str = ""
    library_version: str = __version__
