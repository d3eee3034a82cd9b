# ruff: noqa: E501 - one rule a line reads as a table
"""The rules: what identifiers look like, how sure each look is, what nearby words and checks change.

Patterns are RE2 over folded text (ASCII, see `folding`), so they run in linear time and all at once.
A pattern's first group, where it has one, is what is found; the rest is its surroundings. None may
match the record separator `\\x1e`. A new rule is one entry here and a labelled line in the tests.

One pass looks for all rules at once, and the more of each it has to keep in mind, the slower it is: words of
any number after a digit, a gap of up to forty characters. So it looks for each rule's `sign`, which is shorter
and there wherever the rule matches (a test holds that), and the rule itself is looked for where its sign is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from gateway.privacy import checks, people

CONTEXT_GAIN = 0.35
CHECK_LOSS = 0.4
PIECE_LOSS = 0.3
_MOST = re.compile(r"(?<!\\)\{(\d+),\d+\}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One look of one type.

    Attributes:
        type: the finding's type.
        pattern: RE2.
        confidence: how sure a match is on its own.
        context: words that add `CONTEXT_GAIN` where one stands shortly before it, or in the column's name.
        check: a validator; failing it takes `CHECK_LOSS`.
        alone: must not be a piece of a longer number (`12-345-67`).
        hint: what is there wherever the pattern matches; empty for the pattern as it is, only without the
            most that its repetitions may have.
    """

    type: str
    pattern: str
    confidence: float
    context: frozenset[bytes] | None = None
    check: Callable[[bytes], bool] | None = None
    alone: bool = False
    hint: str = ""

    @property
    def sign(self) -> str:
        """What the pass over all rules looks for."""
        return self.hint or _MOST.sub(r"{\1,}", self.pattern)


def near(words: str) -> frozenset[bytes]:
    """Context words, in small letters."""
    return frozenset(words.encode().split())


_MONTH = (
    r"(?:[Jj]an(?:uary)?|[Ff]eb(?:ruary)?|[Mm]ar(?:ch)?|[Aa]pr(?:il)?|[Mm]ay|[Jj]une?|[Jj]uly?|[Aa]ug(?:ust)?|"
    r"[Ss]ept?(?:ember)?|[Oo]ct(?:ober)?|[Nn]ov(?:ember)?|[Dd]ec(?:ember)?|JAN(?:UARY)?|FEB(?:RUARY)?|"
    r"MAR(?:CH)?|APR(?:IL)?|MAY|JUNE?|JULY?|AUG(?:UST)?|SEPT?(?:EMBER)?|OCT(?:OBER)?|NOV(?:EMBER)?|DEC(?:EMBER)?)"
)
_FULL_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_ANY_MONTH = r"(?i:january|february|march|april|may|june|july|august|september|october|november|december)"
_MONTH_ABROAD = (  # Spanish, Portuguese, French, Italian, German; folded, so without accents
    r"(?i:enero|febrero|marzo|abril|mayo|junio|julio|agosto|sep?tiembre|octubre|noviembre|diciembre|janeiro|fevereiro|"
    r"marco|maio|junho|julho|setembro|outubro|novembro|dezembro|janvier|fevrier|mars|avril|mai|juin|juillet|aout|"
    r"septembre|octobre|novembre|decembre|gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre|"
    r"januar|februar|maerz|marz|juni|juli|oktober|dezember)"
)
_HOLIDAY = (
    r"(?:Christmas(?: Eve| Day)?|Thanksgiving(?: Day)?|New Year'?s?(?: Eve| Day)?|Easter(?: Sunday| Monday)?|Halloween|"
    r"Labor Day|Memorial Day|Independence Day|Valentine'?s Day|Mother'?s Day|Father'?s Day|Ash Wednesday|Good Friday)"
)
_ORDINAL = (
    r"(?i:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|thirteenth|"
    r"fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|twenty[- ](?:first|second|third|"
    r"fourth|fifth|sixth|seventh|eighth|ninth)|thirtieth|thirty[- ]first)"
)
_CARDINAL = (
    r"(?i:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
    r"seventeen|eighteen|nineteen|twenty(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?|thirty(?:[- ]one)?)"
)
_NUMBER_WORD = r"(?:oh?|hundred|thousand|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|(?:six|seven|eigh|nine)teen|ten|eleven|twelve|(?:thir|four|fif)teen|one|two|three|four|five|six|seven|eight|nine)"
_YEAR_WORDS = (
    r"(?:,? (?:of )?(?i:(?:nineteen|twenty|two thousand)(?:[ -](?:and[ -])?" + _NUMBER_WORD + r"){0,4}))?"
)
_STATE = (
    r"(?:AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|"
    r"OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|DC|PR)"
)
_STATE_NAME = (
    r"(?:Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|"
    r"Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|"
    r"Missouri|Montana|Nebraska|Nevada|New (?:Hampshire|Jersey|Mexico|York)|North (?:Carolina|Dakota)|Ohio|Oklahoma|"
    r"Oregon|Pennsylvania|Rhode Island|South (?:Carolina|Dakota)|Tennessee|Texas|Utah|Vermont|Virginia|Washington|"
    r"West Virginia|Wisconsin|Wyoming)"
)
_COMPASS = r"(?:(?:[NSEWnsew]|North|South|East|West|NE|NW|SE|SW)\.? )?"
_STREET = (
    r"(?i:street|st|avenue|ave|road|rd|boulevard|blvd|drive|dr|lane|ln|court|ct|place|pl|terrace|ter|parkway|pkwy|"
    r"highway|hwy|circle|cir|trail|trl|way|square|sq|crescent|cres|close|alley|row|mews|loop|turnpike|pike|plaza|"
    r"gardens?|grove|expressway|freeway|route|esplanade)"
)
_PLACE = r"(?:(?:St|Ft|Mt)\. )?[A-Z][A-Za-z'-]+(?: (?:of |the |de |la )?[A-Z][A-Za-z'-]+){0,2}"
_PERSON = r"[A-Z][A-Za-z'-]+(?: [A-Z]\b\.?)?(?:(?: (?:van|von|de|der|den|del|di|da|la|bin|al|el|dos)){0,2} [A-Z][A-Za-z'-]+){0,2}"
_IS = r"(?:[ \t.]*(?:is|was|are|of|num(?:ber)?|nos?|nbr|code|id|[:#=]|-)){0,4}[ \t:#=.\"']*"
_CODE = r"((?:[A-Za-z]{0,5}[-#]?|[A-Za-z]{1,3} )\d[A-Za-z0-9]*(?:[-./][A-Za-z0-9]+| \d{3,})*)"


