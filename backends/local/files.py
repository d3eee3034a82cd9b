"""Reading staged files: canonical JSON Lines, and their hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.core.errors import DataError


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", place=str(path)) from None


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a canonical file.

    Raises:
        DataError: a line is not JSON; the message holds its number and none of its text.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError:
                raise DataError("this line is not JSON", place=f"{path}:{number}") from None
