"""Some steps of a real run, measured: `python -m backends.local.probing RUN_DIR`.

The folder is a run's, as `submit` makes it; the network, the rows, the order of the steps and the step
itself are the loop's own. Nothing is kept of what is trained. The steps are taken as widely as they
differ in size, the largest among them, so that time and memory can be told for others.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.local.environment import cpu_threads, for_training
from backends.local.run import Run, read_json, write_json
from gateway.core.errors import BackendError
from gateway.core.probe import Passes, Probe, Setting, StepSeen, added

if TYPE_CHECKING:
    from backends.local.setup import Setup
    from backends.local.tokens import Item

STEPS = 20
LOOKS_EVERY_S = 0.2
WARM_UP = 2  # libraries are loaded, kernels chosen, buffers made: once, and so a part of the start
_LIBRARIES = ("torch", "transformers", "peft")


def machine() -> str:
    """This machine, and the libraries whose speed it is. Two that read alike are taken for one."""
    libraries = ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)
    return f"{_processor()}, {cpu_threads()} threads; {libraries}"


def probe(run: Run, steps: int = STEPS, on_progress: Callable[[int, int], None] | None = None) -> Probe:
    """Step through some of a prepared run in a process of its own.

    Args:
        on_progress: told how much of the embedded base is built, in percent, where that comes first.

    Raises:
        BackendError: it ended without a measurement.
    """
    (run.folder / "probe.json").unlink(missing_ok=True)
    with (run.folder / "probe.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "backends.local.probing", str(run.folder), str(steps)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=for_training(), cwd=run.folder,
        )  # fmt: skip
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        while not ended:
            time.sleep(LOOKS_EVERY_S)
            _tell(run, on_progress)
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
        process.returncode = code = os.waitstatus_to_exitcode(status)
    found = read_json(run.folder / "probe.json")
    if found is None:
        memory = "; the machine may be short of memory" if code in (-9, 137) else ""
        raise BackendError(
            f"the probe ended with code {code} and measured nothing{memory}",
            backend="local",
            place=run.status.message or "",
            fix=run.status.fix or "a smaller model, or shorter rows, may fit",
        )
    taken = Probe.from_json(found, str(run.folder))
    last = read_json(run.folder / "ended.json") or {}
    leaving_s = used.ru_utime + used.ru_stime - last.get("processor_s", float("inf"))
    return replace(taken, start_s=round(taken.start_s + max(0.0, leaving_s), 2))


def _tell(run: Run, on_progress: Callable[[int, int], None] | None) -> None:
    built = [event.data["share"] for event in run.events() if event.kind == "building_base"]
    if built and on_progress:
        on_progress(round(built[-1] * 100), 100)


def chosen(sizes: Sequence[int], count: int) -> list[int]:
    """Places of so many steps of a run: in its own order, from the smallest to the largest in even ranks."""
    if len(sizes) <= count:
        return list(range(len(sizes)))
    by_size = sorted(range(len(sizes)), key=lambda place: sizes[place])
    last = len(by_size) - 1
    spread = {by_size[round(index * last / (count - 1))] for index in range(count)}
    return sorted(spread)


def measure(run: Run, steps: int, began: float) -> Probe:
    """In this process: prepare the run, take the steps, tell what they took."""
    from backends.local import memory, reference
    from backends.local.ranks import Ranks
    from backends.local.setup import prepare
    from backends.local.step import take_step

    idle = memory.high_water_gib()
    setup = reference.unasked(prepare(run, Ranks()))
    loaded, ready_s = memory.high_water_gib(), _since(began)
    plan = list(setup.plan)
    counted = [_passes(setup, items) for items in plan]
    places = chosen([each.tokens for each in counted], steps)
    warming, worked = time.monotonic(), time.process_time()
    for place in places[:WARM_UP]:
        take_step(setup, place + 1, plan[place]).read()
    warm_s = _since(warming, worked)
    seen = [_timed(setup, place, plan[place], counted[place]) for place in places]
    first_s = max(0.0, warm_s - sum(min(each.seconds, each.processor_s) for each in seen[:WARM_UP]))
    ended, worked = time.monotonic(), time.process_time()
    _save(setup, run.folder / "unwanted")
    ending_s = _since(ended, worked)
    return Probe(
        machine=machine(),
        at=datetime.now(UTC),
        model=run.config["body"]["model"]["name"],
        device=_device(),
        setting=_setting(setup, run.config["body"]),
        start_s=round(ready_s + first_s + ending_s, 2),
        idle_gib=idle,
        loaded_gib=loaded,
        peak_gib=memory.high_water_gib(),
        steps=tuple(seen),
        run=added(counted),
        run_steps=len(plan),
    )


def _save(setup: Setup, folder: Path) -> None:
    """As a run does at its end; thrown away."""
    setup.network.save(folder)
    setup.template.tokenizer.save_pretrained(str(folder))
    shutil.rmtree(folder)


def _since(began: float, worked: float = 0.0) -> float:
    """Seconds until now. What loads on a CPU computes on one thread, whose own time tells it whatever else
    the machine does; a GPU's start waits for disk and driver."""
    import torch

    clock = time.monotonic() - began
    return clock if torch.cuda.is_available() else min(clock, time.process_time() - worked)


