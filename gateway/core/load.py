"""From a YAML file to a `JobSpec`, with every problem reported at once and on its line.

YAML 1.2: `no` is a string and `1e-4` a number.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from gateway.core.errors import SpecError, SpecProblem
from gateway.core.spec import JobSpec

_Path = tuple[str | int, ...]
_DATA_ENDINGS = frozenset({".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".gz"})


def load_spec(path: str | Path) -> JobSpec:
    """Read a spec file.

    Raises:
        SpecError: the file is missing, is not YAML, or asks for something that is not in the spec's
            language. `problems` lists everything wrong, each with its line.
    """
    path = Path(path)
    if _DATA_ENDINGS & {ending.lower() for ending in path.suffixes}:
        raise _is_data(str(path))
    return parse_spec(_read(path), place=str(path)).at(path.absolute().parent)


def parse_spec(text: str, *, place: str = "spec") -> JobSpec:
    """The same, from text."""
    try:
        tree = YAML(typ="rt", pure=True).load(text)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    except MarkedYAMLError as error:
        problem = _syntax_problem(cast("Any", error))
        raise SpecError("this is not valid YAML", place=place, problems=(problem,)) from None
    except YAMLError:
        raise SpecError("this is not valid YAML", place=place, fix="check its encoding: UTF-8") from None
    if not isinstance(tree, CommentedMap):
        raise SpecError(
            "a spec is a mapping of keys to values",
            place=place,
            fix="write one with `tunegate init`, or see `tunegate spec schema`",
        )
    if tree and not set(_keys_at(JobSpec, ())) & {str(key) for key in tree}:  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        raise _is_data(place)
    return check_spec(_plain(tree), place=place, tree=tree)


def check_spec(
    values: Mapping[str, Any], *, place: str = "spec", tree: CommentedMap | None = None
) -> JobSpec:
    """A spec from plain values; `tree` gives line numbers where it came from YAML."""
    try:
        return JobSpec.model_validate(dict(values))
    except ValidationError as error:
        problems = problems_of(error, JobSpec, tree)
        count = "1 thing is" if len(problems) == 1 else f"{len(problems)} things are"
        raise SpecError(f"{count} wrong in this spec", place=place, problems=problems, fix=None) from None


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    tree: CommentedMap | None = None,
    prefix: _Path = (),
) -> tuple[SpecProblem, ...]:
    """Pydantic's errors as problems with a line, a path a person can read, and the nearest key.

    Union branches of one field are folded into one problem.
    """
    problems: dict[tuple[str, str], SpecProblem] = {}
    by_path: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_input=False):
        raw: _Path = item["loc"]
        path = _real_path(model, raw)
        dotted = _dotted((*prefix, *path))
        line = _line(tree, (*prefix, *path))
        if item["type"] == "extra_forbidden":
            near = _nearest(str(path[-1]), _keys_at(model, path[:-1]))
            fix = f"did you mean `{near}`?" if near else "remove it"
            problems[dotted, "unknown"] = SpecProblem(dotted, "unknown key", line=line, fix=fix)
        elif item["type"] == "missing":
            problems[dotted, "missing"] = SpecProblem(
                dotted, "required, and missing", line=_line(tree, (*prefix, *path[:-1])), fix="add it"
            )
        else:
            text = item["msg"].removeprefix("Value error, ")
            by_path.setdefault(dotted, []).append(text)
            joined = "; or ".join(dict.fromkeys(by_path[dotted]))
            problems[dotted, "value"] = SpecProblem(dotted, joined, line=line)
    return tuple(sorted(problems.values(), key=lambda p: (p.line or 0, p.path)))


def _is_data(place: str) -> SpecError:
    """Said of a file that is no spec at all, such as rows: nothing of it is quoted."""
    return SpecError(
        "this is no spec: it has none of a spec's keys",
        place=place,
        fix="to write a spec for a file of rows: `tunegate init --data FILE`",
    )


def _syntax_problem(error: Any) -> SpecProblem:
    """Where the YAML parser stopped. What it names in quotes may stand in the file, so it is left out."""
    line = error.problem_mark.line + 1 if error.problem_mark else None
    said = re.sub(r"(['\"]).*\1", "…", str(error.problem or "not valid YAML"), flags=re.DOTALL)
    return SpecProblem("(file)", said, line=line)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SpecError("no such file", place=str(path), fix="write one with `tunegate init`") from None
    except IsADirectoryError:
        raise SpecError("this is a folder, not a spec", place=str(path), fix="name the file in it") from None
    except UnicodeDecodeError:
        raise SpecError("this is not UTF-8 text", place=str(path), fix="save it as UTF-8") from None
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", place=str(path)) from None


def _plain(node: object) -> Any:
    """YAML nodes as plain dicts, lists and scalars."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in cast("Mapping[object, object]", node).items()}
    if isinstance(node, list):
        return [_plain(value) for value in cast("Iterable[object]", node)]
    for kind in (bool, int, float, str):  # ruamel's scalars carry their source text; bool before int
        if isinstance(node, kind):
            return kind(node)
    return bool(node) if type(node).__name__ == "ScalarBoolean" else node


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {str(info.validation_alias or name): info.annotation for name, info in model.model_fields.items()}


def _submodel(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _submodel(arg))), None)


def _keys_at(model: type[BaseModel], path: _Path) -> list[str]:
    found: type[BaseModel] | None = model
    for part in path:
        found = _submodel(_fields(found).get(str(part))) if found else None
    return list(_fields(found)) if found else []


def _real_path(model: type[BaseModel], loc: _Path) -> _Path:
    """Pydantic's location without the names of union branches it tried."""
    path: list[str | int] = []
    current: type[BaseModel] | None = model
    for part in loc:
        if current is None:
            if isinstance(part, int):
                path.append(part)
            continue
        path.append(part)
        current = _submodel(_fields(current).get(str(part)))
    return tuple(path)


def _nearest(key: str, keys: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(key, keys, n=1, cutoff=0.5)), None)


def _dotted(path: _Path) -> str:
    return ".".join(str(part) for part in path) or "(spec)"


def _line(tree: CommentedMap | None, path: _Path) -> int | None:
    """The 1-based line of the deepest part of `path` that stands in the file."""
    node: object = tree
    line: int | None = 1 if tree is not None else None
    for part in path:
        if isinstance(node, CommentedMap) and part in node:
            line = cast("Any", node).lc.key(part)[0] + 1
            node = cast("Any", node)[part]
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            line = cast("Any", node).lc.item(part)[0] + 1
            node = cast("Any", node)[part]
        else:
            break
    return line
