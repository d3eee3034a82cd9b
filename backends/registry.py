"""Names → backends. Built-in and outside backends enter by the same door.

A line is a dotted path to a `Backend` class and the folder of its facts; nothing is imported until
asked for. Outside packages add theirs through entry points in the group `tunegate.backends`, each
naming a `Registration`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.base import Backend
from backends.facts import load_facts
from gateway.core.errors import SettingsError
from gateway.core.facts import Facts

if TYPE_CHECKING:
    from backends.sandbox.server import Room

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Registration:
    """Where a backend's class and facts are, how to install what it needs, and its stand-in."""

    path: str  # "package.module:Class"
    facts: Path
    install: str
    sandbox: str | None = None  # "package.module:Class" of a `backends.sandbox.server.Room`


def _built_in(path: str, facts: str, extra: str, sandbox: str | None = None) -> Registration:
    return Registration(path, _HERE / facts, f"pip install 'tunegate[{extra}]'", sandbox)


BUILT_IN: Mapping[str, Registration] = {
    "openai": _built_in(
        "backends.openai.backend:OpenAIBackend",
        "openai/facts.toml",
        "openai",
        "backends.openai.sandbox.room:OpenAIRoom",
    ),
    "azure": _built_in(
        "backends.openai.azure:AzureBackend",
        "openai/facts-azure.toml",
        "azure",
        "backends.openai.sandbox.azure:AzureRoom",
    ),
    "compatible": _built_in(
        "backends.openai.compatible:CompatibleBackend",
        "openai/facts-compatible.toml",
        "openai",
        "backends.openai.sandbox.room:CompatibleRoom",
    ),
    "bedrock": _built_in(
        "backends.bedrock.backend:BedrockBackend",
        "bedrock/facts.toml",
        "bedrock",
        "backends.bedrock.sandbox:BedrockRoom",
    ),
    "vertex": _built_in(
        "backends.vertex.backend:VertexBackend",
        "vertex/facts.toml",
        "vertex",
        "backends.vertex.sandbox:VertexRoom",
    ),
    "local": _built_in("backends.local.backend:LocalBackend", "local/facts.toml", "local"),
}


@cache
def registrations() -> Mapping[str, Registration]:
    """Every registered backend, built-in first; an outside package cannot replace a built-in."""
    outside = {point.name: point.load() for point in entry_points(group="tunegate.backends")}
    return {**BUILT_IN, **{name: found for name, found in outside.items() if name not in BUILT_IN}}


def names() -> tuple[str, ...]:
    return tuple(registrations())


def facts(name: str) -> Facts:
    """A backend's facts; no SDK is imported.

    Raises:
        SettingsError: no backend has this name.
    """
    return load_facts(_registration(name).facts)


def create(name: str, home: Path) -> Backend:
    """A backend, constructed; its SDK is imported only when a lifecycle call needs it."""
    cls: type[Backend] = _load(_registration(name).path)
    return cls(facts(name), home)


def sandbox_room(name: str) -> type[Room] | None:
    """The local stand-in of a backend; None where it has none. Needs the extra `sandbox`."""
    path = _registration(name).sandbox
    return None if path is None else _load(path)


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def install_hint(name: str) -> str:
    return _registration(name).install


def _registration(name: str) -> Registration:
    try:
        return registrations()[name]
    except KeyError:
        raise SettingsError(
            f"no backend is called {name!r}",
            fix=f"the registered ones are {', '.join(names())}",
        ) from None
