"""Python's collector of garbage, kept from going through what is surely none."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Generator[None]:
    """For what makes a great many small things that all go, or all stay, by themselves: to look for cycles
    among records is a quarter of the time of scanning them, among the list of cities a third of loading
    it; and a test holds that there are none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
