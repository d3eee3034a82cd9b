"""Learning from preferences: the loss against TRL's and a slow one, and what a run does with it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backends.local import reference
from backends.local.loop import Interrupted, train
from backends.local.network import Network
from backends.local.objective import preferences
from backends.local.ranks import Ranks
from backends.local.render import IGNORE, Template
from backends.local.run import Run
from backends.local.setup import Setup, prepare
from backends.local.tokens import Example, Pair
from tests.local.conftest import Bench, make_base, rows

BETA = 0.3


def never() -> bool:
    return False


def pairs(count: int = 8) -> list[dict[str, Any]]:
    """The right answer, and the same with the other word for the number."""
    other = {"even": "odd", "odd": "even"}
    made: list[dict[str, Any]] = []
    for row in rows(count):
        question, answer = row["messages"]
        word, kind = answer["content"].split()
        wrong = {"role": "assistant", "content": f"{word} word {other[kind]}"}
        made.append({"messages": [question], "chosen": [answer], "rejected": [wrong]})
    return made


def run_of(bench: Bench, name: str, data: Sequence[dict[str, Any]], **changes: Any) -> Run:
    body: dict[str, Any] = {
        "task": "dpo", "beta": BETA, "lora": {"rank": 4, "alpha": 8, "dropout": 0.0},
        **changes.pop("body", {}),
    }  # fmt: skip
    return bench.prepare(data, name, body=body, **changes)


def lines(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def moved(network: Network) -> None:
    """Away from the base, so that there is something to compare."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in network.trainable().values():
            value += 0.05 * torch.randn(value.shape, generator=generator)


