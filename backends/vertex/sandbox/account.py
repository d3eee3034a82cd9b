"""The account of a rehearsal: a service account's key made for this sandbox, and the tokens it buys.

Credentials live by this machine's clock, as Google's do by its own; only jobs live by the world's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
import time
from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from werkzeug.wrappers import Request, Response

from backends.sandbox.server import answer
from backends.sandbox.world import World
from backends.vertex.sandbox.problems import problem

PROJECT = "tunegate-sandbox"
PROJECT_NUMBER = "100000000001"
_EMAIL = f"rehearsal@{PROJECT}.iam.gserviceaccount.com"
_TOKEN = "vertex.token"  # noqa: S105  # the kind of a thing
_TOKEN_LIVES_S = 3600
_SKEW_S = 300


class Account:
    """The one service account there is."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._file = world.folder / "vertex-service-account.json"

    def key_file(self, address: str) -> Path:
        """The key, in the file google-auth reads, pointing to the sandbox at this address. Its secret opens
        nothing but this sandbox; the file is its owner's alone."""
        with self._world.lock:
            key: dict[str, str] = (
                json.loads(self._file.read_text("utf-8")) if self._file.exists() else _new_key()
            )
            key["token_uri"] = f"{address}/vertex/token"
            self._file.touch(mode=0o600)
            self._file.write_text(json.dumps(key, indent=2), "utf-8")
        return self._file

    # -- tokens ------------------------------------------------------------------------------------

    def token(self, request: Request) -> Response:
        """OAuth: a signed assertion for a token. https://datatracker.ietf.org/doc/html/rfc7523"""
        try:
            claims = self._claims(request.form.get("assertion", ""))
        except (ValueError, InvalidSignature, binascii.Error):
            return _no_token("Invalid JWT Signature.")
        now = time.time()
        if not (claims["iat"] - _SKEW_S <= now <= claims["exp"]):
            return _no_token("Invalid JWT: Token must be a short-lived token and in a reasonable timeframe.")
        token = f"ya29.{secrets.token_urlsafe(32)}"
        self._world.put(_TOKEN, _hash(token), {"until": now + _TOKEN_LIVES_S})
        return answer({"access_token": token, "expires_in": _TOKEN_LIVES_S - 1, "token_type": "Bearer"})

    def refuses(self, request: Request) -> Response | None:
        """Why a request may not pass: it has no token, or none of ours, or an old one."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        known = self._world.get(_TOKEN, _hash(token)) if kind == "Bearer" else None
        if known is None:
            text = "Request had invalid authentication credentials."
            return problem("UNAUTHENTICATED", text, reason="ACCESS_TOKEN_TYPE_UNSUPPORTED")
        if known["until"] < time.time():
            return problem("UNAUTHENTICATED", "The token has expired.", reason="ACCESS_TOKEN_EXPIRED")
        return None

    def _claims(self, assertion: str) -> dict[str, Any]:
        """What a JWT says, once its signature holds."""
        signed, _, signature = assertion.rpartition(".")
        _, _, payload = signed.partition(".")
        secret = json.loads(self._file.read_text("utf-8"))["private_key"].encode()
        key = cast("rsa.RSAPrivateKey", serialization.load_pem_private_key(secret, None))
        key.public_key().verify(_bytes(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return json.loads(_bytes(payload))


def _new_key() -> dict[str, str]:
    secret = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem.decode(),
        "client_email": _EMAIL,
        "client_id": PROJECT_NUMBER,
        "universe_domain": "googleapis.com",
    }


def _no_token(description: str) -> Response:
    return answer({"error": "invalid_grant", "error_description": description}, 400)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
