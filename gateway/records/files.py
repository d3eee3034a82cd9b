"""Writing a file so that it is there whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from gateway.core.errors import RecordError

LOCK_TIMEOUT_S = 60.0


def write_new(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Create `path` with `content`: on disk before it has its name, and never over another file.

    Raises:
        OSError: the disk is full, the folder cannot be written, or the name is taken.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _give_name(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    sync_folder(path.parent)


def replace_file(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Put `content` under a name that may be taken: whoever reads it sees the old or the new, whole.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    sync_folder(path.parent)


def _give_name(temporary: Path, path: Path) -> None:
    """A hard link, because unlike a rename it fails where the name is taken.

    Some file systems have none (exFAT, some network mounts): there the writers' lock is what keeps
    two from taking one name.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, "File exists", str(path)) from None
        temporary.rename(path)


_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def set_aside(path: Path, suffix: str) -> None:
    """Give a damaged file another name, and never that of a file already there."""
    other = path.with_suffix(suffix)
    while other.exists():
        other = path.with_name(f"{path.stem}-{secrets.token_hex(3)}{suffix}")
    path.rename(other)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a power cut (a no-op where folders cannot be opened)."""
    with contextlib.suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def writing(folder: Path, what: str) -> Generator[None]:
    """Hold the folder's lock, creating the folder; any OS error becomes a `RecordError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S):
            yield
    except OSError as error:
        raise unwritable(folder, what, error) from None


def unwritable(place: Path, what: str, error: OSError) -> RecordError:
    return RecordError(
        f"{what}: {error.strerror or type(error).__name__}; nothing was half-written",
        place=str(place),
        fix="free space there, or make the folder writable, and run the command again",
    )
