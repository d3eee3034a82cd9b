# ruff: noqa: E501 - word lists
"""Words the rules look up: names and places from public-domain lists, and our own lists of ordinary words.

Names are the US Census's lists of 1990 (in the `names` package), cities and ZIP codes those of the
Postal Service (in `zipcodes`). Both are read on first use. Words are ASCII bytes, as folding makes them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from gateway.core.collector import no_collection

# First names (and surnames) that are also words, months, places, brands or drugs: alone they prove nothing.
AMBIGUOUS = frozenset(
    b"""abbey ada ai aide al allegra alpha alta alto amber america an angel angle april arden art asia aspen
    august augusta aura austin autumn ave bambi bao basil bea beau bee bell belle berry bill bishop blanca
    blanche blossom bo bonita booker brain brand brandy britt brook brooke brooks bud buddy buena
    bunny burl burt camellia candida candy carlton carol carolina carry carter case cash cedrick cello
    chan chance chanel charity chas chase chastity cherish cherry cheyenne chi chin china chong christ
    christen christian christmas chung cicely cinderella clay cleo clinton clora clove coleman colt
    columbus concepcion contessa cookie cora coral cordia cortez count creola cruz crystal curt cyst
    dagger daily daisy dale dallas dane darling dawn day dean december dee deja delta denim denver desire
    destiny diamond dick dixie do doctor dollie dolly domingo domino don dong dora dot dove dr drew drum
    duke dusty dwight early easter ebony echo eden elm else elvis em emerald ever evette fairy faith
    fallon farm fawn fe february fern fleet flo flora florence florida forest forrest foster france
    francis frank galen gay gem general genesis geneva genie genny georgia german germany ginger glory
    golden grace grant green gum guy ha hai hal halo han hang harmony harvest haven hazel heath heather
    heaven helix herb hip hiram hoa holly homer honey hong honor hope houston hsa hue hung hunter ice ima
    in independence india indiana ira iris irish iron island israel ivory ivy ja jack jade jae jan january
    jar jasmine jasper jay jazmin jersey jesus jewel jewell jin jordan joy judge jules july june jung
    junior justice ka kaiser kala kam karma keel keen kelvin kenya kermit khan kia king kip kit kitty kum
    la lady lamb lan lance lane laser lashes laurel lavender lawn layne le leaf lean leather lee les li
    liberty lien light lilac lily lim lima lin line ling link loan london long love lovely loyd lu luck
    luna luz lyn ma mac mack madison magic magnolia mai major male man manual many maple march margarita
    marina marine mark marlin marquis marry marsh maryland mason max may mayo md mee mel melodie melody
    melon mercedes mercy merlin merri merry mi milan miles milford min mina ming ministry minor mirage
    mirth miss missy misty mo modesta modesto mohawk montana monte morton moss mr mri mrs ms my myrtle na
    nan nana neva nevada nevus nickel nicky no noble nona noon normal norman nova novella november numbers
    nurse octavia october odd odell ok oleander olive oma omega opal ora orange orlando oscar pa page palm
    palma palmer pan pansy pap paris parker pasty pat patch patience patient patria patsy pearl peg penny
    perry pet petal pete petunia philadelphia phoenix pierce pill piper pope porsche porter portia pot
    precious precise price prince princess providence prudence queen queenie rae rain raven ray reed rena
    renata rene reta rex rey rich rick rio ripley river rob robin robot rocco rocky rod roman rome romeo
    rosa rosario roscoe rose rosy roy royal royce ruby rue run rush rusty sage saint san sandy sanford
    sang santa santana santo santos savanna savannah scot scotland scotty sea season see sena september
    serena serenity shad shade shae shan sharp shea shelton sherry sherwood shin shot sierra signe silver
    sina sky skye so sol soledad son song soo soon spain spring stanford star starr stat sterling storm
    stormy stu su sue sugar sum summer sun sunday sung sunny sunshine sydney ta tad tai tam tan tana tea
    tempie temple terra texas the thing thu tia tiara tien tin tiny to toi toney tori trac tracy tran tree
    tressa trey trinidad trinity tu tuan tula ty un val vale valencia valentine valery valium valley valor
    van vella velvet venetta venice venus verge vi vida vienna view vina viola violet virginia vita vito
    von wade walker wan ward warren washington way wayne wen wes weston white will willow wilson windy
    winter woodrow xi yan yang yen yi ying yoko yon york young yu zion""".split()
)
# Words that begin sentences, head sections or fill forms; never part of a name when capitalised.
ORDINARY = frozenset(
    b"""newborn neonate preemie proband chemo rehab trach cath mom mum mommy mama dad daddy papa grandma grandpa nana granny auntie aetna cigna humana tricare obamacare google
    facebook amazon walmart walgreens costco uber covid ebola internet website online app wifi okey spanish english french chinese german russian italian portuguese korean japanese vietnamese arabic hindi
    hispanic latino latina caucasian african asian european mexican indian irish mister christian jewish muslim
    catholic neurosurgery anesthesia anesthesiology ophthalmology gastroenterology nephrology endocrinology
    rheumatology gynecology obstetrics podiatry otolaryngology ent orthopedics pathology protocol telemetry triage a abc abcd abdomen abdominal able abnormal about above absent access account active activity acute add
    additional address adjust administration admission admit adult advance advise after afternoon age
    agency ah aid alcohol alert all allergies allergy already alright also although always am ambulance
    american an and anemia ankle annual another answer antibiotic anxiety any anyone anything anyway
    apartment application appointment april are area arm arms around arthritis article as asian ask
    aspirin assess assessment assistant asthma at attached attorney august avenue avoid aw away back bank
    based basic be because bed been before began begin behavioral being below best better between big
    bilateral bill billing biopsy birth black bleeding blood board body bone book both bowel box brain
    breast breath breathing brief bring brother building business but by bye call calls can can't cancel
    cancer card cardiac cardiology cardiovascular care caregiver carotid case cat cause cc cell center
    central cervical chair change chart check chest chief child children chronic church city class clear
    client clinic clinical close code cold colleague college colon come common community company complaint
    complete complications concern condition confirm consent consider consult consultation contact
    continue contract copy coronary corporate cost could counseling count county course court cousin cover
    coverage create credit critical culture current customer cut daily data date daughter day days dear
    death december decision deep delivery denies dental department depression dermatology description
    detail determine develop device diabetes diagnosis diagnostic did didn't diet different difficulty
    digital direct director discharge discuss disease district do doctor document does don't done dose
    down dress drive drug drugs due during each ear early ears east education effective either elbow
    elderly electric electronic email emergency employee employer end english enter estate evaluation even
    evening every everyone everything exam examination example except exercise express external
    extremities eye eyes face facility factor failure fall family far fasting father february federal feel
    feeling fellow female fever few field file final find fine first five floor fluid follow following
    food foot for form found four fracture free friday friend from front full function further future gave
    general genetic genitourinary get girl give given glucose go goal going gone good got government grade
    grand great group growth guest guidelines had hair half hand happy hard has have he head health hear
    hearing heart heat height hello help hematology hepatitis her here hey hi high him hip his history hm
    hmm hold home hopefully hospital hospitalist hot hotel hour house how however huh human hypertension i
    i'd i'll i'm i've if ill imaging immediate immunization impression improve in include increase
    independent index infection information initial injection injury inpatient insulin insurance intake
    intensive intermittent internal international interval intravenous is issue issues it it's its january
    job joint july june just keep kidney kind know lab laboratory language large last late lateral law
    left leg legs let let's letter level license life lift like limited line lipid list little liver
    living local long look loss lot low lower lumbar lung lungs ma'am madam mail main make male manager
    many march married mass may maybe me meal mean medicaid medical medicare medication medications
    medicine meet member memory men mental message mhm middle mild military minutes mobile moderate modern
    monday money month months more morning most mostly mother motor mouth mr mrs ms much multiple muscle
    my name national native nausea near neck need negative nerve neuro neurologic neurological neurology
    neuroma never new news next nice night nine no none nope normal north nose not note notes nothing
    november now number nurse nursing objective obstructive october of off office officer often oh ok okay
    old on once oncology one only oops open operation operative or oral order organization orthopedic
    other others our out outpatient over oxygen page pain pancreatic panel parent part past patient
    patients payment peace pediatric pelvic people per percent perfect perhaps period peripheral person
    personal pharmacy phone physical physician piece place plan please plus pm point police policy
    positive possible post postoperative pounds power practice pregnancy pregnant prescription present
    pressure prevention previous primary prior private problem problems procedure professor program
    progress project prostate provider psychiatric psychiatry public pulmonary pulse question questions
    quick quite radiology range rate re read ready really reason recent record red reference referral
    referred regarding regards region regular rehabilitation related release renal repeat report request
    research resident residual respiratory rest restart result results return review right risk road room
    routine run safe safety said same sample saturday say says schedule school science screening sea
    second secretary section security see seen september series serum service services set seven several
    severe she short shortness should shoulder show side sign signed signs since sincerely sinus sir
    sister six skin sleep slow small smoking so social society soft some someone something sometimes son
    soon sorry sound south special specialist spine spoke staff stage standard start state statement
    states station status steps still stomach stop store street stress stroke strong study subject
    subjective such suite sunday support sure surgeon surgery surgical switch symptoms syndrome system
    systems table tablet take talk team tell temperature ten test tests than thank thanks that that's the
    their them then therapist therapy there there's these they thing things think third this those though
    three throat through thursday thyroid time times to today together told tomorrow tonight too total
    transfer trauma travel treatment tree trial tuesday tumor two type uh uhm ultrasound um under unit
    united university unknown unless until up update upon upper urgent urinary urine urology us use used
    usual vaccine valued valve vascular vein venous very veteran video virus visit vital vitals vitamin
    wait want was water way we wednesday week weeks weight well went were west what what's when where
    whether which while white who whole why wife will window with within without woman women word work
    worker would wound wow wrist write x xyz yeah year years yep yes yesterday yet you your zero""".split()
)
# First names of three letters that mean nothing else; most such are acronyms or words.
_SHORT = frozenset(
    b"abe amy ana ann ava ben bob dan eli eva ian jeb jed jen jim joe jon leo liz lou meg pam sam ted tim tom zoe".split()
)
# Wholes too large to identify anyone: countries, continents and states that share their name with some US city.
LARGE = frozenset(
    b"""africa america argentina asia australia austria bahamas belgium bolivia brazil bulgaria canada chile china
    colombia cuba denmark ecuador egypt england ethiopia europe finland france germany ghana greece guatemala
    haiti holland honduras hungary iceland india indonesia iran iraq ireland israel italy jamaica japan jordan
    kenya korea lebanon mexico morocco nepal netherlands nigeria norway pakistan panama peru philippines poland
    portugal romania russia scotland singapore spain sudan sweden switzerland syria thailand turkey uganda ukraine
    uruguay venezuela vietnam wales alabama alaska arizona arkansas california colorado connecticut delaware
    florida georgia hawaii idaho illinois indiana iowa kansas kentucky louisiana maine maryland massachusetts
    michigan minnesota mississippi missouri montana nebraska nevada ohio oklahoma oregon pennsylvania tennessee
    texas utah vermont virginia wisconsin wyoming""".split()
)
# Surnames by which diseases, signs, scores, instruments, brands and languages go without such a word after them,
# and so alone prove nothing. Common surnames are left out: those are people more often.
EPONYMS = frozenset(
    b"""addison adie alcock alesse amsler apgar apley auerbach babinski bair balfour balke ballard baptist barr
    barre barrett bence betz binet bjork blakemore blalock boeck bookwalter bovie braxton breslow buerger
    burkitt charnley cessna cheyne chrysler cipro colace colgate cormack corrigan cowden cowper credo cronkhite danish depuy dubin
    durie eaton ehlers epley epstein ewald faber fagerstrom foley fontan freiberg fuhrman galeazzi ganong
    ganz garrod gianotti gitelman glasgow gleason glisson goldmann goodpasture gottron greek groshong
    haglund hailey hamman hartmann hashimoto hasson heimlich heineken hesselbach hickman hodgkin hohmann homans
    horton huntington ionescu ishihara janeway kawasaki kegel kirschner klinefelter kocher kool kussmaul
    lapidus lassa latin lehane lemme leopold lewy lichtenstein lindau lofgren lyell lyme mallory mayfield
    mcburney mcmurray meckel mees meissner merck merkel meth mini mohs montgomery morison naegele naughton
    newport nissan nissen noonan norwood nottingham oddi okey osgood osler pacini paget pancoast parkinson penfield
    penrose peyer pfannenstiel phalen platt pratt puerto ramadan ranke ranson rastelli reye riedel rinne
    romberg roth ruffini sachs salem scarpa scheuermann schick schirmer schlatter schober senn shiley
    shouldice siemens sjogren snellen steinmann stryker tagalog tarka taussig toyota vicks wegener whipple willi
    wolff zenker zollinger zumba""".split()
)
# Names that stand for a disease, a sign or a device when such a word follows. What may stand between are words
# of such terms alone: `Mary Johnson has heart disease` is about a person.
EPONYM_AFTER = (
    rb"(?:'s?|s')?[ -](?:(?:type|like|related|associated|variant|spotted|muscular|urinary|indwelling|suction|chest|wound|"
    rb"cell|lymph|hip|juvenile|familial|depression|anxiety|coma|fall|risk|sedation|agitation|pain|pressure)[ -]){0,2}"
    rb"(?:disease|syndrome|sign|palsy|dementia|lymphoma|sarcoma|tumou?r|carcinoma|catheter|duct|nodes?|cyst|"
    rb"phenomenon|reflex|maneuver|manoeuvre|fracture|contracture|criteria|classification|stain|murmur|ulcer|virus|"
    rb"triad|thyroiditis|esophagus|oesophagus|ataxia|chorea|granulomatosis|deformity|hernia|lithotomy|clamp|forceps|"
    rb"retractor|splint|drain|tube|gland|fascia|purpura|dystrophy|amyotrophy|nevus|neuroma|shunt|valve|spotted fever|"
    rb"Disease|Syndrome|Sign|Palsy|Lymphoma|Sarcoma|Carcinoma|Scale|Score|Coma|Catheter|"
    rb"Phenomenon|Stage|Thyroiditis|Maneuver|Fracture|Criteria|Classification|Disorder|Dementia|Virus|Vaccine)\b"
)
# The same of a single name, and only right after it: `Allen test`, but `Linda Brown test results` are somebody's.
EPONYM_OF_ONE_WORD = (
    rb"(?:'s?|s')?[ -](?:(?:cell|coma|fall|risk|depression|anxiety|sedation|agitation|pain|pressure|body)[ -]){0,2}"
    rb"(?:test|score|scale|disorder|procedure|operation|law|lines?|anemia|anaemia|encephalopathy|lesion|position|"
    rb"bandage|pump|index|formula|equation|stage|staging|nodule|spots?|body|bodies|cells?|ligament|tendon|neuropathy|"
    rb"paralysis|angina|aneurysm|thrombosis|keratosis|melanoma|vaccine|diet|stitch|incision|repair|flap|graft|antigen|"
    rb"titer|questionnaire|inventory|assessment|coma|histology|Procedure)\b"
)


_FREQUENT = 2000
_ENDINGS = (b"s", b"es", b"ed", b"d", b"ing", b"er", b"ers", b"ly")
_LAST_LETTERS = frozenset(ending[-1] for ending in _ENDINGS)


@dataclass(frozen=True, slots=True)
class Names:
    """Name lists, each in the forms `Mary` and `MARY`.

    Attributes:
        first: every first name.
        last: every surname of the list that is no ordinary word.
        certain: first names that mean nothing else, so that one alone is a finding.
        frequent: the commonest surnames, words or not.
        lone: surnames that are no word, first name, country or eponym; as `Mary` only.
    """

    first: frozenset[bytes]
    last: frozenset[bytes]
    certain: frozenset[bytes]
    frequent: frozenset[bytes]
    lone: frozenset[bytes]


@lru_cache(maxsize=1)
def names() -> Names:
    """The name lists; some 90,000 words, read once."""
    from names import FILES

    first = {*_words(FILES["first:male"]), *_words(FILES["first:female"])}
    ranked = [word for word in _words(FILES["last"]) if word not in ORDINARY]
    last = set(ranked)
    certain = {word for word in first - AMBIGUOUS - ORDINARY if len(word) > 3} | _SHORT
    lone = {word for word in last - first - EPONYMS - LARGE - AMBIGUOUS if len(word) > 3}
    return Names(
        first=_both(first - ORDINARY),
        last=_both(last),
        certain=_both(certain),
        frequent=_both(ranked[:_FREQUENT]),
        lone=frozenset(word.capitalize() for word in lone if not is_word(word)),
    )


def _words(path: str) -> list[bytes]:
    """The first column of a Census file, in small letters and in its order: the commonest first."""
    return [line.split(None, 1)[0].lower() for line in Path(path).read_bytes().splitlines() if line.strip()]


def _both(words: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset(form for word in words for form in (word.capitalize(), word.upper()))


@lru_cache(maxsize=1)
def _dictionary() -> frozenset[bytes]:
    """Webster's Second International of 1934, out of copyright: its entries in small letters."""
    packed = (Path(__file__).parent / "words.txt.gz").read_bytes()
    return frozenset(gzip.decompress(packed).split())


