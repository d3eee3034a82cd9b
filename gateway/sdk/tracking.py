"""Training's numbers to a tracking server of one's own choice: off unless `[metrics]` names one.

Telemetry is egress, so the gate decides, as for everything that leaves: a server on this machine, or one
the settings call one's own, counts as one's own machine; any other is a provider of whom nothing is
known. Only numbers go there, and names that a person gave: the job's, its team's, its model's.

Spoken is MLflow's REST interface (2.x and 3.x): runs/search, runs/create, runs/log-batch, runs/update.
Nothing is sent twice that a chart would show twice: a run is found again by its tag, and a step's
timestamp follows from the job, so that MLflow recognises a row it has. A server that fails costs
training nothing; what could not be sent goes along next time.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.core.errors import BackendError, PolicyDenied, TunegateError
from gateway.core.gate import Action, GateRequest, Ground
from gateway.core.job import Event
from gateway.egress import Sending, is_loopback, through_proxy
from gateway.jobs.model import Job
from gateway.settings import Tracking, credential

if TYPE_CHECKING:
    import httpx

    from gateway.sdk.rooms import Rooms

_LOG = logging.getLogger("tunegate.tracking")

EXPERIMENT = "tunegate"
BACKEND = "mlflow"  # what rules and attestations call the server
_MOST = 1000  # metrics MLflow takes in one batch
_TIMEOUT_S = 5.0
_NOT_METRICS = frozenset({"step", "steps", "eta_s"})
_ENDS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}

Numbers = tuple[int, dict[str, float]]  # a step, and what was measured at it


class Tracker:
    """Tells one server how jobs go, and warns once a job where it cannot."""

    def __init__(self, tracking: Tracking, rooms: Rooms) -> None:
        self._tracking = tracking
        self._rooms = rooms
        self._host = urlsplit(tracking.server).hostname or ""
        here = is_loopback(self._host) and not through_proxy(self._host)
        self._at_home = tracking.own or here
        self._warned: set[str] = set()

    def happened(self, job: Job, event: Event) -> None:
        """Send what is new of a job. Never raises: training does not depend on who watches it."""
        import httpx

        try:
            self._admit(job)
            with self._client() as client:
                self._send(client, job, _told(event))
        except (TunegateError, httpx.HTTPError, OSError, ValueError, KeyError) as error:
            self._say(job, error)

    def _admit(self, job: Job) -> None:
        """Ask the gate, on today's rules; what it says is recorded as at the door.

        Raises:
            PolicyDenied: its answer is anything but a clean allow.
        """
        request = self._question(job)
        decision = self._rooms.keeper.decide(request)
        if not self._at_home and urlsplit(self._tracking.server).scheme != "https":
            ground = Ground("tracking.address", "calls to the tracking server would not be encrypted")
            decision = replace(decision, allowed=False, grounds=(ground,))
        self._rooms.accounts.decided(request, decision, Sending(key=job.key, hosts=(self._host,)))
        if decision.allowed is not True:
            grounds = decision.grounds or (Ground("nothing-allows", "no rule allows it"),)
            raise PolicyDenied(
                "; ".join(ground.reason for ground in grounds),
                place=self._tracking.server,
                fix="`[metrics] own = true` where the server is your organisation's own",
                rules=tuple(ground.rule for ground in grounds),
            )

    def _question(self, job: Job) -> GateRequest:
        """A model inherits the class of its data, and so does what is told of its training."""
        at_home = self._at_home
        return replace(
            self._rooms.dispatch.gate_request(job, Action.EXPORT),
            backend=BACKEND,
            kind="local" if at_home else "managed",
            residency="local" if at_home else "global",
            handling={"title": "the tracking server", "business_associate": not at_home},
            region="",
            offer="",
            account="",
        )

    def _client(self) -> httpx.Client:
        import httpx

        token = credential("MLFLOW_TRACKING_TOKEN")
        name, password = credential("MLFLOW_TRACKING_USERNAME"), credential("MLFLOW_TRACKING_PASSWORD")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if not token and name:
            pair = base64.b64encode(f"{name}:{password or ''}".encode()).decode()
            headers = {"Authorization": f"Basic {pair}"}
        return httpx.Client(
            base_url=f"{self._tracking.server.rstrip('/')}/api/2.0/mlflow/",
            headers=headers,
            timeout=_TIMEOUT_S,
            follow_redirects=False,  # the token belongs to this server
        )

    def _send(self, client: httpx.Client, job: Job, told: Sequence[Numbers]) -> None:
        place = job.folder / "tracking.json"
        state: dict[str, Any] = json.loads(place.read_bytes()) if place.is_file() else {}
        run = state.get("run") or _run_of(client, job)
        sent = int(state.get("step", 0))
        rows = [*told, *(line for line in self._lines(job) if line[0] > sent)]
        metrics = [row for step, values in rows for row in _rows(job.created_at, step, values)]
        for begin in range(0, len(metrics), _MOST):
            _post(client, "runs/log-batch", {"run_id": run, "metrics": metrics[begin : begin + _MOST]})
        if (end := _ENDS.get(str(job.state))) is not None:
            _post(client, "runs/update", {"run_id": run, "status": end, "end_time": _ms(job.ended_at)})
        from gateway.data import write_atomically

        reached = max((step for step, _ in rows), default=sent)
        write_atomically(place, [json.dumps({"run": run, "step": max(reached, sent)}).encode()])

    def _lines(self, job: Job) -> Iterator[Numbers]:
        """The numbers of every step, where the backend keeps them in a file on this machine."""
        backend = self._rooms.backend(job.backend)
        if job.remote is None or backend.facts.kind != "local":
            return
        for artifact in backend.artifacts(job.remote):
            if artifact.kind == "metrics":
                for line in Path(artifact.uri).read_bytes().splitlines(keepends=True):
                    if line.endswith(b"\n"):
                        values: dict[str, Any] = json.loads(line)
                        yield int(values["step"]), _numbers(values)

    def _say(self, job: Job, error: Exception) -> None:
        if job.id not in self._warned:
            self._warned.add(job.id)
            text = str(error) if isinstance(error, TunegateError) else type(error).__name__
            _LOG.warning("%s: metrics were not sent to the tracking server: %s", job.id, text)


# -- the interface ---------------------------------------------------------------------------------


def _run_of(client: httpx.Client, job: Job) -> str:
    """The run of a job: the one that bears its tag, else a new one."""
    experiment = _experiment(client)
    tag = f"tags.`tunegate.job` = '{job.id}.{job.attempt}'"
    found = _post(client, "runs/search", {"experiment_ids": [experiment], "filter": tag, "max_results": 1})
    if runs := found.get("runs"):
        return str(runs[0]["info"]["run_id"])
    tags = {
        "tunegate.job": f"{job.id}.{job.attempt}",
        "team": job.team,
        "model": job.model,
        "backend": job.backend,
    }
    made = _post(
        client,
        "runs/create",
        {
            "experiment_id": experiment,
            "run_name": job.name,
            "start_time": _ms(job.created_at),
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        },
    )
    return str(made["run"]["info"]["run_id"])


def _experiment(client: httpx.Client) -> str:
    reply = client.get("experiments/get-by-name", params={"experiment_name": EXPERIMENT})
    if reply.status_code == 404:
        return str(_post(client, "experiments/create", {"name": EXPERIMENT})["experiment_id"])
    return str(_body(reply)["experiment"]["experiment_id"])


def _post(client: httpx.Client, operation: str, body: dict[str, Any]) -> dict[str, Any]:
    return _body(client.post(operation, json=body))


def _body(reply: httpx.Response) -> dict[str, Any]:
    if not reply.is_success:
        raise BackendError(f"the tracking server answered {reply.status_code}", backend=BACKEND)
    return reply.json()


# -- the numbers -----------------------------------------------------------------------------------


def _told(event: Event) -> list[Numbers]:
    """The numbers an event brings, where it is about a step."""
    step = event.data.get("step")
    numbers = _numbers(event.data)
    if not isinstance(step, int) or not numbers:
        return []
    return [(step, {f"{event.kind}_{name}": value for name, value in numbers.items()})]


def _numbers(values: Any) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in _NOT_METRICS
    }


def _rows(began: datetime, step: int, values: dict[str, float]) -> Iterator[dict[str, Any]]:
    """As MLflow takes them. The time is the step's place after the job's beginning, not the clock's: what
    is sent again after a lost reply is then the same row."""
    for name, value in values.items():
        yield {"key": name, "value": value, "timestamp": _ms(began) + step, "step": step}


def _ms(at: datetime | None) -> int:
    return int(at.timestamp() * 1000) if at else 0
