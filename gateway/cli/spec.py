"""`tunegate spec schema`: the spec's own description, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway import JobSpec
from gateway.cli.console import print_json


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="the job spec's own description", no_args_is_help=True)
    app.add_typer(group, name="spec")

    @group.command("schema")
    def schema() -> None:  # pyright: ignore[reportUnusedFunction]
        """Print the JSON Schema of a job spec, so that editors complete and check it.

        Example: tunegate spec schema > job.schema.json
        """
        print_json(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                **JobSpec.model_json_schema(by_alias=True),
            }
        )

    @group.command("check")
    def check(
        path: Annotated[Path, typer.Argument(help="the job spec, YAML", metavar="SPEC")],
    ) -> None:  # pyright: ignore[reportUnusedFunction]
        """Check a spec without looking at its data; every problem at once, with its line.

        Example: tunegate spec check job.yaml
        """
        spec = JobSpec.from_yaml(path)
        typer.echo(f"{path}: a valid spec for {spec.name} ({spec.hash()[:12]})")
