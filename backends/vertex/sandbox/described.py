"""Google's discovery documents: what a request may hold. They come with google-api-python-client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import googleapiclient

Schema = Mapping[str, Any]
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "integer": int,
    "object": dict,
    "array": list,
}
_HUMP = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Wrong:
    """A field that is not as described: its path in Google's notation, and what is wrong with it."""

    field: str
    text: str


class Description:
    """One version of one API."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def wrong_body(self, method: str, body: object) -> list[Wrong]:
        """What is wrong with the body of a method, `projects.locations.tuningJobs.create`."""
        request = self._method(method).get("request")
        if request is None:
            return [] if not body else [Wrong("", "a body where none is taken")]
        return list(self._read(request, body, ""))

    def wrong_query(self, method: str, names: Iterable[str]) -> list[Wrong]:
        """Parameters in the address that the method does not have; system parameters may wear a `$`."""
        known = {*self._method(method).get("parameters", {}), *self._document["parameters"]}
        return [Wrong(name, "no such parameter") for name in names if name.removeprefix("$") not in known]

    def wrong_value(self, schema: str, value: object) -> list[Wrong]:
        """What is wrong with a value of a named schema."""
        return list(self._read({"$ref": schema}, value, ""))

    def _method(self, name: str) -> Mapping[str, Any]:
        node = self._document
        *path, last = name.split(".")
        for each in path:
            node = node["resources"][each]
        return node["methods"][last]

    def _read(self, schema: Schema, value: object, path: str) -> Iterator[Wrong]:
        if "$ref" in schema:
            schema = self._document["schemas"][schema["$ref"]]
        kind = str(schema.get("type", "any"))
        if kind == "any":
            return
        if not _is_a(kind, schema, value):
            yield Wrong(path, f"no {schema.get('format') or kind}")
        elif "enum" in schema and value not in schema["enum"]:
            yield Wrong(path, "no value of the enumeration")
        elif isinstance(value, list):
            for place, item in enumerate(cast("list[object]", value)):
                yield from self._read(schema["items"], item, f"{path}[{place}]")
        elif isinstance(value, dict):
            yield from self._read_fields(schema, cast("dict[str, object]", value), path)

    def _read_fields(self, schema: Schema, value: Mapping[str, object], path: str) -> Iterator[Wrong]:
        """Fields by name. Proto's JSON takes a field in camel case and in snake case alike."""
        properties: Mapping[str, Schema] = schema.get("properties", {})
        known = {**{_snake(name): each for name, each in properties.items()}, **properties}
        for name, item in value.items():
            place = f"{path}.{_snake(name)}" if path else _snake(name)
            if name in known:
                yield from self._read(known[name], item, place)
            elif "additionalProperties" in schema:
                yield from self._read(schema["additionalProperties"], item, place)
            else:
                yield Wrong(place, "cannot find field")


def _is_a(kind: str, schema: Schema, value: object) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if schema.get("format") in ("int64", "uint64"):
        return isinstance(value, int) or (isinstance(value, str) and value.lstrip("-").isdigit())
    return isinstance(value, _KINDS[kind])


def _snake(name: str) -> str:
    return _HUMP.sub("_", name).lower()


@cache
def described(api: str) -> Description:
    """A description by its name: `aiplatform.v1`, `aiplatform.v1beta1`, `storage.v1`."""
    package = Path(str(googleapiclient.__file__)).parent
    path = package / "discovery_cache" / "documents" / f"{api}.json"
    return Description(json.loads(path.read_text("utf-8")))
