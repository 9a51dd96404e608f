"""From a configuration to the tables of a region, checked and with their checksums."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import pandas as pd

from resilience.data.catalogue import load_dataset
from resilience.data.dataset import Dataset
from resilience.data.delimited import read_delimited
from resilience.data.design import formula_columns
from resilience.data.workbook import read_workbook
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.pipeline.config import RegionConfig, config_from_workbook
from resilience.pipeline.config_reading import read_config
from resilience.validation import nearest_names

__all__ = ["Region", "dataset_config", "load_region"]

TABLES = ("schools", "pupils", "counts", "means", "procedures", "score_histograms")


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """The tables of a region.

    Attributes
    ----------
    schools : DataFrame
        One row per school and year.
    pupils, counts, means, procedures, score_histograms : DataFrame or None
        The other binding tables.
    records : tuple of (name, sha256, rows)
        What was read, with checksums.
    citations : tuple of str
        How to cite the data.
    licence : str
        Terms the data come under.
    notes : tuple of Bilingual
        What the readers found suspicious but legal.
    """

    schools: pd.DataFrame
    pupils: pd.DataFrame | None
    counts: pd.DataFrame | None
    procedures: pd.DataFrame | None
    records: tuple[tuple[str, str, int], ...]
    means: pd.DataFrame | None = None
    score_histograms: pd.DataFrame | None = None
    citations: tuple[str, ...] = ()
    licence: str = ""
    notes: tuple[Bilingual, ...] = ()


def dataset_config(name: str) -> RegionConfig:
    """Return a shipped configuration of an embedded data set.

    Parameters
    ----------
    name : str
        Name of the data set, or of a second configuration of it (``"north_region_counts"``: the
        same region seen as counts of marks).

    Raises
    ------
    SpecificationError
        If none is shipped under this name; those that are, are named.
    """
    root = resources.files("resilience") / "pipeline" / "regions"
    known = sorted(f.name[: -len(".toml")] for f in root.iterdir() if f.name.endswith(".toml"))
    if name not in known:
        raise SpecificationError(
            text("pipeline.no_config", name=name, known=nearest_names(name, known))
        )
    with resources.as_file(root / f"{name}.toml") as path:
        return replace(read_config(path), shipped=True)


def load_region(source: str | Path | RegionConfig | Dataset) -> tuple[RegionConfig, Region]:
    """Read a configuration and the tables it names.

    Parameters
    ----------
    source : path, RegionConfig or Dataset
        ``region.toml``, a workbook (``.xlsx``), a configuration, or a data set, which is run with
        the configuration shipped under its name.

    Returns
    -------
    (RegionConfig, Region)

    Raises
    ------
    DataError, SpecificationError
        For every problem of the files.
    """
    if isinstance(source, Dataset):
        return dataset_config(source.name), _from_dataset(source)
    if isinstance(source, RegionConfig):
        config = source
    elif Path(source).suffix.lower() in (".xlsx", ".xlsm"):
        return _from_workbook(Path(source))
    else:
        config = read_config(source)
    inputs = config.inputs
    if inputs.dataset is not None:
        region = _from_dataset(load_dataset(inputs.dataset, lang=config.output.lang))
    elif inputs.workbook is not None:
        _, region = _from_workbook(inputs.workbook)
    else:
        region = _from_files(config)
    return config, region


def _from_dataset(data: Dataset) -> Region:
    frames = data.frames
    if "schools" not in frames:
        raise SpecificationError(text("pipeline.no_schools", name=data.name))
    records = tuple(
        (f"{data.name}/{name}", _checksum(data, name, frame), len(frame))
        for name, frame in frames.items()
        if name in TABLES
    )
    return Region(
        schools=frames["schools"],
        pupils=frames.get("pupils"),
        counts=frames.get("counts"),
        means=frames.get("means"),
        procedures=frames.get("procedures"),
        score_histograms=frames.get("score_histograms"),
        records=records,
        citations=(data.citation,) if data.citation else (),
        licence=data.licence,
    )


def _checksum(data: Dataset, name: str, frame: pd.DataFrame) -> str:
    """Return the checksum of the shipped file, or of the table as CSV where there is no file."""
    for file, checksum in data.checksums.items():
        if file.partition(".")[0] == name:
            return str(checksum)
    content = frame.to_csv(index=False, lineterminator="\n").encode("utf-8")
    return hashlib.sha256(content).hexdigest()


def _from_workbook(path: Path) -> tuple[RegionConfig, Region]:
    contents = read_workbook(path)
    record = (path.name, _sha256(path), len(contents.schools))
    region = Region(
        schools=contents.schools,
        pupils=contents.pupils,
        counts=contents.counts if len(contents.counts) else None,
        procedures=contents.procedures,
        records=(record,),
        notes=contents.warnings,
    )
    return config_from_workbook(contents), region


def _from_files(config: RegionConfig) -> Region:
    tables: dict[str, pd.DataFrame] = {}
    records: list[tuple[str, str, int]] = []
    notes: list[Bilingual] = []
    for name, path in config.inputs.tables.items():
        read = read_delimited(name, path, keep=_own_columns(config) if name == "schools" else ())
        tables[name] = read.frame
        notes += read.warnings
        records.append((path.name, _sha256(path), len(read.frame)))
    if "schools" not in tables:
        raise SpecificationError(text("pipeline.no_schools", name=config.source or "[inputs]"))
    return Region(
        schools=tables["schools"],
        pupils=tables.get("pupils"),
        counts=tables.get("counts"),
        means=tables.get("means"),
        procedures=tables.get("procedures"),
        score_histograms=tables.get("score_histograms"),
        records=tuple(records),
        notes=tuple(notes),
    )


def _own_columns(config: RegionConfig) -> tuple[str, ...]:
    """Return the columns of the table of schools that only this configuration knows."""
    model = config.model
    names = [model.n, model.variance, model.sd if model.sd != "estimate" else None]
    if model.formula is not None and model.kind != "pupils":
        outcome, _, covariates = model.formula.partition("~")
        # a model of counts needs no outcome; the name stands in for one
        parts = formula_columns(f"{outcome.strip() or 'marks'} ~ {covariates}")
        names += [parts.outcome if outcome.strip() else None, *parts.variables]
    if config.index is not None:
        names += [*config.index.inputs, *config.index.weights, config.index.outcome]
    return tuple(dict.fromkeys(n for n in names if isinstance(n, str) and n != "context_index"))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
