"""The whole error tree of Tunegate.

    TunegateError
    ├── SpecError            what was asked cannot be read: every problem at once, with its line
    ├── DataError            the dataset cannot be read, or has no usable row
    ├── SettingsError        tunegate.toml, an attestation or a policy file is wrong
    ├── PolicyDenied         the gate said no
    ├── OverBudget           the high estimate is above what may be spent
    ├── NothingCanRun        no candidate is left
    │   ├── Unsupported      the capability does not exist there (or is not built yet)
    │   ├── Unavailable      lifecycle or configuration stands in the way today
    │   └── Unpriced         the choice needs a price nobody has
    ├── StoreConflict        somebody else moved this job first; read it again
    │   └── NotNow           the job is in no state for what was asked of it
    ├── StoreError           the job store cannot be opened, read or written
    ├── RecordError          a record cannot be written or read, or its key cannot be used
    ├── JobNotFound          no job has this id
    └── BackendError         a backend failed
        ├── Auth             credentials missing, expired or without the right
        ├── RateLimited      throttled, or a quota is used up
        ├── NotFound         the remote object is gone
        ├── Rejected         the backend read the request and refused it
        └── Unreachable      no answer; the request may or may not have arrived

Every error says what happened (`message`), where (`place`), and what to do next (`fix`).
No error carries text of a dataset: a line number, a field path, and a keyed hash at most.
"""

from __future__ import annotations

from typing import ClassVar


class TunegateError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        code: stable machine-readable name of the error, one per class.
        exit_code: what the command line exits with.
        http_status: what the HTTP gateway answers with.
        message: what happened, in one sentence.
        place: where (file and line, field path, backend), or None.
        fix: what to do next, or None when nothing can be done.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 2
    http_status: ClassVar[int] = 400

    def __init__(self, message: str, *, place: str | None = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.fix = fix

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text}\n  → {self.fix}" if self.fix else text

    def to_json(self) -> dict[str, object]:
        return {"code": self.code, "message": self.message, "place": self.place, "fix": self.fix}


class SpecError(TunegateError):
    """One or more things in a spec are wrong; `problems` has them all."""

    code = "spec"
    http_status = 422

    def __init__(
        self,
        message: str,
        *,
        place: str | None = None,
        fix: str | None = None,
        problems: tuple[SpecProblem, ...] = (),
    ) -> None:
        super().__init__(message, place=place, fix=fix)
        self.problems = problems

    def __str__(self) -> str:
        if not self.problems:
            return super().__str__()
        return "\n".join([super().__str__(), *(f"  {problem}" for problem in self.problems)])

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "problems": [problem.to_json() for problem in self.problems]}


class SpecProblem:
    """One thing wrong in a spec: a line (1-based, None from Python), a field path, what, and a fix."""

    __slots__ = ("fix", "line", "path", "text")

    def __init__(self, path: str, text: str, *, line: int | None = None, fix: str | None = None):
        self.path, self.text, self.line, self.fix = path, text, line, fix

    def __str__(self) -> str:
        line = f"line {self.line}: " if self.line else ""
        fix = f" ({self.fix})" if self.fix else ""
        return f"{line}{self.path}: {self.text}{fix}"

    def to_json(self) -> dict[str, object]:
        return {"path": self.path, "text": self.text, "line": self.line, "fix": self.fix}


class DataError(TunegateError):
    """The dataset cannot be read, or nothing in it can be used."""

    code = "data"
    http_status = 422


class SettingsError(TunegateError):
    """Settings, attestations, policies or the output folder are wrong."""

    code = "settings"


class PolicyDenied(TunegateError):
    """The gate denied the action; `rules` names the rules that decided."""

    code = "denied"
    exit_code = 3
    http_status = 403

    def __init__(
        self,
        message: str,
        *,
        place: str | None = None,
        fix: str | None = None,
        rules: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, place=place, fix=fix)
        self.rules = rules

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "rules": list(self.rules)}


class OverBudget(TunegateError):
    code = "over_budget"
    exit_code = 4
    http_status = 402


class NothingCanRun(TunegateError):
    code = "nothing_can_run"
    exit_code = 5
    http_status = 409


class Unsupported(NothingCanRun):
    code = "unsupported"
    http_status = 501


class Unavailable(NothingCanRun):
    code = "unavailable"


class Unpriced(NothingCanRun):
    code = "unpriced"


class StoreConflict(TunegateError):
    """Somebody else moved the job between our read and our write."""

    code = "store_conflict"
    exit_code = 6
    http_status = 409


class NotNow(StoreConflict):
    """The job is in no state for what was asked; asking again changes nothing until that does."""

    code = "not_now"
    exit_code = 2


class StoreError(TunegateError):
    code = "store"
    exit_code = 6
    http_status = 503


class RecordError(TunegateError):
    """A record cannot be written or read, or the key that signs it cannot be used."""

    code = "record"


class JobNotFound(TunegateError):
    code = "job_not_found"
    http_status = 404


class BackendError(TunegateError):
    """A backend failed.

    Attributes:
        backend: registry name of the backend.
        status: HTTP status of the reply, where there was one.
        retryable: whether the same call may be made again and be expected to work.
        retry_after_s: seconds the backend asked us to wait, where it did.
    """

    code = "backend"
    exit_code = 6
    http_status = 502

    def __init__(
        self,
        message: str,
        *,
        backend: str,
        status: int | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
        place: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message, place=place or backend, fix=fix)
        self.backend = backend
        self.status = status
        self.retryable = retryable
        self.retry_after_s = retry_after_s

    def to_json(self) -> dict[str, object]:
        return {
            **super().to_json(),
            "backend": self.backend,
            "status": self.status,
            "retryable": self.retryable,
        }


class Auth(BackendError):
    code = "backend_auth"


class RateLimited(BackendError):
    code = "backend_rate_limited"


class NotFound(BackendError):
    code = "backend_not_found"


class Rejected(BackendError):
    code = "backend_rejected"


class Unreachable(BackendError):
    code = "backend_unreachable"
