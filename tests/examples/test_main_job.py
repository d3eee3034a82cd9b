"""The main job as a newcomer runs it: the command of `make demo`, from an empty home to a verified record."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED

ROOT = Path(__file__).parents[2]
NOTES = ROOT / "examples" / "clinical_notes"
MTS = SHARED / "data" / "mts-dialog" / "train.csv"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def tunegate(home: Path, *arguments: str) -> dict[str, Any]:
    """Run the command with an empty environment of ours; its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "--home", str(home), *arguments, "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def job(home: Path) -> dict[str, Any]:
    return tunegate(home, "run", str(NOTES / "job.yaml"))


def test_at_least_five_candidates_have_verdicts_and_reasons(home: Path) -> None:
    plan = tunegate(home, "plan", str(NOTES / "job.yaml"), "--as-of", "2026-11-22")
    assert len(plan["candidates"]) >= 5
    assert all(candidate["reasons"] for candidate in plan["candidates"])
    assert {"allowed", "denied", "unsupported"} <= {candidate["verdict"] for candidate in plan["candidates"]}
    told = {reason["verdict"] for c in plan["candidates"] for reason in c["reasons"]}
    assert "unavailable" in told  # beside the denial: every reason is listed, whichever comes first
    reasons = " ".join(reason["text"] for c in plan["candidates"] for reason in c["reasons"])
    assert "No BAA with Amazon Bedrock on file" in reasons
    assert "6 January 2027" in reasons
    assert plan["openings"]


def test_tuned_beats_base_on_patients_never_trained_on(job: dict[str, Any]) -> None:
    assert job["state"] == "succeeded"
    base, tuned = (job["metrics"][which]["exact_match"] for which in ("base", "tuned"))
    assert tuned["value"] - base["value"] >= 0.4
    assert tuned["low"] > base["high"]


def test_the_adapter_answers_the_same_through_plain_peft(job: dict[str, Any], home: Path) -> None:
    """Another Python, without a line of ours: transformers and PEFT alone."""
    adapter = next(a for a in job["artifacts"] if a["kind"] == "adapter")
    with (NOTES / "notes.csv").open(encoding="utf-8", newline="") as file:
        dialogues = [row["dialogue"] for row in csv.DictReader(file)][:6]
    system = "You file what was said at a visit under its section of the note."
    chats = [[{"role": "system", "content": system}, {"role": "user", "content": d}] for d in dialogues]
    code = """
import json, sys
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
folder, chats = sys.argv[1], json.loads(sys.argv[2])
model = AutoPeftModelForCausalLM.from_pretrained(folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
for chat in chats:
    inputs = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    print(json.dumps(tokenizer.decode(out[0][inputs["input_ids"].shape[1]:], skip_special_tokens=True)))
"""
    plain = subprocess.run(
        [sys.executable, "-c", code, adapter["uri"], json.dumps(chats)],
        capture_output=True,
        text=True,
        check=True,
        cwd=home,
    )
    from gateway import Gateway

    gateway = Gateway(home=home)
    ours = [
        gateway.complete(job["id"], [("system", system), ("user", d)], max_output_tokens=16).text
        for d in dialogues
    ]
    assert [json.loads(line) for line in plain.stdout.splitlines()] == ours
    assert any(answer.startswith("Section: ") for answer in ours)


def test_the_record_verifies_and_the_folder_is_complete(job: dict[str, Any], home: Path) -> None:
    report = tunegate(home, "records", "verify")
    assert report["ok"]
    assert report["records"] == 4  # scan, decision, dispatch, result
    folder = Path(job["folder"])
    assert (folder / "plan.json").is_file()
    assert sorted(path.name[9:] for path in (folder / "records").iterdir()) == [
        "decision.json",
        "dispatch.json",
        "scan.json",
        "training_result.json",
    ]
    card = (folder / "model-card.md").read_text(encoding="utf-8")
    assert "Inherits class phi" in card
    assert "epochs: 6" in card  # what `auto` became


@pytest.mark.shared
@pytest.mark.parametrize(
    ("completion", "system", "metric"),
    [
        ("section_header", "Name the section of the note.", "exact_match"),
        ("section_text", "Write the section of the note.", "rouge_l"),
    ],
)
def test_real_dialogues_are_learned(
    home: Path, tmp_path: Path, completion: str, system: str, metric: str
) -> None:
    """MTS-Dialog, both tasks: the column map of a person's own CSV."""
    if not MTS.exists():
        pytest.skip(f"the development data is not here: {MTS}")
    spec = tmp_path / "job.yaml"
    lines = [
        f"name: mts-{completion.replace('_', '-')}",
        "model: tunegate-demo",
        "data:",
        f"  train: {MTS}",
        f"  columns: {{prompt: dialogue, completion: {completion}}}",
        f"  system: {system}",
        "  test: 0.15",
        "  too_long: truncate",
        "hyperparameters: {epochs: 2, max_length: 1024}",
        f"evaluate: {{metrics: [{metric}], max_output_tokens: 32}}",
        "route: {backends: [local]}",
    ]
    spec.write_text("\n".join(lines), encoding="utf-8")
    job = tunegate(home, "run", str(spec))
    assert job["state"] == "succeeded"
    difference = job["metrics"]["difference"][metric]
    assert difference["low"] > 0, difference
