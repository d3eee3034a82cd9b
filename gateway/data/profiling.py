"""All that planning needs to know of a dataset, from one pass (and one more to convert it)."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gateway.core.errors import DataError
from gateway.core.rows import (
    SPLITS,
    Convert,
    DataProfile,
    FileStats,
    Refusal,
    Row,
    ScanSummary,
    Split,
    TokenCounter,
    TokenStats,
)
from gateway.core.spec import JobSpec
from gateway.data.checking import CheckReport, Checks
from gateway.data.dataset import Dataset, Observer, OnProgress, Record, RunPass, run_pass
from gateway.data.opening import open_dataset
from gateway.data.splits import DEFAULT_SALT, SplitAssignment, SplitCollector, check_fractions
from gateway.data.writing import LineTally

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_QUANTILES = (0.01, 0.10, 0.25, 0.50, 0.75, 0.90, 0.99, 1.0)
_LIMITS = tuple(2**power for power in range(9, 21))  # 512 … 1,048,576 tokens


class Scanner(Observer, Protocol):
    """An observer that says at the end what it found."""

    def summary(self) -> ScanSummary: ...


class Tokens:
    """Observer: the length of every usable row by one counter, four bytes each."""

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self._lengths = array("i")

    def see(self, record: Record) -> None:
        if not isinstance(record.outcome, Refusal):
            self._lengths.append(self._counter.count(record.outcome))

    def hand_over(self) -> list[int]:
        """The lengths since the last time, for another one's `add`."""
        lengths, self._lengths = self._lengths.tolist(), array("i")
        return lengths

    def add(self, part: Sequence[int]) -> None:
        """The lengths of rows further on, as another one counted them."""
        self._lengths.extend(part)

    def stats(self, codes: NDArray[np.uint8], limits: Sequence[int]) -> TokenStats:
        """Sums and quantiles over the used rows; `codes` as in `SplitAssignment`."""
        import numpy as np

        every = np.frombuffer(self._lengths, dtype=np.int32)
        used = every[codes < len(SPLITS)]
        by_split: dict[Split, int] = {
            split: int(every[codes == code].sum(dtype=np.int64))
            for code, split in enumerate(SPLITS)
            if (codes == code).any()
        }
        ordered = np.sort(used)
        ranks = [max(int(np.ceil(q * len(ordered))) - 1, 0) for q in _QUANTILES]
        return TokenStats(
            method=self._counter.method,
            band=self._counter.band,
            tokens=int(used.sum(dtype=np.int64)),
            longest=int(ordered[-1]),
            lengths=tuple(int(ordered[rank]) for rank in ranks),
            by_split=by_split,
            over={limit: len(used) - int(np.searchsorted(ordered, limit, "right")) for limit in limits},
        )


def profile(
    spec: JobSpec,
    base: Path,
    *,
    counters: Sequence[TokenCounter],
    conversions: Mapping[str, Convert],
    scanner: Scanner | None,
    on_progress: OnProgress | None = None,
    limits: Sequence[int] = (),
    salt: bytes = DEFAULT_SALT,
    read: RunPass = run_pass,
) -> DataProfile:
    """Read, check, scan, count and split a spec's dataset; then convert it to each format.

    Args:
        base: the folder that the spec's relative paths are relative to.
        counters: counted in the first pass, each method once.
        conversions: format name → converter, measured in a second pass over the files.
        scanner: sees every record with all its fields, refused ones too.
        on_progress: told (bytes done, bytes in all), both passes together.
        limits: row lengths for `TokenStats.over`, besides the powers of two and `max_length`.
        salt: see `SplitCollector`.
        read: what reads the data and shows it to the observers; see `gateway.onepass`.

    Raises:
        DataError: a file cannot be used, no row can, or a split that was asked for gets none.
    """
    dataset = open_dataset(spec.data, base, task=spec.task)
    check_fractions(spec.data)
    checks, collector = Checks(), SplitCollector(dataset, salt=salt)
    tokens = [Tokens(counter) for counter in {counter.method: counter for counter in counters}.values()]
    observers: list[Observer] = [checks, collector, *tokens]
    if scanner is not None:
        observers.append(scanner)
    passes = 2 if conversions else 1
    read(dataset, observers, _part(on_progress, 0, dataset.bytes * passes))
    report = checks.report(dataset)
    if not report.used:
        raise nothing_usable(report)
    assignment = collector.finish()
    later = _part(on_progress, dataset.bytes, dataset.bytes * passes)
    return _profile(
        spec,
        dataset,
        report,
        assignment,
        scan=scanner.summary() if scanner is not None else None,
        tokens=_token_stats(tokens, assignment, _all_limits(spec, limits)),
        converted=_convert(dataset, assignment, conversions, later),
    )


