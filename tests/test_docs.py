"""What is written for users is true: commands, options, fields, names and exit codes."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import gateway
from backends import registry
from gateway.cli.main import EXIT_INTERRUPTED, app
from gateway.core import errors
from gateway.core.spec import JobSpec

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPEC = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
ROOT_COMMAND: Any = typer.main.get_command(app)


def commands(node: Any = ROOT_COMMAND, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that `--help` shows, with its words."""
    if not hasattr(node, "commands"):
        yield path, node
        return
    for name, child in node.commands.items():
        if not child.hidden:
            yield from commands(child, (*path, name))


COMMANDS = dict(commands())


def fields(model: type[BaseModel] = JobSpec, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted path of every field that holds a value rather than a part."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.validation_alias or name}"
        part: Any = next(filter(_is_model, (info.annotation, *get_args(info.annotation))), None)
        if part is None:
            yield path, info
        else:
            yield from fields(part, f"{path}.")


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def rows(text: str) -> dict[str, list[str]]:
    """First column → the other columns, of every table in a page."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := re.match(r"\| `([^`]+)` \|(.*)\|$", line):
            assert match[1] not in found, f"{match[1]} is documented twice"
            found[match[1]] = [cell.strip() for cell in match[2].split("|")]
    return found


ROWS = rows(SPEC)
FIELDS = dict(fields())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_that_is_a_command(words: tuple[str, ...]) -> None:
    text = COMMANDS[words].help
    examples = re.findall(r"^\s*(?:Example: )?(tunegate .+)$", text, re.MULTILINE)
    assert examples, f"`tunegate {' '.join(words)} --help` has no example"
    for example in examples:
        assert example.split()[1 : 1 + len(words)] == list(words)
        check_line(example)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_and_argument_is_explained(words: tuple[str, ...]) -> None:
    for parameter in COMMANDS[words].params:
        assert parameter.help, f"`tunegate {' '.join(words)}`: {parameter.name} has no help text"


def check_line(line: str) -> None:
    """A shell line that calls `tunegate` names a command, and options that it has."""
    line = re.split(r"\s[|>#]", line)[0]
    words = shlex.split(line, comments=True)[1:]
    if "--" in words:  # what follows is a command of its own
        inner = words[words.index("--") + 1 :]
        words = words[: words.index("--")]
        if inner[:1] == ["tunegate"]:
            check_line(shlex.join(inner))
    path = next((tuple(words[:length]) for length in (3, 2, 1) if tuple(words[:length]) in COMMANDS), None)
    assert path, f"no such command: {line}"
    known = {
        option
        for parameter in COMMANDS[path].params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    unknown = {word for word in words[len(path) :] if re.match(r"--?[a-z]", word)} - known
    assert not unknown, f"{line}: no such option {unknown}"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_value_to_give_has_a_name(words: tuple[str, ...]) -> None:
    """`--as NAME`, not `--as <str>`: what is to be given is said, not of what type it is."""
    for parameter in COMMANDS[words].params:
        if parameter.type_descriptor.annotation in (str, Path, list[str], list[Path]):
            assert parameter.metavar, f"`tunegate {' '.join(words)}`: {parameter.name}"


def told() -> Iterator[tuple[str, str]]:
    """Every text in our own code that names a command: module and line, and the command."""
    for top in ("gateway", "backends", "cost"):
        for path in sorted((ROOT / top).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                for command in re.findall(r"`(tunegate [a-z][^`…]+)`", text_of(node)):
                    yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", command


def text_of(node: ast.AST) -> str:
    """A string as it is printed, X for each value put into it; empty for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    return ""


def test_commands_named_in_messages_exist() -> None:
    """What an error tells to do next can be done."""
    found = list(told())
    assert len(found) > 50
    for place, command in found:
        if "--help" not in command:
            try:
                check_line(command)
            except AssertionError as error:
                raise AssertionError(f"{place}: {error}") from None


def test_nothing_is_eaten_as_markup() -> None:
    """`[[approvers]]` in a help text would be read as a style, and be gone."""
    for words, command in COMMANDS.items():
        texts = [command.help, *(parameter.help for parameter in command.params)]
        eaten = [each for text in texts for each in re.findall(r"\[[a-z/][^\]]*\]", text or "")]
        assert not eaten, f"`tunegate {' '.join(words)} --help` loses {eaten}"


PAGES = sorted({ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_docs_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    inline = re.findall(r"`(tunegate [^`]+)`", text)
    for line in (*blocks.splitlines(), *inline):
        if line.startswith("tunegate ") and not line.startswith("tunegate --"):
            check_line(line)
        if line.startswith("make "):
            assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_in_the_docs_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_field_of_the_spec_is_documented_and_no_other() -> None:
    options = {f"options.{name}" for name in registry.names()}
    documented = {path for path in ROWS if not path.startswith(tuple(f"{each}." for each in options))}
    assert documented == set(FIELDS)


@pytest.mark.parametrize("path", FIELDS)
def test_a_field_is_documented_with_its_default_and_its_choices(path: str) -> None:
    if path == "options":
        return
    values, default, meaning = ROWS[path]
    info = FIELDS[path]
    assert meaning
    if info.is_required():
        assert default == "required"
    elif isinstance(info.default, str | int | float):
        assert default == f"`{_shown(info.default)}`"
    for choice in _choices(info.annotation):
        assert f"`{choice}`" in values, f"{path}: {choice} is not documented"


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _choices(annotation: Any) -> Iterator[object]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    for each in get_args(annotation):
        if not isinstance(each, str | int):
            yield from _choices(each)


def test_every_option_of_a_backend_is_documented() -> None:
    documented: dict[str, set[str]] = {}
    for path in ROWS:
        if path.startswith("options."):
            _, backend, key = path.split(".")
            documented.setdefault(backend, set()).add(key)
    for name in registry.names():
        keys = set(registry.create(name, Path("unused")).options.model_fields)
        stands_for = name if name in documented or not keys else "openai"
        assert documented.get(stands_for, set()) == keys, name
        if stands_for != name:
            assert f"`{name}`" in " ".join(ROWS["options.openai.suffix"])


def test_metrics_are_documented() -> None:
    from gateway.evaluate.metrics import ASKABLE

    listed = set(re.findall(r"`(\w+)`", ROWS["evaluate.metrics"][0]))
    assert listed == set(ASKABLE)


def test_the_specs_in_the_readme_are_specs() -> None:
    from gateway.core.load import parse_spec

    found = re.findall(r"```yaml\n(version: 1\n.*?)```", README, re.DOTALL)
    assert found
    for text in found:
        parse_spec(text)


def test_python_in_the_readme_uses_public_names_only() -> None:
    for names in re.findall(r"from gateway import ([\w, ]+)", README):
        assert set(names.split(", ")) <= set(gateway.__all__)
    for method in re.findall(r"\bgw\.(\w+)", README):
        assert hasattr(gateway.Gateway, method) or method in ("jobs", "data", "costs", "records")
    for attribute in re.findall(r"\bjob\.(\w+)", README):
        assert hasattr(gateway.JobHandle, attribute) or attribute == "yaml"


def test_exit_codes_in_the_readme_are_those_of_the_errors() -> None:
    section = README.split("## Exit codes")[1]
    codes = {int(code): text.strip() for code, text in re.findall(r"(\d+) ([^·.]+)", section)}
    classes = [each for each in vars(errors).values() if _is_error(each)]
    used = {each.exit_code for each in classes}
    assert used | {0, 1, EXIT_INTERRUPTED} == set(codes)
    for error, word in (
        (errors.SpecError, "spec"),
        (errors.DataError, "data"),
        (errors.PolicyDenied, "policy"),
        (errors.OverBudget, "budget"),
        (errors.NothingCanRun, "nothing can run"),
        (errors.BackendError, "backend failed"),
    ):
        assert word in codes[error.exit_code]


def _is_error(each: object) -> bool:
    return isinstance(each, type) and issubclass(each, errors.TunegateError)
