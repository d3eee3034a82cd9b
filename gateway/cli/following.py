"""A live view of one job: what it does, loss, tokens per second, time to go."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from gateway import JobHandle
from gateway.cli.console import err
from gateway.cli.views import duration


def follow(job: JobHandle) -> None:
    """See the job to its end, evaluation included, showing how far it is."""
    with watched() as show:
        job.wait(on_update=show)


@contextmanager
def watched() -> Generator[Callable[[JobHandle], None]]:
    """Shows how far a job is at every look it is told of. Without a terminal, one line is printed on
    stderr whenever what it does changes."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns, TextColumn("{task.fields[detail]}"), console=err, disable=not err.is_terminal
    ) as bar:
        task = bar.add_task("planned", total=None, detail="")
        said = trouble = ""

        def show(current: JobHandle) -> None:
            nonlocal said, trouble
            now = "" if current.state.final or not current.error else str(current.error.get("message", ""))
            if now and now != trouble:
                err.print(f"{current.id}  {now}; trying again", highlight=False, markup=False, soft_wrap=True)
            trouble = now
            if current.doing != said and not err.is_terminal:
                err.print(f"{current.id}  {current.doing}", highlight=False, markup=False, soft_wrap=True)
            said = current.doing
            progress = current.progress
            bar.update(
                task,
                description=said,
                completed=progress.step if progress else 0,
                total=progress.steps if progress else None,
                detail=detail(current),
            )

        yield show


def detail(job: JobHandle) -> str:
    """Loss, speed and time to go, as far as they are known."""
    progress = job.progress
    if progress is None:
        return ""
    parts = [
        f"loss {progress.loss:.3f}" if progress.loss is not None else "",
        f"{progress.tokens_per_s:,.0f} tokens/s" if progress.tokens_per_s else "",
        f"{duration(progress.eta_s)} to go" if progress.eta_s is not None else "",
    ]
    return "  ".join(part for part in parts if part)
