"""Cloud Storage's JSON API, as far as it is used: buckets to look at, objects to insert, get, list, delete.

Every bucket there could be is there, except those named `absent-…`: a rehearsal has no bucket of its user's.
One whose name ends with a region is in it, as Tunegate's own are; any other is in the multi-region US.
https://docs.cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.parser import BytesParser
from typing import Any, cast

import google_crc32c
from werkzeug.wrappers import Request, Response

from backends.sandbox.server import Route, answer
from backends.sandbox.world import World
from backends.vertex.sandbox.account import PROJECT_NUMBER
from backends.vertex.sandbox.described import Wrong, described
from backends.vertex.sandbox.problems import refused

OBJECT = "vertex.object"
_SESSION = "vertex.upload"
_REGION = re.compile(r".*?((?:us|europe|asia)-[a-z]+\d)$")
_ABSENT = "absent-"
_PAGE = 1000
_KEEPS_DELETED_S = 604_800  # what a new bucket does by itself


class Storage:
    """Buckets and objects. Objects outlive the sandbox's process."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> Sequence[Route]:
        bucket, here = "/storage/v1/b/<bucket>", "/storage/v1/b/<bucket>/o"
        return (
            Route("GET", "/storage/v1/b", "storage.buckets.list", self._buckets),
            Route("GET", bucket, "storage.buckets.get", self._bucket),
            Route("GET", f"{bucket}/iam/testPermissions", "storage.buckets.testIamPermissions", self._rights),
            Route("GET", here, "storage.objects.list", self._list),
            Route("GET", f"{here}/<path:name>", "storage.objects.get", self._get),
            Route("GET", f"/download{here}/<path:name>", "storage.objects.download", self._get),
            Route("DELETE", f"{here}/<path:name>", "storage.objects.delete", self._delete),
            Route("POST", f"/upload{here}", "storage.objects.insert", self._insert),
            Route("PUT", f"/upload{here}", "storage.objects.upload", self._upload),
        )

    def read(self, uri: str) -> bytes | None:
        """What lies at a `gs://` URI; None where nothing does."""
        thing = self._world.get(OBJECT, uri.removeprefix("gs://"))
        return None if thing is None else self._world.blob(thing["blob"]).read_bytes()

    def leave(self, uri: str) -> None:
        """Put a small file at a `gs://` URI, as training puts weights there; once."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        if self._world.get(OBJECT, f"{bucket}/{name}") is None:
            self._finish({"bucket": bucket, "name": name}, b"A rehearsal leaves no weights.\n", None)

    # -- buckets -----------------------------------------------------------------------------------

    def _buckets(self, request: Request, names: Mapping[str, str]) -> Response:
        """The project's buckets: as many as there could be, so only the one that is asked for."""
        if wrong := described("storage.v1").wrong_query("buckets.list", request.args.keys()):
            return refused(wrong)
        prefix = request.args.get("prefix", "")
        found = [_described_bucket(prefix)] if prefix and not prefix.startswith(_ABSENT) else []
        return answer({"kind": "storage#buckets", "items": found})

    def _bucket(self, request: Request, names: Mapping[str, str]) -> Response:
        if names["bucket"].startswith(_ABSENT):
            return _problem(404, "notFound", "The specified bucket does not exist.")
        return answer(_described_bucket(names["bucket"]))

    def _rights(self, request: Request, names: Mapping[str, str]) -> Response:
        held = request.args.getlist("permissions")
        return answer({"kind": "storage#testIamPermissionsResponse", "permissions": held})

    # -- objects -----------------------------------------------------------------------------------

    def _get(self, request: Request, names: Mapping[str, str]) -> Response:
        thing = self._world.get(OBJECT, f"{names['bucket']}/{names['name']}")
        if thing is None:
            return _problem(404, "notFound", f"No such object: {names['bucket']}/{names['name']}")
        if request.args.get("alt") == "media":
            content = self._world.blob(thing["blob"]).read_bytes()
            headers = {"X-Goog-Hash": f"crc32c={thing['crc32c']}", "X-Goog-Generation": thing["generation"]}
            return Response(content, headers=headers, mimetype=thing["contentType"])
        return answer(_shown(thing))

    def _list(self, request: Request, names: Mapping[str, str]) -> Response:
        start = int(request.args.get("pageToken") or 0)
        size = min(int(request.args.get("maxResults") or _PAGE), _PAGE)
        prefix = request.args.get("prefix", "")
        found = [
            thing
            for thing in self._world.all(OBJECT)
            if thing["bucket"] == names["bucket"] and thing["name"].startswith(prefix)
        ]
        page: dict[str, Any] = {"kind": "storage#objects"}
        page["items"] = [_shown(thing) for thing in found[start : start + size]]
        if start + size < len(found):
            page["nextPageToken"] = str(start + size)
        return answer(page)

    def _delete(self, request: Request, names: Mapping[str, str]) -> Response:
        id = f"{names['bucket']}/{names['name']}"
        with self._world.lock:
            thing = self._world.get(OBJECT, id)
            if thing is None:
                return _problem(404, "notFound", f"No such object: {id}")
            self._world.remove(OBJECT, id)
            self._world.blob(thing["blob"]).unlink(missing_ok=True)
        return Response(status=204)

    # -- uploads -----------------------------------------------------------------------------------

    def _insert(self, request: Request, names: Mapping[str, str]) -> Response:
        """An upload in one request, or the beginning of one in pieces."""
        if wrong := described("storage.v1").wrong_query("objects.insert", request.args.keys()):
            return refused(wrong)
        if names["bucket"].startswith(_ABSENT):
            return _problem(404, "notFound", "The specified bucket does not exist.")
        in_pieces = request.args.get("uploadType") == "resumable"
        told, content = (request.get_data(), b"") if in_pieces else _two_parts(request)
        try:
            meta = json.loads(told or b"{}")
        except ValueError:
            return _problem(400, "parseError", "The metadata is no JSON.")
        if wrong := described("storage.v1").wrong_value("Object", meta):
            return refused(wrong)
        meta = {**meta, "name": request.args.get("name") or meta.get("name"), "bucket": names["bucket"]}
        if not meta["name"]:
            return refused([Wrong("name", "required")])
        match = request.args.get("ifGenerationMatch")
        if in_pieces:
            return self._begin(request, meta, match)
        return self._finish(meta, content, match)

    def _begin(self, request: Request, meta: Mapping[str, Any], match: str | None) -> Response:
        id = secrets.token_hex(16)
        self._world.put(_SESSION, id, {"meta": dict(meta), "match": match})
        self._world.blob(f"upload-{id}").write_bytes(b"")
        place = f"{request.base_url}?uploadType=resumable&upload_id={id}"
        return Response(status=200, headers={"Location": place, "X-GUploader-UploadID": id})

    def _upload(self, request: Request, names: Mapping[str, str]) -> Response:
        """One piece of an upload, `Content-Range: bytes 0-9/100`."""
        id = request.args.get("upload_id", "")
        session = self._world.get(_SESSION, id)
        if session is None:
            return _problem(404, "notFound", "No such upload.")
        part = self._world.blob(f"upload-{id}")
        begin, total = _range(request.headers.get("Content-Range", "bytes */*"))
        with self._world.lock:
            if begin is not None and begin == part.stat().st_size:
                with part.open("ab") as file:
                    file.write(request.get_data())
            held = part.stat().st_size
            if total is None or held < total:
                headers = {"Range": f"bytes=0-{held - 1}"} if held else {}
                return Response(status=308, headers=headers)
            self._world.remove(_SESSION, id)
            content = part.read_bytes()
            part.unlink()
        return self._finish(session["meta"], content, session["match"])

    def _finish(self, meta: Mapping[str, Any], content: bytes, match: str | None) -> Response:
        """Keep an object, whole or not at all; `match` is the generation that must be there (0: none)."""
        id, crc32c = f"{meta['bucket']}/{meta['name']}", _crc32c(content)
        if meta.get("crc32c") not in (None, crc32c):
            return _problem(400, "invalid", "Provided CRC32C does not match the content.")
        with self._world.lock:
            before = self._world.get(OBJECT, id)
            if match is not None and match != (before["generation"] if before else "0"):
                return _problem(412, "conditionNotMet", "At least one of the pre-conditions did not hold.")
            now = self._world.now()
            thing = {
                "bucket": meta["bucket"],
                "name": meta["name"],
                "contentType": meta.get("contentType") or "application/octet-stream",
                "size": str(len(content)),
                "crc32c": crc32c,
                "md5Hash": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
                "generation": str(int(now * 1e6) + secrets.randbelow(1000)),
                "timeCreated": datetime.fromtimestamp(now, UTC).isoformat(),
                "blob": f"object-{secrets.token_hex(12)}",
            }
            self._world.blob(thing["blob"]).write_bytes(content)
            self._world.put(OBJECT, id, thing)
        return answer(_shown(thing))


