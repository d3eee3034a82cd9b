"""OpenAI's own API description, which lies beside the checkout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft4Validator

from tests.backends.made import SHARED

PATH = SHARED / "specs" / "openai-openapi.json"


class Description:
    """Schemas by name, and of every operation's reply. The file calls itself OpenAPI 3.1, and writes
    `exclusiveMinimum: true` as 3.0 did, whose schemas are draft 4."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._operations = {
            operation["operationId"]: operation
            for path in document["paths"].values()
            for verb, operation in path.items()
            if verb in ("get", "post", "delete")
        }

    def errors(self, name: str, value: Any) -> list[str]:
        """What is wrong with a value of that schema."""
        return self._errors({"$ref": f"#/components/schemas/{name}"}, value)

    def reply_errors(self, operation: str, reply: Any) -> list[str]:
        """What is wrong with an operation's reply."""
        content = self._operations[operation]["responses"]["200"]["content"]
        return self._errors(content["application/json"]["schema"], reply)

    def _errors(self, schema: dict[str, Any], value: Any) -> list[str]:
        whole = {**self.document, **schema}
        errors: Iterator[Any] = Draft4Validator(whole).iter_errors(value)  # pyright: ignore[reportUnknownMemberType]
        return [f"{list(error.absolute_path)}: {error.validator}" for error in errors]

    def properties(self, name: str) -> set[str]:
        return set(self.document["components"]["schemas"][name]["properties"])


@pytest.fixture(scope="session")
def description() -> Description:
    if not PATH.exists():
        pytest.skip("OpenAI's API description is not beside the checkout")
    return Description(json.loads(PATH.read_text(encoding="utf-8")))
