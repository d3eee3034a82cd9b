"""S3, IAM and STS: moto's own server application, mounted, so that faults reach it and one port is enough.

moto keeps everything in memory: objects are also kept in the sandbox's folder, and given back to it when
the sandbox starts again. The buckets and the role are made anew each time.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Request, Response

from backends.sandbox.world import World

ROLE = "tunegate-sandbox"
_OBJECT = "bedrock.object"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "bedrock.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


class Buckets:
    """One AWS account's buckets and role.

    Args:
        world: where objects are kept.
        account: twelve digits. moto is one for a whole process: the account keeps sandboxes apart.
        regions: each gets a bucket.
    """

    def __init__(self, world: World, account: str, regions: tuple[str, ...]) -> None:
        self._world = world
        self._account = account
        self._regions = regions
        self._application = DomainDispatcherApplication(create_backend_app)

    def name(self, region: str) -> str:
        return f"tunegate-sandbox-{self._account}-{region}"

    @property
    def role_arn(self) -> str:
        return f"arn:aws:iam::{self._account}:role/{ROLE}"

    @cached_property
    def _s3(self) -> Any:
        return get_backend("s3")[self._account]["aws"]

    @cached_property
    def _iam(self) -> Any:
        return get_backend("iam")[self._account]["aws"]

    def open(self) -> None:
        self.close()
        for region in self._regions:
            self._s3.create_bucket(self.name(region), region)
        self._iam.create_role(ROLE, json.dumps(_TRUST), "/", None, "", [], 3600)
        for kept in self._world.all(_OBJECT):
            if kept["bucket"] not in self._s3.buckets:
                self._s3.create_bucket(kept["bucket"], kept["region"])
            value = self._world.blob(kept["blob"]).read_bytes()
            self._s3.put_object(kept["bucket"], kept["key"], value)

    def close(self) -> None:
        s3_of_all: Any = get_backend("s3")
        for name in list(self._s3.buckets):
            s3_of_all.bucket_accounts.pop(name, None)
        self._s3.reset()
        self._iam.reset()

    def has_role(self, arn: str) -> bool:
        return arn in [role.arn for role in self._iam.roles.values()]

    def region_of(self, bucket: str) -> str | None:
        found = self._s3.buckets.get(bucket)
        return None if found is None else str(found.region_name)

    def read(self, bucket: str, key: str) -> bytes | None:
        found = self._s3.get_object(bucket, key) if bucket in self._s3.buckets else None
        return None if found is None else bytes(found.value)

    def write(self, bucket: str, key: str, value: bytes) -> None:
        self._s3.put_object(bucket, key, value)
        self._keep(bucket, key)

    def answer(self, request: Request, places: Mapping[str, str]) -> Response:
        """What moto answers; what changed is kept."""
        bucket, key = places.get("bucket", ""), places.get("key", "")
        environ = dict(request.environ)
        raw = str(environ["RAW_URI"]).partition("/aws")[2]
        environ |= {
            "PATH_INFO": f"/{bucket}/{key}" if key else f"/{bucket}",
            "SCRIPT_NAME": "",
            "RAW_URI": raw if raw.startswith("/") else f"/{raw}",
            "HTTP_X_MOTO_ACCOUNT_ID": self._account,
        }
        response = Response.from_app(self._application, environ, buffered=True)
        if request.method in ("PUT", "POST", "DELETE") and bucket:
            self._keep_all(bucket) if not key else self._keep(bucket, key)
        return response

    def _keep(self, bucket: str, key: str) -> None:
        """Make the folder say what moto says of one object."""
        name, value = f"{bucket}/{key}", self.read(bucket, key)
        with self._world.lock:
            kept = self._world.get(_OBJECT, name)
            if value is not None:
                blob = kept["blob"] if kept else f"s3-{secrets.token_hex(12)}"
                self._world.blob(blob).write_bytes(value)
                about = {"bucket": bucket, "key": key, "region": self.region_of(bucket), "blob": blob}
                self._world.put(_OBJECT, name, about)
            elif kept:
                self._world.remove(_OBJECT, name)
                self._world.blob(kept["blob"]).unlink(missing_ok=True)

    def _keep_all(self, bucket: str) -> None:
        for kept in self._world.all(_OBJECT):
            if kept["bucket"] == bucket:
                self._keep(bucket, kept["key"])
