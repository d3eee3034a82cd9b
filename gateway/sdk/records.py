"""`gw.records`: the signed account of what was decided and done."""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.classes import DataClass
from gateway.core.errors import SpecError

if TYPE_CHECKING:
    from gateway.records import VerifyReport
    from gateway.sdk.rooms import Rooms


class Records:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def verify(
        self,
        export: str | Path | None = None,
        *,
        against: str | None = None,
        keys: Iterable[str | Path] = (),
    ) -> VerifyReport:
        """Check every signature, the numbering and the chain: of this home's account, or of an export.

        Args:
            export: what `export` wrote, anywhere; nothing else of its machine is needed.
            against: a head kept elsewhere, `SEQ:SHA256`: shows a cut tail and an account written anew.
            keys: the only keys to believe, with those they named as successors: ids, or files with a
                public key in PEM.

        Raises:
            RecordError: this is no export, no head or no key.
        """
        from gateway.records import parse_head, verify_export
        from gateway.records.verify import pinned_ids

        head = parse_head(against) if against else None
        pinned = [_pinned(key) for key in keys]
        if export is not None:
            return verify_export(Path(export), head, pinned=pinned)
        return self._rooms.log.verify(head, pinned=pinned_ids(pinned))

    def head(self) -> str:
        """The last record as `SEQ:SHA256`, to be kept where the keeper of this account cannot change it;
        empty for an empty account."""
        return str(self._rooms.log.head() or "")

    def list(self) -> builtins.list[tuple[int, str, str, str]]:
        """(sequence, time, kind, subjects) of every record."""
        entries = self._rooms.log.entries()
        return [(entry.sequence, entry.at, entry.kind, ", ".join(entry.subjects)) for entry in entries]

    def show(self, sequence: int) -> dict[str, Any]:
        """One record, verified.

        Raises:
            RecordError: there is none, or it does not verify.
        """
        return self._rooms.log.show(sequence)

    def export(
        self,
        to: str | Path,
        *,
        start: date | None = None,
        end: date | None = None,
        data_class: DataClass | str | None = None,
    ) -> str:
        """Write the whole account: as a zip with a summary of a period and all that an auditor needs to
        check it elsewhere, or, to a name that ends in `.jsonl`, as JSON Lines alone.

        Args:
            start, end: the period of the summary, both days included, in UTC.
            data_class: summarise the datasets of this class alone.

        Returns:
            The head, to be kept apart from the export.

        Raises:
            RecordError: the file exists or cannot be written.
            SpecError: the period ends before it begins, or there is no such class.
        """
        from gateway.records import Period, export_lines, export_zip

        if start and end and end < start:
            raise SpecError("this period ends before it begins", place=f"{start} to {end}")
        if Path(to).suffix == ".jsonl":
            return str(export_lines(self._rooms.log, Path(to)) or "")
        period = Period(start, end, None if data_class is None else _class(data_class))
        return str(export_zip(self._rooms.log, Path(to), period, now=self._rooms.clock()) or "")

    def prunable(self, before: date | None = None) -> int:
        """How many records `prune` would remove.

        Raises:
            RecordError: some of those would be younger than the settings' `keep_years`.
        """
        old = self._rooms.log.older(self._day(before), keep_years=self._rooms.settings.keep_years)
        return sum(entry.kind != "key_rotation" for entry in old)

    def prune(self, before: date | None = None) -> int:
        """Remove records older than the settings say they must be kept, and leave a signed word of it, so
        that the rest still verifies; how many went.

        Args:
            before: an earlier day than that.

        Raises:
            RecordError: they must be kept longer, the account is damaged, or it cannot be written.
        """
        removed = self.prunable(before)
        self._rooms.log.prune(before=self._day(before), keep_years=self._rooms.settings.keep_years)
        return removed

    def _day(self, before: date | None) -> datetime:
        from gateway.records.log import years_before

        if before is None:
            return years_before(self._rooms.clock(), self._rooms.settings.keep_years)
        return datetime.combine(before, time(), UTC)


def _class(name: DataClass | str) -> str:
    try:
        return str(DataClass.parse(str(name)))
    except ValueError as error:
        raise SpecError(str(error), place="class") from None


def _pinned(key: str | Path) -> str:
    """A key's id, or the text of the file that has its public half."""
    path = Path(key)
    return path.read_text("ascii", "replace") if path.is_file() else str(key)
