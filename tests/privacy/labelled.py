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
{name|John Smith} has kidney disease, and so has {name|Jennifer}.
{name|Linda Brown} missed her test today; {name|Kevin Walker} needs a gait assessment.
{name|Jennifer} denied melanoma, and {name|Robert Lee} walked without a tube.
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

# Notes as clinics write them. What is labelled must be touched; its type and its exact edges may differ.
NOTES = """
MEDICAL RECORD #: {mrn|0048-1172-3}  ADMIT DATE: {date|11/03/2021}
Pt {name|Okonkwo} reports worsening dyspnea since {date|6/14}.
{name|MARTINEZ, LUCIA M.} DOB: {date|7-Feb-1951} MR# {mrn|77120043}
RE: {name|Thaddeus Birnbaum} / {date|1949-08-30} / MRN {mrn|K0091827}
Attending: {name|R. Castellanos, MD}
Dictated by: {name|Helga Weinstock}, PA-C on {date|03.11.2020}
cc: Dr. {name|Ngozi Adeyemi}
The patient, Mr. {name|Vandermeer}, is a {age|94}-year-old retired teacher.
She is a {age|90 year old} female.
He turned {age|91} last month.
{age|92F} with CHF exacerbation.
Age: {age|95}
Seen at {geography|St. Brigid Medical Center} on {date|January 4th, 2022}.
Lives at {address|418 Tamarack Ln, Apt 3B}, {geography|Duluth, MN 55811}.
Home phone {phone|218.555.0173}; cell {phone|(218)555-0188}.
Contact: {name|Rosalind Achterberg} (daughter) {phone|612 555 0140}
Social: {ssn|412-55-8890}.
SSN ending in {ssn|4471}.
Insurance: Blue Cross, member # {health_plan|XEA902113847}, group {health_plan|#0071542}
HICN {health_plan|412558890A} on file.
Medicaid ID {health_plan|AB12345C}
Acct# {account|0099812734}
Checking account {account|000123456789} routing {account|021000021}
DL {license|S530-4609-0012} (WI)
Medical license {license|MD-44218} expires {date|12/2024}
Pacemaker Medtronic model {device|A2DR01}, serial {device|PVY604113H}
ICD serial no. {device|BTK-220918} interrogated.
Insulin pump S/N {device|NP7-118843}
Lot {device|0423K77} of the vaccine was given.
VIN {vehicle|2T1BURHE4JC034461}
Plate {vehicle|BRT-4471} was at the scene.
Portal: {url|https://mychart.example.org/u/halvorsen}
Email {email|t.birnbaum49@example.com}
Login from {ip|192.0.2.44}; IPv6 {ip|2001:db8::8a2e:370:7334}
Fingerprint template id {other_id|FPX-99120} enrolled.
Accession {other_id|S21-4471} showed adenocarcinoma.
Encounter {other_id|884120993}
CSN: {other_id|300418827}
Study ID {other_id|NCX-0042} randomized on {date|2/29/2020}.
Her son {name|Cedric} can be reached at {phone|+44 20 7946 0958}.
Mother's maiden name is {name|Lindqvist}.
Discussed with {name|Dr. Feingold}.
Patient of Dr {name|Osei}, next visit {date|Tuesday, May 3}.
Neighbor {name|Mrs. Abernathy} found her.
Works at {geography|Lakeside Elementary School}.
He is the mayor of {geography|Tillamook}.
She lives in {geography|Okeechobee} with her dog.
born in {geography|Ypsilanti} in 1954
Admitted {date|the second of July} and discharged {date|July 9th}.
Surgery on {date|twenty-third of October, two thousand nineteen}.
Last seen {date|Sept 2018}; follow up {date|10/18}.
{date|2021/06/01 14:35} RN note: {name|K. Halvorsen}
Signed electronically by {name|Priyanka Deshmukh} {date|06/01/2021 15:02}
The driver, {name|Tobias Renner}, was restrained.
Fax results to {fax|(414) 555-0111}.
{name|Achterberg} said the pain is worse at night.
Her aunt {name|Oluwaseun} died at {age|93}.
NPI {license|1093817465}
Specimen # {other_id|H22-10983}
ZIP {geography|55811}
{name|Jaroslav} lives with his wife {name|Blanka}.
""".strip().splitlines()

