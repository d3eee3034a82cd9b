"""Classes of data, from least to most protected.

"Nothing found" never lowers anything; what lowers a class is an officer's signed determination, and
nothing else (`effective_class`, the one place where that is written).
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


def effective_class(
    declared: DataClass,
    detected: DataClass | None,
    *,
    source: DataClass | None = None,
    determined: DataClass | None = None,
) -> DataClass:
    """The class that counts.

    Args:
        declared: what the spec says: a floor.
        detected: what a complete scan found; None where there was none, and then nothing is lowered.
        source: the class of what the data was scrubbed from: scrubbing alone lowers nothing.
        determined: what an officer's determination for exactly this data, verified and in force, says.
    """
    if determined is not None and detected is not None:
        return determined
    return max(declared, detected or declared, source or declared)
