"""Base and adapter as one model: the same logits, whole or absent, and readable by plain transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from backends.local import merge as merging
from backends.local.backend import LocalBackend
from backends.local.loop import train
from backends.registry import facts
from gateway.core.errors import BackendError, SettingsError, Unsupported
from gateway.core.job import ChatMessage
from tests.local.conftest import Bench, make_base, rows

CHATS = [[ChatMessage("user", row["messages"][0]["content"])] for row in rows(8)]


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalBackend, Path]:
    """A backend and the adapter of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    backend = LocalBackend(facts("local"), folder / "home")
    run = Bench(backend, base, folder).prepare(rows(), "run", epochs=10)
    train(run, lambda: False)
    return backend, run.folder / "adapter"


def _texts(backend: LocalBackend, model_ref: str) -> list[str]:
    return [answer.text for answer in backend.complete(model_ref, CHATS, max_output_tokens=8)]


def test_the_merged_model_answers_as_base_and_adapter_without_peft(
    trained: tuple[LocalBackend, Path], base: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    backend, adapter = trained
    out = tmp_path / "deep" / "merged"
    merged = backend.merge(f"local:{adapter}", out, card="# A card\n")
    assert merged.deviation < 1e-5
    assert merged.precision == "float32"
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= {
        p.name for p in out.iterdir()
    }
    assert (out / "README.md").read_text(encoding="utf-8") == "# A card\n"
    assert not list(out.glob("adapter*"))
    load: Any = AutoModelForCausalLM.from_pretrained  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    ids = torch.arange(5, 45)[None]
    with torch.inference_mode():
        plain = load(out).eval()(input_ids=ids).logits
        beside: Any = PeftModel.from_pretrained(load(base), str(adapter)).eval()  # pyright: ignore[reportUnknownMemberType]
        untouched = load(base).eval()(input_ids=ids).logits
        torch.testing.assert_close(plain, beside(input_ids=ids).logits, rtol=1e-4, atol=1e-4)
    assert (plain - untouched).abs().max() > 0.1, "the adapter changes nothing: the test shows nothing"
    assert _texts(backend, str(out)) == _texts(backend, f"local:{adapter}") != _texts(backend, str(base))


def test_it_can_be_asked_as_a_result_and_knows_what_it_was(
    trained: tuple[LocalBackend, Path], base: Path, tmp_path: Path
) -> None:
    backend, adapter = trained
    merged = backend.merge(f"local:{adapter}", tmp_path / "merged", card="")
    assert _texts(backend, f"local:{merged.folder}") == _texts(backend, f"local:{adapter}")
    assert _texts(backend, backend.untuned(f"local:{merged.folder}", "")) == _texts(backend, str(base))
    note = json.loads((merged.folder / "tunegate.json").read_text(encoding="utf-8"))
    assert note["method"] == "merged"
    assert note["files"] == dict(merged.files)
    assert note["adapter"] == json.loads((adapter / "tunegate.json").read_text(encoding="utf-8"))["adapter"]
    with pytest.raises(Unsupported, match="stands alone already"):
        backend.merge(f"local:{merged.folder}", tmp_path / "twice", card="")


def test_a_base_in_sixteen_bits_stays_in_sixteen_bits(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = make_base(tmp_path / "base")
    load: Any = AutoModelForCausalLM.from_pretrained  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    load(base).to(torch.bfloat16).save_pretrained(base)
    backend = LocalBackend(facts("local"), tmp_path / "home")
    run = Bench(backend, base, tmp_path).prepare(rows(), "run", epochs=10)
    train(run, lambda: False)
    merged = backend.merge(f"local:{run.folder / 'adapter'}", tmp_path / "merged", card="")
    assert merged.precision == "bfloat16"
    assert 0 < merged.deviation < 0.02  # rounded once more, and no further off


def test_nothing_is_written_over_and_nothing_half_written_stays(
    trained: tuple[LocalBackend, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, adapter = trained
    (tmp_path / "mine").mkdir()
    with pytest.raises(SettingsError, match="nothing is written over"):
        backend.merge(f"local:{adapter}", tmp_path / "mine", card="")
    monkeypatch.setitem(merging.TOLERANCE, "float32", -1.0)
    with pytest.raises(BackendError, match="from those of base and adapter"):
        backend.merge(f"local:{adapter}", tmp_path / "off", card="")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_cannot_be_merged_is_refused_with_the_reason(
    trained: tuple[LocalBackend, Path], base: Path, tmp_path: Path
) -> None:
    backend, adapter = trained
    with pytest.raises(Unsupported, match="nothing to merge"):
        backend.merge(str(base), tmp_path / "out", card="")
    damaged = tmp_path / "damaged"
    shutil.copytree(adapter, damaged)
    weights = damaged / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(BackendError, match="damaged"):
        backend.merge(f"local:{damaged}", tmp_path / "out", card="")
    assert not (tmp_path / "out").exists()


def test_a_qlora_adapter_is_merged_into_the_bases_own_weights(base: Path, tmp_path: Path) -> None:
    """Into the four bits it would be rounded away; so the model is not in four bits, and says where from."""
    pytest.importorskip("bitsandbytes")
    backend = LocalBackend(facts("local"), tmp_path / "home")
    run = Bench(backend, base, tmp_path).prepare(rows(), "run", epochs=2, body={"method": "qlora"})
    train(run, lambda: False)
    merged = backend.merge(f"local:{run.folder / 'adapter'}", tmp_path / "merged", card="")
    assert merged.deviation < 1e-5
    assert merged.precision == "float32"
    note = json.loads((merged.folder / "tunegate.json").read_text(encoding="utf-8"))
    assert note["quantization"]
    assert "quantization_config" not in json.loads((merged.folder / "config.json").read_bytes())
