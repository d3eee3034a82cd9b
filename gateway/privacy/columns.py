"""What the name of a column or key says that its value is."""

from __future__ import annotations

import re
from collections.abc import Iterator

_KEYS: dict[str, tuple[str, float]] = {
    "mrn": ("mrn", 0.95),
    "medicalrecordnumber": ("mrn", 0.95),
    "patientid": ("mrn", 0.9),
    "patientnumber": ("mrn", 0.9),
    "patientmrn": ("mrn", 0.95),
    "name": ("name", 0.6),
    "fullname": ("name", 0.9),
    "firstname": ("name", 0.9),
    "givenname": ("name", 0.9),
    "middlename": ("name", 0.9),
    "lastname": ("name", 0.9),
    "familyname": ("name", 0.9),
    "surname": ("name", 0.9),
    "maidenname": ("name", 0.9),
    "patientname": ("name", 0.95),
    "patient": ("name", 0.5),
    "provider": ("name", 0.5),
    "physician": ("name", 0.5),
    "doctor": ("name", 0.5),
    "author": ("name", 0.5),
    "dob": ("date", 0.95),
    "birthdate": ("date", 0.95),
    "dateofbirth": ("date", 0.95),
    "ssn": ("ssn", 0.95),
    "socialsecuritynumber": ("ssn", 0.95),
    "phone": ("phone", 0.9),
    "phonenumber": ("phone", 0.9),
    "telephone": ("phone", 0.9),
    "mobile": ("phone", 0.8),
    "fax": ("fax", 0.9),
    "email": ("email", 0.9),
    "address": ("address", 0.85),
    "streetaddress": ("address", 0.95),
    "street": ("address", 0.85),
    "addressline": ("address", 0.9),
    "city": ("geography", 0.8),
    "county": ("geography", 0.8),
    "zip": ("geography", 0.9),
    "zipcode": ("geography", 0.9),
    "postalcode": ("geography", 0.9),
    "postcode": ("geography", 0.9),
    "account": ("account", 0.7),
    "accountnumber": ("account", 0.9),
    "memberid": ("health_plan", 0.9),
    "subscriberid": ("health_plan", 0.9),
    "policynumber": ("health_plan", 0.9),
    "insuranceid": ("health_plan", 0.9),
    "license": ("license", 0.5),
    "licensenumber": ("license", 0.9),
    "npi": ("license", 0.9),
    "vin": ("vehicle", 0.9),
    "licenseplate": ("vehicle", 0.9),
    "deviceid": ("device", 0.9),
    "serialnumber": ("device", 0.9),
    "ip": ("ip", 0.8),
    "ipaddress": ("ip", 0.95),
    "encounterid": ("other_id", 0.8),
    "subjectid": ("other_id", 0.8),
    "visitid": ("other_id", 0.8),
    "hadmid": ("other_id", 0.8),
    "chartnumber": ("mrn", 0.9),
    "age": ("age", 0.9),
    "patientage": ("age", 0.9),
    "ageyears": ("age", 0.9),
    "fname": ("name", 0.85),
    "lname": ("name", 0.85),
    "forename": ("name", 0.9),
    "nextofkin": ("name", 0.8),
    "emergencycontact": ("name", 0.7),
    "contactname": ("name", 0.8),
    "mothersmaidenname": ("name", 0.9),
    "providername": ("name", 0.9),
    "physicianname": ("name", 0.9),
    "doctorname": ("name", 0.9),
    "birthday": ("date", 0.95),
    "dateofdeath": ("date", 0.95),
    "deathdate": ("date", 0.95),
    "dod": ("date", 0.8),
    "admissiondate": ("date", 0.9),
    "admitdate": ("date", 0.9),
    "dischargedate": ("date", 0.9),
    "visitdate": ("date", 0.9),
    "dateofservice": ("date", 0.9),
    "cellphone": ("phone", 0.9),
    "homephone": ("phone", 0.9),
    "workphone": ("phone", 0.9),
    "mobilephone": ("phone", 0.9),
    "faxnumber": ("fax", 0.9),
    "emailaddress": ("email", 0.9),
    "homeaddress": ("address", 0.95),
    "mailingaddress": ("address", 0.95),
    "birthplace": ("geography", 0.8),
    "placeofbirth": ("geography", 0.8),
    "hometown": ("geography", 0.8),
    "lat": ("geography", 0.8),
    "latitude": ("geography", 0.9),
    "lon": ("geography", 0.8),
    "lng": ("geography", 0.8),
    "longitude": ("geography", 0.9),
    "mbi": ("health_plan", 0.9),
    "medicareid": ("health_plan", 0.9),
    "medicaidid": ("health_plan", 0.9),
    "nhsnumber": ("health_plan", 0.9),
    "deanumber": ("license", 0.9),
    "driverslicense": ("license", 0.9),
    "driverlicense": ("license", 0.9),
    "platenumber": ("vehicle", 0.9),
    "passport": ("other_id", 0.8),
    "passportnumber": ("other_id", 0.9),
    "nationalid": ("other_id", 0.9),
}
_SURE_OF_PARTS = 0.8  # `patient` and `account` have other things below them than names and numbers
_PARTS_OF_NAMES = frozenset(("first", "last", "middle", "given", "family"))
_OLD, _OLDEST = 89, 125  # ages up to the first tell nobody apart, by HIPAA's rule; the second nobody reaches
_NUMBERED = frozenset(
    (
        "mrn",
        "ssn",
        "phone",
        "fax",
        "account",
        "health_plan",
        "license",
        "vehicle",
        "device",
        "ip",
        "other_id",
        "date",
    )
)


