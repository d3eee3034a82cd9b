"""From a spec to an evaluated model, through the whole gateway, with Vertex's stand-in at the other end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from backends.sandbox.faults import Fault
from backends.sandbox.world import Life
from backends.vertex.sandbox.storage import OBJECT
from backends.vertex.sandbox.tuning import JOB
from gateway import Gateway, JobSpec
from tests.backends.sandboxes import StartSandbox
from tests.backends.vertex_made import CANARY, asked

SPEC: dict[str, Any] = {
    "name": "colours",
    "model": "gemini-3.5-flash",
    "data": {"train": "rows.jsonl", "class": "public", "validation": 0.1, "test": 0.1},
    "route": {"backends": ["vertex"]},
}


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    (tmp_path / "rows.jsonl").write_text(
        "".join(
            json.dumps({"messages": [{"role": "user", "content": f"what colour has thing {n}"},
                                     {"role": "assistant", "content": f"{CANARY} {n}"}]}) + "\n"
            for n in range(60)
        )
    )  # fmt: skip
    return JobSpec.model_validate(SPEC).at(tmp_path)


def test_a_job_runs_to_its_evaluation(sandbox: StartSandbox, spec: JobSpec, tmp_path: Path) -> None:
    box = sandbox("vertex", life=Life(0.05, 0.05, 0.2))
    gateway = Gateway(home=tmp_path / "home")
    job = gateway.run(spec).wait()
    assert (job.state, job.evaluation["status"]) == ("succeeded", "done")
    tuned, base = (asked(box, f"{kind}.generateContent") for kind in ("endpoints", "models"))
    assert tuned == base > 0
    assert asked(box, "tuningJobs.create") == 1
    (made,) = box.world.all(JOB)
    assert job.id.removeprefix("job_") in made["body"]["labels"]["tunegate_key"]
    assert box.world.all(OBJECT) == []  # the training files were deleted when it ended
    assert "unknown" not in {each.operation for each in box.asked}
    told = [event.text for event in job.events()]
    assert any("Google read the training data" in text for text in told)
    assert CANARY not in repr((job, told))


def test_lost_replies_at_every_step_make_neither_a_second_upload_nor_a_second_job(
    sandbox: StartSandbox, spec: JobSpec, tmp_path: Path
) -> None:
    box = sandbox("vertex", life=Life(0.05, 0.05, 0.2))
    for operation in ("storage.objects.insert", "tuningJobs.create", "tuningJobs.get"):
        box.world.faults.arm(Fault("lose_reply", f"vertex.{operation}"))
    job = Gateway(home=tmp_path / "home").run(spec).wait()
    assert job.state == "succeeded"
    assert len(box.world.all(JOB)) == 1
    assert len({thing["name"] for thing in box.world.all(OBJECT)}) == len(box.world.all(OBJECT))
    assert asked(box, "tuningJobs.create") == 1


def test_a_variable_that_sends_the_data_elsewhere_stops_the_job(
    sandbox: StartSandbox, spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = sandbox("vertex")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "https://storage.example.org")
    assert "GOOGLE_VERTEX_BASE_URL" in os.environ
    job = Gateway(home=tmp_path / "home").run(spec)
    assert job.error is not None
    assert job.error["code"] == "denied"
    assert "storage.example.org" in job.error["message"]
    assert asked(box, "storage.objects.insert") == 0
