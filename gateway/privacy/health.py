"""Whether a record has health content: a small vocabulary of our own.

One entry marked `!` is enough: a disease or a drug says by itself that somebody is treated for it. Of the
others, which people also use without being ill, it takes two. Each entry is a pattern of the engine's
own pass, so that looking for them costs nothing more.
"""

from __future__ import annotations

ENOUGH = 2

_WORDS = r"""
  diagnos(?:is|es|ed|tic)|prognosis
  symptoms?|complain(?:s|ed|ts?) of|chief complaint
  patients?
  medications?|prescri(?:be|bed|ption)s?|dos(?:e|age)s?|tablets?|capsules?|injections?
  \d+ ?(?:mg|mcg|ml|mmhg|bpm)
  blood pressure|heart rate|vitals?|pulse|bmi
! hypertension|hypotension|hyperlipidemia|high cholesterol
  cholesterol|glucose
! diabet(?:es|ic)|insulin|a1c|metformin
! asthma|copd|pneumonia|tuberculosis|emphysema
  pulmonary|shortness of breath|cough(?:ing)?
! cancer|carcinoma|leuka?emia|lymphoma|melanoma
! chemotherapy|radiotherapy|metasta(?:sis|tic)|oncolog(?:y|ist)
  tumou?r|biopsy
  surger(?:y|ies)|surgical|surgeon|operation|anesthesia|transplant
  fracture[ds]?|swelling|inflammation|edema
! (?:rheumatoid |osteo)?arthritis|osteoporosis|fibromyalgia|lupus|gout
! hiv|aids|hepatitis|sepsis|syphilis|gonorrh(?:ea|oea)|chlamydia|herpes
  infection|antibiotics?|covid|influenza
  fever|nausea|vomiting|diarrh(?:ea|oea)|rash|dizz(?:y|iness)|fatigue
! epilepsy|epileptic|dementia|alzheimer'?s?|parkinson'?s|multiple sclerosis
  headaches?|migraines?|seizures?|stroke
! bipolar|schizophreni(?:a|c)|psychosis|psychiatric|suicidal|ptsd|anorexia|bulimia|methadone|overdose
  depression|anxiety|addiction|rehab
  allerg(?:y|ies|ic)
  (?:chest|back|abdominal|neck|knee|joint) pain|pain
! dialysis|cirrhosis|heart failure|myocardial infarction|angina|crohn'?s|colitis
  cardiac|cardiolog(?:y|ist)|abdominal|renal|kidney|liver|thyroid|anemia
! pregnan(?:t|cy)|miscarriage|abortion|obstetric|prenatal
  vaccin(?:e|es|ation|ated)|immuni[sz]ations?
  mri|ct scan|x-?rays?|ultrasound|ecg|ekg|lab results?|hemoglobin|blood test
! lisinopril|atorvastatin|warfarin|lithium|sertraline|fluoxetine|prednisone|albuterol|omeprazole|levothyroxine
! amlodipine|gabapentin|oxycodone|morphine|adderall|risperidone|quetiapine|tamoxifen|prozac|zoloft
  ibuprofen|acetaminophen|aspirin|opioids?
  clinic|hospital(?:i[sz]ed)?|inpatient|outpatient|icu|emergency room|admi(?:tted|ssion)|discharge[ds]?
  nurse|physician|doctor
  therap(?:y|ist|ies)|treatments?|medical|health history
  chronic|acute|disease|syndrome|disorder|comorbid(?:ity|ities)|obes(?:e|ity)
  wounds?|lesions?|mrn
"""

_LINES = tuple(line for line in _WORDS.splitlines() if line)
HEALTH = tuple(rf"(?i)\b(?:{line[2:]})\b" for line in _LINES)
"""One pattern for each entry."""
WEIGHTS = tuple(ENOUGH if line.startswith("!") else 1 for line in _LINES)
"""What each entry counts towards `ENOUGH`."""
