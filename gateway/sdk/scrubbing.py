"""Scrubbed copies: made where a spec asks for them, kept by what they came from, known by their origin."""

from __future__ import annotations

import glob
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.core.errors import DataError
from gateway.core.review import Lineage
from gateway.core.spec import JobSpec, canonical_sha256

if TYPE_CHECKING:
    from gateway.data import Dataset, Source
    from gateway.privacy.scrubbing import DateRule, Method, ScrubReport
    from gateway.sdk.rooms import Rooms

OnProgress = Callable[[int, int], None]
KEY_FILE = "scrub-key"
_KEY_BYTES = 32
_STALE_S = 24 * 3600
_KEPT_S = 30 * 24 * 3600
_SPEC_SUFFIXES = (".yaml", ".yml")


def as_used(rooms: Rooms, spec: JobSpec, *, on_progress: OnProgress | None = None) -> JobSpec:
    """The spec over the data that is really used: the scrubbed copy, where it asks for one.

    The copy is made once for each state of the source and of the scanner, under the home folder; a copy
    that was changed there is made anew, and one that nobody used for thirty days is removed. The spec's
    other fields are not touched.

    Raises:
        DataError: the source cannot be read, or the copy cannot be written.
    """
    if spec.data.deidentify == "none":
        return spec
    from gateway.data import open_dataset
    from gateway.privacy.cache import scanner_version
    from gateway.privacy.scrubbing import Method, file_sha256, key_id

    dataset = open_dataset(spec.data, spec.folder, task=spec.task)
    key = scrub_key(rooms)
    method = Method("shift", rooms.clock().year, spec.data.group_by, rooms.ner)
    name = canonical_sha256(
        {
            "sources": [[file_sha256(source), source.kind, source.split] for source in dataset.sources],
            "method": str(method),
            "year": method.year,
            "key": key_id(key),
            "scanner": scanner_version(),
        }
    )
    folder = rooms.home / "cache" / "scrubbed" / name
    targets = {source.path: folder / _copy_name(at, source) for at, source in enumerate(dataset.sources)}
    if not all(_is_whole(path) for path in targets.values()):
        _make(folder, dataset, key, method, on_progress)
    folder.touch()
    _sweep(folder.parent)
    return _over(spec, dataset, targets)