def is_word(word: bytes) -> bool:
    """Whether a word, in small letters, is an English one: an entry, or a usual form of an entry."""
    entries = _dictionary()
    if word in entries or word in ORDINARY:
        return True
    if word[-1] not in _LAST_LETTERS:
        return False
    for ending in _ENDINGS:
        if word.endswith(ending):
            stem = word[: -len(ending)]
            if stem in entries or stem + b"e" in entries:
                return True
    return word.endswith(b"ies") and word[:-3] + b"y" in entries


@lru_cache(maxsize=1)
def _postal() -> tuple[frozenset[bytes], frozenset[bytes]]:
    """The Postal Service's cities and ZIP codes, read once; a look-up in the package takes a millisecond."""
    import zipcodes

    with no_collection():
        places = cast("list[dict[str, Any]]", zipcodes.list_all())  # pyright: ignore[reportUnknownMemberType]
        zipcodes._zips_cache = None  # pyright: ignore[reportPrivateUsage]  # 100 MB that nobody asks for again
        cities = frozenset(str(place["city"]).lower().encode("ascii", "ignore") for place in places)
        codes = frozenset(str(place["zip_code"]).encode() for place in places)
        del places
    return cities - ORDINARY - LARGE, codes


def cities() -> frozenset[bytes]:
    """US cities in small letters, without those that are ordinary words, countries or states."""
    return _postal()[0]


def is_zip(code: bytes) -> bool:
    """Whether five digits are a ZIP code in use."""
    return code in _postal()[1]
