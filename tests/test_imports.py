"""Who may import whom: the house's walls, held by reading every import.

A rule names a room and the rooms of ours it may import from; everything else of ours is forbidden.
The longest matching prefix decides which rule a module falls under.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("gateway", "backends", "cost")

EVERYTHING = ("gateway", "backends", "cost")
ADAPTER = (
    "gateway.core",
    "backends.base",
    "backends.chats",
    "backends.facts",
    "backends.ledger",
    "backends.sandbox",
)
SIGNING = ("gateway.records.envelope", "gateway.records.files", "gateway.records.keys")
RULES: dict[str, tuple[str, ...]] = {
    "gateway.core": ("gateway.core",),
    "gateway.data": ("gateway.core", "gateway.data"),
    "gateway.crew": ("gateway.core", "gateway.data", "gateway.crew"),
    "gateway.privacy": ("gateway.core", "gateway.data", "gateway.crew", "gateway.privacy"),
    "gateway.onepass": (
        "gateway.core", "gateway.data", "gateway.crew", "gateway.privacy", "backends.registry",
        "gateway.onepass",
    ),
    "gateway.policy": ("gateway.core", "gateway.policy", *SIGNING),
    "gateway.records": ("gateway.core", "gateway.records"),
    "gateway.settings": ("gateway.core", "gateway.policy", "cost.entered", "cost.project"),
    "gateway.planner": (
        "gateway.core", "gateway.data", "gateway.privacy", "gateway.policy", "cost",
        "backends.base", "backends.ledger", "backends.registry", "gateway.planner",
    ),
    "gateway.egress": ("gateway.core", "gateway.policy", "backends.base", "backends.registry"),
    "gateway.jobs": (
        "gateway.core", "gateway.data", "gateway.policy", "gateway.records", "gateway.egress",
        "backends.base", "backends.registry", "gateway.jobs",
    ),
    "gateway.advice": ("gateway.core", "gateway.data", "gateway.advice"),
    "gateway.report": ("gateway.core", "gateway.data", "gateway.report"),
    "gateway.evaluate": ("gateway.core", "gateway.data", "backends.registry", "gateway.evaluate"),
    "gateway.sdk": EVERYTHING,
    "gateway.cli": ("gateway", "gateway.cli"),
    "gateway": ("gateway",),
    "cost": ("gateway.core", "cost"),
    "backends.chats": ("gateway.core",),
    "backends.facts": ("gateway.core",),
    "backends.ledger": ("gateway.core",),
    "backends.base": ("gateway.core", "backends.facts"),
    "backends.registry": ("gateway.core", "backends.base", "backends.facts", "backends.sandbox"),
    "backends": (),
    "backends.sandbox": ("backends.sandbox",),
    "backends.openai": (*ADAPTER, "backends.openai"),
    "backends.bedrock": (*ADAPTER, "backends.bedrock"),
    "backends.vertex": (*ADAPTER, "backends.vertex"),
    "backends.local": (*ADAPTER, "backends.local"),
}  # fmt: skip

# Modules whose import costs seconds or belongs to one room only: never loaded by a light command.
HEAVY = (
    "torch", "transformers", "peft", "openai", "boto3", "botocore", "google.cloud.aiplatform",
    "google.cloud.storage", "google.genai", "azure", "moto", "werkzeug", "scipy", "pyarrow", "matplotlib",
)  # fmt: skip


def _modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _under(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; say where it comes from"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def _allowed(module: str, imported: str) -> bool:
    room = max((room for room in RULES if _under(module, room)), key=len)
    if room == "gateway.cli":  # thin: the public names of `gateway`, the words of core, and itself
        public = imported.count(".") == 1 and imported.startswith("gateway.")
        return public or _under(imported, "gateway.cli") or _under(imported, "gateway.core")
    return any(_under(imported, permitted) for permitted in RULES[room])


@pytest.mark.parametrize("path", _modules(), ids=_name)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    module = _name(path)
    wrong = sorted(name for name in _imports(path) if not _allowed(module, name))
    assert not wrong, f"{module} may not import {wrong}"


def test_the_walls_hold_against_a_made_up_breach() -> None:
    assert not _allowed("backends.openai.wire", "backends.bedrock.wire")
    assert not _allowed("gateway.core.spec", "gateway.data.reader")
    assert not _allowed("cost.estimate", "backends.registry")
    assert not _allowed("gateway.planner", "gateway.jobs.store")
    assert not _allowed("gateway.cli.main", "gateway.jobs.store")
    assert _allowed("gateway.sdk.gateway", "backends.registry")


def test_only_settings_reads_the_environment() -> None:
    readers = {
        _name(path)
        for path in _modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }
    # The local runner hands its children an environment made from ours; it decides nothing by it.
    assert readers - {"gateway.settings", "backends.local.environment"} == set()


@pytest.mark.parametrize("statement", ["import gateway, backends.registry, cost", "import gateway.cli.main"])
def test_a_light_import_loads_nothing_heavy(statement: str) -> None:
    code = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


def test_no_provider_is_named_outside_its_room() -> None:
    """Provider names are data: they may stand in facts, docs and tests, never in the gateway's code."""
    providers = ("openai", "azure", "bedrock", "vertex")
    for path in _modules():
        if not _under(_name(path), "gateway"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                words = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant)}
                assert not words & set(providers), f"{path}:{node.lineno} decides by a provider's name"
