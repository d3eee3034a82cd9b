"""Bringing a dataset here from a URL: the only place in this room that touches a network."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

from gateway.core.errors import DataError
from gateway.data.writing import write_atomically

if TYPE_CHECKING:
    import httpx

_MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 60.0
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

OnFetched = Callable[[int, int | None], None]


def fetch(
    url: str, folder: Path, *, client: httpx.Client | None = None, on_progress: OnFetched | None = None
) -> Path:
    """Download a file into `folder`, under a name that begins with its SHA-256.

    The same content gives the same path, so fetching again changes nothing. A query (which may hold
    a signed token) is never shown or stored.

    Args:
        url: https; plain http only to this machine itself. Every redirect is held to the same.
        client: the client to use; one is made, and closed, where none is given.
        on_progress: told (bytes so far, bytes in all where the server says).

    Raises:
        DataError: the URL may not be used, the server refuses or breaks off, or the disk is full.
    """
    import httpx

    place = _place(_checked(url))
    try:
        if client is not None:
            return _fetch(url, folder, client, on_progress)
        with httpx.Client(timeout=_TIMEOUT_S) as own:
            return _fetch(url, folder, own, on_progress)
    except httpx.HTTPError as error:  # its text may quote the whole URL
        raise DataError(
            f"the download failed ({type(error).__name__})",
            place=place,
            fix="check the address, then try again",
        ) from None


def _fetch(url: str, folder: Path, client: httpx.Client, on_progress: OnFetched | None) -> Path:
    for _ in range(_MAX_REDIRECTS + 1):
        place = _place(_checked(url))
        headers = {"Accept-Encoding": "identity"}
        with client.stream("GET", url, headers=headers, follow_redirects=False) as response:
            if response.has_redirect_location:
                url = urljoin(url, response.headers["location"])
                continue
            if response.status_code != 200:
                raise DataError(
                    f"the server answered {response.status_code}",
                    place=place,
                    fix="open the address in a browser: it may be wrong, gone, or need a login",
                )
            return _save(response, _file_name(url), folder, on_progress)
    raise DataError("too many redirects", place=_place(urlsplit(url)), fix="use the final address")


def _save(response: httpx.Response, name: str, folder: Path, on_progress: OnFetched | None) -> Path:
    """Stream the body to disk, then give it its content's name."""
    sha256 = hashlib.sha256()
    length = response.headers.get("content-length", "")
    total = int(length) if length.isdigit() else None

    def pieces() -> Iterator[bytes]:
        done = 0
        for piece in response.iter_bytes(_CHUNK_BYTES):
            sha256.update(piece)
            done += len(piece)
            if on_progress is not None:
                on_progress(done, total)
            yield piece

    arriving = folder / f"arriving-{name}"
    write_atomically(arriving, pieces())
    return arriving.replace(folder / f"{sha256.hexdigest()[:16]}-{name}")


def _checked(url: str) -> SplitResult:
    """The URL's parts, if it may be used at all."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise DataError("this is not a URL", place="data fetch", fix="give an https address") from None
    if parts.scheme == "https" and host:
        return parts
    if parts.scheme == "http" and _is_loopback(host):
        return parts
    raise DataError(
        "only https is fetched (http from this machine alone)",
        place=_place(parts),
        fix="use an https address",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _place(parts: SplitResult) -> str:
    """What of a URL may be shown: no user, no password, no query."""
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _file_name(url: str) -> str:
    name = urlsplit(url).path.rsplit("/", 1)[-1]
    return _UNSAFE.sub("_", name).strip("._")[-100:] or "data"
