"""Passes over a source that stands on many workers, through Dask.

Workers read their partitions and return partial results, which are merged eight at a time on the
workers too; only the sum of all comes back.  A worker that dies costs what it had computed: Dask
computes it again elsewhere, and where it cannot, the error says which part was lost.
"""

from __future__ import annotations

import importlib
import pickle
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from resilience.data.batches.chunk import Batches, Chunk, Place, is_dask
from resilience.data.batches.frames import to_chunk
from resilience.data.batches.parquet import ParquetBatches, ParquetPiece
from resilience.data.batches.passes import Pass, PassResult
from resilience.errors import DataError, ResilienceError, SpecificationError
from resilience.i18n import Bilingual, text

__all__ = ["ClusterBatches", "DaskBatches", "on_cluster"]

_FAN_IN = 8
_SMALL = 200_000  # bytes of a job that every task may carry


@dataclass(frozen=True, eq=False)
class DaskBatches:
    """A Dask frame: its partitions are the chunks, and passes are made where they are.

    Attributes
    ----------
    source : dask.dataframe.DataFrame
        The frame.
    client : distributed.Client or None
        The cluster; by default the current client, without any Dask's threads in this process.
    """

    source: Any
    client: Any = None
    once: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Say what was passed."""
        return (f"dask DataFrame, {self.source.npartitions} partitions",)

    def columns(self) -> list[str]:
        """Return the names of all columns."""
        return [str(c) for c in self.source.columns]

    def _parts(self, columns: Sequence[str]) -> list[Any]:
        there = [c for c in columns if c in self.source.columns]
        parts: list[Any] = self.source[there].to_delayed()
        return parts

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yield the partitions one after another."""
        for part, delayed in enumerate(self._parts(columns), start=1):
            place = Place(part=part, kind="partition")
            frame = _computed(delayed, self.client, {}, place.describe())
            yield to_chunk(frame, columns, place)

    def map_reduce(self, job: Pass) -> PassResult:
        """Make a pass on the workers."""
        dask = _module("dask")
        parts = self._parts(job.columns)
        shared = _shared(job)
        tasks, places = [], {}
        for number, part in enumerate(parts, start=1):
            place = Place(part=number, kind="partition")
            task = dask.delayed(_of_frame)(shared, part, place)
            places[str(task.key)] = places[str(part.key)] = place.describe()
            tasks.append(task)
        return _summed(job, shared, tasks, places, self.client, self.names[0])


