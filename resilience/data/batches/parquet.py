"""Parquet files: only the columns that are used, row group by row group, never a whole table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resilience.data.batches.arrow import Dictionaries, arrow_chunk, check_arrow, is_text
from resilience.data.batches.chunk import ROWS_PER_CHUNK, TABLE, Chunk, Place
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import nearest_names

__all__ = ["ParquetBatches", "ParquetPiece"]


_MAGIC = b"PAR1"  # the first bytes of every Parquet file


@dataclass(frozen=True, kw_only=True)
class ParquetPiece:
    """Row groups of one file: what a worker is sent.

    Attributes
    ----------
    path : str
        The file, as the worker must find it.
    name : str
        Its name in messages.
    row_groups : tuple of int
        Numbers of the row groups, from 0.
    """

    path: str
    name: str
    row_groups: tuple[int, ...]

    def chunks(
        self,
        columns: Sequence[str],
        rows: int = ROWS_PER_CHUNK,
        dictionaries: Dictionaries | None = None,
    ) -> Iterator[Chunk]:
        """Yield the rows.

        Raises
        ------
        DataError
            Naming the file and the row group that cannot be read, or the column it lacks.
        """
        shared = Dictionaries() if dictionaries is None else dictionaries
        with _opened(Path(self.path), self.name) as file:
            check_names(file.schema_arrow.names, columns, self.name)
        with _opened(Path(self.path), self.name, _text_columns(file, columns)) as file:
            for group in self.row_groups:
                place = Place(part=group + 1, kind="row_group", file=self.name)
                for batch in _read(file, group, list(columns), rows, place):
                    yield arrow_chunk(batch, columns, place, dictionaries=shared)


@dataclass(frozen=True, kw_only=True)
class ParquetBatches:
    """A file, or the files of folders in the order of their names.

    Attributes
    ----------
    files : tuple of (path, name)
        Files to read and their names in messages.
    rows : int
        Rows of a chunk at most.
    """

    files: tuple[tuple[Path, str], ...]
    rows: int = ROWS_PER_CHUNK
    once: bool = False

    @classmethod
    def open(cls, paths: Sequence[Path], *, rows: int = ROWS_PER_CHUNK) -> ParquetBatches:
        """Find the files and look at their ends, where Parquet says what they hold.

        Raises
        ------
        DataError
            If a path is absent, a folder holds no Parquet file, a file is empty or cut short.
        """
        check_arrow()
        found: list[tuple[Path, str]] = []
        for path in paths:
            if path.is_dir():
                inside = sorted(p for p in path.rglob("*.parquet") if _counts(p.relative_to(path)))
                if not inside:
                    raise DataError(text("sources.empty_folder", folder=repr(path.name)))
                found += [(p, p.relative_to(path).as_posix()) for p in inside]
            elif path.exists():
                found.append((path, path.name))
            else:
                raise DataError(text("sources.no_file", file=repr(str(path))))
        batches = cls(files=tuple(found), rows=rows)
        if sum(_rows_of(path, name) for path, name in found) == 0:
            raise DataError(text("sources.no_rows", files=", ".join(name for _, name in found[:5])))
        return batches

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files."""
        return tuple(name for _, name in self.files)

    @property
    def n_rows(self) -> int:
        """Rows of all files, as they say themselves."""
        return sum(_rows_of(path, name) for path, name in self.files)

    def columns(self) -> list[str]:
        """Return the names of the first file's columns."""
        path, name = self.files[0]
        with _opened(path, name) as file:
            return [str(c) for c in file.schema_arrow.names]

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yield the rows file by file and row group by row group, reading one chunk ahead."""
        return _ahead(self.peek(columns))

    def peek(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yield the rows without reading ahead."""
        shared = Dictionaries()
        for piece in self.pieces(whole=True):
            yield from piece.chunks(columns, self.rows, shared)

    def pieces(self, *, whole: bool = False) -> list[ParquetPiece]:
        """Return what can be read separately: every row group, or every file."""
        found: list[ParquetPiece] = []
        for path, name in self.files:
            with _opened(path, name) as file:
                groups = tuple(range(file.num_row_groups))
            parts = [groups] if whole else [(group,) for group in groups]
            found += [ParquetPiece(path=str(path), name=name, row_groups=p) for p in parts]
        return found


def _ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """Yield chunks while a thread reads the next one: decoding and sums share two cores."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        following = pool.submit(next, chunks, None)
        while True:
            chunk = following.result()
            if chunk is None:
                return
            following = pool.submit(next, chunks, None)
            yield chunk


def check_names(there: Sequence[str], columns: Sequence[str], name: str) -> None:
    """Raise a `DataError` that names the file, the column it lacks and the nearest names."""
    missing = [c for c in columns if c not in there]
    if missing:
        raise DataError(
            text(
                "sources.file_columns",
                table=TABLE,
                file=name,
                missing=", ".join(repr(m) for m in missing),
                nearest="; ".join(f"{m!r}: {nearest_names(m, there)}" for m in missing),
            )
        )


def _counts(path: Path) -> bool:
    """Return whether a file belongs to the table; names in _ and . are notes of the writers."""
    return not any(part.startswith(("_", ".")) for part in path.parts)


def _opened(path: Path, name: str, text_columns: Sequence[str] = ()) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(
            path, pre_buffer=False, read_dictionary=list(text_columns), memory_map=False
        )
    except (pa.ArrowException, OSError) as error:
        if _other_kind(path):
            raise SpecificationError(text("sources.not_parquet", file=name)) from error
        raise DataError(
            text("sources.broken_file", file=name, reason=str(error).splitlines()[0])
        ) from error


def _other_kind(path: Path) -> bool:
    """Return whether a file has something in it and does not begin as Parquet files do."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except OSError:
        return False
    return bool(start) and start != _MAGIC


def _rows_of(path: Path, name: str) -> int:
    with _opened(path, name) as file:
        return int(file.metadata.num_rows)


def _text_columns(file: Any, columns: Sequence[str]) -> list[str]:
    """Return the columns of text, which are read as the dictionaries they are stored in."""
    return [c.name for c in file.schema_arrow if c.name in columns and is_text(c.type)]


def _read(file: Any, group: int, columns: list[str], rows: int, place: Place) -> Iterator[Any]:
    import pyarrow as pa

    batches = file.iter_batches(batch_size=rows, row_groups=[group], columns=columns)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                text(
                    "sources.broken_group",
                    place=place.describe(),
                    reason=str(error).splitlines()[0],
                )
            ) from error
        if batch is None:
            return
        yield batch
