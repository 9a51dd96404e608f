"""Sets of markers as data: which sign on which test, with id, version, status and source."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.references import reference_keys
from resilience.validation import check_choice, check_positive, nearest_names

__all__ = ["Marker", "MarkerSet"]

KINDS = ("high_mean", "journal", "sharp_rise", "sharp_fall")
STATUSES = ("documented", "unverified", "proposal")
PRESETS = ("objectivity_14",)


@dataclass(frozen=True, kw_only=True)
class Marker:
    """One marker.

    Attributes
    ----------
    number : int
        Place in the printed list.
    kind : {"high_mean", "journal", "sharp_rise", "sharp_fall"}
        What it looks at: the mean, the agreement with school marks, the change of a cohort.
    procedure : str
        Test it looks at; of a cohort, the later one.
    earlier : str
        Earlier test of the cohort, a year before; empty for other kinds.
    """

    number: int
    kind: str
    procedure: str
    earlier: str = ""

    def __post_init__(self) -> None:
        check_choice(self.kind, KINDS, argument="kind")
        if bool(self.earlier) != self.kind.startswith("sharp"):
            raise SpecificationError(text("integrity.marker_earlier", number=self.number))

    @property
    def title(self) -> Bilingual:
        """The marker in words."""
        place = f"{self.earlier} → {self.procedure}" if self.earlier else self.procedure
        return text(f"integrity.kind_{self.kind}", place=place)


@dataclass(frozen=True, kw_only=True)
class MarkerSet:
    """A versioned list of markers with its parameters.

    Attributes
    ----------
    id, version : str
        A changed threshold is a new version.
    status : {"documented", "unverified", "proposal"}
        Standing of the rule.
    reference : str
        Key of the source.
    second_hand : bool
        True where the official text itself was not compared.
    z, iqr_multiple, below : float
        Half-width of the intervals of means in standard errors; distance beyond a quartile in
        interquartile ranges; bound of the rank correlation.
    markers : tuple of Marker
        In printed order.
    """

    id: str
    version: str
    status: str
    reference: str
    second_hand: bool
    z: float
    iqr_multiple: float
    below: float
    markers: tuple[Marker, ...]

    def __post_init__(self) -> None:
        check_choice(self.status, STATUSES, argument="status")
        check_positive(self.z, argument="z")
        check_positive(self.iqr_multiple, argument="iqr_multiple")
        if not -1 <= self.below <= 1:
            raise SpecificationError(text("integrity.correlation_bound", value=self.below))
        if self.reference not in reference_keys():
            nearest = nearest_names(self.reference, reference_keys())
            raise SpecificationError(
                text("integrity.set_reference", reference=self.reference, nearest=nearest)
            )
        numbers = [m.number for m in self.markers]
        if not numbers or len(set(numbers)) < len(numbers):
            raise SpecificationError(text("integrity.set_numbers", numbers=numbers))

    @classmethod
    def preset(cls, name: str) -> MarkerSet:
        """Return a set that comes with the library.

        Raises
        ------
        SpecificationError
            If there is none of that name.
        """
        check_choice(name, PRESETS, argument="markers")
        source = resources.files("resilience.detection.integrity") / f"{name}.toml"
        return cls._build(tomllib.loads(source.read_text(encoding="utf-8")), place=name)

    @classmethod
    def from_toml(cls, path: str | Path) -> MarkerSet:
        """Read a set from a file of the form of the built-in one.

        Raises
        ------
        SpecificationError
            If the file cannot be read, is not TOML, or lacks or misnames a field.
        """
        place = Path(path)
        try:
            record = tomllib.loads(place.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SpecificationError(
                text("integrity.set_file", path=place.name, problem=str(error))
            ) from error
        return cls._build(record, place=place.name)

    @classmethod
    def _build(cls, record: Mapping[str, Any], *, place: str) -> MarkerSet:
        try:
            head = dict(record["marker_set"])
            parameters = head.pop("parameters")
            markers = tuple(Marker(**m) for m in record["marker"])
            return cls(**head, **parameters, markers=markers)
        except (KeyError, TypeError) as error:
            raise SpecificationError(
                text("integrity.set_file", path=place, problem=str(error))
            ) from error

    def describe(self, lang: str = "en") -> str:
        """Return the set in words: standing, source, parameters and every marker."""
        standing = text(f"integrity.status_{self.status}").localized(lang)
        lines = [
            text(
                "integrity.set_head",
                id=self.id,
                version=self.version,
                reference=self.reference,
                z=f"{self.z:g}",
                iqr=f"{self.iqr_multiple:g}",
                below=f"{self.below:g}",
            ).localized(lang)
            + f" {standing}"
        ]
        return "\n".join(
            [*lines, *(f"{m.number}. {m.title.localized(lang)}" for m in self.markers)]
        )
