"""What a loop needs before its first step: rows, network, objective and optimizer, all seeded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from backends.local import batches, memory, models
from backends.local.checkpoint import Origin
from backends.local.environment import cpu_threads
from backends.local.network import Network
from backends.local.objective import Objective, objective
from backends.local.ranks import Ranks, parameter_groups
from backends.local.render import Template, TemplateCounter
from backends.local.run import Run
from backends.local.tokenising import tokenise
from backends.local.tokens import Item

# How a machine goes about it; the same is learnt however these are set, but for the last bits.
_HOW = {
    "threads", "micro_batch_tokens", "checkpointing", "processes", "sharded", "checkpoint_every",
    "keep_checkpoints",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything the loop works with.

    Attributes:
        folder: of the base.
        pass_tokens: tokens, padding included, that go through the network at once.
        origin: what checkpoints belong to; None where there are none.
    """

    body: Mapping[str, Any]
    folder: Path
    items: Sequence[Item]
    validation: Sequence[Item]
    template: Template
    network: Network
    objective: Objective
    optimizer: torch.optim.Optimizer
    pass_tokens: int
    ranks: Ranks
    origin: Origin | None = None

    @property
    def steps(self) -> int:
        return self.body["epochs"] * self.steps_an_epoch

    @property
    def steps_an_epoch(self) -> int:
        return math.ceil(len(self.items) / self.body["batch_size"])

    @property
    def plan(self) -> Iterable[Sequence[Item]]:
        """The rows of every step, in order."""
        epochs, size, seed = (self.body[name] for name in ("epochs", "batch_size", "seed"))
        return batches.steps(self.items, epochs, size, seed, packed=self.network.packs)

    def passes(self, items: Sequence[Item]) -> list[tuple[Sequence[Item], float]]:
        """This rank's part of some rows, in parts that fit, and what each counts for.

        Ranks that hold the weights in parts meet in every pass, so all make as many: who has fewer
        goes through a row again, and it counts for nothing.
        """
        shares = [
            list(batches.passes(share, self.pass_tokens, packed=self.network.packs))
            for share in self.ranks.shares(items)
        ]
        mine: list[tuple[Sequence[Item], float]] = [(part, 1.0) for part in shares[self.ranks.number]]
        if self.ranks.sharded:
            most = max(len(each) for each in shares)
            mine += [(items[:1], 0.0)] * (most - len(mine))
        return mine


def prepare(run: Run, ranks: Ranks) -> Setup:
    """From a run's folder, with the memory it was found to have."""
    config = run.config
    body = config["body"]
    settle(body, ranks)
    with ranks.first_goes_first():
        folder = models.ensure(body["model"]["id"], Path(config["home"]), tell_building(run))
        template = Template.load(folder, body["model"]["name"])
        tokenizer = TemplateCounter(folder, body["model"]["name"]).identity
        items = tokenise(run, "train", template, tokenizer)
        held_out = "validation" in config["files"]
        validation = tokenise(run, "validation", template, tokenizer) if held_out else ()
    setup = assemble(body, folder, template, items, validation, ranks=ranks)
    return replace(
        setup,
        pass_tokens=memory.adjusted(
            run,
            setup.pass_tokens,
            lambda: (part for step in setup.plan for part, _ in setup.passes(step)),
            packed=setup.network.packs,
        ),
        origin=_origin(setup, config["files"], tokenizer),
    )


def settle(body: Mapping[str, Any], ranks: Ranks | None = None) -> None:
    """This process computes with the body's threads, and the same twice."""
    threads = body.get("threads") or cpu_threads()
    torch.set_num_threads(max(1, threads // (ranks or Ranks()).count))
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode also fills every fresh tensor, to find bugs of torch's own: a tenth of a small step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


def assemble(
    body: Mapping[str, Any],
    folder: Path,
    template: Template,
    items: Sequence[Item],
    validation: Sequence[Item] = (),
    *,
    ranks: Ranks | None = None,
) -> Setup:
    """Network, objective and optimizer around some rows, seeded; `folder` holds the base."""
    ranks = ranks or Ranks()
    torch.manual_seed(body["seed"])  # pyright: ignore[reportUnknownMemberType]
    device = torch.device("cpu") if ranks.sharded else ranks.device  # parts move when they are parts
    network = Network.load(folder, body, template.tokenizer, device)
    ranks.shard(network)
    return Setup(
        body=body,
        folder=folder,
        items=items,
        validation=validation,
        template=template,
        network=network,
        objective=objective(body, network),
        optimizer=torch.optim.AdamW(
            parameter_groups(network.trainable().values()), lr=0.0, weight_decay=0.0, fused=True
        ),
        pass_tokens=body["micro_batch_tokens"],
        ranks=ranks,
    )


def _origin(setup: Setup, files: Mapping[str, Mapping[str, str]], tokenizer: str) -> Origin:
    return Origin(
        settings={name: value for name, value in setup.body.items() if name not in _HOW},
        hashes={
            **{f"{split} data": file["sha256"] for split, file in files.items()},
            "order of rows": _order_sha256(setup.plan),
            "base": models.revision(setup.folder),
            "tokenizer": tokenizer,
        },
    )


def _order_sha256(plan: Iterable[Sequence[Item]]) -> str:
    """Of the lengths of every step's rows."""
    digest = hashlib.sha256()
    for step in plan:
        digest.update(f"{[item.length for item in step]}\n".encode())
    return digest.hexdigest()


def tell_building(run: Run) -> Callable[[float], None]:
    """An event for every tenth of the embedded base, while that is built."""
    told = -1

    def tell(share: float) -> None:
        nonlocal told
        if (tenth := int(share * 10)) > told:
            told = tenth
            run.event("info", "building_base", f"building the base model: {share:.0%}", share=round(share, 3))

    return tell
