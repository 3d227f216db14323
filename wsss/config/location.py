"""Where a storage is: a folder, or the address of an object storage."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from wsss.errors import nearest

Location = Path | str
"""An absolute folder, or a URI such as "s3://bucket/prefix"."""
SCHEMES = ("s3", "gs", "az", "abfs", "abfss")


def is_remote(location: Location) -> bool:
    """Whether a storage is an object storage, and not a folder."""
    return isinstance(location, str) and "://" in location


def parse_location(text: str) -> Location:
    """Return the storage that a text names. Raises `ValueError` with "message|hint"."""
    if "://" not in text:
        return Path(text).expanduser().resolve()
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError(f"is {text!r}, which is no address: {error}|") from error
    if parts.scheme == "file":
        return Path(unquote(parts.path)).resolve()
    if parts.scheme not in SCHEMES:
        raise ValueError(
            f"is {text!r}, but there is no storage of the kind {parts.scheme!r}"
            f"|{nearest(parts.scheme, (*SCHEMES, 'file'))}"
        )
    if "@" in parts.netloc and parts.scheme in ("s3", "gs", "az"):
        shown = f"{parts.scheme}://…@{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise ValueError(
            f"is {shown!r}, but addresses are written down: keys don't belong into them"
            "|set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, on every machine"
        )
    if not parts.netloc:
        raise ValueError(f"is {text!r}, but names no bucket|write {parts.scheme}://bucket/prefix")
    path, _, query = text.partition("?")
    return path.rstrip("/") + (f"?{query}" if query else "")
