"""What models call what they find, in our words."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.errors import SettingsError

# A label is looked up by its letters alone, in capitals, without the B-, I-, E- or S- before
# them. Labels under "" identify nobody: a time of day, a sum, a nationality. Employers do, by 164.514(b)(2).
_BY_TYPE = {
    "name": "PER PERSON NAME PATIENT DOCTOR STAFF HCW PHYSICIAN NURSE RELATIVE USERNAME FIRSTNAME LASTNAME"
    " MIDDLENAME GIVENNAME SURNAME FULLNAME PREFIX SUFFIX NAMEPATIENT NAMEDOCTOR NAMEUSERNAME",
    "geography": "LOC LOCATION GPE CITY COUNTY COUNTRY ZIP ZIPCODE POSTCODE POSTALCODE FAC FACILITY HOSP"
    " HOSPITAL LOCATIONOTHER LOCATIONCITY LOCATIONZIP LOCATIONHOSPITAL LOCATIONCOUNTRY COORDINATE"
    " NEARBYGPSCOORDINATE",
    "address": "ADDRESS STREET STREETADDRESS SECONDARYADDRESS BUILDINGNUMBER BUILDING LOCATIONSTREET ROOM",
    "date": "DATE DOB BIRTHDATE DATEOFBIRTH",
    "age": "AGE",
    "phone": "PHONE PHONENUMBER TELEPHONE TELEPHONENUM CONTACT CONTACTPHONE PHONEIMEI",
    "fax": "FAX CONTACTFAX",
    "email": "EMAIL EMAILADDRESS CONTACTEMAIL",
    "ssn": "SSN SOCIALNUM SOCIALSECURITYNUMBER",
    "mrn": "MRN MEDICALRECORD MEDICALRECORDNUMBER IDMEDICALRECORD",
    "health_plan": "HEALTHPLAN HEALTHPLANNUMBER IDHEALTHPLAN",
    "account": "ACCOUNT ACCOUNTNUM ACCOUNTNUMBER ACCOUNTNAME BIC BITCOINADDRESS ETHEREUMADDRESS"
    " LITECOINADDRESS",
    "license": "LICENSE LICENSENUM DRIVERLICENSE DRIVERLICENSENUM IDLICENSE",
    "vehicle": "VEHICLE VEHICLEVIN VEHICLEVRM IDVEHICLE",
    "device": "DEVICE MAC IDDEVICE",
    "url": "URL CONTACTURL",
    "ip": "IP IPV IPADDRESS CONTACTIPADDR",
    "iban": "IBAN",
    "card": "CREDITCARD CREDITCARDNUMBER CREDITCARDCVV MASKEDNUMBER",
    "other_id": "ID IDNUM IDNUMBER IDCARDNUM TAXNUM BIOID IDBIOID IDIDNUM PASSPORT PASSWORD PIN OTHER"
    " OTHERPHI PHI PII ORG ORGANIZATION ORGANISATION COMPANY COMPANYNAME EMPLOYER PATORG VENDOR"
    " LOCATIONORGANIZATION PROFESSION OCCUPATION JOB JOBTITLE USERAGENT",
    "": "O MISC TIME NORP MONEY PERCENT QUANTITY CARDINAL ORDINAL LANGUAGE LAW EVENT PRODUCT WORKOFART AMOUNT"
    " CURRENCY CURRENCYCODE CURRENCYNAME CURRENCYSYMBOL CREDITCARDISSUER GENDER SEX EYECOLOR HEIGHT STATE"
    " LOCATIONSTATE ORDINALDIRECTION JOBAREA JOBTYPE",
}
_LABELS = {label: kind for kind, labels in _BY_TYPE.items() for label in labels.split()}


def types_of(labels: Sequence[str], place: str) -> list[str]:
    """What each of a model's labels is called here; empty for one that identifies nobody.

    Raises:
        SettingsError: a label is not in our table, or none of them identifies anybody.
    """
    plain = ["".join(filter(str.isalpha, _without_prefix(label))).upper() for label in labels]
    unknown = [label for label, known in zip(labels, plain, strict=True) if known not in _LABELS]
    if unknown:
        raise SettingsError(
            f"nobody has said what these labels mean: {', '.join(sorted(unknown)[:8])}",
            place=place,
            fix="in its config.json, call each PER, LOC, DATE or ID; or O where it identifies nobody",
        )
    if not any(_LABELS[label] for label in plain):
        raise SettingsError("no label of this model identifies anybody", place=place)
    return [_LABELS[label] for label in plain]


def _without_prefix(label: str) -> str:
    return label[2:] if label[:2] in ("B-", "I-", "E-", "S-", "L-", "U-", "M-") else label
