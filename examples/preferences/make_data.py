"""Make `pairs.jsonl`: invented messages to a help desk, each with two replies, the better one named.

    python examples/preferences/make_data.py           # writes pairs.jsonl beside this file

The house replies with the queue and the next step. Half of the replies it does not want are in that form,
but of another queue; half name the right queue, and promise in place of saying what to do. The messages are
of the kind in `../support_tickets`, others than those. Seeded: the file comes out byte for byte the same.
"""

from __future__ import annotations

import argparse
import json
import random
import runpy
from pathlib import Path

SEED = 20261124
ROWS = 400
SYSTEM = "You reply to messages to a help desk, in one line."
TICKETS = runpy.run_path(str(Path(__file__).parents[1] / "support_tickets" / "make_data.py"))

# queue → what whoever wrote should do next
STEPS: dict[str, str] = {
    "billing": "send us the invoice",
    "refund": "put the return in a box",
    "delivery": "tell us the address",
    "account access": "ask for a new password",
    "bug report": "close the app and start again",
    "cancellation": "tell us the day it should end",
    "feature request": "put it on the list",
    "privacy": "ask for a copy of the data",
}
PROMISES = ("we will look at it", "somebody will write to you", "please wait", "this can take days")


def wanted(queue: str) -> str:
    """The reply in the form of the house."""
    return f"{queue}: {STEPS[queue]}"


def unwanted(queue: str, number: int, rng: random.Random) -> str:
    """The house's form for another queue, or the right queue and a promise; in turns."""
    if number // len(STEPS) % 2:
        return f"{queue}: {rng.choice(PROMISES)}"
    return wanted(rng.choice([other for other in STEPS if other != queue]))


def make_rows() -> list[dict[str, object]]:
    """All pairs, in the order they are written."""
    rng = random.Random(SEED)
    rows: list[dict[str, object]] = []
    for number in range(ROWS):
        queue = list(STEPS)[number % len(STEPS)]
        asked = (("system", SYSTEM), ("user", TICKETS["make_message"](queue, rng)))
        replies = {"chosen": wanted(queue), "rejected": unwanted(queue, number, rng)}
        rows.append({"prompt": [{"role": role, "content": content} for role, content in asked], **replies})
    rng.shuffle(rows)
    return rows


def write(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row) + "\n" for row in make_rows())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("pairs.jsonl"))
    write(parser.parse_args().out)
