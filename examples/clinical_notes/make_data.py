"""Make `notes.csv`: invented visits, one line of a note each, with invented personal details planted.

    python examples/clinical_notes/make_data.py            # writes notes.csv beside this file

Seeded: the file comes out byte for byte the same. Nobody here exists: phone numbers are 555-01xx,
mail goes to example.com, streets and record numbers are made up.

What there is to learn: the patient names one matter among the doctor's questions and other talk, and
the note has one line for it, `Section: finding.`, from a closed list.
"""

from __future__ import annotations

import argparse
import csv
import random
from dataclasses import dataclass
from pathlib import Path

SEED = 20261122
PATIENTS = 240
VISITS_PER_PATIENT = 2

# (section, finding as the note says it, ways in which a patient says it)
Matter = tuple[str, str, tuple[str, ...]]
MATTERS: tuple[Matter, ...] = (
    (
        "Chief complaint",
        "cough",
        ("I cannot get rid of this cough", "I have been coughing, it is a dry cough"),
    ),
    ("Chief complaint", "headache", ("I wake up with a headache", "there is this headache behind my eyes")),
    ("Chief complaint", "back pain", ("I get back pain when I bend", "the back pain keeps me from sitting")),
    ("Chief complaint", "dizziness", ("there is dizziness when I stand up", "I came for the dizziness")),
    ("Chief complaint", "insomnia", ("I think I have insomnia", "the insomnia is wearing me out")),
    ("Allergies", "penicillin", ("penicillin gave me hives", "I break out when I am given penicillin")),
    ("Allergies", "latex", ("latex gloves make my hands swell", "I cannot be near latex")),
    ("Allergies", "peanuts", ("peanuts close up my throat", "I carry a pen because of peanuts")),
    ("Allergies", "sulfa", ("a sulfa drug put me in hospital", "they told me never to have sulfa again")),
    ("Medications", "lisinopril", ("I am on lisinopril for the pressure", "lisinopril, one each morning")),
    ("Medications", "metformin", ("I take metformin with breakfast", "they raised my metformin")),
    ("Medications", "albuterol", ("I use albuterol before I run", "I have an albuterol puffer")),
    ("Medications", "omeprazole", ("omeprazole helps my stomach", "I started omeprazole on my own")),
    ("Past history", "asthma", ("I had asthma as a child", "asthma has been with me for years")),
    ("Past history", "pneumonia", ("I was laid up with pneumonia once", "I got over pneumonia")),
    ("Past history", "kidney stones", ("I passed kidney stones twice", "I have a record of kidney stones")),
    ("Past history", "migraine", ("I used to get migraine as a student", "migraine put me out of school")),
    ("Family history", "stroke", ("my father had a stroke", "a stroke took my grandmother")),
    ("Family history", "diabetes", ("diabetes runs on my mother's side", "both my brothers have diabetes")),
    ("Family history", "glaucoma", ("my aunt went blind from glaucoma", "my sister has glaucoma")),
    ("Social history", "smoking", ("I am still smoking a pack a day", "I want to stop smoking")),
    ("Social history", "gardening", ("I spend my days gardening", "gardening is all I do since I retired")),
    ("Social history", "swimming", ("I go swimming before work", "swimming is my sport")),
)

FIRST = (
    "Alma",
    "Boris",
    "Celia",
    "Dmitri",
    "Edith",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kaya",
    "Lars",
    "Mina",
    "Nils",
    "Odile",
    "Pavel",
    "Quinn",
    "Rhea",
    "Silas",
    "Tova",
    "Uma",
    "Viggo",
    "Wilma",
    "Yusuf",
)
LAST = (
    "Abendroth",
    "Birchwood",
    "Castellane",
    "Dunmore",
    "Eastlake",
    "Fennimore",
    "Galloway",
    "Hartigan",
    "Ilvonen",
    "Jarnefelt",
    "Kestrel",
    "Lindqvist",
    "Marchetti",
    "Northcote",
    "Okonjo",
    "Pemberly",
    "Quillfeather",
    "Rosenthal",
    "Silverton",
    "Thackeray",
    "Umberland",
    "Vantongeren",
)
STREETS = (
    "Alder Way",
    "Birch Lane",
    "Cobbler Street",
    "Dovecote Road",
    "Elmhurst Avenue",
    "Foundry Court",
    "Granary Lane",
    "Harbor Street",
    "Ironwood Drive",
    "Juniper Road",
)
TOWNS = ("Ashgrove", "Tillerton", "Windmere", "Oxley", "Kirkwall Bay", "Pinehurst")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

