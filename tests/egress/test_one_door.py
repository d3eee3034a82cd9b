"""There is one function through which data reaches a backend, and it asks: held by reading the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOOR = ROOT / "gateway" / "egress.py"
# What a backend is called for with data, or with a model made of data.
SENDS = frozenset({"stage", "submit", "resume", "complete", "stream", "score", "merge", "deploy"})


def sending(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every use of such a method, called or handed on, of what is or may be a backend."""
    tree = ast.parse(source)
    backends = _backends(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in SENDS and _may_be(node.value, backends):
            yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "operator.methodcaller"):
            names = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
            if names & SENDS:
                yield node.lineno, ast.unparse(node)


def _may_be(value: ast.expr, backends: set[str]) -> bool:
    """By its own words, or because its name is bound to a backend somewhere in the file."""
    text = ast.unparse(value)
    return "backend" in text.lower() or "registry" in text or text in backends


def _backends(tree: ast.AST) -> set[str]:
    """Names that are annotated as a backend, or bound to something that says it is one."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name, annotation=annotation) if annotation and _says(annotation):
                found.add(name)
            case ast.AnnAssign(target=target, annotation=annotation) if _says(annotation):
                found.add(ast.unparse(target))
            case ast.Assign(targets=targets, value=value) if _makes(value):
                found |= {ast.unparse(target) for target in targets}
            case ast.NamedExpr(target=target, value=value) if _makes(value):
                found.add(target.id)
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                if "backends" in ast.unparse(value):
                    found |= {each.id for each in ast.walk(target) if isinstance(each, ast.Name)}
            case ast.withitem(context_expr=value, optional_vars=ast.Name(id=name)) if _makes(value):
                found.add(name)
            case _:
                pass
    return found


def _says(annotation: ast.expr) -> bool:
    return re.search(r"\bBackend\b", ast.unparse(annotation)) is not None


def _makes(value: ast.expr) -> bool:
    return re.search(r"\b_?backend(_at)?\(|registry\.create\(|\bbackends\b", ast.unparse(value)) is not None


def test_no_other_module_of_the_gateway_sends() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}: {receiver}"
        for path in sorted((ROOT / "gateway").rglob("*.py"))
        if path != DOOR
        for line, receiver in sending(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_the_door_calls_them_once_each_and_only_after_it_has_asked() -> None:
    """Each call stands inside a `with self._admitted(...)`: there the gate is asked."""
    source = DOOR.read_text(encoding="utf-8")
    asked = [
        ast.unparse(each)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.With) and "self._admitted(" in ast.unparse(node.items[0])
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "backend"
    ]
    assert sorted(asked) == sorted(f"backend.{name}" for name in SENDS)
    assert sorted(text for _, text in sending(source)) == sorted(asked)


@pytest.mark.parametrize(
    "source",
    [
        "rooms.backend(name).complete(ref, chats)",
        "self.call(job, lambda backend: backend.stage(file, path, key=key))",
        "send = backend.submit",
        "getattr(thing, 'stream')(ref)",
        "there = self._rooms.backend_at(site)\nthere.deploy(ref)",
        "with classified(rooms.backend(name)) as there: there.score(ref, [])",
        "def send(to: Backend) -> None: to.submit()",
        "for name, each in backends.items(): each.complete(ref, [])",
        "registry.create(name, home).resume(ref)",
    ],
)
def test_a_made_up_breach_is_found(source: str) -> None:
    assert list(sending(source))


def test_what_goes_through_the_door_is_none() -> None:
    assert not list(sending("self._rooms.egress.complete(request, ref, chats)\njob.resume()\npool.submit(f)"))


def test_backends_import_nothing_that_could_send_for_another() -> None:
    """A room reaches its own provider by its own calls alone: no room has the registry."""
    for path in sorted((ROOT / "backends").glob("*/**/*.py")):
        if "sandbox" not in path.parts:
            assert "backends.registry" not in path.read_text(encoding="utf-8"), path


def test_a_crash_leaves_no_image_of_the_memory() -> None:
    code = (
        "import resource, sys; set_to = []; resource.setrlimit = lambda *limits: set_to.append(limits); "
        "sys.argv = ['tunegate', '--version']; from gateway.cli.main import main; main(); "
        "print(set_to == [(resource.RLIMIT_CORE, (0, 0))])"
    )
    told = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert told.endswith("True\n")