def _labelled(type_: str, label: str, value: str = _CODE, *, confidence: float) -> Rule:
    """A code that its label gives away: `MRN: 44-12-87`, `policy number is ZX 9912`."""
    return Rule(type_, rf"(?i)\b(?:{label})(?:\b|[ :]){_IS}{value}\b", confidence, check=checks.code)


PHONE_WORDS = near(
    "answer answers answering office phone telephone tel cell mobile call calls contact reach number dial texted pager "
    "ph home work voicemail whatsapp sms"
)
DATE_WORDS = near(
    "on date dated dob birth birthday birthdate born since admitted discharge discharged seen scheduled until expires "
    "expiry due started visit appointment surgery lmp between and from dos died death"
)
CARD_WORDS = near("card visa mastercard amex credit debit cc charge payment discover maestro pay")
ID_WORDS = near("patient subject person user customer client member participant mrn encounter")
SSN_WORDS = near("ssn ss social ssns tin itin taxpayer")

RULES: tuple[Rule, ...] = (
    # -- numbers that say themselves what they are
    Rule("ssn", r"(?i)\b(?:ssn|social(?: security)?(?: number| no\.?| #)?|ss ?#|itin)" + _IS + r"(\d{3}[- ]?\d{2}[- ]?\d{4})\b", 0.95, check=checks.ssn),
    Rule("ssn", r"(?i)\b(?:ssn|social(?: security)?)\b[^\x1e\n.]{0,24}?(?:last (?:four|4)|ending(?: in)?|ends in|xxx-?xx-?)[^\x1e\n\d]{0,12}(\d{4})\b", 0.8, hint=r"(?i)(?:last (?:four|4)|ending|ends in|xxx-?xx-?)"),
    Rule("ssn", r"(?i)\blast (?:four|4)(?: digits)?(?: of)?[^\x1e\n.\d]{0,24}(?:ssn|social)[^\x1e\n.\d]{0,16}(\d{4})\b", 0.8),
    Rule("iban", r"\b[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?\b", 0.85, near("iban bank account transfer wire"), checks.iban),
    Rule("email", r"\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+){0,5}\.[A-Za-z]{2,24}\b", 0.95),
    Rule("email", r"(?i)\b[a-z0-9][a-z0-9._-]{1,40} ?(?:\(at\)|\[at\]| at ) ?[a-z0-9-]{2,40} ?(?:\(dot\)|\[dot\]| dot ) ?(?:com|org|net|edu|gov|io|co)\b", 0.75, hint=r"(?i)(?:\(dot\)|\[dot\]| dot ) ?(?:com|org|net|edu|gov|io|co)\b"),
    Rule("url", r"(?i)\b(?:https?|ftp|sftp|file|s3|gs)://[^\s\x1e<>\"')\]]{3,}", 0.8),
    Rule("url", r"(?i)\bwww\.[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:/[^\s\x1e<>\"')\]]*)?", 0.8),
    Rule("url", r"(?:^|[^@\w.-])([A-Za-z0-9][A-Za-z0-9-]{1,62}(?:\.[A-Za-z0-9-]{2,63}){0,3}\.(?:com|org|net|edu|gov|mil|info|biz|io|health|me|us|uk|ca|de|fr|eu|it|es|nl|ch|at|dk|se|pl|ru|cn|jp|in|br|au|xyz|app|dev|online|site|club|tv|cc)\b(?:/[^\s\x1e<>\"')\]]*)?)", 0.55),
    Rule("ip", r"(?i)\b[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7}(?:[0-9a-f]|\b)", 0.85, near("ip ipv6 address host"), checks.ipv6),
    Rule("device", r"(?i)\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\b", 0.8, near("mac device address")),
    Rule("device", r"\(01\)\d{14}(?:\(\d{2}\)[A-Za-z0-9]+)*", 0.95),
    Rule("vehicle", r"\b[A-HJ-NPR-Z0-9]{17}\b", 0.8, near("vin vehicle car truck"), lambda v: checks.vin(v) and checks.letters_and_digits(v)),
    Rule("license", r"\b[ABCDEFGHJKLMPRSTUX][A-Z9]\d{7}\b", 0.8, near("dea license licence prescriber"), checks.dea),
    Rule("license", r"(?i)\bnpi" + _IS + r"(\d{10})\b", 0.95, check=checks.npi),
    Rule("health_plan", r"\b[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y]{2}\d{2}\b", 0.85),
    Rule("other_id", r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", 0.4, ID_WORDS),
    Rule("other_id", r"\b(?:bc1|[13])[a-km-zA-HJ-NP-Z0-9]{25,39}\b", 0.3, near("bitcoin btc wallet crypto"), checks.letters_and_digits),
    Rule("unknown_content", r"\bdata:[a-z]+/[a-zA-Z0-9.+-]+;base64,[A-Za-z0-9+/=]+", 0.99),
    Rule("device", r"(?i)\b(?:pacemaker|implant|icd|pump|prosthesis|stent|monitor|cgm|device|defibrillator|valve|lead|medtronic|stimulator|aid)\b[^\x1e\n.;]{0,32}?\b(?:model|serial|s/n|sn|ref|lot)(?: number| no\.?| #|:)? ?#?([A-Za-z]{0,5}-?\d[A-Za-z0-9-]{2,}|[A-Za-z]\d[A-Za-z0-9-]+)\b", 0.8, check=checks.letters_and_digits),
    Rule("device", r"(?i)\blot:? ?#?([a-z0-9-]{5,15})\b", 0.65, check=checks.letters_and_digits),
    Rule("license", r"\bDL:? ?#?([A-Z]\d{2,4}[- ]?\d{3,4}[- ]?\d{2,6}(?:[- ]\d{2,4})?)\b", 0.8),
    # -- phones and fax
    Rule("fax", r"(?i)\b(?:fax|facsimile)\b[^\x1e\n\d+(]{0,40}(\+?[\d(][\d ().-]{5,18}\d)\b", 0.95, check=checks.phone),
    Rule("phone", r"\b(\d[\d .-]{5,14}\d)(?: |-|, ?| ?\()(?i:office|fax|cell|mobile|home|work|direct|pager)\b", 0.6, None, checks.dialled, alone=True),
    Rule("phone", r"(?i)\bext\.? ?#?(\d{3,6})\b", 0.6),
    # -- dates, and ages over 89
    Rule("date", r"(?i)\b(?:on|dated?|since|until|before|after|by|seen|from|admitted|discharged|dob:?|visit|follow[- ]?up|f/u|due|appt|appointment|surgery|dos|lmp|started|ended|through|again|returned)(?: on)?:? (\d{1,2}/\d{1,2})(?:[^/\w%]|$)", 0.65, None, checks.month_day, alone=True, hint=r" \d\d?/\d"),
    Rule("date", r"\b" + _MONTH + r"\.? (?:the )?\d{1,2}(?:st|nd|rd|th)?(?:(?:, ?| )(?:19|20)\d{2})?\b", 0.7, DATE_WORDS),
    Rule("date", r"\b\d{1,2}(?:st|nd|rd|th)?(?: of)?[ -]" + _MONTH + r"(?:\.?,?[ -](?:(?:19|20)\d{2}|\d{2}))?\b", 0.75, DATE_WORDS),
    Rule("date", r"(?i)\b\d{1,2}(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)(?:19|20)?\d{2}\b", 0.85),
    Rule("date", r"\b" + _MONTH + r"\.?,? (?:of )?(?:(?:19|20)\d{2}|'\d{2})\b", 0.8),
    Rule("date", r"\b" + _ANY_MONTH + r" (?:the )?" + _ORDINAL + _YEAR_WORDS + r"\b", 0.8),
    Rule("date", r"\b(?i:the )?" + _ORDINAL + r" (?:day )?(?:of )?" + _FULL_MONTH + _YEAR_WORDS + r"\b", 0.8),
    Rule("date", r"\b(?i:the )" + _ORDINAL + r" (?i:day )?(?i:of )" + _ANY_MONTH + _YEAR_WORDS + r"\b", 0.8),
    Rule("date", r"\b" + _FULL_MONTH + r" " + _CARDINAL + _YEAR_WORDS + r"\b", 0.6),
    Rule("date", r"\b(?i:in|since|last|this|next|of|until|early|late|mid|during|around|by)[ -](?:(?i:early|late|mid)[ -])?(" + _FULL_MONTH + r")\b", 0.55),
    Rule("date", r"\b\d{1,2}\.?(?: de| di)? " + _MONTH_ABROAD + r"(?:,?(?: del?| di)? (?:19|20)\d{2})?\b", 0.75, DATE_WORDS),
    Rule("date", r"\b" + _HOLIDAY + r",? (?:of |in )?(?:19|20)\d{2}\b", 0.8),
    Rule("age", r"(?i)\b((?:9\d|1[01]\d)[- ]?(?:years?|yrs?|y)[-. ]*(?:olds?|of age))\b", 0.95),
    Rule("age", r"(?i)\b((?:9\d|1[01]\d)[- ]?y\.?[/ ]?o\.?[mf]?)\b", 0.95),
    Rule("age", r"(?i)\b(?:aged?|age is|age of|ages|turned|turning|turns) ?[:=]? ?(9\d|1[01]\d)\b", 0.85, alone=True),
    Rule("age", r"(?i)\b(?:(?:he|she|patient|grandmother|grandfather|mother|father|who) (?:is|was)|i'm|i am) (9\d|1[01]\d)(?:[.,;?!\n]| and| now| years)", 0.6),
    Rule("age", r"\b[A-Z][a-z]+, (9\d|1[01]\d), ", 0.6),
    Rule("age", r"\b((?:9\d|1[01]\d)[ -]?[MF])\b", 0.55),
    Rule("age", r"(?i)\b((?:ninety|one hundred|a hundred)(?:[- ](?:and[- ])?(?:one|two|three|four|five|six|seven|eight|nine))?[- ]years?[- ](?:olds?|of age))\b", 0.95),
    Rule("age", r"(?i)\b(?:aged?|age is|turned|turning|she is|he is|she's|he's|i'm|i am|(?:she|he) was) (ninety(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?)\b", 0.75),
    Rule("age", r"(?i)\b(?:in (?:her|his|their)(?: (?:early|mid|late))? )(nineties|90'?s)\b", 0.8),
    Rule("age", r"(?i)\b(centenarian|nonagenarian)\b", 0.7),
    Rule("age", r"(?i)\b(?:died|deceased|passed away|passed|lived|alive)(?: at| to| to be|,)(?: (?:the )?age(?: of)?)? (9\d|1[01]\d)\b", 0.85, alone=True),
    Rule("vehicle", r"\b[Tt]ag (?:is |number |no\.? ?|#)?([A-Z]{2,4}[- ]?\d{3,4})\b", 0.65),
    Rule("vehicle", r"\b[Pp]lates? (?:is |was |reading )?(?:[A-Z]{2} )?([A-Z0-9]{2,4}[- ]?[A-Z0-9]{2,4})\b", 0.7, None, checks.letters_and_digits),
    # -- codes that a label gives away
    Rule("mrn", r"(?i)\b(?:mrn|mr ?#) ?\d{4,}\b", 0.97),
    _labelled("mrn", r"mrn|m\.r\.n\.?|mr ?#|mr no\.?|hosp\.? ?(?:#|no\.?)|med(?:ical)?\.? rec(?:ord)?s?|chart(?: number| no\.?| #| id)|patient(?: id| number| no\.?| #| identifier)|pt\.? (?:id|no\.?|#)|hospital (?:number|no\.?|id)|unit (?:number|no\.)|urn|emr(?: id| number| #)|epic id|record (?:number|no\.|#)", confidence=0.89),
    _labelled("health_plan", r"member(?:ship)?(?: id| number| no\.?| #)?|subscriber(?: id| number| no\.?| #)?|policy(?: id| number| no\.?| #)?|polic(?:y|yholder)(?: number| id| #)|beneficiary(?: id| number)?|insurance(?: id| number| no\.?| #| policy| member)|medicare(?: id| number| no\.?| #)?|medicaid(?: id| number| no\.?| #)?|group (?:number|no\.?|#|id)|health plan(?: id| number)?|hicn|mbi|payer id|plan id|nhs(?: number| no\.?)?", confidence=0.89),
    _labelled("account", r"account(?: number| no\.?| #| id)?|acct\.?(?: number| no\.?| #)?|a/c|billing (?:number|id)|invoice(?: number| no\.?| #)?|routing(?: number| no\.?)?|sort code|guarantor (?:number|id)|har|bank (?:number|account)", confidence=0.89),
    _labelled("license", r"(?:driver'?s?'?|driving|medical|nursing|pharmacy|state|professional|rn|md) licen[sc]e(?: number| no\.?| #)?|licen[sc]e(?: number| no\.?| #)|d\.?l\.?(?: number| no\.?| #)|dea(?: number| no\.?| #)?|certificate(?: number| no\.?| #)|passport(?: number| no\.?| #)?|upin", confidence=0.89),
    _labelled("vehicle", r"licen[sc]e plate(?: number| no\.?)?|number plate|plate (?:number|no\.?|#)|tag number|registration(?: number| plate| no\.?)|vehicle (?:id|number|tag)", value=r"([A-Z0-9]{1,4}[- ]?[A-Z0-9]{2,5})", confidence=0.89),
    _labelled("vehicle", r"vin(?: number| no\.?| #)?|vehicle identification number", value=r"([A-HJ-NPR-Za-hj-npr-z0-9]{11,17})", confidence=0.89),
    _labelled("device", r"serial(?: number| no\.?| num\.?| #)?|s/n|sn|device (?:id|identifier|number|serial)|udi(?:-di)?|lot (?:number|no\.?|#)|lot[:#]|imei|model (?:number|no\.?|#)|(?:pacemaker|implant|icd|pump|prosthesis|stent|monitor|cgm|lead) (?:id|serial|number|model|sn|s/n)(?: number| no\.?)?|ref(?:erence)? #", confidence=0.89),
    _labelled("other_id", r"encounter(?: id| number| no\.?| #)?|visit (?:id|number|no\.?|#)|csn|fin|accession(?: id| number| no\.?| #)?|specimen(?: id| number| no\.?| #)|case (?:id|number|no\.?|#)|claim(?: id| number| no\.?| #)|study (?:id|number)|subject(?: id| number| no\.?| #)|participant(?: id| number)|employee(?: id| number| no\.?| #)|badge(?: id| number| no\.?| #)|student (?:id|number)|order (?:id|number|no\.?|#)|authorization(?: id| number| no\.?| #)|referral (?:id|number|no\.?|#)|prescription (?:number|no\.?|#)|rx ?#|(?:case|ticket|confirmation|tracking|reference|transaction|donor|biobank|requisition|military|service) (?:id|number|no\.?|#)|pin(?: code| number)?|passcode|(?:fingerprint|retinal?(?: scan)?|iris|voice ?print|biometric|template|sample|kit|barcode|wristband|bracelet|profile|research|trial) id|national (?:id|insurance)(?: number| no\.?)?|tax id|ein|id(?: number| no\.?| ?#)", confidence=0.89),
    Rule("other_id", r"(?i)\b(?:user ?name|user ?id|login(?: name)?|screen name|handle)[:=]? ?(?:is )?([a-z][a-z._-]{1,30}\d[a-z0-9._-]*)\b", 0.8),
    # -- places
    Rule("address", r"\b\d{1,6}[A-Za-z]?(?:-\d{1,5})?(?: " + _COMPASS + r"[A-Z0-9]|, " + _COMPASS + r"[A-Z])[A-Za-z0-9'.-]*,? (?:[A-Z0-9][A-Za-z0-9'.-]*,? ){0,3}?" + _STREET + r"\b\.?(?:,? (?:(?i:apt|apartment|suite|ste|unit|floor|room|rm)\.? ?#?|#)[A-Za-z0-9-]+)?", 0.8, near("at address live lives reside resides resided street to")),
    Rule("address", r"\b\d{1,6} (?:[a-z0-9][a-z0-9'.-]* ){1,3}(?:street|avenue|ave|road|boulevard|blvd|lane|court|drive|terrace|parkway|highway|crescent)\b", 0.6, near("at address live lives reside resides resided to"), hint=r" (?:street|avenue|ave|road|boulevard|blvd|lane|court|drive|terrace|parkway|highway|crescent)\b"),
    Rule("address", r"(?:^|[^0-9 ]|[^0-9] )\b([A-Z][a-z'-]+(?: [A-Z][a-z'-]+)? (?:Street|Avenue|Road|Boulevard|Blvd|Lane|Parkway|Highway))\b", 0.65),
    Rule("address", r"\b(?:APO|FPO|DPO|apo|fpo|dpo),? (?:A[AEP]|a[aep]) \d{5}\b", 0.9),
    Rule("address", r"(?i)\b(?:unit|psc|cmr) \d{1,5},? box \d{1,5}\b", 0.9),
    Rule("address", r"(?i)\b(?:p\.? ?o\.?|post office) ?box ?#?\d+\b", 0.9),
    Rule("address", r"(?i)\b(?:apt|apartment|suite)\.? ?#?(\d{1,5}[A-Za-z]?)\b", 0.6, near("at address live lives reside resides resided street st ave avenue road rd drive")),
    Rule("address", r"(?i)\b(?:(?:my|his|her|their|the|home|mailing|billing|shipping|new|current|'s) address(?: is| to|:| as|'s)*|address:|live[sd]? at|living at|reside[sd]? at|located at|ship(?:ped)? (?:it )?to|deliver(?:ed)? to|mail(?:ed)? (?:it )?to|house at)[ \n]+([A-Za-z]{0,12} ?\d{1,6}[^\x1e;?!\"]{4,70}[^\x1e;?!\s\"])", 0.75),
    Rule("address", r"(?i)\b(?:rua|rue|via|calle|avenida|strada|ulica|ul\.|plaza|piazza|viale|avda\.?|c/|paseo|praca|place|boulevard|chemin|impasse|allee) [^\x1e\n\d]{2,40}?,? \d{1,5}\b", 0.6),
    Rule("address", r"\b[A-Z][A-Za-z-]{3,30}(?:strasse|straat|gasse|weg|platz|laan|vej|gatan|vagen|gata|veien|plein|katu|tie|gade|alle|utca|ulice)n? \d{1,5}[A-Za-z]?\b", 0.8),
    Rule("address", r"\b\d{1,5} (?:[A-Za-z'.-]+ )*[A-Za-z-]{3,30}(?:strasse|straat|gasse|weg|platz|laan|plaats|plein|hof|steeg|dreef|baan)\b", 0.7, hint=r"(?:strasse|straat|gasse|weg|platz|laan|plaats|plein|hof|steeg|dreef|baan)\b"),
    Rule("address", r"\b((?:\d{1,5}[A-Za-z]?,? )+(?:[A-Za-z][A-Za-z'.-]+ ?){1,5}(?:\d{1,5}[A-Za-z]?)?)[,.]? ?[\n,]? ?>? ?(?i:apt|apartment|suite|ste|unit)\.? ?#?\d{1,5}[A-Za-z]?\b", 0.75, hint=r"(?i:apt|apartment|suite|ste|unit)\.? ?#?\d"),
    Rule("address", r"\b((?:[A-Z][A-Za-z'.-]+ ){1,5}\d{1,5}[A-Za-z]?)[,.]? ?[\n,]? ?>? ?(?i:apt|apartment|suite|ste|unit)\.? ?#?\d{1,5}[A-Za-z]?\b", 0.75, hint=r"(?i:apt|apartment|suite|ste|unit)\.? ?#?\d"),
    Rule("geography", r"\b(?i:apt|apartment|suite|ste|unit|box)\.? ?#?\d{1,5}[A-Za-z]?\n[> ]{0,3}([A-Z][^\x1e\n\d,]{1,30})(?:[,\n]|$)", 0.65),
    Rule("geography", r"\b(?i:apt|apartment|suite|ste|unit|box)\.? ?#?\d{1,5}[A-Za-z]?\n[^\x1e\n]{2,40}\n(?:[> ,]{0,3}\n)?[^\x1e\n\d]{0,36}\b(\d{4,6})\b", 0.65),
    Rule("geography", r"\b(?:" + _PLACE + r",? )?" + _STATE + r"\.?,?\s+\d{5}(?:-\d{4})?\b", 0.95),
    Rule("geography", r"\b" + _STATE_NAME + r",?\s+\d{5}(?:-\d{4})?\b", 0.85),
    Rule("geography", r"\b(" + _PLACE + r"), " + _STATE + r"\b(?:[^ ]| [^0-9]|$)", 0.85, None, checks.city),
    Rule("geography", r"\b(" + _PLACE + r"), " + _STATE_NAME + r"\b", 0.85, None, checks.city),
    Rule("geography", r"(?i)\b(?:zip|zip ?code|postal code|post ?code)\b" + _IS + r"(\d{5}(?:-\d{4})?|[a-z]{1,2}\d[a-z\d]? ?\d[a-z]{2}|[a-z]\d[a-z] ?\d[a-z]\d)\b", 0.9),
    Rule("geography", r"\b(?:[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2})\b", 0.65),
    Rule("geography", r"\b[ABCEGHJ-NPRSTVXY]\d[A-Z] ?\d[A-Z]\d\b", 0.65, None, lambda v: not checks.tumour_stage(v)),
    Rule("geography", r"(?i:\b(?:lives?|lived|living|resid(?:es?|ed|ing)|moved|born|raised|grew up|relocated|stationed|hometown|home (?:city|town)|based)(?: back| up| out| down)? (?:in|from|to|at|near|of|is) |\boriginally from |\bnative of |\b(?:city|town|village|county) of |\bresident of )(" + _PLACE + r")\b", 0.7, None, checks.specific_place),
    Rule("geography", r"\b(?:[Ii]n|[Ff]rom|[Tt]o|[Aa]t|[Nn]ear|[Vv]isited|[Vv]isiting) ([A-Z][a-z]+(?: [A-Z][a-z]+)?)\b", 0.6, None, checks.city),
    Rule("geography", r"(?i:\b(?:i'm|i am|(?:she|he)(?: is|'s)|we(?: are|'re)|they(?: are|'re)|arriv(?:ed|ing|es)|stay(?:ed|ing)?|landed|flew|fly|flying|drove|driving|travel(?:l?ed|l?ing|s)?|trip|visit(?:ed|ing)?|vacation(?:ing)?|moved|came|coming|wedding|conference|stationed|retired|mayor|suburb|outskirts|residents?|native)(?: here| back| down| over| up| out| there)? (?:in|at|to|from|of) )(" + _PLACE + r")\b", 0.6, None, checks.strange_place),
    Rule("geography", r"\b([A-Z][a-z]+(?: [A-Z][a-z]+)?) (?:County|Parish|Township|Borough)\b", 0.7),
    Rule("geography", r"\b((?:[A-Z][A-Za-z'.]+[ -]){1,4}(?:Hospital|Medical Cent(?:er|re)|Clinic|Health Cent(?:er|re)|Nursing Home|Rehab(?:ilitation)?(?: Center)?|Infirmary|Hospice|University|College|High School|Elementary School|Middle School|Church|Care Center|Health System|Pharmacy|Shelter|Assisted Living|Prison|Correctional Facility))\b", 0.75, None, checks.named_place),
    # -- names that their surroundings give away (pairs and single names: `people`)
    Rule("name", r"\b(?:Drs?|Mrs?|Ms|Miss|Mister|Mx|Profs?|DR|MR|MRS|MS|Rev|Hon|Sgt|Capt|Lt|Sen|Gov|Mme|Sra?|Herr|Frau)\.? (" + _PERSON + r")", 0.85, None, people.person),
    Rule("name", r"\b(?:Doctor|Professor|Nurse|Sister|Father|Reverend|Judge|Officer|Captain|Sergeant|Aunt|Auntie|Uncle|Grandma|Grandpa|Pastor|Coach|President|Senator|Mayor|Detective|Lady|Lord|Sir|Dame|Prince|Princess|Rabbi|Deacon) (" + _PERSON + r")", 0.75, None, people.person),
    Rule("name", r"\b(?:dr|mr|mrs|ms|mister)\.? ([a-z]{3,20})\b", 0.7, None, people.surname),
    Rule("name", r"(?i:\bmy name is|\bmy name's|\bname's|\bi am called|\bcalls? me|\bgoes by|\bis named|\bnamed|\bnames? ?(?:is|:)|\bsincerely,?|\bregards,?|\bdear|\bby name of|\baka)[ \t\n]+(" + _PERSON + r")", 0.7, None, people.person),
    Rule("name", r"(?i:\bsigned(?: electronically| digitally)?(?: by)?:?|\battn:?|\bc/o|\bper|\bscribed by|\bdictated by|\breviewed by|\bseen by|\breferred by|\b(?:spoke|discussed|met) (?:to|with|w/)|\bthis is|\bi'm|\bi am|\bnee|\bthanks,|\bhi,?|\bhello,?)[ \t\n]+(" + _PERSON + r")", 0.7, None, people.pair),
    Rule("name", r"(?i)\b(?:my name is|name's|my full name is|(?:his|her|patient|patient's|last|first|full|middle|maiden|mother's maiden) name(?: is|:))[ \t]+([a-z][a-z'-]+(?: [a-z][a-z'-]+)?)", 0.75, None, people.person),
    Rule("name", r"(?i:\b(?:patient|pt|client|subject|resident|wife|husband|spouse|son|daughter|mother|mom|father|dad|brother|sister|partner|friend|neighbou?r|boss|roommate|girlfriend|boyfriend|fiancee?|cousin|nephew|niece|grandson|granddaughter|grandmother|grandfather|caregiver|nurse|therapist|guardian|emergency contact|next of kin|pcp|physician|surgeon|provider|attending|oncologist|cardiologist|counsel(?:l)?or|midwife)(?:'s name is|,| is| was| named)? )(" + _PERSON + r")", 0.7, None, people.known),
    Rule("name", r"(?i:\b(?:patient|pt|client|subject|resident|name|provider|physician|surgeon|attending|pcp|author|nurse|contact|next of kin|guardian):) ?([A-Z][A-Za-z'-]+(?: [A-Z]\b\.?)? [A-Z][A-Za-z'-]+)\b", 0.75, None, people.known),
    Rule("name", r"\b([A-Z][a-z'-]+(?: [A-Z]\b\.?)? [A-Z][A-Za-z'-]+),? (?:MD|M\.D\.|DO|D\.O\.|RN|R\.N\.|NP|PA-C|Ph\.?D\.?|DDS|LCSW|PharmD|FNP|APRN|ARNP|CRNA|DPM|OD|LPN|CNM|RPh|DVM|MPH|Esq|Jr|Sr|III)\b", 0.85, None, people.person),
    Rule("name", r"\b([A-Z][a-z'-]+)(?: had| has| have| then| also| never| was| who)? (?:said|says|asked|told|shouted|replied|spent|lives|lived|moved|married|divorced|works|worked|wrote|died|born|spoke|called|agreed|complained|complains|had given|reports|reported|denies|denied|states|stated|presents|presented|endorses|endorsed|admits|underwent|tolerated|drove|fell)\b", 0.6, None, people.stranger),
    Rule("name", r"\b([A-Z][a-z'-]+)'s (?:wife|husband|mother|father|mom|dad|son|daughter|brother|sister|parents|family|friend|boss|address|phone|number|birthday|email|house|home|room|chart|appointment|account|car|job)\b", 0.6, None, people.stranger),
    Rule("name", r"(?i:\b(?:wife|husband|spouse|son|daughter|mother|mom|father|dad|brother|sister|aunt|uncle|cousin|niece|nephew|partner|friend|neighbou?r|roommate|girlfriend|boyfriend|fiancee?|grandson|granddaughter|grandmother|grandfather|caregiver)(?:(?:,|:|'s name is| is| named)? | \())([A-Z][a-z'-]+)\b", 0.6, None, people.stranger),
    Rule("name", r"(?i:\b(?:nok|next of kin|emergency contact|health care proxy|poa|contact person)(?: is|:|,)? )(" + _PERSON + r")", 0.7, None, people.pair),
    Rule("name", r"\b([A-Z][a-z'-]+(?: (?:al-)?[A-Z][A-Za-z'-]+)?) was (?:brought|intubated|extubated|admitted|readmitted|discharged|transferred|hospitali[sz]ed|sedated|born)\b", 0.6, None, people.newcomer),
    Rule("name", r"\b(?:[A-Z]\. ?){1,2}([A-Z][A-Za-z'-]+),? (?:MD|M\.D\.|DO|D\.O\.|RN|R\.N\.|NP|PA-C|Ph\.?D\.?|DDS|LCSW|PharmD|FNP|APRN|CRNA)\b", 0.8, None, people.person),
    Rule("name", r"(?i:\b(?:hi|hello|hey|dear|thanks|thank you|good (?:morning|afternoon|evening)|welcome(?: back)?|goodbye|bye)(?: again)?,? )([A-Z][a-z'-]+)(?:[,.!?\n]|$)", 0.6, None, people.stranger),
    Rule("name", r"\b([A-Z][a-z'-]+(?:, [A-Z][a-z'-]+)*,? (?:and|&) [A-Z][a-z'-]+)\b", 0.6, None, people.listed),
    Rule("name", r"(?:^|[\s(,;:/>\"'])((?:[A-Z]\. ?){1,2}[A-Z][a-z'-]{2,})\b", 0.6, None, people.surname),
)  # fmt: skip
