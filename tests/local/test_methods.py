"""LoRA and its kinds, QLoRA, all the weights: what each trains, holds and leaves, and what it refuses."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.local import four_bit
from backends.local.loop import train
from backends.local.network import Network
from backends.local.render import Template
from backends.local.run import Run
from gateway.core.errors import TunegateError, Unsupported
from gateway.core.job import ChatMessage, RemoteRef
from tests.local.conftest import Bench, make_base, rows

SMALL = {"rank": 4, "alpha": 8, "dropout": 0.0}
RATES = {"lora": 2e-2, "qlora": 2e-2, "full": 5e-3}


def never() -> bool:
    return False


def network(bench: Bench, **changes: Any) -> Network:
    body = {**bench.translation(rows(4)).requests[0].body, "lora": SMALL, **changes}
    tokenizer = Template.load(bench.base, "tiny").tokenizer
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    return Network.load(bench.base, body, tokenizer, torch.device("cpu"))


def losses(run: Run) -> list[float]:
    lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def note(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "tunegate.json").read_text(encoding="utf-8"))


# -- what each method trains and leaves ------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_each_method_learns_and_leaves_something_that_answers(bench: Bench, method: str) -> None:
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    run = bench.prepare(rows(8), method, learning_rate=RATES[method], body={"method": method, "lora": SMALL})
    train(run, never)
    assert losses(run)[-1] < losses(run)[0]
    (artifact,) = (
        each
        for each in bench.backend.artifacts(RemoteRef("local", str(run.folder)))
        if each.kind in ("adapter", "model")
    )
    assert artifact.callable_id is not None
    question = [ChatMessage("user", "4 pain knee")]
    (tuned,) = bench.backend.complete(artifact.callable_id, [question], max_output_tokens=4)
    assert tuned.output_tokens
    made = note(Path(artifact.uri))
    assert (made["method"], "quantization" in made) == (method, method == "qlora")


def test_qlora_holds_its_base_in_four_bits_and_leaves_it_as_it_is(bench: Bench) -> None:
    pytest.importorskip("bitsandbytes")
    held = network(bench, method="qlora")
    quantised = {
        name: value for name, value in held.model.named_parameters() if hasattr(value, "quant_state")
    }
    assert len(quantised) == 2 * 7  # every linear layer of both blocks
    for value in quantised.values():
        assert value.dtype == torch.uint8
        assert value.numel() * 2 == value.quant_state.shape.numel()  # two weights to a byte
        assert value.quant_state.quant_type == "nf4"
        assert value.quant_state.nested
        assert not value.requires_grad
    assert all(value.dtype == torch.float32 for value in held.trainable().values())
    before = {name: value.detach().clone() for name, value in quantised.items()}
    template = Template.load(bench.base, "tiny")
    ids = torch.tensor([template.render(rows(1)[0]).input_ids])
    with held.untrained():  # as a validation does: bitsandbytes must not lay the weights out anew
        asked = held.model(input_ids=ids).logits
    optimizer = torch.optim.AdamW(held.trainable().values(), lr=1e-2)
    held.model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    assert all(torch.equal(before[name], value) for name, value in quantised.items())
    with held.untrained():
        assert torch.equal(held.model(input_ids=ids).logits, asked)
    assert not torch.equal(held.model(input_ids=ids).logits, asked)


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
def test_all_weights_are_trained_in_fp32_and_left_as_their_base_is_stored(
    bench: Bench, tmp_path: Path, tied: bool, stored: str
) -> None:
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    load: Any = AutoModelForCausalLM.from_pretrained  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    base = make_base(tmp_path / "own")
    model = load(str(base), dtype=getattr(torch, stored))
    model.config.tie_word_embeddings = tied
    if tied:
        model.tie_weights()
    model.save_pretrained(str(base))
    bench.base = base
    held = network(bench, method="full")
    assert {value.dtype for value in held.trainable().values()} == {torch.float32}
    assert len(held.trainable()) == sum(1 for _ in model.parameters())
    run = bench.prepare(rows(4), "full", epochs=1, learning_rate=5e-3, body={"method": "full"})
    train(run, never)
    left = run.folder / "model"
    with safe_open(left / "model.safetensors", framework="pt") as file:  # pyright: ignore[reportUnknownVariableType]
        names: set[str] = set(file.keys())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        kinds: set[str] = {str(file.get_tensor(name).dtype) for name in names}  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    assert kinds == {f"torch.{stored}"}
    assert ("lm_head.weight" in names) != tied
    tuned = load(str(left))
    assert not torch.equal(tuned.model.embed_tokens.weight, model.model.embed_tokens.weight)
    assert not list(run.folder.glob(".model"))


@pytest.mark.parametrize("kind", ["rslora", "dora"])
def test_kinds_of_lora_are_peft_s_own_and_begin_as_the_base(bench: Bench, kind: str) -> None:
    plain, other = network(bench), network(bench, lora={**SMALL, kind: True})
    ids = torch.arange(5, 25)[None]
    for each in (plain, other):
        each.model.eval()
    assert torch.allclose(plain.model(input_ids=ids).logits, other.model(input_ids=ids).logits, atol=1e-5)
    run = bench.prepare(rows(4), kind, epochs=1, body={"lora": {**SMALL, kind: True}})
    train(run, never)
    settings = json.loads((run.folder / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings[{"rslora": "use_rslora", "dora": "use_dora"}[kind]]
    answers = bench.backend.complete(
        f"local:{run.folder / 'adapter'}", [[ChatMessage("user", "4")]], max_output_tokens=2
    )
    assert answers[0].output_tokens


def test_only_the_layers_asked_for_are_adapted(bench: Bench) -> None:
    held = network(bench, lora={**SMALL, "targets": ["q_proj", "mlp.up_proj"]})
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name in held.trainable()}
    assert adapted == {"q_proj", "up_proj"}


# -- what is refused -------------------------------------------------------------------------------


def refused(bench: Bench, **body: Any) -> TunegateError:
    with pytest.raises(Unsupported) as caught:
        train(bench.prepare(rows(4), "refused", body=body), never)
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("target", ["query", "lm_head"])
def test_a_layer_that_is_not_there_is_refused_by_name(bench: Bench, target: str) -> None:
    error = refused(bench, lora={**SMALL, "targets": ["q_proj", target]})
    assert f"`{target}`" in str(error)
    assert "q_proj" in (error.fix or "")


def test_rows_longer_than_the_base_are_refused(bench: Bench) -> None:
    assert "256 positions" in str(refused(bench, max_length=300))


def test_a_base_that_is_quantised_already_is_refused(bench: Bench, tmp_path: Path) -> None:
    bench.base = shutil.copytree(bench.base, tmp_path / "quantised")
    config = json.loads((bench.base / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (bench.base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "quantised already (gptq)" in str(refused(bench))


def test_a_base_without_a_chat_template_is_refused(bench: Bench, tmp_path: Path) -> None:
    bench.base = make_base(tmp_path / "plain", template=None)
    assert "no chat template" in str(refused(bench))


def test_without_bitsandbytes_qlora_says_what_to_install(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert "tunegate[local]" in (refused(bench, method="qlora").fix or "")


def test_no_kernel_of_a_hub_is_brought_in_while_bitsandbytes_is_imported() -> None:
    before = sys.modules.get("kernels")
    with four_bit.nothing_fetched(), pytest.raises(ImportError):
        importlib.import_module("kernels")
    assert sys.modules.get("kernels") is before