def _described_bucket(name: str) -> dict[str, Any]:
    region = _REGION.match(name)
    return {
        "kind": "storage#bucket",
        "id": name,
        "name": name,
        "projectNumber": PROJECT_NUMBER,
        "location": region[1].upper() if region else "US",
        "locationType": "region" if region else "multi-region",
        "softDeletePolicy": {"retentionDurationSeconds": str(_KEEPS_DELETED_S)},
    }


def _shown(thing: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in thing.items() if name != "blob"}
    return {
        "kind": "storage#object",
        "id": f"{thing['bucket']}/{thing['name']}",
        **shown,
        "metageneration": "1",
    }


def _two_parts(request: Request) -> tuple[bytes, bytes]:
    """Metadata and content of a `multipart/related` body; the bare content otherwise."""
    kind = request.headers.get("Content-Type", "")
    if not kind.startswith("multipart/related"):
        return b"", request.get_data()
    head = BytesParser().parsebytes(f"Content-Type: {kind}\n\n".encode())
    boundary = b"--" + str(head.get_boundary()).encode()
    _, told, content, _ = request.get_data().split(boundary, 3)
    return _after_headers(told), _after_headers(content)


def _after_headers(part: bytes) -> bytes:
    body = part.partition(b"\r\n\r\n")[2]
    return body.removesuffix(b"\r\n")


def _range(told: str) -> tuple[int | None, int | None]:
    """First byte of a piece, and how many there are in all; None where it does not say."""
    place, _, total = told.removeprefix("bytes ").partition("/")
    begin = place.partition("-")[0]
    return (int(begin) if begin.isdigit() else None, int(total) if total.isdigit() else None)


def _crc32c(content: bytes) -> str:
    return base64.b64encode(cast("Any", google_crc32c).Checksum(content).digest()).decode()


def _problem(code: int, reason: str, message: str) -> Response:
    """An error in Cloud Storage's own shape, which has reasons and no status word."""
    each = {"message": message, "domain": "global", "reason": reason}
    return answer({"error": {"code": code, "message": message, "errors": [each]}}, code)
