"""Will it fit, with which settings, and how long will it take: one answer per model and machine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cost.gpus import load_gpus
from cost.hours import Work, assumed, hours
from cost.memory import TRAINED_SHARE, Load, Method, Precision, parts_gib
from cost.probing import Measured, Probes
from cost.work import passes
from gateway.core.facts import ModelShape
from gateway.core.plan import Fit, Machine
from gateway.core.probe import Setting
from gateway.core.rows import TokenStats
from gateway.core.spec import JobSpec

DEFAULT_LENGTH = 2048
SMALL = 10_000_000  # parameters; below, nobody has measured that bf16 gains anything on a CPU
TINY = 10_000_000  # parameters; below, one thread does the work
_USABLE = 0.92  # of a machine's memory: the rest belongs to the system and to others
_NONE = Probes()

_WHOLE = "weights in 4 bits are not shared out among processes"


@dataclass(frozen=True, slots=True)
class Together:
    """How many processes train together, where that was asked for; None leaves it to what fits."""

    processes: int | None = None
    sharded: bool | None = None  # each holds a part of the weights, or all of them

    @classmethod
    def asked(cls, options: Mapping[str, Any]) -> Together:
        """What a backend's options say of it; they may not have been checked yet."""
        processes, sharded = options.get("processes"), options.get("sharded")
        whole = isinstance(processes, int) and not isinstance(processes, bool) and processes > 0
        return cls(processes if whole else None, sharded if isinstance(sharded, bool) else None)


@dataclass(frozen=True, slots=True)
class Rows:
    """What there is to train on: token counts by this model's tokenizer, rows of the training split,
    passes over them as the backend will make them, and rows of one optimizer step, likewise."""

    tokens: TokenStats
    rows: int
    epochs: int
    batch_size: int


