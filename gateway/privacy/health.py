"""Whether a record has health content: a small vocabulary of our own, two different words of it."""

from __future__ import annotations

ENOUGH = 2

HEALTH = (
    r"(?i)\b(?:diagnos(?:is|es|ed|tic)|prognosis|symptoms?|patients?|medications?|prescri(?:be|bed|ption)s?|dos(?:e|age)s?|"
    r"\d+ ?(?:mg|mcg|ml|mmhg|bpm|units?)|blood pressure|heart rate|pulse|vitals?|hypertension|hypotension|diabet(?:es|ic)|"
    r"insulin|cholesterol|asthma|copd|pneumonia|cancer|tumou?r|carcinoma|chemotherapy|radiotherapy|metasta(?:sis|tic)|"
    r"biopsy|surger(?:y|ies)|surgical|fracture[ds]?|infection|antibiotics?|fever|nausea|vomiting|diarrh(?:ea|oea)|"
    r"headaches?|migraines?|seizures?|epilepsy|stroke|dementia|depression|anxiety|bipolar|schizophrenia|psychiatric|"
    r"allerg(?:y|ies|ic)|rash|swelling|inflammation|arthritis|chest pain|back pain|abdominal|cardiac|cardiolog(?:y|ist)|"
    r"pulmonary|renal|kidney|liver|hepatitis|hiv|pregnan(?:t|cy)|obstetric|prenatal|vaccin(?:e|es|ation|ated)|"
    r"immuni[sz]ations?|mri|ct scan|x-?ray|ultrasound|ecg|ekg|lab results?|hemoglobin|glucose|a1c|ibuprofen|"
    r"acetaminophen|aspirin|metformin|lisinopril|atorvastatin|warfarin|opioids?|clinic|hospital(?:i[sz]ed)?|inpatient|"
    r"outpatient|icu|emergency room|nurse|physician|doctor|surgeon|therap(?:y|ist)|treatments?|medical|health history|"
    r"chronic|acute|discharge(?:d)?|admi(?:tted|ssion)|mrn|comorbid(?:ity|ities)|smok(?:er|ing)|obes(?:e|ity)|bmi|edema|"
    r"lesions?|wounds?|tablets?|capsules?|injections?|dialysis|transplant|anemia|thyroid|disease|syndrome|pain)\b"
)
