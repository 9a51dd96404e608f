"""Mark scales, versioned by examination, subject, grade, year and variant.

A scale is data (``scale_tables.toml``) with a status and a source.  A year without a table raises:
the neighbouring year is never used silently.  Tables stand in the file as their source prints them,
so a table printed with an overlap is refused when it is asked for.

Subjects are coded РУ, МА, ОМ, ИС, БИ, ГЕ, ОБ, ФИ, ХИ, ЛИ, ИН, ИЯ (see the head of the data file).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import check_choice, nearest_names

__all__ = [
    "ScaleTable",
    "read_scales",
    "scale_records",
    "scale_table",
]

Status = Literal["documented", "unverified", "proposal"]
STATUSES: tuple[str, ...] = get_args(Status)
MARKS = (2, 3, 4, 5)
KEY_FIELDS = ("exam", "subject", "grade", "year", "variant", "region")

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ScaleTable:
    """A scale that turns the raw score of a test into a mark of 2 to 5.

    Attributes
    ----------
    exam, subject : str
        ``"ОГЭ"``, ``"ВПР"`` or ``"ГВЭ"`` and the code of the subject.
    grade, year : int
        Grade of the test and calendar year of the scale.
    marks : tuple of (int, int)
        First and last raw score of the marks 2, 3, 4, 5, both included.
    variant, region : str
        Variant of the test and region with a scale of its own; empty for the common one.
    literacy : (int, int), optional
        Points of the literacy criteria (ГК1-ГК4) that a "4" and a "5" need.
    geometry : int, optional
        Points of geometry that every mark above "2" needs.
    profile_from : tuple of int
        Raw score recommended for profile classes; two numbers where they differ by profile.
    status : {"documented", "unverified", "proposal"}
        Standing of the numbers; a table that is not documented loads only when its status is named.
    second_hand : bool
        True where the official text itself was not compared.
    reference : str
        Key of the source in the bibliography.
    note : str
        What is odd about the source, empty if nothing.

    Raises
    ------
    SpecificationError
        If the scale does not start at 0, has a gap or an overlap, or its marks do not rise.
    """

    exam: str
    subject: str
    grade: int
    year: int
    marks: tuple[tuple[int, int], ...]
    variant: str = ""
    region: str = ""
    literacy: tuple[int, int] | None = None
    geometry: int | None = None
    profile_from: tuple[int, ...] = ()
    status: Status = "documented"
    second_hand: bool = False
    reference: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        check_choice(self.status, STATUSES, argument="status")
        _check_marks(self.marks, scale=self.title)

    @property
    def title(self) -> str:
        """Examination, grade, subject, year and variant in one line."""
        parts = [f"{self.exam}-{self.grade}-{self.subject}", str(self.year)]
        return " ".join([*parts, *(p for p in (self.variant, self.region) if p)])

    @property
    def maximum(self) -> int:
        """Highest raw score of the test."""
        return self.marks[-1][1]

    @property
    def borders(self) -> tuple[int, int, int]:
        """Lowest raw scores of the marks 3, 4 and 5."""
        return self.marks[1][0], self.marks[2][0], self.marks[3][0]

    def band_of(self, raw: npt.ArrayLike) -> Integers:
        """Return the mark by the raw score alone, without the conditions on parts of the test.

        Parameters
        ----------
        raw : array_like of int
            Raw scores, 0 to `maximum`.

        Returns
        -------
        ndarray of int64
            Marks 2 to 5, in the shape of `raw`.

        Raises
        ------
        DataError
            If a score is missing, not whole, negative or above the maximum.
        """
        scores = _whole_scores(raw, maximum=self.maximum, scale=self.title)
        return np.searchsorted(np.asarray(self.borders), scores, side="right") + MARKS[0]

    def mark_of(
        self,
        raw: npt.ArrayLike,
        *,
        literacy: npt.ArrayLike | None = None,
        geometry: npt.ArrayLike | None = None,
        cascade: bool = False,
    ) -> Integers:
        """Return the mark with the conditions the scale prints.

        Parameters
        ----------
        raw : array_like of int
            Raw scores, 0 to `maximum`.
        literacy : array_like of int, optional
            Points of the literacy criteria; required by scales with that condition.  A "4" or "5"
            without the points it needs becomes one mark lower.
        geometry : array_like of int, optional
            Points of geometry; required by scales with that condition; too few make the mark 2.
        cascade : bool, default False
            Whether a mark lowered for literacy is tested again.  The letter of 2023 has one step.

        Returns
        -------
        ndarray of int64
            Marks 2 to 5, in the broadcast shape of the arguments.

        Raises
        ------
        SpecificationError
            If the scale has a condition and its points are not given, or the reverse.
        DataError
            If a score lies outside the scale.
        """
        marks = self.band_of(raw)
        part = self._part("literacy", literacy, needed=self.literacy is not None)
        if self.literacy is not None and part is not None:
            marks, part = np.broadcast_arrays(marks, part)
            for_4, for_5 = self.literacy
            lowered = np.where((marks == 5) & (part < for_5), 4, marks)
            fresh = marks == 4
            tested = fresh | (lowered == 4) if cascade else fresh
            marks = np.where(tested & (part < for_4), 3, lowered)
        part = self._part("geometry", geometry, needed=self.geometry is not None)
        if self.geometry is not None and part is not None:
            marks, part = np.broadcast_arrays(marks, part)
            marks = np.where((marks > MARKS[0]) & (part < self.geometry), MARKS[0], marks)
        return np.asarray(marks, dtype=np.int64)

    def _part(self, name: str, points: npt.ArrayLike | None, *, needed: bool) -> Integers | None:
        if needed and points is None:
            raise SpecificationError(text("scales.part_missing", scale=self.title, part=name))
        if points is None:
            return None
        if not needed:
            raise SpecificationError(text("scales.part_unused", scale=self.title, part=name))
        return _whole_scores(points, maximum=self.maximum, scale=f"{self.title}, {name}")


def scale_table(
    exam: str,
    subject: str,
    *,
    year: int,
    grade: int = 9,
    variant: str = "",
    region: str = "",
    status: Status = "documented",
) -> ScaleTable:
    """Return the scale of one examination.

    Parameters
    ----------
    exam, subject : str
        ``"ОГЭ"``, ``"ВПР"`` or ``"ГВЭ"`` and the code of the subject.
    year : int
        Year of the scale; the neighbouring year is never used instead.
    grade : int, default 9
        Grade of the test (not of the pupil, who may sit the test of another grade).
    variant, region : str, default ""
        Variant of the test; region with its own scale.
    status : {"documented", "unverified", "proposal"}, default "documented"
        The weakest standing the caller accepts, by name.

    Returns
    -------
    ScaleTable
        The checked scale.

    Raises
    ------
    SpecificationError
        If there is no such table (the message names the years and variants there are), if its
        status was not named, or if the table as printed is not a scale.

    References
    ----------
    OGE2023, OGE2023history, csedu, eddu, VPR2021, VPR4-2026.
    """
    check_choice(status, STATUSES, argument="status")
    records = [
        r
        for r in scale_records()["table"]
        if (r["exam"], r["subject"], r["grade"]) == (exam, subject, grade)
        and r.get("region", "") == region
    ]
    same_year = [r for r in records if r["year"] == year]
    found = [r for r in same_year if r.get("variant", "") == variant]
    name = f"{exam}-{grade}-{subject}"
    if not records:
        raise SpecificationError(
            text("scales.no_scale", scale=name, region=repr(region), known=_known_scales(name))
        )
    if not same_year:
        years = ", ".join(str(y) for y in sorted({r["year"] for r in records}))
        raise SpecificationError(text("scales.no_year", scale=name, year=year, years=years))
    if not found:
        variants = ", ".join(repr(r.get("variant", "")) for r in same_year)
        raise SpecificationError(
            text(
                "scales.no_variant",
                scale=f"{name} {year}",
                variant=repr(variant),
                variants=variants,
            )
        )
    if found[0]["status"] not in ("documented", status):
        raise SpecificationError(
            text("scales.status", scale=f"{name} {year} {variant}", status=found[0]["status"])
        )
    return _build(found[0])


def read_scales(path: str | Path) -> tuple[ScaleTable, ...]:
    """Read a region's own scales from a TOML file of the same form as the built-in one.

    Parameters
    ----------
    path : path-like
        File with ``[[table]]`` records.

    Returns
    -------
    tuple of ScaleTable
        Checked scales, in file order.

    Raises
    ------
    SpecificationError
        If the file is not TOML, a record has an unknown or a missing field, or a key repeats.
    """
    place = Path(path)
    try:
        records = tomllib.loads(place.read_text(encoding="utf-8")).get("table", [])
    except OSError as error:
        raise SpecificationError(
            text("scales.unreadable", path=str(place), reason=error.strerror or str(error))
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecificationError(
            text("scales.unreadable", path=str(place), reason=str(error))
        ) from error
    tables = tuple(_build(record) for record in records)
    keys = [tuple(getattr(table, field) for field in KEY_FIELDS) for table in tables]
    for number, key in enumerate(keys):
        if key in keys[:number]:
            raise SpecificationError(text("scales.repeated", scale=tables[number].title))
    return tables


@cache
def scale_records() -> dict[str, list[dict[str, Any]]]:
    """Return the records of the data file, ``table`` and ``minimum``, unchecked."""
    source = resources.files("resilience.data") / "scale_tables.toml"
    return tomllib.loads(source.read_text(encoding="utf-8"))


def _known_scales(name: str) -> str:
    return nearest_names(
        name, sorted({f"{r['exam']}-{r['grade']}-{r['subject']}" for r in scale_records()["table"]})
    )


def _build(record: Mapping[str, Any]) -> ScaleTable:
    fields = dict(record)
    required = ("exam", "subject", "grade", "year", "marks", "status", "reference")
    unknown = [name for name in fields if name not in ScaleTable.__dataclass_fields__]
    missing = [name for name in required if name not in fields]
    if unknown or missing:
        raise SpecificationError(
            text(
                "scales.fields",
                unknown=", ".join(unknown) or "—",
                missing=", ".join(missing) or "—",
                known=", ".join(ScaleTable.__dataclass_fields__),
            )
        )
    try:
        fields["marks"] = tuple((int(first), int(last)) for first, last in fields["marks"])
    except (TypeError, ValueError):
        raise SpecificationError(text("scales.ranges", marks=fields["marks"])) from None
    for name in ("literacy", "profile_from"):
        if name in fields:
            fields[name] = tuple(fields[name])
    return ScaleTable(**fields)


def _check_marks(marks: Sequence[tuple[int, int]], *, scale: str) -> None:
    """Raise unless the ranges start at 0, rise, and neither overlap nor leave a gap."""
    if len(marks) != len(MARKS):
        raise SpecificationError(text("scales.four_marks", scale=scale, n=len(marks)))
    if marks[0][0] != 0:
        raise SpecificationError(text("scales.start", scale=scale, first=marks[0][0]))
    for mark, (first, last) in zip(MARKS, marks, strict=True):
        if last < first:
            raise SpecificationError(
                text("scales.falling", scale=scale, mark=mark, first=first, last=last)
            )
    for mark, (_, last), (first, _) in zip(MARKS, marks[:-1], marks[1:], strict=False):
        if first <= last:
            shared = ", ".join(str(score) for score in range(first, last + 1))
            raise SpecificationError(
                text("scales.overlap", scale=scale, scores=shared, mark=mark, other=mark + 1)
            )
        if first > last + 1:
            absent = ", ".join(str(score) for score in range(last + 1, first))
            raise SpecificationError(
                text("scales.gap", scale=scale, scores=absent, mark=mark, other=mark + 1)
            )


def _whole_scores(values: npt.ArrayLike, *, maximum: int, scale: str) -> Integers:
    scores = np.asarray(values)
    if scores.dtype.kind not in "iuf":
        raise DataError(text("scales.score", scale=scale, value=str(values)[:40], maximum=maximum))
    bad = ~((scores >= 0) & (scores <= maximum) & (np.floor(scores) == scores))
    if bad.any():
        raise DataError(
            text("scales.score", scale=scale, value=scores[bad].flat[0], maximum=maximum)
        )
    return scores.astype(np.int64)
