"""Commands whose rooms are not built yet: each says so in a typed error, and none pretends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from gateway.core.errors import Unsupported

LATER = {
    "serve": "the HTTP gateway and the dashboard",
}


def register(app: typer.Typer) -> None:
    for name, what in LATER.items():
        app.command(name, help=f"{what} (not built yet)", hidden=True)(_command(name))


def _command(name: str) -> Callable[..., None]:
    def command(_arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
        raise Unsupported(
            f"`tunegate {name}` is not built yet",
            fix="what is built: `tunegate --help`",
        )

    return command
