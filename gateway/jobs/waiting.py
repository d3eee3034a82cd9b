"""How long until the next look: polling while all is well, backing off while it is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from gateway.core.errors import BackendError, TunegateError
from gateway.core.facts import Kind

LOOKUP_SETTLES = timedelta(seconds=30)
"""How long a backend that is searched, by filter or scan, may take to list a job it has accepted."""

_LOCAL_S = 1.0
_SOONEST_S, _LATEST_S = 1.0, 30.0
_FIRST_S, _LONGEST_S = 2.0, 300.0


def poll_after(kind: Kind, age: timedelta, jitter: Callable[[], float]) -> timedelta:
    """A tenth of the job's age, from 1 s to 30 s, of which a random fifth is taken off, so that many jobs
    do not come back at once. What is refused at once is seen at once; an hour's training is not asked
    about every second. A run on this machine is looked at every second.

    Args:
        jitter: a random number from 0 to 1.
    """
    if kind == "local":
        return timedelta(seconds=_LOCAL_S)
    seconds = min(max(age.total_seconds() / 10, _SOONEST_S), _LATEST_S)
    return timedelta(seconds=seconds * (0.8 + jitter() / 5))


def backoff(failures: int, error: TunegateError, jitter: Callable[[], float]) -> timedelta:
    """Doubling from 2 s to 5 min, of which a random half is taken off, so that many jobs do not
    come back at once; never sooner than the backend asked.

    Args:
        failures: how many calls in a row have failed, this one included.
        jitter: a random number from 0 to 1.
    """
    delay = min(_LONGEST_S, _FIRST_S * 2 ** min(failures - 1, 10))
    delay *= 0.5 + jitter() / 2
    asked = error.retry_after_s if isinstance(error, BackendError) else None
    return timedelta(seconds=max(delay, asked or 0.0))
