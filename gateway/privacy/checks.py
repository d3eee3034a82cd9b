"""Validators: is this string of digits what it looks like? A failed check lowers confidence, no more.

Each takes the matched ASCII bytes, separators and all.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import date

from gateway.privacy import lexicon

_NOT_DIGIT = re.compile(rb"\D")
_NOT_WORD = re.compile(rb"\W")
_CARD_PREFIX = re.compile(
    rb"4|5[0-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[47]|3(?:0[0-5]|[689])|6(?:011|4[4-9]|5|2)|"
    rb"35(?:2[89]|[3-8])|50|5[6-9]|6"
)
_IBAN_LENGTH = {
    b"AD": 24, b"AE": 23, b"AL": 28, b"AT": 20, b"AZ": 28, b"BA": 20, b"BE": 16, b"BG": 22, b"BH": 22,
    b"BR": 29, b"CH": 21, b"CR": 22, b"CY": 28, b"CZ": 24, b"DE": 22, b"DK": 18, b"DO": 28, b"EE": 20,
    b"EG": 29, b"ES": 24, b"FI": 18, b"FO": 18, b"FR": 27, b"GB": 22, b"GE": 22, b"GI": 23, b"GL": 18,
    b"GR": 27, b"GT": 28, b"HR": 21, b"HU": 28, b"IE": 22, b"IL": 23, b"IQ": 23, b"IS": 26, b"IT": 27,
    b"JO": 30, b"KW": 30, b"KZ": 20, b"LB": 28, b"LC": 32, b"LI": 21, b"LT": 20, b"LU": 20, b"LV": 21,
    b"MC": 27, b"MD": 24, b"ME": 22, b"MK": 19, b"MR": 27, b"MT": 31, b"MU": 30, b"NL": 18, b"NO": 15,
    b"PK": 24, b"PL": 28, b"PS": 29, b"PT": 25, b"QA": 29, b"RO": 24, b"RS": 22, b"SA": 24, b"SE": 24,
    b"SI": 19, b"SK": 24, b"SM": 27, b"TN": 24, b"TR": 26, b"UA": 29, b"VA": 22, b"VG": 24, b"XK": 20,
}  # fmt: skip
_VIN_VALUE = {
    **{ord(str(digit)): digit for digit in range(10)},
    **dict(zip(b"ABCDEFGH", range(1, 9), strict=True)),
    **dict(zip(b"JKLMN", range(1, 6), strict=True)),
    ord("P"): 7,
    ord("R"): 9,
    **dict(zip(b"STUVWXYZ", range(2, 10), strict=True)),
}
_VIN_WEIGHT = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def digits(value: bytes) -> bytes:
    return _NOT_DIGIT.sub(b"", value)


def luhn(value: bytes) -> bool:
    """The mod-10 check of cards, NPIs and IMEIs."""
    total = 0
    for place, byte in enumerate(reversed(digits(value))):
        digit = byte - 48
        if place % 2:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return total % 10 == 0


def card(value: bytes) -> bool:
    """Luhn, a network's prefix and length, and not one digit over and over; read backwards as well."""
    number = digits(value)
    return _card(number) or _card(number[::-1])


def _card(number: bytes) -> bool:
    return (
        12 <= len(number) <= 19
        and len(set(number)) > 1
        and _CARD_PREFIX.match(number) is not None
        and luhn(number)
    )


def iban(value: bytes) -> bool:
    """A country's length and the mod-97 check."""
    code = _NOT_WORD.sub(b"", value).upper()
    if _IBAN_LENGTH.get(code[:2]) != len(code):
        return False
    return int("".join(str(int(chr(byte), 36)) for byte in code[4:] + code[:4])) % 97 == 1


def ssn(value: bytes) -> bool:
    """Area, group and serial that the administration can have issued."""
    number = digits(value)
    area = number[:3]
    return (
        len(number) == 9
        and area not in (b"000", b"666")
        and area < b"900"
        and number[3:5] != b"00"
        and number[5:] != b"0000"
        and len(set(number)) > 1
    )


def vin(value: bytes) -> bool:
    """The check digit of North American vehicle numbers, read backwards as well."""
    return _vin(value.upper()) or _vin(value.upper()[::-1])


def _vin(code: bytes) -> bool:
    if len(code) != 17 or any(byte not in _VIN_VALUE for byte in code):
        return False
    rest = sum(_VIN_VALUE[byte] * weight for byte, weight in zip(code, _VIN_WEIGHT, strict=True)) % 11
    return code[8:9] == (b"X" if rest == 10 else str(rest).encode())


def npi(value: bytes) -> bool:
    """The Luhn check of a National Provider Identifier, with its issuer's prefix."""
    number = digits(value)
    return len(number) == 10 and number[:1] in b"12" and luhn(b"80840" + number)


