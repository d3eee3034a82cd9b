"""Whether a record has health content: a small vocabulary of our own, two different entries of it.

Each entry is a pattern of the engine's own pass, so that looking for them costs nothing more.
"""

from __future__ import annotations

ENOUGH = 2

_WORDS = """
diagnos(?:is|es|ed|tic)|prognosis
symptoms?|complain(?:s|ed|ts?) of|chief complaint
patients?
medications?|prescri(?:be|bed|ption)s?|dos(?:e|age)s?|tablets?|capsules?|injections?
\\d+ ?(?:mg|mcg|ml|mmhg|bpm)
blood pressure|heart rate|vitals?|pulse|bmi
hypertension|hypotension|cholesterol|hyperlipidemia
diabet(?:es|ic)|insulin|glucose|a1c|metformin
asthma|copd|pneumonia|pulmonary|shortness of breath|cough(?:ing)?
cancer|tumou?r|carcinoma|chemotherapy|radiotherapy|metasta(?:sis|tic)|biopsy|oncolog(?:y|ist)
surger(?:y|ies)|surgical|surgeon|operation|anesthesia|transplant
fracture[ds]?|arthritis|swelling|inflammation|edema
infection|antibiotics?|sepsis|hiv|hepatitis|covid|influenza
fever|nausea|vomiting|diarrh(?:ea|oea)|rash|dizz(?:y|iness)|fatigue
headaches?|migraines?|seizures?|epilepsy|stroke|dementia
depression|anxiety|bipolar|schizophrenia|psychiatric|suicidal
allerg(?:y|ies|ic)
(?:chest|back|abdominal|neck|knee|joint) pain|pain
cardiac|cardiolog(?:y|ist)|abdominal|renal|kidney|liver|thyroid|dialysis|anemia
pregnan(?:t|cy)|obstetric|prenatal
vaccin(?:e|es|ation|ated)|immuni[sz]ations?
mri|ct scan|x-?rays?|ultrasound|ecg|ekg|lab results?|hemoglobin|blood test
ibuprofen|acetaminophen|aspirin|lisinopril|atorvastatin|warfarin|opioids?
clinic|hospital(?:i[sz]ed)?|inpatient|outpatient|icu|emergency room|admi(?:tted|ssion)|discharge[ds]?
nurse|physician|doctor
therap(?:y|ist|ies)|treatments?|medical|health history|rehab
chronic|acute|disease|syndrome|disorder|comorbid(?:ity|ities)|obes(?:e|ity)
wounds?|lesions?|mrn
"""

HEALTH = tuple(rf"(?i)\b(?:{line})\b" for line in _WORDS.strip().splitlines())
"""One pattern for each entry."""