def causal(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    load: Any = AutoModelForCausalLM.from_pretrained  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return load(str(folder))


def slow_log_probability(model: Any, chat: Example) -> Tensor:
    """One chat, one token after the other, in double precision."""
    ids, labels = chat.ids_T.long(), chat.labels_T.long()
    logs = model(input_ids=ids[None]).logits[0].double().log_softmax(-1)
    found = [logs[at - 1, ids[at]] for at in range(1, len(ids)) if labels[at] != IGNORE]
    return torch.stack(found).sum()


def slow_loss(model: Any, base: Any, pair: Pair) -> Tensor:
    """The paper's own formula, without any of its shortcuts."""
    with torch.no_grad():
        before = [slow_log_probability(base, chat) for chat in pair.chats]
    after = [slow_log_probability(model, chat) for chat in pair.chats]
    reward = BETA * ((after[0] - before[0]) - (after[1] - before[1]))
    return -torch.log(1 / (1 + torch.exp(-reward)))


def ready(bench: Bench, name: str, **changes: Any) -> Setup:
    run = run_of(bench, name, pairs(), **changes)
    return reference.asked(run, prepare(run, Ranks()))


def only_pairs(setup: Setup) -> list[Pair]:
    return [item for item in setup.items if isinstance(item, Pair)]


# -- the loss --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "full"])
def test_loss_and_gradients_are_those_of_a_slow_reference(bench: Bench, method: str) -> None:
    setup = ready(bench, "one", body={"method": method})
    moved(setup.network)
    setup.network.model.eval()
    setup.objective.loss(setup.items).backward()  # pyright: ignore[reportUnknownMemberType]
    fast = {name: value.grad for name, value in setup.network.trainable().items()}
    loss = setup.objective.loss(setup.items).item()
    setup.optimizer.zero_grad()
    slow = sum(slow_loss(setup.network.model, causal(bench.base), pair) for pair in only_pairs(setup))
    assert isinstance(slow, Tensor)
    slow.backward()  # pyright: ignore[reportUnknownMemberType]
    assert loss == pytest.approx(slow.item(), abs=1e-5 * len(setup.items))
    for name, value in setup.network.trainable().items():
        expected, found = value.grad, fast[name]
        assert expected is not None
        assert found is not None
        assert torch.allclose(found, expected, atol=1e-4, rtol=1e-3), name


def test_the_loss_is_trls(bench: Bench, tmp_path: Path) -> None:
    """TRL's own trainer, its own collator, two whole models: per-pair loss, accuracy and margin."""
    trl = pytest.importorskip("trl")
    setup = ready(bench, "one", body={"method": "full"})
    moved(setup.network)
    setup.network.save(tmp_path / "moved")
    template = Template.load(bench.base, "tiny")
    split = [_split(pair) for pair in only_pairs(setup)]
    dataset = pytest.importorskip("datasets").Dataset.from_list(
        [{"prompt": "the", "chosen": " knee", "rejected": " fever"}] * 2
    )
    trainer = trl.DPOTrainer(
        model=causal(tmp_path / "moved"),
        ref_model=causal(bench.base),
        args=trl.DPOConfig(
            output_dir=str(tmp_path / "out"), beta=BETA, report_to="none", use_cpu=True, bf16=False,
            gradient_checkpointing=False, precompute_ref_log_probs=False,
        ),
        processing_class=template.tokenizer,
        train_dataset=dataset,
    )  # fmt: skip
    trainer.model.eval()
    setup.network.model.eval()
    collate = trl.trainer.dpo_trainer.DataCollatorForPreference(pad_token_id=0)
    for pair, example in zip(only_pairs(setup), split, strict=True):
        theirs = trainer.compute_loss(trainer.model, collate([example])).item()
        assert setup.objective.loss([pair]).item() == pytest.approx(theirs, abs=1e-5)
    everything = trainer.compute_loss(trainer.model, collate(split)).item()
    ours = setup.objective.loss(setup.items).item() / setup.objective.weight(setup.items)
    assert ours == pytest.approx(everything, abs=1e-5)
    assert everything != pytest.approx(math.log(2), abs=1e-2)


def _split(pair: Pair) -> dict[str, list[int]]:
    """A pair as TRL takes it: prompt, and two answers up to the token that ends them."""
    found: dict[str, list[int]] = {}
    for name, chat in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        ids = [int(token) for token in chat.ids_T]
        trained = [at for at, label in enumerate(chat.labels_T) if label != IGNORE]
        found["prompt_ids"] = ids[: trained[0]]
        found[f"{name}_ids"] = ids[trained[0] : trained[-1] + 1]
    return found


def test_a_pair_counts_the_same_whatever_stands_beside_it(bench: Bench) -> None:
    setup = ready(bench, "one")
    moved(setup.network)
    setup.network.model.eval()
    alone = torch.stack([preferences(setup.network, [pair])[0] for pair in only_pairs(setup)])
    assert torch.allclose(preferences(setup.network, only_pairs(setup)), alone, atol=1e-4)


# -- the base's own view ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_the_first_loss_is_that_of_a_coin(bench: Bench, method: str) -> None:
    """Before the first step the network is its base, and neither answer has gained anything."""
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    setup = ready(bench, method, body={"method": method})
    loss = setup.objective.loss(setup.items).item() / len(setup.items)
    assert loss == pytest.approx(math.log(2), abs=1e-5)
    assert all(pair.before is not None and pair.before != 0 for pair in only_pairs(setup))


def test_the_base_is_asked_once_and_not_again_after_a_stop(bench: Bench) -> None:
    whole = run_of(bench, "whole", pairs())
    train(whole, never)
    run = run_of(bench, "stopped", pairs())
    with pytest.raises(Interrupted):
        train(run, lambda: (run.folder / "metrics.jsonl").exists())
    kept = (run.folder / "reference-train.json").read_bytes()
    train(run, never)
    assert len([event for event in run.events() if event.kind == "reference"]) == 1
    assert (run.folder / "reference-train.json").read_bytes() == kept
    assert [line["loss"] for line in lines(run)] == [line["loss"] for line in lines(whole)]


def test_it_is_the_base_that_is_asked_also_when_a_run_goes_on(bench: Bench) -> None:
    """With all weights trained nothing but the order of things keeps the base."""
    run = run_of(bench, "full", pairs(), learning_rate=5e-3, body={"method": "full"})
    with pytest.raises(Interrupted):
        train(run, lambda: (run.folder / "metrics.jsonl").exists())
    kept = (run.folder / "reference-train.json").read_bytes()
    (run.folder / "reference-train.json").unlink()
    train(run, never)
    assert (run.folder / "reference-train.json").read_bytes() == kept


def test_what_an_other_base_thought_is_not_taken(bench: Bench, tmp_path: Path) -> None:
    run = run_of(bench, "one", pairs())
    first = reference.asked(run, prepare(run, Ranks()))
    bench.base = make_base(tmp_path / "other", seed=5)
    body = {**run.config["body"], "model": {"name": "other", "id": str(bench.base)}}
    run.create({**run.config, "body": body}, {})
    second = reference.asked(run, prepare(run, Ranks()))
    assert [pair.before for pair in only_pairs(first)] != [pair.before for pair in only_pairs(second)]


# -- a run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_learns_what_is_preferred_and_tells_how_well(bench: Bench, method: str) -> None:
    rate = {"lora": 2e-2, "full": 3e-3}[method]
    run = run_of(bench, method, pairs(12), epochs=4, learning_rate=rate, body={"method": method})
    config = run.config
    run.create({**config, "files": {**config["files"], "validation": config["files"]["train"]}}, {})
    train(run, never)
    first, *_, last = lines(run)
    assert (first["accuracy"], first["margin"]) == (0.0, pytest.approx(0, abs=1e-4))
    assert last["loss"] < first["loss"]
    assert last["validation_accuracy"] > 0.9
    assert last["validation_margin"] > 0
    told = [event.data for event in run.events() if event.kind == "validation"]
    assert told[-1]["accuracy"] == last["validation_accuracy"]


def test_pairs_whose_two_answers_do_not_fit_are_refused_and_counted(bench: Bench) -> None:
    data = pairs(4)
    data[1]["rejected"][0]["content"] = "knee " * 100
    run = run_of(bench, "long", data, epochs=1, max_length=64)
    train(run, never)
    (event,) = [event for event in run.events() if event.kind == "rows"]
    assert (event.data["used"], event.data["refused"]) == (3, {"too_long": 1})


def test_small_passes_and_large_ones_learn_the_same(bench: Bench) -> None:
    large = run_of(bench, "large", pairs(8))
    small = run_of(bench, "small", pairs(8), body={"micro_batch_tokens": 16})
    train(large, never)
    train(small, never)
    found = [[line["loss"] for line in lines(run)] for run in (small, large)]
    assert found[0] == pytest.approx(found[1], abs=1e-4)