HELLOS = ("Good morning", "Hello", "Good afternoon", "Hi there", "Welcome back", "Thanks for waiting")
CHECKS = (
    "can you confirm your name and birthday",
    "I have to check who you are first",
    "let me find your chart",
    "may I have your details for the record",
    "before we start, your details please",
)
QUESTIONS = (
    "What should I know today?",
    "What is on your mind?",
    "Tell me what I should write down.",
    "How can I help?",
    "What would you like to talk about?",
    "What has changed since last time?",
    "What did you want to tell me?",
    "Where do we begin?",
)
WHEN = (
    "It has been like that since {month}.",
    "That was on my mind all {month}.",
    "My {relative} said I should tell you.",
    "I told the nurse on the phone too.",
    "It is written in my old chart from {town}.",
    "I have said so at every visit.",
    "That is the main thing.",
    "You may want to note that.",
)
CHAT = (
    "The parking here gets worse every {season}.",
    "My {relative} drove me in from {town}.",
    "I nearly missed the bus at {street}.",
    "It took me {number} minutes to find the door.",
    "I brought the {thing} you asked for.",
    "I have to be at work by {number}.",
    "We are moving to {town} in {month}.",
    "The {thing} broke on the way here.",
    "I read a whole book in the waiting room.",
    "Your {colour} door is hard to miss.",
    "My {relative} turned {number} in {month}.",
    "I left my {thing} with the clerk.",
    "The rain in {town} never ends.",
    "I will be away for {number} days.",
)
REPLIES = (
    "I see.",
    "Thank you, that helps.",
    "Let me note that.",
    "Good to know.",
    "All right.",
    "I understand.",
    "Okay, go on.",
    "That is useful.",
)
ENDS = (
    "We will see you again in {number} weeks.",
    "The desk will call you at {phone}.",
    "I will write to {mail}.",
    "Please keep record {mrn} at hand.",
    "The results go to {address}.",
    "Come back in {month} if it gets worse.",
    "Somebody will ring {phone} by Friday.",
    "I will put it under {mrn}.",
)
SLOTS: dict[str, tuple[str, ...]] = {
    "month": MONTHS,
    "town": TOWNS,
    "street": STREETS,
    "relative": ("mother", "father", "sister", "brother", "wife", "husband", "daughter", "son", "cousin"),
    "season": ("spring", "summer", "autumn", "winter"),
    "number": ("three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "20", "34", "45"),
    "thing": (
        "letter",
        "box",
        "map",
        "bottle",
        "key",
        "book",
        "ticket",
        "blanket",
        "basket",
    ),
    "colour": ("red", "green", "blue", "yellow", "brown", "purple", "orange", "grey"),
}


@dataclass(frozen=True, slots=True)
class Patient:
    """An invented person."""

    id: str
    name: str
    born: str
    mrn: str
    phone: str
    mail: str
    address: str


def make_patient(number: int, rng: random.Random) -> Patient:
    first, last = rng.choice(FIRST), rng.choice(LAST)
    return Patient(
        id=f"P{number:04d}",
        name=f"{first} {last}",
        born=f"{rng.randint(1, 12):02d}/{rng.randint(1, 28):02d}/{rng.randint(1938, 2004)}",
        mrn=f"MRN {rng.randint(10_000_000, 99_999_999)}",
        phone=f"(555) 555-01{rng.randint(0, 99):02d}",
        mail=f"{first}.{last}@example.com".lower(),
        address=f"{rng.randint(1, 999)} {rng.choice(STREETS)}, {rng.choice(TOWNS)}",
    )


def fill(line: str, patient: Patient, rng: random.Random) -> str:
    """`line` with every slot filled, from the patient or at random."""
    words = {name: rng.choice(options) for name, options in SLOTS.items()}
    person = {"phone": patient.phone, "mail": patient.mail, "mrn": patient.mrn, "address": patient.address}
    return line.format_map({**words, **person})


def make_dialogue(patient: Patient, said: str, rng: random.Random) -> str:
    """One visit: who it is, the matter between other talk, and how it goes on."""

    def some(lines: tuple[str, ...]) -> str:
        return fill(rng.choice(lines), patient, rng)

    details = [
        f"I am {patient.name}",
        f"born {patient.born}",
        f"record {patient.mrn}",
        f"I live at {patient.address}",
    ]
    matter = f"{said[0].upper()}{said[1:]}. {some(WHEN)}"
    chat = [fill(line, patient, rng) for line in rng.sample(CHAT, 4)]
    talk = [f"{chat[0]} {matter}", f"{matter} {chat[0]}", f"{chat[0]} {matter} {chat[1]}"]
    turns = [
        f"Doctor: {rng.choice(HELLOS)}, {rng.choice(CHECKS)}.",
        f"Patient: {', '.join(rng.sample(details, rng.randint(2, 3)))}. {chat[2]}",
        f"Doctor: {rng.choice(QUESTIONS)}",
        f"Patient: {rng.choice(talk)}",
        f"Doctor: {rng.choice(REPLIES)} {some(ENDS)}",
    ]
    if rng.random() < 0.5:
        turns[4:4] = [f"Doctor: {rng.choice(REPLIES)}", f"Patient: {chat[3]}"]
    return "\n".join(turns)


def make_rows() -> list[dict[str, str]]:
    """All rows, in the order they are written."""
    rng = random.Random(SEED)
    rows: list[dict[str, str]] = []
    for number in range(1, PATIENTS + 1):
        patient = make_patient(number, rng)
        for section, finding, ways in rng.sample(MATTERS, VISITS_PER_PATIENT):
            rows.append(
                {
                    "patient_id": patient.id,
                    "dialogue": make_dialogue(patient, rng.choice(ways), rng),
                    "section_text": f"{section}: {finding}.",
                }
            )
    return rows


def write(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["patient_id", "dialogue", "section_text"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(make_rows())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("notes.csv"))
    write(parser.parse_args().out)
