"""What stands in for an identifier: of the same type, the same for the same value, and nobody's.

Two looks. Phones, e-mail, web and network addresses come from ranges that are reserved for fiction and
documentation, since a model should learn their form and nobody owns them. Everything else is a mark
such as `[NAME-KQBTM]`: whoever reviews a sample sees at once what was replaced, so that a name which is
not in brackets is a leak, and nobody's real name is printed by accident.

A value's code is a keyed hash under the subject's scope: nothing is remembered, so the memory is flat,
rows may come in any order, and without the key a code cannot be guessed or joined across subjects.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowel and no Y: no code is a word, a name or a number
_CODE_LETTERS = 5  # 3.2 million codes a subject
_SUBJECT_LETTERS = 12  # one code a subject of the whole dataset: no two may meet
_LABELS = {
    "health_plan": "PLAN",
    "other_id": "ID",
    "geography": "PLACE",
    "unknown_content": "CONTENT",
}
_PLACES = ("geography", "address")
_RESERVED = ("phone", "fax", "email", "url", "ip")
# Three-digit ZIP areas of 20,000 people or fewer: the seventeen of the guidance to 45 CFR 164.514(b)(2)(i)(B)
# (Census 2000), and 205 and 369, which later counts added.
_RESTRICTED = "036 059 063 102 203 205 369 556 692 790 821 823 830 831 878 879 884 890 893"
RESTRICTED_ZIP3 = frozenset(_RESTRICTED.split())
_ZIP_AT_END = re.compile(r"(?:(?:^|,? )([A-Z]{2})\b\.?)?,?\s*(?<!\d)(\d{5})(?:-\d{4})?$")
_UNIT = "one|two|three|four|five|six|seven|eight|nine"
_AGE = re.compile(rf"(?i)\d{{2,3}}|(?:ninety|one hundred|a hundred)(?:[- ](?:and[- ])?(?:{_UNIT}))?\b")
_code = f"[{_LETTERS}]{{{_CODE_LETTERS}}}"
_MADE = re.compile(
    rf"\[[A-Z]+(?:-(?:{_code})+|-[{_LETTERS}]{{{_SUBJECT_LETTERS}}}|-90\+)+\]"
    rf"|[(]?\d{{3}}[)]?[-. ]*555[-. ]*01\d\d"
    rf"|{_code.lower()}@example\.org|https://example\.org/{_code.lower()}"
    r"|198\.1[89]\.\d{1,3}\.\d{1,3}|2001:db8:[0-9a-f:]+|90\+|\d{3}\*\*|(?:[A-Z]{2} )\d{3}\*\*"
)
_DIALLED = re.compile(r"[0-9 ().+-]+")
AGE_90 = "90+"


def is_made(kind: str, text: str) -> bool:
    """Whether a text is wholly a stand-in of ours, which needs no other."""
    if kind in _PLACES and re.fullmatch(r"\d{1,3}", text):  # a ZIP area where a number must stand
        return True
    return _MADE.fullmatch(text.strip()) is not None


class Surrogates:
    """Stand-ins for the identifiers of one subject.

    Args:
        key: the secret; the same key gives the same stand-ins.
        scope: what the subject is called: a group's value, or a record's own digest.
    """

    def __init__(self, key: bytes, scope: str) -> None:
        self._key, self._scope = key, scope

    def stand_in(self, kind: str, text: str) -> str:
        """What replaces a text of this type."""
        if kind == "age":
            return _AGE.sub(AGE_90, text, count=1) if _AGE.search(text) else AGE_90
        if kind in _RESERVED:
            return self._reserved(kind, text)
        if kind in _PLACES and (zip_code := _ZIP_AT_END.search(text)):
            return self._with_zip(kind, text, zip_code)
        return self._mark(kind, text)

    def number(self, kind: str, text: str) -> str:
        """Digits alone, for a field that holds a number: of the same length, except for ages and ZIPs."""
        if kind == "age":
            return AGE_90.rstrip("+")
        if kind in _PLACES and len(text) == 5:
            return zip3(text).lstrip("0") or "0"
        if kind in ("phone", "fax") and len(text) == 10:
            return self._phone(text)
        digits = max(len(text), 1)
        return "9" + str(self._draw("number", text)).zfill(digits)[-digits + 1 :] if digits > 1 else "9"

    def subject(self) -> str:
        """What the whole subject is called, wherever in the dataset it stands."""
        return f"[SUBJECT-{self._letters('subject', '', _SUBJECT_LETTERS)}]"

    def subject_number(self) -> int:
        """The same as a number of fifteen digits, which JSON holds exactly."""
        return 10**14 + self._draw("subject", "") % (9 * 10**14)

    def weeks(self) -> int:
        """By how many weeks the subject's dates are shifted: one to fifty-two, to either side. Whole
        weeks, because a weekday that stands beside a date would otherwise tell the shift."""
        drawn = self._draw("weeks", "") % 104
        return drawn - 52 if drawn < 52 else drawn - 51

    def _mark(self, kind: str, text: str) -> str:
        label = _LABELS.get(kind) or re.sub(r"[^A-Z]", "", kind.upper()) or "ID"
        words = re.split(r"[\s,]+", text) if kind == "name" else [text]
        codes = [self._letters("value", word, _CODE_LETTERS) for word in words if plain(word)]
        return f"[{'-'.join([label, *codes])}]" if codes else f"[{label}-{self._letters('value', text, 5)}]"

    def _reserved(self, kind: str, text: str) -> str:
        if kind in ("phone", "fax"):
            return self._phone(text)
        if kind == "ip" and ":" not in text:
            drawn = self._draw("value", text)
            return f"198.{18 + drawn % 2}.{drawn // 2 % 256}.{drawn // 512 % 256}"
        if kind == "ip":
            drawn = self._draw("value", text)
            return f"2001:db8:{drawn % 65536:x}:{drawn // 65536 % 65536:x}::1"
        code = self._letters("value", text, _CODE_LETTERS).lower()
        return f"{code}@example.org" if kind == "email" else f"https://example.org/{code}"

    def _phone(self, text: str) -> str:
        """A number of the range 555-0100 to 555-0199, in the original's form where it has ten digits."""
        drawn = self._draw("value", text)
        number = f"{200 + drawn % 800}55501{drawn // 800 % 100:02}"
        if not _DIALLED.fullmatch(text) or sum(char.isdigit() for char in text) != len(number):
            return f"{number[:3]}-{number[3:6]}-{number[6:]}"
        digits = iter(number)
        return "".join(next(digits) if char.isdigit() else char for char in text)

    def _with_zip(self, kind: str, text: str, found: re.Match[str]) -> str:
        before = text[: found.start()].strip(" ,")
        parts = [self._mark(kind, before)] if before else []
        return " ".join([*parts, *filter(None, [found[1]]), f"{zip3(found[2])}**"])

    def _letters(self, what: str, text: str, count: int) -> str:
        drawn, letters = self._draw(what, text), list[str]()
        for _ in range(count):
            drawn, at = divmod(drawn, len(_LETTERS))
            letters.append(_LETTERS[at])
        return "".join(letters)

    def _draw(self, what: str, text: str) -> int:
        message = "\0".join((what, self._scope, plain(text) or text)).encode(errors="surrogatepass")
        return int.from_bytes(hmac.digest(self._key, message, hashlib.sha256), "big")


def zip3(code: str) -> str:
    """The first three digits of a ZIP code; 000 where too few people live there."""
    return "000" if code[:3] in RESTRICTED_ZIP3 else code[:3]


def plain(text: str) -> str:
    """A value as it is compared: `(615) 322-1234` is `615.322.1234`, `SMITH's` is `Smith`."""
    folded = unicodedata.normalize("NFKD", text).casefold().replace("\u2019", "'").removesuffix("'s")
    return "".join(char for char in folded if char.isalnum())
