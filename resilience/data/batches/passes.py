"""One pass over a source: every step sees every chunk, and what they learn is additive.

The same object serves a loop in this process and workers elsewhere: a worker starts, adds its
chunks and closes; closed results are merged in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.batches.chunk import TABLE, Batches, Chunk, Place, check_chunk, located
from resilience.data.design_formula import missing_counts
from resilience.data.identifiers import identified
from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.validation import shorten

__all__ = ["Pass", "PassResult", "Preparation", "Step", "run_pass"]


class Step(Protocol):
    """Something learnt from all rows.

    Attributes
    ----------
    needs : tuple of str
        Prepared columns it reads.
    touches : tuple of str
        Prepared columns that nobody can read before it has finished.
    """

    @property
    def needs(self) -> tuple[str, ...]: ...  # noqa: D102  # see the class

    @property
    def touches(self) -> tuple[str, ...]: ...  # noqa: D102  # see the class

    def start(self) -> Any:
        """Return an empty state."""

    def add(self, state: Any, frame: pd.DataFrame, chunk: Chunk) -> None:
        """Add the prepared rows of a chunk to the state."""

    def close(self, state: Any) -> Any:
        """Return the state as something small to be pickled and merged."""

    def merge(self, states: Sequence[Any]) -> Any:
        """Return the sum of closed states."""


class Preparation(Protocol):
    """What is done to the rows before the formula, as far as it is learnt."""

    def raw(self, columns: Sequence[str]) -> list[str]:
        """Return the source's columns behind prepared ones."""

    def complete(self, frame: pd.DataFrame) -> NDArray[np.bool_] | None:
        """Return the rows to keep; None keeps all."""

    def strict(self) -> list[str]:
        """Return the source's columns in which no gap is allowed."""

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with prepared columns."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plain:
    """No preparation."""

    used: tuple[str, ...]

    def raw(self, columns: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(columns))

    def complete(self, frame: pd.DataFrame) -> NDArray[np.bool_] | None:
        return None

    def strict(self) -> list[str]:
        return list(self.used)

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame


def plain(used: Sequence[str]) -> Preparation:
    """Return the preparation that does nothing and allows no gap in the used columns."""
    return _Plain(used=tuple(used))


@dataclass(kw_only=True)
class _Gaps:
    """Missing and infinite values met so far, and where."""

    counts: dict[str, int] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    units: dict[str, None] = field(default_factory=dict)

    def add(self, counts: dict[str, int], places: Sequence[Place], units: Sequence[str]) -> None:
        for name, n in counts.items():
            self.counts[name] = self.counts.get(name, 0) + n
        self.places += [place for place in places if place not in self.places]
        self.units.update(dict.fromkeys(units))


