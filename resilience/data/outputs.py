"""Writing of output files: all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from resilience.errors import OutputError
from resilience.i18n import text

__all__ = ["check_place", "write_files"]


def write_files(files: Mapping[Path, bytes]) -> tuple[Path, ...]:
    """Write the files, creating their folders; leave nothing half written.

    Each file is first written beside its place under a temporary name; only when all are complete
    do they take their names.

    Parameters
    ----------
    files : mapping of Path to bytes
        Content of each file.

    Returns
    -------
    tuple of Path
        The paths, in the order given.

    Raises
    ------
    OutputError
        If a parent of a path is a file, a path is a folder, or the disk refuses.
    """
    for path in files:
        check_place(path)
    parts: dict[Path, Path] = {}
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            parts[path] = part
            part.write_bytes(content)
        for path, part in parts.items():
            part.replace(path)
    except OSError as error:
        raise OutputError(
            text("reporting.write", path=str(path), problem=error.strerror or str(error))
        ) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return tuple(files)


def check_place(path: Path) -> None:
    """Raise an `OutputError` if a file cannot stand there: a parent is a file, it is a folder."""
    if path.is_dir():
        raise OutputError(text("reporting.is_folder", path=str(path)))
    for parent in path.parents:
        if parent.is_dir():
            return
        if parent.exists():
            raise OutputError(text("reporting.parent_is_file", path=str(path), parent=str(parent)))
