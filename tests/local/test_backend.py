"""Planning's side: which models there are, what is missing, what this machine has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backends.local import models
from backends.local.backend import LocalBackend
from gateway.core.errors import Unavailable, Unsupported
from tests.local.conftest import sft_row


def test_the_facts_name_open_models_and_price_none(backend: LocalBackend) -> None:
    llama = backend.resolve("meta-llama/Llama-3.1-8B-Instruct")
    assert llama is not None
    assert llama.name == "llama-3.1-8b-instruct"
    assert backend.facts.prices == ()
    assert all(offer.residency == "local" for offer in backend.facts.offers)


def test_any_hub_id_or_folder_is_a_model_and_other_names_are_not(backend: LocalBackend, base: Path) -> None:
    assert backend.resolve("somebody/some-model-7b") is not None
    assert backend.resolve(str(base)) is not None
    assert backend.resolve("gpt-4.1-mini") is None


def test_a_model_that_is_not_here_says_how_to_bring_it(backend: LocalBackend) -> None:
    model = backend.resolve("llama-3.1-8b-instruct")
    assert model is not None
    assert "tunegate models fetch" in (backend.absent(model) or "")
    assert backend.shape(model) == model.shape  # as stated, until its own config is here
    assert "proxy" in backend.counter(model).method
    assert backend.counter(model).count(sft_row("a" * 420, "b")) > 90
    with pytest.raises(Unavailable):
        models.ensure(model.id, backend.home)


def test_a_folder_is_complete_and_its_shape_is_read(backend: LocalBackend, base: Path) -> None:
    model = backend.resolve(str(base))
    assert model is not None
    assert backend.absent(model) is None
    shape = backend.shape(model)
    assert shape is not None
    assert (shape.layers, shape.kv_heads, shape.max_positions) == (2, 2, 256)
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(str(base))  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    assert shape.parameters == sum(p.numel() for p in loaded.parameters())  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def test_a_relative_folder_is_the_same_model_wherever_the_process_stands(
    backend: LocalBackend, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base.parent)
    model = backend.resolve(base.name)
    assert model is not None
    assert model == backend.resolve(str(base))
    monkeypatch.chdir("/")
    assert backend.absent(model) is None


@pytest.mark.parametrize("name", ["./models/none", "~/no-such-model", "/no/such/model"])
def test_a_folder_without_a_model_is_not_looked_for_at_the_hub(backend: LocalBackend, name: str) -> None:
    model = backend.resolve(name)
    assert model is not None
    why = backend.absent(model) or ""
    assert "where the command runs" in why
    assert "fetch" not in why
    with pytest.raises(Unavailable) as caught:
        models.ensure(name, backend.home)
    assert "fetch" not in str(caught.value.fix)


def test_pickle_weights_are_absent_weights(backend: LocalBackend, base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(base, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    model = backend.resolve(str(folder))
    assert model is not None
    assert "pickle" in (backend.absent(model) or "")
    with pytest.raises(Unsupported):
        models.ensure(str(folder), backend.home)


def test_the_embedded_model_is_never_absent_and_known_before_it_is_built(backend: LocalBackend) -> None:
    model = backend.resolve("tunegate-demo")
    assert model is not None
    assert backend.absent(model) is None
    shape = backend.shape(model)
    assert shape is not None
    assert shape.max_positions >= 2048


def test_preview_is_what_the_template_writes(backend: LocalBackend, base: Path) -> None:
    model = backend.resolve(str(base))
    assert model is not None
    pieces = backend.preview(model, sft_row("fever?", "none"))
    assert pieces == [("<|user|>fever?<|end|>\n<|assistant|>", False), ("none<|end|>", True), ("\n", False)]


def test_this_machine_has_cores_and_memory(backend: LocalBackend) -> None:
    (machine,) = backend.machines()
    assert machine.name in [offer.name for offer in backend.facts.offers]
    assert machine.cpu_cores >= 1
    assert machine.memory_gib > 0.5


def test_a_revision_changes_with_the_weights(base: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    same = models.revision(copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    models.revision.cache_clear()
    assert same == models.revision(base) != models.revision(copy)