@dataclass(frozen=True, eq=False)
class ClusterBatches:
    """Parquet files whose row groups are read by the workers of a cluster.

    Attributes
    ----------
    files : ParquetBatches
        The files; workers must find them under the same paths.
    client : distributed.Client or None
        The cluster; by default the current client.
    """

    files: ParquetBatches
    client: Any = None
    once: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files."""
        return self.files.names

    def columns(self) -> list[str]:
        """Return the names of the first file's columns."""
        return self.files.columns()

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yield the rows, read in this process."""
        return self.files.chunks(columns)

    def map_reduce(self, job: Pass) -> PassResult:
        """Make a pass on the workers, a task per row group."""
        dask = _module("dask")
        shared = _shared(job)
        tasks, places = [], {}
        for piece in self.files.pieces():
            place = Place(part=piece.row_groups[0] + 1, kind="row_group", file=piece.name)
            task = dask.delayed(_of_piece)(shared, piece, self.files.rows)
            places[str(task.key)] = place.describe()
            tasks.append(task)
        return _summed(job, shared, tasks, places, self.client, ", ".join(self.names[:3]))


def on_cluster(source: object, client: Any = None) -> Batches:
    """Return a source whose passes are made by the workers of a Dask cluster.

    Parameters
    ----------
    source : path, sequence of paths or Dask frame
        Parquet files that every worker finds under the same path, or a frame of partitions.
    client : distributed.Client, optional
        By default the current client; without any, Dask's threads in this process.

    Returns
    -------
    Batches
        For ``model.fit`` and ``model.cross_products``; the result equals that of one process to
        rounding.

    Raises
    ------
    SpecificationError
        If Dask is not installed, or the source is neither.
    """
    try:
        _module("dask")
    except ImportError as error:
        raise SpecificationError(text("sources.no_dask")) from error
    if is_dask(source):
        return DaskBatches(source, client)
    if isinstance(source, str | Path | list | tuple):
        paths = [source] if isinstance(source, str | Path) else source
        if paths and all(isinstance(path, str | Path) for path in paths):
            files = ParquetBatches.open([Path(path) for path in paths])
            return ClusterBatches(files, client)
    raise SpecificationError(text("sources.not_on_cluster", kind=type(source).__name__))


def _shared(job: Pass) -> Any:
    """Return the job for the tasks: in each of them where it is small, else as a task of its own.

    A job of its own is one more thing that a dying worker can take along.
    """
    packed = pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL)
    small = len(packed) <= _SMALL
    return packed if small else _module("dask").delayed(packed, traverse=False)


def _of_frame(packed: bytes, frame: pd.DataFrame, place: Place) -> PassResult:
    job: Pass = pickle.loads(packed)
    return job.one([to_chunk(frame, job.columns, place)])


def _of_piece(packed: bytes, piece: ParquetPiece, rows: int) -> PassResult:
    job: Pass = pickle.loads(packed)
    result = job.start()
    for chunk in piece.chunks(job.columns, rows):
        job.add(result, chunk)
    return job.close(result)


def _merged(packed: bytes, results: list[PassResult]) -> PassResult:
    job: Pass = pickle.loads(packed)
    return job.merge(results)


def _summed(
    job: Pass,
    shared: Any,
    tasks: list[Any],
    places: dict[str, Bilingual],
    client: Any,
    source: str,
) -> PassResult:
    """Merge the tasks' results in a tree on the workers and return the sum."""
    dask = _module("dask")
    while len(tasks) > 1:
        groups = [tasks[k : k + _FAN_IN] for k in range(0, len(tasks), _FAN_IN)]
        tasks = [dask.delayed(_merged)(shared, group) for group in groups]
        for task, group in zip(tasks, groups, strict=True):
            first, last = places[str(group[0].key)], places[str(group[-1].key)]
            places[str(task.key)] = Bilingual(f"{first.en} … {last.en}", f"{first.ru} … {last.ru}")
    if not tasks:
        return job.close(job.start())
    result: PassResult = _computed(tasks[0], client, places, Bilingual(source, source))
    return result


def _computed(task: Any, client: Any, places: dict[str, Bilingual], source: Bilingual) -> Any:
    """Compute a task on the cluster; what Dask could not compute is named."""
    cluster = client if client is not None else _current_client()
    if cluster is None:
        return _module("dask").compute(task)[0]
    killed = _module("distributed.scheduler").KilledWorker
    closed = _module("distributed.comm").CommClosedError
    with warnings.catch_warnings():
        # what a composition learnt from 40,000 schools is megabytes, and meant to be sent
        warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
        future = cluster.compute(task)
    try:
        return future.result()
    except ResilienceError:
        raise
    except killed as error:
        part = places.get(str(error.task), source)
        reason = f"{error.task}, {error.last_worker.address}"
        raise DataError(text("sources.lost_worker", part=part, reason=reason)) from error
    except (CancelledError, closed, TimeoutError) as error:
        raise DataError(
            text("sources.lost_task", part=source, reason=f"{type(error).__name__}: {error}")
        ) from error


def _module(name: str) -> Any:
    """Import a module when it is first needed."""
    return importlib.import_module(name)


def _current_client() -> Any:
    """Return the client of this process, or None."""
    try:
        return _module("distributed").default_client()
    except (ImportError, ValueError):
        return None
