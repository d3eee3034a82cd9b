"""Training files in Cloud Storage: named by their content, sent once, kept near the job."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, cast

from backends.vertex import wire
from backends.vertex.client import CONNECT_TIMEOUT_S, Clients
from backends.vertex.places import is_around
from gateway.core.errors import NotFound, Rejected
from gateway.core.plan import ProviderFile

_TIMEOUT = (CONNECT_TIMEOUT_S, 300.0)
_WHOLE = 8 * 2**20  # bytes; up to these the SDK sends a file in one request, larger ones in pieces
_CHUNK = 2**20


def stage(
    clients: Clients, file: ProviderFile, path: Path, options: wire.VertexOptions, region: str, backend: str
) -> str:
    """Bring a file to its bucket, unless these very bytes lie there; its `gs://` URI.

    Raises:
        NotFound: there is no such bucket.
        Rejected: the bucket is elsewhere than the job, or other bytes lie in the file's place.
    """
    place = wire.upload(file, options, region).body
    bucket = bucket_near(clients, place["bucket"], region, backend)
    blob = cast("Any", bucket).blob(place["name"])
    if not _is_there(blob, path, backend):
        _send(blob, path, backend)
    return f"gs://{place['bucket']}/{place['name']}"


def unstage(clients: Clients, uri: str) -> None:
    """Delete a staged file; where it is gone, nothing."""
    from google.api_core import exceptions

    bucket, _, name = uri.removeprefix("gs://").partition("/")
    try:
        cast("Any", clients.storage).bucket(bucket).blob(name).delete(timeout=_TIMEOUT, retry=None)
    except exceptions.NotFound:
        return


def remove_folder(clients: Clients, uri: str) -> None:
    """Delete everything under a `gs://` folder."""
    bucket, _, prefix = uri.removeprefix("gs://").partition("/")
    storage: Any = clients.storage
    for blob in storage.list_blobs(bucket, prefix=f"{prefix.rstrip('/')}/", timeout=_TIMEOUT, retry=None):
        unstage(clients, f"gs://{bucket}/{blob.name}")


def bucket_near(clients: Clients, name: str, region: str, backend: str) -> object:
    """The project's bucket, once it is known to lie where the job's data may be.

    Names of buckets are everybody's: one that we derive may have been taken by a stranger, who would then be
    sent the rows. So the bucket is looked for among those of the project. And what was decided about this
    job was decided for its region: a bucket elsewhere would move the rows past that decision.

    Raises:
        NotFound: the project has no such bucket.
        Rejected: it is elsewhere.
    """
    storage: Any = clients.storage
    listed = storage.list_buckets(project=clients.project, prefix=name, timeout=_TIMEOUT, retry=None)
    bucket = next((each for each in listed if each.name == name), None)
    make = f"`gcloud storage buckets create gs://NAME --project={clients.project} --location={region}`"
    if bucket is None:
        fix = f"make it, {make.replace('NAME', name)}, or name one of its own in options.vertex.data_uri"
        text = f"the project {clients.project} has no bucket {name}"
        raise NotFound(text, backend=backend, fix=fix)
    if not is_around(bucket.location, region):
        raise Rejected(
            f"the bucket {name} is in {bucket.location}, and the job in {region}",
            backend=backend,
            fix=f"name a bucket of {region} in options.vertex.data_uri, or make one: {make}",
        )
    return bucket


def _is_there(blob: Any, path: Path, backend: str) -> bool:
    """Whether the file lies in its place, whole: somebody sent it, perhaps we did and never heard so."""
    from google.api_core import exceptions

    try:
        blob.reload(timeout=_TIMEOUT, retry=None)
    except exceptions.NotFound:
        return False
    if blob.size != path.stat().st_size or blob.crc32c != _crc32c(path):
        raise Rejected(
            f"other bytes lie at gs://{blob.bucket.name}/{blob.name}, a place named by its content",
            backend=backend,
            fix="find out who wrote there; then delete it, and resume the job",
        )
    return True


def _send(blob: Any, path: Path, backend: str) -> None:
    """Send a file on condition that nothing lies there, so that sending twice is sending once. A piece of
    a large file that got lost is sent again here; a small one is left to whoever asked."""
    from google.api_core import exceptions
    from google.cloud.storage.retry import DEFAULT_RETRY

    in_pieces = path.stat().st_size > _WHOLE
    try:
        blob.upload_from_filename(
            str(path),
            content_type="application/jsonl",
            if_generation_match=0,
            timeout=_TIMEOUT,
            retry=DEFAULT_RETRY if in_pieces else None,
        )
    except exceptions.PreconditionFailed:  # it came there meanwhile
        _is_there(blob, path, backend)


def _crc32c(path: Path) -> str:
    """The checksum Cloud Storage keeps, in its notation."""
    import google_crc32c

    checksum: Any = cast("Any", google_crc32c).Checksum()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum.update(chunk)
    return base64.b64encode(checksum.digest()).decode()
