"""Scanning for plans and for people: over several processes, and once for the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.core.rows import ScanSummary

if TYPE_CHECKING:
    from gateway.data import Dataset, OnProgress, Record
    from gateway.sdk.rooms import Rooms

CACHE_FOLDER = "cache/scans"


def scanned(
    rooms: Rooms, dataset: Dataset, beside: Mapping[str, Any], on_progress: OnProgress | None = None
) -> ScanSummary:
    """What a dataset holds, from the cache where the same bytes were scanned before.

    Raises:
        DataError: a file is gone, damaged, or has changed since the dataset was opened.
    """
    from gateway.data.dataset import damaged
    from gateway.privacy.cache import ScanCache, key_of
    from gateway.privacy.passes import scan_dataset

    cache = ScanCache(rooms.settings.home / CACHE_FOLDER)
    try:
        key = key_of(dataset, beside)
    except OSError as error:
        raise damaged(dataset.files[0], error) from None
    totals = cache.get(key)
    if totals is None:
        totals = scan_dataset(dataset, beside=beside, on_progress=on_progress)
        if rooms.settings.home.is_dir():  # a plan alone makes no home folder
            cache.put(key, totals)
    dataset.check_unchanged()  # what was hashed is what was scanned
    return totals


class Known:
    """Observer of a data pass that need not look: the data was scanned, and is checked to be the same."""

    def __init__(self, totals: ScanSummary) -> None:
        self._totals = totals

    def see(self, record: Record) -> None: ...

    def summary(self) -> ScanSummary:
        return self._totals
