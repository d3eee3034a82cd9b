"""Make `tickets.jsonl`: invented messages to a help desk, each with the queue it belongs in.

    python examples/support_tickets/make_data.py           # writes tickets.jsonl beside this file

Seeded: the file comes out byte for byte the same. No message names or describes a person.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

SEED = 20261123
ROWS = 420
SYSTEM = "You sort messages to a help desk. Answer with the queue."

# queue → what people write about
QUEUES: dict[str, tuple[str, ...]] = {
    "billing": (
        "The invoice is wrong",
        "I was charged twice",
        "A payment shows up that I do not know",
        "My card was declined",
        "The price on the invoice differs",
        "Please send the invoice again",
    ),
    "refund": (
        "I want my money back",
        "When will the return be paid out",
        "The return was sent back by me",
        "I am still waiting for my money",
        "I sent the return and heard nothing",
        "Give me my money please",
    ),
    "delivery": (
        "The parcel never came",
        "The parcel is at the wrong address",
        "Shipping takes too long",
        "The parcel was left in the rain",
        "Can the shipping go to the station",
        "Where is my parcel",
    ),
    "account access": (
        "I forgot the password",
        "The login does not work",
        "The password mail does not arrive",
        "I am locked out after the login",
        "The login page is blank",
        "A new password is needed",
    ),
    "bug report": (
        "The app shows an error",
        "There is a crash after the update",
        "The screen freezes with an error",
        "The update made it crash",
        "The export ends with an error",
        "It shows a crash report",
    ),
    "cancellation": (
        "Please end my subscription",
        "I do not want the subscription any more",
        "How do I close the subscription",
        "Stop the subscription in spring",
        "The subscription can end today",
        "I want to leave, close my account",
    ),
    "feature request": (
        "It would be nice to have a dark theme",
        "I wish the app could do more languages",
        "Could you add a calendar",
        "A new feature would help, add sorting",
        "It would be nice to print the list",
        "I wish there was a search field",
    ),
    "privacy": (
        "Which data do you store",
        "Delete the data about me",
        "Who sees the data you keep",
        "I want a copy of the data you store",
        "Do you sell data",
        "Where is the data kept",
    ),
}

OPENINGS = (
    "Hello.",
    "Good morning.",
    "Hi there.",
    "Dear team,",
    "To whom it may concern,",
    "Hey,",
    "Good evening.",
    "Hello again.",
)
BEFORE = (
    "I bought a {colour} {article} in {season}.",
    "I have been with you for {number} years.",
    "My {article} came with a {colour} {object}.",
    "This is the {ordinal} time I write.",
    "I use the {article} every day at {place}.",
    "We have {number} of your {article}s {where}.",
    "Your shop was the first one I found for a {object}.",
    "I wrote about the {article} in {season}.",
)
AFTER = (
    "Please answer by {day}.",
    "I can be reached on {day} until {number}.",
    "It worked fine in {season}.",
    "Otherwise I like the {article}.",
    "My {article} is next to the {object} now.",
    "Nobody answered on {day}.",
    "I hope {number} days are enough.",
    "I am {where} until {day}.",
    "The {object} in the box was {colour}.",
    "A friend has the {colour} {article} too.",
)
CLOSINGS = ("Thank you.", "Best wishes.", "Kind regards.", "Thanks in advance.", "Cheers.", "Please help.")
SLOTS: dict[str, tuple[str, ...]] = {
    "colour": ("red", "green", "blue", "yellow", "black", "white", "brown", "purple", "orange", "grey"),
    "article": ("chair", "lamp", "mirror", "basket", "ladder", "blanket", "wheel", "bottle", "knife"),
    "object": ("box", "key", "letter", "map", "cup", "book", "ticket"),
    "season": ("spring", "summer", "autumn", "winter"),
    "number": ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    "ordinal": ("first", "second", "third", "fourth"),
    "place": ("home", "work", "school", "the station", "the office"),
    "where": ("in the kitchen", "near the river", "behind the house", "in the garden", "in the other room"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}


def fill(line: str, rng: random.Random) -> str:
    """`line` with every slot filled at random."""
    return line.format_map({name: rng.choice(words) for name, words in SLOTS.items()})


def make_message(queue: str, rng: random.Random) -> str:
    """A message that belongs in `queue`: the matter somewhere among other talk."""

    after = [fill(line, rng) for line in rng.sample(AFTER, rng.randint(2, 3))]
    talk = [f"{rng.choice(QUEUES[queue])}.", *after]
    rng.shuffle(talk)
    return " ".join([rng.choice(OPENINGS), fill(rng.choice(BEFORE), rng), *talk, rng.choice(CLOSINGS)])


def make_rows() -> list[dict[str, object]]:
    """All rows, as chats, in the order they are written."""
    rng = random.Random(SEED)
    rows: list[dict[str, object]] = []
    for number in range(ROWS):
        queue = list(QUEUES)[number % len(QUEUES)]
        chat = (("system", SYSTEM), ("user", make_message(queue, rng)), ("assistant", queue))
        rows.append({"messages": [{"role": role, "content": content} for role, content in chat]})
    rng.shuffle(rows)
    return rows


def write(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row) + "\n" for row in make_rows())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("tickets.jsonl"))
    write(parser.parse_args().out)