# Clean notes full of what looks like names: drugs, brands, instruments, eponyms, scores, headings, languages.
CLEAN_NOTES = """
Metoprolol, Lisinopril and Atorvastatin were continued at discharge.
Zofran and Reglan given for nausea; Toradol 30 mg IV for pain.
Pt denies SI. Psych consulted. Ativan PRN.
Foley removed, voiding trial passed. Romberg negative, Babinski downgoing.
Holter showed rare PVCs. Doppler negative for DVT.
Neurology recommends Keppra 500 mg BID. Cardiology reports no acute ischemia.
Medicare denied the claim and Aetna approved the second one.
Patient has Ehlers-Danlos and Marfan features; Charcot-Marie-Tooth excluded.
Kegel exercises were taught. Mallampati class II airway.
Status post Whipple and Roux-en-Y. Nissen in 3 stages.
Lasix, Coumadin and Plavix held before the procedure.
HEENT: PERRLA, EOMI. Neck: Supple. Lungs: CTA. Heart: RRR. Abdomen: Soft, NT, ND.
Labs: Na 138, K 4.1, Cl 102, BUN 14, Cr 0.9, Glucose 101.
Took Tylenol Extra Strength at home without relief.
Vaccines: Pfizer x2, Moderna booster, Prevnar and Shingrix due.
Gleason 3+4 on biopsy; Karnofsky 80; Apgars 8 and 9.
Allergies: Penicillin, Sulfa, Latex. Social: Denies tobacco.
Hello Doctor, thank you for seeing me. Hi there. Good morning, Ma'am.
Thanks, Nurse. Okay, Doctor. Bye now.
Mom reports a rash since yesterday. Dad says the fever broke.
Spoke to Pharmacy and Case Management about placement.
Start Humira 40 mg every two weeks, then Enbrel if no response.
Ortho to see. ENT follow up in 2 weeks. GI consult pending.
BP 142/88, HR 76, RR 16, T 98.7 F, SpO2 97% on 2 L.
She is 5 feet 4 inches, 165 lbs, BMI 28.3.
Ultrasound: CBD 4 mm, no stones. CT A/P: diverticulosis.
Grade 3/6 systolic murmur. Reflexes 2+/4. Strength 4/5.
Type 2 DM, HTN, HLD, CKD stage 3, GERD, OSA on CPAP.
L5-S1 disc herniation, C5-6 stenosis, T12 compression fracture.
Give 1000 mL NS bolus then 125 mL/hr. Insulin sliding scale.
Physical Therapy: gait training x 20 min. Occupational Therapy to evaluate.
Consider Botox for migraine. Imitrex 50 mg at onset.
The Glasgow Coma Scale was 15. NIH Stroke Scale 4.
Follow with PCP in 7-10 days. Return for worsening.
Impression: Community Acquired Pneumonia, Right Lower Lobe.
The Spanish interpreter was present. Danish is her native language.
Sigmoid polyp 12 mm, cold snare, ASA II, Versed 3 mg, Fentanyl 75 mcg.
Colonoscopy 10 years ago. Last tetanus over 5 years ago.
Pap smear normal. Mammogram BIRADS 2. DEXA T score -1.4.
Synthroid 88 mcg daily; TSH 2.31. Januvia and Jardiance for diabetes.
Bovie cautery and Kocher clamps were used; Jackson-Pratt drain left in place.
Steri-Strips and Dermabond applied. Xeroform dressing.
She saw Dr. in the ER. The Doctor said rest.
Trendelenburg position. Valsalva negative. Murphy negative. McBurney tenderness.
Smoked Marlboro 1 ppd. Drinks Coke Zero. Drives a Honda Civic.
Fosamax weekly. Vitamin B12 1000 mcg IM monthly.
Suboxone 8/2 mg BID. Narcan kit given. Methadone clinic referral.
Room air sat 94%. EF 30-35%. NYHA III. CHADS2 score 3.
Hep B surface antigen negative. HIV negative. RPR nonreactive.
Xarelto 20 mg with dinner. Eliquis 5 mg BID. Brilinta 90 mg BID.
Ranitidine was recalled. Chantix helped her quit.
Sinus tach on EKG, QTc 450. Troponin 0.02 x3.
Take 2 Tylenol 500 mg tablets every 6 hours. Use Suite of tests.
Ice 20 minutes on, 20 minutes off. Ace wrap. Crutches.
Advanced Directive: Full Code. Diet: Cardiac. Activity: As tolerated.
Her mother has Alzheimer's and her father had Parkinson's.
Uncle with Hodgkin's and aunt with Sjogren's. Sister has Crohn's.
Prenatal: Rubella immune, GBS negative, Rh positive, G3P2.
Discussed with Radiology. Per Nursing, ate 50% of meals.
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