def key_type(key: str) -> tuple[str, float] | None:
    """What a column's or key's name says that its value is: (type, confidence)."""
    return _KEYS.get(re.sub(r"[^a-z]", "", key.lower()))


def part_type(key: str, above: tuple[str, float] | None) -> tuple[str, float] | None:
    """What a key says that its value is, below another key: `{"dob": {"year": 1931}}`.

    Args:
        above: what the other one says of all that stands below it.
    """
    told = key_type(key)
    if told is not None or above is None:
        return told
    sure = above[1] >= _SURE_OF_PARTS or (above[0] == "name" and key.lower() in _PARTS_OF_NAMES)
    return above if sure else None


IN_TEXT = r'"[A-Za-z][A-Za-z0-9_ .-]{1,40}"\s*:\s*["0-9]'
"""A key with its value, in JSON that is a text, such as a tool call's arguments."""
_PAIR = re.compile(rb'"([A-Za-z][A-Za-z0-9_ .-]{1,40})"\s*:\s*(?:"([^"\\\x1e]{2,160})"|([0-9][0-9.]*))')


def pairs(text: bytes, start: int, end: int) -> Iterator[tuple[int, int, str, float]]:
    """Values that their keys give away, in JSON within a text: (start, end, type, confidence)."""
    for match in _PAIR.finditer(text, start, end):
        told = key_type(match[1].decode("ascii"))
        group = 2 if match[2] is not None else 3
        if told is not None and fits_key(told[0], match[group]):
            yield *match.span(group), *told


def fits_key(kind: str, text: bytes) -> bool:
    """Whether a value can be what its key says; `name: get_weather` and `patient: see note` are not."""
    if not 1 < len(text) <= 160:
        return False
    if kind in _NUMBERED:
        return any(48 <= byte <= 57 for byte in text)
    if kind == "age":
        years = re.match(rb"\d{2,3}(?![\d/])", text.strip())
        return years is not None and _OLD < int(years[0]) <= _OLDEST
    if kind == "name":
        return re.fullmatch(rb"(?:[A-Z][A-Za-z.'-]*,?(?: |$)){1,5}", text.strip()) is not None
    return True