@dataclass(kw_only=True)
class PassResult:
    """What a pass found; also the running state of one.

    Attributes
    ----------
    states : list
        Of the steps, closed when the pass has ended.
    n_rows, n_dropped : int
        Rows that stayed and rows dropped for gaps.
    dropped_units : dict
        Schools of the dropped rows.
    gaps : _Gaps
        Where values are missing.
    """

    states: list[Any]
    n_rows: int = 0
    n_dropped: int = 0
    dropped_units: dict[str, None] = field(default_factory=dict)
    gaps: _Gaps = field(default_factory=_Gaps)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """The work of one pass; it can be pickled and sent to workers.

    Attributes
    ----------
    steps : tuple of Step
        What is learnt.
    preparation : Preparation
        What is done to the rows first.
    columns : tuple of str
        Columns to read.
    unit : str or None
        Column named as the place of a fault.
    wording : str
        Text of the error for gaps.
    kinds : dict of {column: kind}
        Kinds of values met before.
    identifiers : tuple of str
        Columns of units, pupils and years, in which blank text counts as missing.
    """

    steps: tuple[Step, ...]
    preparation: Preparation
    columns: tuple[str, ...]
    unit: str | None = None
    wording: str = "design.missing"
    kinds: dict[str, str] = field(default_factory=dict)
    identifiers: tuple[str, ...] = ()

    def start(self) -> PassResult:
        """Return an empty state."""
        return PassResult(states=[step.start() for step in self.steps])

    def add(self, result: PassResult, chunk: Chunk) -> None:
        """Add a chunk; rows with gaps are noted and left out, so that all of them are counted."""
        check_chunk(chunk, self.columns, self.kinds)
        with located(chunk.place):
            frame = identified(chunk.frame, self.identifiers)
            keep = self.preparation.complete(frame)
            if keep is not None and not keep.all():
                if self.unit is not None and self.unit in frame:
                    units = frame.loc[~keep, self.unit].dropna().astype(str).unique()
                    result.dropped_units.update(dict.fromkeys(map(str, units)))
                result.n_dropped += int((~keep).sum())
                frame = frame[keep]
            strict = [c for c in self.preparation.strict() if c in self.columns]
            frame = self._without_gaps(result, frame, strict, chunk.place)
            frame = self.preparation.apply(frame)
            result.n_rows += len(frame)
            for step, state in zip(self.steps, result.states, strict=True):
                step.add(state, frame, chunk)

    def _without_gaps(
        self, result: PassResult, frame: pd.DataFrame, strict: Sequence[str], place: Place
    ) -> pd.DataFrame:
        counts, where = missing_counts(frame, strict)
        if not counts:
            return frame
        units: list[str] = []
        if self.unit is not None and self.unit in frame:
            units = list(map(str, frame.loc[where, self.unit].dropna().astype(str).unique()))
        result.gaps.add(counts, [place], units)
        return frame[~where]

    def close(self, result: PassResult) -> PassResult:
        """Return the state with its steps closed."""
        result.states = [
            step.close(state) for step, state in zip(self.steps, result.states, strict=True)
        ]
        return result

    def one(self, chunks: Sequence[Chunk]) -> PassResult:
        """Return the closed result of some chunks: the work of a worker."""
        result = self.start()
        for chunk in chunks:
            self.add(result, chunk)
        return self.close(result)

    def merge(self, results: Sequence[PassResult]) -> PassResult:
        """Return the sum of closed results."""
        joined = PassResult(
            states=[step.merge([r.states[k] for r in results]) for k, step in enumerate(self.steps)]
        )
        for result in results:
            joined.n_rows += result.n_rows
            joined.n_dropped += result.n_dropped
            joined.dropped_units.update(result.dropped_units)
            gaps = result.gaps
            joined.gaps.add(gaps.counts, gaps.places, list(gaps.units))
        return joined

    def check(self, result: PassResult) -> PassResult:
        """Return the result, or raise for gaps and for a source without rows.

        Raises
        ------
        DataError
            With the count per column over all chunks, the first units and the first places.
        """
        gaps = result.gaps
        if gaps.counts:
            columns = "; ".join(f"{name!r}: {n}" for name, n in gaps.counts.items())
            raise DataError(
                text(self.wording, table=TABLE, columns=columns, places=self._places(gaps))
            )
        if result.n_rows == 0:
            key = "sources.all_dropped" if result.n_dropped else "validation.empty"
            raise DataError(text(key, table=TABLE, n=result.n_dropped))
        return result

    def _places(self, gaps: _Gaps) -> Bilingual:
        first = [place.describe() for place in gaps.places[:3]]
        rest = len(gaps.places) - len(first)
        where = Bilingual("; ".join(p.en for p in first), "; ".join(p.ru for p in first))
        units = f"{self.unit}: {len(gaps.units)}; {shorten(gaps.units)}; " if gaps.units else ""
        return text("sources.gaps", units=units, where=where, rest=f", … (+{rest})" if rest else "")


def run_pass(batches: Batches, job: Pass) -> PassResult:
    """Make a pass in this process, or where the source says its chunks are.

    Raises
    ------
    DataError
        For gaps (counted over all chunks) and a source without rows; what steps raise.
    """
    elsewhere: Callable[[Pass], PassResult] | None = getattr(batches, "map_reduce", None)
    if elsewhere is not None:
        return job.check(elsewhere(job))
    result = job.start()
    for chunk in batches.chunks(job.columns):
        job.add(result, chunk)
    return job.check(job.close(result))
