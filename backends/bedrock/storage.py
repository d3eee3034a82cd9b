"""The buckets of a job: rows go in, metrics come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from backends.bedrock import failures
from backends.bedrock.client import Clients
from gateway.core.errors import NotFound, Rejected

T = TypeVar("T")
_MOST_BYTES = 8 * 2**20
_IN_PARTS_FROM = 8 * 2**20  # boto3's own threshold


def unless_absent(call: Callable[[], T]) -> T | None:
    """What the call gives; None where AWS says there is no such thing."""
    try:
        return call()
    except Exception as error:
        if failures.is_absent(error):
            return None
        raise


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def put(clients: Clients, region: str, path: Path, request: Mapping[str, Any]) -> str:
    """Upload a file, unless it is there; its URI. A key names its content, and S3 shows an object whole
    or not at all, so one of that key and size is this file.

    Args:
        request: the PutObject that a plan shows, without the bytes.

    Raises:
        NotFound: there is no such bucket.
        Rejected: the bucket lies in another region.
    """
    more = dict(request)
    bucket, key = str(more.pop("Bucket")), str(more.pop("Key"))
    owner = {name: value for name, value in more.items() if name == "ExpectedBucketOwner"}
    _stays_in(clients, region, bucket, owner)
    size = path.stat().st_size
    if size != _size_of(clients, bucket, key):
        # In one piece it is sent once: after a lost reply we look instead. Lost parts of many are sent again.
        s3 = clients["put" if size < _IN_PARTS_FROM else "s3"]
        try:
            s3.upload_file(str(path), bucket, key, ExtraArgs=more or None)
        except Exception:
            if size != _size_of(clients, bucket, key):
                raise
    return f"s3://{bucket}/{key}"


def _size_of(clients: Clients, bucket: str, key: str) -> int | None:
    head: Any = unless_absent(lambda: clients["s3"].head_object(Bucket=bucket, Key=key))
    return None if head is None else int(head["ContentLength"])


def _stays_in(clients: Clients, region: str, bucket: str, owner: Mapping[str, Any]) -> None:
    """Rows go only to the region that was decided about: the SDK itself would follow a bucket anywhere."""
    head = unless_absent(lambda: clients["s3"].head_bucket(Bucket=bucket, **owner))
    if head is None:
        raise NotFound(
            "there is no such bucket",
            backend="bedrock",
            place=bucket,
            fix="check options.bedrock.output_uri and data_uri",
        )
    if (found := head.get("BucketRegion")) != region:
        raise Rejected(
            f"this bucket lies in {found or 'an unknown region'}, and the job would run in {region}",
            backend="bedrock",
            place=bucket,
            fix="name one in the job's region; `{region}` in options.bedrock.output_uri stands for it",
        )


def remove(clients: Clients, uri: str) -> None:
    """Delete an object, and the parts of an upload of it that was cut off: those hold rows too."""
    bucket, key = split(uri)
    s3 = clients["s3"]
    begun: Any = unless_absent(lambda: s3.list_multipart_uploads(Bucket=bucket, Prefix=key))
    for upload in () if begun is None else begun.get("Uploads", ()):
        if upload["Key"] == key:
            s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])
    unless_absent(lambda: s3.delete_object(Bucket=bucket, Key=key))


def names(clients: Clients, bucket: str, prefix: str) -> list[str]:
    """Keys that begin so, all pages of them."""
    pages = clients["s3"].get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [str(each["Key"]) for page in pages for each in page.get("Contents", ())]


def read(clients: Clients, bucket: str, key: str) -> str | None:
    """A small text, at most its first 8 MiB; None where there is none."""
    found: Any = unless_absent(lambda: clients["s3"].get_object(Bucket=bucket, Key=key))
    return None if found is None else found["Body"].read(_MOST_BYTES).decode(errors="replace")
