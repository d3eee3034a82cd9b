"""Clinical text with labels, `{type|what is found}`, and clean clinical text; all of it made up."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LABEL = re.compile(r"\{(\w+)\|([^}]*)\}")

LABELLED = """
Patient {name|John Smith}, MRN: {mrn|4482193}, DOB {date|03/14/1962}, was seen by Dr. {name|Alvarez}.
Med rec no. {mrn|00-44-12-87} reviewed before the procedure.
MRN#{mrn|A1234567} admitted from the emergency room.
Chart number {mrn|H-448812} was pulled for the tumor board.
Patient ID {mrn|PT-99812} has a follow-up next week.
Her medical record number is {mrn|883-22-19} and she is allergic to penicillin.
The fracture was found on {date|March third} after a fall.
Surgery took place on {date|the twenty-first of June} without complications.
He was born {date|January fifth, nineteen forty two} and has diabetes.
Symptoms began in {date|August 2019} and resolved.
Last colonoscopy {date|14-Mar-2018} was normal.
Admitted {date|2021-11-03}, discharged {date|2021-11-09}.
Follow up on {date|Oct. 12, 2022} for suture removal.
Wound check {date|12/05/21} was unremarkable.
She is a {age|93-year-old} woman with heart failure.
He is {age|ninety-one years old} and lives independently.
This {age|97 y/o} male presents with a cough.
A {age|101 year old} veteran with dementia.
Pacemaker serial number {device|PJN4481023} was interrogated.
Device ID: {device|DX-88A-2210} replaced during the procedure.
UDI {device|(01)00844588003288(17)141120(10)7654321D} recorded for the implant.
Call her daughter at {phone|(415) 555-0134} with the results.
Pager {phone|617-555-0199} for the on-call surgeon.
Fax the biopsy report to {fax|(212) 555-0147} please.
Send the lab results to {email|jane.doe@example.org} today.
SSN {ssn|219-09-9999} is on the admission form.
Social security number {ssn|219099999} on file.
Medicare number {health_plan|1EG4-TE5-MK73} was verified.
Member ID: {health_plan|XZJ884412907} for the insulin pump.
Policy number {health_plan|HP-5541-22} covers the MRI.
Billing account number {account|88-1022-771} is past due for dialysis.
DEA {license|AB1234563} prescribed oxycodone 5 mg.
NPI: {license|1234567893} ordered the ultrasound.
Driver's license {license|D4417720} was copied at registration.
He was driving VIN {vehicle|1HGCM82633A004352} when the injury happened.
License plate {vehicle|7KXR221} was noted by the ambulance crew.
Portal login came from {ip|203.0.113.77} before the refill.
Images at {url|https://images.example.org/study/8812} show a fracture.
IBAN {iban|DE89370400440532013000} for the treatment refund.
Card {card|4111 1111 1111 1111} was charged for the vaccine.
She lives at {address|12 Oak Street} and uses a walker.
Mail the prescription to {address|PO Box 4410} as asked.
He moved here from {geography|Duluth}, MN last spring for treatment.
Home visit in {geography|Springfield, IL 62704} for wound care.
ZIP code {geography|02139} on the insurance card.
Encounter number {other_id|E-5512907} closed after discharge.
Accession number {other_id|S21-4471} shows no malignancy.
Mrs. {name|Kowalski} reports pain in the left knee.
Discussed with {name|Maria Gonzalez}, RN, about the dressing.
{name|Gonzalez, Kathleen} was discharged to rehab.
My name is {name|Tomas Okafor} and I have asthma.
I spoke with {name|Tamara} about her insulin dose.
her wife {name|Georgina} drove her to the clinic
Patient name: {name|WILLIAMS, ROBERT J} was admitted for dialysis.
Her husband {name|Bob} manages the insulin.
NHS number {health_plan|943 476 5919} was checked for the vaccine.
The plate {vehicle|8ABC123} was on the ambulance report.
Spoke with {name|Priya Raghunathan} about the biopsy.
Username {other_id|jdoe1950} has a pending refill.
Dr. {name|Parkinson} examined the tremor.
Our patient {name|Deborah O'Brien} stopped taking aspirin.
""".strip().splitlines()

CLEAN = """
The patient has Parkinson disease and takes levodopa 100 mg three times daily.
Alzheimer's disease was discussed with the family.
A Foley catheter was placed and the Babinski sign was negative.
Hodgkin lymphoma in remission after six cycles of chemotherapy.
Crohn's disease with two prior resections and Graves disease in the mother.
Glasgow Coma Scale 15, Apgar score 9 at five minutes.
Guillain-Barre syndrome was ruled out by lumbar puncture.
Blood pressure 120/80, pulse 72, temperature 98.6, respirations 16.
Strength is 5/5 in all extremities; pain is 7/10 with movement.
Start lisinopril 10 mg daily and metformin 500 mg twice daily.
A 45-year-old woman with a three-week history of cough.
She is 89 years old and walks without help.
Chief Complaint: Chest pain. History of Present Illness: Started two hours ago.
PHYSICAL EXAM: Lungs clear to auscultation bilaterally.
Past Medical History: Hypertension, Type 2 Diabetes, Hyperlipidemia.
Follow up in two weeks with Cardiology and Physical Therapy.
WBC 11.2, hemoglobin 13.4, platelets 250, sodium 138, potassium 4.1.
Hemoglobin A1c was 7.2 percent; LDL 130.
Patient: I've had this headache for three days. Doctor: Any fever?
Doctor: Okay. Patient: Yes, it hurts when I walk.
She may take Tylenol or Advil as needed for pain.
Referred by Cardiology and seen by Neurosurgery for stenosis.
It is called onychomycosis; the patient is Spanish speaking.
Fixation with plates 3 and 4, lot of 20 tablets dispensed, policy 2019 applies.
Use Allegra for seasonal allergies and Flonase for congestion.
Murphy sign was positive and the gallbladder was removed.
The Whipple procedure was discussed at length.
Epstein-Barr virus titers were elevated.
MRI of the lumbar spine shows degenerative changes at L4-L5.
CT Abdomen and Pelvis with contrast shows no acute process.
Vitamin D 50,000 units weekly for eight weeks.
Review of Systems: Negative for fever, chills, nausea and vomiting.
No known drug allergies. Immunizations are up to date.
He will march in place and hop on one foot during the exam.
Rate your pain on a scale of one to ten, then rest for 30 minutes.
Grade 2 murmur at the left sternal border; ejection fraction 55-60%.
The wound measures 3.2 x 1.5 x 0.4 cm with clean margins.
Doppler ultrasound of the legs was negative for thrombosis.
Sjogren's syndrome with dry eyes; Raynaud phenomenon in winter.
Bell's palsy resolved after prednisone 60 mg for seven days.
Ringer's lactate 1000 ml was given over two hours.
No history of smoking, alcohol or drug use. Lives with her husband.
Assessment and Plan: Community acquired pneumonia, start azithromycin.
""".strip().splitlines()


@dataclass(frozen=True, slots=True)
class Example:
    text: str
    spans: tuple[tuple[str, int, int], ...]  # type, start, end


def parse(line: str) -> Example:
    """The text without its labels, and where they were."""
    text, spans, at = "", list[tuple[str, int, int]](), 0
    for match in _LABEL.finditer(line):
        text += line[at : match.start()]
        spans.append((match[1], len(text), len(text) + len(match[2])))
        text += match[2]
        at = match.end()
    return Example(text + line[at:], tuple(spans))