def _timed(setup: Setup, place: int, items: Sequence[Item], passes: Passes) -> StepSeen:
    import torch

    from backends.local import memory
    from backends.local.step import take_step

    began, worked = time.monotonic(), time.process_time()
    take_step(setup, place + 1, items).read()
    seconds = time.monotonic() - began
    processor = (time.process_time() - worked) / torch.get_num_threads()
    return StepSeen(passes, round(seconds, 6), round(processor, 6), memory.high_water_gib())


def _passes(setup: Setup, items: Sequence[Item]) -> Passes:
    """What a step sends through the network, as the loop divides it."""
    return added([_pass(part, packed=setup.network.packs) for part, _ in setup.passes(items)])


def _pass(part: Sequence[Item], *, packed: bool) -> Passes:
    lengths = [chat.length for item in part for chat in item.chats]
    if not packed:
        lengths = [max(lengths)] * len(lengths)
    tokens, squares = sum(lengths), sum(length**2 for length in lengths)
    return Passes(1, tokens, squares, sum(item.trained for item in part), tokens)


def _setting(setup: Setup, body: Mapping[str, Any]) -> Setting:
    import torch

    from backends.local import models

    shape = models.shape_of(models.text_config(setup.folder))
    if shape is None:
        raise BackendError("this model's config does not say its sizes", backend="local")
    return Setting(
        shape=shape,
        task=body["task"],
        method=body["method"],
        precision="bf16" if setup.network.dtype == torch.bfloat16 else "fp32",
        rank=body["lora"]["rank"],
        dropout=body["lora"]["dropout"] > 0,
        checkpointing=bool(body["checkpointing"]),
        threads=torch.get_num_threads(),
    )


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    """The processor's name, as Linux tells it; else the platform's word for it."""
    import platform

    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _made_a_base(run: Run) -> bool:
    """Whether the base had to be built first."""
    from backends.local import models

    config = run.config
    id, home = config["body"]["model"]["id"], Path(config["home"])
    if models.locate(id, home) is not None:
        return False
    text = "building the base model"
    models.ensure(id, home, lambda share: run.event("info", "building_base", text, share=round(share, 3)))
    return True


def main(arguments: Sequence[str]) -> int:
    import traceback

    from backends.local.train import failure_of

    began = time.monotonic()
    run = Run(Path(arguments[0]))
    try:
        if _made_a_base(run):  # whose making is no part of a run: begin again, with all of it forgotten
            os.execv(sys.executable, [sys.executable, "-m", "backends.local.probing", *arguments])  # noqa: S606
        found = measure(run, int(arguments[1]), began)
    except Exception as error:
        traceback.print_tb(error.__traceback__)  # the places, not the message: it might quote a row
        failure = failure_of(error)
        run.set_status("failed", message=failure.message, fix=failure.fix)
        return 1
    write_json(run.folder / "probe.json", found.to_json())
    write_json(run.folder / "ended.json", {"processor_s": time.process_time()})  # a second or two is to come
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
