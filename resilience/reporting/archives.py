"""Office files as archives: the same content gives the same bytes."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping

__all__ = ["ARCHIVE_TIME", "read_parts", "write_parts"]

ARCHIVE_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip entry can carry
_CORE = "docProps/core.xml"
_STAMP = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*(</dcterms:)")
_FIXED_STAMP = rb"\g<1>1980-01-01T00:00:00Z\g<2>"


def read_parts(content: bytes) -> dict[str, bytes]:
    """Return the parts of an office file, name to content, in the order of the archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_parts(parts: Mapping[str, bytes]) -> bytes:
    """Return an office file of these parts without any clock.

    Every entry and the document's own dates of creation and change carry one fixed time.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, part in parts.items():
            entry = zipfile.ZipInfo(name, ARCHIVE_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 0  # otherwise the operating system is written into the file
            entry.external_attr = 0
            archive.writestr(entry, _STAMP.sub(_FIXED_STAMP, part) if name == _CORE else part)
    return buffer.getvalue()