def fit(
    spec: JobSpec,
    shape: ModelShape,
    machine: Machine,
    tokens: TokenStats,
    *,
    rows: int,
    epochs: int,
    batch_size: int,
    methods: tuple[str, ...] = ("lora", "qlora", "full"),
    probes: Probes = _NONE,
    together: Together = Together(),
) -> Fit:
    """How one training job lies on one machine.

    Tried in the order of what they cost in time: all rows of a step at once, fewer of them, activation
    checkpointing (a third more time), the base in 4 bits where the spec leaves the method open, the
    weights shared out among the machine's GPUs. The first that fits is taken.

    Args:
        tokens: counts by this model's tokenizer.
        rows: rows of the training split.
        epochs: passes over them, as the backend will make them.
        batch_size: rows of one optimizer step, likewise.
        methods: that the backend can train this model with.
        probes: what was measured on this machine.
        together: processes and sharding, where the spec asks for them.
    """
    desk = _Desk(spec, shape, machine, Rows(tokens, rows, epochs, batch_size), probes, together)
    tried = list(desk.ways(methods))
    return desk.told(next((way for way in tried if desk.fits(way)), tried[-1]))


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to train."""

    method: Method
    processes: int
    sharded: bool
    per_pass: int
    checkpointing: bool


@dataclass(frozen=True, slots=True)
class _Desk:
    """Everything one question is about."""

    spec: JobSpec
    shape: ModelShape
    machine: Machine
    data: Rows
    probes: Probes
    together: Together = Together()

    def ways(self, methods: tuple[str, ...]) -> Iterator[_Way]:
        """All ways to try, the cheapest in time first, the smallest last."""
        sizes = [2**power for power in range(int(math.log2(self.data.batch_size)), -1, -1)]
        for method in self._methods(methods):
            for processes, sharded in self._spread(method):
                for checkpointing in (False, True):
                    for size in sizes:
                        if size <= max(1, self.data.batch_size // processes):
                            yield _Way(method, processes, sharded, size, checkpointing)

    def _spread(self, method: Method) -> list[tuple[int, bool]]:
        """Processes, and whether each holds a part of the weights alone; as asked, else one for each GPU."""
        gpus = max(1, self.machine.gpus) if self.machine.gpu else 1
        most = gpus if self.machine.gpu else self.data.batch_size
        count = min(self.together.processes or gpus, most, self.data.batch_size)
        if self.together.sharded is not None and method != "qlora":
            return [(count, self.together.sharded)]
        return [(count, False), (count, True)] if count > 1 and method != "qlora" else [(count, False)]

    def _methods(self, methods: tuple[str, ...]) -> list[Method]:
        asked = self.spec.method
        if asked == "auto" and self.together.sharded:
            return ["lora"]
        if asked == "auto":
            return ["lora", "qlora"] if "qlora" in methods and "lora" in methods else ["lora"]
        return [asked]

    @property
    def length(self) -> int:
        asked = self.spec.hyperparameters.max_length
        return min(self.shape.max_positions, DEFAULT_LENGTH if asked == "auto" else asked)

    @property
    def longest(self) -> int:
        """Tokens of the longest row that will be trained on; both answers of it, for preferences."""
        return min(self.length * self.answers, self.data.tokens.longest or self.length * self.answers)

    @property
    def answers(self) -> int:
        return 2 if self.spec.task == "dpo" else 1

    def room_gib(self, way: _Way) -> float:
        """For each process: on its GPU, or its part of the machine."""
        machine = self.machine
        return _USABLE * (machine.gpu_memory_gib if machine.gpu else machine.memory_gib / way.processes)

    def pass_tokens(self, way: _Way) -> int:
        """The most that one pass holds: never more than one step's rows, and none longer than the longest."""
        return max(self.longest, min(way.per_pass * self.length, self.data.batch_size * self.longest))

    def setting(self, way: _Way) -> Setting:
        lora = self.spec.hyperparameters.lora
        return Setting(
            shape=self.shape,
            task=self.spec.task,
            method=way.method,
            precision=self.precision[0],
            rank=lora.rank,
            dropout=lora.dropout > 0,
            checkpointing=way.checkpointing,
            threads=self.threads[0],
        )

    def measured(self, way: _Way) -> Measured | None:
        return self.probes.measured(self.setting(way), on_gpu=bool(self.machine.gpu))

    def load(self, way: _Way) -> Load:
        lora, measured = self.spec.hyperparameters.lora, self.measured(way)
        tokens = self.pass_tokens(way)
        if measured and measured.exact and self.work(way).passes == measured.run:
            tokens = min(tokens, measured.run.largest)
        precision = self.precision[0]
        if measured is not None and measured.exact:
            precision = "bf16" if measured.precision == "bf16" else "fp32"
        return Load(
            self.shape,
            way.method,
            precision,
            lora.rank,
            lora.dropout > 0,
            tokens,
            way.checkpointing,
            bool(self.machine.gpu),
            trained_share=measured.trained_share if measured else TRAINED_SHARE,
            processes=way.processes,
            sharded=way.sharded,
            slack=measured.slack if measured else None,
            process_gib=measured.process_gib if measured else None,
            dora=lora.dora and way.method != "full",
        )

    def fits(self, way: _Way) -> bool:
        return sum(parts_gib(self.load(way)).values()) <= self.room_gib(way)

    @property
    def precision(self) -> tuple[Precision, tuple[str, str]]:
        return _precision(self.shape, self.machine)

    @property
    def threads(self) -> tuple[int, str]:
        return _threads(self.shape, self.machine)

    def work(self, way: _Way) -> Work:
        data, measured = self.data, self.measured(way)
        steps = math.ceil(data.rows / data.batch_size) * data.epochs
        # Forward only, once over all rows: half of one epoch where the weights stay, a third where they move.
        before = (1 / 3 if way.method == "full" else 1 / 2) / data.epochs if self.spec.task == "dpo" else 0.0
        made = passes(
            data.tokens.lengths,
            data.tokens.by_split.get("train", data.tokens.tokens),
            rows=data.rows,
            epochs=data.epochs,
            batch_size=data.batch_size,
            pass_tokens=self.pass_tokens(way),
            trained_share=measured.trained_share if measured else TRAINED_SHARE,
            answers=self.answers,
        )
        if measured and measured.of_this(made, steps):
            made = measured.run
        faster = way.processes if self.machine.gpu else 1  # the cores of a machine are shared among them
        return Work(self.setting(way), made, steps, faster, before)

    def told(self, way: _Way) -> Fit:
        """The answer for one way."""
        parts = parts_gib(self.load(way))
        memory = round(sum(parts.values()), 3)
        measured = self.measured(way)
        speeds = measured.speeds() if measured else assumed(self.machine, self.threads[0])
        whole = way.method == "qlora" and bool(self.together.sharded)
        fits = memory <= self.room_gib(way) and not whole
        return Fit(
            machine=self.machine,
            fits=fits,
            memory_gib=memory,
            parts_gib=parts,
            hours=hours(self.work(way), speeds),
            choices=self._choices(way),
            why_not=None if fits else _WHOLE if whole else self._why_not(way, parts, memory),
            basis=measured.sentence() if measured else None,
        )

    def _choices(self, way: _Way) -> dict[str, tuple[object, str]]:
        found: dict[str, tuple[object, str]] = {
            "precision": self.precision[1],
            "micro_batch": (
                way.per_pass,
                f"{way.per_pass} × {self.length:,} tokens a pass, within {self.room_gib(way):.1f} GiB",
            ),
            "checkpointing": (way.checkpointing, _why_checkpointing(way.checkpointing)),
            "threads": self.threads,
            "method": (way.method, self._why_method(way)),
        }
        if way.processes > 1:
            why = "as options say" if self.together.processes else "one for each GPU"
            found["processes"] = (way.processes, f"{why}; each takes its share of a step's rows")
        if way.sharded:
            why = "as options say" if self.together.sharded else "a whole copy does not fit on one GPU"
            found["sharded"] = (True, f"each process holds a part of the weights: {why}")
        return found

    def _why_method(self, way: _Way) -> str:
        if self.spec.method != "auto":
            return "as the spec says"
        if self.together.sharded:
            return f"LoRA: {_WHOLE}, and options ask for that"
        if way.method == "qlora":
            return "QLoRA: with whole weights it does not fit; in 4 bits it does"
        return "LoRA: the least memory, and an adapter anyone can load"

    def _why_not(self, way: _Way, parts: Mapping[str, float], memory: float) -> str:
        largest = max(parts, key=lambda name: parts[name])
        machine = self.machine
        what = f"{machine.gpu} memory" if machine.gpu else "memory"
        return (
            f"needs about {memory:.1f} GiB for one row of {self.longest:,} tokens, most of it {largest} "
            f"({parts[largest]:.1f} GiB); {machine.name} has {self.room_gib(way):.1f} GiB of {what} to give"
        )


