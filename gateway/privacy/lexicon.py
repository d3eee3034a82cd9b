# ruff: noqa: E501 - word lists
"""Words the rules look up: names and places from public-domain lists, and our own lists of ordinary words.

Names are the US Census's lists of 1990 (in the `names` package), cities and ZIP codes those of the
Postal Service (in `zipcodes`). Both are read on first use. Words are ASCII bytes, as folding makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

# First names (and surnames) that are also words, months, places, brands or drugs: alone they prove nothing.
AMBIGUOUS = frozenset(
    b"""abbey ada ahmed ai aide al allegra alpha alta alto amber america an angel angle ann april arden art
    asia aspen augusta august aura austin autumn ave avery bambi bao basil bea beau bee bell belle berry
    bert bill bishop blaine blair blanca blanche blossom bo bob bonita booker boyce brain brand brandy britt
    brook brooke brooks bud buddy buena bunny burl burt camellia candida candy carlton carmine carol carolina
    carry carter case casey cash cedrick cello chan chance chanel charity chas chase chastity chelsea cherish
    cherry cheyenne chi chin china chong christ christen christian christmas chung cicely cinderella clair
    clay cleo cliff clifton clinton clint clora clove coleman colt columbus concepcion contessa cookie cora
    coral cordia coral corey cortez count courtney creola cruz crystal curt cyst daily dagger daisy dale dallas
    damon dane darling dawn day dean deb dee deja delta denim denver desire destiny diamond dick diego dixie
    do dollie dolly domingo domino don dong dora dot dove drew drum duke dusty dwight earl early easter ebony
    echo eden ela else elm elvis em emerald ester eve ever evette fairy fallon faith farm fawn fe fern fleet
    flo flora florida florence forest forrest foster francisco frank freda fran france francis fred fritz gale
    galen gavin gay gaylord gem general genesis geneva genie genny georgia german germany gia gil ginger glen
    glenn glory golden grace grant green gus guy ha hai hal halo han hang harmony harvest haven hayden hazel
    heath heather heaven helix herb hiram hoa holly homer honey hong honor hope houston hue hugo hung hunter
    ian ice ima in independence india indiana ines inga ingrid iris irish iron isa island israel ivory ivy
    ja jack jackson jade jae jama jan jane january jar jasmine jasper jay jazmin jean jen jenna jersey jess
    jesus jewel jewell jimmy joe jordan joseph joy juan judge jules july june junior justice justin ka kai
    kaiser kala kam karma keel keen kelly kelvin ken kenya kermit khan kia kim king kip kirk kit kitty kum la
    lady lai lamb lan lance lane laser lashes lauren laurel lavender lawn layne le leaf lean leather lee leigh
    len leo leon les lesley levi lexie li liberty lien light lilac lily lim lima lin line ling link lisa loan
    lois london long lora loren lorena lou love lovely loyd lu lucas luck luke luna luz lyndon lyn ma mac mack
    madison mae magic magnolia maia mai major male mammie man manual manuela many maple march margarita
    maria marina marine marion marquis mark marlin marry marsh marshall marta mary maryland mason mathew maud
    max may maya mayo mee mel melodie melody melon mercedes mercy merle merlin merri merry mi mia micah mickey
    mike miles milan milford milo min mina mindy ming ministry minor minh mira mirage mirth miss missy misty mo
    modesta modesto mohawk moira moises mona monet montana monte morgan morton moss mr mrs my myrtle na nan
    nana nat nathan neal nelson neva nevada nickel nicky nevus noble noel nona noon normal norman nova novella
    numbers octavia odd odell ok oleander olive oliver ollie oma omega omer opal ora orange ora orlando oscar
    pa page paige palm palma palmer pam pan pansy paris parker pasty pat patience patria patsy pearl peg penny
    perry pet petal pete petra petunia philadelphia phoenix pia pierce piper polly pope porsche porter portia
    precious precise price prince princess providence prudence queen queenie rae rain ramona randy raven ray
    reed reginald reid rena rene renata reta rex rey rhea rich rick rico riley rio ripley rita river rob robin
    robot rocco rocky rod roman rome romeo rory rosa rosalie rosario rose roscoe rosy ross roy royal royce ruby
    rudy rue run rush russ russell rusty ruth sadie sage sal sam san sandy sanford sang santa santana santiago
    santo santos savanna savannah saint scot scotland scott scotty sea season see selma sena september serena
    serenity seth shad shade shae shan shannon sharp shawn shea shelby shelly shelton sherman sherry sherwood
    shin shirley sid sidney sierra signe silver silvia sina sky skye so sol soledad soledad solomon so son song
    soo soon sophia spain spencer spring stacy stan stanford star starr stella sterling steven stewart storm
    stormy stu su sue sugar sum summer sun sunday sung sunny sunshine suzi sydney ta tad tai tam tamar tan tana
    taylor tea tempie temple teri terra terry tess texas theo thing thu tia tiara tien tiffany tin tina tiny
    tobi toi tommy toney toni tori trac tracy tran travis tree tressa trey trinity trinidad troy tuan tula tu
    twila ty tyler tyrone un val vale valencia valentine valery valium valley valor van vella velvet venetta
    venice venus vera verge verna vernon victoria vienna vi vida view vina viola violet virgil virginia vita
    vito von vonda wade walker walter wan ward warner warren washington way wayne wes wesley weston white will
    willow wilson windy winter woodrow xi yan yang yen yi ying yoko yon york young yu yuri zada zandra zena
    zion zola zora august april december february november october wen jin jung le no to dr ms md do the
    wonda patch pot hip shot pill gum tran ira hsa pap stat mri doctor nurse patient""".split()
)
# Words that begin sentences, head sections or fill forms; never part of a name when capitalised.
ORDINARY = frozenset(
    b"""a about abdomen abdominal able above abnormal absent access account active activity acute add
    additional address adjust administration admission admit adult advance advise after afternoon age agency
    aid alert alcohol all allergies allergy already also although always am ambulance american an and anemia
    ankle annual another answer antibiotic anxiety any anyone anything anyway apartment application
    appointment april are area arm arms arthritis article as asian ask aspirin assess assessment assistant
    asthma at attached attorney august avenue avoid away back bank based basic be because bed been before
    began begin behavioral being below best better between big bilateral bill billing biopsy birth black
    bleeding blood board body bone book both bowel box brain breast breath breathing brief bring brother building
    business but by call calls can cancel cancer card cardiac cardiology cardiovascular care caregiver carotid
    case cat cause cell center central cervical chair change chart check chest chief child children chronic
    church city class clear clinic clinical close code cold college colon come common community company
    complaint complete complications concern condition confirm consent consider consult consultation contact
    continue contract copy coronary corporate cost could counseling count county course court cousin cover
    coverage create credit critical culture current customer cut daily data date daughter david's day days
    death december decision deep delivery denies dental department depression dermatology description detail
    determine develop device diabetes diagnosis diagnostic did diet different difficulty digital direct director
    discharge discuss disease district do doctor document does done dose down dress drive drug drugs due during
    each ear ears early east education effective either elbow elderly electric electronic email emergency
    employee employer end english enter estate evaluation even evening every everyone everything exam examination
    example except exercise express external extremities eye eyes face facility factor failure fall family far
    fasting father february federal feel feeling fellow female fever few field file final find fine first five
    floor fluid follow following food foot for form found four fracture free friday friend from front full
    function further future gave general genetic genitourinary get girl give given glucose go goal going gone good
    got government grade grand great group growth guidelines had hair half hand happy hard has have he head
    health hear hearing heart heat height hello help hematology hepatitis her here hey hi high him hip his history
    hold home hopefully hospital hospitalist hot hotel hour house how however human hypertension i if ill
    imaging immediate immunization impression improve in include increase independent index infection
    information initial injection injury inpatient insulin insurance intake intensive intermittent internal international
    interval intravenous is issue issues it its january job joint july june just keep kidney kind know lab laboratory
    language large last late lateral law left leg legs let letter level license life lift like limited line lipid list
    little liver living local long look loss lot low lower lumbar lung lungs mail main make male manager many
    march married mass may maybe me meal mean medical medicare medicaid medication medications medicine meet
    member memory men mental message middle mild military minutes mobile moderate modern monday money month months more
    morning most mother motor mouth mr mrs ms much multiple muscle my name national native nausea near neck need
    negative nerve neuro neurologic neurological neurology never new news next nice night nine no none normal north
    nose not note notes nothing november now number nurse nursing objective obstructive october of off
    office officer often oh ok okay old on once oncology one only open operation operative or oral order
    organization orthopedic other others our out outpatient over oxygen page pain pancreatic panel parent
    part past patient patients payment peace pediatric pelvic people per percent perfect perhaps period
    peripheral person personal pharmacy phone physical physician piece place plan please plus pm point police
    policy positive possible post postoperative pounds power practice pregnancy pregnant prescription present pressure
    prevention previous primary prior private problem problems procedure professor program progress
    project prostate provider psychiatric psychiatry public pulmonary pulse question questions quick quite radiology
    range rate read ready really reason recent record red reference referral referred regarding region regular
    rehabilitation related release renal repeat report request research resident residual respiratory rest restart
    result results return review right risk road room routine run safe safety said same saturday say says schedule
    school science screening sea second section secretary security see seen september series serum service
    services set seven several severe she short shortness should shoulder show side sign signed signs
    since sincerely sinus sir sister six skin sleep slow small smith's smoking so social society soft some someone
    something sometimes son soon sorry sound south special specialist spine spoke staff stage standard start state states
    station statement status steps still stomach stop store street stress stroke strong study subjective such suite
    sunday support sure surgeon surgery surgical switch symptoms syndrome system systems table tablet take talk team tell
    temperature ten test tests than thank thanks that the their them then therapist therapy there these they thing
    things think third this those though three through throat thursday thyroid time times to today together
    told tomorrow tonight too total transfer trauma travel treatment tree trial tuesday tumor two type ultrasound
    under unit united university unknown unless until up update upon upper urgent urinary urine urology us use used
    usual vaccine valve vascular vein venous very veteran video virus visit vital vitamin vitals wait want was water
    way we wednesday week weeks weight well went were west what when where whether which while white who whole why
    wife will window with within without woman women word work worker would wound wrist write x year years yes
    yesterday yet you your zero dear hi hello thank nurse regards best hey guest client subject re cc from family guest
    xyz abc abcd mostly around bye hm sample uh um uhm yeah yep nope hmm mhm huh wow aw ah oops alright sure okay ma'am i'm i'll i've i'd it's that's there's what's let's don't can't didn't""".split()
) - {b"david's", b"smith's"}
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
# Names that stand for a disease, a sign, a device or a test when such a word follows, or is understood.
EPONYM_AFTER = (
    rb"(?:'s?|s')?[ -](?:[a-z]+[ -]){0,2}(?:disease|syndrome|sign|palsy|test|score|scale|criteria|disorder|dementia|"
    rb"lymphoma|sarcoma|tumou?r|carcinoma|catheter|duct|node|nodes|cyst|phenomenon|reflex|maneuver|manoeuvre|"
    rb"fracture|contracture|procedure|operation|classification|stain|murmur|ulcer|virus|triad|law|line|lines|"
    rb"thyroiditis|esophagus|oesophagus|anemia|anaemia|ataxia|chorea|encephalopathy|granulomatosis|lesion|"
    rb"deformity|hernia|lithotomy|position|clamp|forceps|retractor|bandage|splint|drain|tube|pump|index|formula|"
    rb"equation|stage|staging|nodule|spots?|body|bodies|cell|cells|gland|fascia|ligament|tendon|purpura|dystrophy|"
    rb"neuropathy|amyotrophy|paralysis|angina|aneurysm|thrombosis|keratosis|nevus|melanoma|vaccine|diet|stitch|"
    rb"incision|repair|flap|graft|shunt|valve|antigen|titer|questionnaire|inventory|assessment|coma)"
)


