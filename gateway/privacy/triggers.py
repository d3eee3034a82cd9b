# ruff: noqa: E501 - one alphabet a line reads as a table
"""What makes a text worth a second look: patterns of what may be encoded, for the engine's own pass.

A trigger is no finding: it leads to `encodings`, and what that reads is read by the same rules as everything
else. Text that no trigger matches costs nothing more.
"""

from __future__ import annotations

# Four characters of base64 that stand for three of printable ASCII, and the same read backwards: words hardly
# ever fit three times in a row, so that a pattern may ask for it anywhere.
_A, _B = "[I-Za-f]", "[C-HS-Xi-nyz0-3]"
_C, _D = "[ABEFIJMNQRUVYZcdghklopstwx014589]", "[A-Za-z0-9+/_-]"
_QUAD, _DAUQ = _A + _B + _C + _D, _D + _C + _B + _A
_LAST, _TSAL = f"{_A}(?:[AQgw]==|{_B}[048AEIMQUYcgkosw]=)", f"=(?:=[AQgw]|[048AEIMQUYcgkosw]{_B}){_A}"
_WIDE = "[I-Za-f][AQgw][AB][A-Za-z0-9+/]A[C-H][048AEIMQUYcgkosw]A"  # the same of UTF-16
_EDIW = "A[048AEIMQUYcgkosw][C-H]A[A-Za-z0-9+/][AB][AQgw][I-Za-f]"
# Ascii85 of printable ASCII begins each group of five with one of these; one more is no part of a number.
_FIRST, _OTHER = "[+-I]", "[!-',;-u]"
_FIVE = f"(?:{_OTHER}[!-u]{{3}}|[!-u]{_OTHER}[!-u][!-u]|[!-u][!-u]{_OTHER}[!-u]|[!-u]{{3}}{_OTHER})"
_BEFORE = r"(?:^|[\s\"'(:=~])"
_HEX, _XEH = "[2-7][0-9A-Fa-f]", "[0-9A-Fa-f][2-7]"

ESCAPES = "|".join(
    (
        r"&#[xX]?[0-9a-fA-F]{2,7}|&[A-Za-z]{2,8}[0-9]{0,2};",
        r"%[2-7][0-9A-Fa-f]|%[0-9A-Fa-f]{2}%[0-9A-Fa-f]{2}|%u[0-9A-Fa-f]{4}",
        r"""\\(?:u\{?[0-9A-Fa-f]{2}|U00|x[0-9A-Fa-f]{2}|[0-3][0-7]{2}|[nrtbf"'/\\])""",
        r"[A-Za-z]=[2-7][0-9A-F][A-Za-z]|=[0-9A-F]{2}=[0-9A-F]{2}|=\r?\n|[A-Za-z0-9]\+[A-Za-z0-9]",
        r"\bU\+[0-9A-F]{4}",
    )
)
BLOBS = "|".join(
    (
        rf"\b(?:{_D}{{4}})?(?:{_QUAD}){{3}}|\b{_QUAD}{_LAST}|\b{_WIDE}",
        rf"\b(?:0x)?(?:{_HEX}){{6}}|\b[0-9A-Fa-f]{{16}}|\b{_HEX}(?:[ :,-]+(?:0x)?{_HEX}){{5}}",
        r"\b[0-9A-Fa-f]{2}(?:[ :][0-9A-Fa-f]{2}){11}",
        r"\b[A-Z2-7]{7,}=|\b[A-Z2-7]{16}",
        rf"{_BEFORE}(?:[!-u]{{5}})?{_FIRST}{_FIVE}{_FIRST}[!-u]{{4}}|<~|~>",
        rf"{_BEFORE}[!-u]{{0,4}}(?:{_FIVE}{_FIRST}){{2,}}[\s\x1e\"')~,.]",
        r"\b\d{2,3}(?:[ ,;]+\d{2,3}){5}|[01]{8} ?[01]{8} ?[01]{8}",
        r"(?:^|\s)[!-z]{40}",
    )
)
_BETWEEN = (r"\.", "_", r"\*", r"\|", "~", "/", ",", "-")
SPACED = r"(?:^|[\s\"'(:=])(?:[!-~] {1,7}){4}[!-~][\s\x1e\"').,;:?!]|" + "|".join(
    rf"\b[A-Za-z0-9](?:{sep}{{1,3}}[ -~]){{3}}|[!-~](?:{sep}[ -~]){{5}}" for sep in _BETWEEN
)
BACKWARDS = "|".join(
    (
        r"\b[a-z]{2,}[A-Z]\b",
        r"\b(?i:nss|nrm|bod|eman|tneitap|eht|enohp|liame|sserdda|htrib|rebmun|srm|yeht|htiw)\b",
        r"\b(?i:moc|gro|ten|ude|vog)\.[A-Za-z0-9-]|//:s?ptth",
        r"\b\d{4}[-.]\d\d[-.]\d{3}\b|\b\d{4}[-. ]\d{3}[-. ]\d{3}\b|\d{4}[-. ]\d{3} ?\)\d{3}\(|\b\d\d(?:91|02)[-/.]\d{1,2}[-/.]\d{1,2}\b",
        r"\b[A-Z0-9]{11,30}\d\d[A-Z]{2}\b",
        rf"\b[A-Za-z0-9+/_-]{{0,3}}(?:{_DAUQ}){{3}}|{_TSAL}{_DAUQ}|\b[A-Za-z0-9+/]{{0,7}}{_EDIW}",
        rf"\b(?:{_XEH}){{6,}}(?:x0)?\b|\b{_XEH}(?: {_XEH}){{5}}|=[A-Z2-7]{{7,}}[E-P]\b|\b[A-Z2-7]{{15,}}[E-P]\b",
        r"[0-9a-fA-F]{2}[xX]?#&|[0-7]{3}\\[0-7]{3}\\|[0-9A-Fa-f][2-7]%(?:[0-9A-Fa-f]{2}%|$)|[0-9A-Fa-f]{4}u\\|[0-9A-Fa-f]{2}x\\|[0-9A-F]{2}=[0-9A-F]{2}=",
    )
)
TRIGGERS = (ESCAPES, BLOBS, SPACED, BACKWARDS)

_WORDS_BACKWARDS = r"\b(?i:nss|nrm|bod|eman|tneitap|eht|enohp|liame|sserdda|htrib|rebmun|srm|yeht|htiw)\b"
NEARLY = "|".join(
    (
        r"[a-z][A-Z]|[0-9][A-Za-z]|[A-Za-z][0-9]|[0-9]{8}|[A-Z]{14}|[01]{8}",
        r"""[\\%&=+~<][A-Za-z0-9#"'/\\~\r\n]|~>|#&|[A-Za-z0-9][#$%*;>?@\[\]^`!][!-u]|"\s*:""",
        r"(?:^|[\s\"'(:=])[!-~] {1,7}[!-~] {1,7}[!-~] |[!-~][._*|~/,-]{1,3}[ -~][._*|~/,-]{1,3}[ -~][._*|~/,-]",
        r"\d\d[ ,;-]+\d\d[ ,;]|\d{4}[-.]\d\d[-.]|\d{4}[-. ]\d{3}|\d\d(?:91|02)[-/.]|//:s?ptth",
        r"\b(?i:moc|gro|ten|ude|vog)\.|" + _WORDS_BACKWARDS,
    )
)
"""Matches wherever a trigger could: looked for first, since it takes a fraction of the time."""
