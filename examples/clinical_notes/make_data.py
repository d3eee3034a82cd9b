"""Make `notes.csv`: invented visits, one line of a note each, with invented personal details planted.

    python examples/clinical_notes/make_data.py            # writes notes.csv beside this file

Seeded: the file comes out byte for byte the same. Nobody here exists: phone numbers are 555-01xx,
mail goes to example.com, streets and record numbers are made up.

What there is to learn: a patient talks about one part of their history among other things, and the
note files it under one of eight sections, `Section: Allergies`.
"""

from __future__ import annotations

import argparse
import csv
import random
from dataclasses import dataclass
from pathlib import Path

SEED = 20261122
PATIENTS = 300
VISITS_PER_PATIENT = 2

# section of the note → what patients (and for the plan, doctors) say that belongs there
SECTIONS: dict[str, tuple[str, ...]] = {
    "Allergies": (
        "penicillin gave me hives",
        "latex gloves make my hands swell",
        "peanuts close my throat up",
        "a bee sting put me in hospital",
        "I itch all over when I eat shellfish",
        "I carry an EpiPen",
        "sulfa brought me out in a rash",
        "pollen makes my eyes swell",
    ),
    "Medications": (
        "I use my albuterol inhaler before I run",
        "they put me on metformin",
        "I need my lisinopril refilled",
        "the pharmacy was out of my tablets",
        "I stopped the aspirin on my own",
        "is the insulin dose right",
        "I take the omeprazole with breakfast",
        "my prescription ran out on Friday",
    ),
    "Surgical history": (
        "I lost my appendix at nine",
        "the surgeon fixed my hernia",
        "I have a scar from the bypass",
        "I have had a knee replacement",
        "my tonsils came out as a child",
        "the gallbladder had to go",
        "the operation took five hours",
        "they took the stitches out in March",
    ),
    "Family history": (
        "my father and his brother had strokes",
        "my mother lived with diabetes",
        "heart trouble runs in the family",
        "my sister had breast cancer",
        "my grandmother was blind at the end",
        "an uncle of mine died young",
        "both my parents had high blood pressure",
        "my cousin has the same disease",
    ),
    "Social history": (
        "I still smoke a pack a day",
        "I drink two beers most evenings",
        "I am retired and live alone",
        "I gave up cigarettes at fifty",
        "I work nights and drink a lot of coffee",
        "I go to the gym with my wife",
        "I have wine with dinner",
        "I lost my job and started smoking again",
    ),
    "Chief complaint": (
        "this cough keeps me awake",
        "there is a headache behind my eyes",
        "I have a fever and chills",
        "I get back pain when I bend",
        "the dizziness comes when I stand",
        "I came for this sore throat",
        "the nausea is there every morning",
        "I have a pain in my side",
    ),
    "Immunizations": (
        "I had the flu shot at work",
        "my tetanus booster was in May",
        "I never had the measles vaccine",
        "the shingles shot made my arm sore",
        "are my shots up to date",
        "I need a hepatitis vaccine for the trip",
        "the school wants to see the polio vaccine",
        "I skipped the flu vaccine",
    ),
    "Plan": (
        "you will get blood work tomorrow",
        "I send you to a specialist",
        "the X ray is next week",
        "physical therapy starts on Monday",
        "I order an MRI of the knee",
        "come back for the results of the scan",
        "we make an appointment with a specialist",
        "here is the referral for the ultrasound",
    ),
}

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
    "We can speak again in {number} weeks.",
    "The desk has {phone} on file.",
    "Write to {mail} if there is more.",
    "It is all under {mrn}.",
    "My letters go to {address}.",
    "Until {month}, then.",
    "The number is still {phone}.",
    "See you in {month}.",
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


def make_dialogue(patient: Patient, section: str, rng: random.Random) -> str:
    """One visit: who it is, two things that belong in the section between other talk, and the end."""
    details = [f"I am {patient.name}", f"born {patient.born}", f"record {patient.mrn}", patient.address]
    matters = [f"{said[0].upper()}{said[1:]}." for said in rng.sample(SECTIONS[section], 2)]
    chat = [fill(line, patient, rng) for line in rng.sample(CHAT, 3)]
    told = [rng.choice([f"{chat[1]} {matters[0]}", f"{matters[0]} {chat[1]}"]), matters[1]]
    speaker = "Doctor" if section == "Plan" else "Patient"
    other = "Patient" if section == "Plan" else "Doctor"
    turns = [
        f"Doctor: {rng.choice(HELLOS)}. {rng.choice(QUESTIONS)}",
        f"Patient: {', '.join(rng.sample(details, 2))}. {chat[0]}",
        f"{speaker}: {told[0]}",
        f"{other}: {rng.choice(REPLIES)}",
        f"{speaker}: {told[1]}",
        f"{other}: {fill(rng.choice(ENDS), patient, rng)}",
    ]
    return "\n".join(turns)


def make_rows() -> list[dict[str, str]]:
    """All rows, in the order they are written."""
    rng = random.Random(SEED)
    rows: list[dict[str, str]] = []
    for number in range(1, PATIENTS + 1):
        patient = make_patient(number, rng)
        for section in rng.sample(list(SECTIONS), VISITS_PER_PATIENT):
            dialogue = make_dialogue(patient, section, rng)
            rows.append(
                {"patient_id": patient.id, "dialogue": dialogue, "section_text": f"Section: {section}"}
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
