"""Every method and task, from the command line, on real rows: the tuned model beats its base on rows that
were held out. The base is random and knows nothing, so that seconds of a CPU are enough to tell."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.stories.conftest import User

DIALOGUES = Path(__file__).parents[2].parent / "shared" / "data" / "mts-dialog" / "train.csv"
RATES = {"lora": 2e-2, "qlora": 2e-2, "full": 3e-3}


def _rows(count: int = 80) -> list[dict[str, str]]:
    """Short visits: what was said, the section of the note it belongs to, and what stands there."""
    if not DIALOGUES.is_file():
        pytest.skip("MTS-Dialog is not on this machine")
    with DIALOGUES.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if len(row["dialogue"]) < 160]
    return rows[:count]


def _answers(user: User) -> str:
    rows = [{"prompt": row["dialogue"], "completion": row["section_header"]} for row in _rows()]
    _write(user, rows)
    return "columns: {prompt: prompt, completion: completion}"


def _preferences(user: User) -> str:
    """What stands in the note is preferred to the name of another visit's section."""
    rows = _rows()
    made = [
        {
            "prompt": row["dialogue"],
            "chosen": row["section_text"][:40],
            "rejected": other["section_header"],
        }
        for row, other in zip(rows, rows[1:] + rows[:1], strict=True)
    ]
    _write(user, made)
    return "columns: {prompt: prompt, chosen: chosen, rejected: rejected}"


def _write(user: User, rows: list[dict[str, str]]) -> None:
    with (user.folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
@pytest.mark.parametrize("task", ["sft", "dpo"])
def test_each_method_and_task_beats_its_base_on_held_out_visits(
    user: User, tiny: Path, method: str, task: str
) -> None:
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    columns = _answers(user) if task == "sft" else _preferences(user)
    metric = "perplexity" if task == "sft" else "preference"
    spec = user.write(
        "job.yaml",
        f"""version: 1
name: story
task: {task}
method: {method}
model: {tiny}
data: {{train: rows.csv, format: columns, {columns}, test: 0.25, class: public}}
hyperparameters: {{epochs: 6, batch_size: 8, learning_rate: {RATES[method]}, max_length: 256}}
evaluate: {{metrics: [perplexity], max_output_tokens: 4, general: false}}
route: {{backends: [local]}}
""",
    )
    shown = user.json("run", spec)
    assert (shown["state"], shown["evaluation"]["status"]) == ("succeeded", "done")
    base, tuned = (shown["metrics"][which][metric]["value"] for which in ("base", "tuned"))
    assert shown["metrics"]["tuned"][metric]["n"] >= 10
    assert tuned < base if metric == "perplexity" else tuned > base
    kinds = {each["kind"] for each in user.json("jobs", "artifacts", shown["id"])}
    assert ("model" if method == "full" else "adapter") in kinds
