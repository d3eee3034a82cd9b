"""What does not fit: the smallest change after which it would, found by asking the same question again
with that one thing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from cost.gpus import load_gpus
from gateway.core.facts import ModelShape
from gateway.core.plan import Fit, Machine
from gateway.core.rows import TokenStats
from gateway.core.spec import JobSpec

Ask = Callable[[JobSpec, ModelShape, Machine], Fit]

_LENGTHS = (4096, 3072, 2048, 1536, 1024, 768, 512, 384, 256, 128)
_SHARES = ((0.99, 6), (0.90, 5), (0.75, 4))  # of the rows, and where their longest stands in the quantiles
_HOST_GIB = 64.0


def smallest_change(
    ask: Ask,
    spec: JobSpec,
    shape: ModelShape,
    machine: Machine,
    tokens: TokenStats,
    *,
    methods: Sequence[str] = (),
    others: Sequence[tuple[str, ModelShape]] = (),
) -> str | None:
    """One sentence that says what to change; None where no single change would do.

    Smaller passes and checkpointing are no changes: every fit tries them. In this order: rows no longer
    than so much, a base in 4 bits, more or larger GPUs, a smaller model.

    Args:
        ask: the fit, for another spec, model or machine.
        methods: that the backend can train this model with.
        others: smaller models it offers, with their sizes.
    """
    found = chain(
        _shorter(ask, spec, shape, machine, tokens),
        _quantised(ask, spec, shape, machine, methods),
        _more_gpus(ask, spec, shape, machine),
        _smaller(ask, spec, shape, machine, others),
    )
    return next(found, None)


def _shorter(
    ask: Ask, spec: JobSpec, shape: ModelShape, machine: Machine, tokens: TokenStats
) -> Iterator[str]:
    """The greatest length that fits, where rows are longer than it."""
    longest = tokens.longest
    for length in (each for each in _LENGTHS if each < longest):
        hyper = spec.hyperparameters.model_copy(update={"max_length": length})
        if ask(spec.model_copy(update={"hyperparameters": hyper}), shape, machine).fits:
            rows = _rows_within(tokens, length)
            yield f"set hyperparameters.max_length: {length} (the longest row has {longest:,} tokens{rows})"
            return


def _rows_within(tokens: TokenStats, length: int) -> str:
    known = len(tokens.lengths) > max(at for _, at in _SHARES)
    shares = [share for share, at in _SHARES if known and tokens.lengths[at] <= length]
    return f", and {max(shares):.0%} of the rows no more than that" if shares else ""


def _quantised(
    ask: Ask, spec: JobSpec, shape: ModelShape, machine: Machine, methods: Sequence[str]
) -> Iterator[str]:
    if "qlora" in methods and spec.method not in ("qlora", "auto"):
        lies = ask(spec.model_copy(update={"method": "qlora"}), shape, machine)
        if lies.fits:
            yield f"set method: qlora, which needs about {lies.memory_gib:.1f} GiB"


def _more_gpus(ask: Ask, spec: JobSpec, shape: ModelShape, machine: Machine) -> Iterator[str]:
    """More of the GPU that is here; else the smallest of the catalogue that holds it."""
    if machine.gpu:
        for gpus in (each for each in (2, 4, 8) if each > machine.gpus):
            more = Machine(
                machine.name, machine.gpu, gpus, machine.gpu_memory_gib, machine.cpu_cores, machine.memory_gib
            )
            if ask(spec, shape, more).fits:
                yield f"take {gpus} × {machine.gpu}, the weights shared out among them"
                return
    for gpu in sorted(load_gpus().gpus, key=lambda each: each.memory_gib):
        lies = ask(spec, shape, Machine(gpu.name, gpu.name, 1, gpu.memory_gib, 8, _HOST_GIB))
        if lies.fits:
            needs = f"about {lies.memory_gib:.1f} GiB"
            yield f"take a GPU with {gpu.memory_gib:g} GiB, as one {gpu.name}: it needs {needs}"
            return


def _smaller(
    ask: Ask, spec: JobSpec, shape: ModelShape, machine: Machine, others: Sequence[tuple[str, ModelShape]]
) -> Iterator[str]:
    """The largest of the smaller models that fits."""
    smaller = [other for other in others if other[1].parameters < shape.parameters]
    for name, size in sorted(smaller, key=lambda other: -other[1].parameters):
        if ask(spec, size, machine).fits:
            yield f"take {name}, with {size.parameters / 1e9:.1f} billion parameters"
            return
