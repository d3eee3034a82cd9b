"""What a plan must know of a dataset: read, scanned and counted in one pass; once for the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.base import Backend
from gateway.core.errors import DataError, TunegateError
from gateway.core.facts import ModelFacts
from gateway.core.rows import Convert, DataProfile, TokenCounter
from gateway.core.spec import JobSpec
from gateway.sdk.scanning import CACHE_FOLDER, Known, beside, scanned

if TYPE_CHECKING:
    from gateway.data import Dataset
    from gateway.onepass import CounterName
    from gateway.sdk.rooms import Rooms

OnProgress = Callable[[int, int], None]
PROFILES = "cache/profiles"
_ROOT = Path(__file__).parents[2]
_READERS = ("gateway/core", "gateway/data", "gateway/onepass", "backends")  # whose code says what a row is
_PACKAGES = ("bpe-openai", "tokenizers", "transformers", "orjson", "pyarrow")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the backends of a plan want to know: counters by method, converters by format."""

    counters: Mapping[str, TokenCounter]
    names: tuple[CounterName, ...]
    conversions: Mapping[str, Convert]


def profile_data(
    rooms: Rooms,
    spec: JobSpec,
    backends: Mapping[str, Backend],
    on_progress: OnProgress | None = None,
) -> DataProfile:
    """Read, check, scan and count the dataset in one pass, then convert it to each format; or look it up.

    Raises:
        DataError: the dataset cannot be used, or it changed meanwhile.
    """
    from gateway.data import open_dataset
    from gateway.data.dataset import damaged
    from gateway.privacy.cache import key_of

    asked, outside = _asked(backends, spec), beside(spec)
    dataset = open_dataset(spec.data, spec.folder, task=spec.task)
    try:
        scan_key = key_of(dataset, outside, rooms.ner)
    except OSError as error:
        raise damaged(dataset.files[0], error) from None
    file = rooms.settings.home / PROFILES / f"{_key(scan_key, dataset, spec, asked)}.json"
    found = _known(file)
    if found is None:
        found = _read(rooms, spec, dataset, asked, outside, scan_key, on_progress)
        _keep(rooms, file, found)
    dataset.check_unchanged()  # what was hashed is what was profiled
    return found


def models_of(backend: Backend, spec: JobSpec) -> list[ModelFacts]:
    found = (backend.resolve(name) for name in spec.model)
    return [model for model in found if model is not None]


def _asked(backends: Mapping[str, Backend], spec: JobSpec) -> _Asked:
    from gateway.onepass import CounterName

    counters: dict[str, TokenCounter] = {}
    names: list[CounterName] = []
    conversions: dict[str, Convert] = {}
    for backend in backends.values():
        for model in models_of(backend, spec):
            with suppress(TunegateError):  # the planner gives it as the candidate's own reason
                counter = backend.counter(model)
                if counter.method not in counters:
                    counters[counter.method] = counter
                    options = dict(backend.site.options)
                    names.append(CounterName(backend=backend.name, model=model.name, options=options))
            if spec.task in model.tasks:
                name = backend.format(model, spec.task)
                conversions[name] = backend.convert(name)
    return _Asked(counters, tuple(names), conversions)


def _read(
    rooms: Rooms,
    spec: JobSpec,
    dataset: Dataset,
    asked: _Asked,
    outside: Mapping[str, Any],
    scan_key: str,
    on_progress: OnProgress | None,
) -> DataProfile:
    """The pass itself; what the scan found is kept for whoever scans alone."""
    from gateway.data import profile
    from gateway.onepass import Helpers, reader
    from gateway.privacy.cache import ScanCache

    helpers = Helpers(asked.names, rooms.settings.home, outside)
    scans = ScanCache(rooms.settings.home / CACHE_FOLDER)
    known = scanned(rooms, dataset, outside, on_progress) if rooms.ner else scans.get(scan_key)
    found = profile(
        spec,
        spec.folder,
        counters=tuple(asked.counters.values()),
        conversions=asked.conversions,
        scanner=helpers.scanner(dataset) if known is None else Known(known),
        on_progress=on_progress,
        read=reader(helpers),
    )
    if known is None and found.scan is not None and rooms.settings.home.is_dir():
        scans.put(scan_key, found.scan)
    return found


def _key(scan_key: str, dataset: Dataset, spec: JobSpec, asked: _Asked) -> str:
    """A hash over the bytes, how they are read and by what code, and all that is asked of them."""
    told = {
        "scan": scan_key,
        "files": dataset.files,
        "data": spec.data.model_dump(mode="json"),
        "task": spec.task,
        "max_length": spec.hyperparameters.max_length,
        "counters": [getattr(each, "identity", method) for method, each in asked.counters.items()],
        "formats": sorted(asked.conversions),
        "code": _code(),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    """A hash over the code that reads, counts and converts, and over the packages it does so with."""
    whole = hashlib.sha256()
    for folder in _READERS:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            whole.update(str(path.relative_to(_ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            whole.update(f"{package} {version(package)}\n".encode())
    return whole.hexdigest()


def _known(file: Path) -> DataProfile | None:
    """What was kept under this key; a damaged file is as good as none."""
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(DataProfile).validate_json(file.read_bytes())
    except (OSError, ValueError):
        return None


def _keep(rooms: Rooms, file: Path, found: DataProfile) -> None:
    """Counts, hashes and classes, and no text. A plan alone makes no home folder; one that cannot be
    written to keeps nothing; what was not wholly scanned is scanned again."""
    from pydantic import TypeAdapter

    from gateway.data import write_atomically

    if rooms.settings.home.is_dir() and found.scan is not None and found.scan.complete:
        with suppress(OSError, DataError):
            write_atomically(file, [TypeAdapter(DataProfile).dump_json(found)])
