"""The embedded data sets: what there is, and loading one with its checksums verified.

A data set is a folder with a ``dataset.toml`` (provenance, codebook, checksums) beside its files;
``datasets/README.md`` describes the format.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from resilience.data.dataset import Dataset, Tables
from resilience.data.provenance import MANIFEST, ROLES, ColumnType, DataFile, read_provenance
from resilience.errors import DatasetError
from resilience.i18n import check_language, text
from resilience.validation import nearest_names, shorten

__all__ = ["Dataset", "list_datasets", "load_dataset"]

OPENERS: dict[str, Callable[[bytes], bytes]] = {
    ".csv": bytes,
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
}


def list_datasets(*, lang: str = "en") -> pd.DataFrame:
    """Return the embedded data sets, one row each; no data are read.

    Parameters
    ----------
    lang : {"en", "ru"}
        Language of titles and sources.

    Returns
    -------
    DataFrame
        ``name``, ``title``, ``n_rows`` (of all tables but the truth), ``licence``, ``source``;
        sorted by name.

    Raises
    ------
    DatasetError
        If the library came without its data, or a `dataset.toml` is not well formed.
    """
    check_language(lang)
    rows = []
    for name, folder in _folders().items():
        provenance = read_provenance(folder)
        n_rows = sum(file.n_rows for file in provenance.files if file.role == "frame")
        words = provenance.title.localized(lang), provenance.source.localized(lang)
        rows.append((name, words[0], n_rows, provenance.licence, words[1]))
    return pd.DataFrame(rows, columns=["name", "title", "n_rows", "licence", "source"])


def load_dataset(name: str, *, lang: str = "en") -> Dataset:
    """Return an embedded data set, its files checked against their sha256.

    Parameters
    ----------
    name : str
        A name of `list_datasets`.
    lang : {"en", "ru"}
        Language of the codebook and of the printed card.

    Returns
    -------
    Dataset
        Tables as attributes, with codebook, citation, licence, source, and the truth where the
        data are simulated.

    Raises
    ------
    DatasetError
        If the name is unknown, a file is missing, or a checksum, column, type or number of rows
        differs from what `dataset.toml` declares.
    """
    check_language(lang)
    folders = _folders()
    if name not in folders:
        raise DatasetError(
            text("datasets.unknown", name=repr(name), nearest=nearest_names(name, folders))
        )
    provenance = read_provenance(folders[name])
    frames, truth = _read_tables(folders[name])
    return Dataset(
        name=provenance.name,
        title=provenance.title,
        description=provenance.description,
        frames=frames,
        citation=provenance.citation,
        licence=provenance.licence,
        source=provenance.source,
        checksums={file.path: file.sha256 for file in provenance.files},
        truth=truth,
        references=provenance.references,
        notes=provenance.notes,
        lang=lang,
    )


def roots() -> list[Path]:
    """Return the folders that may hold data sets: the wheel's, then the checkout's."""
    package = Path(__file__).resolve().parents[1]
    found = [package / "_datasets"]
    # Beside an installed package a folder `datasets` may belong to somebody else.
    if (package.parent / "pyproject.toml").is_file():
        found.append(package.parent / "datasets")
    return found


def _folders() -> dict[str, Path]:
    found: dict[str, Path] = {}
    places = roots()
    for root in places:
        if root.is_dir():
            for file in root.glob(f"*/{MANIFEST}"):
                found.setdefault(file.parent.name, file.parent)
    if not found:
        raise DatasetError(text("datasets.absent", places=", ".join(map(str, places))))
    return dict(sorted(found.items()))


@lru_cache(maxsize=8)
def _read_tables(folder: Path) -> tuple[Tables, Tables]:
    """Read, check and type the files once; the tables give copies, so the cache stays whole."""
    provenance = read_provenance(folder)
    found: dict[str, dict[str, pd.DataFrame]] = {role: {} for role in ROLES}
    for file in provenance.files:
        found[file.role][file.table] = _read_file(folder, file)
    return Tables(found["frame"]), Tables(found["truth"])


def _read_file(folder: Path, file: DataFile) -> pd.DataFrame:
    path = folder / file.path
    try:
        packed = path.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(
            text("datasets.missing_file", name=folder.name, path=file.path)
        ) from error
    actual = hashlib.sha256(packed).hexdigest()
    if actual != file.sha256:
        raise DatasetError(
            text(
                "datasets.checksum",
                name=folder.name,
                path=file.path,
                expected=file.sha256,
                actual=actual,
            )
        )
    # Text first: every field as it stands, only an empty one is missing ("NA" may be a code).
    raw = pd.read_csv(
        io.BytesIO(OPENERS[path.suffix](packed)),
        dtype=str,
        keep_default_na=False,
        na_values=[""],
        encoding="utf-8",
    )
    _check_shape(folder.name, file, raw)
    return pd.DataFrame(
        {
            column: _typed(raw[column], kind, folder.name, file.path)
            for column, kind in file.columns.items()
        }
    )


def _check_shape(name: str, file: DataFile, raw: pd.DataFrame) -> None:
    actual, declared = list(raw.columns), list(file.columns)
    if actual != declared:
        nothing = text("datasets.nothing")
        extra = [c for c in actual if c not in declared]
        missing = [c for c in declared if c not in actual]
        raise DatasetError(
            text(
                "datasets.header",
                name=name,
                path=file.path,
                extra=shorten(extra) if extra else nothing,
                missing=shorten(missing) if missing else nothing,
            )
        )
    if len(raw) != file.n_rows:
        raise DatasetError(
            text("datasets.rows", name=name, path=file.path, expected=file.n_rows, actual=len(raw))
        )


def _typed(raw: pd.Series[str], kind: ColumnType, name: str, path: str) -> pd.Series[Any]:
    """Return a column of text in its declared type."""
    options = {"category": kind.levels, "bool": ("true", "false", "True", "False")}.get(kind.type)
    try:
        if options is not None:
            strange = raw[raw.notna() & ~raw.isin(options)]
            if len(strange):
                raise ValueError(
                    text(
                        "datasets.not_among",
                        value=repr(strange.iloc[0]),
                        options=shorten(options, 12),
                    )
                )
        return _converted(raw, kind)
    except (ValueError, TypeError, OverflowError) as error:
        detail = error.args[0] if error.args else str(error)
        raise DatasetError(
            text(
                "datasets.value",
                name=name,
                column=repr(raw.name),
                path=path,
                type=kind.type,
                detail=detail,
            )
        ) from error


def _converted(raw: pd.Series[str], kind: ColumnType) -> pd.Series[Any]:
    gaps = bool(raw.isna().any())
    if kind.type == "category":
        return raw.astype(pd.CategoricalDtype(list(kind.levels), ordered=kind.ordered))
    if kind.type == "bool":
        flags = raw.str.lower().map({"true": True, "false": False})
        return flags.astype("boolean" if gaps else "bool")
    values = raw.to_numpy(dtype=object, na_value=np.nan)
    if kind.type == "float":
        # Through Python's own reading: the nearest double, on every platform.
        return pd.Series(values.astype("float64"), index=raw.index)
    if kind.type == "int":
        if not gaps:
            return pd.Series(values.astype("int64"), index=raw.index)
        whole = [pd.NA if v != v else int(v) for v in values]
        return pd.Series(whole, index=raw.index, dtype="Int64")
    return raw