def scrub(
    rooms: Rooms,
    what: JobSpec | Path,
    to: Path,
    *,
    dates: DateRule = "shift",
    group_by: str | None = None,
    seed_file: Path | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> list[tuple[Path, ScrubReport]]:
    """Scrub the files of a spec, or one file of any columns, into `to`: a file, or a folder for several.

    Raises:
        DataError: a source cannot be read, `to` is one of them or there already, or cannot be written.
    """
    from gateway.data import open_any, open_dataset
    from gateway.privacy.scrubbing import Method, check_name, scrub_file

    if isinstance(what, JobSpec):
        sources: Sequence[Source] = open_dataset(what.data, what.folder, task=what.task).sources
        group_by = group_by or what.data.group_by
    else:
        sources = (open_any(what, Path.cwd()),)
    targets = [to] if len(sources) == 1 and not to.is_dir() else [to / source.path.name for source in sources]
    for source, target in zip(sources, targets, strict=True):
        check_name(source, target)
        if target.exists() and not force:
            raise DataError("this file is there already", place=str(target), fix="add --force to replace it")
    key = scrub_key(rooms, seed_file)
    method = Method(dates, rooms.clock().year, group_by, rooms.ner)
    return [
        (target, scrub_file(source, target, key, method, on_progress=on_progress))
        for source, target in zip(sources, targets, strict=True)
    ]


def scrub_key(rooms: Rooms, seed_file: Path | None = None) -> bytes:
    """The secret under which stand-ins and shifts are drawn: the home's own, made on first use and
    readable by its owner alone, or the bytes of a file.

    Raises:
        DataError: the file cannot be read, is too short to be a secret, or others may read it.
        RecordError: the home's key cannot be written.
    """
    from gateway.records.files import write_new, writing

    path = seed_file or rooms.home / "keys" / KEY_FILE
    if seed_file is None and not path.exists():
        with writing(path.parent, "the key for scrubbing cannot be written"):
            if not path.exists():
                write_new(path, secrets.token_hex(_KEY_BYTES).encode(), mode=0o600)
    try:
        key, mode = path.read_bytes().strip(), path.stat().st_mode
    except OSError as error:
        raise DataError(f"this key cannot be read ({type(error).__name__})", place=str(path)) from None
    if mode & 0o077:
        raise DataError("others may read this key", place=str(path), fix=f"chmod 600 {path}")
    if len(key) < _KEY_BYTES // 2:
        raise DataError(
            "this key is too short to be a secret", place=str(path), fix="openssl rand -hex 32 > FILE"
        )
    return key


def lineage_of(dataset: Dataset) -> Lineage | None:
    """Where the files of a dataset were scrubbed from; None where none of them was.

    Raises:
        DataError: a file's account of that cannot be read.
    """
    from gateway.privacy.scrubbing import ScrubReport, file_sha256

    told = [(source, ScrubReport.beside(source.path)) for source in dataset.sources]
    reports = [(source, report) for source, report in told if report is not None]
    if not reports:
        return None
    left: dict[str, int] = {}
    for _, report in reports:
        for kind, count in report.left.items():
            left[kind] = left.get(kind, 0) + count
    methods = dict.fromkeys(report.method for _, report in reports)
    if len(reports) < len(told):
        methods["none"] = None  # some files were never scrubbed
    return Lineage(
        source_hash=canonical_sha256({"sources": [report.source_sha256 for _, report in reports]}),
        method=" + ".join(methods),
        source_class=max(report.source_class for _, report in reports),
        rows_refused=sum(sum(report.refused.values()) for _, report in reports),
        left=left,
        edited=any(file_sha256(source) != report.sha256 for source, report in reports),
    )


def is_spec(path: Path) -> bool:
    """Whether a path names a spec rather than a data file."""
    return path.suffix.lower() in _SPEC_SUFFIXES


def _copy_name(at: int, source: Source) -> Path:
    """Where a copy lies below its folder; held-out files apart, since they are named by a pattern."""
    ending = {"csv": ".tsv" if source.delimiter == "\t" else ".csv"}.get(source.kind, f".{source.kind}")
    return Path(source.split or "train") / f"{at:04}{ending}{'.gz' if source.compressed else ''}"


def _is_whole(path: Path) -> bool:
    from gateway.data import open_any
    from gateway.privacy.scrubbing import ScrubReport, file_sha256

    try:
        report = ScrubReport.beside(path)
        return report is not None and file_sha256(open_any(path, path.parent)) == report.sha256
    except DataError:
        return False


def _make(folder: Path, dataset: Dataset, key: bytes, method: Method, on_progress: OnProgress | None) -> None:
    """All copies beside their place, then there at once; of two who make them, either's will do."""
    from gateway.privacy.scrubbing import scrub_file

    part = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.part")
    done = 0
    try:
        for at, source in enumerate(dataset.sources):
            report = _part_of(on_progress, done, dataset.bytes)
            scrub_file(source, part / _copy_name(at, source), key, method, on_progress=report)
            done += source.bytes
        names = [_copy_name(at, source) for at, source in enumerate(dataset.sources)]
        if all(_is_whole(folder / name) for name in names):
            return  # another process was quicker, and may be reading it
        if folder.exists():
            shutil.rmtree(folder)  # one of its files was changed, or is missing
        try:
            part.replace(folder)
        except OSError:
            if not folder.exists():
                raise
    except OSError as error:
        text = f"the scrubbed copy cannot be written ({type(error).__name__})"
        raise DataError(text, place=str(folder), fix="free some space, and check the home folder") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _part_of(on_progress: OnProgress | None, before: int, total: int) -> OnProgress | None:
    return (lambda done, _: on_progress(before + done, total)) if on_progress else None


def _sweep(root: Path) -> None:
    """Remove what killed processes left half-made, and copies that are in use no more: they are of their
    source's class still, and are made again when they are asked for."""
    for each in root.iterdir():
        with suppress(FileNotFoundError):  # another process was quicker
            if time.time() - each.stat().st_mtime > (_STALE_S if each.suffix == ".part" else _KEPT_S):
                shutil.rmtree(each, ignore_errors=True)


def _over(spec: JobSpec, dataset: Dataset, targets: dict[Path, Path]) -> JobSpec:
    """The same spec, its files the copies."""
    train = [str(targets[source.path]) for source in dataset.sources if source.split is None]
    changes: dict[str, object] = {"train": tuple(train)}
    for split in ("validation", "test"):
        held = [targets[source.path] for source in dataset.sources if source.split == split]
        if held:
            changes[split] = _naming(held, f"data.{split}")
    return spec.model_copy(update={"data": spec.data.model_copy(update=changes)}).at(spec.folder)


def _naming(held: Sequence[Path], place: str) -> str:
    """A path, or the pattern, that names exactly these copies."""
    if len(held) == 1:
        return str(held[0])
    endings = {"".join(path.suffixes) for path in held}
    if len(endings) > 1:
        raise DataError("held-out files of several formats are not scrubbed together", place=place)
    return f"{glob.escape(str(held[0].parent))}/[0-9][0-9][0-9][0-9]{endings.pop()}"
