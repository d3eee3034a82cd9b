"""AWS's REST protocol, by botocore's own description of each operation: what comes in is read and held to
it, what goes out is held to it and written."""

from __future__ import annotations

import json
import re
import struct
from binascii import crc32
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import Session
from botocore.validate import ParamValidator
from werkzeug.wrappers import Request, Response

_SCOPE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, *"
    r"SignedHeaders=(?P<headers>[^,]+), *Signature=(?P<signature>[0-9a-f]{64})"
)
_SKEW = timedelta(minutes=5)


class Problem(Exception):
    """An error as AWS names it."""

    def __init__(self, name: str, status: int, message: str) -> None:
        super().__init__(message)
        self.name, self.status, self.message = name, status, message

    def response(self) -> Response:
        body = json.dumps({"message": self.message})
        return Response(body, self.status, {"x-amzn-ErrorType": self.name}, mimetype="application/json")


def invalid(message: str) -> Problem:
    return Problem("ValidationException", 400, message)


def absent(message: str) -> Problem:
    return Problem("ResourceNotFoundException", 404, message)


@dataclass(frozen=True, slots=True)
class Keys:
    """The one credential that is known here."""

    key: str
    secret: str
    token: str


class Service:
    """One of AWS's services, as botocore describes it."""

    def __init__(self, name: str) -> None:
        session: Any = Session()
        self._model: Any = session.get_service_model(name)

    def route(self, operation: str) -> tuple[str, str]:
        """Method and path of an operation, as a rule of werkzeug's; identifiers may hold `/`."""
        http: dict[str, str] = self._model.operation_model(operation).http
        return http["method"], re.sub(r"\{(\w+)\}", r"<path:\1>", http["requestUri"].partition("?")[0])

    def read(self, operation: str, request: Request, places: Mapping[str, str]) -> dict[str, Any]:
        """The parameters of a call.

        Raises:
            Problem: they are not what AWS describes: unknown, missing, of another type, pattern or value.
        """
        shape = self._model.operation_model(operation).input_shape
        asked = _collected(shape, request, places)
        problems = _problems(shape, asked)
        if problems:
            raise invalid(f"{len(problems)} validation errors detected: {'; '.join(problems)}")
        return asked

    def write(self, operation: str, reply: Mapping[str, Any]) -> Response:
        """A reply, held to the description: a stand-in that answers otherwise is a defect here."""
        model = self._model.operation_model(operation)
        _hold(model.output_shape, reply, operation)
        return Response(_json(reply), model.http["responseCode"], mimetype="application/json")

    def stream(self, operation: str, events: Sequence[tuple[str, Mapping[str, Any]]]) -> Response:
        """A reply of events, each in AWS's binary framing."""
        shape = self._model.operation_model(operation).output_shape.members["stream"]
        frames: list[bytes] = []
        for name, event in events:
            _hold(shape.members[name], event, f"{operation} {name}")
            frames.append(_frame(name, _json(event).encode()))
        return Response(b"".join(frames), 200, mimetype="application/vnd.amazon.eventstream")


def authenticate(request: Request, keys: Keys, now: float, *, body_signed: bool) -> str:
    """Whether a request is signed with the sandbox's credential, by botocore's own signer; the region it
    is signed for.

    Args:
        body_signed: check the signature itself; else, where S3 frames bodies its own way, who signed.
    """
    found = _SCOPE.match(request.headers.get("Authorization", ""))
    if found is None:
        raise Problem("MissingAuthenticationTokenException", 403, "Missing Authentication Token")
    token = request.headers.get("X-Amz-Security-Token")
    if (found["key"], token) != (keys.key, keys.token):
        raise Problem("UnrecognizedClientException", 403, "The security token in the request is invalid.")
    signed_at = request.headers.get("X-Amz-Date", "19700101T000000Z")
    then = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs(datetime.fromtimestamp(now, UTC) - then) > _SKEW:
        raise Problem("InvalidSignatureException", 403, f"Signature expired: {signed_at}")
    if body_signed and _signature(request, found, keys, signed_at) != found["signature"]:
        raise Problem("InvalidSignatureException", 403, "The signatures do not match")
    return found["region"]


