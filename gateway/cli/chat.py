"""`tunegate jobs chat`: talk to a tuned model, and to its base beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import typer

from gateway import JobHandle
from gateway.cli.console import err, gateway_of, hint
from gateway.core.errors import Rejected, SpecError
from gateway.core.job import ChatMessage

JobId = Annotated[str, typer.Argument(help="the job's id", metavar="JOB", show_default=False)]
HELP = "/new begins a new chat, /exit or Ctrl-D ends; Ctrl-C stops an answer"


def register(app: typer.Typer) -> None:
    app.command("chat")(chat)


def chat(
    context: typer.Context,
    job: JobId,
    base: Annotated[bool, typer.Option("--base", help="let the base answer too, to compare")] = False,
    system: Annotated[
        str | None, typer.Option(help="system prompt; default: the one of the spec", metavar="TEXT")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, max=32_768, help="longest answer, in tokens")] = 512,
) -> None:
    """Talk to the tuned model of a job. Piped input is one prompt, and the answer alone is printed.

    What you type is data: for a managed model it is scanned, and the gate decides, before it is sent.

    Examples:
      tunegate jobs chat job_01j…
      tunegate jobs chat job_01j… --base
      echo "Left knee pain for a week." | tunegate jobs chat job_01j…
    """
    found = gateway_of(context).jobs.get(job)
    models = (True, False) if base else (False,)
    opening = system if system is not None else found.system_prompt
    talks = [Conversation(found, is_base, opening, max_tokens) for is_base in models]
    if sys.stdin.isatty():
        _converse(talks)
        return
    prompt = sys.stdin.read().strip()
    if not prompt:
        raise SpecError("there is no prompt on standard input", fix='echo "…" | tunegate jobs chat JOB')
    for talk in talks:
        if len(talks) > 1:
            typer.echo(f"{talk.name}: ", nl=False)
        for piece in talk.say(prompt):
            typer.echo(piece, nl=False)
        typer.echo()


@dataclass
class Conversation:
    """A chat with one model; what both have said so far is part of every next question."""

    job: JobHandle
    base: bool
    system: str | None
    max_tokens: int
    turns: list[ChatMessage] = field(default_factory=list[ChatMessage])

    @property
    def name(self) -> str:
        return "base" if self.base else "tuned"

    def say(self, prompt: str) -> Iterator[str]:
        """The answer in pieces. One that is interrupted, or refused, leaves no trace in the chat."""
        opening = [ChatMessage("system", self.system)] if self.system else []
        asked = ChatMessage("user", prompt)
        answer = ""
        for piece in self.job.stream(
            [*opening, *self.turns, asked], base=self.base, max_output_tokens=self.max_tokens
        ):
            answer += piece
            yield piece
        self.turns += [asked, ChatMessage("assistant", answer)]


def _converse(talks: list[Conversation]) -> None:
    """Questions and answers until the user has had enough."""
    hint(HELP)
    while True:
        try:
            prompt = input("> ").strip()
        except EOFError:
            typer.echo()
            return
        if prompt == "/exit":
            return
        if prompt == "/new":
            for talk in talks:
                talk.turns.clear()
            hint("a new chat")
        elif prompt.startswith("/"):
            hint(HELP)
        elif prompt:
            _answer(talks, prompt)


def _answer(talks: list[Conversation], prompt: str) -> None:
    try:
        for talk in talks:
            if len(talks) > 1:
                err.print(f"[dim]{talk.name}[/dim]")
            for piece in talk.say(prompt):
                typer.echo(piece, nl=False)
            typer.echo()
    except KeyboardInterrupt:
        typer.echo()
        hint("stopped; that question and its answer are forgotten")
    except Rejected as error:  # this prompt, or a chat grown too long: the next may do
        err.print(f"{error}", highlight=False, markup=False, soft_wrap=True)
