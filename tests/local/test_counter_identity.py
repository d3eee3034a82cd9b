"""A count is looked up while the tokenizer is the same, and made again once any of its files is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from backends.local.render import TemplateCounter
from gateway import Gateway, JobSpec
from tests.data.make import chats, jsonl


@pytest.fixture
def model(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "model"))


def identity(folder: Path) -> str:
    return TemplateCounter(folder, "tiny").identity


def test_it_follows_the_tokenizer_and_not_the_weights(model: Path, tmp_path: Path) -> None:
    before = identity(model)
    assert identity(Path(shutil.copytree(model, tmp_path / "elsewhere"))) == before
    (model / "model.safetensors").write_bytes(b"other weights")
    assert identity(model) == before
    (model / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    after = identity(model)
    assert after != before
    (model / "tokenizer.json").write_text("{}")
    assert identity(model) not in (before, after)


def test_a_plan_looks_a_count_up_until_a_file_of_the_tokenizer_changes(model: Path, tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", chats(range(24)))
    spec = JobSpec.model_validate({
        "name": "counted", "model": str(model), "data": {"train": "rows.jsonl", "class": "public"},
        "route": {"backends": ["local"]},
    }).at(tmp_path)  # fmt: skip
    home = tmp_path / "home"
    home.mkdir()
    kept = home / "cache" / "profiles"

    def counted() -> tuple[int | None, int]:
        tokens = Gateway(home=home).plan(spec).data.tokens
        return tokens, len(list(kept.glob("*.json")))

    first, files = counted()
    assert files == 1
    (file,) = kept.glob("*.json")
    found = json.loads(file.read_text())
    method = next(iter(found["tokens"]))
    found["tokens"][method]["tokens"] = 12345  # told from a new count by being wrong
    file.write_text(json.dumps(found))
    assert counted()[1] == 1
    template = model / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|{{ m['role'] }}|>", "<|{{ m['role'] }}|>really, "))
    again, files = counted()
    assert files == 2
    assert first is not None
    assert again is not None
    assert first < again != 12345