@dataclass(frozen=True, slots=True)
class Names:
    """Name lists, each in the forms `Mary` and `MARY`.

    Attributes:
        first: every first name.
        last: every surname of the list that is no ordinary word.
        certain: first names that mean nothing else, so that one alone is a finding.
    """

    first: frozenset[bytes]
    last: frozenset[bytes]
    certain: frozenset[bytes]


@lru_cache(maxsize=1)
def names() -> Names:
    """The name lists; some 90,000 words, read once."""
    from names import FILES

    first = _words(FILES["first:male"]) | _words(FILES["first:female"])
    last = _words(FILES["last"]) - ORDINARY
    certain = {word for word in first - AMBIGUOUS - ORDINARY if len(word) > 3}
    return Names(_both(first - ORDINARY), _both(last), _both(certain))


def _words(path: str) -> set[bytes]:
    """The first column of a Census file, in small letters."""
    return {line.split(None, 1)[0].lower() for line in Path(path).read_bytes().splitlines() if line.strip()}


def _both(words: set[bytes]) -> frozenset[bytes]:
    return frozenset([word.capitalize() for word in words] + [word.upper() for word in words])


@lru_cache(maxsize=1)
def cities() -> frozenset[bytes]:
    """US cities in small letters, without those that are ordinary words, countries or states."""
    import zipcodes

    places = cast("list[dict[str, Any]]", zipcodes.list_all())  # pyright: ignore[reportUnknownMemberType]
    found = {str(place["city"]).lower().encode("ascii", "ignore") for place in places}
    return frozenset(found - ORDINARY - LARGE)


@lru_cache(maxsize=65536)
def is_zip(code: str) -> bool:
    """Whether five digits are a ZIP code in use."""
    import zipcodes

    return bool(zipcodes.is_real(code))  # pyright: ignore[reportUnknownMemberType]