def _precision(shape: ModelShape, machine: Machine) -> tuple[Precision, tuple[str, str]]:
    """The precision memory is counted for, and the choice: `auto` leaves it to what the hardware has."""
    if not machine.gpu and shape.parameters < SMALL:
        return "fp32", ("fp32", "a small base on a CPU: bf16 would gain nothing")
    if not machine.gpu:
        return "fp32", ("auto", "bf16 if this CPU computes in it; memory is counted for fp32")
    gpu = load_gpus().gpu(machine.gpu)
    if gpu is not None and not gpu.bf16:
        return "fp32", ("fp32", f"{gpu.name} does not compute in bf16")
    return "bf16", ("auto", "bf16: half the memory of fp32, and the GPU's fast path")


def _threads(shape: ModelShape, machine: Machine) -> tuple[int, str]:
    """Measured at 0.9 M parameters on two cores: the second one takes a fifth off a step while the
    machine is idle, and makes it two to eight times as long while others use the cores."""
    if not machine.gpu and shape.parameters < TINY:
        return 1, "so small a base waits for a second thread more than it gains by it"
    return max(1, machine.cpu_cores), "every core this process may use"


def _why_checkpointing(checkpointing: bool) -> str:
    if checkpointing:
        return "without it the activations do not fit; it costs about a third more time"
    return "the activations fit without it"