def _signature(request: Request, found: re.Match[str], keys: Keys, signed_at: str) -> str:
    signer: Any = SigV4Auth(Credentials(keys.key, keys.secret, keys.token), found["service"], found["region"])
    url = f"http://{request.host}{request.environ['RAW_URI']}"
    headers = {name: request.headers.get(name, "") for name in found["headers"].split(";")}
    signed: Any = AWSRequest(request.method, url, headers=headers, data=request.get_data())
    signed.context["timestamp"] = signed_at
    canonical = signer.canonical_request(signed)
    return str(signer.signature(signer.string_to_sign(signed, canonical), signed))


def _collected(shape: Any, request: Request, places: Mapping[str, str]) -> dict[str, Any]:
    """Parameters from the path, the query and the body."""
    body: Any = json.loads(request.get_data() or b"{}")
    if not isinstance(body, dict):
        raise invalid("the body is no object")
    asked: dict[str, Any] = dict(body)  # pyright: ignore[reportUnknownArgumentType]
    for name, member in shape.members.items():
        located = member.serialization.get("location")
        wire_name = member.serialization.get("name", name)
        if located == "uri":
            asked[name] = places[wire_name]
        elif located == "querystring" and wire_name in request.args:
            asked[name] = _from_query(member, request.args[wire_name])
    return asked


def _from_query(member: Any, text: str) -> Any:
    try:
        match member.type_name:
            case "integer":
                return int(text)
            case "boolean":
                return {"true": True, "false": False}[text]
            case "timestamp":
                return datetime.fromisoformat(text)
            case _:
                return text
    except (ValueError, KeyError):
        raise invalid(f"{member.name} cannot be read") from None


def _problems(shape: Any, value: Mapping[str, Any]) -> list[str]:
    validator: Any = ParamValidator()
    report = validator.validate(dict(value), shape)
    return [report.generate_report()] if report.has_errors() else list(_wrong(shape, value, ""))


def _wrong(shape: Any, value: Any, path: str) -> Iterator[str]:
    """What AWS's servers hold to and botocore leaves to them: patterns, values of an enumeration, names
    that are not there."""
    match shape.type_name:
        case "structure" if not shape.metadata.get("document"):
            for name, item in value.items():
                if name not in shape.members:
                    yield f"{path}.{name} is unknown"
                else:
                    yield from _wrong(shape.members[name], item, f"{path}.{name}")
        case "list":
            for number, item in enumerate(value):
                yield from _wrong(shape.member, item, f"{path}[{number}]")
        case "string":
            pattern, allowed = shape.metadata.get("pattern"), shape.metadata.get("enum")
            if pattern and not re.fullmatch(pattern, value):
                yield f"{path} does not satisfy its pattern"
            if allowed and value not in allowed:
                yield f"{path} is none of its values"
        case _:
            pass


def _hold(shape: Any, value: Mapping[str, Any], what: str) -> None:
    if shape is None:
        return
    if problems := _problems(shape, value):
        raise AssertionError(f"the stand-in's answer to {what} is not AWS's: {'; '.join(problems)}")


def _json(value: Mapping[str, Any]) -> str:
    def told(item: datetime) -> str:
        return item.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    return json.dumps(value, default=told)


def _frame(event: str, payload: bytes) -> bytes:
    """One message of `vnd.amazon.eventstream`: lengths, headers, payload, and a checksum after each half."""
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(text)) + text.encode()
        for name, text in (
            (":event-type", event),
            (":content-type", "application/json"),
            (":message-type", "event"),
        )
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", crc32(prelude)) + headers + payload
    return message + struct.pack("!I", crc32(message))
