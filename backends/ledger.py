"""What a translation is written with: the account of every field, the files, the placeholders."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.core.plan import FieldOutcome, ProviderFile
from gateway.core.rows import DataProfile, TokenCounter
from gateway.core.spec import Hyperparameters, JobSpec

# What is only known after staging stands in a request as one of these, until `fill` at submit.
KEY = "{key}"
_SHORT_KEY = re.compile(r"\{key:(\d+)\}")
_HASHED_KEY = re.compile(r"\{key#(\d+)\}")


def every_field(spec: JobSpec) -> Iterator[tuple[str, object]]:
    """Dotted path and JSON value of every leaf of a spec: what a translation must account for."""
    yield from _leaves(spec.to_json(), "")


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(item, f"{path}.{key}" if path else str(key))  # pyright: ignore[reportUnknownArgumentType]
    else:
        yield path, value


_DEFAULTS = dict(_leaves(Hyperparameters().model_dump(mode="json"), "hyperparameters"))  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True, slots=True)
class _Fields:
    """The leaves of one spec. `under` has, for every path, the leaves it stands for, itself included."""

    spec: JobSpec
    values: Mapping[str, object]
    under: Mapping[str, Sequence[str]]


class _Last:
    """The fields of the spec seen last: a plan translates one spec for a thousand candidates."""

    seen: _Fields | None = None


def _fields_of(spec: JobSpec) -> _Fields:
    seen = _Last.seen  # read once: another thread may replace it
    if seen is None or seen.spec is not spec:
        values = dict(every_field(spec))
        under: dict[str, list[str]] = {}
        for leaf in values:
            parts = leaf.split(".")
            for length in range(1, len(parts) + 1):
                under.setdefault(".".join(parts[:length]), []).append(leaf)
        _Last.seen = seen = _Fields(spec, values, under)
    return seen


class Ledger:
    """What becomes of every field of a spec in one translation: kept, changed or refused, once each.

    Written while the requests are built and closed at the end. A field that was forgotten is a bug
    that `close` raises, never a silence. A path stands for all leaves under it that are still open.
    """

    def __init__(self, spec: JobSpec) -> None:
        fields = _fields_of(spec)
        self._before, self._under = fields.values, fields.under
        self._outcomes: dict[str, FieldOutcome] = {}

    def kept(self, path: str, why: str | None = None) -> None:
        for leaf in self._open(path):
            value = self._before[leaf]
            self._outcomes[leaf] = FieldOutcome(leaf, "kept", value, value, why)

    def changed(self, path: str, after: object, why: str) -> None:
        """`after` is what the backend gets instead; None when it gets nothing."""
        for leaf in self._open(path):
            self._outcomes[leaf] = FieldOutcome(leaf, "changed", self._before[leaf], after, why)

    def refused(self, path: str, why: str) -> None:
        for leaf in self._open(path):
            self._outcomes[leaf] = FieldOutcome(leaf, "refused", self._before[leaf], None, why)

    def not_taken(self, path: str, why: str) -> None:
        """A hyperparameter the service has no setting for: left to it at its default, refused when
        somebody asked for another value."""
        for leaf in self._open(path):
            if self._before[leaf] == _DEFAULTS[leaf]:
                self.changed(leaf, None, why)
            else:
                self.refused(leaf, why)

    def row_length(self, longest: int | None, limit: int | None, *, cuts: bool) -> None:
        """Account for `max_length` and `too_long` where the service takes neither.

        Args:
            longest: tokens of the longest row, None when rows were not counted.
            limit: the service's own limit in tokens, None when it states none.
            cuts: whether the service cuts the tail of longer rows (else it drops or refuses them).
        """
        path, wanted = "hyperparameters.max_length", self._before["hyperparameters.max_length"]
        if not isinstance(wanted, int):
            self.changed(path, limit, "the service's own limit" if limit else "the service states no limit")
        elif longest is not None and longest <= wanted:
            self.kept(path, f"not a setting there; the longest row has {longest} tokens")
        else:
            has = "rows were not counted" if longest is None else f"the longest row has {longest} tokens"
            self.refused(path, f"not a setting there, and {has}; shorten the rows or raise it")
        fits = longest is not None and (limit is None or longest <= limit)
        if self._before["data.too_long"] == "refuse" or fits:
            self.kept("data.too_long", "used by Tunegate itself")
        elif cuts:
            self.kept("data.too_long", f"the service cuts rows at {limit} tokens, from the end")
        else:
            self.refused("data.too_long", "the service does not cut long rows; shorten them beforehand")

    def ours(self) -> None:
        """Keep what never goes to a provider, and what was written for other backends."""
        for path in ("version", "name", "team", "data", "evaluate", "route", "serving", "options"):
            self.kept(path, "used by Tunegate itself")

    def close(self) -> tuple[FieldOutcome, ...]:
        """Every outcome, in the spec's order.

        Raises:
            ValueError: some field was not accounted for; the message names it.
        """
        if forgotten := [path for path in self._before if path not in self._outcomes]:
            raise ValueError(f"no outcome for {', '.join(forgotten)}")
        return tuple(self._outcomes[path] for path in self._before)

    def _open(self, path: str) -> list[str]:
        return [leaf for leaf in self._under.get(path, ()) if leaf not in self._outcomes]


def files_to_send(profile: DataProfile, format: str) -> tuple[ProviderFile, ...]:
    """Training and validation rows in that format; the test split never leaves.

    Before conversion a file's `sha256` is None and its rows are those of the split.
    """
    done = {stats.split: stats for stats in profile.converted.get(format, ())}
    files: list[ProviderFile] = []
    for split in ("train", "validation"):
        rows = profile.split_rows.get(split, 0)
        name = f"{split}.jsonl"
        if stats := done.get(split):
            counts = (stats.rows_in, stats.rows_out, stats.refused, stats.sha256)
            files.append(ProviderFile(name, split, format, *counts))
        elif rows:
            files.append(ProviderFile(name, split, format, rows, rows, {}, None))
    return tuple(files)


def longest_row(profile: DataProfile, counter: TokenCounter) -> int | None:
    """Tokens of the longest row by that counter; None when it did not count."""
    stats = profile.tokens.get(counter.method)
    return stats.longest if stats else None


def staged_at(name: str) -> str:
    """Stands for the provider's id or URI of a file."""
    return f"{{staged:{name}}}"


def hashed_key(key: str, length: int) -> str:
    """The first so many hexadecimal digits of the key's SHA-256: for fields too short for a key, whose
    own beginning is the same for many jobs (it is `tunegate-` and the time). Twelve digits of a
    thousand jobs meet by chance once in 560 million times."""
    return hashlib.sha256(key.encode()).hexdigest()[:length]


def fill(body: Any, places: Mapping[str, str], key: str) -> Any:
    """A request body with its placeholders replaced.

    Args:
        body: JSON value; `{staged:<file name>}`, `{key}`, `{key:<n>}` (its first n characters) and
            `{key#<n>}` (see `hashed_key`) are replaced wherever a string holds them.
        places: file name → the provider's id or URI.
        key: the job's idempotency key.
    """
    if isinstance(body, str):
        for name, place in places.items():
            body = body.replace(staged_at(name), place)
        short = _SHORT_KEY.sub(lambda match: key[: int(match[1])], body)
        short = _HASHED_KEY.sub(lambda match: hashed_key(key, int(match[1])), short)
        return short.replace(KEY, key)
    if isinstance(body, Mapping):
        return {name: fill(value, places, key) for name, value in body.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(body, list | tuple):
        return [fill(value, places, key) for value in body]  # pyright: ignore[reportUnknownVariableType]
    return body
