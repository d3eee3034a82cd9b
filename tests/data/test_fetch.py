"""Fetching over real HTTP on loopback."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from gateway.core.errors import DataError
from gateway.data import fetch
from tests.data.make import names

BODY = b'{"messages": []}\n' * 200_000


class Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/moved":
            self._head(302, Location="/d/rows.jsonl?token=s3cret")
        elif path == "/elsewhere":
            self._head(302, Location="http://example.org/rows.jsonl?token=s3cret")
        elif path == "/round":
            self._head(302, Location="/round")
        elif path == "/short":
            self._head(200, **{"Content-Length": str(len(BODY) + 10)})
            self.wfile.write(BODY)
        elif path.endswith("rows.jsonl"):
            self._head(200, **{"Content-Length": str(len(BODY))})
            self.wfile.write(BODY)
        else:
            self._head(404)

    def _head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["/d/rows.jsonl?token=s3cret", "/moved"])
def test_a_file_comes_whole_under_its_contents_name(tmp_path: Path, site: str, path: str) -> None:
    seen: list[tuple[int, int | None]] = []
    found = fetch(site + path, tmp_path, on_progress=lambda done, total: seen.append((done, total)))
    assert found.read_bytes() == BODY
    assert found.name == f"{hashlib.sha256(BODY).hexdigest()[:16]}-" + ("rows.jsonl")
    assert seen[-1] == (len(BODY), len(BODY))
    assert fetch(site + path, tmp_path) == found
    assert names(tmp_path) == [found.name]


@pytest.mark.parametrize(
    ("path", "says"),
    [("/gone", "404"), ("/short", "failed"), ("/elsewhere", "only https"), ("/round", "redirects")],
)
def test_what_goes_wrong_is_typed_and_leaves_nothing(tmp_path: Path, site: str, path: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        fetch(f"{site}{path}?token=s3cret", tmp_path)
    assert "s3cret" not in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "rows.jsonl",
        "https://",
        "http://[x",
    ],
)
def test_only_https_or_this_machine(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError):
        fetch(url, tmp_path)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ConnectError"), httpx.Client() as client:
        fetch("http://127.0.0.1:9/rows.jsonl", tmp_path, client=client)
