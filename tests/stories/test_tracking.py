"""Training's numbers reach a tracking server once, where the gate lets them; training never depends on it."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from gateway import Gateway, JobHandle, JobSpec
from tests.stories.conftest import User, training_spec


class MLflow:
    """The few operations of MLflow's REST interface that are used, and what they were told."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.experiment: str | None = None
        self.runs: dict[str, dict[str, str]] = {}
        self.failing = False
        self.address = ""

    def __call__(self, environ: Any, start: Any) -> Any:
        request = Request(environ)
        operation = request.path.removeprefix("/api/2.0/mlflow/")
        body: dict[str, Any] = request.get_json(silent=True) or dict(request.args)
        self.bodies[operation].append(body)
        status, reply = (500, {}) if self.failing else self.answer(operation, body)
        return Response(json.dumps(reply), status, mimetype="application/json")(environ, start)

    def answer(self, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        match operation:
            case "experiments/get-by-name" if self.experiment is None:
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
            case "experiments/get-by-name":
                return 200, {"experiment": {"experiment_id": self.experiment}}
            case "experiments/create":
                self.experiment = "7"
                return 200, {"experiment_id": "7"}
            case "runs/search":
                found = [run for run, tags in self.runs.items() if tags["tunegate.job"] in body["filter"]]
                return 200, {"runs": [{"info": {"run_id": run}} for run in found]}
            case "runs/create":
                run = f"run-{len(self.runs)}"
                self.runs[run] = {tag["key"]: tag["value"] for tag in body["tags"]}
                return 200, {"run": {"info": {"run_id": run}}}
            case _:
                return 200, {}

    def steps(self, name: str) -> list[int]:
        rows = [row for body in self.bodies["runs/log-batch"] for row in body["metrics"]]
        return [row["step"] for row in rows if row["key"] == name]


@pytest.fixture
def mlflow() -> Iterator[MLflow]:
    app = MLflow()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    app.address = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield app
    server.shutdown()
    thread.join()


def _run(user: User, tiny: Path, server: str, **data: Any) -> JobHandle:
    settings = user.folder / "tunegate.toml"
    settings.write_text(f'[metrics]\nmlflow = "{server}"\n', encoding="utf-8")
    gateway = Gateway(config=settings, home=user.home)
    return gateway.run(JobSpec.from_yaml(training_spec(user, tiny, **data))).wait()


def test_every_step_arrives_once_and_the_run_is_closed(user: User, tiny: Path, mlflow: MLflow) -> None:
    job = _run(user, tiny, mlflow.address)
    steps = mlflow.steps("loss")
    metrics = next(job.folder / path for path in job.folder.rglob("metrics.jsonl"))
    assert steps == [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert [tags["tunegate.job"] for tags in mlflow.runs.values()] == [f"{job.id}.1"]
    assert mlflow.bodies["runs/update"][-1]["status"] == "FINISHED"
    sent = json.dumps(mlflow.bodies)
    for row in (user.folder / "data.jsonl").read_text(encoding="utf-8").splitlines()[:5]:
        for turn in json.loads(row)["messages"]:
            assert turn["content"] not in sent


def test_a_server_that_fails_costs_training_nothing(
    user: User, tiny: Path, mlflow: MLflow, caplog: pytest.LogCaptureFixture
) -> None:
    mlflow.failing = True
    job = _run(user, tiny, mlflow.address)
    assert job.state == "succeeded"
    assert "the tracking server answered 500" in caplog.text
    assert len([record for record in caplog.records if record.name == "tunegate.tracking"]) == 1


def test_a_server_elsewhere_is_told_nothing_of_phi(
    user: User, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No name is looked up: the gate says no before anything is sent."""
    job = _run(user, tiny, "https://tracking.invalid", **{"class": "phi"})
    assert job.state == "succeeded"
    assert "metrics were not sent" in caplog.text
    listed = user.tunegate("records", "show").stdout
    assert " denial" in listed
