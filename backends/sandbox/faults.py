"""What can be made to go wrong in a rehearsal: so often, at such an operation."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import Literal, get_args

Kind = Literal[
    "throttle",  # 429 with Retry-After
    "unavailable",  # 503
    "broken",  # 500
    "unauthorized",  # the credential is missing, wrong or has expired
    "forbidden",  # the credential may not do this
    "slow",  # the answer takes `seconds` longer
    "reset",  # the connection is reset before anything is done
    "lose_reply",  # it is done, and the connection is reset before the answer
    "truncate",  # it is done, and half of the answer arrives
    "crash_before",  # the whole sandbox dies before anything is done
    "crash_after",  # it is done, and the whole sandbox dies before the answer
    "reject_file",  # the dataset is refused while it is validated
    "fail_job",  # training breaks off half-way
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        operation: pattern over `<room>.<the vendor's name of the operation>`, as in
            `openai.createFineTuningJob` or `*.create*`.
        times: how often it still happens; 0 is never again.
        seconds: how long, for `slow`; what `Retry-After` says, for `throttle`.
    """

    kind: Kind
    operation: str = "*"
    times: int = 1
    seconds: float = 1.0


class Faults:
    """The faults that are armed. Each is used up as it happens."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self._lock = threading.Lock()

    def arm(self, fault: Fault) -> None:
        with self._lock:
            self._armed.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()

    def take(self, operation: str, *kinds: Kind) -> Fault | None:
        """The first armed fault of one of these kinds for this operation, used up by one."""
        with self._lock:
            for place, fault in enumerate(self._armed):
                if fault.times > 0 and fault.kind in kinds and fnmatch(operation, fault.operation):
                    self._armed[place] = replace(fault, times=fault.times - 1)
                    return fault
        return None
