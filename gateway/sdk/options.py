"""`options.<backend>`: defaults from the settings, checked by the backend's own model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway.core.errors import SpecError, SpecProblem
from gateway.core.load import problems_of
from gateway.core.spec import JobSpec


def with_defaults(spec: JobSpec, defaults: Mapping[str, Mapping[str, Any]]) -> JobSpec:
    """The spec with the settings' options under its own; what the spec says wins."""
    if not defaults:
        return spec
    names = {**dict.fromkeys(defaults), **dict.fromkeys(spec.options)}
    merged = {name: {**defaults.get(name, {}), **spec.options.get(name, {})} for name in names}
    return spec.model_copy(update={"options": merged}).at(spec.folder)


def check_spec_options(spec: JobSpec, models: Mapping[str, type[BaseModel]]) -> None:
    """Raises:
    SpecError: an option no backend of this job takes; all of them at once.
    """
    problems: list[SpecProblem] = []
    for name, model in models.items():
        try:
            model.model_validate(dict(spec.options.get(name, {})))
        except ValidationError as error:
            problems += problems_of(error, model, prefix=("options", name))
    if problems:
        raise SpecError("options of a backend are wrong", place="spec", problems=tuple(problems))