def dea(value: bytes) -> bool:
    """The checksum of a Drug Enforcement Administration number."""
    number = [byte - 48 for byte in value[-7:]]
    return (sum(number[0:6:2]) + 2 * sum(number[1:6:2])) % 10 == number[6]


def nhs(value: bytes) -> bool:
    """The mod-11 check of a British NHS number."""
    number = [byte - 48 for byte in digits(value)]
    if len(number) != 10:
        return False
    rest = 11 - sum(digit * weight for digit, weight in zip(number, range(10, 1, -1), strict=False)) % 11
    return number[9] == (0 if rest == 11 else rest)


def phone(value: bytes) -> bool:
    """As many digits as a number to dial has; a North American area and exchange where it has ten."""
    number = digits(value)
    return 6 <= len(number) <= 17 and len(set(number)) > 1


def dialled(value: bytes) -> bool:
    """A number to dial, and not two years: `2019-2020 office` is none."""
    return phone(value) and re.fullmatch(rb"(?:19|20)\d\d.{1,3}(?:19|20)\d\d", value) is None


def ipv4(value: bytes) -> bool:
    """Four octets, and not a version number; read backwards where forwards they are none."""
    parts = [int(part) for part in value.split(b".")]
    if max(parts) > 255:
        parts = [int(part) for part in value[::-1].split(b".")]
    return max(parts) < 256 and max(parts) > 9 and parts[0] > 0


def ipv6(value: bytes) -> bool:
    try:
        ipaddress.IPv6Address(value.decode("ascii"))
    except ValueError:
        return False
    return sum(byte != 58 for byte in value) > 3


def numeric_date(value: bytes) -> bool:
    """Day, month and year in any of the usual orders, all in range."""
    parts = [part for part in re.split(rb"\D+", value) if part]
    if len(parts) < 3:
        return False
    first, second, third = (int(part) for part in parts[:3])
    if len(parts[0]) == 4:
        return _is_day(first, second, third) or _is_day(first, third, second)
    year = third if len(parts[2]) == 4 else 2000 + third % 100
    return _is_day(year, first, second) or _is_day(year, second, first)


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return 1850 <= year <= 2150


def month_day(value: bytes) -> bool:
    """`3/14`: a month and a day of it, and not a score out of five or ten."""
    first, second = (int(part) for part in re.split(rb"\D", value)[:2])
    return 1 <= first <= 12 and 1 <= second <= 31 and second not in (5, 10)


def month_year(value: bytes) -> bool:
    month, year = (int(part) for part in re.split(rb"\D", value)[:2])
    return 1 <= month <= 12 and 1850 <= year <= 2150


def city(value: bytes) -> bool:
    return b" ".join(value.lower().split()) in lexicon.cities()


def specific_place(value: bytes) -> bool:
    """Whether what someone lives in can be a town: no ordinary word, no state or country."""
    words = value.lower().split()
    return words[0] not in lexicon.ORDINARY and b" ".join(words) not in lexicon.LARGE


def strange_place(value: bytes) -> bool:
    """Whether where someone went is a place no list need have: no word, state or country."""
    words = value.lower().split()
    if (
        value.isupper()
        or b" ".join(words) in lexicon.LARGE
        or words[0] in lexicon.LARGE
        or words[0] in lexicon.EPONYMS
    ):
        return False
    return not any(lexicon.is_word(word.removesuffix(b"'s")) for word in words)


def zip_code(value: bytes) -> bool:
    return lexicon.is_zip(value[:5])


def tumour_stage(value: bytes) -> bool:
    """`T2N1M0`, which a Canadian postal code may look like."""
    return re.fullmatch(rb"T[0-4]N[0-3]M[01]", value) is not None


def has_digit(value: bytes) -> bool:
    return any(48 <= byte <= 57 for byte in value)


def code(value: bytes) -> bool:
    """Whether what follows a label is long enough for a code, and not a year."""
    number = digits(value)
    if value == number and len(number) == 4 and number[:2] in (b"19", b"20"):
        return False
    return len(number) >= 3 or (len(number) == 2 and len(_NOT_WORD.sub(b"", value)) >= 4)


def letters_and_digits(value: bytes) -> bool:
    return has_digit(value) and any(byte >= 65 for byte in value)


def named_place(value: bytes) -> bool:
    """Whether a facility is called after someone or some city, rather than after what it does."""
    words = value.replace(b".", b"").split()
    if words[0] in (b"St", b"Saint", b"Mount", b"Mt", b"Our"):
        return True
    names = lexicon.names()
    first = words[0].removesuffix(b"'s")
    return first in names.certain or (
        first.lower() not in lexicon.ORDINARY and (first in names.last or first.lower() in lexicon.cities())
    )
