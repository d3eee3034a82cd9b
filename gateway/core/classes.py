"""Classes of data, from least to most protected.

The effective class of a dataset is the higher of declared and detected. "Nothing found" never
lowers anything; what lowers a class is an officer's signed determination, and nothing else.
"""

from __future__ import annotations

from enum import IntEnum


class DataClass(IntEnum):
    """`public` < `internal` < `confidential` < `pii` < `phi`; compare with `<` and `max`."""

    PUBLIC = 0
    INTERNAL = 1
    CONFIDENTIAL = 2
    PII = 3
    PHI = 4

    @classmethod
    def parse(cls, name: str) -> DataClass:
        """The class of that name.

        Raises:
            ValueError: the name is none of the five; the message lists them.
        """
        try:
            return cls[name.upper()]
        except KeyError:
            names = ", ".join(str(member) for member in cls)
            raise ValueError(f"{name!r} is not a data class; the classes are {names}") from None

    def __str__(self) -> str:
        return self.name.lower()