def _profile(
    spec: JobSpec,
    dataset: Dataset,
    report: CheckReport,
    assignment: SplitAssignment,
    *,
    scan: ScanSummary | None,
    tokens: Mapping[str, TokenStats],
    converted: Mapping[str, tuple[FileStats, ...]],
) -> DataProfile:
    refused = Counter(report.refused)
    if assignment.excluded:
        refused["in_held_out"] += assignment.excluded
    return DataProfile(
        hash=assignment.hash,
        files=dataset.files,
        bytes=dataset.bytes,
        rows=report.rows,
        used=report.used - assignment.excluded,
        refused=dict(refused),
        split_rows=assignment.rows,
        declared=spec.data.class_,
        scan=scan,
        tokens=tokens,
        converted=converted,
        duplicates=assignment.duplicates,
        has_tools=report.has_tools,
        has_system=report.has_system,
        multi_turn=report.multi_turn,
        preference=report.preference,
        tags=spec.data.tags,
        purpose=spec.data.purpose,
        residency=spec.data.residency,
    )


def _part(on_progress: OnProgress | None, before: int, total: int) -> OnProgress | None:
    """Progress of one of several passes as progress of all of them."""
    if on_progress is None:
        return None
    return lambda done, _: on_progress(before + done, total)


def _all_limits(spec: JobSpec, limits: Sequence[int]) -> list[int]:
    asked = spec.hyperparameters.max_length
    return sorted({*_LIMITS, *limits, *([asked] if isinstance(asked, int) else [])})


def _token_stats(
    tokens: Sequence[Tokens], assignment: SplitAssignment, limits: Sequence[int]
) -> dict[str, TokenStats]:
    import numpy as np

    codes = np.frombuffer(assignment.codes, dtype=np.uint8)
    stats = [each.stats(codes, limits) for each in tokens]
    return {each.method: each for each in stats}


def _convert(
    dataset: Dataset,
    assignment: SplitAssignment,
    conversions: Mapping[str, Convert],
    on_progress: OnProgress | None,
) -> dict[str, tuple[FileStats, ...]]:
    """What each format's files would hold, byte for byte, without writing them."""
    if not conversions:
        return {}
    tallies = {
        split: [LineTally(split, name, convert) for name, convert in conversions.items()]
        for split in SPLITS
        if assignment.rows.get(split)
    }
    for record in dataset.records(on_progress):
        row = record.outcome
        if isinstance(row, Row) and (split := assignment.of(row)) is not None:
            for tally in tallies[split]:
                tally.line(row)
    return {
        name: tuple(tallies[split][at].stats() for split in SPLITS if split in tallies)
        for at, name in enumerate(conversions)
    }


def nothing_usable(report: CheckReport) -> DataError:
    """No row can be used: every reason with its count and its first place, and the commonest's fix."""
    reasons = "; ".join(
        f"{problem.code} × {problem.count} (first: {problem.file}, line {problem.line})"
        for problem in report.problems
    )
    return DataError(
        f"none of the {report.rows} rows can be used: {reasons}" if reasons else "there is no row",
        place=report.files[0],
        fix=report.problems[0].fix if report.problems else "give it at least one row",
    )
