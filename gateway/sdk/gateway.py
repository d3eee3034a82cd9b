"""`Gateway`: the one door. CLI, server and Python users all come through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.core.errors import SpecError
from gateway.core.job import ChatMessage, Completion
from gateway.core.plan import Candidate, Plan
from gateway.core.spec import JobSpec
from gateway.sdk.books import Backends, Models
from gateway.sdk.costs import Costs
from gateway.sdk.data import Datasets
from gateway.sdk.jobs import JobHandle, Jobs
from gateway.sdk.keys import Keys
from gateway.sdk.options import with_defaults
from gateway.sdk.planning import chosen_or_raise, make_plan
from gateway.sdk.policy import Policy
from gateway.sdk.records import Records
from gateway.sdk.rooms import Rooms
from gateway.sdk.starter import Starter, make_starter
from gateway.settings import Settings, load_settings

if TYPE_CHECKING:
    from gateway.advice import Advice

OnProgress = Callable[[int, int], None]
Messages = Sequence[ChatMessage | tuple[str, str]]


class Gateway:
    """Everything Tunegate does, for one home folder and one settings file.

    Holds no global state: several gateways live in one process. Constructing one reads the settings
    and nothing else.

    Args:
        config: settings file; default: `tunegate.toml`, found upwards from the working directory.
        home: state, keys and caches; default: `$TUNEGATE_HOME`, else the platform's data folder.
        clock: the time now, in UTC with a zone; tests pin it.
        passphrase: asks somebody for the passphrase of the key at a place, where the environment has
            none; gives None where nobody is there.

    Raises:
        SettingsError: the settings file is wrong.
    """

    def __init__(
        self,
        *,
        config: str | Path | None = None,
        home: str | Path | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        passphrase: Callable[[str], str | None] = lambda place: None,
    ) -> None:
        self._rooms = Rooms(load_settings(config, home=home), clock, passphrase)
        self.jobs = Jobs(self._rooms)
        self.data = Datasets(self._rooms)
        self.models = Models(self._rooms)
        self.policy = Policy(self._rooms)
        self.keys = Keys(self._rooms)
        self.costs = Costs(self._rooms)
        self.records = Records(self._rooms)
        self.backends = Backends(self._rooms)

    @property
    def settings(self) -> Settings:
        return self._rooms.settings

    def plan(
        self, spec: JobSpec | str | Path, *, as_of: date | None = None, on_progress: OnProgress | None = None
    ) -> Plan:
        """Judge every candidate: can it, may it, what does it cost, how long. Touches no network.

        Args:
            spec: a `JobSpec`, or the path of a spec file.
            as_of: judge as if today were this day.
            on_progress: told (bytes done, bytes in all) while the data is read.

        Raises:
            SpecError: the spec is wrong; every problem at once.
            DataError: the dataset cannot be used.
            SettingsError: policies or facts cannot be loaded.
        """
        today = as_of or self._rooms.clock().date()
        return make_plan(self._rooms, _spec(spec), as_of=today, on_progress=on_progress)

    def report(
        self,
        spec: JobSpec | str | Path,
        plan: Plan,
        *,
        page: Path | None = None,
        charts: Path | None = None,
        lines: Path | None = None,
    ) -> list[Path]:
        """Write a plan as a page with charts, the charts as SVG and PNG, and the line items as `.csv`,
        `.xlsx` (with live formulas) or `.focus.csv`; the files written.

        Raises:
            SpecError: the spec gives no traffic, so there is nothing to compare over time.
            Unsupported: the extra `report` is not installed.
        """
        from gateway.report import draw, export, write_report

        asked, written = _spec(spec), list[Path]()
        if page is not None:
            write_report(plan, asked, page)
            written.append(page)
        if charts is not None:
            written += draw(plan, asked, charts, "svg")
            written += draw(plan, asked, charts, "png")
        if lines is not None:
            export(plan, lines)
            written.append(lines)
        return written

    def advise(self, spec: JobSpec | str | Path, *, on_progress: OnProgress | None = None) -> Advice:
        """Whether the data and the money speak for fine-tuning at all. Touches no network.

        Raises:
            SpecError, DataError, SettingsError: as `plan`.
        """
        from gateway.advice import Looker, advise
        from gateway.data import open_dataset, run_pass

        asked = _spec(spec)
        plan = self.plan(asked, on_progress=on_progress)
        dataset = open_dataset(asked.data, asked.folder, task=asked.task)
        held_out = (
            place for place, each in enumerate(dataset.sources) if each.split in ("test", "validation")
        )
        looker = Looker(tuple(held_out))
        run_pass(dataset, [looker], None)
        return advise(looker.look(), asked, plan)

    def check(self, plan: Plan) -> Candidate:
        """The candidate that `run` would dispatch to.

        Raises:
            PolicyDenied, OverBudget, NothingCanRun: why there is none.
        """
        return chosen_or_raise(plan)

    def run(self, spec: JobSpec | str | Path, *, on_progress: OnProgress | None = None) -> JobHandle:
        """Plan, and dispatch to the chosen candidate. Returns when the backend has the job, which then
        goes on by itself; `wait()` sees it through.

        Raises:
            PolicyDenied, OverBudget, NothingCanRun: nothing was dispatched, and why.
        """
        asked = _spec(spec)
        return self.dispatch(asked, self.plan(asked, on_progress=on_progress)).start()

    def dispatch(self, spec: JobSpec, plan: Plan) -> JobHandle:
        """Make a plan's choice a job: the decision is recorded and the budget reserved. Nothing is sent
        yet; the job's `start()` or `wait()` does that, once.

        Raises:
            SpecError: the plan was made from another spec.
            PolicyDenied, OverBudget, NothingCanRun: there is no job, and why.
        """
        chosen = chosen_or_raise(plan)
        asked = with_defaults(spec, self._rooms.options)
        if plan.spec_hash != asked.hash():
            raise SpecError("this plan was made from another spec", fix="plan again, then dispatch")
        return JobHandle(self._rooms, self._rooms.dispatch.create(asked, plan, chosen))

    def complete(
        self, model: str, messages: Messages, *, backend: str = "local", max_output_tokens: int = 256
    ) -> Completion:
        """One answer from a model, through the gate.

        Args:
            model: a base model's name, an artifact's callable id, or the id of a job that succeeded.
            messages: turns, as `ChatMessage`s or (role, content) pairs.
            backend: where a base model is asked; a job's model is asked where it was trained.

        Raises:
            PolicyDenied: the gate said no.
        """
        chats = [_chat(messages)]
        request, ref, options = self._rooms.dispatch.inference(model, backend, chats)
        return self._rooms.egress.complete(
            request, ref, chats, max_output_tokens=max_output_tokens, options=options
        )[0]

    def stream(
        self, model: str, messages: Messages, *, backend: str = "local", max_output_tokens: int = 256
    ) -> Iterator[str]:
        """The same answer in pieces, as they come."""
        chat = _chat(messages)
        request, ref, options = self._rooms.dispatch.inference(model, backend, [chat])
        return self._rooms.egress.stream(
            request, ref, chat, max_output_tokens=max_output_tokens, options=options
        )

    def starter(
        self,
        *,
        data: str,
        model: str | None = None,
        prompt: str | None = None,
        completion: str | None = None,
        data_class: str | None = None,
        folder: Path = Path(),
    ) -> Starter:
        """A spec and settings to start from; `write()` puts them into the folder."""
        return make_starter(
            data=data,
            model=model,
            prompt=prompt,
            completion=completion,
            data_class=data_class,
            folder=folder,
        )


def _spec(spec: JobSpec | str | Path) -> JobSpec:
    return spec if isinstance(spec, JobSpec) else JobSpec.from_yaml(spec)


def _chat(messages: Messages) -> list[ChatMessage]:
    return [turn if isinstance(turn, ChatMessage) else _turn(*turn) for turn in messages]


def _turn(role: str, content: str) -> ChatMessage:
    if role not in ("system", "user", "assistant", "tool"):
        raise SpecError(f"{role!r} is no role", place="messages", fix="use system, user, assistant or tool")
    return ChatMessage(role, content)
