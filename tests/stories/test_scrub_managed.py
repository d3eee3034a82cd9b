"""A managed door opens for scrubbed data that an officer signed for, and only scrubbed rows go through it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import Gateway, JobSpec, PolicyDenied
from gateway.records.keys import SigningKey, write_key
from tests.backends.sandboxes import StartSandbox, sandbox
from tests.backends.vertex_made import asked
from tests.stories.test_scrub import NAMES, notes

__all__ = ["sandbox"]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    write_key(tmp_path / "alice.pem", SigningKey.generate())
    settings = tmp_path / "tunegate.toml"
    settings.write_text(
        '[[approvers]]\nname = "alice"\nroles = ["privacy-officer"]\nkey = "alice.pub"\n', encoding="utf-8"
    )
    return Gateway(config=settings, home=tmp_path / "home")


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    (tmp_path / "notes.jsonl").write_text(notes(28), encoding="utf-8")
    said = {
        "name": "notes",
        "model": "gemini-3.5-flash",
        "data": {"train": "notes.jsonl", "class": "phi", "deidentify": "scrub", "test": 0.2},
        "route": {"backends": ["vertex"]},
    }
    return JobSpec.model_validate(said).at(tmp_path)


def test_a_managed_run_over_scrubbed_data(
    sandbox: StartSandbox, gateway: Gateway, spec: JobSpec, tmp_path: Path
) -> None:
    box = sandbox("vertex")
    with pytest.raises(PolicyDenied):
        gateway.run(spec)
    assert not box.asked

    drawn = gateway.data.sample(spec)
    outcome = gateway.data.conclude(
        drawn,
        [each.answer("clean") for each in drawn.drawn],
        officer="alice",
        key=str(tmp_path / "alice.pem"),
    )
    assert outcome.absent == ()

    job = gateway.run(spec).wait()
    assert (job.state, job.evaluation["status"]) == ("succeeded", "done")
    assert asked(box, "storage.objects.insert") >= 1
    kept = [path.read_bytes() for path in (tmp_path / "sandbox").rglob("*") if path.is_file()]
    assert any(b"metformin" in content for content in kept)
    for content in kept:
        assert not any(name.encode() in content for name in (*NAMES, "615-322", "480001"))


def test_a_determination_that_lapsed_stops_the_job_before_a_byte_is_sent(
    sandbox: StartSandbox, gateway: Gateway, spec: JobSpec, tmp_path: Path
) -> None:
    box = sandbox("vertex")
    drawn = gateway.data.sample(spec)
    outcome = gateway.data.conclude(
        drawn,
        [each.answer("clean") for each in drawn.drawn],
        officer="alice",
        key=str(tmp_path / "alice.pem"),
    )
    planned = gateway.plan(spec)
    for path in outcome.files:
        path.unlink()
    job = gateway.dispatch(spec, planned).start()
    assert job.error is not None
    assert job.error["code"] == "denied"
    assert asked(box, "storage.objects.insert") == 0
