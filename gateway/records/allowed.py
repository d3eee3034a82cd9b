"""What may enter the account: a predicate of a known kind, in its shape, and no text but short ones.

What a refusal says names the field and never the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from gateway.core.errors import RecordError
from gateway.records import kinds
from gateway.records.kinds import KINDS, LONGEST_TEXT


def check_predicate(kind: str, predicate: Mapping[str, Any]) -> None:
    """Refuse what a record of this kind may not hold.

    Raises:
        RecordError: an unknown kind, or a field that is missing, outside the allow-list, of another
            type or too long; the message names the field and never the value.
    """
    if kind not in KINDS:
        raise RecordError(f"there is no kind of record {kind!r}", fix=f"the kinds are {', '.join(KINDS)}")
    try:
        KINDS[kind].shape.model_validate(predicate)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        known = {"missing": "is missing", "extra_forbidden": "is no field of it"}
        what = known.get(first["type"], "does not belong in a record")
        place = ".".join(_shown(part) for part in first["loc"])
        raise RecordError(f"{kind}: {place} {what}", place=place, fix="report this: it is a bug") from None
    for path, text in _texts(predicate, ""):
        if len(text) > LONGEST_TEXT:
            raise RecordError(
                f"{kind}: text of {len(text)} characters does not belong in a record", place=path
            )


def _shown(part: int | str) -> str:
    """A step of a path, where it is one of our names; a key of somebody's may be anybody's text."""
    return str(part) if isinstance(part, int) or part in _NAMES else "<key>"


def _names(shape: type[BaseModel]) -> Iterator[str]:
    for name, info in shape.model_fields.items():
        yield info.alias or name


_NAMES = frozenset(
    name
    for shape in vars(kinds).values()
    if isinstance(shape, type) and issubclass(shape, kinds.Shape)
    for name in _names(shape)
)


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Every text in a predicate, keys included, with the path of the field it stands in."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, item in cast("Mapping[str, object]", value).items():
            yield path, str(name)
            yield from _texts(item, f"{path}.{_shown(str(name))}".lstrip("."))
    elif isinstance(value, list | tuple):
        for item in cast("Sequence[object]", value):
            yield from _texts(item, path)
